"""Lock files (`pylock.toml`, PEP 751): each package becomes one file to fetch, or every file it has.

Rules, as the specification has them for installers; those that all locks share are in `locked`:

1. The interpreter must be one that the lock is for (`requires-python`, `environments`).
2. A package counts if its marker holds; no extras are asked for, and the lock's default groups.  Two of one name are an
   error.
3. An archive, as `demo @ https://…` is locked, is taken whatever its format: there is no other to choose.

For all platforms, rules 1 and 2 do not apply: every file of every package is taken, as far as the formats admit it.
"""

from collections.abc import Iterator, Set as AbstractSet
from pathlib import Path

from packaging.pylock import Package, PackageArchive, PackageSdist, PackageWheel, Pylock, PylockValidationError

from fetcher.cli.locked import Locked, choose, demand, holds, last_segment, read_toml, refuse, size_of
from fetcher.errors import ConfigError, FetcherError, NotFound
from fetcher.index.files import File
from fetcher.index.formats import Formats
from fetcher.index.target import Target as Interpreter
from fetcher.index.urls import redact

__all__ = ["read_lock"]


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
            yield refuse(name, error)
            continue
        for file in files:
            yield demand(file, file.filename if interpreter is None else name, package.index, path)


def _load(path: Path) -> Pylock:
    table = read_toml(path)
    try:
        return Pylock.from_dict(table)
    except PylockValidationError as error:
        where = f", in {error.context}" if error.context else ""
        reason = redact(error.message.partition("\n")[0])
        raise ConfigError(f"{path} is not a valid lock file: {reason}{where}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not a valid lock file: {error}") from None


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


# ---------------------------------------------------------------------------------------------------------- which file


def _files(package: Package, subject: str, interpreter: Interpreter | None, formats: Formats) -> list[File]:
    """Return the files of a package to take.  Raises NotFound, ConfigError."""
    if package.vcs is not None:
        raise ConfigError(f"{subject} is a {package.vcs.type} repository, and only files are fetched")
    if package.directory is not None:
        raise ConfigError(f"{subject} is a directory, and only files are fetched")
    if package.archive is not None:
        archive = package.archive
        return [_file(archive, last_segment(archive.url or archive.path or ""))]
    sources = [*(package.wheels or ()), *([package.sdist] if package.sdist is not None else ())]
    if interpreter is not None:
        _demand_python(package, subject, interpreter)
    return choose([_file(source, source.filename) for source in sources], package.name, subject, interpreter, formats)


def _demand_python(package: Package, subject: str, interpreter: Interpreter) -> None:
    python = interpreter.python
    if package.requires_python is not None and not package.requires_python.contains(python, prereleases=True):
        raise NotFound("", asked=f"{subject} is for Python {package.requires_python}, and not for {python}")


def _file(source: PackageWheel | PackageSdist | PackageArchive, filename: str) -> File:
    """Return a source as a file, its digests unchecked; that of a local one has no URL."""
    return File(filename, source.url or "", hashes=source.hashes, size=size_of(source.size))
