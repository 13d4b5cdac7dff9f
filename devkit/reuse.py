"""The container that runs stays when a new one would differ in source files only: then those move.

F5 runs `devkit debug --detach` each time; it must find the service as it was started, and at once.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path, PurePosixPath
from typing import Any

from devkit import contract, edits, labels, written
from devkit import service as scoring
from devkit.config import Workspace, overridden
from devkit.debug import wire
from devkit.engine import BuildSpec, Container, Engine, Progress, RunSpec
from devkit.errors import ConfigError, DebuggerUnreachable
from devkit.package import environment, fingerprint
from devkit.package.dockerfile import user_ids
from devkit.package.image import Plan
from devkit.running import Address, RunningService
from devkit.sync.agent.side import FILE, Entry

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


def fits(engine: Engine, container: Container, plan: Plan, run: RunSpec) -> bool:
    """Whether one that is made now would be as this container, but for its source files."""
    return container.labels.get(labels.FRAME) == frame(engine, plan, run)


def environment_change(workspace: Workspace, container: Container) -> str | None:
    """Say that another environment is asked for now than the container's image has; None: no.

    A file that cannot be read, as while it is edited, says nothing.
    """
    built = container.labels.get(contract.LABEL_ENVIRONMENT)
    try:
        wanted = environment.read(workspace)
    except ConfigError:
        return None
    if built is None or built == wanted.digest:
        return None
    name = wanted.origin or "The environment"
    return f"{name} changed: `devkit debug` builds it in."


def has_options(workspace: Workspace) -> bool:
    """Whether the command line says anything about image or container."""
    return any(is_given(workspace, key) for key in workspace.origins if key != "service")


def is_given(workspace: Workspace, key: str) -> bool:
    """Whether the command line says what a dotted key is."""
    return workspace.origins.get(key, "").startswith("--")


def remembered_options(
    workspace: Workspace, container: Container
) -> tuple[Workspace, dict[str, Any]]:
    """Return the workspace with the options of a container, and its start options.

    What is said on this command line counts for more. What another version of devkit wrote and
    this one does not take says nothing.

    Raises:
        NotOurs: they are not as any devkit writes them.
    """
    said = labels.options(container)
    env = {name: container.env[name] for name in said.env if name in container.env}
    # It may have been named with --service, and found as the one of this workspace.
    values = {**said.config, "service": container.name, **({"run.env": env} if env else {})}
    values = {k: v for k, v in values.items() if not is_given(workspace, k)}
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
    there = _there(running, files)
    if there is None:
        return None
    wanted = _digests(files)
    stale = {r: local for r, local in files.items() if there.get(str(r)) != wanted[r]}
    if stale:
        _keep_edits(running, {r: d for r in stale if (d := there.get(str(r)))}, note)
        before = scoring.status(address.host, address.port).generation
        tar = io.BytesIO(_tar(stale, owner))
        running.engine.archive_in(running.container.id, contract.APP_ROOT, tar)
        written.remember(running.root, running.container.id, _entries(stale))
        _await_reload(address, before)
    _tell_deleted(running, files, note)
    return len(stale)


def in_step(running: RunningService, sync: Callable[[], int]) -> int | None:
    """Let the sync bring all into the container; return how many files changed, on both sides.

    None: nobody answers.
    """
    address = running.debug
    if address is None:
        return None
    try:
        before = scoring.status(address.host, address.port).generation
    except DebuggerUnreachable:
        return None
    count = sync()
    if count:
        _await_reload(address, before)
    return count


def differing(running: RunningService, files: Mapping[PurePosixPath, Path]) -> list[Path] | None:
    """Return which local files are not what the container has; None where nobody answers."""
    there = _there(running, files)
    if there is None:
        return None
    wanted = _digests(files)
    return [local for remote, local in files.items() if there.get(str(remote)) != wanted[remote]]


def remember(running: RunningService, files: Mapping[PurePosixPath, Path]) -> None:
    """Note which content a new container has from its image, so that an edit in it is known."""
    small = {r: local for r, local in files.items() if local.stat().st_size <= _REMEMBERED_BYTES}
    written.remember(running.root, running.container.id, _entries(small))


def _there(
    running: RunningService, files: Mapping[PurePosixPath, Path]
) -> Mapping[str, str | None] | None:
    """Ask for the digests of what the container has; None where nobody answers."""
    address = running.debug
    if address is None:
        return None
    question = {"files": [{"path": str(remote), "lines": []} for remote in files]}
    try:
        answer = wire.ask(
            address.host, address.port, "devkit/verify", question, timeout_s=_TIMEOUT_S
        )
    except DebuggerUnreachable:
        return None
    return {str(item.get("path")): item.get("sha256") for item in answer.get("files", [])}


def _await_reload(address: Address, generation: int) -> None:
    noticed = {"timeout_s": _NOTICED_S, "generation": generation + 1}
    wire.ask(address.host, address.port, "devkit/wait", noticed, timeout_s=_TIMEOUT_S)


def _tell_deleted(
    running: RunningService, files: Mapping[PurePosixPath, Path], note: Progress
) -> None:
    """Say what was deleted in the workspace: only the sync deletes it in the container, too."""
    source = running.mappings[0].remote
    ours = map(PurePosixPath, written.digests(running.root, running.container.id))
    gone = [path for path in ours if path.is_relative_to(source) and path not in files]
    if gone:
        names = ", ".join(str(path.relative_to(source)) for path in sorted(gone)[:10])
        note(f"Deleted in the workspace and still in the container: {names}; `devkit sync --once`.")


def _entries(files: Mapping[PurePosixPath, Path]) -> dict[PurePosixPath, Entry]:
    digests = _digests(files)
    return {
        remote: Entry(FILE, digests[remote], bool(local.stat().st_mode & 0o111))
        for remote, local in files.items()
    }


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
