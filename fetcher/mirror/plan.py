"""What is to be done for one project: the facts of its page and what is known of it -> what to fetch, what to note.

1. A file that is there, and of which the index does not list other bytes now, is not fetched.
2. What the index says of it is taken over in any case: a yank is followed, also for files that nobody wants any more.
3. A file that cannot be had anew stays as it was.

This file is pure.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from fetcher.errors import FetcherError
from fetcher.index.files import File
from fetcher.mirror.layout import file_key, provenance_key, sidecar_key
from fetcher.mirror.records import Content, Entry, Listing

__all__ = ["Plan", "as_failed", "as_fetched", "keys_of", "may_remove", "plan_project", "sizes_of"]


@dataclass(frozen=True)
class Plan:
    """The files to `fetch`; the entries that are right as they were (`present`), and those that are the same file with
    something new said of it: of wanted files (`changed`), and of others (`relisted`)."""

    fetch: Sequence[File]
    present: Sequence[Entry]
    changed: Sequence[Entry]
    relisted: Sequence[Entry]


def plan_project(known: Mapping[str, Entry], wanted: Iterable[File], listed: Iterable[File]) -> Plan:
    """Return what is to be done; `listed` are all files of the page, `known` what is known, by name."""
    fetch, present, changed, relisted = [], [], [], []
    on_page = {file.filename: file for file in listed}
    names = set()
    for file in wanted:
        names.add(file.filename)
        entry, listing = known.get(file.filename), _listing(file, on_page.get(file.filename), known.get(file.filename))
        if entry is None or entry.content is None or listing.names_other_content(entry.listing):
            fetch.append(file)
        elif listing.provenance and not entry.content.provenance:
            fetch.append(file)  # what is in the store is not brought once more
        elif entry.listing == listing and not entry.error:
            present.append(entry)
        else:
            changed.append(msgspec.structs.replace(entry, listing=listing, error="", reason=""))
    for file in on_page.values():
        entry, listing = known.get(file.filename), Listing.of(file)
        if file.filename in names or entry is None or listing == entry.listing:
            continue
        if not listing.names_other_content(entry.listing):
            relisted.append(msgspec.structs.replace(entry, listing=listing))
    return Plan(fetch, present, changed, relisted)


def _listing(file: File, on_page: File | None, known: Entry | None) -> Listing:
    """Return what is said of a wanted file: a page says more than a lock or a URL, if it speaks of the same bytes."""
    stated = Listing.of(file)
    others = [] if on_page is None else [Listing.of(on_page)]
    if known is not None and on_page is None:
        others.append(known.listing)
    return next((other for other in others if not stated.names_other_content(other)), stated)


def as_fetched(project: str, file: File, content: Content) -> Entry:
    """Return the entry of a file that is in its place now."""
    return Entry(project, file.filename, Listing.of(file), content)


def as_failed(project: str, file: File, before: Entry | None, error: FetcherError) -> Entry:
    """Return the entry of a file that could not be had (rule 3)."""
    kept = Listing.of(file) if before is None or before.content is None else before.listing
    content = None if before is None else before.content
    return Entry(project, file.filename, kept, content, type(error).__name__, " ".join(str(error).split()))


def keys_of(entry: Entry) -> list[str]:
    """Return the keys that a file has in the store, its own first; none if it is not there."""
    return list(sizes_of(entry))


def sizes_of(entry: Entry) -> dict[str, int | None]:
    """Return the keys that a file has in the store, with their sizes in bytes where they are known."""
    content = entry.content
    if content is None:
        return {}
    sizes: dict[str, int | None] = {file_key(content.sha256, entry.filename): content.size}
    if content.metadata:
        sizes[sidecar_key(content.sha256, entry.filename)] = None
    if content.provenance:
        sizes[provenance_key(content.sha256, entry.filename)] = None
    return sizes


def may_remove(count: int, files: int, most_percent: float) -> bool:
    """Say whether so many of a mirror's files may be removed: never more than `most_percent` of them."""
    return count * 100 <= files * most_percent
