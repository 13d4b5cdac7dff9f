"""Between steps: Ctrl-C and SIGTERM held back while an engine makes or removes something.

An engine goes on with what it was asked for when nobody waits for the answer any more: who then
looks what has to be removed comes too early.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def held() -> Iterator[None]:
    """Let an interrupt through at the end of the block; a second one, at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting = list[int]()
    before = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        handler = signal.getsignal(number)
        if callable(handler):
            before[number] = handler

    def hold(number: int, frame: FrameType | None) -> None:
        if waiting:
            before[signal.Signals(number)](number, frame)
        waiting.append(number)

    for number in before:
        signal.signal(number, hold)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if waiting:
        signal.raise_signal(waiting[0])
