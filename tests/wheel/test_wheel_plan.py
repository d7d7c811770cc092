"""The talk: what is asked for, and what comes of it."""

import io
import zipfile
import zlib
from itertools import pairwise

import pytest
from hypothesis import given, settings, strategies as st
from zip_builder import INFO, METADATA, NAME, Item, answer, build, metadata_in, padding, talk, whole

from fetcher.errors import BadZip, ContentError, MetadataMismatch, MetadataMissing
from fetcher.segments import Piece, Segment, Suffix
from fetcher.wheel.plan import (
    HEAD,
    UNKNOWN_TAIL,
    NotZip,
    WheelMetadata,
    known_tail,
    plan_metadata,
    walked_metadata,
)
from fetcher.wheel.walk import Found, Walk
from fetcher.wheel.zipend import LEAST_TAIL

KIB = 1024


def test_the_whole_talk_in_five_lines() -> None:
    data = build([padding(200_000), Item()])
    plan = plan_metadata(NAME, None)
    assert next(plan) == Suffix(UNKNOWN_TAIL)
    with pytest.raises(StopIteration) as done:
        plan.send(Piece(len(data) - UNKNOWN_TAIL, data[-UNKNOWN_TAIL:], len(data)))
    offset = 30 + 13 + 200_000
    compressed = len(Item().body())
    assert done.value.value == WheelMetadata(
        METADATA, "demo", "1.0", offset, compressed, len(METADATA), zlib.crc32(METADATA)
    )


@pytest.mark.parametrize(
    ("size", "tail"),
    [(1, 1), (96 * KIB, 96 * KIB), (100 * KIB, 96 * KIB), (5000 * KIB, 125 * KIB), (1 << 40, 256 * KIB)],
)
def test_the_tail_of_a_known_size(size: int, tail: int) -> None:
    assert known_tail(size) == tail
    assert next(plan_metadata(NAME, size)) == Segment(size - tail, size)
    assert known_tail(size) >= min(size, LEAST_TAIL)


@pytest.mark.parametrize(
    ("size", "tail", "first"), [(None, 70_000, Suffix(70_000)), (99, 9, Segment(90, 99)), (9, 99, Segment(0, 9))]
)
def test_a_tail_of_one_s_own(size: int | None, tail: int, first: Segment | Suffix) -> None:
    assert next(plan_metadata(NAME, size, tail)) == first


def many(count: int) -> list[Item]:
    return [padding(0, f"demo/a_module_with_a_rather_long_name_{n:06d}.py".encode()) for n in range(count)]


@pytest.mark.parametrize("known", [True, False])
def test_a_directory_before_the_tail_comes_with_what_stands_before_it(known: bool) -> None:
    data = build([padding(500_000), *many(2000), Item()])
    done = talk(data, known=known)
    tail, rest = done.asked
    assert tail.stop == len(data)
    assert rest.stop == tail.start
    directory = data.index(b"PK\x01\x02")
    assert rest.start == directory - 64 * KIB


@pytest.mark.parametrize("known", [True, False])
def test_an_entry_far_from_everything_is_the_third_segment(known: bool) -> None:
    data = build([Item(), padding(500_000), *many(2000)])
    asked = talk(data, known=known).asked
    assert len(asked) == 3
    assert asked[2] == Segment(0, 30 + len(INFO) + 8 + len(Item().body()))


@pytest.mark.parametrize("missing", range(1, 40))
def test_a_beginning_that_comes_in_two_pieces(missing: int) -> None:
    data = build([Item(), padding(9)])
    assert talk(data, tail=len(data) - missing).metadata.raw == METADATA
    cut = data[:-1]
    with pytest.raises(BadZip, match="its end record is cut"):
        talk(cut, tail=len(cut) - missing)
    page = b"<html>" + b"x" * 100
    with pytest.raises(NotZip) as caught:
        talk(page, tail=len(page) - missing)
    assert (caught.value.kind, caught.value.head) == ("html", page)


def test_an_entry_partly_in_hand_is_completed() -> None:
    item = Item(raw=METADATA, method=0)
    data = build([padding(100_000), item, padding(30_000, b"demo/z")])
    begin = data.index(item.raw) - 30 - len(item.name)
    done = talk(data, tail=len(data) - begin - 100)
    assert done.asked[1] == Segment(begin, begin + 100)
    assert done.metadata.raw == METADATA


