"""The same file by many at once: tasks, runs and processes get it all, once, and in its place (behaviour §5)."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from corpus import lay_out, make_wheel as make_large_wheel, wheel_at
from fake_faults import Cut, Only, SlowDrip, Stall, Status
from one_wheel import (
    CUT,
    NAME,
    SHA256,
    WHEEL,
    command,
    get,
    interrupted,
    is_there,
    killed,
    known,
    parts_begun,
    rest_of,
    serving,
)
from web_server import serving as serving_for_real
from wire_checks import corp, find, left_in, until

from fetcher import NotFound
from fetcher.download import slots

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("_no_blocking", "_short_waits")

MANY = 50


# --- tasks -------------------------------------------------------------------------------------------------------


@known
async def test_many_tasks_are_one_transfer(knows: str, dest: Path) -> None:
    async with serving(knows=knows) as index, corp(index) as fetcher:
        file = await find(fetcher)
        done = await asyncio.gather(*(fetcher.download(file, dest) for _ in range(MANY)))
        assert len(index.select("*.whl")) == 1
    assert len(done) == MANY
    assert set(done) == {done[0]}
    assert (done[0].sha256, done[0].bytes) == (SHA256, len(WHEEL))
    assert is_there(dest)


async def test_many_tasks_of_which_the_first_is_cancelled(dest: Path) -> None:
    """The next goes on from where it was, and nobody else notices."""
    async with serving(Stall(CUT, 60, times=1)) as index, corp(index) as fetcher:
        file = await find(fetcher)
        tasks = [asyncio.create_task(fetcher.download(file, dest)) for _ in range(MANY)]
        await until(lambda: parts_begun(dest))
        tasks[0].cancel()
        first, *others = await asyncio.gather(*tasks, return_exceptions=True)
        asked = [wire.range for wire in index.select("*.whl")]
    assert isinstance(first, asyncio.CancelledError)
    assert set(others) == {others[0]}
    assert others[0].sha256 == SHA256
    assert asked == [None, f"bytes={others[0].resumed_from}-{len(WHEEL) - 1}"]
    assert is_there(dest)


async def test_many_tasks_of_which_all_but_the_last_are_cancelled(dest: Path) -> None:
    async with serving(Stall(CUT, 60, times=1)) as index, corp(index) as fetcher:
        file = await find(fetcher)
        *tasks, last = [asyncio.create_task(fetcher.download(file, dest)) for _ in range(MANY)]
        await until(lambda: parts_begun(dest))
        for task in tasks:
            task.cancel()
        assert (await last).sha256 == SHA256
        await asyncio.gather(*tasks, return_exceptions=True)
        assert len(index.select("*.whl")) == 2
    assert all(task.cancelled() for task in tasks)
    assert is_there(dest)


async def test_many_tasks_hear_one_error(dest: Path) -> None:
    async with serving(Status(404)) as index, corp(index) as fetcher:
        file = await find(fetcher)
        ends = await asyncio.gather(*(fetcher.download(file, dest) for _ in range(MANY)), return_exceptions=True)
        assert len(index.select("*.whl")) == 1
    assert {type(end) for end in ends} == {NotFound}
    assert left_in(dest) == []


async def test_a_target_that_is_named_many_times(dest: Path) -> None:
    async with serving() as index:
        process = await command(index.url, dest, *["demo"] * MANY)
        stdout, stderr = await process.communicate()
        assert len(index.select("*.whl")) == 1
    assert process.returncode == 0, stderr
    assert [json.loads(line)["sha256"] for line in stdout.splitlines()] == [SHA256] * MANY
    assert is_there(dest)


# --- runs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("many", [2, MANY])
async def test_runs_that_know_nothing_of_each_other(many: int, dest: Path) -> None:
    async with serving(SlowDrip(20_000_000)) as index:
        outcomes = await asyncio.gather(*(get(index, dest) for _ in range(many)))
    assert {outcome.done.sha256 for outcome in outcomes} == {SHA256}
    assert is_there(dest)


async def test_many_runs_at_once_leave_nothing_that_is_not_found_again(dest: Path) -> None:
    async with serving(Cut(CUT)) as index:
        await asyncio.gather(*(get(index, dest, retries=0) for _ in range(8)))
        index.faults = {}
        await get(index, dest)
    assert is_there(dest)


async def test_one_part_is_taken_up_by_one_of_many(dest: Path) -> None:
    async with serving() as index:
        rest = rest_of(await interrupted(index, dest))
        outcomes = await asyncio.gather(*(get(index, dest) for _ in range(8)))
        asked = [wire.range for wire in index.select("*.whl")[1:]]
    assert {outcome.done.sha256 for outcome in outcomes} == {SHA256}
    assert asked.count(rest) <= 1
    assert set(asked) <= {rest, None}
    assert is_there(dest)


async def test_a_part_that_is_being_written_is_left_to_its_writer(dest: Path) -> None:
    async with serving(Only(Stall(CUT, 20), times=1)) as index, corp(index) as first:
        running = asyncio.create_task(first.download(await find(first), dest))
        await until(lambda: parts_begun(dest) or running.done())
        meanwhile = await get(index, dest)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert meanwhile.ranges == [None]
    assert meanwhile.done.resumed_from is None
    assert (dest / NAME).read_bytes() == WHEEL


async def test_a_name_that_somebody_took_meanwhile_is_theirs(dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that is made and not yet locked may be found by another run, removed, and made anew."""
    theirs: list[Path] = []
    real = slots.lock

    def too_late(descriptor: int) -> bool:
        if theirs:
            return real(descriptor)
        theirs.extend(dest.glob(".*.part"))
        theirs[0].unlink()
        theirs[0].write_bytes(b"theirs")
        return False

    monkeypatch.setattr(slots, "lock", too_late)
    async with serving() as index:
        outcome = await get(index, dest)
    assert outcome.error is None
    assert theirs[0].read_bytes() == b"theirs"
    assert (dest / NAME).read_bytes() == WHEEL


