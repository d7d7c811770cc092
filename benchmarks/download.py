"""Time verified downloads: `python benchmarks/download.py [--corpus DIR]... [--quick] [--runs N] [--only WORD]`.

One large file, a whole corpus, both over a link that is slow for each connection, and many small files: fetcher beside
the downloaders that people use, each with a check of every digest, save where its name says that it verifies nothing.
"""

import os
import statistics
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from corpus import MIB, Wheel, link_files, make_wheel
from downloaders import (
    INSTALL,
    Entrant,
    Job,
    aria2c,
    curl,
    fetcher,
    pip,
    pypdl,
    then_openssl,
    then_sha256sum,
    wget2,
)
from measure import Contestant, Failed, Missing, Run, alternate, print_table, run_once
from program import (
    counted_runs,
    describe_machine,
    describe_versions,
    describe_wheels,
    human_size,
    load_wheels,
    options,
    run,
    spread,
)
from server import Server, serving

FILE_SIZE, QUICK_FILE_SIZE = 1024 * MIB, 64 * MIB
LINK_FILE_SIZE, QUICK_LINK_FILE_SIZE = 500 * MIB, 16 * MIB
LINK_WHEELS, QUICK_LINK_WHEELS = 60, 10
LATENCY = 0.05
RATE = 20_000_000
LINK = f"a link of {RATE / 1e6:.0f} MB/s a connection, {LATENCY * 1000:.0f} ms"
SHARED_RATE = 100_000_000
SHARED_LINK = f"a link of {SHARED_RATE / 1e6:.0f} MB/s for all connections together, {LATENCY * 1000:.0f} ms"
# With a rate of its own, were it one that is never reached, fetcher has one connection for a file.
ALONE = ("--limit-rate", "10000M")
# Twice, so that memory which grows with the number of files is seen.
SMALL_FILES, QUICK_SMALL_FILES = (2_000, 10_000), (100, 500)
# With METADATA and the zip directory such a wheel has 10 KB.
SMALL_DATA = 4_800
# They are written to memory, where the system has such a place: before ext4 gives an inode, it looks at every one that
# was removed of late, with an earlier run, and that takes longer than a file takes any contestant.
IN_MEMORY = Path("/dev/shm")
SCRATCH = IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else None
# How often each way to call a program is tried before the best is taken; in a quick look the first is.
TRIALS = 3

# How aria2c is called to have one file by several connections.
SEGMENTS = ("-x", "8", "-s", "8", "--min-split-size", "1M")
# pypdl asks twice for each file before it gets it, one file after the other: more connections for each gain nothing.
MANY = ("--concurrent", "16", "--segments", "1")

Choose = Callable[..., Entrant]


def fast_file(job: Job, _: Choose) -> list[Entrant]:
    """Return who brings one file as fast as the machine can."""
    return [
        fetcher(job),
        then_sha256sum(job, curl(job)),
        then_openssl(job, curl(job)),
        aria2c(job),
        then_sha256sum(job, wget2(job)),
        pypdl(job, "--hash"),
        then_sha256sum(job, pypdl(job)),
        pip(job),
    ]


def fast_files(job: Job, choose: Choose) -> list[Entrant]:
    """Return who brings many small files as fast as the machine can; pip and pypdl would take minutes."""
    best_curl = choose(curl(job, "--parallel"), curl(job, "--parallel", "--parallel-max", "16"))
    return [
        fetcher(job),
        replace(best_curl, name=f"{best_curl.name}, verifying nothing"),
        then_sha256sum(job, best_curl),
        then_openssl(job, best_curl),
        choose(aria2c(job), aria2c(job, "-j", "16")),
        then_sha256sum(job, wget2(job)),
    ]


def fast_corpus(job: Job, choose: Choose) -> list[Entrant]:
    """Return who brings many files of all sizes as fast as the machine can."""
    return [*fast_files(job, choose), then_sha256sum(job, pypdl(job, *MANY)), pip(job)]


