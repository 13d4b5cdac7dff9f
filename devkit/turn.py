"""Between steps: one devkit at a time starts, swaps or commits the service of a workspace."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from devkit.errors import NameInUse
from devkit.own_folder import opened, own_folder

try:
    import fcntl
except ImportError:  # Windows: the second one learns it from the engine, at the very end
    fcntl = None  # type: ignore[assignment]

_FILE = "starting"


@contextmanager
def taken(root: Path, service: str) -> Iterator[None]:
    """Keep others from starting a service of this workspace meanwhile.

    Raises:
        NameInUse: another devkit is at it.
    """
    file = None
    with suppress(OSError):  # a workspace that cannot be written to has no lock
        file = os.fdopen(opened(own_folder(root) / _FILE, os.O_WRONLY | os.O_APPEND), "a")
    if file is None or fcntl is None:
        yield
        return
    # The system lets go of the lock with the process, however that ends.
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise in_use(service) from error
        yield


def in_use(service: str) -> NameInUse:
    """Say that another one is at it."""
    return NameInUse(
        f"Another devkit is at work on the service {service} just now.",
        hint="Wait until it is through, then type this again.",
    )
