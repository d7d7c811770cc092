"""Realms, whole path segments, userinfo, references, signed URLs, redaction."""

import string
from urllib.parse import quote

import pytest
from hypothesis import example, given, strategies as st
from yarl import URL

from fetcher.index.urls import (
    Realm,
    Userinfo,
    file_name,
    is_signed,
    join,
    parse_url,
    realm_of,
    redact,
    segments_of,
    split_userinfo,
)

SECRET = "S3CR3T"


def realm(text: str) -> Realm:
    return realm_of(parse_url(text))


def segments(text: str) -> tuple[str, ...]:
    return segments_of(parse_url(text))


# ---------------------------------------------------------------------------------------------------------------- realm


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("https://Host.Example/a", "https://host.example/b", id="host in lower case"),
        pytest.param("HTTPS://host/", "https://host/", id="scheme in lower case"),
        pytest.param("https://host:443/", "https://host/", id="443 is the default of https"),
        pytest.param("http://host:80/", "http://host/", id="80 is the default of http"),
        pytest.param("http://host:/", "http://host/", id="an empty port is the default"),
        pytest.param("https://bücher.example/", "https://xn--bcher-kva.example/", id="IDNA"),
        pytest.param("https://BÜCHER.example/", "https://XN--BCHER-KVA.EXAMPLE/", id="IDNA in any case"),
        pytest.param("https://example。com/", "https://example.com/", id="IDNA has more than one dot"),
        pytest.param("https://faß.example/", "https://xn--fa-hia.example/", id="IDNA 2008 keeps ß"),
        pytest.param("https://user:password@host/", "https://host/", id="userinfo is no part of it"),
        pytest.param("https://host:443@host/", "https://host/", id="a username that looks like a host"),
        pytest.param("http://[::1]:80/", "http://[::1]/", id="IPv6"),
        pytest.param("https://host?query", "https://host/#fragment", id="neither path, query nor fragment"),
        pytest.param("  https://host/ ", "https://host/", id="white space around it"),
    ],
)
def test_same_realm(one: str, other: str) -> None:
    assert realm(one) == realm(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("http://host/", "https://host/", id="http is never https"),
        pytest.param("http://host:443/", "https://host:443/", id="http is never https, on its port"),
        pytest.param("https://host:8443/", "https://host/", id="port"),
        pytest.param("https://host:80/", "https://host/", id="80 is not the default of https"),
        pytest.param("https://a.host/", "https://host/", id="subdomain"),
        pytest.param("https://host.evil/", "https://host/", id="host as prefix"),
        pytest.param("https://evilhost/", "https://host/", id="host as suffix"),
        pytest.param("https://host@evil/", "https://host/", id="host as username"),
        pytest.param("https://fass.example/", "https://faß.example/", id="IDNA 2008 tells ß from ss"),
    ],
)
def test_other_realm(one: str, other: str) -> None:
    assert realm(one) != realm(other)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://Host:443/a", "https://host"),
        ("http://host:8080/a", "http://host:8080"),
        ("http://u:p@host/", "http://host"),
        ("http://[2001:DB8::1]:8080/", "http://[2001:db8::1]:8080"),
    ],
)
def test_realm_as_text(url: str, shown: str) -> None:
    assert str(realm(url)) == shown


@pytest.mark.parametrize(
    "text",
    ["", "host/path", "/path", "//host/path", "ftp://host/", "file:///etc/passwd", "https:", "https://", "https:///path",
     "https://host:99999/", "https://host:port/", "http://[::1", "mailto:a@b", "demo==1.0", "git+https://host/x", "\0"],
)  # fmt: skip
def test_not_an_absolute_http_url(text: str) -> None:
    with pytest.raises(ValueError, match="is not an http or https URL"):
        parse_url(text)


@given(st.text())
def test_parse_url_raises_nothing_but_value_error(text: str) -> None:
    try:
        url = parse_url(text)
    except ValueError:
        return
    assert realm_of(url).scheme in ("http", "https")
    assert url.raw_fragment == ""


