"""A mirror in a directory.

    DIR/…                     as `layout` has it
    DIR/.fetcher/incoming/    what is on its way, on the same file system: a rename brings it to its place

Keys are made by `layout` of names that were looked at; none leads out of the directory.
"""

import hashlib
import os
import stat
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

from fetcher.disk import on_disk
from fetcher.errors import ConfigError, DiskError
from fetcher.mirror.store import Stored

__all__ = ["PRIVATE", "Directory", "clear", "make"]

if TYPE_CHECKING:
    from hashlib import _Hash

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# What is the mirror's own, and no part of what it serves.
PRIVATE = ".fetcher"
# What it begins to serve.
PUBLIC = ("index.html", "simple", "files")
# A file is digested in pieces of so many bytes: cancellation is heard between them.
PIECE = 16 << 20
# So many names a visit to the disk.
NAMES = 1000


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
                os.unlink(entry.path)

    await _do(directory, remove)


class Directory:
    """A store in a directory, which is created if need be."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.incoming = root / PRIVATE / "incoming"
        self._number = 0

    @property
    def url(self) -> str:
        """The directory."""
        return str(self.root)

    async def open(self) -> None:
        """Create the directory, and remove what a run that was killed had begun to write.  Raises DiskError."""
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
        new = self.incoming / f"{os.getpid()}-{self._number}.new"
        await _do(self.root / key, _write, new, self.root / key, body)

    async def get(self, key: str) -> bytes | None:
        """Read a page."""
        return await _do(self.root / key, _if_there, (self.root / key).read_bytes)

    async def stat(self, key: str) -> Stored | None:
        """Return the size of a file."""
        return await _do(self.root / key, _if_there, partial(_stat, self.root / key, key))

    async def digest(self, key: str) -> str | None:
        """Read a file for its SHA-256."""
        digest, start, path = hashlib.sha256(), 0, self.root / key
        while piece := await _do(path, _if_there, partial(_digest_piece, path, start, digest)):
            start += piece
        return None if piece is None else digest.hexdigest()

    async def missing(self, expected: Mapping[str, int | None]) -> set[str]:
        """Look for each."""
        return await _do(self.root, _missing, self.root, expected) if expected else set()

    async def list(self, prefix: str = "") -> AsyncIterator[Stored]:
        """Yield what is there, but for what is the mirror's own."""
        found = _walk(self.root, prefix)
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
            found = os.stat(f"{root}{os.sep}{key}")
        except (FileNotFoundError, NotADirectoryError):
            missing.add(key)
        else:
            if size not in (None, found.st_size):
                missing.add(key)
    return missing


def _digest_piece(path: Path, start: int, digest: "_Hash") -> int:
    """Digest a piece, and return its length."""
    with path.open("rb") as file:
        file.seek(start)
        piece = file.read(PIECE)
    digest.update(piece)
    return len(piece)


def _walk(root: Path, prefix: str, folder: str = "") -> Iterator[Stored]:
    """Yield the files below a directory whose key begins with a prefix; no link is followed."""
    with _scan(root / folder) as entries:
        for entry in entries:
            key = f"{folder}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                if key != PRIVATE and f"{key}/".startswith(prefix[: len(key) + 1]):
                    yield from _walk(root, prefix, f"{key}/")
            elif key.startswith(prefix):
                yield Stored(key, entry.stat(follow_symlinks=False).st_size)


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
