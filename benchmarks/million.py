"""Mirror an index of a million files: `python benchmarks/million.py [--quick] [--projects N] [--files N] [--to DIR]`.

The index is `simulated`: a process beside us makes small, valid wheels as they are asked for.  `fetcher prefetch --all`
mirrors all of it, and is looked at all the while: does it go on as fast as it began, does its memory stay the same?  A
second run finds nothing new.
"""

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
import urllib.request
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from urllib.parse import unquote

from measure import MIB, RSS_UNIT, Failed, clean_environment
from program import describe_machine, describe_versions, run, spread
from server import free_ports, running
from simulated import NAME, simulated_file

SIMULATED = Path(__file__).with_name("simulated.py")
PROJECTS, QUICK_PROJECTS = 10_000, 20
FILES, QUICK_FILES = 100, 25
# Seconds between two looks; and between two questions whether it has ended.
BEAT, STEP = 1.0, 0.02
# What a file takes: its directory, itself and its METADATA, each a block.
INODES, BLOCKS, BLOCK = 3, 3, 4096
# So many files are read again for their digest.
SAMPLE = 100
PARTS = 10


@dataclass(frozen=True)
class Sample:
    """A look at a run: seconds since its begin, files that the server has sent, bytes of memory of the process, and the
    seconds of processor time that it has taken."""

    seconds: float
    files: int
    memory: int
    cpu: float


@dataclass(frozen=True)
class Finished:
    """A run: seconds of the clock and of the processor, bytes of peak memory, what was seen meanwhile, and what the
    server counted; its processor time is among that."""

    wall: float
    cpu: float
    memory: int
    samples: Sequence[Sample]
    counts: dict[str, float]


@dataclass(frozen=True)
class Step:
    """A part of a run: files, seconds and bytes of memory at its end; files a second, and processor seconds a file, in
    this part alone."""

    files: int
    seconds: float
    memory: int
    rate: float
    cpu: float


def steps(samples: Sequence[Sample], count: int = PARTS) -> list[Step]:
    """Divide a run into parts of as many files, at the looks that are next to their ends."""
    total = samples[-1].files
    ends = [next(one for one in samples if one.files * count >= total * (number + 1)) for number in range(count)]
    found, before = [], samples[0]
    for end in dict.fromkeys(ends):
        files = end.files - before.files
        rate, cpu = files / (end.seconds - before.seconds), (end.cpu - before.cpu) / files
        found.append(Step(end.files, end.seconds, end.memory, rate, cpu))
        before = end
    return found


@contextmanager
def simulating(projects: int, files: int) -> Iterator[str]:
    """Run the index until the block is left; give its URL."""
    (port,) = free_ports(1)
    command = [sys.executable, str(SIMULATED), str(port), str(projects), str(files)]
    with tempfile.TemporaryDirectory(prefix="fetcher-bench-") as folder, running(command, Path(folder), port):
        yield f"http://127.0.0.1:{port}"


def counts(url: str) -> dict[str, float]:
    """Return what the index has counted."""
    with urllib.request.urlopen(f"{url}/counts", timeout=60) as answer:
        found: dict[str, float] = json.load(answer)
    return found


def watch(command: Sequence[str], url: str) -> Finished:
    """Run a command to its end, and look at it all the while.  Raises Failed."""
    before = counts(url)
    with tempfile.TemporaryFile() as stderr:
        began = time.monotonic()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr, env=clean_environment()
        )
        samples = [Sample(0.0, 0, 0, 0.0)]
        try:
            while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
                if time.monotonic() - began > samples[-1].seconds + BEAT:
                    sent = counts(url).get("files", 0) - before.get("files", 0)
                    samples.append(Sample(time.monotonic() - began, int(sent), *look_at(process.pid)))
                time.sleep(STEP)
        except BaseException:
            process.kill()
            process.wait()
            raise
        wall, usage = time.monotonic() - began, ended[2]
        process.returncode = os.waitstatus_to_exitcode(ended[1])
        if process.returncode:
            stderr.seek(0)
            said = stderr.read().decode(errors="replace").strip()[-1000:]
            raise Failed(f"it ended with {process.returncode}: {said}\n{shlex.join(command)}")
    after = counts(url)
    counted = {name: after[name] - before.get(name, 0) for name in after}
    cpu = usage.ru_utime + usage.ru_stime
    samples.append(Sample(wall, int(counted.get("files", 0)), samples[-1].memory, cpu))
    return Finished(wall, cpu, usage.ru_maxrss * RSS_UNIT, samples, counted)


def look_at(pid: int) -> tuple[int, float]:
    """Return the bytes of memory that a process has, and the seconds of processor time that it has taken."""
    command = ["ps", "-o", "rss=,time=", "-p", str(pid)]
    told = subprocess.run(command, check=False, capture_output=True, text=True).stdout.split()
    if len(told) < 2:  # it has just ended
        return 0, 0.0
    days, _, clock = told[1].rpartition("-")
    seconds = reduce(lambda so_far, part: so_far * 60 + float(part), clock.split(":"), 0.0)
    return int(told[0]) * 1024, int(days or 0) * 86400 + seconds


