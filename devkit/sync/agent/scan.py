"""Step 5, sync: a look at all that is below a folder.

Part of the agent: standard library only, Python 3.7 and up.
"""

from __future__ import annotations

import errno
import os
from typing import Callable, ContextManager, Dict, List, Optional, Set

from . import places
from .entry import FOLDER, Entry, Snapshot, reason

MOST_DEPTH = 120

# What stands at a name of an open folder, which is a path; what is unknown, and why.
Look = Callable[[int, str, str, Dict[str, str]], Optional[Entry]]


class Scan:
    """What was found so far; `left_over` are temporary files that a killed side has left."""

    def __init__(
        self,
        opened: Callable[[str], ContextManager[int]],
        look: Look,
        ignores: Callable[[str, bool], bool],
    ) -> None:
        """Make it; `opened` opens the folder at a path."""
        self._opened = opened
        self._look = look
        self._ignores = ignores
        self.found = Snapshot({}, {})
        self.left_over: Set[str] = set()

    def add(self, path: str, entry: Optional[Entry]) -> None:
        """Take what stands at a path, and look at all below it."""
        if entry is not None:
            self.found.entries[path] = entry
            if entry.kind == FOLDER:
                self.add_below(path)

    def add_below(self, path: str) -> None:
        """Look at all below a folder."""
        try:
            if path.count("/") > MOST_DEPTH:
                raise OSError(errno.ENAMETOOLONG, "too many folders in one another")
            with self._opened(path) as folder:
                folders = self._add_listed(folder, path + "/" if path else "")
        except FileNotFoundError:
            return  # gone since it was seen
        except OSError as error:
            self.found.unknown[path] = reason(error)
            return
        for inner in folders:
            self.add_below(inner)

    def _add_listed(self, folder: int, below: str) -> List[str]:
        """Look at what an open folder holds; return the folders in it."""
        folders = []
        with os.scandir(folder) as listed:
            for item in listed:
                name, is_folder = item.name, item.is_dir(follow_symlinks=False)
                path = below + name
                if self._is_passed_over(name, path, is_folder):
                    continue
                entry = self._looked(folder, name, path)
                if entry is not None:
                    self.found.entries[path] = entry
                    if entry.kind == FOLDER:  # it may have become one since it was listed
                        folders.append(path)
        return folders

    def _is_passed_over(self, name: str, path: str, is_folder: bool) -> bool:
        if places.FLEETING.fullmatch(name):
            if name.startswith(places.TEMPORARY):
                self.left_over.add(path)
            return True
        return self._ignores(path, is_folder)

    def _looked(self, folder: int, name: str, path: str) -> Optional[Entry]:
        try:
            return self._look(folder, name, path, self.found.unknown)
        except FileNotFoundError:
            return None
        except OSError as error:
            self.found.unknown[path] = reason(error)
            return None
