"""URLs as the scope rules see them: realm, whole path segments, userinfo, redaction.

Rules (RFC 3986 §6.2.2 and §6.2.3, RFC 6454 §4):

* A realm is (scheme, host, effective port).  Host names are compared in lower case and IDNA form; a port that is the
  scheme's default equals no port; http is never https.
* Paths are compared by whole segments, after dot segments are resolved (`%2e` is a dot) and percent-encoding is
  normalised.  `%2F` stays inside its segment.
* URLs are parsed by yarl, the parser that aiohttp sends with, so that no URL means one thing to the scope rules and
  another on the wire.
* A URL is shown to people only after `redact`: no userinfo, no signatures, no tokens, no fragment.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

from yarl import URL

__all__ = [
    "Realm",
    "Userinfo",
    "file_name",
    "is_signed",
    "join",
    "parse_url",
    "realm_of",
    "redact",
    "segments_of",
    "split_userinfo",
    "without_secrets",
]

HIDDEN = "***"

# Query keys whose presence means "this URL carries its own permission" (AWS SigV4 and V2, Google, Azure SAS,
# CloudFront, Alibaba OSS, Akamai).  Compared in lower case.
_SIGNATURE_KEYS = frozenset(
    {
        "x-amz-signature",
        "x-goog-signature",
        "x-oss-signature",
        "sig",
        "signature",
        "key-pair-id",
        "hdnea",
        "hdnts",
    }
)
# Query keys whose values are secrets or lead to one; hidden besides those above.
_SECRET_KEY = re.compile(
    r"token|secret|passw|credential|signature|policy|api[-_]?key|access[-_]?key|accessid|auth|^(sig|key|code|jwt|pat|se|sp|sv)$",
    re.IGNORECASE,
)
# Most URLs: there is no place in them where anything could hide; nor in a fragment that is a digest.
_PLAIN = re.compile(r"(https?://[a-z0-9.:-]+(?:/[A-Za-z0-9/._~+-]*)?)(?:#[a-z0-9_]+=[A-Za-z0-9]*)?")
_INNER_KEY = re.compile(r"[?&;]([^=&;?]+)=")
_QUERY_TEXT = re.compile(r"\?\S*")


class Realm(NamedTuple):
    """Scheme, host (lower case, IDNA) and effective port: the widest place that credentials ever apply to."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = {"http": 80, "https": 443}[self.scheme]
        return f"{self.scheme}://{host}" if self.port == default else f"{self.scheme}://{host}:{self.port}"


@dataclass(frozen=True)
class Userinfo:
    """What stood before the `@`, percent-decoded.  `password` is None without a colon: `user@` is not `user:@`."""

    username: str = field(repr=False)
    password: str | None = field(default=None, repr=False)


def parse_url(text: str) -> URL:
    """Parse an absolute http(s) URL; path normalised, query kept to the letter (a signature may cover it).

    The fragment is dropped.  Raises ValueError with the redacted text when it is something else.
    """
    url = _parse(text.strip().partition("#")[0])
    if url is None:
        raise ValueError(f"{redact(text)!r} is not an http or https URL")
    return url


@lru_cache(maxsize=256)  # a URL is asked for its host, then sent; neighbours are few
def _parse(text: str) -> URL | None:
    try:
        url = URL(text)
        # A port out of range is found only when it is asked for.
        usable = url.scheme in ("http", "https") and bool(url.raw_host) and url.port is not None
    except ValueError:
        return None
    return _with_raw_query(url, text) if usable else None


def _with_raw_query(url: URL, text: str) -> URL:
    _, mark, query = text.strip().partition("#")[0].partition("?")
    if not mark or query == url.raw_query_string or not query.isascii() or not query.isprintable() or " " in query:
        return url.with_fragment(None)
    return URL(str(url.with_query(None).with_fragment(None)) + "?" + query, encoded=True)


def split_userinfo(url: URL) -> tuple[URL, Userinfo | None]:
    """Return the URL without its userinfo, and the userinfo."""
    if url.raw_user is None and url.raw_password is None:
        return url, None
    password = None if url.raw_password is None else unquote(url.raw_password)
    bare = URL.build(
        scheme=url.scheme,
        authority=url.raw_authority.rpartition("@")[2],
        path=url.raw_path,
        query_string=url.raw_query_string,
        encoded=True,
    )
    return bare, Userinfo(unquote(url.raw_user or ""), password)


