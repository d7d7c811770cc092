"""At most so many bytes a second, over all responses together."""

from dataclasses import dataclass

__all__ = ["Pace"]

# What was not used is not saved up for longer than this, in seconds.
BURST = 0.25


@dataclass
class Pace:
    """A leaky bucket: `rate` in bytes per second.  Times are monotonic, in seconds."""

    rate: float
    _free_at: float = float("-inf")

    def pause(self, count: int, now: float) -> float:
        """Take note of bytes that came, and return how many seconds to wait before more are read."""
        self._free_at = max(self._free_at, now - BURST) + count / self.rate
        return max(0.0, self._free_at - now)
