"""May the bytes of an earlier attempt be gone on from (behaviour §5)?  Every row of both tables."""

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from fetcher import File
from fetcher.download.resume import (
    Append,
    Complete,
    FromStart,
    Origin,
    Refuse,
    Rest,
    Restart,
    decide_answer,
    decide_request,
    dump_origin,
    held_of,
    origin_of,
    parse_origin,
    usable,
)
from fetcher.segments import Segment
from fetcher.transport.reply import Expired, Reply

URL = "https://host/files/demo-1.0-py3-none-any.whl"
SHA256, OTHER_SHA256 = "a" * 64, "b" * 64
DIGEST = f"sha256:{SHA256}"
ETAG = '"v1"'
TOTAL = 1000
REST = Segment(400, TOTAL)


def file_at(url: str = URL, *, sha256: str | None = SHA256, size: int | None = TOTAL) -> File:
    return File("demo-1.0-py3-none-any.whl", url, hashes={"sha256": sha256} if sha256 else {}, size=size)


def origin(**facts: Any) -> Origin:
    """A part of the file at `URL`, whose digest the index named."""
    return Origin(**{"source": origin_of(file_at()).source, "digest": DIGEST, "total": TOTAL, **facts})


def tagged(**facts: Any) -> Origin:
    """A part of the file at `URL`, of which only the server's strong ETag is known."""
    return origin(**{"digest": None, "etag": ETAG, **facts})


def holding(held: int) -> tuple[Segment, ...]:
    """So many bytes from the start."""
    return (Segment(0, held),) if held > 0 else ()


NAMED = file_at()  # with digest and size
SIZED = file_at(sha256=None)
BARE = file_at(sha256=None, size=None)


# --- what is asked for -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("held", "of", "file", "expected"),
    [
        pytest.param(400, origin(), NAMED, Rest(REST), id="the digest decides in the end"),
        pytest.param(400, origin(), file_at(size=None), Rest(REST), id="the index tells no size"),
        pytest.param(400, origin(etag=ETAG), NAMED, Rest(REST), id="with a digest no If-Range"),
        pytest.param(999, origin(), NAMED, Rest(Segment(999, TOTAL)), id="one byte is missing"),
        pytest.param(1, origin(), NAMED, Rest(Segment(1, TOTAL)), id="one byte is here"),
        pytest.param(400, tagged(), SIZED, Rest(REST, ETAG), id="a strong validator, by If-Range"),
        pytest.param(400, tagged(), BARE, Rest(REST, ETAG), id="a strong validator and nothing else"),
        pytest.param(
            400, origin(), file_at("https://mirror/x.whl"), Rest(REST), id="another URL, the digest is the same"
        ),
        pytest.param(400, origin(), file_at(f"{URL}?sig=2"), Rest(REST), id="another query, the digest is the same"),
        pytest.param(
            400, tagged(), file_at(f"{URL}?sig=2", sha256=None), Rest(REST, ETAG), id="the query may be a signature"
        ),
        pytest.param(
            400, tagged(), file_at(URL.replace("host", "user:pass@host"), sha256=None), Rest(REST, ETAG), id="userinfo"
        ),
        pytest.param(TOTAL, origin(), NAMED, Complete(), id="all of it"),
        pytest.param(TOTAL, origin(), file_at(size=None), Complete(), id="all of it, of no known size"),
        pytest.param(
            TOTAL, tagged(), SIZED, Rest(Segment(999, TOTAL), ETAG), id="all of it, which only the server can vouch for"
        ),
    ],
)
def test_gone_on_from(held: int, of: Origin, file: File, expected: Rest | Complete) -> None:
    assert decide_request(holding(held), of, file) == expected


