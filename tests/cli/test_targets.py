"""TARGETs and requirements files: what is asked for, and where an error is."""

import contextlib
import io
import os
import sys
import tempfile
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st
from packaging.markers import Marker
from packaging.tags import Tag
from packaging.version import Version

from fetcher.cli.requirements import Requested, read_requested
from fetcher.cli.targets import Target, find_file, interpreter_for
from fetcher.client import Fetcher
from fetcher.errors import ConfigError, DiskError, HashMismatch
from fetcher.index.formats import Formats

Write = Callable[..., Path]
AA, BB = "aa" * 32, "bb" * 32
URL = "https://host/files/demo-1.0-py3-none-any.whl"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str | bytes, name: str = "requirements.txt") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def requested(*arguments: str) -> Requested:
    return read_requested(arguments, [])


def texts(read: Requested) -> list[str]:
    return [target.text for target in read.targets]


# ------------------------------------------------------------------------------------------------------------ arguments


class TestArgument:
    @pytest.mark.parametrize(
        "text",
        ["demo", "demo==1.0", "demo >= 1, < 2", "demo[extra]~=1.0", "Demo.Name", "demo===1.0", "demo==1.*",
         'demo; python_version >= "3"', "demo (>=1)"],
    )  # fmt: skip
    def test_requirement(self, text: str) -> None:
        (target,) = requested(text).targets
        assert (target.text, target.url) == (text, None)
        assert target.requirement is not None
        assert target.requirement.name.lower().startswith("demo")

    @pytest.mark.parametrize(
        "url", [URL, "HTTPS://host/x.whl", "http://localhost:8080/x", f"{URL}#sha256={AA}", f"{URL}?a=b"]
    )
    def test_url(self, url: str) -> None:
        (target,) = requested(url).targets
        assert (target.url, target.requirement) == (url, None)

    @pytest.mark.parametrize("text", [f"demo @ {URL}", f"demo@{URL}", f"demo @ {URL}#sha256={AA}"])
    def test_direct_reference(self, text: str) -> None:
        (target,) = requested(text).targets
        assert target.url == text.partition("@")[2].strip()

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            (URL, URL),
            (f"demo @ {URL}", f"demo @ {URL}"),
            (f"demo[extra] @ {URL}", f"demo[extra] @ {URL}"),
            ("demo @ https://u:p@host/x.whl?sig=a", "demo @ https://***@host/x.whl?sig=***"),
        ],
    )
    def test_is_called_as_it_was_given(self, text: str, shown: str) -> None:
        assert texts(requested(text)) == [shown]

    @pytest.mark.parametrize(
        "text",
        [
            "https://user:S3CR3T@host/x.whl",
            "https://host/x.whl?sig=S3CR3T",
            "demo @ https://user:S3CR3T@host/x.whl?sig=S3CR3T",
        ],
    )
    def test_secrets_are_not_shown(self, text: str) -> None:
        (target,) = requested(text).targets
        assert "S3CR3T" not in target.text
        assert "S3CR3T" in (target.url or "")

    def test_no_secret_in_a_repr(self) -> None:
        url = "https://user:S3CR3T@host/x.whl?sig=S3CR3T"
        read = requested(url, f"demo @ {url}")
        read.index_url = url
        read.extra_index_urls.append(url)
        assert "S3CR3T" not in repr(read)

    @pytest.mark.parametrize(
        "text",
        ["", " ", "./demo.whl", "../x", "demo==", "demo=1", "==1.0", "demo 1.0", "a b", "demo[", "demo==1.0.x.y", "ftp://host/x",
         "user:S3CR3T@host/x", "https//user:S3CR3T@host/x", "-x", "demo; nonsense > 1", "démo", "\0"],
    )  # fmt: skip
    def test_neither(self, text: str) -> None:
        with pytest.raises(ConfigError, match="is neither a URL nor a requirement") as caught:
            requested(text)
        assert "S3CR3T" not in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_order(self) -> None:
        assert texts(requested("b", "a", "b", URL)) == ["b", "a", "b", URL]

    def test_nothing(self) -> None:
        with pytest.raises(ConfigError, match="nothing to fetch"):
            requested()

    @given(st.text())
    def test_any_text(self, text: str) -> None:
        try:
            (target,) = requested(text).targets
        except ConfigError:
            return
        assert target.url is not None or target.requirement is not None


