"""Who resolves: each function returns a contestant for a job, or which of them is missing here and why.

Each is told the same requirements, and is checked by what it chose: all must have chosen the same as the first.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from measure import Contestant, Failed, Missing
from packaging.utils import canonicalize_name
from readers import INSTALL, PEERS
from server import find_program

Pins = Mapping[str, str]
Read = Callable[[bytes, Path], Pins]


@dataclass
class Job:
    """Requirements, the index that has what they need, a folder for a list, and what the first who was done chose."""

    index: str
    wanted: Sequence[str]
    folder: Path
    chosen: dict[str, str] = field(default_factory=dict)

    def agree(self, read: Read) -> Callable[[bytes, Path], None]:
        """Return a check: what is `read` from the output and its folder must be what the others chose."""

        def check(output: bytes, out: Path) -> None:
            found = read(output, out)
            self.chosen = self.chosen or dict(found)
            other = sorted(name for name in {*found, *self.chosen} if found.get(name) != self.chosen.get(name))
            if other:
                name = other[0]
                differs = f"{name} {found.get(name)}, not {self.chosen.get(name)}"
                raise Failed(f"it chose {len(other)} of {len(self.chosen)} otherwise, {differs} for one")

        return check

    def by_program(self, name: str, program: str) -> Contestant:
        """Return the contestant that is one of our programs."""
        return Contestant(name, [sys.executable, str(PEERS / program), self.index, *self.wanted], self.agree(_pins))


Entrant = Contestant | Missing
Resolver = Callable[[Job], Entrant]


def fetcher(job: Job) -> Entrant:
    """resolvelib on fetcher's asynchronous front door."""
    return job.by_program("fetcher, async", "resolve_async.py")


def blocking_fetcher(job: Job) -> Entrant:
    """resolvelib on fetcher's blocking front door."""
    return job.by_program("fetcher, blocking", "resolve_blocking.py")


def unearth(job: Job) -> Entrant:
    """resolvelib on unearth."""
    if not find_spec("unearth"):
        return Missing("unearth", INSTALL)
    return job.by_program("unearth", "resolve_unearth.py")


def uv(job: Job) -> Entrant:
    """`uv pip compile` without a cache; that it looks at the interpreter, which it caches too, is part of it."""
    program = find_program("uv")
    if not program:
        return Missing("uv", INSTALL)
    quiet = ["--no-config", "--no-header", "--no-annotate", "--quiet", "--no-cache", "--python", sys.executable]
    wanted = job.folder / "wanted.txt"
    wanted.write_text("\n".join(job.wanted), encoding="utf-8")
    command = [program, "pip", "compile", *quiet, "--index-url", job.index, str(wanted)]
    return Contestant("uv", command, job.agree(_pins))


def pip(job: Job) -> Entrant:
    """`pip install --dry-run`: sidecars where there are any, else the wheels."""
    return _pip(job, "pip")


def fast_pip(job: Job) -> Entrant:
    """The same with fast-deps: ranges of the wheels that have no sidecar."""
    return _pip(job, "pip, fast-deps", "--use-feature=fast-deps")


def _pip(job: Job, name: str, *more: str) -> Entrant:
    if not find_spec("pip"):
        return Missing(name, INSTALL)
    flags = ["--dry-run", "--ignore-installed", "--no-cache-dir", "--quiet", "--disable-pip-version-check", *more]
    command = [sys.executable, "-m", "pip", "install", *flags, "--report", "{out}/report.json"]
    command += ["--index-url", job.index, *job.wanted]
    return Contestant(name, command, job.agree(_report), {"PIP_CONFIG_FILE": os.devnull})


def _pins(output: bytes, _: Path) -> Pins:
    return dict(line.split("==") for line in output.decode().split())


def _report(_: bytes, out: Path) -> Pins:
    installed = [one["metadata"] for one in json.loads((out / "report.json").read_bytes())["install"]]
    return {canonicalize_name(said["name"]): said["version"] for said in installed}
