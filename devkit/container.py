"""Step 2, run: an image becomes a running container, ports on loopback, a network of its own."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from devkit import contract, interrupt, labels, ports, turn
from devkit.engine import Container, Engine, Progress, RunSpec
from devkit.errors import (
    ContainerDied,
    EngineError,
    NameInUse,
    NoService,
    NotOurs,
    OutOfMemory,
    PortInUse,
)

_STOP_S = 3
_LOG_LINES = 20


@dataclass(frozen=True)
class Removed:
    """What was there, and is gone now."""

    container: bool
    network: bool


def network_name(service: str) -> str:
    """Return the name of a service's own network."""
    return f"devkit-{service}"


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


def refuse_of_another(container: Container, workspace: Path) -> None:
    """Refuse a container that was made from another workspace, if that is still there.

    Raises:
        NotOurs: it is.
    """
    root = Path(container.labels.get(contract.LABEL_WORKSPACE, ""))
    # Not by Path, which raises for a name that is too long.
    if root == workspace or not (root.is_absolute() and os.path.isdir(root)):  # noqa: PTH112
        return
    raise NotOurs(
        f"The container {container.name} is the service of another workspace, {root}.",
        hint="Another name goes beside it: --service, or service: in devkit.yaml. "
        f"`devkit -C {root} delete` removes it.",
    )


def check_startable(engine: Engine, spec: RunSpec) -> None:
    """Refuse what could not start, before a build that takes minutes.

    Raises:
        NotOurs: the name belongs to a container that devkit did not make, or another workspace.
        PortInUse: names the owner and a port that is free.
    """
    existing = _own(engine, spec.name, spec.labels[contract.LABEL_SERVICE])
    if existing is not None:
        refuse_of_another(existing, Path(spec.labels[contract.LABEL_WORKSPACE]))
    with_ports(engine, spec, existing)


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
