"""What a lock has of one package: the files to take of it, and what is demanded of them.

Rules, for every kind of lock:

1. Of a package's wheels and its source distribution the one that fits an interpreter best, as among those of an index
   page; for all platforms every file, as far as the formats admit it.
2. What the lock says is demanded: URL, size, digests.  One that cannot be a digest is an error, not passed over.
3. A package that has nothing to fetch (a repository, a local file, no wheel that fits) is its own failure only.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence, Set as AbstractSet
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec
from packaging.markers import EvaluateContext, Marker, UndefinedComparison, UndefinedEnvironmentName

from fetcher.digest import ALGORITHMS
from fetcher.errors import ConfigError, FetcherError, NotFound
from fetcher.index.candidates import best_file
from fetcher.index.files import File, file_from_url, is_digest
from fetcher.index.formats import Formats
from fetcher.index.scope import Index
from fetcher.index.target import Target as Interpreter
from fetcher.index.urls import redact

__all__ = ["Locked", "choose", "demand", "holds", "last_segment", "read_toml", "refuse", "size_of"]

# A larger size is a mistake, and more than a JSON number can hold.
MOST_BYTES = 1 << 53


class Locked(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a lock says of one file; or, in `missing` and `wrong`, why there is none to fetch.

    `text` is what it is called in outcomes, `index` the URL of the index whose page listed it, `target` the place of
    the interpreter that it is for, None for all.
    """

    text: str
    filename: str = ""
    url: str = ""
    hashes: dict[str, str] = {}
    size: int | None = None
    index: str | None = None
    missing: str = ""
    wrong: str = ""
    target: int | None = None

    def __repr__(self) -> str:
        return f"Locked({self.text!r}, {self.filename!r})"

    def file(self, indexes: Iterable[Index]) -> File:
        """Return the file to fetch, listed by the one of the declared indexes that the lock names.

        Raises NotFound, ConfigError.
        """
        if self.missing:
            raise NotFound("", asked=self.missing)
        if self.wrong:
            raise ConfigError(self.wrong)
        listed_by = _declared(self.index, indexes)
        return File(self.filename, self.url, hashes=self.hashes, size=self.size, listed_by=listed_by)


def _declared(url: str | None, indexes: Iterable[Index]) -> Index | None:
    try:
        wanted = Index(url or "").url
    except ConfigError:
        return None
    return next((index for index in indexes if index.url == wanted), None)


# ------------------------------------------------------------------------------------------------------- what it says


def read_toml(path: Path) -> dict[str, Any]:
    """Return the table that a lock is.  Raises ConfigError, naming the file."""
    try:
        with path.open("rb") as opened:
            return tomllib.load(opened)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None


def holds(marker: Marker, environment: Mapping[str, str | AbstractSet[str]], context: EvaluateContext) -> bool:
    """Say whether a marker holds; what `environment` leaves out is that of this interpreter.  Raises ConfigError."""
    try:
        return marker.evaluate(environment, context)
    except (UndefinedComparison, UndefinedEnvironmentName):
        raise ConfigError(f"the marker {redact(str(marker))!r} makes no sense here") from None


def last_segment(location: str) -> str:
    """Return the file name that a URL or a path ends with, decoded."""
    return unquote(re.split("[?#]", location, maxsplit=1)[0].rpartition("/")[2])


def size_of(stated: int | None) -> int | None:
    """Return a size in bytes, None for one that cannot be."""
    return stated if stated is not None and 0 <= stated < MOST_BYTES else None


# ---------------------------------------------------------------------------------------------------------- which file


def choose(
    files: Sequence[File], project: str, subject: str, interpreter: Interpreter | None, formats: Formats
) -> list[File]:
    """Return the files of a package to take (rule 1).  Raises NotFound, which calls the package `subject`."""
    admitted = formats.admit(files, project)
    if not admitted:
        raise NotFound("", asked=f"{subject} has {_what_else(files, project, formats)}")
    return admitted if interpreter is None else [_best(admitted, subject, interpreter, formats)]


def _what_else(files: Sequence[File], project: str, formats: Formats) -> str:
    """Say what a package has instead of the one kind that may be taken of it."""
    if not files:
        return "no files"
    if formats.only(project) == "wheel":
        return "only a source distribution, no wheel"
    return "only wheels, no source distribution"


def _best(files: Sequence[File], subject: str, interpreter: Interpreter, formats: Formats) -> File:
    best = best_file(files, interpreter, formats.prefer)
    if best is None:  # a source distribution would have fitted
        looked = f"({len(files)} wheels looked at)"
        raise NotFound(
            "", asked=f"{subject} has no wheel that fits Python {interpreter.python} and this platform {looked}"
        )
    return best


def demand(file: File, text: str, index: str | None, path: Path) -> Locked:
    """Return what to keep of a file that the lock at `path` has, checked; a local one has no URL."""
    try:
        if not file.url:
            raise ConfigError(f"{file.filename} in {path} is a local file, and only http and https URLs are fetched")
        url = file_from_url(file.url.partition("#")[0]).url
        hashes = _checkable(file, path)
    except ValueError as error:
        return refuse(text, ConfigError(f"{file.filename} in {path}: {error}"))
    except ConfigError as error:
        return refuse(text, error)
    return Locked(text, file.filename, url, hashes, file.size, index)


def _checkable(file: File, path: Path) -> dict[str, str]:
    """Return the digests that can be computed here (rule 2).  Raises ConfigError."""
    if not file.hashes:
        raise ConfigError(f"{file.filename} in {path} has no digest")
    known = {name.lower(): digest.lower() for name, digest in file.hashes.items() if name.lower() in ALGORITHMS}
    for algorithm, digest in known.items():
        if not is_digest(algorithm, digest):
            raise ConfigError(f"{file.filename} in {path}: its {algorithm} is no {algorithm} digest")
    if not known:
        raise ConfigError(f"{file.filename} in {path}: none of its digests can be checked ({', '.join(file.hashes)})")
    return known


def refuse(text: str, error: FetcherError) -> Locked:
    """Return what to keep of a package that has nothing to fetch (rule 3)."""
    return Locked(text, missing=str(error)) if isinstance(error, NotFound) else Locked(text, wrong=str(error))
