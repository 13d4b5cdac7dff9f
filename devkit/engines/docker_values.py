"""What the engine's API says, as devkit's values; and a RunSpec as what the API wants. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Literal

from devkit.engine import Container, EngineInfo, FileChange, Image, Mount, RunSpec
from devkit.errors import BadValue

# Steps on the way that Docker does not name.
_PODMAN_STATES = {
    "configured": "created",
    "initialized": "created",
    "stopping": "running",
    "stopped": "exited",
}
# An empty file, over which the engine mounts the first process of a container with --init.
_INITS = tuple(
    map(PurePosixPath, ("/sbin/docker-init", "/usr/sbin/docker-init", "/run/podman-init"))
)
_KINDS: dict[int, Literal["modified", "added", "deleted"]] = {
    0: "modified",
    1: "added",
    2: "deleted",
}


def engine_info(version: Mapping[str, Any], endpoint: str) -> EngineInfo:
    """Read the answer of /version."""
    components = [str(part.get("Name", "")) for part in version.get("Components") or ()]
    is_podman = any("podman" in name.lower() for name in components)
    return EngineInfo(
        name="podman" if is_podman else "docker",
        version=str(version.get("Version", "")),
        endpoint=endpoint,
        os=str(version.get("Os", "")),
        architecture=str(version.get("Arch", "")),
    )


def image(answer: Mapping[str, Any]) -> Image:
    """Read an image's inspection."""
    config = answer.get("Config") or {}
    return Image(
        id=answer["Id"],
        tags=tuple(answer.get("RepoTags") or ()),
        labels=dict(config.get("Labels") or {}),
        env=dict(_pair(entry) for entry in config.get("Env") or ()),
        size_bytes=int(answer.get("Size") or 0),
        created=str(answer.get("Created") or ""),
        layers=tuple((answer.get("RootFS") or {}).get("Layers") or ()),
    )


def container(answer: Mapping[str, Any]) -> Container:
    """Read a container's inspection."""
    state, config = answer["State"], answer["Config"]
    status = _PODMAN_STATES.get(state["Status"], state["Status"])
    runs = status in ("running", "paused", "restarting")
    return Container(
        id=answer["Id"],
        name=answer["Name"].lstrip("/"),
        image=config["Image"],
        image_id=answer["Image"],
        state=status,
        exit_code=None if runs or status == "created" else int(state["ExitCode"]),
        oom_killed=bool(state.get("OOMKilled")),
        labels=dict(config.get("Labels") or {}),
        ports=_ports(answer, runs=runs),
        started_at=str(state.get("StartedAt") or ""),
        env=dict(_pair(entry) for entry in config.get("Env") or ()),
        mounts=tuple(_mounts(answer)),
    )


def changes(answer: Sequence[Mapping[str, Any]] | None) -> list[FileChange]:
    """Read what `docker diff` says; null means nothing."""
    return [FileChange(PurePosixPath(it["Path"]), _KINDS[it["Kind"]]) for it in answer or ()]


def without_init(changes: Iterable[FileChange]) -> list[FileChange]:
    """Leave out what the engine itself puts into a container that is started with --init."""
    return [change for change in changes if change.path not in _INITS]


def host_config(spec: RunSpec) -> dict[str, Any]:
    """Return the keyword arguments of the SDK's create_host_config."""
    arguments: dict[str, Any] = {
        "port_bindings": {
            port.container_port: (port.bind, port.host_port or None) for port in spec.ports
        },
        "network_mode": spec.network,
        "init": True,
        "mem_limit": spec.memory,
        "nano_cpus": None if spec.cpus is None else int(spec.cpus * 1e9),
        "read_only": spec.read_only,
        "device_requests": None if spec.gpus is None else [gpu_request(spec.gpus)],
    }
    if spec.hardened:
        arguments |= {"cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"]}
    if spec.read_only:
        # Docker's own default for a tmpfs is noexec, which breaks libraries that map compiled code.
        arguments["tmpfs"] = {"/tmp": "rw,exec,nosuid,nodev,mode=1777"}
    return {key: value for key, value in arguments.items() if value is not None}


def gpu_request(text: str) -> dict[str, Any]:
    """Read `--gpus` as docker does: "all", a number, or "device=0,1".

    Raises:
        BadValue: anything else.
    """
    capabilities = [["gpu"]]
    if text == "all":
        return {"Count": -1, "Capabilities": capabilities}
    if text.isdecimal() and int(text) > 0:
        return {"Count": int(text), "Capabilities": capabilities}
    if match := re.fullmatch(r'"?device=([\w\-,]+)"?', text):
        return {"DeviceIDs": match[1].split(","), "Capabilities": capabilities}
    raise BadValue(f"{text!r} names no GPUs.", hint='Use "all", a number, or "device=0,1".')


def command_line(spec: RunSpec) -> str:
    """Return the `docker run` that does the same, to be retyped; without variables' values."""
    words = ["docker", "run", "--detach", "--init", "--name", spec.name]
    for port in spec.ports:
        words += ["-p", f"{port.bind}:{port.host_port or ''}:{port.container_port}"]
    for name in spec.env:
        words += ["-e", name]
    for option, value in (
        ("--network", spec.network),
        ("--user", spec.user),
        ("--memory", spec.memory),
        ("--cpus", spec.cpus),
        ("--gpus", spec.gpus),
    ):
        words += [] if value is None else [option, str(value)]
    words += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges"] if spec.hardened else []
    words += ["--read-only", "--tmpfs", "/tmp:exec"] if spec.read_only else []
    return shlex.join([*words, str(spec.image), *(spec.command or ())])


def _ports(answer: Mapping[str, Any], *, runs: bool) -> dict[int, tuple[str, int]]:
    if runs:
        published = (answer.get("NetworkSettings") or {}).get("Ports") or {}
    else:
        published = (answer.get("HostConfig") or {}).get("PortBindings") or {}
    return {
        int(port.partition("/")[0]): (bindings[0]["HostIp"], int(bindings[0]["HostPort"]))
        for port, bindings in published.items()
        if bindings and bindings[0]["HostPort"] not in ("", "0")
    }


def _mounts(answer: Mapping[str, Any]) -> Iterator[Mount]:
    for mount in answer.get("Mounts") or ():
        # Others are named pipes, and what only Windows and clusters have.
        if mount.get("Type") in ("bind", "volume", "tmpfs"):
            yield Mount(PurePosixPath(mount["Destination"]), mount["Type"])
    for path in (answer.get("HostConfig") or {}).get("Tmpfs") or ():
        yield Mount(PurePosixPath(path), "tmpfs")


def _pair(entry: str) -> tuple[str, str]:
    name, _, value = entry.partition("=")
    return name, value
