"""Index pages out of the cache: how many requests they cost, whose they are, and what is never kept."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from fake_faults import Cut, Etag, Fault, Gzip, LoginPage, NoContentLength, Only, RedirectTo, Stating, Status
from fake_index import FakeIndex, Guard, basic
from fake_wheels import make_wheel, wheel_filename
from wire_checks import NOTHING_KNOWN, corp, observe

from fetcher import (
    Basic,
    Fetcher,
    FetcherError,
    Forbidden,
    Index,
    NotFound,
    Offline,
    ServerFailed,
    Unauthorized,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fake_index import Wire

    from fetcher import Project

pytestmark = pytest.mark.usefixtures("_no_blocking")

NAME = wheel_filename()
WHEEL = make_wheel()
FRESH = Stating({"Cache-Control": "max-age=600"})
PAGE = "/simple/demo/"
WARM_RUN = """
import json, os, sys, anyio
from fetcher import Fetcher

async def main():
    async with Fetcher([sys.argv[1]], environ={"NETRC": os.devnull}, cache=sys.argv[2]) as fetcher:
        metadata = await fetcher.metadata((await fetcher.project("demo")).files[0])
    print(json.dumps([metadata.how, sorted({"aiohttp", "hishel", "truststore"} & set(sys.modules))]))