# -------------------------------------------------------------------------------------------------- requirements files


class TestLines:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            pytest.param("a\nb==1\n", ["a", "b==1"], id="plain"),
            pytest.param("a", ["a"], id="no line break at the end"),
            pytest.param("\n\n  a  \n\t\n", ["a"], id="blank lines and white space"),
            pytest.param("a\r\nb\r\n", ["a", "b"], id="CRLF"),
            pytest.param("\ufeffa\n", ["a"], id="a byte order mark"),
            pytest.param("# a\n  # b\nc # d\ne\t# f", ["c", "e"], id="comments"),
            pytest.param("a==1 \\\n  # b\nc", ["a==1", "c"], id="a comment ends a continued line"),
            pytest.param("# a \\\nb", ["b"], id="a comment is not continued"),
            pytest.param("a \\\n >=1, \\\n <2\nb", ["a >=1, <2", "b"], id="continuations"),
            pytest.param("a \\", ["a"], id="a continuation of nothing"),
            pytest.param("a \\\n", ["a"], id="a continuation of an empty line"),
            pytest.param(f"{URL}#sha256={AA}", [URL], id="the # of a fragment is no comment"),
            pytest.param(f"{URL}#sha256={AA} # c", [URL], id="a comment after a fragment"),
        ],
    )
    def test_logical_lines(self, write: Write, text: str, expected: list[str]) -> None:
        read = texts(read_requested([], [write(text)]))
        assert [" ".join(line.split()) for line in read] == expected

    def test_the_fragment_stays_in_the_url(self, write: Write) -> None:
        (target,) = read_requested([], [write(f"{URL}#sha256={AA}  # comment")]).targets
        assert target.url == f"{URL}#sha256={AA}"

    def test_arguments_before_files_in_their_order(self, write: Write) -> None:
        files = [write("b\nc", "one.txt"), write("d", "two.txt")]
        assert texts(read_requested(["a"], files)) == ["a", "b", "c", "d"]

    @pytest.mark.parametrize(
        ("marker", "wanted"),
        [
            ('python_version < "3"', False),
            ('python_version >= "3"', True),
            (f'sys_platform == "{sys.platform}"', True),
            ('sys_platform == "plan9"', False),
            ('python_version >= "3" and sys_platform == "plan9"', False),
            ('extra == "x"', False),
        ],
    )
    @pytest.mark.parametrize("form", ["demo==1 ; {}", "demo==1;{}", f"{URL} ; {{}}", f"demo @ {URL} ; {{}}"])
    def test_markers(self, write: Write, form: str, marker: str, wanted: bool) -> None:
        read = read_requested(["other"], [write(form.format(marker))])
        targets = list(read.targets)
        assert len(targets) == read.count == 1 + wanted
        if wanted and URL in form:
            assert targets[1].url == URL

    @pytest.mark.parametrize(
        ("marker", "wanted"),
        [
            ('sys_platform == "win32"', True),
            ('python_version == "3.12"', True),
            ('python_full_version >= "3.12.0"', True),
            ('sys_platform == "linux"', False),
            ('platform_machine == "x86_64"', False),
        ],
    )
    def test_markers_for_another_interpreter(self, write: Write, marker: str, wanted: bool) -> None:
        read = read_requested(["other"], [write(f"demo ; {marker}")], [interpreter_for("3.12", ["win_amd64"])])
        assert texts(read)[1:] == [f"demo ; {marker}"] * wanted

    @pytest.mark.parametrize("marker", ['"x" in extras', 'python_version ~= "x"'])
    def test_a_marker_that_makes_no_sense(self, write: Write, marker: str) -> None:
        with pytest.raises(ConfigError, match=r"requirements\.txt, line 2: the marker .* makes no sense here"):
            read_requested([], [write(f"a\ndemo ; {marker}")])


