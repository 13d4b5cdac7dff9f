"""Step 5, sync: what the container has comes to the trash before it is overwritten.

So it is for a mirror, of what nobody else has, and for what is too large to come with the answer.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterable

from devkit.sync.agent.side import FILE, Entry, Moved
from devkit.sync.journal import Journal
from devkit.sync.outcomes import MOVED, Outcomes
from devkit.sync.reconcile import Change, Plan
from devkit.sync.remote import Answer, Remote
from devkit.sync.sides import Sides
from devkit.sync.transfer import Failure, Pull


def only_there(plan: Plan, sides: Sides, journal: Journal) -> list[Change]:
    """Return the changes by which a content would go that nobody else has."""
    return [
        change
        for change in plan.changes
        if change.side == "remote" and change.old is not None and change.old.kind == FILE
        if (change.new is None or change.new.digest != change.old.digest)
        if not _is_had(change.path, change.old, sides)
        if not journal.contents.holds(change.old.digest)
    ]


def without(plan: Plan, changes: Iterable[Change]) -> Plan:
    """Return a plan without what touches these changes' paths."""
    paths = {change.path for change in changes}
    left = tuple(change for change in plan.changes if change.path not in paths)
    return Plan(left, plan.conflicts, plan.agreed, plan.left)


class Safe:
    """Brings contents of the container to the trash; their paths are decided once more then."""

    def __init__(self, sides: Sides, outcomes: Outcomes, journal: Journal) -> None:
        self._sides = sides
        self._outcomes = outcomes
        self._journal = journal
        self._had = set[str]()

    def is_kept(self, digest: str) -> bool:
        """Whether a content is in the trash, or was since this began."""
        return self._journal.contents.has(digest) or digest in self._had

    def is_due(self, change: Change, result: object) -> bool:
        """Whether the container refused because the old content is to be brought first."""
        if not isinstance(result, OSError) or result.errno != errno.EFBIG:
            return False
        old = change.old
        return old is not None and old.kind == FILE and not self.is_kept(old.digest)

    def bring(self, change: Change, remote: Remote) -> None:
        """Keep what stands at a change's path in the container."""
        assert change.old is not None
        try:
            answer = remote.request("read", path=change.path).result()
            if answer.signature is not None:
                self._sides.transfers[change.path] = Pull(
                    self._journal.contents,
                    remote,
                    change.path,
                    old=None,
                    new=change.old,
                    signature=answer.signature,
                    done=lambda result: self._brought(change, result),
                )
                return
            if hashlib.sha256(answer.content).hexdigest() != change.old.digest:
                raise Moved(answer.entry)
            self._journal.contents.keep(answer.content)
        except MOVED:
            self._outcomes.look_again(change)
        except OSError as error:
            self._outcomes.failed(change, error, is_kept=False)
        else:
            self._sides.batch.mark(change.path)

    def _brought(self, change: Change, result: Entry | Answer | Failure) -> None:
        if isinstance(result, OSError) and not isinstance(result, MOVED):
            self._outcomes.failed(change, result, is_kept=False)
        elif not isinstance(result, (Entry, Answer)):
            self._outcomes.done(change, result)
        elif change.old is not None:
            self._had.add(change.old.digest)


def _is_had(path: str, entry: Entry, sides: Sides) -> bool:
    """Whether both sides had it, or the workspace has it, at that path."""
    known = (sides.ancestor.entries.get(path), sides.local.told.get(path))
    return any(other is not None and other.digest == entry.digest for other in known)
