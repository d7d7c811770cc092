"""Hints: what is begun before anybody asks, and what those hear who ask then; and the same asked by many at once."""

from __future__ import annotations

import asyncio
import logging
from traceback import format_tb
from typing import TYPE_CHECKING, Any

import pytest
from anyio import (
    CancelScope,
    Event,
    create_task_group,
    fail_after,
    move_on_after,
    sleep_forever,
    wait_all_tasks_blocked,
)
from fake_faults import HangUp, Only, Status
from fake_index import FakeIndex
from fake_wheels import make_wheel, wheel_filename
from wire_checks import corp, find, until

from fetcher import ConfigError, Fetcher, FetcherError, NotFound
from fetcher.hints import Hints

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = pytest.mark.usefixtures("_no_blocking", "_short_waits")

# Longer than any machine takes; only a test that fails waits for so many seconds.
PATIENCE = 20.0
MANY = 1_000
NAME = wheel_filename()
WHEELS = {NAME: make_wheel(), wheel_filename("other"): make_wheel("other")}


def serving(**more: Any) -> FakeIndex:
    return FakeIndex(wheels=WHEELS, **more)


class Work:
    """Work by key that is held until it is let go; `begun` has the keys in the order of their beginnings."""

    def __init__(self) -> None:
        self.begun: list[object] = []
        self.cancelled: list[Any] = []
        self.free = Event()

    def on(self, key: object, error: Exception | None = None) -> Callable[[], Awaitable[str]]:
        async def work() -> str:
            self.begun.append(key)
            try:
                await self.free.wait()
            except asyncio.CancelledError:
                self.cancelled.append(key)
                raise
            if error is not None:
                raise error
            return f"{key}, done {self.begun.count(key)}"

        return work

    def hint(self, hints: Hints, *keys: object) -> None:
        for key in keys:
            hints.hint(key, self.on(key))


async def settled() -> None:
    """Everybody waits, and so whatever could begin or end has."""
    with fail_after(PATIENCE):
        await wait_all_tasks_blocked()


# --- hints without a network -------------------------------------------------------------------------------------


async def test_so_many_at_once_and_the_first_first() -> None:
    work = Work()
    async with Hints(2) as hints:
        work.hint(hints, *range(5))
        await settled()
        assert work.begun == [0, 1]
        work.free.set()
        await settled()
        assert work.begun == [0, 1, 2, 3, 4]


async def test_who_asks_for_one_that_waits_goes_first() -> None:
    """It is done at once, beside those under way, and not a second time when it would have been its turn."""
    work = Work()
    async with Hints(1) as hints, create_task_group() as tasks:
        work.hint(hints, *range(5))
        await settled()
        tasks.start_soon(hints.ask, 4, work.on(4))
        await settled()
        assert work.begun == [0, 4]
        work.free.set()
        await settled()
        assert work.begun == [0, 4, 1, 2, 3]


async def test_who_asks_for_one_that_waits_and_is_cancelled() -> None:
    """It is no hint any more, and nobody is kept from asking anew."""
    work = Work()
    async with Hints(1) as hints:
        work.hint(hints, 0, 1)
        await settled()
        with move_on_after(0.01) as scope:
            await hints.ask(1, work.on(1))
        assert scope.cancelled_caught
        work.free.set()
        assert await hints.ask(1, work.on(1)) == "1, done 2"


async def test_one_that_is_under_way_is_shared() -> None:
    work = Work()
    results: list[str] = []

    async def ask() -> None:
        results.append(await hints.ask("x", work.on("x")))

    async with Hints(1) as hints:
        work.hint(hints, "x")
        await settled()
        async with create_task_group() as tasks:
            tasks.start_soon(ask)
            tasks.start_soon(ask)
            await settled()
            work.free.set()
        assert results == ["x, done 1"] * 2
        assert await hints.ask("x", work.on("x")) == "x, done 2", "what was told to somebody is not kept"


