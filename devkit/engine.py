"""What devkit needs from a container engine.

Engines live in `engines/`; steps get one handed in and never import one. Every engine, and the fake
used in unit tests, passes `tests/engine_contract.py`. What an engine cannot do it says by
`Unsupported` with a hint. The values that go back and forth are in `engine_values`, and are
imported from here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import PurePosixPath
from typing import BinaryIO, Protocol, runtime_checkable

from devkit.engine_values import (
    LOST,
    BuildSpec,
    Container,
    Contents,
    ContextFile,
    EngineInfo,
    FileChange,
    Image,
    Member,
    Mount,
    Placement,
    PortBinding,
    Progress,
    RunSpec,
    Tag,
    listed,
)
from devkit.errors import EngineError

__all__ = [
    "LOST",
    "BuildSpec",
    "Container",
    "Contents",
    "ContextFile",
    "Engine",
    "EngineInfo",
    "FileChange",
    "Image",
    "InputEnded",
    "Member",
    "Mount",
    "Placement",
    "PortBinding",
    "Progress",
    "RunSpec",
    "Stream",
    "Tag",
    "listed",
]


class InputEnded(EngineError, BrokenPipeError):
    """The process in the container takes no more input: it ended, or closed it."""


@runtime_checkable
class Stream(Protocol):
    """A process started by `exec`, as a two-way byte stream. Close it in every case."""

    def read(self, size: int = 65536) -> bytes:
        """Return standard output as it comes, at most `size` bytes; b"" at its end."""

    def write(self, data: bytes) -> None:
        """Send all of `data` to standard input.

        Raises:
            InputEnded: nobody takes it any more.
        """

    def close_stdin(self) -> None:
        """End standard input; the process reads end of file."""

    def stderr(self) -> bytes:
        """Return what came on standard error so far (the last 64 KiB)."""

    def wait(self) -> int:
        """Read to the end and return the exit code."""

    def resize(self, *, rows: int, columns: int) -> None:
        """Tell a terminal's size; nothing where there is no terminal."""

    def fileno(self) -> int:
        """Return a descriptor that becomes readable when `read` has something."""

    def close(self) -> None:
        """Let go of the stream; the process loses its standard input."""


class Engine(Protocol):
    """A place that runs containers."""

    name: str

    def info(self) -> EngineInfo:
        """Say which engine answers.

        Raises:
            NoEngine: nothing answers.
            EngineDenied: this user may not use it.
        """

    def build(self, spec: BuildSpec, *, progress: Progress) -> Image:
        """Make an image.

        Raises:
            BaseImageMissing: the base image is neither here nor to be had.
            PackageInstallFailed: a requirement could not be installed; it is named.
            BuildError: another step failed.
        """

    def image(self, tag: str) -> Image | None:
        """Find an image by tag or id; None when the engine has none."""

    def import_image(self, tar: BinaryIO, tag: Tag, *, labels: Mapping[str, str]) -> Image:
        """Make an image out of a root file system's tar stream."""

    def images(self, labels: Mapping[str, str]) -> list[Image]:
        """List images, also those without a tag, that carry all `labels`; "" matches any value."""

    def commit(self, container: str, *, pause: bool = True) -> Image:
        """Make an image without a tag out of a container's own files, running or not.

        Its configuration is the container's, with every variable that the container was given:
        `image_like` makes one without. With `pause` nothing runs in it meanwhile.
        """

    def image_like(
        self, files: str, like: str, tag: Tag, *, labels: Mapping[str, str], comment: str
    ) -> Image:
        """Make an image with the files of one, which starts as another one does.

        Args:
            files: whose layers it has.
            like: whose command, user, ports, environment and so on it has; not its labels.
            tag: its tag, which another image may lose to it.
            labels: all that it carries.
            comment: what the engine's history says of it.
        """

    def top_layer(self, image: str, paths: Iterable[PurePosixPath]) -> Iterator[Member] | None:
        """Yield those files and links that an image has above the one that it was made from.

        None where the engine's storage cannot be read from here, and OSError where it turns out so:
        a container of it can be read.
        """

    def contents(self, image: str) -> AbstractContextManager[Contents]:
        """Look into an image of which nothing runs; none is pulled.

        Raises:
            ImageMissing: no such image.
            BadValue: that names no image.
        """

    def create(self, image: str, labels: Mapping[str, str]) -> Container:
        """Make a container that is never started, to read an image's files; `remove` ends it.

        Raises:
            ImageMissing: no such image.
        """

    def tag(self, image: str, tag: Tag) -> None:
        """Give an image one more tag, which another image may lose to it.

        Raises:
            ImageMissing: there is no such image.
        """

    def remove_image(self, tag: str) -> None:
        """Remove a tag, and the image with its last tag; nothing when it is not there."""

    def ensure_network(self, name: str, labels: Mapping[str, str]) -> None:
        """Make a network of that name unless it is there."""

    def remove_network(self, name: str) -> bool:
        """Remove a network; say whether it was there."""

    def run(self, spec: RunSpec) -> Container:
        """Start a container, detached.

        Raises:
            ImageMissing: no such image.
            PortInUse: a host port is taken; nothing is left behind.
            NameInUse: the name is taken; the other container is left alone.
        """

    def container(self, name: str) -> Container | None:
        """Find a container by name or id; None when there is none."""

    def containers(self, labels: Mapping[str, str]) -> list[Container]:
        """List containers, stopped ones too, that carry all `labels`; "" matches any value."""

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
        """Start a process in a running container.

        `on_stderr` takes standard error as it comes, in whatever thread reads it.

        Raises:
            ContainerMissing: no such container, or it does not run.
        """

    def archive_in(self, container: str, path: PurePosixPath, tar: BinaryIO) -> None:
        """Unpack a tar stream below `path` in the container."""

    def archive_out(self, container: str, path: PurePosixPath) -> Iterator[bytes]:
        """Yield `path` as a tar stream; FileNotFoundError where there is none."""

    def changes(self, container: str) -> list[FileChange]:
        """List what differs from the image, in a stopped container too.

        It takes the engine a look at every file of the image, 0.7 s for 25,000 of them, unless its
        storage can be read from here. Then a file that is a folder by now is "deleted"; else it is
        "modified", as a folder is that was one before.
        """

    def logs(
        self,
        container: str,
        *,
        follow: bool = False,
        since: float | None = None,
        tail: int | None = None,
    ) -> Iterator[bytes]:
        """Yield the log, standard output and error together, from `since` (Unix seconds) on.

        With `follow` it goes on until the container ends.
        """

    def stop(self, container: str, *, timeout_s: int = 5) -> None:
        """Ask a container to end, and end it after `timeout_s`; nothing when it does not run."""

    def start(self, container: str) -> Container:
        """Start a stopped container again."""

    def rename(self, container: str, name: str) -> None:
        """Give a container another name.

        Raises:
            NameInUse: another one has it.
        """

    def remove(self, container: str) -> None:
        """Remove a container, running or not; nothing when it is not there."""

    def close(self) -> None:
        """Let go of connections."""
