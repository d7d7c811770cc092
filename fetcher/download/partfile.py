"""A file that is not there until it is whole: a part file beside the destination, committed by rename.

- The part file is new and exclusive (nothing is written through a link), on the same volume, and made when there is
  something to write: a small file is written and renamed at once.
- Its origin stands beside it, where that allows to go on from it another time; else it goes with the download.
- Whoever writes a part holds a lock on it, which ends with the process.  So a later run can tell a part that was left
  from one that somebody else is writing.  Only finding is left to the lock: what is committed was verified.
"""

import errno
import hashlib
import os
import secrets
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self, TypeVar, TypeVarTuple

from anyio import CancelScope

from fetcher.digest import Digest
from fetcher.disk import on_disk
from fetcher.download.lock import lock
from fetcher.download.resume import Origin, dump_origin, parse_origin
from fetcher.errors import DiskError

__all__ = ["PartFile"]

# Bytes are handed to a thread in pieces of this size at most: the loop is never blocked, and a thread per chunk costs
# more.
BATCH = 1 << 20
# A file up to this size is digested at once, and written and renamed in one step.
SMALL = 64 * 1024
# A part that was left is digested in pieces, so that a cancellation is heard between them.
PIECE = 16 << 20
# So many processes can write one file at once and be found by a later run: names to try, not a directory to list.
SLOTS = 4
# What stands beside a part has some hundred bytes.
MOST_ORIGIN = 64 * 1024
# Where there is no such flag (Windows), O_EXCL alone refuses an existing link.
_OPEN = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_NEW = _OPEN | os.O_CREAT | os.O_EXCL


