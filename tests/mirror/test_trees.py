"""pip and uv install real trees from a mirror: from its directory, through a web server, from a bucket.

`FETCHER_TREES=5` takes five large trees (of some 300 projects, minutes) in the place of two small ones.
"""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from corpus import lay_out, wheel_at
from local_wheels import all_local_wheels
from real_servers import RealServersMissing, _clean_environment, uv_command
from seaweed import BUCKET, INDEX_DOCUMENTS, WRITER, running_front
from web_server import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from seaweed import Storage

pytestmark = pytest.mark.real

LARGE = [
    "jupyter",
    "fastmcp[gemini]",
    "streamlit[charts]",
    "spacy",
    "pandas scipy scikit-learn matplotlib",
]
TREES = LARGE if os.environ.get("FETCHER_TREES") == "5" else ["requests", "uvicorn[standard] starlette"]
PUT = """
import anyio, sys
from fetcher.storage.object_store import ObjectStore

async def main():
    await (await ObjectStore.open(sys.argv[1])).put(sys.argv[2], b"mine")

anyio.run(main)
"""
# The most that a wheel of the site has: laying it out reads every one.
LARGEST = (256 if TREES is LARGE else 8) << 20


@dataclass(frozen=True)
class Site:
    """An index of local wheels, without sidecars, on a real web server."""

    url: str
    folder: Path

    def prefetch(self, to: str, **environment: str) -> None:
        """Mirror all trees."""
        names = [name for tree in TREES for name in tree.split()]
        command = [sys.executable, "-m", "fetcher", "prefetch", *names, "--with-dependencies", "--to", to, "--quiet"]
        done = subprocess.run(
            [*command, "--index-url", f"{self.url}/simple", "--state", str(self.folder / f"state-{hash(to)}")],
            env={**_clean_environment(self.folder), **environment},
            capture_output=True,
            text=True,
        )
        if "has no version" in done.stderr or "no index has" in done.stderr:
            pytest.skip(f"the local folders do not have all of it: {done.stderr[-300:]}")
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    paths = [path for path in all_local_wheels() if path.stat().st_size <= LARGEST]
    if not paths:
        pytest.skip("pip is configured with no local folder of wheels")
    root = tmp_path_factory.mktemp("site")
    lay_out([wheel_at(path) for path in paths], root)
    with serving(root) as server:
        yield Site(server.url, tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def directory(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    mirror = tmp_path_factory.mktemp("mirror")
    site.prefetch(str(mirror))
    return mirror


def commands(index_url: str) -> dict[str, list[str]]:
    pip = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", "install", "--no-cache-dir", "-q"]
    uv = [uv_command() or "", "--no-config", "--no-cache", "pip", "install", "--python", sys.executable]
    return {name: [*command, "--index-url", index_url] for name, command in (("pip", pip), ("uv", uv)) if command[0]}


def install(command: list[str], tree: str, folder: Path, *more: str) -> None:
    done = subprocess.run(
        [*command, *more, "--target", str(folder / "target"), *tree.split()],
        env=_clean_environment(folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("client", ["pip", "uv"])
def test_from_the_directory(directory: Path, tree: str, client: str, tmp_path: Path) -> None:
    install(commands((directory / "simple").as_uri())[client], tree, tmp_path)
    assert any((tmp_path / "target").glob("*.dist-info"))


@pytest.mark.parametrize("tree", TREES)
def test_through_a_web_server(directory: Path, tree: str, tmp_path: Path) -> None:
    with serving(directory) as server:
        found = commands(f"{server.url}/simple/")
        install(found["pip"], tree, tmp_path / "pip")
        server.forget()
        install(found["uv"], tree, tmp_path / "dry", "--dry-run")
        asked = server.paths()
        assert not [path for path in asked if path.endswith(".whl")], "bytes of wheels before anything is installed"
        assert [path for path in asked if path.endswith(".metadata")]
        install(found["uv"], tree, tmp_path / "uv")
    assert {path.name for path in (tmp_path / "pip" / "target").glob("*.dist-info")} == {
        path.name for path in (tmp_path / "uv" / "target").glob("*.dist-info")
    }


@pytest.mark.parametrize("how", ["the bucket itself", "a web server before it"])
def test_from_a_bucket(site: Site, how: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    flat = how == "the bucket itself"
    storage: Storage = request.getfixturevalue("flat_storage" if flat else "seaweed")
    prefix = uuid.uuid4().hex
    site.prefetch(f"s3://{BUCKET}/{prefix}", **WRITER.environment(storage.url))
    try:
        with running_front(storage, tmp_path, "" if flat else INDEX_DOCUMENTS) as front:
            for tree in TREES:
                for client, command in commands(f"{front.url}/{BUCKET}/{prefix}/simple/").items():
                    install(command, tree, tmp_path / f"{client}-{TREES.index(tree)}")
            asked = [each.path for each in front.access_log.requests()]
    except RealServersMissing as missing:
        pytest.skip(str(missing))
    assert [path for path in asked if path.endswith(".metadata")]


def test_a_bucket_of_somebody_else(site: Site, flat_storage: Storage) -> None:
    to = f"s3://{BUCKET}/{uuid.uuid4().hex}"
    store = WRITER.environment(flat_storage.url)
    put = [sys.executable, "-c", PUT, to, "files/holiday.jpg"]
    subprocess.run(put, env={**_clean_environment(site.folder), **store}, check=True)
    command = [sys.executable, "-m", "fetcher", "prefetch", "requests", "--to", to, "--index-url", f"{site.url}/simple"]
    done = subprocess.run(
        command, env={**_clean_environment(site.folder), **store}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{to} has files/holiday.jpg, and is no mirror: choose another prefix" in done.stderr
