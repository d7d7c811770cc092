"""Which file of a project fits a requirement and an interpreter.

Rules, as pip and uv have them:

* Files of another project, which some indexes list on the same page, do not count.
* Of the versions that the specifier admits, the highest that has a wheel that fits or a source distribution, as far as
  the formats admit either; pre-releases only if the specifier names one or nothing else fits (PEP 440).
* A yanked file only for a requirement that pins its version by `==` or `===` (PEP 592).
* `requires-python` must admit the interpreter's version; one that cannot be parsed admits all.
* Of a version's files one that is not yanked, then a wheel, unless source distributions are preferred; of the wheels
  the one with the best tag (PEP 425), then the highest build number (PEP 427); of the source distributions a `.tar.gz`
  (PEP 625).
* What markers ask of another interpreter is what its version and platform tell; of another platform that is its name
  and its machine, not the release of its kernel.

This file is pure.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import zip_longest

from packaging.requirements import Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.tags import Tag, compatible_tags, cpython_tags, mac_platforms, platform_tags, sys_tags
from packaging.utils import BuildTag
from packaging.version import Version

from fetcher.errors import ConfigError, NotFound
from fetcher.index.files import SUFFIXES, File, Project
from fetcher.index.formats import Formats, Kind

__all__ = ["Target", "best_file", "choose_file", "describe_python", "this_interpreter"]

_PYTHON_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")
_MANYLINUX = re.compile(r"manylinux_(\d+)_(\d+)_(\w+)")
_MACOS = re.compile(r"macosx_(\d+)_(\d+)_(\w+)")
# PEP 513, 571, 599: the older names of three glibc versions.
_LEGACY_MANYLINUX = {"manylinux2014": 17, "manylinux2010": 12, "manylinux1": 5}
_LINUX = re.compile(r"(?:linux|manylinux\d+|(?:many|musl)linux_\d+_\d+)_(\w+)")
# What the machine is called on Windows.
_WINDOWS = {"win32": "x86", "win_amd64": "AMD64", "win_arm64": "ARM64"}
_CALLED: dict[Kind, str] = {"wheel": "wheel", "sdist": "source distribution"}
_PLATFORM_VARIABLES = (
    *("os_name", "sys_platform", "platform_system", "platform_machine"),
    *("platform_release", "platform_version"),  # no tag tells these
)


@dataclass(frozen=True)
class Target:
    """An interpreter: its full version, and the rank of each tag it accepts (0 is best).

    `environment` is what markers see there, as far as it differs from the running interpreter (PEP 508).
    """

    python: Version
    ranks: Mapping[Tag, int]
    environment: Mapping[str, str] = field(default_factory=dict)


def this_interpreter(python: str) -> Target:
    """Return the running interpreter as a target; `python` is its version, of which the release counts."""
    return Target(Version(Version(python.rstrip("+")).base_version), _ranked(sys_tags()))


def describe_python(python: str, platforms: Iterable[str]) -> Target:
    """Return the CPython target of a version `X.Y` or `X.Y.Z`; no platforms: those of this machine.

    Raises ConfigError for another form of version.
    """
    match = _PYTHON_VERSION.fullmatch(python)
    if match is None:
        raise ConfigError(f"{python!r} is not a Python version of the form 3.12 or 3.12.1")
    release = (int(match[1]), int(match[2]))
    platforms = [platform.replace("-", "_").replace(".", "_") for platform in platforms]
    accepted = [tag for platform in platforms for tag in _expand_platform(platform)] or list(platform_tags())
    interpreter = f"cp{release[0]}{release[1]}"
    tags = [*cpython_tags(release, platforms=accepted), *compatible_tags(release, interpreter, accepted)]
    return Target(Version(python), _ranked(tags), _describe_environment(python, release, platforms))


def _describe_environment(python: str, release: tuple[int, int], platforms: Sequence[str]) -> dict[str, str]:
    """Return what markers see of a CPython; of several platforms, on the first."""
    full = python if python.count(".") == 2 else f"{python}.0"
    environment = {
        "implementation_name": "cpython",
        "implementation_version": full,
        "platform_python_implementation": "CPython",
        "python_full_version": full,
        "python_version": f"{release[0]}.{release[1]}",
    }
    return environment | _describe_platform(platforms[0]) if platforms else environment


def _describe_platform(platform: str) -> dict[str, str]:
    """Return what markers see on a platform; what its tag does not tell is empty."""
    told: tuple[str, ...] = ()
    if platform in _WINDOWS:
        told = ("nt", "win32", "Windows", _WINDOWS[platform])
    elif match := _MACOS.fullmatch(platform):
        told = ("posix", "darwin", "Darwin", match[3])
    elif match := _LINUX.fullmatch(platform):
        told = ("posix", "linux", "Linux", match[1])
    return dict(zip_longest(_PLATFORM_VARIABLES, told, fillvalue=""))


def _ranked(tags: Iterable[Tag]) -> dict[Tag, int]:
    ranks: dict[Tag, int] = {}
    for tag in tags:
        ranks.setdefault(tag, len(ranks))
    return ranks


def _expand_platform(platform: str) -> Iterator[str]:
    """Yield a platform and the older ones that it can run the wheels of, newest first."""
    for name, minor in _LEGACY_MANYLINUX.items():
        if platform.startswith(f"{name}_"):
            platform = f"manylinux_2_{minor}_{platform.removeprefix(f'{name}_')}"
    if match := _MANYLINUX.fullmatch(platform):
        yield from _expand_manylinux(int(match[1]), int(match[2]), match[3])
    elif match := _MACOS.fullmatch(platform):
        yield from mac_platforms((int(match[1]), int(match[2])), match[3])
    else:
        yield platform


def _expand_manylinux(major: int, minor: int, arch: str) -> Iterator[str]:
    legacy = {value: name for name, value in _LEGACY_MANYLINUX.items()}
    for older in range(minor, 4, -1):  # glibc 2.5, manylinux1, is the oldest there is
        yield f"manylinux_{major}_{older}_{arch}"
        if older in legacy:
            yield f"{legacy[older]}_{arch}"


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
    allowed = formats.admit(own, project.name)
    fitting = [file for file in allowed if _fits(file, requirement, target) and _is_named(file, hashes)]
    version = _best_version(fitting, requirement.specifier, formats)
    best = best_file((file for file in fitting if file.version == version), target, formats.prefer)
    if best is None:
        raise NotFound("", asked=_explain_none(project, own, requirement, target, formats.only(project.name)))
    return best


def best_file(files: Iterable[File], target: Target, prefer: Kind) -> File | None:
    """Return the one that fits best, None if none does; for files that somebody chose already, as a lock does."""
    return max(
        (file for file in files if _runs(file, target)), key=lambda file: _rank(file, target, prefer), default=None
    )


def _own_files(project: Project) -> list[File]:
    """Return the files that bear the project's name: flat folders and group repositories list strangers too."""
    return [file for file in project.files if file.name == project.name and file.version is not None]


