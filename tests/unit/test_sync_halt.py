"""When it has to be asked: a side emptied, many deletions, names that are one."""

from __future__ import annotations

import pytest

from devkit.sync import halt
from devkit.sync.agent.side import FILE, FOLDER, Entry
from devkit.sync.reconcile import Change, Plan, reconcile

A, D = Entry(FILE, "a"), Entry(FOLDER)


def files(count: int, start: int = 0) -> dict[str, Entry]:
    return {f"{number}": Entry(FILE, f"{number}") for number in range(start, start + count)}


def why(
    ancestor: dict[str, Entry], local: dict[str, Entry], remote: dict[str, Entry], under: str = ""
) -> str:
    plan = reconcile(ancestor, local, remote)
    return halt.reason(plan, ancestor, local, remote, under=under)


@pytest.mark.parametrize(
    ("had", "left", "says"),
    [
        (10, 0, "The workspace was emptied."),
        (1, 0, ""),
        (21, 1, ""),
        (22, 1, "21 of 22 files would be deleted in the container."),
        (100, 70, ""),
        (100, 69, "31 of 100 files would be deleted in the container."),
        (50, 50, ""),
    ],
)
def test_many_deletions_are_asked_about(had: int, left: int, says: str) -> None:
    assert why(files(had), files(left), files(had)) == says


def test_both_sides_are_watched_over() -> None:
    assert why(files(10), files(10), {}) == "The container was emptied."
    assert "in the workspace" in why(files(100), files(100), files(10))


def test_a_file_that_is_replaced_is_not_deleted() -> None:
    before = files(100)
    after = {path: Entry(FILE, "b") for path in before}
    assert why(before, after, before) == ""


def test_both_empty_is_no_reason() -> None:
    assert why(files(30), {}, {}) == ""


def test_a_first_meeting_deletes_nothing() -> None:
    assert why({}, files(50), {}) == ""


def test_a_source_folder_that_is_gone_or_emptied_is_asked_about() -> None:
    before = {"s": D, "s/a": A, "s/b": A, "m": A}
    assert "gone" in why(before, {"m": A}, before, under="s")
    assert "gone" in why(before, {"m": A, "s": A}, before, under="s")
    assert "emptied" in why(before, {"m": A, "s": D}, before, under="s")


@pytest.mark.parametrize(
    ("here", "coming", "collide"),
    [
        (["a"], "b", False),
        (["a"], "a", False),
        (["a"], "A", True),
        (["\u00e9"], "e\u0301", True),
        (["d/x"], "D/x", True),
    ],
)
def test_names_that_are_one_on_some_systems_are_found(
    here: list[str], coming: str, collide: bool
) -> None:
    plan = Plan((Change("local", coming, None, A),))
    assert bool(halt.collision(plan, dict.fromkeys(here, A))) is collide


def test_two_names_that_are_there_already_are_no_news() -> None:
    plan = Plan((Change("local", "new", None, A),))
    assert not halt.collision(plan, {"a": A, "A": A})


def test_deletions_that_came_in_pieces_count_together() -> None:
    before = {f"f{number}": Entry(FILE, f"{number}") for number in range(40)}
    left = {path: entry for path, entry in before.items() if path > "f25"}
    plan = reconcile(before, left, before)
    count = len(plan.deletions("remote"))
    assert 0 < count <= 20
    assert not halt.reason(plan, before, left, before)
    earlier = {f"e{number}" for number in range(20)}
    assert "would be deleted" in halt.reason(plan, before, left, before, before={"remote": earlier})
    again = set(plan.deletions("remote"))
    assert not halt.reason(plan, before, left, before, before={"remote": again})


def test_files_that_only_get_another_name_are_not_lost() -> None:
    before = files(40)
    renamed = {f"new/{path}": entry for path, entry in before.items()} | {"new": D}
    assert not why(before, renamed, before)
