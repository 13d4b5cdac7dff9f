"""An engine in memory for unit tests of the steps; it passes engine_contract.py, so it cannot lie.

Images and files are plain dictionaries. A container runs nothing unless its RunSpec has a
`command`: that one, and every exec, is a process of this machine. `answers` replaces an exec:
command -> (exit code, output). `calls` records what was asked, as "run iris", "build debug:1".
"""

from __future__ import annotations

import dataclasses
import io
import itertools
import os
import signal
import subprocess
import tarfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import BinaryIO, Literal

from devkit.contract import LABEL_RUN, LABEL_SERVICE
from devkit.engine import (
    BuildSpec,
    Container,
    Contents,
    EngineInfo,
    FileChange,
    Image,
    Member,
    Progress,
    RunSpec,
    Stream,
    Tag,
)
from devkit.engines.pipe_stream import PipeStream
from devkit.errors import ContainerMissing, ImageMissing, NameInUse, NotOurs, PortInUse


@dataclass
class FakeContainer:
    """What the fake knows of a container; `files` maps absolute paths to content."""

    container: Container
    spec: RunSpec
    files: dict[PurePosixPath, bytes] = field(default_factory=dict)
    changes: dict[PurePosixPath, FileChange] = field(default_factory=dict)
    log: list[tuple[float, bytes]] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None
    changed: threading.Condition = field(default_factory=threading.Condition)


