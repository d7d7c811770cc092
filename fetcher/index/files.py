"""Files and projects as index pages describe them.

Rules:

* A name from the network never leaves its directory: no separators, no control characters, no `..`, no device names.
* A digest that cannot be one is dropped.
* Of a source distribution the name of the project ends where pip has it end: on a project's page, at the first dash
  before which it is that project's, for the version may have dashes (`demo-1.0-1.tar.gz`, as setuptools wrote it before
  PEP 625); elsewhere, and where no version would follow, at the last.

This file is pure.
"""

import re
from binascii import unhexlify
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import msgspec
from packaging.tags import Tag
from packaging.utils import BuildTag, NormalizedName, canonicalize_name, parse_sdist_filename, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from fetcher.index.scope import Index
from fetcher.index.urls import file_name, parse_url, redact

__all__ = [
    "SUFFIXES",
    "File",
    "Project",
    "digests",
    "file_from_url",
    "fragment_digests",
    "is_digest",
    "is_safe_name",
    "parse_sdist_name",
]

_SDIST_SUFFIXES = (".tar.gz", ".zip", ".tar.bz2", ".tgz", ".tar.xz", ".tbz", ".txz", ".tar")
# What pip takes for a distribution, without the lzma forms that no build backend ever wrote.
SUFFIXES = (".whl", *_SDIST_SUFFIXES)

# Hex digits of what `hashlib.new(name)` gives; PEP 691 allows those names.  Without a fixed length (shake) there is
# nothing to check, and under another name (blake2b_256) nothing to compute.
_DIGEST_LENGTHS = {
    "md5": 32,
    "sha1": 40,
    "sha224": 56,
    "sha256": 64,
    "sha384": 96,
    "sha512": 128,
    "sha3_224": 56,
    "sha3_256": 64,
    "sha3_384": 96,
    "sha3_512": 128,
    "blake2b": 128,
    "blake2s": 64,
}

# No separator of any system, no drive or stream (`:`), no wildcard; the first character can be neither the dot of a
# hidden file nor the dash of an option; no device of Windows, which lies in every directory; no end that Windows drops.
_SAFE_NAME = re.compile(
    r"(?!(?i:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?:\.|$))\w[^/\\:*?\"<>|\x00-\x1f\x7f]*(?<![. ])"
)


class _Parsed(NamedTuple):
    name: NormalizedName | None = None
    version: Version | None = None
    build: BuildTag = ()
    tags: frozenset[Tag] = frozenset()


class File(msgspec.Struct, frozen=True, dict=True):
    """A wheel or source distribution, as an index page lists it.

    `url` is absolute, without fragment; it may hold userinfo, and `repr` hides it.  `hashes` maps algorithm to digest,
    both in lower case.  `size` is in bytes (PEP 700).  `requires_python` and `upload_time` stand as the page has them.
    `yanked_reason` may be empty for a yanked file (PEP 592).  `sidecar` is None unless the page advertises a metadata
    file, else the hashes of that, possibly none (PEP 658, 714).  `provenance` is an absolute URL (PEP 740).
    `listed_by` is the index whose page named the file, `project` the normalized name of the project whose page it was.
    """

    filename: str
    url: str
    hashes: Mapping[str, str] = {}
    size: int | None = None
    requires_python: str | None = None
    yanked: bool = False
    yanked_reason: str = ""
    sidecar: Mapping[str, str] | None = None
    upload_time: str | None = None
    provenance: str | None = None
    listed_by: Index | None = None
    project: str | None = None

    def __hash__(self) -> int:
        return hash((self.filename, self.url))

    def __repr__(self) -> str:
        return f"File({self.filename!r}, {redact(self.url)!r})"

    @property
    def is_wheel(self) -> bool:
        """Whether the name ends as a wheel's does (PEP 427)."""
        return self.filename.endswith(".whl")

    @property
    def name(self) -> NormalizedName | None:
        """The normalized project name in the file name; None when the file name does not follow the standards."""
        return self._parsed.name

    @property
    def version(self) -> Version | None:
        """The version in the file name; None as for `name`."""
        return self._parsed.version

    @property
    def build(self) -> BuildTag:
        """A wheel's build number and the text after it; `()` when there is none."""
        return self._parsed.build

    @property
    def tags(self) -> frozenset[Tag]:
        """A wheel's compatibility tags (PEP 425); empty for a source distribution."""
        return self._parsed.tags

    @property
    def sha256(self) -> str | None:
        """The SHA-256 digest, if the page has it."""
        return self.hashes.get("sha256")

    @property
    def sidecar_url(self) -> str:
        """Where the metadata file is, if there is one (PEP 658): `.metadata` after the path, before the query."""
        path, mark, query = self.url.partition("?")
        return f"{path}.metadata{mark}{query}"

    @cached_property
    def _parsed(self) -> _Parsed:
        try:
            if self.is_wheel:
                front, *tags = self.filename.removesuffix(".whl").rsplit("-", 3)
                return _Parsed(*_parse_front(front), _parse_tags("-".join(tags)))
            return _Parsed(*parse_sdist_name(self.filename, self.project))
        except ValueError:
            return _Parsed()


