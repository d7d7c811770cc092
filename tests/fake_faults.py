"""The faults of package indexes as values. `fake_answers` says what each does, `fake_index` serves them.

Numbers are issues of the project named: where the behaviour was seen. A fault belongs to one of three kinds:

    Instead   the server answers something else           Status, LoginPage, RedirectTo, SuffixRefused, ...
    Has       its file is another, or serves otherwise    IgnoreRanges, ChangedFile, TruncatedFile, Etag, ...
    Says      it sends the right answer in a wrong way    WrongContentRange, ShortBody, Cut, Stall, Gzip, ...

The kinds are applied in that order, faults of one kind in the order given. The first `Instead` that answers ends it.
`times` and `first` count the requests for one path that came as far as this fault: `(Status(503, times=2),
Cut(1000, times=1))` answers 503, 503, a cut body, then honestly. `Only` gives any fault such a count.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

BodyKind: TypeAlias = Literal["html", "json", "xml", "text", "empty"]

# --- Instead -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Status:
    """This status, the first `times` times or always.

    401, 403, 404: every private index; PyPI's files host sends 503 (warehouse 15799). A 200 with a JSON, XML or empty
    body in a file's place: proxies and S3 look-alikes. `body="empty"` has no Content-Type, as Nexus' 401 (uv 1754).
    size: the body is padded to so many bytes, as the error pages of large sites are. wait: it comes after so many
    seconds, as from a queue that gives up.
    """

    code: int
    times: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: BodyKind = "html"
    size: int = 0
    wait: float = 0


@dataclass(frozen=True)
class LoginPage:
    """A login page where a page or file should be: at once with 200, or by way of 302 to `/+login`.

    devpi-lockdown and any single sign-on (uv 13737, 3687); captive portals and TLS-inspecting proxies send it for
    anything. size: padded to so many bytes. lead: what stands before the doctype. cookie: a Set-Cookie value.
    accept_ranges: the header is sent. honours_range: a Range is answered with 206 and a part of the page.
    """

    redirect: bool = False
    title: str = "Sign in"
    content_type: str | None = "text/html; charset=utf-8"
    size: int = 0
    bom: bool = False
    upper: bool = False
    lead: str = ""
    accept_ranges: bool = False
    honours_range: bool = False
    cookie: str = ""


@dataclass(frozen=True)
class RedirectTo:
    """To `base`, a URL or a path, with the last segment of the requested path appended.

    GitLab's 302 to the public index (uv 7359), Google's download endpoint (poetry 9030), GitHub-like CDNs.
    """

    base: str
    status: int = 302
    query: str = ""
    userinfo: str = ""


@dataclass(frozen=True)
class RedirectLoop:
    """To itself: a single sign-on that never sees its cookie."""

    status: int = 302


@dataclass(frozen=True)
class RedirectChain:
    """So many hops on the same server (`?hop=1`, `?hop=2`, ...), then the real answer."""

    hops: int
    status: int = 302


@dataclass(frozen=True)
class Presigned:
    """To `base` as `RedirectTo`, each time with a new signature that is good for the method that asked.

    S3 behind pypicloud and Gemfury (uv 2025, 2843, 3070), Azure's 303 to blob storage (uv 1458). The other server
    has the fault `SignedOnly`. key: the query key that holds the signature.
    """

    base: str
    status: int = 302
    key: str = "X-Amz-Signature"


@dataclass(frozen=True)
class SignedOnly:
    """Object storage: 403 without a signature or for another method, 400 to an Authorization header beside it.

    S3, CloudFront (poetry 3303, 4497; uv 13248). uses: a signature expires after so many requests, with 403.
    """

    uses: int | None = None
    key: str = "X-Amz-Signature"


@dataclass(frozen=True)
class SuffixRefused:
    """This status to a suffix range (`bytes=-N`); absolute ranges are served.

    501 PyPI's files host (warehouse 12823), 500 Google (poetry 9026), 404 Nexus (nexus-public 346).
    longer_only: only if N exceeds the file, as Artifactory's 416 (conda-package-streaming 132).
    tells_total: with `Content-Range: bytes */total`, as RFC 9110 wants it of a 416. size: that of the error page.
    """

    status: int = 501
    longer_only: bool = False
    tells_total: bool = False
    size: int = 0


@dataclass(frozen=True)
class RangesRefused:
    """This status to any range: web application firewalls, some proxies (403, 416, 501). size: of the error page."""

    status: int = 416
    size: int = 0


@dataclass(frozen=True)
class HeadLies:
    """HEAD is answered wrongly, GET rightly.

    405 Azure (uv 11379) and pypiserver (uv 13324), 400 Alibaba OSS (uv 11501), 403 pypicloud (uv 2843);
    200 with Content-Length 0: nginx set up wrongly (uv 17943).
    """

    status: int = 405


@dataclass(frozen=True)
class HangUp:
    """The connection is closed before any answer, the first `times` times: an idle connection timed out."""

    times: int | None = None


Instead: TypeAlias = (
    Status | LoginPage | RedirectTo | RedirectLoop | RedirectChain | Presigned | SignedOnly | SuffixRefused
    | RangesRefused | HeadLies | HangUp
)  # fmt: skip

# --- Has ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class IgnoreRanges:
    """200 and the whole file to any range; `Accept-Ranges: bytes` is still advertised, or not.

    Artifactory advertises them (pip 8723); `python -m http.server` does not.
    """

    accept_ranges: bool = True


@dataclass(frozen=True)
class SuffixAsPrefix:
    """`bytes=-N` read as `bytes=0-N`: Artifactory (poetry 9056); N+1 bytes of the wrong end, rightly labelled."""


@dataclass(frozen=True)
class FirstWholeThenRanges:
    """200 to the first requests for a file, whatever the range, 206 later: a CDN that fills its cache."""

    first: int = 1


@dataclass(frozen=True)
class ChangedFile:
    """After so many requests the file is `content`, with its own ETag: a release replaced in place, a CDN purge.

    With after=0 the page's size and hash are wrong from the beginning.
    """

    content: bytes
    after: int = 1


@dataclass(frozen=True)
class TruncatedFile:
    """Only the first `keep` bytes exist, and are served as if they were all (warehouse 15799, broken mirrors)."""

    keep: int


@dataclass(frozen=True)
class Etag:
    """fresh: another one each time (CDN edges; If-Range is then never met); weak: `W/"..."`; absent."""

    kind: Literal["fresh", "weak", "absent"]


@dataclass(frozen=True)
class IgnoreIfRange:
    """206 to any range, whatever If-Range says of the file's version: home-made range code, caches that hold parts."""


