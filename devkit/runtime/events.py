"""What the processes say of themselves, as one running program would say it to the editor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .debuggee import Debuggee
from .wire import Message

if TYPE_CHECKING:
    from .fleet import Fleet

HANDLED = ("thread", "stopped", "continued", "output", "breakpoint")
# About single processes, of which the editor is to see none.
UNSEEN = ("process", "module", "initialized", "terminated", "exited")


class Events:
    """Passes events on to the fleet's editor, if there is one that has said all it wants."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def take(self, item: Debuggee, message: Message) -> None:
        """An event of a process."""
        name, body = str(message.get("event")), message.get("body") or {}
        handler = getattr(self, "_on_" + name, None)
        if handler is not None and name in HANDLED:
            handler(item, body)
        elif name not in UNSEEN and item is self._fleet.primary:
            self._emit(name, item.outward(body))

    def show_threads(self, item: Debuggee) -> None:
        """The editor is to see the process's threads from now on."""
        for thread in sorted(item.threads):
            self._thread(item, "started", thread)

    def show_end(self, item: Debuggee) -> None:
        """For the editor, what a process held goes on and its threads end."""
        editor = self._fleet.editor
        if editor is None:
            return
        for thread in sorted(item.stopped):
            number = thread + item.first_id
            editor.event("continued", {"threadId": number, "allThreadsContinued": False})
        for thread in sorted(item.threads):
            editor.event("thread", {"reason": "exited", "threadId": thread + item.first_id})

    def show_breakpoint(self, known: Message) -> None:
        """What became of a breakpoint; `known` has the id that the editor knows."""
        self._emit("breakpoint", {"reason": "changed", "breakpoint": known})

    def _on_thread(self, item: Debuggee, body: Message) -> None:
        thread, is_start = int(body.get("threadId") or 0), body.get("reason") == "started"
        known = thread in item.threads
        (item.threads.add if is_start else item.threads.discard)(thread)
        if is_start and known:
            # After `stopped` it would put a pause button over a paused thread.
            return
        if item.is_serving:
            self._thread(item, str(body.get("reason")), thread)

    def _on_stopped(self, item: Debuggee, body: Message) -> None:
        thread = int(body.get("threadId") or 0)
        if thread not in item.threads:
            item.threads.add(thread)
            self._thread(item, "started", thread)
        item.stopped.add(thread)
        body = item.outward(body)
        ids = [item.breakpoint_ids.get(number) for number in body.get("hitBreakpointIds") or []]
        body["hitBreakpointIds"] = [number for number in ids if number is not None]
        body["allThreadsStopped"] = (
            bool(body.get("allThreadsStopped")) and len(self._fleet.serving_processes) == 1
        )
        self._emit("stopped", body)

    def _on_continued(self, item: Debuggee, body: Message) -> None:
        item.stopped.clear()
        body = item.outward(body)
        body["allThreadsContinued"] = (
            bool(body.get("allThreadsContinued", True)) and len(self._fleet.serving_processes) == 1
        )
        self._emit("continued", body)

    def _on_output(self, item: Debuggee, body: Message) -> None:
        if body.get("category") != "telemetry":
            self._emit("output", item.outward(body))

    def _on_breakpoint(self, item: Debuggee, body: Message) -> None:
        changed = dict(body.get("breakpoint") or {})
        known = item.breakpoint_ids.get(changed.get("id"))  # type: ignore[arg-type]
        if item is self._fleet.primary and known is not None:
            self.show_breakpoint(dict(changed, id=known))

    def _thread(self, item: Debuggee, reason: str, thread: int) -> None:
        self._emit("thread", {"reason": reason, "threadId": thread + item.first_id})

    def _emit(self, name: str, body: Message) -> None:
        editor = self._fleet.editor
        if editor is not None and editor.is_configured:
            editor.event(name, body)
