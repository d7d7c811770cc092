"""A login page is never taken for a wheel, its METADATA, or an index page, whatever it calls itself (behaviour §2, §4).

Every kind of login page comes in every place: as `LoginPage` after at most two requests, with nothing left on the disk;
and where credentials can be found, as a challenge that is answered once.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import pytest
from fake_faults import ChangedFile, Fault, LoginPage as Login, Stating, Status
from fake_index import FakeIndex, Guard, basic
from fake_wheels import make_wheel, metadata_of, wheel_filename
from wire_checks import NOTHING_KNOWN, Outcome, assert_within_budget, corp, find, left_in, observe

import fetcher as fetcher_package
from fetcher import ContentError, Fetcher, Index, LoginPage, MissingCredentials

if TYPE_CHECKING:
    from collections.abc import Awaitable

pytestmark = pytest.mark.usefixtures("_no_blocking", "_short_waits")

NAME = wheel_filename()
SECRET = basic("user", "password")
SIZES = {"small": 40_000, "large": 300_000}
WHEELS = {size: make_wheel(size=number) for size, number in SIZES.items()}

LOGIN_PAGES: dict[str, Login] = {
    "200": Login(),
    "302": Login(redirect=True),
    "octet-stream": Login(content_type="application/octet-stream"),
    "octet-stream-302": Login(content_type="binary/octet-stream", redirect=True),
    "as-a-zip": Login(content_type="application/zip"),
    "as-json": Login(content_type="application/vnd.pypi.simple.v1+json"),
    "no-content-type": Login(content_type=None),
    "accept-ranges": Login(accept_ranges=True),
    "accept-ranges-302": Login(accept_ranges=True, redirect=True),
    "206": Login(accept_ranges=True, honours_range=True),
    "206-of-40-kilobytes": Login(accept_ranges=True, honours_range=True, size=40_000),
    "206-of-200-kilobytes": Login(accept_ranges=True, honours_range=True, size=200_000),
    "206-of-400-kilobytes": Login(accept_ranges=True, honours_range=True, size=400_000),
    "40-kilobytes": Login(size=40_000),
    "40-kilobytes-302-octet-stream": Login(size=40_000, redirect=True, content_type="application/octet-stream"),
    "200-kilobytes": Login(size=200_000),
    "2-megabytes": Login(size=2_000_000),
    "bom": Login(bom=True),
    "bom-302": Login(bom=True, redirect=True),
    "upper-case": Login(upper=True),
    "white-space-first": Login(lead="\r\n\t  \n" * 40),
    "kilobytes-of-white-space-first": Login(lead="\n" * 3_000),
    "comment-first": Login(lead="<!-- served by sso-07 -->\n"),
    "kilobytes-of-comment-first": Login(lead=f"<!-- {'copyright ' * 400} -->\n"),
    "bom-white-space-comment-upper-case": Login(bom=True, upper=True, lead=" \n<!-- x -->\n"),
    "xml-declaration-first": Login(lead='<?xml version="1.0" encoding="UTF-8"?>\n'),
    "cookie": Login(redirect=True, cookie="session=s3cr3t; Path=/"),
}
Place = Literal["metadata", "sidecar", "download", "page"]
PLACES: tuple[Place, ...] = ("metadata", "sidecar", "download", "page")

login_pages = pytest.mark.parametrize("login", LOGIN_PAGES)
places = pytest.mark.parametrize("place", PLACES)
page_formats = pytest.mark.parametrize("page_format", ["json", "html"], ids=["size-known", "size-unknown"])


class Where(NamedTuple):
    """The paths that a place asks, as a glob for faults and as a prefix for guards."""

    pattern: str
    prefix: str


WHERE: dict[Place, Where] = {
    "metadata": Where("*.whl", "/files"),
    "sidecar": Where("*.metadata", "/files"),
    "download": Where("*.whl", "/files"),
    "page": Where("/simple/*", "/simple"),
}


def serving(place: Place, size: str = "large", **more: Any) -> FakeIndex:
    return FakeIndex(wheels={NAME: WHEELS[size]}, sidecar="hash" if place == "sidecar" else "none", **more)


async def ask(place: Place, fetcher: Fetcher, dest: Path, *servers: FakeIndex) -> Outcome[Any]:
    """The operation that asks in this place; its page, if it needs one, is not counted."""
    if place == "page":
        return await observe(fetcher.project("demo"), *servers)
    file = await find(fetcher)
    operation: Awaitable[Any] = fetcher.download(file, dest) if place == "download" else fetcher.metadata(file)
    return await observe(operation, *servers)


def assert_right(place: Place, outcome: Outcome[Any], size: str = "large") -> None:
    match place:
        case "page":
            assert [file.filename for file in outcome.done.files] == [NAME]
        case "download":
            assert outcome.done.path.read_bytes() == WHEELS[size]
        case _:
            assert outcome.done.raw == metadata_of(WHEELS[size])


def assert_one_sentence(error: LoginPage, *secrets: str) -> None:
    sentence = str(error)
    assert sentence.isprintable(), "one line"
    assert len(sentence) < 1_000
    for secret in ("password", "s3cr3t", *secrets):
        assert secret not in (sentence + repr(error)).replace("_PASSWORD", "").replace("password for", "")


@pytest.fixture
def netrc(tmp_path: Path) -> dict[str, str]:
    path = tmp_path / "netrc"
    path.write_text("machine 127.0.0.1 login user password password\n")
    return {"NETRC": str(path)}


# --- nobody knows credentials ------------------------------------------------------------------------------------


@login_pages
@places
@page_formats
async def test_is_recognised(page_format: Any, place: Place, login: str, dest: Path) -> None:
    async with (
        serving(place, page_format=page_format, faults={WHERE[place].pattern: LOGIN_PAGES[login]}) as index,
        corp(index) as fetcher,
    ):
        outcome = await ask(place, fetcher, dest, index)
    assert isinstance(outcome.error, LoginPage), repr(outcome.error)
    assert outcome.requests <= 2, [(wire.status, wire.range, wire.target) for wire in outcome.wires]
    assert left_in(dest) == []
    assert_one_sentence(outcome.error)


@login_pages
@pytest.mark.parametrize("place", ["metadata", "download"])
async def test_is_recognised_in_place_of_a_small_wheel(place: Place, login: str, dest: Path) -> None:
    async with serving(place, "small", faults={"*.whl": LOGIN_PAGES[login]}) as index, corp(index) as fetcher:
        outcome = await ask(place, fetcher, dest, index)
    assert isinstance(outcome.error, LoginPage), repr(outcome.error)
    assert outcome.requests <= 2
    assert left_in(dest) == []


@pytest.mark.parametrize("place", ["metadata", "download", "sidecar"])
async def test_a_login_page_that_honours_ranges_behind_a_redirect(place: Place, dest: Path) -> None:
    """The redirect and the part of the page may each be seen twice, but not more often."""
    login = Login(redirect=True, accept_ranges=True, honours_range=True, size=200_000)
    async with (
        serving(place, faults={WHERE[place].pattern: login}, page_format="html") as index,
        corp(index) as fetcher,
    ):
        outcome = await ask(place, fetcher, dest, index)
    assert isinstance(outcome.error, LoginPage), repr(outcome.error)
    assert outcome.requests <= 4
    assert left_in(dest) == []


@places
@pytest.mark.parametrize("redirect", [False, True], ids=["200", "302"])
async def test_facts(redirect: bool, place: Place, dest: Path) -> None:
    login = Login(redirect=redirect, title="Sign in to Example")
    async with serving(place, faults={WHERE[place].pattern: login}) as index, corp(index) as fetcher:
        outcome = await ask(place, fetcher, dest, index)
        asked = {
            "metadata": f"{index.files_url}/{NAME}",
            "sidecar": f"{index.files_url}/{NAME}.metadata",
            "download": f"{index.files_url}/{NAME}",
            "page": f"{index.url}/demo/",
        }[place]
        error = outcome.error
        assert isinstance(error, LoginPage)
        assert error.expected == {"sidecar": f"{NAME}.metadata", "page": "the index page of demo"}.get(place, NAME)
        assert error.index == "corp"
        assert error.policy == "auto"
        assert error.scope
        assert index.base in error.scope, "why it is in scope"
        assert error.url == asked
        assert error.final_url.partition("?")[0] == (f"{index.base}/+login" if redirect else asked)
        assert (error.status, error.title, error.sent) == (200, "Sign in to Example", None)
        assert (error.exit_code, isinstance(error, ContentError)) == (3, True)
    sentence = str(error)
    for named in ("corp", error.expected, "Sign in to Example", error.final_url, "proxy", 'authenticate = "always"'):
        assert named in sentence
    assert_one_sentence(error)


async def test_facts_outside_every_index(dest: Path) -> None:
    """A URL that lies nowhere: the next step is to declare where it belongs."""
    async with (
        FakeIndex(wheels={NAME: WHEELS["large"]}, faults={"*.whl": Login()}) as index,
        Fetcher([Index("http://localhost:1/simple", name="corp")], environ=NOTHING_KNOWN) as fetcher,
    ):
        outcome = await observe(fetcher.download(f"{index.files_url}/{NAME}", dest), index)
    assert isinstance(outcome.error, LoginPage)
    assert (outcome.error.index, outcome.error.scope, outcome.error.sent) == (None, None, None)
    assert "roots" in str(outcome.error)
    assert left_in(dest) == []


@pytest.mark.parametrize(
    "title",
    ["Sign\r\n   in", "Sign in\x1b[31m", "Sign in \u202e\u2028 now", "Sign in " * 5_000, "", "<b>&amp; \x00 sign in"],
    ids=["line-break", "escape", "direction-and-line-separator", "40-kilobytes", "none", "nul"],
)
async def test_a_title_cannot_break_the_sentence(title: str, dest: Path) -> None:
    async with serving("metadata", faults={"*.whl": Login(title=title)}) as index, corp(index) as fetcher:
        outcome = await ask("metadata", fetcher, dest, index)
    assert isinstance(outcome.error, LoginPage)
    assert_one_sentence(outcome.error)


async def test_the_secrets_of_the_url_are_not_shown_by_way_of_the_login_page(dest: Path) -> None:
    """`/+login?goto_url=…` repeats the whole URL that was asked, with what was in its query."""
    async with serving("download", faults={"*.whl": Login(redirect=True)}) as index, corp(index) as fetcher:
        url = f"{index.files_url}/{NAME}?X-Amz-Signature=s3cr3t&token=s3cr3t".replace("://", "://user:s3cr3t@")
        outcome = await observe(fetcher.download(url, dest), index)
    assert isinstance(outcome.error, LoginPage)
    assert_one_sentence(outcome.error)
    assert "s3cr3t" not in outcome.error.url + outcome.error.final_url


# --- auto: a challenge first -------------------------------------------------------------------------------------


@login_pages
@places
async def test_auto_with_netrc_answers_it_once(place: Place, login: str, netrc: dict[str, str], dest: Path) -> None:
    guard = Guard((SECRET,), otherwise=LOGIN_PAGES[login])
    async with serving(place, auth={WHERE[place].prefix: guard}) as index, corp(index, environ=netrc) as fetcher:
        outcome = await ask(place, fetcher, dest, index)
    assert_right(place, outcome)
    first = next(number for number, wire in enumerate(outcome.wires) if wire.authorization)
    assert [wire.authorization for wire in outcome.wires] == [None] * first + [SECRET] * (outcome.requests - first)
    assert first <= 2, "the page itself, and perhaps a redirect to it"
    assert outcome.requests - first == 1, "resent once"


@pytest.mark.parametrize("login", ["200", "302", "206-of-200-kilobytes"])
async def test_auto_with_netrc_is_remembered(login: str, netrc: dict[str, str], tmp_path: Path) -> None:
    """After one success n files cost n requests, not 2n."""
    names = ["aa", "bb", "cc", "dd"]
    wheels = {wheel_filename(name): make_wheel(name, size=200_000) for name in names}
    guard = Guard((SECRET,), otherwise=LOGIN_PAGES[login])
    async with FakeIndex(wheels=wheels, auth={"/files": guard}) as index, corp(index, environ=netrc) as fetcher:
        files = [await find(fetcher, name) for name in names]
        costs = [await observe(fetcher.metadata(file), index) for file in files]
        costs += [await observe(fetcher.download(file, tmp_path / "dest"), index) for file in files]
    assert [cost.requests for cost in costs[1:4]] == [1] * 3
    assert max(cost.requests for cost in costs[4:]) == 1  # or none, where METADATA took the whole file
    assert all(wire.authorization == SECRET for cost in costs[1:] for wire in cost.wires)
    assert costs[0].done.raw == metadata_of(wheels[wheel_filename("aa")])


@pytest.mark.parametrize("login", ["200", "302"])
async def test_auto_with_netrc_at_once_by_many_tasks(login: str, netrc: dict[str, str]) -> None:
    names = [f"p{number}" for number in range(8)]
    wheels = {wheel_filename(name): make_wheel(name, size=200_000) for name in names}
    guard = Guard((SECRET,), otherwise=LOGIN_PAGES[login])
    async with FakeIndex(wheels=wheels, auth={"/files": guard}) as index, corp(index, environ=netrc) as fetcher:
        files = [await find(fetcher, name) for name in names]
        found = await asyncio.gather(*(fetcher.metadata(file) for file in files))
    assert [metadata.raw for metadata in found] == [metadata_of(wheel) for wheel in wheels.values()]
    assert len([wire for wire in index.log if wire.authorization]) == len(names)


@places
@pytest.mark.parametrize("login", ["200", "302"])
async def test_auto_with_credentials_in_the_index_url_never_sees_it(login: str, place: Place, dest: Path) -> None:
    guard = Guard((SECRET,), otherwise=LOGIN_PAGES[login])
    async with (
        serving(place, auth={"/": guard}) as index,
        Fetcher([Index(index.url_as("user:password"), name="corp")], environ=NOTHING_KNOWN) as fetcher,
    ):
        outcome = await ask(place, fetcher, dest, index)
    assert_right(place, outcome)
    assert index.anonymous == []


# --- never, always -----------------------------------------------------------------------------------------------


@places
@pytest.mark.parametrize("login", ["200", "302", "octet-stream", "40-kilobytes"])
async def test_never_never_sends(login: str, place: Place, netrc: dict[str, str], dest: Path) -> None:
    """Not what is in the URL, nor the environment's, nor netrc's, not even after a challenge."""
    environ = {**netrc, "FETCHER_INDEX_CORP_USERNAME": "user", "FETCHER_INDEX_CORP_PASSWORD": "password"}
    guard = Guard((SECRET,), otherwise=LOGIN_PAGES[login])
    async with serving(place, auth={WHERE[place].prefix: guard}) as index:
        declared = Index(index.url_as("user:password"), name="corp", authenticate="never")
        async with Fetcher([declared], environ=environ) as fetcher:
            outcome = await ask(place, fetcher, dest, index)
    assert isinstance(outcome.error, LoginPage)
    assert outcome.requests <= 2
    assert [wire.authorization for wire in index.log] == [None] * index.requests
    assert (outcome.error.policy, outcome.error.sent) == ("never", None)
    assert '"never"' in str(outcome.error)
    assert_one_sentence(outcome.error)
    assert left_in(dest) == []


@pytest.mark.parametrize("operation", ["metadata", "download", "project"])
async def test_always_without_credentials_asks_nothing(operation: str, dest: Path) -> None:
    async with (
        serving("metadata", auth={"/": Guard((SECRET,), otherwise=Login())}) as index,
        corp(index, index_options={"authenticate": "always"}) as fetcher,
    ):
        url = f"{index.files_url}/{NAME}"
        asked: dict[str, Awaitable[Any]] = {
            "metadata": fetcher.metadata(url),
            "download": fetcher.download(url, dest),
            "project": fetcher.project("demo"),
        }
        outcome = await observe(asked.pop(operation), index)
        for other in asked.values():
            other.close()  # type: ignore[attr-defined]
    assert isinstance(outcome.error, MissingCredentials)
    assert (index.requests, index.connections) == (0, 0)
    assert (outcome.error.index, outcome.error.exit_code) == ("corp", 3)
    assert str(outcome.error).isprintable()
    assert "corp" in str(outcome.error)
    assert "FETCHER_INDEX_CORP_" in str(outcome.error)
    assert left_in(dest) == []


@places
@pytest.mark.parametrize("login", ["200", "302", "octet-stream", "200-kilobytes"])
async def test_always_with_netrc_never_sees_it(login: str, place: Place, netrc: dict[str, str], dest: Path) -> None:
    guard = Guard((SECRET,), otherwise=LOGIN_PAGES[login])
    async with (
        serving(place, auth={"/": guard}) as index,
        corp(index, environ=netrc, index_options={"authenticate": "always"}) as fetcher,
    ):
        outcome = await ask(place, fetcher, dest, index)
    assert_right(place, outcome)
    assert index.anonymous == []


# --- credentials that are not accepted ---------------------------------------------------------------------------


@places
@pytest.mark.parametrize("policy", ["auto", "always"])
@pytest.mark.parametrize("login", ["200", "302", "octet-stream", "206-of-200-kilobytes"])
async def test_sent_and_not_accepted(login: str, policy: Any, place: Place, dest: Path) -> None:
    guard = Guard((SECRET,), otherwise=LOGIN_PAGES[login])
    async with serving(place, auth={WHERE[place].prefix: guard}) as index:
        declared = Index(index.url_as("user:wr0ng"), name="corp", authenticate=policy)
        async with Fetcher([declared], environ=NOTHING_KNOWN) as fetcher:
            outcome = await ask(place, fetcher, dest, index)
    assert isinstance(outcome.error, LoginPage), repr(outcome.error)
    assert outcome.requests <= 2
    assert outcome.error.sent
    assert "not accepted" in str(outcome.error)
    assert "corp" in str(outcome.error)
    assert_one_sentence(outcome.error, "wr0ng")
    assert left_in(dest) == []


@places
@pytest.mark.parametrize("login", ["200", "302"])
async def test_found_in_netrc_and_not_accepted(login: str, place: Place, tmp_path: Path, dest: Path) -> None:
    """Bare, then once with what netrc knows, then no more."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password wr0ng\n")
    guard = Guard((SECRET,), otherwise=LOGIN_PAGES[login])
    async with (
        serving(place, auth={WHERE[place].prefix: guard}) as index,
        corp(index, environ={"NETRC": str(netrc)}) as fetcher,
    ):
        outcome = await ask(place, fetcher, dest, index)
    assert isinstance(outcome.error, LoginPage), repr(outcome.error)
    assert outcome.requests <= 4
    assert len({wire.authorization for wire in outcome.wires}) == 2
    assert "netrc" in (outcome.error.sent or "")
    assert "not accepted" in str(outcome.error)
    assert_one_sentence(outcome.error, "wr0ng")
    assert left_in(dest) == []


