"""What devkit needs from a container engine, and the values that go back and forth.

Engines live in `engines/`; steps get one handed in and never import one. Every engine, and the fake
used in unit tests, passes `tests/engine_contract.py`. What an engine cannot do it says by
`Unsupported` with a hint.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal, Protocol, runtime_checkable

from docker.utils import parse_repository_tag

from devkit.errors import BadValue, EngineError

# As Docker's own grammar of references has them; a host may come first.
_REPOSITORY = re.compile(r"(?:[\w.-]+(?::\d+)?/)?[a-z0-9]+(?:(?:[._/]|__|-+)[a-z0-9]+)*", re.ASCII)
_VERSION = re.compile(r"\w[\w.-]{0,127}", re.ASCII)

Progress = Callable[[str], None]
"""Takes one line of text about long work, as it happens."""


@dataclass(frozen=True)
class Tag:
    """An image reference "repository:version"; the version defaults to "latest"."""

    repository: str
    version: str

    @classmethod
    def parse(cls, text: str) -> Tag:
        """Read "repo", "repo:version" or "host:port/repo:version".

        Raises:
            BadValue: a digest, or nothing where a name has to be.
        """
        repository, version = parse_repository_tag(text)
        fits = _REPOSITORY.fullmatch(repository) and _VERSION.fullmatch(version or "latest")
        if "@" in text or not fits:
            raise BadValue(
                f"{text!r} is not an image tag.",
                hint='Use "name:version" in lower case, as in "debug:1".',
            )
        return cls(repository, version or "latest")

    def __str__(self) -> str:
        return f"{self.repository}:{self.version}"


@dataclass(frozen=True)
class EngineInfo:
    """Which engine answered, and where."""

    name: str
    version: str
    endpoint: str
    os: str
    architecture: str


@dataclass(frozen=True)
class Image:
    """An image that the engine has."""

    id: str
    tags: tuple[str, ...]
    labels: Mapping[str, str]
    env: Mapping[str, str]
    size_bytes: int
    created: str = ""
    layers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Mount:
    """A place in a container whose files are not the container's own."""

    path: PurePosixPath
    kind: Literal["bind", "volume", "tmpfs"]


@dataclass(frozen=True)
class PortBinding:
    """A container port published on this machine; `host_port` 0 lets the engine pick a free one."""

    container_port: int
    host_port: int
    bind: str = "127.0.0.1"


@dataclass(frozen=True)
class Container:
    """A container as the engine sees it now.

    `state` is the engine's word: created, running, paused, restarting, exited or dead. `exit_code`
    is None while it runs. `ports` maps container port to (bind address, host port). `env` is what
    it was started with, values and all.
    """

    id: str
    name: str
    image: str
    image_id: str
    state: str
    exit_code: int | None
    oom_killed: bool
    labels: Mapping[str, str]
    ports: Mapping[int, tuple[str, int]]
    started_at: str = ""
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    mounts: tuple[Mount, ...] = ()

    @property
    def is_running(self) -> bool:
        """Whether its processes run now."""
        return self.state == "running"


@dataclass(frozen=True)
class FileChange:
    """A file or folder of a container that is not as in its image: who changed it is not known."""

    path: PurePosixPath
    kind: Literal["modified", "added", "deleted"]


@dataclass(frozen=True)
class ContextFile:
    """One file of a build context: where it stands in the context and where its bytes come from.

    With `link` it is a symbolic link to that text, and `content` is empty.
    """

    path: PurePosixPath
    content: bytes | Path
    mode: int = 0o644
    link: str | None = None


@dataclass(frozen=True)
class BuildSpec:
    """All that an engine needs to make an image.

    `context` never holds secrets; `secrets` maps an id to a local file and reaches the build only
    as a BuildKit secret. `args` are build arguments (proxies, index addresses without a password).
    `requirements`, `placements` and `env` say the same in data, for engines that build no image.
    `buildkit_dockerfile` is the same build with cache and secret mounts; an engine that has
    BuildKit takes it, one that has not takes `dockerfile` and refuses `secrets`.
    """

    tag: Tag
    dockerfile: str
    context: tuple[ContextFile, ...]
    labels: Mapping[str, str]
    args: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Path] = field(default_factory=dict)
    platform: str | None = None
    pull: bool = False
    no_cache: bool = False
    requirements: tuple[str, ...] = ()
    placements: tuple[Placement, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    buildkit_dockerfile: str | None = None


@dataclass(frozen=True)
class Placement:
    """A local file or folder and the place it has in the container."""

    local: Path
    remote: PurePosixPath


@dataclass(frozen=True)
class RunSpec:
    """All that an engine needs to start a container, detached.

    `command` replaces what the image starts. `hardened` means no capabilities and no way to new
    privileges.
    """

    image: Tag
    name: str
    labels: Mapping[str, str]
    env: Mapping[str, str]
    ports: tuple[PortBinding, ...]
    network: str | None = None
    user: str | None = None
    memory: str | None = None
    cpus: float | None = None
    gpus: str | None = None
    read_only: bool = False
    hardened: bool = True
    command: tuple[str, ...] | None = None


Contents = tuple[Mapping[str, Any], Iterator[Iterator[bytes]]]
"""An image's "Config" as the OCI specification has it, and its files as tar streams, one after the
other."""


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

        It takes the engine a look at every file of the image: 0.7 s for 25,000 of them.
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
