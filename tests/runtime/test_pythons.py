"""The runtime on every Python from 3.7 on that this machine has: old models need old Pythons.

Without the inference server, so that its place is taken by devkit's own app.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.pythons import pythons
from tests.running import stopped
from tests.runtime.conftest import Start

CACHE = Path(__file__).parent.parent.parent / ".cache" / "pythons"
PYTHONS = pythons()


@pytest.fixture(params=sorted(PYTHONS, key=lambda version: int(str(version).split(".")[1])))
def python(request: pytest.FixtureRequest) -> str:
    """An interpreter of each version with the newest debugpy for it; made once, kept in .cache."""
    folder = CACHE / request.param
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{request.param}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "ready").exists():
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([PYTHONS[request.param], "-m", "venv", folder], check=True)
            pip = [folder / "bin" / "python", "-m", "pip", "install", "-q", "debugpy"]
            subprocess.run(pip, check=True, env={**os.environ, "PIP_NO_INPUT": "1"})
            (folder / "ready").touch()
    return str(folder / "bin" / "python")


def test_a_moved_breakpoint_stops_at_the_right_line_and_failures_are_told_on_each_python(
    start: Start, python: str
) -> None:
    service = start(python=python)
    session = service.attach({"score.py": [service.line("total = sum")]})
    version = service.bump(lambda text: "# one more line\n" + text)
    request = service.later()
    stop = stopped(session)
    assert (stop.line, stop.function) == (service.line("total = sum"), "run")
    session.resume(stop.thread)
    assert request.reply().json == {"version": version, "answer": 6}
    session.disconnect()
    error = service.request(body=b"{}").json["error"]
    assert (error["type"], error["line"]) == ("KeyError", service.line('["data"]'))
    assert "run() raised: KeyError" in service.log()
    assert service.request("GET", "/score?data=1").status == 502
    assert service.request("PUT").status == 405
    service.edit("score.py", lambda text: text.replace("model = 10", "model = nothing"))
    assert service.request().json["error"]["type"] == "NameError"
