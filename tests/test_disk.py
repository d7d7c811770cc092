"""A disk that is full, read-only or in the way is a typed error that costs nobody a file (behaviour §5)."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
import threading
import zipfile
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from fake_faults import Fault, IgnoreRanges, NoContentLength
from fake_index import FakeIndex
from fake_wheels import make_wheel, metadata_of, wheel_filename
from one_wheel import (
    KNOWN,
    NAME,
    OTHER,
    WHEEL,
    command,
    get,
    interrupted,
    is_there,
    known,
    part_in,
    parts_begun,
    put,
    rest_of,
    serving,
)
from volumes import Volume, volume
from wire_checks import corp, find, left_in, observe

from fetcher import DiskError, Download, Event, Progress
from fetcher.digest import Digest
from fetcher.download import partfile
from fetcher.download.partfile import PartFile
from fetcher.download.volumes import Volumes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("_no_blocking", "_short_waits")

# Seconds, for what another thread does.
PATIENCE = 20.0
# What is free on the small volume while its filler is there: less than the wheel needs.
ROOM = 5 << 20
assert len(WHEEL) > ROOM


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Volume]:
    """A volume with room for the wheel, and not for two."""
    with volume(tmp_path / "volume", "size=10m") as mounted:
        yield mounted


def fill(on: Volume, leaving: int = ROOM) -> Path:
    """Leave so little room; return the file to remove when there is to be room again."""
    filler = on.path / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(on.path).free - leaving))
    return filler


async def failed(index: FakeIndex, dest: Path, before: tuple[str, ...] = ()) -> str:
    """Run the command, which must say in one line that the disk is the reason; return the line."""
    process = await command(index.url, dest, before=before)
    stdout, stderr = await process.communicate()
    assert process.returncode == 6, stderr
    assert json.loads(stdout)["error"] == "DiskError"
    (line,) = stderr.decode().splitlines()
    assert str(dest) in line
    return line


async def succeeded(index: FakeIndex, dest: Path, before: tuple[str, ...] = ()) -> dict[str, Any]:
    """Run the command to a good end; return what it says of the file."""
    process = await command(index.url, dest, before=before)
    stdout, stderr = await process.communicate()
    assert process.returncode == 0, stderr
    found: dict[str, Any] = json.loads(stdout)
    return found


# --- full --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("knows", ["size-and-hash", "size"])
async def test_that_there_is_no_room_is_known_before_a_byte_is_asked_for(knows: str, small: Volume) -> None:
    filler, dest = fill(small), small.path / "dest"
    async with serving(knows=knows) as index:
        assert "No space left" in await failed(index, dest)
        assert index.select("*.whl") == []
        assert left_in(dest) == []
        filler.unlink()
        await succeeded(index, dest)
    assert is_there(dest)


@pytest.mark.parametrize("knows", ["hash", "nothing"])
async def test_the_server_tells_the_size_before_the_body(knows: str, small: Volume) -> None:
    fill(small, leaving=1 << 20)
    async with serving(knows=knows) as index:
        outcome = await get(index, small.path / "dest")
    assert isinstance(outcome.error, DiskError)
    assert outcome.body_bytes < len(WHEEL) / 2, "what was on its way"
    assert left_in(small.path / "dest") == []


@pytest.mark.parametrize("knows", ["hash", "nothing"])
async def test_no_room_in_the_middle(knows: str, small: Volume) -> None:
    """Where nobody tells the size, nothing can be gone on from: a full volume is not left fuller than it was."""
    filler, dest = fill(small), small.path / "dest"
    async with serving(NoContentLength(), knows=knows) as index:
        assert "No space left" in await failed(index, dest)
        assert left_in(dest) == []
        filler.unlink()
        await succeeded(index, dest)
    assert is_there(dest)


@pytest.mark.parametrize("knows", KNOWN)
async def test_somebody_else_fills_the_volume_meanwhile(knows: str, small: Volume) -> None:
    dest, filler = small.path / "dest", (small.path / "filler").open("wb")

    def fill_up(event: Event) -> None:
        if isinstance(event, Progress) and event.received > len(WHEEL) / 3:
            os.posix_fallocate(filler.fileno(), 0, 6 << 20)  # of ten, so that the rest of the wheel finds no room

    async with serving(knows=knows) as index:
        with filler:
            async with corp(index) as fetcher:
                file = await find(fetcher, ending="")
                full = await observe(fetcher.download(file, dest, on_event=fill_up), index)
        assert isinstance(full.error, DiskError), repr(full.error)
        held = sum(part.stat().st_size for part in parts_begun(dest))
        (small.path / "filler").unlink()
        done = await succeeded(index, dest)
    assert (done["resumed_from"] or 0, done["bytes"]) == (held, len(WHEEL) - held)
    assert is_there(dest)


async def test_a_part_needs_room_for_what_is_missing_only(small: Volume) -> None:
    dest = small.path / "dest"
    async with serving(knows="hash") as index:
        held = (await interrupted(index, dest)).stat().st_size
        fill(small, leaving=len(WHEEL) - held + (64 << 10))
        assert shutil.disk_usage(dest).free < len(WHEEL)
        done = await succeeded(index, dest)
    assert (done["resumed_from"], done["bytes"]) == (held, len(WHEEL) - held)
    assert is_there(dest)


@known
async def test_what_is_there_stays_while_there_is_no_room_for_another(knows: str, small: Volume) -> None:
    dest = small.path / "dest"
    put(dest, b"what was there")
    filler = fill(small)
    async with serving(knows=knows) as index:
        full = await get(index, dest)
        meanwhile = (dest / NAME).read_bytes()
        filler.unlink()
        await get(index, dest)
    assert isinstance(full.error, DiskError), repr(full.error)
    assert meanwhile == b"what was there"
    assert is_there(dest)


async def test_no_room_for_a_small_file(small: Volume) -> None:
    """It is written and renamed in one step."""
    wheel, dest = make_wheel(size=40_000), small.path / "dest"
    filler = fill(small, leaving=20_000)
    async with serving(wheel=wheel, knows="hash") as index:
        full = await get(index, dest)
        left = left_in(dest)
        filler.unlink()
        await get(index, dest)
    assert isinstance(full.error, DiskError), repr(full.error)
    assert "No space left" in str(full.error)
    assert left == []
    assert is_there(dest, wheel)


async def test_no_room_for_another_name(tmp_path: Path) -> None:
    """Of bytes there are enough, of inodes not."""
    with volume(tmp_path / "volume", "size=10m,nr_inodes=2") as mounted:
        dest = mounted.path / "dest"
        async with serving() as index:
            full = await get(index, dest)
        assert isinstance(full.error, DiskError), repr(full.error)
        assert "No space left" in str(full.error)
        assert left_in(dest) == []


async def test_once_a_volume_is_full_nothing_more_is_asked_for_that_needs_more_room(small: Volume) -> None:
    names = [f"p{number}" for number in range(20)]
    wheels = {wheel_filename(name): make_wheel(name, size=600_000) for name in names}
    filler, dest = fill(small), small.path / "dest"
    async with FakeIndex(wheels=wheels) as index:
        full = await command(index.url, dest, *names, "--concurrency", "1")
        stdout, _ = await full.communicate()
        arrived = left_in(dest)
        assert len(index.select("*.whl")) == len(arrived) == ROOM // 600_000
        filler.unlink()
        shutil.rmtree(dest)
    assert full.returncode == 1
    failures = [line for line in map(json.loads, stdout.splitlines()) if "error" in line]
    assert {line["error"] for line in failures} == {"DiskError"}
    assert len(failures) == len(names) - len(arrived)


async def test_no_room_for_what_is_read_on_the_way_to_metadata(small: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that comes whole is kept in a temporary file."""
    filler = fill(small)
    monkeypatch.setattr(tempfile, "tempdir", str(small.path))
    async with serving(IgnoreRanges()) as index, corp(index) as fetcher:
        file = await find(fetcher)
        full = await observe(fetcher.metadata(file), index)
        filler.unlink()
        assert (await fetcher.metadata(file)).raw == metadata_of(WHEEL)
    assert isinstance(full.error, DiskError), repr(full.error)
    assert str(small.path) in str(full.error)
    assert left_in(small.path) == []


