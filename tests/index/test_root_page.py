"""The list of an index's projects."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from fetcher.errors import BadPage
from fetcher.index.root_page import parse_root

URL = "https://host/simple/"


def json_root(*names: str, version: object = "1.0") -> bytes:
    return json.dumps(
        {"meta": {"api-version": version}, "projects": [{"name": name, "x": 1} for name in names]}
    ).encode()


def test_json() -> None:
    assert parse_root(json_root("De_Mo", "b", "de-mo"), url=URL) == ("de-mo", "b")
    assert parse_root(b"\xef\xbb\xbf \n" + json_root("a"), url=URL) == ("a",)
    assert parse_root(b'{"projects": []}', url=URL) == ()


@pytest.mark.parametrize(
    ("link", "name"),
    [
        ('<a href="/simple/demo/">demo</a>', "demo"),
        ("<A HREF='demo/'>De_Mo</A>", "de-mo"),
        ("<a href=demo/>\n  demo\n</a>", "demo"),
        ('<a class="x" href="https://host/simple/demo/?a=b#c"><span>what?</span></a>', "demo"),
        ('<a href="de%2Dmo/">the demo project</a>', "de-mo"),
        ('<a rel="internal" href="demo">demo</a>', "demo"),
    ],
)
def test_html(link: str, name: str) -> None:
    page = f"<!DOCTYPE html><html><body><h1>Index</h1>{link}<br><a>nothing</a></body></html>"
    assert name in parse_root(page.encode(), url=URL)


def test_names_that_cannot_be_one_are_left_out() -> None:
    assert parse_root(json_root("..", "a/b", "", "-x-", "ok"), url=URL) == ("ok",)
    assert parse_root(b'<a href="../">..</a><a href="ok/">ok</a>', url=URL) == ("ok",)


@pytest.mark.parametrize(
    "body",
    [
        b'{"projects": 3}',
        b'{"projects": [{}]}',
        b"{",
        b"{" * 100_000,
        json_root(version="2.0"),
        b"<html>Be right back</html>",
    ],
)
def test_what_is_no_list(body: bytes) -> None:
    with pytest.raises(BadPage):
        parse_root(body, url=URL)


@given(st.binary(max_size=300))
def test_anything_is_a_list_or_an_error(body: bytes) -> None:
    try:
        parse_root(b"<html>" + body, url=URL)
        parse_root(body, url=URL)
    except BadPage:
        pass
