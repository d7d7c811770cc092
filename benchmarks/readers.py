"""Who reads METADATA: each function returns a contestant for a job, or which of them is missing here and why.

Each is told one file of each project, by a pin, and is checked by what it prints: METADATA or its digest where the
program tells that, else what the program made of it.
"""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from corpus import Wheel
from measure import Contestant, Failed, Missing
from packaging.metadata import parse_email
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from server import find_program

PEERS = Path(__file__).with_name("peers")
INSTALL = 'it is not installed: pip install -e ".[bench]"'
# Before it, pip downloads in a dry run, too, every wheel whose METADATA it has read.
FIRST_LAZY_PIP = Version("25.3")

# What a contestant found, by project; and the check of a contestant.
Found = Mapping[str, object]
Check = Callable[[bytes, Path], None]


@dataclass(frozen=True)
class Job:
    """Wheels whose METADATA is asked for, the index with their pages, and a folder for lists of them.

    `concurrency` is of requests; without it each contestant does as many at once as it does by default.
    """

    wheels: Sequence[Wheel]
    index: str
    folder: Path
    concurrency: int | None = None

    def pins(self) -> str:
        """Write a file with a requirement for each wheel; return its path."""
        return self.write("pins.txt", [wheel.pin for wheel in self.wheels])

    def write(self, name: str, lines: Sequence[str]) -> str:
        """Write a file of lines; return its path."""
        path = self.folder / name
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return str(path)

    def at_once(self) -> list[str]:
        """Return the flag for the concurrency, if it is set."""
        return ["--concurrency", str(self.concurrency)] if self.concurrency else []

    def expect(self, of: Callable[[Wheel], object], read: Callable[[bytes, Path], Found]) -> Check:
        """Return a check: what is `read` from the output and its folder must be that `of` each wheel."""

        def check(output: bytes, out: Path) -> None:
            try:
                found = read(output, out)
            except (ValueError, KeyError, OSError) as error:
                raise Failed(f"its output cannot be read: {error!r}") from error
            wrong = [wheel.pin for wheel in self.wheels if found.get(wheel.project) != of(wheel)]
            if wrong:
                raise Failed(f"{len(wrong)} of {len(self.wheels)} are missing or wrong, {wrong[0]} for one")

        return check


Entrant = Contestant | Missing
Reader = Callable[[Job], Entrant]


def fetcher(job: Job) -> Entrant:
    """`fetcher metadata` with an empty cache, which it fills."""
    return _fetcher(job, "{out}/cache")


def warm_fetcher(job: Job) -> Entrant:
    """`fetcher metadata` with a cache that the uncounted run fills."""
    return _fetcher(job, str(job.folder / "fetcher-cache"))


def _fetcher(job: Job, cache: str) -> Entrant:
    quiet = ["--no-config", "--quiet", "--json", "--cache-dir", cache]
    flags = [*quiet, *job.at_once(), "--index-url", job.index, "-r", job.pins()]
    check = job.expect(_text, lambda output, _: {_name(row): row["metadata"] for row in _rows(output)})
    return Contestant("fetcher", [sys.executable, "-m", "fetcher", "metadata", *flags], check)


def uv(job: Job) -> Entrant:
    """`uv pip compile` without a cache; that it looks at the interpreter, which it caches too, is part of it."""
    return _uv(job, "--no-cache")


def warm_uv(job: Job) -> Entrant:
    """`uv pip compile` with a cache that the uncounted run fills."""
    return _uv(job, "--cache-dir", str(job.folder / "uv-cache"))


def _uv(job: Job, *cache: str) -> Entrant:
    program = find_program("uv")
    if not program:
        return Missing("uv", INSTALL)
    quiet = ["--no-config", "--no-header", "--no-annotate", "--quiet", "--python", sys.executable]
    asked = ["--index-url", job.index, job.pins(), "--override", job.write("overrides.txt", overrides(job.wheels))]
    check = job.expect(lambda wheel: wheel.pin, lambda output, _: _by_name(output.decode().split()))
    at_once = {"UV_CONCURRENT_DOWNLOADS": str(job.concurrency)} if job.concurrency else {}
    return Contestant("uv", [program, "pip", "compile", *cache, *quiet, *asked], check, at_once)


def overrides(wheels: Sequence[Wheel]) -> list[str]:
    """Return what makes a resolver read these wheels and no more: each dependency is one of them, or never needed."""
    chosen = {wheel.project: wheel.pin for wheel in wheels}
    for wheel in wheels:
        for dependency in _dependencies(wheel):
            with suppress(InvalidRequirement):  # resolvers pass over it, too
                name = canonicalize_name(Requirement(dependency).name)
                chosen.setdefault(name, f'{name} ; sys_platform == "never"')
    return list(chosen.values())


def nab(job: Job) -> Entrant:
    """nab-index, as nab uses it."""
    if not find_spec("nab_index"):
        return Missing("nab-index", INSTALL)
    check = job.expect(
        lambda wheel: hashlib.sha256(wheel.metadata).hexdigest(),
        lambda output, _: dict(line.split() for line in output.decode().splitlines()),
    )
    command = [sys.executable, str(PEERS / "nab.py"), job.index, job.pins(), *job.at_once()]
    return Contestant("nab-index", command, check)


def pip(job: Job) -> Entrant:
    """`pip install --dry-run` with fast-deps.

    The server's log shows for each wheel a HEAD, then nothing but ranges: the last 10 KiB in two requests, and often
    half a dozen more of a few bytes.  It reads wheel after wheel.
    """
    if not find_spec("pip"):
        return Missing("pip, fast-deps", INSTALL)
    version = Version(metadata.version("pip"))
    if version < FIRST_LAZY_PIP:
        reason = f"pip {version} downloads the wheels, too; {FIRST_LAZY_PIP} does not"
        return Missing("pip, fast-deps", f'{reason}: pip install -e ".[bench]"')
    only_read = ["--dry-run", "--no-deps", "--ignore-installed", "--no-cache-dir", "--use-feature=fast-deps"]
    quiet = ["--quiet", "--disable-pip-version-check", "--report", "{out}/report.json"]
    command = [sys.executable, "-m", "pip", "install", *only_read, *quiet, "--index-url", job.index, "-r", job.pins()]
    check = job.expect(_dependencies, lambda _, out: _requires(_report(out / "report.json")))
    return Contestant("pip, fast-deps", command, check, {"PIP_CONFIG_FILE": os.devnull})


def poetry(job: Job) -> Entrant:
    """poetry's repository, as its resolver asks it: wheel after wheel."""
    if not find_spec("poetry"):
        return Missing("poetry, lazy wheel", INSTALL)
    check = job.expect(_dependencies, lambda output, _: _requires(_rows(output)))
    command = [sys.executable, str(PEERS / "poetry_lazy.py"), job.index, job.pins()]
    return Contestant("poetry, lazy wheel", command, check)


def _text(wheel: Wheel) -> str:
    return wheel.metadata.decode("utf-8", "replace")


def _dependencies(wheel: Wheel) -> list[str]:
    return parse_email(wheel.metadata)[0].get("requires_dist", [])


def _rows(output: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def _report(path: Path) -> list[dict[str, Any]]:
    return [one["metadata"] for one in json.loads(path.read_bytes())["install"]]


def _requires(rows: Sequence[dict[str, Any]]) -> Found:
    return {_name(row): row.get("requires_dist", []) for row in rows}


def _name(row: dict[str, Any]) -> str:
    return canonicalize_name(row["name"])


def _by_name(pins: Sequence[str]) -> Found:
    return {pin.partition("==")[0]: pin for pin in pins}
