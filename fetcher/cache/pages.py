"""A kept index page, and what may be done with it now (RFC 9111 §4).

Rules:

1. A fresh page is used as it is; a stale one only after the server was asked, by a conditional request where the page
   has a validator (§4.3.1).  `refresh`: as if all were stale.
2. Only explicit freshness counts (`max-age`, `Expires`): a page that states none is stale at once.  RFC 9111 §4.2.2
   would allow a guess, and a new release would then be missed for days.
3. `offline`: a page is used however old.  There the 404 of an index counts, too, so that the next index is asked for a
   project as if all were there.

When a page is fresh is decided when it is stored, in `rules.py`: here it costs a comparison.  This file is pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

__all__ = [
    "SUCCESSES",
    "Absent",
    "Fresh",
    "KeptPage",
    "Miss",
    "Revalidate",
    "Verdict",
    "decide_use",
    "pack_page",
    "says_the_same",
    "unpack_page",
]

SUCCESSES = frozenset({200, 203})
# The longest validator that is sent, in characters: some servers take no more than 8 KiB of header fields.
MOST_VALIDATOR = 1024


class KeptPage(msgspec.Struct, frozen=True, array_like=True):
    """A page as it was answered; `body` with its Content-Encoding undone.

    `stored_at` and `fresh_until` are seconds since the epoch; the latter is 0 for a page that never was fresh.
    `fields` are the header fields that count here, names in lower case.  An index that has no such project is kept as
    its `status`, 404 or 410.
    """

    status: int
    stored_at: float
    fresh_until: float = 0.0
    fields: dict[str, str] = {}
    charset: str | None = None
    body: bytes = b""


@dataclass(frozen=True)
class Fresh:
    """Use the page."""

    page: KeptPage


@dataclass(frozen=True)
class Revalidate:
    """Ask whether the page is still right, with these request fields besides."""

    page: KeptPage
    conditions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Absent:
    """The index had no such project."""

    status: int


@dataclass(frozen=True)
class Miss:
    """There is nothing to use."""


Verdict = Fresh | Revalidate | Absent | Miss

_decoder = msgspec.msgpack.Decoder(KeptPage)


def pack_page(page: KeptPage) -> bytes:
    """Return a page as it is stored."""
    return msgspec.msgpack.encode(page)


def unpack_page(stored: bytes | None) -> KeptPage | None:
    """Return a stored page; None if it is not there, or is something else."""
    if stored is None:
        return None
    try:
        return _decoder.decode(stored)
    except ValueError:
        return None


def decide_use(page: KeptPage | None, now: float, *, refresh: bool = False, offline: bool = False) -> Verdict:
    """Decide what may be done with a page at `now`, in seconds since the epoch."""
    if page is None:
        return Miss()
    if page.status not in SUCCESSES:
        return Absent(page.status) if offline else Miss()
    # A clock that was set back says nothing of ages.
    if offline or (not refresh and page.stored_at <= now < page.fresh_until):
        return Fresh(page)
    conditions = _conditions(page.fields)
    return Revalidate(page, conditions) if conditions else Miss()


def says_the_same(page: KeptPage, freshened: KeptPage) -> bool:
    """Say whether a page that was asked about is kept well enough: never fresh, and nothing new but the date."""
    stale = page.fresh_until == freshened.fresh_until == 0.0
    return stale and {**page.fields, "date": ""} == {**freshened.fields, "date": ""}


def _conditions(fields: Mapping[str, str]) -> dict[str, str]:
    """Return the request fields that ask for a page only if it has changed (RFC 9110 §13.1.2, §13.1.3)."""
    found = {"If-None-Match": fields.get("etag"), "If-Modified-Since": fields.get("last-modified")}
    return {name: value for name, value in found.items() if value is not None and _is_sane(value)}


def _is_sane(validator: str) -> bool:
    """Say whether a validator may be sent: `*` would ask for any page (RFC 9110 §13.1.2)."""
    return validator not in ("", "*") and len(validator) <= MOST_VALIDATOR and validator.isprintable()
