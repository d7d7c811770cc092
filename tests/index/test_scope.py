"""Which index a URL belongs to, and why."""

import itertools
import string
from collections.abc import Callable, Sequence
from random import Random

import pytest
from hypothesis import assume, example, given, strategies as st

from fetcher.errors import ConfigError
from fetcher.index.scope import Index, Scope, Scopes
from fetcher.index.urls import Userinfo, parse_url, realm_of, segments_of


def resolve(indexes: Sequence[Index], url: str, listed_by: Index | None = None) -> Scope | None:
    return Scopes(indexes).resolve(parse_url(url), listed_by)


def owner(indexes: Sequence[Index], url: str, listed_by: Index | None = None) -> str | None:
    """The name of the index the URL belongs to."""
    scope = resolve(indexes, url, listed_by)
    return None if scope is None else scope.index.name


# ---------------------------------------------------------------------------------------------------------------- index


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("https://host/simple", "https://host"),
        ("https://host/simple/", "https://host"),
        ("https://host/root/awepy/+simple", "https://host/root/awepy"),
        ("https://host/root/awepy/+simple/", "https://host/root/awepy"),
        ("https://host/pypi/SIMPLE", "https://host/pypi"),
        ("https://host/pypi/Simple/", "https://host/pypi"),
        ("https://host/pypi/+Simple", "https://host/pypi"),
        ("https://host/%73imple", "https://host"),
        ("https://host/a/%2e%2e/simple", "https://host"),
        ("https://host/simple/simple", "https://host/simple"),
        ("https://host:8443/simple", "https://host:8443"),
        # any other tail: the URL itself
        ("https://host", "https://host"),
        ("https://host/", "https://host"),
        ("https://host/pypi", "https://host/pypi"),
        ("https://host/pypi/", "https://host/pypi"),
        ("https://host/simple-evil", "https://host/simple-evil"),
        ("https://host/notsimple", "https://host/notsimple"),
        ("https://host/++simple", "https://host/++simple"),
        ("https://host/simple/v3", "https://host/simple/v3"),
        ("https://host/a%2Fsimple", "https://host/a%2Fsimple"),
        ("https://host/api/v4/projects/7/packages/pypi/simple", "https://host/api/v4/projects/7/packages/pypi"),
        ("https://pkgs.example/org/_packaging/feed/pypi/simple/", "https://pkgs.example/org/_packaging/feed/pypi"),
    ],
)
def test_root(url: str, root: str) -> None:
    assert Index(url).root == root


def test_index_keeps_userinfo_apart() -> None:
    index = Index("https://us%40er:s3cr3t@host/simple/?token=s3cr3t#s3cr3t", roots=("https://u:s3cr3t@cdn/x/?s3cr3t",))
    assert index.url == "https://host/simple"
    assert index.userinfo == Userinfo("us@er", "s3cr3t")
    assert index.roots == ("https://cdn/x",)
    assert "s3cr3t" not in f"{index!r} {index} {index.label}"


@pytest.mark.parametrize(
    ("index", "label"),
    [(Index("https://host/simple", name="corp"), "corp"), (Index("https://u:p@host/simple"), "https://host/simple")],
)
def test_label(index: Index, label: str) -> None:
    assert index.label == label