# ------------------------------------------------------------------------------------------------------------- segments


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("", (), id="no path"),
        pytest.param("/", (), id="root"),
        pytest.param("/a/b", ("a", "b"), id="plain"),
        pytest.param("/a/b/", ("a", "b"), id="a trailing slash leaves no segment"),
        pytest.param("/a//b", ("a", "", "b"), id="an empty segment counts"),
        pytest.param("/a/./b", ("a", "b"), id="single dot"),
        pytest.param("/a/x/../b", ("a", "b"), id="double dot"),
        pytest.param("/../../a", ("a",), id="dots above the root"),
        pytest.param("/a/%2e%2e/b", ("b",), id="%2e is a dot"),
        pytest.param("/a/.%2E/b", ("b",), id="%2E is a dot"),
        pytest.param("/a/%2e/b", ("a", "b"), id="one %2e"),
        pytest.param("/a/..%2Fb", ("a", "..%2Fb"), id="%2F keeps dots in their segment"),
        pytest.param("/a%2Fb", ("a%2Fb",), id="%2F is no separator"),
        pytest.param("/a%2fb", ("a%2Fb",), id="%2f is %2F"),
        pytest.param("/%73imple", ("simple",), id="unreserved characters are decoded"),
        pytest.param("/%7euser", ("~user",), id="the tilde is unreserved"),
        pytest.param("/%ff", ("%FF",), id="escapes in upper case"),
        pytest.param("/ü", ("%C3%BC",), id="non-ASCII is encoded"),
        pytest.param("/a b", ("a%20b",), id="a blank is encoded"),
        pytest.param("/%252e%252e/b", ("%252e%252e", "b"), id="decoded once only"),
        pytest.param("/a%5c..%5cb", ("a%5C..%5Cb",), id="a backslash is no separator"),
        pytest.param("/a;x/b", ("a;x", "b"), id="parameters stay"),
        pytest.param("/A", ("A",), id="paths have a case"),
    ],
)
def test_segments(path: str, expected: tuple[str, ...]) -> None:
    assert segments(f"https://host{path}") == expected


@given(st.lists(st.text(string.ascii_letters + "-_.~ü%/\\ ", min_size=1).filter(lambda text: text not in (".", ".."))))
def test_each_quoted_segment_stays_one(names: list[str]) -> None:
    path = "".join(f"/{quote(name, safe='')}" for name in names)
    assert len(segments(f"https://host{path}")) == len(names)
    assert segments(f"https://host{path}/") == segments(f"https://host{path}")


# ------------------------------------------------------------------------------------------------------------- userinfo


@pytest.mark.parametrize(
    ("authority", "userinfo"),
    [
        pytest.param("host", None, id="none"),
        pytest.param("user@host", Userinfo("user", None), id="username alone"),
        pytest.param("user:@host", Userinfo("user", ""), id="empty password"),
        pytest.param(":password@host", Userinfo("", "password"), id="empty username"),
        pytest.param(":@host", Userinfo("", ""), id="both empty"),
        pytest.param("user:pass:word@host", Userinfo("user", "pass:word"), id="colon in the password"),
        pytest.param("us%40er:p%3A%2F%25@host", Userinfo("us@er", "p:/%"), id="decoded"),
        pytest.param("user:p%2541@host", Userinfo("user", "p%41"), id="decoded once"),
        pytest.param("user:a+b@host", Userinfo("user", "a+b"), id="plus is no blank"),
        pytest.param("us@er:p@ss@host", Userinfo("us@er", "p@ss"), id="the last @ divides"),
        pytest.param("u:p@host:8080", Userinfo("u", "p"), id="with a port"),
        pytest.param("u:p@[::1]:8080", Userinfo("u", "p"), id="with IPv6"),
    ],
)
def test_split_userinfo(authority: str, userinfo: Userinfo | None) -> None:
    bare, found = split_userinfo(parse_url(f"https://{authority}/a%2Fb/?x=%2f+y"))
    assert found == userinfo
    assert str(bare) == f"https://{authority.rpartition('@')[2]}/a%2Fb/?x=%2f+y"


@given(st.text(min_size=1), st.text())
def test_userinfo_round_trip(username: str, password: str) -> None:
    userinfo = f"{quote(username, safe='', errors='replace')}:{quote(password, safe='', errors='replace')}"
    bare, found = split_userinfo(parse_url(f"https://{userinfo}@host/path"))
    known = (username.encode(errors="replace").decode(), password.encode(errors="replace").decode())
    assert found == Userinfo(*known)
    assert str(bare) == "https://host/path"


def test_userinfo_hides_itself() -> None:
    assert SECRET not in repr(Userinfo(SECRET, SECRET))


