"""Step 2, run: a container takes the place of another, which comes back if the new one fails."""

from __future__ import annotations

from collections.abc import Callable

from devkit import container as step_run
from devkit import contract
from devkit.engine import Container, Engine, Progress, RunSpec

_STOP_S = 3


def swapped(
    engine: Engine,
    spec: RunSpec,
    *,
    ready: Callable[[Container], object],
    progress: Progress = lambda _: None,
    before_removal: Callable[[Container], object] = lambda _: None,
) -> Container:
    """Start a container; one of the same service is stopped, and removed once the new is ready.

    Args:
        engine: where both are.
        spec: the new one.
        ready: returns when it is; if it raises, the old one runs again, and the new one is gone.
        progress: takes what is done.
        before_removal: takes the one that is to go, while it is as it was; it stays if that raises.

    Raises:
        NotOurs, PortInUse: as `container.start`.
    """
    recover(engine, spec.name, progress=progress)
    old = step_run.find(engine, service=spec.name)
    if old is None:
        new = step_run.start(engine, spec, progress=progress)
        ready(new)
        return new
    progress(f"Setting the container {old.name} aside")
    engine.stop(old.id, timeout_s=_STOP_S)
    try:
        before_removal(old)
        engine.rename(old.id, _aside(spec.name))
        # Not `start`, which takes the network away when it fails: the old one is on it, too.
        new = engine.run(step_run.with_ports(engine, spec, None))
        ready(new)
    except BaseException:
        progress(f"Going back to the container {old.name}")
        _back(engine, spec.name, old)
        raise
    engine.remove(old.id)
    return new


def recover(engine: Engine, service: str, *, progress: Progress) -> None:
    """Take back the container that a swap which was killed has set aside.

    Where another one has its name by now, it goes: what was edited in it was kept before.
    """
    aside = engine.container(_aside(service))
    if aside is None or not _is_of(aside, service):
        return
    if engine.container(service) is not None:
        progress(f"Removing the container {aside.name}, which an update had set aside")
        engine.remove(aside.id)
        return
    progress(f"Taking back the container {service}, which an update had set aside")
    engine.rename(aside.id, service)


def _back(engine: Engine, service: str, old: Container) -> None:
    now = engine.container(service)
    if now is not None and now.id != old.id and _is_of(now, service):
        engine.remove(now.id)
    if engine.container(service) is None:
        engine.rename(old.id, service)
    engine.start(old.id)


def _aside(service: str) -> str:
    return f"{service}-before"


def _is_of(container: Container, service: str) -> bool:
    has = container.labels
    return has.get(contract.LABEL_SERVICE) == service and contract.LABEL_RUN in has
