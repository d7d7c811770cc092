"""One piece of work, shared by all who ask for it at the same time (single flight)."""

from collections.abc import Awaitable, Callable, Hashable
from copy import copy
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from anyio import Event, current_effective_deadline

from fetcher.errors import FetcherError

__all__ = ["Flights"]

T = TypeVar("T")


@dataclass
class _Flight(Generic[T]):
    deadline: float
    landed: Event | None = None  # as soon as somebody waits
    results: list[T] = field(default_factory=list)
    failure: FetcherError | None = None


def _copy_of(error: FetcherError) -> FetcherError:
    """Return the error once more: who raises it adds to its traceback, and gives it a context."""
    own = copy(error).with_traceback(error.__traceback__)
    own.__cause__, own.__suppress_context__ = error.__cause__, error.__suppress_context__
    return own


class Flights(Generic[T]):
    """Work under way, by key.

    Work that was cancelled, or that failed because the one who did it had less time, is nobody else's: the next who
    waited does it anew.
    """

    def __init__(self) -> None:
        self._flights: dict[Hashable, _Flight[T]] = {}

    async def share(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        """Return the result of the work under way for `key`, or do it.

        A FetcherError is shared as well: each who waited raises a copy of their own.
        """
        while (flight := self._flights.get(key)) is not None:
            flight.landed = flight.landed or Event()
            await flight.landed.wait()
            failure = flight.failure
            if failure is not None and not (failure.hurried and current_effective_deadline() > flight.deadline):
                raise _copy_of(failure)
            if flight.results:
                return flight.results[0]
        flight = self._flights[key] = _Flight(current_effective_deadline())
        try:
            flight.results.append(await work())
        except FetcherError as failure:
            flight.failure = _copy_of(failure)  # as it is now
            raise
        finally:
            del self._flights[key]
            if flight.landed is not None:
                flight.landed.set()
        return flight.results[0]
