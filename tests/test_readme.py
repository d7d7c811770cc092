"""README's commands and programs run, and print what README says."""

import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_servers import RealIndex, RealServersMissing, running_devpi

README = Path(__file__).parent.parent / "README.md"
CI = README.parent / ".ci" / "run"
EXAMPLE = "https://devpi.example"
# How long it took is another time's.
_SECONDS = re.compile(r'"seconds": [0-9.]+')


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands() -> list[tuple[str, str]]:
    """The commands of the console blocks, each with the output that README shows."""
    found = [re.split(r"^\$ (.*)\n", block, flags=re.MULTILINE) for block in blocks("console")]
    return [pair for parts in found for pair in zip(parts[1::2], parts[2::2], strict=True)]


def run(command: list[str], folder: Path) -> str:
    """What a command prints on both streams, in an environment without this user's settings."""
    scripts = sysconfig.get_path("scripts")
    done = subprocess.run(
        command,
        cwd=folder,
        env={
            **{name: os.environ[name] for name in ("LANG", "SSL_CERT_FILE") if name in os.environ},
            "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    return done.stdout


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealIndex]:
    try:
        with running_devpi(tmp_path_factory.mktemp("servers")) as index:
            yield index
    except RealServersMissing as missing:
        pytest.skip(str(missing))


@pytest.mark.real
@pytest.mark.parametrize(("command", "shown"), commands(), ids=[command for command, _ in commands()])
def test_a_command_prints_what_readme_shows(command: str, shown: str, tmp_path: Path, real: RealIndex) -> None:
    printed = run(["bash", "-c", command.replace(EXAMPLE, real.url)], tmp_path)

    if EXAMPLE not in command and "cannot connect" in printed:
        pytest.skip(f"the default index cannot be reached: {printed.strip()}")
    assert _SECONDS.sub("", printed.replace(real.url, EXAMPLE)) == _SECONDS.sub("", shown)


@pytest.mark.real
def test_the_program_prints_what_readme_shows(tmp_path: Path, real: RealIndex) -> None:
    (program, _), (shown,) = blocks("python"), [block for block in blocks("text") if "──►" not in block]
    userinfo = f"https://reader:password@{EXAMPLE.partition('//')[2]}"
    assert userinfo in program

    printed = run([sys.executable, "-c", program.replace(userinfo, real.with_userinfo(real.ranged_url))], tmp_path)

    assert printed == shown


def test_the_resolver_that_readme_shows_is_the_one_that_is_tested() -> None:
    _, shown = blocks("python")
    assert (README.parent / "tests" / "resolver.py").read_text(encoding="utf-8").endswith(f'"""\n\n{shown}')


def test_ci_runs_the_test_line_of_readme() -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    pattern = re.search(r"sed -n 's/\^\\\((.*)\\\)\$/", CI.read_text(encoding="utf-8"))
    assert pattern is not None
    assert [line for line in lines if re.fullmatch(pattern[1], line)] == [lines[1]]


def test_every_room_that_readme_names_exists() -> None:
    rooms = re.findall(r"`((?:fetcher|tests)/[\w/]+(?:\.py)?)/?`", README.read_text(encoding="utf-8"))
    assert rooms
    assert [room for room in rooms if not (README.parent / room).exists()] == []
