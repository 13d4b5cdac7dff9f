"""The engine's frames, in every cut that a network may make of them."""

from __future__ import annotations

import json
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext, suppress
from pathlib import Path

import pytest
from docker import APIClient

from devkit.engines.docker_stream import DockerStream

UPGRADED = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"


def frame(kind: int, data: bytes) -> bytes:
    return struct.pack(">BxxxL", kind, len(data)) + data


class Daemon:
    """An engine that answers one exec with `pieces`, each sent by itself."""

    def __init__(self, path: Path) -> None:
        self.address = f"unix://{path}"
        self.pieces: list[bytes] = []
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(BrokenPipeError):  # a client that closed early
            self._exchange(connection)

    def _exchange(self, connection: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            request += connection.recv(65536)
        if b"/start " in request.splitlines()[0]:
            for piece in self.pieces:
                connection.sendall(piece)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
        else:
            body = json.dumps({"Running": False, "ExitCode": 3}).encode()
            head = (
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            )
            connection.sendall(head % len(body) + body)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with closing(Daemon(tmp_path / "d.sock")) as daemon:
        yield daemon


@pytest.fixture
def stream(daemon: Daemon) -> Iterator[Callable[..., DockerStream]]:
    opened: list[DockerStream] = []
    client = APIClient(base_url=daemon.address, version="1.41", timeout=10)

    def start(*pieces: bytes, tty: bool = False) -> DockerStream:
        daemon.pieces = list(pieces)
        opened.append(DockerStream(client, "id", tty=tty, translated=nullcontext))
        return opened[-1]

    yield start
    for each in opened:
        each.close()
    client.close()


def everything(stream: DockerStream, size: int = 65536) -> bytes:
    return b"".join(iter(lambda: stream.read(size), b""))


def test_output_that_came_with_the_header_is_not_lost(
    stream: Callable[..., DockerStream],
) -> None:
    output = frame(1, b"first") + frame(2, b"trouble") + frame(1, b"last")
    assert everything(started := stream(UPGRADED + output)) == b"firstlast"
    assert started.stderr() == b"trouble"
    assert started.wait() == 3


def test_output_that_came_with_the_header_makes_the_stream_readable(
    stream: Callable[..., DockerStream],
) -> None:
    started = stream(UPGRADED + frame(1, b"early"))
    assert select.select([started], [], [], 5)[0] == [started]
    assert started.read() == b"early"


def test_frames_may_be_cut_anywhere(stream: Callable[..., DockerStream]) -> None:
    output = frame(1, b"one") + frame(2, b"bad") + frame(1, b"") + frame(1, b"two")
    pieces = [output[number : number + 1] for number in range(len(output))]
    started = stream(UPGRADED, *pieces)
    assert everything(started) == b"onetwo"
    assert started.stderr() == b"bad"


def test_a_frame_larger_than_the_read_comes_in_parts(
    stream: Callable[..., DockerStream],
) -> None:
    assert everything(stream(UPGRADED, frame(1, b"abcdefg")), size=3) == b"abcdefg"


def test_an_end_inside_a_header_or_a_frame_is_an_end(
    stream: Callable[..., DockerStream],
) -> None:
    assert everything(stream(UPGRADED, frame(1, b"ok"), b"\x01\0\0")) == b"ok"
    assert everything(stream(UPGRADED, frame(1, b"abcdef")[:11])) == b"abc"


def test_a_terminal_has_no_frames(stream: Callable[..., DockerStream]) -> None:
    assert everything(stream(UPGRADED + b"$ ", b"\x01raw", tty=True)) == b"$ \x01raw"
