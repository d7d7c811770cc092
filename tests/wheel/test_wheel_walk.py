"""Local headers as they stream by, in chunks of any size."""

import zlib

import pytest
from effort import calls_of
from hypothesis import given, settings, strategies as st
from zip_builder import INFO, MARK, METADATA, NAME, Item, build, deflate, extra, padding, talk

from fetcher.errors import MetadataMissing
from fetcher.wheel import walk as walking
from fetcher.wheel.inflate import MAX_METADATA
from fetcher.wheel.plan import walked_metadata
from fetcher.wheel.walk import AtDirectory, CannotWalk, Found, NeedMore, Verdict, Walk

DESCRIPTORS = ["III", "sIII", "IQQ", "sIQQ"]


def walk(data: bytes, step: int = 1 << 30) -> Verdict:
    walker = Walk(NAME)
    verdict: Verdict = NeedMore()
    for at in range(0, len(data), step):
        verdict = walker.feed(data[at : at + step])
    return verdict


def found_in(data: bytes) -> Found:
    verdict = walk(data)
    assert isinstance(verdict, Found)
    assert walk(data, 1) == verdict
    return verdict


def stuck_at(data: bytes) -> CannotWalk:
    verdict = walk(data)
    assert isinstance(verdict, CannotWalk)
    assert walk(data, 1) == verdict
    return verdict


@pytest.mark.parametrize("before", [[], [padding(0)], [padding(5000)], [Item(b"demo/x.py", b"x" * 500), padding(7)]])
@pytest.mark.parametrize("metadata", [Item(), Item(method=0)])
def test_metadata_wherever_it_stands(before: list[Item], metadata: Item) -> None:
    data = build([*before, metadata, Item(INFO + b"RECORD")])
    found = found_in(data)
    planned = talk(data).metadata
    assert walked_metadata(NAME, found) == planned
    assert data[found.stop :].startswith(b"PK\x03\x04")
    assert data[found.header_offset : found.stop].endswith(metadata.body())


@pytest.mark.parametrize("layout", DESCRIPTORS)
@pytest.mark.parametrize("raw", [b"", b"x", b"hello" * 50_000])
def test_entries_with_descriptors_are_inflated_to_their_end(layout: str, raw: bytes) -> None:
    before = [Item(b"demo/a", raw, descriptor=layout), Item(b"demo/b", raw, 0), Item(b"demo/c", raw, descriptor=layout)]
    data = build([*before, Item(descriptor=layout), padding(3)])
    found = found_in(data)
    assert walked_metadata(NAME, found) == talk(data).metadata
    assert data[found.stop :].startswith(b"PK\x03\x04")
    assert (found.raw, found.crc, found.size) == (METADATA, zlib.crc32(METADATA), len(METADATA))


@pytest.mark.parametrize("layout", DESCRIPTORS)
def test_a_descriptor_before_the_directory(layout: str) -> None:
    data = build([Item(descriptor=layout)])
    assert data[found_in(data).stop :].startswith(b"PK\x01\x02")


def test_a_header_of_zip64_sizes() -> None:
    item = padding(900)
    item.local = {"size": MARK, "compressed": MARK, "extra": extra(0x5455, "BI", 1, 2) + extra(1, "QQ", 900, 900)}
    assert found_in(build([item, Item()])).raw == METADATA


def test_a_descriptor_announced_with_zip64_sizes() -> None:
    item = Item(b"demo/a", descriptor="sIQQ", local={"size": MARK, "compressed": MARK, "extra": extra(1, "QQ", 0, 0)})
    assert found_in(build([item, Item()])).raw == METADATA


@pytest.mark.parametrize("data", [build([padding(10)]), build([]), build([], zip64={}), build([padding(0)], zip64={})])
def test_the_directory_without_metadata_before_it(data: bytes) -> None:
    verdict = walk(data)
    assert isinstance(verdict, AtDirectory)
    assert data[verdict.offset : verdict.offset + 4] in (b"PK\x01\x02", b"PK\x06\x06", b"PK\x05\x06")
    assert walk(data, 1) == verdict


