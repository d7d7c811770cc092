"""Whole processes, timed side by side: `alternate` runs the contestants in turn, `print_table` shows the medians.

Wall time, CPU time (user and system, of the process and its children) and peak memory (of the largest single process
among them) are the operating system's own account of a finished run; requests and bytes are the server's.
"""

import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from server import Server

# What ru_maxrss counts in.
RSS_UNIT = 1 if sys.platform == "darwin" else 1024
MIB = 1 << 20


class Failed(Exception):
    """A contestant did not do the work."""


@dataclass(frozen=True)
class Run:
    """One finished run: seconds, bytes of peak memory, requests and bytes of bodies that the server counted."""

    wall: float
    cpu: float
    memory: int
    requests: int
    bytes: int


@dataclass(frozen=True)
class Contestant:
    """A command, and the check that it did the work: `check(output)` raises Failed.

    `{out}` in an argument is a new, empty folder, thrown away after the run.
    """

    name: str
    command: Sequence[str]
    check: Callable[[bytes, Path], None]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Missing:
    """A contestant that cannot run here, and why."""

    name: str
    reason: str


def alternate(contestants: Sequence[Contestant], server: Server, runs: int) -> dict[str, list[Run]]:
    """Run each contestant once uncounted, then all in turn, `runs` times; raises Failed."""
    done: dict[str, list[Run]] = {contestant.name: [] for contestant in contestants}
    for number in range(runs + 1):
        for contestant in contestants:
            run = run_once(contestant, server)
            if number:
                done[contestant.name].append(run)
    return done


def run_once(contestant: Contestant, server: Server) -> Run:
    """Run a contestant to its end and check what it did."""
    with tempfile.TemporaryDirectory(prefix="fetcher-bench-") as folder:
        out = Path(folder) / "out"
        out.mkdir()
        command = [argument.replace("{out}", str(out)) for argument in contestant.command]
        server.forget()
        with (Path(folder) / "stdout").open("w+b") as stdout, (Path(folder) / "stderr").open("w+b") as stderr:
            began = time.monotonic()
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env={**os.environ, **contestant.environment},
                cwd=out,
            )
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.monotonic() - began
            process.returncode = os.waitstatus_to_exitcode(status)
            stdout.seek(0)
            stderr.seek(0)
            if process.returncode:
                said = stderr.read().decode(errors="replace")[-1000:]
                raise Failed(f"{contestant.name} ended with {process.returncode}: {said}\n{shlex.join(command)}")
            contestant.check(stdout.read(), out)
    requests, size = server.count()
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * RSS_UNIT, requests, size)


def print_table(title: str, done: Mapping[str, list[Run]], missing: Sequence[Missing] = ()) -> None:
    """Print a table in Markdown: medians, and the ratio of the first contestant's wall time to each other's."""
    print(f"\n### {title}\n")
    rows = [("", "wall s", "CPU s", "memory MiB", "requests", "MiB", "ours / theirs")]
    ours = next(iter(done.values()))
    for name, runs in done.items():
        ratio = "" if runs is ours else _ratio([a.wall / b.wall for a, b in zip(ours, runs, strict=True)])
        rows.append((name, *_medians(runs), ratio))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for number, row in enumerate(rows):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 1) + (":" if at else "-") for at, width in enumerate(widths)) + "|")
    for peer in missing:
        print(f"\nmissing: {peer.name}: {peer.reason}")
    sys.stdout.flush()


def _medians(runs: Sequence[Run]) -> tuple[str, ...]:
    def median(of: Callable[[Run], float]) -> float:
        return statistics.median(map(of, runs))

    return (
        f"{median(lambda run: run.wall):.2f}",
        f"{median(lambda run: run.cpu):.2f}",
        f"{median(lambda run: run.memory) / MIB:.0f}",
        f"{median(lambda run: run.requests):.0f}",
        f"{median(lambda run: run.bytes) / MIB:.1f}",
    )


def _ratio(ratios: Sequence[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
