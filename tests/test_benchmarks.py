"""The benchmark programs do what they say: who did the work is in the table, and who is not is named."""

import asyncio
import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import venv
import zipfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import corpus
import downloaders
import measure
import million
import mirrors
import pytest
import resolvers
import server
import simulated
from web_server import serving

pytestmark = pytest.mark.real

ROOT = Path(__file__).parent.parent
BENCHMARKS = ROOT / "benchmarks"
PROJECTS = 6
MIB = 1 << 20


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    return corpus.generate_wheels(tmp_path_factory.mktemp("wheels"), PROJECTS)


def start(program: str, *arguments: str, python: Path = Path(sys.executable), **environment: str) -> Any:
    return subprocess.Popen(
        [python, BENCHMARKS / program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | environment,
        text=True,
        start_new_session=True,
    )


def printed_by(program: str, *arguments: str, **how: Any) -> str:
    """Run a benchmark program to its end, which must be a good one; return what it printed."""
    with start(program, *arguments, **how) as process:
        out, err = process.communicate(timeout=60)
    if "neither nginx" in err:
        pytest.skip(err.strip())
    assert process.returncode == 0, err
    return str(out)


def rows(printed: str) -> dict[str, list[str]]:
    """The rows of the tables in a text, by their first cell."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines() if line[:1] == "|"]
    return {row[0]: row[1:] for row in cells}


# ---------------------------------------------------------------------------------------------------------- metadata.py


def test_metadata(wheels: Sequence[Any]) -> None:
    folder = str(wheels[0].path.parent)
    printed = printed_by("metadata.py", "--quick", "--runs", "1", "--only", "ranges, 0 ms", "--corpus", folder)

    assert f"corpus: {PROJECTS} real wheels" in printed
    assert printed.count("###") == 1
    wall, cpu, memory, requests, mib, ratio = rows(printed)["fetcher"]
    assert min(map(float, (wall, cpu, memory, mib))) > 0
    assert 2 * PROJECTS <= int(requests) <= 2.5 * PROJECTS
    assert ratio == ""


def test_a_peer_that_is_not_installed(wheels: Sequence[Any], tmp_path: Path) -> None:
    """An environment without uv, in which all else can be imported and the web server is found."""
    venv.create(tmp_path / "venv", symlinks=os.name != "nt")
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("nginx", "caddy"):
        if path := server.find_program(name):
            (programs / name).symlink_to(path)
    printed = printed_by(
        "metadata.py",
        *["--quick", "--runs", "1", "--only", "warm", "--corpus", str(wheels[0].path.parent)],
        python=tmp_path / "venv" / "bin" / "python",
        PATH=str(programs),
        PYTHONPATH=os.pathsep.join([*(entry for entry in sys.path if entry.endswith("-packages")), str(ROOT)]),
    )

    assert 'missing: uv: it is not installed: pip install -e ".[bench]"' in printed
    # The last table: one conditional request a page.
    assert rows(printed)["fetcher"][3] == "6"
    assert "uv" not in rows(printed)


def test_a_title_that_is_not_there() -> None:
    with start("metadata.py", "--only", "no such table") as process:
        assert "ranges, 0 ms" in process.communicate(timeout=60)[1]
    assert process.returncode == 2


def test_an_interrupted_program_leaves_nothing(wheels: Sequence[Any], tmp_path: Path) -> None:
    arguments = ["--quick", "--runs", "1000", "--only", "20 ms", "--corpus", str(wheels[0].path.parent)]
    with start("metadata.py", *arguments, TMPDIR=str(tmp_path)) as process:
        while process.poll() is None and not list(tmp_path.glob("*/out")):  # until the first contestant is run
            time.sleep(0.01)
        process.terminate()
        _, err = process.communicate(timeout=30)
    if "neither nginx" in err:
        pytest.skip(err.strip())
    assert process.returncode == 130, err
    assert list(tmp_path.iterdir()) == []
    assert_gone(process.pid)


def assert_gone(group: int) -> None:
    """No process of a group is left; the system may take a moment to bury the last one."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("something is left running")


# ----------------------------------------------------------------------------------------------------------- resolve.py


def test_resolve() -> None:
    printed = printed_by("resolve.py", "--quick", "--runs", "1", "--only", "ranges, 0 ms")

    assert "60 generated wheels" in printed
    assert "20 projects" in printed
    table = rows(printed)
    for name in ("fetcher, async", "fetcher, blocking", "uv"):  # the test extra brings those
        wall, cpu, memory, requests, mib, _ = table[name]
        assert min(map(float, (wall, cpu, memory, mib))) > 0
        assert int(requests) >= 2 * 20


def test_a_tree_that_was_resolved_otherwise(tmp_path: Path) -> None:
    job = resolvers.Job("http://127.0.0.1/simple", ["app"], tmp_path)
    first, second = (job.by_program(name, "program.py") for name in ("one", "other"))
    first.check(b"app==1.0\nlib==2.0\n", tmp_path)

    second.check(b"lib==2.0\napp==1.0\n", tmp_path)
    with pytest.raises(measure.Failed, match=r"1 of 2 otherwise, lib 1\.0, not 2\.0"):
        second.check(b"app==1.0\nlib==1.0\n", tmp_path)


# ---------------------------------------------------------------------------------------------------------- download.py


# It ends well, and brings five bytes.
FALSE_ARIA2C = """\
#!/bin/sh
case "$1" in
--version) echo aria2 0.0.1 ;;
*) printf wrong > one-1.0-py3-none-any.whl ;;
esac
"""


def test_download(wheels: Sequence[Any], tmp_path: Path) -> None:
    """Among the contestants is one that does not do the work."""
    liar = tmp_path / "aria2c"
    liar.write_text(FALSE_ARIA2C)
    liar.chmod(0o755)
    printed = printed_by(
        "download.py",
        *["--quick", "--runs", "1", "--size", "1", "--only", "one file", "--corpus", str(wheels[0].path.parent)],
        PATH=os.pathsep.join([str(tmp_path), os.environ["PATH"]]),
    )

    assert printed.count("###") == 1
    wall, cpu, memory, requests, mib, ratio = rows(printed)["fetcher"]
    assert min(map(float, (wall, cpu, memory))) > 0
    assert (requests, mib, ratio) == ("1", "1.0", "")
    assert rows(printed)["aria2c"][0] == "failed"
    assert "\nfailed: aria2c: one-1.0-py3-none-any.whl has 5 bytes instead of " in printed


def test_many_small_files(wheels: Sequence[Any]) -> None:
    arguments = ["--quick", "--runs", "1", "--only", "100 files of 10 KB", "--corpus", str(wheels[0].path.parent)]
    printed = printed_by("download.py", *arguments)

    assert printed.count("###") == 1
    wall, _, memory, requests, mib, _ = rows(printed)["fetcher"]
    assert (requests, mib) == ("100", "1.0")
    assert float(memory) > 0
    rate = re.search(r"^files a second: fetcher (\d+)", printed, re.MULTILINE)
    assert rate is not None
    assert int(rate[1]) == pytest.approx(100 / float(wall), rel=0.1)


def test_what_was_brought(wheels: Sequence[Any], tmp_path: Path) -> None:
    for wheel in wheels:
        shutil.copy(wheel.path, tmp_path)
    downloaders.check_wheels(wheels, tmp_path)

    last = tmp_path / wheels[-1].path.name
    body = last.read_bytes()
    last.write_bytes(body[:-1] + b"?")
    with pytest.raises(measure.Failed, match="has another sha256"):
        downloaders.check_wheels(wheels, tmp_path)
    last.write_bytes(body[:-1])
    with pytest.raises(measure.Failed, match=f"has {len(body) - 1} bytes instead of {len(body)}"):
        downloaders.check_wheels(wheels, tmp_path)
    last.unlink()
    with pytest.raises(measure.Failed, match="is missing"):
        downloaders.check_wheels(wheels, tmp_path)


# --------------------------------------------------------------------------------------------- prefetch.py, mirrors.py


def test_prefetch(wheels: Sequence[Any]) -> None:
    printed = printed_by("prefetch.py", "--quick", "--runs", "1", "--corpus", str(wheels[0].path.parent))

    assert printed.count("###") == 2
    wall, cpu, memory, requests, mib, ratio = rows(printed)["fetcher prefetch"]
    assert min(map(float, (wall, cpu, memory, mib))) > 0
    assert (requests, ratio) == (str(2 * PROJECTS), "")
    assert rows(printed)["pip download"][3] == requests
    assert rows(printed)["fetcher prefetch, once more"][3:5] == [str(PROJECTS), "0.0"]
    assert f"answered by 304: {PROJECTS} of fetcher prefetch, once more's {PROJECTS} requests" in printed
    if "missing: bandersnatch" not in printed:
        # The list of projects, by way of a redirect; then of each project a page and a wheel.
        assert rows(printed)["bandersnatch mirror"][3] == str(2 + 2 * PROJECTS)
        assert rows(printed)["bandersnatch mirror, once more"][3] == "2"


def test_what_a_mirror_must_have(wheels: Sequence[Any], tmp_path: Path) -> None:
    mirrors.lay_out_index(wheels, tmp_path / "made")
    job = downloaders.Job(wheels, "http://127.0.0.1", tmp_path)
    is_mirror = mirrors.is_mirror(job, ".", "index.json")
    is_mirror(b"", tmp_path / "made")

    mirrors.copy_mirror(tmp_path / "made", tmp_path / "copy")
    is_mirror(b"", tmp_path / "copy")
    page = tmp_path / "copy" / "simple" / wheels[0].project
    (page / "index.html").unlink()
    with pytest.raises(measure.Failed, match="has no page in HTML"):
        is_mirror(b"", tmp_path / "copy")
    (page / "index.json").write_text('{"files": []}')
    with pytest.raises(measure.Failed, match=f"the page of {wheels[0].project} does not lead to "):
        is_mirror(b"", tmp_path / "copy")
    (page / "index.json").unlink()
    with pytest.raises(measure.Failed, match="has no page in JSON"):
        is_mirror(b"", tmp_path / "copy")
    is_mirror(b"", tmp_path / "made")


# ------------------------------------------------------------------------------------------ million.py, simulated.py


def test_a_simulated_index_is_mirrored(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    printed = printed_by(
        "million.py", "--quick", "--projects", "3", "--files", "5", "--to", str(tmp_path), "--report", str(report)
    )

    assert "### 15 files" in printed
    # The list of projects, their pages, their files; a run that finds nothing new asks for no file.
    counted = re.findall(r"^\| [\d.]+ \| [\d.]+ \| [\d.]+ \| \d+ \| (\d+) \| (\d+) \|$", printed, re.MULTILINE)
    assert counted == [("19", "0"), ("4", "4")]
    assert re.search(r"^\| 15 \| ", printed, re.MULTILINE)
    assert report.read_text().startswith("<!doctype html>")
    assert list(tmp_path.iterdir()) == [report]


def test_a_simulated_wheel_is_right(tmp_path: Path) -> None:
    file = simulated.simulated_file(7, 42)
    path = tmp_path / file.filename
    path.write_bytes(file.body)

    wheel = corpus.wheel_at(path)
    assert (wheel.pin, wheel.metadata, wheel.requires_python) == ("sim-0000007==1.42", file.metadata, ">=3.8")
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        name, digest, size = archive.read(archive.namelist()[-1]).decode().splitlines()[0].split(",")
        recorded = base64.urlsafe_b64decode(digest.removeprefix("sha256=") + "=")
        assert (hashlib.sha256(archive.read(name)).digest(), len(file.metadata)) == (recorded, int(size))


def test_a_simulated_page_tells_of_its_files(tmp_path: Path) -> None:
    with million.simulating(2, 3) as url:
        _, _, root = asked(f"{url}/simple/")
        _, kind, page = asked(f"{url}/simple/sim-0000001/")
        file = json.loads(page)["files"][2]
        _, _, body = asked(urllib.parse.urljoin(f"{url}/simple/sim-0000001/", file["url"]))
        with pytest.raises(urllib.error.HTTPError, match="404"):
            asked(f"{url}/simple/sim-0000002/")
        told = million.counts(url)

    assert [one["name"] for one in json.loads(root)["projects"]] == ["sim-0000000", "sim-0000001"]
    assert (kind, len(json.loads(page)["files"])) == (server.JSON_TYPE, 3)
    assert (file["hashes"]["sha256"], file["size"]) == (hashlib.sha256(body).hexdigest(), len(body))
    assert (told["requests"], told["pages"], told["files"]) == (4, 2, 1)


def test_parts_of_a_run() -> None:
    looks = [million.Sample(float(second), 100 * second, second * MIB, second / 2) for second in range(11)]

    assert million.steps(looks, 2) == [
        million.Step(500, 5.0, 5 * MIB, rate=100.0, cpu=0.005),
        million.Step(1000, 10.0, 10 * MIB, rate=100.0, cpu=0.005),
    ]


def test_a_disk_that_is_too_small(tmp_path: Path) -> None:
    million.make_room(tmp_path, 1)
    with pytest.raises(measure.Failed, match="has room for "):
        million.make_room(tmp_path, 1 << 60)


# ----------------------------------------------------------------------------------------------------------- measure.py


def timed(*walls: float) -> list[Any]:
    return [measure.Run(wall, cpu=wall / 2, memory=50 * MIB, requests=12, bytes=3 * MIB) for wall in walls]


def test_medians_and_ratios(capsys: pytest.CaptureFixture[str]) -> None:
    measure.print_table("title", {"fetcher": timed(1, 2, 6), "uv": timed(2, 2, 2), "nab": timed(1, 1, 3)})

    printed = capsys.readouterr().out
    assert "### title" in printed
    assert rows(printed)["fetcher"] == ["2.00", "1.00", "50", "12", "3.0", ""]
    assert rows(printed)["uv"] == ["2.00", "1.00", "50", "12", "3.0", "1.00 (0.50–3.00)"]
    assert rows(printed)["nab"][-1] == "2.00 (1.00–2.00)"


def test_a_table_without_us_has_no_ratios(capsys: pytest.CaptureFixture[str]) -> None:
    measure.print_table("title", {"uv": timed(2), "nab": timed(1)}, [measure.Missing("fetcher", "it has no cache")])

    printed = capsys.readouterr().out
    assert (rows(printed)["uv"][-1], rows(printed)["nab"][-1]) == ("", "")
    assert "missing: fetcher: it has no cache" in printed


def test_a_failed_peer_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    measure.print_table("title", {"fetcher": timed(1), "uv": measure.Failed("it ended with 2: no index\nand more")})

    printed = capsys.readouterr().out
    assert rows(printed)["uv"] == ["failed", "", "", "", "", ""]
    assert printed.endswith("failed: uv: it ended with 2: no index\n")


def contestant(name: str, code: str) -> Any:
    return measure.Contestant(name, [sys.executable, "-c", code], lambda _, __: None)


@pytest.fixture
def idle(tmp_path: Path) -> Any:
    """A server that nobody asks."""
    log = tmp_path / "access.log"
    log.touch()
    return server.Server("http://127.0.0.1:9", "idle", log)


def test_contestants_run_in_turn(idle: Any, tmp_path: Path) -> None:
    note = f"open({str(tmp_path / 'notes')!r}, 'a').write"
    done = measure.alternate([contestant("fetcher", f"{note}('f')"), contestant("uv", f"{note}('u')")], idle, 2)

    assert (tmp_path / "notes").read_text() == "fufufu"
    assert {name: len(runs) for name, runs in done.items()} == {"fetcher": 2, "uv": 2}
    assert all(run.wall > 0 and run.cpu > 0 and run.memory > MIB and run.requests == 0 for run in done["uv"])


def test_memory_is_that_of_the_contestant(idle: Any) -> None:
    ours = bytearray(300 * MIB)
    assert measure.run_once(contestant("small", ""), idle).memory < len(ours) / 3


def test_a_peer_that_fails_is_left_out(idle: Any) -> None:
    bad = contestant("uv", "import sys; sys.exit('first\\nlast')")
    done = measure.alternate([contestant("fetcher", ""), bad], idle, 1)

    assert len(done["fetcher"]) == 1
    assert str(done["uv"]).startswith("it ended with 1: last\n")


def test_we_must_not_fail(idle: Any) -> None:
    with pytest.raises(measure.Failed, match="fetcher: it ended with 3"):
        measure.alternate([contestant("fetcher", "raise SystemExit(3)")], idle, 1)


def test_settings_of_the_user_stay_outside(idle: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FETCHER_INDEX_X_USERNAME", "PIP_INDEX_URL", "UV_DEFAULT_INDEX", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "mine")
    monkeypatch.setenv("INNOCENT", "kept")
    said: list[bytes] = []
    code = "import os; print([name for name, value in os.environ.items() if value in ('mine', 'kept', 'own')])"
    asked = measure.Contestant(
        "uv", [sys.executable, "-c", code], lambda output, _: said.append(output), {"UV_OWN": "own"}
    )
    measure.run_once(asked, idle)

    assert re.findall("[A-Z_]+", said[0].decode()) == ["INNOCENT", "UV_OWN"]


# ------------------------------------------------------------------------------------------------- server.py, relay.py


def asked(url: str, *, patience: float = 20, **headers: str) -> Any:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=patience) as answer:
        return answer.status, answer.headers["Content-Type"], answer.read()


def test_an_index_is_served(wheels: Sequence[Any], tmp_path: Path) -> None:
    corpus.lay_out(wheels, tmp_path / "site")
    wheel = wheels[0]
    with serving(tmp_path / "site") as index:
        accept = {"Accept": f"{server.JSON_TYPE}, text/html;q=0.1"}
        _, kind, page = asked(f"{index.url}/simple/{wheel.project}/", **accept)
        assert (kind, str(wheel.size).encode() in page) == (server.JSON_TYPE, True)
        for url in (f"{index.url}/simple/{wheel.project}/", f"{index.url}/html/{wheel.project}/"):
            assert asked(url)[1].startswith("text/html")
        assert asked(f"{index.url}/html/{wheel.project}/", **accept)[1].startswith("text/html")
        index.forget()
        status, _, tail = asked(f"{index.url}/files/{wheel.path.name}", Range="bytes=-100")
        assert (status, tail) == (206, wheel.path.read_bytes()[-100:])
        assert index.count() == (1, 100)


def test_a_server_without_ranges_that_is_far_away(wheels: Sequence[Any], tmp_path: Path) -> None:
    corpus.lay_out(wheels, tmp_path / "site")
    with serving(tmp_path / "site", latency=0.05, ranges=False) as index:
        status, _, body = asked(f"{index.url}/files/{wheels[0].path.name}", Range="bytes=-100")
    assert (status, body) == (200, wheels[0].path.read_bytes())


def test_a_server_that_is_further_away_than_anybody_waits(wheels: Sequence[Any], tmp_path: Path) -> None:
    corpus.lay_out(wheels, tmp_path / "site")
    with serving(tmp_path / "site", latency=600) as index, pytest.raises(TimeoutError):
        asked(f"{index.url}/files/{wheels[0].path.name}", patience=0.2)


@contextmanager
def relaying(target: int, latency: float, rate: int) -> Iterator[int]:
    (port,) = server.free_ports(1)
    with start("relay.py", str(port), str(target), str(latency), str(rate)) as relay:
        try:
            yield port
        finally:
            relay.terminate()


@asynccontextmanager
async def far(sent: bytes, latency: float, rate: int) -> AsyncIterator[asyncio.StreamReader]:
    """What comes through a relay from a server that sends this once it is asked, as it has been."""
    ended = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readline() == b"please\n":
            writer.write(sent)
        await closed(writer)
        ended.set()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as target:
        with relaying(target.sockets[0].getsockname()[1], latency, rate) as port:
            reader, writer = await connected(port)
            writer.write(b"please\n")
            yield reader
        await ended.wait()
        await closed(writer)


@pytest.mark.parametrize(("latency", "rate"), [(0.0, 0), (0.05, 0), (0.0, 1_000_000)])
async def test_what_is_sent_through_a_relay_comes_whole(latency: float, rate: int) -> None:
    sent = os.urandom(100_000)
    async with far(sent, latency, rate) as reader:
        assert await reader.read() == sent


async def test_a_relay_that_is_further_away_than_anybody_waits() -> None:
    async with far(b"never", latency=600, rate=0) as reader:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readexactly(1), 0.2)


async def test_a_relay_lets_no_more_through_than_its_rate() -> None:
    """1,000 bytes a second come in steps of ten: the end of 100,000 is not waited for."""
    sent = os.urandom(100_000)
    async with far(sent, latency=0, rate=1000) as reader:
        assert await reader.readexactly(10) == sent[:10]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readexactly(len(sent) - 10), 0.2)


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):  # the relay may have gone before
        await writer.wait_closed()


