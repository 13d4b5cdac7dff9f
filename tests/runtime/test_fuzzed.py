"""Whatever a client sends to the debugger's port, an attached editor and the service live on."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import running
from tests.running import Service, stopped

COMMANDS = [
    "initialize",
    "attach",
    "configurationDone",
    "setBreakpoints",
    "setExceptionBreakpoints",
    "threads",
    "stackTrace",
    "scopes",
    "variables",
    "evaluate",
    "continue",
    "pause",
    "disconnect",
    "terminate",
    "source",
    "goto",
    "devkit/status",
    "devkit/verify",
    "restart",
]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4)
    ),
    max_leaves=8,
)
arguments = st.dictionaries(
    st.sampled_from(
        [
            "source",
            "breakpoints",
            "threadId",
            "frameId",
            "variablesReference",
            "files",
            "path",
            "lines",
            "clientID",
            "pathMappings",
            "rules",
            "subProcessId",
            "expression",
            "filters",
            "sourceModified",
        ]
    ),
    json_values,
    max_size=5,
)
requests = st.builds(
    lambda command, args, seq: {
        "seq": seq,
        "type": "request",
        "command": command,
        "arguments": args,
    },
    st.sampled_from(COMMANDS),
    arguments | json_values,
    json_values,
)


def framed(value: object) -> bytes:
    body = json.dumps(value).encode()
    return b"Content-Length: %d\r\n\r\n" % len(body) + body


streams = st.lists(
    st.one_of(requests.map(framed), json_values.map(framed), st.binary(max_size=60)), max_size=6
).map(b"".join)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all examples: it has to survive them all."""
    folder: Path = tmp_path_factory.mktemp("fuzzed")
    with running.on_host(folder) as service:
        yield service


def talk(port: int, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as stranger:
        stranger.sendall(data)
        stranger.shutdown(socket.SHUT_WR)
        while stranger.recv(65536):
            pass


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=streams)
def test_strangers_do_not_disturb_an_attached_editor(service: Service, data: bytes) -> None:
    if not service.sessions:
        service.attach({"score.py": [service.line("total = sum")]})
    talk(service.debug_port, data)
    assert service.ask("devkit/status")["attached"]["client"] == "Visual Studio Code"


def test_after_all_that_a_breakpoint_stops_and_nothing_went_wrong_inside(service: Service) -> None:
    session = service.sessions[0]
    request = service.later()
    stop = stopped(session)
    session.resume(stop.thread)
    assert request.reply().status == 200
    assert "internal error" not in service.log()
    assert "Traceback" not in service.log()


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=streams)
def test_a_client_that_attaches_and_then_talks_nonsense_leaves_the_way_free(
    service: Service, data: bytes
) -> None:
    for session in service.sessions:
        session.disconnect()
    service.sessions.clear()
    hello = framed({"seq": 1, "type": "request", "command": "initialize", "arguments": {"a": 1}})
    attach = framed({"seq": 2, "type": "request", "command": "attach", "arguments": {}})
    talk(service.debug_port, hello + attach + data)
    assert service.ask("devkit/status")["state"] == "ready"


def test_after_that_an_editor_attaches_and_stops(service: Service) -> None:
    session = service.attach({"score.py": [service.line("total = sum")]})
    request = service.later()
    stop = stopped(session)
    session.resume(stop.thread)
    assert request.reply().status == 200
    assert "internal error" not in service.log()
