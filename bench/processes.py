"""What the processes of a container cost: memory and processor time, read in the container."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from devkit.engine import Engine

# PSS shares what forked processes have in common, so that the sum is what the container costs.
_READ = """\
cd /proc
for p in [0-9]*; do
  [ $p = $$ ] || { cat $p/stat && grep ^Pss: $p/smaps_rollup; } 2>/dev/null
done
"""
_TICKS_PER_S = 100


@dataclass(frozen=True)
class Process:
    """One process, now."""

    pid: int
    parent: int
    name: str
    cpu_s: float
    pss_mb: float


@dataclass(frozen=True)
class Cost:
    """Of the container's own processes, and of those that `exec` put beside them."""

    memory_mb: float
    beside_mb: float
    cpu_s: float
    beside_cpu_s: float
    beside: tuple[Process, ...]
    by_process: tuple[Process, ...]


def cost(engine: Engine, container: str) -> Cost:
    """Read it now."""
    stream = engine.exec(container, ["sh", "-c", _READ])
    try:
        text = b""
        while data := stream.read():
            text += data
    finally:
        stream.close()
    found = {process.pid: process for process in parsed(text.decode())}
    own = [process for process in found.values() if _root(found, process) == 1]
    beside = [process for process in found.values() if _root(found, process) != 1]
    return Cost(
        sum(process.pss_mb for process in own),
        sum(process.pss_mb for process in beside),
        sum(process.cpu_s for process in own),
        sum(process.cpu_s for process in beside),
        tuple(beside),
        tuple(own),
    )


def cpu_percent(engine: Engine, container: str, duration_s: float) -> float:
    """Of one processor, over a while in which nothing is asked of it."""
    before, began = cost(engine, container).cpu_s, time.monotonic()
    time.sleep(duration_s)
    after = cost(engine, container).cpu_s
    return (after - before) / (time.monotonic() - began) * 100


def host_memory_mb(pid: int) -> float:
    """What a process of this machine holds, shared or not."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Rss:")) / 1024


def host_cpu_s(pid: int) -> float:
    """The processor time of a process of this machine, so far."""
    return _process(Path(f"/proc/{pid}/stat").read_text(), "Pss: 0 kB").cpu_s


def parsed(text: str) -> list[Process]:
    """The processes in what `_READ` prints: a stat line, then one with the memory."""
    lines = iter(text.splitlines())
    return [_process(line, next(lines, "")) for line in lines]


def _process(stat: str, pss: str) -> Process:
    # The name may hold blanks and parentheses.
    head, _, rest = stat.rpartition(")")
    pid, _, name = head.partition(" (")
    fields = rest.split()
    ticks = int(fields[11]) + int(fields[12])
    return Process(int(pid), int(fields[1]), name, ticks / _TICKS_PER_S, int(pss.split()[1]) / 1024)


def _root(found: Mapping[int, Process], process: Process) -> int:
    while process.parent in found:
        process = found[process.parent]
    return process.pid
