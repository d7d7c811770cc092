"""How a file that is missing or wrong is had once more: what the manifest says of it -> what is fetched.

1. The very bytes are asked for that were in the mirror: their SHA-256 is demanded, whatever the index says.  No length
   is: a longer body would be taken for a server's fault, and not for another file.
2. If they are not where they were, the index is asked where they are now.  Other bytes under the same name are not
   taken: who has installed from the mirror was promised these.
3. What cannot be had stays in the manifest without content, with the reason: the next run of `prefetch` that wants it
   brings what there is then.

This file is pure.
"""

from collections.abc import Iterable

import msgspec

from fetcher.errors import ContentError, FetcherError, Forbidden, HashMismatch, NotFound, Unauthorized
from fetcher.index.files import File
from fetcher.index.scope import Index
from fetcher.index.urls import redact
from fetcher.mirror.records import Content, Entry

__all__ = ["MOVED", "as_lost", "as_repaired", "choose_again", "demand"]

# What says that a file may be elsewhere now; a signed URL is refused when it is old.
MOVED = (NotFound, ContentError, Unauthorized, Forbidden)


def demand(entry: Entry, listed_by: Index | None, *, with_provenance: bool) -> File:
    """Return the file of an entry, to be had with the bytes that were in the mirror (rule 1)."""
    file = entry.listing.file(entry.project, entry.filename, listed_by)
    return _pinned(file, entry.there, with_provenance=with_provenance)


def _pinned(file: File, content: Content, *, with_provenance: bool) -> File:
    return msgspec.structs.replace(
        file,
        hashes={**file.hashes, "sha256": content.sha256},
        size=None,
        provenance=file.provenance if with_provenance else None,
    )


def choose_again(tried: File, entry: Entry, listed: Iterable[File], error: FetcherError) -> File:
    """Return where the index has the same bytes now, after `error` where they were (rule 2).

    Raises NotFound if it does not list the file any more, HashMismatch if it lists other bytes; `error` if nothing is
    new.
    """
    file = next((file for file in listed if file.filename == entry.filename), None)
    if file is None:
        raise NotFound("", asked=f"the index does not list {entry.filename} any more, and {redact(tried.url)} failed")
    for algorithm in sorted(file.hashes.keys() & tried.hashes.keys()):
        if file.hashes[algorithm] != tried.hashes[algorithm]:
            url = redact(file.url)
            raise HashMismatch(file.filename, url, algorithm, tried.hashes[algorithm], file.hashes[algorithm])
    if file.url == tried.url:
        raise error
    return _pinned(file, entry.there, with_provenance=tried.provenance is not None)


def as_repaired(entry: Entry, content: Content, moved_to: File | None) -> Entry:
    """Return the entry of a file that is in its place again, and of which the index may have said where it is now."""
    listing = entry.listing if moved_to is None else msgspec.structs.replace(entry.listing, url=moved_to.url)
    return msgspec.structs.replace(entry, listing=listing, content=content, error="", reason="")


def as_lost(entry: Entry, error: FetcherError) -> Entry:
    """Return the entry of a file that could not be had (rule 3)."""
    reason = " ".join(str(error).split())
    return msgspec.structs.replace(entry, content=None, error=type(error).__name__, reason=reason)
