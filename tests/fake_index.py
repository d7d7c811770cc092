"""A package index on loopback whose faults are values and whose wire log can be asserted.

    async with FakeIndex(wheels={wheel_filename(): make_wheel()}, faults={"*.whl": SuffixRefused(501)}) as index:
        ...                                          # ask index.url, http://127.0.0.1:<port>/simple
        assert [wire.status for wire in index.log] == [200, 501, 206]

Without faults it is an honest server: Simple API pages, files with single ranges, strong ETags, If-Range, HEAD,
keep-alive. Several may run at once, each a realm of its own. It runs in the event loop of the test.
"""

from __future__ import annotations

import asyncio
import base64
import socket
from collections import Counter
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Self

from aiohttp import web
from fake_answers import CHUNK, LOGIN_PATH, Answer, Ask, alter, answer_instead, answer_login, missay, serve
from fake_faults import Fault, Has, Instead, LoginPage, Only, Says, SignedOnly, Status
from fake_pages import Tree
from listening import stop_listening

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType

    from aiohttp.web_protocol import RequestHandler

UNAUTHORIZED = Status(401, headers={"WWW-Authenticate": 'Basic realm="packages"'})
# The headers of an answer, exactly. Kept beside the response because aiohttp adds to its headers.
_STATED = web.ResponseKey("stated", dict[str, str])


