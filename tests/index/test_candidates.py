"""Which file of a project fits a requirement and an interpreter, as pip and uv choose."""

import functools
import itertools
import string
import sys
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, strategies as st
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.tags import Tag
from packaging.version import Version
from pip._internal.models.target_python import TargetPython

from fetcher.errors import ConfigError, NotFound
from fetcher.index.candidates import candidates, choose_file
from fetcher.index.files import SUFFIXES
from fetcher.index.formats import Formats
from fetcher.index.pages import File, Project
from fetcher.index.scope import Index
from fetcher.index.target import Target, describe_python, this_interpreter

ONLY_WHEELS = Formats(only_binary=frozenset({":all:"}))

LINUX = describe_python("3.12", ["manylinux_2_28_x86_64"])
CORP = Index("https://host/simple", name="corp")
ONLY_SDISTS = Formats(no_binary=frozenset({":all:"}))
EITHER = Formats()
PREFER_SDISTS = Formats(prefer="sdist")
PREFER_BINARY = Formats(prefer_binary=True)


def file(filename: str, **facts: Any) -> File:
    return File(filename=filename, url=f"https://host/files/{filename}", **facts)


def wheel(version: str = "1.0", tag: str = "py3-none-any", **facts: Any) -> File:
    return file(f"demo-{version}-{tag}.whl", **facts)


def sdist(version: str = "1.0", suffix: str = ".tar.gz", **facts: Any) -> File:
    return file(f"demo-{version}{suffix}", **facts)


def project(*files: File, index: Index | None = CORP) -> Project:
    return Project(name="demo", files=files, url="https://host/simple/demo/", index=index)


def choose(
    requirement: str,
    *files: File,
    target: Target = LINUX,
    formats: Formats = EITHER,
    hashes: frozenset[tuple[str, str]] = frozenset(),
) -> str:
    """The chosen file's name; the answer must not depend on the order of the page."""
    wanted = Requirement(requirement)
    chosen = {choose_file(project(*order), wanted, target, formats, hashes).filename for order in (files, files[::-1])}
    assert len(chosen) == 1
    return chosen.pop()


def chooses(requirement: str, *expected_then_others: File, **more: Any) -> bool:
    return choose(requirement, *expected_then_others, **more) == expected_then_others[0].filename


def why_none(requirement: str, *files: File, **more: Any) -> str:
    with pytest.raises(NotFound) as caught:
        choose(requirement, *files, **more)
    assert caught.value.asked == str(caught.value)
    return str(caught.value)


class TestVersion:
    @pytest.mark.parametrize(
        ("requirement", "expected", "others"),
        [
            pytest.param("demo", "1.10", ["1.9", "1.2"], id="the highest, by PEP 440"),
            pytest.param("demo", "1!0.1", ["9"], id="epoch"),
            pytest.param("demo", "1.0.post1", ["1.0"], id="post-release"),
            pytest.param("demo<2", "1.9", ["2.0", "2.1"], id="specifier"),
            pytest.param("demo>=1,!=1.9", "1.8", ["1.9", "0.9"], id="several specifiers"),
            pytest.param("demo~=1.2", "1.9", ["2.0", "1.1"], id="compatible release"),
            pytest.param("demo==1.*", "1.9", ["2.0"], id="prefix"),
            pytest.param("demo===1.0", "1.0", ["1.1"], id="arbitrary equality"),
            pytest.param("demo==1", "1.0.0", ["1.0.1"], id="zeros at the end"),
            pytest.param("demo==1.0", "1.0+local", ["1.0"], id="local version, above the public one"),
            pytest.param("demo", "1.0", ["2.0rc1", "2.0.dev1", "1.1a1"], id="no pre-release unasked"),
            pytest.param("demo>=2.0rc1", "2.0rc2", ["1.0", "2.0rc1"], id="a specifier that names one"),
            pytest.param("demo==2.0rc1", "2.0rc1", ["1.0", "2.0"], id="pinned pre-release"),
            pytest.param("demo", "2.0rc1", ["2.0b1"], id="nothing but pre-releases"),
            pytest.param("demo>1", "2.0rc1", ["1.0"], id="nothing else satisfies"),
            pytest.param("demo<2", "1.0", ["2.0rc1", "2.0.dev0"], id="below excludes its own pre-releases"),
        ],
    )
    def test_highest_admitted(self, requirement: str, expected: str, others: list[str]) -> None:
        assert chooses(requirement, wheel(expected), *map(wheel, others))

    def test_highest_with_a_fitting_wheel(self) -> None:
        assert chooses("demo", wheel("1.0"), wheel("2.0", "py2-none-any"), wheel("3.0", "py3-none-win_amd64"))

    @pytest.mark.parametrize("requires", [None, ">=3.13"])
    def test_pre_release_if_nothing_else_fits(self, requires: str | None) -> None:
        late, early = wheel("2.0rc1"), [wheel("1.0", "py3-none-win_amd64"), sdist("1.0", requires_python=requires)]
        assert chooses("demo", late, *early, formats=Formats() if requires else ONLY_WHEELS)
        assert chooses("demo", early[1], early[0], late) is (requires is None)

    def test_what_is_no_distribution_is_left_alone(self) -> None:
        odd = ["demo-3-odd.whl", "demo-3.tar.lz", "demo-3.exe", "demo-3.linux-x86_64.tar.gz", "demo-3.win32.zip"]
        assert chooses("demo", wheel("1.0"), *map(file, odd))


