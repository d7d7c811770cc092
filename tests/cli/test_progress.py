"""What a person sees while files come, and at the end; and how a signal ends it."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from fake_faults import Silence, SlowDrip, Stall, Status
from fake_index import FakeIndex
from fake_wheels import make_wheel, wheel_filename

from fetcher.cli import painter
from fetcher.cli.interrupt import GRACE, LAST_WORDS
from fetcher.cli.main import main
from fetcher.cli.pace import Pace
from fetcher.cli.painter import Lines
from fetcher.cli.progress import Display, display_for
from fetcher.cli.screen import ROWS, Screen
from fetcher.cli.tally import Tally
from fetcher.download.download import Download
from fetcher.download.events import Progress, Retry
from fetcher.errors import Disconnected, HashMismatch, NotFound, ServerFailed, Stalled, Throttled
from fetcher.words import duration, size

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Callable, Iterator

MB = 10**6


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def seen(written: str) -> list[str]:
    """The lines that a terminal shows in the end, of what was written to it."""
    lines = [""]
    for piece in re.split(r"(\r\x1b\[\d+A\x1b\[J|\n)", re.sub(r"\x1b\[[\d;]*m", "", written.replace("\r\n", "\n"))):
        if up := re.fullmatch(r"\r\x1b\[(\d+)A\x1b\[J", piece):
            assert int(up[1]) < len(lines), "it went up further than it came down"
            lines[-int(up[1]) - 1 :] = [""]
        elif piece == "\n":
            lines.append("")
        else:
            assert not re.search(r"[\x00-\x1f]", piece)
            lines[-1] += piece
    return [line.rstrip() for line in lines[:-1]] + [lines[-1]] * bool(lines[-1])


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tally(clock: Clock) -> Tally:
    return Tally(clock)


def arrived(
    tally: Tally,
    name: str = "demo-1.0.whl",
    *,
    moved: int = 0,
    size: int = 0,
    resumed_from: int | None = None,
) -> None:
    """Tell a tally of a download that is done; without bytes moved the file was there."""

    async def download() -> Download:
        if moved:
            tally.on_event(Progress(name, (resumed_from or 0) + moved, None))
        return Download(Path(name), name, "", None, size or moved, "", moved, 0.0, resumed_from)

    asyncio.run(tally.bring(name, download()))
    tally.finished(None)


def failed(tally: Tally, error: Exception, *, name: str = "demo-1.0.whl") -> None:
    async def download() -> Download:
        tally.on_event(Progress(name, 5, 10))
        raise error

    with pytest.raises(type(error)):
        asyncio.run(tally.bring(name, download()))
    tally.finished(error)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------------- in words


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (999.6, "1.0 kB"), (1240, "1.2 kB"), (9949, "9.9 kB"),
        (9950, "10 kB"), (45 * MB, "45 MB"), (999_499, "999 kB"), (999_500, "1.0 MB"), (310 * MB, "310 MB"),
        (3.3e9, "3.3 GB"), (12e12, "12 TB"), (5e15, "5000 TB"),
    ],
)  # fmt: skip
def test_size(count: float, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (5.44, "5.4 s"), (59.94, "59.9 s"), (59.96, "1 min 0 s"), (725, "12 min 5 s"),
     (3599.4, "59 min 59 s"), (3599.6, "1 h 0 min"), (10920, "3 h 2 min")],
)  # fmt: skip
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


# ---------------------------------------------------------------------------------------------------------- the summary


class TestSummary:
    def test_all_is_there(self, tally: Tally, clock: Clock) -> None:
        for number in range(842):
            arrived(tally, f"p{number}-1.0.whl", moved=4 * MB)
        clock.now += 5.4
        assert tally.summary() == "842 files: 3.4 GB in 5.4 s"

    def test_all_kinds_of_things(self, tally: Tally) -> None:
        arrived(tally, moved=2 * MB)
        arrived(tally)
        arrived(tally)
        arrived(tally, moved=MB, size=3 * MB, resumed_from=2 * MB)
        arrived(tally, size=MB, resumed_from=MB)  # nothing was missing of the part but its name
        failed(tally, HashMismatch("x", "https://h/", "sha256", "a", "b"))
        failed(tally, NotFound("https://h/"))
        failed(tally, NotFound("https://h/"))
        for error in (Disconnected("https://h/"), ServerFailed("https://h/", 503), ServerFailed("https://h/", 503)):
            tally.on_event(Retry("demo-1.0.whl", error, 1, 0.2))
        assert tally.summary() == (
            "5 of 8 files: 3.0 MB in 0.0 s; 2 already there, 2 resumed; 3 retries: HTTP 503 2, Disconnected 1; "
            "3 failed: NotFound 2, HashMismatch 1"
        )

    def test_a_single_retry(self, tally: Tally) -> None:
        tally.on_event(Retry("demo-1.0.whl", Stalled("https://h/"), 1, 0.2))
        arrived(tally, moved=MB)
        assert tally.summary() == "1 files: 1.0 MB in 0.0 s; 1 retry: Stalled 1"

    def test_a_file_named_twice_crossed_the_wire_once(self, tally: Tally) -> None:
        """The second target got the download of the first, with its numbers."""
        done = Download(Path("x"), "x", "", None, 3 * MB, "", MB, 0.0, 2 * MB)

        async def download() -> Download:
            return done

        tally.on_event(Progress("x", 3 * MB, 3 * MB))
        for _ in range(2):
            asyncio.run(tally.bring("x", download()))
        assert tally.summary() == "2 files: 1.0 MB in 0.0 s; 1 already there, 1 resumed"

    def test_a_file_from_the_cache(self, tally: Tally) -> None:
        """Named twice, too: it is in its place by then."""
        done = Download(Path("x"), "x", "", None, 3 * MB, "", 0, 0.0, from_cache=True)

        async def download() -> Download:
            return done

        tally.on_event(Progress("x", 3 * MB, 3 * MB))
        for _ in range(2):
            asyncio.run(tally.bring("x", download()))
        assert tally.summary() == "2 files: 0 bytes in 0.0 s; 1 already there, 1 from the cache"

    @pytest.mark.parametrize(
        ("quiet", "targets", "said"), [(False, 0, False), (False, 1, False), (False, 2, True), (True, 2, False)]
    )
    def test_of_one_target_there_is_none(
        self, capsys: pytest.CaptureFixture[str], quiet: bool, targets: int, said: bool
    ) -> None:
        display = Display(quiet=quiet)
        for _ in range(targets):
            arrived(display)
        display.conclude()
        out, err = capsys.readouterr()
        assert (out, err.startswith("2 files: ")) == ("", said)
        assert err.count("\n") == said

    def test_one_that_failed_has_said_so(self, capsys: pytest.CaptureFixture[str]) -> None:
        display = Display()
        failed(display, NotFound("https://h/"))
        display.conclude()
        assert capsys.readouterr().err == ""

    @pytest.mark.parametrize(
        ("expected", "there", "says"),
        [(842, 12, "12 of 842 files are there; "), (2, 1, "1 of 2 files is there; "), (None, 3, "3 files are there; "),
         (1, 0, "")],
    )  # fmt: skip
    def test_interrupted(self, tally: Tally, expected: int | None, there: int, says: str) -> None:
        if expected is not None:
            tally.expect(expected)
        for _ in range(there):
            arrived(tally)
        assert tally.interrupted() == f"interrupted: {says}run the same command again to go on"


# ----------------------------------------------------------------------------------------------------- how things stand


class TestPace:
    def test_rate_and_time_left(self, tally: Tally, clock: Clock) -> None:
        pace = Pace(tally)
        tally.expect(2)
        for second in range(11):
            clock.now = tally.began + second
            for name in "ab":
                tally.on_event(Progress(name, MB + second * 2 * MB, 41 * MB, resumed_from=MB))
            view = pace.look()
        assert (view.moved, view.rate, view.left) == (40 * MB, 4 * MB, 40 * MB)
        assert (view.seconds_left, view.rough) == (10, False)
        assert view.fraction == pytest.approx(21 / 41)
        assert view.line() == "0 of 2 files, 40 MB of 80 MB, 4.0 MB/s, eta 0:10"

    def test_the_rate_is_that_of_the_last_seconds(self, tally: Tally, clock: Clock) -> None:
        pace = Pace(tally)
        for second, received in enumerate([0, 10, 20, 30, 40, 50, 50, 50, 50, 50, 50]):
            clock.now = tally.began + second
            tally.on_event(Progress("a", received, None))
            view = pace.look()
        assert (view.moved, view.rate) == (50, 0)
        assert (view.seconds_left, view.eta, view.fraction) == (None, "", None)

    def test_what_an_earlier_run_brought_has_no_rate(self, tally: Tally, clock: Clock) -> None:
        pace = Pace(tally)
        tally.expect(1)
        clock.now += 1
        tally.on_event(Progress("a", 905 * MB, 1000 * MB, resumed_from=900 * MB))
        view = pace.look()
        assert (view.moved, view.rate, view.left, view.seconds_left) == (5 * MB, 5 * MB, 95 * MB, 19)
        (file,) = view.active
        clock.now += 1
        tally.on_event(Progress("a", 910 * MB, 1000 * MB, resumed_from=900 * MB))
        assert (pace.look().moved, pace.look().rate, file.speed.rate) == (10 * MB, 5 * MB, 5 * MB)

    def test_a_part_that_was_of_no_use_has_been_brought_by_nobody(self, tally: Tally, clock: Clock) -> None:
        """The server's answer to the range was another file: it begins anew."""
        pace = Pace(tally)
        for received, resumed_from in ((905, 900), (3, None), (10, None)):
            tally.on_event(Progress("a", received, 1000, resumed_from))
            clock.now += 1
            view = pace.look()
        assert view.moved == 12  # 5, and 7 of the 10: nobody looked before the first 3

    def test_a_retry_is_no_progress(self, tally: Tally, clock: Clock) -> None:
        pace = Pace(tally)
        seen = []
        for event in (
            Retry("a", ServerFailed("https://h/", 503), 1, 0.2),
            Progress("a", 950, 1000, 900),
            Retry("a", Disconnected("https://h/"), 2, 0.2),
            Retry("a", Throttled("https://h/", 429), 3, 0.2),
            Progress("a", 960, 1000, 900),
        ):
            tally.on_event(event)
            clock.now += 1
            (file,) = pace.look().active
            seen.append((file.retry, file.received, file.moved))
        assert seen == [
            ("retry 1: HTTP 503", 0, 0),
            ("", 950, 50),
            ("retry 2: Disconnected", 950, 50),
            ("retry 3: HTTP 429", 950, 50),
            ("", 960, 60),
        ]
        assert sorted(tally.retries.items()) == [("Disconnected", 1), ("HTTP 429", 1), ("HTTP 503", 1)]

    def test_a_restart_takes_nothing_back(self, tally: Tally, clock: Clock) -> None:
        pace = Pace(tally)
        for received in (0, 50, 10, 30):
            tally.on_event(Progress("a", received, 100))
            clock.now += 1
            view = pace.look()
        assert view.moved == 70

    def test_of_files_not_yet_found_the_mean_size_is_taken(self, tally: Tally, clock: Clock) -> None:
        pace = Pace(tally)
        tally.expect(10)
        assert (pace.look().seconds_left, pace.look().left) == (None, None)
        arrived(tally, "a", moved=3 * MB)
        tally.on_event(Progress("b", 0, 5 * MB))
        clock.now += 1
        tally.on_event(Progress("b", 1 * MB, 5 * MB))
        view = pace.look()
        assert (view.rate, view.left, view.rough) == (4 * MB, None, True)
        assert view.seconds_left == (4 + 8 * 4) / 4
        assert view.line() == "1 of 10 files, 4.0 MB, 4.0 MB/s, eta ~0:09"

    def test_failures_are_done_too(self, tally: Tally, clock: Clock) -> None:
        tally.expect(2)
        arrived(tally, moved=MB)
        failed(tally, NotFound("https://h/"))
        clock.now += 1
        view = Pace(tally).look()
        assert (view.files, view.left, view.fraction) == ("1 of 2 files, 1 failed", 0, 1)
        assert tally.latest == {}

    @pytest.mark.parametrize(
        ("seconds", "text"), [(5, "0:05"), (65.4, "1:05"), (3599.9, "1:00:00"), (36061, "10:01:01")]
    )
    def test_eta(self, tally: Tally, clock: Clock, seconds: float, text: str) -> None:
        tally.expect(1)
        tally.on_event(Progress("a", 0, round(1000 * (seconds + 1))))
        pace = Pace(tally)
        pace.look()
        clock.now += 1
        tally.on_event(Progress("a", 1000, round(1000 * (seconds + 1))))
        assert pace.look().eta == f"eta {text}"