anyio.run(main)
"""
READER, OTHER = "reader", "somebody"
PASSWORD, WRONG = "correct-horse", "battery-staple"


@dataclass
class Asked:
    """What several runs of a project came to: the last project or error, and the statuses of all requests by run."""

    projects: list[Project | FetcherError] = field(default_factory=list)
    wires: list[Sequence[Wire]] = field(default_factory=list)

    @property
    def statuses(self) -> list[list[int]]:
        return [[wire.status for wire in wires] for wires in self.wires]

    @property
    def kinds(self) -> list[str]:
        return [type(project).__name__ for project in self.projects]


def serving(*faults: Fault, **more: Any) -> FakeIndex:
    return FakeIndex(wheels={NAME: WHEEL}, faults={PAGE: faults}, **more)


async def ask(asked: Asked, index: FakeIndex, cache: Path, **options: Any) -> Asked:
    """One run that asks for the project once."""
    async with corp(index, cache=cache, **options) as fetcher:
        outcome = await observe(fetcher.project("demo"), index)
    asked.projects.append(outcome.error or outcome.done)
    asked.wires.append(outcome.wires)
    return asked


async def runs(index: FakeIndex, cache: Path, *options: dict[str, Any]) -> Asked:
    """As many runs one after the other as there are options."""
    asked = Asked()
    for one in options:
        await ask(asked, index, cache, **one)
    return asked


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


class TestRequests:
    """What the headers of a page make of the next run."""

    @pytest.mark.parametrize(
        ("faults", "statuses"),
        [
            ((FRESH,), [[200], [], []]),
            ((), [[200], [304], [304]]),
            ((Stating({"Cache-Control": "no-cache"}),), [[200], [304], [304]]),
            ((Stating({"Cache-Control": "max-age=0"}),), [[200], [304], [304]]),
            ((Stating({"Cache-Control": "private, max-age=600"}),), [[200], [], []]),
            ((Stating({"Cache-Control": "max-age=600", "Age": "600"}),), [[200], [304], [304]]),
            ((Stating({"Cache-Control": "no-store"}),), [[200], [200], [200]]),
            ((Stating({"Cache-Control": "max-age=600", "Vary": "*"}),), [[200], [200], [200]]),
            ((Stating({"Cache-Control": "max-age=600", "Vary": "Accept, Accept-Encoding"}),), [[200], [], []]),
            ((Etag("absent"),), [[200], [200], [200]]),
            ((Etag("absent"), FRESH), [[200], [], []]),
            ((Etag("weak"),), [[200], [304], [304]]),
            ((Etag("fresh"),), [[200], [200], [200]]),
            ((FRESH, Gzip(200)), [[200], [], []]),
            ((Gzip(200), Only(Stating({"Content-Encoding": "gzip"}), after=1)), [[200], [304], [304]]),
            # Freshness that only the 304 states holds from then on.
            ((Only(FRESH, after=1),), [[200], [304], []]),
            ((Only(FRESH, times=1), Only(Stating({"Cache-Control": "no-store"}), after=1)), [[200], [], []]),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("page_format", ["json", "html"])
    async def test_three_runs(
        self, faults: tuple[Fault, ...], statuses: list[list[int]], page_format: str, cache: Path
    ) -> None:
        async with serving(*faults, page_format=page_format) as index:
            asked = await runs(index, cache, {}, {}, {})
        assert asked.statuses == statuses
        assert asked.kinds == ["Project"] * 3
        first, *later = asked.projects
        assert [project == first for project in later] == [True, True]

    async def test_a_conditional_request(self, cache: Path) -> None:
        async with serving() as index:
            asked = await runs(index, cache, {}, {})
        (plain,), (conditional,) = asked.wires
        assert "If-None-Match" not in plain.headers
        assert conditional.headers["If-None-Match"].startswith('"')
        assert {**conditional.headers, "If-None-Match": ""} == {**plain.headers, "If-None-Match": ""}

    async def test_last_modified(self, cache: Path) -> None:
        modified = {"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
        async with serving(Etag("absent"), Stating(modified)) as index:
            asked = await runs(index, cache, {}, {})
        assert asked.wires[1][0].headers["If-Modified-Since"] == modified["Last-Modified"]
        # It is months old; a guess would have taken it for fresh.
        assert asked.statuses == [[200], [200]]

    async def test_a_page_that_has_changed(self, cache: Path) -> None:
        async with serving() as index:
            asked = await runs(index, cache, {})
            newer = wheel_filename(version="2.0")
            index.wheels = {NAME: WHEEL, newer: make_wheel(version="2.0")}
            for _ in range(2):
                await ask(asked, index, cache)
        assert asked.statuses == [[200], [200], [304]]
        files = [[file.filename for file in project.files] for project in asked.projects]  # type: ignore[union-attr]
        assert files == [[NAME], [NAME, newer], [NAME, newer]]

    @pytest.mark.parametrize(("page_format", "offline"), [("json", "Project"), ("html", "Offline")])
    async def test_a_page_that_has_become_empty(self, page_format: str, offline: str, cache: Path) -> None:
        """All files deleted, or in quarantine.  As HTML it may be anything, and is not kept: but it ends what was."""
        async with serving(FRESH, page_format=page_format) as index:
            asked = await runs(index, cache, {})
            index.hidden_from_anonymous = "*"
            for options in ({"refresh": True}, {"offline": True}, {}):
                await ask(asked, index, cache, **options)
        assert asked.kinds == ["Project", "Project", offline, "Project"]
        files = [getattr(project, "files", ()) for project in asked.projects]
        assert [len(found) for found in files] == [1, 0, 0, 0]
        assert asked.statuses == [[200], [200], [], [] if page_format == "json" else [200]]

    async def test_a_304_about_another_page(self, cache: Path) -> None:
        async with serving(Only(Status(304, headers={"ETag": '"of another page"'}, body="empty"), 1, 1)) as index:
            asked = await runs(index, cache, {}, {})
        assert asked.statuses == [[200], [304, 200]]
        assert "If-None-Match" not in asked.wires[1][1].headers
        assert asked.kinds == ["Project"] * 2

    async def test_a_304_that_nobody_asked_for(self, cache: Path) -> None:
        async with serving(Status(304, body="empty")) as index:
            asked = await runs(index, cache, {"retries": 0})
        assert asked.kinds == ["StatusError"]

    @pytest.mark.parametrize("status", [400, 412, 431])
    async def test_a_server_that_bears_no_conditions(self, status: int, cache: Path) -> None:
        async with serving(Only(Status(status), 1, 1)) as index:
            asked = await runs(index, cache, {}, {})
            index.faults = {PAGE: Status(status)}
            await ask(asked, index, cache)
        assert asked.statuses == [[200], [status, 200], [status, status]]
        assert "If-None-Match" not in asked.wires[1][1].headers
        assert asked.kinds == ["Project", "Project", "StatusError"]

    @pytest.mark.parametrize("field", [b'ETag: "v\xe9"', b'ETag: "a\x01b"', b"Date: lun. 23 d\xe9c. 2026"])
    async def test_bytes_that_are_no_text(self, field: bytes, cache: Path) -> None:
        page = (
            b'{"meta": {"api-version": "1.0"}, "name": "demo", "files": [{"filename": "%b", "url": "x", "hashes": {}}]}'
        )
        heads: list[bytes] = []

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            body = page % NAME.encode()
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n%b\r\n\r\n" % (len(body), field) + body
            )
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/simple"
            for _ in range(2):
                async with Fetcher([url], environ=NOTHING_KNOWN, cache=cache, retries=0) as fetcher:
                    assert [file.filename for file in (await fetcher.project("demo")).files] == [NAME]
        assert len(heads) == 2
        assert b"If-None-Match" not in heads[1]

    async def test_refresh(self, cache: Path) -> None:
        async with serving(FRESH) as index:
            asked = await runs(index, cache, {"refresh": True}, {"refresh": True}, {})
        assert asked.statuses == [[200], [304], []]
        # A proxy on the way may keep pages, too.
        assert [wires[0].headers.get("Cache-Control") for wires in asked.wires[:2]] == ["no-cache"] * 2

    @pytest.mark.parametrize(("cache", "place"), [("kept", "kept"), ("~/kept", "home/kept")])
    async def test_a_relative_directory(
        self, cache: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is that of the moment when the Fetcher was made, here where no event loop runs."""
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        monkeypatch.chdir(tmp_path)
        async with serving(FRESH) as index:
            made = await asyncio.to_thread(partial(corp, index, cache=cache))
            (tmp_path / "elsewhere").mkdir()
            monkeypatch.chdir(tmp_path / "elsewhere")
            async with made as fetcher:
                await fetcher.project("demo")
            asked = await runs(index, tmp_path / place, {})
        assert asked.statuses == [[]]

    async def test_without_a_cache(self) -> None:
        async with serving(FRESH) as index:
            asked = Asked()
            for _ in range(2):
                async with corp(index) as fetcher:
                    outcome = await observe(fetcher.project("demo"), index)
                    asked.wires.append(outcome.wires)
        assert asked.statuses == [[200], [200]]

    async def test_a_cache_that_cannot_be_written(self, tmp_path: Path) -> None:
        cache = tmp_path / "file"
        cache.touch()
        async with serving(FRESH) as index:
            asked = await runs(index, cache, {}, {})
        assert asked.statuses == [[200], [200]]
        assert asked.kinds == ["Project"] * 2

    async def test_many_at_once(self, cache: Path) -> None:
        names = [wheel_filename(f"demo{number}") for number in range(200)]
        wheels = {name: make_wheel(f"demo{number}") for number, name in enumerate(names)}
        requests = []
        async with FakeIndex(wheels=wheels, faults={"/simple/*": FRESH}) as index:
            for _ in range(2):
                async with corp(index, cache=cache) as fetcher:
                    before = index.requests
                    await asyncio.gather(*(fetcher.project(f"demo{number}") for number in range(200)))
                    requests.append(index.requests - before)
        assert requests == [200, 0]


