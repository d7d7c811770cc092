from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from fetcher.errors import ConfigError
from fetcher.index.config import PYPI_URL, declare, read_config, search_order
from fetcher.index.scope import Index
from fetcher.index.urls import Userinfo

A, B, C = (f"https://{letter}.localhost/simple" for letter in "abc")
Write = Callable[..., Path]

PYPI = Index(PYPI_URL, name="pypi", default=True)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str | bytes, name: str = "uv.toml") -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


class TestFile:
    def test_every_key(self, write: Write) -> None:
        path = write(
            """
            [[index]]
            name = "corp.in-house_1"
            url = "https://user:p%40ss@a.localhost/root/awepy/+simple/"
            authenticate = "always"
            explicit = true
            roots = ["https://cdn.localhost/files"]
            format = "simple"
            publish-url = "https://a.localhost/upload"
            ignore-error-codes = [403]
            cache-control = { api = "max-age=600" }
            something-new = [[1], { a = 2 }]

            [[index]]
            url = "https://b.localhost/${NAME}/simple"
            default = true
            """
        )
        corp, other = read_config(path)
        assert corp == Index(
            "https://user:p%40ss@a.localhost/root/awepy/+simple",
            name="corp.in-house_1",
            authenticate="always",
            explicit=True,
            roots=("https://cdn.localhost/files",),
        )
        assert corp.userinfo == Userinfo("user", "p@ss")
        assert other.url == Index("https://b.localhost/${NAME}/simple").url
        assert (other.name, other.default, other.authenticate, other.explicit) == ("", True, "auto", False)

    def test_pip_style_keys(self, write: Write) -> None:
        path = write(f'index-url = "{A}"\nextra-index-url = ["{B}", "{C}"]\n')
        assert read_config(path) == [Index(B), Index(C), Index(A, name="default", default=True)]

    @pytest.mark.parametrize(
        "text", ["", "offline = true", "index = []", "[pip]\nindex-url = 5", "extra-index-url = []"]
    )
    def test_nothing_about_indexes(self, write: Write, text: str) -> None:
        assert read_config(write(text)) == []

    def test_pyproject_has_it_below_tool_uv(self, write: Write) -> None:
        text = f'[[index]]\nurl = "{B}"\n[[tool.uv.index]]\nname = "a"\nurl = "{A}"\n'
        assert read_config(write(text, "pyproject.toml")) == [Index(A, name="a")]
        assert read_config(write(text, "other.toml")) == [Index(B)]

    @pytest.mark.parametrize("text", ["", "[project]\nname = 'x'", "[tool]", "[tool.uv]", "[tool.ruff]"])
    def test_pyproject_without_it(self, write: Write, text: str) -> None:
        assert read_config(write(text, "pyproject.toml")) == []

    @pytest.mark.parametrize(("text", "key"), [("tool = 1", "tool"), ("[tool]\nuv = [1]", "uv")])
    def test_pyproject_with_something_else_there(self, write: Write, text: str, key: str) -> None:
        with pytest.raises(ConfigError, match=rf"pyproject\.toml.*`{key}` must be a table"):
            read_config(write(text, "pyproject.toml"))

    def test_a_path_as_text(self, write: Write) -> None:
        assert read_config(str(write(""))) == []


