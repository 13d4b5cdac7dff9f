"""Files that differ on purpose, as after a rollback: each side keeps its own until an edit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from devkit.sync.agent.side import FILE, FOLDER, Entry
from devkit.sync.ancestor import Ancestor
from devkit.sync.apart import Apart
from devkit.sync.reconcile import Mode, Plan, reconcile

OLD, NEW, NEWEST = Entry(FILE, "aa"), Entry(FILE, "bb"), Entry(FILE, "cc")
SAME = Entry(FILE, "dd")


class Pair:
    """What two sides have, and what is decided of it."""

    def __init__(self, ancestor: Ancestor) -> None:
        self.ancestor = ancestor
        self.apart = Apart(ancestor)
        self.local: dict[str, Entry] = {}
        self.remote: dict[str, Entry] = {}
        self.unknown: dict[str, str] = {}

    def met(self, how: str) -> Pair:
        """Let both meet as after a rollback."""
        self.ancestor.meet(how)
        self.apart.begin(self.local, self.remote, self.unknown)
        self.apart.meet(self.local, self.remote, self.unknown)
        return self

    def plan(self, mode: Mode = "two-way") -> Plan:
        """Decide, as the loop does."""
        self.apart.meet(self.local, self.remote, self.unknown)
        known, left = self.apart.seen(self.local, self.remote, mode)
        unknown = {**self.unknown, **left}
        return reconcile(known, self.local, self.remote, mode=mode, unknown=unknown)

    def changes(self, mode: Mode = "two-way") -> set[tuple[str, str, str | None]]:
        """Return which side gets what where."""
        plan = self.plan(mode)
        assert plan.conflicts == ()
        return {(c.side, c.path, c.new.digest if c.new else None) for c in plan.changes}


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with Ancestor(tmp_path / "it.db") as ancestor:
        found = Pair(ancestor)
        found.local = {"score.py": NEW, "same.py": SAME, "later.py": NEW}
        found.remote = {"score.py": OLD, "same.py": SAME, "earlier.py": OLD}
        yield found


def test_after_a_rollback_nothing_is_changed_on_either_side(pair: Pair) -> None:
    plan = pair.met("apart").plan()
    assert plan.changes == ()
    assert plan.conflicts == ()
    assert plan.left.keys() == {"score.py", "later.py", "earlier.py"}
    assert plan.agreed == {"same.py": SAME}


def test_whoever_edits_a_file_decides_it(pair: Pair) -> None:
    pair.met("apart")
    pair.local["score.py"] = NEWEST
    assert pair.changes() == {("remote", "score.py", "cc")}
    pair.local["score.py"], pair.remote["score.py"] = NEW, NEWEST
    assert pair.changes() == {("local", "score.py", "cc")}


def test_a_file_that_one_side_alone_has_follows_its_edit_and_stays_where_it_is_deleted(
    pair: Pair,
) -> None:
    pair.met("apart")
    pair.local["later.py"] = NEWEST
    assert pair.changes() == {("remote", "later.py", "cc")}
    del pair.local["later.py"]
    assert pair.changes() == set()
    pair.remote["earlier.py"] = NEWEST
    assert pair.changes() == {("local", "earlier.py", "cc")}


def test_both_edits_of_a_file_are_a_conflict(pair: Pair) -> None:
    pair.met("apart")
    pair.local["score.py"], pair.remote["score.py"] = NEWEST, SAME
    assert [conflict.path for conflict in pair.plan().conflicts] == ["score.py"]


def test_what_both_agree_about_is_apart_no_more(pair: Pair) -> None:
    pair.met("apart")
    pair.ancestor.agree({"score.py": NEWEST})
    pair.local["score.py"] = pair.remote["score.py"] = NEWEST
    pair.local["score.py"] = OLD
    assert pair.changes() == {("remote", "score.py", "aa")}


def test_pull_brings_the_version_to_the_workspace_and_deletes_nothing(pair: Pair) -> None:
    assert pair.met("pull").changes() == {
        ("local", "score.py", "aa"),
        ("local", "earlier.py", "aa"),
    }
    assert pair.plan().left.keys() == {"later.py"}


@pytest.mark.parametrize(
    ("mode", "changed"),
    [
        ("push", {("remote", "score.py", "bb"), ("remote", "later.py", "bb")}),
        ("pull", {("local", "score.py", "aa"), ("local", "earlier.py", "aa")}),
    ],
)
def test_one_way_is_an_answer_for_all_files(
    pair: Pair, mode: Mode, changed: set[tuple[str, str, str]]
) -> None:
    assert pair.met("apart").changes(mode) == changed


def test_it_is_the_same_after_a_restart(pair: Pair, tmp_path: Path) -> None:
    pair.met("apart")
    with Ancestor(tmp_path / "it.db") as ancestor:
        again = Pair(ancestor)
        again.local, again.remote = pair.local, pair.remote
        assert ancestor.meeting == ""
        assert again.changes() == set()


def test_a_large_file_meets_when_its_digest_is_made(pair: Pair) -> None:
    pair.unknown = {"model.pkl": "its digest is being made"}
    pair.met("apart")
    assert pair.ancestor.meeting == "apart"
    pair.unknown = {}
    pair.local["model.pkl"], pair.remote["model.pkl"] = NEW, OLD
    assert pair.changes() == set()
    assert pair.ancestor.meeting == ""


def test_a_folder_is_made_on_the_other_side_as_ever(pair: Pair) -> None:
    pair.local["below"] = Entry(FOLDER)
    pair.local["below/new.py"] = NEW
    plan = pair.met("apart").plan()
    assert [(c.side, c.path) for c in plan.changes] == [("remote", "below")]
    assert "below/new.py" in plan.left


def test_a_reset_forgets_what_is_apart(pair: Pair) -> None:
    pair.met("apart")
    pair.ancestor.forget()
    assert pair.ancestor.apart == {}
    assert [conflict.path for conflict in pair.plan().conflicts] == ["score.py"]
