"""Lock files (pylock.toml, PEP 751): which packages count, which of their files is taken, what is demanded of it."""

import asyncio
import gzip
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fake_index import FakeIndex, Guard, basic
from fake_pages import Tree
from fake_wheels import make_wheel, wheel_filename

from fetcher.cli.main import main
from fetcher.cli.requirements import Requested, read_requested
from fetcher.cli.targets import find_file, interpreter_for
from fetcher.client import Fetcher
from fetcher.errors import ConfigError, FetcherError, NotFound
from fetcher.index.files import File
from fetcher.index.formats import Formats
from fetcher.index.scope import Index

AA = "aa" * 32
FILES = "https://host/files"
HEAD = 'lock-version = "1.0"\ncreated-by = "hand"\n'
WINDOWS = interpreter_for("3.12", ["win_amd64"])
LINUX = interpreter_for("3.12", ["manylinux_2_28_x86_64"])

Write = Callable[..., Path]


def inline(table: dict[str, Any]) -> str:
    """A table as TOML in one line; what is None is left out."""
    pairs = {key: inline(value) if isinstance(value, dict) else json.dumps(value) for key, value in table.items()}
    return "{" + ", ".join(f"{key} = {text}" for key, text in pairs.items() if table[key] is not None) + "}"


def wheel(filename: str = "demo-1.0-py3-none-any.whl", **more: Any) -> str:
    return inline({"url": f"{FILES}/{filename}", "hashes": {"sha256": AA}} | more)


