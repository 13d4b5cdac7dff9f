"""A request that got no whole answer: is its worker well, has it ended, or is it of no use?"""

from __future__ import annotations

import asyncio
import signal
from typing import Set

from .pool import Pool
from .processes import REPORT_S, Worker, send_signal
from .wire import say
from .workers import Workers


class LostAnswers:
    """Puts a worker back to the free ones when it says that the user's code raised half way."""

    def __init__(self, pool: Pool, workers: Workers) -> None:
        self._pool = pool
        self._workers = workers
        # The workers that said so, by slot.
        self._well: Set[int] = set()
        workers.on_broken_off = lambda worker: self._well.add(worker.slot)

    def on_lost(self, pid: int) -> None:
        """The front lost the answer of that process and does not use it any more."""
        worker = self._workers.of_pid(pid)
        if worker is not None and worker.slot in self._well:
            self._decide(worker)
        elif worker is not None:
            asyncio.get_event_loop().call_later(REPORT_S, self._decide, worker)

    def _decide(self, worker: Worker) -> None:
        is_well = worker.slot in self._well
        self._well.discard(worker.slot)
        if worker not in self._workers.all or worker.state != "ready":
            return
        if is_well:
            self._pool.add(worker.pid, worker.port)
        else:
            say("worker {} broke off an answer: replaced".format(worker.pid))
            send_signal(worker.pid, signal.SIGKILL)
