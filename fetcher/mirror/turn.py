"""One project's turn in a run of a mirror: its page, its files, its page in the mirror.

1. Its page is read, and what is wanted of it and not in the mirror is brought, by whoever carries.
2. Where a file is not what the page said, the page is read again, once: the index may have changed in between.
3. Its own page is written when its files are in their places.  One that would say the same is not written.
4. One file's failure is noted, and is no other's.  Where something failed, or is not known, nothing of the project is
   taken for unwanted.
"""

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol

import msgspec
from anyio import Semaphore, create_task_group

from fetcher.client import Fetcher
from fetcher.errors import BadPage, BadReply, ContentError, FetcherError, MetadataMissing, NotFound, Truncated
from fetcher.index.files import File, Project
from fetcher.mirror.closure import ask_for, dependencies
from fetcher.mirror.layout import page_keys, render_project
from fetcher.mirror.manifest import UNKNOWN, Known, Manifest
from fetcher.mirror.plan import Plan, as_failed, as_fetched, keys_of, plan_project, sizes_of
from fetcher.mirror.records import Entry, Facts
from fetcher.mirror.transfer import Carried
from fetcher.mirror.wanted import Choice, Chosen, choose, named_files
from fetcher.storage.store import Store

__all__ = ["Carrier", "Happening", "Means", "take_turn"]

logger = logging.getLogger(__name__)

# Pages that are kept for a project that is wanted once more, because another depends on it: so many files of them.
KEPT_FILES = 50_000

Outcome = Literal["fetched", "present", "failed", "removed", "updated", "unchanged", "missing"]


@dataclass(frozen=True)
class Happening:
    """What became of a file ("fetched", "present", "failed", "removed"); or, without `filename`, of a project
    ("updated", "unchanged", "failed", "removed"), or of something that was asked of it and is not there ("missing").

    `carried` is what a fetched file cost.
    """

    project: str
    filename: str
    outcome: Outcome
    file: File | None = None
    carried: Carried | None = None
    error: FetcherError | None = None


class Carrier(Protocol):
    """Who brings files into the store."""

    @property
    def room(self) -> int:
        """How many files may be on their way at once."""

    async def carry(self, file: File) -> Carried:
        """Bring a file into the store.  Raises FetcherError."""

    def page_place(self) -> AbstractAsyncContextManager[None]:
        """Have a page read within: whoever carries leaves room for it."""


class _Pages:
    """Pages of this run that may be wanted once more, the latest that were used."""

    def __init__(self) -> None:
        self._pages: OrderedDict[str, Project] = OrderedDict()
        self._files = 0

    def get(self, name: str) -> Project | None:
        page = self._pages.get(name)
        if page is not None:
            self._pages.move_to_end(name)
        return page

    def keep(self, name: str, page: Project) -> None:
        before = self._pages.pop(name, None)
        self._pages[name] = page
        self._files += len(page.files) - (0 if before is None else len(before.files))
        while self._files > KEPT_FILES and len(self._pages) > 1:
            self._files -= len(self._pages.popitem(last=False)[1].files)


@dataclass
class Means:
    """What a run has to work with.

    `tell` is called in the event loop with each outcome, and must return soon.  `with_dependencies`: what files depend
    on is wanted, too.  `secrets` are the URLs that hold some, by what is kept of them.
    """

    fetcher: Fetcher
    manifest: Manifest
    store: Store
    carrier: Carrier
    choice: Choice
    tell: Callable[[Happening], None]
    with_dependencies: bool = False
    secrets: dict[str, str] = field(default_factory=dict)
    _pages: _Pages = field(default_factory=_Pages, init=False)

    def __post_init__(self) -> None:
        self._room = Semaphore(self.carrier.room)
        self._told: set[type[FetcherError] | None] = set()

    def tell_once(self, happening: Happening) -> None:
        """Tell of an error that every project may have, unless one of its kind was told."""
        kind = None if happening.error is None else type(happening.error)
        if kind not in self._told:
            self._told.add(kind)
            self.tell(happening)

    async def page(self, name: str, *, refresh: bool = False) -> Project:
        """Return the page of a project, which is read once in a run."""
        page = None if refresh else self._pages.get(name)
        if page is None:
            async with self.carrier.page_place():
                page = await self.fetcher.project(name, refresh=refresh)
            if self.with_dependencies:
                self._pages.keep(name, page)
        return page

    async def bring(
        self, files: Sequence[File], arrived: Callable[[File, Carried | FetcherError], Awaitable[None]]
    ) -> None:
        """Bring files side by side, and say of each what came of it."""

        async def one(file: File) -> None:
            try:
                try:
                    came: Carried | FetcherError = await self.carrier.carry(file)
                except FetcherError as error:
                    came = error
                await arrived(file, came)
            finally:
                self._room.release()

        async with create_task_group() as tasks:
            for file in files:
                await self._room.acquire()
                tasks.start_soon(one, file)

    async def write_page(self, facts: Facts, entries: Iterable[Entry], before: str) -> str:
        """Write the page of a project if it says something new; return its digest."""
        as_json, as_html = render_project(facts, entries)
        digest = hashlib.sha256(as_json + as_html).hexdigest()
        if digest != before:
            await self.manifest.begin_page(facts.name)
            for key, page in zip(page_keys(facts.name), (as_json, as_html), strict=True):
                await self.store.put(key, page)
        return digest


# What says that the page was of another time: the file is gone, or is another, of another size for one.
_OUTDATED = (NotFound, ContentError, BadReply, Truncated)


async def take_turn(means: Means, name: str, known: Known) -> None:
    """Do all there is to do for a project.  Raises FetcherError if its page cannot be had."""
    await _Turn(means, name, known).run()