def package(*wheels: str, name: str = "demo", version: str | None = "1.0", **more: str) -> str:
    """An entry of the lock; `more` is TOML."""
    lines = {
        "name": json.dumps(name),
        "version": version and json.dumps(version),
        "wheels": f"[{', '.join(wheels)}]" if wheels else None,
        **{key.replace("_", "-"): text for key, text in more.items()},
    }
    return "[[packages]]\n" + "".join(f"{key} = {text}\n" for key, text in lines.items() if text)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(*packages: str, head: str = HEAD, name: str = "pylock.toml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(head + ("\n".join(packages) or "packages = []\n"))
        return path

    return write


def read(path: Path, interpreter: Any = None, **more: Any) -> Requested:
    return read_requested([], [path], [] if interpreter is None else [interpreter], **more)


def texts(requested: Requested) -> list[str]:
    return [target.text for target in requested.targets]


async def files(requested: Requested, *indexes: Index | str) -> list[File | FetcherError]:
    """The file of each target, or the error."""
    found: list[File | FetcherError] = []
    for target in requested.targets:
        try:
            found.append(await find_file(Fetcher(indexes, environ={}), target, LINUX, Formats()))
        except FetcherError as error:
            found.append(error)
    return found


async def only(path: Path, interpreter: Any = None, **more: Any) -> Any:
    (found,) = await files(read(path, interpreter, **more))
    return found


# ------------------------------------------------------------------------------------------------------- which packages


class TestPackages:
    def test_order_and_names(self, write: Write) -> None:
        path = write(package(wheel("b-2-py3-none-any.whl"), name="b", version="2"), package(wheel(), version=None))
        requested = read(path)
        assert (texts(requested), requested.count) == (["b==2", "demo"], 2)

    @pytest.mark.parametrize(
        ("marker", "interpreter", "wanted"),
        [
            ("sys_platform == 'win32'", WINDOWS, True),
            ("sys_platform == 'win32'", LINUX, False),
            ("python_full_version >= '3.12'", LINUX, True),
            ("python_full_version < '3.12'", LINUX, False),
            ("platform_machine == 'x86_64' and sys_platform != 'darwin'", LINUX, True),
            ("'x' in extras", LINUX, False),
            ("'default' in dependency_groups", LINUX, True),
            ("'dev' in dependency_groups", LINUX, False),
        ],
    )
    def test_markers(self, write: Write, marker: str, interpreter: Any, wanted: bool) -> None:
        head = HEAD + 'extras = ["x"]\ndependency-groups = ["default", "dev"]\ndefault-groups = ["default"]\n'
        path = write(
            package(wheel(), marker=json.dumps(marker)),
            package(wheel("other-1.0-py3-none-any.whl"), name="other"),
            head=head,
        )
        assert texts(read(path, interpreter)) == ["demo==1.0"] * wanted + ["other==1.0"]
        assert read(path, interpreter, all_platforms=True).count == 2

    def test_one_of_several_versions(self, write: Write) -> None:
        path = write(
            package(wheel(), marker="\"sys_platform == 'win32'\""),
            package(wheel("demo-2.0-py3-none-any.whl"), version="2.0", marker="\"sys_platform != 'win32'\""),
        )
        assert texts(read(path, WINDOWS)) == ["demo==1.0"]
        assert texts(read(path, LINUX)) == ["demo==2.0"]

    @pytest.mark.parametrize(
        ("head", "says"),
        [
            ('requires-python = ">=3.13"\n', r"it is for Python >=3\.13, and not for 3\.12"),
            ("environments = [\"sys_platform == 'win32'\"]\n", "it is for other environments: sys_platform"),
        ],
    )
    def test_for_another_interpreter(self, write: Write, head: str, says: str) -> None:
        path = write(package(wheel()), head=HEAD + head)
        with pytest.raises(ConfigError, match=rf"pylock\.toml: {says}"):
            read(path, LINUX)
        assert read(path, all_platforms=True).count == 1

    def test_for_this_one_of_several(self, write: Write) -> None:
        head = "environments = [\"sys_platform == 'win32'\", \"sys_platform == 'linux'\"]\nrequires-python = '>=3.12'\n"
        assert texts(read(write(package(wheel()), head=HEAD + head), LINUX)) == ["demo==1.0"]

    def test_two_of_one_name(self, write: Write) -> None:
        with pytest.raises(ConfigError, match=r"pylock\.toml: more than one demo"):
            read(write(package(wheel()), package(wheel())))

    @pytest.mark.parametrize("packages", [[], [package(wheel(), marker="\"sys_platform == 'plan9'\"")]])
    def test_nothing_to_fetch(self, write: Write, packages: list[str]) -> None:
        with pytest.raises(ConfigError, match="nothing to fetch"):
            read(write(*packages))


# ----------------------------------------------------------------------------------------------------------- which file

ONLY_WHEELS = Formats(only_binary=frozenset({":all:"}))
NAMES = [
    "demo-1.0-cp312-cp312-win_amd64.whl",
    "demo-1.0-py3-none-any.whl",
    "demo-1.0-cp312-cp312-manylinux_2_17_x86_64.whl",
    "demo-1.0-2-cp312-cp312-manylinux_2_28_x86_64.whl",
    "demo-1.0-1-cp312-cp312-manylinux_2_28_x86_64.whl",
]


class TestWheels:
    @pytest.mark.parametrize(
        ("version", "platforms", "expected"),
        [
            ("3.12", ["manylinux_2_28_x86_64"], NAMES[3]),
            ("3.12", ["manylinux_2_17_x86_64"], NAMES[2]),
            ("3.12", ["win_amd64"], NAMES[0]),
            ("3.11", ["win_amd64"], NAMES[1]),
        ],
    )
    async def test_the_best_one(self, write: Write, version: str, platforms: list[str], expected: str) -> None:
        found = await only(write(package(*map(wheel, NAMES))), interpreter_for(version, platforms))
        assert (found.filename, found.url) == (expected, f"{FILES}/{expected}")

    async def test_all_platforms(self, write: Write) -> None:
        requested = read(write(package(*map(wheel, NAMES))), all_platforms=True)
        targets = list(requested.targets)
        assert [target.text for target in targets] == NAMES
        assert [(await find_file(Fetcher([]), target, LINUX, Formats())).filename for target in targets] == NAMES

    async def test_what_the_lock_says_of_it(self, write: Write) -> None:
        entry = wheel(name="demo-1.0-py3-none-any.whl", url="https://u:p@host/get?id=1#x=y", size=7)
        requested = read(write(package(entry)))
        found: Any
        (found,) = await files(requested)
        assert (found.filename, found.url) == ("demo-1.0-py3-none-any.whl", "https://u:p@host/get?id=1")
        assert (dict(found.hashes), found.size, found.listed_by) == ({"sha256": AA}, 7, None)

    @pytest.mark.parametrize("size", [-1, 1 << 63])
    async def test_a_size_that_is_none(self, write: Write, size: int) -> None:
        assert (await only(write(package(wheel(size=size))))).size is None

    async def test_a_local_version(self, write: Write) -> None:
        found = await only(write(package(wheel("demo-1.0%2Bcpu-py3-none-any.whl"), version="1.0+cpu")))
        assert (found.filename, str(found.version)) == ("demo-1.0+cpu-py3-none-any.whl", "1.0+cpu")

    async def test_an_archive_that_is_one(self, write: Write) -> None:
        """As `demo @ https://…` is locked; there is no other to choose."""
        found = await only(write(package(archive=wheel("demo-1.0-cp39-cp39-win32.whl", size=9))), LINUX)
        assert (found.filename, found.size, dict(found.hashes)) == ("demo-1.0-cp39-cp39-win32.whl", 9, {"sha256": AA})

    @pytest.mark.parametrize("url", ["https://host/root/corp/+simple/", "https://user:pw@HOST/root/corp/+simple"])
    async def test_belongs_to_the_index_that_listed_it(self, write: Write, url: str) -> None:
        """As on devpi, where the file of an inherited index lies elsewhere; so its credentials go there."""
        corp = Index("https://host/root/corp/+simple", name="corp")
        requested = read(write(package(wheel(), index=json.dumps(url))))
        (found,) = await files(requested, corp, "https://other/simple")
        assert isinstance(found, File)
        assert found.listed_by == corp

    @pytest.mark.parametrize("url", ["https://host/root/other/+simple", "nonsense", ""])
    async def test_belongs_to_no_declared_index(self, write: Write, url: str) -> None:
        (found,) = await files(read(write(package(wheel(), index=json.dumps(url)))), "https://host/root/corp/+simple")
        assert isinstance(found, File)
        assert found.listed_by is None


SDIST = inline({"url": f"{FILES}/demo-1.0.tar.gz", "hashes": {"sha256": AA}})


class TestSdist:
    @pytest.mark.parametrize(
        ("wheels", "formats", "expected"),
        [
            pytest.param([], Formats(), "demo-1.0.tar.gz", id="alone"),
            pytest.param([NAMES[1]], Formats(), NAMES[1], id="a wheel before it"),
            pytest.param([NAMES[0]], Formats(), "demo-1.0.tar.gz", id="no wheel fits"),
            pytest.param([NAMES[1]], Formats(prefer="sdist"), "demo-1.0.tar.gz", id="preferred"),
            pytest.param([NAMES[1]], Formats(no_binary=frozenset({"demo"})), "demo-1.0.tar.gz", id="no wheels"),
            pytest.param([NAMES[1]], ONLY_WHEELS, NAMES[1], id="only wheels"),
        ],
    )
    async def test_is_chosen(self, write: Write, wheels: list[str], formats: Formats, expected: str) -> None:
        found = await only(write(package(*map(wheel, wheels), sdist=SDIST)), LINUX, formats=formats)
        assert (found.filename, found.url, found.sha256) == (expected, f"{FILES}/{expected}", AA)

    @pytest.mark.parametrize(
        ("formats", "expected"),
        [
            (Formats(), [*NAMES[:2], "demo-1.0.tar.gz"]),
            (Formats(prefer="sdist", prefer_binary=True), [*NAMES[:2], "demo-1.0.tar.gz"]),
            (ONLY_WHEELS, NAMES[:2]),
            (Formats(no_binary=frozenset({"demo"})), ["demo-1.0.tar.gz"]),
        ],
    )
    def test_all_platforms(self, write: Write, formats: Formats, expected: list[str]) -> None:
        requested = read(write(package(*map(wheel, NAMES[:2]), sdist=SDIST)), all_platforms=True, formats=formats)
        assert (texts(requested), requested.count) == (expected, len(expected))

    def test_lines_of_requirements_files_are_not_for_locks(self, write: Write) -> None:
        lock = write(package(wheel(), sdist=SDIST))
        (lock.parent / "r.txt").write_text("--no-binary :all:\n-r pylock.toml")
        requested = read(lock.parent / "r.txt")
        assert [target.locked.filename for target in requested.targets if target.locked] == [
            "demo-1.0-py3-none-any.whl"
        ]

    async def test_an_archive_is_taken_whatever_its_format(self, write: Write) -> None:
        assert (await only(write(package(archive=SDIST)), formats=ONLY_WHEELS)).filename == "demo-1.0.tar.gz"


class TestNothingToFetch:
    @pytest.mark.parametrize(
        ("entry", "kind", "says"),
        [
            (package(wheel(NAMES[0])), NotFound, r"no wheel that fits Python 3\.12 .*\(1 wheels looked"),
            (package(wheel(), requires_python='">=3.13"'), NotFound, r"demo==1.0 in .* is for Python >=3\.13"),
            (package(sdist=SDIST, requires_python='">=3.13"'), NotFound, r"demo==1.0 in .* is for Python >=3\.13"),
            (package(sdist=SDIST.replace(AA, "aa")), ConfigError, "demo-1.0.tar.gz in .*: its sha256 is no sha256"),
            (
                package(version=None, vcs='{type = "git", url = "https://host/x", commit-id = "0"}'),
                ConfigError,
                "demo in .* is a git repository, and only files are fetched",
            ),
            (package(directory='{path = "."}'), ConfigError, "is a directory, and only files are fetched"),
            (
                package(wheel(url=None, path="wheels/demo-1.0-py3-none-any.whl")),
                ConfigError,
                "demo-1.0-py3-none-any.whl in .* is a local file, and only http",
            ),
            (package(archive=wheel(url=None, path="demo-1.0-py3-none-any.whl")), ConfigError, "is a local file"),
            (package(wheel(url="file:///demo-1.0-py3-none-any.whl")), ConfigError, "not an http or https URL"),
            (package(wheel(hashes={"sha256": "aa"})), ConfigError, "its sha256 is no sha256 digest"),
            (package(wheel(hashes={"sha256": "aa", "md5": "aa" * 16})), ConfigError, "its sha256 is no sha256 digest"),
            (package(wheel(hashes={"blake3": AA})), ConfigError, r"none of its digests can be checked \(blake3\)"),
        ],
    )
    async def test_is_its_own_failure(self, write: Write, entry: str, kind: type[FetcherError], says: str) -> None:
        requested = read(write(entry, package(wheel("other-1.0-py3-none-any.whl"), name="other")), LINUX)
        first, second = await files(requested)
        assert type(first) is kind
        with pytest.raises(kind, match=says):
            raise first
        assert isinstance(second, File)

    async def test_all_platforms(self, write: Write) -> None:
        path = write(
            package(wheel(NAMES[0]), wheel(NAMES[1], url=None, path="x/" + NAMES[1]), sdist=SDIST),
            package(name="other", sdist=SDIST.replace("demo", "other")),
        )
        first, second, third = await files(read(path, all_platforms=True, formats=ONLY_WHEELS))
        assert isinstance(first, File)
        assert (type(second), type(third)) == (ConfigError, NotFound)

    @pytest.mark.parametrize("all_platforms", [True, False])
    @pytest.mark.parametrize(
        ("entry", "formats", "says"),
        [
            (package(sdist=SDIST), ONLY_WHEELS, "has only a source distribution, no wheel"),
            (package(wheel()), Formats(no_binary=frozenset({"demo"})), "has only wheels, no source distribution"),
        ],
    )
    async def test_of_the_format_asked_for(
        self, write: Write, entry: str, formats: Formats, says: str, all_platforms: bool
    ) -> None:
        error = await only(write(entry), all_platforms=all_platforms, formats=formats)
        assert isinstance(error, NotFound)
        assert str(error).endswith(says)

    async def test_a_secret_is_not_shown(self, write: Write) -> None:
        requested = read(write(package(wheel(url="ftp://u:S3CR3T@h/demo-1.0-py3-none-any.whl?sig=S3CR3T"))))
        targets = list(requested.targets)
        (error,) = await files(read(write(package(wheel(url="ftp://u:S3CR3T@h/demo-1.0-py3-none-any.whl")))))
        assert "S3CR3T" not in str(error) + repr(targets) + repr(requested) + repr(targets[0].locked)


class TestDigests:
    @pytest.mark.parametrize(
        ("stated", "kept"),
        [
            ({"sha256": AA}, {"sha256": AA}),
            ({"SHA256": AA.upper()}, {"sha256": AA}),
            ({"sha256": AA, "md5": "aa" * 16, "blake3": "x"}, {"sha256": AA, "md5": "aa" * 16}),
        ],
    )
    async def test_kept(self, write: Write, stated: dict[str, str], kept: dict[str, str]) -> None:
        assert dict((await only(write(package(wheel(hashes=stated))))).hashes) == kept

    def test_are_what_require_hashes_demands(self, write: Write) -> None:
        path = write(package(wheel()))
        (path.parent / "r.txt").write_text("--require-hashes\n-r pylock.toml\n")
        assert texts(read(path.parent / "r.txt")) == ["demo==1.0"]


# ----------------------------------------------------------------------------------------------------------- which file


class TestBadFile:
    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("[[packages]", "is not valid TOML: .*line 1"),
            (b"\xff", "is not valid TOML: "),
            ("x = " + "[" * 100_000, "is not valid TOML: "),
            ("", "is not a valid lock file: Missing required value, in lock-version"),
            (HEAD, "is not a valid lock file: Missing required value, in packages"),
            (HEAD.replace("1.0", "2.0") + "packages = []", "is not a valid lock file: .*2.0 is not supported"),
            (HEAD.replace("1.0", "x") + "packages = []", "is not a valid lock file: .*'x', in lock-version"),
            (HEAD + package(), "is not a valid lock file: Exactly one of .*, in packages.0."),
            (HEAD + package(wheel(hashes={})), r"is not a valid lock file: .* hash .*, in packages\[0\]\.wheels\[0\]"),
            (HEAD + package(wheel("x-1.0-py3-none-any.whl")), "is not a valid lock file: Name in 'x-1.0"),
            (
                HEAD + package(wheel(), marker='"nonsense > 1"'),
                r"is not a valid lock file: .*, in packages\[0\]\.marker",
            ),
            (HEAD + package(wheel(), marker="\"extra == 'x'\""), "the marker 'extra == .* makes no sense here"),
        ],
    )
    def test_error(self, tmp_path: Path, text: str | bytes, says: str) -> None:
        path = tmp_path / "pylock.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(ConfigError, match=says) as caught:
            read(path)
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"cannot read .*pylock\.toml: No such file"):
            read(tmp_path / "pylock.toml")

    def test_a_directory(self, tmp_path: Path) -> None:
        (tmp_path / "pylock.toml").mkdir()
        with pytest.raises(ConfigError, match=r"cannot read .*pylock\.toml: Is a directory"):
            read(tmp_path / "pylock.toml")


