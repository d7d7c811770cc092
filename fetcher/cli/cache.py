"""`fetcher cache dir|info|clear|prune`"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from fetcher.cache.store import MOST_BYTES, Count, Info, Store
from fetcher.cli.options import cache_dir_option, cache_directory, parse_amount
from fetcher.errors import ConfigError, FetcherError
from fetcher.words import size

__all__ = ["command"]


def _parse_size(context: click.Context, parameter: click.Parameter, text: str | None) -> int:
    """Return bytes."""
    amount = MOST_BYTES if text is None else parse_amount(text)
    if amount is None:
        raise click.BadParameter(f"{text!r} is no size, such as 500M or 2G")
    return int(amount)


@click.group("cache")
def command() -> None:
    """Say what is kept between runs, and remove it: index pages, METADATA and small wheels."""


@command.command("dir")
@cache_dir_option
def _dir(cache_dir: Path | None) -> None:
    """Print the directory."""
    with _errors():
        click.echo(_directory(cache_dir))


@command.command("info")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@cache_dir_option
def _info(cache_dir: Path | None, as_json: bool) -> None:
    """Print how many entries there are, of how many bytes, by kind."""
    with _errors():
        directory = _directory(cache_dir)
        info = Store(directory).info()
    if as_json:
        kinds = {kind: _fields(count) for kind, count in info.kinds.items()}
        click.echo(json.dumps({"directory": str(directory), **_fields(info.total), "kinds": kinds}))
    else:
        click.echo(directory)
        for kind, count in (*info.kinds.items(), ("total", info.total)):
            click.echo(f"  {kind + ':':<10}{_words(count)}")


@command.command("clear")
@cache_dir_option
def _clear(cache_dir: Path | None) -> None:
    """Remove all entries."""
    with _errors():
        _say_removed(Store(_directory(cache_dir)).clear())


@command.command("prune")
@click.option(
    "--max-size",
    metavar="SIZE",
    callback=_parse_size,
    help="Bytes that may stay: 500M, 2G.  [default: 1G, the bound that is kept to anyway]",
)
@cache_dir_option
def _prune(cache_dir: Path | None, max_size: int) -> None:
    """Remove the entries that were not used for longest."""
    with _errors():
        _say_removed(Store(_directory(cache_dir)).prune(max_size))


def _directory(chosen: Path | None) -> Path:
    directory = cache_directory(chosen)
    if directory is None:
        raise ConfigError("the user's home is not known, and so no cache directory: set --cache-dir")
    return directory


@contextmanager
def _errors() -> Iterator[None]:
    """Say an error in one line on stderr, and exit."""
    try:
        yield
    except FetcherError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)


def _say_removed(removed: Info) -> None:
    kinds = "".join(f"\n  {f'{kind}:':<10}{_words(count)}" for kind, count in removed.kinds.items())
    click.echo(f"removed {_words(removed.total)}{kinds}")


def _words(count: Count) -> str:
    return f"{count.entries} {'entry' if count.entries == 1 else 'entries'}, {size(count.bytes)}"


def _fields(count: Count) -> dict[str, int]:
    return {"entries": count.entries, "bytes": count.bytes}
