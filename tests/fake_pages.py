"""What a fake index has: Simple API pages as JSON (PEP 691, 700, 714) or HTML (PEP 503, 658, 714), files, sidecars."""

from __future__ import annotations

import hashlib
import html
import json
import mmap
import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, assert_never
from urllib.parse import quote

from fake_answers import Resource, etag_of
from fake_wheels import metadata_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fake_answers import Content

# What an index says of a file, and so what tells in the end that its bytes are right: else nobody but the server.
KNOWN: dict[str, dict[str, Any]] = {
    "size-and-hash": {"page_format": "json"},
    "hash": {"page_format": "html"},
    "size": {"page_format": "json", "hashes": "none"},
    "nothing": {"page_format": "html", "hashes": "none"},
}

Advertised: TypeAlias = Literal["none", "plain", "hash", "legacy", "wrong_hash", "wheel_hash"]


@dataclass(kw_only=True)
class Tree:
    """One index: where its pages and files are, and what its pages say.

    wheels: file name to bytes or to a file on disk; sdists may be among them. pages, files: path prefixes; any folders
    may stand between `files` and the name. sizes: JSON only, HTML pages have none. hashes: sha256, in this case.
    sidecar: not there; advertised without a hash; with it; with it, under PEP 658's first name; with a hash of
    something else; with the wheel's own hash, as caching proxies do.
    href: "relative", "absolute", "host" (`//host/path`), or a URL to which the file name is appended.
    says: file name to what the page says of it besides, JSON only: yanked, requires-python.
    hidden_from_anonymous: a glob of file names listed only for requests with Authorization (Artifactory, pip 11721).
    """

    wheels: Mapping[str, bytes | Path] = field(default_factory=dict)
    pages: str = "/simple"
    files: str = "/files"
    page_format: Literal["json", "html"] = "json"
    sizes: bool = True
    hashes: Literal["lower", "upper", "none"] = "lower"
    sidecar: Advertised = "none"
    href: str = "relative"
    says: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    hidden_from_anonymous: str = ""

    def find(self, path: str, *, base: str, anonymous: bool) -> Resource | None:
        """What this index has at a decoded path. Names of pages must be normalized and end with a slash."""
        if path.startswith(f"{self.files}/") and (found := self._find_file(path.rpartition("/")[2])):
            return found
        if path == f"{self.pages}/":
            return self._list_projects()
        project = path.removeprefix(f"{self.pages}/").removesuffix("/")
        if path != f"{self.pages}/{project}/":
            return None
        hidden = self.hidden_from_anonymous if anonymous else ""
        own = [name for name in self.wheels if _project_of(name) == project]
        links = {name: self._link(name, base) for name in own if not fnmatchcase(name, hidden)}
        return self._list_files(project, links) if own else None

    def _find_file(self, name: str) -> Resource | None:
        wheel = name.removesuffix(".metadata")
        if name in self.wheels:
            content = _content(self.wheels[name])
        elif wheel in self.wheels and self.sidecar != "none":
            content = _metadata(self.wheels[wheel])
        else:
            return None
        return Resource(content, "application/octet-stream", etag_of(content))

    def _link(self, name: str, base: str) -> str:
        match self.href:
            case "relative":
                folder = "../" * (self.pages.count("/") + 1) + self.files.removeprefix("/")
            case "absolute":
                folder = base + self.files
            case "host":
                folder = base[base.index("//") :] + self.files
            case elsewhere:
                folder = elsewhere.removesuffix("/")
        return f"{folder}/{quote(name)}"

    def _list_projects(self) -> Resource:
        names = sorted({_project_of(name) for name in self.wheels})
        if self.page_format == "html":
            return _html_page([f'<a href="{name}/">{name}</a>' for name in names])
        return _json_page({"projects": [{"name": name} for name in names]})

    def _list_files(self, project: str, links: Mapping[str, str]) -> Resource:
        if self.page_format == "html":
            return _html_page([self._anchor(name, link) for name, link in links.items()])
        versions = sorted({_stem(name).split("-")[1] for name in links})
        files = [self._file_object(name, link) for name, link in links.items()]
        return _json_page({"name": project, "versions": versions, "files": files})

    def _file_object(self, name: str, link: str) -> dict[str, Any]:
        hashes = {"sha256": self._sha256(name)} if self.hashes != "none" else {}
        file: dict[str, Any] = {"filename": name, "url": link, "hashes": hashes, "yanked": False}
        file |= self.says.get(name, {})
        if self.sizes:
            file["size"] = len(_content(self.wheels[name]))
        if name.endswith(".whl") and self.sidecar != "none":
            digest = self._sidecar_sha256(name)
            key = "dist-info-metadata" if self.sidecar == "legacy" else "core-metadata"
            file[key] = True if digest is None else {"sha256": digest}
        return file

    def _anchor(self, name: str, link: str) -> str:
        fragment = f"#sha256={self._sha256(name)}" if self.hashes != "none" else ""
        attributes = f'href="{html.escape(link + fragment)}"'
        if name.endswith(".whl") and self.sidecar != "none":
            digest = self._sidecar_sha256(name)
            key = "data-dist-info-metadata" if self.sidecar == "legacy" else "data-core-metadata"
            attributes += f' {key}="{"true" if digest is None else f"sha256={digest}"}"'
        return f"<a {attributes}>{html.escape(name)}</a>"

    def _sha256(self, name: str) -> str:
        digest = _sha256(_content(self.wheels[name]))
        return digest.upper() if self.hashes == "upper" else digest

    def _sidecar_sha256(self, name: str) -> str | None:
        match self.sidecar:
            case "none" | "plain":
                return None
            case "hash" | "legacy":
                return _sha256(_metadata(self.wheels[name]))
            case "wrong_hash":
                return _sha256(b"something else")
            case "wheel_hash":
                return _sha256(_content(self.wheels[name]))
            case _:
                assert_never(self.sidecar)