@pytest.mark.parametrize("url", ["https://host/simple", "https://host/simple/", "https://host/simple//"])
def test_page_url(url: str) -> None:
    assert Index(url).page_url("demo") == "https://host/simple/demo/"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Index("ftp://host/simple", name="corp"), "index corp: 'ftp://host/simple' is not an http"),
        (lambda: Index("https://u:s3cr3t@host:99999/"), "is not an http or https URL"),
        (lambda: Index("https://host", name="corp", roots=("/files",)), "index corp: '/files' is not"),
        (lambda: Index("https://host", name="corp", authenticate="odd"), "index corp: authenticate is 'odd', not auto"),
        (lambda: Index(""), "is not an http or https URL"),
    ],
)  # fmt: skip
def test_bad_index(make: Callable[[], Index], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert says in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


def test_indexes_are_values() -> None:
    assert Index("https://host/simple/") == Index("https://host/simple")
    assert Index("https://a:b@host/simple") != Index("https://a:c@host/simple")
    assert len({Index("https://host/simple/"), Index("https://host/simple")}) == 1


# ------------------------------------------------------------------------------------------------------- covering roots


CORP = Index("https://host/corp/simple", name="corp")
TEAM = Index("https://host/corp/team/simple", name="team")
OTHER = Index("https://host/other/pypi", name="other")
CDN = Index("https://cdn.example/x/simple", name="cdn", roots=("https://host/blobs", "https://host/corp/blobs"))
ALL = (CORP, TEAM, OTHER, CDN)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param("https://host/corp/simple/demo/", "corp", id="the page"),
        pytest.param("https://host/corp", "corp", id="the root itself"),
        pytest.param("https://host/corp/", "corp", id="the root with a slash"),
        pytest.param("https://host/corp/files/x.whl", "corp", id="below the root"),
        pytest.param("https://host/corp/team/f/x.whl", "team", id="the longest root wins"),
        pytest.param("https://host/corp/teams/x.whl", "corp", id="whole segments: longer name"),
        pytest.param("https://host/corp/tea/x.whl", "corp", id="whole segments: shorter name"),
        pytest.param("https://host/corp-evil/x.whl", None, id="whole segments: root as prefix"),
        pytest.param("https://host/cor", None, id="whole segments: prefix of a root"),
        pytest.param("https://host/other/pypi/x.whl", "other", id="a root with another tail"),
        pytest.param("https://host/other/x.whl", None, id="above a root with another tail"),
        pytest.param("https://host/", None, id="above all"),
        pytest.param("https://host/blobs/x.whl", "cdn", id="a declared root in another realm"),
        pytest.param("https://host/corp/blobs/x.whl", "cdn", id="a declared root is as good as the index's own"),
        pytest.param("https://host/CORP/x.whl", None, id="paths have a case"),
        pytest.param("https://HOST:443/corp/x.whl", "corp", id="case of the host, default port"),
        pytest.param("https://u:p@host/corp/x.whl", "corp", id="userinfo"),
        pytest.param("http://host/corp/x.whl", None, id="http is not https"),
        pytest.param("https://host:8443/corp/x.whl", None, id="another port"),
        pytest.param("https://host.evil/corp/x.whl", None, id="another host"),
        pytest.param("https://corp@evil/corp/x.whl", None, id="the host is after the @"),
        pytest.param("https://host/corp/%2e%2e/x.whl", None, id="dots lead out"),
        pytest.param("https://host/x/%2E%2E/corp/x.whl", "corp", id="dots lead in"),
        pytest.param("https://host/corp/team/..%2fx.whl", "team", id="%2F is no separator: stays in"),
        pytest.param("https://host/corp%2Fteam/x.whl", None, id="%2F is no separator: stays out"),
        pytest.param("https://host/corp%2f", None, id="%2f is no separator"),
        pytest.param("https://host/%63orp/x.whl", "corp", id="percent-encoding is normalised"),
        pytest.param("https://host//corp/x.whl", None, id="an empty segment counts"),
        pytest.param("https://host/corp//x.whl", "corp", id="an empty segment below"),
        pytest.param("https://host/x?/corp/x", None, id="the query is no path"),
        pytest.param("https://host/corp?x=/../..", "corp", id="dots in a query"),
        pytest.param("https://evil/?https://host/corp/", None, id="a URL in the query"),
        pytest.param("https://evil/https://host/corp/", None, id="a URL in the path"),
    ],
)
def test_covered(url: str, expected: str | None) -> None:
    for order in itertools.permutations(ALL):
        assert owner(order, url) == expected