def link_file(job: Job, _: Choose) -> list[Entrant]:
    """Return who brings one file over the link."""
    return [
        fetcher(job),
        then_sha256sum(job, curl(job)),
        aria2c(job),
        aria2c(job, *SEGMENTS),
        then_sha256sum(job, pypdl(job)),
    ]


def shared_link_file(job: Job, _: Choose) -> list[Entrant]:
    """Return what several connections cost where they bring nothing."""
    return [fetcher(job), fetcher(job, *ALONE)]


def link_corpus(job: Job, choose: Choose) -> list[Entrant]:
    """Return who brings many files over the link."""
    return [
        fetcher(job),
        then_sha256sum(job, choose(curl(job, "--parallel"), curl(job, "--parallel", "--parallel-max", "16"))),
        aria2c(job),
        choose(aria2c(job, *SEGMENTS), aria2c(job, "-j", "16", *SEGMENTS)),
        then_sha256sum(job, pypdl(job, *MANY)),
    ]


@dataclass(frozen=True)
class Table:
    """A table to be: its title, the wheels to bring, over which link if any, who brings them, and where to.

    The wheels are made when they are needed: not every call wants every table.  `scratch` is as for `alternate`.
    """

    title: str
    wheels: Callable[[], Sequence[Wheel]]
    link: str
    entrants: Callable[[Job, Choose], list[Entrant]]
    scratch: Path | None = None


def tables(chosen: Namespace, corpus: Sequence[Wheel], folder: Path) -> list[Table]:
    """Return all tables there are."""
    size = chosen.file_size
    link_size = min(size, QUICK_LINK_FILE_SIZE if chosen.quick else LINK_FILE_SIZE)
    few = spread(corpus, QUICK_LINK_WHEELS if chosen.quick else LINK_WHEELS)
    return [
        Table(f"one file of {human_size(size)}, verified", lambda: [make_wheel(folder, "one", size)], "", fast_file),
        Table(f"the whole corpus, {_described(corpus)}, verified", lambda: corpus, "", fast_corpus),
        Table(
            f"{LINK}: a file of {human_size(link_size)}",
            lambda: [make_wheel(folder, "link", link_size)],
            LINK,
            link_file,
        ),
        Table(
            f"{SHARED_LINK}: a file of {human_size(link_size)}",
            lambda: [make_wheel(folder, "shared", link_size)],
            SHARED_LINK,
            shared_link_file,
        ),
        Table(f"{LINK}: {_described(few)}", lambda: few, LINK, link_corpus),
        *(small_files(count, folder) for count in (QUICK_SMALL_FILES if chosen.quick else SMALL_FILES)),
    ]


def small_files(count: int, folder: Path) -> Table:
    """Return the table of so many small files."""
    return Table(
        f"{count:,} files of 10 KB, verified",
        lambda: [make_wheel(folder / "small", f"small-{number}", SMALL_DATA) for number in range(count)],
        "",
        fast_files,
        SCRATCH,
    )


def _described(wheels: Sequence[Wheel]) -> str:
    return f"{len(wheels)} wheels, {human_size(sum(wheel.size for wheel in wheels))}"


def run_table(table: Table, server: Server, site: Path, chosen: Namespace) -> None:
    """Lay the wheels out on the server's site, run the contestants, print the table."""
    with tempfile.TemporaryDirectory(dir=site) as folder:
        root = Path(folder)
        lists = root / "lists"
        wheels = table.wheels()
        link_files(wheels, root)
        lists.mkdir()
        notes: list[str] = []
        job = Job(wheels, f"{server.url}/{root.name}", lists)
        trials = 0 if chosen.quick else TRIALS
        entrants = table.entrants(job, partial(choose, server, trials, notes, table.scratch))
        contestants = [one for one in entrants if isinstance(one, Contestant)]
        missing = [one for one in entrants if isinstance(one, Missing)]
        runs, uncounted = counted_runs(chosen), uncounted_runs(chosen)
        done = alternate(contestants, server, runs, uncounted=uncounted, scratch=table.scratch)
        print_table(table.title, done, missing)
        if len(wheels) > 1:
            print(f"\nfiles a second: {'; '.join(rates(len(wheels), done))}")
        print("".join(f"\n{note}\n" for note in notes), end="", flush=True)