def basic(user: str, password: str) -> str:
    """The Authorization value of a user and a password."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@dataclass(frozen=True)
class Guard:
    """What the paths below a prefix want to hear.

    accepts: the exact values of `header` that let through. otherwise: the answer to a request without that header.
    refused: the answer to any other value; `otherwise` if None. devpi-lockdown is `otherwise=LoginPage(redirect=True)`,
    AWS CodeArtifact's 404 to an expired token (uv 11899) is `refused=Status(404)`.
    cold_start: the first accepted request takes so many seconds, and what comes meanwhile gets 401 (Artifactory).
    """

    accepts: tuple[str, ...]
    otherwise: Instead = UNAUTHORIZED
    refused: Instead | None = None
    header: str = "Authorization"
    cold_start: float = 0


@dataclass(frozen=True)
class Wire:
    """One request as it came in, and what was sent for it.

    number: its place in the log. connection: the number of its TCP connection. target: path and query as sent.
    status: 0 until answered, and for a connection closed without an answer. body_bytes: handed to the transport,
    chunk framing not counted.
    """

    number: int
    connection: int
    method: str
    target: str
    headers: Mapping[str, str]
    status: int = 0
    body_bytes: int = 0

    @property
    def path(self) -> str:
        """Without query, percent-encoded as sent."""
        return self.target.partition("?")[0]

    @property
    def range(self) -> str | None:
        return self.headers.get("Range")

    @property
    def authorization(self) -> str | None:
        return self.headers.get("Authorization")


@dataclass(kw_only=True, eq=False)
class FakeIndex(Tree):
    """A server with one index, whose fields are `Tree`'s, and perhaps `more` on the same host.

    faults: glob of a decoded path or of its last segment to a fault or several; all that match apply, in order.
    `*.whl` are wheels, `*.metadata` sidecars, `/simple/*` pages; `/+login` has none. May be changed at any time; a
    fault in the place of one of its own class goes on with that one's count.
    auth: path prefix to what it wants to hear, None for public; the longest prefix, by whole segments, decides.
    host: the name that URLs use for 127.0.0.1. tls: a server's context; URLs are then https.
    log: one record per request in the order of arrival; look at a part of it by slicing, never clear it.
    connections: TCP connections accepted, with or without a request.
    under_way, busiest: requests that are being answered now, and the most there were at once.
    """

    more: Sequence[Tree] = ()
    faults: Mapping[str, Fault | Sequence[Fault]] = field(default_factory=dict)
    auth: Mapping[str, Guard | None] = field(default_factory=dict)
    host: str = "127.0.0.1"
    tls: ssl.SSLContext | None = None
    log: list[Wire] = field(default_factory=list, init=False)
    connections: int = field(default=0, init=False)
    under_way: int = field(default=0, init=False)
    busiest: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._met: Counter[tuple[object, ...]] = Counter()
        self._connection_numbers: dict[object, int] = {}
        self._warm_at: dict[str, float] = {}
        self._login_pages: dict[str, LoginPage] = {}
        self._errors: list[Exception] = []

    # --- URLs ---

    @property
    def base(self) -> str:
        """Scheme, host and port."""
        return f"{'https' if self.tls else 'http'}://{self.host}:{self._port}"

    @property
    def url(self) -> str:
        """The index URL, without a trailing slash."""
        return self.base + self.pages

    @property
    def files_url(self) -> str:
        """The folder of the files: what another server's `href` or `RedirectTo` may name."""
        return self.base + self.files

    def url_as(self, userinfo: str) -> str:
        """The index URL with `user:password` in it."""
        return self.url.replace("://", f"://{userinfo}@", 1)

    # --- the log, summed up ---

    @property
    def requests(self) -> int:
        return len(self.log)

    @property
    def body_bytes(self) -> int:
        return sum(wire.body_bytes for wire in self.log)

    @property
    def paths(self) -> list[str]:
        return [wire.path for wire in self.log]

    @property
    def anonymous(self) -> list[Wire]:
        """The requests without Authorization and without any other header that a guard asks for."""
        secret = {"Authorization", *(guard.header for guard in self.auth.values() if guard)}
        return [wire for wire in self.log if not any(name in wire.headers for name in secret)]

    def select(self, pattern: str) -> list[Wire]:
        """The requests whose path, or its last segment, matches a glob as in `faults`."""
        return [wire for wire in self.log if _matches(pattern, _ask(wire).path)]

    # --- the server ---

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        app.on_response_prepare.append(_state_headers)
        # 0 would wait for ever (aiohttp's ceil_timeout); this is how long a stalled handler can delay the end.
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.001)
        await self._runner.setup()
        listener = socket.create_server(("127.0.0.1", 0))
        # Accepted sockets inherit it. The kernel's default would swallow megabytes after the client has lost interest.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * CHUNK)
        self._port: int = listener.getsockname()[1]
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, sock=listener, ssl=self.tls, backlog=1024)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await stop_listening(self._server)
        await self._runner.cleanup()
        if self._errors:
            raise ExceptionGroup("the fake index itself failed", self._errors)

    def _accept(self) -> RequestHandler:
        assert self._runner.server is not None
        protocol = self._runner.server()
        self.connections += 1
        self._connection_numbers[protocol] = self.connections
        return protocol

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        number = len(self.log)
        connection = self._connection_numbers[request.protocol]
        # raw_path has the query too, and the escapes as they were sent.
        wire = Wire(number, connection, request.method, request.raw_path, request.headers)
        self.log.append(wire)
        self.under_way += 1
        self.busiest = max(self.busiest, self.under_way)
        try:
            answer = self._answer(_ask(wire))
            await asyncio.sleep(answer.delay)
            return await self._send(number, request, answer)
        except Exception as error:
            self._errors.append(error)
            raise
        finally:
            self.under_way -= 1

    # --- what to answer ---

    def _answer(self, ask: Ask) -> Answer:
        if ask.path == LOGIN_PATH:
            return answer_login(self._login_pages.get(ask.query.get("goto_url", ""), LoginPage()), ask)
        guard_fault, hold = self._challenge(ask)
        anonymous = "Authorization" not in ask.headers
        found = (tree.find(ask.path, base=self.base, anonymous=anonymous) for tree in (self, *self.more))
        resource = next((resource for resource in found if resource is not None), None)
        placed = list(self._in_force([*guard_fault, *self._faults_of(ask.path)], ask))
        for place, fault in placed:
            if isinstance(fault, Instead):
                answer = answer_instead(fault, ask, resource, self._meet(place, fault, ask))
                if answer is not None:
                    if isinstance(fault, LoginPage):
                        self._login_pages[ask.target] = fault
                    return replace(answer, delay=answer.delay + hold)
        for place, fault in placed:
            if isinstance(fault, Has) and resource is not None:
                resource = alter(fault, resource, self._meet(place, fault, ask))
        answer = replace(serve(ask, resource), delay=hold)
        for place, fault in placed:
            if not isinstance(fault, Instead | Has):
                answer = missay(fault, answer, self._meet(place, fault, ask))
        return answer

    def _challenge(self, ask: Ask) -> tuple[list[tuple[object, Fault]], float]:
        """The fault that an ill-authenticated request meets, if any, and how long a good one is held."""
        covering = [prefix for prefix in self.auth if f"{ask.path}/".startswith(f"{prefix.rstrip('/')}/")]
        prefix = max(covering, key=len, default="")
        guard = self.auth.get(prefix)
        if guard is None:
            return [], 0
        said = ask.headers.get(guard.header)
        if said is None or said not in guard.accepts:
            fault = guard.otherwise if said is None or guard.refused is None else guard.refused
            return [(prefix, fault)], 0
        now = asyncio.get_running_loop().time()
        if guard.cold_start and prefix not in self._warm_at:
            self._warm_at[prefix] = now + guard.cold_start
            return [], guard.cold_start
        return ([(prefix, UNAUTHORIZED)] if now < self._warm_at.get(prefix, 0) else []), 0

    def _faults_of(self, path: str) -> Iterator[tuple[object, Fault]]:
        for pattern, faults in self.faults.items():
            if _matches(pattern, path):
                several = faults if isinstance(faults, list | tuple) else [faults]
                yield from (((pattern, place), fault) for place, fault in enumerate(several))

    def _in_force(
        self, placed: Sequence[tuple[object, Fault]], ask: Ask
    ) -> Iterator[tuple[object, Instead | Has | Says]]:
        """The faults that this request meets: those of an `Only` whose turn it is, and all others."""
        for place, fault in placed:
            if not isinstance(fault, Only):
                yield place, fault
                continue
            spared = self._meet((place, Only), fault.fault, ask) - fault.after
            if spared > 0 and (fault.times is None or spared <= fault.times):
                yield place, fault.fault

    def _meet(self, place: object, fault: Instead | Has | Says, ask: Ask) -> int:
        """How often this fault has now been met for this path; a signature counts for itself."""
        key = (place, fault.__class__, ask.target if isinstance(fault, SignedOnly) else ask.path)
        self._met[key] += 1
        return self._met[key]

    # --- how to send it ---

    async def _send(self, number: int, request: web.Request, answer: Answer) -> web.StreamResponse:
        transport = request.transport
        response = _response(answer)
        if transport is None or answer.hang_up:  # or the client has gone: nothing can be written any more
            if transport is not None:
                transport.close()
            return response
        self.log[number] = replace(self.log[number], status=answer.status)
        transport.set_write_buffer_limits(high=CHUNK)
        try:
            await response.prepare(request)
            if request.method != "HEAD":
                await self._send_body(number, request, response, answer)
        except ConnectionError:
            # The client closed early; body_bytes says when. aiohttp ends the connection with the same error.
            return response
        if answer.cut_after is not None:
            transport.abort() if answer.reset else transport.close()
        return response

    async def _send_body(self, number: int, request: web.Request, response: web.StreamResponse, answer: Answer) -> None:
        for pause, piece in answer.pieces():
            await asyncio.sleep(pause * self.under_way if answer.shares else pause)
            # Counted first: once written, the client may finish, and the test look, before this task runs again.
            before = self.log[number]
            self.log[number] = replace(before, body_bytes=before.body_bytes + len(piece))
            try:
                await response.write(piece)
            except ConnectionError:
                self.log[number] = before
                raise
            await request.writer.drain()


