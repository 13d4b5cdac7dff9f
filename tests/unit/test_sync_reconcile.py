"""What has to be changed: tables for the rules, all small worlds for what must hold in each."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devkit.sync.agent.side import FILE, FOLDER, LINK, OTHER, Entry
from devkit.sync.reconcile import Conflict, Mode, Plan, reconcile

A, B, RUNS = Entry(FILE, "a"), Entry(FILE, "b"), Entry(FILE, "a", True)
D, L = Entry(FOLDER), Entry(LINK, "a")
THINGS = (None, A, B, RUNS, D, L)

World = dict[str, Entry]


def at(entry: Entry | None) -> World:
    return {} if entry is None else {"p": entry}


@pytest.mark.parametrize(
    ("ancestor", "local", "remote", "plan"),
    [
        (None, A, None, "-> p"),
        (None, None, A, "<- p"),
        (A, None, A, "-> delete p"),
        (A, A, None, "<- delete p"),
        (A, B, A, "-> p"),
        (A, A, B, "<- p"),
        (A, B, B, ""),
        (A, None, None, ""),
        (A, B, None, "-> p"),
        (A, None, B, "<- p"),
        (None, A, B, "conflict p"),
        (A, B, RUNS, "<- p\n-> p"),
        (A, B, Entry(FILE, "c"), "conflict p"),
        (None, A, RUNS, "<- p"),
        (B, RUNS, A, "-> p"),
        (A, D, A, "-> delete p\n-> p"),
        (D, A, D, "-> delete p\n-> p"),
        (A, D, B, "conflict p"),
        (A, L, A, "-> p"),
        (None, A, L, "conflict p"),
    ],
)
def test_the_rules_of_two_ways(
    ancestor: Entry | None, local: Entry | None, remote: Entry | None, plan: str
) -> None:
    assert str(reconcile(at(ancestor), at(local), at(remote))) == plan


@pytest.mark.parametrize(
    ("mode", "ancestor", "local", "remote", "plan"),
    [
        ("push", A, B, A, "-> p"),
        ("push", A, A, B, "left p: it was changed in the container"),
        ("push", A, B, RUNS, "left p: it was changed in the container"),
        ("push", A, None, A, "-> delete p"),
        ("push", A, None, B, "left p: it was changed in the container"),
        ("push", A, B, None, "-> p"),
        ("push", A, A, None, "left p: it was changed in the container"),
        ("push", None, None, A, "left p: it was changed in the container"),
        ("pull", A, A, B, "<- p"),
        ("pull", A, B, A, "left p: it was changed in the workspace"),
        ("pull", A, A, None, "<- delete p"),
        ("mirror", A, A, B, "-> p"),
        ("mirror", None, None, A, "-> delete p"),
        ("mirror", A, A, None, "-> p"),
    ],
)
def test_the_rules_of_one_way(
    mode: Mode, ancestor: Entry | None, local: Entry | None, remote: Entry | None, plan: str
) -> None:
    assert str(reconcile(at(ancestor), at(local), at(remote), mode=mode)) == plan


def test_a_folder_stays_where_something_in_it_was_changed() -> None:
    before = {"d": D, "d/a": A, "d/b": A}
    plan = reconcile(before, {}, {**before, "d/b": B})
    assert str(plan) == "-> delete d/a\n<- d\n<- d/b"


def test_a_new_file_in_a_folder_that_the_other_side_deleted_stays() -> None:
    before = {"d": D, "d/a": A}
    plan = reconcile(before, {**before, "d/new": B}, {})
    assert str(plan) == "<- delete d/a\n-> d\n-> d/new"


def test_a_file_in_place_of_a_folder_that_was_changed_is_a_conflict() -> None:
    before = {"d": D, "d/a": A}
    plan = reconcile(before, {"d": B}, {"d": D, "d/a": B})
    assert plan.conflicts == (Conflict("d", B, D),)
    assert plan.changes == ()


def test_nothing_is_deleted_below_what_is_unknown() -> None:
    before = {"d": D, "d/a": A, "e": A}
    plan = reconcile(before, before, {}, unknown={"d": "Permission denied"})
    assert str(plan) == "<- delete e\nleft d: Permission denied"


def test_what_is_no_file_is_left_alone() -> None:
    plan = reconcile({"p": A}, {"p": Entry(OTHER)}, {"p": A})
    assert plan.changes == ()
    assert "p" in plan.left


def test_a_file_in_a_new_folder_is_decided_with_it() -> None:
    plan = reconcile({}, {"d": D, "d/a": A}, {}, paths=["d/a"])
    assert str(plan) == "-> d\n-> d/a"


def test_what_is_below_a_folder_that_went_away_is_decided_with_it() -> None:
    before = {"d": D, "d/a": A, "dx": A}
    assert str(reconcile(before, {"dx": A}, before, paths=["d"])) == "-> delete d/a\n-> delete d"


def test_deletions_count_files_that_are_not_replaced() -> None:
    before = {"d": D, "d/a": A, "e": A}
    assert reconcile(before, {"e": D}, before).deletions("remote") == ["d/a"]


def applied(plan: Plan, local: World, remote: World) -> tuple[World, World, World]:
    """Do what a plan says; conflicts as the loop settles them. Return what is in no tree now."""
    lost: World = {}
    for change in plan.changes:
        world, other = (local, remote) if change.side == "local" else (remote, local)
        assert world.get(change.path) == change.old
        if change.old is not None:
            below = [path for path in world if path.startswith(f"{change.path}/")]
            assert change.new is not None or not below, "a folder goes before what is in it"
            lost[f"{change.side}:{change.path}"] = world.pop(change.path)
        if change.new is not None:
            parent = change.path.rpartition("/")[0]
            assert not parent or world.get(parent) == D, "a file comes before its folder"
            has = [change.old, *other.values()]
            assert any(e and e.digest == change.new.digest for e in has), "nobody has that"
            world[change.path] = change.new
    return local, remote, lost


def settled(ancestor: World, local: World, remote: World) -> tuple[World, World]:
    """Reconcile until nothing is left to do."""
    for turn in range(6):
        plan = reconcile(ancestor, local, remote)
        if not plan.changes and not plan.conflicts:
            assert local == remote
            return local, remote
        for path, entry in plan.agreed.items():
            _agree(ancestor, path, entry)
        for conflict in plan.conflicts:
            path, copy = conflict.path, f"{conflict.path}.copy{turn}"
            if not conflict.is_of_folders:
                local[copy] = conflict.remote
                ancestor[path] = conflict.remote
                continue
            for there in [p for p in remote if p == path or p.startswith(f"{path}/")]:
                remote[copy + there[len(path) :]] = remote.pop(there)
            for known in [p for p in ancestor if p == path or p.startswith(f"{path}/")]:
                del ancestor[known]
        if not plan.conflicts:
            applied(plan, local, remote)
            for change in plan.changes:
                _agree(ancestor, change.path, change.new)
    raise AssertionError(f"no end: {plan}")


def _agree(ancestor: World, path: str, entry: Entry | None) -> None:
    ancestor.pop(path, None)
    if entry is not None:
        ancestor[path] = entry


def contents(world: World) -> set[str]:
    return {entry.digest for entry in world.values() if entry.kind == FILE}


def edited(ancestor: World, world: World) -> set[str]:
    files = {path: entry.digest for path, entry in ancestor.items() if entry.kind == FILE}
    return {e.digest for p, e in world.items() if e.kind == FILE and files.get(p) != e.digest}


@pytest.mark.parametrize("things", list(product(THINGS, repeat=3)))
def test_all_of_one_path_end_equal_and_no_edit_is_lost(
    things: tuple[Entry | None, Entry | None, Entry | None],
) -> None:
    ancestor, local, remote = map(at, things)
    edits = edited(ancestor, local) | edited(ancestor, remote)
    end, _ = settled(ancestor, local, remote)
    assert edits <= contents(end)


def worlds() -> st.SearchStrategy[World]:
    """Trees of up to three levels: what is below no folder drops out."""
    names = ["p", "p/x", "p/x/y", "p/z", "q", "q/x", "pp"]
    things = st.sampled_from([A, B, RUNS, Entry(FILE, "c"), D, D, D, L])

    def rooted(raw: World) -> World:
        found: World = {}
        for path in sorted(raw):
            parent = path.rpartition("/")[0]
            if not parent or found.get(parent) == D:
                found[path] = raw[path]
        return found

    return st.dictionaries(st.sampled_from(names), things).map(rooted)


@given(worlds(), worlds(), worlds())
def test_any_trees_end_equal_and_no_edit_is_lost(
    ancestor: World, local: World, remote: World
) -> None:
    edits = edited(ancestor, local) | edited(ancestor, remote)
    end, _ = settled(dict(ancestor), dict(local), dict(remote))
    assert edits <= contents(end)


@given(worlds(), worlds(), worlds(), st.data())
def test_a_part_is_decided_as_in_the_whole(
    ancestor: World, local: World, remote: World, data: st.DataObject
) -> None:
    everything = reconcile(ancestor, local, remote)
    paths = [change.path for change in everything.changes]
    if paths and not everything.conflicts:
        some = data.draw(st.lists(st.sampled_from(paths), min_size=1))
        part = reconcile(ancestor, local, remote, paths=some)
        assert set(part.changes) <= set(everything.changes)
        assert set(some) <= {change.path for change in part.changes}
