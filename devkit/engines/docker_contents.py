"""An image's configuration and files, of Docker or Podman, without running anything of it."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Any

from docker import APIClient
from docker.errors import APIError, NotFound

from devkit.contract import LABEL_READING
from devkit.engine import Contents
from devkit.engines.docker_build import inspect_image
from devkit.errors import BadValue, ImageMissing

_CHUNK = 1 << 20


@contextmanager
def opened(client: APIClient, image: str) -> Iterator[Contents]:
    """Make a container of an image, which is never started; see `Engine.contents`."""
    inspected, name = _inspected(client, image), f"devkit-audit-{uuid.uuid4().hex}"
    config = inspected.get("Config") or {}
    try:
        # It never runs, but an image without a command would be refused without one.
        client.create_container(
            inspected["Id"],
            ["-"],
            name=name,
            entrypoint=[],
            network_disabled=True,
            labels={LABEL_READING: "1"},
        )
        yield config, _trees(client, name, config.get("Volumes") or ())
    finally:
        with suppress(NotFound):
            client.remove_container(name, v=True, force=True)


def _inspected(client: APIClient, image: str) -> Mapping[str, Any]:
    try:
        return inspect_image(client, image)
    except NotFound as error:
        hint = f"`docker images` lists those that are; `docker pull {image}` fetches it."
        raise ImageMissing(f"There is no image {image} here.", hint=hint) from error
    except APIError as error:
        if error.status_code != HTTPStatus.BAD_REQUEST:
            raise
        hint = 'Write it as in "debug:1", or give an id.'
        raise BadValue(f"{image!r} is not the name of an image.", hint=hint) from error


def _trees(client: APIClient, name: str, volumes: Iterable[str]) -> Iterator[Iterator[bytes]]:
    # An export leaves volumes out, so each one is a stream of its own.
    yield client.export(name, chunk_size=_CHUNK)
    for volume in volumes:
        with suppress(NotFound):
            yield client.get_archive(name, volume, chunk_size=_CHUNK)[0]
