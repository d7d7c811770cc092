"""A run that changes nothing: what would be fetched and removed.

The run is the same; who carries only looks, what is put into the store goes nowhere, and the manifest is a copy.
"""

import logging
import sqlite3
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

from fetcher.client import Fetcher
from fetcher.disk import on_disk
from fetcher.errors import ContentError, DiskError
from fetcher.index.files import File
from fetcher.mirror.manifest import NAME
from fetcher.mirror.records import Content
from fetcher.mirror.transfer import Carried, read_requirements
from fetcher.storage.store import Store, Stored

__all__ = ["Looker", "ReadOnly", "copy_manifest"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Looker:
    """Carries nothing; reads METADATA where what files depend on is wanted, too."""

    fetcher: Fetcher
    with_dependencies: bool
    room: int

    async def carry(self, file: File) -> Carried:
        """Return what would be there."""
        requires: tuple[str, ...] | None = None
        if self.with_dependencies:
            try:
                requires, _ = read_requirements((await self.fetcher.metadata(file)).raw)
            except ContentError:  # the same as for who carries: it is not known, and so said
                logger.info("%s: what it depends on cannot be read", file.filename)
        return Carried(Content(file.hashes.get("sha256", ""), file.size or 0, requires=requires))

    def page_place(self) -> AbstractAsyncContextManager[None]:
        """Have a page read: the Fetcher itself knows what else is under way."""
        return nullcontext()


@dataclass(frozen=True)
class ReadOnly:
    """A store that nothing is put into."""

    store: Store

    @property
    def url(self) -> str:
        """The store's."""
        return self.store.url

    async def place(self, key: str, path: Path, sha256: str) -> None:
        """Do nothing."""

    async def put(self, key: str, body: bytes) -> None:
        """Do nothing."""

    async def remove(self, keys: Iterable[str]) -> None:
        """Do nothing."""

    async def get(self, key: str) -> bytes | None:
        """Return what is there."""
        return await self.store.get(key)

    async def stat(self, key: str) -> Stored | None:
        """Return what is there."""
        return await self.store.stat(key)

    async def digest(self, key: str) -> str | None:
        """Return the digest of what is there."""
        return await self.store.digest(key)

    async def missing(self, expected: Mapping[str, int | None]) -> set[str]:
        """Return what is not there."""
        return await self.store.missing(expected)

    def list(self, prefix: str = "") -> AsyncIterator[Stored]:
        """Yield what is there."""
        return self.store.list(prefix)


async def copy_manifest(state: Path, folder: Path) -> None:
    """Copy the manifest in one directory, if there is one, into another.  Raises DiskError."""
    try:
        await on_disk(_copy, state / NAME, folder / NAME)
    except (OSError, sqlite3.Error) as error:
        raise DiskError(str(state / NAME), str(error)) from error


def _copy(source: Path, copy: Path) -> None:
    if not source.exists():
        return
    address = source.absolute().as_uri()
    try:
        _copy_from(f"{address}?mode=rw", copy)  # so that the log and its index do not stay
    except sqlite3.OperationalError:  # nothing may be written there
        _copy_from(f"{address}?immutable=1", copy)


def _copy_from(address: str, copy: Path) -> None:
    with closing(sqlite3.connect(address, uri=True)) as rows, closing(sqlite3.connect(copy)) as copied:
        rows.backup(copied)
