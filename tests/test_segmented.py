"""One file by several connections, on the wire: when there are more of them, and what becomes of those that fail."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import random
import re
import zipfile
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from anyio import fail_after, move_on_after
from fake_answers import CHUNK
from fake_faults import (
    ChangedFile,
    Cut,
    Etag,
    Fault,
    HangUp,
    IgnoreRanges,
    LoginPage as Login,
    LongBody,
    MultipartRange,
    Only,
    PartialAs200,
    Presigned,
    RangesRefused,
    ShiftedBody,
    ShortBody,
    SignedOnly,
    Silence,
    SlowDrip,
    Stating,
    Status,
    WiderRange,
    WrongContentRange,
)
from fake_index import FakeIndex, Guard, basic
from fake_pages import KNOWN
from fake_wheels import make_wheel, wheel_filename
from listening import stop_listening
from wire_checks import NOTHING_KNOWN, Outcome, corp, find, held_in, left_in, observe, until

from fetcher import AuthError, Disconnected, DiskError, Fetcher, File, HashMismatch, Index, Progress, Truncated

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fake_index import Wire

    from fetcher import Download

pytestmark = pytest.mark.usefixtures("_no_blocking", "_short_waits")

# Bytes per second of one connection.  After half a second it is clear that the rest will take longer than another.
RATE = 3_000_000
NAME = wheel_filename()
SDIST = "demo-1.0.tar.gz"
# Enough for a second connection ...
FOR_TWO = make_wheel(size=5_000_000, method=zipfile.ZIP_STORED)
# ... and for a third and fourth.
FOR_FOUR = make_wheel(size=12_000_000, method=zipfile.ZIP_STORED)
OTHER_FOR_TWO = make_wheel(size=5_000_000, method=zipfile.ZIP_STORED, seed=1)
OTHER_FOR_FOUR = make_wheel(size=12_000_000, method=zipfile.ZIP_STORED, seed=1)
assert (len(OTHER_FOR_TWO), len(OTHER_FOR_FOUR)) == (len(FOR_TWO), len(FOR_FOUR))
# What may cross the wire in vain each time that a body is left in its middle: what nobody had read.
LOST = 300_000
MOST_CONNECTIONS = 8
# With a limit of the rate, were it only in name, a file is brought by one connection.
BY_ONE: dict[str, Any] = {"limit_rate": 1 << 30}

by_hash_or_etag = pytest.mark.parametrize("knows", ["size-and-hash", "nothing"])


def serving(
    *faults: Fault, wheel: bytes = FOR_TWO, knows: str = "size-and-hash", rate: int = RATE, **more: Any
) -> FakeIndex:
    """An index with one wheel, over a link that limits each connection."""
    return FakeIndex(wheels={NAME: wheel}, faults={"*.whl": (*faults, SlowDrip(rate))}, **{**KNOWN[knows], **more})


def later(fault: Any, *, after: int = 1, times: int | None = None) -> Only:
    """A fault that the first connection is spared."""
    return Only(fault, after=after, times=times)


async def get(index: FakeIndex, dest: Path, *servers: FakeIndex, **options: Any) -> Outcome[Download]:
    """One run."""
    async with corp(index, **options) as fetcher:
        return await observe(fetcher.download(await find(fetcher, ending=""), dest), index, *servers)


def is_there(dest: Path, content: bytes = FOR_TWO, name: str = NAME) -> bool:
    """The file and nothing beside it."""
    return left_in(dest) == [name] and (dest / name).read_bytes() == content


def spans(wires: list[Wire], total: int) -> list[range]:
    """What each request for the file asked for."""
    return [range(total) if wire.range is None else _span(wire.range) for wire in wires]


def _span(header: str) -> range:
    first, _, last = header.removeprefix("bytes=").partition("-")
    return range(int(first), int(last) + 1)


# --- when there are several --------------------------------------------------------------------------------------


@pytest.mark.parametrize("knows", KNOWN)
async def test_several_connections_bring_one_file(knows: str, dest: Path) -> None:
    async with serving(wheel=FOR_FOUR, knows=knows) as index:
        outcome = await get(index, dest)
    asked = spans(outcome.select("*.whl"), len(FOR_FOUR))
    assert outcome.ranges[0] is None
    assert all(span.stop in {len(FOR_FOUR), *(other.start for other in asked)} for span in asked)
    assert all(("If-Range" in wire.headers) is ("hash" not in knows) for wire in outcome.wires[1:])
    assert 3 <= index.busiest <= MOST_CONNECTIONS
    assert 3 <= outcome.requests <= 2 * MOST_CONNECTIONS
    assert outcome.body_bytes <= len(FOR_FOUR) + outcome.requests * LOST
    assert len(FOR_FOUR) <= outcome.done.bytes <= outcome.body_bytes
    assert (outcome.done.size, outcome.done.resumed_from) == (len(FOR_FOUR), None)
    assert outcome.done.sha256 == hashlib.sha256(FOR_FOUR).hexdigest()
    assert is_there(dest, FOR_FOUR)


async def test_an_sdist_with_a_digest(dest: Path) -> None:
    sdist = b"\x1f\x8b" + FOR_TWO
    async with FakeIndex(wheels={SDIST: sdist}, faults={"*.tar.gz": SlowDrip(RATE)}) as index:
        outcome = await get(index, dest)
    assert outcome.requests > 1
    assert is_there(dest, sdist, SDIST)


ALONE: dict[str, tuple[tuple[Fault, ...], dict[str, Any], dict[str, Any]]] = {
    "small": ((), {"wheel": make_wheel(size=3_000_000, method=zipfile.ZIP_STORED)}, {}),
    "fast": ((), {"rate": 1 << 30}, {}),
    "accept-ranges-none": ((Stating({"Accept-Ranges": "none"}),), {}, {}),
    "weak-etag": ((Etag("weak"),), {"knows": "nothing"}, {}),
    "no-etag": ((Etag("absent"),), {"knows": "size"}, {}),
    "a-limit-of-rate": ((), {"rate": 1 << 30}, {"limit_rate": RATE}),
    "a-limit-of-requests": ((), {}, {"concurrency": 1}),
}


@pytest.mark.parametrize("case", ALONE)
async def test_one_connection_where_more_would_not_help(case: str, dest: Path) -> None:
    faults, served, options = ALONE[case]
    async with serving(*faults, **served) as index:
        outcome = await get(index, dest, **options)
    assert outcome.ranges == [None]
    assert is_there(dest, served.get("wheel", FOR_TWO))


async def test_a_line_that_is_full_is_left_to_one_connection(dest: Path) -> None:
    """The second is tried, brings nothing more, and goes; what it has brought is kept.

    Where the machine has other work meanwhile, the rate may speak for one more attempt.
    """
    async with serving(wheel=FOR_FOUR) as index:
        index.faults = {"*.whl": SlowDrip(2 * RATE, shared=True)}
        outcome = await get(index, dest)
    _, second, rest, *again = spans(outcome.wires, len(FOR_FOUR))
    assert index.busiest == 2
    assert second.start < rest.start
    assert max(each.stop for each in (rest, *again)) == second.stop == len(FOR_FOUR)
    assert len(again) <= 2
    assert outcome.done.bytes <= len(FOR_FOUR) + 2 * LOST * (1 + len(again))
    assert is_there(dest, FOR_FOUR)


# --- a second connection that is of no use -----------------------------------------------------------------------

REFUSED: dict[str, Fault] = {
    "200": IgnoreRanges(),
    **{f"content-range-{kind}": WrongContentRange(kind) for kind in
       ("shifted", "missing", "other_total", "star", "malformed")},  # type: ignore[arg-type]
    "short": ShortBody(1),
    "wider": WiderRange(),
    "multipart": MultipartRange(),
    "a-part-under-200": PartialAs200(),
    "400": RangesRefused(400),
    "401": Status(401),
    "403": Status(403),
    "404": Status(404),
    "416": RangesRefused(416),
    "429": Status(429),
    "429-retry-after": Status(429, headers={"Retry-After": "1"}),
    "429-retry-after-an-hour": Status(429, headers={"Retry-After": "3600"}),
    "500": Status(500),
    "501": RangesRefused(501),
    "503": Status(503, headers={"Retry-After": "1"}),
    "hang-up": HangUp(),
    "login-page": Login(),
    "login-page-in-parts": Login(honours_range=True),
}  # fmt: skip


@pytest.mark.parametrize("answer", REFUSED)
async def test_the_first_goes_on_and_no_other_is_tried(answer: str, dest: Path) -> None:
    async with serving(later(REFUSED[answer])) as index:
        outcome = await get(index, dest)
    assert outcome.requests == 2
    assert outcome.ranges[0] is None
    assert outcome.wires[0].body_bytes == len(FOR_TWO), "by the first connection"
    assert outcome.wires[1].body_bytes <= LOST
    assert outcome.done.bytes <= len(FOR_TWO) + LOST
    assert is_there(dest)


async def test_a_login_page_after_a_redirect(dest: Path) -> None:
    async with serving(later(Login(redirect=True))) as index:
        outcome = await get(index, dest)
    assert outcome.statuses == [200, 302, 200]
    assert is_there(dest)


async def test_another_build_of_the_same_size(dest: Path) -> None:
    """A server that does not know If-Range: its validator tells."""
    async with serving(later(Stating({"ETag": '"newer"'})), knows="size") as index:
        outcome = await get(index, dest)
    assert outcome.statuses == [200, 206]
    assert outcome.wires[0].body_bytes == len(FOR_TWO)
    assert is_there(dest)


async def test_with_a_digest_another_validator_is_no_matter(dest: Path) -> None:
    async with serving(Etag("fresh")) as index:
        outcome = await get(index, dest)
    assert outcome.statuses == [200, 206]
    assert outcome.wires[0].body_bytes < len(FOR_TWO)
    assert is_there(dest)


@pytest.mark.parametrize("status", [403, 429])
async def test_a_refusal_holds_for_the_hosts_other_files(status: int, dest: Path) -> None:
    names = [wheel_filename(name) for name in ("demo", "other")]
    wheels = {name: make_wheel(name.split("-")[0], size=len(FOR_TWO), method=zipfile.ZIP_STORED) for name in names}
    faults = {names[0]: (later(Status(status)), SlowDrip(RATE)), names[1]: SlowDrip(RATE)}
    async with FakeIndex(wheels=wheels, faults=faults) as index, corp(index) as fetcher:
        files = [await find(fetcher, name) for name in ("demo", "other")]
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fetcher.download(files[0], dest))
            await until(lambda: len(index.select(names[0])) == 2)
            await fetcher.download(files[1], dest)
    assert [wire.status for wire in index.select(names[0])] == [200, status]
    assert [wire.range for wire in index.select(names[1])] == [None]
    assert left_in(dest) == names
    assert all((dest / name).read_bytes() == wheels[name] for name in names)


async def test_what_was_welcome_stays(dest: Path) -> None:
    """Two connections were, the third and fourth were not."""
    async with serving(later(Status(429), after=2), wheel=FOR_FOUR) as index, corp(index) as fetcher:
        file = await find(fetcher)
        first = asyncio.create_task(fetcher.download(file, dest))
        await until(lambda: [wire.status for wire in index.select("*.whl")] == [200, 206, 429, 429])
        before = index.body_bytes
        await until(lambda: index.body_bytes > before + LOST)  # by then it has heard of it
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        index.faults, index.busiest = {"*.whl": SlowDrip(RATE)}, 0
        second = await observe(fetcher.download(file, dest / "again"), index)
    assert set(second.statuses) == {200, 206}
    assert index.busiest == 2
    assert is_there(dest / "again", FOR_FOUR)


LATE: dict[str, tuple[Fault, ...]] = {
    "206": (Silence(5),),
    "200": (IgnoreRanges(), Silence(5)),
    "403": (Status(403, wait=5),),
    "429": (Status(429, wait=5),),
    "503": (Status(503, wait=5),),
    "never": (Silence(60),),
}


@pytest.mark.parametrize("answer", LATE)
async def test_an_answer_that_comes_after_all_is_here(answer: str, dest: Path) -> None:
    """A server that has one connection for each client lets the second wait until the first has done."""
    async with serving(*map(later, LATE[answer])) as index:
        with fail_after(15):
            outcome = await get(index, dest)
    assert outcome.error is None, repr(outcome.error)
    assert outcome.statuses == [200, 0], "nobody waits for it"
    assert outcome.wires[0].body_bytes == len(FOR_TWO)
    assert outcome.done.bytes <= len(FOR_TWO) + LOST
    assert is_there(dest)


# --- connections that break --------------------------------------------------------------------------------------


async def test_the_second_is_cut(dest: Path) -> None:
    """Only what it had left is asked for again."""
    async with serving(later(Cut(600_000), times=1)) as index:
        outcome = await get(index, dest)
    _, cut, again = spans(outcome.wires, len(FOR_TWO))
    assert cut.start + 600_000 - LOST <= again.start <= cut.start + 600_000
    assert again.stop == cut.stop == len(FOR_TWO)
    assert outcome.done.bytes <= len(FOR_TWO) + 2 * LOST
    assert is_there(dest)


async def test_the_first_is_cut_while_the_second_runs(dest: Path) -> None:
    async with serving(Cut(2_000_000, times=1)) as index:
        outcome = await get(index, dest)
    _, second, again = spans(outcome.wires, len(FOR_TWO))
    assert 2_000_000 - LOST <= again.start <= 2_000_000
    assert again.stop == second.start
    assert outcome.done.bytes <= len(FOR_TWO) + 2 * LOST
    assert is_there(dest)


async def test_the_first_is_cut_for_good_while_the_second_waits(dest: Path) -> None:
    """All that it has left is asked for by the second, once that is heard."""
    async with serving(Cut(2_000_000, times=1), later(Silence(1), times=1)) as index:
        outcome = await get(index, dest, retries=0)
    _, _, rest = spans(outcome.wires, len(FOR_TWO))
    assert 2_000_000 - LOST <= rest.start <= 2_000_000
    assert outcome.wires[1].body_bytes <= LOST
    assert is_there(dest)


@by_hash_or_etag
async def test_all_are_cut_for_good(knows: str, dest: Path) -> None:
    """One typed error; the next run asks for the gaps, and for nothing else."""
    async with serving(Cut(2_000_000), wheel=FOR_FOUR, knows=knows) as index:
        broken = await get(index, dest, retries=0)
        held, left = held_in(dest), left_in(dest)
        index.faults = {}
        outcome = await get(index, dest, **BY_ONE)
    assert isinstance(broken.error, Truncated | Disconnected), repr(broken.error)
    assert broken.requests <= 2 * MOST_CONNECTIONS
    assert len(left) == 2, "the part, and what it is a part of"
    assert held >= broken.body_bytes - broken.requests * LOST
    assert outcome.requests > 1
    assert all(asked is not None for asked in outcome.ranges)
    assert outcome.body_bytes == outcome.done.bytes == len(FOR_FOUR) - held
    assert outcome.done.resumed_from == held
    assert is_there(dest, FOR_FOUR)


@by_hash_or_etag
async def test_a_part_with_gaps_where_ranges_are_refused_by_now(knows: str, dest: Path) -> None:
    async with serving(Cut(2_000_000), wheel=FOR_FOUR, knows=knows) as index:
        await get(index, dest, retries=0)
        index.faults = {"*.whl": IgnoreRanges()}
        outcome = await get(index, dest)
    assert outcome.statuses == [200]
    assert outcome.done.resumed_from is None
    assert is_there(dest, FOR_FOUR)


async def test_a_part_with_gaps_of_another_build(dest: Path) -> None:
    async with serving(Cut(2_000_000), wheel=FOR_FOUR, knows="nothing") as index:
        await get(index, dest, retries=0)
        index.faults = {"*.whl": ChangedFile(OTHER_FOR_FOUR, after=0)}
        outcome = await get(index, dest)
    assert outcome.statuses == [200]
    assert is_there(dest, OTHER_FOR_FOUR)


async def test_a_part_with_gaps_is_gone_on_from_by_several(dest: Path) -> None:
    async with serving(Cut(2_000_000), wheel=FOR_FOUR) as index:
        await get(index, dest, retries=0)
        held = held_in(dest)
        index.faults, index.busiest = {"*.whl": SlowDrip(RATE)}, 0
        outcome = await get(index, dest)
    assert index.busiest > 1
    assert outcome.done.bytes <= len(FOR_FOUR) - held + outcome.requests * LOST
    assert is_there(dest, FOR_FOUR)


# --- bytes that are wrong ----------------------------------------------------------------------------------------


@by_hash_or_etag
async def test_bytes_of_another_place_cost_one_restart_by_one_connection(knows: str, dest: Path) -> None:
    """The digest tells, or the zip's own sums."""
    async with serving(later(ShiftedBody(1)), knows=knows) as index:
        outcome = await get(index, dest)
    assert [asked is None for asked in outcome.ranges] == [True, False, True]
    assert outcome.done.bytes <= 2 * len(FOR_TWO) + LOST
    assert is_there(dest)


