"""Step 5, sync: the process that keeps a service in step is ended, and waited for."""

from __future__ import annotations

import os
import select
from contextlib import suppress
from pathlib import Path

import psutil

from devkit.errors import EngineError, SyncHalted
from devkit.sync.control import Running

# What a container that is about to go may still have to give.
_LAST_FLUSH_S = 10
_END_S = 10


def ended(root: Path, service: str) -> bool:
    """End the sync of a service when what was edited has arrived; whether one ran.

    A halt, or a container that is lost, does not hold it up.
    """
    found = Running.find(root, service)
    if found is None:
        return False
    with found:
        with suppress(SyncHalted, EngineError):
            found.ask("flush", timeout_s=_LAST_FLUSH_S)
        with suppress(EngineError):
            found.ask("stop")
        # Whoever starts one next would join it while it ends.
        _wait_for_end(found.pid)
    return True


def _wait_for_end(pid: int) -> None:
    if not hasattr(os, "pidfd_open"):
        with suppress(psutil.Error):
            psutil.Process(pid).wait(_END_S)
        return
    # One that ended counts, also before its parent has asked for its exit code: that may take 2 s.
    with suppress(ProcessLookupError):
        process = os.pidfd_open(pid)
        try:
            select.select([process], [], [], _END_S)
        finally:
            os.close(process)
