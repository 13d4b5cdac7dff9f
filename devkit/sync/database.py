"""Step 5, sync: how its SQLite files are opened, and what their refusals become."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from devkit.own_folder import opened, own_file, unusable

# Another process may write just now.
_WAIT_S = 10
_NUMBERS = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_PERM: errno.EACCES,
}
# What SQLite opens by itself: https://www.sqlite.org/tempfiles.html
_BESIDE = ("", "-journal", "-wal", "-shm")


def connect(path: Path) -> sqlite3.Connection:
    """Open a file; safe when a process is killed, after a loss of power it may be broken.

    Raises:
        OwnFolderUnusable: it cannot be made, or a link or the like is in its place, or in that of
            a file beside it.
    """
    for suffix in _BESIDE:
        own_file(path.with_name(f"{path.name}{suffix}"))
    if not path.exists():
        os.close(opened(path, os.O_RDWR))  # SQLite does not say why it could not
    database = sqlite3.connect(path, timeout=_WAIT_S)
    try:
        database.execute("PRAGMA synchronous = OFF")
        database.execute("PRAGMA journal_mode = TRUNCATE")
    except sqlite3.Error:
        database.close()
        raise
    return database


def refuse_read_only(database: sqlite3.Connection) -> None:
    """Raise sqlite3.Error where nothing can be written."""
    database.execute("BEGIN IMMEDIATE")
    database.execute("ROLLBACK")


@contextmanager
def as_os_error(what: str, path: Path) -> Iterator[None]:
    """Turn SQLite's errors into OwnFolderUnusable: `what` cannot be stored in the file `path`."""
    try:
        yield
    except sqlite3.Error as error:
        number = _NUMBERS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
        raise unusable(path, f"{what} cannot be stored: {error}", number) from error
