"""The policy table and what is remembered of each scope, seen from the wire."""

from __future__ import annotations

import asyncio
import os
import ssl
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import trustme
from fake_faults import (
    HangUp,
    LoginPage,
    Presigned,
    RedirectChain,
    RedirectLoop,
    RedirectTo,
    SignedOnly,
    Silence,
    Status,
)
from fake_index import FakeIndex, Guard, basic
from fake_pages import Tree
from fake_wheels import make_wheel, wheel_filename
from yarl import URL

from fetcher import errors
from fetcher.auth.credentials import Basic, Bearer, Credentials, Header
from fetcher.auth.middleware import Authenticator, Hop
from fetcher.client import Fetcher
from fetcher.errors import (
    Disconnected,
    FetcherError,
    Forbidden,
    InsecureRedirect,
    MissingCredentials,
    NotFound,
    TooManyRedirects,
    Unauthorized,
)
from fetcher.index.scope import Index, Policy, Scopes
from fetcher.index.urls import Userinfo
from fetcher.transport.reply import Reply
from fetcher.transport.retry import RetryPolicy
from fetcher.transport.session import Session, Timeouts
from fetcher.transport.transport import Answer, Request, Transport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping
    from pathlib import Path

NAMES = [wheel_filename(version=str(number)) for number in range(50)]
WHEELS = {name: b"PK" + name.encode() for name in NAMES}
FILES = [f"/files/{name}" for name in NAMES]
GOOD, BAD = basic("user", "good"), basic("user", "bad")
LOCKED = {"/": Guard((GOOD,))}
POLICIES: tuple[Policy, ...] = ("auto", "always", "never")


@dataclass
class Door:
    """The transport with its middleware, and no more."""

    transport: Transport

    async def ask(self, url: str, listed_by: Index | None = None) -> bytes:
        async def consume(answer: Answer) -> bytes:
            return await answer.response.read(1 << 20)

        return await self.transport.ask(Request(url, listed_by), consume)

    async def outcome(self, url: str, listed_by: Index | None = None) -> str:
        """ "ok" or the class of the error."""
        try:
            await self.ask(url, listed_by)
        except FetcherError as error:
            return type(error).__name__
        return "ok"

    async def outcomes(self, urls: Iterable[str]) -> list[str]:
        return await asyncio.gather(*map(self.outcome, urls))


@dataclass
class Netrc:
    """A netrc file; a broken one warns each time that it is read."""

    path: Path
    environ: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.environ = {"NETRC": str(self.path)}

    def write(self, *entries: str) -> dict[str, str]:
        self.path.write_text("\n".join(entries))
        return self.environ

    def knows(self, userinfo: str = "user good", machine: str = "machine 127.0.0.1") -> dict[str, str]:
        user, password = userinfo.split()
        return self.write(f"{machine} login {user} password {password}")

    def break_(self) -> dict[str, str]:
        return self.write("what is this")


@pytest.fixture
def netrc(tmp_path: Path) -> Netrc:
    """Not there yet."""
    return Netrc(tmp_path / "netrc")


@asynccontextmanager
async def door(
    *indexes: Index,
    environ: Mapping[str, str] | None = None,
    credentials: Mapping[str, Credentials] | None = None,
    retries: int = 0,
) -> AsyncIterator[Door]:
    auth = Authenticator(Scopes(indexes), credentials=credentials, environ=environ or {"NETRC": os.devnull}, home=None)
    async with Session(Timeouts(connect=5, read=5, window=5)) as session:
        yield Door(Transport(session, auth, retry=RetryPolicy(retries=retries, first_wait=0.001)))


def sent(server: FakeIndex) -> list[str | None]:
    return [wire.authorization for wire in server.log]


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise TimeoutError


def corp(server: FakeIndex, userinfo: str = "", **facts: Any) -> Index:
    return Index(server.url_as(userinfo) if userinfo else server.url, name="corp", **facts)


# ----------------------------------------------------------------------------------------------------------- the policy


KNOWN: dict[str, tuple[str, dict[str, str], dict[str, Credentials]]] = {
    "index URL": ("user:good", {}, {}),
    "caller": ("", {}, {"corp": Basic("user", "good")}),
    "environment": ("", {"FETCHER_INDEX_CORP_USERNAME": "user", "FETCHER_INDEX_CORP_PASSWORD": "good"}, {}),
    "uv's environment": ("", {"UV_INDEX_CORP_USERNAME": "user", "UV_INDEX_CORP_PASSWORD": "good"}, {}),
}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("place", KNOWN)
async def test_credentials_known(policy: Policy, place: str, netrc: Netrc, caplog: pytest.LogCaptureFixture) -> None:
    """Sent at once, or stripped; nothing is looked up."""
    userinfo, environ, credentials = KNOWN[place]
    async with FakeIndex(wheels=WHEELS, auth=LOCKED) as server:
        index = corp(server, userinfo, authenticate=policy)
        async with door(index, environ=environ | netrc.break_(), credentials=credentials) as here:
            outcome = await here.outcome(server.base + FILES[0])
    assert (outcome, sent(server)) == (("Unauthorized", [None]) if policy == "never" else ("ok", [GOOD]))
    assert not caplog.records


@pytest.mark.parametrize("policy", POLICIES)
async def test_credentials_in_the_request_url(policy: Policy) -> None:
    async with FakeIndex(wheels=WHEELS, auth=LOCKED) as server, door(corp(server, authenticate=policy)) as here:
        outcome = await here.outcome(server.base.replace("://", "://user:good@") + FILES[0])
    assert (outcome, sent(server)) == (("Unauthorized", [None]) if policy == "never" else ("ok", [GOOD]))
    assert server.log[0].target == FILES[0]


