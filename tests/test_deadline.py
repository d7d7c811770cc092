"""The deadline of the caller's cancel scope: no wait that would go beyond it is begun (behaviour §5)."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from anyio import CancelScope, create_task_group, fail_after
from fake_faults import Fault, HangUp, Status
from fake_index import FakeIndex
from fake_wheels import make_wheel, wheel_filename
from wire_checks import corp, find, left_in, observe, until

from fetcher import Disconnected, Event, Fetcher, Progress, Retry, Throttled
from fetcher.transport.retry import RetryPolicy
from fetcher.transport.transport import Answer, Request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("_no_blocking")

NAME, OTHER = wheel_filename(), wheel_filename("other")
WHEELS = {NAME: make_wheel(), OTHER: make_wheel("other")}
# Whoever waited would meet the deadline first, and that is no FetcherError.
SOON, LATER = 5.0, "30"


def asking_to_wait(seconds: str = LATER, status: int = 503, times: int | None = None) -> Status:
    return Status(status, times=times, headers={"Retry-After": seconds})


def serving(fault: Fault, pattern: str = NAME) -> FakeIndex:
    return FakeIndex(wheels=WHEELS, faults={pattern: fault})


async def _page(fetcher: Fetcher, _: Path) -> Any:
    return await fetcher.project("demo")


async def _metadata(fetcher: Fetcher, _: Path) -> Any:
    return await fetcher.metadata(await find(fetcher))


async def _download(fetcher: Fetcher, dest: Path) -> Any:
    return await fetcher.download(await find(fetcher), dest)


operations = pytest.mark.parametrize("operation", [_page, _metadata, _download])


@operations
@pytest.mark.parametrize("status", [429, 503])
async def test_a_server_that_asks_to_wait_for_longer(
    operation: Callable[[Fetcher, Path], Awaitable[Any]], status: int, tmp_path: Path
) -> None:
    pattern = "/simple/*" if operation is _page else "*.whl"
    async with serving(asking_to_wait(status=status), pattern) as index, corp(index) as fetcher:
        with fail_after(SOON):
            outcome = await observe(operation(fetcher, tmp_path), index)
        asked = index.select(pattern)
    assert isinstance(outcome.error, Throttled)
    assert (outcome.error.status, outcome.error.retry_after) == (status, float(LATER))
    assert outcome.error.left is not None
    assert 0 < outcome.error.left <= SOON
    assert "asks to wait 30.0 s, but " in str(outcome.error)
    assert len(asked) == 1
    assert left_in(tmp_path) == []


async def test_a_pause_that_ends_in_time_is_made() -> None:
    async with serving(asking_to_wait("1", times=1)) as index, corp(index) as fetcher:
        with fail_after(60):
            outcome = await observe(_metadata(fetcher, None), index)  # type: ignore[arg-type]
    assert outcome.error is None
    assert [wire.status for wire in index.select(NAME)] == [503, 200]


async def test_a_wait_of_ours_ends_with_the_error_of_the_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = partial(RetryPolicy, first_wait=1e12, longest_wait=1e12)
    monkeypatch.setattr("fetcher.client.RetryPolicy", policy)
    async with serving(HangUp()) as index, corp(index) as fetcher:
        with fail_after(SOON):
            outcome = await observe(_metadata(fetcher, None), index)  # type: ignore[arg-type]
    assert isinstance(outcome.error, Disconnected)
    assert len(index.select(NAME)) == 1


async def test_a_host_that_cools_down_for_longer_is_not_asked() -> None:
    async with serving(asking_to_wait(status=500)) as index, corp(index) as fetcher:
        files = [await find(fetcher, name) for name in ("demo", "other")]
        patient = asyncio.create_task(fetcher.metadata(files[0]))
        await until(lambda: index.select(NAME) and index.select(NAME)[0].status)
        await asyncio.sleep(0.05)  # the 500 has arrived
        limit = fetcher._transport.host(files[1].url).limit
        before = limit.now
        with fail_after(SOON):
            outcome = await observe(fetcher.metadata(files[1]), index)
        patient.cancel()
        assert index.select(OTHER) == []
    assert isinstance(outcome.error, Throttled)
    assert (outcome.error.url, outcome.error.status) == (files[1].url, 500)
    assert outcome.error.left is not None
    assert outcome.error.retry_after is not None
    assert 0 < outcome.error.left < outcome.error.retry_after <= float(LATER)
    assert limit.now == before, "what was not sent is no complaint about what was"


async def test_one_who_has_no_time_lets_the_host_cool_down_for_the_others() -> None:
    async with serving(asking_to_wait("20", times=1)) as index, corp(index) as fetcher:
        files = [await find(fetcher, name) for name in ("demo", "other")]
        for file in files:
            with fail_after(SOON):
                outcome = await observe(fetcher.metadata(file), index)
            assert isinstance(outcome.error, Throttled)
        assert (len(index.select(NAME)), len(index.select(OTHER))) == (1, 0)


async def test_who_has_more_time_does_not_share_the_failure(tmp_path: Path) -> None:
    """Both want the same file; the first has no time for the pause, the second has."""
    events: list[Event] = []
    async with serving(asking_to_wait("1", times=1)) as index, corp(index) as fetcher:
        file = await find(fetcher)

        async def hurried() -> None:
            with fail_after(0.9):
                await fetcher.download(file, tmp_path)

        first = asyncio.create_task(hurried())
        await asyncio.sleep(0)
        second = asyncio.create_task(fetcher.download(file, tmp_path, on_event=events.append))
        with pytest.raises(Throttled):
            await first
        done = await second
    assert done.path.read_bytes() == WHEELS[NAME]
    assert [wire.status for wire in index.select(NAME)] == [503, 200]
    assert {type(event) for event in events} == {Progress}


async def test_who_has_as_little_time_shares_it(tmp_path: Path) -> None:
    found: list[Throttled] = []

    async def one() -> None:
        try:
            await fetcher.download(file, tmp_path)
        except Throttled as error:
            found.append(error)

    async with serving(asking_to_wait()) as index, corp(index) as fetcher:
        file = await find(fetcher)
        with fail_after(SOON):
            async with create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(one)
        assert len(index.select(NAME)) == 1
    assert [str(error) for error in found] == [str(found[0])] * 3


async def test_the_pause_is_told_to_the_caller(tmp_path: Path) -> None:
    events: list[Event] = []
    async with serving(asking_to_wait("1", times=1)) as index, corp(index) as fetcher:
        await fetcher.download(await find(fetcher), tmp_path, on_event=events.append)
    first = events[0]
    assert isinstance(first, Retry)
    assert (first.filename, first.attempt, first.seconds) == (NAME, 1, 1.0)


async def test_a_cancelled_scope_ends_as_cancelled() -> None:
    """It has no time left either, but nobody is to hear of the error any more."""
    async with serving(HangUp()) as index, corp(index) as fetcher:
        with CancelScope() as scope:

            async def consume(_: Answer) -> None:
                scope.cancel()
                raise Disconnected(index.url)

            await fetcher._transport.ask(Request(f"{index.files_url}/{OTHER}"), consume)
        assert scope.cancelled_caught
