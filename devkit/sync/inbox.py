"""Step 5, sync: what other threads ask of the loop's thread, done there one after the other."""

from __future__ import annotations

import queue
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from devkit.errors import EngineError, SyncHalted


class Inbox:
    """Actions that wait for their thread."""

    def __init__(self) -> None:
        self._queue = queue.SimpleQueue[Callable[[], None]]()
        self._is_over = False

    def put(self, action: Callable[[], None]) -> None:
        """Let an action be done, and do not wait for it."""
        self._queue.put(action)

    def wake(self) -> None:
        """Let the thread look around."""
        self._queue.put(lambda: None)

    def call(self, action: Callable[..., None], *arguments: Any) -> None:
        """Let an action be done, wait for its end, and raise what it raised."""
        future: Future[None] = Future()

        def act() -> None:
            try:
                action(*arguments)
            except (SyncHalted, EngineError, OSError) as error:
                future.set_exception(error)
            else:
                future.set_result(None)

        self._queue.put(act)
        if self._is_over:
            self.take(0)
        future.result()

    def take(self, wait_s: float | None) -> bool:
        """Do what came, and wait for the first of it, None for ever; whether something came."""
        came = False
        wait_s = wait_s and max(0.0, wait_s)
        with suppress(queue.Empty):
            action = self._queue.get(timeout=wait_s) if wait_s != 0 else self._queue.get_nowait()
            while True:
                came = True
                action()
                action = self._queue.get_nowait()
        return came

    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return self._queue.empty()

    def close(self) -> None:
        """Let nobody wait any more: the thread has ended, and whoever calls does it himself."""
        self._is_over = True
        self.take(0)