class TestFileErrors:
    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("index = 5", r": `index` must be an array of tables, \[\[index\]\]$"),
            ("index = [1]", r": `index` must be an array of tables"),
            ("[index]\nurl = 'x'", r": `index` must be an array of tables"),
            ("[[index]]", r": \[\[index\]\] table 1 has no `url`$"),
            (f"[[index]]\nurl = '{A}'\n[[index]]\nurl = 5", r": \[\[index\]\] table 2: `url` must be a string$"),
            (f"[[index]]\nurl = '{A}'\nname = true", r"table 1: `name` must be a string$"),
            (f"[[index]]\nurl = '{A}'\nname = ''", r"table 1: `name`: the name of an index cannot be empty$"),
            (f"[[index]]\nurl = '{A}'\nname = 'a b/ü'", r"table 1: `name`: .* only, this one has ' ' '/' 'ü'$"),
            (f"[[index]]\nurl = '{A}'\nexplicit = 'yes'", r"table 1: `explicit` must be true or false$"),
            (f"[[index]]\nurl = '{A}'\ndefault = 1", r"table 1: `default` must be true or false$"),
            (f"[[index]]\nurl = '{A}'\nroots = '{B}'", r"table 1: `roots` must be a list of URLs$"),
            (f"[[index]]\nurl = '{A}'\nroots = [1]", r"table 1: `roots` must be a list of URLs$"),
            (f"[[index]]\nurl = '{A}'\nroots = ['x']", r"table 1: `roots`: 'x' is not an http or https URL$"),
            (f"[[index]]\nurl = '{A}'\nauthenticate = true", r"table 1: `authenticate` must be a string$"),
            (f"[[index]]\nurl = '{A}'\nauthenticate = 'on'", r"`authenticate` must be auto, always, never, not 'on'$"),
            (
                f"[[index]]\nurl = '{A}'\nformat = 'flat'",
                r"table 1: `format` 'flat' is not supported: only the Simple API is$",
            ),
            ("[[index]]\nurl = './wheels'", r"table 1: `url`: './wheels' is not an http or https URL$"),
            ("index-url = 5", r": `index-url` must be a URL$"),
            ("index-url = 'file:///x'", r": `index-url`: 'file:///x' is not an http or https URL$"),
            ("extra-index-url = 'x'", r": `extra-index-url` must be a list of URLs$"),
            ("extra-index-url = [1]", r": `extra-index-url` must be a list of URLs$"),
            ("extra-index-url = ['x']", r": `extra-index-url`: 'x' is not an http or https URL$"),
            (
                f"[[index]]\nurl = '{A}'\nname = 'a'\n[[index]]\nurl = '{B}'\nname = 'a'",
                r": two indexes are named 'a'$",
            ),
            (
                f"[[index]]\nurl = '{A}'\nname = 'a'\ndefault = true\n[[index]]\nurl = '{B}'\ndefault = true",
                rf": there can be one default index, not 2: a, {B}$",
            ),
            (
                f"index-url = '{A}'\n[[index]]\nurl = '{B}'\nname = 'b'\ndefault = true",
                r": there can be one default index, not 2: b, default$",
            ),
            ("a = 1\n[[index\n", r" is not valid TOML: .*line 2"),
            (b"a = '\xff'", r" is not valid TOML: "),
            ("a = " + "[" * 10_000, r" is not valid TOML: "),
            ("a = 1" + "0" * 10_000, r" is not valid TOML: "),
        ],
    )
    def test_the_sentence_says_where(self, write: Write, text: str | bytes, reason: str) -> None:
        path = write(text)
        with pytest.raises(ConfigError, match=reason) as caught:
            read_config(path)
        assert str(caught.value).startswith(str(path))

    def test_a_file_that_cannot_be_read(self, tmp_path: Path) -> None:
        for path in (tmp_path / "missing.toml", tmp_path):
            with pytest.raises(ConfigError, match="cannot be read: ") as caught:
                read_config(path)
            assert str(caught.value).startswith(str(path))


