"""Step 5, sync: what the agent tells by itself: what changed, found by events and by looking.

Part of the agent: standard library only, Python 3.7 and up.
"""

from __future__ import annotations

import os
import time
from typing import Any, Callable, Dict, Optional

from . import places
from .contained import Contained
from .side import FILE, PENDING, Entry, Moved, Snapshot, TooLarge, reason
from .watched import Changes, Watched

# Up to here a change is told with its content, which saves a round trip.
INLINE_BYTES = 64 * 1024
# Without events: how often to look at everything; with them, for what no event told.
_LOOK_EVERY_S = 1.0
_RESCAN_EVERY_S = 20.0
# The rescan takes at most this share of the time.
_RESCAN_SHARE = 200

Send = Callable[[Dict[str, Any], bytes], None]
"""Sends a message and its content."""


class Telling:
    """Watches a side from its first scan on, and sends what changes.

    `without_events` says why it has to look again and again; "" where it has not.
    """

    def __init__(self, side: Contained, events: Any, send: Send) -> None:
        """Take the events of `inotify`; None where the system has none."""
        self._side = side
        self._send = send
        self._events = events
        self._below = len(side.root.rstrip("/")) + 1
        self._watched: Optional[Watched] = None
        self._next_rescan = 0.0
        self._unknown: Dict[str, str] = {}
        self.without_events = "" if events else "the system has no file events"

    def begin(self) -> Snapshot:
        """Look at everything, and watch from now on."""
        began = time.monotonic()
        self._side.opens = self._watch
        scan = self._side.scan()
        self._side.sweep()
        self._plan_rescan(time.monotonic() - began)
        self._watched = Watched(self._side, dict(scan.entries))
        self._watched.digest(path for path, why in scan.unknown.items() if why == PENDING)
        return scan

    def wait_s(self) -> Optional[float]:
        """How long there is nothing to do; None for ever."""
        if self._watched is None:
            return None
        due = self._watched.due()
        soonest = self._next_rescan if due is None else min(due, self._next_rescan)
        return max(0.0, soonest - time.monotonic())

    def is_all_told(self) -> bool:
        """Whether nothing is in sight that could be told."""
        return self._watched is not None and self._watched.due() is None

    def hint(self, path: str) -> None:
        """Something happened at `path`."""
        if self._watched is not None:
            self._watched.hint(path, time.monotonic())

    def applied(self, path: str, entry: Optional[Entry]) -> None:
        """The host's change was written here: that is not told."""
        if self._watched is not None:
            self._watched.applied(path, entry)

    def take_events(self, inotify: Any) -> None:
        """Take the file events that came."""
        now = time.monotonic()
        for mask, place in self._events.events():
            if mask & inotify.OVERFLOW:
                self._next_rescan = now
                continue
            path = place[self._below :]
            if places.is_fleeting(path) or self._watched is None:
                continue
            if mask & inotify.IS_DIRECTORY and mask & (inotify.CREATE | inotify.MOVED_TO):
                self.watch_below(path)
            is_open = mask & inotify.CREATE and not mask & inotify.IS_DIRECTORY
            self._watched.hint(path, now, finished=not is_open)

    def tell_due(self) -> None:
        """Look where it is due, and tell what changed."""
        if self._watched is None:
            return
        now = time.monotonic()
        try:
            found = self._rescanned() if now >= self._next_rescan else self._watched.changes(now)
        except OSError as error:
            found = Changes({}, {"": reason(error)}, whole=True)
        self._tell(found)

    def tell_all(self) -> None:
        """Look at everything, and tell what changed.

        Raises:
            ValueError: it has not begun.
        """
        if self._watched is None:
            raise ValueError("a scan comes first")
        self._tell(self._rescanned())

    def watch_below(self, path: str) -> None:
        """Watch a folder and all in it; where the system's watches end, scans have to do."""
        if not self._events:
            return
        try:
            self._events.watch_below(self._place(path), places.is_fleeting_name)
        except OSError as error:
            self.without_events = reason(error)

    def _watch(self, path: str) -> None:
        """Watch a folder before it is listed: what changes after that is looked at again."""
        if not self._events:
            return
        if not path:  # all of it is looked at
            self.without_events = ""
        try:
            self._events.watch(self._place(path))
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            pass  # gone since, or not for us to see
        except OSError as error:
            self.without_events = reason(error)

    def _place(self, path: str) -> str:
        return os.path.join(self._side.root, path) if path else self._side.root

    def _tell(self, found: Changes) -> None:
        is_news = found.unknown != self._unknown if found.whole else found.unknown
        if not found.entries and not is_news:
            return
        self._unknown = dict(found.unknown if found.whole else self._unknown, **found.unknown)
        for path, entry in found.entries.items():
            if entry is None or entry.kind != FILE:
                continue
            try:
                content, now = self._side.read(path, INLINE_BYTES)
            except (OSError, Moved, TooLarge):
                continue  # it is read later, or the next event tells
            if now == entry:
                self._send({"inline": path, "digest": entry.digest}, content)
        self._send({"changed": found.entries, "unknown": found.unknown, "whole": found.whole}, b"")

    def _rescanned(self) -> Changes:
        assert self._watched is not None
        began = time.monotonic()
        try:
            return self._watched.rescan()
        except OSError as error:
            return Changes({}, {"": reason(error)}, whole=True)
        finally:
            self._plan_rescan(time.monotonic() - began)

    def _plan_rescan(self, took_s: float) -> None:
        every = _LOOK_EVERY_S if self.without_events else _RESCAN_EVERY_S
        self._next_rescan = time.monotonic() + max(every, took_s * _RESCAN_SHARE)
