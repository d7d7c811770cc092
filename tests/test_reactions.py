"""The reaction table (behaviour §3.5): what each kind of answer to a request for a part of a wheel leads to.

Every row runs against wheels of every layout, with the wheel's size known from the index and not. Whatever the server
does: the right METADATA or one typed error, at most 5 requests, at most the file's size and 128 KiB.
"""

from __future__ import annotations

import asyncio
import io
import re
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import cache, partial
from itertools import product
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from fake_faults import (
    ChangedFile,
    Cut,
    Etag,
    Fault,
    FirstWholeThenRanges,
    Gzip,
    HangUp,
    IgnoreRanges,
    LoginPage as Login,
    LongBody,
    MultipartRange,
    NoContentLength,
    Only,
    PartialAs200,
    RangesRefused,
    RedirectChain,
    RedirectLoop,
    ShiftedBody,
    ShortBody,
    Silence,
    SlowDrip,
    Stall,
    Stating,
    Status,
    SuffixAsPrefix,
    SuffixRefused,
    TruncatedFile,
    UnaskedPart,
    WiderRange,
    WrongContentRange,
)
from fake_index import FakeIndex
from fake_wheels import make_wheel, metadata_of, wheel_filename
from wire_checks import HONEST_REQUESTS, MOST_REQUESTS, ask_metadata, assert_within_budget, corp, find, observe, until

from fetcher import (
    BadReply,
    BadZip,
    ContentError,
    Disconnected,
    Forbidden,
    HashMismatch,
    MetadataMismatch,
    MetadataMissing,
    NotAWheel,
    NotFound,
    ServerFailed,
    Stalled,
    StatusError,
    Throttled,
    TimedOut,
    TooManyRedirects,
    TransportError,
    Truncated,
)
from fetcher.transport.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fetcher import FetcherError

pytestmark = pytest.mark.usefixtures("_no_blocking", "_short_waits")

NAME = wheel_filename()

LAYOUTS: dict[str, dict[str, Any]] = {
    "small": {"size": 40_000},
    "tail": {"size": 300_000},
    "directory-before-tail": {"many_entries": 1_800},
    "far": {"size": 1_000_000, "distance": 600_000},
    "first": {"size": 700_000, "metadata_first": True},
}
OLDER = "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\nSummary: what it was\n"
NEWER = "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\nSummary: what it is\n\n" + "newer\n" * 300


@cache
def wheel_of(layout: str) -> bytes:
    return make_wheel(**LAYOUTS[layout])


@cache
def metadata_in(wheel: bytes) -> bytes:
    """What zipfile reads of it; large directories take a while."""
    return metadata_of(wheel)


@cache
def newer_wheel_of(layout: str) -> bytes:
    """Another build of the same version: other METADATA, other padding, nearly the same size."""
    return make_wheel(metadata=NEWER, seed=1, **LAYOUTS[layout])


# What the index page says besides the file name.
PAGES: dict[str, dict[str, Any]] = {
    "size-known": {"page_format": "json"},
    "size-unknown": {"page_format": "html"},
    "nothing-known": {"page_format": "html", "hashes": "none"},
}
layouts = pytest.mark.parametrize("layout", LAYOUTS)
pages = pytest.mark.parametrize("page", PAGES)


def serving(wheel: bytes, page: str, *faults: Fault, **more: Any) -> FakeIndex:
    return FakeIndex(wheels={NAME: wheel}, faults={"*.whl": faults}, **{**PAGES[page], **more})


