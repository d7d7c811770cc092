"""The facts of one response, and every row of the reaction table."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, strategies as st
from multidict import CIMultiDict

from fetcher.errors import Disconnected, ServerFailed, StatusError, Throttled
from fetcher.segments import Segment, Suffix
from fetcher.transport.reply import (
    PROBE_REFUSALS,
    RANGE_REFUSALS,
    SUFFIX_REFUSALS,
    Expired,
    Partial,
    Reaction,
    Refused,
    Reply,
    Unsatisfiable,
    Untrusted,
    Whole,
    decide_reaction,
    decide_whole,
)
from fetcher.transport.retry import GiveUp, RetryPolicy, decide_retry

URL = "https://host/demo.whl"
TAIL = Segment(900, 1000)
MIDDLE = Segment(100, 200)
SUFFIX = Suffix(100)


def reply(status: int = 206, content_range: str | None = None, **facts: Any) -> Reply:
    return Reply(URL, status, content_range=content_range, **facts)


def react(answer: Reply, wanted: Segment | Suffix = TAIL, **known: Any) -> Reaction:
    refusals = known.pop("refusals", SUFFIX_REFUSALS if isinstance(wanted, Suffix) else RANGE_REFUSALS)
    return decide_reaction(answer, wanted, refusals=refusals, **known)


RIGHT = "bytes 900-999/1000"


class TestRightPart:
    @pytest.mark.parametrize(
        ("wanted", "answer", "known"),
        [
            pytest.param(TAIL, reply(206, RIGHT), {}, id="an absolute segment"),
            pytest.param(SUFFIX, reply(206, RIGHT), {}, id="a suffix"),
            pytest.param(TAIL, reply(206, RIGHT, content_length=100), {}, id="Content-Length agrees"),
            pytest.param(TAIL, reply(206, RIGHT), {"total": 1000}, id="the total is as before"),
            pytest.param(TAIL, reply(206, RIGHT, etag='"a"'), {"etag": '"a"'}, id="the validator is as before"),
            pytest.param(TAIL, reply(206, RIGHT), {"etag": '"a"'}, id="no validator this time"),
            pytest.param(TAIL, reply(206, RIGHT, etag='W/"b"'), {"etag": '"a"'}, id="a weak validator says nothing"),
            pytest.param(TAIL, reply(206, RIGHT, content_type="text/html"), {}, id="Content-Type is not believed"),
            pytest.param(Segment(900, 2000), reply(206, RIGHT), {}, id="what the file has of it"),
        ],
    )
    def test_partial(self, wanted: Segment | Suffix, answer: Reply, known: dict[str, Any]) -> None:
        assert react(answer, wanted, **known) == Partial(Segment(900, 1000), 1000)

    def test_suffix_longer_than_the_file(self) -> None:
        answer = reply(206, "bytes 0-49/50", content_length=50)
        assert react(answer, SUFFIX) in (Partial(Segment(0, 50), 50), Whole())


class TestWholeBody:
    @pytest.mark.parametrize("wanted", [TAIL, MIDDLE, SUFFIX])
    @pytest.mark.parametrize(
        "answer",
        [
            pytest.param(reply(200), id="200"),
            pytest.param(reply(200, content_length=1000), id="200 with a length"),
            pytest.param(reply(200, etag='"other"'), id="200 of another version, as If-Range brings it"),
            pytest.param(reply(200, content_encoding="gzip"), id="200 encoded"),
            pytest.param(reply(200, "bytes 0-999/1000"), id="200 with the Content-Range of the whole"),
        ],
    )
    def test_whole(self, wanted: Segment | Suffix, answer: Reply) -> None:
        assert react(answer, wanted, total=1000, etag='"a"') == Whole()

    @pytest.mark.parametrize(
        "content_range",
        [RIGHT, "bytes 0-99/1000", "bytes 0-999/*", "bytes */1000", "bytes 0-998/1000", "items 0-999/1000", "x", ""],
    )
    def test_200_with_a_part(self, content_range: str) -> None:
        """rclone answers so; whatever the header is, a body that may be a part is never the file."""
        assert isinstance(react(reply(200, content_range)), Untrusted)
        assert isinstance(decide_whole(reply(200, content_range)), Untrusted)

    @pytest.mark.parametrize(
        ("answer", "expected"),
        [
            (reply(200), Whole),
            (reply(203), Whole),
            (reply(200, "bytes 0-999/1000"), Whole),
            (reply(206), Untrusted),
            (reply(206, RIGHT), Untrusted),
        ],
    )
    def test_unasked(self, answer: Reply, expected: type) -> None:
        assert isinstance(decide_whole(answer), expected)


class TestLies:
    @pytest.mark.parametrize(
        ("content_range", "facts", "known"),
        [
            pytest.param("bytes 900-989/1000", {}, {}, id="short"),
            pytest.param("bytes 890-999/1000", {}, {}, id="long"),
            pytest.param("bytes 899-998/1000", {}, {}, id="shifted to the left"),
            pytest.param("bytes 901-999/1000", {}, {}, id="shifted to the right"),
            pytest.param("bytes 0-99/1000", {}, {}, id="a suffix read as a prefix"),
            pytest.param(None, {}, {}, id="without Content-Range"),
            pytest.param("", {}, {}, id="with an empty Content-Range"),
            pytest.param("bytes 900-999/*", {}, {}, id="without the total"),
            pytest.param("bytes */1000", {}, {}, id="without the part"),
            pytest.param("bytes 900 to 999 of 1000", {}, {}, id="malformed"),
            pytest.param("items 900-999/1000", {}, {}, id="another unit"),
            pytest.param("bytes 900-1000/1000", {}, {}, id="past the end"),
            pytest.param(RIGHT, {"content_length": 99}, {}, id="Content-Length is less"),
            pytest.param(RIGHT, {"content_length": 101}, {}, id="Content-Length is more"),
            pytest.param(RIGHT, {"content_length": 0}, {}, id="Content-Length is nothing"),
            pytest.param(RIGHT, {"content_encoding": "gzip"}, {}, id="compressed"),
            pytest.param(RIGHT, {"content_encoding": "br, gzip"}, {}, id="compressed twice"),
            pytest.param(RIGHT, {"content_type": "multipart/byteranges; boundary=x"}, {}, id="multipart"),
            pytest.param(RIGHT, {}, {"total": 999}, id="another total than before"),
            pytest.param(RIGHT, {"etag": '"b"'}, {"etag": '"a"'}, id="another strong validator than before"),
        ],
    )
    @pytest.mark.parametrize("wanted", [TAIL, SUFFIX])
    def test_untrusted(
        self, wanted: Segment | Suffix, content_range: str | None, facts: dict[str, Any], known: dict[str, Any]
    ) -> None:
        reaction = react(reply(206, content_range, **facts), wanted, **known)
        assert isinstance(reaction, Untrusted)
        assert reaction.reason

    def test_all_of_it_where_a_part_was_asked_for(self) -> None:
        """Used as the whole file or not at all, never as the part."""
        answer = reply(206, "bytes 0-999/1000", content_length=1000)
        assert not isinstance(react(answer, MIDDLE), Partial)
        assert isinstance(react(reply(206, "bytes 0-999/1000", content_length=10), MIDDLE), Untrusted)
        assert isinstance(react(answer, MIDDLE, total=2000), Untrusted)


class TestUnsatisfiable:
    @pytest.mark.parametrize(
        ("content_range", "total"),
        [("bytes */1234", 1234), (None, None), ("", None), ("bytes 0-9/10", None), ("x", None), ("bytes */0", 0)],
    )
    @pytest.mark.parametrize("wanted", [TAIL, SUFFIX])
    def test_416(self, wanted: Segment | Suffix, content_range: str | None, total: int | None) -> None:
        assert react(reply(416, content_range), wanted) == Unsatisfiable(total)
        assert react(reply(416, content_range), wanted, redirected=True) == Unsatisfiable(total)


class TestRefusal:
    @pytest.mark.parametrize("status", [400, 403, 404, 405, 500, 501])
    def test_suffix(self, status: int) -> None:
        assert react(reply(status), SUFFIX) == Refused(status)

    @pytest.mark.parametrize("status", [400, 405, 501])
    def test_segment(self, status: int) -> None:
        assert react(reply(status), TAIL) == Refused(status)

    def test_a_404_to_a_probe_is_a_real_404(self) -> None:
        assert PROBE_REFUSALS.isdisjoint({401, 403, 404, 410})
        assert SUFFIX_REFUSALS.isdisjoint({401, 410})

    @pytest.mark.parametrize("refusals", [RANGE_REFUSALS, SUFFIX_REFUSALS, PROBE_REFUSALS])
    def test_refusals_and_retries_do_not_overlap(self, refusals: frozenset[int]) -> None:
        """A refusal is handled by whoever asked; of those that could be, none but Google's 500 would be retried."""
        policy = RetryPolicy()

        def error_of(status: int) -> StatusError:
            kind = Throttled if status in (408, 429) else ServerFailed if status >= 500 else StatusError
            return kind(URL, status)

        retried = {
            status
            for status in range(400, 600)
            if not isinstance(decide_retry(error_of(status), attempt=1, policy=policy, chance=0), GiveUp)
        }
        assert {408, 429, 502, 503, 504} <= retried
        assert refusals & retried <= {500}
        assert not isinstance(decide_retry(Disconnected(URL), attempt=1, policy=policy, chance=0), GiveUp)


