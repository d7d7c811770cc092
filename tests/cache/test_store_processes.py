"""Several processes, each of several threads, on one store; one that is killed; and what others do to it meanwhile.

`FETCHER_CACHE_SECONDS` is how long they are at it.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from store_user import KEYS, is_right, value_of

import fetcher as fetcher_package
from fetcher.cache.store import STEP, Store

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = float(os.environ.get("FETCHER_CACHE_SECONDS", "3"))
PROCESSES = 3
KILLS = 10
SEED = 5
# Less than all keys together have: it must be pruned again and again.
MOST = 500_000


def start(directory: Path, seed: int, seconds: float, most: int = MOST) -> subprocess.Popen[str]:
    """Start a user of the store; it has begun when this returns."""
    program = Path(__file__).with_name("store_user.py")
    process = subprocess.Popen(
        [sys.executable, str(program), str(directory), str(most), str(seconds), str(seed)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(fetcher_package.__file__).parents[1])},
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


def files_in(directory: Path) -> list[Path]:
    try:
        return sorted((directory / "store-1").iterdir())
    except FileNotFoundError:
        return []


def leave_alone(directory: Path, chance: random.Random) -> None:
    pass


def clear(directory: Path, chance: random.Random) -> None:
    Store(directory).clear()


def remove(directory: Path, chance: random.Random) -> None:
    shutil.rmtree(directory, ignore_errors=True)


def damage(directory: Path, chance: random.Random) -> None:
    """Flip a bit of some file in its place, or cut it off somewhere."""
    try:
        with chance.choice(files_in(directory)).open("r+b") as file:
            size = file.seek(0, 2)
            if chance.random() < 0.5:
                file.truncate(chance.randrange(size + 1))
            else:
                file.seek(chance.randrange(size))
                byte = file.read(1)
                file.seek(-1, 1)
                file.write(bytes([byte[0] ^ 1 << chance.randrange(8)]))
    except (IndexError, OSError, ValueError):
        pass  # nothing there, gone meanwhile, or empty by now


@pytest.mark.parametrize("meanwhile", [leave_alone, clear, remove, damage])
def test_several_processes(tmp_path: Path, meanwhile: Callable[[Path, random.Random], None]) -> None:
    directory, chance = tmp_path / "cache", random.Random(SEED)
    users = [start(directory, number, SECONDS) for number in range(PROCESSES)]
    while any(user.poll() is None for user in users):
        meanwhile(directory, chance)
        time.sleep(chance.uniform(0, 0.02))
    said = [user.communicate() for user in users]

    assert [user.returncode for user in users] == [0] * PROCESSES, said
    puts, gets = (sum(int(out.split()[column]) for out, _ in said) for column in (0, 1))
    print(f"{puts} put in, {gets} taken out")
    assert min(puts, gets) > 0
    warned = "".join(err for _, err in said)
    assert "Traceback" not in warned
    assert ("damaged" in warned) is (meanwhile is damage)
    assert "cannot" not in warned
    assert [path for path in files_in(directory) if path.suffix == ".new"] == []
    store = Store(directory)
    assert store.info().total.bytes <= MOST + PROCESSES * MOST // STEP
    for key in KEYS:
        assert is_right(key, store.get("page", key) or value_of(key, 0))
        store.put("page", key, value_of(key, 1))
        assert store.get("page", key) == value_of(key, 1)


def test_a_process_that_is_killed_leaves_nothing_half_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory, chance = tmp_path / "cache", random.Random(SEED)
    unfinished = 0
    for number in range(KILLS):
        user = start(directory, number, 600, most=1 << 30)
        time.sleep(chance.uniform(0, 0.1))
        user.kill()
        user.communicate()
        before = files_in(directory)
        store = Store(directory)
        values = {key: store.get("page", key) for key in KEYS}
        assert all(value is None or is_right(key, value) for key, value in values.items())
        assert files_in(directory) == before
        unfinished = sum(path.suffix == ".new" for path in before)
    print(f"{KILLS} kills left {unfinished} unfinished files")
    assert caplog.messages == []
    for path in files_in(directory):
        if path.suffix == ".new":
            os.utime(path, (0, 0))
    store = Store(directory)
    store.prune(1 << 30)
    assert [path for path in files_in(directory) if path.suffix == ".new"] == []
