"""The facts of one response, and what they mean for a request that asked for a segment.

The reaction table (RFC 9110 §14 and §15.3.7 say what is right, the rest is what servers do):

| answer                                                   | reaction                                             |
|----------------------------------------------------------|------------------------------------------------------|
| 206, Content-Range right                                 | `Partial`: the bytes are used                        |
| 200, or 206 of all of it                                 | `Whole`: this body is the file                       |
| 200 with a Content-Range that is not the whole           | `Untrusted`                                          |
| 206 short, long, shifted, unranged, encoded, multipart   | `Untrusted`: one whole GET, bytes are never mixed    |
| 206 of another total or strong validator than before     | `Untrusted`                                          |
| 416                                                      | `Unsatisfiable`: absolute if the size is now known   |
| 400, 405, 501; to a suffix also 403, 404, 500            | `Refused`: the host may know no suffixes, no ranges  |
| 401, 403 from the URL that an earlier redirect led to    | `Expired`: the original URL is asked again           |

This file is pure.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from fetcher.segments import Segment, Suffix, parse_content_range

__all__ = [
    "PROBE_REFUSALS",
    "RANGE_REFUSALS",
    "REST_WORTH_READING",
    "SUFFIX_REFUSALS",
    "Expired",
    "Partial",
    "Reaction",
    "Refused",
    "Reply",
    "Setback",
    "Unsatisfiable",
    "Untrusted",
    "Whole",
    "decide_reaction",
    "decide_whole",
]

# Statuses that may mean "no ranges here"; none of them is ever retried for a request that asks for a segment.
RANGE_REFUSALS = frozenset({400, 405, 501})
# A suffix is refused in more ways: Nexus 404, Google Artifact Registry 500, signed-URL stores 403, PyPI 501.
SUFFIX_REFUSALS = RANGE_REFUSALS | {403, 404, 500}
# After a refused suffix, a probe that fails as Google's registry does ends in a whole GET.
PROBE_REFUSALS = RANGE_REFUSALS | {500}
# More digits than any size or pause has; Python itself refuses to read thousands of them.
_LENGTH = re.compile(r"[0-9]{1,19}")
_CHARSET = re.compile(r""";\s*charset\s*=\s*["']?([\w.:-]+)""")
EXPIRED = frozenset({401, 403})
UNSATISFIABLE = 416
PARTIAL = 206
# A body left with at most this many bytes is read to its end, so that the connection can be used again.
REST_WORTH_READING = 16 * 1024


@dataclass(frozen=True)
class Reply:
    """The head of a response: status and the header fields that something here depends on.

    `url` is the one that answered, without userinfo.  Sizes are in bytes.
    """

    url: str = field(repr=False)
    status: int
    content_type: str = ""
    content_length: int | None = None
    content_range: str | None = None
    content_encoding: str = ""
    etag: str | None = None
    retry_after: str | None = None
    accept_ranges: str = ""

    @classmethod
    def of(cls, url: str, status: int, headers: Mapping[str, str]) -> "Reply":
        """Return the facts of a response; `headers` is a case-insensitive mapping."""
        length = headers.get("Content-Length", "")
        encoding = headers.get("Content-Encoding", "").strip().lower()
        return cls(
            url=url,
            status=status,
            content_type=headers.get("Content-Type", "").strip().lower(),
            content_length=int(length) if _LENGTH.fullmatch(length) else None,
            content_range=headers.get("Content-Range"),
            content_encoding="" if encoding == "identity" else encoding,
            etag=headers.get("ETag"),
            retry_after=headers.get("Retry-After"),
            accept_ranges=headers.get("Accept-Ranges", "").strip().lower(),
        )

    @property
    def strong_etag(self) -> str | None:
        """The entity tag if it is a strong one, the only kind that may join segments (RFC 9110 §13.1.5)."""
        return self.etag if self.etag and self.etag.startswith('"') else None

    @property
    def charset(self) -> str | None:
        """The charset that Content-Type names (RFC 9110 §8.3.2)."""
        match = _CHARSET.search(self.content_type)
        return match[1] if match else None

    @property
    def body_size(self) -> int | None:
        """The size of the decoded body, where the head tells it."""
        return None if self.content_encoding else self.content_length

    def retry_after_seconds(self, now: datetime) -> float | None:
        """Return how long Retry-After asks to wait, from seconds or from a date (RFC 9110 §10.2.3)."""
        text = (self.retry_after or "").strip()
        if _LENGTH.fullmatch(text):
            return float(text)
        try:
            when = parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return None
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        return max(0.0, (when - now).total_seconds())


