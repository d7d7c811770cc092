"""Whatever a server does and whatever lies there: the right bytes or one typed error, and nothing misplaced.

Each row of `survival_rows` is driven twice: through the library, and through the command line, the first of each kind
in a process of its own.
What curl, wget2, aria2, axel, pypdl, parfive and pooch make of the same faults is why they are here: all save a login
page as the wheel, none sends If-Range, curl mixes old and new bytes, axel and parfive store what a wrong 206 brings,
parfive writes `../evil.whl` outside of its folder, aria2 keeps nothing after SIGKILL.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import re
import signal
import socket
import stat
import sys
import threading
import zipfile
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import pytest
from click.testing import CliRunner
from fake_faults import ChangedFile, Cut, LoginPage, Presigned, RedirectTo, SlowDrip, Stall, Status
from fake_index import FakeIndex, Guard, basic
from fake_pages import Everywhere
from fake_wheels import make_wheel, wheel_filename
from listening import stop_listening
from survival_rows import CUT, ELSEWHERE, EVIL, GROUPS, IN_URLS, LARGE, NAME, OK, OTHER, SECRET, Row
from wire_checks import NOTHING_KNOWN, left_in, until

import fetcher as fetcher_package
from fetcher import Fetcher, FetcherError, Index
from fetcher.cli.main import main

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

    from click.testing import Result
    from fake_faults import Fault
    from fake_index import Wire

pytestmark = pytest.mark.usefixtures("_no_blocking", "_short_waits", "_kept_logging")

FIELDS = [
    "target",
    "filename",
    "url",
    "index",
    "path",
    "size",
    "sha256",
    "bytes",
    "resumed_from",
    "from_cache",
    "seconds",
]
# What the README says of each error.
EXIT_CODES = {
    **dict.fromkeys(["ConfigError"], 2),
    **dict.fromkeys(["MissingCredentials", "Unauthorized", "Forbidden", "InsecureRedirect", "LoginPage"], 3),
    **dict.fromkeys(["ConnectFailed", "Disconnected", "TimedOut", "Stalled", "Truncated", "BadReply"], 4),
    **dict.fromkeys(["TooManyRedirects", "NotFound", "Throttled", "ServerFailed", "StatusError"], 4),
    **dict.fromkeys(["NotAWheel", "BadZip", "BadPage", "MetadataMissing", "MetadataMismatch", "HashMismatch"], 5),
    **dict.fromkeys(["DiskError"], 6),
}
SAYS: dict[str, dict[str, Any]] = {
    "size-and-hash": {"page_format": "json"},
    "hash": {"page_format": "html"},
    "size": {"page_format": "json", "hashes": "none"},
    "nothing": {"page_format": "html", "hashes": "none"},
}
# Nothing here takes a tenth of it, on any machine: what does, hangs.
HANGS = 60
# Two URLs, a reason and what to do; what a server says at length is quoted in part.
SENTENCE = 2000
# Each process keeps a core busy.
AT_ONCE = 3
ONE_COMMAND = threading.Lock()


@pytest.fixture
def _kept_logging() -> Iterator[None]:
    """What the command does to logging is undone."""
    logger = logging.getLogger("fetcher")
    handlers, level = logger.handlers[:], logger.level
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)


# --- the two servers ---------------------------------------------------------------------------------------------


@dataclass
class Speaker:
    """Says a row's `raw` to whoever connects; `requests` counts them."""

    row: Row
    requests: int = 0
    _heard: dict[asyncio.Task[None], asyncio.StreamWriter] = field(default_factory=dict)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._hear, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await stop_listening(self._server)
        for writer in self._heard.values():
            writer.transport.abort()
        await asyncio.gather(*self._heard)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests += 1
        self._heard[asyncio.create_task(self._speak(reader, writer))] = writer

    async def _speak(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            if self.row.endless:
                writer.write(OK if self.row.raw.startswith(b"X-") else b"")
            while not writer.is_closing():
                writer.write(self.row.raw)
                await writer.drain()
                if not self.row.endless:
                    break
        writer.close()


@dataclass(frozen=True)
class Site:
    """The index of a row, and another server that has the same files."""

    row: Row
    index: FakeIndex
    other: FakeIndex
    speaker: Speaker

    @property
    def log(self) -> list[Wire]:
        return [*self.index.log, *self.other.log]

    @property
    def index_url(self) -> str:
        return self.index.url_as(f"reader:{SECRET}") if self.row.login else self.index.url

    @property
    def target(self) -> str:
        """What is asked for."""
        row, url = self.row, f"{self.index.files_url}/{self.row.filename}"
        match row.by:
            case "name":
                return row.filename.partition("-")[0]
            case "url":
                return url
            case "digest":
                return f"{url}#sha256={hashlib.sha256(row.content).hexdigest()}"
            case "wrong digest":
                return f"{url}#sha256={'0' * 64}"
            case "raw":
                return f"{self.speaker.url}/{row.filename}"
            case "nobody":
                return f"http://127.0.0.1:{unused_port()}/{row.filename}"
            case path:
                return f"{self.index.base}/{path}"

    def break_(self) -> None:
        """The file is the newer one, and the faults are there."""
        self.index.wheels = self.other.wheels = {self.row.filename: self.row.content}
        self.index.faults = {path: self._placed(faults) for path, faults in self.row.faults.items()}

    def mend(self) -> None:
        self.index.faults = {}

    def _placed(self, faults: Any) -> Any:
        if isinstance(faults, tuple):
            return tuple(self._placed(fault) for fault in faults)
        if isinstance(faults, RedirectTo | Presigned) and faults.base == ELSEWHERE:
            return replace(faults, base=self.other.files_url)
        return faults


def unused_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


@asynccontextmanager
async def serving(row: Row) -> AsyncIterator[Site]:
    wheels = {row.filename: row.wheel}
    auth = {"/": Guard((basic("reader", SECRET),))} if row.login else {}
    async with (
        FakeIndex(wheels=wheels, more=[Everywhere(wheels=wheels)], auth=auth, **SAYS[row.says]) as index,
        FakeIndex(wheels=wheels) as other,
        Speaker(row) as speaker,
    ):
        yield Site(row, index, other, speaker)


# --- the place ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """A destination among other files that nobody may touch."""

    root: Path

    @classmethod
    def made(cls, root: Path) -> Place:
        place = cls(root)
        for directory in (place.dest, root / "home", root / "tmp", root / "cwd", root / "place" / "sub"):
            directory.mkdir(parents=True)
        for path in ("precious", "evil.whl", "evil-1.0-py3-none-any.whl", "sub/evil-1.0-py3-none-any.whl"):
            (root / "place" / path).write_bytes(b"precious")
        for directory in (root, root / "home", root / "cwd"):
            (directory / ".bashrc").write_bytes(b"precious")
        return place

    @property
    def dest(self) -> Path:
        return self.root / "place" / "dest"

    @property
    def outside(self) -> dict[str, tuple[int, object]]:
        """All that does not lie in the destination: its mode, and bytes or where it leads."""
        return {
            str(path.relative_to(self.root)): (path.lstat().st_mode, content_of(path))
            for path in self.root.rglob("*")
            if self.dest not in path.parents
        }

    @property
    def parts(self) -> list[Path]:
        """The hidden files of parts."""
        return [path for path in self.dest.iterdir() if path.name.startswith(".")]

    @property
    def part(self) -> Path:
        (part,) = self.dest.glob(".*.part")
        return part


def content_of(path: Path) -> object:
    if path.is_symlink():
        return path.readlink()
    return path.read_bytes() if stat.S_ISREG(path.lstat().st_mode) else None


# --- two ways to ask ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ending:
    """What a run came to: the class name of its error or "right", and the fields of `--json`."""

    ends: str
    message: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)


