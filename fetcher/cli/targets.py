"""TARGETs: URLs, names, requirements (PEP 508), and files of them; each becomes one wheel to fetch."""

import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from msgspec import structs
from packaging.markers import InvalidMarker, Marker
from packaging.requirements import InvalidRequirement, Requirement

from fetcher.client import Fetcher
from fetcher.digest import ALGORITHMS
from fetcher.errors import ConfigError, HashMismatch
from fetcher.index.candidates import Target as Interpreter, choose_wheel, describe_python, this_interpreter
from fetcher.index.files import File, file_from_url, is_digest
from fetcher.index.urls import redact

__all__ = ["Requested", "Target", "find_file", "interpreter_for", "read_requested"]

logger = logging.getLogger(__name__)

_COMMENT = re.compile(r"(^|\s)#.*$")
_OPTION = re.compile(r"(--?[A-Za-z][A-Za-z-]*)(?:[ \t]*=[ \t]*|[ \t]+|$)(.*)")
_VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)\}")
_HASH = re.compile(r"\s--hash[= ](\S+)")


@dataclass(frozen=True)
class Target:
    """One thing to fetch: a URL, or a requirement.

    `marker` says where it is wanted; only requirements files heed it.  `hashes` are those such a file pins it to.
    """

    text: str
    url: str | None = field(default=None, repr=False)
    requirement: Requirement | None = field(default=None, repr=False)
    marker: Marker | None = None
    hashes: frozenset[tuple[str, str]] = frozenset()


@dataclass
class Requested:
    """All that was asked for, in order, and the options that requirements files named."""

    targets: list[Target] = field(default_factory=list)
    index_url: str | None = field(default=None, repr=False)
    extra_index_urls: list[str] = field(default_factory=list, repr=False)
    require_hashes: bool = False


def read_requested(arguments: Iterable[str], files: Iterable[Path]) -> Requested:
    """Read the arguments, then the files.  Raises ConfigError, naming file and line."""
    requested = Requested([parse_target(argument) for argument in arguments])
    for path in files:
        _read_file(path, requested, opened=())
    unpinned = [target.text for target in requested.targets if not target.hashes and "#" not in (target.url or "")]
    if requested.require_hashes and unpinned:
        raise ConfigError(f"--require-hashes is demanded, and {unpinned[0]} has no --hash")
    if not requested.targets:
        raise ConfigError("nothing to fetch: name a package, a URL, or a file with -r")
    return requested


def parse_target(text: str) -> Target:
    """Parse a TARGET: a URL, which a marker may follow after a blank, or a requirement.  Raises ConfigError."""
    if re.match(r"https?://", text, re.IGNORECASE):
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
    """Return the interpreter to choose wheels for: this one, unless options describe another."""
    running = ".".join(map(str, sys.version_info[:3]))
    platforms = list(platforms)
    if python_version is None and not platforms:
        return this_interpreter(running)
    return describe_python(python_version or running, platforms)


async def find_file(fetcher: Fetcher, target: Target, interpreter: Interpreter) -> File:
    """Return the file of a target: that of its URL, or the wheel that fits best.

    Raises NotFound, ConfigError, HashMismatch for a digest that the requirements file does not allow, and what
    `project` raises.
    """
    if target.requirement is None or target.url is not None:
        return _demand(_file_of(target.url or ""), target.hashes)
    project = await fetcher.project(target.requirement.name)
    return _demand(choose_wheel(project, target.requirement, interpreter, target.hashes), target.hashes)


def _file_of(url: str) -> File:
    try:
        return file_from_url(url)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _demand(file: File, hashes: frozenset[tuple[str, str]]) -> File:
    """Return the file with a digest that the requirements file demands."""
    stated = {pair for pair in file.hashes.items() if any(pair[0] == algorithm for algorithm, _ in hashes)}
    allowed = stated & hashes
    if not hashes:
        return file
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


# ------------------------------------------------------------------------------------------------- requirements files


def _read_file(path: Path, requested: Requested, opened: tuple[Path, ...]) -> None:
    resolved = path.resolve()
    if resolved in opened:
        raise ConfigError(f"{path} includes itself")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"cannot read {path}: {reason}") from None
    for number, line in _logical_lines(text):
        try:
            _read_line(line, path, requested, (*opened, resolved))
        except ConfigError as error:
            raise ConfigError(f"{path}, line {number}: {error}") from None


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines with their numbers, continuations joined, comments removed, variables replaced (pip's format)."""
    begun, held = 0, ""
    for number, line in enumerate(text.splitlines(), start=1):
        begun = begun or number
        if line.endswith("\\") and not line.lstrip().startswith("#"):
            held += line[:-1] + " "
            continue
        if complete := _complete(held + line):
            yield begun, complete
        begun, held = 0, ""
    if complete := _complete(held):
        yield begun, complete


def _complete(line: str) -> str:
    """Return a line without comment, `${NAME}` replaced by the environment's value where there is one."""
    plain = _COMMENT.sub("", line).strip()
    return _VARIABLE.sub(lambda match: os.environ.get(match[1], match[0]), plain)


def _read_line(line: str, path: Path, requested: Requested, opened: tuple[Path, ...]) -> None:
    if not line.startswith("-"):
        target = _parse_line(line)
        if target.marker is None or target.marker.evaluate():
            requested.targets.append(target)
        return
    option = _OPTION.fullmatch(line)
    name, value = (option[1], option[2].strip("\"'")) if option else (line, "")
    match name:
        case "-r" | "--requirement" if "://" in value:
            raise ConfigError(f"a requirements file is read from disk, not from {redact(value)}")
        case "-r" | "--requirement":
            _read_file(path.parent / value, requested, opened)
        case "-i" | "--index-url":
            requested.index_url = value
        case "--extra-index-url":
            requested.extra_index_urls.append(value)
        case "--require-hashes":
            requested.require_hashes = True
        case "--no-deps" | "--prefer-binary" | "--only-binary" | "--trusted-host":
            # What is done here anyway: no dependencies, wheels only.  TLS is always verified.
            logger.info("%s has no effect", name)
        case _:
            raise ConfigError(f"the option {redact(name)} is not supported")


def _parse_line(line: str) -> Target:
    hashes = set()
    for stated in _HASH.findall(line):
        algorithm, _, digest = stated.partition(":")
        if not is_digest(algorithm, digest.lower()):
            raise ConfigError(f"--hash={stated} is not of the form sha256:digest")
        hashes.add((algorithm, digest.lower()))
    return replace(parse_target(_HASH.sub("", line).strip()), hashes=frozenset(hashes))
