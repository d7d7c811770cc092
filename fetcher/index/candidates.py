"""Which files of a project fit a requirement and an interpreter, and which of them goes first.

Rules, as pip and uv have them:

* Files of another project, which some indexes list on the same page, do not count.
* Of a version the wheels whose tags the interpreter accepts and the source distributions, as far as the formats admit
  either; of the versions those that the specifier admits, pre-releases only if the specifier names one or nothing else
  fits (PEP 440).
* `requires-python` must admit the interpreter's version; one that cannot be parsed admits all.
* With a cut-off date only what was uploaded before it (PEP 700).  A file of which the page does not say when it was
  uploaded is left out, as uv does; a page that says it of none is an error, as to pip: the answer would be "no files"
  however old they are.
* Yanked files only if the specifier pins the version by `==` or `===`, and everything that fits is yanked (PEP 592).
* Of a version's files first a wheel, unless source distributions are preferred; of the wheels the one with the best tag
  (PEP 425), then the highest build number (PEP 427); of the source distributions a `.tar.gz` (PEP 625).
* Of the versions the highest first; if the formats say so, those that have a wheel before those that have none.
* Who wants every version wants pre-releases and yanked files, too: a lock may name them.

This file is pure.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache

from packaging.requirements import Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import BuildTag
from packaging.version import Version

from fetcher.errors import ConfigError, NotFound
from fetcher.index.files import SUFFIXES, File, Project
from fetcher.index.formats import Formats, Kind
from fetcher.index.target import Target

__all__ = ["best_file", "candidates", "choose_file", "explain_none", "versions"]

_CALLED: dict[Kind, str] = {"wheel": "wheel", "sdist": "source distribution"}
_EITHER = Formats()


def candidates(
    project: Project,
    target: Target,
    specifier: SpecifierSet | str = "",
    *,
    formats: Formats = _EITHER,
    uploaded_before: datetime | None = None,
    prereleases: bool | None = None,
) -> tuple[File, ...]:
    """Return the files of a project that a resolver may take: one of each version that fits, the best version first.

    `uploaded_before` has a time zone.  `prereleases`: True admits them, False does not, None does as PEP 440 has it:
    where the specifier names one, or where nothing else fits.

    Raises ConfigError for a specifier that is none, a date without a time zone, and one that is asked of an index that
    tells no upload times.
    """
    files = _own_files(project)
    if uploaded_before is not None:
        files = _uploaded_before(project, files, uploaded_before)
    fitting = _fitting(formats.admit(files, project.name), target, _specifier(specifier), prereleases)
    return tuple(_in_order(fitting, target, formats))


def choose_file(
    project: Project,
    requirement: Requirement,
    target: Target,
    formats: Formats,
    hashes: frozenset[tuple[str, str]] = frozenset(),
) -> File:
    """Return the file to take; `hashes` (algorithm, digest), if any, must name it where the page has a digest.

    Raises NotFound, with a sentence that says what there is instead.
    """
    own = _own_files(project)
    allowed = [file for file in formats.admit(own, project.name) if not hashes or _is_named(file, hashes)]
    best = _in_order(_fitting(allowed, target, requirement.specifier), target, formats)
    if not best:
        raise NotFound("", asked=_explain_none(project, own, requirement, target, formats.only(project.name)))
    return best[0]


def versions(
    project: Project,
    target: Target | None,
    specifier: SpecifierSet,
    formats: Formats,
    *,
    since: datetime | None = None,
    hashes: frozenset[tuple[str, str]] = frozenset(),
    every: bool = False,
) -> list[list[File]]:
    """Return the files that may be taken, by version, the best version first.

    `target` None is every platform.  `since`: only what was uploaded then or later.  `every` as the rules have it.

    Raises ConfigError for a date that is asked of an index that tells no upload times.
    """
    files = [file for file in _own_files(project) if not hashes or _is_named(file, hashes)]
    if since is not None:
        _check_upload_times(project, files, since)
        files = [file for file in files if file.upload_time and not _was_uploaded_before(file.upload_time, since)]
    admitted = formats.admit(files, project.name)
    if every:
        fitting = [
            file for file in specifier.filter(admitted, prereleases=True, key=_version_of) if _fits(file, target)
        ]
    else:
        fitting = _fitting(admitted, target, specifier)
    return _by_version(fitting, formats)


def explain_none(project: Project, requirement: Requirement, target: Target | None, formats: Formats) -> NotFound:
    """Return the error for a requirement that no file of the project fits."""
    only = formats.only(project.name)
    return NotFound("", asked=_explain_none(project, _own_files(project), requirement, target, only))


def best_file(files: Iterable[File], target: Target, prefer: Kind) -> File | None:
    """Return the one that fits best, None if none does; for files that somebody chose already, as a lock does."""
    fitting = [file for file in files if _runs(file, target)]
    return _best(fitting, target, prefer) if fitting else None


def _best(files: Sequence[File], target: Target, prefer: Kind) -> File:
    # Of equals, which differ in how they write the version, the last of the page: so has pip it.
    return max(reversed(files), key=lambda file: _rank(file, target, prefer))


def _own_files(project: Project) -> list[File]:
    """Return the files that bear the project's name: flat folders and group repositories list strangers too."""
    return [file for file in project.files if file.name == project.name and file.version is not None]


