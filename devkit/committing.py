"""The steps after the first start: commit, compare, roll back; each is one call of a command."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath

from devkit import in_step
from devkit.commit import history as step
from devkit.commit.differ import Difference
from devkit.commit.make import Committed
from devkit.comparing import Comparing, Here
from devkit.config import Workspace, overridden
from devkit.engine import Container, Image
from devkit.errors import (
    BadValue,
    ContainerMissing,
    DevkitError,
    EngineError,
    NoService,
    OwnFolderUnusable,
    SyncHalted,
)
from devkit.packaging import BuildOptions
from devkit.results import Debugging
from devkit.running import RunningService
from devkit.session import Session
from devkit.start import FromImage, StartOptions
from devkit.versions import Planned, Versions

_HALTED_HINT = "`devkit sync status` says why; --no-pull-back commits the container as it is."


def versions(session: Session) -> Versions:
    """Return the service's images and its container, if there is one."""
    return Versions(session.engine, session.workspace, _running(session), note=session.note)


def planned(session: Session, tag: str | None, *, force: bool, adopt: str | None) -> Planned:
    """Say what `commit` would do; see `Versions.planned`."""
    return versions(session).planned(tag, force=force, adopted=_adopted(session, adopt))


def commit(
    session: Session,
    tag: str | None,
    *,
    message: str,
    force: bool,
    pull_back: bool,
    adopt: str | None = None,
) -> Committed:
    """Make the container the next image.

    Args:
        session: finds it.
        tag: the image's; None for the one that comes next.
        message: a line for the history.
        force: take the tag from an image that has it.
        pull_back: bring both sides in step first, so that the workspace has the same.
        adopt: a container that devkit did not make, by name or id.

    Raises:
        NoService: there is no container.
        SyncHalted: both sides cannot be brought in step without asking.
        NameInUse: the tag exists, or another devkit is at it.
    """
    found = versions(session)
    adopted = _adopted(session, adopt)
    session.progress("Committing")

    def brought_in() -> None:
        running = None if adopted else _running(session)
        if running is not None:
            _in_step(session, running, pull_back=pull_back)

    return found.commit(tag, message=message, force=force, in_step=brought_in, adopted=adopted)


def history(session: Session) -> list[step.Version]:
    """Return the service's versions, the newest first."""
    return versions(session).history()


def diff(
    session: Session, before: str | None, after: str | None, *, text: bool
) -> list[Difference]:
    """Return which files differ between two of: an image, "container", "workspace"."""
    found = versions(session)
    comparing = Comparing(
        session.engine,
        _running(session),
        repository=found.repository,
        images=found.images,
        here=partial(_here, session),
    )
    return comparing.compared(before, after, text=text)


def version(session: Session, tag: str, *, pull: bool, sync: bool) -> FromImage:
    """Find an image to start the service from.

    Args:
        session: finds it.
        tag: the image's, or its version alone.
        pull: the workspace gets its files.
        sync: workspace and container are kept in step from then on.

    Raises:
        ImageMissing: there is none; the nearest one is named.
        NotOurs: it is none of this service.
        BadValue: the sync would not leave both sides as they are.
    """
    found = FromImage(versions(session).wanted(tag), pull=pull)
    mode = session.workspace.config.sync.mode
    if sync and mode in ("push", "mirror"):
        raise BadValue(
            f"sync.mode is {mode}: the workspace's files would replace those of {found.tag}.",
            hint=f"Set sync.mode to two-way, or leave the sync out: `devkit debug {found.tag} "
            "--no-sync`.",
        )
    if sync and mode == "pull" and not pull:
        raise BadValue(
            f"sync.mode is pull: those of {found.tag} would replace the workspace's files.",
            hint=f"Say so: `devkit rollback {found.tag} --workspace pull`; or set sync.mode to "
            "two-way.",
        )
    return found


