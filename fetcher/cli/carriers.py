"""Who brings the files of a mirror: this process, worker processes of this machine, or a Dask cluster."""

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from anyio import CancelScope

from fetcher.cli.options import Settings
from fetcher.cli.place import Place
from fetcher.client import Fetcher
from fetcher.download.events import OnEvent
from fetcher.errors import ConfigError
from fetcher.mirror.transfer import LocalCarrier
from fetcher.mirror.turn import Carrier
from fetcher.storage.store import Store

__all__ = ["Helpers", "open_carrier"]

# Variables that hold credentials of indexes: a worker has none of its own.
CREDENTIALS = ("FETCHER_INDEX_", "UV_INDEX_")


@dataclass(frozen=True)
class Helpers:
    """Who helps: the cluster of a Dask `scheduler`, so many `workers` of this machine, or nobody."""

    scheduler: str | None = None
    workers: int | None = None

    @property
    def option(self) -> str:
        """The option that asked for help; empty if none did."""
        return "--scheduler" if self.scheduler else "--workers" if self.workers else ""


@asynccontextmanager
async def open_carrier(
    settings: Settings,
    arguments: dict[str, Any],
    store: Store,
    place: Place,
    helpers: Helpers,
    on_event: OnEvent | None,
) -> AsyncIterator[tuple[Fetcher, Carrier]]:
    """Open the Fetcher of the run and who brings its files; `arguments` are the Fetcher's."""
    if helpers.option:
        async with _open_cluster(settings, arguments, store, place, helpers) as opened:
            yield opened
        return
    async with Fetcher(**arguments) as fetcher:
        yield fetcher, LocalCarrier(fetcher, store, place.incoming, settings.concurrency, on_event)


@asynccontextmanager
async def _open_cluster(
    settings: Settings, arguments: dict[str, Any], store: Store, place: Place, helpers: Helpers
) -> AsyncIterator[tuple[Fetcher, Carrier]]:
    try:  # three quarters of a second, spared where nobody helps
        from fetcher.cluster.carrier import ClusterCarrier
        from fetcher.cluster.scheduler import join_cluster, quiet, start_workers
        from fetcher.cluster.shard import MARK_KEY, Errand
    except ModuleNotFoundError as error:
        raise ConfigError(f'{helpers.option} needs the extra cluster: pip install "fetcher[cluster]"') from error

    errand = Errand(uuid.uuid4().hex, store.url, _of_shards(arguments), _credentials())
    async with AsyncExitStack() as stack:
        stack.enter_context(quiet(verbose=settings.verbose > 0))
        patience, verbose = settings.timeout, settings.verbose > 0
        joined = (
            join_cluster(helpers.scheduler, patience)
            if helpers.scheduler
            else start_workers(helpers.workers or 1, patience, place.state / "workers", verbose=verbose)
        )
        cluster = await stack.enter_async_context(joined)
        limits = {name: arguments[name] for name in ("concurrency", "per_host", "limit_rate")}
        carrier = ClusterCarrier(cluster, errand, await cluster.workers(), **limits)
        await store.put(MARK_KEY, errand.run.encode())
        stack.push_async_callback(_remove, store, MARK_KEY)
        fetcher = await stack.enter_async_context(Fetcher(**arguments, on_cool_down=carrier.pause))
        await stack.enter_async_context(carrier.at_work(fetcher))
        yield fetcher, carrier


async def _remove(store: Store, key: str) -> None:
    with CancelScope(shield=True):
        await store.remove([key])


def _of_shards(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return those arguments of the Fetcher that the workers' have, too: no cache, and limits of their own."""
    return {name: arguments[name] for name in ("indexes", "retries", "timeout", "refresh", "offline")}


def _credentials() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(CREDENTIALS)}