def _version_of(file: File) -> Version:
    assert file.version is not None  # noqa: S101 - for the type checker: the others are not the project's own
    return file.version


def _specifier(text: SpecifierSet | str) -> SpecifierSet:
    try:
        return SpecifierSet(text) if isinstance(text, str) else text
    except InvalidSpecifier:
        raise ConfigError(f"{text!r} is not a version specifier, such as '>=2,<3'") from None


def _uploaded_before(project: Project, files: Sequence[File], date: datetime) -> list[File]:
    _check_upload_times(project, files, date)
    return [file for file in files if _was_uploaded_before(file.upload_time, date)]


def _check_upload_times(project: Project, files: Sequence[File], date: datetime) -> None:
    """Raise ConfigError if files cannot be compared with a date."""
    if date.tzinfo is None:
        raise ConfigError(f"{date.isoformat()} has no time zone, so it cannot be compared with upload times")
    if files and all(file.upload_time is None for file in files):
        raise ConfigError(
            f"{_where(project).removeprefix('on ')} does not tell when the files of {project.name} were uploaded, so "
            f"none can be compared with {date.isoformat()}"
        )


def _was_uploaded_before(stated: str | None, date: datetime) -> bool:
    """Compare a time as the page has it; one that says nothing of a zone is in UTC (PEP 700)."""
    try:
        uploaded = datetime.fromisoformat(stated or "")
    except ValueError:
        return False
    return (uploaded if uploaded.tzinfo else uploaded.replace(tzinfo=UTC)) < date


def _is_named(file: File, hashes: frozenset[tuple[str, str]]) -> bool:
    known = {(algorithm, digest) for algorithm, digest in file.hashes.items() if any(algorithm == a for a, _ in hashes)}
    return not known or bool(known & hashes)


def _fitting(
    files: Iterable[File], target: Target | None, specifier: SpecifierSet, prereleases: bool | None = None
) -> list[File]:
    """Return the files that may be taken.

    Versions are looked at first, and tags only of those that may be taken: a page may have ten thousand files.
    """
    admitted = specifier.filter(files, prereleases=True, key=_version_of)
    fitting = [file for file in admitted if _fits(file, target)]
    fitting = list(specifier.filter(fitting, prereleases=prereleases, key=_version_of))
    unyanked = [file for file in fitting if not file.yanked]
    return unyanked if unyanked or not _pins(specifier) else fitting


def _in_order(fitting: Iterable[File], target: Target, formats: Formats) -> list[File]:
    """Return the best file of each version, the best version first."""
    return [_best(files, target, formats.prefer) for files in _by_version(fitting, formats)]


def _by_version(fitting: Iterable[File], formats: Formats) -> list[list[File]]:
    """Return the files of each version, the best version first."""
    by_version: dict[Version, list[File]] = {}
    for file in fitting:
        by_version.setdefault(_version_of(file), []).append(file)
    order = sorted(by_version, reverse=True)
    if formats.prefer_binary:
        order.sort(key=lambda version: not any(file.is_wheel for file in by_version[version]))
    return [by_version[version] for version in order]


def _runs(file: File, target: Target) -> bool:
    return not file.is_wheel or target.place(file.tags) is not None


def _fits(file: File, target: Target | None) -> bool:
    return target is None or (_admits(file.requires_python, target.python) and _runs(file, target))


def _pins(specifiers: SpecifierSet) -> bool:
    return any(one.operator == "===" or (one.operator == "==" and "*" not in one.version) for one in specifiers)


@lru_cache(maxsize=1024)  # most files of a project say the same
def _admits(requires_python: str | None, python: Version) -> bool:
    if not requires_python:
        return True
    try:
        return SpecifierSet(requires_python).contains(python, prereleases=True)
    except InvalidSpecifier:
        return True


def _rank(file: File, target: Target, prefer: Kind) -> tuple[bool, int, BuildTag]:
    """Return a sort key, the highest is best: the preferred kind, the best tag, the highest build number.

    Of source distributions the suffix has the place of the tag.
    """
    place = target.place(file.tags)
    if place is None:
        place = next(number for number, suffix in enumerate(SUFFIXES) if file.filename.endswith(suffix))
    return file.is_wheel == (prefer == "wheel"), -place, file.build


def _where(project: Project) -> str:
    return f"on {project.index.label}" if project.index is not None else f"at {project.url}"


def _explain_none(
    project: Project, own: Sequence[File], requirement: Requirement, target: Target | None, only: Kind | None
) -> str:
    where = _where(project)
    known = {file.version for file in own if file.version is not None}
    if not own:
        return f"{project.name} has no files {where}"
    admitted = list(requirement.specifier.filter(known))
    if not admitted:
        newest = f"; the newest is {max(known)}" if known else ""
        return f"no version of {project.name} {where} satisfies {requirement}{newest}"
    of_version = [file for file in own if file.version in admitted]
    if only is not None and not any(file.is_wheel == (only == "wheel") for file in of_version):
        others: Kind = "sdist" if only == "wheel" else "wheel"
        return f"{requirement} has only {_CALLED[others]}s {where}, no {_CALLED[only]}"
    fits = "may be taken" if target is None else f"fits Python {target.python} and this platform"
    return (
        f"{requirement} has no {_CALLED[only] if only else 'file'} {where} that {fits} "
        f"({len(of_version)} files looked at)"
    )
