"""What each step came to, as values that become JSON; `devkit debug --json` is a contract."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devkit.engine import RunSpec
from devkit.errors import DevkitError
from devkit.output import jsonable
from devkit.package.image import Plan
from devkit.running import Address, Status


@dataclass(frozen=True)
class Packaged:
    """An image that is ready to run."""

    image: str
    id: str
    reused: bool
    package_s: float


@dataclass(frozen=True)
class DryRun:
    """What `devkit run` would build and start; ports map container to host."""

    image: str
    base: str
    files: int
    container: str
    ports: dict[int, int | str]
    bind: str
    builds: bool = True

    @classmethod
    def of(cls, plan: Plan, spec: RunSpec, *, version: str | None = None) -> DryRun:
        """Read it out of what was decided; `version` is an image that is there."""
        return cls(
            image=version or str(plan.spec.tag),
            base=plan.base.image,
            files=len(plan.spec.context),
            container=spec.name,
            ports={port.container_port: port.host_port or "auto" for port in spec.ports},
            bind=spec.ports[0].bind,
            builds=version is None,
        )

    def __str__(self) -> str:
        published = ", ".join(f"{inside} -> {outside}" for inside, outside in self.ports.items())
        built = f"Would build {self.image} from {self.base}, {self.files} files."
        return (
            f"{built if self.builds else f'Would take {self.image} as it is.'}\n"
            f"Would start the container {self.container}, ports {published} on {self.bind}."
        )


@dataclass(frozen=True)
class Running:
    """A container that runs, and how long its making took."""

    service: str
    container: str
    image: str
    engine: str
    score_uri: str
    debug: Address | None
    package_s: float
    start_s: float
    init_s: float | None


@dataclass(frozen=True)
class Mapping:
    """A local folder, its place in the container, and whether breakpoints were proved to bind."""

    local: str
    remote: str
    verified: bool


@dataclass(frozen=True)
class Debugging:
    """A service that an editor can attach to; `error` is why it does not serve yet."""

    running: Running
    mappings: tuple[Mapping, ...]
    launch_json: Path | None
    attach_s: float | None
    attached: str | None = None
    error: DevkitError | None = None
    problem_line: str | None = None
    is_new: bool = True

    def contract(self) -> dict[str, Any]:
        """Return the object that `devkit debug --json` prints; the VS Code extension reads it."""
        running = self.running
        return {
            "container": running.container,
            "image": running.image,
            "engine": running.engine,
            "score_uri": running.score_uri,
            "debug": running.debug,
            "mappings": self.mappings,
            "launch_json": self.launch_json,
            "timings": {
                "package_s": round(running.package_s, 3),
                "start_s": round(running.start_s, 3),
                "init_s": None if running.init_s is None else round(running.init_s, 3),
                "attach_s": None if self.attach_s is None else round(self.attach_s, 3),
            },
        }

    def __str__(self) -> str:
        debug = self.running.debug
        lines = [f"Scoring    {self.running.score_uri}"]
        if debug:
            lines.append(f"Debugger   {debug.host}:{debug.port}")
        if self.attached:
            lines.append(f"{self.attached} is attached already.")
        elif self.launch_json:
            lines.append('Press F5 in VS Code ("devkit: attach").')
        return "\n".join(lines)


def saved_files(engine: str) -> str:
    """Say how a saved file gets into a service; nothing where it runs on the files themselves."""
    if engine == "process":
        return ""
    return "`devkit sync` keeps workspace and container in step; so does `devkit debug`."


@dataclass(frozen=True)
class Overview:
    """How service and sync are; which files, and whether settings, are not the container's.

    `committed` is what it was last committed as.
    """

    service: Status
    sync: dict[str, Any] | None = None
    differing: tuple[Path, ...] = ()
    is_outdated: bool = False
    committed: str | None = None

    def __str__(self) -> str:
        lines = [str(self.service)]
        if self.committed is not None:
            lines.append(f"committed {self.committed}, the last time")
        if self.sync is not None:
            lines.append(f"sync      {self.sync['text']}")
        lines += [f"differs   {path}" for path in self.differing]
        if self.is_outdated:
            lines.append("outdated  settings changed since the start; `devkit debug` takes them")
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """Return it as one object."""
        return {
            **jsonable(self.service),
            "sync": self.sync,
            "differing": self.differing,
            "outdated": self.is_outdated,
            "committed": self.committed,
        }


@dataclass(frozen=True)
class Launch:
    """What `devkit launch` did or would do."""

    changed: tuple[Path, ...]
    up_to_date: bool
    text: str


@dataclass(frozen=True)
class Deletion:
    """What `devkit delete` takes away, or took; `edits` is where edits in the container are kept.

    None is what is not there, or was not.
    """

    service: str
    container: str | None
    container_id: str | None
    network: str | None
    launch_root: Path | None
    edits: Path | None = None

    def __str__(self) -> str:
        parts = [f"the container {self.container}"] if self.container else []
        if self.network:
            parts.append(f"the network {self.network}")
        if self.launch_root:
            parts.append(f"devkit's entries in {self.launch_root / '.vscode'}")
        return ", ".join(parts) or f"nothing: nothing of {self.service} was there"
