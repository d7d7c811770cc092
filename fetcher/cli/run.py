"""How every command runs: targets side by side, outcomes in order, one line an error, the exit code at the end."""

import json
import os
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import anyio
import click

from fetcher.cli.options import Settings
from fetcher.errors import FetcherError

__all__ = ["Outcome", "exit_code", "finish", "run", "run_all", "say_error"]

INTERRUPTED = 130


@dataclass(frozen=True)
class Outcome:
    """What became of one target: fields for `--json`, text (bytes) for people; or an error."""

    target: str
    fields: dict[str, Any]
    text: bytes
    error: FetcherError | None = None


def run(main: Callable[[], Awaitable[Sequence[Outcome]]], settings: Settings) -> NoReturn:
    """Run a command's coroutine in an event loop and exit with the code its outcomes ask for."""
    try:
        outcomes = anyio.run(main)
    except FetcherError as error:
        finish(error, settings)
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        sys.exit(INTERRUPTED)
    except ExceptionGroup as group:
        _finish_unexpected(group, settings)
    sys.exit(exit_code(outcomes))


def _finish_unexpected(group: ExceptionGroup[Exception], settings: Settings) -> NoReturn:
    """End on what is no error of ours: the reader of a pipe went away, or a defect."""
    if group.subgroup(BrokenPipeError) is not None:
        # Python would try to flush stdout once more at exit, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    if settings.debug:
        raise group
    first = group.exceptions[0]
    click.echo(f"error: a defect in fetcher: {type(first).__name__}: {first} (--debug shows where)", err=True)
    sys.exit(1)


def finish(error: FetcherError, settings: Settings) -> NoReturn:
    """Say an error that ends the command, and exit."""
    say_error(error, settings)
    sys.exit(error.exit_code)


async def run_all(
    targets: Iterable[str],
    work: Callable[[int], Awaitable[Outcome]],
    settings: Settings,
) -> list[Outcome]:
    """Run `work(number)` for every target at once, and print each outcome in the order of the targets."""
    names = list(targets)
    done: list[Outcome | None] = [None] * len(names)
    ready = [anyio.Event() for _ in names]

    async def one(number: int) -> None:
        try:
            done[number] = await work(number)
        except FetcherError as error:
            done[number] = Outcome(names[number], {}, b"", error)
        ready[number].set()

    outcomes = []
    async with anyio.create_task_group() as tasks:
        for number in range(len(names)):
            tasks.start_soon(one, number)
        for number, event in enumerate(ready):
            await event.wait()
            outcome = done[number]
            if outcome is not None:
                outcomes.append(outcome)
                _print(outcome, settings)
    return outcomes


def _print(outcome: Outcome, settings: Settings) -> None:
    """Results go to stdout, errors to stderr; with `--json` a failure is a result too."""
    if outcome.error is not None:
        say_error(outcome.error, settings)
    if settings.json:
        click.echo(json.dumps({"target": outcome.target, **(outcome.fields or _failure(outcome.error))}))
    elif outcome.error is None:
        sys.stdout.buffer.write(outcome.text)
        sys.stdout.buffer.flush()


def _failure(error: FetcherError | None) -> dict[str, str]:
    return {"error": type(error).__name__, "message": str(error)}


def say_error(error: FetcherError, settings: Settings) -> None:
    """Say an error in one line on stderr; with `--debug` where it came from."""
    if settings.debug:
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    click.echo(f"error: {' '.join(str(error).split())}", err=True)


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """Return 0 if all is done, the code of the error if all failed of one kind, else 1."""
    codes = {0 if outcome.error is None else outcome.error.exit_code for outcome in outcomes}
    return codes.pop() if len(codes) == 1 else 1
