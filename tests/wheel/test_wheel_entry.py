"""One entry: its local header, its data in every compression there is, its descriptor."""

import bz2
import io
import sys
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from zip_builder import INFO, MARK, METADATA, Item, build, deflate, extra, metadata_in, padding, talk, whole

from fetcher.errors import BadZip
from fetcher.wheel import inflate as inflating
from fetcher.wheel.directory import Entry
from fetcher.wheel.entry import read_entry
from fetcher.wheel.inflate import MAX_METADATA, inflate
from fetcher.wheel.plan import walked_metadata
from fetcher.wheel.records import Malformed
from fetcher.wheel.walk import Found, Walk


def refused(item: Item) -> str:
    with pytest.raises(BadZip) as caught:
        talk(build([item, padding(10)]))
    return caught.value.reason


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (Item(local={"name": b"demo-1.0.dist-info/METADATB"}), "has another name, b'demo-1.0.dist-info/METADATB'"),
        (Item(local={"name": b"demo", "extra": b"x" * 30}), "has another name, b'demo'"),
        (Item(local={"name": b"demo"}), "overlaps what follows it"),
        (
            Item(local={"method": 0}),
            "the method of 'demo-1.0.dist-info/METADATA' is 0 in its local header, 8 in the directory",
        ),
        (Item(local={"flags": 0x800}), "the flag word of 'demo-1.0.dist-info/METADATA' is 2048 in its local header"),
        (Item(local={"flags": 8}), "the flag word of"),
        (Item(local={"crc": 1}), "the CRC of 'demo-1.0.dist-info/METADATA' is 1 in its local header"),
        (Item(local={"crc": 0}), "the CRC of"),
        (Item(local={"size": 1}), "size of"),
        (Item(local={"compressed": 1}), "the compressed size of"),
        (Item(central={"crc": 1}, local={"crc": 1}), "the CRC of 'demo-1.0.dist-info/METADATA' is wrong"),
        (Item(after=b"hidden"), "after the entry 'demo-1.0.dist-info/METADATA' come 6 bytes that belong to no entry"),
        (Item(local={"size": MARK}), "a local header marks only one of its two sizes as zip64"),
        (Item(local={"size": MARK, "compressed": MARK}), "marks a size as zip64 and does not give it exactly once"),
        (Item(local={"extra": extra(0x7075, "BII", 1, 0, 7)}), "has a second name in an extra field"),
        (Item(local={"extra": b"\x01\0\xff\xff"}), "an extra field is longer than its room"),
    ],
)
def test_a_local_header_that_lies(item: Item, reason: str) -> None:
    assert reason in refused(item)


def test_an_extra_field_longer_than_the_gap() -> None:
    data = bytearray(build([Item(), padding(10)]))
    data[28:30] = (40_000).to_bytes(2, "little")  # the length of the first local header's extra field
    with pytest.raises(BadZip, match="overlaps what follows it"):
        talk(bytes(data))


def test_no_local_header_at_all() -> None:
    with pytest.raises(BadZip, match="no local header stands where the central directory says one does"):
        talk(build([padding(10), Item(local={"signature": b"PK\x03\x05"})]))


def test_a_cut_entry() -> None:
    with pytest.raises(Malformed, match="is cut"):
        read_entry(Entry("x", 0, 0, 0, 0, 0, 0, b"x"), b"PK\x03\x04")


def test_sizes_in_the_zip64_field_of_the_local_header() -> None:
    item = Item()
    item.local = {"size": MARK, "compressed": MARK, "extra": extra(1, "QQ", len(item.raw), len(item.body()))}
    assert talk(build([item])).metadata.raw == METADATA


@pytest.mark.parametrize("layout", ["III", "sIII", "IQQ", "sIQQ"])
@pytest.mark.parametrize("local", [{}, {"size": len(METADATA)}])
def test_a_descriptor(layout: str, local: dict[str, int]) -> None:
    assert talk(build([Item(descriptor=layout, local=local), padding(9)])).metadata.raw == METADATA


