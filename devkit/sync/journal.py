"""Step 5, sync: every change that was applied, with the old content, to be looked up and undone.

In the workspace's .devkit/trash: a database of what was done, and the contents by their digest.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Self

from devkit.own_folder import own_folder
from devkit.sync import database as files
from devkit.sync.agent.places import TEMPORARY
from devkit.sync.agent.side import FILE, Entry, Staged
from devkit.sync.agent.staged import temporary_name
from devkit.sync.reconcile import SideName

_stored = partial(files.as_os_error, "the journal")
# What is kept at most: the oldest goes first, and what is older goes anyway.
MOST_BYTES = 1_000_000_000
MOST_AGE_S = 30 * 24 * 3600
_PRUNE_EVERY = 200
_PRUNE_EVERY_BYTES = MOST_BYTES // 10
# What is staged is written to as long as it comes.
_ON_ITS_WAY_S = 3600
_TABLE = """
CREATE TABLE IF NOT EXISTS changes
    (id INTEGER PRIMARY KEY AUTOINCREMENT, time REAL, service TEXT, side TEXT, path BLOB,
     old_kind TEXT, old_digest BLOB, old_executable INTEGER,
     new_kind TEXT, new_digest BLOB, new_executable INTEGER, why TEXT);
"""


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
    """What was done in a workspace. Raises OSError where it cannot be stored."""

    def __init__(self, root: Path) -> None:
        self._folder = own_folder(root, "trash")
        self._contents = own_folder(root, "trash", "contents")
        self._written = self._kept = 0
        path = self._folder / "journal.db"
        with _stored():
            try:
                self._database = _opened(path)
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise  # locked, or the disk is full: the file is sound
                # The contents are kept by their digests, whatever became of the list.
                path.replace(f"{path}.broken-{time.strftime('%Y%m%d-%H%M%S')}")
                self._database = _opened(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def place(self, digest: str) -> Path:
        """Where the content with that digest is kept, if it is."""
        return self._contents / digest

    def has(self, digest: str) -> bool:
        """Whether a content is kept; from now on it is as young as a new one."""
        with suppress(FileNotFoundError):
            os.utime(self.place(digest))
            return True
        return False

    def keep(self, content: bytes) -> None:
        """Keep a content."""
        digest = hashlib.sha256(content).hexdigest()
        if self.has(digest):
            return
        with NamedTemporaryFile(dir=self._contents, delete=False) as file:
            file.write(content)
        Path(file.name).replace(self.place(digest))
        self._kept += len(content)

    def take(self, folder: int, name: str, digest: str) -> None:
        """Move a file, by descriptor of its folder, into what is kept."""
        if self.has(digest):
            os.unlink(name, dir_fd=folder)
            return
        place = self.place(digest)
        try:
            os.rename(name, place, src_dir_fd=folder)
        except OSError:  # on another file system
            source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
            with (
                os.fdopen(source, "rb") as old,
                NamedTemporaryFile(dir=self._contents, delete=False) as new,
            ):
                shutil.copyfileobj(old, new)
            Path(new.name).replace(place)
            os.unlink(name, dir_fd=folder)
        os.utime(place)
        self._kept += place.stat().st_size

    def stage(self, path: str) -> Staged:  # noqa: ARG002  # a content has no path here
        """Begin a content that is too large to be kept at once."""
        folder = os.open(self._contents, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return Staged(folder, temporary_name())

    def commit(
        self,
        staged: Staged,
        path: str,  # noqa: ARG002
        expect: Entry | None,  # noqa: ARG002
        executable: bool,
    ) -> Entry:
        """Keep a staged content."""
        digest = staged.digest.hexdigest()
        (self._contents / staged.name).replace(self.place(digest))
        self._kept += self.place(digest).stat().st_size
        return Entry(FILE, digest, executable)

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
        with _stored(), self._database:
            self._database.executemany(f"INSERT INTO changes VALUES (NULL, {marks})", rows)
        self._written += len(rows)
        if self._written >= _PRUNE_EVERY or self._kept >= _PRUNE_EVERY_BYTES:
            self.prune()

    def records(self, *, most: int | None = None, service: str | None = None) -> list[Record]:
        """Return what was done, the newest first."""
        with _stored():
            rows = self._database.execute(
                "SELECT * FROM changes WHERE ? IS NULL OR service = ? ORDER BY id DESC LIMIT ?",
                (service, service, -1 if most is None else most),
            )
            return [_record(row) for row in rows]

    def record(self, number: int) -> Record | None:
        """Return one change; None where there is none of that number."""
        with _stored():
            row = self._database.execute("SELECT * FROM changes WHERE id = ?", (number,)).fetchone()
        return None if row is None else _record(row)

    def prune(self, *, now: float | None = None) -> None:
        """Keep within what is kept at most."""
        self._written = self._kept = 0
        oldest = (time.time() if now is None else now) - MOST_AGE_S
        left = MOST_BYTES
        files = [(path.stat(), path) for path in self._contents.iterdir()]
        for stat, path in sorted(files, key=lambda item: item[0].st_mtime, reverse=True):
            if path.name.startswith(TEMPORARY) and stat.st_mtime > time.time() - _ON_ITS_WAY_S:
                continue
            left -= stat.st_size
            # The newest stays, however large it is.
            if stat.st_mtime < oldest or (left < 0 and left + stat.st_size < MOST_BYTES):
                with suppress(OSError):
                    path.unlink()
        with _stored(), self._database:
            self._database.execute("DELETE FROM changes WHERE time < ?", (oldest,))

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()


def _opened(path: Path) -> sqlite3.Connection:
    database = files.connect(path)
    try:
        database.executescript(_TABLE)
    except sqlite3.Error:
        database.close()
        raise
    return database


def _columns(entry: Entry | None) -> tuple[str | None, bytes | None, bool | None]:
    if entry is None:
        return None, None, None
    return entry.kind, os.fsencode(entry.digest), entry.executable


def _record(row: Sequence[Any]) -> Record:
    number, when, service, side, path, *columns, why = row
    old, new = _entry(columns[:3]), _entry(columns[3:])
    return Record(number, when, service, side, os.fsdecode(path), old, new, why)


def _entry(columns: Sequence[Any]) -> Entry | None:
    kind, digest, executable = columns
    return Entry(kind, os.fsdecode(digest or b""), bool(executable)) if kind else None