@pytest.mark.parametrize(
    ("policy", "outcome", "wire"),
    [
        pytest.param("auto", "ok", [None, GOOD], id="auto: bare, looked up on the challenge, resent once"),
        pytest.param("always", "ok", [GOOD], id="always: looked up first"),
        pytest.param("never", "Unauthorized", [None], id="never: nothing is looked up"),
    ],
)
async def test_credentials_in_netrc(policy: Policy, outcome: str, wire: list[str | None], netrc: Netrc) -> None:
    async with (
        FakeIndex(wheels=WHEELS, auth=LOCKED) as server,
        door(corp(server, authenticate=policy), environ=netrc.knows()) as here,
    ):
        assert await here.outcome(server.base + FILES[0]) == outcome
        assert sent(server) == wire
        assert await here.outcomes(server.base + path for path in FILES[1:5]) == [outcome] * 4
        assert sent(server)[len(wire) :] == [wire[-1]] * 4


@pytest.mark.parametrize(
    ("policy", "error", "wire"),
    [
        pytest.param("auto", Unauthorized, [None], id="auto: sent bare"),
        pytest.param("always", MissingCredentials, [], id="always: zero requests"),
        pytest.param("never", Unauthorized, [None], id="never: sent bare"),
    ],
)
async def test_no_credentials(policy: Policy, error: type[FetcherError], wire: list[str | None]) -> None:
    async with FakeIndex(wheels=WHEELS, auth=LOCKED) as server, door(corp(server, authenticate=policy)) as here:
        for _ in range(2):
            with pytest.raises(error) as caught:
                await here.ask(server.base + FILES[0])
            assert "corp" in str(caught.value)
            assert FILES[0] in str(caught.value)
    assert sent(server) == wire * 2


@pytest.mark.parametrize("policy", ["auto", "never"])
async def test_a_public_index_needs_no_look_up(policy: Policy, netrc: Netrc, caplog: pytest.LogCaptureFixture) -> None:
    async with (
        FakeIndex(wheels=WHEELS) as server,
        door(corp(server, authenticate=policy), environ=netrc.break_()) as here,
    ):
        assert await here.outcomes(server.base + path for path in FILES) == ["ok"] * 50
    assert sent(server) == [None] * 50
    assert not caplog.records


@pytest.mark.parametrize("policy", ["auto", "always"])
async def test_a_username_alone_is_completed(policy: Policy, netrc: Netrc) -> None:
    environ = netrc.write("machine 127.0.0.1 login user password good")
    async with (
        FakeIndex(wheels=WHEELS, auth=LOCKED) as server,
        door(corp(server, "user", authenticate=policy), environ=environ) as here,
    ):
        assert await here.outcome(server.base + FILES[0]) == "ok"
    assert sent(server) == [GOOD]


async def test_a_username_alone_gets_no_other_users_password(netrc: Netrc) -> None:
    environ = netrc.knows("other good")
    async with FakeIndex(wheels=WHEELS, auth=LOCKED) as server:
        for policy, wire in (("always", []), ("auto", [basic("user", "")])):
            before = server.requests
            async with door(corp(server, "user", authenticate=policy), environ=environ) as here:  # type: ignore[arg-type]
                assert await here.outcome(server.base + FILES[0]) in ("MissingCredentials", "Unauthorized")
            assert sent(server)[before:] == wire


async def test_a_token_as_username_is_not_shown() -> None:
    async with FakeIndex(wheels=WHEELS, auth=LOCKED) as server:
        for policy in ("always", "auto"):
            async with door(corp(server, "S3CR3T", authenticate=policy)) as here:  # type: ignore[arg-type]
                with pytest.raises(FetcherError) as caught:
                    await here.ask(server.base + FILES[0])
                assert "S3CR3T" not in f"{caught.value} {caught.value!r}"


@pytest.mark.parametrize("userinfo", ["user:", ":good", ":"])
async def test_half_empty_credentials_are_credentials(userinfo: str) -> None:
    value = basic(*userinfo.split(":"))
    async with (
        FakeIndex(wheels=WHEELS, auth={"/": Guard((value,))}) as server,
        door(corp(server, userinfo, authenticate="always")) as here,
    ):
        assert await here.outcome(server.base + FILES[0]) == "ok"
    assert sent(server) == [value]


@pytest.mark.parametrize(
    ("credentials", "name", "value"),
    [
        (Basic("user", "good"), "Authorization", GOOD),
        (Bearer("a.b-c"), "Authorization", "Bearer a.b-c"),
        (Header("JOB-TOKEN", "good"), "JOB-TOKEN", "good"),
    ],
)
async def test_kinds(credentials: Credentials, name: str, value: str) -> None:
    async with (
        FakeIndex(wheels=WHEELS, auth={"/": Guard((value,), header=name)}) as server,
        door(corp(server), credentials={"corp": credentials}) as here,
    ):
        assert await here.outcome(server.base + FILES[0]) == "ok"
    assert [wire.headers.getall(name) for wire in server.log] == [[value]]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("policy", "wire"), [("auto", GOOD), ("never", None)])
async def test_an_authorization_header_of_somebody_else_is_dropped(policy: Policy, wire: str | None) -> None:
    """aiohttp's own, from userinfo in a URL, or a caller's: the middleware alone decides."""
    async with FakeIndex(wheels=WHEELS) as server:
        auth = Authenticator(Scopes([corp(server, "user:good", authenticate=policy)]), environ={})
        url = URL(server.base + FILES[0])
        async with aiohttp.ClientSession() as session:
            for asked, headers in ((url.with_user("other"), {}), (url, {"authorization": BAD})):
                middlewares = (auth.middleware(auth.hop(url, None, None)),)
                async with session.get(asked, headers=headers, middlewares=middlewares) as response:
                    assert response.status == 200
    assert sent(server) == [wire, wire]


