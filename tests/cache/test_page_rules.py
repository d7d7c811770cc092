"""RFC 9111, a row each: what is kept, for how long, and what a 304 changes."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from fetcher.cache.pages import KeptPage
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
        # Ours is no shared cache.
        ([("Cache-Control", "s-maxage=600")], 0),
        ([("Cache-Control", "max-age=600, no-cache")], 0),
        ([("Cache-Control", 'max-age=600, no-cache="Set-Cookie"')], 600),
        ([("Cache-Control", "max-age=600"), ("Date", http_date(-100))], 500),
        ([("Cache-Control", "max-age=600"), ("Date", http_date(-700))], 0),
        ([("Cache-Control", "max-age=600"), ("Date", http_date(+700))], 600),
        ([("Cache-Control", "max-age=600"), ("Date", "yesterday")], 600),
        ([("Cache-Control", "max-age=600"), ("Age", "50")], 550),
        ([("Cache-Control", "max-age=600"), ("Age", "600")], 0),
        ([("Cache-Control", "max-age=600"), ("Age", "-50")], 600),
        ([("Cache-Control", "max-age=600"), ("Age", "50"), ("Date", http_date(-100))], 500),
        ([("Expires", http_date(300)), ("Date", http_date())], 300),
        ([("Expires", http_date(300)), ("Date", http_date(-100))], 300),
        ([("Expires", "0"), ("Date", http_date())], 0),
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
    assert page == KeptPage(200, NOW, 0.0, {"etag": '"a"', "cache-control": "private"}, "utf-8", b"body")


def old(**fields: str) -> KeptPage:
    return KeptPage(200, NOW - 1000, NOW - 400, fields, "utf-8", b"body")


class TestNotModified:
    """What a 304 makes of a page that was fresh for ten minutes."""

    def test_it_is_fresh_anew(self) -> None:
        page = old(etag='"a"', **{"cache-control": "max-age=600"})
        told = [("ETag", '"a"'), ("Date", http_date()), ("Content-Type", "text/plain"), ("Set-Cookie", "a=b")]
        fields = {"etag": '"a"', "cache-control": "max-age=600", "date": http_date()}
        assert freshen(page, told, NOW) == (KeptPage(200, NOW, NOW + 600, fields, "utf-8", b"body"), True)

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
