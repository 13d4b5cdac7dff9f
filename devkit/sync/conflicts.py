"""Step 5, sync: conflicts are settled by keeping both, the container's beside the workspace's."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from itertools import count

from devkit.contract import CONFLICT
from devkit.sync.agent.places import longer
from devkit.sync.agent.side import FOLDER, LINK, Entry, Moved
from devkit.sync.news import News
from devkit.sync.outcomes import MOVED, Outcomes
from devkit.sync.reconcile import Change, Conflict
from devkit.sync.remote import Answer, Remote
from devkit.sync.sides import Sides
from devkit.sync.transfer import Failure, Pull


class Conflicts:
    """Settles them; `copies` says where the container's is now.

    `has_moved_there`: files of the container have a new name, of which it has yet to tell.
    """

    def __init__(self, sides: Sides, outcomes: Outcomes, show: Callable[[News], None]) -> None:
        self._sides = sides
        self._outcomes = outcomes
        self._show = show
        self.copies: dict[str, str] = {}
        self.has_moved_there = False

    def settle(self, conflict: Conflict, remote: Remote) -> None:
        """Keep both: the container's goes aside, and the workspace's takes its place."""
        path = conflict.path
        copy = copy_name(path, self._is_taken)
        try:
            if FOLDER in (conflict.local.kind, conflict.remote.kind):
                self._set_aside(path, copy, remote)
            elif conflict.remote.kind == LINK:
                entry = self._sides.workspace.link(copy, conflict.remote.digest, None)
                self._copied(conflict, copy, entry)
            else:
                self._copy(conflict, copy, remote)
        except MOVED:
            change = Change("remote", path, conflict.remote, conflict.local)
            self._outcomes.look_again(change)
        except OSError as error:
            self._outcomes.failed(Change("local", copy, None, conflict.remote), error)

    def _is_taken(self, path: str) -> bool:
        return path in self._sides.local.told or path in self._sides.there.entries

    def _copy(self, conflict: Conflict, copy: str, remote: Remote) -> None:
        workspace = self._sides.workspace
        answer = remote.request("read", path=conflict.path).result()
        if answer.signature is None:
            digest = hashlib.sha256(answer.content).hexdigest()
            if answer.entry != conflict.remote or digest != conflict.remote.digest:
                raise Moved
            runs = conflict.remote.executable
            entry = workspace.write(copy, answer.content, None, runs)
            self._copied(conflict, copy, entry)
            return
        self._sides.transfers[conflict.path] = Pull(
            workspace,
            remote,
            conflict.path,
            old=None,
            new=conflict.remote,
            signature=answer.signature,
            target=copy,
            done=lambda entry: self._copied(conflict, copy, entry),
        )

    def _copied(self, conflict: Conflict, copy: str, entry: Entry | Answer | Failure) -> None:
        """The container's content is safe: from here on it is as if only the workspace changed."""
        path = conflict.path
        if not isinstance(entry, Entry):
            self._outcomes.done(Change("local", copy, None, conflict.remote), entry)
            self._sides.batch.mark(path)
            return
        self._outcomes.copied(copy, entry)
        self._sides.ancestor.agree({path: conflict.remote})
        self._sides.batch.mark(path, copy)
        self._tell(path, copy)

    def _set_aside(self, path: str, copy: str, remote: Remote) -> None:
        answer = remote.request("rename", path=path, to=copy).result()
        # What is in the copy by now, the agent tells.
        self.has_moved_there = True
        self._sides.there.moved_away(path, answer.order)
        ancestor = self._sides.ancestor
        ancestor.forget([p for p in ancestor.entries if p == path or p.startswith(f"{path}/")])
        self._sides.batch.mark_all()
        self._tell(path, copy)

    def _tell(self, path: str, copy: str) -> None:
        self.copies[path] = copy
        shown = self._sides.workspace.shown
        path, copy = shown(path), shown(copy)
        text = (
            f"{path} was changed on both sides: the workspace's stays, the container's is {copy}. "
            f"To take the container's: `mv {copy} {path}`"
        )
        self._show(News("conflict", text, path=path))


def copy_name(path: str, is_taken: Callable[[str], bool]) -> str:
    """Return a free name for what the container has at `path`."""
    folder, slash, name = path.rpartition("/")
    suffix = f"{CONFLICT}{time.strftime('%Y%m%d-%H%M%S')}"
    for number in count(1):
        copy = longer(name, f"{suffix}-{number}" if number > 1 else suffix)
        if not is_taken(f"{folder}{slash}{copy}"):
            break
    return f"{folder}{slash}{copy}"
