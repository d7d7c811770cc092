"""What a body is, told by its first bytes and never by its Content-Type.

Servers call wheels text, and login pages wheels.  A zip begins with a local header, or with an end record if it is
empty (APPNOTE.TXT 4.3.6); gzip with two bytes of RFC 1952 §2.3.1; bzip2 with "BZh"; xz with the six bytes of its format
§2.1.1.1; tar with a header whose checksum is right, which holds for those older than "ustar" too (POSIX.1-2017, pax);
HTML with one of the tags of the WHATWG MIME Sniffing Standard §7.1, after any byte order mark, white space, comments,
and XML declaration; JSON with a brace or bracket (RFC 8259 §2: objects and arrays are what servers send).

- A head may be cut anywhere.  Two bytes or more of a signature that end there count as that signature.
- A comment that does not end in the head is taken for HTML: XML from servers has none in front.
- Everything here takes time in proportion to its input, whatever the input is.
"""

import json
import re
import zlib
from html import unescape
from typing import Literal, TypeAlias
from urllib.parse import unquote

__all__ = ["Kind", "describe", "gunzip", "html_title", "looks_like_login", "sniff"]

Kind: TypeAlias = Literal["zip", "gzip", "bzip2", "xz", "tar", "html", "json", "xml", "empty", "other"]

_LOOKED_AT = 256 * 1024
"""Most bytes of a body that are looked at: login pages of the large vendors have up to 200 KB, most of it script."""

_TITLE_LENGTH = 80  # characters: what fits a terminal line with the sentence around it
_DETAIL_LENGTH = 120

_SIGNATURES: tuple[tuple[bytes, Kind], ...] = (
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
)
_TAR_HEADER = 512  # bytes; of them these eight are the checksum, and count as blanks in it
_TAR_CHECKSUM = slice(148, 156)
_GZIP_WINDOW = 31  # zlib's word for the largest window, in a gzip wrapper

# Possessive, so that a megabyte of white space leaves no trail to walk back on.
_BEFORE = re.compile(r"(?:\s++|<!--.*?(?:-->|\Z)|<\?.*?(?:\?>|\Z))*+", re.DOTALL)
_HTML = re.compile(
    r"<(?:!doctype\s+html|html|head|body|title|script|meta|link|style|base|form|iframe|h[1-6]|div|font|table|center|a|b|"
    r"br|p)(?=[\s/>]|\Z)",
    re.IGNORECASE,
)
_XHTML = re.compile(r"<(?:!doctype\s+html|html)(?=[\s/>]|\Z)", re.IGNORECASE)
_XML = re.compile(r"<!?[a-z_][\w:.-]*(?=[\s/>]|\Z)", re.IGNORECASE)
_CUT_HTML = ("<!--", "<!doctype html", "<html", "<head", "<body", "<title", "<script", "<meta")


def sniff(head: bytes) -> Kind:
    """Tell what the body is that begins with `head` (any number of bytes; 1,024 are plenty)."""
    if not head:
        return "empty"
    for mark, kind in _SIGNATURES:
        if head.startswith(mark) or (len(head) > 1 and mark.startswith(head)):
            return kind
    return "tar" if _is_tar(head) else _sniff_text(_text(head))


def _is_tar(head: bytes) -> bool:
    header = head[:_TAR_HEADER]
    stated = header[_TAR_CHECKSUM]
    checksum = sum(header) - sum(stated) + len(stated) * ord(" ")
    return len(header) == _TAR_HEADER and stated.strip(b" \0").lstrip(b"0") == f"{checksum:o}".encode()


def gunzip(head: bytes, most: int) -> bytes:
    """Return up to `most` bytes of what is in a gzip that begins with `head`; nothing if that is damaged."""
    try:
        return zlib.decompressobj(_GZIP_WINDOW).decompress(head, most)
    except zlib.error:
        return b""


def _sniff_text(text: str) -> Kind:
    before = _BEFORE.match(text)
    begin = before.end() if before else 0
    skipped, rest = text[:begin].strip(), text[begin:]
    if skipped.startswith("<?"):
        return "html" if _XHTML.match(rest) else "xml"
    if _HTML.match(rest) or (skipped and not rest) or _is_cut_html(rest):
        return "html"
    if _XML.match(rest):
        return "xml"
    return "json" if rest.startswith(("{", "[")) else "other"


def _is_cut_html(rest: str) -> bool:
    return len(rest) > 1 and any(mark.startswith(rest.lower()) for mark in _CUT_HTML)


def _text(body: bytes) -> str:
    """Decode as the byte order mark says, else as UTF-8; what does not decode is replaced."""
    body = body[:_LOOKED_AT]
    if body.startswith((b"\xff\xfe", b"\xfe\xff")):
        return body.decode("utf-16", "replace")
    return body.decode("utf-8-sig", "replace")


# ---------------------------------------------------------------------------------------------------------------- HTML

