"""What all tests share: nothing of this machine's network settings, and no blocking call of ours in the event loop."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

import anyio
import pytest
from blockbuster import BlockBuster
from hypothesis import settings
from real_servers import RealServersMissing
from seaweed import Storage, running_moto, running_seaweed

from fetcher.transport.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


Run = Callable[[Callable[[], Awaitable[None]]], None]

# How long an example takes says more about the machine than about the code.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback is asked directly, whatever the machine's environment says."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _no_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The command keeps nothing, for most tests count requests; and a test that lets it never uses the user's cache."""
    monkeypatch.setenv("FETCHER_NO_CACHE", "1")
    monkeypatch.setenv("FETCHER_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "nobody's cache"))


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    """Where files go; it is not there yet."""
    return tmp_path / "dest"


@pytest.fixture
def _no_blocking() -> Iterator[None]:
    """A blocking call of `fetcher` in the event loop fails the test; `pytestmark = usefixtures(...)` asks for it."""
    # Only our own frames count: the fake index reads files in the very same loop.
    guard = BlockBuster(scanned_modules=["fetcher"])
    # Under coverage each first call of a function takes the tracer's lock, which another thread may hold.
    guard.functions["threading.Lock.acquire"].can_block_in("coverage/collector.py", {"lock_data"})
    guard.activate()
    try:
        yield
    finally:
        guard.deactivate()


@pytest.fixture
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between attempts it waits milliseconds; the length of the waits is tested where it is decided."""
    monkeypatch.setattr("fetcher.client.RetryPolicy", partial(RetryPolicy, first_wait=0.002))


@pytest.fixture(
    params=[
        "asyncio",
        pytest.param("uvloop", marks=pytest.mark.skipif(not find_spec("uvloop"), reason="uvloop is not installed")),
    ]
)
def run(request: pytest.FixtureRequest) -> Run:
    """Run a coroutine function in an event loop of each kind."""
    return lambda main: anyio.run(main, backend_options={"use_uvloop": request.param == "uvloop"})


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """SeaweedFS, one for all tests; each test has a prefix of its own in its bucket."""
    try:
        with running_seaweed(tmp_path_factory.mktemp("seaweed")) as storage:
            yield storage
    except RealServersMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def flat_storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """Object storage whose keys are flat, as those of Amazon S3 are; one for all tests."""
    try:
        with running_moto(tmp_path_factory.mktemp("moto")) as storage:
            yield storage
    except RealServersMissing as missing:
        pytest.skip(str(missing))
