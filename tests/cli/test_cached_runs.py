"""What the command keeps between runs, and the options that say whether it does: told by the requests it makes."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from fake_faults import Stating
from fake_index import FakeIndex
from fake_wheels import make_wheel, metadata_of, wheel_filename

from fetcher.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from click.testing import Result

WHEELS = {wheel_filename(): make_wheel()}
METADATA = metadata_of(WHEELS[wheel_filename()]).decode()
FRESH = {"/simple/*": Stating({"Cache-Control": "max-age=600"})}
# The first run: the page, and the wheel, which is small.
COLD = 2


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    logger = logging.getLogger("fetcher")
    handlers, level = logger.handlers[:], logger.level
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)


async def run(index: FakeIndex, *arguments: str, **environ: str | None) -> tuple[Result, int]:
    """The command with a cache, if nothing else is said, and the requests it made."""
    before = len(index.log)
    environ = {"NETRC": os.devnull, "FETCHER_NO_CACHE": None, **environ}
    command = [arguments[0], "demo", "--no-config", "-i", index.url, *arguments[1:]]
    done = await asyncio.to_thread(lambda: CliRunner(env=environ).invoke(main, command))
    return done, len(index.log) - before


@pytest.mark.parametrize(
    ("options", "requests"), [([], 0), (["--offline"], 0), (["--refresh"], 1), (["--no-cache"], COLD)]
)
async def test_a_second_run(tmp_path: Path, options: list[str], requests: int) -> None:
    cache = str(tmp_path / "cache")
    async with FakeIndex(wheels=WHEELS, faults=FRESH) as index:
        runs = [await run(index, "metadata", "--cache-dir", cache, *more) for more in ([], options)]
    assert [(done.exit_code, done.stdout) for done, _ in runs] == [(0, METADATA)] * 2
    assert [asked for _, asked in runs] == [COLD, requests]


async def test_the_environment(tmp_path: Path) -> None:
    kept = {"FETCHER_CACHE_DIR": str(tmp_path / "cache")}
    async with FakeIndex(wheels=WHEELS, faults=FRESH) as index:
        asked = [
            (await run(index, "metadata", **environ))[1] for environ in (kept, kept, {**kept, "FETCHER_NO_CACHE": "1"})
        ]
    assert asked == [COLD, 0, COLD]


async def test_by_default_it_is_the_users(tmp_path: Path) -> None:
    users: dict[str, str | None] = {
        "FETCHER_CACHE_DIR": None,
        "HOME": str(tmp_path),
        "XDG_CACHE_HOME": str(tmp_path / "caches"),
    }
    async with FakeIndex(wheels=WHEELS, faults=FRESH) as index:
        asked = [(await run(index, "metadata", **users))[1] for _ in range(2)]
    done = CliRunner(env=users).invoke(main, ["cache", "info", "--json"])
    assert asked == [COLD, 0]
    assert set(json.loads(done.stdout)["kinds"]) == {"metadata", "page", "wheel"}
    assert json.loads(done.stdout)["directory"].startswith(str(tmp_path))


async def test_offline_and_not_kept(tmp_path: Path) -> None:
    async with FakeIndex(wheels=WHEELS) as index:
        done, asked = await run(index, "metadata", "--offline", "--cache-dir", str(tmp_path / "cache"))
    assert (done.exit_code, done.stdout, asked) == (4, "", 0)
    assert "is not in the cache" in done.stderr


@pytest.mark.parametrize("spoil", ["cut", "file"])
async def test_a_spoiled_cache_costs_requests_only(tmp_path: Path, spoil: str) -> None:
    cache = tmp_path / "cache"
    async with FakeIndex(wheels=WHEELS, faults=FRESH) as index:
        await run(index, "metadata", "--cache-dir", str(cache))
        if spoil == "cut":
            for path in (cache / "store-1").iterdir():
                path.write_bytes(path.read_bytes()[:-1])
        else:
            cache.rename(tmp_path / "away")
            cache.write_bytes(b"")
        runs = [await run(index, "metadata", "--cache-dir", str(cache)) for _ in range(2)]
    assert [(done.exit_code, done.stdout) for done, _ in runs] == [(0, METADATA)] * 2
    assert [asked for _, asked in runs] == [COLD, 0 if spoil == "cut" else COLD]
    assert "WARNING: " in runs[0][0].stderr


async def test_a_small_wheel_is_kept_for_its_download(tmp_path: Path) -> None:
    cache, dest = str(tmp_path / "cache"), str(tmp_path / "dest")
    async with FakeIndex(wheels=WHEELS, faults=FRESH) as index:
        await run(index, "metadata", "--cache-dir", cache)
        done, asked = await run(index, "get", "--dest", dest, "--cache-dir", cache)
    assert (done.exit_code, asked) == (0, 0)
    assert (tmp_path / "dest" / wheel_filename()).read_bytes() == WHEELS[wheel_filename()]
