"""One connection to the debugger's port: an editor, a check of devkit's, or whatever else knocks.

Nothing happens towards the processes before a client has said what it wants: a bare connect,
garbage or half a message harms nothing.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Awaitable, Callable, Dict, Optional

from . import background, relay, wire
from .capabilities import CAPABILITIES
from .debuggee import Debuggee, Gone, Refused
from .relay import NotPossible
from .wire import Message

if TYPE_CHECKING:
    from .multiplexer import Multiplexer

Question = Callable[[Message], Awaitable[Message]]

# A client that says nothing for this long before it says what it is.
FIRST_MESSAGE_S = 10.0
# Before attach, messages are small; afterwards a client is trusted with evaluate.
MAX_UNKNOWN_BODY = 1024 * 1024
# A client that does not read.
MAX_UNSENT = 64 * 1024 * 1024

RUNTIME_RULE = {
    "path": os.path.join(os.path.dirname(os.path.abspath(__file__)), "**"),
    "include": False,
}


class Editor:
    """Reads requests and answers them; keeps what the client said of itself for new processes."""

    def __init__(
        self,
        session: Multiplexer,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        questions: Dict[str, Question],
    ) -> None:
        self._session = session
        self._reader = reader
        self._writer = writer
        self._questions = questions
        self._seq = 0
        self._attach_request: Optional[Message] = None
        self._child: Optional[Debuggee] = None
        self._is_over = False
        self.since = time.time()
        self.initialize_arguments: Message = {}
        self.attach_arguments: Message = {}
        self.filters: Dict[str, Message] = {}
        self.is_configured = False
        # Neither attached nor attaching, and with no question open.
        self.is_idle = True

    @property
    def name(self) -> str:
        """What the client calls itself."""
        arguments = self.initialize_arguments
        name = arguments.get("clientName") or arguments.get("clientID") or "another debugger"
        return "".join(letter for letter in str(name)[:60] if letter.isprintable())

    @property
    def is_check(self) -> bool:
        """Whether it is devkit proving that an editor could attach."""
        return self.initialize_arguments.get("clientID") == "devkit"

    @property
    def has_left(self) -> bool:
        """Whether its connection is closed, though what it asked for may still be under way."""
        return self._reader.at_eof() or self._writer.transport.is_closing()

    async def run(self) -> None:
        """Serve the connection to its end."""
        try:
            while not self._is_over:
                is_known = bool(self.attach_arguments)
                limit = wire.MAX_BODY if is_known else MAX_UNKNOWN_BODY
                reading = wire.read_frame(self._reader, limit)
                message = await (
                    reading if is_known else asyncio.wait_for(reading, FIRST_MESSAGE_S)
                )
                self.is_idle = False
                if message.get("type") == "request":
                    await self._handle(message)
                self.is_idle = not self.attach_arguments
        except (EOFError, OSError, wire.BadFrame, asyncio.TimeoutError):
            pass
        finally:
            if self._child is not None:
                await self._child.detach()
            await self._session.release(self)
            self._writer.close()

    def hang_up(self) -> None:
        """End the connection at once."""
        self._writer.transport.abort()

    # To the client.

    def event(self, name: str, body: Message) -> None:
        """Send an event."""
        self._send({"type": "event", "event": name, "body": body})

    def offer(self, pid: int) -> None:
        """Ask the editor to debug one more process."""
        left_out = ("request", "preLaunchTask", "postDebugTask", "restart", "processId", "listen")
        configuration = {
            key: value for key, value in self.attach_arguments.items() if key not in left_out
        }
        configuration.update(name="Subprocess {}".format(pid), subProcessId=pid)
        if self.initialize_arguments.get("supportsStartDebuggingRequest"):
            arguments = {"request": "attach", "configuration": configuration}
            self._send({"type": "request", "command": "startDebugging", "arguments": arguments})
        else:
            self.event("debugpyAttach", dict(configuration, request="attach"))

    def _send(self, message: Message) -> None:
        if self._writer.transport.is_closing():
            return
        if self._writer.transport.get_write_buffer_size() > MAX_UNSENT:
            self._writer.transport.abort()
            return
        self._seq += 1
        self._writer.write(wire.framed(dict(message, seq=self._seq)))

    def _respond(self, request: Message, body: Optional[Message] = None) -> None:
        answer = {"type": "response", "success": True, "body": body or {}}
        self._send(dict(answer, request_seq=request.get("seq"), command=request.get("command")))

    def _refuse(self, request: Message, text: str, is_shown: bool = False) -> None:
        """Refuse; only a text that `is_shown` opens a dialog, others stand where one asked."""
        error = {"id": 1, "format": text.replace("{", "(").replace("}", ")"), "showUser": True}
        body = {"error": error} if is_shown else {}
        answer = {"type": "response", "success": False, "message": text, "body": body}
        self._send(dict(answer, request_seq=request.get("seq"), command=request.get("command")))

    # From the client.

    async def _handle(self, request: Message) -> None:
        command = str(request.get("command"))
        arguments = request.get("arguments")
        arguments = arguments if isinstance(arguments, dict) else {}
        handler = {
            "initialize": self._initialize,
            "attach": self._attach,
            "configurationDone": self._configuration_done,
            "disconnect": self._disconnect,
            "terminate": self._terminate,
        }.get(command)
        try:
            if command in self._questions:
                self._respond(request, await self._questions[command](arguments))
            elif handler is not None:
                await handler(request, arguments)
            elif not self.attach_arguments:
                self._refuse(request, "{} is only possible after attach.".format(command))
            else:
                # Sent at once, so that order is kept, and answered when the answer is there.
                background.start(self._answer(request, self._passed_on(command, arguments)))
        except NotPossible as error:
            self._refuse(request, str(error), is_shown=command in ("initialize", "attach"))
        except (Gone, Refused) as error:
            self._refuse(request, str(error) or "The process ended.")

    async def _initialize(self, request: Message, arguments: Message) -> None:
        # debugpy ends a connection over an argument that it does not expect.
        known = {key: value for key, value in arguments.items() if _is_known(key, value)}
        self.initialize_arguments = {**known, "adapterID": "debugpy"}
        self._respond(request, CAPABILITIES)

    async def _attach(self, request: Message, arguments: Message) -> None:
        if self._attach_request is not None or not self.initialize_arguments:
            raise NotPossible("attach comes once, after initialize.")
        child_pid = arguments.get("subProcessId")
        if isinstance(child_pid, int):
            await self._attach_child(child_pid, arguments)
        else:
            rules = arguments.get("rules")
            rules = [*(rules if isinstance(rules, list) else []), RUNTIME_RULE]
            self.attach_arguments = dict(arguments, rules=rules)
            try:
                await self._session.claim(self)
            except NotPossible:
                self.attach_arguments = {}
                raise
        self._attach_request = request
        self.event("initialized", {})

    async def _attach_child(self, pid: int, arguments: Message) -> None:
        child = self._session.fleet.adopt(pid)
        if child is None:
            raise NotPossible("Process {} is not there any more.".format(pid))
        self._child = child
        self.attach_arguments = arguments
        child.on_event = self._on_child_event
        child.is_attached = True
        await child.ask("initialize", self.initialize_arguments)
        await child.ask("attach", arguments)

    def _on_child_event(self, _child: Debuggee, message: Message) -> None:
        if message.get("event") != "initialized":
            self.event(str(message.get("event")), message.get("body") or {})

    async def _configuration_done(self, request: Message, _arguments: Message) -> None:
        if self._attach_request is None or self.is_configured:
            raise NotPossible("configurationDone comes once, after attach.")
        self.is_configured = True
        if self._child is not None:
            await self._child.run()
        else:
            await self._session.fleet.configure()
        self._respond(request)
        self._respond(self._attach_request)
        if self._child is None:
            self._session.fleet.show_threads()

    async def _disconnect(self, request: Message, _arguments: Message) -> None:
        self._is_over = True
        if self._child is not None:
            await self._child.detach()
        await self._session.release(self)
        self._respond(request)

    async def _terminate(self, request: Message, _arguments: Message) -> None:
        # The service outlives the session; the editor disconnects when it is told that it is over.
        self._respond(request)
        self.event("terminated", {})

    def _passed_on(self, command: str, arguments: Message) -> Awaitable[Message]:
        if self._child is not None:
            return relay.whole(self._child.send(command, arguments))
        if command in relay.BROADCAST:
            self.filters[command] = arguments
        return relay.sent(self._session.fleet, command, arguments)

    async def _answer(self, request: Message, answer: Awaitable[Message]) -> None:
        try:
            self._respond(request, await answer)
        except Gone:
            if request.get("command") == "continue":
                # It did, to its end: debugpy's adapter answers so too.
                self._respond(request, {"allThreadsContinued": True})
            else:
                self._refuse(request, "The process ended.")
        except Refused as error:
            self._refuse(request, str(error) or "The process ended.")


def _is_known(key: str, value: object) -> bool:
    """Whether it is an argument of "initialize" as the protocol has it."""
    if key in ("clientID", "clientName", "locale", "pathFormat"):
        return isinstance(value, str)
    return (key.startswith("supports") or key.endswith("StartAt1")) and isinstance(value, bool)
