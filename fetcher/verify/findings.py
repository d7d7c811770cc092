"""What a mirror should hold, and what is there -> what is wrong with it.

    missing        it is named, and nothing is there
    truncated      it is shorter than it should be
    altered        it has another length or another SHA-256, or something else stands in its place
    stray          it is there, and nobody names it
    disagreement   a page says other than the manifest; without a manifest, one page says other than another

- One finding an object, whatever else is wrong with it: a length that is wrong says more than a digest.
- A sidecar, attestations and a page are objects as a file is.
- Where nobody has said a length or a digest, there is none to be wrong.

This file is pure.
"""

from dataclasses import dataclass
from typing import Literal

from fetcher.storage.store import Stored
from fetcher.words import size

__all__ = ["Finding", "Named", "Part", "Word", "judge", "stray"]

Word = Literal["missing", "truncated", "altered", "stray", "disagreement"]
Part = Literal["file", "sidecar", "provenance", "page"]


@dataclass(frozen=True, slots=True)
class Named:
    """An object that the manifest or a page names; `size` in bytes, `sha256` in lower-case hex, None if not said."""

    key: str
    part: Part
    project: str = ""
    filename: str = ""
    size: int | None = None
    sha256: str | None = None

    def found(self, word: Word, reason: str, *, obstructed: bool = False) -> "Finding":
        """Return a finding about it."""
        return Finding(word, self.key, self.part, self.project, self.filename, reason, obstructed)


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with an object.  `part` is None for a stray one.

    `obstructed`: what stands in its place is no file, or none that can be read, or is said to be another than it is; it
    must go before one can be put there.
    """

    word: Word
    key: str
    part: Part | None
    project: str
    filename: str
    reason: str
    obstructed: bool = False


def judge(named: Named, stored: Stored | None) -> Finding | None:
    """Return what is wrong with an object; None if nothing is."""
    if stored is None:
        return named.found("missing", "nothing is there", obstructed=True)
    if stored.odd:
        return named.found("altered", stored.odd, obstructed=True)
    right = named.sha256 in (None, stored.sha256)
    if named.size is not None and stored.size != named.size:
        word: Word = "truncated" if stored.size < named.size else "altered"
        reason = f"it has {_exactly(stored.size)} instead of {_exactly(named.size)}"
        # A bucket may keep a digest that was right once: by that alone it would be taken for whole.
        return named.found(word, reason, obstructed=right)
    if right:
        return None
    if not stored.size:
        return named.found("truncated", "it is empty")
    return named.found("altered", f"its SHA-256 is {stored.sha256} instead of {named.sha256}")


def stray(key: str) -> Finding:
    """Return the finding about an object that nobody names."""
    return Finding("stray", key, None, "", "", "nobody names it")


def _exactly(count: int) -> str:
    """Return a length so that one byte more or less is seen."""
    return size(count) if count < 1000 else f"{count:,} bytes"
