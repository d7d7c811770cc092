"""`fetcher verify DIR|s3://BUCKET/PREFIX`"""

from pathlib import Path

import click

from fetcher.cli.options import Settings, common_options
from fetcher.cli.verifying import verify

__all__ = ["command"]


@click.command("verify")
@click.argument("mirror", metavar="DIR|s3://BUCKET/PREFIX")
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where its manifest is kept.  [default: as for prefetch]",
)
@click.option("--repair", is_flag=True, help="Fetch what is missing or wrong, remove what is stray, rewrite the pages.")
@common_options
def command(settings: Settings, mirror: str, state: Path | None, repair: bool) -> None:
    """Say whether a mirror that `fetcher prefetch` made is what it should be, and print what is not, one object a line.

    Every file of a directory is read; of a bucket the digests that it keeps are asked for.  Without its manifest, as of
    a copy, a mirror is compared with its own pages.  --repair asks the indexes, as they are declared for prefetch.

    Exit code: 0 if all is sound, or was repaired; 1 if not.
    """
    verify(settings, mirror, state, repair=repair)
