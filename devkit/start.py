"""Step 2, run: from a configuration to a container that runs, made anew or kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial

from devkit import container as step_run
from devkit import contract, edits, packaging, predecessor, reuse, swap, turn, written
from devkit.config import Workspace
from devkit.engine import Container, Engine, Image, Progress, RunSpec, Tag
from devkit.errors import Interrupted, OwnFolderUnusable
from devkit.package import image
from devkit.packaging import BuildOptions
from devkit.results import Packaged
from devkit.run_spec import RunOptions, spec_of
from devkit.running import RunningService
from devkit.trash import Saved


@dataclass(frozen=True)
class StartOptions:
    """What is said per start and never stands in devkit.yaml."""

    bind: str = "127.0.0.1"
    allow_remote_debug: bool = False
    debug: bool = True


@dataclass(frozen=True)
class FromImage:
    """A committed image to start from, as it is; `pull`: the workspace gets its files."""

    image: Image
    pull: bool = False

    @property
    def tag(self) -> str:
        """What it is started by."""
        return self.image.tags[0] if self.image.tags else self.image.id


@dataclass(frozen=True)
class Up:
    """A container that runs, the plan that it follows, and how long it took.

    `is_new` says that it was started now, and not kept; `is_version`, from a committed image.
    """

    running: RunningService
    plan: image.Plan
    package_s: float
    start_s: float
    is_new: bool
    is_version: bool = False


def run_spec(workspace: Workspace, start: StartOptions) -> RunSpec:
    """Decide the start; no engine is asked."""
    return spec_of(
        workspace.config,
        Tag.parse(workspace.config.image.tag),
        workspace_root=workspace.root,
        options=RunOptions(**asdict(start)),
    )


def started(
    engine: Engine,
    workspace: Workspace,
    build: BuildOptions,
    start: StartOptions,
    *,
    progress: Progress,
    note: Progress,
    version: FromImage | None = None,
    falls_back: bool = False,
) -> Up:
    """Package and start, or start a version; the service's container of before is replaced.

    With `falls_back` that one is kept until the new one is ready, and runs again if it fails.
    """
    # Decided first: an address or an env file that will not do is told before any build.
    plan, spec = packaging.planned(workspace, build), run_spec(workspace, start)
    with turn.taken(workspace.root, workspace.config.service):
        step_run.check_startable(engine, spec)
        if version is None:
            made, before = packaging.made(engine, workspace, build, progress=progress, note=note)
        else:
            made, before = Packaged(version.tag, version.image.id, True, 0.0), None
        start_one = partial(swap.swapped, ready=_ready(engine)) if falls_back else step_run.start
        swap.recover(engine, spec.name, progress=note)
        try:
            up = _started(
                engine,
                workspace,
                plan,
                spec,
                made,
                {before.image.id} if before else set(),
                start_one=start_one,
                progress=progress,
                note=note,
            )
        except BaseException:
            if falls_back and before:
                predecessor.bring_back(engine, before)
                packaging.remove_unused(engine, workspace, {made.image})
            raise
        if engine.name != "process":
            if version is None:
                reuse.remember(up.running, reuse.source_files(plan.spec))
            else:
                written.meet_version(workspace.root, up.running.container.id, pull=version.pull)
        return replace(up, is_version=version is not None)


def _started(
    engine: Engine,
    workspace: Workspace,
    plan: image.Plan,
    spec: RunSpec,
    made: Packaged,
    before: set[str],
    *,
    start_one: Callable[..., Container],
    progress: Progress,
    note: Progress,
) -> Up:
    began = time.monotonic()
    # Also of a version: F5 keeps it as long as all but the sources is as configured.
    frame = reuse.frame(engine, plan, spec)
    is_debugged = spec.env[contract.ENV_DEBUG] == "1"
    sticking = reuse.written_labels(workspace, plan, frame, debug=is_debugged)
    spec = replace(spec, image=Tag.parse(made.image), labels={**spec.labels, **sticking})

    def keep_edits(replaced: Container) -> None:
        before.add(replaced.image_id)
        _kept_edits(RunningService(engine, replaced), workspace, note)

    progress(f"Starting the container {spec.name}")
    container = start_one(engine, spec, progress=note, before_removal=keep_edits)
    running = RunningService(engine, container)
    with undone_if_interrupted(workspace, running, note=note):
        packaging.remove_unused(engine, workspace, before)
    return Up(running, plan, made.package_s, time.monotonic() - began, is_new=True)


def _ready(engine: Engine) -> Callable[[Container], object]:
    def ready(container: Container) -> None:
        RunningService(engine, container).ready()

    return ready


def kept(
    engine: Engine,
    workspace: Workspace,
    build: BuildOptions,
    start: StartOptions,
    *,
    note: Progress,
    sync: Callable[[RunningService], int] | None = None,
) -> Up | None:
    """Keep the container that runs if only source files differ, and move those; else None.

    `sync` brings both sides in step and returns how many files that changed; without it, files
    go into the container only.
    """
    began = time.monotonic()
    container = step_run.find(engine, service=workspace.config.service)
    if container is None or not container.is_running or build.no_cache or build.pull:
        return None
    plan, spec = packaging.planned(workspace, build), run_spec(workspace, start)
    if not reuse.fits(engine, container, plan, spec):
        return None
    running = RunningService(engine, container)
    if running.root != workspace.root:
        return None

    def move() -> int | None:
        owner = str(workspace.config.run.user)
        return reuse.moved(running, reuse.source_files(plan.spec), owner, note=note)

    if sync is not None and engine.name != "process":
        count = _in_step(running, sync, otherwise=move, note=note)
    else:
        count = move()
    if count is None:
        return None
    note(f"Kept {container.name}, which runs; files brought up to date: {count}")
    return Up(running, plan, time.monotonic() - began, 0.0, is_new=False)


def _in_step(
    running: RunningService,
    sync: Callable[[RunningService], int],
    *,
    otherwise: Callable[[], int | None],
    note: Progress,
) -> int | None:
    try:
        return reuse.in_step(running, partial(sync, running))
    except OwnFolderUnusable as error:
        note(f"Workspace and container are not kept in step: {error}")
        return otherwise()


def is_outdated(engine: Engine, workspace: Workspace, running: RunningService) -> bool:
    """Whether `kept` would not keep a service, for more than its sources.

    Raises:
        ConfigError: what it would be started as cannot be said.
    """
    binds = {bind for bind, _ in running.container.ports.values()}
    start = StartOptions(bind=next(iter(binds), StartOptions.bind))
    workspace, said = reuse.remembered_options(workspace, running.container)
    plan = packaging.planned(workspace, BuildOptions())
    return not reuse.fits(
        engine, running.container, plan, run_spec(workspace, replace(start, **said))
    )


def _kept_edits(running: RunningService, workspace: Workspace, note: Progress) -> Saved | None:
    """Take what was edited in a container that is about to go, by the sync and beside it."""
    if running.root == workspace.root:
        from devkit.sync import ending  # `package` needs none of it

        ending.ended(workspace.root, running.name)
    return edits.kept(running, root=workspace.root, note=note)


@contextmanager
def undone_if_interrupted(
    workspace: Workspace, running: RunningService, *, note: Progress
) -> Iterator[None]:
    """Ctrl-C while a new container comes up: it goes again.

    Raises:
        Interrupted: that was so.
    """
    try:
        yield
    except KeyboardInterrupt:
        name, id_ = running.name, running.container.id
        removed_service(running.engine, workspace, name, id_, note=note)
        why = f"Interrupted; the container {running.container.name}, not ready yet, is removed."
        raise Interrupted(why) from None


def removed_service(
    engine: Engine, workspace: Workspace, service: str, container_id: str, *, note: Progress
) -> tuple[step_run.Removed, Saved | None]:
    """Remove that container and the service's network; return what was kept of it, too."""
    saved = list[Saved | None]()

    def keep(container: Container) -> None:
        saved.append(_kept_edits(RunningService(engine, container), workspace, note))

    removed = step_run.delete(engine, service, only=container_id, before_removal=keep)
    return removed, next(iter(saved), None)