class TestHashes:
    @pytest.mark.parametrize(
        ("line", "hashes"),
        [
            pytest.param(f"demo --hash=sha256:{AA}", {("sha256", AA)}, id="one"),
            pytest.param(f"demo --hash sha256:{AA}", {("sha256", AA)}, id="with a blank"),
            pytest.param(f"demo==1 --hash=sha256:{AA.upper()}", {("sha256", AA)}, id="upper case"),
            pytest.param(
                f"demo==1 \\\n    --hash=sha256:{AA} \\\n    --hash=sha256:{BB}",
                {("sha256", AA), ("sha256", BB)},
                id="as pip-compile",
            ),
            pytest.param(f"demo --hash=sha512:{AA}{AA} # c", {("sha512", AA + AA)}, id="another algorithm"),
            pytest.param(f"demo --hash=md5:{'a' * 32}", {("md5", "a" * 32)}, id="a weak algorithm"),
            pytest.param(f"{URL} --hash=sha256:{AA}", {("sha256", AA)}, id="of a URL"),
            pytest.param(f'demo ; python_version > "3" --hash=sha256:{AA}', {("sha256", AA)}, id="after a marker"),
            pytest.param("demo", set(), id="none"),
        ],
    )  # fmt: skip
    def test_read(self, write: Write, line: str, hashes: set[tuple[str, str]]) -> None:
        (target,) = read_requested([], [write(line)]).targets
        assert target.hashes == hashes
        assert "--hash" not in target.text

    @pytest.mark.parametrize(
        "stated",
        ["sha256:", "sha256", f":{AA}", f"crc32:{AA}", f"sha256={AA}", "sha256:xyz", f"sha256:{AA}0", f"SHA-256:{AA}"],
    )
    def test_no_hash(self, write: Write, stated: str) -> None:
        with pytest.raises(ConfigError, match=r"requirements\.txt, line 2: .*sha256:digest"):
            read_requested([], [write(f"a\ndemo --hash={stated}")])

    @pytest.mark.parametrize(
        "text",
        [
            "--require-hashes\n{good}\nother",
            "{good}\nother\n--require-hashes",
            "{good}\nother @ https://host/other-1-py3-none-any.whl\n--require-hashes",
        ],
    )
    def test_required(self, write: Write, text: str) -> None:
        path = write(text.format(good=f"demo --hash=sha256:{AA}"))
        with pytest.raises(ConfigError, match=r"--require-hashes .* other"):
            read_requested([], [path])

    def test_required_and_there(self, write: Write) -> None:
        path = write(f"--require-hashes\ndemo --hash=sha256:{AA}\n{URL} --hash=sha256:{BB}\n{URL}#sha256={AA}")
        assert texts(read_requested([], [path])) == ["demo", URL, URL]

    def test_another_fragment_is_no_hash(self, write: Write) -> None:
        with pytest.raises(ConfigError, match="--require-hashes"):
            read_requested([], [write(f"--require-hashes\n{URL}#egg=demo")])


