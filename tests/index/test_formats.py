"""Which formats may be taken of a project: `--only-binary` and `--no-binary`, in the order in which they were given."""

from collections.abc import Sequence

import pytest
from hypothesis import given, strategies as st

from fetcher.errors import ConfigError
from fetcher.index.files import File
from fetcher.index.formats import Formats

ONLY_WHEELS = Formats(only_binary=frozenset({":all:"}))

ONLY, NO = "--only-binary", "--no-binary"

Given = Sequence[tuple[str, str]]


def formats_after(given: Given) -> Formats:
    formats = Formats()
    for option, value in given:
        formats = formats.heed(option, value)
    return formats


# What pip 26.3 admits (`FormatControl.get_allowed_formats`) of "a", "b" and any other project.
PIP: list[tuple[Given, tuple[str | None, str | None, str | None]]] = [
    ([], (None, None, None)),
    ([(ONLY, "a")], ("wheel", None, None)),
    ([(NO, "a")], ("sdist", None, None)),
    ([(ONLY, ":all:")], ("wheel", "wheel", "wheel")),
    ([(NO, ":all:")], ("sdist", "sdist", "sdist")),
    ([(ONLY, "a,b")], ("wheel", "wheel", None)),
    ([(ONLY, "a"), (ONLY, "b")], ("wheel", "wheel", None)),
    ([(ONLY, "a"), (NO, "b")], ("wheel", "sdist", None)),
    # the last one counts
    ([(ONLY, "a"), (NO, "a")], ("sdist", None, None)),
    ([(NO, "a"), (ONLY, "a")], ("wheel", None, None)),
    ([(ONLY, "a,b"), (NO, "a"), (ONLY, "a")], ("wheel", "wheel", None)),
    ([(ONLY, ":all:"), (NO, ":all:")], ("sdist", "sdist", "sdist")),
    # a name beats :all:
    ([(ONLY, ":all:"), (NO, "a")], ("sdist", "wheel", "wheel")),
    ([(NO, ":all:"), (ONLY, "a,b")], ("wheel", "wheel", "sdist")),
    # :all: takes back what was said before
    ([(NO, "a"), (ONLY, ":all:")], ("wheel", "wheel", "wheel")),
    ([(ONLY, "a"), (ONLY, ":all:"), (NO, ":all:")], ("sdist", "sdist", "sdist")),
    ([(ONLY, "a"), (NO, "b,:all:")], ("sdist", "sdist", "sdist")),
    ([(NO, ":all:,a"), (ONLY, "a")], ("wheel", "sdist", "sdist")),
    # :none: takes back what the same option said
    ([(ONLY, ":none:")], (None, None, None)),
    ([(ONLY, "a"), (ONLY, ":none:")], (None, None, None)),
    ([(ONLY, "a"), (NO, "b"), (ONLY, ":none:")], (None, "sdist", None)),
    ([(ONLY, ":all:"), (ONLY, ":none:")], (None, None, None)),
    ([(ONLY, ":all:"), (NO, ":none:")], ("wheel", "wheel", "wheel")),
    ([(ONLY, "a,:none:,b")], (None, "wheel", None)),
    ([(ONLY, ":all:,:none:,a")], ("wheel", None, None)),
    ([(ONLY, "a"), (NO, "a,:none:")], (None, None, None)),
]


@pytest.mark.parametrize(("given", "only"), PIP)
def test_as_pip_has_it(given: Given, only: tuple[str | None, ...]) -> None:
    formats = formats_after(given)
    assert tuple(formats.only(name) for name in ("a", "b", "z")) == only


@pytest.mark.parametrize("spelled", ["Demo.Name", "demo_name", " demo-name ", "x,DEMO--NAME,,y,"])
def test_names_are_normalized(spelled: str) -> None:
    assert Formats().heed(ONLY, spelled).only("demo-name") == "wheel"


@pytest.mark.parametrize("option", [ONLY, NO])
@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("", "{} takes project names, :all: or :none:"),
        (" , ", "{} takes project names, :all: or :none:"),
        (":al:", "{}: ':al:' is neither a project name nor :all: or :none:"),
        ("a,--no-deps", "{}: '--no-deps' is neither a project name nor"),
        ("a b", "{}: 'a b' is neither a project name nor"),
        ("demo==1.0", "{}: 'demo==1.0' is neither a project name nor"),
    ],
)
def test_what_is_no_name_is_refused(option: str, value: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Formats().heed(option, value)
    assert str(caught.value).startswith(says.format(option))


def test_the_files_that_may_be_taken() -> None:
    wheel, sdist = (File(name, f"https://host/{name}") for name in ("a-1.0-py3-none-any.whl", "a-1.0.zip"))
    assert Formats().admit([sdist, wheel], "a") == [sdist, wheel]
    assert ONLY_WHEELS.admit([sdist, wheel], "a") == [wheel]
    assert Formats().heed(NO, "a").admit([sdist, wheel], "a") == [sdist]


def test_preferences_stay() -> None:
    formats = Formats(prefer="sdist", prefer_binary=True).heed(ONLY, "a").heed(NO, "b")
    assert (formats.prefer, formats.prefer_binary) == ("sdist", True)


_names = st.sampled_from(["a", "b", "z"])
_values = st.lists(st.one_of(_names, st.just(":all:"), st.just(":none:")), min_size=1, max_size=4).map(",".join)


@given(st.lists(st.tuples(st.sampled_from([ONLY, NO]), _values), max_size=4), st.sampled_from([ONLY, NO]), _names)
def test_what_is_named_last_counts(before: Given, option: str, name: str) -> None:
    after = formats_after([*before, (option, name)])
    assert after.only(name) == ("wheel" if option == ONLY else "sdist")
    others = {"a", "b", "z"} - {name}
    assert all(after.only(other) == formats_after(before).only(other) for other in others)
