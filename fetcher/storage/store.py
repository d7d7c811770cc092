"""Where a mirror's files and pages are kept: what a store can do.

A key is a relative path of `/`-separated segments, such as `simple/numpy/index.html` (see `layout`).  Whoever reads a
key finds what was there before or what was put there, whole; never a part.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

__all__ = ["Inspected", "Store", "Stored"]


@dataclass(frozen=True)
class Stored:
    """What is there under a key: its size in bytes, and its SHA-256 where the store keeps that beside it.

    `odd` says what is there instead of a file, or why that cannot be read; empty as a rule.
    """

    key: str
    size: int
    sha256: str | None = None
    odd: str = ""


class Store(Protocol):
    """A directory, or a bucket.  All methods raise DiskError where the store fails (a subclass for object storage)."""

    @property
    def url(self) -> str:
        """What the user called it, redacted: `DIR` or `s3://BUCKET/PREFIX`."""

    async def place(self, key: str, path: Path, sha256: str) -> None:
        """Move a local file of that digest to the key; `path` is gone then.  What is there already is replaced."""

    async def put(self, key: str, body: bytes) -> None:
        """Put a page or a sidecar."""

    async def get(self, key: str) -> bytes | None:
        """Return a page or a sidecar; None if there is none."""

    async def stat(self, key: str) -> Stored | None:
        """Return what is there; None if there is nothing."""

    async def digest(self, key: str) -> str | None:
        """Return the SHA-256 of what is there, in lower-case hex; None if there is nothing.

        It is computed from the bytes, or what the store keeps beside them.
        """

    async def missing(self, expected: Mapping[str, int | None]) -> set[str]:
        """Return those keys that are not there, or not in their size, as far as that costs next to nothing."""

    def list(self, prefix: str = "") -> AsyncIterator[Stored]:
        """Yield everything whose key begins so, in no order; constant memory."""

    async def remove(self, keys: Iterable[str]) -> None:
        """Remove; what is not there is no error."""


class Inspected(Store, Protocol):
    """A store that can be verified, and repaired."""

    async def look(self, key: str) -> Stored | None:
        """Return what is there, its SHA-256 too; None if there is nothing.  No link is followed.

        A directory's file is read.  Of an object the store says what it keeps beside it, by one request.
        """

    async def read(self, key: str, start: int, stop: int) -> bytes:
        """Return the bytes of an object from `start` up to `stop`; fewer if it ends before."""

    async def clear(self, key: str) -> None:
        """Remove whatever stands in the place of a key, or in the way there."""
