"""The list of an index's projects: bytes in, names out (PEP 503, 691).

- The bytes say what it is: `{` first makes it JSON, anything else HTML.
- In HTML a project is called what its link says, or, where that is no name, as the last segment that it leads to.  The
  links are found without a tree: an index of a million projects has three million tags.
- A name that cannot be one is left out.

This file is pure.
"""

import codecs
import re
from collections.abc import Iterable
from urllib.parse import unquote

import msgspec
from packaging.utils import InvalidName, canonicalize_name

from fetcher.errors import BadPage
from fetcher.index.html_page import check_version, decode_text

__all__ = ["parse_root"]


class _Named(msgspec.Struct, gc=False):
    name: str


class _Meta(msgspec.Struct):
    api_version: str | float | None = msgspec.field(default=None, name="api-version")


class _Root(msgspec.Struct):
    projects: list[_Named]
    meta: _Meta | None = None


# A link's attributes, and its text up to the next tag; both bounded, so that looking for them takes linear time.
_LINK = re.compile(r"<a\b([^<>]{0,4096})>([^<]{0,256})", re.IGNORECASE)
_HREF = re.compile(r"""\bhref\s{0,9}=\s{0,9}(["']?)([^"'\s]{0,2048})""", re.IGNORECASE)

_decoder = msgspec.json.Decoder(_Root)


def parse_root(body: bytes, *, url: str, charset: str | None = None) -> tuple[str, ...]:
    """Return the normalized names of the projects, each once, in the order of the page.

    Raises BadPage for bytes that are neither JSON nor HTML of version 1.
    """
    content = body.removeprefix(codecs.BOM_UTF8).lstrip()
    if not content.startswith(b"{"):
        links = _LINK.findall(decode_text(body, charset))
        if not links:  # a page of maintenance, for one
            raise BadPage(url, "it lists no projects")
        return _names(_said(*link) for link in links)
    try:
        root = _decoder.decode(content)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadPage(url, f"it is no list of projects in JSON ({error})") from None
    check_version(None if root.meta is None else root.meta.api_version, url)
    return _names(project.name for project in root.projects)


def _said(attributes: str, text: str) -> str:
    """Return what a link calls its project."""
    if _normalized(text.strip()) is not None or (href := _HREF.search(attributes)) is None:
        return text.strip()
    return unquote(href[2].partition("#")[0].partition("?")[0].rstrip("/").rpartition("/")[2])


def _names(stated: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for text in stated if (name := _normalized(text)) is not None))


def _normalized(text: str) -> str | None:
    try:
        return canonicalize_name(text, validate=True)
    except InvalidName:
        return None
