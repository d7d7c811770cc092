"""How real package servers behave, one test for each row of that list; numbers are issues of the project named.

Each runs the two operations that matter, METADATA and download, against a fake that behaves like that server, and looks
at the wire: the right bytes or one typed error, METADATA within its budget, and credentials only where they belong.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import warnings
import zipfile
from functools import cache
from itertools import product
from random import Random
from typing import TYPE_CHECKING, Any, Literal

import pytest
from fake_faults import (
    ChangedFile,
    ContentType,
    Cut,
    Etag,
    Fault,
    FirstWholeThenRanges,
    Gzip,
    HangUp,
    HeadLies,
    IgnoreRanges,
    LoginPage as LoginPageFault,
    LongBody,
    NoContentLength,
    Only,
    PartialAs200,
    Presigned,
    RedirectChain,
    RedirectLoop,
    RedirectTo,
    SignedOnly,
    Stating,
    Status,
    SuffixAsPrefix,
    SuffixRefused,
    TruncatedFile,
)
from fake_index import UNAUTHORIZED, FakeIndex, Guard, basic
from fake_pages import Tree
from fake_wheels import make_wheel, metadata_of, wheel_filename
from wire_checks import (
    HONEST_REQUESTS,
    MOST_REQUESTS,
    NOTHING_KNOWN,
    Outcome,
    ask_metadata,
    assert_within_budget,
    corp,
    find,
    left_in,
    observe,
)

from fetcher import (
    AuthError,
    BadPage,
    BadReply,
    BadZip,
    Basic,
    Bearer,
    ContentError,
    Download,
    Fetcher,
    FetcherError,
    Forbidden,
    HashMismatch,
    Header,
    Index,
    LoginPage,
    Metadata,
    MissingCredentials,
    NotFound,
    StatusError,
    TransportError,
    Truncated,
    Unauthorized,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from fake_index import Wire

    from fetcher import File

pytestmark = pytest.mark.usefixtures("_no_blocking", "_short_waits")

NAME = wheel_filename()
SECRET = basic("user", "password")

LAYOUTS: dict[str, dict[str, Any]] = {
    "small": {"size": 40_000},
    "tail": {"size": 300_000},
    "far": {"size": 1_000_000, "distance": 600_000},
    "directory-before-tail": {"many_entries": 1_800},
}
Operation = Literal["metadata", "download"]
PageFormat = Literal["json", "html"]


@cache
def wheel_of(layout: str) -> bytes:
    return make_wheel(**LAYOUTS[layout])


def _everywhere() -> Iterator[Any]:
    """METADATA of every layout, with the size known and not; a download knows neither difference."""
    for layout, page_format in product(LAYOUTS, ("json", "html")):
        size = "size-known" if page_format == "json" else "size-unknown"
        yield pytest.param("metadata", layout, page_format, id=f"metadata-{layout}-{size}")
    yield pytest.param("download", "tail", "json", id="download")


everywhere = pytest.mark.parametrize(("operation", "layout", "page_format"), list(_everywhere()))
layouts = pytest.mark.parametrize("layout", LAYOUTS)
page_formats = pytest.mark.parametrize("page_format", ["json", "html"], ids=["size-known", "size-unknown"])
operations = pytest.mark.parametrize("operation", ["metadata", "download"])


async def fetch(
    operation: Operation, fetcher: Fetcher, file: File | str, directory: Path, *servers: FakeIndex
) -> Outcome[Metadata] | Outcome[Download]:
    if operation == "metadata":
        return await ask_metadata(fetcher, file, *servers)
    return await observe(fetcher.download(file, directory), *servers)


def assert_right(
    outcome: Outcome[Metadata] | Outcome[Download], wheel: bytes, *, requests: int = MOST_REQUESTS
) -> None:
    """The METADATA of this wheel within the budget, or the wheel itself."""
    done = outcome.done
    if isinstance(done, Metadata):
        assert done.raw == metadata_of(wheel)
        assert_within_budget(outcome, len(wheel), requests=requests)
    else:
        assert done.path.read_bytes() == wheel
        assert (done.size, done.sha256) == (len(wheel), hashlib.sha256(wheel).hexdigest())
        assert [path.name for path in done.path.parent.iterdir()] == [done.path.name]
        assert outcome.requests <= requests


def credentials_in(wires: Sequence[Wire]) -> set[str | None]:
    return {wire.authorization for wire in wires}


def netrc(tmp_path: Path, text: str = "machine 127.0.0.1 login user password password\n") -> dict[str, str]:
    path = tmp_path / "netrc"
    path.write_text(text)
    return {"NETRC": str(path)}


# --- devpi (uv 13737, 3687) --------------------------------------------------------------------------------------


def devpi(**more: Any) -> FakeIndex:
    """`root/awepy` inherits from `root/base`: its pages list files below another path. Anonymous: to `/+login`."""
    guard = Guard((SECRET,), otherwise=LoginPageFault(redirect=True), refused=UNAUTHORIZED)
    tree: dict[str, Any] = {"pages": "/root/awepy/+simple", "files": "/root/base/+f/ab1/2cd", "auth": {"/root": guard}}
    return FakeIndex(
        wheels={NAME: wheel_of("tail")},
        faults={"*": Stating({"Cache-Control": "max-age=0, no-store"})},
        **tree,
        **more,
    )


@operations
@pytest.mark.parametrize("policy", ["auto", "always"])
async def test_devpi_inherited_index(policy: Any, operation: Operation, dest: Path) -> None:
    async with devpi() as index:
        corp = Index(index.url_as("user:password"), name="corp", authenticate=policy)
        async with Fetcher([corp], environ=NOTHING_KNOWN) as fetcher:
            outcome = await fetch(operation, fetcher, await find(fetcher), dest, index)
        assert_right(outcome, wheel_of("tail"), requests=1)
        assert index.anonymous == []


@operations
async def test_devpi_login_page_is_a_challenge_once(operation: Operation, dest: Path, tmp_path: Path) -> None:
    async with devpi() as index, corp(index, environ=netrc(tmp_path)) as fetcher:
        outcome = await fetch(operation, fetcher, await find(fetcher), dest, index)
    assert_right(outcome, wheel_of("tail"), requests=1)
    assert [wire.path for wire in index.anonymous] == ["/root/awepy/+simple/demo/", "/+login"]


@operations
async def test_devpi_without_credentials_is_a_login_page(operation: Operation, dest: Path) -> None:
    async with devpi() as index, corp(index) as fetcher:
        url = f"{index.files_url}/{NAME}"
        outcome = await fetch(operation, fetcher, url, dest, index)
        with pytest.raises(LoginPage):
            await fetcher.project("demo")
    assert isinstance(outcome.error, LoginPage)
    assert outcome.requests == 2
    assert left_in(dest) == []


async def test_devpi_file_of_another_declared_index_gets_that_ones_credentials() -> None:
    """A declared scope beats the page that listed the file."""
    other = basic("base", "other")
    guards = {"/root/awepy": Guard((SECRET,)), "/root/base": Guard((other,))}
    async with FakeIndex(
        wheels={NAME: wheel_of("tail")}, pages="/root/awepy/+simple", files="/root/base/+f", auth=guards
    ) as index:
        declared = [
            Index(index.url_as("user:password"), name="awepy"),
            Index(f"{index.base}/root/base/+simple".replace("://", "://base:other@"), name="base"),
        ]
        async with Fetcher(declared, environ=NOTHING_KNOWN) as fetcher:
            outcome = await ask_metadata(fetcher, await find(fetcher), index)
    assert_right(outcome, wheel_of("tail"), requests=1)
    assert credentials_in(outcome.wires) == {other}


# --- GitLab (uv 7359, 8565, 9331; pip 10902, 11735) --------------------------------------------------------------


def gitlab(project: int, guard: Guard, **more: Any) -> FakeIndex:
    root = f"/api/v4/projects/{project}/packages/pypi"
    return FakeIndex(
        wheels={NAME: wheel_of("tail")}, pages=f"{root}/simple", files=f"{root}/files", auth={root: guard}, **more
    )


@operations
async def test_gitlab_404_to_the_anonymous_is_a_challenge(operation: Operation, dest: Path, tmp_path: Path) -> None:
    async with gitlab(1, Guard((SECRET,), Status(404))) as index, corp(index, environ=netrc(tmp_path)) as fetcher:
        outcome = await fetch(operation, fetcher, await find(fetcher), dest, index)
    assert_right(outcome, wheel_of("tail"), requests=1)
    assert [wire.status for wire in index.log] == [404, 200, *outcome.statuses]


async def test_gitlab_404_to_a_wrong_token_says_that_one_was_sent() -> None:
    async with gitlab(1, Guard((SECRET,), Status(404))) as index:
        wrong = Fetcher([Index(index.url_as("user:expired"), name="corp")], environ=NOTHING_KNOWN)
        async with wrong as fetcher:
            outcome = await observe(fetcher.project("demo"), index)
    assert isinstance(outcome.error, NotFound)
    assert "corp" in str(outcome.error)
    assert "expired" not in str(outcome.error).replace("may have expired", "")
    assert "may have expired" in str(outcome.error)
    assert outcome.requests == 1


async def test_gitlab_302_to_the_public_index_is_a_challenge(tmp_path: Path) -> None:
    """The name belongs to somebody else there: with credentials at hand, theirs is not taken."""
    public = FakeIndex(wheels={wheel_filename("demo", "9.0"): make_wheel("demo", "9.0")}, host="localhost")
    async with public:
        guard = Guard((SECRET,), RedirectTo(public.url))
        async with gitlab(1, guard) as index, corp(index, environ=netrc(tmp_path)) as fetcher:
            file = await find(fetcher)
            outcome = await ask_metadata(fetcher, file, index, public)
    assert file.filename == NAME
    assert_right(outcome, wheel_of("tail"), requests=1)
    assert credentials_in(public.log) <= {None}


async def test_gitlab_302_to_the_public_index_with_always_and_no_credentials_asks_nobody() -> None:
    public = FakeIndex(wheels={wheel_filename("demo", "9.0"): make_wheel("demo", "9.0")}, host="localhost")
    async with public:
        guard = Guard((SECRET,), RedirectTo(public.url))
        async with gitlab(1, guard) as index, corp(index, index_options={"authenticate": "always"}) as fetcher:
            outcome = await observe(fetcher.project("demo"), index, public)
    assert isinstance(outcome.error, MissingCredentials)
    assert outcome.requests == 0


@pytest.mark.parametrize("status", [401, 404])
@pytest.mark.parametrize("order", ["parent-first", "child-first"])
async def test_gitlab_several_tokens_on_one_host(status: int, order: str) -> None:
    """The longest scope wins, whatever the order of declaration, and no token answers for another."""
    tokens = {"/api/v4/projects/1": "one", "/api/v4/projects/12": "twelve", "/api/v4/projects/1/sub": "sub"}
    guards = {path: Guard((basic("__token__", token),), Status(status)) for path, token in tokens.items()}
    trees = [
        Tree(
            wheels={wheel_filename(token): make_wheel(token, size=300_000)},
            pages=f"{path}/packages/pypi/simple",
            files=f"{path}/packages/pypi/files",
        )
        for path, token in tokens.items()
    ]
    async with FakeIndex(more=trees, auth=guards) as index:
        declared = [
            Index(f"{index.base}{path}/packages/pypi/simple".replace("://", f"://__token__:{token}@"), name=token)
            for path, token in tokens.items()
        ]
        async with Fetcher(declared if order == "parent-first" else declared[::-1], environ=NOTHING_KNOWN) as fetcher:
            for path, token in tokens.items():
                file = (await fetcher.project(token, index=token)).files[-1]
                await fetcher.metadata(file)
                mine = [wire for wire in index.log if wire.path.startswith(f"{path}/packages/")]
                assert credentials_in(mine) == {basic("__token__", token)}
    assert {wire.status for wire in index.log} <= {200, 206}


@operations
async def test_gitlab_job_token_header_stays_at_home(operation: Operation, dest: Path) -> None:
    """A secret header is a credential: no redirect takes it to the object storage, nor an Authorization."""
    storage = FakeIndex(wheels={NAME: wheel_of("tail")}, faults={"*.whl": SignedOnly()})
    async with storage:
        guard = Guard(("ci-secret",), header="JOB-TOKEN")
        async with gitlab(1, guard, faults={"*.whl": Presigned(storage.files_url)}) as index:
            declared = Index(index.url, name="corp")
            credentials = {"corp": Header("JOB-TOKEN", "ci-secret")}
            async with Fetcher([declared], credentials=credentials, environ=NOTHING_KNOWN) as fetcher:
                outcome = await fetch(operation, fetcher, await find(fetcher), dest, index, storage)
    assert_right(outcome, wheel_of("tail"))
    assert index.anonymous == []
    assert not [wire for wire in storage.log if "JOB-TOKEN" in wire.headers or wire.authorization]


# --- Azure Artifacts (uv 1371, 1458, 11379, 17144, 17357, 21347) -------------------------------------------------

GUID = "/org/_packaging/0e7c4ac7-6cc3-4a0f-9d5e-6c3f0a1b2c3d/pypi/download"
FEED = "/org/_packaging/feed/pypi/simple"
VSS = basic("VssSessionToken", "azure-secret")


def azure(blob: FakeIndex | None = None, **more: Any) -> FakeIndex:
    faults = [HeadLies(405), *([] if blob is None else [Presigned(blob.files_url, status=303, key="sig")])]
    tree: dict[str, Any] = {"pages": FEED, "files": GUID, "auth": {"/org": Guard((VSS,))}}
    return FakeIndex(wheels={NAME: wheel_of("far")}, faults={"*.whl": faults}, **tree, **more)


@operations
@page_formats
async def test_azure_guid_paths_by_the_listing_page(page_format: PageFormat, operation: Operation, dest: Path) -> None:
    async with azure(page_format=page_format) as index:
        declared = Index(index.url_as("VssSessionToken:azure-secret"), name="feed")
        async with Fetcher([declared], environ=NOTHING_KNOWN) as fetcher:
            outcome = await fetch(operation, fetcher, await find(fetcher), dest, index)
    assert_right(outcome, wheel_of("far"), requests=HONEST_REQUESTS)
    assert credentials_in(index.log) == {VSS}


@operations
async def test_azure_guid_paths_by_roots(operation: Operation, dest: Path) -> None:
    """The URL comes from a lock file: no page has listed it. Without `roots` it has no scope, and gets nothing."""
    async with azure() as index:
        url = f"{index.files_url}/{NAME}"
        declared = Index(index.url_as("VssSessionToken:azure-secret"), name="feed", roots=(index.files_url,))
        async with Fetcher([declared], environ=NOTHING_KNOWN) as fetcher:
            outcome = await fetch(operation, fetcher, url, dest, index)
        assert_right(outcome, wheel_of("far"), requests=HONEST_REQUESTS)
        assert credentials_in(outcome.wires) == {VSS}
        rootless = Index(index.url_as("VssSessionToken:azure-secret"), name="feed")
        async with Fetcher([rootless], environ=NOTHING_KNOWN) as fetcher:
            outside = await fetch(operation, fetcher, url, dest / "outside", index)
    assert isinstance(outside.error, Unauthorized)
    assert credentials_in(outside.wires) == {None}


async def test_azure_roots_on_another_host() -> None:
    """`roots` are the only way its credentials reach another realm; the page that lists a file there is not enough."""
    cdn = FakeIndex(wheels={NAME: wheel_of("tail")}, auth={"/files": Guard((VSS,))}, host="localhost")
    async with (
        cdn,
        FakeIndex(wheels={NAME: wheel_of("tail")}, href=cdn.files_url, auth={"/": Guard((VSS,))}) as index,
    ):
        url = index.url_as("VssSessionToken:azure-secret")
        async with Fetcher([Index(url, name="feed")], environ=NOTHING_KNOWN) as fetcher:
            refused = await ask_metadata(fetcher, await find(fetcher), cdn)
        async with Fetcher([Index(url, name="feed", roots=(cdn.files_url,))], environ=NOTHING_KNOWN) as fetcher:
            outcome = await ask_metadata(fetcher, await find(fetcher), cdn)
    assert isinstance(refused.error, Unauthorized)
    assert credentials_in(refused.wires) == {None}
    assert_right(outcome, wheel_of("tail"), requests=1)
    assert credentials_in(outcome.wires) == {VSS}


@operations
@page_formats
async def test_azure_303_to_blob_storage(page_format: PageFormat, operation: Operation, dest: Path) -> None:
    """The blob store refuses an Authorization header, and would be handed a token that is none of its business."""
    blob = FakeIndex(wheels={NAME: wheel_of("far")}, faults={"*.whl": SignedOnly(key="sig")})
    async with blob, azure(blob, page_format=page_format) as index:
        declared = Index(index.url_as("VssSessionToken:azure-secret"), name="feed")
        async with Fetcher([declared], environ=NOTHING_KNOWN) as fetcher:
            outcome = await fetch(operation, fetcher, await find(fetcher), dest, index, blob)
    assert_right(outcome, wheel_of("far"), requests=4)
    assert credentials_in(index.log) == {VSS}
    assert credentials_in(blob.log) == {None}


async def test_azure_one_look_up_for_all_sub_urls(tmp_path: Path) -> None:
    names = ["aa", "bb", "cc", "dd"]
    wheels = {wheel_filename(name): make_wheel(name, size=200_000) for name in names}
    guard = {"/org": Guard((SECRET,))}
    async with (
        FakeIndex(wheels=wheels, pages=FEED, files=GUID, auth=guard) as index,
        corp(index, environ=netrc(tmp_path)) as fetcher,
    ):
        for name in names:
            await fetcher.metadata(await find(fetcher, name))
    assert len(index.anonymous) == 1
    assert index.requests == 1 + 2 * len(names)


# --- AWS CodeArtifact (uv 11899, 13895; pex 3224) ----------------------------------------------------------------


def codeartifact(*faults: Fault) -> FakeIndex:
    """Relative links to files below the page: `/simple/<project>/<version>/`. An expired token gets 404."""
    pages = "/pypi/repo/simple"
    guard = Guard((basic("aws", "token"),), refused=Status(404, body="json"))
    return FakeIndex(
        wheels={NAME: wheel_of("tail")},
        pages=pages,
        files=f"{pages}/demo/1.0",
        auth={"/pypi": guard},
        faults={"*.whl": faults},
    )


@operations
async def test_codeartifact_files_below_the_page(operation: Operation, dest: Path) -> None:
    async with (
        codeartifact() as index,
        Fetcher([Index(index.url_as("aws:token"), name="corp")], environ=NOTHING_KNOWN) as fetcher,
    ):
        outcome = await fetch(operation, fetcher, await find(fetcher), dest, index)
    assert_right(outcome, wheel_of("tail"), requests=1)
    assert index.anonymous == []


async def test_codeartifact_expired_token_on_a_page_says_so() -> None:
    async with (
        codeartifact() as index,
        Fetcher([Index(index.url_as("aws:stale"), name="corp")], environ=NOTHING_KNOWN) as fetcher,
    ):
        outcome = await observe(fetcher.project("demo"), index)
    assert isinstance(outcome.error, NotFound)
    assert "token may have expired" in str(outcome.error)
    assert "stale" not in str(outcome.error)
    assert outcome.requests == 1


@operations
async def test_codeartifact_expired_token_on_a_file_says_so(operation: Operation, dest: Path) -> None:
    async with (
        codeartifact() as index,
        Fetcher([Index(index.url_as("aws:stale"), name="corp")], environ=NOTHING_KNOWN) as fetcher,
    ):
        outcome = await fetch(operation, fetcher, f"{index.files_url}/{NAME}", dest, index)
    assert isinstance(outcome.error, NotFound)
    assert "token may have expired" in str(outcome.error)
    assert outcome.requests <= 2


# --- Google Artifact Registry (poetry 9026, 9030; uv 18998) ------------------------------------------------------


@everywhere
async def test_google_suffix_500_behind_a_redirect(
    layout: str, page_format: PageFormat, operation: Operation, dest: Path
) -> None:
    """The wheel redirects to a download endpoint of the same host, which answers 500 to a suffix, and knows ranges."""
    token = basic("oauth2accesstoken", "ya29")
    faults: dict[str, Fault | Sequence[Fault]] = {
        "/project/repo/*.whl": RedirectTo("/artifacts-downloads"),
        "/artifacts-downloads/*": SuffixRefused(500),
        "*.whl": HeadLies(404),
    }
    async with FakeIndex(
        wheels={NAME: wheel_of(layout)},
        pages="/project/repo/simple",
        files="/project/repo",
        page_format=page_format,
        more=[Tree(wheels={NAME: wheel_of(layout)}, pages="/nowhere", files="/artifacts-downloads")],
        faults=faults,
        auth={"/": Guard((token,))},
    ) as index:
        declared = Index(index.url_as("oauth2accesstoken:ya29"), name="gar")
        async with Fetcher([declared], environ=NOTHING_KNOWN) as fetcher:
            outcome = await fetch(operation, fetcher, await find(fetcher), dest, index)
    assert_right(outcome, wheel_of(layout))
    assert credentials_in(index.log) == {token}


async def test_google_redirect_to_a_signed_url_on_another_host(dest: Path) -> None:
    storage = FakeIndex(wheels={NAME: wheel_of("tail")}, faults={"*": SignedOnly(key="X-Goog-Signature")})
    async with storage:
        fault = Presigned(storage.files_url, key="X-Goog-Signature")
        async with FakeIndex(
            wheels={NAME: wheel_of("tail")},
            faults={"*.whl": fault},
            auth={"/": Guard((basic("oauth2accesstoken", "t"),))},
        ) as index:
            declared = Index(index.url_as("oauth2accesstoken:t"), name="gar")
            async with Fetcher([declared], environ=NOTHING_KNOWN) as fetcher:
                outcome = await fetch("download", fetcher, await find(fetcher), dest, index, storage)
    assert_right(outcome, wheel_of("tail"), requests=2)
    assert credentials_in(storage.log) == {None}


# --- JFrog Artifactory (pip 8723, 11721; poetry 9056, 9185; uv 1370, 17485) --------------------------------------

ARTIFACTORY: dict[str, tuple[Fault, ...]] = {
    "advertises-ranges-answers-200": (IgnoreRanges(accept_ranges=True),),
    "suffix-as-prefix": (SuffixAsPrefix(),),
    "one-byte-too-many": (LongBody(1),),
    "416-if-suffix-exceeds-the-file": (SuffixRefused(416, longer_only=True),),
}


@everywhere
@pytest.mark.parametrize("row", ARTIFACTORY)
async def test_artifactory_ranges(
    row: str, layout: str, page_format: PageFormat, operation: Operation, dest: Path
) -> None:
    wheel = wheel_of(layout)
    async with (
        FakeIndex(wheels={NAME: wheel}, faults={"*.whl": ARTIFACTORY[row]}, page_format=page_format) as index,
        corp(index) as fetcher,
    ):
        outcome = await fetch(operation, fetcher, await find(fetcher), dest, index)
    most = 1 if row.startswith("advertises") else 3
    assert_right(outcome, wheel, requests=most)


@operations
async def test_artifactory_403_instead_of_401_is_a_challenge(operation: Operation, dest: Path, tmp_path: Path) -> None:
    auth = {"/": Guard((SECRET,), Status(403, body="json"))}
    async with (
        FakeIndex(wheels={NAME: wheel_of("tail")}, auth=auth) as index,
        corp(index, environ=netrc(tmp_path)) as fetcher,
    ):
        outcome = await fetch(operation, fetcher, await find(fetcher), dest, index)
    assert_right(outcome, wheel_of("tail"), requests=1)
    assert len(index.anonymous) == 1


async def test_artifactory_403_without_credentials_stops_with_the_index() -> None:
    auth = {"/": Guard((SECRET,), Status(403, body="json"))}
    async with FakeIndex(wheels={NAME: wheel_of("tail")}, auth=auth) as index, corp(index) as fetcher:
        outcome = await observe(fetcher.project("demo"), index)
    assert isinstance(outcome.error, Forbidden)
    assert "corp" in str(outcome.error)
    assert outcome.requests == 1


@pytest.mark.parametrize("policy", ["auto", "always"])
async def test_artifactory_anonymous_subset_is_not_what_credentials_see(policy: Any) -> None:
    wheels = {wheel_filename(version=version): make_wheel(version=version) for version in ("1.0", "2.0")}
    async with FakeIndex(wheels=wheels, hidden_from_anonymous="demo-2.0-*") as index:
        declared = Index(index.url_as("user:password"), name="corp", authenticate=policy)
        async with Fetcher([declared], environ=NOTHING_KNOWN) as fetcher:
            names = [file.filename for file in (await fetcher.project("demo")).files]
    assert names == list(wheels)


async def test_artifactory_anonymous_subset_with_always_looks_up_first(tmp_path: Path) -> None:
    wheels = {wheel_filename(version=version): make_wheel(version=version) for version in ("1.0", "2.0")}
    async with FakeIndex(wheels=wheels, hidden_from_anonymous="demo-2.0-*") as index:
        always = {"authenticate": "always"}
        async with corp(index, environ=netrc(tmp_path), index_options=always) as fetcher:
            names = [file.filename for file in (await fetcher.project("demo")).files]
    assert names == list(wheels)
    assert index.anonymous == []


@pytest.mark.parametrize("known", ["index-url", "netrc"])
async def test_artifactory_cold_burst(known: str, tmp_path: Path) -> None:
    """The first authenticated request goes alone, then the rest fan out: nobody gets the 401 of a cold start."""
    names = [f"p{number}" for number in range(12)]
    wheels = {wheel_filename(name): make_wheel(name, size=200_000) for name in names}
    auth = {"/": Guard((SECRET,), cold_start=0.15)}
    async with FakeIndex(wheels=wheels, auth=auth) as index:
        url = index.url_as("user:password") if known == "index-url" else index.url
        environ = NOTHING_KNOWN if known == "index-url" else netrc(tmp_path)
        async with Fetcher([Index(url, name="corp")], environ=environ) as fetcher:
            found = await asyncio.gather(*(_project_and_metadata(fetcher, name) for name in names))
    assert found == [metadata_of(wheel) for wheel in wheels.values()]
    refused = [wire for wire in index.log if wire.status == 401]
    assert credentials_in(refused) <= {None}
    assert len(refused) <= (0 if known == "index-url" else len(names))


async def _project_and_metadata(fetcher: Fetcher, name: str) -> bytes:
    return (await fetcher.metadata(await find(fetcher, name))).raw


# --- Sonatype Nexus (poetry 9033; nexus-public 346; uv 1754) -----------------------------------------------------


@everywhere
async def test_nexus_suffix_404_and_pages_without_content_type(
    layout: str, page_format: PageFormat, operation: Operation, dest: Path, tmp_path: Path
) -> None:
    async with (
        FakeIndex(
            wheels={NAME: wheel_of(layout)},
            page_format=page_format,
            faults={"*.whl": SuffixRefused(404), "/simple/*": ContentType(None)},
            auth={"/": Guard((SECRET,), Status(401, body="empty"))},
        ) as index,
        corp(index, environ=netrc(tmp_path)) as fetcher,
    ):
        outcome = await fetch(operation, fetcher, await find(fetcher), dest, index)
    assert_right(outcome, wheel_of(layout))
    assert len(index.anonymous) == 1


async def test_nexus_a_missing_wheel_is_still_not_found() -> None:
    faults: dict[str, Fault] = {"*.whl": Status(404)}
    async with (
        FakeIndex(wheels={NAME: wheel_of("tail")}, page_format="html", faults=faults) as index,
        corp(index) as fetcher,
    ):
        outcome = await ask_metadata(fetcher, await find(fetcher), index)
    assert isinstance(outcome.error, NotFound)
    assert outcome.requests == 2


# --- PyPI's files host (warehouse 12823, 15799; pip 4796) --------------------------------------------------------


@page_formats
@layouts
async def test_pypi_suffix_501(layout: str, page_format: PageFormat) -> None:
    """With the size known no suffix is sent at all."""
    faults: dict[str, Fault] = {"*.whl": SuffixRefused(501)}
    async with (
        FakeIndex(wheels={NAME: wheel_of(layout)}, page_format=page_format, faults=faults) as index,
        corp(index) as fetcher,
    ):
        outcome = await ask_metadata(fetcher, await find(fetcher), index)
    assert_right(outcome, wheel_of(layout), requests=HONEST_REQUESTS if page_format == "json" else MOST_REQUESTS)
    if page_format == "json":
        assert 501 not in outcome.statuses


PYPI_ONCE: dict[str, tuple[Fault, ...]] = {
    "truncated-once": (Cut(20_000, times=1),),
    "truncated-twice": (Cut(20_000, times=2),),
    "503-first": (Status(503, times=1, headers={"Retry-After": "0"}),),
    "503-mid-file": (Only(Status(503, headers={"Retry-After": "0"}), after=1, times=1),),
    "short-file-once": (Only(TruncatedFile(20_000), times=1),),
}


@operations
@layouts
@pytest.mark.parametrize("fault", PYPI_ONCE)
async def test_pypi_comes_to_itself(fault: str, layout: str, operation: Operation, dest: Path) -> None:
    async with (
        FakeIndex(wheels={NAME: wheel_of(layout)}, faults={"*.whl": PYPI_ONCE[fault]}) as index,
        corp(index) as fetcher,
    ):
        outcome = await fetch(operation, fetcher, await find(fetcher), dest, index)
    assert_right(outcome, wheel_of(layout))


@operations
@page_formats
async def test_pypi_truncated_for_good(page_format: PageFormat, operation: Operation, dest: Path) -> None:
    faults: dict[str, Fault] = {"*.whl": TruncatedFile(200_000)}
    async with (
        FakeIndex(wheels={NAME: wheel_of("tail")}, page_format=page_format, faults=faults) as index,
        corp(index, retries=1) as fetcher,
    ):
        outcome = await fetch(operation, fetcher, await find(fetcher), dest, index)
    assert isinstance(outcome.error, Truncated | HashMismatch | BadZip | BadReply), repr(outcome.error)
    assert outcome.requests <= MOST_REQUESTS
    assert left_in(dest) == []


# --- pypicloud, Gemfury: signed per method (uv 2025, 2843, 3070) -------------------------------------------------


@everywhere
async def test_gemfury_urls_signed_for_get_only(
    layout: str, page_format: PageFormat, operation: Operation, dest: Path
) -> None:
    bucket = FakeIndex(wheels={NAME: wheel_of(layout)}, faults={"*": [HeadLies(403), SignedOnly()]})
    async with (
        bucket,
        FakeIndex(
            wheels={NAME: wheel_of(layout)},
            page_format=page_format,
            faults={"*.whl": Presigned(bucket.files_url)},
            auth={"/": Guard((basic("deploy-token", ""),))},
        ) as index,
        Fetcher([Index(index.url_as("deploy-token:"), name="fury")], environ=NOTHING_KNOWN) as fetcher,
    ):
        outcome = await fetch(operation, fetcher, await find(fetcher), dest, index, bucket)
    assert_right(outcome, wheel_of(layout))
    assert credentials_in(index.log) == {basic("deploy-token", "")}
    assert credentials_in(bucket.log) == {None}


# --- S3, CloudFront, presigned (poetry 3303, 4497; uv 13248) -----------------------------------------------------


@operations
@pytest.mark.parametrize("where", ["elsewhere", "same-host", "in-roots"])
@pytest.mark.parametrize("key", ["X-Amz-Signature", "X-Goog-Signature", "sig", "Signature"])
async def test_s3_a_signed_url_gets_no_authorization(key: str, where: str, operation: Operation, dest: Path) -> None:
    """Inside a scope or not: besides a signature an Authorization header is answered with 400."""
    wheels = {NAME: wheel_of("tail")}
    signed: dict[str, Any] = {"*": SignedOnly(key=key)}
    bucket = FakeIndex(wheels=wheels, faults=signed)
    async with bucket:
        base = "/bucket" if where == "same-host" else bucket.files_url
        async with FakeIndex(
            wheels=wheels,
            more=[Tree(wheels=wheels, pages="/nowhere", files="/bucket")],
            faults={"/files/*": Presigned(base, key=key), "/bucket/*": SignedOnly(key=key)},
            auth={"/simple": Guard((SECRET,)), "/files": Guard((SECRET,))},
        ) as index:
            roots = (bucket.files_url,) if where == "in-roots" else ()
            declared = Index(index.url_as("user:password"), name="corp", roots=roots)
            async with Fetcher([declared], environ=NOTHING_KNOWN) as fetcher:
                outcome = await fetch(operation, fetcher, await find(fetcher), dest, index, bucket)
    assert_right(outcome, wheel_of("tail"), requests=2)
    assert 400 not in outcome.statuses
    assert credentials_in([wire for wire in outcome.wires if key in wire.target]) == {None}


@everywhere
async def test_s3_signature_expires_mid_way(
    layout: str, page_format: PageFormat, operation: Operation, dest: Path
) -> None:
    """Each signature is good for one request: then the original URL is asked again, which signs anew."""
    bucket = FakeIndex(wheels={NAME: wheel_of(layout)}, faults={"*": SignedOnly(uses=1)})
    async with bucket:
        fault = Presigned(bucket.files_url)
        async with (
            FakeIndex(wheels={NAME: wheel_of(layout)}, page_format=page_format, faults={"*.whl": fault}) as index,
            corp(index) as fetcher,
        ):
            outcome = await fetch(operation, fetcher, await find(fetcher), dest, index, bucket)
    assert_right(outcome, wheel_of(layout))


@operations
async def test_s3_403_for_a_missing_key(operation: Operation, dest: Path) -> None:
    """The index signs what is not there; S3 without the right to list says 403."""
    bucket = FakeIndex(faults={"*": Status(403, body="xml")})
    async with bucket:
        fault = Presigned(bucket.files_url)
        async with FakeIndex(wheels={NAME: wheel_of("tail")}, faults={"*.whl": fault}) as index, corp(index) as fetcher:
            outcome = await fetch(operation, fetcher, await find(fetcher), dest, index, bucket)
    assert isinstance(outcome.error, Forbidden | NotFound), repr(outcome.error)
    assert outcome.requests <= MOST_REQUESTS
    assert "X-Amz-Signature=GET" not in str(outcome.error)
    assert left_in(dest) == []


async def test_s3_signatures_are_not_shown() -> None:
    bucket = FakeIndex(faults={"*": Status(404, body="xml")})
    async with bucket:
        url = f"{bucket.files_url}/{NAME}?X-Amz-Signature=s3cr3t&X-Amz-Credential=AKIAx&response=1"
        async with Fetcher([], environ=NOTHING_KNOWN) as fetcher:
            outcome = await ask_metadata(fetcher, url, bucket)
    assert isinstance(outcome.error, NotFound)
    for text in (str(outcome.error), repr(outcome.error), repr(outcome.error.args), outcome.error.url):
        assert "s3cr3t" not in text
        assert "AKIAx" not in text


# --- HEAD lies: Alibaba OSS (uv 11501), nginx (uv 17943), pypiserver (uv 13324) ----------------------------------


@everywhere
@pytest.mark.parametrize("row", [("alibaba", 400), ("nginx", 200), ("pypiserver", 405)], ids=lambda row: row[0])
async def test_head_is_never_sent(
    row: tuple[str, int], layout: str, page_format: PageFormat, operation: Operation, dest: Path
) -> None:
    faults: dict[str, Fault] = {"*": HeadLies(row[1])}
    async with (
        FakeIndex(wheels={NAME: wheel_of(layout)}, page_format=page_format, faults=faults) as index,
        corp(index) as fetcher,
    ):
        outcome = await fetch(operation, fetcher, await find(fetcher), dest, index)
        await fetcher.explain(f"{index.files_url}/{NAME}")
    assert_right(outcome, wheel_of(layout), requests=HONEST_REQUESTS)
    assert {wire.method for wire in index.log} == {"GET"}


# --- gzip-happy mirrors (uv 1978) --------------------------------------------------------------------------------

SDIST = "demo-1.0.tar.gz"


@operations
@page_formats
@pytest.mark.parametrize("length", ["right", "lost"])
@pytest.mark.parametrize("layout", ["small", "tail", "far"])
async def test_gzip_mirror_wheel(
    layout: str, length: Any, page_format: PageFormat, operation: Operation, dest: Path
) -> None:
    """Content-Encoding: gzip on everything although identity was asked for, under its own Content-Length or none."""
    async with (
        FakeIndex(
            wheels={NAME: wheel_of(layout)}, page_format=page_format, faults={"*.whl": Gzip("both", length)}
        ) as index,
        corp(index) as fetcher,
    ):
        outcome = await fetch(operation, fetcher, await find(fetcher), dest, index)
    assert_right(outcome, wheel_of(layout), requests=2)
    assert {wire.headers.get("Accept-Encoding") for wire in outcome.wires} == {"identity"}


@operations
async def test_gzip_mirror_wrong_length_is_one_typed_error(operation: Operation, dest: Path) -> None:
    async with (
        FakeIndex(wheels={NAME: wheel_of("tail")}, faults={"*.whl": Gzip("both", "original")}) as index,
        corp(index, retries=1) as fetcher,
    ):
        outcome = await fetch(operation, fetcher, await find(fetcher), dest, index)
    if outcome.error is not None:
        assert isinstance(outcome.error, TransportError | ContentError)
        assert left_in(dest) == []
    assert outcome.requests <= MOST_REQUESTS


@page_formats
async def test_gzip_mirror_labels_an_sdist_as_encoded(page_format: PageFormat, dest: Path) -> None:
    """`Content-Encoding: gzip` beside a .tar.gz as it is: unpacked on the way it would have another hash."""
    sdist = _tar_gz()
    fault = Stating({"Content-Encoding": "gzip", "Content-Type": "application/x-tar"})
    async with (
        FakeIndex(wheels={SDIST: sdist}, page_format=page_format, faults={"*.tar.gz": fault}) as index,
        corp(index) as fetcher,
    ):
        done = await fetcher.download(await find(fetcher, ending=".tar.gz"), dest)
    assert done.path.read_bytes() == sdist


@page_formats
async def test_gzip_mirror_compresses_an_sdist_again(page_format: PageFormat, dest: Path) -> None:
    sdist = _tar_gz()
    async with (
        FakeIndex(wheels={SDIST: sdist}, page_format=page_format, faults={"*.tar.gz": Gzip()}) as index,
        corp(index) as fetcher,
    ):
        outcome = await observe(fetcher.download(await find(fetcher, ending=".tar.gz"), dest), index)
    if outcome.error is None:
        assert outcome.done.path.read_bytes() == sdist
    else:
        assert isinstance(outcome.error, HashMismatch | BadReply)
        assert left_in(dest) == []


def _tar_gz() -> bytes:
    return gzip.compress(Random(5).randbytes(60_000), mtime=0)


# --- CDN ---------------------------------------------------------------------------------------------------------

CDN: dict[str, tuple[Fault, ...]] = {
    "first-200-then-206": (FirstWholeThenRanges(1),),
    "etag-per-edge": (Etag("fresh"),),
    "weak-etag": (Etag("weak"),),
    "200-to-if-range-although-unchanged": (Only(IgnoreRanges(), after=1),),
}


@everywhere
@pytest.mark.parametrize("row", CDN)
async def test_cdn(row: str, layout: str, page_format: PageFormat, operation: Operation, dest: Path) -> None:
    async with (
        FakeIndex(wheels={NAME: wheel_of(layout)}, page_format=page_format, faults={"*.whl": CDN[row]}) as index,
        corp(index) as fetcher,
    ):
        outcome = await fetch(operation, fetcher, await find(fetcher), dest, index)
    assert_right(outcome, wheel_of(layout), requests=HONEST_REQUESTS)


async def test_cdn_etag_difference_does_not_abort_a_download_with_a_hash(dest: Path) -> None:
    async with (
        FakeIndex(wheels={NAME: wheel_of("tail")}, faults={"*.whl": Etag("fresh")}) as index,
        corp(index) as fetcher,
    ):
        file = await find(fetcher)
        await fetcher.metadata(file)
        outcome = await fetch("download", fetcher, file, dest, index)
    assert_right(outcome, wheel_of("tail"), requests=1)


# --- caching proxies: sidecars -----------------------------------------------------------------------------------

SIDECARS: dict[str, tuple[Any, tuple[Fault, ...]]] = {
    "advertised-and-404": ("hash", (Status(404),)),
    "advertised-and-403": ("hash", (Status(403),)),
    "advertised-and-410": ("hash", (Status(410),)),
    "advertised-and-500": ("hash", (Status(500),)),
    "advertised-and-503": ("plain", (Status(503),)),
    "the-wheels-hash": ("wheel_hash", ()),
    "wrong-hash": ("wrong_hash", ()),
    "another-builds": ("hash", (ChangedFile(b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n", after=0),)),
    "another-projects-without-a-hash": ("plain", (ChangedFile(b"Metadata-Version: 2.1\nName: x\nVersion: 1\n", 0),)),
    "html-soft-404": ("plain", (Status(200, body="html"),)),
    "json-error-as-200": ("plain", (Status(200, body="json"),)),
    "empty-200": ("plain", (Status(200, body="empty"),)),
    "cut": ("hash", (Cut(50),)),
    "cut-without-a-length": ("hash", (NoContentLength("close"), Cut(50))),
    "the-wheel-itself": ("plain", (ChangedFile(make_wheel(), 0),)),
}


@page_formats
@pytest.mark.parametrize("layout", ["small", "far"])
@pytest.mark.parametrize("row", SIDECARS)
async def test_caching_proxy_sidecar(row: str, layout: str, page_format: PageFormat) -> None:
    """A sidecar that cannot be used: warn, and read the wheel."""
    advertised, faults = SIDECARS[row]
    wheel = wheel_of(layout)
    async with (
        FakeIndex(
            wheels={NAME: wheel}, sidecar=advertised, page_format=page_format, faults={"*.metadata": faults}
        ) as index,
        corp(index, retries=1) as fetcher,
    ):
        outcome = await ask_metadata(fetcher, await find(fetcher), index)
    assert_right(outcome, wheel, requests=1 + HONEST_REQUESTS)
    assert outcome.done.how != "sidecar"


@pytest.mark.parametrize("advertised", ["hash", "legacy", "plain"])
@page_formats
async def test_an_honest_sidecar_is_one_request(page_format: PageFormat, advertised: Any) -> None:
    async with (
        FakeIndex(wheels={NAME: wheel_of("far")}, sidecar=advertised, page_format=page_format) as index,
        corp(index) as fetcher,
    ):
        outcome = await ask_metadata(fetcher, await find(fetcher), index)
    assert_right(outcome, wheel_of("far"), requests=1)
    assert outcome.done.how == "sidecar"
    assert outcome.done.verified == (advertised != "plain")


@pytest.mark.parametrize("faults", [(), (NoContentLength(),)], ids=["size known", "size unknown"])
async def test_a_sidecar_may_be_larger_than_its_wheel(faults: tuple[Fault, ...]) -> None:
    """In the wheel METADATA is compressed; that of a small one with a long description is not the smaller file."""
    wheel = make_wheel(metadata="Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n\n" + "word " * 9_000)
    assert len(wheel) < 3_000
    async with (
        FakeIndex(wheels={NAME: wheel}, sidecar="hash", faults={"*.metadata": faults}) as index,
        corp(index) as fetcher,
    ):
        outcome = await ask_metadata(fetcher, await find(fetcher), index)
    assert_right(outcome, wheel, requests=1)
    assert outcome.done.how == "sidecar"


async def test_caching_proxy_sidecar_404_before_a_refused_suffix() -> None:
    """Both at once still fit the budget."""
    faults: dict[str, Fault] = {"*.metadata": Status(404), "*.whl": SuffixRefused(501)}
    async with (
        FakeIndex(wheels={NAME: wheel_of("far")}, sidecar="hash", page_format="html", faults=faults) as index,
        corp(index) as fetcher,
    ):
        outcome = await ask_metadata(fetcher, await find(fetcher), index)
    assert_right(outcome, wheel_of("far"))


# --- TLS-inspecting and captive portals --------------------------------------------------------------------------

PORTALS = {
    "captive": LoginPageFault(title="Welcome to the airport", content_type="text/html"),
    "inspecting": LoginPageFault(title="Blocked by policy", redirect=True),
}


@operations
@pytest.mark.parametrize("portal", PORTALS)
async def test_portal_on_a_file(portal: str, operation: Operation, dest: Path) -> None:
    async with (
        FakeIndex(wheels={NAME: wheel_of("tail")}, faults={"*.whl": PORTALS[portal]}) as index,
        corp(index) as fetcher,
    ):
        outcome = await fetch(operation, fetcher, await find(fetcher), dest, index)
    assert isinstance(outcome.error, LoginPage)
    assert "prox" in str(outcome.error)
    assert PORTALS[portal].title in str(outcome.error)
    assert outcome.requests <= 2
    assert left_in(dest) == []


@pytest.mark.parametrize("portal", PORTALS)
async def test_portal_on_a_page(portal: str) -> None:
    async with (
        FakeIndex(wheels={NAME: wheel_of("tail")}, faults={"*": PORTALS[portal]}) as index,
        corp(index) as fetcher,
    ):
        outcome = await observe(fetcher.project("demo"), index)
    assert isinstance(outcome.error, LoginPage), repr(outcome.error)
    assert outcome.requests <= 2


# --- rclone serve s3 ---------------------------------------------------------------------------------------------


@page_formats
@layouts
async def test_rclone_200_with_a_part(layout: str, page_format: PageFormat) -> None:
    async with (
        FakeIndex(wheels={NAME: wheel_of(layout)}, page_format=page_format, faults={"*.whl": PartialAs200()}) as index,
        corp(index) as fetcher,
    ):
        outcome = await ask_metadata(fetcher, await find(fetcher), index)
    assert_right(outcome, wheel_of(layout), requests=2)


@pytest.mark.parametrize("knows", ["size-and-hash", "hash", "nothing"])
async def test_rclone_a_part_is_never_stored_as_the_whole(knows: str, dest: Path) -> None:
    """Even to a plain GET: 200, a Content-Range, and the first half."""
    wheel = wheel_of("tail")
    half = len(wheel) // 2
    fault = (TruncatedFile(half), Stating({"Content-Range": f"bytes 0-{half - 1}/{len(wheel)}"}))
    async with (
        FakeIndex(
            wheels={NAME: wheel},
            page_format="json" if knows == "size-and-hash" else "html",
            hashes="none" if knows == "nothing" else "lower",
            faults={"*.whl": fault},
        ) as index,
        corp(index, retries=0) as fetcher,
    ):
        outcome = await observe(fetcher.download(await find(fetcher), dest), index)
    assert isinstance(outcome.error, BadReply | Truncated | HashMismatch | BadZip), repr(outcome.error)
    assert left_in(dest) == []


# --- ZIP confusion (uv CVE-2025-54368 and later) -----------------------------------------------------------------


def _zip(entries: Sequence[tuple[str, bytes]], comment: bytes = b"", prefix: bytes = b"") -> bytes:
    buffer = io.BytesIO(prefix)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = comment
        for name, data in entries:
            info = zipfile.ZipInfo("placeholder")
            info.filename = info.orig_filename = name
            archive.writestr(info, data)
    return buffer.getvalue()


def _entries(metadata: str = "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n") -> list[tuple[str, bytes]]:
    return [
        ("demo/__init__.py", b""),
        ("demo-1.0.dist-info/METADATA", metadata.encode()),
        ("demo-1.0.dist-info/WHEEL", b"Wheel-Version: 1.0\n"),
        ("demo-1.0.dist-info/RECORD", b""),
    ]


OTHER_METADATA = "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\nRequires-Dist: evil\n"
GOOD_ZIP = _zip(_entries())
CONFUSED = {
    "stacked-archives": GOOD_ZIP + _zip(_entries(OTHER_METADATA)),
    "end-record-in-the-comment": _zip(_entries(), comment=_zip(_entries(OTHER_METADATA))),
    "trailing-bytes": GOOD_ZIP + b"trailing",
    "trailing-zeros": GOOD_ZIP + bytes(512),
    "control-character-in-a-name": _zip([*_entries(), ("demo/\x01.py", b"")]),
    "absolute-name": _zip([*_entries(), ("/etc/demo.py", b"")]),
    "name-with-dots": _zip([*_entries(), ("demo/../../evil.py", b"")]),
    "two-dist-infos": _zip([*_entries(), ("Demo-1.0.dist-info/METADATA", OTHER_METADATA.encode())]),
}


def _with_duplicate() -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's own, that the name is there already
        return _zip([*_entries(), ("demo-1.0.dist-info/METADATA", OTHER_METADATA.encode())])


def _with_wrong_local_header(offset: int) -> bytes:
    """One byte of METADATA's local header changed, so many bytes from its start."""
    start = GOOD_ZIP.index(b"demo-1.0.dist-info/METADATA") - 30
    changed = bytearray(GOOD_ZIP)
    changed[start + offset] ^= 1
    return bytes(changed)


