"""Tells which files of the service changed, one call for one save.

Events say where to look; the content decides. An editor that truncates and writes, renames over, or
writes the same text again therefore causes one reload, one, and none.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from dataclasses import dataclass
from typing import Callable, Dict, Iterable, List, Optional, Sequence, Set, Tuple

from . import inotify, notice
from .failure import is_below

Signature = Optional[Tuple[int, int, int]]


@dataclass(frozen=True)
class Change:
    """A file with other content now; `old` and `new` are its texts, None where not Python."""

    path: str
    old: Optional[bytes]
    new: Optional[bytes]


Changed = Callable[[List[Change]], None]

# After the last event of a save: long enough for the second write of an editor, short beside the
# reload.
SETTLE_S = 0.004
# A file that is missing or empty is in the middle of a save, until it stays so.
INCOMPLETE_S = 0.15
# Whoever said that a batch begins says when it is over, unless it was killed.
HOLD_S = 3.0
# Finds what no event told: a write without close, a mount without events.
POLL_S = 1.0
POLL_WITHOUT_EVENTS_S = 0.05
# Larger files (models) are told apart by size and time alone.
HASHED_BYTES = 4 * 1024 * 1024
MOST_FOLDERS = 4000
# A look at a file takes 6 microseconds, and a request waits for it.
MOST_CHECKED = 50

IGNORED_FOLDERS = {
    "__pycache__",
    ".git",
    ".hg",
    ".venv",
    "node_modules",
    ".devkit",
    ".ipynb_checkpoints",
}
# devkit/sync/agent/places.py: it gets its name at once when it is whole.
SYNC_TEMPORARY = ".devkit-tmp-"
IGNORED_ENDINGS = ("~", ".swp", ".swx", ".pyc", ".tmp", ".part")


class Watch:
    """Watches `roots`; reports changes of followed files, or of any file while `any_file` is set.

    `unsure` is told True at the first event of a save and False when it is known what it came to.
    """

    def __init__(
        self, roots: Sequence[str], changed: Changed, unsure: Callable[[bool], None]
    ) -> None:
        self._roots = roots
        self._changed = changed
        self._unsure = unsure
        self._known: Dict[str, Tuple[Signature, Optional[str]]] = {}
        self._texts: Dict[str, bytes] = {}
        self._touched: Set[str] = set()
        self._timer: Optional[asyncio.TimerHandle] = None
        self._since: Dict[str, float] = {}
        self._events: Optional[inotify.Inotify] = None
        self._held_until = 0.0
        self.any_file = False

    def start(self) -> None:
        """Begin; without inotify (or with too many folders) the followed files are polled."""
        self._loop = asyncio.get_event_loop()
        try:
            self._events = inotify.Inotify()
            for root in self._roots:
                self._add_tree(root)
            self._loop.add_reader(self._events.fileno(), self._read_events)
        except OSError:
            self._events = None
        self._notices = notice.listen(self._loop, self._hold, self._release)
        self._poll()

    def follow(self, paths: Iterable[str]) -> None:
        """Report changes of these files from now on, from the content that they have now."""
        for path in paths:
            if path not in self._known:
                self._known[path] = self._look(path)

    def is_stale(self) -> bool:
        """Whether a file changed whose event has not come yet; callable from any thread.

        When it did, `unsure(False)` follows once it is known what that came to.
        """
        for path, (signature, _) in list(self._known.items())[:MOST_CHECKED]:
            if _signature(path) != signature:
                self._loop.call_soon_threadsafe(self._touch, [path])
                return True
        return False

    @property
    def followed(self) -> int:
        """How many files are followed."""
        return len(self._known)

    def _add_tree(self, root: str) -> None:
        for count, (folder, folders, _) in enumerate(os.walk(root)):
            folders[:] = [name for name in folders if name not in IGNORED_FOLDERS]
            if count >= MOST_FOLDERS:
                raise OSError("too many folders below {}".format(root))
            if self._events is not None:
                self._events.watch(folder)

    def _read_events(self) -> None:
        if self._events is None:
            return
        for mask, path in self._events.events():
            if not path:
                self._touch(self._known)
            elif mask & inotify.IS_DIRECTORY:
                self._folder_event(mask, path)
            elif not mask & inotify.CREATE:
                # A new file is complete at its close.
                self._touch([path])

    def _folder_event(self, mask: int, path: str) -> None:
        if (
            mask & (inotify.CREATE | inotify.MOVED_TO)
            and os.path.basename(path) not in IGNORED_FOLDERS
        ):
            try:
                self._add_tree(path)
            except OSError:
                return
            self._touch(
                os.path.join(where, name) for where, _, names in os.walk(path) for name in names
            )
        elif mask & (inotify.DELETE | inotify.MOVED_FROM):
            self._touch(known for known in self._known if known.startswith(path + os.sep))

    def _touch(self, paths: Iterable[str]) -> None:
        relevant = [path for path in paths if path in self._known or self._counts(path)]
        if relevant:
            self._touched.update(relevant)
            self._unsure(True)
            self._schedule(SETTLE_S)

    def _counts(self, path: str) -> bool:
        """Whether a file that nothing imported yet may heal a failed load."""
        if not self.any_file or path.endswith(IGNORED_ENDINGS):
            return False
        if os.path.basename(path).startswith(SYNC_TEMPORARY):
            return False
        return is_below(path, self._roots) and not IGNORED_FOLDERS & set(path.split(os.sep))

    def _hold(self) -> None:
        """A batch of files begins to change: it is one change, looked at when it is over."""
        self._held_until = self._loop.time() + HOLD_S
        if self._timer is not None:
            self._schedule(0)

    def _release(self, paths: Optional[List[str]]) -> None:
        """These files are complete now."""
        self._held_until = 0.0
        self._touch(list(self._known) if paths is None else paths)
        if self._touched:
            self._schedule(0)

    def _schedule(self, delay_s: float) -> None:
        delay_s = max(delay_s, self._held_until - self._loop.time())
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_event_loop().call_later(delay_s, self._settled)

    def _settled(self) -> None:
        self._timer = None
        now = asyncio.get_event_loop().time()
        touched, self._touched = self._touched, set()
        changed: List[Change] = []
        waiting: Set[str] = set()
        for path in sorted(touched):
            before = self._known.get(path)
            if (
                self._is_incomplete(path, before)
                and now - self._since.setdefault(path, now) < INCOMPLETE_S
            ):
                waiting.add(path)
                continue
            self._since.pop(path, None)
            old = self._texts.get(path)
            after = self._look(path)
            if before is None or before[1] != after[1]:
                changed.append(Change(path, old, self._texts.get(path)))
            if before is not None:
                self._known[path] = after
        if waiting:
            self._touched |= waiting
            self._schedule(0.02)
        if changed:
            self._changed(changed)
        if not waiting:
            self._unsure(False)

    def _is_incomplete(self, path: str, before: Optional[Tuple[Signature, Optional[str]]]) -> bool:
        signature = _signature(path)
        if signature is None:
            return True
        return signature[1] == 0 and not (
            before is not None and before[0] is not None and before[0][1] == 0
        )

    def _look(self, path: str) -> Tuple[Signature, Optional[str]]:
        """The file's signature and a digest of its content; a missing file has neither."""
        signature = _signature(path)
        if signature is None or signature[1] > HASHED_BYTES:
            return signature, repr(signature)
        try:
            with open(path, "rb") as file:
                content = file.read()
        except OSError:  # a folder now, or not for us to read: loading it tells why
            return signature, None
        if path.endswith(".py"):
            self._texts[path] = content
        return signature, hashlib.sha256(content).hexdigest()

    def _poll(self) -> None:
        for path, (signature, _) in list(self._known.items()):
            if _signature(path) != signature:
                self._touch([path])
        delay = (
            POLL_S
            if self._events is not None
            else POLL_WITHOUT_EVENTS_S * (1 + len(self._known) // 200)
        )
        asyncio.get_event_loop().call_later(delay, self._poll)


def _signature(path: str) -> Signature:
    try:
        status = os.stat(path)
    except OSError:
        return None
    # Opening a pipe or a device could wait for ever; a folder is no file either.
    if not stat.S_ISREG(status.st_mode):
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
