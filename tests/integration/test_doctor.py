"""`devkit doctor`, typed, on a machine that is well, and on ones that were broken for real."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from devkit import contract
from devkit.config import load
from devkit.doctor import repair
from devkit.doctor.check import Machine
from devkit.doctor.reach import Reach
from devkit.engine import Engine
from devkit.engines import connect
from devkit.errors import EngineError
from tests.integration.test_engine_podman import podman_service
from tests.running import free_port

pytestmark = pytest.mark.engine

DEVKIT = Path(sys.executable).parent / "devkit"
FREE = {"DEVKIT_PORTS_SCORE": "auto", "DEVKIT_PORTS_DEBUG": "auto"}
# Another user, who may read all files, as Python may be root's here; and write to none.
AS_NOBODY = (
    *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
    *("--inh-caps=-all,+dac_read_search", "--ambient-caps=+dac_read_search"),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "score.py").write_text("def init(): ...\ndef run(data): ...\n", "utf-8")
    return tmp_path


def doctor(
    folder: Path, *words: str, env: Mapping[str, str] = FREE, before: Sequence[str] = ()
) -> dict[str, Any]:
    done = subprocess.run(
        [*before, DEVKIT, "doctor", "--json", *words],
        cwd=folder,
        env={**os.environ, **env},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    print(done.stdout, done.stderr)  # noqa: T201  pytest shows it when the test fails
    said: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (0 if said["ok"] else 1)
    return said


def finding(said: Mapping[str, Any], id_: str) -> dict[str, Any]:
    found = [item for item in said["findings"] if item["id"] == id_]
    assert found, [item["id"] for item in said["findings"]]
    return dict(found[0])


def left(word: str) -> list[str]:
    """What of a service there is still on the machine's engine."""
    asked = (
        ["ps", "--all", "--format", "{{.Names}}"],
        ["network", "ls", "--format", "{{.Name}}"],
        ["images", "--format", "{{.Repository}}"],
    )
    answers = (subprocess.check_output(["docker", *words], text=True) for words in asked)
    return [line for answer in answers for line in answer.splitlines() if word in line]


def test_this_machine_is_ready(folder: Path) -> None:
    said = doctor(folder)
    assert said["ok"]
    errors = [item for item in said["findings"] if item["severity"] == "error"]
    assert errors == []
    names = [check["name"] for check in said["checks"]]
    assert names[:3] == ["workspace", "engine", "disk"]
    assert all(check["text"] for check in said["checks"])


def test_an_engine_that_is_stopped(folder: Path) -> None:
    said = doctor(folder, "--e2e", "--host", f"unix://{folder}/none.sock")
    found = finding(said, "engine-unreachable")
    assert said["steps"] == []
    assert "none.sock" in found["cause"]
    assert found["severity"] == "error"


