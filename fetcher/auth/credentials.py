"""Credentials as values, and which of several is taken.

Rules:

* Sources are asked in a fixed order: request URL, caller, environment, index URL, netrc.  The first that knows a
  secret wins.
* A source that knows a username alone fixes it: from then on a password is taken only from a source that names the same
  user, or no user.
* A password without a username takes the username of the first later source that names one, else an empty one.
* A username with an empty password (`user:@`) is complete; a username alone (`user@`) is not.
"""

import base64
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import assert_never

from fetcher.errors import ConfigError

__all__ = ["Basic", "Bearer", "Candidate", "Credentials", "Header", "Known", "choose", "header_of"]


def _check(*values: str) -> None:
    text = "".join(values)
    if any(char in text for char in "\r\n\0"):
        raise ConfigError("credentials must not hold line breaks or NUL")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError(
            "credentials must be valid Unicode; an environment variable may be in another encoding"
        ) from None


@dataclass(frozen=True)
class Basic:
    """User and password (RFC 7617); either may be empty or a token.  Raises ConfigError for a colon in the username."""

    username: str = field(repr=False)
    password: str = field(repr=False)

    def __post_init__(self) -> None:
        _check(self.username, self.password)
        if ":" in self.username:
            raise ConfigError("a username must not hold a colon (RFC 7617 §2)")


@dataclass(frozen=True)
class Bearer:
    """A bearer token (RFC 6750)."""

    token: str = field(repr=False)

    def __post_init__(self) -> None:
        _check(self.token)


@dataclass(frozen=True)
class Header:
    """A named secret header, such as GitLab's `JOB-TOKEN`."""

    name: str
    value: str = field(repr=False)

    def __post_init__(self) -> None:
        _check(self.name, self.value)


Credentials = Basic | Bearer | Header


def header_of(credentials: Credentials) -> tuple[str, str]:
    """Return the request header that carries the credentials: (name, value)."""
    match credentials:
        case Basic(username, password):
            secret = base64.b64encode(f"{username}:{password}".encode()).decode("ascii")
            return "Authorization", f"Basic {secret}"
        case Bearer(token):
            return "Authorization", f"Bearer {token}"
        case Header(name, value):
            return name, value
        case _:
            assert_never(credentials)


@dataclass(frozen=True)
class Candidate:
    """What one source knows: whole `credentials`, or a username, or a password, or both."""

    source: str
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    credentials: Credentials | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Known:
    """Credentials and the source they came from; not `complete` for a username without a password."""

    credentials: Credentials
    source: str
    complete: bool = True


def choose(candidates: Iterable[Candidate]) -> Known | None:
    """Return the credentials to use, by the rules at the head of this file; None if no source knows any."""
    listed = list(candidates)
    username: str | None = None
    named_by = ""
    for place, candidate in enumerate(listed):
        if username is not None and candidate.username not in (None, username):
            continue
        if candidate.credentials is not None and username is None:
            return Known(candidate.credentials, candidate.source)
        if candidate.password is not None:
            user = username if username is not None else _username_from(listed[place:])
            return Known(Basic(user, candidate.password), candidate.source)
        if username is None and candidate.username:
            username, named_by = candidate.username, candidate.source
    if username is None:
        return None
    return Known(Basic(username, ""), f"{named_by} (a username, and no password found for it)", complete=False)


def _username_from(candidates: Iterable[Candidate]) -> str:
    return next((candidate.username for candidate in candidates if candidate.username is not None), "")