def _ask(wire: Wire) -> Ask:
    return Ask(wire.method, wire.target, wire.headers)


def _matches(pattern: str, path: str) -> bool:
    return fnmatchcase(path, pattern) or fnmatchcase(path.rpartition("/")[2], pattern)


def _response(answer: Answer) -> web.StreamResponse:
    """The response with its framing; its headers are stated by `_state_headers`."""
    stated = dict(answer.headers)
    if answer.framing == "length" and answer.status != 304:
        stated.setdefault("Content-Length", str(len(answer.body)))
    response = web.StreamResponse(status=answer.status)
    response[_STATED] = stated
    if answer.framing == "chunked":
        response.enable_chunked_encoding()
    else:
        # With a length aiohttp does not chunk; the header itself is taken away again if none is to be stated.
        response.content_length = len(answer.body)
        if answer.framing == "close" or stated.get("Content-Length", str(len(answer.body))) != str(len(answer.body)):
            response.force_close()
    return response


async def _state_headers(_: web.BaseRequest, response: web.StreamResponse) -> None:
    """Send the stated headers only: no Content-Type of aiohttp's own, a length that may be wrong or missing."""
    if _STATED not in response:
        return  # aiohttp's own 500, after a failure of the fake
    for name in ("Content-Length", "Content-Type", "Server"):
        response.headers.pop(name, None)
    response.headers.update(response[_STATED])
