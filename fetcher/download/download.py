"""One file from the network to its place.

1. A file that is already there with the right digest is not fetched.
2. The first bytes are looked at before any is written under the file's name: a login page is no wheel.
3. Everything goes to a part file; the final name appears when length and digest are right, and for a wheel without a
   digest when its zip directory is.
4. What came before a failure is gone on from, in this run or a later one, where `resume` finds that it may.
5. A wrong digest is given one restart from zero, then it is an error and nothing is kept.
"""

import hashlib
import logging
import time
import zipfile
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO

from fetcher.content import not_a_wheel, other_content, read_head, read_plan, sniff_head
from fetcher.digest import Digest
from fetcher.disk import on_disk
from fetcher.download.partfile import PartFile
from fetcher.download.resume import (
    Append,
    Complete,
    FromStart,
    Origin,
    Refuse,
    Rest,
    Restart,
    decide_answer,
    decide_request,
    origin_of,
)
from fetcher.errors import (
    BadReply,
    ConfigError,
    ContentError,
    DiskError,
    MetadataMismatch,
    TransportError,
    Truncated,
)
from fetcher.index.files import File, is_safe_name
from fetcher.index.urls import redact
from fetcher.spool import Spool
from fetcher.transport.reply import RANGE_REFUSALS, UNSATISFIABLE, Whole, decide_whole
from fetcher.transport.transport import Answer, Meter, Request, Transport
from fetcher.wheel.plan import plan_metadata

__all__ = ["Download", "Progress", "download"]

logger = logging.getLogger(__name__)

# Of a body that is kept, and of a file that is there already: large enough that the thread, not Python, sets the pace.
READ = 1 << 20
BATCH = 16 << 20


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
    """One download: what is asked for next depends on what the part file holds by then."""

    file: File
    part: PartFile
    meter: Meter
    metadata_sha256: str | None
    on_progress: OnProgress | None
    asked: FromStart | Rest | Complete = field(default_factory=FromStart)
    # Ranges were answered with something that cannot be right: they are not asked for again.
    whole_only: bool = False
    # Bytes of several answers stand in it.
    joined: bool = False
    resumed_from: int | None = None

    def report(self, total: int | None) -> None:
        if self.on_progress is not None:
            self.on_progress(Progress(self.file.filename, self.part.size, total))

    def request(self) -> Request:
        """Return the next request, by what is here already."""
        self.asked = FromStart()
        if not self.whole_only:
            self.asked = decide_request(self.part.size, self.part.origin, self.file)
        rest = self.asked if isinstance(self.asked, Rest) else None
        return Request(
            self.file.url,
            self.file.listed_by,
            wanted=rest.segment if rest else None,
            if_range=rest.if_range if rest else None,
            handled=RANGE_REFUSALS | {UNSATISFIABLE} if rest else frozenset(),
            # An archive that is itself compressed must not be unpacked on the way: some servers label .tar.gz as
            # encoded.
            decode=self.file.is_wheel,
        )


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
    meter = Meter()
    async with PartFile(final) as part:
        job = _Job(file, part, meter, metadata_sha256, on_progress)
        digest = await _look(job, trust=Digest(file.hashes).expected is not None)
        if digest is None:
            await _fill(transport, job, kept)
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
        bytes=meter.bytes,
        seconds=time.monotonic() - began,
        resumed_from=job.resumed_from,
    )


