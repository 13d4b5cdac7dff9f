"""The worker's side of the debugger: connects debugpy when an editor attaches.

debugpy connects to the multiplexer as to its adapter. It does so only once an editor is there:
tracing costs Python-heavy code a factor of three to four before Python 3.12, attached or not.
"""

from __future__ import annotations

import socket
import sys
import threading
from typing import Any, Callable, Optional


class Debugger:
    """Connects at most once; `attached` says whether an editor has configured this process."""

    def __init__(self, announce: Callable[[str], None]) -> None:
        self._announce = announce
        self._connected = False
        self.attached = threading.Event()

    def connect(self, port: int, token: str) -> Optional[str]:
        """Connect to the multiplexer's port; return what went wrong, or None."""
        if self._connected:
            return None
        self._connected = True
        try:
            import debugpy

            _send_at_once()
            _real_connect(debugpy)(("127.0.0.1", port), access_token=token)
        except Exception as error:  # noqa: BLE001 - goes to the editor as the reason
            self._connected = False
            return "{}: {}".format(type(error).__name__, error)
        return None

    def tolerate_user_calls(self) -> None:
        """Make debugpy.listen() and wait_for_client() in an entry script mean devkit's debugger."""
        try:
            import debugpy
        except ImportError:
            return
        _real_connect(debugpy)
        debugpy.listen = debugpy.connect = lambda *_, **__: ("127.0.0.1", 5678)
        debugpy.wait_for_client = self.wait
        debugpy.is_client_connected = self.attached.is_set
        self.wait.__func__.cancel = self.attached.set  # type: ignore[attr-defined]
        sys.breakpointhook = _breakpoint(debugpy, self.attached)

    def wait(self, timeout: Optional[float] = None) -> None:
        """Wait until an editor is attached, at most `timeout` seconds."""
        if not self.attached.is_set():
            self._announce("waiting")
            self.attached.wait(timeout)


def _send_at_once() -> None:
    """Take the delay out of pydevd's connection.

    It sends header and body apart with Nagle's algorithm on, so each answer waits 44 ms for the
    other side's delayed acknowledgement (measured: a second attach takes 275 ms with it, 10 ms
    without).
    """
    import pydevd

    original = getattr(pydevd, "start_client", None)
    if original is None or hasattr(original, "_is_devkits"):
        return

    def start_client(host: str, port: int) -> Any:
        sock = original(host, port)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    start_client._is_devkits = True  # type: ignore[attr-defined]
    pydevd.start_client = start_client


def _real_connect(debugpy: Any) -> Any:
    if not hasattr(debugpy, "_devkit_connect"):
        debugpy._devkit_connect = debugpy.connect
    return debugpy._devkit_connect


def _breakpoint(debugpy: Any, attached: threading.Event) -> Callable[..., None]:
    def hook(*_: Any, **__: Any) -> None:
        # Without an editor pdb would read the container's empty standard input and raise BdbQuit.
        if attached.is_set():
            debugpy.breakpoint()

    return hook
