"""The time limit of a request, kept where it is known how long a breakpoint held it."""

from __future__ import annotations

import asyncio
import signal
import time

from . import background, outcome
from .dumps import Dumps
from .fleet import Fleet
from .pool import Lease, Pool
from .processes import send_signal
from .wire import say
from .worker import TIMEOUT_SIGNAL

TICK_S = 0.05
# For run() to let the Timeout through; then the worker is killed.
GRACE_S = 1.0
# Shares of the time limit at which it is looked where the user's code is.
LOOKS = (0.05, 0.5, 0.9)


class Clock:
    """Counts each request's seconds, not those under a breakpoint; ends what takes too long."""

    def __init__(self, limit_s: float, pool: Pool, fleet: Fleet, dumps: Dumps) -> None:
        self._limit_s = limit_s
        self._pool = pool
        self._fleet = fleet
        self._dumps = dumps

    async def run(self) -> None:
        """Tick until cancelled."""
        before = time.monotonic()
        while True:
            await asyncio.sleep(TICK_S)
            now = time.monotonic()
            self._pool.set_paused(self._fleet.is_paused)
            for lease in self._pool.leases():
                if not self._fleet.is_held(lease.pid):
                    lease.active_s += now - before
                self._check(lease, now)
            before = now

    def _check(self, lease: Lease, now: float) -> None:
        if lease.is_gone:
            return
        if self._is_look_due(lease):
            lease.looks += 1
            background.start(self._dumps.look(lease, is_last=lease.looks == len(LOOKS)))
        elif lease.active_s > self._limit_s and lease.ended_as is None:
            lease.ended_as = outcome.TIMED_OUT
            lease.signalled_at = now
            send_signal(lease.pid, TIMEOUT_SIGNAL)
        elif lease.signalled_at is not None and now - lease.signalled_at > GRACE_S:
            lease.signalled_at = None
            say("worker {} did not stop at its time limit: killed".format(lease.pid))
            send_signal(lease.pid, signal.SIGKILL)
            lease.cut()

    def _is_look_due(self, lease: Lease) -> bool:
        """Before the limit's own signal, also where one tick takes both: it follows in the next."""
        if lease.looks >= len(LOOKS) or lease.ended_as is not None:
            return False
        return lease.active_s > self._limit_s * LOOKS[lease.looks]
