"""RFC 9111, a row each: what is kept, for how long, and what a 304 changes."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from fetcher.cache.pages import KeptPage, pack_page, unpack_page
from fetcher.cache.rules import admit, freshen

NOW = 1_700_000_000.0


def http_date(seconds: float = 0.0) -> str:
    return formatdate(NOW + seconds, usegmt=True)


def kept(*fields: tuple[str, str], status: int = 200) -> KeptPage | None:
    return admit(status, fields, body=b"body", charset="utf-8", now=NOW)


@pytest.mark.parametrize(
    ("fields", "status", "is_kept"),
    [
        ([], 200, True),
        ([("Cache-Control", "max-age=600")], 200, True),
        ([("Cache-Control", "private")], 200, True),
        ([("Cache-Control", "no-cache")], 200, True),
        ([("Cache-Control", "no-store")], 200, False),
        ([("cache-control", "max-age=600, NO-STORE")], 200, False),
        ([("Cache-Control", "max-age=600"), ("Cache-Control", "no-store")], 200, False),
        ([("Cache-Control", 'no-store="x", max-age=600')], 200, False),
        ([("Cache-Control", 'private="Set-Cookie, no-store", max-age=600')], 200, True),
        ([("Vary", "Accept, Accept-Encoding")], 200, True),
        ([("Vary", "*")], 200, False),
        ([("Vary", "Accept"), ("Vary", "*")], 200, False),
        ([], 203, True),
        ([("Cache-Control", "max-age=600")], 206, False),
        ([("Cache-Control", "max-age=600")], 302, False),
        ([("Cache-Control", "max-age=600")], 404, False),
        ([("Cache-Control", "max-age=600")], 500, False),
    ],
)
def test_what_is_kept(fields: list[tuple[str, str]], status: int, is_kept: bool) -> None:
    assert (kept(*fields, status=status) is not None) == is_kept


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ([], 0),
        ([("Cache-Control", "max-age=600")], 600),
        ([("Cache-Control", "public, max-age=600")], 600),
        ([("Cache-Control", 'max-age="600"')], 600),
        ([("Cache-Control", "max-age=0")], 0),
        ([("Cache-Control", "max-age=-5")], 0),
        ([("Cache-Control", "max-age=ten")], 0),
        ([("Cache-Control", "max-age")], 0),
        ([("Cache-Control", "max-age=٣")], 0),
        ([("Cache-Control", f"max-age={'9' * 5000}")], 1 << 31),
        ([("Cache-Control", "max-age=0, max-age=600")], 0),
        ([("Cache-Control", "max-age=60"), ("Cache-Control", "max-age=600")], 60),
        ([("Cache-Control", 'extension="a, max-age=1", Max-Age=600')], 600),
        # Ours is no shared cache.
        ([("Cache-Control", "s-maxage=600")], 0),
        ([("Cache-Control", "max-age=600, no-cache")], 0),
        ([("Cache-Control", 'max-age=600, no-cache="Set-Cookie"')], 600),
        ([("Cache-Control", 'max-age=600, no-cache="Set-Cookie", no-cache')], 0),
        ([("Cache-Control", 'max-age=600, no-cache, no-cache="Set-Cookie"')], 0),
        ([("Cache-Control", "max-age=600"), ("Date", http_date(-100))], 500),
        ([("Cache-Control", "max-age=600"), ("Date", http_date(-700))], 0),
        ([("Cache-Control", "max-age=600"), ("Date", http_date(+700))], 600),
        ([("Cache-Control", "max-age=600"), ("Date", "yesterday")], 600),
        ([("Cache-Control", "max-age=600"), ("Age", "50")], 550),
        ([("Cache-Control", "max-age=600"), ("Age", "600")], 0),
        ([("Cache-Control", "max-age=600"), ("Age", "-50")], 600),
        ([("Cache-Control", "max-age=600"), ("Age", "50"), ("Date", http_date(-100))], 500),
        ([("Cache-Control", "max-age=600"), ("Age", "100"), ("Age", "100")], 500),
        ([("Cache-Control", "max-age=600"), ("Age", "100, 5")], 500),
        ([("Cache-Control", "max-age=600"), ("Age", "fifty, 100")], 600),
        ([("Cache-Control", "max-age=600"), ("Date", http_date(-NOW))], 0),
        ([("Expires", http_date(300)), ("Date", http_date())], 300),
        ([("Expires", http_date(300)), ("Date", http_date(-100))], 300),
        ([("Expires", "0"), ("Date", http_date())], 0),
        ([("Expires", http_date(300))], 300),
        ([("Expires", http_date(300)), ("Date", http_date()), ("Cache-Control", "max-age=ten")], 0),
        ([("Expires", http_date(300)), ("Date", http_date()), ("Cache-Control", "max-age=10")], 10),
        # A guess would be allowed here; a page of last year would be fresh for a week.
        ([("Last-Modified", http_date(-30_000_000))], 0),
        ([("ETag", '"a"'), ("Cache-Control", "private")], 0),
    ],
)
def test_for_how_long(fields: list[tuple[str, str]], seconds: int) -> None:
    page = kept(*fields)
    assert page is not None
    assert page.fresh_until == (NOW + seconds if seconds else 0.0)


def test_what_of_it_is_kept() -> None:
    page = kept(("ETag", '"a"'), ("Set-Cookie", "session=secret"), ("X-Token", "secret"), ("Cache-Control", "private"))
    fields = {"etag": '"a"', "cache-control": "private", "date": http_date()}
    assert page == KeptPage(200, NOW, 0.0, fields, "utf-8", b"body")


@pytest.mark.parametrize("strange", ["\udce9", "\x01", "\t", "\x7f", "\u2028"])
@pytest.mark.parametrize("name", ["ETag", "Last-Modified", "Date", "Expires", "Vary", "Cache-Control"])
def test_what_cannot_be_printed_is_not_kept(name: str, strange: str) -> None:
    page = kept((name, f"a{strange}b"))
    assert page == KeptPage(200, NOW, 0.0, {"date": http_date()}, "utf-8", b"body")
    assert unpack_page(pack_page(page)) == page
    found = freshen(page, [(name, f"a{strange}b")], NOW)
    assert found is not None
    assert unpack_page(pack_page(found[0])) == page


def test_what_cannot_be_printed_counts() -> None:
    """What a server forbids is forbidden, whatever stands beside it."""
    assert kept(("Cache-Control", "no-store, \udce9")) is None
    assert kept(("Vary", "*, \udce9")) is None
    page = kept(("Cache-Control", "no-cache, \udce9"), ("Expires", http_date(300)), ("Date", http_date()))
    assert page is not None
    assert page.fresh_until == 0.0


def old(**fields: str) -> KeptPage:
    return KeptPage(200, NOW - 1000, NOW - 400, fields, "utf-8", b"body")


class TestNotModified:
    """What a 304 makes of a page that was fresh for ten minutes."""

    def test_it_is_fresh_anew(self) -> None:
        page = old(etag='"a"', **{"cache-control": "max-age=600"})
        told = [("ETag", '"a"'), ("Date", http_date()), ("Content-Type", "text/plain"), ("Set-Cookie", "a=b")]
        fields = {"etag": '"a"', "cache-control": "max-age=600", "date": http_date()}
        assert freshen(page, told, NOW) == (KeptPage(200, NOW, NOW + 600, fields, "utf-8", b"body"), True)

    @pytest.mark.parametrize("date", [[], [("Date", "yesterday")]])
    def test_without_a_date_it_is_of_now(self, date: list[tuple[str, str]]) -> None:
        page = old(etag='"a"', date=http_date(-1000), **{"cache-control": "max-age=600"})
        found = freshen(page, [("ETag", '"a"'), *date], NOW)
        assert found is not None
        assert (found[0].fresh_until, found[0].fields["date"]) == (NOW + 600, http_date())

    @pytest.mark.parametrize(
        ("told", "seconds"),
        [
            ([("Cache-Control", "max-age=20")], 20),
            ([("Cache-Control", "max-age=20"), ("Age", "5")], 15),
            ([("Cache-Control", "no-cache")], 0),
            ([("Cache-Control", "max-age=0")], 0),
        ],
    )
    def test_the_new_freshness(self, told: list[tuple[str, str]], seconds: int) -> None:
        found = freshen(old(etag='"a"', **{"cache-control": "max-age=600"}), told, NOW)
        assert found is not None
        assert (found[0].fresh_until, found[1]) == (NOW + seconds if seconds else 0.0, True)

    @pytest.mark.parametrize("told", [("Cache-Control", "no-store"), ("Vary", "*")])
    def test_it_is_used_and_kept_no_longer(self, told: tuple[str, str]) -> None:
        found = freshen(old(etag='"a"'), [told], NOW)
        assert found is not None
        assert (found[0].body, found[1]) == (b"body", False)

    @pytest.mark.parametrize(
        ("fields", "told", "is_the_same"),
        [
            ({"etag": '"a"'}, ("ETag", '"a"'), True),
            ({"etag": '"a"'}, ("ETag", '"b"'), False),
            ({"etag": 'W/"a"'}, ("ETag", '"a"'), True),
            ({"etag": 'W/"a"'}, ("ETag", 'W/"a"'), True),
            ({"etag": '"a"'}, ("Server", "a proxy that says nothing"), True),
            ({"last-modified": http_date()}, ("Last-Modified", http_date()), True),
            ({"last-modified": http_date()}, ("Last-Modified", http_date(1)), False),
        ],
    )
    def test_whose_it_is(self, fields: dict[str, str], told: tuple[str, str], is_the_same: bool) -> None:
        assert (freshen(old(**fields), [told], NOW) is not None) == is_the_same
