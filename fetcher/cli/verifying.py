"""What `fetcher verify` does: the look at a mirror, or its repair; and what is said of it."""

import json
import sys
from collections import Counter
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import NoReturn

import click

from fetcher.cli.deadline import Deadline
from fetcher.cli.options import Settings, fetcher_arguments
from fetcher.cli.place import UNBOUNDED, Place, place_of
from fetcher.cli.progress import Display, furnish
from fetcher.cli.run import finish, run, say_error
from fetcher.client import Fetcher
from fetcher.disk import on_disk
from fetcher.errors import ConfigError, FetcherError
from fetcher.mirror.manifest import NAME, Manifest
from fetcher.storage.store import Inspected
from fetcher.verify.by_manifest import ByManifest
from fetcher.verify.by_pages import ByPages
from fetcher.verify.findings import Finding
from fetcher.verify.repair import ByIndex
from fetcher.verify.scratch import Scratch
from fetcher.verify.verify import Outcome, Verification
from fetcher.words import counted, duration, size

__all__ = ["verify"]


class Findings(Display):
    """Prints what is found, and counts it."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(quiet=settings.quiet)
        self._settings = settings
        self._words: Counter[str] = Counter()
        self._repaired = 0
        self._said: FetcherError | None = None

    @property
    def code(self) -> int:
        """The exit code: 1 if something is wrong still."""
        return int(self._words.total() > self._repaired)

    def count(self, size: int) -> None:
        """Count a file that was looked at, of so many bytes."""
        self.count_brought(size, size)

    def tell(self, found: Finding, outcome: Outcome) -> None:
        """Say what is wrong, and why it stays so."""
        self._words[found.word] += 1
        self._repaired += outcome == "repaired"
        with self.aside():
            if self._settings.json:
                click.echo(json.dumps(_fields(found, outcome)))
            else:
                click.echo(f"{found.word} {_printable(found.key)}")
            if isinstance(outcome, FetcherError) and outcome is not self._said:
                self._said = outcome
                say_error(outcome, self._settings)

    def summary(self) -> str:
        """Return what became of it all, in one line."""
        looked = f"{counted(self.arrived, 'file')}, {size(self.sizes)} in {duration(self.clock() - self.began)}"
        if not self._words:
            return f"{looked}: sound"
        words = ", ".join(f"{word} {count}" for word, count in self._words.most_common())
        told = [f"{counted(self._words.total(), 'finding')}: {words}", looked]
        if self._repaired:
            told.insert(1, "all repaired" if not self.code else f"{self._repaired} repaired")
        return "; ".join(told)

    def conclude(self) -> None:
        """Say the summary."""
        if not self._quiet:
            click.echo(self.summary(), err=True)

    def interrupted(self) -> str:
        """Return how far it came."""
        of_all = "" if self.expected is None else f" of {self.expected}"
        return f"interrupted: {self.arrived}{of_all} files were looked at"


def _fields(found: Finding, outcome: Outcome) -> dict[str, object]:
    """Return what `--json` says of a finding."""
    fields: dict[str, object] = {"finding": found.word, "key": found.key}
    if found.project:
        fields["project"] = found.project
    if found.filename:
        fields["filename"] = found.filename
    fields["reason"] = found.reason
    if outcome != "found":
        fields["repaired"] = outcome == "repaired"
    if isinstance(outcome, FetcherError):
        fields |= {"error": type(outcome).__name__, "message": str(outcome)}
    return fields


def _printable(key: str) -> str:
    """Return a key on one line; what is in a directory may be called anything."""
    return key if key.isprintable() else ascii(key)[1:-1]


def verify(settings: Settings, mirror: str, state: Path | None, *, repair: bool) -> NoReturn:
    """Do what was asked for, and exit."""
    findings = furnish(Findings(settings), settings)
    try:
        place = place_of(mirror, state)
    except FetcherError as error:
        finish(error, settings)

    async def main() -> int:
        with Deadline(settings.deadline).over(mirror):
            async with AsyncExitStack() as stack:
                verification = await _open(stack, settings, place, findings, repair=repair)
                await verification.run()
        return findings.code

    code = run(main, settings, findings)
    findings.conclude()
    sys.exit(code)


async def _open(
    stack: AsyncExitStack, settings: Settings, place: Place, findings: Findings, *, repair: bool
) -> Verification:
    """Open the mirror, and its manifest if there is one.  Raises ConfigError where there is no mirror."""
    store = place.to_read()
    await _check(place, store)
    scratch = await stack.enter_async_context(Scratch())
    truth: ByPages | ByManifest = ByPages(store, scratch)
    repairer = None
    if await on_disk((place.state / NAME).exists):
        manifest = await stack.enter_async_context(Manifest(place.state, read_only=not repair))
        findings.expect((await manifest.totals()).files)
        if manifest.in_use and not settings.quiet:
            click.echo("a run is at work on this mirror: what it is about to change may be found here", err=True)
        if repair:
            await place.hold(stack)
            store = await place.open()
            repairer = await _open_repairer(stack, settings, place, manifest, store)
        truth = ByManifest(manifest, store)
    elif repair:
        raise ConfigError(
            f"{store.url} has no manifest in {place.state}, so nobody knows where its files came from: repair it where "
            "it was made, or name the manifest's directory with --state"
        )
    return Verification(truth, store, scratch, findings.tell, findings.count, settings.concurrency, repairer)


async def _check(place: Place, store: Inspected) -> None:
    """Look whether the directory, or the bucket, is there."""
    if place.directory is not None:
        if not await on_disk(place.directory.is_dir):
            raise ConfigError(f"{store.url} is no mirror: there is no such directory")
    else:
        async with aclosing(store.list("simple/")) as listed:  # type: ignore[type-var]
            await anext(listed, None)


async def _open_repairer(
    stack: AsyncExitStack, settings: Settings, place: Place, manifest: Manifest, store: Inspected
) -> ByIndex:
    cache = None if settings.no_cache else settings.cache_dir or place.state / "pages"
    fetcher = Fetcher(**fetcher_arguments(settings), cache=cache, cache_bytes=UNBOUNDED, cache_files=False)
    await stack.enter_async_context(fetcher)
    return ByIndex(fetcher, manifest, store, place.incoming, settings.concurrency)
