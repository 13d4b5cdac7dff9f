"""What a debug adapter client may be and do beside VS Code's way, and what is told to it."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from devkit.debug import wire
from devkit.errors import DebuggerError
from tests.running import LOCAL, SCORE, Service, stopped, until
from tests.runtime.conftest import Start

TOTAL = "total = sum"


class Client:
    """One connection of a client that knows the protocol's basic messages only."""

    def __init__(self, service: Service, configuration: dict[str, Any]) -> None:
        self.channel = wire.Channel.open("127.0.0.1", service.debug_port, timeout_s=30)
        self._events: list[dict[str, Any]] = []
        self.ask("initialize", {"clientID": "plain", "adapterID": "python"})
        attach = self.channel.request("attach", configuration)
        self.event("initialized")
        path, line = f"{LOCAL}/helper.py", 2
        breakpoints = {"source": {"path": path}, "breakpoints": [{"line": line}]}
        self.ask("setBreakpoints", breakpoints)
        self.ask("configurationDone", {})
        self._answer(attach)

    def ask(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        return self._answer(self.channel.request(command, arguments))

    def event(self, name: str) -> dict[str, Any]:
        while True:
            for event in self._events:
                if event["event"] == name:
                    self._events.remove(event)
                    return dict(event.get("body") or {})
            message = self.channel.receive(timeout_s=30)
            assert message["type"] != "request", "it did not say that it answers requests"
            if message["type"] == "event":
                self._events.append(message)

    def _answer(self, seq: int) -> dict[str, Any]:
        while True:
            message = self.channel.receive(timeout_s=30)
            if message["type"] == "event":
                self._events.append(message)
            elif message["request_seq"] == seq:
                assert message["success"], message
                return dict(message.get("body") or {})


def configuration(service: Service) -> dict[str, Any]:
    mapping = {"localRoot": LOCAL, "remoteRoot": service.remote_source}
    return {"pathMappings": [mapping], "subProcess": True}


def test_a_client_without_startdebugging_stops_and_steps(service: Service) -> None:
    client = Client(service, configuration(service))
    request = service.later()
    thread = client.event("stopped")["threadId"]
    client.ask("next", {"threadId": thread})
    assert client.event("stopped")["reason"] == "step"
    client.ask("continue", {"threadId": thread})
    assert request.reply().status == 200
    client.ask("disconnect", {})
    client.channel.close()


def test_a_client_without_startdebugging_is_offered_processes_by_debugpys_event(
    start: Start,
) -> None:
    files = {
        "helper.py": "def double(value):\n    result = value * 2\n    return result\n",
        "score.py": SCORE.replace("import helper", "import helper\nimport multiprocessing").replace(
            "    answer = helper.double(total)",
            "    with multiprocessing.get_context('fork').Pool(1) as pool:\n"
            "        answer = pool.map(helper.double, [total])[0]",
        ),
    }
    service = start(files=files)
    client = Client(service, configuration(service))
    request = service.later()
    offered = client.event("debugpyAttach")
    assert offered["subProcessId"] != service.ask("devkit/status")["pid"]
    child = Client(service, offered)
    thread = child.event("stopped")["threadId"]
    child.ask("continue", {"threadId": thread})
    assert request.reply().json["answer"] == 6
    client.ask("disconnect", {})
    child.channel.close()
    client.channel.close()


def test_an_attach_where_debugging_is_off_is_told_so(start: Start) -> None:
    service = start(env={"DEVKIT_DEBUG": "0"})
    with pytest.raises(DebuggerError, match="Debugging is off"):
        service.attach()
    assert service.request().status == 200


def test_a_killed_zygote_costs_no_session(service: Service) -> None:
    session = service.attach({"score.py": [service.line(TOTAL)]})
    worker = service.ask("devkit/status")["pid"]
    zygote = int(Path(f"/proc/{worker}/stat").read_text().rsplit(")", 1)[1].split()[1])
    os.kill(zygote, signal.SIGKILL)
    until(lambda: "the zygote ended" in service.log())
    version = service.bump(lambda text: "# one more line\n" + text)
    request = service.later()
    stop = stopped(session)
    assert stop.line == service.line(TOTAL)
    session.resume(stop.thread)
    assert request.reply().json["version"] == version
