"""The container that runs stays when a new one would differ in source files only: then those move.

F5 runs `devkit debug --detach` each time; it must find the service as it was started, and at once.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path, PurePosixPath
from typing import Any

from devkit import contract, edits, labels, written
from devkit import service as scoring
from devkit.config import Workspace, overridden
from devkit.debug import wire
from devkit.engine import BuildSpec, Container, Engine, Progress, RunSpec
from devkit.errors import DebuggerUnreachable
from devkit.package import fingerprint
from devkit.package.dockerfile import user_ids
from devkit.package.image import Plan
from devkit.running import RunningService

_FROM_CONTAINER = "the container"

# Where a build context holds the source directory; see image.py.
_SOURCE = PurePosixPath("app")
_TIMEOUT_S = 5
# Larger ones are data: their digests would cost the start more than they save.
_REMEMBERED_BYTES = 1 << 20
# A reload begins some ten milliseconds after the write; a file that nobody imported brings none.
_NOTICED_S = 0.5


def frame(engine: Engine, plan: Plan, run: RunSpec) -> str:
    """Hash all that decides a container, but the source files in it."""
    base = engine.image(plan.base.image)
    rest = tuple(file for file in plan.spec.context if not file.path.is_relative_to(_SOURCE))
    image = fingerprint.of(replace(plan.spec, context=rest), base_id=base.id if base else None)
    started = {**asdict(run), "labels": None, "image": str(run.image)}
    return hashlib.sha256(f"{image}{json.dumps(started, default=str)}".encode()).hexdigest()


def has_options(workspace: Workspace) -> bool:
    """Whether the command line says anything about image or container."""
    return any(o.startswith("--") for key, o in workspace.origins.items() if key != "service")


def remembered_options(
    workspace: Workspace, container: Container
) -> tuple[Workspace, dict[str, Any]]:
    """Return the workspace with the options of a container, and its start options.

    What another version of devkit wrote and this one does not take says nothing.

    Raises:
        NotOurs: they are not as any devkit writes them.
    """
    said = labels.options(container)
    env = {name: container.env[name] for name in said.env if name in container.env}
    # It may have been named with --service, and found as the one of this workspace.
    values = {**said.config, "service": container.name, **({"run.env": env} if env else {})}
    if not values.keys() <= workspace.origins.keys():
        return workspace, {}
    try:
        changed = overridden(workspace, values, f"{_FROM_CONTAINER} {container.name}")
    except ValueError:
        return workspace, {}
    return changed, {"debug": said.debug}


def written_labels(workspace: Workspace, plan: Plan, frame: str, *, debug: bool) -> dict[str, str]:
    """Return what a container's labels say for the functions here, and its layout."""
    values = workspace.config.model_dump(mode="json")
    sticking = ("--", _FROM_CONTAINER)
    keys = [k for k, o in workspace.origins.items() if o.startswith(sticking) and k != "service"]
    # Variables may be passwords, and whoever lists containers reads the labels.
    said = {
        "config": {key: _at(values, key) for key in keys if key != "run.env"},
        "env": list(workspace.config.run.env) if "run.env" in keys else [],
        "debug": debug,
    }
    return {
        labels.FRAME: frame,
        labels.OPTIONS: json.dumps(said, ensure_ascii=False),
        contract.LABEL_LAYOUT: json.dumps(plan.layout, ensure_ascii=False),
    }


def source_files(spec: BuildSpec) -> dict[PurePosixPath, Path]:
    """Return the files of the source directory, by their place in the container."""
    return {
        contract.APP_ROOT / file.path.relative_to(_SOURCE): file.content
        for file in spec.context
        if file.path.is_relative_to(_SOURCE) and isinstance(file.content, Path)
    }


def moved(
    running: RunningService,
    files: Mapping[PurePosixPath, Path],
    owner: str,
    *,
    note: Progress = lambda _: None,
) -> int | None:
    """Bring files that differ into the container; return how many, None if nobody answers.

    Those that were edited in it are kept in the workspace's trash first, and `note` says so.
    """
    address = running.debug
    if address is None:
        return None
    if running.engine.name == "process":
        return 0  # it runs on the workspace's own files
    question = {"files": [{"path": str(remote), "lines": []} for remote in files]}
    try:
        answer = wire.ask(
            address.host, address.port, "devkit/verify", question, timeout_s=_TIMEOUT_S
        )
    except DebuggerUnreachable:
        return None
    there = {item.get("path"): item.get("sha256") for item in answer.get("files", [])}
    wanted = _digests(files)
    stale = {r: local for r, local in files.items() if there.get(str(r)) != wanted[r]}
    if stale:
        _keep_edits(running, {r: d for r in stale if (d := there.get(str(r)))}, note)
        before = scoring.status(address.host, address.port).generation
        tar = io.BytesIO(_tar(stale, owner))
        running.engine.archive_in(running.container.id, contract.APP_ROOT, tar)
        written.remember(
            running.root, running.container.id, {remote: wanted[remote] for remote in stale}
        )
        noticed = {"timeout_s": _NOTICED_S, "generation": before + 1}
        wire.ask(address.host, address.port, "devkit/wait", noticed, timeout_s=_TIMEOUT_S)
    return len(stale)


def remember(running: RunningService, files: Mapping[PurePosixPath, Path]) -> None:
    """Note which content a new container has from its image, so that an edit in it is known."""
    small = {r: local for r, local in files.items() if local.stat().st_size <= _REMEMBERED_BYTES}
    written.remember(running.root, running.container.id, _digests(small))


def _digests(files: Mapping[PurePosixPath, Path]) -> dict[PurePosixPath, str]:
    return {r: hashlib.sha256(local.read_bytes()).hexdigest() for r, local in files.items()}


def _keep_edits(
    running: RunningService, there: Mapping[PurePosixPath, str], note: Progress
) -> None:
    """Keep those files, of which the digests are given, that were edited in the container."""
    ours = written.digests(running.root, running.container.id)
    # Most often there is none, and the engine's long look at all files of the image is saved.
    edited = {remote for remote, digest in there.items() if ours.get(str(remote)) != digest}
    if edited:
        edits.kept(running, root=running.root, note=note, only=edited)


def _tar(files: Mapping[PurePosixPath, Path], owner: str) -> bytes:
    uid, gid = user_ids(owner)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for remote, local in files.items():
            content = local.read_bytes()
            info = tarfile.TarInfo(str(remote.relative_to(contract.APP_ROOT)))
            info.size = len(content)
            info.mode = 0o755 if local.stat().st_mode & 0o111 else 0o644
            info.mtime = local.stat().st_mtime
            info.uid, info.gid = uid, gid
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _at(values: Mapping[str, Any], key: str) -> Any:
    for step in key.split("."):
        values = values[step]
    return values
