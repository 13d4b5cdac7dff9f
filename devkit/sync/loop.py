"""Step 5, sync: the loop, one thread that keeps workspace and container in step.

Hints and news come in through a queue; what differs is reconciled and applied; what went through is
agreed. Everything that could lose a file halts it until the user says how to go on.
"""

from __future__ import annotations

import errno
import hashlib
import queue
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from devkit.errors import EngineError, SyncHalted
from devkit.sync import halt
from devkit.sync.agent.places import longer
from devkit.sync.agent.side import FOLDER, LINK, PENDING, Entry, Moved, RootGone, reason
from devkit.sync.agent.watched import HOLD_S, Changes, Watched
from devkit.sync.ancestor import Ancestor
from devkit.sync.apply import Apply
from devkit.sync.ignore import Ignore
from devkit.sync.journal import Journal
from devkit.sync.news import News, Status
from devkit.sync.reconcile import Change, Conflict, Mode, Plan, SideName, reconcile
from devkit.sync.remote import Answer, Remote, Told
from devkit.sync.there import There
from devkit.sync.transfer import Failure, Pull, Transfer
from devkit.sync.workspace import Workspace

Connect = Callable[[Callable[[Told], None], Callable[[EngineError], None]], Remote]
"""Starts an agent; it gets who takes what is told, and why the stream ended."""

# After the first event: does more come with it, as with a checkout?
_MORE_S = 0.0002
# Events that come this close together belong to one batch, up to a longest time.
_BATCH_S = 0.02
_LONGEST_BATCH_S = 3.0
_FEW = 3
# Deletions within that time are one.
_TOGETHER_S = 10.0
# How often a large file on its way is looked after.
_TRANSFER_S = 0.002
# A path that is never as it was seen a moment before is left alone for a while.
_MOST_MOVES = 20
# Also where a folder on the way is gone, or a file or a link by now.
_MOVED = (Moved, FileNotFoundError, NotADirectoryError)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_RESCAN_EVERY_S = 20.0
_LOOK_EVERY_S = 1.0
_RESCAN_SHARE = 200
# A temporary file as old as this is of no sync that is alive: two services share a workspace.
_ABANDONED_S = 60.0
# More of them are decided faster as a whole.
_MOST_PATHS = 2000
# More changes are told by their number.
_MOST_TOLD = 10


