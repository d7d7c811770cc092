"""The cache's store: what is put in comes out, or nothing does; whatever lies on the disk, no call of it fails."""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import stat
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st
from volumes import volume

from fetcher import DiskError
from fetcher.cache.store import Count, Info, Store

if TYPE_CHECKING:
    from collections.abc import Callable

HOUR = 3600
NOBODY = 65534
# What an entry has before its value, in bytes.
HEADER = 12
THREADS = 8


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the cache is; it is not there yet."""
    return tmp_path / "of all" / "caches"


@pytest.fixture
def store(directory: Path) -> Store:
    return Store(directory)


def files_in(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if not path.is_dir() or path.is_symlink())


def entries_in(directory: Path) -> list[Path]:
    return [path for path in files_in(directory) if re.fullmatch(r"[0-9a-f]{64}\.[a-z]+", path.name)]


def the_entry(directory: Path) -> Path:
    (path,) = entries_in(directory)
    return path


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def used(path: Path, seconds_ago: float) -> None:
    then = time.time() - seconds_ago
    os.utime(path, (then, then))


# ------------------------------------------------------------------------------------------------------- in, and out


def test_what_is_put_in_comes_out(store: Store, directory: Path) -> None:
    assert store.get("page", "key") is None
    assert not directory.exists()

    store.put("page", "key", b"value")
    store.put("metadata", "key", b"another")
    store.put("page", "empty", b"")
    store.put("page", "large", bytes(5_000_000))

    for one in (store, Store(directory)):
        assert one.get("page", "key") == b"value"
        assert one.get("metadata", "key") == b"another"
        assert one.get("page", "empty") == b""
        assert one.get("page", "large") == bytes(5_000_000)
        assert one.get("wheel", "key") is one.get("page", "another key") is None


def test_a_later_value_takes_the_place(store: Store) -> None:
    store.put("page", "key", b"a long first value")
    store.put("page", "key", b"second")
    assert store.get("page", "key") == b"second"
    assert store.info().total == Count(1, HEADER + 6)


def test_the_first_value_stays(store: Store, directory: Path) -> None:
    assert store.get_or_put("page", "key", b"first") == b"first"
    assert [one.get_or_put("page", "key", b"second") for one in (store, Store(directory))] == [b"first"] * 2
    assert store.get("page", "key") == b"first"
    the_entry(directory).write_bytes(b"damaged")
    assert store.get_or_put("page", "key", b"third") == store.get("page", "key") == b"third"


def test_many_who_are_first_agree(directory: Path) -> None:
    with ThreadPoolExecutor(THREADS) as threads:
        for number in range(50):
            together = threading.Barrier(THREADS)

            def put(value: int, together: threading.Barrier = together, key: str = f"{number}") -> bytes:
                together.wait()
                return Store(directory).get_or_put("page", key, bytes([value]))

            (agreed,) = set(threads.map(put, range(THREADS)))
            assert Store(directory).get("page", f"{number}") == agreed
    assert [path for path in files_in(directory) if path.suffix == ".new"] == []


def test_a_file_system_without_links(store: Store, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    assert [store.get_or_put("page", "key", value) for value in (b"first", b"second")] == [b"first"] * 2
    assert files_in(directory) == sorted([the_entry(directory), the_entry(directory).with_name("CACHEDIR.TAG")])


def test_a_first_value_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    assert Store(tmp_path / "file").get_or_put("page", "key", b"value") == b"value"
    assert ["cannot be" in warning for warning in warnings(caplog)] == [True, True]


def test_what_is_removed_is_gone(store: Store) -> None:
    store.remove("page", "key")
    store.put("page", "key", b"value")
    store.put("page", "other", b"value")
    store.remove("page", "key")
    assert (store.get("page", "key"), store.get("page", "other")) == (None, b"value")


@pytest.mark.parametrize(
    "key", ["", "../../../outside", "/etc/passwd", "a\0b", "a\nb", "\udcff", "CON", "é", "k" * 9999]
)
def test_no_key_is_a_path(store: Store, directory: Path, tmp_path: Path, key: str) -> None:
    store.put("page", key, b"value")
    assert store.get("page", key) == b"value"
    assert re.fullmatch(r"[0-9a-f]{64}\.page", the_entry(directory).name)
    assert set(files_in(tmp_path)) == set(files_in(directory))


def test_only_the_user_can_look(store: Store, directory: Path) -> None:
    store.put("page", "key", b"value")
    (root,) = directory.iterdir()
    assert {stat.S_IMODE(path.stat().st_mode) for path in (directory, root)} == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in root.iterdir()} == {0o600}


def test_backups_leave_it_out(store: Store, directory: Path) -> None:
    store.put("page", "key", b"value")
    (tag,) = set(files_in(directory)) - set(entries_in(directory))
    assert tag.name == "CACHEDIR.TAG"
    assert tag.parent.parent == directory  # and not a directory of other things that was given as the cache's
    assert tag.read_bytes().startswith(b"Signature: 8a477f597d28d172789f06886806bc55\n")


def test_entries_are_counted_by_kind(store: Store) -> None:
    assert store.info() == Info({})
    for number in range(3):
        store.put("page", f"{number}", b"x" * 100)
    store.put("wheel", "0", b"x" * 1000)
    assert store.info() == Info({"page": Count(3, 3 * (HEADER + 100)), "wheel": Count(1, HEADER + 1000)})
    assert store.info().total == Count(4, 4 * HEADER + 1300)


# ------------------------------------------------------------------------------------------------------------ damage


VALUES = {("page", "a"): b"value", ("page", "b"): b"", ("metadata", "a"): bytes(range(256)) * 40}


def damage(file: Path, how: str, at: float, data: bytes) -> None:
    """Spoil a file at a place, which is told as a part of its length."""
    before = file.read_bytes()
    place = int(at * len(before))
    after = {
        "flip": before[:place] + bytes([(before[place] if before else 0) ^ (data[0] or 1)]) + before[place + 1 :],
        "cut": before[:place],
        "grow": before + data,
        "insert": before[:place] + data + before[place:],
        "overwrite": before[:place] + data + before[place + len(data) :],
        "drop": before[:place] + before[place + len(data) :],
        "zeros": bytes(len(before)),
    }[how]
    file.write_bytes(after)


@given(
    which=st.integers(0, 3),
    how=st.sampled_from(["flip", "cut", "grow", "insert", "overwrite", "drop", "zeros"]),
    at=st.floats(0, 1, exclude_max=True),
    data=st.binary(min_size=1, max_size=20),
)
def test_a_damaged_file_is_a_miss_until_it_is_put_in_again(which: int, how: str, at: float, data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        for (kind, key), value in VALUES.items():
            store.put(kind, key, value)
        file = files_in(Path(folder))[which]
        whole = file.read_bytes()
        damage(file, how, at, data)
        spoiled = file in entries_in(Path(folder)) and file.read_bytes() != whole

        found = {name: store.get(*name) for name in VALUES}
        assert list(found.values()).count(None) == spoiled
        assert all(value in (None, VALUES[name]) for name, value in found.items())

        for (kind, key), value in VALUES.items():
            store.put(kind, key, value)
        assert {name: store.get(*name) for name in VALUES} == VALUES


def test_each_bit_counts(store: Store, directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    store.put("page", "key", b"some value")
    path = the_entry(directory)
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        spoiled = bytearray(whole)
        spoiled[bit // 8] ^= 1 << bit % 8
        path.write_bytes(spoiled)
        assert store.get("page", "key") is None
        assert not path.exists()
    assert len(warnings(caplog)) == 1
    assert "damaged" in warnings(caplog)[0]


def test_an_entry_under_the_name_of_another(store: Store, directory: Path) -> None:
    store.put("page", "one", b"of one")
    first = the_entry(directory)
    store.put("page", "two", b"of two")
    (second,) = set(entries_in(directory)) - {first}
    first.replace(second)
    assert (store.get("page", "one"), store.get("page", "two")) == (None, None)


def test_a_file_of_an_absurd_size_is_not_read(store: Store, directory: Path) -> None:
    store.put("page", "key", b"value")
    os.truncate(the_entry(directory), 1 << 40)
    assert store.get("page", "key") is None
    assert entries_in(directory) == []


# ----------------------------------------------------------------------------------------------------------- trouble


def check_useless(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is kept, nothing fails, and it is said once."""
    for number in range(3):
        store.put("page", f"{number}", b"value")
        assert store.get("page", f"{number}") is None
        store.remove("page", f"{number}")
    assert len([message for message in warnings(caplog) if "cannot be written" in message]) == 1
    assert len(warnings(caplog)) <= 2


