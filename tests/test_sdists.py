"""A source distribution is the archive that its name says, or nothing is written; with or without a digest."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from fake_faults import ChangedFile, Cut, Fault, Gzip, LoginPage as Login, Stating, Status, TruncatedFile
from fake_index import FakeIndex, Guard, basic
from fake_pages import KNOWN
from fake_wheels import make_wheel
from wire_checks import corp, find, left_in, observe

from fetcher import BadReply, Disconnected, Download, FetcherError, LoginPage, NotAnSdist, Truncated

if TYPE_CHECKING:
    from pathlib import Path

    from wire_checks import Outcome

pytestmark = pytest.mark.usefixtures("_no_blocking", "_short_waits")

SDIST = "demo-1.0.tar.gz"
known = pytest.mark.parametrize("knows", KNOWN)


def put(dest: Path, name: str, content: bytes) -> None:
    """What an earlier run has left under the file's name."""
    dest.mkdir()
    (dest / name).write_bytes(content)


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo("demo-1.0/data")
        member.size = 40_000
        archive.addfile(member, io.BytesIO(Random(7).randbytes(member.size)))
    return buffer.getvalue()


TAR, TAR_GZ = _tar(), gzip.compress(_tar(), mtime=0)
ARCHIVES = {
    "gzip": TAR_GZ,
    "bzip2": bz2.compress(TAR),
    "xz": lzma.compress(TAR),
    "tar": TAR,
    "zip": make_wheel(size=40_000),
}
SDISTS = {
    "demo-1.0.tar.gz": "gzip",
    "demo-1.0.tgz": "gzip",
    "demo-1.0.zip": "zip",
    "demo-1.0.tar.bz2": "bzip2",
    "demo-1.0.tbz": "bzip2",
    "demo-1.0.tar.xz": "xz",
    "demo-1.0.txz": "xz",
    "demo-1.0.tar": "tar",
}


def offering(name: str, *faults: Fault, knows: str = "nothing", body: bytes | None = None) -> FakeIndex:
    """An index with one source distribution, of which it tells no digest."""
    content = ARCHIVES[SDISTS[name]] if body is None else body
    return FakeIndex(wheels={name: content}, faults={name: faults}, **KNOWN[knows])


async def bring(index: FakeIndex, name: str, dest: Path, **more: Any) -> Outcome[Download]:
    async with corp(index, **{"retries": 0, "timeout": 0.5, **more}) as fetcher:
        return await observe(fetcher.download(await find(fetcher, ending=name), dest), index)


@known
@pytest.mark.parametrize("name", SDISTS)
async def test_an_sdist_of_every_form(name: str, knows: str, dest: Path) -> None:
    async with offering(name, knows=knows) as index:
        outcome = await bring(index, name, dest)
    assert (outcome.done.bytes, outcome.requests) == (len(ARCHIVES[SDISTS[name]]), 1)
    assert left_in(dest) == [name]
    assert (dest / name).read_bytes() == ARCHIVES[SDISTS[name]]


OTHER_KINDS = [
    (name, kind) for name, own in SDISTS.items() for kind in [*ARCHIVES, "json", "xml", "text", "empty"] if kind != own
]


@pytest.mark.parametrize("old", [None, b"what was there"], ids=["new", "replacing"])
@pytest.mark.parametrize(("name", "kind"), OTHER_KINDS)
async def test_what_is_no_sdist_of_its_name(name: str, kind: Any, old: bytes | None, dest: Path) -> None:
    if old is not None:
        put(dest, name, old)
    fault = ChangedFile(ARCHIVES[kind], after=0) if kind in ARCHIVES else Status(200, body=kind)
    async with offering(name, fault) as index:
        outcome = await bring(index, name, dest)
    error = outcome.error
    assert isinstance(error, NotAnSdist), repr(error)
    assert (error.filename, error.kind) == (name, "other" if kind == "text" else kind)
    assert bool(error.detail) == (kind in ("json", "xml"))
    assert (outcome.requests, error.exit_code) == (1, 5)
    assert left_in(dest) == ([] if old is None else [name])
    assert old is None or (dest / name).read_bytes() == old


