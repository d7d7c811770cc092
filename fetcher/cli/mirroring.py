"""What `fetcher prefetch` does: sources into the manifest, the job, what is to be removed; and what is said of it."""

import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
from anyio import CancelScope, create_task_group

from fetcher.cli.carriers import Helpers, open_carrier
from fetcher.cli.deadline import Deadline, DeadlinePassed
from fetcher.cli.ledger import Ledger
from fetcher.cli.options import Settings, fetcher_arguments
from fetcher.cli.place import UNBOUNDED, Place, place_of
from fetcher.cli.progress import Display, display_for
from fetcher.cli.requirements import Requested
from fetcher.cli.run import exit_code, finish, run, say_error
from fetcher.cli.sources import read_asked, read_sources
from fetcher.client import Fetcher
from fetcher.disk import on_disk
from fetcher.errors import (
    AuthError,
    BadPage,
    ConfigError,
    DiskError,
    FetcherError,
    LoginPage,
    ServerFailed,
    Throttled,
    TransportError,
)
from fetcher.index.urls import without_secrets
from fetcher.mirror.job import Job
from fetcher.mirror.layout import file_key
from fetcher.mirror.manifest import Manifest
from fetcher.mirror.plan import may_remove
from fetcher.mirror.rehearsal import Looker, ReadOnly, copy_manifest
from fetcher.mirror.turn import Carrier, Happening, Means
from fetcher.mirror.wanted import Ask, Choice
from fetcher.report.report import render_report
from fetcher.storage.directory import clear
from fetcher.words import size

__all__ = ["Wish", "mirror"]

T = TypeVar("T")

# What is asked for is noted so many at a time.
BATCH = 1000
# Projects that are under way at once: as many as it takes for those who bring files to have some, at so many a project.
PROJECTS = 50
FILES = 4
# After these no answer of an index counts as its word on what it has not.
INDEX_FAILURES = (TransportError, AuthError, LoginPage, BadPage, ServerFailed, Throttled)


@dataclass(frozen=True)
class Wish:
    """What the command line asked for; `choice` says which files of a project."""

    choice: Choice
    sources: tuple[str, ...]
    requirements: tuple[Path, ...]
    constraints: tuple[Path, ...]
    to: str
    state: Path | None
    all_projects: bool
    with_dependencies: bool
    delete: bool
    max_delete: float
    dry_run: bool
    per_host: int | None
    helpers: Helpers
    report: Path | None


class Teller:
    """Says what becomes of files and projects, and remembers how it went; `url` is the mirror's."""

    def __init__(self, settings: Settings, url: str, display: Display, *, dry: bool) -> None:
        self._settings = settings
        self._url = url
        self._display = display
        self._dry = dry
        self.ledger = Ledger()
        self.codes: set[int] = set()
        self.index_failed = False

    @property
    def failed(self) -> bool:
        """Whether anything failed."""
        return bool(self.codes - {0})

    def tell(self, happening: Happening) -> None:
        """Count it, and say what is to be said."""
        self.ledger.count(happening)
        self._count(happening)
        with self._display.aside():
            if self._settings.json:
                click.echo(json.dumps(_fields(happening)))
            elif line := self._line(happening):
                click.echo(line)
            elif happening.outcome == "removed" and happening.filename and not self._settings.quiet:
                click.echo(f"removed {happening.filename}", err=True)
            if happening.error is not None:
                say_error(happening.error, self._settings)

    def fail(self, text: str, error: FetcherError) -> None:
        """Say what was asked for in vain."""
        self.tell(Happening(text, "", "missing", error=error))

    def refuse(self, reason: str) -> None:
        """Say why something that was asked for is not done at all."""
        self.codes |= {0, 1}  # some of what was asked for is done
        with self._display.aside():
            click.echo(f"error: {reason}", err=True)

    def _count(self, happening: Happening) -> None:
        self._display.latest.pop(happening.filename, None)
        if happening.error is not None:
            self._display.finished(happening.error)
            self.index_failed = self.index_failed or isinstance(happening.error, INDEX_FAILURES)
            self.codes.add(happening.error.exit_code)
        elif happening.outcome == "removed" and happening.filename:
            self._display.removed += 1
        elif happening.outcome == "present":
            self._display.count_present()
            self.codes.add(0)
        elif happening.carried is not None:
            self._display.count_brought(happening.carried.content.size, happening.carried.bytes)
            self.codes.add(0)

    def _line(self, happening: Happening) -> str:
        """Return what is printed: where a new file is, or what would be done."""
        if self._dry and happening.filename and happening.outcome in ("fetched", "removed"):
            return f"{'fetch' if happening.outcome == 'fetched' else 'remove'} {happening.filename}"
        if happening.carried is None:
            return ""
        return f"{self._url}/{file_key(happening.carried.content.sha256, happening.filename)}"


def _fields(happening: Happening) -> dict[str, Any]:
    """Return what `--json` says of it."""
    fields: dict[str, Any] = {"project": happening.project, "outcome": happening.outcome}
    if happening.filename:
        fields["filename"] = happening.filename
    if (carried := happening.carried) is not None:
        fields |= {
            "size": carried.content.size,
            "sha256": carried.content.sha256,
            "bytes": carried.bytes,
            "seconds": round(carried.seconds, 3),
        }
    if (error := happening.error) is not None:
        fields |= {"error": type(error).__name__, "message": str(error)}
    return fields