async def test_order_of_sources(netrc: Netrc) -> None:
    """Request URL, caller, environment, uv's environment, index URL, netrc: each in turn is taken away."""
    names = ["request", "caller", "environment", "uv", "index", "netrc"]
    environ = netrc.knows("user netrc")
    async with FakeIndex(wheels=WHEELS, auth={"/": Guard(tuple(basic("user", name) for name in names))}) as server:
        for first in range(len(names)):
            left = set(names[first:])
            more = {
                f"{prefix}_INDEX_CORP_{key}": value
                for prefix, name in (("FETCHER", "environment"), ("UV", "uv"))
                if name in left
                for key, value in (("USERNAME", "user"), ("PASSWORD", name))
            }
            index = corp(server, "user:index" if "index" in left else "", authenticate="always")
            callers = {"corp": Basic("user", "caller")} if "caller" in left else {}
            async with door(index, environ=environ | more, credentials=callers) as here:
                base = server.base.replace("://", "://user:request@") if "request" in left else server.base
                await here.ask(base + FILES[first])
    assert sent(server) == [basic("user", name) for name in names]


# ----------------------------------------------------------------------------------------------------------- challenges


CHALLENGES = {
    "401": Status(401),
    "403": Status(403),
    "404": Status(404),
    "login page": LoginPage(),
    "redirect to a login page": LoginPage(redirect=True),
}
DEMO = {wheel_filename(): make_wheel()}


@pytest.mark.parametrize("challenge", CHALLENGES)
@pytest.mark.parametrize("what", ["page", "wheel", "sidecar"])
async def test_every_challenge_is_answered(what: str, challenge: str, netrc: Netrc) -> None:
    prefix = "/simple" if what == "page" else "/files"
    guard = Guard((GOOD,), otherwise=CHALLENGES[challenge])
    async with FakeIndex(wheels=DEMO, auth={prefix: guard}, sidecar="hash" if what == "sidecar" else "none") as server:
        async with Fetcher([corp(server)], environ=netrc.knows()) as fetcher:
            project = await fetcher.project("demo")
            metadata = await fetcher.metadata(project.files[0])
        assert metadata.name == "demo"
        assert metadata.how == ("sidecar" if what == "sidecar" else "whole")
        asked = [wire.authorization for wire in server.log if wire.path.startswith(prefix)]
    assert asked == [None, GOOD]


async def test_a_page_elsewhere_is_a_challenge(netrc: Netrc) -> None:
    """GitLab sends the anonymous on to the public index, where the name may be another's (uv 7359)."""
    other = {wheel_filename(version="9"): make_wheel(version="9")}
    async with FakeIndex(wheels=other) as public:
        guard = Guard((GOOD,), otherwise=RedirectTo(public.url))
        async with (
            FakeIndex(wheels=DEMO, auth={"/simple": guard}) as server,
            Fetcher([corp(server)], environ=netrc.knows()) as fetcher,
        ):
            project = await fetcher.project("demo")
    assert [file.filename for file in project.files] == list(DEMO)
    assert (sent(server), sent(public)) == ([None, GOOD], [None])


@pytest.mark.parametrize("challenge", CHALLENGES)
async def test_a_challenge_that_nobody_can_answer(challenge: str) -> None:
    guard = Guard((GOOD,), otherwise=CHALLENGES[challenge])
    async with (
        FakeIndex(wheels=DEMO, auth={"/simple": guard}) as server,
        Fetcher([corp(server)], environ={}) as fetcher,
    ):
        with pytest.raises(FetcherError) as caught:
            await fetcher.project("demo")
        expected = {"401": "Unauthorized", "403": "Forbidden", "404": "NotFound"}
        assert type(caught.value).__name__ == expected.get(challenge, "LoginPage")
        assert not [wire for wire in server.log if wire.authorization]
        assert len(server.select("/simple/*")) == 1


@pytest.mark.parametrize(
    ("refused", "error"), [(Status(401), Unauthorized), (Status(403), Forbidden), (Status(404), NotFound)]
)
async def test_the_error_names_the_source(refused: Status, error: type[FetcherError], netrc: Netrc) -> None:
    guard = Guard((GOOD,), refused=refused)
    async with FakeIndex(wheels=WHEELS, auth={"/": guard}) as server:
        async with door(corp(server, "user:bad")) as here:
            with pytest.raises(error, match="from the index URL"):
                await here.ask(server.base + FILES[0])
        async with door(corp(server), environ=netrc.knows("user bad")) as here:
            with pytest.raises(error, match=r"from netrc \(machine 127.0.0.1\)"):
                await here.ask(server.base + FILES[0])
        async with door(corp(server), environ={"UV_INDEX_CORP_PASSWORD": "bad"}) as here:
            with pytest.raises(error, match="from the environment variable UV_INDEX_CORP_PASSWORD") as caught:
                await here.ask(server.base + FILES[0])
    assert BAD.partition(" ")[2] not in str(caught.value)
    assert sent(server) == [BAD, None, BAD, basic("", "bad")]


# --------------------------------------------------------------------------------------------------------- remembering


