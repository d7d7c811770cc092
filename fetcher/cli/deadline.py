"""`--deadline`: when a run is over, whatever is not done by then."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from typing import ClassVar

import anyio

from fetcher.errors import FetcherError

__all__ = ["Deadline", "DeadlinePassed"]


@dataclass(eq=False)
class DeadlinePassed(FetcherError):
    """`target` was not done within the `seconds` that the run was given."""

    exit_code: ClassVar[int] = 4
    target: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.target} is not done: the deadline of {self.seconds:g} s has passed"


class Deadline:
    """That of a run: so many seconds from now on, None for ever.  Make it in the event loop."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = inf if seconds is None else seconds
        self._at = anyio.current_time() + self._seconds

    @contextmanager
    def over(self, target: str) -> Iterator[None]:
        """Leave the block when the time is over; do not enter it after that.  Raises DeadlinePassed."""
        # A cancelled scope ends what is awaited in it, but before that a connection would be made.
        if self._at == inf:
            yield
            return
        passed = anyio.current_time() >= self._at
        if not passed:
            with anyio.CancelScope(deadline=self._at) as scope:
                yield
            passed = scope.cancelled_caught
        if passed:
            raise DeadlinePassed(target, self._seconds)
