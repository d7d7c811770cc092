"""`Fetcher`: wires the rooms together; the only file that knows them all."""

import os
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Self

from packaging.utils import InvalidName, canonicalize_name

from fetcher.auth.credentials import Credentials
from fetcher.auth.middleware import Authenticator
from fetcher.cache.behind import Behind
from fetcher.cache.file_cache import FileCache
from fetcher.cache.page_cache import PageCache
from fetcher.cache.store import MOST_BYTES, Store
from fetcher.digest import Digest
from fetcher.disk import disk_threads
from fetcher.download.download import Download, download
from fetcher.download.events import OnEvent
from fetcher.download.volumes import Volumes
from fetcher.errors import ConfigError, MetadataMismatch, NotFound
from fetcher.explain import Explanation, explain
from fetcher.flights import Flights
from fetcher.hints import Hints
from fetcher.index.config import PYPI_URL, search_order
from fetcher.index.files import File, Project, file_from_url
from fetcher.index.scope import Index, Scopes
from fetcher.index.urls import parse_url, split_userinfo
from fetcher.metadata.kept import is_proven, keep, keep_downloaded, read_kept
from fetcher.metadata.metadata import Metadata, read_metadata
from fetcher.page import read_page, read_root
from fetcher.spool import Shelf, Spool
from fetcher.transport.pace import Pace
from fetcher.transport.retry import RetryPolicy
from fetcher.transport.session import Session, Timeouts
from fetcher.transport.transport import OnCoolDown, Transport

__all__ = ["Fetcher"]


