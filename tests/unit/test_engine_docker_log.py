"""A followed log whose engine does not end it, as Podman 4.3 may do."""

from __future__ import annotations

import http.server
import json
import socketserver
import struct
import threading
from collections.abc import Generator, Iterator

import pytest
from docker import APIClient

from devkit.engines import docker_log


class Forgetful(http.server.BaseHTTPRequestHandler):
    """Answers with a log that stays open, and says whether the container runs."""

    protocol_version = "HTTP/1.1"
    running = True
    over = threading.Event()

    def do_GET(self) -> None:
        self.send_response(200)
        if "/logs" in self.path:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            frame = struct.pack(">BxxxL", 1, 5) + b"hello"
            self.wfile.write(b"%x\r\n%b\r\n" % (len(frame), frame))
            self.over.wait(30)
            self.close_connection = True
        else:
            state = {"State": {"Running": self.running}, "Config": {"Tty": False}}
            body = json.dumps(state).encode()
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[APIClient]:
    monkeypatch.setattr(docker_log, "_LOOK_S", 0.05)
    monkeypatch.setattr(Forgetful, "over", threading.Event())
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Forgetful) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        client = APIClient(f"tcp://127.0.0.1:{server.server_address[1]}", version="1.41")
        yield client
        Forgetful.over.set()
        client.close()
        server.shutdown()


def followed(client: APIClient) -> Generator[bytes, None, None]:
    stream = client.logs("x", stream=True, follow=True)
    return docker_log.chunks_until_end(client, "x", stream)


def test_it_ends_when_the_container_does_not_run(
    client: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Forgetful, "running", False)
    assert list(followed(client)) == [b"hello"]


def test_it_goes_on_while_the_container_runs(
    client: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = followed(client)
    assert next(log) == b"hello"
    rest: list[bytes] = []
    reader = threading.Thread(target=lambda: rest.extend(log), daemon=True)
    reader.start()
    looks = 10
    reader.join(looks * docker_log._LOOK_S)
    assert reader.is_alive()
    monkeypatch.setattr(Forgetful, "running", False)
    reader.join(20)
    assert not reader.is_alive()
    assert rest == []


def test_letting_go_ends_the_watch(client: APIClient) -> None:
    log = followed(client)
    assert next(log) == b"hello"
    watch = next(it for it in threading.enumerate() if "_watch" in it.name)
    log.close()
    watch.join(20)
    assert not watch.is_alive()
