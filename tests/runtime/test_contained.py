"""What only a container shows: hardening, the sibling that may not attach, `docker run`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from devkit import container, contract
from devkit.engine import Engine, PortBinding, RunSpec, Tag
from devkit.errors import ContainerDied, OutOfMemory
from devkit.run_spec import spec_of
from tests import contained
from tests.running import SCORE, stopped, until

pytestmark = pytest.mark.engine

TOTAL = "total = sum"


@pytest.fixture
def tag(packaged: Callable[[str], Tag]) -> Tag:
    return packaged("3.13")


def output(engine: Engine, name: str, *command: str) -> tuple[int, str]:
    stream = engine.exec(name, command)
    try:
        text = b"".join(iter(stream.read, b"")).decode()
        return stream.wait(), text
    finally:
        stream.close()


def test_the_service_runs_without_rights_and_is_debugged_all_the_same(
    engine: Engine, tag: Tag, tmp_path: Path
) -> None:
    with contained.in_container(engine, tag, tmp_path) as service:
        name = engine.containers({contract.LABEL_WORKSPACE: str(tmp_path)})[0].id
        code, text = output(engine, name, "cat", "/proc/1/status", "/proc/1/comm")
        assert code == 0
        facts = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
        assert facts["CapEff"] == "0000000000000000"
        assert facts["NoNewPrivs"] == "1"
        assert facts["Uid"].split()[0] == "1000"
        session = service.attach({"score.py": [service.line(TOTAL)]})
        request = service.later()
        stop = stopped(session)
        session.resume(stop.thread)
        assert request.reply().status == 200


def test_a_read_only_container_is_debugged(engine: Engine, tag: Tag, tmp_path: Path) -> None:
    with contained.in_container(engine, tag, tmp_path, read_only=True) as service:
        session = service.attach({"score.py": [service.line(TOTAL)]})
        request = service.later()
        stop = stopped(session)
        session.resume(stop.thread)
        assert request.reply().status == 200
        name = engine.containers({contract.LABEL_WORKSPACE: str(tmp_path)})[0].id
        assert output(engine, name, "touch", "/var/azureml-app/x")[0] != 0


def test_a_sibling_container_on_the_same_network_may_not_attach(
    engine: Engine, tag: Tag, tmp_path: Path
) -> None:
    probe = (
        "import socket, sys\n"
        "sock = socket.create_connection((sys.argv[1], 5678), timeout=5)\n"
        "try:\n"
        "    sock.sendall(b'Content-Length: 65\\r\\n\\r\\n'\n"
        '      b\'{"seq":1,"type":"request","command":"devkit/status","arguments":{}}\')\n'
        "    print('answered' if sock.recv(100) else 'refused')\n"
        "except OSError:\n"
        "    print('refused')\n"
    )
    with contained.in_container(engine, tag, tmp_path) as service:
        service_container = engine.containers({contract.LABEL_WORKSPACE: str(tmp_path)})[0]
        sibling = engine.run(
            RunSpec(
                image=tag,
                name=f"{service_container.name}-sibling",
                labels={},
                env={},
                ports=(),
                network=container.network_name(service_container.name),
                command=("sleep", "300"),
            )
        )
        try:
            code, text = output(engine, sibling.id, "python", "-c", probe, service_container.name)
            assert (code, text.strip()) == (0, "refused")
            assert "only the host may attach" in service.log()
        finally:
            engine.remove(sibling.id)
        assert service.ask("devkit/status")["state"] == "ready"


def test_plain_docker_run_starts_the_service_with_its_debugger_listening(
    engine: Engine, tag: Tag
) -> None:
    from devkit.debug import dap, wire

    spec = RunSpec(
        image=tag,
        name="devkit-test-plain",
        labels={},
        env={},
        ports=(PortBinding(5001, 0), PortBinding(5678, 0)),
        hardened=False,
    )
    started = engine.run(spec)
    try:
        port = started.ports[5678][1]
        state = until(lambda: _state(wire.ask, port))
        assert state == "ready"
        mapping = [{"localRoot": "/w", "remoteRoot": "/var/azureml-app/svc"}]
        session = dap.Session.attach("127.0.0.1", port, {"pathMappings": mapping})
        assert session.disconnect()
    finally:
        engine.remove(started.id)


def _state(ask: Callable[..., dict[str, str]], port: int) -> str | None:
    try:
        return ask("127.0.0.1", port, "devkit/wait", {"timeout_s": 30}, timeout_s=40)["state"]
    except Exception:  # noqa: BLE001 - not listening yet
        return None


def test_a_container_killed_for_its_memory_is_named_so(
    engine: Engine, tag: Tag, tmp_path: Path
) -> None:
    from dataclasses import replace

    from devkit import config

    (tmp_path / "score.py").write_text(SCORE)
    overrides = {
        "service": "runtime-oom",
        "ports.score": "auto",
        "ports.debug": "auto",
        "run.memory": "40m",
    }
    workspace = config.load(tmp_path, overrides=overrides)
    spec = spec_of(workspace.config, tag, workspace_root=tmp_path)
    started = container.start(
        engine, replace(spec, command=("python", "-c", "x = bytearray(10**9)"))
    )
    try:
        gone = threading.Event()

        def died() -> bool:
            try:
                container.check_alive(engine, started.id)
            except OutOfMemory:
                return True
            except ContainerDied as error:
                raise AssertionError(error.message) from error
            gone.wait(0.05)
            return False

        assert until(died)
    finally:
        container.delete(engine, spec.name)
