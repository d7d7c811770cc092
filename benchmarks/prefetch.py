"""Time mirrors of many projects: `python benchmarks/prefetch.py [--corpus DIR]... [--quick] [--runs N] [--only WORD]`.

One table is the making of a mirror: pages, and files against their digests; beside `fetcher prefetch` stand
`bandersnatch mirror`, and downloaders that bring the same files and no pages.  The other is a run that finds nothing
new, which begins with a copy of the mirror that the same program has made.
"""

import tempfile
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from corpus import Wheel
from downloaders import Entrant, Job, aria2c
from measure import OURS, Contestant, Failed, Missing, alternate, print_table, run_once
from mirrors import WORKERS, bandersnatch, copy_mirror, fetcher, lay_out_index, once_more, pip
from program import (
    counted_runs,
    describe_machine,
    describe_versions,
    describe_wheels,
    human_size,
    load_wheels,
    options,
    run,
)
from server import Server, serving

MAKE, UPDATE = "a new mirror of", "nothing new in a mirror of"
PEERS = ("bandersnatch", "pip", "aria2c")


def run_table(title: str, entrants: Sequence[Entrant], server: Server, chosen: Namespace) -> None:
    """Run the contestants and print the table."""
    contestants = [one for one in entrants if isinstance(one, Contestant)]
    done = alternate(contestants, server, counted_runs(chosen), uncounted=0 if chosen.quick else 1)
    print_table(title, done, [one for one in entrants if isinstance(one, Missing)])
    for name, runs in done.items():
        if not isinstance(runs, Failed) and runs[0].unchanged:
            print(f"\nanswered by 304: {runs[0].unchanged} of {name}'s {runs[0].requests} requests", flush=True)


def make(job: Job) -> list[Entrant]:
    """Return who brings the corpus; bandersnatch and we make a mirror of it."""
    return [fetcher(job), bandersnatch(job), pip(job), aria2c(job, "-j", "16"), aria2c(job)]


def update(job: Job, server: Server, folder: Path) -> list[Entrant]:
    """Return who makes sure that there is nothing new; each makes its mirror first."""
    return [made(fetcher(job), server, folder / "ours"), made(bandersnatch(job), server, folder / "theirs")]


def made(one: Entrant, server: Server, folder: Path) -> Entrant:
    """Return who updates a mirror, which is made now, and kept in a folder; who cannot make one cannot take part.

    Raises Failed if that is us.
    """
    if isinstance(one, Contestant):
        try:
            run_once(kept(one, folder), server)
        except Failed as failed:
            if one.name.startswith(OURS):
                raise
            return Missing(once_more(one, folder).name, str(failed).partition("\n")[0])
    return once_more(one, folder)


def kept(one: Contestant, folder: Path) -> Contestant:
    """Return the same contestant, whose mirror is copied to a folder once it is looked at."""

    def check(output: bytes, out: Path) -> None:
        one.check(output, out)
        copy_mirror(out, folder)

    return replace(one, check=check)


def print_method(chosen: Namespace, corpus: Sequence[Wheel], server: Server) -> None:
    """Say what is measured, and how."""
    before = "none that does not" if chosen.quick else "one that does not"
    lines = [
        f"server: {server.name} on loopback",
        describe_wheels(corpus, real=bool(chosen.corpus)),
        describe_machine(),
        describe_versions(["fetcher", *PEERS]),
        f"runs of each that count: {counted_runs(chosen)}, in turn, after {before}; each a process in an empty folder",
        "medians, and ratios of runs side by side: median (least–most)",
        "all are told exact versions; each file that is there afterwards, and each page, is looked at",
        f"bandersnatch has {WORKERS} workers, its most, and is pointed at static files: the projects with serials",
        "  (as PyPI alone has them), which is all it asks for where nothing is new, and the older JSON API; beside the",
        "  files it puts no METADATA (PEP 658)",
        "pip and aria2c bring the files and no pages; aria2c is given their digests",
    ]
    print("\n".join(line if line.startswith(" ") else f"- {line}" for line in lines), flush=True)


def main(arguments: Sequence[str]) -> None:
    """Print the method, then each table as it is done."""
    chosen = options("Time mirrors of many projects.").parse_args(arguments)
    wanted = [title for title in (MAKE, UPDATE) if chosen.only.lower() in title.lower()]
    if not wanted:
        raise Failed(f"no table has {chosen.only!r} in its title")
    with tempfile.TemporaryDirectory(prefix="fetcher-bench-") as name:
        folder = Path(name)
        site, lists = folder / "site", folder / "lists"
        corpus = load_wheels(chosen, folder / "wheels")
        lay_out_index(corpus, site)
        lists.mkdir()
        with serving(site) as server:
            print_method(chosen, corpus, server)
            job = Job(corpus, server.url, lists)
            described = f"{len(corpus)} files, {human_size(sum(wheel.size for wheel in corpus))}"
            for title in wanted:
                entrants = make(job) if title == MAKE else update(job, server, folder)
                run_table(f"{title} {described}", entrants, server, chosen)


if __name__ == "__main__":
    run(main)
