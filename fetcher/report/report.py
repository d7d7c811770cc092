"""What a mirror job did, as one HTML page that a person reads.

1. The page is whole in itself: it asks nobody for anything, and says so to the browser (`page`).
2. Names and reasons come from the network: they are text, never markup, and characters that are not to be seen, or that
   turn the direction of what follows, are shown as U+FFFD.
3. All of it can be read without a script; the script only searches, sorts and reads charts.

This file is pure.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from fetcher.report.chart import data, draw
from fetcher.report.charts import against_files, over_time
from fetcher.report.page import page
from fetcher.report.samples import Sample
from fetcher.words import counted, duration, size

__all__ = ["Failure", "HostShare", "ProjectShare", "Report", "Sample", "render_report"]

# The script shows them.
_SEARCH = (
    '<label hidden>Search <input type="search" id="search" autocomplete="off" spellcheck="false" '
    'placeholder="project, file, error or reason"></label>'
)
_MORE = '<button type="button" id="more" hidden></button>'

_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class HostShare:
    """What came from one host: files done and failed, bytes, and seconds, summed over its transfers."""

    host: str
    files: int
    bytes: int
    seconds: float
    failures: int

    @property
    def bytes_per_second(self) -> float:
        """The mean rate of one transfer; 0 where nothing was transferred."""
        return self.bytes / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class ProjectShare:
    """The files of one project, and their size in bytes."""

    name: str
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Failure:
    """What failed, and why: the class name of the error, and its sentence, redacted.

    `filename` is empty where it was the project's page.
    """

    project: str
    filename: str
    error: str
    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a run did in `seconds` since `began` (ISO 8601, UTC).

    `outcomes` counts files and `projects` projects, by outcome ("fetched", "failed", ...).  `bytes` were transferred.
    `samples` are in order.  `failures_left_out` were too many to be listed.  `destination` is redacted.
    """

    destination: str
    began: str
    seconds: float
    version: str
    outcomes: Mapping[str, int]
    projects: Mapping[str, int]
    bytes: int
    samples: Sequence[Sample]
    hosts: Sequence[HostShare]
    largest: Sequence[ProjectShare]
    failures: Sequence[Failure]
    failures_left_out: int = 0


def render_report(report: Report) -> str:
    """Return the page."""
    speed, files = over_time(report.samples)
    rate, memory = against_files(report.samples)
    body = (
        _header(report)
        + _section("Over time", "", _pair(draw(speed), draw(files)))
        + _section(
            "Against the number of files",
            "A level rate: time grows in proportion to the files. Level memory: it does not grow with them.",
            _pair(draw(rate), draw(memory)),
        )
        + _pair(
            _section("Files by outcome", "", _outcomes(report.outcomes, "Files")),
            _section("Projects by outcome", "", _outcomes(report.projects, "Projects")),
        )
        + _pair(_hosts(report.hosts), _largest(report.largest))
        + _failures(report)
    )
    title = f"Mirror of {_text(report.destination)}: {_text(_sum(report)[0])}"
    return page(title, body, {"charts": [data(chart) for chart in (speed, files, rate, memory)]})


def _text(value: str) -> str:
    """Return text from anywhere as HTML (rule 2)."""
    return escape(_UNSEEN.sub("\N{REPLACEMENT CHARACTER}", value))


def _broken(host: str) -> str:
    """Return a host's name that may go on in the next line after a dot."""
    return _text(host).replace(".", ".<wbr>")


def _header(report: Report) -> str:
    done, failed = _sum(report)
    trouble = f'; <a href="#failures">{_text(failed)}</a>' if failed else ""
    rate = f"{size(report.bytes / report.seconds)}/s" if report.seconds > 0 else "–"
    memory = max((sample.memory for sample in report.samples), default=None)
    facts = {
        "Destination": _text(report.destination),
        "Began": _time(report.began),
        "Download rate": rate,
        "Memory": "–" if memory is None else f"at most {size(memory)}",
        "Version": f"fetcher {_text(report.version)}",
    }
    listed = "".join(f"<div><dt>{term}</dt><dd>{fact}</dd></div>" for term, fact in facts.items())
    return f"<header><h1>{_text(done)}{trouble}.</h1><dl>{listed}</dl></header>"


def _time(iso: str) -> str:
    shown = re.sub(r"(?<=\d)T(?=\d)", " ", re.sub(r"(\.\d+)?(Z|\+00:00)$", " UTC", iso))
    return f'<time datetime="{_text(iso)}">{_text(shown)}</time>'


def _sum(report: Report) -> tuple[str, str]:
    """Return the run in one sentence: what was done, and what failed."""
    files = counted(report.outcomes.get("fetched", 0), "file")
    others = [
        f"{number:,} {word}" for word, number in report.outcomes.items() if word not in {"fetched", "failed"} and number
    ]
    projects = counted(sum(report.projects.values()), "project")
    done = f"{projects}: {files}, {size(report.bytes)}, fetched in {duration(report.seconds)}"
    failed = [
        f"{counted(counts['failed'], noun)} failed"
        for noun, counts in (("file", report.outcomes), ("project", report.projects))
        if counts.get("failed")
    ]
    return "; ".join(filter(None, [done, ", ".join(others)])), ", ".join(failed)


