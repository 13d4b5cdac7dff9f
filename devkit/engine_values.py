"""The values that go back and forth between steps and engines; `engine` says what is asked."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal

from docker.utils import parse_repository_tag

from devkit.errors import BadValue

# As Docker's own grammar of references has them; a host may come first.
_REPOSITORY = re.compile(r"(?:[\w.-]+(?::\d+)?/)?[a-z0-9]+(?:(?:[._/]|__|-+)[a-z0-9]+)*", re.ASCII)
_VERSION = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
# A byte of a name that is no text, and what an engine lists instead.
_NO_TEXT, LOST = re.compile(r"[\udc80-\udcff]"), "\ufffd"

Progress = Callable[[str], None]
"""Takes one line of text about long work, as it happens."""

Member = tuple[PurePosixPath, tarfile.TarInfo, IO[bytes] | None]
"""A file or a link of a container: where, how large or whither, and its content."""


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


def listed(path: PurePosixPath) -> PurePosixPath:
    """Return a path as an engine lists it, in JSON: bytes that are no UTF-8 are lost."""
    return PurePosixPath(_NO_TEXT.sub(LOST, str(path)))


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
