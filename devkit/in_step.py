"""Step 5, sync: a running service and its workspace in step, once or until told to stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NoReturn

from devkit import contract
from devkit.engine import Container, Engine
from devkit.errors import NotOurs, Unsupported
from devkit.package import build_files
from devkit.running import RunningService
from devkit.sync.agent import places
from devkit.sync.agent.side import FILE, FOLDER, LINK, Entry, Side
from devkit.sync.ancestor import Ancestor
from devkit.sync.ignore import Ignore
from devkit.sync.journal import Journal
from devkit.sync.loop import Connect, Loop
from devkit.sync.news import News
from devkit.sync.offline import Offline
from devkit.sync.reconcile import Mode, Plan, reconcile
from devkit.sync.remote import Remote
from devkit.sync.work import Work
from devkit.sync.workspace import Workspace

_NOT_FOUND = (126, 127)


@dataclass(frozen=True)
class Order:
    """Which service is to be kept in step, and how.

    `models` are the configured ones, wherever they stand; `engine` are the options that find the
    service again.
    """

    root: Path
    source: Path
    service: str
    container_id: str
    mode: Mode = "two-way"
    ignore: tuple[str, ...] = ()
    models: tuple[Path, ...] = ()
    engine: Mapping[str, str | None] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Once:
    """What was done, or would be; `failed` says why some of it could not be."""

    plan: Plan
    failed: Mapping[str, str]
    is_done: bool

    def shown(self, name: Callable[[str], str]) -> Once:
        """Return it with other names for the paths."""
        failed = {name(path): why for path, why in self.failed.items()}
        return Once(self.plan.shown(name), failed, self.is_done)

    def __str__(self) -> str:
        lines = [str(self.plan)] if str(self.plan) else ["Nothing differs."]
        lines += [f"not done {path}: {why}" for path, why in self.failed.items()]
        return "\n".join(lines)


@contextmanager
def opened(
    order: Order, running: RunningService, show: Callable[[News], None]
) -> Iterator[tuple[Loop, Workspace]]:
    """Open all that is stored about a workspace and its container; yield the loop, not yet run."""
    with (
        Journal(order.root) as journal,
        Ancestor.of(order.root, order.container_id) as ancestor,
    ):
        workspace, ignore = side(order, running, journal)
        loop = Loop(
            Work(
                workspace,
                service=order.service,
                ancestor=ancestor,
                journal=journal,
                ignore=ignore,
                mode=order.mode,
                show=show,
            ),
            show=show,
        )
        try:
            yield loop, workspace
        finally:
            loop.close()


def side(order: Order, running: RunningService, journal: Journal) -> tuple[Workspace, Ignore]:
    """Make the workspace a side of the sync, and say what it ignores."""
    ignore = rules(order)
    source, placed = _layout(running, order)
    workspace = Workspace(
        order.source, root=order.root, under=source, placed=placed, ignore=ignore, journal=journal
    )
    return workspace, ignore


@cache
def rules(order: Order) -> Ignore:
    """Read what of a workspace is left alone."""
    return Ignore(
        order.source,
        extra=order.ignore,
        left_out=lambda: build_files.left_out(order.source, order.root),
        never=build_files.never(order.source, order.root),
    )


def source_files(order: Order) -> dict[str, Path]:
    """Return files and links of the source folder that are not left alone, by their paths in it."""
    found = _Source(order).scan().entries
    kinds = (FILE, LINK)
    return {path: order.source / path for path, entry in found.items() if entry.kind in kinds}


class _Source(Side):
    def __init__(self, order: Order) -> None:
        super().__init__(str(order.source))
        self._ignore = rules(order)

    def ignores(self, path: str, is_folder: bool) -> bool:
        """Whether `path` is none of the sync's business."""
        return is_left_alone(self._ignore, path, is_folder=is_folder)


def is_left_alone(ignore: Ignore, path: str, *, is_folder: bool = False) -> bool:
    """Whether the sync leaves a path of the source folder alone."""
    return places.is_fleeting(path) or ignore.ignores(path, is_folder=is_folder)


def connecting(engine: Engine, container_id: str) -> Connect:
    """Return how an agent is started in a container."""
    return lambda told, lost: Remote(engine, container_id, contract.APP_ROOT, told=told, lost=lost)


