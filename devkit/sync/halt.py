"""Step 5, sync: when going on could lose files, it halts and asks instead of guessing. Pure."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Set
from itertools import islice
from types import MappingProxyType

from devkit.sync.agent.side import FOLDER, OTHER, Entry
from devkit.sync.reconcile import Plan, SideName

Entries = Mapping[str, Entry]

# As many files may be deleted at once, or this share of all.
_FEW = 20
_SHARE = 0.3
_WHERE = {"local": "workspace", "remote": "container"}


def reason(
    plan: Plan,
    ancestor: Entries,
    local: Entries,
    remote: Entries,
    *,
    under: str = "",
    before: Mapping[SideName, Set[str]] = MappingProxyType({}),
) -> str:
    """Why a plan should not be carried out without a word of the user; "" where it may.

    Args:
        plan: what would be done.
        ancestor: what both sides had.
        local: what the workspace has.
        remote: what the container has.
        under: the path of the source folder, whose loss or emptiness says nothing good.
        before: which files were deleted on each side just before.
    """
    gone = _gone(ancestor, local, remote, under) or _emptied(ancestor, local, remote, under)
    return gone or _many_deletions(plan, ancestor, {"local": local, "remote": remote}, before)


def lost(plan: Plan, side: SideName, entries: Entries) -> list[str]:
    """Return the files that a plan deletes on a side, but for those that only get another name."""
    deleted = plan.deletions(side)
    if not deleted:
        return deleted
    gone = set(deleted)
    # Each content that stays, under another name, makes up for one that goes.
    stay = Counter(entry.digest for path, entry in entries.items() if path not in gone)
    stay.update(c.new.digest for c in plan.changes if c.side == side and c.new is not None)
    found = []
    for path in deleted:
        digest = entries[path].digest if path in entries else ""
        stay[digest] -= 1
        if stay[digest] < 0:
            found.append(path)
    return found


def collision(plan: Plan, local: Entries) -> str:
    """Why a workspace that takes "A" and "a" for one cannot hold what comes; "" if it can."""
    coming = {change.path for change in plan.changes if change.side == "local" and change.new}
    if not coming:
        return ""
    seen: dict[str, str] = {}
    for name in sorted(coming | local.keys()):
        folded = unicodedata.normalize("NFC", name).casefold()
        other = seen.setdefault(folded, name)
        if other != name and not coming.isdisjoint((other, name)):
            return f"{other} and {name} are one name on the file system of the workspace."
    return ""


def _has(entries: Entries, under: str, *, least: int = 1) -> bool:
    """Whether so many stand below a path; as a rule the first do, and each edit asks."""
    below = (path for path in entries if not under or path.startswith(f"{under}/"))
    return sum(1 for _ in islice(below, least)) == least


def _gone(ancestor: Entries, local: Entries, remote: Entries, under: str) -> str:
    for side, entries in (("local", local), ("remote", remote)):
        if under in ancestor and entries.get(under, Entry(OTHER)).kind != FOLDER:
            return f"The folder {under} of the {_WHERE[side]} is gone."
    return ""


def _emptied(ancestor: Entries, local: Entries, remote: Entries, under: str) -> str:
    if not _has(ancestor, under, least=2):
        return ""
    for side, entries, other in (("local", local, remote), ("remote", remote, local)):
        if not _has(entries, under) and _has(other, under):
            return f"The {_WHERE[side]} was emptied."
    return ""


def _many_deletions(
    plan: Plan,
    ancestor: Entries,
    sides: Mapping[SideName, Entries],
    before: Mapping[SideName, Set[str]],
) -> str:
    for side, entries in sides.items():
        gone = lost(plan, side, entries)
        if not gone:
            continue
        # One whose deletion is tried again counts once.
        earlier = before.get(side, set[str]()) - set(gone)
        files = len(earlier) + sum(entry.kind != FOLDER for entry in ancestor.values())
        count = len(gone) + len(earlier)
        if count > max(_FEW, int(files * _SHARE)):
            return f"{count} of {files} files would be deleted in the {_WHERE[side]}."
    return ""
