"""An image of the process engine: a virtual environment, the runtime, and where files belong."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import venv
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, unquote

import devkit
from devkit.contract import APP_ROOT, RUNTIME_PACKAGE, RUNTIME_ROOT
from devkit.engine import BuildSpec, Image, Progress, Tag
from devkit.engines import build_output
from devkit.engines.supervisor import write_json
from devkit.errors import BuildError, Unsupported

_KEPT_LINES = 400
_PIP_QUIET = ("--progress-bar", "off", "--disable-pip-version-check")
_RUNTIME = Path(devkit.__file__).parent / "runtime"


class ImageStore:
    """Images in a folder: `images/<id>/`, `tags/<tag>` with the id in it, `venvs/<key>/`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def build(self, spec: BuildSpec, *, progress: Progress) -> Image:
        """Make an image; the same environment is installed once.

        Raises:
            PackageInstallFailed: a requirement could not be installed; it is named.
        """
        environment = self._environment(spec, progress)
        content = {
            "labels": dict(spec.labels),
            "env": dict(spec.env),
            "placements": [[str(it.local), str(it.remote)] for it in spec.placements],
            "python": str(environment / "bin/python"),
            "runtime": _digest_of_folder(_RUNTIME),
        }
        identity = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        folder = self._folder / "images" / identity
        if not (folder / "image.json").exists():
            progress("Copying the runtime")
            shutil.copytree(
                _RUNTIME,
                self.runtime(identity),
                dirs_exist_ok=True,
                ignore=shutil.ignore_patterns("__pycache__"),
            )
            write_json(folder / "image.json", content)
        self._point(spec.tag, identity)
        image = self.find(str(spec.tag))
        assert image is not None
        return image

    def find(self, tag: str) -> Image | None:
        """Find an image by tag or id."""
        identity = tag.removeprefix("sha256:")
        if not (self._folder / "images" / identity / "image.json").exists():
            if "@" in tag:  # by digest, which only a registry gives
                return None
            pointer = self._pointer(Tag.parse(tag))
            if not pointer.exists():
                return None
            identity = pointer.read_text()
        content = self.content(identity)
        return Image(
            id=f"sha256:{identity}",
            tags=tuple(sorted(self._tags(identity))),
            labels=content["labels"],
            env=content["env"],
            size_bytes=0,
        )

    def content(self, identity: str) -> Mapping[str, Any]:
        """Return what was recorded when the image was built."""
        path = self._folder / "images" / identity.removeprefix("sha256:") / "image.json"
        return dict(json.loads(path.read_text()))

    def runtime(self, identity: str) -> Path:
        """Return the copy of the runtime's package that the image starts."""
        name = identity.removeprefix("sha256:")
        return self._folder / "images" / name / "runtime" / RUNTIME_PACKAGE.name

    def remove(self, tag: str) -> None:
        """Remove a tag, and the image with its last tag; its virtual environment stays."""
        image = self.find(tag)
        if image is None:
            return
        for name in image.tags if tag.startswith("sha256:") else (str(Tag.parse(tag)),):
            self._pointer(Tag.parse(name)).unlink()
        identity = image.id.removeprefix("sha256:")
        if not self._tags(identity):
            shutil.rmtree(self._folder / "images" / identity)

    def _environment(self, spec: BuildSpec, progress: Progress) -> Path:
        made_of = (sys.version, sys.base_prefix, *spec.requirements)
        key = hashlib.sha256("\n".join(made_of).encode())
        folder = self._folder / "venvs" / key.hexdigest()[:32]
        done = folder / "devkit-complete"
        with _locked(folder.with_suffix(".lock")):
            if spec.no_cache or not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                version = f"{sys.version_info.major}.{sys.version_info.minor}"
                progress(f"Making a virtual environment with this machine's Python {version}")
                venv.create(folder, symlinks=True)
                _install(folder, spec.requirements, spec.tag, progress)
                done.touch()
        return folder

    def _pointer(self, tag: Tag) -> Path:
        return self._folder / "tags" / quote(str(tag), safe="")

    def _point(self, tag: Tag, identity: str) -> None:
        pointer = self._pointer(tag)
        pointer.parent.mkdir(parents=True, exist_ok=True)
        fresh = pointer.with_name(f".{pointer.name}.{os.getpid()}")
        fresh.write_text(identity)
        fresh.replace(pointer)

    def _tags(self, identity: str) -> list[str]:
        return [
            unquote(path.name)
            for path in (self._folder / "tags").glob("[!.]*")
            if path.read_text() == identity
        ]


def place(placements: Sequence[Sequence[str]], root: Path) -> None:
    """Link the workspace's files into an application root; a debugger sees their true paths.

    Raises:
        Unsupported: a place outside the application root, or inside another one's folder.
    """
    root.mkdir(parents=True)
    for local, remote in sorted(placements, key=lambda pair: PurePosixPath(pair[1]).parts):
        if not PurePosixPath(remote).is_relative_to(APP_ROOT) or PurePosixPath(remote) == APP_ROOT:
            raise Unsupported(
                f"{remote} is not below {APP_ROOT}; a process has no other folder of its own.",
                hint="Use a container engine for this service.",
            )
        link = root / PurePosixPath(remote).relative_to(APP_ROOT)
        if link.exists() and link.resolve() == Path(local).resolve():
            continue
        # Below a link stands the workspace itself, which is never written here.
        if link.exists() or link.parent.resolve() != root.resolve() / link.parent.relative_to(root):
            raise Unsupported(
                f"{remote} would lie inside a folder of the workspace.",
                hint="Use a container engine for this service.",
            )
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(local)


def translated(env: Mapping[str, str], root: Path, runtime: Path) -> dict[str, str]:
    """Return an image's variables with the container's paths replaced by this machine's."""
    paths = {str(APP_ROOT): str(root), str(RUNTIME_ROOT): str(runtime.parent)}

    def here(value: str) -> str:
        for remote, local in paths.items():
            value = value.replace(remote, local)
        return value

    return {name: here(value) for name, value in env.items() if name != "PATH"}


def _install(folder: Path, requirements: Sequence[str], tag: Tag, progress: Progress) -> None:
    if not requirements:
        return
    listed = folder / "requirements.txt"
    listed.write_text("\n".join(requirements) + "\n")
    child = subprocess.Popen(
        (*_installer(folder / "bin/python"), "--requirement", str(listed)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert child.stdout is not None
    output: deque[str] = deque(maxlen=_KEPT_LINES)
    with child:
        for line in child.stdout:
            if text := build_output.shown(line):
                output.append(text)
                progress(text)
    if child.returncode:
        words = output[-1] if output else f"exit code {child.returncode}"
        raise build_output.failure(list(output), words, tag=tag)


def _installer(python: Path) -> tuple[str, ...]:
    """Return the words that install into that interpreter's environment: uv, else pip."""
    if uv := shutil.which("uv"):
        return (uv, "pip", "install", "--python", str(python))
    if find_spec("pip") is not None:
        return (sys.executable, "-m", "pip", "--python", str(python), "install", *_PIP_QUIET)
    try:
        venv.EnvBuilder(with_pip=True, symlinks=True).create(python.parent.parent)
    except subprocess.CalledProcessError as error:
        raise BuildError(
            "There is neither uv nor pip on this machine to install packages with.",
            hint="Install one: `apt-get install python3-venv`, or uv.",
        ) from error
    return (str(python), "-m", "pip", "install", *_PIP_QUIET)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a file's lock: two builds of one environment would write over each other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _digest_of_folder(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
