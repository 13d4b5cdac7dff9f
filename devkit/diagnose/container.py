"""Step 7, diagnose: the engine, the ports of this machine, and the container's own state."""

from __future__ import annotations

from collections.abc import Iterator

from devkit import container as step_run
from devkit import ports, reuse
from devkit.contract import DEBUG_PORT, SCORE_PORT
from devkit.diagnose import log
from devkit.diagnose.case import Case, place
from devkit.diagnose.finding import Finding
from devkit.engine import PortBinding
from devkit.errors import DevkitError, EngineDenied, PortInUse

# Ended by itself, or by the signal that `docker stop` sends.
_STOPPED = (0, 143)


def engine_answers(case: Case) -> Iterator[Finding]:
    """An engine is there, and this user may use it."""
    if case.connect is None or case.engine is not None or case.engine_error is None:
        return
    error = case.engine_error
    denied = isinstance(error, EngineDenied)
    yield Finding(
        "engine-denied" if denied else "engine-unreachable", "error", error.message,
        "The engine runs, but its socket belongs to another user or group." if denied
        else "No container engine answers, so nothing can be built or started.",
        error.hint or "Start the engine: is Docker running?",
    )  # fmt: skip


def ports_free(case: Case) -> Iterator[Finding]:
    """The ports that the service is to have are free, or its own."""
    if case.engine is None or (case.container and case.container.is_running):
        return
    configured = case.workspace.config.ports
    for key, inside, port in (
        ("score", SCORE_PORT, configured.score),
        ("debug", DEBUG_PORT, configured.debug),
    ):
        if not isinstance(port, int):
            continue
        try:
            ports.refuse_taken(case.engine, [PortBinding(inside, port)], own=())
        except PortInUse as error:
            file, line = place(case.workspace.origins[f"ports.{key}"])
            yield Finding(
                "port-taken", "error", error.message,
                "Two programs cannot listen on one port: the container would not start.",
                error.hint or "Choose another port.", file=file, line=line,
            )  # fmt: skip
        except DevkitError:
            return


def ended(case: Case) -> Iterator[Finding]:
    """The container ended: by itself, by a signal, or for its memory."""
    container = case.container
    if container is None or container.exit_code is None:
        return
    if container.oom_killed or container.exit_code == 137:
        yield log.killed_for_memory(case, f"exit code {container.exit_code}")
    elif container.exit_code in _STOPPED:
        yield Finding(
            "container-stopped", "warning", "The container is stopped.",
            "Nothing answers until it is started again.",
            "`devkit debug` or `devkit run` starts it.",
        )  # fmt: skip
    elif not case.raised:
        lines = case.log.strip().splitlines()[-5:]
        yield Finding(
            "container-ended", "error",
            f"The container ended by itself, {step_run.exit_meaning(container.exit_code)}.",
            "Its main process is gone, so nothing answers.",
            "`devkit logs` shows all that it said; `devkit debug` starts it again.",
            "\n".join(line[:300] for line in lines),
        )  # fmt: skip


def image_is_of_environment(case: Case) -> Iterator[Finding]:
    """The container was built from the environment as it is now: a reload changes no package."""
    if case.container is None or case.running is None:
        return
    if case.running.root != case.workspace.root:
        return
    said = reuse.environment_change(case.workspace, case.container)
    if said:
        yield Finding(
            "environment-changed", "warning", "The container still has the packages of before.",
            "The environment file changed after the image was built; saving or reloading brings "
            "source files only, not packages.",
            "`devkit update` builds the new environment and swaps the container.",
            said, case.workspace.config.environment,
        )  # fmt: skip
