"""Work that is begun before anybody asks for what comes of it.

1. A hint is done once: what was hinted or asked before is not begun again.
2. So many hints are under way at once, the first given first; the rest wait.  Who asks for one that waits does it at
   once; for one that is under way, shares it; for one that is done, takes what came of it, a value or the error.
3. What came of a hint is told to those who wait for it, or kept for the first who asks.  Who asks later has it done
   anew, for by then it may be another.
4. Nobody has to ask: what is kept is bounded, and the oldest goes first.
"""

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from anyio import create_task_group

from fetcher.errors import FetcherError
from fetcher.flights import Flights

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

__all__ = ["Hints"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

# A page of the public index takes 0.1 MB in memory on average; a resolution asks for some hundred.
MOST_HELD = 1_000
# More than the largest resolutions have names and wheels.
MOST_KNOWN = 20_000


class Hints:
    """Hints, and the calls that may meet them; use it as an async context manager, whose end cancels the hints.

    `at_once` hints are under way at the same time, `most_held` results are kept, `most_known` keys remembered.
    """

    def __init__(self, at_once: int, *, most_held: int = MOST_HELD, most_known: int = MOST_KNOWN) -> None:
        self._at_once = at_once
        self._most_held = most_held
        self._most_known = most_known
        # A key stands for work of one type always, and so for a result of one type.
        self._flights: Flights[Any] = Flights()
        self._known: OrderedDict[Hashable, None] = OrderedDict()
        self._waiting: OrderedDict[Hashable, Callable[[], Awaitable[Any]]] = OrderedDict()
        self._held: OrderedDict[Hashable, tuple[Any, FetcherError | None]] = OrderedDict()
        self._workers = 0
        self._tasks: TaskGroup | None = None

    async def __aenter__(self) -> Self:
        self._tasks = await create_task_group().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks, self._tasks = self._tasks, None
        for kept in (self._known, self._waiting, self._held):
            kept.clear()
        if tasks is not None:
            tasks.cancel_scope.cancel()
            # Without the error: the group would wrap what is not one of its tasks'.
            await tasks.__aexit__(None, None, None)

    def hint(self, key: Hashable, work: Callable[[], Awaitable[object]]) -> None:
        """Begin the work as soon as there is room for it; nothing if the key is known.  Raises RuntimeError."""
        if self._tasks is None:
            raise RuntimeError("the Fetcher is not open: use `async with`")
        if key in self._known:
            return
        self._remember(key)
        self._waiting[key] = work
        if self._workers < self._at_once:
            self._workers += 1
            self._tasks.start_soon(self._work)

    async def ask(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        """Return what comes of the hint with that key, if there is one; else do the work, once for all who ask."""
        self._remember(key)
        self._waiting.pop(key, None)
        result: T
        if key in self._held:
            result, error = self._held.pop(key)
            if error is not None:
                raise error
            return result
        try:
            result = await self._flights.share(key, work)
        except FetcherError:
            self._held.pop(key, None)  # that of the hint that was shared
            raise
        self._held.pop(key, None)
        return result

    def _remember(self, key: Hashable) -> None:
        self._known[key] = None
        if len(self._known) > self._most_known:
            oldest, _ = self._known.popitem(last=False)
            self._waiting.pop(oldest, None)

    async def _work(self) -> None:
        """Do hints as long as there are any."""
        try:
            while self._waiting:
                await self._do(*self._waiting.popitem(last=False))
        finally:
            self._workers -= 1

    async def _do(self, key: Hashable, work: Callable[[], Awaitable[Any]]) -> None:
        try:
            self._hold(key, (await self._flights.share(key, work), None))
        except FetcherError as error:
            logger.debug("a hint failed: %s", error)
            # The frames of a traceback would keep all that was at hand when it failed.
            self._hold(key, (None, error.with_traceback(None)))
        except Exception as defect:  # noqa: BLE001 - whoever asks for it will meet it, and nobody else needs to
            logger.debug("a hint failed: %s", type(defect).__name__)

    def _hold(self, key: Hashable, outcome: tuple[Any, FetcherError | None]) -> None:
        self._held[key] = outcome
        if len(self._held) > self._most_held:
            self._held.popitem(last=False)
