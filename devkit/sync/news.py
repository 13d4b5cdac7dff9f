"""Step 5, sync: what it tells its user: news as they happen, and how it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from devkit.sync.reconcile import Change, Plan

Kind = Literal["connected", "lost", "changed", "conflict", "problem", "halted", "resumed", "ended"]


@dataclass(frozen=True)
class News:
    """Something that happened; for a file: its path, on which side, and how long it took."""

    kind: Kind
    text: str
    path: str = ""
    side: str = ""
    seconds: float | None = None

    @classmethod
    def of(cls, change: Change, shown: str, *, seconds: float | None) -> News:
        """Tell a change that was carried out; `shown` is the path as its user knows it."""
        where = "container" if change.side == "remote" else "workspace"
        text = str(replace(change, path=shown))
        return cls("changed", text, shown, where, seconds)

    @classmethod
    def of_many(cls, changes: Sequence[Change]) -> News:
        """Tell how many changes are carried out."""
        there = sum(change.side == "remote" for change in changes)
        parts = [f"-> {there} files and folders"] * bool(there)
        parts += [f"<- {len(changes) - there} files and folders"] * (there < len(changes))
        return cls("changed", ", ".join(parts))

    def __str__(self) -> str:
        return self.text.encode(errors="replace").decode()


@dataclass(frozen=True)
class Waiting:
    """How many changes a pause or a halt holds up, by the side that they go to."""

    container: int
    workspace: int
    conflicts: int

    @classmethod
    def of(cls, plan: Plan) -> Waiting:
        """Count what would be done now."""
        there = sum(change.side == "remote" for change in plan.changes)
        return cls(there, len(plan.changes) - there, len(plan.conflicts))

    def __str__(self) -> str:
        parts = [f"{self.container} into the container", f"{self.workspace} into the workspace"]
        parts += [f"{self.conflicts} in conflict"] * bool(self.conflicts)
        return f"waiting     {', '.join(parts)}"


@dataclass(frozen=True)
class Status:
    """How a sync is; `changes` were carried out since it began.

    `state` is connecting, syncing, watching, paused or halted; `reason` says why it halted or is
    not connected. `pending` are large files on their way; `problems` say why a path is not in step.
    `without_events`: why a side has to be looked at again and again.
    """

    state: str
    mode: str
    files: int
    changes: int
    reason: str
    pending: tuple[str, ...]
    conflicts: Mapping[str, str]
    problems: Mapping[str, str]
    without_events: Mapping[str, str]

    def __str__(self) -> str:
        lines = [f"{self.state} ({self.mode}), {self.files} files"]
        lines += [self.reason] * bool(self.reason)
        lines += [f"on its way  {path}" for path in self.pending]
        lines += [f"conflict    {path}: {copy}" for path, copy in self.conflicts.items()]
        lines += [f"not in step {path}: {why}" for path, why in self.problems.items()]
        for side, why in self.without_events.items():
            lines.append(f"the {side} is looked at every second: {why}")
        return "\n".join(lines).encode(errors="replace").decode()