async def connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a program that has just been started."""
    while True:
        with suppress(ConnectionRefusedError):
            return await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(0.01)


# ------------------------------------------------------------------------------------------------------------ corpus.py


def test_generated_wheels(tmp_path: Path) -> None:
    first, again = (corpus.generate_wheels(tmp_path / name, PROJECTS) for name in ("first", "again"))

    assert [wheel.sha256 for wheel in first] == [wheel.sha256 for wheel in again]
    assert len({wheel.project for wheel in first}) == PROJECTS
    for wheel in first:
        assert wheel.metadata.startswith(f"Metadata-Version: 2.1\nName: {wheel.project}\nVersion: 1.0\n".encode())
        assert zipfile.ZipFile(wheel.path).testzip() is None
    assert [(wheel.pin, wheel.path) for wheel in corpus.find_wheels([tmp_path / "first"])] == [
        (wheel.pin, wheel.path) for wheel in sorted(first)
    ]


def test_wheels_of_an_index_whose_links_lead_out(wheels: Sequence[Any], tmp_path: Path) -> None:
    corpus.lay_out(wheels, tmp_path)

    assert corpus.find_wheels([tmp_path / "simple"]) == sorted(wheels)
    assert {wheel.path.parent for wheel in corpus.find_wheels([tmp_path / "simple"])} == {tmp_path / "files"}


def test_the_newest_wheel_that_can_be_installed(tmp_path: Path) -> None:
    names = ["a-1.0-py3-none-any.whl", "a-1.10-py3-none-any.whl", "a-1.9-py3-none-any.whl", "a-2.0-py3-none-moon.whl"]
    for name in [*names, "nonsense.whl"]:
        (tmp_path / name).touch()

    assert [wheel.pin for wheel in corpus.find_wheels([tmp_path])] == ["a==1.10"]
