"""A commit whose engine goes away, or has no room left: nothing is half made, nothing is lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import cast

import pytest

from devkit.engine import Container, Engine, RunSpec, Tag
from devkit.engines import connect
from devkit.errors import EngineError
from tests.integration.conftest import output
from tests.integration.test_sync_engine_restart import Dockerd
from tests.running import until
from tests.syncing import DEVKIT

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        os.geteuid() != 0 or not shutil.which("dockerd"), reason="starts a dockerd of its own: root"
    ),
]

# The engine's own files, the base image (134 MB) and some room, which the tests fill.
_DISK = "700m"


class Machine(Dockerd):
    """An engine that loses its power: what it started goes with it, at once."""

    def start(self) -> Engine:
        for stale in self.folder.rglob("*pid"):  # as after a start of the machine
            stale.unlink()
        options = [f"--host={self.host}", "--bridge=none", "--iptables=false"]
        options += [f"--{name}={self.folder / name}" for name in ("data-root", "exec-root")]
        options += [f"--pidfile={self.folder / 'pid'}"]
        alone = ["unshare", "--net", "--pid", "--mount-proc", "--fork", "--kill-child=KILL"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen([*alone, "dockerd", *options], stdout=log, stderr=log)
        return cast("Engine", until(self._answer, 60))

    def _answer(self) -> Engine | None:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()[-3000:]
        with suppress(EngineError):
            return connect("docker", host=self.host)
        return None

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(60)
            self._process = None


@pytest.fixture(scope="module")
def dockerd(base_image: str) -> Iterator[Machine]:
    """An engine whose disk is small."""
    folder = Path(tempfile.mkdtemp(prefix="devkit-dockerd-", dir="/var/tmp"))
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "devkit", str(folder)], check=True
    )
    machine = Machine(folder)
    try:
        machine.start().close()
        with subprocess.Popen(["docker", "save", base_image], stdout=subprocess.PIPE) as image:
            load = ["docker", "--host", machine.host, "load"]
            subprocess.run(load, stdin=image.stdout, check=True, capture_output=True)
        yield machine
    finally:
        machine.stop()
        # Its processes are gone a moment later.
        until(lambda: subprocess.run(["umount", folder], check=False).returncode == 0)
        folder.rmdir()


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "score.py").write_text("def init(): ...\ndef run(data): ...\n")
    return tmp_path


def container(engine: Engine, base_image: str, megabytes: int) -> Container:
    """A container with a large file that does not compress."""
    spec = RunSpec(Tag.parse(base_image), "large", {}, {}, (), command=("sleep", "600"))
    made = engine.run(spec)
    output(engine, made.id, f"head -c {megabytes}M /dev/urandom > /large", user="0")
    return made


def commit(dockerd: Machine, workspace: Path) -> subprocess.Popen[str]:
    command = [
        str(DEVKIT),
        "commit",
        "new:1",
        "--adopt",
        "large",
        "-H",
        dockerd.host,
        "-v",
        "--json",
    ]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=workspace, stdout=pipe, stderr=pipe, encoding="utf-8")


def error(process: subprocess.Popen[str]) -> dict[str, str]:
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 3
    found: dict[str, str] = json.loads(said)["error"]
    return found


def images(engine: Engine) -> int:
    return len(engine.images({}))


def test_an_engine_that_goes_half_way_makes_no_image_and_the_next_commit_works(
    dockerd: Machine, base_image: str, workspace: Path
) -> None:
    engine = connect("docker", host=dockerd.host)
    made = container(engine, base_image, 100)
    process = commit(dockerd, workspace)
    assert process.stderr is not None
    while "docker commit" not in process.stderr.readline():
        assert process.poll() is None
    dockerd.stop()
    assert error(process)["code"] == "NoEngine"
    engine.close()
    engine = dockerd.start()
    try:
        assert engine.image("new:1") is None
        said, _ = commit(dockerd, workspace).communicate(timeout=120)
        assert json.loads(said)["image"] == "new:1"
        assert json.loads(said)["changed"][0]["path"] == "/large"
    finally:
        engine.remove(made.id)
        engine.remove_image("new:1")
        engine.close()


def test_a_full_disk_is_told_and_leaves_no_image_and_the_container_as_it_was(
    dockerd: Machine, base_image: str, workspace: Path
) -> None:
    engine = connect("docker", host=dockerd.host)
    free = shutil.disk_usage(dockerd.folder).free >> 20
    made = container(engine, base_image, free * 2 // 3)
    before = images(engine)
    try:
        assert "no space left" in error(commit(dockerd, workspace))["message"]
        assert images(engine) == before
        now = engine.container(made.id)
        assert now is not None
        assert now.is_running
    finally:
        engine.remove(made.id)
        engine.close()