async def by_library(site: Site, place: Place) -> Ending:
    index = Index(site.index_url, name="default", default=True)
    row = site.row
    async with Fetcher([index], retries=row.retries, timeout=row.timeout, environ=NOTHING_KNOWN) as fetcher:
        try:
            return await downloaded(fetcher, site.target, place.dest)
        except FetcherError as error:
            failure = error
    assert EXIT_CODES[type(failure).__name__] == failure.exit_code
    return Ending(type(failure).__name__, str(failure))


async def downloaded(fetcher: Fetcher, target: str, dest: Path) -> Ending:
    """By a URL, or the last wheel of a project."""
    if "://" in target:
        done = await fetcher.download(target, dest)
    else:
        wheels = [file for file in (await fetcher.project(target)).files if file.filename.endswith(".whl")]
        if not wheels:
            return Ending("NotFound", "nothing on the page is a wheel")
        done = await fetcher.download(wheels[-1], dest)
    return Ending("right", fields={name: getattr(done, name) for name in FIELDS[1:]} | {"path": str(done.path)})


async def start(place: Place, *arguments: str) -> Process:
    """`fetcher get --json` in a process of its own, which knows nothing of the user's settings."""
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "FETCHER_NO_CACHE") if name in os.environ}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "fetcher", "get", *arguments, "--dest", str(place.dest), "--json", "--no-config"),
        env={
            **kept,
            **NOTHING_KNOWN,
            "HOME": str(place.root / "home"),
            "TMPDIR": str(place.root / "tmp"),
            "PYTHONPATH": str(Path(fetcher_package.__file__).parents[1]),
        },
        cwd=place.root / "cwd",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@dataclass(frozen=True)