class TestExpired:
    @pytest.mark.parametrize("status", [401, 403])
    @pytest.mark.parametrize("wanted", [TAIL, SUFFIX])
    def test_after_a_redirect(self, wanted: Segment | Suffix, status: int) -> None:
        assert react(reply(status), wanted, redirected=True) == Expired()

    def test_from_the_original_url(self) -> None:
        assert react(reply(403), SUFFIX) == Refused(403)

    @pytest.mark.parametrize("status", [200, 206, 400, 404, 416])
    def test_other_statuses(self, status: int) -> None:
        assert react(reply(status, RIGHT if status == 206 else None), TAIL, redirected=True) != Expired()


# ------------------------------------------------------------------------------------------------- no bytes are mixed


_ranges = st.one_of(
    st.none(),
    st.text(max_size=20),
    st.builds("bytes {}-{}/{}".format, st.integers(0, 30), st.integers(0, 30), st.integers(0, 30) | st.just("*")),
)


@given(
    st.sampled_from([200, 206]),
    _ranges,
    st.none() | st.integers(0, 30),
    st.sampled_from([None, '"a"', '"b"', 'W/"a"']),
    st.sampled_from(["", "gzip"]),
    st.sampled_from([Segment(0, 10), Segment(5, 10), Segment(9, 25), Suffix(1), Suffix(10), Suffix(25)]),
    st.none() | st.integers(1, 30),
    st.sampled_from([None, '"a"']),
)
def test_a_part_is_what_was_asked_for(
    status: int,
    content_range: str | None,
    length: int | None,
    etag: str | None,
    encoding: str,
    wanted: Segment | Suffix,
    total: int | None,
    known_etag: str | None,
) -> None:
    answer = reply(status, content_range, content_length=length, etag=etag, content_encoding=encoding)
    reaction = react(answer, wanted, total=total, etag=known_etag)
    if isinstance(reaction, Partial):
        assert (status, encoding) == (206, "")
        assert reaction.segment == (
            wanted.of(reaction.total) if isinstance(wanted, Suffix) else wanted.within(reaction.total)
        )
        assert length in (None, len(reaction.segment))
        assert total in (None, reaction.total)
        assert known_etag is None or etag in (None, known_etag) or etag.startswith("W/")
    if isinstance(reaction, Whole) and content_range is not None:
        assert content_range.startswith("bytes 0-")


