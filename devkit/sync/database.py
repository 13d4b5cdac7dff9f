"""Step 5, sync: how its SQLite files are opened, and what their refusals become."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from devkit.own_folder import own_file, unusable, usable

# Another process may write just now.
_WAIT_S = 10
_NUMBERS = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_PERM: errno.EACCES,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
}
_MAGIC = bytes.fromhex("d9d505f920a163d7")
# What SQLite opens by itself: https://www.sqlite.org/tempfiles.html
_BESIDE = ("", "-journal", "-wal", "-shm")


def is_begun(path: Path) -> bool:
    """Whether there is a database: a file that the disk had no room for is empty."""
    with usable(own_file(path)), suppress(FileNotFoundError):
        return path.stat().st_size > 0
    return False


def connect(path: Path) -> sqlite3.Connection:
    """Open a file; safe when a process is killed, after a loss of power it may be broken.

    Raises:
        OwnFolderUnusable: a link or the like is in its place, or in that of a file beside it.
    """
    for suffix in _BESIDE:
        own_file(path.with_name(f"{path.name}{suffix}"))
    _refuse_named_file(path.with_name(f"{path.name}-journal"))
    database = sqlite3.connect(path, timeout=_WAIT_S)
    try:
        database.execute("PRAGMA synchronous = OFF")
        database.execute("PRAGMA journal_mode = TRUNCATE")
    except sqlite3.Error:
        database.close()
        raise
    return database


def _refuse_named_file(journal: Path) -> None:
    """Refuse a rollback journal of several databases, which devkit never makes.

    It ends in the name of a file that SQLite removes: https://www.sqlite.org/atomiccommit.html
    """
    with usable(journal), suppress(FileNotFoundError), journal.open("rb") as file:
        file.seek(max(0, journal.stat().st_size - len(_MAGIC)))
        if file.read() == _MAGIC:
            raise unusable(journal, "it names a file that SQLite would remove", errno.EEXIST)


def refuse_read_only(path: Path) -> None:
    """Raise OwnFolderUnusable where a file cannot be written.

    Not opened for that: whoever closes a file gives up SQLite's locks on it in the whole process.
    """
    if not os.access(path, os.W_OK):
        raise unusable(path, "it can only be read", errno.EACCES)


@contextmanager
def as_os_error(what: str, path: Path) -> Iterator[None]:
    """Turn SQLite's errors into OwnFolderUnusable: `what` cannot be stored in the file `path`."""
    try:
        yield
    except sqlite3.Error as error:
        number = _NUMBERS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
        raise unusable(path, f"{what} cannot be stored: {error}", number) from error