# ----------------------------------------------------------------------------------------------------------------- join


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        # RFC 3986 §5.4.1 and §5.4.2, without fragments, which no request has
        ("g", "http://a/b/c/g"),
        ("./g", "http://a/b/c/g"),
        ("g/", "http://a/b/c/g/"),
        ("/g", "http://a/g"),
        ("?y", "http://a/b/c/d;p?y"),
        ("g?y", "http://a/b/c/g?y"),
        ("#s", "http://a/b/c/d;p?q"),
        ("g#s", "http://a/b/c/g"),
        ("g?y#s", "http://a/b/c/g?y"),
        (";x", "http://a/b/c/;x"),
        ("g;x", "http://a/b/c/g;x"),
        ("g;x?y#s", "http://a/b/c/g;x?y"),
        ("", "http://a/b/c/d;p?q"),
        (".", "http://a/b/c/"),
        ("./", "http://a/b/c/"),
        ("..", "http://a/b/"),
        ("../", "http://a/b/"),
        ("../g", "http://a/b/g"),
        ("../..", "http://a/"),
        ("../../", "http://a/"),
        ("../../g", "http://a/g"),
        ("../../../g", "http://a/g"),
        ("/./g", "http://a/g"),
        ("/../g", "http://a/g"),
        ("g.", "http://a/b/c/g."),
        (".g", "http://a/b/c/.g"),
        ("g..", "http://a/b/c/g.."),
        ("..g", "http://a/b/c/..g"),
        ("./../g", "http://a/b/g"),
        ("./g/.", "http://a/b/c/g/"),
        ("g/./h", "http://a/b/c/g/h"),
        ("g/../h", "http://a/b/c/h"),
        ("g;x=1/./y", "http://a/b/c/g;x=1/y"),
        ("g;x=1/../y", "http://a/b/c/y"),
        ("g?y/./x", "http://a/b/c/g?y/./x"),
        ("g?y/../x", "http://a/b/c/g?y/../x"),
        # other origins
        ("//g", "http://g/"),
        ("//g:8080/h?x", "http://g:8080/h?x"),
        ("https://g/h", "https://g/h"),
        ("//u:p@g/h", "http://u:p@g/h"),
        # what servers send besides
        ("  /g  ", "http://a/g"),
        ("/g h", "http://a/g%20h"),
        ("\\\\evil/x", "http://a/b/c/%5C%5Cevil/x"),
        ("/\\evil", "http://a/%5Cevil"),
    ],
)
def test_join(reference: str, expected: str) -> None:
    assert parse_url(str(join(parse_url("http://a/b/c/d;p?q"), reference))) == parse_url(expected)


@pytest.mark.parametrize("reference", ["ftp://host/x", "file:///etc/passwd", "data:text/html,x", "javascript:x", "g:h"])
def test_join_leads_to_no_other_scheme(reference: str) -> None:
    with pytest.raises(ValueError, match="not an http or https URL"):
        parse_url(str(join(parse_url("http://a/b"), reference)))


QUERIES = [
    "X-Amz-Signature=aa%2Fbb%2f%2B+c%20d&X-Amz-Date=20250101T000000Z",
    "a=%7E~!$'()*,;:@/?&&=",
    "sv=2023-01-03&sig=a%2Bb%3D&se=2025-01-01T00%3A00%3A00Z",
    'a="<>',
    "%zz&%",
    "q&q=&=",
]


@pytest.mark.parametrize("query", QUERIES)
class TestQueryToTheLetter:
    def test_parse(self, query: str) -> None:
        assert parse_url(f"https://host/x?{query}").raw_path_qs == f"/x?{query}"

    def test_parse_again(self, query: str) -> None:
        assert str(parse_url(str(parse_url(f"https://host/x?{query}")))) == f"https://host/x?{query}"

    def test_fragment_goes(self, query: str) -> None:
        assert parse_url(f"https://host/x?{query}#f?x#y").raw_path_qs == f"/x?{query}"

    def test_split_userinfo(self, query: str) -> None:
        bare, _ = split_userinfo(parse_url(f"https://u:p@host/x?{query}"))
        assert str(bare) == f"https://host/x?{query}"

    @pytest.mark.parametrize("reference", ["https://other/y", "//other/y", "/y", "y", "../y", ""])
    def test_join(self, query: str, reference: str) -> None:
        joined = join(parse_url("https://host/x?other=%2f"), f"{reference}?{query}")
        assert str(joined).partition("?")[2] == query

    def test_join_nothing(self, query: str) -> None:
        assert str(join(parse_url(f"https://host/x?{query}"), "")) == f"https://host/x?{query}"