class TestDeclare:
    def test_pypi_is_the_default(self) -> None:
        assert declare() == [PYPI]

    def test_order(self) -> None:
        configured = [
            Index("https://d.localhost/", name="d", default=True),
            Index("https://e.localhost/", name="e"),
            Index("https://f.localhost/"),
        ]
        declared = declare(named=[f"a={A}", B], extra_index_urls=[C, f"x={A}/x", f"{C}?a=b"], configured=configured)
        assert [index.name for index in declared] == ["a", "", "e", "", "extra-1", "x", "extra-2", "d"]
        assert [index.default for index in declared] == [False] * 7 + [True]
        assert [index.url for index in declared[:2]] == [A, B]

    def test_index_url(self) -> None:
        assert declare(index_url=A) == [Index(A, name="default", default=True)]
        assert declare(index_url=f"a={A}") == [Index(A, name="a", default=True)]

    def test_index_url_takes_the_place_of_the_files_default(self) -> None:
        configured = [Index(A, name="a", default=True), Index(B, name="b")]
        assert declare(index_url=C, configured=configured) == [
            Index(B, name="b"),
            Index(C, name="default", default=True),
        ]

    def test_a_flag_replaces_what_the_file_has_under_its_name(self) -> None:
        configured = [Index(A, name="a", authenticate="always", explicit=True), Index(B, name="b")]
        assert declare(named=[f"a={C}"], configured=configured) == [Index(C, name="a"), Index(B, name="b"), PYPI]
        assert declare(extra_index_urls=[f"a={C}"], configured=configured) == [
            Index(B, name="b"),
            Index(C, name="a"),
            PYPI,
        ]
        assert declare(index_url=f"a={C}", configured=configured) == [
            Index(B, name="b"),
            Index(C, name="a", default=True),
        ]

    @pytest.mark.parametrize("option", ["named", "extra_index_urls"])
    def test_what_replaces_the_default_is_the_default(self, option: str) -> None:
        configured = [Index(A, name="a", default=True)]
        declared = declare(**{option: [f"a={C.replace('//', '//user:pw@')}", B]}, configured=configured)  # type: ignore[arg-type]
        assert [(index.url, index.default) for index in declared] == [(B, False), (C, True)]
        assert declared[-1].userinfo == Userinfo("user", "pw")

    def test_a_file_may_call_another_index_pypi(self) -> None:
        configured = [Index(A, name="pypi")]
        assert declare(configured=configured) == [Index(A, name="pypi"), Index(PYPI_URL, default=True)]

    def test_a_number_that_is_taken(self) -> None:
        configured = [Index(A, name="extra-1")]
        names = [index.name for index in declare(extra_index_urls=[B, f"extra-2={C}", C], configured=configured)]
        assert names == ["extra-1", "extra-3", "extra-2", "extra-4", "pypi"]

    def test_a_url_may_hold_an_equals_sign(self) -> None:
        assert declare(named=["https://a.localhost/x=y/simple"])[0].url == "https://a.localhost/x=y/simple"

    @pytest.mark.parametrize("policy", ["auto", "always", "never"])
    def test_authenticate(self, policy: str) -> None:
        declared = declare(
            index_url="https://user:pw@a.localhost/simple",
            extra_index_urls=[B],
            named=[f"c={C}"],
            authenticate=["default=auto", f"default={policy}", f"extra-1={policy}", f"c={policy}"],
        )
        assert [index.authenticate for index in declared] == [policy] * 3
        assert declared[-1].userinfo == Userinfo("user", "pw")

    def test_authenticate_for_the_files_indexes_and_pypi(self) -> None:
        configured = [Index("https://user@a.localhost/simple", name="a", roots=(B,), explicit=True)]
        corp, pypi = declare(authenticate=["pypi=never", "a=always"], configured=configured)
        assert corp.userinfo == Userinfo("user", None)
        assert (corp.url, corp.name, corp.authenticate, corp.roots, corp.explicit) == (A, "a", "always", (B,), True)
        assert pypi.authenticate == "never"


