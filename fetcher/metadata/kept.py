"""METADATA out of the cache: kept by itself, or read from a wheel that is kept whole."""

from fetcher.cache.file_cache import SMALL, FileCache, KeptMetadata
from fetcher.content import read_plan
from fetcher.errors import ContentError
from fetcher.index.files import File
from fetcher.index.urls import redact
from fetcher.metadata.metadata import Metadata
from fetcher.spool import Spool
from fetcher.wheel.plan import NotZip, plan_metadata

__all__ = ["keep", "read_kept"]


async def read_kept(cache: FileCache, file: File) -> Metadata | None:
    """Return the METADATA of a wheel without a request; None if it is not in the cache."""
    found = await cache.metadata(file)
    if isinstance(found, bytes):
        found = await _read_wheel(file, found)
    if found is None:
        return None
    return Metadata(
        name=found.name,
        version=found.version,
        filename=file.filename,
        url=redact(file.url),
        index=None if file.listed_by is None else file.listed_by.label,
        raw=found.raw,
        how="cache",
        requests=0,
        bytes=0,
        verified=True,
    )


async def _read_wheel(file: File, body: bytes) -> KeptMetadata | None:
    async def read(start: int, stop: int) -> bytes:
        return body[start:stop]

    try:
        found = await read_plan(plan_metadata(file.filename, len(body)), read, len(body))
    except (ContentError, NotZip):  # it is another file's, by its name: asking tells what is wrong
        return None
    return KeptMetadata(found.raw, found.name, found.version)


async def keep(cache: FileCache, file: File, metadata: Metadata, whole: Spool | None) -> None:
    """Keep METADATA that is verified, and the `whole` wheel if it was read on the way and is small."""
    # From memory, and before anything else: another task may take the spool for a download.
    wheel = await whole.read(0, whole.size) if whole is not None and whole.size < SMALL else None
    await cache.keep(file, metadata=metadata.raw if metadata.verified else None, wheel=wheel)