def _is_named(file: File, hashes: frozenset[tuple[str, str]]) -> bool:
    known = {(algorithm, digest) for algorithm, digest in file.hashes.items() if any(algorithm == a for a, _ in hashes)}
    return not known or bool(known & hashes)


def _runs(file: File, target: Target) -> bool:
    # Not `isdisjoint`: it would hash each of the target's thousand tags for every file.
    return not file.is_wheel or any(tag in target.ranks for tag in file.tags)


def _fits(file: File, requirement: Requirement, target: Target) -> bool:
    if not _runs(file, target):
        return False
    if file.yanked and not _pins(requirement.specifier):
        return False
    return _admits(file.requires_python, target.python)


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


def _best_version(fitting: Iterable[File], specifier: SpecifierSet, formats: Formats) -> Version | None:
    """Return the highest version admitted; one that has a wheel goes first if the formats say so."""
    has_wheel: dict[Version, bool] = {}
    for file in fitting:
        if file.version is not None:
            has_wheel[file.version] = has_wheel.get(file.version, False) or file.is_wheel
    admitted = specifier.filter(has_wheel)
    return max(admitted, key=lambda version: (formats.prefer_binary and has_wheel[version], version), default=None)


def _rank(file: File, target: Target, prefer: Kind) -> tuple[bool, bool, int, BuildTag]:
    """Return a sort key, the highest is best: not yanked, the preferred kind, the best tag, the highest build number.

    Of source distributions the suffix has the place of the tag.
    """
    if file.is_wheel:
        place = min(target.ranks[tag] for tag in file.tags if tag in target.ranks)
    else:
        place = next(number for number, suffix in enumerate(SUFFIXES) if file.filename.endswith(suffix))
    return not file.yanked, file.is_wheel == (prefer == "wheel"), -place, file.build


def _explain_none(
    project: Project, own: list[File], requirement: Requirement, target: Target, only: Kind | None
) -> str:
    where = f"on {project.index.label}" if project.index is not None else f"at {project.url}"
    versions = {file.version for file in own if file.version is not None}
    if not own:
        return f"{project.name} has no files {where}"
    admitted = list(requirement.specifier.filter(versions))
    if not admitted:
        newest = f"; the newest is {max(versions)}" if versions else ""
        return f"no version of {project.name} {where} satisfies {requirement}{newest}"
    of_version = [file for file in own if file.version in admitted]
    if only is not None and not any(file.is_wheel == (only == "wheel") for file in of_version):
        others: Kind = "sdist" if only == "wheel" else "wheel"
        return f"{requirement} has only {_CALLED[others]}s {where}, no {_CALLED[only]}"
    return (
        f"{requirement} has no {_CALLED[only] if only else 'file'} {where} that fits Python {target.python} and this "
        f"platform ({len(of_version)} files looked at)"
    )