def rates(count: int, done: Mapping[str, list[Run] | Failed]) -> Iterator[str]:
    """Yield how many files a second each contestant brought."""
    for name, runs in done.items():
        if not isinstance(runs, Failed):
            yield f"{name} {count / statistics.median(run.wall for run in runs):.0f}"


def uncounted_runs(chosen: Namespace) -> int:
    """Return how many runs come first and do not count: none in a quick look."""
    return 0 if chosen.quick else 1


def choose(server: Server, trials: int, notes: list[str], scratch: Path | None, *ways: Entrant) -> Entrant:
    """Return the quickest of some ways to call one program, and note it."""
    contestants = [way for way in ways if isinstance(way, Contestant)]
    if not (contestants and trials):
        return ways[0]
    walls = [median_wall(contestant, server, trials, scratch) for contestant in contestants]
    best = contestants[walls.index(min(walls))]
    tried = (f"{contestant.name}: {wall:.2f} s" for contestant, wall in zip(contestants, walls, strict=True))
    notes.append(f"chosen: {best.name} ({', '.join(tried)})")
    return best


def median_wall(contestant: Contestant, server: Server, runs: int, scratch: Path | None) -> float:
    """Return the median time of some runs; one that fails takes for ever."""
    try:
        return statistics.median(run_once(contestant, server, scratch).wall for _ in range(runs))
    except Failed:
        return float("inf")


def print_method(chosen: Namespace, corpus: Sequence[Wheel], server: Server, link: Server) -> None:
    """Say what is measured, and how."""
    before = "none that does not" if chosen.quick else "one that does not"
    lines = [
        f"server: {server.name} on loopback; the link: {link.name}, {LATENCY * 1000:.0f} ms before each answer",
        describe_wheels(corpus, real=bool(chosen.corpus)),
        describe_machine(),
        describe_versions(["fetcher", *INSTALL]),
        f"runs of each that count: {counted_runs(chosen)}, in turn, after {before}; each a process in an empty folder",
        "medians, and ratios of runs side by side: median (least–most)",
        "what earlier runs wrote is on the disk before a run; that all files are there, whole, is looked at after it",
        f"many small files are written to {SCRATCH or 'disk'}, all else to disk",
        "without flags a program runs as it does by default: aria2c has one connection for each file",
    ]
    print("\n".join(f"- {line}" for line in lines), flush=True)


def parse(arguments: Sequence[str]) -> Namespace:
    """Read the command line."""
    parser = options("Time verified downloads.")
    parser.add_argument("--size", type=int, metavar="MIB", help="of the one file [1024; --quick: 64]")
    chosen = parser.parse_args(arguments)
    chosen.file_size = chosen.size * MIB if chosen.size else QUICK_FILE_SIZE if chosen.quick else FILE_SIZE
    return chosen


def main(arguments: Sequence[str]) -> None:
    """Print the method, then each table as it is done."""
    chosen = parse(arguments)
    with tempfile.TemporaryDirectory(prefix="fetcher-bench-") as folder:
        site = Path(folder) / "site"
        site.mkdir()
        corpus = load_wheels(chosen, Path(folder))
        wanted = [table for table in tables(chosen, corpus, Path(folder)) if chosen.only.lower() in table.title.lower()]
        if not wanted:
            raise Failed(f"no table has {chosen.only!r} in its title")
        with (
            serving(site) as server,
            serving(site, latency=LATENCY, rate=RATE) as link,
            serving(site, latency=LATENCY, rate=SHARED_RATE, shared=True) as shared_link,
        ):
            print_method(chosen, corpus, server, link)
            for table in wanted:
                run_table(table, {LINK: link, SHARED_LINK: shared_link}.get(table.link, server), site, chosen)


if __name__ == "__main__":
    run(main)
