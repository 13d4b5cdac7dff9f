"""Step 5, sync: what became of the changes: agreed and written down, or decided once more."""

from __future__ import annotations

import errno
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from devkit.errors import EngineError
from devkit.sync.agent.side import Entry, Moved, RootGone, reason
from devkit.sync.journal import Journal
from devkit.sync.news import News
from devkit.sync.permission import Permission
from devkit.sync.reconcile import Change, SideName
from devkit.sync.remote import Answer
from devkit.sync.sides import Sides
from devkit.sync.transfer import Failure

# Also where a folder on the way is gone, or a file or a link by now.
MOVED = (Moved, FileNotFoundError, NotADirectoryError)
_FULL = (errno.ENOSPC, errno.EDQUOT)
# A path that is never as it was seen a moment before is left alone for a while.
_MOST_MOVES = 20
# More changes are told by their number.
_MOST_TOLD = 10


class Outcomes:
    """Takes what became of each change; `count` went through since it began."""

    def __init__(
        self,
        sides: Sides,
        permission: Permission,
        *,
        service: str,
        journal: Journal,
        show: Callable[[News], None],
    ) -> None:
        """Make it; the journal's lines name the service."""
        self._sides = sides
        self._permission = permission
        self._service = service
        self._journal = journal
        self._show = show
        self.agreed: dict[str, Entry | None] = {}
        self._rows: list[tuple[SideName, str, Entry | None, Entry | None, str]] = []
        # Old contents of the container, for the trash.
        self._old = deque[bytes]()
        self._is_told = True
        self.count = 0

    def expect(self, changes: Sequence[Change]) -> None:
        """Say how many come; a few are told one by one."""
        self._is_told = len(changes) <= _MOST_TOLD
        if not self._is_told:
            self._show(News.of_many(changes))

    def done(self, change: Change, result: Entry | Answer | Failure | None) -> None:
        """Note what became of a change."""
        if isinstance(result, MOVED):
            self.look_again(change)
        elif isinstance(result, OSError):
            self.failed(change, result)
        elif isinstance(result, EngineError):
            raise result
        else:
            self._went_through(change, result)

    def look_again(self, change: Change) -> None:
        """A path was not as it was seen: it is decided once more."""
        sides, path = self._sides, change.path
        sides.moves[path] += 1
        if sides.moves[path] > _MOST_MOVES:
            sides.problems[path] = "it changes all the time"
            return
        sides.local.hint(path, time.monotonic())
        sides.batch.mark(path)
        if sides.remote is None:
            return
        with suppress(OSError, Moved):
            answer = sides.remote.request("stat", path=path).result()
            sides.there.settle(path, answer.entry, answer.order)

    def failed(self, change: Change, error: OSError, *, is_kept: bool = True) -> None:
        """A change could not be carried out; not `is_kept`: its old content could not be kept."""
        where = "container" if change.side == "remote" else "workspace"
        problems = self._sides.problems
        if isinstance(error, RootGone):
            self._permission.halt(f"The {where} is not there: {reason(error)}.")
        elif error.errno in _FULL:
            self._sides.batch.mark_all()
            disk = where if is_kept else "workspace"  # the trash is there
            self._permission.halt(f"The disk of the {disk} is full.")
        elif problems.get(change.path) != reason(error):
            # A folder that holds what is ignored stays, and that is as it should be.
            why = f"it cannot be changed in the {where}: {reason(error)}"
            problems[change.path] = reason(error)
            shown = self._sides.workspace.shown(change.path)
            self._show(News("problem", f"{shown}: {why}.", path=shown))

    def copied(self, copy: str, entry: Entry) -> None:
        """The workspace has a copy of what the container has."""
        self._sides.local.applied(copy, entry)
        self._rows.append(("local", copy, None, entry, "conflict"))

    def store(self) -> None:
        """Write down what both sides agreed about; where the disk is full, it halts until it can.

        Raises:
            OSError: it cannot be stored.
        """
        try:
            self._keep_old()
            if self.agreed:
                self._sides.ancestor.agree(self.agreed)
                self.agreed = {}
            if self._rows:
                self._journal.write(self._service, self._rows)
                self._rows = []
        except OSError as error:
            if error.errno not in _FULL:
                raise
            self._permission.halt("The disk of the workspace is full.")

    def _keep_old(self) -> None:
        while self._old:
            self._journal.contents.keep(self._old[0])
            self._old.popleft()

    def _went_through(self, change: Change, result: Entry | Answer | None) -> None:
        path, new = change.path, change.new
        # Not so where both get something new, and this is the first of them.
        if self._others(change, result) == new:
            self.agreed[path] = new
        self._rows.append((change.side, path, change.old, new, ""))
        self._sides.moves.pop(path, None)
        self.count += 1
        if not self._is_told:
            return
        began = self._sides.batch.began
        took_s = time.monotonic() - began if began else None
        self._show(News.of(change, self._sides.workspace.shown(path), seconds=took_s))

    def _others(self, change: Change, result: Entry | Answer | None) -> Entry | None:
        """Note what a side has by now; return what the other one has."""
        sides, path = self._sides, change.path
        if isinstance(result, Answer):
            sides.there.settle(path, change.new, result.order)
            if result.is_kept:
                self._old.append(result.content)
            return sides.local.told.get(path)
        sides.local.applied(path, result)
        sides.was_rules(path)
        return sides.there.entries.get(path)