async def test_a_wrong_digest_twice_is_an_error_and_nothing_is_left(dest: Path) -> None:
    async with serving(ChangedFile(OTHER_FOR_TWO, after=0)) as index:
        outcome = await get(index, dest)
    assert isinstance(outcome.error, HashMismatch), repr(outcome.error)
    assert [asked is None for asked in outcome.ranges] == [True, False, True]
    assert left_in(dest) == []


async def test_more_than_was_asked_for(dest: Path) -> None:
    async with serving(later(LongBody(1)), knows="nothing") as index:
        outcome = await get(index, dest)
    assert outcome.requests <= 3
    assert is_there(dest)


async def test_another_size_than_the_index_tells(dest: Path) -> None:
    """It cannot be right in the end; till that is seen, nobody begins it anew beside the first."""
    async with serving(ChangedFile(FOR_TWO + b"more", after=0)) as index:
        outcome = await get(index, dest, retries=0)
    assert outcome.error is not None
    assert index.busiest == 1
    assert left_in(dest) == []


# --- signed storage ----------------------------------------------------------------------------------------------

USER = basic("reader", "password")


def storing(*faults: Fault, wheel: bytes = FOR_TWO, uses: int | None = None) -> FakeIndex:
    """Where the signed URLs lead to, over the same kind of link."""
    return FakeIndex(wheels={NAME: wheel}, faults={"*.whl": (SignedOnly(uses=uses), *faults, SlowDrip(RATE))})


