"""The processes under the debugger: brought in, told the breakpoints, listened to.

debugpy in each worker connects here as to its own adapter, once an editor is there. What a process
says reaches the editor as if there were one program.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Callable, Dict, List, Optional, Set

from . import background, debuggee, wire
from .binding import Binding
from .debuggee import TRACED_S, Debuggee, Gone, Refused
from .editor import Editor
from .events import Events
from .wire import Message, say

IDENTIFY_S = 10.0
# How long a process of the user's own waits for the editor to take it.
ADOPT_S = 10.0


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
        self._events = Events(self)
        self.breakpoints = Binding(self, self._events)
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
                self._events.show_threads(item)

    def cannot_debug(self, reason: str) -> None:
        """A worker has no debugger to connect; an attach that waits is told."""
        self.undebuggable = reason
        self.changed.set()

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
        self.breakpoints.begin(editor.attach_arguments.get("pathMappings"))
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
            self._events.show_threads(item)

    async def let_go(self) -> None:
        """Let every process run on without the editor."""
        self.is_detaching = True
        try:
            await asyncio.gather(*[_in_turn(item) for item in self._processes])
        finally:
            self.breakpoints.end()
            self.editor, self.is_detaching = None, False
            self.changed.set()

    @property
    def attached_processes(self) -> List[Debuggee]:
        """The processes that take the editor's requests."""
        return [item for item in self._processes if item.is_attached]

    # Processes.

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._next_slot = self._next_slot % debuggee.SLOTS + 1
        item = Debuggee(reader, writer, self._next_slot)
        item.on_event = self._events.take
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
        item.is_worker = True
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
            # One that comes between the editor's breakpoints and its configurationDone, too.
            sent = self.breakpoints.send_all(item)
            filters = [item.send(command, given) for command, given in editor.filters.items()]
            if editor.is_configured:
                # A request that debugpy does not answer must not keep the process from serving.
                waiting = [*[answer for _, answer in sent], *filters]
                await asyncio.wait(waiting, timeout=TRACED_S) if waiting else None
                self.breakpoints.answer_late(sent)
                await self._configure(item)

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
        if item.is_serving:
            self._events.show_end(item)
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


async def _in_turn(item: Debuggee) -> None:
    async with item.turn:
        await item.detach()
