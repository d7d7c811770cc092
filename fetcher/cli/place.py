"""Where a mirror is: a directory or a bucket; and where its manifest and its pages of the index are kept.

- In a directory that is beside the mirror: whoever moves it moves them along.
- For a bucket it is the user's data directory, under a name that the bucket and its endpoint give.
"""

import hashlib
import logging
import os
import re
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from pathlib import Path

from fetcher.disk import on_disk
from fetcher.errors import ConfigError, DiskError
from fetcher.index.urls import redact
from fetcher.mirror.manifest import hold
from fetcher.storage.directory import PRIVATE, Directory, make
from fetcher.storage.s3 import parse_bucket
from fetcher.storage.store import Inspected

__all__ = ["UNBOUNDED", "Place", "place_of"]

logger = logging.getLogger(__name__)

# Pages of a mirror are kept however many there are: without them each would come anew.
UNBOUNDED = 1 << 60
# What says that a bucket, or its prefix, is a mirror; in a directory that is `PRIVATE` itself.
MARK_KEY = f"{PRIVATE}/mirror"
# As of a URL; one letter is a drive of Windows.
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


@dataclass(frozen=True)
class Place:
    """A mirror's place: a `directory`, or a `bucket` as `s3://BUCKET/PREFIX`.  `state` is where its manifest is kept,
    `incoming` where files are on their way; `shown` is what the user called it, without a slash at the end."""

    shown: str
    state: Path
    incoming: Path
    directory: Path | None = None
    bucket: str | None = None

    async def check(self) -> None:
        """Raise ConfigError if it is somebody else's; nothing is made yet."""
        if self.directory is not None:
            await Directory(self.directory).check()
            return
        store = self.to_read()
        if await store.get(MARK_KEY) is not None:
            return
        async with aclosing(store.list()) as listed:  # type: ignore[type-var]
            async for found in listed:
                if found.key.startswith(("simple/", "files/")) or found.key == "index.html":
                    raise ConfigError(f"{store.url} has {found.key}, and is no mirror: choose another prefix")

    async def hold(self, stack: AsyncExitStack) -> None:
        """Keep other runs from the directory, whose manifest may be elsewhere.  Raises ConfigError, DiskError."""
        if self.directory is None or self.state == self.directory / PRIVATE:
            return  # that of the manifest is held
        try:
            stack.callback(os.close, await on_disk(hold, self.directory / PRIVATE))
        except OSError as error:
            raise DiskError.of(str(self.directory), error) from error

    def to_read(self) -> Inspected:
        """Return the store, to look at it: nothing is made or tried, and nobody needs the right to write.

        Raises ConfigError.
        """
        if self.directory is not None:
            return Directory(self.directory)
        from fetcher.storage.object_store import ObjectStore

        return ObjectStore(parse_bucket(self.bucket or "", os.environ))

    async def open(self) -> Inspected:
        """Open the store, to put something in.  Raises ConfigError, DiskError."""
        if self.directory is None:
            # Imported here: it needs an extra, and takes a while.
            from fetcher.storage.object_store import ObjectStore

            bucket = await ObjectStore.open(self.bucket or "")
            await make(self.incoming)
            await bucket.put(MARK_KEY, b"")
            if not bucket.answers_installers:
                logger.warning(
                    "%s takes a page for a directory: pip and uv need a web server before it that makes simple/NAME/ "
                    "simple/NAME/index.html",
                    bucket.url,
                )
            return bucket
        store = Directory(self.directory)
        await store.open()
        return store


def place_of(to: str, state: Path | None = None) -> Place:
    """Return the place that `--to` and `--state` name.  Raises ConfigError."""
    if to.startswith("s3://"):
        found = parse_bucket(to, os.environ)
        kept = state or _data_directory(f"{found.endpoint} {found.url}")
        return Place(found.url, kept, kept / "incoming", bucket=to)
    if _SCHEME.match(to):
        raise ConfigError(f"{redact(to)} is neither a directory nor s3://BUCKET/PREFIX")
    if not to or "\0" in to:
        raise ConfigError("a directory's name is not empty, and has no NUL in it")
    try:
        directory = Path(to).expanduser().absolute()
    except (RuntimeError, OSError) as error:  # nobody knows that user's home, or the working directory is gone
        raise ConfigError(f"{to}: {error}") from None
    shown = to.rstrip("/") or to
    return Place(shown, state or directory / PRIVATE, directory / PRIVATE / "incoming", directory=directory)


def _data_directory(bucket: str) -> Path:
    from platformdirs import user_data_path  # 4 ms, spared where a directory is named

    named = hashlib.sha256(bucket.encode()).hexdigest()[:16]
    return user_data_path("fetcher", appauthor=False) / "mirrors" / named
