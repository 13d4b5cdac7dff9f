"""A peer on loopback that does what a test says, for clients that have to stand anything."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

Message = dict[str, Any]


class Connection:
    """The peer's end of one connection, in debug adapter messages or in raw bytes."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._file = sock.makefile("rb")

    def read(self) -> Message | None:
        """The next message; None at the end."""
        header = self._file.readline()
        if not header:
            return None
        self._file.readline()
        message: Message = json.loads(self._file.read(int(header.split(b":")[1])))
        return message

    def send(self, message: Message) -> None:
        body = json.dumps({"seq": 1, **message}).encode()
        self.sock.sendall(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))

    def respond(self, request: Message, body: Message | None = None, **more: Any) -> None:
        self.send(
            {
                "type": "response",
                "request_seq": request["seq"],
                "command": request["command"],
                "success": True,
                "body": body or {},
                **more,
            }
        )

    def event(self, name: str, body: Message | None = None) -> None:
        self.send({"type": "event", "event": name, "body": body or {}})


@contextmanager
def peer(serve: Callable[[Connection], None]) -> Iterator[int]:
    """Run `serve` for each connection in a thread; gives the port. Clients may just leave."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def handle(sock: socket.socket) -> None:
        with sock, suppress(OSError, ValueError):
            serve(Connection(sock))

    def accept() -> None:
        with suppress(OSError):
            while True:
                sock, _ = listener.accept()
                threads.append(threading.Thread(target=handle, args=(sock,), daemon=True))
                threads[-1].start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join(10)
        for thread in threads:
            thread.join(10)


@contextmanager
def runtime(answers: Callable[[str, Message], Message | None]) -> Iterator[int]:
    """A peer that answers devkit's own requests: command and arguments to body; None refuses."""

    def serve(connection: Connection) -> None:
        while (request := connection.read()) is not None:
            body = answers(request["command"], request["arguments"])
            if body is None:
                connection.respond(request, success=False, message="not here")
            else:
                connection.respond(request, body)

    with peer(serve) as port:
        yield port
