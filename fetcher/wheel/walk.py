"""Local headers as they stream by: METADATA out of a body that has no end yet (APPNOTE.TXT 4.3.6 to 4.3.9).

For servers that answer the whole file to whatever is asked.  Several build tools store dist-info first, so the walk can
often stop early; it never holds more than a header and the METADATA itself.

- An entry with sizes in its header is skipped by counting.  One whose sizes follow in a descriptor is inflated to find
  its end, and what it inflates to is thrown away; only deflate marks its own end, so anything else cannot be walked.
- A descriptor is taken for what fits: CRC unknown, sizes as counted, and a signature of the next record behind it.
- What a walk finds is what a streaming reader would install.  The directory may say otherwise: a result stays
  unverified until `plan` has read the end of the file.
- A walk never raises for what it is fed; where it cannot go on, the end of the file can tell why.
"""

import zlib
from collections.abc import Generator
from dataclasses import dataclass
from typing import TypeAlias

from fetcher.wheel.identity import identify
from fetcher.wheel.inflate import DEFLATED, MAX_METADATA, inflate
from fetcher.wheel.records import (
    CENTRAL,
    DESCRIPTOR_SIZES,
    FLAG_DESCRIPTOR,
    LOCAL,
    LOCAL_HEADER,
    LOCAL_SIZE,
    MARK32,
    UNREADABLE,
    LocalHeader,
    Malformed,
    decode_name,
    parse_descriptor,
    parse_local,
    refuse_unreadable,
    with_sizes,
)
from fetcher.wheel.zipend import MAX_ENTRIES

__all__ = ["AtDirectory", "CannotWalk", "Found", "NeedMore", "Verdict", "Walk"]

# Deflate makes at most 1,032 bytes of one: 16.5 MB in a step, whatever the chunks.
_STEP = 16 * 1024

_MAX_INFLATED = 8 * 1024**3
"""Most bytes inflated only to be thrown away, in one walk: several times the largest wheels, and some 20 s of work."""

_ENDS = (CENTRAL, b"PK\x06\x06", b"PK\x05\x06")  # directory, or an end record of an archive without entries


@dataclass(frozen=True, slots=True)
class NeedMore:
    """Feed the next chunk."""


@dataclass(frozen=True, slots=True)
class Found:
    """METADATA: `raw` and what the local header or descriptor says of it; the entry is `[header_offset, stop)`."""

    raw: bytes
    header_offset: int
    compressed: int
    size: int
    crc: int
    stop: int


@dataclass(frozen=True, slots=True)
class AtDirectory:
    """The central directory begins at `offset`, and no entry before it was the METADATA."""

    offset: int


@dataclass(frozen=True, slots=True)
class CannotWalk:
    """The entry at `offset` cannot be passed; the rest of the file has to be read, and then its end."""

    offset: int
    reason: str


Verdict: TypeAlias = NeedMore | Found | AtDirectory | CannotWalk
_Steps: TypeAlias = Generator[None, bytes, "Found | AtDirectory | CannotWalk"]


