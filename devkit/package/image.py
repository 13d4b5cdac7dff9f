"""Step 1, package: the workspace becomes an image tag, built only when something changed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import devkit
from devkit import contract as c
from devkit.config import Workspace
from devkit.engine import BuildSpec, ContextFile, Engine, Image, Placement, Progress, Tag
from devkit.errors import BadValue, EntryScriptMissing, EnvironmentInvalid
from devkit.package import (
    build_files,
    build_secrets,
    context,
    dockerfile,
    entry_script,
    environment,
    fingerprint,
    models,
    network,
    template,
)
from devkit.package.environment import Environment
from devkit.package.network import Network

# The server has releases for 3.9 and newer; an older Python runs the runtime's own small server.
TOOLS = ('azureml-inference-server-http>=1; python_version >= "3.9"', "debugpy")
# Where the build context holds the source directory.
SOURCE_IN_CONTEXT = PurePosixPath("app")
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
    base: dockerfile.Base
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
    default = default_base(engine, wanted.python)
    decided = plan(
        workspace, wanted, reach, tag=tag, base=base, default_base=default, platform=platform
    )
    base_image = engine.image(decided.base.image)
    spec = replace(_labelled(decided.spec, base_image), no_cache=no_cache, pull=pull)
    there = engine.image(str(spec.tag))
    reused = not (no_cache or pull) and _same(there, spec, c.LABEL_CONTENT)
    if there is None or not reused:
        if not _same(there, spec, c.LABEL_ENVIRONMENT):
            _check_python(engine, wanted, reach, decided.base, base_image, platform)
        with build_secrets.file(reach.secrets) as secrets:
            spec = replace(spec, secrets={**spec.secrets, **secrets})
            there = engine.build(spec, progress=progress)
    seconds = time.monotonic() - started
    notes = (*decided.notes, *_base_notes(decided.base.image, wanted.python))
    return Packaged(there, spec.tag, reused, seconds, decided.layout, notes)


def plan(
    workspace: Workspace,
    wanted: Environment,
    reach: Network,
    *,
    tag: str | None = None,
    base: str | None = None,
    default_base: str | None = None,
    platform: str | None = None,
) -> Plan:
    """Decide the whole build; files are listed, nothing is built and no engine is asked.

    `default_base` stands for python:X.Y-slim where the configuration names no base.

    Raises:
        ConfigError: something that the configuration names does not do.
    """
    official = c.OFFICIAL_BASE.format(python=wanted.python)
    start = dockerfile.base(workspace, base, default=default_base or official)
    placed = models.placements(workspace.config.models, workspace.root)
    place, source = _source(workspace, placed)
    layout = _layout(workspace, place, placed)
    env = dockerfile.variables(workspace, wanted, place.name)
    values = dockerfile.values(workspace, wanted, reach, start, env=env, has_models=bool(placed))
    local = (item.requirement(str(item.path)) for item in wanted.wants.local)
    spec = BuildSpec(
        tag=Tag.parse(tag or workspace.config.image.tag),
        dockerfile=template.render(values, buildkit=False),
        buildkit_dockerfile=template.render(values, buildkit=True),
        context=(*context.files(wanted, reach, TOOLS, placed), *source.files),
        labels=_labels(workspace, wanted, layout),
        args=_args(workspace, reach),
        secrets=build_secrets.named(workspace),
        platform=platform,
        requirements=(*wanted.requirements, *local, *TOOLS),
        placements=(Placement(workspace.source, place), *placed),
        env=env,
    )
    said = (*models.notes(workspace.config.models), *reach.notes, *source.notes)
    return Plan(spec, start, layout, (*wanted.notes, *_conda_notes(workspace, wanted, base), *said))


def default_base(engine: Engine, python: str) -> str:
    """The default base, or the one that `devkit base bootstrap` made where that is not there."""
    official, own = (name.format(python=python) for name in (c.OFFICIAL_BASE, c.OWN_BASE))
    return own if engine.image(official) is None and engine.image(own) else official


def _base_notes(base: str, python: str) -> Iterator[str]:
    official, own = (name.format(python=python) for name in (c.OFFICIAL_BASE, c.OWN_BASE))
    if base == own:
        yield f"Built on {own}, as {official} is not here."


def _check_python(
    engine: Engine,
    wanted: Environment,
    reach: Network,
    base: dockerfile.Base,
    image: Image | None,
    platform: str | None,
) -> None:
    """Before a build that installs: does the base have the Python, and the index the builds for it?

    Raises:
        EnvironmentInvalid: the base has another Python than the environment asks for.
        NoBuildForPython: a pin has no build for it.
    """
    python = _python_of(image) if base.is_whole else None
    if python and wanted.python_place and python != wanted.python:
        raise EnvironmentInvalid(
            f"{wanted.python_place} asks for Python {wanted.python}, but the base image "
            f"{base.image} has {python}.",
            hint=f"Change the pin to {python}, or image.base to an image with {wanted.python}.",
        )
    official = c.OFFICIAL_BASE.format(python=wanted.python)
    if python is None and not wanted.python_place and base.image != official:
        return  # only the build will show which Python it is
    # Takes 0.2 s to import, and most calls never need it.
    from devkit.package.pins import check_pins

    known = replace(wanted, python=python or wanted.python)
    architecture = platform.split("/")[1] if platform else engine.info().architecture
    check_pins(known, reach, architecture=architecture, platform=platform)


def _python_of(image: Image | None) -> str | None:
    """The Python "X.Y" that an official image, or one of ours, says it has."""
    if image is None:
        return None
    full = image.env.get("PYTHON_VERSION") or image.labels.get(c.LABEL_BASE_PYTHON, "")
    return ".".join(full.split(".")[:2]) or None


def _labelled(spec: BuildSpec, base: Image | None) -> BuildSpec:
    content = fingerprint.of(spec, base_id=base.id if base else None)
    return replace(spec, labels={**spec.labels, c.LABEL_CONTENT: content})


def _args(workspace: Workspace, reach: Network) -> dict[str, str]:
    args = {**workspace.config.build.args, **reach.settings, **reach.proxies}
    return {name: value for name, value in args.items() if name not in reach.secrets}


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


def _source(
    workspace: Workspace, placed: tuple[Placement, ...]
) -> tuple[PurePosixPath, build_files.Found]:
    """The place of the source directory in the container, and the files that go there."""
    place = _place_of_source(workspace)
    source = build_files.source(
        workspace.source,
        SOURCE_IN_CONTEXT / place.name,
        ignore=workspace.root,
        leave_out=_elsewhere(workspace, placed),
    )
    _require_entry(workspace, place, source.files)
    links = models.links(placed, workspace.source, place, under=SOURCE_IN_CONTEXT / place.name)
    return place, replace(source, files=(*source.files, *links))


def _require_entry(
    workspace: Workspace, place: PurePosixPath, files: tuple[ContextFile, ...]
) -> None:
    """The entry script has to be among the files that go into the image."""
    script = SOURCE_IN_CONTEXT / place.name / PurePosixPath(workspace.config.entry_script)
    if script not in (file.path for file in files):
        raise EntryScriptMissing(
            f"The entry script {workspace.config.entry_script} would not get into the image.",
            hint="It is left out by .dockerignore, or its name looks like that of a key file.",
        )


def _elsewhere(workspace: Workspace, placed: tuple[Placement, ...]) -> set[Path]:
    """What lies in the source directory but is not shipped with it."""
    named = {workspace.root / name for name in _LEFT_OUT_OF_SOURCE}
    listed = {workspace.root / Path(model.path) for model in workspace.config.models}
    if workspace.config.run.env_file:
        named.add(workspace.root / workspace.config.run.env_file)
    paths = named | {Path(os.path.normpath(path)) for path in listed}
    # A model that is the source directory itself, or above it, takes nothing away.
    return (paths | {p.local for p in placed}) - {workspace.source, *workspace.source.parents}


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
