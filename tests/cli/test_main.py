"""The command line as scripts rely on it: what is printed where, and the exit codes."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from fake_faults import LoginPage, Silence, Stall, Status
from fake_index import FakeIndex, Guard, basic
from fake_pages import Tree
from fake_sdists import make_sdist, members_of, pkg_info
from fake_wheels import make_wheel, metadata_of, wheel_filename

from fetcher import errors
from fetcher.cli.main import main
from fetcher.cli.options import _parse_rate
from fetcher.cli.run import Outcome, exit_code, run_all
from fetcher.cli.targets import Target
from fetcher.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

COMMANDS = ("get", "metadata", "explain")
DEMO, OTHER = wheel_filename(), wheel_filename("other", "2.0")
WHEELS = {DEMO: make_wheel(), OTHER: make_wheel("other", "2.0")}
LOCKED = {"/": Guard((basic("user", "S3CR3T"),))}


@dataclass(frozen=True)
class Done:
    code: int
    stdout: str
    stderr: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """stdout as one JSON object a line."""
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def error(self) -> str:
        """The one line on stderr that says what went wrong."""
        (line,) = [line for line in self.stderr.splitlines() if line.startswith("error: ")]
        return line.removeprefix("error: ")


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Done]]:
    """The command in this process, without the user's settings; what it does to logging is undone."""
    logger = logging.getLogger("fetcher")
    handlers, level = logger.handlers[:], logger.level

    def run(*arguments: str, **environ: str) -> Done:
        environ = {"NETRC": os.devnull, "HOME": str(tmp_path), **environ}
        done = CliRunner(env=environ).invoke(main, arguments)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert "Traceback" not in done.output or "--debug" in arguments
        return Done(done.exit_code, done.stdout, done.stderr)

    yield run
    logger.handlers[:] = handlers
    logger.setLevel(level)


async def beside(run: Callable[..., Done], *arguments: str, **environ: str) -> Done:
    """The command beside the event loop that serves the fake index."""
    return await asyncio.to_thread(lambda: run(*arguments, **environ))


# --------------------------------------------------------------------------------------------------------- about itself


def test_version(run: Callable[..., Done]) -> None:
    assert run("--version") == Done(0, f"fetcher {__version__}\n", "")


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help(run: Callable[..., Done], flag: str) -> None:
    done = run(flag)
    assert (done.code, done.stderr) == (0, "")
    assert all(f"  {command}" in done.stdout for command in (*COMMANDS, "cache"))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command(run: Callable[..., Done], command: str) -> None:
    done = run(command, "--help")
    assert (done.code, done.stderr) == (0, "")
    common = ["-i, --index-url", "--extra-index-url", "--index", "--authenticate", "--config-file", "--no-config",
              "--concurrency", "--retries", "--timeout", "--deadline", "--cache-dir", "--no-cache", "--refresh",
              "--offline", "--json", "-q, --quiet", "-v, --verbose",
              "--no-progress", "--debug"]  # fmt: skip
    of_targets = ["-r, --requirement", "--python-version", "--platform"] if command != "explain" else []
    of_get = ["-d, --dest", "--fsync", "--only-binary", "--no-binary", "--prefer", "--prefer-binary"]
    for option in [*common, *of_targets, *(of_get if command == "get" else [])]:
        assert f"{option} " in done.stdout


