from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from devkit import service
from devkit.engine import Placement
from devkit.errors import (
    BadValue,
    ContainerDied,
    DebuggerUnreachable,
    InitFailed,
    NoService,
    NotReady,
)
from tests.peer import Connection, peer, runtime

MAPPINGS = [
    Placement(Path("/work/ws"), PurePosixPath("/var/azureml-app/ws")),
    Placement(Path("/work/lib"), PurePosixPath("/var/azureml-app/ws/lib")),
]
STATUS: dict[str, Any] = {
    "state": "ready",
    "generation": 3,
    "pid": 42,
    "debug": True,
    "attached": None,
    "error": None,
    "python": "3.13.5",
    "reload_ms": None,
    "init_ms": 12.5,
    "watched": 2,
}
ERROR = {
    "type": "ValueError",
    "message": "no model",
    "traceback": 'File "/var/azureml-app/ws/lib/a.py", line 7, in init\nValueError: no model',
    "file": "/var/azureml-app/ws/lib/a.py",
    "line": 7,
    "function": "init",
}


class Echo(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(502 if self.path == "/fails" else 200)
        self.send_header("X-Type", self.headers["Content-Type"])
        self.send_header("X-Path", f"{self.command} {self.path}")
        self.end_headers()
        self.wfile.write(body[::-1])

    do_PUT = do_POST  # noqa: N815 - the name that http.server looks for

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_data_is_posted_as_json_and_the_whole_answer_comes_back(url: str) -> None:
    answer = service.invoke(f"{url}/score?a=b", b"\x00\xff")
    assert (answer.status, answer.ok, answer.body) == (200, True, b"\xff\x00")
    assert answer.header("x-path") == "POST /score?a=b"
    assert answer.header("X-TYPE") == "application/json"
    assert answer.header("absent") is None
    assert answer.seconds > 0


def test_headers_and_method_are_the_callers(url: str) -> None:
    headers = {"content-type": "text/csv"}
    answer = service.invoke(f"{url}/score", b"1", headers=headers, method="PUT")
    assert (answer.header("x-path"), answer.header("x-type")) == ("PUT /score", "text/csv")


def test_without_data_it_is_a_get(url: str) -> None:
    assert service.invoke(url).status == 200


def test_a_failing_status_is_an_answer_too(url: str) -> None:
    answer = service.invoke(f"{url}/fails", b"x")
    assert (answer.status, answer.ok, answer.text()) == (502, False, "x")


def test_a_proxy_is_not_asked(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert service.invoke(url).ok


def test_no_service_and_no_answer_are_two_things() -> None:
    def silent(connection: Connection) -> None:
        connection.sock.recv(65536)
        connection.sock.recv(1)

    with peer(silent) as port, pytest.raises(NotReady, match=r"within 0\.2 s"):
        service.invoke(f"http://127.0.0.1:{port}/score", timeout_s=0.2)
    with pytest.raises(NoService, match=f"127.0.0.1:{port}"):
        service.invoke(f"http://127.0.0.1:{port}/score")
    with peer(lambda c: c.sock.sendall(b"garbage\r\n\r\n")) as port, pytest.raises(NoService):
        service.invoke(f"http://127.0.0.1:{port}/score")


@pytest.mark.parametrize(
    ("start", "more"),
    [(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), (b"HTTP/1.1 200 OK\r\n\r\n", b"x")],
    ids=["head", "body"],
)
def test_an_answer_without_an_end_is_given_up_in_time(start: bytes, more: bytes) -> None:
    def serve(connection: Connection) -> None:
        connection.sock.recv(65536)
        connection.sock.sendall(start)
        while True:  # until the client has closed
            connection.sock.sendall(more)

    with peer(serve) as port, pytest.raises(NotReady, match=r"within 0\.2 s"):
        service.invoke(f"http://127.0.0.1:{port}/score", timeout_s=0.2)


@pytest.mark.parametrize("most_bytes", [None, 1000])
@pytest.mark.parametrize("timeout_s", [None, 10])
@pytest.mark.parametrize(
    ("answer", "came"),
    [
        (b"Content-Length: 100\r\n\r\nabc", "3 of 100 bytes"),
        (b"Content-Length: 100\r\n\r\n", "0 of 100 bytes"),
        (b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "3 bytes"),
    ],
)
def test_an_answer_that_is_cut_off_is_said_to_be(
    answer: bytes, came: str, timeout_s: float | None, most_bytes: int | None
) -> None:
    def serve(connection: Connection) -> None:
        connection.sock.recv(65536)
        connection.sock.sendall(b"HTTP/1.1 200 OK\r\n" + answer)

    with peer(serve) as port, pytest.raises(NoService, match=f"cut off after {came}"):
        service.invoke(f"http://127.0.0.1:{port}/score", timeout_s=timeout_s, most_bytes=most_bytes)


@pytest.mark.parametrize("most_bytes", [2, 3])
def test_of_a_long_answer_the_rest_is_left_unread(most_bytes: int) -> None:
    def serve(connection: Connection) -> None:
        connection.sock.recv(65536)
        connection.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")

    with peer(serve) as port:
        answer = service.invoke(f"http://127.0.0.1:{port}/score", most_bytes=most_bytes)
    assert answer.body == b"abc"[:most_bytes]


@pytest.mark.parametrize("url", ["127.0.0.1:80", "ftp://x/", "", "http://"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(BadValue):
        service.invoke(url)


def test_a_status_is_read_as_it_is() -> None:
    body = {**STATUS, "attached": {"client": "Visual Studio Code", "since": 5.0}}
    with runtime(lambda command, _: body if command == "devkit/status" else None) as port:
        status = service.status("127.0.0.1", port)
    assert status == service.Status(
        state="ready",
        generation=3,
        pid=42,
        debug=True,
        attached=service.Attached("Visual Studio Code", 5.0),
        error=None,
        python="3.13.5",
        init_ms=12.5,
        reload_ms=None,
        watched=2,
    )


@pytest.mark.parametrize(
    "change",
    [
        {"state": None},
        {"generation": "x"},
        {"attached": 5},
        {"error": "x"},
        {"generation": 1e999},
        {"generation": -1},
        {"watched": 1e999},
        {"watched": 10**400},
        {"pid": [1]},
        {"init_ms": 1e999},
        {"reload_ms": float("nan")},
        {"attached": {"client": "x", "since": 10**4200}},
        {"attached": {"client": "x", "since": 1e999}},
        {"error": {**ERROR, "line": 1e999}},
        {"error": {**ERROR, "line": "7"}},
        {"error": {**ERROR, "file": ["a"]}},
        {"error": {**ERROR, "function": ["init"]}},
    ],
)
def test_a_status_that_makes_no_sense_is_no_status(change: dict[str, Any]) -> None:
    body = {**STATUS, **change}
    body = {key: value for key, value in body.items() if value is not None}
    with runtime(lambda *_: body) as port, pytest.raises(DebuggerUnreachable, match="no sense"):
        service.status("127.0.0.1", port)


def test_an_error_is_placed_in_the_local_file_of_the_longest_mapping() -> None:
    with runtime(lambda *_: {**STATUS, "state": "failed", "error": ERROR}) as port:
        error = service.status("127.0.0.1", port, mappings=MAPPINGS).error
    assert error is not None
    assert (error.file, error.line) == (Path("/work/lib/a.py"), 7)
    assert error.traceback.startswith('File "/work/lib/a.py", line 7')
    assert str(error) == "/work/lib/a.py:7: init() raised ValueError: no model"


@pytest.mark.parametrize("line", [0, -5, True, False, 10**7, 10**4000])
def test_a_line_that_no_file_has_is_left_out(line: int) -> None:
    failed = {**STATUS, "state": "failed", "error": {**ERROR, "line": line}}
    with runtime(lambda *_: failed) as port:
        error = service.status("127.0.0.1", port, mappings=MAPPINGS).error
    assert error is not None
    assert error.line is None
    assert str(error) == "/work/lib/a.py: init() raised ValueError: no model"


def test_waiting_ends_when_the_wanted_generation_serves() -> None:
    asked: list[dict[str, Any]] = []
    states = [
        {**STATUS, "state": "init", "generation": 1},
        {**STATUS, "state": "ready", "generation": 1},
        {**STATUS, "state": "failed", "generation": 1, "error": ERROR},
        {**STATUS, "state": "ready", "generation": 2},
    ]

    def answers(command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        asked.append(arguments)
        return states[len(asked) - 1]

    with runtime(answers) as port:
        status = service.wait_ready(
            "127.0.0.1", port, timeout_s=30, alive=lambda: True, generation=2
        )
    assert status.generation == 2
    assert {question["generation"] for question in asked} == {2}


def test_a_stopped_request_does_not_make_a_service_unready() -> None:
    with runtime(lambda *_: {**STATUS, "state": "paused"}) as port:
        assert service.wait_ready("127.0.0.1", port, timeout_s=5, alive=lambda: True).is_ready


@pytest.mark.parametrize("state", ["failed", "crash_loop"])
def test_a_failed_init_ends_the_waiting_with_the_local_line(state: str) -> None:
    with (
        runtime(lambda *_: {**STATUS, "state": state, "error": ERROR}) as port,
        pytest.raises(InitFailed, match=r"/work/lib/a\.py:7: init\(\) raised") as caught,
    ):
        service.wait_ready("127.0.0.1", port, timeout_s=30, alive=lambda: True, mappings=MAPPINGS)
    assert (caught.value.file, caught.value.line) == ("/work/lib/a.py", 7)
    assert "several times" in caught.value.message or state == "failed"


def test_a_container_that_ends_ends_the_waiting() -> None:
    def dead() -> None:
        raise ContainerDied("It ended with exit code 3.")

    with pytest.raises(ContainerDied, match="exit code 3"):
        service.wait_ready("127.0.0.1", 1, timeout_s=30, alive=dead)
    with pytest.raises(ContainerDied, match="before the service was ready"):
        service.wait_ready("127.0.0.1", 1, timeout_s=30, alive=lambda: False)


def test_a_port_that_opens_later_is_waited_for() -> None:
    with peer(lambda _: None) as closing:  # what a published port does before the runtime listens
        tries = iter(range(1000))
        calls = []

        def alive() -> None:
            calls.append(next(tries))
            if len(calls) > 3:
                raise ContainerDied("enough")

        with pytest.raises(ContainerDied, match="enough"):
            service.wait_ready("127.0.0.1", closing, timeout_s=30, alive=alive)


def test_waiting_is_given_up_in_time_and_says_for_what() -> None:
    body = {**STATUS, "state": "init"}
    with (
        runtime(lambda *_: body) as port,
        pytest.raises(NotReady, match=r"within 0\.3 s: its state is 'init'"),
    ):
        service.wait_ready("127.0.0.1", port, timeout_s=0.3, alive=lambda: True)
    with pytest.raises(NotReady, match=f"127.0.0.1:{port}"):
        service.wait_ready("127.0.0.1", port, timeout_s=0.3, alive=lambda: True)


def test_a_reload_says_what_came_of_it() -> None:
    bodies = iter([STATUS, {**STATUS, "state": "failed", "error": ERROR}])
    with runtime(lambda command, _: next(bodies) if command == "devkit/reload" else None) as port:
        assert service.reload("127.0.0.1", port).is_ready
        with pytest.raises(InitFailed, match="no model"):
            service.reload("127.0.0.1", port)


@pytest.mark.parametrize(
    "request_",
    [
        {"headers": {"X": "1\r\nY: 2"}},
        {"headers": {"": "1"}},
        {"headers": {"X": "日本"}},
        {"path": "/sco re"},
        {"path": "/scöre"},
        {"method": "PO ST\x00"},
    ],
)
def test_a_request_that_http_does_not_have_is_refused(url: str, request_: dict[str, Any]) -> None:
    path = request_.pop("path", "/score")
    with pytest.raises(BadValue, match="cannot be sent") as refused:
        service.invoke(url + path, b"1", **request_)
    assert "--header" in (refused.value.hint or "")


def failing(**body: Any) -> service.Answer:
    return service.Answer(502, (), json.dumps(body).encode(), 0.1)


def test_a_failing_answer_is_told_with_its_traceback_in_local_paths() -> None:
    told = failing(message="run() raised ValueError: no model", error=ERROR).told(MAPPINGS)
    assert told.splitlines() == [
        "run() raised ValueError: no model",
        'File "/work/lib/a.py", line 7, in init',
        "ValueError: no model",
    ]


@pytest.mark.parametrize("body", [b"plain", b"[1]", b'{"error": "x"}', b"[" * 100_000, b"\xff"])
def test_an_answer_that_is_no_failure_of_ours_is_told_as_it_is(body: bytes) -> None:
    answer = service.Answer(502, (), body, 0.1)
    assert answer.told(MAPPINGS) == answer.text()


def test_the_hint_of_a_failure_says_who_brings_the_mended_file_in() -> None:
    failed = {**STATUS, "state": "failed", "error": ERROR}
    own = [Placement(Path("/work/ws"), PurePosixPath("/work/ws"))]
    for mappings, hint in ((MAPPINGS, "`devkit sync` keeps"), (own, "file: it is loaded at once.")):
        with runtime(lambda *_: failed) as port, pytest.raises(InitFailed) as raised:
            service.reload("127.0.0.1", port, mappings=mappings)
        assert hint in (raised.value.hint or "")
