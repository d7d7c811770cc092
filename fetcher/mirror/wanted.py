"""What is wanted of a project, and which of its files that comes to.

Rules:

1. A requirement takes the newest version that fits, as an installer would choose it; or so many of the newest; or every
   one.  For each target the best file of a version; for every platform all of its files.
2. With a date only what was uploaded then or later; nothing since then is no failure.
3. Where several requirements for the same target name a project, of the versions that each admits the one that most of
   the others admit, too, is wanted as well: an installer that has to satisfy them together ends there.
4. A file that was named by its URL or by a lock is taken as it is.
5. What one requirement has no file for is an error of its own; of an index that is taken as a whole it is none.
6. Constraints narrow what requirements admit, and ask for nothing themselves.

This file is pure.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

import msgspec
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from fetcher.digest import demand
from fetcher.errors import ConfigError, FetcherError
from fetcher.index.candidates import best_file, explain_none, versions
from fetcher.index.files import File, Project
from fetcher.index.formats import Formats
from fetcher.index.scope import Index
from fetcher.index.target import Target
from fetcher.mirror.records import Listing

__all__ = ["Ask", "Choice", "Chosen", "Pick", "choose", "named_files"]


class Ask(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why files of a project are wanted: a requirement, or a file itself (`filename` and `listing`).

    `target` is the place of one among those of the choice, None for each.  `hashes` are (algorithm, digest).  `named`:
    somebody asked for the project itself, not for all that an index has.
    """

    specifier: str = ""
    extras: tuple[str, ...] = ()
    hashes: tuple[tuple[str, str], ...] = ()
    target: int | None = None
    filename: str = ""
    listing: Listing | None = None
    named: bool = True


@dataclass(frozen=True)
class Choice:
    """How much of what is asked for is taken.

    `targets` None: the files for every platform.  `newest` versions of each requirement, None: every one.  `sdists`:
    the source distributions of each version, too.  `constraints` are specifiers by normalized project name.
    """

    targets: tuple[Target, ...] | None
    newest: int | None = 1
    since: datetime | None = None
    formats: Formats = field(default_factory=Formats)
    sdists: bool = False
    constraints: Mapping[str, str] = field(default_factory=dict)

    def admits(self, project: str, specifier: str) -> SpecifierSet:
        """Return what a requirement admits, constraints applied (rule 6)."""
        return SpecifierSet(",".join(filter(None, (specifier, self.constraints.get(project)))))

    def numbers(self, ask: Ask) -> Sequence[int | None]:
        """Return the places of the targets that are asked for; one None for every platform."""
        if self.targets is None:
            return (None,)
        return range(len(self.targets)) if ask.target is None else (ask.target,)

    def target(self, number: int | None) -> Target | None:
        """Return the target at a place; None for every platform."""
        return None if number is None or self.targets is None else self.targets[number]


@dataclass(frozen=True)
class Pick:
    """A file that is wanted, and for whom: the places of targets, with the extras that are wanted there."""

    file: File
    wanted_by: set[tuple[int | None, tuple[str, ...]]] = field(default_factory=set)


@dataclass
class Chosen:
    """The files that are wanted of a project, by name; and why what else was asked for cannot be had.

    `general` errors are those of the whole index, which every project of it has.
    """

    picks: dict[str, Pick] = field(default_factory=dict)
    errors: list[FetcherError] = field(default_factory=list)
    general: list[FetcherError] = field(default_factory=list)

    def add(self, files: Iterable[File], number: int | None, extras: tuple[str, ...]) -> None:
        """Take files for a target."""
        for file in files:
            pick = self.picks.setdefault(file.filename, Pick(file))
            if Listing.of(pick.file).names_other_content(Listing.of(file)):
                self.errors.append(ConfigError(f"two different files are called {file.filename}: one of them is taken"))
            else:
                pick.wanted_by.add((number, extras))

    def join(self, other: "Chosen") -> None:
        """Take what others want besides."""
        for pick in other.picks.values():
            for number, extras in pick.wanted_by:
                self.add([pick.file], number, extras)
        self.errors += other.errors
        self.general += other.general


def choose(project: Project, asks: Iterable[Ask], choice: Choice) -> Chosen:
    """Return which files of a project are wanted (rules 1 to 3, and 5)."""
    chosen = Chosen()
    by_target: dict[int | None, list[Ask]] = {}
    for ask in asks:
        for number in choice.numbers(ask):
            by_target.setdefault(number, []).append(ask)
    for number, wanted in by_target.items():
        _choose_for(chosen, project, wanted, number, choice)
    return chosen


def _choose_for(chosen: Chosen, project: Project, asks: Iterable[Ask], number: int | None, choice: Choice) -> None:
    """Take what the requirements want for one target."""
    found: list[tuple[Ask, list[list[File]]]] = []
    for ask in asks:
        try:
            found.append((ask, _versions(project, ask, number, choice)))
        except FetcherError as error:
            (chosen.errors if ask.named else chosen.general).append(error)
    # How many of the requirements admit a version; the files of one are the same whoever asks.
    admitted = Counter(groups[0].version for _, each in found for groups in each)
    for ask, each in found:
        shared = max(each, key=lambda files: admitted[files[0].version], default=[])  # the best of those
        for files in [*each[: choice.newest], shared]:
            chosen.add(_files(files, ask, choice.target(number), choice), number, ask.extras)


def _versions(project: Project, ask: Ask, number: int | None, choice: Choice) -> list[list[File]]:
    """Return the files that one requirement admits, by version, the best first.  Raises FetcherError if it is named
    and there are none."""
    target, specifier = choice.target(number), choice.admits(project.name, ask.specifier)
    find = partial(
        versions, project, target, specifier, choice.formats, since=choice.since, every=choice.newest is None
    )
    found = find(hashes=frozenset(ask.hashes))
    if not found and ask.named and choice.since is None:
        for files in find():
            demand(files[0], frozenset(ask.hashes))  # says which digest it has instead
        raise explain_none(project, Requirement(f"{project.name}{specifier}"), target, choice.formats)
    return found


def _files(files: Sequence[File], ask: Ask, target: Target | None, choice: Choice) -> Iterator[File]:
    """Yield those of a version's files that are taken."""
    best = None if target is None else best_file(files, target, choice.formats.prefer)
    sdists = [file for file in files if not file.is_wheel and file is not best] if choice.sdists else []
    for file in files if best is None else [best, *sdists]:
        yield demand(file, frozenset(ask.hashes))


def named_files(
    project: str, asks: Iterable[Ask], indexes: Iterable[Index], secrets: Mapping[str, str] | None = None
) -> Chosen:
    """Return the files of a project that were named themselves (rule 4).

    `secrets` are the URLs that hold some, by what is kept of them.
    """
    by_url = {index.url: index for index in indexes}
    chosen = Chosen()
    for ask in asks:
        if ask.listing is not None:
            file = ask.listing.file(project, ask.filename, by_url.get(ask.listing.index))
            if file.url in (secrets or {}):
                file = msgspec.structs.replace(file, url=(secrets or {})[file.url])
            chosen.add([file], ask.target, ask.extras)
    return chosen
