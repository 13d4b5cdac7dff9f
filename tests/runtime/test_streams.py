"""Answers of a length that nobody knows before: whole they are whole, cut they are seen as cut."""

from __future__ import annotations

import http.client
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.running import Service, until
from tests.runtime.conftest import Start

STREAMS = """\
import os, time
from azureml.contrib.services.aml_request import AMLRequest, rawhttp
from flask import Response

VERSION = 1


def init():
    pass


def parts(what):
    yield b"first half;"
    if what == "wait":
        time.sleep(600)
    if what == "raise":
        raise ValueError("half way")
    if what == "os error":
        raise ConnectionResetError("of the user's own")
    if what == "exit":
        raise SystemExit(4)
    yield b"second half"


def nothing():
    raise ValueError("at once")
    yield b""


@rawhttp
def run(request):
    what = request.args.get("what")
    if what == "binary":
        return Response((bytes(range(256)) * 1000 for _ in range(20)))
    if what == "empty":
        return Response(iter(()))
    if what == "empty parts":
        return Response(iter((b"a", b"", b"b")))
    if what == "nothing":
        return Response(nothing())
    if what == "204":
        return Response(status=204)
    if what == "304":
        return Response(status=304)
    if what == "too few":
        return Response(iter((b"12345",)), headers={"Content-Length": "10"})
    if what == "known":
        return Response(parts("raise"), headers={"Content-Length": "100000"})
    if what == "pid":
        return Response(str(os.getpid()))
    return Response(parts(what), mimetype="text/plain")
"""


@pytest.fixture
def service(start: Start) -> Service:
    return start(files={"score.py": STREAMS}, env={"SCORING_TIMEOUT_MS": "600000"})


def ask(service: Service, what: str, method: str = "POST") -> tuple[int, dict[str, str], bytes]:
    reply = service.request(method, f"/score?what={what.replace(' ', '%20')}", body=None)
    return reply.status, dict(reply.headers), reply.body


def pid_of_worker(service: Service) -> int:
    return int(ask(service, "pid")[2])


@contextmanager
def begun(service: Service, what: str, version: str = "1.1") -> Iterator[socket.socket]:
    """A connection on which the first half of an answer has arrived."""
    with socket.create_connection(("127.0.0.1", service.score_port), timeout=60) as sock:
        path = f"/score?what={what.replace(' ', '%20')}"
        sock.sendall(f"POST {path} HTTP/{version}\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode())
        seen = b""
        while b"first half;" not in seen:
            seen += sock.recv(1)
        yield sock


def rest(sock: socket.socket) -> bytes:
    found = b""
    while data := sock.recv(65536):
        found += data
    return found


def test_a_whole_stream_of_unknown_length_arrives_whole(service: Service) -> None:
    status, headers, body = ask(service, "text")
    assert (status, body) == (200, b"first half;second half")
    assert headers["Transfer-Encoding"] == "chunked"
    assert "Content-Length" not in headers
    assert ask(service, "binary")[2] == bytes(range(256)) * 20000
    assert ask(service, "empty")[2] == b""
    assert ask(service, "empty parts")[2] == b"ab"


def test_a_connection_goes_on_after_a_stream(service: Service) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", service.score_port, timeout=60)
    for _ in range(3):
        connection.request("POST", "/score?what=text", b"")
        sock = connection.sock
        assert connection.getresponse().read() == b"first half;second half"
        assert connection.sock is sock
    connection.close()


def test_a_client_of_http_1_0_gets_a_stream_that_ends_with_the_connection(
    service: Service,
) -> None:
    with begun(service, "text", version="1.0") as sock:
        assert rest(sock) == b"second half"


@pytest.mark.parametrize("what", ["204", "304"])
def test_an_answer_that_has_no_body_has_no_length_either(service: Service, what: str) -> None:
    status, headers, body = ask(service, what)
    assert (status, body) == (int(what), b"")
    assert not {"Content-Length", "Transfer-Encoding"} & set(headers)


def test_head_has_the_head_of_the_answer_and_no_body(service: Service) -> None:
    status, headers, body = ask(service, "text", "HEAD")
    assert (status, body) == (200, b"")
    assert "Content-Length" not in headers
    assert ask(service, "pid", "HEAD")[1]["Content-Length"] == str(len(ask(service, "pid")[2]))


def test_a_stream_whose_worker_is_killed_half_way_is_seen_as_cut(service: Service) -> None:
    before = pid_of_worker(service)
    with begun(service, "wait") as sock:
        os.kill(before, signal.SIGKILL)
        assert not rest(sock).endswith(b"0\r\n\r\n")
    assert pid_of_worker(service) != before


def test_a_stream_to_a_client_of_http_1_0_is_reset_when_its_worker_is_killed(
    service: Service,
) -> None:
    before = pid_of_worker(service)
    with begun(service, "wait", version="1.0") as sock:
        os.kill(before, signal.SIGKILL)
        with pytest.raises(ConnectionResetError):
            rest(sock)
    assert pid_of_worker(service) != before


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("raise", "ValueError: half way"),
        ("os error", "the answer broke off"),
    ],
)
def test_a_stream_that_raises_half_way_is_seen_as_cut_and_its_worker_serves_on(
    service: Service, what: str, told: str
) -> None:
    before = pid_of_worker(service)
    connection = http.client.HTTPConnection("127.0.0.1", service.score_port, timeout=60)
    connection.request("POST", f"/score?what={what.replace(' ', '%20')}", b"")
    answer = connection.getresponse()
    with pytest.raises(http.client.IncompleteRead) as cut:
        answer.read()
    assert cut.value.partial == b"first half;"
    connection.close()
    assert told in service.log()
    assert pid_of_worker(service) == before


