"""Mutagen, where it is installed: one edit, as devkit's are measured.

Never run here: Debian, PyPI and npm do not have it. https://mutagen.io/documentation says what its
commands are.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bench.observed import editing, inside, latencies, observed, saved
from bench.row import Sample

TIMES = 50
_NAME, _TARGET = "devkit-bench", "/tmp/mutagen"
_HERE = [sys.executable, "-I", "-u", "-c"]


def is_installed() -> bool:
    """Whether its command is here."""
    return shutil.which("mutagen") is not None


def edits(folder: Path, container: str) -> tuple[Sample, Sample]:
    """How long an edit takes into the container, and back (ms)."""
    with _session(folder, container):
        with observed(inside(container), _TARGET) as observer:
            out = latencies(TIMES, partial(saved, folder / "edit.txt"), observer)
        with observed(_HERE, str(folder)) as observer, editing(inside(container)) as editor:
            back = latencies(TIMES, partial(editor.save, f"{_TARGET}/edit.txt"), observer)
    return out, back


@contextmanager
def _session(folder: Path, container: str) -> Iterator[None]:
    """Let it keep a folder in step; its session and its daemon, of no other use, are gone then."""
    # In /tmp: the path of the daemon's socket has to be short.
    with tempfile.TemporaryDirectory(prefix="mutagen-", dir="/tmp") as data:
        run = partial(
            subprocess.run,
            env={**os.environ, "MUTAGEN_DATA_DIRECTORY": data},
            capture_output=True,
            timeout=120,
        )
        remote = f"docker://{container}{_TARGET}"
        create = ["mutagen", "sync", "create", "--no-global-configuration", f"--name={_NAME}"]
        try:
            run([*create, str(folder), remote], check=True)
            run(["mutagen", "sync", "flush", _NAME], check=True)
            yield
        finally:
            run(["mutagen", "sync", "terminate", _NAME], check=False)
            run(["mutagen", "daemon", "stop"], check=False)