@pytest.mark.parametrize(
    "name",
    [b"demo-1.0.dist-info/METADATA.txt", b"demo-2.0.dist-info/METADATA", b"x/demo-1.0.dist-info/METADATA", b"METADATA"],
)
def test_names_that_are_not_the_metadata(name: bytes) -> None:
    assert isinstance(walk(build([Item(name)])), AtDirectory)


def test_a_name_in_other_letters_is_the_metadata() -> None:
    assert found_in(build([Item(b"Demo-1.0.0.dist-info/METADATA")])).raw == METADATA


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (Item(b"demo/a", method=0, descriptor="sIII"), "the sizes of an entry of method 0 stand behind it"),
        (Item(b"demo/a", data=b"?", method=9, descriptor="sIII"), "the sizes of an entry of method 9 stand behind it"),
        (Item(b"demo/a", flags=1), "the entry 'demo/a' is encrypted"),
        (Item(b"demo/a", flags=0x20), "is patched data"),
        (Item(b"demo/a", local={"signature": b"PK\x06\x08"}), "the unknown signature b'PK\\x06\\x08' stands where"),
        (Item(b"demo/a", after=b"junk"), "the unknown signature b'junk'"),
        (Item(b"demo/a", data=b"\xff\xff\xff\xff", descriptor="sIII"), "an entry is damaged: "),
        (Item(b"demo/a", flags=8), "no descriptor follows an entry that promises one"),
        (Item(b"demo/a", descriptor="sIII", after=b"junk"), "no descriptor follows"),
        (Item(b"demo/a", local={"size": MARK}), "a local header marks only one"),
        (Item(b"\xff", flags=0x800), "is said to be UTF-8 and is not"),
        (Item(local={"crc": 1}), "the CRC of METADATA is wrong"),
        (Item(local={"size": 1}), "METADATA inflates to more than the 1 bytes it states"),
        (Item(method=99), "METADATA is compressed by method 99"),
        (Item(local={"compressed": MAX_METADATA + 1}), f"METADATA has {MAX_METADATA + 1} bytes, more than"),
        (Item(local={"size": MAX_METADATA + 1}), f"METADATA has {MAX_METADATA + 1} bytes, more than"),
    ],
)
def test_where_a_walk_ends(item: Item, reason: str) -> None:
    data = build([padding(50), item, padding(50)])
    verdict = stuck_at(data)
    assert reason in verdict.reason
    assert verdict.offset in (len(build([padding(50)])) - 22 - 46 - 13, data.find(b"junk"))


def test_a_descriptor_with_the_wrong_crc_of_metadata() -> None:
    data = build([Item(descriptor="sIII"), padding(1)])
    at = data.index(b"PK\x07\x08") + 4
    assert stuck_at(data[:at] + bytes(4) + data[at + 4 :]).reason == "the CRC of METADATA is wrong"


def test_no_zip_at_all() -> None:
    assert stuck_at(b"<html>") == CannotWalk(0, "the unknown signature b'<htm' stands where an entry should")


def test_a_verdict_stays() -> None:
    walker = Walk(NAME)
    assert walker.feed(b"") == NeedMore()
    verdict = walker.feed(b"junk")
    assert walker.feed(build([Item()])) is verdict


def test_a_body_that_ends_early_still_needs_more() -> None:
    data = build([padding(100), Item()])
    stop = found_in(data).stop
    for cut in range(stop):
        assert walk(data[:cut]) == NeedMore()


def test_a_name_that_is_no_wheel_s() -> None:
    with pytest.raises(MetadataMissing):
        Walk("demo-1.0.txt")


def test_what_is_thrown_away_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    large = Item(b"demo/a", bytes(600_000), descriptor="sIII")
    data = build([large, Item(b"demo/b", bytes(600_000), descriptor="sIII"), Item()])
    assert found_in(data).raw == METADATA
    monkeypatch.setattr(walking, "_MAX_INFLATED", 1_000_000)
    assert stuck_at(data).reason == "an entry inflates to more than we are ready to take"
    monkeypatch.undo()
    monkeypatch.setattr(walking, "MAX_METADATA", 100)
    assert stuck_at(build([Item(descriptor="sIII")])).reason == "an entry inflates to more than we are ready to take"


