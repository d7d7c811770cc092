"""A file arrives whole and verified under its name, or not at all, and nowhere else (behaviour §5)."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import zipfile
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fake_faults import (
    ChangedFile,
    Cut,
    Fault,
    Gzip,
    HangUp,
    IgnoreRanges,
    LoginPage as Login,
    NoContentLength,
    Only,
    RedirectTo,
    SlowDrip,
    Stall,
    Stating,
    Status,
    TruncatedFile,
    UnaskedPart,
)
from fake_index import FakeIndex
from fake_pages import KNOWN, Everywhere, Tree
from fake_wheels import make_wheel, metadata_of, wheel_filename
from wire_checks import NOTHING_KNOWN, corp, find, left_in, observe, until

from fetcher import (
    BadReply,
    BadZip,
    ConfigError,
    ContentError,
    Disconnected,
    DiskError,
    Event,
    Fetcher,
    FetcherError,
    File,
    HashMismatch,
    LoginPage,
    MetadataMismatch,
    NotAWheel,
    NotFound,
    Progress,
    Retry,
    ServerFailed,
    Stalled,
    StatusError,
    Throttled,
    TimedOut,
    Truncated,
)
from fetcher.transport.pace import BURST

pytestmark = pytest.mark.usefixtures("_no_blocking", "_short_waits")

NAME = wheel_filename()
WHEEL = make_wheel(size=300_000, method=zipfile.ZIP_STORED)
SHA256 = hashlib.sha256(WHEEL).hexdigest()
OTHER = make_wheel(size=300_000, method=zipfile.ZIP_STORED, seed=1)  # of the same size
SDIST = "demo-1.0.tar.gz"
assert len(OTHER) == len(WHEEL)

known = pytest.mark.parametrize("knows", KNOWN)


def serving(*faults: Fault, knows: str = "size-and-hash", wheel: bytes = WHEEL, **more: Any) -> FakeIndex:
    return FakeIndex(wheels={NAME: wheel}, faults={"*.whl": faults}, **{**KNOWN[knows], **more})


def put(dest: Path, content: bytes) -> None:
    """What an earlier run has left under the file's name."""
    dest.mkdir()
    (dest / NAME).write_bytes(content)


def link(dest: Path, outside: Path, content: bytes | None) -> None:
    """A link under the file's name, to something outside of the directory or to nothing."""
    if content is not None:
        outside.write_bytes(content)
    dest.mkdir()
    (dest / NAME).symlink_to(outside)


def is_there(dest: Path, content: bytes = WHEEL) -> bool:
    """The file and nothing beside it."""
    return left_in(dest) == [NAME] and (dest / NAME).read_bytes() == content


# --- one stream, one rename --------------------------------------------------------------------------------------


@known
async def test_one_plain_get(knows: str, dest: Path) -> None:
    async with serving(knows=knows) as index, corp(index) as fetcher:
        outcome = await observe(fetcher.download(await find(fetcher), dest), index)
        url = f"{index.files_url}/{NAME}"
    assert outcome.ranges == [None]
    assert outcome.wires[0].headers["Accept-Encoding"] == "identity"
    assert is_there(dest)
    done = outcome.done
    assert (done.path, done.filename, done.url, done.index) == (dest / NAME, NAME, url, "corp")
    assert (done.size, done.sha256, done.bytes, done.resumed_from) == (len(WHEEL), SHA256, len(WHEEL), None)
    assert done.seconds > 0


async def test_the_final_name_is_not_there_before_the_last_byte(dest: Path) -> None:
    wheel = make_wheel(size=6_000_000, method=zipfile.ZIP_STORED)
    async with serving(Stall(len(wheel) - 1000, 0.15), wheel=wheel) as index, corp(index) as fetcher:
        running = asyncio.create_task(fetcher.download(await find(fetcher), dest))
        await until(lambda: left_in(dest))
        meanwhile = left_in(dest)
        await running
    assert NAME not in meanwhile
    assert all(name.startswith(f".{NAME}.") for name in meanwhile)
    assert is_there(dest, wheel)


