"""`fetcher prefetch` as its users meet it: what is in the mirror, what it cost, what is said; and what goes wrong."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from fake_answers import Resource, etag_of
from fake_faults import ChangedFile, HangUp, LoginPage, SlowDrip, Status
from fake_index import FakeIndex, Guard, basic
from fake_sdists import make_sdist, members_of, pkg_info
from fake_wheels import make_wheel, wheel_filename
from mirror_checks import dangling, identities, listed, mirrored, page, problems, snapshot
from real_servers import uv_command
from web_server import serving

import fetcher as fetcher_package
from fetcher.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECRET = "S3CR3T"
PLATFORMS = ("cp311-cp311-manylinux_2_17_x86_64", "cp312-cp312-manylinux_2_17_x86_64", "cp311-cp311-win_amd64")


@dataclass(frozen=True)
class Done:
    code: int
    stdout: str
    stderr: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stdout.splitlines()]


def wheel(name: str, version: str, *requires: str, tag: str = "py3-none-any", **how: Any) -> dict[str, bytes]:
    """A wheel that depends on just that, by its file name."""
    lines = "".join(f"Requires-Dist: {one}\n" for one in requires)
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Python: >=3.8\n{lines}\n"
    return {wheel_filename(name, version, tag=tag): make_wheel(name, version, metadata=metadata, tag=tag, **how)}


def sdist(name: str, version: str, **how: Any) -> dict[str, bytes]:
    top = f"{name}-{version}"
    return {f"{top}.tar.gz": make_sdist(members=members_of(pkg_info(name, version, **how), top=top))}


def environment(home: Path, **more: str) -> dict[str, str]:
    return {"NETRC": os.devnull, "HOME": str(home), **more}


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """`fetcher prefetch` in this process, beside the event loop that serves the fake index."""
    logger = logging.getLogger("fetcher")
    handlers, level = logger.handlers[:], logger.level

    def here(arguments: list[str], stdin: str | None, environ: dict[str, str]) -> Done:
        done = CliRunner(env=environment(tmp_path, **environ)).invoke(main, arguments, input=stdin)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert "Traceback" not in done.output
        return Done(done.exit_code, done.stdout, done.stderr)

    async def run(index: FakeIndex | str, to: Path | str, *arguments: object, stdin: str = "", **environ: str) -> Done:
        url = index if isinstance(index, str) else index.url
        given = ["prefetch", *map(str, arguments), "--to", str(to), "--index-url", url, "--no-config"]
        return await asyncio.to_thread(here, given, stdin, environ)

    yield run
    logger.handlers[:] = handlers
    logger.setLevel(level)


@dataclass(frozen=True)
class Process:
    """`fetcher prefetch` in a process of its own, that can be killed."""

    process: subprocess.Popen[str]

    @property
    def runs(self) -> bool:
        return self.process.poll() is None

    async def until(self, sign: Callable[[], bool]) -> None:
        """Wait until there is a sign of how far it has come."""
        began = time.monotonic()
        while not sign():
            assert self.runs, self.process.communicate()
            assert time.monotonic() - began < 20
            await asyncio.sleep(0.002)

    async def end(self, how: signal.Signals | None = None) -> Done:
        if how is not None:
            self.process.send_signal(how)
        stdout, stderr = await asyncio.to_thread(self.process.communicate, timeout=30)
        return Done(self.process.returncode, stdout, stderr)


@contextmanager
def started(index: FakeIndex, to: Path, *arguments: str) -> Iterator[Process]:
    command = [sys.executable, "-m", "fetcher", "prefetch", *arguments, "--to", str(to), "--index-url", index.url]
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "FETCHER_NO_CACHE") if name in os.environ}
    environ = environment(to.parent, PYTHONPATH=str(Path(fetcher_package.__file__).parents[1]), **kept)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    with subprocess.Popen([*command, "--no-config"], env=environ, text=True, **pipes) as process:
        try:
            yield Process(process)
        finally:
            process.kill()


A, B = wheel_filename("a", "1.0"), wheel_filename("b", "1.0")
SLOW = wheel_filename("slow", "1.0")


# ------------------------------------------------------------------------------------------------------- what is chosen


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["a"], ["2.0"]),
        (["a==1.0"], ["1.0"]),
        (["a>=1,<2"], ["1.1"]),
        (["a==3.0.dev1"], ["3.0.dev1"]),
        (["a", "--latest", "2"], ["1.1", "2.0"]),
        (["a==1.*", "--latest", "5"], ["1.0", "1.1"]),
        (["a", "--all-versions"], ["1.0", "1.1", "2.0", "2.0rc1", "3.0.dev1"]),
        (["a<2", "--all-versions"], ["1.0", "1.1"]),
        (["a==1.0", "a>=2"], ["1.0", "2.0"]),
        (['a; python_version < "3"'], []),
        (["--all", "--latest", "1"], ["2.0"]),
    ],
)
async def test_versions(run: Any, dest: Path, arguments: list[str], expected: list[str]) -> None:
    files = {name: data for v in ("1.0", "1.1", "2.0rc1", "2.0", "3.0.dev1") for name, data in wheel("a", v).items()}
    async with FakeIndex(wheels=files) as index:
        assert (await run(index, dest, *arguments)).code == 0
    assert mirrored(dest) == [wheel_filename("a", version) for version in expected]
    assert problems(dest) == []


@pytest.mark.parametrize(
    ("arguments", "wheels", "sdists"),
    [
        (["--python-version", "3.12", "--platform", "manylinux_2_17_x86_64"], [1], 0),
        (["--python-version", "3.11", "--platform", "win_amd64"], [2], 0),
        (["--python-version", "3.11", "--platform", "win_amd64", "--platform", "manylinux_2_17_x86_64"], [0, 2], 0),
        (["--python-version", "3.11", "--python-version", "3.12", "--platform", "manylinux_2_17_x86_64"], [0, 1], 0),
        (["--python-version", "3.13", "--platform", "win_amd64"], [], 1),
        (["--all-platforms"], [0, 1, 2], 1),
        (["--all-platforms", "--only-binary", ":all:"], [0, 1, 2], 0),
        (["--no-binary", "c"], [], 1),
        (["--python-version", "3.12", "--platform", "manylinux_2_17_x86_64", "--sdists"], [1], 1),
        (["--python-version", "3.12", "--platform", "manylinux_2_17_x86_64", "--abi", "cp312"], [1], 0),
    ],
)
async def test_platforms(run: Any, dest: Path, arguments: list[str], wheels: list[int], sdists: int) -> None:
    files = {name: data for tag in PLATFORMS for name, data in wheel("c", "1.0", tag=tag).items()} | sdist("c", "1.0")
    async with FakeIndex(wheels=files) as index:
        assert (await run(index, dest, "c", *arguments)).code == 0
    expected = [wheel_filename("c", "1.0", tag=PLATFORMS[number]) for number in wheels] + ["c-1.0.tar.gz"] * sdists
    assert mirrored(dest) == sorted(expected)


async def test_since(run: Any, dest: Path) -> None:
    old, new = wheel_filename("a", "1.0"), wheel_filename("a", "2.0")
    says = {old: {"upload-time": "2023-04-01T00:00:00Z"}, new: {"upload-time": "2024-04-01T00:00:00Z"}}
    async with FakeIndex(wheels=wheel("a", "1.0") | wheel("a", "2.0"), says=says) as index:
        assert (await run(index, dest, "a", "--since", "2024-01-01")).code == 0
    assert mirrored(dest) == [new]


async def test_whole_index_passes_over_what_is_not_admitted(run: Any, dest: Path) -> None:
    """Nobody asked for that project by its name."""
    async with FakeIndex(wheels=wheel("a", "1.0") | sdist("only", "1.0")) as index:
        done = await run(index, dest, "--all", "--only-binary", ":all:")
    assert mirrored(dest) == [A]
    assert done.code == 0


async def test_requirements_with_hashes_from_stdin(run: Any, dest: Path) -> None:
    files = wheel("a", "1.0") | wheel("a", "2.0")
    digest = hashlib.sha256(files[A]).hexdigest()
    async with FakeIndex(wheels=files) as index:
        assert (await run(index, dest, "-", stdin=f"a --hash=sha256:{digest}\n")).code == 0
        assert mirrored(dest) == [A]
        done = await run(index, dest / "other", "-", stdin=f"a==1.0 --hash=sha256:{'0' * 64}\n")
    assert done.code != 0
    assert "sha256" in done.stderr
    assert "this platform" not in done.stderr


async def test_constraints(run: Any, dest: Path, tmp_path: Path) -> None:
    (tmp_path / "constraints.txt").write_text("a<2\n")
    (tmp_path / "requirements.txt").write_text("-c constraints.txt\na\n")
    async with FakeIndex(wheels=wheel("a", "1.0") | wheel("a", "2.0")) as index:
        assert (await run(index, dest, "-r", tmp_path / "requirements.txt")).code == 0
    assert mirrored(dest) == [A]


async def test_url_with_and_without_digest(run: Any, dest: Path) -> None:
    files = wheel("a", "1.0")
    digest = hashlib.sha256(files[A]).hexdigest()
    async with FakeIndex(wheels=files) as index:
        for number, tail in enumerate(["", f"#sha256={digest}"]):
            assert (await run(index, dest / str(number), f"{index.files_url}/{A}{tail}")).code == 0
            assert problems(dest / str(number)) == []
        assert (await run(index, dest / "wrong", f"{index.files_url}/{A}#sha256={'0' * 64}")).code == 5
    assert mirrored(dest / "wrong") == []


@pytest.mark.parametrize("lock", ["pylock.toml", "uv.lock"])
async def test_locks(run: Any, dest: Path, tmp_path: Path, lock: str) -> None:
    files = {name: data for tag in PLATFORMS for name, data in wheel("c", "1.0", tag=tag).items()}
    async with FakeIndex(wheels=files) as index:
        (tmp_path / lock).write_text(_pylock(index) if lock == "pylock.toml" else _uv_lock(index))
        narrowed = ["--python-version", "3.12", "--platform", "manylinux_2_17_x86_64"]
        assert (await run(index, dest / "one", "-r", tmp_path / lock, *narrowed)).code == 0
        assert (await run(index, dest / "all", tmp_path / lock, "--all-platforms")).code == 0
        assert not index.select("/simple/*")
    assert mirrored(dest / "one") == [wheel_filename("c", "1.0", tag=PLATFORMS[1])]
    assert mirrored(dest / "all") == sorted(files)
    assert problems(dest / "all") == []


def _pylock(index: FakeIndex) -> str:
    head = 'lock-version = "1.0"\ncreated-by = "test"\n[[packages]]\nname = "c"\nversion = "1.0"\n'
    tables = (
        f'[[packages.wheels]]\nname = "{name}"\nurl = "{index.files_url}/{name}"\n'
        f'hashes = {{sha256 = "{hashlib.sha256(data).hexdigest()}"}}\n'
        for name, data in index.wheels.items()
        if isinstance(data, bytes)
    )
    return head + "".join(tables)


def _uv_lock(index: FakeIndex) -> str:
    wheels = ", ".join(
        f'{{ url = "{index.files_url}/{name}", hash = "sha256:{hashlib.sha256(data).hexdigest()}" }}'
        for name, data in index.wheels.items()
        if isinstance(data, bytes)
    )
    return (
        'version = 1\nrevision = 3\nrequires-python = ">=3.11"\n'
        f'[[package]]\nname = "c"\nversion = "1.0"\nsource = {{ registry = "{index.url}" }}\nwheels = [{wheels}]\n'
        '[[package]]\nname = "own"\nversion = "0"\nsource = { virtual = "." }\ndependencies = [{ name = "c" }]\n'
    )


# --------------------------------------------------------------------------------------------------------- dependencies


async def test_dependencies_by_extras_markers_and_targets(run: Any, dest: Path) -> None:
    files = wheel("top", "1.0", "mid[x]", 'win; sys_platform == "win32"', 'old; python_version < "3.10"')
    files |= wheel("mid", "1.0", 'leaf; extra == "x"', 'never; extra == "y"', "top")
    files |= wheel("leaf", "1.0") | wheel("win", "1.0") | wheel("old", "1.0") | wheel("never", "1.0")
    targets = ["--python-version", "3.12", "--platform", "win_amd64"]
    async with FakeIndex(wheels=files) as index:
        assert (await run(index, dest, "top", "--with-dependencies", *targets)).code == 0
    assert mirrored(dest) == [wheel_filename(name, "1.0") for name in ("leaf", "mid", "top", "win")]


async def test_project_that_many_want_differently(run: Any, dest: Path) -> None:
    """What is wanted while a project has its turn is no second turn beside it."""
    files = wheel("top", "1.0", *(f"u{n}" for n in range(8)))
    files |= {name: data for v in ("1.0", "2.0", "3.0", "5.0") for name, data in wheel("w", v).items()}
    files |= {name: data for n in range(8) for name, data in wheel(f"u{n}", "1.0", f"w<{n % 5 + 2}").items()}
    async with FakeIndex(wheels=files) as index:
        for number in range(4):
            mirror = dest / str(number)
            done = await run(index, mirror, "top", "--with-dependencies")
            assert (done.code, problems(mirror)) == (0, []), done.stderr
            assert listed(mirror, "w") == [wheel_filename("w", v) for v in ("1.0", "2.0", "3.0", "5.0")]
            assert f"{len(mirrored(mirror))} files" in done.stderr


async def test_what_requirements_of_one_project_have_in_common(run: Any, dest: Path) -> None:
    files = wheel("x", "1.0", "n!=3.0,!=1.5") | wheel("y", "1.0", "n<3,!=2.0")
    files |= {name: data for v in ("1.0", "1.5", "2.0", "3.0") for name, data in wheel("n", v).items()}
    async with FakeIndex(wheels=files) as index:
        assert (await run(index, dest, "x", "y", "--with-dependencies")).code == 0
    assert wheel_filename("n", "1.0") in listed(dest, "n")


async def test_dependencies_that_cannot_be_known_are_said_and_not_removed(run: Any, dest: Path) -> None:
    files = wheel("a", "1.0", "b") | wheel("b", "1.0")
    async with FakeIndex(wheels=files) as index:
        await run(index, dest, "a", "--with-dependencies")
        files[wheel_filename("a", "1.1")] = b"PK\x03\x04 no directory"
        await run(index, dest, "a", "--with-dependencies", "--delete", "--max-delete", "100")
    assert B in mirrored(dest)


async def test_sdist_whose_dependencies_are_dynamic_is_warned_of(run: Any, dest: Path) -> None:
    async with FakeIndex(wheels=sdist("s", "1.0", more="Dynamic: Requires-Dist\n")) as index:
        done = await run(index, dest, "s", "--with-dependencies")
    assert mirrored(dest) == ["s-1.0.tar.gz"]
    assert "s-1.0.tar.gz" in done.stderr


# ------------------------------------------------------------------------------------------------------------- the tree

FACES: dict[str, dict[str, Any]] = {
    "JSON": {},
    "HTML": {"page_format": "html"},
    "HTML without digests": {"page_format": "html", "hashes": "none"},
    "sizes only": {"hashes": "none"},
    "no sizes": {"sizes": False},
    "sidecars": {"sidecar": "hash"},
    "wrong sidecars": {"sidecar": "wheel_hash"},
    "absolute links": {"href": "absolute"},
    "as devpi": {"pages": "/root/x/+simple", "files": "/root/base/+f"},
}


async def test_mirror_does_not_depend_on_the_face_of_the_index(run: Any, dest: Path) -> None:
    files = wheel("a", "1.0", "b") | wheel("a", "1.1+local.1", size=300_000) | wheel("b", "1.0") | sdist("b", "1.0")
    files |= wheel("Foo_Bar.Baz", "1.0")
    trees = {}
    for name, how in FACES.items():
        async with FakeIndex(wheels=files, **how) as index:
            assert (await run(index, dest / name, "--all")).code == 0
        trees[name] = snapshot(dest / name)
        assert problems(dest / name) == []
    assert {name for name, tree in trees.items() if tree != trees["JSON"]} == set()


async def test_order_of_sources_does_not_matter(run: Any, dest: Path) -> None:
    files = wheel("a", "1.0") | wheel("a", "2.0") | wheel("b", "1.0")
    async with FakeIndex(wheels=files) as index:
        await run(index, dest / "1", "a", "b", "a==1.0")
        await run(index, dest / "2", "a==1.0", "b", "a")
    assert snapshot(dest / "1") == snapshot(dest / "2")


async def test_only_a_weak_digest_is_still_checked(run: Any, dest: Path) -> None:
    files = wheel("a", "1.0")
    for said, code in ((hashlib.md5(files[A]).hexdigest(), 0), ("0" * 32, 5)):
        async with FakeIndex(wheels=files, says={A: {"hashes": {"md5": said}}}) as index:
            assert (await run(index, dest / said, "a")).code == code
        assert problems(dest / said) == []


async def test_what_the_index_says_is_kept_and_escaped(run: Any, dest: Path) -> None:
    reason = 'a <b>"bad"</b> & broken build'
    says = {A: {"yanked": reason, "requires-python": '>=3.8,<"4"', "upload-time": "2024-01-02T03:04:05.678901Z"}}
    async with FakeIndex(wheels=wheel("a", "1.0"), says=says) as index:
        await run(index, dest, "a==1.0")
    (file,) = page(dest, "a")["files"]
    assert {key: file[key] for key in says[A]} == says[A]
    html = (dest / "simple/a/index.html").read_text()
    assert "<b>" not in html
    assert "&lt;b&gt;&quot;bad&quot;" in html
    assert problems(dest) == []


class Attested(FakeIndex):
    """Each file has attestations (PEP 740)."""

    body = b'{"version": 1, "attestation_bundles": []}'

    def find(self, path: str, *, base: str, anonymous: bool) -> Resource | None:
        if path.startswith("/provenance/"):
            return Resource(self.body, "application/vnd.pypi.integrity.v1+json", etag_of(self.body))
        return super().find(path, base=base, anonymous=anonymous)

    def _file_object(self, name: str, link: str) -> dict[str, Any]:
        return {**super()._file_object(name, link), "provenance": f"{self.base}/provenance/{name}"}


async def test_attestations_come_once_they_can(run: Any, dest: Path) -> None:
    async with Attested(wheels=wheel("a", "1.0"), faults={"/provenance/*": Status(503)}) as index:
        await run(index, dest, "a", "--retries", "0")
        assert "provenance" not in page(dest, "a")["files"][0]
        index.faults = {}
        assert (await run(index, dest, "a")).code == 0
    assert "provenance" in page(dest, "a")["files"][0]
    assert problems(dest) == []


async def test_mirror_of_a_mirror(run: Any, dest: Path) -> None:
    async with FakeIndex(wheels=wheel("a", "1.0", "b") | wheel("b", "1.0") | sdist("b", "1.0")) as index:
        await run(index, dest / "first", "--all")
    with serving(dest / "first") as server:
        assert (await run(f"{server.url}/simple", dest / "second", "--all")).code == 0
    assert snapshot(dest / "first") == snapshot(dest / "second")


async def test_names_from_the_network_stay_inside(run: Any, dest: Path) -> None:
    evil = {"../../evil-1.0-py3-none-any.whl": b"PK", "..-1.0-py3-none-any.whl": make_wheel()}
    async with FakeIndex(wheels=wheel("a", "1.0") | evil) as index:
        await run(index, dest, "--all")
    assert mirrored(dest) == [A]
    assert [path.name for path in dest.parent.iterdir()] == [dest.name]


# -------------------------------------------------------------------------------------------------------------- updates


async def test_nothing_new_costs_a_conditional_request_a_project(run: Any, dest: Path) -> None:
    names = "abcdef"
    async with FakeIndex(wheels={k: v for name in names for k, v in wheel(name, "1.0").items()}) as index:
        await run(index, dest, *names, FETCHER_NO_CACHE="")
        before, requests = identities(dest), index.requests
        done = await run(index, dest, *names, FETCHER_NO_CACHE="")
        again = index.log[requests:]
    assert done.code == 0
    assert "6 already there" in done.stderr
    assert sorted((wire.path, wire.status, wire.body_bytes) for wire in again) == [
        (f"/simple/{name}/", 304, 0) for name in names
    ]
    assert identities(dest) == before


async def test_only_what_changed_is_written(run: Any, dest: Path) -> None:
    files = wheel("a", "1.0") | wheel("b", "1.0")
    async with FakeIndex(wheels=files) as index:
        await run(index, dest, "--all")
        before = identities(dest)
        index.says = {B: {"yanked": "broken"}}
        await run(index, dest, "--all")
        changed = {name for name, identity in identities(dest).items() if identity != before.get(name)}
        assert changed == {"simple/b/index.html", "simple/b/index.json"}
        assert page(dest, "b")["files"][0]["yanked"] == "broken"
        index.says = {}
        await run(index, dest, "--all")
    assert page(dest, "b")["files"][0]["yanked"] is False


async def test_file_replaced_under_its_name(run: Any, dest: Path) -> None:
    files = wheel("a", "1.0")
    async with FakeIndex(wheels=files) as index:
        await run(index, dest, "a")
        files |= wheel("a", "1.0", "b", seed=3, size=5000)
        assert (await run(index, dest, "a")).code == 0
        assert problems(dest) == []
        assert page(dest, "a")["files"][0]["size"] == len(files[A])


class Behind(FakeIndex):
    """Its page is of before for the first time it is asked."""

    asked = 0

    def _list_files(self, project: str, links: Any) -> Resource:
        self.asked += 1
        if self.asked > 1:
            self.wheels = NEWER
        return super()._list_files(project, links)


NEWER = wheel("a", "1.0", seed=9, size=9000)


@pytest.mark.parametrize("how", [{}, {"sizes": False}], ids=["sizes", "no sizes"])
async def test_page_is_read_again_where_the_file_is_another(run: Any, dest: Path, how: dict[str, Any]) -> None:
    async with Behind(wheels=wheel("a", "1.0"), faults={"*.whl": ChangedFile(NEWER[A], after=0)}, **how) as index:
        done = await run(index, dest, "a")
        assert index.paths.count("/simple/a/") == 2
    assert (done.code, problems(dest)) == (0, []), done.stderr


async def test_what_others_asked_for_stays(run: Any, dest: Path) -> None:
    async with FakeIndex(wheels=wheel("a", "1.0") | wheel("b", "1.0")) as index:
        await run(index, dest, "a")
        await run(index, dest, "b")
    assert mirrored(dest) == [A, B]


@pytest.mark.parametrize("lost", ["files", "simple/a/index.html", "simple/a/index.json"])
async def test_what_is_missing_is_seen(run: Any, dest: Path, lost: str) -> None:
    async with FakeIndex(wheels=wheel("a", "1.0")) as index:
        await run(index, dest, "a")
        before = snapshot(dest)
        path = next((dest / lost).rglob("*.whl")) if lost == "files" else dest / lost
        path.unlink()
        assert (await run(index, dest, "a")).code == 0
    assert snapshot(dest) == before


# ------------------------------------------------------------------------------------------------------------- removing

DOWN = [Status(500), Status(403), Status(404), LoginPage(), HangUp(), Status(200, body="empty")]
ALL_MAY_GO = ["--delete", "--max-delete", "100", "--retries", "0"]


async def test_delete_removes_what_the_index_dropped(run: Any, dest: Path) -> None:
    files = wheel("a", "1.0") | wheel("a", "2.0") | wheel("b", "1.0")
    async with FakeIndex(wheels=files) as index:
        await run(index, dest, "--all")
        del files[A], files[B]
        assert (await run(index, dest, "--all")).code == 0
        assert len(mirrored(dest)) == 3
        done = await run(index, dest, "--all", "--delete")
        assert done.code != 0
        assert "nothing is removed" in done.stderr
        assert len(mirrored(dest)) == 3
        assert (await run(index, dest, "--all", *ALL_MAY_GO)).code == 0
    assert mirrored(dest) == [wheel_filename("a", "2.0")]
    assert not (dest / "simple/b").exists()
    assert problems(dest) == []


@pytest.mark.parametrize("fault", DOWN, ids=lambda fault: f"{type(fault).__name__} {getattr(fault, 'code', '')}")
async def test_a_failure_removes_nothing(run: Any, dest: Path, fault: Any) -> None:
    files = wheel("a", "1.0", "b") | wheel("b", "1.0", "c") | wheel("c", "1.0")
    async with FakeIndex(wheels=files) as index:
        await run(index, dest, "a", "--with-dependencies")
        before = identities(dest)
        for pattern in ("/simple/*", "/simple/a/", "/simple/b/"):
            index.faults = {pattern: fault}
            for what in (["--all"], ["a", "--with-dependencies"]):
                if what == ["--all"] and pattern != "/simple/*" and fault == Status(404):
                    continue  # listed a moment ago, and gone: dropped
                assert (await run(index, dest, *what, *ALL_MAY_GO)).code != 0
                assert identities(dest) == before
        index.faults = {}
        assert (await run(index, dest, "a", "--with-dependencies", *ALL_MAY_GO)).code == 0
        assert identities(dest) == before


async def test_dry_run_does_nothing(run: Any, dest: Path) -> None:
    files = wheel("a", "1.0") | wheel("b", "1.0")
    async with FakeIndex(wheels=files) as index:
        await run(index, dest, "a")
        before = identities(dest)
        done = await run(index, dest, "b", "--delete", "--max-delete", "100", "--dry-run")
        assert not index.select(B)
    assert identities(dest) == before
    assert A in done.stdout + done.stderr
    assert B in done.stdout + done.stderr


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
async def test_dropped_by_a_run_that_was_stopped_and_wanted_again(run: Any, dest: Path, how: signal.Signals) -> None:
    """Replaced upstream, the run stopped before its end, and upstream as it was before: the file stays."""
    files, replaced = wheel("a", "1.0"), wheel("a", "1.0", seed=3, size=5000)
    slow = wheel("slow", "1.0", size=2_000_000)
    async with FakeIndex(wheels=files) as index:
        await run(index, dest, "a")
        index.wheels, index.faults = replaced | slow, {SLOW: SlowDrip(100_000)}
        with started(index, dest, "a", "slow") as process:
            await process.until(lambda: page(dest, "a")["files"][0]["size"] == len(replaced[A]))
            await asyncio.sleep(0.7)  # the manifest is written every half second
            await process.end(how)
        index.wheels, index.faults = files | slow, {}
        assert (await run(index, dest, "a", "slow")).code == 0
    assert problems(dest) == []


async def test_page_written_by_a_run_that_was_killed(run: Any, dest: Path) -> None:
    """Yanked, killed as soon as the page says so, unyanked: the page follows."""
    files = wheel("a", "1.0") | wheel("slow", "1.0", size=2_000_000)
    async with FakeIndex(wheels=files) as index:
        await run(index, dest, "a")
        index.says, index.faults = {A: {"yanked": "oops"}}, {SLOW: SlowDrip(100_000)}
        with started(index, dest, "a", "slow") as process:
            await process.until(lambda: page(dest, "a")["files"][0]["yanked"] == "oops")
            await process.end(signal.SIGKILL)
        index.says, index.faults = {}, {}
        assert (await run(index, dest, "a", "slow")).code == 0
    assert page(dest, "a")["files"][0]["yanked"] is False
    assert problems(dest) == []


async def test_readers_never_see_a_page_whose_files_have_gone(run: Any, dest: Path) -> None:
    files = {name: data for n in range(80) for name, data in wheel(f"p{n}", "1.0").items()}
    async with FakeIndex(wheels=files) as index:
        await run(index, dest, "--all")
        lost: list[str] = []
        for arguments in (["p1", *ALL_MAY_GO], ["--all"]):
            with started(index, dest, *arguments) as process:
                while process.runs and not lost:
                    lost = await asyncio.to_thread(dangling, dest)
                assert (await process.end()).code == 0
            assert lost == []
    assert problems(dest) == []


@pytest.fixture
def obstruct(dest: Path) -> Callable[[str], None]:
    """What is there cannot be removed any more, and a removal ends there."""

    def obstruct(name: str) -> None:
        (dest / name).unlink()
        (dest / name).mkdir()
        (dest / name / "something").touch()

    return obstruct


async def test_pages_go_before_their_files(run: Any, dest: Path, obstruct: Callable[[str], None]) -> None:
    async with FakeIndex(wheels={name: data for p in "abcde" for name, data in wheel(p, "1.0").items()}) as index:
        await run(index, dest, "--all")
        obstruct("simple/c/index.html")
        assert (await run(index, dest, "a", *ALL_MAY_GO)).code == 6
    assert dangling(dest) == []


# ---------------------------------------------------------------------------------------------------------- interrupted


async def test_killed_at_any_moment(run: Any, dest: Path) -> None:
    files = {name: data for n in range(40) for name, data in wheel(f"p{n}", "1.0", size=40_000).items()}
    async with FakeIndex(wheels=files, faults={"*.whl": SlowDrip(400_000)}) as index:
        await run(index, dest / "undisturbed", "--all")
        mirror = dest / "killed"
        for places in (1, 12, 30):
            with started(index, mirror, "--all", "--concurrency", "4") as process:
                await process.until(lambda places=places: len(list(mirror.glob("simple/*/index.html"))) >= places)
                await process.end(signal.SIGKILL)
            assert dangling(mirror) == []
        before = index.requests
        assert (await run(index, mirror, "--all")).code == 0
        assert len([wire for wire in index.log[before:] if wire.path.endswith(".whl")]) < 20
    assert snapshot(mirror) == snapshot(dest / "undisturbed")
    assert _below(mirror / ".fetcher/incoming") == []


async def test_interrupted_by_the_user_and_gone_on(run: Any, dest: Path) -> None:
    files = wheel("a", "1.0") | wheel("slow", "1.0", size=2_000_000)
    async with FakeIndex(wheels=files, faults={SLOW: SlowDrip(100_000)}) as index:
        with started(index, dest, "a", "slow") as process:
            await process.until((dest / "simple/a/index.json").exists)
            done = await process.end(signal.SIGINT)
        assert (done.code, "Traceback" in done.stderr) == (130, False)
        index.faults = {}
        assert (await run(index, dest, "a", "slow")).code == 0
    assert problems(dest) == []


async def test_a_second_run_leaves_the_first_alone(run: Any, dest: Path) -> None:
    files = wheel("a", "1.0") | wheel("slow", "1.0", size=2_000_000)
    async with FakeIndex(wheels=files, faults={SLOW: SlowDrip(500_000)}) as index:
        with started(index, dest, "slow") as process:
            await process.until(lambda: bool(index.select(SLOW)))
            half_written = dest / ".fetcher/incoming/1-1.new"
            half_written.write_bytes(b"a page of the first run")
            second = await run(index, dest, "a")
            assert half_written.exists()
            half_written.unlink()
            assert (await process.end()).code == 0
    assert "another run" in second.stderr or second.code == 0
    assert problems(dest) == []


# ------------------------------------------------------------------------------------------------------ what goes wrong


async def test_one_bad_file_or_project_is_nobody_elses(run: Any, dest: Path) -> None:
    files = {name: data for p in "abcd" for name, data in wheel(p, "1.0").items()}
    faults = {"/simple/b/": Status(500), wheel_filename("c", "1.0"): ChangedFile(b"PK\x03\x04 else", after=0)}
    async with FakeIndex(wheels=files, faults=faults) as index:
        done = await run(index, dest, "--all", "--retries", "0", "--json")
    assert done.code == 1
    assert mirrored(dest) == [A, wheel_filename("d", "1.0")]
    assert {fields["project"] for fields in done.objects if fields["outcome"] == "failed"} == {"b", "c"}
    assert problems(dest) == []


@pytest.mark.parametrize(
    ("fault", "code"), [(Status(404), 4), (Status(500), 4), (Status(401), 3), (LoginPage(), 3), (HangUp(), 4)]
)
@pytest.mark.parametrize("more", [[], ["--delete"]], ids=["", "delete"])
async def test_one_kind_of_failure_is_the_exit_code(
    run: Any, dest: Path, fault: Any, code: int, more: list[str]
) -> None:
    async with FakeIndex(wheels=wheel("a", "1.0"), faults={"/simple/*": fault}) as index:
        done = await run(index, dest, "a", "--retries", "0", *more)
    assert done.code == code
    assert done.stdout == ""


async def test_refusal_to_remove_is_no_failed_file(run: Any, dest: Path) -> None:
    files = wheel("a", "1.0") | wheel("b", "1.0")
    async with FakeIndex(wheels=files) as index:
        await run(index, dest, "--all")
        del files[B]
        done = await run(index, dest, "--all", "--delete")
    assert "1 of 2 files:" not in done.stderr
    assert "1 failed" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["a b c"],
        ["a>>1"],
        ["-r", "no-such-file.txt"],
        ["a", "--latest", "0"],
        ["a", "--all-versions", "--latest", "2"],
        ["a", "--since", "yesterday"],
        ["a", "--python-version", "three"],
        ["a", "--all-platforms", "--platform", "win_amd64"],
        ["a", "--max-delete", "101"],
        ["a", "--max-delete", "nan"],
        ["a", "--per-host", "0"],
        ["ftp://host/a.whl"],
    ],
    ids=" ".join,
)
async def test_bad_input_creates_nothing(run: Any, dest: Path, arguments: list[str]) -> None:
    done = await run("http://127.0.0.1:9/simple", dest, *arguments, "--retries", "0")
    assert done.code == 2
    assert "rror: " in done.stderr
    assert done.stdout == ""
    assert _below(dest.parent) == []


@pytest.mark.parametrize("to", ["", "gs://bucket/x", "http://host/x", "s3:/bucket", "s3://", "~nobody-of-this-name/x"])
async def test_a_place_that_is_none(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str) -> None:
    monkeypatch.chdir(tmp_path)
    async with FakeIndex(wheels=wheel("a", "1.0")) as index:
        done = await run(index, to, "a")
    assert done.code == 2
    assert _below(tmp_path) == []


@pytest.fixture
def site(dest: Path) -> Path:
    dest.mkdir()
    (dest / "index.html").write_text("my site")
    return dest


async def test_what_is_no_mirror_is_left_alone(run: Any, site: Path) -> None:
    async with FakeIndex(wheels=wheel("a", "1.0")) as index:
        await run(index, site, "a")
    assert (site / "index.html").read_text() == "my site"


async def test_a_file_in_the_place_of_the_mirror(run: Any, site: Path) -> None:
    async with FakeIndex(wheels=wheel("a", "1.0")) as index:
        done = await run(index, site / "index.html", "a")
    assert (done.code, (site / "index.html").read_text()) == (6, "my site")


# -------------------------------------------------------------------------------------------------------------- secrets


def _below(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def _files_holding(root: Path, secret: str) -> list[str]:
    return [
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file() and secret.encode() in path.read_bytes()
    ]


@pytest.mark.parametrize("given", ["index", "URL", "direct reference", "wrong"])
async def test_no_secret_anywhere(run: Any, dest: Path, given: str) -> None:
    async with FakeIndex(wheels=wheel("a", "1.0"), auth={"/": Guard((basic("user", SECRET),))}) as index:
        url = f"{index.files_url.replace('://', f'://user:{SECRET}@')}/{A}"
        source = {"index": "a", "URL": url, "direct reference": f"a @ {url}", "wrong": url.replace("user", "other")}[
            given
        ]
        asked = index.url_as(f"user:{SECRET}") if given == "index" else index.url
        done = await run(asked, dest, source, "-vv", FETCHER_NO_CACHE="")
    assert done.code == (3 if given == "wrong" else 0)
    assert SECRET not in done.stdout + done.stderr
    assert _files_holding(dest, SECRET) == []


class Signing(FakeIndex):
    """Its links are signed."""

    def _link(self, name: str, base: str) -> str:
        return f"{super()._link(name, base)}?X-Amz-Signature={SECRET}"


async def test_signatures_are_not_in_the_manifest(run: Any, dest: Path) -> None:
    async with Signing(wheels=wheel("a", "1.0")) as index:
        assert (await run(index, dest, "a")).code == 0
    assert _files_holding(dest, SECRET) == []


# ------------------------------------------------------------------------------------------------------- what is said


async def test_stdout_has_results_only(run: Any, dest: Path) -> None:
    async with FakeIndex(wheels=wheel("a", "1.0") | wheel("b", "1.0")) as index:
        done = await run(index, dest, "a", "b", "nosuch")
    assert done.code == 1
    assert {line.removeprefix(f"{dest}/") for line in done.stdout.splitlines()} == {
        name for name in snapshot(dest) if name.endswith(".whl")
    }
    assert "2 of 3 files" in done.stderr


async def test_json_says_each_file_and_project(run: Any, dest: Path) -> None:
    files = wheel("a", "1.0")
    async with FakeIndex(wheels=files) as index:
        first = (await run(index, dest, "a", "--json", "--quiet")).objects
        second = (await run(index, dest, "a", "--json", "--quiet")).objects
    file = next(fields for fields in first if "filename" in fields)
    assert (file["outcome"], file["filename"], file["size"]) == ("fetched", A, len(files[A]))
    assert file["sha256"] == hashlib.sha256(files[A]).hexdigest()
    assert [fields["outcome"] for fields in second] == ["present", "unchanged"]


# ---------------------------------------------------------------------------------------------------------- installers


def _installers() -> Iterator[Any]:
    pip = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", "install", "--no-cache-dir"]
    yield pytest.param(pip, id="pip")
    if uv := uv_command():
        uv_install = [uv, "--no-config", "--no-cache", "pip", "install", "--python", sys.executable]
        yield pytest.param(uv_install, id="uv")


@pytest.mark.real
@pytest.mark.parametrize("command", list(_installers()))
@pytest.mark.parametrize("over", ["file", "http"])
async def test_installers_take_it(run: Any, dest: Path, tmp_path: Path, command: list[str], over: str) -> None:
    files = (
        wheel("top", "1.0", "mid")
        | wheel("mid", "1.0+local.1", "leaf>=1")
        | wheel("leaf", "2.0")
        | wheel("leaf", "1.0")
    )
    async with FakeIndex(wheels=files, page_format="html") as index:
        assert (await run(index, dest, "top", "--with-dependencies")).code == 0
    with serving(dest) as server:
        url = (dest / "simple").as_uri() if over == "file" else f"{server.url}/simple/"
        done = await asyncio.to_thread(_install, [*command, "--index-url", url, "top"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "target").glob("*.dist-info")} == {
        "top-1.0.dist-info", "mid-1.0+local.1.dist-info", "leaf-2.0.dist-info"
    }  # fmt: skip


def _install(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    return subprocess.run(
        [*command, "--target", str(folder / "target")], env=environ, capture_output=True, text=True, timeout=60
    )


async def test_deadline(run: Any, dest: Path) -> None:
    """What is there by then is listed; what is not has failed, and nothing is removed."""
    files = wheel("a", "1.0") | wheel("slow", "1.0", size=2_000_000)
    async with FakeIndex(wheels=files) as index:
        await run(index, dest, "--all")
        files |= wheel("b", "1.0") | wheel("slow", "2.0", size=2_000_000)
        del files[A]
        index.faults = {wheel_filename("slow", "2.0"): SlowDrip(100_000)}
        done = await run(index, dest, "--all", *ALL_MAY_GO, "--deadline", "1.5")
    assert done.code in (1, 4)
    assert "all that was asked for is not done: the deadline of 1.5 s has passed" in done.stderr
    assert mirrored(dest) == sorted([A, B, SLOW])
    assert problems(dest) == []


async def test_nothing_goes_where_what_is_to_come_cannot_be_had(run: Any, dest: Path) -> None:
    files = wheel("a", "1.0") | wheel("b", "1.0")
    async with FakeIndex(wheels=files) as index:
        await run(index, dest, "--all", "--latest", "1")
        files |= wheel("a", "2.0")
        index.faults = {wheel_filename("a", "2.0"): Status(404)}
        assert (await run(index, dest, "--all", "--latest", "1", *ALL_MAY_GO)).code == 1
        assert mirrored(dest) == [A, B]
        index.faults = {}
        assert (await run(index, dest, "--all", "--latest", "1", *ALL_MAY_GO)).code == 0
        assert mirrored(dest) == [wheel_filename("a", "2.0"), B]


async def test_nothing_goes_where_nobody_knows_its_age(run: Any, dest: Path) -> None:
    said = {name: {"upload-time": "2026-01-02T00:00:00Z"} for name in (A, B)}
    async with FakeIndex(wheels=wheel("a", "1.0") | wheel("b", "1.0"), says=said) as index:
        await run(index, dest, "--all")
        index.says = {A: said[A]}
        assert (await run(index, dest, "--all", "--since", "2026-01-01", *ALL_MAY_GO)).code != 0
    assert mirrored(dest) == [A, B]


async def test_a_page_without_links_may_be_anything(run: Any, dest: Path) -> None:
    async with FakeIndex(wheels=wheel("a", "1.0") | wheel("b", "1.0")) as index:
        await run(index, dest, "--all")
        index.faults = {"/simple/b/": Status(200)}
        done = await run(index, dest, "--all", *ALL_MAY_GO)
    assert done.code == 1
    assert "it names no files, and 1 of them are in the mirror, where they stay" in done.stderr
    assert mirrored(dest) == [A, B]
    assert problems(dest) == []


async def test_a_list_without_projects_empties_nothing(run: Any, dest: Path) -> None:
    async with FakeIndex(wheels=wheel("a", "1.0")) as index:
        await run(index, dest, "--all")
        index.faults = {"/simple/": Status(200)}
        done = await run(index, dest, "--all", *ALL_MAY_GO)
    assert (done.code, "it lists no projects" in done.stderr) == (5, True)
    assert mirrored(dest) == [A]


async def test_a_requirement_that_fails_takes_nothing_away(run: Any, dest: Path) -> None:
    async with FakeIndex(wheels=wheel("a", "1.0") | wheel("b", "1.0")) as index:
        await run(index, dest, "a", "b")
        assert (await run(index, dest, "a==9", "b", *ALL_MAY_GO)).code == 1
        assert mirrored(dest) == [A, B]
        done = await run(index, dest, "b", *ALL_MAY_GO)
    assert f"removed {A}" in done.stderr
    assert mirrored(dest) == [B]


async def test_nothing_goes_while_an_index_fails(run: Any, dest: Path) -> None:
    """What it does not list now may be there in a minute."""
    async with FakeIndex(wheels=wheel("a", "1.0") | wheel("b", "1.0")) as index:
        await run(index, dest, "a", "b")
        index.faults = {"/simple/a/": Status(404), "/simple/b/": Status(503)}
        done = await run(index, dest, "a", "b", *ALL_MAY_GO)
    assert "nothing is removed: an index that fails now and then does not tell what it has" in done.stderr
    assert mirrored(dest) == [A, B]


async def test_a_report_is_written_in_any_case(run: Any, dest: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    async with FakeIndex(wheels=wheel("a", "1.0")) as index:
        assert (await run(index, dest, "a", "--report", str(tmp_path / "no" / "r.html"))).code == 2
        assert _times(dest) == {}
        assert (await run(index, dest, "a", "nosuch", "--report", str(report))).code == 1
        text = report.read_text(encoding="utf-8")
        assert "nosuch" in text
        assert "NotFound" in text
        index.faults = {"/simple/": Status(503)}
        report.unlink()
        assert (await run(index, dest, "--all", "--retries", "0", "--report", str(report))).code == 4
    assert report.exists()
    assert [name for name in _below(tmp_path) if name.startswith(".")] == []


async def test_one_run_at_a_time_wherever_the_state_is(run: Any, dest: Path, tmp_path: Path) -> None:
    files = wheel("slow", "1.0", size=2_000_000) | wheel("a", "1.0")
    async with FakeIndex(wheels=files, faults={SLOW: SlowDrip(500_000)}) as index:
        with started(index, dest, "slow") as process:
            await process.until(lambda: bool(index.select(SLOW)))
            second = await run(index, dest, "a", "--state", str(tmp_path / "elsewhere"))
            assert (await process.end()).code == 0
    assert (second.code, "another run is at work" in second.stderr) == (2, True)


def _times(root: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


async def test_a_dry_run_changes_nothing(run: Any, dest: Path) -> None:
    async with FakeIndex(wheels=wheel("a", "1.0") | wheel("b", "1.0")) as index:
        done = await run(index, dest, "--all", "--dry-run")
        assert (done.code, sorted(done.stdout.splitlines())) == (0, [f"fetch {A}", f"fetch {B}"])
        assert _times(dest) == {}
        await run(index, dest, "b")
        before = _times(dest)
        done = await run(index, dest, "a", "--dry-run", *ALL_MAY_GO)
        assert done.stdout.splitlines() == [f"fetch {A}", f"remove {B}"]
        assert _times(dest) == before
    assert mirrored(dest) == [B]