@pytest.mark.parametrize("redirect", [False, True])
@pytest.mark.parametrize("name", SDISTS)
async def test_a_login_page_is_no_sdist(name: str, redirect: bool, dest: Path) -> None:
    page = Login(redirect=redirect, title="Corporate sign-in", lead=" " * 3000, size=50_000)
    async with offering(name, page) as index:
        outcome = await bring(index, name, dest)
    error = outcome.error
    assert isinstance(error, LoginPage), repr(error)
    assert (error.expected, error.title, error.index) == (name, "Corporate sign-in", "corp")
    assert left_in(dest) == []


@pytest.mark.parametrize(
    ("page", "kind"),
    [
        (b" " * 3000 + b"<html><title>Corporate sign-in</title>" + b"<p>" * 30_000, LoginPage),
        (b'{"message": "no token"}', NotAnSdist),
        (b"<?xml version='1.0'?><Error><Message>no token</Message></Error>", NotAnSdist),
    ],
    ids=["html", "json", "xml"],
)
@pytest.mark.parametrize("name", SDISTS)
async def test_a_page_that_was_compressed_is_no_sdist(
    name: str, page: bytes, kind: type[FetcherError], dest: Path
) -> None:
    """It begins as a .tar.gz does."""
    label = Stating({"Content-Encoding": "gzip", "Content-Type": "text/html"})
    async with offering(name, label, body=gzip.compress(page)) as index:
        outcome = await bring(index, name, dest)
    assert isinstance(outcome.error, kind), repr(outcome.error)
    assert ("'Corporate sign-in'" if kind is LoginPage else "(no token)") in str(outcome.error)
    assert left_in(dest) == []


async def test_a_login_page_in_the_place_of_an_sdist_is_a_challenge(dest: Path, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login user password pw\n")
    (tmp_path / "netrc").chmod(0o600)
    async with offering(SDIST) as index:
        index.auth = {"/files": Guard((basic("user", "pw"),), otherwise=Login())}
        outcome = await bring(index, SDIST, dest, environ={"NETRC": str(tmp_path / "netrc")})
    assert [wire.authorization is not None for wire in outcome.wires] == [False, True]
    assert (dest / SDIST).read_bytes() == TAR_GZ


@known
async def test_an_sdist_that_is_labelled_as_encoded_is_left_as_it_is(knows: str, dest: Path) -> None:
    async with offering(SDIST, Stating({"Content-Encoding": "gzip"}), knows=knows) as index:
        await bring(index, SDIST, dest)
    assert (dest / SDIST).read_bytes() == TAR_GZ


@known
async def test_an_sdist_that_is_compressed_once_more_is_refused(knows: str, dest: Path) -> None:
    async with offering(SDIST, Gzip(), knows=knows) as index:
        outcome = await bring(index, SDIST, dest)
    assert isinstance(outcome.error, BadReply), repr(outcome.error)
    assert outcome.requests == 1
    assert left_in(dest) == []


@pytest.mark.parametrize(
    ("knows", "fault"),
    [
        ("nothing", Cut(20_000)),
        ("size", Cut(20_000)),
        ("size", TruncatedFile(20_000)),
        ("nothing", Cut(10)),
        ("hash", Cut(20_000)),
    ],
)
@pytest.mark.parametrize("name", SDISTS)
async def test_a_cut_sdist_is_truncated_without_a_digest_too(name: str, knows: str, fault: Fault, dest: Path) -> None:
    async with offering(name, fault, knows=knows) as index:
        outcome = await bring(index, name, dest)
    assert isinstance(outcome.error, Truncated | Disconnected), repr(outcome.error)
    assert name not in left_in(dest)


@pytest.mark.parametrize("kind", ["json", "text"])
async def test_a_file_of_another_name_may_be_anything(kind: Any, dest: Path) -> None:
    async with FakeIndex(faults={"notes.txt": Status(200, body=kind)}) as index, corp(index) as fetcher:
        done = await fetcher.download(f"{index.files_url}/notes.txt", dest)
    assert left_in(dest) == ["notes.txt"]
    assert done.size > 0


@pytest.mark.parametrize(
    ("fault", "error"),
    [(Login(), LoginPage), (Status(200, body="html"), LoginPage), (Status(200, body="empty"), NotAnSdist)],
)
async def test_but_no_page_and_not_nothing(fault: Fault, error: type[FetcherError], dest: Path) -> None:
    async with FakeIndex(faults={"notes.txt": fault}) as index, corp(index) as fetcher:
        with pytest.raises(error):
            await fetcher.download(f"{index.files_url}/notes.txt", dest)
    assert left_in(dest) == []
