"""Time the pure rooms: `python benchmarks/micro.py [WORD...]` runs the cases whose names contain a word, or all.

One line per case: the shortest and the median run, in milliseconds, over RUNS runs after one that does not count.
A case is a function that prepares its input and returns what is to be timed; `@case` puts it into the table.
"""

import gc
import hashlib
import json
import statistics
import sys
import time
from collections.abc import Callable
from html import escape

from yarl import URL

from fetcher.index.pages import parse_page
from fetcher.index.scope import Index, Scopes

RUNS = 25
FILES = 10_000
INDEXES = 50
LOOKUPS = 1_000

PAGE = "https://index.localhost/simple/demo/"
ABSOLUTE = "https://files.localhost/packages"
RELATIVE = "../../packages"

Work = Callable[[], object]
CASES: dict[str, Callable[[], Work]] = {}


def case(name: str) -> Callable[[Callable[[], Work]], Callable[[], Work]]:
    """Enter a case under its name."""

    def enter(prepare: Callable[[], Work]) -> Callable[[], Work]:
        CASES[name] = prepare
        return prepare

    return enter


def listed(root: str) -> list[dict[str, object]]:
    """Return FILES files as a PyPI page lists them: long names, hashed directories, every key that PyPI sends."""
    files: list[dict[str, object]] = []
    for number in range(FILES):
        sha256, sidecar = (hashlib.sha256(f"{kind}{number}".encode()).hexdigest() for kind in ("file", "sidecar"))
        name = f"demo-{number // 40}.{number % 40}.0-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
        files.append(
            {
                "core-metadata": {"sha256": sidecar},
                "data-dist-info-metadata": {"sha256": sidecar},
                "filename": name,
                "hashes": {"sha256": sha256},
                "provenance": None,
                "requires-python": ">=3.9",
                "size": 1_000_000 + number,
                "upload-time": "2025-01-02T03:04:05.678901Z",
                "url": f"{root}/{sha256[:2]}/{sha256[2:4]}/{sidecar[:60]}/{name}",
                "yanked": False,
            }
        )
    return files


def json_page(root: str) -> bytes:
    """Return a project page of API version 1.4 in JSON."""
    page = {"meta": {"api-version": "1.4"}, "name": "demo", "versions": [], "files": listed(root)}
    return json.dumps(page).encode()


def html_page(root: str) -> bytes:
    """Return the same page in HTML."""
    head = '<!DOCTYPE html><html><head><meta name="pypi:repository-version" content="1.4"></head><body>'
    return "\n".join([head, *map(anchor, listed(root)), "</body></html>"]).encode()


def anchor(file: dict[str, object]) -> str:
    """Return a file's line on an HTML page."""
    sha256, sidecar = file["hashes"]["sha256"], file["core-metadata"]["sha256"]  # type: ignore[index]
    return (
        f'<a href="{file["url"]}#sha256={sha256}" data-requires-python="{escape(str(file["requires-python"]))}" '
        f'data-dist-info-metadata="sha256={sidecar}" data-core-metadata="sha256={sidecar}">{file["filename"]}</a><br />'
    )


def parsing(body: bytes) -> Work:
    """Return the parsing of a page, checked once."""
    index = Index("https://index.localhost/simple", name="demo")
    if len(parse_page(body, url=PAGE, name="demo").files) != FILES:
        raise AssertionError("the page was not read whole")
    return lambda: parse_page(body, url=PAGE, name="demo", listed_by=index)


@case(f"page, JSON, {FILES:,} files, absolute links")
def _() -> Work:
    return parsing(json_page(ABSOLUTE))


@case(f"page, JSON, {FILES:,} files, relative links")
def _() -> Work:
    return parsing(json_page(RELATIVE))


@case(f"page, HTML, {FILES:,} files, absolute links")
def _() -> Work:
    return parsing(html_page(ABSOLUTE))


@case(f"page, HTML, {FILES:,} files, relative links")
def _() -> Work:
    return parsing(html_page(RELATIVE))


@case(f"scope, {INDEXES} indexes, {LOOKUPS:,} lookups")
def _() -> Work:
    scopes = Scopes(Index(f"https://index.localhost/team{n}/project/+simple", name=f"i{n}") for n in range(INDEXES))
    urls = [URL(f"https://index.localhost/team{n % (2 * INDEXES)}/project/+f/ab/cd/demo.whl") for n in range(LOOKUPS)]
    return lambda: [scopes.resolve(url) for url in urls]


def timed(work: Work) -> list[float]:
    """Return the milliseconds of each run; freeing the result is not part of it."""
    work()
    runs: list[float] = []
    for _ in range(RUNS):
        gc.collect()
        start = time.perf_counter()
        result = work()
        runs.append((time.perf_counter() - start) * 1000)
        del result
    return runs


def main(words: list[str]) -> None:
    """Run the cases and print the table."""
    chosen = {name: prepare for name, prepare in CASES.items() if not words or any(word in name for word in words)}
    width = max(map(len, chosen), default=0)
    print(f"{'case':{width}}  {'min ms':>8}  {'median':>8}")
    for name, prepare in chosen.items():
        runs = timed(prepare())
        print(f"{name:{width}}  {min(runs):8.1f}  {statistics.median(runs):8.1f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
