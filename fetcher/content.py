"""What came instead: the bytes of an answer -> the error that says so.

Magic decides, not Content-Type: a login page is HTML whatever it calls itself.
"""

from collections.abc import Awaitable, Callable

from fetcher.errors import LoginPage, NotAWheel
from fetcher.segments import Piece, Suffix
from fetcher.transport.transport import Answer
from fetcher.wheel.plan import Plan, WheelMetadata
from fetcher.wheel.sniff import Kind, describe, html_title, sniff

__all__ = ["TITLE", "login_page", "not_a_wheel", "other_content", "read_head", "read_plan", "sniff_head"]

# What is looked at before a body is believed: room for a BOM, comments and white space before the first tag.
HEAD = 1024
# How much of an HTML page is read for its title.
TITLE = 64 * 1024
# A byte order mark and white space say nothing about what follows; some templates begin with kilobytes of line breaks.
WHITE = b"\xef\xbb\xbf \t\r\n\f\v"


async def read_head(answer: Answer) -> bytes:
    """Return at least the first `HEAD` bytes of the body, or all of it; more if it begins with white space alone."""
    head = await answer.response.read_up_to(HEAD)
    while not head.strip(WHITE) and 0 < len(head) < TITLE and (more := await answer.response.read_some()):
        head += more
    return head


def sniff_head(head: bytes) -> Kind:
    """Say what a body is that begins so, however much white space comes first."""
    kind = sniff(head[:HEAD])
    if kind == "other" and (text := sniff(head.lstrip(WHITE)[:HEAD])) in ("html", "json", "xml"):
        return text
    return kind


async def not_a_wheel(answer: Answer, head: bytes, expected: str) -> LoginPage | NotAWheel | None:
    """Return what is wrong with a body that begins with `head` and should be a zip; None if it is one."""
    kind = sniff_head(head)
    return None if kind == "zip" else await other_content(answer, head, kind, expected)


async def other_content(answer: Answer, head: bytes, kind: Kind, expected: str) -> LoginPage | NotAWheel:
    """Return the error for a body of another kind than zip; reads more of the body for its title."""
    if kind not in ("html", "json", "xml"):
        return NotAWheel(answer.reply.url, expected, kind)
    body = head + await answer.response.read_up_to(TITLE - len(head)) if len(head) < TITLE else head
    if kind == "html":
        return login_page(answer, body, expected)
    return NotAWheel(answer.reply.url, expected, kind, describe(body, kind))


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
