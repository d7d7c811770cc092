"""After a failed attempt: wait and try again, or give up.

Rules:

* Worth another attempt: connection faults, cut bodies, 408, 429, and 5xx except 501 and 505.
* The wait doubles from attempt to attempt and is drawn evenly between zero and that bound ("full jitter"), so that
  clients which failed together do not come back together.
* Retry-After is obeyed, in seconds or as a date; it holds for the host.  One that asks for longer than `longest_wait`
  ends the request at once, saying so.
* A wait that would last until the deadline, or beyond it, is not begun: the request ends at once.

This file is pure: the random number and the time are arguments.
"""

from dataclasses import dataclass
from math import inf

from fetcher.errors import (
    ConnectFailed,
    Disconnected,
    FetcherError,
    ServerFailed,
    Stalled,
    StatusError,
    Throttled,
    TimedOut,
    Truncated,
)

__all__ = ["GiveUp", "RetryPolicy", "Verdict", "Wait", "decide_retry"]

_FAULTS = (Disconnected, TimedOut, Stalled, Truncated)
# Not Implemented and HTTP Version Not Supported will not change by asking again.
_LASTING = frozenset({501, 505})


# By then the longest wait is reached, whatever the first.
MOST_DOUBLINGS = 30


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how long: `retries` further attempts, first wait and longest wait in seconds."""

    retries: int = 3
    first_wait: float = 0.25
    # A minute is what people still wait for without looking whether it hangs.
    longest_wait: float = 60.0


@dataclass(frozen=True)
class Wait:
    """Try again after `seconds`; `host_wide` if the server asked for the pause, which then holds for the host."""

    seconds: float
    host_wide: bool = False


@dataclass(frozen=True)
class GiveUp:
    """Raise `error`; `hurried` if it is for lack of time."""

    error: FetcherError
    hurried: bool = False


Verdict = Wait | GiveUp


def is_transient(error: FetcherError) -> bool:
    """Say whether another attempt might end better."""
    if isinstance(error, ConnectFailed):
        return not error.lasting
    if isinstance(error, ServerFailed):
        return error.status not in _LASTING
    if isinstance(error, Throttled):
        return error.left is None  # otherwise there was no time even for this attempt
    return isinstance(error, _FAULTS)


def decide_retry(
    error: FetcherError, *, attempt: int, policy: RetryPolicy, chance: float, left: float = inf
) -> Verdict:
    """Decide after attempt number `attempt` (from 1) failed with `error`.

    `chance` is drawn from [0, 1); `left` are the seconds until the deadline.
    """
    if not is_transient(error):
        return GiveUp(error, hurried=isinstance(error, Throttled) and error.left is not None)
    if isinstance(error, StatusError) and error.retry_after is not None:
        return _decide_asked(error, error.retry_after, attempt, policy, left)
    seconds = min(policy.longest_wait, policy.first_wait * 2.0 ** min(attempt - 1, MOST_DOUBLINGS)) * chance
    if attempt > policy.retries:
        return GiveUp(error)
    return Wait(seconds) if seconds < left else GiveUp(error, hurried=True)


def _decide_asked(error: StatusError, asked: float, attempt: int, policy: RetryPolicy, left: float) -> Verdict:
    """Decide after an answer that asks to wait for `asked` seconds."""
    if asked > policy.longest_wait:
        return GiveUp(Throttled(error.url, error.status, asked))
    if attempt > policy.retries:
        return GiveUp(error)
    if asked >= left:
        return GiveUp(Throttled(error.url, error.status, asked, left), hurried=True)
    return Wait(asked, host_wide=True)
