"""The meeting point of HTTP threads and supervisor: which workers are free, and why there is none.

HTTP threads call acquire and release; everything else is the supervisor's.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from . import outcome
from .failure import Failure

SETTLED = ("ready", "failed", "crash_loop")


class Unavailable(Exception):
    """No worker for this request; says which outcome that is."""

    def __init__(self, what: str, message: str, failure: Optional[Failure] = None) -> None:
        super().__init__(message)
        self.outcome = what
        self.message = message
        self.failure = failure


class NotWanted(Exception):
    """The client left while its request waited."""


class Lease:
    """One worker, held for one request.

    `ended_as` is the outcome when the supervisor ended the request; the worker may have survived
    that.
    """

    def __init__(self, pid: int, port: int) -> None:
        self.pid = pid
        self.port = port
        self.active_s = 0.0
        self.ended_as: Optional[str] = None
        self.is_gone = False
        self.connection: Optional[socket.socket] = None
        self.signalled_at: Optional[float] = None
        # What was seen of its worker on the way to the time limit; dumps.py.
        self.looks = 0
        self.seen: List[Tuple[List[Any], float]] = []
        self.stack: Optional[Dict[str, Any]] = None

    def cut(self) -> None:
        """Wake who waits for the answer: a child of the worker may hold its end open."""
        if self.connection is not None:
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)


class Pool:
    """The free workers, the phase of the service, and the leases given out."""

    def __init__(
        self,
        queue_timeout_s: float,
        queue_wait_s: Optional[float] = None,
        *,
        seats_per_worker: int = 1,
    ) -> None:
        """Make it.

        Args:
            queue_timeout_s: how long a request waits at all.
            queue_wait_s: how long one waits for a seat while the service is ready, as before a
                cloud's replicas; None: as long as it waits at all.
            seats_per_worker: how many requests are at a worker; one runs, the others wait there.
        """
        self._changed = threading.Condition()
        self._queue_timeout_s = queue_timeout_s
        self._queue_wait_s = queue_timeout_s if queue_wait_s is None else queue_wait_s
        self._seats_per_worker = seats_per_worker
        # Who waits for a worker, in the order in which they came.
        self._line: List[object] = []
        self._free: List[Lease] = []
        self._leases: Dict[int, Lease] = {}
        self._paused = False
        self._is_held = False
        self.phase = "starting"
        self.failure: Optional[Failure] = None
        # Set by the supervisor; when it says True, a call of hold(False) follows.
        self.is_stale: Callable[[], bool] = lambda: False
        # Set by the supervisor; told the worker that broke off an exchange.
        self.lost: Callable[[int], None] = lambda _pid: None

    def acquire(
        self, is_wanted: Callable[[], bool] = lambda: True, *, is_first: bool = False
    ) -> Lease:
        """Wait for a free worker, before all others if `is_first`.

        `is_wanted` says whether the client waits too. Time spent while a breakpoint holds a worker
        does not count.

        Raises:
            NotWanted: the client left. Unavailable: the service failed, or none became free in
            time.
        """
        me = object()
        with self._changed:
            self._line.insert(0 if is_first else len(self._line), me)
            try:
                self._wait(me, is_wanted)
                worker = self._free.pop(0)
            finally:
                self._line.remove(me)
                # Who comes next may be first now.
                self._changed.notify_all()
            lease = Lease(worker.pid, worker.port)
            self._leases[lease.pid] = lease
            return lease

    @property
    def waiting(self) -> int:
        """How many requests wait for a worker."""
        return len(self._line)

    def _wait(self, me: object, is_wanted: Callable[[], bool]) -> None:
        waited, queued, before, is_seated = 0.0, 0.0, time.monotonic(), False
        while self.phase == "stopping" or not self._may_take(me):
            if not self._is_held or self.phase == "stopping":
                self._refuse_if_failed()
            is_seated = is_seated or self._has_seat(me)
            # A reload is ours, not a queue: it turns nobody away.
            is_queued = self.phase == "ready" and not self._is_held and not is_seated
            left_s = self._queue_timeout_s - waited
            if is_queued:
                left_s = min(left_s, self._queue_wait_s - queued)
            if left_s <= 0:
                raise Unavailable(*self._too_long())
            self._changed.wait(min(0.5, left_s))
            now = time.monotonic()
            passed = 0.0 if self._paused else now - before
            waited += passed
            queued += passed if is_queued else 0.0
            before = now
            if not is_wanted():
                raise NotWanted

    def _has_seat(self, me: object) -> bool:
        """Whether there is a seat at a worker; whoever has it is not in the queue any more."""
        workers = len(self._free) + len(self._leases)
        before_me = len(self._leases) + self._line.index(me)
        return before_me < workers * self._seats_per_worker

    def _may_take(self, me: object) -> bool:
        """Whether a worker is free for this request, and runs the code that is on disk.

        A request sent right after a save may be here before the event of the save.
        """
        is_deciding = bool(self._free) or self.phase in ("failed", "crash_loop")
        if is_deciding and not self._is_held and self.is_stale():
            self._is_held = True
        return self._line.index(me) < len(self._free) and not self._is_held

    def release(self, lease: Lease) -> None:
        """Give the worker back, unless it was ended meanwhile."""
        with self._changed:
            if self._leases.get(lease.pid) is lease:
                del self._leases[lease.pid]
                if not lease.is_gone:
                    self._free.append(Lease(lease.pid, lease.port))
                    self._changed.notify_all()

    def add(self, pid: int, port: int) -> None:
        """A worker is ready."""
        with self._changed:
            self._free.append(Lease(pid, port))
            self._changed.notify_all()

    def remove(self, pid: int, ended_as: str) -> None:
        """A worker ended or is about to be; the request that it holds learns why."""
        with self._changed:
            self._free = [worker for worker in self._free if worker.pid != pid]
            lease = self._leases.get(pid)
            if lease is not None:
                lease.is_gone = True
                lease.ended_as = lease.ended_as or ended_as
                lease.cut()

    def leases(self) -> List[Lease]:
        """The requests under way."""
        with self._changed:
            return list(self._leases.values())

    def enter(self, phase: str, failure: Optional[Failure] = None) -> None:
        """The service is in another phase; waiting requests see it at once."""
        with self._changed:
            self.phase, self.failure = phase, failure
            self._changed.notify_all()

    def hold(self, is_held: bool) -> None:
        """Let new requests wait: a file was saved, and it is not known yet what that means."""
        with self._changed:
            self._is_held = is_held
            self._changed.notify_all()

    def set_paused(self, paused: bool) -> None:
        """Whether a debugger holds some worker."""
        self._paused = paused

    @property
    def state(self) -> str:
        """The phase, or "paused" while a debugger holds a ready service."""
        return "paused" if self._paused and self.phase == "ready" else self.phase

    def _refuse_if_failed(self) -> None:
        if self.phase == "failed":
            raise Unavailable(
                outcome.NOT_READY, "The service did not start: " + self._reason(), self.failure
            )
        if self.phase == "crash_loop":
            message = (
                "init() keeps ending the process; the next edit starts it again: " + self._reason()
            )
            raise Unavailable(outcome.NOT_READY, message, self.failure)
        if self.phase == "stopping":
            raise Unavailable(outcome.NOT_READY, "The service is stopping.")

    def _reason(self) -> str:
        if not self.failure:
            return "see the log."
        return "{}: {}".format(self.failure["type"], self.failure["message"])

    def _too_long(self) -> Tuple[str, str]:
        if self.phase == "ready":
            return outcome.QUEUE_FULL, "All workers were busy for too long."
        return outcome.NOT_READY, "The service is not ready yet ({}).".format(self.phase)
