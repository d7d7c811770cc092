"""A mirror in a directory.

    DIR/…                     as `layout` has it
    DIR/.fetcher/incoming/    what is on its way, on the same file system: a rename brings it to its place

Keys are made by `layout` of names that were looked at; none leads out of the directory.
"""

import errno
import hashlib
import os
import shutil
import stat
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

from fetcher.disk import on_disk, read_piece
from fetcher.errors import ConfigError, DiskError
from fetcher.storage.store import Stored

__all__ = ["PRIVATE", "Directory", "clear", "make"]

if TYPE_CHECKING:
    from hashlib import _Hash

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# What is the mirror's own, and no part of what it serves.
PRIVATE = ".fetcher"
# What it begins to serve.
PUBLIC = ("index.html", "simple", "files")
# A file is digested in pieces of so many bytes: cancellation is heard between them.  So many are read at a time.
PIECE = 16 << 20
READ = 256 << 10
# So many names a visit to the disk.
NAMES = 1000
# A file of which the system says so cannot be read, and others can: a bad block, missing rights.
UNREADABLE = {errno.EIO, errno.EACCES, errno.EPERM}


async def make(directory: Path) -> None:
    """Create a directory that files may be on their way in.  Raises DiskError.

    It is there for the whole run: a download removes a directory that it made and that nothing is left in.
    """
    await _do(directory, partial(directory.mkdir, parents=True, exist_ok=True))


async def clear(directory: Path) -> None:
    """Remove the files in such a directory.  Raises DiskError."""

    def remove() -> None:
        with _scan(directory) as entries:
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):  # none is ours
                    os.unlink(entry.path)

    await _do(directory, remove)


class Directory:
    """A store in a directory, which is created if need be."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.incoming = root / PRIVATE / "incoming"
        # The processes of several machines may write here, and several event loops of one process.
        self._mine = uuid.uuid4().hex
        self._number = 0

    @property
    def url(self) -> str:
        """The directory."""
        return str(self.root)

    async def open(self) -> None:
        """Create the directory, and remove what a run that was killed had begun to write.  Raises DiskError.

        Only the run whose mirror it is does so; who writes into it for that run, in a cluster, does without.
        """
        await _do(self.incoming, self._clear)

    async def check(self) -> None:
        """Raise ConfigError for a directory that is somebody else's; DiskError."""
        foreign = await _do(self.root, self._foreign)
        if foreign is not None:
            raise ConfigError(
                f"{self.root / foreign} is not a mirror's, for there is no {PRIVATE} beside it: choose another "
                f"directory, or create {self.root / PRIVATE} if it is one"
            )

    def _foreign(self) -> str | None:
        """Return what is there in the place of a mirror."""
        if (self.root / PRIVATE).exists():
            return None
        return next((name for name in PUBLIC if (self.root / name).exists()), None)

    def _clear(self) -> None:
        self.incoming.mkdir(parents=True, exist_ok=True)
        for entry in os.scandir(self.incoming):
            if entry.name.endswith(".new"):
                os.unlink(entry.path)

    async def place(self, key: str, path: Path, sha256: str) -> None:
        """Rename a file to its key."""
        await _do(self.root / key, _rename, path, self.root / key)

    async def put(self, key: str, body: bytes) -> None:
        """Write a page beside its place and rename it."""
        self._number += 1
        new = self.incoming / f"{self._mine}-{self._number}.new"
        await _do(self.root / key, _write, new, self.root / key, body)

    async def get(self, key: str) -> bytes | None:
        """Read a page."""
        return await _do(self.root / key, _if_there, (self.root / key).read_bytes)

    async def stat(self, key: str) -> Stored | None:
        """Return the size of a file."""
        return await _do(self.root / key, _if_there, partial(_stat, self.root / key, key))

    async def digest(self, key: str) -> str | None:
        """Read a file for its SHA-256."""
        reading = _Reading(self.root / key)
        while not reading.ended:
            if await _do(reading.path, _if_there, reading.go_on) is None:
                return None
        return reading.digest.hexdigest()

    async def look(self, key: str) -> Stored | None:
        """Read a file for its size and SHA-256; what is no file, or cannot be read, is said to be odd."""
        reading = _Reading(self.root / key, only_files=True)
        while not (reading.ended or reading.odd):
            if await _do(reading.path, _if_there, reading.go_on_if_readable) is None:
                return None
        return Stored(key, reading.size, None if reading.odd else reading.digest.hexdigest(), reading.odd)

    async def read(self, key: str, start: int, stop: int) -> bytes:
        """Read a piece of a file."""
        return await _do(self.root / key, read_piece, self.root / key, start, stop)

    async def clear(self, key: str) -> None:
        """Remove a file, a link or a directory with all that is in it, and a file where a directory should be."""
        await _do(self.root / key, _clear_way, self.root, key)

    async def missing(self, expected: Mapping[str, int | None]) -> set[str]:
        """Look for each."""
        return await _do(self.root, _missing, self.root, expected) if expected else set()

    async def list(self, prefix: str = "") -> AsyncIterator[Stored]:
        """Yield what is there, but for what is the mirror's own."""
        # It begins where the prefix leads: files/ may be a link to another disk.
        found = _walk(self.root, prefix, prefix[: prefix.rfind("/") + 1])
        while names := await _do(self.root, lambda: list(islice(found, NAMES))):
            for stored in names:
                yield stored

    async def remove(self, keys: Iterable[str]) -> None:
        """Remove files, and the directories that are empty then."""
        await _do(self.root, _remove_all, self.root, list(keys))