@pytest.mark.parametrize(
    ("held", "free", "fits"), [(False, 5_900_000, False), (True, 2_500_000, False), (True, 3_000_000, True)]
)
async def test_room_for_what_is_missing(
    held: bool, free: int, fits: bool, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is known before anything is asked for; a part that is there takes no room any more."""
    async with serving() as index:
        if held:
            (await interrupted(index, dest)).write_bytes(WHEEL[:3_100_000])
        with monkeypatch.context() as patched:
            patched.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
            outcome = await get(index, dest)
        assert outcome.requests == fits
        assert fits or isinstance(outcome.error, DiskError), repr(outcome.error)
        outcome = await get(index, dest)
    assert outcome.requests == (not fits)
    assert held is False or fits or outcome.done.resumed_from == 3_100_000
    assert is_there(dest)


# --- many files, one volume ---------------------------------------------------------------------------------------

NAMES = [f"p{number}" for number in range(20)]
EACH = 3_000_000  # one fits, not two


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("framing", [(), (NoContentLength(),)], ids=["content-length", "chunked"])
async def test_a_full_volume_gets_no_new_work(framing: tuple[Fault, ...], concurrency: int, small: Volume) -> None:
    dest = small.path / "dest"
    fill(small)
    async with FakeIndex(wheels=_wheels(), page_format="html", faults={"*.whl": framing}) as index:
        await (await command(index.url, dest, *NAMES, "--concurrency", str(concurrency))).communicate()
        arrived = len(list(dest.glob("p*")))
        assert len(index.select("*.whl")) <= arrived + 2 * concurrency
    assert [path.name for path in dest.glob(".*") if not path.stat().st_size] == []


async def test_a_part_takes_room_until_it_is_removed(small: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or who fails at that moment would take the volume for a smaller one, and for as good as empty soon after."""
    volumes, dest = Volumes(), small.path / "dest"
    half_written, removing, both_failed = threading.Event(), threading.Event(), threading.Event()
    write, remove = os.write, partfile.remove
    fill(small)

    def wait_at_half(descriptor: int, data: memoryview) -> int:
        if len(data) == ROOM and not half_written.is_set():
            half_written.set()
            assert removing.wait(PATIENCE)
        return write(descriptor, data)

    def wait_at_first(path: str) -> None:
        if not removing.is_set():
            removing.set()
            assert both_failed.wait(PATIENCE)
        remove(path)

    async def fill_up(part: PartFile, *chunks: int) -> None:
        for size in chunks:
            await part.write(part.size, bytes(size), batch=ROOM)

    async def overfill(name: str, *chunks: int, then: Callable[[], None] = lambda: None) -> None:
        async with PartFile(dest / name, volumes) as part:
            await part.look(lambda *_: (), Digest({}), None, trust=False)
            with pytest.raises(DiskError):
                await fill_up(part, *chunks)
            then()

    monkeypatch.setattr(os, "write", wait_at_half)
    monkeypatch.setattr(partfile, "remove", wait_at_first)
    async with anyio.create_task_group() as group:
        group.start_soon(partial(overfill, "one", ROOM // 2, ROOM, then=both_failed.set))
        assert await asyncio.to_thread(half_written.wait, PATIENCE)
        group.start_soon(partial(overfill, "other", ROOM + 1))
    assert left_in(dest) == []
    with pytest.raises(OSError, match="No space left"):
        await asyncio.to_thread(volumes.claim, str(dest), None)


async def test_room_is_given_out_once(small: Volume) -> None:
    """Each fits alone; together they do not."""
    dest = small.path / "dest"
    fill(small)
    async with FakeIndex(wheels=_wheels()) as index:
        process = await command(index.url, dest, *NAMES)
        await process.communicate()
        assert process.returncode == 1
        assert len(index.select("*.whl")) == len(list(dest.glob("p*"))) == 1


async def test_work_goes_on_when_there_is_room_again(small: Volume) -> None:
    dest, filler = small.path / "dest", fill(small, leaving=1 << 20)
    async with serving(NoContentLength(), knows="nothing") as index, corp(index) as fetcher:
        file = await find(fetcher, ending="")
        full = await observe(fetcher.download(file, dest), index)
        still = await observe(fetcher.download(file, dest), index)
        filler.unlink()
        await fetcher.download(file, dest)
    assert isinstance(full.error, DiskError)
    assert isinstance(still.error, DiskError)
    assert (full.requests, still.requests) == (1, 0)
    assert is_there(dest)


def _wheels() -> dict[str, bytes]:
    return {wheel_filename(name): make_wheel(name, size=EACH) for name in NAMES}


# --- a limit of the user's own -----------------------------------------------------------------------------------


def limited(blocks: int) -> tuple[str, ...]:
    """Run what follows with files of at most so many blocks of 512 bytes."""
    if os.name == "nt":
        pytest.skip("there is no ulimit")
    return ("sh", "-c", f'ulimit -f {blocks}; exec "$@"', "sh")


async def test_a_file_larger_than_allowed(dest: Path) -> None:
    """What fitted is gone on from."""
    async with serving() as index:
        assert "File too large" in await failed(index, dest, before=limited(8192))
        part = part_in(dest)
        held, rest = part.stat().st_size, rest_of(part)
        outcome = await get(index, dest)
    assert held == 4 << 20
    assert outcome.ranges == [rest]
    assert is_there(dest)


async def test_a_small_file_larger_than_allowed(dest: Path) -> None:
    async with serving(wheel=make_wheel(size=40_000)) as index:
        await failed(index, dest, before=limited(16))
    assert left_in(dest) == []


# --- read-only ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("knows", ["size-and-hash", "hash"])
@pytest.mark.parametrize("leftovers", [False, True], ids=["alone", "with-leftovers"])
async def test_a_right_file_on_a_read_only_volume(leftovers: bool, knows: str, small: Volume) -> None:
    dest = small.path / "dest"
    async with serving(knows=knows) as index:
        if leftovers:
            (await interrupted(index, dest)).write_bytes(b"x")
        put(dest, WHEEL)
        before = left_in(dest)
        small.make_read_only()
        outcome = await get(index, dest)
    assert outcome.requests == outcome.done.bytes == 0
    assert left_in(dest) == before


@known
@pytest.mark.parametrize("there", ["nothing", "another-file", "no-directory"])
async def test_nothing_is_asked_for_that_goes_to_a_read_only_volume(there: str, knows: str, small: Volume) -> None:
    dest = small.path / "dest"
    if there != "no-directory":
        dest.mkdir()
    if there == "another-file":
        put(dest, OTHER)
    before = left_in(dest)
    small.make_read_only()
    async with serving(knows=knows) as index:
        outcome = await get(index, dest)
    assert isinstance(outcome.error, DiskError), repr(outcome.error)
    assert str(dest) in str(outcome.error)
    assert outcome.requests == 0
    assert left_in(dest) == before


async def test_a_right_file_where_nothing_can_be_removed(dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a read-only volume even the removal of what is not there is an error."""

    def refusing(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    put(dest, WHEEL)
    async with serving() as index:
        monkeypatch.setattr(os, "unlink", refusing)
        outcome = await get(index, dest)
    assert outcome.error is None
    assert outcome.requests == 0


@pytest.fixture
def as_anybody() -> tuple[str, ...]:
    """Run what follows without root's right to pass over the modes of files."""
    if os.name == "nt":
        pytest.skip("there are no modes")
    if os.geteuid() != 0:
        return ()
    if shutil.which("setpriv") is None:
        pytest.skip("root may write anywhere, and without the program setpriv (util-linux) cannot give that up")
    return ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")


@contextmanager
def closed(dest: Path, mode: int) -> Iterator[None]:
    dest.mkdir(exist_ok=True)
    dest.chmod(mode)
    try:
        yield
    finally:
        dest.chmod(0o755)


@pytest.mark.parametrize("mode", [0o555, 0o000])
async def test_a_directory_that_may_not_be_written_to(mode: int, dest: Path, as_anybody: tuple[str, ...]) -> None:
    with closed(dest, mode):
        async with serving() as index:
            assert "Permission denied" in await failed(index, dest, before=as_anybody)
            assert index.select("*.whl") == []
    assert left_in(dest) == []


async def test_a_right_file_in_a_directory_that_may_not_be_written_to(dest: Path, as_anybody: tuple[str, ...]) -> None:
    put(dest, WHEEL)
    with closed(dest, 0o555):
        async with serving() as index:
            done = await succeeded(index, dest, before=as_anybody)
            assert index.select("*.whl") == []
    assert done["bytes"] == 0
    assert is_there(dest)


async def test_a_directory_that_may_be_written_to_and_not_read(dest: Path, as_anybody: tuple[str, ...]) -> None:
    with closed(dest, 0o333):
        async with serving() as index:
            await succeeded(index, dest, before=as_anybody)
    assert is_there(dest)


async def test_a_directory_that_does_not_say_that_it_may_not_be_written_to(
    dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a network file system, where the server decides when a file is made."""
    real = os.open

    def denying(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if os.fspath(path).startswith(str(dest)) and flags & os.O_CREAT:
            raise PermissionError(13, "Permission denied")
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", denying)
    async with serving() as index:
        outcome = await get(index, dest)
    assert isinstance(outcome.error, DiskError), repr(outcome.error)
    assert "Permission denied" in str(outcome.error)
    assert outcome.requests == 1
    assert left_in(dest) == []


# --- in the way --------------------------------------------------------------------------------------------------


def _is_a_file(dest: Path) -> None:
    dest.write_bytes(b"")


def _is_below_a_file(dest: Path) -> None:
    dest.parent.rmdir()
    dest.parent.write_bytes(b"")


def _is_a_dangling_link(dest: Path) -> None:
    dest.symlink_to(dest.parent / "nowhere" / "at" / "all")


def _is_a_link_to_itself(dest: Path) -> None:
    dest.symlink_to(dest)


def parts_below(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".*.part*")]


OBSTACLES: list[Callable[[Path], None]] = [
    _is_a_file,
    _is_below_a_file,
    _is_a_dangling_link,
    _is_a_link_to_itself,
]


@known
@pytest.mark.parametrize("obstruct", OBSTACLES, ids=lambda obstruct: obstruct.__name__.strip("_"))
async def test_a_destination_that(obstruct: Callable[[Path], None], knows: str, tmp_path: Path) -> None:
    dest = tmp_path / "parent" / "dest"
    dest.parent.mkdir()
    obstruct(dest)
    async with serving(knows=knows) as index:
        outcome = await get(index, dest)
    assert isinstance(outcome.error, DiskError), repr(outcome.error)
    assert outcome.error.exit_code == 6
    assert str(dest) in str(outcome.error)
    assert parts_below(tmp_path) == []
    assert outcome.requests <= 1


@known
async def test_a_directory_that_has_the_files_name(knows: str, dest: Path) -> None:
    (dest / NAME).mkdir(parents=True)
    async with serving(knows=knows) as index:
        outcome = await get(index, dest)
        (dest / NAME).rmdir()
        await get(index, dest)
    assert isinstance(outcome.error, DiskError), repr(outcome.error)
    assert str(dest / NAME) in str(outcome.error)
    assert is_there(dest)


async def test_the_directory_is_made(tmp_path: Path) -> None:
    dest = tmp_path / "not" / "there"
    async with serving() as index, corp(index) as fetcher:
        done = await fetcher.download(await find(fetcher), str(dest))
    assert done.path == dest / NAME
    assert is_there(dest)


async def test_a_link_to_a_directory_is_a_directory(tmp_path: Path) -> None:
    """Only what has the file's name is never written through: where a directory is, is its owner's affair."""
    there, link = tmp_path / "there", tmp_path / "link"
    there.mkdir()
    link.symlink_to(there)
    async with serving() as index:
        rest = rest_of(await interrupted(index, link))
        outcome = await get(index, link)
    assert outcome.ranges == [rest]
    assert is_there(there)


@pytest.fixture
def _pipe(dest: Path) -> None:
    """A named pipe with the file's name."""
    if not hasattr(os, "mkfifo"):
        pytest.skip("there are no named pipes")
    dest.mkdir()
    os.mkfifo(dest / NAME)


@known
@pytest.mark.usefixtures("_pipe")
async def test_a_pipe_in_the_place_of_the_file_is_replaced(knows: str, dest: Path) -> None:
    """Nobody waits for its other end."""
    async with serving(knows=knows) as index:
        outcome = await get(index, dest)
    assert outcome.error is None
    assert is_there(dest)


async def test_a_name_too_long_for_the_disk(dest: Path) -> None:
    name = wheel_filename("d" * 300)
    async with FakeIndex(wheels={name: make_wheel("d" * 300)}) as index, corp(index) as fetcher:
        outcome = await observe(fetcher.download(await find(fetcher, "d" * 300), dest), index)
    assert isinstance(outcome.error, DiskError), repr(outcome.error)
    assert "too long" in str(outcome.error)
    assert left_in(dest) == []


@pytest.mark.parametrize("size", [0, 6_000_000], ids=["small", "large"])
async def test_a_name_as_long_as_the_disk_allows(size: int, dest: Path) -> None:
    name = wheel_filename("d" * (255 - len(wheel_filename(""))))
    project = name.partition("-")[0]
    wheel = make_wheel(project, size=size, method=zipfile.ZIP_STORED)
    async with FakeIndex(wheels={name: wheel}) as index, corp(index) as fetcher:
        await fetcher.download(await find(fetcher, project), dest)
    assert left_in(dest) == [name]


@known
async def test_a_directory_with_the_files_name_is_seen_before_anything_is_asked(knows: str, dest: Path) -> None:
    (dest / NAME).mkdir(parents=True)
    async with serving(knows=knows) as index:
        outcome = await get(index, dest)
    assert isinstance(outcome.error, DiskError)
    assert outcome.requests == 0


async def test_a_read_only_volume_is_called_so(small: Volume) -> None:
    (small.path / "dest").mkdir()
    small.make_read_only()
    async with serving() as index:
        outcome = await get(index, small.path / "dest")
    assert "Read-only" in str(outcome.error)
    assert outcome.requests == 0


async def test_no_room_for_what_stands_beside_a_part(tmp_path: Path) -> None:
    """It is only for the next run: this one does without."""
    with volume(tmp_path / "volume", "size=10m,nr_inodes=3") as mounted:
        dest = mounted.path / "dest"
        async with serving() as index:
            assert isinstance((await get(index, dest)).value, Download)
        assert is_there(dest)