def test_index_page_below_another_index() -> None:
    """The URL of an index covers its pages, whatever lies in between."""
    outer = Index("https://host/simple", name="outer")
    inner = Index("https://host/simple/inner", name="inner")
    for order in ((outer, inner), (inner, outer)):
        assert owner(order, "https://host/simple/inner/x") == "inner"
        assert owner(order, "https://host/simple/innermost/x") == "outer"
        assert owner(order, "https://host/files/x") == "outer"


def test_idna() -> None:
    index = Index("https://bücher.example/simple", name="books")
    assert owner([index], "https://XN--BCHER-KVA.EXAMPLE:443/files/x") == "books"
    assert owner([index], "https://bucher.example/files/x") is None


def test_equal_length_goes_by_declaration() -> None:
    first = Index("https://host/simple", name="first")
    second = Index("https://host/+simple", name="second")
    assert owner([first, second], "https://host/files/x") == "first"
    assert owner([second, first], "https://host/files/x") == "second"
    assert owner([first, second], "https://host/+simple/x/") == "second"  # longer


def test_no_index() -> None:
    assert resolve([], "https://host/simple") is None


# ------------------------------------------------------------------------------------------------------------ listed by


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param("https://host/elsewhere/x.whl", "team", id="in the realm of the listing index"),
        pytest.param("https://HOST:443/elsewhere/x.whl", "team", id="the same realm, written otherwise"),
        pytest.param("https://host/other/pypi/x.whl", "other", id="a declared root beats the listing index"),
        pytest.param("https://host/corp/x.whl", "corp", id="a shorter declared root beats it too"),
        pytest.param("https://host/corp/team/x.whl", "team", id="its own root"),
        pytest.param("http://host/elsewhere/x.whl", None, id="http is another realm"),
        pytest.param("https://host:8443/elsewhere/x.whl", None, id="another port is another realm"),
        pytest.param("https://files.host/elsewhere/x.whl", None, id="another host is another realm"),
    ],
)
def test_listed_by(url: str, expected: str | None) -> None:
    for order in itertools.permutations(ALL):
        assert owner(order, url, TEAM) == expected


def test_listing_counts_the_realm_of_the_index_not_of_its_roots() -> None:
    assert owner(ALL, "https://host/elsewhere/x.whl", CDN) is None
    assert owner(ALL, "https://cdn.example/elsewhere/x.whl", CDN) == "cdn"


def test_devpi_inherited_file() -> None:
    """A page of root/awepy lists a file of root/base: uv 13737."""
    awepy = Index("https://devpi.example/root/awepy/+simple/", name="awepy", authenticate="always")
    url = "https://devpi.example/root/base/+f/a1/b2/demo-1.0-py3-none-any.whl"
    assert owner([awepy], url) is None
    assert owner([awepy], url, awepy) == "awepy"


@pytest.mark.parametrize(
    ("listed_by", "reason", "root", "sentence"),
    [
        (None, "root", "https://host/corp", "https://host/corp covers the URL"),
        (TEAM, "root", "https://host/corp", "https://host/corp covers the URL"),
    ],
)
def test_why_covered(listed_by: Index | None, reason: str, root: str, sentence: str) -> None:
    scope = resolve(ALL, "https://host/corp/x.whl", listed_by)
    assert scope is not None
    assert (scope.reason, scope.root, str(scope)) == (reason, root, sentence)


def test_why_listed() -> None:
    scope = resolve(ALL, "https://host/elsewhere/x.whl", TEAM)
    assert scope == Scope(TEAM, "listed", "https://host")
    assert str(scope) == "its page listed the file, and https://host is its realm"


# ------------------------------------------------------------------------------------------------------------ any input


REALMS = ("https://host", "http://host", "https://host:8443", "https://other", "https://bücher.example")
_names = st.text(string.ascii_lowercase + "-+", min_size=1, max_size=2)
_segments = st.lists(st.one_of(st.sampled_from(["a", "b", "simple"]), _names), max_size=4).map(tuple)
_places = st.tuples(st.sampled_from(REALMS), _segments)


