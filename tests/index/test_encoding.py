"""The encoding of a page, undone: whole or not at all."""

from __future__ import annotations

import gzip
import zlib

import pytest

from fetcher.index.encoding import inflate

PAGE = b"<a href=demo-1.0.tar.gz>demo-1.0.tar.gz</a>\n" * 1000
MOST = 1 << 20


def bare(data: bytes) -> bytes:
    """Deflate without zlib's header."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


ENCODED = [
    ("gzip", gzip.compress(PAGE)),
    ("x-gzip", gzip.compress(PAGE)),
    ("gzip", gzip.compress(PAGE[:5000]) + gzip.compress(b"") + gzip.compress(PAGE[5000:])),
    ("deflate", zlib.compress(PAGE)),
    ("deflate", bare(PAGE)),
]


@pytest.mark.parametrize(("encoding", "body"), ENCODED)
def test_a_whole_one(encoding: str, body: bytes) -> None:
    assert inflate(body, encoding, MOST) == PAGE


@pytest.mark.parametrize(("encoding", "body"), ENCODED)
def test_one_that_ends_early(encoding: str, body: bytes) -> None:
    whole_members = [len(gzip.compress(PAGE[:5000])), len(gzip.compress(PAGE[:5000]) + gzip.compress(b""))]
    for end in range(1, len(body)):
        if end not in whole_members and (end - 1) not in whole_members:
            with pytest.raises(EOFError):
                inflate(body[:end], encoding, MOST)


@pytest.mark.parametrize("encoding", ["", "br", "utf-8", "none"])
def test_another_encoding_is_left_as_it_is(encoding: str) -> None:
    assert inflate(PAGE, encoding, MOST) == PAGE


def test_nothing() -> None:
    assert inflate(b"", "gzip", MOST) == b""


@pytest.mark.parametrize("padding", [b"\0" * 512, b"\n"])
def test_padding(padding: bytes) -> None:
    assert inflate(gzip.compress(PAGE) + padding, "gzip", MOST) == PAGE


@pytest.mark.parametrize("body", [PAGE, gzip.compress(PAGE)[:-8] + bytes(8), b"\x1f\x8b" + b"\xff" * 20])
def test_damage(body: bytes) -> None:
    with pytest.raises(zlib.error):
        inflate(body, "gzip", MOST)


@pytest.mark.parametrize(("encoding", "body"), ENCODED)
def test_no_more_than_was_asked_for(encoding: str, body: bytes) -> None:
    assert inflate(body, encoding, len(PAGE)) == PAGE
    for most in (0, 4999, 5000, len(PAGE) - 1):
        assert inflate(body, encoding, most) == PAGE[: most + 1]