class _Turn:
    """One project's turn."""

    def __init__(self, means: Means, name: str, known: Known) -> None:
        self._means = means
        self._name = name
        self._known = known
        self._facts = known.facts or Facts(name)
        self._entries = dict(known.entries)
        self._errors: dict[str, tuple[File, FetcherError]] = {}
        self._told = set(known.seen)

    async def run(self) -> None:
        """Do all there is to do.  Raises FetcherError if the page cannot be had."""
        chosen = await self._bring_wanted(refresh=False)
        outdated = [error for _, error in self._errors.values() if isinstance(error, _OUTDATED)]
        if outdated and any(ask.listing is None for ask in self._known.asks):
            logger.info("the page of %s is read again: %s", self._name, outdated[0])
            chosen = await self._bring_wanted(refresh=True)
        await self._want_dependencies(chosen)
        if self._errors or chosen.general or chosen.errors:
            await self._means.manifest.note_wanted(self._name)  # what is there may be all there will be
        for file, error in self._errors.values():
            self._means.tell(Happening(self._name, file.filename, "failed", file, error=error))
        for error in chosen.errors:
            self._means.tell(Happening(self._name, "", "missing", error=error))
        for error in chosen.general:
            self._means.tell_once(Happening(self._name, "", "missing", error=error))
        await self._conclude(chosen.errors)

    async def _bring_wanted(self, *, refresh: bool) -> Chosen:
        """Bring the files that are wanted, as far as they are not there."""
        self._errors.clear()
        means = self._means
        chosen = named_files(self._name, self._known.asks, means.fetcher.indexes, means.secrets)
        listed: Sequence[File] = ()
        if asks := [ask for ask in self._known.asks if ask.listing is None]:
            page = await self._means.page(self._name, refresh=refresh)
            self._doubt(page)
            self._facts, listed = Facts.of(page), page.files
            chosen.join(choose(page, asks, self._means.choice))
        await self._look(chosen)
        plan = plan_project(self._entries, [pick.file for pick in chosen.picks.values()], listed)
        await self._note(plan)
        await self._means.bring(plan.fetch, self._arrived)
        return chosen

    def _doubt(self, page: Project) -> None:
        """Raise BadPage for a page that names no file where some were: HTML without links may be anything."""
        there = sum(entry.content is not None for entry in self._entries.values())
        if there and not (page.files or page.skipped) and page.api_version == "1.0":
            raise BadPage(page.url, f"it names no files, and {there} of them are in the mirror, where they stay")

    async def _look(self, chosen: Chosen) -> None:
        """Know nothing of what somebody took out of the store, as far as that can be told for nothing."""
        wanted = [self._entries[name] for name in chosen.picks if name in self._entries]
        expected = {key: size for entry in wanted for key, size in sizes_of(entry).items()}
        missing = await self._means.store.missing(expected)
        for entry in wanted if missing else ():
            if not missing.isdisjoint(sizes_of(entry)):
                self._entries[entry.filename] = msgspec.structs.replace(entry, content=None)

    async def _note(self, plan: Plan) -> None:
        """Note what needs no fetching."""
        for entry in plan.present:
            await self._means.manifest.note_wanted(self._name, entry.filename)
        for entry in plan.changed:
            await self._means.manifest.note_file(entry)
        for entry in plan.relisted:
            await self._means.manifest.note_listing(entry)
        for entry in (*plan.changed, *plan.relisted):
            self._entries[entry.filename] = entry
        for entry in (*plan.present, *plan.changed):
            self._tell_present(entry)

    def _tell_present(self, entry: Entry) -> None:
        if entry.filename not in self._told:
            self._told.add(entry.filename)
            self._means.tell(Happening(self._name, entry.filename, "present"))

    async def _arrived(self, file: File, came: "Carried | FetcherError") -> None:
        """Take note of what came of a file."""
        before = self._entries.get(file.filename)
        if isinstance(came, FetcherError):
            self._errors[file.filename] = file, came
            entry = as_failed(self._name, file, before, came)
        else:
            self._told.add(file.filename)
            entry = as_fetched(self._name, file, came.content)
            self._means.tell(Happening(self._name, file.filename, "fetched", file, came))
        superseded = set() if before is None else set(keys_of(before)) - set(keys_of(entry))
        self._entries[file.filename] = entry
        await self._means.manifest.note_file(entry, superseded)

    async def _want_dependencies(self, chosen: Chosen) -> None:
        """Want what the wanted files depend on."""
        if not self._means.with_dependencies:
            return
        asks = []
        for filename, pick in chosen.picks.items():
            content = self._entries[filename].content
            if content is not None and content.requires is None:
                chosen.errors.append(MetadataMissing(filename, "what it depends on is not known"))
            requires = None if content is None else content.requires
            for number, extras in pick.wanted_by:
                for requirement in dependencies(requires or (), extras, self._means.choice.target(number)):
                    try:
                        asks.append(ask_for(requirement, number))
                    except FetcherError as error:
                        chosen.errors.append(error)
        await self._means.manifest.want(asks)

    async def _conclude(self, errors: Sequence[FetcherError]) -> None:
        """Write the project's page, if there is something to list, and note what became of it."""
        page = self._known.page
        if page and await self._means.store.missing(dict.fromkeys(page_keys(self._name))):
            page = UNKNOWN
        if page or any(entry.content is not None for entry in self._entries.values()):
            page = await self._means.write_page(self._facts, self._entries.values(), page)
        failed = [*errors, *(error for _, error in self._errors.values())]
        outcome: Outcome = "failed" if failed else "unchanged" if page == self._known.page else "updated"
        await self._means.manifest.note_project(self._facts, page, outcome, *failed[:1])
        if outcome != self._known.outcome:
            self._means.tell(Happening(self._name, "", outcome))