class Done:
    """How the command ended and what it wrote: to stdout, and to stderr besides warnings."""

    code: int | None
    objects: list[dict[str, Any]]
    said: list[str]

    @property
    def errors(self) -> list[str]:
        return [line.removeprefix("error: ") for line in self.said if line.startswith("error: ")]


async def finished(process: Process) -> Done:
    """Wait for its end."""
    try:
        async with asyncio.timeout(HANGS):
            stdout, stderr = (text.decode() for text in await process.communicate())
    except TimeoutError:
        process.kill()
        raise
    return look_at(process.returncode, stdout, stderr)


def look_at(code: int | None, stdout: str, stderr: str) -> Done:
    """What it wrote, as a script reads it."""
    assert SECRET not in stdout + stderr
    assert "Traceback" not in stderr
    assert all(line.isprintable() for line in (stdout + stderr).split("\n")), stdout + stderr
    objects = [json.loads(line) for line in stdout.splitlines()]
    for found in objects:
        assert list(found) == (["target", "error", "message"] if "error" in found else FIELDS)
    done = Done(code, objects, [line for line in stderr.splitlines() if not line.startswith("WARNING ")])
    # One line for each failure, the very message; and a summary of many files.
    assert done.errors == [" ".join(found["message"].split()) for found in objects if "error" in found]
    others = [line for line in done.said if not line.startswith("error: ")]
    assert all(re.match(r"\d+( of \d+)? files: |interrupted: ", line) for line in others), stderr
    return done


def arguments_of(site: Site) -> tuple[str, ...]:
    return (site.target, "-i", site.index_url, "--retries", str(site.row.retries), "--timeout", str(site.row.timeout))


async def by_process(site: Site, place: Place) -> Ending:
    return ending_of(await finished(await start(place, *arguments_of(site))))


async def by_command(site: Site, place: Place) -> Ending:
    """The same in a thread beside the event loop: a process takes half a second to begin."""
    environ = {**NOTHING_KNOWN, "HOME": str(place.root / "home")}
    command = ["get", *arguments_of(site), "--dest", str(place.dest), "--json", "--no-config"]

    def invoke() -> Result:
        with ONE_COMMAND:  # stdout is one for all
            return CliRunner(env=environ).invoke(main, command)

    done = await asyncio.to_thread(invoke)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return ending_of(look_at(done.exit_code, done.stdout, done.stderr))