# --- the rows ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """What the server does to the wheel, and what may come of it.

    known, unknown: the most requests with the size known from the index, and not. errors: those that may come instead
    of METADATA; none: METADATA must come.
    """

    faults: tuple[Fault, ...]
    known: int = MOST_REQUESTS
    unknown: int = MOST_REQUESTS
    errors: tuple[type[FetcherError], ...] = ()

    def most(self, page: str) -> int:
        return self.known if page == "size-known" else self.unknown


# A 206 that cannot be right costs one whole GET, and may come after the answers that were right: three of those.
LIE = {"known": 4, "unknown": 4}
REFUSALS = (400, 403, 404, 405, 500, 501)

ROWS: dict[str, Row] = {
    "206-right": Row((), HONEST_REQUESTS, HONEST_REQUESTS),
    "206-right-weak-etag": Row((Etag("weak"),), HONEST_REQUESTS, HONEST_REQUESTS),
    "206-right-no-etag": Row((Etag("absent"),), HONEST_REQUESTS, HONEST_REQUESTS),
    "206-right-chunked": Row((NoContentLength("chunked"),), HONEST_REQUESTS, HONEST_REQUESTS),
    "206-right-until-close": Row((NoContentLength("close"),), HONEST_REQUESTS, HONEST_REQUESTS),
    # 200: this body is the stream, whatever it says about ranges; never asked again.
    "200-advertising-ranges": Row((IgnoreRanges(accept_ranges=True),), 1, 1),
    "200-silent-about-ranges": Row((IgnoreRanges(accept_ranges=False),), 1, 1),
    "200-once-then-206": Row((FirstWholeThenRanges(1),), 1, 1),
    "200-chunked": Row((IgnoreRanges(), NoContentLength("chunked")), 1, 1),
    "200-until-close": Row((IgnoreRanges(), NoContentLength("close")), 1, 1),
    "200-gzip": Row((IgnoreRanges(), Gzip(200)), 1, 1),
    "200-gzip-chunked": Row((IgnoreRanges(), Gzip(200, "lost")), 1, 1),
    "200-gzip-under-the-wrong-length": Row(
        (IgnoreRanges(), Gzip(200, "original")), errors=(TransportError, ContentError)
    ),
    "200-with-a-part-rclone": Row((PartialAs200(),), **LIE),
    "200-after-a-206": Row((Only(IgnoreRanges(), after=1),), 2, 2),
    # 416: this file only; absolute form if the size is now known, else one whole GET.
    "416-to-suffix": Row((SuffixRefused(416),), HONEST_REQUESTS, 2),
    "416-to-suffix-telling-the-total": Row((SuffixRefused(416, tells_total=True),), HONEST_REQUESTS, 4),
    "416-to-suffix-longer-than-the-file": Row((SuffixRefused(416, longer_only=True),), HONEST_REQUESTS, 3),
    "416-to-any-range": Row((RangesRefused(416),), 2, 2),
    "416-after-a-206": Row((Only(RangesRefused(416), after=1),), 3, 3),
    # A refusal of suffixes: the absolute form after a `bytes=0-0` probe.
    **{f"{code}-to-suffix": Row((SuffixRefused(code),), HONEST_REQUESTS, 5) for code in REFUSALS},
    **{f"{code}-to-suffix-with-a-large-page": Row((SuffixRefused(code, size=60_000),)) for code in (403, 500)},
    # A refusal of any range; 403, 404 and 500 may as well be meant as they are said.
    "400-to-any-range": Row((RangesRefused(400),), 2, 3),
    "403-to-any-range": Row((RangesRefused(403),), errors=(Forbidden,)),
    "404-to-any-range": Row((RangesRefused(404),), errors=(NotFound,)),
    "405-to-any-range": Row((RangesRefused(405),), 2, 3),
    "500-to-any-range": Row((RangesRefused(500),), errors=(ServerFailed,)),
    "501-to-any-range": Row((RangesRefused(501),), 2, 3),
    **{
        f"{code}-after-a-206": Row((Only(RangesRefused(code), after=1),), errors=(StatusError, Forbidden))
        for code in REFUSALS
    },
    # 206 that cannot be right: one whole GET, never mixed bytes.
    "206-short": Row((ShortBody(1),), **LIE),
    "206-short-by-kilobytes": Row((ShortBody(5_000),), **LIE),
    "206-empty": Row((ShortBody(10_000_000),), **LIE),
    "206-short-once": Row((Only(ShortBody(100), times=1),), **LIE),
    "206-short-later": Row((Only(ShortBody(100), after=1),), **LIE),
    "206-long": Row((LongBody(1),), **LIE),
    "206-long-chunked": Row((LongBody(1), NoContentLength()), **LIE),
    "206-long-by-kilobytes": Row((LongBody(5_000), NoContentLength()), **LIE),
    "206-long-later": Row((Only(LongBody(1), after=1),), **LIE),
    "206-shifted-later-in-the-file": Row((ShiftedBody(1),), **LIE),
    "206-shifted-earlier-in-the-file": Row((ShiftedBody(-1),), **LIE),
    "206-shifted-by-a-block": Row((ShiftedBody(-4096),), **LIE),
    # With a large directory read by then, a whole GET would break the bound of bytes: the error is then typed.
    "206-shifted-in-the-second-segment": Row((Only(ShiftedBody(1), after=1),), **LIE, errors=(BadZip,)),
    "206-content-range-shifted": Row((WrongContentRange("shifted"),), **LIE),
    "206-content-range-missing": Row((WrongContentRange("missing"),), **LIE),
    "206-content-range-other-total": Row((WrongContentRange("other_total"),), **LIE),
    "206-content-range-without-total": Row((WrongContentRange("star"),), **LIE),
    "206-content-range-of-the-whole": Row((WrongContentRange("whole"),), **LIE),
    "206-content-range-malformed": Row((WrongContentRange("malformed"),), **LIE),
    "206-content-range-in-another-unit": Row((WrongContentRange("unit"),), **LIE),
    "206-content-range-missing-later": Row((Only(WrongContentRange("missing"), after=1),), **LIE),
    "206-other-total-than-before": Row((Only(WrongContentRange("other_total"), after=1),), **LIE),
    "206-other-validator-than-before": Row((Etag("fresh"),), **LIE),
    "206-gzip": Row((Gzip(206),), **LIE),
    "206-gzip-chunked": Row((Gzip(206, "lost"),), **LIE),
    "206-gzip-under-the-wrong-length": Row((Gzip(206, "original"),), **LIE),
    "206-multipart": Row((MultipartRange(),), **LIE),
    "206-more-than-asked": Row((WiderRange(512),), **LIE),
    "206-more-than-asked-later": Row((Only(WiderRange(512), after=1),), **LIE),
    "206-suffix-read-as-prefix": Row((SuffixAsPrefix(),), **LIE),
    "206-then-a-part-for-the-whole": Row((ShortBody(1), UnaskedPart(20_000)), **LIE, errors=(BadReply, Truncated)),
}


def cases() -> Iterator[tuple[str, str, str]]:
    """All rows with all layouts and pages, but for those that would say nothing new."""
    for (row, expected), layout, page in product(ROWS.items(), LAYOUTS, PAGES):
        ranged = (layout, page) != ("small", "size-known")  # that one is a plain GET: the faults of ranges are not met
        ranged = ranged and not ("to-suffix" in row and page == "size-known" and layout != "tail")  # none is sent
        new = page != "nothing-known" or (row.startswith(("200", "206")) and layout == "far")
        if new and (ranged or expected.known == 1 or not expected.faults):
            yield row, layout, page


@pytest.mark.parametrize(("row", "layout", "page"), list(cases()))
async def test_row(row: str, layout: str, page: str) -> None:
    expected, wheel = ROWS[row], wheel_of(layout)
    async with serving(wheel, page, *expected.faults) as index, corp(index, retries=1) as fetcher:
        outcome = await ask_metadata(fetcher, await find(fetcher), index)
    assert_within_budget(outcome, len(wheel), requests=expected.most(page))
    errors = expected.errors
    if layout == "directory-before-tail" and row.startswith("206") and row.endswith(("later", "before", "segment")):
        errors = (*errors, BadReply, BadZip)  # two large segments are spent: the whole file would break the budget
    if outcome.error is not None:
        assert isinstance(outcome.error, errors), repr(outcome.error)
    else:
        assert outcome.done.raw == metadata_in(wheel)


@pytest.mark.parametrize("framing", [(), (NoContentLength(),)], ids=["announced", "chunked"])
async def test_206_long_by_megabytes(framing: tuple[Fault, ...]) -> None:
    """It is left as soon as it is seen to be longer than the part it should be."""
    async with (
        serving(wheel_of("tail"), "size-unknown", LongBody(8_000_000), *framing) as index,
        corp(index) as fetcher,
    ):
        outcome = await ask_metadata(fetcher, await find(fetcher), index)
    assert outcome.error is None or isinstance(outcome.error, BadReply)
    # What the buffers of both systems hold has left the server all the same.
    assert outcome.body_bytes < 2_000_000


# --- two rows at once, or one after the other --------------------------------------------------------------------


def _pairs(count: int) -> Iterator[Any]:
    """A sample of all pairs, the same one every time."""
    plain = {row: given.faults for row, given in ROWS.items() if not any(isinstance(one, Only) for one in given.faults)}
    plain |= {"cut": (Cut(90_000, times=1),), "login-page": (Login(),), "redirect": (RedirectChain(1),)}
    random = Random(2)
    for _ in range(count):
        one, other = random.sample(sorted(plain), 2)
        layout, page, together = random.choice([*LAYOUTS]), random.choice([*PAGES]), random.random() < 0.5
        faults = (*plain[one], *plain[other])
        if not together:
            first, second = (Only(fault, times=1) for fault in plain[one]), (Only(fault, 1) for fault in plain[other])
            faults = (*first, *second)
        words = f"{one}-{'and' if together else 'then'}-{other}-{layout}-{page}"
        yield pytest.param(faults, layout, page, id=words)
    lie = (Only(WrongContentRange("missing"), times=1), Only(Cut(90_000), after=1, times=1))
    yield pytest.param(lie, "tail", "size-known", id="206-content-range-missing-then-cut-tail-size-known")


@pytest.mark.parametrize(("faults", "layout", "page"), list(_pairs(100)))
async def test_two_rows(faults: tuple[Fault, ...], layout: str, page: str) -> None:
    wheel = wheel_of(layout)
    async with serving(wheel, page, *faults) as index, corp(index, retries=2) as fetcher:
        outcome = await ask_metadata(fetcher, await find(fetcher), index)
    assert_within_budget(outcome, len(wheel))
    assert outcome.error is not None or outcome.done.raw == metadata_in(wheel)


@pytest.mark.parametrize("page", ["size-known", "size-unknown"])
async def test_another_strong_validator_leads_to_one_whole_get(page: str) -> None:
    """The server does not heed If-Range and answers 206 under another ETag: what is held is of another file."""
    faults = (Only(Stating({"ETag": '"another"'}), after=1),)
    async with serving(wheel_of("far"), page, *faults) as index, corp(index) as fetcher:
        outcome = await ask_metadata(fetcher, await find(fetcher), index)
    assert outcome.statuses == [206, 206, 200]
    assert outcome.ranges[-1] is None
    assert outcome.done.raw == metadata_in(wheel_of("far"))


@pytest.mark.parametrize("page", ["size-known", "size-unknown"])
@pytest.mark.parametrize("etag", ["weak", "absent"])
async def test_a_weak_validator_that_changes_means_nothing(etag: Any, page: str) -> None:
    faults = (Etag(etag), Only(Stating({"ETag": 'W/"another"'}), after=1))
    async with serving(wheel_of("far"), page, *faults) as index, corp(index) as fetcher:
        outcome = await ask_metadata(fetcher, await find(fetcher), index)
    assert outcome.statuses == [206, 206]
    assert outcome.done.raw == metadata_in(wheel_of("far"))


# --- what the wheel is -------------------------------------------------------------------------------------------


WHEELS: dict[str, dict[str, Any]] = {
    **{f"{size}-bytes": {"size": size} for size in (0, 16_384, 65_535, 65_536, 65_537, 131_071, 131_072, 131_073)},
    "largest-comment": {"size": 300_000, "comment": b"x" * 65_535},
    "comment-with-an-end-record": {"size": 300_000, "comment": b"PK\x05\x06" + bytes(18)},
    "large-metadata": {"size": 300_000, "metadata": OLDER + "\n" + "".join(f"{n:x}" for n in range(60_000))},
    "descriptors": {"size": 300_000, "data_descriptor": True},
    "descriptors-metadata-first": {"size": 600_000, "data_descriptor": True, "metadata_first": True},
    "just-outside-the-tail": {"size": 600_000, "distance": 65_400},
    "directory-of-half-a-megabyte": {"many_entries": 6_000},
}
MAY_BE_REFUSED: dict[str, tuple[type[FetcherError], ...]] = {"comment-with-an-end-record": (BadZip,)}


@pages
@pytest.mark.parametrize("answers", ["honest", "200"])
@pytest.mark.parametrize("layout", WHEELS)
async def test_layout(layout: str, answers: str, page: str) -> None:
    wheel = make_wheel(**WHEELS[layout])
    faults = () if answers == "honest" else (IgnoreRanges(),)
    async with serving(wheel, page, *faults) as index, corp(index) as fetcher:
        outcome = await ask_metadata(fetcher, await find(fetcher), index)
    assert_within_budget(outcome, len(wheel), requests=HONEST_REQUESTS if answers == "honest" else 1)
    if outcome.error is not None:
        assert isinstance(outcome.error, MAY_BE_REFUSED.get(layout, ())), repr(outcome.error)
    else:
        assert outcome.done.raw == metadata_in(wheel)


async def test_a_known_small_wheel_is_one_plain_get() -> None:
    async with serving(wheel_of("small"), "size-known") as index, corp(index) as fetcher:
        outcome = await ask_metadata(fetcher, await find(fetcher), index)
    assert outcome.ranges == [None]
    assert (outcome.done.how, outcome.done.verified) == ("whole", True)


@pytest.mark.parametrize(("page", "first"), [("size-known", r"bytes=\d+-\d+"), ("size-unknown", r"bytes=-\d+")])
async def test_the_tail_is_asked_for_in_the_form_that_is_known(page: str, first: str) -> None:
    async with serving(wheel_of("tail"), page) as index, corp(index) as fetcher:
        outcome = await ask_metadata(fetcher, await find(fetcher), index)
    assert len(outcome.wires) == 1
    wire = outcome.wires[0]
    assert re.fullmatch(first, wire.range or "")
    assert wire.headers["Accept-Encoding"] == "identity"
    assert (outcome.done.how, outcome.done.verified) == ("range", True)


async def test_a_small_wheel_that_comes_in_part() -> None:
    async with (
        serving(wheel_of("small"), "size-known", UnaskedPart(20_000)) as index,
        corp(index, retries=1) as fetcher,
    ):
        outcome = await ask_metadata(fetcher, await find(fetcher), index)
    assert isinstance(outcome.error, BadReply | Truncated), repr(outcome.error)
    assert_within_budget(outcome, len(wheel_of("small")))


@layouts
@pages
async def test_an_honest_account_is_exact(layout: str, page: str) -> None:
    async with serving(wheel_of(layout), page) as index, corp(index) as fetcher:
        outcome = await ask_metadata(fetcher, await find(fetcher), index)
    assert outcome.done.bytes == outcome.body_bytes


# --- 200: the stream ---------------------------------------------------------------------------------------------


@pages
async def test_the_stream_stops_at_metadata_and_says_that_nothing_vouches_for_it(page: str) -> None:
    wheel = make_wheel(size=8_000_000, metadata_first=True)
    async with serving(wheel, page, IgnoreRanges()) as index, corp(index) as fetcher:
        outcome = await ask_metadata(fetcher, await find(fetcher), index)
    assert (outcome.requests, outcome.done.how, outcome.done.verified) == (1, "stream", False)
    assert outcome.done.raw == metadata_in(wheel)
    assert outcome.body_bytes < len(wheel) / 2


@pages
async def test_a_stream_read_to_its_end_is_verified_and_kept(page: str) -> None:
    async with serving(wheel_of("tail"), page, IgnoreRanges()) as index, corp(index) as fetcher:
        outcome = await ask_metadata(fetcher, await find(fetcher), index)
    assert (outcome.done.how, outcome.done.verified) == ("stream", True)
    assert outcome.body_bytes == len(wheel_of("tail"))


# --- bytes of two files ------------------------------------------------------------------------------------------


CHANGES: dict[str, tuple[Fault, ...]] = {
    "other-size-and-validator": (),
    "no-validator": (Etag("absent"),),
    "weak-validator": (Etag("weak"),),
    "validator-that-always-differs": (Etag("fresh"),),
}


@pytest.mark.parametrize("page", ["size-known", "size-unknown"])
@layouts
@pytest.mark.parametrize("after", [0, 1, 2])
@pytest.mark.parametrize("change", CHANGES)
async def test_bytes_of_two_builds_are_never_mixed(change: str, after: int, layout: str, page: str) -> None:
    old, new = wheel_of(layout), newer_wheel_of(layout)
    faults = (ChangedFile(new, after=after), *CHANGES[change])
    async with serving(old, page, *faults) as index, corp(index, retries=1) as fetcher:
        outcome = await ask_metadata(fetcher, await find(fetcher), index)
    assert_within_budget(outcome, max(len(old), len(new)))
    if outcome.error is not None:
        assert isinstance(outcome.error, ContentError | TransportError), repr(outcome.error)
    else:
        assert outcome.done.raw in {metadata_in(old), metadata_in(new)}


@pages
@pytest.mark.parametrize("after", [1, 2])
async def test_a_rebuild_of_the_same_size_without_validators_is_never_mixed(after: int, page: str) -> None:
    """Only the checks of the archive itself can tell."""
    same: dict[str, Any] = {"size": 1_000_000, "distance": 600_000, "method": zipfile.ZIP_STORED}
    old = make_wheel(metadata=OLDER, **same)
    new = make_wheel(metadata=OLDER.replace("what it was", "what it IS!"), seed=1, **same)
    assert len(old) == len(new)
    faults = (ChangedFile(new, after=after), Etag("absent"))
    async with serving(old, page, *faults) as index, corp(index, retries=1) as fetcher:
        outcome = await ask_metadata(fetcher, await find(fetcher), index)
    assert_within_budget(outcome, len(old))
    if outcome.error is None:
        assert outcome.done.raw in {metadata_in(old), metadata_in(new)}


@layouts
async def test_another_size_than_the_index_names_is_not_believed(layout: str) -> None:
    """The page's size and hash are those of another build: nothing that comes can be right."""
    built = LAYOUTS[layout]
    new = make_wheel(metadata=NEWER, seed=1, **{**built, "size": built.get("size", 0) + 4_321})
    assert len(new) != len(wheel_of(layout))
    async with serving(wheel_of(layout), "size-known", ChangedFile(new, after=0)) as index, corp(index) as fetcher:
        outcome = await ask_metadata(fetcher, await find(fetcher), index)
    assert_within_budget(outcome, max(len(new), len(wheel_of(layout))))
    if outcome.error is None:  # read by ranges of the size that the index names: the end record cannot be there
        assert outcome.done.raw == metadata_in(wheel_of(layout))
    else:
        assert isinstance(outcome.error, HashMismatch | BadZip | BadReply | Truncated), repr(outcome.error)


