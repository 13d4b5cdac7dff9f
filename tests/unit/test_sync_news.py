"""What the sync tells its user."""

from __future__ import annotations

from devkit.sync.agent.side import FILE, Entry
from devkit.sync.news import Waiting
from devkit.sync.reconcile import Change, Conflict, Plan

ONE, OTHER = Entry(FILE, digest="1"), Entry(FILE, digest="2")


def test_what_waits_is_counted_by_the_side_that_it_goes_to() -> None:
    changes = (
        Change("remote", "new", None, ONE),
        Change("local", "back", None, ONE),
        Change("remote", "gone", ONE, None),
    )
    waiting = Waiting.of(Plan(changes, (Conflict("both", ONE, OTHER),)))
    assert waiting == Waiting(container=2, workspace=1, conflicts=1)
    assert str(waiting) == "waiting     2 into the container, 1 into the workspace, 1 in conflict"


def test_without_a_conflict_none_is_told() -> None:
    assert str(Waiting.of(Plan())) == "waiting     0 into the container, 0 into the workspace"
