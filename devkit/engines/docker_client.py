"""The docker SDK's client for an address, by Unix socket, TCP, TLS or ssh."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from docker import APIClient

from devkit.engines.docker_errors import translated
from devkit.engines.endpoint import Endpoint
from devkit.errors import BadValue, NoEngine


def connected(endpoint: Endpoint) -> APIClient:
    """Connect.

    Raises:
        NoEngine: nothing answers there.
        EngineDenied: this user may not use it.
        BadValue: it is no address.
    """
    if endpoint.url.startswith("ssh:") and find_spec("paramiko") is None:
        raise NoEngine(
            f"The engine at {endpoint} is reached by ssh, for which paramiko is not installed.",
            hint="Type: pip install 'devkit[ssh]'",
        )
    try:
        with translated(endpoint=str(endpoint)):
            return _Client(base_url=endpoint.url, tls=endpoint.tls or False, version="auto")
    except ValueError as error:  # urllib's, of a port
        raise BadValue(
            f"{endpoint} is no address of an engine: {error}.",
            hint="Such as unix:///var/run/docker.sock, tcp://host:2376, ssh://user@host.",
        ) from error


class _Client(APIClient):
    def merge_environment_settings(self, *args: Any, **kwargs: Any) -> Any:
        """Keep to the authority of the engine: requests prefers REQUESTS_CA_BUNDLE to it."""
        merged: Any = super().merge_environment_settings(*args, **kwargs)
        return {**merged, "verify": self.verify}
