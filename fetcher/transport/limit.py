"""How many requests one host is sent at once: as many as it takes well.

Additive increase, multiplicative decrease (AIMD, as in congestion control, RFC 5681):

| what is seen                                           | the limit                                               |
|--------------------------------------------------------|---------------------------------------------------------|
| an answer about as quick as the quickest               | one more, so that it doubles in a round trip            |
| the same, after a late one or a complaint              | one more for as many answers as the limit               |
| a late answer                                          | as it is: more requests would only wait, there or here  |
| a complaint: 429, 503, a connection refused or broken  | half, once for all requests that were then under way    |
"""

from dataclasses import dataclass

__all__ = ["Limit"]

# Enough to find out, and no burden to anybody.
FIRST = 32
# An answer is late if it takes so many times the quickest, and so many seconds more: this process may be busy itself.
LATE = 1.5
LATE_SECONDS = 0.005


@dataclass
class Limit:
    """The limit of one host; `now` is at least 1 and at most `most`.  Times are monotonic, in seconds."""

    most: int
    now: int = 0
    _quickest: float = float("inf")
    # Quick answers since the last step, once there was a late one or a complaint; None before.
    _answers: int | None = None
    _halved_at: float = float("-inf")

    def __post_init__(self) -> None:
        self.now = min(FIRST, self.most)

    def answered(self, seconds: float) -> None:
        """Take note of an answer whose head came so many seconds after the request."""
        self._quickest = min(self._quickest, seconds)
        if seconds > LATE * self._quickest + LATE_SECONDS:
            self._answers = self._answers or 0
        elif self._answers is None:
            self.now = min(self.most, self.now + 1)
        elif self._answers + 1 < self.now:
            self._answers += 1
        else:
            self.now, self._answers = min(self.most, self.now + 1), 0

    def complained(self, began: float, now: float) -> None:
        """Take note of a complaint about a request that began then."""
        if began >= self._halved_at:
            self.now, self._answers, self._halved_at = max(1, self.now // 2), 0, now