async def _fill(transport: Transport, job: _Job, kept: Spool | None) -> None:
    """Bring the body into the part file, and look whether it is right; a second try from the start at most."""
    if kept is not None and await _copy(job, kept):
        return
    await _transfer(transport, job)
    if not (job.part.digest.matches and await _is_sound(job)):
        job.part.spoil()
        job.part.begin(Digest(job.file.hashes), None, batch=READ)
        await _transfer(transport, job)
    try:
        if not job.part.digest.matches:
            raise job.part.digest.mismatch(job.file.filename, job.file.url)
        await _verify(job.file, job.metadata_sha256, job.part.read, job.part.size)
    except ContentError:
        job.part.spoil()
        raise


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

    def offset_of(size: int, origin: Origin | None) -> int:
        if origin is not None and origin.digest is None and not job.file.is_wheel:
            return 0  # nothing in the bytes could tell in the end that they are right
        match decide_request(size, origin, job.file):
            case Rest(segment):
                return segment.start
            case Complete():
                return size
            case FromStart():
                return 0

    size = await job.part.look(offset_of, Digest(job.file.hashes), job.file.size, trust=trust)
    if size is None:
        job.resumed_from = job.part.size or None
        return None
    digest = await _digest_of_existing(job.part.final, size, job.file)
    if not digest.matches:
        return await _look(job, trust=False)
    await job.part.clear()
    return digest


async def _copy(job: _Job, kept: Spool) -> bool:
    """Take the body that was read on the way to METADATA; say whether it is right."""
    job.resumed_from = None
    job.part.begin(Digest(job.file.hashes), None, batch=READ)
    for start in range(0, kept.size, READ):
        await job.part.write(await kept.read(start, start + READ))
    await job.part.settle()
    job.report(kept.size)
    if job.part.digest.matches:
        await _verify(job.file, job.metadata_sha256, job.part.read, job.part.size)
    return job.part.digest.matches


async def _transfer(transport: Transport, job: _Job) -> None:
    """Bring what is missing; where the server will not give just that, all of it."""
    while True:
        job.request()
        if isinstance(job.asked, Complete) or await transport.ask(job.request, partial(_consume, job), job.meter):
            return
        job.whole_only = True


async def _consume(job: _Job, answer: Answer) -> bool:
    """Write the body behind what is there, or from the start; False: the answer to a range is of no use."""
    file, part = job.file, job.part
    if isinstance(job.asked, Rest) and part.origin is not None:
        match decide_answer(answer.reply, job.asked, part.origin):
            case Append():
                job.joined = True
                return await _receive(job, answer, await answer.response.read_some(), part.origin.total)
            case Refuse(reason):
                logger.info("%s: %s; asking for the whole file", redact(file.url), reason)
                answer.response.abandon()
                return False
            case Restart():
                pass
    head = await _checked_head(answer, file)
    job.resumed_from = None
    part.begin(Digest(file.hashes), origin_of(file, answer.reply), batch=answer.response.batch)
    job.joined = False
    total = answer.reply.body_size or file.size
    if not await _receive(job, answer, head, total):
        raise BadReply(answer.reply.url, f"more than the {total if file.size is None else file.size} bytes announced")
    return True


async def _receive(job: _Job, answer: Answer, chunk: bytes, total: int | None) -> bool:
    """Write the body as it comes, up to the size that the index names, else the server; False if it is longer."""
    part, expected = job.part, total if job.file.size is None else job.file.size
    while chunk:
        await part.write(chunk)
        job.report(total)
        if expected is not None and part.size > expected:
            part.spoil()
            answer.response.abandon()
            return False
        try:
            chunk = await answer.response.read_some()
        except TransportError:
            if part.size != expected or answer.reply.content_encoding:
                raise
            break  # only the end of the body is missing, and that says nothing
    if expected is not None and part.size < expected:
        raise Truncated(answer.reply.url, received=part.size, expected=expected)
    await part.settle()
    return True


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


async def _verify(
    file: File, metadata_sha256: str | None, read: Callable[[int, int], Awaitable[bytes]], size: int
) -> None:
    """Look into a wheel that no digest vouches for, or whose METADATA was given out unverified."""
    vouched = Digest(file.hashes).expected is not None
    if not file.is_wheel or (vouched and metadata_sha256 is None):
        return
    found = await read_plan(plan_metadata(file.filename, size), read, size)
    if metadata_sha256 not in (None, hashlib.sha256(found.raw).hexdigest()):
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
