"""The end record, the zip64 records and the central directory: every rule of `zipend` has a zip that breaks it."""

import struct

import pytest
from effort import calls_of
from zip_builder import INFO, MARK, Item, build, extra, padding, talk, whole

from fetcher.errors import BadZip
from fetcher.segments import Piece
from fetcher.wheel import zipend
from fetcher.wheel.directory import parse_directory
from fetcher.wheel.records import Malformed
from fetcher.wheel.zipend import LEAST_TAIL, End, NoEnd, find_end

END = b"PK\x05\x06"
PLAIN = build([Item()])


def refused(data: bytes) -> str:
    """The reason, the same from the tail and from the whole file."""
    reasons = set()
    for known in (True, False):
        with pytest.raises(BadZip) as caught:
            talk(data, known=known)
        reasons.add(caught.value.reason)
    (reason,) = reasons
    return reason


def test_a_plain_archive() -> None:
    end = find_end(whole(PLAIN))
    assert isinstance(end, End)
    entry = parse_directory(PLAIN[end.start : end.stop], end).entry(0)
    assert (entry.name, entry.offset, entry.size) == ("demo-1.0.dist-info/METADATA", 0, len(Item().raw))


def test_a_piece_keeps_its_place() -> None:
    data = build([padding(1000), Item()])
    assert find_end(Piece(900, data[900:], len(data))) == find_end(whole(data))


@pytest.mark.parametrize("comment", [b"", b"hello", b"PK\x05", b"x" * 0xFFFF])
@pytest.mark.parametrize("zip64", [None, {}])
def test_the_longest_comment_fits_the_least_tail(comment: bytes, zip64: dict[str, int] | None) -> None:
    data = build([padding(LEAST_TAIL), Item()], comment=comment, zip64=zip64)
    assert talk(data, tail=LEAST_TAIL).metadata.raw == Item().raw


def test_an_empty_archive_has_an_end() -> None:
    assert find_end(whole(END + bytes(18))) == End(0, 0, 0)
    assert parse_directory(b"", End(0, 0, 0)).names == []


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"PK\x03\x04" + bytes(500), "there is no end record in its last 504 bytes"),
        (PLAIN[:-1], "its end record is cut"),
        (PLAIN[:-18], "its end record is cut"),
        (PLAIN[:-22], "there is no end record"),
        (PLAIN + b"\n", "1 bytes follow its end record"),
        (build([Item()], end={"comment": 10}), "its end record is cut"),
        (build([Item()], suffix=b"x" * 500), "500 bytes follow its end record"),
        (build([Item()], suffix=b"x" * 70_000), "there is no end record in its last 65557 bytes"),
        (PLAIN + PLAIN, "the central directory ends"),
        (build([Item()], prefix=b"PK\x03\x04"), "4 bytes stand before its first entry"),
    ],
)
def test_where_the_end_is(data: bytes, reason: str) -> None:
    assert reason in refused(data)


def test_stacked_archives_do_not_add_up() -> None:
    first = build([padding(300)])
    assert refused(first + PLAIN) == f"the central directory ends {len(first)} bytes before the end record"


def hidden_end(comment_rest: bytes, comment_length: int) -> bytes:
    """An end record for the comment of another: it repeats the geometry of PLAIN's."""
    return PLAIN[-22:-2] + struct.pack("<H", comment_length) + comment_rest


@pytest.mark.parametrize(
    ("comment", "reason"),
    [
        (hidden_end(b"", 0), "two end records claim it"),
        (b"hello" + hidden_end(b"more", 4), "two end records claim it"),
        (hidden_end(b"more", 0), "two end records claim it"),
        (b"hello" + END, "two end records claim it"),
        (END * 100, "two end records claim it"),
    ],
)
def test_an_end_record_hidden_in_the_comment(comment: bytes, reason: str) -> None:
    assert reason in refused(build([Item()], comment=comment))


