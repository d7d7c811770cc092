"""PKG-INFO out of a source distribution that has no end yet: members are passed as they stream by.

- A tar has no directory, so all before PKG-INFO is unpacked, and thrown away.
- PKG-INFO is the regular file of that name directly in the archive's one top directory: that of the first member that
  lies in one (PEP 625: `{name}-{version}`; older tools wrote it otherwise).  Others, such as an egg-info's, are not it.
- What is found is what stands first: a later member of the same name would replace it for those who unpack all.
- A walk never raises for what it is fed.  What it may cost is bounded: bytes unpacked, members passed, the size of
  PKG-INFO and of the headers.

This file is pure.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import TypeAlias

from fetcher.sdist.tar import BLOCK, Header, TarError, pad, parse_header, parse_pax, with_records
from fetcher.sdist.unpack import Damaged, Unpacker, archive_kind
from fetcher.wheel.inflate import MAX_METADATA
from fetcher.wheel.walk import NeedMore

__all__ = ["Absent", "Busy", "Missing", "PkgInfo", "SdistVerdict", "SdistWalk"]

_MAX_UNPACKED = 4 * 1024**3
"""Most bytes unpacked in one walk: several times the largest source distributions, and some 20 s of work."""

_MAX_MEMBERS = 1_000_000
_MAX_RECORDS = 1 << 20
"""Most bytes of the pax records of one member, and of a GNU long name: a path has thousands at most."""

_PAX, _PAX_GLOBAL, _LONG_NAME, _LONG_LINK = b"x", b"g", b"L", b"K"


@dataclass(frozen=True, slots=True)
class Busy:
    """What was fed makes more than one step should: feed `b""`, after others had their turn."""


@dataclass(frozen=True, slots=True)
class PkgInfo:
    """What was looked for; `raw` is its content."""

    raw: bytes


@dataclass(frozen=True, slots=True)
class Absent:
    """The archive was walked to its end, and there is none."""


@dataclass(frozen=True, slots=True)
class Missing:
    """It cannot be reached; `reason` is a clause."""

    reason: str


SdistVerdict: TypeAlias = NeedMore | Busy | PkgInfo | Absent | Missing


class SdistWalk:
    """Walks the tar called `filename`, compressed as that says.

    `inflated` counts the bytes that were unpacked on the way: that is what a walk costs.
    """

    def __init__(self, filename: str) -> None:
        self._unpacker = Unpacker(archive_kind(filename))
        self._held = b""  # unpacked
        self._at = 0  # of that, the first byte not yet used
        self._to_skip = 0
        self._top: bytes | None = None
        self.inflated = 0
        self._verdict: SdistVerdict = NeedMore()
        self._steps = self._walk()
        next(self._steps)

    def feed(self, chunk: bytes) -> SdistVerdict:
        """Take the next bytes of the file, any number, and tell what is known now.

        Once it is PkgInfo, Absent or Missing it stays, and further chunks are ignored.  A body that ends while more is
        needed is cut.
        """
        if isinstance(self._verdict, PkgInfo | Absent | Missing):
            return self._verdict
        self._unpacker.feed(chunk)
        try:
            self._verdict = self._take_step()
        except (TarError, Damaged) as error:
            self._verdict = Missing(f"the archive cannot be read: {error}")
        return self._verdict

    def _take_step(self) -> SdistVerdict:
        content = self._unpacker.step()
        self.inflated += len(content)
        if self.inflated > _MAX_UNPACKED:
            return Missing(f"it does not come in the first {_MAX_UNPACKED} bytes of the archive's content")
        skipped = min(self._to_skip, len(content))
        self._to_skip -= skipped
        if len(content) > skipped:
            self._held, self._at = self._held[self._at :] + content[skipped:], 0
            try:
                self._steps.send(None)
            except StopIteration as done:
                verdict: PkgInfo | Absent | Missing = done.value
                return verdict
        return NeedMore() if self._unpacker.is_hungry else Busy()

    # Reading: each of these uses what is held, and awaits more as often as it must.

    def _take(self, count: int) -> Generator[None, None, bytes]:
        while len(self._held) - self._at < count:
            yield
        self._at += count
        return self._held[self._at - count : self._at]

    def _skip(self, count: int) -> None:
        self._at += count
        self._to_skip = max(0, self._at - len(self._held))
        self._at -= self._to_skip

    def _walk(self) -> Generator[None, None, PkgInfo | Absent | Missing]:
        """Pass member after member."""
        records: dict[bytes, bytes] = {}  # what extended headers say of the next member
        yield
        for _ in range(_MAX_MEMBERS):
            block = yield from self._take(BLOCK)
            if not block.strip(b"\0"):
                break
            header = parse_header(block)
            if header.kind in (_PAX, _PAX_GLOBAL, _LONG_NAME, _LONG_LINK):
                content = yield from self._take_records(header)
                if header.kind == _PAX:
                    records |= parse_pax(content)
                elif header.kind == _LONG_NAME:
                    records[b"path"] = content.partition(b"\0")[0]
                continue
            header = with_records(header, records)
            records = {}
            if self._is_wanted(header):
                return (yield from self._take_wanted(header))
            self._skip(header.size + pad(header.size))
        else:
            return Missing(f"it is not among the first {_MAX_MEMBERS} members of the archive")
        return Absent()

    def _take_records(self, header: Header) -> Generator[None, None, bytes]:
        if header.size > _MAX_RECORDS:
            raise TarError(f"{header.size} bytes of names and the like belong to one member")
        content = yield from self._take(header.size + pad(header.size))
        return content[: header.size]

    def _take_wanted(self, header: Header) -> Generator[None, None, PkgInfo | Missing]:
        if header.size > MAX_METADATA:
            return Missing(f"PKG-INFO has {header.size} bytes, more than {MAX_METADATA}")
        return PkgInfo((yield from self._take(header.size)))

    def _is_wanted(self, header: Header) -> bool:
        segments = [segment for segment in header.name.split(b"/") if segment not in (b"", b".")]
        if self._top is None and (len(segments) > 1 or not header.is_regular):
            self._top = segments[0] if segments else None
        return header.is_regular and segments == [self._top, b"PKG-INFO"]
