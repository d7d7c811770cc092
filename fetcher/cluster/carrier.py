"""A mirror job's files brought by the workers of a Dask cluster.  This is the coordinator's side.

1. Index pages, the plan, the mirror's pages and the manifest stay here: the manifest is the truth, and the scheduler
   knows of nothing but shards under way.
2. Files that wait go together into shards (`shares` says how many); a short rest goes, too, after LINGER.
3. No more shards are under way than `shares` allows, each with its part of the requests.  A lost worker's shard is done
   by another, in its place: Dask sees to that.  A lost worker is dead, or ends its shard when it finds its connection
   broken; one that is cut off from the scheduler, and not from the index, is one too many until then.
4. A host's pause is told to all as seconds that are left: clocks differ.  No shard begins without those in force.
5. A shard whose workers died, one after the other, is halved, until the file that they died of is alone; that has
   failed, and the rest is done.
"""

import logging
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from copy import copy
from dataclasses import dataclass, field
from math import inf
from time import monotonic
from typing import Any

import anyio
from anyio import CapacityLimiter, Event, create_task_group
from distributed import KilledWorker
from distributed.client import ClosedClientError, FutureCancelledError

from fetcher.client import Fetcher
from fetcher.cluster.scheduler import BEAT, Cluster, first_of
from fetcher.cluster.shard import Errand, Pause, Shard, carry_shard, heed
from fetcher.cluster.shares import MOST_FILES, shard_length, share
from fetcher.errors import ConfigError, Disconnected, FetcherError, TimedOut, WorkerLost
from fetcher.index.files import File
from fetcher.mirror.transfer import Carried

__all__ = ["ClusterCarrier"]

logger = logging.getLogger(__name__)

# Seconds that fewer files than a shard may have wait for more.
LINGER = 0.05
# A shard has no more bytes than this, unless one file has: what a lost worker did is done again.
MOST_BYTES = 256 << 20
# Seconds by which a pause may be longer than the last that was told without being told anew.
NEAR = 0.1


class _Waiting:
    """A file that somebody waits for."""

    def __init__(self, file: File) -> None:
        self.file = file
        self._came: Carried | FetcherError | None = None
        self._ended = Event()

    def end(self, came: Carried | FetcherError) -> None:
        self._came = came
        self._ended.set()

    async def wait(self) -> Carried:
        await self._ended.wait()
        assert self._came is not None  # noqa: S101 - for the type checker: that is what `end` sets
        if isinstance(self._came, FetcherError):
            raise self._came
        return self._came


@dataclass(eq=False)
class _Turn:
    """What one shard under way may have: requests at once, in all and to one host, for which it holds places; rate."""

    concurrency: int = 1
    per_host: int | None = None
    limit_rate: float | None = None
    places: list[object] = field(default_factory=list)


class _Pauses:
    """The pauses of hosts that are in force, as seconds that are left."""

    def __init__(self) -> None:
        self._until: dict[str, tuple[float, int]] = {}

    def take(self, host: str, seconds: float, status: int) -> bool:
        """Take note of a pause; say whether it is to be told: many requests at once are answered the same."""
        until = monotonic() + seconds
        news = until > self._until.get(host, (0.0, 0))[0]
        if news:
            self._until[host] = (until + NEAR, status)
        return news

    @property
    def left(self) -> list[Pause]:
        now = monotonic()
        return [(host, until - now, status) for host, (until, status) in self._until.items() if until > now]