# ------------------------------------------------------------------------------------------------------------ exit 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["--nonsense"],
        ["get", "--nonsense", "demo"],
        ["get"],
        ["metadata"],
        ["explain"],
        ["explain", "https://a/", "https://b/"],
        ["explain", "demo"],
        ["explain", "ftp://host/"],
        ["get", "demo", "--concurrency", "0"],
        ["get", "demo", "--concurrency", "many"],
        ["get", "demo", "--retries", "-1"],
        ["get", "demo", "--timeout", "0"],
        ["get", "demo", "--timeout", "soon"],
        ["get", "demo", "--deadline", "0"],
        ["get", "demo", "--offline", "--refresh"],
        ["get", "demo", "--offline", "--no-cache"],
        ["metadata", "demo", "--offline"],  # FETCHER_NO_CACHE is set
        ["explain", "https://host/", "--offline"],
        ["get", "demo", "--config-file", "no-such-file.toml"],
        ["get", "demo", "--config-file", "."],
        ["get", "demo", "--python-version", "three"],
        ["get", "demo", "--python-version", "٣.12"],
        ["get", "demo", "--only-binary"],
        ["get", "demo", "--only-binary", ""],
        ["get", "demo", "--no-binary", ":al:"],
        ["get", "demo", "--no-binary", "--no-config"],
        ["get", "demo", "--prefer", "egg"],
        ["metadata", "demo", "--prefer", "egg"],
        ["get", "./demo.whl"],
        ["get", "demo=1"],
        ["get", "-r", "no-such-file.txt"],
        ["get", "demo", "-i", "ftp://host/simple"],
        ["get", "demo", "-i", "user:S3CR3T@host/simple"],
        ["get", "demo", "-i", "https://user:S3/CR3T@host/simple"],
        ["get", "demo", "--index", "=https://host/simple"],
        ["get", "demo", "--index", "a b=https://host/simple"],
        ["get", "demo", "--index", "a=https://h/", "--index", "a=https://i/"],
        ["get", "demo", "--authenticate", "corp"],
        ["get", "demo", "--authenticate", "corp=always"],
        ["get", "demo", "--index", "corp=https://h/", "--authenticate", "corp=sometimes"],
        ["get", "https://user:S3CR3T@host:99999/x.whl"],
        ["get", "https://user:S3CR3T/S3CR3T@host/x.whl"],
        ["get", "user:S3CR3T@host/x.whl"],
        ["metadata", "demo @ ftp://user:S3CR3T@host/x.whl"],
    ],
    ids=" ".join,
)
def test_usage(run: Callable[..., Done], arguments: list[str]) -> None:
    done = run(*arguments)
    assert (done.code, done.stdout) == (2, "")
    assert "rror: " in done.stderr
    assert "S3CR3T" not in done.stderr
    assert "CR3T" not in done.stderr


def test_unknown_policy_says_which_there_are(run: Callable[..., Done]) -> None:
    done = run("get", "demo", "--index", "corp=https://h/", "--authenticate", "corp=sometimes")
    assert "auto, always, never" in done.error
    assert "sometimes" in done.error


