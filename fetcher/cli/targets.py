"""TARGETs: URLs, names, requirements (PEP 508), and files of them; each becomes one wheel to fetch."""

import platform
import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from msgspec import structs
from packaging.requirements import InvalidRequirement, Requirement

from fetcher.client import Fetcher
from fetcher.digest import ALGORITHMS
from fetcher.errors import ConfigError
from fetcher.index.candidates import Target as Interpreter, choose_wheel, describe_python, this_interpreter
from fetcher.index.files import File
from fetcher.index.urls import redact

__all__ = ["Requested", "Target", "find_file", "interpreter_for", "read_requested"]

_COMMENT = re.compile(r"(^|\s)#.*$")
_HASH = re.compile(r"\s--hash[= ](\S+)")


@dataclass(frozen=True)
class Target:
    """One thing to fetch: a URL, or a requirement; `hashes` are those a requirements file pins it to."""

    text: str
    url: str | None = None
    requirement: Requirement | None = None
    hashes: frozenset[tuple[str, str]] = frozenset()


@dataclass
class Requested:
    """All that was asked for, in order, and the indexes that requirements files named."""

    targets: list[Target] = field(default_factory=list)
    index_url: str | None = None
    extra_index_urls: list[str] = field(default_factory=list)


def read_requested(arguments: Iterable[str], files: Iterable[Path]) -> Requested:
    """Read the arguments, then the files.  Raises ConfigError, naming file and line."""
    requested = Requested([parse_target(argument) for argument in arguments])
    for path in files:
        _read_file(path, requested, opened=())
    if not requested.targets:
        raise ConfigError("nothing to fetch: name a package, a URL, or a file with -r")
    return requested


def parse_target(text: str) -> Target:
    """Parse a TARGET.  Raises ConfigError."""
    if re.match(r"https?://", text, re.IGNORECASE):
        return Target(redact(text), url=text)
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{redact(text)!r} is neither a URL nor a requirement: {redact(reason)}") from None
    return Target(redact(text) if requirement.url else text, url=requirement.url, requirement=requirement)


def interpreter_for(python_version: str | None, platforms: Iterable[str]) -> Interpreter:
    """Return the interpreter to choose wheels for: this one, unless options describe another."""
    running = platform.python_version()
    platforms = list(platforms)
    if python_version is None and not platforms:
        return this_interpreter(running)
    return describe_python(python_version or running, platforms)


async def find_file(fetcher: Fetcher, target: Target, interpreter: Interpreter) -> File | str:
    """Return the file of a target: its URL, or the wheel that fits best.  Raises NotFound and what `project` raises."""
    if target.url is not None:
        return target.url
    requirement = target.requirement
    assert requirement is not None  # noqa: S101 - a target has one of the two
    project = await fetcher.project(requirement.name)
    chosen = choose_wheel(project, requirement, interpreter, target.hashes)
    if target.hashes and not chosen.hashes:
        return _with_hashes(chosen, target.hashes)
    return chosen


def _with_hashes(file: File, hashes: frozenset[tuple[str, str]]) -> File:
    """Return the file with the digests that the requirements file demands, where the page has none to compare."""
    best = min(hashes, key=lambda pair: ALGORITHMS.index(pair[0]))
    same = [digest for algorithm, digest in hashes if algorithm == best[0]]
    if len(same) > 1:
        raise ConfigError(f"{file.filename}: the index names no digest, so --hash cannot choose between {len(same)}")
    return structs.replace(file, hashes=dict([best]))


# ------------------------------------------------------------------------------------------------- requirements files


def _read_file(path: Path, requested: Requested, opened: tuple[Path, ...]) -> None:
    if path.resolve() in opened:
        raise ConfigError(f"{path} includes itself")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"cannot read {path}: {reason}") from None
    for number, line in _logical_lines(text):
        try:
            _read_line(line, path, requested, (*opened, path.resolve()))
        except ConfigError as error:
            raise ConfigError(f"{path}, line {number}: {error}") from None


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines with their numbers, continuations joined and comments removed (pip's file format)."""
    begun, held = 0, ""
    for number, line in enumerate(text.splitlines(), start=1):
        begun = begun or number
        if line.endswith("\\") and not line.lstrip().startswith("#"):
            held += line[:-1] + " "
            continue
        complete = _COMMENT.sub("", held + line).strip()
        if complete:
            yield begun, complete
        begun, held = 0, ""
    if complete := _COMMENT.sub("", held).strip():
        yield begun, complete


def _read_line(line: str, path: Path, requested: Requested, opened: tuple[Path, ...]) -> None:
    if not line.startswith("-"):
        target = _parse_line(line)
        if target.requirement is None or target.requirement.marker is None or target.requirement.marker.evaluate():
            requested.targets.append(target)
        return
    try:
        name, _, value = " ".join(shlex.split(line)).replace("=", " ", 1).partition(" ")
    except ValueError as error:
        raise ConfigError(f"{line.split()[0]}: {error}") from None
    match name:
        case "-r" | "--requirement":
            _read_file(path.parent / value, requested, opened)
        case "-i" | "--index-url":
            requested.index_url = value
        case "--extra-index-url":
            requested.extra_index_urls.append(value)
        case "--no-deps" | "--prefer-binary" | "--require-hashes" | "--only-binary":
            pass  # what is done here anyway: no dependencies, wheels only, hashes checked where they are given
        case _:
            raise ConfigError(f"the option {name} is not supported")


def _parse_line(line: str) -> Target:
    hashes = set()
    for stated in _HASH.findall(line):
        algorithm, _, digest = stated.partition(":")
        if algorithm not in ALGORITHMS or not digest:
            raise ConfigError(f"--hash={stated} is not of the form sha256:digest")
        hashes.add((algorithm, digest.lower()))
    return replace(parse_target(_HASH.sub("", line).strip()), hashes=frozenset(hashes))
