"""PKG-INFO out of a tar that streams by: what is found is what `tarfile` finds, at any cut, and at a bounded cost."""

from __future__ import annotations

import gzip
import io
import lzma
import sys
import tarfile
from itertools import pairwise
from typing import Any

import pytest
from fake_sdists import FORMS, compress, make_sdist, make_tar, members_of, pkg_info
from hypothesis import given, strategies as st

from fetcher.sdist import walk as walk_module
from fetcher.sdist.tar import TarError, parse_header, parse_pax
from fetcher.sdist.unpack import STEP
from fetcher.sdist.walk import Absent, Busy, Missing, PkgInfo, SdistWalk
from fetcher.wheel.inflate import MAX_METADATA
from fetcher.wheel.walk import NeedMore

TARS = [form for form in FORMS if form != "zip"]
FORMATS = {"pax": tarfile.PAX_FORMAT, "GNU": tarfile.GNU_FORMAT, "ustar": tarfile.USTAR_FORMAT}


def walk(archive: bytes, *cuts: int, form: str = "tar") -> object:
    """What is known when all of it was fed, in pieces."""
    walker = SdistWalk(f"demo-1.0.{form}")
    verdict: object = NeedMore()
    for start, stop in pairwise([0, *sorted(cuts), len(archive)]):
        verdict = walker.feed(archive[start:stop])
        while isinstance(verdict, Busy):
            verdict = walker.feed(b"")
    return verdict


def why_missing(archive: bytes, form: str = "tar") -> str:
    verdict = walk(archive, form=form)
    assert isinstance(verdict, Missing), verdict
    return verdict.reason


def tar_of(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT, **more: Any) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form, **more) as archive:
        for about, content in members:
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return buffer.getvalue()


def member(name: str, content: bytes = b"", **facts: Any) -> tuple[tarfile.TarInfo, bytes]:
    about = tarfile.TarInfo(name)
    for field, value in facts.items():
        setattr(about, field, value)
    return about, content


def restated(header: bytes, at: slice, value: bytes) -> bytes:
    """A header block with another field, and a checksum that is right."""
    header = header[: at.start] + value.ljust(at.stop - at.start, b"\0") + header[at.stop :]
    checksum = sum(header) - sum(header[148:156]) + 8 * 32
    return header[:148] + b"%06o\0 " % checksum + header[156:]


INFO = pkg_info()
SIZE, KIND = slice(124, 136), slice(156, 157)


