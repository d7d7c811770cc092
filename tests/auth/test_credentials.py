"""Credentials as values, and which of several sources is taken."""

import base64
from collections.abc import Callable

import pytest
from hypothesis import given, strategies as st

from fetcher.auth.credentials import Basic, Bearer, Candidate, Credentials, Header, Known, choose, header_of
from fetcher.errors import ConfigError

SECRET = "S3CR3T"


def basic_value(userpass: bytes) -> str:
    return "Basic " + base64.b64encode(userpass).decode()


# --------------------------------------------------------------------------------------------------------------- header


@pytest.mark.parametrize(
    ("credentials", "header"),
    [
        (Basic("Aladdin", "open sesame"), ("Authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")),  # RFC 7617 §2
        (Basic("test", "123£"), ("Authorization", "Basic dGVzdDoxMjPCow==")),  # RFC 7617 §2.1: UTF-8
        (Basic("user", ""), ("Authorization", basic_value(b"user:"))),
        (Basic("", "password"), ("Authorization", basic_value(b":password"))),
        (Basic("", ""), ("Authorization", basic_value(b":"))),
        (Basic("user", "a:b:c"), ("Authorization", basic_value(b"user:a:b:c"))),
        (Basic("user", "x" * 300), ("Authorization", basic_value(b"user:" + b"x" * 300))),  # no line folding
        (Bearer("mF_9.B5f-4.1JqM"), ("Authorization", "Bearer mF_9.B5f-4.1JqM")),  # RFC 6750 §2.1
        (Header("JOB-TOKEN", "abc"), ("JOB-TOKEN", "abc")),
    ],
)
def test_header(credentials: Credentials, header: tuple[str, str]) -> None:
    assert header_of(credentials) == header


@given(st.text().filter(lambda text: ":" not in text), st.text())
def test_basic_is_a_header_or_refused(username: str, password: str) -> None:
    try:
        _, value = header_of(Basic(username, password))
    except ConfigError:
        assert any(char in username + password for char in "\r\n\0") or not _is_utf8(username + password)
        return
    assert base64.b64decode(value.removeprefix("Basic ")) == f"{username}:{password}".encode()
    assert value.isascii()
    assert value.isprintable()


def _is_utf8(text: str) -> bool:
    return text == text.encode(errors="ignore").decode()


