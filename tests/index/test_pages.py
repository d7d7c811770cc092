import json
import pickle
from collections.abc import Mapping
from html import escape
from typing import Any
from urllib.parse import urljoin

import pytest
from hypothesis import given, strategies as st
from packaging.tags import Tag
from packaging.version import Version

from fetcher.errors import BadPage
from fetcher.index.files import File, Project, is_safe_name
from fetcher.index.pages import parse_page
from fetcher.index.scope import Index
from fetcher.index.urls import parse_url

PAGE = "https://index.localhost/simple/demo/"
WHEEL = "demo-1.0-py3-none-any.whl"
SHA256 = "0a" * 32
OTHER = "1b" * 32
CORP = Index("https://index.localhost/simple", name="corp")


def read(body: bytes | str, *, url: str = PAGE, charset: str | None = None) -> Project:
    content = body if isinstance(body, bytes) else body.encode()
    return parse_page(content, url=url, name="Demo", listed_by=CORP, charset=charset)


def json_page(*files: object, **more: object) -> bytes:
    page: dict[str, object] = {"meta": {"api-version": "1.4"}, "name": "demo", "files": files}
    return json.dumps({**page, **more}).encode()


def json_file(**facts: object) -> dict[str, object]:
    return {"filename": WHEEL, "url": WHEEL, "hashes": {}, **facts}


def from_json(**facts: object) -> File:
    (file,) = read(json_page(json_file(**facts))).files
    return file


def anchor(href: str = WHEEL, **attributes: str) -> str:
    pairs = "".join(f' {key.replace("_", "-")}="{escape(value)}"' for key, value in attributes.items())
    return f'<a href="{escape(href)}"{pairs}>x</a>'


def html_page(*anchors: str, head: str = "") -> str:
    return f"<!DOCTYPE html><html><head>{head}</head><body>{'<br/>'.join(anchors)}</body></html>"


def from_html(href: str = WHEEL, **attributes: str) -> File:
    (file,) = read(html_page(anchor(href, **attributes))).files
    return file


def from_raw(attributes: str) -> File:
    (file,) = read(f'<a href="{WHEEL}" {attributes}>x</a>').files
    return file


