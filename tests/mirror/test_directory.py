"""A mirror in a directory: whole files or none, nothing followed, nothing left over."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import pytest

from fetcher.errors import DiskError
from fetcher.storage.directory import PRIVATE, Directory
from fetcher.storage.store import Stored

if TYPE_CHECKING:
    from pathlib import Path

KEY = "files/ab/cdef/demo-1.0-py3-none-any.whl"


@pytest.fixture
async def store(tmp_path: Path) -> Directory:
    store = Directory(tmp_path / "mirror")
    await store.open()
    return store


def listed(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


async def found(store: Directory, prefix: str = "") -> set[str]:
    return {stored.key async for stored in store.list(prefix)}


async def test_a_file_and_a_page(store: Directory, tmp_path: Path) -> None:
    local = tmp_path / "local"
    local.write_bytes(b"body")
    await store.place(KEY, local, "ignored")
    assert not local.exists()
    await store.put("simple/demo/index.html", b"one")
    await store.put("simple/demo/index.html", b"two")
    assert await store.get("simple/demo/index.html") == b"two"
    assert await store.stat(KEY) == Stored(KEY, 4)
    assert await store.digest(KEY) == hashlib.sha256(b"body").hexdigest()
    assert listed(store.root) == {KEY, "simple/demo/index.html"}


async def test_what_is_not_there(store: Directory) -> None:
    assert await store.get("nobody") is None
    assert await store.stat("nobody/at/home") is None
    assert await store.digest("nobody") is None
    await store.remove(["nobody", "at/home"])
    await store.put("a", b"")
    assert await store.stat("a/b") is None  # a file where a directory should be
    assert await store.digest("a") == hashlib.sha256(b"").hexdigest()


async def test_the_mirrors_own_is_not_listed(store: Directory) -> None:
    for key in ("index.html", "simple/a/index.html", "simple/b/index.html", "simplest", "files/aa/b/c"):
        await store.put(key, b"x")
    (store.root / PRIVATE / "mine").write_bytes(b"")
    assert await found(store) == {
        "index.html",
        "simple/a/index.html",
        "simple/b/index.html",
        "simplest",
        "files/aa/b/c",
    }
    assert await found(store, "simple/") == {"simple/a/index.html", "simple/b/index.html"}
    assert await found(store, "simp") == {"simple/a/index.html", "simple/b/index.html", "simplest"}
    assert await found(store, "files/aa/") == {"files/aa/b/c"}
    assert await found(store, "nothing/") == set()


async def test_links_are_not_followed_when_listing(store: Directory, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(b"x")
    (store.root / "link").symlink_to(tmp_path / "outside")
    assert await found(store) == {"link"}


async def test_empty_directories_go_with_the_last_file(store: Directory) -> None:
    await store.put(KEY, b"x")
    await store.put("files/ab/other/x", b"x")
    await store.remove([KEY])
    assert not (store.root / "files/ab/cdef").exists()
    await store.remove(["files/ab/other/x"])
    assert not (store.root / "files").exists()
    assert store.root.exists()


async def test_what_a_killed_run_was_writing_goes(tmp_path: Path) -> None:
    store = Directory(tmp_path)
    await store.open()
    (store.incoming / "123-1.new").write_bytes(b"half")
    (store.incoming / "demo.part").write_bytes(b"to go on from")
    await Directory(tmp_path).open()
    assert listed(tmp_path) == {f"{PRIVATE}/incoming/demo.part"}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
async def test_no_permission(store: Directory) -> None:
    os.chmod(store.root, 0o500)
    with pytest.raises(DiskError):
        await store.put("a/b", b"x")
    os.chmod(store.root, 0o700)


async def test_errors_name_the_place(store: Directory) -> None:
    await store.put("a", b"x")
    with pytest.raises(DiskError, match=r"cannot write .*a/b"):
        await store.put("a/b", b"x")
    assert list(store.incoming.iterdir()) == []
