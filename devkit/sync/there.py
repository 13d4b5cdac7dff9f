"""Step 5, sync: what the container has, as far as it was told: of two words the later one holds.

Answers are taken when they are asked for and news when their turn comes, so they cross.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Protocol

from devkit.sync.agent.side import FOLDER, Entry

_NONE: Mapping[str, Entry] = {}


class _Ignores(Protocol):
    def __call__(self, path: str, *, is_folder: bool) -> bool: ...


class There:
    """The entries of the container; those that are ignored here are kept in mind only."""

    def __init__(self, ignores: _Ignores) -> None:
        self._ignores = ignores
        self.begin({})

    def begin(self, found: Mapping[str, Entry], ours: Mapping[str, Entry] = _NONE) -> None:
        """Take what a scan found, instead of all that was known; `ours` are not ignored."""
        self.entries: dict[str, Entry] = {}
        self._hidden: dict[str, Entry] = {}
        self._orders: dict[str, int] = {}
        self._newest = 0
        for path, entry in found.items():
            is_folder, same = entry.kind == FOLDER, ours.get(path)
            is_known = same is not None and (same.kind == FOLDER) is is_folder
            is_ignored = not is_known and self._ignores(path, is_folder=is_folder)
            mine = same if same is not None and same == entry else entry
            (self._hidden if is_ignored else self.entries)[sys.intern(path)] = mine

    def settle(self, path: str, entry: Entry | None, order: int) -> None:
        """Note what is at a path, unless a later word said so already."""
        if order < self._orders.get(path, 0):
            return
        self._orders[path] = order
        self._newest = max(order, self._newest)
        _set(self.entries, path, entry)

    def told(self, news: Mapping[str, Entry | None], order: int) -> list[str]:
        """Take news; return the paths that are not ignored."""
        if order > self._newest:
            self._orders.clear()  # of what comes from now on, all is later
        return [path for path, entry in news.items() if self._told(path, entry, order)]

    def moved_away(self, path: str, order: int) -> None:
        """Nothing is at a path any more, nor below it."""
        for inner in [p for p in self.entries if p == path or p.startswith(f"{path}/")]:
            self.settle(inner, None, order)

    def ask_anew(self) -> list[str]:
        """Ask again what is ignored; return the paths that no longer are."""
        hidden, self._hidden = self._hidden, {}
        return [path for path, entry in hidden.items() if self._told(path, entry, self._newest)]

    def _told(self, path: str, entry: Entry | None, order: int) -> bool:
        is_folder = entry is not None and entry.kind == FOLDER
        is_ignored = self._ignores(path, is_folder=is_folder)
        _set(self._hidden, path, entry if is_ignored else None)
        if not is_ignored:
            self.settle(path, entry, order)
        return not is_ignored


def _set(entries: dict[str, Entry], path: str, entry: Entry | None) -> None:
    if entry is None:
        entries.pop(path, None)
    else:
        entries[path] = entry
