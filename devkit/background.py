"""Step 5, sync: the process that keeps a running service in step, whoever started it and left.

One per service: `devkit debug` and `devkit sync` start it or join it. It goes on when its container
or engine is restarted, and ends when the container is gone.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from devkit.engine import Engine
from devkit.engines import connect
from devkit.errors import EngineError
from devkit.in_step import Order, connecting, opened
from devkit.own_folder import opened as opened_file
from devkit.own_folder import own_folder, stored, usable
from devkit.running import RunningService
from devkit.sync import control
from devkit.sync.ancestor import Ancestor
from devkit.sync.journal import Journal
from devkit.sync.loop import Loop
from devkit.sync.news import News
from devkit.sync.watch import watched

log = logging.getLogger(__name__)

_STARTING = "Starting."
_START_TIMEOUT_S = 30
_RETRY_S = 0.1
_LONGEST_RETRY_S = 5.0
# A container that ended may be started again for so long.
_STOPPED_FOR_S = 3600
# glibc gives back what a look at many files took for a moment; measured: 3 MB of 64.
_SMALL = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
}
_ENDED = ("exited", "dead", "created")


def running(root: Path, service: str, container_id: str) -> control.Running | None:
    """Find the sync of a service's container; one of another container is ended."""
    found = control.Running.find(root, service)
    if found is not None and found.container_id != container_id:
        with found, suppress(EngineError):
            found.ask("stop")
        return None
    return found


def started(order: Order) -> control.Running:
    """Join the sync of a service, or start one that outlives this process.

    Raises:
        OwnFolderUnusable: what it does cannot be written down.
        EngineError: it could not be started, and its last words.
    """
    found = running(order.root, order.service, order.container_id)
    if found is not None:
        return found
    refuse_unstorable(order)
    log_file = control.log_path(order.root, order.service)
    with os.fdopen(opened_file(log_file, os.O_WRONLY | os.O_APPEND), "ab", 0) as output:
        with usable(log_file):
            output.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {_STARTING}\n".encode())
        process = subprocess.Popen(
            [sys.executable, "-m", "devkit.keeper", *_arguments(order)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            start_new_session=True,
            env={**os.environ, **_SMALL},
        )
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        found = running(order.root, order.service, order.container_id)
        if found is not None:
            return found
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
            break
    words = log_file.read_text("utf-8", errors="replace").strip().rpartition("\n")[2]
    if words.endswith(_STARTING):
        ended = process.poll()
        words = "it does not answer." if ended is None else f"it ended with exit code {ended}."
    raise EngineError(f"The sync did not start: {words}", hint=f"All of it is in {log_file}.")


def refuse_unstorable(order: Order) -> None:
    """See that what a sync does can be written down, before it does anything.

    Raises:
        OwnFolderUnusable: it cannot.
    """
    with Journal(order.root) as journal, Ancestor.of(order.root, order.container_id) as ancestor:
        journal.make()
        ancestor.make()
    # A line in the log may fit into its last block where a new file does not.
    probe = own_folder(order.root, "sync") / f"{order.service}.probe"
    stored(probe, b" " * 512)
    probe.unlink(missing_ok=True)  # somebody else may be at it, too


def _arguments(order: Order) -> Iterable[str]:
    yield f"--root={order.root}"
    yield f"--source={order.source}"
    yield f"--service={order.service}"
    yield f"--container={order.container_id}"
    yield f"--mode={order.mode}"
    yield from (f"--ignore={pattern}" for pattern in order.ignore)
    yield from (f"--model={model}" for model in order.models)
    yield from (f"--{name}={value}" for name, value in order.engine.items() if value)


def _order(arguments: list[str]) -> Order:
    parser = argparse.ArgumentParser()
    for name in ("root", "source", "service", "container", "mode", "engine", "host", "context"):
        parser.add_argument(f"--{name}")
    for name in ("ignore", "model"):
        parser.add_argument(f"--{name}", action="append", default=[])
    said = parser.parse_args(arguments)
    return Order(
        root=Path(said.root),
        source=Path(said.source),
        service=said.service,
        container_id=said.container,
        mode=said.mode,
        ignore=tuple(said.ignore),
        models=tuple(map(Path, said.model)),
        engine={name: getattr(said, name) for name in ("engine", "host", "context")},
    )


def _connected(order: Order) -> Engine:
    choice = order.engine
    return connect(choice.get("engine"), host=choice.get("host"), context=choice.get("context"))


class Retry:
    """How long to wait before the next try: not at all after a stream that lasted."""

    def __init__(self) -> None:
        self._connected_at = float("inf")
        self._next_s = _RETRY_S

    def connected(self, now: float) -> None:
        """There is a stream."""
        self._connected_at = now

    def wait_s(self, now: float) -> float:
        """There is none any more, or still none."""
        lasted_s, self._connected_at = now - self._connected_at, float("inf")
        if lasted_s > _RETRY_S:
            self._next_s = _RETRY_S
            return 0.0
        wait_s, self._next_s = self._next_s, min(self._next_s * 1.5, _LONGEST_RETRY_S)
        return wait_s


class _Keeper:
    """Runs the loop again and again, as long as there is a container."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._engine = _connected(order)
        container = self._engine.container(order.container_id)
        if container is None:
            raise EngineError(f"There is no container {order.container_id[:12]}.")
        self._service = RunningService(self._engine, container)
        self._connect = connecting(self._engine, container.id)
        self._retry = Retry()

    def run(self, controls: control.Control) -> None:
        """Keep both in step until told to stop, or until the container is gone."""
        self._control = controls
        with opened(self._order, self._service, self._show) as (loop, workspace):
            self._control.answer_for(loop)
            folders = workspace.watched_folders()
            with watched(folders, loop.hint, loop.events_lost) as without_events:
                self._again_and_again(loop, without_events)

    def _show(self, news: News) -> None:
        if news.kind == "connected":
            self._retry.connected(time.monotonic())
        if news.kind != "changed":
            log.info("%s", news)
        self._control.show(news)

    def _again_and_again(self, loop: Loop, without_events: str) -> None:
        ended_at = 0.0
        while not self._control.is_stopped.is_set():
            try:
                if self._is_running():
                    ended_at = 0.0
                    loop.run(self._connect, without_events=without_events)
                    continue
                ended_at = ended_at or time.monotonic()
                if time.monotonic() - ended_at > _STOPPED_FOR_S:
                    log.info("The container has not run for an hour.")
                    return
            except _Gone:
                log.info("The container is gone.")
                return
            except EngineError as error:
                log.warning("%s", error)
            loop.rest(self._retry.wait_s(time.monotonic()))

    def _is_running(self) -> bool:
        container = self._engine.container(self._order.container_id)
        if container is None:
            raise _Gone
        return container.is_running


class _Gone(Exception):
    """The container was removed."""


def main() -> None:
    """Keep a service in step; what it says goes to standard error, the service's log."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("devkit.engines").setLevel(logging.WARNING)
    order = _order(sys.argv[1:])
    try:
        with control.only_one(order.root, order.service) as is_mine:
            if not is_mine:
                log.info("Another process does so already.")
                return
            keeper = _Keeper(order)
            with control.Control(order.root, order.service, order.container_id) as controls:
                signal.signal(signal.SIGTERM, lambda *_: controls.stop())
                keeper.run(controls)
    except (EngineError, OSError) as error:
        log.error("%s", error)
        sys.exit(1)
