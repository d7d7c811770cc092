"""What may be done with a kept page now."""

from __future__ import annotations

import pytest

from fetcher.cache.pages import (
    Absent,
    Fresh,
    KeptPage,
    Miss,
    Revalidate,
    Verdict,
    decide_use,
    pack_page,
    says_the_same,
    unpack_page,
)

ETAG, DATE = {"etag": '"a"'}, {"last-modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
IF_ETAG, IF_DATE = {"If-None-Match": '"a"'}, {"If-Modified-Since": DATE["last-modified"]}
NOW = 1_000_000.0


def page(until: float = 0.0, fields: dict[str, str] = ETAG, *, status: int = 200, at: float = NOW - 10) -> KeptPage:
    return KeptPage(status, at, until, fields, "utf-8", b"the page")


@pytest.mark.parametrize(
    ("kept", "mode", "verdict"),
    [
        (None, {}, Miss()),
        (None, {"offline": True}, Miss()),
        (page(NOW + 1), {}, Fresh(page(NOW + 1))),
        (page(NOW), {}, Revalidate(page(NOW), IF_ETAG)),
        (page(), {}, Revalidate(page(), IF_ETAG)),
        (page(fields=DATE), {}, Revalidate(page(fields=DATE), IF_DATE)),
        (page(fields={**ETAG, **DATE}), {}, Revalidate(page(fields={**ETAG, **DATE}), {**IF_ETAG, **IF_DATE})),
        (page(fields={}), {}, Miss()),
        (page(fields={"etag": ""}), {}, Miss()),
        (page(fields={"etag": "*"}), {}, Miss()),
        (page(fields={"etag": '"a\x01"'}), {}, Miss()),
        (page(fields={"etag": '"\udce9"'}), {}, Miss()),
        (page(fields={"etag": "x" * 1025}), {}, Miss()),
        (
            page(fields={"etag": "x" * 1024}),
            {},
            Revalidate(page(fields={"etag": "x" * 1024}), {"If-None-Match": "x" * 1024}),
        ),
        (page(fields={"etag": "*", **DATE}), {}, Revalidate(page(fields={"etag": "*", **DATE}), IF_DATE)),
        (page(fields={"last-modified": "a\x7f"}), {}, Miss()),
        (page(NOW + 1, status=203), {}, Fresh(page(NOW + 1, status=203))),
        # A clock that was set back by a year makes nothing fresh for a year.
        (page(NOW + 1, at=NOW + 0.5), {}, Revalidate(page(NOW + 1, at=NOW + 0.5), IF_ETAG)),
        (page(NOW + 1), {"refresh": True}, Revalidate(page(NOW + 1), IF_ETAG)),
        (page(NOW + 1, {}), {"refresh": True}, Miss()),
        (page(), {"offline": True}, Fresh(page())),
        (page(fields={}), {"offline": True}, Fresh(page(fields={}))),
        (page(status=404), {}, Miss()),
        (page(NOW + 1, status=404), {}, Miss()),
        (page(status=404), {"offline": True}, Absent(404)),
    ],
)
def test_verdict(kept: KeptPage | None, mode: dict[str, bool], verdict: Verdict) -> None:
    assert decide_use(kept, NOW, **mode) == verdict


def test_what_is_stored_comes_back() -> None:
    kept = KeptPage(200, 1.5, 2.5, {"etag": '"ä"'}, None, bytes(range(256)))
    assert unpack_page(pack_page(kept)) == kept


@pytest.mark.parametrize("stored", [None, b"", b"\xc1", b"salt of sixteen", pack_page(page())[:-1], b"\x90"])
def test_something_else(stored: bytes | None) -> None:
    assert unpack_page(stored) is None


@pytest.mark.parametrize(
    ("before", "after", "is_so"),
    [
        (page(), page(at=NOW), True),
        (page(fields={**ETAG, "date": "Monday"}), page(fields={**ETAG, "date": "Tuesday"}), True),
        (page(fields={**ETAG, "date": "Monday"}), page(), True),
        (page(), page(NOW + 1), False),
        (page(NOW - 1), page(NOW + 1), False),
        (page(NOW - 1), page(), False),
        (page(), page(fields=DATE), False),
        (page(), page(fields={**ETAG, "cache-control": "no-cache"}), False),
    ],
)
def test_nothing_new(before: KeptPage, after: KeptPage, is_so: bool) -> None:
    assert says_the_same(before, after) == is_so