def ending_of(done: Done) -> Ending:
    (found,) = done.objects
    if "error" not in found:
        assert (done.code, done.said) == (0, [])
        return Ending("right", fields=found)
    assert done.code == EXIT_CODES.get(found["error"]), found
    return Ending(found["error"], found["message"])


# --- a row -------------------------------------------------------------------------------------------------------


async def drive(row: Row, way: Callable[[Site, Place], Awaitable[Ending]], root: Path) -> None:
    """One row one way: what came before, the run, and all that must hold after it."""
    place = Place.made(root)
    async with serving(row) as site:
        if row.begun is not None:
            await interrupt(site, place)
        if row.spoil is not None:
            row.spoil(place.part)
        if row.put is not None:
            row.put(place.dest)
        lay = {path.name: content_of(path) for path in place.dest.iterdir()}
        outside, asked = place.outside, len(site.log)
        site.break_()
        async with asyncio.timeout(HANGS):
            ending = await way(site, place)
        assert ending.ends in row.ends.split("|"), ending
        assert place.outside == outside
        check_wires(site, asked)
        if ending.ends == "right":
            check_right(row, ending, place, sum(wire.body_bytes for wire in site.log), lay)
        else:
            check_failed(row, ending, place, lay)
            await check_next(site, place)


async def interrupt(site: Site, place: Place) -> None:
    """A run that ends after `CUT` bytes."""
    row = site.row
    site.index.faults = {"/files/*": (*(row.begun or ()), Cut(CUT))}
    before = replace(row, retries=0, now=None)
    ending = await by_library(replace(site, row=before), place)
    assert ending.ends in ("Truncated", "Disconnected"), ending


def check_wires(site: Site, before: int) -> None:
    wires, row = site.log[before:], site.row
    asked = [(wire.status, wire.range, wire.body_bytes, wire.target) for wire in wires]
    assert len(wires) + site.speaker.requests <= row.requests, asked
    assert sum(wire.body_bytes for wire in wires) <= row.requests * (len(row.content) + (1 << 20)), asked
    ours = basic("reader", SECRET)
    assert ours not in [wire.authorization for wire in site.other.log]
    assert {wire.authorization for wire in site.index.log} <= ({ours} if row.login else {None})
    assert not [wire for wire in wires if wire.headers.get("If-Range", "").startswith("W/")]


def check_right(row: Row, ending: Ending, place: Place, sent: int, lay: Mapping[str, object]) -> None:
    """The file and nothing else, and a true account of it."""
    path = place.dest / row.filename
    foreign = [name for name in lay if name.startswith(".") and row.keeps == "either"]
    assert [name for name in left_in(place.dest) if name not in foreign] == [row.filename]
    assert stat.S_ISREG(path.lstat().st_mode)
    assert path.read_bytes() == row.content
    fields = ending.fields
    assert (fields["filename"], fields["path"]) == (row.filename, str(path))
    assert (fields["size"], fields["sha256"]) == (len(row.content), hashlib.sha256(row.content).hexdigest())
    assert 0 <= fields["bytes"] <= sent
    begun = [len(content) for name, content in lay.items() if name.endswith(".part") and isinstance(content, bytes)]
    if row.rest:
        assert [fields["resumed_from"]] == begun
    # Where all is here and no digest tells, the last byte is asked for.
    assert fields["resumed_from"] in [None, *begun, *(size - 1 for size in begun)]


