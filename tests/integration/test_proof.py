"""The attach proof and the service client against the real runtime, run on this machine."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from devkit import launch, service
from devkit.debug import proof
from devkit.debug.dap import Breakpoint, Session
from devkit.engine import Placement
from devkit.errors import InitFailed, MappingNotProved

RUNTIME = Path(service.__file__).parent / "runtime"

SCORE = '''"""Doubles numbers."""
import json

import helper


def init():
    pass


def run(raw_data):
    number = json.loads(raw_data)
    return helper.doubled(number)
'''
HELPER = "def doubled(number):\n    return 2 * number\n"


@dataclass(frozen=True)
class Running:
    """A workspace, its copy that runs, and the ports of the runtime."""

    root: Path
    remote: Path
    score_port: int
    debug_port: int

    @property
    def mappings(self) -> list[Placement]:
        return [Placement(self.root, PurePosixPath(self.remote))]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.score_port}/score"

    def prove(self, *names: str, entry: dict[str, Any] | None = None) -> proof.Proof:
        entry = entry or launch.entry(self.root, port=self.debug_port, mappings=self.mappings)
        files = [self.root / name for name in names or ("score.py", "helper.py")]
        found = proof.examine(
            "127.0.0.1", self.debug_port, entry=entry, root=self.root, files=files
        )
        for file in found.files:
            if not file.is_proved:
                raise proof.refusal(file)
        return found

    def attach(self, *lines: int) -> Session:
        entry = launch.entry(self.root, port=self.debug_port, mappings=self.mappings)
        return Session.attach(
            "127.0.0.1",
            self.debug_port,
            proof.filled(entry, self.root),
            breakpoints={str(self.root / "score.py"): [Breakpoint(line) for line in lines]},
            client="Some Editor",
        )


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Running]]:
    processes: list[subprocess.Popen[bytes]] = []

    def started(score: str) -> Running:
        root, remote = tmp_path / "my workspace", tmp_path / "app" / "iris"
        for folder in (root, remote):
            folder.mkdir(parents=True)
            (folder / "score.py").write_text(score)
            (folder / "helper.py").write_text(HELPER)
            (folder / "empty.py").touch()
        score_port, debug_port = _free_port(), _free_port()
        settings = {
            "AML_APP_ROOT": str(remote.parent),
            "AZUREML_ENTRY_SCRIPT": "iris/score.py",
            "AZUREML_SOURCE_DIRECTORY": "iris",
            "DEVKIT_SCORE_ADDRESS": f"127.0.0.1:{score_port}",
            "DEVKIT_DEBUG_ADDRESS": f"127.0.0.1:{debug_port}",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        with (tmp_path / "log").open("wb") as log:
            command = [sys.executable, "-Xfrozen_modules=off", str(RUNTIME)]
            processes.append(
                subprocess.Popen(
                    command, env=settings, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            )
        return Running(root, remote, score_port, debug_port)

    yield started
    for process in processes:
        process.terminate()
        process.wait(20)


@pytest.fixture
def running(start: Callable[[str], Running]) -> Running:
    running = start(SCORE)
    status = service.wait_ready("127.0.0.1", running.debug_port, timeout_s=60, alive=lambda: True)
    assert status.state == "ready"
    return running


def test_equal_files_under_the_mapping_are_proved_and_f5_works_after_it(running: Running) -> None:
    for _ in range(2):
        found = running.prove("score.py", "helper.py", "empty.py")
        assert found.beside is None
        assert all(file.is_proved for file in found.files)
        assert [file.line for file in found.files] == [1, 1, None]
        assert found.files[0].remote == PurePosixPath(running.remote / "score.py")
    assert service.status("127.0.0.1", running.debug_port).attached is None
    with running.attach() as session:
        assert session.threads()


def test_the_file_that_differs_is_named(running: Running) -> None:
    (running.root / "helper.py").write_text("# one line more\n" + HELPER)
    with pytest.raises(MappingNotProved, match=r"helper\.py and .*helper\.py .* differ"):
        running.prove()


def test_a_file_that_the_other_side_lacks_is_named(running: Running) -> None:
    (running.root / "new.py").write_text("x = 1\n")
    with pytest.raises(MappingNotProved, match=r"new\.py, which is not in the container"):
        running.prove("score.py", "new.py")


def test_a_wrong_mapping_is_not_proved(running: Running) -> None:
    wrong = [Placement(running.root, PurePosixPath("/somewhere/else"))]
    entry = launch.entry(running.root, port=running.debug_port, mappings=wrong)
    with pytest.raises(MappingNotProved, match=r"/somewhere/else/score\.py"):
        running.prove(entry=entry)


def test_beside_an_attached_editor_the_runtime_is_asked_and_the_editor_keeps_its_stop(
    running: Running,
) -> None:
    line = SCORE.splitlines().index("    return helper.doubled(number)") + 1
    with running.attach(line) as editor:
        with pytest.raises(TimeoutError):
            editor.wait_for("stopped", timeout_s=0)
        attached = service.status("127.0.0.1", running.debug_port).attached
        assert attached is not None
        assert attached.client == "Some Editor"
        found = running.prove()
        assert found.beside == "Some Editor"
        assert all(file.is_proved for file in found.files)
        with Request(running.url, b"21") as request:
            thread = editor.wait_for("stopped").body["threadId"]
            assert running.prove().beside == "Some Editor"
            frame = editor.stack(thread)[0]
            assert (frame.path, frame.line) == (str(running.root / "score.py"), line)
            assert editor.evaluate("number", frame.id) == "21"
            editor.resume(thread)
            assert request.answer().body == b"42"


def test_a_service_answers_and_reloads(running: Running) -> None:
    answer = service.invoke(running.url, b"4")
    assert (answer.status, answer.text()) == (200, "8")
    before = service.status("127.0.0.1", running.debug_port)
    after = service.reload("127.0.0.1", running.debug_port)
    assert after.is_ready
    assert after.generation > before.generation


def test_a_failing_init_is_told_with_the_local_line(start: Callable[[str], Running]) -> None:
    running = start(SCORE.replace("    pass", "    raise ValueError('no model')"))
    with pytest.raises(InitFailed, match="no model") as caught:
        service.wait_ready(
            "127.0.0.1",
            running.debug_port,
            timeout_s=60,
            alive=lambda: True,
            mappings=running.mappings,
        )
    assert caught.value.file == str(running.root / "score.py")
    assert caught.value.line == 8
    assert f'File "{running.root / "score.py"}", line 8' in caught.value.traceback


class Request:
    """A request under way in another thread."""

    def __init__(self, url: str, data: bytes) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._future = self._pool.submit(service.invoke, url, data)

    def __enter__(self) -> Request:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False)

    def answer(self) -> service.Answer:
        return self._future.result(30)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