class TestFailures:
    """A stale page is never used because its server fails."""

    @pytest.mark.parametrize(
        ("fault", "error"),
        [(Status(500), ServerFailed), (Status(403), Forbidden), (Status(401), Unauthorized), (Status(404), NotFound)],
    )
    async def test_it_is_heard(self, fault: Fault, error: type[FetcherError], cache: Path) -> None:
        async with serving() as index:
            asked = await runs(index, cache, {})
            index.faults = {PAGE: fault}
            await ask(asked, index, cache, retries=0)
        assert asked.kinds == ["Project", error.__name__]

    async def test_a_project_that_is_gone_and_back(self, cache: Path) -> None:
        async with serving() as index:
            asked = await runs(index, cache, {})
            index.faults = {PAGE: Status(404)}
            await ask(asked, index, cache)
            await ask(asked, index, cache, offline=True)
            index.faults = {}
            await ask(asked, index, cache)
        assert asked.kinds == ["Project", "NotFound", "NotFound", "Project"]
        assert asked.statuses == [[200], [404], [], [200]]

    async def test_a_404_that_may_not_be_kept(self, cache: Path) -> None:
        gone = Status(404, headers={"Cache-Control": "no-store"})
        async with serving(gone) as index:
            asked = await runs(index, cache, {}, {"offline": True})
        assert asked.kinds == ["NotFound", "Offline"]


