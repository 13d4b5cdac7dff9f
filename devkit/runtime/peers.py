"""Who may connect to the debugger: this machine and the host, never a sibling container.

A debugger runs any code that it is told to. Published on the host's loopback, the port is still
open to every container of the same network; Docker's gateway is where the host's connections come
from.
"""

from __future__ import annotations

import socket
import struct
from typing import Optional


def gateway() -> Optional[str]:
    """The address of the default gateway; None without one. Source: proc(5), /proc/net/route."""
    try:
        with open("/proc/net/route", encoding="ascii") as routes:
            for line in routes.readlines()[1:]:
                fields = line.split()
                if fields[1] == "00000000" and int(fields[3], 16) & 2:
                    return socket.inet_ntoa(struct.pack("<L", int(fields[2], 16)))
    except (OSError, ValueError, IndexError):
        pass
    return None


def is_host(address: str, own: str) -> bool:
    """Whether a peer is this machine itself (`own` is our end) or the host that published us."""
    return address.startswith("127.") or address in ("::1", own, gateway())