async def test_who_shares_one_and_is_cancelled_takes_nothing_with_them() -> None:
    work = Work()
    async with Hints(1) as hints:
        work.hint(hints, "x")
        await settled()
        with move_on_after(0.01) as scope:
            await hints.ask("x", work.on("x"))
        assert scope.cancelled_caught
        work.free.set()
        await settled()
        assert await hints.ask("x", work.on("x")) == "x, done 1"
        assert work.cancelled == []


async def test_one_that_is_done_is_taken_once() -> None:
    work = Work()
    work.free.set()
    async with Hints(1) as hints:
        work.hint(hints, "x")
        await settled()
        assert await hints.ask("x", work.on("x")) == "x, done 1"
        assert await hints.ask("x", work.on("x")) == "x, done 2"


async def test_an_error_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    work, error = Work(), NotFound("http://index.localhost/simple/x/")
    work.free.set()
    with caplog.at_level(logging.DEBUG, "fetcher"):
        async with Hints(1) as hints:
            hints.hint("x", work.on("x", error))
            await settled()
            assert [(record.levelname, record.name) for record in caplog.records] == [("DEBUG", "fetcher.hints")]
            with pytest.raises(NotFound) as caught:
                await hints.ask("x", work.on("x"))
            assert caught.value is error
            assert await hints.ask("x", work.on("x")) == "x, done 2"


async def test_an_error_that_was_shared_is_told() -> None:
    work, error = Work(), NotFound("http://index.localhost/simple/x/")
    async with Hints(1) as hints:
        hints.hint("x", work.on("x", error))
        await settled()
        asyncio.get_running_loop().call_later(0.01, work.free.set)
        with pytest.raises(NotFound):
            await hints.ask("x", work.on("x"))
        assert await hints.ask("x", work.on("x")) == "x, done 2"


async def test_a_defect_is_met_by_who_asks(caplog: pytest.LogCaptureFixture) -> None:
    work = Work()
    work.free.set()
    with caplog.at_level(logging.DEBUG, "fetcher"):
        async with Hints(1) as hints:
            hints.hint("x", work.on("x", ZeroDivisionError("secret")))
            hints.hint("y", work.on("y"))
            await settled()
            with pytest.raises(ZeroDivisionError):
                await hints.ask("x", work.on("x", ZeroDivisionError()))
            assert await hints.ask("y", work.on("y")) == "y, done 1"
    assert [record.getMessage() for record in caplog.records] == ["a hint failed: ZeroDivisionError"]


@pytest.mark.parametrize("stage", ["waiting", "under way", "done", "taken", "asked"])
async def test_what_is_known_is_not_begun_again(stage: str) -> None:
    work = Work()
    async with Hints(1) as hints:
        if stage == "waiting":
            work.hint(hints, "other")
        if stage in ("done", "taken", "asked"):
            work.free.set()
        if stage != "asked":
            work.hint(hints, "x")
            await settled()
        if stage in ("taken", "asked"):
            await hints.ask("x", work.on("x"))
        work.hint(hints, "x")
        work.free.set()
        await settled()
    assert work.begun.count("x") == 1


async def test_none_is_begun_beyond_what_may_be_kept() -> None:
    """What was asked for first is what is there; as soon as one is taken, the next is begun."""
    work = Work()
    work.free.set()
    async with Hints(2, most_held=3) as hints:
        work.hint(hints, *range(6))
        await settled()
        assert work.begun == [*hints._held] == [0, 1, 2]
        assert await hints.ask(1, work.on(1)) == "1, done 1"
        await settled()
        assert work.begun == [0, 1, 2, 3]
        told = [await hints.ask(key, work.on(key)) for key in (0, 2, 3, 4, 5)]
    assert told == [f"{key}, done 1" for key in (0, 2, 3, 4, 5)]


async def test_those_that_were_held_back_go_on_side_by_side() -> None:
    work = Work()
    work.free.set()
    async with Hints(3, most_held=3) as hints:
        work.hint(hints, *range(6))
        await settled()
        work.free = Event()
        with fail_after(PATIENCE):
            for key in range(3):
                await hints.ask(key, work.on(key))
        await settled()
        assert work.begun == [0, 1, 2, 3, 4, 5]


