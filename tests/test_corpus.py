"""METADATA of every real wheel at hand, from a real web server, against what zipfile reads from the file."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from corpus import all_local_wheels, real_wheels
from real_servers import RealServersMissing
from real_static import serving, write_index

from fetcher import Fetcher, Index, Metadata

pytestmark = pytest.mark.real

# The bounds are those of the whole corpus; of a handful of wheels a mean says nothing.
ENOUGH_FOR_A_MEAN = 500


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = all_local_wheels() or real_wheels(["cryptography", "idna", "packaging", "six"])
    return {wheel.name: wheel for wheel in found}


@pytest.fixture(params=["size unknown", "size known"])
def sizes(request: pytest.FixtureRequest) -> bool:
    return request.param == "size known"


@pytest.fixture
def index(wheels: dict[str, Path], sizes: bool, tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    names = write_index(wheels.values(), tmp_path / "root", sizes=sizes)
    try:
        with serving(tmp_path / "root", tmp_path) as url:
            yield f"{url}/simple", names
    except RealServersMissing as missing:
        pytest.skip(str(missing))


async def read_all(url: str, names: list[str]) -> dict[str, Metadata]:
    found: dict[str, Metadata] = {}

    async def one(name: str) -> None:
        project = await fetcher.project(name)
        for file in project.files:
            found[file.filename] = await fetcher.metadata(file)

    async with Fetcher([Index(url)]) as fetcher, anyio.create_task_group() as tasks:
        for name in names:
            tasks.start_soon(one, name)
    return found


def metadata_by_zipfile(wheel: Path) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith(".dist-info/METADATA")]
        return archive.read(names[0])


async def test_all_metadata_in_few_requests(index: tuple[str, list[str]], wheels: dict[str, Path], sizes: bool) -> None:
    found = await read_all(*index)

    assert found.keys() == wheels.keys()
    assert [name for name, wheel in wheels.items() if found[name].raw != metadata_by_zipfile(wheel)] == []
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
