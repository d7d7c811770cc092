"""How many requests one host is sent at once."""

import pytest
from hypothesis import given, strategies as st

from fetcher.transport.limit import FIRST, Limit

QUICK = 0.050
LATE = 0.500


def test_it_begins_with_a_few_and_with_no_more_than_are_allowed() -> None:
    assert Limit(most=100).now == FIRST
    assert Limit(most=7).now == 7
    assert Limit(most=1).now == 1


def test_it_doubles_in_a_round_trip_up_to_the_most() -> None:
    limit = Limit(most=100)
    for _ in range(FIRST):
        limit.answered(QUICK)
    assert limit.now == 2 * FIRST
    for _ in range(200):
        limit.answered(QUICK)
    assert limit.now == 100


@pytest.mark.parametrize(
    ("seconds", "grown"), [(QUICK, 1), (QUICK * 1.5, 1), (QUICK * 1.5 + 0.004, 1), (QUICK * 1.5 + 0.006, 0), (LATE, 0)]
)
def test_a_late_answer_leaves_it_as_it_is(seconds: float, grown: int) -> None:
    limit = Limit(most=100)
    limit.answered(QUICK)
    before = limit.now
    limit.answered(seconds)
    assert limit.now == before + grown


def test_after_a_late_answer_it_grows_slowly() -> None:
    limit = Limit(most=100)
    limit.answered(QUICK)
    limit.answered(LATE)
    before = limit.now
    for _ in range(before - 1):
        limit.answered(QUICK)
    assert limit.now == before
    limit.answered(LATE)  # those before it still count
    limit.answered(QUICK)
    assert limit.now == before + 1


def test_the_first_answer_has_nothing_to_be_late_against() -> None:
    limit = Limit(most=100)
    limit.answered(10)
    assert limit.now == FIRST + 1
    limit.answered(QUICK)  # the connection was new, and this one is not
    assert limit.now == FIRST + 2


def test_a_complaint_halves_it_once_for_all_that_were_under_way() -> None:
    limit = Limit(most=100)
    limit.complained(began=1.0, now=2.0)
    assert limit.now == FIRST // 2
    limit.complained(began=1.5, now=2.1)
    assert limit.now == FIRST // 2
    limit.complained(began=2.0, now=2.2)
    assert limit.now == FIRST // 4


def test_it_never_falls_below_one() -> None:
    limit = Limit(most=3)
    for second in range(10):
        limit.complained(began=second, now=second)
    assert limit.now == 1


def test_after_a_complaint_it_grows_by_one_for_as_many_answers_as_it_is() -> None:
    limit = Limit(most=100)
    limit.complained(began=1.0, now=2.0)
    for _ in range(FIRST // 2 - 1):
        limit.answered(QUICK)
    assert limit.now == FIRST // 2
    limit.answered(QUICK)
    assert limit.now == FIRST // 2 + 1
    for _ in range(FIRST // 2 + 1):
        limit.answered(QUICK)
    assert limit.now == FIRST // 2 + 2


@given(
    most=st.integers(1, 200),
    seen=st.lists(
        st.one_of(st.floats(0, 100).map(lambda s: ("answer", s)), st.floats(0, 100).map(lambda s: ("complaint", s)))
    ),
)
def test_it_stays_within_its_bounds(most: int, seen: list[tuple[str, float]]) -> None:
    limit = Limit(most)
    for kind, seconds in seen:
        before = limit.now
        if kind == "answer":
            limit.answered(seconds)
            assert before <= limit.now <= before + 1
        else:
            limit.complained(seconds, seconds)
            assert limit.now in {before, max(1, before // 2)}
        assert 1 <= limit.now <= most
