"""`fetcher prefetch SOURCE... --to DIR|s3://BUCKET/PREFIX`"""

import math
import re
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import click

from fetcher.cli.carriers import Helpers
from fetcher.cli.mirroring import Wish, mirror
from fetcher.cli.options import InOrder, Settings, common_options, format_options, requirement_option
from fetcher.errors import ConfigError
from fetcher.index.formats import ALL, Formats
from fetcher.index.target import RUNNING, Target, describe_python, this_interpreter
from fetcher.index.urls import redact
from fetcher.mirror.wanted import Choice

__all__ = ["command"]

_SCHEDULER = re.compile(r"(tcp|tls|ws|wss)://(\[[0-9a-fA-F:.]+\]|[\w.-]+):[0-9]{1,5}")


def _parse_date(context: click.Context, parameter: click.Parameter, text: str | None) -> datetime | None:
    """Return a moment; a date without time is its beginning, one without zone is in UTC."""
    if text is None:
        return None
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no date such as 2026-01-31 or 2026-01-31T12:00:00Z") from None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _parse_scheduler(context: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    """Return an address as Dask has it."""
    if text is not None and not _SCHEDULER.fullmatch(text):
        raise click.BadParameter(f"{redact(text)!r} is no address of a Dask scheduler, such as tcp://host:8786")
    return text


@click.command("prefetch", cls=InOrder)
@click.argument("sources", nargs=-1, metavar="SOURCE...")
@requirement_option
@click.option(
    "-c",
    "--constraint",
    "constraints",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What narrows versions, and asks for nothing itself; repeatable.",
)
@click.option("--to", required=True, metavar="DIR|s3://BUCKET/PREFIX", help="Where the mirror is; made if need be.")
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where its manifest is kept.  [default: DIR/.fetcher; for a bucket the user's data directory]",
)
@click.option("--all", "all_projects", is_flag=True, help="Every project of the indexes, all versions and platforms.")
@click.option("--all-versions", is_flag=True, help="Every version that is admitted, pre-releases and yanked ones, too.")
@click.option("--latest", type=click.IntRange(1), metavar="N", help="The newest N versions.  [default: 1]")
@click.option("--since", callback=_parse_date, metavar="DATE", help="Only what was uploaded then or later.")
@click.option("--python-version", "pythons", multiple=True, metavar="X.Y", help="Choose for this Python; repeatable.")
@click.option("--platform", "platforms", multiple=True, metavar="TAG", help="Choose for this platform; repeatable.")
@click.option("--abi", "abis", multiple=True, metavar="TAG", help="Only wheels of this ABI; repeatable.")
@click.option("--all-platforms", is_flag=True, help="The files for every Python and platform.")
@click.option("--sdists", is_flag=True, help="Source distributions of each version, besides its wheels.")
@click.option(
    "--with-dependencies", is_flag=True, help="What the files depend on, too: of each requirement the newest that fits."
)
@click.option("--delete", is_flag=True, help="Remove what is not asked for, or not on the index any more.")
@click.option(
    "--max-delete",
    type=click.FloatRange(0, 100),
    default=5.0,
    show_default=True,
    metavar="PERCENT",
    help="Remove nothing if it were more of the files than this.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be fetched and removed, and do neither.")
@click.option("--per-host", type=click.IntRange(1), metavar="N", help="Requests at once to one host, at most.")
@click.option(
    "--scheduler",
    callback=_parse_scheduler,
    metavar="tcp://HOST:PORT",
    help="Have the files brought by the workers of this Dask cluster.",
)
@click.option(
    "--workers", type=click.IntRange(1), metavar="N", help="Have them brought by N processes of this machine."
)
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a page (HTML) that says what the run did.",
)
@format_options
@common_options
def command(settings: Settings, formats: Formats, **given: Any) -> None:  # noqa: ANN401 - click's own types
    """Make or update a static mirror (Simple API) of what is named, and print where each new file is.

    SOURCE is a name, a requirement such as "numpy>=2", a URL, a requirements file or a lock.  The mirror is installed
    from by `--index-url DIR/simple`, through any web server, or from the bucket.
    """
    try:
        wish = Wish(choice=_choice(formats, given), helpers=_helpers(given), **given)
    except ConfigError as error:
        raise click.UsageError(str(error)) from None
    mirror(settings, wish)


def _choice(formats: Formats, given: dict[str, Any]) -> Choice:
    """Take the options that say which files of a project are wanted, and return what they say.  Raises ConfigError."""
    pop = given.pop
    pythons, platforms, abis = pop("pythons"), pop("platforms"), pop("abis")
    everywhere, every, latest, since = pop("all_platforms"), pop("all_versions"), pop("latest"), pop("since")
    if everywhere and (pythons or platforms or abis):
        raise ConfigError("--all-platforms excludes --python-version, --platform and --abi")
    if math.isnan(given["max_delete"]):
        raise ConfigError("--max-delete is a number of percent")
    if every and latest:
        raise ConfigError("--all-versions and --latest exclude each other")
    narrowed = pythons or platforms or abis
    everywhere = everywhere or (given["all_projects"] and not narrowed)
    newest = latest or (None if every or since or given["all_projects"] else 1)
    sdists = pop("sdists")
    if sdists and ALL in formats.only_binary:
        raise ConfigError("--sdists and --only-binary :all: exclude each other")
    targets = None if everywhere else _targets(pythons, platforms, abis)
    return Choice(targets, newest, since, formats, sdists=sdists)


def _helpers(given: dict[str, Any]) -> Helpers:
    """Take the options that say who helps, and return what they say.  Raises ConfigError."""
    helpers = Helpers(given.pop("scheduler"), given.pop("workers"))
    if helpers.scheduler and helpers.workers:
        raise ConfigError("--scheduler and --workers exclude each other")
    return helpers


def _targets(pythons: tuple[str, ...], platforms: tuple[str, ...], abis: tuple[str, ...]) -> tuple[Target, ...]:
    """Return each Python on each platform; neither: the running one."""
    if not (pythons or platforms or abis):
        return (this_interpreter(),)
    each = product(pythons or (RUNNING,), platforms or (None,))
    return tuple(describe_python(python, [platform] if platform else [], abis) for python, platform in each)
