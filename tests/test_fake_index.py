"""The fake index is what it says: honest without faults, and with one exactly as wrong as the fault describes."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import json
import re
import ssl
import zipfile
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urljoin

import aiohttp
import pytest
import trustme
from fake_answers import Answer, parse_range
from fake_faults import (
    ChangedFile,
    ContentType,
    Cut,
    Etag,
    Fault,
    FirstWholeThenRanges,
    Gzip,
    HangUp,
    HeadLies,
    IgnoreIfRange,
    IgnoreRanges,
    LoginPage,
    LongBody,
    MultipartRange,
    NoContentLength,
    PartialAs200,
    Presigned,
    RangesRefused,
    RedirectChain,
    RedirectLoop,
    RedirectTo,
    ShiftedBody,
    ShortBody,
    SignedOnly,
    Silence,
    SlowDrip,
    Stall,
    Status,
    SuffixAsPrefix,
    SuffixRefused,
    TruncatedFile,
    WrongContentRange,
)
from fake_index import FakeIndex, Guard, basic
from fake_pages import Tree
from fake_wheels import make_wheel, metadata_of, wheel_filename
from hypothesis import given, strategies as st
from wire_checks import until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NAME = wheel_filename()
FILE = f"/files/{NAME}"
WHEEL = make_wheel(size=50_000)
TOTAL = len(WHEEL)


class Reply(NamedTuple):
    """What a client saw. `error`: the class name of what the body ended with, if not with its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    error: str = ""


async def send(url: str, method: str = "GET", **headers: str) -> Reply:
    """One request on a connection of its own; headers with underscores. Nothing is decoded or followed."""
    wanted = {"Accept-Encoding": "identity"} | {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.request(method, url, headers=wanted, allow_redirects=False) as response,
    ):
        body = b""
        try:
            async for piece in response.content.iter_any():
                body += piece
        except aiohttp.ClientError as error:
            return Reply(response.status, response.headers, body, type(error).__name__)
        return Reply(response.status, response.headers, body)


