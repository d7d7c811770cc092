"""What came instead: the bytes of an answer -> the error that says so.

Magic decides, not Content-Type: a login page is HTML whatever it calls itself.
"""

from collections.abc import Awaitable, Callable

from anyio.lowlevel import checkpoint

from fetcher.errors import BadReply, LoginPage, MetadataMissing, NotAnSdist, NotAWheel, NotStatic
from fetcher.index.files import File
from fetcher.sdist.unpack import archive_kind, is_tar
from fetcher.sdist.walk import Absent, Busy, Missing, PkgInfo, SdistVerdict, SdistWalk
from fetcher.segments import Piece, Suffix
from fetcher.transport.transport import Answer
from fetcher.wheel.plan import Plan, WheelMetadata, plan_metadata
from fetcher.wheel.sniff import Kind, describe, gunzip, html_title, sniff

__all__ = [
    "TITLE",
    "found_in",
    "login_page",
    "not_as_named",
    "read_head",
    "read_plan",
    "read_raw_metadata",
    "sniff_head",
    "walk_on",
]

# What is looked at before a body is believed: room for a BOM, comments and white space before the first tag.
HEAD = 1024
# How much of an HTML page is read for its title.
TITLE = 64 * 1024
# A byte order mark and white space say nothing about what follows; some templates begin with kilobytes of line breaks.
WHITE = b"\xef\xbb\xbf \t\r\n\f\v"
# Of an archive that is here already, so much is looked at in one go.
PIECE = 256 * 1024
PAGES = frozenset({"html", "json", "xml"})


async def read_head(answer: Answer) -> bytes:
    """Return at least the first `HEAD` bytes of the body, or all of it; more if it begins with white space alone."""
    head = await answer.response.read_up_to(HEAD)
    while not head.strip(WHITE) and 0 < len(head) < TITLE and (more := await answer.response.read_some()):
        head += more
    return head


def sniff_head(head: bytes) -> Kind:
    """Say what a body is that begins so, however much white space comes first."""
    kind = sniff(head[:HEAD])
    if kind == "other" and (text := sniff(head.lstrip(WHITE)[:HEAD])) in PAGES:
        return text
    return kind


async def not_as_named(
    answer: Answer, head: bytes, expected: str
) -> LoginPage | NotAWheel | NotAnSdist | BadReply | None:
    """Return what is wrong with a body that begins with `head` and should be the file `expected`; None if it may be."""
    return await (_not_a_wheel if expected.endswith(".whl") else _not_an_sdist)(answer, head, expected)


async def _not_a_wheel(answer: Answer, head: bytes, expected: str) -> LoginPage | NotAWheel | None:
    """Return what is wrong with a body that begins with `head` and should be a zip; None if it is one."""
    kind = sniff_head(head)
    if kind == "zip":
        return None
    body = await _read_page(answer, head, kind)
    if kind == "html":
        return login_page(answer, body, expected)
    return NotAWheel(answer.reply.url, expected, kind, describe(body, kind))


async def _not_an_sdist(answer: Answer, head: bytes, expected: str) -> LoginPage | NotAnSdist | BadReply | None:
    """Return what is wrong with a body that begins with `head`; None if nothing is.

    It should be the archive that its name, `expected`, says; under another name anything but HTML or nothing.  Some
    servers label a .tar.gz as encoded, so that its encoding is not undone: a page that was compressed on the way, and
    an archive that was compressed once more, are seen for what they are here.
    """
    kind = sniff_head(head)
    wanted = archive_kind(expected)
    if kind == "gzip" and wanted is not None:
        within = sniff_head(gunzip(head, TITLE))
        if within in PAGES:
            page = gunzip(await _read_page(answer, head, within), TITLE)
            return _no_sdist(answer, page, within, expected)
        if within == wanted and answer.reply.content_encoding:
            return BadReply(answer.reply.url, f"{expected} compressed, where no encoding was asked for")
    if kind == wanted or (wanted is None and kind not in ("html", "empty")):
        return None
    return _no_sdist(answer, await _read_page(answer, head, kind), kind, expected)


def _no_sdist(answer: Answer, body: bytes, kind: Kind, expected: str) -> LoginPage | NotAnSdist:
    if kind == "html":
        return login_page(answer, body, expected)
    return NotAnSdist(answer.reply.url, expected, kind, describe(body, kind))


async def _read_page(answer: Answer, head: bytes, kind: Kind) -> bytes:
    """Read more of a page, for its title or message; of anything else the head is enough."""
    if kind not in PAGES or len(head) >= TITLE:
        return head
    return head + await answer.response.read_up_to(TITLE - len(head))


def login_page(answer: Answer, body: bytes, expected: str) -> LoginPage:
    """Return the error for an HTML page where `expected` should be."""
    first = answer.hops[0]
    return LoginPage(
        expected=expected,
        url=str(first.url),
        final_url=answer.reply.url,
        status=answer.reply.status,
        title=html_title(body),
        index=first.index,
        scope=None if first.scope is None else str(first.scope),
        policy=first.policy,
        sent=next((hop.sent for hop in answer.hops if hop.sent and hop.index == first.index), None),
    )


async def read_plan(plan: Plan, read: Callable[[int, int], Awaitable[bytes]], size: int) -> WheelMetadata:
    """Follow a plan over a file of `size` bytes that is already here; `read(start, stop)` returns its bytes.

    Raises ContentError as the plan does.
    """
    wanted = next(plan)
    while True:
        segment = wanted.of(size) if isinstance(wanted, Suffix) else wanted
        data = await read(segment.start, segment.stop)
        try:
            wanted = plan.send(Piece(segment.start, data, size))
        except StopIteration as done:
            found: WheelMetadata = done.value
            return found


async def read_raw_metadata(file: File, read: Callable[[int, int], Awaitable[bytes]], size: int) -> bytes:
    """Return the METADATA of a wheel, or the PKG-INFO of a source distribution, that is already here.

    Raises ContentError: BadZip, MetadataMissing, NotStatic, MetadataMismatch.
    """
    if not is_tar(file.filename):
        return (await read_plan(plan_metadata(file.filename, size, project=file.project), read, size)).raw
    walk = SdistWalk(file.filename)
    verdict: SdistVerdict | None = None
    for start in range(0, size, PIECE):
        verdict = await walk_on(walk, await read(start, min(size, start + PIECE)))
        if isinstance(verdict, PkgInfo):
            break
    return found_in(file.filename, verdict)


async def walk_on(walk: SdistWalk, chunk: bytes) -> SdistVerdict:
    """Feed a chunk, and let others have their turn between the steps: a little may unpack to very much."""
    verdict = walk.feed(chunk)
    while isinstance(verdict, Busy):
        await checkpoint()
        verdict = walk.feed(b"")
    return verdict


def found_in(filename: str, verdict: object) -> bytes:
    """Return the PKG-INFO that a walk found, after the whole archive at the latest.

    Raises NotStatic if there is none, MetadataMissing if it cannot be reached.
    """
    match verdict:
        case PkgInfo(raw):
            return raw
        case Absent():
            raise NotStatic(filename, "", has_pkg_info=False)
        case Missing(reason):
            raise MetadataMissing(filename, reason)
        case _:
            raise MetadataMissing(filename, "the archive ends in the middle")
