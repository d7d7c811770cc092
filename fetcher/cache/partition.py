"""Whose a kept page is: that of everybody, or of those with certain credentials."""

import hashlib
import os

from anyio import Lock

from fetcher.auth.credentials import Credentials, header_of
from fetcher.cache.behind import Behind
from fetcher.disk import on_disk

__all__ = ["EVERYBODY", "Partitions"]

# The partition of what is answered to a request without credentials.
EVERYBODY = ""
# Ten milliseconds and 4 MiB: nothing, once for each credentials and run, and much for who would try passwords.
_COST, _BLOCK = 1 << 12, 8
_SALT = 16


class Partitions:
    """Names the partitions: by a digest of the credentials that tells nothing of them (scrypt, RFC 7914).

    The salt is the cache's own and lies in it; without it, pages of before are not found again.
    """

    def __init__(self, store: Behind) -> None:
        self._store = store
        self._known: dict[Credentials, str] = {}
        self._lock = Lock()

    async def of(self, credentials: Credentials | None) -> str:
        """Return the partition of what is answered to these credentials."""
        if credentials is None:
            return EVERYBODY
        if (partition := self._known.get(credentials)) is not None:
            return partition
        async with self._lock:
            if credentials not in self._known:
                # At once: of processes that begin together, all must take the same.
                salt = await on_disk(self._store.get_or_put, "page", "salt", os.urandom(_SALT))
                self._known[credentials] = await on_disk(_derive, ": ".join(header_of(credentials)), salt)
        return self._known[credentials]


def _derive(said: str, salt: bytes) -> str:
    return hashlib.scrypt(said.encode(), salt=salt, n=_COST, r=_BLOCK, p=1, dklen=16).hex()
