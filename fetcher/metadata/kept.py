"""METADATA out of the cache: kept by itself, or read from a wheel that is kept whole."""

from contextlib import suppress
from pathlib import Path

from fetcher.cache.file_cache import SMALL, FileCache, KeptMetadata
from fetcher.content import read_plan, read_raw_metadata
from fetcher.digest import Digest
from fetcher.disk import on_disk, read_piece
from fetcher.errors import ContentError
from fetcher.index.files import File
from fetcher.metadata.body import Read
from fetcher.metadata.metadata import Metadata, metadata_of
from fetcher.spool import Spool
from fetcher.wheel.plan import NotZip, plan_metadata

__all__ = ["is_proven", "keep", "keep_downloaded", "read_kept"]


async def read_kept(cache: FileCache, file: File) -> tuple[Metadata, bool] | None:
    """Return the METADATA of a wheel without a request, and whether a digest vouches for it.

    None if it is not in the cache.
    """
    found = await cache.metadata(file)
    if isinstance(found, bytes):
        found = await _read_wheel(file, found)
    if found is None:
        return None
    return metadata_of(file, Read(found.raw, found.name, found.version, "cache", True)), found.proven


async def _read_wheel(file: File, body: bytes) -> KeptMetadata | None:
    async def read(start: int, stop: int) -> bytes:
        return body[start:stop]

    try:
        found = await read_plan(plan_metadata(file.filename, len(body)), read, len(body))
    except (ContentError, NotZip):  # it is another file's, by its name: asking tells what is wrong
        return None
    sidecar = Digest(file.sidecar or {})
    sidecar.update(found.raw)
    # The page speaks of other METADATA: the sidecar comes first, as it would without a cache.
    return KeptMetadata(found.raw, found.name, found.version, True) if sidecar.matches else None


def is_proven(metadata: Metadata) -> bool:
    """Say whether METADATA that was just read is that of the file the index names, as far as it names a digest.

    Segments are of whatever lay there at the time: only their own directory vouches for them.
    """
    return metadata.verified and metadata.how != "range"


async def keep(cache: FileCache, file: File, metadata: Metadata, whole: Spool | None) -> None:
    """Keep METADATA that is verified, and the `whole` wheel if it was read on the way and is small."""
    # From memory, and before anything else: another task may take the spool for a download.
    wheel = await whole.read(0, whole.size) if whole is not None and whole.size < SMALL else None
    if metadata.verified:
        await cache.keep(file, metadata.raw, proven=is_proven(metadata))
    if wheel is not None:
        await cache.keep_wheel(file, wheel)


async def keep_downloaded(cache: FileCache, file: File, path: Path, size: int, *, fetched: bool) -> None:
    """Keep of a wheel whose digest is right what is worth it; `fetched`: it was not there, nor in the cache."""
    if await cache.is_unproven(file):
        await _prove(cache, file, path, size)
    if fetched and size < SMALL:
        await cache.keep_downloaded(file, path)


async def _prove(cache: FileCache, file: File, path: Path, size: int) -> None:
    """Keep the METADATA of a wheel in the place of what no digest vouches for."""

    async def read(start: int, stop: int) -> bytes:
        return await on_disk(read_piece, path, start, stop)

    await cache.forget_metadata(file)
    with suppress(ContentError, OSError):  # its owner may have moved it already
        await cache.keep(file, await read_raw_metadata(file, read, size), proven=True)
