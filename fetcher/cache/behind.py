"""The store as the event loop uses it: what is put in waits until there is more, and is then written in one go.

Writing an entry is half a dozen calls of the system.  While the event loop is busy, the thread that makes them waits
for the interpreter after each: from several threads, 2,000 entries took half as long as fetching what they hold.
"""

from anyio import CancelScope, Lock

from fetcher.cache.store import Store
from fetcher.disk import on_disk

__all__ = ["Behind"]

# So many entries, or so many bytes of them, are worth a visit to the disk.
MANY = 256
MUCH = 8 << 20

_Entries = dict[tuple[str, str], bytes | None]


class Behind:
    """A store that is written behind the caller's back.  `flush` writes the rest; a run that is killed loses it.

    `get` and `get_or_put` block, and are called in the disk's threads; the other methods are the event loop's.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: _Entries = {}
        self._under_way: _Entries = {}
        self._bytes = 0
        self._lock = Lock()

    def get(self, kind: str, key: str) -> bytes | None:
        """Return what was put in under this key, written or not; None if it is not there."""
        for entries in (self._waiting, self._under_way):
            if (kind, key) in entries:
                return entries[kind, key]
        return self._store.get(kind, key)

    def get_or_put(self, kind: str, key: str, value: bytes) -> bytes:
        """Return what every process finds under this key; it is written at once, and never by `put`."""
        return self._store.get_or_put(kind, key, value)

    async def put(self, kind: str, key: str, value: bytes | None) -> None:
        """Keep a value, in the place of an earlier one; None: forget the key."""
        self._waiting[kind, key] = value
        self._bytes += len(value or b"")
        if self._is_due:
            async with self._lock:
                if self._is_due:
                    await self._write()

    async def flush(self) -> None:
        """Write what waits, even if the caller is cancelled: it was paid for."""
        with CancelScope(shield=True):
            async with self._lock:
                await self._write()

    @property
    def _is_due(self) -> bool:
        return len(self._waiting) >= MANY or self._bytes >= MUCH

    async def _write(self) -> None:
        # In this order: what moves from one to the other is always in one of them, for the threads that look.
        entries = self._under_way = self._waiting
        self._waiting, self._bytes = {}, 0
        try:
            await on_disk(self._write_all, entries)
        finally:
            self._under_way = {}

    def _write_all(self, entries: _Entries) -> None:
        for (kind, key), value in entries.items():
            if value is None:
                self._store.remove(kind, key)
            else:
                self._store.put(kind, key, value)
