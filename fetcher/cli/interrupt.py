"""Ctrl-C and SIGTERM while an event loop runs: it is left in good order, or without, but within a second."""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from types import FrameType, TracebackType
from typing import Any, Self, TypeVar

from anyio import CancelScope

__all__ = ["Interruption"]

T = TypeVar("T")

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Only what somebody else has not decided is decided here: `nohup` and a shell's `&` have signals ignored.
UNDECIDED = (signal.SIG_DFL, signal.default_int_handler)
# Seconds for an end in good order.  A name look-up, or a pipe that nobody reads, may hold a thread for longer.
GRACE = 0.6
# ... and for what is said when that was not enough.
LAST_WORDS = 0.1


class Interruption:
    """Ends what runs when a signal comes: `say()`, once, then the exit code 128 + the signal's number.

    Use it as a context manager around the event loop, and `guard` around what runs in it.  First the work is cancelled;
    if it does not end soon, or another signal comes, the process just ends: what is on disk stays, as after SIGKILL.
    """

    def __init__(self, say: Callable[[], None]) -> None:
        self._say = say
        self._said = False
        self._number = 0
        self._cancel: Callable[[], object] = _nothing
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # no other may set handlers
            undecided = [number for number in SIGNALS if signal.getsignal(number) in UNDECIDED]
            self._before = {number: signal.signal(number, self._heed) for number in undecided}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._number:  # the handlers stay for the next signal
            self._say_once()
            sys.exit(128 + self._number)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    async def guard(self, main: Callable[[], Awaitable[T]]) -> T:
        """Return what `main()` returns, unless a signal comes."""
        loop = asyncio.get_running_loop()
        with CancelScope() as scope:
            self._cancel = lambda: loop.call_soon_threadsafe(scope.cancel)
            if self._number:  # it came before there was anything to cancel
                scope.cancel()
            try:
                return await main()
            finally:
                self._cancel = _nothing
        raise _Interrupted

    def _heed(self, number: int, frame: FrameType | None) -> None:
        if self._number:
            self._give_up()
        self._number = number
        patience = threading.Timer(GRACE, self._give_up)
        patience.daemon = True
        patience.start()
        self._cancel()

    def _give_up(self) -> None:
        """End the process, whatever it is busy with; stderr may be a pipe that nobody reads."""
        speaker = threading.Thread(target=self._say_once, daemon=True)
        speaker.start()
        speaker.join(LAST_WORDS)
        os._exit(128 + self._number)

    def _say_once(self) -> None:
        if not self._said:
            self._said = True
            self._say()


class _Interrupted(Exception):
    """Leaves the event loop; `Interruption` itself ends the process."""


def _nothing() -> None:
    pass
