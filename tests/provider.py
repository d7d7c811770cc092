"""What resolvelib wants to know, answered as pip answers it; it knows nothing of a network.

A project with extras is a node of its own, which needs the bare project in the same version.  A version that cannot
serve has a need that nothing satisfies, and whose key says why.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, reduce
from math import inf
from operator import and_
from typing import TYPE_CHECKING, Any

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from resolvelib import AbstractProvider, BaseReporter, Resolver

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from packaging.metadata import Metadata
    from packaging.requirements import Requirement

    from fetcher import File, Target

# A project's name, then the extras asked of it; or nothing, then a reason.
Key = tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Need:
    """What is asked of a project."""

    key: Key
    specifier: SpecifierSet


@dataclass(frozen=True)
class Candidate:
    """A file that may serve a key."""

    key: Key
    file: File


Files = Callable[[str, SpecifierSet], "Sequence[File]"]
Needs = Callable[[Candidate], list[Need]]


class Provider(AbstractProvider[Need, Candidate, Key]):
    """`files` names the files of a project, the best first; `needs` says what a candidate needs."""

    def __init__(self, files: Files, needs: Needs, wanted: Sequence[Need]) -> None:
        self.files, self.needs = files, needs
        self.place = {need.key: place for place, need in enumerate(wanted)}

    def identify(self, requirement_or_candidate: Need | Candidate) -> Key:
        return requirement_or_candidate.key

    @staticmethod
    @cache
    def is_satisfied_by(requirement: Need, candidate: Candidate) -> bool:
        return requirement.specifier.contains(str(candidate.file.version), prereleases=True)

    def find_matches(self, identifier: Key, requirements: Any, incompatibilities: Any) -> list[Candidate]:
        if not identifier[0]:
            return []
        # Who asks for extras asks for the bare project as well.
        specifier = reduce(and_, (need.specifier for need in requirements[identifier[:1]]))
        excluded = set(incompatibilities[identifier])
        found = (Candidate(identifier, file) for file in self.files(identifier[0], specifier))
        return [candidate for candidate in found if candidate not in excluded]

    def get_dependencies(self, candidate: Candidate) -> list[Need]:
        return self.needs(candidate)

    def get_preference(
        self, identifier: Key, resolutions: Any, candidates: Any, information: Any, backtrack_causes: Any
    ) -> tuple[bool, bool, float, bool, Key]:
        asked = [one for need, _ in information[identifier] for one in need.specifier]
        pinned = any(one.operator in ("==", "===") and "*" not in one.version for one in asked)
        bounded = any(one.operator in ("<", "<=", "~=") or "*" in one.version for one in asked)
        return not pinned, not bounded, self.place.get(identifier, inf), not asked, identifier

    def narrow_requirement_selection(
        self, identifiers: Iterable[Key], resolutions: Any, candidates: Any, information: Any, backtrack_causes: Any
    ) -> Iterable[Key]:
        causes = {one.key for cause in backtrack_causes for one in cause if one is not None}
        keys = list(identifiers)
        return [key for key in keys if key in causes] or keys


def resolve(files: Files, needs: Needs, wanted: Sequence[Need]) -> dict[str, File]:
    """Return a file for each project.  Raises `resolvelib.ResolutionImpossible`, and what the questions raise."""
    found = Resolver(Provider(files, needs, wanted), BaseReporter()).resolve(wanted, max_rounds=1_000_000)
    return {candidate.key[0]: candidate.file for candidate in found.mapping.values()}


def impossible(reason: str) -> Need:
    """Return the need that nothing satisfies."""
    return Need(("", reason), SpecifierSet())


def needs_of(candidate: Candidate, metadata: Metadata, target: Target) -> Iterator[Need]:
    """Say what a file needs in order to serve its key.  Raises `packaging.metadata.InvalidMetadata`."""
    (name, *extras), file = candidate.key, candidate.file
    python = metadata.requires_python
    if python is not None and not python.contains(target.python, prereleases=True):
        yield impossible(f"{file.filename} requires Python {python}")
    if extras:
        yield Need((name,), SpecifierSet(f"==={file.version}"))
    for requirement in metadata.requires_dist or ():
        yield from asked_by(requirement, target, extras)


def asked_by(requirement: Requirement, target: Target, extras: Iterable[str] = ()) -> Iterator[Need]:
    """Say what a requirement asks for, among the extras that it stands in; nothing if its marker does not apply."""
    name, marker = canonicalize_name(requirement.name), requirement.marker
    if marker is None or any(marker.evaluate({**target.environment, "extra": extra}) for extra in extras or [""]):
        yield Need((name,), requirement.specifier)
        if requirement.extras:
            yield Need((name, *sorted(map(canonicalize_name, requirement.extras))), requirement.specifier)
