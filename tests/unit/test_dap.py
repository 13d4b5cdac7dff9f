from __future__ import annotations

import socket
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from devkit.debug import dialogue, wire
from devkit.debug.dap import Breakpoint, Session
from devkit.errors import AlreadyAttached, DebuggerError, DebuggerUnreachable
from tests.peer import Connection, peer, runtime

CONFIGURATION = {"name": "test", "request": "attach"}


class Adapter:
    """A debug adapter that is as good as debugpy, but for what a test makes of it."""

    def __init__(self, **handlers: Callable[[Connection, dict[str, Any]], None]) -> None:
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.connections = 0
        self._handlers = handlers

    @property
    def commands(self) -> list[str]:
        return [command for command, _ in self.requests]

    def serve(self, connection: Connection) -> None:
        self.connections += 1
        attach: dict[str, Any] = {}
        while (message := connection.read()) is not None:
            if message["type"] != "request":
                self.requests.append((f"answer to {message['command']}", message))
                continue
            command = message["command"]
            self.requests.append((command, message["arguments"]))
            if command in self._handlers:
                self._handlers[command](connection, message)
            elif command == "attach":
                attach = message
                connection.event("initialized")
            elif command == "setBreakpoints":
                lines = message["arguments"]["lines"]
                found = [{"verified": True, "line": line} for line in lines]
                connection.respond(message, {"breakpoints": found})
            else:
                connection.respond(message)
            if command == "configurationDone":
                connection.respond(attach)
            if command == "disconnect":
                return


def attached(port: int, **options: Any) -> Session:
    return Session.attach("127.0.0.1", port, CONFIGURATION, **{"timeout_s": 10, **options})


def test_an_attach_sets_up_everything_before_the_program_goes_on() -> None:
    adapter = Adapter()
    breakpoints = {"/a.py": [Breakpoint(3, condition="x > 1")], "/b.py": [Breakpoint(1)]}
    with (
        peer(adapter.serve) as port,
        attached(port, breakpoints=breakpoints, exceptions=["userUnhandled"]),
    ):
        pass
    assert adapter.commands == [
        "initialize",
        "attach",
        "setBreakpoints",
        "setBreakpoints",
        "setExceptionBreakpoints",
        "configurationDone",
        "disconnect",
    ]
    sent = dict(adapter.requests)
    assert sent["attach"] == CONFIGURATION
    assert sent["setExceptionBreakpoints"] == {"filters": ["userUnhandled"]}
    assert adapter.requests[2][1]["breakpoints"] == [{"line": 3, "condition": "x > 1"}]


def test_a_debugger_that_is_taken_names_who_has_it() -> None:
    def refuse(connection: Connection, request: dict[str, Any]) -> None:
        text = "Visual Studio Code is already attached, since 12:00:00 UTC."
        connection.respond(request, success=False, message=text)

    adapter = Adapter(attach=refuse)
    with (
        peer(adapter.serve) as port,
        pytest.raises(AlreadyAttached, match="Visual Studio Code is already attached"),
    ):
        attached(port)
    assert adapter.commands == ["initialize", "attach", "disconnect"]


def test_any_other_refusal_is_told_in_the_debuggers_words() -> None:
    def refuse(connection: Connection, request: dict[str, Any]) -> None:
        connection.respond(request, success=False, message="Debugging is off")

    with (
        peer(Adapter(attach=refuse).serve) as port,
        pytest.raises(DebuggerError, match="refused attach: Debugging is off"),
    ):
        attached(port)


def test_disconnect_is_sent_once_and_the_answer_is_waited_for() -> None:
    answered = []

    def leave(connection: Connection, request: dict[str, Any]) -> None:
        connection.event("terminated")
        connection.respond(request)
        connection.sock.shutdown(socket.SHUT_WR)
        answered.append(connection.sock.recv(1))  # b"": nothing more came, the client closed

    adapter = Adapter(disconnect=leave)
    with peer(adapter.serve) as port, attached(port) as session:
        assert session.disconnect()
        assert not session.disconnect()
    assert adapter.commands.count("disconnect") == 1
    assert answered == [b""]