class TestName:
    @pytest.mark.parametrize("name", ["pylock.toml", "pylock.dev.toml"])
    def test_a_lock(self, write: Write, name: str) -> None:
        assert texts(read(write(package(wheel()), name=name))) == ["demo==1.0"]

    @pytest.mark.parametrize("name", ["lock.toml", "pylock.a.b.toml", "pylock.txt"])
    def test_no_lock(self, write: Write, name: str) -> None:
        with pytest.raises(ConfigError, match=r"line 1: .* is neither a URL nor a requirement"):
            read(write(package(wheel()), name=name))

    def test_in_order_with_others(self, write: Write) -> None:
        lock = write(package(wheel()), package(wheel("b-1.0-py3-none-any.whl"), name="b"))
        (lock.parent / "r.txt").write_text("a\n-r pylock.toml\nc")
        requested = read_requested(["first"], [lock.parent / "r.txt", lock])
        assert texts(requested) == ["first", "a", "demo==1.0", "b==1.0", "c", "demo==1.0", "b==1.0"]
        assert requested.count == 7

    def test_its_errors_in_a_requirements_file(self, write: Write) -> None:
        lock = write(head="nonsense\n")
        (lock.parent / "r.txt").write_text("a\n-r pylock.toml")
        with pytest.raises(ConfigError, match=r"r\.txt, line 2: .*pylock\.toml is not valid TOML"):
            read(lock.parent / "r.txt")

    def test_all_platforms_of_none(self, tmp_path: Path) -> None:
        (tmp_path / "r.txt").write_text("a")
        done = CliRunner().invoke(main, ["get", "-r", str(tmp_path / "r.txt"), "--all-platforms"])
        assert done.exit_code == 2
        assert "--all-platforms takes every file of a pylock.toml or uv.lock" in done.stderr

    def test_several_interpreters(self, write: Write) -> None:
        lock = write(package(wheel("demo-1.0-cp311-cp311-win_amd64.whl"), wheel("demo-1.0-cp312-cp312-win_amd64.whl")))
        windows = [interpreter_for(version, ["win_amd64"]) for version in ("3.11", "3.12")]
        found = [target.locked for target in read_requested([], [lock], windows).targets]
        assert [(one.filename, one.target) for one in found if one is not None] == [
            ("demo-1.0-cp311-cp311-win_amd64.whl", 0),
            ("demo-1.0-cp312-cp312-win_amd64.whl", 1),
        ]


