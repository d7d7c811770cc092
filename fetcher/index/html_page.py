"""Pages in HTML: bytes in, a tree out that may be looked through.

- Python's own list of codecs has some that do more than decode; a server may choose one of a few.
- What a parser would need more than linear time or much memory for is no page.

This file is pure.
"""

import codecs
import re
from collections import Counter

from selectolax.lexbor import LexborHTMLParser

from fetcher.errors import BadPage

__all__ = ["check_version", "decode_text", "parse_html"]

# The charsets that pages have, by the names of the Encoding Standard.  For any other UTF-8 does: links are ASCII there.
# Python's own list has codecs that do more than decode ("unicode_escape", "idna"); a server must not choose those.
_CODECS = {
    "iso-8859-1": "cp1252",
    "latin1": "cp1252",
    "windows-1252": "cp1252",
    "utf-16": "utf-16-le",
    "utf-16le": "utf-16-le",
    "utf-16be": "utf-16-be",
}
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))

# Elements that an HTML parser nests.  Left out: void ones, those that the next of their kind closes, and `a` itself.
_NESTING_TAG = re.compile(
    r"<(/?)(?!(?i:a|area|base|br|col|dd|dt|embed|hr|img|input|li|link|meta|option|p|source|td|th|tr|wbr)[\s/>])"
    r"([a-zA-Z][^\s/>]*)"
)
# Browsers stop at 512.  Parsing takes time in the square of the depth: 100,000 open `div` (500 kB) take 15 s.
_MAX_DEPTH = 512
# The largest real pages have some 100,000; parsing takes a second and 300 MB a million.
_MAX_TAGS = 1_000_000
# A tag's attributes take time in the square of their number: 1 MB of them take 17 s.
_LONG_TAG = re.compile(r"<[A-Za-z][^<>]{65536}")


def parse_html(body: bytes, charset: str | None, url: str) -> LexborHTMLParser:
    """Parse a page; `charset` is what the reply said.  Raises BadPage, naming `url`."""
    text = decode_text(body, charset)
    if text.count("<") > _MAX_TAGS or _LONG_TAG.search(text):
        raise BadPage(url, f"it has more than {_MAX_TAGS} tags, or one of more than 64 KiB")
    if _nests_too_deep(text):
        raise BadPage(url, f"its elements are nested more than {_MAX_DEPTH} deep")
    return LexborHTMLParser(text)


def check_version(stated: object, url: str) -> str:
    """Return the API version, 1.0 if none is stated (PEP 629).  Raises BadPage for another major version."""
    if stated is None:
        return "1.0"
    version = str(stated) if isinstance(stated, (str, int, float)) else "?"
    if version.partition(".")[0].strip() != "1":
        raise BadPage(url, f"it has version {version[:20]!r} of the Simple API, and only 1.x is known")
    return version


def decode_text(body: bytes, charset: str | None) -> str:
    """Return the text of a page; `charset` is what the reply said."""
    for mark, codec in _BOMS:
        if body.startswith(mark):
            return body[len(mark) :].decode(codec, "replace")
    return body.decode(_CODECS.get((charset or "").strip().lower(), "utf-8"), "replace")


def _nests_too_deep(text: str) -> bool:
    """Follow the tags as a parser's stack would, in linear time."""
    stack: list[str] = []
    opened: Counter[str] = Counter()
    for slash, name in _NESTING_TAG.findall(text):
        tag = name.lower()
        if not slash:
            stack.append(tag)
            opened[tag] += 1
            if len(stack) > _MAX_DEPTH:
                return True
        elif opened[tag]:
            while True:
                top = stack.pop()
                opened[top] -= 1
                if top == tag:
                    break
    return False