async def _do(path: Path, work: Callable[[*Ts], T], *arguments: *Ts) -> T:
    try:
        return await on_disk(work, *arguments)
    except OSError as error:
        raise DiskError.of(str(path), error) from error


def _if_there(read: Callable[[], T]) -> T | None:
    try:
        return read()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _rename(path: Path, final: Path) -> None:
    try:
        path.replace(final)
    except FileNotFoundError:  # the directory, as a rule: each file has its own
        final.parent.mkdir(parents=True, exist_ok=True)
        path.replace(final)


def _write(new: Path, final: Path, body: bytes) -> None:
    try:
        new.write_bytes(body)
        _rename(new, final)
    except OSError:
        new.unlink(missing_ok=True)
        raise


def _stat(path: Path, key: str) -> Stored | None:
    """Return what is said of a file; what is no file is not there."""
    found = path.stat()
    return Stored(key, found.st_size) if stat.S_ISREG(found.st_mode) else None


def _missing(root: Path, expected: Mapping[str, int | None]) -> set[str]:
    missing = set()
    for key, size in expected.items():
        try:
            found = os.lstat(f"{root}{os.sep}{key}")
        except (FileNotFoundError, NotADirectoryError):
            missing.add(key)
        else:
            if size not in (None, found.st_size) or not stat.S_ISREG(found.st_mode):
                missing.add(key)
    return missing


@dataclass
class _Reading:
    """A file that is being read for its digest; with `only_files`, nothing else is."""

    path: Path
    only_files: bool = False
    digest: "_Hash" = field(default_factory=hashlib.sha256)
    size: int = 0
    ended: bool = False
    odd: str = ""

    def go_on_if_readable(self) -> bool:
        """Read a piece, or say why not."""
        try:
            return self.go_on()
        except OSError as error:
            if error.errno not in UNREADABLE:
                raise
            self.odd = f"it cannot be read: {error.strerror}"
            return True

    def go_on(self) -> bool:
        """Read a piece."""
        if self.only_files and not self.size:
            self.odd = _oddity(self.path.lstat().st_mode)
        if self.odd:
            return True
        with self.path.open("rb", buffering=0) as file:
            file.seek(self.size)
            stop = self.size + PIECE
            while not self.ended and self.size < stop:
                chunk = file.read(READ)
                self.digest.update(chunk)
                self.size += len(chunk)
                self.ended = not chunk
        return True


def _oddity(mode: int) -> str:
    """Return what is there instead of a file."""
    if stat.S_ISREG(mode):
        return ""
    kinds = {stat.S_IFLNK: "a symbolic link", stat.S_IFDIR: "a directory"}
    return f"{kinds.get(stat.S_IFMT(mode), 'no regular file')} is in its place"


def _clear_way(root: Path, key: str) -> None:
    path = root / key
    for folder in [root / parent for parent in reversed(Path(key).parents)]:
        if folder != root and not folder.is_dir():
            folder.unlink(missing_ok=True)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _walk(root: Path, prefix: str, folder: str = "") -> Iterator[Stored]:
    """Yield the files below a directory whose key begins with a prefix; no link is followed."""
    with _scan(root / folder) as entries:
        for entry in entries:
            key = f"{folder}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                if key != PRIVATE and f"{key}/".startswith(prefix[: len(key) + 1]):
                    yield from _walk(root, prefix, f"{key}/")
            elif key.startswith(prefix):
                try:
                    size = entry.stat(follow_symlinks=False).st_size
                except FileNotFoundError:  # it was removed meanwhile
                    continue
                yield Stored(key, size)


@contextmanager
def _scan(folder: Path) -> Iterator[Iterable["os.DirEntry[str]"]]:
    """Give what is in a directory; nothing if that is not there."""
    try:
        entries = os.scandir(folder)
    except (FileNotFoundError, NotADirectoryError):
        yield ()
        return
    with entries:
        yield entries


def _remove_all(root: Path, keys: Iterable[str]) -> None:
    for key in keys:
        path = root / key
        path.unlink(missing_ok=True)
        for folder in path.parents:
            if folder == root:
                break
            try:
                folder.rmdir()
            except OSError:  # something else is in it
                break