def test_a_file_where_the_directory_should_be(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory.parent.mkdir()
    directory.write_bytes(b"a file")
    check_useless(Store(directory), caplog)
    assert directory.read_bytes() == b"a file"
    for call in (Store(directory).info, Store(directory).clear, lambda: Store(directory).prune(0)):
        with pytest.raises(DiskError, match="Not a directory"):
            call()


def test_a_file_where_its_parent_should_be(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory.parent.write_bytes(b"a file")
    check_useless(Store(directory), caplog)


def test_the_directory_becomes_a_file(store: Store, directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    store.put("page", "key", b"value")
    shutil.rmtree(directory)
    directory.write_bytes(b"a file")
    check_useless(store, caplog)


def test_the_directory_is_removed(store: Store, directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    for removed in (directory, directory / "store-1", directory.parent):
        store.put("page", "key", b"value")
        shutil.rmtree(removed)
        assert store.get("page", "key") is None
        store.put("page", "key", b"value")
        assert store.get("page", "key") == b"value"
    assert warnings(caplog) == []


def becomes_a_directory(path: Path, *, full: bool = False) -> None:
    path.unlink()
    path.mkdir()
    if full:
        (path / "mine").write_bytes(b"mine")
    used(path, 10 * HOUR)  # it is the first to go


def test_a_directory_in_the_place_of_an_entry(store: Store, directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    store.put("page", "key", b"value")
    becomes_a_directory(the_entry(directory))
    assert store.get("page", "key") is None
    store.put("page", "key", b"value")
    assert store.get("page", "key") == b"value"
    assert len(warnings(caplog)) == 1


def test_a_directory_that_nobody_looked_at(store: Store, directory: Path) -> None:
    store.put("page", "key", b"value")
    path = the_entry(directory)
    becomes_a_directory(path)
    for value in (b"second", b"third"):
        store.put("page", "key", value)
    assert store.get("page", "key") == b"third"
    assert list(path.parent.glob("*.new")) == []


def test_a_directory_of_somebodys_files_stays(store: Store, directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    store.put("page", "key", b"value")
    path = the_entry(directory)
    becomes_a_directory(path, full=True)
    for _ in range(2):
        assert store.get("page", "key") is None
        store.put("page", "key", b"value")
    assert (path / "mine").read_bytes() == b"mine"
    assert len(warnings(caplog)) == 2
    assert list(path.parent.glob("*.new")) == []


@pytest.mark.parametrize("full", [False, True])
def test_the_bound_is_kept_to_beside_a_directory(directory: Path, full: bool) -> None:
    most = 100_000
    store = Store(directory, most)
    store.put("page", "key", b"value")
    path = the_entry(directory)
    becomes_a_directory(path, full=full)
    for number in range(300):
        store.put("page", f"{number}", bytes(1000))
        assert store.info().total.bytes <= most
    assert path.exists() is full


@pytest.mark.parametrize("call", [Store.clear, lambda store: store.prune(0)], ids=["clear", "prune"])
def test_what_cannot_be_removed_stops_nothing(store: Store, directory: Path, call: Callable[[Store], object]) -> None:
    store.put("page", "stays", b"value")
    path = the_entry(directory)
    becomes_a_directory(path, full=True)
    for number in range(3):
        store.put("page", f"{number}", b"value")
    abandoned = path.parent / f"{'0' * 16}.new"
    abandoned.mkdir()
    used(abandoned, 10 * HOUR)

    with pytest.raises(DiskError, match=f"{re.escape(str(path))}: Directory not empty"):
        call(store)
    assert entries_in(directory) == []
    assert not abandoned.exists()
    assert (path / "mine").read_bytes() == b"mine"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pipes that lie in a directory")
def test_a_pipe_in_the_place_of_an_entry(store: Store, directory: Path) -> None:
    store.put("page", "key", b"value")
    path = the_entry(directory)
    path.unlink()
    os.mkfifo(path)
    assert store.get("page", "key") is None
    store.put("page", "key", b"value")
    assert store.get("page", "key") == b"value"


def test_a_volume_that_is_full(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with volume(tmp_path / "volume", "size=1m") as mounted:
        store = Store(mounted.path / "cache")
        store.put("page", "kept", b"value")
        filler = mounted.path / "filler"
        filler.write_bytes(bytes(shutil.disk_usage(mounted.path).free - 100_000))
        for _ in range(2):
            store.put("page", "large", bytes(500_000))
        assert (store.get("page", "kept"), store.get("page", "large")) == (b"value", None)
        assert shutil.disk_usage(mounted.path).free >= 90_000  # what was written of it is not left
        store.put("page", "kept", bytes(500_000))
        assert store.get("page", "kept") is None  # and not the earlier one, which is out of date
        assert ["No space left" in message for message in warnings(caplog)] == [True]
        filler.unlink()
        store.put("page", "large", bytes(500_000))
        assert store.get("page", "large") == bytes(500_000)


def test_a_volume_that_can_only_be_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with volume(tmp_path / "volume", "size=1m") as mounted:
        store = Store(mounted.path)
        store.put("page", "old", b"value")
        store.put("page", "spoiled", b"value")
        old, spoiled = sorted(entries_in(mounted.path), key=lambda path: path.name != _name_of("old"))
        used(old, 2 * HOUR)
        spoiled.write_bytes(b"")
        mounted.make_read_only()
        for _ in range(2):
            assert (store.get("page", "old"), store.get("page", "spoiled")) == (b"value", None)
            store.put("page", "new", b"value")
        assert [re.findall("damaged|Read-only", message) for message in warnings(caplog)] == [
            ["damaged"],
            ["Read-only"],
        ]
        with pytest.raises(DiskError, match="Read-only"):
            store.clear()
        assert Store(mounted.path / "nowhere").info() == Info({})


def _name_of(key: str) -> str:
    """The name of a page's entry, as another store names it."""
    with tempfile.TemporaryDirectory() as folder:
        Store(Path(folder)).put("page", key, b"")
        return the_entry(Path(folder)).name


@pytest.mark.skipif(os.name == "nt", reason="on Windows a directory is not closed by its mode")
def test_a_directory_that_may_not_be_entered(store: Store, directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    store.put("page", "0", b"value")
    (root,) = directory.iterdir()
    root.chmod(0)
    user = os.geteuid()
    try:
        os.seteuid(user or NOBODY)  # nothing is forbidden to root
        check_useless(store, caplog)
        with pytest.raises(DiskError, match="Permission denied"):
            store.info()
    finally:
        os.seteuid(user)
        root.chmod(0o700)


# ------------------------------------------------------------------------------------------------------------- links


def test_a_link_in_the_place_of_an_entry(store: Store, directory: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    store.put("page", "key", b"value")
    path = the_entry(directory)
    path.rename(outside)  # what is behind the link is whole
    whole = outside.read_bytes()

    path.symlink_to(outside)
    assert store.get("page", "key") is None
    assert not path.is_symlink()

    path.symlink_to(outside)
    store.put("page", "key", b"another")
    assert store.get("page", "key") == b"another"
    assert outside.read_bytes() == whole


@pytest.mark.parametrize("dangling", [False, True])
def test_a_link_in_the_place_of_the_entries(
    store: Store, directory: Path, tmp_path: Path, dangling: bool, caplog: pytest.LogCaptureFixture
) -> None:
    outside = tmp_path / "outside"
    if not dangling:
        Store(tmp_path).put("page", "kept", b"value")
        (tmp_path / "store-1").rename(outside)
    there = files_in(tmp_path)
    directory.mkdir(parents=True)
    (directory / "store-1").symlink_to(outside)

    check_useless(store, caplog)
    for call in (store.info, store.clear, lambda: store.prune(0)):
        with pytest.raises(DiskError, match="Not a directory"):
            call()
    assert files_in(tmp_path) == sorted([*there, directory / "store-1"])


def test_the_directory_itself_may_be_a_link(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    directory.parent.mkdir()
    directory.symlink_to(tmp_path / "elsewhere")
    Store(directory).put("page", "key", b"value")
    assert Store(tmp_path / "elsewhere").get("page", "key") == b"value"


# ------------------------------------------------------------------------------------------------- use, bound, removal


def test_a_use_is_noted_once_an_hour(store: Store, directory: Path) -> None:
    store.put("page", "key", b"value")
    path = the_entry(directory)
    for seconds_ago, noted in ((HOUR / 2, False), (2 * HOUR, True), (-2 * HOUR, True)):
        used(path, seconds_ago)
        before = path.stat().st_mtime_ns
        assert store.get("page", "key") == b"value"
        assert (path.stat().st_mtime_ns != before) is noted
        assert noted is False or abs(path.stat().st_mtime - time.time()) < HOUR / 2


def test_what_was_not_used_for_longest_goes_first(store: Store, directory: Path) -> None:
    age = {"oldest": 9, "old": 8, "used again": 10, "newest": 0}
    for key, hours in age.items():
        before = set(entries_in(directory))
        store.put("page", key, bytes(1000))
        (path,) = set(entries_in(directory)) - before
        used(path, hours * HOUR)
    store.get("page", "used again")

    assert store.prune(5 * (HEADER + 1000)) == Info({})
    assert store.prune(2 * (HEADER + 1000)) == Info({"page": Count(2, 2 * (HEADER + 1000))})
    assert [key for key in age if store.get("page", key)] == ["used again", "newest"]
    assert store.prune(0).total == Count(2, 2 * (HEADER + 1000))
    assert store.info() == Info({})


def test_the_bound_is_kept_to(directory: Path) -> None:
    most = 100_000
    store = Store(directory, most)
    for number in range(300):
        store.put("page", f"{number}", bytes(1000))
        assert store.info().total.bytes <= most
    assert store.info().total.bytes > most / 2
    assert store.get("page", "299") is not None
    assert store.get("page", "0") is None


def test_the_bound_is_kept_to_by_many_short_runs(directory: Path) -> None:
    """Each puts in less than would make it look; together they look often enough."""
    most = 100_000
    for number in range(1000):
        Store(directory, most).put("page", f"{number}", bytes(1000))
    assert Store(directory).info().total.bytes < 2 * most  # 1,000 in all; the chance of more than this is 10^-8


def test_what_is_too_large_for_the_bound_is_not_kept(directory: Path) -> None:
    store = Store(directory, 16_000)
    store.put("page", "key", bytes(900))
    store.put("page", "key", bytes(1000))
    assert store.get("page", "key") is None  # and not the earlier one, which is out of date


def test_clearing_removes_all_and_nothing_else(store: Store, directory: Path) -> None:
    assert store.clear() == Info({})
    for number in range(5):
        store.put("page", f"{number}", b"value")
    (root,) = directory.iterdir()
    tag = {root / "CACHEDIR.TAG"}
    foreign = {directory / "notes.txt", root / "notes.page", root / f"{'0' * 63}.page", root / "0123.new"}
    for path in foreign:
        path.write_bytes(b"mine")
    (root / f"{'0' * 16}.new").write_bytes(b"being written")

    assert store.clear() == Info({"page": Count(5, 5 * (HEADER + 5))})
    assert set(files_in(directory)) == foreign | tag
    store.put("page", "key", b"value")
    assert store.get("page", "key") == b"value"


def test_what_a_killed_process_was_writing_goes_after_an_hour(store: Store, directory: Path) -> None:
    store.put("page", "key", b"value")
    (root,) = directory.iterdir()
    left, busy = root / f"{'1' * 16}.new", root / f"{'2' * 16}.new"
    for path, seconds_ago in ((left, 2 * HOUR), (busy, 1)):
        path.write_bytes(b"x")
        used(path, seconds_ago)
    store.prune(1 << 30)
    assert (left.exists(), busy.exists()) == (False, True)
    assert store.get("page", "key") == b"value"
