"""What `fetcher get` tells people: a display on a terminal, elsewhere a line now and then; a summary at the end.

The event loop only notes what happens (`Tally`), as often as chunks arrive.  A thread looks at the notes a few times a
second (`Pace`), and draws (`Screen`) or writes (`Lines`) what it sees: its work depends neither on the number of events
nor, but for the files under way, on that of the files.
"""

import io
import logging
import os
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

import click

from fetcher.cli.options import Settings
from fetcher.download.download import Download, Progress
from fetcher.errors import FetcherError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

__all__ = ["Active", "Lines", "Pace", "Screen", "Tally", "View", "Watch", "duration", "size", "tally_for"]

# Rates are means over so many seconds.
WINDOW = 5.0
# A terminal is drawn on so often, and not at all for what is done sooner; rich is not even imported then.
FRAME, FIRST_FRAME = 0.2, 0.3
# Elsewhere a line comes so often.
LINE = 10.0
# So many files get a line of their own, those that have been under way for a while: shorter ones would only flicker.
ROWS = 8
SETTLED = 1.0
# So many columns hold all figures beside a short bar.
ROOMY = 70
# One that stands still for so long leaves its line to one that moves.
IDLE = 5.0


class Watch:
    """Is told how a run goes, and is open while the event loop runs.  This one keeps it all to itself."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take away what is drawn; may be called again."""

    def expect(self, targets: int) -> None:
        """Note how many targets there are; not called if nobody knows."""

    def finished(self, error: FetcherError | None) -> None:
        """Note that a target is done, or why not."""

    def aside(self) -> AbstractContextManager[None]:
        """Keep what is drawn out of the way while something is printed, whole lines only."""
        return nullcontext()

    def conclude(self) -> None:
        """Say what became of it all."""

    def interrupted(self) -> str:
        """Return what is said when a signal ends the run."""
        return "interrupted"


class Tally(Watch):
    """Counts what has become of the targets.  `painter` shows it meanwhile, `quiet` leaves out the summary.

    `bytes` crossed the wire for the files that are there; `sizes` are theirs in full.  `first` and `latest` are the
    events of the files under way.
    """

    def __init__(self, *, quiet: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self.painter: Painter | None = None
        self.expected: int | None = None
        self.arrived = self.present = self.resumed = self.brought = 0
        self.bytes = self.sizes = 0
        self.failures: Counter[str] = Counter()
        self.first: dict[str, Progress] = {}
        self.latest: dict[str, Progress] = {}
        self.clock = clock
        self.began = clock()
        self._quiet = quiet

    def __enter__(self) -> Self:
        if self.painter is not None:
            self.painter.start()
        return self

    def close(self) -> None:
        """Take away what is drawn; may be called again."""
        if self.painter is not None:
            self.painter.stop()

    def expect(self, targets: int) -> None:
        """Note how many targets there are."""
        self.expected = targets

    def on_progress(self, event: Progress) -> None:
        """Note an event; called for every chunk, hence so short."""
        self.latest[event.filename] = event
        if event.filename not in self.first:
            self.first[event.filename] = event

    async def bring(self, filename: str, download: Awaitable[Download]) -> Download:
        """Wait for a download, and count the file."""
        try:
            done = await download
            self._count(done, moved=filename in self.latest)
        finally:
            self.latest.pop(filename, None)
            self.first.pop(filename, None)
        return done

    def _count(self, done: Download, *, moved: bool) -> None:
        """Count a file; what did not move was there already, or was brought for another target."""
        self.arrived += 1
        if moved:
            self.brought += 1
            self.bytes += done.bytes
            self.sizes += done.size
        if done.resumed_from is not None and (moved or not done.bytes):
            self.resumed += 1
        elif not moved:
            self.present += 1

    def finished(self, error: FetcherError | None) -> None:
        """Note why a target is not done; the others have been counted."""
        if error is not None:
            self.failures[type(error).__name__] += 1

    def aside(self) -> AbstractContextManager[None]:
        """Keep what is drawn out of the way while something is printed."""
        return nullcontext() if self.painter is None else self.painter.aside()

    @property
    def failed(self) -> int:
        """How many targets failed."""
        return self.failures.total()

    def conclude(self) -> None:
        """Say the summary, if there was more than one target: what became of one is said already."""
        if not self._quiet and self.arrived + self.failed > 1:
            click.echo(self.summary(), err=True)

    def summary(self) -> str:
        """Return what became of all targets, in one line."""
        of_all = f" of {self.arrived + self.failed}" if self.failed else ""
        told = [f"{self.arrived}{of_all} files: {size(self.bytes)} in {duration(self.clock() - self.began)}"]
        counts = {"already there": self.present, "resumed": self.resumed}
        if found := [f"{count} {what}" for what, count in counts.items() if count]:
            told.append(", ".join(found))
        if self.failed:
            kinds = ", ".join(f"{kind} {count}" for kind, count in self.failures.most_common())
            told.append(f"{self.failed} failed: {kinds}")
        return "; ".join(told)

    def interrupted(self) -> str:
        """Return how far it came, and how to go on."""
        go_on = "run the same command again to go on"
        if self.expected == 1:
            return f"interrupted: {go_on}"
        of_all = "" if self.expected is None else f" of {self.expected}"
        return f"interrupted: {self.arrived}{of_all} files {'is' if self.arrived == 1 else 'are'} there; {go_on}"


def tally_for(settings: Settings) -> Tally:
    """Return a tally that is shown where and how the settings and stderr want it."""
    tally = Tally(quiet=settings.quiet)
    if not settings.quiet and not settings.no_progress:
        # A dumb terminal understands no cursor movements.
        drawn = sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
        tally.painter = Screen(Pace(tally)) if drawn else Lines(Pace(tally))
    return tally


# --------------------------------------------------------------------------------------------------- what is to be seen


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

    `base` is where its counting begins: a file that is resumed does not begin at 0.
    """

    name: str
    since: float
    base: int
    received: int
    total: int | None
    moved_at: float
    speed: Speed = field(default_factory=Speed)

    def see(self, event: Progress, now: float) -> None:
        """Take in the latest event."""
        if event.received != self.received:
            self.moved_at = now
        if event.received < self.received:  # it began again from an earlier place: what came before has come, too
            self.base -= self.received - event.received
        self.received, self.total = event.received, event.total
        self.speed.add(now, self.moved)

    @property
    def moved(self) -> int:
        """The bytes that crossed the wire, but for the first chunk: that is counted when the file is there."""
        return self.received - self.base

    @property
    def label(self) -> str:
        """Name and version: the tags would take the whole line."""
        return "-".join(self.name.split("-")[:2])


@dataclass(frozen=True)
class View:
    """How things stand at a moment.

    `left` are the bytes still to come, where every size is known; `seconds_left` may be an estimate (`rough`) by the
    mean size of the files known.  `fraction` is None while nobody knows the number of targets.
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
        """As `12 of 842 files, 310 MB, 45 MB/s, eta 1:05`."""
        return ", ".join(filter(None, (self.files, self.bytes, self.speed, self.eta)))


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
        first, latest = tally.first.copy(), tally.latest.copy()
        self._active = {name: self._see(first.get(name, event), event, now) for name, event in latest.items()}
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
            active=self._active.values(),
        )

    def _see(self, first: Progress, event: Progress, now: float) -> Active:
        file = self._active.get(event.filename)
        if file is None:
            file = Active(event.filename, now, first.received, event.received, event.total, moved_at=now)
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


