"""What an entry's bytes are after decompression: one entry, whole, in memory, bounded.

- Never more than the size the directory states, plus one decoder's step, is produced: a small entry that inflates to
  gigabytes is refused, not expanded.
- The compressed stream ends where the entry ends: neither earlier nor later.
- Methods (APPNOTE.TXT 4.4.5): 0 stored, 8 deflate, 9 Deflate64, 12 bzip2, 14 LZMA, 93 Zstandard where this Python has
  it.  These are what `zipfile` reads, and Deflate64, which it does not.  Its own decompressors are not used because
  they produce as much as one read's input yields: 4 KiB of bzip2 make 4 GiB.

Rare decoders are imported where they are used: they cost time and a wheel hardly ever needs one.
"""

import zlib
from collections.abc import Callable
from importlib import import_module
from typing import Any

from fetcher.wheel.records import Malformed

__all__ = ["DEFLATED", "MAX_METADATA", "STORED", "inflate"]

STORED = 0
DEFLATED = 8

MAX_METADATA = 16 * 1024 * 1024
"""Most bytes of a METADATA, compressed or not: 50 times the largest of 966 real ones, and little enough to hold."""

_FLAG_LZMA_END = 1 << 1  # the stream ends with a marker, so the size need not be told (APPNOTE.TXT 4.4.4)

# One match of Deflate64 makes up to 65,538 bytes of 18 bits, and its decoder has no limit of its own:
# 256 bytes at a time make 7.5 MB at most.
_DEFLATE64_STEP = 256


def inflate(method: int, flags: int, data: bytes, size: int) -> bytes:
    """Return the `size` bytes that `data` holds in compressed form.

    Raises Malformed for a method nobody here reads, a damaged stream, and one that does not make exactly `size` bytes
    out of exactly `data`.
    """
    read = _METHODS.get(method)
    if read is None:
        raise Malformed(f"METADATA is compressed by method {method}, which nobody here reads")
    if max(size, len(data)) > MAX_METADATA:
        raise Malformed(f"METADATA has {max(size, len(data))} bytes, more than {MAX_METADATA}")
    raw, ended = read(data, size, flags)
    if len(raw) > size:
        raise Malformed(f"METADATA inflates to more than the {size} bytes it states")
    if len(raw) < size:
        raise Malformed(f"METADATA inflates to {len(raw)} bytes and states {size}")
    if not ended:
        raise Malformed("the compressed METADATA does not end where its entry ends")
    return raw


# Each reader takes (data, size, flags) and returns at most a step more than `size` bytes, and whether the stream ended
# with the last byte of `data`.


def _stored(data: bytes, _size: int, _flags: int) -> tuple[bytes, bool]:
    return data, True


def _deflated(data: bytes, size: int, _flags: int) -> tuple[bytes, bool]:
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        raw = engine.decompress(data, size + 1)
    except zlib.error as error:
        raise _damaged(error) from None
    return raw, engine.eof and not engine.unused_data


def _deflate64(data: bytes, size: int, _flags: int) -> tuple[bytes, bool]:
    # Its import teaches `zipfile` the method too, which does no harm.
    engine = _module("zipfile_deflate64.deflate64", 9).Deflate64()
    raw = bytearray()
    at = 0
    try:
        # Past its end the decoder would begin to repeat itself.
        while at < len(data) and len(raw) <= size and not engine.eof:
            raw += engine.decompress(data[at : at + _DEFLATE64_STEP])
            at += _DEFLATE64_STEP
    except ValueError as error:
        raise _damaged(error) from None
    return bytes(raw), engine.eof and at >= len(data)


def _bzip2(data: bytes, size: int, _flags: int) -> tuple[bytes, bool]:
    return _bounded(_module("bz2", 12).BZ2Decompressor(), data, size, OSError)


def _lzma(data: bytes, size: int, flags: int) -> tuple[bytes, bool]:
    """Give the stream the header of an .lzma file (5.8.8): properties, dictionary, and the size unless bit 1 is set."""
    lzma = _module("lzma", 14)
    if len(data) < 9 or data[2:4] != b"\x05\x00":
        raise Malformed("METADATA is damaged: no LZMA properties")
    # A dictionary larger than what it may produce is of no use, and memory to him who asks for 4 GiB.
    dictionary = min(int.from_bytes(data[5:9], "little"), MAX_METADATA)
    ends = size.to_bytes(8, "little") if not flags & _FLAG_LZMA_END else b"\xff" * 8
    alone = data[4:5] + dictionary.to_bytes(4, "little") + ends + data[9:]
    return _bounded(lzma.LZMADecompressor(format=lzma.FORMAT_ALONE), alone, size, lzma.LZMAError)


def _zstandard(data: bytes, size: int, _flags: int) -> tuple[bytes, bool]:
    zstd = _module("compression.zstd", 93)
    return _bounded(zstd.ZstdDecompressor(), data, size, zstd.ZstdError)


def _bounded(engine: Any, data: bytes, size: int, error: type[Exception]) -> tuple[bytes, bool]:  # noqa: ANN401 - three
    # modules' decompressors have this one interface and no common base
    try:
        raw: bytes = engine.decompress(data, size + 1)
    except error as damage:
        raise _damaged(damage) from None
    return raw, bool(engine.eof and not engine.unused_data)


def _module(name: str, method: int) -> Any:  # noqa: ANN401 - bz2 and lzma are optional, Zstandard is new in 3.14
    try:
        return import_module(name)
    except ImportError:
        raise Malformed(f"METADATA is compressed by method {method}, which this Python cannot read") from None


def _damaged(error: Exception) -> Malformed:
    return Malformed(f"METADATA is damaged: {error}")


_METHODS: dict[int, Callable[[bytes, int, int], tuple[bytes, bool]]] = {
    STORED: _stored,
    DEFLATED: _deflated,
    9: _deflate64,
    12: _bzip2,
    14: _lzma,
    93: _zstandard,
}
