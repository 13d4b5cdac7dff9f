"""The process that workers are forked from: third-party imports are done here, once.

It only imports and never calls: OpenMP used before a fork hangs the child for ever. It has no
debugger (a child connects its own), so an idle debug image costs nothing on Python before 3.12,
where tracing is dear.
"""

from __future__ import annotations

import gc
import importlib
import logging
import os
import select
import signal
import socket
import sys
import threading
from typing import List, Optional

from . import settings as settings_module
from . import wire, worker

# The worker's own modules and the server's, so that the first worker does not wait for them either.
SERVER_MODULES = (
    "azureml_inference_server_http.server.create_app",
    "azureml_inference_server_http.api.aml_response",
)
DEBUG_MODULES = ("debugpy", "debugpy.server.api")

EXIT_THREADS = 77
"""Exit status when a preloaded module started threads, which a fork would not carry over."""


def main(arguments: List[str]) -> int:
    """Serve fork and preload commands from the descriptor given as the only argument."""
    settings = settings_module.from_environment(os.environ)
    control = wire.LineSocket(socket.socket(fileno=int(arguments[0])))
    # Stale byte code has a mtime granularity of a second, and the root may be read-only.
    sys.dont_write_bytecode = True
    os.chdir(settings.root)
    worker.set_path(settings)
    # The server takes its own variables for unknown keys of a file and warns of them.
    logging.disable(logging.WARNING)
    for name in SERVER_MODULES + (DEBUG_MODULES if settings.debug else ()):
        _import(name)
    logging.disable(logging.NOTSET)
    gc.collect()
    gc.freeze()
    return _serve(control, settings)


def _serve(control: wire.LineSocket, settings: settings_module.Settings) -> int:
    wakeup = _child_signals()
    control.send({"is": "zygote", "pid": os.getpid()})
    while True:
        waiting = [] if control.has_message else [control.sock, wakeup]
        readable = select.select(waiting, [], [])[0] if waiting else [control.sock]
        if wakeup in readable:
            wakeup.recv(4096)
            for ended in _reaped():
                control.send({"is": "exited", "ended": ended})
        if control.sock in readable:
            command, fd = control.receive()
            if command is None:
                return 0
            if command["do"] == "preload":
                culprit = _preload(command["modules"])
                if culprit:
                    control.send({"is": "threads", "module": culprit})
                    # Not by return: Python would wait for the thread to end.
                    os._exit(EXIT_THREADS)
            elif fd is not None:
                pid = os.fork()
                if pid == 0:
                    control.sock.close()
                    wakeup.close()
                    worker.run(socket.socket(fileno=fd), settings)
                os.close(fd)
                control.send({"is": "forked", "slot": command["slot"], "pid": pid})


def _child_signals() -> socket.socket:
    """A socket that becomes readable when a child ends."""
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writing.fileno())
    _child_signals.kept = writing  # type: ignore[attr-defined]
    return reading


def _reaped() -> List[List[int]]:
    ended: List[List[int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        ended.append([pid, code])


def _preload(modules: List[str]) -> Optional[str]:
    """Import what the last good worker had imported; name the first module that starts a thread."""
    before = threading.active_count()
    for name in modules:
        if name not in sys.modules:
            _import(name)
            if threading.active_count() > before:
                return name
    gc.collect()
    gc.freeze()
    return None


def _import(name: str) -> None:
    try:
        importlib.import_module(name)
    except BaseException:  # noqa: BLE001 - SystemExit too: the worker meets it and reports it
        sys.modules.pop(name, None)
