"""What a command tells of its run to whoever shows it."""

from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Self

from fetcher.errors import FetcherError

__all__ = ["Watch"]


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