@dataclass(frozen=True)
class ContentType:
    """This Content-Type, or none: Nexus' pages (uv 1754)."""

    value: str | None


Has: TypeAlias = (
    IgnoreRanges | SuffixAsPrefix | FirstWholeThenRanges | ChangedFile | TruncatedFile | Etag | IgnoreIfRange
    | ContentType
)  # fmt: skip

# --- Says --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WrongContentRange:
    """The right part under a wrong Content-Range (caching proxies, home-made range code).

    shifted: one byte later; other_total: one byte more; star: total unknown, which RFC 9110 allows;
    whole: claims all of the file; unit: items instead of bytes.
    """

    kind: Literal["shifted", "missing", "other_total", "star", "whole", "malformed", "unit"]


@dataclass(frozen=True)
class ShiftedBody:
    """The right Content-Range over bytes that lie `by` later in the file (zeros outside of it)."""

    by: int = 1


@dataclass(frozen=True)
class ShortBody:
    """The right Content-Range, `missing` bytes too few: under an honest Content-Length, or cut off."""

    missing: int = 1
    cut: bool = False


@dataclass(frozen=True)
class LongBody:
    """The right Content-Range, `extra` bytes too many: Artifactory (poetry 9056)."""

    extra: int = 1


@dataclass(frozen=True)
class WiderRange:
    """More than was asked for, `by` bytes at either side where there are any, rightly labelled: block caches."""

    by: int = 512


@dataclass(frozen=True)
class MultipartRange:
    """206 `multipart/byteranges` to a single range, which RFC 9110 §14.6 forbids."""


@dataclass(frozen=True)
class PartialAs200:
    """The part and its Content-Range under status 200: rclone's `serve s3`."""


@dataclass(frozen=True)
class UnaskedPart:
    """206 and the first `stop` bytes to a request without Range: caches that hold a part and take it for an answer."""

    stop: int


@dataclass(frozen=True)
class Stating:
    """These headers besides: a Content-Disposition, a Set-Cookie; an empty value takes one away."""

    headers: Mapping[str, str]


@dataclass(frozen=True)
class Gzip:
    """gzip although identity was asked for, on 200, 206 or both (gzip-happy mirrors, uv 1978).

    length: Content-Length is that of the gzip bytes, that of the original, or lost (chunked).
    """

    status: Literal[200, 206, "both"] = "both"
    length: Literal["right", "original", "lost"] = "right"


@dataclass(frozen=True)
class NoContentLength:
    """The body's end is told by chunks, or only by the closed connection; with `Cut` the latter ends too early."""

    framing: Literal["chunked", "close"] = "chunked"


@dataclass(frozen=True)
class Cut:
    """The connection closes after so many bytes of the body, the first `times` times (warehouse 15799).

    reset: by RST, which may overtake bytes already sent; otherwise by FIN after them.
    """

    after: int
    times: int | None = None
    reset: bool = False


@dataclass(frozen=True)
class Silence:
    """Nothing at all, not even a status line, for so long, the first `times` times."""

    seconds: float
    times: int | None = None


@dataclass(frozen=True)
class Stall:
    """Nothing for so long after so many bytes of the body, the first `times` times; then the rest."""

    after: int
    seconds: float
    times: int | None = None


@dataclass(frozen=True)
class SlowDrip:
    """The body at this rate; shared: divided among all requests that are being answered, as by a full line."""

    bytes_per_second: int
    shared: bool = False


Says: TypeAlias = (
    WrongContentRange | ShiftedBody | ShortBody | LongBody | WiderRange | MultipartRange | PartialAs200 | UnaskedPart
    | Stating | Gzip | NoContentLength | Cut | Silence | Stall | SlowDrip
)  # fmt: skip

# --- any of them, sometimes --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Only:
    """A fault that the first `after` requests for a path are spared, and after `times` more the others too."""

    fault: Instead | Has | Says
    after: int = 0
    times: int | None = None


Fault: TypeAlias = Instead | Has | Says | Only
