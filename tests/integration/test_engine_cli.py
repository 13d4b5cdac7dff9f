"""What a user is told when the engine is not there, not theirs, or lacks what was asked."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from devkit.engines import connect

pytestmark = pytest.mark.engine

EXAMPLE = Path(__file__).parents[2] / "examples/iris"
DEVKIT = str(Path(sys.executable).with_name("devkit"))
NOBODY = 65534
# A root that cannot open what is not its own, as everybody else: where Python is stays readable.
WITHOUT_RIGHTS = ("setpriv", "--bounding-set=-dac_override") if os.geteuid() == 0 else ()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EXAMPLE, tmp_path / "iris"))


@pytest.fixture
def closed_socket(tmp_path: Path) -> Iterator[str]:
    path = tmp_path / "docker.sock"
    with closing(socket.socket(socket.AF_UNIX)) as engine:
        engine.bind(str(path))
        engine.listen()
        if os.geteuid() == 0:
            os.chown(path, NOBODY, NOBODY)
        path.chmod(0o600 if os.geteuid() == 0 else 0)
        yield f"unix://{path}"


def typed(
    folder: Path, *words: str, host: str | None = None, before: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ) if host is None else {**os.environ, "DOCKER_HOST": host}
    return subprocess.run(
        [*before, DEVKIT, *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_engine_without_rights_is_said_with_what_to_do(folder: Path, closed_socket: str) -> None:
    done = typed(folder, "run", host=closed_socket, before=WITHOUT_RIGHTS)
    assert done.returncode == 3
    assert done.stdout == ""
    [error, hint] = done.stderr.splitlines()
    assert error.startswith(f"Error: The engine at {closed_socket} (DOCKER_HOST) is there, but")
    assert "usermod -aG docker" in hint


def test_an_engine_without_rights_is_said_as_json_too(folder: Path, closed_socket: str) -> None:
    done = typed(folder, "run", "--json", host=closed_socket, before=WITHOUT_RIGHTS)
    assert done.returncode == 3
    answer = json.loads(done.stdout)
    assert answer["ok"] is False
    assert answer["error"]["code"] == "EngineDenied"
    assert "usermod -aG docker" in answer["error"]["hint"]


def test_no_engine_is_said_with_the_way_that_needs_none(folder: Path, tmp_path: Path) -> None:
    nowhere = f"unix://{tmp_path}/nowhere.sock"
    done = typed(folder, "run", host=nowhere)
    assert done.returncode == 3
    [error, hint] = done.stderr.splitlines()
    assert f"Nothing is at {nowhere}" in error
    assert "--engine process" in hint
    answer = json.loads(typed(folder, "run", "--json", host=nowhere).stdout)
    assert answer["error"]["code"] == "NoEngine"


def test_gpus_that_the_engine_has_not_are_said_and_nothing_is_left(
    folder: Path, base_image: str
) -> None:
    name, tag = f"gpus-{os.getpid()}", f"devkit-test-gpus:{os.getpid()}"
    where = ("--service", name, "--base", base_image, "--tag", tag)
    ports = ("--port", "auto", "--debug-port", "auto")
    try:
        done = typed(folder, "run", "--gpus", "all", *where, *ports, "--json")
        answer = json.loads(done.stdout)
        if answer["ok"]:  # this engine has some, and they were handed in
            assert answer["container"] == name
            return
        assert done.returncode == 3
        assert answer["error"]["code"] == "Unsupported"
        assert answer["error"]["message"].startswith("This engine has no GPUs to hand in")
        assert "--gpus" in answer["error"]["hint"]
        with closing(connect("docker")) as engine:
            assert engine.container(name) is None
            assert engine.remove_network(f"devkit-{name}") is False
    finally:
        typed(folder, "delete", "--yes", "--service", name)
        with closing(connect("docker")) as engine:
            engine.remove_image(tag)


def test_a_platform_that_the_base_image_is_not_for_is_said(folder: Path, base_image: str) -> None:
    other = "linux/s390x"
    # Without packages, whose builds for that platform are asked for first.
    (folder / "environment.yml").unlink()
    (folder / "devkit.yaml").unlink(missing_ok=True)
    done = typed(folder, "package", "--platform", other, "--base", base_image, "--json")
    assert done.returncode == 5
    error = json.loads(done.stdout)["error"]
    assert error["code"] == "BaseImageMissing"
    assert f"{base_image} is on this engine for linux/" in error["message"]
    assert f"not for {other}" in error["message"]
    assert "--platform" in error["hint"]
