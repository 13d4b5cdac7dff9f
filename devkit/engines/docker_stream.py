"""A process in a container as a two-way byte stream: the engine's frames, taken apart."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import requests
from docker import APIClient
from docker.errors import APIError

from devkit.errors import EngineError, Unsupported

Translation = Callable[[], contextlib.AbstractContextManager[None]]

_STDERR = 2
_STDERR_KEPT = 64 * 1024
# After the stream's end the engine needs a moment to record the exit code.
_EXIT_CODE_WAIT_S = 10.0


class DockerStream:
    """One exec: `Stream` over the connection that the engine upgraded.

    Nothing is read ahead: each read takes a frame's header, then only what is asked for.
    """

    def __init__(
        self,
        client: APIClient,
        exec_id: str,
        *,
        tty: bool,
        translated: Translation,
        on_stderr: Callable[[bytes], None] | None = None,
    ) -> None:
        self._client = client
        self._translated = translated
        self._exec_id = exec_id
        self._tty = tty
        self._response = _start(client, exec_id, tty=tty)
        self._socket, self._early = _connection(self._response)
        self._frame_left = 0
        self._frame_is_stderr = False
        self._stderr = bytearray()
        self._on_stderr = on_stderr
        self._ended = False
        self._ready: int | None = None

    def read(self, size: int = 65536) -> bytes:
        """Return standard output as it comes, at most `size` bytes; b"" at its end."""
        if self._tty:
            return self._receive(size)
        while not self._ended:
            if not self._frame_left:
                if not self._next_frame():
                    break
                continue  # a frame may be empty
            data = self._receive(min(size, self._frame_left))
            self._frame_left -= len(data)
            if not data:
                break
            if not self._frame_is_stderr:
                return data
            self._keep_stderr(data)
        self._ended = True
        return b""

    def write(self, data: bytes) -> None:
        """Send all of `data` to standard input."""
        self._socket.sendall(data)

    def close_stdin(self) -> None:
        """End standard input; the process reads end of file.

        Raises:
            Unsupported: TLS connections cannot be closed one way from Python.
        """
        if hasattr(self._socket, "shutdown_write"):
            self._socket.shutdown_write()
        elif hasattr(self._socket, "unwrap"):
            raise Unsupported(
                "Standard input cannot be ended over a TLS connection to the engine.",
                hint="Use an ssh:// address for this engine.",
            )
        else:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)

    def stderr(self) -> bytes:
        """Return what came on standard error so far (the last 64 KiB)."""
        return bytes(self._stderr)

    def wait(self) -> int:
        """Read to the end and return the exit code."""
        while self.read():
            pass
        deadline = time.monotonic() + _EXIT_CODE_WAIT_S
        while True:
            with self._translated():
                state = self._client.exec_inspect(self._exec_id)
            if not state["Running"] and state["ExitCode"] is not None:
                return int(state["ExitCode"])
            if time.monotonic() > deadline:
                raise EngineError("A process in the container closed its output but did not end.")
            time.sleep(0.01)

    def resize(self, *, rows: int, columns: int) -> None:
        """Tell a terminal's size; nothing where there is no terminal."""
        # The engine refuses for a process that has ended meanwhile, which the reader learns anyway.
        if self._tty:
            with contextlib.suppress(APIError):
                self._client.exec_resize(self._exec_id, height=rows, width=columns)

    def fileno(self) -> int:
        """Return a descriptor that is readable when `read` has something; ask for each wait."""
        decrypted = getattr(self._socket, "pending", None)
        if self._early or (decrypted is not None and decrypted()):
            return self._always_readable()
        return int(self._socket.fileno())

    def close(self) -> None:
        """Let go of the stream; the process loses its standard input."""
        self._ended = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._response.close()
        if self._ready is not None:
            os.close(self._ready)
            self._ready = None

    def _always_readable(self) -> int:
        # Bytes that this side holds already do not make the connection readable; an ended pipe is.
        if self._ready is None:
            self._ready, writer = os.pipe()
            os.close(writer)
        return self._ready

    def _next_frame(self) -> bool:
        header = b""
        while len(header) < 8:
            part = self._receive(8 - len(header))
            if not part:
                return False
            header += part
        kind, self._frame_left = struct.unpack(">BxxxL", header)
        self._frame_is_stderr = kind == _STDERR
        return True

    def _receive(self, size: int) -> bytes:
        if self._early:
            data, self._early = self._early[:size], self._early[size:]
            return data
        try:
            return bytes(self._socket.recv(size))
        except ConnectionResetError:
            return b""

    def _keep_stderr(self, data: bytes) -> None:
        if self._on_stderr is not None:
            self._on_stderr(data)
        self._stderr += data
        del self._stderr[:-_STDERR_KEPT]


def _start(client: APIClient, exec_id: str, *, tty: bool) -> requests.Response:
    """Start an exec and keep the response, whose reader may hold the first bytes already.

    `APIClient.exec_start(socket=True)` drops the response and with it those bytes.
    """
    api: Any = client
    response: requests.Response = api._post_json(
        api._url("/exec/{0}/start", exec_id),
        headers={"Connection": "Upgrade", "Upgrade": "tcp"},
        data={"Tty": tty, "Detach": False},
        stream=True,
    )
    api._raise_for_status(response)
    return response


def _connection(response: requests.Response) -> tuple[Any, bytes]:
    """Return the connection below a response, and the bytes that were read with its header."""
    raw: Any = response.raw
    reader: Any = raw._fp.fp
    if hasattr(reader, "channel"):  # ssh, through paramiko
        return reader.channel, bytes(reader._rbuffer)
    connection = reader.raw._sock
    connection.settimeout(0)
    early = reader.peek()
    connection.settimeout(None)
    return connection, early
