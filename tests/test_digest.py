"""The check of a digest while the bytes go by."""

import hashlib

import pytest
from hypothesis import given, strategies as st

from fetcher.digest import ALGORITHMS, Digest
from fetcher.errors import HashMismatch

DATA = b"wheel" * 1000


def digest_of(hashes: dict[str, str], *chunks: bytes) -> Digest:
    digest = Digest(hashes)
    for chunk in chunks:
        digest.update(chunk)
    return digest


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_algorithm(algorithm: str) -> None:
    right = hashlib.new(algorithm, DATA).hexdigest()
    digest = digest_of({algorithm: right}, DATA[:7], b"", DATA[7:])
    assert digest.matches
    assert (digest.algorithm, digest.expected, digest.actual) == (algorithm, right, right)
    assert digest.sha256 == hashlib.sha256(DATA).hexdigest()
    assert digest.size == len(DATA)
    digest.update(b"x")
    assert not digest.matches


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["sha256"], "sha256"),
        (["md5", "sha256"], "sha256"),
        (["sha1", "md5"], "sha1"),
        (["md5", "sha1", "sha224"], "sha224"),
        (["blake2b", "sha384"], "sha384"),
        (["md5"], "md5"),
        (["crc32", "md5"], "md5"),
        (["crc32"], None),
        ([], None),
    ],
)
def test_the_strongest_counts(names: list[str], chosen: str | None) -> None:
    assert Digest(dict.fromkeys(names, "00")).algorithm == chosen


def test_a_broken_one_never_hides_a_strong_one() -> None:
    """A right MD5 beside a wrong SHA-256 is wrong."""
    hashes = {"md5": hashlib.md5(DATA).hexdigest(), "sha256": "00" * 32}
    assert not digest_of(hashes, DATA).matches


def test_upper_case() -> None:
    assert digest_of({"sha256": hashlib.sha256(DATA).hexdigest().upper()}, DATA).matches


def test_nothing_named() -> None:
    digest = digest_of({}, DATA)
    assert digest.matches
    assert (digest.algorithm, digest.expected) == (None, None)
    assert digest.actual == digest.sha256 == hashlib.sha256(DATA).hexdigest()


def test_no_bytes() -> None:
    assert Digest({"sha256": hashlib.sha256(b"").hexdigest()}).matches
    assert not Digest({"sha256": "00" * 32}).matches


@pytest.mark.parametrize("expected", ["", "00", hashlib.sha256(DATA).hexdigest()[:-1], "sha256"])
def test_a_digest_that_is_none_matches_nothing(expected: str) -> None:
    assert not digest_of({"sha256": expected}, DATA).matches


def test_mismatch() -> None:
    digest = digest_of({"sha512": "AB" * 64}, DATA)
    error = digest.mismatch("demo.whl", "https://u:p@host/demo.whl")
    assert isinstance(error, HashMismatch)
    assert (error.algorithm, error.expected) == ("sha512", "ab" * 64)
    assert error.actual == hashlib.sha512(DATA).hexdigest()


@given(st.lists(st.binary(max_size=50)), st.sampled_from(["sha256", "sha512", "md5"]))
def test_pieces_do_not_count(chunks: list[bytes], algorithm: str) -> None:
    whole = b"".join(chunks)
    digest = digest_of({algorithm: hashlib.new(algorithm, whole).hexdigest()}, *chunks)
    assert digest.matches
    assert digest.size == len(whole)
    assert digest.sha256 == hashlib.sha256(whole).hexdigest()
