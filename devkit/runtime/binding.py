"""The editor's breakpoints in the processes: sent, answered, and moved along with an edit."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Awaitable, List, Sequence, Tuple

from . import background
from .breakpoints import Breakpoints, Source
from .debuggee import Debuggee, Gone
from .events import Events
from .watch import Change
from .wire import Message

if TYPE_CHECKING:
    from .fleet import Fleet

# How long a reload waits for the editor's word on breakpoints that were set since the last save.
# VS Code sends a saved file's breakpoints 40 to 150 ms after the save, if its edits moved them.
RESEND_S = 0.4
# A process that code keeps busy answers later.
ANSWER_S = 2.0

Sent = Tuple[Source, "asyncio.Future[Message]"]


class Binding:
    """Keeps the breakpoints, and the fleet's processes in step with them."""

    def __init__(self, fleet: Fleet, events: Events) -> None:
        self._fleet = fleet
        self._events = events
        self._stored = Breakpoints()

    def begin(self, path_mappings: Any) -> None:
        """An editor attaches, with these pathMappings."""
        self._stored.set_mappings(path_mappings)

    def end(self) -> None:
        """It is gone, and so is what it asked for."""
        self._stored.clear()

    def send_all(self, item: Debuggee) -> List[Sent]:
        """Tell a new process all of them."""
        return [(source, self._send_to(item, source)) for source in self._stored.all()]

    async def follow(self, changes: Sequence[Change]) -> None:
        """Move breakpoints along with an edit, in every process, before the new code is loaded."""
        doubtful = self._stored.doubtful(list(changes))
        moved = list(self._stored.after(list(changes)))
        # An editor that stays silent set them in the text that has just been saved.
        await self._fleet.until(
            lambda: not any(self._stored.is_current(source) for source in doubtful), RESEND_S
        )
        for source in doubtful:
            source.is_unsure = False
        waiting = [
            self._send_to(item, source)
            for source in moved
            if self._stored.is_current(source)
            for item in self._fleet.attached_processes
        ]
        if waiting:
            await asyncio.wait(waiting, timeout=ANSWER_S)
        if moved:
            background.start(self._show_moved(moved))

    async def _show_moved(self, moved: List[Source]) -> None:
        """Move the dots of an editor that did not see the edit: its next word would be of them."""
        await asyncio.sleep(RESEND_S)
        for source in moved:
            if self._stored.is_current(source):
                for number, item in zip(source.ids, source.wanted):
                    self._events.show_breakpoint(
                        {"id": number, "verified": True, "line": item["line"]}
                    )

    def set(self, arguments: Message) -> Awaitable[Message]:
        """Set a file's breakpoints everywhere, now; the answer is the primary's."""
        is_live = self._fleet.editor is not None and self._fleet.editor.is_configured
        source = self._stored.store(arguments, is_live)
        self._fleet.changed.set()
        primary = self._fleet.primary
        answers = {item: self._send_to(item, source) for item in self._fleet.attached_processes}
        if source.is_ahead:
            # The answer of the old text would move the editor's dots.
            numbered = zip(source.ids, source.wanted)
            shown = [{"id": n, "verified": True, "line": each.get("line")} for n, each in numbered]
            return _answered({"breakpoints": shown})
        if primary is None:
            source.is_unanswered = True
            unknown = [{"id": number, "verified": False} for number in source.ids]
            return _answered({"breakpoints": unknown})
        return answers[primary]

    def _send_to(self, item: Debuggee, source: Source) -> asyncio.Future[Message]:
        sent = item.send("setBreakpoints", source.arguments)
        return asyncio.ensure_future(self._learn_ids(item, source, sent))

    async def _learn_ids(
        self, item: Debuggee, source: Source, sent: asyncio.Future[Message]
    ) -> Message:
        """The answer with the ids that the editor knows."""
        try:
            response = await sent
        except Gone:
            response, source.is_unanswered = {}, True
        body = response.get("body") or {}
        answers = body.get("breakpoints") or [{"verified": False} for _ in source.ids]
        for known, answer in zip(source.ids, answers):
            if "id" in answer:
                item.breakpoint_ids[answer["id"]] = known
            answer["id"] = known
        return dict(body, breakpoints=answers)

    def answer_late(self, sent: List[Sent]) -> None:
        """Tell what no process was there to verify when the editor asked."""
        for source, answer in sent:
            if source.is_unanswered and answer.done():
                source.is_unanswered = False
                for one in answer.result().get("breakpoints") or []:
                    self._events.show_breakpoint(one)


def _answered(body: Message) -> asyncio.Future[Message]:
    future: asyncio.Future[Message] = asyncio.get_event_loop().create_future()
    future.set_result(body)
    return future
