"""A process of this machine as a two-way byte stream, over pipes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from devkit.engine import InputEnded

_STDERR_KEPT = 64 * 1024
_NOT_FOUND = 127
_NOT_EXECUTABLE = 126


class PipeStream:
    """`Stream` over a child process; a command that cannot start ends with a shell's code."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        workdir: str | Path | None = None,
        on_stderr: Callable[[bytes], None] | None = None,
    ) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr = bytearray()
        self._on_stderr = on_stderr
        child_in, self._input = os.pipe()
        self._output, child_out = os.pipe()
        errors, child_err = os.pipe()
        try:
            self._process = subprocess.Popen(
                command,
                env=env,
                cwd=workdir,
                stdin=child_in,
                stdout=child_out,
                stderr=child_err,
                start_new_session=True,
            )
        except OSError as error:
            # As in a container: the reason is what the process "said".
            os.write(child_out, f"{command[0]}: {error.strerror}\n".encode())
            absent = isinstance(error, FileNotFoundError)
            self._failed = _NOT_FOUND if absent else _NOT_EXECUTABLE
        finally:
            for end in (child_in, child_out, child_err):
                os.close(end)
        self._drain = threading.Thread(target=self._keep_stderr, args=(errors,), daemon=True)
        self._drain.start()

    def read(self, size: int = 65536) -> bytes:
        """Return standard output as it comes, at most `size` bytes; b"" at its end."""
        return b"" if self._output == -1 else os.read(self._output, size)

    def write(self, data: bytes) -> None:
        """Send all of `data` to standard input.

        Raises:
            InputEnded: nobody takes it any more.
        """
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self._input, left) :]
        except OSError as error:
            raise InputEnded(
                f"The process takes no more input ({error.strerror}).",
                hint="`devkit status` says whether the service still runs.",
            ) from error

    def close_stdin(self) -> None:
        """End standard input; the process reads end of file."""
        if self._input != -1:
            os.close(self._input)
            self._input = -1

    def stderr(self) -> bytes:
        """Return what came on standard error so far (the last 64 KiB)."""
        return bytes(self._stderr)

    def wait(self) -> int:
        """Read to the end and return the exit code."""
        while self.read():
            pass
        if self._process is None:
            return self._failed
        code = self._process.wait()
        self._drain.join()
        return code if code >= 0 else 128 - code

    def resize(self, *, rows: int, columns: int) -> None:
        """Do nothing: pipes have no size."""

    def fileno(self) -> int:
        """Return a descriptor that becomes readable when `read` has something."""
        return self._output

    def close(self) -> None:
        """Let go of the stream; the process loses its standard input."""
        self.close_stdin()
        # The reader may close it at the same time.
        output, self._output = self._output, -1
        if output != -1:
            os.close(output)
        if self._process is not None:
            # One that goes on without us is reaped when it ends, and nobody waits for that.
            threading.Thread(target=self._process.wait, daemon=True).start()

    def _keep_stderr(self, errors: int) -> None:
        with contextlib.suppress(OSError):
            while data := os.read(errors, 65536):
                if self._on_stderr is not None:
                    self._on_stderr(data)
                self._stderr += data
                del self._stderr[:-_STDERR_KEPT]
        os.close(errors)