def signing(storage: FakeIndex, wheel: bytes = FOR_TWO, **more: Any) -> FakeIndex:
    """An index that wants credentials and sends its readers on to the storage."""
    guard = {"/": Guard((USER,))}
    return FakeIndex(wheels={NAME: wheel}, faults={"*.whl": Presigned(storage.files_url)}, auth=guard, **more)


def expire(index: FakeIndex, storage: FakeIndex, *faults: Fault) -> None:
    """All signatures that were given out so far: the storage asks for another key."""
    key = "X-Goog-Signature"
    index.faults = {"*.whl": Presigned(storage.files_url, key=key)}
    storage.faults = {"*.whl": (SignedOnly(key=key), *faults, SlowDrip(RATE))}


async def get_signed(
    index: FakeIndex, storage: FakeIndex, dest: Path, *, meanwhile: Callable[[], None] | None = None, **options: Any
) -> Outcome[Download]:
    """One run; `meanwhile` is called with every piece that comes."""

    def on_progress(_: Progress) -> None:
        if meanwhile is not None:
            meanwhile()

    url = index.url_as("reader:password")
    async with Fetcher([Index(url, name="corp")], environ=NOTHING_KNOWN, **options) as fetcher:
        file = await find(fetcher)
        outcome = await observe(fetcher.download(file, dest, on_event=on_progress), index, storage)
    assert all(wire.authorization == USER for wire in index.log)
    assert all("Authorization" not in wire.headers for wire in storage.log)
    return outcome


