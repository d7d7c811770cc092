"""Where a Fetcher may be opened and closed: wherever aiohttp's own session may, for it opens no cancel scope."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from anyio import fail_after, move_on_after
from fake_faults import Status
from fake_index import FakeIndex
from fake_wheels import make_wheel, wheel_filename
from stress import PATIENCE, assert_at_rest
from wire_checks import corp, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from conftest import Run

    from fetcher import Fetcher

    Lifetime = Callable[[Callable[[], Fetcher]], Awaitable[str]]

pytestmark = pytest.mark.usefixtures("_no_blocking", "_short_waits")

WHEELS = {wheel_filename(): make_wheel()}
# A hint for this one is under way whenever the Fetcher is closed.
NEVER = {"/simple/never/": Status(404, wait=3600)}


async def opened_under_a_time_out(make: Callable[[], Fetcher]) -> str:
    async with AsyncExitStack() as stack:
        with fail_after(PATIENCE):
            fetcher = await stack.enter_async_context(make())
            fetcher.prefetch(["never"])
        return (await fetcher.project("demo")).name


async def the_first_of_two_closed_first(make: Callable[[], Fetcher]) -> str:
    first, second = make(), make()
    await first.__aenter__()
    await second.__aenter__()
    for fetcher in (first, second):
        fetcher.prefetch(["never"])
    await first.__aexit__(None, None, None)
    name = (await second.project("demo")).name
    await second.__aexit__(None, None, None)
    return name


async def closed_in_another_task(make: Callable[[], Fetcher]) -> str:
    fetcher = make()
    await asyncio.create_task(fetcher.__aenter__())
    fetcher.prefetch(["never"])
    name = (await asyncio.create_task(fetcher.project("demo"))).name
    await asyncio.create_task(fetcher.__aexit__(None, None, None))
    return name


async def closed_under_a_time_out(make: Callable[[], Fetcher]) -> str:
    fetcher = make()
    async with asyncio.timeout(PATIENCE):
        await fetcher.__aenter__()
    fetcher.prefetch(["never"])
    name = (await fetcher.project("demo")).name
    with move_on_after(PATIENCE):
        await fetcher.__aexit__(None, None, None)
    return name


async def held_by_a_generator(make: Callable[[], Fetcher]) -> str:
    """As a fixture of pytest-asyncio is: each step of the generator is a task's own."""

    async def fixture() -> AsyncIterator[Fetcher]:
        async with make() as fetcher:
            yield fetcher

    steps = fixture()
    fetcher = await asyncio.create_task(anext(steps))  # type: ignore[arg-type]
    fetcher.prefetch(["never"])
    name = (await fetcher.project("demo")).name
    with pytest.raises(StopAsyncIteration):
        await asyncio.create_task(anext(steps))  # type: ignore[arg-type]
    return name


LIFETIMES: list[Lifetime] = [
    opened_under_a_time_out,
    the_first_of_two_closed_first,
    closed_in_another_task,
    closed_under_a_time_out,
    held_by_a_generator,
]


@pytest.mark.parametrize("lifetime", LIFETIMES)
def test_it_is_opened_and_closed_anywhere(lifetime: Lifetime, run: Run) -> None:
    made: list[Fetcher] = []

    async def main() -> None:
        async with FakeIndex(wheels=WHEELS, faults=NEVER) as index:

            def make() -> Fetcher:
                made.append(corp(index))
                return made[-1]

            assert await lifetime(make) == "demo"
            for fetcher in made:
                assert_at_rest(fetcher)
            await until(lambda: not index.under_way)

    run(main)