@dataclass(frozen=True)
class Partial:
    """The body is this segment of a file of `total` bytes."""

    segment: Segment
    total: int


@dataclass(frozen=True)
class Whole:
    """The body is the whole file."""


@dataclass(frozen=True)
class Unsatisfiable:
    """416; `total` is the file's size if the server told it."""

    total: int | None


@dataclass(frozen=True)
class Refused:
    """The request for a segment was refused as such."""

    status: int


@dataclass(frozen=True)
class Expired:
    """The URL that an earlier redirect led to no longer admits us."""


@dataclass(frozen=True)
class Untrusted:
    """An answer that cannot be right; nothing of its body is used."""

    reason: str


Setback = Unsatisfiable | Refused | Expired | Untrusted
Reaction = Partial | Whole | Setback


def decide_reaction(
    reply: Reply,
    wanted: Segment | Suffix,
    *,
    refusals: frozenset[int],
    total: int | None = None,
    etag: str | None = None,
    redirected: bool = False,
) -> Reaction:
    """Decide what an answer to a request for `wanted` means.

    `refusals` are the statuses that say no to the form of the range; `total` and `etag` (a strong one) are those of
    earlier answers about the same file; `redirected`: the request went straight to a URL that an earlier redirect had
    led to.
    """
    if redirected and reply.status in EXPIRED:
        return Expired()
    if reply.status == UNSATISFIABLE:
        told = parse_content_range(reply.content_range or "")
        return Unsatisfiable(told.total if told is not None and told.segment is None else None)
    if reply.status in refusals:
        return Refused(reply.status)
    if reply.status == PARTIAL:
        return _decide_partial(reply, wanted, total, etag)
    return decide_whole(reply)


def decide_whole(reply: Reply) -> Whole | Untrusted:
    """Decide whether the body of a success is the whole file."""
    if reply.content_range is None:
        return Untrusted("a 206 without Content-Range") if reply.status == PARTIAL else Whole()
    # RFC 9110 §14.4: Content-Range means nothing beside 200, yet rclone sends it with a partial body.
    told = parse_content_range(reply.content_range)
    if told is not None and told.segment is not None and told.total == len(told.segment):
        return Whole()
    return Untrusted(f"{reply.status} with Content-Range {reply.content_range!r}")


def _decide_partial(reply: Reply, wanted: Segment | Suffix, total: int | None, etag: str | None) -> Reaction:
    if reply.content_type.startswith("multipart/"):
        return Untrusted("a multipart answer to a single range")
    if reply.content_encoding:
        return Untrusted(f"a range of a body encoded as {reply.content_encoding}")
    told = parse_content_range(reply.content_range or "")
    if told is None or told.segment is None or told.total is None:
        return Untrusted(f"Content-Range {reply.content_range!r}")
    right = Partial(told.segment, told.total)
    doubt = _doubt(reply, wanted, right, total, etag)
    if doubt is None:
        return right
    all_of_it = len(told.segment) == told.total == reply.content_length and total in (None, told.total)
    return Whole() if all_of_it else Untrusted(doubt)


def _doubt(reply: Reply, wanted: Segment | Suffix, told: Partial, total: int | None, etag: str | None) -> str | None:
    if total is not None and told.total != total:
        return f"the file had {total} bytes and now has {told.total}"
    if etag is not None and reply.strong_etag is not None and reply.strong_etag != etag:
        return "the file changed between two answers"
    expected = wanted.of(told.total) if isinstance(wanted, Suffix) else wanted.within(told.total)
    if told.segment != expected:
        return f"bytes {expected.start}-{expected.stop - 1} were asked for, {reply.content_range} came"
    if reply.content_length is not None and reply.content_length != len(told.segment):
        return f"{len(told.segment)} bytes announced in Content-Range, {reply.content_length} in Content-Length"
    return None
