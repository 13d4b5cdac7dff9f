"""Networks of a Docker engine: devkit's own, and no others."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from docker import APIClient
from docker.errors import APIError, NotFound

from devkit.contract import LABEL_SERVICE
from devkit.errors import NotOurs

log = logging.getLogger(__name__)


def ensure(client: APIClient, name: str, labels: Mapping[str, str]) -> None:
    """Make a network of that name unless it is there.

    Raises:
        NotOurs: one is, and devkit did not make it.
    """
    if _find(client, name) is not None:
        return
    log.info("docker network create %s", name)
    try:
        client.create_network(name, labels=dict(labels), check_duplicate=True)
    except APIError as error:
        # Two that start at once: the other one made it between the look and the creation.
        if error.status_code != 409:
            raise


def remove(client: APIClient, name: str) -> bool:
    """Remove a network; say whether it was there.

    Raises:
        NotOurs: devkit did not make it.
    """
    network = _find(client, name)
    if network is not None:
        log.info("docker network rm %s", name)
        with suppress(NotFound):
            client.remove_network(network["Id"])
    return network is not None


def _find(client: APIClient, name: str) -> Mapping[str, Any] | None:
    for network in client.networks(names=[name]):
        # The filter matches parts of names too.
        if network["Name"] == name:
            if LABEL_SERVICE not in (network.get("Labels") or {}):
                raise NotOurs(
                    f"The network {name} was not made by devkit; it is left alone.",
                    hint=f"Choose another service name, or remove it: docker network rm {name}",
                )
            return dict(network)
    return None
