"""Which content devkit itself wrote into a container: what else changed there was edited inside.

It is the sync's ancestor: what both sides had when they last agreed.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath

from devkit import contract
from devkit.sync.agent.side import FILE, Entry
from devkit.sync.ancestor import Ancestor


def digests(root: Path, container_id: str) -> Mapping[str, str]:
    """Return the sha256 of what was written last, by absolute path in the container."""
    try:
        with Ancestor.of(root, container_id) as ancestor:
            theirs = {path: there for path, (_, there) in ancestor.apart.items() if there}
            return {
                str(contract.APP_ROOT / path): entry.digest
                for path, entry in (ancestor.entries | theirs).items()
                if entry.kind == FILE
            }
    except OSError:
        return {}


def remember(root: Path, container_id: str, written: Mapping[PurePosixPath, Entry]) -> None:
    """Add what was written. Where it cannot be stored, an edit too many is kept, never one less."""
    entries = {str(place.relative_to(contract.APP_ROOT)): entry for place, entry in written.items()}
    with suppress(OSError), Ancestor.of(root, container_id) as ancestor:
        ancestor.agree(entries)


def meet_version(root: Path, container_id: str, *, pull: bool) -> None:
    """Note that a container has a version's files: the sync leaves what differs as it is.

    With `pull` the workspace gets what the container has.
    """
    with Ancestor.of(root, container_id) as ancestor:
        ancestor.meet("pull" if pull else "apart")


def has_version(root: Path, container_id: str) -> bool:
    """Whether a container has a version's files which are not the workspace's."""
    with suppress(OSError), Ancestor.of(root, container_id) as ancestor:
        return bool(ancestor.apart or ancestor.meeting)
    return False
