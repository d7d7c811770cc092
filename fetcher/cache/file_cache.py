"""What is kept of files: METADATA, and whole wheels that are small.

| kept     | by                                         | because                                        |
|----------|--------------------------------------------|------------------------------------------------|
| METADATA | URL without userinfo, query, fragment;     | one index cannot speak for the file of another |
|          | the file's SHA-256; the sidecar's digest   | what the page says of either may change        |
| wheel    | SHA-256                                    | whoever names a digest names the bytes         |

A file without SHA-256 is not kept: without a request nothing tells that it is still the same.  METADATA is kept if a
digest or the wheel's directory vouches for it, a wheel if its digest is right; both are checked again on the way out.
The directory is no digest: the bytes that it was in may not have been the file that the page names.  With METADATA is
kept whether a digest vouched for it; if none did, the first download of the wheel puts its own in the place.
"""

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from fetcher.cache.behind import Behind
from fetcher.digest import strongest
from fetcher.disk import on_disk
from fetcher.errors import ContentError
from fetcher.index.files import File
from fetcher.wheel.identity import check_identity

__all__ = ["SMALL", "FileCache", "KeptMetadata"]

# A wheel below this size, in bytes, is fetched whole for its METADATA, since a tail would cost as much; and kept.
SMALL = 128 * 1024
# What METADATA begins with where it is kept.
_PROVEN, _UNPROVEN = b"+", b"-"


class KeptMetadata(NamedTuple):
    """METADATA with its Name and Version.

    `proven`: a digest vouches for it; else the directory of a zip that no digest was compared with.
    """

    raw: bytes
    name: str
    version: str
    proven: bool


class FileCache:
    """METADATA and wheels; nothing here fails."""

    def __init__(self, store: Behind) -> None:
        self._store = store

    async def metadata(self, file: File) -> KeptMetadata | bytes | None:
        """Return METADATA of a wheel, else the bytes of the whole wheel; None if neither is kept."""
        if file.sha256 is None or not file.is_wheel:
            return None
        return await on_disk(self._metadata, file, file.sha256)

    def _metadata(self, file: File, sha256: str) -> KeptMetadata | bytes | None:
        stored = self._store.get("metadata", _metadata_key(file, sha256))
        if stored is not None:
            raw = stored[1:]
            with suppress(ContentError):
                return KeptMetadata(raw, *check_identity(file.filename, raw), stored.startswith(_PROVEN))
        return self._wheel(sha256) if _may_be_small(file) else None

    async def is_unproven(self, file: File) -> bool:
        """Say whether METADATA of a wheel is kept that no digest vouches for."""
        if file.sha256 is None or not file.is_wheel:
            return False
        stored = await on_disk(self._store.get, "metadata", _metadata_key(file, file.sha256))
        return stored is not None and not stored.startswith(_PROVEN)

    async def wheel(self, file: File) -> bytes | None:
        """Return a whole wheel; None if it is not kept."""
        if file.sha256 is None or not _may_be_small(file):
            return None
        return await on_disk(self._wheel, file.sha256)

    def _wheel(self, sha256: str) -> bytes | None:
        body = self._store.get("wheel", sha256)
        return body if body is not None and hashlib.sha256(body).hexdigest() == sha256 else None

    async def keep(self, file: File, metadata: bytes, *, proven: bool) -> None:
        """Keep METADATA of a wheel, that a digest vouches for if it is `proven`, and else a directory."""
        if file.sha256 is not None and file.is_wheel:
            stored = (_PROVEN if proven else _UNPROVEN) + metadata
            await self._store.put("metadata", _metadata_key(file, file.sha256), stored)

    async def forget_metadata(self, file: File) -> None:
        """Keep METADATA of a wheel no longer."""
        if file.sha256 is not None:
            await self._store.put("metadata", _metadata_key(file, file.sha256), None)

    async def keep_wheel(self, file: File, wheel: bytes) -> None:
        """Keep a wheel below SMALL that has the file's digest."""
        if file.sha256 is not None and file.is_wheel:
            await self._store.put("wheel", file.sha256, wheel)

    async def keep_downloaded(self, file: File, path: Path) -> None:
        """Keep a wheel below SMALL that was put there, if it is still what its digest says."""
        if file.sha256 is None or not file.is_wheel:
            return
        if (wheel := await on_disk(_read_if_right, path, file.sha256)) is not None:
            await self.keep_wheel(file, wheel)


def _may_be_small(file: File) -> bool:
    return file.is_wheel and (file.size is None or file.size < SMALL)


def _read_if_right(path: Path, sha256: str) -> bytes | None:
    try:
        body = path.read_bytes()
    except OSError:  # its owner has moved it already
        return None
    return body if hashlib.sha256(body).hexdigest() == sha256 else None


def _metadata_key(file: File, sha256: str) -> str:
    bare = file.url.partition("#")[0].partition("?")[0]
    scheme, _, rest = bare.partition("://")
    authority, slash, path = rest.partition("/")
    sidecar = ":".join(strongest(file.sidecar or {}) or ())
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path} {sha256} {sidecar}"