def check_failed(row: Row, ending: Ending, place: Place, lay: Mapping[str, object]) -> None:
    """What was there is there, and at most a part besides."""
    assert ending.message.isprintable()
    assert len(ending.message) <= SENTENCE
    assert SECRET not in ending.message
    left = {path.name: content_of(path) for path in place.dest.iterdir()}
    hidden = {name for name in left if name.startswith(".")}
    assert {name: left[name] for name in left.keys() - hidden} == {
        name: content for name, content in lay.items() if not name.startswith(".")
    }
    if row.keeps == "nothing":
        assert not hidden
    if row.keeps == "part":
        assert len(hidden) == 2
    if hidden:
        held = place.part.read_bytes()
        assert held == row.content[: len(held)]


async def check_next(site: Site, place: Place) -> None:
    """Nothing that a failed run has left stands in the way of the next, and it goes on from what was kept."""
    row = site.row
    if row.by not in ("name", "url", "digest") or "DiskError" in row.ends or "/simple/*" in row.faults:
        return
    lay = {path.name: content_of(path) for path in place.parts}
    site.mend()
    ending = await by_library(site, place)
    check_right(replace(row, rest=bool(lay)), ending, place, sys.maxsize, lay)


# --- the table ---------------------------------------------------------------------------------------------------

ROWS = {f"{group}: {row.name}": (group, row) for group, rows in GROUPS.items() for row in rows}
# A row's name to what went wrong, if anything.
Seen: TypeAlias = "dict[str, ExceptionGroup[Exception] | None]"
# The first of its kind has a process of its own.
FIRST = {row.kind: row for rows in reversed(GROUPS.values()) for row in reversed(rows)}


@pytest.fixture(scope="module")
def seen() -> Seen:
    """What became of the rows: those of a group are driven when the first of them is asked for, some at a time."""
    return {}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.skipif(os.name == "nt" and row.posix, reason="no links and pipes"))
             for name, (_, row) in ROWS.items()]
)  # fmt: skip
async def test_row(name: str, seen: Seen, tmp_path_factory: pytest.TempPathFactory) -> None:
    group, _ = ROWS[name]
    if name not in seen:
        seen.update(await drive_all(group, tmp_path_factory.mktemp("rows")))
    error = seen[name]
    if error is not None:
        raise error


async def drive_all(group: str, root: Path) -> Seen:
    room = asyncio.Semaphore(AT_ONCE)

    async def one(number: int, row: Row) -> ExceptionGroup[Exception] | None:
        errors = []
        async with room:
            for way in (by_library, by_process if FIRST[row.kind] is row else by_command):
                try:
                    await drive(row, way, root / f"{number}-{way.__name__}")
                except Exception as error:  # noqa: BLE001 - each is told of its own test
                    error.add_note(way.__name__)
                    errors.append(error)
        return ExceptionGroup(str(row), errors) if errors else None

    results = await asyncio.gather(*(one(number, row) for number, row in enumerate(GROUPS[group])))
    return {f"{group}: {row.name}": result for row, result in zip(GROUPS[group], results, strict=True)}


# --- many files at once ------------------------------------------------------------------------------------------


WHEELS = {wheel_filename(name): make_wheel(name, size=200_000) for name in ("one", "two", "three", "four")}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.made(tmp_path / "root")


async def get(place: Place, index: FakeIndex, *targets: str) -> Done:
    """A process that leaves everything outside of the destination as it was."""
    outside = place.outside
    done = await finished(await start(place, *targets, "-i", index.url, "--retries", "1"))
    assert place.outside == outside
    return done


def listing(place: Place, *targets: str) -> Path:
    listed = place.root / "cwd" / "requirements.txt"
    listed.write_text("\n".join(targets))
    return listed


