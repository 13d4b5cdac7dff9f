"""A service under test: the real runtime in a process of its own, and what a user does with it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from devkit.debug import dap, wire

RUNTIME = Path(__file__).parent.parent / "devkit" / "runtime"
LOCAL = "/workspace/svc"

SCORE = """\
import json

import helper

VERSION = 1
model = None


def init():
    global model
    model = 10
    print("init ran")


def run(raw_data):
    data = json.loads(raw_data)["data"]
    total = sum(data)
    answer = helper.double(total)
    return {"version": VERSION, "answer": answer}
"""
# Added to a script: once "hold" is there, the end of its process takes until "go" is there too.
SLOW_TO_END = """

import os, sys, time


class SlowToEnd:
    def write(self, text):
        return len(text)

    def flush(self):
        hold, go = (os.path.join(os.path.dirname(__file__), name) for name in ("hold", "go"))
        while os.path.exists(hold) and not os.path.exists(go):
            time.sleep(0.01)


sys.stdout = SlowToEnd()
"""
HELPER = """\
def double(value):
    result = value * 2
    return result
"""


@dataclass(frozen=True)
class Reply:
    """What the service answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@dataclass
class Service:
    """A running service; `root` is the application root, with the source directory `svc` in it."""

    root: Path
    score_port: int
    debug_port: int
    log: Callable[[], str]
    remote_source: str
    write: Callable[[str, str], None]
    pid: int = 0
    sessions: list[dap.Session] = field(default_factory=list)
    _texts: dict[str, str] = field(default_factory=dict)

    def request(
        self,
        method: str = "POST",
        path: str = "/score",
        body: bytes | Iterator[bytes] | None = b'{"data": [1, 2]}',
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 60,
    ) -> Reply:
        """Send one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.score_port, timeout=timeout_s)
        try:
            sent = {"Content-Type": "application/json", **(headers or {})}
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            return Reply(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()

    def later(self, **kwargs: Any) -> Later:
        """Send one request in the background."""
        return Later(lambda: self.request(**kwargs))

    def ask(self, command: str, arguments: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Ask the runtime one of devkit's own questions."""
        return dict(wire.ask("127.0.0.1", self.debug_port, command, arguments or {}, timeout_s=60))

    def settled(self, timeout_s: float = 60, generation: int | None = None) -> dict[str, Any]:
        """Wait until the service is ready or failed."""
        return self.ask("devkit/wait", {"timeout_s": timeout_s, "generation": generation})

    def edit(self, name: str, change: Callable[[str], str]) -> str:
        """Change a file of the source directory as an editor does; return the new text."""
        text = change(self.read(name))
        self.write(name, text)
        return text

    def read(self, name: str) -> str:
        """A file of the source directory, as last written."""
        return self.texts[name]

    @property
    def texts(self) -> dict[str, str]:
        """What was last written, by name."""
        return self._texts

    def bump(self, extra: Callable[[str], str] = lambda text: text) -> int:
        """Edit score.py so that the next answer has another version; return that version."""
        version = int(re.search(r"VERSION = (\d+)", self.read("score.py")).group(1)) + 1  # type: ignore[union-attr]
        self.edit(
            "score.py", lambda text: extra(re.sub(r"VERSION = \d+", f"VERSION = {version}", text))
        )
        return version

    def line(self, text: str, name: str = "score.py") -> int:
        """The line of a file in which `text` first stands."""
        return next(n for n, line in enumerate(self.read(name).splitlines(), 1) if text in line)

    def attach(
        self,
        breakpoints: Mapping[str, list[int | dap.Breakpoint]] | None = None,
        exceptions: tuple[str, ...] = (),
        **configuration: Any,
    ) -> dap.Session:
        """Attach as an editor does whose workspace is in another place than the files here."""
        wanted = {
            f"{LOCAL}/{name}": [
                item if isinstance(item, dap.Breakpoint) else dap.Breakpoint(item) for item in items
            ]
            for name, items in (breakpoints or {}).items()
        }
        session = dap.Session.attach(
            "127.0.0.1",
            self.debug_port,
            {
                "name": "test",
                "type": "debugpy",
                "request": "attach",
                "connect": {"host": "127.0.0.1", "port": self.debug_port},
                "justMyCode": True,
                "subProcess": True,
                "pathMappings": [{"localRoot": LOCAL, "remoteRoot": self.remote_source}],
                **configuration,
            },
            breakpoints=wanted,
            exceptions=exceptions,
            client="Visual Studio Code",
            timeout_s=30,
        )
        self.sessions.append(session)
        return session


