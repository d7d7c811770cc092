"""Half-open segments and the two headers that speak of them (RFC 9110 §14)."""

from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from fetcher.segments import ContentRange, Piece, Segment, Suffix, gaps, merge, parse_content_range, range_header

_numbers = st.integers(0, 10**12)


@st.composite
def segments(draw: st.DrawFn) -> Segment:
    start = draw(_numbers)
    return Segment(start, start + draw(st.integers(1, 10**9)))


class TestSegment:
    @pytest.mark.parametrize(("start", "stop"), [(0, 0), (5, 5), (5, 4), (-1, 5), (-5, -1)])
    def test_never_empty(self, start: int, stop: int) -> None:
        with pytest.raises(ValueError, match="no byte lies in"):
            Segment(start, stop)

    @given(segments())
    def test_length(self, segment: Segment) -> None:
        assert len(segment) == segment.stop - segment.start > 0

    @pytest.mark.parametrize(
        ("segment", "total", "expected"),
        [
            (Segment(0, 10), 100, Segment(0, 10)),
            (Segment(0, 10), 10, Segment(0, 10)),
            (Segment(5, 10), 6, Segment(5, 6)),
            (Segment(5, 10), 5, Segment(5, 10)),  # nothing of it is there
            (Segment(5, 10), 0, Segment(5, 10)),
        ],
    )
    def test_within(self, segment: Segment, total: int, expected: Segment) -> None:
        assert segment.within(total) == expected


class TestSuffix:
    @pytest.mark.parametrize("length", [0, -1])
    def test_never_empty(self, length: int) -> None:
        with pytest.raises(ValueError, match="at least one byte"):
            Suffix(length)

    @pytest.mark.parametrize(
        ("length", "total", "expected"),
        [(10, 100, Segment(90, 100)), (100, 100, Segment(0, 100)), (101, 100, Segment(0, 100)), (1, 1, Segment(0, 1))],
    )
    def test_of(self, length: int, total: int, expected: Segment) -> None:
        assert Suffix(length).of(total) == expected
        assert len(Suffix(length)) == length


def test_piece() -> None:
    assert Piece(5, b"abc", 100).stop == 8


class TestRangeHeader:
    @pytest.mark.parametrize(
        ("wanted", "text"),
        [
            # RFC 9110 §14.1.2: the first 500 bytes, the last 500, the first byte
            (Segment(0, 500), "bytes=0-499"),
            (Segment(9500, 10000), "bytes=9500-9999"),
            (Suffix(500), "bytes=-500"),
            (Segment(0, 1), "bytes=0-0"),
            (Segment(10**18, 10**18 + 1), "bytes=1000000000000000000-1000000000000000000"),
        ],
    )
    def test_text(self, wanted: Segment | Suffix, text: str) -> None:
        assert range_header(wanted) == text


class TestContentRange:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("bytes 0-499/1234", ContentRange(Segment(0, 500), 1234)),
            ("bytes 734-1233/1234", ContentRange(Segment(734, 1234), 1234)),
            ("bytes 42-1233/*", ContentRange(Segment(42, 1234), None)),
            ("bytes */1234", ContentRange(None, 1234)),
            ("bytes */0", ContentRange(None, 0)),
            ("BYTES 0-0/1", ContentRange(Segment(0, 1), 1)),
            ("  bytes 0-0/1 ", ContentRange(Segment(0, 1), 1)),
            ("bytes  0-0/1", ContentRange(Segment(0, 1), 1)),
            ("bytes\t0-0/1", ContentRange(Segment(0, 1), 1)),
            ("bytes 007-008/0100", ContentRange(Segment(7, 9), 100)),
        ],
    )
    def test_understood(self, text: str, expected: ContentRange) -> None:
        assert parse_content_range(text) == expected

    @pytest.mark.parametrize(
        "text",
        ["", "bytes", "bytes ", "bytes */*", "bytes 5-4/10", "bytes 0-10/10", "bytes 0-9/5", "bytes 10-10/10",
         "items 0-9/10", "bytes=0-9/10", "bytes 0 - 9/10", "bytes 0-9 /10", "bytes 0-9/ 10", "bytes 0-9", "bytes -9/10",
         "bytes 0-/10", "bytes -1-9/10", "bytes +0-9/10", "bytes 0-9/+10", "bytes 0-9/10, bytes 0-1/10",
         "bytes 0-9/10 x", "bytes 0 to 9 of 10", "0-9/10", "bytes 0.0-9/10", "bytes ０-９/10", "bytes 0-9/1e3",
         "bytes 0-9/" + "9" * 5000, "bytes 0-9\n/10"],
    )  # fmt: skip
    def test_not_understood(self, text: str) -> None:
        assert parse_content_range(text) is None

    @given(segments(), _numbers)
    def test_round_trip(self, segment: Segment, more: int) -> None:
        total = segment.stop + more
        text = range_header(segment).replace("=", " ")
        assert parse_content_range(f"{text}/{total}") == ContentRange(segment, total)
        assert parse_content_range(f"{text}/*") == ContentRange(segment, None)

    @given(st.text() | st.from_regex(r"bytes \d*-\d*/[\d*]+"))
    def test_any_text(self, text: str) -> None:
        told = parse_content_range(text)
        if told is not None and told.segment is not None and told.total is not None:
            assert told.segment.stop <= told.total


class TestHeld:
    def test_what_touches_or_overlaps_is_one(self) -> None:
        held = [Segment(20, 30), Segment(0, 5), Segment(5, 10), Segment(8, 9), Segment(25, 40)]
        assert merge(held) == (Segment(0, 10), Segment(20, 40))

    def test_gaps(self) -> None:
        assert list(gaps([Segment(2, 5), Segment(8, 9)], 12)) == [Segment(0, 2), Segment(5, 8), Segment(9, 12)]
        assert list(gaps([Segment(0, 12)], 12)) == []
        assert list(gaps([], 12)) == [Segment(0, 12)]
        assert list(gaps([Segment(3, 20)], 12)) == [Segment(0, 3)], "held beyond the end"

    @given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20))), st.integers(1, 90))
    def test_what_is_held_and_what_is_missing_are_the_whole(self, spans: list[tuple[int, int]], total: int) -> None:
        said = [Segment(start, start + length) for start, length in spans]
        held = merge(said)
        places = {place for segment in said for place in range(segment.start, segment.stop)}
        assert [place for segment in held for place in range(segment.start, segment.stop)] == sorted(places)
        assert all(before.stop < after.start for before, after in pairwise(held))
        missing = [place for gap in gaps(held, total) for place in range(gap.start, gap.stop)]
        assert missing == [place for place in range(total) if place not in places]