class TestNeverKept:
    """What is no page of this project at this URL."""

    @pytest.mark.parametrize(
        ("fault", "kind"),
        [
            (LoginPage(), "LoginPage"),
            (LoginPage(redirect=True), "LoginPage"),
            (Status(200, body="text"), "BadPage"),
            (Status(200, body="empty"), "BadPage"),
            (Status(200, body="json"), "BadPage"),
            (Status(200, body="html"), "Project"),  # without files
        ],
        ids=str,
    )
    async def test_another_body(self, fault: Fault, kind: str, cache: Path) -> None:
        async with serving(FRESH, Only(fault, times=2)) as index:
            asked = await runs(index, cache, {}, {}, {}, {})
        assert asked.kinds == [kind, kind, "Project", "Project"]
        assert [len(wires) for wires in asked.wires][2:] == [1, 0]

    @pytest.mark.usefixtures("_short_waits")
    @pytest.mark.parametrize("page_format", ["json", "html"])
    async def test_half_a_compressed_page(self, page_format: str, cache: Path) -> None:
        """Nothing but the gzip itself tells that it has ended too early."""
        files = [wheel_filename(version=f"1.{minor}") for minor in range(100)]
        cut = (FRESH, Gzip(200, "lost"), NoContentLength("close"), Cut(400, times=1))
        more: dict[str, Any] = {"page_format": page_format, "hashes": "none"}
        async with FakeIndex(wheels=dict.fromkeys(files, b""), faults={PAGE: cut}, **more) as index:
            asked = await runs(index, cache, {"retries": 0}, {}, {"offline": True})
        assert asked.kinds == ["Truncated", "Project", "Project"]
        assert [len(project.files) for project in asked.projects[1:]] == [100, 100]  # type: ignore[union-attr]

    async def test_a_login_page_in_the_place_of_a_stale_page(self, cache: Path) -> None:
        async with serving() as index:
            asked = await runs(index, cache, {})
            index.faults = {PAGE: LoginPage()}
            await ask(asked, index, cache)
            index.faults = {}
            await ask(asked, index, cache)
        assert asked.kinds == ["Project", "LoginPage", "Project"]
        assert asked.statuses[2] == [304]

    @pytest.mark.parametrize("status", [301, 302, 308])
    async def test_a_page_reached_by_a_redirect(self, status: int, cache: Path) -> None:
        page = FakeIndex(wheels={NAME: WHEEL}, faults={"/simple/*": FRESH})
        async with page as elsewhere, serving(RedirectTo(f"{elsewhere.url}", status)) as index:
            asked = await runs(index, cache, {}, {})
        assert [len(wires) for wires in asked.wires] == [1, 1]

    async def test_a_redirect_in_the_place_of_a_page(self, cache: Path) -> None:
        newer = {wheel_filename(version="2.0"): make_wheel(version="2.0"), NAME: WHEEL}
        async with FakeIndex(wheels=newer) as elsewhere, serving(FRESH) as index:
            asked = await runs(index, cache, {})
            index.faults = {PAGE: RedirectTo(elsewhere.url)}
            for options in ({"refresh": True}, {}):
                await ask(asked, index, cache, **options)
        assert asked.statuses == [[200], [302], [302]]


def damage(cache: Path, how: str) -> None:
    """Do something to each file of the cache."""
    for path in [path for path in cache.rglob("*") if path.is_file()]:
        stored = path.read_bytes()
        middle = len(stored) // 2
        match how:
            case "flip":
                path.write_bytes(stored[:middle] + bytes([stored[middle] ^ 1]) + stored[middle + 1 :])
            case "truncate":
                path.write_bytes(stored[:middle])
            case "empty":
                path.write_bytes(b"")
            case _:
                path.unlink()


def everything_in(cache: Path) -> bytes:
    """Names and bytes of all files."""
    return b"\n".join(str(path).encode() + path.read_bytes() for path in cache.rglob("*") if path.is_file())


class TestDamage:
    """A cache is a cache: whatever happens to it, the page is right."""

    @pytest.mark.parametrize("how", ["flip", "truncate", "empty", "remove"])
    async def test_it_is_asked_for_again(self, how: str, cache: Path) -> None:
        async with serving(FRESH) as index:
            asked = await runs(index, cache, {})
            damage(cache, how)
            await ask(asked, index, cache)
            await ask(asked, index, cache)
        assert asked.statuses == [[200], [200], []]
        assert asked.projects[0] == asked.projects[1] == asked.projects[2]