@pytest.mark.parametrize(
    ("held", "of", "file"),
    [
        pytest.param(0, None, NAMED, id="nothing is held"),
        pytest.param(0, origin(), NAMED, id="not a byte is held"),
        pytest.param(-1, origin(), NAMED, id="less than nothing"),
        pytest.param(400, None, NAMED, id="garbage beside it"),
        pytest.param(400, origin(digest=f"sha256:{OTHER_SHA256}"), NAMED, id="another digest"),
        pytest.param(400, origin(digest=f"sha512:{SHA256}"), NAMED, id="a digest of another algorithm"),
        pytest.param(400, origin(digest=SHA256), NAMED, id="a digest without an algorithm"),
        pytest.param(400, origin(total=999), NAMED, id="another size"),
        pytest.param(400, tagged(total=999), SIZED, id="another size, with a validator"),
        pytest.param(1001, origin(), NAMED, id="more than all of it"),
        pytest.param(1001, tagged(), SIZED, id="more than all of it, with a validator"),
        pytest.param(400, origin(total=None), file_at(size=None), id="no total"),
        pytest.param(400, tagged(total=None), BARE, id="no total, with a validator"),
        pytest.param(400, origin(total=0), file_at(size=None), id="a total of nothing"),
        pytest.param(400, origin(total=-1), file_at(size=None), id="a total below nothing"),
        pytest.param(400, tagged(etag=None), SIZED, id="neither digest nor validator"),
        pytest.param(400, tagged(etag='W/"v1"'), SIZED, id="a weak validator"),
        pytest.param(400, tagged(etag=""), SIZED, id="an empty validator"),
        pytest.param(400, tagged(), file_at("https://host/b.whl", sha256=None), id="another path"),
        pytest.param(400, tagged(), file_at(URL.replace("host", "mirror"), sha256=None), id="another host"),
        pytest.param(400, tagged(), file_at(URL.replace("https", "http"), sha256=None), id="another scheme"),
        pytest.param(400, tagged(source=""), SIZED, id="no source"),
        pytest.param(400, tagged(), NAMED, id="a digest is known by now"),
        pytest.param(400, origin(), SIZED, id="a digest is no longer known"),
        pytest.param(TOTAL, tagged(etag=None), SIZED, id="all of it, that nobody can vouch for"),
    ],
)
def test_from_the_start(held: int, of: Origin | None, file: File) -> None:
    assert decide_request(holding(held), of, file) == FromStart()


@given(
    st.integers(-1, 2000),
    st.builds(
        origin,
        digest=st.sampled_from([None, DIGEST]),
        etag=st.sampled_from([None, ETAG]),
        total=st.none() | st.integers(-2, 2000),
    ),
    st.sampled_from([NAMED, file_at(size=None), SIZED, BARE]),
)
def test_only_what_is_missing_is_asked_for(held: int, of: Origin, file: File) -> None:
    match decide_request(holding(held), of, file):
        case Rest(segment, if_range):
            assert segment.stop == of.total
            assert segment.start == (held if of.digest or held < segment.stop else held - 1)
            assert if_range == (None if of.digest else of.etag)
        case Complete():
            assert held == of.total
            assert of.digest is not None
        case FromStart():
            pass


# --- parts with gaps ---------------------------------------------------------------------------------------------

GAPPED = (Segment(0, 100), Segment(300, 500))


def test_the_first_gap_is_asked_for() -> None:
    assert decide_request(GAPPED, origin(), NAMED) == Rest(Segment(100, 300))
    assert decide_request(GAPPED, tagged(), SIZED) == Rest(Segment(100, 300), ETAG)
    assert decide_request((Segment(300, 500),), origin(), NAMED) == Rest(Segment(0, 300))


@pytest.mark.parametrize(
    ("size", "said", "held"),
    [
        (400, None, (Segment(0, 400),)),
        (0, None, ()),
        (500, ((0, 100), (300, 500)), GAPPED),
        (600, ((0, 100), (300, 500)), GAPPED),
        (500, (), ()),
        pytest.param(499, ((0, 100), (300, 500)), (), id="beyond the end of the part"),
        pytest.param(500, ((0, 100), (100, 200)), (), id="in pieces that touch"),
        pytest.param(500, ((300, 500), (0, 100)), (), id="in disorder"),
        pytest.param(500, ((0, 0),), (), id="nothing"),
        pytest.param(500, ((-5, 100),), (), id="before the start"),
        pytest.param(500, ((100, 50),), (), id="backwards"),
        pytest.param(500, tuple((2 * n, 2 * n + 1) for n in range(65)), (Segment(0, 1),), id="more than anybody wrote"),
        pytest.param(500, tuple((2 * n + 1, 2 * n + 2) for n in range(65)), (), id="many, without the first"),
    ],
)
def test_what_a_part_holds(size: int, said: tuple[tuple[int, int], ...] | None, held: tuple[Segment, ...]) -> None:
    assert held_of(size, origin(held=said)) == held