async def test_helpers_go_to_the_storage_directly(dest: Path) -> None:
    async with storing(wheel=FOR_FOUR) as storage, signing(storage, FOR_FOUR) as index:
        await get_signed(index, storage, dest)
    assert len(index.select("*.whl")) == 1
    assert storage.requests > 2
    assert {wire.target for wire in storage.log} == {storage.log[0].target}
    assert is_there(dest, FOR_FOUR)


async def test_signatures_that_have_expired_are_renewed_once_for_all_who_wait(dest: Path) -> None:
    """The first helper came in time, the next two are refused both."""
    async with storing(wheel=FOR_FOUR) as storage, signing(storage, FOR_FOUR) as index:

        def meanwhile() -> None:
            if storage.requests == 2 and storage.log[1].body_bytes > LOST:
                expire(index, storage)

        outcome = await get_signed(index, storage, dest, meanwhile=meanwhile)
    refused = [wire for wire in storage.log if wire.status == 403]
    asked = index.select("*.whl")
    assert len(refused) == 2
    assert [wire.range for wire in asked] == [None, "bytes=0-0"]
    asked_again = [wire.range for wire in storage.log[storage.log.index(refused[-1]) + 1 :]]
    assert {wire.range for wire in refused} <= set(asked_again), "with the new signature"
    assert outcome.done.bytes <= len(FOR_FOUR) + outcome.requests * LOST
    assert is_there(dest, FOR_FOUR)