class TestFound:
    @pytest.mark.parametrize("form", TARS)
    def test_in_every_form(self, form: str) -> None:
        assert walk(make_sdist(form, members_of(before=5000, after=5000)), form=form) == PkgInfo(INFO)

    @pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
    @pytest.mark.parametrize(
        "before",
        [
            pytest.param([], id="alone"),
            pytest.param(["demo-1.0/"], id="its directory first"),
            pytest.param(["demo-1.0/a", "demo-1.0/b/", "demo-1.0/b/c"], id="others"),
            pytest.param([f"demo-1.0/{'long/' * 25}name"], id="a name of 130 bytes"),
            pytest.param(["demo-1.0/src/demo.egg-info/PKG-INFO", "demo-1.0/PKG-INFO.in"], id="others like it"),
        ],
    )  # fmt: skip
    def test_behind(self, form: int, before: list[str]) -> None:
        archive = make_tar(
            {**dict.fromkeys(before, b""), "demo-1.0/x": bytes(700), "demo-1.0/PKG-INFO": INFO}, form=form
        )
        assert walk(archive) == PkgInfo(INFO)

    @pytest.mark.parametrize("form", ["pax", "GNU"])
    def test_under_a_very_long_name(self, form: str) -> None:
        top = "d" * 300
        assert walk(make_tar({f"{top}/a": b"", f"{top}/PKG-INFO": INFO}, form=FORMATS[form])) == PkgInfo(INFO)

    def test_under_a_name_in_two_fields(self) -> None:
        archive = make_tar({f"{'d' * 120}/PKG-INFO": INFO}, form=tarfile.USTAR_FORMAT)
        assert b"d" * 120 not in archive[:100]
        assert walk(archive) == PkgInfo(INFO)

    @pytest.mark.parametrize("start", ["./", "././", "/", ".//"])
    def test_under_another_spelling(self, start: str) -> None:
        archive = make_tar({f"{start}demo-1.0/": b"", f"{start}demo-1.0//./PKG-INFO": INFO}, form=tarfile.GNU_FORMAT)
        assert walk(archive) == PkgInfo(INFO)

    def test_behind_a_file_in_no_directory(self) -> None:
        """macOS puts `._demo-1.0` there."""
        assert walk(make_tar({"._demo-1.0": b"x", "demo-1.0/PKG-INFO": INFO})) == PkgInfo(INFO)

    def test_behind_global_records(self) -> None:
        """`git archive` writes the commit's."""
        archive = tar_of(member("demo-1.0/a"), member("demo-1.0/PKG-INFO", INFO), pax_headers={"comment": "0123abcd"})
        assert archive[KIND] == b"g"
        assert walk(archive) == PkgInfo(INFO)

    def test_with_a_size_that_stands_in_a_record(self) -> None:
        extended, info = tar_of(member("x", pax_headers={"size": str(len(INFO))})), make_tar({"d/PKG-INFO": INFO})
        archive = extended[:1024] + restated(info[:512], SIZE, b"0" * 11) + info[512:]
        assert walk(archive) == PkgInfo(INFO)

    def test_with_a_size_in_binary(self) -> None:
        info = make_tar({"d/PKG-INFO": INFO})
        binary = b"\x80" + len(INFO).to_bytes(11, "big")
        assert walk(restated(info[:512], SIZE, binary) + info[512:]) == PkgInfo(INFO)

    @pytest.mark.parametrize("kind", [b"\0", b"7"])
    def test_of_another_kind_of_file(self, kind: bytes) -> None:
        info = make_tar({"d/PKG-INFO": INFO})
        assert walk(restated(info[:512], KIND, kind) + info[512:]) == PkgInfo(INFO)

    def test_behind_a_directory_of_the_oldest_form(self) -> None:
        """Of the seventh edition of Unix; what its size says is not there."""
        header = restated(restated(make_tar({"d": b""})[:512], slice(0, 100), b"d/"), KIND, b"\0")
        assert walk(restated(header, SIZE, b"%011o" % 4096) + make_tar({"d/PKG-INFO": INFO})) == PkgInfo(INFO)

    def test_behind_links(self) -> None:
        links = [member("d/a", type=tarfile.SYMTYPE, linkname="l" * 200), member("d/b", type=tarfile.LNKTYPE)]
        for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
            assert walk(tar_of(*links, member("d/PKG-INFO", INFO), form=form)) == PkgInfo(INFO)

    def test_the_first_of_two(self) -> None:
        assert walk(tar_of(member("d/PKG-INFO", INFO), member("d/PKG-INFO", b"other"))) == PkgInfo(INFO)

    def test_it_is_empty(self) -> None:
        assert walk(make_tar({"d/PKG-INFO": b""})) == PkgInfo(b"")

    def test_a_gzip_of_several_members(self) -> None:
        tar = make_tar(members_of(before=3000))
        archive = b"".join(gzip.compress(tar[at : at + 1000]) for at in range(0, len(tar), 1000))
        for cut in range(0, len(archive), 97):
            assert walk(archive, cut, form="tar.gz") == PkgInfo(INFO)

    def test_it_stays(self) -> None:
        walker = SdistWalk("demo-1.0.tar")
        assert walker.feed(make_tar(members_of())) == PkgInfo(INFO)
        assert walker.feed(b"anything") == PkgInfo(INFO)


