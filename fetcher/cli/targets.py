"""TARGETs: URLs, names, requirements (PEP 508), entries of a lock; each becomes one file to fetch."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from packaging.markers import InvalidMarker, Marker
from packaging.requirements import InvalidRequirement, Requirement

from fetcher.cli.locked import Locked
from fetcher.client import Fetcher
from fetcher.digest import demand
from fetcher.errors import ConfigError
from fetcher.index.candidates import choose_file
from fetcher.index.files import File, file_from_url, fragment_digests
from fetcher.index.formats import Formats
from fetcher.index.scope import Index
from fetcher.index.target import RUNNING, Target as Interpreter, describe_python, this_interpreter
from fetcher.index.urls import redact

__all__ = ["Target", "find_file", "interpreter_for", "named_file", "parse_target"]

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
    named = named_file(target, fetcher.indexes)
    if named is not None:
        return named
    assert target.requirement is not None  # noqa: S101 - for the type checker: a target is one of the three
    project = await fetcher.project(target.requirement.name)
    return demand(choose_file(project, target.requirement, interpreter, formats, target.hashes), target.hashes)


def named_file(target: Target, indexes: Iterable[Index]) -> File | None:
    """Return the file that a target names itself, by a URL or a lock; None if its project has to be asked.

    Raises NotFound, ConfigError, HashMismatch.
    """
    if target.locked is not None:
        return target.locked.file(indexes)
    return None if target.url is None else demand(_file_of(target.url), target.hashes)


def _file_of(url: str) -> File:
    try:
        return file_from_url(url)
    except ValueError as error:
        raise ConfigError(str(error)) from None