def test_a_socket_that_an_engine_has_left(folder: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as ended:
        ended.bind(str(folder / "left.sock"))
    said = doctor(folder, "--e2e", "--host", f"unix://{folder}/left.sock")
    assert "Nobody answers" in finding(said, "engine-unreachable")["cause"]


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user: root")
def test_a_user_without_rights_is_told_which_group_to_join() -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        folder = Path(place)
        folder.chmod(0o755)
        (folder / "score.py").write_text("def init(): ...\ndef run(data): ...\n", "utf-8")
        with closing(socket.socket(socket.AF_UNIX)) as listener:
            listener.bind(str(folder / "engine.sock"))
            listener.listen()
            (folder / "engine.sock").chmod(0o660)
            said = doctor(
                folder,
                "--e2e",
                "--host",
                f"unix://{folder}/engine.sock",
                env={**FREE, "HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"},
                before=AS_NOBODY,
            )
    found = finding(said, "engine-denied")
    assert "the group root (mode 660); nobody is neither" in found["cause"]
    assert "usermod -aG root nobody" in found["remedy"]


def test_an_engine_that_hangs(folder: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as silent:
        silent.bind(str(folder / "silent.sock"))
        silent.listen()
        said = doctor(folder, "--e2e", "--host", f"unix://{folder}/silent.sock")
    assert "no answer within" in finding(said, "engine-unreachable")["cause"]
    assert not said["ok"]


def test_a_port_that_a_process_has(folder: Path) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = doctor(folder, env={**FREE, "DEVKIT_PORTS_SCORE": str(port)})
    found = finding(said, "port-taken-service")
    assert f"({os.getpid()})" in found["title"]
    assert "--port" in found["remedy"]


def test_a_port_that_a_container_has(folder: Path, base_image: str) -> None:
    port, name = free_port(), f"devkit-test-doctor-{os.getpid()}"
    run = ["docker", "run", "--detach", "--rm", "--name", name, "-p", f"127.0.0.1:{port}:80"]
    made = subprocess.check_output([*run, base_image, "sleep", "300"], text=True).strip()
    try:
        said = doctor(folder, env={**FREE, "DEVKIT_PORTS_DEBUG": str(port)})
    finally:
        subprocess.run(["docker", "rm", "--force", made], capture_output=True, check=True)
    assert f"the container {name}" in finding(said, "port-taken-debugger")["title"]


def test_a_base_image_that_no_registry_has(folder: Path) -> None:
    # Nothing listens there: a registry that is down.
    name = f"127.0.0.1:{free_port()}/devkit-test-none:1"
    said = doctor(folder, "--e2e", env={**FREE, "DEVKIT_IMAGE_BASE": name})
    found = finding(said, "base-image-missing")
    assert finding(said, "e2e-package")["cause"]
    assert name in found["title"]
    assert "refused" in found["evidence"]


@pytest.mark.skipif(
    not shutil.which("podman"), reason="there is no Podman: sudo scripts/test-engines"
)
def test_podman_does_not_tell_what_it_could_pull(folder: Path) -> None:
    # Not in the test's folder: a socket's path may have 107 bytes.
    with tempfile.TemporaryDirectory() as place, podman_service(Path(place)) as address:
        said = doctor(folder, "--engine", "podman", "--host", address)
    seen = {check["name"]: check["text"] for check in said["checks"]}
    assert seen["engine"].startswith("podman ")
    assert "does not tell" in seen["base image"]
    assert said["ok"]


def test_no_editor_on_the_path(folder: Path) -> None:
    said = doctor(folder, env={**FREE, "PATH": str(folder)})
    assert finding(said, "editor-missing")["severity"] == "warning"
    assert said["ok"]


def test_a_broken_launch_json_and_a_broken_configuration(folder: Path) -> None:
    (folder / ".vscode").mkdir()
    (folder / ".vscode/launch.json").write_text('{"configurations": [', "utf-8")
    (folder / "devkit.yaml").write_text("imagee: {}\n", "utf-8")
    said = doctor(folder)
    finding(said, "launch-file-broken")
    assert "devkit.yaml:1" in finding(said, "config-broken")["title"]


@contextmanager
def small_engine() -> Iterator[str]:
    """A dockerd whose data are on a file system of 64 MB; yield its address."""
    folder = Path(tempfile.mkdtemp(prefix="devkit-dockerd-", dir="/var/tmp"))
    data, host = folder / "data", f"unix://{folder}/docker.sock"
    data.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(data)], check=True)
    options = [f"--host={host}", "--bridge=none", "--iptables=false", f"--data-root={data}"]
    options += [f"--exec-root={folder / 'exec'}", f"--pidfile={folder / 'pid'}"]
    try:
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                ["unshare", "--net", "dockerd", *options], stdout=log, stderr=log
            )
        try:
            _await(host, process, folder / "log")
            yield host
        finally:
            process.terminate()
            process.wait(60)
    finally:
        subprocess.run(["umount", "--lazy", str(data)], check=True)
        shutil.rmtree(folder)


def _await(host: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(EngineError):
            connect("docker", host=host).close()
            return
    raise AssertionError(log.read_text())


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("dockerd"), reason="starts a dockerd of its own: root"
)
def test_a_disk_that_is_full(folder: Path) -> None:
    with small_engine() as host:
        said = doctor(folder, "--e2e", "--host", host)
    found = finding(said, "disk-full")
    assert "/data" in found["cause"]
    assert "prune" in found["remedy"]


def test_a_service_goes_the_whole_way_and_nothing_of_it_is_left(folder: Path) -> None:
    said = doctor(folder, "--e2e")
    assert said["ok"]
    names = [step["name"] for step in said["steps"]]
    assert names == [
        *("package", "run, attach", "request", "breakpoint"),
        *("edit, reload", "edit inside", "clean up"),
    ]
    assert all(step["ok"] for step in said["steps"])
    service = next(s["text"] for s in said["steps"] if s["name"] == "package").split(":")[0]
    assert left(service.removeprefix("devkit-")) == []


