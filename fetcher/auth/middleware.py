"""The aiohttp client middleware: for every hop scope first, then policy, then credentials.

|                  | auto                                   | always                            | never    |
|------------------|----------------------------------------|-----------------------------------|----------|
| credentials known| sent at once                           | sent at once                      | stripped |
| none known       | sent bare; on a challenge looked up    | looked up first; none found:      | bare     |
|                  | once, resent once, remembered          | MissingCredentials, nothing sent  |          |

Known without a look-up are: userinfo of the request URL, the caller's, the environment's, the index URL's.  Looked up
is netrc.  A URL already signed gets nothing, whatever the policy.  Outside every scope the policy is auto, and only
the URL's own userinfo and an exact netrc machine apply.

What is learned is kept per scope (outside of them per realm) and never crosses into another: one look-up at a time,
remembered for the run, also when it found nothing.  The first request with credentials goes alone, and the others wait
for its answer: some servers answer 401 to a cold burst.  If the answer is 401, it is that of all who waited: a wrong
password is refused a few times and not n times, while one project that is closed to us does not close the index.

This is the only place that writes an Authorization header.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from anyio import Lock, to_thread
from yarl import URL

from fetcher.auth.credentials import Candidate, Credentials, Known, choose, header_of
from fetcher.auth.sources import Netrc, from_environment, from_userinfo, netrc_path, read_netrc
from fetcher.errors import MissingCredentials, Unauthorized
from fetcher.index.scope import Index, Policy, Scope, Scopes
from fetcher.index.urls import Realm, Userinfo, is_signed, parse_url, realm_of

if TYPE_CHECKING:  # aiohttp itself is imported at the first request: see transport/session.py
    from aiohttp import ClientHandlerType, ClientMiddlewareType, ClientRequest, ClientResponse

__all__ = ["CHALLENGES", "Authenticator", "Hop"]

UNAUTHORIZED = 401
# With no success before, credentials are taken for wrong; more attempts may lock the account.
MOST_REFUSALS = 3
# Statuses that may mean "not without credentials"; a login page is the other way to say so.
CHALLENGES = frozenset({401, 403, 404})


@dataclass
class Hop:
    """One request on its way through redirects, and what was decided for it.

    `url` holds no userinfo.  `asked`: it was handed to the network.  `sent` names the source of the credentials that
    went with it; None: it went bare.  `credentials` are those themselves.
    """

    url: URL = field(repr=False)
    userinfo: Userinfo | None = field(repr=False)
    scope: Scope | None
    asked: bool = False
    sent: str | None = None
    credentials: Credentials | None = field(default=None, repr=False)
    status: int | None = None

    @property
    def policy(self) -> Policy:
        """The policy of the index it belongs to; auto outside every scope."""
        return "auto" if self.scope is None else self.scope.index.authenticate

    @property
    def index(self) -> str | None:
        """What the index it belongs to is called in sentences."""
        return None if self.scope is None else self.scope.index.label

    @property
    def signed(self) -> bool:
        """Whether the URL carries its own permission."""
        return is_signed(self.url)


class _Standing:
    """What is known, in this run, of one scope's credentials."""

    def __init__(self, upfront: Sequence[Candidate]) -> None:
        self.upfront = tuple(upfront)
        self.looked_up: tuple[Candidate, ...] | None = None
        self.known: Known | None = choose(self.upfront)
        self.look_up_lock = Lock()
        # Held by the first request with credentials until its answer is there.
        self.first = Lock()
        self.opened = False
        self.refusals = 0

    def learn(self, found: Sequence[Candidate]) -> None:
        self.looked_up = tuple(found)
        self.known = choose((*self.upfront, *found))

    def including(self, own: Sequence[Candidate]) -> Known | None:
        return choose((*own, *self.upfront, *(self.looked_up or ())))


