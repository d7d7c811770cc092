"""Whose word on a mirror is taken: that of its manifest, or of its pages where there is no manifest."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from fetcher.mirror.manifest import Known
from fetcher.verify.findings import Finding, Named

__all__ = ["Claim", "Truth"]


@dataclass(frozen=True)
class Claim:
    """What is said of a project: the objects to look at, and the keys that are `its_own` besides.

    `findings` were made of its pages.  `known` is what the manifest has, if there is one.
    """

    project: str
    named: Sequence[Named]
    its_own: Sequence[str]
    findings: Sequence[Finding]
    known: Known | None = None


class Truth(Protocol):
    """Whose word is taken."""

    async def whole(self) -> list[Finding]:
        """Return what is wrong with the pages of the whole mirror; before anything else is asked.

        Raises ConfigError where there is no mirror.
        """

    def names(self) -> AsyncIterator[str]:
        """Yield the projects, in order; constant memory."""

    async def claim(self, name: str) -> Claim:
        """Return what is said of a project, and what is wrong with its pages."""
