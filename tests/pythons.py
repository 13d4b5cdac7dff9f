"""The Pythons of this machine: what runs in images has to run on each from 3.7 on."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

OLDEST = (3, 7)
# Those that can make a virtual environment; Debian's own may lack that.
_PROBE = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"


@cache
def pythons() -> dict[str, str]:
    """Version -> interpreter, each version once: of pyenv, wherever that is, and on the path."""
    folders = {Path("~/.pyenv/versions").expanduser(), Path(sys.base_prefix).parent}
    candidates = [path for folder in sorted(folders) for path in folder.glob("3.*/bin/python")]
    names = ["python3", *(f"python3.{number}" for number in range(7, 20))]
    candidates += [Path(path) for path in map(shutil.which, names) if path]
    found: dict[str, str] = {}
    for path in candidates:
        answer = subprocess.run(
            [path, "-c", _PROBE], capture_output=True, text=True, check=False
        ).stdout.strip()
        if re.fullmatch(r"3\.\d+", answer) and tuple(map(int, answer.split("."))) >= OLDEST:
            found.setdefault(answer, str(path))
    return found
