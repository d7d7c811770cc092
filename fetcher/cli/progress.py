"""What `fetcher get` tells people: a display on a terminal, elsewhere a line now and then; a summary at the end.

The event loop only notes what happens (`Tally`), as often as chunks arrive.  A thread looks at the notes a few times a
second (`Pace`), and draws (`Screen`) or writes (`Lines`) what it sees: its work depends neither on the number of events
nor, but for the files under way, on that of the files.
"""

import os
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Self, TypeVar

import click

from fetcher.cli.options import Settings
from fetcher.cli.pace import Pace
from fetcher.cli.painter import Lines, Painter
from fetcher.cli.screen import Screen
from fetcher.cli.tally import Tally

__all__ = ["Display", "display_for", "furnish"]


class Display(Tally):
    """A tally that people see: while it counts, if there is a `painter`; at the end in a summary, unless `quiet`."""

    def __init__(self, *, quiet: bool = False) -> None:
        super().__init__()
        self.painter: Painter | None = None
        self._quiet = quiet

    def __enter__(self) -> Self:
        if self.painter is not None:
            self.painter.start()
        return self

    def close(self) -> None:
        """Take away what is drawn; may be called again."""
        if self.painter is not None:
            self.painter.stop()

    def aside(self) -> AbstractContextManager[None]:
        """Keep what is drawn out of the way while something is printed."""
        return nullcontext() if self.painter is None else self.painter.aside()

    def conclude(self) -> None:
        """Say the summary, if there was more than one target: what became of one is said already."""
        if not self._quiet and self.arrived + self.failed > 1:
            click.echo(self.summary(), err=True)


D = TypeVar("D", bound=Display)


def display_for(settings: Settings) -> Display:
    """Return a display where and how the settings and stderr want it."""
    return furnish(Display(quiet=settings.quiet), settings)


def furnish(display: D, settings: Settings) -> D:
    """Give a display who paints it, where and how the settings and stderr want it."""
    if not settings.quiet and not settings.no_progress:
        # A dumb terminal understands no cursor movements.
        drawn = sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
        display.painter = Screen(Pace(display)) if drawn else Lines(Pace(display))
    return display
