"""SOURCEs of `fetcher prefetch`: what they ask for, by project.

Rules:

1. A SOURCE that ends as a file of requirements or a lock does (`.txt`, `.in`, `.toml`, `.lock`), or that has a `/` and
   is no URL, is read as `-r` would read it; `-` is standard input.
2. Markers of requirements files are evaluated, and files of locks chosen, for each target.
3. What a lock has no file for is an error of its own.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from msgspec import structs
from packaging.markers import Marker

from fetcher.cli.locked import holds
from fetcher.cli.requirements import Requested, read_requested
from fetcher.cli.targets import Target, named_file
from fetcher.errors import ConfigError, FetcherError
from fetcher.index.files import File
from fetcher.index.formats import Formats
from fetcher.index.scope import Index
from fetcher.index.target import Target as Interpreter
from fetcher.index.urls import without_secrets
from fetcher.mirror.closure import ask_for
from fetcher.mirror.records import Listing
from fetcher.mirror.wanted import Ask

__all__ = ["Asked", "read_asked", "read_sources"]

_FILES = (".txt", ".in", ".toml", ".lock")


@dataclass(frozen=True)
class Asked:
    """What one target asks for, by normalized name of the project; or why it asks for nothing.

    `secret` is the URL it names, if that holds one: what is asked for is kept without.
    """

    text: str
    wants: Sequence[tuple[str, Ask]] = ()
    secret: str = field(default="", repr=False)
    error: FetcherError | None = None


def read_sources(
    sources: Iterable[str],
    files: Iterable[Path],
    interpreters: Sequence[Interpreter] | None,
    formats: Formats,
    *,
    constraints: Iterable[Path] = (),
    required: bool,
) -> Requested:
    """Read all sources; `interpreters` None: for every platform.  Raises ConfigError, DiskError."""
    paths, names = list(files), []
    for source in sources:
        if source == "-" or _is_file(source):
            paths.append(Path(source))
        else:
            names.append(source)
    return read_requested(
        names,
        paths,
        interpreters or (),
        constraints=constraints,
        all_platforms=interpreters is None,
        formats=formats,
        required=required,
    )


def _is_file(source: str) -> bool:
    if "://" in source or " @ " in source:
        return False
    return "/" in source or source.endswith(_FILES)


def read_asked(
    targets: Iterable[Target], interpreters: Sequence[Interpreter] | None, indexes: Iterable[Index]
) -> Iterator[Asked]:
    """Yield what the targets ask for; files of locks are listed by those of the declared indexes that they name."""
    indexes = list(indexes)
    for target in targets:
        try:
            file = named_file(target, indexes)
            secret = file.url if file is not None and without_secrets(file.url) != file.url else ""
            yield Asked(target.text, list(_asks(target, file, interpreters)), secret)
        except FetcherError as error:
            yield Asked(target.text, error=error)


def _asks(target: Target, file: File | None, interpreters: Sequence[Interpreter] | None) -> Iterator[tuple[str, Ask]]:
    name, ask = _of_file(file) if file is not None else _of_requirement(target)
    if target.locked is not None:
        yield name, structs.replace(ask, target=target.locked.target)
        return
    for number in _numbers(target.marker, interpreters):
        yield name, structs.replace(ask, target=number)


def _of_file(file: File) -> tuple[str, Ask]:
    """Return what asks for a file itself."""
    name = file.project or file.name
    if name is None:
        raise ConfigError(f"{file.filename} does not say of which project it is, so there is no page to list it on")
    return name, Ask(filename=file.filename, listing=Listing.of(file))


def _of_requirement(target: Target) -> tuple[str, Ask]:
    assert target.requirement is not None  # noqa: S101 - for the type checker: it names no file itself
    name, ask = ask_for(target.requirement)
    return name, structs.replace(ask, hashes=tuple(sorted(target.hashes)))


def _numbers(marker: Marker | None, interpreters: Sequence[Interpreter] | None) -> Sequence[int | None]:
    """Return the places of the interpreters that a marker admits; None for each."""
    if marker is None or interpreters is None:
        return (None,)
    return [number for number, one in enumerate(interpreters) if holds(marker, one.environment, "metadata")]
