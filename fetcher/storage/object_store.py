"""A mirror in a bucket, `s3://BUCKET/PREFIX`, by obstore (the extra `s3`).

Rules:

1. Endpoint, region and credentials come from the AWS variables (`s3.parse_bucket`; obstore reads the credentials).
2. Each object carries its SHA-256 as user metadata (`x-amz-meta-sha256`): one HEAD tells size and digest.
3. An object is put whole or not at all.  A file is put only if nothing is there (`If-None-Match: *`, RFC 9110 §13.1.2)
   where the server heeds that, which `open` finds out by putting the same key twice; what is there already is kept if
   size and digest agree, else replaced.
4. Installers ask for `simple/numpy/`, and a bucket knows no index documents.  So a page `index.html` has a twin, under
   the key with the slash, if the server keeps such keys; `open` finds out.  Amazon S3 does; SeaweedFS takes that key
   for a directory, and wants a web server before it that makes `index.html` of it.  `list` names the page alone.  The
   twin is put first, and removed first: what is seen of the page is true of the twin.
5. Memory is bounded: no more than UPLOADS at once, each of at most PARTS + 1 parts.
6. An upload of parts that is cut off leaves parts in the bucket, unseen; its lifecycle rule for them should be on.
"""

import hashlib
import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Self, TypeVar

import anyio

from fetcher.disk import on_disk
from fetcher.errors import ConfigError, DiskError
from fetcher.storage.s3 import Bucket, content_type, failure, is_answered, is_not_implemented, parse_bucket
from fetcher.storage.store import Stored

try:
    import obstore
    from obstore.exceptions import AlreadyExistsError, BaseError, GenericError, NotSupportedError
    from obstore.store import S3Store
except ImportError as error:
    raise ConfigError('s3:// needs the extra s3: pip install "fetcher[s3]"') from error

__all__ = ["ObjectStore"]

# In bytes; the least that S3 allows.  It allows 10,000 parts, so a file may have 48 GiB.
PART = 5 << 20
PARTS = 2
UPLOADS = 8
# What S3 deletes, and lists, by one request.
BATCH = 1000

_SHA256 = "sha256"
_PAGE = "index.html"
_RETRY: Any = {
    "max_retries": 5,
    "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=5), "base": 2},
    "retry_timeout": timedelta(minutes=2),
}
# obstore's own 30 s for a request would end a part on a line of 1 Mbit/s.
_TIMEOUT = timedelta(minutes=5)


T = TypeVar("T")


