"""Where a mirror's files and pages are kept: what a store can do.

A key is a relative path of `/`-separated segments, such as `simple/numpy/index.html` (see `layout`).  Whoever reads a
key finds what was there before or what was put there, whole; never a part.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

__all__ = ["Store", "Stored"]


@dataclass(frozen=True)
class Stored:
    """What is there under a key: its size in bytes, and its SHA-256 where the store keeps that beside it."""

    key: str
    size: int
    sha256: str | None = None


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