class Fetcher:
    """The front door: pages, METADATA and files of the declared indexes.

    `indexes` are asked in order, those with `default` last; none declared means PyPI.  `credentials` are the caller's,
    by index name.  `concurrency` bounds the requests under way at once; a host gets as many as it answers quickly,
    `per_host` at most.
    `retries` are the further attempts after a transient failure; `timeout` the seconds without a connection or a byte;
    `limit_rate` the bytes a second, over all responses.
    `environ` is asked for `FETCHER_INDEX_<NAME>_…`, `UV_INDEX_<NAME>_…` and `NETRC`.
    `on_cool_down` is called in the event loop when a host asks to wait: with the host (`https://host:port`), the
    seconds, and the status of that answer.  Who asks the same hosts by several Fetchers passes it on by `cool_down`.

    `cache` is a directory for what is kept between runs, up to `cache_bytes`: pages (RFC 9111), and with `cache_files`
    METADATA and small wheels.  `refresh`: the server is asked about kept pages that are fresh, too.  `offline`: no
    request is made; what is kept is used however old, and the rest raises Offline.

    The deadline of a cancel scope around a call (`anyio.fail_after`; asyncio's own time-outs are not seen) bounds its
    waits between attempts: one that would last beyond it is not begun, and the call fails at once.

    Use it as an async context manager, under asyncio.  Raises ConfigError for names declared twice, credentials for an
    index that is not declared, and `refresh` with `offline`.
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
        cache: str | os.PathLike[str] | None = None,
        cache_bytes: int = MOST_BYTES,
        cache_files: bool = True,
        refresh: bool = False,
        offline: bool = False,
        per_host: int | None = None,
        on_cool_down: OnCoolDown | None = None,
    ) -> None:
        declared = [Index(index) if isinstance(index, str) else index for index in indexes]
        self._indexes = declared or [Index(PYPI_URL, name="pypi", default=True)]
        self._by_name = {index.name: index for index in self._indexes if index.name}
        _check_names(self._indexes, credentials or {})
        if refresh and offline:
            raise ConfigError("refresh and offline exclude each other")
        self._auth = Authenticator(Scopes(self._indexes), credentials=credentials, environ=environ)
        self._session = Session(
            Timeouts(connect=timeout, read=timeout, window=timeout), Pace(limit_rate) if limit_rate else None
        )
        self._transport = Transport(
            self._session,
            self._auth,
            concurrency=concurrency,
            per_host=per_host,
            retry=RetryPolicy(retries=retries),
            offline=offline,
            on_cool_down=on_cool_down,
        )
        self._kept = None if cache is None else Behind(Store(Path(os.path.expanduser(cache)).absolute(), cache_bytes))
        self._pages = None if self._kept is None else PageCache(self._kept, refresh=refresh, offline=offline)
        self._files = FileCache(self._kept) if self._kept is not None and cache_files else None
        self._shelf = Shelf()
        # METADATA that was given out before a digest vouched for it: URL of the file -> SHA-256.
        self._unverified: dict[str, str] = {}
        self._volumes = Volumes()
        self._downloads: Flights[Download] = Flights()
        # Hints leave half of the places to calls that somebody waits for.
        self._hints = Hints(at_once=max(1, concurrency // 2))
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._open.enter_context(disk_threads())
        await self._open.enter_async_context(self._session)
        if self._kept is not None:
            self._open.push_async_callback(self._kept.flush)
        self._open.enter_context(self._shelf)
        await self._open.enter_async_context(self._hints)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._open.aclose()

    @property
    def indexes(self) -> tuple[Index, ...]:
        """The declared indexes, in declaration order."""
        return tuple(self._indexes)

    async def project(self, name: str, *, index: str | None = None, refresh: bool = False) -> Project:
        """Return what the first index that has the project says of it; `index` names one to ask alone.

        `refresh`: the server is asked also about a kept page that is fresh.

        404 goes on to the next index.  Raises NotFound if none has it; Unauthorized, Forbidden, LoginPage,
        MissingCredentials from the first index that refuses: a project of the same name elsewhere may be another's.
        The same asked for again meanwhile is one request.
        """
        return await self._hints.ask(*self._project_work(name, index, refresh))

    async def projects(self, *, index: str | None = None) -> tuple[str, ...]:
        """Return the normalized names of the projects that the indexes list, each once; `index` names one to ask alone.

        Raises NotFound for an index that has no such list, and what `project` raises.
        """
        names: dict[str, None] = {}
        for asked in self._search(index):
            names |= dict.fromkeys(await read_root(self._transport, self._auth, self._pages, asked))
        return tuple(names)

    def prefetch(self, names: Iterable[str], *, index: str | None = None) -> None:
        """Begin to ask for projects in the background, and return at once; `project` then has what comes of it.

        Name what will be asked for next, the most urgent first; what was named or asked before is not begun again.
        The first who asks for a project gets what came, also if that is an error, without another request; as long as
        it waits for its turn, or is under way, who asks for it does it at once or shares it.  Closing the Fetcher ends
        it.

        A thousand results are kept for those who will ask, each for ten minutes; with so many, the next is begun when
        one was taken.  Twenty thousand names and files may wait; what is named beyond that is not noted, and may be
        named again.

        Raises ConfigError for what is no project name and for an index that is not declared; then nothing is begun.
        """
        if isinstance(names, str):
            raise ConfigError(f"prefetch wants several names, not the text {names!r}")
        for key, work in [self._project_work(name, index) for name in names]:
            self._hints.hint(key, work)

    def _project_work(
        self, name: str, index: str | None, refresh: bool = False
    ) -> tuple[Hashable, Callable[[], Awaitable[Project]]]:
        """Return what tells a question for a project from others, and the work that answers it."""
        try:
            normalized = canonicalize_name(name, validate=True)
        except InvalidName:
            raise ConfigError(f"{name!r} is not a project name") from None
        return (normalized, index, refresh), partial(self._project, normalized, self._search(index), refresh)

    async def _project(self, normalized: str, indexes: Iterable[Index], refresh: bool) -> Project:
        missed: list[str] = []
        for asked in indexes:
            try:
                return await read_page(self._transport, self._auth, self._pages, asked, normalized, refresh=refresh)
            except NotFound as error:
                hint = f" with the credentials from {error.source}; a token may have expired" if error.source else ""
                missed.append(f"{asked.label} (HTTP {error.status}{hint})")
        raise NotFound("", asked=f"no index has a project called {normalized}; asked: {', '.join(missed)}")

    async def metadata(self, file: File | str) -> Metadata:
        """Return the METADATA of a wheel or source distribution, given as a file of a project or as a URL.

        That of a source distribution is its PKG-INFO, if that vouches for its dependencies (PEP 643); nothing is built.

        Raises LoginPage, NotAWheel, NotAnSdist, BadZip, MetadataMissing, NotStatic, MetadataMismatch, HashMismatch, and
        what auth, transport and statuses raise.  The same asked for again meanwhile is read once.
        """
        file = _as_file(file)
        return await self._hints.ask(file, partial(self._metadata, file))

    def prefetch_metadata(self, files: Iterable[File | str]) -> None:
        """Begin to read METADATA in the background, and return at once; to `metadata` as `prefetch` is to `project`.

        Raises ConfigError for what is no URL; then nothing is begun.
        """
        for file in [_as_file(file) for file in files]:
            self._hints.hint(file, partial(self._metadata, file))

    async def _metadata(self, file: File) -> Metadata:
        metadata, proven = await self._kept_metadata(file) or await self._read_metadata(file)
        if not proven:
            self._unverified[file.url] = metadata.sha256
        return metadata

    async def _read_metadata(self, file: File) -> tuple[Metadata, bool]:
        metadata = await read_metadata(self._transport, file, self._shelf)
        if self._files is not None:
            await keep(self._files, file, metadata, self._shelf.look(file.url))
        return metadata, is_proven(metadata)

    async def _kept_metadata(self, file: File) -> tuple[Metadata, bool] | None:
        if self._files is None:
            return None
        await self._decide(file)
        return await read_kept(self._files, file)

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
        kept, cached = self._shelf.take(file.url), False
        if kept is None and (body := await self._kept_wheel(file)) is not None:
            kept, cached = Spool(Digest(file.hashes), batch=len(body)), True
            await kept.write(body)
        try:
            done = await download(
                self._transport,
                file,
                directory,
                self._volumes,
                kept=kept,
                from_cache=cached,
                metadata_sha256=self._unverified.get(file.url),
                fsync=fsync,
                on_event=on_event,
            )
        except MetadataMismatch:
            if self._files is not None:
                await self._files.forget_metadata(file)
            raise
        finally:
            if kept is not None:
                kept.close()
        if self._files is not None:
            await keep_downloaded(self._files, file, done.path, done.size, fetched=done.bytes > 0)
        return done

    async def _kept_wheel(self, file: File) -> bytes | None:
        body = None if self._files is None else await self._files.wheel(file)
        if body is not None:
            await self._decide(file)
        return body

    async def _decide(self, file: File) -> None:
        """Raise MissingCredentials where a request for the file would."""
        await self._auth.decide(self._auth.hop(*split_userinfo(parse_url(file.url)), file.listed_by))

    def cool_down(self, url: str, seconds: float, status: int) -> None:
        """Send nothing to a URL's host for so many seconds, as somebody else was asked to by `status`; 0 is no pause.

        Call it in the event loop.  A longer pause stays.  Raises ConfigError for something that is no URL.
        """
        self._transport.host(_parsed(url)).cool_down(monotonic() + seconds, status)

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
