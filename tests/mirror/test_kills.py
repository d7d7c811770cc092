"""A run that is killed at any moment: the next goes on, the tree ends as it should, and no reader is misled meanwhile.

`FETCHER_KILLS=20` kills twenty times instead of three.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from corpus import lay_out, wheel_at
from local_wheels import all_local_wheels
from real_servers import _clean_environment
from web_server import serving

from fetcher.storage.directory import PRIVATE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from server import Server

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL on Windows"),
]

KILLS = int(os.environ.get("FETCHER_KILLS", "3"))
# Of the local wheels; more of them for more kills.
WHEELS, LARGEST = (120, 4 << 20) if KILLS <= 3 else (600, 32 << 20)
CONNECTIONS = 16
_LINK = re.compile(r'href="(\.\./\.\./files/[^"#]+)')


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    paths = [path for path in all_local_wheels() if path.stat().st_size <= LARGEST]
    if len(paths) < WHEELS:
        pytest.skip("pip is configured with no local folder of enough wheels")
    chosen = {wheel.project: wheel for wheel in map(wheel_at, random.Random(1).sample(paths, len(paths)))}
    wheels = list(chosen.values())[:WHEELS]
    root = tmp_path_factory.mktemp("site")
    lay_out(wheels, root)
    names = tmp_path_factory.mktemp("names") / "names.txt"
    names.write_text("".join(f"{wheel.pin}\n" for wheel in wheels))
    with serving(root, rate=2 << 20) as served:
        served.forget()
        yield served, names


def start(server: Server, names: Path, to: Path, folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "fetcher", "prefetch", "-r", str(names), "--all-platforms", "--to", str(to)]
    return subprocess.Popen(
        [*command, "--index-url", f"{server.url}/simple", "--quiet", "--concurrency", str(CONNECTIONS)],
        env=_clean_environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def tree(root: Path) -> dict[str, bytes]:
    """What is served: the bytes of pages, the length of files, whose names are their digests."""
    paths = (path for path in root.rglob("*") if path.is_file() and PRIVATE not in path.relative_to(root).parts)
    return {
        path.relative_to(root).as_posix(): b"%d" % path.stat().st_size if path.suffix == ".whl" else path.read_bytes()
        for path in paths
    }


class Reader(threading.Thread):
    """Reads the pages of a mirror again and again, and notes what they name that is not there."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root
        self.read = 0
        self.missing: list[str] = []
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.005):
            for page in (self.root / "simple").glob("*/index.html"):
                self.read += 1
                links = _LINK.findall(page.read_text(encoding="utf-8"))
                self.missing += [link for link in links if not (page.parent / link).exists()]


def test_kills(index: tuple[Server, Path], tmp_path: Path) -> None:
    server, names = index
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    began = time.monotonic()
    process = start(server, names, whole, tmp_path)
    _, said = process.communicate()
    assert process.returncode == 0, said
    undisturbed = time.monotonic() - began
    _, size = server.count()
    server.forget()

    reader, chance = Reader(killed), random.Random(7)
    reader.start()
    try:
        for _ in range(KILLS):
            process = start(server, names, killed, tmp_path)
            time.sleep(chance.uniform(0.3, 0.3 + undisturbed * 2 / KILLS))
            process.send_signal(signal.SIGKILL)
            process.communicate()
        process = start(server, names, killed, tmp_path)
        _, said = process.communicate()
        assert process.returncode == 0, said
    finally:
        reader.over.set()
        reader.join()
    _, transferred = server.count()
    print(f"{KILLS} kills: {size} bytes in one run, {transferred} in all; {reader.read} pages read meanwhile")

    assert tree(killed) == tree(whole)
    assert list((killed / PRIVATE / "incoming").iterdir()) == []
    assert reader.missing == []
    assert reader.read > 0
    # What was on its way at a kill goes on from what had reached the disk: each connection holds up to a megabyte.
    assert transferred <= size * 1.1 + KILLS * CONNECTIONS * (1 << 20)
