"""The main job, watched: package, run, stop at a breakpoint, edit, break init(), mend it, clean up.

Everything goes through what a user has: the `devkit` command with --json, the scoring port, and the debug port as an editor
speaks to it. Exit code 0 only when every step was seen to work.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from devkit import base, service
from devkit.dap import Client
from devkit.engines import connect
from devkit.errors import DevkitError, NoEngine

ROOT = Path(__file__).resolve().parents[1]
DEVKIT = Path(sys.executable).with_name("devkit")
TAG = "devkit-demo:1"
SAMPLE = {"data": [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]}
EDITS = 5


class NotSeen(Exception):
    """A step did not do what it should; the text says what was seen instead."""


@dataclass(frozen=True)
class Line:
    """One moment: seconds since the start, what happened, what was seen."""

    at_s: float
    title: str
    details: tuple[str, ...]


class Timeline:
    """Prints each step when it has been seen, with the time since the start beside it."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._started = time.monotonic()

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        step = Step()
        with self.console.status(f"[dim]{title} ...") as status:
            step.progress = lambda line: status.update(Text(f"{title}: {line[:100]}", style="dim"))
            yield step
        self._print("green", "✓", title, step.details)

    def failed(self, sentence: str) -> None:
        self._print("red", "✗", sentence, [])

    def _print(self, colour: str, mark: str, title: str, details: list[str]) -> None:
        at = time.monotonic() - self._started
        self.console.print(f"[dim]{at:6.1f} s[/dim]  [{colour}]{mark}[/{colour}] [bold]{title}[/bold]")
        for detail in details:
            self.console.print(Text(f"            {detail}"))


class Step:
    """What is seen during one step."""

    def __init__(self) -> None:
        self.details: list[str] = []
        self.progress: Callable[[str], None] = lambda line: None

    def saw(self, detail: str) -> None:
        self.details.append(detail)

    def expect(self, fact: bool, otherwise: str) -> None:
        if not fact:
            raise NotSeen(otherwise)


@dataclass(frozen=True)
class Running:
    """The service as `devkit debug --json` describes it."""

    workspace: Path
    contract: dict[str, Any]

    @property
    def script(self) -> Path:
        return self.workspace / "score.py"

    @property
    def score_uri(self) -> str:
        return str(self.contract["score_uri"])

    def ask(self) -> service.Answer:
        return service.invoke(self.score_uri, json.dumps(SAMPLE).encode())
