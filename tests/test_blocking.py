"""The front door for synchronous callers: from threads, with Ctrl-C, around its closing, where it cannot be used."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fake_faults import Stall, Status
from fake_index import FakeIndex
from fake_wheels import make_wheel, wheel_filename
from stress import assert_no_thread_is_left
from wire_checks import NOTHING_KNOWN, until

import fetcher as fetcher_package
import fetcher.blocking
from fetcher import ConfigError, Event, Index, NotFound, Progress
from fetcher.blocking import Fetcher

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("_no_blocking", "_short_waits")


NAME = wheel_filename()
WHEEL = make_wheel(size=200_000)
NEVER = Status(404, wait=3600)


def serving(**more: Any) -> FakeIndex:
    """It has a project that is never told of, too."""
    return FakeIndex(wheels={NAME: WHEEL}, faults={"/simple/never/": NEVER, **more})


def corp(index: FakeIndex) -> Fetcher:
    return Fetcher([Index(index.url, name="corp")], environ=NOTHING_KNOWN)


# --- the same as the asynchronous one ----------------------------------------------------------------------------


PUBLIC = [name for name in vars(fetcher_package.Fetcher) if not name.startswith("_")]


@pytest.mark.parametrize("name", ["__init__", *PUBLIC])
def test_the_same_methods_with_the_same_arguments(name: str) -> None:
    here, there = getattr(Fetcher, name), getattr(fetcher_package.Fetcher, name)
    if isinstance(there, property):
        assert isinstance(here, property)
    else:
        assert inspect.signature(here) == inspect.signature(there)
        assert not inspect.iscoroutinefunction(here)


def test_no_other_methods() -> None:
    assert [name for name in vars(Fetcher) if not name.startswith("_")] == PUBLIC


def test_it_is_found_where_it_belongs() -> None:
    assert fetcher.blocking.__all__ == ["Fetcher"]
    assert fetcher_package.Fetcher is not Fetcher


async def test_all_calls(dest: Path) -> None:
    """In a thread in which a running event loop has its blocking work done."""
    events: list[Event] = []
    told_in: set[str] = set()

    def note(event: Event) -> None:
        events.append(event)
        told_in.add(threading.current_thread().name)

    def work(url: str) -> None:
        with Fetcher([Index(url, name="corp")], environ=NOTHING_KNOWN) as fetcher:
            assert [index.name for index in fetcher.indexes] == ["corp"]
            fetcher.prefetch(name for name in ["demo"])
            (file,) = fetcher.project("demo", index="corp").files
            fetcher.prefetch_metadata([file])
            assert fetcher.metadata(file).name == "demo"
            done = fetcher.download(file, dest, fsync=True, on_event=note)
            assert done.path.read_bytes() == WHEEL
            assert fetcher.explain(file.url).content == "zip"
            with pytest.raises(NotFound):
                fetcher.project("unknown")
            with pytest.raises(ConfigError):
                fetcher.prefetch("demo")

    async with serving() as index:
        await asyncio.to_thread(work, index.url)
    assert_no_thread_is_left()
    assert {type(event) for event in events} == {Progress}
    assert told_in == {"fetcher"}


async def test_what_on_event_raises_reaches_the_caller(dest: Path) -> None:
    class Enough(Exception):
        pass

    def stop(_: Event) -> None:
        raise Enough

    def work() -> None:
        with corp(index) as fetcher:
            with pytest.raises(Enough):
                fetcher.download(fetcher.project("demo").files[0], dest, on_event=stop)
            assert fetcher.project("demo").name == "demo"

    async with serving() as index:
        await asyncio.to_thread(work)


# --- where it cannot be used -------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["before", "after"])
@pytest.mark.parametrize(
    "call",
    [
        lambda fetcher: fetcher.project("demo"),
        lambda fetcher: fetcher.metadata(f"http://files.localhost/{NAME}"),
        lambda fetcher: fetcher.download(f"http://files.localhost/{NAME}", "dest"),
        lambda fetcher: fetcher.explain("http://files.localhost/"),
        lambda fetcher: fetcher.prefetch(["demo"]),
        lambda fetcher: fetcher.prefetch_metadata([]),
    ],
    ids=["project", "metadata", "download", "explain", "prefetch", "prefetch_metadata"],
)
def test_only_inside_the_block(call: Callable[[Fetcher], object], stage: str) -> None:
    fetcher = Fetcher()
    if stage == "after":
        with fetcher:
            pass
    with pytest.raises(RuntimeError, match="the Fetcher is not open: use `with`"):
        call(fetcher)


async def test_again_but_not_twice() -> None:
    def work() -> None:
        fetcher = corp(index)
        for _ in range(2):
            with fetcher:
                assert fetcher.project("demo").name == "demo"
                with pytest.raises(RuntimeError, match="open already"):
                    fetcher.__enter__()
                assert fetcher.project("demo").name == "demo"

    async with serving() as index:
        await asyncio.to_thread(work)


def test_a_mistake_in_the_arguments() -> None:
    with pytest.raises(ConfigError, match="concurrency"):
        Fetcher(concurrency=0)
    assert_no_thread_is_left()


async def test_one_that_cannot_be_opened() -> None:
    fetcher = Fetcher()
    async with fetcher._fetcher:
        with pytest.raises(RuntimeError, match="open already"):
            await asyncio.to_thread(fetcher.__enter__)

    def work() -> None:
        with fetcher:
            pass

    await asyncio.to_thread(work)
    assert_no_thread_is_left()


async def test_not_in_its_own_event_loop(dest: Path) -> None:
    refusals: list[str] = []

    def call(_: Event) -> None:
        with pytest.raises(RuntimeError) as caught:
            fetcher.project("demo")
        refusals.append(str(caught.value))

    def work() -> None:
        with fetcher:
            fetcher.download(fetcher.project("demo").files[0], dest, on_event=call)

    async with serving() as index:
        fetcher = corp(index)
        await asyncio.to_thread(work)
    assert set(refusals) == {"a call in the Fetcher's own event loop, as from `on_event`, would wait for itself"}


# --- closing -----------------------------------------------------------------------------------------------------


async def test_closing_lets_the_calls_of_other_threads_end(dest: Path) -> None:
    def work() -> None:
        with ThreadPoolExecutor(1) as pool:
            with corp(index) as fetcher:
                file = fetcher.project("demo").files[0]
                began = threading.Event()
                running = pool.submit(fetcher.download, file, dest, on_event=lambda _: began.set())
                assert began.wait(20)
            assert running.done()
            assert running.result().path.read_bytes() == WHEEL

    async with serving(**{"*.whl": Stall(100_000, 0.2)}) as index:
        await asyncio.to_thread(work)
    assert_no_thread_is_left()


async def test_leaving_by_an_exception_cancels_them() -> None:
    class Enough(Exception):
        pass

    def leave(pool: ThreadPoolExecutor) -> list[Any]:
        with corp(index) as fetcher:
            fetcher.prefetch(["never"])
            running.extend(pool.submit(fetcher.project, "never") for _ in range(8))
            while not index.log:
                pass
            raise Enough

    def work() -> None:
        with ThreadPoolExecutor(8) as pool, pytest.raises(Enough):
            leave(pool)
        assert {str(one.exception()) for one in running} <= {
            "the Fetcher was closed before the call was done",
            "the Fetcher is not open: use `with`",
        }
        assert {type(one.exception()) for one in running} == {RuntimeError}

    running: list[Any] = []
    async with serving() as index:
        await asyncio.to_thread(work)
        await until(lambda: not index.under_way)
    assert_no_thread_is_left()


@pytest.mark.parametrize("by_exception", [False, True])
async def test_closing_while_others_go_on_calling(by_exception: bool) -> None:
    """Each call ends with its result, or is refused; none waits for ever."""
    ends: list[object] = []

    def call(fetcher: Fetcher) -> None:
        while True:
            try:
                ends.append(fetcher.project("demo").name)
            except RuntimeError as error:
                ends.append(error)
                return

    def leave(threads: list[threading.Thread]) -> None:
        with corp(index) as fetcher:
            threads.extend(threading.Thread(target=call, args=(fetcher,)) for _ in range(20))
            for thread in threads:
                thread.start()
            fetcher.project("demo")
            if by_exception:
                raise ZeroDivisionError

    def work() -> None:
        threads: list[threading.Thread] = []
        try:
            leave(threads)
        except ZeroDivisionError:
            assert by_exception
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()

    async with serving() as index:
        for _ in range(5):
            await asyncio.to_thread(work)
    assert {end if isinstance(end, str) else type(end) for end in ends} <= {"demo", RuntimeError}
    assert sum(isinstance(end, RuntimeError) for end in ends) == 5 * 20


# --- Ctrl-C and fork, each in a process of its own ---------------------------------------------------------------

BEGIN = """\
import os, sys, threading
from concurrent.futures import ThreadPoolExecutor
from fetcher import Index
from fetcher.blocking import Fetcher
url, dest = sys.argv[1:]
fetcher = Fetcher([Index(url, name="corp")], environ={"NETRC": os.devnull})
"""
# Ctrl-C while the main thread waits: its call is gone at once, and the Fetcher goes on.
INTERRUPT_A_CALL = """\
import asyncio
def tasks():
    return len(asyncio.all_tasks(fetcher._loop._loop))
