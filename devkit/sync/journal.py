"""Step 5, sync: every change that was applied, with the old content, to be looked up and undone.

In the workspace's .devkit/trash: a database of what was done, and the contents by their digest.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Self

from devkit.own_folder import own_folder, own_path, usable
from devkit.sync import database as files
from devkit.sync.agent import places
from devkit.sync.agent.side import FILE, FOLDER, LINK, Entry
from devkit.sync.contents import MOST_BYTES, Contents
from devkit.sync.reconcile import SideName

# What is older goes.
MOST_AGE_S = 30 * 24 * 3600
_PRUNE_EVERY = 200
_PRUNE_EVERY_BYTES = MOST_BYTES // 10
_TABLE = """
CREATE TABLE IF NOT EXISTS changes
    (id INTEGER PRIMARY KEY AUTOINCREMENT, time REAL, service TEXT, side TEXT, path BLOB,
     old_kind TEXT, old_digest BLOB, old_executable INTEGER,
     new_kind TEXT, new_digest BLOB, new_executable INTEGER, why TEXT);
"""
_COLUMNS = [
    *("id", "time", "service", "side", "path"),
    *("old_kind", "old_digest", "old_executable"),
    *("new_kind", "new_digest", "new_executable", "why"),
]


@dataclass(frozen=True)
class Record:
    """One change: on `side`, `old` became `new` at `path`; `why` where it was no plain edit."""

    id: int
    time: float
    service: str
    side: SideName
    path: str
    old: Entry | None
    new: Entry | None
    why: str = ""

    def __str__(self) -> str:
        arrow = "->" if self.side == "remote" else "<-"
        did = "created" if self.old is None else "deleted" if self.new is None else "changed"
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.time))
        why = f" ({self.why})" if self.why else ""
        path = self.path.encode(errors="replace").decode()
        return f"{self.id:>5}  {when}  {arrow} {did}  {path}{why}"


class Journal:
    """What was done in a workspace; who only reads makes nothing.

    A workspace may bring one along, so that nothing in it is taken for granted. Raises
    OwnFolderUnusable, which is an OSError, where it cannot be stored.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.contents = Contents(root)
        self._path = own_path(root, "trash") / "journal.db"
        self._stored = partial(files.as_os_error, "the journal", self._path)
        self._database: sqlite3.Connection | None = None
        self._written = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def make(self) -> None:
        """Make it now, and see that it can be written: for who is about to change something."""
        self.contents.make()
        with self._stored():
            self._opened()
        files.refuse_read_only(self._path)

    def write(
        self,
        service: str,
        changes: list[tuple[SideName, str, Entry | None, Entry | None, str]],
    ) -> None:
        """Note changes: side, path, old and new entry, why."""
        now = time.time()
        rows = [
            (now, service, side, os.fsencode(path), *_columns(old), *_columns(new), why)
            for side, path, old, new, why in changes
        ]
        marks = ", ".join("?" * 11)
        own_folder(self._root, "trash")
        with self._stored(), self._opened() as database:
            database.executemany(f"INSERT INTO changes VALUES (NULL, {marks})", rows)
        self._written += len(rows)
        if self._written >= _PRUNE_EVERY or self.contents.kept_bytes >= _PRUNE_EVERY_BYTES:
            self.prune()

    def records(self, *, most: int | None = None, service: str | None = None) -> list[Record]:
        """Return what was done, the newest first."""
        query = "SELECT * FROM changes WHERE ? IS NULL OR service = ? ORDER BY id DESC"
        rows = self._rows(query, service, service)
        return list(islice(filter(None, map(_record, rows)), most))

    def record(self, number: int) -> Record | None:
        """Return one change; None where there is none of that number."""
        rows = self._rows("SELECT * FROM changes WHERE id = ?", number)
        return next(map(_record, rows), None)

    def prune(self, *, now: float | None = None) -> None:
        """Keep within what is kept at most."""
        self._written = 0
        oldest = (time.time() if now is None else now) - MOST_AGE_S
        self.contents.prune(oldest)
        with self._stored(), self._opened() as database:
            database.execute("DELETE FROM changes WHERE time < ?", (oldest,))

    def close(self) -> None:
        """Let go of the file."""
        if self._database is not None:
            self._database.close()

    def _rows(self, query: str, *values: object) -> Iterator[Sequence[Any]]:
        if self._database is not None or files.is_begun(self._path):
            with self._stored():
                yield from self._opened().execute(query, values)

    def _opened(self) -> sqlite3.Connection:
        if self._database is None:
            try:
                self._database = _opened(self._path)
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise  # locked, or the disk is full: the file is sound
                # The contents are kept by their digests, whatever became of the list.
                aside = f"{self._path}.broken-{time.strftime('%Y%m%d-%H%M%S')}"
                with usable(self._path):
                    self._path.replace(aside)
                    Path(f"{self._path}-journal").unlink(missing_ok=True)
                self._database = _opened(self._path)
        return self._database


def _opened(path: Path) -> sqlite3.Connection:
    database = files.connect(path)
    # A text that is none is not devkit's; it is left out as a row, and refuses none of the others.
    database.text_factory = partial(str, encoding="utf-8", errors="replace")
    try:
        database.executescript(_TABLE)
        names = database.execute("SELECT name FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
        columns = [row[1] for row in database.execute("PRAGMA table_info(changes)")]
        if set(names) - {("sqlite_sequence",)} != {("changes",)} or columns != _COLUMNS:
            raise sqlite3.DatabaseError("the tables are not devkit's")
    except sqlite3.Error:
        database.close()
        raise
    return database


def _columns(entry: Entry | None) -> tuple[str | None, bytes | None, bool | None]:
    if entry is None:
        return None, None, None
    return entry.kind, os.fsencode(entry.digest), entry.executable


def _record(row: Sequence[Any]) -> Record | None:
    """Return what a row says; None for a row that devkit never wrote."""
    number, when, service, side, path, *columns, why = row
    try:
        time.localtime(when)
        path = os.fsdecode(path)
        places.parts(path)
        old, new = _entry(*columns[:3]), _entry(*columns[3:])
    except (TypeError, ValueError, OverflowError, OSError):
        return None
    is_typed = isinstance(when, float) and isinstance(service, str) and isinstance(why, str)
    if not is_typed or side not in ("local", "remote") or places.is_fleeting(path) or old == new:
        return None
    return Record(number, when, service, side, path, old, new, why)


def _entry(kind: Any, digest: Any, executable: Any) -> Entry | None:
    if kind is None:
        return None
    if kind not in (FILE, FOLDER, LINK):
        raise ValueError(f"no kind: {kind!r}")
    entry = Entry(kind, os.fsdecode(digest or b""), bool(executable))
    if "\0" in entry.digest:
        raise ValueError("no digest, and no target")
    return entry
