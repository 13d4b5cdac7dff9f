"""The worker's HTTP: one request on each connection that the front opens.

An answer of unknown length goes in chunks, so that the front can tell a whole one from a cut one.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from typing import Any, Callable, Optional
from wsgiref.simple_server import ServerHandler, WSGIRequestHandler

from . import failure
from .app import Scoring

DRAIN_S = 5.0


class _FrontGone(Exception):
    """The front gave the request up."""


class TooShort(Exception):
    """The app said more bytes in Content-Length than it gave."""


class Server:
    """Answers with `scoring`; `broke_off` is told what ended an answer that had begun."""

    def __init__(
        self,
        scoring: Scoring,
        listener: socket.socket,
        broke_off: Callable[[BaseException], None],
    ) -> None:
        self._scoring = scoring
        self._broke_off = broke_off
        # Whether the head of the answer in hand is out.
        self.has_begun = False
        # Whether that answer is the process's last one.
        self.is_last = False
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
        code = 0
        self.has_begun = False
        try:
            _Handler(connection, ("127.0.0.1", 0), self)  # type: ignore[arg-type]
        except _FrontGone:
            pass
        except SystemExit as error:
            self.is_last, code = True, error.code if isinstance(error.code, int) else 1
            self._refuse(connection, error)
        except BaseException as error:  # noqa: BLE001 - Timeout and the like: we go on
            if self.has_begun and not self.is_last:
                self._broke_off(error)
            self._refuse(connection, error)
        finally:
            finish()
            _drained(connection)
            connection.close()
        return code if self.is_last else None

    def get_app(self) -> Callable[..., Any]:
        """The app, under the name that WSGIRequestHandler asks for."""
        return self._scoring

    def _refuse(self, connection: socket.socket, error: BaseException) -> None:
        if self.has_begun:
            return  # it would pass for a part of the body
        lines = ["HTTP/1.0 500 Internal Server Error", "Content-Length: 0"]
        lines.append("{}: {}".format(failure.HEADER, self._scoring.encoded(error)))
        lines += ["{}: 1".format(failure.LAST_HEADER)] if self.is_last else []
        head = "\r\n".join([*lines, "", ""])
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
    # wsgiref's own.
    environ: Any
    headers: Any
    headers_sent: bool
    status: Any
    bytes_sent: int
    request_handler: Any

    http_version = "1.1"
    is_whole = False
    _in_chunks = False

    # wsgiref would print the traceback and answer by itself.
    def handle_error(self) -> None:
        # close() takes it apart for a log line; None would raise over what is to be told.
        self.status = self.status or "500"
        raise sys.exc_info()[1]  # type: ignore[misc]

    def send_headers(self) -> None:
        super().send_headers()
        self._in_chunks = "Transfer-Encoding" in self.headers

    def cleanup_headers(self) -> None:
        self.request_handler.server.has_begun = True
        super().cleanup_headers()
        if self.request_handler.server.is_last:
            self.headers[failure.LAST_HEADER] = "1"
        if self._has_body and "Content-Length" not in self.headers:
            self.headers["Transfer-Encoding"] = "chunked"

    def finish_content(self) -> None:
        if not self._has_body:
            # wsgiref would say that it has the length 0.
            if not self.headers_sent:
                self.send_headers()
        else:
            super().finish_content()
            self._check_length()
            if self._in_chunks:
                self._in_chunks = False
                self._write(b"0\r\n\r\n")
        self.is_whole = True

    @property
    def _has_body(self) -> bool:
        """Whether there is a body, long or short, by method and status (RFC 9110 6.4.1)."""
        status = str(self.status)[:3]
        return self.environ["REQUEST_METHOD"] != "HEAD" and status not in ("204", "304")

    def _check_length(self) -> None:
        length = str(self.headers.get("Content-Length") or "")
        if length.isdigit() and self.bytes_sent < int(length):
            raise TooShort("{} bytes of {}".format(self.bytes_sent, length))

    def _write(self, data: bytes) -> None:
        if self._in_chunks:
            data = b"%x\r\n%s\r\n" % (len(data), data) if data else b""
        try:
            super()._write(data)
        except OSError as error:
            raise _FrontGone from error


class _Handler(WSGIRequestHandler):
    def handle(self) -> None:
        try:
            self.raw_requestline = self.rfile.readline(65537)
            if not self.parse_request():
                return
        except OSError as error:
            raise _FrontGone from error
        reading: Any = self.rfile
        writing: Any = self.wfile
        handler = _ServerHandler(reading, writing, self.get_stderr(), self.get_environ())
        handler.request_handler = self
        handler.run(self.server.get_app())  # type: ignore[attr-defined]
        if not handler.is_whole:
            # wsgiref takes each ConnectionError for one of the client's.
            raise ConnectionError("a connection of the entry script's own was lost")

    def log_message(self, *_: Any) -> None:
        pass  # the front logs requests
