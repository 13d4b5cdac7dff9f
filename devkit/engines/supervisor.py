"""The parent of a service that runs as a process: keeps its log and its exit code.

Run as `python -m devkit.engines.supervisor FOLDER` by engines/process.py. It goes into the
background once the service has started, which so outlives the devkit command that asked for it.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

import psutil

LAUNCH, STATE, EXIT, LOG, INDEX = "launch.json", "state.json", "exit.json", "log", "log.index"
# One record per piece of the log: when it came (Unix seconds) and where it begins.
RECORD = struct.Struct("<dQ")

_DRAIN_S = 0.5
_NOT_STARTED = 127


def main(folder: Path) -> int:
    """Start what LAUNCH says; return 0 once it runs, with its state in STATE, or say why not."""
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        with os.fdopen(reader) as answer:
            trouble = answer.read()
        sys.stderr.write(trouble)
        return 1 if trouble else 0
    os.close(reader)
    os.setsid()
    _supervise(folder, writer)
    return 0


def write_json(path: Path, value: object) -> None:
    """Write a file in one step, readable by its owner alone: environments hold secrets."""
    fresh = path.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(value, file)
    fresh.replace(path)


def _supervise(folder: Path, starter: int) -> None:
    launch = json.loads((folder / LAUNCH).read_text())
    try:
        child = subprocess.Popen(
            launch["command"],
            cwd=launch["cwd"],
            env=launch["env"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        os.write(starter, f"{launch['command'][0]}: {error.strerror}".encode())
        os._exit(_NOT_STARTED)
    write_json(
        folder / STATE,
        {"child": _identity(child.pid), "supervisor": _identity(os.getpid()), "since": time.time()},
    )
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    os.close(starter)
    assert child.stdout is not None
    log = threading.Thread(target=_keep_log, args=(child.stdout, folder), daemon=True)
    log.start()
    code = child.wait()
    # What the service left running may hold the pipe open for ever.
    log.join(_DRAIN_S)
    write_json(folder / EXIT, {"code": code if code >= 0 else 128 - code})


def _keep_log(pipe: IO[bytes], folder: Path) -> None:
    with (folder / LOG).open("ab") as log, (folder / INDEX).open("ab") as index:
        while data := os.read(pipe.fileno(), 65536):
            # The record first: whoever sees the bytes can see when they came.
            index.write(RECORD.pack(time.time(), log.tell()))
            index.flush()
            log.write(data)
            log.flush()


def _identity(pid: int) -> list[float]:
    """Return pid and start time, so that a pid used again is never taken for this process."""
    return [pid, psutil.Process(pid).create_time()]


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
