"""The charts of a report: what the samples of a run say.

1. Rates are means over intervals of about equal width, so many that each can be seen; a rest that is narrower belongs
   to the interval before it, for the rate over a moment says nothing.
2. Memory is the highest in the interval.
3. Time is in seconds, minutes or hours, and bytes are in the unit that fits the highest value.

This file is pure.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter

from fetcher.report.chart import Axis, Chart, Level
from fetcher.report.samples import Sample

__all__ = ["Interval", "against_files", "intervals", "over_time"]

# As many levels as can be told apart on a narrow screen.
MOST_INTERVALS = 120
START = Sample(0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Interval:
    """What came between two samples; `memory` is the highest meanwhile, in bytes."""

    before: Sample
    after: Sample
    memory: int

    @property
    def files_per_second(self) -> float:
        """The mean rate."""
        return (self.after.files - self.before.files) / (self.after.seconds - self.before.seconds)

    @property
    def bytes_per_second(self) -> float:
        """The mean rate."""
        return (self.after.bytes - self.before.bytes) / (self.after.seconds - self.before.seconds)


def over_time(samples: Sequence[Sample]) -> tuple[Chart, Chart]:
    """Return bytes and files a second against time."""
    found = intervals(samples, attrgetter("seconds"))
    last = samples[-1] if found else START
    divisor, unit, word = _time_unit(last.seconds)
    places = [(item.before.seconds / divisor, item.after.seconds / divisor) for item in found]
    x = Axis(f"{word} since the start", unit)
    scale, size_unit = _size_unit(max((item.bytes_per_second for item in found), default=0))
    speeds = _levels(places, [item.bytes_per_second / scale for item in found])
    files = _levels(places, [item.files_per_second for item in found])
    return (
        _rate_chart("speed", x, Axis("Download rate", f"{size_unit}/s"), speeds, last.bytes / scale, last.seconds),
        _rate_chart("files-over-time", x, Axis("File rate", "files/s"), files, last.files, last.seconds),
    )


def against_files(samples: Sequence[Sample]) -> tuple[Chart, Chart]:
    """Return files a second and memory against the number of files done."""
    found = intervals(samples, attrgetter("files"))
    last = samples[-1] if found else START
    places = [(item.before.files, item.after.files) for item in found]
    x = Axis("files done", "files")
    rates = _levels(places, [item.files_per_second for item in found])
    scale, unit = _size_unit(max((item.memory for item in found), default=0))
    memory = _levels(places, [item.memory / scale for item in found])
    most = f"peak {_brief(max(level.height for level in memory))} {unit}" if memory else ""
    return (
        _rate_chart("files-against-files", x, Axis("File rate", "files/s"), rates, last.files, last.seconds),
        Chart("memory", x, Axis("Resident memory", unit), memory, most),
    )


def intervals(samples: Sequence[Sample], position: Callable[[Sample], float]) -> list[Interval]:
    """Cut a run into at most MOST_INTERVALS, of about equal width in `position` (rules 1 and 2)."""
    found: list[Interval] = []
    width = position(samples[-1]) / MOST_INTERVALS if samples else 0
    before, memory = START, 0
    for sample in samples:
        memory = max(memory, sample.memory)
        reached = position(sample) - position(before)
        if reached > 0 and reached >= width and sample.seconds > before.seconds:
            found.append(Interval(before, sample, memory))
            before, memory = sample, 0
    if found and before is not samples[-1]:
        rest = found.pop()
        found.append(Interval(rest.before, samples[-1], max(rest.memory, memory)))
    return found


def _levels(places: Sequence[tuple[float, float]], heights: Sequence[float]) -> list[Level]:
    return [Level(start, end, height) for (start, end), height in zip(places, heights, strict=True)]


def _rate_chart(name: str, x: Axis, y: Axis, levels: Sequence[Level], total: float, seconds: float) -> Chart:
    if not levels:
        return Chart(name, x, y, levels, "")
    mean, most = total / seconds, max(level.height for level in levels)
    return Chart(name, x, y, levels, f"mean {_brief(mean)}, peak {_brief(most)} {y.unit}", mean)


def _brief(value: float) -> str:
    """Return three digits, or all before the point: `0.123`, `12.0`, `1,234`."""
    return f"{value:,.0f}" if value >= 99.95 else f"{value:#.3g}"


def _time_unit(seconds: float) -> tuple[float, str, str]:
    if seconds < 180:
        return 1, "s", "seconds"
    return (60, "min", "minutes") if seconds < 3 * 3600 else (3600, "h", "hours")


def _size_unit(most: float) -> tuple[float, str]:
    for divisor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if most >= divisor:
            return divisor, unit
    return 1, "bytes"
