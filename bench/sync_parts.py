"""Where the time goes: the parts of a sync's figures, each measured alone in the same run."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from bench import processes
from bench.observed import PAUSE_S, SIZE, TIMEOUT_S, marked, new_mark, saved
from bench.row import Sample, milliseconds
from devkit import background
from devkit.engine import Engine
from devkit.in_step import Order, connecting
from tests.syncing import Synced

_TIMES = 5
_EDITS = 50


@dataclass(frozen=True)
class Began:
    """How long a sync took from its process's start until both sides had the same."""

    process_s: float
    looked_s: float
    copied_s: float
    host_cpu_s: float
    agent_cpu_s: float

    @property
    def whole_s(self) -> float:
        return self.process_s + self.looked_s + self.copied_s

    def __str__(self) -> str:
        return (
            f"its process {self.process_s:.2f} s, looking at both {self.looked_s:.2f} s, "
            f"the rest {self.copied_s:.2f} s; processor: here {self.host_cpu_s:.2f} s, "
            f"agent {self.agent_cpu_s:.2f} s"
        )


def began(engine: Engine, service: Synced) -> Began:
    """Start the background process, and wait until both sides are the same."""
    order = Order(service.folder, service.folder, service.name, service.container)
    at = [time.monotonic()]
    with background.started(order) as sync, service.news() as news:
        at.append(time.monotonic())
        # Whoever ends it waits until it is gone, and this process is its parent.
        threading.Thread(target=os.waitpid, args=(sync.pid, 0), daemon=True).start()
        connected = queue.SimpleQueue[float]()
        threading.Thread(target=_watch, args=(news, connected), daemon=True).start()
        sync.ask("flush", timeout_s=120)
        done = time.monotonic()
        at += [connected.get(timeout=TIMEOUT_S), done]
        host = processes.host_cpu_s(sync.pid)
    agent = processes.cost(engine, service.container).beside_cpu_s
    process, looked, copied = (after - before for before, after in pairwise(at))
    return Began(process, looked, copied, host, agent)


def _watch(news: Iterator[dict[str, Any]], connected: queue.SimpleQueue[float]) -> None:
    """Note when both sides have been looked at."""
    next(item for item in news if item["event"] == "connected")
    connected.put(time.monotonic())


def of_reconnecting(engine: Engine, container: str) -> str:
    """What it takes before anything is looked at."""
    nothing = milliseconds(_TIMES, lambda: _ended(engine, container))
    agent = _agent(engine, container)
    return (
        f"exec of `true` {nothing.median:.0f} ms, an agent until it answers "
        f"{agent.median:.0f} ms; the rest looks at both"
    )


def of_an_edit(engine: Engine, service: Synced) -> str:
    """What of an edit is the stream's, and what devkit says that it took itself."""
    there_and_back = _round_trip(engine, service.container).median
    return (
        f"4 KB through exec and back {there_and_back:.1f} ms; "
        f"from the event until it is acknowledged {_told(service).median:.1f} ms"
    )


def _ended(engine: Engine, container: str) -> None:
    stream = engine.exec(container, ["true"])
    try:
        stream.wait()
    finally:
        stream.close()


def _agent(engine: Engine, container: str) -> Sample:
    """A second one, that nobody asks anything (ms)."""
    connect = connecting(engine, container)
    values = []
    for _ in range(_TIMES):
        began = time.monotonic()
        agent = connect(lambda _: None, lambda _: None)
        values.append((time.monotonic() - began) * 1000)
        agent.close()
    return Sample(tuple(values))


def _round_trip(engine: Engine, container: str) -> Sample:
    values = []
    stream = engine.exec(container, ["cat"])
    try:
        for _ in range(_EDITS):
            time.sleep(PAUSE_S)  # as idle as before an edit
            began = time.monotonic()
            stream.write(marked(new_mark()))
            left = SIZE
            while left and (data := stream.read()):
                left -= len(data)
            values.append((time.monotonic() - began) * 1000)
    finally:
        stream.close()
    return Sample(tuple(values))


def _told(service: Synced) -> Sample:
    """What `devkit sync` prints beside each change (ms)."""
    values = []
    with service.news() as news:
        for _ in range(_EDITS):
            time.sleep(PAUSE_S)
            saved(service.folder / "edit.txt", new_mark())
            values.append(next(item["ms"] for item in news if item["event"] == "changed"))
    return Sample(tuple(values))
