"""The manifest: what is noted is known, also after a kill; one run at a time; nothing of it blocks the event loop."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from made_up import content, entry, file

from fetcher.errors import ConfigError, DiskError, NotFound
from fetcher.mirror.manifest import LAYOUT, NAME, Manifest
from fetcher.mirror.records import Facts
from fetcher.mirror.wanted import Ask

if TYPE_CHECKING:
    from pathlib import Path

WHEEL = "demo-1.0-py3-none-any.whl"


async def test_what_is_noted_is_known_in_the_next_run(tmp_path: Path) -> None:
    listed = file(WHEEL, upload_time="2026-01-01T00:00:00Z", yanked=True, requires_python=">=3")
    there = entry(listed, content("a", metadata="m", requires=("x",)))
    failed = entry(file("demo-2.0-py3-none-any.whl"), None, error="NotFound", reason="gone")
    facts = Facts("demo", "archived", "because", ("https://t/",), ("https://l/",))
    async with Manifest(tmp_path) as manifest:
        await manifest.begin()
        for each in (there, failed):
            await manifest.note_file(each)
        await manifest.note_project(facts, "digest", "failed", NotFound("https://host/x", 404))
    async with Manifest(tmp_path) as manifest:
        assert manifest.run == 1
        known = await manifest.load("demo")
        assert known.facts == facts
        assert known.page == "digest"
        assert known.entries == {each.filename: each for each in (there, failed)}
        assert (known.outcome, known.seen) == ("failed", frozenset(known.entries))
        await manifest.begin()
        known = await manifest.load("demo")
        assert (known.outcome, known.seen) == ("", frozenset())
        assert (await manifest.load("nobody")).facts is None


async def test_wants_have_their_turn_once(tmp_path: Path) -> None:
    async with Manifest(tmp_path) as manifest:
        await manifest.begin()
        await manifest.want([("b", Ask("<2")), ("a", Ask()), ("b", Ask("<2")), ("b", Ask(">1"))])
        assert await manifest.take(1) == ["a"]
        assert await manifest.take(9) == ["b"]
        assert await manifest.take(9) == []
        assert (await manifest.load("b")).asks == [Ask("<2"), Ask(">1")]
        await manifest.want([("b", Ask("<2"))])
        assert await manifest.take(9) == []
        await manifest.want([("b", Ask("!=1"))])  # something new: once more
        assert await manifest.take(9) == ["b"]
        await manifest.begin()
        assert await manifest.take(9) == []


async def test_what_a_run_does_not_want(tmp_path: Path) -> None:
    one, two, three = (entry(file(f"{name}-1.0-py3-none-any.whl"), content(name)) for name in ("a", "b", "c"))
    async with Manifest(tmp_path) as manifest:
        await manifest.begin()
        for each in (one, two, three):
            await manifest.note_file(each)
        assert await manifest.unwanted() == []
        await manifest.begin()
        await manifest.note_wanted("a", one.filename)
        await manifest.note_wanted("b")
        await manifest.note_listing(three)
        assert await manifest.unwanted() == [("c", three.filename)]
        await manifest.forget_file("c", three.filename)
        assert await manifest.unwanted() == []


async def test_totals_and_the_largest(tmp_path: Path) -> None:
    async with Manifest(tmp_path) as manifest:
        await manifest.begin()
        assert (await manifest.totals()).files == 0
        for name, size in (("a", 5), ("b", 7), ("c", 7)):
            await manifest.note_file(entry(file(f"{name}-1.0-py3-none-any.whl"), content(name, size=size)))
            await manifest.note_project(Facts(name), "page" if name != "c" else "", "updated")
        await manifest.note_file(entry(file("a-2.0-py3-none-any.whl")))
        totals = await manifest.totals()
        assert (totals.projects, totals.files, totals.bytes) == (2, 3, 19)
        assert await manifest.listed_projects() == ["a", "b"]
        assert await manifest.largest(2) == [("b", 1, 7), ("c", 1, 7)]


async def test_dropped_keys_outlive_a_run(tmp_path: Path) -> None:
    async with Manifest(tmp_path) as manifest:
        await manifest.drop(["x", "y", "x", "simple/x/index.html"])
    async with Manifest(tmp_path) as manifest:
        assert sorted(await manifest.dropped(9, pages=False)) == ["x", "y"]
        await manifest.forget_dropped(["x"])
        assert await manifest.dropped(9, pages=False) == ["y"]
        assert await manifest.dropped(9, pages=True) == ["simple/x/index.html"]


async def test_one_run_at_a_time(tmp_path: Path) -> None:
    async with Manifest(tmp_path):
        with pytest.raises(ConfigError, match="another run is at work on the mirror"):
            async with Manifest(tmp_path):
                pytest.fail("not reached")
    async with Manifest(tmp_path):
        pass


async def test_a_newer_layout_is_left_alone(tmp_path: Path) -> None:
    rows = sqlite3.connect(tmp_path / NAME)
    rows.execute(f"PRAGMA user_version = {LAYOUT + 1}")
    rows.close()
    with pytest.raises(ConfigError, match="a newer fetcher wrote it"):
        async with Manifest(tmp_path):
            pytest.fail("not reached")


@pytest.mark.parametrize("text", [b"no database at all", b"SQLite format 3\0" + b"\xff" * 5000])
async def test_what_is_no_manifest_is_said(tmp_path: Path, text: bytes) -> None:
    (tmp_path / NAME).write_bytes(text)
    with pytest.raises(DiskError, match=NAME):
        async with Manifest(tmp_path):
            pytest.fail("not reached")
    assert (tmp_path / NAME).read_bytes() == text


NOTES = """
import anyio, os, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from made_up import content, entry, file
from fetcher.mirror.manifest import Manifest

async def main():
    async with Manifest(Path(sys.argv[1])) as manifest:
        await manifest.begin()
        for number in range(100_000):
            await manifest.note_file(entry(file(f"demo-{number}.0-py3-none-any.whl"), content(str(number))))
            if number % 50 == 0:
                await manifest.flush()
                print(number, flush=True)

anyio.run(main)
"""


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL on Windows")
async def test_a_kill_loses_only_what_was_not_flushed(tmp_path: Path) -> None:
    flushed = _kill_a_run(tmp_path / "state")
    async with Manifest(tmp_path / "state") as manifest:
        names = set((await manifest.load("demo")).entries)
    assert names >= {f"demo-{number}.0-py3-none-any.whl" for number in range(flushed + 1)}


def _kill_a_run(state: Path) -> int:
    """Return the number of the last file that was flushed before the kill, at least."""
    command = [sys.executable, "-c", NOTES, str(state), os.path.dirname(__file__)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        flushed = [int(process.stdout.readline()) for _ in range(20)][-1]
        process.send_signal(signal.SIGKILL)
        process.stdout.read()
    return flushed
