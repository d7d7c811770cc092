"""The records a zip is made of, as they stand on the wire (APPNOTE.TXT 6.3.10, chapter 4).

All numbers are little-endian.  What every reader of these records holds to:

- A field that is all ones is a marker: the value stands in the zip64 extra field (4.5.3), in the order size, compressed
  size, header offset, disk, only the marked ones.
- A local header marks both sizes or none, and its extra field then has both (4.5.3).
- An extra field that could give an entry a second size or a second name, depending on who reads it, is refused: two
  zip64 fields, or a Unicode path (4.6.9) that differs from the name.
- An entry is encrypted, patched or masked if the flags say so (4.4.4, bits 0, 5, 6, 13); nobody here reads those.
- With bit 3 (4.3.9) the sizes and the CRC follow the data in a descriptor: with or without a signature, 32 or 64 bit.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

__all__ = [
    "CENTRAL",
    "CENTRAL_SIZE",
    "DESCRIPTOR",
    "DESCRIPTOR_SIZES",
    "FLAG_DESCRIPTOR",
    "FLAG_UTF8",
    "LOCAL",
    "LOCAL_HEADER",
    "LOCAL_SIZE",
    "MARK16",
    "MARK32",
    "UNREADABLE",
    "LocalHeader",
    "Malformed",
    "decode_name",
    "parse_descriptor",
    "parse_local",
    "refuse_unreadable",
    "shown",
    "with_sizes",
    "zip64_values",
]

LOCAL = b"PK\x03\x04"
CENTRAL = b"PK\x01\x02"
DESCRIPTOR = b"PK\x07\x08"

MARK16 = 0xFFFF
MARK32 = 0xFFFF_FFFF

FLAG_DESCRIPTOR = 1 << 3
FLAG_UTF8 = 1 << 11
_UNREADABLE = {1 << 6: "strongly encrypted", 1 << 0: "encrypted", 1 << 5: "patched data", 1 << 13: "masked"}
UNREADABLE = sum(_UNREADABLE)

LOCAL_HEADER = struct.Struct("<4s2xHH4xIIIHH")
LOCAL_SIZE = LOCAL_HEADER.size
CENTRAL_SIZE = 46  # the fixed part of an entry of the directory (4.3.12)
# One by one: 32 bit, with signature, 64 bit, with signature (4.3.9.1 to 4.3.9.3).
_DESCRIPTORS = {
    12: struct.Struct("<III"),
    16: struct.Struct("<4xIII"),
    20: struct.Struct("<IQQ"),
    24: struct.Struct("<4xIQQ"),
}
DESCRIPTOR_SIZES = tuple(_DESCRIPTORS)

_SHOWN = 100  # characters; longer than any honest path's end

_ZIP64 = 0x0001
_UNICODE_PATH = 0x7075


class Malformed(Exception):
    """A record breaks the format or is ambiguous; the message is the reason, a clause in plain words.

    It never leaves the room: `plan` makes a BadZip of it, `walk` a CannotWalk.
    """


class LocalHeader(NamedTuple):
    """A local header (4.3.7); `compressed` and `size` in bytes, zip64 not yet resolved (see `with_sizes`)."""

    flags: int
    method: int
    crc: int
    compressed: int
    size: int
    name_length: int
    extra_length: int


def shown(name: str | bytes) -> str:
    """Return a name as it may stand in a sentence: quoted, escaped, and not 64 KiB long."""
    return repr(name) if len(name) <= _SHOWN else f"{name[:_SHOWN]!r}…"


def parse_local(data: bytes) -> LocalHeader:
    """Parse the fixed part of a local header, `LOCAL_SIZE` bytes that are there.  Raises Malformed."""
    signature, *fields = LOCAL_HEADER.unpack_from(data)
    if signature != LOCAL:
        raise Malformed("no local header stands where the central directory says one does")
    return LocalHeader(*fields)


def with_sizes(header: LocalHeader, extra: bytes) -> LocalHeader:
    """Return `header` with its sizes taken from the zip64 extra field if it marks them.  Raises Malformed."""
    marks = (header.size == MARK32, header.compressed == MARK32)
    if marks == (False, False):
        return header
    if marks != (True, True):
        raise Malformed("a local header marks only one of its two sizes as zip64")
    size, compressed = zip64_values(extra, "QQ")
    return header._replace(size=size, compressed=compressed)


def zip64_values(extra: bytes, layout: str) -> tuple[int, ...]:
    """Return the first values of the zip64 extra field; `layout` is struct's ("Q": 8 bytes, "I": 4).

    Raises Malformed if there is none, more than one, or one that is too short (4.5.3).
    """
    fields = [body for kind, body in _extra_fields(extra) if kind == _ZIP64]
    values = struct.Struct("<" + layout)
    if len(fields) != 1 or len(fields[0]) < values.size:
        raise Malformed("an entry marks a size as zip64 and does not give it exactly once")
    return values.unpack_from(fields[0])


def decode_name(name: bytes, flags: int, extra: bytes = b"") -> str:
    """Return an entry's name: UTF-8 if bit 11 is set, else code page 437 (4.4.17, appendix D).  Raises Malformed."""
    try:
        text = name.decode("utf-8" if flags & FLAG_UTF8 else "cp437")
    except UnicodeDecodeError:
        raise Malformed(f"the name {shown(name)} is said to be UTF-8 and is not") from None
    if any(body[5:] != text.encode() for kind, body in _extra_fields(extra) if kind == _UNICODE_PATH):
        raise Malformed(f"the entry {shown(text)} has a second name in an extra field")
    return text


def _extra_fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the extra fields (4.5.1); a rest too short to be one ends them, as several old writers pad with zeros."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if at + 4 + length > len(extra):
            raise Malformed("an extra field is longer than its room")
        yield kind, extra[at + 4 : at + 4 + length]
        at += 4 + length


def parse_descriptor(data: bytes) -> tuple[int, int, int] | None:
    """Return (crc, compressed, size) of a descriptor that fills `data`; None if that is no descriptor (4.3.9)."""
    layout = _DESCRIPTORS.get(len(data))
    if layout is None or (len(data) in (16, 24) and not data.startswith(DESCRIPTOR)):
        return None
    crc, compressed, size = layout.unpack(data)
    return crc, compressed, size


def refuse_unreadable(flags: int, name: str) -> None:
    """Raise Malformed if the flags of entry `name` say that it is encrypted, patched or masked."""
    if flags & UNREADABLE:
        how = next(word for bit, word in _UNREADABLE.items() if flags & bit)
        raise Malformed(f"the entry {shown(name)} is {how}")
