"""The report of a mirror job, as text: every count is there, and nothing from the network is markup."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given, strategies as st
from made_up_reports import HOSTILE, failing, made_up

from fetcher.report.report import Failure, HostShare, ProjectShare, Report, Sample, render_report


class Page(HTMLParser):
    """The elements of a page with their attributes, and what stands in each row of each table."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self._in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in {"td", "th"}:
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.rows[-1][-1] += data

    def row(self, heading: str) -> list[str]:
        return next(row for row in self.rows if row[0] == heading)


def shape(report: Report) -> list[str]:
    """Its elements, but for those that say where a line may end."""
    return [tag for tag, _ in Page(render_report(report)).elements if tag != "wbr"]


def headline(report: Report) -> str:
    found = re.search("<h1>(.*)</h1>", render_report(report))
    assert found
    return re.sub("<[^>]*>", "", found[1])


def test_the_run_in_one_sentence() -> None:
    assert headline(made_up()) == (
        "842 projects: 3,412 files, 3.0 GB, fetched in 1 min 0 s; 5,120 present, 3 removed; "
        "6 files failed, 1 project failed."
    )
    quiet = replace(made_up(), outcomes={"fetched": 1, "failed": 0}, projects={"updated": 1}, bytes=1, failures=[])
    assert headline(quiet) == "1 project: 1 file, 1 byte, fetched in 1 min 0 s."


def test_counts_and_shares() -> None:
    page = Page(render_report(made_up()))
    assert page.row("fetched") == ["fetched", "3,412", "39.9 %", ""]
    assert page.row("removed") == ["removed", "3", "< 0.1 %", ""]
    assert page.row("unchanged") == ["unchanged", "140", "16.6 %", ""]
    assert page.row("numpy") == ["numpy", "92", "692 MB", ""]
    assert page.row("pypi.example") == ["pypi.example", "1.80", "3,100", "2.7 GB", "1"]
    assert page.row("gone.example") == ["gone.example", "–", "0", "0 bytes", "3"]
    assert page.row("lxml")[1:] == ["lxml-5.3.0-cp39-cp39-win32.whl", "TimedOut", "it sent nothing for 60 s"]
    assert page.row("corp-secrets")[1:3] == ["the project’s page", "LoginPage"]


def test_the_slowest_host_and_the_largest_project_come_first() -> None:
    names = [row[0] for row in Page(render_report(made_up())).rows]
    assert [name for name in names if name.endswith(".example")] == ["gone.example", "slow.example", "pypi.example"]
    assert names.index("numpy") < names.index("pandas")


def test_failures_are_counted_by_error() -> None:
    text = render_report(failing(345))
    kinds = re.findall(r'data-error="(\w+)">\w+ <b>(\d+)</b>', text)
    assert kinds == [("NotFound", "173"), ("TimedOut", "172")]
    assert "345 of 345" in text
    assert "1 more failure not listed." in render_report(replace(failing(3), failures_left_out=1))


def test_a_run_of_nothing() -> None:
    text = render_report(Report("mirror", "2025-03-02T04:05:06Z", 0.0, "1", {}, {}, 0, [], [], [], []))
    assert "Nothing failed." in text
    assert "0 projects: 0 files, 0 bytes, fetched in 0.0 s." in text
    assert text.count("Too short a run for a curve.") == 4


@pytest.mark.parametrize("began", ["2025-03-02T04:05:06Z", "2025-03-02T04:05:06.123+00:00"])
def test_when_it_began(began: str) -> None:
    text = render_report(replace(made_up(), began=began))
    assert f'<time datetime="{began}">2025-03-02 04:05:06 UTC</time>' in text


def hostile(text: str) -> Report:
    return replace(
        made_up(),
        destination=text,
        began=text,
        version=text,
        outcomes={text: 1, "fetched": 1},
        projects={text: 1},
        hosts=[HostShare(text, 1, 1, 1.0, 1)],
        largest=[ProjectShare(text, 1, 1)],
        failures=[Failure(text, text, text, text)],
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_text(text: str) -> None:
    assert shape(hostile(text)) == shape(hostile("harmless"))
    page = Page(render_report(hostile(text)))
    assert [row for row in page.rows if row == [text] * 4]
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]


@given(st.text(st.characters(), min_size=1))
def test_any_text_is_text(text: str) -> None:
    render_report(hostile(text)).encode()  # a lone surrogate, of a name in JSON, could not be written
    assert shape(hostile(text)) == shape(hostile("harmless"))


def test_what_cannot_be_seen_is_shown_as_such() -> None:
    text = render_report(hostile("a\u202egpj.\0\ud800b"))
    assert "a\ufffdgpj.\ufffd\ufffdb" in text


def test_the_page_may_load_nothing() -> None:
    page = Page(render_report(made_up()))
    [policy] = [
        attributes["content"] or ""
        for tag, attributes in page.elements
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "http" not in policy
    links = [attributes[name] for _, attributes in page.elements for name in ("src", "href") if name in attributes]
    assert links == ["data:,", "#failures"]
    assert not [tag for tag, attributes in page.elements if "style" in attributes]


def test_json_cannot_end_its_element() -> None:
    text = render_report(made_up())
    found = re.search('<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    assert not set("<>&\u2028\u2029") & set(found[1])
    charts = json.loads(found[1])["charts"]
    assert [chart["name"] for chart in charts] == ["speed", "files-over-time", "files-against-files", "memory"]
    assert all(len(level) == 3 for chart in charts for level in chart["levels"])


def test_tables_have_headings_for_all() -> None:
    page = Page(render_report(made_up()))
    headings = [attributes for tag, attributes in page.elements if tag == "th"]
    assert {attributes.get("scope") for attributes in headings} == {"row", "col"}


def test_a_long_run_makes_no_longer_page() -> None:
    samples = [Sample(second, second, second, 1) for second in range(1, 500)]
    few, many = (len(render_report(replace(made_up(), samples=some))) for some in (samples[:200], samples))
    assert many < 1.5 * few
