"""What a mirror should be, by its manifest: the objects of a project, its pages, the pages of the whole.

A page is what the manifest makes of it now.  One that a run wrote, and that says the same in other words, is right as
well: that run was of another version.
"""

import hashlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

from fetcher.mirror.layout import FRONT_KEY, ROOT_KEYS, page_keys, render_front, render_project, render_root
from fetcher.mirror.manifest import Known, Manifest
from fetcher.mirror.records import Entry, Facts
from fetcher.storage.store import Inspected
from fetcher.verify.claims import named_by_entry, named_page, pages_of
from fetcher.verify.differences import judge_page, judge_root
from fetcher.verify.findings import Finding, Named, judge
from fetcher.verify.truth import Claim

__all__ = ["ByManifest", "render", "render_whole"]

# So many names are read at a time.
NAMES = 500


def render(name: str, known: Known, entries: Iterable[Entry]) -> dict[str, bytes]:
    """Return the pages that a project should have, by their keys; none if it was never in the mirror."""
    entries = list(entries)
    if not known.page and all(entry.content is None for entry in entries):
        return {}
    return dict(zip(page_keys(name), render_project(known.facts or Facts(name), entries), strict=True))


async def render_whole(manifest: Manifest) -> dict[str, bytes]:
    """Return the pages of the whole mirror, by their keys."""
    totals = await manifest.totals()
    pages = dict(zip(ROOT_KEYS, render_root(await manifest.listed_projects()), strict=True))
    return {**pages, FRONT_KEY: render_front(totals.projects, totals.files, totals.bytes)}


@dataclass(frozen=True)
class ByManifest:
    """The manifest is the truth; a `Truth`."""

    manifest: Manifest
    store: Inspected

    async def whole(self) -> list[Finding]:
        """Return what is wrong with the pages of the whole mirror."""
        findings = []
        for key, body in (await render_whole(self.manifest)).items():
            page = named_page(key, body)
            found = judge(page, await self.store.look(key))
            if found is not None and not found.obstructed:
                names = None if key == FRONT_KEY else await self.manifest.listed_projects()
                found = judge_root(page, body, names, await self.store.get(key) or b"")
            findings.append(found)
        return [found for found in findings if found is not None]

    async def names(self) -> AsyncIterator[str]:
        """Yield the projects."""
        last = ""
        while names := await self.manifest.projects(last, NAMES):
            for name in names:
                yield name
            last = names[-1]

    async def claim(self, name: str) -> Claim:
        """Return what the manifest says of a project, and what is wrong with its pages."""
        known = await self.manifest.load(name)
        named = [each for entry in known.entries.values() for each in named_by_entry(entry)]
        bodies = render(name, known, known.entries.values())
        return Claim(name, named, list(bodies), await self._judge_pages(name, known, bodies), known)

    async def _judge_pages(self, name: str, known: Known, bodies: dict[str, bytes]) -> list[Finding]:
        findings = []
        for page in pages_of(name, bodies):
            found = judge(page, await self.store.look(page.key))
            if found is not None and not found.obstructed:
                found = await self._look_closer(page, known, bodies)
            findings.append(found)
        return [found for found in findings if found is not None]

    async def _look_closer(self, page: Named, known: Known, bodies: dict[str, bytes]) -> Finding | None:
        """Return what is wrong with a page that has other bytes than it would be written with now."""
        there = {key: await self.store.get(key) or b"" for key in bodies}
        as_written = hashlib.sha256(b"".join(there.values())).hexdigest() == known.page
        return judge_page(page, bodies[page.key], there[page.key], as_written=as_written)
