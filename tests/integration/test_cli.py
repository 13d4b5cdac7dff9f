"""The commands, typed as a user types them, on a real engine."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.engine

ROOT = Path(__file__).parents[2]
DEVKIT = Path(sys.executable).parent / "devkit"
TAG = "devkit-test-cli:1"
TIMEOUT_S = 240


class Workspace:
    """A copy of the example, and devkit started in it."""

    def __init__(self, folder: Path, base: str) -> None:
        self.folder = folder
        self.options = ["--base", base, "--tag", TAG, "--port", "auto", "--debug-port", "auto"]

    def devkit(self, *words: str, data: bytes = b"") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [DEVKIT, *words],
            input=data.decode(),
            capture_output=True,
            encoding="utf-8",
            cwd=self.folder,
            timeout=TIMEOUT_S,
            check=False,
        )
        print(done.stderr)  # noqa: T201  pytest shows it when the test fails
        return done

    def json(self, *words: str) -> dict[str, Any]:
        done = self.devkit(*words, "--json")
        made: dict[str, Any] = json.loads(done.stdout)
        return made

    def edit(self, old: str, new: str) -> None:
        script = self.folder / "score.py"
        text = script.read_text("utf-8")
        assert old in text
        script.write_text(text.replace(old, new), "utf-8")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, base_image: str) -> Iterator[Workspace]:
    folder = tmp_path_factory.mktemp("a démo") / f"cli test {os.getpid()}"
    shutil.copytree(ROOT / "examples" / "iris", folder)
    workspace = Workspace(folder, base_image)
    try:
        made = workspace.json("debug", "--detach", *workspace.options)
        assert made["ok"], made
        yield workspace
    finally:
        workspace.devkit("delete", "--yes")
        subprocess.run(["docker", "rmi", TAG], capture_output=True, check=False)


def test_a_second_debug_finds_the_service_at_once(service: Workspace) -> None:
    before = service.json("status")
    started = time.perf_counter()
    made = service.json("debug", "--detach")
    seconds = time.perf_counter() - started
    assert made["debug"] == before["debug"]
    assert made["mappings"][0]["verified"] is True
    assert made["timings"]["start_s"] == 0
    assert seconds < 5  # 0.8 s where nothing else runs


def test_a_request_is_answered(service: Workspace) -> None:
    answer = service.json("invoke", "-d", "@sample.json")
    assert answer["status"] == 200
    assert "setosa" in answer["body"]
    assert service.devkit("invoke", "-d", "{}").returncode == 6


def test_the_log_is_shown(service: Workspace) -> None:
    assert "POST /score 200" in service.devkit("logs", "--grep", "POST").stdout


def test_exec_runs_as_the_services_user_and_gives_the_exit_code(service: Workspace) -> None:
    script = "id -u; cat; echo oh >&2; exit 3"
    done = service.devkit("exec", "--", "sh", "-c", script, data=b"from stdin")
    assert (done.returncode, done.stdout, done.stderr) == (3, "1000\nfrom stdin", "oh\n")
    assert service.devkit("exec", "-u", "root", "--", "id", "-u").stdout == "0\n"
    assert service.devkit("exec", "--", "no-such-command").returncode in (126, 127)


def test_the_shell_is_a_terminal_with_the_environment_on_its_path(service: Workspace) -> None:
    child, screen = pty.fork()
    if child == 0:
        os.chdir(service.folder)
        os.environ["COLUMNS"], os.environ["LINES"] = "101", "37"
        os.execv(DEVKIT, [str(DEVKIT), "shell"])
    shown = _until(screen, b"$ ")
    os.write(screen, b"tty && stty size && command -v python vim && exit 9\n")
    shown += _until_end(screen)
    _, status = os.waitpid(child, 0)
    text = shown.decode()
    assert os.waitstatus_to_exitcode(status) == 9
    assert "/dev/pts/" in text
    assert "37 101" in text
    assert "/opt/env/bin/python" in text
    assert "/usr/bin/vim" in text


def test_an_init_that_raises_is_exit_code_6_and_the_next_edit_heals_it(
    service: Workspace,
) -> None:
    container = service.json("status")["container"]
    service.edit("def init():\n", 'def init():\n    raise RuntimeError("on purpose")\n')
    done = service.devkit("debug", "--detach", "--json")
    assert done.returncode == 6
    error = json.loads(done.stdout)["error"]
    assert error["code"] == "InitFailed"
    assert (
        f"{service.folder}/score.py:13: init() raised RuntimeError: on purpose" in error["message"]
    )
    assert service.json("status")["runtime"]["state"] == "failed"
    service.edit('    raise RuntimeError("on purpose")\n', "")
    assert service.json("debug", "--detach")["container"] == container
    assert service.json("invoke", "-d", "@sample.json")["status"] == 200


def test_debug_says_what_the_sync_does_and_that_the_environment_changed(
    service: Workspace,
) -> None:
    environment = service.folder / "environment.yml"
    before = environment.read_text("utf-8")
    following = subprocess.Popen(
        [DEVKIT, "debug"],
        cwd=service.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    assert following.stdout
    lines = iter(following.stdout.readline, "")
    try:
        assert any(line.startswith("devkit: ready") for line in lines)
        # The container's log: from here on it follows.
        assert any(line.startswith("devkit: ready in") for line in lines)
        service.edit("def init():\n", "def init():  # edited\n")
        assert any(line.strip() == "-> score.py" for line in lines)
        environment.write_text(f"{before}  - six\n", "utf-8")
        assert any(line.startswith("environment.yml changed") for line in lines)
    finally:
        following.send_signal(signal.SIGINT)
        following.communicate(timeout=60)
        environment.write_text(before, "utf-8")
        service.edit("def init():  # edited\n", "def init():\n")
        service.devkit("sync", "flush")


def test_a_reload_runs_init_again(service: Workspace) -> None:
    before = service.json("status")["runtime"]
    after = service.json("reload")["runtime"]
    assert after["state"] == "ready"
    assert after["generation"] > before["generation"]
    assert after["pid"] != before["pid"]


def test_in_the_foreground_edits_arrive_and_ctrl_c_asks(service: Workspace) -> None:
    child, screen = pty.fork()
    if child == 0:
        os.chdir(service.folder)
        os.execv(DEVKIT, [str(DEVKIT), "debug"])
    _until(screen, b"Press F5")
    _until(screen, b"devkit: ready in")
    service.edit('"setosa"', '"edited"')
    _until(screen, b"devkit: ready in")
    assert "edited" in service.json("invoke", "-d", "@sample.json")["body"]
    service.edit('"edited"', '"setosa"')
    os.write(screen, b"\x03")
    _until(screen, b"Stop ")
    os.write(screen, b"y\n")
    shown = _until_end(screen)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 130
    assert b"Stopped" in shown
    assert b"Traceback" not in shown
    assert service.json("status")["container_state"] == "exited"


def test_stop_and_debug_bring_it_back_from_the_same_image(service: Workspace) -> None:
    service.json("debug", "--detach")
    assert service.json("stop")["ok"]
    assert service.json("status")["container_state"] == "exited"
    made = service.json("debug", "--detach")
    assert made["ok"]
    assert made["image"] == TAG
    assert made["mappings"][0]["verified"]


def test_delete_leaves_no_container_network_or_entry(service: Workspace) -> None:
    name = service.json("debug", "--detach", *service.options)["container"]
    assert service.json("delete", "--yes")["ok"]
    for kind in ("container", "network"):
        command = ["docker", kind, "ls", "--quiet", "--filter", f"name={name}"]
        if kind == "container":
            command.insert(3, "--all")
        assert subprocess.run(command, capture_output=True, check=True).stdout == b""
    assert not (service.folder / ".vscode").exists()
    assert service.devkit("delete", "--yes").returncode == 0
    assert service.devkit("status").returncode == 6


def _until(screen: int, wanted: bytes) -> bytes:
    shown = b""
    while wanted not in shown:
        ready, _, _ = select.select([screen], [], [], TIMEOUT_S)
        assert ready, shown
        shown += os.read(screen, 4096)
    return shown


def _until_end(screen: int) -> bytes:
    shown = b""
    try:
        while data := os.read(screen, 4096):
            shown += data
    except OSError:
        pass  # Linux says so when the other side is closed
    return shown
