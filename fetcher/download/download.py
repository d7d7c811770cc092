"""One file from the network to its place.

1. A file that is already there with the right digest is not fetched.
2. The first bytes are looked at before any is written under the file's name: a login page is no wheel.
3. Everything goes to a part file; the final name appears when length and digest are right, and for a wheel without a
   digest when its zip directory is.
4. What came before a failure is gone on from, in this run or a later one, where `resume` finds that it may.
5. A wrong digest is given one restart from zero, then it is an error and nothing is kept.
"""

import hashlib
import time
import zipfile
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from fetcher.content import read_raw_metadata
from fetcher.digest import Digest, strongest
from fetcher.disk import on_disk
from fetcher.download.events import OnEvent, Progress
from fetcher.download.partfile import PartFile
from fetcher.download.resume import usable
from fetcher.download.transfer import Transfer
from fetcher.download.volumes import Volumes
from fetcher.errors import ConfigError, ContentError, DiskError, MetadataMismatch
from fetcher.index.files import File, is_safe_name
from fetcher.index.urls import redact
from fetcher.spool import Spool
from fetcher.transport.transport import Transport

__all__ = ["Download", "download"]

# Of a body that is kept, and of a file that is there already: large enough that the thread, not Python, sets the pace.
READ = 1 << 20
BATCH = 16 << 20


@dataclass(frozen=True)
class Download:
    """A file that is in its place.

    `size` and `bytes` (those that crossed the wire) in bytes; `sha256` in lower-case hex; `seconds` by the monotonic
    clock.  `resumed_from` is how many bytes an earlier run had left, None if it had left none.  `from_cache`: it was
    kept whole, and no byte crossed the wire for it.
    """

    path: Path
    filename: str
    url: str
    index: str | None
    size: int
    sha256: str
    bytes: int
    seconds: float
    resumed_from: int | None = None
    from_cache: bool = False


@dataclass
class _Job:
    """One download.  `joined`: bytes of several answers stand in the part; `copied`: those of a body that was kept."""

    transport: Transport
    file: File
    part: PartFile
    metadata_sha256: str | None
    on_event: OnEvent | None
    bytes: int = 0
    joined: bool = False
    copied: bool = False
    resumed_from: int | None = None


async def download(
    transport: Transport,
    file: File,
    directory: Path,
    volumes: Volumes,
    *,
    kept: Spool | None = None,
    from_cache: bool = False,
    metadata_sha256: str | None = None,
    fsync: bool = False,
    on_event: OnEvent | None = None,
) -> Download:
    """Bring one file into a directory, which is created if need be.

    `kept` is its whole body if that was already read, in an earlier run if `from_cache`; `metadata_sha256` is the
    digest of METADATA that was given out before a digest vouched for it: the file must hold the same.

    Raises FetcherError: HashMismatch, LoginPage, NotAWheel, NotAnSdist, MetadataMismatch, DiskError, ...
    """
    if not is_safe_name(file.filename):
        raise ConfigError(f"{file.filename!r} is not a safe file name")
    began = time.monotonic()
    final = directory / file.filename
    async with PartFile(final, volumes) as part:
        job = _Job(transport, file, part, metadata_sha256, on_event)
        digest = await _look(job, trust=strongest(file.hashes) is not None)
        if digest is None:
            await _fill(job, kept)
            await part.commit(fsync=fsync)
            digest = part.digest
        elif metadata_sha256 is not None:
            await _verify(file, metadata_sha256, partial(_read_existing, final), digest.size)
    return Download(
        path=final,
        filename=file.filename,
        url=redact(file.url),
        index=None if file.listed_by is None else file.listed_by.label,
        size=digest.size,
        sha256=digest.sha256,
        bytes=job.bytes,
        seconds=time.monotonic() - began,
        resumed_from=job.resumed_from,
        from_cache=from_cache and job.copied,
    )


