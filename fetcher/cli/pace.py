"""How things stand at a moment: rates, and the time and the bytes that are left."""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import assert_never

from fetcher.cli.tally import Tally, kind_of
from fetcher.download.events import Event, Progress, Retry
from fetcher.words import size

__all__ = ["Active", "Pace", "View"]

# Rates are means over so many seconds.
WINDOW = 5.0


class Speed:
    """Bytes per second over the last seconds."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def add(self, now: float, count: int) -> None:
        """Note that `count` bytes have come by now."""
        self._samples.append((now, count))
        while len(self._samples) > 2 and self._samples[1][0] <= now - WINDOW:
            self._samples.popleft()

    @property
    def rate(self) -> float:
        """Return the mean rate, 0 if there is none yet; a failed file takes its bytes along."""
        (began, before), (now, count) = self._samples[0], self._samples[-1]
        return max(0.0, (count - before) / (now - began)) if now > began else 0.0


@dataclass
class Active:
    """A file under way, first seen at `since`.

    `base` is where its counting begins, once there was progress: a file that is resumed does not begin at 0.  `retry`
    says why an attempt failed, until there is progress again.
    """

    name: str
    since: float
    moved_at: float
    base: int | None = None
    received: int = 0
    total: int | None = None
    retry: str = ""
    speed: Speed = field(default_factory=Speed)

    def see(self, event: Event, now: float) -> None:
        """Take in the latest event."""
        match event:
            case Retry():
                self.retry = f"retry {event.attempt}: {kind_of(event.error)}"
            case Progress():
                self.retry = ""
                self._go_on(event, now)
            case _:
                assert_never(event)
        self.speed.add(now, self.moved)

    def _go_on(self, event: Progress, now: float) -> None:
        if self.base is None:
            self.base = self.received = event.resumed_from or 0
        if event.received != self.received:
            self.moved_at = now
        if event.received < self.received:  # it began again from an earlier place: what came before has come, too
            self.base -= self.received - event.received
        self.received, self.total = event.received, event.total

    @property
    def moved(self) -> int:
        """The bytes that crossed the wire."""
        return self.received - (self.base or 0)

    @property
    def label(self) -> str:
        """Name and version: the tags would take the whole line."""
        return "-".join(self.name.split("-")[:2])


@dataclass(frozen=True)
class View:
    """How things stand at a moment.

    `left` are the bytes still to come, where every size is known; `seconds_left` may be an estimate (`rough`) by the
    mean size of the files known.  `fraction` is None while nobody knows the number of targets.  `retried` says how many
    attempts were followed by another, and why; it is empty if there was none.
    """

    arrived: int
    failed: int
    expected: int | None
    moved: int
    rate: float
    left: int | None
    seconds_left: float | None
    rough: bool
    fraction: float | None
    retried: str
    active: Collection[Active]

    @property
    def files(self) -> str:
        """As `12 of 842 files, 1 failed`."""
        of_all = "" if self.expected is None else f" of {self.expected}"
        many = "file" if self.expected == 1 else "files"
        return f"{self.arrived}{of_all} {many}{f', {self.failed} failed' if self.failed else ''}"

    @property
    def bytes(self) -> str:
        """As `310 MB of 1.2 GB`."""
        return size(self.moved) + ("" if self.left is None else f" of {size(self.moved + self.left)}")

    @property
    def speed(self) -> str:
        """As `45 MB/s`."""
        return f"{size(self.rate)}/s"

    @property
    def eta(self) -> str:
        """As `eta 1:05`, empty while nobody can tell."""
        if self.seconds_left is None:
            return ""
        minutes, seconds = divmod(round(self.seconds_left), 60)
        hours, minutes = divmod(minutes, 60)
        clock = f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
        return f"eta {'~' if self.rough else ''}{clock}"

    def line(self) -> str:
        """As `12 of 842 files, 310 MB, 45 MB/s, eta 1:05; 2 retries: HTTP 503 2`."""
        line = ", ".join(filter(None, (self.files, self.bytes, self.speed, self.eta)))
        return "; ".join(filter(None, (line, self.retried)))


class Pace:
    """Looks at a tally now and then, in a thread of its own."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self._active: dict[str, Active] = {}
        self._speed = Speed()
        self._speed.add(tally.began, 0)

    def look(self) -> View:
        """Return how things stand."""
        tally, now = self.tally, self.tally.clock()
        # Copied in one step: the event loop goes on noting.
        latest = tally.latest.copy()
        self._active = {name: self._see(event, now) for name, event in latest.items()}
        moved = tally.bytes + sum(file.moved for file in self._active.values())
        self._speed.add(now, moved)
        left, rough = self._left()
        rate = self._speed.rate
        return View(
            arrived=tally.arrived,
            failed=tally.failed,
            expected=tally.expected,
            moved=moved,
            rate=rate,
            left=None if rough else left,
            seconds_left=None if left is None or not rate else left / rate,
            rough=rough,
            fraction=self._fraction(),
            retried=tally.retried(),
            active=self._active.values(),
        )

    def _see(self, event: Event, now: float) -> Active:
        file = self._active.get(event.filename)
        if file is None:
            file = Active(event.filename, since=now, moved_at=now)
        file.see(event, now)
        return file

    def _left(self) -> tuple[int | None, bool]:
        """Return the bytes still to come, if anything can be said of them, and whether that is an estimate."""
        tally = self.tally
        if tally.expected is None:
            return None, False
        sized = [(file.total, file.received) for file in self._active.values() if file.total is not None]
        left = sum(total - received for total, received in sized)
        unsized = max(0, tally.expected - tally.arrived - tally.failed - len(sized))
        if not unsized:
            return max(0, left), False
        known = tally.brought + len(sized)
        if not known:
            return None, True
        mean = (tally.sizes + sum(total for total, _ in sized)) / known
        return max(0, left + round(unsized * mean)), True

    def _fraction(self) -> float | None:
        tally = self.tally
        if not tally.expected:
            return None
        done = tally.arrived + tally.failed + sum(f.received / f.total for f in self._active.values() if f.total)
        return min(1.0, done / tally.expected)
