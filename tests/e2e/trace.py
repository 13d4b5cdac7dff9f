"""What VS Code and the debugger say to each other, as the extension in extension/ reports it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Message = dict[str, Any]
TIMEOUT_S = 60


class Trace:
    """All messages so far, from every window; whoever waits is told of each."""

    def __init__(self, listener: socket.socket) -> None:
        self.port = int(listener.getsockname()[1])
        self._listener = listener
        self._told: list[Message] = []
        self._news = threading.Condition()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def mark(self) -> int:
        """A place in the order of messages, for `wait`."""
        with self._news:
            return len(self._told)

    def wait(self, fits: Callable[[Message], bool], since: int = 0) -> Message:
        """Wait for a message, told after the mark `since`, and return it."""

        def found() -> Message | None:
            return next((m for m in self._told[since:] if fits(m)), None)

        with self._news:
            assert self._news.wait_for(lambda: found() is not None, TIMEOUT_S), self._last(since)
            message = found()
        assert message is not None
        return message

    def has(self, fits: Callable[[Message], bool], since: int) -> bool:
        """Whether such a message was told after the mark."""
        with self._news:
            return any(fits(message) for message in self._told[since:])

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # closed: the test is over
            threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection: socket.socket) -> None:
        with connection, connection.makefile(encoding="utf-8") as lines:
            for line in lines:
                with self._news:
                    self._told.append(json.loads(line)["message"])
                    self._news.notify_all()

    def _last(self, since: int) -> str:
        lines = [json.dumps(message)[:200] for message in self._told[since:][-15:]]
        return "no such message; the last ones:\n" + "\n".join(lines)


def response(command: str) -> Callable[[Message], bool]:
    """The debugger's answer to a request of VS Code."""
    return lambda m: m.get("type") == "response" and m.get("command") == command


def start_of_window(message: Message) -> bool:
    """A window has its extensions."""
    return message.get("type") == "started"


def end_of_session(message: Message) -> bool:
    """VS Code ended a session, for whatever reason."""
    return message.get("type") == "end"


@contextmanager
def tracing() -> Iterator[Trace]:
    """Listen for reports."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield Trace(listener)
