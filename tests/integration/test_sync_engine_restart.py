"""The process that keeps a service in step, while its engine goes away and comes back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from devkit import background, contract
from devkit.engine import Container, Engine, RunSpec, Tag
from devkit.engines import connect
from devkit.errors import EngineError
from devkit.in_step import Order
from devkit.sync.control import Running
from devkit.sync.ending import ended

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        os.geteuid() != 0 or not shutil.which("dockerd"), reason="starts a dockerd of its own: root"
    ),
]

_ANSWER_S = 60


class Dockerd:
    """An engine that can be ended and started again; it touches nothing of the machine's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = f"unix://{folder}/docker.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Engine:
        """Start it and wait until it answers."""
        options = [f"--host={self.host}", "--bridge=none", "--iptables=false"]
        options += [f"--{name}={self.folder / name}" for name in ("data-root", "exec-root")]
        options += [f"--pidfile={self.folder / 'pid'}"]
        # A network of its own: without it, --bridge=none takes the bridge of the machine's engine.
        command = ["unshare", "--net", "dockerd", *options]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + _ANSWER_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with suppress(EngineError):
                engine = connect("docker", host=self.host)
                engine.info()
                return engine
        raise AssertionError((self.folder / "log").read_text())

    def stop(self) -> None:
        """End it, and its containers with it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)
            self._process = None


@pytest.fixture
def dockerd(base_image: str) -> Iterator[Dockerd]:
    folder = Path(tempfile.mkdtemp(prefix="devkit-dockerd-", dir="/var/tmp"))
    dockerd = Dockerd(folder)
    try:
        dockerd.start().close()
        image = subprocess.Popen(["docker", "save", base_image], stdout=subprocess.PIPE)
        load = ["docker", "--host", dockerd.host, "load"]
        subprocess.run(load, stdin=image.stdout, check=True, capture_output=True)
        assert image.wait() == 0
        yield dockerd
    finally:
        dockerd.stop()
        shutil.rmtree(folder)


@pytest.fixture
def root() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="restarted", dir="/var/tmp") as folder:
        yield Path(folder)


def service(engine: Engine, base_image: str, root: Path) -> Container:
    layout = [{"local": ".", "remote": str(contract.APP_ROOT / root.name)}]
    spec = RunSpec(
        image=Tag.parse(base_image),
        name="restarted",
        labels={
            contract.LABEL_SERVICE: "restarted",
            contract.LABEL_WORKSPACE: str(root),
            contract.LABEL_LAYOUT: json.dumps(layout),
        },
        env={},
        ports=(),
        command=("sh", "-c", f"mkdir -p {contract.APP_ROOT}/{root.name}; exec sleep 600"),
    )
    return engine.run(spec)


def inside(engine: Engine, container: Container, script: str) -> bytes:
    stream = engine.exec(container.id, ["sh", "-c", script], workdir=str(contract.APP_ROOT))
    try:
        output = b"".join(iter(stream.read, b""))
        assert stream.wait() == 0, stream.stderr()
        return output
    finally:
        stream.close()


def flushed(sync: Running) -> None:
    """Flush as soon as the stream is there again."""
    deadline = time.monotonic() + _ANSWER_S
    while True:
        try:
            sync.ask("flush", timeout_s=_ANSWER_S)
        except EngineError:
            assert time.monotonic() < deadline
        else:
            return


def test_the_sync_goes_on_when_its_engine_was_restarted(
    dockerd: Dockerd, base_image: str, root: Path
) -> None:
    engine = connect("docker", host=dockerd.host)
    container = service(engine, base_image, root)
    order = Order(root, root, "restarted", container.id, engine={"host": dockerd.host})
    (root / "a.txt").write_text("one")
    try:
        with background.started(order) as sync:
            flushed(sync)
            assert inside(engine, container, f"cat {root.name}/a.txt") == b"one"
            engine.close()
            dockerd.stop()
            (root / "a.txt").write_text("two")
            engine = dockerd.start()
            engine.start(container.id)
            flushed(sync)
            assert inside(engine, container, f"cat {root.name}/a.txt") == b"two"
            inside(engine, container, f"echo new > {root.name}/b.txt")
            flushed(sync)
            assert (root / "b.txt").read_text() == "new\n"
            joined = background.running(root, "restarted", container.id)
            assert joined is not None
            with joined:
                assert joined.pid == sync.pid
    finally:
        ended(root, "restarted")
        engine.close()
