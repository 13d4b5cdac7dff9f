"""`devkit break` and `devkit replicas --measure`, typed on a real engine."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from tests.integration.test_cli import DEVKIT, ROOT, Workspace
from tests.running import Later, Reply, until

pytestmark = pytest.mark.engine

TIMEOUT_S = 60
BODY = '{"data": [[5.1, 3.5, 1.4, 0.2]]}'


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, base_image: str) -> Iterator[Workspace]:
    folder = tmp_path_factory.mktemp("break") / f"break-{os.getpid()}"
    shutil.copytree(ROOT / "examples" / "iris", folder)
    workspace = Workspace(folder, base_image)
    tag = f"devkit-test-break-{os.getpid()}:1"
    workspace.options[workspace.options.index("--tag") + 1] = tag
    try:
        made = workspace.json("debug", "--detach", "--no-sync", *workspace.options)
        assert made["ok"], made
        yield workspace
    finally:
        workspace.devkit("delete", "--yes")
        subprocess.run(["docker", "rmi", tag], capture_output=True, check=False)


class Typing:
    """`devkit break` under way; `said` is what it said so far on both streams."""

    def __init__(self, service: Workspace, *words: str, tty: bool = False) -> None:
        self.said = ""
        self.sent: Later | None = None
        self.service = service
        if tty:
            ours, theirs = pty.openpty()
            streams: dict[str, Any] = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
        else:
            out, theirs = os.pipe()
            streams = {"stdin": subprocess.PIPE, "stdout": theirs, "stderr": theirs}
        env = {**os.environ, "TERM": "xterm"}
        env.pop("CI", None)
        self.process = subprocess.Popen(
            [DEVKIT, "break", *words], cwd=service.folder, env=env, **streams
        )
        os.close(theirs)
        self.output = ours if tty else out
        self.input = ours if tty else self.process.stdin.fileno()  # type: ignore[union-attr]

    def until(self, text: str) -> str:
        """Wait until it says `text`, and return what it said up to there."""
        deadline = time.monotonic() + TIMEOUT_S
        while text not in self.said:
            ready, _, _ = select.select([self.output], [], [], deadline - time.monotonic())
            assert ready, self.said
            data = _read(self.output)
            assert data, self.said
            self.said += data.decode()
        before, _, self.said = self.said.partition(text)
        return before + text

    def send(self) -> None:
        """Send a request in the background."""

        def request() -> Reply:
            done = self.service.json("invoke", "-d", BODY)
            return Reply(done["status"], {}, done["body"].encode())

        self.sent = Later(request)

    def type(self, line: str) -> None:
        os.write(self.input, f"{line}\n".encode())

    def interrupt(self) -> None:
        """Press Ctrl-C while it waits.

        input() with readline overlooks a signal that comes between its prompt and its waiting.
        """
        until(lambda: psutil.Process(self.process.pid).status() == psutil.STATUS_SLEEPING)
        self.process.send_signal(signal.SIGINT)

    def answered(self) -> int:
        assert self.sent is not None
        return self.sent.reply().status

    def ended(self) -> int:
        """Wait for its end."""
        while data := _read(self.output):
            self.said += data.decode()
        code = self.process.wait(TIMEOUT_S)
        os.close(self.output)
        if self.process.stdin:
            self.process.stdin.close()
        return code


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # a terminal whose other end is closed
        return b""


def line(service: Workspace, text: str) -> int:
    lines = (service.folder / "score.py").read_text("utf-8").splitlines()
    return next(number for number, found in enumerate(lines, 1) if text in found)


def at(service: Workspace) -> str:
    """The first line of run()'s body that has code."""
    return f"score.py:{line(service, 'json.loads')}"


def test_commands_come_through_a_pipe(service: Workspace) -> None:
    typing = Typing(service, at(service))
    typing.until("waiting: send a request")
    typing.send()
    assert "\x1b" not in typing.until("locals")
    typing.type("n")
    typing.until("(step)")
    typing.type("p 6 * 7")
    typing.until("42\n")
    typing.type("q")
    assert typing.ended() == 0
    assert "Detached" in typing.said
    assert typing.answered() == 200


def test_a_terminal_has_a_prompt_and_colours_and_ctrl_c_leaves(service: Workspace) -> None:
    typing = Typing(service, at(service), tty=True)
    typing.until("waiting: send a request")
    typing.send()
    assert "\x1b[33m->" in typing.until("(devkit) ")
    typing.type("p 6 * 7")
    typing.until("42")
    typing.until("(devkit) ")
    typing.interrupt()
    assert typing.ended() == 130
    assert typing.answered() == 200
    assert service.json("status")["runtime"]["attached"] is None


def test_the_end_of_the_pipe_detaches(service: Workspace) -> None:
    typing = Typing(service, at(service))
    typing.process.stdin.close()  # type: ignore[union-attr]
    typing.until("waiting: send a request")
    typing.send()
    assert typing.ended() == 0
    assert typing.answered() == 200


def test_a_script_gets_one_object_of_the_first_stop(service: Workspace) -> None:
    typing = Typing(service, at(service), "--once", "--json", "-q")
    # Nothing says that it waits: -q. Who is attached does.
    while not (service.json("status")["runtime"]["attached"] or {}).get("client"):
        assert typing.process.poll() is None
    typing.send()
    assert typing.ended() == 0
    made = json.loads(typing.said)
    assert set(made) == {
        *{"ok", "reason", "file", "line", "function", "source", "stack", "locals"},
    }
    assert made["file"] == str(service.folder / "score.py")
    assert typing.answered() == 200


def test_logpoints_print_until_ctrl_c(service: Workspace) -> None:
    typing = Typing(service, at(service), "--log", "came by {6 * 7}")
    typing.until("logging: send a request")
    for _ in range(2):
        typing.send()
        typing.until("came by 42\n")
        assert typing.answered() == 200
    typing.interrupt()
    assert typing.ended() == 130


def test_a_second_debugger_is_refused_by_name(service: Workspace) -> None:
    typing = Typing(service, at(service))
    typing.until("waiting: send a request")
    refused = service.json("break", at(service))
    assert refused["error"]["code"] == "AlreadyAttached"
    assert "devkit break is already attached" in refused["error"]["message"]
    typing.interrupt()
    assert typing.ended() == 130


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("score.py:1", "--if", "x ="), "BadValue", "no Python expression"),
        (("nothing.py:1",), "BadValue", "no file nothing.py"),
        (("score.py:9999",), "BadValue", "nearest line"),
        (("environment.yml:1",), "BadValue", "cannot hold a breakpoint"),
    ],
)
def test_what_cannot_stop_is_refused(
    service: Workspace, words: tuple[str, ...], code: str, said: str
) -> None:
    refused = service.json("break", *words)["error"]
    assert (refused["code"], said in refused["message"]) == (code, True), refused


def test_a_measurement_on_the_running_service(service: Workspace) -> None:
    made = service.json("replicas", "--rps", "20", "--measure", "-d", BODY)
    assert made["ok"], made
    assert 1 <= made["requests"] <= 200
    assert 0 < made["p50_s"] <= made["p95_s"]
    assert 1 <= made["autoscale_min_replicas"] <= made["autoscale_max_replicas"]
    failed = service.json("replicas", "--rps", "20", "--measure", "-d", "nonsense")
    assert failed["error"]["code"] == "ServiceError"
