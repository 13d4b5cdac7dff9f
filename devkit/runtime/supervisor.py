"""The service as a whole: puts its parts together, and knows in which phase it is.

    starting -> init -> ready <-> reloading        failed, crash_loop: until the next edit
    stopping

One event loop runs it together with the multiplexer and the file watch; HTTP threads meet it in the
pool.
"""

from __future__ import annotations

import asyncio
import os
import platform
import signal
import time
from typing import Any, Callable, List, Optional

from . import background, failure, front
from . import settings as settings_module
from .clock import Clock
from .dumps import Dumps
from .fleet import Fleet
from .lost_answers import LostAnswers
from .multiplexer import Multiplexer
from .pool import SETTLED, Pool
from .questions import Questions
from .record import Record
from .reload import Reload
from .settings import BadSetting, Settings
from .tracing import Tracing
from .watch import Change, Watch
from .wire import Message, say
from .workers import Workers

STOP_S = 3.0


def main(_arguments: List[str]) -> int:
    """Run the service until SIGTERM."""
    try:
        settings = settings_module.from_environment(os.environ)
    except BadSetting as error:
        say(str(error))
        return 2
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop.run_until_complete(Supervisor(settings).run())


class Supervisor:
    """Holds the parts; every method runs on the event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # The server alone ("raw") has no front that would turn requests away.
        queue_wait_s = None if settings.profile == "raw" else settings.max_queue_wait_s
        seats = settings.max_concurrent_requests
        self._pool = Pool(settings.scoring_timeout_s, queue_wait_s, seats_per_worker=seats)
        self._fleet = Fleet()
        self.record = Record(settings.records)
        self._watch = Watch(settings.watch_roots, self._on_change, self._on_unsure)
        self._questions = Questions(settings, self)
        self._debug = Multiplexer(settings, self._fleet, self._questions.by_name())
        self._workers = Workers(
            settings, self._pool, self._fleet, self._debug, self._watch, self._enter
        )
        self._dumps = Dumps(self._workers, settings.watch_roots)
        self._reload = Reload(settings, self._pool, self._fleet, self._workers)
        Tracing(self._debug, self._fleet, self._workers, self._reload)
        lost = LostAnswers(self._pool, self._workers)
        self._pool.lost = lambda pid: self._call_soon(lost.on_lost, pid)
        self._stop = asyncio.Event()

    async def run(self) -> int:
        """Serve until told to stop; return the exit code."""
        loop = self._loop = asyncio.get_event_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        if not os.path.isdir(self._settings.root):
            say("the application root {} is not there".format(self._settings.root))
            return 2
        try:
            server = front.start(self._settings, self._pool, self.record)
            await self._fleet.start()
            await self._debug.start()
        except OSError as error:
            say("cannot listen: {}".format(error))
            return 2
        self._start_watch()
        self._workers.start()
        address = "{}:{}".format(*self._settings.score_address)
        say("scoring on {}, debugger {}".format(address, self._debugger_text()))
        clock = Clock(self._settings.scoring_timeout_s, self._pool, self._fleet, self._dumps)
        ticking = asyncio.ensure_future(clock.run())
        await self._stop.wait()
        ticking.cancel()
        await self._end(server)
        return 0

    def _start_watch(self) -> None:
        if self._settings.reload != "off":
            self._watch.start()
            self._watch.follow([self._settings.entry_path])
            self._pool.is_stale = self._watch.is_stale

    def _debugger_text(self) -> str:
        if not self._settings.debug:
            return "off"
        text = "on {}:{}".format(*self._settings.debug_address)
        return text + (", waiting for a client" if self._settings.wait_for_client else "")

    async def _end(self, server: Any) -> None:
        """Let requests under way finish for a short time, then end every process."""
        self._enter("stopping", None)
        self._workers.stop()
        deadline = time.monotonic() + STOP_S
        while self._pool.leases() and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        self._workers.end()
        server.server_close()

    def _call_soon(self, function: Callable[[int], None], pid: int) -> None:
        """Call it on the event loop; for HTTP threads."""
        self._loop.call_soon_threadsafe(function, pid)

    def _enter(self, phase: str, error: Optional[failure.Failure]) -> None:
        if phase != self._pool.phase:
            self._pool.enter(phase, error)
        if phase in SETTLED:
            background.start(self._questions.tell())

    def _on_change(self, changes: List[Change]) -> None:
        self._reload.on_change(changes)

    def _on_unsure(self, is_unsure: bool) -> None:
        self._reload.on_unsure(is_unsure)

    # What questions.py asks.

    @property
    def generation(self) -> int:
        """Counts the reloads, from 1."""
        return self._workers.generation

    @property
    def is_settled(self) -> bool:
        """Whether the newest code is loaded, or failed to."""
        return self._pool.phase in SETTLED and not self._workers.load_is_due

    async def reload(self) -> None:
        """Load the code again, changed or not."""
        await self._reload.again()

    async def stacks(self) -> List[Message]:
        """What the threads of each serving worker do, and for how long its request has run."""
        running = {lease.pid: lease.active_s for lease in self._pool.leases()}
        workers = self._workers.active
        found = await asyncio.gather(*(self._dumps.threads(worker) for worker in workers))
        return [
            {
                "pid": worker.pid,
                "state": worker.state,
                "running_s": running.get(worker.pid),
                # None: it does not say.
                "threads": threads,
            }
            for worker, threads in zip(workers, found)
        ]

    def status(self) -> Message:
        """How the service is; the body of devkit/status."""
        self._pool.set_paused(self._fleet.is_paused)
        active = self._workers.active
        return {
            "state": self._pool.state,
            "generation": self._workers.generation,
            "pid": active[0].pid if active else None,
            "debug": self._settings.debug,
            "attached": self._debug.attached,
            "error": self._pool.failure,
            "python": platform.python_version(),
            "reload_ms": self._workers.reload_ms,
            "init_ms": self._workers.init_ms,
            "watched": self._watch.followed,
            "waiting": self._pool.waiting,
        }
