"""Which of a project's wheels and source distributions may be taken: pip's `--only-binary` and `--no-binary`.

Rules, as pip has them:

* Each option takes project names between commas; `:all:` stands for every project, and takes back what either option
  said before; `:none:` takes back what the same option said before.
* Of the two options the one that named a project last counts for it; what names a project beats `:all:`.

This file is pure.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from packaging.utils import InvalidName, canonicalize_name

from fetcher.errors import ConfigError
from fetcher.index.files import File
from fetcher.index.urls import redact

__all__ = ["ALL", "Formats", "Kind"]

Kind: TypeAlias = Literal["wheel", "sdist"]

ALL = ":all:"
"""Stands for every project."""
NONE = ":none:"


@dataclass(frozen=True)
class Formats:
    """What may be taken, and what goes first.

    `only_binary` and `no_binary` hold normalized names and `:all:`.  `prefer` is what is taken of a version that has
    both; with `prefer_binary` a version that has a wheel goes before a newer one that has none.
    """

    only_binary: frozenset[str] = frozenset()
    no_binary: frozenset[str] = frozenset()
    prefer: Kind = "wheel"
    prefer_binary: bool = False

    def only(self, project: str) -> Kind | None:
        """Return the one kind that may be taken of a project, by its normalized name; None for either."""
        for name in (project, ALL):
            if name in self.only_binary:
                return "wheel"
            if name in self.no_binary:
                return "sdist"
        return None

    def admit(self, files: Iterable[File], project: str) -> list[File]:
        """Return those of a project's files that may be taken."""
        only = self.only(project)
        return [file for file in files if only is None or file.is_wheel == (only == "wheel")]

    def heed(self, option: str, value: str) -> "Formats":
        """Return what holds after `--only-binary` or `--no-binary` with this value.  Raises ConfigError."""
        if option == "--only-binary":
            named, others = _heed(option, value, self.only_binary, self.no_binary)
            return replace(self, only_binary=named, no_binary=others)
        named, others = _heed(option, value, self.no_binary, self.only_binary)
        return replace(self, no_binary=named, only_binary=others)


def _heed(
    option: str, value: str, named: frozenset[str], others: frozenset[str]
) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names of the option itself and those of the other one, after `value`."""
    words = [word for part in value.split(",") if (word := part.strip())]
    if not words:
        raise ConfigError(f"{option} takes project names, {ALL} or {NONE}")
    for word in words:
        if word == ALL:
            named, others = frozenset({ALL}), frozenset()
        elif word == NONE:
            named = frozenset()
        else:
            name = frozenset({_normalized(option, word)})
            named, others = named | name, others - name
    return named, others


def _normalized(option: str, word: str) -> str:
    try:
        return canonicalize_name(word, validate=True)
    except InvalidName:
        raise ConfigError(f"{option}: {redact(word)!r} is neither a project name nor {ALL} or {NONE}") from None