T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class PartFile:
    """The part file of one destination; use it as an async context manager.  Raises DiskError.

    `digest` is computed where the bytes are written, in a thread: it is that of all bytes after `settle`.  `size`
    counts the bytes written or held, `origin` is what they are a part of.
    """

    def __init__(self, final: Path) -> None:
        self.final = final
        self.digest = Digest({})
        self.origin: Origin | None = None
        self.size = 0
        # The name's beginning is for people to know it by; the whole may be too long with an ending added.
        key = hashlib.sha256(final.name.encode("utf-8", "surrogateescape")).hexdigest()[:8]
        shown = final.name[:60] if final.name.isascii() else ""  # others have up to four bytes a character
        stem = f".{shown}.{key}"
        # Strings: a path object takes longer to make than the system call that it is made for.
        self._directory = str(final.parent)
        self._slots = [os.path.join(self._directory, f"{stem}.{slot}.part") for slot in range(SLOTS)]
        # Where every slot is taken, or there are no locks: a name that nobody will look for.
        self._path = os.path.join(self._directory, f"{stem}.{secrets.token_hex(4)}.part")
        self._descriptor = -1
        self._described = False
        # A task that asyncio cancels leaves its thread running: whatever uses or closes the descriptor takes turns.
        self._turn = threading.Lock()
        self._closed = False
        # The next bytes are the file's first; those that wait are in the digest already.
        self._from_start = True
        self._digested = False
        self._batch = BATCH
        self._waiting: list[bytes] = []
        self._waiting_size = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor >= 0 or error is not None:
            with CancelScope(shield=True):
                await on_disk(self._leave)

    async def look(
        self, offset_of: Callable[[int, Origin | None], int], digest: Digest, total: int | None, *, trust: bool
    ) -> int | None:
        """Look at what is there already; there must be room for what is missing of `total` bytes.

        With `trust`, return the size of a file that is in its place if that is the right size, and do nothing more.
        Else take over a part that an earlier run left: `offset_of(size, origin)` says how much of it is of use.  What
        is of no use and of nobody is removed.
        """
        size, offset = await self._run(self._look, offset_of, total, trust)
        self.digest, self.size = digest, offset
        for start in range(0, offset, PIECE):
            digest.update(await self._run(self._read, start, min(offset, start + PIECE)))
        return size

    async def clear(self) -> None:
        """Remove what earlier runs left of a file that is in its place; a read-only volume keeps it."""
        await self._run(self._clear)

    def begin(self, digest: Digest, origin: Origin | None, *, batch: int) -> None:
        """Forget what was written so far; `batch` bytes are held before they are written."""
        self.digest, self.origin, self._batch = digest, origin, batch
        self.size = 0
        self._from_start, self._digested = True, False
        self._waiting, self._waiting_size = [], 0

    async def write(self, data: bytes) -> None:
        """Append bytes."""
        self._waiting.append(data)
        self._waiting_size += len(data)
        self.size += len(data)
        if self._waiting_size >= self._batch:
            await self.flush()

    async def settle(self) -> None:
        """Have the digest of all bytes; a small file is written only when it is committed."""
        if self._descriptor < 0 and self._waiting_size <= SMALL:
            if not self._digested:
                self.digest.update(b"".join(self._waiting))
            self._digested = True
        else:
            await self.flush()

    async def flush(self) -> None:
        """Write what is held."""
        if self._waiting or self._descriptor < 0:
            waiting, self._waiting, self._waiting_size = self._waiting, [], 0
            await self._run(self._write, waiting)

    async def read(self, start: int, stop: int) -> bytes:
        """Return the bytes `[start, stop)` as written, as far as they are there."""
        await self.flush()
        return await self._run(self._read, start, stop)

    async def inspect(self, look: Callable[[IO[bytes]], T]) -> T:
        """Let `look` read the file, in a thread."""
        await self.flush()
        return await self._run(self._inspect, look)

    async def commit(self, *, fsync: bool) -> None:
        """Write what is held and give the file its final name; with `fsync` it is on the disk first."""
        waiting, self._waiting, self._waiting_size = self._waiting, [], 0
        await self._run(self._commit, waiting, fsync)

    def spoil(self) -> None:
        """Let nobody go on from these bytes: they are wrong."""
        self.origin = None

    async def _run(self, work: Callable[[*Ts], T], *arguments: *Ts) -> T:
        try:
            return await on_disk(self._in_turn, work, *arguments)
        except OSError as error:
            raise DiskError.of(str(self.final), error) from error

    def _in_turn(self, work: Callable[[*Ts], T], *arguments: *Ts) -> T:
        with self._turn:
            if self._closed:  # it was cancelled before its thread had begun
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            return work(*arguments)

    # In a thread, in turn.

    def _look(
        self, offset_of: Callable[[int, Origin | None], int], total: int | None, trust: bool
    ) -> tuple[int | None, int]:
        if trust:
            with suppress(FileNotFoundError):
                size = os.stat(self.final).st_size
                if total in (None, size):
                    return size, 0
        if not os.access(self._directory, os.W_OK):
            os.makedirs(self._directory, exist_ok=True)
            if not os.access(self._directory, os.W_OK):
                raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        offset = 0
        for path in self._slots:
            offset = offset or self._take(path, offset_of)
            if offset and path != self._path:
                self._take(path, _of_no_use)
        if total is not None and total - offset > shutil.disk_usage(self._directory).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return None, offset

    def _clear(self) -> None:
        for path in self._slots:
            with suppress(OSError):
                self._take(path, _of_no_use)

    def _take(self, path: str, offset_of: Callable[[int, Origin | None], int]) -> int:
        """Take a part over if it is of use; remove it if it is of no use, unless somebody is writing it."""
        try:
            descriptor = os.open(path, _OPEN)
        except FileNotFoundError:
            _unlink(_beside(path))  # its part was renamed, and then somebody was killed
            return 0
        except OSError:
            return 0  # a link, or not ours to read
        try:
            if not _own(descriptor, path):
                return 0
            origin = parse_origin(_read_beside(_beside(path)))
            offset = offset_of(os.fstat(descriptor).st_size, origin)
            if not offset:
                _unlink(path)
                _unlink(_beside(path))
                return 0
            os.ftruncate(descriptor, offset)
            os.lseek(descriptor, 0, os.SEEK_END)
            self._path, self.origin, self._described, self._from_start = path, origin, True, False
            self._descriptor, descriptor = descriptor, -1
            return offset
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def _create(self) -> None:
        os.makedirs(self._directory, exist_ok=True)
        for path in self._slots:
            try:
                # 0o666 as `open` has it: the user's umask decides.
                descriptor = os.open(path, _NEW, 0o666)
            except FileExistsError:
                continue
            if _own(descriptor, path):
                self._path, self._descriptor = path, descriptor
                return
            if _is_still(descriptor, path):  # there are no locks here
                _unlink(path)
            os.close(descriptor)
        self._descriptor = os.open(self._path, _NEW, 0o666)
        self.spoil()

    def _write(self, chunks: list[bytes]) -> None:
        if self._descriptor < 0:
            self._create()
        if self._from_start:
            self._from_start = False
            os.ftruncate(self._descriptor, 0)
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            self._describe()
        for chunk in chunks:
            if not self._digested:
                self.digest.update(chunk)
            view = memoryview(chunk)
            while view:
                view = view[os.write(self._descriptor, view) :]

    def _describe(self) -> None:
        """Write down what this is a part of, if it will take more than this to bring it."""
        if self.origin is not None and self.origin.can_be_resumed and self.size < (self.origin.total or 0):
            self._described = True
            _write_beside(_beside(self._path), dump_origin(self.origin))
        else:
            self._forget()

    def _forget(self) -> None:
        if self._described:
            _unlink(_beside(self._path))
            self._described = False

    def _read(self, start: int, stop: int) -> bytes:
        os.lseek(self._descriptor, start, os.SEEK_SET)
        chunks = []
        while start < stop and (chunk := os.read(self._descriptor, stop - start)):
            chunks.append(chunk)
            start += len(chunk)
        os.lseek(self._descriptor, 0, os.SEEK_END)
        return b"".join(chunks)

    def _inspect(self, look: Callable[[IO[bytes]], T]) -> T:
        with os.fdopen(os.dup(self._descriptor), "rb") as file:
            result = look(file)
        os.lseek(self._descriptor, 0, os.SEEK_END)
        return result

    def _commit(self, waiting: list[bytes], fsync: bool) -> None:
        if waiting or self._descriptor < 0:
            self._write(waiting)
        if fsync:
            os.fsync(self._descriptor)
        if os.name == "nt":  # where an open file cannot be renamed
            self._close()
        os.replace(self._path, self.final)
        self._forget()
        self._close()
        if fsync:
            _fsync_directory(self._directory)

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _leave(self) -> None:
        """End without a commit: keep what another run can go on from, remove the rest."""
        with self._turn:
            self._closed = True
            if self._descriptor < 0:
                return
            kept = self.origin is not None and self._described
            if kept or os.name == "nt":  # where an open file cannot be removed
                self._close()
            if not kept:
                _unlink(self._path)
                self._forget()
            self._close()


def _of_no_use(size: int, origin: Origin | None) -> int:
    return 0


def _unlink(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def _own(descriptor: int, path: str) -> bool:
    """Lock an open file; False if another has it, or the name is no longer this file's: it may have been committed."""
    return lock(descriptor) and _is_still(descriptor, path)


def _is_still(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def _beside(path: str) -> str:
    return f"{path}.json"


def _write_beside(path: str, text: bytes) -> None:
    _unlink(path)  # and with it a link that somebody may have put there
    descriptor = os.open(path, _NEW, 0o666)
    try:
        os.write(descriptor, text)
    finally:
        os.close(descriptor)


def _read_beside(path: str) -> bytes:
    try:
        with open(path, "rb", opener=_open_plain) as file:
            return file.read(MOST_ORIGIN)
    except OSError:
        return b""  # what cannot be read tells nothing: the part is of no use


def _open_plain(path: str, flags: int) -> int:
    """Open a file without following a link or waiting for a pipe's other end."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))


def _fsync_directory(directory: str) -> None:
    """Make the rename durable; Windows has no such thing."""
    if os.name == "nt":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