@pytest.mark.parametrize("known", [True, False])
def test_a_small_wheel_takes_one_request(known: bool) -> None:
    assert len(talk(build([Item(), padding(50_000)]), known=known).asked) == 1


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"<!doctype html><title>Sign in</title>" + b"x" * 40_000, "html"),
        (b"<!doctype html>" + b"x" * 300_000, "html"),
        (b'{"message": "401"}', "json"),
        (b"<?xml version='1.0'?><Error/>", "xml"),
        (b"\x1f\x8b" + bytes(400_000), "gzip"),
        (b"", "empty"),
        (b"MZ" + build([Item()]), "other"),
    ],
)
def test_what_is_no_zip(data: bytes, kind: str, known: bool) -> None:
    with pytest.raises(NotZip) as caught:
        talk(data, known=known)
    assert (caught.value.kind, caught.value.head) == (kind, data[:HEAD])


def asked_before(data: bytes, error: type[Exception], known: bool) -> list[Segment]:
    plan, asked = plan_metadata(NAME, len(data) if known else None), []
    wanted = next(plan)
    with pytest.raises(error):  # noqa: PT012 - the talk is the statement
        while True:
            piece = answer(data, wanted)
            asked.append(Segment(piece.start, piece.stop))
            wanted = plan.send(piece)
    return asked


@pytest.mark.parametrize("known", [True, False])
def test_the_beginning_is_looked_at_only_if_there_is_no_end(known: bool) -> None:
    page = asked_before(b"<html>" + b"x" * 300_000, NotZip, known)
    assert page[1:] == [Segment(0, HEAD)]
    cut = asked_before(build([padding(300_000), Item()])[:-1], BadZip, known)
    assert cut[1:] == [Segment(0, HEAD)]
    short = asked_before(b"<html>" + b"x" * (UNKNOWN_TAIL - 100), NotZip, False)
    assert short == [Segment(0, UNKNOWN_TAIL - 94)]


def test_a_beginning_shorter_than_a_head() -> None:
    data = b"<html>" + b"x" * (UNKNOWN_TAIL + 4)
    assert asked_before(data, NotZip, False)[1:] == [Segment(0, 10)]


def test_a_tail_that_is_too_short_is_lengthened_once() -> None:
    data = build([padding(200_000), Item()], comment=b"c" * 1000)
    done = talk(data, tail=500)
    assert done.asked == [Segment(len(data) - 500, len(data)), Segment(len(data) - LEAST_TAIL, len(data) - 500)]
    assert done.metadata.raw == METADATA


@pytest.mark.parametrize(
    "piece",
    [Piece(0, b"PK\x03\x04", 200), Piece(90, b"x" * 10, 200), Piece(0, b"x" * 100, 100), Piece(101, b"x" * 99, 200)],
)
def test_a_piece_that_was_not_asked_for(piece: Piece) -> None:
    plan = plan_metadata(NAME, 200, 100)
    next(plan)
    with pytest.raises(ValueError, match="was asked for"):
        plan.send(piece)


def test_a_suffix_that_does_not_reach_the_end() -> None:
    plan = plan_metadata(NAME, None)
    next(plan)
    with pytest.raises(ValueError, match="the end was asked for"):
        plan.send(Piece(0, b"PK\x03\x04", 100))


@pytest.mark.parametrize(
    ("items", "reason"),
    [
        ([], "no dist-info directory is of its name and version (there is none)"),
        ([padding(3)], "(there is none)"),
        ([Item(b"demo-2.0.dist-info/METADATA")], "('demo-2.0.dist-info')"),
        (
            [Item(b"other-1.0.dist-info/METADATA"), Item(b"x/demo-1.0.dist-info/METADATA")],
            "('other-1.0.dist-info')",
        ),
        ([Item(INFO + b"WHEEL")], "'demo-1.0.dist-info' holds no METADATA"),
        ([Item(INFO + b"metadata"), Item(INFO + b"x/METADATA")], "'demo-1.0.dist-info' holds no METADATA"),
        ([Item(raw=b"Name: demo\n")], "it has no Version"),
    ],
)
def test_metadata_that_is_missing(items: list[Item], reason: str) -> None:
    with pytest.raises(MetadataMissing) as caught:
        talk(build(items))
    assert reason in caught.value.reason
    assert caught.value.filename == NAME


