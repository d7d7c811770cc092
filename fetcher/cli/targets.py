"""TARGETs: URLs, names, requirements (PEP 508), entries of a lock; each becomes one file to fetch."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from msgspec import structs
from packaging.markers import InvalidMarker, Marker
from packaging.requirements import InvalidRequirement, Requirement

from fetcher.cli.lockfile import Locked
from fetcher.client import Fetcher
from fetcher.digest import ALGORITHMS
from fetcher.errors import ConfigError, HashMismatch
from fetcher.index.candidates import choose_file
from fetcher.index.files import File, file_from_url, fragment_digests
from fetcher.index.formats import Formats
from fetcher.index.target import RUNNING, Target as Interpreter, describe_python, this_interpreter
from fetcher.index.urls import redact

__all__ = ["Target", "find_file", "interpreter_for", "parse_target"]

_URL = re.compile(r"https?://", re.IGNORECASE)


@dataclass(frozen=True)
class Target:
    """One thing to fetch: a URL, a requirement, or an entry of a lock.

    `marker` says where it is wanted; only requirements files heed it.  `hashes` are those such a file pins it to.
    """

    text: str
    url: str | None = field(default=None, repr=False)
    requirement: Requirement | None = field(default=None, repr=False)
    marker: Marker | None = None
    hashes: frozenset[tuple[str, str]] = frozenset()
    locked: Locked | None = field(default=None, repr=False)

    @property
    def is_pinned(self) -> bool:
        """Whether it names a digest itself."""
        fragment = (self.url or "").partition("#")[2]
        return bool(self.hashes or self.locked or (fragment and fragment_digests(fragment)))


def parse_target(text: str) -> Target:
    """Parse a TARGET: a URL, which a marker may follow after a blank, or a requirement.  Raises ConfigError."""
    if _URL.match(text):
        url, blank, rest = text.partition(" ")
        marker = _parse_marker(rest) if blank else None
        return Target(redact(url), url=url, marker=marker)
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{redact(text)!r} is neither a URL nor a requirement: {redact(reason)}") from None
    shown = text.replace(requirement.url, redact(requirement.url)) if requirement.url else text
    return Target(shown, url=requirement.url, requirement=requirement, marker=requirement.marker)


def _parse_marker(text: str) -> Marker:
    try:
        return Marker(text.strip().removeprefix(";"))
    except InvalidMarker:
        raise ConfigError(f"what follows the URL, {redact(text)!r}, is no marker") from None


def interpreter_for(python_version: str | None, platforms: Iterable[str]) -> Interpreter:
    """Return the interpreter to choose files for: this one, unless options describe another."""
    platforms = list(platforms)
    if python_version is None and not platforms:
        return this_interpreter()
    return describe_python(python_version or RUNNING, platforms)


async def find_file(fetcher: Fetcher, target: Target, interpreter: Interpreter, formats: Formats) -> File:
    """Return the file of a target: that of its URL, the locked one, or the one of its project that fits best.

    Raises NotFound, ConfigError, HashMismatch for a digest that the requirements file does not allow, and what
    `project` raises.
    """
    if target.locked is not None:
        return target.locked.file(fetcher.indexes)
    if target.requirement is None or target.url is not None:
        return _demand(_file_of(target.url or ""), target.hashes)
    project = await fetcher.project(target.requirement.name)
    chosen = choose_file(project, target.requirement, interpreter, formats, target.hashes)
    return _demand(chosen, target.hashes)


def _file_of(url: str) -> File:
    try:
        return file_from_url(url)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _demand(file: File, hashes: frozenset[tuple[str, str]]) -> File:
    """Return the file with a digest that the requirements file demands."""
    if not hashes:
        return file
    stated = {pair for pair in file.hashes.items() if any(pair[0] == algorithm for algorithm, _ in hashes)}
    allowed = stated & hashes
    if stated and not allowed:
        algorithm, digest = min(stated)
        expected = " or ".join(sorted(other for name, other in hashes if name == algorithm))
        raise HashMismatch(file.filename, file.url, algorithm, expected, digest)
    best = min(allowed or hashes, key=lambda pair: ALGORITHMS.index(pair[0]))
    if not allowed and sum(algorithm == best[0] for algorithm, _ in hashes) > 1:
        raise ConfigError(
            f"{file.filename}: the index names no {best[0]} digest to choose one of the --hash options by"
        )
    return structs.replace(file, hashes=dict([best]))