@pytest.mark.parametrize("policy", ["auto", "always"])
async def test_n_files_cost_n_requests(policy: Policy, netrc: Netrc) -> None:
    async with (
        FakeIndex(wheels=WHEELS, auth=LOCKED) as server,
        door(corp(server, authenticate=policy), environ=netrc.knows()) as here,
    ):
        await here.ask(server.base + FILES[0])
        before = server.requests
        assert await here.outcomes(server.base + path for path in FILES) == ["ok"] * 50
        for path in FILES:
            await here.ask(server.base + path)
    assert sent(server)[before:] == [GOOD] * 100


async def test_one_look_up_for_fifty_tasks(netrc: Netrc, caplog: pytest.LogCaptureFixture) -> None:
    """The broken file warns each time it is read."""
    async with FakeIndex(wheels=WHEELS, auth=LOCKED) as server, door(corp(server), environ=netrc.break_()) as here:
        assert await here.outcomes(server.base + path for path in FILES) == ["Unauthorized"] * 50
    assert sent(server) == [None] * 50
    assert len(caplog.records) == 1


async def test_one_look_up_for_fifty_tasks_before_anything_is_sent(
    netrc: Netrc, caplog: pytest.LogCaptureFixture
) -> None:
    index_of = {"authenticate": "always"}
    async with (
        FakeIndex(wheels=WHEELS, auth=LOCKED) as server,
        door(corp(server, **index_of), environ=netrc.break_()) as here,
    ):
        assert await here.outcomes(server.base + path for path in FILES) == ["MissingCredentials"] * 50
    assert sent(server) == []
    assert len(caplog.records) == 1


async def test_a_failed_look_up_is_remembered(netrc: Netrc) -> None:
    async with FakeIndex(wheels=WHEELS, auth=LOCKED) as server, door(corp(server), environ=netrc.write("")) as here:
        assert await here.outcome(server.base + FILES[0]) == "Unauthorized"
        netrc.knows()
        assert await here.outcome(server.base + FILES[1]) == "Unauthorized"
    assert sent(server) == [None, None]


async def test_a_look_up_is_remembered(netrc: Netrc) -> None:
    async with FakeIndex(wheels=WHEELS, auth=LOCKED) as server, door(corp(server), environ=netrc.knows()) as here:
        assert await here.outcome(server.base + FILES[0]) == "ok"
        netrc.knows("user bad")
        assert await here.outcome(server.base + FILES[1]) == "ok"
    assert sent(server) == [None, GOOD, GOOD]


@pytest.mark.parametrize("policy", ["auto", "always"])
@pytest.mark.parametrize("upfront", [True, False], ids=["known", "netrc"])
async def test_the_first_with_credentials_goes_alone(policy: Policy, upfront: bool, netrc: Netrc) -> None:
    """Artifactory answers 401 to whatever comes before its first answer."""
    environ = netrc.knows()
    async with (
        FakeIndex(wheels=WHEELS, auth={"/": Guard((GOOD,), cold_start=0.05)}) as server,
        door(corp(server, "user:good" if upfront else "", authenticate=policy), environ=environ) as here,
    ):
        assert await here.outcomes(server.base + path for path in FILES) == ["ok"] * 50
    with_credentials = [wire for wire in server.log if wire.authorization]
    assert [wire.status for wire in with_credentials] == [200] * 50
    bare = [wire.path for wire in server.log if not wire.authorization]
    assert len(bare) == len(set(bare))
    assert bool(bare) == (policy == "auto" and not upfront)


async def test_a_wrong_password_is_refused_a_few_times() -> None:
    async with FakeIndex(wheels=WHEELS, auth=LOCKED) as server, door(corp(server, "user:bad")) as here:
        assert await here.outcomes(server.base + path for path in FILES) == ["Unauthorized"] * 50
        for _ in range(5):
            with pytest.raises(Unauthorized, match="the index URL"):
                await here.ask(server.base + FILES[0])
    assert sent(server) == [BAD] * 3  # who comes later asks anew, but not for ever


async def test_a_wrong_password_looked_up_is_refused_a_few_times(netrc: Netrc) -> None:
    async with (
        FakeIndex(wheels=WHEELS, auth=LOCKED) as server,
        door(corp(server), environ=netrc.knows("user bad")) as here,
    ):
        assert await here.outcomes(server.base + path for path in FILES) == ["Unauthorized"] * 50
    assert 1 <= len([value for value in sent(server) if value]) <= 3


async def test_a_challenge_is_answered_once(netrc: Netrc) -> None:
    """The server goes on asking: one bare request, one with credentials, and no more."""
    async with (
        FakeIndex(wheels=WHEELS, faults={"*.whl": Status(403)}) as server,
        door(corp(server), environ=netrc.knows(), retries=3) as here,
    ):
        assert await here.outcome(server.base + FILES[0]) == "Forbidden"
    assert sent(server) == [None, GOOD]


# --------------------------------------------------------------------------------------------- when the first one fails


@pytest.mark.parametrize("policy", ["auto", "always"])
async def test_cancelling_the_first_lets_the_others_go(policy: Policy) -> None:
    async with (
        FakeIndex(wheels=WHEELS, auth=LOCKED, faults={NAMES[0]: Silence(60)}) as server,
        door(corp(server, "user:good", authenticate=policy)) as here,
    ):
        first = asyncio.create_task(here.ask(server.base + FILES[0]))
        await until(lambda: server.requests == 1)
        others = asyncio.create_task(here.outcomes(server.base + path for path in FILES[1:20]))
        await asyncio.sleep(0.05)
        assert server.requests == 1  # they wait
        first.cancel()
        with suppress(asyncio.CancelledError):
            await first
        assert await asyncio.wait_for(others, 5) == ["ok"] * 19
    assert sent(server) == [GOOD] * 20


