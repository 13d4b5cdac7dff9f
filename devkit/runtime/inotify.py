"""File events of Linux by ctypes: the standard library has none. Facts: inotify(7)."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import Callable, Dict, Iterator, Tuple

ATTRIB = 0x4
CLOSE_WRITE, MOVED_FROM, MOVED_TO, CREATE, DELETE = 0x8, 0x40, 0x80, 0x100, 0x200
IS_DIRECTORY, OVERFLOW = 0x40000000, 0x4000
WANTED = CLOSE_WRITE | MOVED_FROM | MOVED_TO | CREATE | DELETE
_ONLY_DIRECTORY = 0x01000000
_HEADER = struct.Struct("iIII")
# ENOSPC means something else here than on a disk.
_LIMIT = "the limit of inotify watches is reached (fs.inotify.max_user_watches)"


class Inotify:
    """Watches folders; `fileno` becomes readable when something happened in one."""

    def __init__(self, wanted: int = WANTED) -> None:
        """Open the event queue; OSError where the system has none left or no inotify at all."""
        self._wanted = wanted
        libc = ctypes.CDLL(None, use_errno=True)
        if not hasattr(libc, "inotify_init1"):
            raise OSError("no inotify on this system")
        self._add = libc.inotify_add_watch
        self._fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        self._folders: Dict[int, str] = {}

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return int(self._fd)

    def watch(self, folder: str) -> None:
        """Watch `folder`, not what is below it; OSError when the limit of watches is reached."""
        number = self._add(self._fd, os.fsencode(folder), self._wanted | _ONLY_DIRECTORY)
        if number < 0:
            number = ctypes.get_errno()
            is_full = number == errno.ENOSPC
            raise OSError(number, _LIMIT if is_full else os.strerror(number), folder)
        self._folders[number] = folder

    def watch_below(self, folder: str, skips: Callable[[str], bool]) -> None:
        """Watch `folder` and all in it, but for names that `skips` says; OSError as for `watch`."""
        for here, folders, _ in os.walk(folder):
            folders[:] = [name for name in folders if not skips(name)]
            try:
                self.watch(here)
            except (FileNotFoundError, NotADirectoryError, PermissionError):
                continue  # gone since, or not for us to see

    def close(self) -> None:
        """Let go of the queue."""
        os.close(self._fd)

    def events(self) -> Iterator[Tuple[int, str]]:
        """Yield (mask, path) for what happened so far; the path is empty when events were lost."""
        try:
            data = os.read(self._fd, 65536)
        except BlockingIOError:
            return
        offset = 0
        while offset < len(data):
            number, mask, _, length = _HEADER.unpack_from(data, offset)
            offset += _HEADER.size
            name = data[offset : offset + length].split(b"\0", 1)[0]
            offset += length
            if mask & OVERFLOW:
                yield mask, ""
            elif number in self._folders and name:
                yield mask, os.path.join(self._folders[number], os.fsdecode(name))