class TestOffline:
    """No request of any kind."""

    async def test_a_stale_page_is_used(self, cache: Path) -> None:
        async with serving() as index:
            asked = await runs(index, cache, {}, {"offline": True})
        assert asked.statuses == [[200], []]
        assert asked.projects[0] == asked.projects[1]

    async def test_a_page_that_is_not_there(self, cache: Path) -> None:
        async with serving() as index:
            asked = await runs(index, cache, {"offline": True})
        (error,) = asked.projects
        assert asked.statuses == [[]]
        assert isinstance(error, Offline)
        assert error.exit_code == 4
        assert str(error).startswith(f"{index.url}/demo/ is not in the cache, and --offline")

    async def test_no_cache_at_all(self) -> None:
        async with serving() as index, corp(index, offline=True) as fetcher:
            assert type((await observe(fetcher.project("demo"), index)).error) is Offline
        assert index.requests == 0

    async def test_explain(self, cache: Path) -> None:
        async with serving() as index, corp(index, cache=cache, offline=True) as fetcher:
            explanation = await fetcher.explain(f"{index.url}/demo/")
        assert index.requests == 0
        assert type(explanation.error) is Offline
        assert explanation.hops == ()

    async def test_the_index_that_has_not_got_it(self, cache: Path) -> None:
        """The second index is asked where the first had said that it has none, and only there."""
        kinds = []
        async with FakeIndex(wheels={}) as first, serving() as second:
            for offline, fresh_cache in [(False, cache), (True, cache), (True, cache / "another")]:
                indexes = [Index(first.url, name="first"), Index(second.url, name="second")]
                async with Fetcher(indexes, environ=NOTHING_KNOWN, cache=fresh_cache, offline=offline) as fetcher:
                    outcome = await observe(fetcher.project("demo"), first, second)
                kinds.append((type(outcome.error or outcome.value).__name__, len(outcome.wires)))
            # An index that was never asked may have it: what another has is a stranger's.
            async with corp(second, cache=cache / "another") as fetcher:
                await fetcher.project("demo")
            async with Fetcher(indexes, environ=NOTHING_KNOWN, cache=cache / "another", offline=True) as fetcher:
                outcome = await observe(fetcher.project("demo"), first, second)
            kinds.append((type(outcome.error or outcome.value).__name__, len(outcome.wires)))
        assert kinds == [("Project", 2), ("Project", 0), ("Offline", 0), ("Offline", 0)]


GUARD = Guard(accepts=(basic(READER, PASSWORD), basic(OTHER, WRONG)))
KNOWN = {"FETCHER_INDEX_CORP_USERNAME": READER, "FETCHER_INDEX_CORP_PASSWORD": PASSWORD}
KNOWN_OTHER = {"FETCHER_INDEX_CORP_USERNAME": OTHER, "FETCHER_INDEX_CORP_PASSWORD": WRONG}


def private(**more: Any) -> FakeIndex:
    return FakeIndex(wheels={NAME: WHEEL}, auth={"/": GUARD}, faults={PAGE: FRESH}, **more)


def by_netrc(folder: Path) -> dict[str, Any]:
    """The options of a user whose password is found by a challenge only."""
    netrc = folder / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login {READER} password {PASSWORD}\n")
    return {"environ": {"NETRC": str(netrc)}}


