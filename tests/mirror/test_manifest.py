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
from fetcher.mirror.layout import page_keys
from fetcher.mirror.manifest import LAYOUT, NAME, Manifest
from fetcher.mirror.plan import keys_of
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
        await manifest.forget_files([three])
        assert await manifest.unwanted() == []
        await manifest.note_file(entry(file("d-1.0-py3-none-any.whl")))
        await manifest.begin()
        await manifest.note_wanted("a")
        await manifest.note_wanted("b")
        assert await manifest.unwanted() == []  # what is not there need not be removed
        await manifest.forget_failed()
        assert (await manifest.load("d")).entries == {}


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


async def test_keys_go_when_no_page_names_them(tmp_path: Path) -> None:
    old, new = (entry(file(WHEEL), content(text, metadata="m")) for text in "ab")
    async with Manifest(tmp_path) as manifest:
        await manifest.begin()
        await manifest.note_file(old)
        await manifest.note_file(new, keys_of(old))
        assert await manifest.dropped(9, pages=False) == []  # the page of before still names them
    async with Manifest(tmp_path) as manifest:
        await manifest.note_failure(Facts("demo"), "page", NotFound("https://host/x", 404))
        assert await manifest.dropped(9, pages=False) == []
        await manifest.note_project(Facts("demo"), "page", "updated")
        assert sorted(await manifest.dropped(9, pages=False)) == sorted(keys_of(old))
        await manifest.note_file(old, keys_of(new))  # as it was before
        assert await manifest.dropped(9, pages=False) == []
        await manifest.note_project(Facts("demo"), "page", "updated")
        assert sorted(await manifest.dropped(9, pages=False)) == sorted(keys_of(new))
        await manifest.forget_dropped(keys_of(new)[:1])
        assert await manifest.dropped(9, pages=False) == keys_of(new)[1:]


async def test_what_is_forgotten_goes(tmp_path: Path) -> None:
    there = entry(file(WHEEL), content("a"))
    async with Manifest(tmp_path) as manifest:
        await manifest.begin()
        await manifest.note_file(there)
        await manifest.note_project(Facts("demo"), "page", "updated")
        await manifest.forget_project("demo")
        await manifest.forget_files([there])
        assert sorted(await manifest.dropped(9, pages=True)) == sorted(page_keys("demo"))
        assert await manifest.dropped(9, pages=False) == keys_of(there)
        await manifest.begin_page("demo")  # it is wanted again
        assert await manifest.dropped(9, pages=True) == []


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
