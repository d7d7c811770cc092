"""One wheel on a fake index, runs that bring it, and runs that end in the middle."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fake_faults import Cut, Fault
from fake_index import FakeIndex
from fake_pages import KNOWN
from fake_wheels import make_wheel, wheel_filename
from wire_checks import Outcome, corp, find, left_in, observe

import fetcher as fetcher_package
from fetcher import Disconnected, Truncated

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Sequence

    from fetcher import Download

NAME = wheel_filename()
WHEEL = make_wheel(size=6_000_000, method=zipfile.ZIP_STORED)
OTHER = make_wheel(size=6_000_000, method=zipfile.ZIP_STORED, seed=1)  # of the same size
assert len(OTHER) == len(WHEEL)
SHA256 = hashlib.sha256(WHEEL).hexdigest()
CUT = 5_000_000
# What came last before a failure, and is asked for again: a batch that was not written, or what nobody had read.
LOST = 3 << 20

known = pytest.mark.parametrize("knows", KNOWN)


def serving(*faults: Fault, knows: str = "size-and-hash", wheel: bytes = WHEEL, **more: Any) -> FakeIndex:
    return FakeIndex(wheels={NAME: wheel}, faults={"*.whl": faults}, **{**KNOWN[knows], **more})


async def get(index: FakeIndex, dest: Path, **options: Any) -> Outcome[Download]:
    """One run."""
    async with corp(index, **options) as fetcher:
        return await observe(fetcher.download(await find(fetcher, ending=""), dest), index)


async def interrupted(index: FakeIndex, dest: Path, *faults: Fault) -> Path:
    """A run that ends after `CUT` bytes; the part that it leaves."""
    before, index.faults = index.faults, {"/files/*": (*faults, Cut(CUT))}
    outcome = await get(index, dest, retries=0)
    index.faults = before
    assert isinstance(outcome.error, Truncated | Disconnected), repr(outcome.error)
    part = part_in(dest)
    assert CUT - LOST <= part.stat().st_size <= CUT
    return part


def put(dest: Path, content: bytes) -> None:
    """What an earlier run has left under the file's name."""
    dest.mkdir(exist_ok=True)
    (dest / NAME).write_bytes(content)


def part_in(dest: Path) -> Path:
    (part,) = parts_begun(dest)
    return part


def parts_begun(dest: Path) -> list[Path]:
    """Those with something in them."""
    return [path for path in dest.glob(".*.part") if path.stat().st_size]


def beside(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def rest_of(part: Path) -> str:
    return f"bytes={part.stat().st_size}-{len(WHEEL) - 1}"


def is_there(dest: Path, content: bytes = WHEEL) -> bool:
    """The file and nothing beside it."""
    return left_in(dest) == [NAME] and (dest / NAME).read_bytes() == content


async def command(url: str, dest: Path, *arguments: str, before: Sequence[str] = ()) -> Process:
    """Start `fetcher get ARGUMENTS --json`, or of the one wheel, without the user's settings."""
    root = Path(fetcher_package.__file__).parents[1]
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "FETCHER_NO_CACHE") if name in os.environ}
    return await asyncio.create_subprocess_exec(
        *(*before, sys.executable, "-m", "fetcher", "get", *(arguments or ("demo",))),
        *("--index", f"corp={url}", "--dest", str(dest), "--json"),
        env={**kept, "HOME": str(dest.parent), "PYTHONPATH": str(root)},
        cwd=dest.parent,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def killed(process: Process) -> None:
    process.kill()
    assert await process.wait() == -signal.SIGKILL
