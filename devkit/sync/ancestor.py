"""Step 5, sync: what workspace and container had when they last agreed, on disk.

One database per container, in .devkit/sync: another container, even of the same name, has another
file system, and what is not in that was not deleted from it.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Self

from devkit.own_folder import NAME, own_folder, own_path
from devkit.sync import database as files
from devkit.sync.agent.side import Entry

_FOLDER = "sync"
_VERSION = 1
# Those of containers that are gone drop out by and by.
_MOST_CONTAINERS = 8
_TABLES = """
CREATE TABLE IF NOT EXISTS entries
    (path BLOB PRIMARY KEY, kind TEXT, digest BLOB, executable INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS apart
    (path BLOB PRIMARY KEY, kind TEXT, digest BLOB, executable INTEGER,
     other_kind TEXT, other_digest BLOB, other_executable INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meeting (how TEXT);
CREATE TABLE IF NOT EXISTS known
    (side TEXT, path BLOB, record BLOB, PRIMARY KEY (side, path)) WITHOUT ROWID;
"""


class Ancestor:
    """The entries that both sides had. A file that is broken or of another version is begun anew.

    `entries` is as on disk; `agree` changes both. `apart` is what differs on purpose: the
    workspace's entry and the container's. Who only reads makes nothing. Raises OwnFolderUnusable,
    which is an OSError, where it cannot be stored.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stored = partial(files.as_os_error, "the sync's state", path)
        self._database: sqlite3.Connection | None = None
        self.entries = dict[str, Entry]()
        self.apart = dict[str, tuple[Entry | None, Entry | None]]()
        if files.is_begun(path):
            with self._stored():
                self._open()

    @property
    def meeting(self) -> str:
        """How both sides are to meet for the first time: "apart", "pull", or "" as ever."""
        if self._database is None:
            return ""
        with self._stored():
            row = self._database.execute("SELECT how FROM meeting").fetchone()
        return row[0] if row else ""

    def meet(self, how: str) -> None:
        """Say how both sides are to meet for the first time; see `meeting`."""
        with self._stored(), self._writing() as database:
            database.execute("INSERT INTO meeting VALUES (?)", (how,))

    def met(
        self,
        apart: Mapping[str, tuple[Entry | None, Entry | None]],
        agreed: Mapping[str, Entry | None],
        *,
        is_over: bool,
    ) -> None:
        """Keep what is apart and what counts as agreed; it was all that there is, if `is_over`."""
        rows = [
            (os.fsencode(path), *_columns(here), *_columns(there))
            for path, (here, there) in apart.items()
        ]
        marks = ", ".join("?" * 7)
        self.agree(agreed)
        with self._stored(), self._writing() as database:
            database.executemany(f"INSERT OR REPLACE INTO apart VALUES ({marks})", rows)
            if is_over:
                database.execute("DELETE FROM meeting")
        self.apart.update(apart)

    @staticmethod
    def path(root: Path, container_id: str) -> Path:
        """Where the one of a container is, if it is."""
        return root / NAME / _FOLDER / f"{container_id[:16]}.db"

    @classmethod
    def of(cls, root: Path, container_id: str) -> Self:
        """Open the one of a container, in the workspace `root`; it is made when it is written."""
        own_path(root, _FOLDER)
        return cls(cls.path(root, container_id))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_empty(self) -> bool:
        """Whether both sides never agreed about anything."""
        return not self.entries

    def agree(self, agreed: Mapping[str, Entry | None]) -> None:
        """Both sides have these now (None: nothing there)."""
        new = {path: entry for path, entry in agreed.items() if self.entries.get(path) != entry}
        met = [(os.fsencode(path),) for path in self.apart if path in agreed]
        if not new and not met:
            return
        gone = [(os.fsencode(path),) for path, entry in new.items() if entry is None]
        there = [
            (os.fsencode(path), *_columns(entry))
            for path, entry in new.items()
            if entry is not None
        ]
        with self._stored(), self._writing() as database:
            database.executemany("DELETE FROM entries WHERE path = ?", gone)
            database.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?)", there)
            database.executemany("DELETE FROM apart WHERE path = ?", met)
        for (name,) in met:
            del self.apart[os.fsdecode(name)]
        for path, entry in new.items():
            if entry is None:
                self.entries.pop(path, None)
            else:
                self.entries[path] = entry

    def forget(self, paths: Iterable[str] | None = None) -> None:
        """Both sides are to be compared as if they never met, at `paths` or everywhere."""
        gone = [*self.entries, *self.apart] if paths is None else list(paths)
        self.agree(dict.fromkeys(gone))

    def known(self, side: str) -> dict[str, bytes]:
        """Return the records (agent/known.py) of the files of a side, as they were kept."""
        if self._database is None:
            return {}
        with self._stored():
            rows = self._database.execute("SELECT path, record FROM known WHERE side = ?", (side,))
            return {sys.intern(os.fsdecode(path)): record for path, record in rows}

    def keep(self, side: str, known: Mapping[str, bytes]) -> None:
        """Keep the records of a side, for the next time."""
        before = self.known(side)
        gone = [(side, os.fsencode(path)) for path in before.keys() - known.keys()]
        new = [
            (side, os.fsencode(path), record)
            for path, record in known.items()
            if before.get(path) != record
        ]
        if not gone and not new:
            return
        with self._stored(), self._writing() as database:
            database.executemany("DELETE FROM known WHERE side = ? AND path = ?", gone)
            database.executemany("INSERT OR REPLACE INTO known VALUES (?, ?, ?)", new)

    def make(self) -> None:
        """Make it now, and see that it can be written: for who is about to change something."""
        with self._stored():
            self._writing()
        files.refuse_read_only(self._path)

    def close(self) -> None:
        """Let go of the file."""
        if self._database is not None:
            self._database.close()

    def _open(self) -> sqlite3.Connection:
        try:
            self._database, self.entries = _opened(self._path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise  # locked, or the disk is full: the file is sound
            self._path.unlink(missing_ok=True)
            self._database, self.entries = _opened(self._path)
        self.apart = _apart(self._database)
        return self._database

    def _writing(self) -> sqlite3.Connection:
        if self._database is not None:
            return self._database
        folder = self._path.parent
        if folder.parent.name == NAME:
            _sweep(own_folder(folder.parent.parent, _FOLDER))
        return self._open()


def _opened(path: Path) -> tuple[sqlite3.Connection, dict[str, Entry]]:
    database = files.connect(path)
    try:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version not in (0, _VERSION):
            raise sqlite3.DatabaseError(f"version {version}")
        database.executescript(_TABLES)
        if version != _VERSION:  # one that is only read is not written to
            database.execute(f"PRAGMA user_version = {_VERSION}")
        rows = database.execute("SELECT path, kind, digest, executable FROM entries")
        entries = {
            sys.intern(os.fsdecode(path)): Entry(kind, os.fsdecode(digest), bool(executable))
            for path, kind, digest, executable in rows
        }
    except sqlite3.Error:
        database.close()
        raise
    return database, entries


def _apart(database: sqlite3.Connection) -> dict[str, tuple[Entry | None, Entry | None]]:
    rows = database.execute("SELECT * FROM apart")
    return {os.fsdecode(row[0]): (_entry(*row[1:4]), _entry(*row[4:])) for row in rows}


def _columns(entry: Entry | None) -> tuple[str | None, bytes | None, bool | None]:
    if entry is None:
        return None, None, None
    return entry.kind, os.fsencode(entry.digest), entry.executable


def _entry(kind: str | None, digest: bytes, executable: int) -> Entry | None:
    return None if kind is None else Entry(kind, os.fsdecode(digest), bool(executable))


def _sweep(folder: Path) -> None:
    """Make room for one more."""
    known = sorted(folder.glob("*.db"), key=lambda path: path.lstat().st_mtime)
    for path in known[: -(_MOST_CONTAINERS - 1)]:
        with suppress(OSError):
            path.unlink()
