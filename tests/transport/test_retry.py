"""After a failed attempt: wait and try again, or give up."""

from math import inf

import pytest
from hypothesis import given, strategies as st

from fetcher.errors import (
    BadPage,
    BadReply,
    BadZip,
    ConfigError,
    ConnectFailed,
    Disconnected,
    DiskError,
    FetcherError,
    Forbidden,
    HashMismatch,
    InsecureRedirect,
    LoginPage,
    MetadataMismatch,
    MetadataMissing,
    MissingCredentials,
    NotAnSdist,
    NotAWheel,
    NotFound,
    ServerFailed,
    Stalled,
    StatusError,
    Throttled,
    TimedOut,
    TooManyRedirects,
    Truncated,
    Unauthorized,
)
from fetcher.transport.retry import GiveUp, RetryPolicy, Verdict, Wait, decide_retry

URL = "https://host/demo.whl"
POLICY = RetryPolicy(retries=3, first_wait=0.5, longest_wait=60)


def decide(
    error: FetcherError, attempt: int = 1, chance: float = 0.5, policy: RetryPolicy = POLICY, left: float = inf
) -> Verdict:
    return decide_retry(error, attempt=attempt, policy=policy, chance=chance, left=left)


TRANSIENT = [
    ConnectFailed(URL, "refused"),
    Disconnected(URL, "reset"),
    TimedOut(URL, "nothing came", seconds=5),
    Stalled(URL, least=1, seconds=5),
    Truncated(URL, received=12, expected=40),
    Throttled(URL, 408),
    Throttled(URL, 429),
    *(ServerFailed(URL, status) for status in (500, 502, 503, 504, 506, 507, 520, 524, 599)),
]
LASTING = [
    ConnectFailed(URL, "its TLS certificate is not trusted", lasting=True),
    ServerFailed(URL, 501),
    ServerFailed(URL, 505),
    StatusError(URL, 400),
    StatusError(URL, 304),
    NotFound(URL),
    NotFound(URL, 410),
    Unauthorized(URL, "corp"),
    Forbidden(URL, "corp"),
    MissingCredentials(URL, "corp"),
    InsecureRedirect(URL, URL),
    TooManyRedirects(URL, redirects=10),
    BadReply(URL, "x"),
    ConfigError("x"),
    LoginPage("demo.whl", URL, URL, 200, "", None, None, None, None),
    NotAWheel(URL, "demo.whl", "json"),
    NotAnSdist(URL, "demo.tar.gz", "json"),
    BadPage(URL, "x"),
    BadZip("demo.whl", "x"),
    MetadataMissing("demo.whl", "x"),
    MetadataMismatch("demo.whl", "x"),
    HashMismatch("demo.whl", URL, "sha256", "a", "b"),
    DiskError("demo.whl", "x"),
]


def name(error: FetcherError) -> str:
    return f"{type(error).__name__} {getattr(error, 'status', '')}".strip()


@pytest.mark.parametrize("error", TRANSIENT, ids=name)
def test_worth_another_attempt(error: FetcherError) -> None:
    assert isinstance(decide(error), Wait)


@pytest.mark.parametrize("error", LASTING, ids=name)
def test_not_worth_it(error: FetcherError) -> None:
    assert decide(error) == GiveUp(error)


@pytest.mark.parametrize("error", TRANSIENT, ids=name)
@pytest.mark.parametrize("retries", [0, 1, 3])
def test_so_many_further_attempts(error: FetcherError, retries: int) -> None:
    policy = RetryPolicy(retries=retries)
    verdicts = [decide(error, attempt, policy=policy) for attempt in range(1, retries + 3)]
    assert [isinstance(verdict, Wait) for verdict in verdicts] == [True] * retries + [False, False]
    assert verdicts[-1] == GiveUp(error)


@pytest.mark.parametrize(
    ("attempt", "bound"), [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (7, 32.0), (8, 60.0), (9, 60.0), (50, 60.0)]
)
def test_full_jitter_below_a_doubling_bound(attempt: int, bound: float) -> None:
    policy = RetryPolicy(retries=100, first_wait=0.5, longest_wait=60)
    waits = [decide(Disconnected(URL), attempt, chance, policy) for chance in (0.0, 0.25, 0.999)]
    assert [wait.seconds for wait in waits if isinstance(wait, Wait)] == [0.0, bound * 0.25, bound * 0.999]