CONFUSED["duplicate-name"] = _with_duplicate()
CONFUSED["size-differs-in-the-local-header"] = _with_wrong_local_header(18)
CONFUSED["crc-differs-in-the-local-header"] = _with_wrong_local_header(14)
CONFUSED["method-differs-in-the-local-header"] = _with_wrong_local_header(8)
CONFUSED["name-differs-in-the-local-header"] = _with_wrong_local_header(30)
CONFUSED["encrypted-flag"] = _with_wrong_local_header(6)


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "stream"])
@page_formats
@pytest.mark.parametrize("row", CONFUSED)
async def test_zip_confusion(row: str, page_format: PageFormat, ranges: bool) -> None:
    faults: Any = {} if ranges else {"*.whl": IgnoreRanges()}
    async with (
        FakeIndex(wheels={NAME: CONFUSED[row]}, page_format=page_format, sizes=False, faults=faults) as index,
        corp(index) as fetcher,
    ):
        outcome = await ask_metadata(fetcher, await find(fetcher), index)
    assert isinstance(outcome.error, BadZip | ContentError), f"{outcome.done!r} {outcome.done.raw!r}"


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "stream"])
@page_formats
async def test_zip_confusion_local_header_that_the_directory_does_not_list(
    page_format: PageFormat, ranges: bool
) -> None:
    """A METADATA that zipfile does not see lies before the one it does."""
    unlisted = _zip([("demo-1.0.dist-info/METADATA", OTHER_METADATA.encode())])
    wheel = _zip(_entries(), prefix=unlisted[: unlisted.index(b"PK\x01\x02")])
    faults: Any = {} if ranges else {"*.whl": IgnoreRanges()}
    async with FakeIndex(wheels={NAME: wheel}, page_format=page_format, faults=faults) as index, corp(index) as fetcher:
        outcome = await ask_metadata(fetcher, await find(fetcher), index)
    if outcome.error is None:
        assert outcome.done.raw == metadata_of(wheel) != OTHER_METADATA.encode()
    else:
        assert isinstance(outcome.error, BadZip)


