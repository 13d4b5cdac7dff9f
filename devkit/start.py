"""Steps 1 and 2 together: from a configuration to a container that runs, made anew or kept."""

from __future__ import annotations

import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import asdict, dataclass, replace

from devkit import container as step_run
from devkit import contract, edits, labels, reuse
from devkit.config import Workspace
from devkit.engine import Container, Engine, Progress, RunSpec, Tag
from devkit.errors import EngineError
from devkit.package import entry_script, environment, image, network
from devkit.results import Packaged
from devkit.running import RunningService


@dataclass(frozen=True)
class BuildOptions:
    """What is said per build and never stands in devkit.yaml."""

    no_cache: bool = False
    pull: bool = False
    platform: str | None = None


@dataclass(frozen=True)
class StartOptions:
    """What is said per start and never stands in devkit.yaml."""

    bind: str = "127.0.0.1"
    allow_remote_debug: bool = False
    debug: bool = True


@dataclass(frozen=True)
class Up:
    """A container that runs, the plan that it follows, and how long it took.

    `is_new` says that it was started now, and not kept.
    """

    running: RunningService
    plan: image.Plan
    package_s: float
    start_s: float
    is_new: bool


def planned(workspace: Workspace, build: BuildOptions) -> image.Plan:
    """Decide the build; no engine is asked."""
    entry_script.check(workspace)
    wanted = environment.read(workspace)
    reach = network.found(workspace, wanted.wants)
    return image.plan(workspace, wanted, reach, platform=build.platform)


def run_spec(workspace: Workspace, start: StartOptions) -> RunSpec:
    """Decide the start; no engine is asked."""
    return step_run.run_spec(
        workspace.config,
        Tag.parse(workspace.config.image.tag),
        workspace_root=workspace.root,
        options=step_run.RunOptions(**asdict(start)),
    )


def packaged(
    engine: Engine,
    workspace: Workspace,
    build: BuildOptions,
    *,
    progress: Progress,
    note: Progress,
) -> Packaged:
    """Make the image, or find that the engine has it already; the one of before goes."""
    made, before = _made(engine, workspace, build, progress=progress, note=note)
    _remove_unused(engine, workspace, before)
    return made


def _made(
    engine: Engine,
    workspace: Workspace,
    build: BuildOptions,
    *,
    progress: Progress,
    note: Progress,
) -> tuple[Packaged, set[str]]:
    """Make the image; return the id, too, of the one that lost its tag to it."""
    there = engine.image(workspace.config.image.tag)
    made = image.package(engine, workspace, progress=progress, **asdict(build))
    if not made.reused:
        for line in made.notes:
            note(line)
    before = {there.id} - {made.image.id} if there else set()
    return Packaged(str(made.tag), made.image.id, made.reused, made.seconds), before


def _remove_unused(engine: Engine, workspace: Workspace, ids: Collection[str]) -> None:
    """Remove those images that were made here and that no tag and no container holds."""
    ours = {
        contract.LABEL_SERVICE: workspace.config.service,
        contract.LABEL_WORKSPACE: str(workspace.root),
    }
    for old in filter(None, map(engine.image, ids)):
        is_used = old.tags or any(c.image_id == old.id for c in engine.containers({}))
        if not is_used and ours.items() <= old.labels.items():
            # Another container may take it just now, and another image may be made from it.
            with suppress(EngineError):
                engine.remove_image(old.id)


def started(
    engine: Engine,
    workspace: Workspace,
    build: BuildOptions,
    start: StartOptions,
    *,
    progress: Progress,
    note: Progress,
) -> Up:
    """Package and start; the service's container of before is replaced."""
    # Decided first: an address or an env file that will not do is told before any build.
    plan, spec = planned(workspace, build), run_spec(workspace, start)
    made, before = _made(engine, workspace, build, progress=progress, note=note)
    began = time.monotonic()
    frame = reuse.frame(engine, plan, spec)
    sticking = reuse.written_labels(workspace, plan, frame, debug=start.debug)
    spec = replace(spec, labels={**spec.labels, **sticking})

    def keep_edits(replaced: Container) -> None:
        before.add(replaced.image_id)
        edits.kept(RunningService(engine, replaced), root=workspace.root, note=note)

    container = step_run.start(engine, spec, progress=note, before_removal=keep_edits)
    _remove_unused(engine, workspace, before)
    running = RunningService(engine, container)
    if engine.name != "process":
        reuse.remember(running, reuse.source_files(plan.spec))
    return Up(running, plan, made.package_s, time.monotonic() - began, is_new=True)


def kept(
    engine: Engine,
    workspace: Workspace,
    build: BuildOptions,
    start: StartOptions,
    *,
    note: Progress,
) -> Up | None:
    """Keep the container that runs if only source files differ, and move those; else None."""
    began = time.monotonic()
    container = step_run.find(engine, service=workspace.config.service)
    if container is None or not container.is_running or build.no_cache or build.pull:
        return None
    plan, spec = planned(workspace, build), run_spec(workspace, start)
    if container.labels.get(labels.FRAME) != reuse.frame(engine, plan, spec):
        return None
    running = RunningService(engine, container)
    if running.root != workspace.root:
        return None
    owner = str(workspace.config.run.user)
    count = reuse.moved(running, reuse.source_files(plan.spec), owner, note=note)
    if count is None:
        return None
    note(f"Kept {container.name}, which runs; files brought up to date: {count}")
    return Up(running, plan, time.monotonic() - began, 0.0, is_new=False)