# Comments and scripts are passed whole.  Each alternative, once begun, matches to the end if it must, so no part of a
# page is read twice.  `text` is what follows up to the next tag.
_TOKEN = re.compile(
    r"(?:<!--.*?(?:-->|\Z)|<(?P<skip>script|style)\b.*?(?:</(?P=skip)[^>]*(?:>|\Z)|\Z)"
    r"|<(?P<tag>/?[a-z][a-z0-9]*)(?P<attributes>[^>]*)(?:>|\Z))(?P<text>[^<]*)",
    re.DOTALL | re.IGNORECASE,
)
_TITLES = frozenset({"title", "h1", "h2", "h3", "legend"})
# Not as a part of a name: `login-tool`, `sso_helpers`, `sign-in.md`.
_LOGIN = re.compile(
    r"(?<![\w./-])(?:log[ -]?(?:in|on)|sign[ -]?(?:in|on)|sso|single[ -]sign[ -]?on|authenticate|authentication)"
    r"(?![\w/-]|\.\w)",
    re.IGNORECASE,
)
_LOGIN_FORM = re.compile(r"log[_-]?[io]n|sign[_-]?[io]n|authenticat|saml|\bsso\b", re.IGNORECASE)
_LOGIN_SEGMENT = re.compile(
    r"(?:log[_-]?[io]n|sign[_-]?[io]n|sso|saml2?|authenticate|authorize|authn?)(?:\.\w+)?", re.IGNORECASE
)
_PASSWORD = re.compile(r"""\btype\s*=\s*["']?password\b""", re.IGNORECASE)
_WHERE = re.compile(r"""\b(?:action|id|name)\s*=\s*(?:"([^"]*)|'([^']*)|([^\s"'>]+))""", re.IGNORECASE)
# What the pages of the Simple API are called by the servers that make them, and what only they contain.
_INDEX_TITLE = re.compile(r"\b(?:links for|index of|simple (?:index|list))\b", re.IGNORECASE)
_INDEX_META = re.compile(r"pypi:(?:repository-version|project-status)", re.IGNORECASE)
_FILE_LINK = re.compile(r"\.(?:whl|tar\.gz|zip|egg)(?:[?#\"'\s]|\Z)|data-requires-python", re.IGNORECASE)


def html_title(body: bytes) -> str:
    """Return the title of an HTML page in one printable line of at most 80 characters, "" if it has none."""
    for token in _TOKEN.finditer(_text(body)):
        if (token["tag"] or "").lower() == "title":
            return _line(unescape(token["text"]), _TITLE_LENGTH)
    return ""


def looks_like_login(body: bytes, url_path: str = "") -> bool:
    """Tell whether an HTML page asks to log in.

    A password field says so; else the title, a heading, a form's action, id or name, or the last segment of the URL's
    path (whole: `/+login`, not `/login-tool/`).  A page of the Simple API never does, whatever its project is called.
    """
    if sniff(body) != "html":
        return False
    said, index, heading = _path_says_login(url_path), False, False
    for token in _TOKEN.finditer(_text(body)):
        tag, attributes, text = (token["tag"] or "").lower(), token["attributes"] or "", unescape(token["text"])
        if tag == "input" and _PASSWORD.search(attributes):
            return True
        if tag.removeprefix("/") in _TITLES:
            heading = not tag.startswith("/")
        index = index or _is_index_part(tag, attributes, text if heading else "")
        said = said or (heading and bool(_LOGIN.search(text))) or (tag == "form" and _form_says_login(attributes))
    return said and not index


def _form_says_login(attributes: str) -> bool:
    return any(_LOGIN_FORM.search("".join(match.groups(""))) for match in _WHERE.finditer(attributes))


def _is_index_part(tag: str, attributes: str, heading: str) -> bool:
    if tag == "meta":
        return bool(_INDEX_META.search(attributes))
    if tag == "a":
        return bool(_FILE_LINK.search(attributes))
    return bool(_INDEX_TITLE.search(heading))


def _path_says_login(path: str) -> bool:
    """Tell by the last segment, unless it is a project's, which may be called anything."""
    *_, parent, last = ["", *unquote(path).rstrip("/").split("/")]
    return parent.lstrip("+") != "simple" and bool(_LOGIN_SEGMENT.fullmatch(last.lstrip("+")))


# -------------------------------------------------------------------------------------------------------- error bodies

_XML_CODE = re.compile(r"<(?:\w+:)?(?:error)?code\b[^<>]*>([^<]*)", re.IGNORECASE)
_XML_MESSAGE = re.compile(r"<(?:\w+:)?(?:message|detail|description)\b[^<>]*>([^<]*)", re.IGNORECASE)
# In the order in which they tell most.  Artifactory has {"errors": [{...}]}, Google {"error": {...}}.
_MESSAGES = ("message", "Message", "detail", "error_description", "msg", "error", "errors", "reason", "title")
_CODES = ("code", "Code", "typeKey")
_JSON_DEPTH = 4  # an object, a list in it, an object in that, its message


def describe(body: bytes, kind: Kind) -> str:
    """Quote what a JSON or XML error body says, in one printable line of at most 120 characters; "" if nothing."""
    text = _text(body)
    if kind == "json":
        try:
            return _line(_json_says(json.loads(text), _JSON_DEPTH), _DETAIL_LENGTH)
        except (ValueError, RecursionError):  # cut, or no JSON after all: there is nothing to quote
            return ""
    if kind == "xml":
        parts = (pattern.search(text) for pattern in (_XML_CODE, _XML_MESSAGE))
        return _line(": ".join(unescape(part[1]) for part in parts if part and part[1].strip()), _DETAIL_LENGTH)
    return ""


def _json_says(value: object, depth: int) -> str:
    if isinstance(value, list):
        value = value[0] if value else None
        depth -= 1
    if isinstance(value, dict) and depth > 0:
        message = next((said for key in _MESSAGES if (said := _json_says(value.get(key), depth - 1))), "")
        code = next((str(value[key]) for key in _CODES if isinstance(value.get(key), str | int)), "")
        return ": ".join(part for part in (code, message) if part)
    return value if isinstance(value, str) else ""


def _line(text: str, length: int) -> str:
    """Fold white space, drop what does not print, and cut."""
    line = "".join(char for char in " ".join(text.split()) if char.isprintable())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"
