"""What is kept between runs: a file an entry, in a directory that several processes and threads use at once.

    DIRECTORY/store-1/             the number is that of this layout: another one would lie beside it
        CACHEDIR.TAG               backups leave it out (https://bford.info/cachedir/)
        SHA-256 OF THE KEY.KIND    an entry
        RANDOM.new                 one that is being written

- An entry gets its name when it is whole: who reads finds the old one, the new one, or none.  Where several processes
  must agree on a value, the first one's entry keeps the name.
- It begins with its length and a checksum of name and value: a damaged one is a miss, and is removed.
- Its time of modification is that of its last use, so nothing has to be kept beside it, locked or repaired.
- It is not flushed to the disk: a power cut may damage it.
- Nothing is written through a link, and nothing is read or removed but what has such a name.
- What else has one, a link or an empty directory, is a damaged entry; what is in a directory is nobody's to remove.

An SQLite file is no quicker to read (benchmarks/cache.py), is damaged as a whole, must not be removed while a process
has it open, and does not bear a home on a network volume.
"""

import errno
import hashlib
import logging
import math
import os
import re
import stat
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fetcher.errors import DiskError

__all__ = ["MOST_BYTES", "Count", "Info", "Store"]

logger = logging.getLogger(__name__)

# The bound of the cache, in bytes, if nothing else is said: some 50,000 entries.
MOST_BYTES = 1 << 30
# The largest entry, in bytes: the largest page is smaller.
MOST_ENTRY = 128 << 20
# What may be put in before the cache is looked through, as a part of the bound.
STEP = 16
# A use is noted if the last that was is so many seconds ago: a note is a write.
NOTED_FOR = 3600.0
# What has been written at for so many seconds was left by a process that was killed.
ABANDONED = 3600.0

TAG = b"Signature: 8a477f597d28d172789f06886806bc55\n# Kept by fetcher between runs; it may be removed at any time.\n"
_ENTRY = re.compile("[0-9a-f]{64}[.]([a-z]+)", re.ASCII)
_UNFINISHED = re.compile("[0-9a-f]{16}[.]new", re.ASCII)
# Length of the value, CRC-32 of name and value.
_HEADER = struct.Struct(">QI")
# A pipe that lies there is not waited for.  Where there are no such flags (Windows), O_EXCL refuses an existing link.
_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True)
class Count:
    """So many entries, of so many bytes on the disk."""

    entries: int = 0
    bytes: int = 0

    def __add__(self, other: "Count") -> "Count":
        return Count(self.entries + other.entries, self.bytes + other.bytes)


@dataclass(frozen=True)
class Info:
    """Entries by kind: what is there, or what was removed."""

    kinds: Mapping[str, Count]

    @property
    def total(self) -> Count:
        """Those of all kinds."""
        return sum(self.kinds.values(), Count())


@dataclass(frozen=True)
class _Found:
    """A file that was found: its size in bytes, and its last use in seconds since the epoch."""

    path: str
    kind: str
    size: int
    used: float


