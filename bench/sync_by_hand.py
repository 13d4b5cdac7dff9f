"""What one does without a sync: copies after each edit, by one of the usual commands."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath

from bench.observed import Observer, inside, latencies, marked, new_mark, observed, saved
from bench.place import BASE
from bench.row import Sample, seconds
from devkit.engine import Engine

# Where the folder of the host is mounted, and where copies go.
BOUND, COPIED = "/bound", "/tmp/copied"
# Two edits within a second differ, too.
_RSYNC = ["rsync", "-a", "--modify-window=-1", "--delete", "--blocking-io", "-e", "docker exec -i"]
_INSTALL = "apt-get install -y --no-install-recommends rsync || (apt-get update && " + (
    "apt-get install -y --no-install-recommends rsync)"
)


class Plain:
    """A container that nobody keeps in step, and a folder to copy to it."""

    def __init__(self, engine: Engine, container: str, folder: Path, target: str = COPIED) -> None:
        """Take a container; what `folder` has is copied to its `target`."""
        self._engine = engine
        self.container = container
        self.folder = folder
        self._made = 0
        self._top = self.target = target
        _run("docker", "exec", container, "mkdir", "-p", target)
        self.has_rsync = shutil.which("rsync") is not None and self._has_rsync()

    # One way for each; `name` is below the folder, and what it was is replaced.

    def bind(self, name: str) -> None:
        """Nothing is to be done where the folder is mounted."""

    def docker_cp(self, name: str) -> None:
        """Copy with docker's own command."""
        _run("docker", "cp", str(self.folder / name), f"{self.container}:{self.target}/{name}")

    def put_archive(self, name: str) -> None:
        """Copy as the docker SDK does, with an archive in memory."""
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as tar:
            tar.add(self.folder / name, name)
        content.seek(0)
        self._engine.archive_in(self.container, PurePosixPath(self.target), content)

    def tar(self, name: str) -> None:
        """Copy through a pipe of two tars."""
        with subprocess.Popen(
            ["tar", "-C", str(self.folder), "-c", name], stdout=subprocess.PIPE
        ) as packing:
            unpack = ["docker", "exec", "-i", self.container, "tar", "-C", self.target, "-x"]
            subprocess.run(unpack, stdin=packing.stdout, check=True)

    def rsync(self, name: str) -> None:
        """Copy what differs, through `docker exec`."""
        place = self.folder / name
        source = f"{place}/" if place.is_dir() else str(place)
        _run(*_RSYNC, source, f"{self.container}:{self.target}/{name}")

    def rsync_back(self, name: str) -> None:
        """Copy what differs to the host."""
        _run(*_RSYNC, f"{self.container}:{self.target}/{name}/", f"{self.folder / name}/")

    def polled_back(self, name: str) -> None:
        """Ask what has changed, and copy a file that has to the host."""
        changed = _run("docker", "diff", self.container)
        assert f"{self.target}/{name}" in changed
        _run("docker", "cp", f"{self.container}:{self.target}/{name}", str(self.folder / name))

    # What is measured.

    def edits(self, times: int, copy: Callable[[str], None]) -> Sample:
        """From an edit on the host until it is complete in the container."""
        below = BOUND if copy == self.bind else self.target
        with observed(inside(self.container), below) as observer:
            return self._edits(times, copy, observer)

    def edits_back(self, times: int) -> Sample:
        """From an edit in the container until it is on the host."""
        content = marked(new_mark())
        place = f"{self.target}/back.txt"
        write = ["docker", "exec", "-i", self.container, "sh", "-c", f"cat >{place}"]
        subprocess.run(write, input=content, check=True)
        polled = seconds(times, partial(self.polled_back, "back.txt"))
        return Sample(tuple(value * 1000 for value in polled.values))

    def copies(self, name: str, copy: Callable[[str], None]) -> Sample:
        """How long it takes to copy something that is not there yet.

        Nothing is deleted before: ext4 makes new files up to twenty times as slowly for a minute
        then, near what was deleted (measured 0.04 and 0.8 ms a file). So does what other
        processes delete: compare only what went to the same container.
        """
        self._made += 1
        self.target = f"{self._top}/{self._made}"
        _run("docker", "exec", self.container, "mkdir", self.target)
        return seconds(1, partial(copy, name))

    def _edits(self, times: int, copy: Callable[[str], None], observer: Observer) -> Sample:
        def save(mark: str) -> int:
            began = saved(self.folder / "edit.txt", mark)
            copy("edit.txt")
            return began

        return latencies(times, save, observer)

    def _has_rsync(self) -> bool:
        ask = ["docker", "exec", self.container, "sh", "-c", "command -v rsync"]
        return not subprocess.run(ask, capture_output=True, check=False).returncode


@contextmanager
def plain(engine: Engine, folder: Path) -> Iterator[Plain]:
    """A container of the base image with a folder mounted, gone afterwards."""
    start = ("docker", "run", "-d", "--init", "-v", f"{folder}:{BOUND}")
    container = _run(*start, BASE, "sh", "-c", "exec sleep 100000").strip()
    try:
        if shutil.which("rsync") is not None:
            install = ["docker", "exec", "-u", "0", container, "sh", "-c", _INSTALL]
            subprocess.run(install, capture_output=True, check=False)
        yield Plain(engine, container, folder)
    finally:
        engine.remove(container)


def _run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words[:3])}: {done.stderr.strip()[-300:]}")
    return done.stdout
