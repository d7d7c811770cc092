"""Work that is begun before anybody asks for what comes of it.

1. A hint is done once: what was hinted or asked before is not begun again.
2. So many hints are under way at once, the first given first; the rest wait.  Who asks for one that waits does it at
   once; for one that is under way, shares it; for one that is done, takes what came of it, a value or the error.
3. What came of a hint is told to those who wait for it, or kept for the first who asks.  Who asks later has it done
   anew, for by then it may be another; and so does who asks after ten minutes.
4. Nobody has to ask: what waits and what is kept is bounded.  The first given are the most urgent, and so nothing makes
   room for what came later: with as much kept as may be, none is begun until something is taken; with as many waiting
   as may be, no further hint is accepted.

No task group holds the hints: it would be open across the caller's block, and tie the task that opens a Fetcher into a
cancel scope of ours until it closes it, in the same task and in reverse order.  Fixtures of pytest-asyncio, and whoever
opens it under a time-out of its own, could do neither.  The tasks are asyncio's own, each with a scope, and the end
waits for all of them.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from itertools import takewhile
from time import monotonic
from types import TracebackType
from typing import Any, Self, TypeVar

from anyio import CancelScope

from fetcher.errors import FetcherError
from fetcher.flights import Flights

__all__ = ["Hints"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

# A page of the public index takes 0.1 MB in memory on average; a resolution asks for some hundred.
MOST_HELD = 1_000
# Seconds.  For as long the public index says that its pages are fresh.
KEPT_FOR = 600.0
# More than the largest resolutions have names and wheels.
MOST_KNOWN = 20_000


class Hints:
    """Hints, and the calls that may meet them; use it as an async context manager, whose end cancels the hints.

    `at_once` hints are under way at the same time, `most_held` results are kept, each for `kept_for` seconds,
    `most_known` keys are remembered, and as many hints may wait.
    """

    def __init__(
        self, at_once: int, *, most_held: int = MOST_HELD, kept_for: float = KEPT_FOR, most_known: int = MOST_KNOWN
    ) -> None:
        self._at_once = at_once
        self._most_held = most_held
        self._kept_for = kept_for
        self._most_known = most_known
        # A key stands for work of one type always, and so for a result of one type.
        self._flights: Flights[Any] = Flights()
        self._known: OrderedDict[Hashable, None] = OrderedDict()
        self._waiting: OrderedDict[Hashable, Callable[[], Awaitable[Any]]] = OrderedDict()
        # With the end of their time, in the order in which they came.
        self._held: dict[Hashable, tuple[Any, FetcherError | None, float]] = {}
        self._under_way: dict[asyncio.Task[None], CancelScope] = {}
        self._open = False

    async def __aenter__(self) -> Self:
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        self._waiting.clear()
        try:
            await self._cancel()
        finally:
            self._known.clear()
            self._held.clear()

    async def _cancel(self) -> None:
        """Cancel the hints and wait for their ends, also if the caller is cancelled, who hears of it then."""
        # By their scopes, not by asyncio: what a hint shields, such as a visit to the disk, comes to its end.
        for scope in self._under_way.values():
            scope.cancel()
        cancelled: asyncio.CancelledError | None = None
        with CancelScope(shield=True):
            while self._under_way:
                try:
                    await asyncio.wait(self._under_way)
                except asyncio.CancelledError as error:  # by asyncio, which knows no shield
                    cancelled = error
        if cancelled is not None:
            raise cancelled

    def hint(self, key: Hashable, work: Callable[[], Awaitable[object]]) -> None:
        """Begin the work as soon as there is room for it; nothing if the key is known, or if too many wait already.

        Raises RuntimeError.
        """
        if not self._open:
            raise RuntimeError("the Fetcher is not open: use `async with`")
        self._drop_old()
        if key in self._known or len(self._waiting) >= self._most_known:
            return
        self._remember(key)
        self._waiting[key] = work
        self._begin()

    async def ask(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        """Return what comes of the hint with that key, if there is one; else do the work, once for all who ask."""
        self._drop_old()
        self._remember(key)
        self._waiting.pop(key, None)
        result: T
        if key in self._held:
            result, error, _ = self._take(key)
            if error is not None:
                raise error
            return result
        try:
            result = await self._flights.share(key, work)
        except FetcherError:
            self._take(key)  # that of the hint that was shared
            raise
        self._take(key)
        return result

    def _drop_old(self) -> None:
        """Forget what was kept for its time, and that it was: it may be hinted again."""
        now = monotonic()
        for key in list(takewhile(lambda key: self._held[key][2] <= now, self._held)):
            del self._held[key]
            self._known.pop(key, None)

    def _take(self, key: Hashable) -> tuple[Any, FetcherError | None, float]:
        """Return what is kept, and keep it no longer: there is room for another."""
        outcome = self._held.pop(key, (None, None, 0.0))
        self._begin()
        return outcome

    def _remember(self, key: Hashable) -> None:
        self._known[key] = None
        if len(self._known) > self._most_known:
            self._known.popitem(last=False)

    def _begin(self) -> None:
        """Have one more task do hints, if there is room for it; called whenever there may be more room."""
        if self._waiting and len(self._under_way) < min(self._at_once, self._room):
            scope = CancelScope()
            task = asyncio.get_running_loop().create_task(self._work(scope))
            self._under_way[task] = scope
            task.add_done_callback(self._ended)

    @property
    def _room(self) -> int:
        """How many may be under way, that there be room for what comes of them."""
        return self._most_held - len(self._held)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        del self._under_way[task]
        # By asyncio when the event loop ends, and then none may be begun; or by what no hint can be expected to raise.
        if task.cancelled() or task.exception() is not None:
            return
        self._begin()

    async def _work(self, scope: CancelScope) -> None:
        """Do hints as long as there are any, and room for what comes of them."""
        with scope:
            while self._waiting and len(self._under_way) <= self._room:
                await self._do(*self._waiting.popitem(last=False))

    async def _do(self, key: Hashable, work: Callable[[], Awaitable[Any]]) -> None:
        try:
            self._hold(key, await self._flights.share(key, work), None)
        except FetcherError as error:
            logger.debug("a hint failed: %s", error)
            # The frames of a traceback would keep all that was at hand when it failed.
            self._hold(key, None, error.with_traceback(None))
        except Exception as defect:  # noqa: BLE001 - whoever asks for it will meet it, and nobody else needs to
            logger.debug("a hint failed: %s", type(defect).__name__)

    def _hold(self, key: Hashable, result: object, error: FetcherError | None) -> None:
        self._held.pop(key, None)
        self._held[key] = (result, error, monotonic() + self._kept_for)
