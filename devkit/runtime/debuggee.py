"""A process under the debugger: requests out, events in, ids made unique.

debugpy in the process believes it talks to its adapter; the messages are those that debugpy's
adapter sends.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Callable, Dict, List, Optional, Set

from . import wire
from .wire import Message

# Room for the ids of one process. VS Code keeps them as 32-bit numbers, so 1023 processes fit.
SLOT_SIZE = 2**21
SLOTS = 1000
DETACH_S = 5.0
TRACED_S = 3.0
ID_KEYS = ("threadId", "frameId", "variablesReference", "sourceReference")


class Gone(Exception):
    """The process ended, or its debugger did."""


class Refused(Exception):
    """debugpy answered that it cannot; the text is its own."""


class Debuggee:
    """One connection of debugpy. `on_event` gets each event, `on_end` the end."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, slot: int
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._slot = slot
        self._seq = 0
        self._waiting: Dict[int, asyncio.Future[Message]] = {}
        self._looks: Set[int] = set()
        self.pid = 0
        self.parent_pid = 0
        self.is_serving = False
        self.is_attached = False
        self.is_configured = False
        self.threads: Set[int] = set()
        self.stopped: Set[int] = set()
        self.breakpoint_ids: Dict[int, int] = {}
        self.on_event: Optional[Callable[[Debuggee, Message], None]] = None
        self.is_gone = False
        self._has_run = False
        # Attaching and detaching take several messages each, which must not mix.
        self.turn = asyncio.Lock()
        # debugpy answers configurationDone before every thread is traced; a worker says when.
        self.is_traced = asyncio.Event()
        self.is_worker = False

    async def read(self) -> None:
        """Dispatch what comes until the connection ends."""
        try:
            while True:
                self._dispatch(await wire.read_frame(self._reader))
        except (EOFError, OSError, wire.BadFrame):
            pass
        finally:
            self.is_gone = True
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(Gone())
                    future.exception()  # asked for, so that one nobody waits for stays silent
            self._waiting.clear()
            self._writer.close()

    def _dispatch(self, message: Message) -> None:
        if message.get("type") == "response":
            seq = message.get("request_seq") or 0
            self._looks.discard(seq)
            future = self._waiting.pop(seq, None)
            if future is not None and not future.done():
                future.set_result(message)
        elif message.get("type") == "event":
            if message.get("event") == "continued":
                self._end_looks()
            if self.on_event is not None:
                self.on_event(self, message)

    def _end_looks(self) -> None:
        """Refuse what asks about the stop that is over: debugpy would answer only at the next."""
        for seq in self._looks:
            future = self._waiting.pop(seq, None)
            if future is not None and not future.done():
                future.set_result({"success": False, "message": "The thread runs again."})
        self._looks.clear()

    def send(self, command: str, arguments: Optional[Message] = None) -> asyncio.Future[Message]:
        """Send a request now; the future gives the whole response, or Gone."""
        future: asyncio.Future[Message] = asyncio.get_event_loop().create_future()
        if self.is_gone:
            future.set_exception(Gone())
            future.exception()
            return future
        self._seq += 1
        self._waiting[self._seq] = future
        if command in ("scopes", "variables"):
            self._looks.add(self._seq)
        request = {
            "seq": self._seq,
            "type": "request",
            "command": command,
            "arguments": arguments or {},
        }
        self._writer.write(wire.framed(request))
        return future

    async def ask(self, command: str, arguments: Optional[Message] = None) -> Message:
        """Send a request and return the body of its response.

        Raises:
            Gone: the process ended.
            Refused: debugpy could not.
        """
        response = await self.send(command, arguments)
        if not response.get("success"):
            raise Refused(str(response.get("message")))
        return response.get("body") or {}

    async def identify(self, token: str) -> bool:
        """Ask who it is; False for a peer that does not know the token."""
        known = await self.ask("pydevdAuthorize", {"debugServerAccessToken": None})
        if known.get("clientAccessToken") != token:
            return False
        process = (await self.ask("pydevdSystemInfo")).get("process") or {}
        self.pid = int(process.get("pid") or 0)
        self.parent_pid = int(process.get("ppid") or 0)
        return self.pid > 0

    async def run(self) -> None:
        """Let its code run: a process that has just connected waits for that."""
        await self.ask("configurationDone")
        self._has_run = True

    async def detach(self) -> None:
        """Let it run free; a paused thread goes on. The next attach uses the same connection."""
        if not self.is_attached:
            return
        self.is_attached = self.is_configured = False
        self.stopped.clear()
        # Code that keeps the interpreter to itself lets no answer out; what follows is queued.
        with contextlib.suppress(Gone, Refused, asyncio.TimeoutError):
            leaving = self._leave()
            await asyncio.wait_for(asyncio.shield(leaving), DETACH_S)

    async def let_go(self) -> None:
        """Let a new process run that nobody is to debug."""
        await self.ask("initialize", {"adapterID": "debugpy"})
        await self.ask("attach", {"subProcessId": self.pid})
        self.is_attached = True
        await self.detach()

    async def _leave(self) -> None:
        if not self._has_run:
            await self.run()
            if self.is_worker:
                # Detached before, the next attach finds threads that are never traced.
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self.is_traced.wait(), TRACED_S)
        await self.ask("disconnect", {"terminateDebuggee": False})

    def close(self) -> None:
        """End the connection."""
        self._writer.close()

    @property
    def first_id(self) -> int:
        """What is added to each id of this process."""
        return self._slot * SLOT_SIZE

    def outward_body(self, body: Message) -> Message:
        """A copy of a message body with this process's ids made unique."""
        return dict(self.outward(body))

    def outward(self, value: Any) -> Any:
        """As `outward_body`, for any part of one."""
        if isinstance(value, list):
            return [self.outward(item) for item in value]
        if not isinstance(value, dict):
            return value
        result = {key: self.outward(item) for key, item in value.items()}
        for key in ID_KEYS:
            if isinstance(result.get(key), int) and result[key] > 0:
                result[key] += self.first_id
        return result

    def inward(self, value: Any) -> Any:
        """The reverse of `outward`, for the arguments of a request."""
        if isinstance(value, list):
            return [self.inward(item) for item in value]
        if not isinstance(value, dict):
            return value
        result = {key: self.inward(item) for key, item in value.items()}
        for key in ID_KEYS:
            if isinstance(result.get(key), int) and slot_of(result[key]) == self._slot:
                result[key] -= self.first_id
        return result

    def outward_list(self, body: Message, key: str) -> Message:
        """As `outward`, for bodies whose items have the id under "id" (threads, stackFrames)."""
        body = self.outward(body)
        for item in body.get(key) or []:
            item["id"] = item["id"] + self.first_id
        return body

    def owns(self, arguments: Message) -> bool:
        """Whether an id in `arguments` is one of this process."""
        numbers: List[Any] = [arguments.get(key) for key in ID_KEYS]
        return any(isinstance(number, int) and slot_of(number) == self._slot for number in numbers)


def slot_of(number: int) -> int:
    """The slot that an id outside belongs to; 0 for none."""
    return number // SLOT_SIZE
