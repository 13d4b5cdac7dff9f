"""Step 5, sync: what both sides have, as far as is known, and what is to be decided about it."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from devkit.errors import EngineError
from devkit.sync.agent.side import PENDING, RootGone, Snapshot, reason
from devkit.sync.agent.watched import Changes, Watched
from devkit.sync.ancestor import Ancestor
from devkit.sync.apart import Apart
from devkit.sync.batch import Batch
from devkit.sync.ignore import Ignore
from devkit.sync.reconcile import Mode, Plan, SideName, reconcile
from devkit.sync.remote import Remote, RemoteScan, Told
from devkit.sync.there import There
from devkit.sync.transfer import Transfer
from devkit.sync.workspace import Workspace

_RESCAN_EVERY_S = 20.0
_LOOK_EVERY_S = 1.0
_RESCAN_SHARE = 200
# A temporary file as old as this is of no sync that is alive: two services share a workspace.
_ABANDONED_S = 60.0


class Sides:
    """The workspace, the container while there is a stream, and what both had.

    `transfers` are large files on their way, `problems` say why a path could not be changed,
    `left` why it is left alone; `moves` counts how often a path was not as it was seen.
    """

    def __init__(
        self,
        workspace: Workspace,
        ancestor: Ancestor,
        ignore: Ignore,
        *,
        batch: Batch,
        halt: Callable[[str], None],
    ) -> None:
        """Make it; `halt` takes why nothing may be changed any more."""
        self.workspace = workspace
        self.ancestor = ancestor
        self.ignore = ignore
        self.batch = batch
        self._halt = halt
        self.local = Watched(workspace, {})
        self.there = There(workspace.ignores)
        self.remote: Remote | None = None
        self.unknown: dict[SideName, dict[str, str]] = {"local": {}, "remote": {}}
        self.contents: dict[str, bytes] = {}
        self.transfers: dict[str, Transfer] = {}
        self.problems: dict[str, str] = {}
        self.left: dict[str, str] = {}
        self.moves: Counter[str] = Counter()
        self.without_events: dict[str, str] = {"workspace": "", "container": ""}
        self.folds_case = False
        self.next_rescan = float("inf")
        self._apart = Apart(ancestor)
        self._is_known = False
        self._to_keep: dict[str, bytes] | None = None

    # What is known.

    def compare_all(self, remote: Remote) -> None:
        """Look at everything on both sides."""
        self.contents.clear()
        self.problems.clear()  # each is tried again
        with ThreadPoolExecutor(1) as beside:
            # The agent starts meanwhile.
            scanning = beside.submit(remote.scan, self.ancestor.known("remote"))
            self._take_known()
            began = time.monotonic()
            here = self._scanned()
            took_s = time.monotonic() - began
            try:
                there = scanning.result()
            except OSError as error:
                raise EngineError(f"The container's folder cannot be read: {error}.") from error
        self.workspace.sweep(older_s=_ABANDONED_S)
        self._begin(here, there)
        self.batch.mark_all()
        self._plan_rescan(took_s)

    def keep_known(self) -> None:
        """Store the workspace's digests for the next time."""
        if self.local.told:
            self._keep("local", self.workspace.records(self.local.told))

    def look(self, now: float) -> None:
        """Look at the workspace where it is due, and at all of it from time to time."""
        self._keep_found()
        try:
            if now >= self.next_rescan:
                self._rescan()
            self.note("local", self.local.changes(now))
        except RootGone as gone:
            self._halt_gone(gone)

    def next_look(self) -> float:
        """When to look next."""
        due = self.local.due()
        return self.next_rescan if due is None else min(due, self.next_rescan)

    def look_again(self) -> None:
        """Look at the whole workspace next."""
        self.next_rescan = time.monotonic()

    def hint(self, path: Path, is_finished: bool) -> None:
        """Something happened at a path of the workspace."""
        now = time.monotonic()
        for inside in self.workspace.paths(path):
            # Half written rules would let through what they are to ignore.
            if is_finished:
                self.was_rules(inside)
            # What it is now is not known here; for what was ignored as a file, the scan asks.
            if not self.workspace.ignores(inside, is_folder=False):
                self.local.hint(inside, now, finished=is_finished)

    def was_rules(self, path: str) -> None:
        """Where a file of rules changed, ask anew what is ignored."""
        if not self.ignore.is_rules(path):
            return
        self.ignore.refresh()
        self.look_again()
        self.batch.mark(*self.there.ask_anew())

    def take(self, told: Told, *, with_contents: bool) -> None:
        """Take what the container tells."""
        if with_contents:
            self.contents.update(told.contents)
        ours = self.there.told(told.entries, told.order)
        news = {path: told.entries[path] for path in ours}
        self.note("remote", Changes(news, told.unknown, told.whole))

    def note(self, side: SideName, news: Changes) -> None:
        """Take what is new on a side."""
        unknown = self.unknown[side]
        if news.whole:
            if any(unknown[path] != PENDING for path in unknown.keys() - news.unknown.keys()):
                self.batch.mark_all()  # what is below was left alone meanwhile
            unknown.clear()
        for path in news.entries:
            if side == "local":
                self.was_rules(path)
            unknown.pop(path, None)
            self.problems.pop(path, None)
            self.batch.mark(path)
        unknown.update(news.unknown)
        if side == "remote" and "" in unknown:
            self._halt(f"The container's folder cannot be read: {unknown['']}.")

    # What is to be decided.

    def plan(self, mode: Mode, paths: set[str] | None = None) -> Plan:
        """What would be done now, of these paths; None for all."""
        unknown = {**self.unknown["local"], **self.unknown["remote"]}
        unknown.update(dict.fromkeys(self.transfers, "it is on its way"))
        local, remote = self.local.told, self.there.entries
        self._apart.meet(local, remote, unknown)
        ancestor, apart = self._apart.seen(local, remote, mode)
        unknown.update(apart)
        return reconcile(
            ancestor,
            local,
            remote,
            mode=mode,
            paths=paths,
            unknown=unknown,
        )

    def not_in_step(self) -> dict[str, str]:
        """Return which paths are left as they are, and why."""
        unknown = {**self.unknown["local"], **self.unknown["remote"]}
        known = {path: why for path, why in unknown.items() if why != PENDING}
        return {**self.left, **known, **self.problems}

    def _scanned(self) -> Snapshot | None:
        try:
            return self.workspace.scan()
        except RootGone as gone:
            self._halt_gone(gone)
            return None

    def _take_known(self) -> None:
        if self._is_known:
            return  # since an earlier stream
        for path, record in self.ancestor.known("local").items():
            self.workspace.take(path, record, self.ancestor.entries.get(path))
        self._is_known = True

    def _keep_found(self) -> None:
        """Store what a look found; not in it, as both sides are in step before."""
        records, self._to_keep = self._to_keep, None
        if records is not None:
            self._keep("remote", records)
            self.keep_known()

    def _keep(self, side: SideName, records: dict[str, bytes]) -> None:
        # They only save time; the disk may be full.
        with suppress(OSError):
            self.ancestor.keep(side, records)

    def _begin(self, here: Snapshot | None, there: RemoteScan) -> None:
        self.there.begin(there.entries, here.entries if here else {})
        self.unknown["remote"] = there.unknown
        self.without_events["container"] = there.without_events
        if here is not None:
            # Names and entries are kept once for both sides, as far as they are the same.
            entries = {sys.intern(path): entry for path, entry in here.entries.items()}
            self.local = Watched(self.workspace, entries)
            self.local.digest(path for path, why in here.unknown.items() if why == PENDING)
            self.unknown["local"] = here.unknown
            known = {**here.unknown, **there.unknown}
            pending = (path for path, why in known.items() if why == PENDING)
            self._apart.begin(self.local.told, self.there.entries, pending)
        self._to_keep = there.records

    def _rescan(self) -> None:
        began = time.monotonic()
        # What could not be done may be possible by now.
        self.batch.mark(*self.problems)
        self.moves.clear()
        try:
            self.note("local", self.local.rescan())
        finally:
            self._plan_rescan(time.monotonic() - began)

    def _plan_rescan(self, took_s: float) -> None:
        every = _LOOK_EVERY_S if self.without_events["workspace"] else _RESCAN_EVERY_S
        self.next_rescan = time.monotonic() + max(every, took_s * _RESCAN_SHARE)

    def _halt_gone(self, gone: RootGone) -> None:
        self._halt(f"The workspace is not there: {reason(gone)}.")
