"""A file that is not there until it is whole: a part file beside the destination, committed by rename.

- The part file is new and exclusive (nothing is written through a link), on the same volume, and made when there is
  something to write: a small file is written and renamed at once.
- Its origin stands beside it, where that allows to go on from it another time; else it goes with the download.
- Whoever writes a part holds a lock on it, which ends with the process.  So a later run can tell a part that was left
  from one that somebody else is writing.  Only finding is left to the lock: what is committed was verified.
- Several connections may write at several places.  The part then has gaps, and its origin says where they are.
"""

import errno
import hashlib
import os
import secrets
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Self, TypeVar, TypeVarTuple

from anyio import CancelScope
from msgspec import structs

from fetcher.digest import Digest
from fetcher.disk import on_disk
from fetcher.download.lock import lock
from fetcher.download.resume import Origin, dump_origin, held_of, parse_origin
from fetcher.download.volumes import Claim, Volumes
from fetcher.errors import DiskError
from fetcher.segments import Segment, merge

__all__ = ["SMALL", "PartFile"]

# A file up to this size is digested at once, and written and renamed in one step.
SMALL = 64 * 1024
# A part that was left is digested in pieces, so that a cancellation is heard between them.
PIECE = 16 << 20
# What is read and digested at once.
AT_ONCE = 1 << 20
# So many processes can write one file at once and be found by a later run: names to try, not a directory to list.
SLOTS = 4
# What stands beside a part has some hundred bytes.
MOST_ORIGIN = 64 * 1024
# Where there is no such flag (Windows), O_EXCL alone refuses an existing link.
_OPEN = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_NEW = _OPEN | os.O_CREAT | os.O_EXCL


T = TypeVar("T")
Ts = TypeVarTuple("Ts")
# Of what an earlier run left, by the size of the part and what is known of it: what can be gone on from.
Choose = Callable[[tuple[Segment, ...], Origin | None], tuple[Segment, ...]]


@dataclass
class _Strand:
    """Bytes that follow each other, not written yet."""

    start: int
    size: int = 0
    chunks: list[bytes] = field(default_factory=list)