async def test_one_that_is_shared_or_fails_by_a_defect_leaves_room_for_the_next() -> None:
    work = Work()
    async with Hints(1, most_held=1) as hints, create_task_group() as tasks:
        hints.hint("defect", work.on("defect", ZeroDivisionError()))
        work.hint(hints, "shared", "next")
        await settled()
        work.free.set()
        tasks.start_soon(hints.ask, "shared", work.on("shared"))
        await settled()
        assert (work.begun, [*hints._held]) == (["defect", "shared", "next"], ["next"])


async def test_what_was_kept_for_its_time_is_asked_for_anew() -> None:
    """And may be hinted again: a page of an hour ago is another by now."""
    work = Work()
    work.free.set()
    async with Hints(1, kept_for=0) as hints:
        work.hint(hints, "x")
        await settled()
        work.hint(hints, "x")
        await settled()
        assert await hints.ask("x", work.on("x")) == "x, done 3"


async def test_nobody_s_results_do_not_stand_in_the_way_for_ever() -> None:
    work = Work()
    work.free.set()
    async with Hints(1, most_held=1, kept_for=0) as hints:
        for key in ("first", "second", "third"):
            work.hint(hints, key)
            await settled()
        assert work.begun == ["first", "second", "third"]


async def test_what_waits_and_what_is_remembered_is_bounded() -> None:
    """The first given stay; those that were too many may be hinted anew."""
    work = Work()
    async with Hints(1, most_known=3) as hints:
        work.hint(hints, 0)
        await settled()
        work.hint(hints, *range(1, MANY))
        assert [*hints._waiting] == [1, 2, 3]
        assert len(hints._known) == 3
        work.free.set()
        await settled()
        assert work.begun == [0, 1, 2, 3]
        work.hint(hints, 4)
        await settled()
        assert work.begun == [0, 1, 2, 3, 4]


async def test_one_that_waits_is_not_forgotten_for_what_is_asked() -> None:
    work = Work()
    async with Hints(1, most_known=3) as hints, create_task_group() as tasks:
        work.hint(hints, 0, 1)
        await settled()
        for key in range(2, MANY):
            tasks.start_soon(hints.ask, key, work.on(key))
        await settled()
        assert [*hints._waiting] == [1]
        work.hint(hints, 1)
        work.free.set()
        await settled()
        assert work.begun.count(1) == 1


async def test_the_end_cancels_what_is_under_way_and_forgets_the_rest() -> None:
    work = Work()
    async with Hints(2) as hints:
        work.hint(hints, *range(5))
        await settled()
    assert (work.begun, sorted(work.cancelled)) == ([0, 1], [0, 1])
    assert [*hints._known, *hints._waiting, *hints._held] == []
    with pytest.raises(RuntimeError, match="not open"):
        work.hint(hints, 7)


async def test_the_end_waits_for_what_the_hints_shield() -> None:
    """Also if asyncio cancels who closes them, once and again."""
    leave, left = Event(), []

    async def slow() -> None:
        try:
            await sleep_forever()
        finally:
            with CancelScope(shield=True):
                await leave.wait()
            left.append("slow")

    async def block() -> None:
        async with Hints(1) as hints:
            hints.hint("x", slow)
            await settled()

    closing = asyncio.create_task(block())
    for _ in range(2):
        await settled()
        closing.cancel()
    await settled()
    assert (closing.done(), left) == (False, [])
    leave.set()
    with pytest.raises(asyncio.CancelledError), fail_after(PATIENCE):
        await closing
    assert left == ["slow"]


async def test_an_error_of_the_block_is_not_wrapped() -> None:
    work = Work()

    async def block() -> None:
        async with Hints(2) as hints:
            work.hint(hints, *range(5))
            await settled()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await block()
    assert sorted(work.cancelled) == [0, 1]


async def test_it_can_be_opened_again() -> None:
    work, hints = Work(), Hints(1)
    for _ in range(2):
        async with hints:
            work.hint(hints, "x")
            await settled()
    assert work.begun == work.cancelled == ["x", "x"]


