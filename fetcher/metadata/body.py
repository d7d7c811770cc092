"""A body that is the whole wheel: local headers are read as they stream by.

It is read no further than need be: METADATA that comes early ends it, and is then unverified, since the directory was
not seen.  A body that was read to its end is checked against the index's digest and its own directory, and kept.
"""

from typing import Literal, NamedTuple

from anyio.lowlevel import checkpoint

from fetcher.content import not_a_wheel, read_head, read_plan
from fetcher.digest import Digest
from fetcher.errors import BadReply, Truncated
from fetcher.index.files import File
from fetcher.spool import Shelf, Spool
from fetcher.transport.reply import Untrusted, decide_whole
from fetcher.transport.transport import Answer, Meter
from fetcher.wheel.plan import WheelMetadata, plan_metadata, walked_metadata
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
    """Read a body that should be the whole wheel, no further than need be; one read to its end goes to the shelf.

    Raises LoginPage, NotAWheel, BadReply, Truncated, HashMismatch, BadZip, MetadataMissing, MetadataMismatch.
    """
    reply = answer.reply
    if isinstance(verdict := decide_whole(reply), Untrusted):
        raise BadReply(reply.url, verdict.reason)
    size = reply.body_size or file.size
    meter.whole, meter.size = True, size
    if meter.spent > SLACK:
        raise BadReply(reply.url, "the whole file, after segments of it")
    head = await read_head(answer)
    if error := await not_a_wheel(answer, head, file.filename):
        raise error
    if file.size is not None and size is not None and size < file.size:
        raise Truncated(reply.url, received=size, expected=file.size)
    if file.size is not None and size is not None and size > file.size:
        raise BadReply(reply.url, f"{size} bytes, where the index names {file.size}")
    spool = Spool(Digest(file.hashes), batch=answer.response.batch)
    try:
        found = await _stream(answer, head, file, spool)
    except BaseException:
        spool.close()
        raise
    if isinstance(found, Found):
        spool.close()
        walked = walked_metadata(file.filename, found)
        return Read(walked.raw, walked.name, walked.version, how, False)
    shelf.put(file.url, spool)
    return Read(found.raw, found.name, found.version, how, True)


async def _stream(answer: Answer, head: bytes, file: File, spool: Spool) -> Found | WheelMetadata:
    """Walk the body as it comes; stop at METADATA if much of it is left, else let the directory decide."""
    size = answer.reply.body_size or file.size
    # One that will be read to its end whatever is found on the way is not walked.
    walk = Walk(file.filename) if size is None or size > REST else None
    chunk = head
    while chunk:
        await spool.write(chunk)
        if file.size is not None and spool.size > file.size:
            raise BadReply(answer.reply.url, f"more than the {file.size} bytes that the index names")
        found = await _walk_on(walk, chunk) if walk is not None else None
        if isinstance(found, Found) and (size is None or size - spool.size > REST):
            answer.response.abandon()
            return found
        chunk = await answer.response.read_some()
    if file.size is not None and spool.size < file.size:
        raise Truncated(answer.reply.url, received=spool.size, expected=file.size)
    await spool.flush()
    if not spool.digest.matches:
        raise spool.digest.mismatch(file.filename, file.url)
    return await read_plan(plan_metadata(file.filename, spool.size), spool.read, spool.size)


async def _walk_on(walk: Walk, chunk: bytes) -> Verdict:
    """Feed a chunk in pieces, so that what inflates a thousandfold does not hold the loop."""
    verdict: Verdict = NeedMore()
    for start in range(0, len(chunk), STEP):
        before = walk.inflated
        verdict = walk.feed(chunk[start : start + STEP])
        if walk.inflated - before > MUCH:
            await checkpoint()
    return verdict
