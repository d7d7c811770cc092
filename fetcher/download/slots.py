"""The names that parts of a file have beside its place, and whose they are.

- Whoever writes a part holds a lock on it, which ends with the process.  So a later run can tell a part that was left
  from one that somebody else is writing.  Only finding is left to the lock: what is committed was verified.
- Several can write one file at once: each takes the first of a few names that is free.
- Of which files parts were left tells one listing of the directory: looking for each takes eight system calls a file.
"""

import hashlib
import os
import re
import secrets
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from fetcher.download.lock import lock

__all__ = [
    "OPEN",
    "Leftovers",
    "Slots",
    "beside",
    "own",
    "read_beside",
    "remove",
    "write_beside",
    "write_new_beside",
]

# So many processes can write one file at once and be found by a later run.
SLOTS = 4
# What stands beside a part has some hundred bytes.
MOST_BESIDE = 64 * 1024
# Seconds for which a listing holds, and how many times as long as it took.
LISTING_HOLDS = 1.0
LISTING_PAYS = 20
_PART = re.compile(r"(\..+)\.[0-9a-f]+\.part(?:\.json)?", re.DOTALL)
# Where there is no such flag (Windows), O_EXCL alone refuses an existing link.
OPEN = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_NEW = OPEN | os.O_CREAT | os.O_EXCL


@dataclass
class _Listing:
    """The stems of the parts in a directory, None if it cannot be listed; it holds `until` a monotonic time."""

    stems: set[str] | None
    until: float


class Leftovers:
    """Of which files parts lie in a directory, as far as this run knows.  Call it in a thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listings: dict[str, _Listing] = {}

    def has(self, directory: str, stem: str) -> bool:
        """Say whether there may be parts whose names begin so."""
        with self._lock:
            listing = self._listings.get(directory)
            now = monotonic()
            if listing is None or now >= listing.until:
                self._listings = {path: other for path, other in self._listings.items() if now < other.until}
                listing = self._listings[directory] = _list(directory, now)
            return listing.stems is None or stem in listing.stems

    def note(self, directory: str, stem: str) -> None:
        """Take note of a part that is left now."""
        with self._lock:
            listing = self._listings.get(directory)
            if listing is not None and listing.stems is not None:
                listing.stems.add(stem)


def _list(directory: str, now: float) -> _Listing:
    stems: set[str] | None
    try:
        stems = {found[1] for name in os.listdir(directory) if name[0] == "." and (found := _PART.fullmatch(name))}
    except FileNotFoundError:
        stems = set()
    except OSError:
        stems = None
    took = monotonic() - now
    return _Listing(stems, now + max(LISTING_HOLDS, LISTING_PAYS * took))


class Slots:
    """The names of the parts of one file."""

    def __init__(self, final: Path, leftovers: Leftovers) -> None:
        self._leftovers = leftovers
        # Strings: a path object takes longer to make than the system call that it is made for.
        self.directory = str(final.parent)
        name = final.name
        # The name's beginning is for people to know it by; the whole may be too long with an ending added.
        key = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:8]
        shown = name[:60] if name.isascii() else ""  # others have up to four bytes a character
        self._stem = f".{shown}.{key}"

    def left(self) -> list[str]:
        """Return the names of parts that earlier runs may have left."""
        may_be_left = self._leftovers.has(self.directory, self._stem)
        return [self._path(slot) for slot in range(SLOTS)] if may_be_left else []

    def note_left(self) -> None:
        """Take note that a part is left."""
        self._leftovers.note(self.directory, self._stem)

    def create(self) -> tuple[str, int, bool]:
        """Create a part; return its path, a descriptor, and whether a later run will find it.  Raises OSError."""
        for slot in range(SLOTS):
            path = self._path(slot)
            try:
                descriptor = _open_new(path)
            except FileExistsError:
                continue
            if own(descriptor, path):
                return path, descriptor, True
            if _is_still(descriptor, path):  # there are no locks here
                remove(path)
            os.close(descriptor)
        path = self._path(secrets.token_hex(4))
        return path, _open_new(path), False

    def _path(self, slot: int | str) -> str:
        return os.path.join(self.directory, f"{self._stem}.{slot}.part")


def _open_new(path: str) -> int:
    try:
        # 0o666 as `open` has it: the user's umask decides.
        return os.open(path, _NEW, 0o666)
    except FileNotFoundError:  # somebody has removed the directory meanwhile
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return os.open(path, _NEW, 0o666)


def own(descriptor: int, path: str) -> bool:
    """Lock an open file; False if another has it, or the name is no longer this file's: it may have been committed."""
    return lock(descriptor) and _is_still(descriptor, path)


def _is_still(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def remove(path: str) -> None:
    """Remove a file; what cannot be removed is a directory, or somebody else's, and stays."""
    with suppress(OSError):
        os.unlink(path)


def beside(path: str) -> str:
    """Return where it stands what a part is a part of."""
    return f"{path}.json"


def write_new_beside(path: str, text: bytes) -> None:
    """Write what stands beside a part, in the place of whatever is there.  Raises OSError."""
    remove(path)  # and with it a link that somebody may have put there
    try:
        _write(os.open(path, _NEW, 0o666), text)
    except OSError:
        remove(path)
        raise


def write_beside(path: str, text: bytes) -> None:
    """Write over what stands beside a part, in one piece: a kill leaves the old or the new.  Raises OSError."""
    _write(os.open(path, OPEN), text)


def _write(descriptor: int, text: bytes) -> None:
    try:
        os.write(descriptor, text)
    finally:
        os.close(descriptor)


def read_beside(path: str) -> bytes:
    """Return what stands beside a part; nothing if it cannot be read, and then the part is of no use."""
    try:
        with open(path, "rb", opener=_open_plain) as file:
            return file.read(MOST_BESIDE)
    except OSError:
        return b""


def _open_plain(path: str, flags: int) -> int:
    """Open a file without following a link or waiting for a pipe's other end."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
