"""Where an engine may listen: the addresses to try in the docker CLI's order, then Podman's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from docker.context import ContextAPI
from docker.context.config import get_current_context_name
from docker.errors import DockerException
from docker.tls import TLSConfig
from docker.utils import kwargs_from_env

from devkit.errors import BadValue, NoEngine


@dataclass(frozen=True)
class Endpoint:
    """An engine's address, who named it, and the words that tell it to a docker CLI child."""

    url: str
    origin: str
    tls: TLSConfig | None = None
    cli: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.url} ({self.origin})"

    @property
    def is_socket(self) -> bool:
        """Whether it is a file of this machine, behind which is an engine that may read it."""
        return self.url.startswith(("unix://", "/"))


def endpoints(
    kind: str | None,
    *,
    host: str | None = None,
    context: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> tuple[Endpoint, ...]:
    """Return what to try, best first.

    An address that somebody named is the only one: another could be the wrong machine.

    Raises:
        BadValue: host and context together.
        NoEngine: no such context.
    """
    if host and context:
        raise BadValue(
            "--host and --context each name an engine.", hint="Give one of the two, not both."
        )
    if host:
        return (_at(host, "--host", environment),)
    if context:
        return (_of_context(context, f"context {context}"),)
    if environment.get("CONTAINER_HOST") and kind == "podman":
        return (_at(environment["CONTAINER_HOST"], "CONTAINER_HOST", environment),)
    if kind == "podman":
        return _podman(environment)
    if environment.get("DOCKER_HOST"):
        return (_at(environment["DOCKER_HOST"], "DOCKER_HOST", environment),)
    current = environment.get("DOCKER_CONTEXT") or get_current_context_name()
    if current != "default":
        return (_of_context(current, f"context {current}"),)
    return (
        _of_context("default", "the default socket"),
        *(() if kind == "docker" else _podman(environment)),
    )


def _at(host: str, origin: str, environment: Mapping[str, str]) -> Endpoint:
    # An empty DOCKER_TLS_VERIFY means "no", as for the docker CLI; kwargs_from_env knows that.
    try:
        tls = kwargs_from_env(environment=dict(environment)).get("tls")
    except DockerException as error:
        raise NoEngine(
            f"The TLS files for {host} cannot be used: {str(error).partition('. ')[0]}.",
            hint="DOCKER_CERT_PATH has to name a folder with ca.pem, cert.pem and key.pem; "
            "DOCKER_TLS_VERIFY= turns TLS off.",
        ) from error
    return Endpoint(host, origin, tls=tls, cli=("--host", host))


def _of_context(name: str, origin: str) -> Endpoint:
    try:
        context = ContextAPI.get_context(name)
    except Exception as error:  # the SDK raises a bare one for a broken file
        raise NoEngine(
            f"The docker context {name!r} cannot be read: {error}",
            hint=f"`docker context inspect {name}` shows, `docker context rm {name}` removes it.",
        ) from error
    if context is None or not context.Host:
        raise NoEngine(
            f"There is no docker context {name!r}.", hint="`docker context ls` lists them."
        )
    return Endpoint(context.Host, origin, tls=context.TLSConfig, cli=("--context", name))


def _podman(environment: Mapping[str, str]) -> tuple[Endpoint, ...]:
    runtime = environment.get("XDG_RUNTIME_DIR")
    own = (Path(runtime) / "podman/podman.sock",) if runtime else ()
    sockets = (*own, Path("/run/podman/podman.sock"))
    return tuple(
        Endpoint(f"unix://{socket}", "Podman's socket", cli=("--host", f"unix://{socket}"))
        for socket in sockets
    )