class TestPrivate:
    """Whose page it is."""

    async def test_two_users(self, cache: Path) -> None:
        async with private() as index:
            asked = await runs(
                index,
                cache,
                {"environ": KNOWN},
                {"environ": KNOWN_OTHER},
                {"environ": KNOWN},
                {"environ": KNOWN_OTHER},
                {},
            )
        assert asked.statuses == [[200], [200], [], [], [401]]
        assert asked.kinds[-1] == "Unauthorized"

    async def test_two_who_begin_together(self, cache: Path) -> None:
        """On an empty cache: each finds the pages of the other from then on."""
        other = wheel_filename("other")
        wheels = {NAME: WHEEL, other: make_wheel("other")}
        async with FakeIndex(wheels=wheels, auth={"/": GUARD}, faults={"/simple/*": FRESH}) as index:
            options: dict[str, Any] = {"environ": KNOWN, "cache": cache}
            async with corp(index, **options) as one, corp(index, **options) as two:
                await one.project("demo")
                await two.project("other")
            async with corp(index, **options) as fetcher:
                requests = [(await observe(fetcher.project(name), index)).requests for name in ("demo", "other")]
        assert requests == [0, 0]

    async def test_a_wrong_password_sees_nothing(self, cache: Path) -> None:
        wrong = KNOWN | {"FETCHER_INDEX_CORP_PASSWORD": "wrong"}
        async with private() as index:
            asked = await runs(index, cache, {"environ": KNOWN}, {"environ": wrong})
            await ask(asked, index, cache, environ=wrong, offline=True)
        assert asked.kinds == ["Project", "Unauthorized", "Offline"]

    @pytest.mark.parametrize("credentials", [Basic(READER, PASSWORD)])
    async def test_the_same_credentials_from_elsewhere(self, credentials: Basic, cache: Path) -> None:
        async with private() as index:
            asked = await runs(index, cache, {"environ": KNOWN}, {"credentials": {"corp": credentials}})
            async with Fetcher([index.url_as(f"{READER}:{PASSWORD}")], environ=NOTHING_KNOWN, cache=cache) as fetcher:
                outcome = await observe(fetcher.project("demo"), index)
        assert asked.statuses == [[200], []]
        assert outcome.requests == 0

    async def test_always_without_credentials(self, cache: Path) -> None:
        always = {"index_options": {"authenticate": "always"}}
        async with FakeIndex(wheels={NAME: WHEEL}, faults={PAGE: FRESH}) as index:
            asked = await runs(index, cache, {}, always, always | {"offline": True}, always | {"environ": KNOWN})
        assert asked.kinds == ["Project", "MissingCredentials", "MissingCredentials", "Project"]
        assert asked.statuses == [[200], [], [], [200]]

    async def test_never(self, cache: Path) -> None:
        never = {"index_options": {"authenticate": "never"}, "environ": KNOWN}
        async with private() as index:
            asked = await runs(index, cache, {"environ": KNOWN}, never)
        assert asked.kinds == ["Project", "Unauthorized"]
        assert asked.wires[1][0].authorization is None

    async def test_a_user_of_netrc(self, cache: Path, tmp_path: Path) -> None:
        knows = by_netrc(tmp_path)
        async with private() as index:
            asked = await runs(index, cache, knows, knows, knows | {"refresh": True}, {}, knows | {"offline": True})
        # Challenged once; from then on it is known that this index wants credentials.
        assert asked.statuses == [[401, 200], [], [304], [401], []]

    async def test_many_pages_of_a_user_of_netrc(self, cache: Path, tmp_path: Path) -> None:
        wheels = {wheel_filename(f"demo{number}"): make_wheel(f"demo{number}") for number in range(50)}
        requests = []
        async with FakeIndex(wheels=wheels, auth={"/": GUARD}, faults={"/simple/*": FRESH}) as index:
            for _ in range(2):
                async with corp(index, cache=cache, **by_netrc(tmp_path)) as fetcher:
                    before = index.requests
                    await asyncio.gather(*(fetcher.project(f"demo{number}") for number in range(50)))
                    requests.append(index.requests - before)
        assert requests[1] == 0

    async def test_an_index_that_was_closed(self, cache: Path) -> None:
        """A stale page of everybody, whose server now wants to know who asks."""
        async with serving() as index:
            asked = await runs(index, cache, {})
            index.auth = {"/": GUARD}
            await ask(asked, index, cache)
            await ask(asked, index, cache, environ=KNOWN)
            await ask(asked, index, cache, environ=KNOWN)
        assert asked.statuses == [[200], [401], [200], [304]]
        assert asked.kinds == ["Project", "Unauthorized", "Project", "Project"]

    @pytest.mark.parametrize("validator", ["ETag", "Last-Modified"])
    async def test_an_index_that_was_closed_to_a_user_of_netrc(
        self, validator: str, cache: Path, tmp_path: Path
    ) -> None:
        """The page of everybody is another: it stands not before the user's own, nor is the server asked about it."""
        knows = by_netrc(tmp_path)
        modified = Stating({"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"})
        said = () if validator == "ETag" else (Etag("absent"), modified)
        async with serving(*said) as index:
            asked = await runs(index, cache, knows)
            index.auth = {"/": GUARD}
            index.faults = {PAGE: (*said, FRESH)}
            index.wheels = {wheel_filename(version="2.0"): make_wheel(version="2.0")}
            for options in (knows, knows, knows | {"offline": True}):
                await ask(asked, index, cache, **options)
        assert asked.statuses == [[200], [401, 200], [], []]
        conditions = {"If-None-Match", "If-Modified-Since"}
        assert [bool(conditions & set(wire.headers)) for wire in asked.wires[1]] == [True, False]
        assert asked.projects[0] != asked.projects[1] == asked.projects[2] == asked.projects[3]

    async def test_offline_everybodys_page_is_better_than_none(self, cache: Path, tmp_path: Path) -> None:
        """Some pages of the index are private, and this one was asked for before that was known."""
        other = wheel_filename("other")
        wheels = {NAME: WHEEL, other: make_wheel("other")}
        knows = by_netrc(tmp_path)
        async with FakeIndex(wheels=wheels, auth={"/simple/other/": GUARD}) as index:
            async with corp(index, cache=cache, **knows) as fetcher:
                files = [(await fetcher.project(name)).files for name in ("demo", "other")]
            async with corp(index, cache=cache, offline=True, **knows) as fetcher:
                assert [(await fetcher.project(name)).files for name in ("demo", "other")] == files

    async def test_credentials_that_were_refused(self, cache: Path, tmp_path: Path) -> None:
        """They are no reason to send them for other pages at once."""
        wheels = {NAME: WHEEL, wheel_filename("other"): make_wheel("other")}
        knows = by_netrc(tmp_path)
        guard = Guard(accepts=(basic(OTHER, WRONG),))
        async with FakeIndex(wheels=wheels, auth={"/simple/other/": guard}) as index:
            async with corp(index, cache=cache, **knows) as fetcher:
                assert (await observe(fetcher.project("other"), index)).statuses == [401, 401]
            asked = await runs(index, cache, knows)
        assert [wire.authorization for wire in asked.wires[0]] == [None]

    async def test_offline_a_private_index_that_has_not_got_it(self, cache: Path, tmp_path: Path) -> None:
        knows = by_netrc(tmp_path)["environ"]
        kinds = []
        async with FakeIndex(wheels={}, auth={"/": GUARD}) as first, serving() as second:
            for offline in (False, True):
                indexes = [Index(first.url, name="first"), Index(second.url, name="second")]
                async with Fetcher(indexes, environ=knows, cache=cache, offline=offline) as fetcher:
                    outcome = await observe(fetcher.project("demo"), first, second)
                kinds.append((type(outcome.error or outcome.value).__name__, outcome.statuses))
        assert kinds == [("Project", [401, 404, 200]), ("Project", [])]

    @pytest.mark.parametrize("how", ["environment", "url", "netrc"])
    async def test_no_secret_is_kept(self, how: str, cache: Path, tmp_path: Path) -> None:
        cookie = Stating({"Set-Cookie": "session=chocolate", "X-Echo": PASSWORD})
        async with FakeIndex(wheels={NAME: WHEEL}, auth={"/": GUARD}, faults={"*": cookie}) as index:
            match how:
                case "environment":
                    fetcher = corp(index, environ=KNOWN, cache=cache)
                case "url":
                    fetcher = Fetcher([index.url_as(f"{READER}:{PASSWORD}")], environ=NOTHING_KNOWN, cache=cache)
                case _:
                    fetcher = corp(index, cache=cache, **by_netrc(tmp_path))
            async with fetcher:
                project = await fetcher.project("demo")
                await fetcher.metadata(project.files[0])
        kept = everything_in(cache)
        assert NAME.encode() in kept
        secrets = [READER, PASSWORD, basic(READER, PASSWORD).split()[1], "chocolate"]
        assert [secret for secret in secrets if secret.encode() in kept] == []


async def test_what_is_fresh_costs_no_import(cache: Path) -> None:
    """Nor do METADATA that are kept: aiohttp alone takes a third of the time of such a run."""
    async with serving(FRESH) as index:
        async with corp(index, cache=cache) as fetcher:
            await fetcher.metadata((await fetcher.project("demo")).files[0])
        url, before = index.url, index.requests
        done = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", WARM_RUN, url, str(cache)), stdout=subprocess.PIPE
        )
        said, _ = await done.communicate()
    assert json.loads(said) == ["cache", []]
    assert index.requests == before


async def test_offline_and_refresh_exclude_each_other(cache: Path) -> None:
    with pytest.raises(FetcherError, match="exclude each other"):
        Fetcher(cache=cache, offline=True, refresh=True)