# ---------------------------------------------------------------------------------------------------------------- facts


def of(**headers: str) -> Reply:
    return Reply.of(URL, 200, CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()}))


class TestFacts:
    def test_none(self) -> None:
        assert of() == Reply(URL, 200)

    def test_all(self) -> None:
        answer = of(
            CONTENT_TYPE=" Text/HTML; Charset=UTF-8 ",
            content_length="12",
            Content_Range="bytes 0-11/12",
            Content_Encoding=" GZIP ",
            ETag='"a"',
            Retry_After="7",
        )
        assert answer.content_type == "text/html; charset=utf-8"
        assert answer.charset == "utf-8"
        assert (answer.content_length, answer.body_size) == (12, None)
        assert (answer.content_range, answer.content_encoding) == ("bytes 0-11/12", "gzip")
        assert (answer.etag, answer.strong_etag, answer.retry_after) == ('"a"', '"a"', "7")

    @pytest.mark.parametrize(
        ("text", "length"),
        [("0", 0), ("12", 12), ("", None), ("-1", None), ("+1", None), ("1.5", None), ("0x10", None), ("1, 1", None),
         ("١٢", None), ("1_000", None), ("x", None), ("²", None), ("9" * 5000, None)],
    )  # fmt: skip
    def test_content_length(self, text: str, length: int | None) -> None:
        assert of(Content_Length=text).content_length == length

    @pytest.mark.parametrize("encoding", ["identity", "Identity", ""])
    def test_identity_is_no_encoding(self, encoding: str) -> None:
        assert of(Content_Encoding=encoding, Content_Length="5").body_size == 5

    @pytest.mark.parametrize(
        ("etag", "strong"),
        [('"a"', '"a"'), ('""', '""'), ('W/"a"', None), ('w/"a"', None), ("a", None), ("", None), (None, None)],
    )
    def test_strong_etag(self, etag: str | None, strong: str | None) -> None:
        assert reply(etag=etag).strong_etag == strong

    @pytest.mark.parametrize(
        ("content_type", "charset"),
        [
            ("text/html", None),
            ("text/html; charset=utf-8", "utf-8"),
            ("text/html;charset=ISO-8859-1", "iso-8859-1"),
            ('text/html; charset="utf-8"', "utf-8"),
            ("text/html; x=y; charset = utf-8", "utf-8"),
            ("text/html; charset=", None),
            ("text/html; xcharset=utf-8", None),
        ],
    )
    def test_charset(self, content_type: str, charset: str | None) -> None:
        assert of(Content_Type=content_type).charset == charset