def test_without_an_origin_a_part_holds_nothing() -> None:
    assert held_of(400, None) == ()


SDIST = File("demo-1.0.tar.gz", URL)


@pytest.mark.parametrize(
    ("held", "of", "file", "expected"),
    [
        pytest.param(GAPPED, origin(), NAMED, GAPPED, id="by digest"),
        pytest.param(GAPPED, tagged(), SIZED, GAPPED, id="by validator"),
        pytest.param(GAPPED, origin(digest=f"sha256:{OTHER_SHA256}"), NAMED, (), id="of another file"),
        pytest.param(GAPPED, None, NAMED, (), id="of nobody knows what"),
        pytest.param(holding(TOTAL), origin(), NAMED, holding(TOTAL), id="all of it"),
        pytest.param(holding(TOTAL), tagged(), SIZED, holding(TOTAL - 1), id="all of it, whose last byte is asked for"),
        pytest.param(GAPPED, tagged(), SDIST, (), id="an sdist, in which nothing tells a lost byte"),
    ],
)
def test_what_another_run_can_use(
    held: tuple[Segment, ...], of: Origin | None, file: File, expected: tuple[Segment, ...]
) -> None:
    assert usable(held, of, file) == expected


def test_one_byte_that_only_the_server_can_vouch_for() -> None:
    assert usable((Segment(0, 1),), tagged(total=1), file_at(sha256=None, size=1)) == ()


def test_an_expired_signature() -> None:
    """Only of a URL that a redirect led to: from the file's own it is what it says."""
    answer = decide_answer(Reply(URL, 403), Rest(REST), origin(), redirected=True)
    assert answer == Expired()
    assert isinstance(decide_answer(Reply(URL, 416), Rest(REST), origin(), redirected=True), Refuse)


# --- what the answer means ---------------------------------------------------------------------------------------

RIGHT = "bytes 400-999/1000"


def reply(status: int = 206, content_range: str | None = RIGHT, **facts: Any) -> Reply:
    return Reply(URL, status, content_range=content_range, **facts)


BY_DIGEST = pytest.param(Rest(REST), origin(etag=ETAG), id="digest")
BY_ETAG = pytest.param(Rest(REST, ETAG), tagged(), id="etag")
either = pytest.mark.parametrize(("asked", "of"), [BY_DIGEST, BY_ETAG])


@either
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(reply(etag=ETAG), id="of the same validator"),
        pytest.param(reply(etag=ETAG, content_length=600), id="and its length"),
        pytest.param(reply(etag=ETAG, content_type="text/html"), id="Content-Type is not believed"),
    ],
)
def test_the_rest_is_appended(asked: Rest, of: Origin, answer: Reply) -> None:
    assert decide_answer(answer, asked, of) == Append()


@pytest.mark.parametrize("etag", [None, "", 'W/"v1"', 'W/"v2"'])
def test_a_part_that_does_not_say_of_which_version(etag: str | None) -> None:
    """With a digest that is no matter; without one bytes of two versions might be joined."""
    assert decide_answer(reply(etag=etag), Rest(REST), origin(etag=ETAG)) == Append()
    assert isinstance(decide_answer(reply(etag=etag), Rest(REST, ETAG), tagged()), Refuse)


@either
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(reply(200, None), id="200"),
        pytest.param(reply(200, None, etag='"v2"'), id="200 of another version, as If-Range brings it"),
        pytest.param(reply(200, None, content_length=1234), id="200 of another size"),
        pytest.param(reply(200, None, content_encoding="gzip"), id="200, encoded"),
        pytest.param(reply(203, None), id="203"),
        pytest.param(reply(206, "bytes 0-999/1000", content_length=TOTAL), id="206 of all of it"),
    ],
)
def test_the_whole_is_begun_anew(asked: Rest, of: Origin, answer: Reply) -> None:
    assert decide_answer(answer, asked, of) == Restart()


