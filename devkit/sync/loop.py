"""Step 5, sync: the loop, one thread that keeps workspace and container in step.

Hints and news come in through an inbox; what differs is reconciled and applied; what went through
is agreed. Everything that could lose a file halts it until the user says how to go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from devkit.errors import EngineError, SyncHalted
from devkit.sync.inbox import Inbox
from devkit.sync.news import News, Status
from devkit.sync.permission import HINT
from devkit.sync.reconcile import Plan
from devkit.sync.remote import Answer, Remote, Told
from devkit.sync.work import Work

Connect = Callable[[Callable[[Told], None], Callable[[EngineError], None]], Remote]
"""Starts an agent; it gets who takes what is told, and why the stream ended."""

# How often a large file on its way is looked after.
_TRANSFER_S = 0.002


class Loop:
    """Two sides in step. Its methods may be called from other threads, but for `run`."""

    def __init__(self, work: Work, *, show: Callable[[News], None]) -> None:
        """Make it; `show` takes what a user should know, in the loop's thread."""
        self._work = work
        self._show = show
        self._inbox = Inbox()
        self._sides, self._batch = self._work.sides, self._work.batch
        self._permission = self._work.permission
        self._lost: EngineError | None = None
        self._stopping = False
        self._stream = object()
        self._settling: Future[Answer] | None = None

    # For other threads.

    def hint(self, path: Path, is_finished: bool) -> None:
        """Something happened at a path of the workspace."""
        self._inbox.put(partial(self._sides.hint, path, is_finished))

    def events_lost(self, why: str) -> None:
        """Look at the whole workspace, whose events were lost; with `why`, so will all to come."""
        self._inbox.put(partial(self._without, why))

    def status(self) -> Status:
        """How it is."""
        return self._work.status(self._lost)

    def pause(self) -> None:
        """Go on watching, and change nothing."""
        self._inbox.call(self._permission.pause)

    def resume(self) -> None:
        """Go on after a pause; after a halt, do what it halted for."""
        self._inbox.call(self._resumed, self._work.allow)

    def reset(self) -> None:
        """Forget what both sides had: what one has goes to the other, and nothing is deleted."""
        self._inbox.call(self._resumed, self._work.forget)

    def flush(self, timeout_s: float | None = None) -> None:
        """Return when both sides have the same.

        Raises:
            SyncHalted: it is halted or paused.
            EngineError: the stream is lost.
        """
        self._inbox.call(self._flushed, timeout_s)

    def stop(self) -> None:
        """End `run`, from any thread, whatever it waits for."""
        self._stopping = True
        self._inbox.wake()
        remote = self._sides.remote
        if remote is not None:
            with suppress(OSError):  # the thread itself closes it just now
                remote.close()

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
        self._sides.without_events["workspace"] = without_events
        self._sides.folds_case = self._sides.workspace.folds_case()
        with self._connected(connect) as remote:
            try:
                self._compare_all(remote)
                while not self._stopping:
                    self._turn()
            except EngineError:
                if not self._stopping:
                    raise
            finally:
                self._sides.remote = None
                self._work.cancel()
                self._work.outcomes.store()
        # Not where the stream was lost: the next one is not to wait for it.
        self._sides.keep_known()

    def close(self) -> None:
        """Let nobody wait any more; `run` has ended for good."""
        self._inbox.close()

    def rest(self, seconds: float) -> None:
        """Do what other threads ask for while there is no stream."""
        deadline = time.monotonic() + seconds
        while not self._stopping and (left := deadline - time.monotonic()) > 0:
            self._inbox.take(left)

    def once(self, connect: Connect) -> tuple[Plan, dict[str, str]]:
        """Bring both sides in step one time; return what was done, and what could not be and why.

        Raises:
            SyncHalted: it could lose files.
        """
        with self._connected(connect) as remote:
            try:
                self._compare_all(remote)
                plan = self._work.plan()
                while self._work.is_left() or self._sides.local.due() is not None:
                    self._turn()
                    self._permission.check()
            finally:
                self._sides.remote = None
                self._work.outcomes.store()
            return plan, self._sides.problems

    def preview(self, connect: Connect) -> Plan:
        """Look at both sides, and say what would be done."""
        sides = self._sides
        with self._connected(connect) as remote:
            self._compare_all(remote)
            while sides.local.due() is not None or sides.unknown["remote"]:
                sides.note("local", sides.local.changes(time.monotonic()))
                if not self._wait() and not sides.local.due():
                    break
            return self._work.plan()

    @contextmanager
    def _connected(self, connect: Connect) -> Iterator[Remote]:
        # What an earlier stream told comes too late, and is told of another agent's files.
        self._stream = stream = object()
        self._lost = None
        with connect(partial(self._told, stream), partial(self._was_lost, stream)) as remote:
            self._sides.remote = remote
            try:
                yield remote
            finally:
                self._sides.remote = None

    def _compare_all(self, remote: Remote) -> None:
        self._sides.compare_all(remote)
        files = len(self._sides.there.entries)
        self._show(News("connected", f"In step with the container: {files} files."))

    def _turn(self) -> None:
        """Wait for something, and do what it asks for."""
        came = self._wait()
        if self._lost:
            raise self._lost
        now = time.monotonic()
        self._sides.look(now)
        if came:
            self._work.reconsider()
        remote = self._sides.remote
        if remote is not None and self._is_ready(now, came=came):
            self._work.reconcile(remote)
        self._work.step()
        self._work.outcomes.store()

    def _wait(self) -> bool:
        """Take what comes in; whether something came before there was something else to do."""
        soonest = self._sides.next_look()
        if self._sides.transfers:
            soonest = min(soonest, time.monotonic() + _TRANSFER_S)
        if not self._batch.is_empty() and self._permission.is_given():
            soonest = min(soonest, time.monotonic() + self._batch.more_s())
        return self._inbox.take(None if soonest == float("inf") else soonest - time.monotonic())

    def _is_ready(self, now: float, *, came: bool) -> bool:
        """Whether what changed is to be decided now, or more belongs to it."""
        if not self._permission.is_given() or self._batch.is_empty():
            return False
        if self._settling is not None:
            if came or self._is_looking(self._settling):
                return False
            self._settling = None
        return self._batch.is_complete(now, came=came, due=self._sides.local.due)

    # What comes in.

    def _without(self, why: str) -> None:
        if why:
            self._sides.without_events["workspace"] = why
        self._sides.look_again()

    def _told(self, stream: object, told: Told) -> None:
        self._inbox.put(partial(self._take, stream, told))

    def _was_lost(self, stream: object, error: EngineError) -> None:
        if stream is self._stream:
            self._lost = error
        self._inbox.wake()

    def _take(self, stream: object, told: Told) -> None:
        if stream is self._stream:
            # While it is halted, contents would pile up.
            self._sides.take(told, with_contents=self._permission.is_given())

    # What a user says.

    def _resumed(self, begin_again: Callable[[], None]) -> None:
        begin_again()
        if self._sides.remote is not None:
            # What changed meanwhile comes first: it is decided as a whole. So it is, too, where
            # the stream is lost by now.
            with suppress(EngineError):
                self._settling = self._asked_to_flush(self._sides.remote)
        self._show(News("resumed", "Sync goes on."))

    def _flushed(self, timeout_s: float | None) -> None:
        """Go on until nothing is left to do on either side."""
        deadline = time.monotonic() + (timeout_s or float("inf"))
        remote, conflicts = self._sides.remote, self._work.conflicts
        if remote is None:
            raise self._lost or EngineError("The container is not connected.")
        conflicts.has_moved_there = True
        while conflicts.has_moved_there:
            conflicts.has_moved_there = False
            self._drained(remote, deadline)

    def _drained(self, remote: Remote, deadline: float) -> None:
        answer = self._asked_to_flush(remote)
        self._sides.look_again()
        is_looked_at = False
        while True:
            is_quiet = is_looked_at and not self._is_looking(answer)
            if is_quiet:
                self._work.reconsider()
            # What a plan halted for may have passed: that shows when all is looked at.
            if is_quiet or not self._permission.may_pass():
                self._permission.check()
            if time.monotonic() > deadline:
                raise SyncHalted("Workspace and container are not in step yet.", hint=HINT)
            if is_quiet and not self._work.is_left():
                break
            self._turn()
            is_looked_at = True
        answer.result()

    def _asked_to_flush(self, remote: Remote) -> Future[Answer]:
        answer = remote.request("flush")
        answer.add_done_callback(lambda _: self._inbox.wake())
        return answer

    def _is_looking(self, answer: Future[Answer]) -> bool:
        # The answer first: what was told before it is in the queue by then.
        is_told = answer.done()
        return not is_told or self._sides.local.due() is not None or not self._inbox.is_empty()
