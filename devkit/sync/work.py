"""Step 5, sync: what differs is decided and done, of all that is known of both sides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from devkit.errors import EngineError
from devkit.sync import safe
from devkit.sync.agent.side import Entry
from devkit.sync.ancestor import Ancestor
from devkit.sync.apply import Apply
from devkit.sync.batch import Batch
from devkit.sync.conflicts import Conflicts
from devkit.sync.ignore import Ignore
from devkit.sync.journal import Journal
from devkit.sync.news import News, Status
from devkit.sync.outcomes import Outcomes
from devkit.sync.permission import Permission
from devkit.sync.reconcile import Change, Mode, Plan
from devkit.sync.remote import Answer, Remote
from devkit.sync.sides import Sides
from devkit.sync.transfer import Failure
from devkit.sync.workspace import Workspace


class Work:
    """Two sides, what is to be decided, whether it may be done, and what became of it."""

    def __init__(
        self,
        workspace: Workspace,
        *,
        service: str,
        ancestor: Ancestor,
        journal: Journal,
        ignore: Ignore,
        mode: Mode,
        show: Callable[[News], None],
    ) -> None:
        """Make it; `show` takes what a user should know."""
        self._mode: Mode = mode
        self.permission = Permission(show)
        self.batch = Batch(Path(workspace.root))
        self.sides = Sides(workspace, ancestor, ignore, batch=self.batch, halt=self.permission.halt)
        self.outcomes = Outcomes(
            self.sides, self.permission, service=service, journal=journal, show=show
        )
        self.conflicts = Conflicts(self.sides, self.outcomes, show)
        self._journal = journal
        self.safe = safe.Safe(self.sides, self.outcomes, journal)

    def plan(self, paths: set[str] | None = None) -> Plan:
        """What would be done now, of these paths; None for all."""
        return self.sides.plan(self._mode, paths)

    def is_left(self) -> bool:
        """Whether something is to be decided, or on its way."""
        return not self.batch.is_empty() or bool(self.sides.transfers)

    def reconcile(self, remote: Remote) -> None:
        """Decide, and do it."""
        sides = self.sides
        paths = self.batch.taken()
        plan = self.plan(paths)
        sides.left = dict(plan.left) if paths is None else {**sides.left, **plan.left}
        for path in plan.agreed:
            sides.problems.pop(path, None)
        for path in (*plan.agreed, *(change.path for change in plan.changes)):
            sides.left.pop(path, None)
        why = self.permission.why_not(plan, sides)
        if why:
            self.batch.mark_all()
            self.permission.halt_plan(why)
            return
        # A mirror overwrites what only the container has.
        only_there = safe.only_there(plan, sides, self._journal)
        for change in only_there:
            self.safe.bring(change, remote)
        self._do(safe.without(plan, only_there) if only_there else plan, remote)

    def reconsider(self) -> None:
        """Where a plan halted it: may it go on by now?"""
        if self.permission.may_pass() and self.permission.reconsider(self.plan(), self.sides):
            self.batch.mark_all()

    def _do(self, plan: Plan, remote: Remote) -> None:
        sides, outcomes = self.sides, self.outcomes
        outcomes.agreed.update(plan.agreed)
        for conflict in plan.conflicts:
            self.conflicts.settle(conflict, remote)
        contents, sides.contents = sides.contents, {}
        outcomes.expect(plan.changes)

        def done(change: Change, result: Entry | Answer | Failure | None) -> None:
            if self.safe.is_due(change, result):
                self.safe.bring(change, remote)
            else:
                outcomes.done(change, result)

        apply = Apply(sides.workspace, remote, contents, done, self.safe.is_kept)
        apply.changes(plan.changes)
        sides.transfers.update(apply.transfers)

    def step(self) -> None:
        """Let large files go on."""
        for path, transfer in list(self.sides.transfers.items()):
            if transfer.step():
                # Its old content may be on its way by now, at the same path.
                if self.sides.transfers.get(path) is transfer:
                    self.sides.transfers.pop(path)
                self.batch.mark(path)

    def cancel(self) -> None:
        """Let go of large files that are on their way."""
        for transfer in self.sides.transfers.values():
            transfer.cancel()
        self.sides.transfers.clear()

    def allow(self) -> None:
        """Go on after a pause; after a halt, do what it halted for."""
        self.permission.resume(allow=True)
        self._begin_again()

    def forget(self) -> None:
        """Compare anew, and delete nothing."""
        self.sides.ancestor.forget()
        self.conflicts.copies.clear()
        self.permission.resume(allow=False)
        self._begin_again()

    def _begin_again(self) -> None:
        self.batch.mark_all()
        self.sides.problems.clear()
        self.sides.look_again()

    def status(self, lost: EngineError | None) -> Status:
        """How it is; it may be asked by any thread."""
        sides, shown = self.sides, self.sides.workspace.shown
        # Whoever moved or removed the copy has decided.
        copies = {p: c for p, c in dict(self.conflicts.copies).items() if c in sides.local.told}
        return Status(
            state=self._state(),
            mode=self._mode,
            files=len(sides.there.entries),
            changes=self.outcomes.count,
            reason=self.permission.halted or (str(lost) if lost else ""),
            pending=tuple(map(shown, tuple(sides.transfers))),
            conflicts={shown(path): shown(copy) for path, copy in copies.items()},
            problems={shown(path): why for path, why in sides.not_in_step().items()},
            without_events={where: why for where, why in sides.without_events.items() if why},
        )

    def _state(self) -> str:
        if self.permission.is_paused:
            return "paused"
        if self.permission.halted:
            return "halted"
        if self.sides.remote is None:
            return "connecting"
        return "syncing" if self.is_left() else "watching"
