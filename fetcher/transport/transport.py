"""One question to the network, asked until there is an answer: limits, redirects, challenges, retries.

The loop stands around "send and consume the body", because a body can break as well as a head.  Per attempt:

1. every hop: wait while its host cools down; take a place at the host, then one of all; send (the auth middleware
   decides what goes with it); on a redirect give both back, and resolve the next hop afresh.
2. 401, 403, 404 and login pages are challenges first: if credentials turn up that were not sent, ask once more.
3. a transient failure: wait as the retry rules say, and try again.

The deadline of the caller's cancel scope (anyio's) bounds the waits: one that would last beyond it is not begun.
"""

import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from math import inf
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar, assert_never

import anyio
from anyio import CapacityLimiter, WouldBlock
from yarl import URL

from fetcher.auth.middleware import CHALLENGES, Authenticator, Hop
from fetcher.errors import (
    BadReply,
    ConfigError,
    ConnectFailed,
    Disconnected,
    FetcherError,
    Forbidden,
    InsecureRedirect,
    LoginPage,
    NotFound,
    Offline,
    ServerFailed,
    StatusError,
    Throttled,
    TimedOut,
    TooManyRedirects,
    Unauthorized,
)
from fetcher.index.scope import Index
from fetcher.index.urls import Userinfo, join, parse_url, realm_of, split_userinfo
from fetcher.segments import Segment, Suffix, range_header
from fetcher.transport.hosts import Host, Hosts
from fetcher.transport.reply import Reply
from fetcher.transport.retry import GiveUp, RetryPolicy, Wait, decide_retry
from fetcher.transport.session import Session

if TYPE_CHECKING:  # aiohttp comes with it: see session.py
    from fetcher.transport.response import Response

__all__ = ["SEGMENT_BUFFER", "Answer", "Meter", "OnCoolDown", "Request", "Transport"]

logger = logging.getLogger(__name__)

T = TypeVar("T")
# Is told the error of an attempt, its number, and the seconds until the next.
OnRetry = Callable[[FetcherError, int, float], None]
# Is told the host that asks for a pause, as a URL, the seconds, and the status of the answer that asked.
OnCoolDown = Callable[[str, float, int], None]

# As many as aiohttp itself would follow; a longer chain is a loop.
MAX_REDIRECTS = 10
# A segment is small, and an answer that is not it should cost little.
SEGMENT_BUFFER = 64 * 1024
# On the plain asyncio loop a larger buffer means fewer, larger chunks; measured best around 1 MiB.  All together stay
# within bounds, however many there are.
MOST_BUFFER = 1 << 20
ALL_BUFFERS = 8 << 20
# An attempt that brought so many bytes more was no failure; fewer, and a server could keep us for ever.
PROGRESS = 256 * 1024
REDIRECTS = frozenset({301, 302, 303, 307, 308})
PARTIAL = 206
OVERLOADED = 503
SUCCESSES = frozenset({200, 203, PARTIAL})