def test_metadata_of_another() -> None:
    with pytest.raises(MetadataMismatch, match="it is of project 'other'"):
        talk(build([Item(raw=b"Name: other\nVersion: 1.0\n")]))


def test_two_directories_that_match() -> None:
    for second in (b"Demo-1.0.dist-info/METADATA", b"demo-1.0.0.dist-info/RECORD"):
        with pytest.raises(BadZip, match="it has 2 dist-info directories: "):
            talk(build([Item(), Item(second)]))


def test_directories_that_do_not_match_are_others_concern() -> None:
    others = [Item(b"vendored-1.0.dist-info/METADATA", b"Name: vendored"), Item(b"demo/x-1.dist-info/METADATA", b"")]
    assert talk(build([*others, Item()])).metadata.raw == METADATA


def test_a_name_that_is_no_wheel_s() -> None:
    with pytest.raises(MetadataMissing, match="its name is not that of a wheel"):
        next(plan_metadata("demo.zip", 100))


# ------------------------------------------------------------------------------- what a walk has left over


@pytest.mark.parametrize("descriptor", [None, "sIII"])
@pytest.mark.parametrize("comment", [b"", b"hello"])
def test_a_walk_is_verified_by_what_comes_behind_it(descriptor: str | None, comment: bytes) -> None:
    data = build([padding(100_000), Item(descriptor=descriptor), padding(10, b"demo/z")], comment=comment)
    found = Walk(NAME).feed(data)
    assert isinstance(found, Found)
    held = Piece(found.header_offset, data[found.header_offset :], len(data))
    assert metadata_in(NAME, held) == walked_metadata(NAME, found) == metadata_in(NAME, whole(data))


@pytest.mark.parametrize(
    ("items", "rest"),
    [
        ([Item(), padding(5)], {"comment": b"x" * 50, "suffix": b"y"}),
        ([Item(), padding(5)], {"end": {"start": 0}}),
        ([Item(central={"offset": 43}, local={"name": b"demo-1.0.dist-info/METADATB"}), padding(5)], {}),
    ],
)
def test_a_walk_that_what_comes_behind_contradicts(items: list[Item], rest: dict[str, object]) -> None:
    data = build([padding(100_000), *items], **rest)  # type: ignore[arg-type]
    at = 100_043
    with pytest.raises(BadZip):
        metadata_in(NAME, Piece(at, data[at:], len(data)))


# ------------------------------------------------------------------------------- any wheel, any lie


@st.composite
def wheels(draw: st.DrawFn) -> bytes:
    """A wheel as the standard library writes it: any order, compression, comment, with zip64 records forced or not."""
    names = st.text(st.characters(codec="utf-8", categories=["L", "N"]), min_size=1, max_size=8)
    files = draw(st.dictionaries(names, st.binary(max_size=300), max_size=4))
    entries = {f"demo/{name}": content for name, content in files.items()}
    entries["demo-1.0.dist-info/METADATA"] = METADATA + draw(st.binary(max_size=200))
    buffer = io.BytesIO()
    methods = st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    stream = _Unseekable(buffer) if draw(st.booleans()) else buffer
    with zipfile.ZipFile(stream, "w") as archive:
        # A signature in the comment makes it ambiguous, and has tests of its own; hypothesis knows it from our source.
        archive.comment = draw(st.binary(max_size=50).filter(lambda comment: b"PK\x05\x06" not in comment))
        for name in draw(st.permutations(sorted(entries))):
            info = zipfile.ZipInfo(name)
            info.compress_type = draw(methods)
            with archive.open(info, "w", force_zip64=draw(st.booleans())) as target:
                target.write(entries[name])
    return buffer.getvalue()


class _Unseekable(io.RawIOBase):
    """Makes zipfile write descriptors, as it does to a pipe."""

    def __init__(self, target: io.BytesIO) -> None:
        self._target = target

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        return self._target.write(data)  # type: ignore[arg-type]


def by_zipfile(data: bytes) -> tuple[bytes, zipfile.ZipInfo]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        info = archive.getinfo("demo-1.0.dist-info/METADATA")
        return archive.read(info), info