with fetcher:
    before = tasks()
    print("ready", flush=True)
    try:
        fetcher.project("never")
    except KeyboardInterrupt:
        assert tasks() == before, "the call is over"
        print(fetcher.project("demo").name)
print([thread.name for thread in threading.enumerate() if thread.name == "fetcher"])
"""
# Ctrl-C that ends it all, with calls under way in other threads.
INTERRUPT_ALL = """\
with ThreadPoolExecutor(8) as pool:
    try:
        with fetcher:
            running = [pool.submit(fetcher.project, "never") for _ in range(8)]
            print("ready", flush=True)
            fetcher.project("never")
    except KeyboardInterrupt:
        print({type(one.exception()).__name__ for one in running})
print([thread.name for thread in threading.enumerate() if thread.name == "fetcher"])
"""
# Ctrl-C while leaving the block waits for a call of another thread.
INTERRUPT_THE_END = """\
with ThreadPoolExecutor(1) as pool:
    try:
        with fetcher:
            running = pool.submit(fetcher.project, "never")
            print("ready", flush=True)
    except KeyboardInterrupt:
        print({type(running.exception()).__name__})
print([thread.name for thread in threading.enumerate() if thread.name == "fetcher"])
"""
FORK = """\
with fetcher:
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0
        print(fetcher.project("demo").name)
    else:
        try:
            fetcher.project("demo")
        except RuntimeError as error:
            print(error, flush=True)