async def test_who_was_asked_and_cancelled_hands_over_to_the_hint() -> None:
    """Somebody asks first, and what a hint would share with them is cancelled: the hint does it."""
    work = Work()
    async with Hints(1, most_known=1) as hints:
        with move_on_after(0.01):
            async with create_task_group() as tasks:
                tasks.start_soon(hints.ask, "x", work.on("x"))
                await settled()
                work.hint(hints, "y", "x")  # "y" makes it forget that "x" was asked
                await sleep_forever()
        work.free.set()
        await settled()
        assert await hints.ask("x", work.on("x")) == "x, done 2"


# --- a Fetcher's -------------------------------------------------------------------------------------------------


async def test_prefetched_projects_and_metadata_cost_no_further_request() -> None:
    async with serving() as index, corp(index) as fetcher:
        fetcher.prefetch(["Demo", "other", "demo"])
        projects = [await fetcher.project(name) for name in ("demo", "other")]
        files = [file for project in projects for file in project.files]
        fetcher.prefetch_metadata([*files, *files])
        fetcher.prefetch(["demo"])
        found = [await fetcher.metadata(file) for file in files]
        await settled()
        assert len(index.log) == 4
    assert [project.name for project in projects] == [metadata.name for metadata in found] == ["demo", "other"]


async def test_nobody_asks() -> None:
    async with serving(faults={"/simple/other/": Status(404)}) as index, corp(index) as fetcher:
        fetcher.prefetch(["demo", "other"])
        await until(lambda: len(fetcher._hints._held) == 2)
    assert sorted(index.paths) == ["/simple/demo/", "/simple/other/"]


async def test_a_failed_hint_is_told_to_the_first() -> None:
    async with serving(faults={"/simple/demo/": Only(Status(404), times=1)}) as index, corp(index) as fetcher:
        fetcher.prefetch(["demo"])
        await until(lambda: fetcher._hints._held)
        with pytest.raises(NotFound, match="no index has a project called demo"):
            await fetcher.project("demo")
        assert len(index.log) == 1
        assert (await fetcher.project("demo")).name == "demo"


async def test_another_index_is_another_question() -> None:
    async with serving() as index, corp(index) as fetcher:
        fetcher.prefetch(["demo"], index="corp")
        await until(lambda: fetcher._hints._held)
        await fetcher.project("demo")
        assert len(index.log) == 2
        await fetcher.project("demo", index="corp")
        assert len(index.log) == 2


@pytest.mark.parametrize(
    "hint",
    [
        lambda fetcher: fetcher.prefetch(["demo", "no name!"]),
        lambda fetcher: fetcher.prefetch(["demo"], index="elsewhere"),
        lambda fetcher: fetcher.prefetch("demo"),
        lambda fetcher: fetcher.prefetch_metadata([f"http://files.localhost/{NAME}", "ftp://files.localhost/x"]),
    ],
    ids=["name", "index", "text", "URL"],
)
async def test_a_hint_that_makes_no_sense(hint: Callable[[Fetcher], None]) -> None:
    async with serving() as index, corp(index) as fetcher:
        with pytest.raises(ConfigError):
            hint(fetcher)
        await settled()
        assert not fetcher._hints._known
        assert index.log == []


async def test_hints_before_and_after() -> None:
    async with serving() as index:
        fetcher = corp(index)
        for _ in range(2):
            with pytest.raises(RuntimeError, match="not open"):
                fetcher.prefetch(["demo"])
            async with fetcher:
                fetcher.prefetch(["demo"])
                await fetcher.project("demo")
    assert len(index.log) == 2


async def test_a_call_is_not_behind_the_hints() -> None:
    """The hints have half of the places, and those are taken by pages that never come."""
    names = [f"p{n}" for n in range(50)]
    pages = {f"/simple/{name}/": Status(404, wait=3600) for name in names}
    async with serving(faults=pages) as index, corp(index, concurrency=4) as fetcher:
        fetcher.prefetch([*names, "demo"])
        await until(lambda: len(index.log) == 2)
        with fail_after(PATIENCE):
            assert (await fetcher.project("demo")).name == "demo"
        assert len(index.log) == 3


