"""What is kept of a run's samples, however many there are."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from fetcher.report.samples import FIRST_INTERVAL, LIMIT, Sample, Samples

STEPS = st.lists(
    st.tuples(st.floats(0.001, 5), st.integers(0, 50), st.integers(0, 10**7), st.integers(1, 10**9)), max_size=2500
)


def taken(steps: list[tuple[float, int, int, int]]) -> list[Sample]:
    found, seconds, files, size = [], 0.0, 0, 0
    for wait, more_files, more_bytes, memory in steps:
        seconds, files, size = seconds + wait, files + more_files, size + more_bytes
        found.append(Sample(seconds, files, size, memory))
    return found


def totals(sample: Sample) -> tuple[float, int, int]:
    return sample.seconds, sample.files, sample.bytes


@given(STEPS)
def test_whatever_is_added(steps: list[tuple[float, int, int, int]]) -> None:
    samples, added = Samples(), taken(steps)
    for sample in added:
        samples.add(sample)
        assert len(samples.kept) < LIMIT
    kept = samples.kept
    rest = iter(map(totals, added))
    assert all(totals(sample) in rest for sample in kept)  # a subsequence
    assert kept[:1] == tuple(added[:1])
    assert list(map(totals, kept[-1:])) == list(map(totals, added[-1:]))
    assert max((sample.memory for sample in kept), default=0) == max((sample.memory for sample in added), default=0)


@pytest.mark.parametrize("seconds", [0, 7, 49, 51, 3600, 24 * 3600])
def test_those_that_are_due_stay_evenly_spaced(seconds: int) -> None:
    samples, step = Samples(), 0.05
    for number in range(int(seconds / step) + 1):
        if not samples.kept or number * step >= samples.kept[-1].seconds + samples.interval:
            samples.add(Sample(number * step, number, number, 1))
    gaps = [after.seconds - before.seconds for before, after in zip(samples.kept, samples.kept[1:], strict=False)]
    assert not gaps or max(gaps) < 2.1 * min(gaps)
    assert len(samples.kept) < LIMIT
    assert seconds < FIRST_INTERVAL * LIMIT * 2 or len(samples.kept) >= LIMIT // 2
    assert samples.kept[0].seconds == 0


def test_memory_of_a_sample_that_goes_is_counted_for_the_next() -> None:
    samples = Samples()
    for number in range(LIMIT):
        samples.add(Sample(number, number, number, 900 if number == 3 else 100))
    assert [sample.memory for sample in samples.kept[:4]] == [100, 100, 900, 100]
    assert [sample.seconds for sample in samples.kept[:4]] == [0, 2, 4, 6]
    assert samples.interval == 2 * FIRST_INTERVAL