@pytest.mark.parametrize("page", ["size-known", "size-unknown"])
@pytest.mark.parametrize("size", [40_000, 300_000])
async def test_a_whole_body_of_the_right_size_and_a_wrong_hash(size: int, page: str) -> None:
    """Nothing but the hash tells: a wheel of the same length, and as good a zip."""
    listed, served = (make_wheel(size=size, method=zipfile.ZIP_STORED, seed=seed) for seed in (1, 2))
    assert len(listed) == len(served)
    faults = (ChangedFile(served, after=0), IgnoreRanges())
    async with serving(listed, page, *faults) as index, corp(index) as fetcher:
        outcome = await ask_metadata(fetcher, await find(fetcher), index)
    assert isinstance(outcome.error, HashMismatch), repr(outcome.value)
    assert_within_budget(outcome, size + 10)


@pages
@layouts
@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no-ranges"])
async def test_a_file_cut_on_the_server_is_one_typed_error(ranges: bool, layout: str, page: str) -> None:
    wheel = wheel_of(layout)
    faults = (TruncatedFile(len(wheel) * 2 // 3), *(() if ranges else (IgnoreRanges(),)))
    async with serving(wheel, page, *faults) as index, corp(index, retries=1) as fetcher:
        outcome = await ask_metadata(fetcher, await find(fetcher), index)
    assert_within_budget(outcome, len(wheel))
    if outcome.error is None:  # METADATA lies before the cut and was read on the way: right, but nothing vouches for it
        assert layout == "first"
        assert (outcome.done.raw, outcome.done.verified) == (metadata_in(wheel), False)
    else:
        assert isinstance(outcome.error, Truncated | BadZip | HashMismatch | BadReply), repr(outcome.error)


# --- what is no wheel --------------------------------------------------------------------------------------------


@pages
@pytest.mark.parametrize("kind", ["json", "xml", "empty", "text"])
@pytest.mark.parametrize("layout", ["small", "tail"])
async def test_another_body_under_200_is_not_a_wheel(kind: Any, layout: str, page: str) -> None:
    async with serving(wheel_of(layout), page, Status(200, body=kind)) as index, corp(index) as fetcher:
        outcome = await ask_metadata(fetcher, await find(fetcher), index)
    assert isinstance(outcome.error, NotAWheel), repr(outcome.error)
    assert outcome.error.kind == {"text": "other"}.get(kind, kind)
    assert outcome.requests <= 2


@pages
@pytest.mark.parametrize(
    ("status", "error"), [(404, NotFound), (410, NotFound), (403, Forbidden), (501, ServerFailed), (402, StatusError)]
)
async def test_a_status_for_everything_is_what_it_says(status: int, error: type[FetcherError], page: str) -> None:
    async with serving(wheel_of("tail"), page, Status(status)) as index, corp(index, retries=1) as fetcher:
        outcome = await ask_metadata(fetcher, await find(fetcher), index)
    assert type(outcome.error) is error
    assert outcome.requests <= 3


@pages
async def test_error_pages_count_as_bytes(page: str) -> None:
    """A page of 200 KB with each refusal: the budget of a 300 KB wheel has no room for many."""
    faults = (SuffixRefused(501, size=200_000), Only(RangesRefused(501, size=200_000), after=1))
    async with serving(wheel_of("tail"), page, *faults) as index, corp(index, retries=1) as fetcher:
        outcome = await ask_metadata(fetcher, await find(fetcher), index)
    assert_within_budget(outcome, len(wheel_of("tail")))


# --- redirects on the way ----------------------------------------------------------------------------------------


@pages
@layouts
async def test_later_segments_go_to_the_url_that_answered(layout: str, page: str) -> None:
    async with serving(wheel_of(layout), page, RedirectChain(1)) as index, corp(index) as fetcher:
        outcome = await ask_metadata(fetcher, await find(fetcher), index)
    assert outcome.done.raw == metadata_in(wheel_of(layout))
    assert outcome.statuses.count(302) == 1
    assert outcome.requests <= 1 + HONEST_REQUESTS


@pages
async def test_a_redirect_loop_is_one_error_without_a_retry(page: str) -> None:
    async with serving(wheel_of("tail"), page, RedirectLoop()) as index, corp(index) as fetcher:
        outcome = await ask_metadata(fetcher, await find(fetcher), index)
    assert isinstance(outcome.error, TooManyRedirects)
    assert outcome.requests <= 11


async def test_ten_redirects_are_followed() -> None:
    async with serving(wheel_of("tail"), "size-unknown", RedirectChain(9)) as index, corp(index) as fetcher:
        outcome = await ask_metadata(fetcher, await find(fetcher), index)
    assert outcome.done.raw == metadata_in(wheel_of("tail"))


# --- what is learned of a host -----------------------------------------------------------------------------------


NAMES = [wheel_filename(name) for name in ("aa", "bb", "cc")]


def serving_three(faults: dict[str, Any], **more: Any) -> FakeIndex:
    wheels = {wheel_filename(name): make_wheel(name, size=400_000) for name in ("aa", "bb", "cc")}
    return FakeIndex(wheels=wheels, faults=faults, **{**PAGES["size-unknown"], **more})


@pytest.mark.parametrize("status", [405, 501])
@pytest.mark.parametrize("page", ["size-known", "size-unknown"])
async def test_a_refusal_of_ranges_is_remembered_for_the_host(page: str, status: int) -> None:
    async with serving_three({"*.whl": RangesRefused(status)}, **PAGES[page]) as index, corp(index) as fetcher:
        first = await ask_metadata(fetcher, await find(fetcher, "aa"), index)
        second = await ask_metadata(fetcher, await find(fetcher, "bb"), index)
    assert status in first.statuses
    assert (second.statuses, second.ranges) == ([200], [None])
    assert second.done.raw == metadata_of(index.wheels[NAMES[1]])


@pytest.mark.parametrize("status", REFUSALS)
async def test_a_refused_suffix_is_remembered_for_the_host(status: int) -> None:
    async with serving_three({"*.whl": SuffixRefused(status)}) as index, corp(index) as fetcher:
        first = await ask_metadata(fetcher, await find(fetcher, "aa"), index)
        second = await ask_metadata(fetcher, await find(fetcher, "bb"), index)
    assert first.done.raw == metadata_of(index.wheels[NAMES[0]])
    assert second.done.raw == metadata_of(index.wheels[NAMES[1]])
    assert status in first.statuses
    assert status not in second.statuses
    assert second.requests == first.requests - 1


async def test_a_refused_suffix_is_remembered_for_its_host_only() -> None:
    other = FakeIndex(wheels={NAME: wheel_of("tail")}, **PAGES["size-unknown"])
    async with (
        serving_three({"*.whl": SuffixRefused(501)}) as index,
        other,
        corp(index) as fetcher,
    ):
        await fetcher.metadata(await find(fetcher, "aa"))
        outcome = await ask_metadata(fetcher, f"{other.files_url}/{NAME}", other)
    assert outcome.done.raw == metadata_in(wheel_of("tail"))
    assert [bool(given and given.startswith("bytes=-")) for given in outcome.ranges] == [True]


@pytest.mark.parametrize(
    "fault",
    [
        RangesRefused(416),
        SuffixRefused(416),
        Status(404),
        IgnoreRanges(),
        ShortBody(10),
        WrongContentRange("missing"),
        Gzip(206),
        MultipartRange(),
        SuffixAsPrefix(),
        Status(503, headers={"Retry-After": "0"}),
        Status(200, body="json"),
    ],
    ids=lambda fault: f"{type(fault).__name__}-{getattr(fault, 'status', getattr(fault, 'code', ''))}",
)
async def test_the_fault_of_one_file_is_not_held_against_its_host(fault: Fault) -> None:
    async with serving_three({f"*/{NAMES[0]}": fault}) as index, corp(index, retries=1) as fetcher:
        await observe(fetcher.metadata(await find(fetcher, "aa")), index)
        outcome = await ask_metadata(fetcher, await find(fetcher, "bb"), index)
    assert outcome.done.how == "range"
    assert outcome.requests == 1
    assert (outcome.ranges[0] or "").startswith("bytes=-")


async def test_a_missing_file_is_not_taken_for_a_host_without_suffixes() -> None:
    """404 to the suffix and to the probe is a real 404."""
    async with serving_three({f"*/{NAMES[0]}": Status(404)}) as index, corp(index) as fetcher:
        missing = await ask_metadata(fetcher, await find(fetcher, "aa"), index)
        await ask_metadata(fetcher, await find(fetcher, "bb"), index)
    assert type(missing.error) is NotFound
    assert missing.requests == 2
    assert [(wire.range or "").startswith("bytes=-") for wire in index.select(NAMES[1])] == [True]


async def test_a_later_206_heals_a_host_that_answered_200() -> None:
    """A CDN that fills its cache: the first wheel came whole, the others by range."""
    async with serving_three({f"*/{NAMES[0]}": FirstWholeThenRanges(1)}) as index, corp(index) as fetcher:
        hows = [(await fetcher.metadata(await find(fetcher, name))).how for name in ("aa", "bb", "cc")]
    assert hows == ["stream", "range", "range"]


async def test_a_206_later_than_a_refusal_heals_the_host() -> None:
    """One wheel is refused in any form; the range of another, asked for before, is answered after that."""
    faults = {f"*/{NAMES[0]}": RangesRefused(501), f"*/{NAMES[1]}": Silence(0.2)}
    async with serving_three(faults) as index, corp(index) as fetcher:
        files = [await find(fetcher, name) for name in ("aa", "bb", "cc")]
        later = asyncio.create_task(fetcher.metadata(files[1]))
        await until(lambda: index.select(NAMES[1]))
        refused = await fetcher.metadata(files[0])
        assert not later.done()
        hows = [refused.how, (await later).how, (await fetcher.metadata(files[2])).how]
    assert hows == ["stream", "range", "range"]


LARGE = {"size": 6_000_000}  # so large that a host known to range is asked for a longer tail


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.startswith("206") and not row.endswith(("later", "before"))]
)
async def test_a_lie_about_a_large_wheel_by_a_host_known_to_range(row: str) -> None:
    wheels = {wheel_filename(name): make_wheel(name, **LARGE) for name in ("aa", "bb")}
    async with FakeIndex(wheels=wheels, faults={f"*/{NAMES[1]}": ROWS[row].faults}) as index, corp(index) as fetcher:
        honest = await ask_metadata(fetcher, await find(fetcher, "aa"), index)
        outcome = await ask_metadata(fetcher, await find(fetcher, "bb"), index)
    assert honest.done.how == "range"
    assert_within_budget(outcome, len(wheels[NAMES[1]]))
    if outcome.error is None:
        assert outcome.done.raw == metadata_of(wheels[NAMES[1]])
    else:
        assert isinstance(outcome.error, BadReply | BadZip), repr(outcome.error)