def can_run_agent(engine: Engine, container: Container) -> bool:
    """Whether an agent can run in it: it runs, and has Python."""
    if not container.is_running:
        return False
    stream = engine.exec(container.id, ["python3", "-I", "-c", ""])
    try:
        return stream.wait() not in _NOT_FOUND
    finally:
        stream.close()


def previewed(order: Order, running: RunningService) -> Plan:
    """Say what would be done now."""
    if can_run_agent(running.engine, running.container):
        with opened(order, running, lambda _: None) as (loop, _workspace):
            return loop.preview(connecting(running.engine, running.container.id))
    with Journal(order.root) as journal, Ancestor.of(order.root, order.container_id) as ancestor:
        workspace, _ = side(order, running, journal)
        _, plan = _offline(order, running, workspace, ancestor)
        return plan


def once(order: Order, running: RunningService) -> Once:
    """Bring both sides in step one time.

    Raises:
        SyncHalted: it could lose files.
    """
    connect = connecting(running.engine, running.container.id)
    with opened(order, running, lambda _: None) as (loop, _workspace):
        plan, failed = loop.once(connect)
    return Once(plan, failed, is_done=True)


def by_archive(order: Order, running: RunningService) -> Once:
    """Push or pull where no agent can run.

    Raises:
        Unsupported: another mode was asked for.
    """
    if order.mode not in ("push", "pull"):
        refuse(running)
    failed = dict[str, str]()
    with Journal(order.root) as journal, Ancestor.of(order.root, order.container_id) as ancestor:
        workspace, _ = side(order, running, journal)
        offline, plan = _offline(order, running, workspace, ancestor)
        to = offline.push if order.mode == "push" else offline.pull
        done = to(plan.changes, workspace, lambda change, why: failed.update({change.path: why}))
        ancestor.agree({**plan.agreed, **{change.path: change.new for change in done}})
        journal.write(order.service, [(c.side, c.path, c.old, c.new, "") for c in done])
    return Once(plan, failed, is_done=True)


def refuse(running: RunningService) -> NoReturn:
    """Say that no agent can run in the container.

    Raises:
        Unsupported: in any case.
    """
    why = "has no Python" if running.container.is_running else "does not run"
    raise Unsupported(
        f"The container {running.container.name} {why}: it cannot be kept in step.",
        hint="`devkit sync --once --push` or `--pull` goes one way, by the engine's archives.",
    )


def _offline(
    order: Order, running: RunningService, workspace: Workspace, ancestor: Ancestor
) -> tuple[Offline, Plan]:
    owner = contract.UID
    offline = Offline(running.engine, running.container.id, contract.APP_ROOT, owner)
    there = {
        path: entry
        for path, entry in offline.scan().items()
        if not workspace.ignores(path, is_folder=entry.kind == FOLDER)
    }
    here = workspace.scan()
    unknown = {
        path: why
        for path, why in here.unknown.items()
        if not _is_digested(workspace, path, here.entries)
    }
    plan = reconcile(ancestor.entries, here.entries, there, mode=order.mode, unknown=unknown)
    return offline, plan


def _is_digested(workspace: Workspace, path: str, entries: dict[str, Entry]) -> bool:
    """Make a large file's digest now: nobody waits for small ones here."""
    try:
        entry = workspace.look(path)
    except OSError:
        return False
    if entry is not None:
        entries[path] = entry
    return True


def _layout(running: RunningService, order: Order) -> tuple[str, dict[str, Path]]:
    """Return where the source folder stands in the container, and the models with their places.

    Raises:
        NotOurs: the container does not say.
    """
    if not running.mappings:
        raise NotOurs(
            f"The container {running.container.name} does not say where its source folder stands.",
            hint="`devkit debug` makes one that does.",
        )
    source, *models = running.mappings
    root = contract.APP_ROOT
    placed = {
        model.remote.relative_to(root).as_posix(): model.local
        for model in models
        if _is_model(order, model.local) and model.local.exists()
    }
    return source.remote.relative_to(root).as_posix(), placed


def _is_model(order: Order, local: Path) -> bool:
    """Whether a path that a container names may go there: anybody can write labels."""
    root = order.root.resolve()
    if local in order.models:
        return True
    is_hidden = any(part.startswith(".") for part in local.parts[len(root.parts) :])
    is_above = order.source.resolve().is_relative_to(local)
    return local.is_relative_to(root) and not is_hidden and not is_above