@pytest.mark.parametrize(
    "item",
    [
        Item(flags=8),
        Item(flags=8, after=bytes(12)),
        Item(flags=8, after=bytes(13)),
        Item(descriptor="III", after=b"x"),
        Item(flags=8, after=b"PK\x07\x09" + bytes(12)),
    ],
)
def test_a_descriptor_that_lies(item: Item) -> None:
    assert "the descriptor of 'demo-1.0.dist-info/METADATA' is missing or contradicts" in refused(item)


def test_a_local_size_that_is_neither_zero_nor_right() -> None:
    assert "size of" in refused(Item(descriptor="sIII", local={"size": 7}))


# -------------------------------------------------------------------------------------------------------- compressions


def zipped(method: int) -> Item:
    """METADATA as the standard library's zipfile compresses it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("x", METADATA)
        info = archive.infolist()[0]
    data = buffer.getvalue()[30 + 1 :][: info.compress_size]
    return Item(method=method, flags=info.flag_bits, data=data)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_zipfile_writes(method: int) -> None:
    item = zipped(method)
    assert talk(build([item])).metadata.raw == METADATA
    assert inflate(method, item.flags, item.body(), len(METADATA)) == METADATA


def test_lzma_without_an_end_marker() -> None:
    # The stream of `7z a -t7z -m0=LZMA:d=64k -mhc=off`, behind the properties as a zip has them (5.8.8).
    stream = (
        "1a0205005d00100000"
        "0026994a862301a60271fc8bc5a8791c59001b0ee5b1176acba45fdd3eae75ebcccc208babad24f4e29eb316bc477d8a2aaec9ca63c0"
    )
    raw = b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n\nhello hello hello hello hello\n"
    assert inflate(14, 0, bytes.fromhex(stream), len(raw)) == raw


def test_a_real_deflate64_wheel() -> None:
    """The wheel in `data` was made with 7-Zip, out of its four unpacked files:

    7zz a -tzip -mm=Deflate64 -mtc=off demo64-1.0-py3-none-any.whl demo64/__init__.py demo64-1.0.dist-info/METADATA \
        demo64-1.0.dist-info/WHEEL demo64-1.0.dist-info/RECORD
    """
    name = "demo64-1.0-py3-none-any.whl"
    data = (Path(__file__).parent / "data" / name).read_bytes()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        info = archive.getinfo("demo64-1.0.dist-info/METADATA")
    assert info.compress_type == 9
    metadata = metadata_in(name, whole(data))
    # More than a window of deflate, with matches that reach further back.
    assert (len(metadata.raw), zlib.crc32(metadata.raw)) == (info.file_size, info.CRC) == (99768, info.CRC)
    assert metadata.raw.endswith(b"longer matches than deflate; 638401 squared.\n")
    found = Walk(name).feed(data)
    assert isinstance(found, Found)
    assert walked_metadata(name, found) == metadata


def deflate64_bomb(matches: int) -> bytes:
    """A Deflate64 stream by hand: one zero, then `matches` copies of 65,538 bytes each, 18 bits apiece."""
    bits = "1" + "10" + f"{0x30:08b}"  # last block, fixed codes (low bit first), literal 0
    bits += ("11000101" + "1" * 16 + "00000") * matches  # length code 285 with all ones in its 16 bits, distance 1
    bits += "0000000"
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[at : at + 8][::-1], 2) for at in range(0, len(bits), 8))


def test_a_deflate64_bomb_is_not_expanded() -> None:
    bomb = deflate64_bomb(3)
    assert inflate(9, 0, bomb, 1 + 3 * 65538) == bytes(1 + 3 * 65538)
    large = deflate64_bomb(100_000)  # 362 KB that would make 6.5 GB
    with pytest.raises(Malformed, match="more than the 5 bytes it states"):
        inflate(9, 0, large, 5)


@pytest.mark.parametrize("method", [8, 9, 12, 14])
def test_other_bombs_are_not_expanded(method: int) -> None:
    raw = bytes(5_000_000)
    data = {8: deflate(raw), 9: deflate64_bomb(100), 12: bz2.compress(raw), 14: zipped(14).body()}[method]
    with pytest.raises(Malformed, match="more than the 3 bytes it states"):
        inflate(method, 2, data, 3)


@pytest.mark.parametrize("method", [0, 8, 12, 14])
@pytest.mark.parametrize(
    ("change", "off", "reason"),
    [
        (lambda data: data, 1, "inflates to 245 bytes and states 246"),
        (lambda data: data, -1, "inflates to more than the 244 bytes it states"),
        (lambda data: data[:-1], 0, r"does not end where its entry ends|inflates to \d+ bytes and states 245"),
        (lambda data: data + b"x", 0, "does not end where its entry ends|inflates to more than"),
        (lambda _: b"", 0, "inflates to 0 bytes and states 245|no LZMA properties"),
    ],
)
def test_a_stream_that_does_not_fill_its_entry(method: int, change: Any, off: int, reason: str) -> None:
    item = zipped(method)
    assert len(METADATA) == 245
    with pytest.raises(Malformed, match=reason):
        inflate(method, item.flags, change(item.body()), len(METADATA) + off)


@pytest.mark.parametrize(
    ("method", "data"),
    [(8, b"\xff" * 20), (9, b"\xff" * 20), (12, b"\xff" * 20), (14, b"\x09\x04\x05\0" + b"\xff" * 20)],
)
def test_a_damaged_stream(method: int, data: bytes) -> None:
    with pytest.raises(Malformed, match="METADATA is damaged: "):
        inflate(method, 0, data, 100)


@pytest.mark.parametrize("method", [1, 6, 10, 95, 97, 98, 99])
def test_methods_nobody_reads(method: int) -> None:
    assert refused(Item(method=method)) == f"METADATA is compressed by method {method}, which nobody here reads"


@pytest.mark.parametrize(("method", "module"), [(9, "zipfile_deflate64.deflate64"), (12, "bz2"), (14, "lzma")])
def test_a_python_without_the_decoder(method: int, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(Malformed, match=f"method {method}, which this Python cannot read"):
        inflate(method, 0, b"x" * 50, 100)


def test_zstandard_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.14 has it; here a module of the same shape around deflate shows that it is asked, and bounded."""

    class Decompressor:
        def __init__(self) -> None:
            self._engine = zlib.decompressobj(-zlib.MAX_WBITS)

        def decompress(self, data: bytes, max_length: int) -> bytes:
            return self._engine.decompress(data, max_length)

        eof = property(lambda self: self._engine.eof)
        unused_data = property(lambda self: self._engine.unused_data)

    module = SimpleNamespace(ZstdDecompressor=Decompressor, ZstdError=zlib.error)
    monkeypatch.setitem(sys.modules, "compression.zstd", module)
    assert inflate(93, 0, deflate(METADATA), len(METADATA)) == METADATA
    with pytest.raises(Malformed, match="damaged"):
        inflate(93, 0, b"\xff" * 9, 9)