class TestTag:
    def test_order_of_tags(self) -> None:
        """From the most to the least specific, as `pip debug --verbose` lists them."""
        tags = [
            "cp312-cp312-manylinux_2_28_x86_64",
            "cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64",
            "cp312-cp312-manylinux2010_x86_64",
            "cp312-cp312-manylinux1_x86_64",
            "cp312-abi3-manylinux_2_28_x86_64",
            "cp312-none-manylinux_2_28_x86_64",
            "cp311-abi3-manylinux_2_28_x86_64",
            "cp38-abi3-manylinux1_x86_64",
            "py312-none-manylinux_2_28_x86_64",
            "py3-none-manylinux_2_28_x86_64",
            "cp312-none-any",
            "py312-none-any",
            "py3-none-any",
            "py30-none-any",
        ]
        for better, worse in itertools.pairwise(tags):
            assert chooses("demo", wheel("1.0", better), wheel("1.0", worse))

    @pytest.mark.parametrize(
        "tag",
        ["cp311-cp311-manylinux_2_28_x86_64", "cp313-abi3-manylinux1_x86_64", "cp312-cp312-manylinux_2_28_aarch64",
         "cp312-cp312-manylinux_2_29_x86_64", "cp312-cp312-musllinux_1_2_x86_64", "cp312-cp312t-manylinux1_x86_64",
         "pp310-pypy310_pp73-manylinux1_x86_64", "py2-none-any", "cp312-cp312-win_amd64", "cp312-cp312-linux_x86_64",
         "cp312-cp312-macosx_11_0_arm64", "py313-none-any"],
    )  # fmt: skip
    def test_unfit(self, tag: str) -> None:
        assert "fits Python 3.12" in why_none("demo", wheel("1.0", tag))

    def test_best_of_a_compressed_set(self) -> None:
        many = wheel("1.0", "cp39.cp312-cp39.cp312-manylinux_2_28_x86_64.win_amd64")
        assert chooses("demo", many, wheel("1.0", "cp312-cp312-manylinux_2_17_x86_64"))

    def test_a_version_before_a_tag(self) -> None:
        assert chooses("demo", wheel("1.1"), wheel("1.0", "cp312-cp312-manylinux_2_28_x86_64"))


class TestSdist:
    """As `pip download` chooses without an option."""

    def test_alone(self) -> None:
        assert chooses("demo", sdist("1.0"))

    def test_a_newer_version_before_a_wheel(self) -> None:
        assert chooses("demo", sdist("2.0"), wheel("1.0", "cp312-cp312-manylinux_2_28_x86_64"))

    def test_a_wheel_of_the_same_version_before_it(self) -> None:
        assert chooses("demo", wheel("1.0"), sdist("1.0"))
        assert chooses("demo==1", wheel("1.0.0"), sdist("1.0"))

    def test_where_no_wheel_of_the_version_fits(self) -> None:
        assert chooses("demo", sdist("2.0"), wheel("2.0", "py3-none-win_amd64"), wheel("1.0"))

    @pytest.mark.parametrize("suffix", SUFFIXES[1:])
    def test_of_every_form(self, suffix: str) -> None:
        assert chooses("demo", sdist("2.0", suffix), wheel("1.0"))

    def test_the_standard_form_first(self) -> None:
        assert chooses("demo", *(sdist("1.0", suffix) for suffix in SUFFIXES[1:]))

    def test_one_that_is_not_yanked_before_a_yanked_wheel(self) -> None:
        assert chooses("demo==1.0", sdist("1.0"), wheel("1.0", yanked=True))

    def test_yanked(self) -> None:
        assert chooses("demo", wheel("1.0"), sdist("2.0", yanked=True))
        assert chooses("demo==2.0", sdist("2.0", yanked=True), wheel("1.0"))

    def test_requires_python(self) -> None:
        assert chooses("demo", wheel("1.0"), sdist("2.0", requires_python=">=3.13"))
        assert chooses("demo", sdist("2.0", requires_python=">=3.12"), wheel("1.0"))

    def test_named_by_a_hash(self) -> None:
        named, other = sdist(hashes={"sha256": "aa" * 32}), wheel(hashes={"sha256": "bb" * 32})
        assert chooses("demo", named, other, hashes=frozenset({("sha256", "aa" * 32)}))

    def test_for_another_platform(self) -> None:
        windows = describe_python("3.12", ["win_amd64"])
        assert chooses("demo", sdist("2.0"), wheel("2.0", "cp312-cp312-manylinux1_x86_64"), target=windows)


