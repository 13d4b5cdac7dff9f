"""Many files: the first sync, a new connection, what it costs to wait, and a branch switch."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from bench import processes, sync_parts, sync_switch
from bench.observed import inside, latencies, marked, observed, saved
from bench.place import BASE, Place
from bench.row import Row, Sample, milliseconds, one, seconds
from bench.sync_by_hand import COPIED, Plain
from devkit.engine import Engine
from tests.syncing import Synced, synced

FILES = 10_000
IDLE_S = 4
_RECONNECTIONS = 5
# DESIGN.md 11; the first sync as a multiple of `cp -r`.
FIRST, RECONNECT_MS, OUT_MS, HOST_MB, AGENT_MB, CPU_PERCENT = 3, 200, 2, 60, 20, 1


def rows(place: Place) -> Iterator[Row]:
    engine, folder = place.engine, place.folder()
    # Its image has rsync where this machine has: both copy to the same container.
    settings = json.dumps({"image": {"apt": ["rsync"] if shutil.which("rsync") else []}})
    with synced("bench-many", BASE, files={"devkit.yaml": settings}) as service:
        by_hand = Plain(engine, service.container, service.folder)
        yield from _first(engine, service, by_hand)
        yield from _reconnect(engine, service, by_hand)
        yield from _cost(engine, service)
        yield from _many(engine, service, by_hand)
        yield from sync_switch.rows(
            service, Plain(engine, service.container, folder, "/tmp/switched")
        )
        # `devkit delete` would compare all files first, to keep what was edited in it.
        engine.remove(service.container)


def _stopped(service: Synced) -> float:
    """End the process, and wait for its end; how long that took (s)."""
    with service.sync() as sync:
        end = os.pidfd_open(sync.pid)
    began = time.monotonic()
    service.devkit("sync", "stop")
    select.select([end], [], [], 60)
    os.close(end)
    return time.monotonic() - began


def _tree(top: Path) -> None:
    """A tree of files of 4 KB, twenty in a folder."""
    for number in range(FILES):
        below = top / f"d{number // 20}"
        if number % 20 == 0:
            below.mkdir(parents=True)
        (below / f"f{number}.txt").write_bytes(marked(f"{number:016x}"))


# Ten thousand files.


def _first(engine: Engine, service: Synced, by_hand: Plain) -> Iterator[Row]:
    _stopped(service)
    _tree(service.folder / "tree")
    ways = _ways(by_hand)
    copied = min(_copied_here(service, number) for number in range(1, len(ways) + 1))
    # Whoever comes first to a new container pays for the others: ext4 made ten thousand new files
    # there in 3.8 s, and then in 0.3 s each time.
    first_to_come = Plain(engine, service.container, service.folder, "/tmp/first")
    first_to_come.copies("tree", first_to_come.tar)
    began = sync_parts.began(engine, service)
    first = one(began.whole_s)
    yield Row(
        "first sync of 10,000 files of 4 KB",
        "s",
        first,
        one(copied),
        hand="cp -r on this machine",
        limit=FIRST * copied,
        note=str(began),
    )
    for hand, copy in ways.items():
        yield Row("... beside", "s", first, by_hand.copies("tree", copy), hand=hand)


def _beside(service: Synced) -> Path:
    return service.folder.with_name("copied")


def _copied_here(service: Synced, number: int) -> float:
    # Beside the workspace, and not over an older one: see Plain.copies.
    target = _beside(service) / str(number)
    target.mkdir(parents=True)
    copy = ["cp", "-r", service.folder / "tree", target]
    return seconds(1, partial(subprocess.run, copy, check=True)).median


def _ways(by_hand: Plain) -> dict[str, Callable[[str], None]]:
    ways: dict[str, Callable[[str], None]] = {
        "tar, docker exec tar": by_hand.tar,
        "docker cp": by_hand.docker_cp,
        "put_archive": by_hand.put_archive,
    }
    if by_hand.has_rsync:
        ways["rsync over exec"] = by_hand.rsync
    return ways


def _reconnect(engine: Engine, service: Synced, by_hand: Plain) -> Iterator[Row]:
    again = Sample(tuple(_reconnected(engine, service) for _ in range(_RECONNECTIONS)))
    hand = None
    if by_hand.has_rsync:
        hand = milliseconds(_RECONNECTIONS, partial(by_hand.rsync, "tree"))
    yield Row(
        "agent killed -> in step again, nothing changed",
        "ms",
        again,
        hand,
        hand="rsync, nothing to copy" if hand else "",
        limit=RECONNECT_MS,
        note=sync_parts.of_reconnecting(engine, service.container),
    )


def _reconnected(engine: Engine, service: Synced) -> float:
    """Kill the agent; how long it took until both sides had been looked at again (ms)."""
    kill = f"read go; kill -9 {_agent(engine, service).pid}"
    # Started before: an exec takes longer than much of what is measured.
    killer = engine.exec(service.container, ["sh", "-c", kill])
    with closing(killer), service.news() as news:
        began = time.monotonic()
        killer.write(b"go\n")
        next(item for item in news if item["event"] == "connected")
        return (time.monotonic() - began) * 1000


def _agent(engine: Engine, service: Synced) -> processes.Process:
    """The sync's own: those that were measured alone may not have ended yet."""
    return max(processes.cost(engine, service.container).beside, key=lambda item: item.cpu_s)


