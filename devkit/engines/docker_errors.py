"""What the docker SDK raises, as devkit's errors, in one place; the engine's own words are kept."""

from __future__ import annotations

import re
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import requests
import urllib3
from docker.errors import APIError, DockerException, ImageNotFound

from devkit.errors import (
    ContainerMissing,
    DevkitError,
    EngineDenied,
    EngineError,
    ImageMissing,
    NameInUse,
    NoEngine,
    PortInUse,
    Unsupported,
)

# Docker 20 to 28: "Bind for 127.0.0.1:8000 failed: port is already allocated",
# "listen tcp4 127.0.0.1:8000: bind: address already in use"; Podman's is like the second.
_PORT = re.compile(r"(?::|port )(\d+)\D*(?:already allocated|already in use)", re.IGNORECASE)
# Podman's, where a container is renamed, has no "is".
_NAME = re.compile(r'name "?/?([^" ]+)"? (?:is )?already in use')
# The last one is Podman's, for the changes of a container that it does not have.
_MISSING = re.compile(r"no such container|no container with|layer not known", re.IGNORECASE)
# Podman's, where it says neither 404 nor Docker's words.
_NO_IMAGE = re.compile(r"image not known", re.IGNORECASE)
_STOPPED = re.compile(r"is not running|is paused|state improper", re.IGNORECASE)

# Docker's words are: could not select device driver "" with capabilities: [[gpu]]
_NO_GPU = re.compile(r"could not select device driver.*gpu|nvidia-container-cli", re.DOTALL)
_START = "Start the engine: is Docker running?"

_NO_ANSWER: tuple[type[Exception], ...] = (
    DockerException,
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    ConnectionError,
    TimeoutError,
)


@contextmanager
def translated(*, endpoint: str, thing: str = "") -> Iterator[None]:
    """Raise devkit's error for what the SDK raises inside; `thing` is what the call was about."""
    try:
        yield
    except APIError as error:
        raise of_api(error, thing) from error
    except _no_answer() as error:
        raise of_connection(error, endpoint) from error


def of_api(error: APIError, thing: str) -> DevkitError:
    """Return the error for an answer that refuses."""
    words = str(error.explanation or error)
    if isinstance(error, ImageNotFound) or _NO_IMAGE.search(words):
        return ImageMissing(
            f"There is no image {thing}.", hint="`devkit package` makes it; `docker images` lists."
        )
    if error.status_code in (404, 500) and _MISSING.search(words):
        return ContainerMissing(f"There is no container {thing}.", hint="`devkit run` starts one.")
    if "marked read-only" in words:
        return Unsupported(
            f"The container {thing} is read-only; nothing can be written into it.",
            hint="Run it without --read-only.",
        )
    if _STOPPED.search(words) and error.status_code in (409, 500):
        return ContainerMissing(
            f"The container {thing} does not run ({words}).", hint="`devkit run` starts it."
        )
    if match := _NAME.search(words):
        return NameInUse(
            f"A container named {match[1]} exists already.",
            hint=f"`docker rm {match[1]}` removes it.",
        )
    if match := _PORT.search(words):
        return PortInUse(
            f"Port {match[1]} of this machine is already in use ({words}).",
            hint='Choose another port, or "auto" for a free one.',
        )
    if _NO_GPU.search(words):
        return Unsupported(
            f"This engine has no GPUs to hand in ({words}).",
            hint="Leave --gpus and run.gpus out, or install nvidia-container-toolkit there.",
        )
    return EngineError(
        f"The engine refused: {words}",
        hint="`-v` shows the call as a docker command to retype; the engine's log may say more.",
    )


def of_connection(error: Exception, endpoint: str) -> DevkitError:
    """Return the error for an engine that gave no answer at all."""
    causes = tuple(_causes(error))
    if any(isinstance(cause, PermissionError) for cause in causes):
        return EngineDenied(
            f"The engine at {endpoint} is there, but this user may not use it.",
            hint="`sudo usermod -aG docker $USER`, then log in again; or use a rootless engine.",
        )
    if endpoint.startswith("ssh:"):
        return _of_ssh(error, endpoint)
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            return NoEngine(
                f"The engine at {endpoint} and this machine do not trust each other: "
                f"{cause.strerror or cause}.",
                hint="DOCKER_CERT_PATH has to name the folder with the ca.pem, cert.pem and "
                "key.pem that this engine's owner made.",
            )
    if any(isinstance(cause, FileNotFoundError) for cause in causes):
        return NoEngine(f"Nothing is at {endpoint}.", hint=_START)
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return NoEngine(f"Nobody answers at {endpoint}.", hint=_START)
    return NoEngine(
        f"The engine at {endpoint} does not answer: {error}.",
        hint="`docker version` with the same address shows whether it is the engine or devkit.",
    )


def _of_ssh(error: Exception, endpoint: str) -> DevkitError:
    host = endpoint.split()[0]
    login = f"`ssh {host} docker version` has to work by itself, without a question"
    no_key = "No authentication methods" in str(error)
    if no_key or type(error).__name__ in ("AuthenticationException", "PasswordRequiredException"):
        return EngineDenied(
            f"The machine of {endpoint} does not let this user in: {error}",
            hint=f"{login}: use ssh-agent, or an IdentityFile in ~/.ssh/config.",
        )
    return NoEngine(f"The engine at {endpoint} does not answer: {error}.", hint=f"{login}.")


def _no_answer() -> tuple[type[Exception], ...]:
    """Return what the SDK and what is below it raise; paramiko's only where it is in use."""
    # Not of "paramiko" itself, which a process that keeps small loads only then (keeper.py).
    paramiko = sys.modules.get("paramiko.ssh_exception")
    return _NO_ANSWER if paramiko is None else (*_NO_ANSWER, paramiko.SSHException)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it was made from: causes, contexts, exceptions in its arguments."""
    pending, seen = [error], set[int]()
    while pending:
        current = pending.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        inner = (
            current.__cause__,
            current.__context__,
            getattr(current, "reason", None),
            *current.args,
        )
        pending.extend(cause for cause in inner if isinstance(cause, BaseException))
