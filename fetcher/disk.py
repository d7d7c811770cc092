"""Work on files, in a few threads beside the event loop."""

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

__all__ = ["on_disk"]

# Writing and digesting share the processors with the event loop: more threads only get into each other's way.
THREADS = 4

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_places: RunVar[CapacityLimiter] = RunVar("fetcher.disk")


async def on_disk(work: Callable[[*Ts], T], *arguments: *Ts) -> T:
    """Do blocking work in a thread and return its result; cancellation waits for its end."""
    try:
        limiter = _places.get()
    except LookupError:
        _places.set(limiter := CapacityLimiter(THREADS))
    return await to_thread.run_sync(work, *arguments, limiter=limiter)
