"""The interpreter that files are chosen for: which tags it accepts, and what markers see there.

* The tags and their order are those of PEP 425, as `packaging` has them.
* What markers ask of another interpreter is what its version and platform tell; of another platform that is its name
  and its machine, not the release of its kernel.

This file is pure, but that `this_interpreter` looks at the machine it runs on.
"""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from packaging.tags import Tag, compatible_tags, cpython_tags, mac_platforms, platform_tags, sys_tags
from packaging.version import InvalidVersion, Version

from fetcher.errors import ConfigError

__all__ = ["RUNNING", "Target", "describe_python", "this_interpreter"]

RUNNING = ".".join(map(str, sys.version_info[:3]))
"""The version of the running Python."""

# There are tags for each older minor version: of what is no Python, there may be too many.
_NUMBER = "(0|[1-9][0-9]{0,2})"
_PYTHON_VERSION = re.compile(rf"{_NUMBER}\.{_NUMBER}(?:\.{_NUMBER})?")
_MANYLINUX = re.compile(r"manylinux_(\d+)_(\d+)_(\w+)")
_MUSLLINUX = re.compile(rf"musllinux_{_NUMBER}_{_NUMBER}_(\w+)")
_MACOS = re.compile(r"macosx_(\d+)_(\d+)_(\w+)")
# PEP 513, 571, 599: the older names of three glibc versions.
_LEGACY_MANYLINUX = {"manylinux2014": 17, "manylinux2010": 12, "manylinux1": 5}
_LINUX = re.compile(r"(?:linux|manylinux\d+|(?:many|musl)linux_\d+_\d+)_(\w+)")
# What the machine is called on Windows.
_WINDOWS = {"win32": "x86", "win_amd64": "AMD64", "win_arm64": "ARM64"}
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
    # A page of ten thousand wheels has some hundred sets of tags.
    _places: dict[frozenset[Tag], int | None] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __hash__(self) -> int:
        return hash((self.python, frozenset(self.environment.items())))

    def place(self, tags: frozenset[Tag]) -> int | None:
        """Return the rank of the best of a wheel's tags; None if the interpreter accepts none of them."""
        if tags not in self._places:
            self._places[tags] = min((self.ranks[tag] for tag in tags if tag in self.ranks), default=None)
        return self._places[tags]


def this_interpreter(python: str = RUNNING) -> Target:
    """Return the running interpreter as a target; `python` is its version, of which the release counts.

    Raises ConfigError for something that is no version.
    """
    try:
        version = Version(python.rstrip("+"))
    except InvalidVersion:
        raise ConfigError(f"{python!r} is not a Python version") from None
    return Target(Version(version.base_version), _ranked(sys_tags()))


def describe_python(python: str, platforms: Iterable[str], abis: Iterable[str] = ()) -> Target:
    """Return the CPython target of a version `X.Y` or `X.Y.Z`; no platforms: those of this machine.

    `abis` are those of extension modules that it accepts, the best first, such as `cp312` or `cp312d`; none: that of
    the version.  The stable ABI and `none` are accepted besides, as by pip's `--abi`; a first one of a free-threaded
    build (`cp313t`) has `abi3t` for stable (PEP 803).

    Raises ConfigError for another form of version.
    """
    match = _PYTHON_VERSION.fullmatch(python)
    if match is None:
        raise ConfigError(f"{python!r} is not a Python version of the form 3.12 or 3.12.1")
    release = (int(match[1]), int(match[2]))
    platforms = [platform.replace("-", "_").replace(".", "_") for platform in platforms]
    accepted = [tag for platform in platforms for tag in _expand_platform(platform)] or list(platform_tags())
    interpreter = f"cp{release[0]}{release[1]}"
    tags = [*cpython_tags(release, list(abis) or None, accepted), *compatible_tags(release, interpreter, accepted)]
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
    elif match := _MUSLLINUX.fullmatch(platform):  # PEP 656: what was built for an older minor version runs
        yield from (f"musllinux_{match[1]}_{older}_{match[3]}" for older in range(int(match[2]), -1, -1))
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
