"""Where credentials come from: URL, environment, netrc."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from fetcher.auth.credentials import Basic, Bearer, Candidate, choose
from fetcher.auth.sources import Netrc, from_environment, from_userinfo, netrc_path, read_netrc
from fetcher.index.scope import Index
from fetcher.index.urls import Userinfo

SECRET = "S3CR3T"
Write = Callable[..., Path]


def index(name: str = "corp") -> Index:
    return Index("https://host/simple", name=name)


# ------------------------------------------------------------------------------------------------------------- userinfo


def test_userinfo() -> None:
    assert from_userinfo(None, "the index URL") == []
    assert from_userinfo(Userinfo("a", "b"), "the index URL") == [Candidate("the index URL", "a", "b")]
    assert from_userinfo(Userinfo("a"), "the index URL") == [Candidate("the index URL", "a", None)]


# ---------------------------------------------------------------------------------------------------------- environment


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("corp", "CORP"),
        ("Corp", "CORP"),
        ("my-index", "MY_INDEX"),
        ("my.index_2", "MY_INDEX_2"),
        ("a--b", "A__B"),
        ("-x-", "_X_"),
        ("7", "7"),
        ("büro", "B_RO"),  # uv: what is not alphanumeric ASCII is an underscore
        ("ﬀ", "_"),
        ("a b", "A_B"),
    ],
)
@pytest.mark.parametrize("prefix", ["FETCHER_INDEX", "UV_INDEX"])
def test_the_variable_of_an_index(prefix: str, name: str, variable: str) -> None:
    environ = {f"{prefix}_{variable}_USERNAME": "user", f"{prefix}_{variable}_PASSWORD": SECRET}
    known = choose(from_environment(index(name), environ))
    assert known is not None
    assert known.credentials == Basic("user", SECRET)
    assert f"{prefix}_{variable}_PASSWORD" in known.source


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        pytest.param({}, None, id="nothing"),
        pytest.param({"USERNAME": "a", "PASSWORD": "b"}, Basic("a", "b"), id="both"),
        pytest.param({"USERNAME": "a", "PASSWORD": ""}, Basic("a", ""), id="an empty password"),
        pytest.param({"USERNAME": "", "PASSWORD": "b"}, Basic("", "b"), id="an empty username"),
        pytest.param({"PASSWORD": "b"}, Basic("", "b"), id="a password alone"),
        pytest.param({"TOKEN": "t"}, Bearer("t"), id="a token"),
        pytest.param({"TOKEN": ""}, None, id="an empty token is none"),
        pytest.param({"USERNAME": ""}, None, id="an empty username alone is none"),
        pytest.param({"TOKEN": "", "USERNAME": "a", "PASSWORD": "b"}, Basic("a", "b"), id="an empty token, and both"),
        pytest.param({"TOKEN": "t", "USERNAME": "a", "PASSWORD": "b"}, Bearer("t"), id="the token first"),
    ],
)
def test_combinations(environ: dict[str, str], expected: object) -> None:
    known = choose(from_environment(index(), {f"FETCHER_INDEX_CORP_{key}": value for key, value in environ.items()}))
    assert (None if known is None else known.credentials) == expected


def test_username_alone_waits_for_a_password() -> None:
    found = from_environment(index(), {"FETCHER_INDEX_CORP_USERNAME": "a"})
    assert choose(found) is not None
    assert not choose(found).complete  # type: ignore[union-attr]
    assert choose([*found, Candidate("netrc", "a", "b")]).credentials == Basic("a", "b")  # type: ignore[union-attr]


def test_ours_before_uvs() -> None:
    environ = {
        "UV_INDEX_CORP_USERNAME": "uv",
        "UV_INDEX_CORP_PASSWORD": "uv",
        "FETCHER_INDEX_CORP_USERNAME": "ours",
        "FETCHER_INDEX_CORP_PASSWORD": "ours",
    }
    known = choose(from_environment(index(), environ))
    assert known is not None
    assert known.credentials == Basic("ours", "ours")


def test_username_here_password_there() -> None:
    environ = {"FETCHER_INDEX_CORP_USERNAME": "a", "UV_INDEX_CORP_PASSWORD": "b"}
    known = choose(from_environment(index(), environ))
    assert known is not None
    assert known.credentials == Basic("a", "b")
    assert "UV_INDEX_CORP_PASSWORD" in known.source


@pytest.mark.parametrize(
    "environ",
    [
        {"FETCHER_INDEX_OTHER_PASSWORD": SECRET},
        {"FETCHER_INDEX_CORP2_PASSWORD": SECRET},
        {"FETCHER_INDEX__PASSWORD": SECRET},
        {"FETCHER_INDEX_PASSWORD": SECRET},
        {"INDEX_CORP_PASSWORD": SECRET},
        {"PIP_INDEX_CORP_PASSWORD": SECRET},
        {"FETCHER_INDEX_corp_PASSWORD": SECRET},
    ],
    ids=lambda environ: next(iter(environ)),
)
def test_variables_of_something_else(environ: dict[str, str]) -> None:
    assert from_environment(index(), environ) == []


def test_an_index_without_a_name_has_no_variables() -> None:
    environ = {"FETCHER_INDEX__PASSWORD": SECRET, "FETCHER_INDEX_PASSWORD": SECRET, "UV_INDEX__TOKEN": SECRET}
    assert from_environment(index(""), environ) == []


# ---------------------------------------------------------------------------------------------------------------- netrc


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str | bytes, name: str = ".netrc") -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def known_of(netrc: Netrc, host: str, *, use_default: bool = False) -> object:
    known = choose(netrc.candidates(host, use_default=use_default))
    return None if known is None else known.credentials


TWO = "machine host login a password b\nmachine sub.host login c password d\ndefault login e password f\n"


@pytest.mark.parametrize(
    ("host", "use_default", "expected"),
    [
        pytest.param("host", False, Basic("a", "b"), id="exact"),
        pytest.param("host", True, Basic("a", "b"), id="exact beats default"),
        pytest.param("sub.host", False, Basic("c", "d"), id="another machine"),
        pytest.param("other.host", False, None, id="a subdomain is another machine"),
        pytest.param("ost", False, None, id="a part is another machine"),
        pytest.param("host.evil", False, None, id="a prefix is another machine"),
        pytest.param("default", False, None, id="a host called default"),
        pytest.param("other", False, None, id="default is not used outside scopes"),
        pytest.param("other", True, Basic("e", "f"), id="default is used inside"),
        pytest.param("host:8080", False, None, id="machines have no port"),
    ],
)
def test_machine(write: Write, host: str, use_default: bool, expected: object) -> None:
    assert known_of(read_netrc(write(TWO)), host, use_default=use_default) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("machine host\nlogin a\npassword b", Basic("a", "b"), id="on several lines"),
        pytest.param("machine HOST login a password b", Basic("a", "b"), id="any case"),
        pytest.param("machine host login a account x password b", Basic("a", "b"), id="an account"),
        pytest.param('machine host login a password "b c"', Basic("a", "b c"), id="quoted"),
        pytest.param("machine host login a password b#c", Basic("a", "b#c"), id="a hash in a password"),
        pytest.param("# machine host\nmachine host login a password b # c", Basic("a", "b"), id="comments"),
        pytest.param("machine host password b", Basic("", "b"), id="no login"),
        pytest.param("machine host login a password ü", Basic("a", "ü"), id="UTF-8"),
        pytest.param("macdef x\n ls\n\nmachine host login a password b", Basic("a", "b"), id="macros"),
        pytest.param("", None, id="empty"),
    ],
)
def test_netrc_forms(write: Write, text: str, expected: object) -> None:
    assert known_of(read_netrc(write(text)), "host") == expected


def test_source_names_file_and_machine(write: Write) -> None:
    netrc = read_netrc(write(TWO, "my-netrc"))
    assert [candidate.source for candidate in netrc.candidates("host", use_default=False)] == [
        "my-netrc (machine host)"
    ]
    assert [candidate.source for candidate in netrc.candidates("x", use_default=True)] == ["my-netrc (default)"]


@pytest.mark.parametrize(
    "text",
    [
        f"machine host login user password {SECRET} {SECRET}",
        f"{SECRET}",
        f"machine host login user password {SECRET}\nmachine {SECRET}2 {SECRET}",
        f"macdef init\n{SECRET}",
        b"machine host login user password " + SECRET.encode() + b"\xff\xfe",
    ],
    ids=["a word too many", "no keyword", "second entry", "open macro", "not UTF-8"],
)
def test_a_broken_file_is_ignored_with_a_warning(
    write: Write, text: str | bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(text)
    netrc = read_netrc(path)
    assert known_of(netrc, "host", use_default=True) is None
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert str(path) in caplog.text
    assert SECRET not in caplog.text
    assert record.exc_info is None


def test_a_file_that_cannot_be_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert known_of(read_netrc(tmp_path), "host", use_default=True) is None
    assert f"{tmp_path} is ignored" in caplog.text


def test_a_missing_file_is_nothing_to_warn_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert known_of(read_netrc(tmp_path / ".netrc"), "host", use_default=True) is None
    assert not caplog.records


def test_permissions_are_not_our_concern(write: Write) -> None:
    path = write(TWO)
    path.chmod(0o666)
    assert known_of(read_netrc(path), "host") == Basic("a", "b")


class TestPath:
    def test_named(self, tmp_path: Path) -> None:
        assert netrc_path({"NETRC": str(tmp_path / "mine")}, tmp_path) == tmp_path / "mine"

    @pytest.mark.parametrize("environ", [{}, {"NETRC": ""}])
    def test_home(self, tmp_path: Path, environ: dict[str, str]) -> None:
        assert netrc_path(environ, tmp_path) == tmp_path / ".netrc"

    def test_windows_name_where_only_that_exists(self, tmp_path: Path, write: Write) -> None:
        write("", "_netrc")
        assert netrc_path({}, tmp_path) == tmp_path / "_netrc"
        write("", ".netrc")
        assert netrc_path({}, tmp_path) == tmp_path / ".netrc"
