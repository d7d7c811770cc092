"""The run of a mirror: projects side by side, then the pages that list them.

1. What is wanted is taken project by project from the manifest; what a project's files depend on is wanted next.  What
   is wanted of a project during its turn has another turn, after it.
2. One project's failure is noted, and is nobody else's.
3. What no page names any more is removed last, when all pages are written.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter

from anyio import Event, Semaphore, create_task_group, sleep

from fetcher.errors import FetcherError, NotFound
from fetcher.mirror.layout import FRONT_KEY, ROOT_KEYS, render_front, render_root
from fetcher.mirror.records import Facts
from fetcher.mirror.turn import Happening, Means, take_turn

__all__ = ["Job"]

# Seconds between two looks whether there is something to write into the manifest.
BEAT = 0.5
# So many keys are removed at a time.
KEYS = 1000


@dataclass
class Job:
    """One run over what the manifest says is wanted; so many `projects` are under way at once."""

    means: Means
    projects: int = 50
    # The projects whose turn it is, and whether they are to have another.
    _under_way: dict[str, bool] = field(default_factory=dict, init=False)
    # Those whose page cannot be had in this run: nobody asks for it again.
    _lost: set[str] = field(default_factory=set, init=False)

    async def run(self) -> None:
        """Bring what is wanted, and write the pages of its projects.

        Raises a group of DiskError for what the manifest says.
        """
        async with create_task_group() as beside:
            beside.start_soon(self._write_now_and_then)
            await self._run_all()
            beside.cancel_scope.cancel()

    async def remove(self, files: Iterable[tuple[str, str]]) -> None:
        """Take files, given as project and name in order, off their pages; `finish` removes them."""
        for project, group in groupby(files, key=itemgetter(0)):
            await self._remove(project, [filename for _, filename in group])

    async def finish(self) -> None:
        """Write the root pages, and remove what no page names any more."""
        await self._write_root()
        manifest = self.means.manifest
        for pages in (True, False):  # a page goes before what it names
            while keys := await manifest.dropped(KEYS, pages=pages):
                await self.means.store.remove(keys)
                await manifest.forget_dropped(keys)

    async def _write_now_and_then(self) -> None:
        while True:
            await sleep(BEAT)
            await self.means.manifest.flush()

    async def _run_all(self) -> None:
        """Have each project's turn come, until nothing is wanted and nobody is at work that may want more."""
        places = Semaphore(self.projects)
        ended = Event()

        async def one(name: str) -> None:
            try:
                while self._under_way[name]:
                    self._under_way[name] = False
                    await self._take_turn(name)
            finally:
                del self._under_way[name]
                places.release()
                ended.set()

        async with create_task_group() as tasks:
            while (names := await self.means.manifest.take(self.projects)) or self._under_way:
                for name in names:
                    if name not in self._under_way:
                        await places.acquire()
                        tasks.start_soon(one, name)
                    self._under_way[name] = True
                if not names:
                    await ended.wait()
                    ended = Event()

    async def _take_turn(self, name: str) -> None:
        """Have a project's turn; what goes wrong with it is told, and noted."""
        if name in self._lost:
            return
        manifest = self.means.manifest
        known = await manifest.load(name)
        try:
            await take_turn(self.means, name, known)
        except FetcherError as error:
            self._lost.add(name)
            if not isinstance(error, NotFound):
                await manifest.note_wanted(name)  # nobody knows what is wanted of it: nothing is removed
            await manifest.note_failure(known.facts or Facts(name), known.page, error)
            self.means.tell(Happening(name, "", "failed", error=error))

    async def _remove(self, project: str, filenames: Iterable[str]) -> None:
        manifest = self.means.manifest
        known = await manifest.load(project)
        entries = dict(known.entries)
        gone = [entries.pop(filename) for filename in filenames]
        if any(entry.content is not None for entry in entries.values()):
            facts = known.facts or Facts(project)
            page = await self.means.write_page(facts, entries.values(), known.page)
            await manifest.note_project(facts, page, "updated")
        else:
            await manifest.forget_project(project)
            self.means.tell(Happening(project, "", "removed"))
        await manifest.forget_files(gone)
        for entry in gone:
            self.means.tell(Happening(project, entry.filename, "removed"))

    async def _write_root(self) -> None:
        """Write the pages of the whole mirror, as far as they say something new."""
        totals = await self.means.manifest.totals()
        pages = dict(zip(ROOT_KEYS, render_root(await self.means.manifest.listed_projects()), strict=True))
        pages[FRONT_KEY] = render_front(totals.projects, totals.files, totals.bytes)
        for key, page in pages.items():
            if await self.means.store.get(key) != page:
                await self.means.store.put(key, page)