class TestFormats:
    @pytest.mark.parametrize("formats", [ONLY_WHEELS, Formats(only_binary=frozenset({"demo"}))])
    def test_only_wheels(self, formats: Formats) -> None:
        assert chooses("demo", wheel("1.0"), sdist("1.0"), sdist("2.0"), formats=formats)

    @pytest.mark.parametrize("formats", [ONLY_SDISTS, Formats(no_binary=frozenset({"demo"}))])
    def test_no_wheels(self, formats: Formats) -> None:
        assert chooses("demo", sdist("1.0"), wheel("1.0"), wheel("2.0"), formats=formats)

    def test_of_other_projects(self) -> None:
        formats = Formats(only_binary=frozenset({"other"}), no_binary=frozenset({"another"}))
        assert chooses("demo", sdist("2.0"), wheel("1.0"), formats=formats)

    def test_preferred_within_a_version(self) -> None:
        assert chooses("demo", sdist("1.0"), wheel("1.0"), formats=PREFER_SDISTS)
        assert chooses("demo", wheel("2.0"), sdist("1.0"), formats=PREFER_SDISTS)
        assert chooses("demo==1.0", wheel("1.0"), sdist("1.0", yanked=True), formats=PREFER_SDISTS)

    def test_preferred_and_not_admitted(self) -> None:
        assert chooses("demo", wheel("1.0"), sdist("1.0"), formats=Formats(ONLY_WHEELS.only_binary, prefer="sdist"))

    def test_a_wheel_of_an_older_version(self) -> None:
        assert chooses("demo", wheel("1.0"), sdist("2.0"), wheel("0.9"), formats=PREFER_BINARY)
        assert chooses("demo>1", sdist("2.0"), wheel("1.0"), formats=PREFER_BINARY)
        assert chooses("demo", sdist("2.0"), wheel("1.0", "py2-none-any"), formats=PREFER_BINARY)
        assert chooses("demo", sdist("1.0"), wheel("2.0rc1"), formats=PREFER_BINARY)


class TestBuild:
    @pytest.mark.parametrize(
        ("better", "worse"),
        [("2", "1"), ("10", "9"), ("0", ""), ("1", ""), ("1b", "1a"), ("1a", "1"), ("2", "1zz"), ("10a", "9z")],
    )
    def test_the_highest_wins(self, better: str, worse: str) -> None:
        def build(number: str) -> File:
            return file(f"demo-1.0-{number}-py3-none-any.whl" if number else "demo-1.0-py3-none-any.whl")

        assert chooses("demo", build(better), build(worse))

    def test_a_tag_before_a_build(self) -> None:
        assert chooses("demo", wheel("1.0", "cp312-none-any"), file("demo-1.0-9-py3-none-any.whl"))


class TestYanked:
    @pytest.mark.parametrize("requirement", ["demo", "demo>=2", "demo==2.*", "demo~=2.0", "demo<3", "demo!=1.0"])
    def test_not_without_a_pin(self, requirement: str) -> None:
        assert "no file on corp that fits" in why_none(requirement, wheel("2.0", yanked=True))

    @pytest.mark.parametrize("requirement", ["demo==2.0", "demo===2.0", "demo==2", "demo>=1,==2.0"])
    def test_with_a_pin(self, requirement: str) -> None:
        assert chooses(requirement, wheel("2.0", yanked=True), wheel("1.0"))

    def test_the_next_version_is_taken(self) -> None:
        assert chooses("demo", wheel("1.0"), wheel("2.0", yanked=True))

    def test_a_file_that_is_not_yanked_goes_first(self) -> None:
        good, yanked = wheel("2.0"), wheel("2.0", "cp312-none-any", yanked=True)
        assert chooses("demo", good, yanked)
        assert chooses("demo==2.0", good, yanked)