def test_an_earlier_end_record_whose_comment_reaches_the_end() -> None:
    # The last record is plain; the first one, inside an entry, calls all that follows its comment.
    data = build([padding(100), Item(b"demo/x", PLAIN[-22:], 0), Item()])
    at = data.index(END)
    length = len(data) - at - 22
    data = data[: at + 20] + struct.pack("<H", length) + data[at + 22 :]
    assert "two end records claim it" in refused(data)


def test_an_end_record_inside_an_entry_is_only_data() -> None:
    assert talk(build([Item(b"demo/inner.zip", PLAIN, 0), Item()])).metadata.name == "demo"


SEVERAL = "several disks"
ZIP64 = "the zip64 end record"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (build([Item()], end={"disk": 1}), SEVERAL),
        (build([Item()], end={"directory_disk": 1}), SEVERAL),
        (build([Item()], end={"here": 0}), SEVERAL),
        (build([Item()], end={"size": 12}), "ends 61 bytes before the end record"),
        (build([Item()], end={"start": 0}), "bytes before the end record"),
        (build([Item()], end={"start": 5000}), "bytes after the start of the end record"),
        (build([Item()], after_directory=b"x" * 12), "the central directory ends 12 bytes before the end record"),
        (build([Item()], end={"entries": 0, "here": 0}), "73 bytes of the central directory belong to none of its 0"),
        (
            build([Item()], end={"entries": 2, "here": 2}),
            "the end record counts 2 entries, and the central directory has",
        ),
        (build([Item(), padding(9)], end={"entries": 1, "here": 1}), "belong to none of its 1 entries"),
        (build([], prefix=b"PK\x03\x04junk"), "8 bytes stand before its first entry"),
        (build([Item()], end={"entries": 0xFFFF, "here": 0xFFFF}), "the end record counts 65535 entries"),
        (build([Item()], end={"size": MARK, "start": MARK}), "bytes after the start of the end record"),
    ],
)
def test_an_end_record_that_contradicts_the_directory(data: bytes, reason: str) -> None:
    assert reason in refused(data)


def test_a_count_that_fits_in_bytes_and_not_in_entries() -> None:
    items = [Item(INFO + b"x" * 100, b"", 0), Item()]
    reason = refused(build(items, end={"entries": 3, "here": 3}))
    assert reason == "the central directory ends before its entry 2"


def test_zip64_records_that_agree() -> None:
    assert talk(build([Item()], zip64={})).metadata.name == "demo"
    entries = {"here": 1, "entries": 1}
    assert talk(build([Item()], zip64={}, end=entries)).metadata.name == "demo"
    assert talk(build([Item()], zip64={"disks": 0})).metadata.name == "demo"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (build([Item()], zip64={}, end={"here": 2, "entries": 2}), f"{ZIP64} says 1 where the end record says 2"),
        (build([Item()], zip64={}, end={"size": 70}), f"{ZIP64} says 73 where the end record says 70"),
        (build([Item()], zip64={}, end={"start": 0}), "where the end record says 0"),
        (build([Item()], zip64={}, end={"disk": 1}), f"{ZIP64} says 0 where the end record says 1"),
        (build([Item()], zip64={"disk": 1}, end={"disk": 0xFFFF}), SEVERAL),
        (build([Item()], zip64={"here": 2}), SEVERAL),
        (build([Item()], zip64={"locator_disk": 1}), SEVERAL),
        (build([Item()], zip64={"disks": 2}), SEVERAL),
        (build([Item()], zip64={"record": 1}), f"{ZIP64} is not where its locator says"),
        (build([Item()], zip64={"rest": 45}), f"{ZIP64} is damaged or has extensible data"),
        (build([Item()], zip64={}).replace(b"PK\x06\x06", b"PK\x06\x05"), f"{ZIP64} is damaged"),
        (build([Item()], zip64={"start": 500}), "bytes after the start of"),
        (build([Item()], zip64={"size": 1 << 63}), "bytes after the start of"),
        (build([Item()], zip64={"here": 1 << 60, "entries": 1 << 60}), "too large: 1152921504606846976 entries"),
        (build([Item()], zip64={}, after_directory=b"x"), "the central directory ends 1 bytes before"),
    ],
)
def test_zip64_records_that_do_not(data: bytes, reason: str) -> None:
    assert reason in refused(data)