@pytest.mark.parametrize("cut", ["first", "second"])
async def test_a_connection_that_is_cut_when_its_signature_has_expired(cut: str, dest: Path) -> None:
    fault = Cut(2_000_000, times=1) if cut == "first" else later(Cut(600_000), times=1)
    async with storing(fault) as storage, signing(storage) as index:

        def meanwhile() -> None:
            if storage.requests == 2 and storage.log[1].body_bytes > LOST:
                expire(index, storage)

        outcome = await get_signed(index, storage, dest, meanwhile=meanwhile)
    assert len(index.select("*.whl")) == 2
    assert outcome.done.bytes <= len(FOR_TWO) + 2 * LOST
    assert is_there(dest)


async def test_a_renewed_signature_that_is_refused_too(dest: Path) -> None:
    async with storing(Cut(2_000_000), wheel=FOR_FOUR) as storage, signing(storage, FOR_FOUR) as index:

        def meanwhile() -> None:
            if storage.requests == 2 and storage.log[1].body_bytes > LOST:
                expire(index, storage, Status(403))

        refused = await get_signed(index, storage, dest, meanwhile=meanwhile)
        held = held_in(dest)
        expire(index, storage)
        outcome = await get_signed(index, storage, dest)
    assert isinstance(refused.error, AuthError), repr(refused.error)
    assert refused.requests <= 16
    assert held > 2_000_000
    assert outcome.done.resumed_from == held
    assert outcome.body_bytes <= len(FOR_FOUR) - held + outcome.requests * LOST
    assert is_there(dest, FOR_FOUR)


