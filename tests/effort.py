"""What a piece of work costs, told without a clock."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

# A function of Python's own counts as one of ours does; so does going on with a generator.
CALLS = ("call", "c_call")


def calls_of(work: Callable[[], object]) -> int:
    """Do the work and count the calls of functions it makes: the same number each time, on any machine."""
    count = 0

    def note(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        count += event in CALLS

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count
