"""Step 5, sync: which paths are to be decided, and whether more belong with them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from devkit.sync.agent.watched import HOLD_S

# Events that come this close together belong to one batch, up to a longest time.
_BATCH_S = 0.02
_LONGEST_BATCH_S = 3.0
_FEW = 3
# More of them are decided faster as a whole.
_MOST_PATHS = 2000


class Batch:
    """The paths that are decided together; None stands for all that there are."""

    def __init__(self, workspace: Path) -> None:
        self._paths: set[str] | None = None
        self._git_lock = _git_folder(workspace) / "index.lock"
        self.began = 0.0

    def mark(self, *paths: str) -> None:
        """Decide these, too."""
        if not paths:
            return
        if self.is_empty():
            self.began = time.monotonic()
        if self._paths is not None:
            self._paths.update(paths)

    def mark_all(self) -> None:
        """Decide everything."""
        self._paths = None

    def taken(self) -> set[str] | None:
        """Return the paths, and begin a new batch."""
        paths, self._paths = self._paths, set()
        return None if paths is not None and len(paths) > _MOST_PATHS else paths

    def is_empty(self) -> bool:
        """Whether nothing is to be decided."""
        return self._paths == set()

    def more_s(self) -> float:
        """How long more may come that belongs to it: one file does not wait for another."""
        return _BATCH_S if self._is_large() else 0.0

    def is_complete(self, now: float, *, came: bool, due: Callable[[], float | None]) -> bool:
        """Whether it is to be decided now; `came`: something came just before."""
        if self._paths is None or now - self.began > _LONGEST_BATCH_S:
            return True
        if came or not self._is_large():
            return not came
        next_look = due()
        return next_look is None or next_look > now + _BATCH_S + HOLD_S

    def _is_large(self) -> bool:
        """Whether many files change together, as with a checkout."""
        return self._paths is not None and (len(self._paths) > _FEW or self._git_lock.exists())


def _git_folder(folder: Path) -> Path:
    above = (place / ".git" for place in (folder, *folder.parents))
    return next((place for place in above if place.is_dir()), folder / ".git")