class ClusterCarrier:
    """Has files brought into a store by the workers of a cluster; use it within `at_work`.

    `concurrency`, `per_host` and `limit_rate` are those of the whole cluster, as a Fetcher's are of one process.
    `workers` are those that are there now.
    """

    def __init__(
        self,
        cluster: Cluster,
        errand: Errand,
        workers: int,
        *,
        concurrency: int,
        per_host: int | None,
        limit_rate: float | None,
    ) -> None:
        self._cluster = cluster
        self._errand = errand
        self._limits = (concurrency, per_host)
        self._limit_rate = limit_rate
        self._shares = share(workers, concurrency, per_host)
        self._under_way = CapacityLimiter(self._shares.shards)
        self._places = CapacityLimiter(inf if per_host is None else per_host)
        self._waiting: deque[_Waiting] = deque()
        self._more = Event()
        self._pauses = _Pauses()
        self._turns: set[_Turn] = set()
        self._sent = 0
        self.room = 2 * MOST_FILES * workers

    async def carry(self, file: File) -> Carried:
        """Bring a file into the store."""
        waiting = _Waiting(file)
        self._waiting.append(waiting)
        self._more.set()
        return await waiting.wait()

    @asynccontextmanager
    async def page_place(self) -> AsyncIterator[None]:
        """Have one of the places at a host for the coordinator itself."""
        place = object()  # one task may read several
        await self._places.acquire_on_behalf_of(place)
        try:
            yield
        finally:
            self._places.release_on_behalf_of(place)

    @asynccontextmanager
    async def at_work(self, fetcher: Fetcher) -> AsyncIterator[None]:
        """Have files brought meanwhile; `fetcher`, the coordinator's own, keeps the same pauses.

        Raises Disconnected if the scheduler is lost, TimedOut if all workers are, ConfigError for a worker that cannot
        do it, such as one that does not share the directory.
        """
        self._fetcher = fetcher
        client = self._cluster.client
        client.subscribe_topic(self._errand.topic, self._hear)
        try:
            async with create_task_group() as self._tasks:
                self._tasks.start_soon(self._send_shards)
                self._tasks.start_soon(self._watch)
                yield
                self._tasks.cancel_scope.cancel()
        except* FetcherError as group:
            raise first_of(group) from None

    # --------------------------------------------------------------------------------------------- to and from workers

    def pause(self, host: str, seconds: float, status: int) -> None:
        """Have nobody ask a host for so many seconds."""
        if self._pauses.take(host, seconds, status):
            self._fetcher.cool_down(host, seconds + NEAR, status)
            self._tasks.start_soon(self._tell)

    def _hear(self, event: tuple[float, dict[str, Any]]) -> None:
        """Take what a worker says."""
        match event[1]:
            case {"greeting": worker}:
                self._tasks.start_soon(self._tell, [worker])
            case {"pause": (host, seconds, status)}:
                self.pause(host, seconds, status)
            case {"warning": text}:
                logger.warning("%s", text)

    async def _tell(self, workers: list[str] | None = None) -> None:
        """Tell workers (None: all) which pauses are in force; one that is gone needs to hear nothing."""
        with suppress(OSError):
            client, run = self._cluster.client, self._errand.run
            await client.run(heed, run, self._pauses.left, workers=workers, on_error="ignore")

    async def _watch(self) -> None:
        """See how many workers there are, and that there are any."""
        seen = monotonic()
        while True:
            with self._connected():
                workers = await self._cluster.workers()
            if workers:
                seen = monotonic()
                self._shares = share(workers, *self._limits)
                self._under_way.total_tokens = self._shares.shards
            elif monotonic() - seen > self._cluster.patience:
                raise TimedOut(self._cluster.url, "all workers are gone, and none came", self._cluster.patience)
            await anyio.sleep(BEAT)

    # ---------------------------------------------------------------------------------------------------------- shards

    async def _send_shards(self) -> None:
        """Send what waits, as long as there are places for a shard more."""
        while True:
            await self._more.wait()
            turn = await self._next_turn()
            if len(self._waiting) < MOST_FILES:
                await anyio.sleep(LINGER)
            self._tasks.start_soon(self._bring_in_turn, self._next_shard(), turn)
            if not self._waiting:
                self._more = Event()

    async def _next_turn(self) -> _Turn:
        """Wait until one more shard may be sent, and take its places: one by one, for nobody else takes several."""
        turn = _Turn()
        await self._under_way.acquire_on_behalf_of(turn)
        others = [other for other in self._turns if other is not turn]
        turn.concurrency = self._shares.concurrency
        turn.per_host = self._shares.per_host(len(others), sum(len(other.places) for other in others))
        turn.limit_rate = None if self._limit_rate is None else self._limit_rate / self._shares.shards
        self._turns.add(turn)
        for _ in range(turn.per_host or 0):
            place = object()
            await self._places.acquire_on_behalf_of(place)
            turn.places.append(place)
        return turn

    def _next_shard(self) -> list[_Waiting]:
        """Take from those that wait as many as a shard may have."""
        files: list[_Waiting] = []
        most = shard_length(len(self._waiting), self._shares.shards - len(self._turns) + 1)
        room = MOST_BYTES
        while len(files) < most and (not files or room >= (self._waiting[0].file.size or 0)):
            files.append(self._waiting.popleft())
            room -= files[-1].file.size or 0
        return files

    async def _bring_in_turn(self, files: Sequence[_Waiting], turn: _Turn) -> None:
        try:
            await self._bring(files, turn)
        finally:
            for place in turn.places:
                self._places.release_on_behalf_of(place)
            self._turns.remove(turn)
            self._under_way.release_on_behalf_of(turn)

    async def _bring(self, files: Sequence[_Waiting], turn: _Turn) -> None:
        """Have files brought as one shard; in halves where workers die of it."""
        try:
            came: Sequence[Carried | FetcherError] = await self._run(files, turn)
        except KilledWorker as killed:
            deaths = killed.allowed_failures + 1
            logger.info("%d workers died, one after the other, of a shard of %d files", deaths, len(files))
            if len(files) > 1:
                await self._bring(files[: len(files) // 2], turn)
                await self._bring(files[len(files) // 2 :], turn)
                return
            came = [WorkerLost(files[0].file.url, workers=deaths)]
        for waiting, what in zip(files, came, strict=True):
            waiting.end(what)

    async def _run(self, files: Sequence[_Waiting], turn: _Turn) -> list[Carried | FetcherError]:
        """Have Dask do a shard, and return what became of each file."""
        listed = [each.file for each in files]
        shard = Shard(self._errand, listed, turn.concurrency, turn.per_host, turn.limit_rate)
        self._sent += 1
        client, key = self._cluster.client, f"{self._errand.topic}-{self._sent}"
        with self._connected():
            future = client.submit(carry_shard, shard, key=key, pure=False)
            try:
                came: list[Carried | FetcherError] = await future
            except ConfigError:  # so it would be with every shard
                raise
            except FetcherError as error:  # the store could not be opened
                return [copy(error) for _ in files]
            finally:
                future.release()
        return came

    @contextmanager
    def _connected(self) -> Iterator[None]:
        """Raise an error of ours where the scheduler is gone, or a worker cannot read what it gets."""
        try:
            yield
        except (FutureCancelledError, ClosedClientError, OSError) as error:
            raise Disconnected(self._cluster.url, "the Dask scheduler is gone, or was begun anew") from error
        except ImportError as error:
            raise ConfigError(f"a worker of {self._cluster.url} has no fetcher like this one: {error}") from error
