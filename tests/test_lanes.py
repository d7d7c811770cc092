"""Which connection brings what, and whether more are worthwhile: no socket, no clock."""

import pytest
from hypothesis import given, strategies as st

from fetcher.download.lanes import FAST, GAIN, LEAST, WINDOW, WORTH_HALVING, Growth, Lane, Lanes
from fetcher.segments import Segment

MB = 1_000_000
TOTAL = 100 * MB
DEEDS = st.sampled_from(["answer", "bytes", "fail", "help"])


def whole(total: int = TOTAL) -> tuple[Lanes, Lane]:
    """A file that one connection has begun to bring."""
    lanes = Lanes([Segment(0, total)])
    lane = lanes.next(0.0)
    assert lane is not None
    return lanes, lane


def half(lanes: Lanes, least: int = LEAST) -> Lane:
    lane = lanes.next(0.0, least)
    assert lane is not None
    return lane


class TestSharing:
    def test_the_first_lane_is_all_that_is_missing(self) -> None:
        lanes, lane = whole()
        assert (lane.at, lane.stop, lanes.left) == (0, TOTAL, TOTAL)

    def test_the_later_half_is_offered(self) -> None:
        lanes, first = whole()
        first.at = 20 * MB
        second = half(lanes)
        assert (second.at, second.stop) == (60 * MB, TOTAL)
        assert first.stop == TOTAL, "until the answer has begun"

    def test_it_is_his_once_the_answer_has_begun(self) -> None:
        lanes, first = whole()
        second = half(lanes)
        assert lanes.accept(second, 0.0)
        assert (first.stop, first.was_cut) == (50 * MB, True)
        assert lanes.left == TOTAL

    def test_without_an_answer_the_first_goes_on(self) -> None:
        lanes, first = whole()
        lanes.leave(half(lanes))
        assert (first.stop, first.was_cut, lanes.left) == (TOTAL, False, TOTAL)
        assert lanes.next(0.0, LEAST) is not None, "and another may be offered the half"

    def test_too_late(self) -> None:
        """The first has gone over the middle before the answer began."""
        lanes, first = whole()
        second = half(lanes)
        first.at = 50 * MB + 1
        assert not lanes.accept(second, 0.0)
        assert (first.stop, second.left) == (TOTAL, 0)

    def test_just_in_time(self) -> None:
        lanes, first = whole()
        second = half(lanes)
        first.at = 50 * MB
        assert lanes.accept(second, 0.0)
        assert first.left == 0

    def test_the_first_failed_before_the_answer_began(self) -> None:
        """All that it left waits for somebody, the half on offer too: it is not brought twice."""
        lanes, first = whole()
        second = half(lanes)
        first.at = MB
        lanes.leave(first)
        assert not lanes.accept(second, 0.0)
        lanes.leave(second)
        following = half(lanes)
        assert (following.at, following.stop, following.half_of) == (MB, TOTAL, None)

    def test_one_offer_at_a_time(self) -> None:
        lanes, _ = whole()
        half(lanes)
        assert lanes.next(0.0, LEAST) is None

    def test_the_longest_is_halved(self) -> None:
        lanes, first = whole()
        second = half(lanes)
        lanes.accept(second, 0.0)
        first.at = 10 * MB
        third = half(lanes)
        assert (third.at, third.stop) == (75 * MB, TOTAL)

    def test_what_is_left_of_a_lane_waits_and_comes_first(self) -> None:
        lanes, _ = whole()
        second = half(lanes)
        lanes.accept(second, 0.0)
        second.at += MB
        lanes.leave(second)
        third = half(lanes)
        assert (third.at, third.stop, third.half_of) == (51 * MB, TOTAL, None)

    @pytest.mark.parametrize("left", [0, 1, 2 * LEAST - 1])
    def test_too_little_to_share(self, left: int) -> None:
        lanes, first = whole()
        first.at = first.stop - left
        assert lanes.next(0.0, LEAST) is None

    def test_next_to_nothing_is_not_waited_for(self) -> None:
        """However little is left of it; what it brings in a moment it keeps."""
        lanes, first = whole()
        first.at, first.stop = 10_000, 210_000
        third = lanes.next(10.0, LEAST, 20e6)
        assert third is not None
        assert (third.at, third.stop) == (10_500, 210_000)

    def test_one_that_has_just_begun_is(self) -> None:
        lanes, first = whole()
        first.stop = 200_000
        assert lanes.next(WINDOW / 2, LEAST, 20e6) is None

    def test_one_that_is_as_slow_as_all_is(self) -> None:
        lanes, first = whole()
        first.at, first.stop = 10_000, 210_000
        assert lanes.next(10.0, LEAST, 1_000.0) is None

    def test_gaps_of_an_earlier_run(self) -> None:
        lanes = Lanes([Segment(5, 10), Segment(20, 30)])
        assert lanes.left == 15
        first, second = half(lanes), half(lanes)
        assert [(lane.at, lane.stop, lane.half_of) for lane in (first, second)] == [(5, 10, None), (20, 30, None)]

    def test_begun_anew(self) -> None:
        lanes = Lanes([Segment(5, 10), Segment(20, 30)])
        lane = half(lanes)
        lanes.begin_anew(lane, 40, 0.0)
        assert (lane.at, lane.stop, lanes.left) == (0, 40, 40)

    @given(
        st.integers(1, 10_000),
        st.lists(
            st.tuples(st.integers(0, 9), st.sampled_from(["answer", "bytes", "fail", "help"]), st.integers(1, 2_000))
        ),
    )
    def test_every_byte_is_brought_once(self, total: int, deeds: list[tuple[int, str, int]]) -> None:
        """Whatever order answers, bytes and failures come in."""
        lanes, _ = whole(total)
        brought = [0] * total
        ending = [(0, deed, total) for deed in ("answer", "bytes")] * (2 * len(deeds) + 2)
        for number, deed, count in (*deeds, *ending):
            if not lanes.active and lanes.next(0.0, 100) is None:
                break
            lane = lanes.active[number % len(lanes.active)]
            if deed == "answer" and lane.half_of is not None and not lanes.accept(lane, 0.0):
                lanes.leave(lane)
            elif deed == "bytes" and lane.half_of is None:
                places = range(lane.at, min(lane.stop, lane.at + count))
                for place in places:
                    brought[place] += 1
                lane.at += len(places)
                if not lane.left:
                    lanes.leave(lane)
                    lanes.next(0.0, 100)
            elif deed == "fail":
                lanes.leave(lane)
            elif deed == "help":
                lanes.next(0.0, 100)
            assert lanes.left == brought.count(0)
        assert set(brought) == {1}