def test_the_debuggers_requests_are_answered_and_a_child_gets_the_same_breakpoints() -> None:
    configuration = {"name": "Subprocess 7", "subProcessId": 7, "connect": {"host": "203.0.113.1"}}

    def ask(connection: Connection, request: dict[str, Any]) -> None:
        for command, arguments in (
            ("runInTerminal", {}),
            ("startDebugging", {"request": "attach", "configuration": configuration}),
        ):
            connection.send({"type": "request", "command": command, "arguments": arguments})
        connection.respond(request, {"threads": [{"id": 1, "name": "main"}]})

    adapter = Adapter(threads=ask)
    with (
        peer(adapter.serve) as port,
        attached(port, breakpoints={"/a.py": [Breakpoint(2)]}) as session,
    ):
        assert session.threads() == {1: "main"}
        assert len(session.children) == 1
        session.set_breakpoints("/a.py", [Breakpoint(5)])
    assert adapter.connections == 2
    assert ("attach", configuration) in adapter.requests
    assert [a["success"] for c, a in adapter.requests if c.startswith("answer")] == [False, True]
    lines = [a["lines"] for command, a in adapter.requests if command == "setBreakpoints"]
    assert lines == [[2], [2], [5], [5]]
    assert adapter.commands.count("disconnect") == 2


def test_events_are_kept_until_somebody_waits_for_them() -> None:
    def speak(connection: Connection, request: dict[str, Any]) -> None:
        for number in (1, 2):
            connection.event("output", {"output": str(number)})
        connection.respond(request)

    with peer(Adapter(pause=speak).serve) as port, attached(port) as session:
        session.pause(1)
        assert session.wait_for("output", where=lambda e: e.body["output"] == "2")
        assert session.wait_for("output").body == {"output": "1"}
        with pytest.raises(TimeoutError):
            session.wait_for("output", timeout_s=0)


def test_a_debugger_that_does_not_answer_is_left_in_time() -> None:
    adapter = Adapter(threads=lambda connection, request: None)
    with (
        peer(adapter.serve) as port,
        attached(port, timeout_s=0.3) as session,
        pytest.raises(DebuggerUnreachable, match=r"did not answer threads within 0\.3 s"),
    ):
        session.threads()
    assert adapter.commands[-1] == "disconnect"


def test_a_debugger_that_never_stops_talking_is_left_in_time() -> None:
    def flood(connection: Connection, request: dict[str, Any]) -> None:
        while True:  # until the client has closed
            connection.event("output", {"output": "x" * 1000})

    with (
        peer(Adapter(threads=flood).serve) as port,
        attached(port, timeout_s=0.3) as session,
        pytest.raises(DebuggerUnreachable, match="did not answer threads"),
    ):
        session.threads()


def endless(connection: Connection) -> None:
    connection.read()
    while True:  # until the client has closed
        connection.sock.sendall(b'Content-Length: 16\r\n\r\n{"type":"event"}' * 1000)


def test_a_question_to_a_runtime_that_never_stops_talking_is_given_up_in_time() -> None:
    with (
        peer(endless) as port,
        pytest.raises(DebuggerUnreachable, match=r"did not answer devkit/stack within 0\.2 s"),
    ):
        wire.ask("127.0.0.1", port, "devkit/stack", {}, timeout_s=0.2)


def test_a_message_that_never_ends_is_given_up_in_time() -> None:
    def serve(connection: Connection) -> None:
        connection.read()
        connection.sock.sendall(b"Content-Length: %d\r\n\r\n" % wire.MAX_BODY)
        while True:
            connection.sock.sendall(b" ")

    with peer(serve) as port, pytest.raises(DebuggerUnreachable, match="did not answer"):
        wire.ask("127.0.0.1", port, "devkit/stack", {}, timeout_s=0.2)


def test_the_deadline_holds_between_messages_that_have_come_already() -> None:
    clock = iter(range(100))
    with peer(Adapter().serve) as port, attached(port) as session:
        session._dialogue._channel._pending += b'Content-Length: 16\r\n\r\n{"type":"event"}' * 100
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(dialogue, "time", SimpleNamespace(monotonic=lambda: next(clock)))
            with pytest.raises(TimeoutError, match="not within 3 s"):
                session.wait_for("stopped", timeout_s=3)
        assert next(clock) < 10


