"""What would be sent to a URL, and why: the scope rules made visible by asking for its first bytes."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from fetcher.auth.middleware import Authenticator, Hop
from fetcher.content import login_page
from fetcher.errors import FetcherError
from fetcher.index.scope import Index, Policy
from fetcher.index.urls import parse_url, realm_of, redact, split_userinfo
from fetcher.segments import Segment
from fetcher.transport.reply import Partial, Refused, Unsatisfiable, Whole, decide_reaction
from fetcher.transport.transport import Answer, Meter, Request, Transport
from fetcher.wheel.sniff import Kind, looks_like_login, sniff

__all__ = ["Explanation", "HopReport", "Ranges", "explain"]

Ranges = Literal["supported", "ignored", "refused", "wrong"]

# Enough to see what the body is, and to see whether ranges work.
LOOK = Segment(0, 1024)
REFUSALS = frozenset({405, 416, 501})
TITLE = 64 * 1024


@dataclass(frozen=True)
class HopReport:
    """One request: where to, the index it belongs to and why, the policy, what was sent, what came back."""

    url: str
    index: str | None
    scope: str | None
    policy: Policy
    sent: str | None
    signed: bool
    status: int | None


@dataclass(frozen=True)
class Explanation:
    """What asking a URL did.

    `hops` has one entry a request, redirects in order.  `ranges` and `content` (what the first bytes are) are None when
    there was no body.  `if_listed_by` names the indexes of the same realm: were the URL listed by one of their
    pages, it would belong to that one.  `error` is what stopped it.
    """

    url: str
    hops: tuple[HopReport, ...]
    ranges: Ranges | None = None
    content: Kind | None = None
    if_listed_by: tuple[str, ...] = ()
    error: FetcherError | None = None


async def explain(transport: Transport, auth: Authenticator, indexes: Iterable[Index], url: str) -> Explanation:
    """Ask for the first bytes of a URL, and report each hop; failures are part of the report."""
    meter = Meter()
    ranges: Ranges | None = None
    content: Kind | None = None
    error: FetcherError | None = None
    request = Request(url, wanted=LOOK, handled=REFUSALS, patient=False)
    try:
        ranges, content = await transport.ask(request, _consume, meter)
    except FetcherError as failed:
        error = failed
    hops = tuple(_report(hop) for hop in meter.hops)
    bare, userinfo = split_userinfo(parse_url(url))
    listing: tuple[str, ...] = ()
    if auth.hop(bare, userinfo, None).scope is None:
        realm = realm_of(bare)
        listing = tuple(index.label for index in indexes if realm_of(parse_url(index.url)) == realm)
    return Explanation(redact(url), hops, ranges, content, listing, error)


async def _consume(answer: Answer) -> tuple[Ranges, Kind | None]:
    reply = answer.reply
    match decide_reaction(reply, LOOK, refusals=REFUSALS):
        case Partial():
            ranges: Ranges = "supported"
        case Whole():
            ranges = "ignored"
        case Refused() | Unsatisfiable():
            return "refused", None
        case _:
            ranges = "wrong"
    body = await answer.response.read_up_to(len(LOOK))
    kind = sniff(body)
    if kind == "html":
        body += await answer.response.read_up_to(TITLE - len(body))
        if looks_like_login(body, parse_url(reply.url).path):
            raise login_page(answer, body, "the URL's content")
    return ranges, kind


def _report(hop: Hop) -> HopReport:
    scope = None if hop.scope is None else str(hop.scope)
    return HopReport(redact(hop.url), hop.index, scope, hop.policy, hop.sent, hop.signed, hop.status)