class TestDeclareErrors:
    @pytest.mark.parametrize(
        ("flags", "reason"),
        [
            ({"named": ["a=nowhere"]}, r"^--index: 'nowhere' is not an http or https URL$"),
            ({"named": ["nowhere"]}, r"^--index: 'nowhere' is not an http or https URL$"),
            ({"named": [f"a b={A}"]}, r"^--index: an index name has .* only, this one has ' '$"),
            ({"named": [f"={A}"]}, r"^--index: the name of an index cannot be empty$"),
            ({"index_url": "nowhere"}, r"^--index-url: 'nowhere'"),
            ({"extra_index_urls": ["nowhere"]}, r"^--extra-index-url: 'nowhere'"),
            ({"named": [f"a={A}", f"a={B}"]}, r"^two indexes are named 'a'$"),
            ({"named": [f"a={A}"], "index_url": f"a={B}"}, r"^two indexes are named 'a'$"),
            ({"named": [f"a={A}"], "extra_index_urls": [f"a={B}"]}, r"^two indexes are named 'a'$"),
            ({"configured": [Index(A, name="a"), Index(B, name="a")]}, r"^two indexes are named 'a'$"),
            (
                {"configured": [Index(A, default=True), Index(B, default=True)], "index_url": C},
                rf"^there can be one default index, not 2: {A}, {B}$",
            ),
            ({"authenticate": ["a"]}, r"^--authenticate: it must be of the form NAME=POLICY$"),
            ({"authenticate": ["=always"]}, r"^--authenticate: the name of an index cannot be empty$"),
            (
                {"authenticate": ["corp=always"], "named": [f"a={A}", B]},
                r"^--authenticate: there is no index 'corp', there are: a, pypi$",
            ),
            (
                {"authenticate": ["corp=always"], "configured": [Index(A, default=True)]},
                r"^--authenticate: there is no index 'corp', there are: none with a name$",
            ),
            ({"authenticate": ["pypi=on"]}, r"^--authenticate pypi must be auto, always, never, not 'on'$"),
        ],
    )
    def test_the_sentence(self, flags: dict[str, object], reason: str) -> None:
        with pytest.raises(ConfigError, match=reason):
            declare(**flags)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        "text",
        [
            "user:hunter%32@a.localhost/simple",
            "https//user:hunter2@a.localhost/simple",
            "https:/user:hunter2@a.localhost/simple",
            "https:///user:hunter2@a.localhost/",
            "https://user:hunter2@a.localhost:99999/simple",
            "ftp://user:se@hunter2@a.localhost/simple",
            "ftp://a.localhost/simple?token=hunter2",
            "a=user:hunter2@a.localhost/simple",
            "hunter2/x=@a.localhost/simple",
        ],
    )
    def test_no_secret_is_in_it(self, write: Write, text: str) -> None:
        path = write(f"[[index]]\nurl = '{text}'")
        sentences: list[str] = []
        for flags in ({"index_url": text}, {"named": [text]}, {"extra_index_urls": [text]}, {"authenticate": [text]}):
            with pytest.raises(ConfigError) as caught:
                declare(**flags)
            sentences.append(str(caught.value))
        with pytest.raises(ConfigError) as caught:
            read_config(path)
        sentences.append(str(caught.value))
        assert not [sentence for sentence in sentences if "hunter2" in sentence or "hunter%32" in sentence]

    @given(st.text(max_size=20), st.sampled_from(["index_url", "named", "extra_index_urls", "authenticate"]))
    def test_any_text_is_indexes_or_an_error(self, text: str, option: str) -> None:
        flags = {option: text if option == "index_url" else [text]}
        try:
            declared = declare(**flags)  # type: ignore[arg-type]
        except ConfigError:
            return
        assert [index.default for index in declared].count(True) == 1


class TestSearchOrder:
    def test_explicit_ones_are_not_asked_and_the_default_is_asked_last(self) -> None:
        default, first, explicit, second = (
            Index(A, default=True),
            Index(B),
            Index("https://x.localhost/", explicit=True),
            Index(C),
        )
        assert search_order([default, first, explicit, second]) == [first, second, default]

    def test_no_url_is_asked_twice(self) -> None:
        assert search_order([Index(A, name="a"), Index(B), Index(f"{A}/", name="b", default=True)]) == [
            Index(A, name="a"),
            Index(B),
        ]

    def test_nothing(self) -> None:
        assert search_order([]) == []