def test_a_locator_with_nothing_before_it() -> None:
    data = b"PK\x06\x07" + bytes(16) + END + bytes(18)
    with pytest.raises(Malformed, match="not where its locator says"):
        find_end(whole(data))


def test_a_locator_signature_in_less_room_than_a_locator() -> None:
    with pytest.raises(Malformed, match="the central directory ends 10 bytes before the end record"):
        find_end(whole(b"PK\x06\x07" + bytes(6) + END + bytes(18)))


def test_a_tail_too_short_to_tell() -> None:
    data = build([Item()], comment=b"x" * 100)
    held = Piece(len(data) - 130, data[-130:], len(data))
    assert find_end(held) == NoEnd("the last 130 bytes are too few to hold its end records")


def test_a_directory_may_not_be_larger_than_we_ask_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipend, "MAX_DIRECTORY", 72)
    assert refused(PLAIN) == "its central directory is too large: 1 entries, 73 bytes"
    monkeypatch.undo()
    monkeypatch.setattr(zipend, "MAX_ENTRIES", 0)
    assert "too large" in refused(PLAIN)


@pytest.mark.parametrize(
    ("central", "reason"),
    [
        ({"signature": b"PK\x01\x03"}, "entry 0 of the central directory has no signature"),
        ({"disk": 1}, SEVERAL),
        ({"flags": 0x0001}, "'demo-1.0.dist-info/METADATA' is encrypted"),
        ({"flags": 0x0041}, "is strongly encrypted"),
        ({"flags": 0x0020}, "is patched data"),
        ({"flags": 0x2000}, "is masked"),
        ({"offset": 7}, "7 bytes stand before its first entry"),
        ({"compressed": 5000}, "overlaps what follows it"),
        ({"size": MARK}, "marks a size as zip64 and does not give it"),
        ({"size": MARK, "extra": extra(1, "I", 3)}, "marks a size as zip64 and does not give it"),
        ({"size": MARK, "extra": extra(1, "Q", 3) * 2}, "marks a size as zip64 and does not give it exactly once"),
        ({"disk": 0xFFFF, "extra": extra(1, "I", 3)}, SEVERAL),
        ({"disk": 1, "size": MARK, "extra": extra(1, "Q", 3)}, SEVERAL),
        ({"extra": b"\x01\x00\x09\x00abc", "size": MARK}, "an extra field is longer than its room"),
    ],
)
def test_an_entry_of_the_directory_that_lies(central: dict[str, object], reason: str) -> None:
    assert reason in refused(build([Item(central=central)]))


def test_the_extra_field_gives_only_what_is_marked() -> None:
    item = Item()
    size, compressed = len(item.raw), len(item.body())
    for central in (
        {"size": MARK, "extra": extra(1, "Q", size)},
        {"compressed": MARK, "extra": extra(0x5455, "BI", 1, 2) + extra(1, "Q", compressed)},
        {"offset": MARK, "extra": extra(1, "Q", 0)},
        {"size": MARK, "compressed": MARK, "offset": MARK, "extra": extra(1, "QQQ", size, compressed, 0)},
        {"disk": 0xFFFF, "offset": MARK, "extra": extra(1, "QI", 0, 0)},
        {"disk": 0xFFFF, "extra": extra(1, "I", 0)},
        {"extra": extra(1, "Q", 12345)},
        {"extra": b"\0\0\0"},
        {"comment": b"an entry's comment"},
    ):
        assert talk(build([Item(central=central)])).metadata.size == size


