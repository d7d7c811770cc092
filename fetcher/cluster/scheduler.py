"""A Dask cluster: one that is there, known by its scheduler, or worker processes of this machine.

Scheduler and workers must have the same fetcher, distributed and Python (major.minor) as this process: what they send
each other is pickled.  What Dask logs and warns of is for whoever looks after the cluster, and shown only if asked for.
"""

import logging
import shutil
import sys
import warnings
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from subprocess import DEVNULL, PIPE
from time import monotonic
from typing import Any

import anyio
import msgspec
from anyio import BrokenResourceError, CancelScope, create_task_group, move_on_after, open_process
from distributed import Client, Scheduler, Security

from fetcher.cluster.shard import describe
from fetcher.disk import on_disk
from fetcher.errors import ConfigError, ConnectFailed, FetcherError, TimedOut

__all__ = ["Cluster", "first_of", "join_cluster", "quiet", "start_workers"]

# Seconds between two looks at who is there.
BEAT = 1.0
# Seconds that worker processes of this machine have at least to begin: a second or two, if it has nothing else to do.
START = 60.0
# What a worker needs to know of the certificate.
TOLD = ("tls_ca_file", "tls_worker_key", "tls_worker_cert")
# Seconds for leaving a cluster in good order; what is left then ends with this process.
FAREWELL = 5.0


@dataclass(frozen=True)
class Cluster:
    """A cluster that this process is connected to; `patience` are the seconds to wait for a worker."""

    client: Any
    url: str
    patience: float

    async def workers(self) -> int:
        """Return how many workers there are.  Raises what Dask raises where the scheduler is gone."""
        return len(await self.client.nthreads())


@asynccontextmanager
async def join_cluster(url: str, patience: float, security: Security | None = None) -> AsyncIterator[Cluster]:
    """Connect to a scheduler such as `tcp://host:8786`, and look who is there; `security` is Dask's.

    Raises ConfigError for an address that makes no sense, and for those who cannot be understood; ConnectFailed,
    TimedOut if no worker comes.
    """
    try:
        client: Any = Client(  # type: ignore[no-untyped-call]
            url, asynchronous=True, set_as_default=False, timeout=patience, name="fetcher", security=security
        )
    except ValueError as error:
        raise ConfigError(f"{url!r} is no address of a scheduler, such as tcp://host:8786: {error}") from None
    try:
        try:
            await client
        except (OSError, TimeoutError) as error:
            raise ConnectFailed(url, f"no Dask scheduler answered within {patience:g} s") from error
        except ImportError as error:  # Dask's own word for versions that cannot talk to each other
            raise ConfigError(f"the scheduler {url} cannot be talked to: {error}") from None
        cluster = Cluster(client, url, patience)
        await _await_workers(cluster)
        await _check_versions(cluster)
        yield cluster
    finally:
        with CancelScope(shield=True), move_on_after(FAREWELL):
            await client.close()


@asynccontextmanager
async def start_workers(count: int, patience: float, scratch: Path, *, verbose: bool) -> AsyncIterator[Cluster]:
    """Have so many worker processes of this machine, with a scheduler in this event loop; they end with the block.

    Whoever can talk to a scheduler can have anything done as its user: a certificate made for this run keeps others of
    the machine out.
    """
    security = Security.temporary()  # type: ignore[no-untyped-call]
    scheduler: Any = Scheduler(host="127.0.0.1", port=0, dashboard=False, protocol="tls://", security=security)
    await on_disk(partial(shutil.rmtree, scratch, ignore_errors=True))  # of a run that was killed
    try:
        await scheduler
        async with create_task_group() as tasks:
            for number in range(count):
                tasks.start_soon(_keep_worker, scheduler.address, scratch / str(number), security, verbose)
            try:
                async with join_cluster(scheduler.address, max(START, patience), security) as cluster:
                    yield cluster
            finally:
                tasks.cancel_scope.cancel()
    except* FetcherError as group:
        raise first_of(group) from None
    finally:
        with CancelScope(shield=True), move_on_after(FAREWELL):
            await scheduler.close()
            await on_disk(partial(shutil.rmtree, scratch, ignore_errors=True))


async def _keep_worker(scheduler: str, directory: Path, security: Security, verbose: bool) -> None:
    """Have a worker process, and another one when it dies; it is told by the pipe how to be let in."""
    told = msgspec.json.encode({name: getattr(security, name) for name in TOLD}) + b"\n"
    command = [sys.executable, "-m", "fetcher.cluster.local_worker", scheduler, str(directory)]
    said = None if verbose else DEVNULL
    while True:
        async with await open_process(command, stdin=PIPE, stdout=DEVNULL, stderr=said) as process:
            try:
                assert process.stdin is not None  # noqa: S101 - for the type checker: it is a pipe
                with suppress(BrokenResourceError):  # it has died already
                    await process.stdin.send(told)
                await process.wait()
            finally:
                with suppress(ProcessLookupError):
                    process.kill()
        await anyio.sleep(BEAT)


async def _await_workers(cluster: Cluster) -> None:
    began = monotonic()
    while not await cluster.workers():
        if monotonic() - began > cluster.patience:
            raise TimedOut(cluster.url, "no worker came to the scheduler", cluster.patience)
        await anyio.sleep(BEAT / 10)


async def _check_versions(cluster: Cluster) -> None:
    """Raise ConfigError if scheduler or workers are not as this process is."""
    try:
        scheduler = await cluster.client.run_on_scheduler(describe)
    except (ImportError, AttributeError) as error:
        scheduler = error
    workers = await cluster.client.run(describe, on_error="return")
    here = describe()
    for who, there in {f"the scheduler {cluster.url}": scheduler, **_named(workers)}.items():
        if there != here:
            raise ConfigError(f"{who} {_differs(there, here)}: install there what is installed here")


def _named(workers: Mapping[str, object]) -> dict[str, object]:
    return {f"the worker {url}": there for url, there in workers.items()}


def _differs(there: object, here: Mapping[str, str]) -> str:
    if isinstance(there, Mapping):
        other = ", ".join(f"{name} {there.get(name)}" for name in here if there.get(name) != here[name])
        mine = ", ".join(f"{name} {here[name]}" for name in here if there.get(name) != here[name])
        return f"has {other} and not {mine}"
    return f"has no fetcher {here['fetcher']} with its extra cluster ({there})"


def first_of(group: BaseExceptionGroup[FetcherError]) -> FetcherError:
    """Return the error that ended it all."""
    first = group.exceptions[0]
    return first_of(first) if isinstance(first, BaseExceptionGroup) else first


@contextmanager
def quiet(*, verbose: bool) -> Iterator[None]:
    """Keep what Dask says off stderr."""
    if verbose:
        yield
        return
    talkers = [logging.getLogger(name) for name in ("distributed", "distributed.client", "distributed.gc", "tornado")]
    handlers = [talker.handlers[:] for talker in talkers]
    for talker in talkers:
        talker.handlers[:] = [logging.NullHandler()]
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"(dask|distributed|tornado)\b")
            yield
    finally:
        for talker, before in zip(talkers, handlers, strict=True):
            talker.handlers[:] = before