def test_entries_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    data = build([padding(0, b"a"), padding(0, b"b"), Item()])
    monkeypatch.setattr(walking, "MAX_ENTRIES", 2)
    assert stuck_at(data).reason == "it has more than 2 entries"
    monkeypatch.setattr(walking, "MAX_ENTRIES", 3)
    assert found_in(data).raw == METADATA


def test_large_entries_are_passed_by_counting() -> None:
    walker = Walk(NAME)
    size = 1 << 40
    header = padding(0)
    header.local = {"size": MARK, "compressed": MARK, "extra": extra(1, "QQ", size, size)}
    walker.feed(build([header])[: 30 + 13 + 20])
    chunk = Unread(1 << 20)
    for _ in range(10_000):  # 10 GiB
        assert walker.feed(chunk) == NeedMore()
    assert walker._offset == 63 + 10_000 * (1 << 20)


class Unread(bytes):
    """Bytes that have a length, and fail the test if anything else of them is asked for."""

    def __getitem__(self, key: object) -> bytes:  # type: ignore[override]
        raise AssertionError("it was looked at")

    __iter__ = __contains__ = __add__ = __bytes__ = __getitem__  # type: ignore[assignment]


@pytest.mark.parametrize("step", [1, 1 << 30], ids=["one-byte", "all"])
def test_the_work_grows_with_the_bytes_only(step: int) -> None:
    """However they are cut; a name, an inflated entry and METADATA are read on the way."""

    def wheel(thousands: int) -> bytes:
        raw = bytes(range(250)) * 4 * thousands
        # Stored, in effect: deflate could not shrink it.
        item = Item(b"demo/" + b"n" * 1000 * thousands, raw, data=deflate(raw, 0), descriptor="sIII")
        return build([item, Item(raw=METADATA + raw, method=0)])

    short, long = wheel(20), wheel(40)
    assert isinstance(walk(long, step), Found)
    assert calls_of(lambda: walk(long, step)) < 2.1 * calls_of(lambda: walk(short, step))


@st.composite
def items(draw: st.DrawFn) -> Item:
    name = b"demo/" + draw(st.text("abcdef", min_size=1, max_size=6)).encode()
    descriptor = draw(st.sampled_from([None, None, *DESCRIPTORS]))
    method = 8 if descriptor else draw(st.sampled_from([0, 8]))
    return Item(name, draw(st.binary(max_size=200)), method, descriptor=descriptor)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(items(), max_size=5, unique_by=lambda item: item.name),
    st.integers(0, 5),
    st.sampled_from([None, *DESCRIPTORS]),
    st.lists(st.integers(0, 90), min_size=1, max_size=10).filter(any),
)
def test_any_chunks_of_any_wheel_give_what_the_plan_gives(
    others: list[Item], place: int, descriptor: str | None, steps: list[int]
) -> None:
    data = build([*others[:place], Item(descriptor=descriptor), *others[place:]])
    walker = Walk(NAME)
    verdict: Verdict = NeedMore()
    at = 0
    while at < len(data) and verdict == NeedMore():
        step = steps[0]
        steps = [*steps[1:], step]
        verdict = walker.feed(data[at : at + step])
        at += step
    assert isinstance(verdict, Found)
    assert walked_metadata(NAME, verdict) == talk(data).metadata
    assert data[verdict.stop : verdict.stop + 2] == b"PK"


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=120), st.integers(0, 400), st.booleans())
def test_nothing_makes_a_walk_raise(noise: bytes, at: int, insert: bool) -> None:
    data = build([Item(b"demo/a", descriptor="sIII"), Item(), padding(4)])
    data = data[:at] + noise + data[at + (0 if insert else len(noise)) :]
    verdict = walk(data, 7)
    assert isinstance(verdict, NeedMore | Found | AtDirectory | CannotWalk)
    if isinstance(verdict, Found):
        assert zlib.crc32(verdict.raw) == verdict.crc
