"""Time the pure rooms, with pytest-benchmark: `pytest benchmarks/micro.py [-k WORD]`.

Pages of 10,000 files and the choice among them, scopes of 50 indexes, the look at first bytes, the plan over a small
wheel and over one of 15,000 entries, the walk through wheels, in small and in large pieces, and through source
distributions; and input that is made to be slow: what takes some hundredths of a second here would take minutes if the
time grew with the square of the size.  Besides, a hundred small jobs for the disk at once, handed to threads by
`fetcher.disk` and by anyio; and one call of the blocking Fetcher that needs no network, beside the same of the
asynchronous one.
"""

import asyncio
import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Awaitable, Callable
from html import escape
from typing import Literal

import pytest
from anyio import create_task_group, to_thread
from pytest_benchmark.fixture import BenchmarkFixture
from yarl import URL

from fetcher import Fetcher, blocking
from fetcher.disk import on_disk
from fetcher.errors import ConfigError, MetadataMismatch, MetadataMissing
from fetcher.index.candidates import candidates
from fetcher.index.files import File, Project
from fetcher.index.pages import parse_page
from fetcher.index.scope import Index, Scopes
from fetcher.index.target import describe_python
from fetcher.sdist.walk import Busy, PkgInfo, SdistWalk
from fetcher.segments import Piece, Suffix
from fetcher.wheel.identity import check_identity
from fetcher.wheel.plan import WheelMetadata, plan_metadata
from fetcher.wheel.sniff import describe, html_title, looks_like_login, sniff
from fetcher.wheel.walk import Found, NeedMore, Walk

AT_ONCE = 100
FILES = 10_000
VERSIONS = 250
INDEXES = 50
LOOKUPS = 1_000

PAGE = "https://index.localhost/simple/demo/"
INDEX = Index("https://index.localhost/simple", name="demo")
ABSOLUTE = "https://files.localhost/packages"
RELATIVE = "../../packages"
WHEEL = "demo-1.0-py3-none-any.whl"
# The most that is looked at of a page, and so many folded lines of METADATA.
PAGE_SIZE = 256 * 1024
LINES = 100_000
FOLDED = "\n x"


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


@pytest.mark.parametrize("root", [ABSOLUTE, RELATIVE], ids=["absolute links", "relative links"])
@pytest.mark.parametrize("write", [json_page, html_page], ids=["JSON", "HTML"])
def test_page(benchmark: BenchmarkFixture, write: Callable[[str], bytes], root: str) -> None:
    body = write(root)
    project = benchmark(lambda: parse_page(body, url=PAGE, name="demo", listed_by=INDEX))
    assert len(project.files) == FILES


@pytest.mark.parametrize("specifier", ["", ">=200", "==100.0"], ids=lambda specifier: specifier or "any")
@pytest.mark.parametrize("again", [False, True], ids=["first time", "again"])
def test_candidates(benchmark: BenchmarkFixture, again: bool, specifier: str) -> None:
    """What was parsed of the file names the first time is kept."""
    target = describe_python("3.12", ["manylinux_2_28_x86_64"])
    if again:
        found = benchmark(candidates, released(), target, specifier)
    else:
        found = benchmark.pedantic(
            lambda project: candidates(project, target, specifier), setup=lambda: ((released(),), {}), rounds=10
        )
    assert len(found) == {"": VERSIONS, ">=200": VERSIONS - 200, "==100.0": 1}[specifier]


def released() -> Project:
    """Return a project of FILES files: VERSIONS of them, each with wheels for many interpreters and platforms."""
    platforms = ["manylinux_2_17_{}.manylinux2014_{}", "musllinux_1_2_{}", "macosx_11_0_{}", "win_{}"]
    tags = [
        f"cp3{minor}-cp3{minor}-{platform.format(arch, arch)}"
        for minor in (10, 11, 12, 13, 14)
        for platform in platforms
        for arch in ("x86_64", "aarch64")
    ]
    names = (f"demo-{version}.0-{tag}.whl" for version in range(VERSIONS) for tag in tags)
    files = tuple(File(name, f"{ABSOLUTE}/{name}", requires_python=">=3.9") for name in names)
    assert len(files) == FILES
    return Project("demo", files, PAGE, INDEX)


def test_scopes(benchmark: BenchmarkFixture) -> None:
    scopes = Scopes(Index(f"https://index.localhost/team{n}/project/+simple", name=f"i{n}") for n in range(INDEXES))
    urls = [URL(f"https://index.localhost/team{n % (2 * INDEXES)}/project/+f/ab/cd/demo.whl") for n in range(LOOKUPS)]
    found = benchmark(lambda: [scopes.resolve(url) for url in urls])
    assert sum(scope is not None for scope in found) == LOOKUPS // 2


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"PK\x03\x04" + bytes(1020), "zip"),
        (
            b"\xef\xbb\xbf\n" + b"<!-- a login page's template -->\n" * 10 + b"<!DOCTYPE html><title>Log in</title>",
            "html",
        ),
        (b'{"error": "unauthorized"}', "json"),
    ],
    ids=["zip", "HTML", "JSON"],
)
def test_sniff(benchmark: BenchmarkFixture, head: bytes, kind: str) -> None:
    assert benchmark(sniff, head) == kind


