"""METADATA of a wheel in as few round trips as there can be: sidecar -> whole -> range -> stream.

1. The page advertises a sidecar (PEP 658): one GET, its hash checked.  Missing, wrong or HTML: a warning, and on.
2. The wheel is known to be small: one GET, kept, so that downloading it later is free.
3. Otherwise one GET for its tail, never a HEAD.  `wheel/plan.py` says which further segments it needs, if any;
   `transport/reply.py` says what each answer means.
4. An answer that brings the whole body *is* the fallback: local headers are read as they stream by.

An operation costs at most `MOST_ASKS` questions, and at most the file's size and `SLACK` bytes, whatever the server
does; an honest one costs at most three.
"""

import hashlib
import logging
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple, assert_never

import packaging.metadata
from anyio import Event
from yarl import URL

from fetcher.content import HEAD, login_page, not_a_wheel, read_head, read_plan
from fetcher.digest import Digest
from fetcher.errors import (
    BadReply,
    BadZip,
    FetcherError,
    LoginPage,
    MetadataMissing,
    MissingCredentials,
    Truncated,
)
from fetcher.index.files import File
from fetcher.index.urls import redact
from fetcher.segments import Piece, Segment, Suffix
from fetcher.spool import Shelf, Spool
from fetcher.transport.reply import (
    EXPIRED,
    PROBE_REFUSALS,
    RANGE_REFUSALS,
    SUFFIX_REFUSALS,
    UNSATISFIABLE,
    Expired,
    Partial,
    Refused,
    Setback,
    Unsatisfiable,
    Untrusted,
    Whole,
    decide_reaction,
    decide_whole,
)
from fetcher.transport.transport import SEGMENT_BUFFER, Answer, Meter, Request, Transport
from fetcher.wheel.identity import check_identity
from fetcher.wheel.plan import UNKNOWN_TAIL, known_tail, plan_metadata, walked_metadata
from fetcher.wheel.sniff import looks_like_login, sniff
from fetcher.wheel.walk import Found, Walk

__all__ = ["How", "Metadata", "read_metadata"]

logger = logging.getLogger(__name__)

How = Literal["cache", "sidecar", "whole", "range", "stream"]

# Questions that one METADATA may cost: refused suffix, probe, tail, directory, entry.
MOST_ASKS = 5
# Bytes that one METADATA may cost beyond the file's size: a tail that turned out to be useless, and error pages.
SLACK = 128 * 1024
# A wheel below this size is fetched whole: it costs what a tail would, and the file is then here.
SMALL = 128 * 1024
# With METADATA found on the way, a rest of this size is read to the end: the directory then vouches for it, and the
# connection stays open.
REST = 256 * 1024
# One byte tells the size, and that a host knows absolute ranges.
PROBE = Segment(0, 1)
# METADATA with its long description has tens of KiB; PyPI takes no larger file than this by far.
MOST_METADATA = 16 << 20


@dataclass(frozen=True)
class Metadata:
    """METADATA of one wheel, and what it cost.

    `raw` are its bytes.  `requests` counts every hop, `bytes` the bodies that crossed the wire.  `verified`: a hash of
    the index or the wheel's central directory vouches for it; if not, a later download compares.
    """

    filename: str
    url: str
    index: str | None
    raw: bytes = field(repr=False)
    how: How
    requests: int
    bytes: int
    verified: bool

    @cached_property
    def parsed(self) -> packaging.metadata.Metadata:
        """The fields; invalid ones raise `packaging.metadata.InvalidMetadata` when they are looked at."""
        return packaging.metadata.Metadata.from_email(self.raw, validate=False)

    @property
    def name(self) -> str:
        """The project's name as METADATA writes it."""
        return self._identity[0]

    @property
    def version(self) -> str:
        """The version as METADATA writes it."""
        return self._identity[1]

    @cached_property
    def _identity(self) -> tuple[str, str]:
        return check_identity(self.filename, self.raw)

    @property
    def sha256(self) -> str:
        """The SHA-256 of `raw`, in lower-case hex."""
        return hashlib.sha256(self.raw).hexdigest()


async def read_metadata(transport: Transport, file: File, shelf: Shelf) -> Metadata:
    """Read the METADATA of a wheel; a body that was read whole goes to the shelf, by the file's URL.

    Raises FetcherError: LoginPage, NotAWheel, BadZip, MetadataMissing, MetadataMismatch, HashMismatch, NotFound, ...
    """
    if not file.is_wheel:
        raise MetadataMissing(file.filename, "it is not a wheel")
    reading = _Reading(transport, file, shelf)
    try:
        found = await reading.read()
    finally:
        reading.host_answered()  # or never will
    return Metadata(
        filename=file.filename,
        url=redact(file.url),
        index=None if file.listed_by is None else file.listed_by.label,
        raw=found.raw,
        how=found.how,
        requests=reading.meter.requests,
        bytes=reading.meter.bytes,
        verified=found.verified,
    )


class _Read(NamedTuple):
    raw: bytes
    how: How
    verified: bool


