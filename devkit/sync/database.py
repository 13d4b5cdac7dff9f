"""Step 5, sync: how its SQLite files are opened, and what their refusals become."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Another process may write just now.
_WAIT_S = 10


def connect(path: Path) -> sqlite3.Connection:
    """Open a file; safe when a process is killed, after a loss of power it may be broken."""
    database = sqlite3.connect(path, timeout=_WAIT_S)
    try:
        database.execute("PRAGMA synchronous = OFF")
        database.execute("PRAGMA journal_mode = TRUNCATE")
    except sqlite3.Error:
        database.close()
        raise
    return database


@contextmanager
def as_os_error(what: str) -> Iterator[None]:
    """Turn SQLite's errors into OSError: `what` cannot be stored; ENOSPC where the disk is full."""
    try:
        yield
    except sqlite3.Error as error:
        why = f"{what} cannot be stored: {error}"
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise OSError(errno.ENOSPC, why) from error
        raise OSError(why) from error
