"""Who makes or updates a mirror of many projects: each a contestant over one job, and the check of what it made.

bandersnatch is pointed at what an index of its own kind has, as static files:

- `/simple` as JSON with `_last-serial`, which it reads with `api-method = simple`: which projects there are, and
  which have changed since it last came;
- `/pypi/NAME/json`, the older JSON API, under an `X-PyPI-Last-Serial` header, which the server gives all of them;
- the files below `/packages/`: it takes no others.
"""

import json
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from corpus import Wheel, lay_out
from downloaders import SAMPLE, Entrant, Job, check_digest, entrant
from measure import Contestant, Failed
from program import spread
from server import SERIAL

# The most that it accepts.
WORKERS = 10
_BANDERSNATCH = f"""\
[mirror]
directory = .
master = {{url}}
api-method = simple
allow-non-https = true
workers = {WORKERS}
json = false
timeout = 60
stop-on-error = true
hash-index = false
verifiers = 3
"""


def lay_out_index(wheels: Sequence[Wheel], root: Path) -> None:
    """Write an index, its list of projects, and what bandersnatch needs besides."""
    lay_out(wheels, root)
    (root / "packages").symlink_to("files")
    listed = [{"name": name, "_last-serial": SERIAL} for name in sorted({wheel.project for wheel in wheels})]
    page = {"meta": {"api-version": "1.1", "_last-serial": SERIAL}, "projects": listed}
    (root / "simple" / "index.json").write_text(json.dumps(page), encoding="utf-8")
    for project, group in groupby(sorted(wheels), key=attrgetter("project")):
        older = root / "pypi" / project / "json"
        older.parent.mkdir(parents=True)
        older.write_text(json.dumps(_older_page(project, group)), encoding="utf-8")


def _older_page(project: str, wheels: Iterable[Wheel]) -> dict[str, Any]:
    releases = {str(version): [*map(_older_file, group)] for version, group in groupby(wheels, attrgetter("version"))}
    return {"info": {"name": project}, "last_serial": SERIAL, "releases": releases}


def _older_file(wheel: Wheel) -> dict[str, Any]:
    return {
        "filename": wheel.path.name,
        "url": f"/packages/{wheel.path.name}",
        "digests": {"sha256": wheel.sha256},
        "size": wheel.size,
        "requires_python": wheel.requires_python,
        "upload_time_iso_8601": "2025-01-02T03:04:05.678901Z",
        "yanked": False,
    }


def fetcher(job: Job) -> Entrant:
    """`fetcher prefetch`: each file against the digest on its page, with its METADATA beside it."""
    always = ["--no-config", "--quiet", "--no-progress", "--to", "{out}"]
    command = [sys.executable, "-m", "fetcher", "prefetch", *always, "-i", f"{job.url}/simple", "-r", _pins(job)]
    return Contestant("fetcher prefetch", command, is_mirror(job, ".", "index.json"))


def bandersnatch(job: Job) -> Entrant:
    """`bandersnatch mirror` of all that is there: each file against the digest of the older JSON API."""
    configuration = job.lists / "bandersnatch.conf"
    configuration.write_text(_BANDERSNATCH.format(url=job.url), encoding="utf-8")
    command = [sys.executable, "-m", "bandersnatch", "-c", str(configuration), "mirror"]
    found = entrant(job, "bandersnatch mirror", command, ["bandersnatch"])
    if isinstance(found, Contestant):
        return replace(found, check=is_mirror(job, "web", "index.v1_json"))
    return found


def pip(job: Job) -> Entrant:
    """`pip download` from the same index: each file against the digest on its page."""
    flags = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-cache-dir", "--ignore-requires-python"]
    command = [sys.executable, "-m", "pip", "download", *flags, "--index-url", f"{job.url}/simple"]
    return entrant(job, "pip download", [*command, "--dest", "{out}", "-r", _pins(job)], ["pip"])


def _pins(job: Job) -> str:
    return job.listing("pins", lambda _, wheel: wheel.pin)


def once_more(first: Entrant, mirror: Path) -> Entrant:
    """Return the update of a mirror that was made by the same contestant, and is copied for each run."""
    name = f"{first.name}, once more"
    if not isinstance(first, Contestant):
        return replace(first, name=name)
    return replace(first, name=name, begin=partial(copy_mirror, mirror))


def copy_mirror(mirror: Path, out: Path) -> None:
    """Copy a mirror; its wheels, which no update changes, are linked."""
    shutil.copytree(mirror, out, symlinks=True, dirs_exist_ok=True, copy_function=_copy_file)


def _copy_file(source: str, copy: str) -> None:
    if source.endswith(".whl"):
        Path(copy).hardlink_to(source)
    else:
        shutil.copy2(source, copy)


def is_mirror(job: Job, tree: str, page: str) -> Callable[[bytes, Path], None]:
    """Return the check of a mirror in the folder `tree`, whose pages in JSON are called `page`.

    Each project must have its pages, and they must lead to its wheel, whole; a sample is looked at by digest.
    """

    def check(_: bytes, out: Path) -> None:
        sample = {wheel.path.name for wheel in spread(job.wheels, SAMPLE)}
        for wheel in job.wheels:
            folder = out / tree / "simple" / wheel.project
            path = _listed(wheel, folder / page)
            if not (folder / "index.html").is_file():
                raise Failed(f"{wheel.project} has no page in HTML")
            if path.stat().st_size != wheel.size:
                raise Failed(f"{path.name} has {path.stat().st_size} bytes instead of {wheel.size}")
            if wheel.path.name in sample:
                check_digest(wheel, path)

    return check


def _listed(wheel: Wheel, page: Path) -> Path:
    """Return the path that a project's page leads to."""
    try:
        listed = json.loads(page.read_bytes())["files"]
    except FileNotFoundError:
        raise Failed(f"{wheel.project} has no page in JSON") from None
    for file in listed:
        path = page.parent / unquote(file["url"])
        if file["filename"] == wheel.path.name and file["hashes"]["sha256"] == wheel.sha256 and path.is_file():
            return path
    raise Failed(f"the page of {wheel.project} does not lead to {wheel.path.name}")
