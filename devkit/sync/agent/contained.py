"""Step 5, sync: the container's side: it watches the folders it looks in, and is told digests.

Part of the agent: standard library only, Python 3.7 and up.
"""

from __future__ import annotations

from typing import Callable, ContextManager, Dict, List, Tuple

from .known import received
from .side import Entry, Side, Snapshot


class Contained(Side):
    """A side that calls `opens` with each folder of which it is about to list what is in it."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.opens: Callable[[str], None] = lambda _: None
        self._seeds: List[Tuple[str, Entry]] = []

    def seed(self, count: int, content: bytes) -> None:
        """Take over digests that the host knows, as `known.sent` packs them."""
        for path, record in received(count, content).items():
            self._seeds.append((path, self._digests.take(path, record)))

    def told(self, scan: Snapshot) -> Tuple[bytes, Dict[str, bytes], Dict[str, Entry]]:
        """Return what a host has to be told of a scan that has seeded this side before.

        For each seed 1 if it holds, else 0; the other files; what is no file, or has no record.
        """
        rest, same = dict(scan.entries), bytearray()
        for path, entry in self._seeds:
            # The very object: the digest was not made again.
            holds = rest.get(path) is entry
            same.append(holds)
            if holds:
                del rest[path]
        self._seeds.clear()
        records = self._digests.records(rest)
        return bytes(same), records, {p: e for p, e in rest.items() if p not in records}

    def _folder(self, path: str) -> ContextManager[int]:
        self.opens(path)
        return super()._folder(path)