NONSENSE = {
    "not a message": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "a header without an end": b"x" * (wire.MAX_HEADER + 1),
    "a body beyond all bounds": b"Content-Length: 99999999999\r\n\r\n",
    "a length of a thousand digits": b"Content-Length: " + b"9" * 1000 + b"\r\n\r\n",
    "a negative length": b"Content-Length: -5\r\n\r\n",
    "not JSON": b"Content-Length: 3\r\n\r\n{x}",
    "not an object": b"Content-Length: 2\r\n\r\n[]",
    "JSON without end": b"Content-Length: 200000\r\n\r\n" + b"[" * 200000,
    "half a message": b"Content-Length: 100\r\n\r\n{",
    "nothing": b"",
}


@pytest.mark.parametrize("data", NONSENSE.values(), ids=NONSENSE.keys())
def test_a_peer_that_talks_nonsense_is_unreachable(data: bytes) -> None:
    def serve(connection: Connection) -> None:
        connection.read()
        connection.sock.sendall(data)

    with peer(serve) as port:
        with pytest.raises(DebuggerUnreachable, match=f"127.0.0.1:{port}"):
            attached(port)
        with pytest.raises(DebuggerUnreachable, match=f"127.0.0.1:{port}"):
            wire.ask("127.0.0.1", port, "devkit/status", {}, timeout_s=5)


@pytest.mark.parametrize(
    "body", [None, [], {}, {"threads": 5}, {"threads": [1]}, {"threads": [{"id": 1}]}]
)
def test_an_answer_without_what_was_asked_for_is_nonsense(body: Any) -> None:
    adapter = Adapter(threads=lambda connection, request: connection.respond(request, body))
    with (
        peer(adapter.serve) as port,
        attached(port) as session,
        pytest.raises(DebuggerUnreachable, match="answered threads with nonsense"),
    ):
        session.threads()


def test_a_child_that_talks_nonsense_or_vanishes_leaves_the_session_alone() -> None:
    adapter = Adapter()

    def ask(connection: Connection, request: dict[str, Any]) -> None:
        arguments = {"request": "attach", "configuration": {"name": "child"}}
        connection.send({"type": "request", "command": "startDebugging", "arguments": arguments})
        connection.respond(request, {"threads": []})

    def serve(connection: Connection) -> None:
        if not adapter.connections:
            adapter.serve(connection)
        elif connection.read() is not None:
            connection.sock.sendall(next(ends))

    ends = iter([b"nonsense\r\n\r\n", b""])
    adapter._handlers["threads"] = ask
    with peer(serve) as port, attached(port) as session:
        assert session.threads() == {}
        assert session.threads() == {}
        session.pause(1)
        assert session.children == []
    assert adapter.commands[-2:] == ["pause", "disconnect"]


def test_a_message_may_come_in_pieces_and_two_at_once() -> None:
    def drip(connection: Connection, request: dict[str, Any]) -> None:
        body = b'{"type":"response","request_seq":%d,"success":true,"body":{"threads":[]}}'
        body %= request["seq"]
        event = b'Content-Length: 30\r\n\r\n{"type":"event","event":"odd"}'
        message = event + b"Content-Length: %d\r\n\r\n" % len(body) + body
        for at in range(0, len(message), 7):
            connection.sock.sendall(message[at : at + 7])

    with peer(Adapter(threads=drip).serve) as port, attached(port) as session:
        assert session.threads() == {}
        assert session.wait_for("odd", timeout_s=0).session is session


def test_nothing_listening_is_said_with_the_address() -> None:
    with peer(lambda _: None) as port:
        pass
    with pytest.raises(DebuggerUnreachable, match=f"127.0.0.1:{port}"):
        attached(port)


def test_a_question_is_answered_or_refused() -> None:
    def answers(command: str, arguments: dict[str, Any]) -> dict[str, Any] | None:
        return arguments if command == "devkit/status" else {} if command == "disconnect" else None

    with runtime(answers) as port:
        assert wire.ask("127.0.0.1", port, "devkit/status", {"a": 1}, timeout_s=5) == {"a": 1}
        with pytest.raises(DebuggerUnreachable, match="refused devkit/other: not here"):
            wire.ask("127.0.0.1", port, "devkit/other", {}, timeout_s=5)
