"""A process in a container as a two-way byte stream: the engine's frames, taken apart."""

from __future__ import annotations

import contextlib
import os
import struct
import time
from collections.abc import Callable

from docker import APIClient
from docker.errors import APIError

from devkit.engine import InputEnded
from devkit.engines import upgraded
from devkit.errors import EngineError

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
        self._connection, self._early = upgraded.start(client, exec_id, tty=tty)
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
        """Send all of `data` to standard input.

        Raises:
            InputEnded: nobody takes it any more.
        """
        try:
            self._connection.sendall(data)
        except OSError as error:
            raise InputEnded(
                f"The process in the container takes no more input ({error.strerror or error}).",
                hint="`devkit status` says whether the service still runs.",
            ) from error

    def close_stdin(self) -> None:
        """End standard input; the process reads end of file."""
        self._connection.end_sending()

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
                raise EngineError(
                    "A process in the container closed its output but did not end.",
                    hint="`devkit exec -- ps aux` shows it; `devkit stop` ends them all.",
                )
            time.sleep(0.01)

    def resize(self, *, rows: int, columns: int) -> None:
        """Tell a terminal's size; nothing where there is no terminal."""
        # The engine refuses for a process that has ended meanwhile, which the reader learns anyway.
        if self._tty:
            with contextlib.suppress(APIError):
                self._client.exec_resize(self._exec_id, height=rows, width=columns)

    def fileno(self) -> int:
        """Return a descriptor that is readable when `read` has something; ask for each wait."""
        if self._early or self._connection.holds_data():
            return self._always_readable()
        return self._connection.fileno()

    def close(self) -> None:
        """Let go of the stream; the process loses its standard input."""
        self._ended = True
        self._connection.close()
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
            return self._connection.recv(size)
        except ConnectionResetError:
            return b""

    def _keep_stderr(self, data: bytes) -> None:
        if self._on_stderr is not None:
            self._on_stderr(data)
        self._stderr += data
        del self._stderr[:-_STDERR_KEPT]
