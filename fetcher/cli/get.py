"""`fetcher get TARGET...`"""

import os
from pathlib import Path
from typing import Any

import click

from fetcher.cli.options import InOrder, Selection, Settings, common_options, format_options, target_options
from fetcher.cli.progress import display_for
from fetcher.cli.run import Outcome, run_targets
from fetcher.client import Fetcher
from fetcher.download.download import Download
from fetcher.index.files import File
from fetcher.index.formats import Formats

__all__ = ["command"]


@click.command("get", cls=InOrder)
@click.option(
    "-d",
    "--dest",
    type=click.Path(path_type=Path, readable=False),
    default=Path(),
    metavar="DIR",
    help="Where files go; created if need be.  [default: .]",
)
@click.option("--fsync", is_flag=True, help="Have each file on the disk before it gets its name.")
@format_options
@target_options
@common_options
def command(settings: Settings, selection: Selection, formats: Formats, dest: Path, fsync: bool) -> None:
    """Download wheels and source distributions, each checked against the index's digest; print the path of each.

    TARGET is a URL, a name, or a requirement such as "numpy>=2".  Dependencies are not fetched.
    """
    display = display_for(settings)

    async def work(fetcher: Fetcher, file: File, target: str) -> Outcome:
        download = fetcher.download(file, dest, fsync=fsync, on_event=display.on_event)
        done = await display.bring(file.filename, download)
        return Outcome(target, _fields(done), os.fsencode(done.path) + b"\n")

    run_targets(settings, selection, work, display, formats=formats)


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
        "from_cache": done.from_cache,
        "seconds": round(done.seconds, 3),
    }
