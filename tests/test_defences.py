"""What hostile servers try beyond the reaction table: it ends in one typed error, soon, and shows no secret."""

import asyncio
import gzip
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from fake_faults import Cut, LoginPage as LoginFault, NoContentLength, Status
from fake_index import FakeIndex, basic
from fake_wheels import make_wheel, metadata_of, wheel_filename
from listening import stop_listening

from fetcher import BadPage, ConfigError, ConnectFailed, Fetcher, FetcherError, Index, LoginPage, NotFound, TimedOut
from fetcher.errors import TransportError

NAME = wheel_filename()
WHEEL = make_wheel(size=300_000)
NOTHING_KNOWN = {"NETRC": os.devnull}

Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def raw_server(answer: Answer) -> AsyncIterator[str]:
    """A server that is given the head of each request, and writes what it likes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(await reader.readuntil(b"\r\n\r\n"), writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            return  # the client has had enough
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        await stop_listening(server)


def whole(body: bytes, headers: bytes = b"") -> Answer:
    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n" % (headers, len(body)) + body)
        await writer.drain()

    return answer


def door(url: str, **settings: object) -> Fetcher:
    return Fetcher([Index(f"{url}/simple", name="corp")], environ=NOTHING_KNOWN, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "location", ["http://" + "a" * 64 + ".example/", "http://a..b/", "http://[::1", "ftp://h/", "http://h:99999/"]
)
async def test_a_redirect_that_leads_nowhere_is_a_typed_error(location: str) -> None:
    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode())

    async with raw_server(answer) as url, door(url, retries=0) as fetcher:
        with pytest.raises(TransportError):
            await fetcher.metadata(f"{url}/{NAME}")


async def test_a_head_that_drips_has_an_end() -> None:
    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        for byte in b"HTTP/1.1 200 OK\r\nX-Padding: " + b"x" * 1000:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.02)

    async with raw_server(answer) as url, door(url, timeout=0.2, retries=0) as fetcher:
        with pytest.raises(TimedOut):
            await asyncio.wait_for(fetcher.project("demo"), 5)


async def test_a_page_that_inflates_a_thousandfold_is_refused() -> None:
    bomb = gzip.compress(b"<a>" * 10_000_000)
    async with raw_server(whole(bomb, b"Content-Encoding: gzip\r\n")) as url, door(url) as fetcher:
        with pytest.raises(BadPage, match="inflate"):
            await fetcher.project("demo")


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(b"<a>" * 1_100_000, id="a million tags"),
        pytest.param(b"<a " + b"".join(b"x%d " % number for number in range(100_000)) + b">", id="a tag of 700 KB"),
        pytest.param(b'{"meta":{"api-version":"1.0"},"files":[' + b"{}," * 5_000 + b"{}]}", id="malformed files"),
        pytest.param(b"PK\3\4" + bytes(100), id="a zip"),
        pytest.param(b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", id="an XML error"),
        pytest.param(b"Internal error", id="text"),
    ],
)
async def test_what_is_no_index_page_is_said_to_be_none(page: bytes) -> None:
    async with raw_server(whole(page)) as url, door(url) as fetcher:
        with pytest.raises(BadPage):
            await asyncio.wait_for(fetcher.project("demo"), 10)


async def test_a_login_page_full_of_script_is_a_login_page() -> None:
    page = b"<html><title>Welcome</title><script>" + b"x();" * 25_000 + b"</script><form><input type=password></form>"
    async with raw_server(whole(page)) as url, door(url) as fetcher:
        with pytest.raises(LoginPage):
            await fetcher.project("demo")


async def test_a_cut_compressed_page_is_asked_for_again() -> None:
    pages = [gzip.compress(b"<a href='/f/demo-1.0-py3-none-any.whl'>demo</a>" + os.urandom(2000).hex().encode())] * 2
    asked = []

    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        asked.append(head)
        body = pages[0] if len(asked) > 1 else pages[0][:500]
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(pages[0]) + body)
        await writer.drain()

    async with raw_server(answer) as url, door(url) as fetcher:
        project = await fetcher.project("demo")
    assert [file.filename for file in project.files] == [NAME]
    assert len(asked) == 2


async def test_an_html_page_one_byte_longer_than_the_tail_is_a_login_page() -> None:
    fault = LoginFault(size=120 * 1024 + 1, honours_range=True)
    async with FakeIndex(wheels={NAME: WHEEL}, faults={"*.whl": fault}) as index, door(index.base) as fetcher:
        with pytest.raises(LoginPage):
            await fetcher.metadata(f"{index.files_url}/{NAME}")


async def test_an_endless_sidecar_costs_little() -> None:
    faults = {"*.metadata": [Status(200, body="text"), NoContentLength("chunked")]}
    junk = {f"{NAME}.metadata": Status(404)}
    async with FakeIndex(wheels={NAME: WHEEL}, sidecar="hash", faults={**faults, **junk}) as index:  # noqa: SIM117
        async with door(index.base) as fetcher:
            metadata = await fetcher.metadata((await fetcher.project("demo")).files[0])
    assert metadata.raw == metadata_of(WHEEL)
    assert metadata.bytes <= len(WHEEL) + 128 * 1024


async def test_no_secret_goes_along_with_an_error() -> None:
    """Not as its cause and not as its context: aiohttp's errors hold the request's headers."""

    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 \r\n\r\n")

    secret = basic("user", "S3CR3T").removeprefix("Basic ")
    async with raw_server(answer) as url:
        index = Index(url.replace("://", "://user:S3CR3T@") + "/simple", name="corp")
        async with Fetcher([index], environ=NOTHING_KNOWN, retries=0) as fetcher:
            with pytest.raises(FetcherError) as caught:
                await fetcher.project("demo")
    seen: BaseException | None = caught.value
    while seen is not None:
        assert "S3CR3T" not in repr(seen)
        assert secret not in repr(seen)
        seen = seen.__cause__ or seen.__context__


@pytest.mark.parametrize("name", ["../x", "%2e%2e/%2e%2e/x", "a?x=1", "a b", ""])
async def test_a_project_name_never_leaves_the_index(name: str) -> None:
    async with FakeIndex(wheels={NAME: WHEEL}) as index, Fetcher([Index(index.url)]) as fetcher:
        with pytest.raises(ConfigError):
            await fetcher.project(name)
        assert index.log == []


async def test_a_strangers_wheel_on_the_page_is_not_the_project(tmp_path: object) -> None:
    from packaging.requirements import Requirement

    from fetcher.index.candidates import choose_file
    from fetcher.index.formats import Formats
    from fetcher.index.pages import parse_page
    from fetcher.index.target import this_interpreter

    names = ["evil-9.0-py3-none-any.whl", "evil-9.0.tar.gz", "six-1.0-py3-none-any.whl"]
    page = "".join(f'<a href="/f/{name}">{name}</a>' for name in names).encode()
    project = parse_page(page, url="http://h/simple/six/", name="six")
    chosen = choose_file(project, Requirement("six"), this_interpreter("3.12.0"), Formats())
    assert chosen.filename == "six-1.0-py3-none-any.whl"
    with pytest.raises(NotFound):
        choose_file(project, Requirement("six>5"), this_interpreter("3.12.0"), Formats())


async def test_a_wheel_that_keeps_breaking_is_one_error() -> None:
    faults = {"*.whl": Cut(50_000)}
    async with FakeIndex(wheels={NAME: WHEEL}, faults=faults) as index, door(index.base, retries=1) as fetcher:
        with pytest.raises(TransportError):
            await fetcher.metadata(f"{index.files_url}/{NAME}")


async def test_a_closed_fetcher_says_so() -> None:
    async with FakeIndex(wheels={NAME: WHEEL}) as index:
        fetcher = Fetcher([Index(index.url)])
        with pytest.raises(RuntimeError, match="not open"):
            await fetcher.project("demo")
        async with fetcher:
            with pytest.raises(RuntimeError, match="open already"):
                await fetcher.__aenter__()
            await fetcher.project("demo")


async def test_a_port_that_refuses() -> None:
    async with Fetcher([Index("http://127.0.0.1:1/simple")], retries=0) as fetcher:
        with pytest.raises(ConnectFailed):
            await fetcher.project("demo")