@pytest.mark.parametrize("row", [row for row in CONFUSED if "local-header" not in row and "encrypted" not in row])
async def test_zip_confusion_is_not_stored_when_nothing_vouches_for_it(row: str, dest: Path) -> None:
    async with (
        FakeIndex(wheels={NAME: CONFUSED[row]}, page_format="html", hashes="none") as index,
        corp(index) as fetcher,
    ):
        outcome = await observe(fetcher.download(await find(fetcher), dest), index)
    assert isinstance(outcome.error, ContentError)
    assert left_in(dest) == []


# --- index pages of any server -----------------------------------------------------------------------------------

PAGES_THAT_COME: dict[str, tuple[Fault, ...]] = {
    "503-once": (Status(503, times=1, headers={"Retry-After": "0"}),),
    "cut-once": (Cut(40, times=1),),
    "no-answer-once": (HangUp(times=1),),
    "redirected": (RedirectChain(2),),
    "gzip": (Gzip(200),),
    "gzip-chunked": (Gzip(200, "lost"),),
    "chunked": (NoContentLength(),),
    "until-close": (NoContentLength("close"),),
    "no-content-type": (ContentType(None),),
    "as-plain-text": (ContentType("text/plain"),),
    "as-octet-stream": (ContentType("application/octet-stream"),),
}


