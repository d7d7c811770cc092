"""What is asked for: arguments, requirements files (pip's format), lock files, standard input.

Rules:

1. Everything is read and parsed before anything is fetched: an option counts for all files wherever it stands, and
   what is wrong anywhere ends the command with nothing done.  Only what a lock has is chosen while it is read, as the
   command's own flags say.
2. Nothing parsed is kept.  What is wanted goes to a temporary file, and is parsed again when its turn comes; so each
   file is read once (it may be a pipe), and a hundred thousand lines need no more memory than ten.
3. A file is a lock if its name is a lock's: `pylock.toml`, `pylock.NAME.toml`, `uv.lock`.  `-` is standard input, which
   may be named once; files that it names are relative to the current directory.
4. Variables are replaced on the way out, so that no secret of theirs is in the temporary file.
"""

import io
import logging
import os
import re
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import IO

import msgspec
from packaging.markers import Marker
from packaging.pylock import is_valid_pylock_path
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from fetcher.cli.locked import Locked, holds
from fetcher.cli.lockfile import read_lock
from fetcher.cli.targets import Target, interpreter_for, parse_target
from fetcher.cli.uvlock import read_uv_lock
from fetcher.errors import ConfigError, DiskError
from fetcher.index.files import is_digest
from fetcher.index.formats import Formats
from fetcher.index.target import Target as Interpreter
from fetcher.index.urls import redact

__all__ = ["Requested", "read_requested"]

logger = logging.getLogger(__name__)

STDIN = "-"
ReadLock = Callable[[Path, Interpreter | None, Formats], Iterator[Locked]]
UV_LOCK = "uv.lock"
# Ten thousand lines without digests, or a thousand with two each, never touch the disk.
MEMORY = 256 * 1024

_COMMENT = re.compile(r"(^|\s)#.*$")
_OPTION = re.compile(r"(--?[A-Za-z][A-Za-z-]*)(?:[ \t]*=[ \t]*|[ \t]+|$)(.*)")
_VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)\}")
_HASH = re.compile(r"\s--hash[= ](\S+)")


@dataclass
class Requested:
    """What was asked for: so many targets in order, to be taken once, and the options that requirements files named."""

    targets: Iterator[Target] = field(default_factory=lambda: iter(()), repr=False)
    count: int = 0
    index_url: str | None = field(default=None, repr=False)
    extra_index_urls: list[str] = field(default_factory=list, repr=False)
    require_hashes: bool = False
    formats: Formats = field(default_factory=Formats)
    constraints: dict[str, str] = field(default_factory=dict)
    has_lock: bool = False


def read_requested(
    arguments: Iterable[str],
    files: Iterable[Path],
    interpreters: Sequence[Interpreter] = (),
    *,
    constraints: Iterable[Path] = (),
    all_platforms: bool = False,
    formats: Formats | None = None,
    required: bool = True,
) -> Requested:
    """Read the arguments, then the files.  Raises ConfigError, naming file and line; DiskError.

    `interpreters`, by default the running one, are what markers are evaluated for and files of locks chosen for: a line
    counts if its marker holds for one of them.  `all_platforms` takes every line, and every file of a lock, instead.
    `formats` are those of the flags: lines of requirements files come after them, as for pip, and locks are chosen from
    by the flags alone.  `constraints` are files that narrow what requirements admit.  `required`: something must be
    asked for.
    """
    reader = _Reader(interpreters or [interpreter_for(None, ())], all_platforms, formats or Formats())
    for argument in arguments:
        reader.read_argument(argument)
    for path in files:
        reader.read_file(path)
    for path in constraints:
        reader.read_constraints(path)
    return reader.requested(required=required)