@pytest.mark.parametrize("page", ["size-known", "size-unknown"])
@pytest.mark.parametrize("end", ["cancelled", "timed-out", "login-page", "refused", "missing", "200"])
async def test_nobody_waits_for_ever_for_the_first_answer_of_a_host(end: str, page: str) -> None:
    """Whatever becomes of the first reader, those who came after it go on."""
    fault = {
        "cancelled": Silence(20),
        "timed-out": Silence(20),
        "login-page": Login(),
        "refused": RangesRefused(501),
        "missing": Status(404),
        "200": IgnoreRanges(),
    }[end]
    wheels = {wheel_filename(name): make_wheel(name, **LARGE) for name in ("aa", "bb", "cc")}
    faults: dict[str, Any] = {f"*/{NAMES[0]}": fault}
    timeout = 0.2 if end == "timed-out" else 30
    async with (
        FakeIndex(wheels=wheels, faults=faults, **PAGES[page]) as index,
        corp(index, retries=0, timeout=timeout) as fetcher,
    ):
        files = [await find(fetcher, name) for name in ("aa", "bb", "cc")]
        first = asyncio.create_task(fetcher.metadata(files[0]))
        await until(lambda: index.select(NAMES[0]))
        others = [asyncio.create_task(fetcher.metadata(file)) for file in files[1:]]
        await asyncio.sleep(0.02)
        if end == "cancelled":
            first.cancel()
        async with asyncio.timeout(5):
            found = [await other for other in others]
        await asyncio.gather(first, return_exceptions=True)
    assert [metadata.raw for metadata in found] == [metadata_of(wheels[name]) for name in NAMES[1:]]


