"""How much of the requests at once each shard may have, so that all together stay within what one host is sent.

A host is sent no more than `per_host` requests at once by the whole cluster, the coordinator's own included:

- there are as many places as that.  A shard takes some when it is sent, and gives them back when it has ended; the
  coordinator takes one for each page it reads;
- shards share all places but one, which is left for pages, and no more shards are under way than there are places;
- with `per_host = 1` there is one place: shards and pages take turns.

This file is pure.
"""

from dataclasses import dataclass
from math import ceil

__all__ = ["MOST_FILES", "Shares", "shard_length", "share"]

# Files of a shard: fewer are not worth a task, more would be too many to begin anew when its worker is lost.
LEAST_FILES = 50
MOST_FILES = 200


@dataclass(frozen=True)
class Shares:
    """So many shards at once, of each so many requests at once, and so many places for all shards (None: no bound)."""

    shards: int
    concurrency: int
    places: int | None

    def per_host(self, under_way: int, taken: int) -> int | None:
        """Return how many places the next shard has, if so many are under way and have taken so many places."""
        if self.places is None:
            return None
        return max(1, ceil((self.places - taken) / max(1, self.shards - under_way)))


def share(workers: int, concurrency: int, per_host: int | None) -> Shares:
    """Share the requests at once out among so many workers (at least one)."""
    places = None if per_host is None else max(1, per_host - 1)
    shards = min(workers, concurrency, places or workers)
    return Shares(shards, concurrency // shards, places)


def shard_length(waiting: int, free: int) -> int:
    """Return how many files the next shard has if so many wait, and so many shards could be sent."""
    return min(waiting, MOST_FILES, max(LEAST_FILES, ceil(waiting / max(1, free))))
