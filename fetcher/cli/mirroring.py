"""What `fetcher prefetch` does: sources into the manifest, the job, what is to be removed; and what is said of it."""

import json
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from fetcher.cli.options import Settings, fetcher_arguments
from fetcher.cli.progress import Display, display_for
from fetcher.cli.requirements import Requested
from fetcher.cli.run import exit_code, finish, run, say_error
from fetcher.cli.sources import read_asked, read_sources
from fetcher.client import Fetcher
from fetcher.errors import ConfigError, FetcherError
from fetcher.mirror.directory import PRIVATE, Directory
from fetcher.mirror.job import Happening, Job
from fetcher.mirror.layout import file_key
from fetcher.mirror.manifest import Manifest
from fetcher.mirror.plan import may_remove
from fetcher.mirror.store import Store
from fetcher.mirror.transfer import LocalCarrier
from fetcher.mirror.wanted import Ask, Choice

__all__ = ["Wish", "mirror"]

T = TypeVar("T")

# What is asked for is noted so many at a time.
BATCH = 1000
# Pages of a mirror are kept however many there are: without them each would come anew.
UNBOUNDED = 1 << 60


@dataclass(frozen=True)
class Wish:
    """What the command line asked for; `choice` says which files of a project."""

    choice: Choice
    sources: tuple[str, ...]
    requirements: tuple[Path, ...]
    to: str
    state: Path | None
    all_projects: bool
    with_dependencies: bool
    delete: bool
    max_delete: float
    dry_run: bool
    per_host: int | None

    @property
    def directory(self) -> Path:
        """The directory that the mirror is in."""
        return Path(self.to).expanduser().absolute()


class Teller:
    """Says what becomes of files and projects, and remembers how it went."""

    def __init__(self, settings: Settings, store: Store, display: Display) -> None:
        self._settings = settings
        self._store = store
        self._display = display
        self.codes: set[int] = set()

    @property
    def failed(self) -> bool:
        """Whether anything failed."""
        return bool(self.codes - {0})

    def tell(self, happening: Happening) -> None:
        """Count it, and say what is to be said."""
        error = happening.error
        if error is not None:
            self._display.finished(error)
            self.codes.add(error.exit_code)
        elif happening.outcome == "present":
            self._display.count_present()
            self.codes.add(0)
        elif happening.carried is not None:
            self._display.count_brought(happening.carried.content.size, happening.carried.bytes)
            self.codes.add(0)
        with self._display.aside():
            self._say(happening)

    def fail(self, text: str, error: FetcherError) -> None:
        """Say what was asked for in vain."""
        self.tell(Happening(text, "", "missing", error=error))

    def _say(self, happening: Happening) -> None:
        if self._settings.json:
            click.echo(json.dumps(_fields(happening)))
        elif happening.carried is not None:
            key = file_key(happening.carried.content.sha256, happening.filename)
            click.echo(f"{self._store.url}/{key}")
        if happening.error is not None:
            say_error(happening.error, self._settings)


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
    try:
        requested = read_sources(
            wish.sources,
            wish.requirements,
            wish.choice.targets,
            wish.choice.formats,
            required=not wish.all_projects,
        )
    except FetcherError as error:
        finish(error, settings)

    async def main() -> int:
        async with _opened(settings, wish, requested, display) as (job, teller):
            await _want(job, requested, wish, teller)
            await job.run()
            if wish.delete:
                await _remove(job, wish, teller)
            await job.finish()
            return exit_code(teller.codes or {0})

    code = run(main, settings, display)
    display.conclude()
    sys.exit(code)


@asynccontextmanager
async def _opened(
    settings: Settings, wish: Wish, requested: Requested, display: Display
) -> AsyncIterator[tuple[Job, Teller]]:
    """Open the mirror, its manifest and the Fetcher."""
    store = Directory(wish.directory)
    state = wish.state or store.root / PRIVATE
    arguments = fetcher_arguments(settings, index_url=requested.index_url, extra=tuple(requested.extra_index_urls))
    cache = None if settings.no_cache else settings.cache_dir or state / "pages"
    async with AsyncExitStack() as stack:
        await store.open()
        manifest = await stack.enter_async_context(Manifest(state))
        fetcher = Fetcher(**arguments, cache=cache, cache_bytes=UNBOUNDED, cache_files=False, per_host=wish.per_host)
        await stack.enter_async_context(fetcher)
        teller = Teller(settings, store, display)
        carrier = LocalCarrier(fetcher, store, store.incoming, settings.concurrency, display.on_event)
        yield Job(fetcher, manifest, store, carrier, wish.choice, teller.tell, wish.with_dependencies), teller


async def _want(job: Job, requested: Requested, wish: Wish, teller: Teller) -> None:
    """Note what is asked for in the manifest."""
    await job.manifest.begin()
    asked = read_asked(requested.targets, wish.choice.targets, job.fetcher.indexes)
    for batch in _batches(asked):
        for one in batch:
            if one.error is not None:
                teller.fail(one.text, one.error)
        await job.manifest.want(want for one in batch for want in one.wants)
    if wish.all_projects:
        for names in _batches(await job.fetcher.projects()):
            await job.manifest.want((name, Ask()) for name in names)


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    source = iter(items)
    while batch := list(islice(source, BATCH)):
        yield batch


async def _remove(job: Job, wish: Wish, teller: Teller) -> None:
    """Remove what is not wanted any more, unless that is too much, or nobody knows what is wanted."""
    unwanted = await job.manifest.unwanted()
    if not unwanted:
        return
    if wish.with_dependencies and teller.failed:
        teller.fail("--delete", ConfigError("nothing was removed: what failed may depend on it"))
        return
    files = (await job.manifest.totals()).files
    if may_remove(len(unwanted), files, wish.max_delete):
        await job.remove(unwanted)
        return
    told = (
        f"nothing was removed: {len(unwanted)} of {files} files are not wanted any more, and --max-delete allows "
        f"{wish.max_delete:g} %; --dry-run says which they are"
    )
    teller.fail("--delete", ConfigError(told))
