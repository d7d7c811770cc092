"""The right credentials at the right place, and never another's, whatever the order: asserted for every request.

Two hosts, and one more for netrc. On the first there are nested indexes, one without the tail `simple`, two whose files
lie outside their roots, public ones and one that must stay bare; their files redirect into each other's places and to
the second host, of which one folder is a declared root.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import TYPE_CHECKING, Literal

import pytest
from fake_faults import IgnoreRanges, Presigned, RedirectTo, SignedOnly, Status
from fake_index import FakeIndex, Guard, basic
from fake_pages import Tree
from fake_wheels import make_wheel, wheel_filename

from fetcher.auth.credentials import Basic, Credentials, Header
from fetcher.client import Fetcher
from fetcher.index.scope import Index, Policy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fake_index import Wire

How = Literal["sidecar", "range", "stream", "download", "redirect"]
# The version of each index's wheel says what is done with it.
VERSION: dict[How, str] = {"sidecar": "1", "range": "2", "stream": "3", "download": "4", "redirect": "5"}
SECRET_HEADERS = ("Authorization", "JOB-TOKEN", "Cookie")


@dataclass(frozen=True)
class Place:
    """One index: where its pages and files are, its policy, and its credentials' kind."""

    pages: str
    files: str
    policy: Policy = "auto"
    kind: Literal["basic", "header", "none"] = "basic"
    more: dict[str, str] = field(default_factory=dict, hash=False)


PLACES = {
    "odd": Place("/pypi", "/packages", more={"page_format": "html"}),
    "team": Place("/team/simple", "/team/files", "always"),
    "private": Place("/team/private/simple", "/team/private/files"),
    "open": Place("/open/simple", "/open/files", kind="none"),
    "lister": Place("/root/lister/+simple", "/root/base/+f", "always"),
    "blob": Place("/blob/simple", "/blob/files"),
    "moved": Place("/moved/simple", "/moved/files", more={"page_format": "html"}),
    "signed": Place("/signed/simple", "/signed/files", "always"),
    "ci": Place("/api/v4/projects/7/packages/pypi/simple", "/api/v4/projects/7/packages/pypi/files", kind="header"),
    "quiet": Place("/quiet/simple", "/quiet/files", "never"),
}
# Whose credentials a path must see, on the first host and on the second. The longest prefix counts.
OWNERS = (
    {
        "/pypi": "odd",
        "/packages": "odd",  # only because its page lists them
        "/team": "team",
        "/team/private": "private",
        "/root": "lister",  # /root/base only because its page lists them
        "/stray": "lister",  # the same, by way of a redirect
        "/blob": "blob",
        "/moved": "moved",
        "/signed": "signed",
        "/api": "ci",
    },
    {"/blobs": "blob"},  # a declared root
)
# Where the file of "redirect" goes: host, folder.
TURNS = {
    "odd": (0, "/open/mirror"),
    "team": (0, "/team/private/mirror"),
    "private": (0, "/team/mirror"),
    "open": (0, "/pypi/mirror"),
    "lister": (0, "/stray"),
    "blob": (0, "/blob/mirror"),
    "ci": (1, "/public"),
    "quiet": (0, "/team/mirror"),
}


def credentials_of(name: str) -> Credentials:
    return Header("JOB-TOKEN", "ci-secret") if PLACES[name].kind == "header" else Basic(name, f"{name}-secret")


def secret_of(name: str | None) -> dict[str, str]:
    """The secret headers of a request that carries an index's credentials, and no others."""
    if name is None:
        return {}
    return {"JOB-TOKEN": "ci-secret"} if name == "ci" else {"Authorization": basic(name, f"{name}-secret")}


def guard_of(name: str) -> Guard:
    ((header, value),) = secret_of(name).items()
    return Guard((value,), header=header)


@cache
def wheels_of(name: str) -> dict[str, bytes]:
    project = f"demo_{name}"
    sizes = {"1": 150_000, "2": 200_000, "3": 150_000, "4": 20_000, "5": 150_000}
    return {
        wheel_filename(project, version): make_wheel(project, version, size=size, metadata_first=version == "3")
        for version, size in sizes.items()
    }


def tree(name: str, **places: str) -> Tree:
    return Tree(wheels=wheels_of(name), sidecar="none" if name == "open" else "hash", **places)  # type: ignore[arg-type]


def owner_of(host: int, path: str) -> str | None:
    covering = [prefix for prefix in OWNERS[host] if f"{path}/".startswith(f"{prefix}/")]
    return OWNERS[host][max(covering, key=len)] if covering else None


