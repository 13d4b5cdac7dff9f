"""Podman through its Docker-compatible socket, with a storage of its own that goes away again."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

import psutil
import pytest

from devkit.engine import Engine, Tag
from devkit.engines import connect
from tests.engine_contract import Bench, EngineContract, ImageContract, contract_image, pieces

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        shutil.which("podman") is None, reason="there is no Podman: sudo scripts/test-engines"
    ),
]

BASE = Tag("localhost/contract-base", str(os.getpid()))
IMAGE = Tag("localhost/contract-podman", str(os.getpid()))
# By itself Podman raises them, which not every machine lets root do.
LIMITS = '[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\n'


@contextmanager
def podman_service(folder: Path) -> Iterator[str]:
    """A Podman with its storage in `folder`; gives its address."""
    (folder / "containers.conf").write_text(LIMITS)
    environment = {**os.environ, "CONTAINERS_CONF": str(folder / "containers.conf")}
    own = ("root", "runroot", "tmpdir", "network-config-dir")
    folders = (word for name in own for word in (f"--{name}", str(folder / name)))
    podman = ("podman", *folders, "--cgroup-manager", "cgroupfs", "--events-backend", "file")
    address = f"unix://{folder}/podman.sock"
    service = subprocess.Popen(
        (*podman, "--log-level", "info", "system", "service", "--time", "0", address),
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert service.stderr is not None
    try:
        said = []
        for line in service.stderr:
            said.append(line)
            if "API service listening" in line:
                break
        else:
            raise AssertionError("".join(said))
        threading.Thread(target=service.stderr.read, daemon=True).start()
        yield address
    finally:
        service.terminate()
        service.wait()
        service.stderr.close()
        # Each exec leaves a process that cleans up minutes later.
        for left in psutil.process_iter(["cmdline"]):
            if str(folder) in " ".join(left.info["cmdline"] or ()):
                left.kill()
        # Its layers are mounted below the folder.
        subprocess.run((*podman, "system", "reset", "--force"), env=environment, check=False)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    # Podman takes no run folder with more than 50 characters, which pytest's may have.
    with (
        tempfile.TemporaryDirectory(prefix="podman-", dir="/tmp") as folder,
        podman_service(Path(folder)) as address,
    ):
        yield address


@pytest.fixture(scope="module")
def engine(address: str, base_image: str) -> Iterator[Engine]:
    engine = connect("podman", host=address)
    _copy_image(base_image, engine)
    with contract_image(engine, IMAGE, str(BASE)):
        yield engine
    engine.remove_image(str(BASE))
    engine.close()


def _copy_image(name: str, engine: Engine) -> None:
    made = subprocess.run(
        ["docker", "create", name, "true"], capture_output=True, text=True, check=True
    )
    container = made.stdout.strip()
    try:
        with subprocess.Popen(["docker", "export", container], stdout=subprocess.PIPE) as export:
            assert export.stdout is not None
            engine.import_image(cast("BinaryIO", export.stdout), BASE, labels={})
    finally:
        subprocess.run(["docker", "rm", container], capture_output=True, check=True)


class TestPodman(EngineContract, ImageContract):
    @pytest.fixture
    def bench(self, engine: Engine, address: str) -> Iterator[Bench]:
        bench = Bench(connect("podman", host=address), IMAGE, PurePosixPath("/tmp"), "/tmp")
        yield bench
        bench.clean_up()

    def test_a_followed_log_of_a_short_life_ends_every_time(self, bench: Bench) -> None:
        # The end may come before Podman listens for it; then nothing but devkit ends the log.
        for number in range(15):
            container = bench.run(f"echo {number}")
            assert b"".join(pieces(bench, container.name)) == b"%d\n" % number
