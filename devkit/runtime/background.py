"""Work that goes on by itself on the event loop."""

from __future__ import annotations

import asyncio
from typing import Any, Awaitable, Set

from .wire import say

_running: Set[asyncio.Future[Any]] = set()


def start(work: Awaitable[Any]) -> None:
    """Run `work` to its end; the loop alone would not keep it alive. An error goes to the log."""
    task = asyncio.ensure_future(work)
    _running.add(task)
    task.add_done_callback(_ended)


def _ended(task: asyncio.Future[Any]) -> None:
    _running.discard(task)
    if not task.cancelled() and task.exception() is not None:
        error = task.exception()
        say("internal error: {}: {}".format(type(error).__name__, error))