def test_a_stream_that_raises_half_way_is_reset_for_a_client_of_http_1_0(service: Service) -> None:
    with begun(service, "raise", version="1.0") as sock, pytest.raises(ConnectionResetError):
        rest(sock)


def test_a_stream_that_raises_at_once_is_a_failure_with_its_reason(service: Service) -> None:
    reply = service.request(path="/score?what=nothing")
    assert (reply.status, reply.json["error"]["message"]) == (502, "at once")


@pytest.mark.parametrize("what", ["known", "too few"])
def test_an_answer_shorter_than_it_says_is_no_answer_and_its_worker_serves_on(
    service: Service, what: str
) -> None:
    before = pid_of_worker(service)
    status, _, body = ask(service, what)
    assert (status, b"broke off" in body) == (502, True)
    assert pid_of_worker(service) == before


def test_a_stream_that_exits_half_way_is_seen_as_cut_and_the_worker_is_replaced(
    service: Service,
) -> None:
    before = pid_of_worker(service)
    with begun(service, "exit") as sock:
        assert not rest(sock).endswith(b"0\r\n\r\n")
    assert pid_of_worker(service) != before


def test_a_stream_that_a_save_cuts_is_seen_as_cut(service: Service) -> None:
    with begun(service, "wait") as sock:
        service.bump()
        assert not rest(sock).endswith(b"0\r\n\r\n")
    assert ask(service, "text")[0] == 200


def test_a_stream_over_the_time_limit_is_seen_as_cut_and_its_worker_serves_on(
    start: Start,
) -> None:
    service = start(files={"score.py": STREAMS}, env={"SCORING_TIMEOUT_MS": "300"})
    before = pid_of_worker(service)
    with begun(service, "wait") as sock:
        assert not rest(sock).endswith(b"0\r\n\r\n")
    assert "the answer broke off: Timeout" in service.log()

    def served() -> bytes | None:
        status, _, body = ask(service, "pid")
        return body if status == 200 else None  # on a busy machine, its 300 ms are soon over

    assert int(until(served)) == before


def test_a_client_that_leaves_in_the_middle_of_a_stream_costs_no_worker(service: Service) -> None:
    before = pid_of_worker(service)
    for _ in range(3):
        with begun(service, "text"), suppress(OSError):
            pass
    until(lambda: ask(service, "text")[2] == b"first half;second half")
    assert pid_of_worker(service) == before
