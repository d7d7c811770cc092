"""`Fetcher`: wires the rooms together; the only file that knows them all."""

import logging
import os
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from anyio import to_thread
from packaging.utils import InvalidName, canonicalize_name

from fetcher.auth.credentials import Credentials
from fetcher.auth.middleware import Authenticator, Hop
from fetcher.content import login_page, sniff_head
from fetcher.download.download import Download, download
from fetcher.download.events import OnEvent
from fetcher.download.volumes import Volumes
from fetcher.errors import BadPage, ConfigError, NotFound
from fetcher.explain import Explanation, explain
from fetcher.flights import Flights
from fetcher.index.config import PYPI_URL, search_order
from fetcher.index.files import File, Project, file_from_url
from fetcher.index.pages import parse_page
from fetcher.index.scope import Index, Scopes
from fetcher.index.urls import parse_url, realm_of
from fetcher.metadata.metadata import Metadata, read_metadata
from fetcher.spool import Shelf
from fetcher.transport.pace import Pace
from fetcher.transport.retry import RetryPolicy
from fetcher.transport.session import Session, Timeouts
from fetcher.transport.transport import Answer, Request, Transport
from fetcher.wheel.sniff import looks_like_login

__all__ = ["Fetcher"]

logger = logging.getLogger(__name__)

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
# Login pages carry up to 200 KB, most of it script.
LOOK = 256 * 1024


