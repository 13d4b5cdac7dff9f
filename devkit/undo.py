"""Step 5, sync: changes of the journal taken back in the workspace; the sync brings them on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from devkit.errors import BadValue
from devkit.sync.agent.side import FILE, FOLDER, LINK, Entry, Moved, reason
from devkit.sync.journal import Journal, Record
from devkit.sync.workspace import Workspace

_UNDO = "undo of "


def chosen(
    journal: Journal, service: str, *, number: int | None, back_to: int | None
) -> list[Record]:
    """Return what is to be taken back, the newest first.

    Args:
        journal: what was changed.
        service: whose changes.
        number: this one; None for the last that was not taken back yet.
        back_to: this one and all since; files that were only copied into the container stay.

    Raises:
        BadValue: there is no such change.
    """
    records = journal.records(service=service)
    whys = {r.why for r in records}
    undone = {r.id for r in records if f"{_UNDO}{r.id}" in whys} | _echoes(records)
    left = [
        r for r in records if r.id not in undone and not r.why.startswith(_UNDO) and not _is_copy(r)
    ]
    wanted = back_to if number is None else number
    if wanted is None:
        # That a folder was made is nothing that one would take back by itself.
        found = [r for r in left if FOLDER not in (_kind(r.old), _kind(r.new))][:1]
    elif back_to is not None:
        found = [r for r in left if r.id >= back_to]
    else:
        found = [r for r in records if r.id == number]
    if not found:
        what = "There is nothing to undo." if wanted is None else f"There is no change {wanted}."
        raise BadValue(what, hint="`devkit sync log` lists what can be undone.")
    return found


def _echoes(records: Sequence[Record]) -> set[int]:
    """The changes by which the container got what was taken back here."""
    found, waiting = set[int](), dict[str, Entry | None]()
    for record in reversed(records):
        if record.why.startswith(_UNDO):
            waiting[record.path] = record.new
        elif record.side == "remote" and record.path in waiting:
            is_echo = waiting.pop(record.path) == record.new
            found |= {record.id} if is_echo else set()
    return found


def _is_copy(record: Record) -> bool:
    """Whether the container got a file that is the user's: to take it back would delete that."""
    return record.side == "remote" and record.old is None


def undo(workspace: Workspace, journal: Journal, records: Sequence[Record]) -> None:
    """Take changes back, or none of them.

    Raises:
        BadValue: a path has changed since, its content is not kept, or the system refuses.
    """
    _check(workspace, journal, records)
    for record in records:
        shown = workspace.shown(record.path)
        try:
            _restore(workspace, journal, record)
        except Moved as moved:
            raise _has_changed(journal, record, shown) from moved
        except OSError as error:
            why = f"{shown} cannot be made as it was: {reason(error)}."
            raise BadValue(why, hint="Look at it, and change it by hand.") from error
        was = f"{_UNDO}{record.id}"
        journal.write(record.service, [("local", record.path, record.new, record.old, was)])


def _check(workspace: Workspace, journal: Journal, records: Sequence[Record]) -> None:
    """See first whether all of it can be done."""
    now = dict[str, Entry | None]()
    for record in records:
        path = record.path
        if now.get(path, workspace.look(path)) != record.new:
            raise _has_changed(journal, record, workspace.shown(path))
        old = record.old
        if old is not None and old.kind == FILE and not journal.contents.holds(old.digest):
            raise _is_gone(record, workspace.shown(path))
        now[path] = old


def _restore(workspace: Workspace, journal: Journal, record: Record) -> None:
    path, old, now = record.path, record.old, record.new
    for above in _parents(path) if old else ():
        workspace.make_folder(above)
    if old is None:
        assert now is not None
        workspace.delete(path, now)
    elif old.kind == FOLDER:
        workspace.make_folder(path)
    elif old.kind == LINK:
        workspace.link(path, old.digest, now)
    else:
        content = journal.contents.content(old.digest)
        if content is None:
            raise _is_gone(record, workspace.shown(path))
        workspace.write(path, content, now, old.executable)


def _is_gone(record: Record, shown: str) -> BadValue:
    return BadValue(
        f"What {shown} had before change {record.id} is not kept any more.",
        hint="`devkit sync log` lists other changes.",
    )


def _has_changed(journal: Journal, record: Record, shown: str) -> BadValue:
    hint, old = "Look at it, and change it by hand.", record.old
    if old is not None and old.kind == FILE and journal.contents.holds(old.digest):
        hint = f"Its old content is {journal.contents.place(old.digest)}"
    return BadValue(f"{shown} has changed since.", hint=hint)


def _kind(entry: Entry | None) -> str:
    return "" if entry is None else entry.kind


def _parents(path: str) -> Iterator[str]:
    names = path.split("/")
    return ("/".join(names[:i]) for i in range(1, len(names)))
