"""Whole processes, timed side by side: `alternate` runs the contestants in turn, `print_table` shows the medians.

Wall time, CPU time (user and system, of the process and its children) and peak memory (of the largest single process
among them) are the operating system's own account of a finished run; requests and bytes are the server's.
"""

import os
import re
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from server import Server

LAUNCH = Path(__file__).with_name("launch.py")
# What ru_maxrss counts in.
RSS_UNIT = 1 if sys.platform == "darwin" else 1024
MIB = 1 << 20
# Contestants whose name begins so are ours: the others are compared with the first of them, and they must not fail.
OURS = "fetcher"
# What people set for their own use of these tools has no place in a contest; nor have their proxies.
SETTINGS = re.compile("(FETCHER|NAB|PIP|POETRY|UV)_|.*_PROXY$|PYTHONDONTWRITEBYTECODE$", re.IGNORECASE)


class Failed(Exception):
    """A contestant did not do the work."""


@dataclass(frozen=True)
class Run:
    """One finished run: seconds, bytes of peak memory, requests and bytes of bodies that the server counted.

    `unchanged` of the requests were answered by 304.
    """

    wall: float
    cpu: float
    memory: int
    requests: int
    bytes: int
    unchanged: int = 0


def leave_empty(out: Path) -> None:
    """Begin with nothing."""


@dataclass(frozen=True)
class Contestant:
    """A command, and the check that it did the work: `check(output, out)` raises Failed.

    `{out}` in an argument is a new folder, in which it runs, and which is thrown away after the run; `begin(out)` puts
    what it begins with there, and is not timed.
    """

    name: str
    command: Sequence[str]
    check: Callable[[bytes, Path], None]
    environment: Mapping[str, str] = field(default_factory=dict)
    begin: Callable[[Path], None] = leave_empty


@dataclass(frozen=True)
class Missing:
    """A contestant that cannot run here, and why."""

    name: str
    reason: str


def alternate(
    contestants: Sequence[Contestant], server: Server, runs: int, *, uncounted: int = 1, scratch: Path | None = None
) -> dict[str, list[Run] | Failed]:
    """Run all contestants in turn: first the runs that do not count, then those that do.

    One that fails is left out from then on, and has its failure for a result; if it is ours, Failed is raised.
    `scratch` is where their folders are made, by default where the system has such things.
    """
    done: dict[str, list[Run] | Failed] = {contestant.name: [] for contestant in contestants}
    for number in range(uncounted + runs):
        for contestant in contestants:
            finished = done[contestant.name]
            if isinstance(finished, Failed):
                continue
            try:
                run = run_once(contestant, server, scratch)
            except Failed as failed:
                if contestant.name.startswith(OURS):
                    raise Failed(f"{contestant.name}: {failed}") from failed
                done[contestant.name] = failed
            else:
                finished += [run] if number >= uncounted else []
    return done


def run_once(contestant: Contestant, server: Server, scratch: Path | None = None) -> Run:
    """Run a contestant to its end and check what it did."""
    with tempfile.TemporaryDirectory(prefix="fetcher-bench-", dir=scratch) as folder:
        out = Path(folder) / "out"
        out.mkdir()
        command = [argument.replace("{out}", str(out)) for argument in contestant.command]
        contestant.begin(out)
        # What one run wrote is not written back at the cost of the next.
        os.sync()
        server.forget()
        with (Path(folder) / "stdout").open("w+b") as stdout, (Path(folder) / "stderr").open("w+b") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(LAUNCH), f"{folder}/took", *command],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=clean_environment() | dict(contestant.environment),
                cwd=out,
                start_new_session=True,
            )
            _wait(process)
            stdout.seek(0)
            stderr.seek(0)
            if process.returncode:
                said = (stderr.read() or stdout.read()).decode(errors="replace").strip()[-1000:]
                last = said.rpartition("\n")[2]
                raise Failed(f"it ended with {process.returncode}: {last}\n{shlex.join(command)}\n{said}")
            contestant.check(stdout.read(), out)
        wall, cpu, memory = map(float, (Path(folder) / "took").read_text().split())
    requests, size = server.count()
    return Run(wall, cpu, int(memory) * RSS_UNIT, requests, size, server.unchanged())


def clean_environment() -> dict[str, str]:
    """Return our environment without what people set for their own use of these tools."""
    return {name: value for name, value in os.environ.items() if not SETTINGS.match(name)}


def _wait(process: "subprocess.Popen[bytes]") -> None:
    """Wait for a process to end; if that is interrupted, end it and its children."""
    try:
        process.wait()
    except BaseException:
        with suppress(ProcessLookupError):  # it has just ended
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise


def print_table(title: str, done: Mapping[str, list[Run] | Failed], missing: Sequence[Missing] = ()) -> None:
    """Print a table in Markdown: medians, and the ratio of our wall time to theirs; below it who is not in it."""
    print(f"\n### {title}\n")
    ours = next((runs for name, runs in done.items() if name.startswith(OURS)), None)
    rows = [("", "wall s", "CPU s", "memory MiB", "requests", "MiB", "ours / theirs")]
    rows += [(name, *_cells(runs, ours)) for name, runs in done.items()]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for number, row in enumerate(rows):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 1) + (":" if at else "-") for at, width in enumerate(widths)) + "|")
    for name, runs in done.items():
        if isinstance(runs, Failed):
            print(f"\nfailed: {name}: {str(runs).partition(chr(10))[0]}")
    for peer in missing:
        print(f"\nmissing: {peer.name}: {peer.reason}")
    sys.stdout.flush()


def _cells(runs: list[Run] | Failed, ours: list[Run] | Failed | None) -> tuple[str, ...]:
    if isinstance(runs, Failed):
        return ("failed", "", "", "", "", "")
    if ours is None or isinstance(ours, Failed) or runs is ours:
        return (*_medians(runs), "")
    return (*_medians(runs), _ratio([a.wall / b.wall for a, b in zip(ours, runs, strict=True)]))


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
