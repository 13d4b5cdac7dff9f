from __future__ import annotations

import pytest

from devkit.engine import PortBinding, RunSpec, Tag
from devkit.engines.docker_values import (
    changes,
    command_line,
    engine_info,
    gpu_request,
    host_config,
    without_init,
)
from devkit.errors import BadValue

SPEC = RunSpec(
    image=Tag("debug", "1"),
    name="iris",
    labels={"devkit.service": "iris"},
    env={"PASSWORD": "secret"},
    ports=(PortBinding(5001, 8000), PortBinding(5678, 0)),
    network="devkit-iris",
    user="1000",
    memory="512m",
    cpus=1.5,
    read_only=True,
    command=("sh", "-c", "a b"),
)


def test_the_command_to_retype_has_everything_but_the_values_of_variables() -> None:
    assert command_line(SPEC) == (
        "docker run --detach --init --name iris -p 127.0.0.1:8000:5001 -p 127.0.0.1::5678 "
        "-e PASSWORD --network devkit-iris --user 1000 --memory 512m --cpus 1.5 --cap-drop ALL "
        "--security-opt no-new-privileges --read-only --tmpfs /tmp:exec debug:1 sh -c 'a b'"
    )


def test_a_container_is_hardened_unless_it_says_otherwise() -> None:
    assert host_config(SPEC)["cap_drop"] == ["ALL"]
    assert host_config(SPEC)["security_opt"] == ["no-new-privileges:true"]
    soft = RunSpec(Tag("x", "1"), "x", {}, {}, (), hardened=False)
    assert host_config(soft) == {"port_bindings": {}, "init": True, "read_only": False}


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("all", {"Count": -1, "Capabilities": [["gpu"]]}),
        ("2", {"Count": 2, "Capabilities": [["gpu"]]}),
        ("device=0,GPU-3a2", {"DeviceIDs": ["0", "GPU-3a2"], "Capabilities": [["gpu"]]}),
    ],
)
def test_gpus_are_said_as_to_docker(text: str, request_: dict[str, object]) -> None:
    assert gpu_request(text) == request_


@pytest.mark.parametrize("text", ["", "0", "some", "device=", "-1"])
def test_other_words_name_no_gpus(text: str) -> None:
    with pytest.raises(BadValue):
        gpu_request(text)


def test_podman_is_told_by_its_components() -> None:
    version = {"Version": "4.3.1", "Os": "linux", "Arch": "amd64"}
    podman = engine_info({**version, "Components": [{"Name": "Podman Engine"}]}, "unix:///p")
    docker = engine_info({**version, "Components": [{"Name": "Engine"}]}, "unix:///d")
    assert (podman.name, docker.name) == ("podman", "docker")


def test_the_engine_s_own_first_process_is_no_change_and_a_user_s_file_of_that_name_is() -> None:
    mine = "/var/azureml-app/svc/docker-init"
    paths = ["/usr/sbin/docker-init", "/sbin/docker-init", mine]
    found = without_init(changes([{"Path": path, "Kind": 1} for path in paths]))
    assert [str(change.path) for change in found] == [mine]