@dataclass
class World:
    """The two hosts, and the one whose index is known to netrc alone."""

    first: FakeIndex
    second: FakeIndex
    netted: FakeIndex

    def index(self, name: str, userinfo: str = "") -> Index:
        if name == "netted":
            return Index(self.netted.url, name=name)
        place = PLACES[name]
        base = self.first.base.replace("://", f"://{userinfo}") if userinfo else self.first.base
        roots = (f"{self.second.base}/blobs",) if name == "blob" else ()
        return Index(base + place.pages, name=name, authenticate=place.policy, roots=roots)

    def check(self) -> None:
        """Every request carried what its place wants, and nothing else."""
        for host, server in enumerate((self.first, self.second)):
            for wire in server.log:
                expected = secret_of(owner_of(host, wire.path))
                assert secrets_in(wire) == expected, f"host {host}: {wire.target}"
                assert wire.status not in (401, 403, 400), wire.target
        bare = [wire for wire in self.netted.log if not secrets_in(wire)]
        assert {wire.status for wire in bare} <= {401}
        assert {wire.path for wire in bare} <= {"/simple/demo-netted/"}  # the first question, perhaps asked by several
        for wire in self.netted.log:
            assert secrets_in(wire) in ({}, secret_of("netted"))


def secrets_in(wire: Wire) -> dict[str, str]:
    return {name: wire.headers[name] for name in SECRET_HEADERS if name in wire.headers}


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        second = FakeIndex(
            more=[
                tree("blob", pages="/unused-1", files="/blobs"),
                tree("moved", pages="/unused-2", files="/moved-store"),
                tree("signed", pages="/unused-3", files="/bucket"),
                tree("ci", pages="/unused-4", files="/public"),
            ],
            auth={"/blobs": guard_of("blob")},
        )
        await stack.enter_async_context(second)
        hrefs = {"blob": f"{second.base}/blobs", "moved": "absolute", "team": "host"}
        trees = [
            tree(name, pages=place.pages, files=place.files, href=hrefs.get(name, "relative"), **place.more)
            for name, place in PLACES.items()
        ]
        mirrors = [
            tree(name, pages=f"/unused-{name}", files=folder) for name, (host, folder) in TURNS.items() if host == 0
        ]
        first = FakeIndex(
            more=[*trees, *mirrors], auth={prefix: guard_of(owner) for prefix, owner in OWNERS[0].items()}
        )
        await stack.enter_async_context(first)
        netted = FakeIndex(
            wheels=wheels_of("netted"),
            sidecar="hash",
            host="localhost",
            auth={"/": Guard((basic("netted", "netted-secret"),))},
        )
        await stack.enter_async_context(netted)
        no_sidecar = {f"*-{VERSION[how]}-*.metadata": Status(404) for how in ("range", "stream", "redirect")}
        servers = (first, second)
        turned = {
            f"{'/blobs' if name == 'blob' else PLACES[name].files}/*-5-*": RedirectTo(servers[host].base + folder)
            for name, (host, folder) in TURNS.items()
        }
        first.faults = {
            **no_sidecar,
            "*-3-*.whl": IgnoreRanges(),
            "/moved/files/*": RedirectTo(f"{second.base}/moved-store"),
            "/signed/files/*": Presigned(f"{second.base}/bucket"),
            **turned,
        }
        second.faults = {**no_sidecar, "*-3-*.whl": IgnoreRanges(), "/bucket/*": SignedOnly(), **turned}
        netted.faults = {**no_sidecar, "*-3-*.whl": IgnoreRanges()}
        yield World(first, second, netted)


@pytest.fixture
def netrc(tmp_path: Path) -> str:
    path = tmp_path / "netrc"
    path.write_text("machine localhost login netted password netted-secret\n")
    return str(path)


def declare(
    here: World, names: list[str], random: Random
) -> tuple[list[Index], dict[str, Credentials], dict[str, str]]:
    """The indexes, each with its credentials in one of the places that are known without a look-up."""
    indexes, callers, environ = [], {}, {}
    for name in names:
        userinfo = ""
        if name not in ("open", "netted"):
            source = "caller" if PLACES[name].kind == "header" else random.choice(["url", "caller", "fetcher", "uv"])
            if source == "url":
                userinfo = f"{name}:{name}-secret@"
            elif source == "caller":
                callers[name] = credentials_of(name)
            else:
                prefix = f"{source.upper()}_INDEX_{name.upper()}"
                environ |= {f"{prefix}_USERNAME": name, f"{prefix}_PASSWORD": f"{name}-secret"}
        indexes.append(here.index(name, userinfo))
    return indexes, callers, environ


