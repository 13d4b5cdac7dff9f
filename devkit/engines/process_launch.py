"""How a service starts as a process: its ports, its environment, its supervisor."""

from __future__ import annotations

import logging
import os
import secrets
import shlex
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from devkit import ports
from devkit.contract import (
    DEBUG_PORT,
    ENV_DEBUG_ADDRESS,
    ENV_SCORE_ADDRESS,
    LABEL_RUN,
    SCORE_PORT,
)
from devkit.engine import Image, PortBinding, RunSpec
from devkit.engines import process_image
from devkit.engines.process_container import SPEC, ProcessContainer
from devkit.engines.supervisor import EXIT, LAUNCH, STATE, write_json
from devkit.errors import EngineError, PortInUse

log = logging.getLogger(__name__)

_ADDRESSES = {SCORE_PORT: ENV_SCORE_ADDRESS, DEBUG_PORT: ENV_DEBUG_ADDRESS}
# Of the caller's environment: what would lead the service's Python, or the runtime, astray.
_NOT_INHERITED = ("PYTHON", "VIRTUAL_ENV", "DEVKIT_", "AZUREML_", "AML_")


def claimed(
    wanted: Sequence[PortBinding], *, given: Collection[tuple[str, int]]
) -> tuple[PortBinding, ...]:
    """Choose ports for 0.

    Args:
        wanted: the ports that were asked for.
        given: addresses that other services have, whether they listen yet or not.

    Raises:
        PortInUse: one is taken.
    """
    bindings = ports.chosen(wanted, own=given)
    for binding in bindings:
        address = (binding.bind, binding.host_port)
        if address in given or not ports.is_free(*address):
            raise PortInUse(
                f"Port {binding.host_port} of this machine is already in use.",
                hint='Choose another port, or "auto" for a free one.',
            )
    return bindings


def prepare(
    container: ProcessContainer,
    spec: RunSpec,
    image: Image,
    images: process_image.ImageStore,
    bindings: Sequence[PortBinding],
) -> None:
    """Write down what was asked, and make the application root."""
    content, runtime = images.content(image.id), images.runtime(image.id)
    process_image.place(content["placements"], container.root)
    python = Path(content["python"])
    env = {
        **_inherited(python),
        **process_image.translated({**image.env, **spec.env}, container.root, runtime),
        **_addresses(bindings),
        "AML_APP_ROOT": str(container.root),
    }
    command = list(spec.command or (str(python), str(runtime)))
    write_json(
        container.folder / LAUNCH, {"command": command, "env": env, "cwd": str(container.root)}
    )
    asked: dict[str, object] = {
        "id": secrets.token_hex(32),
        "name": spec.name,
        "image": str(spec.image),
        "image_id": image.id,
        "labels": {**image.labels, **spec.labels, LABEL_RUN: secrets.token_hex(16)},
        "env": dict(spec.env),
        "ports": [[it.container_port, it.bind, it.host_port] for it in bindings],
    }
    write_json(container.folder / SPEC, asked)
    log.info("%s", shlex.join(command))


def launch(container: ProcessContainer) -> None:
    """Start what was written down.

    Raises:
        EngineError: its command does not start.
    """
    for old in (EXIT, STATE):
        (container.folder / old).unlink(missing_ok=True)
    done = subprocess.run(
        (sys.executable, "-m", "devkit.engines.supervisor", str(container.folder)),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise EngineError(
            f"The service could not be started: {done.stderr.strip()}.",
            hint="`devkit package --no-cache` makes its environment again.",
        )


def _addresses(bindings: Sequence[PortBinding]) -> dict[str, str]:
    """Tell the runtime to listen where a container would have published its ports."""
    return {
        _ADDRESSES[binding.container_port]: f"{binding.bind}:{binding.host_port}"
        for binding in bindings
        if binding.container_port in _ADDRESSES
    }


def _inherited(python: Path) -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)
    }
    path = f"{python.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {**kept, "PATH": path, "VIRTUAL_ENV": str(python.parent.parent)}
