"""Processes that come while an editor is still saying what it wants."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from devkit.debug.wire import Channel
from devkit.runtime import settings
from devkit.runtime.fleet import Fleet
from devkit.runtime.multiplexer import Multiplexer
from tests.running import free_port, until

# Not the fleet's worker, but as one: debugpy connects, and the code runs when it is let.
PROCESS = """\
import sys

import debugpy


def stops_here():
    return 1


sys.stdin.readline()
debugpy.connect(("127.0.0.1", int(sys.argv[1])), access_token=sys.argv[2])
while True:
    stops_here()
    sys.stdin.readline()
"""


class Debugging:
    """The debugger's port and its fleet, on an event loop of their own."""

    def __init__(self, script: Path) -> None:
        self._script = script
        self._ending = ExitStack()
        self._has_begun = threading.Event()
        self.port = free_port()
        self.fleet = Fleet()
        thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        thread.start()
        self._ending.callback(thread.join)
        assert self._has_begun.wait(30)
        self._ending.callback(self._loop.call_soon_threadsafe, self._end.set)

    async def _run(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        env = {"DEVKIT_DEBUG_ADDRESS": f"127.0.0.1:{self.port}"}
        await self.fleet.start()
        await Multiplexer(settings.from_environment(env), self.fleet, {}).start()
        self._has_begun.set()
        await self._end.wait()

    def process(self) -> int:
        """Start a process that the fleet expects; it has every thread traced from the start."""
        process = subprocess.Popen(
            [sys.executable, str(self._script), str(self.fleet.port), self.fleet.token],
            stdin=subprocess.PIPE,
        )
        self._ending.callback(process.wait)
        self._ending.callback(process.kill)
        assert process.stdin is not None
        self._ending.callback(process.stdin.close)

        for tell in (self.fleet.expect, self.fleet.promote, self.fleet.traced):
            self._loop.call_soon_threadsafe(tell, process.pid)
        process.stdin.write(b"connect\n")
        process.stdin.flush()
        return process.pid

    def is_attached(self, pid: int) -> bool:
        return any(item.pid == pid for item in self.fleet.attached_processes)

    def end(self) -> None:
        self._ending.close()


@pytest.fixture
def debugging(tmp_path: Path) -> Iterator[Debugging]:
    script = tmp_path / "process.py"
    script.write_text(PROCESS)
    debugging = Debugging(script)
    yield debugging
    debugging.end()


def event(channel: Channel, name: str) -> dict[str, Any]:
    while True:
        message = channel.receive(timeout_s=30)
        if message.get("event") == name:
            return dict(message["body"])


def test_a_process_that_comes_before_configuration_done_has_the_breakpoints_set_before_it(
    debugging: Debugging, tmp_path: Path
) -> None:
    first = debugging.process()
    channel = Channel.open("127.0.0.1", debugging.port, timeout_s=30)
    try:
        channel.request("initialize", {"clientID": "test", "adapterID": "debugpy"})
        channel.request("attach", {"justMyCode": False})
        event(channel, "initialized")
        assert debugging.is_attached(first)
        line = PROCESS.splitlines().index("    return 1") + 1
        asked = {
            "source": {"path": str(tmp_path / "process.py")},
            "breakpoints": [{"line": line}],
            "lines": [line],
        }
        channel.answer(channel.request("setBreakpoints", asked), timeout_s=30)
        second = debugging.process()
        until(lambda: debugging.is_attached(second))
        channel.request("configurationDone", {})
        threads = {event(channel, "stopped")["threadId"] for _ in ("first", "second")}
        assert len(threads) == 2
    finally:
        channel.close()
