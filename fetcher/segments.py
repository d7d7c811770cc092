"""Half-open byte intervals, and the two HTTP headers that speak of them (RFC 9110 §14).

A `Segment` is `[start, stop)`, as slices are; HTTP's own ranges include their last byte.  The word "range" is used for
the HTTP header only.  This file is pure.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import assert_never

__all__ = ["ContentRange", "Piece", "Segment", "Suffix", "gaps", "merge", "parse_content_range", "range_header"]

# RFC 9110 §14.4; a server that answers in another unit or with white space inside the numbers is not understood.
_CONTENT_RANGE = re.compile(r"bytes[ \t]+(?:(\d{1,19})-(\d{1,19})|\*)/(\d{1,19}|\*)", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class Segment:
    """The bytes `[start, stop)` of a file; never empty.  Raises ValueError for an interval that holds no byte."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop:
            raise ValueError(f"no byte lies in [{self.start}, {self.stop})")

    def __len__(self) -> int:
        return self.stop - self.start

    def within(self, total: int) -> "Segment":
        """Return what of it a file of `total` bytes has; itself if that is nothing (RFC 9110 §14.1.2)."""
        return Segment(self.start, min(self.stop, total)) if self.start < total else self


def merge(segments: Iterable[Segment]) -> tuple[Segment, ...]:
    """Return the same bytes in order and in as few segments as can be: those that touch or overlap become one."""
    merged: list[Segment] = []
    for segment in sorted(segments, key=lambda segment: segment.start):
        if merged and segment.start <= merged[-1].stop:
            before = merged.pop()
            merged.append(Segment(before.start, max(before.stop, segment.stop)))
        else:
            merged.append(segment)
    return tuple(merged)


def gaps(held: Iterable[Segment], total: int) -> Iterator[Segment]:
    """Yield what a file of `total` bytes has besides what is held, in order; `held` is as `merge` returns it."""
    at = 0
    for segment in held:
        if at < min(segment.start, total):
            yield Segment(at, min(segment.start, total))
        at = segment.stop
    if at < total:
        yield Segment(at, total)


@dataclass(frozen=True, slots=True)
class Suffix:
    """The last `length` bytes of a file whose size is not known (all of it, if it is shorter)."""

    length: int

    def __post_init__(self) -> None:
        if self.length <= 0:
            raise ValueError("a suffix has at least one byte")

    def __len__(self) -> int:
        return self.length

    def of(self, total: int) -> Segment:
        """Return the segment this suffix means in a file of `total` bytes (at least one)."""
        return Segment(max(0, total - self.length), total)


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes with their place: `data` stands at `start` of a file of `total` bytes."""

    start: int
    data: bytes
    total: int

    @property
    def stop(self) -> int:
        """One past the last byte held."""
        return self.start + len(self.data)


@dataclass(frozen=True, slots=True)
class ContentRange:
    """A parsed `Content-Range`: `segment` is None for `bytes */N` (416), `total` is None for `bytes a-b/*`."""

    segment: Segment | None
    total: int | None


def range_header(wanted: Segment | Suffix) -> str:
    """Return the `Range` value that asks for it (RFC 9110 §14.1.2)."""
    match wanted:
        case Segment(start, stop):
            return f"bytes={start}-{stop - 1}"
        case Suffix(length):
            return f"bytes=-{length}"
        case _:
            assert_never(wanted)


def parse_content_range(text: str) -> ContentRange | None:
    """Parse a `Content-Range` value; None for anything that RFC 9110 §14.4 does not allow."""
    match = _CONTENT_RANGE.fullmatch(text.strip())
    if match is None:
        return None
    first, last, complete = match.groups()
    total = None if complete == "*" else int(complete)
    if first is None:
        return None if total is None else ContentRange(None, total)
    start, stop = int(first), int(last) + 1
    if start >= stop or (total is not None and stop > total):
        return None
    return ContentRange(Segment(start, stop), total)
