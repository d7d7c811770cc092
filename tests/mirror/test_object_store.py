"""A mirror in a bucket: what is put, placed, read, listed and removed; what goes wrong is one sentence."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import traceback
import uuid
from typing import TYPE_CHECKING

import anyio
import obstore
import pytest
from obstore.store import S3Store
from real_servers import _ask, _free_ports
from seaweed import BUCKET, NO_CONDITIONS, READER, UNIMPLEMENTED, WRITER, Keys, Storage, running_front

from fetcher.errors import ConfigError, DiskError, StoreFailed, StoreRefused
from fetcher.storage import object_store
from fetcher.storage.object_store import PART, ObjectStore
from fetcher.storage.store import Stored

if TYPE_CHECKING:
    from pathlib import Path

    from fetcher.storage.store import Store

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("_no_blocking")]

JSON = "application/vnd.pypi.simple.v1+json"
SERVERS = ["seaweed", "flat_storage"]


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's own AWS variables say nothing here."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Here:
    return Here(monkeypatch)


class Here:
    """This process, with the AWS variables that a test gives it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def has(self, url: str, keys: Keys = WRITER, **more: str) -> None:
        for name, value in (keys.environment(url) | more).items():
            self._monkeypatch.setenv(name, value)


@pytest.fixture(params=SERVERS)
def storage(request: pytest.FixtureRequest, here: Here) -> Storage:
    storage: Storage = request.getfixturevalue(request.param)
    here.has(storage.url)
    return storage


@pytest.fixture
def closed_port() -> int:
    (port,) = _free_ports(1)
    return port


def somewhere() -> str:
    return f"s3://{BUCKET}/{uuid.uuid4().hex}/deep"


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def local(tmp_path: Path, body: bytes) -> Path:
    path = tmp_path / uuid.uuid4().hex
    path.write_bytes(body)
    return path


async def keys(store: Store, prefix: str = "") -> list[str]:
    return sorted([found.key async for found in store.list(prefix)])


async def test_pages_are_put_and_read_and_removed(storage: Storage) -> None:
    store = await ObjectStore.open(somewhere())
    assert await keys(store) == []  # the probe left nothing
    await store.put("simple/six/index.html", b"<old>")
    await store.put("simple/six/index.html", b"<six>")
    await store.put("simple/index.html", b"<all>")
    assert await store.get("simple/six/index.html") == b"<six>"
    assert await store.stat("simple/six/index.html") == Stored("simple/six/index.html", 5, sha256(b"<six>"))
    assert await store.digest("simple/index.html") == sha256(b"<all>")
    assert await keys(store) == ["simple/index.html", "simple/six/index.html"]
    await store.remove(["simple/index.html", "nothing/index.html", "nothing"])
    assert await keys(store) == ["simple/six/index.html"]
    await store.remove(await keys(store))
    assert await keys(store) == []


async def test_what_is_not_there(storage: Storage) -> None:
    store = await ObjectStore.open(somewhere())
    await store.put("files/ab/x.whl", b"x")
    for key in ("nothing", "files", "files/ab", "files/ab/x"):
        assert await store.get(key) is None
        assert await store.stat(key) is None
        assert await store.digest(key) is None


@pytest.mark.parametrize("size", [0, 1000, PART, 2 * PART + 1], ids=["empty", "small", "a part", "three parts"])
async def test_a_file_is_moved_there(storage: Storage, tmp_path: Path, size: int) -> None:
    store = await ObjectStore.open(somewhere())
    body = os.urandom(size)
    for path in (local(tmp_path, body), local(tmp_path, body)):  # the second finds it there
        await store.place("files/ab/cd/x.whl", path, sha256(body))
        assert not path.exists()
        assert await store.stat("files/ab/cd/x.whl") == Stored("files/ab/cd/x.whl", size, sha256(body))
    assert await store.get("files/ab/cd/x.whl") == body


@pytest.mark.parametrize("size", [1000, PART + 1], ids=["small", "two parts"])
async def test_what_is_there_already_is_replaced(storage: Storage, tmp_path: Path, size: int) -> None:
    store = await ObjectStore.open(somewhere())
    old, new = bytes(size), os.urandom(size)
    await store.place("x.whl", local(tmp_path, old), sha256(old))
    await store.place("x.whl", local(tmp_path, new), sha256(new))
    assert await store.get("x.whl") == new
    assert await store.digest("x.whl") == sha256(new)


