"""Processes of a test: all of them are gone afterwards, and no other."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

PATIENCE_S = 15


@contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[None]:
    """End a process in the end, and by id what it started and left behind."""
    try:
        yield
    finally:
        family = _family(process.pid)
        if process.stdin:
            process.stdin.close()  # the browser closes in order, then
        else:
            process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE_S)
        _, alive = psutil.wait_procs(family, timeout=1)
        for one in alive:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        process.wait(PATIENCE_S)


def killed(process: psutil.Process, *, after_s: float) -> None:
    """Ask a process to end, and kill it when it does not."""
    with suppress(psutil.NoSuchProcess):
        process.terminate()
        try:
            process.wait(after_s)
        except psutil.TimeoutExpired:
            process.kill()


def _family(pid: int) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        return [*parent.children(recursive=True), parent]
    return []
