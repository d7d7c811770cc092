"""How the cache keeps its entries, a file each, against one SQLite file: `python benchmarks/cache.py [--runs N]`.

The load is 842 index pages (2–40 KB, one in a hundred 1 MB), 842 METADATA (2–60 KB), 200 small wheels (up to 128 KB).
Each job is timed in a new process that has imported what fetcher imports anyway; the contenders take turns:

- write: everything, into an empty cache;  read: all pages and METADATA;
- read in threads: the same by `fetcher.disk`, a job an entry, as within an event loop;
- at once: four processes that each write a quarter of it and read all, the time of the last of them;
- info: entries and bytes by kind;  prune: to half of the bytes, in the order of last use.

What is in the page cache of the system stays there: it is the stores that are measured, not the disk.
"""

import argparse
import asyncio
import random
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from itertools import islice, product
from pathlib import Path
from typing import Any, Protocol

PROJECTS = 842
WHEELS = 200
AT_ONCE = 4
MIB = 1 << 20


class Contender(Protocol):
    """What both can do."""

    def get(self, kind: str, key: str) -> bytes | None: ...
    def put(self, kind: str, key: str, value: bytes) -> None: ...
    def info(self) -> object: ...
    def prune(self, most_bytes: int) -> object: ...


def files(directory: Path) -> Contender:
    from fetcher.cache.store import Store

    return Store(directory)


class SQLite:
    """One file, with a write-ahead log; as careful with its entries as the other."""

    def __init__(self, directory: Path) -> None:
        import sqlite3

        directory.mkdir(exist_ok=True)
        self._rows = sqlite3.connect(directory / "cache.db", timeout=60, isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode=wal", "synchronous=off", "mmap_size=1073741824"):
            self._rows.execute(f"pragma {pragma}")
        self._rows.execute(
            "create table if not exists entry"
            " (kind, key, size int, used int, checksum int, value blob, primary key (kind, key))"
        )

    def get(self, kind: str, key: str) -> bytes | None:
        """The use would be noted once an hour, as it is by the other: not within a run of this."""
        found = self._rows.execute("select checksum, value from entry where kind=? and key=?", (kind, key)).fetchone()
        return found[1] if found is not None and zlib.crc32(found[1]) == found[0] else None

    def put(self, kind: str, key: str, value: bytes) -> None:
        row = (kind, key, len(value), int(time.time()), zlib.crc32(value), value)
        self._rows.execute("insert or replace into entry values (?, ?, ?, ?, ?, ?)", row)

    def info(self) -> object:
        return self._rows.execute("select kind, count(*), sum(size) from entry group by kind").fetchall()

    def prune(self, most_bytes: int) -> None:
        self._rows.execute(
            "delete from entry where rowid in (select rowid from"
            " (select rowid, sum(size) over (order by used desc, rowid desc) as held from entry) where held > ?)",
            (most_bytes,),
        )


CONTENDERS: dict[str, Callable[[Path], Contender]] = {"files": files, "SQLite": SQLite}


def load() -> Iterator[tuple[str, str, int]]:
    """Kind, key and size of all entries, the same each time."""
    chance = random.Random(PROJECTS)
    for number in range(PROJECTS):
        page = MIB if number % 100 == 0 else chance.randint(2_000, 40_000)
        yield "page", f"https://index.localhost/simple/project-{number}/", page
        yield "metadata", f"{number:064x}", chance.randint(2_000, 60_000)
    for number in range(WHEELS):
        yield "wheel", f"{number:064x}", chance.randint(5_000, 128 * 1024)


BYTES = sum(size for _, _, size in load())
READ = [(kind, key) for kind, key, _ in load() if kind != "wheel"]


def write(store: Contender, first: int = 0, step: int = 1) -> None:
    data = random.Random(first).randbytes(MIB)
    for kind, key, size in islice(load(), first, None, step):
        store.put(kind, key, data[:size])


def read(store: Contender) -> None:
    if any(store.get(kind, key) is None for kind, key in READ):
        sys.exit("an entry is missing")


def read_in_threads(store: Contender) -> None:
    from fetcher.disk import on_disk

    async def main() -> None:
        values = await asyncio.gather(*(on_disk(store.get, kind, key) for kind, key in READ))
        if None in values:
            sys.exit("an entry is missing")

    asyncio.run(main())


def share(store: Contender, number: str) -> None:
    """Write a part, and read all there is by now."""
    write(store, int(number), AT_ONCE)
    for kind, key in READ:
        store.get(kind, key)


JOBS: dict[str, Callable[..., Any]] = {
    "write": write,
    "read": read,
    "read in threads": read_in_threads,
    "at once": share,
    "info": lambda store: store.info(),
    "prune": lambda store: store.prune(BYTES // 2),
}


def start(contender: str, job: str, directory: Path, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, __file__, "--job", contender, job, str(directory), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def seconds(contender: str, job: str, directory: Path) -> float:
    """Run a job in new processes; return how long the slowest of them took."""
    if job == "at once":
        shared = directory / "shared"
        start(contender, "info", shared).communicate()  # several that make a database at once lock each other out
        processes = [start(contender, job, shared, str(number)) for number in range(AT_ONCE)]
    else:
        processes = [start(contender, job, directory)]
    printed = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        sys.exit(f"{contender}: {job} failed")
    return max(map(float, printed))


def do(contender: str, job: str, directory: str, *arguments: str) -> None:
    """In the new process: do it, and print the seconds it took."""
    import fetcher.client  # noqa: F401

    began = time.perf_counter()
    JOBS[job](CONTENDERS[contender](Path(directory)), *arguments)
    print(time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--job", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        do(*arguments.job)
        return
    took: dict[tuple[str, str], list[float]] = {}
    # Pruning comes last, cleaning up at the end: for half a minute ext4 is slow to make files after it removed some.
    with tempfile.TemporaryDirectory(prefix="fetcher-bench-") as folder:
        for job, run, contender in product(JOBS, range(arguments.runs), CONTENDERS):
            directory = Path(folder) / f"{contender}-{run}"
            directory.mkdir(exist_ok=True)
            took.setdefault((job, contender), []).append(seconds(contender, job, directory))
    print(f"| ms | {' | '.join(CONTENDERS)} |\n|---|{'--:|' * len(CONTENDERS)}")
    for job in JOBS:
        cells = [f"{1000 * statistics.median(took[job, contender]):.0f}" for contender in CONTENDERS]
        print(f"| {job} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