class TestRequiresPython:
    @pytest.mark.parametrize(
        ("requires", "python", "fits"),
        [
            (None, "3.12", True),
            ("", "3.12", True),
            (">=3.12", "3.12", True),
            (">=3.12", "3.12.0", True),
            (">=3.12.1", "3.12.0", False),
            (">=3.12.1", "3.12.1", True),
            (">=3.12.1", "3.12", False),
            (">=3.13", "3.12.9", False),
            ("<3.12", "3.12.1", False),
            ("<4,>=3.8", "3.12.1", True),
            (">=3.8, !=3.12.*", "3.12.4", False),
            ("==3.*", "3.12.4", True),
            ("~=3.9", "3.12.4", True),
            ("three", "3.12", True),
            (">=3.6.*", "3.12", True),
            (">=2.7,!=3.0.*,!=3.1.*", "3.12", True),
        ],
    )
    def test_admits(self, requires: str | None, python: str, fits: bool) -> None:
        target = describe_python(python, ["manylinux_2_28_x86_64"])
        newer, older = wheel("2.0", requires_python=requires), wheel("1.0")
        assert chooses("demo", *((newer, older) if fits else (older, newer)), target=target)

    @pytest.mark.parametrize("python", ["3.11.7", "3.14.0rc2", "3.15.0a1", "3.11.7+", "3.13.0rc1+"])
    def test_a_running_interpreter_of_any_kind(self, python: str) -> None:
        """`platform.python_version()`; pip and uv compare its release alone."""
        release = python.rstrip("+").partition("rc")[0].partition("a")[0]
        admits = wheel("2.0", requires_python=f">={release}")
        refuses = wheel("3.0", requires_python=f"<{release}")
        assert chooses("demo", admits, refuses, wheel("1.0"), target=this_interpreter(python))


class TestCandidates:
    """As pip's finder gives them to its resolver: one file a version, the best version first."""

    def names(self, *files: File, specifier: str = "", **more: Any) -> list[str]:
        found = [[file.filename for file in candidates(project(*order), LINUX, specifier, **more)]
                 for order in (files, files[::-1])]  # fmt: skip
        assert found[0] == found[1]
        return found[0]

    def versions(self, *files: File, specifier: str = "", **more: Any) -> list[str]:
        return [name.split("-")[1] for name in self.names(*files, specifier=specifier, **more)]

    def test_one_file_a_version(self) -> None:
        files = [sdist("1.0"), wheel("1.0"), wheel("1.0", "cp312-none-any"), sdist("2.0"), wheel("3.0", "py2-none-any")]
        assert self.names(*files) == ["demo-2.0.tar.gz", "demo-1.0-cp312-none-any.whl"]

    def test_the_highest_version_first(self) -> None:
        versions = ["1!0.1", "2.0.post1", "2.0", "1.10", "1.9", "0.9"]
        assert self.versions(*map(wheel, versions)) == versions

    @pytest.mark.parametrize(
        ("specifier", "prereleases", "expected"),
        [
            ("", None, ["2.0", "1.0"]),
            ("", True, ["3.0rc1", "2.0", "2.0b1", "1.0"]),
            ("", False, ["2.0", "1.0"]),
            (">2", None, ["3.0rc1"]),
            (">2", False, []),
            (">=2.0b1", None, ["3.0rc1", "2.0", "2.0b1"]),
            (">=2.0b1", False, ["2.0"]),
            ("<2", True, ["1.0"]),
            ("==2.0b1", None, ["2.0b1"]),
        ],
    )
    def test_pre_releases(self, specifier: str, prereleases: bool | None, expected: list[str]) -> None:
        files = map(wheel, ["1.0", "2.0b1", "2.0", "3.0rc1"])
        assert self.versions(*files, specifier=specifier, prereleases=prereleases) == expected

    def test_a_pre_release_does_not_stand_in_for_a_yanked_release(self) -> None:
        assert self.versions(wheel("2.0rc1"), wheel("1.0", yanked=True)) == []
        assert self.versions(wheel("2.0rc1"), wheel("1.0", "py2-none-any")) == ["2.0rc1"]

    @pytest.mark.parametrize(
        ("specifier", "expected"),
        [("", ["1.0"]), (">=1", ["1.0"]), ("==2.0", ["2.0"]), ("===2.0", ["2.0"]), ("==2.*", []), ("==1.0", ["1.0"])],
    )
    def test_yanked(self, specifier: str, expected: list[str]) -> None:
        assert self.versions(wheel("1.0"), wheel("2.0", yanked=True), specifier=specifier) == expected

    def test_yanked_and_another_that_satisfies_the_pin(self) -> None:
        files = [wheel("1.0"), wheel("1.0+local", yanked=True)]
        assert self.versions(*files, specifier="==1.0") == ["1.0"]
        assert self.versions(wheel("1.0", yanked=True), files[1], specifier="==1.0") == ["1.0+local", "1.0"]

    def test_formats(self) -> None:
        files = [wheel("1.0"), sdist("1.0"), sdist("2.0")]
        assert self.names(*files, formats=ONLY_WHEELS) == [files[0].filename]
        assert self.names(*files, formats=ONLY_SDISTS) == [files[2].filename, files[1].filename]
        assert self.names(*files, formats=PREFER_SDISTS) == [files[2].filename, files[1].filename]
        assert self.names(*files, formats=PREFER_BINARY) == [files[0].filename, files[2].filename]

    def test_requires_python(self) -> None:
        assert self.versions(wheel("1.0"), wheel("2.0", requires_python=">=3.13")) == ["1.0"]

    def test_strangers_and_what_has_no_version(self) -> None:
        assert candidates(project(file("evil-9.0.tar.gz"), file("demo-odd.whl"), wheel()), LINUX) == (wheel(),)
        assert candidates(project(), LINUX, uploaded_before=datetime.now(UTC)) == ()

    def test_the_last_spelling_of_a_version(self) -> None:
        one, other = sdist("1.0"), sdist("1.0.0")
        assert candidates(project(one, other), LINUX) == (other,)
        assert candidates(project(one, other), LINUX, "===1.0") == (one,)

    def test_a_specifier_of_either_kind(self) -> None:
        files = project(wheel("1.0"), wheel("2.0"))
        assert candidates(files, LINUX, SpecifierSet("<2")) == candidates(files, LINUX, "<2") == (wheel("1.0"),)

    @pytest.mark.parametrize("text", ["2.0", ">=", "demo>=2", ">=two"])
    def test_no_specifier(self, text: str) -> None:
        with pytest.raises(ConfigError, match="is not a version specifier"):
            candidates(project(wheel()), LINUX, text)

    def test_the_first_is_the_chosen_one(self) -> None:
        files = [wheel("1.0"), sdist("2.0", yanked=True), sdist("1.5"), wheel("1.5", "py2-none-any"), wheel("3.0rc1")]
        for specifier in ("", "<1.5", "==2.0", ">2"):
            best = candidates(project(*files), LINUX, specifier)[0]
            assert best == choose_file(project(*files), Requirement(f"demo{specifier}"), LINUX, EITHER)


