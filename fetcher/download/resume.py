"""May the bytes of an earlier attempt be gone on from?  Facts of the part file and of a reply -> verdict.

Before anything is asked (RFC 9110 §13.1.5, §14.2):

| what is held                                                    | verdict                                         |
|-----------------------------------------------------------------|-------------------------------------------------|
| nothing; or it is no part of this file, as far as can be told   | `FromStart`                                     |
| all of it, and the index names a digest                         | `Complete`: the digest decides                  |
| a part, and the index names a digest                            | `Rest`: the digest decides in the end           |
| a part, and the server named a strong validator                 | `Rest`, with If-Range; its last byte at least   |

The answer to a request for the rest:

| answer                                                          | verdict                                         |
|-----------------------------------------------------------------|-------------------------------------------------|
| 206 of just that, of the same total, and the same validator     | `Append` (RFC 9110 §15.3.7.3)                   |
| (with a digest another validator or none is no matter: CDNs have one an edge)                                     |
| 200, or 206 of all of it                                        | `Restart`: this body is the file                |
| 401, 403 from the URL that an earlier redirect led to           | `Expired`: the original URL is asked again      |
| anything else that is no error                                  | `Refuse`: the whole is asked for                |

What is known of a part stands beside it, and is never trusted more than the bytes: what cannot be read is no part.
A part that several connections brought has gaps; "the rest" is then the first of them.  This file is pure.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from fetcher.digest import strongest
from fetcher.index.files import File
from fetcher.index.urls import parse_url, split_userinfo
from fetcher.segments import Segment, gaps, merge
from fetcher.transport.reply import RANGE_REFUSALS, Expired, Partial, Reply, Whole, decide_reaction

__all__ = [
    "Append",
    "Complete",
    "FromStart",
    "Origin",
    "Refuse",
    "Rest",
    "Restart",
    "decide_answer",
    "decide_request",
    "dump_origin",
    "held_of",
    "origin_of",
    "outlives",
    "parse_origin",
    "usable",
]


# More were never written at once, and to ask for each gap would cost more than the bytes.
MOST_HELD = 64
_ENTITY_TAG = re.compile(r'"[\x21\x23-\x7e]*"')


class Origin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a part is a part of.

    `source` is the SHA-256 of the URL without query, which may hold a signature; `digest` is the index's, as
    "algorithm:hex"; `total` the size of the whole in bytes; `etag` a strong validator.  `held` are the segments
    `[start, stop)` that are there, None if all up to the part's end is.
    """

    source: str
    digest: str | None = None
    total: int | None = None
    etag: str | None = None
    held: tuple[tuple[int, int], ...] | None = None
    version: Literal[2] = 2

    @property
    def can_be_resumed(self) -> bool:
        """Whether a part of it can ever be gone on from."""
        return bool(self.total) and (self.digest or self.etag) is not None


@dataclass(frozen=True, slots=True)
class FromStart:
    """Ask for the whole."""


@dataclass(frozen=True, slots=True)
class Rest:
    """Ask for this segment, the rest of the file; `if_range` goes with it."""

    segment: Segment
    if_range: str | None = None


@dataclass(frozen=True, slots=True)
class Complete:
    """All is here."""


@dataclass(frozen=True, slots=True)
class Append:
    """The body goes behind what is held."""


@dataclass(frozen=True, slots=True)
class Restart:
    """The body is the whole file."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Nothing of the body is used."""

    reason: str


def origin_of(file: File, reply: Reply | None = None) -> Origin:
    """Return what is known of the file: from the index, and from the reply that begins to bring it."""
    place = str(split_userinfo(parse_url(file.url))[0]).partition("?")[0]
    digest = strongest(file.hashes)
    return Origin(
        source=hashlib.sha256(place.encode()).hexdigest(),
        digest=None if digest is None else ":".join(digest),
        total=file.size if reply is None or reply.body_size is None else reply.body_size,
        etag=None if reply is None or reply.content_encoding else _strong(reply.strong_etag),
    )