def realm_of(url: URL) -> Realm:
    """Return the realm of an absolute http(s) URL."""
    return Realm(url.scheme, (url.raw_host or "").lower(), url.port or 0)


def segments_of(url: URL) -> tuple[str, ...]:
    """Return the path as whole segments, without the empty one that a trailing slash leaves."""
    path = url.raw_path[1:].removesuffix("/")
    return tuple(path.split("/")) if path else ()


def join(base: URL, reference: str) -> URL:
    """Resolve a reference, such as a `Location` header, against the URL it came from (RFC 3986 §5)."""
    absolute = URL(reference.strip())
    if not absolute.absolute:
        absolute = base.join(absolute)
    elif not absolute.scheme:
        absolute = absolute.with_scheme(base.scheme)
    return _with_raw_query(absolute, reference)


def is_signed(url: URL) -> bool:
    """Say whether the URL carries its own permission, so that an Authorization header would spoil it."""
    return bool(url.raw_query_string) and any(key.lower() in _SIGNATURE_KEYS for key in url.query)


def file_name(url: URL) -> str:
    """Return the last path segment, decoded once."""
    return unquote(url.raw_path.rpartition("/")[2])


def without_secrets(url: str) -> str:
    """Return an http(s) URL as it may be kept: without userinfo, and without a query that holds a signature."""
    if "@" not in url and "?" not in url:  # nearly all; a page may have ten thousand
        return url
    bare = str(split_userinfo(parse_url(url))[0])
    return bare if redact(bare) == bare else bare.partition("?")[0]


def redact(text: str | URL) -> str:
    """Return a URL as it may be shown: userinfo and secret-looking query values replaced by `***`, fragment dropped.

    Text that is no URL may have been meant as one, so of that nothing before the last `@` is shown.
    """
    text = str(text)
    if plain := _PLAIN.fullmatch(text):
        return plain[1]
    try:
        url = URL(text)
        bare, userinfo = split_userinfo(url)
    except ValueError:
        return _redact_text(text)
    if not url.scheme or not url.raw_host or _may_hide_userinfo(text):
        return _redact_text(text)
    shown = str(bare.with_query(None).with_fragment(None))
    if userinfo is not None:
        shown = shown.replace("://", f"://{HIDDEN}@", 1)
    query = "&".join(_redact_pairs(bare.raw_query_string.split("&")))
    return f"{shown}?{query}" if query else shown


def _may_hide_userinfo(text: str) -> bool:
    """Say whether an `@` stands where only a mistyped password or another URL has one.

    A password with an unescaped `#` or `?` in it moves the `@` into fragment or query; a URL inside the path has `//`.
    """
    _, _, rest = text.partition("://")
    path, _, fragment = rest.partition("#")
    path, _, query = path.partition("?")
    bare_query = "@" in query.partition("=")[0]
    inner_url = "//" in path and "@" in path.partition("//")[2]
    return "@" in fragment or bare_query or inner_url or len(text.split()) > 1


def _redact_pairs(pairs: Iterable[str]) -> Iterable[str]:
    for pair in pairs:
        key, equals, value = pair.partition("=")
        secret = _is_secret(unquote(key)) or _leads_to_secret(value)
        yield f"{key}={HIDDEN}" if equals and secret else pair


def _is_secret(key: str) -> bool:
    return key.lower() in _SIGNATURE_KEYS or _SECRET_KEY.search(key) is not None


def _leads_to_secret(value: str) -> bool:
    """Say whether a query value is itself a URL with a secret, as login redirects pass on the URL they came from."""
    plain = unquote(unquote(value))
    return "@" in plain or any(_is_secret(key) for key in _INNER_KEY.findall(plain))


def _redact_text(text: str) -> str:
    _, at, rest = text.rpartition("@")
    return _QUERY_TEXT.sub(f"?{HIDDEN}", f"{HIDDEN}@{rest}" if at else text)
