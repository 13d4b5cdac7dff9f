"""Step 5, sync: a file that is not complete yet, beside the place that it will have.

Part of the agent: standard library only, Python 3.7 and up.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from itertools import count

from . import places

_NUMBERS = count(1)


class Staged:
    """A file that grows beside the place that it will have."""

    def __init__(self, folder: int, name: str) -> None:
        self._folder = folder
        self.name = name
        self.digest = hashlib.sha256()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self.file = os.open(name, flags, 0o600, dir_fd=folder)
        except OSError:
            os.close(folder)
            raise

    def add(self, content: bytes) -> None:
        """Append."""
        left = memoryview(content)
        while left:
            left = left[os.write(self.file, left) :]
        self.digest.update(content)

    def close(self) -> None:
        """Let go; what was not committed is removed."""
        os.close(self.file)
        places.unlink(self._folder, self.name)
        os.close(self._folder)


def temporary_name(prefix: str = places.TEMPORARY) -> str:
    """A name that nobody else has."""
    return f"{prefix}{os.getpid()}-{time.time_ns():x}-{next(_NUMBERS)}"


def with_run_bit(mode: int, executable: bool) -> int:
    """The permissions of a mode, with or without those to run."""
    mode = stat.S_IMODE(mode)
    # Who may read may run.
    return mode | ((mode & 0o444) >> 2) if executable else mode & ~0o111


def new_mode(folder: int, name: str, executable: bool) -> int:
    """The mode of a new file: as the one that it replaces, but for the run bit."""
    mode = 0o644
    try:
        info = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISREG(info.st_mode):
            mode = info.st_mode & 0o777
    except FileNotFoundError:
        pass
    return with_run_bit(mode, executable)
