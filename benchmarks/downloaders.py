"""The programs that bring wheels, each a contestant over one job, and the check that it did what it was to do."""

import hashlib
import importlib.util
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from corpus import Wheel
from measure import Contestant, Failed, Missing
from program import spread

PYPDL_GET = Path(__file__).with_name("peers") / "pypdl_get.py"
# So many files of a run are read again for their digest; of all the others the size is enough.
SAMPLE = 20

# Each program or module that is wanted, and the line that installs it.
INSTALL = {
    "curl": "apt install curl",
    "aria2c": "apt install aria2",
    "wget2": "apt install wget2",
    "sha256sum": "apt install coreutils",
    "openssl": "apt install openssl",
    "bandersnatch": 'pip install -e ".[bench]"',
    "pip": 'pip install -e ".[bench]"',
    "pypdl": 'pip install -e ".[bench]"',
}
# The others are told by a flag to read no configuration.
ENVIRONMENT = {"PIP_CONFIG_FILE": os.devnull}

Entrant = Contestant | Missing


@dataclass(frozen=True)
class Job:
    """Wheels to bring, where they are served, and the folder for lists of them."""

    wheels: Sequence[Wheel]
    url: str
    lists: Path

    def listing(self, name: str, line: Callable[[str, Wheel], str]) -> str:
        """Write a file with a line of each wheel's URL, for a contestant to read; return its path."""
        path = self.lists / name
        lines = (line(f"{self.url}/files/{wheel.path.name}", wheel) for wheel in self.wheels)
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return str(path)

    def check(self, _: bytes, out: Path) -> None:
        """Raise Failed unless every wheel is in the folder, whole."""
        check_wheels(self.wheels, out)


def check_wheels(wheels: Sequence[Wheel], out: Path, sample: int = SAMPLE) -> None:
    """Raise Failed unless every wheel is in the folder in its size, and a sample of them with its digest."""
    for wheel in wheels:
        path = out / wheel.path.name
        if not path.is_file():
            raise Failed(f"{path.name} is missing")
        if path.stat().st_size != wheel.size:
            raise Failed(f"{path.name} has {path.stat().st_size} bytes instead of {wheel.size}")
    for wheel in spread(wheels, sample):
        check_digest(wheel, out / wheel.path.name)


def check_digest(wheel: Wheel, path: Path) -> None:
    """Raise Failed unless a file is that wheel."""
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != wheel.sha256:
            raise Failed(f"{path.name} has another sha256")


def entrant(job: Job, name: str, command: Sequence[str], needs: Sequence[str] = ()) -> Entrant:
    """Return the contestant of a command, or which of the programs and modules that it needs is missing."""
    for need in needs:
        if not shutil.which(need) and not importlib.util.find_spec(need):
            return Missing(name, f"{need} is not installed: {INSTALL[need]}")
    return Contestant(name, command, job.check, ENVIRONMENT)


def fetcher(job: Job, *flags: str) -> Entrant:
    """`fetcher get`: each file against the digest in its URL."""
    urls = job.listing("fetcher", lambda url, wheel: f"{url}#sha256={wheel.sha256}")
    always = ["--no-config", "--no-cache", "--quiet", "--no-progress", "--dest", "{out}"]
    command = [sys.executable, "-m", "fetcher", "get", *always, *flags, "-r", urls]
    return entrant(job, " ".join(["fetcher", *flags]), command)


def curl(job: Job, *flags: str) -> Entrant:
    """curl, which verifies nothing."""
    urls = job.listing("curl", lambda url, _: f'url = "{url}"')
    silent = ["--fail", "--silent", "--show-error", "--no-progress-meter"]
    command = ["curl", "--disable", *silent, *flags, "--remote-name-all", "--config", urls]
    return entrant(job, " ".join(["curl", *flags]), command, ["curl"])


def aria2c(job: Job, *flags: str) -> Entrant:
    """aria2c: each file against a digest of its list."""
    urls = job.listing("aria2c", lambda url, wheel: f"{url}\n  checksum=sha-256={wheel.sha256}")
    command = ["aria2c", "--no-conf", "--quiet", *flags, "--input-file", urls]
    return entrant(job, " ".join(["aria2c", *flags]), command, ["aria2c"])


def wget2(job: Job) -> Entrant:
    """wget2, which verifies nothing."""
    urls = job.listing("wget2", lambda url, _: url)
    return entrant(job, "wget2", ["wget2", "--quiet", "--no-hsts", "--config", os.devnull, "-i", urls], ["wget2"])


def pypdl(job: Job, *flags: str) -> Entrant:
    """pypdl, driven as its README shows."""
    urls = job.listing("pypdl", lambda url, wheel: f"{url}#sha256={wheel.sha256}")
    return entrant(job, " ".join(["pypdl", *flags]), [sys.executable, str(PYPDL_GET), urls, *flags], ["pypdl"])


def pip(job: Job) -> Entrant:
    """`pip download`: each file against the digest in its URL."""
    wanted = job.listing("pip", lambda url, wheel: f"{wheel.project} @ {url}#sha256={wheel.sha256}")
    flags = ["--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", "--no-cache-dir"]
    command = [sys.executable, "-m", "pip", "download", *flags, "--ignore-requires-python", "--dest", "{out}"]
    return entrant(job, "pip download", [*command, "-r", wanted], ["pip"])


def then_sha256sum(job: Job, first: Entrant) -> Entrant:
    """Let sha256sum verify what a contestant brought."""
    sums = job.listing("sums", lambda _, wheel: f"{wheel.sha256} *{wheel.path.name}")
    return _then(job, first, "sha256sum", f"sha256sum --check --quiet --strict {shlex.quote(sums)}")


def then_openssl(job: Job, first: Entrant) -> Entrant:
    """Let openssl verify it: it uses the processor's instructions for sha256, which not every sha256sum does."""
    sums = job.listing("sums", lambda _, wheel: f"{wheel.sha256} *{wheel.path.name}")
    names = job.listing("names", lambda _, wheel: wheel.path.name)
    read = f"xargs openssl dgst -sha256 -r < {shlex.quote(names)}"
    return _then(job, first, "openssl", f"{read} | cmp - {shlex.quote(sums)}")


def _then(job: Job, first: Entrant, program: str, verify: str) -> Entrant:
    name = f"{first.name}, then {program}"
    if isinstance(first, Missing):
        return replace(first, name=name)
    return entrant(job, name, ["sh", "-c", f"{shlex.join(first.command)} && {verify}"], [program])