# ------------------------------------------------------------------------------------------------------ how it is shown


class Painter(ABC):
    """A thread that paints now and then, and a lock for whoever writes beside it."""

    def __init__(self, pace: Pace, stream: TextIO | None, *, first: float, every: float) -> None:
        self._pace = pace
        self._stream = stream or sys.stderr
        self._first, self._every = first, every
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fetcher progress", daemon=True)

    def start(self) -> None:
        """Begin to paint."""
        self._thread.start()

    def stop(self) -> None:
        """Paint no more."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        pause = self._first
        while not self._stopped.wait(pause):
            pause = self._every
            try:
                self.paint()
            except (OSError, ValueError):  # nobody reads stderr any more
                return

    @abstractmethod
    def paint(self) -> None:
        """Show how things stand."""

    @abstractmethod
    def aside(self) -> AbstractContextManager[None]:
        """Keep out of the way."""

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


class Lines(Painter):
    """A plain line now and then, without control characters; none for what is soon done."""

    def __init__(self, pace: Pace, stream: TextIO | None = None) -> None:
        super().__init__(pace, stream, first=LINE, every=LINE)

    def paint(self) -> None:
        """Write a line."""
        line = self._pace.look().line()
        with self._lock:
            self._write(f"{line}\n")

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Write no line in between."""
        with self._lock:
            yield


