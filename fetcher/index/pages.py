"""Simple API pages: bytes in, `Project` and `File` out.

Rules (PEP 503, 592, 629, 658, 691, 700, 708, 714, 740, 792; today's text is the PyPA "Simple repository API"):

1. The bytes say what a page is: `{` first makes it JSON, anything else HTML.  Content-Type is not asked: Nexus sends
   none.
2. A major version other than 1 is refused; a page that states none has 1.0 (PEP 629).
3. Links are resolved against the page's final URL, or its `<base href>` (RFC 3986 §5.2), and their percent-encoding is
   kept to the letter.  They must lead to http or https.
4. Wheels and source distributions are files, told by their suffix; all other links are no concern of ours.
5. A name from the network never leaves its directory: no separators, no control characters, no `..`, no device names.
6. A digest that cannot be one is dropped.  A file that cannot be used is left out and named in `Project.skipped`; the
   page stays.
7. `core-metadata` wins over `dist-info-metadata` (PEP 714).
"""

import codecs
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from packaging.utils import canonicalize_name
from selectolax.lexbor import LexborHTMLParser

from fetcher.errors import BadPage
from fetcher.index.files import SUFFIXES, File, Project, digests, fragment_digests, is_safe_name
from fetcher.index.html_page import check_version, parse_html
from fetcher.index.json_page import JsonFile, Stated, decode_json
from fetcher.index.links import Links, base_url
from fetcher.index.scope import Index
from fetcher.index.urls import parse_url, split_userinfo

__all__ = ["parse_page"]

# A file offset is a signed 64-bit number everywhere.
_SIZE_LIMIT = 2**63


def parse_page(
    body: bytes, *, url: str, name: str, listed_by: Index | None = None, charset: str | None = None
) -> Project:
    """Read a project's page, JSON (PEP 691) or HTML (PEP 503), whatever its Content-Type was.

    `url` is the page's final URL, `name` the project asked for, `charset` what the reply said of HTML.  An HTML page
    without file links is a project without files: whether it is a login page is for the caller to say.

    Raises BadPage for bytes that are neither, or of another major version; ValueError if `url` is not http or https.
    """
    page = _Page(str(split_userinfo(parse_url(url))[0]), canonicalize_name(name), listed_by)
    content = body.removeprefix(codecs.BOM_UTF8).lstrip()
    if content.startswith(b"{"):
        return page.read_json(content)
    return page.read_html(parse_html(body, charset, page.url))


def _sidecar(stated: Stated) -> Mapping[str, str] | None:
    """Read what a page says of a metadata file (PEP 658, 691, 714); None means that there is none."""
    if isinstance(stated, dict):
        return digests(stated)
    if isinstance(stated, str):
        return None if stated in ("false", "False") else fragment_digests(stated)
    return {} if stated else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object) -> tuple[str, ...]:
    return tuple(text for text in value if isinstance(text, str)) if isinstance(value, list) else ()


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _meta_tags(tree: LexborHTMLParser) -> dict[str, list[str]]:
    """Return what the page's meta elements say, by name; what is empty says nothing."""
    found: dict[str, list[str]] = {}
    for node in tree.css("meta[name][content]"):
        attributes = node.attributes
        name, content = attributes["name"], attributes["content"]
        if name and content:
            found.setdefault(name.strip().lower(), []).append(content)
    return found


def _stated_in_html(attributes: Mapping[str, str | None]) -> str | None:
    for key in ("data-core-metadata", "data-dist-info-metadata"):
        if key in attributes:
            return attributes[key] or ""  # an attribute without value is there all the same (PEP 658)
    return None


def _printable(name: str) -> str:
    """Return a name as it may be shown on a terminal."""
    return name if name.isprintable() else ascii(name)[1:-1]