def mirror(settings: Settings, wish: Wish) -> NoReturn:
    """Do what was asked for, and exit."""
    display = display_for(settings)
    choice = wish.choice
    try:
        if wish.report is not None and not wish.report.absolute().parent.is_dir():
            raise ConfigError(f"{wish.report}: there is no such directory to write the report into")
        place = place_of(wish.to, wish.state)
        requested = read_sources(
            wish.sources,
            wish.requirements,
            choice.targets,
            choice.formats,
            constraints=wish.constraints,
            required=not wish.all_projects,
        )
    except FetcherError as error:
        finish(error, settings)

    async def main() -> int:
        async with AsyncExitStack() as stack:
            means, teller = await _open(stack, settings, wish, place, requested, display)
            projects = max(PROJECTS, means.carrier.room // FILES)
            if wish.report is not None:
                stack.push_async_callback(_write_report, wish.report, teller.ledger, place, means.manifest)
            await _run(Job(means, projects), requested, wish, teller, Deadline(settings.deadline))
            if not (teller.failed or wish.dry_run):
                await clear(place.incoming)  # parts of what earlier runs wanted
        return exit_code(teller.codes or {0})

    code = run(main, settings, display)
    if not wish.dry_run:
        display.conclude()
    elif not settings.quiet:
        click.echo(_plan(display), err=True)
    sys.exit(code)


def _plan(display: Display) -> str:
    """Return in one line what a run would do."""
    told = [f"{display.brought} files to fetch ({size(display.sizes)})", f"{display.removed} to remove"]
    failed = [f"{display.failed} failed"] if display.failed else []
    return ", ".join([*told, f"{display.present} already there", *failed])


async def _run(job: Job, requested: Requested, wish: Wish, teller: Teller, deadline: Deadline) -> None:
    async with create_task_group() as beside:
        if wish.report is not None:
            beside.start_soon(teller.ledger.watch)
        try:
            with deadline.over("all that was asked for"):
                await _want(job.means, requested, wish, teller)
                await job.run()
        except DeadlinePassed as error:  # nobody knows what else is wanted: nothing is removed
            teller.fail(wish.to, error)
        else:
            if wish.delete:
                await _remove(job, wish, teller)
        await job.finish()
        beside.cancel_scope.cancel()


async def _open(
    stack: AsyncExitStack, settings: Settings, wish: Wish, place: Place, requested: Requested, display: Display
) -> tuple[Means, Teller]:
    """Open the mirror, its manifest and the Fetcher."""
    arguments = fetcher_arguments(settings, index_url=requested.index_url, extra=tuple(requested.extra_index_urls))
    state = place.state
    await place.check()
    if wish.dry_run:
        state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fetcher-")))
        await copy_manifest(place.state, state)
    manifest = await stack.enter_async_context(Manifest(state))
    if not wish.dry_run:
        await place.hold(stack)
    store = ReadOnly(place.to_read()) if wish.dry_run else await place.open()
    cache = None if settings.no_cache else settings.cache_dir or state / "pages"
    arguments |= {"cache": cache, "cache_bytes": UNBOUNDED, "cache_files": False, "per_host": wish.per_host}
    if wish.dry_run:
        fetcher = await stack.enter_async_context(Fetcher(**arguments))
        carrier: Carrier = Looker(fetcher, wish.with_dependencies, settings.concurrency)
    else:
        opened = open_carrier(settings, arguments, store, place, wish.helpers, display.on_event)
        fetcher, carrier = await stack.enter_async_context(opened)
    teller = Teller(settings, place.shown, display, dry=wish.dry_run)
    choice = replace(wish.choice, formats=requested.formats, constraints=requested.constraints)
    return Means(fetcher, manifest, store, carrier, choice, teller.tell, wish.with_dependencies), teller


async def _write_report(path: Path, ledger: Ledger, place: Place, manifest: Manifest) -> None:
    """Write the report, also of a run that was interrupted or failed."""
    with CancelScope(shield=True):
        text = render_report(await ledger.report(place.shown, manifest))
        try:
            await on_disk(_replace, path, text)
        except OSError as error:
            raise DiskError.of(str(path), error) from error


def _replace(path: Path, text: str) -> None:
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        new.write_text(text, "utf-8")
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise


async def _want(means: Means, requested: Requested, wish: Wish, teller: Teller) -> None:
    """Note what is asked for in the manifest."""
    await means.manifest.begin()
    asked = read_asked(requested.targets, wish.choice.targets, means.fetcher.indexes)
    for batch in _batches(asked):
        for one in batch:
            if one.error is not None:
                teller.fail(one.text, one.error)
        await means.manifest.want(want for one in batch for want in one.wants)
        means.secrets |= {without_secrets(one.secret): one.secret for one in batch if one.secret}
    if wish.all_projects:
        for names in _batches(await means.fetcher.projects()):
            await means.manifest.want((name, Ask(named=False)) for name in names)


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    source = iter(items)
    while batch := list(islice(source, BATCH)):
        yield batch


def _doubts(wish: Wish, teller: Teller) -> str:
    """Return why it is not known what is wanted; empty if it is."""
    if teller.index_failed:
        return "an index that fails now and then does not tell what it has"
    return "what failed may depend on it" if wish.with_dependencies and teller.failed else ""


async def _remove(job: Job, wish: Wish, teller: Teller) -> None:
    """Remove what is not wanted any more, unless that is too much, or nobody knows what is wanted."""
    await job.means.manifest.forget_failed()
    unwanted = await job.means.manifest.unwanted()
    if not unwanted:
        return
    if reason := _doubts(wish, teller):
        teller.refuse(f"nothing is removed: {reason}")
        return
    files = (await job.means.manifest.totals()).files
    allowed = may_remove(len(unwanted), files, wish.max_delete)
    if not allowed:
        told = (
            f"{len(unwanted)} of {files} files are not wanted any more, and --max-delete allows {wish.max_delete:g} %"
        )
        teller.refuse(f"nothing is removed: {told}{'' if wish.dry_run else '; --dry-run says which they are'}")
    if allowed or wish.dry_run:
        await job.remove(unwanted)