@pytest.mark.parametrize("bad", ["a\r", "a\n", "a\r\nX-Evil: 1", "\0", "\n"])
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda bad: Basic(bad, "p"), id="username"),
        pytest.param(lambda bad: Basic("u", bad), id="password"),
        pytest.param(Bearer, id="token"),
        pytest.param(lambda bad: Header(bad, "v"), id="header name"),
        pytest.param(lambda bad: Header("N", bad), id="header value"),
    ],
)
def test_line_breaks_are_refused(make: Callable[[str], Credentials], bad: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make(SECRET + bad)
    assert SECRET not in str(caught.value)


def test_colon_in_a_username_is_refused() -> None:
    with pytest.raises(ConfigError, match="colon") as caught:
        Basic(f"us:{SECRET}", SECRET)
    assert SECRET not in str(caught.value)


def test_text_that_is_not_unicode_is_refused() -> None:
    """An environment variable in another encoding arrives with surrogates (PEP 383)."""
    with pytest.raises(ConfigError) as caught:
        header_of(Basic("user", f"{SECRET}\udcfc"))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        Basic("user", SECRET),
        Bearer(SECRET),
        Header("JOB-TOKEN", SECRET),
        Candidate("netrc", "user", SECRET),
        Candidate("netrc", credentials=Bearer(SECRET)),
        Known(Basic("user", SECRET), "netrc"),
        Known(Header("JOB-TOKEN", SECRET), "netrc"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_secrets_are_not_shown(value: object) -> None:
    assert SECRET not in f"{value!r} {value}"
    assert SECRET not in repr([value]) + repr({"a": value})


def test_credentials_are_values() -> None:
    assert Basic("u", "p") == Basic("u", "p")
    assert Basic("u", "p") != Basic("u", "q")
    assert Bearer("t") != Header("Authorization", "t")
    assert len({Basic("u", "p"), Basic("u", "p"), Bearer("p")}) == 2


# --------------------------------------------------------------------------------------------------------------- choose


URL, CALLER, ENVIRONMENT, INDEX, NETRC = "the request URL", "the caller", "environment", "the index URL", "netrc"


@pytest.mark.parametrize(
    ("candidates", "credentials", "source"),
    [
        pytest.param([Candidate(URL, "a", "b")], Basic("a", "b"), URL, id="one"),
        pytest.param([Candidate(URL, "a", "b"), Candidate(NETRC, "c", "d")], Basic("a", "b"), URL, id="the first"),
        pytest.param(
            [Candidate(CALLER, credentials=Bearer("t")), Candidate(INDEX, "a", "b")], Bearer("t"), CALLER, id="a token"
        ),
        pytest.param(
            [Candidate(URL, "a", "b"), Candidate(CALLER, credentials=Bearer("t"))], Basic("a", "b"), URL, id="URL first"
        ),
        pytest.param([Candidate(URL, "a", "")], Basic("a", ""), URL, id="an empty password is one"),
        pytest.param([Candidate(URL, "", "b")], Basic("", "b"), URL, id="an empty username is one"),
        pytest.param([Candidate(URL, "", "")], Basic("", ""), URL, id="both empty"),
        pytest.param(
            [Candidate(URL, "a", ""), Candidate(NETRC, "a", "b")], Basic("a", ""), URL, id="empty is not missing"
        ),
        # a username alone
        pytest.param(
            [Candidate(URL, "a"), Candidate(NETRC, "a", "b")], Basic("a", "b"), NETRC, id="username, then password"
        ),
        pytest.param(
            [Candidate(URL, "a"), Candidate(ENVIRONMENT, "x", "y"), Candidate(NETRC, "a", "b")],
            Basic("a", "b"),
            NETRC,
            id="only under that username",
        ),
        pytest.param(
            [Candidate(URL, "a"), Candidate(ENVIRONMENT, None, "b")],
            Basic("a", "b"),
            ENVIRONMENT,
            id="a password that names no user",
        ),
        pytest.param(
            [Candidate(URL, "a"), Candidate(CALLER, credentials=Bearer("t")), Candidate(NETRC, "a", "b")],
            Basic("a", "b"),
            NETRC,
            id="a token has no username",
        ),
        pytest.param(
            [Candidate(URL, "a"), Candidate(INDEX, "b"), Candidate(NETRC, "a", "p")],
            Basic("a", "p"),
            NETRC,
            id="the first username counts",
        ),
        pytest.param(
            [Candidate(URL, ""), Candidate(INDEX, "a", "b")], Basic("a", "b"), INDEX, id="an empty username alone"
        ),
        # a password alone
        pytest.param([Candidate(ENVIRONMENT, None, "b")], Basic("", "b"), ENVIRONMENT, id="a password alone"),
        pytest.param(
            [Candidate(ENVIRONMENT, None, "b"), Candidate(INDEX, "a")],
            Basic("a", "b"),
            ENVIRONMENT,
            id="password, then username",
        ),
        pytest.param(
            [Candidate(ENVIRONMENT, None, "b"), Candidate(INDEX, "a", "c")],
            Basic("a", "b"),
            ENVIRONMENT,
            id="password, then another pair",
        ),
        pytest.param(
            [Candidate(ENVIRONMENT), Candidate(NETRC, "a", "b")], Basic("a", "b"), NETRC, id="a source without anything"
        ),
    ],
)
def test_choose(candidates: list[Candidate], credentials: Credentials, source: str) -> None:
    assert choose(candidates) == Known(credentials, source)


@pytest.mark.parametrize("candidates", [[], [Candidate(URL)], [Candidate(URL, ""), Candidate(NETRC)]])
def test_choose_nothing(candidates: list[Candidate]) -> None:
    assert choose(candidates) is None


@pytest.mark.parametrize(
    "candidates",
    [
        [Candidate(INDEX, "a")],
        [Candidate(INDEX, "a"), Candidate(NETRC, "b", "c")],
        [Candidate(INDEX, "a"), Candidate(CALLER, credentials=Bearer("t"))],
    ],
    ids=["alone", "a password of another user", "a token"],
)
def test_username_without_password(candidates: list[Candidate]) -> None:
    known = choose(candidates)
    assert known is not None
    assert (known.credentials, known.complete) == (Basic("a", ""), False)
    assert known.source.startswith(INDEX)


_texts = st.none() | st.sampled_from(["", "a", "b"])
_candidates = st.builds(
    Candidate,
    st.sampled_from([URL, ENVIRONMENT, INDEX, NETRC]),
    _texts,
    _texts,
    st.none() | st.sampled_from([Bearer("t"), Header("N", "v")]),
)


@given(st.lists(_candidates, max_size=5))
def test_secrets_of_two_users_are_never_mixed(candidates: list[Candidate]) -> None:
    known = choose(candidates)
    if known is None:
        assert all(c.credentials is None and c.password is None and not c.username for c in candidates)
    elif isinstance(known.credentials, Basic) and known.complete:
        giver = next(c for c in candidates if c.source == known.source and c.password == known.credentials.password)
        assert giver.username in (None, "", known.credentials.username)


@given(st.lists(_candidates, max_size=4), st.lists(_candidates, max_size=2))
def test_what_is_known_stays_when_more_is_looked_up(first: list[Candidate], more: list[Candidate]) -> None:
    """A later source only ever completes what the earlier ones know."""
    known, then = choose(first), choose([*first, *more])
    if known is None:
        return
    assert then is not None
    if isinstance(known.credentials, Basic) and known.credentials.username:
        assert isinstance(then.credentials, Basic)
        assert then.credentials.username == known.credentials.username
    if not isinstance(known.credentials, Basic):
        assert then == known