class TestOptions:
    @pytest.mark.parametrize(
        "form", ["-i {}", "--index-url {}", "--index-url={}", "--index-url = {}", "-i={}", "-i '{}'", '-i "{}"']
    )
    @pytest.mark.parametrize(
        "url",
        ["https://host/simple", "https://u:to==@host/simple", "https://host/s?a=b&c=d", "https://u:p%40@host/a=b/"],
    )
    def test_index_url(self, write: Write, form: str, url: str) -> None:
        read = read_requested([], [write(form.format(url) + "\ndemo")])
        assert (read.index_url, texts(read)) == (url, ["demo"])

    @pytest.mark.parametrize(
        ("text", "url"),
        [
            ("https://${TOKEN}@host/", "https://S3CR3T@host/"),
            ("https://${USER_1}:${TOKEN}@host/${TOKEN}", "https://me:S3CR3T@host/S3CR3T"),
            ("https://${NOT_SET}@host/", "https://${NOT_SET}@host/"),
            ("https://${token}@host/", "https://${token}@host/"),
            ("https://$TOKEN@host/", "https://$TOKEN@host/"),
        ],
    )
    def test_variables(self, write: Write, monkeypatch: pytest.MonkeyPatch, text: str, url: str) -> None:
        """`${NAME}` as pip has it: upper case only, and left alone where it is not set."""
        monkeypatch.setenv("TOKEN", "S3CR3T")
        monkeypatch.setenv("USER_1", "me")
        assert read_requested([], [write(f"-i {text}\ndemo")]).index_url == url

    def test_a_variable_is_not_shown(self, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TOKEN", "S3CR3T")
        for line in (
            "-r https://${TOKEN}@host/x.txt",
            "-f https://${TOKEN}@host/",
            "user:${TOKEN}@host/x",
            "https://${TOKEN}@h/ x",
        ):
            with pytest.raises(ConfigError) as caught:
                read_requested([], [write(line)])
            assert "S3CR3T" not in str(caught.value)

    def test_the_last_index_url_counts(self, write: Write) -> None:
        assert read_requested([], [write("-i https://a/\ndemo\n-i https://b/")]).index_url == "https://b/"

    def test_extra_index_urls_are_added(self, write: Write) -> None:
        text = "--extra-index-url https://a/\n--extra-index-url=https://u:x==@b/ # c\ndemo"
        assert read_requested([], [write(text)]).extra_index_urls == ["https://a/", "https://u:x==@b/"]

    def test_none(self, write: Write) -> None:
        read = read_requested([], [write("demo")])
        assert (read.index_url, read.extra_index_urls) == (None, [])

    @pytest.mark.parametrize("option", ["--no-deps", "--trusted-host host"])
    def test_what_is_done_anyway(self, write: Write, option: str) -> None:
        assert texts(read_requested([], [write(f"{option}\ndemo")])) == ["demo"]

    @pytest.mark.parametrize(
        "option",
        ["-e .", "--editable .", "-f https://u:S3CR3T@h/",
         "--find-links=S3CR3T", "--no-index", "--pre", "--unknown",
         "-", "--", "-x S3CR3T"],
    )  # fmt: skip
    def test_what_cannot_be_done_is_refused(self, write: Write, option: str) -> None:
        with pytest.raises(ConfigError, match=r"requirements\.txt, line 2: the option .* is not supported") as caught:
            read_requested([], [write(f"demo\n{option}")])
        assert "S3CR3T" not in str(caught.value)


class TestConstraints:
    """They narrow what is asked for, and ask for nothing themselves."""

    def test_in_a_file_and_by_the_flag(self, write: Write) -> None:
        path = write("-c c.txt\nDemo>=1\nother")
        (path.parent / "c.txt").write_text("demo<3 # why\nnobody==1\nother==2; python_version < '3'")
        (path.parent / "d.txt").write_text("demo!=2")
        read = read_requested(["demo"], [path], constraints=[path.parent / "d.txt"])
        assert read.constraints == {"demo": "<3,!=2", "nobody": "==1"}
        narrowed = [str(target.requirement.specifier) for target in read.targets if target.requirement is not None]
        assert [set(filter(None, each.split(","))) for each in narrowed] == [{"<3", "!=2"}, {">=1", "<3", "!=2"}, set()]
        assert read.count == 3

    @pytest.mark.parametrize("line", ["https://host/demo-1.0.tar.gz", "demo @ https://host/x.whl", "demo[x]<2", "???"])
    def test_what_is_none(self, write: Write, line: str) -> None:
        path = write("demo")
        (path.parent / "c.txt").write_text(f"\n{line}\n")
        with pytest.raises(ConfigError, match=r"c\.txt, line 2: "):
            read_requested([], [path], constraints=[path.parent / "c.txt"])

    @pytest.mark.parametrize("line", ["-c nobody.txt", "--constraint https://host/c.txt"])
    def test_what_cannot_be_read(self, write: Write, line: str) -> None:
        with pytest.raises(ConfigError, match=r"requirements\.txt, line 2: "):
            read_requested([], [write(f"demo\n{line}")])


class TestFormatLines:
    """They come after the command's flags, in the order of the lines, as for pip."""

    @pytest.mark.parametrize(
        ("text", "only"),
        [
            ("demo\nother", (None, None)),
            ("--only-binary :all:\ndemo", ("wheel", "wheel")),
            ("demo\n--only-binary=:all: # wherever it stands", ("wheel", "wheel")),
            ("--no-binary Demo\ndemo", ("sdist", None)),
            ('--no-binary "demo,other"\ndemo', ("sdist", "sdist")),
            ("--only-binary :all:\n--no-binary=demo\ndemo", ("sdist", "wheel")),
            ("--no-binary demo\n--only-binary :all:\ndemo", ("wheel", "wheel")),
            ("--no-binary :all:\n--no-binary :none:\ndemo", (None, None)),
        ],
    )
    def test_only_and_no_binary(self, write: Write, text: str, only: tuple[str | None, ...]) -> None:
        formats = read_requested([], [write(text)]).formats
        assert (formats.only("demo"), formats.only("other")) == only

    def test_of_nested_files(self, write: Write) -> None:
        write("--only-binary demo\nb", "b.txt")
        formats = read_requested([], [write("--no-binary demo,b\n-r b.txt\n--no-binary other")]).formats
        assert [formats.only(name) for name in ("demo", "b", "other")] == ["wheel", "sdist", "sdist"]

    def test_after_the_flags(self, write: Write) -> None:
        flags = Formats(prefer="sdist").heed("--only-binary", ":all:").heed("--no-binary", "other")
        formats = read_requested([], [write("--no-binary demo\na")], formats=flags).formats
        assert [formats.only(name) for name in ("demo", "other", "a")] == ["sdist", "sdist", "wheel"]
        assert (formats.prefer, formats.prefer_binary) == ("sdist", False)

    def test_prefer_binary(self, write: Write) -> None:
        assert read_requested([], [write("demo\n--prefer-binary")]).formats == Formats(prefer_binary=True)

    @pytest.mark.parametrize("line", ["--only-binary", "--no-binary=", "--only-binary :al:", "--no-binary ./demo"])
    def test_what_makes_no_sense(self, write: Write, line: str) -> None:
        with pytest.raises(ConfigError, match=r"requirements\.txt, line 2: --(only|no)-binary"):
            read_requested([], [write(f"demo\n{line}")])


class TestNested:
    @pytest.mark.parametrize(
        ("option", "name"),
        [
            ("-r other.txt", "other.txt"),
            ("-r=other.txt", "other.txt"),
            ("--requirement other.txt", "other.txt"),
            ("--requirement=other.txt", "other.txt"),
            ("-r other.txt # comment", "other.txt"),
            ("-r 'other file.txt'", "other file.txt"),
            ("-r a=b.txt", "a=b.txt"),
            ("-r sub/other.txt", "sub/other.txt"),
        ],
    )
    def test_relative_to_the_file(self, write: Write, option: str, name: str) -> None:
        write("b\n", name)
        assert texts(read_requested([], [write(f"a\n{option}\nc")])) == ["a", "b", "c"]

    def test_relative_to_each_file(self, write: Write) -> None:
        write("-r down/c.txt\n", "sub/b.txt")
        write("c", "sub/down/c.txt")
        write("never", "down/c.txt")
        assert texts(read_requested([], [write("-r sub/b.txt")])) == ["c"]

    def test_options_of_nested_files_count(self, write: Write) -> None:
        write("-i https://host/simple\nb", "b.txt")
        assert read_requested([], [write("-r b.txt")]).index_url == "https://host/simple"

    def test_the_same_file_twice_is_no_cycle(self, write: Write) -> None:
        write("d", "d.txt")
        write("-r d.txt", "b.txt")
        assert texts(read_requested([], [write("-r b.txt\n-r d.txt")])) == ["d", "d"]

    @pytest.mark.parametrize("path", ["a.txt", "./a.txt", "sub/../a.txt"])
    def test_cycle(self, write: Write, path: str, tmp_path: Path) -> None:
        (tmp_path / "sub").mkdir()
        write(f"x\n-r {path}", "b.txt")
        with pytest.raises(ConfigError, match="includes itself") as caught:
            read_requested([], [write("-r b.txt", "a.txt")])
        assert f"{tmp_path / 'a.txt'}, line 1: {tmp_path / 'b.txt'}, line 2: " in str(caught.value)

    def test_cycle_by_a_link(self, write: Write, tmp_path: Path) -> None:
        path = write("-r link.txt", "a.txt")
        (tmp_path / "link.txt").symlink_to(path)
        with pytest.raises(ConfigError, match="includes itself"):
            read_requested([], [path])

    @pytest.mark.parametrize("name", ["missing.txt", "https://user:S3CR3T@host/x.txt", "/no/such/dir/x.txt", "a\0b"])
    def test_what_cannot_be_read(self, write: Write, name: str) -> None:
        with pytest.raises(ConfigError, match=r"requirements\.txt, line 3: ") as caught:
            read_requested([], [write(f"a\n\n-r {name}")])
        assert "S3CR3T" not in str(caught.value)


class TestBadFile:
    @pytest.mark.parametrize(
        ("text", "says"),
        [
            pytest.param("a\n\n./local.whl", "line 3: './local.whl' is neither", id="a path"),
            pytest.param("# c\na \\\n  b c", "line 2: ", id="the line where it begins"),
            pytest.param("a\nhttps://u:S3CR3T@h/x.whl nonsense", "line 2: ", id="words after a URL"),
            pytest.param("a\nuser:S3CR3T@host/x", "line 2: ", id="a secret"),
            pytest.param("a --global-option=x", "line 1: ", id="an option of a requirement"),
            pytest.param("", "nothing to fetch", id="empty"),
            pytest.param("# nothing", "nothing to fetch", id="comments only"),
        ],
    )
    def test_error(self, write: Write, text: str, says: str) -> None:
        path = write(text)
        with pytest.raises(ConfigError) as caught:
            read_requested([], [path])
        assert says in str(caught.value)
        assert str(path) in str(caught.value) or says == "nothing to fetch"
        assert "S3CR3T" not in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"cannot read .*x\.txt: No such file"):
            read_requested([], [tmp_path / "x.txt"])

    def test_a_directory(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"cannot read .*: Is a directory"):
            read_requested([], [tmp_path])

    def test_not_utf8(self, write: Write) -> None:
        with pytest.raises(ConfigError, match=r"requirements\.txt: it is not UTF-8"):
            read_requested([], [write(b"demo # \xff")])

    @given(st.text(max_size=50))
    def test_any_text(self, text: str) -> None:
        with tempfile.TemporaryDirectory() as folder, contextlib.suppress(ConfigError):
            path = Path(folder, "r.txt")
            path.write_text(text, encoding="utf-8", errors="replace", newline="")
            read = read_requested([], [path])
            assert len(texts(read)) == read.count > 0


