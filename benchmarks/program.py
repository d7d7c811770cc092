"""What the benchmark programs share: options, the wheels they run on, the lines that tell the method.

A program's tables are chosen by a word of their titles; it ends with 1 where there is no server or where our own side
does not do the work.
"""

import os
import platform
import re
import signal
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from corpus import MIB, Wheel, find_wheels, generate_wheels
from measure import Failed
from server import NoServer, find_program

RUNS, QUICK_RUNS = 5, 2
GENERATED, QUICK_WHEELS = 500, 60
GIB = 1 << 30


def options(description: str) -> ArgumentParser:
    """Return the parser of the options that each program has."""
    parser = ArgumentParser(description=description)
    parser.add_argument(
        "--corpus",
        action="append",
        default=[],
        type=Path,
        metavar="DIR",
        help="a folder of wheels or of a Simple index; repeatable; without one, wheels are generated",
    )
    parser.add_argument("--quick", action="store_true", help="less of everything: a look, not figures to quote")
    parser.add_argument("--runs", type=int, metavar="N", help=f"counted runs of each [{RUNS}; --quick: {QUICK_RUNS}]")
    parser.add_argument("--only", default="", metavar="WORD", help="only the tables whose titles contain it")
    return parser


def counted_runs(chosen: Namespace) -> int:
    """Return how often each contestant is run for the table."""
    return int(chosen.runs or (QUICK_RUNS if chosen.quick else RUNS))


def load_wheels(chosen: Namespace, folder: Path) -> list[Wheel]:
    """Return the wheels of --corpus, or ones generated in the folder; a spread few of them with --quick."""
    if chosen.corpus:
        wheels = find_wheels(chosen.corpus)
        if not wheels:
            raise Failed(f"no wheel for this Python is below {', '.join(map(str, chosen.corpus))}")
    else:
        wheels = generate_wheels(folder, QUICK_WHEELS if chosen.quick else GENERATED)
    return spread(wheels, QUICK_WHEELS) if chosen.quick else wheels


def spread(wheels: Sequence[Wheel], count: int) -> list[Wheel]:
    """Return at most that many wheels, at even distances in the sequence."""
    count = min(count, len(wheels))
    return [wheels[number * len(wheels) // count] for number in range(count)]


def describe_machine() -> str:
    """Return the line that says what everything ran on."""
    return f"Python {platform.python_version()} on {platform.system()}, {os.cpu_count()} cores"


def describe_wheels(wheels: Sequence[Wheel], *, real: bool) -> str:
    """Return the line that says what the corpus is."""
    total = human_size(sum(wheel.size for wheel in wheels))
    return f"corpus: {len(wheels)} {'real' if real else 'generated'} wheels, {total}"


def describe_versions(names: Iterable[str]) -> str:
    """Return the line that names the version of each program or Python package; one that is not installed has none."""
    found = ((name, _version(name)) for name in names)
    return "versions: " + ", ".join(f"{name} {version}" for name, version in found if version)


def _version(name: str) -> str | None:
    if find_spec(name):
        return metadata.version(name)
    if not (path := find_program(name)):
        return None
    command = [path, "version" if name == "openssl" else "--version"]
    said = subprocess.run(command, check=False, capture_output=True, text=True).stdout
    number = re.search(r"\d+(\.\d+)+\w*", said)
    return number[0] if number else "of unknown version"


def human_size(size: int) -> str:
    """Return a size as people write it: `64 MiB`, `3.1 GiB`."""
    return f"{size / GIB:.3g} GiB" if size >= GIB else f"{size / MIB:.3g} MiB"


def run(main: Callable[[Sequence[str]], None]) -> None:
    """Run a program to its end and exit."""
    # So that a terminated program, too, leaves by its `finally`s: those end the servers.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        main(sys.argv[1:])
    except (NoServer, Failed) as reason:
        sys.exit(f"{Path(sys.argv[0]).name}: {reason}")
    except KeyboardInterrupt:
        sys.exit(130)