class Screen(Painter):
    """A few lines at the end of a terminal's text, drawn over again and again, and gone when all is done.

    Whoever prints meanwhile does so `aside`; log records go that way by themselves.
    """

    def __init__(self, pace: Pace, stream: TextIO | None = None) -> None:
        super().__init__(pace, stream, first=FIRST_FRAME, every=FRAME)
        self._frame = ""
        self._shown: list[str] = []
        self._console: Console | None = None
        self._handlers = [
            one for one in logging.getLogger("fetcher").handlers if isinstance(one, logging.StreamHandler)
        ]

    def start(self) -> None:
        """Begin to draw."""
        for handler in self._handlers:
            handler.setStream(_Aside(self))
        super().start()

    def stop(self) -> None:
        """Take away what is drawn, and draw no more."""
        super().stop()
        with self._lock, suppress(OSError, ValueError):  # nobody may see it any more
            self._draw("")
        for handler in self._handlers:
            handler.setStream(self._stream)

    def paint(self) -> None:
        """Draw a frame over the one before."""
        # Imported here, and in this thread: it takes as long as the rest of the command, which goes on meanwhile.
        from rich.console import Console

        if self._console is None:
            self._console = Console(file=self._stream)
        if not self._console.is_terminal or self._console.legacy_windows:
            return
        # The last column stays free: some terminals go to the next line when it is filled.
        width, height = self._console.width - 1, self._console.height - 2
        renderable = self._render(self._pace.look(), width, height)
        with self._console.capture() as captured:
            self._console.print(renderable, width=max(1, width))
        with self._lock:
            self._draw(captured.get())

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Leave the place below the text to whoever prints."""
        with self._lock:
            frame = self._frame
            self._draw("")
            try:
                yield
            finally:
                self._draw(frame)

    def _draw(self, frame: str) -> None:
        """Replace the frame, in one write: it does not flicker."""
        height = self._frame.count("\n")
        if height or frame:
            self._write((f"\r\x1b[{height}A\x1b[J" if height else "") + frame)
        self._frame = frame

    def _render(self, view: View, width: int, height: int) -> "RenderableType":
        table = _table(roomy=width >= ROOMY)
        if view.expected == 1 and len(view.active) == 1:
            (only,) = view.active
            _add_file(table, "", only, view.eta)
            return table
        _add_row(table, view.files, view.fraction, view.bytes, view.speed, view.eta)
        for file in self.choose(view.active, min(ROWS, height - 1)):
            _add_file(table, "  ", file, "")
        return table

    def choose(self, active: Collection[Active], room: int) -> list[Active]:
        """Return the files that get a line: those that have one keep it, the fastest others get what is free."""
        now = self._pace.tally.clock()
        by_name = {file.name: file for file in active}
        rows = [by_name[name] for name in self._shown if name in by_name][: max(0, room)]
        taken = {file.name for file in rows}
        others = [file for file in active if file.name not in taken and now - file.since >= SETTLED]
        others.sort(key=lambda file: file.speed.rate, reverse=True)
        moving = [file for file in others if now - file.moved_at < IDLE]
        for place, file in enumerate(rows):
            if moving and now - file.moved_at >= IDLE:
                rows[place] = moving.pop(0)
                others.remove(rows[place])
        rows += others[: max(0, room - len(rows))]
        self._shown = [file.name for file in rows]
        return rows


class _Aside(io.TextIOBase):
    """Where log records go while a frame is drawn."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def write(self, text: str) -> int:
        """Write above the frame."""
        with self._screen.aside():
            return self._screen._stream.write(text)


def _table(*, roomy: bool) -> "Table":
    """Return a table whose columns do not move when a figure gets a digit more, where there is room for that."""
    from rich.table import Column, Table

    def figures(width: int) -> Column:
        return Column(justify="right", min_width=width if roomy else None, no_wrap=True, overflow="ellipsis")

    name = Column(no_wrap=True, overflow="ellipsis", min_width=26 if roomy else None, max_width=36)
    # The bar takes what the others leave.
    return Table.grid(name, Column(max_width=30), figures(16), figures(9), figures(8), padding=(0, 1))


def _add_file(table: "Table", indent: str, file: Active, eta: str) -> None:
    fraction = file.received / file.total if file.total else None
    of_all = f" of {size(file.total)}" if file.total else ""
    _add_row(table, indent + file.label, fraction, size(file.received) + of_all, f"{size(file.speed.rate)}/s", eta)


def _add_row(table: "Table", label: str, fraction: float | None, *figures: str) -> None:
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    bar = ProgressBar(total=1.0, completed=fraction) if fraction is not None else ""
    table.add_row(Text(label), bar, *(Text(figure) for figure in figures))


# ------------------------------------------------------------------------------------------------------------- in words


def size(count: float) -> str:
    """Return a number of bytes as people read it: `999 bytes`, `1.2 kB`, `45 MB`."""
    if count < 999.5:
        return f"{count:.0f} {'byte' if round(count) == 1 else 'bytes'}"
    for unit in ("kB", "MB", "GB", "TB"):
        count /= 1000
        if count < 999.5 or unit == "TB":
            break
    return f"{count:.1f} {unit}" if count < 9.95 else f"{count:.0f} {unit}"


def duration(seconds: float) -> str:
    """Return a time as people read it: `5.4 s`, `12 min 5 s`, `3 h 2 min`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