def test_the_step_that_fails_is_named_and_nothing_is_left(folder: Path, base_image: str) -> None:
    # A base that has no Python: the image of nothing.
    tag = f"devkit-test-doctor-empty-{os.getpid()}:1"
    subprocess.run(["docker", "import", "-", tag], input=b"\0" * 10240, check=True)
    before = set(left("doctor-"))
    try:
        said = doctor(folder, "--e2e", env={**FREE, "DEVKIT_IMAGE_BASE": tag})
    finally:
        subprocess.run(["docker", "rmi", tag], capture_output=True, check=True)
    assert finding(said, "e2e-package")["cause"]
    assert [step["ok"] for step in said["steps"]] == [False, True]
    assert set(left("doctor-")) <= before


def test_a_ctrl_c_leaves_nothing(folder: Path) -> None:
    child = subprocess.Popen(
        [DEVKIT, "doctor", "--e2e"],
        cwd=folder,
        env={**os.environ, **FREE},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    )
    assert child.stderr is not None
    name = ""
    for line in child.stderr:
        if "Starting the container" in line:
            name = line.split()[-1]
        if "Waiting for init()" in line:
            child.send_signal(signal.SIGINT)
            break
    # Its pipe must not fill up meanwhile.
    threading.Thread(target=child.stderr.read, daemon=True).start()
    assert child.wait(60) == 130
    assert name.startswith("doctor-")
    assert left(name) == []


def test_a_bundle_has_no_secret_and_is_not_written_over(folder: Path) -> None:
    (folder / ".vscode").mkdir()
    entry = (
        '{// why\n"configurations": [{"name": "x", "apiKey": "S3CR3T-in-file",'
        ' "env": {"A": "S3CR3T-variable"}, "args": ["--token", "S3CR3T-argument"]}]}'
    )
    (folder / ".vscode/launch.json").write_text(entry, "utf-8")
    yaml = 'run: {env: {DB: "S3CR3T-in-yaml"}}\nbuild: {args: {X: "S3CR3T-arg"}}\n'
    (folder / "devkit.yaml").write_text(yaml, "utf-8")
    said = doctor(folder, "--bundle", "report.zip")
    target = folder / "report.zip"
    assert target.stat().st_mode & 0o077 == 0
    with zipfile.ZipFile(target) as archive:
        assert archive.namelist() == said["bundle"]["files"]
        text = "\n".join(archive.read(name).decode() for name in archive.namelist())
    assert {"doctor.json", "config.json", "docker-info.json"} <= set(said["bundle"]["files"])
    assert "S3CR3T" not in text
    assert str(Path.home()) + "/" not in text
    again = subprocess.run(
        [DEVKIT, "doctor", "--bundle", "report.zip", "--json"], cwd=folder, capture_output=True
    )
    assert again.returncode == 2
    assert b"already" in again.stdout


def test_fix_removes_what_is_abandoned_and_a_dry_run_says_so(
    folder: Path, engine: Engine, base_image: str
) -> None:
    service = f"doctor-gone-{os.getpid()}"
    network = f"devkit-{service}"
    held = engine.create(base_image, {contract.LABEL_READING: "1"})
    engine.ensure_network(network, {contract.LABEL_SERVICE: service})
    reach = Reach({})
    try:
        machine = Machine(folder, load(folder))
        # Younger than an hour, it may be in use.
        young = [item.text for item in repair.planned(machine, reach)]
        assert not any(network in text or held.id[:12] in text for text in young)
        # What others test on this engine is not this test's to remove.
        ours = [
            item
            for item in repair.planned(machine, reach, older_s=-1)
            if network in item.text or held.id[:12] in item.text
        ]
        assert len(ours) == 2
        assert engine.container(held.id) is not None
        for item in ours:
            item.do()
        assert engine.container(held.id) is None
        assert left(network) == []
    finally:
        reach.close()
        engine.remove(held.id)
        engine.remove_network(network)


def test_the_command_fixes_a_workspace_and_tells(folder: Path) -> None:
    (folder / ".devkit/sync").mkdir(parents=True)
    rest = folder / ".devkit-tmp-1-2-3"
    rest.write_text("half", "utf-8")
    said = doctor(folder, "--fix", "--dry-run")
    assert any(str(rest) in text for text in said["dry_run"])
    assert rest.exists()
    # By processes: on the machine's engine others are at work.
    said = doctor(folder, "--fix", "--engine", "process")
    assert said["fixed"] == [f"remove what a sync that was killed has left: {rest}"]
    assert not rest.exists()
