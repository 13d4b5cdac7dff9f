"""Step 5, sync: whether changes may be carried out; where a file could be lost, the user says."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from devkit.errors import SyncHalted
from devkit.sync import halt
from devkit.sync.news import News
from devkit.sync.reconcile import Plan, SideName
from devkit.sync.sides import Sides

# Deletions within that time are one.
_TOGETHER_S = 10.0
Deleted = dict[SideName, set[str]]
"""The files that were deleted on each side."""
HINT = (
    "`devkit sync status` shows more; `devkit sync resume` goes on and does it, "
    "`devkit sync reset` compares anew: it deletes nothing, and keeps both where they differ."
)


class Permission:
    """Given, until something halts the sync or the user pauses it."""

    def __init__(self, show: Callable[[News], None]) -> None:
        self._show = show
        self.halted = ""
        self.is_paused = False
        self._is_allowed = False
        self._is_of_plan = False
        # What was deleted just before it halted.
        self._before: Deleted = {}
        self._deleted: deque[tuple[float, Deleted]] = deque()

    def is_given(self) -> bool:
        """Whether nothing halts it."""
        return not self.halted and not self.is_paused

    def check(self) -> None:
        """Go on only if it is given.

        Raises:
            SyncHalted: it is not.
        """
        if not self.is_given():
            why = self.halted or "It is paused."
            raise SyncHalted(f"Workspace and container are not in step. {why}", hint=HINT)

    def halt(self, why: str) -> None:
        """Change nothing until the user says how to go on."""
        if not self.halted:
            self.halted = why
            self._show(News("halted", f"Sync halted. {why} {HINT}"))

    def halt_plan(self, why: str) -> None:
        """Halt because of what a plan would do; `reconsider` may lift that."""
        if not self._is_of_plan:
            self._before = self._deleted_since(time.monotonic() - _TOGETHER_S)
        self._is_of_plan = True
        self.halt(why)

    def may_pass(self) -> bool:
        """Whether it halted because of a plan, so that another plan may lift that."""
        return bool(self.halted) and self._is_of_plan and not self.is_paused

    def reconsider(self, plan: Plan, sides: Sides) -> bool:
        """Go on if a plan is one that would not halt it, as when deleted files are back.

        That time has passed since it halted does not count.
        """
        if self._danger(plan, sides, self._before):
            return False
        self._lift()
        self._show(News("resumed", "What it halted for has passed: sync goes on."))
        return True

    def pause(self) -> None:
        """Change nothing until the user says so."""
        self.is_paused = True

    def resume(self, *, allow: bool) -> None:
        """Go on; with `allow`, what it halted for may be done."""
        self._is_allowed = allow and bool(self.halted)
        self._lift()
        self._deleted.clear()

    def _lift(self) -> None:
        self.halted, self.is_paused, self._is_of_plan = "", False, False

    def why_not(self, plan: Plan, sides: Sides) -> str:
        """Why a plan may not be carried out; "" where it may."""
        before = self._deleted_since(time.monotonic() - _TOGETHER_S)
        if self._is_allowed:
            self._is_allowed = False
            return ""  # and what is deleted by it is no reason to ask again
        why = self._danger(plan, sides, before)
        if not why:
            self._note_deletions(plan, sides)
        return why

    def _note_deletions(self, plan: Plan, sides: Sides) -> None:
        gone: Deleted = {
            "local": set(halt.lost(plan, "local", sides.local.told)),
            "remote": set(halt.lost(plan, "remote", sides.there.entries)),
        }
        if any(gone.values()):
            self._deleted.append((time.monotonic(), gone))

    def _danger(self, plan: Plan, sides: Sides, before: Deleted) -> str:
        """Why it should halt; deletions that came in several goes count together."""
        here, there = sides.local.told, sides.there.entries
        why = halt.reason(
            plan,
            sides.ancestor.entries,
            here,
            there,
            under=sides.workspace.under,
            before=before,
        )
        return why or (halt.collision(plan, here) if sides.folds_case else "")

    def _deleted_since(self, since: float) -> Deleted:
        while self._deleted and self._deleted[0][0] < since:
            self._deleted.popleft()
        before: Deleted = {"local": set(), "remote": set()}
        for _, gone in self._deleted:
            for side, paths in gone.items():
                before[side] |= paths
        return before
