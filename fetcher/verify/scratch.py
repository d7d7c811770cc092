"""What one look at a mirror has to remember of a million objects: on disk, for as long as it is looked at.

- Of a key that is named, eight bytes of a digest are kept: that a stray object is taken for one of ten million named
  ones is one in a trillion.
- Of a project it is remembered where it was seen.
"""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from enum import IntFlag
from hashlib import blake2b
from types import TracebackType
from typing import Self, TypeVar, TypeVarTuple

from anyio import CancelScope, Lock

from fetcher.disk import on_disk
from fetcher.errors import DiskError

__all__ = ["Scratch", "Seen"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# In KiB: what is beyond goes to a file of SQLite's own, which has no name.
CACHE = 4096

_TABLES = """
CREATE TABLE keys (digest INTEGER PRIMARY KEY);
CREATE TABLE strays (key BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE projects (name TEXT PRIMARY KEY, seen INTEGER NOT NULL) WITHOUT ROWID;
"""


class Seen(IntFlag):
    """Where a project was seen: its pages, and its name on the root pages."""

    JSON = 1
    HTML = 2
    ROOT_JSON = 4
    ROOT_HTML = 8


class Scratch:
    """Use it as an async context manager, in one event loop.  Raises DiskError."""

    def __init__(self) -> None:
        self._turn = Lock()

    async def __aenter__(self) -> Self:
        await self._do(self._open)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with CancelScope(shield=True):
            await self._do(self._close)

    def _open(self) -> None:
        self._rows = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._rows.executescript(f"PRAGMA journal_mode = OFF; PRAGMA cache_size = -{CACHE}; {_TABLES} BEGIN;")

    def _close(self) -> None:
        self._rows.close()

    async def _do(self, work: Callable[[*Ts], T], *arguments: *Ts) -> T:
        async with self._turn:
            try:
                return await on_disk(work, *arguments)
            except sqlite3.Error as error:
                raise DiskError("a temporary file", str(error)) from error

    # ---------------------------------------------------------------------------------------------------------- keys

    async def name(self, keys: Iterable[str]) -> None:
        """Note keys that somebody names."""
        rows = [(_short(key),) for key in keys]
        await self._do(self._write, "INSERT OR IGNORE INTO keys VALUES (?)", rows)

    async def unnamed(self, keys: Sequence[str]) -> list[str]:
        """Return those of the keys that nobody has named."""
        return await self._do(lambda: [key for key in keys if not self._is_named(key)])

    def _is_named(self, key: str) -> bool:
        return self._rows.execute("SELECT 1 FROM keys WHERE digest = ?", (_short(key),)).fetchone() is not None

    async def count_named(self) -> int:
        """Return how many keys were named."""
        (count,) = await self._do(lambda: self._rows.execute("SELECT count(*) FROM keys").fetchone())
        return int(count)

    async def add_strays(self, keys: Iterable[str]) -> None:
        """Note keys that nobody names."""
        await self._do(self._write, "INSERT OR IGNORE INTO strays VALUES (?)", [(_encode(key),) for key in keys])

    async def strays(self, after: str, most: int) -> list[str]:
        """Return some of those keys, in order."""
        query = "SELECT key FROM strays WHERE key > ? ORDER BY key LIMIT ?"
        return await self._do(lambda: [_decode(key) for (key,) in self._rows.execute(query, (_encode(after), most))])

    async def count_strays(self) -> int:
        """Return how many there are."""
        (count,) = await self._do(lambda: self._rows.execute("SELECT count(*) FROM strays").fetchone())
        return int(count)

    # ------------------------------------------------------------------------------------------------------- projects

    async def see(self, names: Iterable[str], where: Seen) -> None:
        """Note where projects were seen."""
        statement = "INSERT INTO projects VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET seen = seen | excluded.seen"
        await self._do(self._write, statement, [(name, int(where)) for name in names])

    async def projects(self, after: str, most: int) -> list[tuple[str, Seen]]:
        """Return some of the projects, in order."""
        query = "SELECT name, seen FROM projects WHERE name > ? ORDER BY name LIMIT ?"
        return await self._do(lambda: [(name, Seen(seen)) for name, seen in self._rows.execute(query, (after, most))])

    def _write(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        self._rows.executemany(statement, rows)


def _encode(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")  # a name on a disk may be no text at all


def _decode(key: bytes) -> str:
    return key.decode("utf-8", "surrogateescape")


def _short(key: str) -> int:
    return int.from_bytes(blake2b(_encode(key), digest_size=8).digest(), signed=True)
