"""Everything that can go wrong with a download, as rows: what the server does, what lies there, how it must end.

`test_survival` drives each row through the library and through the command line. A row says what must come of it, not
how: the right bytes under the right name, or one typed error and nothing misplaced.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zipfile
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from fake_faults import (
    ChangedFile,
    ContentType,
    Cut,
    Etag,
    Fault,
    Gzip,
    HangUp,
    IgnoreIfRange,
    IgnoreRanges,
    LoginPage,
    LongBody,
    MultipartRange,
    NoContentLength,
    Only,
    PartialAs200,
    Presigned,
    RangesRefused,
    RedirectChain,
    RedirectLoop,
    RedirectTo,
    ShiftedBody,
    ShortBody,
    Silence,
    SlowDrip,
    Stall,
    Stating,
    Status,
    TruncatedFile,
    UnaskedPart,
    WiderRange,
    WrongContentRange,
)
from fake_wheels import make_wheel, wheel_filename

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

Says: TypeAlias = Literal["size-and-hash", "hash", "size", "nothing"]

NAME = wheel_filename()
SDIST = "demo-1.0.tar.gz"
# Small: nobody goes on from a part of it. Large: a run that is cut leaves one.
SMALL = make_wheel(size=300_000, method=zipfile.ZIP_STORED)
LARGE, OTHER = (make_wheel(size=4_000_000, method=zipfile.ZIP_STORED, seed=seed) for seed in (0, 1))
assert len(LARGE) == len(OTHER)
SMALL_OTHER = make_wheel(size=300_000, method=zipfile.ZIP_STORED, seed=1)
GZIP = b"\x1f\x8b"  # what an sdist begins with
SDIST_BYTES = GZIP + Random(1).randbytes(200_000)
CUT = 3_500_000
# What the other server of a row is called in the `base` of a fault, and what its path is.
ELSEWHERE = "elsewhere:/files"
SECRET = "S3CR3T"  # the index's password


@dataclass(frozen=True)
class Row:
    """One thing that goes wrong.

    faults: as a `FakeIndex` has them, for the run that counts.
    ends: "right", or the class names of the errors that will do, "Truncated|Disconnected".
    requests: the most that the run may send, to all servers; the index page counts.
    by: the target is the project's "name", the file's "url", that with a "digest" or a "wrong digest", its URL at a
        port where "nobody" listens, or a path below "any/", where the server has the file under every name.
    says: what the index page says of the file besides its URL.
    wheel: the file. now: what it is when the run comes, if another. filename: what it is called.
    begun: an earlier run was cut after `CUT` bytes, with these faults; None for no earlier run.
    spoil: what then happens to the part that it left. put: what else lies in the destination.
    rest: the run goes on from the part; else it may, or not.
    keeps: whether hidden files of a part may stay after an error; after a success nothing may, but with "either" what
        was put there in the place of one.
    raw: what a server sends instead, by itself without an end if it is `endless`; the target is a URL there.
    login: the index wants the password that its URL has. posix: the row cannot be set up elsewhere.
    """

    name: str
    faults: Mapping[str, Fault | Sequence[Fault]] = field(repr=False)
    ends: str = "right"
    requests: int = 2
    by: str = "name"
    says: Says = "size-and-hash"
    wheel: bytes = field(default=SMALL, repr=False)
    now: bytes | None = field(default=None, repr=False)
    filename: str = NAME
    begun: Sequence[Fault] | None = None
    spoil: Callable[[Path], object] | None = None
    put: Callable[[Path], object] | None = None
    keeps: Literal["nothing", "part", "either"] = "nothing"
    rest: bool = False
    raw: bytes = field(default=b"", repr=False)
    endless: bool = False
    login: bool = False
    retries: int = 1
    timeout: float = 20
    posix: bool = False

    @property
    def content(self) -> bytes:
        """The right bytes."""
        return self.wheel if self.now is None else self.now

    @property
    def kind(self) -> tuple[object, ...]:
        """What the command line has to do with it: rows of a kind differ in what only the rooms below it see."""
        lies_there = (self.begun is not None, self.spoil is not None, self.put is not None)
        return self.ends.partition("|")[0], lies_there, self.by.partition("/")[0], self.login


def row(name: str, *faults: Fault, **more: Any) -> Row:
    """A row whose faults are those of the file."""
    return Row(name, {"/files/*": faults}, **more)


def rows(name: str, variants: Mapping[str, Mapping[str, Any]], *faults: Fault, **more: Any) -> list[Row]:
    """The same in several variants."""
    return [row(f"{name}, {variant}", *faults, **{**more, **facts}) for variant, facts in variants.items()]


# How a file is asked for: what is known of it, and the requests before it.
ASKED: dict[str, dict[str, Any]] = {
    "by name with a digest": {"requests": 2},
    "by name without": {"requests": 2, "says": "nothing"},
    "by URL with a digest": {"requests": 1, "by": "digest"},
    "by URL without": {"requests": 1, "by": "url"},
}
TRUSTED: dict[str, dict[str, Any]] = {"digest": {}, "no digest": {"says": "nothing"}}
ONE_MORE: dict[str, dict[str, Any]] = {
    key: {**facts, "requests": facts["requests"] + 1} for key, facts in ASKED.items()
}
NOW = {"Retry-After": "0"}

# --- not the file ------------------------------------------------------------------------------------------------

LOGIN_PAGES = [
    *rows("a login page", ASKED, LoginPage(), ends="LoginPage"),
    *rows("a login page by redirect", ONE_MORE, LoginPage(redirect=True), ends="LoginPage"),
    row("a login page that says it is a zip", LoginPage(content_type="application/zip"), ends="LoginPage"),
    row("a login page of the file's size", LoginPage(size=len(SMALL)), ends="LoginPage"),
    row("a login page after blanks and comments", LoginPage(bom=True, upper=True, lead="\n <!-- hi -->\n"),
        ends="LoginPage"),
    row("a login page in gzip", LoginPage(), Gzip(), ends="LoginPage"),
    row("a login page with credentials", LoginPage(), ends="LoginPage", login=True, requests=3),
    Row("a login page for an index page", {"/simple/*": LoginPage()}, "LoginPage", 1),
    Row("a login page for an index page by redirect", {"/simple/*": LoginPage(redirect=True)}, "LoginPage", 2),
    Row("a login page for everything", {"*": LoginPage()}, "LoginPage", 1, by="url"),
]  # fmt: skip

BODIES = [
    row("a JSON error under 200", Status(200, body="json"), ends="NotAWheel"),
    row("a JSON error under 200 without a digest", Status(200, body="json"), ends="NotAWheel", says="nothing"),
    row("an XML error under 200", Status(200, body="xml"), ends="NotAWheel"),
    row("an XML error under 200 without a digest", Status(200, body="xml"), ends="NotAWheel", by="url"),
    row("text under 200", Status(200, body="text"), ends="NotAWheel", says="nothing"),
    row("an empty body", Status(200, body="empty"), ends="NotAWheel"),
    row("an empty body without a digest", Status(200, body="empty"), ends="NotAWheel", by="url"),
    row("an error page of the file's size", Status(200, body="text", size=len(SMALL)), ends="NotAWheel"),
    row("an sdist for a wheel", ChangedFile(gzip.compress(SMALL), after=0), ends="NotAWheel", says="nothing"),
    row("an HTML error under 206", Status(206), ends="LoginPage|BadReply", requests=3),
    row("an HTML error under 206 without a digest", Status(206), ends="LoginPage|BadReply", requests=3, by="url"),
    row("an unasked 206 of the whole file", UnaskedPart(10**9), ends="BadReply|right"),
    row("a login page with a title that means to be seen", LoginPage(title="\x1b[31m\r\nerror: all is well\u202e"),
        ends="LoginPage"),
    row("a JSON error that means to be seen", ChangedFile(b'{"message": "\x1b[31m\r\nerror: all is well"}', after=0),
        ends="NotAWheel", says="nothing"),
    row("text that means to be seen", ChangedFile(b"\x1b[31m\r\nerror: all is well\0", after=0), ends="NotAWheel",
        says="nothing"),
    row("more than the size in gzip", ChangedFile(SMALL + bytes(30_000_000), after=0), Gzip(), ends="BadReply"),
    row("gzip that is none", Stating({"Content-Encoding": "gzip"}), ends="BadReply", requests=3),
    row("an unknown encoding", Stating({"Content-Encoding": "klingon"}), ends="BadReply|right"),
    row("no content", Status(204, body="empty"), ends="StatusError|NotAWheel|BadReply"),
    row("not modified", Status(304, body="empty"), ends="StatusError|BadReply"),
    row("a damaged end", ChangedFile(SMALL.replace(b"PK\5\6", b"PK\0\0"), after=0), ends="BadZip", says="nothing"),
    row("a damaged middle", ChangedFile(SMALL.replace(b"PK\1\2", b"PK\0\0"), after=0), ends="BadZip", says="nothing"),
    row("trailing bytes", ChangedFile(SMALL + b"<html>", after=0), ends="BadZip", by="url"),
]  # fmt: skip

BROKEN_ONCE: dict[str, tuple[Fault, ...]] = {
    "cut": (Cut(100_000, times=1),),
    "reset": (Cut(100_000, times=1, reset=True),),
    "cut in chunks": (NoContentLength(), Cut(100_000, times=1)),
    "shorter": (Only(TruncatedFile(100_000), times=1),),
}
BROKEN: dict[str, tuple[Fault, ...]] = {
    "cut": (Cut(100_000),),
    "cut at once": (Cut(0),),
    "reset": (Cut(100_000, reset=True),),
    "cut in chunks": (NoContentLength(), Cut(100_000)),
}
CUTS = [
    *(row(f"{how}, once, digest", *faults, requests=3) for how, faults in BROKEN_ONCE.items()),
    *(row(f"{how}, once, no digest", *faults, requests=3, says="nothing")
      for how, faults in BROKEN_ONCE.items() if how != "shorter"),
    *(row(f"{how}, always, {trust}", *faults, **facts, ends="Truncated|Disconnected", requests=3)
      for how, faults in BROKEN.items() for trust, facts in TRUSTED.items()),
    row("a file that ends early, digest", TruncatedFile(100_000), ends="Truncated", requests=3),
    row("a file that ends early, size", TruncatedFile(100_000), ends="Truncated", requests=3, says="size"),
    row("a file that ends early, nothing known", TruncatedFile(100_000), ends="BadZip", requests=3, says="nothing"),
    row("cut, and no length", NoContentLength("close"), Cut(100_000), ends="Truncated|Disconnected|BadZip",
        requests=3, says="nothing"),
    row("a large file, cut three times", Cut(1_200_000, times=3), wheel=LARGE, requests=5, retries=3),
    row("a large file in chunks, cut", NoContentLength(), Cut(CUT, times=1), wheel=LARGE, requests=3),
    row("an sdist, cut", Cut(100_000), ends="Truncated|Disconnected", by="url", filename=SDIST, wheel=SDIST_BYTES),
    row("a length that is not that of the body", Gzip(200, "original"), ends="BadReply|Truncated|HashMismatch|right",
        requests=3),
    row("a body without an end", ChangedFile(SMALL + bytes(20_000_000), after=0), NoContentLength(),
        ends="BadReply|HashMismatch", requests=3),
]  # fmt: skip

# --- a 206 that is wrong -----------------------------------------------------------------------------------------

WRONG_PARTS: dict[str, tuple[Fault, ...]] = {
    "that says a later place": (WrongContentRange("shifted"),),
    "of a later place": (ShiftedBody(1),),
    "of an earlier place": (ShiftedBody(-1),),
    "too short": (ShortBody(1),),
    "too long": (LongBody(1),),
    "too long, in chunks": (LongBody(1), NoContentLength()),
    "wider": (WiderRange(),),
    "of another total": (WrongContentRange("other_total"),),
    "that says all": (WrongContentRange("whole"),),
    "with another ETag": (IgnoreIfRange(), Etag("fresh")),
    "without Content-Range": (WrongContentRange("missing"),),
    "with a malformed Content-Range": (WrongContentRange("malformed"),),
    "of items": (WrongContentRange("unit"),),
    "in gzip": (Gzip(206),),
    "in several parts": (MultipartRange(),),
    "under 200": (PartialAs200(),),
}
# With a digest an ETag says nothing that the digest does not.
PARTS = [
    *(row(f"a part {what}, {trust}", *faults, **facts, wheel=LARGE, begun=(), requests=3)
      for what, faults in WRONG_PARTS.items() for trust, facts in TRUSTED.items()),
    # Chunks have no length to tell it from a body that was cut, but for the one that the whole has.
    *rows("a part too short, in chunks", TRUSTED, ShortBody(1000), NoContentLength(), ends="right|Truncated",
          wheel=LARGE, begun=(), requests=4, keeps="either"),
    *(row(f"in the same run, a part {what}", Cut(CUT, times=1), *(Only(fault, after=1) for fault in faults),
          wheel=LARGE, requests=4, says="nothing")
      for what, faults in WRONG_PARTS.items() if what in ("of a later place", "too long", "with another ETag")),
    *rows("a part that nobody asked for", ONE_MORE, UnaskedPart(100_000), ends="BadReply|Truncated"),
    row("a part in the place of an sdist", UnaskedPart(100_000), ends="BadReply|Truncated", by="url", filename=SDIST,
        wheel=SDIST_BYTES),
    row("a part of an sdist of a later place", ShiftedBody(1), wheel=GZIP + LARGE, by="digest", begun=(),
        filename=SDIST),
    row("a part of an sdist that says a later place", WrongContentRange("shifted"), wheel=GZIP + LARGE, by="digest",
        begun=(), filename=SDIST),
]  # fmt: skip

# --- going on ----------------------------------------------------------------------------------------------------


def resumed(name: str, *faults: Fault, **more: Any) -> Row:
    """A row of a run that finds the part of an earlier one."""
    return row(name, *faults, **{"wheel": LARGE, "begun": (), "requests": 3, **more})


RESUMED = [
    *(resumed(f"the rest, {trust}", **facts, requests=2, rest=True) for trust, facts in TRUSTED.items()),
    *(resumed(f"all of it where the rest should be, {trust}", IgnoreRanges(), **facts, requests=2)
      for trust, facts in TRUSTED.items()),
    *(resumed(f"a login page {how} where the rest should be, {trust}", fault, **facts, ends="LoginPage", keeps="part")
      for how, fault in {"at once": LoginPage(), "by redirect": LoginPage(redirect=True),
                         "in part": LoginPage(honours_range=True)}.items()
      for trust, facts in TRUSTED.items()),
    *(resumed(f"a part of a login page of the file's size, {trust}", LoginPage(size=len(LARGE), honours_range=True),
              **facts, ends="LoginPage", keeps="either") for trust, facts in TRUSTED.items()),
    resumed("an HTML error under 206 where the rest should be", Status(206), ends="LoginPage|BadReply", keeps="either"),
    resumed("JSON where the rest should be", Status(200, body="json"), ends="NotAWheel", keeps="part"),
    resumed("nothing where the rest should be", Status(200, body="empty"), ends="NotAWheel", keeps="part"),
    resumed("403 for the rest", Status(403), ends="Forbidden", keeps="part"),
    resumed("404 for the rest", Status(404), ends="NotFound", keeps="part"),
    resumed("500 for the rest", Status(500, headers=NOW), ends="ServerFailed", keeps="part"),
    resumed("416 for the rest", RangesRefused(416)),
    resumed("416 for the rest, no digest", RangesRefused(416), says="nothing"),
    resumed("416 for the rest, of another size", Only(Status(416, headers={"Content-Range": "bytes */100"}), times=1)),
    resumed("416 for everything", Status(416), ends="StatusError", keeps="either"),
    resumed("416 where all of it is there", RangesRefused(416), spoil=lambda part: part.write_bytes(LARGE), requests=1),
    resumed("416 where all of it is there, no digest", RangesRefused(416), says="nothing",
            spoil=lambda part: part.write_bytes(LARGE)),
    resumed("416 that says the size where all of it is there, no digest", says="nothing",
            spoil=lambda part: part.write_bytes(LARGE)),
    resumed("the rest is cut", Cut(20_000), ends="Truncated|Disconnected", keeps="part", requests=4),
    resumed("500 for the rest, once", Status(500, times=1, headers=NOW), rest=True),
    resumed("a redirect to the rest", Presigned(ELSEWHERE), rest=True),
    resumed("another file of the same size, another digest", now=OTHER, requests=2),
    resumed("another file of the same size, the old digest", ChangedFile(OTHER, after=0), ends="HashMismatch"),
    resumed("another file of the same size, another ETag", now=OTHER, says="nothing", requests=2),
    resumed("another file of the same size, another ETag, the size known", now=OTHER, says="size", requests=2),
    resumed("another file of the same size, weak ETags", Etag("weak"), begun=(Etag("weak"),), now=OTHER,
            says="nothing", requests=2),
    resumed("another file of the same size, no ETags", Etag("absent"), begun=(Etag("absent"),), now=OTHER,
            says="nothing", requests=2),
    resumed("another file of the same size, no ETag any more", Etag("absent"), now=OTHER, says="nothing", requests=2),
    resumed("another file of the same size, If-Range ignored", IgnoreIfRange(), now=OTHER, says="nothing"),
    resumed("another file of the same size, If-Range ignored, no ETag any more", IgnoreIfRange(), Etag("absent"),
            now=OTHER, says="nothing"),
    resumed("another sdist of the same size, If-Range ignored", IgnoreIfRange(), wheel=GZIP + LARGE,
            now=GZIP + OTHER, by="url", filename=SDIST),
    # Parts may be put together if they share a strong validator (RFC 9110 §15.3.7.3); in an sdist nothing else tells.
    *(row(f"in the same run, an sdist that changes, {trust}", Only(ChangedFile(GZIP + LARGE, after=0), times=1),
          Cut(CUT, times=1), *faults, wheel=GZIP + OTHER, by="url", filename=SDIST, requests=3)
      for trust, faults in {"If-Range heeded": (), "If-Range ignored": (IgnoreIfRange(),),
                            "If-Range ignored, no ETag any more": (IgnoreIfRange(), Only(Etag("absent"), after=1)),
                            }.items()),
    row("a large sdist that is cut, no digest", Cut(CUT), wheel=GZIP + LARGE, by="url", filename=SDIST, retries=0,
        ends="Truncated|Disconnected", requests=1),
    resumed("a shorter file", now=SMALL, says="nothing"),
    resumed("a longer file", now=make_wheel(size=5_000_000, method=zipfile.ZIP_STORED), says="nothing"),
    resumed("a shorter file, If-Range ignored", IgnoreIfRange(), now=SMALL, says="nothing"),
    resumed("a longer file, If-Range ignored", IgnoreIfRange(),
            now=make_wheel(size=5_000_000, method=zipfile.ZIP_STORED), says="nothing"),
    *(resumed(f"an ETag {what}", Stating({"ETag": etag}), begun=(Stating({"ETag": etag}),), says="nothing")
      for what, etag in {"in other letters": '"é"', "without quotes": "abc", "of one quote": '"',
                         "that is long": f'"{"x" * 7000}"', "with an option": '"abc"; gzip'}.items()),
    resumed("a damaged part", spoil=lambda part: part.write_bytes(b"x" + part.read_bytes()[1:])),
    resumed("a damaged part, no digest", says="nothing",
            spoil=lambda part: part.write_bytes(part.read_bytes()[:-1] + b"x")),
    resumed("a part of zeros, no digest", says="nothing",
            spoil=lambda part: part.write_bytes(bytes(part.stat().st_size))),
]  # fmt: skip

# --- what lies there ---------------------------------------------------------------------------------------------


def state(part: Path) -> Path:
    """The file that says what a part is a part of."""
    return part.with_name(f"{part.name}.json")


def stating(value: Any) -> Callable[[Path], object]:
    """The same in each of its fields."""

    def spoil(part: Path) -> None:
        known = json.loads(state(part).read_bytes())
        state(part).write_text(json.dumps(dict.fromkeys(known, value)))

    return spoil


def stating_number(literal: str) -> Callable[[Path], object]:
    """A number, as it may stand in JSON, in the place of each number."""

    def spoil(part: Path) -> None:
        known = json.loads(state(part).read_bytes())
        marked = {key: "<number>" if isinstance(value, int) else value for key, value in known.items()}
        state(part).write_text(json.dumps(marked).replace('"<number>"', literal))

    return spoil


def replaced(path: Callable[[Path], Path], by: Callable[[Path], object]) -> Callable[[Path], object]:
    """The part or its state are something else by now."""

    def spoil(part: Path) -> None:
        gone = path(part)
        gone.unlink()
        by(gone)

    return spoil


def moved_out(path: Callable[[Path], Path]) -> Callable[[Path], object]:
    """The part or its state were moved out of the directory, and a link leads there."""

    def spoil(part: Path) -> None:
        outside = path(part).rename(part.parents[1] / "moved")
        path(part).symlink_to(outside)

    return spoil


def itself(path: Path) -> Path:
    return path


def link_out(path: Path) -> None:
    """To the file that lies outside of the destination."""
    path.symlink_to(path.parents[1] / "precious")


def directory_with_a_file(path: Path) -> None:
    path.mkdir()
    (path / "file").write_bytes(b"x")


def fifo(path: Path) -> None:
    os.mkfifo(path)


GARBAGE: dict[str, Callable[[Path], object]] = {
    "noise": lambda part: state(part).write_bytes(Random(1).randbytes(100_000)),
    "cut": lambda part: state(part).write_bytes(state(part).read_bytes()[:-20]),
    "empty": lambda part: state(part).write_bytes(b""),
    "NULs": lambda part: state(part).write_bytes(bytes(200)),
    "gone": lambda part: state(part).unlink(),
    "nested": lambda part: state(part).write_bytes(b'{"version":' * 100_000),
    "no object": lambda part: state(part).write_bytes(b"[1, 2]"),
    "strings": stating("x"),
    "nulls": stating(None),
    "lists": stating([[]]),
    "negative numbers": stating_number("-5"),
    "huge numbers": stating_number("9" * 4000),
    "numbers beyond every float": stating_number("1e999"),
    "a fraction": stating_number("0.5"),
    "large": lambda part: state(part).write_bytes(state(part).read_bytes() + b" " * 5_000_000),
}
FOUND = [
    *(resumed(f"a part whose state is {what}", spoil=spoil, requests=2) for what, spoil in GARBAGE.items()),
    *(resumed(f"a part whose state is {what}, no digest", spoil=spoil, requests=2, says="nothing")
      for what, spoil in GARBAGE.items() if "number" in what or what in ("noise", "strings", "nulls")),
    resumed("a part that is longer than the file", spoil=lambda part: part.write_bytes(LARGE + b"x")),
    resumed("a part that is longer than the file, no digest", spoil=lambda part: part.write_bytes(LARGE + b"x"),
            says="nothing"),
    resumed("an empty part", spoil=lambda part: part.write_bytes(b"")),
    *(resumed(f"{whose} is {what}", spoil=replaced(path, by), posix=True, keeps="either")
      for whose, path in {"a part": itself, "a part's state": state}.items()
      for what, by in {"a link to a file outside": link_out, "a directory": directory_with_a_file,
                       "a pipe": fifo}.items()),
    resumed("a part that was moved out", spoil=moved_out(itself), posix=True, keeps="either"),
    resumed("a part whose state was moved out", spoil=moved_out(state), posix=True),
    row("the file is there", put=lambda dest: (dest / NAME).write_bytes(SMALL), requests=1),
    row("another file is there", put=lambda dest: (dest / NAME).write_bytes(SMALL_OTHER)),
    row("another file is there, and the new one fails", Status(404), ends="NotFound",
        put=lambda dest: (dest / NAME).write_bytes(SMALL_OTHER)),
    row("another file is there, and a login page comes", LoginPage(), ends="LoginPage", says="nothing",
        put=lambda dest: (dest / NAME).write_bytes(SMALL_OTHER)),
    *(row(f"its name is {what}, {trust}", put=lambda dest, by=by: by(dest / NAME), **facts, posix=True)
      for what, by in {"a link to a file outside": link_out, "a dangling link": lambda path: path.symlink_to("../gone"),
                       "a link to a directory outside": lambda path: path.symlink_to("..")}.items()
      for trust, facts in TRUSTED.items()),
    *(row(f"its name is {what}, {trust}", put=lambda dest, by=by: by(dest / NAME), **facts, ends=ends, posix=True)
      for what, by, ends in (("a directory", directory_with_a_file, "DiskError"), ("a pipe", fifo, "DiskError|right"),
                             ("a link to itself", lambda path: path.symlink_to(path.name), "DiskError|right"))
      for trust, facts in TRUSTED.items()),
]  # fmt: skip

# --- what the index says of it -----------------------------------------------------------------------------------


def page(**facts: Any) -> dict[str, Fault]:
    """A page of one file, of which it says something odd."""
    digest = hashlib.sha256(SMALL).hexdigest()
    file = {"filename": NAME, "url": f"/files/{NAME}", "hashes": {"sha256": digest}, "size": len(SMALL), **facts}
    body = json.dumps({"meta": {"api-version": "1.1"}, "name": "demo", "files": [file]})
    return {"/simple/*": ChangedFile(body.encode(), after=0)}


INDEXES = [
    row("another digest, once", Only(ChangedFile(SMALL_OTHER, after=0), times=1), requests=3),
    row("another digest, always", ChangedFile(SMALL_OTHER, after=0), ends="HashMismatch", requests=3),
    row("another digest, always, large", ChangedFile(OTHER, after=0), ends="HashMismatch", requests=3, wheel=LARGE),
    Row("another digest in the URL", {}, "HashMismatch", 2, by="wrong digest"),
    Row("a size that is too small", page(size=len(SMALL) - 1), "BadReply|HashMismatch", 3),
    Row("a size that is too large", page(size=len(SMALL) + 1), "Truncated", 3),
    Row("a size without reason", page(size=2**62), "DiskError", 2),
    Row("a size below zero", page(size=-1), "right|BadPage|NotFound"),
    Row("a size in words", page(size="big"), "right|BadPage|NotFound"),
    Row("a size of no number", page(size=10**400), "right|BadPage|NotFound|DiskError"),
    # What cannot be a digest is as none (rule 6 of the pages).
    Row("a digest of the wrong length", page(hashes={"sha256": "abc"})),
    Row("a digest that is none", page(hashes={"sha256": "../" * 20})),
    Row("a digest of an unknown kind", page(hashes={"whirlpool": "abc"})),
    Row("no link", page(url=None), "BadPage|NotFound", 1),
    Row("a link to the file system", page(url="file:///etc/passwd"), "NotFound|BadPage|ConfigError", 1),
    Row("a link with a bad port", page(url="http://127.0.0.1:99999/x.whl"), "NotFound|BadPage|ConfigError", 1),
    Row("a page that is no page", {"/simple/*": Status(200, body="text")}, "BadPage|NotFound", 1),
    Row("an empty page", {"/simple/*": Status(200, body="empty")}, "BadPage|NotFound", 1),
    Row("a page of NULs", {"/simple/*": ChangedFile(bytes(1000), after=0)}, "BadPage|NotFound", 1),
    Row("a page cut in JSON", {"/simple/*": TruncatedFile(100)}, "BadPage", 2),
    Row("a page that is cut, once", {"/simple/*": Cut(100, times=1)}, requests=3),
    Row("a page that is cut, always", {"/simple/*": Cut(100)}, "Truncated|Disconnected", 2),
    Row("a page without a type", {"/simple/*": ContentType(None)}),
    Row("a page that is not there", {"/simple/*": Status(404)}, "NotFound", 1),
    Row("a page for others", {"/simple/*": Status(401)}, "Unauthorized", 1),
    Row("a page that fails", {"/simple/*": Status(500, headers=NOW)}, "ServerFailed", 2),
]

# --- statuses, redirects, connections ----------------------------------------------------------------------------

PAST = "Wed, 21 Oct 2015 07:28:00 GMT"
# Retry-After to how a file ends that once came with it and a 503, and the most requests.
ASKS_TO_WAIT: dict[str, tuple[str, str, int]] = {
    "0": ("0", "right", 3),
    "1 second": ("1", "right", 3),
    "a date gone by": (PAST, "right", 3),
    "1000000000 seconds": (str(10**9), "Throttled", 2),
    "a number of 400 digits": ("9" * 400, "Throttled|right", 3),
    "the year 9999": ("Fri, 31 Dec 9999 23:59:59 GMT", "Throttled", 2),
    "no year": ("Fri, 31 Dec 99999 23:59:59 GMT", "right", 3),
    "less than nothing": ("-5", "right", 3),
    "words": ("soon", "right", 3),
    "nan": ("nan", "right", 3),
    "inf": ("inf", "right|Throttled", 3),
    "other digits": ("٣", "right", 3),
}
STATUSES = [
    *(row(f"503, Retry-After {asks}", Status(503, times=1, headers={"Retry-After": value}), ends=ends, requests=most)
      for asks, (value, ends, most) in ASKS_TO_WAIT.items()),
    row("429, Retry-After a date gone by", Status(429, times=1, headers={"Retry-After": PAST}), requests=3),
    row("429, Retry-After 1000000000", Status(429, headers={"Retry-After": str(10**9)}), ends="Throttled"),
    row("503 with neither", Status(503, times=1), requests=3),
    row("500, once", Status(500, times=1), requests=3),
    row("408, once", Status(408, times=1), requests=3),
    *(row(f"{code}, always", Status(code), ends=ends, requests=requests)
      for code, ends, requests in (
          (500, "ServerFailed", 3), (502, "ServerFailed", 3), (503, "ServerFailed", 3), (504, "ServerFailed", 3),
          (501, "ServerFailed", 2), (505, "ServerFailed", 2), (408, "Throttled", 3), (429, "Throttled", 3),
          (400, "StatusError", 2), (401, "Unauthorized", 2), (403, "Forbidden", 2), (404, "NotFound", 2),
          (405, "StatusError", 2), (410, "NotFound", 2), (416, "StatusError", 2), (451, "StatusError", 2),
      )),
    row("401 to credentials", Status(401), ends="Unauthorized", login=True, requests=2),
    row("403 to credentials", Status(403), ends="Forbidden", login=True, requests=2),
]  # fmt: skip

REDIRECTS = [
    row("a loop", RedirectLoop(), ends="TooManyRedirects", requests=12),
    row("10 redirects", RedirectChain(10), requests=12),
    row("11 redirects", RedirectChain(11), ends="TooManyRedirects", requests=12),
    row("to another server", RedirectTo(ELSEWHERE), requests=3, login=True),
    row("to another server, with userinfo", RedirectTo(ELSEWHERE, userinfo="evil:eve"), requests=3, login=True),
    row("to a signed URL", Presigned(ELSEWHERE), requests=3, login=True),
    row("to another file name", RedirectTo(ELSEWHERE, query="filename=../../evil.whl"), requests=3),
    *(row(f"308 to {what}", Status(308, headers={"Location": location}), ends="BadReply")
      for what, location in {"the file system": "file:///etc/passwd", "ftp": "ftp://127.0.0.1/demo.whl",
                             "a bad port": "http://127.0.0.1:99999/", "an open bracket": "http://[::1/x"}.items()),
    row("308 to no host", Status(308, headers={"Location": "http:///x"}), ends="BadReply|NotFound", requests=3),
    row("308 to nothing", Status(308, headers={"Location": ""}), ends="BadReply|TooManyRedirects", requests=12),
    row("nowhere", Status(302), ends="BadReply|StatusError"),
    Row("a page that loops", {"/simple/*": RedirectLoop()}, "TooManyRedirects", 11),
]  # fmt: skip

CONNECTIONS = [
    row("no answer, once", HangUp(times=1), requests=3),
    row("no answer", HangUp(), ends="Disconnected", requests=3),
    Row("no server", {}, "ConnectFailed", 0, by="nobody"),
    row("silence, once", Silence(20, times=1), requests=3, timeout=1),
    row("silence", Silence(20), ends="TimedOut", requests=3, timeout=0.2),
    row("a stall, once", Stall(100_000, 20, times=1), requests=3, timeout=1),
    row("a stall", Stall(100_000, 20), ends="TimedOut|Stalled", requests=3, timeout=0.2),
    row("a drip", SlowDrip(2_000), ends="Stalled|TimedOut", requests=3, timeout=0.2),
    row("a large file stalls", Stall(CUT, 20), ends="TimedOut|Stalled", requests=2, timeout=0.5, wheel=LARGE,
        retries=0, keeps="part"),
    Row("a page that stalls", {"/simple/*": Stall(10, 20)}, "TimedOut|Stalled", 2, timeout=0.2),
]  # fmt: skip

# --- no HTTP -----------------------------------------------------------------------------------------------------


def speaking(name: str, raw: bytes, ends: str = "BadReply|Disconnected", **more: Any) -> Row:
    """A row of a server that says this, and goes."""
    return Row(name, {}, ends, 2, by="raw", raw=raw, **more)


OK = b"HTTP/1.1 200 OK\r\n"
NO_HTTP = [
    speaking("another protocol", b"SSH-2.0-OpenSSH_9.2p1\r\n"),
    speaking("TLS", b"\x15\x03\x01\x00\x02\x02\x46"),
    speaking("noise", Random(1).randbytes(10_000)),
    speaking("HTTP/0.9", b"<html>"),
    speaking("HTTP/2", b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + bytes(18)),
    speaking("a status of no number", b"HTTP/1.1 OK\r\n\r\n"),
    speaking("a status beyond all", b"HTTP/1.1 999 Whatever\r\nContent-Length: 0\r\n\r\n",
             "ServerFailed|BadReply|Disconnected"),
    speaking("a head that is cut", OK + b"Content-Le"),
    speaking("a head without an end", b"X-Filler: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n", endless=True),
    speaking("a line without an end", b"x" * 1000, endless=True),
    speaking("a large header", OK + b"X: " + b"x" * 1_000_000 + b"\r\nContent-Length: 0\r\n\r\n"),
    speaking("a control character in a header", OK + b"ETag: \"\0\x1b[31m\"\r\nContent-Length: 0\r\n\r\n",
             "BadReply|Disconnected|NotAWheel"),
    speaking("hints without an end", b"HTTP/1.1 103 Early Hints\r\n\r\n", "BadReply|Disconnected|TimedOut|Stalled",
             endless=True, timeout=0.1, retries=0),
    speaking("100 Continue without an end", b"HTTP/1.1 100 Continue\r\n\r\n", "BadReply|Disconnected|TimedOut|Stalled",
             endless=True, timeout=0.1, retries=0),
    speaking("a length in words", OK + b"Content-Length: many\r\n\r\n" + SMALL),
    speaking("a length below zero", OK + b"Content-Length: -1\r\n\r\n" + SMALL),
    speaking("two lengths", OK + b"Content-Length: 5\r\nContent-Length: 300005\r\n\r\n" + SMALL,
             "BadReply|Disconnected|BadZip|Truncated"),
    speaking("a length beyond all", OK + b"Content-Length: %d\r\n\r\n" % 10**30 + SMALL,
             "BadReply|Disconnected|Truncated|DiskError"),
    speaking("a length beyond every disk", OK + b"Content-Length: %d\r\n\r\n" % 2**62 + SMALL,
             "BadReply|Disconnected|Truncated|DiskError"),
    speaking("a chunk of a length in words", OK + b"Transfer-Encoding: chunked\r\n\r\nmany\r\n" + SMALL),
    speaking("a chunk of a length below zero", OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n" + SMALL),
    speaking("a body shorter than its length says", OK + b"Content-Length: 400000\r\n\r\n" + SMALL, "Truncated"),
    speaking("a body longer than its length says", OK + b"Content-Length: 100000\r\n\r\n" + SMALL,
             "BadZip|BadReply|Disconnected"),
    speaking("a redirect to nowhere that means to be seen", b"HTTP/1.1 302 Found\r\nLocation: http://\xff\x80[31m/\r\n"
             b"Content-Length: 0\r\n\r\n", "BadReply|ConnectFailed|Disconnected"),
]  # fmt: skip

# --- names -------------------------------------------------------------------------------------------------------

EVIL = "evil-1.0-py3-none-any.whl"
EVIL_WHEEL = make_wheel("evil")
# The last part of a URL to what it is called in the end, or to the error. The server has the wheel at each of them.
IN_URLS: dict[str, str] = {
    f"sub/../{EVIL}": EVIL,  # a browser resolves it so, too
    f"..%2f{EVIL}": "ConfigError",
    f"..%2F..%2F{EVIL}": "ConfigError",
    f"sub/%2e%2e/{EVIL}": EVIL,
    f"%2e%2e%2f{EVIL}": "ConfigError",
    f"%2f{EVIL}": "ConfigError",
    f"sub%2f{EVIL}": "ConfigError",
    f"..%5c{EVIL}": "ConfigError",
    f"..\\{EVIL}": "ConfigError",
    f"c:%5c{EVIL}": "ConfigError",
    f"c:{EVIL}": "ConfigError",
    f"{EVIL}:stream": "ConfigError",
    f"{EVIL}%00": "ConfigError",
    f"{EVIL}%00.txt": "ConfigError",
    f"%00{EVIL}": "ConfigError",
    f"evil%0a{EVIL}": "ConfigError",
    f"evil%1b[31m{EVIL}": "ConfigError",
    f"%e2%80%ae{EVIL}": "ConfigError",  # a right-to-left override
    f"%ff{EVIL}": "ConfigError",
    "con.whl": "ConfigError",
    "NUL": "ConfigError",
    "aux.tar.gz": "ConfigError",
    "com1.whl": "ConfigError",
    ".bashrc": "ConfigError",
    f".{EVIL}": "ConfigError",
    "-rf.whl": "ConfigError",
    f"-{EVIL}": "ConfigError",
    f"~{EVIL}": "ConfigError",
    f"{EVIL}.": "ConfigError",
    f"{EVIL}%20": "ConfigError",
    f"%20{EVIL}": "ConfigError",
    "": "ConfigError",
    "%2e": "ConfigError",
    "%2e%2e": "ConfigError",
}


def in_url(path: str, ends: str) -> Row:
    named = ends.endswith(".whl")
    return Row(f"in a URL: {path[:40]}", {}, "right" if named else ends, 1, by=f"any/{path}",
               filename=ends if named else NAME, wheel=EVIL_WHEEL)  # fmt: skip


# What a page may call a file to the error, if it is not left out.
IN_PAGES = [
    f"../{EVIL}",
    f"..\\{EVIL}",
    f"/{EVIL}",
    f"sub/{EVIL}",
    f"..%2f{EVIL}",
    f"c:{EVIL}",
    f"evil\x00{EVIL}",
    f"{EVIL}\x00",
    f"evil\n{EVIL}",
    f"evil\x1b[31m{EVIL}",
    f"-{EVIL}",
    f".{EVIL}",
    f"{EVIL} ",
    "..",
    "",
    "con.whl",
    "nul",
]


def json_page(name: str) -> Row:
    file = {"filename": name, "url": f"/any/{EVIL}", "hashes": {}}
    body = json.dumps({"meta": {"api-version": "1.1"}, "name": "demo", "files": [file]}).encode()
    faults = {"/simple/*": ChangedFile(body, after=0)}
    return Row(f"in a page of JSON: {name!r}", faults, "NotFound|BadPage|ConfigError", 1)


def html_page(path: str, text: str, **more: Any) -> Row:
    body = f'<!doctype html><html><body><a href="/any/{path}">{text}</a></body></html>'.encode()
    faults = {"/simple/*": (ChangedFile(body, after=0), ContentType("text/html"))}
    return Row(f"in a page of HTML: {text} at {path}", faults, filename=EVIL, wheel=EVIL_WHEEL, **more)


# Both have more than 255 bytes, and the second has fewer characters.
LONG = {"a name": "d" * 300, "a name in UTF-8": "é" * 130}
DISPOSITIONS = (
    'attachment; filename="../evil.whl"',
    "attachment; filename*=UTF-8''..%2fevil.whl",
    'inline; filename="/evil"',
)
NAMES = [
    *(in_url(path, ends) for path, ends in IN_URLS.items()),
    *(json_page(name) for name in IN_PAGES),
    # The last part of the link is the name, not its text (PEP 503 wants them to be the same).
    *(html_page(EVIL, text) for text in (f"../{EVIL}", f"..\\{EVIL}", f".{EVIL}", "con.whl")),
    *(html_page(path, EVIL, ends="NotFound", requests=1)
      for path in (f"..%2f{EVIL}", f"..%5c{EVIL}", f"%00{EVIL}", "con.whl")),
    *(Row(f"{what} too long for the disk", {}, "DiskError", 1, by="digest", filename=wheel_filename(name),
          wheel=make_wheel(name)) for what, name in LONG.items()),
    *(row(f"in a header: {header}", Stating({"Content-Disposition": header}), requests=1, by="url")
      for header in DISPOSITIONS),
    row("in a header: of an evil name, by name", Stating({"Content-Disposition": DISPOSITIONS[0]})),
]  # fmt: skip

GROUPS: dict[str, list[Row]] = {
    "login pages": LOGIN_PAGES,
    "other bodies": BODIES,
    "cut bodies": CUTS,
    "wrong parts": PARTS,
    "going on": RESUMED,
    "what lies there": FOUND,
    "what the index says": INDEXES,
    "statuses": STATUSES,
    "redirects": REDIRECTS,
    "connections": CONNECTIONS,
    "no HTTP": NO_HTTP,
    "names": NAMES,
}
