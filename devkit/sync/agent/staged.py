"""Step 5, sync: a file that is not complete yet, beside the place that it will have.

Part of the agent: standard library only, Python 3.7 and up.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from itertools import count
from typing import Optional, Union

from . import places
from .digests import blocks, signature_at
from .entry import Moved, Signature

Content = Union[bytes, memoryview]

_NUMBERS = count(1)
# The clock of a file system has ticks of up to 10 ms.
_OLDER_NS = 20_000_000


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


def write_new(
    folder: int, temporary: str, name: str, content: Content, executable: bool
) -> Optional[Signature]:
    """Put a file where nothing is; None where a later change might not show in its signature."""
    mode = with_run_bit(0o644, executable)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(temporary, flags, mode, dir_fd=folder)
    try:
        try:
            left = memoryview(content)
            while left:
                left = left[os.write(file, left) :]
            info = os.fstat(file)
            if stat.S_IMODE(info.st_mode) != mode:
                os.fchmod(file, mode)
            # Older than what the next write of somebody else will have, however soon that comes.
            then = time.time_ns() - _OLDER_NS
            os.utime(file, ns=(then, then))
        finally:
            os.close(file)
        places.rename_new(folder, temporary, folder, name)
    except OSError as error:
        places.unlink(folder, temporary)
        if isinstance(error, FileExistsError):
            raise Moved from None
        raise
    try:
        after = signature_at(folder, name)
    except FileNotFoundError:
        return None
    return after if (after[1], after[2]) == (then, info.st_ino) else None


def content_of(folder: int, name: str, digest: str) -> bytes:
    """Read a whole file; Moved where it has another digest."""
    file = places.open_file(name, folder)
    try:
        content = b"".join(blocks(file, os.fstat(file).st_size))
    finally:
        os.close(file)
    if hashlib.sha256(content).hexdigest() != digest:
        raise Moved
    return content


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