@pytest.mark.skipif(sys.version_info < (3, 14), reason="Zstandard came with Python 3.14")
def test_real_zstandard() -> None:
    item = zipped(93)
    assert talk(build([item])).metadata.raw == METADATA


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="Zstandard came with Python 3.14")
def test_no_zstandard() -> None:
    assert refused(Item(method=93)) == "METADATA is compressed by method 93, which this Python cannot read"


def test_a_metadata_larger_than_we_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    item = Item(local={"size": MAX_METADATA + 1}, central={"size": MAX_METADATA + 1})
    assert refused(item) == f"METADATA has {MAX_METADATA + 1} bytes, more than {MAX_METADATA}"
    monkeypatch.setattr(inflating, "MAX_METADATA", 10)
    with pytest.raises(Malformed, match="METADATA has 11 bytes, more than 10"):
        inflate(0, 0, b"x" * 11, 1)


def test_a_metadata_too_large_is_not_even_asked_for() -> None:
    far = MAX_METADATA + 1
    data = build([Item(INFO + b"METADATA", b"x", 0, data=bytes(far)), padding(300_000)])
    with pytest.raises(BadZip, match=f"METADATA has {far} bytes"):
        talk(data, tail=70_000)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([0, 8, 9, 12, 14, 93]), st.binary(max_size=200), st.integers(0, 300), st.integers(0, 3))
def test_random_streams_are_refused_or_right(method: int, data: bytes, size: int, flags: int) -> None:
    with suppress(Malformed):
        assert len(inflate(method, flags, data, size)) == size
