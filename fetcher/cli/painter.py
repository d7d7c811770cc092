"""A thread that looks now and then, and shows how things stand: at its simplest by a plain line."""

import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TextIO

from fetcher.cli.pace import Pace

__all__ = ["Lines", "Painter"]

# A line comes so often.
LINE = 10.0


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
