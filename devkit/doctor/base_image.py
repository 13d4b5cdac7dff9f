"""Doctor: is the base image of this workspace here, or can the engine pull it."""

from __future__ import annotations

import os
from contextlib import suppress

from devkit.config import Workspace
from devkit.diagnose.finding import Finding
from devkit.doctor.check import Machine, Seen, unseen
from devkit.doctor.reach import Reach
from devkit.engine import Engine
from devkit.errors import ConfigError, Unsupported
from devkit.package import dockerfile, environment, image


def is_there(machine: Machine, reach: Reach) -> Seen:
    """Here, or to be had: the engine asks the registry, and nothing is pulled."""
    engine = reach.engine_or_none()
    if engine is None or engine.name == "process":
        return unseen("no engine to ask" if engine is None else "none is needed by processes")
    name = _wanted(engine, machine.workspace)
    if engine.image(name) is not None:
        return Seen(f"{name} is here")
    try:
        refusal = reach.asked().refusal(name)
    except Unsupported:
        return unseen(f"{name} is not here; this engine does not tell whether it can be pulled")
    if refusal is None:
        return Seen(f"{name} is not here; the engine can pull it")
    return Seen(f"{name} is neither here nor to be had", (_missing(name, refusal),))


def _wanted(engine: Engine, workspace: Workspace | None) -> str:
    python = environment.DEFAULT_PYTHON
    if workspace is None:
        return image.default_base(engine, python)
    with suppress(ConfigError):  # said by `devkit package`; a base can be looked for in any case
        python = environment.read(workspace).python
    default = image.default_base(engine, python)
    return dockerfile.base(workspace, None, default=default).image


def _missing(name: str, refusal: str) -> Finding:
    own = "Type: devkit base bootstrap   which makes one out of Debian's packages"
    own += "." if os.name != "nt" and os.geteuid() == 0 else ", as root (sudo)."
    return Finding(
        "base-image-missing",
        "error",
        f"The base image {name} is not here, and the engine cannot pull it.",
        "The engine asked its registry in vain, so that a build would fail at its first line.",
        f"{own} Or name one that is here: image.base in devkit.yaml (`docker images` lists).",
        evidence=refusal[:400],
    )