async def _fill(job: _Job, kept: Spool | None) -> None:
    """Bring the body into the part file, and look whether it is right; a second try from the start at most."""
    if kept is not None and await _copy(job, kept):
        job.copied = True
        return
    await _transfer(job, alone=False)
    if not (job.part.digest.matches and await _is_sound(job)):
        job.part.begin(Digest(job.file.hashes), None, lasting=False)
        await _transfer(job, alone=True)
    try:
        if not job.part.digest.matches:
            raise job.part.digest.mismatch(job.file.filename, job.file.url)
        await _verify(job.file, job.metadata_sha256, job.part.read, job.part.size)
    except ContentError:
        job.part.spoil()
        raise


async def _transfer(job: _Job, *, alone: bool) -> None:
    """Bring the bytes, by one connection `alone` or by several if that is quicker."""
    transfer = Transfer(job.transport, job.file, job.part, job.on_event, alone=alone)
    try:
        await transfer.run()
    finally:
        job.bytes += transfer.bytes
    job.joined, job.resumed_from = transfer.joined, transfer.resumed_from


async def _is_sound(job: _Job) -> bool:
    """Look through a wheel that was put together from several answers and that no digest vouches for.

    The bytes may be those of another place; or the machine stopped between two runs, and what was written last never
    reached the disk.
    """
    if not (job.joined and job.file.is_wheel) or job.part.digest.expected is not None:
        return True
    return await job.part.inspect(_has_right_sums)


# What zipfile raises for an archive that is not sound; for a method that it does not know; for a seek to nowhere.
_UNSOUND = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError, OSError)


def _has_right_sums(file: IO[bytes]) -> bool:
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.testzip() is None
    except _UNSOUND:
        return False


async def _look(job: _Job, *, trust: bool) -> Digest | None:
    """Return the digest of a file that is already in place and right; else go on from a part that was left, if any."""
    size = await job.part.look(partial(usable, file=job.file), Digest(job.file.hashes), job.file.size, trust=trust)
    if size is None:
        return None
    digest = await _digest_of_existing(job.part.final, size, job.file)
    if not digest.matches:
        return await _look(job, trust=False)
    await job.part.clear()
    return digest


async def _copy(job: _Job, kept: Spool) -> bool:
    """Take the body that was read on the way to METADATA; say whether it is right."""
    job.part.begin(Digest(job.file.hashes), None, lasting=False)
    for start in range(0, kept.size, READ):
        await job.part.write(start, await kept.read(start, start + READ), batch=READ)
    await job.part.settle()
    if job.on_event is not None:
        job.on_event(Progress(job.file.filename, kept.size, kept.size))
    if job.part.digest.matches:
        await _verify(job.file, job.metadata_sha256, job.part.read, job.part.size)
    return job.part.digest.matches


async def _verify(
    file: File, metadata_sha256: str | None, read: Callable[[int, int], Awaitable[bytes]], size: int
) -> None:
    """Look into a wheel that no digest vouches for, and into a file whose METADATA was given out before."""
    vouched = strongest(file.hashes) is not None
    if metadata_sha256 is None and (vouched or not file.is_wheel):
        return
    raw = await read_raw_metadata(file, read, size)
    if metadata_sha256 not in (None, hashlib.sha256(raw).hexdigest()):
        raise MetadataMismatch(file.filename, "it differs from the METADATA that was read before the download")


async def _digest_of_existing(final: Path, size: int, file: File) -> Digest:
    digest = Digest(file.hashes)
    try:
        # In pieces, so that a cancellation is heard between them.
        for start in range(0, size, BATCH):
            await on_disk(_hash_piece, final, start, digest)
    except OSError as error:
        raise DiskError.of(str(final), error) from error
    return digest


async def _read_existing(path: Path, start: int, stop: int) -> bytes:
    def read() -> bytes:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(stop - start)

    try:
        return await on_disk(read)
    except OSError as error:
        raise DiskError.of(str(path), error) from error


def _hash_piece(path: Path, start: int, digest: Digest) -> None:
    with path.open("rb") as file:
        file.seek(start)
        digest.update(file.read(BATCH))
