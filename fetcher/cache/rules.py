"""Which index pages are kept and for how long, by RFC 9111 as hishel has it: a private cache.

| answer                                            | then                                                             |
|---------------------------------------------------|------------------------------------------------------------------|
| 200, 203                                          | kept                                                             |
| `no-store`, `Vary: *`, 206, any other status      | not kept                                                         |
| `max-age`, else `Expires` less `Date`             | fresh for as long, less its age when it came (§4.2.1, §4.2.3)    |
| neither, or `no-cache`                            | stale at once                                                    |
| 304                                               | the kept page takes the new fields and freshness (§4.3.4)        |
| 304 with the strong ETag of another page          | of no use: the page is asked for without conditions              |

Vary is met otherwise: the request fields are the same for every page but for credentials, and by these pages are kept
apart.  A page reached by redirects is not kept: a redirect that may change would have to be asked again, too.

This file is imported when a page has come, not to use one that is fresh.  It is pure, but that hishel looks at the
clock for an `Expires` without `Date`.
"""

import uuid
from collections.abc import Iterable
from email.utils import parsedate_to_datetime

import msgspec
from hishel import (
    CacheMiss,
    CacheOptions,
    Entry,
    Headers,
    NeedRevalidation,
    NeedToBeUpdated,
    Request,
    Response,
    StoreAndUse,
)

# Not exported by hishel 2: its states say whether something is fresh now, and not until when.
from hishel._core._headers import parse_cache_control
from hishel._core._spec import get_freshness_lifetime

from fetcher.cache.pages import SUCCESSES, KeptPage

__all__ = ["Fields", "admit", "freshen"]

# Header fields as they came; a name may stand there more than once.
Fields = Iterable[tuple[str, str]]

_OPTIONS = CacheOptions(shared=False, supported_methods=["GET"], allow_stale=False)
# What is kept.  All else says nothing of use and reuse, and Set-Cookie and its like are secrets.
_KEPT = ("cache-control", "date", "etag", "expires", "last-modified", "vary")
# Of every page alike: hishel compares it, and what is kept does not hold URLs.
_REQUEST = Request("GET", "")


def admit(status: int, fields: Fields, *, body: bytes, charset: str | None, now: float) -> KeptPage | None:
    """Return a page as it is to be kept, None if it must not be; `now` in seconds since the epoch."""
    headers = _headers(fields)
    page = KeptPage(status, now, 0.0, _kept(headers), charset, body)
    if not _may_be_kept(page):
        return None
    return _until(page, headers.get("age"), now)


def freshen(page: KeptPage, fields: Fields, now: float) -> tuple[KeptPage, bool] | None:
    """Return the page as a 304 with these fields leaves it, and whether it may still be kept.

    None if the 304 is about another page than the one that is kept.
    """
    headers = _headers(fields)
    entry = Entry(uuid.uuid4(), _REQUEST, Response(page.status, Headers(page.fields)))
    asked = NeedRevalidation(
        request=_REQUEST, original_request=_REQUEST, revalidating_entries=[entry], options=_OPTIONS
    )
    state = asked.next(Response(304, headers))
    if not isinstance(state, NeedToBeUpdated):
        return None
    updated = msgspec.structs.replace(page, stored_at=now, fields=_kept(state.updating_entries[0].response.headers))
    return _until(updated, headers.get("age"), now), _may_be_kept(updated)


def _headers(fields: Fields) -> Headers:
    values: dict[str, list[str]] = {}
    for name, value in fields:
        values.setdefault(name.lower(), []).append(value)
    return Headers({**values})


def _kept(headers: Headers) -> dict[str, str]:
    return {name: headers[name] for name in _KEPT if name in headers}


def _may_be_kept(page: KeptPage) -> bool:
    if page.status not in SUCCESSES or "*" in page.fields.get("vary", ""):
        return False
    state = CacheMiss(request=_REQUEST, options=_OPTIONS).next(Response(page.status, Headers(page.fields)))
    return isinstance(state, StoreAndUse)


def _until(page: KeptPage, age: str | None, now: float) -> KeptPage:
    """Return the page with the end of its freshness; `age` is the Age field it came with."""
    if parse_cache_control(page.fields.get("cache-control")).no_cache is True:
        return msgspec.structs.replace(page, fresh_until=0.0)
    # Without Last-Modified hishel has nothing to guess from.
    stated = {name: value for name, value in page.fields.items() if name != "last-modified"}
    lifetime = get_freshness_lifetime(Response(page.status, Headers(stated)), is_cache_shared=False) or 0
    left = lifetime - _age(page.fields.get("date"), age, now)
    return msgspec.structs.replace(page, fresh_until=now + left if left > 0 else 0.0)


def _age(date: str | None, age: str | None, now: float) -> float:
    """Return how old a page was when it came (RFC 9111 §4.2.3); hishel's own knows no Age field."""
    told = float(age) if age is not None and age.isascii() and age.isdigit() else 0.0
    try:
        apparent = now - parsedate_to_datetime(date or "").timestamp()
    except (ValueError, OverflowError):
        apparent = 0.0
    return max(told, apparent)
