"""Which objects a mirror has to have, by the word of its manifest, or of its pages where there is no manifest.

- The manifest names a file, its METADATA and its attestations with their digests; a page has no digest of the last.
- A page's links are relative, and lead into the mirror.  One that leads elsewhere is none of its objects.

This file is pure.
"""

from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from urllib.parse import unquote

from fetcher.index.files import File
from fetcher.mirror.layout import file_key, provenance_key, sidecar_key
from fetcher.mirror.records import Entry
from fetcher.verify.findings import Named

__all__ = ["ADDRESS", "folders", "key_of", "named_by_entry", "named_by_file", "named_page", "pages_of"]

# Where a mirror's pages are said to be when they are read: its links are looked at as if they began here.
ADDRESS = "http://mirror.invalid/"


def named_by_entry(entry: Entry) -> Iterator[Named]:
    """Yield the objects of a file in the manifest; none if it is not in the mirror."""
    if (content := entry.content) is None:
        return
    about, digest = (entry.project, entry.filename), content.sha256
    yield Named(file_key(digest, entry.filename), "file", *about, content.size, digest)
    if content.metadata:
        yield Named(sidecar_key(digest, entry.filename), "sidecar", *about, None, content.metadata)
    if content.provenance:
        yield Named(provenance_key(digest, entry.filename), "provenance", *about, None, content.provenance)


def named_by_file(project: str, file: File) -> Iterator[Named]:
    """Yield the objects of a file that a page lists; none if it is elsewhere."""
    if (key := key_of(file.url)) is None:
        return
    about = project, file.filename
    yield Named(key, "file", *about, file.size, file.sha256)
    if file.sidecar is not None:
        yield Named(f"{key}.metadata", "sidecar", *about, None, file.sidecar.get("sha256"))
    if file.provenance is not None and (attestations := key_of(file.provenance)) is not None:
        yield Named(attestations, "provenance", *about)


def pages_of(project: str, bodies: Mapping[str, bytes]) -> list[Named]:
    """Return the pages of a project, which have these bodies."""
    return [named_page(key, body, project) for key, body in bodies.items()]


def named_page(key: str, body: bytes, project: str = "") -> Named:
    """Return a page that has this body."""
    return Named(key, "page", project, "", len(body), sha256(body).hexdigest())


def key_of(url: str) -> str | None:
    """Return the key that a link of a page leads to; None if that is outside of the mirror's files."""
    key = unquote(url.removeprefix(ADDRESS).partition("?")[0])
    inside = url.startswith(ADDRESS) and key.startswith("files/") and "\0" not in key
    return key if inside and not {"", ".", ".."} & set(key.split("/")) else None


def folders(keys: Iterable[str]) -> set[str]:
    """Return the directories that hold these keys."""
    found = set()
    for key in keys:
        folder = key.rpartition("/")[0]
        while folder and folder not in found:
            found.add(folder)
            folder = folder.rpartition("/")[0]
    return found
