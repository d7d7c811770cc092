"""Many at once, and cancelled at any point: results are right, nothing is left, and everything goes on.

`STRESS_SEEDS` (numbers with commas) and `STRESS_CANCELLATIONS` make it longer; what fails names its seed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from random import Random
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

import anyio
import pytest
from anyio import CancelScope, create_task_group, fail_after, move_on_after
from anyio.from_thread import start_blocking_portal
from stress import (
    PATIENCE,
    Ask,
    World,
    assert_at_rest,
    assert_no_thread_is_left,
    declared,
    environment,
    nothing_left,
)
from wire_checks import until

from fetcher import Fetcher, FetcherError, blocking

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fake_index import FakeIndex

pytestmark = pytest.mark.usefixtures("_no_blocking", "_short_waits")


SEEDS = [int(seed) for seed in os.environ.get("STRESS_SEEDS", "1").split(",")]
CANCELLATIONS = int(os.environ.get("STRESS_CANCELLATIONS", "1000"))
TASKS, THREADS = 1_000, 200
AT_ONCE = 100

T = TypeVar("T")
Run = Callable[[Callable[[], Awaitable[None]]], None]


@pytest.fixture(
    params=[
        "asyncio",
        pytest.param("uvloop", marks=pytest.mark.skipif(not find_spec("uvloop"), reason="uvloop is not installed")),
    ]
)
def run(request: pytest.FixtureRequest) -> Run:
    """Run a coroutine function in an event loop of each kind; its threads end with it."""

    def run(main: Callable[[], Awaitable[None]]) -> None:
        anyio.run(main, backend_options={"use_uvloop": request.param == "uvloop"})
        assert_no_thread_is_left()

    return run


@pytest.fixture
def world(dest: Path) -> World:
    return World(dest)


seeded = pytest.mark.parametrize("seed", SEEDS)


async def all_pass(world: World, fetcher: Fetcher, asks: list[Ask]) -> None:
    """All at once, none cancelled: whatever waits for ever is seen here."""
    with fail_after(PATIENCE):
        async with create_task_group() as tasks:
            for ask in asks:
                tasks.start_soon(world.do, fetcher, ask)
    assert_at_rest(fetcher)


@seeded
def test_a_thousand_tasks(seed: int, run: Run, world: World) -> None:
    asks = world.asks(Random(seed), TASKS)

    async def main() -> None:
        async with nothing_left(), world.serving() as index, Fetcher([declared(index)]) as fetcher:
            await world.learn(fetcher)
            before = len(index.log)
            fetcher.prefetch(world.wheels)
            fetcher.prefetch_metadata(world.files.values())
            await all_pass(world, fetcher, asks)
            # Pages, METADATA and files, some of them again; of those who ask at once, one does.
            assert len(index.log) - before < TASKS / 2

    run(main)
    world.assert_right_files(asks)


# --- cancelled at random points ----------------------------------------------------------------------------------


async def by_task(work: Awaitable[None], delay: float) -> None:
    """As asyncio's own `wait_for` does."""
    task = asyncio.ensure_future(work)
    await asyncio.wait([task], timeout=delay)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def by_deadline(work: Awaitable[None], delay: float) -> None:
    with move_on_after(delay):
        await work


async def by_scope(work: Awaitable[None], delay: float) -> None:
    with CancelScope() as scope:
        asyncio.get_running_loop().call_later(delay, scope.cancel)
        await work


WAYS = (by_task, by_deadline, by_scope)


class Counted:
    """Calls, counted by their ends."""

    def __init__(self) -> None:
        self.done = 0
        self.cancelled = 0

    async def count(self, work: Awaitable[None]) -> None:
        try:
            await work
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        self.done += 1


async def cancel_some(world: World, fetcher: Fetcher, rng: Random, asks: list[Ask], most: float) -> Counted:
    """Cancel calls after up to so many seconds, in different ways."""
    counted = Counted()
    with fail_after(PATIENCE):
        async with create_task_group() as tasks:
            for ask in asks:
                way = rng.choice(WAYS)
                tasks.start_soon(way, counted.count(world.do(fetcher, ask)), rng.uniform(0, most))
                if rng.random() < 0.2:
                    fetcher.prefetch(rng.sample(list(world.wheels), 3))
    return counted