@pytest.mark.parametrize("part", [" ", "<", "<!--", "<title>", "<form id=", "&amp"])
def test_hostile_page(benchmark: BenchmarkFixture, part: str) -> None:
    """Of the largest size that is looked at, and nothing in it ever ends."""
    body = ("<html>" + part * (PAGE_SIZE // len(part))).encode()
    found = benchmark(lambda: (sniff(body), html_title(body), looks_like_login(body), describe(body, "xml")))
    assert found == ("html", "", False, "")


@pytest.mark.parametrize("field", ["Description", "Name"])
def test_hostile_metadata(benchmark: BenchmarkFixture, field: str) -> None:
    benchmark(refuse, f"Version: 1.0\n{field}:{LINES * FOLDED}".encode())


def refuse(raw: bytes) -> None:
    """Check METADATA that is not the wheel's."""
    with pytest.raises((MetadataMissing, MetadataMismatch)):
        check_identity(WHEEL, raw)


@pytest.mark.parametrize("step", [1, 64 * 1024])
def test_walk(benchmark: BenchmarkFixture, step: int) -> None:
    wheel = wheel_of(1000)
    pieces = [wheel[at : at + step] for at in range(0, len(wheel), step)]
    assert isinstance(benchmark(lambda: walk(pieces)), Found)


def walk(pieces: list[bytes]) -> object:
    """Walk through a wheel in pieces, up to its METADATA."""
    walker = Walk(WHEEL)
    return next(verdict for piece in pieces if not isinstance(verdict := walker.feed(piece), NeedMore))


@pytest.mark.parametrize("form", ["w:gz", "w:bz2", "w:xz"])
def test_sdist_walk(benchmark: BenchmarkFixture, form: Literal["w:gz", "w:bz2", "w:xz"]) -> None:
    """PKG-INFO stands last, where several build tools write it."""
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode=form) as archive:
        for number in range(1000):
            add(archive, f"demo-1.0/demo/module_{number:05d}.py", b"from demo import something as other\n" * 200)
        add(archive, "demo-1.0/PKG-INFO", b"Metadata-Version: 2.4\nName: demo\nVersion: 1.0\n")
    assert isinstance(benchmark(walk_sdist, f"demo-1.0.tar.{form[2:]}", body.getvalue()), PkgInfo)


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a file to a tar."""
    about = tarfile.TarInfo(name)
    about.size = len(content)
    archive.addfile(about, io.BytesIO(content))


def walk_sdist(name: str, body: bytes) -> object:
    """Walk through a source distribution that is at hand."""
    walker = SdistWalk(name)
    verdict = walker.feed(body)
    while isinstance(verdict, Busy):
        verdict = walker.feed(b"")
    return verdict


@pytest.mark.parametrize("entries", [30, 15_000])
def test_plan(benchmark: BenchmarkFixture, entries: int) -> None:
    wheel = wheel_of(entries)
    assert benchmark(lambda: follow(wheel)).version == "1.0"


def wheel_of(entries: int) -> bytes:
    """Return a wheel of so many entries besides its METADATA, which has a long description."""
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        for number in range(entries):
            archive.writestr(f"demo/include/some/long/path/to/a/header_{number:05d}.h", b"")
        text = f"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n\n{'A line of the description.' * 500}"
        archive.writestr("demo-1.0.dist-info/METADATA", text, zipfile.ZIP_DEFLATED)
    return body.getvalue()


def follow(wheel: bytes) -> WheelMetadata:
    """Read METADATA out of a wheel of unknown size that is at hand."""
    plan = plan_metadata(WHEEL, None)
    wanted = next(plan)
    while True:
        segment = wanted.of(len(wheel)) if isinstance(wanted, Suffix) else wanted
        try:
            wanted = plan.send(Piece(segment.start, wheel[segment.start : segment.stop], len(wheel)))
        except StopIteration as done:
            found: WheelMetadata = done.value
            return found


@pytest.mark.parametrize("hop", [on_disk, to_thread.run_sync], ids=["on_disk", "anyio"])
def test_jobs_at_once(benchmark: BenchmarkFixture, hop: Callable[..., Awaitable[object]]) -> None:
    """What it costs to hand work to a thread and to take the result, for `AT_ONCE` who do so at the same time."""

    async def jobs() -> None:
        async with create_task_group() as tasks:
            for _ in range(AT_ONCE):
                tasks.start_soon(hop, int)

    with asyncio.Runner() as runner:
        benchmark(lambda: runner.run(jobs()))


def test_call(benchmark: BenchmarkFixture) -> None:
    async def call() -> None:
        with pytest.raises(ConfigError):
            await fetcher.project("no name!")

    with asyncio.Runner() as runner:
        fetcher = Fetcher()
        benchmark(lambda: runner.run(call()))


def test_blocking_call(benchmark: BenchmarkFixture) -> None:
    """Into the thread of the event loop and back."""
    with blocking.Fetcher() as fetcher:

        def call() -> None:
            with pytest.raises(ConfigError):
                fetcher.project("no name!")

        benchmark(call)
