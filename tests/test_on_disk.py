"""Work in threads: results, errors, how many at once, cancellation, and when the threads end."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, NoReturn

import pytest
from anyio import CancelScope, create_task_group, to_thread

from fetcher.disk import THREADS, disk_threads, on_disk

if TYPE_CHECKING:
    from conftest import Run

MANY = 300
# Longer than any machine takes; only a test that fails waits for so many seconds.
PATIENCE = 20.0


def test_the_result_comes_from_another_thread(run: Run) -> None:
    async def main() -> None:
        assert await on_disk(divmod, 17, 5) == (3, 2)
        assert await on_disk(threading.get_ident) != threading.get_ident()

    run(main)


@pytest.mark.parametrize(("error", "raised"), [(OSError(28, "full"), OSError), (StopIteration(), RuntimeError)])
def test_an_error_is_raised_and_the_next_job_is_done(run: Run, error: Exception, raised: type[Exception]) -> None:
    def fail() -> NoReturn:
        raise error

    async def main() -> None:
        with pytest.raises(raised):
            await on_disk(fail)
        assert await on_disk(int, "7") == 7

    run(main)


def test_everybody_gets_their_own_result(run: Run) -> None:
    results: dict[int, int] = {}

    async def square(number: int) -> None:
        results[number] = await on_disk(pow, number, 2)

    async def main() -> None:
        async with create_task_group() as tasks:
            for number in range(MANY):
                tasks.start_soon(square, number)

    run(main)
    assert results == {number: number * number for number in range(MANY)}


def test_as_many_jobs_at_once_as_there_are_threads(run: Run) -> None:
    """Each waits until that many are under way; one more at a time would be seen."""
    together = threading.Barrier(THREADS)
    lock = threading.Lock()
    running: list[int] = []
    most = 0

    def job(number: int) -> None:
        nonlocal most
        with lock:
            running.append(number)
            most = max(most, len(running))
        together.wait(PATIENCE)
        with lock:
            running.remove(number)

    async def main() -> None:
        async with create_task_group() as tasks:
            for number in range(5 * THREADS):
                tasks.start_soon(on_disk, job, number)

    run(main)
    assert most == THREADS


class Held:
    """A job that does not end before it is let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.free = threading.Event()
        self.ended = False

    def __call__(self) -> str:
        self.begun.set()
        assert self.free.wait(PATIENCE)
        self.ended = True
        return "what nobody waits for"

    async def under_way(self) -> None:
        assert await to_thread.run_sync(self.begun.wait, PATIENCE)


def test_cancellation_waits_for_the_end(run: Run) -> None:
    held = Held()

    async def main() -> None:
        async with create_task_group() as tasks:
            tasks.start_soon(on_disk, held)
            await held.under_way()
            tasks.cancel_scope.cancel()
            asyncio.get_running_loop().call_later(0.05, held.free.set)
        assert held.ended

    run(main)


def test_nothing_is_begun_once_it_is_cancelled(run: Run) -> None:
    begun: list[int] = []

    async def main() -> None:
        with CancelScope() as scope:
            scope.cancel()
            await on_disk(begun.append, 1)
        await on_disk(begun.append, 2)

    run(main)
    assert begun == [2]


def test_what_asyncio_cancels_is_left_alone(run: Run) -> None:
    """A task's own `cancel()` is heard at once; the job goes on, and its result harms nobody."""
    held = Held()

    async def main() -> None:
        task = asyncio.create_task(on_disk(held))
        await held.under_way()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not held.ended
        held.free.set()
        assert await on_disk(int, "7") == 7

    run(main)


def test_context_variables_go_along(run: Run) -> None:
    variable = ContextVar("variable", default="none")

    async def main() -> None:
        variable.set("mine")
        assert await on_disk(variable.get) == "mine"

    run(main)


def test_threads_that_nobody_has_open_end_after_their_jobs(run: Run) -> None:
    async def main() -> None:
        thread = await on_disk(threading.current_thread)
        await to_thread.run_sync(thread.join, PATIENCE)
        assert not thread.is_alive()

    run(main)


def test_the_threads_end_with_the_last_that_has_them_open(run: Run) -> None:
    async def main() -> None:
        with disk_threads():
            with disk_threads():
                thread = await on_disk(threading.current_thread)
            assert await on_disk(threading.current_thread) is thread
        await to_thread.run_sync(thread.join, PATIENCE)
        assert not thread.is_alive()
        assert await on_disk(threading.current_thread) is not thread

    run(main)


def test_jobs_under_way_come_to_their_end(run: Run) -> None:
    begun, go_on = threading.Semaphore(0), threading.Event()

    async def main() -> None:
        threads: list[threading.Thread] = []

        def work() -> None:
            threads.append(threading.current_thread())
            begun.release()
            assert go_on.wait(PATIENCE)

        async with create_task_group() as group:
            with disk_threads():
                for _ in range(2 * THREADS):
                    group.start_soon(on_disk, work)
                for _ in range(THREADS):
                    assert await to_thread.run_sync(begun.acquire, True, PATIENCE)
            go_on.set()
        assert len(threads) == 2 * THREADS
        for thread in set(threads):
            await to_thread.run_sync(thread.join, PATIENCE)
            assert not thread.is_alive()

    run(main)
