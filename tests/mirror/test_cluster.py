"""A mirror job on a real Dask cluster: each file once, no host asked too much, and whatever dies, all is there."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import re
import signal
import sys
import time
import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from fake_faults import Silence, Status
from fake_index import FakeIndex, Guard, basic
from fake_wheels import make_wheel, wheel_filename
from hypothesis import given, strategies as st
from real_servers import _free_ports, _script, _wait_until, running
from seaweed import BUCKET, WRITER, Storage

from fetcher.cli.main import main
from fetcher.cluster.shares import MOST_FILES, shard_length, share
from fetcher.errors import ConfigError
from fetcher.index.files import File
from fetcher.index.scope import Index
from fetcher.storage.directory import Directory
from fetcher.storage.object_store import ObjectStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from fake_answers import Answer, Ask

distributed = pytest.importorskip("distributed", reason="the extra cluster is not installed")
psutil = pytest.importorskip("psutil", reason="the extra cluster is not installed, which brings psutil")

ROOT = Path(__file__).parent.parent.parent
SECRET = "S3CR3T"
# What a run says of itself in the end; all else on stderr is unexpected.
SUMMARY = re.compile(r"\d+ (of \d+ )?files?[:,] ")
CAP = 4
# Seconds until a pause is known everywhere.
GRACE = 0.2


# ---------------------------------------------------------------------------------------------------------- the cluster


@dataclass(frozen=True)
class Cluster:
    """A scheduler and two workers, each of one thread, that a nanny begins anew when they die."""

    url: str
    folder: Path

    @property
    def output(self) -> str:
        """All that scheduler and workers have said."""
        return "".join(path.read_text(encoding="utf-8") for path in self.folder.glob("*/*.out"))

    async def pids(self) -> list[int]:
        """The processes of the workers, once there are two."""
        async with distributed.Client(self.url, asynchronous=True, set_as_default=False) as client:
            await client.wait_for_workers(2, timeout=20)
            return list((await client.run(os.getpid)).values())


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, seaweed: Storage) -> Iterator[Cluster]:
    dask = _script("dask")
    if dask is None:
        pytest.skip("the extra cluster is not installed: no program dask")
    folder = tmp_path_factory.mktemp("cluster")
    (port,) = _free_ports(1)
    url = f"tcp://127.0.0.1:{port}"
    # By default Dask allows a task three deaths of workers, which would be waited for here.
    settings = [f"PYTHONPATH={ROOT}", "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=1"]
    settings += [f"{name}={value}" for name, value in WRITER.environment(seaweed.url).items()]
    place = ["--host", "127.0.0.1", "--no-dashboard"]
    preload = ["--preload", str(Path(__file__).with_name("dying_of_poison.py"))]
    scheduler = ["env", *settings, dask, "scheduler", *place, "--port", str(port)]
    worker = ["env", *settings, dask, "worker", url, *place, "--nthreads", "1", *preload]
    folders = [folder / name for name in ("scheduler", "one", "two")]
    for each in folders:
        each.mkdir()
    with (
        running("scheduler", scheduler, folders[0]) as server,
        running("worker", [*worker, "--local-directory", str(folders[1])], folders[1]),
        running("worker", [*worker, "--local-directory", str(folders[2])], folders[2]),
    ):
        _wait_until(server, lambda: "Scheduler at" in server.output.read_text())
        yield Cluster(url, folder)


# ------------------------------------------------------------------------------------------------------------ the index


def wheels(count: int, name: str = "demo") -> dict[str, bytes]:
    """Wheels of ten projects."""
    names = [(f"{name}{number % 10}", f"1.{number // 10}") for number in range(count)]
    return {wheel_filename(*each): make_wheel(*each) for each in names}


@dataclass(kw_only=True, eq=False)
class TimedIndex(FakeIndex):
    """It notes when each request came."""

    times: list[float] = field(default_factory=list)

    def _answer(self, ask: Ask) -> Answer:
        self.times.append(time.monotonic())
        return super()._answer(ask)

    @property
    def projects(self) -> list[str]:
        return sorted({name.partition("-")[0] for name in self.wheels})


# ---------------------------------------------------------------------------------------------------------- the command


@dataclass(frozen=True)
class Done:
    code: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def error(self) -> str:
        (line,) = self.stderr.splitlines()
        return line.removeprefix("error: ")


@dataclass(frozen=True)
class Command:
    """`fetcher prefetch` as a process in a session of its own."""

    process: asyncio.subprocess.Process
    began: float

    async def end(self) -> Done:
        out, err = await self.process.communicate()
        assert self.process.returncode is not None
        said = [line for line in err.decode().splitlines(keepends=True) if not SUMMARY.match(line)]
        return Done(self.process.returncode, out.decode(), "".join(said), time.monotonic() - self.began)

    @property
    def left(self) -> bool:
        """Whether anything of it is left."""
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True


@asynccontextmanager
async def prefetching(*arguments: object, **environ: str) -> AsyncIterator[Command]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fetcher", "prefetch", *map(str, arguments), "--no-config", "--json",
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "NETRC": os.devnull, **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    command = Command(process, time.monotonic())
    try:
        yield command
    finally:
        if command.left:
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for happens in other processes
        await asyncio.sleep(0.01)


async def prefetch(index: TimedIndex, to: object, *options: object, url: str = "", **environ: str) -> Done:
    arguments = [*index.projects, "--all-versions", "-i", url or index.url, "--to", to, *options]
    async with prefetching(*arguments, **environ) as command:
        return await command.end()


def tree(root: Path) -> dict[str, bytes]:
    """What a mirror serves."""
    files = (path for path in root.rglob("*") if path.is_file() and ".fetcher" not in path.parts)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


# ------------------------------------------------------------------------------------------------------- what it brings


async def test_each_file_is_brought_once_and_the_cap_holds(cluster: Cluster, tmp_path: Path) -> None:
    guard = {"/": Guard((basic("reader", SECRET),))}
    async with TimedIndex(wheels=wheels(120), auth=guard, faults={"*.whl": Silence(0.02)}) as index:
        options = ["--scheduler", cluster.url, "--per-host", CAP]
        done = await prefetch(index, tmp_path / "there", *options, url=index.url_as(f"reader:{SECRET}"))
        assert (done.code, done.stderr) == (0, "")
        assert len({wire.path for wire in index.select("*.whl")}) == len(index.select("*.whl")) == 120
        assert 1 < index.busiest <= CAP
        assert index.anonymous == []
        here = await prefetch(index, tmp_path / "here", url=index.url_as(f"reader:{SECRET}"))
    assert sorted(map(str, map(without_costs, done.objects))) == sorted(map(str, map(without_costs, here.objects)))
    assert tree(tmp_path / "there") == tree(tmp_path / "here")
    assert not list((tmp_path / "there/.fetcher/incoming").iterdir())
    assert not (tmp_path / "there/.fetcher/cluster").exists()
    assert SECRET not in cluster.output


def without_costs(told: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in told.items() if name not in ("bytes", "seconds")}


async def test_the_least_cap(cluster: Cluster, dest: Path) -> None:
    """Pages and shards take turns."""
    async with TimedIndex(wheels=wheels(20)) as index:
        done = await prefetch(index, dest, "--scheduler", cluster.url, "--per-host", 1)
    assert (done.code, done.stderr, index.busiest, len(index.select("*.whl"))) == (0, "", 1, 20)


async def test_a_bucket(seaweed: Storage, tmp_path: Path) -> None:
    """Workers have AWS variables of their own, those of this machine from their parent."""
    async with TimedIndex(wheels=wheels(20)) as index:
        to = f"s3://{BUCKET}/{uuid.uuid4().hex}"
        aws = WRITER.environment(seaweed.url)
        done = await prefetch(index, to, "-q", "--workers", 1, "--state", tmp_path / "state", **aws)
        here = await prefetch(index, to, "-q", "--state", tmp_path / "other", **aws)
    assert (done.code, done.stderr, here.code, here.stderr) == (0, "", 0, "")
    assert len(index.select("*.whl")) == 20
    assert {told["bytes"] for told in here.objects if told["outcome"] == "fetched"} == {0}


# ------------------------------------------------------------------------------------------------------ what goes wrong


async def test_a_worker_is_killed(cluster: Cluster, tmp_path: Path) -> None:
    async with TimedIndex(wheels=wheels(160), faults={"*.whl": Silence(0.03)}) as index:
        options = ["--scheduler", cluster.url, "--per-host", CAP]
        undisturbed = await prefetch(index, tmp_path / "undisturbed", *options)
        before = index.requests
        pids = await cluster.pids()
        arguments = [*index.projects, "--all-versions", "-i", index.url, "--to", tmp_path / "disturbed", *options]
        async with prefetching(*arguments) as command:
            await until(lambda: index.requests > before + 90)
            os.kill(pids[0], signal.SIGKILL)
            disturbed = await command.end()
        brought = index.log[before:]
    print(f"\nundisturbed {undisturbed.seconds:.1f} s, with a worker killed {disturbed.seconds:.1f} s")
    assert (disturbed.code, disturbed.stderr) == (0, "")
    assert tree(tmp_path / "disturbed") == tree(tmp_path / "undisturbed")
    assert index.busiest <= CAP
    assert len(brought) < before + 2 * CAP  # what was in its place is not asked for again


async def test_a_worker_is_killed_while_a_bucket_is_filled(
    cluster: Cluster, seaweed: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws = WRITER.environment(seaweed.url)
    for name, value in aws.items():
        monkeypatch.setenv(name, value)
    ends = [f"s3://{BUCKET}/{uuid.uuid4().hex}" for _ in range(2)]
    async with TimedIndex(wheels=wheels(120), faults={"*.whl": Silence(0.03)}) as index:
        options = ["--scheduler", cluster.url, "--per-host", CAP, "--state"]
        undisturbed = await prefetch(index, ends[0], *options, tmp_path / "one", "-q", **aws)
        before, pids = index.requests, await cluster.pids()
        arguments = [*index.projects, "--all-versions", "-i", index.url, "--to", ends[1], *options, tmp_path / "two"]
        async with prefetching(*arguments, "-q", **aws) as command:
            await until(lambda: index.requests > before + 70)
            os.kill(pids[0], signal.SIGKILL)
            disturbed = await command.end()
    print(f"\nundisturbed {undisturbed.seconds:.1f} s, with a worker killed {disturbed.seconds:.1f} s")
    assert (undisturbed.code, disturbed.code, disturbed.stderr) == (0, 0, "")
    found = [await objects(end) for end in ends]
    assert found[0] == found[1]
    assert len([key for key in found[1] if key.endswith(".whl")]) == 120
    assert index.busiest <= CAP


async def objects(bucket: str) -> dict[str, int]:
    store = await ObjectStore.open(bucket)
    return {stored.key: stored.size async for stored in store.list() if not stored.key.startswith(".fetcher/")}


async def test_a_host_that_asks_to_wait_is_asked_by_nobody(cluster: Cluster, dest: Path) -> None:
    full = Status(429, times=1, headers={"Retry-After": "2"})
    names = list(wheels(120))
    async with TimedIndex(wheels=wheels(120), faults={"*.whl": Silence(0.03), names[60]: full}) as index:
        done = await prefetch(index, dest, "--scheduler", cluster.url, "--per-host", 8)
    assert (done.code, done.stderr) == (0, "")
    (asked,) = [time for time, wire in zip(index.times, index.log, strict=True) if wire.status == 429]
    waited = [time - asked for time in index.times if time - asked > GRACE]
    print(f"\nthe next request came after {waited[0]:.2f} s")
    assert waited[0] >= 2
    assert len(index.select("*.whl")) == 121


async def test_a_file_that_workers_die_of(cluster: Cluster, dest: Path) -> None:
    await cluster.pids()
    poison = wheel_filename("poison")
    async with TimedIndex(wheels={**wheels(3), poison: make_wheel("poison")}) as index:
        done = await prefetch(index, dest, "--scheduler", cluster.url)
    assert done.error == (
        f"{index.files_url}/{poison}: 2 workers of the cluster died, one after the other, of bringing this file alone: "
        "the log of a worker says why"
    )
    assert done.code == 1
    outcomes = {told["filename"]: told["outcome"] for told in done.objects if "filename" in told}
    assert outcomes == {**dict.fromkeys(wheels(3), "fetched"), poison: "failed"}


async def test_no_scheduler_is_there(dest: Path) -> None:
    (port,) = _free_ports(1)
    url = f"tcp://127.0.0.1:{port}"
    async with TimedIndex(wheels=wheels(1)) as index:
        done = await prefetch(index, dest, "--scheduler", url, "--timeout", 1)
    assert (done.code, done.error) == (4, f"cannot connect to {url}: no Dask scheduler answered within 1 s")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--scheduler", "http://127.0.0.1:1"], "is no address of a Dask scheduler, such as tcp://host:8786"),
        (["--scheduler", "tcp://127.0.0.1:1", "--workers", "1"], "--scheduler and --workers exclude each other"),
    ],
)
def test_options_that_make_no_sense(dest: Path, options: list[str], said: str) -> None:
    done = CliRunner().invoke(main, ["prefetch", "idna", "--to", str(dest), *options])
    assert (done.exit_code, said in done.stderr) == (2, True)
    assert not dest.exists()


@pytest.mark.parametrize("option", ["--scheduler=tcp://127.0.0.1:1", "--workers=1"])
def test_the_extra_is_missing(dest: Path, monkeypatch: pytest.MonkeyPatch, option: str) -> None:
    monkeypatch.setitem(sys.modules, "fetcher.cluster.carrier", None)
    done = CliRunner().invoke(main, ["prefetch", "idna", "--to", str(dest), "--no-config", option])
    name = option.partition("=")[0]
    assert (done.exit_code, done.stderr) == (
        2,
        f'error: {name} needs the extra cluster: pip install "fetcher[cluster]"\n',
    )


async def test_the_scheduler_is_lost_and_before_there_is_no_worker(dest: Path, tmp_path: Path) -> None:
    (port,) = _free_ports(1)
    url = f"tcp://127.0.0.1:{port}"
    dask = ["env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "dask"]
    place = ["--host", "127.0.0.1", "--no-dashboard"]
    async with TimedIndex(wheels=wheels(60), faults={"*.whl": Silence(0.1)}) as index:
        with running(
            "scheduler", [*dask, "scheduler", *place, "--port", str(port)], tmp_path, signal.SIGKILL
        ) as server:
            await asyncio.to_thread(_wait_until, server, lambda: "Scheduler at" in server.output.read_text())
            done = await prefetch(index, dest, "--scheduler", url, "--timeout", 1)
            assert (done.code, done.error) == (4, f"{url}: no worker came to the scheduler within 1 s")
            with running("worker", [*dask, "worker", url, *place, "--nthreads", "1", "--no-nanny"], tmp_path):
                arguments = [*index.projects, "--all-versions", "-i", index.url, "--to", dest, "--per-host", 3]
                async with prefetching(*arguments, "--scheduler", url) as command:
                    await until(lambda: len(index.select("*.whl")) >= 10)
                    psutil.Process(server.guard.pid).children()[0].kill()
                    done = await command.end()
                asked = index.requests
                await asyncio.sleep(0.5)
                assert index.requests == asked  # the worker, too, has ended what nobody waits for
    said = f"the connection to {url} broke: the Dask scheduler is gone, or was begun anew"
    assert (done.code, done.error) == (4, said)


async def test_a_worker_of_this_machine_is_killed(dest: Path) -> None:
    async with TimedIndex(wheels=wheels(60), faults={"*.whl": Silence(0.05)}) as index:
        arguments = [*index.projects, "--all-versions", "-i", index.url, "--to", dest, "--workers", 1, "--per-host", 3]
        async with prefetching(*arguments) as command:
            await until(lambda: len(index.select("*.whl")) >= 20)
            (worker,) = psutil.Process(command.process.pid).children()
            worker.kill()
            done = await command.end()
    assert (done.code, done.stderr, index.busiest <= 3) == (0, "", True)
    assert {told["outcome"] for told in done.objects if "filename" in told} == {"fetched"}
    assert not (dest / ".fetcher/workers").exists()


@pytest.mark.parametrize("helpers", ["--scheduler", "--workers"])
async def test_ctrl_c(cluster: Cluster, dest: Path, helpers: str) -> None:
    await cluster.pids()
    who = {"--scheduler": cluster.url, "--workers": 2}[helpers]
    async with TimedIndex(wheels=wheels(100), faults={"*.whl": Silence(0.1)}) as index:
        arguments = [*index.projects, "--all-versions", "-i", index.url, "--to", dest, helpers, who, "--per-host", CAP]
        async with prefetching(*arguments) as command:
            await until(lambda: len(index.select("*.whl")) >= 10)
            pressed = time.monotonic()
            os.killpg(command.process.pid, signal.SIGINT)
            done = await command.end()
            assert time.monotonic() - pressed < 3
            print(f"\nended in {time.monotonic() - pressed:.2f} s")
            await asyncio.sleep(0.3)
            asked = index.requests
            await asyncio.sleep(0.5)
            assert (index.requests, command.left) == (asked, False)
    assert done.code == 130
    assert "Traceback" not in done.stderr
    assert "distributed" not in done.stderr


async def test_who_has_another_fetcher_is_told_apart(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    from fetcher.cluster import scheduler, shard

    here = shard.describe()["fetcher"]
    monkeypatch.setattr(shard, "__version__", "9.0")
    with pytest.raises(ConfigError) as caught:
        async with scheduler.join_cluster(cluster.url, 10):
            pass
    said = f"the scheduler {cluster.url} has fetcher {here} and not fetcher 9.0: install there what is installed here"
    assert str(caught.value) == said


async def test_a_directory_that_is_not_shared(tmp_path: Path) -> None:
    from fetcher.cluster import shard

    errand = shard.Errand("a run", str(tmp_path), {}, {})
    with pytest.raises(ConfigError, match="another place on the worker tcp://one:1 than here: a cluster needs"):
        await shard._check_mark(Directory(tmp_path), errand, "tcp://one:1")


# --------------------------------------------------------------------------------------------------------- what is pure


@given(workers=st.integers(1, 100), concurrency=st.integers(1, 200), per_host=st.integers(1, 200))
def test_shares_stay_within_what_a_host_is_sent(workers: int, concurrency: int, per_host: int) -> None:
    shares = share(workers, concurrency, per_host)
    taken: list[int] = []
    while len(taken) < shares.shards:
        taken.append(shares.per_host(len(taken), sum(taken)) or 0)
    assert sum(taken) <= max(1, per_host - 1)
    assert min(taken) >= 1
    assert max(taken) - min(taken) <= 1
    assert 1 <= shares.shards <= workers
    assert shares.shards * shares.concurrency <= max(concurrency, 1)


@given(waiting=st.integers(1, 1000), free=st.integers(0, 50))
def test_a_shard_is_neither_empty_nor_too_long(waiting: int, free: int) -> None:
    assert 1 <= shard_length(waiting, free) <= min(waiting, MOST_FILES)


def test_what_is_sent_shows_no_secret() -> None:
    from fetcher.cluster import shard

    index = Index(f"https://reader:{SECRET}@index.example/simple")
    file = File("a.whl", f"https://reader:{SECRET}@index.example/a.whl", listed_by=index)
    errand = shard.Errand("a run", "/there", {"indexes": [index]}, {"UV_INDEX_A_PASSWORD": SECRET})
    sent = pickle.loads(pickle.dumps(shard.Shard(errand, [file], 1, 1, None)))
    assert sent.files == [file]
    assert all(SECRET not in repr(each) for each in (sent, sent.errand))
