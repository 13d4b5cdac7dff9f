"""Where a worker is: it says so, else its faulthandler, which a signal asks, through a pipe."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence

from . import stacks
from .pool import Lease
from .stacks import Thread
from .worker import STACKS_SIGNAL

if TYPE_CHECKING:
    from .processes import Worker
    from .workers import Workers

MAX_TEXT = 512 * 1024
# For the first word of a worker, and after its last where that is not known to be the last.
_ANSWER_S = 2.0
_QUIET_S = 0.2
# For the worker itself, which cannot while its run() holds the GIL.
_ITSELF_S = 0.5


class Dump:
    """The reading end of a worker's pipe; nothing is read while nobody asks."""

    def __init__(self) -> None:
        self._reading, self.writing = os.pipe()
        os.set_blocking(self._reading, False)
        self._turn = asyncio.Lock()
        self._told = asyncio.Event()
        self._text = b""
        self.names: Dict[str, str] = {}
        self._own_text = ""
        self._is_answered = asyncio.Event()

    def handed_over(self) -> None:
        """The worker has the writing end."""
        os.close(self.writing)

    def close(self) -> None:
        """The worker is gone."""
        os.close(self._reading)
        self._reading = -1
        self._told.set()

    def told_by_itself(self, message: Dict[str, Any]) -> None:
        """The worker says what its threads do, and what they are called."""
        names = message.get("names")
        if isinstance(names, dict):
            self.names = {str(number): str(name)[:100] for number, name in names.items()}
        self._own_text = str(message.get("text") or "")[:MAX_TEXT]
        self._is_answered.set()

    async def taken(self, worker: Worker) -> Optional[str]:
        """What the worker's threads do now, in faulthandler's words; None when it does not say."""
        async with self._turn:
            if self._reading < 0:
                return None
            self._own_text = ""
            self._is_answered.clear()
            worker.channel.send({"do": "threads"})
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._is_answered.wait(), _ITSELF_S)
            return self._own_text or await self._of_faulthandler(worker.pid)

    async def _of_faulthandler(self, pid: int) -> Optional[str]:
        if self._reading < 0 or not _is_caught(pid):
            return None
        self._read()  # what an earlier one said too late
        self._text = b""
        loop = asyncio.get_event_loop()
        loop.add_reader(self._reading, self._read)
        watched = self._reading
        try:
            os.kill(pid, STACKS_SIGNAL)
            await self._whole()
        except ProcessLookupError:
            return None
        finally:
            loop.remove_reader(watched)
        return self._text.decode("utf-8", "replace") or None

    async def _whole(self) -> None:
        """Wait for all of it; where its end cannot be told, until nothing comes any more."""
        while len(self._text) < MAX_TEXT and self._reading >= 0:
            self._told.clear()
            wait_s = _QUIET_S if self._text else _ANSWER_S
            try:
                await asyncio.wait_for(self._told.wait(), wait_s)
            except asyncio.TimeoutError:
                return
            if stacks.is_complete(self._text[-1000:].decode("utf-8", "replace")):
                return

    def _read(self) -> None:
        data = b""
        with contextlib.suppress(OSError):  # nothing is there
            data = os.read(self._reading, MAX_TEXT)
        self._text = (self._text + data)[:MAX_TEXT]
        if not data and self._reading >= 0:
            # At its end it would be readable for ever.
            asyncio.get_event_loop().remove_reader(self._reading)
        self._told.set()


class Dumps:
    """Looks at workers: asked for, and by itself when a request takes long."""

    def __init__(self, workers: Workers, roots: Sequence[str]) -> None:
        self._workers = workers
        self._roots = roots

    async def threads(self, worker: Worker) -> Optional[List[Thread]]:
        """What a worker's threads do; None when it does not say."""
        text = await worker.dump.taken(worker)
        return None if text is None else stacks.threads(text, worker.dump.names, self._roots)

    async def look(self, lease: Lease, *, is_last: bool) -> None:
        """Look at a request's worker on the way to its time limit; the last time tells all."""
        worker = self._workers.of_pid(lease.pid)
        after_s = lease.active_s
        found = await self.threads(worker) if worker is not None else None
        if not found:
            return
        if is_last:
            lease.stack = stacks.joined(found, after_s, lease.seen)
        lease.seen.append((found, after_s))


def _is_caught(pid: int) -> bool:
    """Whether the process handles the signal: one that the user's code freed would end it."""
    try:
        with open("/proc/{}/status".format(pid), encoding="ascii", errors="replace") as file:
            caught = next(line for line in file if line.startswith("SigCgt:"))
    except (OSError, StopIteration):
        return False
    return bool(int(caught.split()[1], 16) >> (STACKS_SIGNAL - 1) & 1)