@settings(max_examples=200, deadline=None)
@given(wheels(), st.booleans(), st.one_of(st.none(), st.integers(1, 2000)))
def test_any_wheel_gives_what_zipfile_gives(data: bytes, known: bool, tail: int | None) -> None:
    raw, info = by_zipfile(data)
    done = talk(data, known=known, tail=tail)
    assert done.metadata.raw == raw
    facts = (info.header_offset, info.compress_size, info.file_size, info.CRC)
    assert (done.metadata.header_offset, done.metadata.compressed, done.metadata.size, done.metadata.crc) == facts
    assert len(done.asked) <= (3 if tail is None else 4)
    assert sum(map(len, done.asked)) <= len(data)
    assert metadata_in(NAME, whole(data)) == done.metadata


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 300_000), st.integers(0, 3000), st.integers(0, 300_000), st.integers(0, 2), st.booleans())
def test_three_requests_and_no_byte_twice(first: int, modules: int, second: int, where: int, known: bool) -> None:
    parts = [[padding(first)], many(modules), [padding(second, b"demo/second")]]
    parts.insert(where, [Item()])
    data = build([item for part in parts for item in part])
    asked = talk(data, known=known).asked
    assert len(asked) <= 3
    taken = sorted(asked, key=lambda segment: segment.start)
    assert all(before.stop <= after.start for before, after in pairwise(taken))


WHEEL = build([padding(30), Item(descriptor="sIII"), padding(30, b"demo/z")], comment=b"made by hand", zip64={})
LEGACY = build([padding(30), Item(), padding(30, b"demo/z")])


def outcome(data: bytes) -> bytes | None:
    """METADATA, or None for a typed error; anything else that is raised fails the test."""
    try:
        return talk(data).metadata.raw
    except (ContentError, NotZip):
        return None


@pytest.mark.parametrize("wheel", [WHEEL, LEGACY])
def test_any_cut_is_noticed(wheel: bytes) -> None:
    for stop in range(len(wheel)):
        assert outcome(wheel[:stop]) is None
        assert outcome(wheel[stop + 1 :]) is None


@pytest.mark.parametrize("wheel", [WHEEL, LEGACY])
def test_any_flipped_bit_gives_the_same_metadata_or_an_error(wheel: bytes) -> None:
    for at in range(len(wheel)):
        for bit in range(8):
            data = bytearray(wheel)
            data[at] ^= 1 << bit
            assert outcome(bytes(data)) in (METADATA, None)


# What may change in the directory and the end records without a word: dates, versions, attributes, the comment.
def test_what_the_plan_does_not_look_at() -> None:
    start = LEGACY.index(b"PK\x01\x02")
    stop = LEGACY.index(b"PK\x01\x02", start + 1)
    deaf = set()
    for at in range(start, stop):
        data = bytearray(LEGACY)
        data[at] ^= 0xFF
        if outcome(bytes(data)) is not None:
            deaf.add(at - start)
    versions, date, crc_of_other, size_of_other = range(4, 8), range(12, 16), range(16, 20), range(24, 28)
    attributes = range(36, 42)
    name_of_other, methods = range(46, 46 + 13), range(10, 12)
    allowed = {*versions, *date, *crc_of_other, *size_of_other, *attributes, *name_of_other, *methods}
    assert deaf <= allowed


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_any_few_changes_give_the_same_metadata_or_an_error(chosen: st.DataObject) -> None:
    wheel = chosen.draw(st.sampled_from([WHEEL, LEGACY]))
    data = bytearray(wheel)
    for _ in range(chosen.draw(st.integers(1, 4))):
        at = chosen.draw(st.integers(0, len(data) - 1))
        old, new = chosen.draw(st.integers(0, 4)), chosen.draw(st.binary(max_size=4))
        data[at : at + old] = new
    assert outcome(bytes(data)) in (METADATA, None)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=60), st.booleans())
def test_random_bytes_are_refused_in_words(head: bytes, tail: bytes, known: bool) -> None:
    for data in (head, b"PK\x03\x04" + head, b"PK\x03\x04" + head + b"PK\x05\x06" + tail):
        with pytest.raises((ContentError, NotZip)) as caught:
            talk(data, known=known)
        assert isinstance(caught.value, NotZip) or str(caught.value)