class TestMissing:
    @pytest.mark.parametrize("form", TARS)
    def test_the_end_is_seen(self, form: str) -> None:
        members = members_of()
        del members["demo-1.0/PKG-INFO"]
        assert walk(make_sdist(form, members), form=form) == Absent()

    @pytest.mark.parametrize(
        "names",
        [
            pytest.param(["PKG-INFO"], id="in no directory"),
            pytest.param(["d/demo.egg-info/PKG-INFO"], id="of an egg-info"),
            pytest.param(["d/a", "other/PKG-INFO"], id="in another top directory"),
            pytest.param(["d/a", "d/../PKG-INFO"], id="outside"),
            pytest.param(["d/pkg-info", "d/PKG-INFO~"], id="under another name"),
            pytest.param([], id="empty"),
        ],
    )
    def test_what_is_not_it(self, names: list[str]) -> None:
        assert walk(make_tar(dict.fromkeys(names, INFO))) == Absent()

    @pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
    def test_it_is_no_file(self, kind: bytes) -> None:
        assert walk(tar_of(member("d/PKG-INFO", type=kind, linkname="d/a"))) == Absent()

    @pytest.mark.parametrize("form", TARS)
    def test_damaged(self, form: str) -> None:
        archive = make_sdist(form, members_of(before=20_000))
        broken = archive[:40] + b"\xff" * 60 + archive[100:]
        assert why_missing(broken, form).startswith("the archive cannot be read: ")

    @pytest.mark.parametrize("form", [form for form in TARS if form != "tar"])
    def test_it_is_no_such_archive(self, form: str) -> None:
        assert why_missing(bytes(range(256)) * 8, form).startswith("the archive cannot be read: ")

    @pytest.mark.parametrize(
        ("field", "value", "reason"),
        [
            (slice(0, 5), b"other", "a header has the wrong checksum"),
            (SIZE, b"eight", "a header has a number that is none"),
            (SIZE, b"-1", "a header has a number that is none"),
            (SIZE, b"\xff" * 12, "a header has a negative number"),
            (KIND, b"S", "it has a sparse member of GNU's old form"),
        ],
    )
    def test_a_header_that_is_wrong(self, field: slice, value: bytes, reason: str) -> None:
        header = make_tar({"demo/a": b""})[:512]
        header = header.replace(b"demo", value[:4]) if field.start == 0 else restated(header, field, value)
        assert why_missing(header + make_tar(members_of())) == f"the archive cannot be read: {reason}"

    @pytest.mark.parametrize("cut", range(0, 3000, 250))
    def test_cut(self, cut: int) -> None:
        """Who feeds it knows that the body has ended; the walk does not."""
        assert walk(make_tar(members_of(before=3000))[:cut]) == NeedMore()


class TestBounds:
    def test_what_is_unpacked_in_a_step(self) -> None:
        """A little may unpack to very much."""
        for form in TARS[:-1]:
            archive = compress(form, make_tar({"d/a": bytes(40 << 20), "d/PKG-INFO": INFO}))
            walker, verdict, steps = SdistWalk(f"demo-1.0.{form}"), Busy(), 0
            before = walker.inflated
            verdict = walker.feed(archive)
            while isinstance(verdict, Busy):
                assert walker.inflated - before <= STEP
                before, steps = walker.inflated, steps + 1
                verdict = walker.feed(b"")
            assert verdict == PkgInfo(INFO)
            assert steps >= 40
            assert len(archive) < 1 << 20

    def test_what_is_unpacked_in_all(self, monkeypatch: pytest.MonkeyPatch) -> None:
        archive = make_sdist("tar.gz", {"d/a": bytes(3 << 20), "d/PKG-INFO": INFO})
        assert walk(archive, form="tar.gz") == PkgInfo(INFO)
        monkeypatch.setattr(walk_module, "_MAX_UNPACKED", 2 << 20)
        assert "in the first 2097152 bytes" in why_missing(archive, "tar.gz")

    def test_the_members(self, monkeypatch: pytest.MonkeyPatch) -> None:
        archive = make_tar({**dict.fromkeys(map("d/{}".format, range(20)), b""), "d/PKG-INFO": INFO})
        assert walk(archive) == PkgInfo(INFO)
        monkeypatch.setattr(walk_module, "_MAX_MEMBERS", 20)
        assert why_missing(archive) == "it is not among the first 20 members of the archive"

    def test_its_size(self) -> None:
        header = restated(make_tar({"d/PKG-INFO": b""})[:512], SIZE, b"%011o" % (MAX_METADATA + 1))
        assert why_missing(header) == f"PKG-INFO has {MAX_METADATA + 1} bytes, more than {MAX_METADATA}"
        assert walk(make_tar({"d/PKG-INFO": bytes(MAX_METADATA)})) == PkgInfo(bytes(MAX_METADATA))

    @pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
    def test_names_and_the_like(self, kind: bytes) -> None:
        header = restated(restated(make_tar({"d": b""})[:512], SIZE, b"%011o" % (1 << 30)), KIND, kind)
        assert "belong to one member" in why_missing(header)

    def test_the_memory_of_xz(self) -> None:
        large = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 256 << 20}]
        archive = bytearray(lzma.compress(make_tar(members_of()), filters=large))
        assert why_missing(bytes(archive), "tar.xz").startswith("the archive cannot be read: ")


