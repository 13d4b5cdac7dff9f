"""Step 2, run: an image becomes a running container, ports on loopback, a network of its own."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from devkit import __version__, contract, interrupt, labels, ports, turn
from devkit.engine import Container, Engine, PortBinding, Progress, RunSpec, Tag
from devkit.env_file import read_env_file
from devkit.errors import (
    ContainerDied,
    EngineError,
    NameInUse,
    NoService,
    NotOurs,
    OutOfMemory,
    PortInUse,
    RemoteDebugRefused,
)

if TYPE_CHECKING:  # see running.py
    from devkit.config import Config, Port

_STOP_S = 3
_LOG_LINES = 20


@dataclass(frozen=True)
class RunOptions:
    """What is said per run and not in devkit.yaml; `labels` are added to the container's."""

    bind: str = "127.0.0.1"
    allow_remote_debug: bool = False
    debug: bool = True
    show_errors: bool = True
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Removed:
    """What was there, and is gone now."""

    container: bool
    network: bool


def network_name(service: str) -> str:
    """Return the name of a service's own network."""
    return f"devkit-{service}"


def run_spec(
    config: Config, tag: Tag, *, workspace_root: Path, options: RunOptions | None = None
) -> RunSpec:
    """Return what to run. Only run.env_file is read; a port "auto" becomes host port 0.

    Raises:
        BadValue: an address or a line of the env file that is none.
        RemoteDebugRefused: the debugger would listen beyond loopback without an explicit yes.
    """
    options = options or RunOptions()
    _check_bind(options, config.ports.debug)
    published = [(contract.SCORE_PORT, config.ports.score)]
    if options.debug:
        published.append((contract.DEBUG_PORT, config.ports.debug))
    run = config.run
    return RunSpec(
        image=tag,
        name=config.service,
        labels={
            contract.LABEL_SERVICE: config.service,
            contract.LABEL_WORKSPACE: str(workspace_root),
            contract.LABEL_VERSION: __version__,
            **options.labels,
        },
        env=_environment(config, workspace_root, options),
        ports=tuple(
            PortBinding(inside, 0 if outside == "auto" else outside, options.bind)
            for inside, outside in published
        ),
        network=network_name(config.service),
        user=str(run.user),
        memory=run.memory,
        cpus=run.cpus,
        gpus=run.gpus,
        read_only=run.read_only,
    )


def start(
    engine: Engine,
    spec: RunSpec,
    *,
    progress: Progress = lambda _: None,
    before_removal: Callable[[Container], object] = lambda _: None,
) -> Container:
    """Start a container; one of the same service is replaced, and `progress` says so.

    `before_removal` takes the one that is to go, while it is as it was; it stays if that raises.

    Raises:
        NotOurs: the name belongs to a container that devkit did not make.
        NameInUse: another devkit started the same service meanwhile.
        PortInUse: names the owner and a port that is free; nothing is left behind, and a container
            that would have been replaced still runs.
    """
    service = spec.labels[contract.LABEL_SERVICE]
    existing = _own(engine, spec.name, service)
    spec = with_ports(engine, spec, existing)
    if existing is not None:
        before_removal(existing)
        progress(f"Replacing the container {existing.name}")
        engine.stop(existing.id, timeout_s=_STOP_S)
        engine.remove(existing.id)
    made = list[Container]()
    try:
        with interrupt.held():
            if spec.network is not None:
                engine.ensure_network(spec.network, {contract.LABEL_SERVICE: service})
            made.append(engine.run(spec))
        return made[0]
    except NameInUse as error:
        # The network is the other one's now.
        if _own(engine, spec.name, service):
            raise turn.in_use(service) from error
        raise
    except PortInUse as error:
        _leave_nothing(engine, spec)
        raise ports.explained(engine, spec.ports, error) from error
    except BaseException:
        for container in made:
            engine.remove(container.id)
        _leave_nothing(engine, spec)
        raise


def find(
    engine: Engine, *, service: str | None = None, workspace: Path | None = None
) -> Container | None:
    """Find the container of a service, or the newest one of a workspace, by labels alone."""
    wanted = {contract.LABEL_SERVICE: service or "", contract.LABEL_RUN: ""}
    if workspace is not None:
        wanted[contract.LABEL_WORKSPACE] = str(workspace)
    ours = (found for found in engine.containers(wanted) if labels.is_ours(engine, found))
    return max(ours, key=lambda found: found.started_at, default=None)


def services(engine: Engine) -> list[str]:
    """Name the services that have a container."""
    marked = engine.containers({contract.LABEL_SERVICE: "", contract.LABEL_RUN: ""})
    return sorted(found.name for found in marked if labels.is_ours(engine, found))


def stop(engine: Engine, service: str) -> Container:
    """Stop the container of a service; it can be started again.

    Raises:
        NoService: there is none.
        NotOurs: devkit did not make it.
    """
    container = _own(engine, service, service)
    if container is None:
        raise NoService(f"There is no container of the service {service}.", hint="`devkit run`")
    engine.stop(container.id, timeout_s=_STOP_S)
    return container


