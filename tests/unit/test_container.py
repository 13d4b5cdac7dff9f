from __future__ import annotations

import dataclasses
import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from devkit import container, contract
from devkit.config import Config
from devkit.container import Removed
from devkit.engine import Container, EngineInfo, PortBinding, RunSpec, Tag
from devkit.errors import (
    BadValue,
    ContainerDied,
    NoService,
    NotOurs,
    OutOfMemory,
    PortInUse,
    RemoteDebugRefused,
)
from devkit.run_spec import RunOptions, spec_of
from tests.fake_engine import FakeEngine

TAG = Tag("debug", "1")


class LocalEngine(FakeEngine):
    """A fake whose ports are this machine's."""

    def info(self) -> EngineInfo:
        return dataclasses.replace(super().info(), endpoint="unix:///var/run/docker.sock")


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine("debug:1")


@pytest.fixture
def listener() -> Iterator[int]:
    """A port of this machine that this process holds."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield server.getsockname()[1]


def config(**changes: object) -> Config:
    return Config.model_validate({"service": "iris", **changes})


def spec(
    root: Path = Path("/w"), *, options: RunOptions | None = None, **changes: object
) -> RunSpec:
    return spec_of(config(**changes), TAG, workspace_root=root, options=options)


# --- what to run


def test_a_service_runs_on_loopback_in_its_own_network_under_its_name() -> None:
    made = spec()
    assert made.name == "iris"
    assert made.network == "devkit-iris"
    assert made.ports == (
        PortBinding(5001, 8000, "127.0.0.1"),
        PortBinding(5678, 5678, "127.0.0.1"),
    )
    assert made.user == "1000"
    assert made.hardened
    assert made.labels[contract.LABEL_SERVICE] == "iris"
    assert made.labels[contract.LABEL_WORKSPACE] == "/w"


def test_limits_and_a_read_only_root_come_from_the_run_section() -> None:
    made = spec(
        run={"memory": "512m", "cpus": 1.5, "gpus": "all", "read_only": True, "user": "0:0"}
    )
    assert (made.memory, made.cpus, made.gpus, made.read_only, made.user) == (
        "512m",
        1.5,
        "all",
        True,
        "0:0",
    )


def test_the_runtime_section_reaches_the_runtime_by_variables() -> None:
    made = spec(
        runtime={
            "status": "raw",
            "reload": "hot",
            "workers": 3,
            "scoring_timeout_ms": 9,
            "max_concurrent_requests": 2,
            "max_queue_wait_ms": 7,
        },
        debug={"wait_for_client": True},
    )
    assert made.env == {
        "DEVKIT_DEBUG": "1",
        "DEVKIT_WAIT_FOR_CLIENT": "1",
        "DEVKIT_RELOAD": "hot",
        "DEVKIT_STATUS": "raw",
        "DEVKIT_WORKERS": "3",
        "DEVKIT_MAX_CONCURRENT_REQUESTS": "2",
        "DEVKIT_MAX_QUEUE_WAIT_MS": "7",
        "DEVKIT_RECORD": "20",
        "DEVKIT_SHOW_ERRORS": "1",
        "DEVKIT_DEBUG_CLIENTS": "host",
        "SCORING_TIMEOUT_MS": "9",
    }


def test_without_the_debugger_its_port_is_not_published() -> None:
    made = spec(options=RunOptions(debug=False), debug={"wait_for_client": True})
    assert [port.container_port for port in made.ports] == [5001]
    assert made.env["DEVKIT_DEBUG"] == "0"
    assert made.env["DEVKIT_WAIT_FOR_CLIENT"] == "0"


def test_the_users_variables_come_from_the_file_then_from_the_section(tmp_path: Path) -> None:
    (tmp_path / "dev.env").write_text("A=file\nB=file\n")
    made = spec(tmp_path, run={"env": {"B": "section"}, "env_file": "dev.env"})
    assert (made.env["A"], made.env["B"]) == ("file", "section")


def test_the_users_variables_cannot_open_the_debugger_to_everybody() -> None:
    made = spec(run={"env": {"DEVKIT_DEBUG_CLIENTS": "any", "SCORING_TIMEOUT_MS": "5"}})
    assert made.env["DEVKIT_DEBUG_CLIENTS"] == "host"
    assert made.env["SCORING_TIMEOUT_MS"] == "5"


def test_a_debugger_beyond_loopback_is_refused_with_what_it_means() -> None:
    with pytest.raises(RemoteDebugRefused, match="any code") as refused:
        spec(options=RunOptions(bind="0.0.0.0"))
    assert "--allow-remote-debug" in (refused.value.hint or "")


@pytest.mark.parametrize(
    "options",
    [
        RunOptions(bind="0.0.0.0", allow_remote_debug=True),
        RunOptions(bind="0.0.0.0", debug=False),
        RunOptions(bind="::1"),
        RunOptions(bind="127.0.0.2"),
    ],
)
def test_other_addresses_are_bound_as_asked(options: RunOptions) -> None:
    assert {port.bind for port in spec(options=options).ports} == {options.bind}


def test_clients_from_elsewhere_are_let_in_only_where_that_was_allowed() -> None:
    allowed = spec(options=RunOptions(bind="0.0.0.0", allow_remote_debug=True))
    assert allowed.env["DEVKIT_DEBUG_CLIENTS"] == "any"


def test_a_name_is_no_address_to_bind() -> None:
    with pytest.raises(BadValue, match="example"):
        spec(options=RunOptions(bind="example"))


# --- start


def test_a_start_makes_the_network_and_the_container(engine: FakeEngine) -> None:
    started = container.start(engine, spec())
    assert started.is_running
    assert started.ports == {5001: ("127.0.0.1", 8000), 5678: ("127.0.0.1", 5678)}
    assert engine.networks["devkit-iris"][contract.LABEL_SERVICE] == "iris"


def test_an_automatic_port_is_a_free_one_of_this_machine(engine: FakeEngine) -> None:
    started = container.start(engine, spec(ports={"score": "auto", "debug": "auto"}))
    chosen = [port for _, port in started.ports.values()]
    assert len(set(chosen)) == 2
    for port in chosen:
        with closing(socket.create_server(("127.0.0.1", port))):
            pass


def test_a_container_of_the_same_service_is_replaced_and_that_is_said(engine: FakeEngine) -> None:
    said: list[str] = []
    first = container.start(engine, spec())
    second = container.start(engine, spec(), progress=said.append)
    assert first.id != second.id
    assert engine.container(first.id) is None
    assert said == ["Replacing the container iris"]
    assert engine.calls == ["run iris", "stop iris", "remove iris", "run iris"]


def test_a_container_that_is_not_ours_is_left_alone(engine: FakeEngine) -> None:
    foreign = engine.run(RunSpec(TAG, "iris", {}, {}, ()))
    for act in (
        lambda: container.start(engine, spec()),
        lambda: container.stop(engine, "iris"),
        lambda: container.delete(engine, "iris"),
    ):
        with pytest.raises(NotOurs, match="iris"):
            act()
    assert engine.container("iris") == foreign


def test_a_failed_start_leaves_no_network(engine: FakeEngine) -> None:
    engine.taken_ports.add(8000)
    with pytest.raises(PortInUse):
        container.start(engine, spec())
    assert engine.networks == {}
    assert engine.boxes == {}


def test_a_taken_port_names_the_process_and_a_free_port(listener: int) -> None:
    engine = LocalEngine("debug:1")
    with pytest.raises(
        PortInUse, match=rf"Port {listener} .* the process .* \({os.getpid()}\)"
    ) as e:
        container.start(engine, spec(ports={"score": listener, "debug": "auto"}))
    assert "--port " in (e.value.hint or "")
    assert engine.boxes == {}


def test_a_taken_debugger_port_names_its_own_option(listener: int) -> None:
    with pytest.raises(PortInUse) as refused:
        container.start(LocalEngine("debug:1"), spec(ports={"score": "auto", "debug": listener}))
    assert "--debug-port auto" in (refused.value.hint or "")


def test_a_taken_port_names_the_container_that_has_it(listener: int) -> None:
    engine = LocalEngine("debug:1")
    engine.run(RunSpec(TAG, "web", {}, {}, (PortBinding(80, listener),)))
    with pytest.raises(PortInUse, match="the container web"):
        container.start(engine, spec(ports={"score": listener, "debug": "auto"}))


def test_a_container_is_not_replaced_when_the_new_one_could_not_start(listener: int) -> None:
    engine = LocalEngine("debug:1")
    first = container.start(engine, spec(ports={"score": "auto", "debug": "auto"}))
    with pytest.raises(PortInUse):
        container.start(engine, spec(ports={"score": listener, "debug": "auto"}))
    assert engine.container("iris") == first


def test_a_container_is_replaced_on_its_own_ports() -> None:
    engine = LocalEngine("debug:1")
    first = container.start(engine, spec(ports={"score": "auto", "debug": "auto"}))
    score, debug = first.ports[5001][1], first.ports[5678][1]
    with closing(socket.create_server(("127.0.0.1", score))):
        second = container.start(engine, spec(ports={"score": score, "debug": debug}))
    assert second.ports == first.ports


def test_an_interrupted_start_leaves_no_network() -> None:
    class Interrupted(FakeEngine):
        def run(self, spec: RunSpec) -> Container:
            raise KeyboardInterrupt

    engine = Interrupted("debug:1")
    with pytest.raises(KeyboardInterrupt):
        container.start(engine, spec())
    assert engine.networks == {}


# --- find, stop, delete


def test_a_service_is_found_by_its_labels(engine: FakeEngine, tmp_path: Path) -> None:
    started = container.start(engine, spec(tmp_path))
    assert container.find(engine, service="iris") == started
    assert container.find(engine, workspace=tmp_path) == started
    assert container.find(engine, service="other") is None
    assert container.find(engine, workspace=tmp_path / "other") is None


def test_stopping_keeps_the_container_and_deleting_leaves_nothing(engine: FakeEngine) -> None:
    started = container.start(engine, spec())
    container.stop(engine, "iris")
    assert not engine.boxes["iris"].container.is_running
    there = Removed(container=True, network=True)
    assert container.delete(engine, "iris", only=started.id) == there
    assert (engine.boxes, engine.networks) == ({}, {})
    nothing = Removed(container=False, network=False)
    assert container.delete(engine, "iris", only=started.id) == nothing


def test_a_container_that_took_the_place_of_the_one_to_delete_stays(engine: FakeEngine) -> None:
    first = container.start(engine, spec())
    second = container.start(engine, spec())
    nothing = Removed(container=False, network=False)
    assert container.delete(engine, "iris", only=first.id) == nothing
    assert container.find(engine, service="iris") == second
    assert set(engine.networks) == {"devkit-iris"}


@pytest.mark.parametrize("image_has_mark", [False, True])
def test_a_container_that_has_all_its_labels_from_its_image_is_not_ours(
    engine: FakeEngine, image_has_mark: bool
) -> None:
    mark = {contract.LABEL_RUN: "0" * 32} if image_has_mark else {}
    made = container.start(engine, spec())
    image_labels = {**made.labels, **mark}
    engine.add_image("evil:1", labels=image_labels)
    labels = {k: v for k, v in image_labels.items() if image_has_mark or k != contract.LABEL_RUN}
    evil = engine.stored["evil:1"].id
    box = engine.boxes["iris"]
    box.container = dataclasses.replace(box.container, image_id=evil, labels=labels)
    assert container.find(engine, service="iris") is None
    assert container.services(engine) == []
    with pytest.raises(NotOurs):
        container.stop(engine, "iris")
    with pytest.raises(NotOurs):
        container.start(engine, spec())
    with pytest.raises(NotOurs):
        container.delete(engine, "iris")
    assert box.container.is_running


def test_a_container_with_another_name_than_its_service_is_not_ours(engine: FakeEngine) -> None:
    engine.run(dataclasses.replace(spec(), name="decoy"))
    assert container.find(engine, service="iris") is None


def test_stopping_a_service_that_is_not_there_says_so(engine: FakeEngine) -> None:
    with pytest.raises(NoService, match="iris"):
        container.stop(engine, "iris")


def test_deleting_leaves_other_services_alone(engine: FakeEngine) -> None:
    started = container.start(engine, spec())
    container.start(engine, spec(service="other", ports={"score": "auto", "debug": "auto"}))
    container.delete(engine, "iris", only=started.id)
    assert set(engine.boxes) == {"other"}
    assert set(engine.networks) == {"devkit-other"}


# --- alive


def test_a_running_container_is_alive(engine: FakeEngine) -> None:
    started = container.start(engine, spec())
    assert container.check_alive(engine, started.id) == started


def test_a_container_that_died_is_told_with_its_signal_and_last_lines(engine: FakeEngine) -> None:
    container.start(engine, spec())
    engine.end("iris", 139, log=b"one\ntwo\n")
    with pytest.raises(ContainerDied, match=r"SIGSEGV .*code 139[^$]*\n  one\n  two$"):
        container.check_alive(engine, "iris")


def test_a_container_killed_for_its_memory_is_told_apart(engine: FakeEngine) -> None:
    container.start(engine, spec())
    engine.end("iris", 137, oom_killed=True)
    with pytest.raises(OutOfMemory, match="more memory") as died:
        container.check_alive(engine, "iris")
    assert "--memory" in (died.value.hint or "")


def test_a_container_that_is_gone_is_told(engine: FakeEngine) -> None:
    with pytest.raises(NoService, match="iris"):
        container.check_alive(engine, "iris")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "with code 0"),
        (3, "with code 3"),
        (137, "by the signal SIGKILL (Killed), code 137"),
        (143, "by the signal SIGTERM (Terminated), code 143"),
        (255, "with code 255"),
    ],
)
def test_an_exit_code_is_said_in_words(code: int, words: str) -> None:
    assert container.exit_meaning(code) == words