@pytest.mark.parametrize("query", ["a b", "ü", "a\tb"])
def test_query_that_cannot_be_sent_is_encoded(query: str) -> None:
    sent = parse_url(f"https://host/x?{query}").raw_path_qs
    assert sent.isascii()
    assert sent.isprintable()
    assert " " not in sent


@given(st.text(string.ascii_letters + string.digits + "-._~!$&'()*+,;=:@/?%", min_size=1))
def test_any_query_of_rfc_3986_is_kept(query: str) -> None:
    assert parse_url(f"https://host/x?{query}").raw_path_qs == f"/x?{query}"


# --------------------------------------------------------------------------------------------------------------- signed


@pytest.mark.parametrize(
    "query",
    ["X-Amz-Signature=a", "x-amz-signature=a", "X-Goog-Signature=a", "sig=a", "Signature=a", "Key-Pair-Id=a", "sig=",
     "a=b&sig=c", "AWSAccessKeyId=a&Signature=b&Expires=1", "%73ig=a", "X-OSS-Signature=a"],
)  # fmt: skip
def test_signed(query: str) -> None:
    assert is_signed(parse_url(f"https://host/x?{query}"))


@pytest.mark.parametrize("query", ["", "a=sig", "signal=a", "xsig=a", "a=b%26sig=c", "#sig=a", "sha256=a", "design=1"])
def test_not_signed(query: str) -> None:
    assert not is_signed(parse_url(f"https://host/sig/Signature=x?{query}"))


# ------------------------------------------------------------------------------------------------------------ file name


@pytest.mark.parametrize(
    ("path", "name"),
    [("/a/demo-1.0.whl", "demo-1.0.whl"), ("/a%2Fb", "a/b"), ("/x%2520y", "x%20y"), ("/a/", ""), ("/a%2B1", "a+1")],
)
def test_file_name_is_decoded_once(path: str, name: str) -> None:
    assert file_name(parse_url(f"https://host{path}?x=/y#/z")) == name


# ----------------------------------------------------------------------------------------------------------- redaction


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://host/simple/", "https://host/simple/"),
        ("https://user:password@host/simple", "https://***@host/simple"),
        ("https://token@host:8443/", "https://***@host:8443/"),
        ("https://host/x?sig=a&b=c", "https://host/x?sig=***&b=c"),
        ("https://host/x?AWSAccessKeyId=a&Signature=b&Expires=1", "https://host/x?AWSAccessKeyId=***&Signature=***&Expires=1"),
        ("https://host/x#sha256=ab", "https://host/x"),
        ("HTTPS://U:P@HOST/?SIG=abc", "https://***@host/?SIG=***"),
        ("https://host/a%2Fb", "https://host/a%2Fb"),
        ("", ""),
        ("demo==1.0", "demo==1.0"),
    ],
)  # fmt: skip
def test_redact(url: str, shown: str) -> None:
    assert redact(url) == shown


def test_redact_takes_a_url() -> None:
    assert redact(URL("https://u:p@host/x?token=y")) == "https://***@host/x?token=***"


SECRET_KEYS = ["X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token", "X-Goog-Signature", "X-Goog-Credential",
               "sig", "Signature", "Policy", "Key-Pair-Id", "token", "access_token", "api_key", "apikey", "password",
               "private_token", "jwt", "auth", "AWSAccessKeyId", "client_secret", "%73ig", "Sig%6Eature"]  # fmt: skip


@pytest.mark.parametrize("key", SECRET_KEYS)
def test_redact_hides_the_value_of(key: str) -> None:
    for url in (f"https://host/x?{key}={SECRET}", f"https://host/x?a=b&{key}={SECRET}&c=d", f"/x?{key}={SECRET}"):
        assert SECRET not in redact(url)


