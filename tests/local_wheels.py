"""Real wheels for tests and benchmarks, from the package folders this machine's pip is configured with.

`python -m pip config list` names package sources; those that are folders (`file:` URLs or plain paths, under
`index-url`, `extra-index-url` and `find-links`) are read here. Two layouts occur: a simple index on disk (one folder
per project with an `index.html`, whose links may lead out of the index: `../../files/...`) and a flat folder.
Where no such folder has a wanted project, a pinned release is downloaded with pip.
"""

from __future__ import annotations

import ast
import atexit
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit
from urllib.request import url2pathname

from packaging.tags import sys_tags
from packaging.utils import InvalidWheelFilename, NormalizedName, canonicalize_name, parse_wheel_filename

if TYPE_CHECKING:
    from packaging.version import Version

PINS: dict[str, str] = {
    "cffi": "2.1.1",
    "cryptography": "50.0.2",
    "idna": "3.20",
    "packaging": "26.3",
    "pycparser": "3.0",
    "six": "1.17.0",
}
"""The releases downloaded where no local folder has the project."""

_SOURCE_OPTIONS = frozenset({"index-url", "extra-index-url", "find-links"})


class CorpusMissing(Exception):
    """Wanted wheels are in no local folder and could not be downloaded; the message holds pip's last lines."""


def corpus_folders() -> list[Path]:
    """The folders that hold local wheels, in the order pip's configuration leads to them."""
    return list(dict.fromkeys(wheel.parent for wheel in _local_wheels()))


def all_local_wheels() -> list[Path]:
    """Every wheel of the local package folders, each once, sorted by file name; empty where pip names no folder."""
    return sorted(_local_wheels(), key=lambda wheel: wheel.name)


def real_wheels(names: list[str], download_to: Path | None = None) -> list[Path]:
    """One wheel per project in `names`, in their order: the newest this interpreter can install, else the newest.

    A project that no local folder has is downloaded in its pinned release; one without a pin is left out.
    Downloads go to `download_to`, or to a temporary folder that is removed when the interpreter exits.
    Raises `CorpusMissing` if a download fails.
    """
    wanted = [canonicalize_name(name) for name in names]
    chosen = {name: wheel for name in wanted if (wheel := _newest(name)) is not None}
    missing = tuple(name for name in wanted if name not in chosen and name in PINS)
    if missing:
        for wheel in _downloaded(missing, download_to or _temporary_folder()):
            chosen[_project(wheel)] = wheel
    return [chosen[name] for name in wanted if name in chosen]


def _newest(name: NormalizedName) -> Path | None:
    candidates = _by_project().get(name)
    return max(candidates, key=_preference) if candidates else None


def _preference(wheel: Path) -> tuple[bool, Version, str]:
    _, version, _, tags = parse_wheel_filename(wheel.name)
    return not tags.isdisjoint(_supported_tags()), version, wheel.name


def _project(wheel: Path) -> NormalizedName:
    return parse_wheel_filename(wheel.name)[0]


@cache
def _supported_tags() -> frozenset[object]:
    return frozenset(sys_tags())


@cache
def _by_project() -> dict[NormalizedName, list[Path]]:
    projects: dict[NormalizedName, list[Path]] = {}
    for wheel in _local_wheels():
        projects.setdefault(_project(wheel), []).append(wheel)
    return projects


@cache
def _local_wheels() -> tuple[Path, ...]:
    found: dict[Path, None] = {}
    for folder in _configured_folders():
        for wheel in (*_linked_wheels(folder), *sorted(folder.glob("*.whl"))):
            if wheel not in found and _is_wheel(wheel):
                found[wheel] = None
    return tuple(found)


def _is_wheel(path: Path) -> bool:
    try:
        parse_wheel_filename(path.name)
    except InvalidWheelFilename:
        return False  # an old or odd name on a local index; pip skips such files too
    return path.is_file()


def _linked_wheels(index: Path) -> list[Path]:
    """The files that the project pages of a simple index on disk link to."""
    wheels: list[Path] = []
    for page in sorted(index.glob("*/index.html")):
        links = _Links()
        links.feed(page.read_text(encoding="utf-8"))
        base = page.as_uri()
        targets = (urlsplit(urljoin(base, href)) for href in links.hrefs)
        wheels += [
            Path(url2pathname(target.path))
            for target in targets
            if target.scheme == "file" and target.path.endswith(".whl")
        ]
    return wheels


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.hrefs: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.hrefs += [value for name, value in attrs if name == "href" and value]


def _configured_folders() -> list[Path]:
    folders = (_folder(source) for source in _configured_sources())
    return list(dict.fromkeys(folder for folder in folders if folder is not None))


def _folder(source: str) -> Path | None:
    parts = urlsplit(source)
    if parts.scheme not in ("", "file"):
        return None
    folder = Path(url2pathname(parts.path)) if parts.scheme else Path(source).expanduser()
    return folder.resolve() if folder.is_dir() else None


def _configured_sources() -> list[str]:
    """The values of pip's source options, which pip prints as `level.option=repr(values)`, one option a line."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listing = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    if listing.returncode:
        raise CorpusMissing(f"pip config list failed: {listing.stderr.strip()[-500:]}")
    sources: list[str] = []
    for line in listing.stdout.splitlines():
        key, separator, value = line.partition("=")
        if separator and key.rpartition(".")[2] in _SOURCE_OPTIONS:
            sources += str(ast.literal_eval(value)).split()
    return sources


@cache
def _downloaded(names: tuple[NormalizedName, ...], folder: Path) -> tuple[Path, ...]:
    """The pinned wheels of `names`, downloaded into `folder`; a second call in one run downloads nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    pins = [f"{name}=={PINS[name]}" for name in names]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    done = subprocess.run(
        [*command, "--dest", str(folder), *pins], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300
    )
    if done.returncode:
        raise CorpusMissing(f"pip could not download {', '.join(pins)}: {done.stderr.strip()[-2000:]}")
    return tuple(wheel for wheel in sorted(folder.glob("*.whl")) if _project(wheel) in names)


@cache
def _temporary_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="fetcher-corpus-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
