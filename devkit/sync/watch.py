"""Step 5, sync: file events of the workspace, as hints where to look."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from devkit.sync.agent.places import TEMPORARY

Hint = Callable[[Path, bool], None]
"""Takes a path at which something happened, and whether a file there is written to its end."""

# Events come at once where they come at all; on network mounts none does.
_PROBE_S = 1.0
# Linux tells the end of a write, and of each name that comes and goes.
_TELLS_END = sys.platform == "linux"


@contextmanager
def watched(folders: Sequence[Path], hint: Hint) -> Iterator[str]:
    """Watch folders and all below; yield why no events come, "" where they do."""
    _mend_watchdog()
    observer = Observer()
    handler = _Handler(hint)
    try:
        for folder in folders:
            observer.schedule(handler, str(folder), recursive=True)
        observer.start()
    except OSError as error:  # the system's limit of watches is reached
        yield error.strerror or str(error)
        return
    try:
        yield "" if _arrives(folders[0], handler) else "no file events come from this file system"
    finally:
        observer.stop()
        observer.join()


def _mend_watchdog() -> None:
    """Make watchdog fit for what is done here; version 7.1 and before."""
    # It rescans new folders, and warns of each file that it then knows twice.
    warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"watchdog\.")
    if not _TELLS_END:
        return
    with suppress(ImportError):
        from watchdog.observers import inotify_move_event_grouper as grouper

        # A name that leaves the tree is waited for half a second, and all behind it waits, too.
        # The kernel puts both halves of a move in the queue at once.
        grouper.InotifyMoveEventGrouper.delay = 0.005


def _arrives(folder: Path, handler: _Handler) -> bool:
    probe = folder / f"{TEMPORARY}probe-{os.getpid()}"
    handler.probe = str(probe)
    try:
        probe.touch()
    except OSError:
        return True  # read-only: nothing changes here
    try:
        return handler.seen.wait(_PROBE_S)
    finally:
        probe.unlink(missing_ok=True)


class _Handler(FileSystemEventHandler):
    def __init__(self, hint: Hint) -> None:
        self._hint = hint
        self.probe = ""
        self.seen = threading.Event()

    def on_any_event(self, event: FileSystemEvent) -> None:
        path = os.fsdecode(event.src_path)
        if path == self.probe:
            self.seen.set()
        kind = event.event_type
        if kind == "moved":
            self._hint(Path(path), True)
            self._hint(Path(os.fsdecode(event.dest_path)), True)
        elif kind in ("deleted", "closed"):
            self._hint(Path(path), True)
        elif kind in ("created", "modified") and not (kind == "modified" and event.is_directory):
            self._hint(Path(path), event.is_directory)
