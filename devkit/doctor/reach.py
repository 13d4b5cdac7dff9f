"""Doctor: the engine, connected to once for all checks, and what it says about its machine."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any

from docker import APIClient

from devkit.doctor.check import in_background
from devkit.engine import Engine
from devkit.engines import connect, docker_client
from devkit.engines.endpoint import endpoints
from devkit.errors import EngineError

_CONNECT_S = 8.0
_ASK_S = 5


class Reach:
    """The engine that the options choose; asked for by several threads."""

    def __init__(self, choice: Mapping[str, str | None]) -> None:
        self._choice = choice
        kind, host, context = (choice.get(name) for name in ("engine", "host", "context"))
        self._engine = in_background(lambda: connect(kind, host=host, context=context))
        self._details = in_background(self._asked)

    def engine(self) -> Engine:
        """Return it.

        Raises:
            DevkitError: it is not to be had, and why.
        """
        return self._engine.result(_CONNECT_S)

    def engine_or_none(self) -> Engine | None:
        """Return it where it answers."""
        try:
            return self.engine()
        except Exception:  # noqa: BLE001 - the check of the engine says why
            return None

    def details(self) -> Mapping[str, Any]:
        """Return what the engine says of itself (`docker info`); {} for processes."""
        return self._details.result(_CONNECT_S)

    @cached_property
    def client(self) -> APIClient | None:
        """The SDK's client, which waits for no answer longer than some seconds."""
        url = self.engine().info().endpoint
        kind, host, context = (self._choice.get(name) for name in ("engine", "host", "context"))
        for endpoint in endpoints(kind, host=host, context=context):
            if endpoint.url == url:
                client = docker_client.connected(endpoint)
                client.timeout = _ASK_S
                return client
        return None

    def close(self) -> None:
        """Let go."""
        if self._engine.done() and (engine := self.engine_or_none()):
            engine.close()
        client = self.__dict__.get("client")
        if client is not None:
            with suppress(OSError):
                client.close()

    def _asked(self) -> Mapping[str, Any]:
        engine = self.engine()
        if engine.name == "process":
            return {}
        client = self.client
        if client is None:
            raise EngineError("The engine's address cannot be found again.")
        return dict(client.info())
