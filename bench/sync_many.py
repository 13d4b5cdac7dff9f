"""Many files: the first sync, a branch switch, a new connection, and what it costs to wait."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from bench import processes
from bench.observed import editing, inside, latencies, marked, new_mark, observed, saved
from bench.place import BASE, Place
from bench.row import Row, Sample, one, seconds
from bench.sync_by_hand import Plain
from devkit import background
from devkit.engine import Engine
from devkit.in_step import Order
from tests.syncing import Synced, synced

HERE = [sys.executable, "-I", "-u", "-c"]
SWITCHED, SWITCHES = 1000, 2
FILES, MANY = 10_000, 50_000
IDLE_S = 10
# DESIGN.md 11; the first sync as a multiple of `cp -r`.
FIRST, RECONNECT_MS, OUT_MS, HOST_MB, AGENT_MB, CPU_PERCENT = 3, 200, 2, 60, 20, 1


def rows(place: Place) -> Iterator[Row]:
    engine, folder = place.engine, place.folder()
    # Its image has rsync where this machine has: both copy to the same container.
    settings = json.dumps({"image": {"apt": ["rsync"] if shutil.which("rsync") else []}})
    with synced("bench-many", BASE, files={"devkit.yaml": settings}) as service:
        by_hand = Plain(engine, service.container, folder)
        yield from _first(service, by_hand)
        yield from _reconnect(engine, service, by_hand)
        yield from _cost(engine, service)
        yield from _fifty_thousand(engine, service, by_hand)
        yield from _switch(service, by_hand)


def _order(service: Synced) -> Order:
    return Order(service.folder, service.folder, service.name, service.container)


def _began(service: Synced) -> None:
    """Start the background process, and wait until both sides are the same."""
    with background.started(_order(service)) as sync:
        sync.ask("flush", timeout_s=120)


def _stopped(service: Synced) -> None:
    """End the process, and wait for its end: `devkit sync stop` does not."""
    with service.sync() as sync:
        end = os.pidfd_open(sync.pid)
    service.devkit("sync", "stop")
    select.select([end], [], [], 60)
    os.close(end)


def _tree(folder: Path, name: str, files: int) -> Path:
    """A tree of files of 4 KB, twenty in a folder."""
    top = folder / name
    for number in range(files):
        below = top / f"d{number // 20}"
        if number % 20 == 0:
            below.mkdir(parents=True)
        (below / f"f{number}.txt").write_bytes(marked(f"{number:016x}"))
    return top


# A branch switch.


def _git(folder: Path, *words: str) -> None:
    who = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"]
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


def _branches(folder: Path) -> dict[str, str]:
    """Two branches in a new repository, which differ in a thousand files; their marks."""
    marks = {}
    _git(folder, "init", "-q", "-b", "none")
    (folder / "many").mkdir()
    for branch in ("one", "other"):
        marks[branch] = new_mark()
        for number in range(SWITCHED):
            (folder / f"many/f{number}.txt").write_bytes(marked(marks[branch]))
        _git(folder, "checkout", "-q", "-b", branch)
        _git(folder, "add", "many")
        _git(folder, "commit", "-qm", branch)
    return marks


def _switch(service: Synced, by_hand: Plain) -> Iterator[Row]:
    marks = _branches(service.folder)
    service.flush()
    values, alone = [], []
    with observed(inside(service.container), service.root) as observer:
        for number in range(SWITCHES):
            branch = "one" if number % 2 == 0 else "other"
            began = time.monotonic_ns()
            _git(service.folder, "checkout", "-q", branch)
            alone.append((time.monotonic_ns() - began) / 1e9)
            values.append((observer.seen(marks[branch], files=SWITCHED) - began) / 1e9)
            service.flush()
    copied, back = _switched_by_hand(by_hand)
    note = f"git alone {min(alone):.2f} s"
    what = "git switches 1000 files -> container"
    yield Row(what, "s", Sample(tuple(values)), copied, hand=_copier(by_hand), note=note)
    values = []
    many = f"{service.root}/many"
    with (
        observed(HERE, str(service.folder)) as observer,
        editing(inside(service.container)) as editor,
    ):
        for _ in range(SWITCHES):
            mark = new_mark()
            began = editor.save(many, mark, files=SWITCHED)
            values.append((observer.seen(mark, files=SWITCHED) - began) / 1e9)
            service.flush()
    what = "1000 files made anew in the container -> workspace"
    yield Row(what, "s", Sample(tuple(values)), back, hand=_copier(by_hand))


def _copier(by_hand: Plain) -> str:
    return "git, then rsync over exec" if by_hand.has_rsync else ""


def _switched_by_hand(by_hand: Plain) -> tuple[Sample | None, Sample | None]:
    if not by_hand.has_rsync:
        return None, None
    _branches(by_hand.folder)
    by_hand.copies("many", by_hand.rsync)

    def switch(branch: str) -> None:
        _git(by_hand.folder, "checkout", "-q", branch)
        by_hand.rsync("many")

    out = [seconds(1, partial(switch, branch)).median for branch in ("one", "other")]
    with editing(inside(by_hand.container)) as editor:

        def back() -> None:
            editor.save(f"{by_hand.target}/many", new_mark(), files=SWITCHED)
            by_hand.rsync_back("many")

        return Sample(tuple(out)), seconds(2, back)


# Ten thousand files.


def _first(service: Synced, by_hand: Plain) -> Iterator[Row]:
    _stopped(service)
    top = _tree(by_hand.folder, "tree", FILES)
    copied = seconds(2, partial(_copied_here, top))
    shutil.copytree(top, service.folder / "tree")
    first = seconds(1, partial(_began, service))
    limit = FIRST * min(copied.values)
    yield Row(
        "first sync of 10,000 files of 4 KB",
        "s",
        first,
        one(min(copied.values)),
        hand="cp -r on this machine",
        limit=limit,
        note="the process's start is in it",
    )
    for hand, copy in _ways(by_hand).items():
        yield Row("... beside", "s", first, by_hand.copies("tree", copy), hand=hand)


def _copied_here(top: Path) -> None:
    # Not over an older one: see Plain.copies.
    other = top.with_name(new_mark())
    subprocess.run(["cp", "-r", top, other], check=True)


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
    again = seconds(2, partial(_reconnected, engine, service))
    hand = None
    if by_hand.has_rsync:
        hand = seconds(2, partial(by_hand.rsync, "tree"))
    yield Row(
        "agent killed -> in step again, nothing changed",
        "ms",
        _in_ms(again),
        hand and _in_ms(hand),
        hand="rsync, nothing to copy" if hand else "",
        limit=RECONNECT_MS,
        note="it waits 100 ms before it tries",
    )


def _reconnected(engine: Engine, service: Synced) -> None:
    with service.news() as news:
        _kill_agent(engine, service)
        next(item for item in news if item["event"] == "connected")


def _kill_agent(engine: Engine, service: Synced) -> None:
    _, pid = max(
        (item.cpu_s, item.pid) for item in processes.cost(engine, service.container).beside
    )
    service.inside(f"kill -9 {pid}")


def _in_ms(sample: Sample) -> Sample:
    return Sample(tuple(value * 1000 for value in sample.values))


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
    agent = processes.cost(engine, service.container).beside_mb
    yield Row(f"memory with {files}: host process", "MB", one(host), limit=HOST_MB)
    yield Row("... agent", "MB", one(agent), limit=AGENT_MB)


def _fifty_thousand(engine: Engine, service: Synced, by_hand: Plain) -> Iterator[Row]:
    _stopped(service)
    # Both sides have it already, as after a restart of all: nothing is to be copied.
    _tree(service.folder, "more", MANY - FILES)
    Plain(engine, service.container, service.folder, service.root).tar("more")
    first = seconds(1, partial(_began, service))
    note = "40,000 of them never seen before; the process's start is in it"
    yield Row("first look at 50,000 files", "s", first, note=note)
    _stopped(service)
    again = seconds(1, partial(_began, service))
    hand = seconds(1, partial(by_hand.rsync, "tree")) if by_hand.has_rsync else None
    yield Row("... seen before", "s", again, hand, hand="rsync of 10,000" if hand else "")
    with observed(inside(service.container), service.root) as observer:
        edits = latencies(100, partial(saved, service.folder / "more/d9/edit.txt"), observer)
    yield Row("local edit among 50,000 -> container", "ms", edits, limit=OUT_MS)
    with service.sync() as sync:
        pid = sync.pid
    yield from _memory(engine, service, pid, "50,000 files")
