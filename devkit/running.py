"""Step 4, use: a service that runs, from its labels alone: its addresses, log and processes."""

from __future__ import annotations

import codecs
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from devkit import container as step_run
from devkit import contract, labels, terminal
from devkit import service as scoring
from devkit.engine import Container, Engine, Placement
from devkit.errors import DebuggerUnreachable, InitFailed, NoService, NotReady, Unsupported

if TYPE_CHECKING:  # the process that keeps a service in step needs no configuration, 10 MB
    from devkit.config import Workspace

# bash where there is one; not a login shell: /etc/profile would take the environment off the PATH.
_SHELL = ("sh", "-c", "exec $(command -v bash || echo sh)")
_LONGEST_LINE = 64 * 1024
# Models are large: init() may take its time.
_INIT_TIMEOUT_S = 600
_HEALTH_EVERY_S = 0.05


@dataclass(frozen=True)
class Address:
    """A host and a port on it."""

    host: str
    port: int


@dataclass(frozen=True)
class Status:
    """How a service is; `runtime` is None when nothing in the container answers."""

    service: str
    container: str
    container_state: str
    image: str
    workspace: str
    score_uri: str | None
    debug: Address | None
    runtime: scoring.Status | None

    def __str__(self) -> str:
        state = self.runtime.state if self.runtime else self.container_state
        lines = [f"{self.service}: {state} (container {self.container}, image {self.image})"]
        if self.score_uri:
            lines.append(f"scoring   {self.score_uri}")
        if self.debug:
            attached = self.runtime.attached if self.runtime else None
            who = f", {attached.client} is attached" if attached else ""
            lines.append(f"debugger  {self.debug.host}:{self.debug.port}{who}")
        if self.runtime and self.runtime.error:
            lines.append(f"error     {self.runtime.error}")
        return "\n".join(lines)


