"""Runs that are killed at any moment: no final name ever holds anything but the whole file, and the next run goes on.

`FETCHER_KILLS` is the number of kills for each set of wheels.
"""

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest
from corpus import lay_out, make_wheel
from web_server import serving
from wire_checks import held_in

import fetcher as fetcher_package

pytestmark = pytest.mark.real

KILLS = int(os.environ.get("FETCHER_KILLS", "2"))
SEED = 5
MEGABYTE = 1_000_000
# Before this the interpreter has not even begun, in seconds.
BEGUN = 0.25


@dataclass(frozen=True)
class Site:
    """What is served, and what to ask for: `targets` are the lines of a requirements file.

    `vouched`: they name digests; else there is nothing but the server's strong ETag.
    """

    targets: list[str]
    sha256: dict[str, str]
    sizes: dict[str, int]
    vouched: bool


# Such a way that several connections bring a large file: bytes per second of each, and seconds before an answer.
LINK = {"rate": 20_000_000, "latency": 0.05}
SITES: dict[str, tuple[int, int, bool, dict[str, Any]]] = {
    "one of 200 MB": (1, 200, True, {}),
    "one of 200 MB without a digest": (1, 200, False, {}),
    "200 of 1 MB": (200, 1, True, {}),
    "one of 200 MB over a link": (1, 200, True, LINK),
}


@pytest.fixture(params=SITES.values(), ids=SITES)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    count, megabytes, vouched, how = request.param
    # Random bytes: no piece is like another, and one that is out of place is seen.
    wheels = [make_wheel(tmp_path / "wheels", f"demo{number}", megabytes * MEGABYTE) for number in range(count)]
    lay_out(wheels, tmp_path / "root")
    with serving(tmp_path / "root", **how) as server:
        urls = {wheel: f"{server.url}/files/{wheel.path.name}" for wheel in wheels}
        targets = [f"{url}#sha256={wheel.sha256}" if vouched else url for wheel, url in urls.items()]
        sha256 = {wheel.path.name: wheel.sha256 for wheel in wheels}
        yield Site(targets, sha256, {wheel.path.name: wheel.size for wheel in wheels}, vouched)


@dataclass(frozen=True)
class Program:
    """`fetcher get -r LIST --dest DIR`, and what must hold whenever it ends."""

    site: Site
    dest: Path

    def start(self) -> "subprocess.Popen[bytes]":
        listed = self.dest.with_suffix(".txt")
        listed.write_text("\n".join(self.site.targets), encoding="utf-8")
        return subprocess.Popen(
            [sys.executable, "-m", "fetcher", "get", "-r", str(listed), "--dest", str(self.dest), "--json"],
            stdout=subprocess.PIPE,
            env={
                **{name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "FETCHER_NO_CACHE") if name in os.environ},
                "HOME": str(self.dest.parent),
                "PYTHONPATH": str(Path(fetcher_package.__file__).parents[1]),
            },
        )

    def killed_at(self, seconds: float) -> bool:
        """Run it so long and kill it; False if it had done by then."""
        process = self.start()
        try:
            process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return True
        assert process.returncode == 0
        return False

    def run(self) -> list[dict[str, Any]]:
        """Run it to its end, which must be a good one."""
        process = self.start()
        stdout, _ = process.communicate()
        assert process.returncode == 0
        return [json.loads(line) for line in stdout.splitlines()]

    @property
    def finals(self) -> set[str]:
        return {path.name for path in self.dest.glob("*") if not path.name.startswith(".")}

    @property
    def held(self) -> int:
        """The bytes in parts that say what they are parts of: nobody can go on from others."""
        return held_in(self.dest)

    @property
    def missing(self) -> int:
        """A file that is there but that nobody vouches for is missing too."""
        finals = self.finals if self.site.vouched else set()
        return sum(size for name, size in self.site.sizes.items() if name not in finals) - self.held

    def check_finals(self) -> None:
        """What has its final name is whole."""
        for name in self.finals:
            assert hashlib.sha256((self.dest / name).read_bytes()).hexdigest() == self.site.sha256[name], name

    def check_done(self) -> None:
        """Everything is there, and nothing else."""
        assert sorted(path.name for path in self.dest.iterdir()) == sorted(self.site.sha256)
        self.check_finals()


def check_next_run(program: Program) -> None:
    """No more than 5 % above what was missing crosses the wire.

    Missing is what is in no final file, and in no part on the disk.  Nothing is added to that: a part is gone on from
    behind its last byte, and where there is none the whole file is missing.  Only of a part that is all there the last
    byte is asked for, if no digest vouches for it.
    """
    missing, held, slack = program.missing, program.held, 0 if program.site.vouched else 1
    transferred = sum(file["bytes"] for file in program.run())
    print(f"{missing} bytes were missing, {held} held in parts, {transferred} transferred")
    assert transferred <= 1.05 * missing + slack
    program.check_done()


def test_killed_at_random_moments(site: Site, tmp_path: Path) -> None:
    """Killed once or again and again, then let go on to its end."""
    program = Program(site, tmp_path / "dest")
    began = time.monotonic()
    check_next_run(program)
    longest = max(time.monotonic() - began, 2 * BEGUN)
    chance = random.Random(SEED)
    kills = 0
    # A run may have done before its moment comes: then it is no kill, and the next begins with nothing.
    for _ in range(5 * KILLS):
        if program.killed_at(chance.uniform(BEGUN, longest)):
            kills += 1
            program.check_finals()
            if kills < KILLS and chance.random() < 0.5:
                continue
            check_next_run(program)
        program.check_done()
        rmtree(program.dest)
        if kills == KILLS:
            break
    assert kills