# ------------------------------------------------------------------------------------------------------- on no terminal


def test_a_plain_line(tally: Tally, clock: Clock) -> None:
    stream = io.StringIO()
    lines = Lines(Pace(tally), stream)
    tally.expect(842)
    tally.on_event(Progress("q", 0, 500 * MB))
    for number in range(12):
        arrived(tally, f"p{number}", moved=25 * MB)
    clock.now += 10
    tally.on_event(Progress("q", 10 * MB, 500 * MB))
    lines.paint()
    clock.now += 10
    tally.on_event(Progress("q", 460 * MB, 500 * MB))
    for attempt in (1, 2):
        tally.on_event(Retry("p", ServerFailed("https://h/", 503), attempt, 0.2))
    lines.paint()
    first, second = stream.getvalue().splitlines()
    assert re.fullmatch(r"12 of 842 files, 310 MB, 31 MB/s, eta ~\d+:\d\d", first)
    assert second.startswith("12 of 842 files, 760 MB, 45 MB/s, ")
    assert second.endswith("; 2 retries: HTTP 503 2")


@pytest.fixture
def get(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """`fetcher get` in this process, stderr no terminal."""
    logger = logging.getLogger("fetcher")
    handlers, level = logger.handlers[:], logger.level

    async def get(index: FakeIndex, *arguments: str) -> Any:
        command = ["get", *arguments, "-i", index.url, "-d", str(tmp_path / "to")]
        environ = {"NETRC": os.devnull, "HOME": str(tmp_path)}
        return await asyncio.to_thread(lambda: CliRunner(env=environ).invoke(main, command))

    yield get
    logger.handlers[:] = handlers
    logger.setLevel(level)


@pytest.mark.parametrize(("flags", "shown"), [((), True), (("--no-progress",), False), (("-q",), False)], ids=str)
async def test_a_long_job_says_a_line_now_and_then(
    get: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], shown: bool
) -> None:
    monkeypatch.setattr(painter, "LINE", 0.05)
    async with FakeIndex(wheels={wheel_filename(): make_wheel()}, faults={"*.whl": Silence(0.3)}) as index:
        done = await get(index, "demo", "--json", *flags)
    assert done.exit_code == 0
    assert done.stdout.count("\n") == 1
    assert ("0 of 1 file, 0 bytes, 0 bytes/s\n" in done.stderr) == shown
    assert shown or done.stderr == ""


