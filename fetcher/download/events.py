"""What a download tells its caller while it is under way.  This file is pure."""

from collections.abc import Callable
from dataclasses import dataclass

from fetcher.errors import FetcherError

__all__ = ["Event", "OnEvent", "Progress", "Retry"]


@dataclass(frozen=True, slots=True)
class Progress:
    """`received` of `total` bytes (None: not known) of a file are here.

    `resumed_from` is how many of them an earlier run had left, None if it had left none: this run brought the others.
    """

    filename: str
    received: int
    total: int | None
    resumed_from: int | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """Attempt number `attempt` failed with `error`, and the next begins in `seconds`.

    Attempts are counted from 1, and anew after one that brought the download on.  A pause that the server asked for may
    be made longer meanwhile, by its answers to others.
    """

    filename: str
    error: FetcherError
    attempt: int
    seconds: float


Event = Progress | Retry
OnEvent = Callable[[Event], None]
