"""Step 1, package: the workspace becomes an image tag, built only when something changed."""

from __future__ import annotations

import json
import os
import re
import shlex
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import devkit
from devkit import (
    build_context,
    build_files,
    dockerfile,
    entry_script,
    environment,
    fingerprint,
    models,
    network,
)
from devkit import contract as c
from devkit.config import Workspace
from devkit.engine import BuildSpec, Engine, Image, Placement, Progress, Tag
from devkit.environment import Environment
from devkit.errors import BadValue, EnvironmentInvalid
from devkit.network import Network

# The server has releases for 3.9 and newer; an older Python runs the runtime's own small server.
TOOLS = ('azureml-inference-server-http>=1; python_version >= "3.9"', "debugpy")
INDEX_SECRET = "devkit-index"
_APT_PACKAGE = re.compile(r"^[a-z0-9][a-z0-9+.\-]*(:[a-z0-9]+)?([=/][\w.+:~\-]+)?$")
_LEFT_OUT_OF_SOURCE = ("devkit.yaml",)  # `run.env` in it may hold passwords


@dataclass(frozen=True)
class Packaged:
    """An image that is ready to run; `layout` is what LABEL_LAYOUT says."""

    image: Image
    tag: Tag
    reused: bool
    seconds: float
    layout: tuple[Mapping[str, str], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """A build that is decided but not started."""

    spec: BuildSpec
    base: str
    layout: tuple[Mapping[str, str], ...]
    notes: tuple[str, ...]


def package(
    engine: Engine,
    workspace: Workspace,
    *,
    progress: Progress,
    tag: str | None = None,
    base: str | None = None,
    platform: str | None = None,
    no_cache: bool = False,
    pull: bool = False,
) -> Packaged:
    """Make the image of a workspace, or find that the engine has it already.

    Args:
        engine: where the image is made.
        workspace: what it is made from.
        progress: takes each line of the build.
        tag: the image's name instead of `image.tag`.
        base: the base image instead of `image.base` and `image.dockerfile`.
        platform: as in "linux/arm64"; None is the engine's own.
        no_cache: build every layer anew.
        pull: ask the registry for a newer base image.

    Raises:
        ConfigError: the workspace cannot be packaged (entry script, environment, models, pins).
        BuildError: the build failed.
    """
    started = time.monotonic()
    entry_script.check(workspace)
    wanted = environment.read(workspace)
    reach = network.found(workspace, wanted.wants)
    decided = plan(workspace, wanted, reach, tag=tag, base=base, platform=platform)
    spec = _labelled(engine, decided)
    there = engine.image(str(spec.tag))
    reused = not (no_cache or pull) and _same(there, spec, c.LABEL_CONTENT)
    if there is None or not reused:
        if not _same(there, spec, c.LABEL_ENVIRONMENT):
            # Takes 0.2 s to import, and most calls never need it.
            from devkit.pins import check_pins

            architecture = platform.split("/")[1] if platform else engine.info().architecture
            check_pins(wanted, reach, architecture=architecture)
        with _secret_file(reach.secrets) as secrets:
            spec = replace(spec, secrets={**spec.secrets, **secrets}, no_cache=no_cache, pull=pull)
            there = engine.build(spec, progress=progress)
    return Packaged(
        there, spec.tag, reused, time.monotonic() - started, decided.layout, decided.notes
    )


def plan(
    workspace: Workspace,
    wanted: Environment,
    reach: Network,
    *,
    tag: str | None = None,
    base: str | None = None,
    platform: str | None = None,
) -> Plan:
    """Decide the whole build; files are listed, nothing is built and no engine is asked.

    Raises:
        ConfigError: something that the configuration names does not do.
    """
    start = dockerfile.base(workspace, wanted.python, base)
    place = _place_of_source(workspace)
    placed = models.placements(workspace.config.models, workspace.root)
    source = build_files.source(
        workspace.source,
        PurePosixPath("app") / place.name,
        ignore=workspace.root,
        leave_out=_elsewhere(workspace, placed),
    )
    env = _variables(workspace, wanted, place.name)
    values = _values(workspace, wanted, reach, start, env=env, has_models=bool(placed))
    layout = _layout(workspace, place, placed)
    spec = BuildSpec(
        tag=Tag.parse(tag or workspace.config.image.tag),
        dockerfile=dockerfile.render(values, buildkit=False),
        buildkit_dockerfile=dockerfile.render(values, buildkit=True),
        context=(*build_context.files(wanted, reach, TOOLS, placed), *source.files),
        labels=_labels(workspace, wanted, layout),
        args={**workspace.config.build.args, **reach.settings, **reach.proxies},
        secrets=_secrets(workspace),
        platform=platform,
        requirements=(*wanted.requirements, *TOOLS),
        placements=(Placement(workspace.source, place), *placed),
        env=env,
    )
    notes = (*wanted.notes, *_conda_notes(workspace, wanted, base), *reach.notes, *source.notes)
    return Plan(spec, start.image, layout, notes)


def _labelled(engine: Engine, decided: Plan) -> BuildSpec:
    base = engine.image(decided.base)
    content = fingerprint.of(decided.spec, base_id=base.id if base else None)
    return replace(decided.spec, labels={**decided.spec.labels, c.LABEL_CONTENT: content})


def _same(image: Image | None, spec: BuildSpec, label: str) -> bool:
    return image is not None and image.labels.get(label) == spec.labels[label]


def _place_of_source(workspace: Workspace) -> PurePosixPath:
    source = workspace.source
    if source.name in ("", c.MODELS_DIR):
        raise BadValue(
            f"The source directory {source} has no name that it can keep in the container.",
            hint="Set source_directory in devkit.yaml to a folder with a name of its own.",
        )
    return c.APP_ROOT / source.name


def _elsewhere(workspace: Workspace, placed: tuple[Placement, ...]) -> set[Path]:
    """What lies in the source directory but is not shipped with it."""
    named = {workspace.root / name for name in _LEFT_OUT_OF_SOURCE}
    listed = {workspace.root / Path(model.path) for model in workspace.config.models}
    if workspace.config.run.env_file:
        named.add(workspace.root / workspace.config.run.env_file)
    paths = named | {Path(os.path.normpath(path)) for path in listed}
    # A model that is the source directory itself, or above it, takes nothing away.
    return (paths | {p.local for p in placed}) - {workspace.source, *workspace.source.parents}


def _variables(workspace: Workspace, wanted: Environment, source: str) -> dict[str, str]:
    """The variables that the image sets; the service's own stand first, so that ours hold."""
    config = workspace.config
    return {
        **dict(wanted.variables),
        "AML_APP_ROOT": str(c.APP_ROOT),
        "AZUREML_ENTRY_SCRIPT": f"{source}/{PurePosixPath(config.entry_script)}",
        "AZUREML_SOURCE_DIRECTORY": source,
        "AZUREML_MODEL_DIR": models.model_dir(config.models),
        c.ENV_DEBUG: "1",
        c.ENV_WAIT_FOR_CLIENT: str(int(config.debug.wait_for_client)),
        c.ENV_RELOAD: config.runtime.reload,
        c.ENV_STATUS: config.runtime.status,
        c.ENV_WORKERS: str(config.runtime.workers),
        c.ENV_SCORING_TIMEOUT: str(config.runtime.scoring_timeout_ms),
        "PYTHONUNBUFFERED": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "VIRTUAL_ENV": "/opt/env",
    }


def _values(
    workspace: Workspace,
    wanted: Environment,
    reach: Network,
    start: dockerfile.Base,
    *,
    env: Mapping[str, str],
    has_models: bool,
) -> dict[str, Any]:
    uid, gid = _user(workspace.config.run.user)
    for name in workspace.config.image.apt:
        if not _APT_PACKAGE.match(name):
            raise BadValue(
                f"image.apt: {name!r} is not the name of a Debian package.",
                hint='Write it as in "libgomp1".',
            )
    return {
        "base": start.text,
        "base_name": start.image,
        "python": wanted.python,
        "python_place": wanted.python_place,
        "apt": list(workspace.config.image.apt),
        "uid": uid,
        "gid": gid,
        "user": c.USER,
        "settings": sorted(reach.settings),
        "secret": INDEX_SECRET if reach.secrets else "",
        "has_ca": reach.ca is not None,
        "has_requirements": bool(wanted.wants.lines or wanted.wants.local),
        "constraints": bool(wanted.wants.constraints),
        "local": bool(wanted.wants.local),
        "models": has_models,
        "app_root": c.APP_ROOT,
        "models_dir": c.MODELS_DIR,
        "runtime": c.RUNTIME_PACKAGE,
        "ports": (c.SCORE_PORT, c.DEBUG_PORT),
        "env": dict(env),
        "command": ["python", str(c.RUNTIME_PACKAGE)],
    }


def _user(user: int | str) -> tuple[int, int]:
    text = "0" if user == "root" else str(user)
    uid, _, gid = text.partition(":")
    if not uid.isdecimal() or not (gid or "0").isdecimal():
        raise BadValue(
            f"run.user: {user!r} is not a user id.",
            hint='Write a number, as in 1000 or "1000:100"; the image makes that user.',
        )
    return int(uid), int(gid or uid)


def _layout(
    workspace: Workspace, place: PurePosixPath, placed: tuple[Placement, ...]
) -> tuple[Mapping[str, str], ...]:
    """Which local path is which remote one; the source directory is the first."""
    pairs = [(workspace.source, place), *((p.local, p.remote) for p in placed)]
    return tuple(
        {"local": _relative(local, workspace.root), "remote": str(remote)}
        for local, remote in pairs
    )


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _labels(
    workspace: Workspace, wanted: Environment, layout: tuple[Mapping[str, str], ...]
) -> dict[str, str]:
    return {
        c.LABEL_SERVICE: workspace.config.service,
        c.LABEL_WORKSPACE: str(workspace.root),
        c.LABEL_ENVIRONMENT: wanted.digest,
        c.LABEL_LAYOUT: json.dumps(layout, ensure_ascii=False),
        c.LABEL_VERSION: devkit.__version__,
    }


def _conda_notes(workspace: Workspace, wanted: Environment, base: str | None) -> Iterator[str]:
    """Refuse only-conda packages, unless something else in the configuration can bring them."""
    if not wanted.conda_only:
        return
    names = ", ".join(package.name for package in wanted.conda_only)
    image = workspace.config.image
    if not (base or image.base or image.dockerfile or image.apt):
        debian = [p.debian_name for p in wanted.conda_only if p.debian_name]
        apt = f"image.apt: [{', '.join(debian)}]" if debian else "image.apt"
        raise EnvironmentInvalid(
            f"{wanted.origin} asks for {names}, which only conda has.",
            hint=f"Bring the same by {apt}, image.base or image.dockerfile in devkit.yaml.",
        )
    yield f"{names} (only conda has it) has to come from image.apt, image.base or image.dockerfile."


def _secrets(workspace: Workspace) -> dict[str, Path]:
    """Read build.secrets, "id=token,src=token.txt" as docker build has it."""
    secrets = {}
    for text in workspace.config.build.secrets:
        parts = dict(part.partition("=")[::2] for part in text.split(","))
        source = parts.get("src") or parts.get("source")
        path = workspace.root / Path(source or "").expanduser()
        if not parts.get("id") or not source or not path.is_file():
            raise BadValue(
                f"build.secrets: {text!r} does not name an id and a file that is there.",
                hint='Write it as "id=token,src=token.txt".',
            )
        secrets[parts["id"]] = path
    return secrets


@contextmanager
def _secret_file(secrets: Mapping[str, str]) -> Iterator[dict[str, Path]]:
    """Hold the settings with a password in a file that only this user can read."""
    if not secrets:
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="devkit-") as folder:
        path = Path(folder) / INDEX_SECRET
        path.touch(mode=0o600)
        exports = (f"export {name}={shlex.quote(value)}\n" for name, value in secrets.items())
        path.write_text("".join(exports), encoding="utf-8")
        yield {INDEX_SECRET: path}