class _Page:
    """One page being read."""

    def __init__(self, url: str, name: str, listed_by: Index | None) -> None:
        self.url = url
        self._name = name
        self._listed_by = listed_by
        self._links = Links(url)
        self._files: list[File] = []
        self._skipped: list[str] = []

    def read_json(self, content: bytes) -> Project:
        try:
            page, files, malformed = decode_json(content)
        except (ValueError, RecursionError) as error:
            raise BadPage(self.url, f"it is no project page in JSON ({error})") from None
        meta, status = _table(page.meta), _table(page.project_status)
        api_version = check_version(meta.get("api-version"), self.url)
        self._skipped += map(_printable, malformed)
        for file in files:
            if file.filename.endswith(SUFFIXES):
                self._add_json(file)
        return self._project(
            api_version=api_version,
            versions=_texts(page.versions),
            status=_text(status.get("status")),
            status_reason=_text(status.get("reason")),
            tracks=_texts(meta.get("tracks")),
            alternate_locations=_texts(page.alternate_locations),
        )

    def _add_json(self, file: JsonFile) -> None:
        url = self._usable(file.filename, file.url.partition("#")[0].strip())
        if url is None:
            return
        sidecar = file.core_metadata
        if sidecar is None:
            sidecar = file.data_dist_info_metadata if file.dist_info_metadata is None else file.dist_info_metadata
        yanked = file.yanked
        self._files.append(
            File(
                file.filename,
                url,
                digests(file.hashes or {}),
                file.size if file.size is not None and 0 <= file.size < _SIZE_LIMIT else None,
                file.requires_python or None,
                bool(yanked),
                yanked if isinstance(yanked, str) else "",
                _sidecar(sidecar),
                file.upload_time,
                self._links.join(file.provenance) if file.provenance else None,
                self._listed_by,
                self._name,
            )
        )

    def read_html(self, tree: LexborHTMLParser) -> Project:
        meta = _meta_tags(tree)
        api_version = check_version(meta.get("pypi:repository-version", [None])[0], self.url)
        base = tree.css_first("base[href]")
        if base is not None:
            self._links = Links(base_url(self.url, base.attributes["href"] or ""))
        for anchor in tree.css("a"):
            self._add_anchor(anchor.attributes)
        return self._project(
            api_version=api_version,
            status=meta.get("pypi:project-status", [""])[0],
            status_reason=meta.get("pypi:project-status-reason", [""])[0],
            tracks=tuple(meta.get("pypi:tracks", ())),
            alternate_locations=tuple(meta.get("pypi:alternate-locations", ())),
        )

    def _add_anchor(self, attributes: Mapping[str, str | None]) -> None:
        reference, _, fragment = (attributes.get("href") or "").strip().partition("#")
        filename = reference.partition("?")[0].rpartition("/")[2]
        if "%" in filename:
            filename = unquote(filename)
        url = self._usable(filename, reference) if filename.endswith(SUFFIXES) else None
        if url is None:
            return
        provenance = attributes.get("data-provenance")
        self._files.append(
            File(
                filename,
                url,
                fragment_digests(fragment) if fragment else {},
                None,
                attributes.get("data-requires-python") or None,
                "data-yanked" in attributes,
                attributes.get("data-yanked") or "",
                _sidecar(_stated_in_html(attributes)),
                None,
                self._links.join(provenance.strip()) if provenance else None,
                self._listed_by,
                self._name,
            )
        )

    def _usable(self, filename: str, reference: str) -> str | None:
        """Return the URL of a file, or None and note its name (rules 3 and 5)."""
        url = self._links.join(reference)
        if url is not None and is_safe_name(filename):
            return url
        self._skipped.append(_printable(filename))
        return None

    def _project(
        self,
        *,
        api_version: str,
        versions: tuple[str, ...] = (),
        status: str,
        status_reason: str,
        tracks: tuple[str, ...],
        alternate_locations: tuple[str, ...],
    ) -> Project:
        return Project(
            self._name,
            tuple(self._files),
            self.url,
            self._listed_by,
            versions,
            status or "active",
            status_reason,
            tracks,
            alternate_locations,
            api_version,
            tuple(self._skipped),
        )
