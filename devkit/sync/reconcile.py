"""Step 5, sync: what each side has, and what both had, become what has to be changed. Pure.

Mutagen's two-way-safe rules: what only one side changed goes to the other; what both changed the
same way is agreed; a change beats a deletion; what both changed differently is a conflict, in which
nothing is overwritten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from devkit.sync.agent.side import FILE, FOLDER, OTHER, Entry
from devkit.sync.agent.watched import is_unknown

Mode = Literal["two-way", "push", "pull", "mirror"]
SideName = Literal["local", "remote"]
Entries = Mapping[str, Entry]

_FOLDER = Entry(FOLDER)


@dataclass(frozen=True)
class Change:
    """On one side, `old` becomes `new` (None: nothing)."""

    side: SideName
    path: str
    old: Entry | None
    new: Entry | None

    def __str__(self) -> str:
        arrow = "->" if self.side == "remote" else "<-"
        return f"{arrow} {'delete ' if self.new is None else ''}{self.path}"


@dataclass(frozen=True)
class Conflict:
    """Both sides changed `path`, differently."""

    path: str
    local: Entry
    remote: Entry

    @property
    def is_of_folders(self) -> bool:
        """Whether one of them is a folder, of which there is no copy."""
        return FOLDER in (self.local.kind, self.remote.kind)

    def __str__(self) -> str:
        return f"conflict {self.path}"


@dataclass(frozen=True)
class Plan:
    """What to do, in this order; `agreed` is what both sides have already.

    `left` says why a path is left alone on both sides.
    """

    changes: tuple[Change, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    agreed: Mapping[str, Entry | None] = field(default_factory=dict)
    left: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        left = (f"left {path}: {why}" for path, why in sorted(self.left.items()))
        return "\n".join([*map(str, self.conflicts), *map(str, self.changes), *left])

    def shown(self, name: Callable[[str], str]) -> Plan:
        """Return it with other names for the paths."""
        return Plan(
            tuple(replace(change, path=name(change.path)) for change in self.changes),
            tuple(replace(conflict, path=name(conflict.path)) for conflict in self.conflicts),
            {name(path): entry for path, entry in self.agreed.items()},
            {name(path): why for path, why in self.left.items()},
        )

    def deletions(self, side: SideName) -> list[str]:
        """The files that would be deleted on a side, and not replaced."""
        made = {c.path for c in self.changes if c.side == side and c.new is not None}
        return [
            c.path
            for c in self.changes
            if c.side == side and c.old and c.old.kind != FOLDER and c.path not in made
            if c.new is None
        ]


def reconcile(
    ancestor: Entries,
    local: Entries,
    remote: Entries,
    *,
    mode: Mode = "two-way",
    paths: Iterable[str] | None = None,
    unknown: Mapping[str, str] | None = None,
) -> Plan:
    """Decide what has to be changed.

    Args:
        ancestor: what both sides had when they last agreed.
        local: what the workspace has.
        remote: what the container has.
        mode: `push` and `pull` go one way and leave alone what the other side changed by itself;
            `mirror` makes the container what the workspace is.
        paths: where something changed; None looks at all.
        unknown: paths of which nothing is known, nor of what is below them: they are left alone.
    """
    unknown = dict(unknown or {})
    sides = (ancestor, local, remote)
    looked_at = _closure(_apart(sides, unknown) if paths is None else set(paths), sides)
    wanted = {
        path: _decided(path, mode, ancestor.get(path), local.get(path), remote.get(path), unknown)
        for path in sorted(looked_at)
    }
    _keep_parents(wanted, local, remote)
    return _plan(wanted, local, remote)


@dataclass
class _Want:
    """What a path should have on each side; a conflict, or why it is left alone."""

    local: Entry | None
    remote: Entry | None
    conflict: bool = False
    left: str = ""


def _decided(
    path: str,
    mode: Mode,
    ancestor: Entry | None,
    local: Entry | None,
    remote: Entry | None,
    unknown: dict[str, str],
) -> _Want:
    as_it_is = _Want(local, remote)
    if is_unknown(path, unknown):
        as_it_is.left = unknown.get(path, "")
        return as_it_is
    if local == remote:
        return as_it_is
    if OTHER in (getattr(local, "kind", ""), getattr(remote, "kind", "")):
        as_it_is.left = "it is neither a file, a folder nor a link that stays in the folder"
        return as_it_is
    if mode == "mirror":
        return _Want(local, local)
    if mode == "two-way":
        return _both_ways(ancestor, local, remote)
    return _one_way(mode, ancestor, local, remote)


def _both_ways(ancestor: Entry | None, local: Entry | None, remote: Entry | None) -> _Want:
    if local == ancestor:
        return _Want(remote, remote)
    if remote == ancestor:
        return _Want(local, local)
    if local is None or remote is None:
        return _Want(local or remote, local or remote)
    merged = _merged(ancestor, local, remote)
    return _Want(merged, merged) if merged else _Want(local, remote, conflict=True)


def _merged(ancestor: Entry | None, local: Entry, remote: Entry) -> Entry | None:
    """A file of which one side changed the content and the other the run bit, has both."""
    before = ancestor or Entry(FILE)
    if {local.kind, remote.kind, before.kind} != {FILE}:
        return None
    digests = {local.digest, remote.digest} - {before.digest} or {before.digest}
    if len(digests) > 1:
        return None
    runs = local.executable if local.executable != before.executable else remote.executable
    return Entry(FILE, digests.pop(), runs)


def _one_way(
    mode: Mode, ancestor: Entry | None, local: Entry | None, remote: Entry | None
) -> _Want:
    giving, taking = (local, remote) if mode == "push" else (remote, local)
    if giving is not None and (taking == ancestor or taking is None) and giving != ancestor:
        return _Want(giving, giving)
    if giving is None and taking == ancestor:
        return _Want(None, None)
    where = "container" if mode == "push" else "workspace"
    return _Want(local, remote, left=f"it was changed in the {where}")


def _apart(sides: tuple[Entries, Entries, Entries], unknown: Mapping[str, str]) -> set[str]:
    """Return all paths but those that are the same everywhere: most are, and nothing is to do."""
    ancestor, local, remote = sides
    found = {p for p, entry in local.items() if entry != remote.get(p) or entry != ancestor.get(p)}
    found.update(path for side in (ancestor, remote) for path in side.keys() - local.keys())
    found.update(path for path in unknown if any(path in side for side in sides))
    return found


def _closure(paths: set[str], sides: tuple[Entries, Entries, Entries]) -> set[str]:
    """Add what is decided together: the folders on the way, all below one that goes or comes."""
    found = set(paths)
    for path in paths:
        end = path.rfind("/")
        while end > 0 and path[:end] not in found:
            found.add(path[:end])
            end = path.rfind("/", 0, end)
    kinds = ((path, [side.get(path) for side in sides]) for path in found)
    tops = tuple(f"{path}/" for path, has in kinds if _FOLDER in has and set(has) != {_FOLDER})
    if tops:
        found.update(p for side in sides for p in side if p.startswith(tops))
    return found


def _keep_parents(wanted: dict[str, _Want], local: Entries, remote: Entries) -> None:
    """Where something stays below a folder that would go, that stays; or it is a conflict."""
    for path in sorted(wanted, reverse=True):
        parent = path.rpartition("/")[0]
        want, above = wanted[path], wanted.get(parent)
        if above is None or above.conflict:
            continue
        # Where the folder itself became a file, what was changed below it on the other side stays.
        lost = ((want.local and above.local) or (want.remote and above.remote)) not in (
            None,
            _FOLDER,
        )
        has = local.get(parent), remote.get(parent)
        if lost and _FOLDER in has and None not in has and not above.left:
            wanted[parent] = _Want(*has, conflict=True)
            continue
        if want.local is not None and above.local is None:
            above.local = _FOLDER
        if want.remote is not None and above.remote is None:
            above.remote = _FOLDER


def _plan(wanted: Mapping[str, _Want], local: Entries, remote: Entries) -> Plan:
    conflicts, agreed, left = list[Conflict](), dict[str, Entry | None](), dict[str, str]()
    changes = list[Change]()
    apart = ""
    for path, want in wanted.items():
        has_local, has_remote = local.get(path), remote.get(path)
        if apart and path.startswith(apart):
            continue  # decided once the conflict above is
        if want.conflict and has_local is not None and has_remote is not None:
            conflicts.append(Conflict(path, has_local, has_remote))
            if FOLDER in (has_local.kind, has_remote.kind):
                apart = f"{path}/"
        elif want.left:
            left[path] = want.left
        elif has_local == has_remote == want.local == want.remote:
            agreed[path] = has_local
        else:
            changes += _changes("local", path, has_local, want.local)
            changes += _changes("remote", path, has_remote, want.remote)
    return Plan(tuple(_ordered(changes)), tuple(conflicts), agreed, left)


def _changes(side: SideName, path: str, old: Entry | None, new: Entry | None) -> Iterator[Change]:
    if old == new:
        return
    if old and new and old.kind != new.kind and FOLDER in (old.kind, new.kind):
        yield Change(side, path, old, None)
        old = None
    yield Change(side, path, old, new)


def _ordered(changes: Iterable[Change]) -> list[Change]:
    """Deletions first, what is in a folder before it; then folders before what is in them."""
    gone = [change for change in changes if change.new is None]
    made = [change for change in changes if change.new is not None]
    gone.sort(key=lambda change: change.path, reverse=True)
    return gone + sorted(made, key=lambda change: change.path)
