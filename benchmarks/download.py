"""Time verified downloads: `python benchmarks/download.py [--corpus DIR]... [--quick] [--runs N] [--only WORD]`.

One large file, a whole corpus, and both over a link that is slow for each connection: fetcher beside the downloaders
that people use, each with a check of every digest, save where its name says that it verifies nothing.
"""

import statistics
import tempfile
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from corpus import MIB, Wheel, lay_out, make_wheel
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
from measure import Contestant, Failed, Missing, alternate, print_table, run_once
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
LINK_FILE_SIZE, QUICK_LINK_FILE_SIZE = 256 * MIB, 16 * MIB
LINK_WHEELS, QUICK_LINK_WHEELS = 60, 10
LATENCY = 0.05
RATE = 20_000_000
LINK = f"a link of {RATE / 1e6:.0f} MB/s a connection, {LATENCY * 1000:.0f} ms"
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


def fast_corpus(job: Job, choose: Choose) -> list[Entrant]:
    """Return who brings many files as fast as the machine can."""
    best_curl = choose(curl(job, "--parallel"), curl(job, "--parallel", "--parallel-max", "16"))
    return [
        fetcher(job),
        replace(best_curl, name=f"{best_curl.name}, verifying nothing"),
        then_sha256sum(job, best_curl),
        then_openssl(job, best_curl),
        choose(aria2c(job), aria2c(job, "-j", "16")),
        then_sha256sum(job, wget2(job)),
        then_sha256sum(job, pypdl(job, *MANY)),
        pip(job),
    ]


def link_file(job: Job, _: Choose) -> list[Entrant]:
    """Return who brings one file over the link."""
    return [
        fetcher(job),
        then_sha256sum(job, curl(job)),
        aria2c(job),
        aria2c(job, *SEGMENTS),
        then_sha256sum(job, pypdl(job)),
    ]


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
    """A table to be: its title, the wheels to bring, over the link or not, and who brings them.

    The wheels are made when they are needed: not every call wants every table.
    """

    title: str
    wheels: Callable[[], Sequence[Wheel]]
    linked: bool
    entrants: Callable[[Job, Choose], list[Entrant]]


def tables(chosen: Namespace, corpus: Sequence[Wheel], folder: Path) -> list[Table]:
    """Return all tables there are."""
    size = chosen.file_size
    link_size = min(size, QUICK_LINK_FILE_SIZE if chosen.quick else LINK_FILE_SIZE)
    few = spread(corpus, QUICK_LINK_WHEELS if chosen.quick else LINK_WHEELS)
    return [
        Table(f"one file of {human_size(size)}, verified", lambda: [make_wheel(folder, "one", size)], False, fast_file),
        Table(f"the whole corpus, {_described(corpus)}, verified", lambda: corpus, False, fast_corpus),
        Table(
            f"{LINK}: a file of {human_size(link_size)}",
            lambda: [make_wheel(folder, "link", link_size)],
            True,
            link_file,
        ),
        Table(f"{LINK}: {_described(few)}", lambda: few, True, link_corpus),
    ]


def _described(wheels: Sequence[Wheel]) -> str:
    return f"{len(wheels)} wheels, {human_size(sum(wheel.size for wheel in wheels))}"


def run_table(table: Table, server: Server, site: Path, chosen: Namespace) -> None:
    """Lay the wheels out on the server's site, run the contestants, print the table."""
    with tempfile.TemporaryDirectory(dir=site) as folder:
        root = Path(folder)
        lists = root / "lists"
        wheels = table.wheels()
        lay_out(wheels, root)
        lists.mkdir()
        notes: list[str] = []
        job = Job(wheels, f"{server.url}/{root.name}", lists)
        entrants = table.entrants(job, partial(choose, server, 0 if chosen.quick else TRIALS, notes))
        contestants = [one for one in entrants if isinstance(one, Contestant)]
        missing = [one for one in entrants if isinstance(one, Missing)]
        done = alternate(contestants, server, counted_runs(chosen), uncounted=uncounted_runs(chosen))
        print_table(table.title, done, missing)
        print("".join(f"\n{note}\n" for note in notes), end="", flush=True)


def uncounted_runs(chosen: Namespace) -> int:
    """Return how many runs come first and do not count: none in a quick look."""
    return 0 if chosen.quick else 1


def choose(server: Server, trials: int, notes: list[str], *ways: Entrant) -> Entrant:
    """Return the quickest of some ways to call one program, and note it."""
    contestants = [way for way in ways if isinstance(way, Contestant)]
    if not (contestants and trials):
        return ways[0]
    walls = [median_wall(contestant, server, trials) for contestant in contestants]
    best = contestants[walls.index(min(walls))]
    tried = (f"{contestant.name}: {wall:.2f} s" for contestant, wall in zip(contestants, walls, strict=True))
    notes.append(f"chosen: {best.name} ({', '.join(tried)})")
    return best


def median_wall(contestant: Contestant, server: Server, runs: int) -> float:
    """Return the median time of some runs; one that fails takes for ever."""
    try:
        return statistics.median(run_once(contestant, server).wall for _ in range(runs))
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
        with serving(site) as server, serving(site, latency=LATENCY, rate=RATE) as link:
            print_method(chosen, corpus, server, link)
            for table in wanted:
                run_table(table, link if table.linked else server, site, chosen)


if __name__ == "__main__":
    run(main)
