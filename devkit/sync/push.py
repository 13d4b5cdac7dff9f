"""Step 5, sync: saved files into the container at once; a file edited in there is left alone."""

from __future__ import annotations

import hashlib
import queue
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from threading import Event
from types import MappingProxyType

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from devkit import contract
from devkit.engine import Engine, Progress
from devkit.errors import ConfigError, EngineError
from devkit.sync.remote import Outcome, Remote

Wanted = Callable[[], Mapping[PurePosixPath, Path]]
Wrote = Callable[[Mapping[PurePosixPath, str]], object]
Saved = queue.SimpleQueue[Path]

# The rest of a save: an editor may write twice.
_SETTLE_S = 0.003
_STOP_SEEN_S = 0.2


def follow(
    engine: Engine,
    container: str,
    wanted: Wanted,
    *,
    folder: Path,
    stop: Event,
    progress: Progress,
    wrote: Wrote = lambda _: None,
    written: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Push until `stop`, first what was saved while nobody followed.

    Args:
        engine: where the container runs.
        container: its id.
        wanted: the files that belong into it, by their place; asked again when a new file appears.
        folder: what to watch.
        stop: ends it.
        progress: takes a line for what a user should know.
        wrote: takes the digest of each file that was written, by its place.
        written: the digests of what devkit has written there before.
    """
    if engine.name == "process":
        return  # it runs on the workspace's own files
    try:
        with (
            _watched(folder) as events,
            Remote(engine, container, contract.APP_ROOT) as remote,
        ):
            push = Push(remote, wanted, progress, wrote)
            push.catch_up(written)
            while not stop.is_set():
                push.push(_settled(events))
    except (EngineError, OSError) as error:  # the stream is lost, or the system watches no more
        if not stop.is_set():
            progress(f"Saved files do not reach the container any more: {error}")


class Push:
    """What the container has, as far as it is known here."""

    def __init__(
        self,
        remote: Remote,
        wanted: Wanted,
        progress: Progress,
        wrote: Wrote = lambda _: None,
    ) -> None:
        self._remote = remote
        self._wanted = wanted
        self._progress = progress
        self._wrote = wrote
        self._places: dict[Path, str] = {}
        self._there: dict[str, str | None] = {}
        self._refused: dict[str, Outcome] = {}
        self._left_out: set[Path] = set()
        self._unplaced: set[Path] = set()
        self._learn(set())

    def catch_up(self, written: Mapping[str, str]) -> None:
        """Write what changed here since devkit wrote it; what changed there is left alone."""
        places = self._places.items()
        there = {path: (contract.APP_ROOT / place, self._there[place]) for path, place in places}
        self.push(
            {path for path, (at, now) in there.items() if now and written.get(str(at)) == now}
        )

    def push(self, saved: set[Path]) -> None:
        """Write what belongs into the container and is not there yet."""
        if any(path.name == ".dockerignore" for path in saved):
            self._left_out.clear()
        saved = saved | self._unplaced
        unknown = {p for p in saved - self._places.keys() - self._left_out if p.is_file()}
        if unknown:
            self._learn(unknown)
        for path in sorted(saved & self._places.keys()):
            try:
                content, mode = path.read_bytes(), path.stat().st_mode
            except OSError:
                continue  # gone again: the next event tells
            self._write(self._places[path], content, 0o755 if mode & 0o111 else 0o644)

    def _learn(self, unknown: set[Path]) -> None:
        """Ask what belongs into the container, and what it has of the files not known yet."""
        try:
            wanted = self._wanted()
        except ConfigError:
            # An entry script that does not parse yet says so by itself; asked again after a save.
            self._unplaced = unknown
            return
        self._unplaced = set()
        self._places = {
            path: place.relative_to(contract.APP_ROOT).as_posix() for place, path in wanted.items()
        }
        self._left_out |= unknown - self._places.keys()
        new = [place for place in self._places.values() if place not in self._there]
        self._there.update(zip(new, self._remote.digests(new), strict=True))

    def _write(self, place: str, content: bytes, mode: int) -> None:
        digest = hashlib.sha256(content).hexdigest()
        if digest == self._there[place]:
            return
        done = self._remote.write(place, content, expect=self._there[place], mode=mode)
        if done.is_written or done.digest == digest:
            self._there[place] = digest
            self._wrote({contract.APP_ROOT / place: digest})
        elif self._refused.get(place) != done:
            self._refused[place] = done
            self._progress(_refusal(place, done))


def _refusal(place: str, done: Outcome) -> str:
    if done.error:
        return f"{place} could not be written in the container: {done.error}."
    return (
        f"{place} was edited in the container too and is left as it is there; "
        f"`devkit exec -- cat {contract.APP_ROOT / place}` shows it."
    )


@contextmanager
def _watched(folder: Path) -> Iterator[Saved]:
    events = Saved()
    observer = Observer()
    observer.schedule(_Handler(events), str(folder), recursive=True)
    observer.start()
    try:
        yield events
    finally:
        observer.stop()
        observer.join()


def _settled(events: Saved) -> set[Path]:
    """Wait for a save and all that comes with it; empty after a while, to look at other things."""
    saved = set[Path]()
    try:
        saved.add(events.get(timeout=_STOP_SEEN_S))
        while True:
            saved.add(events.get(timeout=_SETTLE_S))
    except queue.Empty:
        return saved


# Linux tells the end of a write; elsewhere a modification has to do.
_EVENTS = {"created", "closed", "moved"} | (set() if sys.platform == "linux" else {"modified"})


class _Handler(FileSystemEventHandler):
    def __init__(self, events: Saved) -> None:
        self._events = events

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type in _EVENTS and not event.is_directory:
            self._events.put(Path(str(event.dest_path or event.src_path)))