def at(place: tuple[str, tuple[str, ...]]) -> str:
    return "/".join([place[0], *place[1]])


@st.composite
def declarations(draw: st.DrawFn) -> list[Index]:
    """Indexes with a name each; some with further roots."""
    places = draw(st.lists(st.tuples(_places, st.lists(_places, max_size=2)), max_size=5))
    return [Index(at(p), name=f"i{number}", roots=tuple(map(at, more))) for number, (p, more) in enumerate(places)]


def covering(index: Index, url: str) -> int | None:
    """The length of the index's longest root that covers the URL, by the rule's words alone."""
    asked = parse_url(url)
    lengths = [
        len(segments_of(root))
        for root in map(parse_url, (index.url, index.root, *index.roots))
        if realm_of(root) == realm_of(asked) and segments_of(asked)[: len(segments_of(root))] == segments_of(root)
    ]
    return max(lengths, default=None)


@given(declarations(), _places)
@example([Index("https://host", name="i0"), Index("https://host/a", name="i1")], ("https://host", ("a", "b")))
def test_the_longest_covering_root_wins(indexes: list[Index], place: tuple[str, tuple[str, ...]]) -> None:
    lengths = {index.name: covering(index, at(place)) for index in indexes}
    known = {name: length for name, length in lengths.items() if length is not None}
    scope = resolve(indexes, at(place))
    if scope is None:
        assert not known
    else:
        longest = max(known.values())
        assert scope.index.name == next(name for name, length in known.items() if length == longest)
        assert len(segments_of(parse_url(scope.root))) == longest


@given(declarations(), _places, st.randoms(use_true_random=False))
def test_order_counts_among_equals_only(
    indexes: list[Index], place: tuple[str, tuple[str, ...]], random: Random
) -> None:
    lengths = [length for index in indexes if (length := covering(index, at(place))) is not None]
    assume(lengths.count(max(lengths, default=0)) <= 1)
    shuffled = random.sample(indexes, len(indexes))
    assert owner(shuffled, at(place)) == owner(indexes, at(place))


@given(declarations(), _places, st.integers(0, 4))
def test_a_scope_never_leaves_its_realms(indexes: list[Index], place: tuple[str, tuple[str, ...]], which: int) -> None:
    listed_by = indexes[which] if which < len(indexes) else None
    scope = resolve(indexes, at(place), listed_by)
    realm = realm_of(parse_url(at(place)))
    if scope is not None:
        assert realm in {realm_of(parse_url(root)) for root in (scope.index.url, *scope.index.roots)}
    if listed_by is not None and realm == realm_of(parse_url(listed_by.url)):
        assert scope is not None


@given(declarations(), _places)
def test_the_spelling_of_a_url_does_not_count(indexes: list[Index], place: tuple[str, tuple[str, ...]]) -> None:
    realm, segments = place
    scheme, _, host = realm.partition("://")
    path = "/".join(segments)
    # Unreserved characters mean the same when they are encoded; `+` does not (RFC 3986 §2.2).
    encoded = "".join(char if char in "+/" else f"%{ord(char):02x}" for char in path)
    for url in (
        f"{scheme.upper()}://{host.upper()}/{path}/",
        f"{scheme}://user:password@{host}/{path}?a=/b#/c",
        f"{realm}/x/%2e%2e/{encoded}",
        f"{realm}/./{path}",
    ):
        assert owner(indexes, url) == owner(indexes, at(place))


@given(declarations(), _places, st.sampled_from(["-evil", "x", ".", "%2F", "%2fb", "~"]))
def test_whole_segments_only(indexes: list[Index], place: tuple[str, tuple[str, ...]], more: str) -> None:
    """A URL whose last segment is longer than a root's is not covered by that root."""
    assume(place[1])
    longer = at(place) + more
    scope = resolve(indexes, longer)
    if scope is not None and segments_of(parse_url(longer)) != segments_of(parse_url(at(place))):
        root = segments_of(parse_url(scope.root))
        assert root != segments_of(parse_url(at(place)))