async def test_many_readers_of_a_host_without_suffixes_stay_within_the_budget() -> None:
    names = [f"p{number}" for number in range(16)]
    wheels = {wheel_filename(name): make_wheel(name, size=300_000) for name in names}
    faults: dict[str, Any] = {"*.whl": SuffixRefused(501)}
    async with FakeIndex(wheels=wheels, faults=faults, page_format="html") as index, corp(index) as fetcher:
        files = [await find(fetcher, name) for name in names]
        found = await asyncio.gather(*(fetcher.metadata(file) for file in files))
    assert [metadata.raw for metadata in found] == [metadata_of(wheel) for wheel in wheels.values()]
    assert max(len(index.select(name)) for name in wheels) <= 3
    assert max(metadata.requests for metadata in found) <= 3


# --- what METADATA says ------------------------------------------------------------------------------------------


def _metadata(name: str, version: str) -> str:
    return f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"


WAYS: dict[str, dict[str, Any]] = {
    "range": {},
    "stream": {"faults": {"*.whl": IgnoreRanges()}},
    "sidecar": {"sidecar": "hash"},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("name", "version"), [("evil", "1.0"), ("demo", "1.1"), ("demo", ""), ("", "1.0"), ("demo2", "1.0")]
)
async def test_metadata_of_another_project_or_version(name: str, version: str, way: str) -> None:
    wheel = make_wheel(size=300_000, metadata=_metadata(name, version))
    async with FakeIndex(wheels={NAME: wheel}, **WAYS[way]) as index, corp(index) as fetcher:
        outcome = await ask_metadata(fetcher, await find(fetcher), index)
    assert isinstance(outcome.error, MetadataMismatch | MetadataMissing | BadZip), repr(outcome.value)
    assert_within_budget(outcome, len(wheel))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("file_name", "name", "version"),
    [
        ("demo_pkg-1.0-py3-none-any.whl", "Demo.Pkg", "1.0"),
        ("Demo_Pkg-1.0-py3-none-any.whl", "demo-pkg", "1.0"),
        ("demo_pkg-1.0.0-py3-none-any.whl", "demo-pkg", "1.0"),
        ("demo_pkg-1.0rc1-py3-none-any.whl", "demo_pkg", "1.0.rc1"),
        ("demo_pkg-1.0+local.1-py3-none-any.whl", "demo-pkg", "1.0+local-1"),
        ("demo_pkg-1.0-1_x-py3-none-any.whl", "demo-pkg", "1.0"),
    ],
)
async def test_metadata_of_the_same_project_otherwise_written(
    file_name: str, name: str, version: str, way: str
) -> None:
    dist, stated = file_name.split("-")[:2]
    wheel = make_wheel(dist, stated, size=300_000, metadata=_metadata(name, version))
    async with FakeIndex(wheels={file_name: wheel}, **WAYS[way]) as index, corp(index) as fetcher:
        outcome = await ask_metadata(fetcher, await find(fetcher, "demo-pkg"), index)
    assert outcome.done.raw == metadata_of(wheel)
    assert (outcome.done.name, outcome.done.version) == (name, version)