class TestStdin:
    @pytest.fixture
    def type_in(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[str | bytes], None]:
        def type_in(text: str | bytes) -> None:
            typed = io.BytesIO(text if isinstance(text, bytes) else text.encode())
            monkeypatch.setattr("sys.stdin", io.TextIOWrapper(typed))

        return type_in

    def test_as_a_target(self, type_in: Callable[[str], None], write: Write) -> None:
        type_in(f"\ufeffb==1 # comment\r\n\nc --hash=sha256:{AA}\nd ; sys_platform == 'plan9'\n{URL}")
        read = read_requested(["a", "-", "e"], [write("f")])
        b, c = (targets := list(read.targets))[1:3]
        assert [target.text for target in targets] == ["a", "b==1", "c", URL, "e", "f"]
        assert (b.hashes, c.hashes, read.count) == (set(), {("sha256", AA)}, 6)
        assert not sys.stdin.buffer.closed

    def test_as_a_file(self, type_in: Callable[[str], None], write: Write) -> None:
        type_in("-i https://host/simple\nb")
        read = read_requested(["a"], [write("c"), Path("-")])
        assert (texts(read), read.index_url) == (["a", "c", "b"], "https://host/simple")

    def test_files_it_names_are_relative_to_here(
        self, type_in: Callable[[str], None], write: Write, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(write("b").parent)
        type_in("a\n-r requirements.txt")
        assert texts(requested("-")) == ["a", "b"]

    def test_only_once(self, type_in: Callable[[str], None]) -> None:
        type_in("a")
        with pytest.raises(ConfigError, match="only once"):
            read_requested(["-"], [Path("-")])

    def test_is_not_a_line(self, type_in: Callable[[str], None], write: Write) -> None:
        type_in("a")
        with pytest.raises(ConfigError, match="the option - is not supported"):
            read_requested([], [write("-")])
        with pytest.raises(ConfigError, match=r"cannot read .*-: No such file"):
            read_requested([], [write("-r -")])

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("a\n./b.whl", "<stdin>, line 2: './b.whl' is neither"),
            (b"a # \xff", "cannot read <stdin>: it is not UTF-8"),
            ("", "nothing to fetch"),
        ],
    )
    def test_error(self, type_in: Callable[[str | bytes], None], text: str | bytes, says: str) -> None:
        type_in(text)
        with pytest.raises(ConfigError, match=says):
            requested("-")