class Fetcher:
    """The front door: pages, METADATA and files of the declared indexes.

    `indexes` are asked in order, those with `default` last; none declared means PyPI.  `credentials` are the caller's,
    by index name.  `concurrency` bounds the requests under way at once; a host gets as many as it answers quickly.
    `retries` are the further attempts after a transient failure; `timeout` the seconds without a connection or a byte;
    `limit_rate` the bytes a second, over all responses.
    `environ` is asked for `FETCHER_INDEX_<NAME>_…`, `UV_INDEX_<NAME>_…` and `NETRC`.

    The deadline of a cancel scope around a call (`anyio.fail_after`; asyncio's own time-outs are not seen) bounds its
    waits between attempts: one that would last beyond it is not begun, and the call fails at once.

    Use it as an async context manager, under asyncio.  Raises ConfigError for names declared twice and credentials for
    an index that is not declared.
    """

    def __init__(
        self,
        indexes: Iterable[Index | str] = (),
        *,
        credentials: Mapping[str, Credentials] | None = None,
        concurrency: int = 100,
        retries: int = 3,
        timeout: float = 30.0,
        limit_rate: float | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        declared = [Index(index) if isinstance(index, str) else index for index in indexes]
        self._indexes = declared or [Index(PYPI_URL, name="pypi", default=True)]
        self._by_name = {index.name: index for index in self._indexes if index.name}
        _check_names(self._indexes, credentials or {})
        self._auth = Authenticator(Scopes(self._indexes), credentials=credentials, environ=environ)
        self._session = Session(
            Timeouts(connect=timeout, read=timeout, window=timeout), Pace(limit_rate) if limit_rate else None
        )
        self._transport = Transport(
            self._session, self._auth, concurrency=concurrency, retry=RetryPolicy(retries=retries)
        )
        self._shelf = Shelf()
        # METADATA that was given out before anything vouched for it: URL of the wheel -> SHA-256.
        self._unverified: dict[str, str] = {}
        self._volumes = Volumes()
        self._downloads: Flights[Download] = Flights()
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._open.enter_async_context(self._session)
        self._open.enter_context(self._shelf)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._open.aclose()

    @property
    def indexes(self) -> tuple[Index, ...]:
        """The declared indexes, in declaration order."""
        return tuple(self._indexes)

    async def project(self, name: str, *, index: str | None = None) -> Project:
        """Return what the first index that has the project says of it; `index` names one to ask alone.

        404 goes on to the next index.  Raises NotFound if none has it; Unauthorized, Forbidden, LoginPage,
        MissingCredentials from the first index that refuses: a project of the same name elsewhere may be another's.
        """
        try:
            normalized = canonicalize_name(name, validate=True)
        except InvalidName:
            raise ConfigError(f"{name!r} is not a project name") from None
        missed: list[str] = []
        for asked in self._search(index):
            try:
                return await self._page(asked, normalized)
            except NotFound as error:
                hint = f" with the credentials from {error.source}; a token may have expired" if error.source else ""
                missed.append(f"{asked.label} (HTTP {error.status}{hint})")
        raise NotFound("", asked=f"no index has a project called {normalized}; asked: {', '.join(missed)}")

    async def metadata(self, file: File | str) -> Metadata:
        """Return the METADATA of a wheel, given as a file of a project or as a URL.

        Raises LoginPage, NotAWheel, BadZip, MetadataMissing, MetadataMismatch, HashMismatch, and what auth, transport
        and statuses raise.
        """
        file = _as_file(file)
        metadata = await read_metadata(self._transport, file, self._shelf)
        if not metadata.verified:
            self._unverified[file.url] = metadata.sha256
        return metadata

    async def download(
        self,
        file: File | str,
        directory: str | os.PathLike[str],
        *,
        fsync: bool = False,
        on_event: OnEvent | None = None,
    ) -> Download:
        """Bring a file (of a project, or a URL) into a directory; it appears there whole or not at all.

        The same file asked for again meanwhile is brought once.  A part that an earlier run left is gone on from, where
        the index's digest or a strong validator can tell that it is the same file.

        `on_event` is called in the event loop, for each chunk that came (`Progress`) and each attempt that failed
        (`Retry`), and must return soon.  An exception that it raises ends the download, and reaches the caller.  Of
        those who ask for the same file at once, the first is told.

        Raises HashMismatch, LoginPage, NotAWheel, NotAnSdist, MetadataMismatch, DiskError, and what auth, transport and
        statuses raise.
        """
        file = _as_file(file)
        key = (file.url, *sorted(file.hashes.items()), os.fspath(directory))
        return await self._downloads.share(key, partial(self._download, file, Path(directory), fsync, on_event))

    async def _download(self, file: File, directory: Path, fsync: bool, on_event: OnEvent | None) -> Download:
        kept = self._shelf.take(file.url)
        try:
            return await download(
                self._transport,
                file,
                directory,
                self._volumes,
                kept=kept,
                metadata_sha256=self._unverified.get(file.url),
                fsync=fsync,
                on_event=on_event,
            )
        finally:
            if kept is not None:
                kept.close()

    async def explain(self, url: str) -> Explanation:
        """Say which index a URL belongs to, what is sent to it and why, by asking for its first bytes.

        Raises ConfigError for something that is no URL.
        """
        return await explain(self._transport, self._auth, self._indexes, _parsed(url))

    def _search(self, name: str | None) -> list[Index]:
        if name is None:
            return search_order(self._indexes)
        if name not in self._by_name:
            raise ConfigError(f"no index is called {name!r}; known: {', '.join(self._by_name) or 'none'}")
        return [self._by_name[name]]

    async def _page(self, index: Index, name: str) -> Project:
        request = Request(index.page_url(name), index, accept=ACCEPT_PAGE, accept_encoding="gzip, deflate")

        async def consume(answer: Answer) -> tuple[Project, tuple[Hop, ...]]:
            return await _consume_page(answer, index, name), answer.hops

        project, hops = await self._transport.ask(request, consume)
        if realm_of(hops[-1].url) != realm_of(hops[0].url):
            # GitLab sends the anonymous on to the public index, where the name may be somebody else's.
            if await self._auth.answer_challenge(hops[:1]):
                project, hops = await self._transport.ask(request, consume)
            logger.warning("index %s has the page of %s at %s", index.label, name, realm_of(hops[-1].url))
        return project


async def _consume_page(answer: Answer, index: Index, name: str) -> Project:
    """Read and parse a page; one without files is looked at: it may be a login page, or no page at all."""
    url = answer.reply.url
    body = await answer.response.read(MOST_PAGE)
    if answer.reply.content_encoding and len(body) > MOST_INFLATION * answer.response.transferred + SMALL_PAGE:
        raise BadPage(url, f"{answer.response.transferred} bytes that inflate to {len(body)}")
    parse = partial(parse_page, body, url=url, name=name, listed_by=index, charset=answer.reply.charset)
    # A page of 10,000 files takes some 50 ms to parse.
    project = parse() if len(body) <= SMALL_PAGE else await to_thread.run_sync(parse)
    if project.files:
        return project
    kind = sniff_head(body[:LOOK])
    if kind == "html" and looks_like_login(body[:LOOK], parse_url(url).path):
        raise login_page(answer, body[:LOOK], f"the index page of {name}")
    if kind not in ("html", "json"):
        raise BadPage(url, f"it is neither HTML nor JSON, but {kind}")
    return project


def _parsed(url: str) -> str:
    try:
        return str(parse_url(url))
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _as_file(file: File | str) -> File:
    """Return a file, or the file that a URL names.  Raises ConfigError."""
    if isinstance(file, File):
        return file
    try:
        return file_from_url(file)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _check_names(indexes: Iterable[Index], credentials: Mapping[str, Credentials]) -> None:
    names = [index.name for index in indexes if index.name]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two indexes are called {name!r}")
    for name in credentials:
        if name not in names:
            raise ConfigError(
                f"credentials for {name!r}, but no index is called so; known: {', '.join(names) or 'none'}"
            )