@page_formats
@pytest.mark.parametrize("row", PAGES_THAT_COME)
async def test_page_that_comes_in_the_end(row: str, page_format: PageFormat) -> None:
    faults = {"/simple/*": PAGES_THAT_COME[row]}
    async with (
        FakeIndex(wheels={NAME: wheel_of("small")}, page_format=page_format, faults=faults) as index,
        corp(index) as fetcher,
    ):
        outcome = await observe(fetcher.project("demo"), index)
    (file,) = outcome.done.files
    assert (file.filename, file.url) == (NAME, f"{index.files_url}/{NAME}")
    assert file.sha256 == hashlib.sha256(wheel_of("small")).hexdigest()
    assert file.listed_by is not None
    assert file.listed_by.name == "corp"
    assert outcome.requests <= 3


PAGES_THAT_FAIL: dict[str, tuple[tuple[Fault, ...], tuple[type[FetcherError], ...]]] = {
    "503": ((Status(503, headers={"Retry-After": "0"}),), (StatusError,)),
    "404": ((Status(404),), (NotFound,)),
    "410": ((Status(410),), (NotFound,)),
    "401": ((Status(401),), (Unauthorized,)),
    "403": ((Status(403),), (Forbidden,)),
    "cut": ((Cut(40),), (TransportError,)),
    "cut-chunked": ((NoContentLength(), Cut(40)), (TransportError,)),
    "cut-until-close": ((NoContentLength("close"), Cut(60)), (BadPage, TransportError)),
    "json-error-as-200": ((Status(200, body="json"),), (BadPage,)),
    "xml-error-as-200": ((Status(200, body="xml"),), (BadPage,)),
    "empty-200": ((Status(200, body="empty"),), (BadPage,)),
    "redirect-loop": ((RedirectLoop(),), (TransportError,)),
    "api-version-2": ((ChangedFile(b'{"meta": {"api-version": "2.0"}, "name": "demo", "files": []}', 0),), (BadPage,)),
    "a-wheel": ((ChangedFile(make_wheel(), 0),), (BadPage, ContentError)),
}


