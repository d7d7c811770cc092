"""A file that is not there until it is whole: a part file beside the destination, committed by rename.

- The part file is new and exclusive (nothing is written through a link), on the same volume, and made when there is
  something to write: a small file is written and renamed at once.
- Its origin stands beside it, where that allows to go on from it another time; else it goes with the download.
- Several connections may write at several places.  The part then has gaps, and its origin says where they are.
"""

import errno
import os
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
from fetcher.download.resume import Origin, dump_origin, held_of, parse_origin
from fetcher.download.slots import OPEN, Slots, beside, own, read_beside, remove, write_beside, write_new_beside
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
# A hash of fewer bytes at once keeps the interpreter to itself; with more it lets go, and then waits for it again.
KEEPS_GIL = 2047

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
# What of the held bytes, said to be of this origin, can be gone on from.
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
        self._slots = Slots(final, volumes.leftovers)
        self._path = ""
        self._descriptor = -1
        # The size of what stands beside the part; 0: nothing.
        self._described = 0
        # A task that asyncio cancels leaves its thread running: whatever uses or closes the descriptor takes turns.
        self._turn = threading.Lock()
        self._closed = False
        self._from_start = True
        self._has_map = False
        self._lasting = True
        self._must_clear = False
        self._written: tuple[Segment, ...] = ()
        # By the place of the byte that comes next.
        self._strands: dict[int, _Strand] = {}
        self._busy: list[_Strand] = []  # being written

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor >= 0 or error is not None:
            with CancelScope(shield=True):
                await on_disk(self._leave)
        else:
            self._release()

    @property
    def held(self) -> tuple[Segment, ...]:
        """What is here, written or not."""
        waiting = [Segment(one.start, one.start + one.size) for one in (*self._strands.values(), *self._busy)]
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
        if self._must_clear:
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
            self._busy.append(strand)
            try:
                await self._run(self._write, [strand])
            except BaseException:  # a cancelled write loses nothing
                self._strands[at + len(data)] = strand
                raise
            finally:
                self._busy.remove(strand)
        else:
            self._strands[at + len(data)] = strand

    async def settle(self) -> None:
        """Have the digest of all bytes; a small file is written only when it is committed."""
        if self._descriptor < 0 and self.size <= SMALL:
            if self.digest.size < self.size:
                data = b"".join(chunk for strand in self._strands.values() for chunk in strand.chunks)
                for start in range(0, len(data), KEEPS_GIL):
                    self.digest.update(data[start : start + KEEPS_GIL])
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
                if self._claim is not None:
                    if self._descriptor >= 0:
                        self._claim.written = os.fstat(self._descriptor).st_size
                    self._volumes.failed(self._claim, self._slots.directory, error)
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
                self._must_clear = bool(self._slots.left())
                return there.st_size
        _check_writable(self._slots.directory)
        for path in self._slots.left():
            self._take(path, _of_no_use if self._written else usable)
        self._make_room(total or (self.origin.total if self.origin is not None else None))
        return None

    def _make_room(self, total: int | None) -> None:
        if self._claim is not None:
            self._volumes.release(self._claim)
        missing = None if total is None else max(0, total - self._written_size)
        self._claim = self._volumes.claim(self._slots.directory, missing)

    def _clear(self) -> None:
        for path in self._slots.left():
            with suppress(OSError):
                self._take(path, _of_no_use)

    def _take(self, path: str, usable: Choose) -> None:
        """Take a part over if it is of use; remove it if it is of no use, unless somebody is writing it."""
        try:
            descriptor = os.open(path, OPEN)
        except FileNotFoundError:
            remove(beside(path))  # its part was renamed, and then somebody was killed
            return
        except OSError:
            return  # a link, or not ours to read
        try:
            if not own(descriptor, path):
                return
            text = read_beside(beside(path))
            origin = parse_origin(text)
            written = usable(held_of(os.fstat(descriptor).st_size, origin), origin)
            if not written:
                remove(path)
                remove(beside(path))
                return
            self._path, self.origin, self._described, self._from_start = path, origin, len(text), False
            self._written, self._has_map = written, origin is not None and origin.held is not None
            self._map()  # of what is of use, before the rest is cut off
            os.ftruncate(descriptor, written[-1].stop)
            self._descriptor, descriptor = descriptor, -1
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def _write(self, strands: list[_Strand]) -> None:
        if self._descriptor < 0:
            self._path, self._descriptor, found = self._slots.create()
            self._lasting = self._lasting and found
        elif self._from_start:
            os.ftruncate(self._descriptor, 0)
        if self._from_start:
            self._from_start = False
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
            self._claim.written += strand.size

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
                write_new_beside(beside(self._path), text)
                self._described = len(text)

    def _map(self) -> None:
        """Write down where the gaps are, in one piece and over what was there: a kill leaves the old or the new."""
        if self._has_map and self._described and self.origin is not None:
            held = tuple((segment.start, segment.stop) for segment in self._written)
            text = dump_origin(structs.replace(self.origin, held=held)).ljust(self._described)
            self._described = len(text)
            write_beside(beside(self._path), text)

    def _forget(self) -> None:
        if self._described:
            remove(beside(self._path))
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
            _fsync_directory(self._slots.directory)

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _leave(self) -> None:
        """End without a commit; a thread that is still at work for a cancelled task has claimed room by then."""
        with self._turn:
            self._closed = True
            try:
                if self._descriptor >= 0:
                    self._leave_part()
            finally:
                self._release()

    def _leave_part(self) -> None:
        """Keep what another run can go on from, remove the rest."""
        kept = self.origin is not None and self._described > 0
        if kept:
            with suppress(OSError):  # it is asked for again
                self._write(list(self._strands.values()))
        kept = kept and self._written_size > 0
        if kept or os.name == "nt":  # where an open file cannot be removed
            self._close()
        if kept:
            self._slots.note_left()
        else:
            remove(self._path)
            self._forget()
        self._close()

    def _release(self) -> None:
        if self._claim is not None:
            self._volumes.release(self._claim)


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


def _fsync_directory(directory: str) -> None:
    """Make the rename durable; Windows has no such thing."""
    if os.name == "nt":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
