"""An index of any number of files, which are nowhere: `python simulated.py PORT PROJECTS FILES`.

- Each project has FILES wheels of one version each.  Pages (PEP 691, 700, 714) and wheels are made when they are asked
  for, the same ones each time: a wheel is a template with project, version and checksums filled in, some microseconds.
- Wheels are valid: METADATA and RECORD are right, and digests on pages are theirs.  Pages have an ETag.
- `GET /counts` tells what was asked so far, and what processor time that took; it is not counted.

Requests are read no further than a client that means well needs: method GET, no body, no ranges.
"""

import asyncio
import hashlib
import json
import sys
import time
import zlib
from base64 import urlsafe_b64encode
from collections import Counter
from dataclasses import dataclass
from struct import Struct

JSON_TYPE = b"application/vnd.pypi.simple.v1+json"
# Project and version have always as many digits, so that every wheel has each byte at the same place.
NAME, VERSION = "sim-{:07d}", "1.{:05d}"
_LOCAL = Struct("<4s5H3I2H")
_CENTRAL = Struct("<4s6H3I5H2I")
_END = Struct("<4s4H2IH")
# 1980-01-01, the first day that a zip file knows.
_DATE = 0x21
_WHEEL = b"Wheel-Version: 1.0\nGenerator: simulated\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_HEAD = "Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nSummary: A file of a simulated index\n"
_FOOT = "Requires-Python: >=3.8\nRequires-Dist: requests>=2\n\n"
ROOT_TAG = b'"root"'


@dataclass(frozen=True)
class SimulatedFile:
    """One wheel of the index: its name, its bytes, its METADATA."""

    filename: str
    body: bytes
    metadata: bytes


def simulated_file(project: int, number: int) -> SimulatedFile:
    """Make a wheel."""
    name, version = NAME.format(project), VERSION.format(number)
    stem = f"{name.replace('-', '_')}-{version}"
    metadata = (_HEAD.format(name=name, version=version) + _FOOT).encode()
    info = f"{stem}.dist-info"
    lines = (_recorded(f"{info}/METADATA", metadata), _recorded(f"{info}/WHEEL", _WHEEL), f"{info}/RECORD,,\n")
    parts = {"METADATA": metadata, "WHEEL": _WHEEL, "RECORD": "".join(lines).encode()}
    body = _zip([(f"{info}/{name}".encode(), part) for name, part in parts.items()])
    return SimulatedFile(f"{stem}-py3-none-any.whl", body, metadata)


def _recorded(name: str, body: bytes) -> str:
    digest = urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(body)}\n"


def _zip(entries: list[tuple[bytes, bytes]]) -> bytes:
    """Return an archive of stored entries; `zipfile` takes thirty times as long."""
    local, central, at = [], [], 0
    for name, body in entries:
        facts = (0, 0, 0, _DATE, zlib.crc32(body), len(body), len(body), len(name), 0)
        head = _LOCAL.pack(b"PK\x03\x04", 20, *facts)
        central.append(_CENTRAL.pack(b"PK\x01\x02", 20, 20, *facts, 0, 0, 0, 0, at) + name)
        local += [head, name, body]
        at += len(head) + len(name) + len(body)
    directory = b"".join(central)
    count = len(entries)
    return b"".join([*local, directory, _END.pack(b"PK\x05\x06", 0, 0, count, count, len(directory), at, 0)])


def project_page(project: int, files: int) -> bytes:
    """Make the page of a project."""
    listed = [_listed(simulated_file(project, number), number) for number in range(files)]
    versions = [VERSION.format(number) for number in range(files)]
    page = {"meta": {"api-version": "1.1"}, "name": NAME.format(project), "versions": versions, "files": listed}
    return json.dumps(page).encode()


def _listed(file: SimulatedFile, number: int) -> dict[str, object]:
    return {
        "filename": file.filename,
        "url": f"../../files/{file.filename}",
        "hashes": {"sha256": hashlib.sha256(file.body).hexdigest()},
        "size": len(file.body),
        "upload-time": f"2025-01-02T{number // 3600 % 24:02d}:{number // 60 % 60:02d}:{number % 60:02d}.678901Z",
        "requires-python": ">=3.8",
        "yanked": False,
        "core-metadata": {"sha256": hashlib.sha256(file.metadata).hexdigest()},
    }


class Simulated:
    """The index: what it answers, and how often it was asked."""

    def __init__(self, projects: int, files: int) -> None:
        self.projects, self.files = projects, files
        self.counts: Counter[str] = Counter()
        names = [{"name": NAME.format(number)} for number in range(projects)]
        self._root = json.dumps({"meta": {"api-version": "1.1"}, "projects": names}).encode()

    def answer(self, path: str, tag: bytes | None) -> bytes:
        """Return the answer to a request, whole; `tag` is what the client has (If-None-Match)."""
        room, _, rest = path[1:].partition("/")
        if room == "counts":
            return _answer(json.dumps({**self.counts, "cpu": time.process_time()}).encode(), b"application/json")
        self.counts["requests"] += 1
        try:
            answer = self._file(rest) if room == "files" else self._page(rest.strip("/"), tag)
        except ValueError:
            answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        self.counts["bytes"] += len(answer)
        return answer

    def _file(self, name: str) -> bytes:
        stem, _, rest = name.partition("-py3-none-any.whl")
        project, _, version = stem.removeprefix("sim_").partition("-1.")
        file = simulated_file(self._below(project, self.projects), self._below(version, self.files))
        if rest == ".metadata":
            self.counts["sidecars"] += 1
            return _answer(file.metadata, b"application/octet-stream")
        self.counts["files"] += 1
        return _answer(file.body, b"application/octet-stream")

    def _page(self, name: str, tag: bytes | None) -> bytes:
        own = f'"{name}-{self.files}"'.encode() if name else ROOT_TAG
        if tag == own:
            self.counts["not modified"] += 1
            return b"HTTP/1.1 304 Not Modified\r\nETag: %b\r\n\r\n" % own
        page = self._project(name) if name else self._root
        self.counts["pages"] += 1
        return _answer(page, JSON_TYPE, own)

    def _project(self, name: str) -> bytes:
        return project_page(self._below(name.removeprefix("sim-"), self.projects), self.files)

    def _below(self, text: str, count: int) -> int:
        """Return the number that a name has in it.  Raises ValueError for one that is not there."""
        number = int(text)
        if not 0 <= number < count:
            raise ValueError(text)
        return number


def _answer(body: bytes, kind: bytes, tag: bytes = b"") -> bytes:
    tagged = b"ETag: %b\r\n" % tag if tag else b""
    return b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b\r\n%b" % (kind, len(body), tagged, body)


class Connection(asyncio.Protocol):
    """One client's connection: it asks, and waits for the answer."""

    def __init__(self, index: Simulated) -> None:
        self._index = index
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember whom to answer."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each request that is there as a whole."""
        *requests, self._read = (self._read + data).split(b"\r\n\r\n")
        for request in requests:
            self._transport.write(self._index.answer(*_parse(request)))


def _parse(request: bytes) -> tuple[str, bytes | None]:
    """Return the path of a request, and its If-None-Match."""
    line, *headers = request.split(b"\r\n")
    stated = {name.lower(): value.strip() for name, _, value in (header.partition(b":") for header in headers)}
    return line.split(b" ")[1].decode(), stated.get(b"if-none-match")


async def main(port: int, projects: int, files: int) -> None:
    """Listen until terminated."""
    index = Simulated(projects, files)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(index), "127.0.0.1", port, backlog=1024)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:4])))
