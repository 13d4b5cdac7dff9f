"""What the loop believes of the container: the later word, and only that of the stream it has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from devkit.errors import EngineError
from devkit.sync.agent.side import FILE, FOLDER, Entry
from devkit.sync.ancestor import Ancestor
from devkit.sync.conflicts import copy_name
from devkit.sync.ignore import Ignore
from devkit.sync.journal import Journal
from devkit.sync.loop import Loop
from devkit.sync.reconcile import Change
from devkit.sync.remote import Answer, Told
from devkit.sync.work import Work
from devkit.sync.workspace import Workspace

A, B = Entry(FILE, "a" * 64), Entry(FILE, "b" * 64)


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    ignore = Ignore(tmp_path)
    with Journal(tmp_path) as journal, Ancestor.of(tmp_path, "c") as ancestor:
        yield Loop(
            Work(
                Workspace(tmp_path, root=tmp_path, placed={}, ignore=ignore, journal=journal),
                service="s",
                ancestor=ancestor,
                journal=journal,
                ignore=ignore,
                mode="two-way",
                show=lambda _: None,
            ),
            show=lambda _: None,
        )


def answer(order: int, entry: Entry | None) -> Answer:
    return Answer(entry, b"", is_kept=False, signature=None, order=order)


def test_what_was_told_before_an_answer_does_not_undo_it(loop: Loop) -> None:
    loop._work.outcomes.done(Change("remote", "a", B, A), answer(5, A))
    loop._take(loop._stream, Told({"a": None}, order=4))
    assert loop._sides.there.entries == {"a": A}


def test_an_answer_does_not_undo_what_was_told_after_it(loop: Loop) -> None:
    loop._take(loop._stream, Told({"a": B}, order=6))
    loop._sides.local.applied("a", A)
    loop._work.outcomes.done(Change("remote", "a", None, A), answer(5, A))
    assert loop._sides.there.entries == {"a": B}
    assert loop._work.outcomes.agreed == {"a": A}, "both had that"


def test_of_two_changes_of_one_path_the_first_is_no_agreement(loop: Loop) -> None:
    merged = Entry(FILE, "b" * 64, True)
    loop._take(loop._stream, Told({"a": B._replace(digest="a" * 64, executable=True)}, order=1))
    loop._work.outcomes.done(Change("local", "a", B, merged), merged)
    assert loop._work.outcomes.agreed == {}
    loop._work.outcomes.done(Change("remote", "a", A, merged), answer(2, merged))
    assert loop._work.outcomes.agreed == {"a": merged}


def test_a_stream_that_is_gone_is_not_believed(loop: Loop) -> None:
    loop._take(object(), Told({"a": A}, order=1))
    assert loop._sides.there.entries == {}
    loop._was_lost(object(), EngineError("gone"))
    assert loop._lost is None


def test_a_conflict_copy_has_a_name_of_its_own_and_fits() -> None:
    taken = set[str]()
    for _ in range(3):
        name = copy_name("d/" + "\u00e9" * 127, lambda path: path in taken)
        assert name not in taken
        assert not name.endswith("~"), "that is an editor's, and never synced"
        assert len(name.encode()) <= 257
        taken.add(name)


def test_what_is_ignored_here_is_kept_in_mind(loop: Loop, tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("*.log")
    loop._sides.ignore.refresh()
    (tmp_path / ".git").mkdir()
    loop._sides.ignore.refresh()
    loop._take(loop._stream, Told({"a.log": A, "d": Entry(FOLDER)}, order=1))
    assert loop._sides.there.entries == {"d": Entry(FOLDER)}
    (tmp_path / ".gitignore").unlink()
    loop._sides.was_rules(".gitignore")
    assert loop._sides.there.entries == {"d": Entry(FOLDER), "a.log": A}
