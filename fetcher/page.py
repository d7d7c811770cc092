"""One index page: out of the cache, or asked for; looked at before it is believed, and only then kept.

1. The credentials that would go with a request say which kept page may be used: `always` without any ends it here.
   Under `auto` with none known they are looked up first if this index wanted some in an earlier run, so that pages
   that are kept for a user of netrc need no request either, and come before those that are kept for everybody.
2. A fresh page is used.  A stale one is asked for with its validators; after a 304 it is used, and a server that does
   not bear the conditions is asked once more without.
3. A page is kept under the credentials that its answer was for, if it is JSON or names files: HTML without links may be
   anything.  Login pages, pages that cannot be read and pages reached by redirects are not.
4. An answer that is believed ends what was kept, also if it is not kept itself.
"""

import logging
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Generic, TypeVar, assert_never

from anyio import to_thread

from fetcher.auth.credentials import Credentials
from fetcher.auth.middleware import Authenticator, Hop
from fetcher.cache.page_cache import PageCache, Private
from fetcher.cache.pages import Absent, Fresh, KeptPage, Miss, Revalidate
from fetcher.content import login_page, sniff_head
from fetcher.errors import BadPage, BadReply, NotFound, Truncated
from fetcher.index.encoding import inflate
from fetcher.index.files import Project
from fetcher.index.pages import parse_page
from fetcher.index.root_page import parse_root
from fetcher.index.scope import Index
from fetcher.index.urls import parse_url, realm_of
from fetcher.transport.reply import Reply
from fetcher.transport.transport import Answer, Meter, Request, Transport
from fetcher.wheel.sniff import looks_like_login

