"""The scoring app in a worker: Microsoft's inference server where it is installed, else our own.

Microsoft's Flask app gives schema decorators, rawhttp, swagger and headers as they are in the
cloud.
"""

from __future__ import annotations

import base64
import contextlib
import importlib
import inspect
import json
import os
import socket
import sys
from typing import Any, Callable, Dict, List, Optional
from wsgiref.simple_server import ServerHandler, WSGIRequestHandler

from . import bare_app, failure, wire
from .settings import Settings

WsgiApp = Callable[..., Any]

# A header line holds 64 KiB; base64 takes a third more than the text.
MAX_ENCODED = 45000
DRAIN_S = 5.0


def load(settings: Settings) -> Scoring:
    """Load the entry script, run init(), and return what answers requests.

    Raises:
        BaseException: whatever the script or init() raised, unwrapped.
    """
    try:
        importlib.import_module("azureml_inference_server_http.server.create_app")
    except ImportError:
        return Scoring(bare_app.load(settings), settings)
    from . import azureml_app

    return Scoring(azureml_app.load(settings), settings)


class Scoring:
    """A WSGI app, and the failure of the request that it has in hand."""

    def __init__(self, inner: Any, settings: Settings) -> None:
        self._inner = inner
        self.run = inner.run
        self._roots = settings.watch_roots

    def __call__(self, environ: Dict[str, Any], start_response: Any) -> Any:
        """Answer one request; a failure of the user's code goes along in failure.HEADER."""
        self._inner.failure = None

        def start(status: str, headers: List[Any], exc_info: Any = None) -> Any:
            if self._inner.failure is not None:
                headers = [*headers, (failure.HEADER, self.encoded(self._inner.failure))]
            return (
                start_response(status, headers, exc_info)
                if exc_info
                else start_response(status, headers)
            )

        return self._inner.wsgi(environ, start)

    def encoded(self, error: BaseException) -> str:
        """`error` as the value of failure.HEADER."""
        described = failure.described(error, self._roots)
        while True:
            text = json.dumps(described, ensure_ascii=False).encode("utf-8", "replace")
            if len(text) < MAX_ENCODED or not described["traceback"]:
                return base64.b64encode(text[:MAX_ENCODED]).decode("ascii")
            described["traceback"] = failure.cut(described["traceback"])
            described["message"] = failure.cut(described["message"])


class Server:
    """Speaks HTTP on connections that the front opens, one request each."""

    def __init__(self, scoring: Scoring, listener: socket.socket) -> None:
        self._scoring = scoring
        # What WSGIRequestHandler reads of its server.
        self.server_name, self.server_port = listener.getsockname()
        self.base_environ = {
            "SERVER_NAME": self.server_name,
            "GATEWAY_INTERFACE": "CGI/1.1",
            "SERVER_PORT": str(self.server_port),
            "REMOTE_HOST": "",
            "CONTENT_LENGTH": "",
            "SCRIPT_NAME": "",
        }

    def handle(self, connection: socket.socket, finish: Callable[[], None]) -> Optional[int]:
        """Answer the one request on `connection`; return an exit code when it ends the process."""
        ended = None
        try:
            _Handler(connection, ("127.0.0.1", 0), self)  # type: ignore[arg-type]
        except SystemExit as error:
            ended = error.code if isinstance(error.code, int) else 1
            self._refuse(connection, error)
        except OSError:
            pass  # the front gave the request up
        except BaseException as error:  # noqa: BLE001 - Timeout and the like: we go on
            self._refuse(connection, error)
        finally:
            finish()
            _drained(connection)
            connection.close()
        return ended

    def get_app(self) -> WsgiApp:
        """The app, under the name that WSGIRequestHandler asks for."""
        return self._scoring

    def _refuse(self, connection: socket.socket, error: BaseException) -> None:
        head = "HTTP/1.0 500 Internal Server Error\r\nContent-Length: 0\r\n{}: {}\r\n\r\n"
        head = head.format(failure.HEADER, self._scoring.encoded(error))
        with contextlib.suppress(OSError):  # the front gave the request up
            connection.sendall(head.encode("ascii"))


def _drained(connection: socket.socket) -> None:
    """Take what the front still sends: closed before, it would never read the answer."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(DRAIN_S)
        while connection.recv(1 << 20):
            pass


class _ServerHandler(ServerHandler):
    # wsgiref would print the traceback and answer by itself.
    def handle_error(self) -> None:
        raise sys.exc_info()[1]  # type: ignore[misc]


class _Handler(WSGIRequestHandler):
    def handle(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if not self.parse_request():
            return
        reading: Any = self.rfile
        writing: Any = self.wfile
        handler = _ServerHandler(reading, writing, self.get_stderr(), self.get_environ())
        handler.request_handler = self  # type: ignore[attr-defined]
        handler.run(self.server.get_app())  # type: ignore[attr-defined]

    def log_message(self, *_: Any) -> None:
        pass  # the front logs requests


def hot_reload(run: Callable[..., Any], files: List[str]) -> bool:
    """Patch the functions of the changed `files` in place; what init() loaded stays.

    `run` leads to the entry script's namespace; the inference server keeps it out of sys.modules.
    """
    try:
        importlib.import_module("debugpy.server.api")
        from _pydevd_bundle.pydevd_reload import xreload
    except ImportError:
        return False
    modules = [
        module
        for module in [*sys.modules.values(), _EntryModule(run)]
        if os.path.realpath(getattr(module, "__file__", None) or os.devnull) in files
    ]
    patched = [_patched(xreload, module) for module in modules]
    return bool(patched) and all(patched)


class _EntryModule:
    """The entry script's module: its namespace outlives the module object, which nobody holds."""

    def __init__(self, run: Callable[..., Any]) -> None:
        self.__dict__ = getattr(inspect.unwrap(run), "__globals__", {})


def _patched(xreload: Any, module: Any) -> bool:
    try:
        return bool(xreload(module))
    except Exception as error:  # noqa: BLE001 - a syntax error: the old code keeps serving
        wire.say("{}: {}: {}".format(module.__name__, type(error).__name__, error))
        return False