@pytest.mark.parametrize(
    "name",
    ["demo/\x00x", "demo/a\nb", "a\x7f", "a\x85b", "demo/\u202eyp.exe", "a\u2028b", "x\x1b[31m"],
)
def test_unprintable_names(name: str) -> None:
    item = Item(name.encode(), b"x", 0, flags=0x800)
    assert refused(build([Item(), item])) == f"the name {name!r} has unprintable characters"


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../x",
        "demo/../../x",
        "demo/..",
        "C:/x",
        "c:x",
        "demo\\x",
        "",
        ".",
        "./x",
        "a/./b",
        "a//b",
        "a/.",
        "//x",
    ],
)
def test_unsafe_names(name: str) -> None:
    assert refused(build([Item(), Item(name.encode(), b"x", 0)])) == f"the name {name!r} is no plain relative path"


@pytest.mark.parametrize(
    "name",
    ["demo/", "demo/.hidden", "a..b/c", "...", "ab:c", "demo/nobreak\u00a0space", "データ.txt", ".x/y", "\U0001f600"],
)
def test_odd_but_plain_names(name: str) -> None:
    assert talk(build([Item(), Item(name.encode(), b"", 0, flags=0x800)])).metadata.name == "demo"


def test_a_long_name_is_not_repeated_whole() -> None:
    reason = refused(build([Item(), Item(b"../" + b"x" * 60_000, b"", 0)]))
    assert reason == "the name '../" + "x" * 97 + "'… is no plain relative path"


def test_names_are_unique_as_text_and_as_bytes() -> None:
    once = Item(b"demo/x.py", b"1", 0)
    assert refused(build([Item(), once, once])) == "it has two entries named 'demo/x.py'"
    assert refused(build([Item(), Item()])) == "it has two entries named 'demo-1.0.dist-info/METADATA'"
    utf8, cp437 = "é".encode(), "é".encode("cp437")
    as_text = [Item(utf8, b"", 0, flags=0x800), Item(cp437, b"", 0)]
    assert refused(build([Item(), *as_text])) == "it has two entries named 'é'"
    as_bytes = [Item(utf8, b"", 0, flags=0x800), Item(utf8, b"", 0)]
    assert "it has two entries named" in refused(build([Item(), *as_bytes]))
    upper = [Item(b"demo/X.py", b"", 0), Item(b"demo/x.py", b"", 0)]
    assert talk(build([Item(), *upper])).metadata.name == "demo"


def test_names_that_are_not_what_they_say() -> None:
    assert "is said to be UTF-8 and is not" in refused(build([Item(), Item(b"\xff", b"", 0, flags=0x800)]))
    second = struct.pack("<HHBI", 0x7075, 5 + 5, 1, 0) + b"evil!"
    reason = refused(build([Item(), Item(b"demo/good.py", b"", 0, central={"extra": second})]))
    assert reason == "the entry 'demo/good.py' has a second name in an extra field"
    same = struct.pack("<HHBI", 0x7075, 5 + 12, 1, 0) + b"demo/good.py"
    assert talk(build([Item(), Item(b"demo/good.py", b"", 0, central={"extra": same})])).metadata.name == "demo"


def test_entries_neither_overlap_nor_leave_room() -> None:
    twice = Item(b"demo/again", b"", 0, central={"offset": 0})
    assert "overlaps what follows it" in refused(build([Item(), twice]))
    hidden = Item(b"demo/x", b"", 0, after=b"y" * (0xFFFF + 25))
    assert refused(build([Item(), hidden])) == "after the entry 'demo/x' come 65560 bytes that belong to no entry"


def test_the_work_grows_with_the_entries_only() -> None:
    def calls_for(entries: int) -> int:
        names = [f"tensorflow/include/some/long/path/to/a/header_{n:05d}.h".encode() for n in range(entries)]
        data = build([Item(name, b"", 0) for name in names])
        end = find_end(whole(data))
        assert isinstance(end, End)
        directory = data[end.start : end.stop]
        assert len(parse_directory(directory, end)) == entries
        return calls_of(lambda: parse_directory(directory, end))

    assert calls_for(15_632) < 2.1 * calls_for(7_816)
