"""What a page says, against what it should say: bytes and bytes -> a finding, or none.

1. A page that cannot be read, or that ends early, is altered or truncated: there is nothing to disagree with.
2. Pages are compared by what an installer reads in them, not by their spelling.
3. A page that says all it should in other bytes than were written was altered all the same.

This file is pure.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from fetcher.errors import BadPage
from fetcher.index.files import File, Project
from fetcher.index.pages import parse_page
from fetcher.index.root_page import parse_root
from fetcher.verify.claims import ADDRESS, key_of
from fetcher.verify.findings import Finding, Named

__all__ = ["Differences", "compare_projects", "judge_page", "judge_root", "read_names", "read_project"]

# So many differences are told of one page.
TOLD = 3
OTHERWISE = "its bytes are not those that were written"
# What JSON and HTML both say of a file (PEP 503, 592, 658, 740); HTML knows neither size nor time.
IN_BOTH = ("url", "sha256", "requires_python", "yanked", "yanked_reason", "sidecar", "provenance")
IN_JSON = (*IN_BOTH, "hashes", "size", "upload_time")
_OF_PROJECT = ("status", "status_reason", "tracks", "alternate_locations")


@dataclass
class Differences:
    """What was found of a page: the first few, and how many more."""

    _told: list[str] = field(default_factory=list)
    _more: int = 0

    def add(self, text: str) -> None:
        """Note one."""
        if len(self._told) < TOLD:
            self._told.append(text)
        else:
            self._more += 1

    def __str__(self) -> str:
        return ", ".join([*self._told, *([f"and {self._more} more"] if self._more else [])])


def read_project(named: Named, body: bytes) -> Project | Finding:
    """Return what a project's page says, or why it cannot be read."""
    if (unreadable := _unreadable(named, body)) is not None:
        return unreadable
    try:
        return parse_page(body, url=f"{ADDRESS}{named.key}", name=named.project)
    except BadPage as error:
        return named.found("altered", error.reason)


def read_names(named: Named, body: bytes) -> Sequence[str] | Finding:
    """Return the projects that a root page lists, or why it cannot be read."""
    if (unreadable := _unreadable(named, body)) is not None:
        return unreadable
    try:
        return parse_root(body, url=f"{ADDRESS}{named.key}")
    except BadPage as error:
        return named.found("altered", error.reason)


def _unreadable(named: Named, body: bytes) -> Finding | None:
    """Say that a page is none by its beginning, or has no end."""
    text = body.strip()
    if not text:
        return named.found("truncated", "it is empty")
    if named.key.endswith(".json"):
        if not text.startswith(b"{"):
            return named.found("altered", "it is no JSON")
        return None if text.endswith(b"}") else named.found("truncated", "it ends in the middle")
    return None if b"</html" in text[-100:].lower() else named.found("truncated", "it ends in the middle")


def judge_page(named: Named, expected: bytes, body: bytes, *, as_written: bool) -> Finding | None:
    """Return what is wrong with a project's page that should have other bytes.

    `as_written`: its bytes are those that a run wrote, perhaps one that spelled it otherwise.
    """
    if (cut := _cut(named, expected, body)) is not None:
        return cut
    said = read_project(named, body)
    if isinstance(said, Finding):
        return said
    found = compare_projects(parse_page(expected, url=f"{ADDRESS}{named.key}", name=named.project), said)
    if found:
        return named.found("disagreement", found)
    return None if as_written else named.found("altered", OTHERWISE)


def judge_root(named: Named, expected: bytes, names: Collection[str] | None, body: bytes) -> Finding:
    """Return what is wrong with a page of the whole that should have other bytes.

    `names` are the projects that it should list; None for the page for people.
    """
    if (cut := _cut(named, expected, body)) is not None:
        return cut
    if names is None:
        return named.found("altered", OTHERWISE)
    listed = read_names(named, body)
    if isinstance(listed, Finding):
        return listed
    found = Differences()
    for name in sorted(set(listed) - set(names)):
        found.add(f"it lists {name}, which has no page")
    for name in sorted(set(names) - set(listed)):
        found.add(f"it leaves out {name}")
    if text := str(found):
        return named.found("disagreement", text)
    return named.found("altered", OTHERWISE)


def _cut(named: Named, expected: bytes, body: bytes) -> Finding | None:
    if len(body) < len(expected) and expected.startswith(body):
        return named.found("truncated", f"it has {len(body):,} of {len(expected):,} bytes")
    return None


def compare_projects(truth: Project, page: Project) -> str:
    """Return in what a page says other than another of the same project, as far as its form can say it; empty if in
    nothing."""
    fields = IN_BOTH if _is_html(page) else IN_JSON
    found = Differences()
    right, said = _by_name(truth.files), _by_name(page.files)
    for filename in sorted(said.keys() - right.keys()):
        found.add(f"it lists {filename}, which it should not")
    for filename in sorted(right.keys() - said.keys()):
        found.add(f"it leaves out {filename}")
    for filename in sorted(right.keys() & said.keys()):
        if wrong := [name for name in fields if _value(right[filename], name) != _value(said[filename], name)]:
            found.add(f"it says another {' and '.join(wrong)} of {filename}")
    for name in _OF_PROJECT:
        if getattr(truth, name) != getattr(page, name):
            found.add(f"it says another {name} of the project")
    for filename in page.skipped:
        found.add(f"it lists {filename}, which cannot be used")
    return str(found)


def _is_html(page: Project) -> bool:
    return page.url.endswith(".html")


def _by_name(files: Iterable[File]) -> dict[str, File]:
    return {file.filename: file for file in files}


def _value(file: File, name: str) -> object:
    """Return what is said of a file; where a link leads counts, not how it is written."""
    value = getattr(file, name)
    return key_of(value) or value if name in ("url", "provenance") and value else value
