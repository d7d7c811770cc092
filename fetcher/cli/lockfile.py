"""Lock files (`pylock.toml`, PEP 751): each package becomes one file to fetch, or every file it has.

Rules, as the specification has them for installers:

1. The interpreter must be one that the lock is for (`requires-python`, `environments`).
2. A package counts if its marker holds; no extras are asked for, and the lock's default groups.  Two of one name are an
   error.
3. Of a package's wheels and its source distribution the one that fits best, as among those of an index page.  An
   archive, as `demo @ https://…` is locked, is taken whatever its format: there is no other to choose.
4. What the lock says is demanded: URL, size, digests.  One that cannot be a digest is an error, not passed over.
5. A package that has nothing to fetch (a repository, a local file, no wheel that fits) is its own failure only.

For all platforms, rules 1 and 2 do not apply: every file of every package is taken, as far as the formats admit it.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Set as AbstractSet
from pathlib import Path
from urllib.parse import unquote

import msgspec
from packaging.markers import EvaluateContext, Marker, UndefinedComparison, UndefinedEnvironmentName
from packaging.pylock import Package, PackageArchive, PackageSdist, PackageWheel, Pylock, PylockValidationError

from fetcher.digest import ALGORITHMS
from fetcher.errors import ConfigError, FetcherError, NotFound
from fetcher.index.candidates import best_file
from fetcher.index.files import File, file_from_url, is_digest
from fetcher.index.formats import Formats
from fetcher.index.scope import Index
from fetcher.index.target import Target as Interpreter
from fetcher.index.urls import redact

__all__ = ["Locked", "holds", "read_lock"]

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


def read_lock(path: Path, interpreter: Interpreter | None, formats: Formats) -> Iterator[Locked]:
    """Yield what a lock has for an interpreter, or None for all platforms.  Raises ConfigError, naming the file."""
    lock = _load(path)
    try:
        packages = lock.packages if interpreter is None else _selected(lock, interpreter)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    for package in packages:
        name = f"{package.name}=={package.version}" if package.version else package.name
        try:
            files = _files(package, f"{name} in {path}", interpreter, formats)
        except FetcherError as error:
            yield _refused(name, error)
            continue
        for file in files:
            yield _locked(file, file.filename if interpreter is None else name, package.index, path)


def _load(path: Path) -> Pylock:
    try:
        with path.open("rb") as opened:
            return Pylock.from_dict(tomllib.load(opened))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except PylockValidationError as error:
        where = f", in {error.context}" if error.context else ""
        reason = redact(error.message.partition("\n")[0])
        raise ConfigError(f"{path} is not a valid lock file: {reason}{where}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None


# ------------------------------------------------------------------------------------------------------ which packages


def _selected(lock: Pylock, interpreter: Interpreter) -> list[Package]:
    """Return the packages that count (rules 1 and 2).  Raises ConfigError."""
    python = interpreter.python
    if lock.requires_python is not None and not lock.requires_python.contains(python, prereleases=True):
        raise ConfigError(f"it is for Python {lock.requires_python}, and not for {python}")
    environment: dict[str, str | AbstractSet[str]] = dict(interpreter.environment)
    if lock.environments and not any(holds(marker, environment, "requirement") for marker in lock.environments):
        raise ConfigError(f"it is for other environments: {' or '.join(map(str, lock.environments))}")
    environment |= {"extras": frozenset(), "dependency_groups": frozenset(lock.default_groups or ())}
    selected: dict[str, Package] = {}
    for package in lock.packages:
        if package.marker is not None and not holds(package.marker, environment, "lock_file"):
            continue
        if package.name in selected:
            raise ConfigError(f"more than one {package.name} is for this environment")
        selected[package.name] = package
    return list(selected.values())


def holds(marker: Marker, environment: Mapping[str, str | AbstractSet[str]], context: EvaluateContext) -> bool:
    """Say whether a marker holds; what `environment` leaves out is that of this interpreter.  Raises ConfigError."""
    try:
        return marker.evaluate(environment, context)
    except (UndefinedComparison, UndefinedEnvironmentName):
        raise ConfigError(f"the marker {redact(str(marker))!r} makes no sense here") from None


# ---------------------------------------------------------------------------------------------------------- which file


def _files(package: Package, subject: str, interpreter: Interpreter | None, formats: Formats) -> list[File]:
    """Return the files of a package to take.  Raises NotFound, ConfigError."""
    if package.vcs is not None:
        raise ConfigError(f"{subject} is a {package.vcs.type} repository, and only files are fetched")
    if package.directory is not None:
        raise ConfigError(f"{subject} is a directory, and only files are fetched")
    if package.archive is not None:
        return [_file(package.archive, _archive_name(package.archive))]
    sources = [*(package.wheels or ()), *([package.sdist] if package.sdist is not None else ())]
    files = formats.admit((_file(source, source.filename) for source in sources), package.name)
    if not files:
        raise NotFound("", asked=f"{subject} has {_what_else(package, formats)}")
    return files if interpreter is None else [_best(package, files, subject, interpreter, formats)]


def _what_else(package: Package, formats: Formats) -> str:
    """Say what a package has instead of the one kind that may be taken of it."""
    if formats.only(package.name) == "wheel":
        return "only a source distribution, no wheel"
    return "only wheels, no source distribution"


def _best(package: Package, files: list[File], subject: str, interpreter: Interpreter, formats: Formats) -> File:
    python = interpreter.python
    if package.requires_python is not None and not package.requires_python.contains(python, prereleases=True):
        raise NotFound("", asked=f"{subject} is for Python {package.requires_python}, and not for {python}")
    best = best_file(files, interpreter, formats.prefer)
    if best is None:  # a source distribution would have fitted
        looked = f"({len(files)} wheels looked at)"
        raise NotFound("", asked=f"{subject} has no wheel that fits Python {python} and this platform {looked}")
    return best


def _archive_name(archive: PackageArchive) -> str:
    location = archive.url or archive.path or ""
    return unquote(re.split("[?#]", location, maxsplit=1)[0].rpartition("/")[2])


def _file(source: PackageWheel | PackageSdist | PackageArchive, filename: str) -> File:
    """Return a source as a file, its digests unchecked; that of a local one has no URL."""
    size = source.size if source.size is not None and 0 <= source.size < MOST_BYTES else None
    return File(filename, source.url or "", hashes=source.hashes, size=size)


def _locked(file: File, text: str, index: str | None, path: Path) -> Locked:
    """Return what to keep of a file, checked."""
    try:
        if not file.url:
            raise ConfigError(f"{file.filename} in {path} is a local file, and only http and https URLs are fetched")
        url = file_from_url(file.url.partition("#")[0]).url
        hashes = _checkable(file, path)
    except ValueError as error:
        return _refused(text, ConfigError(f"{file.filename} in {path}: {error}"))
    except ConfigError as error:
        return _refused(text, error)
    return Locked(text, file.filename, url, hashes, file.size, index)


def _checkable(file: File, path: Path) -> dict[str, str]:
    """Return the digests that can be computed here (rule 4).  Raises ConfigError."""
    known = {name.lower(): digest.lower() for name, digest in file.hashes.items() if name.lower() in ALGORITHMS}
    for algorithm, digest in known.items():
        if not is_digest(algorithm, digest):
            raise ConfigError(f"{file.filename} in {path}: its {algorithm} is no {algorithm} digest")
    if not known:
        raise ConfigError(f"{file.filename} in {path}: none of its digests can be checked ({', '.join(file.hashes)})")
    return known


def _refused(text: str, error: FetcherError) -> Locked:
    return Locked(text, missing=str(error)) if isinstance(error, NotFound) else Locked(text, wrong=str(error))