async def test_many_at_once(storage: Storage, tmp_path: Path) -> None:
    store = await ObjectStore.open(somewhere())
    bodies = {f"files/{number:03}/x.whl": os.urandom(1000 + number) for number in range(100)}
    paths = {key: local(tmp_path, body) for key, body in bodies.items()}
    async with anyio.create_task_group() as tasks:
        for key, body in bodies.items():
            tasks.start_soon(store.place, key, paths[key], sha256(body))
    found = {each.key: each.size async for each in store.list("files/")}
    assert found == {key: len(body) for key, body in bodies.items()}
    assert await keys(store, "files/00") == [f"files/00{digit}/x.whl" for digit in range(10)]
    assert await keys(store, "file") == sorted(bodies)
    await store.remove(bodies)
    assert await keys(store) == []


async def test_one_that_another_program_put_is_read_for_its_digest(storage: Storage) -> None:
    url = somewhere()
    store = await ObjectStore.open(url)
    body = os.urandom(3 << 20)
    await obstore.put_async(of_another_program(storage, url), "x.whl", body)
    assert await store.stat("x.whl") == Stored("x.whl", len(body), None)
    assert await store.digest("x.whl") == sha256(body)


async def test_each_is_served_as_what_it_is(storage: Storage) -> None:
    url = somewhere()
    store = await ObjectStore.open(url)
    types = {
        "simple/six/index.html": "text/html; charset=utf-8",
        "simple/six/index.json": JSON,
        "files/ab/six.whl.metadata": "text/plain; charset=utf-8",
        "files/ab/six.whl": "application/octet-stream",
    }
    for key, kind in types.items():
        await store.put(key, b"x")
        answer = await obstore.get_async(of_another_program(storage, url), key, options={"head": True})
        assert answer.attributes["Content-Type"] == kind


def of_another_program(storage: Storage, url: str) -> S3Store:
    prefix = url.removeprefix(f"s3://{BUCKET}/")
    return S3Store(BUCKET, prefix=prefix, client_options={"allow_http": True})


async def test_a_bucket_without_prefix(flat_storage: Storage, here: Here) -> None:
    here.has(flat_storage.url)
    store = await ObjectStore.open(f"s3://{BUCKET}/")
    assert store.url == f"s3://{BUCKET}"
    name = uuid.uuid4().hex
    await store.put(f"{name}/index.html", b"x")
    assert await keys(store, f"{name}/") == [f"{name}/index.html"]
    await store.remove([f"{name}/index.html"])
    await store.put("index.html", b"x")  # the bucket's own page has no twin: there is no empty key
    await store.remove(["index.html"])


# What servers can do


async def test_a_page_has_a_twin_that_installers_ask_for(flat_storage: Storage, here: Here) -> None:
    here.has(flat_storage.url)
    url = somewhere()
    store = await ObjectStore.open(url)
    port, path = int(flat_storage.url.rpartition(":")[2]), url.removeprefix("s3:/")
    for directory in ("simple/", "simple/six/", ""):
        await store.put(f"{directory}index.html", b"<old>")
        await store.put(f"{directory}index.html", b"<new>")
        assert await anyio.to_thread.run_sync(_ask, port, "GET", f"{path}/{directory}") == (200, b"<new>")
    assert await keys(store) == ["index.html", "simple/index.html", "simple/six/index.html"]
    await store.remove(await keys(store))
    for directory in ("simple/", "simple/six/", ""):
        assert (await anyio.to_thread.run_sync(_ask, port, "GET", f"{path}/{directory}"))[0] == 404


async def test_who_keeps_keys_that_end_with_a_slash(seaweed: Storage, flat_storage: Storage, here: Here) -> None:
    found = {}
    for storage in (seaweed, flat_storage):
        here.has(storage.url)
        store = await ObjectStore.open(somewhere())
        found[storage.flat] = store.answers_installers, store._creates
    assert found == {True: (True, True), False: (False, True)}


@pytest.mark.parametrize("how", [NO_CONDITIONS, UNIMPLEMENTED], ids=["ignored", "refused"])
async def test_a_server_without_conditional_puts(
    flat_storage: Storage, here: Here, tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(object_store._RETRY, "max_retries", 0)
    with running_front(flat_storage, tmp_path, how) as front:
        here.has(front.url)
        store = await ObjectStore.open(somewhere())
        assert not store._creates
        for body in (b"old", b"new"):
            await store.place("x.whl", local(tmp_path, body), sha256(body))
            assert await store.get("x.whl") == body


# What goes wrong


async def refused(url: str) -> StoreFailed:
    with pytest.raises(StoreFailed) as raised:
        await ObjectStore.open(url)
    said = str(raised.value)
    assert "\n" not in said
    assert "secret" not in said.lower().replace("aws_secret_access_key", "")
    assert "RetryError" not in "".join(traceback.format_exception(raised.value))  # what obstore says
    return raised.value


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (Keys(WRITER.access, "another secret"), "did not accept the credentials (SignatureDoesNotMatch, HTTP 403)"),
        (Keys("nobody", WRITER.secret), "did not accept the credentials (InvalidAccessKeyId, HTTP 403)"),
        (READER, "refuses it to the credentials (AccessDenied, HTTP 403): give them the right to read, write"),
    ],
    ids=["wrong secret", "unknown key", "may only read"],
)
async def test_refused_credentials(seaweed: Storage, here: Here, keys: Keys, says: str) -> None:
    here.has(seaweed.url, keys)
    error = await refused(f"s3://{BUCKET}/p")
    assert isinstance(error, StoreRefused)
    assert error.exit_code == 3
    assert says in str(error)
    assert str(error).startswith(f"s3://{BUCKET}/p/")


