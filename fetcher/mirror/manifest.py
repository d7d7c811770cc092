"""What a mirror wants, and what it has: an SQLite file beside it, which is the truth between runs.

    projects   what the index says of a project, the digest of the page that was written, what became of it
    files      what the index says of a file, what is in the mirror of it, why it could not be had
    wants      what this run was asked for, and which of it has had its turn
    dropped    keys that no row of `files` names any more; those that no page names either are `free`, and go

- Memory does not grow with the mirror: rows are read project by project, and written in batches.
- A run that is killed loses at most the last batch, and no more than a look at the store finds again: a file is in its
  place, under its digest, before it is noted here.
- `run` is the number of the run that last wanted a row: what an older run wanted is what `--delete` is about.
- One run at a time: a lock on a file ends with the process.
- Who only reads needs no lock, no right to write, and sees what the latest batch left.
"""

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias, TypeVar, TypeVarTuple

import msgspec
from anyio import CancelScope, Lock

from fetcher.disk import on_disk
from fetcher.download.lock import lock
from fetcher.errors import ConfigError, DiskError, FetcherError
from fetcher.mirror.layout import page_keys
from fetcher.mirror.plan import keys_of
from fetcher.mirror.records import Content, Entry, Facts, Listing
from fetcher.mirror.wanted import Ask

__all__ = ["NAME", "UNKNOWN", "Known", "Manifest", "hold"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# Of the file, in the directory of the state.
NAME = "manifest.sqlite3"
# In the place of a page's digest: it is being written, or was when the run ended.
UNKNOWN = "?"
# The layout of the tables below.
LAYOUT = 1
# So many rows are worth a transaction.
MANY = 500
# A row of a batch that another process is writing is waited for so many seconds.
PATIENCE = 30.0

_TABLES = """
CREATE TABLE IF NOT EXISTS projects (
    name TEXT PRIMARY KEY, run INTEGER NOT NULL, facts BLOB NOT NULL, page TEXT NOT NULL,
    outcome TEXT NOT NULL, error TEXT NOT NULL, reason TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS files (
    project TEXT NOT NULL, filename TEXT NOT NULL, run INTEGER NOT NULL, listing BLOB NOT NULL, content BLOB,
    size INTEGER NOT NULL, sha256 TEXT NOT NULL, error TEXT NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (project, filename)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS wants (
    project TEXT NOT NULL, ask BLOB NOT NULL, taken INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (project, ask)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS wants_not_taken ON wants (project) WHERE NOT taken;
CREATE TABLE IF NOT EXISTS dropped (key TEXT PRIMARY KEY, project TEXT NOT NULL, free INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS dropped_of ON dropped (project);
"""
_Change: TypeAlias = tuple[str, tuple[object, ...]]
_DROP = "INSERT OR REPLACE INTO dropped VALUES (?, ?, ?)"
_KEEP = "DELETE FROM dropped WHERE key = ?"
_FREE = "UPDATE dropped SET free = 1 WHERE project = ?"
_PUT_FILE = "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_PUT_PROJECT = "INSERT OR REPLACE INTO projects VALUES (?, ?, ?, ?, ?, ?, ?)"
_PUT_PAGE = (
    "INSERT INTO projects VALUES (?, ?, ?, ?, 'updated', '', '') ON CONFLICT (name) DO UPDATE SET page = excluded.page"
)
# A run that was killed may have noted files of a project, and not yet the project.
_PROJECTS = (
    "SELECT name FROM projects WHERE name > ? UNION SELECT DISTINCT project FROM files WHERE project > ?"
    " ORDER BY 1 LIMIT ?"
)


@dataclass(frozen=True)
class Known:
    """What is known of a project: the facts of its page (None: it was never read), the digest of the page that was
    written ("": none was), its files by name, and what this run was asked for.

    It may have had a turn in this run: `outcome` is what became of it then, `seen` the files that were wanted.
    """

    facts: Facts | None
    page: str
    entries: Mapping[str, Entry]
    asks: Sequence[Ask]
    outcome: str
    seen: frozenset[str]


@dataclass(frozen=True)
class Totals:
    """What is in the mirror: projects that have a page, files, and their bytes."""

    projects: int
    files: int
    bytes: int


def hold(directory: Path) -> int:
    """Keep other runs from a directory, which is created if need be, as long as what is returned is open; blocks.

    Raises OSError, ConfigError.
    """
    directory.mkdir(parents=True, exist_ok=True)
    held = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o666)
    if not lock(held):
        os.close(held)
        raise ConfigError(f"another run is at work on the mirror whose state is in {directory}")
    return held