class ObjectStore:
    """A `Store` in a bucket.  Its errors are StoreFailed, and StoreRefused where it is for want of credentials."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._store = _open_store(bucket)
        self._uploads = anyio.CapacityLimiter(UPLOADS)
        self._creates = self._keeps_slashes = False

    @classmethod
    async def open(cls, url: str) -> Self:
        """Return the store of an `s3://BUCKET/PREFIX`, once it is known to take, give and remove objects.

        Raises ConfigError, StoreFailed (no such bucket, no connection), StoreRefused (credentials).
        """
        store = cls(parse_bucket(url, os.environ))
        await store._probe()
        return store

    @property
    def url(self) -> str:
        """`s3://BUCKET/PREFIX`."""
        return self._bucket.url

    @property
    def answers_installers(self) -> bool:
        """Say whether `simple/numpy/` of the bucket itself is the page; else a web server must make it so."""
        return self._keeps_slashes

    async def place(self, key: str, path: Path, sha256: str) -> None:
        """Move a local file of that digest to the key; `path` is gone then.  What is there already is replaced."""
        async with self._uploads:
            size = await _local(path, lambda: path.stat().st_size)
            if size > PART:
                await self._place_large(key, path, size, sha256)
            else:
                await self._place_small(key, await _local(path, path.read_bytes), sha256)
        await _local(path, path.unlink)

    async def put(self, key: str, body: bytes) -> None:
        """Put a page or a sidecar."""
        attributes = _attributes(key, hashlib.sha256(body).hexdigest())
        async with self._uploads:
            with self._told(key):
                if twin := self._twin(key):
                    await obstore.put_async(twin, "", body, attributes=attributes, use_multipart=False)
                await obstore.put_async(self._store, key, body, attributes=attributes, use_multipart=False)

    async def get(self, key: str) -> bytes | None:
        """Return a page or a sidecar; None if there is none."""
        with self._told(key), suppress(FileNotFoundError):
            answer = await obstore.get_async(self._store, key)
            return bytes(await answer.bytes_async())
        return None

    async def stat(self, key: str) -> Stored | None:
        """Return what is there; None if there is nothing.  One HEAD."""
        with self._told(key), suppress(FileNotFoundError):
            answer = await obstore.get_async(self._store, key, options={"head": True})
            return Stored(key, answer.meta["size"], answer.attributes.get(_SHA256))
        return None

    async def digest(self, key: str) -> str | None:
        """Return the SHA-256 of what is there, in lower-case hex; its bytes are read only if it came from elsewhere."""
        found = await self.stat(key)
        if found is None or found.sha256 is not None:
            return None if found is None else found.sha256
        digest = hashlib.sha256()
        with self._told(key), suppress(FileNotFoundError):
            answer = await obstore.get_async(self._store, key)
            async for chunk in answer.stream(min_chunk_size=1 << 20):
                await on_disk(digest.update, chunk)
            return digest.hexdigest()
        return None

    async def missing(self, expected: Mapping[str, int | None]) -> set[str]:
        """Return none: each would be a request."""
        return set()

    async def look(self, key: str) -> Stored | None:
        """Return what is there by one HEAD; the bytes are read only if they came from elsewhere."""
        found = await self.stat(key)
        if found is None or found.sha256 is not None:
            return found
        return Stored(key, found.size, await self.digest(key))

    async def read(self, key: str, start: int, stop: int) -> bytes:
        """Return a piece of an object."""
        with self._told(key):
            return bytes(await obstore.get_range_async(self._store, key, start=start, end=stop))

    async def clear(self, key: str) -> None:
        """Remove an object."""
        await self.remove([key])

    async def list(self, prefix: str = "") -> AsyncIterator[Stored]:
        """Yield everything whose key begins so, in no order; constant memory.

        A key that others go on from after a slash is that of a page's twin, whose slash obstore takes away.
        """
        held: Stored | None = None
        async for found in self._objects(prefix.rpartition("/")[0]):
            if held is not None and not found.key.startswith(f"{held.key}/"):
                yield held
            held = found if found.key.startswith(prefix) and found.key else None
        if held is not None:
            yield held

    async def remove(self, keys: Iterable[str]) -> None:
        """Remove; what is not there is no error."""
        rest = iter(keys)
        while batch := [*islice(rest, BATCH)]:
            await self._remove_twins(batch)
            with self._told(batch[0]):
                await obstore.delete_async(self._store, batch)

    async def _place_small(self, key: str, body: bytes, sha256: str) -> None:
        attributes = _attributes(key, sha256)
        with self._told(key):
            if self._creates:
                with suppress(AlreadyExistsError):
                    await obstore.put_async(self._store, key, body, attributes=attributes, mode="create")
                    return
                if await self._has(key, len(body), sha256):
                    return
            await obstore.put_async(self._store, key, body, attributes=attributes, use_multipart=False)

    async def _place_large(self, key: str, path: Path, size: int, sha256: str) -> None:
        """Put a file in parts; for a conditional put, obstore would read all of it into memory."""
        if await self._has(key, size, sha256):
            return
        with self._told(key):
            await obstore.put_async(
                self._store,
                key,
                path,  # read in obstore's threads
                attributes=_attributes(key, sha256),
                chunk_size=PART,
                max_concurrency=PARTS,
            )

    async def _has(self, key: str, size: int, sha256: str) -> bool:
        return await self.stat(key) == Stored(key, size, sha256)

    async def _objects(self, directory: str) -> AsyncIterator[Stored]:
        stream = obstore.list(self._store, directory or None, chunk_size=BATCH)
        while True:
            found: Sequence[Any] = ()
            with self._told(directory), suppress(StopAsyncIteration):
                found = await anext(stream)
            if not found:
                return
            for each in found:
                yield Stored(each["path"], each["size"])

    def _twin(self, key: str) -> S3Store | None:
        """Return the store of the page's twin, its empty path; None if the key is no index page, or has no twin."""
        directory, _, name = key.rpartition("/")
        if not self._keeps_slashes or name != _PAGE or not (directory or self._bucket.prefix):
            return None
        return _open_store(self._bucket, self._bucket.address(directory).rstrip("/"))

    async def _remove_twins(self, keys: Iterable[str]) -> None:
        for key in keys:
            if twin := self._twin(key):
                with self._told(key), suppress(FileNotFoundError):
                    await obstore.delete_async(twin, "")

    async def _probe(self) -> None:
        """Find out what the server can do, on keys of our own that are removed again."""
        key = f".fetcher-probe-{uuid.uuid4().hex}"
        with self._told(key):
            creates = await _create(self._store, key)
            try:
                self._creates = creates and not await _create(self._store, key)
            finally:
                with anyio.CancelScope(shield=True):
                    await obstore.delete_async(self._store, key)
        self._keeps_slashes = await self._returns_slashed(f"{key}-page")

    async def _returns_slashed(self, key: str) -> bool:
        twin = _open_store(self._bucket, self._bucket.address(key))
        body = key.encode()
        with self._told(f"{key}/"):
            try:
                await obstore.put_async(twin, "", body, use_multipart=False)
                # Not GET: SeaweedFS announces no bytes, sends them all the same, and closes the connection.
                answer = await obstore.get_async(twin, "", options={"head": True})
                return answer.meta["size"] == len(body)
            except (FileNotFoundError, GenericError) as error:
                if not is_answered(str(error)):
                    raise
                return False
            finally:
                with anyio.CancelScope(shield=True), suppress(FileNotFoundError):
                    await obstore.delete_async(twin, "")

    @contextmanager
    def _told(self, key: str) -> Iterator[None]:
        """Raise what obstore says as an error of ours; its text may quote what was signed, and is not kept."""
        try:
            yield
        except (BaseError, OSError) as error:
            raise failure(self._bucket, key, str(error)) from None


