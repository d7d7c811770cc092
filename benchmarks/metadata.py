"""Time METADATA of many projects: `python benchmarks/metadata.py [--corpus DIR]... [--quick] [--runs N] [--only WORD]`.

The work is the index page and the METADATA of each project's newest wheel, from nothing: a whole process with an empty
cache; in two tables with one that an earlier run has filled.  Beside fetcher stand other programs that can do just
this.  Tables are in Markdown.
"""

import tempfile
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from corpus import Wheel, lay_out
from measure import Contestant, Missing, alternate, print_table
from program import (
    counted_runs,
    describe_machine,
    describe_versions,
    describe_wheels,
    load_wheels,
    options,
    run,
    spread,
)
from readers import Job, Reader, fetcher, nab, pip, poetry, uv, warm_fetcher, warm_uv
from server import serving

# Those that read one wheel after the other get so many projects only.
FEW, QUICK_FEW = 40, 10


@dataclass(frozen=True)
class Table:
    """A table to be: who reads, and how the index serves."""

    title: str
    readers: Sequence[Reader]
    latency: float = 0.0
    ranges: bool = True
    html: bool = False
    few: bool = False
    concurrency: int | None = None
    max_age: int | None = None


SIDE_BY_SIDE = (fetcher, uv, nab)
TABLES = (
    Table("ranges, 0 ms", SIDE_BY_SIDE),
    Table("ranges, 20 ms", SIDE_BY_SIDE, latency=0.02),
    Table("ranges, 50 ms", SIDE_BY_SIDE, latency=0.05),
    Table("ranges, 50 ms, 50 requests at once", SIDE_BY_SIDE, latency=0.05, concurrency=50),
    Table("no range support, 0 ms", SIDE_BY_SIDE, ranges=False),
    Table("pages in HTML, which tell no sizes, 0 ms", SIDE_BY_SIDE, html=True),
    Table("a few projects, 20 ms", (*SIDE_BY_SIDE, pip, poetry), latency=0.02, few=True),
    Table("warm cache, fresh pages, 0 ms", (warm_fetcher, warm_uv), max_age=600),
    Table("warm cache, stale pages, 0 ms", (warm_fetcher, warm_uv), max_age=0),
)


def run_table(table: Table, wheels: Sequence[Wheel], site: Path, runs: int) -> None:
    """Serve the site as the table wants it, run the contestants, print the table."""
    with (
        tempfile.TemporaryDirectory(prefix="fetcher-bench-") as folder,
        serving(site, latency=table.latency, ranges=table.ranges, max_age=table.max_age) as server,
    ):
        index = f"{server.url}/{'html' if table.html else 'simple'}"
        job = Job(wheels, index, Path(folder), table.concurrency)
        entrants = [reader(job) for reader in table.readers]
        done = alternate([one for one in entrants if isinstance(one, Contestant)], server, runs)
        missing = [one for one in entrants if isinstance(one, Missing)]
        print_table(f"{table.title}: {len(wheels)} projects, {server.name}", done, missing)


def print_method(chosen: Namespace, wheels: Sequence[Wheel], site: Path) -> None:
    """Say what is measured, and how."""
    with serving(site) as server:
        name = server.name
    lines = [
        f"server: {name} on loopback; the milliseconds of a title are waited before each answer",
        describe_wheels(wheels, real=bool(chosen.corpus)),
        describe_machine(),
        describe_versions(["fetcher", "uv", "nab_index", "pip", "poetry"]),
        f"each a whole process with an empty cache: one uncounted run, then {counted_runs(chosen)} that count, in turn",
        "medians, and ratios of runs side by side: median (least–most); what was read is compared with the wheels",
    ]
    print("\n".join(f"- {line}" for line in lines), flush=True)


def main(arguments: Sequence[str]) -> None:
    """Print the method, then each table as it is done."""
    parser = options("Time METADATA of many projects.")
    chosen = parser.parse_args(arguments)
    tables = [table for table in TABLES if chosen.only.lower() in table.title.lower()]
    if not tables:
        parser.error(f"no title contains {chosen.only!r}: {'; '.join(table.title for table in TABLES)}")
    with tempfile.TemporaryDirectory(prefix="fetcher-bench-") as folder:
        site = Path(folder) / "site"
        wheels = load_wheels(chosen, Path(folder))
        few = spread(wheels, QUICK_FEW if chosen.quick else FEW)
        lay_out(wheels, site)
        print_method(chosen, wheels, site)
        for table in tables:
            run_table(table, few if table.few else wheels, site, counted_runs(chosen))


if __name__ == "__main__":
    run(main)