class Manifest:
    """The manifest in a directory of its own, which is created if need be; `read_only`, it must be there.

    Use it as an async context manager, in one event loop.  Raises DiskError for what the system or SQLite says, and
    ConfigError if another run has it; one that is read only says `in_use` then.
    """

    def __init__(self, directory: Path, *, read_only: bool = False) -> None:
        self._directory = directory
        self._read_only = read_only
        self.in_use = False
        self._path = directory / NAME
        self._held = -1
        self._turn = Lock()
        self._waiting: list[_Change] = []
        self.run = 0

    async def __aenter__(self) -> Self:
        await self._do(self._open_to_read if self._read_only else self._open)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with CancelScope(shield=True):
            try:
                await self.flush()
            finally:
                await self._do(self._close)

    def _open(self) -> None:
        self._held = hold(self._directory)
        try:
            self._open_rows()
        except BaseException:
            os.close(self._held)
            raise

    def _open_rows(self) -> None:
        self._rows = sqlite3.connect(self._path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
        # A kill of the process loses nothing then; a power cut loses the last transactions, and what they name stays.
        self._rows.execute("PRAGMA journal_mode = WAL")
        self._rows.execute("PRAGMA synchronous = NORMAL")
        self._check_layout()
        self._rows.executescript(f"PRAGMA user_version = {LAYOUT};{_TABLES}")
        (latest,) = self._rows.execute(
            "SELECT max(run) FROM (SELECT max(run) AS run FROM projects UNION ALL SELECT max(run) FROM files)"
        ).fetchone()
        self.run = latest or 0

    def _open_to_read(self) -> None:
        self.in_use = _is_locked(self._directory / "lock")
        address = self._path.absolute().as_uri()
        try:
            self._connect_to_read(f"{address}?mode=rw")
        except sqlite3.OperationalError:
            # Where nothing may be written there is no room for the index of the log: what the log has is not seen.
            self._connect_to_read(f"{address}?immutable=1")

    def _connect_to_read(self, address: str) -> None:
        self._rows = sqlite3.connect(address, PATIENCE, isolation_level=None, check_same_thread=False, uri=True)
        try:
            self._rows.execute("PRAGMA query_only = ON")
            self._check_layout()
        except (sqlite3.Error, ConfigError):
            self._rows.close()
            raise

    def _check_layout(self) -> None:
        (layout,) = self._rows.execute("PRAGMA user_version").fetchone()
        if layout not in (0, LAYOUT):
            raise ConfigError(f"{self._path} has layout {layout}, and only {LAYOUT} is known: a newer fetcher wrote it")

    def _close(self) -> None:
        self._rows.close()
        if self._held >= 0:
            os.close(self._held)

    async def _do(self, work: Callable[[*Ts], T], *arguments: *Ts) -> T:
        """Do something with the rows in a thread, one at a time."""
        async with self._turn:
            try:
                return await on_disk(work, *arguments)
            except OSError as error:
                raise DiskError.of(str(self._path), error) from error
            except sqlite3.Error as error:
                raise DiskError(str(self._path), str(error)) from error

    # ------------------------------------------------------------------------------------------------ what is wanted

    async def begin(self) -> None:
        """Begin a run: nothing is wanted yet."""
        self.run += 1
        await self._do(lambda: self._rows.execute("DELETE FROM wants"))

    async def want(self, asks: Iterable[tuple[str, Ask]]) -> None:
        """Note what is asked for, by normalized project name; what was asked for before is not asked for again."""
        rows = [(name, msgspec.json.encode(ask)) for name, ask in asks]
        await self._do(self._write, [("INSERT OR IGNORE INTO wants (project, ask) VALUES (?, ?)", row) for row in rows])

    async def take(self, most: int) -> list[str]:
        """Return some projects of which something is wanted that has not had its turn; it has it now."""
        return await self._do(self._take, most)

    def _take(self, most: int) -> list[str]:
        found = self._rows.execute(
            "SELECT DISTINCT project FROM wants WHERE NOT taken ORDER BY project LIMIT ?", (most,)
        )
        names = [name for (name,) in found]
        self._write([("UPDATE wants SET taken = 1 WHERE project = ?", (name,)) for name in names])
        return names

    # -------------------------------------------------------------------------------------------------- what is known

    async def load(self, project: str) -> Known:
        """Return what is known of a project."""
        await self.flush()
        return await self._do(self._load, project)

    def _load(self, project: str) -> Known:
        query = "SELECT facts, page, outcome, run FROM projects WHERE name = ?"
        row = self._rows.execute(query, (project,)).fetchone()
        query = "SELECT filename FROM files WHERE project = ? AND run = ?"
        seen = frozenset(name for (name,) in self._rows.execute(query, (project, self.run)))
        asks = self._rows.execute("SELECT ask FROM wants WHERE project = ? ORDER BY ask", (project,))
        return Known(
            facts=None if row is None else msgspec.json.decode(row[0], type=Facts),
            page="" if row is None else row[1],
            entries={entry.filename: entry for entry in self._entries("project = ?", project)},
            asks=[msgspec.json.decode(ask, type=Ask) for (ask,) in asks],
            outcome=row[2] if row is not None and row[3] == self.run else "",
            seen=seen,
        )

    def _entries(self, where: str, *values: object) -> Iterator[Entry]:
        found = self._rows.execute(
            f"SELECT project, filename, listing, content, error, reason FROM files WHERE {where}",  # noqa: S608 - ours
            values,
        )
        for project, filename, listing, content, error, reason in found:
            yield Entry(
                project,
                filename,
                msgspec.json.decode(listing, type=Listing),
                None if content is None else msgspec.json.decode(content, type=Content),
                error,
                reason,
            )

    # --------------------------------------------------------------------------------------------------- what is noted

    async def note_file(self, entry: Entry, superseded: Iterable[str] = ()) -> None:
        """Note what is known of a file that this run wants, and the keys of what it takes the place of."""
        content = entry.content
        row = (
            entry.project,
            entry.filename,
            self.run,
            msgspec.json.encode(entry.listing),
            None if content is None else msgspec.json.encode(content),
            0 if content is None else content.size,
            "" if content is None else content.sha256,
            entry.error,
            entry.reason,
        )
        await self._note(
            (_PUT_FILE, row),
            *((_DROP, (key, entry.project, False)) for key in superseded),
            *((_KEEP, (key,)) for key in keys_of(entry)),
        )

    async def note_listing(self, entry: Entry) -> None:
        """Note what the index says now of a file that this run does not want."""
        row = (msgspec.json.encode(entry.listing), entry.project, entry.filename)
        await self._note(("UPDATE files SET listing = ? WHERE project = ? AND filename = ?", row))

    async def note_wanted(self, project: str, filename: str | None = None) -> None:
        """Note that a file is wanted, or all files of a project, of which the rest is known."""
        if filename is None:
            await self._note(("UPDATE files SET run = ? WHERE project = ?", (self.run, project)))
        else:
            row = (self.run, project, filename)
            await self._note(("UPDATE files SET run = ? WHERE project = ? AND filename = ?", row))

    async def note_project(self, facts: Facts, page: str, outcome: str, error: FetcherError | None = None) -> None:
        """Note what became of a project, and the digest of its page, which lists what the rows of its files say."""
        await self._note(self._project(facts, page, outcome, error), (_FREE, (facts.name,)))

    async def note_failure(self, facts: Facts, page: str, error: FetcherError) -> None:
        """Note why a project did not have its turn; its page is what it was."""
        await self._note(self._project(facts, page, "failed", error))

    def _project(self, facts: Facts, page: str, outcome: str, error: FetcherError | None) -> _Change:
        said = ("", "") if error is None else (type(error).__name__, " ".join(str(error).split()))
        return _PUT_PROJECT, (facts.name, self.run, msgspec.json.encode(facts), page, outcome, *said)

    async def begin_page(self, project: str) -> None:
        """Note at once that the page of a project is being written: what it says is not known until that is noted."""
        begun = ("UPDATE projects SET page = ? WHERE name = ?", (UNKNOWN, project))
        await self._note(begun, *((_KEEP, (key,)) for key in page_keys(project)))
        await self.flush()

    async def forget_files(self, entries: Iterable[Entry]) -> None:
        """Know nothing of files that no page names any more; their keys may go."""
        changes: list[_Change] = []
        for entry in entries:
            row = (entry.project, entry.filename)
            changes.append(("DELETE FROM files WHERE project = ? AND filename = ?", row))
            changes += [(_DROP, (key, entry.project, True)) for key in keys_of(entry)]
        await self._note(*changes)

    async def forget_project(self, project: str) -> None:
        """Know nothing of a project any more; its page may go."""
        dropped = ((_DROP, (key, project, True)) for key in page_keys(project))
        await self._note(("DELETE FROM projects WHERE name = ?", (project,)), *dropped)

    async def _note(self, *changes: _Change) -> None:
        """Have changes made in one transaction, soon."""
        self._waiting += changes
        if len(self._waiting) >= MANY:
            await self.flush()

    async def flush(self) -> None:
        """Write what was noted."""
        if self._waiting:
            await self._do(self._write_waiting)

    def _write_waiting(self) -> None:
        # Taken when it is this one's turn: what is noted meanwhile waits for the next.
        waiting, self._waiting = self._waiting, []
        self._write(waiting)

    def _write(self, changes: Iterable[_Change]) -> None:
        """Make changes in one transaction, in their order."""
        self._rows.execute("BEGIN IMMEDIATE")
        try:
            for statement, row in changes:
                self._rows.execute(statement, row)
        except BaseException:
            self._rows.execute("ROLLBACK")
            raise
        self._rows.execute("COMMIT")

    async def note_page(self, project: str, page: str) -> None:
        """Note the digest of the page that was written, and nothing else of the project."""
        row = (project, self.run, msgspec.json.encode(Facts(project)), page)
        await self._note((_PUT_PAGE, row), (_FREE, (project,)))

    # ---------------------------------------------------------------------------------------------- what is asked of it

    async def projects(self, after: str, most: int) -> list[str]:
        """Return the names of some projects that come after a name, in order; those without a page, too."""
        await self.flush()
        return await self._do(lambda: [name for (name,) in self._rows.execute(_PROJECTS, (after, after, most))])

    async def totals(self) -> Totals:
        """Return what is in the mirror."""
        await self.flush()
        return await self._do(self._totals)

    def _totals(self) -> Totals:
        (projects,) = self._rows.execute("SELECT count(*) FROM projects WHERE page != ''").fetchone()
        files, size = self._rows.execute("SELECT count(*), sum(size) FROM files WHERE sha256 != ''").fetchone()
        return Totals(projects, files, size or 0)

    async def listed_projects(self) -> list[str]:
        """Return the names of the projects that have a page, in order."""
        await self.flush()
        query = "SELECT name FROM projects WHERE page != '' ORDER BY name"
        return await self._do(lambda: [name for (name,) in self._rows.execute(query)])

    async def largest(self, most: int) -> list[tuple[str, int, int]]:
        """Return name, number of files and their bytes of the largest projects, the largest first."""
        await self.flush()
        query = (
            "SELECT project, count(*), sum(size) AS bytes FROM files WHERE sha256 != '' GROUP BY project"
            " ORDER BY bytes DESC, project LIMIT ?"
        )
        return await self._do(lambda: self._rows.execute(query, (most,)).fetchall())

    async def unwanted(self) -> list[tuple[str, str]]:
        """Return project and name of each file that is there and that this run does not want, in order."""
        await self.flush()
        query = "SELECT project, filename FROM files WHERE run < ? AND sha256 != '' ORDER BY project, filename"
        return await self._do(lambda: self._rows.execute(query, (self.run,)).fetchall())

    async def forget_failed(self) -> None:
        """Know nothing of files that are not there and that this run does not want, nor of projects without any."""
        await self._note(
            ("DELETE FROM files WHERE run < ? AND sha256 = ''", (self.run,)),
            ("DELETE FROM projects WHERE run < ? AND page = ''", (self.run,)),
        )

    async def dropped(self, most: int, *, pages: bool) -> list[str]:
        """Return some of the keys that may go: those of `pages`, or what no page names any more."""
        await self.flush()
        query = "SELECT key FROM dropped WHERE free AND (key LIKE 'simple/%') = ? LIMIT ?"
        return await self._do(lambda: [key for (key,) in self._rows.execute(query, (pages, most))])

    async def forget_dropped(self, keys: Sequence[str]) -> None:
        """Note that keys are gone."""
        await self._do(self._write, [("DELETE FROM dropped WHERE key = ?", (key,)) for key in keys])


def _is_locked(path: Path) -> bool:
    """Say whether a process has the lock; nobody has one that cannot be tried."""
    try:
        held = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        return not lock(held)
    finally:
        os.close(held)