class Everywhere(Tree):
    """Has its one file under every name below /any/."""

    def find(self, path: str, *, base: str, anonymous: bool) -> Resource | None:
        (content,) = self.wheels.values()
        assert isinstance(content, bytes)
        return Resource(content, "application/octet-stream", etag_of(content)) if path.startswith("/any/") else None


def _json_page(page: Mapping[str, Any]) -> Resource:
    body = json.dumps({"meta": {"api-version": "1.1"}, **page}).encode()
    return Resource(body, "application/vnd.pypi.simple.v1+json", etag_of(body))


def _html_page(anchors: list[str]) -> Resource:
    head = '<!DOCTYPE html>\n<html><head><meta name="pypi:repository-version" content="1.1"><title>Links</title></head>'
    body = "\n".join([f"{head}<body>", *(f"{anchor}<br>" for anchor in anchors), "</body></html>"]).encode()
    return Resource(body, "text/html; charset=utf-8", etag_of(body))


def _stem(name: str) -> str:
    """The file name without its suffix; of an sdist with the name's dashes turned, so that fields split alike."""
    if not name.endswith(".tar.gz"):
        return name
    project, version = re.split(r"-(?=\d)", name.removesuffix(".tar.gz"), maxsplit=1)
    return f"{project.replace('-', '_')}-{version}"


def _project_of(name: str) -> str:
    return re.sub(r"[-_.]+", "-", _stem(name).split("-")[0]).lower()


def _content(wheel: bytes | Path) -> Content:
    return _map(wheel) if isinstance(wheel, Path) else wheel


def _map(path: Path) -> mmap.mmap:
    # Not kept: a mapping holds a file descriptor for as long as it lives.
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _sha256(content: Content) -> str:
    return hashlib.sha256(content).hexdigest()


def _metadata(wheel: bytes | Path) -> bytes:
    return metadata_of(_content(wheel)[:])
