"""A body kept for later: memory first, then an unnamed temporary file; and the bounded shelf of such bodies."""

import tempfile
from collections import OrderedDict
from types import TracebackType
from typing import IO, Self

from fetcher.digest import Digest
from fetcher.disk import on_disk
from fetcher.errors import DiskError

__all__ = ["Shelf", "Spool"]

# Small wheels (below 128 KiB) never touch the disk.
MEMORY = 128 * 1024


class Spool:
    """Bytes written in order and read at any place.  Close it when it is no longer needed.

    `digest` is that of all bytes after `flush`: what goes to the disk is digested in the same thread, `batch` bytes at
    once.
    """

    def __init__(self, digest: Digest, *, batch: int) -> None:
        self.digest = digest
        self._batch = batch
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=MEMORY)  # noqa: SIM115 - closed by `close`
        self._waiting: list[bytes] = []
        self._waiting_size = 0
        self.size = 0

    async def write(self, data: bytes) -> None:
        """Append bytes."""
        self._waiting.append(data)
        self._waiting_size += len(data)
        self.size += len(data)
        if self._waiting_size >= self._batch:
            await self.flush()

    async def read(self, start: int, stop: int) -> bytes:
        """Return the bytes `[start, stop)`, as far as they are there."""
        await self.flush()
        if self.size <= MEMORY:
            return self._read(start, stop)
        return await on_disk(self._read, start, stop)

    def close(self) -> None:
        """Give the memory and the file back."""
        self._waiting.clear()
        self._file.close()

    async def flush(self) -> None:
        """Write what is held.  Raises DiskError."""
        if not self._waiting:
            return
        waiting, self._waiting, self._waiting_size = self._waiting, [], 0
        try:
            if self.size <= MEMORY:
                self._write(waiting)
            else:
                await on_disk(self._write, waiting)
        except OSError as error:
            raise DiskError.of(f"a temporary file in {tempfile.gettempdir()}", error) from error

    def _write(self, chunks: list[bytes]) -> None:
        self._file.seek(0, 2)
        for chunk in chunks:
            self.digest.update(chunk)
            self._file.write(chunk)

    def _read(self, start: int, stop: int) -> bytes:
        self._file.seek(start)
        return self._file.read(stop - start)


class Shelf:
    """Whole bodies read on the way to METADATA, so that downloading the file later costs nothing.

    Bounded in bytes and in number; the one put first goes first.  A body belongs to a URL.
    """

    def __init__(self, most_bytes: int = 512 << 20, most: int = 32) -> None:
        self._most_bytes = most_bytes
        self._most = most
        self._spools: OrderedDict[str, Spool] = OrderedDict()
        self._bytes = 0
        self._closed = False

    def put(self, url: str, spool: Spool) -> None:
        """Keep a body; too large a one is closed at once, and so is one that comes too late."""
        if self._closed:
            spool.close()
            return
        if (old := self.take(url)) is not None:
            old.close()
        self._spools[url] = spool
        self._bytes += spool.size
        while self._bytes > self._most_bytes or len(self._spools) > self._most:
            _, oldest = self._spools.popitem(last=False)
            self._bytes -= oldest.size
            oldest.close()

    def look(self, url: str) -> Spool | None:
        """Return a body that stays here, if it is there."""
        return self._spools.get(url)

    def take(self, url: str) -> Spool | None:
        """Hand a body over, if it is there; the taker closes it."""
        spool = self._spools.pop(url, None)
        if spool is not None:
            self._bytes -= spool.size
        return spool

    def __enter__(self) -> Self:
        self._closed = False
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        while self._spools:
            _, spool = self._spools.popitem()
            self._bytes -= spool.size
            spool.close()