def _open_store(bucket: Bucket, page: str | None = None) -> S3Store:
    """Return the store of a bucket; or that of one object whose key ends with a slash, `page` being its URL without.

    obstore takes a slash off the end of every path, and puts one between a bucket's URL and the path.  So the object is
    the empty path of a bucket that is said to be there.  Such a store is 4 ms of work, and has connections of its own.
    """
    hosted = bucket.hosted or page is not None
    return S3Store(
        bucket.name,
        prefix=None if page else bucket.prefix or None,
        config={
            "aws_endpoint_url_s3": page or bucket.endpoint,
            "region": bucket.region,
            "virtual_hosted_style_request": hosted,
            **({"disable_bulk_delete": True} if page else {}),  # a key in a body would be the empty path
        },
        client_options={"allow_http": bucket.insecure, "timeout": _TIMEOUT},
        retry_config=_RETRY,
    )


async def _create(store: S3Store, key: str) -> bool:
    """Put an empty object if there is none; say whether it was put so, and not in spite of the condition."""
    try:
        await obstore.put_async(store, key, b"", mode="create")
    except AlreadyExistsError:
        return False
    except (NotSupportedError, GenericError) as error:
        if not is_not_implemented(str(error)):
            raise
        await obstore.put_async(store, key, b"")
        return False
    return True


def _attributes(key: str, sha256: str) -> dict[Any, str]:
    return {"Content-Type": content_type(key), _SHA256: sha256}


async def _local(path: Path, work: Callable[[], T]) -> T:
    try:
        return await on_disk(work)
    except OSError as error:
        raise DiskError.of(str(path), error) from error
