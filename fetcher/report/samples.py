"""How a run went along: its totals now and then, in bounded memory.

1. A sample is taken whenever `interval` has passed.  Fewer than LIMIT are kept, however long the run is: when there are
   as many, every second one goes and the interval doubles, so that what is kept stays evenly spaced.
2. The first sample and the last are always kept.
3. The highest memory is never lost: that of a sample that goes is counted for the one after it.

This file is pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

__all__ = ["Sample", "Samples"]

# Odd, so that the last of so many samples stays when every second one goes (rule 2).  More than a screen has room for.
LIMIT = 501
# In seconds.  Rule 1 makes it longer from the fiftieth second on.
FIRST_INTERVAL = 0.1


@dataclass(frozen=True, slots=True)
class Sample:
    """The totals of a run `seconds` after its start: files done, bytes transferred.

    `memory` is what the process held, in resident bytes: the highest since the sample before, of what was looked at.
    """

    seconds: float
    files: int
    bytes: int
    memory: int


@dataclass
class Samples:
    """The samples of one run.  The caller has the clock: all times are seconds since the start of the run."""

    interval: float = FIRST_INTERVAL
    _kept: list[Sample] = field(default_factory=list, init=False)

    @property
    def kept(self) -> Sequence[Sample]:
        """What was kept so far, in order."""
        return tuple(self._kept)

    def add(self, sample: Sample) -> None:
        """Keep a sample, due or not: that of the end of the run comes when it comes."""
        self._kept.append(sample)
        if len(self._kept) == LIMIT:
            pairs = zip(self._kept[1::2], self._kept[2::2], strict=True)
            merged = [replace(after, memory=max(gone.memory, after.memory)) for gone, after in pairs]
            self._kept[1:] = merged
            self.interval *= 2
