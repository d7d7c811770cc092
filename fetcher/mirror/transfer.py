"""One file from the index into the store.

1. What is there under the digest that the index names is not fetched: a run that was killed put it there.
2. It comes to a local directory, with all that a download looks at: first bytes, length, digest.
3. Its METADATA is read from the file itself, and put beside it first; the file comes last.  So a file that is in its
   place has all that belongs to it, at whatever moment a run is killed.
4. A file whose METADATA cannot be read is mirrored without: the index vouches for it, and who installs it will hear.
5. Attestations are the index's word on a file, not part of it: without them it is mirrored all the same, and they are
   asked for again in the next run.
"""

import hashlib
import logging
import re
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fetcher.client import Fetcher
from fetcher.content import read_raw_metadata
from fetcher.disk import on_disk, read_piece
from fetcher.download.events import OnEvent
from fetcher.errors import BadReply, ContentError, DiskError, FetcherError
from fetcher.index.files import File
from fetcher.mirror.layout import file_key, provenance_key, sidecar_key
from fetcher.mirror.records import Content
from fetcher.sdist.static import refuse_dynamic
from fetcher.storage.store import Store

__all__ = ["Carried", "LocalCarrier", "bring_provenance", "carry", "read_requirements", "read_static"]

logger = logging.getLogger(__name__)

# In bytes: what file systems allow of a name.
MOST_NAME = 255
# In bytes; those of a file take some 10 kB for each attestation.
MOST_PROVENANCE = 16 << 20

# A header field and its folded lines (RFC 5322 §2.2.3); the body begins after an empty line.
_FIELD = re.compile(rb"(?im)^(requires-dist|requires-python)[ \t]*:[ \t]*(.*(?:\r?\n[ \t]+.*)*)")
_BODY = re.compile(rb"\r?\n\r?\n")


class Carried(msgspec.Struct, frozen=True):
    """What became of a file: what is in the store now, and what it cost.

    `bytes` crossed the wire, in `seconds`; 0 for a file that was there.
    """

    content: Content
    bytes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class LocalCarrier:
    """Brings files in this process, `room` at once, by way of the directory `incoming`."""

    fetcher: Fetcher
    store: Store
    incoming: Path
    room: int
    on_event: OnEvent | None = None

    async def carry(self, file: File) -> Carried:
        """Bring a file into the store."""
        return await carry(self.fetcher, self.store, file, self.incoming, self.on_event)

    def page_place(self) -> AbstractAsyncContextManager[None]:
        """Have a page read: the Fetcher itself knows what else is under way."""
        return nullcontext()


async def carry(fetcher: Fetcher, store: Store, file: File, incoming: Path, on_event: OnEvent | None = None) -> Carried:
    """Bring a file into the store, by way of a local directory.

    Raises FetcherError: what `Fetcher.download` raises, and what the store does.
    """
    if (found := await _find(store, file)) is not None:
        return Carried(await _complete(fetcher, store, file, found, incoming))
    done = await fetcher.download(file, incoming, on_event=on_event)
    raw = await _metadata(file, done.path, done.size)
    if raw is not None and _has_sidecar(file):
        await store.put(sidecar_key(done.sha256, file.filename), raw)
    provenance = await _bring_provenance(fetcher, store, file, done.sha256, incoming)
    content = _content(file, done.sha256, done.size, raw, provenance)
    await store.place(file_key(done.sha256, file.filename), done.path, done.sha256)
    return Carried(content, done.bytes, done.seconds)


async def _complete(fetcher: Fetcher, store: Store, file: File, found: Content, incoming: Path) -> Content:
    """Bring what belongs to a file that is in its place, and was not to be had before (rule 5)."""
    if file.provenance is None or found.provenance:
        return found
    provenance = await _bring_provenance(fetcher, store, file, found.sha256, incoming)
    digest = "" if provenance is None else hashlib.sha256(provenance).hexdigest()
    return msgspec.structs.replace(found, provenance=digest)