NOW = datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            # RFC 9110 §10.2.3: seconds, or one of the three forms of a date (§5.6.7)
            ("120", 120.0),
            ("0", 0.0),
            (" 7 ", 7.0),
            ("Sun, 06 Nov 1994 08:50:37 GMT", 60.0),
            ("Sunday, 06-Nov-94 08:50:37 GMT", 60.0),
            ("Sun Nov  6 08:50:37 1994", 60.0),
            # dates as servers write them besides
            ("Sun, 06 Nov 1994 08:50:37 -0000", 60.0),
            ("Sun, 06 Nov 1994 09:50:37 +0100", 60.0),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 0.0),
            ("Sun, 06 Nov 1994 08:00:00 GMT", 0.0),  # already past
            ("Mon, 07 Nov 1994 08:49:37 GMT", 86400.0),
            # nothing that can be read
            (None, None),
            ("", None),
            ("soon", None),
            ("-5", None),
            ("1.5", None),
            ("٣", None),
            ("Sun, 99 Nov 1994 08:50:37 GMT", None),
            ("Sun, 06 Nov 1994", None),
            ("Sun, 06 Nov 1994 08:50:37 +99999999999999", None),
            ("Sun, 06 Nov 99999 08:50:37 GMT", None),
        ],
    )
    def test_read(self, text: str | None, seconds: float | None) -> None:
        assert reply(503, retry_after=text).retry_after_seconds(NOW) == seconds

    def test_absurdly_long(self) -> None:
        seconds = reply(503, retry_after="9" * 400).retry_after_seconds(NOW)
        assert seconds is None or seconds > 1e9

    _words = st.sampled_from(["Sun,", "6", "06-Nov-94", "Nov", "1994", "08:50:37", "GMT", "+0100", "99999", "-1", "x"])

    @given(st.text() | st.lists(_words).map(" ".join) | st.from_regex(r"\w{3}, \d+ Nov \d+ \d+:\d+:\d+ [+-]?\w+"))
    def test_any_text(self, text: str) -> None:
        seconds = reply(503, retry_after=text).retry_after_seconds(NOW)
        assert seconds is None or seconds >= 0