@pytest.mark.parametrize("way", ["range", "stream"])
async def test_a_zip_without_metadata(way: str) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("demo/__init__.py", Random(3).randbytes(300_000))
    async with FakeIndex(wheels={NAME: buffer.getvalue()}, **WAYS[way]) as index, corp(index) as fetcher:
        outcome = await ask_metadata(fetcher, await find(fetcher), index)
    assert isinstance(outcome.error, MetadataMissing), repr(outcome.error)
    assert outcome.requests <= 2


# --- retries -----------------------------------------------------------------------------------------------------


one_get_or_ranges = pytest.mark.parametrize(("layout", "page"), [("small", "size-known"), ("far", "size-unknown")])
SOON = 0.1  # seconds: what counts as silence here

TRANSIENT: dict[str, tuple[Fault, ...]] = {
    "503-once": (Status(503, times=1),),
    "502-once": (Status(502, times=1),),
    "503-retry-after-0": (Status(503, times=2, headers={"Retry-After": "0"}),),
    "429-retry-after-0": (Status(429, times=2, headers={"Retry-After": "0"}),),
    "429-retry-after-a-past-date": (Status(429, times=2, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),),
    "503-retry-after-nonsense": (Status(503, times=1, headers={"Retry-After": "soon"}),),
    "408-once": (Status(408, times=1),),
    "no-answer": (HangUp(times=1),),
    "body-cut": (Cut(1000, times=1),),
    "body-cut-at-once": (Cut(0, times=1),),
    "body-cut-by-reset": (Cut(1000, times=1, reset=True),),
    "silence": (Silence(20, times=1),),
    "stall": (Stall(1000, 20, times=1),),
}


