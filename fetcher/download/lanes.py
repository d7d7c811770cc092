"""Several connections for one file: which brings what, and are more of them worthwhile?

A lane is what one connection brings.  Rules:

* Nothing is shared out before it has begun to come: the first lane is the whole of what is missing.
* Whoever is to help is offered the later half of the longest lane.  It is his once the right answer has begun; until
  then, and if it never comes, the lane goes on over the middle.
* Twice as many lanes are tried when much is left at the rate that was measured.  They stay if all together are that
  much quicker: so it is where each connection is limited, or the way is long.  Else the last to come go, for good.
* A connection that is through with its lane takes what nobody brings, or half of the lane that will take longest; of
  one that brings next to nothing it takes all that is left.

This file is pure: times are monotonic, in seconds, and come from outside; rates are in bytes per second.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from fetcher.segments import Segment

__all__ = ["END", "Growth", "Lane", "Lanes"]

# Where a lane ends whose file has no known size.
END = (1 << 63) - 1
# Less is not worth a request: one round trip of a long way brings as much.
LEAST = 1 << 20
# Seconds that must be left, to open more lanes; and for each half of a lane that is shared out.
WORTH_OPENING = 1.0
WORTH_HALVING = 0.5
# A connection so many times slower than usual is not waited for, if what is left of its lane takes as many seconds.
SLOW = 4.0
# A connection that is as quick as this is limited by the machine, not by the way.
FAST = 256e6
# Seconds over which a rate is measured, and how many times the earlier rate is worth having more lanes.
WINDOW = 0.5
GAIN = 1.25


@dataclass(eq=False)
class Lane:
    """The bytes `[at, stop)` are still to come; `stop` moves down when somebody else brings the later half.

    `half_of` is the lane that it is offered from, None once it is its own.  Its bytes began at `first`, at the time
    `began`.
    """

    at: int
    stop: int
    half_of: "Lane | None" = None
    first: int = 0
    began: float = 0.0
    was_cut: bool = False
    is_offered: bool = False

    @property
    def left(self) -> int:
        """The bytes still to come."""
        return self.stop - self.at

    def rate(self, now: float, usual: float) -> float:
        """The bytes per second so far; the usual rate, if it is too early to say."""
        age = now - self.began
        return (self.at - self.first) / age if age >= WINDOW else usual


class Lanes:
    """All of one file; `missing` is what is not here yet."""

    def __init__(self, missing: Iterable[Segment]) -> None:
        self._waiting = deque(missing)
        self.active: list[Lane] = []

    @property
    def left(self) -> int:
        """The bytes still to come."""
        brought = sum(lane.left for lane in self.active if lane.half_of is None)
        return brought + sum(segment.stop - segment.start for segment in self._waiting)

    @property
    def are_settled(self) -> bool:
        """Whether every lane is its own."""
        return all(lane.half_of is None for lane in self.active)

    def next(self, now: float, least: int = END, usual: float = 0.0) -> Lane | None:
        """Return a lane for a connection that is free: what nobody brings, else a share of another's.

        `least` are the bytes of a half that is worth a request, `usual` is the rate of a connection.
        """
        if self._waiting:
            segment = self._waiting.popleft()
            lane: Lane | None = Lane(segment.start, segment.stop)
        else:
            lane = self._share(now, least, usual)
        if lane is not None:
            lane.first, lane.began = lane.at, now
            self.active.append(lane)
        return lane

    def _share(self, now: float, least: int, usual: float) -> Lane | None:
        whole = [lane for lane in self.active if lane.half_of is None and not lane.is_offered]
        longest = max(whole, key=lambda lane: lane.left / max(1.0, lane.rate(now, usual)), default=None)
        if longest is None:
            return None
        rate, kept = longest.rate(now, usual), longest.left // 2
        if SLOW * rate < usual and longest.left > SLOW * rate:
            kept = min(kept, int(rate * WORTH_HALVING))
        elif longest.left < 2 * least:
            return None
        longest.is_offered = True
        return Lane(longest.at + kept, longest.stop, half_of=longest)

    def accept(self, lane: Lane, now: float) -> bool:
        """Take note that the right answer has begun; False if the half on offer has been brought meanwhile."""
        lane.first, lane.began = lane.at, now
        whole = self._withdraw(lane)
        if whole is None:
            return True
        if whole in self.active and whole.at <= lane.at:
            whole.stop, whole.was_cut = lane.at, True
            return True
        lane.stop = lane.at
        return False

    def leave(self, lane: Lane) -> None:
        """Take note that a connection is through with its lane; what is left of it waits for another."""
        self.active.remove(lane)
        if self._withdraw(lane) is None and lane.left > 0:
            self._waiting.append(Segment(lane.at, lane.stop))

    def begin_anew(self, lane: Lane, total: int | None, now: float) -> None:
        """Make it the only lane, of all bytes."""
        self._waiting.clear()
        lane.at, lane.stop = 0, END if total is None else total
        lane.first, lane.began, lane.was_cut = 0, now, False

    def _withdraw(self, lane: Lane) -> Lane | None:
        """End the offer, if it was one, and return the lane that it was made from."""
        whole, lane.half_of = lane.half_of, None
        if whole is not None:
            whole.is_offered = False
        return whole


@dataclass
class Growth:
    """Whether more lanes are worthwhile, or fewer will do."""

    is_over: bool = False
    _rate: float = 0.0
    _lanes: int = 0
    # How many there were, and how quick, before the latest were opened.
    _before: tuple[int, float] | None = None
    _window: tuple[float, int] = field(default=(0.0, 0))

    @property
    def usual_rate(self) -> float:
        """Of one connection."""
        return self._rate / max(1, self._lanes)

    @property
    def worth_halving(self) -> int:
        """The bytes of a half that is worth a request."""
        return max(LEAST, int(WORTH_HALVING * self.usual_rate))

    def measure(self, now: float, received: int, lanes: Lanes) -> bool:
        """Take note of the bytes so far, over all lanes; say whether a window has ended, and there is to decide."""
        began, before = self._window
        if self.is_over or not lanes.are_settled or len(lanes.active) != self._lanes:
            self._lanes, self._window = len(lanes.active), (now, received)
            return False
        if now - began < WINDOW:
            return False
        self._rate, self._window = (received - before) / (now - began), (now, received)
        return True

    def decide(self, left: int, most: int) -> int:
        """Return how many lanes to open, or (negative) to close, by the rate of the window that has ended.

        `left` are the bytes still to come; at most `most` lanes are to be open.
        """
        if self._before is not None:
            lanes, rate = self._before
            if self._lanes <= lanes or self._rate < GAIN * rate:
                self.is_over = True
                return min(0, lanes - self._lanes)
            self._before = None
        seconds_left = left / self._rate if self._rate > 0 else 0.0  # less than nothing came if it was begun anew
        if seconds_left < WORTH_OPENING or self._rate > FAST * self._lanes:
            return 0
        more = min(self._lanes, most - self._lanes, left // (2 * self.worth_halving))
        if more > 0:
            self._before = self._lanes, self._rate
        return max(0, more)
