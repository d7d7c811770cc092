"""A shard: some files that one worker of a cluster brings, as one task of Dask.  This is the worker's side.

1. The worker has a Fetcher made as the coordinator's is, and opens the same store; a mark in the store proves that it
   is the same: a directory must be on a file system that all share.
2. It greets the coordinator, and asks no server before that has answered: with the pauses of hosts that are in force.
   So a shard that begins anew, on whatever worker, knows them as well as one that was at work all the time.
3. A host that asks this worker to wait is told to the coordinator, which tells all.
4. Back goes what became of each file; nothing else is kept.
5. A shard that nobody waits for is left: the coordinator is gone, or this worker was given up for lost.

What the coordinator sends holds credentials, of index URLs and of its environment: no `repr` shows them, but who may
connect to the scheduler can have them.  A cluster others can reach wants `tls://`.  A worker's netrc, proxies and AWS
variables are its own.
"""

import asyncio
import logging
import os
import platform
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from threading import Lock, get_ident
from typing import Any

import anyio
import distributed
from anyio import CancelScope, CapacityLimiter, Event, create_task_group, fail_after
from distributed import Status

from fetcher.client import Fetcher
from fetcher.disk import on_disk
from fetcher.errors import ConfigError, DiskError, FetcherError, TimedOut
from fetcher.index.files import File
from fetcher.mirror.transfer import Carried, carry
from fetcher.storage.directory import PRIVATE, Directory
from fetcher.storage.store import Store
from fetcher.version import __version__

__all__ = ["MARK_KEY", "Errand", "Pause", "Shard", "carry_shard", "describe", "heed"]

# What the coordinator writes into the store, so that a worker can tell whether it has the same.
MARK_KEY = f"{PRIVATE}/cluster"
# Seconds to wait for the coordinator's answer, which takes milliseconds; it may be busy, or gone.
PATIENCE = 60.0
# Seconds between two looks whether anybody still waits for a shard.
BEAT = 0.25

# What a worker is that is lost, or told to go; one that leaves in good order ends its tasks first.
_LEAVING = {Status.closing, Status.closed, Status.failed, Status.stopping, Status.stopped}

# A host, the seconds it asks to wait, and the status that asked.
Pause = tuple[str, float, int]


@dataclass(frozen=True)
class Errand:
    """What all shards of a run have in common.

    `to` is the directory or `s3://` URL of the store; `arguments` are those of the Fetcher, `environ` is what it is to
    find in the environment besides the worker's own.
    """

    run: str
    to: str
    arguments: Mapping[str, Any] = field(repr=False)
    environ: Mapping[str, str] = field(repr=False)

    @property
    def topic(self) -> str:
        """Where the workers tell the coordinator something."""
        return f"fetcher-{self.run}"


@dataclass(frozen=True)
class Shard:
    """Files for one worker, and how much of the requests at once, and of the rate, it may have."""

    errand: Errand = field(repr=False)
    files: Sequence[File] = field(repr=False)
    concurrency: int
    per_host: int | None
    limit_rate: float | None

    def fetcher(self, on_cool_down: Callable[[str, float, int], None]) -> Fetcher:
        """Return a Fetcher made as the coordinator's is."""
        arguments = {
            **self.errand.arguments,
            "concurrency": self.concurrency,
            "per_host": self.per_host,
            "limit_rate": self.limit_rate,
        }
        return Fetcher(**arguments, environ={**os.environ, **self.errand.environ}, on_cool_down=on_cool_down)


def describe() -> dict[str, str]:
    """Return what coordinator, scheduler and workers must have in common: what they send each other depends on it."""
    python = ".".join(platform.python_version_tuple()[:2])
    return {"fetcher": __version__, "distributed": version("distributed"), "Python": python}


# ------------------------------------------------------------------------------------------------- what is at work here


class _Work:
    """A shard that this process is at."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._loop = asyncio.get_running_loop()
        self.may_begin = Event()

    def heed(self, pauses: Sequence[Pause]) -> None:
        """Have done what the coordinator says; in another thread than the work's."""
        self._loop.call_soon_threadsafe(self._heed, pauses)

    def _heed(self, pauses: Sequence[Pause]) -> None:
        for host, seconds, status in pauses:
            self._fetcher.cool_down(host, seconds, status)
        self.may_begin.set()


# The shards of each run.  Whoever looks holds the lock, so that no event loop ends while it is told something.
_at_work: dict[str, set[_Work]] = {}
_lock = Lock()


@contextmanager
def _listening(run: str, work: _Work) -> Iterator[None]:
    with _lock:
        _at_work.setdefault(run, set()).add(work)
    try:
        yield
    finally:
        with _lock:
            _at_work[run].remove(work)
            if not _at_work[run]:
                del _at_work[run]