# What it costs.


def _cost(engine: Engine, service: Synced) -> Iterator[Row]:
    with service.sync() as sync:
        pid = sync.pid
    yield from _memory(engine, service, pid, "10,000 files")
    before = processes.host_cpu_s(pid)
    inner = processes.cost(engine, service.container).beside_cpu_s
    began = time.monotonic()
    time.sleep(IDLE_S)
    took_s = time.monotonic() - began
    host = (processes.host_cpu_s(pid) - before) / took_s * 100
    agent = (processes.cost(engine, service.container).beside_cpu_s - inner) / took_s * 100
    yield Row("processor while nothing happens: host process", "%", one(host), limit=CPU_PERCENT)
    yield Row("... agent", "%", one(agent), limit=CPU_PERCENT)


def _memory(engine: Engine, service: Synced, pid: int, files: str) -> Iterator[Row]:
    host = processes.host_memory_mb(pid)
    agent = _agent(engine, service).pss_mb
    yield Row(f"memory with {files}: host process", "MB", one(host), limit=HOST_MB)
    yield Row("... agent", "MB", one(agent), limit=AGENT_MB)


def _many(engine: Engine, service: Synced, by_hand: Plain) -> Iterator[Row]:
    """All copies that were made so far: both sides have them, as after a restart of all."""
    _stopped(service)
    _beside(service).rename(service.folder / "more")
    service.inside(f"mv {COPIED} more")
    by_hand.target = by_hand.target.replace(COPIED, f"{service.root}/more")
    copies = len(list((service.folder / "more").iterdir()))
    files = f"{(copies + 1) * FILES:,} files"
    first = sync_parts.began(engine, service)
    note = f"{copies * FILES:,} of them never seen before; {first}"
    yield Row(f"first look at {files}", "s", one(first.whole_s), note=note)
    yield Row("... `devkit sync stop`", "s", one(_stopped(service)))
    again = sync_parts.began(engine, service)
    hand = seconds(1, partial(by_hand.rsync, "tree")) if by_hand.has_rsync else None
    by = "rsync of 10,000" if hand else ""
    yield Row("... seen before", "s", one(again.whole_s), hand, hand=by, note=str(again))
    # The first copy is the agent's to change, as tar did not make it as root.
    edit = service.folder / "more/1/tree/d9/edit.txt"
    with observed(inside(service.container), service.root) as observer:
        edits = latencies(100, partial(saved, edit), observer)
    note = sync_parts.of_an_edit(engine, service)
    yield Row(f"local edit among {files} -> container", "ms", edits, limit=OUT_MS, note=note)
    with service.sync() as sync:
        pid = sync.pid
    yield from _memory(engine, service, pid, files)
