"""Doctor: Python, git and clock of this machine."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

import devkit
from devkit import launch
from devkit.diagnose.finding import Finding
from devkit.doctor.check import Machine, Seen, unseen
from devkit.doctor.reach import Reach

_MOST_APART_S = 5.0
_DAY_S = 86400


def python(machine: Machine) -> Seen:
    """Which Python runs devkit, and whether an editor's task finds that devkit."""
    text = f"Python {platform.python_version()} at {sys.executable}, devkit {devkit.__version__}"
    command = launch.devkit_command(machine.root)
    if command != "devkit" or shutil.which("devkit"):
        return Seen(text)
    finding = Finding(
        "devkit-not-on-path",
        "warning",
        "devkit is not on the PATH.",
        "F5 starts the task `devkit debug --detach`, which would not be found.",
        f"Add {Path(sys.executable).parent} to the PATH of the login, and start the editor anew.",
    )
    return Seen(text, (finding,))


def git(machine: Machine) -> Seen:
    """Whether git is there: an edit inside the container is best seen by `git diff`."""
    path = shutil.which("git")
    if path is None:
        finding = Finding(
            "git-missing",
            "note",
            "git is not installed.",
            "devkit works without it; what comes back from a container is best looked at by it.",
            "Install git.",
        )
        return Seen("not installed", (finding,))
    done = subprocess.run(
        [path, "-C", str(machine.root), "rev-parse", "--is-inside-work-tree"],
        capture_output=True,
        timeout=5,
        check=False,
        env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
    )
    inside = done.returncode == 0
    return Seen("the workspace is under version control" if inside else "installed")


def clock(_machine: Machine, reach: Reach) -> Seen:
    """Whether this machine and the engine's have the same time, and a possible one."""
    made = Path(devkit.__file__).stat().st_mtime
    if time.time() < made - _DAY_S:
        return Seen("is before devkit was installed", (_wrong("The clock of this machine is"),))
    engine = reach.engine_or_none()
    if engine is None or engine.name == "process":
        return Seen("is plausible")
    began = time.time()
    there = reach.asked().clock()
    if there is None:
        return unseen("the engine does not tell its own")
    apart_s = apart(there, began, time.time())
    text = f"the engine's is {abs(apart_s):.1f} s {'ahead' if apart_s > 0 else 'behind'}"
    if abs(apart_s) <= _MOST_APART_S:
        return Seen("the engine has the same time")
    return Seen(text, (_wrong(f"The engine's clock is {abs(apart_s):.0f} s apart and so"),))


def apart(there: float, before: float, after: float) -> float:
    """How far a time is from the span in which it was asked for."""
    return min(there - before, 0.0) if there < before else max(there - after, 0.0)


def _wrong(what: str) -> Finding:
    return Finding(
        "clock-wrong",
        "warning",
        f"{what} wrong.",
        "Certificates are refused by a wrong clock, and times of files and logs mean nothing.",
        "Set it (`timedatectl set-ntp true`); Docker Desktop's is right again after a restart.",
    )