async def send_raw(index: FakeIndex, target: str, method: str = "GET") -> bytes:
    """Everything the server sends until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(index.base.rpartition(":")[2]))
    writer.write(f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    received = await reader.read()
    writer.close()
    await writer.wait_closed()
    return received


def one_wheel(*faults: Fault) -> FakeIndex:
    return FakeIndex(wheels={NAME: WHEEL}, faults={"*.whl": faults})


@pytest.fixture
def wheel_on_disk(tmp_path: Path) -> Path:
    path = tmp_path / NAME
    path.write_bytes(WHEEL)
    return path


@pytest.fixture
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    return server, client


class TestWheels:
    @pytest.mark.parametrize("size", [0, 20_000, 200_000])
    def test_has_the_wanted_size(self, size: int) -> None:
        assert len(make_wheel(size=size)) == pytest.approx(max(size, 1500), abs=500)

    @pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    @pytest.mark.parametrize("data_descriptor", [False, True])
    def test_is_valid_with_every_method(self, method: int, data_descriptor: bool) -> None:
        wheel = make_wheel("Demo_X", "2.1", method=method, data_descriptor=data_descriptor, comment=b"hello")
        archive = zipfile.ZipFile(io.BytesIO(wheel))
        entry = archive.getinfo("Demo_X-2.1.dist-info/METADATA")
        assert archive.testzip() is None
        assert archive.comment == b"hello"
        assert entry.compress_type == method
        assert bool(entry.flag_bits & 8) is data_descriptor
        assert metadata_of(wheel).startswith(b"Metadata-Version: 2.1\nName: Demo_X\nVersion: 2.1\n")

    def test_record_names_every_entry_with_its_hash(self) -> None:
        archive = zipfile.ZipFile(io.BytesIO(make_wheel(extra_entries={"demo/data.txt": b"x"}, many_entries=3)))
        lines = archive.read("demo-1.0.dist-info/RECORD").decode().splitlines()
        assert [line.split(",")[0] for line in lines] == archive.namelist()
        assert archive.namelist()[-1] == "demo-1.0.dist-info/RECORD"

    def test_layouts(self) -> None:
        metadata = "demo-1.0.dist-info/METADATA"
        first = zipfile.ZipFile(io.BytesIO(make_wheel(size=50_000, metadata_first=True)))
        far = zipfile.ZipFile(io.BytesIO(wheel := make_wheel(distance=30_000)))
        many = zipfile.ZipFile(io.BytesIO(make_wheel(many_entries=1000)))
        assert first.getinfo(metadata).header_offset == 0
        assert len(wheel) - far.getinfo(metadata).header_offset > 30_000
        assert len(many.infolist()) == 1005
        assert 70_000 < sum(46 + len(entry.filename) for entry in many.infolist()) < 90_000

    def test_is_reproducible(self) -> None:
        assert make_wheel(size=9_000) == make_wheel(size=9_000)
        assert make_wheel(size=9_000) != make_wheel(size=9_000, seed=1)


class TestPages:
    async def test_json(self) -> None:
        async with FakeIndex(wheels={NAME: WHEEL}, sidecar="hash") as index:
            reply = await send(f"{index.url}/demo/")
            page = json.loads(reply.body)
            [file] = page["files"]
            found = await send(urljoin(f"{index.url}/demo/", file["url"]))
            sidecar = await send(urljoin(f"{index.url}/demo/", file["url"]) + ".metadata")
        assert reply.headers["Content-Type"] == "application/vnd.pypi.simple.v1+json"
        assert (page["meta"]["api-version"], page["name"], page["versions"]) == ("1.1", "demo", ["1.0"])
        assert (file["filename"], file["size"]) == (NAME, TOTAL)
        assert found.body == WHEEL
        assert hashlib.sha256(WHEEL).hexdigest() == file["hashes"]["sha256"]
        assert hashlib.sha256(sidecar.body).hexdigest() == file["core-metadata"]["sha256"]

    async def test_html(self) -> None:
        wheels = {"demo-1.0+cpu-py3-none-any.whl": WHEEL, "demo-0.9.tar.gz": b"sdist", "other-1.0.tar.gz": b""}
        async with FakeIndex(wheels=wheels, page_format="html", sidecar="plain", hashes="upper") as index:
            page = (await send(f"{index.url}/demo/")).body.decode()
            links = re.findall(r'href="([^"]+)"([^>]*)', page)
            bodies = [(await send(urljoin(f"{index.url}/demo/", link))).body for link, _ in links]
        assert bodies == [WHEEL, b"sdist"]
        assert links[0][0].endswith(
            "demo-1.0%2Bcpu-py3-none-any.whl#sha256=" + hashlib.sha256(WHEEL).hexdigest().upper()
        )
        assert [attributes for _, attributes in links] == [' data-core-metadata="true"', ""]

    @pytest.mark.parametrize(
        ("href", "expected"),
        [
            ("relative", "../../../../root/base/+f/"),
            ("absolute", "http://127.0.0.1:{port}/root/base/+f/"),
            ("host", "//127.0.0.1:{port}/root/base/+f/"),
            ("https://cdn.example/x/", "https://cdn.example/x/"),
        ],
    )
    async def test_href(self, href: str, expected: str) -> None:
        tree = Tree(wheels={NAME: WHEEL}, pages="/root/awepy/+simple", files="/root/base/+f", href=href)
        async with FakeIndex(more=[tree]) as index:
            page = json.loads((await send(f"{index.base}/root/awepy/+simple/demo/")).body)
        assert page["files"][0]["url"] == expected.format(port=index.base.rpartition(":")[2]) + NAME

    @pytest.mark.parametrize(
        "path", ["/simple/demo", "/simple/Demo/", "/simple/none/", "/simple", "/files/x.whl", FILE + ".metadata"]
    )
    async def test_what_is_not_there(self, path: str) -> None:
        async with FakeIndex(wheels={NAME: WHEEL}) as index:
            assert (await send(index.base + path)).status == 404

    @pytest.mark.parametrize("page_format", ["json", "html"])
    async def test_projects(self, page_format: str) -> None:
        async with FakeIndex(wheels={"B_b-1.0-py3-none-any.whl": b"", "a-1.0.tar.gz": b""}) as index:
            index.page_format = page_format  # type: ignore[assignment]
            body = (await send(f"{index.url}/")).body.decode()
        assert re.findall(r'"name": "([^"]+)"|<a href="([^"]+)/"', body) in (
            [("a", ""), ("b-b", "")],
            [("", "a"), ("", "b-b")],
        )

    @pytest.mark.parametrize(
        ("sidecar", "expected"),
        [
            ("none", {}),
            ("plain", {"core-metadata": True}),
            ("hash", {"core-metadata": {"sha256": hashlib.sha256(metadata_of(WHEEL)).hexdigest()}}),
            ("legacy", {"dist-info-metadata": {"sha256": hashlib.sha256(metadata_of(WHEEL)).hexdigest()}}),
            ("wrong_hash", {"core-metadata": {"sha256": hashlib.sha256(b"something else").hexdigest()}}),
            ("wheel_hash", {"core-metadata": {"sha256": hashlib.sha256(WHEEL).hexdigest()}}),
        ],
    )
    async def test_sidecar_advertised(self, sidecar: str, expected: dict[str, object]) -> None:
        async with FakeIndex(wheels={NAME: WHEEL}, sidecar=sidecar, sizes=False, hashes="none") as index:  # type: ignore[arg-type]
            [file] = json.loads((await send(f"{index.url}/demo/")).body)["files"]
            status = (await send(index.base + FILE + ".metadata")).status
        assert {key: value for key, value in file.items() if key.endswith("metadata")} == expected
        assert status == (404 if sidecar == "none" else 200)
        assert "size" not in file
        assert file["hashes"] == {}

    async def test_anonymous_subset(self) -> None:
        wheels = {NAME: WHEEL, wheel_filename(version="2.0"): WHEEL}
        async with FakeIndex(wheels=wheels, hidden_from_anonymous="*-2.0-*") as index:
            bare = json.loads((await send(f"{index.url}/demo/")).body)["versions"]
            known = json.loads((await send(f"{index.url}/demo/", Authorization=basic("u", "p"))).body)["versions"]
        assert (bare, known) == (["1.0"], ["1.0", "2.0"])

    async def test_file_on_disk(self, wheel_on_disk: Path) -> None:
        async with FakeIndex(wheels={NAME: wheel_on_disk}, sidecar="hash") as index:
            page = json.loads((await send(f"{index.url}/demo/")).body)
            tail = await send(index.files_url + "/" + NAME, Range="bytes=-100")
            sidecar = await send(f"{index.files_url}/{NAME}.metadata")
        assert page["files"][0]["size"] == TOTAL
        assert tail.body == WHEEL[-100:]
        assert sidecar.body == metadata_of(WHEEL)


class TestHonest:
    @given(st.integers(1, 50), st.none() | st.integers(0, 60), st.none() | st.integers(0, 60))
    def test_parse_range(self, total: int, first: int | None, last: int | None) -> None:
        span = parse_range(f"bytes={'' if first is None else first}-{'' if last is None else last}", total)
        if first is None:
            assert span == (None if last is None else range(max(0, total - last), total))
        elif last is not None and last < first:
            assert span is None
        else:
            assert list(span or ()) == [n for n in range(total) if first <= n <= (total if last is None else last)]

    @pytest.mark.parametrize("header", [None, "", "bytes=-", "bytes=a-b", "items=0-1", "bytes=0-1,3-4", "bytes 0-1"])
    def test_ranges_to_ignore(self, header: str | None) -> None:
        assert parse_range(header, 10) is None

    @pytest.mark.parametrize(
        ("header", "start", "stop"),
        [
            ("bytes=0-0", 0, 1),
            ("bytes=10-19", 10, 20),
            (f"bytes={TOTAL - 5}-", TOTAL - 5, TOTAL),
            (f"bytes={TOTAL - 5}-{TOTAL + 5}", TOTAL - 5, TOTAL),
            ("bytes=-7", TOTAL - 7, TOTAL),
            (f"bytes=-{TOTAL + 7}", 0, TOTAL),
        ],
    )
    async def test_part(self, header: str, start: int, stop: int) -> None:
        async with one_wheel() as index:
            reply = await send(index.base + FILE, Range=header)
        assert reply.status == 206
        assert reply.body == WHEEL[start:stop]
        assert reply.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{TOTAL}"
        assert reply.headers["Content-Length"] == str(stop - start)

    @pytest.mark.parametrize("header", [f"bytes={TOTAL}-", "bytes=-0"])
    async def test_unsatisfiable(self, header: str) -> None:
        async with one_wheel() as index:
            reply = await send(index.base + FILE, Range=header)
        assert (reply.status, reply.headers["Content-Range"]) == (416, f"bytes */{TOTAL}")

    async def test_whole_and_head(self) -> None:
        async with one_wheel() as index:
            whole = await send(index.base + FILE)
            head = await send(index.base + FILE, "HEAD", Range="bytes=0-1")
            post = await send(index.base + FILE, "POST")
        assert (whole.status, whole.body, whole.headers["Accept-Ranges"]) == (200, WHEEL, "bytes")
        assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(TOTAL))
        assert head.headers["ETag"] == whole.headers["ETag"]
        assert post.status == 405

    async def test_conditions(self) -> None:
        async with one_wheel() as index:
            etag = (await send(index.base + FILE)).headers["ETag"]
            met = await send(index.base + FILE, Range="bytes=0-9", If_Range=etag)
            unmet = await send(index.base + FILE, Range="bytes=0-9", If_Range='"other"')
            cached = await send(index.base + FILE, If_None_Match=etag)
            fresh_connections = index.connections
            async with aiohttp.ClientSession(headers={"If-None-Match": etag}) as session:
                for _ in range(3):
                    async with session.get(index.base + FILE) as response:
                        assert (response.status, await response.read()) == (304, b"")
            assert index.connections == fresh_connections + 1
        assert re.fullmatch(r'"[0-9a-f]+-[0-9a-f]{8}"', etag)
        assert (met.status, unmet.status, cached.status) == (206, 200, 304)

    async def test_the_log(self) -> None:
        async with FakeIndex(wheels={NAME: WHEEL}) as index, aiohttp.ClientSession() as session:
            for target in ("/simple/demo/?a=b", FILE):
                async with session.get(
                    index.base + target, headers={"Range": "bytes=-10", "Cookie": "a=b"}
                ) as response:
                    await response.read()
            async with session.get(index.url_as("u:p") + "/demo/") as response:
                page = await response.read()
            assert index.connections == 1
            assert {wire.connection for wire in index.log} == {1}
        assert [wire.number for wire in index.log] == [0, 1, 2]
        assert index.requests == 3
        assert index.paths == ["/simple/demo/", FILE, "/simple/demo/"]
        assert index.log[0].target == "/simple/demo/?a=b"
        assert (index.log[1].method, index.log[1].status, index.log[1].range) == ("GET", 206, "bytes=-10")
        assert index.log[1].headers["cookie"] == "a=b"
        assert [wire.body_bytes for wire in index.log] == [10, 10, len(page)]
        assert index.body_bytes == 20 + len(page)
        assert index.log[2].authorization == basic("u", "p")
        assert index.anonymous == index.log[:2]
        assert index.select("*.whl") == [index.log[1]]

    async def test_the_log_keeps_escapes_as_sent(self) -> None:
        async with one_wheel() as index:
            await send_raw(index, "/simple/de%6Do/?a=%2F")
        assert (index.log[0].target, index.log[0].path) == ("/simple/de%6Do/?a=%2F", "/simple/de%6Do/")
        assert index.log[0].status == 200

    async def test_connections_are_told_apart(self) -> None:
        async with one_wheel(Silence(0.05)) as index:
            await asyncio.gather(*(send(index.base + FILE) for _ in range(3)))
            await asyncio.sleep(0.01)
            await send(index.base + FILE)
        assert index.connections == 4
        assert (index.busiest, index.under_way) == (3, 0)
        assert sorted(wire.connection for wire in index.log) == [1, 2, 3, 4]

    async def test_tls(self, contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
        server, client = contexts
        async with FakeIndex(wheels={NAME: WHEEL}, tls=server, host="localhost") as index:
            async with aiohttp.ClientSession() as session, session.get(index.base + FILE, ssl=client) as response:
                assert await response.read() == WHEEL
            assert index.url.startswith("https://localhost:")

    async def test_a_client_that_closes_early_is_seen(self) -> None:
        large = make_wheel(size=20_000_000)
        async with FakeIndex(wheels={NAME: large}) as index:
            async with aiohttp.ClientSession() as session, session.get(index.base + FILE) as response:
                await response.content.readexactly(1000)
                response.close()
            await asyncio.sleep(0.05)
            assert index.body_bytes < 2_000_000

    async def test_a_mistake_in_the_fake_is_reported(self) -> None:
        with pytest.raises(ExceptionGroup, match="the fake index itself failed") as caught:
            async with FakeIndex(wheels={NAME: b"no zip"}, sidecar="hash") as index:
                await send(f"{index.url}/demo/")
        assert caught.group_contains(zipfile.BadZipFile)


class TestInstead:
    @pytest.mark.parametrize(
        ("body", "content_type", "start"),
        [
            ("html", "text/html", b"<html"),
            ("json", "application/json", b"{"),
            ("xml", "application/xml", b"<?xml"),
            ("text", "text/plain", b"OK"),
        ],
    )
    async def test_status_body(self, body: str, content_type: str, start: bytes) -> None:
        async with one_wheel(Status(200, body=body)) as index:  # type: ignore[arg-type]
            reply = await send(index.base + FILE)
        assert (reply.status, reply.headers["Content-Type"]) == (200, content_type)
        assert reply.body.startswith(start)

    async def test_empty_body_has_no_content_type(self) -> None:
        async with one_wheel(Status(401, body="empty", headers={"WWW-Authenticate": "Basic"})) as index:
            reply = await send(index.base + FILE)
        assert (reply.status, reply.body, "Content-Type" in reply.headers) == (401, b"", False)
        assert reply.headers["WWW-Authenticate"] == "Basic"

    async def test_a_status_that_is_waited_for(self) -> None:
        async with one_wheel(Status(503, wait=0.1)) as index:
            assert (await send(index.base + FILE)).status == 503

    async def test_times_are_counted_per_path_and_one_after_the_other(self) -> None:
        wheels = {NAME: WHEEL, "demo-2.0-py3-none-any.whl": WHEEL}
        retry = {"Retry-After": "1"}
        faults = (Status(503, times=2, headers=retry), Cut(1000, times=1))
        async with FakeIndex(wheels=wheels, faults={"*.whl": faults}) as index:
            replies = [await send(index.base + FILE) for _ in range(4)]
            other = await send(f"{index.files_url}/demo-2.0-py3-none-any.whl")
        assert [(reply.status, len(reply.body), reply.error) for reply in replies[2:]] == [
            (200, 1000, "ClientPayloadError"),
            (200, TOTAL, ""),
        ]
        assert [reply.status for reply in [*replies[:2], other]] == [503, 503, 503]
        assert other.headers["Retry-After"] == "1"

    @pytest.mark.parametrize(
        ("page", "start", "content_type"),
        [
            (LoginPage(), b"<!doctype html>", "text/html; charset=utf-8"),
            (LoginPage(content_type="application/octet-stream"), b"<!doctype", "application/octet-stream"),
            (LoginPage(content_type=None), b"<!doctype", None),
            (
                LoginPage(bom=True, upper=True, title="Log in"),
                b"\xef\xbb\xbf<!DOCTYPE HTML>\n<HTML><HEAD><TITLE>LOG IN",
                ...,
            ),
            (LoginPage(lead="\n <!-- hello -->\n"), b"\n <!-- hello -->\n<!doctype", ...),
        ],
    )
    async def test_login_page(self, page: LoginPage, start: bytes, content_type: object) -> None:
        async with one_wheel(page) as index:
            reply = await send(index.base + FILE, Range="bytes=-100")
        assert reply.status == 200
        assert reply.body.startswith(start)
        assert "Accept-Ranges" not in reply.headers
        assert content_type in (..., reply.headers.get("Content-Type"))

    async def test_login_page_with_all_the_airs_of_a_file(self) -> None:
        page = LoginPage(size=40_000, accept_ranges=True, honours_range=True, cookie="session=1")
        async with one_wheel(page) as index:
            whole, part = await send(index.base + FILE), await send(index.base + FILE, Range="bytes=-64")
        assert len(whole.body) == 40_000
        assert (part.status, part.body) == (206, whole.body[-64:])
        assert part.headers["Accept-Ranges"] == "bytes"
        assert part.headers["Set-Cookie"] == "session=1"

    async def test_login_page_by_redirect(self) -> None:
        async with one_wheel(LoginPage(redirect=True, title="Corp")) as index:
            reply = await send(index.base + FILE)
            page = await send(index.base + reply.headers["Location"])
        assert (reply.status, page.status) == (302, 200)
        assert reply.headers["Location"].startswith("/+login?goto_url=%2Ffiles%2Fdemo")
        assert b"<title>Corp</title>" in page.body

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    async def test_redirect(self, status: int) -> None:
        async with FakeIndex(wheels={NAME: WHEEL}, files="/store") as other:
            fault = RedirectTo(other.files_url, status, query="sig=x", userinfo="u:p")
            async with one_wheel(fault) as index:
                reply = await send(index.base + FILE)
                found = await send(reply.headers["Location"])
        assert reply.status == status
        assert reply.headers["Location"] == f"{other.files_url}/{NAME}?sig=x".replace("//", "//u:p@", 1)
        assert found.body == WHEEL
        assert other.log[0].authorization == basic("u", "p")

    async def test_pages_are_redirected_too(self) -> None:
        async with FakeIndex(wheels={NAME: WHEEL}, faults={"/simple/*": RedirectTo("/other")}) as index:
            assert (await send(f"{index.url}/demo/")).headers["Location"] == "/other/demo/"

    async def test_redirect_chain_and_loop(self) -> None:
        async with one_wheel(RedirectChain(3)) as index, aiohttp.ClientSession() as session:
            async with session.get(index.base + FILE) as response:
                assert await response.read() == WHEEL
            index.faults = {"*.whl": RedirectLoop()}
            with pytest.raises(aiohttp.TooManyRedirects):
                await session.get(index.base + FILE)
        assert [wire.target for wire in index.log[:4]] == [FILE, *(f"{FILE}?hop={n}" for n in (1, 2, 3))]

    async def test_presigned(self) -> None:
        async with FakeIndex(wheels={NAME: WHEEL}, files="/bucket", faults={"*": SignedOnly(uses=2)}) as store:
            async with one_wheel(Presigned(store.files_url, 303)) as index:
                first = (await send(index.base + FILE)).headers["Location"]
                second = (await send(index.base + FILE)).headers["Location"]
                for_head = (await send(index.base + FILE, "HEAD")).headers["Location"]
            good = [await send(first), await send(first, Range="bytes=-9"), await send(first), await send(second)]
            beside = await send(second, Authorization="Basic x")
            bare, wrong_method = await send(f"{store.files_url}/{NAME}"), await send(for_head)
        assert "X-Amz-Signature=" in first
        assert first != second
        assert [reply.status for reply in good] == [200, 206, 403, 200]
        assert (beside.status, bare.status, wrong_method.status) == (400, 403, 403)
        assert beside.headers["Content-Type"] == "application/xml"

    @pytest.mark.parametrize("status", [400, 403, 404, 405, 416, 500, 501])
    async def test_refused_ranges(self, status: int) -> None:
        async with one_wheel(SuffixRefused(status)) as index:
            suffix, absolute = (
                await send(index.base + FILE, Range="bytes=-9"),
                await send(index.base + FILE, Range="bytes=0-0"),
            )
            index.faults = {"*.whl": RangesRefused(status)}
            refused, whole = await send(index.base + FILE, Range="bytes=0-0"), await send(index.base + FILE)
        assert (suffix.status, absolute.status) == (status, 206)
        assert (refused.status, whole.status) == (status, 200)

    async def test_only_a_suffix_longer_than_the_file_refused(self) -> None:
        async with one_wheel(SuffixRefused(416, longer_only=True)) as index:
            statuses = [(await send(index.base + FILE, Range=f"bytes=-{n}")).status for n in (9, TOTAL, TOTAL + 1)]
        assert statuses == [206, 206, 416]

    @pytest.mark.parametrize("status", [400, 403, 405])
    async def test_head_lies(self, status: int) -> None:
        async with one_wheel(HeadLies(status)) as index:
            assert (await send(index.base + FILE, "HEAD")).status == status
            assert (await send(index.base + FILE)).body == WHEEL

    async def test_head_says_content_length_zero(self) -> None:
        async with one_wheel(HeadLies(200)) as index:
            assert (await send(index.base + FILE, "HEAD")).headers["Content-Length"] == "0"

    async def test_hang_up(self) -> None:
        # aiohttp's client repeats a GET once by itself.
        async with one_wheel(HangUp(times=2)) as index:
            with pytest.raises(aiohttp.ServerDisconnectedError):
                await send(index.base + FILE)
            assert (await send(index.base + FILE)).body == WHEEL
        assert [wire.status for wire in index.log] == [0, 0, 200]


class TestHas:
    @pytest.mark.parametrize("advertised", [True, False])
    async def test_ignore_ranges(self, advertised: bool) -> None:
        async with one_wheel(IgnoreRanges(accept_ranges=advertised)) as index:
            reply = await send(index.base + FILE, Range="bytes=-9")
        assert (reply.status, reply.body) == (200, WHEEL)
        assert ("Accept-Ranges" in reply.headers) is advertised

    async def test_suffix_as_prefix(self) -> None:
        async with one_wheel(SuffixAsPrefix()) as index:
            suffix, absolute = (
                await send(index.base + FILE, Range="bytes=-9"),
                await send(index.base + FILE, Range="bytes=5-9"),
            )
        assert (suffix.status, suffix.headers["Content-Range"]) == (206, f"bytes 0-9/{TOTAL}")
        assert (suffix.body, absolute.body) == (WHEEL[:10], WHEEL[5:10])

    async def test_first_whole_then_ranges(self) -> None:
        async with one_wheel(FirstWholeThenRanges()) as index:
            assert [(await send(index.base + FILE, Range="bytes=-9")).status for _ in range(3)] == [200, 206, 206]

    @pytest.mark.parametrize("size", [TOTAL, 30_000])
    async def test_changed_file(self, size: int) -> None:
        other = make_wheel(size=size, seed=1)
        async with one_wheel(ChangedFile(other, after=1)) as index:
            before, after = [await send(index.base + FILE, Range="bytes=-9000") for _ in range(2)]
            resumed = await send(index.base + FILE, Range="bytes=5-", If_Range=before.headers["ETag"])
        assert (before.body, after.body) == (WHEEL[-9000:], other[-9000:])
        assert after.headers["Content-Range"].endswith(f"/{len(other)}")
        assert before.headers["ETag"] != after.headers["ETag"]
        assert (resumed.status, resumed.body) == (200, other)

    async def test_truncated_file(self) -> None:
        async with one_wheel(TruncatedFile(1000)) as index:
            page = json.loads((await send(f"{index.url}/demo/")).body)
            whole, tail = await send(index.base + FILE), await send(index.base + FILE, Range="bytes=-10")
        assert page["files"][0]["size"] == TOTAL
        assert (whole.body, whole.headers["Content-Length"]) == (WHEEL[:1000], "1000")
        assert (tail.body, tail.headers["Content-Range"]) == (WHEEL[990:1000], "bytes 990-999/1000")

    async def test_etag(self) -> None:
        async with one_wheel(Etag("fresh")) as index:
            fresh = [(await send(index.base + FILE)).headers["ETag"] for _ in range(2)]
            again = await send(index.base + FILE, Range="bytes=0-1", If_Range=fresh[1])
            index.faults = {"*.whl": Etag("weak")}
            weak = (await send(index.base + FILE)).headers["ETag"]
            never = await send(index.base + FILE, Range="bytes=0-1", If_Range=weak)
            index.faults = {"*.whl": Etag("absent")}
            absent = await send(index.base + FILE, Range="bytes=0-1")
        assert fresh[0] != fresh[1]
        assert weak.startswith('W/"')
        assert (again.status, never.status, absent.status) == (200, 200, 206)
        assert "ETag" not in absent.headers

    async def test_ignore_if_range(self) -> None:
        async with one_wheel(IgnoreIfRange()) as index:
            other = await send(index.base + FILE, Range="bytes=5-9", If_Range='"another"')
        assert (other.status, other.body) == (206, WHEEL[5:10])

    async def test_content_type(self) -> None:
        async with FakeIndex(wheels={NAME: WHEEL}, faults={"/simple/*": ContentType(None)}) as index:
            raw = await send_raw(index, "/simple/demo/")
            index.faults = {"/simple/*": ContentType("text/plain")}
            reply = await send(f"{index.url}/demo/")
        assert b"content-type" not in raw.lower().split(b"\r\n\r\n")[0]
        assert reply.headers["Content-Type"] == "text/plain"


class TestSays:
    @pytest.mark.parametrize(
        ("kind", "expected"),
        [
            ("shifted", f"bytes 101-110/{TOTAL}"),
            ("missing", None),
            ("other_total", f"bytes 100-109/{TOTAL + 1}"),
            ("star", "bytes 100-109/*"),
            ("whole", f"bytes 0-{TOTAL - 1}/{TOTAL}"),
            ("malformed", f"bytes 100 to 109 of {TOTAL}"),
            ("unit", f"items 100-109/{TOTAL}"),
        ],
    )
    async def test_wrong_content_range(self, kind: str, expected: str | None) -> None:
        async with one_wheel(WrongContentRange(kind)) as index:  # type: ignore[arg-type]
            reply, whole = await send(index.base + FILE, Range="bytes=100-109"), await send(index.base + FILE)
        assert (reply.status, reply.body, reply.headers.get("Content-Range")) == (206, WHEEL[100:110], expected)
        assert "Content-Range" not in whole.headers

    @pytest.mark.parametrize(
        ("fault", "start", "stop", "body", "error"),
        [
            (ShiftedBody(), 100, 110, WHEEL[101:111], ""),
            (ShiftedBody(-3), 1, 10, b"\0\0" + WHEEL[:7], ""),
            (ShiftedBody(2), TOTAL - 10, TOTAL, WHEEL[-8:] + b"\0\0", ""),
            (ShortBody(4), 100, 110, WHEEL[100:106], ""),
            (ShortBody(4, cut=True), 100, 110, WHEEL[100:106], "ClientPayloadError"),
            (LongBody(), 100, 110, WHEEL[100:111], ""),
            (LongBody(2), TOTAL - 10, TOTAL, WHEEL[-10:] + b"\0\0", ""),
        ],
    )
    async def test_wrong_body(self, fault: Fault, start: int, stop: int, body: bytes, error: str) -> None:
        async with one_wheel(fault) as index:
            reply = await send(index.base + FILE, Range=f"bytes={start}-{stop - 1}")
        assert (reply.status, reply.headers["Content-Range"]) == (206, f"bytes {start}-{stop - 1}/{TOTAL}")
        assert (reply.body, reply.error) == (body, error)
        assert reply.headers["Content-Length"] == str(stop - start if error else len(body))
        assert index.log[0].body_bytes == len(body)

    async def test_multipart(self) -> None:
        async with one_wheel(MultipartRange()) as index:
            reply = await send(index.base + FILE, Range="bytes=0-9")
        assert reply.headers["Content-Type"] == "multipart/byteranges; boundary=part"
        assert "Content-Range" not in reply.headers
        assert reply.body == b"--part\r\nContent-Range: bytes 0-9/%d\r\n\r\n%s\r\n--part--\r\n" % (TOTAL, WHEEL[:10])

    async def test_partial_as_200(self) -> None:
        async with one_wheel(PartialAs200()) as index:
            reply = await send(index.base + FILE, Range="bytes=-10")
        assert (reply.status, reply.body) == (200, WHEEL[-10:])
        assert reply.headers["Content-Range"].startswith("bytes ")

    async def test_gzip(self) -> None:
        async with one_wheel(Gzip()) as index:
            whole, part = await send(index.base + FILE), await send(index.base + FILE, Range="bytes=-10")
            index.faults = {"*.whl": Gzip(206)}
            untouched = await send(index.base + FILE)
            index.faults = {"*.whl": Gzip(length="lost")}
            lost = await send(index.base + FILE)
            index.faults = {"*.whl": Gzip(length="original")}
            wrong = await send(index.base + FILE)
        assert (gzip.decompress(whole.body), gzip.decompress(part.body)) == (WHEEL, WHEEL[-10:])
        assert (whole.headers["Content-Encoding"], whole.headers["Content-Length"]) == ("gzip", str(len(whole.body)))
        assert untouched.body == WHEEL
        assert ("Content-Length" in lost.headers, gzip.decompress(lost.body)) == (False, WHEEL)
        assert (wrong.headers["Content-Length"], wrong.body) == (str(TOTAL), whole.body[:TOTAL])

    async def test_without_content_length(self) -> None:
        async with one_wheel(NoContentLength("chunked")) as index:
            chunked = await send(index.base + FILE)
            index.faults = {"*.whl": NoContentLength("close")}
            closed, raw = await send(index.base + FILE), await send_raw(index, FILE)
            index.faults = {"*.whl": (NoContentLength("close"), Cut(1000))}
            cut = await send(index.base + FILE)
            index.faults = {"*.whl": (NoContentLength("chunked"), Cut(1000))}
            cut_chunks = await send(index.base + FILE)
        assert (chunked.body, chunked.headers["Transfer-Encoding"]) == (WHEEL, "chunked")
        assert closed.body == WHEEL
        head, _, body = raw.partition(b"\r\n\r\n")
        assert (body, b"Content-Length" in head, b"Transfer-Encoding" in head) == (WHEEL, False, False)
        assert (cut.body, cut.error) == (WHEEL[:1000], "")
        assert (cut_chunks.body, cut_chunks.error) == (WHEEL[:1000], "ClientPayloadError")

    @pytest.mark.parametrize("reset", [False, True])
    async def test_cut(self, reset: bool) -> None:
        async with one_wheel(Cut(20_000, times=2, reset=reset)) as index:
            replies = [await send(index.base + FILE) for _ in range(3)]
        assert [wire.body_bytes for wire in index.log] == [20_000, 20_000, TOTAL]
        assert [bool(reply.error) for reply in replies] == [True, True, False]
        assert [reply.headers["Content-Length"] for reply in replies] == [str(TOTAL)] * 3

    async def test_silence_and_stall(self) -> None:
        async with FakeIndex(
            wheels={NAME: WHEEL}, faults={"*.whl": Silence(0.05), "/simple/*": Stall(5, 0.05)}
        ) as index:
            wheel, page = await send(index.base + FILE), await send(f"{index.url}/demo/")
        assert (wheel.body, page.body[:8]) == (WHEEL, b'{"meta":')

    async def test_what_came_before_a_stall(self) -> None:
        async with (
            one_wheel(Stall(20_000, 60)) as index,
            aiohttp.ClientSession() as session,
            session.get(index.base + FILE) as response,
        ):
            assert await response.content.readexactly(20_000) == WHEEL[:20_000]
            assert (index.log[0].status, index.body_bytes) == (200, 20_000)

    async def test_silence_has_no_status(self) -> None:
        async with one_wheel(Silence(60)) as index, aiohttp.ClientSession() as session:
            with pytest.raises(asyncio.TimeoutError):
                await session.get(index.base + FILE, timeout=aiohttp.ClientTimeout(total=0.05))
        assert [wire.status for wire in index.log] == [0]

    async def test_ends_at_once_with_requests_under_way(self) -> None:
        async with asyncio.timeout(20), aiohttp.ClientSession() as session:
            async with one_wheel(Stall(0, 60)) as index:
                response = await session.get(index.base + FILE)
                index.faults = {"*": Silence(60)}
                silent = asyncio.ensure_future(session.get(index.url))
                await until(lambda: index.requests == 2)
            with pytest.raises(aiohttp.ClientError):
                await silent
            with pytest.raises(aiohttp.ClientError):
                await response.read()

    async def test_slow_drip(self) -> None:
        async with one_wheel(SlowDrip(500_000)) as index:
            assert (await send(index.base + FILE)).body == WHEEL

    async def test_a_line_that_is_full(self) -> None:
        async with one_wheel(SlowDrip(500_000, shared=True)) as index:
            replies = await asyncio.gather(*(send(index.base + FILE) for _ in range(3)))
        assert [reply.body for reply in replies] == [WHEEL] * 3

    @pytest.mark.parametrize("rate", [None, 10_000, 10**9])
    def test_pieces(self, rate: int | None) -> None:
        answer = Answer(200, WHEEL, cut_after=40_000, stall_after=123, stall_seconds=9, bytes_per_second=rate)
        pieces = list(answer.pieces())
        assert b"".join(piece for _, piece in pieces) == WHEEL[:40_000]
        assert max(len(piece) for _, piece in pieces) <= 16 * 1024
        assert [pause > 8 for pause, _ in pieces].count(True) == 1
        assert sum(pause for pause, _ in pieces) == pytest.approx(9 + (40_000 / rate if rate else 0))


class TestGuard:
    async def test_longest_prefix_by_whole_segments(self) -> None:
        trees = [
            Tree(wheels={NAME: WHEEL}, pages="/team/private", files="/team/private/f"),
            Tree(wheels={NAME: WHEEL}, pages="/team-x"),
        ]
        team, private = basic("a", "1"), "Bearer token"
        guards = {
            "/team": Guard((team,)),
            "/team/private": Guard((private,), refused=Status(404)),
            "/team/private/f": None,
        }
        async with FakeIndex(wheels={NAME: WHEEL}, pages="/team", more=trees, auth=guards) as index:

            async def status(path: str, **headers: str) -> int:
                return (await send(index.base + path, **headers)).status

            assert await status("/team/demo/") == 401
            assert await status("/team/demo/", Authorization=team) == 200
            assert await status("/team/demo/", Authorization=private) == 401
            assert await status("/team/private/demo/") == 401
            assert await status("/team/private/demo/", Authorization=private) == 200
            assert await status("/team/private/demo/", Authorization=team) == 404
            assert await status(f"/team/private/f/{NAME}") == 200
            assert await status("/team-x/demo/") == 200
            assert (await send(f"{index.url}/demo/")).headers["WWW-Authenticate"] == 'Basic realm="packages"'

    async def test_login_page_for_the_anonymous(self) -> None:
        guard = Guard((basic("u", "p"),), LoginPage(redirect=True))
        async with FakeIndex(wheels={NAME: WHEEL}, auth={"/": guard}) as index, aiohttp.ClientSession() as session:
            async with session.get(index.base + FILE) as response:
                assert (response.status, response.url.path, response.content_type) == (200, "/+login", "text/html")
            assert len(index.anonymous) == 2
            assert (await send(index.base + FILE, Authorization=basic("u", "p"))).body == WHEEL

    async def test_named_header(self) -> None:
        guard = Guard(("secret",), Status(404), header="JOB-TOKEN")
        async with FakeIndex(wheels={NAME: WHEEL}, auth={"/": guard}) as index:
            assert (await send(index.base + FILE, Authorization="Basic x")).status == 404
            assert (await send(index.base + FILE, JOB_TOKEN="secret")).status == 200
            assert (await send(index.base + FILE)).status == 404
            assert [wire.number for wire in index.anonymous] == [2]

    async def test_cold_burst(self) -> None:
        guard = Guard(("Bearer x",), cold_start=0.05)
        async with FakeIndex(wheels={NAME: WHEEL}, auth={"/": guard}) as index:
            burst = await asyncio.gather(*(send(index.base + FILE, Authorization="Bearer x") for _ in range(4)))
            later = await asyncio.gather(*(send(index.base + FILE, Authorization="Bearer x") for _ in range(4)))
        assert sorted(reply.status for reply in burst) == [200, 401, 401, 401]
        assert {reply.status for reply in later} == {200}

    async def test_a_challenge_may_be_given_up(self) -> None:
        async with FakeIndex(wheels={NAME: WHEEL}, auth={"/": Guard((), Status(403, times=1))}) as index:
            assert [(await send(index.base + FILE)).status for _ in range(2)] == [403, 200]
