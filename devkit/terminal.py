"""Step 4, use: this terminal joined to a process in a container: keys in, its screen out."""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from devkit.engine import Stream
from devkit.errors import Unsupported


def is_terminal() -> bool:
    """Whether a person sits at both ends."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def interact(stream: Stream) -> int:
    """Join stdin and stdout to a process that has a terminal; return its exit code.

    Raises:
        Unsupported: this system's terminals are not POSIX's.
    """
    if os.name != "posix":
        hint = "`devkit exec -T` works without one."
        raise Unsupported("A terminal in the container needs Linux, macOS or WSL.", hint=hint)
    stdin, stdout = sys.stdin.fileno(), sys.stdout.fileno()
    with _raw(stdin), _sizes_followed(stream):
        typing = True
        while True:
            # The stream's descriptor may change between two waits.
            output = stream.fileno()
            ready, _, _ = select.select([output, stdin] if typing else [output], [], [])
            if output in ready:
                data = stream.read()
                if not data:
                    break
                _write(stdout, data)
            if stdin in ready:
                keys = os.read(stdin, 4096)
                typing = bool(keys)
                if keys:
                    stream.write(keys)
                else:
                    stream.close_stdin()
    return stream.wait()


def relay(stream: Stream) -> int:
    """Pass stdin and stdout through, byte for byte; return the process's exit code."""
    threading.Thread(target=_feed, args=(stream,), daemon=True).start()
    while data := stream.read():
        _write(sys.stdout.fileno(), data)
    return stream.wait()


def captured(stream: Stream) -> tuple[int, bytes]:
    """Pass stdin in; return the process's exit code and all that it said on its output."""
    threading.Thread(target=_feed, args=(stream,), daemon=True).start()
    output = b"".join(iter(stream.read, b""))
    return stream.wait(), output


def to_stderr(data: bytes) -> None:
    """Pass on what a process says on its standard error."""
    _write(sys.stderr.fileno(), data)


def _feed(stream: Stream) -> None:
    with suppress(OSError):  # the process ended, or reads no more
        if not sys.stdin.isatty():
            while data := os.read(sys.stdin.fileno(), 65536):
                stream.write(data)
        stream.close_stdin()


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


@contextmanager
def _raw(descriptor: int) -> Iterator[None]:
    import termios
    import tty

    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextmanager
def _sizes_followed(stream: Stream) -> Iterator[None]:
    def resize(*_: object) -> None:
        size = shutil.get_terminal_size()
        stream.resize(rows=size.lines, columns=size.columns)

    before = signal.signal(signal.SIGWINCH, resize)
    try:
        resize()
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)
