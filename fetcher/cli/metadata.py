"""`fetcher metadata TARGET...`"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from fetcher.cli.options import Settings, common_options, make_fetcher, target_options
from fetcher.cli.run import Outcome, finish, run, run_all
from fetcher.cli.targets import find_file, interpreter_for, read_requested
from fetcher.errors import FetcherError
from fetcher.metadata import Metadata

__all__ = ["command"]


@click.command("metadata")
@click.argument("targets", nargs=-1, metavar="TARGET...")
@target_options
@common_options
def command(
    settings: Settings,
    targets: tuple[str, ...],
    requirements: tuple[Path, ...],
    python_version: str | None,
    platforms: tuple[str, ...],
) -> None:
    """Print the METADATA of wheels, without downloading them.

    TARGET is a URL, a name, or a requirement such as "numpy>=2".
    """
    try:
        requested = read_requested(targets, requirements)
        interpreter = interpreter_for(python_version, platforms)
        fetcher = make_fetcher(settings, index_url=requested.index_url, extra=tuple(requested.extra_index_urls))
    except FetcherError as error:
        finish(error, settings)

    async def work(number: int) -> Outcome:
        target = requested.targets[number]
        metadata = await fetcher.metadata(await find_file(fetcher, target, interpreter))
        text = metadata.raw if metadata.raw.endswith(b"\n") else metadata.raw + b"\n"
        return Outcome(target.text, _fields(metadata), text)

    async def main() -> Sequence[Outcome]:
        async with fetcher:
            return await run_all([target.text for target in requested.targets], work, settings)

    run(main, settings)


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