def delete(
    engine: Engine,
    service: str,
    *,
    only: str | None = None,
    before_removal: Callable[[Container], object] = lambda _: None,
) -> Removed:
    """Remove the container of a service, and the service's network.

    With `only`, an id, another container that has taken the place of that one stays, and the
    network with it. `before_removal` takes the container; it stays if that raises.

    Raises:
        NotOurs: devkit did not make it.
    """
    container = _own(engine, service, service)
    if container is not None and only not in (None, container.id):
        return Removed(container=False, network=False)
    if container is not None:
        before_removal(container)
    with interrupt.held():
        if container is not None:
            engine.remove(container.id)
        network = engine.remove_network(network_name(service))
    return Removed(container=container is not None, network=network)


def check_alive(engine: Engine, container: str) -> Container:
    """Return the container if it runs; to be asked again and again while one waits for readiness.

    Raises:
        OutOfMemory: it was killed for its memory.
        ContainerDied: it ended; the message says how, and what it said last.
        NoService: it is gone.
    """
    found = engine.container(container)
    if found is None:
        raise NoService(f"The container {container} is gone.", hint="`devkit run` starts one.")
    if found.exit_code is None:
        return found
    log = b"".join(engine.logs(found.id, tail=_LOG_LINES)).decode(errors="replace").rstrip()
    said = "".join(f"\n  {line}" for line in log.splitlines())
    if found.oom_killed:
        raise OutOfMemory(
            f"The container {found.name} was killed because it used more memory than it may.{said}",
            hint="Give it more: run.memory in devkit.yaml, or --memory.",
        )
    raise ContainerDied(
        f"The container {found.name} ended by itself, {exit_meaning(found.exit_code)}.{said}",
        hint="`devkit logs` shows all that it said.",
    )


def exit_meaning(code: int) -> str:
    """Return "with code 3", or "by the signal SIGSEGV (Segmentation fault), code 139"."""
    try:
        number = signal.Signals(code - 128)
    except ValueError:
        return f"with code {code}"
    return f"by the signal {number.name} ({signal.strsignal(number)}), code {code}"


def _environment(config: Config, workspace_root: Path, options: RunOptions) -> dict[str, str]:
    runtime = config.runtime
    from_file = read_env_file(workspace_root / config.run.env_file) if config.run.env_file else {}
    ours = {
        contract.ENV_DEBUG: _flag(options.debug),
        contract.ENV_WAIT_FOR_CLIENT: _flag(options.debug and config.debug.wait_for_client),
        contract.ENV_RELOAD: runtime.reload,
        contract.ENV_STATUS: runtime.status,
        contract.ENV_WORKERS: str(runtime.workers),
        contract.ENV_MAX_CONCURRENT_REQUESTS: str(runtime.max_concurrent_requests),
        contract.ENV_RECORD: str(runtime.record),
        contract.ENV_MAX_QUEUE_WAIT: str(runtime.max_queue_wait_ms),
        contract.ENV_SHOW_ERRORS: _flag(options.show_errors),
        contract.ENV_DEBUG_CLIENTS: "host" if ports.is_loopback(options.bind) else "any",
    }
    # Ours come last: an env file must not open the debugger, which asked --allow-remote-debug.
    return {
        contract.ENV_SCORING_TIMEOUT: str(runtime.scoring_timeout_ms),
        **from_file,
        **config.run.env,
        **ours,
    }


def _check_bind(options: RunOptions, debug_port: Port) -> None:
    if ports.is_loopback(options.bind) or not options.debug or options.allow_remote_debug:
        return
    raise RemoteDebugRefused(
        f"The debugger on {options.bind}:{debug_port} would let everybody who reaches this machine "
        "run any code in the container: its protocol has no password.",
        hint="Leave --bind out and use `ssh -L`; or --no-debug; or, if you mean it, "
        "--allow-remote-debug.",
    )


def _flag(value: bool) -> str:
    return "1" if value else "0"


def _own(engine: Engine, name: str, service: str) -> Container | None:
    """Find the container of that name; refuse one that devkit did not make for that service."""
    found = engine.container(name)
    if found is None:
        return None
    if found.labels.get(contract.LABEL_SERVICE) == service and labels.is_ours(engine, found):
        return found
    raise NotOurs(
        f"The container {name} was not made by devkit; it is left alone.",
        hint="Choose another name for the service: --service, or service: in devkit.yaml.",
    )


def check_startable(engine: Engine, spec: RunSpec) -> None:
    """Refuse what could not start, before a build that takes minutes.

    Raises:
        NotOurs: the name belongs to a container that devkit did not make.
        PortInUse: names the owner and a port that is free.
    """
    with_ports(engine, spec, _own(engine, spec.name, spec.labels[contract.LABEL_SERVICE]))


def with_ports(engine: Engine, spec: RunSpec, existing: Container | None) -> RunSpec:
    """Choose free ports for 0, and refuse taken ones before anything is touched."""
    own = set(existing.ports.values()) if existing is not None and existing.is_running else set()
    chosen = ports.chosen(spec.ports, own=own)
    if ports.is_local(engine.info().endpoint):
        ports.refuse_taken(engine, chosen, own=own)
    return dataclasses.replace(spec, ports=chosen)


def _leave_nothing(engine: Engine, spec: RunSpec) -> None:
    """The engine removed the container; its network goes too."""
    if spec.network is not None:
        with suppress(EngineError):
            engine.remove_network(spec.network)
