"""Step 5, sync: the runtime beside the agent is told what changed, before it finds out.

Part of the agent: standard library only, Python 3.7 and up.
"""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from typing import Any, Dict, List

# The runtime listens here for what changed.
NOTICE = "\0devkit-runtime-notice"
# More of them go without saying which: the runtime looks at all that it knows.
_MOST_NOTIFIED = 500


class Notice:
    """Tells the runtime of files below `root`; where none listens, it finds changes by itself."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._runtime = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def hold(self) -> None:
        """Let it wait: more comes than one file."""
        self._tell({"hold": True})

    def changed(self, paths: List[str]) -> None:
        """Let it look at these files."""
        full = [os.path.join(self._root, path) for path in paths]
        self._tell({"changed": full if len(full) <= _MOST_NOTIFIED else None})

    def _tell(self, message: Dict[str, Any]) -> None:
        with suppress(OSError):
            self._runtime.sendto(json.dumps(message).encode("ascii"), NOTICE)