class TestUploadedBefore:
    CUT = datetime(2025, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)

    def admits(self, stated: str | None, date: datetime = CUT) -> bool:
        files = wheel("1.0", upload_time="1999-12-31T00:00:00Z"), wheel("2.0", upload_time=stated)
        return candidates(project(*files), LINUX, uploaded_before=date)[0] == files[1]

    @pytest.mark.parametrize(
        ("stated", "admitted"),
        [
            ("2025-01-02T03:04:05.678900Z", True),
            ("2025-01-02T03:04:05.678901Z", False),  # "before" excludes the moment itself, as to pip and uv
            ("2025-01-02T03:04:05.678902Z", False),
            ("2025-01-02T03:04:05Z", True),
            ("2025-01-02T03:04:05.6Z", True),
            ("2025-01-02T04:04:05+01:00", True),
            ("2025-01-02T02:04:06-01:00", False),
            ("2025-01-02T03:04:05", True),  # PEP 700: it is in UTC whatever it says
            ("2025-01-03T03:04:05", False),
            (None, False),
            ("", False),
            ("yesterday", False),
        ],
    )
    def test_the_moment(self, stated: str | None, admitted: bool) -> None:
        assert self.admits(stated) is admitted

    def test_in_another_zone(self) -> None:
        west = timezone(timedelta(hours=-5))
        assert self.admits("2025-01-02T07:59:59Z", datetime(2025, 1, 2, 3, tzinfo=west))
        assert not self.admits("2025-01-02T08:00:00Z", datetime(2025, 1, 2, 3, tzinfo=west))

    def test_without_a_zone(self) -> None:
        with pytest.raises(ConfigError, match="2025-01-02T00:00:00 has no time zone"):
            candidates(project(wheel()), LINUX, uploaded_before=datetime(2025, 1, 2))

    def test_an_index_that_tells_no_times(self) -> None:
        """Its answer would be "no versions", however old they are."""
        with pytest.raises(ConfigError, match="corp does not tell when the files of demo were uploaded"):
            candidates(project(wheel("1.0"), sdist("2.0")), LINUX, uploaded_before=self.CUT)
        with pytest.raises(ConfigError, match="at https://host/simple/demo/ does not tell"):
            candidates(project(wheel(), index=None), LINUX, uploaded_before=self.CUT)


class TestHashes:
    GOOD = ("sha256", "aa" * 32)
    OTHER = ("sha256", "bb" * 32)

    def test_the_named_file_is_taken(self) -> None:
        named, better = wheel(hashes=dict([self.GOOD])), wheel(tag="cp312-none-any", hashes=dict([self.OTHER]))
        assert chooses("demo", named, better, hashes=frozenset({self.GOOD}))

    def test_any_of_several(self) -> None:
        named = wheel(hashes=dict([self.GOOD]))
        assert chooses("demo", named, hashes=frozenset({self.OTHER, self.GOOD, ("sha512", "cc")}))

    def test_none_is_named(self) -> None:
        assert "demo" in why_none("demo", wheel(hashes=dict([self.OTHER])), hashes=frozenset({self.GOOD}))

    def test_no_digest_to_compare(self) -> None:
        assert chooses("demo", wheel(), hashes=frozenset({self.GOOD}))

    def test_no_hashes(self) -> None:
        assert chooses("demo", wheel(hashes=dict([self.GOOD])))


