"""What is asked of a Fetcher at random, what must come of it, and what must not be left when all is over."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import sys
import threading
import zipfile
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from fake_faults import Cut, HangUp, Only, Status
from fake_index import FakeIndex, Guard, basic
from fake_wheels import make_wheel, metadata_of, wheel_filename
from wire_checks import NOTHING_KNOWN, left_in, until

from fetcher import Index

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path
    from random import Random

    from fetcher import Download, Fetcher, File, Metadata, Project, blocking

# Longer than any machine takes; only a test that fails waits for so many seconds.
PATIENCE = 60.0
USER, PASSWORD = "reader", "secret"
Kind = Literal["project", "metadata", "download"]
KINDS: tuple[Kind, ...] = ("project", "metadata", "download")
# Read whole; by ranges, kept or not; written in one step, and in several.
SIZES = (0, 100_000, 300_000, 3_000_000)


@dataclass(frozen=True)
class Ask:
    """One call; the place is a download's."""

    kind: Kind
    name: str
    place: Path


@dataclass
class World:
    """Projects of one wheel each, `files` as the index lists them, and places for downloads."""

    dest: Path
    files: dict[str, File] = field(default_factory=dict)

    @cached_property
    def wheels(self) -> dict[str, bytes]:
        return {
            f"p{number}": make_wheel(f"p{number}", size=SIZES[number % 4], method=zipfile.ZIP_STORED)
            for number in range(20)
        }

    @cached_property
    def digests(self) -> dict[str, str]:
        return {name: hashlib.sha256(wheel).hexdigest() for name, wheel in self.wheels.items()}

    @cached_property
    def metadata(self) -> dict[str, bytes]:
        return {name: metadata_of(wheel) for name, wheel in self.wheels.items()}

    def serving(self, *, guarded: bool = False, **faults: Any) -> FakeIndex:
        """An index; some of what it has comes at the second attempt only.  `guarded` by a password."""
        once = {
            "/simple/p3/": Only(Status(503), times=3),
            f"{wheel_filename('p2')}": Only(HangUp(), times=3),
            f"{wheel_filename('p7')}": Only(Cut(1_000_000), times=3),
        }
        auth = {"/": Guard((basic(USER, PASSWORD),))} if guarded else {}
        wheels = {wheel_filename(name): wheel for name, wheel in self.wheels.items()}
        return FakeIndex(wheels=wheels, auth=auth, faults={**once, **faults})

    def asks(self, rng: Random, count: int, folder: str = "") -> list[Ask]:
        """Calls at random; those with one `folder` share their places."""
        names, places = list(self.wheels), [self.dest / folder / str(number) for number in range(4)]
        return [Ask(rng.choice(KINDS), rng.choice(names), rng.choice(places)) for _ in range(count)]

    def check(self, ask: Ask, result: Project | Metadata | Download) -> None:
        """The result is the right one."""
        filename = wheel_filename(ask.name)
        match ask.kind:
            case "project":
                assert [file.filename for file in result.files] == [filename]  # type: ignore[union-attr]
            case "metadata":
                assert result.raw == self.metadata[ask.name]  # type: ignore[union-attr]
            case "download":
                assert result.path == ask.place / filename  # type: ignore[union-attr]
                assert result.sha256 == self.digests[ask.name]  # type: ignore[union-attr]

    async def learn(self, fetcher: Fetcher) -> None:
        """Take the files from the index pages."""
        self.files = {name: (await fetcher.project(name)).files[0] for name in self.wheels}

    async def do(self, fetcher: Fetcher, ask: Ask) -> None:
        self.check(ask, await self.call(fetcher, ask))

    def do_blocking(self, fetcher: blocking.Fetcher, ask: Ask) -> None:
        self.check(ask, self.call(fetcher, ask))

    def call(self, fetcher: Any, ask: Ask) -> Any:
        """The result, not checked; of the asynchronous one it is to be awaited."""
        match ask.kind:
            case "project":
                return fetcher.project(ask.name)
            case "metadata":
                return fetcher.metadata(self.files[ask.name])
            case "download":
                return fetcher.download(self.files[ask.name], ask.place)

    def assert_right_files(self, asks: Iterable[Ask]) -> None:
        """The downloads that came to their end are there, whole, and nothing beside them."""
        for place in {ask.place for ask in asks}:
            names = {ask.name for ask in asks if ask.kind == "download" and ask.place == place}
            assert left_in(place) == sorted(wheel_filename(name) for name in names)
            for name in names:
                assert (place / wheel_filename(name)).read_bytes() == self.wheels[name]


def declared(index: FakeIndex) -> Index:
    return Index(index.url, name="corp")


def environment(tmp_path: Path, index: FakeIndex) -> dict[str, str]:
    """The password of a guarded index is in a netrc file; that of another is nowhere."""
    if not index.auth:
        return NOTHING_KNOWN
    path = tmp_path / "netrc"
    path.write_text(f"machine {index.host} login {USER} password {PASSWORD}\n")
    return {"NETRC": str(path)}


def assert_at_rest(fetcher: Fetcher) -> None:
    """Nobody has a place, or waits for one; nothing is under way."""
    transport = fetcher._transport
    limiters = [transport._all, *(host.limiter for host in transport._hosts._hosts.values())]
    for limiter in limiters:
        statistics = limiter.statistics()
        assert (statistics.borrowed_tokens, statistics.tasks_waiting) == (0, 0)
    assert all(host.coming == 0 for host in transport._hosts._hosts.values())
    assert not any(fetcher._volumes._claims.values())
    assert fetcher._downloads._flights == fetcher._hints._flights._flights == {}
    assert fetcher._hints._under_way == fetcher._hints._waiting == {}
    for standing in fetcher._auth._standings.values():
        assert not standing.first.locked()
        assert not standing.look_up_lock.locked()


def open_files() -> dict[str, str]:
    """What the descriptors of this process lead to; nothing where that cannot be told."""
    if sys.platform != "linux":
        return {}
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # that of the listing itself
            found[name] = os.readlink(f"/proc/self/fd/{name}")
    # libuv keeps one to /dev/null in reserve for who listens.
    return {name: target for name, target in found.items() if target != os.devnull}


def assert_no_thread_is_left() -> None:
    """That of an event loop is gone at once; those for the disk end soon after the last Fetcher."""
    own = [thread for thread in threading.enumerate() if thread.name.startswith("fetcher")]
    assert "fetcher" not in [thread.name for thread in own]
    for thread in own:
        thread.join(PATIENCE)
        assert not thread.is_alive()


@asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """What the block opened and began is closed and over after it: sockets, files, tasks."""
    files, tasks = open_files(), asyncio.all_tasks()
    yield

    def is_clean() -> bool:
        gc.collect()
        return len(open_files()) <= len(files) and asyncio.all_tasks() <= tasks

    try:
        await until(is_clean)
    except TimeoutError:
        left = f"{set(open_files().items()) - set(files.items())}, {asyncio.all_tasks() - tasks}"
        raise AssertionError(f"something is left: {left}") from None
