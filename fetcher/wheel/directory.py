"""The central directory of a zip (APPNOTE.TXT 4.3.12): which files there are, and where.

What `zipend` begins goes on here: an archive is read only if there is one way to read it.

- The directory holds as many entries as the end record says, and nothing else.
- Names are unique as bytes and as text, printable, relative, and plain: no backslash, no drive, no empty, `.` or `..`
  segment.
- The first entry begins with the file; each entry ends before the next begins, with no more room between them than its
  extra field and its descriptor can take.
- No entry is encrypted, patched or masked.
"""

import re
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from operator import add, sub
from typing import NamedTuple

from fetcher.wheel.records import (
    CENTRAL,
    CENTRAL_SIZE,
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
from fetcher.wheel.zipend import End

__all__ = ["MAX_GAP", "Directory", "Entry", "parse_directory"]

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


class Directory:
    """A central directory, column by column.  `names` are in its order.

    An object for each of 15,000 entries would cost several times as much as all checks together; the one that is
    wanted is parsed again.
    """

    def __init__(self, data: bytes, end: End) -> None:
        self._data = data
        self._end = end
        self._places: list[int] = []
        self._raw_names: list[bytes] = []
        self._offsets: list[int] = []
        self._compressed: list[int] = []
        self._all_flags = 0
        self._extras = 0
        self._split()
        # One a line: checked, and searched, all at once.
        self._lines = b"\n".join([b"", *self._raw_names, b""])
        self._plain = self._lines.isascii() and not self._extras and self._lines.count(b"\n") == len(self) + 1
        if not self._plain:
            self._lines = "\n".join(["", *self.names, ""]).encode()

    def __len__(self) -> int:
        return len(self._places)

    @cached_property
    def names(self) -> list[str]:
        """The names as text.  Raises Malformed; an extra field may hold a second name."""
        if self._plain:
            return self._lines.decode("ascii").split("\n")[1:-1]
        return [self._decode_name(number) for number in range(len(self))]

    def find(self, part: bytes) -> Iterator[bytes]:
        """Yield the names, in UTF-8, that hold `part`, which has no line break."""
        at = self._lines.find(part)
        while at >= 0:
            stop = self._lines.index(b"\n", at)
            yield self._lines[self._lines.rindex(b"\n", 0, at) + 1 : stop]
            at = self._lines.find(part, stop)

    def number(self, name: bytes) -> int | None:
        """Return the number of the entry of this name, in UTF-8; None if there is none."""
        at = self._lines.find(b"\n%b\n" % name)
        return None if at < 0 else self._lines.count(b"\n", 0, at)

    def entry(self, number: int) -> Entry:
        """Return all that is said of one entry."""
        at = self._places[number]
        _, flags, method, crc, compressed, size, name_length, extra_length, _, disk, offset = _ENTRY.unpack_from(
            self._data, at
        )
        start = at + CENTRAL_SIZE
        extra = self._data[start + name_length : start + name_length + extra_length]
        if MARK32 in (compressed, size, offset) or disk:
            compressed, size, offset = _resolve_marks(compressed, size, offset, disk, extra)
        raw_name = self._raw_names[number]
        return Entry(decode_name(raw_name, flags, extra), flags, method, crc, compressed, size, offset, raw_name)

    def after(self, offset: int) -> int:
        """Return where the next entry begins that begins after `offset`, or the directory."""
        return min((other for other in self._offsets if other > offset), default=self._end.start)

    def check(self) -> None:
        """Raise Malformed for what is unreadable, ambiguous or unsafe by name, or does not fill the file."""
        if self._all_flags & UNREADABLE:
            for number in range(len(self)):
                refuse_unreadable(self.entry(number).flags, self.names[number])
        self._check_names()
        self._check_layout()

    def _split(self) -> None:
        """Split the bytes into the entries that the end record counts, and nothing else.

        Nothing here makes a container for an entry: those would set off the garbage collector.
        """
        data, total, unpack, fixed = self._data, len(self._data), _LAYOUT.unpack_from, CENTRAL_SIZE
        places, names, compressed_sizes, offsets = self._places, self._raw_names, self._compressed, self._offsets
        at = all_flags = extras = 0
        for number in range(self._end.entries):
            start = at + fixed
            if start > total:
                raise Malformed(f"the central directory ends before its entry {number}")
            signature, flags, compressed, size, name_length, extra_length, comment, disk, offset = unpack(data, at)
            if signature != CENTRAL:
                raise Malformed(f"entry {number} of the central directory has no signature")
            places.append(at)
            stop = start + name_length
            at = stop + extra_length + comment
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
            raise Malformed(
                f"{total - at} bytes of the central directory belong to none of its {self._end.entries} entries"
            )
        self._all_flags, self._extras = all_flags, extras

    def _decode_name(self, number: int) -> str:
        at, name = self._places[number], self._raw_names[number]
        _, flags, *_, extra_length, _, _, _ = _ENTRY.unpack_from(self._data, at)
        extra_start = at + CENTRAL_SIZE + len(name)
        return decode_name(name, flags, self._data[extra_start : extra_start + extra_length])

    def _check_names(self) -> None:
        raw_names = self._raw_names
        if len(set(raw_names)) < len(raw_names) or (not self._plain and len(set(self.names)) < len(raw_names)):
            seen: Counter[str | bytes] = Counter(self.names) + Counter(raw_names)
            pairs = zip(self.names, raw_names, strict=True)
            twice = next(name for name, raw in pairs if seen[name] > 1 or seen[raw] > 1)
            raise Malformed(f"it has two entries named {shown(twice)}")
        # The expressions take ten times as long, and see only what is suspect.  A directory's name ends with its slash.
        classes = self._lines.replace(b"/\n", b"\n").translate(_CLASSES) if self._plain else _ODD
        if any(sign in classes for sign in _SUSPECT) or (b"/." in classes and any(sign in classes for sign in _DOTS)):
            _refuse(self.names, _UNPRINTABLE, "has unprintable characters")
            _refuse(self.names, _UNSAFE, "is no plain relative path")

    def _check_layout(self) -> None:
        numbers: Sequence[int] = range(len(self))
        starts, sizes = self._offsets, list(map(add, map(len, self._raw_names), self._compressed))
        if sorted(starts) != starts:
            numbers = sorted(numbers, key=starts.__getitem__)
            starts, sizes = sorted(starts), [sizes[number] for number in numbers]
        first = starts[0] if starts else self._end.start
        if first:
            raise Malformed(f"{first} bytes stand before its first entry")
        gaps = list(map(sub, map(sub, [*starts[1:], self._end.start], starts), sizes))
        if gaps and not LOCAL_SIZE <= min(gaps) <= max(gaps) <= LOCAL_SIZE + MAX_GAP:
            for number, gap in zip(numbers, gaps, strict=True):
                _refuse_gap(self.names[number], gap - LOCAL_SIZE)


def parse_directory(data: bytes, end: End) -> Directory:
    """Parse and check the central directory, whose bytes are `data`.

    Raises Malformed for one that is damaged, and for entries that are unreadable, ambiguous or unsafe by name, or
    overlap, or leave bytes out.
    """
    directory = Directory(data, end)
    directory.check()
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


def _refuse(names: list[str], pattern: re.Pattern[str], why: str) -> None:
    for name in names:
        if pattern.search(name):
            raise Malformed(f"the name {shown(name)} {why}")


def _refuse_gap(name: str, gap: int) -> None:
    if gap < 0:
        raise Malformed(f"the entry {shown(name)} overlaps what follows it")
    if gap > MAX_GAP:
        raise Malformed(f"after the entry {shown(name)} come {gap} bytes that belong to no entry")