async def test_no_signature_is_shown(dest: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "fetcher")
    async with storing(later(Status(403))) as storage, signing(storage) as index:
        outcome = await get_signed(index, storage, dest)
    assert "one of 2 connections ended" in caplog.text
    signature = storage.log[0].target.rpartition("=")[2]
    assert signature not in caplog.text
    assert "password" not in caplog.text
    assert signature not in repr(outcome.done)
    assert is_there(dest)


# --- a map of gaps that cannot be --------------------------------------------------------------------------------

TOTAL = len(FOR_FOUR)
HELD = [[0, 1_000_000], [3_000_000, 4_000_000]]
GARBAGE: dict[str, Any] = {
    "overlapping": [[0, 2_000_000], [1_000_000, 4_000_000]],
    "touching": [[0, 3_000_000], [3_000_000, 4_000_000]],
    "unsorted": HELD[::-1],
    "twice-the-same": [HELD[0], HELD[0]],
    "negative": [[-1_000_000, 1_000_000], [3_000_000, 4_000_000]],
    "backwards": [[1_000_000, 0], [3_000_000, 4_000_000]],
    "no-bytes": [[0, 0], [3_000_000, 4_000_000]],
    "beyond-the-part": [[0, 1_000_000], [3_000_000, 4_000_001]],
    "beyond-the-file": [[0, 1_000_000], [3_000_000, TOTAL + 1]],
    "beyond-all-numbers": [[0, 1 << 70]],
    "empty": [],
    "three-numbers": [[0, 1_000_000, 2_000_000]],
    "text": "0-1000000",
    "fractions": [[0.5, 1_000_000.5]],
    "half-a-million": [[2 * n, 2 * n + 1] for n in range(500_000)],
}


def leave_a_part(dest: Path, index: FakeIndex, content: bytes, **facts: Any) -> Path:
    """What an earlier run has left, with these facts beside it; by the name that it is looked for under."""
    digest = hashlib.sha256(FOR_FOUR).hexdigest()
    source = hashlib.sha256(f"{index.files_url}/{NAME}".encode()).hexdigest()
    known = {"source": source, "digest": f"sha256:{digest}", "total": TOTAL, "etag": None, "held": None, "version": 2}
    dest.mkdir()
    part = dest / f".{NAME}.{hashlib.sha256(NAME.encode()).hexdigest()[:8]}.0.part"
    part.write_bytes(content)
    part.with_name(f"{part.name}.json").write_text(json.dumps(known | facts))
    return part


async def test_a_map_of_gaps(dest: Path) -> None:
    """So it is written, and what it says is believed as far as the digest bears it out."""
    content = FOR_FOUR[:1_000_000] + bytes(2_000_000) + FOR_FOUR[3_000_000:4_000_000]
    async with serving(wheel=FOR_FOUR, rate=1 << 30) as index:
        leave_a_part(dest, index, content, held=HELD)
        outcome = await get(index, dest)
    assert outcome.ranges == ["bytes=1000000-2999999", f"bytes=4000000-{TOTAL - 1}"]
    assert outcome.done.resumed_from == 2_000_000
    assert is_there(dest, FOR_FOUR)


async def test_a_map_that_claims_what_is_not_there(dest: Path) -> None:
    async with serving(wheel=FOR_FOUR, rate=1 << 30) as index:
        leave_a_part(
            dest, index, FOR_FOUR[:1_000_000] + bytes(3_000_000), held=[[0, 2_000_000], [3_000_000, 4_000_000]]
        )
        outcome = await get(index, dest)
    assert outcome.ranges == ["bytes=2000000-2999999", f"bytes=4000000-{TOTAL - 1}", None]
    assert outcome.done.resumed_from is None
    assert is_there(dest, FOR_FOUR)


@pytest.mark.parametrize("garbage", GARBAGE)
async def test_a_map_that_cannot_be(garbage: str, dest: Path) -> None:
    async with serving(wheel=FOR_FOUR, rate=1 << 30) as index:
        size = TOTAL + 1 if garbage == "beyond-the-file" else 4_000_000
        leave_a_part(dest, index, FOR_FOUR[:size].ljust(size), held=GARBAGE[garbage])
        outcome = await get(index, dest)
    assert outcome.ranges == [None]
    assert outcome.done.resumed_from is None
    assert is_there(dest, FOR_FOUR)


