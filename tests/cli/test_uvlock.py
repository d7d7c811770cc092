"""uv's lock files: what is taken of real ones, beside what uv itself takes; and of made-up and damaged ones."""

import asyncio
import hashlib
import io
import itertools
import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from corpus import lay_out, wheel_at
from fake_index import FakeIndex
from fake_wheels import make_wheel, wheel_filename
from hypothesis import HealthCheck, given, settings, strategies as st
from local_wheels import real_wheels
from msgspec import structs
from packaging.markers import Marker
from server import find_program
from web_server import serving

from fetcher.cli.locked import Locked
from fetcher.cli.lockfile import read_lock
from fetcher.cli.main import main
from fetcher.cli.requirements import read_requested
from fetcher.cli.targets import interpreter_for
from fetcher.cli.uvlock import read_uv_lock
from fetcher.cli.uvmarkers import Markers
from fetcher.errors import ConfigError
from fetcher.index.formats import Formats
from fetcher.index.target import Target as Interpreter

INTERPRETERS = {
    "linux": interpreter_for("3.12", ["manylinux_2_28_x86_64"]),
    "old": interpreter_for("3.11", ["manylinux_2_28_x86_64"]),
    "windows": interpreter_for("3.12", ["win_amd64"]),
    "mac": interpreter_for("3.13", ["macosx_14_0_arm64"]),
    "this": interpreter_for(None, ()),
}
LINUX, OLD, WINDOWS = (INTERPRETERS[name] for name in ("linux", "old", "windows"))
EITHER = Formats()
AA = "aa" * 32


def read(path: Path, interpreter: Interpreter | None = LINUX, formats: Formats = EITHER) -> list[Locked]:
    return list(read_uv_lock(path, interpreter, formats))


def texts(path: Path, interpreter: Interpreter | None = LINUX, formats: Formats = EITHER) -> list[str]:
    return [locked.text for locked in read(path, interpreter, formats)]


# ------------------------------------------------------------------------------------------------ beside uv, real locks


@dataclass(frozen=True)
class Uv:
    """The real `uv`, which knows one index and nothing of this machine."""

    program: str
    index: str
    cache: Path

    def __call__(self, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("UV_", "PIP_"))}
        kept |= {"UV_CACHE_DIR": str(self.cache), "UV_PYTHON": sys.executable, "UV_PYTHON_DOWNLOADS": "never"}
        command = [self.program, *arguments]
        return subprocess.run(command, cwd=folder, env=kept, capture_output=True, text=True, check=True)

    def lock(self, folder: Path) -> Path:
        self(folder, "lock", "--index-url", f"{self.index}/simple")
        return folder / "uv.lock"

    def export(self, folder: Path, *choice: str) -> Path:
        """What an installation would take, as a `pylock.toml`."""
        every = choice or ("--all-extras", "--all-groups")
        self(folder, "export", "--frozen", "--all-packages", "--format", "pylock.toml", "-o", "pylock.toml", *every)
        return folder / "pylock.toml"


def wheel(
    name: str, version: str, *requires: str, extras: str = "", python: str = "", tag: str = "py3-none-any"
) -> Any:
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Python: {python}"] if python else []
    lines += [f"Provides-Extra: {extra}" for extra in extras.split()]
    lines += [f"Requires-Dist: {one}" for one in requires]
    content = make_wheel(name, version, tag=tag, metadata="\n".join([*lines, "", ""]))
    return {wheel_filename(name, version, tag=tag): content}