async def test_cancelling_one_that_waits_leaves_the_others(netrc: Netrc) -> None:
    async with (
        FakeIndex(wheels=WHEELS, auth={"/": Guard((GOOD,), cold_start=0.05)}) as server,
        door(corp(server), environ=netrc.knows()) as here,
    ):
        tasks = [asyncio.create_task(here.outcome(server.base + path)) for path in FILES[:20]]
        await until(lambda: GOOD in sent(server))
        for task in tasks[5:15]:
            task.cancel()
        done = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
        kept = [outcome for outcome in done if not isinstance(outcome, asyncio.CancelledError)]
        assert len(kept) >= 10
        assert set(kept) == {"ok"}


@pytest.mark.parametrize("ticks", range(0, 40, 4))
async def test_cancelling_a_look_up_at_any_moment_lets_the_others_go(ticks: int, netrc: Netrc) -> None:
    async with (
        FakeIndex(wheels=WHEELS, auth=LOCKED) as server,
        door(corp(server, authenticate="always"), environ=netrc.knows()) as here,
    ):
        first = asyncio.create_task(here.ask(server.base + FILES[0]))
        others = asyncio.create_task(here.outcomes(server.base + path for path in FILES[1:4]))
        for _ in range(ticks):
            await asyncio.sleep(0)
        first.cancel()
        with suppress(asyncio.CancelledError):
            await first
        assert await asyncio.wait_for(others, 5) == ["ok"] * 3


async def test_a_broken_connection_of_the_first_lets_the_others_go() -> None:
    async with (
        FakeIndex(wheels=WHEELS, auth=LOCKED, faults={NAMES[0]: HangUp()}) as server,
        door(corp(server, "user:good")) as here,
    ):
        outcomes = await asyncio.wait_for(here.outcomes(server.base + path for path in FILES[:20]), 5)
        with pytest.raises(Disconnected):
            await here.ask(server.base + FILES[0])
    assert outcomes == ["Disconnected", *["ok"] * 19]


async def test_a_broken_connection_of_the_first_lets_the_others_go_together() -> None:
    slow = dict.fromkeys(NAMES[1:6], Silence(60))
    async with (
        FakeIndex(wheels=WHEELS, auth=LOCKED, faults={NAMES[0]: HangUp(), **slow}) as server,
        door(corp(server, "user:good")) as here,
    ):
        tasks = [asyncio.create_task(here.ask(server.base + path)) for path in FILES[:6]]
        await until(lambda: server.requests == 6)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_first_that_is_refused_otherwise_lets_the_others_go() -> None:
    """A 403 or 404 for one file says nothing about the password."""
    async with (
        FakeIndex(wheels=WHEELS, auth=LOCKED, faults={NAMES[0]: Status(403), NAMES[1]: Status(404)}) as server,
        door(corp(server, "user:good")) as here,
    ):
        assert await here.outcomes(server.base + path for path in FILES[:4]) == ["Forbidden", "NotFound", "ok", "ok"]


# --------------------------------------------------------------------------------------------------------------- scopes


def two_indexes(**facts: Any) -> FakeIndex:
    """One host: /a wants a's credentials, /b those of b, /c is public."""
    trees = [Tree(wheels=WHEELS, pages=f"/{name}/simple", files=f"/{name}/files") for name in "abc"]
    auth = {"/a": Guard((basic("a", "a"),)), "/b": Guard((basic("b", "b"),))}
    return FakeIndex(more=trees, auth=auth, **facts)


def index_at(server: FakeIndex, name: str, userinfo: str = "", **facts: Any) -> Index:
    url = f"{server.base}/{name}/simple"
    return Index(url.replace("://", f"://{userinfo}@") if userinfo else url, name=name, **facts)


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("policy", ["auto", "always"])
async def test_each_scope_gets_its_own(order: int, policy: Policy) -> None:
    async with two_indexes() as server:
        indexes = [index_at(server, "a", "a:a", authenticate=policy), index_at(server, "b", "b:b", authenticate=policy)]
        async with door(*indexes[::order]) as here:
            urls = [f"{server.base}/{name}/files/{file}" for file in NAMES[:10] for name in "abc"]
            assert await here.outcomes(urls) == ["ok"] * 30
    assert {(wire.path[1], wire.authorization) for wire in server.log} == {
        ("a", basic("a", "a")),
        ("b", basic("b", "b")),
        ("c", None),
    }
    assert server.requests == 30


async def test_a_challenge_of_one_scope_is_not_answered_by_another() -> None:
    async with (
        two_indexes() as server,
        door(index_at(server, "a", "a:a"), index_at(server, "b"), credentials={}) as here,
    ):
        await here.ask(f"{server.base}/a/files/{NAMES[0]}")
        assert await here.outcome(f"{server.base}/b/files/{NAMES[0]}") == "Unauthorized"
        assert await here.outcome(f"{server.base}/ab/files/{NAMES[0]}") == "NotFound"
    assert sent(server) == [basic("a", "a"), None, None]


async def test_a_refusal_in_one_scope_is_none_in_another() -> None:
    async with two_indexes() as server, door(index_at(server, "a", "a:bad"), index_at(server, "b", "b:b")) as here:
        for _ in range(2):
            assert await here.outcome(f"{server.base}/a/files/{NAMES[0]}") == "Unauthorized"
            assert await here.outcome(f"{server.base}/b/files/{NAMES[0]}") == "ok"
    assert sent(server) == [basic("a", "bad"), basic("b", "b")] * 2


