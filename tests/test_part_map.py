"""A part with gaps, killed before any of its system calls: what is said to be there is there, and nothing is lost."""

from __future__ import annotations

import hashlib
import os
import random
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from wire_checks import held_in, left_in

from fetcher import File
from fetcher.digest import Digest
from fetcher.download import partfile, slots
from fetcher.download.partfile import PartFile
from fetcher.download.resume import Origin, origin_of, usable
from fetcher.download.volumes import Volumes
from fetcher.segments import Segment, gaps
from fetcher.transport.reply import Reply

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

NAME = "demo-1.0-py3-none-any.whl"
URL = f"http://127.0.0.1/{NAME}"
CONTENT = random.Random(0).randbytes(300_000)
NEWER = random.Random(1).randbytes(300_000)
# More than one run needs.
ALL_CALLS = 1_000
PIECE, BATCH = 20_000, 30_000
SMALL_WRITE = 4096


class Killed(BaseException):
    """The process is no more."""


class Dying:
    """`os`, as far as a process has it that is killed after so many calls which change something.

    A large write is cut in its middle.
    """

    def __init__(self, calls: int) -> None:
        self.left = calls
        self.parts: set[int] = set()

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in {"write", "ftruncate", "unlink", "open", "replace"}:
            return real

        def call(*arguments: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                if name == "write" and self.left == -1 and len(arguments[1]) > SMALL_WRITE:
                    real(arguments[0], arguments[1][: len(arguments[1]) // 2])
                raise Killed
            result = real(*arguments)
            if name == "open" and arguments[1] & os.O_RDWR:
                self.parts.add(result)
            return result

        return call

    def close(self, descriptor: int) -> None:
        self.parts.discard(descriptor)
        os.close(descriptor)

    def end(self) -> None:
        """Close what the system closes, and with it the locks go."""
        for descriptor in tuple(self.parts):
            self.close(descriptor)


def file_of(content: bytes, *, vouched: bool = True) -> File:
    return File(NAME, URL, hashes={"sha256": hashlib.sha256(content).hexdigest()} if vouched else {})


def origin_for(file: File) -> Origin:
    return origin_of(file, Reply(URL, 200, content_length=len(CONTENT), etag='"1"'))


def lanes_of(missing: Sequence[Segment]) -> Iterator[Segment]:
    """Three connections for each gap, if it is large."""
    for gap in missing:
        third = max(PIECE, len(gap) // 3)
        yield from (Segment(at, min(at + third, gap.stop)) for at in range(gap.start, gap.stop, third))


async def bring(part: PartFile, content: bytes, lanes: Sequence[Segment]) -> None:
    """A piece of each lane by turns."""
    for step in range(0, len(content), PIECE):
        for lane in lanes:
            at = lane.start + step
            if at < lane.stop:
                await part.write(at, content[at : min(at + PIECE, lane.stop)], batch=BATCH)


async def run(final: Path, file: File, content: bytes, *, anew: bool = False) -> tuple[Segment, ...]:
    """Go on from what is there, or `anew`; return what was."""
    async with PartFile(final, Volumes()) as part:
        await part.look(lambda held, origin: usable(held, origin, file), Digest(file.hashes), None, trust=False)
        held = part.held
        if anew or not held:
            part.begin(Digest(file.hashes), origin_for(file), lasting=True)
        await bring(part, content, list(lanes_of(list(gaps(part.held, len(content))))))
        await part.settle()
        assert part.digest.sha256 == hashlib.sha256(content).hexdigest()
        await part.commit(fsync=False)
    return held


async def survives(monkeypatch: pytest.MonkeyPatch, calls: int, *job: Any, **how: Any) -> bool:
    """Run with so many calls; say whether it came to its end."""
    with monkeypatch.context() as patched:
        dying = Dying(calls)
        for module in (partfile, slots):
            patched.setattr(module, "os", dying)
        try:
            await run(*job, **how)
        except Killed:
            return False
        finally:
            dying.end()
    return True


@pytest.mark.parametrize("vouched", [True, False])
@pytest.mark.parametrize("then", [CONTENT, NEWER], ids=["the-same", "a-newer"])
async def test_killed_twice_at_any_call(
    then: bytes, vouched: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second run, perhaps of a newer build, goes on or begins anew, and is killed as well."""
    first, second = (file_of(content, vouched=vouched) for content in (CONTENT, then))
    anew = then is not CONTENT and not vouched  # only the server can say that it is another
    calls = 0
    while True:
        for again in (ALL_CALLS, *range(0, 60, 7)):
            final = tmp_path / f"{calls}-{again}" / NAME
            if await survives(monkeypatch, calls, final, first, CONTENT):
                assert calls > 20
                return
            assert not final.exists() or final.read_bytes() == CONTENT
            if not await survives(monkeypatch, again, final, second, then, anew=anew):
                assert not final.exists() or final.read_bytes() in (CONTENT, then)
                await run(final, second, then, anew=anew)
            assert final.read_bytes() == then
            assert left_in(final.parent) == [NAME]
        calls += 1


async def test_what_is_said_to_be_there_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And as much as had been written by then, but for what was being written."""
    file, calls, told, done = file_of(CONTENT), 0, [], False
    while not done:
        final = tmp_path / str(calls) / NAME
        done = await survives(monkeypatch, calls, final, file, CONTENT)
        told.append(len(CONTENT) if final.exists() else held_in(final.parent))
        for segment in () if done else await run(final, file, CONTENT):
            assert CONTENT[segment.start : segment.stop] == final.read_bytes()[segment.start : segment.stop]
        calls += 1
    assert told[-1] == len(CONTENT)
    assert told == sorted(told)


async def test_all_is_there_and_its_next_run_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a digest its last byte is asked for once more; whenever that run ends, the others are not lost."""
    file = file_of(CONTENT, vouched=False)
    for calls in range(8):
        final = tmp_path / str(calls) / NAME
        with suppress(Killed):
            async with PartFile(final, Volumes()) as part:
                part.begin(Digest({}), origin_for(file), lasting=True)
                await bring(part, CONTENT, list(lanes_of([Segment(0, len(CONTENT))])))
                raise Killed
        assert held_in(final.parent) == len(CONTENT)
        await survives(monkeypatch, calls, final, file, CONTENT)
        if not final.exists():
            held = await run(final, file, CONTENT)
            assert sum(len(segment) for segment in held) >= len(CONTENT) - 1, f"after {calls} calls"
