"""A chart as inline SVG: a level for each interval, from the left to the right.

1. It needs no script and no style but classes, and fits any width: texts keep their size, since places are percentages
   and only the curve is stretched (its box is BOX by BOX units).
2. Both axes begin at 0; the horizontal one ends where the curve ends, the vertical one at a tick.
3. Ticks are 1, 2 or 5 times a power of ten apart.

This file is pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

__all__ = ["Axis", "Chart", "Level", "data", "draw", "ticks"]

BOX = 1000


@dataclass(frozen=True, slots=True)
class Level:
    """From `start` to `end` on the horizontal axis it was `height` on the vertical one."""

    start: float
    end: float
    height: float


@dataclass(frozen=True, slots=True)
class Axis:
    """What is measured, in a few words, and its unit."""

    label: str
    unit: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Levels side by side; `name` is unique in the page, `summary` says in a few words what is to be seen.

    `mean`, if there is one, is drawn as a line across.
    """

    name: str
    x: Axis
    y: Axis
    levels: Sequence[Level]
    summary: str
    mean: float | None = None


def ticks(most: float, count: int) -> list[float]:
    """Return about `count` round numbers from 0 to `most`, both included if `most` is round (rule 3)."""
    if not most > 0:
        return [0.0]
    step = _round_step(most / count)
    return [number * step for number in range(floor(most / step + 1e-9) + 1)]


def _round_step(least: float) -> float:
    power = 10.0 ** floor(log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def _tick_text(value: float, step: float) -> str:
    digits = max(0, -floor(log10(step) + 1e-9))
    return f"{value:,.{digits}f}"


def draw(chart: Chart) -> str:
    """Return the chart as a `<figure>`; without levels, it says so in its place."""
    heading = f"<span><b>{escape(chart.y.label)}</b>, {escape(chart.y.unit)}</span>"
    caption = f"<figcaption>{heading}<output>{escape(chart.summary)}</output></figcaption>"
    if not chart.levels:
        return f'<figure id="{chart.name}">{caption}<p class="none">Too short a run for a curve.</p></figure>'
    right, top = _ends(chart)
    label = f"{chart.y.label} against {chart.x.label}: {chart.summary}"
    return (
        f'<figure id="{chart.name}">{caption}<svg class="plot" role="img" aria-label="{escape(label)}">'
        f"{_horizontal_lines(top)}{_curve(chart, right, top)}{_vertical_ticks(right)}</svg>"
        f'<p class="axis">{escape(chart.x.label)}</p></figure>'
    )


def data(chart: Chart) -> Mapping[str, object]:
    """Return what a script needs to show the levels as numbers, as JSON can say it."""
    levels = [[_short(level.start), _short(level.end), _short(level.height)] for level in chart.levels]
    return {"name": chart.name, "x": chart.x.unit, "y": chart.y.unit, "levels": levels}


def _short(value: float) -> float:
    return float(f"{value:.7g}")


def _ends(chart: Chart) -> tuple[float, float]:
    """Return where the axes end (rule 2)."""
    highest = max(level.height for level in chart.levels) or 1.0
    step = _round_step(highest / 4)
    return chart.levels[-1].end, ceil(highest / step - 1e-9) * step


def _horizontal_lines(top: float) -> str:
    marks = ticks(top, 4)
    lines = []
    for mark in marks:
        y = f"{100 - 100 * mark / top:.2f}%"
        text = f'<text class="y" x="-8" y="{y}" dy="4">{_tick_text(mark, marks[1])}</text>'
        lines.append(f'<line x1="0" x2="100%" y1="{y}" y2="{y}"/>{text}')
    return "".join(lines)


def _vertical_ticks(right: float) -> str:
    # Long numbers need room on a narrow screen.
    marks = ticks(right, 5 if right < 20_000 else 3)
    texts = []
    for mark in marks:
        share = 100 * mark / right
        # A text that would stand out on the right ends at its tick.
        side = ' class="last"' if share > 96 else ""
        texts.append(f'<text{side} x="{share:.2f}%" y="100%" dy="18">{_tick_text(mark, marks[1])}</text>')
    return "".join(texts)


def _curve(chart: Chart, right: float, top: float) -> str:
    def down(value: float) -> str:
        return f"{BOX - BOX * value / top:.1f}"

    def across(value: float) -> str:
        return f"{BOX * value / right:.1f}"

    steps = "".join(f"V{down(level.height)}H{across(level.end)}" for level in chart.levels)
    start = across(chart.levels[0].start)
    mean = "" if chart.mean is None else f'<path class="mean" d="M0 {down(chart.mean)}H{BOX}"/>'
    return (
        f'<svg viewBox="0 0 {BOX} {BOX}" preserveAspectRatio="none" width="100%" height="100%">'
        f'<path class="area" d="M{start} {BOX}{steps}V{BOX}Z"/>{mean}'
        f'<path class="curve" d="M{start} {down(chart.levels[0].height)}{steps}"/></svg>'
    )
