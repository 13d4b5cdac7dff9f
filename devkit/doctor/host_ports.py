"""Doctor: are the ports of service and debugger free, or whose are they."""

from __future__ import annotations

from devkit import container as step_run
from devkit import contract, ports
from devkit.config import PortsSection
from devkit.diagnose.finding import Finding
from devkit.doctor.check import Machine, Seen, unseen
from devkit.doctor.reach import Reach
from devkit.engine import Engine, PortBinding
from devkit.errors import PortInUse

_BIND = "127.0.0.1"


def are_free(machine: Machine, reach: Reach) -> Seen:
    """Both ports, on loopback."""
    engine = reach.engine_or_none()
    if engine and engine.name != "process" and not ports.is_local(engine.info().endpoint):
        return unseen("they are on the engine's machine, and were not looked at")
    own = _own(engine, machine)
    said, findings = list[str](), list[Finding]()
    for binding in _wanted(machine):
        if (binding.bind, binding.host_port) in own:
            said.append(f"{binding.host_port} is this service's")
            continue
        finding = _taken(engine or _processes(), binding)
        findings += [finding] if finding else []
        said.append(f"{binding.host_port} is {'taken' if finding else 'free'}")
    return Seen(", ".join(said) or "chosen at each start", tuple(findings))


def _wanted(machine: Machine) -> list[PortBinding]:
    workspace = machine.workspace
    wanted = workspace.config.ports if workspace else PortsSection()
    inside = ((contract.SCORE_PORT, wanted.score), (contract.DEBUG_PORT, wanted.debug))
    return [PortBinding(i, port, _BIND) for i, port in inside if isinstance(port, int)]


def _own(engine: Engine | None, machine: Machine) -> set[tuple[str, int]]:
    """The ports that the service of this workspace has now."""
    if engine is None or machine.workspace is None:
        return set()
    found = step_run.find(engine, service=machine.workspace.config.service)
    return set(found.ports.values()) if found and found.is_running else set()


def _processes() -> Engine:
    """Without containers, an owner can be a process only."""
    from devkit.engines.process import ProcessEngine

    return ProcessEngine()


def _taken(engine: Engine, binding: PortBinding) -> Finding | None:
    try:
        ports.refuse_taken(engine, [binding], own=())
    except PortInUse as error:
        which = "debugger" if binding.container_port == contract.DEBUG_PORT else "service"
        return Finding(
            f"port-taken-{which}",
            "error",
            error.message,
            f"The {which} is to listen there.",
            error.hint or "Choose another port in devkit.yaml.",
        )
    return None