class TestDescribedPython:
    def test_version(self) -> None:
        assert describe_python("3.12", []).python == Version("3.12")
        assert describe_python("3.12.4", []).python == Version("3.12.4")

    @pytest.mark.parametrize(
        "python",
        ["", "3", "312", "3.x", "3.12.1.1", "3.12rc1", " 3.12", "3.12\n", "cp312", ">=3.12", "-3.1",
         "٣.12", "3.٣", "03.12", "3.012", "3.12.01", "3.1000", f"3.{'9' * 5000}"],
    )  # fmt: skip
    def test_other_forms_are_refused(self, python: str) -> None:
        with pytest.raises(ConfigError, match="is not a Python version of the form"):
            describe_python(python, [])

    def test_the_running_one(self) -> None:
        here = this_interpreter()
        assert here.python == Version(".".join(map(str, sys.version_info[:3])))
        assert here.ranks == this_interpreter("3.12.0").ranks

    @pytest.mark.parametrize("python", ["", "bogus", "3.x", "٣.12"])
    def test_no_version_of_the_running_one(self, python: str) -> None:
        with pytest.raises(ConfigError, match="is not a Python version"):
            this_interpreter(python)

    def test_it_is_a_key(self) -> None:
        same = describe_python("3.12", ["manylinux_2_28_x86_64"])
        assert LINUX.place(frozenset({Tag("py3", "none", "any")})) is not None  # what it has noted does not count
        assert {LINUX: 1}[same] == 1
        others = {this_interpreter(), describe_python("3.12", ["win_amd64"]), describe_python("3.11", [])}
        assert len(others | {LINUX, same}) == 4

        page = project(wheel())
        cached = functools.cache(candidates)
        assert cached(page, LINUX) is cached(page, same)

    def test_the_place_of_tags(self) -> None:
        ranks = LINUX.ranks
        tags = frozenset(
            {Tag("py3", "none", "any"), Tag("cp312", "cp312", "linux_riscv64"), Tag("cp312", "none", "any")}
        )
        assert LINUX.place(tags) == LINUX.place(tags) == min(ranks[tag] for tag in tags if tag in ranks)
        assert LINUX.place(frozenset({Tag("py2", "none", "any")})) is None
        assert LINUX.place(frozenset()) is None

    def test_no_platform_means_this_machine(self) -> None:
        own = {tag.platform for tag in this_interpreter("3.11.0").ranks}
        assert {tag.platform for tag in describe_python("3.9", []).ranks} == own

    @pytest.mark.parametrize(
        ("platform", "accepted"),
        [
            # pip's own expansions (pip/_internal/utils/compatibility_tags.py)
            pytest.param("manylinux2014_x86_64", ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"],
                         id="manylinux2014"),
            pytest.param("manylinux2010_i686", ["manylinux2010_i686", "manylinux1_i686"], id="manylinux2010"),
            pytest.param("manylinux1_x86_64", ["manylinux1_x86_64"], id="manylinux1"),
            pytest.param("macosx_11_0_arm64", ["macosx_11_0_arm64", "macosx_11_0_universal2", "macosx_10_9_universal2"],
                         id="macOS on ARM"),
            pytest.param("macosx_12_0_x86_64", ["macosx_12_0_x86_64", "macosx_11_0_universal2", "macosx_10_9_x86_64",
                         "macosx_10_9_intel"], id="macOS on Intel"),
            # PEP 600: what is older runs
            pytest.param("manylinux_2_28_x86_64", ["manylinux_2_28_x86_64", "manylinux_2_17_x86_64",
                         "manylinux2014_x86_64", "manylinux_2_5_x86_64", "manylinux1_x86_64"], id="manylinux_x_y"),
            pytest.param("manylinux_2_17_aarch64", ["manylinux_2_17_aarch64", "manylinux2014_aarch64"], id="ARM"),
            # PEP 656: the same
            pytest.param("musllinux_1_2_x86_64", ["musllinux_1_2_x86_64", "musllinux_1_1_x86_64",
                         "musllinux_1_0_x86_64"], id="musl"),
            # taken as they are
            pytest.param("win_amd64", ["win_amd64"], id="Windows"),
            pytest.param("win-amd64", ["win_amd64"], id="with a dash"),
            pytest.param("linux_x86_64", ["linux_x86_64"], id="local Linux"),
            pytest.param("any", ["any"], id="any"),
        ],
    )  # fmt: skip
    def test_platform(self, platform: str, accepted: list[str]) -> None:
        target = describe_python("3.12", [platform])
        ranks = [target.ranks[Tag("cp312", "cp312", one)] for one in accepted]
        assert ranks == sorted(ranks)
        assert Tag("py3", "none", "any") in target.ranks

    @pytest.mark.parametrize(
        ("platform", "refused"),
        [
            ("manylinux2014_x86_64", ["manylinux_2_18_x86_64", "manylinux2014_aarch64", "linux_x86_64", "win_amd64"]),
            ("manylinux1_x86_64", ["manylinux2010_x86_64", "manylinux_2_12_x86_64"]),
            ("macosx_11_0_arm64", ["macosx_11_0_x86_64", "macosx_12_0_arm64", "macosx_10_9_x86_64"]),
            ("macosx_10_9_x86_64", ["macosx_10_10_x86_64", "macosx_11_0_universal2", "macosx_10_9_arm64"]),
            ("win_amd64", ["win32", "win_arm64", "linux_x86_64"]),
            ("musllinux_1_1_x86_64", ["musllinux_1_2_x86_64", "musllinux_0_1_x86_64", "musllinux_1_0_aarch64"]),
        ],
    )
    def test_no_other_platform(self, platform: str, refused: list[str]) -> None:
        platforms = {tag.platform for tag in describe_python("3.12", [platform]).ranks}
        assert platforms.isdisjoint(refused)

    def test_several_platforms_in_order(self) -> None:
        target = describe_python("3.12", ["linux_x86_64", "manylinux1_x86_64"])
        assert (
            target.ranks[Tag("cp312", "cp312", "linux_x86_64")]
            < target.ranks[Tag("cp312", "cp312", "manylinux1_x86_64")]
        )

    @pytest.mark.parametrize(
        ("python", "accepted", "refused"),
        [
            ("3.12", ["cp312-cp312", "cp312-abi3", "cp311-abi3", "cp32-abi3", "py312-none", "py3-none", "py30-none"],
             ["cp313-abi3", "cp312-cp311", "cp311-cp311", "py313-none", "py2-none"]),
            ("3.9.18", ["cp39-cp39", "cp39-abi3", "py39-none"], ["cp310-abi3", "py310-none"]),
            ("3.14", ["cp314-cp314", "cp39-abi3", "py314-none"], ["cp315-abi3"]),
        ],
    )  # fmt: skip
    def test_interpreter(self, python: str, accepted: list[str], refused: list[str]) -> None:
        tags = {f"{tag.interpreter}-{tag.abi}" for tag in describe_python(python, ["win_amd64"]).ranks}
        assert tags >= set(accepted)
        assert tags.isdisjoint(refused)

    @pytest.mark.parametrize(
        ("abis", "accepted", "refused"),
        [
            (
                (),
                ["cp313-cp313", "cp313-abi3", "cp313-none", "cp312-abi3", "py3-none"],
                ["cp313-cp313t", "cp313-abi3t"],
            ),
            (["cp313"], ["cp313-cp313", "cp313-abi3", "cp313-none", "cp312-abi3", "py3-none"], ["cp313-cp313t"]),
            (["cp313t"], ["cp313-cp313t", "cp313-abi3t", "cp313-none", "py3-none"], ["cp313-cp313", "cp313-abi3"]),
            (["abi3"], ["cp313-abi3", "cp313-none", "cp312-abi3"], ["cp313-cp313"]),
            (["none"], ["cp313-abi3", "cp313-none", "py3-none"], ["cp313-cp313"]),
            (["cp313d", "cp313"], ["cp313-cp313d", "cp313-cp313", "cp313-abi3"], ["cp313-cp313t"]),
        ],
    )
    def test_abis(self, abis: list[str], accepted: list[str], refused: list[str]) -> None:
        tags = {f"{tag.interpreter}-{tag.abi}" for tag in describe_python("3.13", ["win_amd64"], abis).ranks}
        assert tags >= set(accepted)
        assert tags.isdisjoint(refused)

    def test_the_first_abi_is_the_best(self) -> None:
        ranks = describe_python("3.13", ["win_amd64"], iter(["cp313d", "cp313"])).ranks
        assert ranks[Tag("cp313", "cp313d", "win_amd64")] < ranks[Tag("cp313", "cp313", "win_amd64")]

    def test_ranks_are_a_ranking(self) -> None:
        ranks = list(describe_python("3.12", ["manylinux2014_x86_64"]).ranks.values())
        assert ranks == list(range(len(ranks)))


