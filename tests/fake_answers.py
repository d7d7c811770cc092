"""From a request and a file to an answer, honest (`serve`) or not. Pure: no socket, no clock."""

from __future__ import annotations

import gzip
import html
import re
import zlib
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal, TypeAlias, assert_never
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from fake_faults import (
    ChangedFile,
    ContentType,
    Cut,
    Etag,
    FirstWholeThenRanges,
    Gzip,
    HangUp,
    Has,
    HeadLies,
    IgnoreIfRange,
    IgnoreRanges,
    Instead,
    LoginPage,
    LongBody,
    MultipartRange,
    NoContentLength,
    PartialAs200,
    Presigned,
    RangesRefused,
    RedirectChain,
    RedirectLoop,
    RedirectTo,
    Says,
    ShiftedBody,
    ShortBody,
    SignedOnly,
    Silence,
    SlowDrip,
    Stall,
    Stating,
    Status,
    SuffixAsPrefix,
    SuffixRefused,
    TruncatedFile,
    UnaskedPart,
    WiderRange,
    WrongContentRange,
)
from multidict import CIMultiDict

if TYPE_CHECKING:
    import mmap
    from collections.abc import Iterator, Mapping

    from fake_faults import BodyKind

    Content: TypeAlias = bytes | mmap.mmap

CHUNK = 16 * 1024  # so little is handed to the transport at once: a client that closes early is seen to
LOGIN_PATH = "/+login"


@dataclass(frozen=True)
class Ask:
    """The facts of one request."""

    method: str
    target: str
    headers: Mapping[str, str]

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query))


@dataclass(frozen=True)
class Resource:
    """What is served at a path, and how its server reads a Range."""

    content: Content
    content_type: str | None
    etag: str | None
    accept_ranges: bool = True
    ranges: Literal["honoured", "ignored", "suffix_as_prefix"] = "honoured"
    if_range: bool = True


@dataclass(frozen=True)
class Answer:
    """What goes out, and how. `span` is the part of `content` that a 206 answers with."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    content: Content = b""
    span: range | None = None
    framing: Literal["length", "chunked", "close"] = "length"
    hang_up: bool = False
    delay: float = 0
    cut_after: int | None = None
    reset: bool = False
    stall_after: int | None = None
    stall_seconds: float = 0
    bytes_per_second: int | None = None
    shares: bool = False

    def stating(self, **headers: str | None) -> Answer:
        """The answer with these headers, written with underscores; None takes one away."""
        stated = CIMultiDict(self.headers)
        for key, value in headers.items():
            name = key.replace("_", "-")
            stated.pop(name, None)
            if value is not None:
                stated[name] = value
        return replace(self, headers=stated)

    def pieces(self) -> Iterator[tuple[float, bytes]]:
        """The body as it is to be written: (seconds to wait first, at most `CHUNK` bytes)."""
        ticks = 20  # writes a second of a slow body
        step = min(CHUNK, max(1, self.bytes_per_second // ticks)) if self.bytes_per_second else CHUNK
        body = self.body[: self.cut_after]
        start = 0
        while start < len(body):
            stop = start + step
            if self.stall_after is not None and start < self.stall_after < stop:
                stop = self.stall_after
            piece = body[start:stop]
            pause = self.stall_seconds if start == self.stall_after else 0.0
            yield pause + (len(piece) / self.bytes_per_second if self.bytes_per_second else 0.0), piece
            start = stop


def parse_range(header: str | None, total: int) -> range | None:
    """The bytes asked for, empty if the file has none of them; None if the header is to be ignored (RFC 9110 §14.2)."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header or "")
    if match is None or match[0] == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        return range(max(0, total - int(last)), total)
    if last and int(last) < int(first):
        return None
    return range(int(first), min(int(last) + 1, total) if last else total)