async def test_a_quick_job_says_the_summary_only(get: Callable[..., Any]) -> None:
    wheels = {wheel_filename(name): make_wheel(name) for name in ("demo", "other")}
    async with FakeIndex(wheels=wheels) as index:
        done = await get(index, "demo", "other", "missing", "demo==1.0")
        again = await get(index, "demo", "other")
        quiet = await get(index, "demo", "other", "-q")
        single = await get(index, "demo")
    total = size(sum(map(len, wheels.values())))
    error, summary = done.stderr.splitlines()
    assert error.startswith("error: no index has a project called missing")
    assert re.fullmatch(rf"3 of 4 files: {total} in \d\.\d s; 1 already there; 1 failed: NotFound 1", summary)
    assert re.fullmatch(r"2 files: 0 bytes in \d\.\d s; 2 already there\n", again.stderr)
    assert quiet.stderr == single.stderr == ""
    assert quiet.stdout == again.stdout


@pytest.mark.parametrize(("flags", "shown"), [((), False), (("-v",), True), (("-q",), False)], ids=str)
async def test_retries_are_counted_and_each_is_said_to_who_asks(
    get: Callable[..., Any], flags: tuple[str, ...], shown: bool
) -> None:
    wheels = {wheel_filename(name): make_wheel(name) for name in ("demo", "other")}
    faults = {"demo*": Status(503, times=2), "/simple/other/": Status(502, times=1)}
    async with FakeIndex(wheels=wheels, faults=faults) as index:
        done = await get(index, "demo", "other", *flags)
        url = f"{index.files_url}/{wheel_filename('demo')}"
    *lines, summary = done.stderr.splitlines() or [""]
    assert done.exit_code == 0
    # The page was asked for again, too, but before it was known which file that is for.
    assert summary.endswith(" s; 2 retries: HTTP 503 2") is (flags != ("-q",))
    assert [re.sub(r"\d\.\d s", "x s", line) for line in lines if "demo" in line] == [
        f"INFO: attempt {attempt} failed, the next in x s: {url} answered HTTP 503" for attempt in (1, 2)
    ] * shown
    assert any("HTTP 502" in line for line in lines) == shown