class TestMemory:
    def test_a_hundred_thousand_lines(self, tmp_path: Path) -> None:
        """What would take more than 50 MB as a list."""
        path = tmp_path / "r.txt"
        with path.open("w") as file:
            for number in range(100_000):
                url = f"https://host/{number:064x}/demo-{number}-py3-none-any.whl\n"
                file.write(url if number % 10 else f"demo-{number}=={number} --hash=sha256:{number:064x}\n")
        tracemalloc.start()
        try:
            read = read_requested([], [path])
            assert sum(1 for _ in read.targets) == read.count == 100_000
            assert tracemalloc.get_traced_memory()[1] < 5e6
        finally:
            tracemalloc.stop()

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
    def test_a_file_is_read_once(self, tmp_path: Path) -> None:
        """`-r <(pip freeze)`"""
        path = tmp_path / "pipe"
        os.mkfifo(path)
        writer = threading.Thread(target=path.write_text, args=("a\nb",))
        writer.start()
        assert texts(read_requested([], [path])) == ["a", "b"]
        writer.join()

    def test_what_a_variable_holds_is_not_written_down(self, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
        written = io.BytesIO()
        monkeypatch.setattr("tempfile.SpooledTemporaryFile", lambda **_: written)
        monkeypatch.setenv("TOKEN", "S3CR3T")
        read = read_requested([], [write(URL.replace("host", "${TOKEN}@host"))])
        assert b"${TOKEN}" in written.getvalue()
        assert [target.url for target in read.targets] == [URL.replace("host", "S3CR3T@host")]

    def test_no_room_for_it(self, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
        class Full(io.BytesIO):
            def write(self, data: Any) -> int:
                raise OSError(28, "No space left on device")

        monkeypatch.setattr("tempfile.SpooledTemporaryFile", lambda **_: Full())
        with pytest.raises(DiskError, match=r"a temporary file in .*: No space left on device"):
            read_requested([], [write("a")])


# ---------------------------------------------------------------------------------------------------------- what is got


async def found(target: Target) -> Any:
    return await find_file(Fetcher(["https://host/simple"], environ={}), target, interpreter_for(None, []), Formats())


class TestFileOfAUrl:
    async def test_plain(self) -> None:
        file = await found(Target(URL, url=URL))
        assert (file.filename, file.url, dict(file.hashes)) == ("demo-1.0-py3-none-any.whl", URL, {})

    async def test_fragment(self) -> None:
        file = await found(Target(URL, url=f"{URL}#sha256={AA}&egg=demo"))
        assert (file.url, dict(file.hashes)) == (URL, {"sha256": AA})

    async def test_hash_option(self) -> None:
        file = await found(Target(URL, url=URL, hashes=frozenset({("sha256", AA)})))
        assert dict(file.hashes) == {"sha256": AA}

    async def test_hash_option_and_fragment(self) -> None:
        file = await found(Target(URL, url=f"{URL}#sha256={AA}", hashes=frozenset({("sha256", AA), ("sha256", BB)})))
        assert dict(file.hashes) == {"sha256": AA}

    async def test_hash_option_against_fragment(self) -> None:
        with pytest.raises(HashMismatch):
            await found(Target(URL, url=f"{URL}#sha256={AA}", hashes=frozenset({("sha256", BB)})))

    async def test_several_hashes_and_nothing_to_choose_by(self) -> None:
        with pytest.raises(ConfigError, match="--hash"):
            await found(Target(URL, url=URL, hashes=frozenset({("sha256", AA), ("sha256", BB)})))

    async def test_of_any_format(self) -> None:
        """It was chosen already; pip does not ask either."""
        url = "https://host/files/demo-1.0.tar.gz"
        none = Formats().heed("--only-binary", ":all:")
        target = Target(url, url=url)
        assert (await find_file(Fetcher([]), target, interpreter_for(None, []), none)).filename == "demo-1.0.tar.gz"

    @pytest.mark.parametrize("url", ["ftp://host/x.whl", "file:///x.whl", "git+https://host/x", "https://host:99999/"])
    async def test_not_http(self, url: str) -> None:
        with pytest.raises(ConfigError, match="is not an http or https URL"):
            await found(Target(url, url=url))


class TestInterpreter:
    def test_this_one(self) -> None:
        target = interpreter_for(None, [])
        assert target.python == Version(".".join(map(str, sys.version_info[:3])))
        assert Tag(f"py{sys.version_info[0]}", "none", "any") in target.ranks

    def test_another_version(self) -> None:
        target = interpreter_for("3.12", [])
        assert target.python == Version("3.12")
        assert Tag("py312", "none", "any") in target.ranks

    def test_another_platform(self) -> None:
        target = interpreter_for(None, ["win_amd64"])
        own = f"cp{sys.version_info[0]}{sys.version_info[1]}"
        assert target.python.release[:2] == sys.version_info[:2]
        assert Tag(own, own, "win_amd64") in target.ranks

    def test_bad_version(self) -> None:
        with pytest.raises(ConfigError):
            interpreter_for("three", [])

    @pytest.mark.parametrize(
        ("version", "platforms", "marker"),
        [
            ("3.12", [], 'python_version == "3.12" and python_full_version == "3.12.0"'),
            ("3.12.4", [], 'python_version == "3.12" and implementation_version == "3.12.4"'),
            ("3.12", [], f'sys_platform == "{sys.platform}" and platform_python_implementation == "CPython"'),
            (None, ["win_amd64"], 'sys_platform == "win32" and os_name == "nt" and platform_machine == "AMD64"'),
            (None, ["win32"], 'platform_system == "Windows" and platform_machine == "x86"'),
            (None, ["win-arm64"], 'platform_system == "Windows" and platform_machine == "ARM64"'),
            (None, ["macosx_11_0_arm64"], 'sys_platform == "darwin" and platform_machine == "arm64"'),
            (None, ["macosx-10.9-x86_64"], 'platform_system == "Darwin" and platform_machine == "x86_64"'),
            (None, ["manylinux2014_aarch64"], 'sys_platform == "linux" and platform_machine == "aarch64"'),
            (None, ["manylinux_2_28_x86_64"], 'platform_system == "Linux" and platform_machine == "x86_64"'),
            (None, ["musllinux_1_2_x86_64"], 'os_name == "posix" and platform_machine == "x86_64"'),
            (None, ["linux_armv7l"], 'sys_platform == "linux" and platform_machine == "armv7l"'),
            (None, ["win_amd64", "linux_x86_64"], 'sys_platform == "win32"'),
            (None, ["plan9_mips"], 'sys_platform != "linux" and sys_platform != "win32" and platform_release == ""'),
        ],
    )
    def test_what_markers_see(self, version: str | None, platforms: list[str], marker: str) -> None:
        assert Marker(marker).evaluate(interpreter_for(version, platforms).environment)

    def test_markers_see_this_one(self) -> None:
        assert interpreter_for(None, []).environment == {}
