"""devkit as a user types it, in a folder and with variables of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DEVKIT = Path(sys.executable).parent / "devkit"


class Typed:
    """A folder in which devkit is typed."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self.folder = folder
        self.env = {**os.environ, **env}

    def devkit(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Type it, and wait for its end."""
        return subprocess.run(
            [DEVKIT, *words],
            capture_output=True,
            encoding="utf-8",
            cwd=self.folder,
            env=self.env,
            timeout=240,
            check=False,
        )

    def json(self, *words: str) -> dict[str, Any]:
        """What it says to a program."""
        made: dict[str, Any] = json.loads(self.devkit(*words, "--json").stdout)
        return made
