"""A worker: waits as standby for "load", runs init(), then scores one request at a time.

The main thread runs the user's code and nothing else, as under gunicorn; a second thread takes
commands.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import random
import signal
import socket
import sys
import threading
import time
from types import FrameType
from typing import Callable, Dict, List, NoReturn, Optional

from . import app, failure, opened, shim, stacks, wire, wsgi
from .debugger import Debugger
from .settings import Settings

TIMEOUT_SIGNAL = signal.SIGUSR2
STACKS_SIGNAL = signal.SIGUSR1


class Timeout(BaseException):
    """The request took too long. Not an Exception, so that `except Exception` lets it through."""


def set_path(settings: Settings) -> None:
    """Put application root and source directory on the path, as the inference server does."""
    for path in (settings.root, os.path.join(settings.root, settings.source_directory)):
        if path not in sys.path:
            sys.path.append(path)


def run(channel: socket.socket, settings: Settings) -> NoReturn:
    """Be a worker until the end; called in a freshly forked process."""
    code = 1
    try:
        code = _Worker(wire.LineSocket(channel), settings).main()
    except BaseException as error:  # noqa: BLE001 - the process ends here
        wire.say("worker {}: {}: {}".format(os.getpid(), type(error).__name__, error))
    finally:
        # Not sys.exit: the zygote's handlers and buffers are not ours to run.
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


class _Worker:
    def __init__(self, channel: wire.LineSocket, settings: Settings) -> None:
        self._channel = channel
        self._settings = settings
        self._load = threading.Event()
        self._sending = threading.Lock()
        self._busy = False
        self._scoring: Optional[app.Scoring] = None
        self._server: Optional[wsgi.Server] = None
        self._debugger = Debugger(lambda what: self._tell({"is": what}))

    def main(self) -> int:
        self._prepare_process()
        _background(self._commands)
        self._tell({"is": "standby", "pid": os.getpid()})
        self._load.wait()
        return self._serve()

    def _prepare_process(self) -> None:
        # A group of its own: what the user's code starts ends with the worker.
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(TIMEOUT_SIGNAL, self._on_timeout)
        faulthandler.register(STACKS_SIGNAL, all_threads=True)
        sys.argv = [self._settings.entry_path]
        random.seed()
        if "numpy" in sys.modules:
            # Else every worker would draw the zygote's numbers.
            sys.modules["numpy"].random.seed()
        shim.install(self._debugger)
        self._debugger.tolerate_user_calls()

    def _commands(self) -> None:
        while True:
            try:
                command, fd = self._channel.receive()
            except (OSError, ValueError):
                command = None
            if command is None:
                os._exit(0)
            action = command["do"]
            if action == "stacks" and fd is not None:
                os.set_inheritable(fd, False)
                faulthandler.register(STACKS_SIGNAL, file=fd, all_threads=True)
            elif action == "threads":
                self._tell({"is": "threads", "names": _thread_names(), "text": stacks.written()})
            elif action == "load":
                self._load.set()
            elif action in ("debug", "attached", "detached"):
                self._on_debugger(action, command)
            elif action == "hot":
                self._tell({"is": "hot", "done": self._patch(command["files"])})

    def _on_debugger(self, action: str, command: wire.Message) -> None:
        if action == "debug":
            # debugpy comes back only when the editor has said all that it wants.
            _background(self._connect, command["port"], command["token"])
        elif action == "attached":
            self._debugger.attached.set()
        else:
            self._debugger.attached.clear()

    def _connect(self, port: int, token: str) -> None:
        error = self._debugger.connect(port, token)
        self._tell({"is": "undebuggable", "error": error} if error else {"is": "traced"})
        if error is None:
            # At its end pydevd on Python 3.13 would meet it once more, as a "Dummy" of the user's.
            threading.Event().wait()

    def _patch(self, files: List[str]) -> bool:
        return self._scoring is not None and app.hot_reload(self._scoring.run, files)

    def _tell(self, message: wire.Message) -> None:
        with self._sending:
            self._channel.send(message)

    def _serve(self) -> int:
        roots = self._settings.watch_roots
        self._opened = opened.Opened(roots)
        self._imported = opened.Imported(roots)
        # Before the user's code, which may close or forbid sockets.
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        self._tell({"is": "loading"})
        began = time.monotonic()
        self._opened.start()
        try:
            scoring = self._scoring = app.load(self._settings)
        except BaseException as error:  # noqa: BLE001 - SystemExit in init() fails it too
            self._opened.stop()
            told = failure.described(error, roots)
            self._tell({"is": "failed", "error": told, "files": self._files()})
            return 3
        self._opened.stop()
        self._tell_ready(listener.getsockname()[1], time.monotonic() - began)
        self._server = wsgi.Server(scoring, listener, self._tell_broken_off)
        return self._score(self._server, listener)

    def _score(self, server: wsgi.Server, listener: socket.socket) -> int:
        """Answer requests until one of them ends the process; return the exit code."""
        known = len(sys.modules)
        while True:
            connection = _accepted(listener)
            self._busy = True
            ended = server.handle(connection, self._finish)
            if ended is not None:
                return ended
            if len(sys.modules) != known:
                known = len(sys.modules)
                self._tell({"is": "watch", "files": self._files()})

    def _tell_ready(self, port: int, took_s: float) -> None:
        self._tell(
            {
                "is": "ready",
                "port": port,
                "init_ms": took_s * 1000,
                "files": self._files(),
                "modules": self._imported.third_party(),
            }
        )

    def _tell_broken_off(self, error: BaseException) -> None:
        failure.log("the answer broke off", failure.described(error, self._settings.watch_roots))
        self._tell({"is": "broke off"})

    def _files(self) -> List[str]:
        entry = {self._settings.entry_path}
        return sorted(entry | self._opened.paths | self._imported.own_files())

    def _finish(self) -> None:
        self._busy = False

    def _on_timeout(self, _signal: int, frame: Optional[FrameType]) -> None:
        if self._busy and self._server is not None:
            if stacks.is_in_debugger(frame):
                # Interrupted there, as in a condition that hangs, pydevd traces the thread no more.
                self._server.is_last = True
                wire.say("the time limit switched the debugger off here: a new worker takes over")
            raise Timeout


def _thread_names() -> Dict[str, str]:
    names = {str(item.ident): item.name for item in threading.enumerate()}
    return {**names, str(threading.main_thread().ident): "main"}


def _background(function: Callable[..., None], *args: object) -> None:
    thread = threading.Thread(target=function, args=args, name="devkit", daemon=True)
    # pydevd leaves its own threads out of what the editor sees; this one is as little the user's.
    thread.is_pydev_daemon_thread = True  # type: ignore[attr-defined]
    thread.pydev_do_not_trace = True  # type: ignore[attr-defined]
    thread.start()


def _accepted(listener: socket.socket) -> socket.socket:
    while True:
        with contextlib.suppress(ConnectionAbortedError):
            return listener.accept()[0]