@either
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(reply(206, "bytes 400-998/1000"), id="short"),
        pytest.param(reply(206, "bytes 399-999/1000"), id="long"),
        pytest.param(reply(206, "bytes 401-999/1000"), id="shifted to the right"),
        pytest.param(reply(206, "bytes 399-998/1000"), id="shifted to the left"),
        pytest.param(reply(206, "bytes 0-599/1000"), id="the beginning"),
        pytest.param(reply(206, "bytes 400-1000/1001"), id="another total, to its end"),
        pytest.param(reply(206, "bytes 400-999/1001"), id="another total"),
        pytest.param(reply(206, "bytes 400-998/999"), id="a smaller total"),
        pytest.param(reply(206, "bytes 400-999/*"), id="no total"),
        pytest.param(reply(206, None), id="no Content-Range"),
        pytest.param(reply(206, "items 400-999/1000"), id="another unit"),
        pytest.param(reply(content_length=599), id="Content-Length is less"),
        pytest.param(reply(content_length=601), id="Content-Length is more"),
        pytest.param(reply(206, None, content_type="multipart/byteranges; boundary=x"), id="multipart"),
        pytest.param(reply(content_encoding="gzip"), id="encoded"),
        pytest.param(reply(200), id="a part under 200"),
        pytest.param(reply(416, "bytes */1000"), id="416"),
        pytest.param(reply(416, None), id="416 without the size"),
        pytest.param(reply(400, None), id="400"),
        pytest.param(reply(405, None), id="405"),
        pytest.param(reply(501, None), id="501"),
    ],
)
def test_what_cannot_be_right_is_refused(asked: Rest, of: Origin, answer: Reply) -> None:
    decided = decide_answer(answer, asked, of)
    assert isinstance(decided, Refuse)
    assert decided.reason


def test_another_validator_is_another_file_unless_a_digest_decides() -> None:
    """A CDN may have a validator at every edge."""
    changed = reply(etag='"v2"')
    assert isinstance(decide_answer(changed, Rest(REST, ETAG), tagged()), Refuse)
    assert decide_answer(changed, Rest(REST), origin(etag=ETAG)) == Append()


# --- what is known of a part -------------------------------------------------------------------------------------


def test_of_the_index_and_the_reply() -> None:
    source = hashlib.sha256(URL.encode()).hexdigest()
    told = reply(200, None, content_length=TOTAL, etag=ETAG)
    assert origin_of(NAMED) == Origin(source, digest=DIGEST, total=TOTAL)
    assert origin_of(NAMED, told) == Origin(source, digest=DIGEST, total=TOTAL, etag=ETAG)
    assert origin_of(BARE, told) == Origin(source, total=TOTAL, etag=ETAG)
    assert origin_of(BARE) == Origin(source)


def test_the_strongest_digest_counts_in_any_case() -> None:
    hashes = {"md5": "c" * 32, "sha256": SHA256.upper()}
    assert origin_of(File("demo.whl", URL, hashes=hashes)).digest == DIGEST


@pytest.mark.parametrize("etag", [None, "", 'W/"v1"', "v1"])
def test_only_a_strong_validator_is_kept(etag: str | None) -> None:
    assert origin_of(BARE, reply(200, None, content_length=TOTAL, etag=etag)).etag is None


def test_a_validator_that_is_no_text_can_be_written_down() -> None:
    """Bytes that are not UTF-8 come as lone surrogates (PEP 383); RFC 9110 §8.8.3 allows them in a validator."""
    of = origin_of(BARE, reply(200, None, content_length=TOTAL, etag='"v\udcff"'))
    assert parse_origin(dump_origin(of)) == of


def test_an_encoded_body_has_neither_length_nor_validator() -> None:
    """Both are those of the encoded form, and the part is decoded."""
    told = reply(200, None, content_length=700, etag=ETAG, content_encoding="gzip")
    assert origin_of(BARE, told) == origin_of(BARE)
    assert origin_of(SIZED, told).total == TOTAL