class TestPage:
    def test_json_with_everything(self) -> None:
        body = json_page(
            json_file(
                url="../../files/demo.whl#sha256=00",
                hashes={"sha256": SHA256},
                size=1234,
                yanked="broken",
                provenance="/provenance",
                **{
                    "requires-python": ">=3.8",
                    "core-metadata": {"sha256": OTHER},
                    "upload-time": "2024-01-01T00:00:00Z",
                },
            ),
            meta={"api-version": "1.4", "tracks": ["https://up.localhost/simple/demo/", 3]},
            versions=["1.0", 2],
            **{
                "alternate-locations": ["https://other.localhost/simple/demo/"],
                "project-status": {"status": "archived", "reason": "done"},
            },
        )
        assert read(body) == Project(
            name="demo",
            url=PAGE,
            index=CORP,
            versions=("1.0",),
            status="archived",
            status_reason="done",
            tracks=("https://up.localhost/simple/demo/",),
            alternate_locations=("https://other.localhost/simple/demo/",),
            api_version="1.4",
            files=(
                File(
                    filename=WHEEL,
                    url="https://index.localhost/files/demo.whl",
                    hashes={"sha256": SHA256},
                    size=1234,
                    requires_python=">=3.8",
                    yanked=True,
                    yanked_reason="broken",
                    sidecar={"sha256": OTHER},
                    upload_time="2024-01-01T00:00:00Z",
                    provenance="https://index.localhost/provenance",
                    listed_by=CORP,
                    project="demo",
                ),
            ),
        )

    def test_html_with_everything(self) -> None:
        head = (
            '<meta name="pypi:repository-version" content="1.4">'
            '<meta name="pypi:project-status" content="archived">'
            '<meta name="PyPI:Project-Status-Reason" content="done">'
            '<meta name="pypi:tracks" content="https://up.localhost/simple/demo/">'
            '<meta name="pypi:tracks" content="">'
            '<meta name="pypi:alternate-locations" content="https://other.localhost/simple/demo/">'
        )
        link = anchor(
            f"../../files/{WHEEL}#sha256={SHA256}",
            data_requires_python=">=3.8",
            data_yanked="broken",
            data_core_metadata=f"sha256={OTHER}",
            data_provenance="/provenance",
            data_gpg_sig="true",
        )
        page = read(html_page(link, head=head))
        assert page == Project(
            name="demo",
            url=PAGE,
            index=CORP,
            status="archived",
            status_reason="done",
            tracks=("https://up.localhost/simple/demo/",),
            alternate_locations=("https://other.localhost/simple/demo/",),
            api_version="1.4",
            files=(
                File(
                    filename=WHEEL,
                    url=f"https://index.localhost/files/{WHEEL}",
                    hashes={"sha256": SHA256},
                    requires_python=">=3.8",
                    yanked=True,
                    yanked_reason="broken",
                    sidecar={"sha256": OTHER},
                    provenance="https://index.localhost/provenance",
                    listed_by=CORP,
                    project="demo",
                ),
            ),
        )

    @pytest.mark.parametrize("body", [json_page(json_file()), html_page(anchor()).encode()])
    def test_what_a_bare_page_says(self, body: bytes) -> None:
        page = read(body)
        assert page.files == (File(WHEEL, PAGE + WHEEL, listed_by=CORP, project="demo"),)
        assert (page.status, page.status_reason, page.versions, page.skipped) == ("active", "", (), ())

    def test_files_keep_the_order_of_the_page(self) -> None:
        names = [f"demo-{minor}.0.tar.gz" for minor in (3, 1, 2)]
        assert [file.filename for file in read(html_page(*map(anchor, names))).files] == names
        assert [file.filename for file in read(json_page(*[json_file(filename=n) for n in names])).files] == names

    def test_the_project_name_is_normalized(self) -> None:
        assert parse_page(b"", url=PAGE, name="Zope.Interface").name == "zope-interface"

    def test_userinfo_of_the_page_url_does_not_spread(self) -> None:
        page = read(html_page(anchor()), url="https://user:secret@index.localhost/simple/demo/#top")
        assert page.url == PAGE
        assert page.files[0].url == PAGE + WHEEL

    @pytest.mark.parametrize("url", ["ftp://index.localhost/", "index.localhost", ""])
    def test_a_page_url_that_is_no_url_is_the_callers_fault(self, url: str) -> None:
        with pytest.raises(ValueError, match="not an http or https URL"):
            read(b"", url=url)

    def test_repr_shows_no_secret(self) -> None:
        page = read(html_page(anchor(f"https://user:secret@h.localhost/{WHEEL}?token=hush")), url=f"{PAGE}?token=hush")
        assert "secret" not in repr(page) + repr(page.files)
        assert "hush" not in repr(page) + repr(page.files)
        assert page.files[0].url == f"https://user:secret@h.localhost/{WHEEL}?token=hush"