def serve(ask: Ask, resource: Resource | None) -> Answer:
    """What RFC 9110 says: GET and HEAD, single ranges, If-Range, If-None-Match."""
    if resource is None:
        return _plain(404)
    if ask.method not in {"GET", "HEAD"}:
        return _plain(405)
    whole = Answer(200, content=resource.content).stating(
        Content_Type=resource.content_type,
        ETag=resource.etag,
        Accept_Ranges="bytes" if resource.accept_ranges else None,
    )
    if resource.etag is not None and ask.headers.get("If-None-Match") == resource.etag:
        return replace(whole, status=304)
    total = len(resource.content)
    span = parse_range(_range_heard(ask, resource), total)
    if span is None:
        return replace(whole, body=resource.content[:])
    if not span:
        return _plain(416).stating(Content_Range=f"bytes */{total}")
    part = replace(whole, status=206, body=resource.content[span.start : span.stop], span=span)
    return part.stating(Content_Range=_content_range(span, total))


def _range_heard(ask: Ask, resource: Resource) -> str | None:
    """The Range header, if it counts."""
    wanted = ask.headers.get("Range")
    validator = ask.headers.get("If-Range", resource.etag)
    # A weak validator never matches in If-Range (RFC 9110 §13.1.5).
    met = validator == resource.etag and not (validator or "").startswith("W/")
    outdated = resource.if_range and "If-Range" in ask.headers and not met
    if ask.method != "GET" or outdated or wanted is None or resource.ranges == "ignored":
        return None
    return wanted.replace("=-", "=0-") if resource.ranges == "suffix_as_prefix" else wanted


# --- what each fault does ----------------------------------------------------------------------------------------


def answer_instead(fault: Instead, ask: Ask, resource: Resource | None, nth: int) -> Answer | None:
    """The answer that this fault gives, or None if it does not concern this request, its `nth`."""
    match fault:
        case Status():
            plain = replace(_plain(fault.code, fault.body, fault.headers, fault.size), delay=fault.wait)
            return plain if _among_first(nth, fault.times) else None
        case LoginPage():
            login = f"{LOGIN_PATH}?goto_url={quote(ask.target, safe='')}"
            return _redirect(302, login) if fault.redirect else answer_login(fault, ask)
        case RedirectTo():
            return _redirect(fault.status, _location(fault.base, ask.target, fault.query, fault.userinfo))
        case RedirectLoop():
            return _redirect(fault.status, ask.target)
        case RedirectChain():
            hop = int(ask.query.get("hop", "0"))
            path = urlsplit(ask.target).path
            return _redirect(fault.status, f"{path}?hop={hop + 1}") if hop < fault.hops else None
        case Presigned():
            query = f"X-Amz-Expires=300&{fault.key}={ask.method}-{nth:08x}"
            return _redirect(fault.status, _location(fault.base, ask.target, query))
        case SignedOnly():
            return _check_signature(fault, ask, nth)
        case SuffixRefused():
            total = len(resource.content) if resource is not None else 0
            refusal = _plain(fault.status, size=fault.size).stating(
                Content_Range=f"bytes */{total}" if fault.tells_total else None
            )
            return refusal if _suffix(ask) > (total if fault.longer_only else -1) else None
        case RangesRefused():
            return _plain(fault.status, size=fault.size) if "Range" in ask.headers else None
        case HeadLies():
            return _plain(fault.status, "empty") if ask.method == "HEAD" else None
        case HangUp():
            return Answer(0, hang_up=True) if _among_first(nth, fault.times) else None
        case _:
            assert_never(fault)


def alter(fault: Has, resource: Resource, nth: int) -> Resource:
    """The file as the server has it."""
    match fault:
        case IgnoreRanges():
            return replace(resource, ranges="ignored", accept_ranges=fault.accept_ranges)
        case SuffixAsPrefix():
            return replace(resource, ranges="suffix_as_prefix")
        case FirstWholeThenRanges():
            return replace(resource, ranges="ignored") if nth <= fault.first else resource
        case ChangedFile():
            changed = replace(resource, content=fault.content, etag=etag_of(fault.content))
            return changed if nth > fault.after else resource
        case TruncatedFile():
            kept = resource.content[: fault.keep]
            return replace(resource, content=kept, etag=etag_of(kept))
        case Etag("fresh"):
            return replace(resource, etag=f'"edge-{nth}"')
        case Etag("weak"):
            return replace(resource, etag=f"W/{resource.etag}")
        case Etag():
            return replace(resource, etag=None)
        case IgnoreIfRange():
            return replace(resource, if_range=False)
        case ContentType():
            return replace(resource, content_type=fault.value)
        case _:
            assert_never(fault)


