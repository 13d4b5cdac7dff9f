"""Docker, and Podman through its Docker-compatible socket, as an `Engine`."""

from __future__ import annotations

import logging
import shlex
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import PurePosixPath
from typing import BinaryIO

from docker import APIClient
from docker.errors import NotFound

from devkit.contract import LABEL_RUN
from devkit.engine import (
    BuildSpec,
    Container,
    EngineInfo,
    FileChange,
    Image,
    Progress,
    RunSpec,
    Stream,
)
from devkit.engines import (
    buildx,
    docker_archive,
    docker_build,
    docker_client,
    docker_log,
    docker_network,
    docker_values,
    overlay,
)
from devkit.engines.docker_errors import translated
from devkit.engines.docker_images import DockerImages
from devkit.engines.docker_stream import DockerStream
from devkit.engines.endpoint import Endpoint
from devkit.errors import DevkitError

log = logging.getLogger(__name__)


class DockerEngine(DockerImages):
    """One connection to an engine that speaks Docker's API."""

    def __init__(self, client: APIClient, endpoint: Endpoint, info: EngineInfo) -> None:
        super().__init__(client, endpoint)
        self.name = info.name
        self._info = info

    @classmethod
    def open(cls, endpoint: Endpoint) -> DockerEngine:
        """Connect.

        Raises:
            NoEngine: nothing answers there.
            EngineDenied: this user may not use it.
        """
        client = docker_client.connected(endpoint)
        with translated(endpoint=str(endpoint)):
            return cls(client, endpoint, docker_values.engine_info(client.version(), endpoint.url))

    def info(self) -> EngineInfo:
        """Say which engine answers."""
        return self._info

    def close(self) -> None:
        """Let go of connections."""
        self._client.close()

    def build(self, spec: BuildSpec, *, progress: Progress) -> Image:
        """Make an image: through buildx where it is installed, else by the engine's own builder."""
        through_buildkit = self.name == "docker" and buildx.is_installed()
        dockerfile = (through_buildkit and spec.buildkit_dockerfile) or spec.dockerfile
        if not through_buildkit:
            docker_build.refuse_secrets(spec)
        with self._translated(str(spec.tag)):
            docker_build.ensure_bases(self._client, spec, dockerfile, progress=progress)
            log.info("docker build --tag %s -", spec.tag)
            if through_buildkit:
                buildx.build(spec, self._endpoint, progress=progress)
            else:
                docker_build.build(self._client, spec, progress=progress)
        return self._known_image(str(spec.tag))

    def ensure_network(self, name: str, labels: Mapping[str, str]) -> None:
        """Make a network of that name unless it is there.

        Raises:
            NotOurs: a network of that name is there, and devkit did not make it.
        """
        with self._translated(name):
            docker_network.ensure(self._client, name, labels)

    def remove_network(self, name: str) -> bool:
        """Remove a network; say whether it was there.

        Raises:
            NotOurs: devkit did not make it.
        """
        with self._translated(name):
            return docker_network.remove(self._client, name)

    def run(self, spec: RunSpec) -> Container:
        """Start a container, detached; a failed or interrupted start leaves nothing behind."""
        log.info("%s", docker_values.command_line(spec))
        run = uuid.uuid4().hex
        try:
            with self._translated(str(spec.image)):
                self._client.start(self._create(spec, {**spec.labels, LABEL_RUN: run}))
            return self._known_container(spec.name)
        except BaseException:
            # A start that failed leaves a Created container that holds the name. Its label finds
            # it, after a Ctrl-C too, and never somebody else's container of that name.
            with suppress(DevkitError):
                for left in self.containers({LABEL_RUN: run}):
                    self.remove(left.id)
            raise

    def container(self, name: str) -> Container | None:
        """Find a container by name or id; None when there is none."""
        with self._translated(name):
            try:
                return docker_values.container(self._client.inspect_container(name))
            except NotFound:
                return None

    def containers(self, labels: Mapping[str, str]) -> list[Container]:
        """List containers, stopped ones too, with all `labels`; an empty value matches any."""
        wanted = [f"{name}={value}" if value else name for name, value in labels.items()]
        with self._translated():
            listed = self._client.containers(all=True, filters={"label": wanted})
        found = (self.container(entry["Id"]) for entry in listed)
        return [container for container in found if container is not None]

    def exec(
        self,
        container: str,
        command: Sequence[str],
        *,
        user: str | None = None,
        workdir: str | None = None,
        env: Mapping[str, str] | None = None,
        tty: bool = False,
        on_stderr: Callable[[bytes], None] | None = None,
    ) -> Stream:
        """Start a process in a running container."""
        log.info("docker exec -i%s %s %s", "t" * tty, container, shlex.join(command))
        with self._translated(container):
            made = self._client.exec_create(
                container,
                list(command),
                stdin=True,
                tty=tty,
                user=user or "",
                workdir=workdir,
                environment=dict(env or {}),
            )
            return DockerStream(
                self._client,
                made["Id"],
                tty=tty,
                translated=lambda: self._translated(container),
                on_stderr=on_stderr,
            )

    def archive_in(self, container: str, path: PurePosixPath, tar: BinaryIO) -> None:
        """Unpack a tar stream below `path` in the container."""
        log.info("docker cp - %s:%s", container, path)
        is_podman = self.name == "podman"
        with self._translated(container):
            docker_archive.put(self._client, container, path, tar, is_podman=is_podman)

    def archive_out(self, container: str, path: PurePosixPath) -> Iterator[bytes]:
        """Yield `path` of the container as a tar stream, or raise FileNotFoundError."""
        log.info("docker cp %s:%s -", container, path)
        with self._translated(container):
            chunks = docker_archive.get(self._client, container, path)
        return self._chunks(chunks, container)

    def changes(self, container: str) -> list[FileChange]:
        """List what differs from the image, in a stopped container too."""
        with self._translated(container):
            found = None
            if self._endpoint.is_socket:
                found = overlay.changes(self._client.inspect_container(container))
            if found is None:
                log.info("docker diff %s", container)
                found = docker_values.changes(self._client.diff(container))
            return docker_values.without_init(found)

    def logs(
        self,
        container: str,
        *,
        follow: bool = False,
        since: float | None = None,
        tail: int | None = None,
    ) -> Iterator[bytes]:
        """Yield the log, standard output and error together, from `since` (Unix seconds) on."""
        log.info("docker logs %s%s", "--follow " * follow, container)
        with self._translated(container):
            stream = self._client.logs(
                container,
                stream=True,
                follow=follow,
                since=since,
                tail="all" if tail is None else tail,
            )
        chunks: Iterator[bytes]
        if follow and self.name == "podman":
            chunks = docker_log.chunks_until_end(self._client, container, stream)
        else:
            chunks = docker_log.chunks(stream)
        return self._chunks(chunks, container)

    def stop(self, container: str, *, timeout_s: int = 5) -> None:
        """Ask a container to end, and end it after `timeout_s`; nothing when it does not run."""
        log.info("docker stop --time %d %s", timeout_s, container)
        with self._translated(container):
            self._client.stop(container, timeout=timeout_s)

    def start(self, container: str) -> Container:
        """Start a stopped container again."""
        log.info("docker start %s", container)
        with self._translated(container):
            self._client.start(container)
        return self._known_container(container)

    def rename(self, container: str, name: str) -> None:
        """Give a container another name."""
        log.info("docker rename %s %s", container, name)
        with self._translated(container):
            self._client.rename(container, name)

    def remove(self, container: str) -> None:
        """Remove a container, running or not; nothing when it is not there."""
        log.info("docker rm --force --volumes %s", container)
        with self._translated(container), suppress(NotFound):
            self._client.remove_container(container, force=True, v=True)

    def _create(self, spec: RunSpec, labels: Mapping[str, str]) -> str:
        made = self._client.create_container(
            str(spec.image),
            list(spec.command) if spec.command else None,
            name=spec.name,
            environment=dict(spec.env),
            labels=dict(labels),
            ports=[port.container_port for port in spec.ports],
            user=spec.user,
            host_config=self._client.create_host_config(**docker_values.host_config(spec)),
        )
        return str(made["Id"])

    def _chunks(self, chunks: Iterator[bytes], container: str) -> Iterator[bytes]:
        with self._translated(container):
            yield from chunks
