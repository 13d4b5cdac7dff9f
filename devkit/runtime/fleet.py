"""The processes under the debugger: brought in, told the breakpoints, listened to.

debugpy in each worker connects here as to its own adapter, once an editor is there. What a process
says reaches the editor as if there were one program.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Awaitable, Callable, Dict, List, Optional, Sequence, Set

from . import background, debuggee, wire
from .breakpoints import Breakpoints, Source
from .debuggee import Debuggee, Gone, Refused
from .editor import Editor
from .watch import Change
from .wire import Message, say

IDENTIFY_S = 10.0
TRACED_S = 3.0
# How long a process of the user's own waits for the editor to take it.
ADOPT_S = 10.0
# How long a reload waits for the editor's word on breakpoints that were set since the last save.
# VS Code sends a saved file's breakpoints 40 to 150 ms after the save, if its edits moved them.
RESEND_S = 0.4

HANDLED = ("thread", "stopped", "continued", "output", "breakpoint")
# About single processes, of which the editor is to see none.
UNSEEN = ("process", "module", "initialized", "terminated", "exited")


class Fleet:
    """The processes; `editor` is whose requests they follow, None while nobody is attached."""

    def __init__(self) -> None:
        self.token = secrets.token_hex(16)
        self.port = 0
        self._processes: List[Debuggee] = []
        self._children: Dict[int, Debuggee] = {}
        self._next_slot = 0
        # Worker -> whether it serves.
        self._pids: Dict[int, bool] = {}
        self._traced: Set[int] = set()
        self._breakpoints = Breakpoints()
        self.editor: Optional[Editor] = None
        self.is_detaching = False
        self.changed = asyncio.Event()
        self.undebuggable: Optional[str] = None
        self.on_configured: Optional[Callable[[int], None]] = None
        self.on_lost: Optional[Callable[[int], None]] = None

    async def start(self) -> None:
        """Listen for debugpy, on this machine only."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=wire.MAX_HEADER)
        self.port = server.sockets[0].getsockname()[1]

    # What the supervisor tells and asks.

    @property
    def is_paused(self) -> bool:
        """Whether some serving process is held."""
        return any(item.stopped for item in self._processes if item.is_serving)

    def is_held(self, pid: int) -> bool:
        """Whether the debugger holds this process."""
        return any(item.stopped for item in self._processes if item.pid == pid)

    def expect(self, pid: int) -> None:
        """`pid` is a worker of ours, not a process that the user's code started."""
        self._pids[pid] = False

    def forget(self, pid: int) -> None:
        """A worker ended, or is about to be ended."""
        self._pids.pop(pid, None)
        self._traced.discard(pid)
        for item in [item for item in self._processes if item.pid == pid]:
            self._drop(item)

    def is_ready(self, pid: int) -> bool:
        """Whether the process has all that the editor wants, or none is attached."""
        if self.editor is None:
            return True
        return any(item.pid == pid and item.is_configured for item in self._processes)

    def traced(self, pid: int) -> None:
        """Every thread of the process is under its debugger now."""
        self._traced.add(pid)
        for item in self._processes:
            if item.pid == pid:
                item.is_traced.set()

    def promote(self, pid: int) -> None:
        """The process serves from now on: the editor sees its threads."""
        self._pids[pid] = True
        for item in self._processes:
            if item.pid == pid and not item.is_serving:
                item.is_serving = True
                for thread in sorted(item.threads):
                    self._thread_event(item, "started", thread)

    def cannot_debug(self, reason: str) -> None:
        """A worker has no debugger to connect; an attach that waits is told."""
        self.undebuggable = reason
        self.changed.set()

    async def follow(self, changes: Sequence[Change]) -> None:
        """Move breakpoints along with an edit, in every process, before the new code is loaded."""
        doubtful = self._breakpoints.doubtful(list(changes))
        moved = list(self._breakpoints.after(list(changes)))
        # An editor that stays silent set them in the text that has just been saved.
        await self.until(
            lambda: not any(self._breakpoints.is_current(source) for source in doubtful), RESEND_S
        )
        for source in doubtful:
            source.is_unsure = False
        waiting = [
            self._send_to(item, source)
            for source in moved
            if self._breakpoints.is_current(source)
            for item in self.attached_processes
        ]
        if waiting:
            await asyncio.wait(waiting, timeout=2)
        if moved:
            background.start(self._show_moved(moved))

    async def _show_moved(self, moved: List[Source]) -> None:
        """Move the dots of an editor that did not see the edit: its next word would be of them."""
        await asyncio.sleep(RESEND_S)
        for source in moved:
            if self._breakpoints.is_current(source):
                for number, item in zip(source.ids, source.wanted):
                    self._emit_breakpoint({"id": number, "verified": True, "line": item["line"]})

    # What the multiplexer tells and asks.

    async def until(self, fact: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until `fact` holds, looked at after each change here; whether it does."""
        loop = asyncio.get_event_loop()
        deadline = loop.time() + timeout_s
        while not fact():
            self.changed.clear()
            try:
                await asyncio.wait_for(self.changed.wait(), max(0.0, deadline - loop.time()))
            except asyncio.TimeoutError:
                return fact()
        return True

    def bring_in(self, editor: Editor) -> None:
        """Attach `editor` to the processes that are connected, and to those that will be."""
        self.editor, self.undebuggable = editor, None
        self._breakpoints.set_mappings(editor.attach_arguments.get("pathMappings"))
        for item in self._processes:
            background.start(self._attach_or_tell(item, editor))

    @property
    def is_complete(self) -> bool:
        """Whether every worker takes the editor's requests."""
        return len(self.attached_processes) >= len(self._pids)

    async def configure(self) -> None:
        """The editor has said all that it wants: let the processes run under it."""
        sent = [self._configure(item) for item in self.attached_processes]
        await asyncio.gather(*sent, return_exceptions=True)

    def show_threads(self) -> None:
        """Tell an editor that has just attached which threads there are."""
        for item in self.serving_processes:
            for thread in sorted(item.threads):
                self._thread_event(item, "started", thread)

    async def let_go(self) -> None:
        """Let every process run on without the editor."""
        self.is_detaching = True
        try:
            await asyncio.gather(*[_in_turn(item) for item in self._processes])
        finally:
            self._breakpoints.clear()
            self.editor, self.is_detaching = None, False
            self.changed.set()

    def set_breakpoints(self, arguments: Message) -> Awaitable[Message]:
        """Set a file's breakpoints everywhere, now; the answer is the primary's."""
        is_live = self.editor is not None and self.editor.is_configured
        source = self._breakpoints.store(arguments, is_live)
        self.changed.set()
        primary = self.primary
        answers = {item: self._send_to(item, source) for item in self.attached_processes}
        if source.is_ahead:
            # The answer of the old text would move the editor's dots.
            numbered = zip(source.ids, source.wanted)
            shown = [{"id": n, "verified": True, "line": item.get("line")} for n, item in numbered]
            return _answered({"breakpoints": shown})
        if primary is None:
            source.is_unanswered = True
            unknown = [{"id": number, "verified": False} for number in source.ids]
            return _answered({"breakpoints": unknown})
        return answers[primary]

    @property
    def attached_processes(self) -> List[Debuggee]:
        """The processes that take the editor's requests."""
        return [item for item in self._processes if item.is_attached]

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

    # Processes.

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._next_slot = self._next_slot % debuggee.SLOTS + 1
        item = Debuggee(reader, writer, self._next_slot)
        item.on_event = self._on_event
        reading = asyncio.ensure_future(item.read())
        try:
            if not await asyncio.wait_for(item.identify(self.token), IDENTIFY_S):
                item.close()
            elif item.pid in self._pids:
                await self._take_in(item)
            else:
                await self._offer_child(item)
        except (Gone, Refused, asyncio.TimeoutError) as error:
            say("a process could not be debugged: {}".format(error or type(error).__name__))
            item.close()
        await reading
        self._drop(item)
        if item.pid in self._pids and self.on_lost is not None:
            self.on_lost(item.pid)

    async def _take_in(self, item: Debuggee) -> None:
        item.is_serving = self._pids[item.pid]
        if item.pid in self._traced:
            item.is_traced.set()
        self._processes.append(item)
        if self.editor is not None and not self.is_detaching:
            await self._attach_or_tell(item, self.editor)
        else:
            # The editor left while the process was connecting: it still waits for a first client.
            async with item.turn:
                await item.let_go()

    async def _attach(self, item: Debuggee, editor: Editor) -> None:
        async with item.turn:
            await item.ask("initialize", editor.initialize_arguments)
            await item.ask("attach", editor.attach_arguments)
            # In one step with what follows: what the editor sends from now on goes here too.
            item.is_attached = True
            if self.editor is not editor or self.is_detaching:
                await item.detach()
                return
            self.changed.set()
            if editor.is_configured:
                sent = [self._send_to(item, source) for source in self._breakpoints.all()]
                filters = [item.send(command, given) for command, given in editor.filters.items()]
                # A request that debugpy does not answer must not keep the process from serving.
                await asyncio.wait([*sent, *filters], timeout=TRACED_S) if sent or filters else None
                self._answer_late([answer for answer in sent if answer.done()])
                await self._configure(item)

    def _answer_late(self, sent: List[asyncio.Future[Message]]) -> None:
        """Tell what no process was there to verify when the editor asked."""
        for source, answer in zip(self._breakpoints.all(), sent):
            if source.is_unanswered:
                source.is_unanswered = False
                for one in answer.result().get("breakpoints") or []:
                    self._emit_breakpoint(one)

    async def _configure(self, item: Debuggee) -> None:
        if item.is_configured:
            return
        await item.run()
        try:
            await asyncio.wait_for(item.is_traced.wait(), TRACED_S)
        except asyncio.TimeoutError:
            say(
                "process {} is busy: breakpoints bind when its code lets the debugger in".format(
                    item.pid
                )
            )
        item.is_configured = True
        if self.on_configured is not None:
            self.on_configured(item.pid)

    async def _offer_child(self, item: Debuggee) -> None:
        """A process that the user's code started gets a session of its own, or runs free."""
        editor = self.editor
        if editor is None or not editor.is_configured:
            await item.let_go()
            return
        self._children[item.pid] = item
        editor.offer(item.pid)
        await asyncio.sleep(ADOPT_S)
        if self._children.pop(item.pid, None) is not None:
            await item.let_go()

    def adopt(self, pid: int) -> Optional[Debuggee]:
        """Hand over a process that was offered; None when it is not there any more."""
        return self._children.pop(pid, None)

    def _drop(self, item: Debuggee) -> None:
        """The process is out: for the editor, what it held goes on and its threads end."""
        self._children.pop(item.pid, None)
        if item not in self._processes:
            return
        self._processes.remove(item)
        self.changed.set()
        if item.is_serving and self.editor is not None:
            for thread in sorted(item.stopped):
                self.editor.event(
                    "continued", {"threadId": thread + item.first_id, "allThreadsContinued": False}
                )
            for thread in sorted(item.threads):
                self.editor.event(
                    "thread", {"reason": "exited", "threadId": thread + item.first_id}
                )
        item.close()

    @property
    def serving_processes(self) -> List[Debuggee]:
        """The processes that the editor sees the threads of."""
        return [item for item in self._processes if item.is_serving and item.is_attached]

    def owner(self, arguments: Message) -> Optional[Debuggee]:
        """The process that the ids in `arguments` belong to; without any, the primary."""
        if not any(key in arguments for key in debuggee.ID_KEYS):
            return self.primary
        return next((item for item in self.attached_processes if item.owns(arguments)), None)

    @property
    def primary(self) -> Optional[Debuggee]:
        """The process that answers for all: a serving one, else the standby."""
        attached = [item for item in self._processes if item.is_attached]
        return next(iter(self.serving_processes or attached), None)

    async def _attach_or_tell(self, item: Debuggee, editor: Editor) -> None:
        try:
            await self._attach(item, editor)
        except Refused as error:
            self.cannot_debug("debugpy refused the attach: {}".format(error))
        except Gone:
            pass  # its end is told by its connection

    # Events of processes.

    def _on_event(self, item: Debuggee, message: Message) -> None:
        name, body = str(message.get("event")), message.get("body") or {}
        handler = getattr(self, "_on_" + name, None)
        if handler is not None and name in HANDLED:
            handler(item, body)
        elif name not in UNSEEN and item is self.primary:
            self._emit(name, item.outward(body))

    def _on_thread(self, item: Debuggee, body: Message) -> None:
        thread, is_start = int(body.get("threadId") or 0), body.get("reason") == "started"
        known = thread in item.threads
        (item.threads.add if is_start else item.threads.discard)(thread)
        if is_start and known:
            # After `stopped` it would put a pause button over a paused thread.
            return
        if item.is_serving:
            self._thread_event(item, str(body.get("reason")), thread)

    def _on_stopped(self, item: Debuggee, body: Message) -> None:
        thread = int(body.get("threadId") or 0)
        if thread not in item.threads:
            item.threads.add(thread)
            self._thread_event(item, "started", thread)
        item.stopped.add(thread)
        body = item.outward(body)
        ids = [item.breakpoint_ids.get(number) for number in body.get("hitBreakpointIds") or []]
        body["hitBreakpointIds"] = [number for number in ids if number is not None]
        body["allThreadsStopped"] = (
            bool(body.get("allThreadsStopped")) and len(self.serving_processes) == 1
        )
        self._emit("stopped", body)

    def _on_continued(self, item: Debuggee, body: Message) -> None:
        item.stopped.clear()
        body = item.outward(body)
        body["allThreadsContinued"] = (
            bool(body.get("allThreadsContinued", True)) and len(self.serving_processes) == 1
        )
        self._emit("continued", body)

    def _on_output(self, item: Debuggee, body: Message) -> None:
        if body.get("category") != "telemetry":
            self._emit("output", item.outward(body))

    def _on_breakpoint(self, item: Debuggee, body: Message) -> None:
        changed = dict(body.get("breakpoint") or {})
        known = item.breakpoint_ids.get(changed.get("id"))  # type: ignore[arg-type]
        if item is self.primary and known is not None:
            self._emit_breakpoint(dict(changed, id=known))

    def _emit_breakpoint(self, known: Message) -> None:
        self._emit("breakpoint", {"reason": "changed", "breakpoint": known})

    def _thread_event(self, item: Debuggee, reason: str, thread: int) -> None:
        self._emit("thread", {"reason": reason, "threadId": thread + item.first_id})

    def _emit(self, name: str, body: Message) -> None:
        if self.editor is not None and self.editor.is_configured:
            self.editor.event(name, body)


def _answered(body: Message) -> asyncio.Future[Message]:
    future: asyncio.Future[Message] = asyncio.get_event_loop().create_future()
    future.set_result(body)
    return future


async def _in_turn(item: Debuggee) -> None:
    async with item.turn:
        await item.detach()