def decide(growth: Growth, now: float, received: int, lanes: Lanes, most: int = 8) -> int:
    """As it is asked for each chunk."""
    return growth.decide(lanes.left, most) if growth.measure(now, received, lanes) else 0


class Link:
    """A file on its way: each connection brings `each` bytes a second, all together at most `all_together`."""

    def __init__(self, each: float, all_together: float = 1e12, total: int = 500 * MB, most: int = 8) -> None:
        self.lanes, _ = whole(total)
        self.growth = Growth()
        self.each, self.all_together, self.most = each, all_together, most
        self.now = self.received = 0.0
        self.counts: list[int] = []

    def run(self, seconds: float) -> list[int]:
        """Let time go by; return how many connections there were, without repetition."""
        until = self.now + seconds
        while self.now < until and self.lanes.left > 0:
            self.step(0.01)
            change = decide(self.growth, self.now, int(self.received), self.lanes, self.most)
            for _ in range(change):
                if (lane := self.lanes.next(self.now, self.growth.worth_halving, self.growth.usual_rate)) is not None:
                    self.lanes.accept(lane, self.now)
            for lane in self.lanes.active[change:] if change < 0 else ():
                self.lanes.leave(lane)
            if self.counts[-1:] != [len(self.lanes.active)]:
                self.counts.append(len(self.lanes.active))
        return self.counts

    def step(self, seconds: float) -> None:
        self.now += seconds
        count = len(self.lanes.active)
        for lane in self.lanes.active:
            brought = min(lane.left, int(seconds * min(self.each, self.all_together / count)))
            lane.at += brought
            self.received += brought