class Store:
    """The entries in a directory, which is made when there is something to put in; its calls block.

    `get`, `put` and `remove` never raise for what the disk or another process does: what cannot be read is a miss, what
    cannot be written is not kept, nor is what it was to replace, and a warning says so once.

    What was not used for longest goes when there are more than `most_bytes`; of several processes, each may put in a
    sixteenth of that before it looks.
    """

    def __init__(self, directory: Path, most_bytes: int = MOST_BYTES) -> None:
        self._directory = directory
        self._root = os.path.join(directory, "store-1")
        self._most_bytes = most_bytes
        self._step = most_bytes // STEP
        # Many short runs look through the cache as often as a long one that puts in as much as they all do.
        self._left = int.from_bytes(os.urandom(4)) * self._step >> 32
        self._lock = threading.Lock()
        self._said: set[str] = set()

    def get(self, kind: str, key: str) -> bytes | None:
        """Return what was put in under this key; None if it is not there, or is damaged."""
        name = _name(kind, key)
        path = self._path(name)
        try:
            stored, used = _read(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._warn_once("read", "the cache cannot be read: %s: %s", path, error.strerror or error)
            return None
        value = None if stored is None else _parse(name, stored)
        if value is None:
            self._warn_once(name, "an entry of the cache is damaged, and not used: %s", path)
            self.remove(kind, key)
        elif abs(time.time() - used) > NOTED_FOR:
            with suppress(OSError):  # it may only be read
                os.utime(path)
        return value

    def put(self, kind: str, key: str, value: bytes) -> None:
        """Keep a value, in the place of an earlier one; `kind` is a word in lower-case letters.

        One that takes more than a sixteenth of the bound is not kept.
        """
        size = _HEADER.size + len(value)
        if size > min(MOST_ENTRY, self._step):
            self.remove(kind, key)  # what is there is out of date
            return
        try:
            self._write(_name(kind, key), value, os.replace)
        except OSError as error:
            self.remove(kind, key)  # as above
            self._warn_unwritten(error)
            return
        if self._is_due(size):
            try:
                self._prune(self._most_bytes - self._step)
            except OSError as error:
                self._warn_unwritten(error)

    def get_or_put(self, kind: str, key: str, value: bytes) -> bytes:
        """Return what is there under this key; keep a small value if nothing is, and return that.

        Who asks at the same time, in whatever process, gets the same, unless it cannot be written.
        """
        found = self.get(kind, key)
        if found is None:
            try:
                self._write(_name(kind, key), value, _rename_if_first)
            except OSError as error:
                self._warn_unwritten(error)
            found = self.get(kind, key)
        return value if found is None else found

    def remove(self, kind: str, key: str) -> None:
        """Forget a key."""
        with suppress(OSError):  # it cannot be removed, and is then read as before
            _remove(self._path(_name(kind, key)))

    def info(self) -> Info:
        """Count what is there.  Raises DiskError."""
        with self._disk_errors():
            return _count(self._find(_ENTRY))

    def clear(self) -> Info:
        """Remove all entries; return what was removed.  Raises DiskError, once all that can be removed is."""
        with self._disk_errors():
            return _count(self._prune(-math.inf, abandoned=0))

    def prune(self, most_bytes: int) -> Info:
        """Remove what was not used for longest, until there is no more than this; return it.

        Raises DiskError, once there is no more, or all that can be removed is.
        """
        with self._disk_errors():
            return _count(self._prune(most_bytes))

    def _path(self, name: str) -> str:
        return f"{self._root}{os.sep}{name}"

    def _write(self, name: str, value: bytes, rename: Callable[[str, str], None]) -> None:
        """Write an entry beside its place and rename it, unless another process clears meanwhile.  Raises OSError."""
        written = self._path(f"{os.urandom(8).hex()}.new")
        self._make_directory()
        try:
            with suppress(FileNotFoundError):
                _write_new(written, _HEADER.pack(len(value), _checksum(name, value)) + value)
                rename(written, self._path(name))
        except BaseException:
            with suppress(OSError):
                os.unlink(written)
            raise

    def _make_directory(self) -> None:
        """Make what is missing, for this user alone.  Raises OSError, also for a link in the place of ours."""
        try:
            os.mkdir(self._root, 0o700)
        except FileExistsError:
            _check_directory(self._root)
            return
        except FileNotFoundError:
            os.makedirs(self._directory, 0o700, exist_ok=True)
            with suppress(FileExistsError):
                os.mkdir(self._root, 0o700)
            _check_directory(self._root)
        with suppress(FileExistsError, FileNotFoundError):
            _write_new(self._path("CACHEDIR.TAG"), TAG)

    def _is_due(self, size: int) -> bool:
        with self._lock:
            self._left -= size
            if due := self._left < 0:
                self._left = self._step
            return due

    def _prune(self, most_bytes: float, abandoned: float = ABANDONED) -> list[_Found]:
        """Remove what was left unfinished for so many seconds, and then the entries that are too many.

        What cannot be removed stops nothing: the first such OSError is raised at the end.
        """
        errors: list[OSError] = []
        oldest = time.time() - abandoned
        _remove_all([found for found in self._find(_UNFINISHED) if found.used <= oldest], math.inf, errors)
        entries = sorted(self._find(_ENTRY), key=lambda found: found.used)
        removed = _remove_all(entries, sum(found.size for found in entries) - most_bytes, errors)
        if errors:
            raise errors[0]
        return removed

    def _find(self, names: "re.Pattern[str]") -> list[_Found]:
        """Return the files with such names; none if there is no directory.  Raises OSError."""
        found = []
        with suppress(FileNotFoundError):  # nothing was put in yet
            _check_directory(self._root)
            with os.scandir(self._root) as entries:
                for entry in entries:
                    if names.fullmatch(entry.name):
                        with suppress(FileNotFoundError):  # another process has removed it
                            status = entry.stat(follow_symlinks=False)
                            kind = entry.name.rpartition(".")[2]
                            found.append(_Found(entry.path, kind, status.st_size, status.st_mtime))
        return found

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DiskError.of(error.filename or self._root, error) from error

    def _warn_unwritten(self, error: OSError) -> None:
        self._warn_once("write", "the cache cannot be written: %s: %s", self._root, error.strerror or error)

    def _warn_once(self, subject: str, message: str, *facts: object) -> None:
        if subject not in self._said:
            self._said.add(subject)
            logger.warning(message, *facts)


def _name(kind: str, key: str) -> str:
    """Return the file name of an entry: no key, whoever has sent it, becomes a path."""
    return f"{hashlib.sha256(key.encode(errors='surrogatepass')).hexdigest()}.{kind}"


def _checksum(name: str, value: bytes) -> int:
    """Damage is an accident: who can write here on purpose can write a checksum, too."""
    return zlib.crc32(value, zlib.crc32(name.encode()))


def _parse(name: str, stored: bytes) -> bytes | None:
    """Return the value of an entry, None if it is damaged."""
    if len(stored) < _HEADER.size:
        return None
    size, checksum = _HEADER.unpack_from(stored)
    value = stored[_HEADER.size :]
    return value if len(value) == size and _checksum(name, value) == checksum else None


def _read(path: str) -> tuple[bytes | None, float]:
    """Return the bytes of a file, None if it cannot be an entry, and the time of its last use.  Raises OSError."""
    try:
        descriptor = os.open(path, _READ)
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None, 0.0
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MOST_ENTRY:
            return None, 0.0
        return os.read(descriptor, status.st_size), status.st_mtime
    finally:
        os.close(descriptor)


def _write_new(path: str, data: bytes) -> None:
    """Write a file that is not there yet.  Raises OSError."""
    with open(os.open(path, _CREATE, 0o600), "wb", buffering=0) as file:
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]


