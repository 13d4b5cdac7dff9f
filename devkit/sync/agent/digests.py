"""Step 5, sync: what stands at a name of an open folder; digests are made once and kept.

Part of the agent: standard library only, Python 3.7 and up.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from typing import Dict, Iterator, Mapping, Optional, Tuple

from . import places
from .entry import (
    FILE,
    FOLDER,
    LARGE_BYTES,
    LINK,
    OTHER,
    PENDING,
    SLICE_BYTES,
    Entry,
    Moved,
    Signature,
)
from .known import entry_in, packed, signature_in

# Files with a time as young as this may change once more without a new time.
_RACY_NS = 20_000_000
_FOLDER = Entry(FOLDER)


class Digests:
    """The digests of files by their path; one holds while the file's signature is the same."""

    def __init__(self) -> None:
        self._made: Dict[str, Tuple[bytes, Entry]] = {}

    def knows(self, path: str, signature: Signature, digest: str) -> None:
        """Take over a digest that was made before."""
        self._made[path] = (packed(signature), Entry(FILE, digest, runs(signature[3])))

    def take(self, path: str, record: bytes, like: Optional[Entry] = None) -> Entry:
        """Take over a record of `known`; where the file is `like`, no other is made."""
        entry = entry_in(record)
        entry = like if like is not None and like == entry else entry
        self._made[path] = (signature_in(record), entry)
        return entry

    def keep(self, path: str, signature: Signature, digest: str, seen_ns: int) -> None:
        """Keep a digest; `seen_ns` is a time before the content was read."""
        if is_old(signature, seen_ns):
            self.knows(path, signature, digest)
        else:
            self.forget(path)

    def forget(self, path: str) -> None:
        """Nothing is there any more."""
        self._made.pop(path, None)

    def records(self, entries: Mapping[str, Entry]) -> Dict[str, bytes]:
        """What another side of the same folder may take over of these entries, by their paths."""
        found = {}
        for path, entry in entries.items():
            made = self._made.get(path)
            if made is not None and made[1] is entry:
                found[path] = made[0] + bytes.fromhex(entry.digest)
        return found

    def entry(
        self, folder: int, name: str, path: str, unknown: Optional[Dict[str, str]] = None
    ) -> Optional[Entry]:
        """What stands at `name`, which is `path`; `unknown` is as in `Side.look`."""
        try:
            info = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return None
        kind = stat.S_IFMT(info.st_mode)
        if kind == stat.S_IFREG:
            return self._file(folder, name, path, signature_of(info), unknown)
        if kind == stat.S_IFDIR:
            return _FOLDER
        if kind != stat.S_IFLNK:
            return Entry(OTHER)
        target = os.readlink(name, dir_fd=folder)
        return Entry(LINK, target) if places.leads_inside(path, target) else Entry(OTHER)

    def _file(
        self,
        folder: int,
        name: str,
        path: str,
        signature: Signature,
        unknown: Optional[Dict[str, str]],
    ) -> Optional[Entry]:
        """Return a file's entry; None where it goes to `unknown` instead."""
        made = self._made.get(path)
        if made is not None and made[0] == packed(signature):
            return made[1]
        if signature[0] > LARGE_BYTES and unknown is not None:
            unknown[path] = PENDING
            return None
        seen = time.time_ns()
        digest = made_digest(folder, name)
        if signature_at(folder, name) != signature:
            if unknown is None:
                raise Moved
            unknown[path] = PENDING
            return None
        self.keep(path, signature, digest, seen)
        kept = self._made.get(path)
        return Entry(FILE, digest, runs(signature[3])) if kept is None else kept[1]


def signature_of(info: os.stat_result) -> Signature:
    """Return what tells a file from its next version."""
    return (info.st_size, info.st_mtime_ns, info.st_ino, info.st_mode, info.st_ctime_ns)


def signature_at(folder: int, name: str) -> Signature:
    """Return the signature of what stands at `name`, which is there."""
    return signature_of(os.stat(name, dir_fd=folder, follow_symlinks=False))


def is_old(signature: Signature, seen_ns: int) -> bool:
    """Whether a change since `seen_ns` would show in the signature."""
    return max(signature[1], signature[4]) < seen_ns - _RACY_NS


def made_digest(folder: int, name: str) -> str:
    """Read a file, and digest it."""
    file = places.open_file(name, folder)
    try:
        content = hashlib.sha256()
        for block in blocks(file, os.fstat(file).st_size):
            content.update(block)
        return content.hexdigest()
    finally:
        os.close(file)


def blocks(file: int, size: int) -> Iterator[bytes]:
    """Read to the end, or a bit past `size`: a file that grows would have none."""
    left = size + 1
    while left > 0:
        block = os.read(file, min(left, SLICE_BYTES))
        if not block:
            return
        left -= len(block)
        yield block


def runs(mode: int) -> bool:
    """Whether its owner may run it."""
    return bool(mode & 0o100)