async def _find(store: Store, file: File) -> Content | None:
    """Return what is in the store under the digest that the index names (rule 1).

    Of a source distribution nothing there says what it requires: it comes once more.
    """
    sha256 = file.hashes.get("sha256") if file.is_wheel else None
    stored = None if sha256 is None else await store.stat(file_key(sha256, file.filename))
    if sha256 is None or stored is None or file.size not in (None, stored.size):
        return None
    if await store.digest(stored.key) != sha256:
        return None
    raw = await store.get(sidecar_key(sha256, file.filename))
    if raw is None:  # it comes once more, with what belongs to it
        return None
    provenance = await store.get(provenance_key(sha256, file.filename))
    return _content(file, sha256, stored.size, raw, provenance)


def _content(file: File, sha256: str, size: int, raw: bytes | None, provenance: bytes | None) -> Content:
    requires, requires_python = (None, "") if raw is None else read_requirements(raw)
    return Content(
        sha256,
        size,
        metadata="" if raw is None or not _has_sidecar(file) else hashlib.sha256(raw).hexdigest(),
        provenance="" if provenance is None else hashlib.sha256(provenance).hexdigest(),
        requires=requires,
        requires_python=requires_python,
    )


def _has_sidecar(file: File) -> bool:
    """Say whether METADATA may lie beside a file: it is a wheel, and its name leaves room for the suffix."""
    return file.is_wheel and len(sidecar_key("", file.filename).rpartition("/")[2].encode()) <= MOST_NAME


def read_requirements(raw: bytes) -> tuple[tuple[str, ...], str]:
    """Return what METADATA requires: distributions, and the Python."""
    head = _BODY.split(raw, maxsplit=1)[0]
    found = ((name.lower(), b" ".join(value.split())) for name, value in _FIELD.findall(head))
    fields = [(name, value.decode("utf-8", "replace")) for name, value in found]
    requires = tuple(value for name, value in fields if name == b"requires-dist")
    return requires, next((value for name, value in fields if name == b"requires-python"), "")


async def _metadata(file: File, path: Path, size: int) -> bytes | None:
    """Read the METADATA of a file that is here; None if it cannot be read, or is not static (rule 4)."""

    async def read(start: int, stop: int) -> bytes:
        return await on_disk(read_piece, path, start, stop)

    try:
        return await read_static(file, read, size)
    except ContentError as error:
        if file.is_wheel:
            logger.warning("%s is mirrored without its METADATA: %s", file.filename, error)
        return None
    except OSError as error:
        raise DiskError.of(str(path), error) from error


async def read_static(file: File, read: Callable[[int, int], Awaitable[bytes]], size: int) -> bytes:
    """Return the METADATA that a mirror keeps beside a file.  Raises ContentError, and what `read` raises."""
    raw = await read_raw_metadata(file, read, size)
    if not file.is_wheel:
        refuse_dynamic(file.filename, raw)
    return raw


async def _bring_provenance(fetcher: Fetcher, store: Store, file: File, sha256: str, incoming: Path) -> bytes | None:
    """Bring a file's attestations (PEP 740), if the index has any."""
    if file.provenance is None:
        return None
    try:
        return await bring_provenance(fetcher, store, file, file.provenance, sha256, incoming)
    except DiskError:
        raise
    except FetcherError as error:
        logger.warning("%s is mirrored without its attestations: %s", file.filename, error)
        return None


async def bring_provenance(fetcher: Fetcher, store: Store, file: File, url: str, sha256: str, incoming: Path) -> bytes:
    """Bring a file's attestations into the store.  Raises FetcherError."""
    attestations = File(f"{file.filename}.provenance", url, listed_by=file.listed_by, project=file.project)
    done = await fetcher.download(attestations, incoming)
    try:
        body = await on_disk(_take, done.path)
    except OSError as error:
        raise DiskError.of(str(done.path), error) from error
    if body is None:
        raise BadReply(url, f"something else than attestations (JSON, at most {MOST_PROVENANCE} bytes)")
    await store.put(provenance_key(sha256, file.filename), body)
    return body


def _take(path: Path) -> bytes | None:
    """Read a file and remove it; None if it is no JSON, or too large."""
    try:
        body = path.read_bytes() if path.stat().st_size <= MOST_PROVENANCE else b""
    finally:
        path.unlink()
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    return body
