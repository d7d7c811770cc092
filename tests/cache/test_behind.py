"""What is put in is there at once, on the disk when it is much, and all of it in the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from fetcher.cache.behind import MANY, MUCH, Behind
from fetcher.cache.store import Store

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def count(store: Store) -> int:
    return store.info().total.entries


async def test_it_is_there_at_once(store: Store) -> None:
    behind = Behind(store)
    await behind.put("page", "a", b"1")
    found = behind.get("page", "a"), behind.get("page", "b"), behind.get("metadata", "a")
    assert (found, count(store)) == ((b"1", None, None), 0)
    await behind.flush()
    assert (behind.get("page", "a"), store.get("page", "a")) == (b"1", b"1")


async def test_the_last_counts(store: Store) -> None:
    store.put("page", "a", b"0")
    store.put("page", "b", b"0")
    behind = Behind(store)
    for value in (b"1", None):
        await behind.put("page", "a", value)
        assert behind.get("page", "a") == value
    for value in (None, b"2"):
        await behind.put("page", "b", value)
        assert behind.get("page", "b") == value
    await behind.flush()
    assert (store.get("page", "a"), store.get("page", "b")) == (None, b"2")


@pytest.mark.parametrize(("entries", "size", "written"), [(MANY - 1, 1, 0), (MANY, 1, MANY), (2, MUCH // 2, 2)])
async def test_much_is_written(entries: int, size: int, written: int, store: Store) -> None:
    behind = Behind(store)
    for number in range(entries):
        await behind.put("page", str(number), bytes(size))
    assert count(store) == written


async def test_many_tasks(store: Store) -> None:
    behind = Behind(store)

    async def work(task: int) -> None:
        for number in range(40):
            await behind.put("page", f"{task} {number}", f"{task} {number}".encode())
            assert await anyio.to_thread.run_sync(behind.get, "page", f"{task} {number}") is not None

    async with anyio.create_task_group() as tasks:
        for task in range(30):
            tasks.start_soon(work, task)
    await behind.flush()
    assert count(store) == 1200
    assert all(store.get("page", f"{task} 39") == f"{task} 39".encode() for task in range(30))


async def test_who_is_cancelled_keeps_what_came(store: Store) -> None:
    behind = Behind(store)
    await behind.put("page", "a", b"1")
    with anyio.CancelScope() as scope:
        scope.cancel()
        await behind.flush()
    assert store.get("page", "a") == b"1"
