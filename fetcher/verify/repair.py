"""What was found wrong is put right, a project at a time.

1. A file comes from the index once more (`remedy`), METADATA from the file itself, pages from the manifest.  A link, a
   directory or whatever else stands in an object's place is removed before; a file is replaced at once.
2. A project's pages are written when its files are in their places.  What cannot be had is taken off them, and removed
   only then: who reads a page never finds a file named that is not there, or not for longer than it was so.
3. Attestations are the index's word on a file, and not part of it: those of today are taken.  A file goes without,
   rather than not at all; so it does without METADATA.
4. A full disk, or a store that fails, ends it all; what else fails is one file's.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path

import msgspec
from anyio import Lock, Semaphore, create_task_group

from fetcher.client import Fetcher
from fetcher.errors import DiskError, FetcherError, NotFound
from fetcher.index.files import File
from fetcher.index.scope import Index
from fetcher.mirror.layout import file_key, sidecar_key
from fetcher.mirror.manifest import Known, Manifest
from fetcher.mirror.plan import keys_of
from fetcher.mirror.records import Content, Entry
from fetcher.mirror.transfer import bring_provenance, carry, read_static
from fetcher.storage.store import Inspected
from fetcher.verify.by_manifest import render, render_whole
from fetcher.verify.findings import Finding, Part
from fetcher.verify.remedy import MOVED, as_lost, as_repaired, choose_again, demand
from fetcher.verify.truth import Claim

__all__ = ["ByIndex"]


@dataclass
class ByIndex:
    """Repairs a mirror from its index; a `Repairer`.  So many files are on their way at once as there is `room`."""

    fetcher: Fetcher
    manifest: Manifest
    store: Inspected
    incoming: Path
    room: int
    _room: Semaphore = field(init=False)
    _whole: dict[str, str] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._room = Semaphore(self.room)

    async def begin(self) -> None:
        """Remember what the pages of the whole should say before anything is repaired."""
        self._whole = {key: sha256(body).hexdigest() for key, body in (await render_whole(self.manifest)).items()}

    async def repair_whole(self, findings: Sequence[Finding]) -> None:
        """Write the pages of the whole that were found wrong, or are to say something else now."""
        wrong = {found.key: found for found in findings}
        for key, body in (await render_whole(self.manifest)).items():
            if key in wrong or sha256(body).hexdigest() != self._whole[key]:
                await self.put(key, body, wrong.get(key))

    async def repair(self, claim: Claim, findings: Sequence[Finding]) -> dict[str, FetcherError]:
        """Repair a project."""
        assert claim.known is not None  # noqa: S101 - for the type checker: without a manifest nothing is repaired
        turn = _Turn(self, claim.project, claim.known)
        await turn.run(findings)
        return turn.errors

    async def remove(self, keys: Sequence[str]) -> None:
        """Remove stray objects, and the note that they were to be removed."""
        await self.store.remove(keys)
        await self.manifest.forget_dropped(keys)

    async def put(self, key: str, body: bytes, found: Finding | None) -> None:
        """Put a page or METADATA."""
        if found is not None and found.obstructed:
            await self.store.clear(key)
        await self.store.put(key, body)

    def index_of(self, entry: Entry) -> Index | None:
        """Return the index whose page listed a file, if it is declared."""
        return next((index for index in self.fetcher.indexes if index.url == entry.listing.index), None)

    async def bring(self, file: File) -> Content:
        """Bring a file into the store, when it is its turn."""
        async with self._room:
            return (await carry(self.fetcher, self.store, file, self.incoming)).content

    async def bring_provenance(self, file: File) -> str:
        """Bring a file's attestations, and return their SHA-256."""
        if file.provenance is None:
            raise NotFound("", asked=f"the index has no attestations of {file.filename}")
        digest = file.hashes["sha256"]
        async with self._room:
            store, incoming = self.store, self.incoming
            body = await bring_provenance(self.fetcher, store, file, file.provenance, digest, incoming)
        return sha256(body).hexdigest()


Wrong = dict[Part | None, Finding]


