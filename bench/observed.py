"""Edits with a mark, and who sees them: another process that knows nothing of devkit.

A clock that all processes of a machine share, containers too, says when a file was written and when
it was complete on the other side.
"""

from __future__ import annotations

import itertools
import os
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.row import Sample
from devkit.runtime import inotify

SIZE = 4096
TIMEOUT_S = 60
# Nobody saves faster; what an edit leaves behind is done by then.
PAUSE_S = 0.02
_NUMBERS = itertools.count(1)

# Says which mark each file has that is complete, and when it was seen.
_OBSERVER = f"""
import select, sys, time
events = Inotify()
events.watch_below(sys.argv[1], lambda name: name.startswith(".devkit"))
print("ready", 0, "", flush=True)
while True:
    if sys.stdin in select.select([events, sys.stdin], [], [])[0]:
        sys.exit()
    for mask, path in events.events():
        if not mask & (CLOSE_WRITE | MOVED_TO) or mask & IS_DIRECTORY:
            continue
        try:
            if os.stat(path).st_size != {SIZE}:
                continue
            with open(path, "rb") as file:
                data = file.read()
        except OSError:
            continue
        if len(data) == {SIZE} and data[:16] == data[-16:]:
            print(data[:16].decode(), time.monotonic_ns(), path, flush=True)
"""

# Saves marked files and says when it began: first how many, or 0 for the one named.
_EDITOR = f"""
import os, sys, time
for line in sys.stdin:
    mark, count, path = line.split()
    data = mark.encode().ljust({SIZE} - 16, b".") + mark.encode()
    began = time.monotonic_ns()
    for number in range(int(count) or 1):
        place = path if count == "0" else "%s/f%d.txt" % (path, number)
        if count != "0":
            os.unlink(place)
        with open(place, "wb") as file:
            file.write(data)
    print(mark, began, flush=True)
"""


def marked(mark: str) -> bytes:
    """A text of 4 KB that shows whether it is whole."""
    return mark.encode().ljust(SIZE - 16, b".") + mark.encode()


def new_mark() -> str:
    """One that no other edit has."""
    return f"{next(_NUMBERS):016d}"


class Observer:
    """A process that waits for file events below a folder."""

    def __init__(self, command: Sequence[str], folder: str) -> None:
        text = Path(inotify.__file__).read_text("utf-8") + _OBSERVER
        self._process = _started([*command, text, folder])
        self._seen = queue.SimpleQueue[tuple[str, int, str]]()
        threading.Thread(target=self._read, daemon=True).start()
        self.seen("ready")

    def seen(self, mark: str, *, files: int = 1) -> int:
        """Wait until that many files have the mark; when the last of them was seen (ns)."""
        paths = set[str]()
        while len(paths) < files:
            found, at, path = self._seen.get(timeout=TIMEOUT_S)
            if found == mark:
                paths.add(path)
        return at

    def close(self) -> None:
        """End it."""
        _end(self._process)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            mark, at, path = line.rstrip("\n").split(" ", 2)
            self._seen.put((mark, int(at), path))


class Editor:
    """A process that saves files when told to."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = _started([*command, _EDITOR])

    def save(self, path: str, mark: str, *, files: int = 0) -> int:
        """Save a file, or so many below a folder anew; when it began (ns)."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{mark} {files} {path}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline().split()[1])

    def close(self) -> None:
        """End it."""
        _end(self._process)


def inside(container: str) -> list[str]:
    """How Python text runs in a container."""
    return ["docker", "exec", "-i", container, "python3", "-I", "-u", "-c"]


@contextmanager
def observed(command: Sequence[str], folder: str) -> Iterator[Observer]:
    """An observer, for a while."""
    observer = Observer(command, folder)
    try:
        yield observer
    finally:
        observer.close()


@contextmanager
def editing(command: Sequence[str]) -> Iterator[Editor]:
    """An editor, for a while."""
    editor = Editor(command)
    try:
        yield editor
    finally:
        editor.close()


def saved(place: Path, mark: str) -> int:
    """Save a file here, in place as most editors do; when it began (ns)."""
    data = marked(mark)
    began = time.monotonic_ns()
    place.write_bytes(data)
    return began


def latencies(times: int, save: Callable[[str], int], observer: Observer) -> Sample:
    """How many milliseconds each edit takes until it is seen; the first ones warm up."""
    values = []
    for _ in range(times + 3):
        time.sleep(PAUSE_S)
        mark = new_mark()
        began = save(mark)
        values.append((observer.seen(mark) - began) / 1e6)
    return Sample(tuple(values[3:]))


def _started(words: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        errors="surrogateescape",
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )


def _end(process: subprocess.Popen[str]) -> None:
    # Both end with their input, in a container too.
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