def _section(heading: str, note: str, content: str, name: str = "") -> str:
    mark = f' id="{name}"' if name else ""
    said = f'<p class="note">{note}</p>' if note else ""
    return f"<section{mark}><h2>{heading}</h2>{said}{content}</section>"


def _pair(left: str, right: str) -> str:
    return f'<div class="pair">{left}{right}</div>'


def _table(headings: Mapping[str, str], rows: Iterable[str], name: str = "") -> str:
    """Return a table; `headings` go with the class of their column, rows are HTML."""
    cells = "".join(f'<th scope="col" class="{kind}">{heading}</th>' for heading, kind in headings.items())
    mark = f' id="{name}"' if name else ""
    lines = "\n".join(rows)
    if not lines:
        return '<p class="none">None.</p>'
    return f'<div class="wide"><table{mark}><thead><tr>{cells}</tr></thead><tbody>\n{lines}\n</tbody></table></div>'


def _number(shown: str, value: float) -> str:
    return f'<td class="number" data-value="{value:.6g}">{shown}</td>'


def _bar(share: float) -> str:
    """Return a cell that shows a share, from 0 to 1, as a length."""
    return f'<td class="bar"><svg aria-hidden="true"><rect width="{100 * share:.2f}%" height="100%"/></svg></td>'


def _outcomes(counts: Mapping[str, int], noun: str) -> str:
    total = sum(counts.values())
    rows = []
    for outcome, number in counts.items():
        share = number / total if total else 0.0
        kind = ' class="failed"' if outcome == "failed" and number else ""
        percent = "&lt; 0.1 %" if 0 < share < 0.001 else f"{100 * share:.1f} %"
        shares = f"{_number(percent, share)}{_bar(share)}"
        rows.append(f'<tr{kind}><th scope="row">{_text(outcome)}</th>{_number(f"{number:,}", number)}{shares}</tr>')
    return _table({"Outcome": "", noun: "number", "Share": "number", "": "bar"}, rows)


def _hosts(hosts: Sequence[HostShare]) -> str:
    headings = {"Host": "", "MB/s": "number", "Files": "number", "Size": "number", "Failures": "number"}
    rows = []
    for host in sorted(hosts, key=lambda host: host.bytes_per_second):
        rate = host.bytes_per_second
        kind = ' class="failed"' if host.failures else ""
        rows.append(
            f'<tr><th scope="row">{_broken(host.host)}</th>{_number(f"{rate / 1e6:,.2f}" if rate else "–", rate)}'
            f"{_number(f'{host.files:,}', host.files)}{_number(size(host.bytes), host.bytes)}"
            f'<td class="number" data-value="{host.failures}"><span{kind}>{host.failures:,}</span></td></tr>'
        )
    note = "The mean rate of one transfer, the slowest host first."
    return _section("Slowest hosts", note, _table(headings, rows, "hosts"))


def _largest(projects: Sequence[ProjectShare]) -> str:
    ordered = sorted(projects, key=lambda project: -project.bytes)
    most = max((project.bytes for project in ordered), default=0)
    rows = [
        f'<tr><th scope="row">{_text(project.name)}</th>{_number(f"{project.files:,}", project.files)}'
        f"{_number(size(project.bytes), project.bytes)}{_bar(project.bytes / most if most else 0.0)}</tr>"
        for project in ordered
    ]
    headings = {"Project": "", "Files": "number", "Size": "number", "": "bar"}
    return _section("Largest projects", "By the size of their files.", _table(headings, rows, "largest"))


def _failures(report: Report) -> str:
    if not report.failures and not report.failures_left_out:
        return _section("Failures", "", '<p class="none">Nothing failed.</p>', "failures")
    left_out = f"{counted(report.failures_left_out, 'more failure')} not listed." if report.failures_left_out else ""
    total = f"{len(report.failures):,}"
    bar = f'<div class="search">{_SEARCH}<output id="found" role="status">{total} of {total}</output>{left_out}</div>'
    rows = map(_failure_row, report.failures)
    table = _table({"Project": "", "File": "", "Error": "", "Reason": ""}, rows, "failed")
    return _section("Failures", "", f"{_kinds(report.failures)}{bar}{table}{_MORE}", "failures")


def _kinds(failures: Iterable[Failure]) -> str:
    """Return how many failures there are of each error, the most first; the script makes each a filter."""
    counts = Counter(failure.error for failure in failures)
    buttons = (
        f'<button type="button" disabled aria-pressed="false" data-error="{_text(error)}">'
        f"{_text(error)} <b>{number:,}</b></button>"
        for error, number in counts.most_common()
    )
    return f'<p class="kinds">{"".join(buttons)}</p>'


def _failure_row(failure: Failure) -> str:
    file = f"<td>{_text(failure.filename)}</td>" if failure.filename else '<td class="none">the project’s page</td>'
    error = _text(failure.error)
    return (
        f'<tr data-error="{error}"><th scope="row">{_text(failure.project)}</th>{file}'
        f"<td>{error}</td><td>{_text(failure.reason)}</td></tr>"
    )
