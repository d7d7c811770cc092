"""pip and uv install from a mirror in a bucket: from itself where keys are flat, else through a web server."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import uuid
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from local_wheels import real_wheels
from packaging.utils import parse_wheel_filename
from real_servers import RealServersMissing, _ask, _clean_environment, uv_command
from seaweed import BUCKET, INDEX_DOCUMENTS, WRITER, Storage, running_front

from fetcher.storage.object_store import ObjectStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.real

# python-dateutil requires six.
PROJECTS = ["python-dateutil", "six", "idna"]
WANTED = ["python-dateutil", "idna"]
INSTALLED = {"dateutil", "six.py", "idna"}


@dataclass(frozen=True)
class Mirror:
    """A mirror in a bucket."""

    storage: Storage
    prefix: str

    @property
    def path(self) -> str:
        return f"/{BUCKET}/{self.prefix}"

    def page(self, project: str) -> str:
        return f"{self.storage.url}{self.path}/simple/{project}/index.html"


@dataclass(frozen=True)
class Mirrored:
    """A wheel as the mirror has it."""

    wheel: Path
    metadata: bytes

    @property
    def key(self) -> str:
        digest = hashlib.sha256(self.wheel.read_bytes()).hexdigest()
        return f"files/{digest[:2]}/{digest[2:]}/{self.wheel.name}"

    @property
    def sha256(self) -> str:
        return "".join(self.key.split("/")[1:3])

    @property
    def link(self) -> str:
        sidecar = hashlib.sha256(self.metadata).hexdigest()
        href = f"../../{self.key}#sha256={self.sha256}"
        return f'<a href="{href}" data-core-metadata="sha256={sidecar}">{self.wheel.name}</a>'

    @property
    def project(self) -> str:
        return parse_wheel_filename(self.wheel.name)[0]


def mirrored(wheel: Path) -> Mirrored:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Mirrored(wheel, archive.read(name))


@pytest.fixture
def fill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Storage], object]:
    async def fill(storage: Storage) -> Mirror:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        for name, value in WRITER.environment(storage.url).items():
            monkeypatch.setenv(name, value)
        mirror = Mirror(storage, uuid.uuid4().hex)
        store = await ObjectStore.open(f"s3://{BUCKET}/{mirror.prefix}")
        for each in map(mirrored, real_wheels(PROJECTS)):
            copy = tmp_path / each.wheel.name
            copy.write_bytes(each.wheel.read_bytes())
            await store.place(each.key, copy, each.sha256)
            await store.put(f"{each.key}.metadata", each.metadata)
            await store.put(f"simple/{each.project}/index.html", page(each.link))
            await store.put(f"simple/{each.project}/index.json", b"{}")
        await store.put("simple/index.html", page(*(f'<a href="{name}/">{name}</a>' for name in PROJECTS)))
        return mirror

    return fill


def page(*links: str) -> bytes:
    # As long as real ones are: SeaweedFS has another way with keys of less than a kilobyte.
    lines = ["<!DOCTYPE html>", "<html><body>", *links, f"<!--{'.' * 2000}-->", "</body></html>"]
    return "\n".join(lines).encode()


@dataclass(frozen=True)
class Installer:
    name: str
    command: list[str]

    def install(self, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
        target = folder / "target"
        return subprocess.run(
            [*self.command, *options, "--target", str(target), *WANTED],
            env=_clean_environment(folder),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )


def _installers() -> Iterator[Installer]:
    pip = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check"]
    yield Installer("pip", [*pip, "install", "--no-cache-dir", "--retries", "0"])
    if uv := uv_command():
        yield Installer("uv", [uv, "--no-config", "--no-cache", "pip", "install", "--python", sys.executable])


@pytest.fixture(params=["pip", "uv"])
def installer(request: pytest.FixtureRequest) -> Installer:
    found = next((each for each in _installers() if each.name == request.param), None)
    if found is None:
        pytest.skip(f"{request.param} is not installed")
    return found


def installed(folder: Path) -> set[str]:
    return {path.name for path in (folder / "target").iterdir()}


async def test_from_the_bucket_itself(
    flat_storage: Storage, fill: Callable[..., object], installer: Installer, tmp_path: Path
) -> None:
    mirror = await fill(flat_storage)
    _installs_through(mirror, "", installer, tmp_path)


async def test_through_a_web_server_that_knows_index_documents(
    seaweed: Storage, fill: Callable[..., object], installer: Installer, tmp_path: Path
) -> None:
    mirror = await fill(seaweed)
    _installs_through(mirror, INDEX_DOCUMENTS, installer, tmp_path)


def _installs_through(mirror: Mirror, how: str, installer: Installer, folder: Path) -> None:
    """Caddy counts what comes by, and is no more to it than `how` says."""
    try:
        with running_front(mirror.storage, folder, how) as front:
            done = installer.install(folder, "--index-url", f"{front.url}{mirror.path}/simple/")
            requests = front.access_log.requests()
    except RealServersMissing as missing:
        pytest.skip(str(missing))
    assert done.returncode == 0, done.stderr
    assert installed(folder) >= INSTALLED
    asked = [each.path.removeprefix(mirror.path) for each in requests]
    assert {each.status for each in requests} == {200}, requests
    assert {path for path in asked if path.startswith("/simple/")} == {f"/simple/{name}/" for name in PROJECTS}
    assert sorted(path for path in asked if path.endswith(".metadata")) == sorted(
        f"/{mirrored(wheel).key}.metadata" for wheel in real_wheels(PROJECTS)
    )


async def test_seaweed_takes_a_page_for_a_directory(
    seaweed: Storage, fill: Callable[..., object], installer: Installer, tmp_path: Path
) -> None:
    mirror = await fill(seaweed)
    port = int(seaweed.url.rpartition(":")[2])
    assert _ask(port, "GET", f"{mirror.path}/simple/six/") == (200, b"")
    assert _ask(port, "GET", f"{mirror.path}/simple/six")[0] == 404
    done = installer.install(tmp_path, "--index-url", f"{seaweed.url}{mirror.path}/simple/")
    assert done.returncode != 0
    # The pages themselves are there, under the names that they have.
    pages = [option for name in PROJECTS for option in ("--find-links", mirror.page(name))]
    done = installer.install(tmp_path, "--no-index", *pages)
    assert done.returncode == 0, done.stderr
    assert installed(tmp_path) >= INSTALLED
