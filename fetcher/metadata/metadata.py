"""METADATA of a file in as few round trips as there can be: sidecar -> whole -> range -> stream.

1. The page advertises a sidecar (PEP 658): one GET, its hash checked.  Missing, wrong or HTML: a warning, and on.
2. The wheel is known to be small: one GET, kept, so that downloading it later is free.
3. Otherwise one GET for its tail, never a HEAD.  `wheel/plan.py` says which further segments it needs, if any;
   `transport/reply.py` says what each answer means.
4. An answer that brings the whole body *is* the fallback: local headers are read as they stream by.
5. A source distribution is read likewise if it is a zip.  A tar has no directory to ask for: after the sidecar comes
   one GET, and PKG-INFO is read as the archive streams by.  It must vouch for what a resolver goes by (PEP 643).

An operation costs at most `MOST_REQUESTS` requests, and at most the file's size and `SLACK` bytes, whatever the server
does; an honest one costs at most three.
"""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from fetcher.cache.file_cache import SMALL
from fetcher.index.files import File
from fetcher.index.urls import redact
from fetcher.metadata.body import SLACK, How, Read, read_body
from fetcher.metadata.ranges import RangeReading
from fetcher.metadata.sidecar import read_sidecar
from fetcher.sdist.static import refuse_dynamic
from fetcher.sdist.unpack import archive_kind, is_tar
from fetcher.spool import Shelf
from fetcher.transport.transport import Meter, Request, Transport
from fetcher.wheel.identity import identify

if TYPE_CHECKING:
    import packaging.metadata

__all__ = ["How", "Metadata", "metadata_of", "read_metadata"]

# Requests that one METADATA may cost: refused suffix, probe, tail, directory, entry.
MOST_REQUESTS = 5


@dataclass(frozen=True)
class Metadata:
    """METADATA of one wheel, or the PKG-INFO of one source distribution, and what it cost.

    `name` and `version` as METADATA writes them, `raw` its bytes.  `requests` counts every hop, `bytes` the bodies that
    crossed the wire.  `verified`: a hash of the index or a zip's central directory vouches for it.  With what
    no hash vouches for, a later download compares.
    """

    name: str
    version: str
    filename: str
    url: str
    index: str | None
    raw: bytes = field(repr=False)
    how: How
    requests: int
    bytes: int
    verified: bool

    @cached_property
    def parsed(self) -> "packaging.metadata.Metadata":
        """The fields; invalid ones raise `packaging.metadata.InvalidMetadata` when they are looked at."""
        # Imported here: it takes a tenth of the time that this library needs to start, and not everybody parses.
        import packaging.metadata

        return packaging.metadata.Metadata.from_email(self.raw, validate=False)

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of `raw`, in lower-case hex."""
        return hashlib.sha256(self.raw).hexdigest()


async def read_metadata(transport: Transport, file: File, shelf: Shelf) -> Metadata:
    """Read the METADATA of a file; a body that was read whole goes to the shelf, by the file's URL.

    Raises FetcherError: LoginPage, NotAWheel, NotAnSdist, BadZip, MetadataMissing, NotStatic, MetadataMismatch,
    HashMismatch, NotFound, ...
    """
    identify(file.filename, file.project)
    meter = Meter(most_requests=MOST_REQUESTS, slack=SLACK, size=file.size)
    found = await _climb(transport, file, shelf, meter)
    if not file.is_wheel:
        refuse_dynamic(file.filename, found.raw)
    return metadata_of(file, found, requests=meter.requests, size=meter.bytes)


def metadata_of(file: File, found: Read, *, requests: int = 0, size: int = 0) -> Metadata:
    """Return what was read as the METADATA of a file; it cost so many requests and bytes."""
    return Metadata(
        name=found.name,
        version=found.version,
        filename=file.filename,
        url=redact(file.url),
        index=None if file.listed_by is None else file.listed_by.label,
        raw=found.raw,
        how=found.how,
        requests=requests,
        bytes=size,
        verified=found.verified,
    )


async def _climb(transport: Transport, file: File, shelf: Shelf, meter: Meter) -> Read:
    """Go down the ladder until a rung bears."""
    if file.sidecar is not None and (found := await read_sidecar(transport, file, meter)) is not None:
        return found
    if is_tar(file.filename):
        return await _read_tar(transport, file, shelf, meter)
    reading = RangeReading(transport, file, shelf, meter)
    if file.size is not None and file.size < SMALL:
        return await reading.read_whole("whole")
    return await reading.read()


async def _read_tar(transport: Transport, file: File, shelf: Shelf, meter: Meter) -> Read:
    # Some servers label a .tar.gz as encoded; what it is compressed by is part of it.
    request = Request(file.url, file.listed_by, decode=archive_kind(file.filename) != "gzip")
    return await transport.ask(request, lambda answer: read_body(answer, "stream", file, meter, shelf), meter)
