"""A file that is not there until it is whole: a part file beside the destination, committed by rename.

The part file is new and exclusive (nothing is written through a link), unique per process and download, on the same
volume; whatever ends the download, it is either renamed or removed.
"""

import os
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar, TypeVarTuple

from anyio import CancelScope

from fetcher.digest import Digest
from fetcher.disk import on_disk
from fetcher.errors import DiskError

__all__ = ["PartFile"]

# Bytes are handed to a thread in pieces of this size at most: the loop is never blocked, and a thread per chunk costs
# more.
BATCH = 1 << 20
# Where there is no such flag (Windows), O_EXCL alone refuses an existing link.
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class PartFile:
    """The part file of one destination; use it as an async context manager, and `begin` first.  Raises DiskError.

    `digest` is computed where the bytes are written, in a thread: it is that of all bytes after `flush`.
    """

    def __init__(self, final: Path) -> None:
        self.final = final
        self.digest = Digest({})
        # The name's beginning is enough for a person to know it by; the whole may be too long with an ending added.
        self.path = final.with_name(f".{final.name[:100]}.{os.getpid()}-{secrets.token_hex(4)}.part")
        self._descriptor = -1
        self._exists = False
        # A task that asyncio cancels leaves its thread running: whatever uses or closes the descriptor takes turns.
        self._turn = threading.Lock()
        self._abandoned = False
        self._batch = BATCH
        self._waiting: list[bytes] = []
        self._waiting_size = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None or self._exists:
            with CancelScope(shield=True):
                await on_disk(self._discard)

    async def write(self, data: bytes) -> None:
        """Append bytes."""
        self._waiting.append(data)
        self._waiting_size += len(data)
        if self._waiting_size >= self._batch:
            await self.flush()

    async def begin(self, digest: Digest, *, batch: int = BATCH) -> None:
        """Make the file, empty, or forget what was written so far; `batch` bytes are held before they are written."""
        written = self._waiting_size or self.digest.size
        self.digest, self._batch = digest, batch
        self._waiting, self._waiting_size = [], 0
        if not self._exists:
            await self._run(self._create)
        elif written:
            await self._run(self._truncate)

    async def flush(self) -> None:
        """Write what is held."""
        if self._waiting:
            waiting, self._waiting, self._waiting_size = self._waiting, [], 0
            await self._run(self._write, waiting)

    async def read(self, start: int, stop: int) -> bytes:
        """Return the bytes `[start, stop)` as written, as far as they are there."""
        await self.flush()
        return await self._run(self._read, start, stop)

    async def commit(self, *, fsync: bool) -> None:
        """Give the file its final name; with `fsync` it is on the disk first."""
        await self.flush()
        await self._run(self._commit, fsync)

    async def _run(self, work: Callable[[*Ts], T], *arguments: *Ts) -> T:
        try:
            return await on_disk(self._in_turn, work, *arguments)
        except OSError as error:
            raise DiskError.of(str(self.final), error) from error

    def _in_turn(self, work: Callable[[*Ts], T], *arguments: *Ts) -> T:
        with self._turn:
            return work(*arguments)

    def _create(self) -> None:
        if self._abandoned:
            return
        self.final.parent.mkdir(parents=True, exist_ok=True)
        # 0o666 as `open` has it: the user's umask decides.
        self._descriptor = os.open(self.path, _FLAGS, 0o666)
        self._exists = True

    def _write(self, chunks: list[bytes]) -> None:
        for chunk in chunks:
            self.digest.update(chunk)
            view = memoryview(chunk)
            while view:
                view = view[os.write(self._descriptor, view) :]

    def _read(self, start: int, stop: int) -> bytes:
        os.lseek(self._descriptor, start, os.SEEK_SET)
        chunks = []
        while start < stop and (chunk := os.read(self._descriptor, stop - start)):
            chunks.append(chunk)
            start += len(chunk)
        os.lseek(self._descriptor, 0, os.SEEK_END)
        return b"".join(chunks)

    def _truncate(self) -> None:
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)

    def _commit(self, fsync: bool) -> None:
        if fsync:
            os.fsync(self._descriptor)
        self._close()
        os.replace(self.path, self.final)
        self._exists = False
        if fsync:
            _fsync_directory(self.final.parent)

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _discard(self) -> None:
        with self._turn:
            self._abandoned = True
            self._close()
            if self._exists:
                self.path.unlink(missing_ok=True)
                self._exists = False


def _fsync_directory(directory: Path) -> None:
    """Make the rename durable; Windows has no such thing."""
    if os.name == "nt":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
