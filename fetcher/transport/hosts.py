"""What was learned of each host in this run: its limit, its pause, and the form of range it understands."""

from dataclasses import dataclass, field
from time import monotonic

from anyio import CapacityLimiter, Event, move_on_after

from fetcher.index.urls import Realm
from fetcher.transport.limit import Limit

__all__ = ["Host", "Hosts"]


# Connections to one host, so long as several bring one file: browsers have six, aria2 allows sixteen.
MOST_LANES = 8
# Seconds to wait for what a host's first answer tells: a few long round trips.
PATIENCE = 1.0


@dataclass
class Host:
    """One host; `limiter` has as many places as `limit` says.

    `cool_until` is a monotonic time in seconds before which nothing is sent there, `cooled_by` the status that asked
    for that.  The two refusals are set only when the same file was then had in another form, so that one file's fault
    is not held against its host; a later 206 heals `refuses_ranges`.  `lanes` bounds the connections when several bring
    one file: where one more was refused, it is as many as there were; `coming` of them are begun and have no place yet.
    """

    limit: Limit
    limiter: CapacityLimiter = field(init=False)
    cool_until: float = 0.0
    cooled_by: int = 0
    refuses_suffix: bool = False
    refuses_ranges: bool = False
    lanes: int = MOST_LANES
    coming: int = 0
    _knows_ranges: bool = False
    # Set once something has come; None as long as nobody has asked.
    _heard: Event | None = None

    def __post_init__(self) -> None:
        self.limiter = CapacityLimiter(self.limit.now)

    @property
    def room_for_lanes(self) -> int:
        """How many connections more may help to bring a file: the host's other connections count, too."""
        return int(min(MOST_LANES - self.limiter.borrowed_tokens, self.limiter.available_tokens)) - self.coming

    def answered(self, seconds: float) -> None:
        """Take note of how long an answer took."""
        self.limit.answered(seconds)
        self._follow_limit()

    def complained(self, began: float) -> None:
        """Take note that a request that began then was too much."""
        self.limit.complained(began, monotonic())
        self._follow_limit()

    def _follow_limit(self) -> None:
        if self.limiter.total_tokens != self.limit.now:
            self.limiter.total_tokens = self.limit.now

    def cool_down(self, until: float, status: int) -> bool:
        """Keep everybody from this host until then, as `status` asked; an earlier, longer pause stays.

        Say whether the pause is a longer one now.
        """
        longer = until > self.cool_until
        if longer:
            self.cool_until, self.cooled_by = until, status
        return longer

    def note(self, *, right_range: bool) -> None:
        """Take note of an answer; `right_range`: a 206 that was what had been asked for."""
        self._knows_ranges = self._knows_ranges or right_range
        self.refuses_ranges = self.refuses_ranges and not right_range
        self._heard = self._heard or Event()
        self._heard.set()

    async def is_known_to_range(self) -> bool:
        """Say whether a right 206 has ever come from there.

        The first who asks is told no at once; the next wait until the first has heard something, but not for long.
        """
        if self._heard is None:
            self._heard = Event()
        else:
            with move_on_after(PATIENCE):
                await self._heard.wait()
        return self._knows_ranges


@dataclass
class Hosts:
    """All hosts of this run, each made at its first use; at most `most` requests at once to one of them."""

    most: int
    _hosts: dict[Realm, Host] = field(default_factory=dict)

    def of(self, realm: Realm) -> Host:
        """Return what is known of a realm."""
        host = self._hosts.get(realm)
        if host is None:
            host = self._hosts[realm] = Host(Limit(self.most))
        return host