def test_unknown_index_says_which_there_are(run: Callable[..., Done]) -> None:
    done = run("get", "demo", "--index", "corp=https://h/", "--authenticate", "crop=always")
    assert "'crop'" in done.error
    assert "corp" in done.error


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[index]\n", "uv.toml is not valid TOML"),
        ('[[index]]\nname = "a"\n', "has no `url`"),
        ('[[index]]\nurl = "https://u:S3CR3T@h/"\nauthenticate = "x"\n', "`authenticate`"),
        ('[[index]]\nurl = "user:S3CR3T@h/"\n', "is not an http or https URL"),
        ("index = 3\n", "array of tables"),
    ],
)
def test_bad_config_file(run: Callable[..., Done], tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "uv.toml"
    path.write_text(text)
    done = run("get", "demo", "--config-file", str(path))
    assert (done.code, done.stdout) == (2, "")
    assert says in done.error
    assert str(path) in done.error
    assert "S3CR3T" not in done.stderr


def test_config_file_or_none(run: Callable[..., Done], tmp_path: Path) -> None:
    (tmp_path / "uv.toml").write_text("")
    done = run("get", "demo", "--no-config", "--config-file", str(tmp_path / "uv.toml"))
    assert (done.code, done.stdout) == (2, "")


# ------------------------------------------------------------------------------------------------------- exit codes


OK = None
CONFIG = errors.ConfigError("x")
AUTH = errors.Unauthorized("https://h/", "corp")
LOGIN = errors.LoginPage("x", "https://h/", "https://h/", 200, "", None, None, None, None)
NETWORK = errors.ConnectFailed("https://h/", "x")
STATUS = errors.NotFound("https://h/")
CONTENT = errors.BadZip("x", "y")
DISK = errors.DiskError("x", "y")


@pytest.mark.parametrize(
    ("found", "code"),
    [
        ([OK], 0),
        ([OK, OK], 0),
        ([CONFIG], 2),
        ([AUTH], 3),
        ([LOGIN], 3),
        ([AUTH, LOGIN], 3),
        ([NETWORK], 4),
        ([NETWORK, STATUS], 4),
        ([CONTENT], 5),
        ([DISK, DISK], 6),
        ([OK, NETWORK], 1),
        ([CONTENT, OK], 1),
        ([AUTH, NETWORK], 1),
        ([CONTENT, DISK, NETWORK], 1),
    ],
)
def test_exit_code(found: list[errors.FetcherError | None], code: int) -> None:
    assert exit_code({0 if error is None else error.exit_code for error in found}) == code


@pytest.fixture
def heeded_interrupt() -> Iterator[None]:
    """A shell's background jobs ignore SIGINT, and so does whatever they start, unless it is heeded here."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeded_interrupt")
def test_interrupted() -> None:
    """130, and no traceback."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/demo-1.0-py3-none-any.whl"
        command = subprocess.Popen(
            [sys.executable, "-m", "fetcher", "metadata", url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"PATH": os.environ["PATH"], "NETRC": os.devnull},
        )
        connection, _ = silent.accept()
        with connection:
            assert connection.recv(3) == b"GET"
            command.send_signal(signal.SIGINT)
            stdout, stderr = command.communicate(timeout=10)
    assert (command.returncode, stdout) == (130, "")
    assert "Traceback" not in stderr
    assert len(stderr.splitlines()) == 1


def test_connection_refused(run: Callable[..., Done]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, and nobody listens
        url = f"http://user:S3CR3T@127.0.0.1:{closed.getsockname()[1]}/simple"
        done = run("metadata", "demo", "-i", url, "--retries", "0")
        assert (done.code, done.stdout) == (4, "")
        assert "cannot connect to http://" in done.error
        assert done.stderr.count("\n") == 1
        debug = run("metadata", "demo", "-i", url, "--retries", "0", "--debug", "-vv")
        assert debug.code == 4
        assert "Traceback" in debug.stderr
        assert "S3CR3T" not in debug.stderr


@pytest.mark.parametrize(
    ("fault", "code", "kind"),
    [
        pytest.param(Status(401), 3, "Unauthorized", id="401"),
        pytest.param(Status(403), 3, "Forbidden", id="403"),
        pytest.param(LoginPage(), 3, "LoginPage", id="login page"),
        pytest.param(Status(404), 4, "NotFound", id="404"),
        pytest.param(Status(500), 4, "ServerFailed", id="500"),
        pytest.param(Status(429, headers={"Retry-After": "3600"}), 4, "Throttled", id="429"),
        pytest.param(Status(200, body="json"), 5, "NotAWheel", id="JSON"),
        pytest.param(Status(200, body="empty"), 5, "NotAWheel", id="empty"),
    ],
)
@pytest.mark.parametrize("command", ["get", "metadata"])
async def test_what_a_file_comes_to(
    run: Callable[..., Done], tmp_path: Path, command: str, fault: Any, code: int, kind: str
) -> None:
    to = ("-d", str(tmp_path / "to")) if command == "get" else ()
    async with FakeIndex(wheels=WHEELS, faults={DEMO: fault}, sizes=False, hashes="none") as index:
        done = await beside(run, command, "demo", "-i", index.url, "--retries", "0", "--json", *to)
        mixed = await beside(run, command, "demo", "other", "-i", index.url, "--retries", "0", *to)
    assert done.code == code
    assert done.objects == [{"target": "demo", "error": kind, "message": done.error}]
    assert mixed.code == 1
    assert mixed.stdout == (f"{tmp_path / 'to' / OTHER}\n" if to else metadata_of(WHEELS[OTHER]).decode())
    assert mixed.error == done.error
    assert not (tmp_path / "to" / DEMO).exists()


async def test_nothing_is_sent_without_credentials(run: Callable[..., Done]) -> None:
    async with FakeIndex(wheels=WHEELS) as index:
        done = await beside(
            run, "metadata", "demo", "--index", f"corp={index.url}", "-i", index.url, "--authenticate", "corp=always"
        )
    assert (done.code, done.stdout, index.log) == (3, "", [])
    assert "FETCHER_INDEX_CORP_PASSWORD" in done.error


async def test_disk(run: Callable[..., Done], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with FakeIndex(wheels=WHEELS) as index:
        done = await beside(run, "get", "demo", "-i", index.url, "-d", str(tmp_path / "file"))
    assert (done.code, done.stdout) == (6, "")
    assert str(tmp_path / "file") in done.error


class TestHashOption:
    """A digest in a requirements file is demanded, whatever the page says."""

    @pytest.mark.parametrize("line", [f"{{base}}/files/{DEMO}", "demo", f"demo @ {{base}}/files/{DEMO}"])
    @pytest.mark.parametrize("hashes", ["lower", "none"])
    @pytest.mark.parametrize("algorithm", ["sha256", "sha512", "md5"])
    @pytest.mark.parametrize("right", [True, False], ids=["right", "wrong"])
    async def test_checked(
        self, run: Callable[..., Done], tmp_path: Path, line: str, hashes: Any, algorithm: str, right: bool
    ) -> None:
        digest = hashlib.new(algorithm, WHEELS[DEMO] if right else b"").hexdigest()
        async with FakeIndex(wheels=WHEELS, hashes=hashes) as index:
            (tmp_path / "r.txt").write_text(f"{line.format(base=index.base)} --hash={algorithm}:{digest}\n")
            done = await beside(run, "get", "-r", str(tmp_path / "r.txt"), "-i", index.url, "-d", str(tmp_path))
        assert (tmp_path / DEMO).exists() == right
        assert done.code in ((0,) if right else (4, 5))  # 4: no file of that digest on the page


# ----------------------------------------------------------------------------------------------------------- --deadline


class TestDeadline:
    async def test_what_is_not_done_by_then_has_failed(self, run: Callable[..., Done], tmp_path: Path) -> None:
        """In the order of the targets; the part is kept, and the next run goes on from it."""
        large = make_wheel("large", size=8 << 20)
        wheels = {**WHEELS, wheel_filename("large"): large}
        command = ("get", "large", "demo", "-d", str(tmp_path / "to"))
        async with FakeIndex(wheels=wheels, faults={"large*": Stall(6 << 20, 60)}) as index:
            done = await beside(run, *command, "-i", index.url, "--json", "--deadline", "2")
            (part,) = (tmp_path / "to").glob(".large*.part")
            kept = part.stat().st_size
            index.faults = {}
            again = await beside(run, *command, "-i", index.url, "--json")
        assert done.code == 1
        assert done.error == "large is not done: the deadline of 2 s has passed"
        assert done.objects[0] == {"target": "large", "error": "DeadlinePassed", "message": done.error}
        assert done.objects[1]["filename"] == DEMO
        assert "1 of 2 files: " in done.stderr.splitlines()[-1]
        assert done.stderr.endswith("; 1 failed: DeadlinePassed 1\n")
        assert (again.code, again.objects[0]["resumed_from"]) == (0, kept)
        assert kept > 0
        assert (tmp_path / "to" / wheel_filename("large")).read_bytes() == large

    @pytest.mark.parametrize("silent", ["*.whl", "/simple/*"])
    @pytest.mark.parametrize("command", ["get", "metadata"])
    async def test_none_is_done(self, run: Callable[..., Done], tmp_path: Path, command: str, silent: str) -> None:
        to = ("-d", str(tmp_path / "to")) if command == "get" else ()
        async with FakeIndex(wheels=WHEELS, faults={silent: Silence(60)}) as index:
            done = await beside(run, command, "other", "demo", "-i", index.url, *to, "--deadline", "0.3")
        assert (done.code, done.stdout) == (4, "")
        assert done.stderr.splitlines()[:2] == [
            f"error: {name} is not done: the deadline of 0.3 s has passed" for name in ("other", "demo")
        ]

    async def test_what_has_not_begun_by_then_is_not_asked_for(self, run: Callable[..., Done]) -> None:
        async with FakeIndex(wheels=WHEELS, faults={"/simple/demo/": Silence(60)}) as index:
            command = ("metadata", "demo", "other", "missing", "--concurrency", "1", "--deadline", "0.3", "--json")
            done = await beside(run, *command, "-i", index.url)
            assert [wire.path for wire in index.log] == ["/simple/demo/"]
            assert index.connections == 1
        assert done.code == 4
        assert [(found["target"], found["error"]) for found in done.objects] == [
            (name, "DeadlinePassed") for name in ("demo", "other", "missing")
        ]

    async def test_it_bounds_what_a_server_may_ask_to_wait(self, run: Callable[..., Done]) -> None:
        async with FakeIndex(wheels=WHEELS, faults={"*.whl": Status(503, headers={"Retry-After": "40"})}) as index:
            done = await beside(run, "metadata", "demo", "-i", index.url, "--deadline", "30", "--json")
        assert (done.code, done.objects[0]["error"]) == (4, "Throttled")
        assert "asks to wait 40.0 s" in done.error
        assert "left before the deadline" in done.error

    async def test_in_time(self, run: Callable[..., Done]) -> None:
        async with FakeIndex(wheels=WHEELS) as index:
            done = await beside(run, "metadata", "demo", "-i", index.url, "--deadline", "60")
        assert done == Done(0, metadata_of(WHEELS[DEMO]).decode(), "")

    async def test_explain(self, run: Callable[..., Done]) -> None:
        async with FakeIndex(wheels=WHEELS, faults={DEMO: Silence(60)}) as index:
            url = f"{index.base}/files/{DEMO}"
            done = await beside(run, "explain", f"{url}?sig=S3CR3T", "--deadline", "0.3")
        assert (done.code, done.stdout) == (4, "")
        assert done.error == f"{url}?sig=*** is not done: the deadline of 0.3 s has passed"


# ------------------------------------------------------------------------------------------------------------- output


METADATA_FIELDS = ["target", "name", "version", "filename", "url", "index", "how", "requests", "bytes", "sha256",
                   "verified", "metadata"]  # fmt: skip
GET_FIELDS = ["target", "filename", "url", "index", "path", "size", "sha256", "bytes", "resumed_from", "from_cache",
              "seconds"]  # fmt: skip


async def test_metadata(run: Callable[..., Done]) -> None:
    async with FakeIndex(wheels=WHEELS) as index:
        done = await beside(run, "metadata", "demo", "other==2.0", "-i", index.url)
    text = metadata_of(WHEELS[DEMO]).decode() + metadata_of(WHEELS[OTHER]).decode()
    assert done == Done(0, text, "")


async def test_metadata_as_json(run: Callable[..., Done]) -> None:
    async with FakeIndex(wheels=WHEELS) as index:
        done = await beside(
            run, "metadata", "other", "demo==1.0", "missing", "--index", f"corp={index.url}", "-i", index.url, "--json"
        )
    first, second, third = done.objects
    assert done.code == 1
    assert list(first) == list(second) == METADATA_FIELDS
    raw = metadata_of(WHEELS[OTHER])
    assert first == {
        "target": "other",
        "name": "other",
        "version": "2.0",
        "filename": OTHER,
        "url": f"{index.base}/files/{OTHER}",
        "index": "corp",
        "how": "whole",
        "requests": 1,
        "bytes": len(WHEELS[OTHER]),
        "sha256": hashlib.sha256(raw).hexdigest(),
        "verified": True,
        "metadata": raw.decode(),
    }
    assert third == {"target": "missing", "error": "NotFound", "message": done.error}
    assert "missing" in done.error


async def test_get(run: Callable[..., Done], tmp_path: Path) -> None:
    async with FakeIndex(wheels=WHEELS) as index:
        arguments = ("get", "demo", f"{index.base}/files/{OTHER}", "-i", index.url, "-d", str(tmp_path / "a" / "b"))
        done = await beside(run, *arguments)
        again = await beside(run, *arguments, "--json")
    assert (done.code, done.stdout) == (0, "".join(f"{tmp_path / 'a' / 'b' / name}\n" for name in (DEMO, OTHER)))
    assert done.stderr.startswith("2 files: ")  # the summary: `test_progress`
    assert {path.name: path.read_bytes() for path in (tmp_path / "a" / "b").iterdir()} == WHEELS
    first, _ = again.objects
    assert list(first) == GET_FIELDS
    assert isinstance(first.pop("seconds"), float)
    assert first == {
        "target": "demo",
        "filename": DEMO,
        "url": f"{index.base}/files/{DEMO}",
        "index": "default",
        "path": str(tmp_path / "a" / "b" / DEMO),
        "size": len(WHEELS[DEMO]),
        "sha256": hashlib.sha256(WHEELS[DEMO]).hexdigest(),
        "bytes": 0,  # it is there
        "resumed_from": None,
        "from_cache": False,
    }


async def test_results_come_in_the_order_of_the_targets(run: Callable[..., Done]) -> None:
    """The first file is the last to arrive."""
    async with FakeIndex(wheels=WHEELS, faults={DEMO: Silence(0.2)}) as index:
        done = await beside(run, "metadata", "demo", "other", "other==2.0", "-i", index.url, "--json")
        assert [wire.path.rpartition("/")[2] for wire in index.log][-1] in (DEMO, OTHER)
    assert [found["target"] for found in done.objects] == ["demo", "other", "other==2.0"]


async def test_outcomes_are_printed_as_soon_as_their_turn_comes(capsys: pytest.CaptureFixture[str]) -> None:
    settings: Any = SimpleNamespace(json=False, debug=False, concurrency=3, deadline=None)
    third, printed = asyncio.Event(), []

    async def work(target: Target) -> Outcome:
        if target.text == "b":
            raise errors.ConfigError("odd")
        if target.text == "c":
            await third.wait()
        return Outcome(target.text, {}, f"{target.text}\n".encode())

    running = asyncio.create_task(run_all([Target(text) for text in "abc"], work, settings))
    for _ in range(10):
        await asyncio.sleep(0)
    printed.append(capsys.readouterr())
    third.set()
    codes = await running
    printed.append(capsys.readouterr())
    assert [(text.out, text.err) for text in printed] == [("a\n", "error: odd\n"), ("c\n", "")]
    assert codes == {0, 2}


async def test_what_waits_for_an_earlier_outcome_is_bounded(capsys: pytest.CaptureFixture[str]) -> None:
    settings: Any = SimpleNamespace(json=False, debug=False, concurrency=2, deadline=None)
    first, begun = asyncio.Event(), []

    async def work(target: Target) -> Outcome:
        begun.append(target.text)
        if target.text == "0":
            await first.wait()
        return Outcome(target.text, {}, f"{target.text}\n".encode())

    running = asyncio.create_task(run_all((Target(str(number)) for number in range(100)), work, settings))
    for _ in range(50):
        await asyncio.sleep(0)
    assert (len(begun), capsys.readouterr().out) == (4, "")
    first.set()
    assert await running == {0}
    assert capsys.readouterr().out.split() == [str(number) for number in range(100)]


async def test_secrets_are_printed_nowhere(run: Callable[..., Done], tmp_path: Path) -> None:
    async with FakeIndex(wheels=WHEELS, auth=LOCKED) as index:
        url = index.url_as("user:S3CR3T")
        (tmp_path / "r.txt").write_text(
            f"-i {url}\ndemo\n{index.base.replace('://', '://user:S3CR3T@')}/files/{OTHER}?sig=S3CR3T\n"
        )
        for arguments, code in (
            (["metadata", "demo", "missing", "-i", url], 1),
            (["metadata", "-r", str(tmp_path / "r.txt")], 1),  # a signed URL gets no credentials here: 401
            (["get", "-r", str(tmp_path / "r.txt"), "-d", str(tmp_path)], 1),
            (["explain", f"{index.base.replace('://', '://user:S3CR3T@')}/files/{DEMO}", "-i", url], 0),
            (["metadata", "demo", "-i", index.url_as("user:S3CR3T-wrong")], 3),
        ):
            for more in ([], ["--json"], ["-vv", "--debug"]):
                done = await beside(run, *arguments, *more)
                assert done.code == code
                assert "S3CR3T" not in done.stdout + done.stderr
                assert basic("user", "S3CR3T").split()[1] not in done.stdout + done.stderr


@pytest.mark.parametrize(("flags", "shown"), [([], True), (["-q"], False), (["-v"], True)])
async def test_quiet(run: Callable[..., Done], flags: list[str], shown: bool) -> None:
    """A warning is said, unless `-q`; an error always is."""
    async with FakeIndex(wheels=WHEELS, sidecar="plain", faults={"*.metadata": Status(404)}) as index:
        done = await beside(run, "metadata", "demo", "-i", index.url, *flags)
        failed = await beside(run, "metadata", "missing", "-i", index.url, *flags)
    assert done.stdout == metadata_of(WHEELS[DEMO]).decode()
    assert ("WARNING" in done.stderr) == shown
    assert failed.error


# ------------------------------------------------------------------------------------------------------------- formats

SDIST, NEWER = "demo-1.0.tar.gz", "demo-2.0.zip"
BOTH = {**WHEELS, SDIST: gzip.compress(b"demo"), NEWER: make_wheel()}


@pytest.mark.parametrize(
    ("flags", "line", "expected"),
    [
        pytest.param("", "", NEWER, id="the newest version"),
        pytest.param("--only-binary :all:", "", DEMO, id="wheels only"),
        pytest.param("--only-binary=other,demo", "", DEMO, id="of several projects"),
        pytest.param("--only-binary other", "", NEWER, id="of another project"),
        pytest.param("--no-binary :all:", "", NEWER, id="no wheels"),
        pytest.param("--prefer-binary", "", DEMO, id="an older wheel"),
        pytest.param("--only-binary demo --no-binary demo", "", NEWER, id="the last one counts"),
        pytest.param("--no-binary demo --only-binary demo", "", DEMO, id="whichever it is"),
        pytest.param("--only-binary demo --no-binary demo --only-binary demo", "", DEMO, id="three in a row"),
        pytest.param("--no-binary a --only-binary demo --no-binary :all:", "", NEWER, id=":all: at the end"),
        pytest.param("--only-binary :all: --no-binary a --only-binary :none:", "", NEWER, id=":none: at the end"),
        pytest.param("", "--only-binary demo", DEMO, id="a line"),
        pytest.param("", "--prefer-binary", DEMO, id="a line that prefers"),
        pytest.param("--no-binary demo", "--only-binary demo", DEMO, id="a line after a flag"),
        pytest.param("--platform win_amd64 --python-version 3.12", "", NEWER, id="another platform"),
    ],
)
async def test_the_file_that_is_got(
    run: Callable[..., Done], tmp_path: Path, flags: str, line: str, expected: str
) -> None:
    (tmp_path / "r.txt").write_text(f"demo\n{line}\n")
    async with FakeIndex(wheels=BOTH) as index:
        arguments = ("-r", str(tmp_path / "r.txt"), "-i", index.url, "-d", str(tmp_path / "to"))
        done = await beside(run, "get", *arguments, *flags.split())
    assert done == Done(0, f"{tmp_path / 'to' / expected}\n", "")
    assert (tmp_path / "to" / expected).read_bytes() == BOTH[expected]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("", DEMO), ("--prefer wheel", DEMO), ("--prefer sdist", SDIST), ("--no-binary demo", SDIST)],
)
async def test_a_version_that_has_both(run: Callable[..., Done], tmp_path: Path, flags: str, expected: str) -> None:
    async with FakeIndex(wheels=BOTH) as index:
        done = await beside(run, "get", "demo==1.0", "-i", index.url, "-d", str(tmp_path / "to"), *flags.split())
    assert done == Done(0, f"{tmp_path / 'to' / expected}\n", "")


async def test_no_file_of_the_format_asked_for(run: Callable[..., Done], tmp_path: Path) -> None:
    async with FakeIndex(wheels={SDIST: BOTH[SDIST], OTHER: WHEELS[OTHER]}) as index:
        arguments = ("-i", index.url, "-d", str(tmp_path / "to"))
        no_wheel = await beside(run, "get", "demo", "--only-binary", ":all:", *arguments)
        no_sdist = await beside(run, "get", "other", "--no-binary", ":all:", *arguments)
    assert (no_wheel.code, no_wheel.error) == (4, "demo has only source distributions on default, no wheel")
    assert (no_sdist.code, no_sdist.error) == (4, "other has only wheels on default, no source distribution")
    assert not (tmp_path / "to").exists()


OLD, NEW = "demo-1.0.tar.gz", "demo-2.0.tar.gz"
OFFERED = {
    DEMO: WHEELS[DEMO],
    OLD: make_sdist("tar.gz", members_of(pkg_info(metadata_version="2.1"))),
    NEW: make_sdist("tar.gz", members_of(pkg_info(version="2.0"), top="demo-2.0")),
}


@pytest.mark.parametrize(
    ("flags", "line", "expected"),
    [
        pytest.param("", "demo", NEW, id="the newest version"),
        pytest.param("--only-binary :all:", "demo", DEMO, id="wheels only"),
        pytest.param("--prefer-binary", "demo", DEMO, id="an older wheel"),
        pytest.param("", "demo\n--only-binary demo", DEMO, id="a line"),
        pytest.param("", "demo==1.0", DEMO, id="a version that has both"),
        pytest.param("--no-binary demo", "demo>1", NEW, id="no wheels"),
    ],
)
async def test_the_file_whose_metadata_is_read(
    run: Callable[..., Done], tmp_path: Path, flags: str, line: str, expected: str
) -> None:
    (tmp_path / "r.txt").write_text(line)
    async with FakeIndex(wheels=OFFERED) as index:
        arguments = ("-r", str(tmp_path / "r.txt"), "-i", index.url, "--json")
        done = await beside(run, "metadata", *arguments, *flags.split())
    assert (done.code, done.objects[0]["filename"]) == (0, expected)
    assert done.objects[0]["how"] == ("stream" if expected == NEW else "whole")


@pytest.mark.parametrize("flags", ["--prefer sdist", "--no-binary :all:"])
async def test_an_sdist_that_vouches_for_nothing(run: Callable[..., Done], flags: str) -> None:
    async with FakeIndex(wheels=OFFERED) as index:
        done = await beside(run, "metadata", "demo==1.0", "-i", index.url, "--json", *flags.split())
    assert (done.code, done.objects[0]["error"]) == (5, "NotStatic")
    assert "Metadata-Version 2.1, before 2.2" in done.error


@pytest.mark.parametrize(
    ("fault", "code", "kind"),
    [
        pytest.param(LoginPage(), 3, "LoginPage", id="login page"),
        pytest.param(Status(200, body="json"), 5, "NotAnSdist", id="JSON"),
        pytest.param(Status(200, body="empty"), 5, "NotAnSdist", id="empty"),
    ],
)
async def test_what_an_sdist_comes_to(
    run: Callable[..., Done], tmp_path: Path, fault: Any, code: int, kind: str
) -> None:
    to = tmp_path / "to"
    async with FakeIndex(wheels={SDIST: BOTH[SDIST]}, faults={SDIST: fault}, hashes="none", sizes=False) as index:
        done = await beside(run, "get", "demo", "-i", index.url, "--json", "-d", str(to))
    assert (done.code, done.objects) == (code, [{"target": "demo", "error": kind, "message": done.error}])
    assert list(to.iterdir()) == []


# ------------------------------------------------------------------------------------------------------------ settings


async def test_indexes_of_flags_and_files(run: Callable[..., Done], tmp_path: Path) -> None:
    """Flags before the configuration file; a flag's index URL before that of a requirements file."""
    async with FakeIndex(wheels={DEMO: WHEELS[DEMO]}) as one, FakeIndex(wheels=WHEELS) as two:
        config = tmp_path / "uv.toml"
        config.write_text(f'[[index]]\nname = "two"\nurl = "{two.url}"\ndefault = true\n')
        (tmp_path / "r.txt").write_text(f"-i {two.url}\nother\n")
        named = await beside(
            run, "metadata", "demo", "other", "--index", f"one={one.url}", "--config-file", str(config), "--json"
        )
        listed = await beside(run, "metadata", "-r", str(tmp_path / "r.txt"), "--json")
        beaten = await beside(run, "metadata", "-r", str(tmp_path / "r.txt"), "-i", one.url)
    assert [found["index"] for found in named.objects] == ["one", "two"]
    assert [found["index"] for found in listed.objects] == ["default"]
    assert beaten.code == 4


async def test_credentials_of_the_environment(run: Callable[..., Done]) -> None:
    async with FakeIndex(wheels=WHEELS, auth=LOCKED) as index:
        arguments = ("metadata", "demo", "--index", f"my-corp={index.url}", "-i", index.url)
        done = await beside(run, *arguments, UV_INDEX_MY_CORP_USERNAME="user", UV_INDEX_MY_CORP_PASSWORD="S3CR3T")
    assert (done.code, len(index.anonymous)) == (0, 0)


async def test_python_and_platform(run: Callable[..., Done]) -> None:
    tags = ["cp312-cp312-manylinux_2_17_x86_64", "cp312-cp312-win_amd64", "py3-none-any"]
    wheels = {wheel_filename(tag=tag): make_wheel(tag=tag) for tag in tags}
    async with FakeIndex(wheels=wheels) as index:
        for flags, tag in (
            (["--python-version", "3.12", "--platform", "win_amd64"], tags[1]),
            (["--python-version", "3.12", "--platform", "manylinux2014_x86_64"], tags[0]),
            (["--python-version", "3.12", "--platform", "macosx_11_0_arm64", "--platform", "win_amd64"], tags[1]),
            (["--python-version", "3.9", "--platform", "win_amd64"], tags[2]),
        ):
            done = await beside(run, "metadata", "demo", "-i", index.url, "--json", *flags)
            assert done.objects[0]["filename"] == wheel_filename(tag=tag)


async def test_explain(run: Callable[..., Done]) -> None:
    trees = [Tree(wheels=WHEELS, pages="/a/simple", files="/a/files")]
    async with FakeIndex(more=trees, auth={"/a": Guard((basic("user", "S3CR3T"),))}) as index:
        url = f"{index.base}/a/files/{DEMO}"
        flags = ("--index", f"a={index.base.replace('://', '://user:S3CR3T@')}/a/simple", "--authenticate", "a=always")
        done = await beside(run, "explain", url, *flags)
        as_json = await beside(run, "explain", url, *flags, "--json")
        refused = await beside(run, "explain", url)
    assert (done.code, refused.code) == (0, 3)
    assert all(part in done.stdout for part in (url, "a: ", "always", "the index URL", "HTTP 206", "supported", "zip"))
    (hop,) = as_json.objects[0]["hops"]
    assert (hop["index"], hop["authenticate"], hop["credentials"]) == ("a", "always", "the index URL")
    assert "none sent" in refused.stdout
    assert "lies in no declared index" in refused.error


async def test_a_closed_pipe_is_no_defect() -> None:
    """`fetcher metadata ... | head -1`"""
    reader, writer = os.pipe()
    os.close(reader)
    async with FakeIndex(wheels=WHEELS) as index:
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "fetcher", "metadata", "demo", "-i", index.url],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            env={"PATH": os.environ["PATH"], "NETRC": os.devnull},
        )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize(
    ("text", "rate"), [("500", 500), ("500K", 512_000), ("1.5m", 1_572_864), ("2G", 2 << 30), ("20M", 20 << 20)]
)
def test_a_rate_is_written_as_for_curl(text: str, rate: float) -> None:
    assert _parse_rate(None, None, text) == rate  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "0", "0K", "-1", "fast", "1T", "1 M", "٣K"])
async def test_what_is_no_rate(run: Callable[..., Done], text: str) -> None:
    done = run("get", "demo", "--limit-rate", text)
    assert (done.code, "is no rate" in done.stderr) == (2, True)
