"""Takes notice from the sync's agent: when a batch of files begins to change, and what changed.

A datagram socket without a file: only processes of the container's own network reach it, and all
that they can do is make the runtime look at its files.
"""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Callable, List, Optional

# devkit/sync/agent/notice.py sends there.
ADDRESS = "\0devkit-runtime-notice"
_MOST_BYTES = 262144


def listen(
    loop: asyncio.AbstractEventLoop,
    hold: Callable[[], None],
    changed: Callable[[Optional[List[str]]], None],
) -> Optional[socket.socket]:
    """Call `hold` and `changed` (with paths; None: anything) as told; None where it cannot be."""
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        receiver.bind(ADDRESS)
    except OSError:  # another runtime of this network has it, or the system has no such names
        receiver.close()
        return None
    receiver.setblocking(False)

    def read() -> None:
        try:
            message = json.loads(receiver.recv(_MOST_BYTES).decode("ascii"))
        except (OSError, ValueError, RecursionError):
            return
        if not isinstance(message, dict):
            return
        if message.get("hold"):
            hold()
        elif "changed" in message:
            paths = message["changed"]
            is_list = isinstance(paths, list) and all(isinstance(path, str) for path in paths)
            changed(paths if is_list else None)

    loop.add_reader(receiver.fileno(), read)
    return receiver
