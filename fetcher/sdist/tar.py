"""The headers of a tar as they stand in it (POSIX.1-2017, pax; GNU tar's manual, "Basic Tar Format").

- A header is a block of 512 bytes, and so much of the file as it says follows, filled up to whole blocks.
- The checksum of each must be right: that is what tells a tar from anything else.
- A name of more than 100 bytes stands in two fields, in a pax record `path` before the header (typeflag `x`), or in a
  member of GNU's typeflag `L`.  A size of 8 GiB or more stands in a pax record or, by GNU, in binary.
- Global pax records (`g`) name a commit or the like; a name or size for all members would make no sense.

This file is pure.
"""

from typing import NamedTuple

__all__ = ["BLOCK", "Header", "TarError", "pad", "parse_header", "parse_pax", "with_records"]

BLOCK = 512

_CHECKSUM = slice(148, 156)
_MAGIC = b"ustar\0"  # GNU's own form has a blank there, and no second field for the name
# Those that `tarfile` takes for a file: regular (of old tars too), and contiguous.
_REGULAR = frozenset({b"0", b"\0", b"7"})
# A link, a device, a directory, a pipe has no content, whatever its size says.
_WITHOUT_CONTENT = frozenset({b"1", b"2", b"3", b"4", b"5", b"6"})

_LONGEST_NUMBER = 20  # digits: those of 64 bits


class TarError(Exception):
    """The archive breaks the format, or cannot be passed; the message is the reason.  It never leaves the room."""


class Header(NamedTuple):
    """What one header says; `size` is that of the content that follows, in bytes."""

    name: bytes
    kind: bytes
    size: int

    @property
    def is_regular(self) -> bool:
        """Whether the content is that of a file of this name."""
        return self.kind in _REGULAR


def pad(size: int) -> int:
    """Return how many bytes fill up a content of `size` bytes to whole blocks."""
    return -size % BLOCK


def parse_header(block: bytes) -> Header:
    """Parse a block that is not all zeros.  Raises TarError."""
    stated = _number(block[_CHECKSUM])
    if stated != sum(block) - sum(block[_CHECKSUM]) + 8 * ord(" "):
        raise TarError("a header has the wrong checksum")
    name, kind = _text(block[:100]), block[156:157]
    if block[257:263] == _MAGIC and (prefix := _text(block[345:500])):
        name = prefix + b"/" + name
    if kind == b"\0" and name.endswith(b"/"):  # so wrote the oldest tars
        kind = b"5"
    if kind == b"S":
        raise TarError("it has a sparse member of GNU's old form")
    return Header(name, kind, 0 if kind in _WITHOUT_CONTENT else _number(block[124:136]))


def parse_pax(content: bytes) -> dict[bytes, bytes]:
    """Parse records `length key=value`, each ended by a line break.  Raises TarError."""
    records: dict[bytes, bytes] = {}
    at = 0
    while at < len(content) and content[at]:
        length, _, _ = content[at : at + _LONGEST_NUMBER + 1].partition(b" ")
        stop = at + int(length) if length.isdigit() else at
        key, mark, value = content[at + len(length) + 1 : stop].partition(b"=")
        if not mark or not value.endswith(b"\n") or stop > len(content):
            raise TarError("a pax record is damaged")
        records[key] = value[:-1]
        at = stop
    return records


def with_records(header: Header, records: dict[bytes, bytes]) -> Header:
    """Return the header with what the pax records before it say instead.  Raises TarError."""
    name, size = records.get(b"path", header.name), records.get(b"size", b"")
    if size and not (size.isdigit() and len(size) <= _LONGEST_NUMBER):
        raise TarError("a pax record has a size that is none")
    takes_size = size and header.kind not in _WITHOUT_CONTENT
    return Header(name, header.kind, int(size) if takes_size else header.size)


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _number(field: bytes) -> int:
    """Read octal digits among blanks and zeros, or GNU's binary form."""
    if field[0] & 0x80:
        number = int.from_bytes(field[1:], "big")
        if field[0] != 0x80:
            raise TarError("a header has a negative number")
        return number
    digits = _text(field).strip()
    if digits.strip(b"01234567"):
        raise TarError("a header has a number that is none")
    return int(digits or b"0", 8)
