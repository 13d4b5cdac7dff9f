"""What is asked of a Docker engine about its machine, and of what is left over on it.

No part of `Engine`: only `devkit doctor` wants to know. No answer is waited for longer than some
seconds.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from docker import APIClient
from docker.errors import APIError

from devkit.engines import docker_client
from devkit.engines.docker_errors import translated
from devkit.engines.endpoint import endpoints
from devkit.errors import DevkitError, EngineError, Unsupported

_ASK_S = 5


@dataclass(frozen=True)
class Left:
    """A container or network; `age_s` is 0 where the engine does not say it."""

    id: str
    name: str
    labels: Mapping[str, str]
    age_s: float


class Asked:
    """Questions to one engine."""

    def __init__(self, client: APIClient, url: str) -> None:
        client.timeout = _ASK_S
        self._client = client
        self._url = url

    @classmethod
    def open(cls, url: str, choice: Mapping[str, str | None]) -> Asked:
        """Connect to the engine at `url`, which the options of `choice` led to.

        Raises:
            EngineError: it does not answer any more.
        """
        kind, host, context = (choice.get(name) for name in ("engine", "host", "context"))
        for endpoint in endpoints(kind, host=host, context=context):
            if endpoint.url == url:
                return cls(docker_client.connected(endpoint), url)
        raise EngineError("The engine's address cannot be found again.")

    def close(self) -> None:
        """Let go."""
        with suppress(OSError):
            self._client.close()

    def details(self) -> Mapping[str, Any]:
        """Return what the engine says of itself, as `docker info` does."""
        with self._translated():
            return dict(self._client.info())

    def version(self) -> Mapping[str, Any]:
        """Return what `docker version` says of the server."""
        with self._translated():
            return dict(self._client.version())

    def clock(self) -> float | None:
        """Return the time there in Unix seconds; None where the engine does not say."""
        return unix_seconds(str(self.details().get("SystemTime") or ""))

    def described(self, image: str) -> Mapping[str, Any]:
        """Return an image's description and history."""
        with self._translated(image):
            return {
                "image": dict(self._client.inspect_image(image)),  # type: ignore[no-untyped-call]
                "history": self._client.history(image),  # type: ignore[no-untyped-call]
            }

    def refusal(self, image: str) -> str | None:
        """Return why the engine cannot pull an image, None where it can; nothing is pulled.

        Raises:
            Unsupported: it does not tell.
        """
        try:
            with self._translated(image):
                self._client.inspect_distribution(image)  # type: ignore[no-untyped-call]
        except DevkitError as error:
            api = error.__cause__
            words = str(api.explanation) if isinstance(api, APIError) else error.message
            # Podman 4.3: the path of the question is not there.
            if "is not supported" in words:
                raise Unsupported(words) from error
            return " ".join(words.split())
        return None

    def never_started(self, label: str) -> list[Left]:
        """List the containers with a label that were made, and no more."""
        with self._translated():
            found = self._client.containers(all=True, filters={"label": [label]})
        now = time.time()
        return [
            Left(str(it["Id"]), "", dict(it.get("Labels") or {}), now - it["Created"])
            for it in found
            if it.get("State") == "created"
        ]

    def networks(self, label: str) -> list[Left]:
        """List the networks with a label."""
        with self._translated():
            found = self._client.networks(filters={"label": [label]})
        return [_network(it) for it in found]

    def _translated(self, thing: str = "") -> AbstractContextManager[None]:
        return translated(endpoint=self._url, thing=thing)


def unix_seconds(text: str) -> float | None:
    """Read a time as engines write it, with nanoseconds; None for what is no time."""
    whole, point, rest = text.partition(".")
    zone = rest.lstrip("0123456789") if point else ""
    fraction = rest[: len(rest) - len(zone)]
    try:
        seconds = datetime.fromisoformat(f"{whole}{zone}").timestamp()
    except ValueError:
        return None
    return seconds + float(f"0.{fraction or 0}")


def _network(found: Mapping[str, Any]) -> Left:
    made = unix_seconds(str(found.get("Created") or ""))
    labels = dict(found.get("Labels") or {})
    age_s = 0.0 if made is None else time.time() - made
    return Left(str(found["Id"]), str(found["Name"]), labels, age_s)
