"""What a file name promises is what `packaging` reads in it, though of ten thousand names few are parsed."""

import pytest
from hypothesis import example, given, strategies as st
from packaging.utils import parse_sdist_filename, parse_wheel_filename
from packaging.version import InvalidVersion, Version
from pip._internal.index.package_finder import _extract_version_from_fragment

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


class TestOnAProjectsPage:
    """The version may have dashes there, as pip and uv have it."""

    @pytest.mark.parametrize(
        ("project", "stem", "version"),
        [
            ("demo", "demo-1.0", "1.0"),
            ("demo", "demo-1.0-1", "1.0.post1"),
            ("demo", "demo-1.0-rc1", "1.0rc1"),
            ("demo", "Demo-1.0-beta-2", "1.0b2"),
            ("foo-bar", "foo__bar-1.0-1", "1.0.post1"),
            ("foo-bar", "foo-bar-1.0-1", "1.0.post1"),
            ("foo", "foo-2-1", "2.post1"),
            ("foo-2", "foo-2-1", "1"),
            ("foo-2", "foo-2-1.0", "1.0"),
        ],
    )
    def test_the_name_ends_after_that_of_the_project(self, project: str, stem: str, version: str) -> None:
        file = File(f"{stem}.tar.gz", "https://host/x", project=project)
        assert (file.name, file.version) == (project, Version(version))
        assert pip_reads(project, stem) == file.version

    @pytest.mark.parametrize(
        "stem", ["foo-2-1.0", "foo-x-1.0", "foobar-1.0", "foo--1.0", "foo-1.0-win32", "foo-", "foo"]
    )
    def test_elsewhere_and_without_a_version_it_is_read_as_ever(self, stem: str) -> None:
        on_page, alone = (File(f"{stem}.tar.gz", "https://host/x", project=project) for project in ("foo", None))
        assert (on_page.name, on_page.version) == (alone.name, alone.version)
        assert on_page.name != "foo"
        assert pip_reads("foo", stem) is None


def pip_reads(project: str, stem: str) -> Version | None:
    """The version of which pip has this file a candidate, None if of none."""
    try:
        return Version(_extract_version_from_fragment(stem, project) or "")
    except InvalidVersion:
        return None
