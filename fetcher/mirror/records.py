"""What a mirror knows of its projects and files: small values, which the manifest keeps.

- `Listing` is what the index says of a file today: it may change without the file, by a yank for one.
- `Content` is what is in the mirror: it never changes, another content is another one.
- `Entry` joins them.  One whose `content` is None is wanted and not there; one with `error` could not be had, or not
  anew: then the content of before stays.

This file is pure.
"""

from collections.abc import Mapping

import msgspec
from packaging.version import Version

from fetcher.index.files import File, Project
from fetcher.index.scope import Index
from fetcher.index.urls import redact, without_secrets

__all__ = ["Content", "Entry", "Facts", "Listing"]


class Facts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an index says of a project besides its files (PEP 708, 792)."""

    name: str
    status: str = "active"
    status_reason: str = ""
    tracks: tuple[str, ...] = ()
    alternate_locations: tuple[str, ...] = ()

    @classmethod
    def of(cls, project: Project) -> "Facts":
        """Return the facts of a project's page."""
        return cls(project.name, project.status, project.status_reason, project.tracks, project.alternate_locations)


class Listing(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the index says of a file, as `File` has it; `index` is the URL of the index, "" for a file without one."""

    url: str
    hashes: Mapping[str, str] = {}
    size: int | None = None
    requires_python: str | None = None
    yanked: bool = False
    yanked_reason: str = ""
    upload_time: str | None = None
    provenance: str | None = None
    index: str = ""

    def __repr__(self) -> str:
        return f"Listing({redact(self.url)!r})"

    @classmethod
    def of(cls, file: File) -> "Listing":
        """Return what is said of a file, without secrets: it is kept."""
        return cls(
            without_secrets(file.url),
            file.hashes,
            file.size,
            file.requires_python,
            file.yanked,
            file.yanked_reason,
            file.upload_time,
            None if file.provenance is None else without_secrets(file.provenance),
            "" if file.listed_by is None else file.listed_by.url,
        )

    def file(self, project: str, filename: str, listed_by: Index | None) -> File:
        """Return the file once more, as the index listed it."""
        return File(
            filename,
            self.url,
            self.hashes,
            self.size,
            self.requires_python,
            self.yanked,
            self.yanked_reason,
            None,
            self.upload_time,
            self.provenance,
            listed_by,
            project,
        )

    def names_other_content(self, other: "Listing") -> bool:
        """Say whether the index lists other bytes under the same name now.

        A digest in common decides; without one, the size, if both state it, and the URL: there is nothing else to tell
        them by.
        """
        common = self.hashes.keys() & other.hashes.keys()
        if common:
            return any(self.hashes[name] != other.hashes[name] for name in common)
        if None not in (self.size, other.size) and self.size != other.size:
            return True
        return _path(self.url) != _path(other.url)


def _path(url: str) -> str:
    """Return a URL without its query: what signs one is new each time."""
    return url.partition("?")[0]


class Content(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file that is in the mirror.

    `size` in bytes.  `sha256`, and those of its METADATA and `provenance` ("" if there is none) are in lower-case hex;
    METADATA lies beside wheels only, for that of a source distribution is not what gets built.  `requires` (None if
    nobody knows) and `requires_python` stand as METADATA has them; a source distribution says them only if they are
    static (PEP 643).
    """

    sha256: str
    size: int
    metadata: str = ""
    provenance: str = ""
    requires: tuple[str, ...] | None = None
    requires_python: str = ""


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file of a project: what the index says of it, what is in the mirror, and why it could not be had.

    `error` is the name of an error's class, `reason` its sentence.
    """

    project: str
    filename: str
    listing: Listing
    content: Content | None = None
    error: str = ""
    reason: str = ""

    @property
    def there(self) -> Content:
        """The content of a file that is in the mirror."""
        assert self.content is not None  # noqa: S101 - for the type checker: only such files are listed
        return self.content

    @property
    def version(self) -> Version | None:
        """The version in the file name; None if it has none."""
        return self.listing.file(self.project, self.filename, None).version

    @property
    def requires_python(self) -> str:
        """What the page says, else METADATA: what comes from a lock was on no page."""
        return self.listing.requires_python or self.there.requires_python
