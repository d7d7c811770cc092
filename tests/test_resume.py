"""A download that ended in the middle is gone on from: in the same run, and in a later one (behaviour §5)."""

from __future__ import annotations

import asyncio
import json
import os
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from fake_faults import (
    ChangedFile,
    Cut,
    Etag,
    Fault,
    Gzip,
    HangUp,
    IgnoreRanges,
    LoginPage as Login,
    LongBody,
    MultipartRange,
    NoContentLength,
    Only,
    PartialAs200,
    Presigned,
    RangesRefused,
    ShiftedBody,
    ShortBody,
    SlowDrip,
    Stall,
    Stating,
    Status,
    WiderRange,
    WrongContentRange,
)
from fake_index import FakeIndex
from fake_pages import Tree
from fake_wheels import make_wheel
from one_wheel import (
    CUT,
    KNOWN,
    LOST,
    NAME,
    OTHER,
    SHA256,
    WHEEL,
    beside,
    command,
    get,
    interrupted,
    is_there,
    killed,
    known,
    part_in,
    parts_begun,
    put,
    rest_of,
    serving,
)
from wire_checks import Outcome, corp, find, left_in, observe, until

from fetcher import (
    BadZip,
    Disconnected,
    Event,
    File,
    HashMismatch,
    LoginPage,
    Progress,
    Retry,
    Stalled,
    TimedOut,
    Truncated,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


pytestmark = pytest.mark.usefixtures("_no_blocking", "_short_waits")

SDIST = "demo-1.0.tar.gz"
by_hash_or_etag = pytest.mark.parametrize("knows", ["size-and-hash", "nothing"])


# --- the next run ------------------------------------------------------------------------------------------------


@known
async def test_the_next_run_asks_for_the_rest_only(knows: str, dest: Path) -> None:
    async with serving(knows=knows) as index:
        part = await interrupted(index, dest)
        held, rest = part.stat().st_size, rest_of(part)
        outcome = await get(index, dest)
    assert outcome.ranges == [rest]
    assert outcome.statuses == [206]
    assert ("If-Range" in outcome.wires[0].headers) is ("hash" not in knows)
    assert outcome.body_bytes == outcome.done.bytes == len(WHEEL) - held
    assert (outcome.done.resumed_from, outcome.done.size, outcome.done.sha256) == (held, len(WHEEL), SHA256)
    assert is_there(dest)


@pytest.mark.parametrize("knows", ["size-and-hash", "hash"])
async def test_a_part_of_what_is_to_replace_a_file(knows: str, dest: Path) -> None:
    """The file that is there has the right size, and is not the right one."""
    put(dest, OTHER)
    async with serving(knows=knows) as index:
        rest = rest_of(await interrupted(index, dest))
        before = (dest / NAME).read_bytes()
        outcome = await get(index, dest)
    assert before == OTHER
    assert outcome.ranges == [rest]
    assert is_there(dest)


async def test_a_run_may_be_interrupted_again(dest: Path) -> None:
    """What comes after the part is kept too."""
    wheel = make_wheel(size=12_000_000, method=zipfile.ZIP_STORED)
    async with serving(wheel=wheel) as index:
        held = [(await interrupted(index, dest)).stat().st_size]
        index.faults = {"*.whl": Cut(CUT)}
        await get(index, dest, retries=0)
        held.append(part_in(dest).stat().st_size)
        index.faults = {}
        outcome = await get(index, dest)
    assert held[1] >= held[0] + CUT - LOST
    assert outcome.ranges == [f"bytes={held[1]}-{len(wheel) - 1}"]
    assert outcome.done.resumed_from == held[1]
    assert is_there(dest, wheel)


async def test_progress_goes_on_from_the_part(dest: Path) -> None:
    events: list[Event] = []
    async with serving() as index:
        held = (await interrupted(index, dest)).stat().st_size
        async with corp(index) as fetcher:
            await fetcher.download(await find(fetcher), dest, on_event=events.append)
    received = [event.received for event in events]
    assert received == sorted(received)
    assert held < received[0]
    assert received[-1] == len(WHEEL)
    assert {event.total for event in events} == {len(WHEEL)}
    assert {event.resumed_from for event in events} == {held}


async def test_progress_of_what_is_not_gone_on_from(dest: Path) -> None:
    """What this run has brought is all that there is: the part was of another file."""
    events: list[Event] = []
    async with serving(knows="nothing") as index:
        await interrupted(index, dest)
        index.faults = {"*.whl": ChangedFile(OTHER, after=0)}
        async with corp(index) as fetcher:
            await fetcher.download(await find(fetcher), dest, on_event=events.append)
    assert {event.resumed_from for event in events} == {None}
    assert 0 < events[0].received < CUT - LOST
    assert is_there(dest, OTHER)


@by_hash_or_etag
async def test_a_new_signature_every_time(knows: str, dest: Path) -> None:
    blobs = Tree(wheels={NAME: WHEEL}, pages="/nowhere", files="/blobs")
    async with serving(knows=knows, more=[blobs]) as index:
        index.faults = {"/files/*": Presigned("/blobs")}
        index.faults |= {"/blobs/*": Only(Cut(CUT), times=1)}
        await get(index, dest, retries=0)
        rest = rest_of(part_in(dest))
        outcome = await get(index, dest)
    assert outcome.ranges == [rest, rest]
    assert outcome.statuses == [302, 206]
    assert is_there(dest)


async def test_a_small_file_leaves_no_part(dest: Path) -> None:
    """To ask for the rest of it would cost as much as to ask for all."""
    async with serving(Cut(1_900_000), wheel=make_wheel(size=2_000_000)) as index:
        outcome = await get(index, dest, retries=0)
    assert isinstance(outcome.error, Truncated | Disconnected)
    assert left_in(dest) == []


async def test_nothing_is_kept_that_nobody_could_vouch_for(dest: Path) -> None:
    async with serving(Cut(CUT), Etag("weak"), knows="nothing") as index:
        await get(index, dest, retries=0)
        left = left_in(dest)
        index.faults = {}
        outcome = await get(index, dest)
    assert left == []
    assert outcome.ranges == [None]
    assert is_there(dest)


@pytest.mark.parametrize("knows", ["hash", "nothing"])
async def test_a_part_from_another_url(knows: str, dest: Path) -> None:
    """A mirror's file is the same if the index says so; two servers' validators say nothing of each other."""
    async with serving(knows=knows) as index, serving(knows=knows) as mirror:
        part = await interrupted(index, dest)
        rest = rest_of(part)
        outcome = await get(mirror, dest)
    assert outcome.ranges == [rest if knows == "hash" else None]
    assert is_there(dest)


@by_hash_or_etag
async def test_a_url_with_another_query_is_the_same(knows: str, dest: Path) -> None:
    hashes = {"sha256": SHA256} if "hash" in knows else {}
    async with serving(Only(Cut(CUT), times=1)) as index, corp(index, retries=0) as fetcher:
        first, second = (File(NAME, f"{index.files_url}/{NAME}?sig={n}", hashes=hashes) for n in "12")
        await observe(fetcher.download(first, dest), index)
        rest = rest_of(part_in(dest))
        outcome = await observe(fetcher.download(second, dest), index)
    assert outcome.ranges == [rest]
    assert is_there(dest)


# --- what is left of an earlier run ------------------------------------------------------------------------------


def _origin(**facts: Any) -> Callable[[Path], None]:
    def rewrite(part: Path) -> None:
        known = json.loads(beside(part).read_bytes())
        assert known.keys() >= facts.keys()
        beside(part).write_text(json.dumps(known | facts))

    return rewrite


USELESS: dict[str, Callable[[Path], object]] = {
    "no-origin": lambda part: beside(part).unlink(),
    "empty-origin": lambda part: beside(part).write_bytes(b""),
    "zeroed-origin": lambda part: beside(part).write_bytes(b"\0" * beside(part).stat().st_size),
    "half-an-origin": lambda part: beside(part).write_bytes(beside(part).read_bytes()[:40]),
    "garbage-origin": lambda part: beside(part).write_bytes(os.urandom(1 << 20)),
    "nested-origin": lambda part: beside(part).write_bytes(b"[" * 1_000_000),
    "a-later-version": _origin(version=3),
    "another-digest": _origin(digest="sha256:" + "0" * 64),
    "another-size": _origin(total=len(WHEEL) + 1),
    "no-total": _origin(total=None),
    "an-empty-part": lambda part: part.write_bytes(b""),
    "more-than-all": lambda part: part.write_bytes(WHEEL + b"x"),
}


@pytest.mark.parametrize("spoil", USELESS.values(), ids=USELESS)
async def test_what_is_of_no_use_is_removed(spoil: Callable[[Path], object], dest: Path) -> None:
    async with serving() as index:
        spoil(await interrupted(index, dest))
        outcome = await get(index, dest)
    assert outcome.ranges == [None]
    assert outcome.done.resumed_from is None
    assert is_there(dest)


async def test_all_of_it_needs_no_request(dest: Path) -> None:
    async with serving() as index:
        (await interrupted(index, dest)).write_bytes(WHEEL)
        outcome = await get(index, dest)
    assert outcome.requests == 0
    assert (outcome.done.bytes, outcome.done.resumed_from) == (0, len(WHEEL))
    assert is_there(dest)


@pytest.mark.parametrize("knows", ["size", "nothing"])
async def test_all_of_it_without_a_digest_needs_the_servers_word(knows: str, dest: Path) -> None:
    async with serving(knows=knows) as index:
        (await interrupted(index, dest)).write_bytes(WHEEL)
        outcome = await get(index, dest)
    assert outcome.ranges == [f"bytes={len(WHEEL) - 1}-{len(WHEEL) - 1}"]
    assert "If-Range" in outcome.wires[0].headers
    assert outcome.body_bytes == 1
    assert is_there(dest)


@by_hash_or_etag
async def test_all_of_another_file(knows: str, dest: Path) -> None:
    async with serving(knows=knows) as index:
        (await interrupted(index, dest, ChangedFile(OTHER, after=0))).write_bytes(OTHER)
        outcome = await get(index, dest)
    assert [wire.status for wire in outcome.wires] == [200]
    assert outcome.body_bytes == outcome.done.bytes == len(WHEEL)
    assert outcome.done.resumed_from is None
    assert is_there(dest)


@by_hash_or_etag
@pytest.mark.parametrize("at", [0, 2_000_000, -1])
async def test_a_damaged_part_costs_one_restart(at: int, knows: str, dest: Path) -> None:
    """The machine stopped before all of it was on the disk."""
    async with serving(knows=knows) as index:
        part = await interrupted(index, dest)
        rest, bytes_held = rest_of(part), bytearray(part.read_bytes())
        bytes_held[at] ^= 1
        part.write_bytes(bytes_held)
        outcome = await get(index, dest)
    assert outcome.ranges == [rest, None]
    assert outcome.done.resumed_from is None
    assert is_there(dest)


@pytest.mark.parametrize("renamed", [False, True])
async def test_what_is_left_is_cleared_away_even_if_the_file_is_there(renamed: bool, dest: Path) -> None:
    """Another run brought it meanwhile; or this one was killed between the rename and its end."""
    async with serving() as index:
        part = await interrupted(index, dest)
        put(dest, WHEEL)
        if renamed:
            part.unlink()
        outcome = await get(index, dest)
    assert outcome.requests == 0
    assert is_there(dest)


# --- what the server answers to it -------------------------------------------------------------------------------

THE_REST: dict[str, tuple[Fault, ...]] = {
    "honest": (),
    "no-length": (NoContentLength(),),
    "until-close": (NoContentLength("close"),),
    "slow": (SlowDrip(30_000_000),),
}


@by_hash_or_etag
@pytest.mark.parametrize("answer", THE_REST)
async def test_the_rest_is_appended(answer: str, knows: str, dest: Path) -> None:
    async with serving(*THE_REST[answer], knows=knows) as index:
        part = await interrupted(index, dest)
        held, rest = part.stat().st_size, rest_of(part)
        outcome = await get(index, dest)
    assert outcome.ranges == [rest]
    assert outcome.done.resumed_from == held
    assert is_there(dest)


@by_hash_or_etag
@pytest.mark.parametrize("fault", [Status(503, times=1, headers={"Retry-After": "0"}), HangUp(times=1)])
async def test_the_rest_is_asked_for_again(fault: Fault, knows: str, dest: Path) -> None:
    async with serving(fault, knows=knows) as index:
        part = await interrupted(index, dest)
        held, rest = part.stat().st_size, rest_of(part)
        outcome = await get(index, dest)
    assert outcome.ranges == [rest, rest]
    assert outcome.done.resumed_from == held
    assert is_there(dest)


@by_hash_or_etag
@pytest.mark.parametrize(
    "faults",
    [
        (Cut(500_000, times=1),),
        (Only(ShortBody(1000, cut=True), times=1),),
        (Only(ShortBody(1000), times=1), NoContentLength()),
    ],
    ids=["cut", "cut-near-its-end", "short-without-a-length"],
)
async def test_the_rest_is_cut_as_well(faults: tuple[Fault, ...], knows: str, dest: Path) -> None:
    async with serving(*faults, knows=knows) as index:
        part = await interrupted(index, dest)
        held, missing = part.stat().st_size, len(WHEEL) - part.stat().st_size
        outcome = await get(index, dest, retries=8)
    assert outcome.ranges[0] == f"bytes={held}-{len(WHEEL) - 1}"
    assert all(asked and int(asked[6:].partition("-")[0]) >= held for asked in outcome.ranges)
    assert outcome.body_bytes <= missing + (outcome.requests - 1) * LOST
    assert outcome.done.resumed_from == held
    assert is_there(dest)


@by_hash_or_etag
@pytest.mark.parametrize("fault", [IgnoreRanges(), IgnoreRanges(accept_ranges=False)])
async def test_a_whole_body_is_taken_from_its_start(fault: Fault, knows: str, dest: Path) -> None:
    async with serving(fault, knows=knows) as index:
        rest = rest_of(await interrupted(index, dest))
        outcome = await get(index, dest)
    assert outcome.ranges == [rest]
    assert outcome.statuses == [200]
    assert outcome.body_bytes == outcome.done.bytes == len(WHEEL)
    assert outcome.done.resumed_from is None
    assert is_there(dest)


REFUSED: dict[str, tuple[Fault, ...]] = {
    **{f"content-range-{kind}": (WrongContentRange(kind),) for kind in
       ("shifted", "missing", "other_total", "star", "whole", "malformed", "unit")},  # type: ignore[arg-type]
    "short": (ShortBody(1),),
    "long": (LongBody(1),),
    "long-without-a-length": (LongBody(1), NoContentLength()),
    "wider": (WiderRange(),),
    "multipart": (MultipartRange(),),
    "a-part-under-200": (PartialAs200(),),
    "gzip": (Gzip(206),),
    "416": (RangesRefused(416),),
    "400": (RangesRefused(400),),
    "405": (RangesRefused(405),),
    "501": (RangesRefused(501),),
}  # fmt: skip


@by_hash_or_etag
@pytest.mark.parametrize("answer", REFUSED)
async def test_anything_else_leads_to_one_whole_get(answer: str, knows: str, dest: Path) -> None:
    async with serving(*REFUSED[answer], knows=knows) as index:
        part = await interrupted(index, dest)
        missing, rest = len(WHEEL) - part.stat().st_size, rest_of(part)
        outcome = await get(index, dest)
    assert outcome.ranges == [rest, None]
    assert outcome.body_bytes <= len(WHEEL) + missing + 1024
    assert outcome.done.resumed_from is None
    assert is_there(dest)


async def test_ranges_are_not_asked_for_again_once_they_were_wrong(dest: Path) -> None:
    async with serving(WiderRange(), Only(Cut(CUT), after=1, times=1)) as index:
        rest = rest_of(await interrupted(index, dest))
        outcome = await get(index, dest)
    assert outcome.ranges == [rest, None, None]
    assert is_there(dest)


# --- the file is another by now ----------------------------------------------------------------------------------


# What can tell that a file has changed where its size has not.
TELLS: dict[str, tuple[str, tuple[Fault, ...]]] = {
    "digest": ("size-and-hash", ()),
    "etag": ("size", ()),
    "nothing": ("size", (Etag("absent"),)),
}


@pytest.mark.parametrize("left", ["all", "a-part"])
@pytest.mark.parametrize("tells", TELLS)
async def test_a_file_that_changes_between_two_runs_and_keeps_its_size(tells: str, left: str, dest: Path) -> None:
    knows, faults = TELLS[tells]
    async with serving(*faults, knows=knows) as index:
        if left == "a-part":
            index.faults = {"*.whl": (*faults, Cut(CUT))}
        await get(index, dest, retries=0)
        rests = [rest_of(part) for part in parts_begun(dest)]
        index.wheels, index.faults = {NAME: OTHER}, {"*.whl": faults}
        outcome = await get(index, dest)
    # Only the server can tell by its ETag; by another digest the part is known to be of no use before.
    assert outcome.ranges == (rests if (tells, left) == ("etag", "a-part") else [None])
    assert outcome.statuses == [200]
    assert outcome.done.resumed_from is None
    assert is_there(dest, OTHER)


async def test_a_part_of_another_build_is_found_out_by_the_digest(dest: Path) -> None:
    async with serving() as index:
        rest = rest_of(await interrupted(index, dest, ChangedFile(OTHER, after=0)))
        outcome = await get(index, dest)
    assert outcome.ranges == [rest, None]
    assert outcome.done.resumed_from is None
    assert is_there(dest)


@pytest.mark.parametrize("knows", ["size", "nothing"])
async def test_a_part_of_another_build_is_found_out_by_if_range(knows: str, dest: Path) -> None:
    async with serving(knows=knows) as index:
        rest = rest_of(await interrupted(index, dest))
        index.faults = {"*.whl": ChangedFile(OTHER, after=0)}
        outcome = await get(index, dest)
    assert outcome.ranges == [rest]
    assert outcome.statuses == [200]
    assert outcome.done.resumed_from is None
    assert is_there(dest, OTHER)


async def test_a_server_that_ignores_if_range_is_found_out_by_its_validator(dest: Path) -> None:
    async with serving(knows="nothing") as index:
        rest = rest_of(await interrupted(index, dest))
        index.faults = {"*.whl": Stating({"ETag": '"newer"'})}
        outcome = await get(index, dest)
    assert outcome.ranges == [rest, None]
    assert outcome.statuses == [206, 200]
    assert is_there(dest)


@pytest.mark.parametrize("etag", [Etag("fresh"), Etag("weak"), Etag("absent")])
async def test_with_a_digest_another_validator_is_no_matter(etag: Etag, dest: Path) -> None:
    async with serving(etag) as index:
        part = await interrupted(index, dest)
        held, rest = part.stat().st_size, rest_of(part)
        outcome = await get(index, dest)
    assert outcome.ranges == [rest]
    assert outcome.done.resumed_from == held
    assert is_there(dest)


@pytest.mark.parametrize("etag", [Etag("fresh"), Etag("weak"), Etag("absent")])
async def test_without_a_digest_another_validator_is_another_file(etag: Etag, dest: Path) -> None:
    async with serving(etag, knows="nothing") as index:
        rest = rest_of(await interrupted(index, dest))
        outcome = await get(index, dest)
    assert outcome.ranges == [rest]
    assert outcome.statuses == [200]
    assert is_there(dest)


async def test_an_index_that_names_another_digest_by_now(dest: Path) -> None:
    async with serving() as index, serving(wheel=OTHER) as newer:
        await interrupted(index, dest)
        outcome = await get(newer, dest)
    assert outcome.ranges == [None]
    assert outcome.done.resumed_from is None
    assert is_there(dest, OTHER)


@by_hash_or_etag
async def test_bytes_from_another_place_than_the_answer_says(knows: str, dest: Path) -> None:
    """The digest tells, or the zip's own sums."""
    async with serving(ShiftedBody(1), knows=knows) as index:
        rest = rest_of(await interrupted(index, dest))
        outcome = await get(index, dest)
    assert outcome.ranges == [rest, None]
    assert is_there(dest)


async def test_a_wrong_digest_twice_is_an_error_and_nothing_is_left(dest: Path) -> None:
    async with serving(ChangedFile(OTHER, after=0)) as index:
        rest = rest_of(await interrupted(index, dest))
        outcome = await get(index, dest)
    assert isinstance(outcome.error, HashMismatch), repr(outcome.error)
    assert outcome.ranges == [rest, None]
    assert left_in(dest) == []


async def test_a_damaged_wheel_that_nothing_vouches_for_is_an_error_and_nothing_is_left(dest: Path) -> None:
    async with serving(knows="nothing", wheel=WHEEL.replace(b"PK\x05\x06", b"PK\x00\x00")) as index:
        await interrupted(index, dest)
        outcome = await get(index, dest)
    assert isinstance(outcome.error, BadZip), repr(outcome.error)
    assert left_in(dest) == []


LOGINS = {
    "200": Login(),
    "302": Login(redirect=True),
    "206": Login(honours_range=True),
}


@by_hash_or_etag
@pytest.mark.parametrize("login", LOGINS)
async def test_a_login_page_in_the_place_of_the_rest(login: str, knows: str, dest: Path) -> None:
    async with serving(LOGINS[login], knows=knows) as index:
        part = await interrupted(index, dest)
        held, rest = part.stat().st_size, rest_of(part)
        refused = await get(index, dest)
        kept = part.stat().st_size
        index.faults = {}
        outcome = await get(index, dest)
    assert isinstance(refused.error, LoginPage), repr(refused.error)
    assert kept == held
    assert outcome.ranges == [rest]
    assert is_there(dest)


# --- in one run --------------------------------------------------------------------------------------------------

BROKEN: dict[str, tuple[Fault, ...]] = {
    "cut": (Cut(CUT, times=1),),
    "reset": (Cut(CUT, times=1, reset=True),),
    "stalled": (Stall(CUT, 20, times=1),),
    "503-in-between": (Only(Status(503, headers={"Retry-After": "0"}), after=1, times=1), Cut(CUT, times=1)),
    "hung-up-in-between": (Only(HangUp(), after=1, times=1), Cut(CUT, times=1)),
}


@known
@pytest.mark.parametrize("fault", BROKEN)
async def test_the_next_attempt_asks_for_the_rest_only(fault: str, knows: str, dest: Path) -> None:
    events: list[Event] = []
    async with serving(*BROKEN[fault], knows=knows) as index, corp(index, timeout=0.2) as fetcher:
        file = await find(fetcher)
        outcome = await observe(fetcher.download(file, dest, on_event=events.append), index)
    first, *others = outcome.ranges
    assert first is None
    assert len(set(others)) == 1
    assert starts(outcome)[-1] >= CUT - LOST
    assert outcome.body_bytes <= len(WHEEL) + LOST
    assert outcome.done.resumed_from is None, "that is told of earlier runs"
    assert len([event for event in events if isinstance(event, Retry)]) == len(others)
    progress = [event for event in events if isinstance(event, Progress)]
    assert progress == sorted(progress, key=lambda event: event.received)
    assert {event.resumed_from for event in progress} == {None}
    assert is_there(dest)


def starts(outcome: Outcome[Any]) -> list[int]:
    """Where each request began."""
    return [int(asked.removeprefix("bytes=").partition("-")[0]) if asked else 0 for asked in outcome.ranges]


@pytest.mark.parametrize("knows", ["size-and-hash", "size"])
async def test_a_chunked_body_is_gone_on_from_where_the_index_tells_the_size(knows: str, dest: Path) -> None:
    async with serving(NoContentLength(), Cut(CUT, times=1), knows=knows) as index:
        outcome = await get(index, dest)
    assert starts(outcome)[1] >= CUT - LOST
    assert is_there(dest)


async def test_a_chunked_body_that_lacks_its_end_only_is_all_there(dest: Path) -> None:
    async with serving(NoContentLength(), Cut(len(WHEEL), times=1)) as index:
        outcome = await get(index, dest)
    assert outcome.body_bytes <= len(WHEEL) + LOST
    assert is_there(dest)


@pytest.mark.parametrize("etag", [Etag("weak"), Etag("absent")])
async def test_an_attempt_begins_anew_where_nobody_could_vouch_for_the_rest(etag: Etag, dest: Path) -> None:
    async with serving(etag, Cut(CUT, times=1), knows="nothing") as index:
        outcome = await get(index, dest)
    assert outcome.ranges == [None, None]
    assert is_there(dest)


async def test_progress_resets_the_count_of_attempts(dest: Path) -> None:
    wheel = make_wheel(size=6_500_000, method=zipfile.ZIP_STORED)
    async with serving(Cut(500_000, times=12), wheel=wheel) as index:
        outcome = await get(index, dest, retries=1)
    assert outcome.error is None
    assert outcome.requests == 13
    assert starts(outcome) == sorted(starts(outcome))
    assert outcome.body_bytes <= len(wheel) + LOST
    assert is_there(dest, wheel)


async def test_without_progress_the_attempts_come_to_an_end(dest: Path) -> None:
    async with serving(Cut(20_000)) as index:
        outcome = await get(index, dest, retries=3)
    assert isinstance(outcome.error, Truncated | Disconnected), repr(outcome.error)
    assert outcome.requests == 4
    assert left_in(dest) == []


async def test_the_same_bytes_again_are_no_progress(dest: Path) -> None:
    """Ranges are ignored, and the connection breaks now earlier, now later."""
    cuts = [Only(Cut(1_000_000 if n % 2 else 300_000), after=n, times=1) for n in range(20)]
    async with serving(IgnoreRanges(), *cuts) as index:
        outcome = await get(index, dest, retries=2)
    assert isinstance(outcome.error, Truncated | Disconnected), repr(outcome.error)
    assert outcome.requests <= 6


@by_hash_or_etag
async def test_a_whole_body_in_the_place_of_the_rest(knows: str, dest: Path) -> None:
    async with serving(IgnoreRanges(), Cut(CUT, times=1), knows=knows) as index:
        outcome = await get(index, dest)
    assert outcome.requests == 2
    assert outcome.statuses == [200, 200]
    assert is_there(dest)


@by_hash_or_etag
@pytest.mark.parametrize("answer", REFUSED)
async def test_after_an_answer_that_cannot_be_right_all_is_asked_for(answer: str, knows: str, dest: Path) -> None:
    later = (Only(fault, after=1) for fault in REFUSED[answer])
    async with serving(Cut(CUT, times=1), *later, knows=knows) as index:
        outcome = await get(index, dest)
    assert [asked is None for asked in outcome.ranges] == [True, False, True]
    assert is_there(dest)


async def test_another_build_in_the_middle(dest: Path) -> None:
    """The index has the digest of the new one."""
    async with serving(Cut(CUT, times=1), Only(ChangedFile(OTHER, after=0), times=1)) as index:
        outcome = await get(index, dest)
    assert [asked is None for asked in outcome.ranges] == [True, False, True]
    assert is_there(dest)


async def test_another_build_in_the_middle_without_a_digest(dest: Path) -> None:
    async with serving(Cut(CUT, times=1), ChangedFile(OTHER, after=1), knows="nothing") as index:
        outcome = await get(index, dest)
    assert outcome.statuses == [200, 200]
    assert is_there(dest, OTHER)


async def test_a_login_page_in_the_middle_keeps_the_part(dest: Path) -> None:
    async with serving(Only(Login(), after=1), Cut(CUT, times=1)) as index:
        refused = await get(index, dest)
        part = part_in(dest)
        held, rest = part.stat().st_size, rest_of(part)
        index.faults = {}
        outcome = await get(index, dest)
    assert isinstance(refused.error, LoginPage), repr(refused.error)
    assert held >= CUT - LOST
    assert outcome.ranges == [rest]
    assert is_there(dest)


async def test_a_truncated_body_is_told_apart_from_a_wrong_digest(dest: Path) -> None:
    async with serving(Cut(CUT), knows="hash") as index:
        outcome = await get(index, dest, retries=0)
    assert isinstance(outcome.error, Truncated), repr(outcome.error)
    assert outcome.error.expected == len(WHEEL)
    assert outcome.error.received <= CUT


@pytest.mark.parametrize("framing", [(), (Only(NoContentLength(), after=1),)], ids=["length", "chunked"])
@pytest.mark.parametrize("knows", ["size", "nothing"])
async def test_the_rest_of_an_sdist_has_its_right_length(knows: str, framing: tuple[Fault, ...], dest: Path) -> None:
    """Nothing in its bytes could tell."""
    sdist = b"\x1f\x8b" + WHEEL
    faults = (Cut(CUT, times=1), Only(ShortBody(1000), times=3), *framing)
    async with FakeIndex(wheels={SDIST: sdist}, faults={"*.tar.gz": faults}, **KNOWN[knows]) as index:
        outcome = await get(index, dest)
    assert outcome.done.size == len(sdist)
    assert left_in(dest) == [SDIST]
    assert (dest / SDIST).read_bytes() == sdist


# --- ends of other kinds -----------------------------------------------------------------------------------------


async def test_cancellation_keeps_the_part(dest: Path) -> None:
    async with serving(Stall(CUT, 20)) as index:
        async with corp(index) as fetcher:
            running = asyncio.create_task(fetcher.download(await find(fetcher), dest))
            await until(lambda: parts_begun(dest) or running.done())
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
        index.faults = {}
        part = part_in(dest)
        held, rest = part.stat().st_size, rest_of(part)
        outcome = await get(index, dest)
    assert outcome.ranges == [rest]
    assert outcome.done.resumed_from == held
    assert is_there(dest)


async def test_a_stall_keeps_the_part(dest: Path) -> None:
    async with serving(Stall(CUT, 20)) as index:
        stalled = await get(index, dest, retries=0, timeout=0.1)
        index.faults = {}
        rest = rest_of(part_in(dest))
        outcome = await get(index, dest)
    assert isinstance(stalled.error, Stalled | TimedOut), repr(stalled.error)
    assert outcome.ranges == [rest]
    assert is_there(dest)


@by_hash_or_etag
async def test_sigkill_keeps_the_part(knows: str, dest: Path) -> None:
    async with serving(Stall(CUT, 20), knows=knows) as index:
        process = await command(index.url, dest)
        await until(lambda: parts_begun(dest) or process.returncode is not None)
        await killed(process)
        index.faults = {}
        part = part_in(dest)
        held, rest = part.stat().st_size, rest_of(part)
        again = await command(index.url, dest)
        stdout, _ = await again.communicate()
    assert again.returncode == 0
    done = json.loads(stdout)
    assert (done["resumed_from"], done["bytes"], done["size"]) == (held, len(WHEEL) - held, len(WHEEL))
    assert index.select("*.whl")[-1].range == rest
    assert is_there(dest)


async def test_resumed_from_is_null_where_nothing_was_resumed(dest: Path) -> None:
    async with serving() as index:
        stdout, _ = await (await command(index.url, dest)).communicate()
    assert json.loads(stdout)["resumed_from"] is None


# --- links -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["part", "origin"])
@pytest.mark.parametrize("there", [True, False], ids=["to-a-file", "dangling"])
async def test_nothing_is_written_through_a_link_with_the_parts_name(
    which: str, there: bool, tmp_path: Path, dest: Path
) -> None:
    outside = tmp_path / "outside"
    if there:
        outside.write_bytes(b"precious")
    async with serving() as index:
        part = await interrupted(index, dest)
        beside(part).unlink()
        part.unlink()
        (part if which == "part" else beside(part)).symlink_to(outside)
        outcome = await get(index, dest)
    assert outcome.error is None
    assert not (dest / NAME).is_symlink()
    assert (dest / NAME).read_bytes() == WHEEL
    assert outside.read_bytes() == b"precious" if there else not outside.exists()


async def test_a_part_is_not_read_through_a_link(tmp_path: Path, dest: Path) -> None:
    """What it points to is not moved to the destination either."""
    async with serving() as index:
        part = await interrupted(index, dest)
        outside = part.rename(tmp_path / "outside")
        part.symlink_to(outside)
        outcome = await get(index, dest)
    assert outcome.ranges == [None]
    assert outside.exists()
    assert not (dest / NAME).is_symlink()
