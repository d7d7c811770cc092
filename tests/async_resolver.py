"""The same resolver for asynchronous programs: resolvelib in a worker thread, and tasks that go ahead of it.

What counts on a slow link is how often one waits after the other: twice for each level of the tree, for pages and for
METADATA.  The tasks wait no oftener, and the resolver works meanwhile.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeVar

from anyio import create_task_group, from_thread, to_thread
from anyio.abc import TaskGroup
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from provider import Candidate, Key, Need, asked_by, impossible, needs_of, resolve as decide
from resolvelib import ResolutionError
from resolver import UNUSABLE

from fetcher import Fetcher, FetcherError, File, Metadata, NotFound, Project, Target, candidates

T = TypeVar("T")


class AsyncFacts:
    """What the index says, kept where the resolver's thread finds it; `files` and `needs` are called there."""

    def __init__(self, fetcher: Fetcher, target: Target, tasks: TaskGroup) -> None:
        self.fetcher, self.target, self.tasks = fetcher, target, tasks
        self.projects: dict[str, Project | None] = {}
        self.read: dict[File, Metadata] = {}
        self.known: dict[Candidate, list[Need]] = {}
        self.seen: set[tuple[Key, SpecifierSet]] = set()

    def files(self, name: str, specifier: SpecifierSet) -> Sequence[File]:
        if name not in self.projects:  # to ask the event loop costs more than to look
            from_thread.run(self.ask_project, name)
        return self.fitting(name, specifier)

    def needs(self, candidate: Candidate) -> list[Need]:
        if candidate not in self.known:
            from_thread.run(self.ask_needs, candidate)
        return self.known[candidate]

    def fitting(self, name: str, specifier: SpecifierSet) -> Sequence[File]:
        project = self.projects[name]
        return candidates(project, self.target, specifier) if project else ()

    async def ask_project(self, name: str) -> None:
        if name in self.projects:
            return
        try:
            self.projects[name] = await self.fetcher.project(name)
        except NotFound:
            self.projects[name] = None

    async def ask_needs(self, candidate: Candidate) -> None:
        if candidate in self.known:
            return
        try:
            metadata = self.read.get(candidate.file) or await self.fetcher.metadata(candidate.file)
            self.read[candidate.file] = metadata
            self.known[candidate] = list(needs_of(candidate, metadata.parsed, self.target))
        except UNUSABLE as error:
            self.known[candidate] = [impossible(str(error))]

    def follow(self, needs: Iterable[Need]) -> None:
        for need in needs:
            if need.key[0] and (need.key, need.specifier) not in self.seen:
                self.seen.add((need.key, need.specifier))
                self.tasks.start_soon(self.follow_one, need)

    async def follow_one(self, need: Need) -> None:
        name, *_ = need.key
        with suppress(FetcherError):  # the resolver will meet it, if it comes that way
            await self.ask_project(name)
            for file in self.fitting(name, need.specifier)[:1]:
                candidate = Candidate(need.key, file)
                await self.ask_needs(candidate)
                self.follow(self.known[candidate])


async def resolve(fetcher: Fetcher, wanted: Iterable[Requirement], target: Target) -> dict[str, File]:
    """Return a file for each project.  Raises FetcherError, and `resolvelib.ResolutionImpossible`."""
    needs = [need for requirement in wanted for need in asked_by(requirement, target)]
    async with create_task_group() as tasks:
        facts = AsyncFacts(fetcher, target, tasks)
        facts.follow(needs)
        outcome = await to_thread.run_sync(settle, partial(decide, facts.files, facts.needs, needs))
        tasks.cancel_scope.cancel()
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def settle(work: Callable[[], T]) -> T | Exception:
    """Return what comes of it, be it an error: raised within a task group it would come out in an exception group."""
    try:
        return work()
    except (FetcherError, ResolutionError) as error:
        return error
