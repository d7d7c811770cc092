"""A look at a whole mirror: is all there that should be, is it what it should be, and is nothing else there?

1. The objects of a project are looked at side by side; of a directory each file is read, in a few threads; of a bucket
   one HEAD says length and digest.
2. What nobody names is found by a listing at the end, once it is known what is named.  Only `simple/` and `files/` are
   the mirror's; what else is in the directory or bucket is none of its business.
3. Memory does not grow with the mirror: what is named is remembered on disk (`scratch`), projects come one by one.
4. With a `Repairer` each project is repaired in its turn, then the pages of the whole; stray objects go last, when
   no page can name them any more, and not at all where that were most of what is there: then the manifest is another
   mirror's, or new.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from anyio import Semaphore, create_task_group

from fetcher.errors import ConfigError, FetcherError
from fetcher.mirror.layout import ROOT_KEYS
from fetcher.storage.store import Inspected
from fetcher.verify.claims import folders
from fetcher.verify.findings import Finding, Named, judge, stray
from fetcher.verify.scratch import Scratch
from fetcher.verify.truth import Claim, Truth

__all__ = ["Outcome", "Repairer", "Verification"]

# So many projects are under way at once.
PROJECTS = 32
# So many keys are looked up, or removed, at a time.
KEYS = 1000
# What is the mirror's own of a directory or bucket.
ROOMS = ("simple/", "files/")

# What became of a finding: it was told of, and no more; it was repaired; or it could not be.
Outcome = Literal["found", "repaired"] | FetcherError


class Repairer(Protocol):
    """Who puts right what was found."""

    async def begin(self) -> None:
        """Take note of how things should be before anything is repaired."""

    async def repair(self, claim: Claim, findings: Sequence[Finding]) -> dict[str, FetcherError]:
        """Repair a project; return by key what could not be repaired.  Raises DiskError."""

    async def repair_whole(self, findings: Sequence[Finding]) -> None:
        """Write the pages of the whole mirror that were found wrong, or are to say something else now."""

    async def remove(self, keys: Sequence[str]) -> None:
        """Remove stray objects."""


@dataclass
class Verification:
    """One look at a mirror; so many objects at once as there is `room`.

    `tell` is called in the event loop with each finding and what became of it, `count` with the size of each file that
    was looked at, 0 for one that is not there; both must return soon.
    """

    truth: Truth
    store: Inspected
    scratch: Scratch
    tell: Callable[[Finding, Outcome], None]
    count: Callable[[int], None]
    room: int
    repairer: Repairer | None = None
    _room: Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._room = Semaphore(self.room)

    async def run(self) -> None:
        """Look at everything.

        Raises ConfigError where there is no mirror; DiskError, also in a group, for what a store or the manifest says.
        """
        if self.repairer is not None:
            await self.repairer.begin()
        whole = await self.truth.whole()
        await self._look_at_projects()
        if self.repairer is not None:
            await self.repairer.repair_whole(whole)
        self._tell(whole, {})
        await self._find_strays()
        await self._tell_strays()

    def _tell(self, findings: Sequence[Finding], unrepaired: dict[str, FetcherError]) -> None:
        otherwise: Outcome = "found" if self.repairer is None else "repaired"
        for found in findings:
            self.tell(found, unrepaired.get(found.key, otherwise))

    # ---------------------------------------------------------------------------------------------------- what is named

    async def _look_at_projects(self) -> None:
        places = Semaphore(PROJECTS)

        async def one(name: str) -> None:
            try:
                await self._look_at_project(name)
            finally:
                places.release()

        async with create_task_group() as tasks:
            async for name in self.truth.names():
                await places.acquire()
                tasks.start_soon(one, name)

    async def _look_at_project(self, name: str) -> None:
        claim = await self.truth.claim(name)
        keys = [*(named.key for named in claim.named), *claim.its_own]
        await self.scratch.name([*keys, *folders(keys)])
        findings = [*claim.findings, *await self._look_at(claim.named)]
        if self.repairer is None or not findings:
            self._tell(findings, {})
        else:
            self._tell(findings, await self.repairer.repair(claim, findings))

    async def _look_at(self, objects: Sequence[Named]) -> list[Finding]:
        """Return what is wrong with objects, in their order."""
        findings: dict[str, Finding] = {}

        async def one(named: Named) -> None:
            try:
                stored = await self.store.look(named.key)
            finally:
                self._room.release()
            if named.part == "file":
                self.count(0 if stored is None else stored.size)
            if (found := judge(named, stored)) is not None:
                findings[named.key] = found

        async with create_task_group() as tasks:
            for named in objects:
                await self._room.acquire()
                tasks.start_soon(one, named)
        return [findings[key] for key in dict.fromkeys(named.key for named in objects) if key in findings]

    # ------------------------------------------------------------------------------------------------ what is not named

    async def _find_strays(self) -> None:
        await self.scratch.name(ROOT_KEYS)
        for room in ROOMS:
            keys: list[str] = []
            async for stored in self.store.list(room):
                keys.append(stored.key)
                if len(keys) == KEYS:
                    await self.scratch.add_strays(await self.scratch.unnamed(keys))
                    keys.clear()
            await self.scratch.add_strays(await self.scratch.unnamed(keys))

    async def _tell_strays(self) -> None:
        refused = None if self.repairer is None else await self._refusal()
        last = ""
        while keys := await self.scratch.strays(last, KEYS):
            if self.repairer is not None and refused is None:
                await self.repairer.remove(keys)
            found = [stray(key) for key in keys]
            self._tell(found, {} if refused is None else dict.fromkeys(keys, refused))
            last = keys[-1]

    async def _refusal(self) -> FetcherError | None:
        """Say why stray objects are not removed: there are more of them than of those that the manifest names."""
        strays, named = await self.scratch.count_strays(), await self.scratch.count_named()
        if strays <= named:
            return None
        return ConfigError(
            f"nothing stray is removed from {self.store.url}: that were {strays} objects, and {named} are named by the "
            "manifest; is it that of this mirror?"
        )
