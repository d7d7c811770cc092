"""What a mirror looks like: a static Simple API that pip and uv install from.

    index.html                              what this is, for people
    simple/index.html, index.json           the projects (PEP 503, 691)
    simple/PROJECT/index.html, index.json   the files of a project (PEP 503, 592, 629, 658, 691, 700, 714, 740, 792)
    files/DI/GEST/FILENAME                  a file, under its SHA-256
    files/DI/GEST/FILENAME.metadata         its METADATA (PEP 658)
    files/DI/GEST/FILENAME.provenance       its attestations (PEP 740)

- Whatever a page names has a name of its own for each content: a page that somebody read a while ago never leads to
  other bytes than it promised.
- Links are relative: the tree may be moved, served under any prefix, or read as `file://`.
- Pages are a function of what they list: the same files make the same bytes.

This file is pure.
"""

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from fetcher.mirror.records import Entry, Facts
from fetcher.words import counted, size as in_words

__all__ = [
    "FRONT_KEY",
    "ROOT_KEYS",
    "file_key",
    "page_keys",
    "provenance_key",
    "render_front",
    "render_project",
    "render_root",
    "sidecar_key",
]

# PEP 792, the newest of what is written here.
API_VERSION = "1.4"
FRONT_KEY = "index.html"
ROOT_KEYS = ("simple/index.json", "simple/index.html")


def file_key(sha256: str, filename: str) -> str:
    """Return the key of a file; 256 directories hold the rest, so that none gets too large to list."""
    return f"files/{sha256[:2]}/{sha256[2:]}/{filename}"


def sidecar_key(sha256: str, filename: str) -> str:
    """Return the key of a file's METADATA (PEP 658)."""
    return f"{file_key(sha256, filename)}.metadata"


def provenance_key(sha256: str, filename: str) -> str:
    """Return the key of a file's attestations."""
    return f"{file_key(sha256, filename)}.provenance"


def page_keys(project: str) -> tuple[str, str]:
    """Return the keys of a project's page, as JSON and as HTML."""
    return f"simple/{project}/index.json", f"simple/{project}/index.html"


def render_project(facts: Facts, entries: Iterable[Entry]) -> tuple[bytes, bytes]:
    """Return a project's page as JSON and as HTML; it lists those of the files that are in the mirror.

    That of a project in quarantine lists none (PEP 792).
    """
    entries = () if facts.status == "quarantined" else entries
    listed = sorted((entry for entry in entries if entry.content is not None), key=lambda entry: entry.filename)
    return _project_json(facts, listed), _project_html(facts, listed)


def render_root(projects: Sequence[str]) -> tuple[bytes, bytes]:
    """Return the list of projects, given in order, as JSON and as HTML."""
    page = {"meta": {"api-version": API_VERSION}, "projects": [{"name": name} for name in projects]}
    links = "".join(f'    <a href="{name}/">{name}</a><br>\n' for name in map(html.escape, projects))
    return _json(page), _html("Simple index", links)


def render_front(projects: int, files: int, size: int) -> bytes:
    """Return the page for people; `size` in bytes."""
    told = f"{counted(projects, 'project')}, {counted(files, 'file')}, {in_words(size)}."
    body = (
        f'    <h1>Package mirror</h1>\n    <p>{told} <a href="simple/">All projects</a></p>\n'
        "    <p>Install from it with <code>pip install --index-url URL/simple/ NAME</code> or "
        "<code>uv pip install --index-url URL/simple/ NAME</code>, where URL is the address of this page's directory."
        "</p>\n"
    )
    return _html("Package mirror", body)


def _url(key: str) -> str:
    """Return the link to a key from a project's page."""
    return f"../../{quote(key)}"


def _json(page: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(page, order="deterministic")


def _project_json(facts: Facts, listed: Sequence[Entry]) -> bytes:
    meta: dict[str, Any] = {"api-version": API_VERSION}
    if facts.tracks:
        meta["tracks"] = facts.tracks
    page: dict[str, Any] = {
        "meta": meta,
        "name": facts.name,
        "versions": sorted({str(version) for entry in listed if (version := entry.version) is not None}),
        "files": [_file_json(entry) for entry in listed],
    }
    if facts.status != "active":
        page["project-status"] = {"status": facts.status} | (
            {"reason": facts.status_reason} if facts.status_reason else {}
        )
    if facts.alternate_locations:
        page["alternate-locations"] = facts.alternate_locations
    return _json(page)


def _file_json(entry: Entry) -> dict[str, Any]:
    listing, content = entry.listing, entry.there
    stated: dict[str, Any] = {
        "filename": entry.filename,
        "url": _url(file_key(content.sha256, entry.filename)),
        "hashes": {**listing.hashes, "sha256": content.sha256},
        "size": content.size,
        "yanked": (listing.yanked_reason or True) if listing.yanked else False,
        "core-metadata": {"sha256": content.metadata} if content.metadata else False,
    }
    if requires := entry.requires_python:
        stated["requires-python"] = requires
    if listing.upload_time:
        stated["upload-time"] = listing.upload_time
    if content.provenance:
        stated["provenance"] = _url(provenance_key(content.sha256, entry.filename))
    return stated


def _project_html(facts: Facts, listed: Sequence[Entry]) -> bytes:
    metas = "".join(
        f'    <meta name="{name}" content="{html.escape(value)}">\n' for name, value in _metas(facts) if value
    )
    links = "".join(f"    {_anchor(entry)}<br>\n" for entry in listed)
    return _html(f"Links for {facts.name}", f"    <h1>Links for {html.escape(facts.name)}</h1>\n{links}", metas)


def _metas(facts: Facts) -> list[tuple[str, str]]:
    """Return the name and content of each meta element of a project's page."""
    status = "" if facts.status == "active" else facts.status
    return [
        ("pypi:project-status", status),
        ("pypi:project-status-reason", facts.status_reason if status else ""),
        *(("pypi:tracks", url) for url in facts.tracks),
        *(("pypi:alternate-locations", url) for url in facts.alternate_locations),
    ]


def _anchor(entry: Entry) -> str:
    """Return the link to a file; older clients know `core-metadata` by its first name (PEP 714)."""
    listing, content = entry.listing, entry.there
    attributes = {"href": f"{_url(file_key(content.sha256, entry.filename))}#sha256={content.sha256}"}
    if requires := entry.requires_python:
        attributes["data-requires-python"] = requires
    if content.metadata:
        attributes["data-core-metadata"] = attributes["data-dist-info-metadata"] = f"sha256={content.metadata}"
    if listing.yanked:
        attributes["data-yanked"] = listing.yanked_reason
    if content.provenance:
        attributes["data-provenance"] = _url(provenance_key(content.sha256, entry.filename))
    written = " ".join(f'{name}="{html.escape(value)}"' for name, value in attributes.items())
    return f"<a {written}>{html.escape(entry.filename)}</a>"


def _html(title: str, body: str, metas: str = "") -> bytes:
    return (
        "<!DOCTYPE html>\n<html>\n  <head>\n"
        '    <meta charset="utf-8">\n'
        f'    <meta name="pypi:repository-version" content="{API_VERSION}">\n'
        f"{metas}    <title>{html.escape(title)}</title>\n  </head>\n  <body>\n{body}  </body>\n</html>\n"
    ).encode()
