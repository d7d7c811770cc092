"""What a run of a mirror came to, counted while it goes on: for its report, and for its exit code."""

import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from anyio import sleep

from fetcher.index.urls import parse_url
from fetcher.mirror.manifest import Manifest
from fetcher.mirror.turn import Happening
from fetcher.report.report import Failure, HostShare, ProjectShare, Report
from fetcher.report.samples import Sample, Samples
from fetcher.version import __version__

__all__ = ["Ledger"]

# Failures that are told one by one; there may be as many as files.
FAILURES = 10_000
# Hosts that are told apart; a URL is another's word.
HOSTS = 1000
LARGEST = 20


@dataclass
class _Host:
    files: int = 0
    bytes: int = 0
    seconds: float = 0.0
    failures: int = 0


class Ledger:
    """Counts what happens; memory does not grow with the number of files."""

    def __init__(self) -> None:
        self._began, self._at = datetime.now(UTC), time.monotonic()
        self.outcomes: Counter[str] = Counter()
        self.projects: Counter[str] = Counter()
        self.bytes = 0
        self._hosts: dict[str, _Host] = {}
        self._failures: list[Failure] = []
        self._left_out = 0
        self._samples = Samples()

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return time.monotonic() - self._at

    def count(self, happening: Happening) -> None:
        """Take note of what became of a file or a project."""
        if happening.filename:
            self.outcomes[happening.outcome] += 1
        elif happening.outcome != "missing":
            self.projects[happening.outcome] += 1
        if happening.carried is not None:
            self.bytes += happening.carried.bytes
        if happening.file is not None:
            self._count_host(happening)
        if (error := happening.error) is not None and len(self._failures) >= FAILURES:
            self._left_out += 1
        elif error is not None:
            reason = " ".join(str(error).split())
            self._failures.append(Failure(happening.project, happening.filename, type(error).__name__, reason))

    def _count_host(self, happening: Happening) -> None:
        assert happening.file is not None  # noqa: S101 - for the type checker
        name = parse_url(happening.file.url).host or ""
        host = self._hosts.setdefault(name if name in self._hosts or len(self._hosts) < HOSTS else "others", _Host())
        if happening.carried is None:
            host.failures += 1
        else:
            host.files += 1
            host.bytes += happening.carried.bytes
            host.seconds += happening.carried.seconds

    async def watch(self) -> None:
        """Take samples, until cancelled."""
        while True:
            self._sample()
            await sleep(self._samples.interval)

    def _sample(self) -> None:
        done = sum(self.outcomes.values())
        self._samples.add(Sample(self.seconds, done, self.bytes, _resident()))

    async def report(self, destination: str, manifest: Manifest) -> Report:
        """Return what it came to."""
        self._sample()
        return Report(
            destination=destination,
            began=self._began.isoformat(timespec="seconds"),
            seconds=self.seconds,
            version=__version__,
            outcomes=dict(self.outcomes),
            projects=dict(self.projects),
            bytes=self.bytes,
            samples=self._samples.kept,
            hosts=[
                HostShare(name, host.files, host.bytes, host.seconds, host.failures)
                for name, host in self._hosts.items()
            ],
            largest=[ProjectShare(*found) for found in await manifest.largest(LARGEST)],
            failures=self._failures,
            failures_left_out=self._left_out,
        )


def _resident() -> int:
    """Return the bytes of memory that this process has; where that is not told, the most that it has had, or 0."""
    try:
        import resource
    except ImportError:  # Windows tells it otherwise
        return 0
    with suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
