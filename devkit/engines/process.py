"""No engine at all: services as supervised processes of this machine, in virtual environments."""

from __future__ import annotations

import json
import logging
import os
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import platformdirs

from devkit.contract import APP_ROOT
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
from devkit.engines import process_files, process_launch
from devkit.engines.no_images import NoImages
from devkit.engines.pipe_stream import PipeStream
from devkit.engines.process_container import SPEC, ProcessContainer
from devkit.engines.process_image import ImageStore
from devkit.engines.supervisor import LAUNCH
from devkit.errors import (
    ContainerMissing,
    ImageMissing,
    NameInUse,
    Unsupported,
)

log = logging.getLogger(__name__)


class ProcessEngine(NoImages):
    """Containers are processes, images are virtual environments; the state is on disk."""

    name = "process"

    def __init__(self, folder: Path | None = None) -> None:
        """Keep the state in `folder`, by default in the user's cache.

        Raises:
            Unsupported: this system has no process groups as POSIX has them.
        """
        if os.name != "posix":
            raise Unsupported(
                "Services run as processes on Linux and macOS only.",
                hint="Use Docker, or run devkit inside WSL.",
            )
        self._folder = folder or platformdirs.user_cache_path("devkit") / "process"
        self._images = ImageStore(self._folder)

    def info(self) -> EngineInfo:
        """Say where the state is."""
        return EngineInfo(
            name=self.name,
            version=platform.python_version(),
            endpoint=f"file://{self._folder}",
            os=platform.system().lower(),
            architecture=platform.machine(),
        )

    def close(self) -> None:
        """Nothing is open."""

    def build(self, spec: BuildSpec, *, progress: Progress) -> Image:
        """Make a virtual environment with what the service needs."""
        return self._images.build(spec, progress=progress)

    def image(self, tag: str) -> Image | None:
        """Find an image by tag or id; None when there is none."""
        return self._images.find(tag)

    def remove_image(self, tag: str) -> None:
        """Remove a tag, and the image with its last tag; nothing when it is not there."""
        self._images.remove(tag)

    def ensure_network(self, name: str, labels: Mapping[str, str]) -> None:
        """Do nothing: processes share this machine's network."""

    def remove_network(self, name: str) -> bool:  # noqa: ARG002  the protocol's
        """Do nothing: processes share this machine's network."""
        return False

    def run(self, spec: RunSpec) -> Container:
        """Start a service, detached; a failed or interrupted start leaves nothing behind."""
        image = self._images.find(str(spec.image))
        if image is None:
            raise ImageMissing(
                f"There is no image {spec.image}.", hint="`devkit package` makes it."
            )
        self._say_what_is_not_applied(spec)
        container = ProcessContainer(self._folder / "containers" / spec.name)
        try:
            container.folder.mkdir(parents=True, mode=0o700)
        except FileExistsError as error:
            raise NameInUse(
                f"A container named {spec.name} exists already.", hint="`devkit delete` removes it."
            ) from error
        try:
            # A service that starts does not listen yet, but its ports are its own.
            given = {own for it in self._all() if it.exit_code() is None for own in it.ports}
            bindings = process_launch.claimed(spec.ports, given=given)
            process_launch.prepare(container, spec, image, self._images, bindings)
            process_launch.launch(container)
            return container.value()
        except BaseException:
            self._discard(container)
            raise

    def container(self, name: str) -> Container | None:
        """Find a container by name or id; None when there is none."""
        found = self._find(name)
        return None if found is None else found.value()

    def containers(self, labels: Mapping[str, str]) -> list[Container]:
        """List containers, stopped ones too, with all `labels` (an empty value matches any)."""
        return [
            container.value()
            for container in self._all()
            if all(
                name in container.spec["labels"] and value in ("", container.spec["labels"][name])
                for name, value in labels.items()
            )
        ]

    def exec(
        self,
        container: str,
        command: Sequence[str],
        *,
        user: str | None = None,  # noqa: ARG002  a process has its owner's rights
        workdir: str | None = None,
        env: Mapping[str, str] | None = None,
        tty: bool = False,
        on_stderr: Callable[[bytes], None] | None = None,
    ) -> Stream:
        """Start a process with the service's environment, in its folder."""
        if tty:
            raise Unsupported(
                "A service that runs as a process has no terminal of its own.",
                hint="Its files are your workspace: open any terminal there.",
            )
        found = self._known(container)
        if found.exit_code() is not None:
            raise ContainerMissing(
                f"The container {container} does not run.", hint="`devkit run` starts it."
            )
        launch = json.loads((found.folder / LAUNCH).read_text())
        folder = process_files.here(found.root, PurePosixPath(workdir or APP_ROOT))
        merged = {**launch["env"], **(env or {})}
        return PipeStream(command, env=merged, workdir=folder, on_stderr=on_stderr)

    def archive_in(self, container: str, path: PurePosixPath, tar: BinaryIO) -> None:
        """Unpack a tar stream below `path` of the application root.

        Raises:
            Unsupported: a path outside it, or an entry that is neither file nor folder.
        """
        process_files.unpack(tar, process_files.inside(self._known(container).root, path))

    def archive_out(self, container: str, path: PurePosixPath) -> Iterator[bytes]:
        """Yield `path` of the application root as a tar stream.

        Raises:
            FileNotFoundError: it is not there.
            Unsupported: it is outside the application root.
        """
        source = process_files.inside(self._known(container).root, path)
        return process_files.packed(source, name=path.name)

    def changes(self, container: str) -> list[FileChange]:
        """Nothing: a process has the workspace's own files, so what it changed is there."""
        self._known(container)
        return []

    def logs(
        self,
        container: str,
        *,
        follow: bool = False,
        since: float | None = None,
        tail: int | None = None,
    ) -> Iterator[bytes]:
        """Yield the log, standard output and error together, from `since` (Unix seconds) on."""
        return self._known(container).log(follow=follow, since=since, tail=tail)

    def stop(self, container: str, *, timeout_s: int = 5) -> None:
        """Ask a service to end, and end it after `timeout_s`; nothing when it does not run."""
        self._known(container).stop(timeout_s)

    def start(self, container: str) -> Container:
        """Start a stopped service again."""
        found = self._known(container)
        if found.exit_code() is not None:
            process_launch.launch(found)
        return found.value()

    def remove(self, container: str) -> None:
        """Remove a container, running or not; nothing when it is not there."""
        found = self._find(container)
        if found is not None:
            self._discard(found)

    def _discard(self, container: ProcessContainer) -> None:
        container.stop(0)
        # Links to the workspace are unlinked, never followed.
        shutil.rmtree(container.folder)

    def _all(self) -> list[ProcessContainer]:
        folders = sorted((self._folder / "containers").glob("*"))
        return [ProcessContainer(folder) for folder in folders if (folder / SPEC).exists()]

    def _find(self, name: str) -> ProcessContainer | None:
        return next((it for it in self._all() if name in (it.spec["name"], it.spec["id"])), None)

    def _known(self, name: str) -> ProcessContainer:
        found = self._find(name)
        if found is None:
            raise ContainerMissing(
                f"There is no container {name}.", hint="`devkit run` starts one."
            )
        return found

    @staticmethod
    def _say_what_is_not_applied(spec: RunSpec) -> None:
        wanted = {"memory": spec.memory, "cpus": spec.cpus, "gpus": spec.gpus}
        for name, value in {**wanted, "read_only": spec.read_only or None}.items():
            if value is not None:
                log.warning("run.%s=%s is not applied to a process.", name, value)