async def test_who_shares_a_hint_is_bounded_by_their_own_deadline() -> None:
    async with serving(faults={"/simple/*": Status(404, wait=3600)}) as index, corp(index) as fetcher:
        fetcher.prefetch(["demo"])
        await until(lambda: index.log)
        with pytest.raises(TimeoutError), fail_after(0.05):
            await fetcher.project("demo")
        assert len(index.log) == 1


async def test_closing_cancels_the_hints() -> None:
    async with serving(faults={"/simple/*": Status(404, wait=3600)}) as index:
        async with corp(index, concurrency=4) as fetcher:
            fetcher.prefetch(f"p{n}" for n in range(50))
            await until(lambda: len(index.log) == 2)
        await until(lambda: not index.under_way)
        assert len(index.log) == 2


# --- the same, asked by many -------------------------------------------------------------------------------------


async def outcomes(*calls: Awaitable[object]) -> list[object]:
    return await asyncio.gather(*calls, return_exceptions=True)


async def test_many_who_ask_for_a_project_are_one_request() -> None:
    async with serving() as index, corp(index) as fetcher:
        projects = await outcomes(*(fetcher.project("demo") for _ in range(MANY)))
        assert len(index.log) == 1
        assert all(project is projects[0] for project in projects)
        await outcomes(*(fetcher.metadata(projects[0].files[0]) for _ in range(MANY)))  # type: ignore[attr-defined]
        assert len(index.log) == 2


@pytest.mark.parametrize(("fault", "requests"), [(Status(404), 1), (HangUp(), 2), (Status(503), 2)])
async def test_many_who_each_have_a_deadline_of_their_own_hear_one_error(fault: Any, requests: int) -> None:
    """Each has a little more time than the one before, which would not have helped.

    It is a copy of their own: what it met on its way to one of them is no concern of the others.
    """

    async def ask(number: int) -> None:
        try:
            raise KeyError(number)
        except KeyError:
            with fail_after(PATIENCE):
                await fetcher.project("demo")

    async with serving(faults={"/simple/*": fault}) as index, corp(index, retries=1) as fetcher:
        errors = await outcomes(*(ask(number) for number in range(MANY)))
        assert len(index.log) == requests
    told = [error for error in errors if isinstance(error, FetcherError)]
    assert len({id(error) for error in told}) == MANY
    assert {(type(error), str(error)) for error in told} == {(type(told[0]), str(told[0]))}
    assert [repr(innermost(error)) for error in told] == [f"KeyError({number})" for number in range(MANY)]
    assert max(map(length, told)) < 50, "not one part for each who raised it"
    assert all("in _project\n" in "".join(format_tb(error.__traceback__)) for error in told), "where it arose"


def innermost(error: BaseException) -> BaseException:
    return error if error.__context__ is None else innermost(error.__context__)


def length(error: BaseException) -> int:
    count, trace = 0, error.__traceback__
    while trace is not None:
        count, trace = count + 1, trace.tb_next
    return count


async def test_the_first_of_many_is_cancelled() -> None:
    async with serving(faults={"/simple/*": Only(Status(404, wait=3600), times=1)}) as index, corp(index) as fetcher:
        tasks = [asyncio.create_task(fetcher.project("demo")) for _ in range(MANY)]
        await until(lambda: index.log)
        tasks[0].cancel()
        first, *others = await outcomes(*tasks)
        assert len(index.log) == 2
    assert isinstance(first, asyncio.CancelledError)
    assert all(other is others[0] for other in others)


async def test_a_file_of_another_index_is_another_question() -> None:
    """The URL is the same, and other credentials may apply."""
    async with serving() as index, corp(index) as fetcher:
        file = await find(fetcher)
        await outcomes(fetcher.metadata(file), fetcher.metadata(file.url))
        assert len(index.select("*.whl")) == 2