@pytest.mark.parametrize(
    ("fault", "error"),
    [(LoginPage(), "LoginPage"), (ChangedFile(b"PK", after=0), "Truncated"), (Cut(1000), "Truncated|Disconnected")],
    ids=["login page", "another file", "cut"],
)
async def test_one_of_several_fails(fault: Fault, error: str, place: Place) -> None:
    """Exit 1, the rest done, the outcomes in the order of the targets."""
    names = ["one", "two", "three", "four"]
    failing = wheel_filename("two")
    async with FakeIndex(wheels=WHEELS, faults={failing: fault}) as index:
        done = await get(place, index, "-r", str(listing(place, *names)))
        index.faults = {}
        again = await get(place, index, "-r", str(listing(place, *names)))
    assert done.code == 1
    assert [found["target"] for found in done.objects] == names
    assert [found.get("error") for found in done.objects[:1] + done.objects[2:]] == [None] * 3
    assert done.objects[1]["error"] in error.split("|")
    assert again.code == 0
    assert [found["bytes"] for found in again.objects] == [0, len(WHEELS[failing]), 0, 0]
    assert {path.name: path.read_bytes() for path in place.dest.iterdir()} == WHEELS


@pytest.mark.parametrize(
    ("faults", "code"),
    [([Status(404), Status(410), Status(500), Cut(10)], 4), ([LoginPage(), Status(401), Status(403), LoginPage()], 3),
     ([Status(200, body="json"), Status(200, body="text")] * 2, 5), ([Status(404), LoginPage()] * 2, 1)],
    ids=["network", "credentials", "content", "several kinds"],
)  # fmt: skip
async def test_all_of_several_fail(faults: list[Fault], code: int, place: Place) -> None:
    async with FakeIndex(wheels=WHEELS, faults=dict(zip(WHEELS, faults, strict=True))) as index:
        done = await get(place, index, "one", "two", "three", "four")
    assert done.code == code
    assert [found["target"] for found in done.objects] == ["one", "two", "three", "four"]
    assert all("error" in found for found in done.objects)
    assert left_in(place.dest) == []


async def test_names_of_all_kinds_at_once(place: Place) -> None:
    """A process gets them as arguments; none of them begins with a dash."""
    evil = [path for path, ends in IN_URLS.items() if ends == "ConfigError"]
    wheels = {EVIL: make_wheel("evil")}
    async with FakeIndex(wheels=wheels, more=[Everywhere(wheels=wheels)]) as index:
        urls = [f"{index.base}/any/{path}" for path in evil]
        done = await get(place, index, *urls)
    assert done.code == 2
    assert [found["error"] for found in done.objects] == ["ConfigError"] * len(evil)
    assert index.log == []
    assert left_in(place.dest) == []


async def test_one_file_under_several_targets_is_brought_once(place: Place) -> None:
    name = wheel_filename("one")
    async with FakeIndex(wheels=WHEELS) as index:
        url = f"{index.files_url}/{name}"
        done = await get(place, index, url, "one", url, f"{url}?again")
        asked = index.select("*.whl")
    assert done.code == 0
    assert {found["path"] for found in done.objects} == {str(place.dest / name)}
    assert len(asked) <= 3, "one for a URL without a digest, with it, with a query"
    assert {path.name: path.read_bytes() for path in place.dest.iterdir()} == {name: WHEELS[name]}


async def test_two_files_of_one_name(place: Place) -> None:
    """The one or the other, and never a mixture."""
    async with FakeIndex(wheels={NAME: LARGE}) as index, FakeIndex(wheels={NAME: OTHER}) as other:
        done = await get(place, index, f"{index.files_url}/{NAME}", f"{other.files_url}/{NAME}")
    assert done.code in (0, 1)
    assert left_in(place.dest) == [NAME]
    assert (place.dest / NAME).read_bytes() in (LARGE, OTHER)


@pytest.mark.parametrize("says", ["size-and-hash", "nothing"])
async def test_two_processes_on_one_destination(says: str, place: Place) -> None:
    async with FakeIndex(wheels={NAME: LARGE}, faults={"*.whl": SlowDrip(20_000_000)}, **SAYS[says]) as index:
        done = await asyncio.gather(*(get_beside(place, index) for _ in range(2)))
        asked = index.select("*.whl")
    assert [one.code for one in done] == [0, 0]
    assert {found["sha256"] for one in done for found in one.objects} == {hashlib.sha256(LARGE).hexdigest()}
    assert len(asked) <= 2
    assert left_in(place.dest) == [NAME]
    assert (place.dest / NAME).read_bytes() == LARGE


