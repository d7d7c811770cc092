"""A resolver on fetcher: resolvelib decides, fetcher brings index pages and METADATA.

It chooses as pip does, of what needs no build.  A version is passed over if its METADATA requires another Python, is
invalid or names another version, or is an sdist's and not static.  Any other FetcherError ends the resolution as it is:
a login page is no missing version.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache

from packaging.metadata import InvalidMetadata
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from provider import Candidate, Key, Need, asked_by, impossible, needs_of, resolve as decide

from fetcher import FetcherError, File, MetadataMismatch, NotFound, NotStatic, Project, Target, candidates
from fetcher.blocking import Fetcher

UNUSABLE = (NotStatic, MetadataMismatch, InvalidMetadata)


class Facts:
    """What the index says.  Each thing is asked for once, and hinted as soon as it is known that it will be."""

    def __init__(self, fetcher: Fetcher, target: Target) -> None:
        self.fetcher, self.target = fetcher, target
        self.project, self.metadata = cache(self.ask_project), cache(fetcher.metadata)
        self.read_needs = cache(self.ask_needs)
        self.seen: set[tuple[Key, SpecifierSet]] = set()

    def files(self, name: str, specifier: SpecifierSet) -> Sequence[File]:
        project = self.project(name)
        return candidates(project, self.target, specifier) if project else ()

    def needs(self, candidate: Candidate) -> list[Need]:
        needs = self.read_needs(candidate)
        self.go_ahead(needs)
        return needs

    def go_ahead(self, needs: Iterable[Need]) -> None:
        """Follow the best candidates to the leaves.  What fails here the resolver will meet, if it comes that way."""
        steps: deque[Need | Candidate] = deque(self.hint(needs))
        while steps:
            step = steps.popleft()
            with suppress(FetcherError):
                if isinstance(step, Candidate):
                    steps += self.hint(self.read_needs(step))
                else:
                    best = self.files(step.key[0], step.specifier)[:1]
                    self.fetcher.prefetch_metadata(best)
                    steps += [Candidate(step.key, file) for file in best]

    def hint(self, needs: Iterable[Need]) -> list[Need]:
        new = [need for need in needs if need.key[0] and (need.key, need.specifier) not in self.seen]
        self.seen.update((need.key, need.specifier) for need in new)
        if new:
            self.fetcher.prefetch(need.key[0] for need in new)
        return new

    def ask_project(self, name: str) -> Project | None:
        try:
            return self.fetcher.project(name)
        except NotFound:
            return None

    def ask_needs(self, candidate: Candidate) -> list[Need]:
        try:
            return list(needs_of(candidate, self.metadata(candidate.file).parsed, self.target))
        except UNUSABLE as error:
            return [impossible(str(error))]


def resolve(fetcher: Fetcher, wanted: Iterable[Requirement], target: Target) -> dict[str, File]:
    """Return a file for each project.  Raises FetcherError, and `resolvelib.ResolutionImpossible`."""
    needs = [need for requirement in wanted for need in asked_by(requirement, target)]
    facts = Facts(fetcher, target)
    facts.go_ahead(needs)
    return decide(facts.files, facts.needs, needs)
