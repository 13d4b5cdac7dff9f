"""The run step on a real engine."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from devkit import container, contract
from devkit.config import Config
from devkit.engine import Engine, RunSpec, Tag
from devkit.engines import connect
from devkit.errors import ContainerDied, NotOurs, OutOfMemory, PortInUse
from devkit.run_spec import spec_of

pytestmark = pytest.mark.engine

SERVICE = f"run-step-{os.getpid()}"


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = connect()
    yield engine
    for found in engine.containers({contract.LABEL_SERVICE: SERVICE}):
        engine.remove(found.id)
    engine.remove_network(container.network_name(SERVICE))
    engine.close()


def spec(base_image: str, script: str = "exec sleep 600", **changes: object) -> RunSpec:
    settings = {"service": SERVICE, "ports": {"score": "auto", "debug": "auto"}, **changes}
    made = spec_of(
        Config.model_validate(settings), Tag.parse(base_image), workspace_root=Path("/w s/é")
    )
    return replace(made, command=("sh", "-c", script))


def test_a_service_starts_is_found_stopped_and_deleted(engine: Engine, base_image: str) -> None:
    started = container.start(engine, spec(base_image))
    assert started.is_running
    assert set(started.ports) == {5001, 5678}
    assert {bind for bind, _ in started.ports.values()} == {"127.0.0.1"}
    assert container.find(engine, service=SERVICE) == started
    assert container.find(engine, workspace=Path("/w s/é")) == started
    container.stop(engine, SERVICE)
    stopped = container.find(engine, service=SERVICE)
    assert stopped is not None
    assert stopped.state == "exited"
    assert container.delete(engine, SERVICE).container
    assert container.find(engine, service=SERVICE) is None
    assert not container.delete(engine, SERVICE).container


def test_ports_stay_the_same_over_a_restart(engine: Engine, base_image: str) -> None:
    started = container.start(engine, spec(base_image))
    container.stop(engine, SERVICE)
    assert engine.start(started.id).ports == started.ports


def test_a_service_that_runs_already_is_replaced_on_its_ports(
    engine: Engine, base_image: str
) -> None:
    first = container.start(engine, spec(base_image))
    score, debug = first.ports[5001][1], first.ports[5678][1]
    second = container.start(engine, spec(base_image, ports={"score": score, "debug": debug}))
    assert second.id != first.id
    assert second.ports == first.ports
    assert engine.container(first.id) is None


def test_a_taken_port_names_its_owner_and_leaves_nothing_behind(
    engine: Engine, base_image: str
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        taken = server.getsockname()[1]
        wanted = spec(base_image, ports={"score": "auto", "debug": taken})
        with pytest.raises(PortInUse, match=rf"the process .*\({os.getpid()}\)") as refused:
            container.start(engine, wanted)
    assert "--debug-port" in (refused.value.hint or "")
    assert engine.container(SERVICE) is None


def test_a_port_of_another_service_names_its_container(engine: Engine, base_image: str) -> None:
    other = f"{SERVICE}-other"
    first = container.start(engine, spec(base_image, service=other))
    try:
        taken = spec(base_image, ports={"score": first.ports[5001][1], "debug": "auto"})
        with pytest.raises(PortInUse, match=f"the container {other}"):
            container.start(engine, taken)
    finally:
        container.delete(engine, other)


def test_a_port_taken_at_the_last_moment_leaves_nothing_behind(
    engine: Engine, base_image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        taken = server.getsockname()[1]
        monkeypatch.setattr("devkit.ports.refuse_taken", lambda *_, **__: None)
        with pytest.raises(PortInUse, match=rf"Port {taken} .*the process"):
            container.start(engine, spec(base_image, ports={"score": taken, "debug": "auto"}))
    assert engine.container(SERVICE) is None
    # The network went too: a new one of that name is ours again.
    engine.ensure_network(container.network_name(SERVICE), {contract.LABEL_SERVICE: SERVICE})


def test_a_container_of_that_name_that_is_not_ours_is_left_alone(
    engine: Engine, base_image: str
) -> None:
    foreign = engine.run(replace(spec(base_image), labels={}, network=None, ports=()))
    try:
        for act in (
            lambda: container.start(engine, spec(base_image)),
            lambda: container.stop(engine, SERVICE),
            lambda: container.delete(engine, SERVICE),
        ):
            with pytest.raises(NotOurs):
                act()
        assert engine.container(SERVICE) == foreign
    finally:
        engine.remove(foreign.id)


def ended(engine: Engine, name: str) -> None:
    """Wait until the engine has seen the end of a container."""
    for _ in engine.logs(name, follow=True):
        pass
    for _ in range(200):
        found = engine.container(name)
        if found is None or not found.is_running:
            return
        threading.Event().wait(0.05)
    raise AssertionError(f"{name} still runs")


def test_a_service_that_dies_is_told_with_its_signal_and_last_lines(
    engine: Engine, base_image: str
) -> None:
    container.start(engine, spec(base_image, "echo the last words; kill -SEGV $$"))
    ended(engine, SERVICE)
    with pytest.raises(ContainerDied, match=r"SIGSEGV[^$]*the last words"):
        container.check_alive(engine, SERVICE)


def test_a_service_that_needs_too_much_memory_is_told(engine: Engine, base_image: str) -> None:
    script = "exec python3 -c 'x = bytearray(500_000_000)'"
    container.start(engine, spec(base_image, script, run={"memory": "32m"}))
    ended(engine, SERVICE)
    with pytest.raises(OutOfMemory, match="more memory"):
        container.check_alive(engine, SERVICE)