async def test_a_map_of_a_thousand_gaps(dest: Path) -> None:
    """Nobody has written it, and to ask for each costs more than the file."""
    content = bytearray(FOR_FOUR[:4_000_000])
    held = [[2_000 * n, 2_000 * n + 1_999] for n in range(1_000)]
    for _, stop in held:
        content[stop] ^= 1
    async with serving(wheel=FOR_FOUR, rate=1 << 30) as index:
        leave_a_part(dest, index, bytes(content), held=held)
        outcome = await get(index, dest)
    assert outcome.requests <= 100
    assert is_there(dest, FOR_FOUR)


# --- many at once, ends of other kinds ---------------------------------------------------------------------------


async def test_files_of_one_host_share_its_connections(dest: Path) -> None:
    """Each has room for a second connection, but not all of them together."""
    names = [wheel_filename(f"demo{number}") for number in range(6)]
    wheels = {name: make_wheel(name.split("-")[0], size=8_000_000, method=zipfile.ZIP_STORED) for name in names}
    async with FakeIndex(wheels=wheels, faults={"*.whl": SlowDrip(RATE)}) as index, corp(index) as fetcher:
        files = [await find(fetcher, name.split("-")[0]) for name in names]
        async with asyncio.TaskGroup() as tasks:
            for file in files:
                tasks.create_task(fetcher.download(file, dest))
    assert len(files) < index.busiest <= MOST_CONNECTIONS
    assert left_in(dest) == names
    assert all((dest / name).read_bytes() == wheels[name] for name in names)


async def test_progress(dest: Path) -> None:
    events: list[Progress] = []
    async with serving(later(Cut(600_000), times=1), wheel=FOR_FOUR) as index, corp(index) as fetcher:
        await fetcher.download(await find(fetcher), dest, on_event=events.append)
    events = [event for event in events if isinstance(event, Progress)]
    received = [event.received for event in events]
    assert index.busiest > 1
    assert received == sorted(received)
    assert received[-1] == len(FOR_FOUR)
    assert {event.total for event in events} == {len(FOR_FOUR)}


class Tired(Exception):
    """What a caller's own code raises."""


@pytest.mark.parametrize("after", [0, 1_000_000, 2_500_000, 6_000_000])
async def test_what_the_callback_raises_comes_out(after: int, dest: Path) -> None:
    def on_progress(progress: Progress) -> None:
        if isinstance(progress, Progress) and progress.received > after:
            raise Tired

    async with serving(wheel=FOR_FOUR) as index:
        async with corp(index) as fetcher:
            file = await find(fetcher)
            with pytest.raises(Tired):
                await fetcher.download(file, dest, on_event=on_progress)
            await until(lambda: index.under_way == 0)
        index.faults = {}
        held = held_in(dest)
        outcome = await get(index, dest, **BY_ONE)
    assert outcome.body_bytes == len(FOR_FOUR) - held
    assert is_there(dest, FOR_FOUR)


