"""Workers under the debugger: connected once an editor attaches, replaced when they lose it."""

from __future__ import annotations

import asyncio

from . import background
from .fleet import Fleet
from .multiplexer import Multiplexer
from .processes import REPORT_S, Worker
from .reload import Reload
from .wire import say
from .workers import Workers


class Tracing:
    """Tells the workers what the multiplexer and its processes are about."""

    def __init__(self, debug: Multiplexer, fleet: Fleet, workers: Workers, reload: Reload) -> None:
        self._debug = debug
        self._fleet = fleet
        self._workers = workers
        self._reload = reload
        debug.on_wanted = self._on_wanted
        fleet.on_configured = self._on_configured
        fleet.on_lost = self._on_lost
        workers.on_standby = self._on_standby

    def _on_standby(self, worker: Worker) -> None:
        if self._debug.is_wanted:
            self._connect(worker)

    def _on_wanted(self, is_wanted: bool) -> None:
        for worker in self._workers.all:
            if not is_wanted:
                worker.channel.send({"do": "detached"})
            elif worker.pid and worker.state != "forked":
                self._connect(worker)
        self._workers.advance()

    def _on_configured(self, pid: int) -> None:
        worker = self._workers.of_pid(pid)
        if worker is not None:
            worker.channel.send({"do": "attached"})
        self._workers.advance()

    def _on_lost(self, pid: int) -> None:
        """A process connects only once: without its connection another takes its place."""
        asyncio.get_event_loop().call_later(REPORT_S, self._replace, pid)

    def _replace(self, pid: int) -> None:
        worker = self._workers.of_pid(pid)
        if worker is None or worker.is_ended_by_us:
            return
        say("process {} lost its debugger; another takes its place".format(pid))
        if worker in self._workers.active:
            background.start(self._reload.swap([]))
        else:
            worker.kill()
            self._workers.forget(worker)
            self._workers.advance()

    def _connect(self, worker: Worker) -> None:
        worker.channel.send({"do": "debug", "port": self._fleet.port, "token": self._fleet.token})
