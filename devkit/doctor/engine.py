"""Doctor: is there an engine, may this user use it, is it new enough, has it room."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from devkit import ports
from devkit.diagnose.finding import Finding
from devkit.doctor.check import Machine, Seen, unseen
from devkit.doctor.reach import Reach
from devkit.doctor.socket_rights import denied
from devkit.engine import EngineInfo
from devkit.errors import DevkitError, EngineDenied

# The oldest that devkit's tests run on.
_OLDEST = {"docker": (20, 10), "podman": (4, 0)}
_GIB = 1 << 30
_FULL_BYTES, _TIGHT_BYTES = _GIB, 5 * _GIB
_FULL_FILES = 10_000
_WITHOUT = "--engine process"
# Where engines of a user's own listen, below the home folder.
_OWN_SOCKETS = (
    ".docker/run/docker.sock",
    ".docker/desktop/docker.sock",
    ".colima/default/docker.sock",
    ".orbstack/run/docker.sock",
    ".rd/docker.sock",
)


def answers(machine: Machine, reach: Reach) -> Seen:
    """Reachable, permitted, new enough."""
    try:
        engine = reach.engine()
    except EngineDenied as error:
        finding = denied(error)
        return Seen(finding.title, (finding,))
    except DevkitError as error:
        finding = _unreachable(error, machine)
        return Seen(finding.title, (finding,))
    info = engine.info()
    text = f"{info.name} {info.version} at {info.endpoint}, {info.os}/{info.architecture}"
    return Seen(text, tuple(_old(info)))


def has_room(_machine: Machine, reach: Reach) -> Seen:
    """Space and files left where the engine keeps images and containers."""
    engine = reach.engine_or_none()
    if engine is None or engine.name == "process":
        return unseen("no engine to look at" if engine is None else "none is needed by processes")
    folder = Path(str(reach.details().get("DockerRootDir") or ""))
    if not ports.is_local(engine.info().endpoint) or not folder.is_dir():
        return unseen(
            "the engine keeps its files on a machine of its own; `docker system df` tells"
        )
    return _room(folder)


def has_buildx(_machine: Machine, reach: Reach) -> Seen:
    """BuildKit's client."""
    from devkit.engines import buildx

    engine = reach.engine_or_none()
    if engine is not None and engine.name != "docker":
        return unseen(f"not used with {engine.name}")
    if buildx.is_installed():
        return Seen("installed")
    finding = Finding(
        "buildx-missing",
        "note",
        "docker buildx is not installed.",
        "The engine's own builder is used: it caches no downloads, and takes no build secrets.",
        "Install Docker's package docker-buildx-plugin, or Debian's docker-buildx.",
    )
    return Seen("not installed; the engine's own builder is used", (finding,))


def start_command(system: Path = Path("/")) -> str:
    """What starts an engine here."""
    if sys.platform == "darwin":
        return "open -a Docker"
    if not shutil.which("dockerd") and shutil.which("podman"):
        return "systemctl --user start podman.socket"
    if (system / "run/systemd/system").is_dir():
        return "sudo systemctl start docker"
    if (system / "etc/init.d/docker").exists():
        return "sudo service docker start"
    return "sudo dockerd" if shutil.which("dockerd") else ""


def _old(info: EngineInfo) -> Iterator[Finding]:
    numbers = tuple(map(int, re.findall(r"\d+", info.version)[:2]))
    oldest = _OLDEST.get(info.name)
    if oldest and numbers and numbers < oldest:
        wanted = ".".join(map(str, oldest))
        yield Finding(
            "engine-old",
            "warning",
            f"{info.name} {info.version} is older than {wanted}.",
            f"devkit is tested with {wanted} and later; an older engine may lack what it asks for.",
            f"Update {info.name}.",
        )


def _unreachable(error: DevkitError, machine: Machine) -> Finding:
    command, cause = start_command(machine.system), error.message
    remedy = f"Type: {command}" if command else "Install Docker or Podman."
    if others := list(_other_sockets()):
        cause += f" Another engine's socket is at {others[0]}."
        remedy = f"Type: export DOCKER_HOST=unix://{others[0]}   or choose its `docker context`."
    elif any(machine.engine.values()) or os.environ.get("DOCKER_HOST"):
        # An address that somebody named: to start another one would not help.
        remedy = error.hint or remedy
    if _WITHOUT not in remedy:
        remedy += f" Without one: {_WITHOUT} runs the service as a process."
    title = "No container engine answers."
    # The error's first sentence may be the title's.
    return Finding("engine-unreachable", "error", title, cause.removeprefix(f"{title} "), remedy)


def _other_sockets() -> Iterator[Path]:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    own = [Path(runtime, "docker.sock")] if runtime else []
    for path in [*own, *(Path.home() / name for name in _OWN_SOCKETS)]:
        if path.is_socket():
            yield path


def _room(folder: Path) -> Seen:
    free = shutil.disk_usage(folder).free
    return judged(folder, free, os.statvfs(folder).f_favail, os.statvfs(folder).f_files)


def judged(folder: Path, free: int, free_files: int, all_files: int) -> Seen:
    """Say whether that is enough; a file system that counts no files has 0 in all."""
    text = f"{free / _GIB:.1f} GiB free at {folder}"
    is_full = free < _FULL_BYTES or (all_files > 0 and free_files < _FULL_FILES)
    if not is_full and free >= _TIGHT_BYTES:
        return Seen(text)
    cause = f"{text}; an image with its packages takes 0.3 to 5 GiB while it is built."
    if free >= _FULL_BYTES:
        cause = f"{free_files} more files fit there." if is_full else cause
    finding = Finding(
        "disk-full" if is_full else "disk-tight",
        "error" if is_full else "warning",
        f"The engine's disk is {'full' if is_full else 'almost full'}.",
        cause,
        "`docker system df` shows what takes it; `docker image prune` and `docker builder prune` "
        "remove what nothing uses.",
    )
    return Seen(text, (finding,))