async def do(fetcher: Fetcher, name: str, how: How, directory: Path, random: Random) -> None:
    """One thing that a user does, and what comes of it."""
    await asyncio.sleep(random.choice([0, 0, 0.002, 0.01]))
    project = await fetcher.project(f"demo-{name}", index=name)
    (file,) = [file for file in project.files if str(file.version) == VERSION[how]]
    if how == "download" or (how == "redirect" and random.random() < 0.5):
        done = await fetcher.download(file, directory)
        assert done.path.read_bytes() == wheels_of(name)[file.filename]
        assert done.sha256 == hashlib.sha256(wheels_of(name)[file.filename]).hexdigest()
        return
    metadata = await fetcher.metadata(file)
    assert (metadata.name, metadata.version) == (f"demo_{name}", VERSION[how])
    # Pages of "open" advertise no sidecar; that of "redirect" is missing.
    expected = {"redirect": "range", "sidecar": "range" if name == "open" else "sidecar"}
    assert metadata.how == expected.get(how, how)


ALL: list[tuple[str, How]] = [(name, how) for name in (*PLACES, "netted") for how in VERSION]


@pytest.mark.parametrize("seed", range(50))
async def test_right_credentials_in_any_order(seed: int, netrc: str, tmp_path: Path) -> None:
    random = Random(seed)
    names = random.sample([*PLACES, "netted"], len(PLACES) + 1)
    tasks = random.sample(ALL, 14)
    async with world() as here:
        indexes, callers, environ = declare(here, names, random)
        async with Fetcher(
            indexes,
            credentials=callers,
            environ={"NETRC": netrc, **environ},
            concurrency=random.choice([1, 3, 64]),
            retries=0,
        ) as fetcher:
            await asyncio.gather(*(do(fetcher, name, how, tmp_path, Random(random.random())) for name, how in tasks))
        here.check()


async def test_everything_at_once(netrc: str, tmp_path: Path) -> None:
    """Each kind of request has been seen at each place."""
    random = Random("all")
    async with world() as here:
        indexes, callers, environ = declare(here, [*PLACES, "netted"], random)
        async with Fetcher(indexes, credentials=callers, environ={"NETRC": netrc, **environ}, retries=0) as fetcher:
            await asyncio.gather(*(do(fetcher, name, how, tmp_path, Random(random.random())) for name, how in ALL))
        here.check()
        logs = (here.first.log, here.second.log)
        seen = {
            (host, prefix)
            for host, log in enumerate(logs)
            for wire in log
            for prefix in OWNERS[host]
            if wire.path.startswith(prefix)
        }
        assert seen == {(host, prefix) for host in (0, 1) for prefix in OWNERS[host]}
        kinds = [{wire.path.rpartition(".")[2] + ("+range" if wire.range else "") for wire in log} for log in logs]
        assert all({"whl", "whl+range", "metadata"} <= kind for kind in kinds)
        assert len([wire for wire in here.netted.log if not secrets_in(wire)]) <= len(VERSION)


@pytest.mark.parametrize("seed", range(5))
async def test_a_search_through_all_indexes(seed: int, netrc: str) -> None:
    """Each index is asked with its own credentials for a project that another has."""
    random = Random(seed)
    async with world() as here:
        indexes, callers, environ = declare(here, random.sample(list(PLACES), len(PLACES)), random)
        async with Fetcher(indexes, credentials=callers, environ={"NETRC": netrc, **environ}, retries=0) as fetcher:
            projects = await asyncio.gather(*(fetcher.project(f"demo-{name}") for name in PLACES))
        assert [project.index.name for project in projects if project.index] == list(PLACES)
        here.check()
        assert not here.second.log


async def test_the_issue(tmp_path: Path) -> None:
    """`authenticate = "always"`, a page below +simple, a file elsewhere on the host behind a login page (uv 13737)."""
    async with world() as here:
        index = here.index("lister", "lister:lister-secret@")
        async with Fetcher([index], environ={}) as fetcher:
            project = await fetcher.project("demo-lister")
            metadata = await fetcher.metadata(project.files[0])
            done = await fetcher.download(project.files[0], tmp_path)
        assert metadata.name == "demo_lister"
        assert done.path.read_bytes() == wheels_of("lister")[project.files[0].filename]
        here.check()
        assert {wire.path.split("/")[2] for wire in here.first.log} == {"lister", "base"}
