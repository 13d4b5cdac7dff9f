"""The workers: forked ahead, woken with the code, watched, and replaced when they end.

    forked -> standby -> loading -> ready          failed, retired

One or more serve, and one is ahead of them.
"""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Any, Callable, Dict, List, Optional

from . import failure, outcome, processes
from .fleet import Fleet
from .forks import Forks
from .multiplexer import Multiplexer
from .pool import SETTLED, Pool
from .processes import REPORT_S, Deaths, Worker
from .settings import Settings
from .watch import Watch
from .wire import Message, say

# After the first answer of the new code: forking right away would slow it down.
STANDBY_DELAY_S = 0.15

Enter = Callable[[str, Optional[failure.Failure]], None]


class Workers:
    """Every method runs on the event loop."""

    def __init__(
        self,
        settings: Settings,
        pool: Pool,
        fleet: Fleet,
        debug: Multiplexer,
        watch: Watch,
        enter: Enter,
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._fleet = fleet
        self._debug = debug
        self._watch = watch
        self._enter = enter
        self._forks = Forks(self.advance, self._on_forked, self._on_exit, self._on_zygote_lost)
        self._workers: Dict[int, Worker] = {}
        self._slots = 0
        self._modules: List[str] = []
        self._standby_is_due = False
        self._deaths = Deaths()
        self._has_ended = False
        self.load_is_due = True
        self.generation = 1
        self.changed_at = time.monotonic()
        self.reload_ms: Optional[float] = None
        self.init_ms: Optional[float] = None
        self.on_standby: Callable[[Worker], None] = lambda _: None
        self.on_broken_off: Callable[[Worker], None] = lambda _: None
        self.on_patched: Callable[[Worker, bool], None] = lambda *_: None
        self.on_forgotten: Callable[[Worker], None] = lambda _: None

    def start(self) -> None:
        """Start the zygote; the first worker follows."""
        self._forks.start()

    def stop(self) -> None:
        """Start nothing any more."""
        self._has_ended = True
        self._forks.stop()

    def end(self) -> None:
        """End every process."""
        for worker in self.all:
            worker.kill()
        self._forks.end()

    @property
    def all(self) -> List[Worker]:
        """Every worker, the one ahead too."""
        return list(self._workers.values())

    @property
    def active(self) -> List[Worker]:
        """The workers with the newest code."""
        return [item for item in self.all if item.state in ("loading", "ready")]

    @property
    def _standby(self) -> Optional[Worker]:
        return next((item for item in self.all if item.state in ("forked", "standby")), None)

    def of_pid(self, pid: int) -> Optional[Worker]:
        """The worker whose process that is."""
        return next((item for item in self.all if item.pid == pid), None)

    # Forking and loading.

    def advance(self) -> None:
        """Do what is due now: load on the standby, or fork the next one."""
        if not self._forks.is_up or self._has_ended:
            return
        standby = self._standby
        if standby is None:
            if self.load_is_due or self._is_time_for_standby():
                self._fork()
            return
        is_usable = standby.state == "standby" and self._fleet.is_ready(standby.pid)
        if is_usable and self._may_load():
            self._promote(standby)

    def load(self) -> None:
        """Have the code on disk loaded by the standby."""
        self.load_is_due = True
        self.advance()

    def retire(self) -> None:
        """End the workers of the old code; from here on requests wait for the new one."""
        for worker in self.active:
            worker.kill()
            self._pool.remove(worker.pid, outcome.REPLACED)
            self._fleet.forget(worker.pid)
        for worker in self.all:
            if worker.state == "failed":  # threads of the user's may keep it
                worker.kill()
        self._deaths.clear()
        self._enter("reloading", None)

    def _is_time_for_standby(self) -> bool:
        """Not while a worker loads: the next one is to be forked with what this one imports."""
        return self._standby_is_due if self._pool.phase == "ready" else self._pool.phase in SETTLED

    def _may_load(self) -> bool:
        if self.load_is_due:
            is_first = self.init_ms is None and self._pool.failure is None
            return not (is_first and self._settings.wait_for_client) or self._debug.is_configured
        return self._pool.phase == "ready" and len(self.active) < self._settings.workers

    def _fork(self) -> None:
        self._slots += 1
        worker = Worker(self._slots, self._on_message, self._on_silent)
        self._workers[worker.slot] = worker
        self._forks.fork(worker)
        worker.hand_over()

    def _on_forked(self, slot: int, pid: int) -> None:
        worker = self._workers.get(slot)
        if worker is not None and not worker.pid:
            worker.pid = pid
            self._fleet.expect(pid)

    def _promote(self, worker: Worker) -> None:
        self.load_is_due = False
        worker.state, worker.generation = "loading", self.generation
        self._fleet.promote(worker.pid)
        worker.channel.send({"do": "load"})
        if self._pool.phase == "starting":
            self._enter("init", None)

    # What workers say.

    def _on_message(self, worker: Worker, message: Message) -> None:
        if worker.slot in self._workers and not worker.is_ended_by_us:
            handlers: Dict[str, Callable[[Worker, Message], Any]] = {
                "standby": self._on_standby,
                "ready": self._on_ready,
                "failed": self._on_failed,
                "watch": lambda _, message: self._watch.follow(message["files"]),
                "traced": lambda worker, _: self._fleet.traced(worker.pid),
                "undebuggable": lambda _, message: self._fleet.cannot_debug(str(message["error"])),
                "waiting": lambda *_: say("the entry script waits for a debugger to attach"),
                "hot": lambda worker, message: self.on_patched(worker, message["done"]),
                "threads": lambda worker, message: worker.dump.told_by_itself(message),
                "broke off": lambda worker, _: self.on_broken_off(worker),
            }
            try:
                handler = handlers.get(message["is"])
                if handler is not None:
                    handler(worker, message)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                # The user's code has the channel, too.
                say("worker {} says what makes no sense: {!r}".format(worker.pid, error))
            self.advance()

    def _on_standby(self, worker: Worker, message: Message) -> None:
        self._on_forked(worker.slot, message["pid"])
        worker.state = "standby"
        self.on_standby(worker)

    def _on_ready(self, worker: Worker, message: Message) -> None:
        worker.state, worker.port = "ready", message["port"]
        self._watch.follow(message["files"])
        self._watch.any_file = False
        self.init_ms = message["init_ms"]
        is_first_of_generation = self._pool.phase != "ready"
        self._pool.add(worker.pid, worker.port)
        self._enter("ready", None)
        if is_first_of_generation:
            self._deaths.clear()
            self.reload_ms = (time.monotonic() - self.changed_at) * 1000
            text = "ready in {:.0f} ms (init() and imports {:.0f} ms)"
            say(text.format(self.reload_ms, self.init_ms))
        self._modules = list(message["modules"])
        self._standby_is_due = False
        asyncio.get_event_loop().call_later(STANDBY_DELAY_S, self._on_standby_due)

    def _on_standby_due(self) -> None:
        """Get the next worker ready, but not under a check that an editor could attach."""
        if self._debug.is_checked:
            asyncio.get_event_loop().call_later(STANDBY_DELAY_S, self._on_standby_due)
            return
        self._forks.remember(self._modules)
        self._standby_is_due = True
        self.advance()

    def _on_failed(self, worker: Worker, message: Message) -> None:
        worker.state = "failed"
        error = message["error"]
        self._watch.follow(message["files"])
        self._watch.any_file = True
        where = " at {}:{}".format(error["file"], error["line"]) if error["file"] else ""
        failure.log("the service did not start" + where, error)
        self._enter("failed", error)

    # Ends.

    def forget(self, worker: Worker) -> None:
        """Take it off the list."""
        self._workers.pop(worker.slot, None)
        self.on_forgotten(worker)
        self._fleet.forget(worker.pid)
        worker.close()

    def _on_zygote_lost(self) -> None:
        for worker in self.all:
            if worker.state in ("forked", "standby") or not worker.pid:
                worker.kill()
                self.forget(worker)

    def _on_exit(self, pid: int, status: int) -> None:
        worker = self.of_pid(pid)
        if worker is not None:
            self._on_ended(worker, status)

    def _on_silent(self, worker: Worker) -> None:
        """Its channel is closed: the zygote tells how it ended, unless that is gone too."""
        loop = asyncio.get_event_loop()
        loop.call_later(REPORT_S, self._on_ended, worker, -signal.SIGKILL)

    def _on_ended(self, worker: Worker, status: int) -> None:
        if worker.slot not in self._workers:
            return
        pid = worker.pid
        worker.has_ended = True
        worker.end_children()
        self.forget(worker)
        if worker.is_ended_by_us:
            self._pool.remove(pid, outcome.REPLACED)
        elif worker.state == "ready":
            say("worker {} ended by itself: {}".format(pid, processes.exit_text(status)))
            self._pool.remove(pid, outcome.DIED)
            self._replace_dead(worker)
        elif worker.state in ("loading", "standby", "forked"):
            self._on_early_death(worker, status)
        self.advance()

    def _replace_dead(self, worker: Worker) -> None:
        if worker.generation == self.generation and not self.active:
            self.changed_at = time.monotonic()
            self.load_is_due = True
            self._enter("reloading", None)

    def _on_early_death(self, worker: Worker, status: int) -> None:
        """It ended before it served: again and again, that is a crash loop."""
        if worker.state != "loading" and self.active:
            say("a standby ended: {}".format(processes.exit_text(status)))
            self._standby_is_due = False
            asyncio.get_event_loop().call_later(1.0, self._on_standby_due)
            return
        is_by_init = worker.state == "loading"
        text = "init() ended the process: " if is_by_init else "a new process ended at once: "
        text += processes.exit_text(status)
        say(text)
        if self._deaths.note():
            self._watch.any_file = True
            self.load_is_due = False
            self._enter("crash_loop", failure.plain("ProcessEnded", text))
        elif is_by_init:
            self.load_is_due = True
