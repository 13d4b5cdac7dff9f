"""Step 5, sync: what stands at a name of an open folder; digests are made once and kept.

Part of the agent: standard library only, Python 3.7 and up.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import time
from typing import Dict, Iterator, Optional, Tuple

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

# Files with a time as young as this may change once more without a new time.
_RACY_NS = 20_000_000


class Digests:
    """The digests of files by their path; one holds while the file's signature is the same."""

    def __init__(self) -> None:
        self._made: Dict[str, Tuple[Signature, str, int]] = {}

    def knows(self, path: str, signature: Signature, digest: str) -> None:
        """Take over a digest that was made before."""
        self.keep(path, signature, digest, sys.maxsize)

    def keep(self, path: str, signature: Signature, digest: str, seen_ns: int) -> None:
        """Keep a digest; `seen_ns` is a time before the content was read."""
        self._made[path] = (signature, digest, seen_ns)

    def forget(self, path: str) -> None:
        """Nothing is there any more."""
        self._made.pop(path, None)

    def known(self) -> Dict[str, Tuple[Signature, str]]:
        """Those that somebody else may take over."""
        return {
            path: (signature, digest)
            for path, (signature, digest, seen) in self._made.items()
            if is_old(signature, seen)
        }

    def entry(
        self, folder: int, name: str, path: str, unknown: Optional[Dict[str, str]] = None
    ) -> Optional[Entry]:
        """What stands at `name`, which is `path`; `unknown` is as in `Side.look`."""
        try:
            info = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if stat.S_ISDIR(info.st_mode):
            return Entry(FOLDER)
        if stat.S_ISLNK(info.st_mode):
            target = os.readlink(name, dir_fd=folder)
            return Entry(LINK, target) if places.leads_inside(path, target) else Entry(OTHER)
        if not stat.S_ISREG(info.st_mode):
            return Entry(OTHER)
        digest = self._digest(folder, name, path, signature_of(info), unknown)
        return None if digest is None else Entry(FILE, digest, runs(info.st_mode))

    def _digest(
        self,
        folder: int,
        name: str,
        path: str,
        signature: Signature,
        unknown: Optional[Dict[str, str]],
    ) -> Optional[str]:
        """Return a file's digest; None where it goes to `unknown` instead."""
        cached = self._made.get(path)
        if cached is not None and cached[0] == signature and is_old(signature, cached[2]):
            return cached[1]
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
        self._made[path] = (signature, digest, seen)
        return digest


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
