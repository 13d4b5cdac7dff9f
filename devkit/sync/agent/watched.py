"""Step 5, sync: what changed on a side since it was told, from hints where to look.

Part of the agent: standard library only, Python 3.7 and up.
"""

from __future__ import annotations

import hashlib
import re
import stat
import time
from typing import Dict, Iterable, List, NamedTuple, Optional, Set

from .scan import MOST_DEPTH
from .side import FILE, FOLDER, PENDING, SLICE_BYTES, Entry, Moved, Side

# A name that went away, or a file that got empty, may be in the middle of a save (vim, git).
HOLD_S = 0.06
# A file that changes while it is read is read again.
_RETRY_S = 0.01
# sed -i writes to such a name first; real names look so, too.
_TRANSIENT = re.compile(r"(?:.*/)?sed[A-Za-z0-9]{6}", re.DOTALL)
_EMPTY = hashlib.sha256(b"").hexdigest()


class Changes(NamedTuple):
    """What is new at which path (None: nothing is there), and what is unknown, and why.

    `whole`: all else is known.
    """

    entries: Dict[str, Optional[Entry]]
    unknown: Dict[str, str]
    whole: bool = False


class Watched:
    """A side, and what was told of it: takes hints where to look, gives what changed since.

    The content decides. An own write that `applied` was told of is no change, and does not come
    back.
    """

    def __init__(self, side: Side, told: Dict[str, Entry]) -> None:
        self.side = side
        self.told = told
        self._due: Dict[str, float] = {}
        self._held: Dict[str, float] = {}
        self._unfinished: Set[str] = set()
        self._large: Dict[str, _Large] = {}
        # What was told, and the folders on the way to it, by the folder it is in; made once needed,
        # and what is no longer told stays in it until the next rescan.
        self._inner: Optional[Dict[str, Set[str]]] = None

    def hint(self, path: str, now: float, *, finished: bool = True) -> None:
        """Something happened at `path`; not `finished`: a file there may still be written."""
        if path.count("/") > MOST_DEPTH + 1:
            return  # below a folder that no scan looks into
        if finished:
            self._unfinished.discard(path)
        else:
            self._unfinished.add(path)
        due = now if finished and not _TRANSIENT.fullmatch(path) else now + HOLD_S
        self._due[path] = min(due, self._due.get(path, due))

    def applied(self, path: str, entry: Optional[Entry]) -> None:
        """The other side's change was written here."""
        if entry is None:
            self.told.pop(path, None)
        else:
            self.told[path] = entry
            if self._inner is not None:
                _add(self._inner, path)

    def digest(self, paths: Iterable[str]) -> None:
        """Make the digests of these large files, a slice with each call of `changes`."""
        for path in paths:
            self._large.setdefault(path, _Large(self.side, path))

    def due(self) -> Optional[float]:
        """When there is something to do next; None for nothing in sight."""
        times = [*self._due.values(), *(large.ready_at for large in self._large.values())]
        return min(times, default=None)

    def changes(self, now: float) -> Changes:
        """Look where it is due."""
        found = Changes({}, {})
        with self.side.together():
            for path in [path for path, due in self._due.items() if due <= now]:
                if self._due.pop(path, None) is None:
                    continue  # it was looked at with its folder
                try:
                    self._compare(path, now, found)
                except Moved:  # it is being written
                    self._due[path] = now + _RETRY_S
        self.digest(path for path, why in found.unknown.items() if why == PENDING)
        self._digest_slice(now, found)
        for path, entry in found.entries.items():
            self.applied(path, entry)
        return found

    def rescan(self) -> Changes:
        """Look at everything: what no hint told is found."""
        now = time.monotonic()
        self._inner = None
        scan = self.side.scan()
        for path, entry in scan.entries.items():
            if self.told.get(path) != entry:
                self.hint(path, now, finished=entry.kind != FILE)
        for path in self.told.keys() - scan.entries.keys():
            if not is_unknown(path, scan.unknown):
                self.hint(path, now)
        self.digest(path for path, why in scan.unknown.items() if why == PENDING)
        found = self.changes(now)
        unknown = {path: why for path, why in scan.unknown.items() if path not in found.entries}
        return Changes(found.entries, dict(unknown, **found.unknown), whole=True)

    def _compare(self, path: str, now: float, found: Changes) -> None:
        before = self.told.get(path)
        entry = self.side.look(path, found.unknown)
        if entry is not None and self.side.ignores(path, entry.kind == FOLDER):
            return
        if path in found.unknown or self._waits(path, entry, before, now):
            return
        is_folder = entry is not None and entry.kind == FOLDER
        below: Dict[str, Entry] = {}
        if is_folder:
            below = self._look_below(path, found)
        elif entry != before:
            found.entries[path] = entry
        if before is None or before.kind != FOLDER:
            return
        for inner in self._told_below(path):
            if inner not in below and not is_unknown(inner, found.unknown):
                # A name in it may have gone away for a moment, too.
                if is_folder:
                    self.hint(inner, now)
                else:
                    found.entries[inner] = None

    def _look_below(self, path: str, found: Changes) -> Dict[str, Entry]:
        """Look at all in a folder: what came with it may have come before it was watched."""
        scan = self.side.scan(path)
        found.unknown.update(scan.unknown)
        for inner, has in scan.entries.items():
            if self.told.get(inner) != has:
                found.entries[inner] = has
            elif inner not in self._unfinished and has.kind == FILE:
                self._due.pop(inner, None)
                self._held.pop(inner, None)
        return scan.entries

    def _told_below(self, folder: str) -> List[str]:
        """What was told to be in a folder, without a search among all for each."""
        if self._inner is None:
            self._inner = {}
            for path in self.told:
                _add(self._inner, path)
        found: List[str] = []
        folders = [folder]
        while folders:
            inner = self._inner.get(folders.pop(), ())
            folders += inner
            found += [path for path in inner if path in self.told]
        return found

    def _waits(
        self, path: str, entry: Optional[Entry], before: Optional[Entry], now: float
    ) -> bool:
        """Whether what is seen may be the middle of a save; then it is looked at again."""
        until = 0.0
        if before is not None and (entry is None or _is_truncated(entry, before)):
            until = self._held.setdefault(path, now) + HOLD_S
        else:
            self._held.pop(path, None)
            if path in self._unfinished and entry is not None and entry.kind == FILE:
                signature = self.side.signature(path)
                age_s = 0.0 if signature is None else time.time() - signature[1] / 1e9
                until = now + HOLD_S if 0 <= age_s < HOLD_S else 0.0
        if until > now:
            self._due[path] = until
            return True
        self._held.pop(path, None)
        self._unfinished.discard(path)
        return False

    def _digest_slice(self, now: float, found: Changes) -> None:
        for path, large in self._large.items():
            if large.ready_at > now:
                continue
            if large.step():
                del self._large[path]
                # Also when it is as told: the other side waits for the word.
                found.entries[path] = large.entry
                found.unknown.pop(path, None)
            return


