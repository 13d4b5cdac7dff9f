"""Step 3, attach: debug adapter messages over TCP: framing, bounds, one question asked.

The debug port of a devkit service speaks the protocol to editors and, on any connection, answers
devkit's own requests too ("devkit/...", see `ask`). What a peer may send is bounded.
"""

from __future__ import annotations

import json
import math
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from devkit.errors import DebuggerUnreachable

Message = dict[str, Any]

# The hint of an error about a debugger that does not do what it should.
USABLE_AGAIN = "`devkit status` says how the service is; `devkit reload` starts its worker again."

MAX_HEADER = 8 * 1024
# A stack full of large locals stays far below it.
MAX_BODY = 64 * 1024 * 1024
_SEPARATOR = b"\r\n\r\n"
# What taking an answer for what it should be raises where it is something else.
NO_SENSE = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)
_MOST_WHOLE = 10**15
# Past the year 9000 there is no local time.
_MOST_TIME = 2.2e11


class Channel:
    """A connection that sends and receives whole messages."""

    def __init__(self, connection: socket.socket, peer: str) -> None:
        self._socket = connection
        self._pending = bytearray()
        self._seq = 0
        self.peer = peer

    @classmethod
    def open(cls, host: str, port: int, *, timeout_s: float) -> Channel:
        """Connect.

        Raises:
            DebuggerUnreachable: nothing listens there.
        """
        try:
            connection = socket.create_connection((host, port), timeout=timeout_s)
        except OSError as error:
            raise DebuggerUnreachable(
                f"Nothing answers on the debug port {host}:{port}: {error}.",
                hint="`devkit status` says whether the service runs.",
            ) from error
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(connection, f"{host}:{port}")

    def fileno(self) -> int:
        """The socket's descriptor, for select."""
        return self._socket.fileno()

    def drain(self, *, timeout_s: float) -> None:
        """Read until the peer closes, for at most about `timeout_s`; what it says is dropped."""
        deadline = time.monotonic() + timeout_s
        with suppress(TimeoutError, DebuggerUnreachable):
            while (remaining := deadline - time.monotonic()) > 0:
                self.fill(timeout_s=remaining)
                self._pending.clear()

    def close(self) -> None:
        """Let go of the connection."""
        self._socket.close()

    def send(self, message: Mapping[str, Any]) -> int:
        """Send a message with the next sequence number, and return that number."""
        self._seq += 1
        body = json.dumps({"seq": self._seq, **message}).encode()
        try:
            self._socket.sendall(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        except OSError as error:
            raise self._gone(str(error)) from error
        return self._seq

    def request(self, command: str, arguments: Mapping[str, Any]) -> int:
        """Send a request; its number is the answer's "request_seq"."""
        return self.send({"type": "request", "command": command, "arguments": arguments})

    def receive(self, *, timeout_s: float) -> Message:
        """Wait for the next message.

        Raises:
            TimeoutError: none came in time.
            DebuggerUnreachable: the peer is gone, or what it sends is no message.
        """
        deadline = time.monotonic() + timeout_s
        while (message := self.buffered()) is None:
            self.fill(timeout_s=_left(deadline))
        return message

    def fill(self, *, timeout_s: float) -> None:
        """Wait for bytes and keep them for `buffered`; raises as `receive` does."""
        self._socket.settimeout(timeout_s)
        try:
            data = self._socket.recv(65536)
        except TimeoutError:
            raise
        except OSError as error:
            raise self._gone(str(error)) from error
        if not data:
            raise self._gone("it closed the connection")
        self._pending += data

    def answer(self, seq: int, *, timeout_s: float) -> Message:
        """Wait for the response to request `seq`; all else that arrives is dropped.

        Raises as `receive` does, also where the peer never stops talking.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            message = self.receive(timeout_s=_left(deadline))
            if message.get("type") == "response" and message.get("request_seq") == seq:
                return message

    def buffered(self) -> Message | None:
        """The next message if all of it has arrived."""
        end = self._pending.find(_SEPARATOR)
        if end < 0:
            if len(self._pending) > MAX_HEADER:
                raise self._gone("its header has no end")
            return None
        start = end + len(_SEPARATOR)
        length = self._length(bytes(self._pending[:end]))
        if len(self._pending) < start + length:
            return None
        body = bytes(self._pending[start : start + length])
        del self._pending[: start + length]
        try:
            message = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise self._gone("its message is not JSON") from error
        if not isinstance(message, dict):
            raise self._gone("its message is not an object")
        return message

    def _length(self, header: bytes) -> int:
        for line in header.split(b"\r\n"):
            name, _, value = line.partition(b":")
            # int() takes long for thousands of digits.
            if name.strip().lower() == b"content-length" and value.strip().isdigit():
                length = int(value) if len(value) < 12 else MAX_BODY + 1
                if len(header) <= MAX_HEADER and length <= MAX_BODY:
                    return length
                raise self._gone("its message is too large")
        raise self._gone("it does not speak the debug adapter protocol")

    def _gone(self, why: str) -> DebuggerUnreachable:
        return DebuggerUnreachable(
            f"The debugger at {self.peer} cannot be used: {why}.",
            hint=USABLE_AGAIN,
        )


def _left(deadline: float) -> float:
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise TimeoutError("what came was not what was waited for")
    return remaining


def ask(
    host: str, port: int, command: str, arguments: Mapping[str, Any], *, timeout_s: float
) -> Message:
    """Ask devkit's runtime one question beside whatever an editor does there.

    Raises:
        DebuggerUnreachable: nothing answers, or it is not devkit's runtime.
    """
    channel = Channel.open(host, port, timeout_s=timeout_s)
    try:
        answer = channel.answer(channel.request(command, arguments), timeout_s=timeout_s)
        body = answer.get("body")
        if not answer.get("success") or not isinstance(body, dict):
            _say_goodbye(channel)
            raise DebuggerUnreachable(
                f"The debugger at {host}:{port} refused {command}: {answer.get('message')}.",
                hint="Is it devkit's? `devkit status` shows the ports of each service.",
            )
        return body
    except TimeoutError as error:
        raise DebuggerUnreachable(
            f"The debugger at {host}:{port} did not answer {command} within {timeout_s:g} s.",
            hint="`devkit logs` shows what the service does.",
        ) from error
    finally:
        channel.close()


def whole(value: Any) -> int:
    """A count or an id out of an answer; raises one of NO_SENSE where it is none."""
    made = int(value)
    if not 0 <= made < _MOST_WHOLE:
        raise ValueError("a number out of range")
    return made


def duration(value: Any) -> float:
    """A time or a duration out of an answer, in any unit; raises one of NO_SENSE where none."""
    made = float(value)
    if not (math.isfinite(made) and 0 <= made <= _MOST_TIME):
        raise ValueError("a time out of range")
    return made


def _say_goodbye(channel: Channel) -> None:
    """Leave a plain debugpy as it wants it: one that is just dropped stops listening."""
    channel.answer(channel.request("disconnect", {}), timeout_s=2)
    channel.drain(timeout_s=1)
