"""The bytes of one file, from the wire into its part file, by one connection or several.

One connection begins.  While it brings its bytes, `lanes` says whether more would be worthwhile; each brings a lane,
and what it cannot bring is left to the others.  The last one's failure is the transfer's.  Where ranges turn out to be
of no use, the whole is asked for, by one.
"""

import logging
from contextlib import AsyncExitStack
from time import monotonic
from typing import TYPE_CHECKING

import anyio
from anyio import CancelScope

from fetcher.content import not_as_named, read_head
from fetcher.digest import Digest
from fetcher.download.events import OnEvent, Progress, Retry
from fetcher.download.lanes import END, Growth, Lane, Lanes
from fetcher.download.partfile import SMALL, PartFile
from fetcher.download.resume import (
    Append,
    Complete,
    FromStart,
    Refuse,
    Rest,
    Restart,
    decide_answer,
    decide_request,
    origin_of,
    outlives,
)
from fetcher.errors import AuthError, BadReply, FetcherError, StatusError, TransportError, Truncated
from fetcher.index.files import File
from fetcher.index.urls import redact
from fetcher.sdist.unpack import archive_kind
from fetcher.segments import Segment, gaps
from fetcher.transport.hosts import Host
from fetcher.transport.reply import EXPIRED, RANGE_REFUSALS, UNSATISFIABLE, Expired, Whole, decide_whole
from fetcher.transport.transport import Answer, Meter, Request, Transport

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

__all__ = ["Transfer"]

logger = logging.getLogger(__name__)

# What several connections hold each before it is written.
LANE_BATCH = 1 << 20
ONE_BYTE = Segment(0, 1)
# A new signature must bring at least so much, or a server could keep us for ever.
LEAST_FOR_A_SIGNATURE = 256 * 1024