def missay(fault: Says, answer: Answer, nth: int) -> Answer:
    """The answer as it goes out."""
    match fault:
        case (
            WrongContentRange()
            | ShiftedBody()
            | ShortBody()
            | LongBody()
            | WiderRange()
            | MultipartRange()
            | PartialAs200()
        ):
            return answer if answer.span is None else _missay_part(fault, answer, answer.span)
        case UnaskedPart(stop):
            if answer.status != 200 or answer.span is not None:
                return answer
            part = range(min(stop, len(answer.content)))
            cached = replace(answer, status=206, body=answer.content[: part.stop], span=part)
            return cached.stating(Content_Range=_content_range(part, len(answer.content)))
        case Stating():
            return answer.stating(**{name.replace("-", "_"): value or None for name, value in fault.headers.items()})
        case Gzip():
            return _compress(fault, answer) if fault.status in {answer.status, "both"} else answer
        case NoContentLength():
            return replace(answer, framing=fault.framing)
        case Cut():
            cut = replace(answer, cut_after=fault.after, reset=fault.reset)
            # A body that is no longer than that is whole, and there is nothing to cut but the empty last chunk.
            left = len(answer.body) - fault.after + (answer.framing == "chunked")
            return cut if _among_first(nth, fault.times) and left > 0 else answer
        case Silence():
            return replace(answer, delay=answer.delay + fault.seconds) if _among_first(nth, fault.times) else answer
        case Stall():
            stalled = replace(answer, stall_after=fault.after, stall_seconds=fault.seconds)
            return stalled if _among_first(nth, fault.times) else answer
        case SlowDrip():
            return replace(answer, bytes_per_second=fault.bytes_per_second, shares=fault.shared)
        case _:
            assert_never(fault)


def _missay_part(
    fault: WrongContentRange | ShiftedBody | ShortBody | LongBody | WiderRange | MultipartRange | PartialAs200,
    answer: Answer,
    span: range,
) -> Answer:
    match fault:
        case WrongContentRange():
            return answer.stating(Content_Range=_wrong_content_range(fault.kind, span, len(answer.content)))
        case ShiftedBody():
            before = b"\0" * max(0, -span.start - fault.by)
            moved = before + answer.content[max(0, span.start + fault.by) : max(0, span.stop + fault.by)]
            return replace(answer, body=moved.ljust(len(span), b"\0"))
        case ShortBody(missing, cut):
            kept = max(0, len(answer.body) - missing)
            return replace(answer, cut_after=kept) if cut else replace(answer, body=answer.body[:kept])
        case LongBody():
            following = answer.content[span.stop : span.stop + fault.extra]
            return replace(answer, body=answer.body + following.ljust(fault.extra, b"\0"))
        case WiderRange():
            wider = range(max(0, span.start - fault.by), min(len(answer.content), span.stop + fault.by))
            widened = replace(answer, body=answer.content[wider.start : wider.stop], span=wider)
            return widened.stating(Content_Range=_content_range(wider, len(answer.content)))
        case MultipartRange():
            head = f"--part\r\nContent-Range: {answer.headers.get('Content-Range', '')}\r\n\r\n".encode()
            multipart = replace(answer, body=head + answer.body + b"\r\n--part--\r\n")
            return multipart.stating(Content_Range=None, Content_Type="multipart/byteranges; boundary=part")
        case PartialAs200():
            return replace(answer, status=200)
        case _:
            assert_never(fault)


def _content_range(span: range, total: int | str) -> str:
    return f"bytes {span.start}-{span.stop - 1}/{total}"


def _wrong_content_range(kind: str, span: range, total: int) -> str | None:
    return {
        "shifted": _content_range(range(span.start + 1, span.stop + 1), total),
        "missing": None,
        "other_total": _content_range(span, total + 1),
        "star": _content_range(span, "*"),
        "whole": _content_range(range(total), total),
        "malformed": f"bytes {span.start} to {span.stop - 1} of {total}",
        "unit": _content_range(span, total).replace("bytes", "items"),
    }[kind]