def _add(inner: Dict[str, Set[str]], path: str) -> None:
    while path:
        folder = path.rpartition("/")[0]
        paths = inner.setdefault(folder, set())
        if path in paths:
            return
        paths.add(path)
        path = folder


def _is_truncated(entry: Entry, before: Entry) -> bool:
    return before.kind == FILE and entry.digest == _EMPTY != before.digest


class _Large:
    """A large file's digest, a slice at a time; begins again when the file changes."""

    def __init__(self, side: Side, path: str) -> None:
        self._side = side
        self._path = path
        self.entry: Optional[Entry] = None
        self._begin()
        self.ready_at = 0.0

    def _begin(self) -> None:
        self.ready_at = time.monotonic() + HOLD_S
        self._signature = self._side.signature(self._path)
        self._offset = 0
        self._digest = hashlib.sha256()

    def step(self) -> bool:
        """Digest a slice; True when `entry` is what stands there, None for nothing."""
        try:
            if self._signature is None or not stat.S_ISREG(self._signature[3]):
                self.entry = self._side.look(self._path)
                return True
            part = self._side.read_part(self._path, self._offset, SLICE_BYTES, self._signature)
        except (Moved, OSError):  # it is being written
            self._begin()
            return False
        self._digest.update(part)
        self._offset += len(part)
        if part and self._offset < self._signature[0]:
            return False
        digest = self._digest.hexdigest()
        self._side.knows(self._path, self._signature, digest)
        self.entry = Entry(FILE, digest, bool(self._signature[3] & 0o100))
        return True


def is_unknown(path: str, unknown: Dict[str, str]) -> bool:
    """Whether nothing is known of `path`, or of a folder that it is in."""
    if not unknown:
        return False
    if "" in unknown or path in unknown:
        return True
    end = path.rfind("/")
    while end > 0:
        if path[:end] in unknown:
            return True
        end = path.rfind("/", 0, end)
    return False