class PartFile:
    """The part file of one destination; use it as an async context manager.  Raises DiskError.

    `digest` is computed where the bytes are written, in a thread, as far as there are no gaps: it is that of all bytes
    after `settle`.  `size` counts the bytes that are here, written or not; `origin` is what they are a part of.
    """

    def __init__(self, final: Path, volumes: Volumes) -> None:
        self.final = final
        self._volumes = volumes
        self._claim: Claim | None = None
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
        # The size of what stands beside the part; 0: nothing.
        self._described = 0
        # A task that asyncio cancels leaves its thread running: whatever uses or closes the descriptor takes turns.
        self._turn = threading.Lock()
        self._closed = False
        self._from_start = True
        self._has_map = False
        self._lasting = True
        self._written: tuple[Segment, ...] = ()
        # By the place of the byte that comes next.
        self._strands: dict[int, _Strand] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._claim is not None:
            self._volumes.release(self._claim)
        if self._descriptor >= 0 or error is not None:
            with CancelScope(shield=True):
                await on_disk(self._leave)

    @property
    def held(self) -> tuple[Segment, ...]:
        """What is here, written or not."""
        waiting = [Segment(strand.start, end) for end, strand in self._strands.items()]
        return merge((*self._written, *waiting)) if waiting else self._written

    async def look(self, usable: Choose, digest: Digest, total: int | None, *, trust: bool) -> int | None:
        """Look at what is there already; there must be room for what is missing of `total` bytes.

        With `trust`, return the size of a file that is in its place if that is the right size, and do nothing more.
        Else take over a part that an earlier run left: `usable(held, origin)` says what of it is of use.  What is of no
        use and of nobody is removed.
        """
        self.digest = digest
        size = await self._run(self._look, usable, total, trust)
        self.size = sum(len(segment) for segment in self._written)
        await self._digest_the_rest()
        return size

    async def make_room(self, total: int) -> None:
        """Now that the size of the whole is known: there must be room for what is missing of it."""
        await self._run(self._make_room, total)

    async def clear(self) -> None:
        """Remove what earlier runs left of a file that is in its place; a read-only volume keeps it."""
        await self._run(self._clear)

    def begin(self, digest: Digest, origin: Origin | None, *, lasting: bool) -> None:
        """Forget what was written so far; a `lasting` part is kept for another run if it does not come to its end."""
        self.digest, self.origin, self._lasting = digest, origin, lasting
        self.size = 0
        self._from_start, self._has_map = True, False
        self._written = ()
        self._strands.clear()

    async def write(self, at: int, data: bytes, *, batch: int) -> None:
        """Put bytes at a place; `batch` of those that follow each other are held before they are written."""
        strand = self._strands.pop(at, None) or _Strand(at)
        strand.chunks.append(data)
        strand.size += len(data)
        self.size += len(data)
        if strand.size >= batch:
            try:
                await self._run(self._write, [strand])
            except BaseException:  # a cancelled write loses nothing
                self._strands[at + len(data)] = strand
                raise
        else:
            self._strands[at + len(data)] = strand

    async def settle(self) -> None:
        """Have the digest of all bytes; a small file is written only when it is committed."""
        if self._descriptor < 0 and self.size <= SMALL:
            if self.digest.size < self.size:
                self.digest.update(b"".join(chunk for strand in self._strands.values() for chunk in strand.chunks))
        else:
            await self.flush()
            await self._digest_the_rest()

    async def flush(self) -> None:
        """Write what is held."""
        if self._strands or self._descriptor < 0:
            await self._run(self._write, list(self._strands.values()))
            self._strands.clear()

    async def _digest_the_rest(self) -> None:
        """In pieces, so that a cancellation is heard between them."""
        while self.digest.size < self._prefix:
            await self._run(self._digest, PIECE)

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
        await self._run(self._commit, list(self._strands.values()), fsync)
        self._strands.clear()

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
                raise _error(errno.EBADF)
            try:
                return work(*arguments)
            except OSError as error:
                size = os.fstat(self._descriptor).st_size if self._descriptor >= 0 else 0
                self._volumes.failed(self._directory, size, error)
                raise

    @property
    def _prefix(self) -> int:
        """Where the first gap is."""
        return self._written[0].stop if self._written and self._written[0].start == 0 else 0

    @property
    def _written_size(self) -> int:
        return sum(len(segment) for segment in self._written)

    # In a thread, in turn.

    def _look(self, usable: Choose, total: int | None, trust: bool) -> int | None:
        with suppress(FileNotFoundError):
            if stat.S_ISDIR(os.lstat(self.final).st_mode):
                raise _error(errno.EISDIR)
            there = os.stat(self.final) if trust else None
            if there is not None and stat.S_ISREG(there.st_mode) and total in (None, there.st_size):
                return there.st_size
        _check_writable(self._directory)
        for path in self._slots:
            self._take(path, _of_no_use if self._written else usable)
        self._make_room(total or (self.origin.total if self.origin is not None else None))
        return None

    def _make_room(self, total: int | None) -> None:
        if self._claim is not None:
            self._volumes.release(self._claim)
        missing = None if total is None else max(0, total - self._written_size)
        self._claim = self._volumes.claim(self._directory, missing)

    def _clear(self) -> None:
        for path in self._slots:
            with suppress(OSError):
                self._take(path, _of_no_use)

    def _take(self, path: str, usable: Choose) -> None:
        """Take a part over if it is of use; remove it if it is of no use, unless somebody is writing it."""
        try:
            descriptor = os.open(path, _OPEN)
        except FileNotFoundError:
            _unlink(_beside(path))  # its part was renamed, and then somebody was killed
            return
        except OSError:
            return  # a link, or not ours to read
        try:
            if not _own(descriptor, path):
                return
            text = _read_beside(_beside(path))
            origin = parse_origin(text)
            written = usable(held_of(os.fstat(descriptor).st_size, origin), origin)
            if not written:
                _unlink(path)
                _unlink(_beside(path))
                return
            os.ftruncate(descriptor, written[-1].stop)
            self._path, self.origin, self._described, self._from_start = path, origin, len(text), False
            self._written, self._has_map = written, origin is not None and origin.held is not None
            self._map()  # of what was of use
            self._descriptor, descriptor = descriptor, -1
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

    def _write(self, strands: list[_Strand]) -> None:
        if self._descriptor < 0:
            self._create()
        if self._from_start:
            self._from_start = False
            os.ftruncate(self._descriptor, 0)
            self._describe()
        for strand in strands:
            if strand.start > self._prefix and not self._has_map:
                self._has_map = True
                self._map()  # or what is there would be taken for all up to these bytes
            self._write_strand(strand)
        self._map()
        self._digest(AT_ONCE)

    def _write_strand(self, strand: _Strand) -> None:
        os.lseek(self._descriptor, strand.start, os.SEEK_SET)
        follows = self.digest.size == strand.start
        for chunk in strand.chunks:
            if follows:
                self.digest.update(chunk)
            view = memoryview(chunk)
            while view:
                view = view[os.write(self._descriptor, view) :]
        self._written = merge((*self._written, Segment(strand.start, strand.start + strand.size)))
        if self._claim is not None:
            self._claim.left = max(0, self._claim.left - strand.size)

    def _digest(self, most: int) -> None:
        """Digest what was written behind a gap that is closed now."""
        stop = min(self._prefix, self.digest.size + most)
        while self.digest.size < stop:
            piece = self._read(self.digest.size, min(stop, self.digest.size + AT_ONCE))
            if not piece:
                raise _error(errno.EIO)  # somebody else has cut it
            self.digest.update(piece)

    def _describe(self) -> None:
        """Write down what this is a part of, if it will take more than this to bring it."""
        self._forget()
        if self.origin is not None and self._lasting and self.size < (self.origin.total or 0):
            text = dump_origin(self.origin)
            with suppress(OSError):  # then nobody goes on from it
                _write_beside(_beside(self._path), text, _NEW)
                self._described = len(text)

    def _map(self) -> None:
        """Write down where the gaps are, in one piece and over what was there: a kill leaves the old or the new."""
        if self._has_map and self._described and self.origin is not None:
            held = tuple((segment.start, segment.stop) for segment in self._written)
            text = dump_origin(structs.replace(self.origin, held=held)).ljust(self._described)
            self._described = len(text)
            _write_beside(_beside(self._path), text, _OPEN)

    def _forget(self) -> None:
        if self._described:
            _unlink(_beside(self._path))
            self._described = 0

    def _read(self, start: int, stop: int) -> bytes:
        os.lseek(self._descriptor, start, os.SEEK_SET)
        chunks = []
        while start < stop and (chunk := os.read(self._descriptor, stop - start)):
            chunks.append(chunk)
            start += len(chunk)
        return b"".join(chunks)

    def _inspect(self, look: Callable[[IO[bytes]], T]) -> T:
        with os.fdopen(os.dup(self._descriptor), "rb") as file:
            return look(file)

    def _commit(self, strands: list[_Strand], fsync: bool) -> None:
        if strands or self._descriptor < 0:
            self._write(strands)
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
            kept = self.origin is not None and self._described > 0
            if kept:
                with suppress(OSError):  # it is asked for again
                    self._write(list(self._strands.values()))
            kept = kept and self._written_size > 0
            if kept or os.name == "nt":  # where an open file cannot be removed
                self._close()
            if not kept:
                _unlink(self._path)
                self._forget()
            self._close()


def _of_no_use(held: tuple[Segment, ...], origin: Origin | None) -> tuple[Segment, ...]:
    return ()


def _check_writable(directory: str) -> None:
    """Make the directory if need be.  Raises OSError if nothing can be written there."""
    if not os.access(directory, os.W_OK):
        os.makedirs(directory, exist_ok=True)
        if not os.access(directory, os.W_OK):
            read_only = hasattr(os, "statvfs") and os.statvfs(directory).f_flag & os.ST_RDONLY
            raise _error(errno.EROFS if read_only else errno.EACCES)


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def _unlink(path: str) -> None:
    with suppress(OSError):  # a directory, or somebody else's: it stays
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


def _write_beside(path: str, text: bytes, flags: int) -> None:
    if flags & os.O_EXCL:
        _unlink(path)  # and with it a link that somebody may have put there
    descriptor = os.open(path, flags, 0o666)
    try:
        os.write(descriptor, text)
    except OSError:
        if flags & os.O_EXCL:
            _unlink(path)
        raise
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
