"""What a compressed stream holds, in steps of a bounded size: a chunk of a few KiB may make gigabytes.

gzip (RFC 1952 §2.2) and bzip2 are members one after the other, xz is streams (its format, §2); all make one content.
What follows the last of them and does not begin another is no content: tar programs pad with zeros.

This file is pure.
"""

import zlib
from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol, TypeAlias

from fetcher.wheel.sniff import Kind

__all__ = ["STEP", "Damaged", "Unpacker", "archive_kind", "is_tar"]

# What source distributions are, by the ends of their names.
_ARCHIVES: tuple[tuple[tuple[str, ...], Kind], ...] = (
    ((".tar.gz", ".tgz"), "gzip"),
    ((".zip",), "zip"),
    ((".tar.bz2", ".tbz"), "bzip2"),
    ((".tar.xz", ".txz"), "xz"),
    ((".tar",), "tar"),
)

STEP = 1 << 20
"""Most bytes made in one step: some milliseconds, whatever they are made of."""

# The strongest settings of xz ask for 65 MiB to decompress.
_MOST_MEMORY = 128 << 20
_GZIP_WINDOW = 31  # zlib's word for the largest window, in a gzip wrapper


def archive_kind(filename: str) -> Kind | None:
    """Return what an archive of this name should be; None for a name that does not say."""
    return next((kind for ends, kind in _ARCHIVES if filename.endswith(ends)), None)


def is_tar(filename: str) -> bool:
    """Say whether a file of this name is a tar, compressed or not: without a directory, it is read as it streams by."""
    return archive_kind(filename) not in (None, "zip")


class Damaged(Exception):
    """The stream breaks its format, or cannot be read here; the message is the reason.  It never leaves the room."""


class _Engine(Protocol):
    """What bz2 and lzma have in common, and zlib is given below."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Gunzip:
    """zlib hands back what it did not come to; the others keep it."""

    def __init__(self) -> None:
        self._engine = zlib.decompressobj(_GZIP_WINDOW)

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._engine.decompress(self._engine.unconsumed_tail + data, max_length)

    @property
    def eof(self) -> bool:
        return self._engine.eof

    @property
    def needs_input(self) -> bool:
        return not self._engine.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._engine.unused_data


_Made: TypeAlias = tuple[_Engine, type[Exception]]  # with what it raises for a stream that is damaged


def _gunzip() -> _Made:
    return _Gunzip(), zlib.error


def _bunzip() -> _Made:
    return _module("bz2").BZ2Decompressor(), OSError


def _unxz() -> _Made:
    lzma = _module("lzma")
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MOST_MEMORY), lzma.LZMAError


def _module(name: str) -> Any:  # noqa: ANN401 - both are optional parts of Python, and rarely needed
    try:
        return import_module(name)
    except ImportError:
        raise Damaged(f"this Python has no {name} to read it by") from None


# How each begins, and what reads it.
_ENGINES: dict[Kind | None, tuple[bytes, Callable[[], _Made]]] = {
    "gzip": (b"\x1f\x8b", _gunzip),
    "bzip2": (b"BZh", _bunzip),
    "xz": (b"\xfd7zXZ\x00", _unxz),
}


class Unpacker:
    """Undoes the compression that a file name tells; of a plain tar there is nothing to undo.

    `feed` what arrives, then take a `step` at a time until it `is_hungry`.
    """

    def __init__(self, compression: Kind | None) -> None:
        self._make: Callable[[], _Made] | None
        self._magic, self._make = _ENGINES.get(compression, (b"", None))
        self._engine: _Engine | None = None
        self._error: type[Exception] = zlib.error
        self._waiting = b""

    @property
    def is_hungry(self) -> bool:
        """Whether nothing more can be made of what was fed."""
        if self._engine is None:
            return not self._waiting
        if self._engine.eof:
            return not self._waiting.startswith(self._magic)
        return not self._waiting and self._engine.needs_input

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        self._waiting += data
        self._drop_padding()

    def step(self) -> bytes:
        """Return up to STEP bytes more of the content, perhaps none.  Raises Damaged."""
        if self._make is None:
            made, self._waiting = self._waiting[:STEP], self._waiting[STEP:]
            return made
        if self.is_hungry:
            return b""
        if self._engine is None or self._engine.eof:
            self._engine, self._error = self._make()
        data, self._waiting = self._waiting, b""
        try:
            made = self._engine.decompress(data, STEP)
        except (self._error, MemoryError) as error:
            raise Damaged(str(error) or "it takes too much memory") from None
        if self._engine.eof:
            self._waiting = self._engine.unused_data
            self._drop_padding()
        return made

    def _drop_padding(self) -> None:
        """Drop what follows the last member, once it is enough to tell that it begins no other."""
        if self._engine is not None and self._engine.eof and not self._begins_another():
            self._waiting = b""

    def _begins_another(self) -> bool:
        return self._waiting[: len(self._magic)] == self._magic[: len(self._waiting)]
