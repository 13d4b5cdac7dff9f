"""Ctrl-C at each moment of a command, on a real engine: one sentence, and nothing half done."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.engine

ROOT = Path(__file__).parents[2]
DEVKIT = Path(sys.executable).parent / "devkit"
TIMEOUT_S = 240
SERVICE = f"interrupted-{uuid.uuid4().hex[:8]}"
TAG = f"{SERVICE}:1"
SCORE = """\
import pathlib, time

def init():
    while pathlib.Path(__file__).with_name("hold").exists():
        time.sleep(0.05)

def run(data):
    return data
"""


class Typed:
    """A command in a process group of its own, as a shell starts it."""

    def __init__(self, folder: Path, *words: str, **environ: str) -> None:
        self.shown = ""
        self._process = subprocess.Popen(
            [DEVKIT, *words],
            cwd=folder,
            env={**os.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,
            # Of tests that run in the background, shells let the children ignore it.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def until(self, wanted: str) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.shown += line
            if re.search(wanted, line):
                return
        raise AssertionError(f"{wanted!r} was not said:\n{self.shown}")

    def interrupted(self, sign: signal.Signals = signal.SIGINT) -> str:
        """Interrupt it; return its last words, which are the one sentence."""
        os.killpg(self._process.pid, sign)
        _, rest = self._process.communicate(timeout=TIMEOUT_S)
        assert "Traceback" not in rest, rest
        assert self._process.returncode == 130, self.shown + rest
        return rest.rstrip().splitlines()[-1]

    def ended(self) -> int:
        _, rest = self._process.communicate(timeout=TIMEOUT_S)
        self.shown += rest
        return self._process.returncode


def docker(*words: str) -> str:
    done = subprocess.run(["docker", *words], capture_output=True, encoding="utf-8", check=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, base_image: str) -> Iterator[Path]:
    """A service that is packaged; its options stand in variables, so that none stick."""
    folder = tmp_path_factory.mktemp("interrupted")
    (folder / "score.py").write_text(SCORE)
    # The layers of the other tests' service are used again.
    shutil.copy(ROOT / "examples/iris/environment.yml", folder)
    (folder / "devkit.yaml").write_text(
        f"service: {SERVICE}\nimage: {{base: {base_image!r}, tag: {TAG!r}}}\n"
        "ports: {score: auto, debug: auto}\n"
    )
    try:
        packaged = Typed(folder, "package")
        assert packaged.ended() == 0, packaged.shown
        yield folder
    finally:
        subprocess.run(["docker", "rmi", TAG], capture_output=True, check=False)


@pytest.fixture
def workspace(folder: Path) -> Iterator[Path]:
    """The service; whatever a test leaves is removed."""
    yield folder
    (folder / "hold").unlink(missing_ok=True)
    Typed(folder, "delete", "--yes").ended()


def assert_nothing_is_left(workspace: Path) -> None:
    assert docker("ps", "-aq", "--filter", f"name={SERVICE}") == ""
    assert docker("network", "ls", "-q", "--filter", f"name={SERVICE}") == ""
    files = {file.name for kind in (".vscode", ".devkit") for file in workspace.glob(f"{kind}/*")}
    assert files <= {"launch.json", "tasks.json", ".gitignore", "sync", "trash", "starting"}


@pytest.mark.parametrize(
    ("words", "moment", "sign"),
    [
        ("debug", "devkit: starting", signal.SIGINT),
        ("debug --detach", "Starting the container", signal.SIGINT),
        ("debug --detach", r"Waiting for init\(\)", signal.SIGINT),
        ("run", r"Waiting for init\(\)", signal.SIGINT),
        ("run", "Starting the container", signal.SIGTERM),
        ("debug", r"Waiting for init\(\)", signal.SIGTERM),
    ],
)
def test_a_start_that_is_interrupted_leaves_nothing(
    workspace: Path, words: str, moment: str, sign: signal.Signals
) -> None:
    (workspace / "hold").touch()
    typed = Typed(workspace, *words.split())
    typed.until(moment)
    assert typed.interrupted(sign).startswith("Interrupted")
    assert_nothing_is_left(workspace)


def test_an_interrupted_proof_takes_the_new_container_away(workspace: Path) -> None:
    typed = Typed(workspace, "debug", "--detach")
    typed.until("Trying out an attach")
    assert typed.interrupted() == (
        f"Interrupted; the container {SERVICE}, not ready yet, is removed."
    )
    assert_nothing_is_left(workspace)


@pytest.mark.parametrize(
    ("words", "sign"),
    [("package", signal.SIGINT), ("debug --detach", signal.SIGINT), ("run", signal.SIGTERM)],
)
def test_an_interrupted_build_leaves_no_image_and_no_container(
    workspace: Path, base_image: str, words: str, sign: signal.Signals
) -> None:
    tag, mark = f"{SERVICE}:{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    began = str(int(time.time()))
    typed = Typed(
        workspace,
        "-v",  # shows the builder's lines where no line is redrawn
        *words.split(),
        DEVKIT_IMAGE_TAG=tag,
        DEVKIT_IMAGE_DOCKERFILE=f"FROM {base_image}\nRUN echo at-{mark} && sleep 1000",
    )
    typed.until(f"^at-{mark}|[^-]at-{mark}$")
    assert typed.interrupted(sign).startswith("Interrupted")
    assert docker("images", "-q", tag) == ""
    assert_nothing_is_left(workspace)
    listed = docker("ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.Command}}").splitlines()
    for container in (line.split()[0] for line in listed if mark in line):
        assert_it_goes(container, since=began)


def assert_it_goes(container: str, *, since: str) -> None:
    """Wait for the builder to remove its own container."""
    command = ["docker", "events", "--since", since, "--filter", f"container={container}"]
    events = subprocess.Popen(
        [*command, "--filter", "event=destroy"], stdout=subprocess.PIPE, encoding="utf-8"
    )
    try:
        assert events.stdout is not None
        assert "destroy" in events.stdout.readline()
    finally:
        events.kill()
        events.communicate()


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_who_follows_where_nobody_can_be_asked_leaves_the_service_running(
    workspace: Path, sign: signal.Signals
) -> None:
    typed = Typed(workspace, "debug")
    typed.until("devkit: ready")
    assert typed.interrupted(sign) == f"{SERVICE} goes on running; `devkit stop` ends it."
    assert docker("ps", "-q", "--filter", f"name={SERVICE}")


def test_a_deletion_that_is_interrupted_takes_container_and_network_all_the_same(
    workspace: Path,
) -> None:
    assert Typed(workspace, "run").ended() == 0
    typed = Typed(workspace, "delete", "--yes", "-v")
    typed.until("docker rm ")
    assert typed.interrupted() == "Interrupted."
    assert_nothing_is_left(workspace)


def test_the_second_of_two_that_start_at_once_says_so_and_the_first_goes_on(
    workspace: Path,
) -> None:
    (workspace / "hold").touch()
    held = Typed(workspace, "package")  # so that both find the image
    assert held.ended() == 0, held.shown
    both = [Typed(workspace, "debug", "--detach") for _ in range(2)]
    (workspace / "hold").unlink()
    codes = [typed.ended() for typed in both]
    for typed, code in zip(both, codes, strict=True):
        said = f"Another devkit is at work on the service {SERVICE} just now." in typed.shown
        assert code == (3 if said else 0), typed.shown
    assert 0 in codes
    assert docker("ps", "-q", "--filter", f"name={SERVICE}")


def test_who_comes_during_the_build_of_another_is_told_at_once(
    workspace: Path, base_image: str
) -> None:
    mark = uuid.uuid4().hex
    first = Typed(
        workspace,
        "-v",
        "debug",
        DEVKIT_IMAGE_DOCKERFILE=f"FROM {base_image}\nRUN echo at-{mark} && sleep 1000",
    )
    first.until(f"^at-{mark}|[^-]at-{mark}$")
    second = Typed(workspace, "run")
    assert second.ended() == 3
    assert f"Another devkit is at work on the service {SERVICE} just now." in second.shown
    assert first.interrupted().startswith("Interrupted")
    assert_nothing_is_left(workspace)