class _Kept:
    """Lines and entries of locks, out of memory until their turn comes; its file goes with it."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=MEMORY)  # noqa: SIM115 - closed by `finalize`
        weakref.finalize(self, self._file.close)
        self._decoder = msgspec.json.Decoder(str | Locked)
        self.count = 0

    def add(self, entry: str | Locked) -> None:
        """Append an entry.  Raises DiskError."""
        try:
            self._file.write(msgspec.json.encode(entry) + b"\n")
        except OSError as error:
            raise DiskError.of(f"a temporary file in {tempfile.gettempdir()}", error) from error
        self.count += 1

    def read(self) -> Iterator[str | Locked]:
        """Yield the entries from the first to the last."""
        self._file.seek(0)
        for line in self._file:
            yield self._decoder.decode(line)


class _Reader:
    """The first pass: checks each target, keeps what is wanted, and collects the options."""

    def __init__(self, interpreters: Sequence[Interpreter], all_platforms: bool, formats: Formats) -> None:
        self._requested = Requested(formats=formats)
        self._kept = _Kept()
        # What was named, in order: an argument as it is, a file as the number of its entries among the kept.
        self._parts: list[str | int] = []
        self._interpreters = interpreters
        self._all_platforms = all_platforms
        self._flags = formats
        self._stdin_is_read = False
        self._unpinned = ""

    def read_argument(self, argument: str) -> None:
        """Read a TARGET.  Raises ConfigError."""
        if argument == STDIN:
            self.read_file(Path(argument))
            return
        self._look(parse_target(argument))
        self._parts.append(argument)

    def read_file(self, path: Path) -> None:
        """Read a file, or standard input.  Raises ConfigError, DiskError."""
        before = self._kept.count
        if str(path) == STDIN:
            self._read_stdin()
        else:
            self._read(path, opened=())
        self._parts.append(self._kept.count - before)

    def requested(self, *, required: bool) -> Requested:
        """Return what was asked for, once all is read.  Raises ConfigError for what can be judged only then."""
        if self._requested.require_hashes and self._unpinned:
            raise ConfigError(f"--require-hashes is demanded, and {self._unpinned} has no --hash")
        count = sum(1 if isinstance(part, str) else part for part in self._parts)
        if not count and required:
            raise ConfigError("nothing to fetch: name a package, a URL, or a file with -r")
        return replace(self._requested, targets=self._targets(), count=count)

    def _targets(self) -> Iterator[Target]:
        """Yield the targets, each parsed when it is asked for."""
        entries = self._kept.read()
        for part in self._parts:
            if isinstance(part, str):
                yield self._constrained(parse_target(part))
            else:
                yield from map(self._constrained, map(_target_of, islice(entries, part)))

    def _constrained(self, target: Target) -> Target:
        """Return a target, narrowed by what constrains its project."""
        requirement = target.requirement
        stated = "" if requirement is None else self._requested.constraints.get(canonicalize_name(requirement.name), "")
        if requirement is None or not stated:
            return target
        narrowed = Requirement(str(requirement))
        narrowed.specifier = requirement.specifier & SpecifierSet(stated)
        return replace(target, requirement=narrowed)

    def read_constraints(self, path: Path) -> None:
        """Read a file of constraints.  Raises ConfigError, DiskError."""
        for number, line in _logical_lines(_lines_of(path)):
            try:
                self._constrain(_parse_line(_expand(line)))
            except ConfigError as error:
                raise ConfigError(f"{path}, line {number}: {error}") from None

    def _constrain(self, target: Target) -> None:
        """Take note of a constraint, if its marker holds somewhere."""
        requirement = target.requirement
        if requirement is None or requirement.url is not None or requirement.extras:
            raise ConfigError(f"{target.text!r} is no constraint: it needs a name and a specifier, and nothing else")
        if self._counts(target.marker):
            name = canonicalize_name(requirement.name)
            known = self._requested.constraints.get(name)
            stated = str(requirement.specifier)
            self._requested.constraints[name] = ",".join(filter(None, (known, stated)))

    def _look(self, target: Target) -> None:
        if not target.is_pinned:
            self._unpinned = self._unpinned or target.text

    def _read_stdin(self) -> None:
        if self._stdin_is_read:
            raise ConfigError("standard input can be read only once: name - once")
        self._stdin_is_read = True
        self._read_lines(_lines_of(None), "<stdin>", Path(), opened=())

    def _read(self, path: Path, opened: tuple[str, ...]) -> None:
        read = read_uv_lock if path.name == UV_LOCK else read_lock if is_valid_pylock_path(path) else None
        if read is not None:
            self._read_lock(path, read)
            return
        if "\0" in str(path):
            raise ConfigError("no file name has a NUL in it")
        resolved = os.path.realpath(path)
        if resolved in opened:
            raise ConfigError(f"{path} includes itself")
        self._read_lines(_lines_of(path), str(path), path.parent, (*opened, resolved))

    def _read_lock(self, path: Path, read: ReadLock) -> None:
        self._requested.has_lock = True
        if self._all_platforms:
            for locked in read(path, None, self._flags):
                self._kept.add(locked)
            return
        for number, interpreter in enumerate(self._interpreters):
            for locked in read(path, interpreter, self._flags):
                self._kept.add(msgspec.structs.replace(locked, target=number))

    def _read_lines(self, lines: Iterable[str], name: str, folder: Path, opened: tuple[str, ...]) -> None:
        for number, line in _logical_lines(lines):
            try:
                self._read_line(line, folder, opened)
            except ConfigError as error:
                raise ConfigError(f"{name}, line {number}: {error}") from None

    def _read_line(self, line: str, folder: Path, opened: tuple[str, ...]) -> None:
        text = _expand(line)
        if text.startswith("-"):
            self._read_option(text, folder, opened)
        elif text:
            target = _parse_line(text)
            if self._counts(target.marker):
                self._look(target)
                self._kept.add(line)

    def _counts(self, marker: Marker | None) -> bool:
        if marker is None or self._all_platforms:
            return True
        return any(holds(marker, interpreter.environment, "metadata") for interpreter in self._interpreters)

    def _read_option(self, text: str, folder: Path, opened: tuple[str, ...]) -> None:
        option = _OPTION.fullmatch(text)
        name, value = (option[1], option[2].strip("\"'")) if option else (text, "")
        match name:
            case "-r" | "--requirement" if "://" in value:
                raise ConfigError(f"a requirements file is read from disk, not from {redact(value)}")
            case "-r" | "--requirement":
                self._read(folder / value, opened)
            case "-c" | "--constraint" if "://" in value:
                raise ConfigError(f"a constraints file is read from disk, not from {redact(value)}")
            case "-c" | "--constraint":
                self.read_constraints(folder / value)
            case "-i" | "--index-url":
                self._requested.index_url = value
            case "--extra-index-url":
                self._requested.extra_index_urls.append(value)
            case "--require-hashes":
                self._requested.require_hashes = True
            case "--only-binary" | "--no-binary":
                self._requested.formats = self._requested.formats.heed(name, value)
            case "--prefer-binary":
                self._requested.formats = replace(self._requested.formats, prefer_binary=True)
            case "--no-deps" | "--trusted-host":
                # What is done here anyway: no dependencies.  TLS is always verified.
                logger.info("%s has no effect", name)
            case _:
                raise ConfigError(f"the option {redact(name)} is not supported")


# ---------------------------------------------------------------------------------------------------------------- lines


@contextmanager
def _opened(path: Path | None) -> Iterator[IO[str]]:
    """Open a file, or standard input, which stays open."""
    if path is not None:
        with path.open(encoding="utf-8-sig") as text:
            yield text
        return
    stdin = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig")
    try:
        yield stdin
    finally:
        stdin.detach()


def _lines_of(path: Path | None) -> Iterator[str]:
    """Yield the lines of a file, or of standard input.  Raises ConfigError."""
    try:
        with _opened(path) as text:
            for line in text:
                yield from line.splitlines()  # pip ends a line at form feeds and the like, too
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"cannot read {path or '<stdin>'}: {reason}") from None


def _logical_lines(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Yield the lines with their numbers, continuations joined, comments removed (pip's format)."""
    begun, held = 0, ""
    for number, line in enumerate(lines, start=1):
        begun = begun or number
        if line.endswith("\\") and not line.lstrip().startswith("#"):
            held += line[:-1] + " "
            continue
        if complete := _COMMENT.sub("", held + line).strip():
            yield begun, complete
        begun, held = 0, ""
    if complete := _COMMENT.sub("", held).strip():
        yield begun, complete


def _expand(line: str) -> str:
    """Return a line with `${NAME}` replaced by the environment's value where there is one."""
    return _VARIABLE.sub(lambda match: os.environ.get(match[1], match[0]), line)


def _parse_line(text: str) -> Target:
    if "--hash" not in text:
        return parse_target(text)
    hashes = set()
    for stated in _HASH.findall(text):
        algorithm, _, digest = stated.partition(":")
        if not is_digest(algorithm, digest.lower()):
            raise ConfigError(f"--hash={stated} is not of the form sha256:digest")
        hashes.add((algorithm, digest.lower()))
    return replace(parse_target(_HASH.sub("", text).strip()), hashes=frozenset(hashes))


def _target_of(entry: str | Locked) -> Target:
    return _parse_line(_expand(entry)) if isinstance(entry, str) else Target(entry.text, locked=entry)