__all__ = ["read_page", "read_root"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

# PEP 691: the JSON form is preferred, HTML is what every server has.
ACCEPT_PAGE = (
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1, */*;q=0.01"
)
# The largest page of the public index has some 30 MB as JSON.
MOST_PAGE = 64 << 20
# Pages are compressed to a tenth; to a hundredth only by those who mean harm.
MOST_INFLATION = 100
# A page up to this size is parsed at once, a larger one in a thread.
SMALL_PAGE = 1 << 20
# A compressed body up to this size is inflated at once, a larger one in a thread: it may come to some megabytes.
SMALL_BODY = 64 * 1024
# Login pages carry up to 200 KB, most of it script.
LOOK = 256 * 1024
NOT_MODIFIED = 304
# What servers and proxies answer to conditions that they do not bear.
REFUSALS = frozenset({400, 412, 431})


@dataclass(frozen=True)
class _Read(Generic[T]):
    """An answer: the page it brought, with what is kept of it; no page, if the answer is about the conditions.

    `lists`: the page has links.
    """

    hops: tuple[Hop, ...]
    status: int
    fields: list[tuple[str, str]]
    page: T | None = None
    lists: bool = False
    charset: str | None = None
    body: bytes = field(default=b"", repr=False)

    @property
    def may_be_kept(self) -> bool:
        """Whether it is a page, without doubt, and the answer of the very URL that was asked."""
        if len(self.hops) > 1 or self.page is None:
            return False
        return self.lists or sniff_head(self.body[:LOOK]) == "json"


@dataclass(frozen=True)
class _Page(Generic[T]):
    """A page of an index, and those who are asked for it.

    `label` is what it is called; `read` parses it, and raises BadPage; `lists` says whether it has links.
    """

    transport: Transport
    auth: Authenticator
    index: Index
    url: str
    label: str
    read: Callable[..., T]
    lists: Callable[[T], bool]
    refresh: bool = False

    async def parse(self, body: bytes, charset: str | None, url: str) -> T:
        """Parse a page.  Raises BadPage."""
        parse = partial(self.read, body, url=url, charset=charset)
        # A page of 10,000 files takes some 50 ms to parse.
        return parse() if len(body) <= SMALL_PAGE else await to_thread.run_sync(parse)

    async def parse_kept(self, kept: KeptPage) -> T | None:
        """Return what a kept page says; None if it is of no use any more."""
        try:
            return await self.parse(kept.body, kept.charset, self.url)
        except BadPage:
            return None

    async def ask(self, conditions: Mapping[str, str], meter: Meter) -> _Read[T]:
        """Ask for the page, by a conditional request if there are conditions."""
        request = Request(
            self.url,
            self.index,
            accept=ACCEPT_PAGE,
            accept_encoding="gzip, deflate",
            decode=False,  # it is undone by `_inflate`
            # RFC 9111 §5.2.1.4: a proxy that keeps pages, too, asks its origin.
            conditions={**conditions, "Cache-Control": "no-cache"} if self.refresh else conditions,
            handled=REFUSALS | {NOT_MODIFIED} if conditions else frozenset(),
        )
        read = await self.transport.ask(request, self._consume, meter)
        first, last = read.hops[0], read.hops[-1]
        if realm_of(last.url) != realm_of(first.url):
            # GitLab sends the anonymous on to the public index, where the name may be somebody else's.
            if await self.auth.answer_challenge(read.hops[:1]):
                read = await self.transport.ask(replace(request, conditions={}), self._consume, meter)
            logger.warning("index %s has %s at %s", self.index.label, self.label, realm_of(last.url))
        return read

    async def _consume(self, answer: Answer) -> _Read[T]:
        """Read and parse a page; one without links is looked at: it may be a login page, or no page at all."""
        reply, fields = answer.reply, answer.response.fields
        if reply.status in REFUSALS | {NOT_MODIFIED}:
            return _Read(answer.hops, reply.status, fields)
        body = await answer.response.read(MOST_PAGE)
        if reply.content_encoding:
            work = partial(_inflate, reply, body)
            body = work() if len(body) <= SMALL_BODY else await to_thread.run_sync(work)
        page = await self.parse(body, reply.charset, reply.url)
        if not (lists := self.lists(page)):
            self._look(answer, body[:LOOK])
        return _Read(answer.hops, reply.status, fields, page, lists, reply.charset, body)

    def _look(self, answer: Answer, head: bytes) -> None:
        """Raise what a page without links is, unless it is one."""
        kind = sniff_head(head)
        if kind == "html" and looks_like_login(head, parse_url(answer.reply.url).path):
            raise login_page(answer, head, self.label)
        if kind not in ("html", "json"):
            raise BadPage(answer.reply.url, f"it is neither HTML nor JSON, but {kind}")


def _inflate(reply: Reply, body: bytes) -> bytes:
    """Undo the encoding of a page.  Raises Truncated, BadReply, BadPage."""
    most = min(MOST_PAGE, MOST_INFLATION * len(body) + SMALL_PAGE)
    try:
        inflated = inflate(body, reply.content_encoding, most)
    except EOFError:
        raise Truncated(reply.url, received=len(body)) from None
    except zlib.error:
        raise BadReply(reply.url, f"a body that is no {reply.content_encoding}") from None
    if len(inflated) > most:
        raise BadPage(reply.url, f"{len(body)} bytes that inflate to more than {most}")
    return inflated


async def read_page(
    transport: Transport,
    auth: Authenticator,
    cache: PageCache | None,
    index: Index,
    name: str,
    *,
    refresh: bool = False,
) -> Project:
    """Return what an index says of a project, by its normalized name; `refresh`: what it says now.

    Raises NotFound, LoginPage, BadPage, Offline, and what auth, transport and statuses raise.
    """
    page = _Page(
        transport,
        auth,
        index,
        index.page_url(name),
        f"the index page of {name}",
        partial(parse_page, name=name, listed_by=index),
        lambda project: bool(project.files),
        refresh,
    )
    return await _read(cache, page)


async def read_root(
    transport: Transport, auth: Authenticator, cache: PageCache | None, index: Index
) -> tuple[str, ...]:
    """Return the normalized names of an index's projects.

    Raises NotFound, LoginPage, BadPage, Offline, and what auth, transport and statuses raise.
    """
    return await _read(cache, _Page(transport, auth, index, f"{index.url}/", "the list of projects", parse_root, bool))


async def _read(cache: PageCache | None, page: _Page[T]) -> T:
    if cache is None:
        return _page_of(await page.ask({}, Meter()))
    return await _read_through(cache, replace(page, refresh=page.refresh or cache.refresh))


async def _read_through(cache: PageCache, page: _Page[T]) -> T:
    """Answer from the cache, or ask and keep the answer."""
    known, verdict = await _look_up(cache, page)
    match verdict:
        case Fresh(kept):
            if (parsed := await page.parse_kept(kept)) is not None:
                return parsed
        case Absent(status):
            raise NotFound(page.url, status)
        case Revalidate(kept, conditions):
            read = await _ask(cache, page, known, conditions)
            if read.page is not None:
                return read.page
            if (parsed := await _take_kept(cache, page, known, kept, read)) is not None:
                return parsed
        case Miss():
            pass
        case _:
            assert_never(verdict)
    return _page_of(await _ask(cache, page, known, {}))


async def _look_up(cache: PageCache, page: _Page[T]) -> tuple[Credentials | None, Fresh | Revalidate | Absent | Miss]:
    """Return the credentials that would go with a request, and what may be done for one."""
    hop = page.auth.hop(parse_url(page.url), None, page.index)
    known = await page.auth.decide(hop)
    credentials = None if known is None else known.credentials
    verdict = await cache.look_up(page.url, credentials, page.index.url, refresh=page.refresh)
    if isinstance(verdict, Private):
        if await page.auth.answer_challenge([hop]):
            return await _look_up(cache, page)
        verdict = verdict.otherwise
    return credentials, verdict


async def _take_kept(
    cache: PageCache, page: _Page[T], known: Credentials | None, kept: KeptPage, read: _Read[T]
) -> T | None:
    """Return the page after a 304; None if that was about another, or it is no 304.

    With other credentials than `known`, by which the page was found, it would be somebody else's.
    """
    if read.status != NOT_MODIFIED or len(read.hops) > 1 or read.hops[0].credentials != known:
        return None
    return await page.parse_kept(kept) if await cache.freshen(page.url, known, kept, read.fields) else None


async def _ask(cache: PageCache, page: _Page[T], known: Credentials | None, conditions: Mapping[str, str]) -> _Read[T]:
    """Ask for the page, and keep what came."""
    meter = Meter()
    try:
        read = await page.ask(conditions, meter)
        await _keep(cache, page, read)
    except NotFound as error:
        if len(meter.hops) == 1:
            await cache.keep_absence(page.url, meter.hops[0].credentials, error.status, meter.refusal)
        await _note(cache, page, known, meter.hops)
        raise
    await _note(cache, page, known, read.hops)
    return read


async def _note(cache: PageCache, page: _Page[T], known: Credentials | None, hops: Sequence[Hop]) -> None:
    """Note that an index wants credentials, if it took some that had to be looked up: its answer is theirs."""
    if hops[0].credentials is not None and known is None:
        await cache.note_private(page.index.url)


async def _keep(cache: PageCache, page: _Page[T], read: _Read[T]) -> None:
    """Keep a page that may be; what it takes the place of goes in any case."""
    sent = read.hops[0].credentials
    if read.may_be_kept:
        await cache.keep(page.url, sent, read.status, read.fields, body=read.body, charset=read.charset)
    elif read.page is not None:
        await cache.forget(page.url, sent)


def _page_of(read: _Read[T]) -> T:
    assert read.page is not None  # noqa: S101 - for the type checker: only conditional requests bring no page
    return read.page
