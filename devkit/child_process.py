"""Step 1, package: a program in a group of its own, which never outlives its block.

That holds for a Ctrl-C, and for an error.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, cast


@contextmanager
def child_process(
    command: Sequence[str], *, stderr: int
) -> Iterator[tuple[subprocess.Popen[bytes], BinaryIO]]:
    """Start a program; its output is read through the pipe that comes with it."""
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        start_new_session=True,
    )
    try:
        yield child, cast(BinaryIO, child.stdout)
    finally:
        _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if child.poll() is not None:
            break
        os.killpg(child.pid, sign)
        try:
            child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            continue
