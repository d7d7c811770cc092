"""`fetcher cache`: what it prints, what it removes, and its exit codes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from fetcher.cache.store import Store
from fetcher.cli.main import main
from fetcher.cli.options import cache_directory

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result

HEADER = 12


def run(*arguments: str, **environ: str | None) -> Result:
    return CliRunner(env=environ).invoke(main, ["cache", *arguments])


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A cache of three entries."""
    store = Store(tmp_path / "cache")
    store.put("page", "one", bytes(2000))
    (entry,) = (tmp_path / "cache").rglob("*.page")
    os.utime(entry, (0, 0))  # others may be of the same moment
    store.put("page", "two", bytes(3000))
    store.put("metadata", "one", bytes(500))
    return tmp_path / "cache"


def test_the_directory_that_was_chosen(tmp_path: Path) -> None:
    here, there = str(tmp_path / "here"), str(tmp_path / "there")
    assert run("dir", "--cache-dir", here).stdout == f"{here}\n"
    assert run("dir", FETCHER_CACHE_DIR=there).stdout == f"{there}\n"
    assert run("dir", "--cache-dir", here, FETCHER_CACHE_DIR=there).stdout == f"{here}\n"


def test_a_directory_that_is_not_named_from_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert run("dir", "--cache-dir", "here").stdout == f"{tmp_path / 'here'}\n"
    for chosen in ({"FETCHER_CACHE_DIR": "~/there"}, {}):
        arguments = [] if chosen else ["--cache-dir=~/there"]
        assert run("dir", *arguments, **chosen).stdout == f"{tmp_path / 'home' / 'there'}\n"


def test_an_empty_name() -> None:
    done = run("dir", "--cache-dir", "")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "--cache-dir" in done.stderr
    assert run("dir", FETCHER_CACHE_DIR="").stdout == run("dir", FETCHER_CACHE_DIR=None).stdout != ""


def test_the_home_of_nobody() -> None:
    done = run("dir", "--cache-dir", "~nobody of this name/cache")
    assert (done.exit_code, done.stdout) == (2, "")


def test_the_directory_of_the_user(tmp_path: Path) -> None:
    printed = run("dir", FETCHER_CACHE_DIR=None, XDG_CACHE_HOME=str(tmp_path), HOME=str(tmp_path)).stdout
    assert Path(printed.rstrip("\n")).is_relative_to(tmp_path)
    assert "fetcher" in printed
    assert list(tmp_path.iterdir()) == []


def _no_home(*_: object, **__: object) -> Path:
    raise RuntimeError


@pytest.mark.parametrize("answer", [_no_home, lambda *_, **__: Path("~/.cache/fetcher")], ids=["error", "older"])
def test_nobody_knows_the_home(monkeypatch: pytest.MonkeyPatch, answer: Callable[..., Path]) -> None:
    monkeypatch.setattr("platformdirs.user_cache_path", answer)
    done = run("dir", FETCHER_CACHE_DIR=None)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "set --cache-dir" in done.stderr
    assert cache_directory(None) is None  # and so the other commands keep nothing


def test_info(directory: Path) -> None:
    assert run("info", "--cache-dir", str(directory)).stdout.splitlines() == [
        str(directory),
        "  metadata: 1 entry, 512 bytes",
        "  page:     2 entries, 5.0 kB",
        "  total:    3 entries, 5.5 kB",
    ]


def test_info_as_json(directory: Path) -> None:
    assert json.loads(run("info", "--json", FETCHER_CACHE_DIR=str(directory)).stdout) == {
        "directory": str(directory),
        "entries": 3,
        "bytes": 5500 + 3 * HEADER,
        "kinds": {
            "metadata": {"entries": 1, "bytes": 500 + HEADER},
            "page": {"entries": 2, "bytes": 5000 + 2 * HEADER},
        },
    }


def test_a_cache_that_is_not_there(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere")
    assert run("info", "--cache-dir", nowhere).stdout == f"{nowhere}\n  total:    0 entries, 0 bytes\n"
    for command in ("clear", "prune"):
        done = run(command, "--cache-dir", nowhere)
        assert (done.exit_code, done.stdout) == (0, "removed 0 entries, 0 bytes\n")
    assert list(tmp_path.iterdir()) == []


def test_clear(directory: Path) -> None:
    done = run("clear", "--cache-dir", str(directory))
    assert (done.exit_code, done.stdout.splitlines()) == (
        0,
        ["removed 3 entries, 5.5 kB", "  metadata: 1 entry, 512 bytes", "  page:     2 entries, 5.0 kB"],
    )
    assert Store(directory).info().total.entries == 0


@pytest.mark.parametrize(("limit", "left"), [([], 3), (["--max-size", "1M"], 3), (["--max-size", "4k"], 2)])
def test_prune(directory: Path, limit: list[str], left: int) -> None:
    done = run("prune", *limit, "--cache-dir", str(directory))
    assert (done.exit_code, done.stdout.splitlines()[0]) == (
        0,
        "removed 0 entries, 0 bytes" if left == 3 else "removed 1 entry, 2.0 kB",
    )
    assert Store(directory).info().total.entries == left


def test_prune_to_nothing(directory: Path) -> None:
    assert run("prune", "--max-size", "0", "--cache-dir", str(directory)).exit_code == 0
    assert Store(directory).info().total.entries == 0


@pytest.mark.parametrize("arguments", [["nonsense"], ["prune", "--max-size", "much"], ["prune", "--max-size", "-1"]])
def test_usage(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


@pytest.mark.parametrize("command", ["info", "clear", "prune"])
def test_a_file_where_the_cache_should_be(command: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"a file")
    done = run(command, "--cache-dir", str(file))
    assert (done.exit_code, done.stdout) == (6, "")
    assert done.stderr == f"error: cannot write {file / 'store-1'}: Not a directory\n"


@pytest.mark.parametrize("command", ["dir", "info", "clear", "prune"])
def test_help(command: str) -> None:
    done = run(command, "--help")
    assert (done.exit_code, "--cache-dir DIR" in done.stdout) == (0, True)
