"""`fetcher metadata TARGET...`"""

from typing import Any

import click

from fetcher.cli.options import InOrder, Selection, Settings, common_options, format_options, target_options
from fetcher.cli.run import Outcome, run_targets
from fetcher.client import Fetcher
from fetcher.index.files import File
from fetcher.index.formats import Formats
from fetcher.metadata.metadata import Metadata

__all__ = ["command"]


@click.command("metadata", cls=InOrder)
@format_options
@target_options
@common_options
def command(settings: Settings, selection: Selection, formats: Formats) -> None:
    """Print the METADATA of wheels, and the PKG-INFO of source distributions, without downloading them.

    TARGET is a URL, a name, or a requirement such as "numpy>=2".  A PKG-INFO that leaves its dependencies to a build is
    an error: nothing is built.
    """
    run_targets(settings, selection, _read, formats=formats)


async def _read(fetcher: Fetcher, file: File, target: str) -> Outcome:
    metadata = await fetcher.metadata(file)
    text = metadata.raw if metadata.raw.endswith(b"\n") else metadata.raw + b"\n"
    return Outcome(target, _fields(metadata), text)


def _fields(metadata: Metadata) -> dict[str, Any]:
    return {
        "name": metadata.name,
        "version": metadata.version,
        "filename": metadata.filename,
        "url": metadata.url,
        "index": metadata.index,
        "how": metadata.how,
        "requests": metadata.requests,
        "bytes": metadata.bytes,
        "sha256": metadata.sha256,
        "verified": metadata.verified,
        "metadata": metadata.raw.decode("utf-8", "replace"),
    }
