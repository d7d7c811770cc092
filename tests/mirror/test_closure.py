"""What a file depends on."""

from __future__ import annotations

import pytest
from packaging.requirements import Requirement

from fetcher.errors import ConfigError
from fetcher.index.target import describe_python
from fetcher.mirror.closure import ask_for, dependencies
from fetcher.mirror.transfer import read_requirements

LINUX = describe_python("3.12", ["manylinux_2_28_x86_64"])
WINDOWS = describe_python("3.9", ["win_amd64"])

REQUIRES = [
    "plain>=1",
    "windows; sys_platform == 'win32'",
    "old ; python_version < '3.10'",
    "fast; extra == 'speed'",
    "both; extra == 'speed' and sys_platform == 'win32'",
    "not a requirement at all ???",
]


@pytest.mark.parametrize(
    ("target", "extras", "names"),
    [
        (LINUX, [], ["plain"]),
        (LINUX, ["speed"], ["plain", "fast"]),
        (WINDOWS, [], ["plain", "windows", "old"]),
        (WINDOWS, ["speed"], ["plain", "windows", "old", "fast", "both"]),
        (None, [], ["plain", "windows", "old"]),
        (None, ["speed"], ["plain", "windows", "old", "fast", "both"]),
    ],
)
def test_markers(target: object, extras: list[str], names: list[str]) -> None:
    assert [each.name for each in dependencies(REQUIRES, extras, target)] == names


def test_what_is_asked_for() -> None:
    name, ask = ask_for(Requirement("De_Mo[B.b,a]>=1,<2"), 3)
    assert name == "de-mo"
    assert (ask.extras, ask.target) == (("a", "b-b"), 3)
    assert set(ask.specifier.split(",")) == {">=1", "<2"}


def test_a_url_asks_for_the_file() -> None:
    _, ask = ask_for(Requirement(f"demo @ https://host/demo-1.0-py3-none-any.whl#sha256={'a' * 64}"))
    assert ask.filename == "demo-1.0-py3-none-any.whl"
    assert ask.listing is not None
    assert ask.listing.hashes == {"sha256": "a" * 64}
    with pytest.raises(ConfigError):
        ask_for(Requirement("demo @ git+https://host/demo"))


def test_requirements_of_metadata() -> None:
    raw = (
        b"Metadata-Version: 2.1\r\nName: demo\r\nRequires-Dist: a>=1\r\nrequires-dist : b;\r\n"
        b"  python_version < '4'\r\n"
        b"Requires-Python: >=3.8\r\n\r\nRequires-Dist: not-this\r\n"
    )
    assert read_requirements(raw) == (("a>=1", "b; python_version < '4'"), ">=3.8")
    assert read_requirements(b"") == ((), "")
