"""Which index pages are kept and for how long, by RFC 9111: a private cache.

| answer                                            | then                                                             |
|---------------------------------------------------|------------------------------------------------------------------|
| 200, 203                                          | kept                                                             |
| `no-store`, `Vary: *`, 206, any other status      | not kept                                                         |
| `max-age`, else `Expires` less `Date`             | fresh for as long, less its age when it came (§4.2.1, §4.2.3)    |
| neither, or `no-cache`                            | stale at once                                                    |
| a field or directive twice                        | the first counts (§4.2.1, §5.1)                                  |
| `max-age` that is no number                       | stale at once, whatever `Expires` says (§4.2.1)                  |
| no `Date`                                         | it is of the moment when it came (RFC 9110 §6.6.1)               |
| 304                                               | the kept page takes the new fields and freshness (§4.3.4)        |
| 304 with the strong ETag of another page          | of no use: the page is asked for without conditions              |
| a field with what cannot be printed               | counts as it came, and is not kept; a validator does not count   |

Vary is met otherwise: the request fields are the same for every page but for credentials, and by these pages are kept
apart.  A page reached by redirects is not kept: a redirect that may change would have to be asked again, too.

This file is imported when a page has come, not to use one that is fresh.  It is pure.
"""

import re
import uuid
from collections.abc import Iterable, Mapping
from email.utils import formatdate, parsedate_to_datetime

import msgspec
from hishel import CacheOptions, Entry, Headers, NeedRevalidation, NeedToBeUpdated, Request, Response

from fetcher.cache.pages import SUCCESSES, KeptPage

__all__ = ["Fields", "admit", "forbids_storing", "freshen"]

# Header fields as they came; a name may stand there more than once.
Fields = Iterable[tuple[str, str]]

_OPTIONS = CacheOptions(shared=False, supported_methods=["GET"], allow_stale=False)
# What is kept.  All else says nothing of use and reuse, and Set-Cookie and its like are secrets.
_KEPT = ("cache-control", "date", "etag", "expires", "last-modified", "vary")
_VALIDATORS = ("etag", "last-modified")
# A directive of Cache-Control, and its value, a quoted string or not.
_DIRECTIVE = re.compile(r'([^\s,=]+)(?:\s*=\s*("(?:[^"\\]|\\.)*"|[^\s,]*))?')
# Of every page alike: hishel compares it, and what is kept does not hold URLs.
_REQUEST = Request("GET", "")


def admit(status: int, fields: Fields, *, body: bytes, charset: str | None, now: float) -> KeptPage | None:
    """Return a page as it is to be kept, None if it must not be; `now` in seconds since the epoch."""
    told = _dated(fields, now)
    if not _may_be_kept(status, told):
        return None
    return KeptPage(status, now, _fresh_until(told, told.get("age"), now), _kept(told), charset, body)


def forbids_storing(fields: Fields) -> bool:
    """Say whether nothing of an answer with these fields may be kept (§5.2.2.5)."""
    return any(name == "no-store" for name, _ in _directives(_joined(fields).get("cache-control")))


def freshen(page: KeptPage, fields: Fields, now: float) -> tuple[KeptPage, bool] | None:
    """Return the page as a 304 with these fields leaves it, and whether it may still be kept.

    None if the 304 is about another page than the one that is kept.
    """
    told = _dated(fields, now)
    entry = Entry(uuid.uuid4(), _REQUEST, Response(page.status, Headers(page.fields)))
    asked = NeedRevalidation(
        request=_REQUEST, original_request=_REQUEST, revalidating_entries=[entry], options=_OPTIONS
    )
    state = asked.next(Response(304, Headers({**told})))
    if not isinstance(state, NeedToBeUpdated):
        return None
    updated = state.updating_entries[0].response.headers
    until = _fresh_until(updated, told.get("age"), now)
    freshened = msgspec.structs.replace(page, stored_at=now, fresh_until=until, fields=_kept(updated))
    return freshened, _may_be_kept(page.status, updated)


def _dated(fields: Fields, now: float) -> dict[str, str]:
    """Return the fields with a Date that can be read, names in lower case."""
    values = _joined(fields)
    if _seconds(values.get("date")) is None:
        values["date"] = formatdate(now, usegmt=True)
    return values


def _joined(fields: Fields) -> dict[str, str]:
    """Return each field once, its lines as one list (RFC 9110 §5.3), and no validator that is of no use."""
    values: dict[str, str] = {}
    for name, value in ((name.lower(), value) for name, value in fields):
        if name not in _VALIDATORS or value.isprintable():  # or it could not be sent back
            values[name] = f"{values[name]}, {value}" if name in values else value
    return values


def _kept(fields: Mapping[str, str]) -> dict[str, str]:
    """Return what is kept of the fields.  Bytes that are no UTF-8 are here as characters that cannot be printed."""
    return {name: fields[name] for name in _KEPT if name in fields and fields[name].isprintable()}


def _may_be_kept(status: int, fields: Mapping[str, str]) -> bool:
    return status in SUCCESSES and "*" not in fields.get("vary", "") and not forbids_storing(fields.items())


def _fresh_until(fields: Mapping[str, str], age: str | None, now: float) -> float:
    """Return the end of a page's freshness, 0.0 if it never was fresh; `age` is the Age field it came with."""
    left = _lifetime(fields) - _age(fields["date"], age, now)
    return now + left if left > 0 else 0.0


def _lifetime(fields: Mapping[str, str]) -> float:
    """Return for how many seconds a page is fresh from its Date on (§4.2.1)."""
    directives = _directives(fields.get("cache-control"))
    # With names of fields it is about these: none that is kept here.
    if ("no-cache", "") in directives:
        return 0.0
    for name, value in directives:
        if name == "max-age":
            return _number(value)
    expires, date = _seconds(fields.get("expires")), _seconds(fields["date"])
    return 0.0 if expires is None or date is None else expires - date


def _directives(control: str | None) -> list[tuple[str, str]]:
    """Return what a Cache-Control field says, each with its value or an empty one."""
    return [(name.lower(), value.strip('"')) for name, value in _DIRECTIVE.findall(control or "")]


def _age(date: str, age: str | None, now: float) -> float:
    """Return how old a page was when it came, in seconds (§4.2.3)."""
    first, sent = (age or "").partition(",")[0], _seconds(date)
    return max(_number(first.strip()), 0.0 if sent is None else now - sent)


def _number(text: str) -> float:
    """Return a number of seconds, 0 for what is none; no more than 2^31 (§1.2.2)."""
    return min(float(text), 2.0**31) if text.isascii() and text.isdigit() else 0.0


def _seconds(date: str | None) -> float | None:
    """Return a date in seconds since the epoch, None for what is none."""
    try:
        return parsedate_to_datetime(date or "").timestamp()
    except (ValueError, OverflowError):
        return None
