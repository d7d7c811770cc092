"""The kept index pages: `pages.py` says what may be used, `rules.py` what may be kept; the store has them."""

import time
from dataclasses import dataclass

from fetcher.auth.credentials import Credentials
from fetcher.cache.behind import Behind
from fetcher.cache.pages import (
    KeptPage,
    Verdict,
    decide_use,
    pack_page,
    says_the_same,
    unpack_page,
)
from fetcher.cache.partition import EVERYBODY, Partitions
from fetcher.disk import on_disk

__all__ = ["Fields", "PageCache", "Private"]

# Header fields as they came.
Fields = list[tuple[str, str]]


@dataclass(frozen=True)
class Private:
    """This index wanted credentials in an earlier run: what may be done `otherwise`, if there are none."""

    otherwise: Verdict


class PageCache:
    """Pages by URL and credentials; nothing here fails.

    `refresh`: none is used before its server was asked.  `offline`: all are, however old.
    """

    def __init__(self, store: Behind, *, refresh: bool = False, offline: bool = False) -> None:
        self._store = store
        self.refresh = refresh
        self._offline = offline
        self._partitions = Partitions(store)
        # Whether an index is known to want credentials, by its URL.
        self._private: dict[str, bool] = {}

    async def look_up(
        self, url: str, credentials: Credentials | None, index_url: str, *, refresh: bool = False
    ) -> Verdict | Private:
        """Say what may be done for a request that these credentials would go with; `refresh`: for this one."""
        return await on_disk(self._look_up, url, await self._partitions.of(credentials), index_url, refresh)

    def _look_up(self, url: str, partition: str, index_url: str, refresh: bool) -> Verdict | Private:
        page = unpack_page(self._store.get("page", _key(url, partition)))
        if page is None and self._offline:  # where nobody can be asked, what everybody may see is better than nothing
            page = unpack_page(self._store.get("page", _key(url, EVERYBODY)))
        verdict = decide_use(page, time.time(), refresh=self.refresh or refresh, offline=self._offline)
        return Private(verdict) if partition == EVERYBODY and self._is_private(index_url) else verdict

    def _is_private(self, index_url: str) -> bool:
        if index_url not in self._private:
            self._private[index_url] = self._store.get("page", _note(index_url)) is not None
        return self._private[index_url]

    async def keep(
        self,
        url: str,
        credentials: Credentials | None,
        status: int,
        fields: Fields,
        *,
        body: bytes,
        charset: str | None,
    ) -> None:
        """Keep a page, if it may be; what is kept of an earlier answer goes in any case."""
        # With its imports it takes 10 ms, which are nobody's who finds fresh pages.
        from fetcher.cache.rules import admit

        await self._put(url, credentials, admit(status, fields, body=body, charset=charset, now=time.time()))

    async def keep_absence(self, url: str, credentials: Credentials | None, status: int, fields: Fields) -> None:
        """Note that the index has no such project, if that may be kept; it counts only offline."""
        from fetcher.cache.rules import forbids_storing  # as above

        await self._put(url, credentials, None if forbids_storing(fields) else KeptPage(status, time.time()))

    async def forget(self, url: str, credentials: Credentials | None) -> None:
        """Keep nothing of a page."""
        await self._put(url, credentials, None)

    async def freshen(self, url: str, credentials: Credentials | None, page: KeptPage, fields: Fields) -> bool:
        """Take in what a 304 says of a page that is kept for these credentials; False if it is about another."""
        from fetcher.cache.rules import freshen  # as above

        if (found := freshen(page, fields, time.time())) is None:
            return False
        freshened, may_be_kept = found
        if not may_be_kept:
            await self._put(url, credentials, None)
        elif not says_the_same(page, freshened):
            await self._put(url, credentials, freshened)
        return True

    async def _put(self, url: str, credentials: Credentials | None, page: KeptPage | None) -> None:
        key = _key(url, await self._partitions.of(credentials))
        await self._store.put("page", key, None if page is None else pack_page(page))

    async def note_private(self, index_url: str) -> None:
        """Note that the index wants credentials that have to be looked up."""
        if not self._private.get(index_url):
            self._private[index_url] = True
            await self._store.put("page", _note(index_url), b"")


def _key(url: str, partition: str) -> str:
    """Return the key of a page; the number is that of `KeptPage`'s layout."""
    return f"1 {partition} {url}"


def _note(index_url: str) -> str:
    return f"private {index_url}"