@one_get_or_ranges
@pytest.mark.parametrize("fault", TRANSIENT)
async def test_retry_then_good(fault: str, layout: str, page: str) -> None:
    wheel = wheel_of(layout)
    async with serving(wheel, page, *TRANSIENT[fault]) as index, corp(index, timeout=SOON) as fetcher:
        outcome = await ask_metadata(fetcher, await find(fetcher), index)
    assert outcome.done.raw == metadata_in(wheel)
    assert_within_budget(outcome, len(wheel))


LASTING: dict[str, tuple[tuple[Fault, ...], tuple[type[FetcherError], ...]]] = {
    "503": ((Status(503, headers={"Retry-After": "0"}),), (ServerFailed,)),
    "429": ((Status(429, headers={"Retry-After": "0"}),), (Throttled,)),
    "no-answer": ((HangUp(),), (Disconnected,)),
    "body-cut": ((Cut(1000),), (Truncated, Disconnected)),
    "body-cut-without-a-length": ((NoContentLength("chunked"), Cut(1000)), (Truncated, Disconnected)),
    "silence": ((Silence(20),), (TimedOut,)),
    "stall": ((Stall(1000, 20),), (TimedOut, Stalled)),
    "slow-drip": ((SlowDrip(2_000),), (Stalled,)),
    "slow-drip-of-the-whole": ((IgnoreRanges(), SlowDrip(2_000)), (Stalled,)),
}


