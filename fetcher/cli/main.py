"""The `fetcher` command: its subcommands are imported when they are run, so that `--version` reads next to nothing."""

from importlib import import_module

import click

from fetcher.version import __version__

__all__ = ["main"]

INTERRUPTED = 130

_COMMANDS = {
    "cache": "Say what is kept between runs, and remove it.",
    "explain": "Say which index a URL belongs to, what is sent to it, and why.",
    "get": "Download wheels and source distributions.",
    "metadata": "Print the METADATA of wheels.",
    "prefetch": "Make or update a static mirror of what is named.",
    "verify": "Say whether a mirror is what it should be, and repair it.",
}


class _Lazy(click.Group):
    """A group whose commands live in the modules of the same names."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        command: click.Command = import_module(f"fetcher.cli.{name}").command
        return command

    def invoke(self, context: click.Context) -> object:
        try:
            return super().invoke(context)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            context.exit(INTERRUPTED)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="fetcher", message="%(prog)s %(version)s")
def main() -> None:
    """Fetch package files and METADATA: to each index its own credentials, and no login page taken for a file."""
