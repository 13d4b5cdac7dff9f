"""Against a real debugpy in a process of its own; no container is needed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devkit.debug.dap import Breakpoint, Session
from devkit.debug.wire import ask
from devkit.errors import AlreadyAttached, DebuggerError, DebuggerUnreachable

PROGRAM = Path(__file__).with_name("debuggee.py")
LINES = PROGRAM.read_text().splitlines()
NOTE = LINES.index('    note = f"twice {number}"') + 1
RAISE = LINES.index('    raise ValueError("as asked")') + 1


class Debuggee:
    """The program, its port, and a way to have it do something and to read what came of it."""

    def __init__(self, program: Path, logs: Path) -> None:
        self._logs = logs
        self.process = subprocess.Popen(
            [sys.executable, "-Xfrozen_modules=off", str(program), "0"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "DEBUGPY_LOG_DIR": str(logs)},
            text=True,
        )
        self.port = int(self.said())

    def do(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def wait_until_ended(self, sessions: int) -> None:
        """Wait until debugpy has done with that many sessions.

        A client that comes while it still tidies up stops it from listening: accepting a client it
        reports to the oldest session, whose connection is closed by then (adapter/sessions.py).
        """
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            texts = [path.read_text() for path in self._logs.glob("debugpy.adapter*")]
            if sum(text.count(" has ended.") for text in texts) >= sessions:
                return
            threading.Event().wait(0.01)
        raise AssertionError(f"debugpy did not end {sessions} sessions in time")

    def said(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    """The program at another place, as it would stand in a container."""
    path = tmp_path / "remote" / PROGRAM.name
    path.parent.mkdir()
    path.write_text(PROGRAM.read_text())
    return path


@pytest.fixture
def debuggee(remote: Path, tmp_path: Path) -> Iterator[Debuggee]:
    (tmp_path / "logs").mkdir()
    program = Debuggee(remote, tmp_path / "logs")
    yield program
    program.process.kill()
    program.process.communicate()


@pytest.fixture
def configuration(debuggee: Debuggee, remote: Path) -> dict[str, Any]:
    return {
        "name": "test",
        "type": "debugpy",
        "request": "attach",
        "connect": {"host": "127.0.0.1", "port": debuggee.port},
        "pathMappings": [{"localRoot": str(PROGRAM.parent), "remoteRoot": str(remote.parent)}],
        "justMyCode": True,
        "subProcess": True,
    }


def attached(debuggee: Debuggee, configuration: dict[str, Any], *lines: int) -> Session:
    breakpoints = {str(PROGRAM): [Breakpoint(line) for line in lines]}
    return Session.attach("127.0.0.1", debuggee.port, configuration, breakpoints=breakpoints)


def test_a_breakpoint_stops_at_the_mapped_line_with_its_variables(
    debuggee: Debuggee, configuration: dict[str, Any]
) -> None:
    with attached(debuggee, configuration, NOTE) as session:
        debuggee.do("double 21")
        thread = session.wait_for("stopped").body["threadId"]
        assert thread in session.threads()
        frame = session.stack(thread)[0]
        assert (frame.path, frame.line, frame.name) == (str(PROGRAM), NOTE, "doubled")
        variables = session.variables(session.scopes(frame.id)["Locals"])
        assert variables == {"number": "21", "result": "42"}
        assert session.evaluate("number + result", frame.id) == "63"
        session.next(thread)
        session.wait_for("stopped", where=lambda e: e.body["reason"] == "step")
        assert session.stack(thread)[0].line == NOTE + 1
        session.resume(thread)
        assert debuggee.said() == "42"


def test_what_an_expression_raises_is_told(
    debuggee: Debuggee, configuration: dict[str, Any]
) -> None:
    with attached(debuggee, configuration, NOTE) as session:
        debuggee.do("double 1")
        frame = session.stack(session.wait_for("stopped").body["threadId"])[0]
        with pytest.raises(DebuggerError, match="ZeroDivisionError"):
            session.evaluate("1 / 0", frame.id)


def test_a_conditional_breakpoint_stops_only_where_it_should(
    debuggee: Debuggee, configuration: dict[str, Any]
) -> None:
    with attached(debuggee, configuration) as session:
        condition = Breakpoint(NOTE, condition="number == 2")
        assert session.set_breakpoints(str(PROGRAM), [condition])[0]["verified"]
        debuggee.do("double 1")
        assert debuggee.said() == "2"
        debuggee.do("double 2")
        thread = session.wait_for("stopped").body["threadId"]
        assert session.evaluate("number", session.stack(thread)[0].id) == "2"


def test_an_exception_filter_stops_at_the_raising_line(
    debuggee: Debuggee, configuration: dict[str, Any]
) -> None:
    with attached(debuggee, configuration) as session:
        session.set_exceptions(["raised"])
        debuggee.do("fail")
        stop = session.wait_for("stopped")
        assert stop.body["reason"] == "exception"
        assert session.stack(stop.body["threadId"])[0].line == RAISE
        session.set_exceptions([])
        session.resume(stop.body["threadId"])
        assert debuggee.said() == "failed"


def test_a_running_program_can_be_paused(debuggee: Debuggee, configuration: dict[str, Any]) -> None:
    with attached(debuggee, configuration) as session:
        thread = next(iter(session.threads()))
        session.pause(thread)
        debuggee.do("double 1")
        assert session.wait_for("stopped").body["reason"] == "pause"
        session.resume(thread)
        assert debuggee.said() == "2"


def test_a_line_under_no_mapping_does_not_verify(
    debuggee: Debuggee, configuration: dict[str, Any]
) -> None:
    with attached(debuggee, configuration) as session:
        (result,) = session.set_breakpoints("/nowhere/score.py", [Breakpoint(1)])
        assert not result["verified"]
        assert "does not exist" in result["message"]


def test_leaving_lets_the_program_go_on_and_the_next_attach_works(
    debuggee: Debuggee, configuration: dict[str, Any]
) -> None:
    for number in (1, 2, 3):
        with attached(debuggee, configuration, NOTE) as session:
            debuggee.do(f"double {number}")
            session.wait_for("stopped")
        assert debuggee.said() == str(2 * number)
        debuggee.wait_until_ended(number)
    debuggee.do("double 4")
    assert debuggee.said() == "8"


def test_detaching_twice_disconnects_once(
    debuggee: Debuggee, configuration: dict[str, Any]
) -> None:
    session = attached(debuggee, configuration)
    assert session.disconnect()
    assert not session.disconnect()
    debuggee.wait_until_ended(1)
    with attached(debuggee, configuration) as again:
        assert again.threads()


def test_a_second_client_is_refused_and_the_first_goes_on(
    debuggee: Debuggee, configuration: dict[str, Any]
) -> None:
    with attached(debuggee, configuration, NOTE) as first:
        with pytest.raises(AlreadyAttached, match="already"):
            attached(debuggee, configuration)
        debuggee.do("double 5")
        thread = first.wait_for("stopped").body["threadId"]
        assert first.evaluate("number", first.stack(thread)[0].id) == "5"


def test_a_question_for_devkit_leaves_a_plain_debugger_usable(
    debuggee: Debuggee, configuration: dict[str, Any]
) -> None:
    for number in (1, 2, 3):
        with pytest.raises(DebuggerUnreachable, match="devkit/status"):
            ask("127.0.0.1", debuggee.port, "devkit/status", {}, timeout_s=10)
        debuggee.wait_until_ended(number)
    with attached(debuggee, configuration) as session:
        assert session.threads()


def test_a_child_process_becomes_a_session_of_its_own(
    debuggee: Debuggee, configuration: dict[str, Any]
) -> None:
    with attached(debuggee, configuration, NOTE) as session:
        debuggee.do("fork 9")
        stop = session.wait_for("stopped")
        assert stop.session is not session
        assert session.children == [stop.session]
        frame = stop.session.stack(stop.body["threadId"])[0]
        assert stop.session.evaluate("result", frame.id) == "18"
        stop.session.resume(stop.body["threadId"])
        session.wait_for("terminated", where=lambda e: e.session is stop.session)
        assert debuggee.said() == "18"
        assert session.children == []
        debuggee.do("double 1")
        assert session.wait_for("stopped").session is session


def test_a_program_that_dies_ends_the_session(
    debuggee: Debuggee, configuration: dict[str, Any]
) -> None:
    session = attached(debuggee, configuration)
    debuggee.process.kill()
    session.wait_for("terminated")
    session.disconnect()
    with pytest.raises(DebuggerUnreachable):
        session.threads()
