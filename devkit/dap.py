"""A debug adapter client that attaches as an editor does, for the attach proof, diagnose and tests.

Blocking and without threads: whoever waits also reads, for this session and for the child sessions
that the debugger asks for.
"""

from __future__ import annotations

import select
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

from devkit.errors import AlreadyAttached, DebuggerError, DebuggerUnreachable
from devkit.wire import Channel, Message

T = TypeVar("T")

# A peer that floods us with events pushes out its own oldest ones.
MAX_EVENTS = 10_000

_CLIENT = {
    "clientID": "devkit",
    "clientName": "devkit",
    "adapterID": "debugpy",
    "pathFormat": "path",
    "linesStartAt1": True,
    "columnsStartAt1": True,
    "supportsVariableType": True,
    "supportsStartDebuggingRequest": True,
}


@dataclass(frozen=True)
class Breakpoint:
    """A line to stop at, always or under a condition in Python; with a log message it only logs."""

    line: int
    condition: str | None = None
    hit_condition: str | None = None
    log_message: str | None = None

    def as_message(self) -> Message:
        """The breakpoint as the protocol writes it."""
        named = {
            "line": self.line,
            "condition": self.condition,
            "hitCondition": self.hit_condition,
            "logMessage": self.log_message,
        }
        return {key: value for key, value in named.items() if value is not None}


@dataclass(frozen=True)
class Frame:
    """A frame of a stopped thread; `path` is the local one when a mapping covers it."""

    id: int
    name: str
    path: str
    line: int


@dataclass(frozen=True)
class Event:
    """Something that a debugger said by itself, and in which session."""

    session: Session
    name: str
    body: Message