# ----------------------------------------------------------------------------------------------------- the command line

DEMO, OTHER = wheel_filename(), wheel_filename("other", "2.0")
WHEELS = {DEMO: make_wheel(), OTHER: make_wheel("other", "2.0")}


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    logger = logging.getLogger("fetcher")
    handlers, level = logger.handlers[:], logger.level
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)


@dataclass(frozen=True)
class Done:
    code: int
    objects: list[dict[str, Any]]
    errors: list[str]


async def fetch(*arguments: str, folder: Path, stdin: str = "") -> Done:
    """`fetcher get ... --json`, beside the event loop that serves the fake index."""
    environ = {"NETRC": os.devnull, "HOME": str(folder)}
    command = ["get", *arguments, "-d", str(folder / "to"), "--json", "-q"]
    done = await asyncio.to_thread(lambda: CliRunner(env=environ).invoke(main, command, input=stdin))
    assert "Traceback" not in done.output
    errors = [line.removeprefix("error: ") for line in done.stderr.splitlines() if line.startswith("error: ")]
    return Done(done.exit_code, [json.loads(line) for line in done.stdout.splitlines()], errors)


def served(index: FakeIndex, filename: str, body: bytes | None = None) -> str:
    digest = hashlib.sha256(WHEELS[filename] if body is None else body).hexdigest()
    return wheel(url=f"{index.base}/files/{filename}", hashes={"sha256": digest})


