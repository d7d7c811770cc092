"""METADATA by range requests: `wheel/plan.py` says what is needed, `transport/reply.py` what an answer means.

| answer                        | then                                                                               |
|-------------------------------|------------------------------------------------------------------------------------|
| the segment                   | the plan goes on                                                                   |
| the whole body                | it is the stream; nothing is asked again                                           |
| a refusal of the suffix       | one byte is asked for, which tells the size; then the absolute form                |
| a refusal of ranges           | one whole GET                                                                      |
| 416                           | the absolute form if the size is now known, else one whole GET                     |
| something that cannot be right| one whole GET; bytes are never mixed                                               |
| 401, 403 after a redirect     | the original URL again, once: a signature has expired                              |
"""

import logging
from typing import assert_never

from fetcher.content import not_as_named, sniff_head
from fetcher.errors import BadReply, BadZip, LoginPage
from fetcher.index.files import File
from fetcher.index.urls import redact
from fetcher.metadata.body import SLACK, How, Read, read_body
from fetcher.segments import Piece, Segment, Suffix
from fetcher.spool import Shelf
from fetcher.transport.reply import (
    EXPIRED,
    PROBE_REFUSALS,
    RANGE_REFUSALS,
    REST_WORTH_READING,
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
)
from fetcher.transport.transport import SEGMENT_BUFFER, Answer, Meter, Request, Transport
from fetcher.wheel.plan import UNKNOWN_TAIL, NotZip, WheelMetadata, known_tail, may_lead_on, plan_metadata

__all__ = ["RangeReading"]

logger = logging.getLogger(__name__)

# One byte tells the size, and that a host knows absolute ranges.
PROBE = Segment(0, 1)


