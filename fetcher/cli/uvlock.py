"""Lock files of uv (`uv.lock`, version 1): each package that is needed becomes one file to fetch, or every file it has.

Rules, as uv has them; those that all locks share are in `locked`, what markers mean here in `uvmarkers`:

1. The interpreter must be one that the lock is for (`requires-python`, `supported-markers`).
2. What is needed begins with the members of the workspace (else the project at `.`), with all of their extras and
   groups, and with what the lock itself requires.  From there it goes along the dependencies whose markers hold, and
   those of the extras that are asked for.
3. A dependency names version and source where the lock has several packages of its name; where it does not, the one
   counts whose `resolution-markers` hold.
4. Members, and what is `virtual`, are never files.  Another directory, a repository or a local file is a failure.
5. A file whose name is not that of a wheel or a source distribution of the package is passed over, as on index pages.
6. An archive, as `demo @ https://…` is locked, is taken whatever its format: there is no other to choose.

For all platforms, rules 1 to 3 do not apply: every file of every package is taken, as far as the formats admit it.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import msgspec
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import is_normalized_name
from packaging.version import InvalidVersion, Version

from fetcher.cli.locked import Locked, choose, demand, last_segment, read_toml, refuse, size_of
from fetcher.cli.uvmarkers import Markers
from fetcher.errors import ConfigError, FetcherError
from fetcher.index.files import File, is_safe_name
from fetcher.index.formats import Formats
from fetcher.index.target import Target as Interpreter
from fetcher.index.urls import redact

__all__ = ["read_uv_lock"]

# What is no dependency of an extra, but of the package itself.
_ITSELF = ""


class _Table(msgspec.Struct, frozen=True, rename="kebab"):
    """A table of the lock: what is not needed here is passed over."""


class _Source(_Table, frozen=True):
    registry: str | None = None
    url: str | None = None
    git: str | None = None
    path: str | None = None
    directory: str | None = None
    editable: str | None = None
    virtual: str | None = None

    def __post_init__(self) -> None:
        if sum(value is not None for value in msgspec.structs.astuple(self)) != 1:
            raise ValueError("a source is one of registry, url, git, path, directory, editable and virtual")


class _Dependency(_Table, frozen=True):
    """An edge, or a requirement of the lock itself, which says `extras`."""

    name: str
    version: str | None = None
    source: _Source | None = None
    extra: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    marker: str | None = None


class _Artifact(_Table, frozen=True):
    url: str | None = None
    path: str | None = None
    filename: str | None = None
    hash: str | None = None
    size: int | None = None


class _Package(_Table, frozen=True):
    name: str
    source: _Source
    version: str | None = None
    dependencies: tuple[_Dependency, ...] = ()
    optional_dependencies: dict[str, tuple[_Dependency, ...]] = {}
    dev_dependencies: dict[str, tuple[_Dependency, ...]] = {}
    sdist: _Artifact | None = None
    wheels: tuple[_Artifact, ...] = ()
    resolution_markers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not is_normalized_name(self.name):
            raise ValueError(f"{self.name!r} is no normalized project name")
        if self.version is not None:
            _parsed(self.version)

    @property
    def text(self) -> str:
        return f"{self.name}=={self.version}" if self.version else self.name

    @property
    def directory(self) -> str | None:
        """Where it lies, if it is a directory here."""
        source = self.source
        return next((at for at in (source.editable, source.virtual, source.directory) if at is not None), None)


class _Conflict(_Table, frozen=True):
    package: str
    extra: str | None = None
    group: str | None = None

    @property
    def in_markers(self) -> str:
        kind = "extra" if self.extra is not None else "group" if self.group is not None else "project"
        named = f"{kind}-{len(self.package)}-{self.package}"
        return named if kind == "project" else f"{named}-{self.extra if kind == 'extra' else self.group}"


class _Manifest(_Table, frozen=True):
    members: tuple[str, ...] = ()
    requirements: tuple[_Dependency, ...] = ()
    dependency_groups: dict[str, tuple[_Dependency, ...]] = {}


class _Lock(_Table, frozen=True):
    version: int
    requires_python: str | None = None
    supported_markers: tuple[str, ...] = ()
    conflicts: tuple[tuple[_Conflict, ...], ...] = ()
    manifest: _Manifest = _Manifest()
    package: tuple[_Package, ...] = ()

    def __post_init__(self) -> None:
        if self.version != 1:
            raise ValueError(f"version {self.version} is not supported, only 1 is")

    def is_member(self, package: _Package) -> bool:
        """Say whether a package is part of the workspace, and not one that it needs."""
        if self.manifest.members:
            return package.name in self.manifest.members and package.directory is not None
        return package.directory == "."


def read_uv_lock(path: Path, interpreter: Interpreter | None, formats: Formats) -> Iterator[Locked]:
    """Yield what a lock has for an interpreter, or None for all platforms.  Raises ConfigError, naming the file."""
    lock = _load(path)
    try:
        packages = lock.package if interpreter is None else _needed(lock, interpreter)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    for package in packages:
        if package.source.virtual is not None or lock.is_member(package):
            continue
        try:
            files = _files(package, f"{package.text} in {path}", interpreter, formats)
        except FetcherError as error:
            yield refuse(package.text, error)
            continue
        for file in files:
            text = file.filename if interpreter is None else package.text
            yield demand(file, text, package.source.registry, path)


def _load(path: Path) -> _Lock:
    table = read_toml(path)
    try:
        return msgspec.convert(table, _Lock)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ConfigError(f"{path} is not a valid lock file: {redact(str(error))}") from None


def _parsed(version: str) -> Version:
    try:
        return Version(version)
    except InvalidVersion as error:
        raise ValueError(str(error)) from None


# ------------------------------------------------------------------------------------------------------ which packages


def _needed(lock: _Lock, interpreter: Interpreter) -> list[_Package]:
    """Return the packages that count (rules 1 and 2), in the order of the lock.  Raises ConfigError."""
    conflicts = (frozenset(item.in_markers for item in conflict) for conflict in lock.conflicts)
    markers = Markers(interpreter.environment, conflicts)
    _demand_environment(lock, interpreter, markers)
    graph = _Graph(lock, markers)
    graph.follow_all()
    return [package for number, package in enumerate(lock.package) if (number, _ITSELF) in graph.reached]


def _demand_environment(lock: _Lock, interpreter: Interpreter, markers: Markers) -> None:
    """Raise ConfigError for an interpreter that the lock is not for."""
    try:
        requires = SpecifierSet(lock.requires_python or "")
    except InvalidSpecifier:
        raise ConfigError(f"its requires-python, {lock.requires_python!r}, is no version specifier") from None
    if not requires.contains(interpreter.python, prereleases=True):
        raise ConfigError(f"it is for Python {requires}, and not for {interpreter.python}")
    if lock.supported_markers and not any(map(markers.hold, lock.supported_markers)):
        raise ConfigError(f"it is for other environments: {' or '.join(lock.supported_markers)}")


class _Graph:
    """The packages of a lock by their numbers, and which of them, with which extras, were reached."""

    def __init__(self, lock: _Lock, markers: Markers) -> None:
        self.reached: set[tuple[int, str]] = set()
        self._lock = lock
        self._markers = markers
        self._waiting: deque[tuple[int, str]] = deque()
        self._numbers: dict[str, list[int]] = {}
        for number, package in enumerate(lock.package):
            self._numbers.setdefault(package.name, []).append(number)

    def follow_all(self) -> None:
        """Reach everything that is needed.  Raises ConfigError for a dependency that the lock does not have."""
        manifest = self._lock.manifest
        for name in manifest.members:
            if name not in self._numbers:
                raise ConfigError(f"it has no package {name}, which is a member of the workspace")
        self._follow(chain(manifest.requirements, *manifest.dependency_groups.values()))
        for number, package in enumerate(self._lock.package):
            if self._lock.is_member(package):
                self._reach(number, _ITSELF, *package.optional_dependencies)
                self._follow(chain.from_iterable(package.dev_dependencies.values()))
        while self._waiting:
            number, extra = self._waiting.popleft()
            package = self._lock.package[number]
            of_extra = package.optional_dependencies.get(extra, ())
            self._follow(package.dependencies if extra == _ITSELF else of_extra)

    def _follow(self, dependencies: Iterable[_Dependency]) -> None:
        for dependency in dependencies:
            if self._markers.hold(dependency.marker):
                self._reach(self._find(dependency), _ITSELF, *dependency.extra, *dependency.extras)

    def _reach(self, number: int, *extras: str) -> None:
        for extra in extras:
            if (number, extra) not in self.reached:
                self.reached.add((number, extra))
                self._waiting.append((number, extra))

    def _find(self, dependency: _Dependency) -> int:
        """Return the package that is meant (rule 3).  Raises ConfigError."""
        found = [number for number in self._numbers.get(dependency.name, ()) if self._is_meant(dependency, number)]
        if len(found) > 1:
            found = [number for number in found if self._is_of_this_fork(number)]
        if len(found) != 1:
            version = f" {dependency.version}" if dependency.version else ""
            how_many = "more than one" if found else "no"
            raise ConfigError(f"it has {how_many} package {dependency.name}{version}, which is needed")
        return found[0]

    def _is_meant(self, dependency: _Dependency, number: int) -> bool:
        package = self._lock.package[number]
        return dependency.version in (None, package.version) and dependency.source in (None, package.source)

    def _is_of_this_fork(self, number: int) -> bool:
        forks = self._lock.package[number].resolution_markers
        return not forks or any(map(self._markers.hold, forks))


# ---------------------------------------------------------------------------------------------------------- which file


def _files(package: _Package, subject: str, interpreter: Interpreter | None, formats: Formats) -> list[File]:
    """Return the files of a package to take.  Raises NotFound, ConfigError."""
    source = package.source
    if source.git is not None:
        raise ConfigError(f"{subject} is a git repository, and only files are fetched")
    if package.directory is not None:
        raise ConfigError(f"{subject} is a directory, and only files are fetched")
    if source.path is not None:
        raise ConfigError(f"{subject} is a local file, and only http and https URLs are fetched")
    artifacts = [*package.wheels, *([package.sdist] if package.sdist is not None else ())]
    if source.url is not None:
        return [_archive(source.url, artifacts)]
    files = (_file(artifact, package.name) for artifact in artifacts)
    return choose([file for file in files if _is_own(file)], package.name, subject, interpreter, formats)


def _archive(url: str, artifacts: Iterable[_Artifact]) -> File:
    """Return what a URL of the user's own leads to: digest and size stand beside the one artifact."""
    stated = next(iter(artifacts), _Artifact())
    return _file(msgspec.structs.replace(stated, url=url, filename=None), None)


def _file(artifact: _Artifact, project: str | None) -> File:
    """Return an artifact as a file, its digest unchecked; that of a local one has no URL."""
    filename = artifact.filename or last_segment(artifact.url or artifact.path or "")
    algorithm, colon, digest = (artifact.hash or "").partition(":")
    hashes = {algorithm: digest} if colon else {}
    return File(filename, artifact.url or "", hashes=hashes, size=size_of(artifact.size), project=project)


def _is_own(file: File) -> bool:
    """Say whether a file is a wheel or a source distribution of its project, by its name."""
    return file.name == file.project and file.version is not None and is_safe_name(file.filename)
