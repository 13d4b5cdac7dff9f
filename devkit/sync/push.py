"""Bring saved files into the container, as they are saved; a file edited in there is left alone."""

from __future__ import annotations

import hashlib
import queue
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from threading import Event

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from devkit import contract
from devkit.engine import Engine, Progress
from devkit.errors import EngineError
from devkit.sync.remote import Remote

Wanted = Callable[[], Mapping[PurePosixPath, Path]]

# The rest of a save: an editor may write twice.
_SETTLE_S = 0.003


def follow(
    engine: Engine,
    container: str,
    wanted: Wanted,
    *,
    folder: Path,
    stop: Event,
    progress: Progress,
) -> None:
    """Push until `stop`.

    Args:
        engine: where the container runs.
        container: its id.
        wanted: the files that belong into it, by their place; asked again when a new file appears.
        folder: what to watch.
        stop: ends it.
        progress: takes a line for what a user should know.
    """
    if engine.name == "process":
        return  # it runs on the workspace's own files
    events = queue.SimpleQueue[Path]()
    observer = Observer()
    observer.schedule(_Handler(events), str(folder), recursive=True)
    observer.start()
    try:
        with Remote(engine, container, contract.APP_ROOT) as remote:
            _Push(remote, wanted, progress).run(events, stop)
    except EngineError as error:
        if not stop.is_set():
            progress(f"Saved files do not reach the container any more: {error.message}")
    finally:
        observer.stop()
        observer.join()


class _Handler(FileSystemEventHandler):
    def __init__(self, events: queue.SimpleQueue[Path]) -> None:
        self._events = events

    def on_any_event(self, event: FileSystemEvent) -> None:
        if (
            event.event_type in ("created", "modified", "closed", "moved")
            and not event.is_directory
        ):
            self._events.put(Path(str(event.dest_path or event.src_path)))


class _Push:
    """What the container has, as far as it is known here."""

    def __init__(self, remote: Remote, wanted: Wanted, progress: Progress) -> None:
        self._remote = remote
        self._wanted = wanted
        self._progress = progress
        self._places: dict[Path, str] = {}
        self._there: dict[str, str | None] = {}
        self._told: dict[str, str | None] = {}
        self._learn()

    def run(self, events: queue.SimpleQueue[Path], stop: Event) -> None:
        while not stop.is_set():
            try:
                saved = {events.get(timeout=0.2)}
            except queue.Empty:
                continue
            try:
                while True:
                    saved.add(events.get(timeout=_SETTLE_S))
            except queue.Empty:
                self._push(saved)

    def _learn(self) -> None:
        """Ask what belongs into the container, and what it has of the files not known yet."""
        places = {path: place for place, path in self._wanted().items()}
        self._places = {
            path: place.relative_to(contract.APP_ROOT).as_posix() for path, place in places.items()
        }
        new = [place for place in self._places.values() if place not in self._there]
        self._there.update(zip(new, self._remote.digests(new), strict=True))

    def _push(self, saved: set[Path]) -> None:
        if any(path not in self._places and path.is_file() for path in saved):
            self._learn()
        for path in sorted(saved & self._places.keys()):
            try:
                content, mode = path.read_bytes(), path.stat().st_mode
            except OSError:
                continue  # gone again: the next event tells
            self._write(self._places[path], content, 0o755 if mode & 0o111 else 0o644)

    def _write(self, place: str, content: bytes, mode: int) -> None:
        if hashlib.sha256(content).hexdigest() == self._there[place]:
            return
        answer = self._remote.write(place, content, expect=self._there[place], mode=mode)
        if "digest" in answer:
            self._there[place] = answer["digest"]
        elif self._told.get(place, "") != answer.get("moved"):
            self._told[place] = answer.get("moved")
            self._progress(
                f"{place} was edited in the container too and is left as it is there; "
                f"`devkit exec -- cat {contract.APP_ROOT / place}` shows it."
            )