class TestWhatAPageIs:
    @pytest.mark.parametrize("lead", [b"", b"\n\t  ", b"\xef\xbb\xbf", b"\xef\xbb\xbf \r\n"])
    def test_json_is_told_by_its_first_byte(self, lead: bytes) -> None:
        assert read(lead + json_page(json_file())).files[0].filename == WHEEL

    @pytest.mark.parametrize("body", [b"", b" ", b"[]", b"null", b"Not Found", b"<html><title>Sign in</title></html>"])
    def test_anything_else_is_html_perhaps_without_files(self, body: bytes) -> None:
        assert read(body).files == ()

    @pytest.mark.parametrize(
        "body",
        [
            b"{",
            b'{"message": "Unauthorized"}',
            b'{"meta": {"api-version": "1.0"}, "projects": [{"name": "demo"}]}',
            b'{"files": null}',
            b'{"files": {}}',
            b'{"files": []} {}',
            b'{"files": [{"filename": "\xff", "url": ""}]}',
            b'{"files": [], "meta": ' + b"9" * 5000 + b"}",
            b'{"files": ' + b"[" * 100_000,
            b'{"deep": ' + b'{"a":' * 100_000,
        ],
    )
    def test_bad_json(self, body: bytes) -> None:
        with pytest.raises(BadPage, match="no project page in JSON"):
            read(body, url="https://user:secret@index.localhost/simple/demo/")

    @pytest.mark.parametrize("version", ["2.0", "0.9", "2", "", "one", 2, 2.5, True, [1], {"1": 1}])
    def test_another_major_version_is_refused_in_json(self, version: object) -> None:
        with pytest.raises(BadPage, match="of the Simple API"):
            read(json_page(meta={"api-version": version}))

    @pytest.mark.parametrize("version", ["2.0", "x" * 1000, "\x1b[31m"])
    def test_another_major_version_is_refused_in_html(self, version: str) -> None:
        head = f'<meta name="pypi:repository-version" content="{version}">'
        with pytest.raises(BadPage, match="of the Simple API") as caught:
            read(html_page(anchor(), head=head))
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 200

    @pytest.mark.parametrize(
        "meta", [{"api-version": "1.99"}, {"api-version": 1.0}, {"api-version": None}, {}, None, "?"]
    )
    def test_a_later_minor_version_or_none_is_read(self, meta: object) -> None:
        assert read(json_page(json_file(), meta=meta)).api_version.startswith("1")

    @pytest.mark.parametrize("head", ['<meta name="pypi:repository-version">', '<meta name="" content="2.0">'])
    def test_a_meta_element_that_says_nothing(self, head: str) -> None:
        assert read(html_page(anchor(), head=head)).api_version == "1.0"

    def test_page_facts_of_the_wrong_kind_are_as_if_they_were_not_there(self) -> None:
        wrong: dict[str, Any] = {
            "versions": 5,
            "alternate-locations": {},
            "project-status": {"status": 7, "reason": []},
        }
        page = read(json_page(json_file(), **wrong))
        assert (page.versions, page.alternate_locations, page.status, page.status_reason) == ((), (), "active", "")

    @pytest.mark.parametrize(
        "bomb",
        [
            "<div>" * 100_000,
            "<DIV class='x'>" * 100_000,
            "</p><section>" * 100_000,
            "<b><i>" * 50_000,
            "<span>" * 100_000 + "</x>" * 100_000,
            "</div>" * 1000 + "<div>" * 1000,
        ],
    )
    def test_a_page_of_nothing_but_depth_is_refused_at_once(self, bomb: str) -> None:
        with pytest.raises(BadPage, match="nested more than 512 deep"):
            read(bomb + anchor())

    @pytest.mark.parametrize(
        "flat",
        [
            "<p>" * 2000,
            "<tr><td>" * 2000,
            "<a href=x>" * 2000,
            "<br/><hr/>" * 2000,
            "<ul><li>one<ul><li>two</ul></ul>" * 2000,
            "<table><tr><td><b>x</table>" * 2000,
            "</div>" * 2000,
        ],
    )
    def test_a_long_page_is_not_a_deep_one(self, flat: str) -> None:
        assert len(read(flat + anchor()).files) == 1