async def test_get(write: Write, tmp_path: Path) -> None:
    """One request a file, no index page; what cannot be had stops nothing."""
    async with FakeIndex(wheels=WHEELS) as index:
        lock = write(
            package(served(index, DEMO)),
            package(wheel("broken-1.0-py2-none-any.whl"), name="broken"),
            package(served(index, OTHER), name="other", version="2.0"),
        )
        done = await fetch("-r", str(lock), "-i", index.url, folder=tmp_path)
        assert sorted(wire.path for wire in index.log) == sorted([f"/files/{DEMO}", f"/files/{OTHER}"])
    assert done.code == 1
    assert [found["target"] for found in done.objects] == ["demo==1.0", "broken==1.0", "other==2.0"]
    assert done.objects[1] == {"target": "broken==1.0", "error": "NotFound", "message": done.errors[0]}
    assert {path.name: path.read_bytes() for path in (tmp_path / "to").iterdir()} == WHEELS


async def test_a_source_distribution(write: Write, tmp_path: Path) -> None:
    name, body = "demo-1.0.tar.gz", gzip.compress(b"demo")
    async with FakeIndex(wheels={**WHEELS, name: body}) as index:
        lock = write(package(served(index, DEMO), sdist=served(index, name, body)))
        found = {
            flags: await fetch("-r", str(lock), "-i", index.url, *flags.split(), folder=tmp_path)
            for flags in ("", "--prefer sdist", "--no-binary demo", "--all-platforms")
        }
    names = {flags: [one["filename"] for one in done.objects] for flags, done in found.items()}
    assert names == {"": [DEMO], "--prefer sdist": [name], "--no-binary demo": [name], "--all-platforms": [DEMO, name]}
    assert (tmp_path / "to" / name).read_bytes() == body


