"""Docker's images, and Podman's through its Docker-compatible socket: found, made, looked into."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import PurePosixPath
from typing import BinaryIO

from docker import APIClient
from docker.errors import NotFound

from devkit.engine import Container, Contents, Image, Member, Tag
from devkit.engines import docker_build, docker_commit, docker_contents, docker_values, overlay
from devkit.engines.docker_build import inspect_image
from devkit.engines.docker_errors import translated
from devkit.engines.endpoint import Endpoint

log = logging.getLogger(__name__)


class DockerImages:
    """The part of `DockerEngine` that is about images."""

    def __init__(self, client: APIClient, endpoint: Endpoint) -> None:
        self._client = client
        self._endpoint = endpoint

    def image(self, tag: str) -> Image | None:
        """Find an image by tag or id; None when the engine has none."""
        with self._translated(tag):
            try:
                return docker_values.image(inspect_image(self._client, tag))
            except NotFound:
                return None

    def import_image(self, tar: BinaryIO, tag: Tag, *, labels: Mapping[str, str]) -> Image:
        """Make an image out of a root file system's tar stream."""
        log.info("docker import - %s", tag)
        with self._translated(str(tag)):
            docker_build.import_tar(self._client, tar, tag, labels)
        return self._known_image(str(tag))

    def images(self, labels: Mapping[str, str]) -> list[Image]:
        """List images with all `labels`; an empty value matches any."""
        with self._translated():
            listed = self._client.images()
        # Asked here: Podman's own filter does not find every value.
        found = (
            self.image(entry["Id"]) for entry in listed if _has(entry.get("Labels") or {}, labels)
        )
        return [image for image in found if image is not None]

    def commit(self, container: str, *, pause: bool = True) -> Image:
        """Make an image without a tag out of a container's own files."""
        log.info("docker commit --pause=%s %s", str(pause).lower(), container)
        with self._translated(container):
            made = self._client.commit(container, pause=pause)
        return self._known_image(made["Id"])

    def image_like(
        self, files: str, like: str, tag: Tag, *, labels: Mapping[str, str], comment: str
    ) -> Image:
        """Make an image with the files of one, which starts as another one does."""
        log.info("docker load  # %s: the files of %s, started as %s", tag, files, like)
        with self._translated(files):
            docker_commit.load(
                self._client, files, like=like, tag=tag, labels=labels, comment=comment
            )
        return self._known_image(str(tag))

    def top_layer(self, image: str, paths: Iterable[PurePosixPath]) -> Iterator[Member] | None:
        """Yield those files and links of an image's last layer; None: it cannot be read here."""
        if not self._endpoint.is_socket:
            return None
        with self._translated(image):
            return overlay.files(inspect_image(self._client, image), paths)

    @contextmanager
    def contents(self, image: str) -> Iterator[Contents]:
        """Look into an image of which nothing runs."""
        log.info("docker create %s; docker export", image)
        with self._translated(image), docker_contents.opened(self._client, image) as found:
            yield found

    def create(self, image: str, labels: Mapping[str, str]) -> Container:
        """Make a container that is never started."""
        log.info("docker create %s", image)
        with self._translated(image):
            made = self._client.create_container(
                image, ["true"], labels=dict(labels), network_disabled=True
            )
        return self._known_container(made["Id"])

    def tag(self, image: str, tag: Tag) -> None:
        """Give an image one more tag, which another image may lose to it."""
        log.info("docker tag %s %s", image, tag)
        with self._translated(image):
            self._client.tag(image, tag.repository, tag.version)

    def remove_image(self, tag: str) -> None:
        """Remove a tag, and the image with its last tag; nothing when it is not there."""
        log.info("docker rmi %s", tag)
        with self._translated(tag), suppress(NotFound):
            self._client.remove_image(tag)

    def _translated(self, thing: str = "") -> AbstractContextManager[None]:
        return translated(endpoint=str(self._endpoint), thing=thing)

    def _known_image(self, tag: str) -> Image:
        with self._translated(tag):
            return docker_values.image(inspect_image(self._client, tag))

    def _known_container(self, name: str) -> Container:
        with self._translated(name):
            return docker_values.container(self._client.inspect_container(name))


def _has(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(name in labels and value in ("", labels[name]) for name, value in wanted.items())
