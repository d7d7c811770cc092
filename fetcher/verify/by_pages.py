"""What a mirror should be, by its own pages: for a tree that was copied without its manifest.

- What a project's page lists is its objects: the page in JSON, for it says sizes, else that in HTML.
- The two are compared with each other, and the root pages with the projects that have pages.
"""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field

from packaging.utils import InvalidName, canonicalize_name

from fetcher.errors import ConfigError
from fetcher.index.files import Project
from fetcher.mirror.layout import ROOT_KEYS, page_keys
from fetcher.storage.store import Inspected
from fetcher.verify.claims import key_of, named_by_file
from fetcher.verify.differences import Differences, compare_projects, read_names, read_project
from fetcher.verify.findings import Finding, Named, judge
from fetcher.verify.scratch import Scratch, Seen
from fetcher.verify.truth import Claim

__all__ = ["ByPages"]

# So many names are noted, and read, at a time.
NAMES = 1000

_PAGES = {"index.json": Seen.JSON, "index.html": Seen.HTML}
_ROOTS = dict(zip(ROOT_KEYS, (Seen.ROOT_JSON, Seen.ROOT_HTML), strict=True))


@dataclass(frozen=True)
class ByPages:
    """The pages are the truth; a `Truth`.  Raises ConfigError if there are none."""

    store: Inspected
    scratch: Scratch
    _read: set[Seen] = field(default_factory=set, init=False)

    async def whole(self) -> list[Finding]:
        """Find the projects, and return what is wrong with the root pages."""
        await self._see_pages()
        findings = [found for key, seen in _ROOTS.items() if (found := await self._see_root(key, seen)) is not None]
        if not self._read and not await self.scratch.projects("", 1):
            raise ConfigError(f"{self.store.url} is no mirror: it has neither a manifest nor pages below simple/")
        return [*findings, *await self._compare_roots()]

    async def _see_pages(self) -> None:
        seen: dict[Seen, list[str]] = {Seen.JSON: [], Seen.HTML: []}
        async for stored in self.store.list("simple/"):
            _, _, rest = stored.key.partition("/")
            name, _, page = rest.partition("/")
            if page in _PAGES and _is_normal(name):
                seen[_PAGES[page]].append(name)
                await self._note(seen, NAMES)
        await self._note(seen, 1)

    async def _note(self, seen: dict[Seen, list[str]], least: int) -> None:
        for where, names in seen.items():
            if len(names) >= least:
                await self.scratch.see(names, where)
                names.clear()

    async def _see_root(self, key: str, seen: Seen) -> Finding | None:
        """Note the projects that a root page lists."""
        page = Named(key, "page")
        body = await self._body(page)
        names = body if isinstance(body, Finding) else read_names(page, body)
        if isinstance(names, Finding):
            return names
        self._read.add(seen)
        await self.scratch.see(names, seen)
        return None

    async def _compare_roots(self) -> list[Finding]:
        """Return what the root pages that can be read say other than there are projects."""
        found = {key: Differences() for key, seen in _ROOTS.items() if seen in self._read}
        async for name, seen in self._projects():
            has_page = bool(seen & (Seen.JSON | Seen.HTML))
            for key, differences in found.items():
                if has_page != bool(seen & _ROOTS[key]):
                    differences.add(f"it leaves out {name}" if has_page else f"it lists {name}, which has no page")
        return [Named(key, "page").found("disagreement", str(each)) for key, each in found.items() if str(each)]

    async def _projects(self) -> AsyncIterator[tuple[str, Seen]]:
        last = ""
        while found := await self.scratch.projects(last, NAMES):
            for each in found:
                yield each
            last = found[-1][0]

    async def names(self) -> AsyncIterator[str]:
        """Yield the projects that have a page."""
        async for name, seen in self._projects():
            if seen & (Seen.JSON | Seen.HTML):
                yield name

    async def claim(self, name: str) -> Claim:
        """Return what its pages say of a project, and what is wrong with them."""
        findings: list[Finding] = []
        read: list[tuple[Named, Project]] = []
        for key in page_keys(name):
            page = Named(key, "page", name)
            body = await self._body(page)
            said = body if isinstance(body, Finding) else read_project(page, body)
            if isinstance(said, Finding):
                findings.append(said)
            else:
                read.append((page, said))
        if not read:
            return Claim(name, [], page_keys(name), findings)
        (page, truth), *others = read
        findings += _disagreements(page, truth, others)
        named = [each for file in truth.files for each in named_by_file(name, file)]
        return Claim(name, named, page_keys(name), findings)

    async def _body(self, page: Named) -> bytes | Finding:
        """Read a page, or say why not."""
        found = judge(page, await self.store.look(page.key))
        return await self.store.get(page.key) or b"" if found is None else found


def _is_normal(name: str) -> bool:
    try:
        return canonicalize_name(name, validate=True) == name
    except InvalidName:
        return False


def _disagreements(page: Named, truth: Project, others: Iterable[tuple[Named, Project]]) -> list[Finding]:
    """Say what the page that is believed says of files elsewhere, and what the other says otherwise."""
    elsewhere = Differences()
    for file in truth.files:
        if key_of(file.url) is None:
            elsewhere.add(f"it lists {file.filename}, which is not in the mirror")
    said = [(page, str(elsewhere)), *((other, compare_projects(truth, listed)) for other, listed in others)]
    return [each.found("disagreement", text) for each, text in said if text]
