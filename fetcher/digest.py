"""The check of a digest while the bytes go by."""

import hashlib
from collections.abc import Mapping

import msgspec

from fetcher.errors import ConfigError, HashMismatch
from fetcher.index.files import File

__all__ = ["ALGORITHMS", "Digest", "demand", "strongest"]

# The order of trust.  The last two are broken against an attacker, but still tell an accident; old devpi and mirrors
# give nothing else.
ALGORITHMS = (
    *("sha256", "sha512", "sha384", "sha3_256", "sha3_512", "sha3_384", "blake2b", "blake2s", "sha224", "sha3_224"),
    *("sha1", "md5"),
)


def strongest(hashes: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the strongest algorithm that the index names, with its digest; None if it names none that counts."""
    for algorithm in ALGORITHMS:
        if algorithm in hashes:
            return algorithm, hashes[algorithm].lower()
    return None


def demand(file: File, hashes: frozenset[tuple[str, str]]) -> File:
    """Return a file with the one of the allowed digests (algorithm, digest) that it must have; without any, as it is.

    Raises HashMismatch if the index names another, ConfigError if there is no telling which of them is meant.
    """
    if not hashes:
        return file
    stated = {pair for pair in file.hashes.items() if any(pair[0] == algorithm for algorithm, _ in hashes)}
    allowed = stated & hashes
    if stated and not allowed:
        algorithm, digest = min(stated)
        expected = " or ".join(sorted(other for name, other in hashes if name == algorithm))
        raise HashMismatch(file.filename, file.url, algorithm, expected, digest)
    best = min(allowed or hashes, key=lambda pair: ALGORITHMS.index(pair[0]))
    if not allowed and sum(algorithm == best[0] for algorithm, _ in hashes) > 1:
        raise ConfigError(
            f"{file.filename}: the index names no {best[0]} digest to choose one of the --hash options by"
        )
    return msgspec.structs.replace(file, hashes=dict([best]))


class Digest:
    """The strongest digest that the index names, computed piece by piece; always SHA-256 as well, to tell the caller.

    `size` counts the bytes so far.
    """

    def __init__(self, hashes: Mapping[str, str]) -> None:
        self.algorithm: str | None
        self.expected: str | None
        self.algorithm, self.expected = strongest(hashes) or (None, None)
        self.size = 0
        self._sha256 = hashlib.sha256()
        self._other = None
        if self.algorithm not in (None, "sha256"):
            self._other = hashlib.new(self.algorithm, usedforsecurity=False)

    def update(self, data: bytes) -> None:
        """Take the next bytes."""
        self.size += len(data)
        self._sha256.update(data)
        if self._other is not None:
            self._other.update(data)

    @property
    def sha256(self) -> str:
        """The SHA-256 of the bytes so far, in lower-case hex."""
        return self._sha256.hexdigest()

    @property
    def actual(self) -> str:
        """The digest so far, in the algorithm of the index."""
        return self.sha256 if self._other is None else self._other.hexdigest()

    def mismatch(self, filename: str, url: str) -> HashMismatch:
        """Return the error for bytes that do not match."""
        return HashMismatch(filename, url, self.algorithm or "", self.expected or "", self.actual)

    @property
    def matches(self) -> bool:
        """Whether the bytes so far are the ones the index named; True when it named none."""
        return self.expected is None or self.actual == self.expected
