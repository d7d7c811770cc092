"""How every command runs: targets side by side, outcomes in order, one line an error, the exit code at the end."""

import gc
import json
import os
import sys
import traceback
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import anyio
import click

from fetcher.cli.deadline import Deadline
from fetcher.cli.interrupt import Interruption
from fetcher.cli.options import Selection, Settings, make_fetcher
from fetcher.cli.requirements import read_requested
from fetcher.cli.targets import Target, find_file, interpreter_for
from fetcher.cli.watch import Watch
from fetcher.client import Fetcher
from fetcher.errors import ConfigError, FetcherError
from fetcher.index.files import File
from fetcher.index.formats import Formats
from fetcher.index.urls import redact

__all__ = ["Outcome", "exit_code", "finish", "run", "run_all", "run_targets", "say_error"]

T = TypeVar("T")

# Outcomes that wait for an earlier one are held, as many as this times the requests at once.
WINDOW = 2
# The collector looks for cycles when so many containers more were made than freed, 700 by default.  With hundreds of
# requests under way it took a seventh of the time, and found next to nothing.
COLLECT_AFTER = 50_000


@dataclass(eq=False)
class Defect(FetcherError):
    """An exception that should not have come so far: a defect of this program."""

    reason: str

    def __str__(self) -> str:
        return f"a defect in fetcher: {self.reason} (--debug shows where)"

    @classmethod
    def of(cls, cause: Exception) -> "Defect":
        """Return the error for an exception of another kind."""
        defect = cls(f"{type(cause).__name__}: {redact(str(cause))}")
        defect.__cause__ = cause
        return defect


@dataclass(frozen=True)
class Outcome:
    """What became of one target: fields for `--json`, text (bytes) for people; or an error."""

    target: str
    fields: dict[str, Any]
    text: bytes
    error: FetcherError | None = None


Work = Callable[[Fetcher, File, str], Awaitable[Outcome]]


def run_targets(
    settings: Settings,
    selection: Selection,
    work: Work,
    watch: Watch | None = None,
    *,
    formats: Formats,
) -> NoReturn:
    """Find the file of every target, do `work(fetcher, file, target)` with it, and exit with the code that asks for.

    `watch` is told how it goes.  `formats` are those of the flags, and lines of requirements files add to them.
    """
    watch = watch or Watch()
    try:
        interpreter = interpreter_for(selection.python_version, selection.platforms)
        requested = read_requested(
            selection.targets,
            selection.requirements,
            [interpreter],
            all_platforms=selection.all_platforms,
            formats=formats,
        )
        if selection.all_platforms and not requested.has_lock:
            raise ConfigError("--all-platforms takes every file of a pylock.toml or uv.lock: name one with -r")
        fetcher = make_fetcher(settings, index_url=requested.index_url, extra=tuple(requested.extra_index_urls))
    except FetcherError as error:
        finish(error, settings)

    async def one(target: Target) -> Outcome:
        return await work(fetcher, await find_file(fetcher, target, interpreter, requested.formats), target.text)

    async def main() -> int:
        async with fetcher:
            watch.expect(requested.count)
            return exit_code(await run_all(requested.targets, one, settings, watch))

    code = run(main, settings, watch)
    watch.conclude()
    sys.exit(code)


def run(main: Callable[[], Awaitable[T]], settings: Settings, watch: Watch | None = None) -> T:
    """Run a command's coroutine in an event loop; whatever ends it early is said in one line, and ends the process."""
    watch = watch or Watch()

    def say_interrupted() -> None:
        watch.close()
        click.echo(watch.interrupted(), err=True)

    try:
        with Interruption(say_interrupted) as interruption, watch, _collecting_seldom():
            return anyio.run(interruption.guard, main)
    except FetcherError as error:
        finish(error, settings)
    except ExceptionGroup as group:
        _finish_group(group, settings)


