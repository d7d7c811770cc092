"""What one operation came to: its value or its typed error, and the requests it caused on the fake indexes."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import unquote

from fetcher import Fetcher, FetcherError, Index, Metadata

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from fake_index import FakeIndex, Wire

    from fetcher import File

T = TypeVar("T")

# METADATA of one wheel may cost so much, whatever the server does (behaviour §3.7).
MOST_REQUESTS = 5
HONEST_REQUESTS = 3
SLACK = 128 * 1024
# An environment without credentials: not even the netrc file of who runs the tests.
NOTHING_KNOWN = {"NETRC": os.devnull}


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """`value` or `error`, and the requests in the order of their arrival at each server."""

    value: T | None
    error: FetcherError | None
    wires: Sequence[Wire]

    @property
    def requests(self) -> int:
        return len(self.wires)

    @property
    def body_bytes(self) -> int:
        return sum(wire.body_bytes for wire in self.wires)

    @property
    def done(self) -> T:
        """The value; the error is raised where there is none."""
        if self.error is not None:
            raise self.error
        assert self.value is not None
        return self.value

    @property
    def statuses(self) -> list[int]:
        return [wire.status for wire in self.wires]

    @property
    def ranges(self) -> list[str | None]:
        return [wire.range for wire in self.wires]

    def select(self, pattern: str) -> list[Wire]:
        """The requests for paths whose last segment matches a glob."""
        return [wire for wire in self.wires if fnmatchcase(unquote(wire.path).rpartition("/")[2], pattern)]


async def observe(operation: Awaitable[T], *servers: FakeIndex) -> Outcome[T]:
    """Await an operation; an exception that is no FetcherError passes."""
    before = [len(server.log) for server in servers]
    value: T | None = None
    failure: FetcherError | None = None
    try:
        value = await operation
    except FetcherError as error:
        failure = error
    await _silence(servers)
    wires = [wire for server, start in zip(servers, before, strict=True) for wire in server.log[start:]]
    return Outcome(value, failure, wires)


async def _silence(servers: Sequence[FakeIndex]) -> None:
    """Wait until the servers have noticed what the client no longer reads."""
    counted = -1

    def is_still() -> bool:
        nonlocal counted
        before, counted = counted, sum(server.body_bytes for server in servers)
        return before == counted

    await until(is_still)


async def until(condition: Callable[[], object]) -> None:
    """Wait for something on the other side of the wire, which has no event to wait for; not for ever."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


def corp(index: FakeIndex, *, environ: dict[str, str] | None = None, index_options: Any = None, **more: Any) -> Fetcher:
    """A Fetcher of one index called "corp" that knows no credentials but those given."""
    declared = Index(index.url, name="corp", **(index_options or {}))
    return Fetcher([declared], environ=NOTHING_KNOWN | (environ or {}), **more)


async def find(fetcher: Fetcher, name: str = "demo", *, ending: str = ".whl") -> File:
    """The last wheel of a project."""
    return [file for file in (await fetcher.project(name)).files if file.filename.endswith(ending)][-1]


async def ask_metadata(fetcher: Fetcher, file: File | str, *servers: FakeIndex) -> Outcome[Metadata]:
    """METADATA of a wheel, with what holds for any server checked: how it is asked, and that the account is true."""
    outcome = await observe(fetcher.metadata(file), *servers)
    assert {wire.method for wire in outcome.wires} <= {"GET"}, "never HEAD"
    for wire in outcome.wires:
        assert wire.headers["Accept-Encoding"] == "identity"
        assert not wire.headers.get("If-Range", "").startswith("W/"), "weak validators join nothing"
        assert "Cookie" not in wire.headers
    if outcome.value is not None:
        assert outcome.value.requests == outcome.requests, "Metadata.requests is what the wire saw"
        assert outcome.value.bytes <= outcome.body_bytes, "Metadata.bytes is no more than what the wire saw"
    return outcome


def left_in(directory: Path) -> list[str]:
    """What lies in a directory, hidden or not; nothing if it does not exist."""
    return sorted(path.name for path in directory.iterdir()) if directory.exists() else []


def held_in(directory: Path) -> int:
    """The bytes that the parts in a directory hold, as the next run will see it.

    What stands beside a part says where its gaps are (`held`: pairs of start and stop), or null: it is whole up to its
    end.  Nobody can go on from a part that has nothing beside it, not yet.
    """
    held = 0
    for part in directory.glob(".*.part"):
        beside = part.with_name(f"{part.name}.json")
        if beside.exists() and (text := beside.read_bytes()):
            segments = json.loads(text)["held"]
            held += part.stat().st_size if segments is None else sum(stop - start for start, stop in segments)
    return held


def assert_within_budget(outcome: Outcome[Any], size: int, *, requests: int = MOST_REQUESTS) -> None:
    """No more than so many requests, and than the file and 128 KiB."""
    asked = [(wire.status, wire.range, wire.body_bytes, wire.target) for wire in outcome.wires]
    assert outcome.requests <= requests, asked
    assert outcome.body_bytes <= size + SLACK, asked