class Walk:
    """Walks the wheel called `filename`.  Raises MetadataMissing if that is not the name of a wheel.

    `inflated` counts the bytes that were inflated on the way: that is what a walk costs.
    """

    def __init__(self, filename: str) -> None:
        self._identity = identify(filename)
        self._chunk = b""
        self._at = 0  # of the chunk, the first byte not yet used
        self._passed = 0  # bytes of the file before the chunk
        self._header_offset = 0
        self._entries = 0
        self._to_skip = 0  # bytes that nobody looks at, from the next chunk on
        self.inflated = 0
        self._verdict: Verdict = NeedMore()
        self._steps = self._walk()
        next(self._steps)

    def feed(self, chunk: bytes) -> Verdict:
        """Take the next bytes of the file, any number, and tell what is known now.

        Once it is another verdict than NeedMore it stays, and further chunks are ignored.  A body that ends while more
        is needed is cut.
        """
        if not isinstance(self._verdict, NeedMore):
            return self._verdict
        if len(chunk) <= self._to_skip:
            self._to_skip -= len(chunk)
            self._passed += len(chunk)
            return self._verdict
        try:
            self._steps.send(chunk)
        except StopIteration as done:
            self._verdict = done.value
        except Malformed as error:
            self._verdict = CannotWalk(self._header_offset, str(error))
        return self._verdict

    # Reading: each of these takes bytes from the chunk in hand and awaits the next one as often as it must.

    @property
    def _offset(self) -> int:
        return self._passed + self._at

    def _next_chunk(self) -> Generator[None, bytes, None]:
        self._passed += len(self._chunk)
        self._chunk, self._at = b"", 0
        self._chunk = yield

    def _take(self, count: int) -> Generator[None, bytes, bytes]:
        taken = bytearray()
        while True:
            part = self._chunk[self._at : self._at + count - len(taken)]
            self._at += len(part)
            taken += part
            if len(taken) == count:
                return bytes(taken)
            yield from self._next_chunk()

    def _skip(self, count: int) -> Generator[None, bytes, None]:
        held = len(self._chunk) - self._at
        if held < count:
            self._to_skip = count - held
            yield from self._next_chunk()  # the first one that is longer than what is to be skipped
            count, self._to_skip = self._to_skip, 0
        self._at += count

    # Walking

    def _walk(self) -> _Steps:
        yield from self._next_chunk()
        signature = yield from self._take(len(LOCAL))
        while True:
            if signature == LOCAL:
                signature = self._pass_plain()
            self._header_offset = self._offset - len(signature)
            if self._entries == MAX_ENTRIES:
                return CannotWalk(self._header_offset, f"it has more than {MAX_ENTRIES} entries")
            self._entries += 1
            if signature in _ENDS:
                return AtDirectory(self._header_offset)
            if signature != LOCAL:
                return CannotWalk(
                    self._header_offset, f"the unknown signature {signature!r} stands where an entry should"
                )
            header, wanted = yield from self._header()
            if header.flags & FLAG_DESCRIPTOR:
                found, signature = yield from self._pass_unsized(header, wanted)
            else:
                found = yield from self._pass_sized(header, wanted)
                signature = b"" if found else (yield from self._take(len(LOCAL)))
            if found:
                return found

    def _pass_plain(self) -> bytes:
        """Pass the plain entries that lie in the chunk as a whole; return the signature behind them.

        Plain is an entry that cannot be METADATA, whose header tells its sizes, and that has no extra field: nearly
        all are, and a large job has a hundred thousand.
        """
        chunk, at = self._chunk, self._at - len(LOCAL)
        while at >= 0 and at + LOCAL_SIZE <= len(chunk):
            signature, flags, _, _, compressed, size, name_length, extra_length = LOCAL_HEADER.unpack_from(chunk, at)
            name_stop = at + LOCAL_SIZE + name_length
            stop = name_stop + compressed
            special = extra_length or flags & (FLAG_DESCRIPTOR | UNREADABLE) or MARK32 in (compressed, size)
            if signature != LOCAL or special or stop + len(LOCAL) > len(chunk) or self._entries >= MAX_ENTRIES:
                break
            name = chunk[at + LOCAL_SIZE : name_stop]
            if not name.isascii() or name.endswith(b"METADATA"):
                break
            at = stop
            self._entries += 1
            self._at = at + len(LOCAL)
        return chunk[at : at + len(LOCAL)] if at >= 0 else LOCAL

    def _header(self) -> Generator[None, bytes, tuple[LocalHeader, bool]]:
        """Read the rest of a local header; tell also whether it is that of the METADATA."""
        header = parse_local(LOCAL + (yield from self._take(LOCAL_SIZE - len(LOCAL))))
        raw_name = yield from self._take(header.name_length)
        extra = yield from self._take(header.extra_length)
        name = decode_name(raw_name, header.flags, extra)
        refuse_unreadable(header.flags, name)
        directory, _, base = name.partition("/")
        return with_sizes(header, extra), base == "METADATA" and self._identity.owns(directory)

    def _pass_sized(self, header: LocalHeader, wanted: bool) -> Generator[None, bytes, Found | None]:
        if not wanted:
            yield from self._skip(header.compressed)
            return None
        if header.compressed > MAX_METADATA:
            raise Malformed(f"METADATA has {header.compressed} bytes, more than {MAX_METADATA}")
        data = yield from self._take(header.compressed)
        return self._found(inflate(header.method, header.flags, data, header.size), header)

    def _pass_unsized(self, header: LocalHeader, wanted: bool) -> Generator[None, bytes, tuple[Found | None, bytes]]:
        """Pass an entry that has a descriptor; return with it the signature that follows."""
        if header.method != DEFLATED:
            raise Malformed(f"the sizes of an entry of method {header.method} stand behind it")
        raw, compressed, size = yield from self._inflate(wanted)
        crc, signature = yield from self._descriptor(compressed, size)
        if not wanted:
            return None, signature
        found = self._found(raw, header._replace(crc=crc, compressed=compressed, size=size))
        return found, signature

    def _inflate(self, keep: bool) -> Generator[None, bytes, tuple[bytes, int, int]]:
        """Inflate up to the end of a deflate stream; return what to keep of it, and both its sizes in bytes."""
        engine = zlib.decompressobj(-zlib.MAX_WBITS)
        begin, kept, size = self._offset, bytearray(), 0
        while not engine.eof:
            if self._at == len(self._chunk):
                yield from self._next_chunk()
            part = self._chunk[self._at : self._at + _STEP]
            try:
                raw = engine.decompress(part)
            except zlib.error as error:
                raise Malformed(f"an entry is damaged: {error}") from None
            self._at += len(part) - len(engine.unused_data)
            size += len(raw)
            if keep:
                kept += raw
            self._limit(len(raw), len(kept))
        return bytes(kept), self._offset - begin, size

    def _limit(self, inflated: int, kept: int) -> None:
        self.inflated += inflated
        if self.inflated > _MAX_INFLATED or kept > MAX_METADATA:
            raise Malformed("an entry inflates to more than we are ready to take")

    def _descriptor(self, compressed: int, size: int) -> Generator[None, bytes, tuple[int, bytes]]:
        """Read the descriptor and the four bytes after it; return the CRC and those four."""
        taken = b""
        for length in DESCRIPTOR_SIZES:
            taken += yield from self._take(length + len(LOCAL) - len(taken))
            facts = parse_descriptor(taken[:length])
            if facts is not None and facts[1:] == (compressed, size) and taken[length:] in (LOCAL, *_ENDS):
                return facts[0], taken[length:]
        raise Malformed("no descriptor follows an entry that promises one")

    def _found(self, raw: bytes, header: LocalHeader) -> Found:
        if zlib.crc32(raw) != header.crc:
            raise Malformed("the CRC of METADATA is wrong")
        stop = self._offset - (len(LOCAL) if header.flags & FLAG_DESCRIPTOR else 0)
        return Found(raw, self._header_offset, header.compressed, header.size, header.crc, stop)
