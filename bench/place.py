"""Where the figures are taken: the workspace, the engine, and the image of the service."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from devkit.engine import Engine, Tag
from devkit.engines import connect
from devkit.errors import EngineError, NoEngine

DEVKIT = Path(sys.executable).parent / "devkit"
BASE = "devkit-base:3.13"
# As at a user's, where Python keeps what it compiled.
ENVIRON = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

# One service for all groups: numpy and scikit-learn are imported, `calls` makes it Python-heavy.
SCORE = """\
import json

import numpy as np
from sklearn.linear_model import LinearRegression

VERSION = 1


def init():
    global model
    model = LinearRegression()


def step(value):
    if value % 3 == 0:
        value += 1
    return value * 2


def run(raw_data):
    request = json.loads(raw_data)
    total = 0
    for number in range(request.get("calls", 0)):
        total += step(number)
    return {"version": VERSION, "total": total}


def elsewhere(value):
    return np.negative(value)
"""
REQUIREMENTS = "numpy\nscikit-learn\n"


class Place:
    """A folder for this run; what is made on the engine goes with it."""

    def __init__(self, folder: Path, cleanup: ExitStack) -> None:
        self._folder = folder
        self._cleanup = cleanup
        self._count = 0
        self.service = f"devkit-bench-{os.getpid()}"
        self.tag = Tag(self.service, "1")

    def folder(self) -> Path:
        """A new folder in one whose name is of this run."""
        self._count += 1
        made = self._folder / f"run{self._count}" / "0"
        made.mkdir(parents=True)
        return made

    @cached_property
    def engine(self) -> Engine:
        """The engine.

        Raises:
            NoEngine: none answers, or it has no base image.
        """
        engine = connect()
        self._cleanup.callback(engine.close)
        if engine.image(BASE) is None:
            raise NoEngine(f"The engine has no image {BASE}.", hint="`make base` makes it.")
        self._cleanup.callback(self._remove_image, str(self.tag))
        return engine

    @cached_property
    def workspace(self) -> Path:
        """The workspace of the service, as a user has it."""
        root = self._folder / "svc"
        root.mkdir()
        (root / "score.py").write_text(SCORE)
        (root / "requirements.txt").write_text(REQUIREMENTS)
        settings = {
            "service": self.service,
            "image": {"base": BASE, "tag": str(self.tag)},
            "ports": {"score": "auto", "debug": "auto"},
        }
        (root / "devkit.yaml").write_text(json.dumps(settings))
        return root

    @cached_property
    def image(self) -> Tag:
        """The service's image; made when first asked for."""
        if self.engine.image(str(self.tag)) is None:
            self.devkit("package")
        return self.tag

    def devkit(self, *words: str) -> dict[str, Any]:
        """Type a devkit command in the workspace; what it answers to --json."""
        done = subprocess.run(
            [DEVKIT, *words, "--json"],
            cwd=self.workspace,
            env=ENVIRON,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        answer: dict[str, Any] = json.loads(done.stdout)
        if not answer["ok"]:
            raise RuntimeError(f"devkit {' '.join(words)}: {answer['error']}")
        return answer

    def _remove_image(self, tag: str) -> None:
        with suppress(EngineError):
            self.engine.remove_image(tag)

    def removed_at_the_end(self, tag: str) -> str:
        """Note an image to remove; return its tag."""
        self._cleanup.callback(self._remove_image, tag)
        return tag

    @contextmanager
    def deleted(self) -> Iterator[None]:
        """What `devkit debug` starts here is gone afterwards."""
        try:
            yield
        finally:
            self.devkit("delete", "--yes")


@contextmanager
def place() -> Iterator[Place]:
    """A place that leaves nothing behind."""
    with tempfile.TemporaryDirectory(prefix="devkit-bench-") as folder, ExitStack() as cleanup:
        yield Place(Path(folder), cleanup)