async def test_a_listed_file_belongs_to_the_listing_index() -> None:
    """devpi: the page of one index lists files of another, uv 13737."""
    async with FakeIndex(wheels=WHEELS, auth={"/files": Guard((GOOD,), otherwise=LoginPage(redirect=True))}) as server:
        index = Index(
            f"{server.base.replace('://', '://user:good@')}/root/corp/+simple", name="corp", authenticate="always"
        )
        async with door(index) as here:
            assert (await here.ask(server.base + FILES[0], index))[:2] == b"PK"
            assert sent(server) == [GOOD]
            await here.ask(server.base + FILES[0])
            assert sent(server)[1:] == [None, None]  # nobody listed it: bare, to the login page


class TestOutsideEveryScope:
    async def test_bare(self) -> None:
        async with FakeIndex(wheels=WHEELS, auth=LOCKED) as server, door() as here:
            with pytest.raises(Unauthorized, match="lies in no declared index"):
                await here.ask(server.base + FILES[0])
        assert sent(server) == [None]

    async def test_exact_machine_of_netrc(self, netrc: Netrc) -> None:
        async with FakeIndex(wheels=WHEELS, auth=LOCKED) as server, door(environ=netrc.knows()) as here:
            assert await here.outcomes(server.base + path for path in FILES[:2]) == ["ok"] * 2
            assert await here.outcome(server.base + FILES[3]) == "ok"
        assert sent(server)[-1] == GOOD

    async def test_default_of_netrc_is_not_for_strangers(self, netrc: Netrc) -> None:
        async with FakeIndex(wheels=WHEELS, auth=LOCKED) as server:
            async with door(environ=netrc.knows(machine="default")) as here:
                assert await here.outcome(server.base + FILES[0]) == "Unauthorized"
            assert sent(server) == [None]
            async with door(corp(server), environ=netrc.environ) as here:
                assert await here.outcome(server.base + FILES[0]) == "ok"
        assert sent(server) == [None, None, GOOD]

    async def test_userinfo_is_for_that_very_url(self) -> None:
        async with FakeIndex(wheels=WHEELS, auth=LOCKED) as server, door() as here:
            assert await here.outcome(server.base.replace("://", "://user:good@") + FILES[0]) == "ok"
            assert await here.outcome(server.base + FILES[0]) == "Unauthorized"
        assert sent(server) == [GOOD, None]

    async def test_another_port_is_a_stranger(self) -> None:
        async with FakeIndex(wheels=WHEELS) as server, FakeIndex(wheels=WHEELS) as other:
            index = corp(server, "user:good", authenticate="always")
            async with door(index) as here:
                await here.ask(other.base + FILES[0], index)
        assert sent(other) == [None]


# ------------------------------------------------------------------------------------------------------------ redirects


@asynccontextmanager
async def two_servers(fault: Any, **second: Any) -> AsyncIterator[tuple[FakeIndex, FakeIndex]]:
    """The first sends its files on to the second; `fault` makes the redirect of the second's URL."""
    async with (
        FakeIndex(wheels=WHEELS, **second) as there,
        FakeIndex(wheels=WHEELS, auth=LOCKED, faults={"*.whl": fault(there)}) as here,
    ):
        yield here, there


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("policy", ["auto", "always"])
async def test_nothing_leaves_the_realm(status: int, policy: Policy) -> None:
    credentials = {"corp": Basic("user", "good")}
    async with two_servers(lambda there: RedirectTo(there.files_url, status)) as (server, other):
        index = corp(server, authenticate=policy)
        async with door(index, credentials=credentials) as here:
            assert (await here.ask(server.base + FILES[0], index))[:2] == b"PK"
    assert (sent(server), sent(other)) == ([GOOD], [None])


async def test_a_secret_header_does_not_leave_the_realm() -> None:
    guard = {"/": Guard(("good",), header="JOB-TOKEN")}
    async with (
        FakeIndex(wheels=WHEELS) as other,
        FakeIndex(wheels=WHEELS, auth=guard, faults={"*.whl": RedirectTo(other.files_url)}) as server,
        door(corp(server), credentials={"corp": Header("JOB-TOKEN", "good")}) as here,
    ):
        await here.ask(server.base + FILES[0])
    assert "JOB-TOKEN" in server.log[0].headers
    assert other.requests == 1
    assert not {"job-token", "authorization", "cookie"} & {name.lower() for name in other.log[0].headers}


async def test_cookies_are_not_kept(netrc: Netrc) -> None:
    guard = {"/": Guard((GOOD,), otherwise=LoginPage(cookie="session=s3cr3t; Path=/"))}
    async with (
        FakeIndex(wheels=DEMO, auth=guard) as server,
        Fetcher([corp(server)], environ=netrc.knows()) as fetcher,
    ):
        project = await fetcher.project("demo")
        await fetcher.metadata(project.files[0])
    assert server.requests > 2
    assert not [wire for wire in server.log if "Cookie" in wire.headers]


async def test_a_hop_into_another_scope_gets_that_scopes_credentials() -> None:
    moved = {"/a/files/*": RedirectTo("/b/files"), "/b/files/*-1-*": RedirectTo("/a/moved")}
    async with (
        two_indexes(faults=moved) as server,
        door(index_at(server, "a", "a:a"), index_at(server, "b", "b:b", authenticate="always")) as here,
    ):
        assert await here.outcome(f"{server.base}/a/files/{NAMES[0]}") == "ok"
        assert await here.outcome(f"{server.base}/a/files/{NAMES[1]}") == "NotFound"
    a, b = basic("a", "a"), basic("b", "b")
    assert sent(server) == [a, b, a, b, a]


