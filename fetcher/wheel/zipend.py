"""The end of a zip: end record, zip64 record and locator, central directory (APPNOTE.TXT 4.3.12 to 4.3.16).

Readers of zips disagree about archives that are not plain, and a wheel that means one thing to its resolver and another
to its installer is an attack.  So an archive is read only if there is one way to read it:

- The last end record signature of the file is the end record's, and that record with its comment reaches exactly the
  end of the file.  So no byte follows it, and none hides in its comment.
- No earlier signature in the last 65,557 bytes has a comment that reaches the end of the file as well.
- If a locator stands before the end record, there is a zip64 record, of version 1, directly before the locator.  What
  it says is what the end record says wherever that one is no marker (all ones).
- One disk.
- The directory lies in the file and ends exactly where the end record (or zip64 record) begins; it holds as many
  entries as the record says, and nothing else.
- Names are unique as bytes and as text, printable, relative, and plain: no backslash, no drive, no empty, `.` or `..`
  segment.
- The first entry begins with the file; each entry ends before the next begins, with no more room between them than its
  extra field and its descriptor can take.
- No entry is encrypted, patched or masked.
"""

import re
import struct
from collections import Counter
from dataclasses import dataclass
from operator import add, sub
from typing import NamedTuple

from fetcher.segments import Piece
from fetcher.wheel.records import (
    CENTRAL,
    DESCRIPTOR_SIZES,
    LOCAL_SIZE,
    MARK16,
    MARK32,
    UNREADABLE,
    Malformed,
    decode_name,
    refuse_unreadable,
    shown,
    zip64_values,
)

__all__ = [
    "LEAST_TAIL",
    "MAX_DIRECTORY",
    "MAX_ENTRIES",
    "MAX_GAP",
    "Directory",
    "End",
    "Entry",
    "NoEnd",
    "find_end",
    "parse_directory",
]

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

MAX_GAP = 0xFFFF + max(DESCRIPTOR_SIZES)
"""Most bytes between an entry as the directory knows it, and the next one: its extra field and its descriptor."""

_ENTRY = struct.Struct("<4s4xHH4xIIIHHHH6xI")
_LAYOUT = struct.Struct("<4s4xH10xIIHHHH6xI")  # the same without method and CRC, which only one entry's reader needs

# Controls (C0, DEL, C1), line and paragraph separators, and the marks that turn the direction of writing.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
# Absolute, drive, backslash; an empty, `.` or `..` segment (a last empty one marks a directory).
_UNSAFE = re.compile(r"\A(?:/|[A-Za-z]:|\Z)|\\|//|(?:\A|/)\.\.?(?:/|\Z)")
_ORDINARY = frozenset(map(chr, range(0x20, 0x7F))) - {"\\", ":"}
# What a byte of a name is: the end of a segment, a dot, ordinary, or odd.
_ODD = b"!"
_CLASSES = bytes(
    ord("/") if byte in b"/\n" else byte if byte == ord(".") else ord("x") if chr(byte) in _ORDINARY else ord(_ODD)
    for byte in range(256)
)
_SUSPECT = (_ODD, b"//")
_DOTS = (b"/./", b"/../")


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


class Entry(NamedTuple):
    """What the directory says of one file: sizes in bytes, `offset` that of its local header, `raw_name` undecoded."""

    name: str
    flags: int
    method: int
    crc: int
    compressed: int
    size: int
    offset: int
    raw_name: bytes


# ---------------------------------------------------------------------------------------------------------- end record


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
    earlier = (first + match.start() for match in re.finditer(_END_SIGNATURE, data[first:at]))
    if any(_beyond(data, other) == 0 for other in earlier):
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
    if entries * _ENTRY.size > size:
        raise Malformed(f"the end record counts {entries} entries, and the central directory has room for fewer")


# ----------------------------------------------------------------------------------------------------------- directory


