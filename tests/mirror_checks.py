"""What must hold of a mirror in a directory: seen from outside, as installers and web servers see it."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from fake_wheels import metadata_of

from fetcher.index.pages import parse_page

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fetcher.index.files import File

PRIVATE = ".fetcher"
_HREF = re.compile(r'(?:href="|"url":")\.\./\.\./(files/[^"#]+)')


@dataclass(frozen=True)
class Seen:
    """A file as installers know it from a page."""

    filename: str
    url: str
    sha256: str | None
    yanked: bool
    requires_python: str | None
    metadata: str | None

    @classmethod
    def of(cls, file: File) -> Seen:
        sidecar = None if file.sidecar is None else file.sidecar.get("sha256")
        return cls(file.filename, file.url, file.hashes.get("sha256"), bool(file.yanked), file.requires_python, sidecar)


def snapshot(root: Path) -> dict[str, str]:
    """Path to digest of all that is served."""
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in _served(root)}


def identities(root: Path) -> dict[str, tuple[int, int]]:
    """Path to inode and time: what was written again differs."""
    return {name: (path.stat().st_ino, path.stat().st_mtime_ns) for name, path in _served(root)}


def mirrored(root: Path) -> list[str]:
    """The names of the files in the mirror."""
    names = (path.name for name, path in _served(root) if name.startswith("files/"))
    return sorted(name for name in names if not name.endswith((".metadata", ".provenance")))


def page(root: Path, project: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / "simple" / project / "index.json").read_bytes())
    return found


def listed(root: Path, project: str) -> list[str]:
    return [file["filename"] for file in page(root, project)["files"]]


def dangling(root: Path) -> list[str]:
    """The links of pages, as they are read right now, that lead nowhere; a page that changes meanwhile is not held to
    what it said before."""
    projects = [name for name in os.listdir(root / "simple") if "." not in name]
    pages = [root / "simple" / name / f"index.{kind}" for name in projects for kind in ("html", "json")]
    return [f"{path.relative_to(root)}: {link}" for path in pages for link in _lost(root, path)]


def _lost(root: Path, path: Path) -> Iterator[str]:
    try:
        said = path.read_text()
        lost = [link for link in _HREF.findall(said) if not (root / unquote(link)).exists()]
        if lost and path.read_text() == said:
            yield from lost
    except OSError:  # it has gone since, or is no page
        return


def problems(root: Path) -> list[str]:
    """All that is wrong with a mirror, as sentences; none for a right one."""
    projects = {project["name"] for project in json.loads((root / "simple/index.json").read_bytes())["projects"]}
    in_html = set(re.findall(r'<a href="([^"]+)/">', (root / "simple/index.html").read_text()))
    there = {path.name for path in (root / "simple").iterdir() if path.is_dir()}
    found = [] if projects == in_html == there else [f"projects: {projects} in JSON, {in_html} in HTML, {there} there"]
    used = {"index.html", "simple/index.html", "simple/index.json"}
    for project in sorted(there):
        found += _project_problems(root, project, used)
    return found + [f"stray: {name}" for name, _ in _served(root) if name not in used]


def _project_problems(root: Path, project: str, used: set[str]) -> Iterator[str]:
    files = {}
    for kind in ("json", "html"):
        name = f"simple/{project}/index.{kind}"
        used.add(name)
        if not (root / name).exists():
            yield f"{name} is missing"
            return
        read = parse_page((root / name).read_bytes(), url=f"http://mirror/simple/{project}/", name=project)
        yield from (f"{name}: {skipped} cannot be used" for skipped in read.skipped)
        files[kind] = read.files
    seen = {kind: [astuple(Seen.of(file)) for file in of_kind] for kind, of_kind in files.items()}
    if seen["json"] != seen["html"]:
        yield f"the pages of {project} disagree: {seen}"
    for file in files["json"]:
        yield from _file_problems(root, file, used)


def _file_problems(root: Path, file: File, used: set[str]) -> Iterator[str]:
    name = unquote(urlsplit(file.url).path).lstrip("/")
    used |= {name, *([f"{name}.metadata"] if file.sidecar is not None else [])}
    used |= {unquote(urlsplit(file.provenance).path).lstrip("/")} if file.provenance else set()
    path = root / name
    if not path.is_file():
        yield f"{name} is on a page, and not there"
        return
    content = path.read_bytes()
    if (hashlib.sha256(content).hexdigest(), len(content)) != (file.hashes.get("sha256"), file.size):
        yield f"{name} is not what the page says"
    if file.is_wheel:
        yield from _sidecar_problems(path, content, file)


def _sidecar_problems(path: Path, wheel: bytes, file: File) -> Iterator[str]:
    sidecar = path.with_name(f"{path.name}.metadata")
    if file.sidecar is None or not sidecar.is_file():
        yield f"{path.name} has no sidecar"
        return
    metadata = sidecar.read_bytes()
    if hashlib.sha256(metadata).hexdigest() != file.sidecar.get("sha256") or metadata != metadata_of(wheel):
        yield f"the sidecar of {path.name} is not its METADATA"


def _served(root: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root)
        if path.is_file() and name.parts[0] != PRIVATE:
            yield name.as_posix(), path
