"""A reload: from files that changed to workers that run the new code."""

from __future__ import annotations

import os
import time
from typing import List, Sequence, Set

from . import background
from .fleet import Fleet
from .pool import Pool
from .processes import Worker
from .settings import Settings
from .watch import Change
from .wire import say
from .workers import Workers


class Reload:
    """Swaps the workers, or patches them in place where the setting says "hot"."""

    def __init__(self, settings: Settings, pool: Pool, fleet: Fleet, workers: Workers) -> None:
        self._is_hot = settings.reload == "hot"
        self._pool = pool
        self._fleet = fleet
        self._workers = workers
        self._is_unsure = False
        self._patching: Set[int] = set()
        workers.on_patched = self._on_patched
        workers.on_forgotten = self._no_longer_patching

    def on_change(self, changes: List[Change]) -> None:
        """Files of the service have another content."""
        names = ", ".join(sorted(os.path.basename(change.path) for change in changes)[:3])
        more = " and {} more".format(len(changes) - 3) if len(changes) > 3 else ""
        say("changed: {}{}".format(names, more))
        self._workers.changed_at = time.monotonic()
        is_code = all(change.path.endswith(".py") for change in changes)
        if self._is_hot and is_code and self._pool.phase == "ready":
            background.start(self._patch(changes))
        else:
            self._workers.retire()
            background.start(self.swap(changes))

    def on_unsure(self, is_unsure: bool) -> None:
        """Requests wait while it is open whether the running code is the saved one."""
        self._is_unsure = is_unsure
        self._pool.hold(self._is_unsure or bool(self._patching))

    async def again(self) -> None:
        """Load the code again, changed or not."""
        self._workers.changed_at = time.monotonic()
        await self.swap([])

    async def swap(self, changes: Sequence[Change]) -> None:
        """End the workers, wake the standby with the new code."""
        self._workers.generation += 1
        generation = self._workers.generation
        self._workers.retire()
        try:
            await self._fleet.breakpoints.follow(changes)
        except Exception as error:  # noqa: BLE001 - the new code has to be loaded all the same
            say("breakpoints could not be moved: {}: {}".format(type(error).__name__, error))
        if generation == self._workers.generation:
            self._workers.load()

    async def _patch(self, changes: List[Change]) -> None:
        """Put new function bodies into the running workers: what init() loaded stays."""
        self._patching = {worker.slot for worker in self._workers.active}
        self.on_unsure(self._is_unsure)
        await self._fleet.breakpoints.follow(changes)
        for worker in self._workers.active:
            worker.channel.send({"do": "hot", "files": [change.path for change in changes]})

    def _on_patched(self, worker: Worker, is_done: bool) -> None:
        say("patched in place" if is_done else "not patched; the old code serves on")
        self._no_longer_patching(worker)

    def _no_longer_patching(self, worker: Worker) -> None:
        if worker.slot in self._patching:
            self._patching.discard(worker.slot)
            self.on_unsure(self._is_unsure)