class TestWhyNone:
    def test_no_files(self) -> None:
        assert why_none("demo") == "demo has no files on corp"

    def test_no_version(self) -> None:
        said = why_none("demo>2", wheel("1.0"), wheel("2.0"))
        assert said == "no version of demo on corp satisfies demo>2; the newest is 2.0"

    def test_no_version_at_all(self) -> None:
        assert why_none("demo>2", file("demo-odd.whl")) == "demo has no files on corp"

    def test_only_a_strangers_file(self) -> None:
        """Flat folders and group repositories list other projects on the same page."""
        assert why_none("demo", file("evil-9.0-py3-none-any.whl")) == "demo has no files on corp"

    def test_only_sdists(self) -> None:
        said = why_none("demo==1.0", sdist("1.0"), formats=ONLY_WHEELS)
        assert said == "demo==1.0 has only source distributions on corp, no wheel"

    def test_only_wheels(self) -> None:
        said = why_none("demo==1.0", wheel("1.0"), formats=ONLY_SDISTS)
        assert said == "demo==1.0 has only wheels on corp, no source distribution"

    @pytest.mark.parametrize(
        ("formats", "called"), [(Formats(), "file"), (ONLY_WHEELS, "wheel"), (ONLY_SDISTS, "source distribution")]
    )
    def test_none_that_fits(self, formats: Formats, called: str) -> None:
        files = wheel("1.0", "py2-none-any"), sdist("1.0", requires_python="<3")
        said = why_none("demo", *files, formats=formats)
        assert said == f"demo has no {called} on corp that fits Python 3.12 and this platform (2 files looked at)"

    def test_without_an_index(self) -> None:
        with pytest.raises(NotFound, match="demo has no files at https://host/simple/demo/"):
            choose_file(project(index=None), Requirement("demo"), LINUX, Formats())


