"""Each error: its place in the tree, its sentence, its exit code; no secret in any of them."""

import copy
import errno
import pickle
from collections.abc import Callable, Iterator
from dataclasses import fields, replace

import pytest

from fetcher import errors
from fetcher.errors import (
    AuthError,
    BadPage,
    BadReply,
    BadZip,
    ConfigError,
    ConnectFailed,
    ContentError,
    Disconnected,
    DiskError,
    FetcherError,
    Forbidden,
    HashMismatch,
    InsecureRedirect,
    LoginPage,
    MetadataMismatch,
    MetadataMissing,
    MissingCredentials,
    NotAnSdist,
    NotAWheel,
    NotFound,
    NotStatic,
    Offline,
    ServerFailed,
    Stalled,
    StatusError,
    StoreFailed,
    StoreRefused,
    Throttled,
    TimedOut,
    TooManyRedirects,
    TransportError,
    Truncated,
    Unauthorized,
    WorkerLost,
    environment_name,
)

# Behaviour §6 and §7: kind, what it is a kind of, exit code.
TREE: list[tuple[type[FetcherError], type[Exception], int]] = [
    (FetcherError, Exception, 1),
    (ConfigError, FetcherError, 2),
    (AuthError, FetcherError, 3),
    (MissingCredentials, AuthError, 3),
    (Unauthorized, AuthError, 3),
    (Forbidden, AuthError, 3),
    (InsecureRedirect, AuthError, 3),
    (TransportError, FetcherError, 4),
    (ConnectFailed, TransportError, 4),
    (Disconnected, TransportError, 4),
    (TimedOut, TransportError, 4),
    (Stalled, TransportError, 4),
    (Truncated, TransportError, 4),
    (BadReply, TransportError, 4),
    (TooManyRedirects, TransportError, 4),
    (WorkerLost, TransportError, 4),
    (Offline, TransportError, 4),
    (StatusError, FetcherError, 4),
    (NotFound, StatusError, 4),
    (Throttled, StatusError, 4),
    (ServerFailed, StatusError, 4),
    (ContentError, FetcherError, 5),
    (LoginPage, ContentError, 3),
    (NotAWheel, ContentError, 5),
    (NotAnSdist, ContentError, 5),
    (BadPage, ContentError, 5),
    (BadZip, ContentError, 5),
    (MetadataMissing, ContentError, 5),
    (NotStatic, ContentError, 5),
    (MetadataMismatch, ContentError, 5),
    (HashMismatch, ContentError, 5),
    (DiskError, FetcherError, 6),
    (StoreFailed, DiskError, 6),
    (StoreRefused, StoreFailed, 3),
]

URL = "https://user:S3CR3T@host/files/demo.whl?X-Amz-Signature=S3CR3T&x=1#S3CR3T"
SHOWN = "https://***@host/files/demo.whl?X-Amz-Signature=***&x=1"
FINAL = "https://login.example/?token=S3CR3T"
LOGIN = LoginPage("demo.whl", URL, FINAL, 200, "Sign in", "corp", "https://host covers the URL", "auto", None)