@dataclass(frozen=True)
class Request:
    """One GET.

    `listed_by` is the index whose page named the URL; `wanted` becomes the Range header, `if_range` a strong validator
    beside it; `conditions` are more header fields, of a conditional request; a condition is not sent after a challenge.
    `handled` are statuses that the consumer understands: they are neither raised nor retried.  `decode` undoes a
    Content-Encoding; up to twice `buffer` bytes of the body are taken before they are read (None: as many as the other
    requests leave).  `patient` is False for a request that has a fallback: it is not retried.
    """

    url: str = field(repr=False)
    listed_by: Index | None = None
    wanted: Segment | Suffix | None = None
    if_range: str | None = None
    conditions: Mapping[str, str] = field(default_factory=dict)
    accept: str = "*/*"
    accept_encoding: str = "identity"
    handled: frozenset[int] = frozenset()
    decode: bool = True
    patient: bool = True
    buffer: int | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Return the request headers, without any that auth adds."""
        headers = {"Accept": self.accept, "Accept-Encoding": self.accept_encoding, **self.conditions}
        if self.wanted is not None:
            headers["Range"] = range_header(self.wanted)
            if self.if_range is not None:
                headers["If-Range"] = self.if_range
        return headers


@dataclass
class Meter:
    """What one operation cost, and what it may cost.

    `requests` counts every hop, `bytes` the bodies; `excused` of those bytes belong to challenges, and count against no
    bound; `rejected` more may have been on their way when an answer was turned down by its head.  Bounds, where set:
    `most_requests`, and `size + slack` bytes once the file's `size` is known.  `whole`: the server answers with the
    whole body, whatever is asked.  `hops` are those of the latest attempt; `sent_at` is when its last request was sent,
    in monotonic seconds; `refusal` are the header fields of its answer, if that was an error by its status.
    """

    requests: int = 0
    bytes: int = 0
    excused: int = 0
    rejected: int = 0
    most_requests: int | None = None
    slack: int | None = None
    size: int | None = None
    whole: bool = False
    sent_at: float = 0.0
    hops: list[Hop] = field(default_factory=list)
    refusal: list[tuple[str, str]] = field(default_factory=list)

    @property
    def spent(self) -> int:
        """The bytes that count against the bound."""
        return self.bytes - self.excused + self.rejected

    def allows_requests(self, count: int) -> bool:
        """Say whether `count` more requests stay inside the bound."""
        return self.most_requests is None or self.requests + count <= self.most_requests

    def allows(self, wanted: Segment | Suffix | None, hops: int) -> bool:
        """Say whether asking for `wanted`, or (None) for the whole file, over so many hops stays inside the bounds."""
        if not self.allows_requests(hops):
            return False
        if self.slack is None or self.size is None:
            return True
        cost = self.size if self.whole or wanted is None else min(self.size, len(wanted))
        return self.spent + cost <= self.size + self.slack


@dataclass(frozen=True)
class Answer:
    """An open response with the hops that led to it."""

    response: "Response"
    hops: tuple[Hop, ...] = field(repr=False)

    @property
    def reply(self) -> Reply:
        """The head of the response."""
        return self.response.reply


class Transport:
    """Asks URLs, within limits; `offline`: asks nobody.

    `sleep` and `chance` are arguments so that tests need no waiting.
    """

    def __init__(
        self,
        session: Session,
        auth: Authenticator,
        *,
        concurrency: int = 100,
        per_host: int | None = None,
        retry: RetryPolicy | None = None,
        offline: bool = False,
        on_cool_down: OnCoolDown | None = None,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        if concurrency < 1:
            raise ConfigError("concurrency must be at least 1")
        if per_host is not None and per_host < 1:
            raise ConfigError("per_host must be at least 1")
        self._session = session
        self._auth = auth
        self._all = CapacityLimiter(concurrency)
        self._hosts = Hosts(concurrency if per_host is None else min(concurrency, per_host))
        self._retry = retry or RetryPolicy()
        self._offline = offline
        self._on_cool_down = on_cool_down
        self._sleep = sleep
        self._chance = chance

    def host(self, url: str) -> Host:
        """Return what was learned of the URL's host."""
        return self._hosts.of(realm_of(parse_url(url)))

    @property
    def is_paced(self) -> bool:
        """Whether the rate is limited here, so that no number of connections is quicker."""
        return self._session.is_paced

    async def ask(
        self,
        request: Request | Callable[[], Request],
        consume: Callable[[Answer], Awaitable[T]],
        meter: Meter | None = None,
        on_retry: OnRetry | None = None,
    ) -> T:
        """Send the request, hand the answer to `consume`, and return what that returns.

        `consume` may be called again after a failure, and must then begin anew; or it goes on from where it was, and
        `request` is called before each attempt for what is missing by then.  Attempts that brought it on are not
        counted.  `on_retry` is called before each wait for the next attempt.  Raises FetcherError (Offline before
        anything else), and what `consume` and `on_retry` raise.
        """
        ask_next: Callable[[], Request] = (lambda: request) if isinstance(request, Request) else request
        asked = ask_next()
        if self._offline:
            raise Offline(asked.url)
        meter = meter or Meter()
        challenged = False
        attempt = 1
        reached = 0  # where the furthest request began
        while True:
            hops = meter.hops = []
            try:
                return await self._attempt(asked, consume, hops, meter, challenged)
            except _AnsweredChallenge:
                challenged, meter.excused = True, meter.bytes
            except LoginPage:
                if challenged or not meter.allows_requests(1) or not await self._auth.answer_challenge(hops):
                    raise
                challenged, meter.excused = True, meter.bytes
            except FetcherError as error:
                self._heed(error, hops, meter)
                asked = ask_next()
                if not asked.patient or not meter.allows(asked.wanted, len(hops)):
                    raise
                begin = asked.wanted.start if isinstance(asked.wanted, Segment) else 0
                if begin >= reached + PROGRESS:
                    attempt, reached = 1, begin
                await self._pause(error, attempt, on_retry)
                attempt += 1

    async def _pause(self, error: FetcherError, attempt: int, on_retry: OnRetry | None) -> None:
        """Wait before the next attempt, or raise."""
        verdict = decide_retry(error, attempt=attempt, policy=self._retry, chance=self._chance(), left=_time_left())
        match verdict:
            case GiveUp(final, hurried):
                final.hurried = hurried
                raise final
            case Wait(seconds, host_wide):
                logger.info("attempt %d failed, the next in %.1f s: %s", attempt, seconds, error)
                if on_retry is not None:
                    on_retry(error, attempt, seconds)
                if not host_wide:
                    await self._sleep(seconds)
            case _:
                assert_never(verdict)

    def _heed(self, error: FetcherError, hops: list[Hop], meter: Meter) -> None:
        """Let the host have fewer requests, or a pause, if that is what an error asks for."""
        host = self._hosts.of(realm_of(hops[-1].url))
        if _is_complaint(error):
            host.complained(meter.sent_at)
        if isinstance(error, Throttled | ServerFailed) and (error.retry_after or inf) <= self._retry.longest_wait:
            seconds = error.retry_after or 0.0
            longer = host.cool_down(monotonic() + seconds, error.status)
            if longer and self._on_cool_down is not None:
                self._on_cool_down(str(realm_of(hops[-1].url)), seconds, error.status)

    async def _attempt(
        self,
        request: Request,
        consume: Callable[[Answer], Awaitable[T]],
        hops: list[Hop],
        meter: Meter,
        challenged: bool,
    ) -> T:
        """Go from hop to hop until there is an answer; raise what its status means, or let it be consumed."""
        if challenged:  # with other credentials it is another's answer that the conditions are about
            others = {name: said for name, said in request.conditions.items() if not name.startswith("If-")}
            request = replace(request, conditions=others)
        url, userinfo = split_userinfo(parse_url(request.url))
        while True:
            if len(hops) > MAX_REDIRECTS:
                raise TooManyRedirects(request.url, redirects=MAX_REDIRECTS)
            hop = self._auth.hop(url, userinfo, request.listed_by)
            hops.append(hop)
            failure: Exception | None = None
            async with self._exchange(hop, request, meter) as response:
                location = response.location if response.reply.status in REDIRECTS else None
                if location is None:
                    failure = await self._judge(request, response.reply, hops, None if challenged else meter)
                    if failure is None:
                        return await consume(Answer(response, tuple(hops)))
                    meter.refusal = response.fields
            # Raised out here, so that leaving the block could read the small rest and keep the connection.
            if location is None:
                assert failure is not None  # noqa: S101 - for the type checker: otherwise it has returned
                raise failure
            url, userinfo = _follow(hops, location)

    async def _judge(
        self, request: Request, reply: Reply, hops: list[Hop], unchallenged: Meter | None
    ) -> Exception | None:
        """Return what a final status means, None if it is to be consumed; a challenge is answered once."""
        if (
            unchallenged is not None
            and reply.status in CHALLENGES
            and unchallenged.allows_requests(2)  # this one, which is not counted yet, and the next
            and await self._auth.answer_challenge(hops)
        ):
            return _AnsweredChallenge()
        return _refusal(request, reply, hops[-1])

    def _exchange(self, hop: Hop, request: Request, meter: Meter) -> "_Exchange":
        places = (self._hosts.of(realm_of(hop.url)), self._all, self._sleep)
        return _Exchange(*places, partial(self._send, hop, request), hop, meter)

    def _share(self) -> int:
        """Return the buffer of one of the requests under way."""
        return min(MOST_BUFFER, max(SEGMENT_BUFFER, ALL_BUFFERS // max(1, self._all.borrowed_tokens)))

    async def _send(self, hop: Hop, request: Request) -> "Response":
        return await self._session.get(
            hop.url,
            request.headers,
            middleware=self._auth.middleware(hop),
            decode=request.decode,
            buffer=request.buffer or self._share(),
        )


class _Exchange:
    """One request and its response, with a place at the host and one of all as long as the response is open.

    As every request passes here, it is a class: asyncio keeps books of async generators, ten microseconds for each.
    """

    def __init__(
        self,
        host: Host,
        everywhere: CapacityLimiter,
        sleep: Callable[[float], Awaitable[None]],
        send: Callable[[], Awaitable["Response"]],
        hop: Hop,
        meter: Meter,
    ) -> None:
        self._host = host
        self._everywhere = everywhere
        self._sleep = sleep
        self._send = send
        self._hop = hop
        self._meter = meter
        self._response: Response | None = None

    async def __aenter__(self) -> "Response":
        """Wait for a place at the host, until it is ready, and for one place of all; then send."""
        await self._take(self._host.limiter)
        try:
            while (wait := self._host.cool_until - monotonic()) > 0:
                if wait >= (left := _time_left()):
                    raise Throttled(str(self._hop.url), self._host.cooled_by, wait, left)
                await self._sleep(wait)
            await self._take(self._everywhere)
        except BaseException:
            self._host.limiter.release_on_behalf_of(self)
            raise
        self._meter.sent_at = monotonic()
        try:
            self._response = await self._send()
        except BaseException:
            self._leave()
            raise
        self._host.answered(monotonic() - self._meter.sent_at)
        return self._response

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._response is not None:
                await self._response.close(keep=error is None)
        finally:
            self._leave()

    async def _take(self, limiter: CapacityLimiter) -> None:
        """Take a place; a free one is had without a turn of the event loop."""
        try:
            limiter.acquire_on_behalf_of_nowait(self)
        except WouldBlock:
            await limiter.acquire_on_behalf_of(self)

    def _leave(self) -> None:
        """Count what it cost, and give the places back."""
        self._meter.bytes += self._response.transferred if self._response is not None else 0
        self._meter.requests += self._hop.asked
        self._everywhere.release_on_behalf_of(self)
        self._host.limiter.release_on_behalf_of(self)


class _AnsweredChallenge(Exception):
    """Credentials turned up that were not sent: ask again."""


def _time_left() -> float:
    """Return the seconds until the deadline of the cancel scopes around the caller; inf if there is none.

    In a scope that is cancelled there is none either: what is awaited next ends it.
    """
    deadline = anyio.current_effective_deadline()
    return inf if deadline == -inf else deadline - anyio.current_time()


def _is_complaint(error: FetcherError) -> bool:
    """Say whether an error may mean that this is too much for the server."""
    match error:
        case Throttled(left=float()):  # nothing was sent
            return False
        case ServerFailed():
            return error.status == OVERLOADED
        case ConnectFailed():
            return not error.lasting
        case _:
            return isinstance(error, Throttled | Disconnected | TimedOut)


def _refusal(request: Request, reply: Reply, hop: Hop) -> FetcherError | None:
    """Return the error that a status means; None for one that is consumed."""
    status, url = reply.status, reply.url
    if status == PARTIAL and request.wanted is None:
        return BadReply(url, "a part of the file (206), which was not asked for")
    if status in SUCCESSES or status in request.handled:
        return None
    retry_after = reply.retry_after_seconds(datetime.now(UTC))
    match status:
        case 401:
            return Unauthorized(url, hop.index, hop.sent)
        case 403:
            return Forbidden(url, hop.index, hop.sent)
        case 404 | 410:
            return NotFound(url, status, source=hop.sent)
        case 408 | 429:
            return Throttled(url, status, retry_after)
        case _ if status >= 500:
            return ServerFailed(url, status, retry_after)
        case _:
            return StatusError(url, status, retry_after)


def _follow(hops: list[Hop], location: str) -> tuple[URL, Userinfo | None]:
    """Return where a redirect leads.

    Raises BadReply for a Location that is no http or https URL, InsecureRedirect for https to http with credentials in
    play.
    """
    here = hops[-1].url
    try:
        target, userinfo = split_userinfo(parse_url(str(join(here, location))))
    except ValueError as error:
        raise BadReply(str(here), f"a redirect to {error}") from None
    in_play = userinfo is not None or any(hop.sent for hop in hops)
    if here.scheme == "https" and target.scheme == "http" and in_play:
        raise InsecureRedirect(str(here), str(target))
    return target, userinfo
