"""How long it takes to package again."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.place import SCORE, Place
from bench.row import Row, Sample, seconds
from devkit import config
from devkit.engine import BuildSpec, ContextFile
from devkit.package import environment, image, network

TIMES = 5


def rows(place: Place) -> Iterator[Row]:
    _ = place.image
    place.devkit("package")
    hand = _ByHand(place) if shutil.which("docker") else None
    yield Row(
        "devkit package, nothing changed",
        "s",
        seconds(TIMES, lambda: place.devkit("package")),
        hand.unchanged() if hand else None,
        hand="docker build",
        limit=0.2,
    )
    yield Row(
        "devkit package after an edit of score.py",
        "s",
        _edited(place.workspace / "score.py", lambda: place.devkit("package")),
        hand.edited() if hand else None,
        hand="docker build",
        limit=1.0,
    )


def _edited(script: Path, build: Callable[[], object]) -> Sample:
    values: list[float] = []
    try:
        for _ in range(TIMES):
            script.write_text(f"{SCORE}\n# {time.time_ns()}\n")
            values += seconds(1, build).values
    finally:
        script.write_text(SCORE)
    return Sample(tuple(values))


class _ByHand:
    """The Dockerfile that devkit renders, and its context as files."""

    def __init__(self, place: Place) -> None:
        spec = _spec(place.workspace)
        self._folder = place.folder()
        self._tag = place.removed_at_the_end(f"{place.service}-hand:1")
        self._args = [word for item in spec.args for word in ("--build-arg", item)]
        self._environ = {**os.environ, **spec.args}
        (self._folder / "Dockerfile").write_text(spec.dockerfile)
        for file in spec.context:
            _write(self._folder, file)
        self._script = next(self._folder.rglob("score.py"))
        self._build()

    def unchanged(self) -> Sample:
        return seconds(TIMES, self._build)

    def edited(self) -> Sample:
        return _edited(self._script, self._build)

    def _build(self) -> None:
        subprocess.run(
            ["docker", "build", "-q", "-t", self._tag, *self._args, "."],
            cwd=self._folder,
            env=self._environ,
            capture_output=True,
            check=True,
        )


def _spec(workspace: Path) -> BuildSpec:
    read = config.load(workspace)
    wanted = environment.read(read)
    return image.plan(read, wanted, network.found(read, wanted.wants)).spec


def _write(folder: Path, file: ContextFile) -> None:
    path = folder / file.path
    path.parent.mkdir(parents=True, exist_ok=True)
    if file.link is not None:
        path.symlink_to(file.link)
        return
    content = file.content
    path.write_bytes(content.read_bytes() if isinstance(content, Path) else content)
    path.chmod(file.mode)