# An error, and what its sentence must say.
SENTENCES: list[tuple[FetcherError, list[str]]] = [
    (ConfigError("flag --x: no"), ["flag --x: no"]),
    (
        MissingCredentials(URL, "corp"),
        [SHOWN, "index corp", '"always"', "was not asked", "FETCHER_INDEX_CORP_PASSWORD", "netrc"],
    ),
    (MissingCredentials(URL, "https://host/simple"), [SHOWN, "https://host/simple", "into the index URL", "netrc"]),
    (Unauthorized(URL, None), [SHOWN, "401", "lies in no declared index", "`roots`"]),
    (Unauthorized(URL, "my-corp"), [SHOWN, "401", "index my-corp", "none are known", "FETCHER_INDEX_MY_CORP_USERNAME"]),
    (Unauthorized(URL, "corp", "netrc (machine host)"), [SHOWN, "401", "netrc (machine host)", "expired"]),
    (Unauthorized(URL, None, "the request URL"), [SHOWN, "the server", "the request URL"]),
    (Forbidden(URL, "corp"), [SHOWN, "403", "index corp", "without credentials", "FETCHER_INDEX_CORP_PASSWORD"]),
    (Forbidden(URL, None), [SHOWN, "403", "the server", "no declared index"]),
    (Forbidden(URL, "corp", "the caller"), [SHOWN, "403", "index corp", "from the caller", "right"]),
    (InsecureRedirect(URL, FINAL), [SHOWN, "https://login.example/?token=***", "https to http", "not followed"]),
    (TransportError(URL, "odd"), [SHOWN, "odd"]),
    (ConnectFailed(URL, "Connection refused"), [SHOWN, "cannot connect", "Connection refused"]),
    (Disconnected(URL, "reset by peer"), [SHOWN, "broke", "reset by peer"]),
    (TimedOut(URL, "nothing came", seconds=30), [SHOWN, "nothing came", "30 s"]),
    (Stalled(URL, least=4096, seconds=0.5), [SHOWN, "stalled", "4096 bytes", "0.5 s"]),
    (Truncated(URL, received=12, expected=40), [SHOWN, "12 of 40 bytes"]),
    (Truncated(URL, received=12), [SHOWN, "12 bytes"]),
    (BadReply(URL, "two lengths"), [SHOWN, "two lengths"]),
    (TooManyRedirects(URL, redirects=10), [SHOWN, "more than 10 times"]),
    (Offline(URL), [SHOWN, "not in the cache", "--offline"]),
    (StatusError(URL, 418), [SHOWN, "418"]),
    (NotFound(URL), [SHOWN, "404", "does not exist", "without credentials"]),
    (NotFound(URL, 410, source="the caller"), [SHOWN, "410", "from the caller", "expired"]),
    (NotFound("", asked="no index has a project called demo"), ["no index has a project called demo"]),
    (Throttled(URL, 429, 3600), [SHOWN, "429", "asks to wait 3600 s", "later"]),
    (Throttled(URL, 408), [SHOWN, "408", "later"]),
    (Throttled(URL, 503, 20, left=4.25), [SHOWN, "503", "asks to wait 20.0 s", "4.2 s are left before the deadline"]),
    (ServerFailed(URL, 503), [SHOWN, "503"]),
    (
        LOGIN,
        ["demo.whl", SHOWN, "token=***", "200", "Sign in", "index corp", "https://host covers the URL",
         'authenticate = "always"', "FETCHER_INDEX_CORP_PASSWORD"],
    ),
    (replace(LOGIN, sent="netrc (machine host)"), ["of index corp", "from netrc (machine host)", "not accepted"]),
    (replace(LOGIN, sent="the request URL", index=None), ["from the request URL", "not accepted"]),
    (replace(LOGIN, index=None, scope=None), ["lies in no declared index", "`roots`"]),
    (replace(LOGIN, policy="never"), ['index corp has authenticate = "never"', '"always"']),
    (replace(LOGIN, title="", final_url=URL), ["an HTML page (HTTP 200"]),
    (NotAWheel(URL, "demo.whl", "json", "token expired"), ["demo.whl", "a JSON document", "token expired", SHOWN]),
    (NotAWheel(URL, "demo.whl", "xml"), ["an XML document"]),
    (NotAWheel(URL, "demo.whl", "gzip"), ["a gzip archive"]),
    (NotAWheel(URL, "demo.whl", "empty"), ["an empty body"]),
    (NotAWheel(URL, "demo.whl", "html"), ["an HTML page"]),
    (NotAWheel(URL, "demo.whl", "other"), ["demo.whl", "no zip"]),
    (NotAWheel(URL, "demo.whl", "tar"), ["a tar archive"]),
    (NotAnSdist(URL, "demo.zip", "json", "token expired"), ["demo.zip", "a JSON document", "token expired", SHOWN]),
    (NotAnSdist(URL, "demo.tar.gz", "zip"), ["instead of demo.tar.gz came a zip archive"]),
    (NotAnSdist(URL, "demo.zip", "bzip2"), ["a bzip2 archive"]),
    (NotAnSdist(URL, "demo.zip", "xz"), ["an xz archive"]),
    (NotAnSdist(URL, "demo.tar.gz", "empty"), ["an empty body"]),
    (NotAnSdist(URL, "demo.tar.gz", "other"), ["demo.tar.gz", "no such archive"]),
    (BadPage(URL, "no JSON"), [SHOWN, "index page", "no JSON"]),
    (BadZip("demo.whl", "two end records"), ["demo.whl", "two end records"]),
    (MetadataMissing("demo.whl", "no dist-info"), ["demo.whl", "no dist-info"]),
    (NotStatic("demo.zip", "2.1"), ["demo.zip", "(Metadata-Version 2.1, before 2.2)", "never does", "take a wheel"]),
    (NotStatic("demo.zip", ""), ["(no Metadata-Version)"]),
    (NotStatic("demo.zip", "", has_pkg_info=False), ["(there is none)", "never does", "take a wheel"]),
    (NotStatic("demo.zip", "2.4", ("Requires-Dist",)), ["(Requires-Dist is dynamic)"]),
    (NotStatic("demo.zip", "2.4", ("Name", "Provides-Extra")), ["(Name, Provides-Extra are dynamic)"]),
    (MetadataMismatch("demo.whl", "Name: other"), ["demo.whl", "Name: other"]),
    (HashMismatch("demo.whl", URL, "sha256", "aa", "bb"), ["demo.whl", SHOWN, "sha256", "expected aa", "got bb"]),
    (DiskError("/data/demo.whl", "No space left on device"), ["/data/demo.whl", "No space left on device"]),
    (WorkerLost(URL, workers=1), [SHOWN, ": a worker of the cluster died"]),
    (WorkerLost(URL, workers=4), [SHOWN, ": 4 workers of the cluster died, one after the other, of bringing"]),
    (StoreFailed("s3://b/p/x", "no such bucket"), ["s3://b/p/x: no such bucket"]),
    (StoreRefused("s3://b/p/x", "AccessDenied"), ["s3://b/p/x: AccessDenied"]),
]  # fmt: skip
ERRORS = [error for error, _ in SENTENCES]
IDS = [f"{type(error).__name__}-{number}" for number, error in enumerate(ERRORS)]


