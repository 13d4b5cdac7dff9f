"""Step 5, sync: what a user can ask of it, whether a process keeps the service in step or not."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from threading import Thread
from typing import Any

from devkit import background, in_step, undo
from devkit.config import Workspace
from devkit.engine import Progress
from devkit.errors import BadValue, ConfigError, EngineError, NotOurs, SyncHalted, Unsupported
from devkit.in_step import Once, Order
from devkit.running import RunningService
from devkit.sync.control import Running
from devkit.sync.ending import ended
from devkit.sync.journal import Journal, Record
from devkit.sync.news import Waiting
from devkit.sync.reconcile import Mode, Plan

_FLUSH_TIMEOUT_S = 600
_OFF = "Nothing keeps workspace and container in step."
_BEGIN = "`devkit sync` begins."
_HELD = ("paused", "halted")


def of(
    workspace: Workspace,
    running: RunningService,
    *,
    engine: Mapping[str, str | None],
    mode: Mode | None = None,
) -> Syncing:
    """Return the sync of a service with the workspace that it was made from.

    Args:
        workspace: its configuration decides, where `mode` is None.
        running: the service.
        engine: the options that find its engine again.
        mode: another one than is configured.

    Raises:
        NotOurs: it was made from another workspace.
    """
    root, config = workspace.root, workspace.config.sync
    if running.root != root:
        raise NotOurs(
            f"{running.name} was made from {running.root}, not from {root}.",
            hint=f"`devkit -C {running.root} sync` keeps it in step.",
        )
    order = Order(
        root=root,
        source=workspace.source,
        service=running.name,
        container_id=running.container.id,
        mode=mode or config.mode,
        ignore=config.ignore,
        models=tuple(_real(root, model.path) for model in workspace.config.models),
        engine=engine,
    )
    return Syncing(order, running)


def _real(root: Path, path: str) -> Path:
    # Not by resolve(), which raises for a link that leads to itself.
    return Path(os.path.realpath(root / Path(path).expanduser()))


class Syncing:
    """The sync of one service.

    Raises Unsupported where the service runs on the workspace's own files.
    """

    def __init__(self, order: Order, running: RunningService) -> None:
        if running.engine.name == "process":
            raise Unsupported(
                "The service runs on the workspace's own files: there is nothing to keep in step."
            )
        self._order = order
        self._running = running

    # With the process that keeps it in step.

    def start(self) -> Running:
        """Join the process, or start it.

        Raises:
            Unsupported: no agent can run in the container.
        """
        found = self.find()
        if found is not None:
            _same_mode(found, self._order.mode)
            return found
        if not in_step.can_run_agent(self._running.engine, self._running.container):
            in_step.refuse(self._running)
        return background.started(self._order)

    def find(self) -> Running | None:
        """Find the process; None where none runs."""
        order = self._order
        return background.running(order.root, order.service, order.container_id)

    def ask(self, what: str) -> dict[str, Any]:
        """Ask the process to pause, resume, reset or flush; return how it is then.

        Raises:
            EngineError: none runs.
        """
        found = self.find()
        if found is None:
            raise EngineError(_OFF, hint="`devkit sync` or `devkit debug` starts it.")
        with found:
            return found.ask(what, timeout_s=_FLUSH_TIMEOUT_S)

    def status(self) -> dict[str, Any]:
        """Say how it is; while it is paused or halted, how much waits, too."""
        found = self.find()
        if found is None:
            return {"state": "off", "text": f"{_OFF} {_BEGIN}"}
        with found:
            status = found.ask("status")
        return self._with_waiting(status) if status["state"] in _HELD else status

    def _with_waiting(self, status: dict[str, Any]) -> dict[str, Any]:
        # What it halts for may be in the way of a look at both sides, too.
        with suppress(EngineError, SyncHalted, OSError):
            waiting = Waiting.of(self.diff())
            status["waiting"] = asdict(waiting)
            status["text"] += f"\n{waiting}"
        return status

    def follow(self) -> Iterator[dict[str, Any]]:
        """Start or join it; yield how it is, and what happens until it ends."""
        with self.start() as found:
            status, news = found.ask("status"), found.follow()
            yield {"event": "following", "text": status["text"], "path": "", "side": "", "ms": None}
            yield from news

    def in_step(self) -> int:
        """Start or join it, and return how many files it changed until both sides are the same."""
        was = self.find()
        before = int(was.ask("status")["changes"]) if was is not None else 0
        with was or self.start() as found:
            return int(found.ask("flush", timeout_s=_FLUSH_TIMEOUT_S)["changes"]) - before

    def started(self, *, note: Progress) -> None:
        """Start or join it, for a service that is there without it, too: a failure is told only."""
        try:
            self.in_step()
        except (EngineError, ConfigError, SyncHalted, OSError) as error:
            note(f"Workspace and container are not kept in step: {error}")

    @contextmanager
    def told(self, note: Progress, *, after_change: Callable[[], str | None]) -> Iterator[None]:
        """Say meanwhile what it does, if it runs; `after_change` has something to add, once."""
        found = self.find()
        if found is None:
            yield
            return
        # From now on, whenever the thread comes to it.
        news = found.follow()
        Thread(target=_tell, args=(news, note, after_change), daemon=True).start()
        try:
            yield
        finally:
            found.close()

    def stop(self) -> bool:
        """End it when what was edited has arrived; whether one ran."""
        return ended(self._order.root, self._order.service)

    # Without it.

    def once(self, *, dry_run: bool) -> Once:
        """Bring both sides in step one time, or say what would be done.

        Raises:
            SyncHalted: it could lose files.
            OwnFolderUnusable: what is done cannot be written down; nothing is done.
        """
        if dry_run:
            return Once(self.diff(), {}, is_done=False)
        background.refuse_unstorable(self._order)
        if not in_step.can_run_agent(self._running.engine, self._running.container):
            return self._shown(in_step.by_archive(self._order, self._running))
        found = self.find()
        if found is None:
            return self._shown(in_step.once(self._order, self._running))
        with found:
            _same_mode(found, self._order.mode)
            found.ask("flush", timeout_s=_FLUSH_TIMEOUT_S)
        return Once(Plan(), {}, is_done=True)

    def diff(self) -> Plan:
        """Say what differs now; paths are as in the workspace."""
        plan = in_step.previewed(self._order, self._running)
        return self._shown(Once(plan, {}, is_done=False)).plan

    def _shown(self, done: Once) -> Once:
        """Return it with the paths as they are in the workspace."""
        with Journal(self._order.root) as journal:
            workspace, _ = in_step.side(self._order, self._running, journal)
            return done.shown(workspace.shown)

    def ignores(self, local: Path) -> bool:
        """Whether a file of the workspace is left alone."""
        source = self._order.source
        if not local.is_relative_to(source):
            return True
        path = local.relative_to(source).as_posix()
        return in_step.rules(self._order).ignores(path, is_folder=False)

    def log(self, *, most: int) -> list[Record]:
        """Return what was changed, the newest first."""
        with Journal(self._order.root) as journal:
            workspace, _ = in_step.side(self._order, self._running, journal)
            records = journal.records(most=most, service=self._order.service)
            return [replace(record, path=workspace.shown(record.path)) for record in records]

    def undo(
        self, number: int | None, *, back_to: int | None, dry_run: bool = False
    ) -> list[Record]:
        """Give paths of the workspace back what they had; return which changes that takes back.

        Args:
            number: this change; None for the last one.
            back_to: this change and all since.
            dry_run: only say which.

        Raises:
            BadValue: there is no such change, its content is gone, or the path has changed since.
            OwnFolderUnusable: it cannot be written down; nothing is taken back.
        """
        order = self._order
        with Journal(order.root) as journal:
            workspace, _ = in_step.side(order, self._running, journal)
            found = undo.chosen(journal, order.service, number=number, back_to=back_to)
            if not dry_run:
                journal.make()
                undo.undo(workspace, journal, found)
            return [replace(record, path=workspace.shown(record.path)) for record in found]


def _tell(
    news: Iterator[Mapping[str, Any]], note: Progress, after_change: Callable[[], str | None]
) -> None:
    added = None
    for said in news:
        if said["event"] != "connected":
            note(said["text"])
        if added is None and said["event"] == "changed":
            added = after_change()
            if added:
                note(added)


def _same_mode(found: Running, mode: Mode) -> None:
    has = found.ask("status")["mode"]
    if mode != has:
        raise BadValue(
            f"The service is kept in step already, by {has} and not by {mode}.",
            hint="`devkit sync stop`, then this again.",
        )
