"""After a failed attempt: wait and try again, or give up."""

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


def decide(error: FetcherError, attempt: int = 1, chance: float = 0.5, policy: RetryPolicy = POLICY) -> Verdict:
    return decide_retry(error, attempt=attempt, policy=policy, chance=chance)


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
)
def test_any_facts(
    error: FetcherError, attempt: int, chance: float, retries: int, first_wait: float, longest_wait: float
) -> None:
    verdict = decide(error, attempt, chance, RetryPolicy(retries, first_wait, longest_wait))
    if isinstance(verdict, Wait):
        assert attempt <= retries
        assert error not in LASTING
        assert 0 <= verdict.seconds <= longest_wait
    else:
        assert verdict.error is error or isinstance(verdict.error, Throttled)
