"""Zips made by hand, so that every field can lie.

`Item` is one file with what its two headers say of it; `build` lays items out and adds the end records.  What is not
given is what an honest writer would write.
"""

import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

from fetcher.errors import BadZip
from fetcher.segments import Piece, Segment, Suffix
from fetcher.wheel.plan import WheelMetadata, plan_metadata

NAME = "demo-1.0-py3-none-any.whl"
INFO = b"demo-1.0.dist-info/"
METADATA = b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n\n" + b"All work and no play. " * 9

MARK = 0xFFFF_FFFF


def deflate(raw: bytes, level: int = 6) -> bytes:
    engine = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    return engine.compress(raw) + engine.flush()


def extra(kind: int, layout: str, *values: int) -> bytes:
    body = struct.pack("<" + layout, *values)
    return struct.pack("<HH", kind, len(body)) + body


@dataclass
class Item:
    """One entry.  `local` and `central` override fields of the headers by name; `after` follows the data."""

    name: bytes = INFO + b"METADATA"
    raw: bytes = METADATA
    method: int = 8
    flags: int = 0
    data: bytes | None = None
    local: dict[str, Any] = field(default_factory=dict)
    central: dict[str, Any] = field(default_factory=dict)
    descriptor: str | None = None
    after: bytes = b""

    def facts(self, overrides: dict[str, Any]) -> dict[str, Any]:
        data = self.body()
        facts = {"signature": None, "name": self.name, "flags": self.flags | (8 if self.descriptor else 0)}
        facts |= {"method": self.method, "crc": zlib.crc32(self.raw), "compressed": len(data), "size": len(self.raw)}
        return facts | {"extra": b"", "comment": b"", "disk": 0} | overrides

    def body(self) -> bytes:
        if self.data is not None:
            return self.data
        return deflate(self.raw) if self.method == 8 else self.raw

    def tail(self) -> bytes:
        """The descriptor; its layout is struct's, with an "s" for the signature: "sIII", "IQQ"."""
        if self.descriptor is None:
            return self.after
        values = (zlib.crc32(self.raw), len(self.body()), len(self.raw))
        signature = b"PK\x07\x08" if self.descriptor.startswith("s") else b""
        return signature + struct.pack("<" + self.descriptor.lstrip("s"), *values) + self.after


def local_header(item: Item) -> bytes:
    zero = {"crc": 0, "compressed": 0, "size": 0} if item.descriptor else {}
    f = item.facts(zero | item.local)
    fixed = struct.pack(
        "<4sHHHHHIIIHH",
        *(f["signature"] or b"PK\x03\x04", 20, f["flags"], f["method"], 0, 33),
        *(f["crc"], f["compressed"], f["size"], len(f["name"]), len(f["extra"])),
    )
    return bytes(fixed + f["name"] + f["extra"])


def central_header(item: Item, offset: int) -> bytes:
    f = {"offset": offset} | item.facts(item.central)
    fixed = struct.pack(
        "<4sHHHHHHIIIHHHHHII",
        *(f["signature"] or b"PK\x01\x02", 20, 20, f["flags"], f["method"], 0, 33),
        *(f["crc"], f["compressed"], f["size"], len(f["name"]), len(f["extra"]), len(f["comment"])),
        *(f["disk"], 0, 0, f["offset"]),
    )
    return bytes(fixed + f["name"] + f["extra"] + f["comment"])


def build(
    items: list[Item],
    *,
    prefix: bytes = b"",
    after_directory: bytes = b"",
    comment: bytes = b"",
    suffix: bytes = b"",
    end: dict[str, int] | None = None,
    zip64: dict[str, int] | None = None,
) -> bytes:
    """Lay the archive out.  `end` overrides fields of the end record, `zip64` adds its records and overrides theirs."""
    out = bytearray(prefix)
    directory = bytearray()
    for item in items:
        directory += central_header(item, len(out))
        out += local_header(item) + item.body() + item.tail()
    start = len(out)
    out += directory + after_directory
    facts = {"disk": 0, "directory_disk": 0, "here": len(items), "entries": len(items)}
    facts |= {"size": len(directory), "start": start}
    if zip64 is not None:
        out += _zip64_records(facts | {"rest": 44, "record": len(out), "locator_disk": 0, "disks": 1} | zip64)
        facts |= {"here": 0xFFFF, "entries": 0xFFFF, "size": MARK, "start": MARK}
    facts |= {"comment": len(comment)} | (end or {})
    out += struct.pack("<4sHHHHIIH", b"PK\x05\x06", *(facts[k] for k in _END_FIELDS)) + comment + suffix
    return bytes(out)


_END_FIELDS = ("disk", "directory_disk", "here", "entries", "size", "start", "comment")


def _zip64_records(f: dict[str, int]) -> bytes:
    record = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", f["rest"], 45, 45, *(f[k] for k in _END_FIELDS[:-1]))
    return record + struct.pack("<4sIQI", b"PK\x06\x07", f["locator_disk"], f["record"], f["disks"])


def whole(data: bytes) -> Piece:
    return Piece(0, data, len(data))


def answer(data: bytes, wanted: Segment | Suffix) -> Piece:
    start, stop = (wanted.start, wanted.stop) if isinstance(wanted, Segment) else (len(data) - wanted.length, len(data))
    return Piece(max(0, start), data[max(0, start) : stop], len(data))


@dataclass
class Talk:
    """What a plan asked of a server that honours ranges, and what came of it."""

    asked: list[Segment]
    metadata: WheelMetadata


def talk(data: bytes, *, name: str = NAME, known: bool = True, tail: int | None = None) -> Talk:
    """Answer a plan out of `data`; whatever it raises goes through."""
    plan = plan_metadata(name, len(data) if known else None, tail)
    asked: list[tuple[int, int]] = []
    try:
        wanted = next(plan)
        while True:
            piece = answer(data, wanted)
            asked.append((piece.start, piece.stop))
            wanted = plan.send(piece)
    except StopIteration as done:
        return Talk([Segment(start, stop) for start, stop in asked], done.value)


def padding(size: int, name: bytes = b"demo/data.bin") -> Item:
    """An entry of `size` bytes that no compression or record signature is in."""
    return Item(name, bytes(size), method=0)


def metadata_in(filename: str, piece: Piece) -> WheelMetadata:
    """Follow a plan over bytes that reach the end of the file: all of it, or from where a walk found METADATA."""
    plan = plan_metadata(filename, piece.total, len(piece.data))
    wanted = next(plan)
    while True:
        if not (isinstance(wanted, Segment) and wanted.start >= piece.start):
            raise BadZip(filename, "its end leads to bytes before the METADATA that was read")
        cut = piece.data[wanted.start - piece.start : wanted.stop - piece.start]
        try:
            wanted = plan.send(Piece(wanted.start, cut, piece.total))
        except StopIteration as done:
            metadata: WheelMetadata = done.value
            return metadata
