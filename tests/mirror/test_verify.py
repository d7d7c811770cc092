"""`fetcher verify`: each planted fault is found, once and nothing else; `--repair` fetches what it must alone."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio.from_thread import start_blocking_portal
from click.testing import CliRunner
from fake_faults import Status
from fake_index import FakeIndex, Guard, basic
from fake_sdists import make_sdist
from fake_wheels import make_wheel, wheel_filename
from hypothesis import given, settings, strategies as st
from seaweed import BUCKET, READER, WRITER, Storage, running_front

from fetcher.cli.main import main
from fetcher.download.lock import lock
from fetcher.mirror.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEMO, NEWER, OTHER = wheel_filename(), wheel_filename("demo", "2.0"), wheel_filename("other", "1.0")
SDIST = "demo-1.0.tar.gz"
ATTESTATIONS = b'{"version": 1}'
STATIC = make_sdist()


def wheels() -> dict[str, bytes]:
    return {
        DEMO: make_wheel(),
        NEWER: make_wheel("demo", "2.0"),
        OTHER: make_wheel("other", "1.0"),
        SDIST: STATIC,
        f"{DEMO}.provenance": ATTESTATIONS,
    }


@dataclass(frozen=True)
class Done:
    code: int
    stdout: str
    stderr: str

    @property
    def found(self) -> list[tuple[str, str]]:
        """Word and key of each finding, in their order."""
        return sorted((word, key) for word, _, key in (line.partition(" ") for line in self.stdout.splitlines()))

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def errors(self) -> list[str]:
        return [line.removeprefix("error: ") for line in self.stderr.splitlines() if line.startswith("error: ")]


def run(*arguments: str | Path, **environ: str) -> Done:
    """The command in this process; what it does to logging is undone."""
    logger = logging.getLogger("fetcher")
    handlers, level = logger.handlers[:], logger.level
    environ = {"NETRC": os.devnull, "FETCHER_NO_CACHE": "1", **environ}
    done = CliRunner(env=environ).invoke(main, [*map(str, arguments), "--no-config"])
    logger.handlers[:] = handlers
    logger.setLevel(level)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Done(done.exit_code, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def index() -> Iterator[FakeIndex]:
    says = {DEMO: {"provenance": f"../../files/{DEMO}.provenance"}, NEWER: {"yanked": "broken"}}
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(FakeIndex(wheels=wheels(), says=says)) as index,
    ):
        yield index


@pytest.fixture(scope="module")
def made(index: FakeIndex, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mirror of the index, as `fetcher prefetch` makes it; copied for each test."""
    root = tmp_path_factory.mktemp("made")
    done = run("prefetch", "demo", "other", "--all-versions", "--all-platforms", "--to", root, "-i", index.url)
    assert (done.code, len(done.stdout.splitlines())) == (0, 4), done.stderr
    return root


@pytest.fixture
def mirror(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "mirror"))


def the(root: Path, name: str) -> Path:
    """The file in a mirror that ends so."""
    (path,) = [path for path in root.rglob("*") if path.is_file() and str(path).endswith(f"/{name}")]
    return path


def the_mirror(path: Path) -> Path:
    return next(folder for folder in path.parents if folder.name == "mirror")