# --- index pages -------------------------------------------------------------------------------------------------


def page(html: str) -> Fault:
    return ChangedFile(html.encode(), after=0)


@pytest.mark.parametrize(
    "html",
    [
        '<html><body><form action="/login"><input type="password"></form><a href="/help">Help</a></body></html>',
        '<html><title>SSO Login</title><body><form method="post"><button>Continue</button></form></body></html>',
    ],
    ids=["with-a-link", "without-a-password-field"],
)
@page_formats
async def test_a_page_with_a_login_form_is_no_page_without_versions(page_format: Any, html: str) -> None:
    async with (
        serving("page", page_format=page_format, faults={"/simple/*": page(html)}) as index,
        corp(index) as fetcher,
    ):
        outcome = await observe(fetcher.project("demo"), index)
    assert isinstance(outcome.error, LoginPage), repr(outcome.value)


@pytest.mark.parametrize(
    "html",
    [
        "<!DOCTYPE html><html><head><title>Links for demo</title></head><body><h1>Links for demo</h1></body></html>",
        "<html><body></body></html>",
    ],
    ids=["pypiserver", "bare"],
)
async def test_a_page_without_links_is_a_project_without_files(html: str) -> None:
    async with (
        serving("page", page_format="html", faults={"/simple/*": page(html)}) as index,
        corp(index) as fetcher,
    ):
        assert list((await fetcher.project("demo")).files) == []