@pytest.mark.parametrize(("form", "module"), [("tar.bz2", "bz2"), ("txz", "lzma")])
def test_a_python_without_it(form: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make_sdist(form)
    monkeypatch.setitem(sys.modules, module, None)
    assert why_missing(archive, form) == f"the archive cannot be read: this Python has no {module} to read it by"


@pytest.mark.parametrize("form", TARS)
def test_cut_anywhere(form: str) -> None:
    archive = make_sdist(form, members_of(before=600, after=600))
    for cut in range(len(archive)):
        assert walk(archive, cut, form=form) == PkgInfo(INFO)


@pytest.mark.parametrize("form", TARS)
def test_byte_by_byte(form: str) -> None:
    archive = make_sdist(form, members_of(before=600))
    assert walk(archive, *range(1, len(archive)), form=form) == PkgInfo(INFO)


@pytest.mark.parametrize("form", [form for form in TARS if form != "tar"])
def test_what_follows_the_archive(form: str) -> None:
    """Zeros fill up some; what else stands there is no archive."""
    members = members_of()
    del members["demo-1.0/PKG-INFO"]
    tar = make_tar(members)[:2048]
    for rest in (bytes(10_000), b"rubbish" * 100, b"\x1f", b"B", b"\xfd7z"):
        assert walk(compress(form, tar) + rest, form=form) == NeedMore()


@pytest.mark.parametrize(
    "content", [b"5 a=b\n", b"x a=b\n", b"7 a=b\n", b"6 a=bc", b"6 abcd\n", b"0 a=b\n", b"99 a=b\n", b"-6 a=b\n", b" "]
)
def test_a_pax_record_that_is_damaged(content: bytes) -> None:
    with pytest.raises(TarError, match="a pax record is damaged"):
        parse_pax(content)


def test_pax_records() -> None:
    assert parse_pax(b"") == parse_pax(bytes(8)) == {}
    assert parse_pax(b"6 a=b\n9 k=a=b\nx\n"[:6] + b"8 k=a=b\n" + b"7 l=\nx\n") == {
        b"a": b"b",
        b"k": b"a=b",
        b"l": b"\nx",
    }


@pytest.mark.parametrize("size", ["many", "-1", "1_0", "9" * 5000])
def test_a_record_whose_size_is_none(size: str) -> None:
    archive = tar_of(member("d/a", b"x", pax_headers={"size": size}))
    assert why_missing(archive) == "the archive cannot be read: a pax record has a size that is none"


@given(st.binary(min_size=512, max_size=512))
def test_any_block_is_a_header_or_refused(block: bytes) -> None:
    try:
        header = parse_header(restated(block, slice(0, 0), b""))
    except TarError:
        return
    assert header.size >= 0


_NAMES = st.lists(
    st.sampled_from(["d", "e", ".", "PKG-INFO", "x" * 60, "é", "demo.egg-info"]), min_size=1, max_size=4
).map("/".join)


@given(st.dictionaries(_NAMES, st.binary(max_size=1200), max_size=8), st.sampled_from([*FORMATS.values()]), st.data())
def test_what_tarfile_finds(members: dict[str, bytes], form: int, data: st.DataObject) -> None:
    archive = make_tar(members, form=form)
    cuts = data.draw(st.lists(st.integers(0, len(archive)), max_size=3))
    verdict = walk(archive, *cuts)
    segments = {name: [part for part in name.split("/") if part != "."] for name in members}
    tops = [parts[0] for parts in segments.values() if len(parts) > 1]
    wanted = [name for name, parts in segments.items() if parts == [*tops[:1], "PKG-INFO"] and tops]
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        contents = [file.read() for name in wanted[:1] if (file := opened.extractfile(opened.getmember(name)))]
    assert verdict == (PkgInfo(contents[0]) if contents else Absent())