def _strong(etag: str | None) -> str | None:
    """Return a strong entity tag that may stand in a header (RFC 9110 §8.8.3), None for anything else."""
    return etag if etag is not None and _ENTITY_TAG.fullmatch(etag) else None


def parse_origin(text: bytes) -> Origin | None:
    """Parse what stands beside a part; None for anything else."""
    try:
        return msgspec.json.decode(text, type=Origin)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def dump_origin(origin: Origin) -> bytes:
    """Return the text of it that `parse_origin` reads."""
    return msgspec.json.encode(origin)


def held_of(size: int, origin: Origin | None) -> tuple[Segment, ...]:
    """Return what a part of `size` bytes holds; nothing if what is said of it cannot be."""
    if origin is None or size <= 0:
        return ()
    if origin.held is None:
        return (Segment(0, size),)
    try:
        said = tuple(Segment(start, stop) for start, stop in origin.held)
    except ValueError:
        return ()
    if said != merge(said) or any(segment.stop > size for segment in said):
        return ()
    return said if len(said) <= MOST_HELD else said[: said[0].start == 0]


def outlives(origin: Origin, file: File) -> bool:
    """Say whether a part can be gone on from by another run.

    Between runs a machine may stop, and bytes may be lost that were never on the disk: a digest tells, or the sums in a
    wheel; nothing in another file does.
    """
    return origin.can_be_resumed and (origin.digest is not None or file.is_wheel)


def usable(held: Sequence[Segment], origin: Origin | None, file: File) -> tuple[Segment, ...]:
    """Return what of the held bytes can be gone on from, another time than they came."""
    if origin is None or not outlives(origin, file):
        return ()
    match decide_request(held, origin, file):
        case FromStart():
            return ()
        case Rest(asked) if asked.stop == held[-1].stop:  # all is here, and its last byte is asked for once more
            return tuple(gaps([asked], asked.stop))
        case _:
            return tuple(held)


def decide_request(held: Sequence[Segment], origin: Origin | None, file: File) -> FromStart | Rest | Complete:
    """Decide what to ask for when `held`, as `merge` returns it, is here and said to be of `origin`."""
    if origin is None or not held or not _fits(origin, origin_of(file)) or origin.total is None:
        return FromStart()
    if held[-1].stop > origin.total:
        return FromStart()
    missing = next(gaps(held, origin.total), None)
    if origin.digest is not None:
        return Complete() if missing is None else Rest(missing)
    if _strong(origin.etag) is None:
        return FromStart()
    # With all here, only the server can say whether it is still the file.
    return Rest(Segment(origin.total - 1, origin.total) if missing is None else missing, origin.etag)


def _fits(origin: Origin, wanted: Origin) -> bool:
    """Say whether a part of `origin` may be a part of what is wanted: by the digest, else by the URL."""
    same_size = wanted.total in (None, origin.total)
    if wanted.digest is not None:
        return same_size and origin.digest == wanted.digest
    return same_size and origin.digest is None and origin.source == wanted.source


def decide_answer(
    reply: Reply, asked: Rest, origin: Origin, *, redirected: bool = False
) -> Append | Restart | Expired | Refuse:
    """Decide what an answer to a request for the rest means.

    `redirected`: the request went straight to a URL that an earlier redirect had led to.
    """
    reaction = decide_reaction(
        reply,
        asked.segment,
        refusals=RANGE_REFUSALS,
        total=origin.total,
        etag=None if origin.digest is not None else origin.etag,
        redirected=redirected,
    )
    match reaction:
        case Partial() if origin.digest is None and reply.strong_etag != origin.etag:
            return Refuse("a part that does not say of which version it is")
        case Partial():
            return Append()
        case Whole():
            return Restart()
        case Expired():
            return reaction
        case _:
            return Refuse(str(reaction))