async def test_a_hop_under_never_is_bare() -> None:
    moved = {"/a/files/*": RedirectTo("/b/files")}
    async with (
        two_indexes(faults=moved) as server,
        door(index_at(server, "a", "a:a"), index_at(server, "b", "b:b", authenticate="never")) as here,
    ):
        assert await here.outcome(f"{server.base}/a/files/{NAMES[0]}") == "Unauthorized"
    assert sent(server) == [basic("a", "a"), None]


async def test_a_hop_without_credentials_under_always_is_not_sent() -> None:
    moved = {"/a/files/*": RedirectTo("/b/files")}
    async with (
        two_indexes(faults=moved) as server,
        door(index_at(server, "a", "a:a"), index_at(server, "b", authenticate="always")) as here,
    ):
        with pytest.raises(MissingCredentials, match="index b"):
            await here.ask(f"{server.base}/a/files/{NAMES[0]}")
    assert sent(server) == [basic("a", "a")]


async def test_a_declared_root_takes_credentials_along() -> None:
    async with two_servers(lambda there: RedirectTo(there.files_url), auth=LOCKED) as (server, other):
        index = corp(server, "user:good", roots=(other.files_url,))
        async with door(index) as here:
            assert await here.outcome(server.base + FILES[0], index) == "ok"
            assert await here.outcome(f"{other.base}/files-evil/x.whl", index) == "Unauthorized"
    assert (sent(server), sent(other)) == ([GOOD], [GOOD, None])


async def test_userinfo_in_location_is_for_that_hop_alone() -> None:
    theirs = basic("x", "y")
    async with FakeIndex(wheels=WHEELS) as third:
        second = {"auth": {"/": Guard((theirs,))}, "faults": {NAMES[1]: RedirectTo(third.files_url)}}
        async with two_servers(lambda there: RedirectTo(there.files_url, userinfo="x:y"), **second) as (server, other):
            index = corp(server, "user:good")
            async with door(index) as here:
                assert await here.outcomes(server.base + path for path in FILES[:2]) == ["ok", "ok"]
                assert await here.outcome(other.base + FILES[0]) == "Unauthorized"
    assert set(sent(server)) == {GOOD}
    assert sent(other) == [theirs, theirs, None]
    assert sent(third) == [None]


async def test_userinfo_in_location_is_stripped_under_never() -> None:
    async with FakeIndex(wheels=WHEELS) as server:
        server.faults = {FILES[0]: RedirectTo(f"{server.base}/files/moved", userinfo="x:y")}
        async with door(corp(server, authenticate="never")) as here:
            assert await here.outcome(server.base + FILES[0]) == "ok"
    assert sent(server) == [None, None]


class TestSigned:
    @pytest.mark.parametrize(
        "query", ["X-Amz-Signature=a%2fb", "X-Goog-Signature=a", "sig=a", "Signature=a&Key-Pair-Id=b"]
    )
    @pytest.mark.parametrize("policy", POLICIES)
    @pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
    async def test_in_scope(self, policy: Policy, known: bool, query: str, netrc: Netrc) -> None:
        environ = netrc.break_()
        async with FakeIndex(wheels=WHEELS) as server:
            index = corp(server, "user:good" if known else "", authenticate=policy)
            async with door(index, environ=environ) as here:
                assert await here.outcome(f"{server.base}{FILES[0]}?{query}", index) == "ok"
                assert await here.outcome(f"{server.base.replace('://', '://u:p@')}{FILES[0]}?{query}") == "ok"
        assert sent(server) == [None, None]
        assert {wire.target.partition("?")[2] for wire in server.log} == {query}

    async def test_outside(self, netrc: Netrc) -> None:
        async with FakeIndex(wheels=WHEELS, auth=LOCKED) as server, door(environ=netrc.knows()) as here:
            assert (
                await here.outcome(f"{server.base.replace('://', '://user:good@')}{FILES[0]}?sig=a") == "Unauthorized"
            )
        assert sent(server) == [None]

    @pytest.mark.parametrize("policy", ["auto", "always"])
    async def test_redirected_to(self, policy: Policy) -> None:
        """S3 answers 400 to an Authorization header beside a signature, even in a declared root."""
        async with two_servers(lambda there: Presigned(there.files_url), faults={"*.whl": SignedOnly()}) as (
            server,
            other,
        ):
            index = corp(server, "user:good", authenticate=policy, roots=(other.base,))
            async with door(index) as here:
                assert await here.outcomes(server.base + path for path in FILES[:3]) == ["ok"] * 3
        assert (sent(server), sent(other)) == ([GOOD] * 3, [None] * 3)

    async def test_an_expired_signature_is_no_challenge(self, netrc: Netrc) -> None:
        async with (
            FakeIndex(wheels=WHEELS, faults={"*.whl": SignedOnly(uses=0)}) as server,
            door(corp(server), environ=netrc.knows()) as here,
        ):
            assert await here.outcome(f"{server.base}{FILES[0]}?X-Amz-Signature=GET-1") == "Forbidden"
        assert sent(server) == [None]


class TestHops:
    @pytest.mark.parametrize("hops", [1, 9, 10])
    async def test_enough(self, hops: int) -> None:
        async with (
            FakeIndex(wheels=WHEELS, auth=LOCKED, faults={"*.whl": RedirectChain(hops)}) as server,
            door(corp(server, "user:good")) as here,
        ):
            assert await here.outcome(server.base + FILES[0]) == "ok"
        assert sent(server) == [GOOD] * (hops + 1)

    @pytest.mark.parametrize("fault", [RedirectChain(11), RedirectLoop()], ids=["chain", "loop"])
    async def test_too_many(self, fault: Any) -> None:
        async with FakeIndex(wheels=WHEELS, faults={"*.whl": fault}) as server, door(corp(server), retries=3) as here:
            with pytest.raises(TooManyRedirects, match="redirects more than 10 times"):
                await here.ask(server.base + FILES[0])
        assert 10 <= server.requests <= 11


