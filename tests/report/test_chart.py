"""Charts: round ticks, levels in their place, and what a run's samples come to."""

from __future__ import annotations

import re
from itertools import pairwise
from operator import attrgetter
from xml.etree import ElementTree

import pytest
from hypothesis import given, strategies as st

from fetcher.report.chart import BOX, Axis, Chart, Level, data, draw, ticks
from fetcher.report.charts import MOST_INTERVALS, against_files, intervals, over_time
from fetcher.report.samples import Sample

STEADY = [Sample(second / 10, second, second * 10**6, 50_000_000) for second in range(501)]
SAMPLES = st.lists(
    st.tuples(st.just(0) | st.floats(1e-9, 50), st.integers(0, 10**4), st.integers(0, 10**9), st.integers(0, 10**10)),
    max_size=300,
)


def running(steps: list[tuple[float, int, int, int]]) -> list[Sample]:
    found = [Sample(0, 0, 0, 0)]
    for wait, files, size, memory in steps:
        last = found[-1]
        found.append(Sample(last.seconds + wait, last.files + files, last.bytes + size, memory))
    return found[1:]


@pytest.mark.parametrize(
    ("most", "count", "expected"),
    [
        (60.2, 5, [0, 20, 40, 60]),
        (1_000_000, 4, [0, 500_000, 1_000_000]),
        (0.3, 4, [0, 0.1, 0.2, 0.3]),
        (0, 4, [0]),
        (1, 5, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
    ],
)
def test_ticks(most: float, count: int, expected: list[float]) -> None:
    assert ticks(most, count) == pytest.approx(expected)


@given(st.floats(1e-6, 1e15), st.integers(3, 8))
def test_ticks_are_few_and_cover_the_axis(most: float, count: int) -> None:
    marks = ticks(most, count)
    assert marks[0] == 0
    assert marks[-1] <= most * (1 + 1e-6)
    assert 2 <= len(marks) <= count + 1
    assert most - marks[-1] < marks[1] * (1 + 1e-6)


def test_a_drawing() -> None:
    levels = [Level(0, 5, 10), Level(5, 20, 40)]
    text = draw(Chart("speed", Axis("<time>", "s"), Axis("Rate", "MB/s"), levels, 'mean "32"', mean=32))
    figure = ElementTree.fromstring(text)
    paths = {path.get("class"): path.get("d") for path in figure.iter("path")}
    assert paths["curve"] == "M0.0 750.0V750.0H250.0V0.0H1000.0"
    assert paths["area"] == "M0.0 1000V750.0H250.0V0.0H1000.0V1000Z"
    assert paths["mean"] == "M0 200.0H1000"
    assert [text.text for text in figure.iter("text")] == ["0", "10", "20", "30", "40", "0", "5", "10", "15", "20"]
    svg = figure.find("svg")
    assert svg is not None
    assert (svg.get("role"), svg.get("aria-label")) == ("img", 'Rate against <time>: mean "32"')


def test_no_level_no_curve() -> None:
    text = draw(Chart("speed", Axis("time", "s"), Axis("Rate", "MB/s"), [], ""))
    assert "<path" not in text
    assert "Too short a run" in text


@pytest.mark.parametrize("samples", [[], [Sample(0, 0, 0, 7)], [Sample(0, 5, 5, 5)], [Sample(3, 0, 0, 7)] * 2])
def test_a_run_without_files_or_without_time_has_no_curve_against_files(samples: list[Sample]) -> None:
    assert [chart.levels for chart in against_files(samples)] == [[], []]


def test_one_sample_is_one_level() -> None:
    speed, files = over_time([Sample(2, 10, 4_000_000, 7)])
    assert speed.levels == [Level(0, 2, 2)]
    assert (speed.summary, speed.y.unit) == ("mean 2.00, peak 2.00 MB/s", "MB/s")
    assert files.levels == [Level(0, 2, 5)]
    rate, memory = against_files([Sample(2, 10, 4_000_000, 7)])
    assert rate.levels == [Level(0, 10, 5)]
    assert (memory.levels, memory.summary) == ([Level(0, 10, 7)], "peak 7.00 bytes")


def test_a_steady_run_is_level() -> None:
    for chart, height in zip((*over_time(STEADY), *against_files(STEADY)), (10, 10, 10, 50), strict=True):
        assert [level.height for level in chart.levels] == pytest.approx([height] * len(chart.levels))
        assert MOST_INTERVALS / 2 < len(chart.levels) <= MOST_INTERVALS


def test_a_moment_at_the_end_belongs_to_the_interval_before() -> None:
    *_, last = intervals([*STEADY, Sample(50.001, 501, 500_000_000, 90)], attrgetter("seconds"))
    assert last.after.seconds == 50.001
    assert last.after.seconds - last.before.seconds > 0.3
    assert last.memory == 50_000_000


@pytest.mark.parametrize(("seconds", "unit"), [(179, "s"), (181, "min"), (20_000, "h")])
def test_units_of_time(seconds: float, unit: str) -> None:
    speed, _ = over_time([Sample(seconds, 1, 1, 1)])
    assert speed.x.unit == unit


@given(SAMPLES)
def test_curves_stay_in_their_box(steps: list[tuple[float, int, int, int]]) -> None:
    samples = running(steps)
    for chart in (*over_time(samples), *against_files(samples)):
        text = draw(chart)
        ElementTree.fromstring(text)
        assert len(chart.levels) <= MOST_INTERVALS
        assert all(before.end == after.start for before, after in pairwise(chart.levels))
        for path in re.findall(r' d="([^"]*)"', text):
            numbers = [float(number) for number in re.findall(r"[^A-Z ]+", path)]
            assert all(0 <= number <= BOX for number in numbers), path
        assert len(data(chart)["levels"]) == len(chart.levels)  # type: ignore[arg-type]


@given(SAMPLES)
def test_intervals_leave_nothing_out(steps: list[tuple[float, int, int, int]]) -> None:
    samples = running(steps)
    for position in (attrgetter("seconds"), attrgetter("files")):
        found = intervals(samples, position)
        assert all(before.after is after.before for before, after in pairwise(found))
        if found:
            assert found[0].before == Sample(0, 0, 0, 0)
            assert found[-1].after is samples[-1]
            assert max(item.memory for item in found) == max(sample.memory for sample in samples)