async def get_beside(place: Place, index: FakeIndex) -> Done:
    return await finished(await start(place, "demo", "-i", index.url))


# --- ended in the middle -----------------------------------------------------------------------------------------


async def stop(process: Process, place: Place, number: signal.Signals) -> str:
    """Send a signal when more has been written; return what the process said."""
    before = held(place)
    async with asyncio.timeout(HANGS):
        await until(lambda: held(place) > before or process.returncode is not None)
        process.send_signal(number)
        stdout, stderr = await process.communicate()
    assert stdout == b""
    return stderr.decode()


def held(place: Place) -> int:
    """The bytes of the one part."""
    return sum(part.stat().st_size for part in place.dest.glob(".*.part"))


@pytest.fixture
def _heeded_interrupt() -> Iterator[None]:
    """A shell's background jobs ignore SIGINT, and so does whatever they start, unless it is heeded here."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


GO_ON = "interrupted: run the same command again to go on\n"


@pytest.mark.skipif(os.name == "nt", reason="signals are not sent there")
@pytest.mark.usefixtures("_heeded_interrupt")
@pytest.mark.parametrize(
    ("name", "code", "says", "last_words"),
    [("SIGKILL", -9, "size-and-hash", ""), ("SIGKILL", -9, "nothing", ""), ("SIGTERM", 143, "size-and-hash", GO_ON),
     ("SIGINT", 130, "nothing", GO_ON)],
)  # fmt: skip
async def test_the_next_run_transfers_only_the_rest(
    name: str, code: int, says: str, last_words: str, place: Place
) -> None:
    async with FakeIndex(wheels={NAME: LARGE}, **SAYS[says]) as index:
        outside = place.outside
        index.faults = {"*.whl": Stall(CUT, 60)}
        process = await start(place, "demo", "-i", index.url)
        said = await stop(process, place, signal.Signals[name])
        index.faults = {}
        part = held(place)
        assert part
        assert len(left_in(place.dest)) == 2
        done = await get(place, index, "demo")
        last = index.select("*.whl")[-1]
    assert process.returncode == code
    assert said == last_words
    assert done.code == 0
    assert (last.range, last.body_bytes) == (f"bytes={part}-{len(LARGE) - 1}", len(LARGE) - part)
    assert ("If-Range" in last.headers) is (says == "nothing")
    assert [(found["resumed_from"], found["bytes"]) for found in done.objects] == [(part, len(LARGE) - part)]
    assert left_in(place.dest) == [NAME]
    assert (place.dest / NAME).read_bytes() == LARGE
    assert place.outside == outside


@pytest.mark.skipif(os.name == "nt", reason="signals are not sent there")
async def test_killed_again_and_again(place: Place) -> None:
    """Each run adds to what the earlier ones have left."""
    large = make_wheel(size=12_000_000, method=zipfile.ZIP_STORED)
    parts = [0]
    async with FakeIndex(wheels={NAME: large}) as index:
        for reached in (4_000_000, 8_000_000):
            index.faults = {"*.whl": Stall(reached - parts[-1], 60)}
            await stop(await start(place, "demo", "-i", index.url), place, signal.SIGKILL)
            parts.append(held(place))
        index.faults = {}
        done = await get(place, index, "demo")
    assert parts == sorted(set(parts))
    assert [(found["resumed_from"], found["bytes"]) for found in done.objects] == [(parts[-1], len(large) - parts[-1])]
    assert left_in(place.dest) == [NAME]
    assert (place.dest / NAME).read_bytes() == large
