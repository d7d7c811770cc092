"""A small file system of a test's own: it can be full or read-only, and is gone with the test however that ends."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


# A command of which a line is heard: an empty one if all went well, else what it says.
_SAYING = "said=$({} 2>&1) && echo || echo ${{said:-it failed}}"


@dataclass(frozen=True)
class Volume:
    """A file system in memory, mounted where only its keeper sees it; everybody else goes through `path`.

    The keeper is a shell in a mount namespace of its own, and for who is not root in a user namespace too.  It ends
    with its standard input, and the file system with it.
    """

    path: Path
    _mounted: str = field(repr=False)
    _keeper: subprocess.Popen[str] = field(repr=False)

    def make_read_only(self) -> None:
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        print(_SAYING.format(f"mount -o remount,bind,ro {self._mounted}"), file=self._keeper.stdin, flush=True)
        assert self._keeper.stdout.readline() == "\n"


@contextmanager
def volume(mount_point: Path, options: str) -> Iterator[Volume]:
    """Mount a tmpfs with the options of `mount -o`; skip the test where that is not allowed."""
    if sys.platform != "linux" or shutil.which("unshare") is None:
        pytest.skip("a test can mount a file system of its own on Linux only, with the program unshare (util-linux)")
    mount_point.mkdir()
    mounted = shlex.quote(str(mount_point))
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    script = f"{_SAYING.format(f'mount -t tmpfs -o {options} none {mounted}')}; exec sh"
    with subprocess.Popen(
        ["unshare", "--mount", *user, "sh", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as keeper:
        assert keeper.stdout is not None
        if refusal := keeper.stdout.readline().strip():
            pytest.skip(f"no file system can be mounted here: {refusal}")
        yield Volume(Path(f"/proc/{keeper.pid}/root{mount_point}"), mounted, keeper)