class Authenticator:
    """Decides what each hop says about who we are, and remembers what worked.

    `credentials` are the caller's, by index name.  `environ` and `home` say where the environment's and the netrc
    file are found.
    """

    def __init__(
        self,
        scopes: Scopes,
        *,
        credentials: Mapping[str, Credentials] | None = None,
        environ: Mapping[str, str] = os.environ,
        home: Path | None = None,
    ) -> None:
        self._scopes = scopes
        self._callers = dict(credentials or {})
        self._environ = environ
        self._home = home
        self._standings: dict[Index | Realm, _Standing] = {}
        self._netrc: Netrc | None = None
        self._netrc_lock = Lock()

    def hop(self, url: URL, userinfo: Userinfo | None, listed_by: Index | None) -> Hop:
        """Return the hop for a URL without userinfo, its scope resolved."""
        return Hop(url, userinfo, self._scopes.resolve(url, listed_by))

    def middleware(self, hop: Hop) -> "ClientMiddlewareType":
        """Return the aiohttp middleware for one hop.

        It raises MissingCredentials before anything is sent, and Unauthorized if the scope's credentials were refused
        while the hop waited to be sent.
        """
        return partial(self._send, hop)

    async def _send(self, hop: Hop, request: "ClientRequest", handler: "ClientHandlerType") -> "ClientResponse":
        request.headers.pop("Authorization", None)  # ours alone: neither aiohttp's nor a caller's
        known = await self.decide(hop)
        if known is None:
            return await _hand_on(hop, request, handler)
        standing = self._standing(hop)
        if known == standing.known and not standing.opened:
            refusals = standing.refusals
            async with standing.first:
                # Refused while this one waited, or too often: it would hear the same.
                if standing.refusals > refusals or standing.refusals >= MOST_REFUSALS:
                    raise Unauthorized(str(hop.url), hop.index, known.source)
                if not standing.opened:
                    return await self._send_alone(standing, known, hop, request, handler)
        return await _send_with(known, hop, request, handler)

    async def _send_alone(
        self, standing: _Standing, known: Known, hop: Hop, request: "ClientRequest", handler: "ClientHandlerType"
    ) -> "ClientResponse":
        """Send the scope's first request with credentials; all ends of it but 401 and cancellation let the rest go."""
        try:
            response = await _send_with(known, hop, request, handler)
        except Exception:
            standing.opened = True
            raise
        standing.opened = response.status != UNAUTHORIZED
        standing.refusals += not standing.opened
        return response

    async def decide(self, hop: Hop) -> Known | None:
        """Apply the policy table to one hop: return what goes with it at once.  Raises MissingCredentials."""
        own = from_userinfo(hop.userinfo, "the request URL")
        if hop.policy == "never" or hop.signed:
            return None
        standing = self._standing(hop)
        known = standing.including(own)
        needs_look_up = hop.policy == "always" if known is None else not known.complete
        if needs_look_up:
            await self._look_up(hop, standing)
            known = standing.including(own)
        if hop.policy == "always" and (known is None or not known.complete):
            named = (candidate.source for candidate in (*own, *standing.upfront) if candidate.username)
            raise MissingCredentials(str(hop.url), hop.index or "", next(named, None))
        return known

    async def answer_challenge(self, hops: Sequence[Hop]) -> bool:
        """Look up credentials for the hops that went bare under auto; say whether sending again is worth it.

        A hop outside every scope, such as the login page itself, is asked about only if it was the request or refused
        it; and nothing is looked up on behalf of a request whose index wants none sent.
        """
        worth = False
        if hops and hops[0].policy == "never":
            return worth
        for hop in hops:
            if hop.policy != "auto" or hop.sent is not None or hop.signed:
                continue
            if hop.scope is None and hop is not hops[0] and hop.status not in CHALLENGES:
                continue
            standing = self._standing(hop)
            await self._look_up(hop, standing)
            worth = worth or standing.known is not None
        return worth

    def _standing(self, hop: Hop) -> _Standing:
        key = realm_of(hop.url) if hop.scope is None else hop.scope.index
        standing = self._standings.get(key)
        if standing is None:
            standing = self._standings[key] = _Standing(() if hop.scope is None else self._upfront(hop.scope.index))
        return standing

    def _upfront(self, index: Index) -> list[Candidate]:
        callers = self._callers.get(index.name)
        return [
            *([Candidate("the caller", credentials=callers)] if callers is not None else []),
            *from_environment(index, self._environ),
            *from_userinfo(index.userinfo, "the index URL"),
        ]

    async def _look_up(self, hop: Hop, standing: _Standing) -> None:
        if standing.looked_up is not None:
            return
        async with standing.look_up_lock:
            if standing.looked_up is None:
                netrc = await self._read_netrc()
                url = hop.url if hop.scope is None else parse_url(hop.scope.index.url)
                standing.learn(netrc.candidates(realm_of(url).host, use_default=hop.scope is not None))

    async def _read_netrc(self) -> Netrc:
        async with self._netrc_lock:
            if self._netrc is None:
                self._netrc = await to_thread.run_sync(self._read_netrc_blocking)
        return self._netrc

    def _read_netrc_blocking(self) -> Netrc:
        return read_netrc(netrc_path(self._environ, self._home or Path("~").expanduser()))


async def _send_with(
    known: Known, hop: Hop, request: "ClientRequest", handler: "ClientHandlerType"
) -> "ClientResponse":
    name, value = header_of(known.credentials)
    request.headers[name] = value
    hop.sent, hop.credentials = known.source, known.credentials
    return await _hand_on(hop, request, handler)


async def _hand_on(hop: Hop, request: "ClientRequest", handler: "ClientHandlerType") -> "ClientResponse":
    hop.asked = True
    response = await handler(request)
    hop.status = response.status
    return response