@pytest.mark.parametrize("row", PAGES_THAT_FAIL)
async def test_page_that_fails_is_one_typed_error(row: str) -> None:
    faults, errors = PAGES_THAT_FAIL[row]
    async with (
        FakeIndex(wheels={NAME: wheel_of("small")}, faults={"/simple/*": faults}) as index,
        corp(index, retries=1) as fetcher,
    ):
        outcome = await observe(fetcher.project("demo"), index)
    assert isinstance(outcome.error, errors), repr(outcome.error or outcome.value)
    assert str(outcome.error).isprintable()
    assert outcome.requests <= 11


# --- credentials that are refused, of any kind -------------------------------------------------------------------


@operations
@pytest.mark.parametrize(
    ("credentials", "header"),
    [
        (Basic("user", "wrong-secret"), basic("user", "wrong-secret")),
        (Bearer("wrong-secret"), "Bearer wrong-secret"),
        (Basic("", "wrong-secret"), basic("", "wrong-secret")),
    ],
    ids=["basic", "bearer", "empty-user"],
)
async def test_refused_credentials_are_sent_once_and_never_shown(
    credentials: Any, header: str, operation: Operation, dest: Path
) -> None:
    auth = {"/files": Guard((SECRET,)), "/simple": None}
    async with FakeIndex(wheels={NAME: wheel_of("tail")}, auth=auth) as index:
        declared = Index(index.url, name="corp")
        async with Fetcher([declared], credentials={"corp": credentials}, environ=NOTHING_KNOWN) as fetcher:
            outcome = await fetch(operation, fetcher, await find(fetcher), dest, index)
    assert isinstance(outcome.error, Unauthorized)
    assert isinstance(outcome.error, AuthError)
    assert isinstance(outcome.error, FetcherError)
    assert [wire.authorization for wire in outcome.wires] == [header]
    assert "wrong-secret" not in str(outcome.error) + repr(outcome.error)
    assert "corp" in str(outcome.error)
