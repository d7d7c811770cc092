"""A Fetcher that is closed while calls are under way, and what a call that asyncio cancels leaves behind."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from anyio import fail_after
from fake_faults import Stall, Status
from fake_index import FakeIndex, Guard, basic
from fake_wheels import make_wheel, wheel_filename
from stress import PATIENCE, assert_at_rest
from wire_checks import corp, find, left_in, until

from fetcher.digest import Digest
from fetcher.download.volumes import Volumes
from fetcher.spool import Shelf, Spool

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("_no_blocking", "_short_waits")

NAME = wheel_filename()
WHEEL = make_wheel(size=200_000)


@pytest.mark.parametrize("fault", [Status(404, wait=3600), Stall(1000, 3600)], ids=["head", "body"])
@pytest.mark.parametrize("operation", ["metadata", "download"])
async def test_who_waits_hears_of_it_at_once(operation: str, fault: Any, dest: Path) -> None:
    async with FakeIndex(wheels={NAME: WHEEL}, faults={NAME: fault}) as index:
        async with corp(index, timeout=3600) as fetcher:
            file = await find(fetcher)
            work = fetcher.metadata(file) if operation == "metadata" else fetcher.download(file, dest)
            running = asyncio.create_task(work)
            await until(lambda: index.select(NAME) and index.under_way)
            await asyncio.sleep(0.05)  # what there is of the body has come
        with pytest.raises(RuntimeError, match="not open"), fail_after(PATIENCE):
            await running
    assert_at_rest(fetcher)


async def test_who_waits_for_the_first_answer_with_the_password_hears_of_it() -> None:
    """Closed while the middlewares hold the requests back, before aiohttp has a connection for them."""
    auth = {"/": Guard((basic("reader", "secret"),), cold_start=3600)}
    async with FakeIndex(wheels={NAME: WHEEL}, auth=auth) as index:
        environ = {"FETCHER_INDEX_CORP_USERNAME": "reader", "FETCHER_INDEX_CORP_PASSWORD": "secret"}
        async with corp(index, environ=environ) as fetcher:
            running = [asyncio.create_task(fetcher.project(name)) for name in ("demo", "other", "third")]
            await until(lambda: index.log)
        with fail_after(PATIENCE):
            ends = await asyncio.gather(*running, return_exceptions=True)
        assert len(index.log) == 1
    assert {type(end) for end in ends} == {RuntimeError}
    assert_at_rest(fetcher)


async def test_a_body_that_comes_to_the_shelf_too_late_is_closed() -> None:
    shelf, spool = Shelf(), Spool(Digest({}), batch=1)
    with shelf:
        pass
    shelf.put("http://files.localhost/x", spool)
    assert spool._file.closed
    with shelf:
        assert shelf.take("http://files.localhost/x") is None


async def test_room_that_is_claimed_for_a_cancelled_task_is_given_back(
    dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread is still looking at the disk when the task is already over."""
    looking, go_on = threading.Event(), threading.Event()
    claim = Volumes.claim

    def slow(*arguments: Any) -> Any:
        looking.set()
        assert go_on.wait(PATIENCE)
        return claim(*arguments)

    monkeypatch.setattr(Volumes, "claim", slow)
    async with FakeIndex(wheels={NAME: WHEEL}) as index, corp(index) as fetcher:
        running = asyncio.create_task(fetcher.download(await find(fetcher), dest))
        await asyncio.to_thread(looking.wait, PATIENCE)
        running.cancel()
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.05, go_on.set)
        with pytest.raises(asyncio.CancelledError):
            await running
        assert_at_rest(fetcher)
    assert left_in(dest) == []
