"""Step 5, sync: what can stand at a path, and what can be in the way of looking or changing.

Part of the agent: standard library only, Python 3.7 and up.
"""

from __future__ import annotations

from typing import Dict, NamedTuple, Optional, Tuple

FILE, FOLDER, LINK, OTHER = "file", "folder", "link", "other"
# Why nothing is known of a large file that a scan found.
PENDING = "its digest is being made"
# Larger files are digested in slices, so that a small one never waits for them.
SLICE_BYTES = 1 << 20
LARGE_BYTES = 8 * SLICE_BYTES

Signature = Tuple[int, int, int, int, int]
"""Size, time of content (ns), inode, mode, time of change (ns)."""


class Entry(NamedTuple):
    """What stands at a path: `digest` is a file's sha256, or what a link leads to."""

    kind: str
    digest: str = ""
    executable: bool = False


class Moved(Exception):
    """The path has not what was expected; `now` is what it has, as far as that is known."""

    def __init__(self, now: Optional[Entry] = None) -> None:
        super().__init__("it has changed meanwhile")
        self.now = now


class TooLarge(Exception):
    """The file is larger than what is read at once; `signature` is what it is now."""

    def __init__(self, signature: Signature) -> None:
        super().__init__("it is too large")
        self.signature = signature


class RootGone(OSError):
    """The folder itself is not there, or is no folder: that says nothing about what was in it."""


class Snapshot(NamedTuple):
    """All entries below a path, and the paths below which nothing is known, each with why."""

    entries: Dict[str, Entry]
    unknown: Dict[str, str]


def reason(error: OSError) -> str:
    """Why the system refused."""
    return error.strerror or str(error)