def flip(path: Path) -> None:
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    path.write_bytes(body)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def make_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def link(path: Path) -> None:
    """A link to the very bytes, elsewhere."""
    elsewhere = the_mirror(path).parent / uuid.uuid4().hex
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def dangle(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def add(text: str = "x", name: str = "stray") -> Callable[[Path], None]:
    return lambda path: (path.parent / name).write_text(text)  # type: ignore[return-value]


def edit(old: str, new: str) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return edit


def drop_first(path: Path) -> None:
    """Take the first file, or project, off a page."""
    if path.suffix == ".json":
        page = json.loads(path.read_text())
        del page["files" if "files" in page else "projects"][0]
        path.write_text(json.dumps(page))
    else:
        lines = path.read_text().splitlines()
        lines.remove(next(line for line in lines if "<a href" in line))
        path.write_text("\n".join(lines))


def list_more(path: Path) -> None:
    """List one more file, or project."""
    if path.suffix == ".json":
        page = json.loads(path.read_text())
        if "files" in page:
            page["files"].append({**page["files"][0], "filename": "demo-9.0-py3-none-any.whl"})
        else:
            page["projects"].append({"name": "evil"})
        path.write_text(json.dumps(page))
    else:
        more = '<a href="../../files/ab/cd/demo-9.0-py3-none-any.whl">demo-9.0-py3-none-any.whl</a></body>'
        path.write_text(
            path.read_text().replace(
                "</body>", more if path.parent.name == "demo" else '<a href="evil/">evil</a></body>'
            )
        )


@dataclass(frozen=True)
class Fault:
    """What is done to an object, and the word for it; `fetches` is asked of the index when it is repaired."""

    object: str
    plant: Callable[[Path], object]
    word: str
    fetches: tuple[str, ...] = ()
    at: str = ""

    def key(self, root: Path) -> str:
        path = the(root, self.object)
        return (path.parent / self.at if self.at else path).relative_to(root).as_posix()


PAGES = ("simple/demo/index.json", "simple/demo/index.html")
ROOTS = ("simple/index.json", "simple/index.html")
ODD = {"a directory": make_directory, "a link": link, "a dangling link": dangle, "a pipe": make_pipe}
FAULTS = {
    "file flipped": Fault(DEMO, flip, "altered", (f"/files/{DEMO}",)),
    "file cut by a byte": Fault(DEMO, cut, "truncated", (f"/files/{DEMO}",)),
    "file emptied": Fault(OTHER, empty, "truncated", (f"/files/{OTHER}",)),
    "file longer": Fault(OTHER, lengthen, "altered", (f"/files/{OTHER}",)),
    "file gone": Fault(NEWER, Path.unlink, "missing", (f"/files/{NEWER}",)),
    "sdist flipped": Fault(SDIST, flip, "altered", (f"/files/{SDIST}",)),
    **{f"file is {what}": Fault(OTHER, plant, "altered", (f"/files/{OTHER}",)) for what, plant in ODD.items()},
    "sidecar flipped": Fault(f"{DEMO}.metadata", flip, "altered"),
    "sidecar emptied": Fault(f"{DEMO}.metadata", empty, "truncated"),
    "sidecar gone": Fault(f"{OTHER}.metadata", Path.unlink, "missing"),
    "sidecar of an sdist": Fault(SDIST, add(name=f"{SDIST}.metadata"), "stray", at=f"{SDIST}.metadata"),
    "sidecar is a directory": Fault(f"{OTHER}.metadata", make_directory, "altered"),
    "attestations gone": Fault(f"{DEMO}.provenance", Path.unlink, "missing", (f"/files/{DEMO}.provenance",)),
    "attestations flipped": Fault(f"{DEMO}.provenance", flip, "altered", (f"/files/{DEMO}.provenance",)),
    "stray beside a file": Fault(DEMO, add(), "stray", at="stray"),
    "stray beside a page": Fault(PAGES[0], add(), "stray", at="stray"),
    "stray with an odd name": Fault(DEMO, add(name="a b%20c"), "stray", at="a b%20c"),
    **{f"{page} gone": Fault(page, Path.unlink, "missing") for page in (*PAGES, *ROOTS)},
    **{f"{page} cut": Fault(page, cut, "truncated") for page in (*PAGES, *ROOTS)},
    **{f"{page} emptied": Fault(page, empty, "truncated") for page in (*PAGES, *ROOTS)},
    **{f"{page} is a link": Fault(page, link, "altered") for page in (*PAGES, *ROOTS)},
    **{f"{page} respelled": Fault(page, lengthen, "altered") for page in (*PAGES, *ROOTS)},
    **{f"{page} lists more": Fault(page, list_more, "disagreement") for page in (*PAGES, *ROOTS)},
    **{f"{page} lists less": Fault(page, drop_first, "disagreement") for page in (*PAGES, *ROOTS)},
    "another digest in JSON": Fault(PAGES[0], edit('"sha256":"', '"sha256":"0'), "disagreement"),
    "another link in HTML": Fault(PAGES[1], edit('href="../../files/', 'href="../../files/00/'), "disagreement"),
    "not yanked in JSON": Fault(PAGES[0], edit('"yanked":"broken"', '"yanked":false'), "disagreement"),
    "not yanked in HTML": Fault(PAGES[1], edit('data-yanked="broken"', ""), "disagreement"),
    "quarantined in HTML": Fault(
        PAGES[1], edit("<title>", '<meta name="pypi:project-status" content="quarantined"><title>'), "disagreement"
    ),
    "JSON is a login page": Fault(PAGES[0], lambda path: path.write_text("<html>Login</html>" * 90), "altered"),
    "front page gone": Fault("mirror/index.html", Path.unlink, "missing"),
    "front page edited": Fault("mirror/index.html", edit("Package", "My"), "altered"),
}


def test_sound(mirror: Path, index: FakeIndex) -> None:
    before = index.requests
    done = run("verify", mirror)
    assert (done.code, done.stdout) == (0, "")
    size = sum(map(len, (make_wheel(), make_wheel("demo", "2.0"), make_wheel("other", "1.0"), STATIC)))
    assert done.stderr.startswith(f"4 files, {size / 1000:.1f} kB in ")
    assert done.stderr.endswith(": sound\n")
    assert index.requests == before
    assert run("verify", mirror, "-q") == Done(0, "", "")


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_and_repaired(name: str, mirror: Path, index: FakeIndex) -> None:
    fault = FAULTS[name]
    key = fault.key(mirror)
    fault.plant(the(mirror, fault.object))
    before = index.requests
    found = run("verify", mirror)
    assert (found.code, found.found) == (1, [(fault.word, key)])
    assert found.stderr.startswith(f"1 finding: {fault.word} 1; 4 files, ")
    assert index.requests == before
    repaired = run("verify", mirror, "--repair", "-i", index.url)
    assert (repaired.code, repaired.found) == (0, [(fault.word, key)]), repaired.stderr
    assert repaired.stderr.startswith(f"1 finding: {fault.word} 1; all repaired; ")
    assert sorted(wire.path for wire in index.log[before:]) == sorted(fault.fetches)
    assert run("verify", mirror).stderr.endswith(": sound\n")
    # All are plain files again, and those of the index have the digests that they are called after.
    for path in mirror.rglob("*"):
        assert path.is_dir() or (path.is_file() and not path.is_symlink())
        if path.match("files/*/*/*") and path.suffix in (".whl", ".gz"):
            assert hashlib.sha256(path.read_bytes()).hexdigest() == "".join(path.parts[-3:-1])


@settings(max_examples=12)
@given(names=st.lists(st.sampled_from(sorted(FAULTS)), max_size=12, unique_by=lambda name: FAULTS[name].object))
def test_many_at_once(names: list[str], made: Path, index: FakeIndex) -> None:
    with tempfile.TemporaryDirectory() as folder:
        mirror = Path(shutil.copytree(made, Path(folder) / "mirror"))
        faults = [(FAULTS[name], FAULTS[name].key(mirror), the(mirror, FAULTS[name].object)) for name in names]
        expected = sorted((fault.word, key) for fault, key, _ in faults)
        for fault, _, path in faults:
            fault.plant(path)
        found = run("verify", mirror)
        assert (found.code, found.found) == (int(bool(names)), expected)
        before = index.requests
        repaired = run("verify", mirror, "--repair", "-i", index.url)
        assert (repaired.code, repaired.found) == (0, expected)
        wanted = {path for fault, _, _ in faults for path in fault.fetches}
        assert sorted(wire.path for wire in index.log[before:]) == sorted(wanted)
        assert run("verify", mirror).stderr.endswith(": sound\n")


def test_stray_trees_and_what_is_not_the_mirrors_own(mirror: Path) -> None:
    strays = ["files/ab/cd/x.whl", "files/x", "simple/demo/more/a", "simple/evil/index.html"]
    for key in [*strays, "robots.txt", ".well-known/x"]:
        (mirror / key).parent.mkdir(parents=True, exist_ok=True)
        (mirror / key).write_text("x")
    (mirror / "simple/loop").symlink_to("..")
    strays.append("simple/loop")
    assert run("verify", mirror).found == [("stray", key) for key in strays]
    done = run("verify", mirror, "--repair")
    assert (done.code, done.found) == (0, [("stray", key) for key in strays])
    assert run("verify", mirror).code == 0
    assert sorted(path.name for path in mirror.iterdir()) == [
        ".fetcher", ".well-known", "files", "index.html", "robots.txt", "simple"
    ]  # fmt: skip
    assert not (mirror / "simple/evil").exists()


def test_a_directory_in_the_place_of_a_file_is_not_empty(mirror: Path, index: FakeIndex) -> None:
    path = the(mirror, OTHER)
    make_directory(path)
    (path / "inner").mkdir()
    (path / "inner/x").write_text("x")
    key = path.relative_to(mirror).as_posix()
    assert run("verify", mirror).found == [("altered", key), ("stray", f"{key}/inner/x")]
    assert run("verify", mirror, "--repair", "-i", index.url).code == 0
    assert run("verify", mirror).code == 0


def test_a_file_in_the_place_of_a_directory(mirror: Path, index: FakeIndex) -> None:
    folder = the(mirror, OTHER).parent
    keys = sorted(path.relative_to(mirror).as_posix() for path in folder.iterdir())
    shutil.rmtree(folder)
    folder.write_text("x")
    assert run("verify", mirror).found == [("missing", key) for key in keys]
    assert run("verify", mirror, "--repair", "-i", index.url).code == 0
    assert run("verify", mirror).code == 0


def test_files_may_be_on_another_disk(mirror: Path, tmp_path: Path) -> None:
    (mirror / "files").rename(tmp_path / "disk")
    (mirror / "files").symlink_to(tmp_path / "disk")
    assert run("verify", mirror).code == 0
    (tmp_path / "disk/x").write_text("x")
    assert run("verify", mirror).found == [("stray", "files/x")]
    # ... and so may a part of them; what is in there, nobody looks through.
    part = next(path for path in (tmp_path / "disk").iterdir() if path.is_dir())
    part.rename(tmp_path / "part")
    part.symlink_to(tmp_path / "part")
    assert run("verify", mirror).found == [("stray", "files/x")]


def test_a_file_that_nobody_may_read(mirror: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    path = the(mirror, OTHER)
    path.chmod(0)
    (found,) = run("verify", mirror, "--json").objects
    assert (found["finding"], found["reason"]) == ("altered", "it cannot be read: Permission denied")


def test_json(mirror: Path, index: FakeIndex) -> None:
    path = the(mirror, DEMO)
    key = path.relative_to(mirror).as_posix()
    cut(path)
    size = len(make_wheel())
    reason = f"it has {size - 1:,} bytes instead of {size:,} bytes"
    stated = {"finding": "truncated", "key": key, "project": "demo", "filename": DEMO, "reason": reason}
    assert run("verify", mirror, "--json").objects == [stated]
    assert run("verify", mirror, "--json", "--repair", "-i", index.url).objects == [{**stated, "repaired": True}]


# --------------------------------------------------------------------------------------------- the index has moved on


def listed(mirror: Path, project: str = "demo") -> list[str]:
    page = json.loads((mirror / f"simple/{project}/index.json").read_text())
    html = (mirror / f"simple/{project}/index.html").read_text()
    names = [file["filename"] for file in page["files"]]
    assert all(f">{name}</a>" in html for name in names)
    assert html.count("</a>") == len(names)
    return names


def test_moved(mirror: Path, index: FakeIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    the(mirror, OTHER).unlink()
    cut(the(mirror, DEMO))
    flip(the(mirror, SDIST))
    monkeypatch.setattr(index, "files", "/moved")
    before = index.requests
    assert run("verify", mirror, "--repair", "-i", index.url).code == 0
    asked = sorted(wire.path for wire in index.log[before:])
    names = (DEMO, SDIST, OTHER)
    assert asked == sorted(
        [
            *(f"/files/{name}" for name in names),
            *(f"/moved/{name}" for name in names),
            "/simple/demo/",
            "/simple/other/",
        ]
    )
    assert run("verify", mirror).code == 0
    the(mirror, OTHER).unlink()
    before = index.requests
    assert run("verify", mirror, "--repair", "-i", index.url).code == 0
    assert [wire.path for wire in index.log[before:]] == [f"/moved/{OTHER}"]  # it is known now


def test_gone(mirror: Path, index: FakeIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    key = the(mirror, DEMO).relative_to(mirror).as_posix()
    flip(the(mirror, DEMO))
    with monkeypatch.context() as patch:
        patch.setattr(index, "wheels", {name: body for name, body in wheels().items() if not name.startswith(DEMO)})
        done = run("verify", mirror, "--repair", "-i", index.url, "--json")
    assert done.code == 1
    (found,) = done.objects
    assert (found["finding"], found["key"], found["repaired"], found["error"]) == ("altered", key, False, "NotFound")
    (error,) = done.errors
    assert error == f"the index does not list {DEMO} any more, and {index.files_url}/{DEMO} failed"
    # It is on no page, and nothing of it is there; the rest is sound.
    assert listed(mirror) == [SDIST, NEWER]
    assert not list(mirror.rglob(f"{DEMO}*"))
    assert run("verify", mirror).code == 0
    # The next run of prefetch brings it.
    done = run("prefetch", "demo", "other", "--all-versions", "--all-platforms", "--to", mirror, "-i", index.url)
    assert (done.code, done.stdout) == (0, f"{mirror}/{key}\n")
    assert listed(mirror) == [DEMO, SDIST, NEWER]
    assert run("verify", mirror).code == 0


def test_other_bytes_under_the_same_name(mirror: Path, index: FakeIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    the(mirror, OTHER).unlink()
    flip(the(mirror, f"{OTHER}.metadata"))
    changed = make_wheel("other", "1.0", extra_entries={"other/new.py": b"new"})
    monkeypatch.setattr(index, "wheels", {**wheels(), OTHER: changed})
    done = run("verify", mirror, "--repair", "-i", index.url)
    assert (done.code, len(done.found)) == (1, 2)
    assert done.stderr.splitlines()[-1].startswith("2 findings: ")
    (error,) = done.errors
    assert f"{OTHER} from {index.files_url}/{OTHER} has the wrong sha256: expected " in error
    assert f"got {hashlib.sha256(changed).hexdigest()}" in error
    assert listed(mirror, "other") == []
    assert run("verify", mirror).code == 0


def test_the_index_does_not_answer(mirror: Path, index: FakeIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    the(mirror, OTHER).unlink()
    the(mirror, PAGES[0]).unlink()
    monkeypatch.setattr(index, "faults", {"*": Status(503)})
    done = run("verify", mirror, "--repair", "-i", index.url, "--retries", "0")
    assert (done.code, len(done.found), len(done.errors)) == (1, 2, 1)
    assert "2 findings: missing 2; 1 repaired; " in done.stderr
    assert (listed(mirror, "other"), len(listed(mirror))) == ([], 3)
    assert run("verify", mirror).code == 0


def test_attestations_are_gone_or_others(mirror: Path, index: FakeIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    flip(the(mirror, f"{DEMO}.provenance"))
    monkeypatch.setattr(index, "wheels", {**wheels(), f"{DEMO}.provenance": b'{"version": 2}'})
    assert run("verify", mirror, "--repair", "-i", index.url).code == 0
    assert the(mirror, f"{DEMO}.provenance").read_bytes() == b'{"version": 2}'
    assert run("verify", mirror).code == 0
    flip(the(mirror, f"{DEMO}.provenance"))
    monkeypatch.setattr(index, "faults", {"*.provenance": Status(404)})
    done = run("verify", mirror, "--repair", "-i", index.url)
    assert (done.code, len(done.errors)) == (1, 1)
    assert "provenance" not in the(mirror, PAGES[0]).read_text()
    assert len(listed(mirror)) == 3
    assert run("verify", mirror).code == 0


def test_credentials_go_along(mirror: Path, index: FakeIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "auth", {"/": Guard((basic("user", "S3CR3T"),))})
    the(mirror, OTHER).unlink()
    flip(the(mirror, DEMO))
    environ = {"FETCHER_INDEX_CORP_USERNAME": "user", "FETCHER_INDEX_CORP_PASSWORD": "S3CR3T"}
    before = index.requests
    done = run("verify", mirror, "--repair", "--index", f"corp={index.url}", **environ)
    assert done.code == 0, done.stderr
    assert index.requests == before + 2


# -------------------------------------------------------------------------------------------------- without manifest


# Nobody tells of these but the manifest: what a page says is believed, that in JSON before that in HTML.
UNKNOWN = {
    "attestations flipped",
    "another digest in JSON",
    f"{PAGES[0]} lists more",
    *(f"{page} respelled" for page in (*PAGES, *ROOTS)),
    *(f"{page} cut" for page in (PAGES[1], ROOTS[1])),  # of the line break at its end
    *(name for name in FAULTS if name.startswith("front page")),
}


@pytest.mark.parametrize("name", [name for name in FAULTS if name not in UNKNOWN])
def test_without_manifest(name: str, mirror: Path) -> None:
    fault = FAULTS[name]
    shutil.rmtree(mirror / ".fetcher")
    key = fault.key(mirror)
    fault.plant(the(mirror, fault.object))
    found = run("verify", mirror).found
    if key == PAGES[0] and fault.word == "disagreement":
        # It is believed: the other says otherwise, and what it leaves out nobody names.
        assert [word for word in found if word[0] != "stray"] == [("disagreement", PAGES[1])]
    else:
        assert found == [(fault.word, key)]


def test_without_manifest_it_is_sound_and_not_repaired(mirror: Path) -> None:
    shutil.rmtree(mirror / ".fetcher")
    assert run("verify", mirror).code == 0
    done = run("verify", mirror, "--repair")
    assert (done.code, done.stdout) == (2, "")
    (error,) = done.errors
    assert error.startswith(f"{mirror} has no manifest in {mirror}/.fetcher, so nobody knows where its files came from")


def test_a_manifest_kept_elsewhere(mirror: Path, tmp_path: Path, index: FakeIndex) -> None:
    (mirror / ".fetcher").rename(tmp_path / "state")
    the(mirror, OTHER).unlink()
    assert run("verify", mirror, "--state", tmp_path / "state", "--repair", "-i", index.url).code == 0
    assert run("verify", mirror, "--state", tmp_path / "state").code == 0


# --------------------------------------------------------------------------------------------------- what else may be


@pytest.mark.parametrize("what", ["not there", "a file", "empty"])
def test_no_mirror(what: str, tmp_path: Path) -> None:
    place = tmp_path / "place"
    if what == "a file":
        place.write_text("x")
    elif what == "empty":
        place.mkdir()
    done = run("verify", place)
    assert (done.code, done.stdout, len(done.errors)) == (2, "", 1)
    assert done.errors[0].startswith(f"{place} is no mirror: ")
    assert not (place / ".fetcher").exists()


def test_one_run_at_a_time(mirror: Path) -> None:
    held = os.open(mirror / ".fetcher/lock", os.O_RDWR)
    try:
        assert lock(held)
        done = run("verify", mirror)
        assert done.code == 0
        assert "a run is at work on this mirror" in done.stderr
        done = run("verify", mirror, "--repair")
        assert (done.code, len(done.errors)) == (2, 1)
        assert "another run is at work" in done.errors[0]
    finally:
        os.close(held)
    assert "a run is at work" not in run("verify", mirror).stderr


def test_the_manifest_of_another_mirror(mirror: Path, tmp_path: Path, index: FakeIndex) -> None:
    for number in range(30):
        (mirror / f"files/x{number}").write_text("x")
    done = run("verify", mirror, "--repair", "-i", index.url)
    assert (done.code, len(done.found), len(done.errors)) == (1, 30, 1)
    assert "is it that of this mirror?" in done.errors[0]
    assert (mirror / "files/x0").exists()


def test_a_damaged_manifest(mirror: Path) -> None:
    (mirror / ".fetcher/manifest.sqlite3").write_bytes(b"no database" * 1000)
    done = run("verify", mirror)
    assert (done.code, len(done.errors)) == (6, 1)


def test_a_run_that_was_killed(mirror: Path, index: FakeIndex) -> None:
    """Its files are noted, and neither the project nor its pages are."""

    async def forget() -> None:
        async with Manifest(mirror / ".fetcher") as manifest:
            await manifest.forget_project("other")

    anyio.run(forget)
    for name in ("index.json", "index.html"):
        (mirror / "simple/other" / name).unlink()
    found = run("verify", mirror).found
    assert [key for word, key in found if word == "missing"] == ["simple/other/index.html", "simple/other/index.json"]
    assert run("verify", mirror, "--repair", "-i", index.url).code == 0
    assert run("verify", mirror).code == 0


# ----------------------------------------------------------------------------------------------------------- a bucket


@pytest.fixture(params=["seaweed", "flat_storage"])
def storage(request: pytest.FixtureRequest) -> Storage:
    storage: Storage = request.getfixturevalue(request.param)
    return storage


@pytest.fixture
def bucket(storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: FakeIndex) -> Bucket:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in WRITER.environment(storage.url).items():
        monkeypatch.setenv(name, value)
    bucket = Bucket(f"s3://{BUCKET}/{uuid.uuid4().hex}", ("--state", tmp_path / "state", "-i", index.url))
    done = run("prefetch", "demo", "other", "--all-versions", "--all-platforms", "--to", bucket.url, *bucket.options)
    assert done.code == 0, done.stderr
    return bucket


@dataclass(frozen=True)
class Bucket:
    url: str
    options: tuple[str | Path, ...]

    def verify(self, *options: str) -> Done:
        return run("verify", self.url, *self.options, *options)


def ask(storage: Storage, url: str, method: str, key: str, body: bytes = b"", **attributes: str) -> None:
    """Do something to an object, as another program would."""
    import obstore
    from obstore.store import S3Store

    store = S3Store(BUCKET, prefix=url.removeprefix(f"s3://{BUCKET}/"), client_options={"allow_http": True})
    if method == "DELETE":
        obstore.delete(store, key)
    else:
        obstore.put(store, key, body, attributes=attributes, use_multipart=False)


@pytest.mark.real
def test_a_bucket(
    bucket: Bucket, storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Path, index: FakeIndex
) -> None:
    assert bucket.verify().code == 0
    key = {name: the(made, name).relative_to(made).as_posix() for name in (DEMO, NEWER, OTHER, f"{OTHER}.metadata")}
    ask(storage, bucket.url, "PUT", key[DEMO], make_wheel()[:-1])
    ask(storage, bucket.url, "PUT", key[NEWER], bytes(len(make_wheel("demo", "2.0"))))
    ask(storage, bucket.url, "DELETE", key[f"{OTHER}.metadata"])
    ask(storage, bucket.url, "PUT", "files/stray", b"x")
    ask(storage, bucket.url, "DELETE", PAGES[1])
    ask(storage, bucket.url, "PUT", PAGES[0], (made / PAGES[0]).read_bytes().replace(b'"broken"', b"false"))
    planted = [
        ("altered", key[NEWER]),
        ("disagreement", PAGES[0]),
        ("missing", key[f"{OTHER}.metadata"]),
        ("missing", PAGES[1]),
        ("stray", "files/stray"),
        ("truncated", key[DEMO]),
    ]
    assert bucket.verify().found == sorted(planted)
    before = index.requests
    done = bucket.verify("--repair")
    assert (done.code, done.found) == (0, sorted(planted)), done.stderr
    assert sorted(wire.path for wire in index.log[before:]) == [f"/files/{DEMO}", f"/files/{NEWER}"]
    # Who may only read can verify; and no body of a file is asked for.
    with running_front(storage, tmp_path) as front:
        for name, value in READER.environment(front.url).items():
            monkeypatch.setenv(name, value)
        assert bucket.verify().code == 0
        asked = [(wire.method, wire.path) for wire in front.access_log.requests()]
    assert {method for method, path in asked if "/files/" in path or "/simple/" in path} == {"HEAD"}
    assert len([path for _, path in asked if "/files/" in path]) == 4 + 3 + 1  # files, METADATA, attestations


@pytest.mark.real
def test_a_bucket_without_manifest(bucket: Bucket, storage: Storage, tmp_path: Path, made: Path) -> None:
    assert run("verify", bucket.url, "--state", tmp_path / "none").code == 0
    key = the(made, OTHER).relative_to(made).as_posix()
    ask(storage, bucket.url, "DELETE", key)
    assert run("verify", bucket.url, "--state", tmp_path / "none").found == [("missing", key)]
    assert run("verify", bucket.url, "--state", tmp_path / "none", "--repair").code == 2
    done = run("verify", f"{bucket.url}/elsewhere", "--state", tmp_path / "none")
    assert (done.code, len(done.errors)) == (2, 1)
    assert done.errors[0].startswith(f"{bucket.url}/elsewhere is no mirror: ")
    assert run("verify", "s3://no-such-bucket/x", "--state", tmp_path / "none").code == 6