class _Reading:
    """One operation: the state that its questions share."""

    def __init__(self, transport: Transport, file: File, shelf: Shelf) -> None:
        self._transport = transport
        self._file = file
        self._shelf = shelf
        self._host = transport.host(file.url)
        self.meter = Meter(most_asks=MOST_ASKS, slack=SLACK, size=file.size)
        # Where the next segment is asked for: the URL that answered, until it says that it has expired.
        self._url = file.url
        self._total: int | None = file.size
        self._etag: str | None = None
        # Bytes that may have been on their way when an answer was turned down by its head.
        self._rejected = 0

    async def read(self) -> _Read:
        file = self._file
        if file.sidecar is not None and (found := await self._read_sidecar()) is not None:
            return found
        if file.size is not None and file.size < SMALL:
            return await self._read_whole("whole")
        if self._host.refuses_ranges:
            return await self._read_whole("stream")
        if file.size is None and self._host.refuses_suffix:
            return await self._read_after_probe()
        return await self._read_segments(file.size)

    # --------------------------------------------------------------------------------------------------------- sidecar

    async def _read_sidecar(self) -> _Read | None:
        """Return the sidecar's METADATA, None if there is none that can be used."""
        file = self._file
        request = Request(file.sidecar_url, file.listed_by, patient=False)
        try:
            body = await self._transport.ask(request, self._consume_sidecar, self.meter)
            digest = Digest(file.sidecar or {})
            digest.update(body)
            if not digest.matches:
                raise digest.mismatch(f"{file.filename}.metadata", file.sidecar_url)
            check_identity(file.filename, body)
        except (LoginPage, MissingCredentials):
            raise
        except FetcherError as error:
            logger.warning("the advertised metadata file of %s is of no use: %s", file.filename, error)
            return None
        return _Read(body, "sidecar", digest.expected is not None)

    async def _consume_sidecar(self, answer: Answer) -> bytes:
        body = await answer.response.read(MOST_METADATA)
        if sniff(body[:1024]) == "html":
            # A soft "not found" is no reason to stop; a login page is, and so is HTML behind a redirect.
            if len(answer.hops) > 1 or looks_like_login(body, URL(answer.reply.url).path):
                raise login_page(answer, body, f"{self._file.filename}.metadata")
            raise MetadataMissing(f"{self._file.filename}.metadata", "it is an HTML page")
        return body

    # ----------------------------------------------------------------------------------------------------------- range

    async def _read_segments(self, size: int | None) -> _Read:
        """Follow the plan from segment to segment."""
        plan = plan_metadata(self._file.filename, size, await self._first_tail(size))
        wanted = next(plan)
        while True:
            step = await self._ask_segment(wanted)
            if isinstance(step, _Read):
                return step
            if not isinstance(step, Piece):
                return await self._react(step, wanted)
            try:
                wanted = plan.send(step)
            except StopIteration as done:
                return _Read(done.value.raw, "range", True)
            except BadZip:
                # Segments that do not fit together may be the server's fault: the whole body decides.
                if not self.meter.allows() or self.meter.bytes > SLACK:
                    raise
                return await self._read_whole("stream")

    async def _first_tail(self, size: int | None) -> int | None:
        """Return how long the first tail is to be, None for the plan's choice.

        A host that nobody has asked yet is asked for no more than `SLACK` can lose; the other readers of large wheels
        wait for its answer.
        """
        if size is None or known_tail(size) <= UNKNOWN_TAIL:
            return None
        if self._host.looked is None:
            self._host.looked = Event()
            return UNKNOWN_TAIL
        await self._host.looked.wait()
        return None if self._host.knows_ranges else UNKNOWN_TAIL

    async def _ask_segment(self, wanted: Segment | Suffix) -> Piece | _Read | Setback:
        """Ask for one segment; an expired redirect is resolved again, once."""
        step = await self._ask_here(wanted)
        if isinstance(step, Expired):
            self._url = self._file.url
            step = await self._ask_here(wanted)
        return step

    async def _ask_here(self, wanted: Segment | Suffix) -> Piece | _Read | Setback:
        redirected = self._url != self._file.url
        probe = wanted == PROBE
        refusals = SUFFIX_REFUSALS if isinstance(wanted, Suffix) else PROBE_REFUSALS if probe else RANGE_REFUSALS

        async def consume(answer: Answer) -> Piece | _Read | Setback:
            reaction = decide_reaction(
                answer.reply,
                wanted,
                refusals=refusals,
                total=self._total,
                etag=self._etag,
                redirected=redirected,
            )
            self._host.knows_ranges = self._host.knows_ranges or isinstance(reaction, Partial)
            self.host_answered()
            match reaction:
                case Partial():
                    return await self._take_piece(answer, reaction)
                case Whole():
                    return await self._take_body(answer, "stream")
                case Untrusted():
                    answer.response.abandon()
                    self._rejected += min(answer.reply.content_length or len(wanted), SEGMENT_BUFFER)
                    return reaction
                case _:
                    self._url = answer.reply.url
                    return reaction

        request = Request(
            self._url,
            self._file.listed_by,
            wanted=wanted,
            if_range=self._etag,
            handled=refusals | {UNSATISFIABLE} | (EXPIRED if redirected else frozenset()),
            patient=not probe,
        )
        return await self._transport.ask(request, consume, self.meter)

    def host_answered(self) -> None:
        if self._host.looked is None:
            self._host.looked = Event()
        self._host.looked.set()

    async def _take_piece(self, answer: Answer, told: Partial) -> Piece | Untrusted:
        """Read the segment that the answer brings; its bytes are looked at if they are the file's first."""
        data = await answer.response.read_up_to(len(told.segment) + 1)
        if len(data) != len(told.segment):
            answer.response.abandon()
            return Untrusted(f"{len(told.segment)} bytes announced, {len(data)} came")
        if told.segment.start == 0 and len(data) > 1 and sniff(data[:HEAD]) != "zip":
            if isinstance(error := await not_a_wheel(answer, data, self._file.filename), LoginPage):
                raise error
            return Untrusted("a beginning that is no zip's")
        self._url = answer.reply.url
        self._total = self.meter.size = told.total
        self._etag = self._etag or answer.reply.strong_etag
        self._host.refuses_ranges = False
        return Piece(told.segment.start, data, told.total)

    async def _react(self, setback: Setback, wanted: Segment | Suffix) -> _Read:
        """Go on after an answer that brought no bytes."""
        match setback:
            case Unsatisfiable(total) if total and isinstance(wanted, Suffix):
                self._total = self.meter.size = total
                return await self._read_segments(total)
            case Refused() if isinstance(wanted, Suffix):
                return await self._read_after_probe()
            case Refused():
                found = await self._read_whole("stream")
                self._host.refuses_ranges = True
                return found
            case Unsatisfiable() | Untrusted() | Expired():
                logger.info("%s: %s; asking for the whole file", redact(self._file.url), setback)
                self._url = self._file.url
                return await self._read_whole("stream")
            case _:
                assert_never(setback)

    async def _read_after_probe(self) -> _Read:
        """Learn the size from one byte, then use the absolute form."""
        step = await self._ask_segment(PROBE)
        if isinstance(step, _Read):
            return step
        if not isinstance(step, Piece):
            return await self._react(step, PROBE)
        self._host.refuses_suffix = True
        return await self._read_segments(step.total)

    # ----------------------------------------------------------------------------------------------------------- whole

    async def _read_whole(self, how: How) -> _Read:
        """Ask for the whole file, without a range."""
        if not self.meter.allows() or self.meter.bytes + self._rejected > SLACK:
            raise BadReply(self._file.url, "its answers to range requests contradict each other")
        request = Request(self._file.url, self._file.listed_by)
        return await self._transport.ask(request, lambda answer: self._take_body(answer, how), self.meter)

    async def _take_body(self, answer: Answer, how: How) -> _Read:
        """Read a body that should be the whole wheel, no further than need be."""
        reply, meter = answer.reply, self.meter
        if isinstance(verdict := decide_whole(reply), Untrusted):
            raise BadReply(reply.url, verdict.reason)
        meter.whole = True
        meter.size = reply.body_size or self._file.size
        if meter.bytes > SLACK:
            raise BadReply(reply.url, "the whole file, after segments of it")
        head = await read_head(answer)
        if error := await not_a_wheel(answer, head, self._file.filename):
            raise error
        if self._file.size not in (None, reply.body_size or self._file.size):
            raise BadReply(reply.url, f"{reply.body_size} bytes, where the index names {self._file.size}")
        spool = Spool()
        try:
            found = await self._stream(answer, head, spool, how)
        except BaseException:
            spool.close()
            raise
        if found.verified:
            self._shelf.put(self._file.url, spool)
        else:
            spool.close()
        return found

    async def _stream(self, answer: Answer, head: bytes, spool: Spool, how: How) -> _Read:
        """Walk the body as it comes; stop at METADATA if much of it is left, else let the directory decide."""
        walk, digest = Walk(self._file.filename), Digest(self._file.hashes)
        chunk = head
        while chunk:
            digest.update(chunk)
            if self._file.size is not None and digest.size > self._file.size:
                raise BadReply(answer.reply.url, f"more than the {self._file.size} bytes that the index names")
            await spool.write(chunk)
            found = walk.feed(chunk)
            if isinstance(found, Found) and self._is_far_from_end(answer):
                raw = walked_metadata(self._file.filename, found).raw
                return _Read(raw, how, False)
            chunk = await answer.response.read_some()
        self._check_whole(digest)
        plan = plan_metadata(self._file.filename, spool.size)
        raw = (await read_plan(plan, spool.read, spool.size)).raw
        return _Read(raw, how, True)

    def _is_far_from_end(self, answer: Answer) -> bool:
        size = answer.reply.body_size or self._file.size
        return size is None or size - answer.response.received > REST

    def _check_whole(self, digest: Digest) -> None:
        if self._file.size is not None and digest.size < self._file.size:
            raise Truncated(self._url, received=digest.size, expected=self._file.size)
        if not digest.matches:
            raise digest.mismatch(self._file.filename, self._file.url)
