"""How to read METADATA out of a wheel with as few requests as physics allows.

A linear talk, as a generator: it yields the segment it needs, is sent the piece, and returns.

    tail ──► end record ──► central directory ──► entry of METADATA ──► checked METADATA
      1                        2 if it begins          3 if it lies
                                 earlier                 earlier still

- The tail of an unknown file is a suffix; of a file whose size the index page told, an interval that grows with the
  file, since large wheels have large directories.  In most wheels dist-info stands last, so one tail holds it all.
- A directory that begins before the tail is asked for together with what stands before it.
- So an honest wheel takes three requests at most, and no byte is asked for twice.
- A file without an end record is looked at from its beginning, to tell a login page from a damaged wheel.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import TypeAlias

from fetcher.errors import BadZip, MetadataMissing, NotStatic
from fetcher.segments import Piece, Segment, Suffix
from fetcher.wheel.directory import Directory, Entry, parse_directory
from fetcher.wheel.entry import read_entry
from fetcher.wheel.identity import Identity, check_identity, identify
from fetcher.wheel.inflate import MAX_METADATA
from fetcher.wheel.records import Malformed, shown
from fetcher.wheel.sniff import Kind, sniff
from fetcher.wheel.walk import Found
from fetcher.wheel.zipend import LEAST_TAIL, End, NoEnd, find_end

__all__ = [
    "HEAD",
    "UNKNOWN_TAIL",
    "NotZip",
    "Plan",
    "WheelMetadata",
    "known_tail",
    "may_lead_on",
    "plan_metadata",
    "walked_metadata",
]

# The tails were chosen by measuring 966 real wheels: without sizes 1.13 requests and 97 KiB a wheel, with them 1.09
# and 106 KiB.  Less makes more requests, more makes more bytes for hardly fewer requests.
UNKNOWN_TAIL = 120 * 1024
"""Bytes of the first tail if the size of the file is not known."""

_SHORTEST_TAIL = 96 * 1024
_LONGEST_TAIL = 256 * 1024
_TAIL_PART = 40

_SLACK = 64 * 1024
"""Bytes asked for before a directory that begins before the tail: dist-info mostly stands directly before it."""

HEAD = 1024
"""Bytes from the beginning that tell what a file without an end record is."""


class NotZip(Exception):
    """The file is of another `kind`; `head` is its beginning, HEAD bytes at most.

    No public error: the shell, which knows index and URL, makes LoginPage or NotAWheel of it.
    """

    def __init__(self, kind: Kind, head: bytes) -> None:
        super().__init__(kind, head)
        self.kind = kind
        self.head = head


@dataclass(frozen=True, slots=True)
class WheelMetadata:
    """A wheel's METADATA, and the facts by which two readings of one wheel are compared (`==`).

    `name` and `version` as METADATA writes them; sizes in bytes; `header_offset` is that of its local header.
    """

    raw: bytes
    name: str
    version: str
    header_offset: int
    compressed: int
    size: int
    crc: int


Plan: TypeAlias = Generator[Segment | Suffix, Piece, WheelMetadata]


def plan_metadata(filename: str, size: int | None, tail: int | None = None, *, project: str | None = None) -> Plan:
    """Plan the reading of METADATA out of the wheel `filename` of `size` bytes (None: not known).

    A source distribution stands on the page of `project`, if on any.

    Send each Piece exactly as asked: it starts and stops where the segment does, or, for a Suffix, stops at the end of
    the file.  At most three are asked for (one more if `tail`, the length of the first in bytes, is below LEAST_TAIL
    and does not hold the end record); together they are no longer than the file.

    Raises NotZip for a file of another kind, BadZip for a broken or ambiguous archive, NotStatic for a source
    distribution without PKG-INFO, MetadataMissing and MetadataMismatch as `check_identity` does, ValueError for a piece
    that was not asked for.
    """
    identity = identify(filename, project)
    try:
        return (yield from _talk(identity, size, tail))
    except Malformed as error:
        raise BadZip(filename, str(error)) from None


def walked_metadata(filename: str, found: Found) -> WheelMetadata:
    """Return what a walk found, unverified: compare it (`==`) with a plan's result once the end has been seen.

    Raises MetadataMissing and MetadataMismatch as `check_identity` does.
    """
    name, version = check_identity(filename, found.raw)
    return WheelMetadata(found.raw, name, version, found.header_offset, found.compressed, found.size, found.crc)


def known_tail(size: int) -> int:
    """Return how many bytes of a file of `size` bytes to ask for first."""
    return min(size, _LONGEST_TAIL, max(_SHORTEST_TAIL, size // _TAIL_PART))


def may_lead_on(wanted: Segment | Suffix) -> bool:
    """Say whether a plan may ask for more after this: after a tail or a directory, but not after an entry.

    A directory is asked for with what stands before it, so an entry is all that a plan asks for that is shorter.
    """
    return len(wanted) > _SLACK


# ------------------------------------------------------------------------------------------------------------ the talk

_Asking: TypeAlias = Generator[Segment | Suffix, Piece, Piece]


def _talk(identity: Identity, size: int | None, tail: int | None) -> Plan:
    held = yield from _first(size, tail)
    held, end = yield from _end(held)
    held = yield from _from(held, end.start, _SLACK)
    directory = parse_directory(held.data[end.start - held.start : end.stop - held.start], end)
    entry = directory.entry(_choose(identity, directory))
    stop = directory.after(entry.offset)
    raw = read_entry(entry, (yield from _bytes_of(held, entry, stop)))
    name, version = identity.check(raw)
    return WheelMetadata(raw, name, version, entry.offset, entry.compressed, entry.size, entry.crc)


def _first(size: int | None, tail: int | None) -> _Asking:
    if size == 0:
        raise NotZip("empty", b"")
    if size is None:
        piece = yield Suffix(tail or UNKNOWN_TAIL)
        if piece.stop != piece.total:
            raise ValueError(f"the piece stops at {piece.stop} of {piece.total}, and the end was asked for")
        return _beginning_checked(piece)
    return _beginning_checked((yield from _ask(Segment(max(0, size - (tail or known_tail(size))), size))))


def _end(held: Piece) -> Generator[Segment | Suffix, Piece, tuple[Piece, End]]:
    """Find the end record; without one, look at the beginning and say what the file is."""
    end = find_end(held)
    if isinstance(end, NoEnd) and held.start and len(held.data) < LEAST_TAIL:
        held = yield from _from(held, max(0, held.total - LEAST_TAIL))
        end = find_end(held)
    if isinstance(end, End):
        return held, end
    if held.start:
        _beginning_checked((yield from (_ask(Segment(0, HEAD)) if held.start > HEAD else _from(held, 0))))
    raise Malformed(end.reason)


def _ask(wanted: Segment) -> _Asking:
    piece = yield wanted
    if (piece.start, piece.stop) != (wanted.start, wanted.stop):
        raise ValueError(f"the piece is [{piece.start}, {piece.stop}), and {wanted} was asked for")
    return piece


def _beginning_checked(piece: Piece) -> Piece:
    if piece.start == 0 and (kind := sniff(piece.data[:HEAD])) != "zip":
        raise NotZip(kind, piece.data[:HEAD])
    return piece


def _from(held: Piece, start: int, slack: int = 0) -> _Asking:
    """Return a piece that begins at `start` or before and goes on to the end."""
    if held.start <= start:
        return held
    more = yield from _ask(Segment(max(0, start - slack), held.start))
    # Joined first: what was missing may be a single byte, too little to tell a zip by.
    return _beginning_checked(Piece(more.start, more.data + held.data, held.total))


def _bytes_of(held: Piece, entry: Entry, stop: int) -> Generator[Segment | Suffix, Piece, bytes]:
    """Return `[entry.offset, stop)`, asking for what is not held of it."""
    if entry.compressed > MAX_METADATA:  # before a server is asked for it
        raise Malformed(f"METADATA has {entry.compressed} bytes, more than {MAX_METADATA}")
    if entry.offset < held.start:
        missing = yield from _ask(Segment(entry.offset, min(stop, held.start)))
        return missing.data + held.data[: max(0, stop - held.start)]
    return held.data[entry.offset - held.start : stop - held.start]


def _choose(identity: Identity, directory: Directory) -> int:
    """Return the number of the METADATA of the one directory that holds this file's."""
    if not identity.is_wheel:
        return _choose_pkg_info(identity, directory)
    tops = {name.decode().partition("/")[0] for name in directory.find(b".dist-info/")}
    own = sorted(top for top in tops if identity.owns(top))
    if len(own) > 1:
        raise Malformed(f"it has {len(own)} dist-info directories: {_some(own)}")
    if not own:
        others = sorted(top for top in tops if top.endswith(".dist-info"))
        raise MetadataMissing(identity.filename, f"no dist-info directory is of its name and version ({_some(others)})")
    number = directory.number(f"{own[0]}/METADATA".encode())
    if number is None:
        raise MetadataMissing(identity.filename, f"{shown(own[0])} holds no METADATA")
    return number


def _choose_pkg_info(identity: Identity, directory: Directory) -> int:
    """Return the number of the PKG-INFO that lies in a top directory of a source distribution."""
    own = sorted(name.decode() for name in directory.find(b"/PKG-INFO") if name.count(b"/") == 1)
    own = [name for name in own if name.endswith("/PKG-INFO")]
    if len(own) > 1:
        raise Malformed(f"it has {len(own)} top directories with a PKG-INFO: {_some(own)}")
    number = directory.number(own[0].encode()) if own else None
    if number is None:
        raise NotStatic(identity.filename, "", has_pkg_info=False)
    return number


def _some(names: list[str]) -> str:
    return ", ".join(shown(name) for name in names[:3]) or "there is none"
