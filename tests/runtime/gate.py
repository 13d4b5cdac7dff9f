"""A gate at which a service's code waits until the test opens it: no time is involved."""

from __future__ import annotations

import fcntl
from pathlib import Path

from tests.running import Service

# What its code calls.
WAITS = """

def wait_at_gate():
    import fcntl, os
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, "gate")) as gate:
        fcntl.flock(gate, fcntl.LOCK_SH)
"""


class Gate:
    """Closed from the beginning."""

    def __init__(self, service: Service) -> None:
        self._file = Path(service.remote_source, "gate").open("w")  # noqa: SIM115 - `open` closes it
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def open(self) -> None:
        """Let all through who wait, and who come."""
        self._file.close()
