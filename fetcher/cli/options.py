"""The options that all commands share, and the `Fetcher` they describe."""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from fetcher.client import Fetcher
from fetcher.errors import ConfigError
from fetcher.index.config import declare, read_config
from fetcher.index.formats import Formats

__all__ = [
    "InOrder",
    "Selection",
    "Settings",
    "cache_dir_option",
    "cache_directory",
    "common_options",
    "fetcher_arguments",
    "format_options",
    "make_fetcher",
    "parse_amount",
    "requirement_option",
    "target_options",
]

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Settings:
    """What the shared options said."""

    index_url: str | None
    extra_index_url: tuple[str, ...]
    index: tuple[str, ...]
    authenticate: tuple[str, ...]
    config_file: Path | None
    no_config: bool
    concurrency: int
    retries: int
    timeout: float
    deadline: float | None
    limit_rate: float | None
    cache_dir: Path | None
    no_cache: bool
    refresh: bool
    offline: bool
    json: bool
    quiet: bool
    verbose: int
    no_progress: bool
    debug: bool


@dataclass(frozen=True)
class Selection:
    """Which files were asked for, and for which interpreter."""

    targets: tuple[str, ...]
    requirements: tuple[Path, ...]
    python_version: str | None
    platforms: tuple[str, ...]
    all_platforms: bool


_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)([KMG]?)", re.IGNORECASE | re.ASCII)


def parse_amount(text: str) -> float | None:
    """Return a number of bytes, None if it is none; the suffixes are curl's, powers of 1024."""
    match = _AMOUNT.fullmatch(text)
    return float(match[1]) * 1024.0 ** " KMG".index(match[2].upper() or " ") if match else None