class Loop:
    """Two sides in step. Its methods may be called from other threads, but for `run`."""

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
        """Make it; `show` takes what a user should know, in the loop's thread."""
        self._workspace = workspace
        self._service = service
        self._ancestor = ancestor
        self._journal = journal
        self._ignore = ignore
        self._mode: Mode = mode
        self._show = show
        self._queue = queue.SimpleQueue[Callable[[], None]]()
        self._local = Watched(workspace, {})
        self._there = There(workspace.ignores)
        self._unknown: dict[SideName, dict[str, str]] = {"local": {}, "remote": {}}
        self._dirty: set[str] | None = None
        self._contents: dict[str, bytes] = {}
        self._transfers: dict[str, Transfer] = {}
        self._problems: dict[str, str] = {}
        self._left: dict[str, str] = {}
        self._conflicts: dict[str, str] = {}
        self._agreed: dict[str, Entry | None] = {}
        self._rows: list[tuple[SideName, str, Entry | None, Entry | None, str]] = []
        self._remote: Remote | None = None
        self._lost: EngineError | None = None
        self._halted = ""
        self._is_paused = False
        self._is_allowed = False
        self._stopping = False
        self._is_over = False
        self._without_events = ""
        self._without_events_there = ""
        self._next_rescan = float("inf")
        self._began = 0.0
        self._moves: Counter[str] = Counter()
        self._changes = 0
        self._has_moved_there = False
        self._stream = object()
        self._folds_case = False
        self._is_told = True
        self._settling: Future[Answer] | None = None
        self._deleted: deque[tuple[float, Counter[SideName]]] = deque()
        self._git_lock = _git_folder(Path(workspace.root)) / "index.lock"

    # For other threads.

    def hint(self, path: Path, is_finished: bool) -> None:
        """Something happened at a path of the workspace."""
        self._queue.put(partial(self._hinted, path, is_finished))

    def events_lost(self, why: str) -> None:
        """Look at the whole workspace, whose events were lost; with `why`, so will all to come."""
        self._queue.put(partial(self._without, why))

    def status(self) -> Status:
        """How it is."""
        shown = self._workspace.shown
        state = "connecting" if self._remote is None else "watching"
        if self._dirty or self._dirty is None or self._transfers:
            state = "syncing" if self._remote else state
        state = "paused" if self._is_paused else "halted" if self._halted else state
        return Status(
            state=state,
            mode=self._mode,
            files=len(self._there.entries),
            changes=self._changes,
            reason=self._halted or (str(self._lost) if self._lost else ""),
            pending=tuple(map(shown, tuple(self._transfers))),
            conflicts={shown(path): shown(copy) for path, copy in dict(self._conflicts).items()},
            problems={shown(path): why for path, why in self._not_in_step().items()},
            without_events={
                where: why
                for where, why in (
                    ("workspace", self._without_events),
                    ("container", self._without_events_there),
                )
                if why
            },
        )

    def _not_in_step(self) -> dict[str, str]:
        unknown = {**self._unknown["local"], **self._unknown["remote"]}
        known = {path: why for path, why in unknown.items() if why != PENDING}
        return {**self._left, **known, **self._problems}

    def pause(self) -> None:
        """Go on watching, and change nothing."""
        self._call(partial(setattr, self, "_is_paused", True))

    def resume(self) -> None:
        """Go on after a pause; after a halt, do what it halted for."""
        self._call(self._resumed)

    def reset(self) -> None:
        """Forget what both sides had: what one has goes to the other, and nothing is deleted."""
        self._call(self._forgotten)

    def flush(self, timeout_s: float | None = None) -> None:
        """Return when both sides have the same.

        Raises:
            SyncHalted: it is halted or paused.
            EngineError: the stream is lost.
        """
        self._call(self._flushed, timeout_s)

    def stop(self) -> None:
        """End `run`, from any thread, whatever it waits for."""
        self._stopping = True
        self._queue.put(lambda: None)
        if self._remote is not None:
            with suppress(OSError):  # the thread itself closes it just now
                self._remote.close()

    # The thread.

    def run(self, connect: Connect, *, without_events: str = "") -> None:
        """Keep both sides in step until `stop`, or until the stream is lost.

        Args:
            connect: starts the agent.
            without_events: why the workspace has to be looked at again and again; "" if not.

        Raises:
            EngineError: the stream is lost, or cannot be opened.
            OSError: what has to be stored cannot be.
        """
        self._without_events = without_events
        self._folds_case = self._workspace.folds_case()
        with self._connected(connect) as remote:
            try:
                self._compare_all(remote)
                while not self._stopping:
                    self._turn()
            except EngineError:
                if not self._stopping:
                    raise
            finally:
                self._remote = None
                for transfer in self._transfers.values():
                    transfer.cancel()
                self._transfers.clear()
                self._store()
                self._ancestor.keep_digests("local", self._workspace.known())

    def close(self) -> None:
        """Let nobody wait any more; `run` has ended for good."""
        self._is_over = True
        self._take_all(0)

    def rest(self, seconds: float) -> None:
        """Do what other threads ask for while there is no stream."""
        deadline = time.monotonic() + seconds
        while not self._stopping and (left := deadline - time.monotonic()) > 0:
            with suppress(queue.Empty):
                self._queue.get(timeout=left)()

    def once(self, connect: Connect) -> tuple[Plan, dict[str, str]]:
        """Bring both sides in step one time; return what was done, and what could not be and why.

        Raises:
            SyncHalted: it could lose files.
        """
        with self._connected(connect) as remote:
            try:
                self._compare_all(remote)
                plan = self.plan()
                while self._dirty != set() or self._transfers or self._local.due() is not None:
                    self._turn()
                    self._check_halt()
            finally:
                self._remote = None
                self._store()
            return plan, self._problems

    def preview(self, connect: Connect) -> Plan:
        """Look at both sides, and say what would be done."""
        with self._connected(connect) as remote:
            self._compare_all(remote)
            while self._local.due() is not None or self._unknown["remote"]:
                self._note("local", self._local.changes(time.monotonic()))
                if not self._wait() and not self._local.due():
                    break
            return self.plan()

    @contextmanager
    def _connected(self, connect: Connect) -> Iterator[Remote]:
        # What an earlier stream told comes too late, and is told of another agent's files.
        self._stream = stream = object()
        self._lost = None
        with connect(partial(self._told, stream), partial(self._was_lost, stream)) as remote:
            self._remote = remote
            try:
                yield remote
            finally:
                self._remote = None

    def _turn(self) -> None:
        """Wait for something, and do what it asks for."""
        came = self._wait()
        if self._lost:
            raise self._lost
        now = time.monotonic()
        try:
            if now >= self._next_rescan:
                self._rescan()
            self._note("local", self._local.changes(now))
        except RootGone as gone:
            self._halt(f"The workspace is not there: {reason(gone)}.")
        if self._is_ready(now, came=came):
            self._reconcile()
        for path, transfer in list(self._transfers.items()):
            if transfer.step():
                self._transfers.pop(path, None)
                self._mark(path)
        self._store()

    def _wait(self) -> bool:
        """Take what comes in; whether something came before there was something else to do."""
        due = self._local.due()
        soonest = self._next_rescan if due is None else min(due, self._next_rescan)
        if self._transfers:
            soonest = min(soonest, time.monotonic() + _TRANSFER_S)
        if self._dirty != set() and not self._is_halted():
            soonest = min(soonest, time.monotonic() + (_BATCH_S if self._is_batch() else _MORE_S))
        return self._take_all(None if soonest == float("inf") else soonest - time.monotonic())

    def _take_all(self, wait_s: float | None) -> bool:
        came = False
        wait_s = wait_s and max(0.0, wait_s)
        with suppress(queue.Empty):
            action = self._queue.get(timeout=wait_s) if wait_s != 0 else self._queue.get_nowait()
            while True:
                came = True
                action()
                action = self._queue.get_nowait()
        return came

    def _is_ready(self, now: float, *, came: bool) -> bool:
        """Whether what changed is to be decided now, or more belongs to it."""
        if self._remote is None or self._is_halted() or self._dirty == set():
            return False
        if self._settling is not None:
            if came or self._is_looking(self._settling):
                return False
            self._settling = None
        if self._dirty is None or now - self._began > _LONGEST_BATCH_S:
            return True
        if came or not self._is_batch():
            return not came
        due = self._local.due()
        return due is None or due > now + _BATCH_S + HOLD_S

    def _is_batch(self) -> bool:
        """Whether many files change together, as with a checkout."""
        return self._dirty is not None and (len(self._dirty) > _FEW or self._git_lock.exists())

    def _is_halted(self) -> bool:
        return bool(self._halted) or self._is_paused

    def _mark(self, *paths: str) -> None:
        if not paths:
            return
        if self._dirty == set():
            self._began = time.monotonic()
        if self._dirty is not None:
            self._dirty.update(paths)

    # What comes in.

    def _hinted(self, path: Path, is_finished: bool) -> None:
        now = time.monotonic()
        for inside in self._workspace.paths(path):
            self._was_rules(inside)
            # What it is now is not known here; for what was ignored as a file, the scan asks.
            if not self._workspace.ignores(inside, is_folder=False):
                self._local.hint(inside, now, finished=is_finished)

    def _without(self, why: str) -> None:
        self._without_events = why or self._without_events
        self._next_rescan = time.monotonic()

    def _was_rules(self, path: str) -> None:
        """Where a file of rules changed, ask anew what is ignored."""
        if not self._ignore.is_rules(path):
            return
        self._ignore.refresh()
        self._next_rescan = time.monotonic()
        self._mark(*self._there.ask_anew())

    def _told(self, stream: object, told: Told) -> None:
        self._queue.put(partial(self._take, stream, told))

    def _was_lost(self, stream: object, error: EngineError) -> None:
        if stream is self._stream:
            self._lost = error
        self._queue.put(lambda: None)

    def _take(self, stream: object, told: Told) -> None:
        if stream is not self._stream:
            return
        if not self._is_halted():  # else they would pile up
            self._contents.update(told.contents)
        ours = self._there.told(told.entries, told.order)
        news = {path: told.entries[path] for path in ours}
        self._note("remote", Changes(news, told.unknown, told.whole))

    def _note(self, side: SideName, news: Changes) -> None:
        """Take what is new on a side."""
        unknown = self._unknown[side]
        if news.whole:
            if any(unknown[path] != PENDING for path in unknown.keys() - news.unknown.keys()):
                self._dirty = None  # what is below was left alone meanwhile
            unknown.clear()
        for path in news.entries:
            if side == "local":
                self._was_rules(path)
            unknown.pop(path, None)
            self._problems.pop(path, None)
            self._mark(path)
        unknown.update(news.unknown)
        if side == "remote" and "" in unknown:
            self._halt(f"The container's folder cannot be read: {unknown['']}.")

    # What is done.

    def _compare_all(self, remote: Remote) -> None:
        """Look at everything on both sides."""
        self._contents.clear()
        remote.seed(self._ancestor.digests("remote"))
        for path, (signature, digest) in self._ancestor.digests("local").items():
            self._workspace.knows(path, signature, digest)
        with ThreadPoolExecutor(1) as beside:
            scanning = beside.submit(remote.scan)
            began = time.monotonic()
            try:
                here = self._workspace.scan()
            except RootGone as gone:
                self._halt(f"The workspace is not there: {reason(gone)}.")
                here = None
            took_s = time.monotonic() - began
            try:
                there = scanning.result()
            except OSError as error:
                raise EngineError(f"The container's folder cannot be read: {error}.") from error
        self._workspace.sweep(older_s=_ABANDONED_S)
        self._there.begin(there.entries)
        self._unknown["remote"] = there.unknown
        self._without_events_there = there.without_events
        if here is not None:
            self._local = Watched(self._workspace, here.entries)
            self._local.digest(path for path, why in here.unknown.items() if why == PENDING)
            self._unknown["local"] = here.unknown
        self._ancestor.keep_digests("remote", there.signatures)
        self._ancestor.keep_digests("local", self._workspace.known())
        self._dirty = None
        self._plan_rescan(took_s)
        self._show(
            News("connected", f"In step with the container: {len(self._there.entries)} files.")
        )

    def _rescan(self) -> None:
        began = time.monotonic()
        # What could not be done may be possible by now.
        self._mark(*self._problems)
        self._moves.clear()
        try:
            self._note("local", self._local.rescan())
        finally:
            self._plan_rescan(time.monotonic() - began)

    def _plan_rescan(self, took_s: float) -> None:
        every = _LOOK_EVERY_S if self._without_events else _RESCAN_EVERY_S
        self._next_rescan = time.monotonic() + max(every, took_s * _RESCAN_SHARE)

    def _reconcile(self) -> None:
        """Decide, and do it."""
        assert self._remote is not None
        paths = self._dirty
        if paths is not None and len(paths) > _MOST_PATHS:
            paths = None
        self._dirty = set()
        plan = self.plan(paths)
        self._left = dict(plan.left) if paths is None else {**self._left, **plan.left}
        for path in plan.agreed:
            self._left.pop(path, None)
            self._problems.pop(path, None)
        why = "" if self._is_allowed else self._why_not(plan)
        if why:
            self._dirty = None
            self._halt(why)
            return
        self._is_allowed = False
        self._agreed.update(plan.agreed)
        for conflict in plan.conflicts:
            self._settle(conflict)
        contents, self._contents = self._contents, {}
        self._is_told = len(plan.changes) <= _MOST_TOLD
        if not self._is_told:
            self._show(News.of_many(plan.changes))
        apply = Apply(self._workspace, self._remote, contents, self._done)
        apply.changes(plan.changes)
        for path, transfer in apply.transfers:
            self._transfers[path] = transfer

    def plan(self, paths: set[str] | None = None) -> Plan:
        """What would be done now."""
        unknown = {**self._unknown["local"], **self._unknown["remote"]}
        unknown.update(dict.fromkeys(self._transfers, "it is on its way"))
        return reconcile(
            self._ancestor.entries,
            self._local.told,
            self._there.entries,
            mode=self._mode,
            paths=paths,
            unknown=unknown,
        )

    def _why_not(self, plan: Plan) -> str:
        """Why it should halt; deletions that came in several goes count together."""
        now = time.monotonic()
        while self._deleted and self._deleted[0][0] < now - _TOGETHER_S:
            self._deleted.popleft()
        before = Counter[SideName]()
        for _, gone in self._deleted:
            before += gone
        why = halt.reason(
            plan,
            self._ancestor.entries,
            self._local.told,
            self._there.entries,
            under=self._workspace.under,
            before=before,
        )
        why = why or (halt.collision(plan, self._local.told) if self._folds_case else "")
        here, there = self._local.told, self._there.entries
        gone = Counter[SideName]()
        gone["local"] = len(halt.lost(plan, "local", here))
        gone["remote"] = len(halt.lost(plan, "remote", there))
        if not why and gone.total():
            self._deleted.append((now, gone))
        return why

    def _done(self, change: Change, result: Entry | Answer | Failure | None) -> None:
        """Note what became of a change."""
        if isinstance(result, _MOVED):
            self._look_again(change)
        elif isinstance(result, OSError):
            self._failed(change, result)
        elif isinstance(result, EngineError):
            raise result
        else:
            self._went_through(change, result)

    def _went_through(self, change: Change, result: Entry | Answer | None) -> None:
        path, new = change.path, change.new
        if isinstance(result, Answer):
            self._there.settle(path, new, result.order)
            if result.is_kept:
                self._journal.keep(result.content)
            other = self._local.told
        else:
            self._local.applied(path, result)
            self._was_rules(path)
            other = self._there.entries
        # Not so where both get something new, and this is the first of them.
        if other.get(path) == new:
            self._agreed[path] = new
        self._rows.append((change.side, path, change.old, new, ""))
        self._moves.pop(path, None)
        self._changes += 1
        if not self._is_told:
            return
        took_s = time.monotonic() - self._began if self._began else None
        self._show(News.of(change, self._workspace.shown(path), seconds=took_s))

    def _look_again(self, change: Change) -> None:
        """A path was not as it was seen: it is decided once more."""
        self._moves[change.path] += 1
        if self._moves[change.path] > _MOST_MOVES:
            self._problems[change.path] = "it changes all the time"
            return
        self._local.hint(change.path, time.monotonic())
        self._mark(change.path)
        if self._remote is None:
            return
        with suppress(OSError, Moved):
            answer = self._remote.request("stat", path=change.path).result()
            self._there.settle(change.path, answer.entry, answer.order)

    def _failed(self, change: Change, error: OSError) -> None:
        where = "container" if change.side == "remote" else "workspace"
        if isinstance(error, RootGone):
            self._halt(f"The {where} is not there: {reason(error)}.")
        elif error.errno in _FULL:
            self._dirty = None
            self._halt(f"The disk of the {where} is full.")
        elif self._problems.get(change.path) != reason(error):
            # A folder that holds what is ignored stays, and that is as it should be.
            why = f"it cannot be changed in the {where}: {reason(error)}"
            self._problems[change.path] = reason(error)
            shown = self._workspace.shown(change.path)
            self._show(News("problem", f"{shown}: {why}.", path=shown))

    def _settle(self, conflict: Conflict) -> None:
        """Keep both: the container's goes aside, and the workspace's takes its place."""
        assert self._remote is not None
        path = conflict.path
        copy = _copy_name(
            path, lambda name: name in self._local.told or name in self._there.entries
        )
        try:
            if FOLDER in (conflict.local.kind, conflict.remote.kind):
                self._set_aside(path, copy)
            elif conflict.remote.kind == LINK:
                entry = self._workspace.link(copy, conflict.remote.digest, None)
                self._copied(conflict, copy, entry)
            else:
                self._copy(conflict, copy)
        except _MOVED:
            self._look_again(Change("remote", path, conflict.remote, conflict.local))
        except OSError as error:
            self._failed(Change("local", copy, None, conflict.remote), error)

    def _copy(self, conflict: Conflict, copy: str) -> None:
        assert self._remote is not None
        answer = self._remote.request("read", path=conflict.path).result()
        if answer.signature is None:
            digest = hashlib.sha256(answer.content).hexdigest()
            if answer.entry != conflict.remote or digest != conflict.remote.digest:
                raise Moved
            runs = conflict.remote.executable
            entry = self._workspace.write(copy, answer.content, None, runs)
            self._copied(conflict, copy, entry)
            return
        self._transfers[conflict.path] = Pull(
            self._workspace,
            self._remote,
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
            self._done(Change("local", copy, None, conflict.remote), entry)
            self._mark(path)
            return
        self._local.applied(copy, entry)
        self._rows.append(("local", copy, None, entry, "conflict"))
        self._ancestor.agree({path: conflict.remote})
        self._mark(path, copy)
        self._show_conflict(path, copy)

    def _set_aside(self, path: str, copy: str) -> None:
        assert self._remote is not None
        answer = self._remote.request("rename", path=path, to=copy).result()
        # What is in the copy by now, the agent tells.
        self._has_moved_there = True
        self._there.moved_away(path, answer.order)
        known = [p for p in self._ancestor.entries if p == path or p.startswith(f"{path}/")]
        self._ancestor.forget(known)
        self._dirty = None
        self._show_conflict(path, copy)

    def _show_conflict(self, path: str, copy: str) -> None:
        self._conflicts[path] = copy
        path, copy = self._workspace.shown(path), self._workspace.shown(copy)
        text = (
            f"{path} was changed on both sides: the workspace's stays, the container's is {copy}. "
            f"To take the container's: `mv {copy} {path}`"
        )
        self._show(News("conflict", text, path=path))

    def _store(self) -> None:
        """Write down what both sides agreed about."""
        if self._agreed:
            agreed, self._agreed = self._agreed, {}
            self._ancestor.agree(agreed)
        if self._rows:
            rows, self._rows = self._rows, []
            self._journal.write(self._service, rows)

    # What a user says.

    def _halt(self, why: str) -> None:
        if not self._halted:
            self._halted = why
            self._show(News("halted", f"Sync halted. {why} {HINT}"))

    def _resumed(self) -> None:
        self._is_allowed = bool(self._halted)
        self._halted, self._is_paused = "", False
        self._dirty = None
        self._problems.clear()
        self._deleted.clear()
        self._next_rescan = time.monotonic()
        if self._remote is not None:
            # What changed meanwhile comes first: it is decided as a whole.
            self._settling = self._asked_to_flush(self._remote)
        self._show(News("resumed", "Sync goes on."))

    def _forgotten(self) -> None:
        self._ancestor.forget()
        self._conflicts.clear()
        self._resumed()
        self._is_allowed = False

    def _flushed(self, timeout_s: float | None) -> None:
        """Go on until nothing is left to do on either side."""
        deadline = time.monotonic() + (timeout_s or float("inf"))
        if self._remote is None:
            raise self._lost or EngineError("The container is not connected.")
        self._has_moved_there = True
        while self._has_moved_there:
            self._has_moved_there = False
            self._drained(self._remote, deadline)

    def _drained(self, remote: Remote, deadline: float) -> None:
        answer = self._asked_to_flush(remote)
        self._next_rescan = time.monotonic()
        is_looked_at = False
        while True:
            self._check_halt()
            if time.monotonic() > deadline:
                raise SyncHalted("Workspace and container are not in step yet.", hint=HINT)
            if is_looked_at and not self._is_busy(answer):
                break
            self._turn()
            is_looked_at = True
        answer.result()

    def _check_halt(self) -> None:
        if self._is_halted():
            why = self._halted or "It is paused."
            raise SyncHalted(f"Workspace and container are not in step. {why}", hint=HINT)

    def _asked_to_flush(self, remote: Remote) -> Future[Answer]:
        answer = remote.request("flush")
        answer.add_done_callback(lambda _: self._queue.put(lambda: None))
        return answer

    def _is_busy(self, answer: Future[Answer]) -> bool:
        return self._is_looking(answer) or self._dirty != set() or bool(self._transfers)

    def _is_looking(self, answer: Future[Answer]) -> bool:
        # The answer first: what was told before it is in the queue by then.
        is_told = answer.done()
        return not is_told or self._local.due() is not None or not self._queue.empty()

    def _call(self, action: Callable[..., None], *arguments: Any) -> None:
        """Run an action in the loop's thread, and wait for its end."""
        future: Future[None] = Future()

        def act() -> None:
            try:
                action(*arguments)
            except (SyncHalted, EngineError, OSError) as error:
                future.set_exception(error)
            else:
                future.set_result(None)

        self._queue.put(act)
        if self._is_over:
            self._take_all(0)
        future.result()


HINT = (
    "`devkit sync status` shows more; `devkit sync resume` goes on and does it, "
    "`devkit sync reset` compares anew and deletes nothing."
)


def _copy_name(path: str, is_taken: Callable[[str], bool]) -> str:
    """Return a free name for what the container has at `path`."""
    folder, slash, name = path.rpartition("/")
    suffix = f".conflict-container-{time.strftime('%Y%m%d-%H%M%S')}"
    for number in count(1):
        copy = longer(name, f"{suffix}-{number}" if number > 1 else suffix)
        if not is_taken(f"{folder}{slash}{copy}"):
            break
    return f"{folder}{slash}{copy}"


def _git_folder(folder: Path) -> Path:
    above = (place / ".git" for place in (folder, *folder.parents))
    return next((place for place in above if place.is_dir()), folder / ".git")
