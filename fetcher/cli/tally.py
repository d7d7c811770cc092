"""What is known of a run of downloads: counted in the event loop, as often as chunks arrive."""

import time
from collections import Counter
from collections.abc import Awaitable, Callable

from fetcher.cli.watch import Watch
from fetcher.download.download import Download
from fetcher.download.events import Event, Retry
from fetcher.errors import FetcherError, StatusError
from fetcher.words import counted, duration, size

__all__ = ["Tally", "kind_of"]


class Tally(Watch):
    """Counts what has become of the targets.

    `bytes` crossed the wire for the files that are there; `sizes` are theirs in full.  `latest` are the events of the
    files under way.  `retries` and `failures` are counted by kind of error.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.expected: int | None = None
        self.arrived = self.present = self.resumed = self.cached = self.brought = self.removed = 0
        self.bytes = self.sizes = 0
        self.failures: Counter[str] = Counter()
        self.retries: Counter[str] = Counter()
        self.latest: dict[str, Event] = {}
        self.clock = clock
        self.began = clock()

    def expect(self, targets: int) -> None:
        """Note how many targets there are."""
        self.expected = targets

    def on_event(self, event: Event) -> None:
        """Note an event; called for every chunk, hence so short."""
        self.latest[event.filename] = event
        if isinstance(event, Retry):
            self.retries[kind_of(event.error)] += 1

    async def bring(self, filename: str, download: Awaitable[Download]) -> Download:
        """Wait for a download, and count the file."""
        try:
            done = await download
            self._count(done, moved=filename in self.latest)
        finally:
            self.latest.pop(filename, None)
        return done

    def _count(self, done: Download, *, moved: bool) -> None:
        """Count a file; what did not move was there already, or was brought for another target."""
        if moved:
            self.count_brought(done.size, done.bytes)
            self.cached += done.from_cache
        else:
            self.arrived += 1
        if done.resumed_from is not None and (moved or not done.bytes):
            self.resumed += 1
        elif not moved:
            self.present += 1

    def count_brought(self, size: int, transferred: int) -> None:
        """Count a file that was brought: its size, and the bytes that crossed the wire for it."""
        self.arrived += 1
        self.brought += 1
        self.bytes += transferred
        self.sizes += size

    def count_present(self) -> None:
        """Count a file that was there already."""
        self.arrived += 1
        self.present += 1

    def finished(self, error: FetcherError | None) -> None:
        """Note why a target is not done; the others have been counted."""
        if error is not None:
            self.failures[type(error).__name__] += 1

    @property
    def failed(self) -> int:
        """How many targets failed."""
        return self.failures.total()

    def summary(self) -> str:
        """Return what became of all targets, in one line."""
        of_all = f" of {self.arrived + self.failed}" if self.failed else ""
        told = [f"{self.arrived}{of_all} files: {size(self.bytes)} in {duration(self.clock() - self.began)}"]
        counts = {
            "already there": self.present,
            "from the cache": self.cached,
            "resumed": self.resumed,
            "removed": self.removed,
        }
        if found := [f"{count} {what}" for what, count in counts.items() if count]:
            told.append(", ".join(found))
        if retried := self.retried():
            told.append(retried)
        if self.failed:
            told.append(f"{self.failed} failed: {_kinds(self.failures)}")
        return "; ".join(told)

    def retried(self) -> str:
        """Return how many attempts were followed by another, and why, as `3 retries: HTTP 503 2, Disconnected 1`."""
        # Copied in one step: a thread asks while the event loop goes on counting.
        retries = Counter(self.retries)
        count = retries.total()
        return f"{count} {'retry' if count == 1 else 'retries'}: {_kinds(retries)}" if count else ""

    def interrupted(self) -> str:
        """Return how far it came, and how to go on."""
        go_on = "run the same command again to go on"
        if self.expected == 1:
            return f"interrupted: {go_on}"
        if self.expected is None:
            there = f"{counted(self.arrived, 'file')} {'is' if self.arrived == 1 else 'are'}"
        else:
            there = f"{self.arrived} of {self.expected} files {'is' if self.arrived == 1 else 'are'}"
        return f"interrupted: {there} there; {go_on}"


def kind_of(error: FetcherError) -> str:
    """Return in a word or two what went wrong: the status, or the error's name."""
    return f"HTTP {error.status}" if isinstance(error, StatusError) else type(error).__name__


def _kinds(counts: Counter[str]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in counts.most_common())
