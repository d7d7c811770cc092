"""A body that is the whole file: local headers of a wheel, members of a tar, are read as they stream by.

It is read no further than need be: METADATA that comes early ends it, and is then unverified, since neither directory
nor digest was seen.  A body that was read to its end is checked against the index's digest and its own directory, and
kept.  A tar has no directory: without a digest its PKG-INFO stays unverified.
"""

from typing import Literal, NamedTuple

from anyio.lowlevel import checkpoint

from fetcher.content import found_in, not_as_named, read_head, read_plan, walk_on
from fetcher.digest import Digest
from fetcher.errors import BadReply, Truncated
from fetcher.index.files import File
from fetcher.sdist.unpack import is_tar
from fetcher.sdist.walk import PkgInfo, SdistVerdict, SdistWalk
from fetcher.spool import Shelf, Spool
from fetcher.transport.reply import Untrusted, decide_whole
from fetcher.transport.transport import Answer, Meter
from fetcher.wheel.identity import check_identity
from fetcher.wheel.plan import plan_metadata, walked_metadata
from fetcher.wheel.walk import Found, NeedMore, Verdict, Walk

__all__ = ["SLACK", "How", "Read", "read_body"]

How = Literal["cache", "sidecar", "whole", "range", "stream"]

# Bytes that one METADATA may cost beyond the file's size: a tail that turned out to be useless, and error pages.
SLACK = 128 * 1024
# With METADATA found on the way, a rest of this size is read to the end: the directory then vouches for it, and the
# connection stays open.
REST = 256 * 1024
# Deflate makes at most 66 MB of this: some 50 ms.
STEP = 64 * 1024
MUCH = 4 << 20


class Read(NamedTuple):
    """METADATA with its Name and Version, how it was had, and whether a hash or the directory vouches for it."""

    raw: bytes
    name: str
    version: str
    how: How
    verified: bool


async def read_body(answer: Answer, how: How, file: File, meter: Meter, shelf: Shelf) -> Read:
    """Read a body that should be the whole file, no further than need be; one read to its end goes to the shelf.

    Raises LoginPage, NotAWheel, NotAnSdist, BadReply, Truncated, HashMismatch, BadZip, MetadataMissing,
    NotStatic, MetadataMismatch.
    """
    reply = answer.reply
    if isinstance(verdict := decide_whole(reply), Untrusted):
        raise BadReply(reply.url, verdict.reason)
    size = reply.body_size or file.size
    meter.whole, meter.size = True, size
    if meter.spent > SLACK:
        raise BadReply(reply.url, "the whole file, after segments of it")
    head = await read_head(answer)
    if error := await not_as_named(answer, head, file.filename):
        raise error
    if file.size is not None and size is not None and size < file.size:
        raise Truncated(reply.url, received=size, expected=file.size)
    if file.size is not None and size is not None and size > file.size:
        raise BadReply(reply.url, f"{size} bytes, where the index names {file.size}")
    spool = Spool(Digest(file.hashes), batch=answer.response.batch)
    try:
        walked, is_whole = await _stream(answer, head, file, spool)
        found = await _conclude(walked, file, spool, how, is_whole)
    except BaseException:
        spool.close()
        raise
    if is_whole:
        shelf.put(file.url, spool)
    else:
        spool.close()
    return found


async def _stream(answer: Answer, head: bytes, file: File, spool: Spool) -> tuple[Verdict | SdistVerdict, bool]:
    """Walk the body as it comes; stop at METADATA if much of it is left.  Tell also whether it was read to its end."""
    size = answer.reply.body_size or file.size
    walk = _walk_for(file, size)
    verdict: Verdict | SdistVerdict = NeedMore()
    chunk = head
    while chunk:
        await spool.write(chunk)
        if file.size is not None and spool.size > file.size:
            raise BadReply(answer.reply.url, f"more than the {file.size} bytes that the index names")
        if walk is not None:
            verdict = await (walk_on(walk, chunk) if isinstance(walk, SdistWalk) else _walk_on(walk, chunk))
        if isinstance(verdict, Found | PkgInfo) and (size is None or size - spool.size > REST):
            answer.response.abandon()
            return verdict, False
        chunk = await answer.response.read_some()
    if file.size is not None and spool.size < file.size:
        raise Truncated(answer.reply.url, received=spool.size, expected=file.size)
    await spool.flush()
    if not spool.digest.matches:
        raise spool.digest.mismatch(file.filename, file.url)
    return verdict, True


def _walk_for(file: File, size: int | None) -> Walk | SdistWalk | None:
    """Return what looks at the body as it comes; None where its directory says all, and will be seen anyway."""
    if file.is_wheel:
        return Walk(file.filename) if size is None or size > REST else None
    return SdistWalk(file.filename) if is_tar(file.filename) else None


async def _conclude(verdict: Verdict | SdistVerdict, file: File, spool: Spool, how: How, is_whole: bool) -> Read:
    """Return the METADATA of a body that was walked, or read to its end."""
    if is_tar(file.filename):
        raw = found_in(file.filename, verdict)
        return Read(
            raw, *check_identity(file.filename, raw, file.project), how, is_whole and spool.digest.expected is not None
        )
    if isinstance(verdict, Found) and not is_whole:
        walked = walked_metadata(file.filename, verdict)
        return Read(walked.raw, walked.name, walked.version, how, False)
    plan = plan_metadata(file.filename, spool.size, project=file.project)
    found = await read_plan(plan, spool.read, spool.size)
    return Read(found.raw, found.name, found.version, how, True)


async def _walk_on(walk: Walk, chunk: bytes) -> Verdict:
    """Feed a chunk in pieces, so that what inflates a thousandfold does not hold the loop."""
    verdict: Verdict = NeedMore()
    for start in range(0, len(chunk), STEP):
        before = walk.inflated
        verdict = walk.feed(chunk[start : start + STEP])
        if walk.inflated - before > MUCH:
            await checkpoint()
    return verdict