def _compress(fault: Gzip, answer: Answer) -> Answer:
    compressed = replace(answer, body=gzip.compress(answer.body, mtime=0)).stating(Content_Encoding="gzip")
    match fault.length:
        case "right":
            return compressed
        case "original":
            return compressed.stating(Content_Length=str(len(answer.body)))
        case "lost":
            return replace(compressed, framing="chunked")
        case _:
            assert_never(fault.length)


def _among_first(nth: int, times: int | None) -> bool:
    return times is None or nth <= times


def _suffix(ask: Ask) -> int:
    """N of `bytes=-N`, else -1."""
    match = re.fullmatch(r"bytes=-(\d+)", ask.headers.get("Range", ""))
    return int(match[1]) if match else -1


def etag_of(content: Content) -> str:
    """A strong validator. Of a file on disk only the ends are read: it does not change, and may be large."""
    checked = content if isinstance(content, bytes) else content[:CHUNK] + content[-CHUNK:]
    return f'"{len(content):x}-{zlib.crc32(checked):08x}"'


# --- answers that are no file ------------------------------------------------------------------------------------


def _plain(status: int, body: BodyKind = "html", headers: Mapping[str, str] | None = None, size: int = 0) -> Answer:
    """A server's own words for a status, padded to `size` bytes."""
    phrase = HTTPStatus(status).phrase
    kinds: dict[BodyKind, tuple[str | None, str]] = {
        "html": ("text/html", f"<html><head><title>{status} {phrase}</title></head><body>{phrase}</body></html>"),
        "json": ("application/json", f'{{"errors": [{{"status": {status}, "message": "{phrase}"}}]}}'),
        "xml": ("application/xml", f'<?xml version="1.0"?><Error><Code>{phrase.replace(" ", "")}</Code></Error>'),
        "text": ("text/plain", phrase),
        "empty": (None, ""),
    }
    content_type, text = kinds[body]
    plain = Answer(status, text.encode().ljust(size), headers or {})
    return plain if "Content-Type" in plain.headers else plain.stating(Content_Type=content_type)


def _redirect(status: int, location: str) -> Answer:
    return _plain(status).stating(Location=location)


def _location(base: str, target: str, query: str, userinfo: str = "") -> str:
    path = urlsplit(target).path
    last = path.removesuffix("/").rpartition("/")[2] + ("/" if path.endswith("/") else "")
    url = f"{base.removesuffix('/')}/{last}" + (f"?{query}" if query else "")
    return url.replace("://", f"://{userinfo}@", 1) if userinfo else url


def _check_signature(fault: SignedOnly, ask: Ask, nth: int) -> Answer | None:
    if not ask.query.get(fault.key, "").startswith(f"{ask.method}-"):
        return _plain(403, "xml")
    if "Authorization" in ask.headers:
        return _plain(400, "xml")
    return None if _among_first(nth, fault.uses) else _plain(403, "xml")


def answer_login(page: LoginPage, ask: Ask) -> Answer:
    """The login page itself."""
    body = _login_html(page).encode("utf-8-sig" if page.bom else "utf-8")
    ranges: Literal["honoured", "ignored"] = "honoured" if page.honours_range else "ignored"
    answer = serve(ask, Resource(body, page.content_type, None, page.accept_ranges, ranges))
    return answer.stating(Set_Cookie=page.cookie or None, Cache_Control="no-store")


def _login_html(page: LoginPage) -> str:
    text = (
        f"{page.lead}<!doctype html>\n<html><head><title>{html.escape(page.title)}</title></head>\n"
        '<body><form method="post"><input name="username"><input name="password" type="password">'
        '<input type="submit" value="Sign in"></form></body></html>\n'
    )
    filler = max(0, page.size - len(text.encode()) - len("<!--  -->\n"))
    padded = f"{text}<!-- {'.' * filler} -->\n" if filler else text
    return padded.upper() if page.upper else padded