class _Turn:
    """One project's repair."""

    def __init__(self, means: ByIndex, name: str, known: Known) -> None:
        self._means = means
        self._name = name
        self._known = known
        self._entries = dict(known.entries)
        self._reading = Lock()
        self._listed: Sequence[File] | None = None
        self.errors: dict[str, FetcherError] = {}

    async def run(self, findings: Sequence[Finding]) -> None:
        """Repair what was found."""
        by_name: dict[str, Wrong] = {}
        for found in findings:
            if found.part != "page":
                by_name.setdefault(found.filename, {})[found.part] = found
        async with create_task_group() as tasks:
            for filename, wrong in by_name.items():
                tasks.start_soon(self._repair_file, self._entries[filename], wrong)
        await self._write_pages({found.key: found for found in findings if found.part == "page"})
        await self._remove_lost(by_name)

    async def _repair_file(self, entry: Entry, wrong: Wrong) -> None:
        for found in wrong.values():
            if found.obstructed:
                await self._means.store.clear(found.key)
        if "file" in wrong:
            entry = await self._bring(entry, wrong)
        elif "sidecar" in wrong:
            entry = await self._rewrite_sidecar(entry, wrong["sidecar"])
        if "provenance" in wrong and "file" not in wrong:
            entry = await self._bring_provenance(entry, wrong["provenance"])
        if entry != self._entries[entry.filename]:
            self._entries[entry.filename] = entry
            await self._means.manifest.note_file(entry)

    # ---------------------------------------------------------------------------------------------------------- a file

    async def _bring(self, entry: Entry, wrong: Wrong) -> Entry:
        """Bring a file and what belongs to it; without attestations that are right as they are."""
        file = demand(entry, self._means.index_of(entry), with_provenance="provenance" in wrong)
        moved_to: File | None = None
        try:
            try:
                content = await self._means.bring(file)
            except MOVED as error:
                moved_to = await self._find_again(file, entry, error)
                content = await self._means.bring(moved_to)
        except DiskError:
            raise
        except FetcherError as error:
            self.errors |= {found.key: error for found in wrong.values()}
            return as_lost(entry, error)
        if "provenance" not in wrong:
            content = msgspec.structs.replace(content, provenance=entry.there.provenance)
        elif not content.provenance:
            self._go_without(wrong["provenance"], NotFound("", asked=f"{entry.filename} has no attestations any more"))
        return as_repaired(entry, content, moved_to)

    async def _find_again(self, file: File, entry: Entry, error: FetcherError) -> File:
        """Return where the index has a file now; its page is read once for all of the project."""
        if not entry.listing.index:
            raise error
        async with self._reading:
            if self._listed is None:
                asked = None if file.listed_by is None else file.listed_by.name or None
                self._listed = (await self._means.fetcher.project(self._name, index=asked, refresh=True)).files
        return choose_again(file, entry, self._listed, error)

    async def _rewrite_sidecar(self, entry: Entry, found: Finding) -> Entry:
        """Read METADATA from the file, and put it beside that."""
        content, store = entry.there, self._means.store
        key = file_key(content.sha256, entry.filename)
        file = demand(entry, None, with_provenance=False)
        try:
            raw = await read_static(file, partial(store.read, key), content.size)
        except DiskError:
            raise
        except FetcherError as error:
            self._go_without(found, error)
            return _with(entry, metadata="")
        await store.put(sidecar_key(content.sha256, entry.filename), raw)
        return _with(entry, metadata=sha256(raw).hexdigest())

    async def _bring_provenance(self, entry: Entry, found: Finding) -> Entry:
        file = demand(entry, self._means.index_of(entry), with_provenance=True)
        try:
            digest = await self._means.bring_provenance(file)
        except DiskError:
            raise
        except FetcherError as error:
            self._go_without(found, error)
            digest = ""
        return _with(entry, provenance=digest)

    def _go_without(self, found: Finding, error: FetcherError) -> None:
        self.errors[found.key] = error

    # ----------------------------------------------------------------------------------------------------------- pages

    async def _write_pages(self, wrong: dict[str, Finding]) -> None:
        """Write the pages that were found wrong, or are to say something else now."""
        before = render(self._name, self._known, self._known.entries.values())
        now = render(self._name, self._known, self._entries.values())
        if not wrong and now == before:
            return
        for key, body in now.items():
            await self._means.put(key, body, wrong.get(key))
        await self._means.manifest.note_page(self._name, sha256(b"".join(now.values())).hexdigest())

    async def _remove_lost(self, filenames: Iterable[str]) -> None:
        """Remove what the pages name no more."""
        for filename in filenames:
            if lost := set(keys_of(self._known.entries[filename])) - set(keys_of(self._entries[filename])):
                await self._means.store.remove(lost)


def _with(entry: Entry, **changes: str) -> Entry:
    return msgspec.structs.replace(entry, content=msgspec.structs.replace(entry.there, **changes))
