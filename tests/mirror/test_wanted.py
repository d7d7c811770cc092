"""Which files of a project are wanted."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from made_up import INDEX, file, project, sha256

from fetcher.errors import HashMismatch, NotFound
from fetcher.index.formats import Formats
from fetcher.index.target import describe_python
from fetcher.mirror.records import Listing
from fetcher.mirror.wanted import Ask, Choice, choose, named_files

if TYPE_CHECKING:
    from fetcher.index.files import Project

LINUX = describe_python("3.12", ["manylinux_2_28_x86_64"])
WINDOWS = describe_python("3.11", ["win_amd64"])
BOTH = (LINUX, WINDOWS)

PAGE = project(
    *("demo-1.0-py3-none-any.whl", "demo-1.0.tar.gz", "demo-1.1-py3-none-any.whl", "demo-1.1.tar.gz"),
    *("demo-2.0-cp312-cp312-manylinux_2_17_x86_64.whl", "demo-2.0-cp311-cp311-win_amd64.whl", "demo-2.0.tar.gz"),
    *("demo-3.0a1-py3-none-any.whl", file("demo-2.1-py3-none-any.whl", yanked=True), "other-9.0-py3-none-any.whl"),
)


def names(asks: list[Ask], choice: Choice, page: Project = PAGE) -> list[str]:
    chosen = choose(page, asks, choice)
    assert chosen.errors == []
    return sorted(chosen.picks)


ANY = Ask()


def test_the_best_for_each_target() -> None:
    assert names([ANY], Choice((LINUX,))) == ["demo-2.0-cp312-cp312-manylinux_2_17_x86_64.whl"]
    assert names([ANY], Choice(BOTH)) == [
        "demo-2.0-cp311-cp311-win_amd64.whl",
        "demo-2.0-cp312-cp312-manylinux_2_17_x86_64.whl",
    ]


def test_so_many_of_the_newest() -> None:
    assert names([ANY], Choice((WINDOWS,), newest=2)) == [
        "demo-1.1-py3-none-any.whl",
        "demo-2.0-cp311-cp311-win_amd64.whl",
    ]
    assert len(names([ANY], Choice((WINDOWS,), newest=9))) == 3


def test_every_version_has_yanked_and_pre_releases() -> None:
    assert names([ANY], Choice((LINUX,), newest=None)) == [
        *("demo-1.0-py3-none-any.whl", "demo-1.1-py3-none-any.whl"),
        *("demo-2.0-cp312-cp312-manylinux_2_17_x86_64.whl", "demo-2.1-py3-none-any.whl", "demo-3.0a1-py3-none-any.whl"),
    ]


def test_every_platform() -> None:
    of_the_newest = ["demo-2.0-cp311-cp311-win_amd64.whl", "demo-2.0-cp312-cp312-manylinux_2_17_x86_64.whl"]
    assert names([ANY], Choice(None)) == [*of_the_newest, "demo-2.0.tar.gz"]
    wheels = Choice(None, formats=Formats(only_binary=frozenset({":all:"})))
    assert names([ANY], wheels) == of_the_newest
    assert len(names([ANY], Choice(None, newest=None))) == 9


def test_source_distributions_besides() -> None:
    assert names([ANY], Choice((LINUX,), sdists=True)) == [
        "demo-2.0-cp312-cp312-manylinux_2_17_x86_64.whl",
        "demo-2.0.tar.gz",
    ]


def test_requirements() -> None:
    assert names([Ask("<2")], Choice((LINUX,))) == ["demo-1.1-py3-none-any.whl"]
    assert names([Ask("==2.1")], Choice((LINUX,))) == ["demo-2.1-py3-none-any.whl"]
    assert names([Ask(">=3a0")], Choice((LINUX,))) == ["demo-3.0a1-py3-none-any.whl"]
    assert names([Ask("<2", target=1), Ask("<1.1", target=0)], Choice(BOTH)) == [
        "demo-1.0-py3-none-any.whl",
        "demo-1.1-py3-none-any.whl",
    ]


def test_what_all_requirements_admit_is_wanted_as_well() -> None:
    """Alone they take 2.0 and 1.1; an installer that has to satisfy both takes 1.0."""
    assert names([Ask("!=1.1"), Ask("<2")], Choice((LINUX,))) == [
        "demo-1.0-py3-none-any.whl",
        "demo-1.1-py3-none-any.whl",
        "demo-2.0-cp312-cp312-manylinux_2_17_x86_64.whl",
    ]


def test_requirements_that_exclude_each_other_are_no_error() -> None:
    assert names([Ask("<1.1"), Ask(">1.0,<2")], Choice((LINUX,))) == [
        "demo-1.0-py3-none-any.whl",
        "demo-1.1-py3-none-any.whl",
    ]


def test_nothing_that_fits_is_an_error_of_its_own() -> None:
    chosen = choose(PAGE, [Ask(">9"), ANY], Choice((LINUX,)))
    (error,) = chosen.errors
    assert isinstance(error, NotFound)
    assert str(error) == "no version of demo on corp satisfies demo>9; the newest is 3.0a1"
    assert sorted(chosen.picks) == ["demo-2.0-cp312-cp312-manylinux_2_17_x86_64.whl"]


def test_since() -> None:
    page = project(
        file("demo-1.0-py3-none-any.whl", upload_time="2026-01-01T00:00:00Z"),
        file("demo-2.0-py3-none-any.whl", upload_time="2026-01-02T00:00:00Z"),
        file("demo-3.0-py3-none-any.whl", upload_time="2026-01-03T00:00:00Z"),
    )
    since = datetime(2026, 1, 2, tzinfo=UTC)
    choice = Choice((LINUX,), newest=None, since=since)
    assert names([ANY], choice, page) == ["demo-2.0-py3-none-any.whl", "demo-3.0-py3-none-any.whl"]
    assert names([Ask("<2")], choice, page) == []  # nothing new is no failure
    assert choose(PAGE, [ANY], choice).errors != []  # it tells no upload times


def test_digests_that_are_demanded() -> None:
    wheel, sdist = "demo-1.0-py3-none-any.whl", "demo-1.0.tar.gz"
    page = project(wheel, sdist)
    assert names([Ask(hashes=(("sha256", sha256(sdist)),))], Choice((LINUX,)), page) == [sdist]
    chosen = choose(page, [Ask(hashes=(("sha256", "0" * 64),))], Choice((LINUX,)))
    assert isinstance(chosen.errors[0], NotFound | HashMismatch)
    assert chosen.picks == {}


def test_files_that_are_named() -> None:
    listed = file("demo-1.0-py3-none-any.whl")
    ask = Ask(filename=listed.filename, listing=Listing.of(listed), target=0, extras=("x",))
    chosen = named_files("demo", [ask, ANY], [INDEX])
    pick = chosen.picks[listed.filename]
    assert pick.file == listed
    assert pick.file.listed_by is INDEX
    assert pick.wanted_by == {(0, ("x",))}
    assert named_files("demo", [ask], []).picks[listed.filename].file.listed_by is None


def test_two_files_of_one_name() -> None:
    """As locks have them of projects that are built for several accelerators, each on an index of its own."""
    one, two = (file("demo-1.0-py3-none-any.whl", hashes={"sha256": digit * 64}) for digit in "ab")
    asks = [Ask(filename=each.filename, listing=Listing.of(each)) for each in (one, two, one)]
    chosen = named_files("demo", asks, [])
    assert [pick.file.hashes for pick in chosen.picks.values()] == [one.hashes]
    assert [str(error) for error in chosen.errors] == [
        "two different files are called demo-1.0-py3-none-any.whl: one of them is taken"
    ]


def test_constraints() -> None:
    assert names([ANY], Choice((LINUX,), constraints={"demo": "<2"})) == ["demo-1.1-py3-none-any.whl"]
    chosen = choose(PAGE, [Ask(">=2")], Choice((LINUX,), constraints={"demo": "<2"}))
    assert "no version of demo" in str(chosen.errors[0])


def test_what_nobody_named_may_have_nothing() -> None:
    only_sdists = Choice((LINUX,), formats=Formats(only_binary=frozenset({":all:"})))
    page = project("demo-1.0.tar.gz")
    assert choose(page, [Ask(named=False)], only_sdists).errors == []
    assert len(choose(page, [Ask()], only_sdists).errors) == 1


def test_a_digest_that_differs_is_said() -> None:
    ask = Ask("==1.0", hashes=(("sha256", "0" * 64),))
    (error,) = choose(PAGE, [ask], Choice((LINUX,))).errors
    assert isinstance(error, HashMismatch)


@pytest.mark.parametrize("newest", [1, None])
def test_extras_go_with_the_pick(newest: int | None) -> None:
    chosen = choose(PAGE, [Ask(extras=("a",)), Ask(extras=("b",))], Choice((LINUX,), newest=newest))
    pick = chosen.picks["demo-2.0-cp312-cp312-manylinux_2_17_x86_64.whl"]
    assert pick.wanted_by == {(0, ("a",)), (0, ("b",))}