class Transfer:
    """One file's way into its part file.

    `bytes` are those that crossed the wire; `resumed_from` is how many an earlier run had left, None if there were
    none; `joined`: bytes of several answers stand in the part.  `on_event` is told of bytes and retries.
    """

    def __init__(
        self, transport: Transport, file: File, part: PartFile, on_event: OnEvent | None, *, alone: bool
    ) -> None:
        self.bytes = 0
        self.joined = False
        self.resumed_from: int | None = part.size or None
        self._transport = transport
        self._file = file
        self._part = part
        self._on_event = on_event
        # Ranges are not asked for (again).
        self._whole_only = alone
        self._lanes = Lanes(())
        self._growth = Growth(is_over=alone or transport.is_paced)
        self._helpers: list[CancelScope] = []
        self._tasks: TaskGroup | None = None
        # Where lanes are asked for: the URL that answered, until it says that its signature has expired.
        self._url = file.url
        self._renewal = anyio.Lock()
        self._total: int | None = None
        self._end: FetcherError | Refuse | None = None

    async def run(self) -> None:
        """Bring what is missing; where the server will not give just that, all of it.  Raises FetcherError."""
        while (lane := self._first_lane()) is not None:
            self._end = None
            await self._bring_all(lane)
            match self._end:
                case None:
                    break
                case Refuse(reason):
                    logger.info("%s: %s; asking for the whole file", redact(self._file.url), reason)
                    self._whole_only = self._growth.is_over = True
                case error:
                    raise error
        await self._part.settle()

    def _first_lane(self) -> Lane | None:
        """Return where to begin, None if all is here."""
        total = None if self._part.origin is None else self._part.origin.total
        self._total = total or self._file.size
        match self._asked_first():
            case Complete():
                return None
            case FromStart():
                self._lanes = Lanes([Segment(0, END)])
            case Rest(asked):
                missing = tuple(gaps(self._part.held, total or asked.stop))
                self._lanes = Lanes(missing or [asked])
        return self._lanes.next(monotonic())

    def _asked_first(self) -> FromStart | Rest | Complete:
        if self._whole_only:
            return FromStart()
        return decide_request(self._part.held, self._part.origin, self._file)

    async def _bring_all(self, lane: Lane) -> None:
        try:
            async with AsyncExitStack() as self._open:
                await self._work(lane)
        except BaseExceptionGroup as group:
            raise _first(group) from None
        finally:
            self._tasks = None

    async def _help(self, lane: Lane, host: Host) -> None:
        """Bring lanes until there are none, or it turns out that fewer connections would do."""
        host.coming -= 1  # from here on it has a place of its own
        with CancelScope() as scope:
            self._helpers.append(scope)
            try:
                await self._work(lane)
            finally:
                self._helpers.remove(scope)

    async def _work(self, lane: Lane) -> None:
        """Bring one lane after the other; what cannot be brought is left to the others."""
        following: Lane | None = lane
        while following is not None:
            reason: FetcherError | Refuse | None
            try:
                reason = await self._bring(following)
            except FetcherError as error:
                reason = error
            finally:
                is_own = following.half_of is None  # else another brings its bytes
                self._lanes.leave(following)
            if reason is not None:
                self._give_up(reason, is_own=is_own)
                return
            following = self._next_lane()
        if not self._lanes.left:
            self._dismiss(self._helpers)  # whoever still waits for an answer waits in vain

    def _next_lane(self) -> Lane | None:
        return self._lanes.next(monotonic(), self._growth.worth_halving, self._growth.usual_rate)

    def _give_up(self, reason: FetcherError | Refuse, *, is_own: bool) -> None:
        """Go on with fewer connections; if this was the last, it is the end."""
        if self._lanes.active:
            host, still = self._transport.host(self._url), len(self._lanes.active)
            logger.info("%s: one of %d connections ended: %s", redact(self._file.url), still + 1, reason)
            self._growth.is_over = True
            if isinstance(reason, Refuse | AuthError | StatusError):
                host.lanes = min(host.lanes, still)
        elif is_own or self._lanes.left:
            self._end = reason

    async def _bring(self, lane: Lane) -> Refuse | None:
        """Bring the bytes of a lane; return why they cannot be had, if it is not an error."""
        url = self._url if lane.half_of is not None or self._lanes.active != [lane] else self._file.url
        renewed_at: int | None = None
        while isinstance(outcome := await self._ask(lane, url), Expired):
            if renewed_at is not None and lane.at < renewed_at + LEAST_FOR_A_SIGNATURE:
                return Refuse("a signature that expires when it is new")
            renewed_at = lane.at
            url = await self._renew(url)
        return outcome

    async def _ask(self, lane: Lane, url: str) -> Refuse | Expired | None:
        asked: FromStart | Rest = FromStart()

        def request() -> Request:
            nonlocal asked
            asked = self._asked(lane)
            return self._request(lane, url, asked)

        async def consume(answer: Answer) -> Refuse | Expired | None:
            return await self._consume(lane, asked, answer, redirected=url != self._file.url)

        meter = Meter()
        try:
            return await self._transport.ask(request, consume, meter, self._tell_retry)
        finally:
            self.bytes += meter.bytes

    def _asked(self, lane: Lane) -> FromStart | Rest:
        """Return what is asked for next, by what is here already."""
        asked = self._asked_first()
        if isinstance(asked, FromStart) or not lane.left:  # all came, and was no good
            return FromStart()
        return Rest(Segment(lane.at, lane.stop), asked.if_range if isinstance(asked, Rest) else None)

    def _request(self, lane: Lane, url: str, asked: FromStart | Rest) -> Request:
        rest = asked if isinstance(asked, Rest) else None
        handled = RANGE_REFUSALS | {UNSATISFIABLE} if rest else frozenset()
        return Request(
            url,
            self._file.listed_by,
            wanted=rest.segment if rest else None,
            if_range=rest.if_range if rest else None,
            handled=handled | EXPIRED if url != self._file.url else handled,
            # An archive that gzip made must not be unpacked on the way: some servers label it as encoded.
            decode=archive_kind(self._file.filename) != "gzip",
            # As long as somebody else would bring the same bytes, there is no sense in waiting.
            patient=lane.half_of is None,
        )

    async def _renew(self, url: str) -> str:
        """Return where the original URL leads now; it is asked once for all who come with the same expired one."""
        async with self._renewal:
            if self._url == url:
                request = Request(self._file.url, self._file.listed_by, wanted=ONE_BYTE, handled=RANGE_REFUSALS)
                meter = Meter()
                try:
                    self._url = await self._transport.ask(request, _where, meter)
                finally:
                    self.bytes += meter.bytes
            return self._url

    async def _consume(
        self, lane: Lane, asked: FromStart | Rest, answer: Answer, *, redirected: bool
    ) -> Refuse | Expired | None:
        """Write the body in its place; or return why it is of no use."""
        if isinstance(asked, Rest) and self._part.origin is not None:
            verdict = decide_answer(answer.reply, asked, self._part.origin, redirected=redirected)
            match verdict:
                case Append():
                    return await self._append(lane, answer)
                case Restart() if self._lanes.active == [lane]:
                    pass
                case Restart():
                    answer.response.abandon()
                    return Refuse("the whole file in answer to a range")
                case Refuse() | Expired():
                    answer.response.abandon()
                    return verdict
        await self._restart(lane, answer)
        return None

    async def _append(self, lane: Lane, answer: Answer) -> Refuse | None:
        if not self._lanes.accept(lane, monotonic()):
            answer.response.abandon()  # the one who had it was quicker
            return None
        self._see_where(answer)
        self.joined = True
        return await self._receive(lane, answer, await answer.response.read_some())

    def _see_where(self, answer: Answer) -> None:
        """Ask for the next lanes where this one came from, if a redirect led there."""
        if len(answer.hops) > 1:
            self._url = answer.reply.url

    async def _restart(self, lane: Lane, answer: Answer) -> None:
        """Take the whole file from its start."""
        file, part = self._file, self._part
        head = await self._checked_head(answer)
        origin = origin_of(file, answer.reply)
        part.begin(Digest(file.hashes), origin, lasting=outlives(origin, file))
        expected = file.size if file.size is not None else answer.reply.body_size
        if file.size is None and expected is not None and expected > SMALL:
            await part.make_room(expected)
        self._lanes.begin_anew(lane, expected, monotonic())
        self._see_where(answer)
        self._total = answer.reply.body_size or file.size
        self.joined, self.resumed_from = False, None
        if answer.reply.accept_ranges == "none" or answer.reply.body_size not in (None, expected):
            self._growth.is_over = True
        if await self._receive(lane, answer, head) is not None:
            part.spoil()
            raise BadReply(answer.reply.url, f"more than the {expected} bytes announced")

    async def _receive(self, lane: Lane, answer: Answer, chunk: bytes) -> Refuse | None:
        """Write the body as it comes, up to the end of the lane; it is of no use if it is longer than announced."""
        response = answer.response
        while chunk:
            if len(chunk) > lane.left and not lane.was_cut:
                response.abandon()
                return Refuse("more than the bytes announced")
            if lane.left:
                await self._take(lane, chunk[: lane.left], response.batch)
            if lane.was_cut and not lane.left:
                response.abandon()  # the rest of it is another lane
                return None
            try:
                chunk = await response.read_some()
            except TransportError:
                if lane.left or answer.reply.content_encoding:
                    raise
                break  # only the end of the body is missing, and that says nothing
        if lane.stop == END:
            lane.stop = lane.at
        if lane.left:
            raise Truncated(answer.reply.url, received=lane.at, expected=lane.stop)
        return None

    async def _take(self, lane: Lane, chunk: bytes, batch: int) -> None:
        at, lane.at = lane.at, lane.at + len(chunk)  # at once: its end may move while the bytes are written
        await self._part.write(at, chunk, batch=batch if self._lanes.active == [lane] else min(batch, LANE_BATCH))
        if self._on_event is not None:
            self._on_event(Progress(self._file.filename, self._part.size, self._total, self.resumed_from))
        if not self._growth.is_over and self._part.origin is not None and self._part.origin.can_be_resumed:
            await self._grow()

    def _tell_retry(self, error: FetcherError, attempt: int, seconds: float) -> None:
        if self._on_event is not None:
            self._on_event(Retry(self._file.filename, error, attempt, seconds))

    async def _grow(self) -> None:
        """Open more connections, or close some, if the rate says so."""
        if not self._growth.measure(monotonic(), self._part.size, self._lanes):
            return
        host = self._transport.host(self._url)
        most = min(host.lanes, len(self._lanes.active) + host.room_for_lanes)
        change = self._growth.decide(self._lanes.left, most)
        if change > 0 and not isinstance(self._asked_first(), Rest):
            self._growth.is_over = True  # the rest of it cannot be asked for
            return
        if change > 0 and self._tasks is None:  # most files never need it
            self._tasks = await self._open.enter_async_context(anyio.create_task_group())
        for _ in range(change):
            if self._tasks is not None and (lane := self._next_lane()) is not None:
                host.coming += 1
                self._tasks.start_soon(self._help, lane, host)
        if change < 0:
            self._dismiss(self._helpers[change:])

    def _dismiss(self, helpers: list[CancelScope]) -> None:
        for scope in helpers:
            scope.cancel()

    async def _checked_head(self, answer: Answer) -> bytes:
        """Return the first bytes of the body; raise what is wrong with them."""
        if not isinstance(decide_whole(answer.reply), Whole):
            raise BadReply(answer.reply.url, f"a part ({answer.reply.content_range}) where the whole was asked for")
        head = await read_head(answer)
        if (error := await not_as_named(answer, head, self._file.filename)) is not None:
            raise error
        return head


async def _where(answer: Answer) -> str:
    return answer.reply.url


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first exception of a group: a caller hears of one, however many connections met the same."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