def heed(run: str, pauses: Sequence[Pause]) -> None:
    """Tell all shards of a run in this process which pauses are in force."""
    with _lock:
        for work in _at_work.get(run, ()):
            work.heed(pauses)


# -------------------------------------------------------------------------------------------------------------- a shard


def carry_shard(shard: Shard) -> list[Carried | FetcherError]:
    """Bring the files of a shard into the store; return what became of each, in order.

    Raises FetcherError if the store cannot be opened.
    """
    worker = distributed.get_worker()
    tell = partial(worker.log_event, shard.errand.topic)
    wanted = partial(_is_wanted, worker, worker.get_current_task())
    with _forwarded_warnings(lambda text: tell({"warning": text})):
        return anyio.run(_carry_shard, shard, worker.address, tell, wanted)


def _is_wanted(worker: Any, key: object) -> bool:  # noqa: ANN401 - Dask has few types
    """Say whether anybody still waits for a task."""
    task = worker.state.tasks.get(key)
    return worker.status not in _LEAVING and task is not None and task.state != "cancelled"


async def _carry_shard(
    shard: Shard, worker: str, tell: Callable[[Any], None], wanted: Callable[[], bool]
) -> list[Carried | FetcherError]:
    def on_cool_down(host: str, seconds: float, status: int) -> None:
        tell({"pause": (host, seconds, status)})

    async with shard.fetcher(on_cool_down) as fetcher, _opened(shard.errand, worker) as (store, incoming):
        work = _Work(fetcher)
        with _listening(shard.errand.run, work):
            tell({"greeting": worker})
            await _answered(work, worker)
            return await _carry_all(fetcher, store, incoming, shard, wanted)


async def _answered(work: _Work, worker: str) -> None:
    try:
        with fail_after(PATIENCE):
            await work.may_begin.wait()
    except TimeoutError:
        raise TimedOut(worker, "no answer came from the coordinator", PATIENCE) from None


async def _carry_all(
    fetcher: Fetcher, store: Store, incoming: Path, shard: Shard, wanted: Callable[[], bool]
) -> list[Carried | FetcherError]:
    places = CapacityLimiter(shard.concurrency)
    came: dict[int, Carried | FetcherError] = {}

    async def one(number: int, file: File) -> None:
        async with places:
            try:
                came[number] = await carry(fetcher, store, file, incoming)
            except FetcherError as error:
                came[number] = error

    async with create_task_group() as beside:
        beside.start_soon(_leave_unless, wanted, beside.cancel_scope)
        async with create_task_group() as tasks:
            for number, file in enumerate(shard.files):
                tasks.start_soon(one, number, file)
        beside.cancel_scope.cancel()
    return [came[number] for number in sorted(came)]


async def _leave_unless(wanted: Callable[[], bool], scope: CancelScope) -> None:
    """Leave the scope when nobody waits for what is done there: Dask itself never ends a thread."""
    while wanted():  # noqa: ASYNC110 - it is another thread's, and Dask tells nobody of its change
        await anyio.sleep(BEAT)
    scope.cancel()


@asynccontextmanager
async def _opened(errand: Errand, worker: str) -> AsyncIterator[tuple[Store, Path]]:
    """Open the run's store, and have a local directory that files come to."""
    if not errand.to.startswith("s3://"):
        directory = Directory(Path(errand.to))
        await _check_mark(directory, errand, worker)
        yield directory, directory.incoming
        return
    from fetcher.storage.object_store import ObjectStore  # a directory does without the extra s3

    store = await ObjectStore.open(errand.to)
    await _check_mark(store, errand, worker)
    try:
        incoming = Path(await on_disk(tempfile.mkdtemp))
    except OSError as error:
        raise DiskError.of(tempfile.gettempdir(), error) from error
    try:
        yield store, incoming
    finally:
        with CancelScope(shield=True):
            await on_disk(partial(shutil.rmtree, incoming, ignore_errors=True))


async def _check_mark(store: Store, errand: Errand, worker: str) -> None:
    if await store.get(MARK_KEY) != errand.run.encode():
        raise ConfigError(
            f"{store.url} is another place on the worker {worker} than here: a cluster needs a directory on a file "
            "system that all its machines share, or a bucket"
        )


@contextmanager
def _forwarded_warnings(tell: Callable[[str], None]) -> Iterator[None]:
    """Have what this thread warns of told to the coordinator."""
    mine, above = get_ident(), logging.getLogger("fetcher")
    handler = logging.Handler(logging.WARNING)
    handler.addFilter(lambda record: record.thread == mine)
    handler.emit = lambda record: tell(record.getMessage())  # type: ignore[method-assign]
    above.addHandler(handler)
    try:
        yield
    finally:
        above.removeHandler(handler)