class TestEncoding:
    def test_utf8_unless_said_otherwise(self) -> None:
        body = anchor(data_yanked="zerstört")
        assert read(body.encode()).files[0].yanked_reason == "zerstört"
        assert read(body.encode(), charset="x-unknown").files[0].yanked_reason == "zerstört"
        assert read(b"\xef\xbb\xbf" + body.encode(), charset="latin1").files[0].yanked_reason == "zerstört"

    @pytest.mark.parametrize("charset", ["ISO-8859-1", " latin1 ", "windows-1252"])
    def test_the_replys_charset(self, charset: str) -> None:
        assert (
            read(anchor(data_yanked="zerstört").encode("cp1252"), charset=charset).files[0].yanked_reason == "zerstört"
        )

    @pytest.mark.parametrize(("mark", "codec"), [(b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")])
    def test_a_byte_order_mark_wins(self, mark: bytes, codec: str) -> None:
        assert read(mark + anchor().encode(codec), charset="utf-8").files[0].filename == WHEEL

    @pytest.mark.parametrize("charset", ["unicode_escape", "idna", "zip", "rot13", "utf-7", "undefined", "\0", ""])
    def test_a_server_cannot_choose_a_codec_that_does_more(self, charset: str) -> None:
        assert read(anchor(), charset=charset).files[0].filename == WHEEL

    def test_undecodable_bytes_are_replaced(self) -> None:
        assert read(b'<a href="demo-1.0.zip" data-yanked="\xff">').files[0].yanked_reason == "\ufffd"


class TestLinks:
    @pytest.mark.parametrize(
        ("reference", "url"),
        [
            (WHEEL, f"https://index.localhost/simple/demo/{WHEEL}"),
            (f"./{WHEEL}", f"https://index.localhost/simple/demo/{WHEEL}"),
            (f"a/b/{WHEEL}", f"https://index.localhost/simple/demo/a/b/{WHEEL}"),
            (f"../{WHEEL}", f"https://index.localhost/simple/{WHEEL}"),
            (f"../../files/{WHEEL}", f"https://index.localhost/files/{WHEEL}"),
            (f"../../../../../{WHEEL}", f"https://index.localhost/{WHEEL}"),
            (f"a/../../b/./{WHEEL}", f"https://index.localhost/simple/b/{WHEEL}"),
            (f".hidden/{WHEEL}", f"https://index.localhost/simple/demo/.hidden/{WHEEL}"),
            (f"/files/{WHEEL}", f"https://index.localhost/files/{WHEEL}"),
            (f"/files/../x//{WHEEL}", f"https://index.localhost/x//{WHEEL}"),
            (f"//cdn.localhost/{WHEEL}", f"https://cdn.localhost/{WHEEL}"),
            (f"http://cdn.localhost:8080/{WHEEL}", f"http://cdn.localhost:8080/{WHEEL}"),
            (f"HTTPS://CDN.localhost/{WHEEL}", f"https://CDN.localhost/{WHEEL}"),
            (f" \n{WHEEL}", f"https://index.localhost/simple/demo/{WHEEL}"),
            (f"a b/{WHEEL}", f"https://index.localhost/simple/demo/a%20b/{WHEEL}"),
            (f"a%2Fb%2f/%C3%bc/{WHEEL}", f"https://index.localhost/simple/demo/a%2Fb%2f/%C3%bc/{WHEEL}"),
            (f"ü/{WHEEL}", f"https://index.localhost/simple/demo/ü/{WHEEL}"),
            (f"{WHEEL}?sig=a%2Bb/../c&x=1", f"https://index.localhost/simple/demo/{WHEEL}?sig=a%2Bb/../c&x=1"),
            (f"{WHEEL}?at=12:30", f"https://index.localhost/simple/demo/{WHEEL}?at=12:30"),
            (f"https://user:pw@h.localhost/{WHEEL}", f"https://user:pw@h.localhost/{WHEEL}"),
        ],
    )
    def test_where_a_link_leads(self, reference: str, url: str) -> None:
        assert from_html(f"{reference}#sha256={SHA256}").url == url
        assert from_json(url=f"{reference}#sha256={SHA256}").url == url

    @pytest.mark.parametrize(
        "reference",
        [
            f"javascript:alert(1)/{WHEEL}",
            f"file:///etc/{WHEEL}",
            f"ftp://h.localhost/{WHEEL}",
            f"data:text/html,/{WHEEL}",
            f"c:/{WHEEL}",
            f"http:{WHEEL}",
            f"http:///{WHEEL}",
            f"https://{WHEEL}",
            f"https://h.localhost:99999/{WHEEL}",
            f"https://[::1/{WHEEL}",
            f"https://h.localhost\\@evil.localhost/{WHEEL}",
            f"..\\..\\{WHEEL}",
            f"a\x07b/{WHEEL}",
            f"a\u202eb/{WHEEL}",
        ],
    )
    def test_links_that_lead_nowhere(self, reference: str) -> None:
        for body in (html_page(anchor(reference), anchor()).encode(), json_page(json_file(url=reference), json_file())):
            page = read(body)
            assert [file.url for file in page.files] == [PAGE + WHEEL]
            assert len(page.skipped) == 1

    def test_an_empty_link_leads_nowhere(self) -> None:
        assert read(json_page(json_file(url=""))).skipped == (WHEEL,)
        assert read(html_page(anchor(""), "<a name=x>", "<a href>")) == read(b"")

    def test_a_query_alone_stays_on_the_document(self) -> None:
        page = read(json_page(json_file(url="?file=1")), url="https://index.localhost/simple/demo?page=2")
        assert page.files[0].url == "https://index.localhost/simple/demo?file=1"

    @pytest.mark.parametrize(
        ("base", "url"),
        [
            ("https://cdn.localhost", f"https://cdn.localhost/{WHEEL}"),
            ("https://cdn.localhost/a/b", f"https://cdn.localhost/a/{WHEEL}"),
            ("../files/", f"https://index.localhost/simple/files/{WHEEL}"),
            ("//cdn.localhost/", f"https://cdn.localhost/{WHEEL}"),
            ("", PAGE + WHEEL),
            ("file:///etc/", PAGE + WHEEL),
            ("https://[", PAGE + WHEEL),
        ],
    )
    def test_base(self, base: str, url: str) -> None:
        page = read(html_page(anchor(), head=f'<base href="{base}"><base href="https://late.localhost/">'))
        assert page.files[0].url == url
        assert page.url == PAGE

    @given(
        st.sampled_from([PAGE, "https://h.localhost/a/b/c", "http://h.localhost:8080/", "https://h.localhost/a/?q=1"]),
        st.lists(
            st.sampled_from(["..", ".", "...", ".a", "a.", "b%2e", "c:d", "e?f=/../g", "h"]), min_size=1, max_size=6
        ),
        st.booleans(),
    )
    def test_links_are_joined_as_the_standard_library_does(self, page: str, segments: list[str], rooted: bool) -> None:
        reference = "/" * rooted + "/".join(segments)
        found = read(json_page(json_file(url=reference)), url=page).files
        expected = urljoin(page, reference)
        assert [file.url for file in found] == ([expected] if expected.startswith("http") else [])


class TestNames:
    @pytest.mark.parametrize(
        "name",
        [
            "demo-1.0.tar.gz",
            "demo-1.0.zip",
            "demo-1.0.tar.bz2",
            "demo-1.0.tgz",
            "demo-1.0.tar.xz",
            "_demo-1.0.zip",
            "demo-1.0+local.1-py3-none-any.whl",
            "dëmo-1.0.zip",
            "demo 1.0.zip",
            "console-1.zip",
            "nul-1.0.tar.gz",
        ],
    )
    def test_distributions(self, name: str) -> None:
        assert from_html(name).filename == name
        assert from_json(filename=name).filename == name

    @pytest.mark.parametrize(
        "name", ["../", "demo-1.0.exe", "demo-1.0.egg", "demo-1.0-py3-none-any.whl.asc", "index.html", ".whl/", "whl"]
    )
    def test_other_links_are_not_even_skipped(self, name: str) -> None:
        assert read(html_page(anchor(name))) == read(html_page())
        assert read(json_page(json_file(filename=name))) == read(json_page())

    def test_a_name_is_decoded_once(self) -> None:
        assert from_html("demo-1.0%2Blocal-py3-none-any%2ewhl").filename == "demo-1.0+local-py3-none-any.whl"
        assert from_html("demo-1.0%252Blocal.zip").filename == "demo-1.0%2Blocal.zip"
        assert from_json(filename="demo-1.0%2Blocal.zip").filename == "demo-1.0%2Blocal.zip"

    @pytest.mark.parametrize(
        "name",
        [
            "../evil.whl",
            "/etc/evil.whl",
            "a/evil.whl",
            "..\\evil.whl",
            "c:evil.whl",
            ".whl",
            "..whl",
            "-rf.whl",
            "evil\x00.whl",
            "evil\n.whl",
            "evil\x7f.whl",
            "evil\u202e.whl",
            "ev*il.whl",
            "CON.whl",
            "com1.tar.gz",
        ],
    )
    def test_a_name_from_the_network_never_leaves_its_directory(self, name: str) -> None:
        quoted = "".join(f"%{byte:02X}" for byte in name.encode())
        for body in (html_page(anchor(quoted), anchor()).encode(), json_page(json_file(filename=name), json_file())):
            page = read(body)
            assert [file.filename for file in page.files] == [WHEEL]
            assert len(page.skipped) == 1
            assert page.skipped[0].isprintable()

    @pytest.mark.parametrize("name", ["", ".", "..", "a.", "a ", "NUL", "\ud800.whl", "com¹.zip"])
    def test_further_unsafe_names(self, name: str) -> None:
        assert not is_safe_name(name)

    def test_a_name_that_no_file_system_can_hold_is_skipped(self) -> None:
        assert read(b'{"files": [{"filename": "\\u202e.whl", "url": "x"}]}').skipped == ("\\u202e.whl",)


class TestHashes:
    @pytest.mark.parametrize(
        ("fragment", "hashes"),
        [
            (f"sha256={SHA256}", {"sha256": SHA256}),
            (f"SHA256={SHA256.upper()}", {"sha256": SHA256}),
            (f"egg=demo&sha256={SHA256}&subdirectory=a", {"sha256": SHA256}),
            (f"md5={'0c' * 16}&sha512={'0d' * 64}", {"md5": "0c" * 16, "sha512": "0d" * 64}),
            (f"sha256={SHA256}&sha256={OTHER}", {"sha256": SHA256}),
            ("egg=demo", {}),
            ("egg=abcdef", {}),
            ("sha256=abc", {}),
            (f"sha256={'xy' * 32}", {}),
            (f"sha256={'ü' * 64}", {}),
            (f"sha256 = {SHA256} ", {"sha256": SHA256}),
            (f"blake2b={SHA256}", {}),
            (f"blake2b={'0e' * 64}", {"blake2b": "0e" * 64}),
            (SHA256, {}),
            ("", {}),
        ],
    )
    def test_in_a_fragment(self, fragment: str, hashes: Mapping[str, str]) -> None:
        file = from_html(f"{WHEEL}#{fragment}")
        assert file.hashes == hashes
        assert file.sha256 == hashes.get("sha256")

    @pytest.mark.parametrize(
        ("stated", "hashes"),
        [
            ({"sha256": SHA256, "md5": "0c" * 16}, {"sha256": SHA256, "md5": "0c" * 16}),
            ({"SHA256": SHA256.upper()}, {"sha256": SHA256}),
            ({"sha256": SHA256, "md5": "?"}, {"sha256": SHA256}),
            ({"sha256": f"{SHA256[:-2]} 0"}, {}),
            ({"sha256": ""}, {}),
            ({}, {}),
            (None, {}),
        ],
    )
    def test_in_json(self, stated: object, hashes: Mapping[str, str]) -> None:
        assert from_json(hashes=stated).hashes == hashes

    def test_missing_in_json(self) -> None:
        assert read(json_page({"filename": WHEEL, "url": WHEEL})).files[0].hashes == {}


class TestSidecar:
    @pytest.mark.parametrize(
        ("stated", "sidecar"),
        [
            (True, {}),
            ("true", {}),
            ({}, {}),
            ({"sha256": OTHER}, {"sha256": OTHER}),
            ({"SHA256": OTHER.upper()}, {"sha256": OTHER}),
            ({"sha256": "bad"}, {}),
            (f"sha256={OTHER}", {"sha256": OTHER}),
            (False, None),
            ("false", None),
            (None, None),
        ],
    )
    @pytest.mark.parametrize("key", ["core-metadata", "dist-info-metadata", "data-dist-info-metadata"])
    def test_in_json(self, key: str, stated: object, sidecar: object) -> None:
        assert from_json(**{key: stated}).sidecar == sidecar

    @pytest.mark.parametrize("key", ["data-core-metadata", "data-dist-info-metadata"])
    @pytest.mark.parametrize(
        ("stated", "sidecar"),
        [
            ('="true"', {}),
            ("", {}),
            ('=""', {}),
            (f'="sha256={OTHER}"', {"sha256": OTHER}),
            (f"=SHA256={OTHER.upper()}", {"sha256": OTHER}),
            ('="sha256=bad"', {}),
            ('="False"', None),
        ],
    )
    def test_in_html(self, key: str, stated: str, sidecar: object) -> None:
        assert from_raw(key + stated).sidecar == sidecar

    def test_the_new_name_wins(self) -> None:
        new, old = {"sha256": OTHER}, {"sha256": SHA256}
        assert from_json(**{"dist-info-metadata": old, "core-metadata": new}).sidecar == new
        assert from_json(**{"dist-info-metadata": True, "core-metadata": False}).sidecar is None
        assert from_raw(f'data-dist-info-metadata="sha256={SHA256}" data-core-metadata="sha256={OTHER}"').sidecar == new

    def test_none_without_a_word(self) -> None:
        assert from_html().sidecar is None

    def test_its_url(self) -> None:
        assert from_html().sidecar_url == f"{PAGE}{WHEEL}.metadata"
        assert from_html(f"{WHEEL}?sig=a?b").sidecar_url == f"{PAGE}{WHEEL}.metadata?sig=a?b"


class TestFacts:
    @pytest.mark.parametrize(
        ("stated", "yanked", "reason"),
        [(True, True, ""), ("bad", True, "bad"), (False, False, ""), ("", False, ""), (None, False, "")],
    )
    def test_yanked_in_json(self, stated: object, yanked: bool, reason: str) -> None:
        file = from_json(yanked=stated)
        assert (file.yanked, file.yanked_reason) == (yanked, reason)

    @pytest.mark.parametrize(
        ("attribute", "reason"), [("data-yanked", ""), ('data-yanked=""', ""), ('data-yanked="a &amp; b"', "a & b")]
    )
    def test_yanked_in_html_is_presence(self, attribute: str, reason: str) -> None:
        file = from_raw(attribute)
        assert (file.yanked, file.yanked_reason) == (True, reason)

    @pytest.mark.parametrize("attribute", ['data-requires-python="&gt;=3.8,&lt;4"', 'data-requires-python=">=3.8,<4"'])
    def test_requires_python(self, attribute: str) -> None:
        assert from_raw(attribute).requires_python == ">=3.8,<4"

    def test_an_empty_requires_python_says_nothing(self) -> None:
        assert from_raw('data-requires-python=""').requires_python is None
        assert from_json(**{"requires-python": ""}).requires_python is None

    def test_size(self) -> None:
        assert from_json(size=0).size == 0
        assert from_json(size=-1).size is None
        assert from_json(size=10**30).size is None
        assert from_json(size=None).size is None

    def test_a_provenance_that_leads_nowhere(self) -> None:
        assert from_json(provenance="javascript:x").provenance is None
        assert from_html(data_provenance="javascript:x").provenance is None


class TestMalformedFiles:
    @pytest.mark.parametrize(
        "malformed",
        [
            json_file(filename="odd-1.0.zip", hashes={"sha256": None}),
            json_file(filename="odd-1.0.zip", size="12"),
            json_file(filename="odd-1.0.zip", size=1.5),
            json_file(filename="odd-1.0.zip", yanked=1),
            json_file(filename="odd-1.0.zip", **{"core-metadata": [1]}),
            {"filename": "odd-1.0.zip"},
        ],
    )
    def test_one_costs_only_itself(self, malformed: object) -> None:
        page = read(json_page(json_file(), malformed, json_file()))
        assert [file.filename for file in page.files] == [WHEEL, WHEEL]
        assert page.skipped == ("odd-1.0.zip",)
        assert page.api_version == "1.4"

    @pytest.mark.parametrize("malformed", [None, 5, [], {}, {"url": "x"}, {"filename": 5, "url": "x"}])
    def test_one_without_a_name(self, malformed: object) -> None:
        page = read(json_page(malformed, json_file()))
        assert len(page.files) == 1
        assert page.skipped == ("?",)

    def test_its_name_is_fit_to_be_shown(self) -> None:
        assert read(json_page({"filename": "\x1b[31m"})).skipped == ("\\x1b[31m",)


class TestFile:
    def test_wheel(self) -> None:
        file = File("Zope.Demo-1.0.post1-2b-py2.py3-none-any.whl".replace("Zope.", "Zope_"), PAGE)
        assert (file.name, file.version, file.build) == ("zope-demo", Version("1.0.post1"), (2, "b"))
        assert file.tags == {Tag("py2", "none", "any"), Tag("py3", "none", "any")}
        assert file.is_wheel

    @pytest.mark.parametrize("suffix", [".tar.gz", ".zip", ".tar.bz2", ".tgz", ".tar.xz", ".tar"])
    def test_source_distribution(self, suffix: str) -> None:
        file = File(f"Zope.Demo-1.0rc1{suffix}", PAGE)
        assert (file.name, file.version, file.build, file.tags) == ("zope-demo", Version("1.0rc1"), (), frozenset())
        assert not file.is_wheel

    @pytest.mark.parametrize(
        "name", ["demo.whl", "demo-x-py3-none-any.whl", "demo.zip", "demo-1.0-py2.7.zip", "demo-1.0", ""]
    )
    def test_a_name_outside_the_standards(self, name: str) -> None:
        file = File(name, PAGE)
        assert (file.name, file.version, file.build, file.tags) == (None, None, (), frozenset())

    def test_it_is_a_value(self) -> None:
        one, same = from_json(hashes={"sha256": SHA256}), from_json(hashes={"sha256": SHA256})
        assert one.name == "demo"
        assert one == same
        assert {one, same} == {one}
        assert pickle.loads(pickle.dumps(one)) == one
        with pytest.raises(AttributeError):
            one.url = "https://evil.localhost/"  # type: ignore[misc]


TEXT = st.text(max_size=30) | st.sampled_from(
    [WHEEL, f"../{WHEEL}", "https://h.localhost/a.zip", "https://[/a.whl", "%2e.zip"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
FILE_KEYS = [
    "filename",
    "url",
    "hashes",
    "size",
    "yanked",
    "requires-python",
    "core-metadata",
    "provenance",
    "upload-time",
]
FILES = VALUES | st.dictionaries(st.sampled_from(FILE_KEYS), VALUES) | st.builds(
    lambda name, url, more: {**more, "filename": name, "url": url},
    TEXT.map(lambda text: text + ".whl"),
    TEXT,
    st.dictionaries(st.sampled_from(FILE_KEYS), VALUES, max_size=2),
)  # fmt: skip
PAGES = st.fixed_dictionaries(
    {},
    optional={
        "files": VALUES | st.lists(FILES, max_size=4),
        "meta": VALUES,
        "versions": VALUES,
        "project-status": VALUES,
    },
)
MARKUP = st.sampled_from(
    [
        "<a ",
        "<a href=",
        '<a href="',
        "</a>",
        "<base href=",
        "<meta name=pypi:tracks content=",
        ">",
        '"',
        "'",
        "&#0;",
        "&gt;",
        "<!--",
        "-->",
        "<script>",
        "<template>",
        "<svg>",
        "<table>",
        "<b>",
        " data-yanked",
        "#sha256=",
        ".whl",
        "\x00",
        "=",
    ]
)


class TestAnyBytes:
    @staticmethod
    def check(body: bytes, charset: str | None = None) -> None:
        try:
            page = read(body, charset=charset)
        except BadPage:
            return
        for file in page.files:
            assert parse_url(file.url).scheme in ("http", "https")
            assert parse_url(file.sidecar_url).raw_path.endswith(".metadata")
            assert is_safe_name(file.filename)
            assert file.tags is not None
            assert repr(file)
        assert all(name.isprintable() for name in page.skipped)

    @given(st.binary(max_size=200), st.none() | st.text(max_size=8) | st.sampled_from(["utf-16", "latin1"]))
    def test_garbage(self, body: bytes, charset: str | None) -> None:
        self.check(body, charset)

    @given(PAGES)
    def test_json(self, page: object) -> None:
        self.check(json.dumps(page).encode())

    @given(st.binary(max_size=60))
    def test_broken_json(self, body: bytes) -> None:
        self.check(b'{"files": [{"filename": "a.whl", "url": "' + body)
        self.check(b'{"files": [' + body + b"]}")

    @given(st.lists(MARKUP | TEXT, max_size=20).map("".join))
    def test_html(self, text: str) -> None:
        self.check(text.encode("utf-8", "surrogatepass"))

    @given(TEXT, TEXT)
    def test_links(self, name: str, url: str) -> None:
        self.check(
            html_page(anchor(f"{name}.whl"), anchor(f"{url}/{WHEEL}"), head=f'<base href="{escape(url)}">').encode()
        )
        self.check(json_page(json_file(filename=f"{name}.zip", url=url)))