class TestGrowth:
    def test_a_limit_of_each_connection(self) -> None:
        assert Link(20e6).run(4) == [1, 2, 4, 8]

    def test_as_many_as_the_host_takes(self) -> None:
        assert Link(20e6, most=3).run(4) == [1, 2, 3]

    def test_alone_where_it_is_all_it_may(self) -> None:
        assert Link(20e6, most=1).run(4) == [1]

    def test_a_shared_limit(self) -> None:
        """The second brings nothing more: it goes, and none is tried again."""
        assert Link(50e6, all_together=50e6).run(9) == [1, 2, 1]

    def test_back_to_what_was_worthwhile(self) -> None:
        assert Link(20e6, all_together=45e6).run(5) == [1, 2, 4, 2]

    @pytest.mark.parametrize("total", [100_000, 1 * MB, 20 * MB])
    def test_never_for_what_is_here_in_a_moment(self, total: int) -> None:
        assert Link(20e6, total=total).run(4) == [1]

    def test_never_for_a_small_file_however_slow(self) -> None:
        assert Link(10_000, total=2 * LEAST).run(300) == [1]

    def test_a_slow_way(self) -> None:
        """Even the last lane is shared as long as a half is worth a request."""
        assert Link(100_000, total=8 * LEAST).run(20) == [1, 2, 4]

    def test_not_where_the_machine_is_the_limit(self) -> None:
        assert Link(2 * FAST, total=100_000 * MB).run(10) == [1]

    def test_a_rate_that_falls(self) -> None:
        link = Link(2 * FAST, total=100_000 * MB)
        link.run(3)
        link.each = 20e6
        assert link.run(4) == [1, 2, 4, 8]

    def test_nothing_is_decided_before_a_window_is_over(self) -> None:
        lanes, _ = whole()
        growth = Growth()
        decided = [decide(growth, now, int(now * 20e6), lanes) for now in (0.0, WINDOW / 2, WINDOW * 0.99)]
        assert decided == [0, 0, 0]

    def test_nothing_is_decided_while_an_answer_is_awaited(self) -> None:
        lanes, _ = whole(500 * MB)
        growth = Growth()
        assert [decide(growth, now, int(now * 20e6), lanes) for now in (0.0, WINDOW)] == [0, 1]
        half(lanes)
        assert [decide(growth, now, int(now * 20e6), lanes) for now in (WINDOW, 9 * WINDOW, 20 * WINDOW)] == [0, 0, 0]

    def test_refused(self) -> None:
        """The helper went without an answer: no other is tried."""
        lanes, _ = whole(500 * MB)
        growth = Growth()
        assert [decide(growth, now, int(now * 20e6), lanes) for now in (0.0, WINDOW)] == [0, 1]
        lanes.leave(half(lanes))
        assert [decide(growth, now, int(now * 20e6), lanes) for now in (2 * WINDOW, 4 * WINDOW)] == [0, 0]
        assert growth.is_over

    def test_begun_anew_the_rate_means_nothing(self) -> None:
        lanes, _ = whole(500 * MB)
        growth = Growth()
        assert [decide(growth, now, count, lanes) for now, count in ((0.0, 50 * MB), (WINDOW, 0))] == [0, 0]

    def test_a_half_worth_a_request_grows_with_the_rate(self) -> None:
        link = Link(20e6)
        assert link.growth.worth_halving == LEAST
        link.run(3)
        assert link.growth.worth_halving == pytest.approx(WORTH_HALVING * 20e6, rel=GAIN - 1)
