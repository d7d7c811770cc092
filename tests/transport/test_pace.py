"""At most so many bytes a second."""

import pytest
from hypothesis import given, strategies as st

from fetcher.transport.pace import BURST, Pace


def test_bytes_are_paid_for_with_time() -> None:
    pace = Pace(1000)
    assert pace.pause(250, now=10.0) == 0.0  # what was saved up
    assert pace.pause(500, now=10.0) == pytest.approx(0.5)
    assert pace.pause(500, now=10.5) == pytest.approx(0.5)


def test_all_pay_into_one_purse() -> None:
    pace = Pace(1000)
    pauses = [pace.pause(1000, now=0.0) for _ in range(3)]
    assert pauses == pytest.approx([1 - BURST, 2 - BURST, 3 - BURST])


@given(st.lists(st.tuples(st.integers(0, 100_000), st.floats(0, 2)), min_size=1))
def test_the_rate_is_kept_over_any_time(steps: list[tuple[int, float]]) -> None:
    pace, now, taken = Pace(10_000), 0.0, 0
    for count, idle in steps:
        now += idle
        taken += count
        now += pace.pause(count, now)
        assert taken <= 10_000 * (now + BURST) + 1e-3