@one_get_or_ranges
@pytest.mark.parametrize("fault", LASTING)
async def test_retries_are_bounded(fault: str, layout: str, page: str) -> None:
    faults, errors = LASTING[fault]
    async with serving(wheel_of(layout), page, *faults) as index, corp(index, timeout=SOON, retries=1) as fetcher:
        outcome = await ask_metadata(fetcher, await find(fetcher), index)
    assert isinstance(outcome.error, errors), repr(outcome.error)
    assert_within_budget(outcome, len(wheel_of(layout)))


@pytest.mark.parametrize("retries", [0, 2, 3, 10])
async def test_a_lasting_503_costs_the_retries_asked_for_within_the_budget(retries: int) -> None:
    fault = Status(503, headers={"Retry-After": "0"})
    async with serving(wheel_of("tail"), "size-known", fault) as index, corp(index, retries=retries) as fetcher:
        outcome = await ask_metadata(fetcher, await find(fetcher), index)
    assert type(outcome.error) is ServerFailed
    assert outcome.requests == min(retries + 1, MOST_REQUESTS)


@pytest.mark.parametrize("status", [501, 505])
async def test_a_lasting_status_is_not_retried(status: int) -> None:
    async with serving(wheel_of("small"), "size-known", Status(status)) as index, corp(index) as fetcher:
        outcome = await ask_metadata(fetcher, await find(fetcher), index)
    assert type(outcome.error) is ServerFailed
    assert outcome.requests == 1


@pytest.mark.parametrize("form", ["seconds", "date"])
@pytest.mark.parametrize("status", [429, 503])
async def test_a_retry_after_longer_than_the_deadline_fails_at_once_and_says_so(status: int, form: str) -> None:
    later = "86400" if form == "seconds" else format_datetime(datetime.now(UTC) + timedelta(days=1), usegmt=True)
    fault = Status(status, headers={"Retry-After": later})
    async with serving(wheel_of("tail"), "size-known", fault) as index, corp(index) as fetcher:
        outcome = await ask_metadata(fetcher, await find(fetcher), index)
    assert isinstance(outcome.error, Throttled)
    assert outcome.error.retry_after == pytest.approx(86400, abs=5)
    assert "86" in str(outcome.error)
    assert outcome.requests == 1


class StoppedClock:
    """A clock that stands still until `go_on`; whoever sleeps by it sleeps so long."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.sleepers: list[float] = []
        self._over = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.sleepers.append(seconds)
        await self._over.wait()

    def go_on(self) -> None:
        self.now += max(self.sleepers)
        self._over.set()


async def test_retry_after_cools_the_host_for_all_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes meanwhile waits too."""
    clock = StoppedClock()
    monkeypatch.setattr("fetcher.transport.transport.monotonic", lambda: clock.now)
    monkeypatch.setattr("fetcher.client.Transport", partial(Transport, sleep=clock.sleep))
    fault = Status(503, times=1, headers={"Retry-After": "30"})
    async with serving_three({f"*/{NAMES[0]}": fault}, **PAGES["size-known"]) as index, corp(index) as fetcher:
        files = [await find(fetcher, name) for name in ("aa", "bb", "cc")]
        tasks = [asyncio.create_task(fetcher.metadata(files[0]))]
        await until(lambda: clock.sleepers)
        before = len(index.log)
        tasks += [asyncio.create_task(fetcher.metadata(file)) for file in files[1:]]
        await until(lambda: len(clock.sleepers) == len(tasks))
        assert len(index.log) == before, "asked a host that wanted to be left alone"
        clock.go_on()
        await asyncio.gather(*tasks)
    assert clock.sleepers == [pytest.approx(30)] * len(tasks)