@pytest.mark.skipif(os.name == "nt", reason="there are no modes")
async def test_the_umask_decides_who_may_read_it(dest: Path) -> None:
    before = os.umask(0o027)
    try:
        async with serving() as index, corp(index) as fetcher:
            done = await fetcher.download(await find(fetcher), dest)
    finally:
        os.umask(before)
    assert done.path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("fsync", [True, False])
async def test_fsync_before_the_rename(fsync: bool, dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    real = os.fsync

    def recording(descriptor: int) -> None:
        seen.append(left_in(dest))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", recording)
    async with serving() as index, corp(index) as fetcher:
        await fetcher.download(await find(fetcher), dest, fsync=fsync)
    assert bool(seen) is fsync
    if fsync:
        assert NAME not in seen[0]
    assert is_there(dest)


# --- progress ----------------------------------------------------------------------------------------------------


@known
async def test_progress_only_goes_up_and_ends_at_the_size(knows: str, dest: Path) -> None:
    events: list[Event] = []
    async with serving(SlowDrip(2_000_000), knows=knows) as index, corp(index) as fetcher:
        await fetcher.download(await find(fetcher), dest, on_event=events.append)
    received = [event.received for event in events]
    assert len(received) > 2
    assert received == sorted(received)
    assert received[-1] == len(WHEEL)
    assert {event.filename for event in events} == {NAME}
    assert {event.total for event in events} == {len(WHEEL)}


async def test_progress_without_a_length_has_no_total(dest: Path) -> None:
    events: list[Event] = []
    async with serving(NoContentLength(), knows="hash") as index, corp(index) as fetcher:
        await fetcher.download(await find(fetcher), dest, on_event=events.append)
    assert {event.total for event in events} == {None}


RETRIED: dict[str, tuple[Fault, type[FetcherError], bool]] = {
    "503": (Status(503, times=2), ServerFailed, False),
    "429-retry-after-0": (Status(429, times=2, headers={"Retry-After": "0"}), Throttled, False),
    "no-answer": (HangUp(times=2), Disconnected, False),
    "cut": (Cut(100_000, times=2), Truncated, True),
}


@pytest.mark.parametrize("fault", RETRIED)
async def test_each_retry_is_told_before_it_begins(fault: str, dest: Path) -> None:
    told, kind, has_begun = RETRIED[fault]
    events: list[Event] = []
    asked: list[int] = []

    def on_event(event: Event) -> None:
        events.append(event)
        if isinstance(event, Retry):
            asked.append(len(index.select("*.whl")))

    async with serving(told) as index, corp(index) as fetcher:
        await fetcher.download(await find(fetcher), dest, on_event=on_event)
    retries = [event for event in events if isinstance(event, Retry)]
    assert asked == [1, 2]
    assert [(event.filename, event.attempt) for event in retries] == [(NAME, 1), (NAME, 2)]
    assert {type(event.error) for event in retries} == {kind}
    assert all(0 <= event.seconds <= 1 for event in retries)
    assert isinstance(events[0], Progress) is has_begun
    assert isinstance(events[-1], Progress)
    assert is_there(dest)


async def test_what_is_given_up_is_no_retry(dest: Path) -> None:
    events: list[Event] = []
    async with serving(Status(503)) as index, corp(index, retries=1) as fetcher:
        outcome = await observe(fetcher.download(await find(fetcher), dest, on_event=events.append), index)
    assert isinstance(outcome.error, ServerFailed)
    assert [type(event) for event in events] == [Retry]


@pytest.mark.parametrize(("fault", "kind"), [((), Progress), ((HangUp(times=1),), Retry)], ids=["progress", "retry"])
async def test_an_error_of_the_callers_own_ends_it(fault: tuple[Fault, ...], kind: type, dest: Path) -> None:
    def on_event(event: Event) -> None:
        if type(event) is kind:
            raise RuntimeError("the terminal is gone")

    async with serving(*fault) as index, corp(index) as fetcher:
        with pytest.raises(RuntimeError, match="terminal"):
            await fetcher.download(await find(fetcher), dest, on_event=on_event)
        assert len(index.select("*.whl")) == 1
    assert left_in(dest) == []


# --- what is there already ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("knows", ["size-and-hash", "hash"])
async def test_a_file_that_matches_is_not_fetched(knows: str, dest: Path) -> None:
    put(dest, WHEEL)
    before = (dest / NAME).stat()
    async with serving(knows=knows) as index, corp(index) as fetcher:
        outcome = await observe(fetcher.download(await find(fetcher), dest), index)
    assert outcome.requests == 0
    assert (outcome.done.bytes, outcome.done.size, outcome.done.sha256) == (0, len(WHEEL), SHA256)
    assert ((dest / NAME).stat().st_ino, (dest / NAME).stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("old", [OTHER, b"", WHEEL[:-1], WHEEL + b"x"], ids=["other", "empty", "short", "long"])
async def test_a_file_that_does_not_match_is_replaced(old: bytes, dest: Path) -> None:
    put(dest, old)
    async with serving() as index, corp(index) as fetcher:
        outcome = await observe(fetcher.download(await find(fetcher), dest), index)
    assert outcome.requests == 1
    assert is_there(dest)


FAILURES: dict[str, tuple[tuple[Fault, ...], tuple[type[FetcherError], ...]]] = {
    "wrong-hash": ((ChangedFile(OTHER, after=0),), (HashMismatch,)),
    "truncated": ((TruncatedFile(100_000),), (Truncated,)),
    "cut": ((Cut(100_000),), (Truncated, Disconnected)),
    "reset": ((Cut(100_000, reset=True),), (Truncated, Disconnected)),
    "stall": ((Stall(100_000, 20),), (TimedOut, Stalled)),
    "slow-drip": ((SlowDrip(2_000),), (Stalled,)),
    "no-answer": ((HangUp(),), (Disconnected,)),
    "503": ((Status(503, headers={"Retry-After": "0"}),), (ServerFailed,)),
    "404": ((Status(404),), (NotFound,)),
    "416": ((Status(416),), (StatusError,)),
    "login-page": ((Login(),), (LoginPage,)),
    "login-page-302": ((Login(redirect=True),), (LoginPage,)),
    "json": ((Status(200, body="json"),), (NotAWheel,)),
    "xml": ((Status(200, body="xml"),), (NotAWheel,)),
    "empty": ((Status(200, body="empty"),), (NotAWheel, Truncated)),
    "text": ((Status(200, body="text"),), (NotAWheel,)),
    "larger-than-the-index-says": ((ChangedFile(WHEEL + b"more", after=0),), (BadReply, HashMismatch)),
    "206-unasked": ((UnaskedPart(100_000),), (BadReply, Truncated)),
    "gzip-under-the-wrong-length": ((Gzip(200, "original"),), (BadReply, Truncated, HashMismatch)),
}


@pytest.mark.parametrize("old", [None, b"what was there"], ids=["new", "replacing"])
@pytest.mark.parametrize("failure", FAILURES)
async def test_a_failure_leaves_what_was_there(failure: str, old: bytes | None, dest: Path) -> None:
    faults, errors = FAILURES[failure]
    if old is not None:
        put(dest, old)
    async with serving(*faults) as index, corp(index, retries=1, timeout=0.1) as fetcher:
        outcome = await observe(fetcher.download(await find(fetcher), dest), index)
    assert isinstance(outcome.error, errors), repr(outcome.error)
    assert str(outcome.error).isprintable()
    assert outcome.requests <= 4
    if old is None:
        assert left_in(dest) == []
    else:
        assert is_there(dest, old)


# --- hashes and lengths ------------------------------------------------------------------------------------------


async def test_a_wrong_hash_is_given_one_restart(dest: Path) -> None:
    async with serving(ChangedFile(OTHER, after=0)) as index, corp(index) as fetcher:
        outcome = await observe(fetcher.download(await find(fetcher), dest), index)
    error = outcome.error
    assert isinstance(error, HashMismatch)
    assert outcome.requests == 2
    assert (error.filename, error.algorithm, error.expected) == (NAME, "sha256", SHA256)
    assert error.actual == hashlib.sha256(OTHER).hexdigest()
    assert left_in(dest) == []


async def test_a_wrong_hash_once_is_healed_by_the_restart(dest: Path) -> None:
    async with serving(Only(ChangedFile(OTHER, after=0), times=1)) as index, corp(index) as fetcher:
        outcome = await observe(fetcher.download(await find(fetcher), dest), index)
    assert outcome.requests == 2
    assert outcome.done.bytes == 2 * len(WHEEL)
    assert is_there(dest)


@pytest.mark.parametrize("hashes", ["upper", "lower"])
async def test_the_case_of_a_hash_does_not_matter(hashes: Any, dest: Path) -> None:
    async with serving(hashes=hashes) as index, corp(index) as fetcher:
        await fetcher.download(await find(fetcher), dest)
    assert is_there(dest)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512", "sha384", "md5"])
async def test_a_hash_in_the_fragment_of_a_url(algorithm: str, dest: Path) -> None:
    """pip's form: `…/demo-1.0-py3-none-any.whl#sha256=…`."""
    right, wrong = (hashlib.new(algorithm, content).hexdigest() for content in (WHEEL, OTHER))
    async with serving() as index, corp(index) as fetcher:
        url = f"{index.files_url}/{NAME}"
        refused = await observe(fetcher.download(f"{url}#{algorithm}={wrong}", dest), index)
        left = left_in(dest)
        await fetcher.download(f"{url}#{algorithm}={right}", dest)
        again = await observe(fetcher.download(f"{url}#egg=demo&{algorithm}={right}", dest), index)
    assert isinstance(refused.error, HashMismatch)
    assert left == []
    assert is_there(dest)
    assert again.requests == 0


async def test_truncation_is_told_apart_from_a_wrong_hash(dest: Path) -> None:
    """ "12 of 40 MB arrived"."""
    async with serving(TruncatedFile(100_000)) as index, corp(index, retries=0) as fetcher:
        outcome = await observe(fetcher.download(await find(fetcher), dest), index)
    assert isinstance(outcome.error, Truncated)
    assert (outcome.error.received, outcome.error.expected) == (100_000, len(WHEEL))
    assert "100000" in str(outcome.error)
    assert str(len(WHEEL)) in str(outcome.error)


@known
@pytest.mark.parametrize("framing", [None, "chunked", "close"])
async def test_a_cut_body_is_never_taken_for_the_file(framing: Any, knows: str, dest: Path) -> None:
    """Until-close framing has no end of its own: then the hash, the size, or the zip's end must tell."""
    framed = () if framing is None else (NoContentLength(framing),)
    async with serving(*framed, Cut(200_000), knows=knows) as index, corp(index, retries=0) as fetcher:
        outcome = await observe(fetcher.download(await find(fetcher), dest), index)
    assert isinstance(outcome.error, Truncated | Disconnected | HashMismatch | BadZip), repr(outcome.error)
    if "size" in knows or framing is None:
        assert isinstance(outcome.error, Truncated | Disconnected)
    assert left_in(dest) == []


@pytest.mark.parametrize("difference", [-1, 1, 100_000, -100_000])
async def test_a_size_that_the_index_has_wrong(difference: int, dest: Path) -> None:
    """The length is checked as the hash is, even though the hash is right."""
    async with serving() as index, corp(index, retries=0) as fetcher:
        url, size = f"{index.files_url}/{NAME}", len(WHEEL) + difference
        file = File(filename=NAME, url=url, hashes={"sha256": SHA256}, size=size)
        outcome = await observe(fetcher.download(file, dest), index)
    assert isinstance(outcome.error, Truncated | BadReply), repr(outcome.error)
    assert left_in(dest) == []


@pytest.mark.parametrize("damage", ["cut", "middle", "end", "trailing"])
@pytest.mark.parametrize("knows", ["size", "nothing"])
async def test_a_wheel_that_nothing_vouches_for_must_be_a_zip_to_its_end(knows: str, damage: str, dest: Path) -> None:
    changed = {
        "cut": WHEEL[:-100],
        "middle": WHEEL.replace(b"PK\x01\x02", b"PK\x00\x00"),
        "end": WHEEL.replace(b"PK\x05\x06", b"PK\x00\x00"),
        "trailing": WHEEL + b"<html>",
    }[damage]
    async with serving(knows=knows, wheel=changed) as index, corp(index, retries=0) as fetcher:
        outcome = await observe(fetcher.download(await find(fetcher), dest), index)
    assert isinstance(outcome.error, BadZip), repr(outcome.error)
    assert left_in(dest) == []


# --- retries -----------------------------------------------------------------------------------------------------

TRANSIENT: dict[str, tuple[Fault, ...]] = {
    "cut": (Cut(100_000, times=1),),
    "cut-chunked": (NoContentLength(), Cut(100_000, times=1)),
    "cut-by-reset": (Cut(100_000, times=1, reset=True),),
    "stall": (Stall(100_000, 20, times=1),),
    "no-answer": (HangUp(times=1),),
    "503": (Status(503, times=2, headers={"Retry-After": "0"}),),
    "429": (Status(429, times=1, headers={"Retry-After": "0"}),),
    "short-once": (Only(TruncatedFile(100_000), times=1),),
}


@pytest.mark.parametrize("fault", TRANSIENT)
async def test_a_transient_fault_is_retried(fault: str, dest: Path) -> None:
    events: list[Event] = []
    async with serving(*TRANSIENT[fault]) as index, corp(index, timeout=0.1) as fetcher:
        outcome = await observe(fetcher.download(await find(fetcher), dest, on_event=events.append), index)
    assert outcome.error is None
    assert outcome.requests <= 3
    assert is_there(dest)
    assert events[-1].received == len(WHEEL)


@pytest.mark.parametrize("framing", [(), (NoContentLength(),)], ids=["length", "chunked"])
@pytest.mark.parametrize("knows", ["size-and-hash", "nothing"])
async def test_a_gzip_encoded_wheel_is_the_wheel(knows: str, framing: tuple[Fault, ...], dest: Path) -> None:
    async with serving(Gzip(200), *framing, knows=knows) as index, corp(index) as fetcher:
        done = await fetcher.download(await find(fetcher), dest)
    assert is_there(dest)
    assert (done.size, done.sha256) == (len(WHEEL), SHA256)


@known
async def test_a_part_that_was_not_asked_for_is_never_stored_as_the_whole(knows: str, dest: Path) -> None:
    async with serving(UnaskedPart(200_000), knows=knows) as index, corp(index, retries=1) as fetcher:
        outcome = await observe(fetcher.download(await find(fetcher), dest), index)
    assert isinstance(outcome.error, BadReply | Truncated), repr(outcome.error)
    assert left_in(dest) == []


# --- links and names ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["file", "dangling", "matching-file"])
async def test_nothing_is_written_through_a_symlink(target: str, tmp_path: Path, dest: Path) -> None:
    outside = tmp_path / "outside"
    content = WHEEL if target == "matching-file" else b"precious"
    link(dest, outside, None if target == "dangling" else content)
    async with serving() as index, corp(index) as fetcher:
        await fetcher.download(await find(fetcher), dest)
    assert (dest / NAME).read_bytes() == WHEEL
    if target == "dangling":
        assert not outside.exists()
    else:
        assert outside.read_bytes() == content
    if target != "matching-file":
        assert not (dest / NAME).is_symlink()


EVIL_PATHS = [
    "..%2fevil-1.0-py3-none-any.whl",
    "%2e%2e%2fevil-1.0-py3-none-any.whl",
    "..%5cevil-1.0-py3-none-any.whl",
    "..%252fevil-1.0-py3-none-any.whl",
    "%2fevil-1.0-py3-none-any.whl",
    "c:%5cevil-1.0-py3-none-any.whl",
    "evil-1.0-py3-none-any.whl%00.txt",
    "evil%00-1.0-py3-none-any.whl",
    "evil%0a-1.0-py3-none-any.whl",
    "evil%1b[31m-1.0-py3-none-any.whl",
    "%2e%2e",
    "..",
    ".",
    "%2e",
    "",
    "nul.whl",
    "CON",
    "aux.tar.gz",
    ".bashrc",
    "-rf.whl",
    "evil-1.0-py3-none-any.whl.",
    "evil-1.0-py3-none-any.whl%20",
    "evil-1.0-py3-none-any.whl:stream",
    "~%2fevil-1.0-py3-none-any.whl",
    "d" * 300 + "-1.0-py3-none-any.whl",
]


def tree_of(root: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(root)): path.read_bytes() if path.is_file() else None for path in root.rglob("*")}


@pytest.mark.parametrize("path", EVIL_PATHS)
async def test_a_name_in_a_url_never_leaves_the_directory(path: str, tmp_path: Path) -> None:
    """The server has a wheel at each of these paths."""
    dest = tmp_path / "a" / "dest"
    dest.mkdir(parents=True)
    wheels = {NAME: WHEEL}
    async with FakeIndex(wheels=wheels, more=[Everywhere(wheels=wheels)]) as index, corp(index) as fetcher:
        outcome = await observe(fetcher.download(f"{index.base}/any/{path}", dest), index)
    assert isinstance(outcome.error, ConfigError | NotFound | DiskError), repr(outcome.error)
    assert str(outcome.error).isprintable()
    assert set(tree_of(tmp_path)) == {"a", "a/dest"}


EVIL_NAMES = [
    "../evil-1.0-py3-none-any.whl",
    "..\\evil-1.0-py3-none-any.whl",
    "/evil-1.0-py3-none-any.whl",
    "sub/evil-1.0-py3-none-any.whl",
    "evil\x00-1.0-py3-none-any.whl",
    "evil\n-1.0-py3-none-any.whl",
    "..",
    "",
    "nul.whl",
    "c:evil-1.0-py3-none-any.whl",
    "evil-1.0-py3-none-any.whl ",
]


@pytest.mark.parametrize("name", EVIL_NAMES)
async def test_a_name_on_an_index_page_never_leaves_the_directory(name: str, tmp_path: Path) -> None:
    dest = tmp_path / "a" / "dest"
    dest.mkdir(parents=True)
    listed = {"filename": name, "url": f"/files/{NAME}", "hashes": {"sha256": SHA256}}
    page = {"meta": {"api-version": "1.1"}, "name": "evil", "files": [listed]}
    faults: dict[str, Fault] = {"/simple/demo/*": ChangedFile(json.dumps(page).encode(), after=0)}
    async with FakeIndex(wheels={NAME: WHEEL}, faults=faults) as index, corp(index) as fetcher:
        files = list((await fetcher.project("demo")).files)
        files.append(File(filename=name, url=f"{index.files_url}/{NAME}", hashes={"sha256": SHA256}))
        for file in files:
            outcome = await observe(fetcher.download(file, dest), index)
            assert isinstance(outcome.error, FetcherError)
            assert str(outcome.error).isprintable()
    assert list(tree_of(tmp_path)) == ["a", "a/dest"]


async def test_a_name_is_decoded_once(dest: Path) -> None:
    """`%2B` is the plus of a local version; `%252B` is not."""
    name = "demo-1.0+cu118-py3-none-any.whl"
    async with FakeIndex(wheels={name: make_wheel(version="1.0+cu118")}) as index, corp(index) as fetcher:
        done = await fetcher.download(f"{index.files_url}/{name.replace('+', '%2B')}", dest)
        twice = await observe(fetcher.download(f"{index.files_url}/{name.replace('+', '%252B')}", dest), index)
    assert done.filename == name
    assert isinstance(twice.error, FetcherError)
    assert left_in(dest) == [name]


@pytest.mark.parametrize(
    "disposition",
    ['attachment; filename="../../evil.whl"', "attachment; filename*=UTF-8''..%2fevil.whl", 'inline; filename="/evil"'],
)
async def test_content_disposition_names_nothing(disposition: str, tmp_path: Path, dest: Path) -> None:
    async with serving(Stating({"Content-Disposition": disposition})) as index, corp(index) as fetcher:
        await fetcher.download(await find(fetcher), dest)
        await fetcher.download(f"{index.files_url}/{NAME}", dest)
    assert is_there(dest)
    assert left_in(tmp_path) == ["dest"]


async def test_a_redirect_does_not_rename(dest: Path) -> None:
    """The name is the index's, wherever the bytes come from."""
    elsewhere = Tree(wheels={NAME: WHEEL}, pages="/nowhere", files="/blobs")
    faults: dict[str, Fault] = {"/files/*": RedirectTo("/blobs", query="response-content-disposition=evil.whl")}
    async with FakeIndex(wheels={NAME: WHEEL}, more=[elsewhere], faults=faults) as index, corp(index) as fetcher:
        await fetcher.download(await find(fetcher), dest)
    assert is_there(dest)


# --- not to the end ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "parts"), [(300_000, 0), (6_000_000, 1)], ids=["small", "large"])
async def test_cancellation_in_the_middle_keeps_no_more_than_a_large_part(size: int, parts: int, dest: Path) -> None:
    wheel = make_wheel(size=size, method=zipfile.ZIP_STORED)
    async with serving(Stall(size - 100_000, 20), wheel=wheel) as index, corp(index) as fetcher:
        file = await find(fetcher)
        before = index.body_bytes
        running = asyncio.create_task(fetcher.download(file, dest))
        await until(lambda: index.body_bytes - before >= size - 100_000)
        await until(lambda: len(list(dest.glob(".*.part"))) == parts)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        left = [Path(name).suffix for name in left_in(dest)]
        index.faults = {}
        await fetcher.download(file, dest)  # and the Fetcher is none the worse for it
    assert left == [".part", ".json"][: 2 * parts]
    assert is_there(dest, wheel)


@pytest.mark.parametrize("at", [0, 1, 2, 3, 5, 8])
async def test_cancellation_at_any_moment_leaves_nothing_or_the_file(at: int, dest: Path) -> None:
    async with serving() as index, corp(index) as fetcher:
        running = asyncio.create_task(fetcher.download(await find(fetcher), dest))
        for _ in range(at * 4):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await until(lambda: not [name for name in left_in(dest) if name != NAME])
    assert left_in(dest) == [] or is_there(dest)


async def test_a_timeout_of_the_caller_leaves_nothing(dest: Path) -> None:
    async with serving(Stall(200_000, 20)) as index, corp(index) as fetcher:
        file = await find(fetcher)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await fetcher.download(file, dest)
    assert left_in(dest) == []


# --- what METADATA has left --------------------------------------------------------------------------------------


async def test_a_small_wheel_read_for_metadata_is_downloaded_for_nothing(dest: Path, tmp_path: Path) -> None:
    small = make_wheel(size=40_000)
    events: list[Event] = []
    async with serving(wheel=small) as index, corp(index) as fetcher:
        file = await find(fetcher)
        await fetcher.metadata(file)
        outcome = await observe(fetcher.download(file, dest, on_event=events.append), index)
        again = await observe(fetcher.download(file, tmp_path / "again"), index)
    assert outcome.requests == 0
    assert (outcome.done.bytes, outcome.done.size) == (0, len(small))
    assert is_there(dest, small)
    assert events[-1].received == len(small)
    assert again.requests <= 1
    assert is_there(tmp_path / "again", small)


async def test_a_wheel_streamed_to_its_end_for_metadata_is_downloaded_for_nothing(dest: Path) -> None:
    async with serving(IgnoreRanges(), knows="nothing") as index, corp(index) as fetcher:
        file = await find(fetcher)
        assert (await fetcher.metadata(file)).verified
        outcome = await observe(fetcher.download(file, dest), index)
    assert outcome.requests == 0
    assert is_there(dest)


def _with_unlisted_metadata(metadata: bytes) -> bytes:
    """A wheel whose first local header is a METADATA that its directory does not list; zipfile never sees that one."""
    first = io.BytesIO()
    with zipfile.ZipFile(first, "w") as archive:
        archive.writestr("demo-1.0.dist-info/METADATA", metadata)
    buffer = io.BytesIO(first.getvalue()[: first.getvalue().index(b"PK\x01\x02")])
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("demo/padding.bin", Random(2).randbytes(2_000_000))
        archive.writestr("demo-1.0.dist-info/METADATA", b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n")
        archive.writestr("demo-1.0.dist-info/WHEEL", b"Wheel-Version: 1.0\n")
        archive.writestr("demo-1.0.dist-info/RECORD", b"")
    return buffer.getvalue()


@known
async def test_unverified_metadata_that_differs_from_the_wheels_is_an_error(knows: str, dest: Path) -> None:
    evil = b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\nRequires-Dist: evil\n"
    wheel = _with_unlisted_metadata(evil)
    assert metadata_of(wheel) != evil
    async with serving(IgnoreRanges(), knows=knows, wheel=wheel) as index, corp(index) as fetcher:
        file = await find(fetcher)
        metadata = await fetcher.metadata(file)
        outcome = await observe(fetcher.download(file, dest), index)
    assert metadata.verified is False
    assert isinstance(outcome.error, MetadataMismatch | BadZip), repr(outcome.error)
    assert left_in(dest) == []


async def test_unverified_metadata_of_another_build_is_an_error(dest: Path) -> None:
    """The file was replaced between METADATA and download, and the index has no hash."""
    old, new = (
        make_wheel(size=1_000_000, metadata_first=True, seed=seed, metadata=f"{HEAD}Summary: build {seed}\n")
        for seed in (1, 2)
    )
    faults = (IgnoreRanges(), ChangedFile(new, after=1))
    async with serving(*faults, knows="nothing", wheel=old) as index, corp(index) as fetcher:
        file = await find(fetcher)
        metadata = await fetcher.metadata(file)
        outcome = await observe(fetcher.download(file, dest), index)
    assert (metadata.raw, metadata.verified) == (metadata_of(old), False)
    assert isinstance(outcome.error, MetadataMismatch), repr(outcome.error)
    assert left_in(dest) == []


@known
async def test_unverified_metadata_that_is_the_wheels_is_no_obstacle(knows: str, dest: Path) -> None:
    wheel = make_wheel(size=1_000_000, metadata_first=True)
    async with serving(IgnoreRanges(), knows=knows, wheel=wheel) as index, corp(index) as fetcher:
        file = await find(fetcher)
        assert not (await fetcher.metadata(file)).verified
        await fetcher.download(file, dest)
    assert is_there(dest, wheel)


HEAD = "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n"


async def test_a_file_already_there_is_compared_with_unverified_metadata(dest: Path) -> None:
    """What was given out must be what is in the file, wherever that comes from."""
    wheel = _with_unlisted_metadata(f"{HEAD}Requires-Dist: evil\n".encode())
    put(dest, wheel)
    async with serving(IgnoreRanges(), wheel=wheel) as index, corp(index) as fetcher:
        file = await find(fetcher)
        await fetcher.metadata(file)
        outcome = await observe(fetcher.download(file, dest), index)
    assert isinstance(outcome.error, ContentError), repr(outcome.value)


# --- connections -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["metadata", "download"])
@pytest.mark.parametrize("concurrency", [1, 4])
async def test_keep_alive_opens_no_more_connections_than_run_at_once(
    operation: str, concurrency: int, dest: Path
) -> None:
    names = [f"p{number}" for number in range(20)]
    wheels = {wheel_filename(name): make_wheel(name, size=150_000) for name in names}
    async with (
        FakeIndex(wheels=wheels) as index,
        Fetcher([index.url], concurrency=concurrency, environ=NOTHING_KNOWN) as fetcher,
    ):

        async def one(name: str) -> object:
            file = await find(fetcher, name)
            return await (fetcher.metadata(file) if operation == "metadata" else fetcher.download(file, dest))

        await asyncio.gather(*(one(name) for name in names))
    assert index.requests == 2 * len(names)
    assert index.connections <= concurrency


async def test_a_limited_rate_holds_for_all_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is the test's own: it stands still but for the pauses."""
    now = 1000.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        await asyncio.sleep(0)

    monkeypatch.setattr("fetcher.transport.response.monotonic", lambda: now)
    monkeypatch.setattr("fetcher.transport.response.sleep", sleep)
    wheels = {wheel_filename(name): make_wheel(name, size=300_000) for name in ("one", "two")}
    async with FakeIndex(wheels=wheels) as index, corp(index, limit_rate=400_000) as fetcher:
        files = [await find(fetcher, name) for name in ("one", "two")]
        began = now
        done = await asyncio.gather(*(fetcher.download(file, tmp_path) for file in files))
    total = sum(download.size for download in done)
    assert total <= 400_000 * (now - began + BURST) + 1
