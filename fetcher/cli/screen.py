"""The live display of a terminal, drawn with rich."""

import io
import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO

from fetcher.cli.pace import Active, Pace, View
from fetcher.cli.painter import Painter
from fetcher.words import size

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

__all__ = ["Screen"]

# A terminal is drawn on so often, and not at all for what is done sooner; rich is not even imported then.
FRAME, FIRST_FRAME = 0.2, 0.3
# So many files get a line of their own, those that have been under way for a while: shorter ones would only flicker.
ROWS = 8
SETTLED = 1.0
# So many columns hold all figures beside a short bar.
ROOMY = 70
# A bar is no longer than this, in columns.
BAR = 30
# One that stands still for so long leaves its line to one that moves.
IDLE = 5.0


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
        _add_row(table, view.files, _bar(view.fraction), view.bytes, view.speed, view.eta)
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
    return Table.grid(name, Column(max_width=BAR), figures(16), figures(9), figures(8), padding=(0, 1))


def _add_file(table: "Table", indent: str, file: Active, eta: str) -> None:
    bar = _instead_of_bar(file.retry) if file.retry else _bar(file.received / file.total if file.total else None)
    of_all = f" of {size(file.total)}" if file.total else ""
    _add_row(table, indent + file.label, bar, size(file.received) + of_all, f"{size(file.speed.rate)}/s", eta)


def _add_row(table: "Table", label: str, bar: "RenderableType", *figures: str) -> None:
    from rich.text import Text

    table.add_row(Text(label), bar, *(Text(figure) for figure in figures))


def _bar(fraction: float | None) -> "RenderableType":
    from rich.progress_bar import ProgressBar

    return ProgressBar(total=1.0, completed=fraction) if fraction is not None else ""


def _instead_of_bar(text: str) -> "RenderableType":
    """Return what takes as many columns as a bar does, so that the others do not move."""
    from rich.text import Text

    return Text(text.ljust(BAR), no_wrap=True, overflow="crop")
