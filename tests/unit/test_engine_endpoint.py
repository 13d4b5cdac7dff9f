from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from devkit.engines import connect
from devkit.engines.endpoint import Endpoint, endpoints
from devkit.errors import BadValue, NoEngine


@pytest.fixture(autouse=True)
def docker_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A docker CLI configuration with the context "far"; "default" is current."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(name, raising=False)
    meta = tmp_path / "contexts/meta" / hashlib.sha256(b"far").hexdigest() / "meta.json"
    meta.parent.mkdir(parents=True)
    endpoint = {"docker": {"Host": "tcp://192.0.2.1:2375", "SkipTLSVerify": False}}
    meta.write_text(json.dumps({"Name": "far", "Metadata": {}, "Endpoints": endpoint}))
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


def urls(found: tuple[Endpoint, ...]) -> list[str]:
    return [endpoint.url for endpoint in found]


def test_with_nothing_said_it_is_the_default_socket_then_podmans() -> None:
    assert urls(endpoints(None, environment={"XDG_RUNTIME_DIR": "/run/user/7"})) == [
        "unix:///var/run/docker.sock",
        "unix:///run/user/7/podman/podman.sock",
        "unix:///run/podman/podman.sock",
    ]


def test_docker_alone_leaves_podman_out_and_podman_docker() -> None:
    assert urls(endpoints("docker", environment={})) == ["unix:///var/run/docker.sock"]
    assert urls(endpoints("podman", environment={})) == ["unix:///run/podman/podman.sock"]


def test_what_was_named_is_the_only_one_and_the_nearest_name_wins(docker_config: Path) -> None:
    environment = {"DOCKER_HOST": "tcp://192.0.2.9:1", "DOCKER_CONTEXT": "far"}
    assert urls(endpoints(None, host="unix:///x", environment=environment)) == ["unix:///x"]
    assert urls(endpoints(None, context="far", environment=environment)) == ["tcp://192.0.2.1:2375"]
    assert urls(endpoints(None, environment=environment)) == ["tcp://192.0.2.9:1"]
    del environment["DOCKER_HOST"]
    assert urls(endpoints(None, environment=environment)) == ["tcp://192.0.2.1:2375"]


def test_the_current_context_of_the_docker_cli_is_used(docker_config: Path) -> None:
    (docker_config / "config.json").write_text('{"currentContext": "far"}')
    (found,) = endpoints(None, environment={})
    assert found.url == "tcp://192.0.2.1:2375"
    assert found.cli == ("--context", "far")


def test_a_current_context_that_is_gone_is_an_error_and_not_another_engine(
    docker_config: Path,
) -> None:
    (docker_config / "config.json").write_text('{"currentContext": "gone"}')
    with pytest.raises(NoEngine, match="'gone'"):
        endpoints(None, environment={})


def test_a_context_file_that_is_broken_is_named(docker_config: Path) -> None:
    next(docker_config.glob("contexts/meta/*/meta.json")).write_text("{")
    with pytest.raises(NoEngine, match="'far' cannot be read"):
        endpoints(None, context="far")


def test_host_and_context_together_are_refused() -> None:
    with pytest.raises(BadValue, match="--host and --context"):
        endpoints(None, host="unix:///x", context="far")


def test_tls_files_that_are_missing_are_told(tmp_path: Path) -> None:
    environment = {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(tmp_path)}
    with pytest.raises(NoEngine, match="TLS"):
        endpoints(None, host="tcp://192.0.2.1:2376", environment=environment)


def test_the_sdk_and_the_docker_cli_get_the_same_address() -> None:
    (found,) = endpoints(None, environment={"DOCKER_HOST": "unix:///run/x.sock"})
    assert found.cli == ("--host", "unix:///run/x.sock")
    assert str(found) == "unix:///run/x.sock (DOCKER_HOST)"


def test_an_unknown_kind_names_the_known_ones() -> None:
    with pytest.raises(BadValue, match="'rkt'") as refused:
        connect("rkt")
    assert "docker, podman, process" in (refused.value.hint or "")


def test_where_none_answers_all_that_were_tried_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(NoEngine, match=rf"{tmp_path}/podman/podman\.sock .*/run/podman") as missing:
        connect("podman")
    assert "--engine process" in (missing.value.hint or "")


def test_ssh_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("devkit.engines.docker_client.find_spec", lambda _: None)
    with pytest.raises(NoEngine, match="paramiko is not installed") as missing:
        connect(host="ssh://somebody@far")
    assert "pip install 'devkit[ssh]'" in (missing.value.hint or "")
