"""`fetcher get TARGET...`"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from fetcher.cli.options import Selection, Settings, common_options, target_options
from fetcher.cli.run import Outcome, run_targets
from fetcher.client import Fetcher
from fetcher.download.download import Download, OnProgress, Progress
from fetcher.index.files import File

__all__ = ["command"]


@click.command("get")
@click.option(
    "-d",
    "--dest",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="DIR",
    help="Where files go; created if need be.  [default: .]",
)
@click.option("--fsync", is_flag=True, help="Have each file on the disk before it gets its name.")
@target_options
@common_options
def command(settings: Settings, selection: Selection, dest: Path, fsync: bool) -> None:
    """Download wheels, each checked against the index's digest; print the path of each.

    TARGET is a URL, a name, or a requirement such as "numpy>=2".  Dependencies are not fetched.
    """
    with _progress(settings) as on_progress:

        async def work(fetcher: Fetcher, file: File, target: str) -> Outcome:
            done = await fetcher.download(file, dest, fsync=fsync, on_progress=on_progress)
            return Outcome(target, _fields(done), os.fsencode(done.path) + b"\n")

        run_targets(settings, selection, work)


def _fields(done: Download) -> dict[str, Any]:
    return {
        "filename": done.filename,
        "url": done.url,
        "index": done.index,
        "path": str(done.path),
        "size": done.size,
        "sha256": done.sha256,
        "bytes": done.bytes,
        "resumed_from": done.resumed_from,
        "seconds": round(done.seconds, 3),
    }


@contextmanager
def _progress(settings: Settings) -> Iterator[OnProgress | None]:
    """Draw a bar a file on stderr, where that is a terminal and nobody objects."""
    if settings.quiet or settings.no_progress or not sys.stderr.isatty():
        yield None
        return
    # Imported here: it takes as long as the rest of the command, and is mostly not needed.
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress as Bars, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    # stdout stays as it is: rich would send results through its own console, which is stderr.
    with Bars(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as bars:
        known: dict[str, Any] = {}

        def on_progress(event: Progress) -> None:
            if event.filename not in known:
                # Name and version: the tags would take the whole line.
                short = "-".join(event.filename.split("-")[:2])
                known[event.filename] = bars.add_task(short, total=event.total)
            bars.update(known[event.filename], completed=event.received, total=event.total)

        yield on_progress
