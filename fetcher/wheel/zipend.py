"""The end of a zip: end record, zip64 record and locator (APPNOTE.TXT 4.3.14 to 4.3.16).

Readers of zips disagree about archives that are not plain, and a wheel that means one thing to its resolver and another
to its installer is an attack.  So an archive is read only if there is one way to read it:

- The last end record signature of the file is the end record's, and that record with its comment reaches exactly the
  end of the file.  So no byte follows it, and none hides in its comment.
- No earlier signature in the last 65,557 bytes has a comment that reaches the end of the file as well.
- If a locator stands before the end record, there is a zip64 record, of version 1, directly before the locator.  What
  it says is what the end record says wherever that one is no marker (all ones).
- One disk.
- The directory lies in the file and ends exactly where the end record (or zip64 record) begins; what it holds is for
  `directory` to say.
"""

import struct
from dataclasses import dataclass

from fetcher.segments import Piece
from fetcher.wheel.records import CENTRAL_SIZE, MARK16, MARK32, Malformed

__all__ = ["LEAST_TAIL", "MAX_DIRECTORY", "MAX_ENTRIES", "End", "NoEnd", "find_end"]

_END_SIGNATURE = b"PK\x05\x06"
_END = struct.Struct("<4xHHHHIIH")  # disk, directory's disk, entries here, entries, size, start, comment length
_LOCATOR_SIGNATURE = b"PK\x06\x07"
_LOCATOR = struct.Struct("<4xIQI")  # record's disk, its offset, disks
_END64_SIGNATURE = b"PK\x06\x06"
_END64 = struct.Struct("<4sQ4xIIQQQQ")  # signature, size of the rest, then as in the end record
_END64_REST = _END64.size - 12  # a version 1 record without extensible data (4.3.14.1)
_MAX_COMMENT = 0xFFFF

LEAST_TAIL = _END.size + _MAX_COMMENT + _LOCATOR.size + _END64.size
"""Bytes at the end of a file that hold every end record there can be, with its zip64 company."""

MAX_DIRECTORY = 64 * 1024 * 1024
"""Most bytes of a central directory we ask a server for: 35 times the largest of 966 real ones (1.8 MB)."""

MAX_ENTRIES = 200_000
"""Most entries: 13 times the most of 966 real wheels (15,632), and still parsed in well under a second."""


@dataclass(frozen=True, slots=True)
class End:
    """The directory is `[start, stop)` of the file and has `entries` entries."""

    start: int
    stop: int
    entries: int


@dataclass(frozen=True, slots=True)
class NoEnd:
    """No end record reaches the end of the file; `reason` says what is there instead."""

    reason: str


def find_end(piece: Piece) -> End | NoEnd:
    """Find the end record in `piece`, which reaches the end of its file and has LEAST_TAIL bytes or all.

    Raises Malformed if there is one and it is ambiguous, or contradicts itself or its zip64 record.
    """
    data = piece.data
    at = _last_signature(data)
    if isinstance(at, NoEnd):
        return at
    if at < _LOCATOR.size + _END64.size and piece.start:
        return NoEnd(f"the last {len(data)} bytes are too few to hold its end records")
    disk, directory_disk, here, entries, size, start, _ = _END.unpack_from(data, at)
    stop = piece.start + at
    if at >= _LOCATOR.size and data.startswith(_LOCATOR_SIGNATURE, at - _LOCATOR.size):
        stop -= _LOCATOR.size + _END64.size
        claimed = (disk, directory_disk, here, entries, size, start)
        disk, directory_disk, here, entries, size, start = _zip64_end(piece, at - _LOCATOR.size, claimed)
    if disk or directory_disk or here != entries:
        raise Malformed("it is one part of an archive on several disks")
    _check_geometry(size, start, stop, entries)
    return End(start, stop, entries)


def _last_signature(data: bytes) -> int | NoEnd:
    """Return where the last end record signature stands, if its record is the only one that reaches the end."""
    first = max(0, len(data) - _END.size - _MAX_COMMENT)
    at = data.rfind(_END_SIGNATURE, first)
    if at < 0:
        return NoEnd(f"there is no end record in its last {len(data) - first} bytes")
    # A few positions in an honest file, 16,000 in a comment full of them: each costs a microsecond.
    earlier = data.find(_END_SIGNATURE, first, at)
    while earlier >= 0 and _beyond(data, earlier) != 0:
        earlier = data.find(_END_SIGNATURE, earlier + 1, at)
    if earlier >= 0:
        raise Malformed("two end records claim it: the signature of one stands in the comment of the other")
    beyond = _beyond(data, at)
    if beyond is None or beyond > 0:
        return NoEnd("its end record is cut: the file is incomplete")
    if beyond < 0:
        return NoEnd(f"{-beyond} bytes follow its end record")
    return at


def _beyond(data: bytes, at: int) -> int | None:
    """Return how many bytes the end record at `at` with its comment wants beyond the file; None if it is cut itself."""
    if at + _END.size > len(data):
        return None
    comment = int(_END.unpack_from(data, at)[-1])
    return at + _END.size + comment - len(data)


def _zip64_end(piece: Piece, at: int, claimed: tuple[int, ...]) -> tuple[int, ...]:
    """Read the zip64 record before the locator at `at`, and hold it against what the end record claimed."""
    record_disk, offset, disks = _LOCATOR.unpack_from(piece.data, at)
    if record_disk or disks > 1:
        raise Malformed("it is one part of an archive on several disks")
    before = at - _END64.size
    if before < 0 or offset != piece.start + before:
        raise Malformed("the zip64 end record is not where its locator says")
    signature, rest, *values = _END64.unpack_from(piece.data, before)
    if signature != _END64_SIGNATURE or rest != _END64_REST:
        raise Malformed("the zip64 end record is damaged or has extensible data")
    for small, big, mark in zip(claimed, values, (MARK16,) * 4 + (MARK32,) * 2, strict=True):
        if small not in (mark, big):
            raise Malformed(f"the zip64 end record says {big} where the end record says {small}")
    return tuple(values)


def _check_geometry(size: int, start: int, stop: int, entries: int) -> None:
    off = stop - (start + size)
    if off:
        where = "before" if off > 0 else "after the start of"
        raise Malformed(f"the central directory ends {abs(off)} bytes {where} the end record")
    if size > MAX_DIRECTORY or entries > MAX_ENTRIES:
        raise Malformed(f"its central directory is too large: {entries} entries, {size} bytes")
    if entries * CENTRAL_SIZE > size:
        raise Malformed(f"the end record counts {entries} entries, and the central directory has room for fewer")