async def cancelled_at(seconds: float, dest: Path) -> int:
    """A download that is cancelled at its random moment and then done; return how many connections there were."""
    async with serving(wheel=FOR_FOUR, rate=RATE // 2) as index:
        async with corp(index) as fetcher:
            file = await find(fetcher)
            with move_on_after(seconds):
                await fetcher.download(file, dest)
            await until(lambda: index.under_way == 0)
        index.faults = {}
        held = held_in(dest)
        outcome = await get(index, dest, **BY_ONE)
    assert outcome.body_bytes == outcome.done.bytes == len(FOR_FOUR) - held
    assert is_there(dest, FOR_FOUR)
    return index.busiest


async def test_cancelled_at_random_moments(tmp_path: Path) -> None:
    """Nothing is left open, and what is here is gone on from."""
    before = asyncio.all_tasks()
    chance = random.Random(7)
    moments = [chance.uniform(0.4, 1.8) for _ in range(20)]
    async with asyncio.TaskGroup() as tasks:
        runs = [tasks.create_task(cancelled_at(at, tmp_path / str(n))) for n, at in enumerate(moments)]
    assert {run.result() for run in runs} >= {1, 2}
    await until(lambda: asyncio.all_tasks() <= before)


async def test_a_full_disk(dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no reason to ask for anything again, and what is on it is gone on from."""
    real, room = os.write, 3_000_000

    def filling(descriptor: int, data: Any) -> int:
        nonlocal room
        if len(data) > 10_000 and len(data) > room:
            raise OSError(28, "No space left on device")
        room -= len(data)
        return real(descriptor, data)

    async with serving(wheel=FOR_FOUR) as index:
        with monkeypatch.context() as patched:
            patched.setattr(os, "write", filling)
            full = await get(index, dest)
        held = held_in(dest)
        index.faults = {}
        outcome = await get(index, dest, **BY_ONE)
    assert isinstance(full.error, DiskError), repr(full.error)
    assert full.requests <= 4
    assert held > 2_000_000
    assert outcome.body_bytes == len(FOR_FOUR) - held
    assert is_there(dest, FOR_FOUR)


# --- servers that mean harm, and others like them --------------------------------------------------------------------


async def test_credentials_in_the_url_of_the_file_itself(dest: Path) -> None:
    """They go with every connection to its realm, not with the first alone."""
    async with serving(auth={"/": Guard((USER,))}) as index, Fetcher([], environ=NOTHING_KNOWN) as fetcher:
        url = index.url_as("reader:password").replace("/simple", f"/files/{NAME}")
        file = File(NAME, url, hashes={"sha256": hashlib.sha256(FOR_TWO).hexdigest()})
        outcome = await observe(fetcher.download(file, dest), index)
    assert {wire.authorization for wire in outcome.wires} == {USER}
    assert index.busiest == 2
    assert is_there(dest)


async def test_a_connection_that_brings_next_to_nothing(dest: Path) -> None:
    """It is not waited for: what the others could bring in a moment is asked for again."""
    async with serving(wheel=FOR_FOUR) as index:
        index.faults = {"*.whl": (SlowDrip(RATE), later(SlowDrip(20_000), after=2, times=1))}
        with fail_after(15):
            outcome = await get(index, dest)
    assert outcome.requests > 3
    assert is_there(dest, FOR_FOUR)


async def test_a_byte_for_each_signature(dest: Path) -> None:
    """The storage takes a signature once, and sends next to nothing for it."""
    async with storing(later(Cut(1)), uses=2) as storage, signing(storage) as index:
        with move_on_after(8):
            await get_signed(index, storage, dest)
    assert storage.log[1].range is not None
    assert len(index.select("*.whl")) <= 20


@pytest.mark.parametrize("size", [1 << 62, 10**19 - 1])
async def test_a_size_that_cannot_be(size: int, dest: Path) -> None:
    """No disk has room for it: that is said before the body is fetched."""
    async with serving(Stating({"Content-Length": str(size)}), knows="nothing") as index:
        outcome = await get(index, dest)
    assert isinstance(outcome.error, DiskError)
    assert outcome.requests == 1
    assert left_in(dest) == []


class JustInTime:
    """A server whose first answer stands still before the first byte that the second is asked for.

    It goes on when some bytes of the second have gone out.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.asked: list[range] = []
        self._stands = asyncio.Event()
        self._goes_on = asyncio.Event()
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/{NAME}"

    async def __aexit__(self, *_: object) -> None:
        await stop_listening(self._server)
        for task, writer in self._open.items():
            writer.close()
            task.cancel()
        await asyncio.wait(self._open)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = writer
        with suppress(ConnectionError, asyncio.CancelledError):
            head = await reader.readuntil(b"\r\n\r\n")
            asked = re.search(rb"bytes=\d+-\d+", head)
            await (self._send_part(writer, _span(asked[0].decode())) if asked else self._send_whole(writer))
        writer.close()

    async def _send_whole(self, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(self.content)}\r\n\r\n".encode())
        at = 0
        while not self.asked:
            at = await self._send(writer, at, at + CHUNK)
        while at < self.asked[0].start:
            at = await self._send(writer, at, min(at + CHUNK, self.asked[0].start))
        self._stands.set()
        await self._goes_on.wait()
        await self._send(writer, at, at + 1)

    async def _send_part(self, writer: asyncio.StreamWriter, span: range) -> None:
        self.asked.append(span)
        await self._stands.wait()
        told = f"Content-Length: {len(span)}\r\nContent-Range: bytes {span.start}-{span.stop - 1}/{len(self.content)}"
        writer.write(f"HTTP/1.1 206 Partial Content\r\n{told}\r\n\r\n".encode())
        for at in range(span.start, span.stop, CHUNK):
            await self._send(writer, at, min(at + CHUNK, span.stop))
            if at > span.start + LOST:
                self._goes_on.set()

    async def _send(self, writer: asyncio.StreamWriter, start: int, stop: int) -> int:
        await asyncio.sleep((stop - start) / RATE)
        writer.write(self.content[start:stop])
        await writer.drain()
        return stop


async def test_the_first_stands_where_the_second_begins(dest: Path) -> None:
    """It has brought all that is its own when the second is answered, and then another byte of it comes."""
    server = JustInTime(FOR_TWO)
    async with server as url, Fetcher([], environ=NOTHING_KNOWN) as fetcher:
        file = File(NAME, url, hashes={"sha256": hashlib.sha256(FOR_TWO).hexdigest()})
        await fetcher.download(file, dest)
    assert server.asked, "there was a second"
    assert is_there(dest)
