"""The zygote and its children as the supervisor holds them: a channel each."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from typing import Callable, List, Optional

from . import wire
from .dumps import Dump
from .wire import Lines, LineSocket, Message

# For the zygote to report how a worker ended.
REPORT_S = 0.3

Received = Callable[[Message], None]


class Channel:
    """Our end of a socket pair, read on the event loop."""

    def __init__(self, on_message: Received, on_end: Callable[[], None]) -> None:
        self._ours, self.theirs = socket.socketpair()
        self._lines = Lines()
        self._line_socket = LineSocket(self._ours)
        self._on_message = on_message
        self._on_end = on_end
        asyncio.get_event_loop().add_reader(self._ours.fileno(), self._read)

    def send(self, message: Message, fd: Optional[int] = None) -> None:
        """Send a command; to a process that is gone it goes nowhere: `on_end` tells that."""
        with contextlib.suppress(OSError):
            self._line_socket.send(message, fd)

    def close(self) -> None:
        """Stop reading."""
        if self._ours.fileno() >= 0:
            asyncio.get_event_loop().remove_reader(self._ours.fileno())
            self._ours.close()

    def _read(self) -> None:
        try:
            data = self._ours.recv(1024 * 1024, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            self._on_end()
            return
        for message in self._lines.feed(data):
            self._on_message(message)


class Zygote:
    """The zygote process; `on_message` gets what it says, `on_end` when it is gone."""

    def __init__(self, on_message: Received, on_end: Callable[[], None]) -> None:
        self._channel = Channel(on_message, on_end)
        theirs = self._channel.theirs
        here = os.path.dirname(os.path.abspath(__file__))
        # Frozen standard modules have no lines to stop at: debugpy asks for this flag from 3.11 on.
        command = [sys.executable, "-X", "frozen_modules=off", here, "zygote", str(theirs.fileno())]
        self.process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
        )
        theirs.close()

    def fork(self, worker: Worker) -> None:
        """Ask for a child on the worker's channel."""
        command = {"do": "fork", "slot": worker.slot, "fd": True}
        self._channel.send(command, worker.channel.theirs.fileno())
        worker.channel.theirs.close()

    def preload(self, modules: List[str]) -> None:
        """Ask it to import modules for the children to come."""
        self._channel.send({"do": "preload", "modules": modules})

    def end(self) -> None:
        """Kill it; its children stay."""
        self._channel.close()
        self.process.kill()
        self.process.wait()


class Worker:
    """A child of the zygote. States: forked, standby, loading, ready, failed, retired."""

    def __init__(
        self,
        slot: int,
        on_message: Callable[[Worker, Message], None],
        on_end: Callable[[Worker], None],
    ) -> None:
        self.slot = slot
        self.pid = 0
        self.state = "forked"
        self.generation = 0
        self.port = 0
        self.is_ended_by_us = False
        self.has_ended = False
        self.dump = Dump()
        self.channel = Channel(lambda message: on_message(self, message), lambda: on_end(self))

    def hand_over(self) -> None:
        """Give it what it finds on its channel when it starts."""
        self.channel.send({"do": "stacks", "fd": True}, self.dump.writing)
        self.dump.handed_over()

    def close(self) -> None:
        """Listen to it no longer."""
        self.channel.close()
        self.dump.close()

    def kill(self) -> None:
        """End it now, whatever it does."""
        self.is_ended_by_us = True
        self.state = "retired"
        if self.pid and not self.has_ended:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self.end_children()

    def end_children(self) -> None:
        """End what the user's code started in the worker's group."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)


class Deaths:
    """Counts processes that end by themselves: DEATHS of them within WINDOW_S are a loop."""

    DEATHS = 3
    WINDOW_S = 10.0

    def __init__(self) -> None:
        self._times: List[float] = []

    def note(self) -> bool:
        """One more ended; whether that makes it a loop."""
        now = time.monotonic()
        self._times = [when for when in self._times if now - when < self.WINDOW_S] + [now]
        return len(self._times) >= self.DEATHS

    def clear(self) -> None:
        """Start to count anew."""
        self._times = []


def send_signal(pid: int, number: int) -> None:
    """Send a signal; nothing when the process is gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        wire.say("process {} has ended already".format(pid))


def exit_text(status: int) -> str:
    """How a process ended, for a person: an exit code, or a signal by name."""
    if status >= 0:
        return "exit code {}".format(status)
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = str(-status)
    return "signal {}".format(name) + (
        " (often: out of memory)" if status == -signal.SIGKILL else ""
    )
