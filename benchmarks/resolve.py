"""Time resolutions: `python benchmarks/resolve.py [--corpus DIR]... [--quick] [--runs N] [--only WORD]`.

The work is to find out which version of which projects a requirement needs, from nothing: a whole process with an empty
cache.  Without a corpus a tree is generated.  Tables are in Markdown.
"""

import tempfile
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from corpus import find_all_wheels, generate_tree, lay_out
from measure import Contestant, Failed, Missing, alternate, print_table
from program import counted_runs, describe_machine, describe_versions, describe_wheels, options, run
from resolvers import Job, blocking_fetcher, fast_pip, fetcher, pip, unearth, uv
from server import serving

# Of real projects: a large tree, extras, an older numpy that several older versions follow from, and a lot at once.
TREES = (
    "jupyter",
    "fastmcp[gemini]",
    "pypsa[hdf5]",
    "jupyter pandas scipy scikit-learn numpy<2",
    "jupyter fastmcp[gemini] pypsa[hdf5] transformers[serving] spacy",
)
GENERATED_ROOT, GENERATED, QUICK_GENERATED = "project-0", 100, 20
LATENCIES = (0, 20, 50)
# METADATA is a small file beside the wheel (PEP 658), as on the public index, or in the wheel, as on most others.
SITES = ("sidecars", "ranges")


@dataclass(frozen=True)
class Table:
    """A table to be: what is wanted, in which site, over which latency in milliseconds."""

    wanted: str
    site: str
    latency: int

    @property
    def title(self) -> str:
        """What it is called, as far as it is known before the first run."""
        return f"{self.wanted}: {self.site}, {self.latency} ms"


def tables(trees: Sequence[str]) -> list[Table]:
    """Return the tables for trees: each over 20 ms, the first over all latencies."""
    return [
        Table(tree, site, latency)
        for tree, site, latency in product(trees, SITES, LATENCIES)
        if latency == LATENCIES[1] or tree == trees[0]
    ]


def run_table(table: Table, root: Path, runs: int) -> None:
    """Serve the site as the table wants it, run the contestants, print the table."""
    with serving(root / table.site, latency=table.latency / 1000) as server:
        job = Job(f"{server.url}/simple", table.wanted.split(), root)
        entrants = [enter(job) for enter in (fetcher, blocking_fetcher, uv, unearth, pip, fast_pip)]
        done = alternate([one for one in entrants if isinstance(one, Contestant)], server, runs)
        missing = [one for one in entrants if isinstance(one, Missing)]
        print_table(f"{table.title}, {len(job.chosen)} projects, {server.name}", done, missing)


def print_method(chosen: Namespace, wheels: str) -> None:
    """Say what is measured, and how."""
    lines = [
        "server: on loopback; the milliseconds of a title are waited before each answer",
        wheels,
        describe_machine(),
        describe_versions(["fetcher", "resolvelib", "uv", "unearth", "pip"]),
        f"each a whole process with an empty cache: one uncounted run, then {counted_runs(chosen)} that count, in turn",
        "medians, and ratios of runs side by side: median (least–most); all chose the same versions",
    ]
    print("\n".join(f"- {line}" for line in lines), flush=True)


def main(arguments: Sequence[str]) -> None:
    """Print the method, then each table as it is done."""
    parser = options("Time resolutions.")
    chosen = parser.parse_args(arguments)
    trees = TREES if chosen.corpus else [GENERATED_ROOT]
    wanted = [table for table in tables(trees) if chosen.only.lower() in table.title.lower()]
    if not wanted:
        parser.error(f"no title contains {chosen.only!r}")
    with tempfile.TemporaryDirectory(prefix="fetcher-bench-") as folder:
        root = Path(folder)
        if chosen.corpus:
            wheels = find_all_wheels(chosen.corpus)
        else:
            wheels = generate_tree(root / "wheels", QUICK_GENERATED if chosen.quick else GENERATED)
        if not wheels:
            raise Failed(f"no wheel for this Python is below {', '.join(map(str, chosen.corpus))}")
        for site in {table.site for table in wanted}:
            lay_out(wheels, root / site, sidecars=site == SITES[0])
        print_method(chosen, describe_wheels(wheels, real=bool(chosen.corpus)))
        for table in wanted[:1] if chosen.quick else wanted:
            run_table(table, root, counted_runs(chosen))


if __name__ == "__main__":
    run(main)
