"""The two message formats: JSON lines between our own processes, DAP frames towards debuggers."""

from __future__ import annotations

import array
import asyncio
import json
import os
import socket
from typing import Any, Dict, Iterator, List, Optional, Tuple

Message = Dict[str, Any]

# A stack of locals can be large; a peer that announces more than this is not a debugger.
MAX_BODY = 64 * 1024 * 1024
MAX_HEADER = 8 * 1024


class BadFrame(Exception):
    """The bytes are not a DAP message."""


def framed(message: Message) -> bytes:
    """A DAP message with its header."""
    body = json.dumps(message, separators=(",", ":")).encode("utf-8")
    return b"Content-Length: %d\r\n\r\n" % len(body) + body


async def read_frame(reader: asyncio.StreamReader, max_body: int = MAX_BODY) -> Message:
    """Read one DAP message.

    Raises:
        BadFrame: garbage, or larger than `max_body` bytes.
        EOFError: the peer is gone (also in the middle of a message).
    """
    try:
        header = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError as error:
        raise BadFrame("header too long") from error
    length = _content_length(header)
    if not 0 < length <= max_body:
        raise BadFrame("length {}".format(length))
    try:
        message = json.loads((await reader.readexactly(length)).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BadFrame("not JSON") from error
    if not isinstance(message, dict):
        raise BadFrame("not an object")
    return message


def _content_length(header: bytes) -> int:
    if len(header) > MAX_HEADER:
        raise BadFrame("header too long")
    for line in header.rstrip().split(b"\r\n"):
        name, _, value = line.partition(b":")
        value = value.strip()
        if name.strip().lower() not in (b"content-length", b"content-type"):
            # A web page's request to this port, whose body is a message, is none.
            raise BadFrame("not a header of the protocol")
        # isdigit alone lets a thousand digits through, which int() takes long for.
        if name.strip().lower() == b"content-length" and value.isdigit() and len(value) < 12:
            return int(value)
    raise BadFrame("no Content-Length")


class LineSocket:
    """JSON lines over a blocking socket; a line may carry one file descriptor."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._pending = b""
        self._fds: List[int] = []

    def send(self, message: Message, fd: Optional[int] = None) -> None:
        """Send one message; a peer that is gone raises OSError."""
        data = json.dumps(message).encode("utf-8") + b"\n"
        if fd is not None:
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]).tobytes())
            sent = self.sock.sendmsg([data], [rights])
            data = data[sent:]
        self.sock.sendall(data)

    @property
    def has_message(self) -> bool:
        """Whether `receive` has one already, which select on the socket would not tell."""
        return b"\n" in self._pending

    def receive(self) -> Tuple[Optional[Message], Optional[int]]:
        """Wait for one message and the descriptor it carries; (None, None) at the end."""
        while b"\n" not in self._pending:
            data, ancillary, _, _ = self.sock.recvmsg(65536, socket.CMSG_SPACE(4))
            for level, kind, payload in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    fds = array.array("i")
                    fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
                    self._fds.extend(fds)
            if not data:
                return None, None
            self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        message = json.loads(line.decode("utf-8"))
        return message, self._fds.pop(0) if message.get("fd") and self._fds else None


class Lines:
    """Cuts a byte stream that arrives in pieces into JSON messages."""

    def __init__(self) -> None:
        self._pending = b""

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yield each message that `data` completes; a line that is no JSON object is dropped."""
        self._pending += data
        while b"\n" in self._pending:
            line, _, self._pending = self._pending.partition(b"\n")
            try:
                message = json.loads(line.decode("utf-8"))
            except (ValueError, RecursionError):
                continue
            if isinstance(message, dict):
                yield message


def say(text: str) -> None:
    """Write one line to the log, whole even when several processes write."""
    os.write(2, "devkit: {}\n".format(text).encode("utf-8", "replace"))