class Session:
    """A debug session. Use as a context manager: leaving it detaches; the program goes on.

    Make one with `attach`. Requests that are refused raise DebuggerError; a peer that is gone or
    talks nonsense raises DebuggerUnreachable.
    """

    def __init__(
        self, address: tuple[str, int], timeout_s: float, root: Session | None = None
    ) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._root = root or self
        self._answers: dict[int, Message] = {}
        self._is_open = True
        self._is_leaving = False
        # The root's hold for the whole family.
        self._breakpoints: dict[str, list[Breakpoint]] = {}
        self._exceptions: list[str] = []
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS)
        self.children: list[Session] = []
        self._channel = Channel.open(*address, timeout_s=timeout_s)

    @classmethod
    def attach(
        cls,
        host: str,
        port: int,
        configuration: Mapping[str, Any],
        *,
        breakpoints: Mapping[str, Sequence[Breakpoint]] | None = None,
        exceptions: Sequence[str] = (),
        timeout_s: float = 10,
    ) -> Session:
        """Attach with a launch.json configuration whose variables are filled in.

        Raises:
            AlreadyAttached: another client is.
            DebuggerUnreachable: nothing there speaks the protocol, or not within `timeout_s`.
        """
        session = cls((host, port), timeout_s)
        session._breakpoints = {path: list(wanted) for path, wanted in (breakpoints or {}).items()}
        session._exceptions = list(exceptions)
        session._begin(configuration)
        return session

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.disconnect()

    def set_breakpoints(self, path: str, breakpoints: Sequence[Breakpoint]) -> list[Message]:
        """Replace the breakpoints of a file, also in child sessions; return what became of each."""
        self._root._breakpoints[path] = list(breakpoints)
        for child in list(self._root.children):
            child._send_breakpoints(path, breakpoints)
        return self._root._send_breakpoints(path, breakpoints)

    def set_exceptions(self, filters: Sequence[str]) -> None:
        """Choose the exceptions to stop at: "raised", "uncaught", "userUnhandled"."""
        self._root._exceptions = list(filters)
        for session in [self._root, *self._root.children]:
            session.request("setExceptionBreakpoints", {"filters": list(filters)})

    def threads(self) -> dict[int, str]:
        """The program's threads by id."""
        return {thread["id"]: thread["name"] for thread in self.request("threads")["threads"]}

    def stack(self, thread_id: int, *, levels: int = 20) -> list[Frame]:
        """The frames of a stopped thread, innermost first."""
        body = self.request("stackTrace", {"threadId": thread_id, "levels": levels})
        return [
            Frame(f["id"], f["name"], f.get("source", {}).get("path", ""), f["line"])
            for f in body["stackFrames"]
        ]

    def scopes(self, frame_id: int) -> dict[str, int]:
        """The scopes of a frame: name and the reference for `variables`."""
        scopes = self.request("scopes", {"frameId": frame_id})["scopes"]
        return {scope["name"]: scope["variablesReference"] for scope in scopes}

    def variables(self, reference: int) -> dict[str, str]:
        """Names and values, as an editor shows them."""
        body = self.request("variables", {"variablesReference": reference})
        return {variable["name"]: variable["value"] for variable in body["variables"]}

    def evaluate(self, expression: str, frame_id: int | None = None, context: str = "repl") -> str:
        """Evaluate Python in a frame of a stopped thread; what it raises, as DebuggerError."""
        arguments: Message = {"expression": expression, "context": context}
        if frame_id is not None:
            arguments["frameId"] = frame_id
        return str(self.request("evaluate", arguments)["result"])

    def resume(self, thread_id: int) -> None:
        """Let a stopped thread go on ("continue")."""
        self.request("continue", {"threadId": thread_id})

    def next(self, thread_id: int) -> None:
        """Step over a line; a "stopped" event follows."""
        self.request("next", {"threadId": thread_id})

    def pause(self, thread_id: int) -> None:
        """Stop a running thread; a "stopped" event follows."""
        self.request("pause", {"threadId": thread_id})

    def request(self, command: str, arguments: Mapping[str, Any] | None = None) -> Message:
        """Send any request and return its answer's body."""
        return self._answer(command, self._channel.request(command, arguments or {}))

    def wait_for(
        self,
        name: str,
        *,
        timeout_s: float | None = None,
        where: Callable[[Event], bool] = lambda _: True,
    ) -> Event:
        """Wait for an event of this session or a child, and take it; earlier ones count too.

        Raises:
            TimeoutError: it did not come.
        """
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        return self._until(lambda: self._take(lambda e: e.name == name and where(e)), timeout_s)

    def disconnect(self) -> bool:
        """Detach, once, children first; return whether the debugger confirmed it.

        The connection is closed after the answer, never before: debugpy stops listening when it is
        dropped, and ends its adapter on a second "disconnect".
        """
        if self._is_leaving:
            return False
        self._is_leaving = True
        for child in list(self.children):
            child.disconnect()
        try:
            self.request("disconnect", {"terminateDebuggee": False})
        except DebuggerError:
            return False
        finally:
            self._close()
        return True

    def _close(self) -> None:
        self._is_open = False
        self._is_leaving = True
        self._channel.close()
        if self in self._root.children:
            self._root.children.remove(self)

    def _begin(self, configuration: Mapping[str, Any]) -> None:
        try:
            self.request("initialize", _CLIENT)
            seq = self._channel.request("attach", configuration)
            self._answered("attach", lambda: self._is_initialized(seq) or None)
            for path, breakpoints in self._root._breakpoints.items():
                self._send_breakpoints(path, breakpoints)
            self.request("setExceptionBreakpoints", {"filters": self._root._exceptions})
            self.request("configurationDone")
            self._answer("attach", seq)
        except BaseException:
            self.disconnect()
            raise

    def _is_initialized(self, seq: int) -> bool:
        answer = self._answers.get(seq)
        if answer is not None and not answer.get("success"):
            raise _refusal("attach", self._answers.pop(seq))
        return bool(self._take(lambda e: e.name == "initialized" and e.session is self))

    def _send_breakpoints(self, path: str, breakpoints: Sequence[Breakpoint]) -> list[Message]:
        body = self.request(
            "setBreakpoints",
            {
                "source": {"path": path},
                "breakpoints": [breakpoint.as_message() for breakpoint in breakpoints],
                "lines": [breakpoint.line for breakpoint in breakpoints],
            },
        )
        return list(body["breakpoints"])

    def _answer(self, command: str, seq: int) -> Message:
        answer = self._answered(command, lambda: self._answers.pop(seq, None))
        if not answer.get("success"):
            raise _refusal(command, answer)
        body: Message = answer.get("body") or {}
        return body

    def _answered(self, command: str, wanted: Callable[[], T | None]) -> T:
        try:
            return self._until(wanted, self._timeout_s)
        except TimeoutError as error:
            raise DebuggerUnreachable(
                f"The debugger at {self._channel.peer} did not answer {command} "
                f"within {self._timeout_s:g} s.",
                hint="`devkit diagnose` looks into it; `devkit reload` starts the worker again.",
            ) from error

    def _until(self, wanted: Callable[[], T | None], timeout_s: float) -> T:
        """Read for the whole family until there is what is wanted; TimeoutError if it never is."""
        deadline = time.monotonic() + timeout_s
        while (found := wanted()) is None:
            family = [s for s in (self._root, *self._root.children) if s._is_open]
            arrived = next(((s, m) for s in family if (m := s._channel.buffered())), None)
            if arrived:
                arrived[0]._handle(arrived[1])
                continue
            remaining = max(deadline - time.monotonic(), 0)
            ready, _, _ = select.select([s._channel for s in family], [], [], remaining)
            if not ready:
                raise TimeoutError(f"not within {timeout_s:g} s")
            for session in family:
                if session._channel in ready:
                    session._fill()
        return found

    def _fill(self) -> None:
        try:
            self._channel.fill(timeout_s=self._timeout_s)
        except DebuggerUnreachable:
            if self is self._root:
                raise
            self._close()  # a child process that ended; the session goes on

    def _handle(self, message: Message) -> None:
        kind = message.get("type")
        if kind == "response":
            self._answers[message.get("request_seq", 0)] = message
        elif kind == "event":
            body = message.get("body") or {}
            self._root._events.append(Event(self, str(message.get("event")), body))
            if message.get("event") == "terminated" and self is not self._root:
                # debugpy keeps an ended child's connection open until it is told.
                self.disconnect()
        elif kind == "request":
            self._serve(message)

    def _serve(self, message: Message) -> None:
        """Answer what the debugger asks of an editor."""
        command = message.get("command")
        is_known = command == "startDebugging"
        self._channel.send(
            {
                "type": "response",
                "request_seq": message.get("seq"),
                "command": command,
                "success": is_known,
                **({} if is_known else {"message": f"devkit does not know {command}"}),
            }
        )
        if is_known:
            self._root._adopt(message["arguments"]["configuration"])

    def _adopt(self, configuration: Mapping[str, Any]) -> None:
        # Whatever address the debugger names: a container does not send us elsewhere.
        child = Session(self._address, self._timeout_s, root=self)
        self.children.append(child)
        child._begin(configuration)

    def _take(self, fits: Callable[[Event], bool]) -> Event | None:
        found = next((event for event in self._root._events if fits(event)), None)
        if found is not None:
            self._root._events.remove(found)
        return found


def _refusal(command: str, answer: Message) -> DebuggerError:
    text = str(answer.get("message") or "no reason given")
    # debugpy: "Server[pid=1] is already being debugged."; devkit's multiplexer names the client.
    if command == "attach" and "already" in text:
        return AlreadyAttached(
            f"The debugger is taken: {text}",
            hint="Detach the other client (Shift+F5 in VS Code), then try again.",
        )
    return DebuggerError(f"The debugger refused {command}: {text}")
