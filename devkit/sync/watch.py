"""Step 5, sync: file events of the workspace, as hints where to look.

On Linux by inotify itself, as in the container; elsewhere by watchdog.
"""

from __future__ import annotations

import os
import select
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from devkit.runtime import inotify
from devkit.sync.agent import places

Hint = Callable[[Path, bool], None]
"""Takes a path at which something happened, and whether a file there is written to its end."""
Lost = Callable[[str], None]
"""Takes why no events come from now on; "" where some were lost."""

# Events come at once where they come at all; on network mounts none does.
_PROBE_S = 1.0


@contextmanager
def watched(folders: Sequence[Path], hint: Hint, lost: Lost) -> Iterator[str]:
    """Watch folders and all below; yield why no events come, "" where they do."""
    probe = _Probe(folders[0])

    def seen(path: Path, is_finished: bool) -> None:
        probe.saw(path)
        hint(path, is_finished)

    watching = _by_inotify if sys.platform == "linux" else _by_watchdog
    try:
        with watching(folders, seen, lost):
            yield "" if probe.arrives() else "no file events come from this file system"
    except _NoEvents as why:
        yield str(why)


class _NoEvents(Exception):
    """The system gives none; its text says why."""


class _Probe:
    """A file that comes and goes: whoever watches hears of it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"{places.TEMPORARY}probe-{os.getpid()}"
        self._seen = threading.Event()

    def saw(self, path: Path) -> None:
        if path == self._path:
            self._seen.set()

    def arrives(self) -> bool:
        try:
            self._path.touch()
        except OSError:
            return True  # read-only: nothing changes here
        try:
            return self._seen.wait(_PROBE_S)
        finally:
            self._path.unlink(missing_ok=True)


@contextmanager
def _by_inotify(folders: Sequence[Path], hint: Hint, lost: Lost) -> Iterator[None]:
    try:
        events = inotify.Inotify(inotify.WANTED | inotify.ATTRIB)
        for folder in folders:
            events.watch_below(str(folder), places.is_fleeting_name)
    except OSError as error:
        raise _NoEvents(error.strerror or str(error)) from error
    waiting, stop = os.pipe()
    thread = threading.Thread(
        target=_read, args=(events, waiting, hint, lost), daemon=True, name="sync events"
    )
    thread.start()
    try:
        yield
    finally:
        os.close(stop)
        thread.join()
        os.close(waiting)
        events.close()


def _read(events: inotify.Inotify, stop: int, hint: Hint, lost: Lost) -> None:
    """Pass on what happens, until the other end of `stop` is closed."""
    while True:
        ready, _, _ = select.select([events.fileno(), stop], [], [])
        if stop in ready:
            return
        for mask, path in events.events():
            if mask & inotify.OVERFLOW:
                lost("")
                continue
            is_folder = bool(mask & inotify.IS_DIRECTORY)
            if is_folder and mask & (inotify.CREATE | inotify.MOVED_TO):
                try:
                    if not places.is_fleeting_name(os.path.basename(path)):  # noqa: PTH119
                        events.watch_below(path, places.is_fleeting_name)
                except OSError as error:
                    lost(error.strerror or str(error))
            is_open = bool(mask & inotify.CREATE) and not is_folder
            hint(Path(path), not is_open)


@contextmanager
def _by_watchdog(folders: Sequence[Path], hint: Hint, _lost: Lost) -> Iterator[None]:
    from watchdog.events import FileSystemEvent, FileSystemEventHandler
    from watchdog.observers import Observer

    class Handler(FileSystemEventHandler):
        def on_any_event(self, event: FileSystemEvent) -> None:
            kind, path = event.event_type, Path(os.fsdecode(event.src_path))
            if kind == "moved":
                hint(path, True)
                hint(Path(os.fsdecode(event.dest_path)), True)
            elif kind in ("deleted", "closed"):
                hint(path, True)
            elif kind in ("created", "modified"):
                # Here nobody tells the end of a write: the file has to be at rest for a while.
                hint(path, event.is_directory)

    observer = Observer()
    try:
        for folder in folders:
            observer.schedule(Handler(), str(folder), recursive=True)
        observer.start()
    except OSError as error:
        raise _NoEvents(error.strerror or str(error)) from error
    try:
        yield
    finally:
        observer.stop()
        observer.join()
