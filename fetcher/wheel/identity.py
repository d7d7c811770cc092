"""Whose METADATA is it?  The file name promises a project and a version; directory and METADATA must keep the promise.

Source distributions are held to it, too: theirs is called PKG-INFO (PEP 625, 643), and those that are a zip are read as
wheels are.

- Names are compared in normal form (PEP 503), versions as versions (PEP 440): `Foo.Bar-1.0` is `foo_bar-1.0.0`.
- The METADATA is that of the one top-level `.dist-info` directory whose name matches the file's (PEP 427, "The
  .dist-info directory").  Others, which match nothing, are no concern of a resolver.
- A PKG-INFO is that of the one top-level directory, whatever older tools called it.
- Name and Version are read from the header part, as the email package reads it (core metadata, "Metadata Files"):
  it ends at the first empty line, and at the first line that is no header.  Each must stand there exactly once.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from packaging.utils import NormalizedName, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from fetcher.errors import MetadataMismatch, MetadataMissing
from fetcher.index.files import parse_sdist_name
from fetcher.wheel.records import shown

__all__ = ["Identity", "check_identity", "header_values", "identify"]

_DIST_INFO = ".dist-info"
# The header part: headers (one without a name is passed over) and folded lines, up to the first line that is neither.
_HEADERS = re.compile(rb"(?:(?:[!-9;-~]*+:|[ \t])[^\r\n]*+(?:\r\n?|\n|\Z))*+")
_PLAIN_HEADERS = re.compile(rb"(?:(?:[!-9;-~]*+:|[ \t]).*+(?:\n|\Z))*+")  # without \r: three times as fast


@dataclass(frozen=True, slots=True)
class Identity:
    """What the file name of a wheel or source distribution promises."""

    filename: str
    name: NormalizedName
    version: Version

    @property
    def is_wheel(self) -> bool:
        """Whether it is that of a wheel."""
        return self.filename.endswith(".whl")

    def owns(self, directory: str) -> bool:
        """Tell whether `directory` (one segment, no slash) is the dist-info directory of this wheel."""
        if not directory.endswith(_DIST_INFO):
            return False
        name, _, version = directory.removesuffix(_DIST_INFO).rpartition("-")
        return canonicalize_name(name) == self.name and _same_version(version, self.version)

    def check(self, raw: bytes) -> tuple[str, str]:
        """Return Name and Version as METADATA has them.

        Raises MetadataMissing if either is absent, MetadataMismatch if they are not those of the file name, or
        ambiguous.
        """
        fields = header_values(raw, "Name", "Version")
        name, version = (_only(self.filename, fields[field], field) for field in fields)
        if canonicalize_name(name) != self.name:
            raise MetadataMismatch(self.filename, f"it is of project {shown(name)}")
        if not _same_version(version, self.version):
            raise MetadataMismatch(self.filename, f"it is of version {shown(version)}")
        return name, version


def _same_version(text: str, version: Version) -> bool:
    try:
        return Version(text) == version
    except InvalidVersion:
        return False


@lru_cache(maxsize=1024)  # the plan asks, the walk, and the check of METADATA
def identify(filename: str, project: str | None = None) -> Identity:
    """Parse a file name; `project` is the normalized name of the project on whose page it stands, if it does.

    Raises MetadataMissing if it is none: no METADATA could be told to be its own.
    """
    try:
        parsed = parse_wheel_filename(filename) if filename.endswith(".whl") else parse_sdist_name(filename, project)
        return Identity(filename, *parsed[:2])
    except ValueError as error:
        what = "a wheel" if filename.endswith(".whl") else "a wheel or source distribution"
        raise MetadataMissing(filename, f"its name is not that of {what} ({error})") from None


def check_identity(filename: str, raw: bytes, project: str | None = None) -> tuple[str, str]:
    """Return Name and Version as METADATA has them.  Raises as `identify` and `Identity.check` do."""
    return identify(filename, project).check(raw)


def _only(filename: str, values: list[str], field: str) -> str:
    if len(values) > 1:
        raise MetadataMismatch(filename, f"it has {len(values)} {field} fields")
    if not values or not values[0]:
        raise MetadataMissing(filename, f"it has no {field}")
    return values[0]


def header_values(raw: bytes, *fields: str) -> dict[str, list[str]]:
    """Return the values of these fields of METADATA, in their order; a folded one in one line."""
    found = _lines_of(raw, [field.lower().encode() for field in fields])
    return {
        field: [" ".join(line.decode("utf-8", "replace").strip() for line in lines) for lines in values]
        for field, values in zip(fields, found.values(), strict=True)
    }


def _lines_of(raw: bytes, fields: Iterable[bytes]) -> dict[bytes, list[list[bytes]]]:
    """Collect fields, by their names in lower case: each a list of values, each value a list of lines."""
    found: dict[bytes, list[list[bytes]]] = {field: [] for field in fields}
    value: list[bytes] = []  # takes a folded line that comes before any header
    headers = (_HEADERS if b"\r" in raw else _PLAIN_HEADERS).match(raw)
    for line in headers[0].splitlines() if headers else ():
        if line[:1] in b" \t":
            value.append(line)
            continue
        name, _, text = line.partition(b":")
        value = [text]
        if name.lower() in found:
            found[name.lower()].append(value)
    return found
