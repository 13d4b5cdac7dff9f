"""The engines behind devkit/engine.py's `Engine`: Docker, Podman, processes of this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from devkit.errors import BadValue, EngineDenied, NoEngine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from devkit.engine import Engine
    from devkit.engines.endpoint import Endpoint

KINDS = ("docker", "podman", "process")

_NONE_AT_ALL = (
    "With no engine at all: --engine process runs the service as a process of this machine."
)


def connect(
    kind: str | None = None, *, host: str | None = None, context: str | None = None
) -> Engine:
    """Connect to the engine that the docker CLI would use, or else to Podman; close it when done.

    Args:
        kind: one of `KINDS`; None takes the first of Docker and Podman that answers.
        host: an address as in `docker -H`, before all that the environment says.
        context: a docker CLI context, likewise.

    Raises:
        BadValue: no such kind, or host and context together.
        EngineDenied: an engine is there, but this user may not use it.
        NoEngine: none answers; the message names what was tried.
    """
    if kind is not None and kind not in KINDS:
        raise BadValue(f"There is no engine {kind!r}.", hint=f"Choose one of {', '.join(KINDS)}.")
    if kind == "process":
        from devkit.engines.process import ProcessEngine

        return ProcessEngine()
    from devkit.engines.endpoint import endpoints

    return _first_that_answers(endpoints(kind, host=host, context=context))


def _first_that_answers(candidates: Sequence[Endpoint]) -> Engine:
    from devkit.engines.docker import DockerEngine

    denied: EngineDenied | None = None
    failures: list[NoEngine] = []
    for candidate in candidates:
        try:
            return DockerEngine.open(candidate)
        except EngineDenied as error:
            denied = denied or error
        except NoEngine as error:
            failures.append(error)
    if denied is not None:
        raise denied
    hint = "Start Docker or Podman, or name one with --host or --context."
    if len(candidates) == 1:
        hint = failures[0].hint or hint
    words = " ".join(error.message for error in failures)
    raise NoEngine(f"No container engine answers. {words}", hint=f"{hint} {_NONE_AT_ALL}")
