"""The wheels that are benchmarked, and the Simple index that is laid out of them.

Real ones come from the folders given with `--corpus`: every wheel below a folder, and every wheel that the pages of a
Simple index on disk link to (their links may lead out of the folder).  Without a folder a corpus is generated: as many
wheels as asked for, their sizes spread as those of real ones, the same ones each time.
"""

import hashlib
import html
import json
import random
import zipfile
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

from packaging.metadata import parse_email
from packaging.tags import sys_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import Version

from fetcher.index.pages import parse_page
from fetcher.index.urls import parse_url

# What a real corpus holds in this many projects: a median of some 100 KB, a mean of 4 MB, a largest of 500 MB.
MEDIAN_SIZE = 100_000
SPREAD = 2.2
LARGEST = 50_000_000
MIB = 1 << 20


@dataclass(frozen=True, order=True)
class Wheel:
    """One wheel on disk."""

    project: str
    version: Version
    path: Path = field(compare=False)

    @cached_property
    def size(self) -> int:
        """Its bytes."""
        return self.path.stat().st_size

    @cached_property
    def sha256(self) -> str:
        """Its digest, in lower-case hex."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @property
    def pin(self) -> str:
        """The requirement that names it."""
        return f"{self.project}=={self.version}"

    @cached_property
    def metadata(self) -> bytes:
        """Its METADATA."""
        with zipfile.ZipFile(self.path) as archive:
            entry = next(
                name for name in archive.namelist() if name.count("/") == 1 and name.endswith("-info/METADATA")
            )
            return archive.read(entry)

    @property
    def requires_python(self) -> str | None:
        """What it says of the interpreter."""
        return parse_email(self.metadata)[0].get("requires_python")


def wheel_at(path: Path) -> Wheel:
    """Return the wheel that a file is by its name.  Raises InvalidWheelFilename."""
    project, version, _, _ = parse_wheel_filename(path.name)
    return Wheel(project, version, path)


def find_wheels(folders: Iterable[Path]) -> list[Wheel]:
    """Return the newest wheel of each project that this interpreter can install, sorted by project."""
    newest: dict[str, Wheel] = {}
    for wheel in find_all_wheels(folders):
        if wheel.project not in newest or newest[wheel.project] < wheel:
            newest[wheel.project] = wheel
    return sorted(newest.values())


def find_all_wheels(folders: Iterable[Path]) -> list[Wheel]:
    """Return every wheel that this interpreter can install, each name once, in the order of the folders."""
    found: dict[str, Wheel] = {}
    tags = frozenset(sys_tags())
    for path in _wheel_files(folders):
        try:
            project, version, _, own_tags = parse_wheel_filename(path.name)
        except InvalidWheelFilename:
            continue  # an old or odd name, which installers skip too
        if tags & own_tags:
            found.setdefault(path.name, Wheel(project, version, path))
    return list(found.values())


def _wheel_files(folders: Iterable[Path]) -> Iterator[Path]:
    for folder in folders:
        yield from sorted(folder.rglob("*.whl"))
        for page in sorted(folder.glob("*/index.html")):
            # A link is resolved as on any server whose document root is that of the disk.
            listed = parse_page(
                page.read_bytes(), url=f"http://localhost{page.resolve().as_posix()}", name=page.parent.name
            ).files
            paths = (Path(parse_url(file.url).path) for file in listed if file.is_wheel)
            yield from (path for path in paths if path.is_file())


def generate_wheels(folder: Path, count: int) -> list[Wheel]:
    """Make that many wheels in a folder and return them; a second call makes the same ones."""
    chance = random.Random(count)
    sizes = [min(LARGEST, int(MEDIAN_SIZE * chance.lognormvariate(0, SPREAD))) for _ in range(count)]
    return [make_wheel(folder, f"project-{number}", size) for number, size in enumerate(sizes)]


def generate_tree(folder: Path, count: int) -> list[Wheel]:
    """Make that many projects in three versions each, with sizes as above; `project-0` needs all others.

    The newest version of every third project is one that another forbids.
    """
    chance = random.Random(count)
    wheels = []
    for number in range(count):
        children = [child for child in (2 * number + 1, 2 * number + 2) if child < count]
        requires = [f"project-{child}<3" if child % 3 == 0 else f"project-{child}" for child in children]
        # Who needs the same without the bound comes across the newest first.
        requires += [f"project-{child - child % 3}" for child in children if number > 0]
        for version in ("1.0", "2.0", "3.0"):
            size = min(LARGEST, int(MEDIAN_SIZE * chance.lognormvariate(0, SPREAD)))
            wheels.append(make_wheel(folder, f"project-{number}", size, version=version, requires=requires))
    return wheels


def make_wheel(folder: Path, project: str, size: int, *, version: str = "1.0", requires: Collection[str] = ()) -> Wheel:
    """Make one wheel of about that many bytes, METADATA last but one as builders write it."""
    name = project.replace("-", "_")
    path = folder / f"{name}-{version}-py3-none-any.whl"
    chance = random.Random(project)
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open(f"{name}/data.bin", "w", force_zip64=size > 1 << 31) as data:
            for start in range(0, size, MIB):
                data.write(chance.randbytes(min(MIB, size - start)))
        needs = "".join(f"Requires-Dist: {one}\n" for one in requires)
        head = f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n{needs}"
        info = f"{name}-{version}.dist-info"
        archive.writestr(f"{info}/METADATA", f"{head}\n{chance.randbytes(4000).hex()}\n", zipfile.ZIP_DEFLATED)
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", f"{name}/data.bin,,\n")
    return wheel_at(path)


def link_files(wheels: Iterable[Wheel], root: Path) -> None:
    """Make `root/files/`, with a link to each wheel."""
    files = root / "files"
    files.mkdir(parents=True)
    for wheel in wheels:
        (files / wheel.path.name).symlink_to(wheel.path.resolve())


def lay_out(wheels: Collection[Wheel], root: Path, *, sidecars: bool = False) -> None:
    """Write `root/simple/<project>/index.json` and `index.html`; the files are links in `root/files/`.

    JSON (PEP 691) tells sizes and digests (PEP 700), HTML (PEP 503) digests only, as those of public indexes do; both
    tell which Python a wheel requires.  `root/html/<project>/` has no JSON: an index of before PEP 691.  With
    `sidecars` each wheel's METADATA lies beside it, and the JSON says so (PEP 658, 714).
    """
    link_files(wheels, root)
    if sidecars:
        for wheel in wheels:
            (root / "files" / f"{wheel.path.name}.metadata").write_bytes(wheel.metadata)
    for project, group in groupby(sorted(wheels), key=attrgetter("project")):
        listed = list(group)
        both, html_only = root / "simple" / project, root / "html" / project
        both.mkdir(parents=True)
        html_only.mkdir(parents=True)
        (both / "index.json").write_text(_json_page(project, listed, sidecars), encoding="utf-8")
        for page in (both, html_only):
            (page / "index.html").write_text(_html_page(listed), encoding="utf-8")


def _json_page(project: str, wheels: list[Wheel], sidecars: bool) -> str:
    versions = sorted({str(wheel.version) for wheel in wheels})
    files = [_json_file(wheel, sidecars) for wheel in wheels]
    return json.dumps({"meta": {"api-version": "1.1"}, "name": project, "versions": versions, "files": files})


def _json_file(wheel: Wheel, sidecars: bool) -> dict[str, Any]:
    stated: dict[str, Any] = {
        "filename": wheel.path.name,
        "url": f"../../files/{wheel.path.name}",
        "hashes": {"sha256": wheel.sha256},
        "size": wheel.size,
        "upload-time": "2025-01-02T03:04:05.678901Z",
        "yanked": False,
    }
    if wheel.requires_python:
        stated["requires-python"] = wheel.requires_python
    if sidecars:
        stated["core-metadata"] = {"sha256": hashlib.sha256(wheel.metadata).hexdigest()}
    return stated


def _html_page(wheels: list[Wheel]) -> str:
    links = "".join(map(_anchor, wheels))
    return f"<!DOCTYPE html><html><body>\n{links}</body></html>"


def _anchor(wheel: Wheel) -> str:
    name = html.escape(wheel.path.name)
    python = wheel.requires_python
    requires = f' data-requires-python="{html.escape(python)}"' if python else ""
    return f'<a href="../../files/{name}#sha256={wheel.sha256}"{requires}>{name}</a><br>\n'