class Later:
    """A request under way."""

    def __init__(self, send: Callable[[], Reply]) -> None:
        self._send = send
        self._reply: Reply | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._reply = self._send()
        except BaseException as error:  # noqa: BLE001 - raised again in `reply`
            self._error = error

    @property
    def is_waiting(self) -> bool:
        """Whether there is no answer yet."""
        return self._thread.is_alive()

    def reply(self, timeout_s: float = 60) -> Reply:
        """Wait for the answer."""
        self._thread.join(timeout_s)
        if self._error is not None:
            raise self._error
        assert self._reply is not None, "no answer in time"
        return self._reply


@dataclass(frozen=True)
class Stop:
    """Where a thread stands under the debugger."""

    thread: int
    path: str
    line: int
    function: str
    frame: int
    reason: str


def stopped(session: dap.Session, timeout_s: float = 30) -> Stop:
    """Wait for the next stop."""
    event = session.wait_for("stopped", timeout_s=timeout_s)
    thread = int(event.body["threadId"])
    top = event.session.stack(thread)[0]
    return Stop(thread, top.path, top.line, top.name, top.id, str(event.body["reason"]))


def until(fact: Callable[[], Any], timeout_s: float = 30) -> Any:
    """Wait for a fact that no event tells, such as a line in a log."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        value = fact()
        if value:
            return value
        threading.Event().wait(0.02)
    raise AssertionError("it did not become true in time")


@contextmanager
def on_host(
    folder: Path,
    *,
    files: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
    python: str = sys.executable,
    wait: bool = True,
) -> Iterator[Service]:
    """Run a service as a process on this machine; everything of it is gone afterwards."""
    source = folder / "root" / "svc"
    source.mkdir(parents=True)
    runtime = folder / "opt" / "devkit_runtime"
    runtime.parent.mkdir()
    # The image has a copy too: nothing of the package `devkit` may be needed.
    _copy_tree(RUNTIME, runtime)
    score_port, debug_port = free_port(), free_port()
    log_path = folder / "log"

    def write(name: str, text: str) -> None:
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        service.texts[name] = text

    service = Service(
        root=folder / "root",
        score_port=score_port,
        debug_port=debug_port,
        log=lambda: log_path.read_text(encoding="utf-8", errors="replace"),
        remote_source=os.path.realpath(source),
        write=write,
    )
    for name, text in (files or {"score.py": SCORE, "helper.py": HELPER}).items():
        write(name, text)
    settings = {
        "AML_APP_ROOT": str(folder / "root"),
        "AZUREML_ENTRY_SCRIPT": "svc/score.py",
        "AZUREML_SOURCE_DIRECTORY": "svc",
        "DEVKIT_SCORE_ADDRESS": f"127.0.0.1:{score_port}",
        "DEVKIT_DEBUG_ADDRESS": f"127.0.0.1:{debug_port}",
        "DEVKIT_SHOW_ERRORS": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "PYTHONUNBUFFERED": "1",
    }
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [python, str(runtime)],
            env={**os.environ, **settings, **(env or {})},
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    service.pid = process.pid
    try:
        if wait:
            until(lambda: _answers(service, process))
            service.settled()
        yield service
    finally:
        for session in service.sessions:
            session.disconnect()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        finally:
            _kill_group(process.pid)


def _answers(service: Service, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, service.log()
    try:
        service.ask("devkit/status")
    except Exception:  # noqa: BLE001 - not listening yet
        return False
    return True


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def _copy_tree(source: Path, target: Path) -> None:
    for path in source.rglob("*.py"):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