async def test_a_project_called_login_is_a_project() -> None:
    """Its page has the word in its title, and links."""
    name = wheel_filename("flask_login", "0.6")
    html = (
        "<!DOCTYPE html><html><head><title>Links for flask-login</title></head><body><h1>Links for flask-login</h1>"
        f'<a href="/files/{name}">{name}</a></body></html>'
    )
    async with (
        FakeIndex(
            wheels={name: make_wheel("flask_login", "0.6")}, page_format="html", faults={"/simple/*": page(html)}
        ) as index,
        corp(index) as fetcher,
    ):
        assert [file.filename for file in (await fetcher.project("flask-login")).files] == [name]


async def test_the_next_index_is_not_asked_after_a_login_page() -> None:
    """A project of the same name elsewhere may be another's."""
    async with serving("page", faults={"/simple/*": Login()}) as first, serving("page") as second:
        declared = [Index(first.url, name="corp"), Index(second.url, name="public")]
        async with Fetcher(declared, environ=NOTHING_KNOWN) as fetcher:
            outcome = await observe(fetcher.project("demo"), first, second)
    assert isinstance(outcome.error, LoginPage)
    assert second.requests == 0


async def test_no_cookie_of_a_login_page_is_replayed(tmp_path: Path) -> None:
    """By name: a jar that keeps cookies keeps none of an address."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine localhost login user password password\n")
    guard = Guard((SECRET,), otherwise=Login(redirect=True, cookie="session=s3cr3t; Path=/"))
    async with (
        serving("metadata", auth={"/": guard}, host="localhost") as index,
        corp(index, environ={"NETRC": str(netrc)}) as fetcher,
    ):
        await fetcher.metadata(await find(fetcher))
    assert len(index.anonymous) == 2
    assert not [wire for wire in index.log if "Cookie" in wire.headers]


async def test_an_html_sidecar_that_is_no_login_page_is_passed_over() -> None:
    """A soft 404: the wheel has it as well."""
    soft = Status(200, body="html")
    async with serving("sidecar", faults={"*.metadata": soft}) as index, corp(index) as fetcher:
        outcome = await observe(fetcher.metadata(await find(fetcher)), index)
    assert outcome.done.raw == metadata_of(WHEELS["large"])
    assert_within_budget(outcome, SIZES["large"] + 10)


async def test_a_wheel_is_a_wheel_whatever_its_content_type_says(dest: Path) -> None:
    """Magic decides, not Content-Type."""
    fault = Stating({"Content-Type": "text/html; charset=utf-8"})
    async with serving("download", faults={"*.whl": fault}) as index, corp(index) as fetcher:
        file = await find(fetcher)
        assert (await fetcher.metadata(file)).raw == metadata_of(WHEELS["large"])
        assert (await fetcher.download(file, dest)).path.read_bytes() == WHEELS["large"]


# --- the command -------------------------------------------------------------------------------------------------


class Ran(NamedTuple):
    code: int
    stdout: str
    stderr: str


async def run(home: Path, *arguments: str, **environ: str) -> Ran:
    """The command in an environment without anybody's settings; the fake index is in this very event loop."""
    root = Path(fetcher_package.__file__).parents[1]
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "FETCHER_NO_CACHE") if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "fetcher", *arguments),
        env={**kept, "HOME": str(home), "PYTHONPATH": str(root), **environ},
        cwd=home,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    stdout, stderr = await process.communicate()
    assert process.returncode is not None
    return Ran(process.returncode, stdout.decode(), stderr.decode())