@seeded
def test_cancelled_at_random_points(seed: int, run: Run, world: World) -> None:
    """Up to about as late as most of them take: the first hear of it before anything was sent, the last in the end."""
    rng = Random(seed)
    asked: list[Ask] = []

    async def main() -> None:
        done = cancelled = 0
        async with nothing_left(), world.serving() as index, Fetcher([declared(index)]) as fetcher:
            await world.learn(fetcher)
            began = monotonic()
            await all_pass(world, fetcher, world.asks(rng, AT_ONCE, "before"))
            most = monotonic() - began
            for batch in range(CANCELLATIONS // AT_ONCE):
                # Each has places of its own, or most of the files would be there already.
                asks = world.asks(rng, AT_ONCE, f"batch {batch}")
                counted = await cancel_some(world, fetcher, rng, asks, rng.choice([0.05, 0.3, 1.0]) * most)
                done, cancelled = done + counted.done, cancelled + counted.cancelled
                await until(lambda: not fetcher._hints._under_way)
                assert_at_rest(fetcher)
                asked.extend(asks)
            print(f"seed {seed}: {cancelled} cancelled within {most:.3f} s, {done} done, {len(index.log)} requests")
            assert cancelled
            # What was cancelled is done now, and takes up the parts that were left.
            await all_pass(world, fetcher, list(dict.fromkeys(asked)))
            await all_pass(world, fetcher, world.asks(rng, AT_ONCE, "after"))

    run(main)
    world.assert_right_files(asked)


@seeded
def test_closed_while_calls_are_under_way(seed: int, run: Run, world: World, tmp_path: Path) -> None:
    """Each time one that knows nothing yet: the password is looked up, and the first goes alone, with it."""
    rng = Random(seed)
    ends: list[str] = []

    async def end(fetcher: Fetcher, ask: Ask) -> None:
        try:
            await world.do(fetcher, ask)
            ends.append("done")
        except (FetcherError, RuntimeError) as error:
            ends.append(type(error).__name__)

    async def close(index: FakeIndex, delay: float) -> None:
        environ = environment(tmp_path, index)
        async with create_task_group() as tasks, Fetcher([declared(index)], environ=environ) as fetcher:
            await cancel_some(world, fetcher, rng, world.asks(rng, 10), delay / 4)
            fetcher.prefetch(world.wheels)
            for ask in world.asks(rng, 20):
                tasks.start_soon(end, fetcher, ask)
            await anyio.sleep(delay)
        assert_at_rest(fetcher)

    async def main() -> None:
        async with nothing_left(), world.serving(guarded=True) as index:
            async with Fetcher([declared(index)], environ=environment(tmp_path, index)) as fetcher:
                await world.learn(fetcher)
            for _ in range(CANCELLATIONS // 30):
                with fail_after(PATIENCE):
                    await close(index, rng.uniform(0, 0.05))

    run(main)
    print(f"seed {seed}: { {end: ends.count(end) for end in set(ends)} }")
    assert set(ends) <= {"done", "RuntimeError"}


# --- threads -----------------------------------------------------------------------------------------------------


@contextmanager
def served(world: World) -> Iterator[FakeIndex]:
    """An index in an event loop of its own, for who is in none; the files are known."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(world.serving()) as index:
        with blocking.Fetcher([declared(index)]) as fetcher:
            world.files = {name: fetcher.project(name).files[0] for name in world.wheels}
        yield index


def in_threads(work: Callable[[Random], None], rngs: list[Random]) -> None:
    """Do it in as many threads; the first error is raised."""
    errors: list[BaseException] = []

    def guarded(rng: Random) -> None:
        try:
            work(rng)
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(rng,)) for rng in rngs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    if errors:
        raise errors[0]


@seeded
def test_two_hundred_threads(seed: int, world: World) -> None:
    asks: list[Ask] = []

    def work(fetcher: blocking.Fetcher, rng: Random) -> None:
        own = world.asks(rng, 5)
        asks.extend(own)
        fetcher.prefetch(ask.name for ask in own)
        fetcher.prefetch_metadata(world.files[ask.name] for ask in own)
        for ask in own:
            world.do_blocking(fetcher, ask)

    with served(world) as index, blocking.Fetcher([declared(index)]) as fetcher:
        in_threads(partial(work, fetcher), [Random(f"{seed} {number}") for number in range(THREADS)])
        assert_at_rest(fetcher._fetcher)
    assert_no_thread_is_left()
    world.assert_right_files(asks)


class Alarm(BaseException):
    """What a signal handler raises in the main thread, as Ctrl-C does."""


class Timer:
    """Raises Alarm in the main thread after a while, unless it is over before.

    Nobody traces that thread meanwhile: coverage would keep a lock that it was interrupted with.
    """

    def __init__(self) -> None:
        self._armed = False

    def __enter__(self) -> Timer:
        self._trace = sys.gettrace()
        sys.settrace(None)
        self._before = signal.signal(signal.SIGALRM, self._ring)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGALRM, self._before)
        sys.settrace(self._trace)

    def _ring(self, *_: object) -> None:
        if self._armed:
            self._armed = False
            raise Alarm

    def interrupt(self, work: Callable[[], T], delay: float) -> T | None:
        """Return what comes of the work, None if it was interrupted."""
        try:
            self._armed = True
            signal.setitimer(signal.ITIMER_REAL, delay)
            result = work()
            self._armed = False
        except Alarm:
            return None
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        return result


@pytest.mark.skipif(os.name != "posix", reason="a signal interrupts a thread that waits on POSIX only")
@seeded
def test_calls_that_signals_interrupt(seed: int, world: World) -> None:
    """The calls of other threads go on meanwhile, and the Fetcher afterwards."""
    rng = Random(seed)
    over = threading.Event()

    def others(fetcher: blocking.Fetcher, rng: Random) -> None:
        while not over.is_set():
            world.do_blocking(fetcher, world.asks(rng, 1)[0])

    def interrupt_many(fetcher: blocking.Fetcher) -> int:
        interrupted = 0
        with Timer() as timer:
            for number in range(CANCELLATIONS // 4):
                ask = world.asks(rng, 1, f"main {number}")[0]
                # The timer must not be set to 0, which is never.
                result = timer.interrupt(partial(world.call, fetcher, ask), rng.uniform(1e-5, 0.01))
                interrupted += result is None
                if result is not None:
                    world.check(ask, result)
        return interrupted

    def pass_all(fetcher: blocking.Fetcher, rng: Random) -> None:
        world.do_blocking(fetcher, world.asks(rng, 1)[0])

    with served(world) as index, blocking.Fetcher([declared(index)]) as fetcher:
        beside = threading.Thread(target=in_threads, args=(partial(others, fetcher), [Random(n) for n in range(4)]))
        beside.start()
        try:
            interrupted = interrupt_many(fetcher)
        finally:
            over.set()
            beside.join(PATIENCE)
        assert not beside.is_alive()
        print(f"seed {seed}: {interrupted} of {CANCELLATIONS // 4} interrupted")
        assert interrupted
        in_threads(partial(pass_all, fetcher), [Random(number) for number in range(AT_ONCE)])
        assert_at_rest(fetcher._fetcher)
    assert_no_thread_is_left()