def forbid_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a network file system whose server knows none."""
    fcntl = pytest.importorskip("fcntl", reason="locks are another module's here")

    def refusing(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refusing)


async def test_without_locks_all_get_the_file(dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_locks(monkeypatch)
    async with serving(SlowDrip(20_000_000)) as index:
        outcomes = await asyncio.gather(*(get(index, dest) for _ in range(8)))
    assert {outcome.done.sha256 for outcome in outcomes} == {SHA256}
    assert is_there(dest)


async def test_without_locks_nothing_is_kept_that_nobody_could_take_over(
    dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_locks(monkeypatch)
    async with serving(Cut(CUT)) as index:
        await get(index, dest, retries=0)
    assert left_in(dest) == []


async def test_without_locks_a_part_is_left_alone(dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be one that somebody is writing."""
    async with serving() as index:
        part = await interrupted(index, dest)
        held = part.read_bytes()
        forbid_locks(monkeypatch)
        outcome = await get(index, dest)
    assert outcome.ranges == [None]
    assert part.read_bytes() == held
    assert (dest / NAME).read_bytes() == WHEEL


# --- processes ---------------------------------------------------------------------------------------------------


async def test_two_processes_go_on_from_one_part(dest: Path) -> None:
    async with serving(SlowDrip(20_000_000)) as index:
        await interrupted(index, dest)
        processes = [await command(index.url, dest) for _ in range(2)]
        results = [await process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert {json.loads(stdout)["sha256"] for stdout, _ in results} == {SHA256}
    assert is_there(dest)


async def test_two_parts_leave_nothing_either(dest: Path) -> None:
    """Two runs at once, and both were killed."""
    async with serving(Stall(CUT, 20)) as index:
        running = [await command(index.url, dest) for _ in range(2)]
        await until(lambda: len(parts_begun(dest)) == 2 or any(one.returncode is not None for one in running))
        await asyncio.gather(*(killed(one) for one in running))
        index.faults = {}
        outcome = await get(index, dest)
    assert outcome.requests == 1
    assert is_there(dest)


@dataclass(frozen=True)
class Job:
    """What two processes are to bring, and how fast the server lets each file go, in bytes a second."""

    count: int
    size: int
    rate: int | None = None


JOBS = {"one-large": Job(1, 64 << 20, 48 << 20), "many-small": Job(200, 20_000)}


@pytest.mark.real
@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
async def test_two_processes_and_a_real_server(job: Job, tmp_path: Path, dest: Path) -> None:
    wheels = [make_large_wheel(tmp_path / "wheels", f"demo{n}", job.size) for n in range(job.count)]
    lay_out(wheels, tmp_path / "root")
    with serving_for_real(tmp_path / "root", rate=job.rate) as server:
        processes = [
            await command(f"{server.url}/simple", dest, *(wheel.project for wheel in wheels)) for _ in range(2)
        ]
        results = [await process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], results
    expected = [wheel.sha256 for wheel in wheels]
    for stdout, _ in results:
        assert [json.loads(line)["sha256"] for line in stdout.splitlines()] == expected
    assert left_in(dest) == sorted(wheel.path.name for wheel in wheels)
    assert [wheel_at(dest / wheel.path.name).sha256 for wheel in wheels] == expected
