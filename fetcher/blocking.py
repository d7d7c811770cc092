"""`Fetcher` for synchronous callers: the asynchronous one does each call, in an event loop in a thread of its own.

- Any number of threads may call at once, also those in which an event loop has blocking work done; in an event loop
  itself a call would stop the loop: there the asynchronous one belongs.
- Ctrl-C, or whatever else a signal handler raises in a thread that waits, ends the call before it goes on its way.
- Leaving the `with` block lets the calls of other threads end, and begins no new one.  Leaving it by an exception
  cancels them: they raise RuntimeError, for that is no fact about what was asked for.
- In an `atexit` handler the interpreter begins no threads any more: downloads and caches raise RuntimeError there.
- Before the block, after it, in a forked child, and in the event loop's own thread (from `on_event`) a call raises
  RuntimeError.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from threading import Lock, Thread, current_thread
from types import TracebackType
from typing import Generic, Self, TypeVar

import anyio
from anyio import CancelScope, Event, create_task_group
from anyio.abc import TaskGroup

from fetcher.auth.credentials import Credentials
from fetcher.cache.store import MOST_BYTES
from fetcher.client import Fetcher as AsyncFetcher
from fetcher.download.download import Download
from fetcher.download.events import OnEvent
from fetcher.explain import Explanation
from fetcher.index.files import File, Project
from fetcher.index.scope import Index
from fetcher.metadata.metadata import Metadata
from fetcher.transport.transport import OnCoolDown

__all__ = ["Fetcher"]

T = TypeVar("T")


class Fetcher:
    """The front door for synchronous callers: the arguments and methods are those of `fetcher.Fetcher`.

    Use it as a context manager, from any number of threads.  `on_event` of `download` and `on_cool_down` are called in
    the thread of the event loop, and must neither block nor call the Fetcher.
    """

    def __init__(
        self,
        indexes: Iterable[Index | str] = (),
        *,
        credentials: Mapping[str, Credentials] | None = None,
        concurrency: int = 100,
        retries: int = 3,
        timeout: float = 30.0,
        limit_rate: float | None = None,
        environ: Mapping[str, str] = os.environ,
        cache: str | os.PathLike[str] | None = None,
        cache_bytes: int = MOST_BYTES,
        cache_files: bool = True,
        refresh: bool = False,
        offline: bool = False,
        per_host: int | None = None,
        on_cool_down: OnCoolDown | None = None,
    ) -> None:
        self._fetcher = AsyncFetcher(
            indexes,
            credentials=credentials,
            concurrency=concurrency,
            retries=retries,
            timeout=timeout,
            limit_rate=limit_rate,
            environ=environ,
            cache=cache,
            cache_bytes=cache_bytes,
            cache_files=cache_files,
            refresh=refresh,
            offline=offline,
            per_host=per_host,
            on_cool_down=on_cool_down,
        )
        self._loop: _LoopThread | None = None

    def __enter__(self) -> Self:
        if self._loop is not None:
            raise RuntimeError("it is open already")
        self._loop = _LoopThread(self._fetcher)
        try:
            self._loop.open()
        except BaseException:
            self._loop = None
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.close(cancel=error is not None)

    @property
    def indexes(self) -> tuple[Index, ...]:
        """The declared indexes, in declaration order."""
        return self._fetcher.indexes

    def project(self, name: str, *, index: str | None = None, refresh: bool = False) -> Project:
        """See `fetcher.Fetcher.project`."""
        return self._open_loop.run(partial(self._fetcher.project, name, index=index, refresh=refresh))

    def projects(self, *, index: str | None = None) -> tuple[str, ...]:
        """See `fetcher.Fetcher.projects`."""
        return self._open_loop.run(partial(self._fetcher.projects, index=index))

    def prefetch(self, names: Iterable[str], *, index: str | None = None) -> None:
        """See `fetcher.Fetcher.prefetch`."""
        wanted = names if isinstance(names, str) else list(names)
        self._open_loop.run(partial(_at_once, partial(self._fetcher.prefetch, wanted, index=index)))

    def metadata(self, file: File | str) -> Metadata:
        """See `fetcher.Fetcher.metadata`."""
        return self._open_loop.run(partial(self._fetcher.metadata, file))

    def prefetch_metadata(self, files: Iterable[File | str]) -> None:
        """See `fetcher.Fetcher.prefetch_metadata`."""
        self._open_loop.run(partial(_at_once, partial(self._fetcher.prefetch_metadata, list(files))))

    def download(
        self,
        file: File | str,
        directory: str | os.PathLike[str],
        *,
        fsync: bool = False,
        on_event: OnEvent | None = None,
    ) -> Download:
        """See `fetcher.Fetcher.download`; `on_event` is called in the event loop's thread."""
        work = partial(self._fetcher.download, file, directory, fsync=fsync, on_event=on_event)
        return self._open_loop.run(work)

    def cool_down(self, url: str, seconds: float, status: int) -> None:
        """See `fetcher.Fetcher.cool_down`; it is called in any thread but that of the event loop."""
        self._open_loop.run(partial(_at_once, partial(self._fetcher.cool_down, url, seconds, status)))

    def explain(self, url: str) -> Explanation:
        """See `fetcher.Fetcher.explain`."""
        return self._open_loop.run(partial(self._fetcher.explain, url))

    @property
    def _open_loop(self) -> "_LoopThread":
        if self._loop is None:
            raise RuntimeError("the Fetcher is not open: use `with`")
        return self._loop


