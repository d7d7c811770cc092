"""What the pages of a mirror say is what our own reader, and packaging, read from them."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st
from made_up import content, entry, file, sha256

from fetcher.index.pages import parse_page
from fetcher.index.root_page import parse_root
from fetcher.mirror.layout import (
    file_key,
    page_keys,
    provenance_key,
    render_front,
    render_project,
    render_root,
    sidecar_key,
)
from fetcher.mirror.records import Entry, Facts

if TYPE_CHECKING:
    from fetcher.index.files import Project

URL = "http://mirror/some/where/simple/demo/"
WHEEL = "demo-1.0-py3-none-any.whl"
A, B = sha256("a"), sha256("b")
DEMO = Facts("demo")


def read(page: bytes) -> Project:
    return parse_page(page, url=URL, name="demo")


def both(*entries: Entry, facts: Facts = DEMO) -> list[Project]:
    return [read(page) for page in render_project(facts, entries)]


def test_keys() -> None:
    assert file_key(A, WHEEL) == f"files/{A[:2]}/{A[2:]}/{WHEEL}"
    assert sidecar_key(A, WHEEL) == f"{file_key(A, WHEEL)}.metadata"
    assert provenance_key(A, WHEEL) == f"{file_key(A, WHEEL)}.provenance"
    assert page_keys("demo") == ("simple/demo/index.json", "simple/demo/index.html")


def test_a_file_is_told_in_both_forms() -> None:
    listed = file(
        WHEEL, hashes={"md5": "0" * 32}, yanked=True, yanked_reason='a "b" <c> & d', requires_python=">=3.8,<4"
    )
    there = content("a", metadata=B, provenance=B, size=7)
    for page in both(entry(listed, there)):
        (found,) = page.files
        assert found.url == f"http://mirror/some/where/{file_key(A, WHEEL)}"
        assert found.hashes["sha256"] == A
        assert (found.yanked, found.yanked_reason) == (True, 'a "b" <c> & d')
        assert found.requires_python == ">=3.8,<4"
        assert found.sidecar == {"sha256": B}
        assert found.provenance == f"http://mirror/some/where/{provenance_key(A, WHEEL)}"
    as_json = both(entry(listed, there))[0]
    assert as_json.files[0].size == 7
    assert as_json.files[0].hashes["md5"] == "0" * 32
    assert as_json.versions == ("1.0",)
    assert as_json.api_version == "1.4"


def test_upload_time_and_what_is_not_there() -> None:
    listed = file(WHEEL, upload_time="2026-01-02T03:04:05Z")
    as_json, as_html = both(entry(listed, content("a")), entry(file("demo-2.0-py3-none-any.whl")))
    assert as_json.files[0].upload_time == "2026-01-02T03:04:05Z"
    assert [found.filename for found in as_json.files] == [found.filename for found in as_html.files] == [WHEEL]
    assert as_json.files[0].sidecar is None
    assert not as_json.files[0].yanked


def test_python_that_only_metadata_tells() -> None:
    for page in both(entry(file(WHEEL), content("a", requires_python=">=3.9"))):
        assert page.files[0].requires_python == ">=3.9"


def test_facts_of_a_project() -> None:
    facts = Facts("demo", "archived", "<why>", ("https://a/simple/demo/",), ("https://b/simple/demo/",))
    for page in both(facts=facts):
        assert (page.status, page.status_reason) == ("archived", "<why>")
        assert page.tracks == ("https://a/simple/demo/",)
        assert page.alternate_locations == ("https://b/simple/demo/",)
    assert all(page.status == "active" for page in both())


def test_quarantine() -> None:
    for page in both(entry(file(WHEEL), content("a")), facts=Facts("demo", "quarantined", "malware")):
        assert page.status == "quarantined"
        assert page.files == ()


def test_json_has_what_version_1_1_demands() -> None:
    page = json.loads(render_project(Facts("demo"), [entry(file(WHEEL), content("a"))])[0])
    assert set(page) >= {"meta", "name", "versions", "files"}
    assert set(page["files"][0]) >= {"filename", "url", "hashes", "size"}


@given(st.permutations([f"demo-{number}.0-py3-none-any.whl" for number in range(4)]))
def test_the_order_of_entries_does_not_matter(names: list[str]) -> None:
    entries = {name: entry(file(name), content(name)) for name in names}
    assert render_project(Facts("demo"), entries.values()) == render_project(
        Facts("demo"), [entries[name] for name in sorted(names)]
    )


@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp", "Zs", "Cn", "Co", "Cf"]), min_size=1))
def test_any_reason_and_name_survives(text: str) -> None:
    name = f"demo-1.0+{text.replace('/', '')}-py3-none-any.whl"
    for page in both(entry(file(name, yanked=True, yanked_reason=text), content("a"))):
        if page.files:  # a name that is not safe is left out by our reader
            assert page.files[0].filename == name
            assert page.files[0].yanked_reason == text
            assert page.files[0].hashes["sha256"] == A


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if tag == "a" and name == "href"]


def test_root() -> None:
    as_json, as_html = render_root(["a", "b-c"])
    assert parse_root(as_json, url=URL) == parse_root(as_html, url=URL) == ("a", "b-c")
    links = _Links()
    links.feed(as_html.decode())
    assert links.found == ["a/", "b-c/"]


@pytest.mark.parametrize("count", [0, 1, 1234])
def test_front(count: int) -> None:
    page = render_front(count, 2 * count, 3_000_000 * count).decode()
    assert f"{count:,} project" in page
    assert 'href="simple/"' in page
