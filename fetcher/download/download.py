"""One file from the network to its place.

1. A file that is already there with the right digest is not fetched.
2. The first bytes are looked at before any is written under the file's name: a login page is no wheel.
3. Everything goes to a part file; the final name appears when length and digest are right, and for a wheel without a
   digest when its zip directory is.
4. A wrong digest is given one restart from zero, then it is an error and nothing is kept.
"""

import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fetcher.content import not_a_wheel, other_content, read_head, read_plan, sniff_head
from fetcher.digest import Digest
from fetcher.disk import on_disk
from fetcher.download.partfile import PartFile
from fetcher.errors import BadReply, ConfigError, DiskError, MetadataMismatch, Truncated
from fetcher.index.files import File, is_safe_name
from fetcher.index.urls import redact
from fetcher.spool import Spool
from fetcher.transport.reply import Whole, decide_whole
from fetcher.transport.transport import Answer, Meter, Request, Transport
from fetcher.wheel.plan import plan_metadata

__all__ = ["Download", "Progress", "download"]

# Of a body that is kept, and of a file that is there already: large enough that the thread, not Python, sets the pace.
READ = 1 << 20
BATCH = 16 << 20
# A batch for the writing thread holds what so many full buffers bring: each hand-over costs as much as 100 KiB of work.
BATCH_READS = 3


@dataclass(frozen=True)
class Download:
    """A file that is in its place.

    `size` and `bytes` (those that crossed the wire) in bytes; `sha256` in lower-case hex; `seconds` by the monotonic
    clock.  `resumed_from` is the place where an earlier part was taken up, None if there was none.
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


@dataclass(frozen=True)
class Progress:
    """An event: `received` of `total` bytes (None: not known) of a file have arrived."""

    filename: str
    received: int
    total: int | None


OnProgress = Callable[[Progress], None]


@dataclass
class _Job:
    file: File
    metadata_sha256: str | None
    on_progress: OnProgress | None

    def report(self, received: int, total: int | None) -> None:
        if self.on_progress is not None:
            self.on_progress(Progress(self.file.filename, received, total))


async def download(
    transport: Transport,
    file: File,
    directory: Path,
    *,
    kept: Spool | None = None,
    metadata_sha256: str | None = None,
    fsync: bool = False,
    on_progress: OnProgress | None = None,
) -> Download:
    """Bring one file into a directory, which is created if need be.

    `kept` is its whole body if that was already read; `metadata_sha256` is the digest of METADATA that was given out
    unverified: the file must hold the same.

    Raises FetcherError: HashMismatch, LoginPage, NotAWheel, MetadataMismatch, DiskError, ...
    """
    if not is_safe_name(file.filename):
        raise ConfigError(f"{file.filename!r} is not a safe file name")
    began = time.monotonic()
    final = directory / file.filename
    job = _Job(file, metadata_sha256, on_progress)
    meter = Meter()
    digest = await _digest_of_existing(final, file)
    if digest is None:
        async with PartFile(final) as part:
            digest = await _fill(transport, job, part, kept, meter)
            await _verify(job, part.read, digest.size)
            await part.commit(fsync=fsync)
    elif metadata_sha256 is not None:
        await _verify(job, partial(_read_existing, final), digest.size)
    return Download(
        path=final,
        filename=file.filename,
        url=redact(file.url),
        index=None if file.listed_by is None else file.listed_by.label,
        size=digest.size,
        sha256=digest.sha256,
        bytes=meter.bytes,
        seconds=time.monotonic() - began,
    )


async def _fill(transport: Transport, job: _Job, part: PartFile, kept: Spool | None, meter: Meter) -> Digest:
    """Write the body to the part file until it has the right digest; a second try at most."""
    await part.begin(Digest(job.file.hashes))  # before anything is asked for: it may be that nothing can be stored
    if kept is not None and (digest := await _copy(job, part, kept)).matches:
        return digest
    digest = await _transfer(transport, job, part, meter)
    if not digest.matches:
        digest = await _transfer(transport, job, part, meter)
    if not digest.matches:
        raise digest.mismatch(job.file.filename, job.file.url)
    return digest


async def _copy(job: _Job, part: PartFile, kept: Spool) -> Digest:
    for start in range(0, kept.size, READ):
        await part.write(await kept.read(start, start + READ))
    await part.flush()
    job.report(kept.size, kept.size)
    return part.digest


async def _transfer(transport: Transport, job: _Job, part: PartFile, meter: Meter) -> Digest:
    """Stream the file once into the part file."""

    async def consume(answer: Answer) -> Digest:
        chunk = await _checked_head(answer, job.file)
        await part.begin(Digest(job.file.hashes), batch=BATCH_READS * answer.response.buffer)
        total = answer.reply.body_size or job.file.size
        received = 0
        while chunk:
            received += len(chunk)
            await part.write(chunk)
            job.report(received, total)
            if job.file.size is not None and received > job.file.size:
                raise BadReply(answer.reply.url, f"more than the {job.file.size} bytes that the index names")
            chunk = await answer.response.read_some()
        if job.file.size is not None and received < job.file.size:
            raise Truncated(answer.reply.url, received=received, expected=job.file.size)
        await part.flush()
        return part.digest

    # An archive that is itself compressed must not be unpacked on the way: some servers label .tar.gz as encoded.
    request = Request(job.file.url, job.file.listed_by, decode=job.file.is_wheel)
    return await transport.ask(request, consume, meter)


async def _checked_head(answer: Answer, file: File) -> bytes:
    """Return the first bytes of the body; raise what is wrong with them."""
    if not isinstance(decide_whole(answer.reply), Whole):
        raise BadReply(answer.reply.url, f"a part ({answer.reply.content_range}) where the whole was asked for")
    head = await read_head(answer)
    if file.is_wheel:
        if (error := await not_a_wheel(answer, head, file.filename)) is not None:
            raise error
    elif (kind := sniff_head(head)) in ("html", "empty"):
        raise await other_content(answer, head, kind, file.filename)
    return head


async def _verify(job: _Job, read: Callable[[int, int], Awaitable[bytes]], size: int) -> None:
    """Look into a wheel that no digest vouches for, or whose METADATA was given out unverified."""
    vouched = Digest(job.file.hashes).expected is not None
    if not job.file.is_wheel or (vouched and job.metadata_sha256 is None):
        return
    found = await read_plan(plan_metadata(job.file.filename, size), read, size)
    if job.metadata_sha256 not in (None, hashlib.sha256(found.raw).hexdigest()):
        raise MetadataMismatch(job.file.filename, "it differs from the METADATA that was read before the download")


async def _digest_of_existing(final: Path, file: File) -> Digest | None:
    """Return the digest of a file that is already in place and right, else None."""
    digest = Digest(file.hashes)
    if digest.expected is None:
        return None
    try:
        size = (await on_disk(final.stat)).st_size
        if file.size not in (None, size):
            return None
        # In pieces, so that a cancellation is heard between them.
        for start in range(0, size, BATCH):
            await on_disk(_hash_piece, final, start, digest)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DiskError.of(str(final), error) from error
    return digest if digest.matches else None


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