async def test_a_wrong_digest(write: Write, tmp_path: Path) -> None:
    async with FakeIndex(wheels=WHEELS) as index:
        lock = write(package(served(index, DEMO, b"")), package(served(index, OTHER), name="other", version="2.0"))
        done = await fetch("-r", str(lock), "-i", index.url, folder=tmp_path)
    assert (done.code, [found.get("error") for found in done.objects]) == (1, ["HashMismatch", None])
    assert [path.name for path in (tmp_path / "to").iterdir()] == [OTHER]


async def test_get_for_another_platform_and_for_all(write: Write, tmp_path: Path) -> None:
    names = [wheel_filename(tag=tag) for tag in ("cp312-cp312-win_amd64", "py3-none-any", "cp39-cp39-win32")]
    wheels = {name: make_wheel(tag=name.split("-", 2)[2].removesuffix(".whl")) for name in names}
    async with FakeIndex(wheels=wheels) as index:
        lock = write(
            package(
                *(
                    wheel(url=f"{index.base}/files/{name}", hashes={"md5": hashlib.md5(body).hexdigest()})
                    for name, body in wheels.items()
                )
            )
        )
        flags = ("--python-version", "3.12", "--platform", "win_amd64")
        one = await fetch("-r", str(lock), "-i", index.url, *flags, folder=tmp_path)
        every = await fetch("-r", str(lock), "-i", index.url, "--all-platforms", folder=tmp_path)
        both = await fetch("-r", str(lock), "-i", index.url, "--all-platforms", *flags, folder=tmp_path)
    assert [found["filename"] for found in one.objects] == names[:1]
    assert [(found["target"], found["filename"]) for found in every.objects] == [(name, name) for name in names]
    assert (one.code, every.code, both.code) == (0, 0, 2)