_versions = st.builds("{}.{}{}".format, st.integers(0, 3), st.integers(0, 3), st.sampled_from(["", "rc1", ".post1"]))
_tags = st.sampled_from(["py3-none-any", "cp312-none-any", "cp312-cp312-manylinux_2_17_x86_64", "py2-none-any"])
_builds = st.sampled_from(["", "1-", "2-", "2a-"])
_wheels = st.builds("demo-{}-{}{}.whl".format, _versions, _builds, _tags)
_sdists = st.builds("demo-{}{}".format, _versions, st.sampled_from(SUFFIXES[1:]))
_formats = st.sampled_from([Formats(), ONLY_WHEELS, ONLY_SDISTS, PREFER_SDISTS, PREFER_BINARY])


@given(
    st.lists(st.one_of(_wheels, _sdists), max_size=6, unique=True),
    st.sampled_from(["", ">=1", "<2", "==1.*", "==1.1", ">=2.0rc1", "~=1.0"]),
    _formats,
    st.randoms(use_true_random=False),
)
def test_the_order_of_the_page_does_not_count(names: list[str], specifier: str, formats: Formats, random: Any) -> None:
    wanted = Requirement(f"demo{specifier}")
    answers = set()
    for order in (names, random.sample(names, len(names))):
        try:
            chosen = choose_file(project(*map(file, order)), wanted, LINUX, formats)
        except NotFound as error:
            answers.add(str(error))
            continue
        answers.add(chosen.filename)
        assert chosen.version is not None
        assert wanted.specifier.contains(chosen.version, prereleases=True)
        assert not chosen.is_wheel or not chosen.tags.isdisjoint(LINUX.ranks)
        assert formats.only("demo") in (None, "wheel" if chosen.is_wheel else "sdist")
        assert candidates(project(*map(file, order)), LINUX, specifier, formats=formats)[0].version == chosen.version
    assert len(answers) == 1


_abis = st.sampled_from(
    ["cp312", "cp313", "cp313t", "cp313d", "cp312m", "abi3", "abi3t", "none", "CP312", "pypy310_pp73"]
)


@given(
    st.sampled_from([(3, 1), (3, 9), (3, 12), (3, 13), (3, 15)]),
    st.lists(st.sampled_from(["win_amd64", "linux_x86_64", "macosx_11_0_arm64", "any"]), max_size=2, unique=True),
    st.lists(_abis | st.text(string.ascii_letters + string.digits + "_", max_size=8), max_size=4),
)
def test_abis_as_pip_has_them(version: tuple[int, int], platforms: list[str], abis: list[str]) -> None:
    """The tags of `pip download --implementation cp --python-version X.Y --platform … --abi …`, and their order."""
    target = TargetPython(platforms or None, version, abis or None, "cp")
    ours = describe_python(".".join(map(str, version)), platforms, abis).ranks
    assert list(map(str, ours)) == list(dict.fromkeys(map(str, target.get_sorted_tags())))


@given(st.text(string.ascii_letters + string.digits + "._-", max_size=30))
def test_any_platform_text_is_taken(platform: str) -> None:
    assert Tag("py3", "none", "any") in describe_python("3.12", [platform]).ranks