@pytest.mark.parametrize("command", ["get", "metadata"])
@pytest.mark.parametrize("place", ["page", "download"], ids=["page", "file"])
async def test_command_says_it_in_one_line(place: Place, command: str, tmp_path: Path) -> None:
    async with serving(place, faults={WHERE[place].pattern: Login(redirect=True)}) as index:
        flags = ("--index", f"corp={index.url}", "--json")
        ran = await run(tmp_path, command, "demo==1.0", *flags)
    assert ran.code == 3, ran
    lines = ran.stderr.splitlines()
    assert len(lines) == 1, ran.stderr
    assert "corp" in lines[0]
    assert "Traceback" not in ran.stderr
    failure = json.loads(ran.stdout)
    assert failure == {"target": "demo==1.0", "error": "LoginPage", "message": failure["message"]}
    assert failure["message"] in lines[0]
    assert left_in(tmp_path) == []


async def test_command_with_always_and_no_credentials_asks_nothing(tmp_path: Path) -> None:
    async with serving("page") as index:
        flags = ("--index", f"corp={index.url}", "--authenticate", "corp=always", "--json")
        ran = await run(tmp_path, "get", "demo", *flags)
    assert ran.code == 3, ran
    assert index.requests == 0
    assert len(ran.stderr.splitlines()) == 1
    assert json.loads(ran.stdout)["error"] == "MissingCredentials"
    assert left_in(tmp_path) == []


async def test_command_with_a_netrc_file_succeeds(tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login user password password\n")
    (tmp_path / ".netrc").chmod(0o600)
    guard = Guard((SECRET,), otherwise=Login(redirect=True))
    async with serving("download", auth={"/": guard}) as index:
        ran = await run(tmp_path, "get", "demo", "--index", f"corp={index.url}", "--dest", "wheels")
    assert ran.code == 0, ran
    assert left_in(tmp_path / "wheels") == [NAME]
    assert len(index.anonymous) == 2
