"""How much room of each volume is spoken for by those who are writing there."""

import errno
import os
import shutil
import threading
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass

from fetcher.download.slots import Leftovers

__all__ = ["Claim", "Volumes"]

# Room is given out by the system's count of it; a quota is another limit of the same kind.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(eq=False)
class Claim:
    """A place where somebody writes: so many bytes are `written`, and `left` to be written as far as that is known."""

    device: int
    left: int = 0
    written: int = 0


class Volumes:
    """All volumes of this run; `leftovers` says of which files parts lie in a directory.

    A volume that was too small gets no new work of unknown size before it has more room than there was in all.
    Its methods look at the disk: call them in a thread.
    """

    def __init__(self) -> None:
        self.leftovers = Leftovers()
        self._lock = threading.Lock()
        self._claims: defaultdict[int, set[Claim]] = defaultdict(set)
        # Device -> the room that was not enough for somebody.
        self._too_small: dict[int, int] = {}

    def claim(self, directory: str, size: int | None) -> Claim:
        """Return a claim to room for `size` bytes (None: not known).

        Raises OSError: ENOSPC if there is not as much.
        """
        claim = Claim(os.stat(directory).st_dev, size or 0)
        free = shutil.disk_usage(directory).free
        with self._lock:
            claims = self._claims[claim.device]
            room = free - sum(other.left for other in claims)
            if room < claim.left:
                self._note(claim.device, room)
            if room < claim.left or (size is None and room <= self._too_small.get(claim.device, -1)):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            claims.add(claim)
        return claim

    def release(self, claim: Claim) -> None:
        """Give the room back that was not used."""
        with self._lock:
            self._claims[claim.device].discard(claim)

    def failed(self, claim: Claim, directory: str, error: OSError) -> None:
        """Take note of an error; if the volume is full, all that is written now and free was not enough."""
        if error.errno in FULL:
            with suppress(OSError), self._lock:
                written = sum(other.written for other in self._claims[claim.device])
                self._note(claim.device, written + shutil.disk_usage(directory).free)

    def _note(self, device: int, room: int) -> None:
        self._too_small[device] = max(room, self._too_small.get(device, -1))