def test_no_secret_is_written_down() -> None:
    signed = "https://user:S3CR3T@host/demo.whl?X-Amz-Signature=S3CR3T"
    assert origin_of(File("demo.whl", signed)) == origin_of(File("demo.whl", "https://host/demo.whl"))
    assert b"S3CR3T" not in dump_origin(origin_of(File("demo.whl", signed)))


@pytest.mark.parametrize(
    ("of", "can"),
    [
        (origin(), True),
        (tagged(), True),
        (origin(total=None), False),
        (origin(total=0), False),
        (tagged(etag=None), False),
        (tagged(total=None), False),
    ],
)
def test_what_can_ever_be_gone_on_from(of: Origin, can: bool) -> None:
    assert of.can_be_resumed is can


texts = st.text(st.characters(exclude_categories=["Cs"]))


@given(
    st.builds(
        Origin,
        source=texts,
        digest=st.none() | texts,
        total=st.none() | st.integers(0, 2**63 - 1),
        etag=st.none() | st.text("abc/-.", min_size=1).map('"{}"'.format),
    )
)
def test_what_is_written_is_read(of: Origin) -> None:
    assert parse_origin(dump_origin(of)) == of


GOOD = json.loads(dump_origin(origin(etag=ETAG)))


def written(**facts: Any) -> bytes:
    return json.dumps({**GOOD, **facts}).encode()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\0" * 200, id="zeros, as after a power failure"),
        pytest.param(b"garbage", id="garbage"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"{}", id="an empty object"),
        pytest.param(written()[:-1], id="cut off"),
        pytest.param(written() + written(), id="twice"),
        pytest.param(written() + b"\xff", id="not UTF-8 behind it"),
        pytest.param(b'{"source": "\xff\xfe"}', id="not UTF-8"),
        pytest.param(written().decode().encode("utf-16"), id="UTF-16"),
        pytest.param(written(version=3), id="a later version"),
        pytest.param(written(version=1), id="an earlier version"),
        pytest.param(written(version="2"), id="a version that is a text"),
        pytest.param(written(version=None), id="no version"),
        pytest.param(written(more=1), id="an unknown field"),
        pytest.param(written(source=None), id="no source"),
        pytest.param(written(source=1), id="a source that is a number"),
        pytest.param(written(digest=1), id="a digest that is a number"),
        pytest.param(written(total="1000"), id="a total that is a text"),
        pytest.param(written(total=1.5), id="a total that is a fraction"),
        pytest.param(written(total=True), id="a total that is true"),
        pytest.param(written(total=[1000]), id="a total that is a list"),
        pytest.param(written(etag=1), id="a validator that is a number"),
        pytest.param(written(etag={"v": 1}), id="a validator that is an object"),
        pytest.param(b'{"source": "a", "total": ' + b"9" * 5000 + b"}", id="a total of 5000 digits"),
        pytest.param(b"[" * 60_000, id="nested deeply"),
        pytest.param(b'{"source":' * 6_000, id="objects nested deeply"),
        pytest.param(b'{"source": "a", "more": ' + b"[" * 30_000 + b"]" * 30_000 + b"}", id="nested below"),
    ],
)
def test_what_cannot_be_read_is_no_part(text: bytes) -> None:
    assert parse_origin(text) is None


@pytest.mark.parametrize("etag", ['W/"v1"', "v1", "", '"v1"\r\nEvil: 1', '"v\n1"', '"v\x00"', '"v\x7f"'])
def test_what_is_no_strong_validator_is_never_sent(etag: str) -> None:
    """Whoever wrote it there: it becomes a header."""
    of = parse_origin(written(digest=None, etag=etag))
    assert decide_request(holding(400), of, BARE) == FromStart()


@given(st.binary(max_size=300) | st.text().map(str.encode))
def test_any_bytes_can_be_looked_at(text: bytes) -> None:
    of = parse_origin(text)
    assert of is None or isinstance(of, Origin)


values = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=4)


@given(st.dictionaries(st.sampled_from(["source", "digest", "total", "etag", "version"]), values))
def test_any_fields_lead_to_a_decision(fields: dict[str, Any]) -> None:
    of = parse_origin(json.dumps({**GOOD, **fields}).encode())
    for file in (NAMED, BARE):
        decided = decide_request(holding(400), of, file)
        assert decided == FromStart() or of is not None
