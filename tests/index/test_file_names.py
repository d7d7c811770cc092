"""What a file name promises is what `packaging` reads in it, though of ten thousand names few are parsed."""

import pytest
from hypothesis import example, given, strategies as st
from packaging.utils import parse_sdist_filename, parse_wheel_filename

from fetcher.index.files import SUFFIXES, File, parse_sdist_name

_part = st.text("ab01._+!-", max_size=6)
_wheels = st.lists(st.one_of(st.sampled_from(["demo", "1.0", "2", "py3", "none", "any", "cp312.cp311", ""]), _part))


@given(_wheels.map("-".join))
@example("demo-1.0-py3-none-any")
@example("demo-1.0-1b-py3-none-any")
@example("demo-1.0-b-py3-none-any")
@example("demo-1.0-1-2-py3-none-any")
@example("demo-py3-none-any")
@example("py3-none-any")
@example("de mo-1.0-py3-none-any")
@example("demo--py3-none-any")
@example("demo-1.0-py3-none-")
@example("demo__x-1.0-py3-none-any")
@example("")
def test_wheels(stem: str) -> None:
    name = f"{stem}.whl"
    file = File(filename=name, url=f"https://host/{name}")
    try:
        expected = parse_wheel_filename(name)
    except ValueError:
        assert (file.name, file.version, file.build, file.tags) == (None, None, (), frozenset())
    else:
        assert (file.name, file.version, file.build, file.tags) == expected


@given(st.one_of(st.just("demo-1.0"), _wheels.map("-".join)), st.sampled_from(SUFFIXES[1:]))
def test_sdists(stem: str, suffix: str) -> None:
    file = File(filename=f"{stem}{suffix}", url="https://host/x")
    try:
        expected = parse_sdist_filename(f"{stem}.tar.gz")
    except ValueError:
        assert (file.name, file.version) == (None, None)
    else:
        assert (file.name, file.version) == parse_sdist_name(file.filename) == expected


@pytest.mark.parametrize("name", ["demo-1.0", "demo-1.0.whl", "demo-1.0.exe", "demo-1.0.tar.lz", ""])
def test_what_is_no_sdist(name: str) -> None:
    with pytest.raises(ValueError, match=r"it ends with none of \.tar\.gz"):
        parse_sdist_name(name)
