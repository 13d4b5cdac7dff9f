"""How long the command line takes to be there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from bench.place import DEVKIT, ENVIRON, Place
from bench.row import Row, Sample, milliseconds

TIMES = 15


def rows(_: Place) -> Iterator[Row]:
    yield Row(
        "devkit --help",
        "ms",
        _typed(str(DEVKIT), "--help"),
        _typed(sys.executable, "-c", "pass"),
        hand="python -c pass",
        limit=120,
    )


def _typed(*words: str) -> Sample:
    def run() -> None:
        subprocess.run(words, env=ENVIRON, capture_output=True, check=True)

    run()
    return milliseconds(TIMES, run)