class RunningService:
    """A container of ours, as its labels describe it."""

    def __init__(self, engine: Engine, container: Container) -> None:
        self.engine = engine
        self.container = container
        self.name = container.labels[contract.LABEL_SERVICE]

    @property
    def root(self) -> Path:
        """The workspace that it was made from."""
        return labels.workspace(self.container)

    @property
    def mappings(self) -> tuple[Placement, ...]:
        """Which local path stands where in the container; the source directory first."""
        mapped = placements(self.root, labels.layout(self.container))
        if self.engine.name == "process":
            # It runs the files of the workspace themselves.
            return tuple(Placement(m.local, PurePosixPath(m.local)) for m in mapped)
        return mapped

    @property
    def debug(self) -> Address | None:
        """Where the debugger listens on this machine; None without one."""
        return self._address(contract.DEBUG_PORT)

    @property
    def score_uri(self) -> str | None:
        """Where the service answers on this machine; None while it does not run."""
        address = self._address(contract.SCORE_PORT)
        return f"http://{address.host}:{address.port}/score" if address else None

    def status(self) -> Status:
        """Ask container and runtime how they are."""
        return Status(
            service=self.name,
            container=self.container.name,
            container_state=self.container.state,
            image=self.container.image,
            workspace=str(self.root),
            score_uri=self.score_uri,
            debug=self.debug,
            runtime=self._runtime(),
        )

    def debug_address(self) -> Address:
        """Return where the debugger listens.

        Raises:
            NoService: it does not run, or was started without one.
        """
        if self.debug is None:
            self.alive()
            why = f"{self.name} runs without a debugger."
            raise NoService(why, hint="`devkit debug` starts it with one.")
        return self.debug

    def alive(self) -> None:
        """Return if the container runs.

        Raises:
            ContainerDied: it ended, and how.
        """
        step_run.check_alive(self.engine, self.container.id)

    def ready(self) -> scoring.Status | None:
        """Wait until init() is through; None where there is no debugger to ask about it.

        Raises:
            InitFailed: it raised; the local file and line are named.
            ContainerDied: the container ended.
        """
        if self.debug is None:
            self._healthy()
            return None
        return scoring.wait_ready(
            self.debug.host,
            self.debug.port,
            timeout_s=_INIT_TIMEOUT_S,
            alive=self.alive,
            mappings=self.mappings,
        )

    def reload(self) -> Status:
        """Run init() again in a new worker."""
        address = self.debug_address()
        after = scoring.reload(address.host, address.port, mappings=self.mappings)
        return replace(self.status(), runtime=after)

    def logs(
        self, *, follow: bool = False, since_s: float | None = None, tail: int | None = None
    ) -> Iterator[str]:
        """Yield lines of the log, `since_s` seconds back, each with its newline."""
        since = None if since_s is None else time.time() - since_s
        return lines(self.engine.logs(self.container.id, follow=follow, since=since, tail=tail))

    def invoke(
        self,
        data: bytes | None,
        *,
        path: str = "/score",
        headers: Sequence[str] = (),
        method: str | None = None,
        timeout_s: float | None = None,
    ) -> scoring.Answer:
        """Send a request; headers are "NAME: VALUE"."""
        uri = self.score_uri
        if uri is None:
            self.alive()
            raise NoService(f"{self.name} publishes no port.", hint="`devkit run` starts it anew.")
        pairs = (header.partition(":") for header in headers)
        return scoring.invoke(
            uri.removesuffix("/score") + "/" + path.lstrip("/"),
            data,
            headers={name.strip(): value.strip() for name, _, value in pairs},
            method=method,
            timeout_s=timeout_s,
        )

    def shell(self, *, user: str | None = None) -> int:
        """Open a shell on this terminal; return its exit code.

        Raises:
            Unsupported: the service runs as a process of this machine.
        """
        if self.engine.name == "process":
            why = "A service that runs as a process has no container to open a shell in."
            raise Unsupported(why, hint="`devkit exec -- bash` has the service's environment.")
        return self.exec(_SHELL, user=user)

    def exec(
        self,
        command: Sequence[str],
        *,
        user: str | None = None,
        workdir: str | None = None,
        tty: bool = True,
    ) -> int:
        """Run a command in the container with this process's streams; return its exit code."""
        tty = tty and terminal.is_terminal() and self.engine.name != "process"
        env = {"TERM": os.environ.get("TERM", "xterm")} if tty else None
        stream = self.engine.exec(
            self.container.id,
            command,
            user=user,
            workdir=workdir,
            env=env,
            tty=tty,
            on_stderr=terminal.to_stderr,
        )
        try:
            return terminal.interact(stream) if tty else terminal.relay(stream)
        finally:
            stream.close()

    def _runtime(self) -> scoring.Status | None:
        if self.debug is None or not self.container.is_running:
            return None
        try:
            return scoring.status(self.debug.host, self.debug.port, mappings=self.mappings)
        except DebuggerUnreachable:
            return None

    def _healthy(self) -> None:
        """Wait for the front's own word on "/": it answers 503 until init() is through."""
        deadline = time.monotonic() + _INIT_TIMEOUT_S
        while time.monotonic() < deadline:
            self.alive()
            try:
                answer = self.invoke(None, path="/", timeout_s=5)
            except (NoService, NotReady):
                answer = None
            if answer and answer.ok:
                return
            if answer and ('"failed"' in answer.text() or '"crash_loop"' in answer.text()):
                hint = "`devkit logs` has the traceback; `devkit debug` follows it up."
                raise InitFailed(f"init() of {self.name} failed.", hint=hint)
            # Nothing tells by itself: without a debugger there is no port for questions.
            time.sleep(_HEALTH_EVERY_S)
        raise NotReady(
            f"{self.name} was not ready within {_INIT_TIMEOUT_S} s.", hint="`devkit logs`"
        )

    def _address(self, port: int) -> Address | None:
        bind, host_port = self.container.ports.get(port, ("", 0))
        # All addresses of a machine include its loopback.
        return (
            Address("127.0.0.1" if bind in ("0.0.0.0", "::") else bind, host_port) if bind else None
        )


def found(engine: Engine, workspace: Workspace) -> RunningService:
    """Find the service's container: by its name, else as the one of this workspace.

    Raises:
        NoService: there is none; those that there are get named.
        NotOurs: another workspace has a service of that name, and nobody said --service.
    """
    name, is_named = workspace.config.service, workspace.origins["service"] == "--service"
    container = step_run.find(engine, service=name)
    if container is not None and not is_named:
        step_run.refuse_of_another(container, workspace.root)
    if container is None and not is_named:
        container = step_run.find(engine, workspace=workspace.root)
    if container is None:
        others = step_run.services(engine)
        hint = "`devkit debug` starts it."
        if others:
            hint += f" There are: {', '.join(others)} (-s NAME)."
        raise NoService(f"There is no container of the service {name}.", hint=hint)
    return RunningService(engine, container)


def placements(root: Path, layout: Iterable[Mapping[str, str]]) -> tuple[Placement, ...]:
    """Read a layout as the labels have it: local paths relative to the workspace."""
    return tuple(
        # Not by resolve(), which raises for a link that leads to itself.
        Placement(Path(os.path.realpath(root / pair["local"])), PurePosixPath(pair["remote"]))
        for pair in layout
    )


def lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Cut a stream of bytes into lines, each with its newline; a monstrous one is cut up."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    pending = ""
    for chunk in chunks:
        pending += decoder.decode(chunk)
        *complete, pending = pending.split("\n")
        yield from (f"{line}\n" for line in complete)
        if len(pending) > _LONGEST_LINE:
            yield f"{pending}\n"
            pending = ""
    if pending:
        yield f"{pending}\n"