class RangeReading:
    """One operation: the state that its questions share."""

    def __init__(self, transport: Transport, file: File, shelf: Shelf, meter: Meter) -> None:
        self._transport = transport
        self._file = file
        self._shelf = shelf
        self._host = transport.host(file.url)
        self._meter = meter
        # Where the next segment is asked for: the URL that answered, until it says that it has expired.
        self._url = file.url
        self._total: int | None = file.size
        self._redirects = 0
        self._etag: str | None = None

    async def read(self) -> Read:
        """Read by segments as far as the host is known to understand them, else whole."""
        try:
            return await self._read()
        finally:
            self._host.note(right_range=False)  # or the others would wait for ever

    async def _read(self) -> Read:
        if self._host.refuses_ranges:
            return await self.read_whole("stream")
        if self._file.size is None and self._host.refuses_suffix:
            return await self._read_after_probe()
        return await self._read_segments(self._file.size)

    async def _read_segments(self, size: int | None) -> Read:
        """Follow the plan from segment to segment."""
        plan = plan_metadata(self._file.filename, size, await self._first_tail(size), project=self._file.project)
        wanted = next(plan)
        while True:
            step = await self._ask_segment(wanted)
            if isinstance(step, Read):
                return step
            if not isinstance(step, Piece):
                return await self._react(step, wanted)
            try:
                wanted = plan.send(step)
            except StopIteration as done:
                found: WheelMetadata = done.value
                return Read(found.raw, found.name, found.version, "range", True)
            except (BadZip, NotZip):
                # Segments that do not fit together may be the server's fault: the whole body decides.
                if not self._may_read_whole():
                    raise
                return await self.read_whole("stream")

    async def _first_tail(self, size: int | None) -> int | None:
        """Return how long the first tail is to be, None for the plan's choice.

        A host that nobody has asked yet is asked for no more than `SLACK` can lose; the other readers of large wheels
        wait for its answer.
        """
        if size is None or known_tail(size) <= UNKNOWN_TAIL:
            return None
        return None if await self._host.is_known_to_range() else UNKNOWN_TAIL

    async def _ask_segment(self, wanted: Segment | Suffix) -> Piece | Read | Setback:
        """Ask for one segment; an expired redirect is resolved again.

        The last request that may be made is no place to begin something longer: it is one for the whole file.
        """
        leads_on = wanted == PROBE or may_lead_on(wanted)
        if leads_on and not self._meter.allows_requests(self._hops_to_go() + 1):
            return await self.read_whole("stream")
        step = await self._ask_here(wanted)
        if isinstance(step, Expired):
            self._url = self._file.url
            return await self._ask_segment(wanted)
        return step

    def _hops_to_go(self) -> int:
        """Return how many requests the next question takes: one, or the redirects of the file's own URL."""
        return 1 if self._url != self._file.url else self._redirects + 1

    async def _ask_here(self, wanted: Segment | Suffix) -> Piece | Read | Setback:
        redirected = self._url != self._file.url
        refusals = PROBE_REFUSALS if wanted == PROBE else RANGE_REFUSALS
        if isinstance(wanted, Suffix):
            refusals = SUFFIX_REFUSALS

        async def consume(answer: Answer) -> Piece | Read | Setback:
            self._redirects = max(self._redirects, len(answer.hops) - 1)
            reaction = decide_reaction(
                answer.reply,
                wanted,
                refusals=refusals,
                total=self._total,
                etag=self._etag,
                redirected=redirected,
            )
            self._host.note(right_range=isinstance(reaction, Partial))
            match reaction:
                case Partial():
                    return await self._take_piece(answer, reaction)
                case Whole():
                    return await read_body(answer, "stream", self._file, self._meter, self._shelf)
                case Untrusted():
                    self._turn_down(answer, len(wanted))
                    return reaction
                case _:
                    if (answer.reply.content_length or 0) > REST_WORTH_READING:
                        self._turn_down(answer, 0)
                    self._url = answer.reply.url
                    return reaction

        request = Request(
            self._url,
            self._file.listed_by,
            wanted=wanted,
            if_range=self._etag,
            buffer=SEGMENT_BUFFER,
            handled=refusals | {UNSATISFIABLE} | (EXPIRED if redirected else frozenset()),
        )
        return await self._transport.ask(request, consume, self._meter)

    def _turn_down(self, answer: Answer, expected: int) -> None:
        """Read nothing of the body; what may be on its way of it counts all the same."""
        answer.response.abandon()
        on_its_way = min(answer.reply.content_length or expected, SEGMENT_BUFFER)
        self._meter.rejected += max(0, on_its_way - answer.response.transferred)

    async def _take_piece(self, answer: Answer, told: Partial) -> Piece | Untrusted:
        """Read the segment that the answer brings; its bytes are looked at if they are the file's first."""
        data = await answer.response.read_up_to(len(told.segment) + 1)
        if len(data) != len(told.segment):
            answer.response.abandon()
            return Untrusted(f"{len(told.segment)} bytes announced, {len(data)} came")
        if told.segment.start == 0 and len(data) > 1 and sniff_head(data) != "zip":
            if isinstance(error := await not_as_named(answer, data, self._file.filename), LoginPage):
                raise error
            return Untrusted("a beginning that is no zip's")
        self._url = answer.reply.url
        self._total = self._meter.size = told.total
        self._etag = self._etag or answer.reply.strong_etag
        return Piece(told.segment.start, data, told.total)

    async def _react(self, setback: Setback, wanted: Segment | Suffix) -> Read:
        """Go on after an answer that brought no bytes."""
        match setback:
            case Unsatisfiable(total) if total and isinstance(wanted, Suffix):
                self._total = self._meter.size = total
                return await self._read_segments(total)
            case Refused() if isinstance(wanted, Suffix):
                return await self._read_after_probe()
            case Refused():
                found = await self.read_whole("stream")
                self._host.refuses_ranges = True
                return found
            case Unsatisfiable() | Untrusted() | Expired():
                logger.info("%s: %s; asking for the whole file", redact(self._file.url), setback)
                return await self.read_whole("stream")
            case _:
                assert_never(setback)

    async def _read_after_probe(self) -> Read:
        """Learn the size from one byte, then use the absolute form."""
        step = await self._ask_segment(PROBE)
        if isinstance(step, Read):
            return step
        if not isinstance(step, Piece):
            return await self._react(step, PROBE)
        self._host.refuses_suffix = True
        return await self._read_segments(step.total)

    def _may_read_whole(self) -> bool:
        return self._meter.allows(None, self._hops_to_go()) and self._meter.spent <= SLACK

    async def read_whole(self, how: How) -> Read:
        """Ask for the whole file, without a range."""
        if not self._may_read_whole():
            raise BadReply(self._file.url, "its answers to range requests contradict each other")
        redirected = self._url != self._file.url

        async def consume(answer: Answer) -> Read | None:
            if answer.reply.status in EXPIRED:
                return None
            return await read_body(answer, how, self._file, self._meter, self._shelf)

        request = Request(self._url, self._file.listed_by, handled=EXPIRED if redirected else frozenset())
        found = await self._transport.ask(request, consume, self._meter)
        if found is not None:
            return found
        self._url = self._file.url
        return await self.read_whole(how)
