"""Doctor: the table of checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from devkit.diagnose.finding import Finding
from devkit.doctor import base_image, editor, engine, files, host, host_ports
from devkit.doctor.check import Machine, Report, Seen, examined
from devkit.doctor.reach import Reach

_OF_ENGINE: dict[str, Callable[[Machine, Reach], Seen]] = {
    "engine": engine.answers,
    "disk": engine.has_room,
    "buildx": engine.has_buildx,
    "base image": base_image.is_there,
    "ports": host_ports.are_free,
    "clock": host.clock,
}
_OF_MACHINE: dict[str, Callable[[Machine], Seen]] = {
    "editor": editor.can_debug,
    "launch.json": editor.files_parse,
    "python": host.python,
    "git": host.git,
    "file events": files.limits,
    "file system": files.file_system,
}


def checked(machine: Machine) -> Report:
    """Do all checks."""
    with _reaching(machine) as reach:
        return examined(
            {
                "workspace": partial(_workspace, machine),
                **{name: partial(check, machine, reach) for name, check in _OF_ENGINE.items()},
                **{name: partial(check, machine) for name, check in _OF_MACHINE.items()},
            }
        )


@contextmanager
def _reaching(machine: Machine) -> Iterator[Reach]:
    reach = Reach(machine.engine)
    try:
        yield reach
    finally:
        reach.close()


def _workspace(machine: Machine) -> Seen:
    if machine.problem is not None:
        problem = machine.problem
        finding = Finding(
            "config-broken",
            "error",
            problem.message,
            "Every command that looks at this folder stops there.",
            problem.hint or "Correct it; `devkit config validate` checks it.",
        )
        return Seen("its configuration cannot be used", (finding,))
    name = machine.workspace.config.service if machine.workspace else "?"
    return Seen(f"{machine.root} ({name})")
