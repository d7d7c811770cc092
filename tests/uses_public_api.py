"""Uses the whole public API, as a resolver would; it is never run: type checkers read it, in their strict modes.

`assert_type` holds what callers may rely on.  `test_public_types.py` sees to it that nothing public is missing here.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import assert_never, assert_type

import packaging.metadata
from packaging.specifiers import SpecifierSet
from packaging.tags import Tag
from packaging.utils import BuildTag, NormalizedName
from packaging.version import Version

import fetcher.blocking
from fetcher import (
    AuthError,
    BadPage,
    BadReply,
    BadZip,
    Basic,
    Bearer,
    ConfigError,
    ConnectFailed,
    ContentError,
    Credentials,
    Disconnected,
    DiskError,
    Download,
    Event,
    Explanation,
    Fetcher,
    FetcherError,
    File,
    Forbidden,
    Formats,
    HashMismatch,
    Header,
    HopReport,
    Index,
    InsecureRedirect,
    LoginPage,
    Metadata,
    MetadataMismatch,
    MetadataMissing,
    MissingCredentials,
    NotAnSdist,
    NotAWheel,
    NotFound,
    NotStatic,
    Offline,
    Policy,
    Progress,
    Project,
    Retry,
    ServerFailed,
    Stalled,
    StatusError,
    Target,
    Throttled,
    TimedOut,
    TooManyRedirects,
    TransportError,
    Truncated,
    Unauthorized,
    __version__,
    candidates,
    describe_python,
    this_interpreter,
)

VERSION: str = __version__


def declare() -> tuple[list[Index | str], dict[str, Credentials]]:
    """Indexes, and what the caller knows of them."""
    policy: Policy = "always"
    corp = Index("https://devpi.example/root/corp/+simple", name="corp", authenticate=policy)
    other = Index(
        "https://files.example/simple", "other", explicit=True, default=False, roots=("https://cdn.example/a",)
    )
    assert_type(other.url, str)
    assert_type(other.name, str)
    assert_type(other.authenticate, Policy)
    assert_type(other.roots, tuple[str, ...])
    assert_type(other.explicit or other.default, bool)
    assert_type(other.label, str)
    assert str(other.realm) != str(corp.realm)
    assert str(other.root) != str(corp.root)
    if other.userinfo is not None:
        assert_type(other.userinfo.username, str)
        assert_type(other.userinfo.password, str | None)
    assert_type(other.page_url("demo"), str)
    known: dict[str, Credentials] = {"corp": Basic("user", "password"), "other": Bearer("token")}
    known["more"] = Header("JOB-TOKEN", "token")
    return [corp, other, "https://plain.example/simple"], known


def read_credentials(credentials: Credentials) -> str:
    """The three kinds, and no other."""
    match credentials:
        case Basic():
            return credentials.username + credentials.password
        case Bearer():
            return credentials.token
        case Header():
            return credentials.name + credentials.value
        case _:
            assert_never(credentials)


def on_event(event: Event) -> None:
    """What a download tells meanwhile."""
    match event:
        case Progress():
            assert_type(event.filename, str)
            assert_type(event.received, int)
            assert_type(event.total, int | None)
            assert_type(event.resumed_from, int | None)
        case Retry():
            assert_type(event.filename, str)
            assert_type(event.error, FetcherError)
            assert_type(event.attempt, int)
            assert_type(event.seconds, float)
        case _:
            assert_never(event)


def choose(project: Project) -> tuple[File, ...]:
    """Which files may be taken, best first."""
    here = this_interpreter()
    other = describe_python("3.12", ["manylinux_2_28_x86_64", "win_amd64"])
    assert_type(other, Target)
    assert_type(here.python, Version)
    assert_type(here.ranks, Mapping[Tag, int])
    assert_type(here.environment, Mapping[str, str])
    assert_type(here.place(frozenset({Tag("py3", "none", "any")})), int | None)
    formats = Formats(
        only_binary=frozenset({":all:"}), no_binary=frozenset({"demo"}), prefer="sdist", prefer_binary=True
    )
    formats = formats.heed("--only-binary", "demo")
    assert_type(formats.only_binary | formats.no_binary, frozenset[str])
    assert formats.prefer in ("wheel", "sdist")
    assert_type(formats.prefer_binary, bool)
    assert formats.only("demo") in ("wheel", "sdist", None)
    assert_type(formats.admit(project.files, project.name), list[File])
    assert_type(candidates(project, here), tuple[File, ...])
    assert_type(candidates(project, here, ">=2,<3"), tuple[File, ...])
    return candidates(
        project, other, SpecifierSet(">=2"), formats=formats, uploaded_before=datetime.now(UTC), prereleases=True
    )


def look_at(project: Project) -> None:
    """What a page says."""
    assert_type(project.name, str)
    assert_type(project.files, tuple[File, ...])
    assert_type(project.url, str)
    assert_type(project.index, Index | None)
    assert_type(project.versions, tuple[str, ...])
    assert_type(project.status + project.status_reason, str)
    assert_type(project.tracks + project.alternate_locations, tuple[str, ...])
    assert_type(project.api_version, str)
    assert_type(project.skipped, tuple[str, ...])
    file = project.files[0]
    assert_type(file.filename + file.url, str)
    assert_type(file.hashes, Mapping[str, str])
    assert_type(file.sha256, str | None)
    assert_type(file.size, int | None)
    assert_type(file.requires_python, str | None)
    assert_type(file.yanked, bool)
    assert_type(file.yanked_reason, str)
    assert_type(file.sidecar, Mapping[str, str] | None)
    assert_type(file.sidecar_url, str)
    assert_type(file.upload_time, str | None)
    assert_type(file.provenance, str | None)
    assert_type(file.listed_by, Index | None)
    assert_type(file.project, str | None)
    assert_type(file.is_wheel, bool)
    assert_type(file.name, NormalizedName | None)
    assert_type(file.version, Version | None)
    assert_type(file.build, BuildTag)
    assert_type(file.tags, frozenset[Tag])


def look_at_metadata(metadata: Metadata) -> None:
    """What a file says of itself, and what it cost to know."""
    assert_type(metadata.name + metadata.version + metadata.filename + metadata.url, str)
    assert_type(metadata.index, str | None)
    assert_type(metadata.raw, bytes)
    assert metadata.how in ("cache", "sidecar", "whole", "range", "stream")
    assert_type(metadata.requests + metadata.bytes, int)
    assert_type(metadata.verified, bool)
    assert_type(metadata.parsed, packaging.metadata.Metadata)
    assert_type(metadata.sha256, str)


def look_at_download(done: Download) -> None:
    """A file that is in its place."""
    assert_type(done.path, Path)
    assert_type(done.filename + done.url + done.sha256, str)
    assert_type(done.index, str | None)
    assert_type(done.size + done.bytes, int)
    assert_type(done.seconds, float)
    assert_type(done.resumed_from, int | None)
    assert_type(done.from_cache, bool)


def look_at_explanation(explanation: Explanation) -> None:
    """What asking a URL did."""
    assert_type(explanation.url, str)
    assert_type(explanation.hops, tuple[HopReport, ...])
    assert explanation.ranges in ("supported", "ignored", "refused", "wrong", None)
    assert explanation.content in ("zip", "gzip", "html", "json", "xml", "empty", "other", None)
    assert_type(explanation.if_listed_by, tuple[str, ...])
    assert_type(explanation.error, FetcherError | None)
    hop = explanation.hops[0]
    assert_type(hop.url, str)
    assert_type(hop.index, str | None)
    assert_type(hop.scope, str | None)
    assert_type(hop.policy, Policy)
    assert_type(hop.sent, str | None)
    assert_type(hop.signed, bool)
    assert_type(hop.status, int | None)


def on_cool_down(host: str, seconds: float, status: int) -> None:
    """A host asks to wait."""
    print(host, seconds, status)


async def use_async() -> None:
    """The front door in an event loop."""
    indexes, known = declare()
    async with Fetcher() as plain:
        assert_type(plain, Fetcher)
    async with Fetcher(
        indexes,
        credentials=known,
        concurrency=50,
        retries=2,
        timeout=10,
        limit_rate=1e6,
        environ={},
        cache=Path("cache"),
        cache_bytes=1 << 30,
        cache_files=False,
        per_host=4,
        on_cool_down=on_cool_down,
        refresh=True,
        offline=False,
    ) as fetcher:
        assert_type(fetcher.indexes, tuple[Index, ...])
        assert_type(fetcher.prefetch(["demo", "other"], index="corp"), None)
        assert_type(await fetcher.projects(index="corp"), tuple[str, ...])
        project = await fetcher.project("demo", index="corp", refresh=True)
        assert_type(project, Project)
        look_at(project)
        files = choose(project)
        fetcher.prefetch_metadata(files)
        fetcher.prefetch_metadata(["https://files.example/demo-1.0-py3-none-any.whl"])
        look_at_metadata(assert_type(await fetcher.metadata(files[0]), Metadata))
        look_at_metadata(await fetcher.metadata("https://files.example/demo-1.0.tar.gz"))
        look_at_download(assert_type(await fetcher.download(files[0], Path("wheels")), Download))
        look_at_download(await fetcher.download("https://files.example/x.whl", "d", fsync=True, on_event=on_event))
        assert_type(fetcher.cool_down("https://files.example/x.whl", 1.5, 429), None)
        look_at_explanation(assert_type(await fetcher.explain("https://files.example/x.whl"), Explanation))


def use_blocking() -> None:
    """The same front door without an event loop."""
    indexes, known = declare()
    with fetcher.blocking.Fetcher() as plain:
        assert_type(plain, fetcher.blocking.Fetcher)
    with fetcher.blocking.Fetcher(
        indexes,
        credentials=known,
        concurrency=50,
        retries=2,
        timeout=10,
        limit_rate=1e6,
        environ={},
        cache="cache",
        cache_bytes=1 << 30,
        cache_files=True,
        per_host=None,
        on_cool_down=on_cool_down,
        refresh=False,
        offline=True,
    ) as blocking:
        assert_type(blocking.indexes, tuple[Index, ...])
        assert_type(blocking.prefetch(["demo", "other"], index="corp"), None)
        assert_type(blocking.projects(index="corp"), tuple[str, ...])
        project = blocking.project("demo", index="corp", refresh=False)
        look_at(assert_type(project, Project))
        files = choose(project)
        blocking.prefetch_metadata(files)
        look_at_metadata(assert_type(blocking.metadata(files[0]), Metadata))
        look_at_metadata(blocking.metadata("https://files.example/demo-1.0.tar.gz"))
        look_at_download(assert_type(blocking.download(files[0], Path("wheels")), Download))
        look_at_download(blocking.download("https://files.example/x.whl", "d", fsync=True, on_event=on_event))
        assert_type(blocking.cool_down("https://files.example", 1, 503), None)
        look_at_explanation(assert_type(blocking.explain("https://files.example/x.whl"), Explanation))


def what_went_wrong(error: FetcherError) -> object:
    """Every error, with its facts."""
    assert_type(error.exit_code, int)
    match error:
        case ConfigError() | BadReply() | ConnectFailed() | Disconnected() | Offline():
            return assert_type(error.reason, str), isinstance(error, ConnectFailed) and error.lasting
        case MissingCredentials():
            return assert_type(error.url + error.index, str), assert_type(error.username_from, str | None)
        case Unauthorized() | Forbidden():
            return assert_type(error.index, str | None), assert_type(error.source, str | None), error.status
        case InsecureRedirect():
            return assert_type(error.final_url, str)
        case TimedOut():
            return assert_type(error.seconds, float)
        case Stalled():
            return assert_type(error.least, int), assert_type(error.seconds, float)
        case Truncated():
            return assert_type(error.received, int), assert_type(error.expected, int | None)
        case TooManyRedirects():
            return assert_type(error.redirects, int)
        case NotFound():
            return assert_type(error.asked, str), assert_type(error.source, str | None)
        case Throttled():
            return assert_type(error.left, float | None), assert_type(error.retry_after, float | None)
        case ServerFailed():
            return assert_type(error.status, int), assert_type(error.retry_after, float | None)
        case LoginPage():
            asked = assert_type(error.expected + error.url + error.final_url + error.title, str)
            why = [assert_type(fact, str | None) for fact in (error.index, error.scope, error.policy, error.sent)]
            return asked, error.status, why
        case NotAWheel() | NotAnSdist():
            return assert_type(error.url + error.filename + error.kind + error.detail, str)
        case BadPage():
            return assert_type(error.url + error.reason, str)
        case BadZip() | MetadataMissing() | MetadataMismatch():
            return assert_type(error.filename + error.reason, str)
        case NotStatic():
            assert_type(error.has_pkg_info, bool)
            return assert_type(error.filename + error.metadata_version, str), assert_type(
                error.dynamic, tuple[str, ...]
            )
        case HashMismatch():
            return assert_type(error.filename + error.url + error.algorithm + error.expected + error.actual, str)
        case DiskError():
            return assert_type(error.path + error.reason, str)
        case AuthError() | TransportError() | StatusError() | ContentError():
            return f"one of the others: {error}"
        case _:
            return assert_type(error.hurried, bool)