def subclasses(kind: type[FetcherError]) -> Iterator[type[FetcherError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from subclasses(below)


@pytest.mark.parametrize(("kind", "parent", "exit_code"), TREE, ids=lambda value: getattr(value, "__name__", value))
def test_tree(kind: type[FetcherError], parent: type[Exception], exit_code: int) -> None:
    assert kind.__base__ is parent
    assert kind.exit_code == exit_code


def test_the_tree_is_complete() -> None:
    kinds = [kind for kind, _, _ in TREE]
    assert {kind for kind in subclasses(FetcherError) if kind.__module__ == errors.__name__} == set(kinds)
    assert sorted(errors.__all__) == sorted(kind.__name__ for kind in kinds)
    for kind in kinds:
        assert kind.__name__ in (errors.__doc__ or "")


def test_every_kind_has_a_sentence() -> None:
    abstract = {FetcherError, AuthError, ContentError}
    assert {type(error) for error in ERRORS} == {kind for kind, _, _ in TREE} - abstract


@pytest.mark.parametrize(("error", "facts"), SENTENCES, ids=IDS)
def test_the_sentence_has_the_facts(error: FetcherError, facts: list[str]) -> None:
    sentence = str(error)
    for fact in facts:
        assert fact in sentence
    assert "\n" not in sentence
    assert not sentence.endswith(".")
    assert "None" not in sentence


@pytest.mark.parametrize("error", ERRORS, ids=IDS)
def test_no_secret(error: FetcherError) -> None:
    assert "S3CR3T" not in f"{error} {error!r} {vars(error)} {error.args}"
    assert b"S3CR3T" not in pickle.dumps(error)


@pytest.mark.parametrize("error", ERRORS, ids=IDS)
@pytest.mark.parametrize("again", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
def test_survives_a_process_boundary(error: FetcherError, again: Callable[[FetcherError], FetcherError]) -> None:
    other = again(error)
    assert type(other) is type(error)
    assert vars(other) == vars(error)
    assert str(other) == str(error)
    assert repr(other) == repr(error)


@pytest.mark.parametrize("error", ERRORS, ids=IDS)
def test_facts_are_attributes(error: FetcherError) -> None:
    assert {field.name for field in fields(error)} <= set(vars(error))
    assert hash(error) == hash(error)
    assert error == error
    with pytest.raises(FetcherError) as caught:
        raise error
    assert caught.value is error


def test_urls_are_redacted_as_attributes() -> None:
    error = LOGIN
    assert (error.url, error.final_url) == (SHOWN, "https://login.example/?token=***")


@pytest.mark.parametrize(
    ("index", "variable"), [("corp", "CORP"), ("my-index.2", "MY_INDEX_2"), ("Büro", "B_RO"), ("a b", "A_B"), ("", "")]
)
def test_environment_name(index: str, variable: str) -> None:
    assert environment_name(index) == variable


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "x"), "No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
        (OSError("odd"), "odd"),
    ],
)
def test_disk_error_of_the_operating_system(error: OSError, reason: str) -> None:
    assert DiskError.of("/d/demo.whl", error).reason == reason