@pytest.mark.parametrize(
    "url",
    [
        pytest.param(f"https://user:pa/{SECRET}@host/x", id="an unescaped slash in the password"),
        pytest.param(f"https://user:pa#{SECRET}@host/x", id="an unescaped # in the password"),
        pytest.param(f"https://user:pa?{SECRET}@host/x", id="an unescaped ? in the password"),
        pytest.param(f"https://user:p@{SECRET}@host/x", id="an unescaped @ in the password"),
        pytest.param(f"https://user:{SECRET}@host:99999/x", id="a port out of range"),
        pytest.param(f"https://user:{SECRET}@[::1/x", id="half an IPv6 address"),
        pytest.param(f"https://℀:{SECRET}@host/x", id="a character that NFKC turns into a slash"),
        pytest.param(f"ftp://user:{SECRET}@host/x", id="another scheme"),
        pytest.param(f"git+https://user:{SECRET}@host/x", id="a VCS URL"),
        pytest.param(f"//user:{SECRET}@host/x", id="no scheme"),
        pytest.param(f"user:{SECRET}@host/x", id="no scheme and no slashes"),
        pytest.param(f"https:/user:{SECRET}@host/x", id="one slash"),
        pytest.param(f"demo @ https://user:{SECRET}@host/x", id="a requirement"),
        pytest.param(f"cannot reach https://user:{SECRET}@host/x: refused", id="a sentence"),
        pytest.param(f"https://a/x and https://user:{SECRET}@host/x", id="two URLs"),
        pytest.param(f"https://a/?next=https://user:{SECRET}@host/x", id="a URL in a query"),
        pytest.param(f"https://a/?next=https%3A%2F%2Fuser%3A{SECRET}%40host%2Fx", id="a quoted URL in a query"),
        pytest.param(f"https://a/+login?goto_url=%2Ff%3FX-Amz-Signature%3D{SECRET}", id="a signed URL in a query"),
        pytest.param(f"https://a/proxy/https://user:{SECRET}@host/x", id="a URL in a path"),
        pytest.param(f"https://a/x?a=b;sig={SECRET}", id="semicolons between pairs"),
        pytest.param(f"https://a/x#access_token={SECRET}", id="a fragment"),
    ],
)
def test_redact_lets_no_secret_through(url: str) -> None:
    assert SECRET not in redact(url)
    assert SECRET not in redact(redact(url))


_URLISH = string.ascii_lowercase + ":/?#[]@!$&'()*+,;=%.-_~ "


@st.composite
def urls_with_secrets(draw: st.DrawFn) -> str:
    """A URL that holds the secret as userinfo, as a signature's value, or both."""
    scheme = draw(st.sampled_from(["http", "https", "HTTPS", "ftp", "git+https"]))
    host = draw(st.sampled_from(["host", "Bücher.example", "[::1]", "127.0.0.1", "host:8080", "host:99999"]))
    user = draw(st.text(string.ascii_lowercase + ".%-_~!$&'()*+,;=", max_size=5))
    userinfo = draw(
        st.sampled_from(["", f"{user}:{SECRET}@", f"{SECRET}@", f":{SECRET}@", f"{SECRET}:x@", f"{user}:@{SECRET}@"])
    )
    path = draw(st.text(string.ascii_lowercase + "/.%2e -", max_size=10))
    key = draw(st.sampled_from(SECRET_KEYS))
    query = draw(st.sampled_from(["", f"?{key}={SECRET}", f"?a=b&{key}={SECRET}&&c", f"?{key.upper()}=%20{SECRET}"]))
    return f"{scheme}://{userinfo}{host}/{path}{query}"


@given(urls_with_secrets())
def test_redact_hides_the_secret_of_any_url(url: str) -> None:
    assert SECRET not in redact(url)


@given(st.text(_URLISH, max_size=20), st.text(_URLISH, max_size=20), st.sampled_from(["https", "http", "git+ssh"]))
@example("https://h/x", "", "https")
@example("https://h/?next=", "", "https")
def test_redact_hides_userinfo_anywhere_in_any_text(before: str, after: str, scheme: str) -> None:
    assert SECRET not in redact(f"{before}{scheme}://user:{SECRET}@host{after}")


@given(st.one_of(st.text(), st.text(_URLISH), urls_with_secrets()))
@example("?%")
@example("https://h/%")
@example("//a@b@c?d@e")
def test_redact_is_idempotent(text: str) -> None:
    assert redact(redact(text)) == redact(text)


def _error_of(url: str) -> str:
    try:
        parse_url(url)
    except ValueError as error:
        return str(error)
    return ""


@given(urls_with_secrets())
def test_the_error_of_a_bad_url_is_redacted(url: str) -> None:
    assert SECRET not in _error_of(url)
