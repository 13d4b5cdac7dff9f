"""The steps in order, on an engine that is picked here: package -> run -> attach -> follow."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from threading import Event, Thread
from types import TracebackType
from typing import Self

from devkit import attach, contract, edits, reuse, written
from devkit import container as step_run
from devkit.config import Workspace
from devkit.engine import Container, Engine, Image, Progress
from devkit.engines import connect
from devkit.errors import EngineError, InitFailed, NoService
from devkit.package import environment, image
from devkit.results import Debugging, Deletion, DryRun, Launch, Packaged, Running
from devkit.running import Address, RunningService, found, placements
from devkit.service import Status as RuntimeStatus
from devkit.start import BuildOptions, StartOptions, Up, kept, packaged, planned, run_spec, started
from devkit.trash import Saved

# Ended by itself, or by the signal that `docker stop` sends.
_STOPPED = (0, 143)


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

    def run(self, build: BuildOptions, start: StartOptions) -> Running:
        """Package, start, and wait until init() is through.

        Raises:
            InitFailed: init() raised; the container stays, and the next edit heals it.
        """
        start = self._remembered(start)
        up = self._started(build, start)
        waits = start.debug and self.workspace.config.debug.wait_for_client
        with self._undone_if_interrupted(up):
            return self._described(up, None if waits else up.running.ready())

    def debug(
        self, build: BuildOptions, start: StartOptions, *, write: bool = True, prove: bool = True
    ) -> Debugging:
        """Package, start, write launch.json, and prove that an editor can attach.

        A failed init() is the result's `error`, not raised: the next edit heals it.
        """
        if write:
            attach.check_files(self.workspace.root)
        start = replace(self._remembered(start), debug=True)
        up = kept(self.engine, self.workspace, build, start, note=self.note)
        up = up or self._started(build, start)
        target, files = self._target(up.plan, up.running)
        with self._undone_if_interrupted(up), ThreadPoolExecutor(1) as beside:
            # Beside the waiting: parsing JSON with comments takes its time.
            writing = beside.submit(self._written, target) if write else None
            status, error = self._initialised(up.running)
            began = time.monotonic()
            mappings, attached = attach.unproved(target.mappings), None
            if prove and status is not None:
                mappings, attached = attach.proved(self.workspace, target, files, note=self.note)
            attach_s = time.monotonic() - began
            launch_json = writing.result() if writing else None
        return Debugging(
            running=self._described(up, status),
            mappings=mappings,
            launch_json=launch_json,
            attach_s=attach_s if prove and status is not None else None,
            attached=attached,
            error=error,
            problem_line=attach.problem_line(self.workspace.root, error) if error else None,
            is_new=up.is_new,
        )

    def dry_run(self, build: BuildOptions, start: StartOptions) -> DryRun:
        """Say what `run` and `debug` would do; no engine is asked."""
        return DryRun.of(self.plan(build), run_spec(self.workspace, start))

    def follow(self, *, show: Callable[[str], None], tail: int | None = None) -> None:
        """Follow the log, and bring saved files into the container, until somebody stops it.

        A container that takes the place of the one followed is followed next.

        Args:
            show: takes each line.
            tail: how many lines of the log so far; None shows all.

        Raises:
            ContainerDied: it ended by itself, and how.
        """
        running = self.service()
        while True:
            with self._pushing(running):
                for line in running.logs(follow=True, tail=tail):
                    show(line)
            now = step_run.find(self.engine, service=running.name)
            if now is None or now.exit_code in _STOPPED:
                self.note(f"The container {running.container.name} was stopped.")
                return
            if now.id == running.container.id:
                running.alive()
            running, tail = RunningService(self.engine, now), None

    def stop(self) -> str:
        """Stop the service's container and return its name."""
        return step_run.stop(self.engine, self.service().name).name

    def deletion(self, *, with_launch: bool) -> Deletion:
        """Decide what `delete` takes away."""
        name, root, container = self.workspace.config.service, self.workspace.root, None
        with suppress(NoService):
            running = self.service()
            name, container = running.name, running.container
            # The entries of another workspace's service are in that one, which is left alone.
            with_launch = with_launch and running.root == root
        return Deletion(
            service=name,
            container=container.name if container else None,
            container_id=container.id if container else None,
            network=step_run.network_name(name),
            launch_root=root if with_launch else None,
        )

    def delete(self, plan: Deletion) -> Deletion:
        """Remove what `deletion` decided, and return what of it was there.

        What was edited in the container is kept, and the result says where.
        """
        # Nobody agreed to remove one that was started since.
        removed, kept = self._removed(plan.service, plan.container_id or "")
        root = plan.launch_root
        return Deletion(
            service=plan.service,
            container=plan.container if removed.container else None,
            container_id=plan.container_id if removed.container else None,
            network=plan.network if removed.network else None,
            launch_root=root if root and attach.removed(root).changed else None,
            edits=kept.folder if kept else None,
        )

    def launch_files(self, action: str) -> Launch:
        """Write, print, check or remove devkit's entries; ports and mappings as they are now."""
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

    def _started(self, build: BuildOptions, start: StartOptions) -> Up:
        return started(
            self.engine, self.workspace, build, start, progress=self.progress, note=self.note
        )

    def _remembered(self, start: StartOptions) -> StartOptions:
        """Take over the options of the container that is there, where none are given now."""
        if reuse.has_options(self.workspace) or start != StartOptions():
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

    @contextmanager
    def _undone_if_interrupted(self, up: Up) -> Iterator[None]:
        """Ctrl-C while a new container comes up: it goes again."""
        try:
            yield
        except KeyboardInterrupt:
            if up.is_new:
                self._removed(up.running.name, up.running.container.id)
            raise

    def _removed(self, service: str, container_id: str) -> tuple[step_run.Removed, Saved | None]:
        """Remove that container and the service's network; return what was kept of it, too."""
        kept = list[Saved | None]()

        def keep(container: Container) -> None:
            running = RunningService(self.engine, container)
            kept.append(edits.kept(running, root=self.workspace.root, note=self.note))

        removed = step_run.delete(self.engine, service, only=container_id, before_removal=keep)
        return removed, next(iter(kept), None)

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
            return running.ready(), None
        except InitFailed as failed:
            return None, failed

    def _written(self, target: attach.Target) -> Path:
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

    def _sources(self) -> dict[PurePosixPath, Path]:
        return reuse.source_files(self.plan(BuildOptions()).spec)

    @contextmanager
    def _pushing(self, running: RunningService) -> Iterator[None]:
        """Bring saved files into the container meanwhile, if it is this workspace's."""
        if running.root != self.workspace.root:
            yield
            return
        stop = Event()
        from devkit.sync import push  # watchdog is for those who follow

        thread = Thread(
            target=push.follow,
            args=(self.engine, running.container.id, self._sources),
            kwargs={
                "folder": self.workspace.source,
                "stop": stop,
                "progress": self.note,
                "wrote": partial(written.remember, running.root, running.container.id),
                "written": written.digests(running.root, running.container.id),
            },
            daemon=True,
        )
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(timeout=5)
