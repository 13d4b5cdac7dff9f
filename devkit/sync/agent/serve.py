"""Step 5, sync: the agent, the container's side behind a pipe.

The host sends the text of this module, and of those that it imports, over `exec` stdin, so nothing
of it is on the container's disk. It ends when its input does. Standard library only, Python 3.7 and
up. What is asked and answered is in `requests`.
"""

from __future__ import annotations

import os
import select
from functools import partial
from typing import Any, Callable, Dict, Optional

from .contained import Contained
from .frames import VERSION, Frames, frame
from .requests import Later, Requests, refusal
from .telling import Telling


class Agent:
    """Answers requests about a side, and tells by itself what changes."""

    def __init__(self, root: str, events: Any, output: Callable[[bytes], None]) -> None:
        """Take the events of `inotify`; None where the system has none."""
        side = Contained(root)
        self._send = partial(_send, output)
        self._root = side.root
        self._telling = Telling(side, events, self._send)
        self._requests = Requests(side, self._telling, self._send)

    def hello(self) -> None:
        """Say which version speaks, and of which folder."""
        self._send({"hello": VERSION, "root": self._root})

    def wait_s(self) -> Optional[float]:
        """How long there is nothing to do; None for ever."""
        return self._telling.wait_s()

    def take_events(self, inotify: Any) -> None:
        """Take the file events that came."""
        self._telling.take_events(inotify)

    def work(self) -> None:
        """Do what is due, and tell what changed."""
        self._telling.tell_due()
        self._requests.answer_flushes()

    def answer(self, request: Dict[str, Any], content: bytes) -> None:
        """Do what a request says, and answer it."""
        message: Dict[str, Any] = {}
        body = b""
        try:
            message, body = self._requests.act(request, content)
        except Later:
            return
        except Exception as error:  # noqa: BLE001 - whatever is in one, the next is answered
            message = refusal(error)
        self._send(dict(message, id=request.get("id")), body)

    def close(self) -> None:
        """Remove what was begun and not finished."""
        self._requests.close()


def _send(output: Callable[[bytes], None], message: Dict[str, Any], content: bytes = b"") -> None:
    output(frame(message, content))


def serve(root: str, inotify: Any) -> None:
    """Answer requests on standard input until it ends; `inotify` is runtime/inotify.py."""
    try:
        events = inotify.Inotify(inotify.WANTED | inotify.ATTRIB)
    except OSError:
        events = None
    agent = Agent(root, events, _write_out)
    frames = Frames()
    agent.hello()
    try:
        while True:
            ready, _, _ = select.select([0, events] if events else [0], [], [], agent.wait_s())
            if events in ready:
                agent.take_events(inotify)
            if 0 in ready:
                data = os.read(0, 1 << 20)
                if not data:
                    return
                for request, content in frames.add(data):
                    agent.answer(request, content)
            agent.work()
    finally:
        agent.close()


def _write_out(data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(1, left) :]
