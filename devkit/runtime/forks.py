"""The zygote, kept running: asked for workers, told what to import, started again when it ends."""

from __future__ import annotations

import asyncio
from typing import Callable, List, Optional, Sequence, Set

from .processes import Deaths, Worker, Zygote, exit_text
from .wire import Message, say

RESTART_S = 0.2


class Forks:
    """`on_up` is told when workers can be forked, `on_lost` when what was asked for is lost."""

    def __init__(
        self,
        on_up: Callable[[], None],
        on_forked: Callable[[int, int], None],
        on_exited: Callable[[int, int], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._on_up = on_up
        self._on_forked = on_forked
        self._on_exited = on_exited
        self._on_lost = on_lost
        self._zygote: Optional[Zygote] = None
        self._preload: List[str] = []
        self._not_preloaded: Set[str] = set()
        self._deaths = Deaths()
        self._has_ended = False
        self.is_up = False

    def start(self) -> None:
        """Start a zygote; `on_up` follows."""
        if not self._has_ended:
            self.is_up = False
            self._zygote = Zygote(self._on_message, self._on_end)

    def stop(self) -> None:
        """Start none any more."""
        self._has_ended = True

    def end(self) -> None:
        """End it; its children live on."""
        if self._zygote is not None:
            self._zygote.end()

    def fork(self, worker: Worker) -> None:
        """Ask for a child on the worker's channel; `on_forked` gets its slot and pid."""
        if self._zygote is not None:
            self._zygote.fork(worker)

    def remember(self, modules: Sequence[str]) -> None:
        """Have the children to come find these modules imported."""
        known = set(self._preload) | self._not_preloaded
        new = [name for name in modules if name not in known]
        if new and self._zygote is not None:
            self._preload += new
            self._zygote.preload(new)

    def _on_message(self, message: Message) -> None:
        kind = message.get("is")
        if kind == "zygote":
            self.is_up = True
            if self._preload and self._zygote is not None:
                self._zygote.preload(self._preload)
            self._on_up()
        elif kind == "forked":
            self._on_forked(message["slot"], message["pid"])
        elif kind == "exited":
            self._on_exited(*message["ended"])
        elif kind == "threads":
            say("{} starts threads when imported: not preloaded any more".format(message["module"]))
            self._not_preloaded.add(message["module"])

    def _on_end(self) -> None:
        """Its children live on without a parent; new ones need a new zygote."""
        if self._has_ended or self._zygote is None:
            return
        self.is_up = False
        self._zygote.process.kill()
        status = self._zygote.process.wait()
        say("the zygote ended ({}); starting another".format(exit_text(status)))
        self._leave_out_the_harmful()
        self._on_lost()
        asyncio.get_event_loop().call_later(RESTART_S, self.start)

    def _leave_out_the_harmful(self) -> None:
        """Leave out modules that start threads; all of them when it ends again and again."""
        if self._deaths.note() and self._preload:
            say("nothing is preloaded any more: reloads take the time of the imports")
            self._not_preloaded.update(self._preload)
        self._preload = [name for name in self._preload if name not in self._not_preloaded]
