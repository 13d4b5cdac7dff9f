"""Step 5, sync: whether changes may be carried out; where a file could be lost, the user says."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable

from devkit.errors import SyncHalted
from devkit.sync import halt
from devkit.sync.news import News
from devkit.sync.reconcile import Plan, SideName
from devkit.sync.sides import Sides

# Deletions within that time are one.
_TOGETHER_S = 10.0
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
        self._deleted: deque[tuple[float, Counter[SideName]]] = deque()

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
        self._is_of_plan = True
        self.halt(why)

    def may_pass(self) -> bool:
        """Whether it halted because of a plan, so that another plan may lift that."""
        return bool(self.halted) and self._is_of_plan and not self.is_paused

    def reconsider(self, plan: Plan, sides: Sides) -> bool:
        """Go on if nothing would be lost any more, as when files that were deleted are back."""
        here, there = sides.local.told, sides.there.entries
        lost = [*halt.lost(plan, "local", here), *halt.lost(plan, "remote", there)]
        if lost or self._danger(plan, sides):
            return False
        self.resume(allow=False)
        self._show(News("resumed", "What it halted for has passed: sync goes on."))
        return True

    def pause(self) -> None:
        """Change nothing until the user says so."""
        self.is_paused = True

    def resume(self, *, allow: bool) -> None:
        """Go on; with `allow`, what it halted for may be done."""
        self._is_allowed = allow and bool(self.halted)
        self.halted, self.is_paused, self._is_of_plan = "", False, False
        self._deleted.clear()

    def why_not(self, plan: Plan, sides: Sides) -> str:
        """Why a plan may not be carried out; "" where it may."""
        why = "" if self._is_allowed else self._danger(plan, sides)
        if not why:
            self._is_allowed = False
        return why

    def _danger(self, plan: Plan, sides: Sides) -> str:
        """Why it should halt; deletions that came in several goes count together."""
        now = time.monotonic()
        here, there = sides.local.told, sides.there.entries
        why = halt.reason(
            plan,
            sides.ancestor.entries,
            here,
            there,
            under=sides.workspace.under,
            before=self._deleted_since(now - _TOGETHER_S),
        )
        why = why or (halt.collision(plan, here) if sides.folds_case else "")
        gone = Counter[SideName]()
        gone["local"] = len(halt.lost(plan, "local", here))
        gone["remote"] = len(halt.lost(plan, "remote", there))
        if not why and gone.total():
            self._deleted.append((now, gone))
        return why

    def _deleted_since(self, since: float) -> Counter[SideName]:
        while self._deleted and self._deleted[0][0] < since:
            self._deleted.popleft()
        before = Counter[SideName]()
        for _, gone in self._deleted:
            before += gone
        return before