async def test_credentials_of_the_index_that_the_lock_names(write: Write, tmp_path: Path) -> None:
    """The file lies outside of the index's root, as an inherited one does on devpi."""
    trees = [Tree(wheels=WHEELS, pages="/a/simple", files="/b/files")]
    async with FakeIndex(more=trees, auth={"/": Guard((basic("user", "pw"),))}) as index:
        digest = {"sha256": hashlib.sha256(WHEELS[DEMO]).hexdigest()}
        entry = wheel(url=f"{index.base}/b/files/{DEMO}", hashes=digest)
        lock = write(package(entry, index=json.dumps(f"{index.base}/a/simple/")))
        url = f"{index.base.replace('://', '://user:pw@')}/a/simple"
        done = await fetch("-r", str(lock), "--index", f"a={url}", folder=tmp_path)
    assert (done.code, [found["index"] for found in done.objects]) == (0, ["a"])


async def test_mixed(write: Write, tmp_path: Path) -> None:
    """Names, URLs, stdin and a lock: outcomes in their order."""
    async with FakeIndex(wheels=WHEELS) as index:
        lock = write(package(served(index, DEMO)))
        arguments = ("other", "-", f"{index.base}/files/{DEMO}", "-r", str(lock), "-i", index.url)
        done = await fetch(*arguments, folder=tmp_path, stdin="demo==1.0 # a comment\nmissing\nother==2.0")
    expected = ["other", "demo==1.0", "missing", "other==2.0", f"{index.base}/files/{DEMO}", "demo==1.0"]
    assert [found["target"] for found in done.objects] == expected
    assert [found.get("error") for found in done.objects] == [None, None, "NotFound", None, None, None]
    assert done.code == 1


@pytest.mark.parametrize("bad", ["./x.whl", "-r pylock.toml"])
async def test_what_is_wrong_at_the_end_is_said_before_anything_is_fetched(
    write: Write, tmp_path: Path, bad: str
) -> None:
    write(head="nonsense\n")
    async with FakeIndex(wheels=WHEELS) as index:
        (tmp_path / "r.txt").write_text("demo\n" * 1000 + bad)
        done = await fetch("other", "-r", str(tmp_path / "r.txt"), "-i", index.url, folder=tmp_path)
    assert (done.code, done.objects, index.log) == (2, [], [])
    assert "r.txt, line 1001: " in done.errors[0]
