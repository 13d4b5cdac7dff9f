"""The HTTP server on :5001: health by itself, all else to a worker, outcomes to status codes.

It runs no user code and lives in a process that no breakpoint holds.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import http.client
import json
import os
import select
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Dict, List, Optional, Tuple

from . import outcome, request_body, stacks
from .failure import HEADER, LAST_HEADER, Failure
from .pool import Lease, NotWanted, Pool, Unavailable
from .record import NOTHING, Record
from .settings import Settings

BLOCK = 64 * 1024
# Each save under a request that is still running costs one.
MOST_RUNS = 100

# RFC 9110 7.6.1: these are about one connection, not about the message.
HOP_BY_HOP = {
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
}


class WorkerGone(Exception):
    """The worker ended before it answered."""

    message = "The worker process ended while it ran this request."


class BrokenOff(WorkerGone):
    """The answer began, and ended before its end."""

    message = "The answer broke off half way; the log says why."


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        pass  # a client that went away; the request's own failures are answered


def start(settings: Settings, pool: Pool, record: Optional[Record] = None) -> ThreadingHTTPServer:
    """Serve in threads of their own until `shutdown()`; OSError when the address is taken."""
    parts = {"settings": settings, "pool": pool, "record": record or Record(0)}
    handler = type("Handler", (_Handler,), parts)
    server = _HttpServer(settings.score_address, handler)
    threading.Thread(target=server.serve_forever, args=(0.5,), name="front", daemon=True).start()
    return server


class _Handler(BaseHTTPRequestHandler):
    settings: Settings = None  # type: ignore[assignment]
    pool: Pool = None  # type: ignore[assignment]
    record: Record = None  # type: ignore[assignment]
    # The request in hand, as it is recorded.
    _seen = NOTHING
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 600

    def __getattr__(self, name: str) -> Any:
        # http.server looks for do_GET, do_PUT ...; each method is passed on.
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)

    def log_message(self, *_: Any) -> None:
        pass  # the scoring app logs requests

    def _answer(self) -> None:
        self._seen = NOTHING
        try:
            if self.command in ("GET", "HEAD") and self.path.split("?", 1)[0] == "/":
                self._health()
            else:
                self._score()
        except request_body.BadBody as error:
            # The rest of the body is unread: this connection cannot be used again.
            self.close_connection = True
            self._send(error.status, {}, _json({"message": error.message}))

    def _health(self) -> None:
        if self.pool.phase in ("ready", "reloading"):
            self._send(200, {"Content-Type": "text/plain"}, b"Healthy")
        else:
            self._send(503, {}, _json({"message": "not ready", "state": self.pool.state}))

    def _score(self) -> None:
        """Answer by a worker; a request that a reload cut short is run again by the new code."""
        body = request_body.read(self.headers, self.rfile)
        self._seen = self.record.begin(self.command, self.path, self.headers.items(), body)
        for run in range(MOST_RUNS):
            try:
                # One that was cut short came before all that wait.
                lease = self.pool.acquire(self._has_client, is_first=run > 0)
            except NotWanted:
                self._seen.failed("The client left while its request waited.", None)
                self._seen.answered(None, b"")
                self.close_connection = True
                return
            except Unavailable as none:
                self._fail(none.outcome, none.message, none.failure)
                return
            try:
                if self._is_passed_on(lease, body):
                    return
            finally:
                self.pool.release(lease)
        self._fail(
            outcome.REPLACED, "The code was reloaded again and again under this request.", None
        )

    def _has_client(self) -> bool:
        """Whether the client still waits; asked only of one that had to.

        A client that closed its sending side looks as if it had left; nginx takes it so too.
        """
        poll = select.poll()
        poll.register(self.connection, select.POLLIN)
        try:
            return not poll.poll(0) or bool(self.connection.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def _is_passed_on(self, lease: Lease, body: bytes) -> bool:
        """Have the worker answer; False when a reload ended it before."""
        try:
            response, answer, connection = self._exchange(lease, body)
        except WorkerGone as gone:
            lease.is_gone = True
            self._seen.held_up(lease.stack)
            if lease.ended_as == outcome.REPLACED:
                return False
            self.pool.lost(lease.pid)
            if lease.ended_as == outcome.TIMED_OUT:
                self._fail_timed_out(lease, None)
            else:
                self._fail(outcome.DIED, gone.message, None)
            return True
        try:
            failure = _failure(response.getheader(HEADER))
            # Not handed out again between its answer and its end.
            lease.is_gone = lease.is_gone or response.getheader(LAST_HEADER) is not None
            self._seen.held_up(lease.stack)
            if lease.ended_as == outcome.TIMED_OUT:
                self._fail_timed_out(lease, failure)
            elif failure is not None:
                message = "{}: {}".format(failure["type"], failure["message"])
                self._fail(outcome.RAISED, message, failure)
            elif answer is not None:
                self._send(response.status, _passed_on(response), answer)
            else:
                self._stream(lease, response)
        finally:
            connection.close()
        return True

    def _exchange(
        self, lease: Lease, body: bytes
    ) -> Tuple[http.client.HTTPResponse, Optional[bytes], socket.socket]:
        """Hand the request to the worker and wait for its answer, however long.

        The supervisor keeps the time: it knows which seconds a breakpoint took. A body of known
        length is read here too, so that a worker that ends in the middle of it has not answered.
        """
        connection = lease.connection = socket.socket()
        has_begun = False
        try:
            connection.connect(("127.0.0.1", lease.port))
            # A worker that does not read on may have answered all the same.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(self._request_head(len(body)) + body)
            response = http.client.HTTPResponse(connection, method=self.command)
            response.begin()
            has_begun = True
            is_whole = response.length is not None
            return response, response.read() if is_whole else None, connection
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise (BrokenOff if has_begun else WorkerGone)() from error

    def _request_head(self, length: int) -> bytes:
        lines = ["{} {} HTTP/1.1".format(self.command, self.path)]
        for name, value in self.headers.items():
            if name.lower() not in HOP_BY_HOP and name.lower() != "content-length":
                lines.append("{}: {}".format(name, value))
        lines += ["Content-Length: {}".format(length), "Connection: close", "", ""]
        return "\r\n".join(lines).encode("latin-1", "replace")

    def _stream(self, lease: Lease, response: http.client.HTTPResponse) -> None:
        """Pass an answer of unknown length on as it comes; the client sees when it is cut."""
        chunked = self.request_version == "HTTP/1.1"
        extra = [("Transfer-Encoding", "chunked")] if chunked else [("Connection", "close")]
        self._head(response.status, _passed_on(response) + extra)
        data = b"more"
        while data:
            try:
                data = response.read1(BLOCK)
            except (OSError, http.client.HTTPException):
                lease.is_gone = True
                self._seen.broke_off(BrokenOff.message)
                self.pool.lost(lease.pid)
                self.close_connection = True
                if not chunked:
                    self._reset()
                return
            self._seen.went_on(data)
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data) if chunked else data)

    def _reset(self) -> None:
        """End the connection by a reset: in HTTP/1.0 an orderly end says that all was sent."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # socketserver would end it in order first.
        os.close(self.connection.detach())

    def _fail(self, what: str, message: str, failure: Optional[Failure]) -> None:
        self._seen.failed(message, failure)
        # Values are for who asks on the debug port, not for the client.
        shown = {key: failure[key] for key in failure if key != "locals"} if failure else None
        shown = shown if self.settings.show_errors else None
        if failure is not None and not self.settings.show_errors and what == outcome.RAISED:
            message = (
                "An unexpected error occurred in scoring script. Check the logs for more info."
            )
        status, headers, body = outcome.answer(self.settings.profile, what, message, shown)
        self._send(status, headers, _json(body))

    def _fail_timed_out(self, lease: Lease, failure: Optional[Failure]) -> None:
        milliseconds = int(self.settings.scoring_timeout_s * 1000)
        message = "Scoring timeout after {} ms".format(milliseconds)
        self._fail(outcome.TIMED_OUT, message, stacks.as_failure(lease.stack, failure))

    def _send(self, status: int, headers: Any, body: bytes) -> None:
        pairs = list(headers.items()) if isinstance(headers, dict) else list(headers)
        names = {name.lower() for name, _ in pairs}
        if "content-type" not in names and body:
            pairs.append(("Content-Type", "application/json"))
        # Without a body, HEAD may stand for an answer of unknown length.
        has_length = status not in (204, 304) and (body or self.command != "HEAD")
        if "content-length" not in names and has_length:
            pairs.append(("Content-Length", str(len(body))))
        self._head(status, pairs, body if self.command != "HEAD" else b"")

    def _head(self, status: int, headers: List[Tuple[str, str]], body: bytes = b"") -> None:
        """Write status and headers, and the body in the same packet."""
        self._seen.answered(status, body)
        reason = http.client.responses.get(status, "")
        lines = ["HTTP/1.1 {} {}".format(status, reason)]
        lines += ["{}: {}".format(name, value) for name, value in headers]
        if self.close_connection and not any(name == "Connection" for name, _ in headers):
            lines.append("Connection: close")
        self.wfile.write("\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + body)


def _json(value: Dict[str, Any]) -> bytes:
    return json.dumps(value).encode("utf-8")


def _failure(header: Optional[str]) -> Optional[Failure]:
    if not header:
        return None
    try:
        failure = json.loads(base64.b64decode(header))
    except (ValueError, binascii.Error):
        return None
    return failure if isinstance(failure, dict) and {"type", "message"} <= set(failure) else None


def _passed_on(response: http.client.HTTPResponse) -> List[Tuple[str, str]]:
    """The headers of a worker's answer that are about the message."""
    left_out = (
        HOP_BY_HOP | {LAST_HEADER} | ({"content-length"} if response.status == 204 else set())
    )
    return [(name, value) for name, value in response.getheaders() if name.lower() not in left_out]