async def _at_once(work: Callable[[], None]) -> None:
    work()


class _Signal:
    """Something that happens once; what is said again is not heard.

    Ctrl-C ends the wait for a lock cleanly.  That for an Event or a Future it may leave without the lock of their
    condition, and then it ends with a RuntimeError.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._lock.acquire()
        self._sent = False

    def send(self) -> None:
        if not self._sent:
            self._sent = True
            self._lock.release()

    def wait(self) -> None:
        with self._lock:  # given back in any case: it may be waited for again
            pass


class _LoopThread:
    """The thread with the event loop in which a Fetcher is open.  It is a daemon: who never closes it can still end."""

    def __init__(self, fetcher: AsyncFetcher) -> None:
        self._thread = Thread(target=self._serve, args=(fetcher,), name="fetcher", daemon=True)
        self._pid = os.getpid()
        self._error: BaseException | None = None
        self._is_open, self._ended = _Signal(), _Signal()
        # Held while something is handed over, so that what comes before the end is begun before it.
        self._handing_over = Lock()
        self._closed = False

    def open(self) -> None:
        self._thread.start()
        try:
            self._is_open.wait()
        except BaseException:  # Ctrl-C meanwhile
            self._is_open.wait()
            if self._error is None:
                self.close(cancel=True)
            raise
        if self._error is not None:
            raise self._error

    def _serve(self, fetcher: AsyncFetcher) -> None:
        try:
            anyio.run(self._until_closed, fetcher)
        except BaseException as error:  # noqa: BLE001 - raised by `open` or by `close`
            self._error = error
        self._is_open.send()
        self._ended.send()

    async def _until_closed(self, fetcher: AsyncFetcher) -> None:
        async with fetcher, create_task_group() as calls:
            self._loop, self._context = asyncio.get_running_loop(), copy_context()
            self._calls, self._last = calls, Event()
            self._is_open.send()
            await self._last.wait()

    def close(self, *, cancel: bool) -> None:
        """Let the calls under way end, or cancel them; then close the Fetcher.  In a forked child nothing is closed."""
        if os.getpid() != self._pid:
            return
        try:
            self._begin_to_close(cancel=cancel)
            self._ended.wait()
        except BaseException:  # Ctrl-C meanwhile
            self._begin_to_close(cancel=True)
            self._ended.wait()
            raise
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _begin_to_close(self, *, cancel: bool) -> None:
        with self._handing_over, suppress(RuntimeError):  # the loop has ended
            self._closed = True
            self._in_loop(self._calls.cancel_scope.cancel if cancel else self._last.set)

    def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Have something awaited in the event loop, and return what comes of it."""
        call = _Call(work)
        try:
            self._hand_over(call.start)
            call.over.wait()
        except BaseException:
            # Ctrl-C, unless it was refused.  What was handed over first is done first, and so it is known what to stop.
            with suppress(RuntimeError):  # it is being closed
                self._hand_over(call.stop)
                call.over.wait()
            raise
        return call.result()

    def _hand_over(self, begin: Callable[[TaskGroup], None]) -> None:
        if os.getpid() != self._pid:
            raise RuntimeError("the Fetcher was opened before the process forked: open another one here")
        if current_thread() is self._thread:
            raise RuntimeError("a call in the Fetcher's own event loop, as from `on_event`, would wait for itself")
        with self._handing_over:
            if self._closed:
                raise RuntimeError("the Fetcher is not open: use `with`")
            self._in_loop(partial(begin, self._calls))

    def _in_loop(self, work: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(work, context=self._context)


class _Call(Generic[T]):
    """One call.  It is made and waited for in one thread, and all else is done in that of the event loop."""

    def __init__(self, work: Callable[[], Awaitable[T]]) -> None:
        self.over = _Signal()
        self._work = work
        self._started = self._stopped = False
        self._scope: CancelScope | None = None
        self._results: list[T] = []
        self._error: BaseException | None = None

    def start(self, calls: TaskGroup) -> None:
        self._started = True
        calls.start_soon(self._run)

    def stop(self, _: TaskGroup) -> None:
        """Cancel it; it is over at its end."""
        self._stopped = True
        if self._scope is not None:
            self._scope.cancel()
        elif not self._started:
            self.over.send()

    async def _run(self) -> None:
        try:
            with CancelScope() as self._scope:
                if self._stopped:
                    self._scope.cancel()
                self._results.append(await self._work())
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - it is the caller's, and not the event loop's
            self._error = error
        finally:
            self.over.send()

    def result(self) -> T:
        """Return what came of it, or raise the error."""
        if self._error is not None:
            raise self._error
        if not self._results:
            raise RuntimeError("the Fetcher was closed before the call was done")
        return self._results[0]