# ------------------------------------------------------------------------------------------------------------------ TLS


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's context that this test's clients trust."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


class TestHttps:
    @pytest.mark.parametrize("source", ["index URL", "netrc", "request URL"])
    async def test_to_http_is_refused_with_credentials(self, source: str, tls: ssl.SSLContext, netrc: Netrc) -> None:
        async with (
            FakeIndex(wheels=WHEELS) as plain,
            FakeIndex(wheels=WHEELS, auth=LOCKED, tls=tls, faults={"*.whl": RedirectTo(plain.files_url)}) as secure,
        ):
            index = corp(secure, "user:good" if source == "index URL" else "")
            base = secure.base.replace("://", "://user:good@") if source == "request URL" else secure.base
            environ = netrc.knows() if source == "netrc" else None
            async with door(index, environ=environ, retries=3) as here:
                with pytest.raises(InsecureRedirect, match="from https to http"):
                    await here.ask(base + FILES[0])
        assert sent(secure)[-1] == GOOD
        assert plain.requests == 0

    async def test_to_http_is_refused_further_down(self, tls: ssl.SSLContext) -> None:
        """https with credentials, https without, http: still refused."""
        async with (
            FakeIndex(wheels=WHEELS) as plain,
            FakeIndex(wheels=WHEELS, tls=tls, faults={"*.whl": RedirectTo(plain.files_url)}) as cdn,
            FakeIndex(wheels=WHEELS, auth=LOCKED, tls=tls, faults={"*.whl": RedirectTo(cdn.files_url)}) as secure,
            door(corp(secure, "user:good")) as here,
        ):
            assert await here.outcome(secure.base + FILES[0]) == "InsecureRedirect"
        assert (sent(secure), sent(cdn), sent(plain)) == ([GOOD], [None], [])

    @pytest.mark.parametrize("policy", ["auto", "never"])
    async def test_to_http_is_followed_without_credentials(self, policy: Policy, tls: ssl.SSLContext) -> None:
        async with (
            FakeIndex(wheels=WHEELS) as plain,
            FakeIndex(wheels=WHEELS, tls=tls, faults={"*.whl": RedirectTo(plain.files_url)}) as secure,
            door(corp(secure, "user:good" if policy == "never" else "", authenticate=policy)) as here,
        ):
            assert await here.outcome(secure.base + FILES[0]) == "ok"
        assert (sent(secure), sent(plain)) == ([None], [None])

    async def test_from_http_is_followed(self, tls: ssl.SSLContext) -> None:
        async with (
            FakeIndex(wheels=WHEELS, tls=tls) as secure,
            FakeIndex(wheels=WHEELS, auth=LOCKED, faults={"*.whl": RedirectTo(secure.files_url)}) as plain,
            door(corp(plain, "user:good")) as here,
        ):
            assert await here.outcome(plain.base + FILES[0]) == "ok"
        assert (sent(plain), sent(secure)) == ([GOOD], [None])


@pytest.mark.parametrize(
    "value",
    [
        Request("https://user:S3CR3T@host/x?sig=S3CR3T"),
        Reply("https://host/x?sig=S3CR3T", 200),
        Hop(URL("https://host/x?sig=S3CR3T"), Userinfo("S3CR3T", "S3CR3T"), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_no_secret_in_a_repr(value: object) -> None:
    assert "S3CR3T" not in f"{value!r} {value}"


async def test_no_secret_in_errors_and_log(caplog: pytest.LogCaptureFixture, netrc: Netrc) -> None:
    caplog.set_level(0, "fetcher")
    said: list[str] = []
    async with FakeIndex(wheels=WHEELS, auth={"/": Guard(("x",))}) as server:
        for url in (server.base, server.base.replace("://", "://a:S3CR3T@"), f"{server.base}/x?token=S3CR3T#"):
            for userinfo in ("user:S3CR3T", "", "user"):
                async with door(corp(server, userinfo), environ=netrc.knows("user S3CR3T")) as here:
                    with pytest.raises(FetcherError) as caught:
                        await here.ask(url + FILES[0])
                error = caught.value
                said.append(f"{error} {error!r} {error.__cause__!r} {error.__context__!r}")
    assert "S3CR3T" not in "".join(said) + caplog.text


async def test_one_closed_project_does_not_close_the_index() -> None:
    """Rights may differ from file to file; the answer for one must not depend on which was asked first."""
    closed = {"/files/" + NAMES[0]: Status(401)}
    async with FakeIndex(wheels=WHEELS, auth=LOCKED, faults=closed) as server, door(corp(server, "user:good")) as here:
        assert await here.outcome(server.base + FILES[0]) == "Unauthorized"
        assert await here.outcome(server.base + FILES[1]) == "ok"


async def test_never_is_not_left_through_the_login_page(netrc: Netrc) -> None:
    guard = {"/": Guard((GOOD,), otherwise=LoginPage(redirect=True))}
    async with FakeIndex(wheels=WHEELS, auth=guard, pages="/root/corp/simple", files="/root/corp/f") as server:
        index = Index(f"{server.base}/root/corp/simple", name="corp", authenticate="never")
        async with Fetcher([index], environ=netrc.knows()) as fetcher:
            with pytest.raises(errors.LoginPage, match='"never"') as caught:
                await fetcher.metadata(f"{server.files_url}/{NAMES[0]}")
        assert caught.value.sent is None
        assert len(server.log) == 2
        assert len(server.anonymous) == 2
