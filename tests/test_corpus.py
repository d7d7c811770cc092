"""METADATA of every real wheel at hand, from a real web server, against what zipfile reads from the file."""

from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from corpus import Wheel, lay_out, wheel_at
from local_wheels import all_local_wheels, real_wheels
from web_server import serving

from fetcher import Fetcher, Index, Metadata

pytestmark = pytest.mark.real

# The bounds are those of the whole corpus; of a handful of wheels a mean says nothing.
ENOUGH_FOR_A_MEAN = 500


@pytest.fixture(scope="module")
def wheels() -> dict[str, Wheel]:
    found = all_local_wheels() or real_wheels(["cryptography", "idna", "packaging", "six"])
    return {path.name: wheel_at(path) for path in found}


@pytest.fixture(scope="module")
def site(wheels: dict[str, Wheel], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("site")
    lay_out(wheels.values(), root)
    return root


@pytest.fixture(params=["size unknown", "size known"])
def sizes(request: pytest.FixtureRequest) -> bool:
    return request.param == "size known"


@pytest.fixture
def index(site: Path, sizes: bool) -> Iterator[str]:
    with serving(site) as server:
        yield f"{server.url}/{'simple' if sizes else 'html'}"


async def read_all(url: str, names: set[str]) -> dict[str, Metadata]:
    found: dict[str, Metadata] = {}

    async def one(name: str) -> None:
        project = await fetcher.project(name)
        for file in project.files:
            found[file.filename] = await fetcher.metadata(file)

    async with Fetcher([Index(url)]) as fetcher, anyio.create_task_group() as tasks:
        for name in names:
            tasks.start_soon(one, name)
    return found


async def test_all_metadata_in_few_requests(index: str, wheels: dict[str, Wheel], sizes: bool) -> None:
    found = await read_all(index, {wheel.project for wheel in wheels.values()})

    assert found.keys() == wheels.keys()
    assert [name for name, wheel in wheels.items() if found[name].raw != wheel.metadata] == []
    assert all(metadata.verified for metadata in found.values())
    mean = sum(metadata.requests for metadata in found.values()) / len(found)
    kib = sum(metadata.bytes for metadata in found.values()) / len(found) / 1024
    most = max(metadata.requests for metadata in found.values())
    known = "known" if sizes else "unknown"
    print(f"{len(found)} wheels, size {known}: {mean:.3f} requests, at most {most}, {kib:.1f} KiB")
    assert most <= 3
    if len(found) >= ENOUGH_FOR_A_MEAN:
        assert mean <= (1.10 if sizes else 1.15)
        assert kib <= 110
