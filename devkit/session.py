"""The steps in order, on an engine that is picked here: package -> run -> attach -> follow."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from devkit import container as step_run
from devkit import contract, reuse, written
from devkit.config import Workspace
from devkit.engine import Engine, Image, Progress
from devkit.engines import connect
from devkit.errors import ConfigError, EngineError, InitFailed, MappingNotProved, NoService
from devkit.package import environment, image
from devkit.packaging import BuildOptions, packaged, planned
from devkit.results import Debugging, DryRun, Launch, Mapping, Overview, Packaged, Running
from devkit.running import Address, RunningService, found, placements
from devkit.service import Status as RuntimeStatus
from devkit.start import (
    FromImage,
    StartOptions,
    Up,
    is_outdated,
    kept,
    run_spec,
    started,
    undone_if_interrupted,
)

if TYPE_CHECKING:
    from devkit import attach
    from devkit.sync.reconcile import Mode
    from devkit.syncing import Syncing

# Ended by itself, or by the signal that `docker stop` sends.
_STOPPED = (0, 143)
_OF_VERSION = (
    "The container runs another version; `devkit rollback TAG --workspace pull` brings its files."
)


class Session:
    """One workspace on one engine; the engine is connected to when first needed.

    `progress` takes the lines of long work, `note` what is worth keeping in sight.
    """

    def __init__(
        self,
        workspace: Workspace,
        *,
        progress: Progress,
        note: Progress | None = None,
        kind: str | None = None,
        host: str | None = None,
        context: str | None = None,
    ) -> None:
        self.workspace = workspace
        self.progress = progress
        self.note = note or progress
        self._choice = {"engine": kind, "host": host, "context": context}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if "engine" in self.__dict__:
            self.engine.close()

    @cached_property
    def engine(self) -> Engine:
        """The engine that was chosen, else the one that answers."""
        choice = self._choice
        return connect(choice["engine"], host=choice["host"], context=choice["context"])

    def service(self) -> RunningService:
        """Find the service's container.

        Raises:
            NoService: there is none.
        """
        return found(self.engine, self.workspace)

    def plan(self, build: BuildOptions) -> image.Plan:
        """Decide the build; no engine is asked."""
        return planned(self.workspace, build)

    def package(self, build: BuildOptions) -> Packaged:
        """Make the image, or find that the engine has it already."""
        return packaged(self.engine, self.workspace, build, progress=self.progress, note=self.note)

    def bootstrap(self, *, python: str | None, tag: str | None) -> Image:
        """Make a base image out of Debian packages."""
        from devkit import base

        python = python or environment.read(self.workspace).python
        return base.bootstrap(self.engine, python=python, tag=tag, progress=self.progress)

    def run(
        self, build: BuildOptions, start: StartOptions, *, version: FromImage | None = None
    ) -> Running:
        """Package, or take a version; start, and wait until init() is through.

        Raises:
            InitFailed: init() raised; the container stays, and the next edit heals it.
        """
        start = self._remembered(start)
        up = self._started(build, start, version)
        waits = start.debug and self.workspace.config.debug.wait_for_client
        with self._undone_if_interrupted(up):
            return self._described(up, None if waits else self._ready(up.running))

    def debug(
        self,
        build: BuildOptions,
        start: StartOptions,
        *,
        write: bool = True,
        prove: bool = True,
        sync: bool = True,
        version: FromImage | None = None,
        falls_back: bool = False,
    ) -> Debugging:
        """Package, start, write launch.json, and prove that an editor can attach.

        With `version` it is started from that image, without a build. With `falls_back` it is
        started anew, and the container of before runs again if the new one fails; else a failed
        init() is the result's `error`, not raised: the next edit heals it. With `sync`, workspace
        and container are kept in step from then on.

        Raises:
            SyncHalted: the container that runs cannot be brought in step without asking.
        """
        from devkit import attach  # and below: `package` needs none of it

        if write:
            attach.check_files(self.workspace.root)
        start = replace(self._remembered(start, beside_given=falls_back), debug=True)
        up = None
        if version is None and not falls_back:
            in_step = self._in_step if sync else None
            up = kept(self.engine, self.workspace, build, start, note=self.note, sync=in_step)
        up = up or self._started(build, start, version, falls_back=falls_back)
        with self._undone_if_interrupted(up):
            return self._attachable(up, write=write, prove=prove, sync=sync)

    def _attachable(self, up: Up, *, write: bool, prove: bool, sync: bool) -> Debugging:
        """Make a container that runs one that an editor can attach to, with all that F5 needs."""
        from devkit import attach

        with ThreadPoolExecutor(2) as beside:
            # One that was kept is in step already.
            syncing = beside.submit(self.keep_in_step, up.running) if sync and up.is_new else None
            target, files = self._target(up.plan, up.running)
            # Beside the waiting: parsing JSON with comments takes its time.
            writing = beside.submit(self._written, target) if write else None
            status, error = self._initialised(up.running)
            if syncing and up.is_version:
                syncing.result()  # by then it is known which files differ on purpose
            began = time.monotonic()
            is_proved = prove and status is not None
            mappings, attached = self._proved(up.running, target, files, is_proved=is_proved)
            attach_s = time.monotonic() - began if is_proved else None
            launch_json = writing.result() if writing else None
            if syncing:
                syncing.result()
        return Debugging(
            running=self._described(up, status),
            mappings=mappings,
            launch_json=launch_json,
            attach_s=attach_s,
            attached=attached,
            error=error,
            problem_line=attach.problem_line(self.workspace.root, error) if error else None,
            is_new=up.is_new,
        )

    def _proved(
        self, running: RunningService, target: attach.Target, files: list[Path], *, is_proved: bool
    ) -> tuple[tuple[Mapping, ...], str | None]:
        """Return the mappings, proved by an attach if asked for, and who is attached already."""
        from devkit import attach

        if not is_proved:
            return attach.unproved(target.mappings), None
        self.progress("Trying out an attach")
        try:
            return attach.proved(self.workspace, target, files, note=self.note)
        except MappingNotProved as refused:
            if not written.has_version(self.workspace.root, running.container.id):
                raise
            # A version was asked for, which has other files than the workspace.
            self.note(f"{refused.message} {_OF_VERSION}")
            return attach.unproved(target.mappings), None

    def dry_run(
        self, build: BuildOptions, start: StartOptions, version: FromImage | None = None
    ) -> DryRun:
        """Say what `run` and `debug` would do; no engine is asked."""
        spec = run_spec(self.workspace, start)
        return DryRun.of(self.plan(build), spec, version=version.tag if version else None)

    def follow(self, *, show: Callable[[str], None], tail: int | None = None) -> None:
        """Follow the log, and say what the sync does, until somebody stops it.

        A container that takes the place of the one followed is followed next.

        Args:
            show: takes each line.
            tail: how many lines of the log so far; None shows all.

        Raises:
            ContainerDied: it ended by itself, and how.
        """
        running = self.service()
        while True:
            with self._told_by_sync(running):
                for line in running.logs(follow=True, tail=tail):
                    show(line)
            now = step_run.find(self.engine, service=running.name)
            if now is None or now.exit_code in _STOPPED:
                self.note(f"The container {running.container.name} was stopped.")
                return
            if now.id == running.container.id:
                running.alive()
            running, tail = RunningService(self.engine, now), None

    def syncing(self, mode: Mode | None = None) -> Syncing:
        """Return what keeps the running service and this workspace in step.

        Raises:
            NotOurs: it was made from another workspace.
            Unsupported: it runs on the workspace's own files.
        """
        return self._syncing(self.service(), mode)

    def keep_in_step(self, running: RunningService) -> None:
        """Start or join the sync of a service; that it cannot is noted only."""
        if self._is_synced(running):
            self._syncing(running).started(note=self.note)

    def status(self) -> Overview:
        """Return how service and sync are, and what differs from the container."""
        from devkit.versions import Versions

        running = self.service()
        committed = Versions(self.engine, self.workspace, running, note=self.note).committed()
        if not self._is_synced(running):
            return Overview(running.status(), committed=committed)
        sync, differing, outdated = self._syncing(running), list[Path](), False
        with suppress(ConfigError):  # a script that does not parse says so elsewhere
            files = reuse.source_files(self.plan(BuildOptions()).spec)
            kept = {r: local for r, local in files.items() if not sync.ignores(local)}
            differing = reuse.differing(running, kept) or []
            outdated = is_outdated(self.engine, self.workspace, running)
        return Overview(running.status(), sync.status(), tuple(differing), outdated, committed)

    def stop(self) -> str:
        """Stop the service's container and return its name."""
        running = self.service()
        if running.root == self.workspace.root:
            from devkit.sync import ending

            ending.ended(running.root, running.name)
        return step_run.stop(self.engine, running.name).name

    def launch_files(self, action: str) -> Launch:
        """Write, print, check or remove devkit's entries; ports and mappings as they are now."""
        from devkit import attach

        root = self.workspace.root
        if action == "remove":
            return attach.removed(root)
        running = None
        with suppress(EngineError, NoService):  # without an engine, what is configured counts
            running = self.service()
        if running and (running.debug is None or running.root != root):
            running = None
        target, _ = self._target(self.plan(BuildOptions()), running)
        return attach.written(root, target, action)

    def _started(
        self,
        build: BuildOptions,
        start: StartOptions,
        version: FromImage | None = None,
        *,
        falls_back: bool = False,
    ) -> Up:
        return started(
            self.engine,
            self.workspace,
            build,
            start,
            progress=self.progress,
            note=self.note,
            version=version,
            falls_back=falls_back,
        )

    def _remembered(self, start: StartOptions, *, beside_given: bool = False) -> StartOptions:
        """Take over the options of the container that is there.

        Where some are given now, only these count; with `beside_given`, they replace those of the
        same name.
        """
        has_given = reuse.has_options(self.workspace) or start != StartOptions()
        if has_given and not beside_given:
            return start
        try:
            running = self.service()
        except NoService:
            return start
        if running.root != self.workspace.root:
            return start
        self.workspace, said = reuse.remembered_options(self.workspace, running.container)
        binds = {bind for bind, _ in running.container.ports.values()} - {start.bind}
        if binds:
            self.note(f"Ports were open on {', '.join(binds)}; without --bind, on {start.bind}.")
        return replace(start, **said)

    def _undone_if_interrupted(self, up: Up) -> AbstractContextManager[None]:
        """Ctrl-C while a new container comes up: it goes again; one that was kept stays."""
        if not up.is_new:
            return nullcontext()
        return undone_if_interrupted(self.workspace, up.running, note=self.note)

    @property
    def _arguments(self) -> list[str]:
        """The options with which another devkit finds the same engine."""
        given = ((f"--{name}", value) for name, value in self._choice.items() if value)
        return [word for pair in given for word in pair]

    def _initialised(
        self, running: RunningService
    ) -> tuple[RuntimeStatus | None, InitFailed | None]:
        """Wait for init(). Neither: who wants to stop in it attaches first, which ends the wait."""
        if self.workspace.config.debug.wait_for_client:
            return None, None
        try:
            return self._ready(running), None
        except InitFailed as failed:
            return None, failed

    def _ready(self, running: RunningService) -> RuntimeStatus | None:
        self.progress("Waiting for init()")
        return running.ready()

    def _written(self, target: attach.Target) -> Path:
        from devkit import attach

        attach.written(self.workspace.root, target, "write")
        return self.workspace.root / ".vscode" / "launch.json"

    def _described(self, up: Up, status: RuntimeStatus | None) -> Running:
        running = up.running
        init_ms = status.init_ms if status else None
        return Running(
            service=running.name,
            container=running.container.name,
            image=running.container.image,
            engine=self.engine.name,
            score_uri=running.score_uri or "",
            debug=running.debug,
            package_s=up.package_s,
            start_s=up.start_s,
            init_s=None if init_ms is None else init_ms / 1000,
        )

    def _target(
        self, plan: image.Plan, running: RunningService | None
    ) -> tuple[attach.Target, list[Path]]:
        """Return what an editor attaches to, a service or what is configured, and its sources."""
        from devkit import attach

        files = [file for file in reuse.source_files(plan.spec).values() if file.suffix == ".py"]
        if running:
            address, mappings = running.debug_address(), running.mappings
        else:
            port = self.workspace.config.ports.debug
            address = Address("127.0.0.1", port if isinstance(port, int) else contract.DEBUG_PORT)
            mappings = placements(self.workspace.root, plan.layout)
        target = attach.target(
            self.workspace, address, mappings, files=files, arguments=self._arguments
        )
        return target, files

    def _syncing(self, running: RunningService, mode: Mode | None = None) -> Syncing:
        from devkit import syncing

        return syncing.of(self.workspace, running, engine=self._choice, mode=mode)

    def _is_synced(self, running: RunningService) -> bool:
        """Whether there is something to be kept in step with this workspace."""
        return self.engine.name != "process" and running.root == self.workspace.root

    def _in_step(self, running: RunningService) -> int:
        return self._syncing(running).in_step()

    def _told_by_sync(self, running: RunningService) -> AbstractContextManager[None]:
        """Say meanwhile what the sync of this workspace does, if one runs."""
        if not self._is_synced(running):
            return nullcontext()
        change = partial(reuse.environment_change, self.workspace, running.container)
        return self._syncing(running).told(self.note, after_change=change)
