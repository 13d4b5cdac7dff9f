"""Step 5, sync: what is opened by descriptor, name by name: no link on the way is followed.

Part of the agent: standard library only, Python 3.7 and up.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager, suppress
from typing import Iterable, Iterator, Tuple

from . import places
from .digests import signature_of
from .entry import Moved, Signature


class Root:
    """An open folder; as long as it is open, no other one is taken for it."""

    def __init__(self, path: str) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._info = os.fstat(self.descriptor)

    def is_at(self, path: str) -> bool:
        """Whether that folder still stands at `path`."""
        return os.path.samestat(self._info, os.stat(path))

    def __del__(self) -> None:
        with suppress(AttributeError, OSError):
            os.close(self.descriptor)


@contextmanager
def folder_below(root: int, names: Iterable[str]) -> Iterator[int]:
    """Open the folder that names lead to from an open one, which is closed then."""
    here = root
    try:
        for name in names:
            below = places.open_folder(name, here)
            os.close(here)
            here = below
        yield here
    finally:
        os.close(here)


@contextmanager
def file_in(folder: int, name: str) -> Iterator[Tuple[int, Signature]]:
    """Open a file, and nothing else; yield its descriptor and its signature."""
    file = places.open_file(name, folder)
    try:
        info = os.fstat(file)
        if not stat.S_ISREG(info.st_mode):
            raise Moved
        yield file, signature_of(info)
    finally:
        os.close(file)