# -------------------------------------------------------------------------------------------------------- on a terminal


@pytest.fixture
def screen(tally: Tally, monkeypatch: pytest.MonkeyPatch) -> Screen:
    for name, value in {"COLUMNS": "100", "LINES": "40", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    return Screen(Pace(tally), Terminal())


def shown(screen: Screen) -> list[str]:
    return seen(screen._stream.getvalue())  # type: ignore[attr-defined]


class TestScreen:
    def test_a_frame(self, tally: Tally, clock: Clock, screen: Screen) -> None:
        tally.expect(3)
        arrived(tally, moved=MB)
        for second in range(3):
            clock.now = tally.began + second
            tally.on_event(Progress("torch-2.9.0-cp311-manylinux_2_28_x86_64.whl", second * 100 * MB, 800 * MB))
            tally.on_event(Progress("[red]x-1.0.tar.gz", 901 * MB, None, resumed_from=900 * MB))
            screen.paint()
        total, first, second_line = shown(screen)
        assert total.split("━")[0] == "1 of 3 files               "
        assert total.endswith(" 202 MB  101 MB/s eta ~0:10")
        assert first.startswith("  torch-2.9.0")
        assert first.endswith(" 200 MB of 800 MB  100 MB/s")
        assert second_line.startswith("  [red]x-1.0.tar.gz")
        assert second_line.endswith(" 901 MB 0 bytes/s")

    def test_a_retry_takes_the_place_of_the_bar(self, tally: Tally, clock: Clock, screen: Screen) -> None:
        tally.expect(3)
        frames = []
        for second, event in enumerate(
            [
                Progress("demo-1.0-py3-none-any.whl", 20 * MB, 80 * MB),
                Progress("demo-1.0-py3-none-any.whl", 20 * MB, 80 * MB),
                Retry("demo-1.0-py3-none-any.whl", ServerFailed("https://h/", 503), 2, 0.2),
                Progress("demo-1.0-py3-none-any.whl", 20 * MB, 80 * MB),
            ]
        ):
            clock.now = tally.began + second
            tally.on_event(event)
            screen.paint()
            frames.append(shown(screen)[-1])
        _, before, during, after = frames
        assert "━" in before
        assert re.fullmatch(r"  demo-1.0 +retry 2: HTTP 503 +20 MB of 80 MB 0 bytes/s", during)
        assert during.index("20 MB") == before.index("20 MB")
        assert before == after

    def test_one_target_has_one_line(self, tally: Tally, clock: Clock, screen: Screen) -> None:
        tally.expect(1)
        screen.paint()
        for second in range(3):
            clock.now = tally.began + second
            tally.on_event(Progress("demo-1.0-py3-none-any.whl", second * MB, 3 * MB))
            screen.paint()
        (line,) = shown(screen)
        assert line.startswith("demo-1.0 ")
        assert line.endswith(" 2.0 MB of 3.0 MB  1.0 MB/s eta 0:01")
        tally.on_event(Retry("demo-1.0-py3-none-any.whl", Stalled("https://h/"), 1, 0.2))
        screen.paint()
        (retried,) = shown(screen)
        assert re.sub("[━╸╺]+", "retry 1: Stalled".ljust(30), line) == retried

    def test_steady_with_many_files(self, tally: Tally, clock: Clock, screen: Screen) -> None:
        """10,000 files, 50 more in each frame: most are quick, some are not; a line stays until its file is done."""
        tally.expect(10_000)
        begun: dict[str, int] = {}
        before: list[str] = []
        for frame in range(200):
            for number in range(frame * 50, frame * 50 + 50):
                begun[f"p{number}-1.0.whl"] = 100 if number % 20 == 0 else 3
            for name, left in list(begun.items()):
                tally.on_event(Progress(name, 100 - left, 100))
                if left == 1:
                    arrived(tally, name, moved=1)
                    del begun[name]
                else:
                    begun[name] -= 1
            clock.now += 0.2
            screen.paint()
            lines = screen._frame.splitlines()
            assert len(lines) <= 1 + ROWS
            assert len(screen._pace._active) == len(begun) == len(tally.latest)
            kept = [name for name in before if name in begun]
            assert screen._shown[: len(kept)] == kept
            assert all(int(name[1:-8]) % 20 == 0 for name in screen._shown)
            before = screen._shown
        assert len(before) == ROWS
        assert shown(screen)[0].startswith(f"{tally.arrived} of 10000 files ")

    def test_one_that_stands_still_leaves_its_line_to_one_that_moves(
        self, tally: Tally, clock: Clock, screen: Screen
    ) -> None:
        *rows, spare = (f"p{number}-1.0" for number in range(ROWS + 1))
        stuck = rows[3]
        tally.expect(20)
        for second in range(12):
            for name in rows:
                tally.on_event(Progress(name, min(second, 2) if name == stuck else second, 100))
            if second > 5:
                tally.on_event(Progress(spare, second, 100))
            screen.paint()
            clock.now += 1
            if second == 5:
                assert screen._shown == rows
        assert screen._shown == [spare if name == stuck else name for name in rows]

    def test_it_fits_a_small_terminal(self, tally: Tally, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        tally.expect(20)
        for width, height in ((72, 9), (60, 5), (20, 3), (10, 2), (300, 60)):
            monkeypatch.setenv("COLUMNS", str(width))
            monkeypatch.setenv("LINES", str(height))
            screen = Screen(Pace(tally), Terminal())
            for _ in range(3):
                for number in range(20):
                    tally.on_event(Progress(f"p{number}-1.0", 5, 10))
                tally.on_event(Retry("p0-1.0", ServerFailed("https://h/", 503), 100, 0.2))
                screen.paint()
                clock.now += 1
            assert len(shown(screen)) < max(height, 2)
            assert [line for line in shown(screen) if len(line) >= max(width, 21)] == []

    def test_what_is_printed_stays_above(self, tally: Tally, screen: Screen) -> None:
        tally.expect(2)
        with screen.aside():  # before the first frame
            screen._write("one\n")
        for text in ("two\n", "three\n"):
            screen.paint()
            with screen.aside():
                screen._write(text)
        assert [line.split("  ")[0] for line in shown(screen)] == ["one", "two", "three", "0 of 2 files"]
        screen.stop()
        assert shown(screen) == ["one", "two", "three"]
        screen.stop()
        assert shown(screen) == ["one", "two", "three"]

    @pytest.mark.usefixtures("screen")  # for its environment
    def test_log_records_too(self, tally: Tally, monkeypatch: pytest.MonkeyPatch) -> None:
        stream = Terminal()
        handler = logging.StreamHandler(stream)
        monkeypatch.setattr(logging.getLogger("fetcher"), "handlers", [handler])
        # `setLevel` forgets what earlier tests had the loggers below it remember of their level.
        logging.getLogger("fetcher").setLevel(logging.WARNING)
        screen = Screen(Pace(tally), stream)
        tally.expect(2)
        screen.start()
        screen.paint()
        logging.getLogger("fetcher.x").warning("mind %s", "this")
        screen.paint()
        assert [line.split("  ")[0] for line in shown(screen)] == ["mind this", "0 of 2 files"]
        screen.stop()
        assert shown(screen) == ["mind this"]
        assert handler.stream is stream

    def test_a_stream_that_is_gone(self, tally: Tally, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(painter, "LINE", 0.001)
        stream = io.StringIO()
        stream.close()
        lines = Lines(Pace(tally), stream)
        lines.start()
        lines._thread.join(5)  # an exception that got out of it would fail the test
        assert not lines._thread.is_alive()
        lines.stop()


@pytest.mark.parametrize(
    ("terminal", "term", "flags", "kind"),
    [
        (True, "xterm", {}, Screen),
        (True, "dumb", {}, Lines),
        (False, "xterm", {}, Lines),
        (True, "xterm", {"quiet": True}, type(None)),
        (True, "xterm", {"no_progress": True}, type(None)),
    ],
)
def test_where_it_is_shown(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, term: str, flags: dict[str, bool], kind: type
) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal() if terminal else io.StringIO())
    monkeypatch.setenv("TERM", term)
    settings: Any = SimpleNamespace(**{"quiet": False, "no_progress": False, **flags})
    assert type(display_for(settings).painter) is kind


def test_rich_is_imported_when_it_draws() -> None:
    code = "import sys, fetcher.cli.get; print([name for name in sys.modules if name.split('.')[0] == 'rich'])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


# ------------------------------------------------------------------------------------------------------- real processes


async def start(tmp_path: Path, *arguments: str, **streams: Any) -> Process:
    """Start the command; what is not named goes through a pipe."""
    environ = {**os.environ, "NETRC": os.devnull, "HOME": str(tmp_path), "TERM": "xterm", "COLUMNS": "100"}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return await asyncio.create_subprocess_exec(sys.executable, "-m", "fetcher", *arguments, env=environ, **streams)


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not happened():  # noqa: ASYNC110 - in another process
            await asyncio.sleep(0.01)


async def interrupt(process: Process, number: signal.Signals) -> tuple[str, str]:
    """Send a signal; return stdout and stderr.  What holds the process up would do so for half a minute or more."""
    process.send_signal(number)
    out, err = await asyncio.wait_for(process.communicate(), 20)
    return (out or b"").decode(), (err or b"").decode()


@pytest.mark.skipif(os.name == "nt", reason="there is no pty")
async def test_on_a_real_terminal(tmp_path: Path) -> None:
    import pty

    names = [wheel_filename(name) for name in ("demo", "other")]
    wheels = {name: make_wheel(name.split("-")[0], size=150_000) for name in names}
    ours, theirs = pty.openpty()
    async with FakeIndex(wheels=wheels, faults={names[1]: SlowDrip(60_000)}) as index:
        process = await start(tmp_path, "get", "demo", "other", "-i", index.url, "-d", str(tmp_path), stdout=theirs,
                              stderr=theirs)  # fmt: skip
        os.close(theirs)
        written = await asyncio.to_thread(_read_all, ours)
        assert await process.wait() == 0
    os.close(ours)
    assert len(re.findall(r"A\x1b\[J.*?of 2 files .*?eta 0:0\d", written)) > 5
    assert "  other-1.0" in written
    *paths, summary = seen(written)
    assert paths == [str(tmp_path / name) for name in names]
    assert re.fullmatch(r"2 files: 300 kB in \d\.\d s", summary)


def _waiting_in(pipe: int) -> int:
    import fcntl
    import termios

    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def _read_all(descriptor: int) -> str:
    pieces = []
    while True:
        try:
            pieces.append(os.read(descriptor, 1 << 16))
        except OSError:  # what Linux says at the end of a pty
            break
        if not pieces[-1]:
            break
    return b"".join(pieces).decode()


@pytest.mark.skipif(os.name == "nt", reason="signals are not sent there")
class TestSignals:
    SMALL = tuple(wheel_filename(f"small{number}") for number in range(3))
    LARGE = wheel_filename("large")

    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    async def test_it_ends_soon_and_goes_on_later(self, tmp_path: Path, number: signal.Signals, code: int) -> None:
        wheels = {name: make_wheel(name.split("-")[0]) for name in self.SMALL}
        wheels[self.LARGE] = make_wheel("large", size=8 << 20)
        to = tmp_path / "to"
        targets = [name.split("-")[0] for name in wheels]
        async with FakeIndex(wheels=wheels, faults={self.LARGE: Stall(6 << 20, 60)}) as index:
            command = ("get", *targets, "-i", index.url, "-d", str(to))
            process = await start(tmp_path, *command)
            await until(lambda: any(part.stat().st_size for part in to.glob(".large*.part")))
            await until(lambda: all((to / name).exists() for name in self.SMALL))
            out, err = await interrupt(process, number)
            assert err == "interrupted: 3 of 4 files are there; run the same command again to go on\n"
            assert process.returncode == code
            assert out == "".join(f"{to / name}\n" for name in self.SMALL)
            (part,) = to.glob(".large*.part")
            kept = part.stat().st_size
            index.faults = {}
            again = await start(tmp_path, *command, "--json")
            out, err = (text.decode() for text in await again.communicate())
            assert again.returncode == 0
            assert f'"resumed_from": {kept}' in out
        assert re.fullmatch(r"4 files: .* in \d\.\d s; 3 already there, 1 resumed\n", err)
        assert {path.name: path.read_bytes() for path in to.iterdir()} == wheels

    async def test_many_files_under_way(self, tmp_path: Path) -> None:
        """Not a word more, however much is torn down."""
        wheels = {wheel_filename(f"p{number}"): make_wheel(f"p{number}", size=50_000) for number in range(60)}
        (tmp_path / "r.txt").write_text("\n".join(name.split("-")[0] for name in wheels))
        async with FakeIndex(wheels=wheels, faults={"*.whl": Stall(20_000, 60)}) as index:
            process = await start(tmp_path, "get", "-r", str(tmp_path / "r.txt"), "-i", index.url, "-d", str(tmp_path))
            await until(lambda: len(index.select("*.whl")) >= 20)
            out, err = await interrupt(process, signal.SIGINT)
        assert (process.returncode, out) == (130, "")
        assert err == "interrupted: 0 of 60 files are there; run the same command again to go on\n"

    async def test_a_reader_that_does_not_read(self, tmp_path: Path) -> None:
        """stdout is a full pipe: nothing can be cancelled, it ends nevertheless, and whole lines were written."""
        name = wheel_filename()
        async with FakeIndex(wheels={name: make_wheel()}) as index:
            (tmp_path / "r.txt").write_text("demo\n" * 3000)
            ours, theirs = os.pipe()
            process = await start(
                tmp_path, "get", "-r", str(tmp_path / "r.txt"), "-i", index.url, "-d", str(tmp_path), stdout=theirs
            )
            os.close(theirs)
            await until(lambda: _waiting_in(ours) > 64_000)
            _, err = await interrupt(process, signal.SIGINT)
            out = await asyncio.to_thread(_read_all, ours)
            os.close(ours)
        assert process.returncode == 130
        assert re.fullmatch(r"interrupted: \d+ of 3000 files are there; .*\n", err)
        assert set(out.splitlines(keepends=True)) == {f"{tmp_path / name}\n"}

    SLEEPER = """if True:
        import sys, time, anyio
        from anyio import to_thread
        from fetcher.cli import interrupt
        interrupt.GRACE = float(sys.argv[1])
        def sleep():
            print("up", flush=True)
            time.sleep(60)
        async def wait():
            try:
                await anyio.sleep_forever()
            finally:
                print("heard", flush=True)
        async def main():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait)
                await to_thread.run_sync(sleep)
        with interrupt.Interruption(lambda: print("said", flush=True)) as interruption:
            anyio.run(interruption.guard, main)
        """

    async def sleeper(self, grace: float) -> Process:
        """A process whose thread sleeps for a minute."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", self.SLEEPER, str(grace), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b"up\n"
        return process

    async def test_a_thread_that_does_not_end(self) -> None:
        """A name look-up can take half a minute."""
        process = await self.sleeper(GRACE)
        assert await interrupt(process, signal.SIGINT) == ("heard\nsaid\n", "")
        assert process.returncode == 130
        assert GRACE + LAST_WORDS < 1

    @pytest.mark.parametrize(
        ("first", "second", "code"),
        [(signal.SIGINT, signal.SIGINT, 130), (signal.SIGTERM, signal.SIGINT, 143),
         (signal.SIGINT, signal.SIGTERM, 130)],
    )  # fmt: skip
    async def test_a_second_signal_does_not_wait(
        self, first: signal.Signals, second: signal.Signals, code: int
    ) -> None:
        process = await self.sleeper(grace=60)
        process.send_signal(first)
        assert process.stdout is not None
        assert await process.stdout.readline() == b"heard\n"
        assert await interrupt(process, second) == ("said\n", "")
        assert process.returncode == code

    async def test_a_signal_that_is_ignored_stays_so(self, tmp_path: Path) -> None:
        """As `nohup` and a shell's `&` have it."""
        async with FakeIndex(wheels={wheel_filename(): make_wheel()}, faults={"*.whl": Silence(0.5)}) as index:
            process = await start(
                tmp_path, "get", "demo", "-i", index.url, "-d", str(tmp_path),
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
            )  # fmt: skip
            await until(lambda: bool(index.select("*.whl")))
            out, err = await interrupt(process, signal.SIGINT)
        assert (process.returncode, out, err) == (0, f"{tmp_path / wheel_filename()}\n", "")