class Directory:
    """A central directory, column by column: `names`, and the `offsets` of their local headers, in its order.

    An object for each of 15,000 entries would cost several times as much as all checks together; the one that is
    wanted is parsed again.
    """

    def __init__(self, data: bytes) -> None:
        self.names: list[str] = []
        self.offsets: list[int] = []
        self._data = data
        self._places: list[int] = []
        self._raw_names: list[bytes] = []
        self._compressed: list[int] = []

    def __len__(self) -> int:
        return len(self._places)

    def entry(self, number: int) -> Entry:
        """Return all that is said of one entry."""
        at = self._places[number]
        _, flags, method, crc, compressed, size, name_length, extra_length, _, disk, offset = _ENTRY.unpack_from(
            self._data, at
        )
        start = at + _ENTRY.size
        extra = self._data[start + name_length : start + name_length + extra_length]
        if MARK32 in (compressed, size, offset) or disk:
            compressed, size, offset = _resolve_marks(compressed, size, offset, disk, extra)
        return Entry(self.names[number], flags, method, crc, compressed, size, offset, self._raw_names[number])

    def split(self, entries: int) -> None:
        """Split the bytes into so many entries, and nothing else.  Raises Malformed.

        Nothing here makes a container for an entry: those would set off the garbage collector.
        """
        data, total, unpack, fixed = self._data, len(self._data), _LAYOUT.unpack_from, _LAYOUT.size
        places, names, compressed_sizes, offsets = self._places, self._raw_names, self._compressed, self.offsets
        at = all_flags = extras = 0
        for number in range(entries):
            start = at + fixed
            if start > total:
                raise Malformed(f"the central directory ends before its entry {number}")
            signature, flags, compressed, size, name_length, extra_length, comment_length, disk, offset = unpack(
                data, at
            )
            if signature != CENTRAL:
                raise Malformed(f"entry {number} of the central directory has no signature")
            places.append(at)
            stop = start + name_length
            at = stop + extra_length + comment_length
            if at > total:
                raise Malformed(f"entry {number} reaches beyond the central directory")
            if disk or compressed == MARK32 or size == MARK32 or offset == MARK32:
                extra = data[stop : stop + extra_length]
                compressed, _, offset = _resolve_marks(compressed, size, offset, disk, extra)
            names.append(data[start:stop])
            compressed_sizes.append(compressed)
            offsets.append(offset)
            all_flags |= flags
            extras += extra_length
        if at != total:
            raise Malformed(f"{total - at} bytes of the central directory belong to none of its {entries} entries")
        self._decode_names(plain=not extras)
        if all_flags & UNREADABLE:
            for number in range(entries):
                refuse_unreadable(self.entry(number).flags, self.names[number])

    def _decode_names(self, *, plain: bool) -> None:
        """Decode the names, plain ASCII all at once; an extra field may hold a second name."""
        lines = b"\n".join(self._raw_names)
        if plain and lines.isascii() and lines.count(b"\n") == len(self._raw_names) - 1:
            self.names = lines.decode("ascii").split("\n")
            return
        for at, name in zip(self._places, self._raw_names, strict=True):
            _, flags, *_, extra_length, _, _, _ = _ENTRY.unpack_from(self._data, at)
            extra_start = at + _ENTRY.size + len(name)
            self.names.append(decode_name(name, flags, self._data[extra_start : extra_start + extra_length]))

    def check(self, end: int) -> None:
        """Raise Malformed for ambiguous or unsafe names, and for entries that do not fill the file up to `end`."""
        _check_names(self.names, self._raw_names)
        names, starts = self.names, self.offsets
        sizes = list(map(add, map(len, self._raw_names), self._compressed))
        if sorted(starts) != starts:
            order = sorted(range(len(self)), key=starts.__getitem__)
            names = [names[number] for number in order]
            sizes = [sizes[number] for number in order]
            starts = sorted(starts)
        first = starts[0] if starts else end
        if first:
            raise Malformed(f"{first} bytes stand before its first entry")
        gaps = list(map(sub, map(sub, [*starts[1:], end], starts), sizes))
        if gaps and not LOCAL_SIZE <= min(gaps) <= max(gaps) <= LOCAL_SIZE + MAX_GAP:
            for name, gap in zip(names, gaps, strict=True):
                _refuse_gap(name, gap - LOCAL_SIZE)


def parse_directory(data: bytes, end: End) -> Directory:
    """Parse and check the central directory, whose bytes are `data`.

    Raises Malformed for one that is damaged, and for entries that are unreadable, ambiguous or unsafe by name, or
    overlap, or leave bytes out.
    """
    directory = Directory(data)
    directory.split(end.entries)
    directory.check(end.start)
    return directory


def _resolve_marks(compressed: int, size: int, offset: int, disk: int, extra: bytes) -> tuple[int, int, int]:
    """Replace the marked values by those of the zip64 extra field, which has only the marked ones, in this order."""
    marks = [value == MARK32 for value in (size, compressed, offset)]
    layout = "Q" * sum(marks) + "I" * (disk == MARK16)
    values = iter(zip64_values(extra, layout) if layout else ())
    size, compressed, offset = (
        next(values) if marked else value for marked, value in zip(marks, (size, compressed, offset), strict=True)
    )
    if next(values, disk):
        raise Malformed("it is one part of an archive on several disks")
    return compressed, size, offset


def _check_names(names: list[str], raw_names: list[bytes]) -> None:
    if len(set(names)) < len(names) or len(set(raw_names)) < len(names):
        seen: Counter[str | bytes] = Counter(names) + Counter(raw_names)
        twice = next(pair for pair in zip(names, raw_names, strict=True) if seen[pair[0]] > 1 or seen[pair[1]] > 1)
        raise Malformed(f"it has two entries named {shown(twice[0])}")
    # All names at once: ten times as fast as the expressions, which only a suspect gets to see.
    lines = "\n".join(["", *names, ""])
    plain = lines.isascii() and lines.count("\n") == len(names) + 1
    # A directory's name ends with its slash.
    classes = lines.encode().replace(b"/\n", b"\n").translate(_CLASSES) if plain else _ODD
    if any(sign in classes for sign in _SUSPECT) or (b"/." in classes and any(sign in classes for sign in _DOTS)):
        _refuse(names, _UNPRINTABLE, "has unprintable characters")
        _refuse(names, _UNSAFE, "is no plain relative path")


def _refuse(names: list[str], pattern: re.Pattern[str], why: str) -> None:
    for name in names:
        if pattern.search(name):
            raise Malformed(f"the name {shown(name)} {why}")


def _refuse_gap(name: str, gap: int) -> None:
    if gap < 0:
        raise Malformed(f"the entry {shown(name)} overlaps what follows it")
    if gap > MAX_GAP:
        raise Malformed(f"after the entry {shown(name)} come {gap} bytes that belong to no entry")