def _parse_rate(context: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    """Return bytes a second."""
    rate = None if text is None else parse_amount(text)
    if text is not None and not rate:
        raise click.BadParameter(f"{text!r} is no rate, such as 500K or 20M")
    return rate


def _parse_directory(context: click.Context, parameter: click.Parameter, text: str | None) -> Path | None:
    """Return a path that stays the same wherever the process goes; a shell expands no ~ after a `=`."""
    if text == "":
        raise click.BadParameter("a directory's name is not empty")
    try:
        return None if text is None else Path(text).expanduser().absolute()
    except (RuntimeError, OSError) as error:  # nobody knows that user's home, or the working directory is gone
        raise click.BadParameter(f"{text!r}: {error}") from None


cache_dir_option = click.option(
    "--cache-dir",
    type=click.Path(),
    callback=_parse_directory,
    envvar="FETCHER_CACHE_DIR",  # an empty one counts as none
    metavar="DIR",
    help="Where pages, METADATA and small wheels are kept between runs.  [default: the user's cache directory]",
)
_OPTIONS = [
    click.option("-i", "--index-url", metavar="URL", help="The default index, asked last (named `default`)."),
    click.option("--extra-index-url", multiple=True, metavar="URL", help="A further index, asked before the default."),
    click.option("--index", multiple=True, metavar="NAME=URL", help="A named index, asked first."),
    click.option(
        "--authenticate", multiple=True, metavar="NAME=POLICY", help="auto, always or never, for the index NAME."
    ),
    click.option(
        "--config-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="A file with [[index]] tables, as uv.toml has them.",
    ),
    click.option("--no-config", is_flag=True, help="Read no configuration file."),
    click.option("--concurrency", type=click.IntRange(1), default=100, show_default=True, help="Requests at once."),
    click.option(
        "--retries", type=click.IntRange(0), default=3, show_default=True, help="Attempts after a transient failure."
    ),
    click.option(
        "--timeout",
        type=click.FloatRange(0, min_open=True),
        default=30.0,
        show_default=True,
        help="Seconds without a connection or a byte.",
    ),
    click.option(
        "--deadline",
        type=click.FloatRange(0, min_open=True),
        metavar="S",
        help="Seconds for the whole run; what is not done by then has failed.",
    ),
    click.option(
        "--limit-rate", metavar="RATE", callback=_parse_rate, help="Bytes a second, over all transfers: 500K, 20M."
    ),
    cache_dir_option,
    click.option("--no-cache", is_flag=True, envvar="FETCHER_NO_CACHE", help="Keep nothing, and use nothing kept."),
    click.option("--refresh", is_flag=True, help="Ask the server about kept pages that are fresh, too."),
    click.option("--offline", is_flag=True, help="Ask no server: use what is kept, however old."),
    click.option("--json", is_flag=True, help="One JSON object a line."),
    click.option("-q", "--quiet", is_flag=True, help="Only errors on stderr."),
    click.option("-v", "--verbose", count=True, help="Say more on stderr; repeatable."),
    click.option("--no-progress", is_flag=True, help="No progress bar, on a terminal either."),
    click.option("--debug", is_flag=True, help="Show a traceback with an error."),
]
requirement_option = click.option(
    "-r",
    "--requirement",
    "requirements",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A requirements file, pylock.toml or uv.lock, - for stdin; repeatable.",
)
_TARGET_OPTIONS = [
    click.argument("targets", nargs=-1, metavar="TARGET..."),
    requirement_option,
    click.option("--python-version", metavar="X.Y", help="Choose for this Python instead of the running one."),
    click.option("--platform", "platforms", multiple=True, metavar="TAG", help="Choose for this platform; repeatable."),
    click.option("--all-platforms", is_flag=True, help="Take what a lock has for all platforms."),
]
_FORMAT_OPTIONS = [
    click.option(
        "--only-binary", multiple=True, metavar="NAMES", help="No source distributions of NAMES, :all: or :none:."
    ),
    click.option("--no-binary", multiple=True, metavar="NAMES", help="No wheels of NAMES, :all: or :none:."),
    click.option(
        "--prefer",
        type=click.Choice(["wheel", "sdist"]),
        default="wheel",
        show_default=True,
        help="What to take of a version that has both.",
    ),
    click.option("--prefer-binary", is_flag=True, help="An older version with a wheel before a newer one without."),
]


class InOrder(click.Command):
    """A command that keeps the order of its options: click gives the values of one, but not which came after which."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse as click does, and keep the name of each option as often as it was given."""
        _, _, given = self.make_parser(ctx).parse_args(list(args))
        ctx.meta[__name__] = [parameter.name for parameter in given]
        return super().parse_args(ctx, args)


def common_options(function: F) -> F:
    """Add the options that every command has; they arrive as one `settings`."""

    def collect(options: dict[str, Any]) -> dict[str, Any]:
        settings = Settings(**{name: options.pop(name) for name in Settings.__dataclass_fields__})
        if settings.offline and (settings.refresh or settings.no_cache):
            other = "--refresh" if settings.refresh else "--no-cache (FETCHER_NO_CACHE)"
            raise click.UsageError(f"--offline and {other} exclude each other")
        _set_up_logging(settings)
        return {"settings": settings, **options}

    return _with_options(function, _OPTIONS, collect)


def target_options(function: F) -> F:
    """Add the TARGET arguments and the options that go with them; they arrive as one `selection`."""

    def collect(options: dict[str, Any]) -> dict[str, Any]:
        selection = Selection(**{name: options.pop(name) for name in Selection.__dataclass_fields__})
        if selection.all_platforms and (selection.python_version or selection.platforms):
            raise click.UsageError("--all-platforms excludes --python-version and --platform")
        return {"selection": selection, **options}

    return _with_options(function, _TARGET_OPTIONS, collect)


def format_options(function: F) -> F:
    """Add the options that say which formats may be taken; they arrive as one `formats`.  The command is `InOrder`."""

    def collect(options: dict[str, Any]) -> dict[str, Any]:
        values = {name: iter(options.pop(name)) for name in ("only_binary", "no_binary")}
        formats = Formats(prefer=options.pop("prefer"), prefer_binary=options.pop("prefer_binary"))
        try:
            for name in click.get_current_context().meta[__name__]:
                if name in values:
                    formats = formats.heed(f"--{name.replace('_', '-')}", next(values[name]))
        except ConfigError as error:
            raise click.UsageError(str(error)) from None
        return {"formats": formats, **options}

    return _with_options(function, _FORMAT_OPTIONS, collect)


def _with_options(
    function: F, options: list[Callable[[Any], Any]], collect: Callable[[dict[str, Any]], dict[str, Any]]
) -> F:
    def collected(**given: Any) -> None:  # noqa: ANN401 - click passes each option as its own type
        function(**collect(given))

    collected.__doc__, collected.__name__ = function.__doc__, function.__name__
    # Options that were declared closer to the function stand on it.
    collected.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
    for option in reversed(options):
        option(collected)
    return collected  # type: ignore[return-value]


def make_fetcher(settings: Settings, *, index_url: str | None = None, extra: tuple[str, ...] = ()) -> Fetcher:
    """Return the Fetcher that the settings describe; a flag beats what a requirements file said.

    Raises ConfigError.
    """
    cache = None if settings.no_cache else cache_directory(settings.cache_dir)
    return Fetcher(**fetcher_arguments(settings, index_url=index_url, extra=extra), cache=cache)


def fetcher_arguments(
    settings: Settings, *, index_url: str | None = None, extra: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return what the settings say of a Fetcher, but for its cache; as for `make_fetcher`."""
    if settings.no_config and settings.config_file is not None:
        raise click.UsageError("--no-config and --config-file exclude each other")
    configured = [] if settings.config_file is None else read_config(settings.config_file)
    indexes = declare(
        index_url=settings.index_url or index_url,
        extra_index_urls=(*settings.extra_index_url, *extra),
        named=settings.index,
        authenticate=settings.authenticate,
        configured=configured,
    )
    return {
        "indexes": indexes,
        "concurrency": settings.concurrency,
        "retries": settings.retries,
        "timeout": settings.timeout,
        "limit_rate": settings.limit_rate,
        "refresh": settings.refresh,
        "offline": settings.offline,
    }


def cache_directory(chosen: Path | None) -> Path | None:
    """Return the directory that was chosen, else that of this user; None where nobody knows the user's home."""
    if chosen is not None:
        return chosen
    from platformdirs import user_cache_path  # 4 ms, spared where one was chosen

    try:
        directory = user_cache_path("fetcher", appauthor=False)
    except RuntimeError:
        return None
    return directory if directory.is_absolute() else None


def _set_up_logging(settings: Settings) -> None:
    levels = [logging.WARNING, logging.INFO, logging.DEBUG]
    level = logging.ERROR if settings.quiet else levels[min(settings.verbose, 2)]
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    logger = logging.getLogger("fetcher")
    logger.handlers[:] = [handler]
    logger.setLevel(level)