class FakeEngine:
    """See the module's first lines."""

    name = "fake"

    def __init__(self, *images: str) -> None:
        self.stored: dict[str, Image] = {}
        self.image_files: dict[str, dict[PurePosixPath, bytes]] = {}
        self.built: list[BuildSpec] = []
        self.boxes: dict[str, FakeContainer] = {}
        self.networks: dict[str, Mapping[str, str]] = {}
        self.taken_ports: set[int] = set()
        self.answers: dict[tuple[str, ...], tuple[int, bytes]] = {}
        self.calls: list[str] = []
        # Folders that every container has; others exist by having a file.
        self.folders = {
            PurePosixPath("/"),
            PurePosixPath("/tmp"),
            PurePosixPath("/var/azureml-app"),
        }
        self._numbers = itertools.count(1)
        for tag in images:
            self.add_image(tag)

    def add_image(
        self,
        tag: str,
        *,
        labels: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Image:
        """Have an image from now on."""
        name = str(Tag.parse(tag))
        identity = f"sha256:{next(self._numbers):064x}"
        image = Image(identity, (name,), dict(labels or {}), dict(env or {}), 1)
        self._give(name, image)
        return image

    def _give(self, name: str, image: Image) -> None:
        """Let an image have a tag, which another one may lose."""
        before = self.stored.pop(name, None)
        self.stored[name] = image
        for changed in filter(None, (before, image)):
            names = self._names(changed.id)
            for key in names or (changed.id,):
                self.stored[key] = dataclasses.replace(changed, tags=names)

    def _names(self, identity: str) -> tuple[str, ...]:
        return tuple(n for n, image in self.stored.items() if image.id == identity != n)

    def end(self, name: str, exit_code: int, *, oom_killed: bool = False, log: bytes = b"") -> None:
        """Let a container end by itself."""
        box = self._box(name)
        with box.changed:
            if log:
                box.log.append((time.time(), log))
            box.container = dataclasses.replace(
                box.container, state="exited", exit_code=exit_code, oom_killed=oom_killed
            )
            box.changed.notify_all()

    def write_log(self, name: str, data: bytes) -> None:
        """Let a container say something."""
        box = self._box(name)
        with box.changed:
            box.log.append((time.time(), data))
            box.changed.notify_all()

    def edit(self, name: str, path: str, content: bytes) -> None:
        """Change a file inside a container, as its user does."""
        box, place = self._box(name), PurePosixPath(path)
        kind: Literal["modified", "added"] = "modified" if place in box.files else "added"
        box.changes.setdefault(place, FileChange(place, kind))
        box.files[place] = content

    def info(self) -> EngineInfo:
        return EngineInfo("fake", "1", "memory", "linux", "amd64")

    def build(self, spec: BuildSpec, *, progress: Progress) -> Image:
        self.calls.append(f"build {spec.tag}")
        self.built.append(spec)
        progress(f"building {spec.tag}")
        return self.add_image(str(spec.tag), labels=spec.labels, env=spec.env)

    def image(self, tag: str) -> Image | None:
        by_id = {image.id: image for image in self.stored.values()}
        if tag in by_id or "@" in tag:  # by digest, which only a registry gives
            return by_id.get(tag)
        return self.stored.get(str(Tag.parse(tag)))

    def import_image(self, tar: BinaryIO, tag: Tag, *, labels: Mapping[str, str]) -> Image:
        tar.read()
        return self.add_image(str(tag), labels=labels)

    def images(self, labels: Mapping[str, str]) -> list[Image]:
        found = {image.id: image for image in self.stored.values()}
        return [image for image in found.values() if _has(image.labels, labels)]

    def commit(self, container: str, *, pause: bool = True) -> Image:
        box = self._box(container)
        self.calls.append(f"commit {box.container.name}")
        identity = f"sha256:{next(self._numbers):064x}"
        before = self.image(box.container.image_id)
        layers = (*(before.layers if before else ()), identity)
        image = Image(identity, (), box.container.labels, box.container.env, 1, layers=layers)
        self.stored[identity], self.image_files[identity] = image, dict(box.files)
        return image

    def image_like(
        self, files: str, like: str, tag: Tag, *, labels: Mapping[str, str], comment: str
    ) -> Image:
        self.calls.append(f"image_like {tag}")
        base, config = self.image(files), self.image(like)
        if base is None or config is None:
            raise ImageMissing("There is no such image.")
        made = self.add_image(str(tag), labels=labels, env=config.env)
        made = self.stored[str(tag)] = dataclasses.replace(made, layers=base.layers)
        self.image_files[made.id] = dict(self.image_files.get(base.id, {}))
        return made

    @contextmanager
    def contents(self, image: str) -> Iterator[Contents]:
        closed = self.create(image, {})
        config = {"Env": [f"{n}={v}" for n, v in closed.env.items()]}
        try:
            yield config, iter([self.archive_out(closed.id, PurePosixPath("/"))])
        finally:
            self.remove(closed.id)

    def top_layer(self, image: str, paths: Iterable[PurePosixPath]) -> Iterator[Member] | None:
        return None

    def create(self, image: str, labels: Mapping[str, str]) -> Container:
        found = self.image(image)
        if found is None:
            raise ImageMissing(f"There is no image {image}.")
        identity = f"{next(self._numbers):064x}"
        container = Container(
            identity,
            identity[:12],
            image,
            found.id,
            "created",
            None,
            False,
            dict(labels),
            {},
            env=found.env,
        )
        spec = RunSpec(Tag("none", "1"), identity[:12], labels, {}, ())
        files = dict(self.image_files.get(found.id, {}))
        self.boxes[identity[:12]] = FakeContainer(container, spec, files)
        return container

    def tag(self, image: str, tag: Tag) -> None:
        self.calls.append(f"tag {tag}")
        if (found := self.image(image)) is None:
            raise ImageMissing(f"There is no image {image}.")
        self.stored.pop(found.id, None)
        self._give(str(tag), found)

    def remove_image(self, tag: str) -> None:
        self.calls.append(f"remove_image {tag}")
        if (image := self.image(tag)) is None:
            return
        names = self._names(image.id)
        gone = (image.id, *names) if tag == image.id else (str(Tag.parse(tag)),)
        for name in gone:
            self.stored.pop(name, None)
        for name in self._names(image.id):
            self.stored[name] = dataclasses.replace(image, tags=self._names(image.id))

    def ensure_network(self, name: str, labels: Mapping[str, str]) -> None:
        if name in self.networks and LABEL_SERVICE not in self.networks[name]:
            raise NotOurs(f"The network {name} was not made by devkit.")
        self.networks.setdefault(name, dict(labels))

    def remove_network(self, name: str) -> bool:
        if name in self.networks and LABEL_SERVICE not in self.networks[name]:
            raise NotOurs(f"The network {name} was not made by devkit.")
        return self.networks.pop(name, None) is not None

    def run(self, spec: RunSpec) -> Container:
        image = self.image(str(spec.image))
        if image is None:
            raise ImageMissing(f"There is no image {spec.image}.")
        if spec.name in self.boxes:
            raise NameInUse(f"A container named {spec.name} exists already.")
        self.calls.append(f"run {spec.name}")
        ports = {p.container_port: (p.bind, p.host_port or self._free_port()) for p in spec.ports}
        self._refuse_taken(ports)
        self.boxes[spec.name] = FakeContainer(
            Container(
                id=f"{next(self._numbers):064x}",
                name=spec.name,
                image=str(spec.image),
                image_id=image.id,
                state="created",
                exit_code=None,
                oom_killed=False,
                labels={**image.labels, **spec.labels, LABEL_RUN: uuid.uuid4().hex},
                ports=ports,
                env={**image.env, **spec.env},
            ),
            dataclasses.replace(spec, env={**image.env, **spec.env}),
            dict(self.image_files.get(image.id, {})),
        )
        return self._launch(spec.name)

    def container(self, name: str) -> Container | None:
        box = self.boxes.get(name) or next(
            (box for box in self.boxes.values() if box.container.id == name), None
        )
        return None if box is None else box.container

    def containers(self, labels: Mapping[str, str]) -> list[Container]:
        return [box.container for box in self.boxes.values() if _has(box.container.labels, labels)]

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
        box = self._box(container)
        if not box.container.is_running:
            raise ContainerMissing(f"The container {container} does not run.")
        self.calls.append(f"exec {container} {' '.join(command)}")
        code, output = self.answers.get(tuple(command), (None, b""))
        if code is not None:
            command = ["sh", "-c", f'printf %s "$1"; exit {code}', "sh", output.decode()]
        merged = {**os.environ, **box.spec.env, **(env or {})}
        return PipeStream(command, workdir=workdir, env=merged, on_stderr=on_stderr)

    def archive_in(self, container: str, path: PurePosixPath, tar: BinaryIO) -> None:
        box = self._box(container)
        self._refuse_missing(box, path)
        with tarfile.open(fileobj=tar, mode="r|*") as archive:
            for member in archive:
                content = archive.extractfile(member)
                if content is not None:
                    self.edit(container, str(path / member.name), content.read())

    def archive_out(self, container: str, path: PurePosixPath) -> Iterator[bytes]:
        box = self._box(container)
        self._refuse_missing(box, path)
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for file, content in sorted(box.files.items()):
                if file.is_relative_to(path):
                    member = tarfile.TarInfo(str(file.relative_to(path.parent)))
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
        return iter([buffer.getvalue()])

    def changes(self, container: str) -> list[FileChange]:
        self.calls.append(f"changes {self._box(container).container.name}")
        return list(self._box(container).changes.values())

    def logs(
        self,
        container: str,
        *,
        follow: bool = False,
        since: float | None = None,
        tail: int | None = None,
    ) -> Iterator[bytes]:
        return self._logs(self._box(container), follow=follow, since=since, tail=tail)

    def stop(self, container: str, *, timeout_s: int = 5) -> None:
        box = self._box(container)
        if not box.container.is_running:
            return
        self.calls.append(f"stop {box.container.name}")
        if box.process is None:
            self.end(container, 143)
            return
        self._signal(box.process, signal.SIGTERM)
        if not self._wait_end(box, timeout_s):
            self._signal(box.process, signal.SIGKILL)
            self._wait_end(box, None)

    def start(self, container: str) -> Container:
        return self._launch(self._box(container).container.name)

    def rename(self, container: str, name: str) -> None:
        box = self._box(container)
        if name in self.boxes:
            raise NameInUse(f"A container named {name} exists already.")
        self.calls.append(f"rename {box.container.name} {name}")
        self.boxes[name] = self.boxes.pop(box.container.name)
        box.container = dataclasses.replace(box.container, name=name)

    def remove(self, container: str) -> None:
        found = self.container(container)
        if found is not None:
            self.calls.append(f"remove {found.name}")
            box = self.boxes.pop(found.name)
            if box.process is not None:
                self._signal(box.process, signal.SIGKILL)

    def close(self) -> None:
        for name in list(self.boxes):
            if self.boxes[name].process is not None:
                self.remove(name)

    def _box(self, name: str) -> FakeContainer:
        found = self.container(name)
        if found is None:
            raise ContainerMissing(f"There is no container {name}.")
        return self.boxes[found.name]

    def _launch(self, name: str) -> Container:
        box = self.boxes[name]
        box.container = dataclasses.replace(
            box.container,
            state="running",
            exit_code=None,
            started_at=datetime.now(UTC).isoformat(),
        )
        if box.spec.command is not None:
            box.process = subprocess.Popen(
                box.spec.command,
                env={**os.environ, **box.spec.env},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            threading.Thread(target=self._watch, args=(box, box.process), daemon=True).start()
        return box.container

    def _watch(self, box: FakeContainer, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process:
            while data := os.read(process.stdout.fileno(), 65536):
                with box.changed:
                    box.log.append((time.time(), data))
                    box.changed.notify_all()
        code = process.returncode
        with box.changed:
            box.container = dataclasses.replace(
                box.container, state="exited", exit_code=code if code >= 0 else 128 - code
            )
            box.changed.notify_all()

    def _logs(
        self, box: FakeContainer, *, follow: bool, since: float | None, tail: int | None
    ) -> Iterator[bytes]:
        with box.changed:
            seen = len(box.log)
            past = b"".join(data for at, data in box.log if since is None or at >= since)
        lines = past.splitlines(keepends=True)
        yield past if tail is None else b"".join(lines[max(0, len(lines) - tail) :])
        while follow:
            with box.changed:
                while len(box.log) == seen and box.container.is_running:
                    box.changed.wait()
                new, seen = box.log[seen:], len(box.log)
                follow = bool(new) or box.container.is_running
            yield b"".join(data for _, data in new)

    @staticmethod
    def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
        """As in a container, what the first process started ends with it."""
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)

    @staticmethod
    def _wait_end(box: FakeContainer, timeout_s: float | None) -> bool:
        with box.changed:
            return box.changed.wait_for(lambda: not box.container.is_running, timeout=timeout_s)

    def _free_port(self) -> int:
        taken = self.taken_ports | {
            port for box in self.boxes.values() for _, port in box.container.ports.values()
        }
        return next(port for port in itertools.count(40000) if port not in taken)

    def _refuse_taken(self, ports: Mapping[int, tuple[str, int]]) -> None:
        taken = self.taken_ports | {
            port
            for box in self.boxes.values()
            if box.container.is_running
            for _, port in box.container.ports.values()
        }
        for _, port in ports.values():
            if port in taken:
                raise PortInUse(
                    f"Port {port} of this machine is already in use.", hint="Choose another port."
                )

    def _refuse_missing(self, box: FakeContainer, path: PurePosixPath) -> None:
        if path not in self.folders and not any(file.is_relative_to(path) for file in box.files):
            raise FileNotFoundError(2, "not in the container", str(path))


def _has(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(name in labels and value in ("", labels[name]) for name, value in wanted.items())