@dataclass(frozen=True, slots=True)
class Project:
    """What one page of one index says about a project.

    `name` is normalized.  `files` stand in page order; `skipped` names those that could not be used (rule 6).  `url` is
    the final URL of the page, `index` the index that was asked.  `versions` is empty before API version 1.1 (PEP 700).
    `status` is "active" unless the page says otherwise (PEP 792).  `tracks` and `alternate_locations`: PEP 708.
    """

    name: str
    files: tuple[File, ...]
    url: str
    index: Index | None = None
    versions: tuple[str, ...] = ()
    status: str = "active"
    status_reason: str = ""
    tracks: tuple[str, ...] = ()
    alternate_locations: tuple[str, ...] = ()
    api_version: str = "1.0"
    skipped: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Project({self.name!r}, {len(self.files)} files, {redact(self.url)!r})"


# A page of ten thousand wheels has some hundred versions, each with wheels for the same few dozen tags.
@lru_cache(maxsize=4096)
def _parse_front(text: str) -> tuple[NormalizedName, Version, BuildTag]:
    """Parse what stands before a wheel's tags.  Raises ValueError."""
    return parse_wheel_filename(f"{text}-py3-none-any.whl")[:3]


@lru_cache(maxsize=4096)
def _parse_tags(text: str) -> frozenset[Tag]:
    """Parse a wheel's three tags.  Raises ValueError."""
    return parse_wheel_filename(f"x-0-{text}.whl")[3]


def parse_sdist_name(filename: str, project: str | None = None) -> tuple[NormalizedName, Version]:
    """Return what the file name of a source distribution of any form promises.  Raises ValueError.

    `project` is the normalized name of the project on whose page the file stands, None if it stands on none.
    """
    for suffix in _SDIST_SUFFIXES:
        if filename.endswith(suffix):
            stem = filename.removesuffix(suffix)
            return _split_after(project, stem) or parse_sdist_filename(f"{stem}.tar.gz")
    raise ValueError(f"it ends with none of {', '.join(_SDIST_SUFFIXES)}")


def _split_after(project: str | None, stem: str) -> tuple[NormalizedName, Version] | None:
    """Split a name after that of the project; None if it does not begin so, or if no version follows."""
    for dash in re.finditer("-", stem) if project else ():
        if (name := canonicalize_name(stem[: dash.start()])) == project:
            with suppress(InvalidVersion):
                return name, Version(stem[dash.end() :])
            break
    return None


def is_safe_name(name: str) -> bool:
    """Say whether a file name from the network may be used as one here (rule 5)."""
    return _SAFE_NAME.fullmatch(name) is not None and (name.isascii() or name.isprintable())


def digests(stated: Mapping[str, str]) -> Mapping[str, str]:
    """Return the digests that can be digests, in lower case (rule 6)."""
    for algorithm, digest in stated.items():
        if not is_digest(algorithm, digest):
            return _cleaned(stated.items())
    return stated


def is_digest(algorithm: str, digest: str) -> bool:
    """Say whether a text can be a digest of that algorithm: known, right length, lower-case hex."""
    try:
        # What comes back unchanged was hex in lower case; four times as fast as a pattern.
        return _DIGEST_LENGTHS.get(algorithm) == len(digest) and unhexlify(digest).hex() == digest
    except ValueError:
        return False


def _cleaned(stated: Iterable[tuple[str, str]]) -> dict[str, str]:
    kept: dict[str, str] = {}
    for algorithm, digest in ((key.strip().lower(), value.strip().lower()) for key, value in stated):
        if is_digest(algorithm, digest):
            kept.setdefault(algorithm, digest)
    return kept


def fragment_digests(fragment: str) -> Mapping[str, str]:
    """Read `sha256=...`, alone or among `egg=...&subdirectory=...` (PEP 503, pip's fragments)."""
    algorithm, _, digest = fragment.partition("=")
    if is_digest(algorithm, digest):
        return {algorithm: digest}
    pairs = (pair.partition("=") for pair in fragment.split("&"))
    return _cleaned((key, value) for key, _, value in pairs)


def file_from_url(text: str) -> File:
    """Return a URL as a file that no page listed; a fragment such as `#sha256=…` names its digest (pip's form).

    Raises ValueError for something that is no http or https URL, or a fragment whose digest cannot be one.
    """
    url = parse_url(text)
    fragment = text.partition("#")[2]
    hashes = fragment_digests(fragment)
    for pair in fragment.split("&"):
        algorithm = pair.partition("=")[0].lower()
        if algorithm in _DIGEST_LENGTHS and algorithm not in hashes:
            raise ValueError(f"{redact(text)}: what follows #{algorithm}= is no {algorithm} digest")
    return File(filename=file_name(url), url=str(url), hashes=hashes)