async def test_no_credentials(seaweed: Storage, here: Here, monkeypatch: pytest.MonkeyPatch, closed_port: int) -> None:
    here.has(seaweed.url, AWS_METADATA_ENDPOINT=f"http://127.0.0.1:{closed_port}")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setitem(object_store._RETRY, "max_retries", 0)
    error = await refused(f"s3://{BUCKET}/p")
    assert isinstance(error, StoreRefused)
    assert "there are no credentials for it: check AWS_ACCESS_KEY_ID" in str(error)


async def test_unsigned(seaweed: Storage, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    here.has(seaweed.url, AWS_SKIP_SIGNATURE="true")
    error = await refused(f"s3://{BUCKET}/p")
    assert isinstance(error, StoreRefused)
    assert "AccessDenied" in str(error)


async def test_no_such_bucket(storage: Storage) -> None:
    error = await refused("s3://no-such-bucket/p")
    assert error.exit_code == 6
    assert f"{storage.url} has no bucket no-such-bucket (NoSuchBucket, HTTP 404): create it first" in str(error)


async def test_nobody_there(here: Here, closed_port: int) -> None:
    here.has(f"http://127.0.0.1:{closed_port}")
    error = await refused(f"s3://{BUCKET}/p")
    assert error.exit_code == 6
    assert f"cannot connect to http://127.0.0.1:{closed_port}: check AWS_ENDPOINT_URL" in str(error)


async def test_a_local_file_that_is_not_there(seaweed: Storage, here: Here, tmp_path: Path) -> None:
    here.has(seaweed.url)
    store = await ObjectStore.open(somewhere())
    with pytest.raises(DiskError, match="gone"):
        await store.place("x.whl", tmp_path / "gone", sha256(b""))
    assert await keys(store) == []


async def test_a_cancelled_upload_puts_nothing(seaweed: Storage, here: Here, tmp_path: Path) -> None:
    here.has(seaweed.url)
    store = await ObjectStore.open(somewhere())
    body = os.urandom(4 * PART)
    path = local(tmp_path, body)
    with anyio.move_on_after(0.01):
        await store.place("x.whl", path, sha256(body))
    assert await store.stat("x.whl") is None
    assert path.read_bytes() == body
    await store.place("x.whl", path, sha256(body))
    assert await store.get("x.whl") == body


@pytest.mark.parametrize(
    ("url", "variables", "says"),
    [
        ("s3://", {}, "is not s3://BUCKET"),
        ("s3://b/p?x=1", {}, "is not s3://BUCKET"),
        ("s3://b/p#x", {}, "is not s3://BUCKET"),
        ("s3://b/a//c", {}, "segment"),
        ("s3://b/a/../c", {}, "segment"),
        ("s3://key:S3CR3T@b/p", {}, "credentials have no place in an s3:// URL"),
        ("s3://b/p", {"AWS_ENDPOINT_URL": "127.0.0.1:9000"}, "AWS_ENDPOINT_URL: '127.0.0.1:9000' is not an http"),
        (
            "s3://b/p",
            {"AWS_ENDPOINT_URL_S3": "http://u:S3CR3T@host/"},
            "AWS_ENDPOINT_URL_S3: http://***@host/ has more",
        ),
    ],
)
async def test_bad_input(monkeypatch: pytest.MonkeyPatch, url: str, variables: dict[str, str], says: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as raised:
        await ObjectStore.open(url)
    assert says in str(raised.value)
    assert "S3CR3T" not in str(raised.value)


def test_without_the_extra() -> None:
    code = (
        "import sys; sys.modules['obstore'] = None\n"
        "from fetcher.errors import ConfigError\n"
        "try:\n    import fetcher.storage.object_store\n"
        "except ConfigError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == 's3:// needs the extra s3: pip install "fetcher[s3]"', done.stderr
