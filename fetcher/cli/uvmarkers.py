"""Markers of a `uv.lock`: those of PEP 508, and what uv writes into them where extras or groups exclude each other.

Rules:

1. `extra == 'extra-3-app-cpu'` says that the extra `cpu` of `app` is asked for (`group-…` and `project-…` likewise, the
   number is the length of the name).  No installation has all that exclude each other, and a lock is fetched for any of
   them: a marker holds if it does for some choice that the lock's `conflicts` allow.
2. Such a choice is a set of what must be asked for; what must not be is not, so `extra != …` forbids nothing.
3. Everything else in a marker is as the interpreter sees it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import TypeAlias

from packaging.markers import InvalidMarker, Marker

from fetcher.cli.locked import holds
from fetcher.errors import ConfigError
from fetcher.index.urls import redact

__all__ = ["Markers"]

# Ways to make a marker hold, each a set of extras to ask for; those of uv have a handful.
_Choices: TypeAlias = frozenset[frozenset[str]]
_ALWAYS: _Choices = frozenset({frozenset()})
_NEVER: _Choices = frozenset()
MOST_CHOICES = 10_000

_TOKEN = re.compile(r"\"[^\"]*\"|'[^']*'|[()]|[^\s()\"']+")
_EXTRA = re.compile(r"\bextra\b")


class Markers:
    """What markers say for an interpreter, whose environment this is; `conflicts` are sets that exclude each other."""

    def __init__(self, environment: Mapping[str, str], conflicts: Iterable[frozenset[str]]) -> None:
        self._environment = environment
        self._conflicts = tuple(conflicts)
        # A lock repeats few markers on many edges.
        self._known: dict[str, bool] = {}

    def hold(self, text: str | None) -> bool:
        """Say whether a marker can hold; None always does.  Raises ConfigError for one that makes no sense."""
        if text is None:
            return True
        if text not in self._known:
            try:
                self._known[text] = self._can_hold(Marker(text))
            except (InvalidMarker, RecursionError):
                raise ConfigError(f"{redact(text)!r} is no marker") from None
        return self._known[text]

    def _can_hold(self, marker: Marker) -> bool:
        if not _EXTRA.search(str(marker)):
            return holds(marker, self._environment, "requirement")
        # As text it has been put into one form: one blank between tokens, the parentheses that it needs.
        return bool(self._either(_Tokens(_TOKEN.findall(str(marker)))))

    def _either(self, tokens: "_Tokens") -> _Choices:
        choices = self._both(tokens)
        while tokens.take("or"):
            choices |= self._both(tokens)
        return choices

    def _both(self, tokens: "_Tokens") -> _Choices:
        choices = self._one(tokens)
        while tokens.take("and"):
            choices = self._joined(choices, self._one(tokens))
        return choices

    def _one(self, tokens: "_Tokens") -> _Choices:
        if tokens.take("("):
            choices = self._either(tokens)
            tokens.take(")")
            return choices
        match list(tokens.comparison()):
            case ["extra", "==", value]:
                return frozenset({frozenset({value[1:-1]})})
            case ["extra", "!=", _]:
                return _ALWAYS
            case words:
                plain = Marker(" ".join(words))
                return _ALWAYS if holds(plain, self._environment, "requirement") else _NEVER

    def _joined(self, left: _Choices, right: _Choices) -> _Choices:
        """Return the ways to make both hold that the conflicts allow."""
        if len(left) * len(right) > MOST_CHOICES:
            raise ConfigError("a marker has too many combinations of extras")
        return frozenset(one | other for one, other in product(left, right) if self._is_allowed(one | other))

    def _is_allowed(self, choice: frozenset[str]) -> bool:
        return all(len(choice & conflict) < 2 for conflict in self._conflicts)


class _Tokens:
    """The words of a marker, taken one after the other."""

    def __init__(self, words: Iterable[str]) -> None:
        self._rest = iter(words)
        self._next = next(self._rest, "")

    def take(self, word: str) -> bool:
        """Take the next one if it is this."""
        if self._next != word:
            return False
        self._next = next(self._rest, "")
        return True

    def comparison(self) -> Iterator[str]:
        """Take and yield what stands before the next `and`, `or`, `)` or the end."""
        while self._next not in ("and", "or", ")", ""):
            yield self._next
            self._next = next(self._rest, "")