def update(
    session: Session, build: BuildOptions, start: StartOptions, *, model: str | None
) -> Debugging:
    """Build what changed, and let a new container take the place of the one that runs.

    Args:
        session: finds it.
        build: how to build.
        start: how to start.
        model: "PATH" or "NAME=PATH", instead of the configured model of that name.

    Raises:
        InitFailed, ContainerDied, BuildError, ...: the container of before runs on.
    """
    if model is not None:
        session.workspace = _with_model(session.workspace, model)
    before = _running(session)
    try:
        made = session.debug(build, start, falls_back=True)
    except BaseException as error:
        if before is not None:
            session.keep_in_step(before)
        if before is not None and isinstance(error, DevkitError):
            runs_on = "The container of before runs on, with the code that the workspace has."
            error.hint = f"{runs_on} {error.hint or ''}".strip()
        raise
    if model is not None:
        session.note(
            f"This container has {model}; `devkit package`, with --release too, takes the model "
            "that is configured: change `models` in devkit.yaml to keep it."
        )
    return made


def _with_model(workspace: Workspace, text: str) -> Workspace:
    """Return the workspace with another file for a model."""
    models = workspace.config.models
    name, equals, path = text.partition("=")
    if not equals:
        path = text
        name = models[0].name if models else Path(text).stem
        if len(models) > 1:
            names = ", ".join(model.name for model in models)
            raise BadValue(f"Which of the models is it: {names}?", hint=f"--model NAME={text}")
    others = [model.model_dump() for model in models if model.name != name]
    same = next((model.model_dump() for model in models if model.name == name), {})
    try:
        return overridden(
            workspace, {"models": [*others, {**same, "name": name, "path": path}]}, "--model"
        )
    except ValueError as error:
        raise BadValue(f"{text!r} names no model.", hint="--model NAME=PATH") from error


def superfluous(session: Session, keep: int) -> list[Image]:
    """Return the images that `prune` takes away."""
    return versions(session).superfluous(keep)


def prune(session: Session, images: Iterable[Image]) -> list[str]:
    """Remove images; return the names of those that are gone."""
    return versions(session).prune(images)


def _running(session: Session) -> RunningService | None:
    with suppress(NoService):
        return session.service()
    return None


def _adopted(session: Session, name: str | None) -> Container | None:
    if name is None:
        return None
    container = session.engine.container(name)
    if container is None:
        raise ContainerMissing(f"There is no container {name}.", hint="`docker ps -a` lists them.")
    return container


def _in_step(session: Session, running: RunningService, *, pull_back: bool) -> None:
    """Bring in what was edited just before, and back what was edited inside."""
    if session.engine.name == "process" or running.root != session.workspace.root:
        return
    if running.container.state == "paused":
        session.note(
            f"{running.container.name} is paused: what the workspace has is not brought in."
        )
        return
    if not pull_back:
        # A file that is on its way arrives; nothing is begun.
        with suppress(EngineError, SyncHalted):
            session.syncing().ask("flush")
        return
    try:
        if in_step.can_run_agent(session.engine, running.container):
            session.syncing().in_step()
        else:
            session.syncing("pull").once(dry_run=False)
    except SyncHalted as halted:
        raise SyncHalted(halted.message, hint=_HALTED_HINT) from halted
    except OwnFolderUnusable as error:
        if not error.is_only_read:
            raise
        session.note(f"What the workspace has is not brought in: {error}")


def _here(session: Session) -> Here:
    """Find the workspace's files, and what of the source folder is left alone."""
    workspace = session.workspace
    top = PurePosixPath(session.plan(BuildOptions()).layout[0]["remote"])
    order = in_step.Order(
        root=workspace.root,
        source=workspace.source,
        service=workspace.config.service,
        container_id="",
        ignore=workspace.config.sync.ignore,
    )
    rules = in_step.rules(order)
    # A model stands in a folder of its own there, and here in the source folder is a link to it.
    placed = [workspace.root / model.path for model in workspace.config.models]

    def ignores(path: PurePosixPath) -> bool:
        inner = path.relative_to(top)
        is_model = any((workspace.source / inner).is_relative_to(local) for local in placed)
        return is_model or in_step.is_left_alone(rules, str(inner))

    files = {top / path: local for path, local in in_step.source_files(order).items()}
    return Here({path: local for path, local in files.items() if not ignores(path)}, top, ignores)
