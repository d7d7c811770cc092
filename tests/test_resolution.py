"""Resolvers stand on this library: what they choose is what pip chooses, and what the index refuses is told as it is.

Each test is done by the blocking front door (`resolver`) and by the asynchronous one (`async_resolver`).
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
import tarfile
from typing import TYPE_CHECKING, Any

import async_resolver
import pytest
import resolver
from anyio import to_thread
from corpus import lay_out, wheel_at
from fake_faults import Fault, LoginPage as Login, Status
from fake_index import FakeIndex
from fake_wheels import make_wheel, wheel_filename
from local_wheels import all_local_wheels
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from resolvelib import ResolutionImpossible
from web_server import serving
from wire_checks import NOTHING_KNOWN

from fetcher import (
    BadZip,
    Fetcher,
    FetcherError,
    File,
    Forbidden,
    Index,
    LoginPage,
    ServerFailed,
    Unauthorized,
    blocking,
    this_interpreter,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

pytestmark = pytest.mark.usefixtures("_short_waits")

Pins = dict[str, str]
Resolve = "Callable[..., Awaitable[Pins]]"


def pins(files: Mapping[str, File]) -> Pins:
    return {name: str(file.version) for name, file in files.items()}


def corp(url: str) -> Index:
    return Index(url, name="corp")


async def in_async(url: str, *wanted: str, **options: Any) -> Pins:
    async with Fetcher([corp(url)], environ=NOTHING_KNOWN, **options) as fetcher:
        return pins(await async_resolver.resolve(fetcher, map(Requirement, wanted), this_interpreter()))


async def in_blocking(url: str, *wanted: str, **options: Any) -> Pins:
    def work() -> Pins:
        with blocking.Fetcher([corp(url)], environ=NOTHING_KNOWN, **options) as fetcher:
            return pins(resolver.resolve(fetcher, map(Requirement, wanted), this_interpreter()))

    return await to_thread.run_sync(work)


@pytest.fixture(params=[in_blocking, in_async], ids=["blocking", "async"])
def resolve(request: pytest.FixtureRequest) -> Any:
    return request.param


async def by_pip(url: str, *wanted: str) -> Pins | str:
    """What pip chooses, or its last words."""
    flags = ["--dry-run", "--ignore-installed", "--no-cache-dir", "--quiet", "--disable-pip-version-check"]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pip", "install", *flags, "--report", "-", "--index-url", url, *wanted),
        env=environ | {"PIP_CONFIG_FILE": os.devnull},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    if process.returncode:
        return err.decode()
    installed = [entry["metadata"] for entry in json.loads(out)["install"]]
    return {canonicalize_name(said["name"]): said["version"] for said in installed}


@pytest.fixture(scope="module")
def said() -> dict[str, Pins | str]:
    """What pip answered, by what it was asked: several are compared with it, and it is slow."""
    return {}


# --- real trees ---

# The most that a wheel of the site has: hashing larger ones takes longer than all the rest.
LARGEST = 64 << 20
TREES = [
    "jupyter",
    "fastmcp[gemini]",
    "pypsa[hdf5]",
    "streamlit[charts]",
    "spacy",
    "scipy numpy<1.25",
    "jupyter pandas scipy scikit-learn numpy<2",
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    paths = [path for path in all_local_wheels() if path.stat().st_size <= LARGEST]
    if not paths:
        pytest.skip("pip is configured with no local folder of wheels")
    root = tmp_path_factory.mktemp("site")
    lay_out([wheel_at(path) for path in paths], root, sidecars=True)
    with serving(root) as server:
        yield server.url


@pytest.mark.real
@pytest.mark.parametrize("pages", ["simple", "html"])  # with sidecars, without
@pytest.mark.parametrize("tree", TREES)
async def test_a_real_tree_is_as_pip_has_it(
    site: str, tree: str, pages: str, resolve: Any, said: dict[str, Pins | str]
) -> None:
    expected = said[tree] = said.get(tree) or await by_pip(f"{site}/simple", *tree.split())
    if isinstance(expected, str):
        pytest.skip(f"the local folders do not have all of it: {expected.strip()[-200:]}")

    assert await resolve(f"{site}/{pages}", *tree.split()) == expected
    print(f"{tree}: {len(expected)} projects")


# --- made-up trees ---


def wheel(name: str, version: str, *requires: str, python: str = "", extras: str = "") -> dict[str, bytes]:
    """A wheel under its file name."""
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Python: {python}"] if python else []
    lines += [f"Provides-Extra: {extra}" for extra in extras.split()]
    lines += [f"Requires-Dist: {one}" for one in requires]
    return {wheel_filename(name, version): make_wheel(name, version, metadata="\n".join([*lines, "", ""]))}


def sdist(name: str, version: str, *, metadata_version: str, member: str = "PKG-INFO") -> dict[str, bytes]:
    """A source distribution under its file name; its PKG-INFO vouches for what it says from 2.2 on (PEP 643)."""
    info = f"Metadata-Version: {metadata_version}\nName: {name}\nVersion: {version}\nRequires-Dist: leaf\n".encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        about = tarfile.TarInfo(f"{name}-{version}/{member}")
        about.size = len(info)
        archive.addfile(about, io.BytesIO(info))
    return {f"{name}-{version}.tar.gz": buffer.getvalue()}


LEAF = wheel("leaf", "1.0") | wheel("leaf", "2.0") | wheel("leaf", "3.0")
YANKED = {"leaf-3.0-py3-none-any.whl": {"yanked": "broken"}}
DEEP = {
    # Every newer version asks for a leaf that the oldest `firm` forbids.
    **{key: value for n in range(1, 9) for key, value in wheel("left", f"{n}.0", f"right>={n}").items()},
    **{key: value for n in range(1, 9) for key, value in wheel("right", f"{n}.0", f"leaf>={min(n, 3)}").items()},
    **wheel("app", "1.0", "left", "right", "firm"),
    **wheel("firm", "1.0", "leaf<2"),
    **LEAF,
}
EXTRAS = {
    **wheel("app", "1.0", "lib[fast]", "lib[slow]>=1"),
    **wheel("lib", "2.0", "gone; extra == 'slow'", extras="fast slow"),
    **wheel("lib", "1.0", "leaf; extra == 'fast'", "lib[fast]; extra == 'slow'", extras="fast slow"),
    **LEAF,
}
MARKERS = {
    **wheel("app", "1.0", "gone; sys_platform == 'never'", "leaf<3; python_version >= '3'", "leaf<2; os_name == 'x'"),
    **LEAF,
}
OTHER_PYTHON = wheel("app", "2.0", "leaf", python="<3") | wheel("app", "1.0", "leaf<3", python=">=3") | LEAF
INVALID = wheel("app", "2.0", "leaf((")
MADE_UP: dict[str, tuple[dict[str, bytes], str, str]] = {
    "newest": (LEAF, "leaf", "leaf 3.0"),
    "bounded": (LEAF, "leaf>1,<3", "leaf 2.0"),
    "backtracking": (DEEP, "app", "app 1.0, firm 1.0, leaf 1.0, left 1.0, right 1.0"),
    "extras": (EXTRAS, "app", "app 1.0, lib 1.0, leaf 3.0"),
    "an extra of the user's": (EXTRAS, "lib[Slow]<2", "lib 1.0, leaf 3.0"),
    "an extra that is not there": (LEAF, "leaf[none]", "leaf 3.0"),
    "markers": (MARKERS, "app", "app 1.0, leaf 2.0"),
    "a marker of the user's": (LEAF, "leaf; python_version < '3'", ""),
    "pre-release": (LEAF | wheel("leaf", "4.0rc1"), "leaf", "leaf 3.0"),
    "pre-release asked for": (LEAF | wheel("leaf", "4.0rc1"), "leaf>=4.0rc1", "leaf 4.0rc1"),
    "pre-releases only": (wheel("leaf", "1.0b1") | wheel("leaf", "1.0b2"), "leaf", "leaf 1.0b2"),
    "local version": (LEAF | wheel("leaf", "3.0+cpu"), "leaf[none]==3.0", "leaf 3.0+cpu"),
    "requires another Python": (OTHER_PYTHON, "app", "app 1.0, leaf 2.0"),
    "invalid": (INVALID, "app", ""),
    "invalid, the newest": (INVALID | wheel("app", "1.0", "leaf<2") | LEAF, "app", "app 1.0, leaf 1.0"),
    "a name in other spellings": (wheel("Big_App", "1.0", "LEAF<2") | LEAF, "big.app", "big-app 1.0, leaf 1.0"),
}


def versions(text: str) -> Pins:
    return dict(part.split() for part in text.split(", ") if part)


@pytest.mark.parametrize("case", MADE_UP)
async def test_a_made_up_tree_is_as_pip_has_it(case: str, resolve: Any, said: dict[str, Pins | str]) -> None:
    wheels, wanted, expected = MADE_UP[case]
    async with FakeIndex(wheels=wheels) as index:
        if case == "invalid":
            with pytest.raises(ResolutionImpossible):
                await resolve(index.url, wanted)
        else:
            assert await resolve(index.url, wanted) == versions(expected)
            said[case] = said.get(case) or await by_pip(index.url, wanted)
            assert said[case] == versions(expected)


YANKS = {
    "passed over": ("leaf", "leaf 2.0"),
    "not good enough for a bound": ("leaf>2", None),
    "pinned": ("leaf==3.0", "leaf 3.0"),
    "pinned by a dependency": ("app", "app 1.0, leaf 3.0"),
}


@pytest.mark.parametrize("case", YANKS)
async def test_a_yanked_version(case: str, resolve: Any) -> None:
    wanted, expected = YANKS[case]
    async with FakeIndex(wheels=LEAF | wheel("app", "1.0", "leaf==3.0"), says=YANKED) as index:
        if expected is None:
            with pytest.raises(ResolutionImpossible):
                await resolve(index.url, wanted)
            assert "No matching distribution" in str(await by_pip(index.url, wanted))
        else:
            assert await resolve(index.url, wanted) == versions(expected)
            assert await by_pip(index.url, wanted) == versions(expected)


async def test_a_page_says_which_python_it_is_for(resolve: Any) -> None:
    says = {wheel_filename("leaf", "3.0"): {"requires-python": "<3"}}
    async with FakeIndex(wheels=LEAF, says=says) as index:
        assert await resolve(index.url, "leaf") == {"leaf": "2.0"} == await by_pip(index.url, "leaf")
        assert index.select("leaf-3.0*") == []


async def test_metadata_of_another_version_rules_the_version_out(resolve: Any) -> None:
    wheels = LEAF | {wheel_filename("leaf", "4.0"): next(iter(wheel("leaf", "5.0").values()))}
    renamed = {name: content.replace(b"leaf-5.0.dist", b"leaf-4.0.dist") for name, content in wheels.items()}
    async with FakeIndex(wheels=renamed) as index:
        assert await resolve(index.url, "leaf") == {"leaf": "3.0"} == await by_pip(index.url, "leaf")


@pytest.mark.parametrize("newest", [{"metadata_version": "2.1"}, {"metadata_version": "2.2", "member": "setup.py"}])
async def test_of_sdists_only_those_that_vouch_for_their_dependencies(newest: dict[str, str], resolve: Any) -> None:
    """Nothing is built: pip would take lib 3.0."""
    newer = sdist("lib", "2.0", metadata_version="2.2") | sdist("lib", "3.0", **newest)
    async with FakeIndex(wheels=wheel("lib", "1.0") | newer | LEAF) as index:
        assert await resolve(index.url, "lib") == {"lib": "2.0", "leaf": "3.0"}
        with pytest.raises(ResolutionImpossible, match=r"lib-3\.0\.tar\.gz"):
            await resolve(index.url, "lib>=3")


@pytest.mark.parametrize(("wanted", "why"), [("gone", "gone"), ("leaf>9", "leaf"), ("app", "gone")])
async def test_what_is_impossible(wanted: str, why: str, resolve: Any) -> None:
    async with FakeIndex(wheels=LEAF | wheel("app", "1.0", "gone")) as index:
        with pytest.raises(ResolutionImpossible) as caught:
            await resolve(index.url, wanted)
        assert why in {cause.requirement.key[0] for cause in caught.value.causes}
        assert "No matching distribution" in str(await by_pip(index.url, wanted))


# --- refusals: the resolution ends with what the index said, and never with "no versions" ---

CHAIN = wheel("app", "1.0", "mid") | wheel("mid", "1.0", "leaf") | wheel("mid", "0.9") | LEAF
REFUSALS: dict[str, tuple[str, Fault, type[FetcherError], str]] = {
    "login page for a page": ("/simple/leaf/", Login(), LoginPage, "login page"),
    "login page after a redirect": ("/simple/leaf/", Login(redirect=True), LoginPage, "login page"),
    "login page for a wheel": ("leaf-3.0*.whl", Login(), LoginPage, "login page"),
    "login page for a wheel in the middle": ("mid-1.0*.whl", Login(redirect=True), LoginPage, "login page"),
    "login page for a sidecar": ("leaf-3.0*.metadata", Login(), LoginPage, "login page"),
    "no credentials for a page": ("/simple/leaf/", Status(401), Unauthorized, "leaf"),
    "no credentials for a wheel": ("leaf-3.0*", Status(401), Unauthorized, "leaf-3.0"),
    "forbidden page": ("/simple/leaf/", Status(403), Forbidden, "leaf"),
    "a server that fails": ("/simple/leaf/", Status(500), ServerFailed, "leaf"),
}


@pytest.mark.parametrize("case", REFUSALS)
async def test_a_refusal_ends_the_resolution(case: str, resolve: Any) -> None:
    where, fault, kind, sentence = REFUSALS[case]
    async with FakeIndex(wheels=CHAIN, faults={where: fault}, sidecar="hash" if "sidecar" in case else "none") as index:
        with pytest.raises(FetcherError) as caught:
            await resolve(index.url, "app", retries=0)
    assert type(caught.value) is kind
    assert sentence in str(caught.value)


async def test_a_damaged_wheel_ends_the_resolution(resolve: Any) -> None:
    """As to pip: a version is not passed over because of what happened to its bytes."""
    name = wheel_filename("leaf", "3.0")
    damaged = LEAF[name][:-30] + bytes(30)
    async with FakeIndex(wheels=CHAIN | {name: damaged}) as index:
        with pytest.raises(BadZip, match=r"leaf-3\.0"):
            await resolve(index.url, "app")
        assert "leaf-3.0" in str(await by_pip(index.url, "app"))


async def test_a_refusal_beside_the_way_is_nobody_s_concern(resolve: Any) -> None:
    """What goes ahead meets the login page of leaf 3.0; the resolver, which knows of the bound, does not."""
    wheels = LEAF | wheel("app", "1.0", "first", "leaf") | wheel("first", "1.0", "leaf<3")
    async with FakeIndex(wheels=wheels, faults={"leaf-3.0*": Login()}) as index:
        assert await resolve(index.url, "app") == {"app": "1.0", "first": "1.0", "leaf": "2.0"}


async def test_each_thing_is_asked_for_once(resolve: Any) -> None:
    async with FakeIndex(wheels=EXTRAS | DEEP) as index:
        await resolve(index.url, "app")
        assert len(set(index.paths)) == len(index.paths)