@pytest.mark.parametrize(
    ("left", "waits"),
    [(inf, True), (1.01, True), (1.0, False), (0.5, False), (0.0, False), (-1.0, False)],
)
@pytest.mark.parametrize("error", TRANSIENT, ids=name)
def test_no_wait_goes_beyond_the_deadline(error: FetcherError, left: float, waits: bool) -> None:
    """The error of the attempt says more than that time is over."""
    assert decide(error, attempt=3, chance=0.5, left=left) == (Wait(1.0) if waits else GiveUp(error, hurried=True))


def test_the_last_attempt_fails_for_another_reason() -> None:
    error = Disconnected(URL)
    assert decide(error, attempt=4, chance=0.5, left=0.0) == GiveUp(error, hurried=False)


def test_where_there_was_no_time_to_ask_there_is_none_to_ask_again() -> None:
    error = Throttled(URL, 503, 20, left=5)
    assert decide(error, left=100) == GiveUp(error, hurried=True)


class TestRetryAfter:
    @pytest.mark.parametrize("kind", [Throttled, ServerFailed])
    @pytest.mark.parametrize("seconds", [0.0, 5.0, 60.0])
    def test_obeyed_by_the_host(self, kind: type[StatusError], seconds: float) -> None:
        for chance in (0.0, 0.9):
            assert decide(kind(URL, 503, seconds), chance=chance) == Wait(seconds, host_wide=True)

    @pytest.mark.parametrize(("error", "status"), [(Throttled(URL, 429, 61), 429), (ServerFailed(URL, 503, 3600), 503)])
    def test_longer_than_we_wait(self, error: StatusError, status: int) -> None:
        verdict = decide(error)
        assert isinstance(verdict, GiveUp)
        assert isinstance(verdict.error, Throttled)
        assert (verdict.error.status, verdict.error.retry_after) == (status, error.retry_after)
        assert f"asks to wait {error.retry_after:g} s" in str(verdict.error)

    def test_saying_so_on_the_last_attempt_too(self) -> None:
        verdict = decide(ServerFailed(URL, 503, 3600), attempt=4)
        assert isinstance(verdict, GiveUp)
        assert "asks to wait 3600 s" in str(verdict.error)

    @pytest.mark.parametrize("left", [0.0, 5.0, 29.9, 30.0])
    def test_longer_than_there_is_time(self, left: float) -> None:
        verdict = decide(ServerFailed(URL, 503, 30), left=left)
        assert isinstance(verdict, GiveUp)
        assert isinstance(verdict.error, Throttled)
        assert verdict.hurried
        assert (verdict.error.status, verdict.error.retry_after, verdict.error.left) == (503, 30, left)
        assert f"asks to wait 30.0 s, but {left:.1f} s are left before the deadline" in str(verdict.error)

    def test_as_long_as_there_is_time(self) -> None:
        assert decide(Throttled(URL, 429, 30), left=30.1) == Wait(30, host_wide=True)

    def test_the_longest_wait_is_said_first(self) -> None:
        """With more time it would end in the same way."""
        verdict = decide(Throttled(URL, 429, 3600), left=10)
        assert isinstance(verdict, GiveUp)
        assert isinstance(verdict.error, Throttled)
        assert verdict.error.left is None

    def test_time_is_no_matter_on_the_last_attempt(self) -> None:
        error = Throttled(URL, 429, 30)
        assert decide(error, attempt=4, left=10) == GiveUp(error)

    def test_not_for_what_is_lasting(self) -> None:
        error = ServerFailed(URL, 501, 5)
        assert decide(error) == GiveUp(error)

    def test_not_beyond_the_attempts(self) -> None:
        error = Throttled(URL, 429, 5)
        assert decide(error, attempt=4) == GiveUp(error)


@given(
    st.sampled_from([*TRANSIENT, *LASTING, Throttled(URL, 429, 7), ServerFailed(URL, 503, 1e9)]),
    st.integers(1, 10**6),
    st.floats(0, 1, exclude_max=True),
    st.integers(0, 10**6),
    st.floats(0, 10),
    st.floats(0, 100),
    st.floats(allow_nan=False),
)
def test_any_facts(
    error: FetcherError, attempt: int, chance: float, retries: int, first_wait: float, longest_wait: float, left: float
) -> None:
    verdict = decide(error, attempt, chance, RetryPolicy(retries, first_wait, longest_wait), left)
    if isinstance(verdict, Wait):
        assert attempt <= retries
        assert error not in LASTING
        assert 0 <= verdict.seconds <= longest_wait
        assert verdict.seconds < left
    else:
        assert verdict.error is error or isinstance(verdict.error, Throttled)
