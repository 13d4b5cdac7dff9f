"""The state machine: starts, swaps and watches workers, and knows in which phase the service is.

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
from typing import Any, Dict, List, Optional, Sequence, Set

from . import background, failure, front, outcome, processes, questions
from . import settings as settings_module
from .clock import Clock
from .fleet import Fleet
from .multiplexer import Multiplexer
from .pool import SETTLED, Pool
from .processes import Worker, Zygote
from .settings import BadSetting, Settings
from .watch import Change, Watch
from .wire import Message, say

# A process that init() ends this often within this time is not started again until an edit.
CRASHES = 3
CRASH_WINDOW_S = 10.0
# After the first answer of the new code: forking right away would slow it down.
STANDBY_DELAY_S = 0.15
STOP_S = 3.0
# For the zygote to report how a worker ended.
REPORT_S = 0.3


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
    """Holds the workers; every method runs on the event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pool = Pool(settings.scoring_timeout_s)
        self._watch = Watch(settings.watch_roots, self._on_change, self._on_unsure)
        self._questions = questions.Questions(settings, self)
        self._fleet = Fleet()
        self._debug = Multiplexer(settings, self._fleet, self._questions.by_name())
        self._debug.on_wanted = self._on_debugger_wanted
        self._fleet.on_configured = self._on_debugger_configured
        self._fleet.on_lost = self._on_debugger_lost
        self._zygote: Optional[Zygote] = None
        self._zygote_is_up = False
        self._preload: List[str] = []
        self._modules: List[str] = []
        self._not_preloaded: Set[str] = set()
        self._workers: Dict[int, Worker] = {}
        self._slots = 0
        self._generation = 1
        self._load_is_due = True
        self._standby_is_due = False
        self._deaths: List[float] = []
        self._zygote_deaths: List[float] = []
        self._is_unsure = False
        self._patching: Set[int] = set()
        self._changed_at = time.monotonic()
        self._reload_ms: Optional[float] = None
        self._init_ms: Optional[float] = None
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
            server = front.start(self._settings, self._pool)
            await self._fleet.start()
            await self._debug.start()
        except OSError as error:
            say("cannot listen: {}".format(error))
            return 2
        if self._settings.reload != "off":
            self._watch.start()
            self._watch.follow([self._settings.entry_path])
            self._pool.is_stale = self._watch.is_stale
        self._pool.lost = self._note_lost_exchange
        self._start_zygote()
        say(
            "scoring on {}:{}, debugger {}".format(
                *self._settings.score_address, self._debugger_text()
            )
        )
        clock = Clock(self._settings.scoring_timeout_s, self._pool, self._fleet)
        ticking = asyncio.ensure_future(clock.run())
        await self._stop.wait()
        ticking.cancel()
        await self._end(server)
        return 0

    def _debugger_text(self) -> str:
        if not self._settings.debug:
            return "off"
        text = "on {}:{}".format(*self._settings.debug_address)
        return text + (", waiting for a client" if self._settings.wait_for_client else "")

    async def _end(self, server: Any) -> None:
        """Let requests under way finish for a short time, then end every process."""
        self._enter("stopping")
        deadline = time.monotonic() + STOP_S
        while self._pool.leases() and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        for worker in list(self._workers.values()):
            worker.kill()
        if self._zygote is not None:
            self._zygote.end()
        server.server_close()

    # Phases.

    def _enter(self, phase: str, error: Optional[failure.Failure] = None) -> None:
        if phase != self._pool.phase:
            self._pool.enter(phase, error)
        if phase in SETTLED:
            background.start(self._questions.tell())

    # The zygote.

    def _start_zygote(self) -> None:
        self._zygote_is_up = False
        self._zygote = Zygote(self._on_zygote, self._on_zygote_end)

    def _on_zygote(self, message: Message) -> None:
        kind = message.get("is")
        if kind == "zygote":
            self._zygote_is_up = True
            if self._preload and self._zygote is not None:
                self._zygote.preload(self._preload)
            self._advance()
        elif kind == "forked":
            worker = self._workers.get(message["slot"])
            if worker is not None:
                self._set_pid(worker, message["pid"])
        elif kind == "exited":
            self._on_exit(*message["ended"])
        elif kind == "threads":
            say("{} starts threads when imported: not preloaded any more".format(message["module"]))
            self._not_preloaded.add(message["module"])

    def _on_zygote_end(self) -> None:
        """Its children live on without a parent; new ones need a new zygote."""
        if self._stop.is_set() or self._zygote is None:
            return
        self._zygote_is_up = False
        self._zygote.process.kill()
        status = self._zygote.process.wait()
        say("the zygote ended ({}); starting another".format(processes.exit_text(status)))
        self._note_zygote_death()
        for worker in list(self._workers.values()):
            if worker.state in ("forked", "standby") or not worker.pid:
                worker.kill()
                self._forget(worker)
        asyncio.get_event_loop().call_later(0.2, self._start_zygote)

    def _note_zygote_death(self) -> None:
        """Leave out modules that harm it; all of them when it dies again and again."""
        now = time.monotonic()
        recent = [when for when in self._zygote_deaths if now - when < CRASH_WINDOW_S]
        self._zygote_deaths = [*recent, now]
        if len(self._zygote_deaths) >= CRASHES and self._preload:
            say("nothing is preloaded any more: reloads take the time of the imports")
            self._not_preloaded.update(self._preload)
        self._preload = [name for name in self._preload if name not in self._not_preloaded]

    # Workers.

    @property
    def _standby(self) -> Optional[Worker]:
        return next(
            (item for item in self._workers.values() if item.state in ("forked", "standby")), None
        )

    @property
    def _active(self) -> List[Worker]:
        return [item for item in self._workers.values() if item.state in ("loading", "ready")]

    def _advance(self) -> None:
        """Do what is due now: load on the standby, or fork the next one."""
        if not self._zygote_is_up or self._stop.is_set() or self._zygote is None:
            return
        standby = self._standby
        if standby is None:
            if self._load_is_due or self._is_time_for_standby():
                self._fork()
            return
        is_usable = standby.state == "standby" and self._fleet.is_ready(standby.pid)
        if is_usable and self._may_load():
            self._promote(standby)

    def _is_time_for_standby(self) -> bool:
        """Not while a worker loads: the next one is to be forked with what this one imports."""
        return self._standby_is_due if self._pool.phase == "ready" else self._pool.phase in SETTLED

    def _may_load(self) -> bool:
        if self._load_is_due:
            is_first = self._init_ms is None and self._pool.failure is None
            return not (is_first and self._settings.wait_for_client) or self._debug.is_configured
        return self._pool.phase == "ready" and len(self._active) < self._settings.workers

    def _fork(self) -> None:
        self._slots += 1
        worker = Worker(self._slots, self._on_worker, self._on_worker_silent)
        self._workers[worker.slot] = worker
        if self._zygote is not None:
            self._zygote.fork(worker)

    def _set_pid(self, worker: Worker, pid: int) -> None:
        if not worker.pid:
            worker.pid = pid
            self._fleet.expect(pid)

    def _promote(self, worker: Worker) -> None:
        self._load_is_due = False
        worker.state, worker.generation = "loading", self._generation
        self._fleet.promote(worker.pid)
        worker.channel.send({"do": "load"})
        if self._pool.phase == "starting":
            self._enter("init")

    def _on_worker(self, worker: Worker, message: Message) -> None:
        if worker.slot in self._workers and not worker.is_ended_by_us:
            handlers = {
                "standby": self._on_standby,
                "ready": self._on_ready,
                "failed": self._on_failed,
                "watch": lambda _, message: self._watch.follow(message["files"]),
                "traced": lambda worker, _: self._fleet.traced(worker.pid),
                "undebuggable": lambda _, message: self._fleet.cannot_debug(str(message["error"])),
                "waiting": lambda *_: say("the entry script waits for a debugger to attach"),
                "hot": self._on_patched,
            }
            handlers.get(message["is"], lambda *_: None)(worker, message)
            self._advance()

    def _on_standby(self, worker: Worker, message: Message) -> None:
        self._set_pid(worker, message["pid"])
        worker.state = "standby"
        if self._debug.is_wanted:
            self._connect_debugger(worker)

    def _on_patched(self, worker: Worker, message: Message) -> None:
        say("patched in place" if message["done"] else "not patched; the old code serves on")
        self._patching.discard(worker.slot)
        self._on_unsure(self._is_unsure)

    def _on_ready(self, worker: Worker, message: Message) -> None:
        worker.state, worker.port = "ready", message["port"]
        self._watch.follow(message["files"])
        self._watch.any_file = False
        self._init_ms = message["init_ms"]
        is_first_of_generation = self._pool.phase != "ready"
        self._pool.add(worker.pid, worker.port)
        self._enter("ready")
        if is_first_of_generation:
            self._deaths.clear()
            self._reload_ms = (time.monotonic() - self._changed_at) * 1000
            say(
                "ready in {:.0f} ms (init() and imports {:.0f} ms)".format(
                    self._reload_ms, self._init_ms
                )
            )
        self._modules = list(message["modules"])
        self._standby_is_due = False
        asyncio.get_event_loop().call_later(STANDBY_DELAY_S, self._on_standby_due)

    def _on_standby_due(self) -> None:
        """Get the next worker ready, but not under a check that an editor could attach."""
        if self._debug.is_checked:
            asyncio.get_event_loop().call_later(STANDBY_DELAY_S, self._on_standby_due)
            return
        self._remember_modules(self._modules)
        self._standby_is_due = True
        self._advance()

    def _remember_modules(self, modules: Sequence[str]) -> None:
        known = set(self._preload) | self._not_preloaded
        new = [name for name in modules if name not in known]
        if new and self._zygote is not None:
            self._preload += new
            self._zygote.preload(new)

    def _on_failed(self, worker: Worker, message: Message) -> None:
        worker.state = "failed"
        error = message["error"]
        self._watch.follow(message["files"])
        self._watch.any_file = True
        where = " at {}:{}".format(error["file"], error["line"]) if error["file"] else ""
        say("the service did not start{}: {}: {}".format(where, error["type"], error["message"]))
        os.write(2, error["traceback"].encode("utf-8", "replace"))
        self._enter("failed", error)

    def _on_exit(self, pid: int, status: int) -> None:
        worker = next((item for item in self._workers.values() if item.pid == pid), None)
        if worker is not None:
            self._on_ended(worker, status)

    def _on_ended(self, worker: Worker, status: int) -> None:
        if worker.slot not in self._workers:
            return
        pid = worker.pid
        worker.has_ended = True
        worker.end_children()
        self._forget(worker)
        if worker.is_ended_by_us:
            self._pool.remove(pid, outcome.REPLACED)
        elif worker.state == "ready":
            say("worker {} ended by itself: {}".format(pid, processes.exit_text(status)))
            self._pool.remove(pid, outcome.DIED)
            self._replace_dead(worker)
        elif worker.state in ("loading", "standby", "forked"):
            self._on_early_death(worker, status)
        self._advance()

    def _on_worker_silent(self, worker: Worker) -> None:
        """Its channel is closed: the zygote tells how it ended, unless that is gone too."""
        loop = asyncio.get_event_loop()
        loop.call_later(REPORT_S, self._on_ended, worker, -signal.SIGKILL)

    def _note_lost_exchange(self, pid: int) -> None:
        self._loop.call_soon_threadsafe(self._on_exchange_lost, pid)

    def _on_exchange_lost(self, pid: int) -> None:
        """A request got no answer: if the worker did not end, it is of no use any more."""
        loop = asyncio.get_event_loop()
        loop.call_later(REPORT_S, self._end_useless, pid)

    def _end_useless(self, pid: int) -> None:
        for worker in self._workers.values():
            if worker.pid == pid and worker.state == "ready":
                say("worker {} broke off an answer: replaced".format(pid))
                processes.send_signal(pid, signal.SIGKILL)

    def _replace_dead(self, worker: Worker) -> None:
        if worker.generation == self._generation and not self._active:
            self._changed_at = time.monotonic()
            self._load_is_due = True
            self._enter("reloading")

    def _on_early_death(self, worker: Worker, status: int) -> None:
        if worker.state != "loading" and self._active:
            say("a standby ended: {}".format(processes.exit_text(status)))
            self._standby_is_due = False
            asyncio.get_event_loop().call_later(1.0, self._on_standby_due)
            return
        now = time.monotonic()
        self._deaths = [when for when in self._deaths if now - when < CRASH_WINDOW_S] + [now]
        text = (
            "init() ended the process: "
            if worker.state == "loading"
            else "a new process ended at once: "
        )
        text += processes.exit_text(status)
        say(text)
        if len(self._deaths) >= CRASHES:
            self._watch.any_file = True
            self._load_is_due = False
            self._enter("crash_loop", failure.plain("ProcessEnded", text))
        elif worker.state == "loading":
            self._load_is_due = True

    def _forget(self, worker: Worker) -> None:
        self._workers.pop(worker.slot, None)
        if worker.slot in self._patching:
            self._patching.discard(worker.slot)
            self._on_unsure(self._is_unsure)
        self._fleet.forget(worker.pid)
        worker.channel.close()

    # Reload.

    def _on_change(self, changes: List[Change]) -> None:
        names = ", ".join(sorted(os.path.basename(change.path) for change in changes)[:3])
        more = " and {} more".format(len(changes) - 3) if len(changes) > 3 else ""
        say("changed: {}{}".format(names, more))
        self._changed_at = time.monotonic()
        is_code = all(change.path.endswith(".py") for change in changes)
        if self._settings.reload == "hot" and is_code and self._pool.phase == "ready":
            background.start(self._patch(changes))
        else:
            self._retire_active()
            background.start(self._reload(changes))

    def _on_unsure(self, is_unsure: bool) -> None:
        """Requests wait while it is open whether the running code is the saved one."""
        self._is_unsure = is_unsure
        self._pool.hold(self._is_unsure or bool(self._patching))

    async def _patch(self, changes: List[Change]) -> None:
        """Put new function bodies into the running workers: what init() loaded stays."""
        self._patching = {worker.slot for worker in self._active}
        self._on_unsure(self._is_unsure)
        await self._fleet.follow(changes)
        for worker in self._active:
            worker.channel.send({"do": "hot", "files": [change.path for change in changes]})

    async def _reload(self, changes: Sequence[Change]) -> None:
        """Swap: end the workers, wake the standby with the new code."""
        self._generation += 1
        generation = self._generation
        self._retire_active()
        try:
            await self._fleet.follow(changes)
        except Exception as error:  # noqa: BLE001 - the new code has to be loaded all the same
            say("breakpoints could not be moved: {}: {}".format(type(error).__name__, error))
        if generation == self._generation:
            self._load_is_due = True
            self._advance()

    def _retire_active(self) -> None:
        """End the workers of the old code; from here on requests wait for the new one."""
        for worker in self._active:
            worker.kill()
            self._pool.remove(worker.pid, outcome.REPLACED)
            self._fleet.forget(worker.pid)
        for worker in self._workers.values():
            if worker.state == "failed":  # threads of the user's may keep it
                worker.kill()
        self._deaths.clear()
        self._enter("reloading")

    # The debugger.

    def _on_debugger_wanted(self, is_wanted: bool) -> None:
        for worker in self._workers.values():
            if not is_wanted:
                worker.channel.send({"do": "detached"})
            elif worker.pid and worker.state != "forked":
                self._connect_debugger(worker)
        self._advance()

    def _on_debugger_configured(self, pid: int) -> None:
        for worker in self._workers.values():
            if worker.pid == pid:
                worker.channel.send({"do": "attached"})
        self._advance()

    def _on_debugger_lost(self, pid: int) -> None:
        """A process connects only once: without its connection another takes its place."""
        asyncio.get_event_loop().call_later(REPORT_S, self._replace_undebuggable, pid)

    def _replace_undebuggable(self, pid: int) -> None:
        worker = next((item for item in self._workers.values() if item.pid == pid), None)
        if worker is None or worker.is_ended_by_us:
            return
        say("process {} lost its debugger; another takes its place".format(pid))
        if worker in self._active:
            background.start(self._reload([]))
        else:
            worker.kill()
            self._forget(worker)
            self._advance()

    def _connect_debugger(self, worker: Worker) -> None:
        worker.channel.send({"do": "debug", "port": self._fleet.port, "token": self._fleet.token})

    # What questions.py asks.

    @property
    def generation(self) -> int:
        """Counts the reloads, from 1."""
        return self._generation

    @property
    def is_settled(self) -> bool:
        """Whether the newest code is loaded, or failed to."""
        return self._pool.phase in SETTLED and not self._load_is_due

    async def reload(self) -> None:
        """Load the code again, changed or not."""
        self._changed_at = time.monotonic()
        await self._reload([])

    def status(self) -> Message:
        """How the service is; the body of devkit/status."""
        self._pool.set_paused(self._fleet.is_paused)
        active = self._active
        return {
            "state": self._pool.state,
            "generation": self._generation,
            "pid": active[0].pid if active else None,
            "debug": self._settings.debug,
            "attached": self._debug.attached,
            "error": self._pool.failure,
            "python": platform.python_version(),
            "reload_ms": self._reload_ms,
            "init_ms": self._init_ms,
            "watched": self._watch.followed,
        }