def source_distribution(name: str, version: str) -> bytes:
    """One that uv need not build to know its dependencies."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for member, text in {
            "PKG-INFO": f"Metadata-Version: 2.2\nName: {name}\nVersion: {version}\n",
            "pyproject.toml": f'[project]\nname = "{name}"\nversion = "{version}"\n',
        }.items():
            about = tarfile.TarInfo(f"{name}-{version}/{member}")
            about.size = len(text)
            archive.addfile(about, io.BytesIO(text.encode()))
    return buffer.getvalue()


SD = source_distribution("sd", "1.0")
TAGS = ("cp311-cp311-manylinux_2_17_x86_64", "cp312-cp312-manylinux_2_17_x86_64", "cp312-cp312-win_amd64",
        "cp313-cp313-macosx_11_0_arm64")  # fmt: skip
WHEELS = {
    **wheel("leaf", "1.0"),
    **wheel("leaf", "2.0"),
    **wheel("leaf", "3.0", python=">=3.12"),
    **wheel("lib", "1.0", "leaf", "win; sys_platform == 'win32'", "fast; extra == 'fast'", "slow; extra == 'slow'",
            "old; python_version < '3.12' and extra == 'slow'", extras="fast slow"),
    **wheel("ring", "1.0", "lib[fast]", "other-ring"),
    **wheel("other_ring", "1.0", "ring"),
    **wheel("optional", "1.0"),
    **wheel("optional", "2.0", "fast"),
    **{key: value for tag in TAGS for key, value in wheel("compiled", "1.0", tag=tag).items()},
    **{key: value for name in ("win", "fast", "slow", "old", "dev") for key, value in wheel(name, "1.0").items()},
}  # fmt: skip

HEAD = '[project]\nname = "app"\nversion = "0"\nrequires-python = ">=3.11"\n'
MEMBER = '[project]\nname = "{}"\nversion = "0"\nrequires-python = ">=3.11"\ndependencies = [{}]\n'
PROJECTS: dict[str, dict[str, str]] = {
    "plain": {".": f"""{HEAD}dependencies = ["lib; sys_platform != 'darwin'", "ring", "compiled"]"""},
    "forks": {".": f"""{HEAD}dependencies = ["leaf<2; sys_platform == 'win32'", "leaf>=2; sys_platform != 'win32'"]"""},
    "extras and groups": {
        ".": f"""{HEAD}
            [project.optional-dependencies]
            one = ["optional", "lib[slow]"]
            all = ["app[one]", "old; sys_platform == 'linux'"]
            [dependency-groups]
            dev = ["dev", {{include-group = "more"}}]
            more = ["lib[fast]; python_version >= '3.12'"]
            """
    },
    "workspace": {
        ".": f"""{HEAD}
            dependencies = ["member[ex]"]
            [tool.uv.workspace]
            members = ["member", "other"]
            [tool.uv.sources]
            member = {{workspace = true}}
            """,
        "member": MEMBER.format("member", '"lib"') + '[project.optional-dependencies]\nex = ["optional"]\n',
        "other": MEMBER.format("other", '"compiled"') + '[dependency-groups]\ndev = ["dev"]\n',
    },
    "no project": {
        ".": """
            [dependency-groups]
            dev = ["lib[fast]; sys_platform == 'linux'", "leaf"]
            [tool.uv.workspace]
            members = ["member"]
            """,
        "member": MEMBER.format("member", '"old"'),
    },
    "a path dependency": {
        ".": f"""{HEAD}
            dependencies = ["beside"]
            [tool.uv.sources]
            beside = {{path = "beside"}}
            """,
        "beside": MEMBER.format("beside", '"lib"') + '[dependency-groups]\ndev = ["dev"]\n'
        '[project.optional-dependencies]\nex = ["optional"]\n',
    },
}


@pytest.fixture(scope="module")
def uv(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Uv]:
    program = find_program("uv")
    if program is None:
        pytest.skip("uv is not installed")
    root, built = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("built")
    for name, body in WHEELS.items():
        (built / name).write_bytes(body)
    lay_out([wheel_at(path) for path in built.iterdir()], root, sidecars=True)
    (root / "sd-1.0.tar.gz").write_bytes(SD)
    with serving(root) as server:
        yield Uv(program, server.url, tmp_path_factory.mktemp("uv's cache"))


def lay(folder: Path, project: dict[str, str]) -> Path:
    for name, text in project.items():
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "pyproject.toml").write_text(text)
    return folder


def exported(path: Path, interpreter: Interpreter) -> list[Locked]:
    """What an exported lock has, without the members of the workspace, which it has as directories."""
    return [locked for locked in read_lock(path, interpreter, EITHER) if not locked.wrong]


def by_file(found: list[Locked]) -> dict[str, Locked]:
    return {locked.filename: locked for locked in found}


def by_url(found: list[Locked]) -> dict[str, Locked]:
    """Without the names, which uv normalizes on export."""
    return {locked.url: structs.replace(locked, filename="") for locked in found}


@pytest.mark.real
@pytest.mark.parametrize("name", PROJECTS)
def test_takes_what_uv_takes(uv: Uv, tmp_path: Path, name: str) -> None:
    lock, pylock = uv.lock(lay(tmp_path, PROJECTS[name])), uv.export(tmp_path)
    for interpreter in INTERPRETERS.values():
        found = [locked for locked in read(lock, interpreter) if not locked.wrong]
        assert by_url(found) == by_url(exported(pylock, interpreter)) != {}
        assert not [locked.missing for locked in found if locked.missing]


@pytest.mark.real
@pytest.mark.parametrize("name", PROJECTS)
def test_takes_what_uv_would_install_here(uv: Uv, tmp_path: Path, name: str) -> None:
    lock = uv.lock(lay(tmp_path, PROJECTS[name]))
    done = uv(tmp_path, "sync", "--dry-run", "--frozen", "--all-packages", "--all-extras", "--all-groups", "--no-cache")
    wanted = re.findall(r"^ \+ (\S+==\S+)$", done.stderr, re.MULTILINE)
    assert sorted(locked.text for locked in read(lock, INTERPRETERS["this"]) if not locked.wrong) == sorted(wanted)


@pytest.mark.real
@pytest.mark.parametrize("name", PROJECTS)
def test_all_platforms_of_a_real_one(uv: Uv, tmp_path: Path, name: str) -> None:
    lock = uv.lock(lay(tmp_path, PROJECTS[name]))
    listed = {Path(entry["url"]).name for package in tomllib.loads(lock.read_text())["package"]
              for entry in package.get("wheels", ())}  # fmt: skip
    assert {text for text in texts(lock, None) if text.endswith(".whl")} == listed


CONFLICTS = f"""{HEAD}
    dependencies = ["lib"]
    [project.optional-dependencies]
    one = ["leaf==1.0", "lib[fast]"]
    two = ["leaf==2.0", "lib[slow]"]
    [dependency-groups]
    old = ["optional==1.0"]
    new = ["optional==2.0"]
    [tool.uv]
    conflicts = [[{{extra = "one"}}, {{extra = "two"}}], [{{group = "old"}}, {{group = "new"}}]]
    """


@pytest.mark.real
def test_takes_what_any_choice_would_have(uv: Uv, tmp_path: Path) -> None:
    """Extras that exclude each other: uv installs one or the other, and both are fetched."""
    lock = uv.lock(lay(tmp_path, {".": CONFLICTS}))
    choices = itertools.product(
        ["--no-default-groups", "--extra=one", "--extra=two"], ["--no-dev", "--group=old", "--group=new"]
    )
    exports = [uv.export(tmp_path, *choice).read_text() for choice in choices]
    for interpreter in (LINUX, OLD, WINDOWS):
        taken: dict[str, Locked] = {}
        for text in exports:
            (tmp_path / "pylock.toml").write_text(text)
            taken |= by_url(exported(tmp_path / "pylock.toml", interpreter))
        assert by_url(read(lock, interpreter)) == taken
    assert {"leaf==1.0", "leaf==2.0", "optional==1.0", "optional==2.0"} <= set(texts(lock))
    assert "win==1.0" not in texts(lock)


@pytest.mark.real
def test_members_that_exclude_each_other(uv: Uv, tmp_path: Path) -> None:
    project = f"""{HEAD}
        dependencies = ["lib"]
        [tool.uv.workspace]
        members = ["first", "second"]
        [tool.uv]
        conflicts = [[{{package = "first"}}, {{package = "second"}}]]
        """
    members = {"first": MEMBER.format("first", '"leaf==1.0"'), "second": MEMBER.format("second", '"leaf==2.0"')}
    lock = uv.lock(lay(tmp_path, {".": project} | members))
    assert "extra == 'project-5-first'" in lock.read_text()
    assert texts(lock) == ["leaf==1.0", "leaf==2.0", "lib==1.0"]


@pytest.mark.real
def test_what_is_no_file_of_an_index(uv: Uv, tmp_path: Path) -> None:
    (tmp_path / "flat").mkdir()
    flat, local = wheel("flat", "1.0"), wheel("local", "1.0")
    (tmp_path / "flat" / next(iter(flat))).write_bytes(next(iter(flat.values())))
    (tmp_path / next(iter(local))).write_bytes(next(iter(local.values())))
    git = lay(tmp_path, {"repository": MEMBER.format("repository", '"dev"')}) / "repository"
    for command in ("init -q", "add -A", "-c user.name=a -c user.email=a@b commit -qm a"):
        subprocess.run(["git", *command.split()], cwd=git, check=True)
    project = f"""{HEAD}
        dependencies = ["leaf @ {uv.index}/files/leaf-1.0-py3-none-any.whl", "sd @ {uv.index}/sd-1.0.tar.gz",
                        "beside", "edited", "local", "flat", "repository"]
        [tool.uv.sources]
        beside = {{path = "beside"}}
        edited = {{path = "edited", editable = true}}
        local = {{path = "local-1.0-py3-none-any.whl"}}
        repository = {{git = "{git.as_uri()}"}}
        [[tool.uv.index]]
        name = "flat"
        url = "flat"
        format = "flat"
        """
    beside = {name: MEMBER.format(name, '"lib"') for name in ("beside", "edited")}
    lock = uv.lock(lay(tmp_path, {".": project} | beside))

    for interpreter in (LINUX, None):
        found = read(lock, interpreter, Formats(only_binary=frozenset({":all:"})))
        wrong = {locked.text.partition("=")[0].partition("-")[0]: locked.wrong for locked in found if locked.wrong}
        assert {name: text.partition(str(lock))[2] for name, text in wrong.items()} == {
            "beside": " is a directory, and only files are fetched",
            "edited": " is a directory, and only files are fetched",
            "flat": " is a local file, and only http and https URLs are fetched",
            "local": " is a local file, and only http and https URLs are fetched",
            "repository": " is a git repository, and only files are fetched",
        }
    good = by_file(read(lock))
    sd = hashlib.sha256(SD).hexdigest()
    assert good["sd-1.0.tar.gz"] == Locked("sd==1.0", "sd-1.0.tar.gz", f"{uv.index}/sd-1.0.tar.gz", {"sha256": sd})
    assert good["leaf-1.0-py3-none-any.whl"].index is None
    assert {"dev-1.0-py3-none-any.whl", "lib-1.0-py3-none-any.whl"} <= set(good)


REAL = [
    "anyio", "attrs", "blinker", "certifi", "charset-normalizer", "click", "flask", "h11", "h2",
    "hpack", "httpcore", "httpx", "hyperframe", "idna", "iniconfig", "itsdangerous", "jinja2", "jsonschema",
    "jsonschema-specifications", "markdown-it-py", "markupsafe", "mdurl", "packaging", "pluggy", "pygments", "pysocks",
    "pytest", "referencing", "requests", "rich", "rpds-py", "typing-extensions", "urllib3", "werkzeug",
]  # fmt: skip


@pytest.mark.real
def test_of_real_packages(tmp_path: Path) -> None:
    """A lock of the local wheels: many packages, markers of their own."""
    program, paths = find_program("uv"), real_wheels(REAL)
    if program is None:
        pytest.skip("uv is not installed")
    lay_out([wheel_at(path) for path in paths], tmp_path / "site", sidecars=True)
    project = """
        [project]
        name = "app"
        version = "0"
        requires-python = "==3.11.*"
        dependencies = ["requests[socks]", "httpx[http2]", "flask", "rich", "jsonschema"]
        [dependency-groups]
        dev = ["pytest; python_version > '3.8'"]
        [tool.uv]
        environments = ["sys_platform == 'linux'"]
        """
    with serving(tmp_path / "site") as server:
        uv = Uv(program, server.url, tmp_path / "cache")
        try:
            lock, pylock = uv.lock(lay(tmp_path, {".": project})), uv.export(tmp_path)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"the local folders do not have all of it: {error.stderr.strip()[-300:]}")
    assert by_url(read(lock, OLD)) == by_url(exported(pylock, OLD))
    assert len(read(lock, OLD)) > 20
    with pytest.raises(ConfigError, match=r"uv\.lock: it is for Python ==3\.11\.\*, and not for 3\.12"):
        read(lock)
    with pytest.raises(ConfigError, match=r"uv\.lock: it is for other environments: sys_platform == 'linux'"):
        read(lock, interpreter_for("3.11", ["win_amd64"]))


# --------------------------------------------------------------------------------------------------------- made-up ones

Write = Callable[..., Path]
REGISTRY = 'source = { registry = "https://host/simple" }'


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(*packages: str, head: str = "version = 1\nrevision = 3\n") -> Path:
        path = tmp_path / "uv.lock"
        path.write_text("\n".join([head, *packages]))
        return path

    return write


def entry(name: str = "demo-1.0-py3-none-any.whl", digest: str = f"sha256:{AA}", **more: Any) -> str:
    pairs = {"url": f"https://host/files/{name}", "hash": digest} | more
    return "{" + ", ".join(f"{key} = {json.dumps(value)}" for key, value in pairs.items() if value is not None) + "}"


def package(name: str = "demo", *wheels: str, version: str = "1.0", source: str = REGISTRY, more: str = "") -> str:
    listed = ", ".join(wheels or [entry(f"{name}-{version}-py3-none-any.whl")])
    return f'[[package]]\nname = "{name}"\nversion = "{version}"\n{source}\nwheels = [{listed}]\n{more}\n'


def root(*dependencies: str, more: str = "") -> str:
    listed = ", ".join(text if text.startswith("{") else f'{{name = "{text}"}}' for text in dependencies)
    return f'[[package]]\nname = "app"\nsource = {{ virtual = "." }}\ndependencies = [{listed}]\n{more}\n'


SDIST = f"sdist = {entry('demo-1.0.tar.gz')}"
NAMES = [f"demo-1.0-{tag}.whl" for tag in ("cp312-cp312-win_amd64", "py3-none-any", "cp312-cp312-manylinux1_x86_64")]


class TestFile:
    @pytest.mark.parametrize(
        ("formats", "interpreter", "expected"),
        [
            (EITHER, LINUX, NAMES[2]),
            (EITHER, WINDOWS, NAMES[0]),
            (EITHER, OLD, NAMES[1]),
            (Formats(prefer="sdist"), LINUX, "demo-1.0.tar.gz"),
            (Formats(no_binary=frozenset({"demo"})), LINUX, "demo-1.0.tar.gz"),
        ],
    )
    def test_the_best_one(self, write: Write, formats: Formats, interpreter: Interpreter, expected: str) -> None:
        path = write(root("demo"), package("demo", *map(entry, NAMES), more=SDIST))
        url = f"https://host/files/{expected}"
        assert read(path, interpreter, formats) == [
            Locked("demo==1.0", expected, url, {"sha256": AA}, index="https://host/simple")
        ]

    @pytest.mark.parametrize(
        ("formats", "expected"),
        [
            (EITHER, [*NAMES, "demo-1.0.tar.gz"]),
            (Formats(only_binary=frozenset({":all:"})), NAMES),
            (Formats(no_binary=frozenset({"demo"})), ["demo-1.0.tar.gz"]),
        ],
    )
    def test_all_platforms(self, write: Write, formats: Formats, expected: list[str]) -> None:
        assert texts(write(package("demo", *map(entry, NAMES), more=SDIST)), None, formats) == expected

    def test_the_name_that_the_lock_has_for_it(self, write: Write) -> None:
        path = write(root("demo"), package("demo", entry(url="https://u:p@host/get?id=1", filename=NAMES[1], size=7)))
        (locked,) = read(path)
        assert (locked.filename, locked.url, locked.size) == (NAMES[1], "https://u:p@host/get?id=1", 7)

    @pytest.mark.parametrize("size", [-1, 1 << 60])
    def test_a_size_that_is_none(self, write: Write, size: int) -> None:
        assert read(write(root("demo"), package("demo", entry(size=size))))[0].size is None

    @pytest.mark.parametrize(
        ("wheel", "says"),
        [
            (entry(digest="sha256:aa"), "its sha256 is no sha256 digest"),
            (entry(digest=AA), "has no digest"),
            (entry(hash=None), "has no digest"),
            (entry(digest=f"blake3:{AA}"), r"none of its digests can be checked \(blake3\)"),
            (entry(url="ftp://host/demo-1.0-py3-none-any.whl"), "not an http or https URL"),
            (entry(url=None, path=f"../{NAMES[1]}"), "demo-1.0-py3-none-any.whl in .* is a local file, and only http"),
        ],
    )
    @pytest.mark.parametrize("interpreter", [LINUX, None])
    def test_its_own_failure(self, write: Write, wheel: str, says: str, interpreter: Interpreter | None) -> None:
        path = write(root("demo", "other"), package("demo", wheel), package("other"))
        first, second = read(path, interpreter)
        assert re.search(says, first.wrong)
        assert not second.wrong

    @pytest.mark.parametrize(
        ("wheels", "formats", "says"),
        [
            (f"wheels = [{entry(NAMES[0])}]", EITHER, r"no wheel that fits Python 3\.12 .*\(1 wheels looked at\)"),
            (SDIST, Formats(only_binary=frozenset({"demo"})), "only a source distribution, no wheel"),
            (f"wheels = [{entry()}]", Formats(no_binary=frozenset({"demo"})), "only wheels, no source distribution"),
            ("", EITHER, "has no files"),
        ],
    )
    def test_nothing_fits(self, write: Write, wheels: str, formats: Formats, says: str) -> None:
        (locked,) = read(write(root("demo"), f'[[package]]\nname = "demo"\n{REGISTRY}\n{wheels}\n'), LINUX, formats)
        assert re.search(says, locked.missing)

    @pytest.mark.parametrize(
        "name",
        ["..%2f..%2fdemo-1.0.tar.gz", "demo-1.0-py3-none-any%2f..%2fx.whl", "demo-1.0-py3-none-%1b.whl", "demo.whl", "",
         "tar.gz", "demo-1.0.exe", "demo-1.0.tar.lz", "other-1.0-py3-none-any.whl", "demo-1.0-py3-none-any.whl/"],
    )  # fmt: skip
    @pytest.mark.parametrize("interpreter", [LINUX, None])
    def test_what_is_no_distribution_is_left_alone(
        self, write: Write, name: str, interpreter: Interpreter | None
    ) -> None:
        bad = entry(url=f"https://host/{name}")
        assert "has no files" in read(write(root("demo"), package("demo", bad)), interpreter)[0].missing
        (found,) = read(write(root("demo"), package("demo", bad, entry())), interpreter)
        assert found.filename == "demo-1.0-py3-none-any.whl"

    def test_a_secret_is_not_shown(self, write: Write) -> None:
        source = 'source = { git = "https://u:S3CR3T@host/x" }'
        path = write(
            root("demo", "x"),
            package("demo", entry(url="ftp://u:S3CR3T@h/demo-1.0.tar.gz")),
            package("x", source=source),
        )
        assert "S3CR3T" not in "".join(locked.wrong for locked in read(path)) + repr(read(path))


class TestNeeded:
    def test_no_member_and_nothing_virtual_is_a_file(self, write: Write) -> None:
        virtual = '[[package]]\nname = "beside"\nsource = { virtual = "beside" }\ndependencies = [{ name = "demo" }]\n'
        path = write(root("beside"), virtual, package())
        assert texts(path) == ["demo==1.0"]
        assert texts(path, None) == ["demo-1.0-py3-none-any.whl"]

    def test_what_is_not_reached_is_not_taken(self, write: Write) -> None:
        path = write(root("demo"), package(), package("other"))
        assert texts(path) == ["demo==1.0"]
        assert texts(path, None) == ["demo-1.0-py3-none-any.whl", "other-1.0-py3-none-any.whl"]

    def test_of_an_unpinned_dependency_the_fork_counts(self, write: Write) -> None:
        forks = {"1.0": "python_full_version < '3.12'", "2.0": "python_full_version >= '3.12'"}
        of_forks = [
            package(version=version, more=f'resolution-markers = ["{fork}"]') for version, fork in forks.items()
        ]
        path = write(root("demo"), *of_forks)
        assert (texts(path, OLD), texts(path)) == (["demo==1.0"], ["demo==2.0"])

    def test_what_the_lock_itself_requires(self, write: Write) -> None:
        """As in the lock of a script."""
        head = """version = 1
            [manifest]
            requirements = [{name = "demo", extras = ["x"], specifier = ">=1"}, {name = "b", marker = "os_name == ''"}]
            """
        extra = '[package.optional-dependencies]\nx = [{name = "other"}]'
        assert texts(write(package(more=extra), package("other"), package("b"), head=head)) == [
            "demo==1.0",
            "other==1.0",
        ]

    @pytest.mark.parametrize(
        ("parts", "says"),
        [
            ([root("gone")], "it has no package gone, which is needed"),
            ([root('{name = "demo", version = "2.0"}'), package()], r"it has no package demo 2\.0, which is needed"),
            ([root("demo"), package(), package()], "it has more than one package demo, which is needed"),
            ([root("""{name = "demo", marker = "what > 1"}"""), package()], "'what > 1' is no marker"),
            ([root(f"""{{name = "demo", marker = "{"(" * 3000}"}}"""), package()], "is no marker"),
            ([root("""{name = "demo", marker = "'x' in extras"}"""), package()], "makes no sense here"),
            ([root("""{name = "demo", marker = "extra < 'x'"}"""), package()], "makes no sense here"),
            (['requires-python = "three"', root("demo")], "its requires-python, 'three', is no version specifier"),
            (["[manifest]\nmembers = ['app', 'lib']", root("demo")], "it has no package lib, which is a member"),
        ],
    )
    def test_error(self, write: Write, parts: list[str], says: str) -> None:
        path = write(*parts)
        with pytest.raises(ConfigError, match=rf"uv\.lock: .*{says}"):
            read(path)


class TestMarkers:
    CONFLICTS = (frozenset({"extra-1-a-x", "extra-1-a-y", "extra-1-a-z"}), frozenset({"extra-1-a-x", "group-1-a-g"}))

    @pytest.mark.parametrize(
        ("marker", "expected"),
        [
            ("extra == 'extra-1-a-x'", True),
            ("extra != 'extra-1-a-x'", True),
            ("extra == 'extra-1-a-x' and extra == 'extra-1-a-y'", False),
            ("extra == 'extra-1-a-x' and extra == 'group-1-a-g'", False),
            ("extra == 'extra-1-a-y' and extra == 'group-1-a-g'", True),
            ("extra == 'extra-1-a-x' and extra != 'extra-1-a-y'", True),
            ("extra == 'extra-1-a-x' and sys_platform == 'win32'", False),
            ("extra == 'extra-1-a-x' and sys_platform not in 'win32'", True),
            (
                "sys_platform == 'win32' and extra == 'extra-1-a-x' or (extra == 'extra-1-a-y' and os_name == 'nt')",
                False,
            ),
            (
                "(sys_platform == 'win32' or extra == 'extra-1-a-x') and (os_name == 'nt' or extra == 'extra-1-a-y')",
                False,
            ),
            ("(sys_platform == 'win32' or extra == 'extra-1-a-z') and (extra == 'or' or extra == 'extra-1-a-y')", True),
            ("extra == 'extra-1-a-x' or (extra == 'extra-1-a-y' and extra == 'extra-1-a-z')", True),
            ("'extra and (' in sys_platform", False),
            (None, True),
        ],
    )
    def test_hold(self, marker: str | None, expected: bool) -> None:
        assert Markers(LINUX.environment, self.CONFLICTS).hold(marker) is expected

    def test_too_many_combinations(self) -> None:
        marker = " and ".join(f"(extra == 'a{number}' or extra == 'b{number}')" for number in range(40))
        with pytest.raises(ConfigError, match="too many combinations"):
            Markers({}, ()).hold(marker)

    atoms = st.sampled_from(["extra-1-a-x", "extra-1-a-y", "extra-1-a-z", "group-1-a-g", "free"]).map(
        "extra == '{}'".format
    )
    plain = st.sampled_from(["sys_platform == 'linux'", "os_name == 'nt'", "python_version >= '3.12'"])
    trees = st.recursive(
        atoms | plain,
        lambda inner: st.tuples(inner, st.sampled_from(["and", "or"]), inner).map("({0[0]} {0[1]} {0[2]})".format),
        max_leaves=8,
    )

    @given(trees)
    def test_as_if_each_choice_were_tried(self, marker: str) -> None:
        names = ["extra-1-a-x", "extra-1-a-y", "extra-1-a-z", "group-1-a-g", "free"]
        chosen = (frozenset(some) for size in range(6) for some in itertools.combinations(names, size))
        allowed = [one for one in chosen if all(len(one & conflict) < 2 for conflict in self.CONFLICTS)]

        def holds_with(choice: frozenset[str]) -> bool:
            told = re.sub(
                r"extra == '([^']*)'", lambda found: f"os_name {'!=' if found[1] in choice else '=='} 'none'", marker
            )
            return Marker(told).evaluate(dict(LINUX.environment))

        assert Markers(LINUX.environment, self.CONFLICTS).hold(marker) is any(map(holds_with, allowed))


class TestBadFile:
    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("[[package]", "is not valid TOML: .*line 1"),
            ("\xff", "is not valid TOML"),
            ("x = " + "[" * 100_000, "is not valid TOML"),
            ("", r"is not a valid lock file: .*missing required field `version`"),
            ("version = 2", "is not a valid lock file: version 2 is not supported"),
            ("version = '1'", r"is not a valid lock file: Expected `int`, got `str` - at `\$.version`"),
            ("version = 1\npackage = 5", r"is not a valid lock file: .* at `\$.package`"),
            ('version = 1\n[[package]]\nname = "a"', r"missing required field `source` - at `\$.package\[0\]`"),
            ('version = 1\n[[package]]\nname = "a"\nsource = {}', "a source is one of registry, url"),
            (f'version = 1\n[[package]]\nname = "A_"\n{REGISTRY}', "'A_' is no normalized project name"),
            (f'version = 1\n[[package]]\nname = "a"\nversion = "x"\n{REGISTRY}', "Invalid version: 'x'"),
        ],
    )
    @pytest.mark.parametrize("interpreter", [LINUX, None])
    def test_error(self, tmp_path: Path, text: str, says: str, interpreter: Interpreter | None) -> None:
        path = tmp_path / "uv.lock"
        path.write_bytes(text.encode("latin-1"))
        with pytest.raises(ConfigError, match=says) as caught:
            read(path, interpreter)
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"cannot read .*uv\.lock: No such file"):
            read(tmp_path / "uv.lock")


@cache
def valid() -> str:
    """A lock with every table that is read."""
    return "\n".join(
        [
            "version = 1",
            "revision = 3",
            'requires-python = ">=3.11"',
            "resolution-markers = [\"sys_platform == 'linux'\", \"sys_platform != 'linux'\"]",
            "supported-markers = [\"sys_platform == 'linux'\"]",
            'conflicts = [[{ package = "app", extra = "x" }, { package = "app", group = "dev" }]]',
            '[manifest]\nmembers = ["app", "member"]\nrequirements = [{ name = "demo", extras = ["y"] }]',
            '[manifest.dependency-groups]\ndev = [{ name = "demo" }]',
            root(
                '{ name = "demo", version = "1.0", marker = "extra == \'extra-3-app-x\' or os_name == \'nt\'" }',
                '{ name = "archive", extra = ["e"] }',
                more='[package.optional-dependencies]\nx = [{ name = "demo", version = "2.0", '
                'source = { registry = "https://host/simple" } }]\n'
                '[package.dev-dependencies]\ndev = [{ name = "repository" }]\n',
            ),
            package(
                more="resolution-markers = [\"sys_platform == 'linux'\"]\n"
                f'{SDIST}\n[package.optional-dependencies]\ny = [{{ name = "archive" }}]'
            ),
            package(version="2.0", more="resolution-markers = [\"sys_platform != 'linux'\"]"),
            package("archive", source='source = { url = "https://host/archive-1.0-py3-none-any.whl" }'),
            package("repository", source='source = { git = "https://host/x#0" }'),
            package("member", source='source = { editable = "member" }'),
        ]
    )


_WORDS = ["", "demo", "1.0", "''", '"', "extra == 'x'", "\\u0000", "https://", "-1", "[", "]", "{}", "nan", "9" * 40,
          "sha256:", "(((", " and ", "\n", "[[package]]", "=", "virtual", "true", "1979-05-27"]  # fmt: skip


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 12), st.sampled_from(_WORDS)), min_size=1, max_size=3))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_changed_gives_files_or_an_error(tmp_path: Path, changes: list[tuple[float, int, str]]) -> None:
    text = valid()
    for place, length, word in changes:
        start = int(place * len(text))
        text = text[:start] + word + text[start + length :]
    damaged(tmp_path, text)


_VALUES = ["5", "-5", "1.5", "true", "[]", "{}", "nan", "[1]", "[[]]", "[{}]", "1979-05-27", '"x"', '""', '["x"]',
           '"//"', '"\\u001b"', '"A B"', '"https://["', '"1.0.*"']  # fmt: skip


@given(st.data())
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_value_is_replaced_by(tmp_path: Path, data: st.DataObject) -> None:
    """Valid TOML whose values are of other kinds, and of the right kind and nonsense."""
    values = list(re.finditer(r"(?<== )(\"[^\"]*\"|\[|\d+)", valid()))
    value = data.draw(st.sampled_from(values))
    other = data.draw(st.sampled_from(_VALUES))
    damaged(tmp_path, valid()[: value.start()] + other + valid()[value.end() :])


def damaged(folder: Path, text: str) -> None:
    path = folder / "uv.lock"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    for interpreter in (LINUX, None):
        with suppress(ConfigError):
            found = read(path, interpreter)
            assert all(str(path) in locked.wrong + locked.missing or locked.url for locked in found)


def test_the_valid_one_is(tmp_path: Path) -> None:
    (tmp_path / "uv.lock").write_text(valid())
    assert texts(tmp_path / "uv.lock") == ["demo==1.0", "demo==2.0", "archive==1.0", "repository==1.0"]


# ----------------------------------------------------------------------------------------------------- the command line


async def run(*arguments: str, folder: Path) -> tuple[int, list[dict[str, Any]]]:
    """`fetcher ... --json`, beside the event loop that serves the fake index."""
    environ = {"NETRC": os.devnull, "HOME": str(folder)}
    done = await asyncio.to_thread(lambda: CliRunner(env=environ).invoke(main, [*arguments, "--json", "-q"]))
    assert "Traceback" not in done.output
    return done.exit_code, [json.loads(line) for line in done.stdout.splitlines()]


async def test_get_and_metadata(write: Write, tmp_path: Path) -> None:
    wheels = {wheel_filename(): make_wheel(), wheel_filename("other", "2.0"): make_wheel("other", "2.0")}
    async with FakeIndex(wheels=wheels) as index:

        def served(name: str, version: str) -> str:
            filename = wheel_filename(name, version)
            digest = hashlib.sha256(wheels[filename]).hexdigest()
            wheel = entry(url=f"{index.base}/files/{filename}", hash=f"sha256:{digest}", size=len(wheels[filename]))
            return package(name, wheel, version=version, source=f'source = {{ registry = "{index.url}" }}')

        path = write(root("demo"), served("demo", "1.0"), served("other", "2.0"))
        flags = ("-r", str(path), "-i", index.url)
        code, found = await run("get", *flags, "-d", str(tmp_path / "to"), folder=tmp_path)
        every = await run("get", *flags, "--all-platforms", "-d", str(tmp_path / "to"), folder=tmp_path)
        metadata = await run("metadata", *flags, folder=tmp_path)
        assert {wire.path for wire in index.log} == {f"/files/{name}" for name in wheels}  # no index page
    assert (code, [one["target"] for one in found]) == (0, ["demo==1.0"])
    assert (every[0], [one["target"] for one in every[1]]) == (0, list(wheels))
    assert (metadata[0], [(one["name"], one["version"]) for one in metadata[1]]) == (0, [("demo", "1.0")])
    assert {path.name: path.read_bytes() for path in (tmp_path / "to").iterdir()} == wheels


def test_in_a_requirements_file(write: Write) -> None:
    path = write(root("demo"), package())
    (path.parent / "r.txt").write_text("--require-hashes\n-r uv.lock\n")
    assert [target.text for target in read_requested([], [path.parent / "r.txt"], [LINUX]).targets] == ["demo==1.0"]


@pytest.mark.parametrize("name", ["my-uv.lock", "uv.lock.txt", "script.py.lock"])
def test_another_name_is_no_lock(write: Write, name: str) -> None:
    path = write(root("demo"), package()).rename(write().with_name(name))
    with pytest.raises(ConfigError, match=r"line 1: .* is neither a URL nor a requirement"):
        read_requested([], [path], [LINUX])