def _rename_if_first(written: str, path: str) -> None:
    """Give a file its name, unless another has it: then it is removed.  Raises OSError."""
    try:
        with suppress(FileExistsError):
            os.link(written, path)
    except OSError:  # a file system without links: there the last one keeps the name
        os.replace(written, path)
    else:
        os.unlink(written)


def _check_directory(path: str) -> None:
    """Raise OSError if this is no directory, or a link to one."""
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))


def _remove_all(files: Iterable[_Found], excess: float, errors: list[OSError]) -> list[_Found]:
    """Remove files until so many bytes are gone; return those that were removed, and add what went wrong."""
    removed = []
    for found in files:
        if excess <= 0:
            break
        try:
            if _remove(found.path):
                removed.append(found)
            excess -= found.size
        except OSError as error:
            errors.append(error)
    return removed


def _remove(path: str) -> bool:
    """Remove a file or an empty directory; return whether it was there.  Raises OSError."""
    try:
        if stat.S_ISDIR(os.lstat(path).st_mode):
            os.rmdir(path)
        else:
            os.unlink(path)
    except FileNotFoundError:
        return False
    return True


def _count(entries: Iterable[_Found]) -> Info:
    kinds: dict[str, Count] = {}
    for found in entries:
        kinds[found.kind] = kinds.get(found.kind, Count()) + Count(1, found.size)
    return Info(dict(sorted(kinds.items())))
