"""What the docker SDK raises, as devkit's errors, in one place; the engine's own words are kept."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import requests
import urllib3
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

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
_NAME = re.compile(r'name "?/?([^" ]+)"? is already in use')
_STOPPED = re.compile(r"is not running|is paused|state improper", re.IGNORECASE)

_NO_ANSWER = (
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
    except _NO_ANSWER as error:
        raise of_connection(error, endpoint) from error


def of_api(error: APIError, thing: str) -> DevkitError:
    """Return the error for an answer that refuses."""
    words = str(error.explanation or error)
    if isinstance(error, ImageNotFound):
        return ImageMissing(
            f"There is no image {thing}.", hint="`devkit package` makes it; `docker images` lists."
        )
    if isinstance(error, NotFound) and re.search(
        r"no such container|no container with", words, re.I
    ):
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
    return EngineError(f"The engine refused: {words}")


def of_connection(error: Exception, endpoint: str) -> DevkitError:
    """Return the error for an engine that gave no answer at all."""
    causes = tuple(_causes(error))
    if any(isinstance(cause, PermissionError) for cause in causes):
        return EngineDenied(
            f"The engine at {endpoint} is there, but this user may not use it.",
            hint="`sudo usermod -aG docker $USER`, then log in again; or use a rootless engine.",
        )
    if any(isinstance(cause, FileNotFoundError) for cause in causes):
        return NoEngine(f"Nothing is at {endpoint}.", hint="Start the engine: is Docker running?")
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return NoEngine(
            f"Nobody answers at {endpoint}.", hint="Start the engine: is Docker running?"
        )
    return NoEngine(f"The engine at {endpoint} does not answer: {error}.")


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