def check(mirror: Path, projects: int, files: int) -> None:
    """Raise Failed unless the page of each project lists its files, all are there, and a sample is right."""
    sample = set(spread(range(projects), SAMPLE))
    for project in range(projects):
        folder = mirror / "simple" / NAME.format(project)
        listed = json.loads((folder / "index.json").read_bytes())["files"]
        if len(listed) != files:
            raise Failed(f"the page of {folder.name} lists {len(listed)} files instead of {files}")
        for file in listed:
            path = folder / unquote(file["url"])
            if not path.with_name(f"{path.name}.metadata").is_file() or path.stat().st_size != file["size"]:
                raise Failed(f"{path.name} is not there as its page says")
        if project in sample and not any(
            path.read_bytes() == simulated_file(project, 0).body
            for path in (folder / unquote(file["url"]) for file in listed)
        ):
            raise Failed(f"a file of {folder.name} has other bytes")


def make_room(folder: Path, files: int) -> None:
    """Raise Failed unless a disk has room for so many files."""
    found = os.statvfs(folder)
    most = min(found.f_bavail * found.f_frsize // (BLOCKS * BLOCK), found.f_favail // INODES)
    if most < files:
        raise Failed(f"{folder} has room for {most:,} files, not for {files:,}: --projects or --files less, or --to")


def print_run(title: str, done: Finished) -> None:
    """Print what a run took."""
    told = {
        "wall s": f"{done.wall:.1f}",
        "CPU s": f"{done.cpu:.1f}",
        "CPU s of the server": f"{done.counts['cpu']:.1f}",
        "memory MiB": f"{done.memory / MIB:.0f}",
        "requests": f"{done.counts.get('requests', 0):.0f}",
        "answered by 304": f"{done.counts.get('not modified', 0):.0f}",
    }
    print(
        f"\n### {title}\n\n| {' | '.join(told)} |\n|{'---:|' * len(told)}\n| {' | '.join(told.values())} |", flush=True
    )


def print_steps(found: Sequence[Step]) -> None:
    """Print how a run went on; what is a second's or a file's is that of the row alone."""
    print("\n| files | after s | memory MiB | files/s | CPU ms a file |\n|---:|---:|---:|---:|---:|")
    for step in found:
        told = f"{step.seconds:.0f} | {step.memory / MIB:.0f} | {step.rate:.0f} | {step.cpu * 1000:.2f}"
        print(f"| {step.files:,} | {told} |")
    sys.stdout.flush()


def parse(arguments: Sequence[str]) -> Namespace:
    """Read the command line."""
    parser = ArgumentParser(description="Mirror a simulated index of a million files.")
    parser.add_argument("--quick", action="store_true", help="a few hundred files: a look, not figures to quote")
    parser.add_argument("--projects", type=int, metavar="N", help=f"[{PROJECTS}; --quick: {QUICK_PROJECTS}]")
    parser.add_argument("--files", type=int, metavar="N", help=f"of each project [{FILES}; --quick: {QUICK_FILES}]")
    parser.add_argument("--to", type=Path, metavar="DIR", help="where the mirror is made, in a folder that goes again")
    parser.add_argument("--report", type=Path, metavar="FILE", help="keep the report of the first run")
    chosen = parser.parse_args(arguments)
    chosen.projects = chosen.projects or (QUICK_PROJECTS if chosen.quick else PROJECTS)
    chosen.files = chosen.files or (QUICK_FILES if chosen.quick else FILES)
    return chosen


def main(arguments: Sequence[str]) -> None:
    """Print the method, then each run as it is done."""
    chosen = parse(arguments)
    total = chosen.projects * chosen.files
    with tempfile.TemporaryDirectory(prefix="fetcher-bench-", dir=chosen.to) as name:
        folder = Path(name)
        make_room(folder, total)
        mirror = folder / "mirror"
        report = (chosen.report or folder / "report.html").absolute()
        print(f"- a simulated index of {chosen.projects:,} projects, each of {chosen.files:,} wheels of a kilobyte")
        print(f"- {describe_machine()}, which the server shares\n- {describe_versions(['fetcher'])}", flush=True)
        with simulating(chosen.projects, chosen.files) as url:
            always = ["--no-config", "--quiet", "--no-progress", "--all", "--to", str(mirror), "-i", f"{url}/simple"]
            command = [sys.executable, "-m", "fetcher", "prefetch", *always]
            first = watch([*command, "--report", str(report)], url)
            check(mirror, chosen.projects, chosen.files)
            print_run(f"{total:,} files", first)
            print_steps(steps(first.samples))
            second = watch(command, url)
            print_run("once more, nothing new", second)
            if second.counts.get("files"):
                raise Failed("the second run brought files once more")


if __name__ == "__main__":
    run(main)
