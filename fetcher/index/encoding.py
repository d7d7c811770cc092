"""The Content-Encoding of a page, undone (RFC 9110 §8.4.1).

Not by aiohttp: it takes a gzip that ends early for whole, and half an HTML page looks like one.  This file is pure.
"""

import zlib

__all__ = ["ENCODINGS", "inflate"]

# What is asked for; another encoding is left as it is, for some servers write there what is none.
ENCODINGS = frozenset({"gzip", "x-gzip", "deflate"})
# What a member of a gzip begins with; what follows the last is padding.
_GZIP = b"\x1f\x8b"
# zlib's words for "gzip or zlib, as its header says", and "deflate without any header", which some servers send.
_BY_HEADER, _BARE = 32 + zlib.MAX_WBITS, -zlib.MAX_WBITS
# The method in the first byte of zlib's header (RFC 1950 §2.2).
_METHOD, _DEFLATE = 0x0F, 8


def inflate(body: bytes, encoding: str, most: int) -> bytes:
    """Return what is in a body; more than `most` bytes are not all of it.

    Raises EOFError if it ends too early, `zlib.error` if it is damaged.
    """
    if encoding not in ENCODINGS or not body:
        return body
    bare = encoding == "deflate" and body[0] & _METHOD != _DEFLATE
    pieces: list[bytes] = []
    room = most + 1
    while room > 0 and (not pieces or body.startswith(_GZIP)):
        member = zlib.decompressobj(_BARE if bare else _BY_HEADER)
        pieces.append(member.decompress(body, room))
        room -= len(pieces[-1])
        if room > 0 and not member.eof:
            raise EOFError
        body = member.unused_data
    return b"".join(pieces)