@contextmanager
def _collecting_seldom() -> Iterator[None]:
    before = gc.get_threshold()
    gc.freeze()  # the modules need not be looked through again and again either
    gc.set_threshold(COLLECT_AFTER, *before[1:])
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)


def _finish_group(group: ExceptionGroup[Exception], settings: Settings) -> NoReturn:
    """End on what a task group ended on: an error, the reader of a pipe that went away, or a defect."""
    if (errors := group.subgroup(FetcherError)) is not None:
        finish(next(_leaves(errors)), settings)
    if group.subgroup(BrokenPipeError) is not None:
        # Python would try to flush stdout once more at exit, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    finish(Defect.of(group.exceptions[0]), settings)


def _leaves(group: BaseExceptionGroup[FetcherError]) -> Iterator[FetcherError]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def finish(error: FetcherError, settings: Settings) -> NoReturn:
    """Say an error that ends the command, and exit."""
    say_error(error, settings)
    sys.exit(error.exit_code)


async def run_all(
    targets: Iterable[Target],
    one: Callable[[Target], Awaitable[Outcome]],
    settings: Settings,
    watch: Watch | None = None,
) -> set[int]:
    """Run the targets side by side, print each outcome in the order of the targets, and return their exit codes.

    A target that is not done by the deadline has failed, and so has each that has not begun by then.
    No more than WINDOW times the requests at once are ahead of the first that is not done: what is kept stays bounded.
    """
    watch = watch or Watch()
    deadline = Deadline(settings.deadline)
    source = enumerate(targets)
    room = anyio.Semaphore(WINDOW * settings.concurrency, fast_acquire=True)
    done: dict[int, tuple[bytes, FetcherError | None]] = {}
    codes: set[int] = set()
    printed = 0

    async def work() -> None:
        nonlocal printed
        for number, target in source:
            await room.acquire()
            outcome = await _outcome(target, one, deadline)
            watch.finished(outcome.error)
            done[number] = _result(outcome, settings), outcome.error
            del outcome  # it may be large, and wait for an earlier one
            while printed in done:
                result, error = done.pop(printed)
                with watch.aside():
                    _print(result, error, settings)
                codes.add(0 if error is None else error.exit_code)
                printed += 1
                room.release()

    async with anyio.create_task_group() as tasks:
        for _ in range(settings.concurrency):
            tasks.start_soon(work)
    return codes


async def _outcome(target: Target, one: Callable[[Target], Awaitable[Outcome]], deadline: Deadline) -> Outcome:
    try:
        with deadline.over(target.text):
            return await one(target)
    except FetcherError as error:
        return Outcome(target.text, {}, b"", error)
    except Exception as defect:  # noqa: BLE001 - one target's defect is no reason to leave the rest undone
        return Outcome(target.text, {}, b"", Defect.of(defect))


def _result(outcome: Outcome, settings: Settings) -> bytes:
    """Return what goes to stdout; with `--json` a failure is a result too."""
    if settings.json:
        fields = outcome.fields if outcome.error is None else _failure(outcome.error)
        return json.dumps({"target": outcome.target, **fields}).encode() + b"\n"
    return outcome.text


def _print(result: bytes, error: FetcherError | None, settings: Settings) -> None:
    """Write a result to stdout and an error to stderr."""
    if error is not None:
        say_error(error, settings)
    sys.stdout.buffer.write(result)
    sys.stdout.buffer.flush()


def _failure(error: FetcherError) -> dict[str, str]:
    return {"error": type(error).__name__, "message": str(error)}


def say_error(error: FetcherError, settings: Settings) -> None:
    """Say an error in one line on stderr; with `--debug` where it came from."""
    if settings.debug:
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    click.echo(f"error: {' '.join(str(error).split())}", err=True)


def exit_code(codes: Collection[int]) -> int:
    """Return 0 if all is done, the code of the error if all failed of one kind, else 1."""
    return next(iter(codes)) if len(codes) == 1 else 1