if not child:
    with Fetcher([Index(url, name="corp")], environ={"NETRC": os.devnull}) as fetcher:
        print("in the child,", fetcher.project("demo").name, flush=True)
    os._exit(0)
"""


def start(script: str, index: FakeIndex, dest: Path) -> subprocess.Popen[str]:
    root = Path(fetcher_package.__file__).parents[1]
    return subprocess.Popen(
        [sys.executable, "-c", BEGIN + script, index.url, str(dest)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(root)},
    )


@pytest.mark.skipif(os.name != "posix", reason="a signal interrupts a thread that waits on POSIX only")
@pytest.mark.parametrize(
    ("script", "said"),
    [
        (INTERRUPT_A_CALL, "demo\n[]\n"),
        (INTERRUPT_ALL, "{'RuntimeError'}\n[]\n"),
        (INTERRUPT_THE_END, "{'RuntimeError'}\n[]\n"),
    ],
    ids=["a call", "all", "the end"],
)
async def test_ctrl_c(script: str, said: str, dest: Path) -> None:
    async with serving() as index:
        process = start(script, index, dest)
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "ready\n"
        await until(lambda: index.log)
        process.send_signal(signal.SIGINT)
        out, err = await asyncio.to_thread(process.communicate, timeout=60)
        await until(lambda: not index.under_way)
    assert (out, err) == (said, "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
async def test_a_forked_child(dest: Path) -> None:
    """It is told so, and may open another one; the parent's goes on."""
    async with serving() as index:
        process = start(FORK, index, dest)
        out, err = await asyncio.to_thread(process.communicate, timeout=60)
    assert process.returncode == 0, err
    assert out == (
        "the Fetcher was opened before the process forked: open another one here\nin the child, demo\ndemo\n"
    )
