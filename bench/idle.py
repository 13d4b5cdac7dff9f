"""What the runtime costs while nothing is asked of it, over the plain server's process."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench import by_hand, processes
from bench.place import SCORE, Place
from bench.requests import answer
from bench.row import Row, one
from devkit.engine import Engine
from tests.contained import in_container
from tests.running import Service

IDLE_S = 4
# The zygote imports what the first worker had imported, and forks the standby.
SETTLE_S = 3
# DESIGN.md 11.
OVER_PLAIN_MB = 120
AGENT_MB = 20
CPU_PERCENT = 1


def rows(place: Place) -> Iterator[Row]:
    engine, image = place.engine, place.image
    name = f"{place.service}-plain"
    with by_hand.in_container(engine, image, name) as server:
        answer(server.score_port)
        plain = processes.cost(engine, name)
        plain_cpu = processes.cpu_percent(engine, name, IDLE_S)
    with in_container(engine, image, place.folder(), files={"score.py": SCORE}) as service:
        container = _container(engine, service)
        answer(service.score_port)
        time.sleep(SETTLE_S)
        cpu = processes.cpu_percent(engine, container, IDLE_S)
        idle = processes.cost(engine, container)
        service.attach({"score.py": [service.line("return np.negative")]})
        answer(service.score_port)
        time.sleep(SETTLE_S)
        attached_cpu = processes.cpu_percent(engine, container, IDLE_S)
        attached = processes.cost(engine, container)
    hand = "azmlinfsrv, same image"
    yield Row(
        "memory, debugging on, nobody attached",
        "MB",
        one(idle.memory_mb),
        one(plain.memory_mb),
        hand=hand,
        limit=plain.memory_mb + OVER_PLAIN_MB,
        note=_shares(idle),
    )
    yield Row(
        "... an editor attached",
        "MB",
        one(attached.memory_mb),
        one(plain.memory_mb),
        hand=hand,
        limit=plain.memory_mb + OVER_PLAIN_MB,
        note=_shares(attached),
    )
    yield Row("... the sync agent beside it", "MB", one(idle.beside_mb), limit=AGENT_MB)
    yield Row(
        "processor, nobody attached", "%", one(cpu), one(plain_cpu), hand=hand, limit=CPU_PERCENT
    )
    yield Row(
        "... an editor attached",
        "%",
        one(attached_cpu),
        one(plain_cpu),
        hand=hand,
        limit=CPU_PERCENT,
    )


def _container(engine: Engine, service: Service) -> str:
    """The container that publishes the service's port."""
    return next(
        item.id
        for item in engine.containers({"devkit.service": ""})
        if item.is_running and service.score_port in {port for _, port in item.ports.values()}
    )


def _shares(cost: processes.Cost) -> str:
    """Each process's part, front first, then zygote, worker and standby as they were forked."""
    own = sorted(cost.by_process, key=lambda process: process.pid)
    return "PSS: " + " + ".join(f"{process.pss_mb:.0f}" for process in own)
