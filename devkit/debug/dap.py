"""Step 3, attach: a debug adapter client that does what an editor does, for the proof and tests.

Processes that the debugger asks an editor to debug too become child sessions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from devkit.debug.dialogue import Dialogue
from devkit.debug.wire import USABLE_AGAIN, Channel, Message
from devkit.errors import DebuggerUnreachable

# A peer that floods us with events pushes out its own oldest ones.
MAX_EVENTS = 10_000
MAX_CHILDREN = 16

_CLIENT = {
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

    Make one with `attach`; `bound` has what became of each file's breakpoints. Requests that are
    refused raise DebuggerError; a peer that is gone or talks nonsense raises DebuggerUnreachable.
    """

    def __init__(
        self, address: tuple[str, int], timeout_s: float, root: Session | None = None
    ) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._root = root or self
        # The root's hold for the whole family.
        self._family: list[Dialogue] = []
        self._breakpoints: dict[str, list[Breakpoint]] = {}
        self._exceptions: list[str] = []
        self._client = "devkit"
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS)
        self.bound: dict[str, list[Message]] = {}
        self.children: list[Session] = []
        self._dialogue = Dialogue(
            Channel.open(*address, timeout_s=timeout_s),
            self._root._family,
            timeout_s,
            on_event=self._on_event,
            on_request=self._on_request,
            on_end=self._on_end,
        )

    @classmethod
    def attach(
        cls,
        host: str,
        port: int,
        configuration: Mapping[str, Any],
        *,
        breakpoints: Mapping[str, Sequence[Breakpoint]] | None = None,
        exceptions: Sequence[str] = (),
        client: str = "devkit",
        timeout_s: float = 10,
    ) -> Session:
        """Attach with a launch.json configuration whose variables are filled in.

        The runtime lets others wait for a `client` "devkit", whose checks are short.

        Raises:
            AlreadyAttached: another client is.
            DebuggerUnreachable: nothing there speaks the protocol, or not within `timeout_s`.
        """
        session = cls((host, port), timeout_s)
        session._breakpoints = {path: list(wanted) for path, wanted in (breakpoints or {}).items()}
        session._exceptions = list(exceptions)
        session._client = client
        session._begin(configuration)
        return session

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.disconnect()

    def set_breakpoints(self, path: str, breakpoints: Sequence[Breakpoint]) -> list[Message]:
        """Replace the breakpoints of a file, also in child sessions; return what became of each."""
        self._root._breakpoints[path] = list(breakpoints)
        for session in [*self._root.children, self._root]:
            session.bound.update(session._bind({path: breakpoints}))
        return self._root.bound[path]

    def set_exceptions(self, filters: Sequence[str]) -> None:
        """Choose the exceptions to stop at: "raised", "uncaught", "userUnhandled"."""
        self._root._exceptions = list(filters)
        for session in [self._root, *self._root.children]:
            session.request("setExceptionBreakpoints", {"filters": list(filters)})

    def threads(self) -> dict[int, str]:
        """The program's threads by id."""
        found = self._dialogue.listed("threads", {}, "threads", ("id", "name"))
        return {thread["id"]: thread["name"] for thread in found}

    def stack(self, thread_id: int, *, levels: int = 20) -> list[Frame]:
        """The frames of a stopped thread, innermost first."""
        arguments = {"threadId": thread_id, "levels": levels}
        found = self._dialogue.listed(
            "stackTrace", arguments, "stackFrames", ("id", "name", "line")
        )
        return [
            Frame(f["id"], f["name"], (f.get("source") or {}).get("path", ""), f["line"])
            for f in found
        ]

    def scopes(self, frame_id: int) -> dict[str, int]:
        """The scopes of a frame: name and the reference for `variables`."""
        keys = ("name", "variablesReference")
        found = self._dialogue.listed("scopes", {"frameId": frame_id}, "scopes", keys)
        return {scope["name"]: scope["variablesReference"] for scope in found}

    def variables(self, reference: int) -> dict[str, str]:
        """Names and values, as an editor shows them."""
        arguments = {"variablesReference": reference}
        found = self._dialogue.listed("variables", arguments, "variables", ("name", "value"))
        return {variable["name"]: variable["value"] for variable in found}

    def evaluate(self, expression: str, frame_id: int | None = None, context: str = "repl") -> str:
        """Evaluate Python in a frame of a stopped thread; what it raises, as DebuggerError."""
        arguments: Message = {"expression": expression, "context": context}
        if frame_id is not None:
            arguments["frameId"] = frame_id
        return str(self.request("evaluate", arguments).get("result"))

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
        return self._dialogue.request(command, arguments or {})

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
        return self._dialogue.until(
            lambda: self._take(lambda event: event.name == name and where(event)), timeout_s
        )

    def disconnect(self) -> bool:
        """Detach, once, children first; return whether the debugger confirmed it."""
        for child in list(self.children):
            child.disconnect()
        return self._dialogue.leave()

    def _begin(self, configuration: Mapping[str, Any]) -> None:
        name = self._root._client
        try:
            self.request("initialize", {**_CLIENT, "clientID": name, "clientName": name})
            seq = self._dialogue.send("attach", configuration)
            self._dialogue.awaited("attach", lambda: self._initialized(seq))
            self.bound = self._bind(self._root._breakpoints)
            self.request("setExceptionBreakpoints", {"filters": self._root._exceptions})
            self.request("configurationDone")
            self._dialogue.answer("attach", seq)
        except BaseException:
            self.disconnect()
            raise

    def _initialized(self, seq: int) -> Event | None:
        self._dialogue.check("attach", seq)
        return self._take(lambda event: event.name == "initialized" and event.session is self)

    def _bind(self, wanted: Mapping[str, Sequence[Breakpoint]]) -> dict[str, list[Message]]:
        """Send the breakpoints of all files, then wait: what became of each, by file."""
        sent = {
            path: self._dialogue.send("setBreakpoints", _as_request(path, breakpoints))
            for path, breakpoints in wanted.items()
        }
        return {path: self._bound(path, wanted[path], seq) for path, seq in sent.items()}

    def _bound(self, path: str, breakpoints: Sequence[Breakpoint], seq: int) -> list[Message]:
        body = self._dialogue.answer("setBreakpoints", seq)
        found = self._dialogue.items("setBreakpoints", body, "breakpoints", ("verified",))
        if len(found) != len(breakpoints):
            raise DebuggerUnreachable(
                f"The debugger lost breakpoints of {path}.", hint=USABLE_AGAIN
            )
        return found

    def _on_event(self, name: str, body: Message) -> None:
        self._root._events.append(Event(self, name, body))
        if name == "terminated" and self is not self._root:
            # debugpy keeps an ended child's connection open until it is told.
            self.disconnect()

    def _on_request(self, message: Message) -> None:
        """Answer what the debugger asks of an editor."""
        command, arguments = message.get("command"), message.get("arguments")
        configuration = arguments.get("configuration") if isinstance(arguments, dict) else None
        if command != "startDebugging" or not isinstance(configuration, dict):
            self._dialogue.respond(message, refusal=f"devkit does not know {command}")
        elif len(self._root.children) >= MAX_CHILDREN:
            self._dialogue.respond(message, refusal="too many processes")
        else:
            self._dialogue.respond(message)
            # A process may end before its debugger is set up.
            with suppress(DebuggerUnreachable):
                self._root._adopt(configuration)

    def _adopt(self, configuration: Mapping[str, Any]) -> None:
        # Whatever address the debugger names: a container does not send us elsewhere.
        child = Session(self._address, self._timeout_s, root=self)
        self.children.append(child)
        child._begin(configuration)

    def _on_end(self) -> None:
        if self in self._root.children:
            self._root.children.remove(self)

    def _take(self, fits: Callable[[Event], bool]) -> Event | None:
        found = next((event for event in self._root._events if fits(event)), None)
        if found is not None:
            self._root._events.remove(found)
        return found


def _as_request(path: str, breakpoints: Sequence[Breakpoint]) -> Message:
    return {
        "source": {"path": path},
        "breakpoints": [breakpoint.as_message() for breakpoint in breakpoints],
        "lines": [breakpoint.line for breakpoint in breakpoints],
    }
