"""What changed on a side: content decides, and what may be the middle of a save waits."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devkit.sync.agent.side import (
    FILE,
    FOLDER,
    LARGE_BYTES,
    SLICE_BYTES,
    Entry,
    Moved,
    RootGone,
    Side,
)
from devkit.sync.agent.watched import HOLD_S, Changes, Watched, is_unknown


class Clocked:
    """A watched folder whose clock is turned by hand; files are as old as they are made."""

    def __init__(self, root: Path) -> None:
        self.root = root
        side = Side(str(root))
        self.watched = Watched(side, dict(side.scan().entries))
        self.now = 1000.0

    def after(self, seconds: float, *hints: str, finished: bool = True) -> Changes:
        for path in hints:
            self.watched.hint(path, self.now, finished=finished)
        self.now += seconds
        return self.watched.changes(self.now)

    def write(self, path: str, text: str, *, age_s: float = 60.0) -> None:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        then = place.stat().st_mtime - age_s
        os.utime(place, (then, then))


@pytest.fixture
def clocked(tmp_path: Path) -> Clocked:
    (tmp_path / "a").write_text("old")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "b").write_text("b")
    return Clocked(tmp_path)


def test_an_edit_is_told_at_once_and_only_once(clocked: Clocked) -> None:
    clocked.write("a", "new")
    assert list(clocked.after(0, "a").entries) == ["a"]
    assert clocked.after(1, "a").entries == {}
    assert clocked.watched.due() is None


def test_a_touch_is_no_change(clocked: Clocked) -> None:
    os.utime(clocked.root / "a")
    assert clocked.after(1, "a").entries == {}


def test_an_own_write_does_not_come_back(clocked: Clocked) -> None:
    entry = clocked.watched.side.write("a", b"ours", clocked.watched.told["a"], executable=False)
    clocked.watched.applied("a", entry)
    assert clocked.after(1, "a").entries == {}


def test_a_deletion_is_held_and_forgotten_where_the_file_comes_back(clocked: Clocked) -> None:
    (clocked.root / "a").unlink()
    assert clocked.after(0, "a").entries == {}
    clocked.write("a", "saved")
    assert clocked.after(0, "a").entries["a"] is not None
    (clocked.root / "a").unlink()
    assert clocked.after(0, "a").entries == {}
    assert clocked.after(HOLD_S).entries == {"a": None}


def test_an_empty_file_is_held_as_the_first_half_of_a_save(clocked: Clocked) -> None:
    clocked.write("a", "")
    assert clocked.after(HOLD_S / 2, "a").entries == {}
    assert list(clocked.after(HOLD_S).entries) == ["a"]


def test_a_file_that_is_still_written_waits_for_its_end(clocked: Clocked) -> None:
    clocked.write("new", "half", age_s=0)
    assert clocked.after(HOLD_S, "new", finished=False).entries == {}
    clocked.write("new", "whole", age_s=0)
    assert list(clocked.after(0, "new").entries) == ["new"]


def test_a_file_that_nobody_finishes_is_told_when_it_is_old_enough(clocked: Clocked) -> None:
    clocked.write("new", "linked, not written", age_s=60)
    assert list(clocked.after(HOLD_S, "new", finished=False).entries) == ["new"]


def test_a_name_of_sed_is_looked_at_later(clocked: Clocked) -> None:
    clocked.write("sedAb3xY9", "half")
    assert clocked.after(HOLD_S / 2, "sedAb3xY9").entries == {}
    (clocked.root / "sedAb3xY9").replace(clocked.root / "a")
    assert list(clocked.after(HOLD_S, "a").entries) == ["a"]


def test_what_came_with_a_new_folder_is_found_with_it(clocked: Clocked) -> None:
    clocked.write("n/m/x", "x")
    assert list(clocked.after(0, "n").entries) == ["n", "n/m", "n/m/x"]


def test_a_folder_that_went_away_takes_all_in_it(clocked: Clocked) -> None:
    (clocked.root / "d").rename(clocked.root.parent / f"{clocked.root.name}-gone")
    clocked.after(0, "d")
    assert clocked.after(HOLD_S).entries == {"d/b": None, "d": None}


def test_a_file_in_place_of_a_folder_is_told_with_what_was_in_that(clocked: Clocked) -> None:
    (clocked.root / "d" / "b").unlink()
    (clocked.root / "d").rmdir()
    clocked.write("d", "file")
    found = clocked.after(1, "d").entries
    assert found["d/b"] is None
    assert found["d"] is not None
    assert found["d"].kind == FILE


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["d", "d/a", "d/a/x", "d/a/y", "d/ab", "da", "e/a/x"]),
            st.sampled_from([None, Entry(FOLDER), Entry(FILE, "0")]),
            st.booleans(),
        )
    )
)
def test_of_a_folder_that_went_away_all_that_was_told_is_gone(
    tmp_path_factory: pytest.TempPathFactory,
    told: list[tuple[str, Entry | None, bool]],
) -> None:
    watched = Watched(Side(str(tmp_path_factory.getbasetemp())), {"d/z": Entry(FILE, "1")})
    now = 1000.0
    for path, entry, goes in told:
        watched.applied(path, entry)
        if goes:
            watched.applied("d", Entry(FOLDER))
            below = {path for path in watched.told if path.startswith("d/")}
            watched.hint("d", now)
            watched.changes(now)
            now += 2 * HOLD_S
            assert watched.changes(now).entries == dict.fromkeys([*below, "d"])
            now += 1


def test_a_rescan_finds_what_no_hint_told(clocked: Clocked) -> None:
    clocked.write("a", "new")
    clocked.write("n/x", "x")
    (clocked.root / "d" / "b").unlink()
    found = clocked.watched.rescan()
    assert found.whole
    assert set(found.entries) == {"n", "n/x"}
    due = clocked.watched.due()
    assert due is not None
    # The file may still be written, and the name may come back: both are looked at once more.
    later = clocked.watched.changes(due + 1).entries
    assert set(later) == {"a", "d/b"}
    assert later["d/b"] is None


def test_nothing_is_told_of_what_cannot_be_read(
    clocked: Clocked, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.scandir

    def scandir(folder: int) -> object:
        if Path(f"/proc/self/fd/{folder}").readlink().name == "d":
            raise PermissionError(13, "Permission denied")
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    found = clocked.watched.rescan()
    assert (found.entries, found.unknown) == ({}, {"d": "Permission denied"})
    assert clocked.watched.due() is None


def test_a_root_that_is_gone_is_no_deletion(clocked: Clocked) -> None:
    clocked.root.rename(clocked.root.with_name("elsewhere"))
    with pytest.raises(RootGone):
        clocked.after(1, "a")
    with pytest.raises(RootGone):
        clocked.watched.rescan()


def test_a_large_file_is_digested_a_slice_at_a_time(clocked: Clocked) -> None:
    (clocked.root / "big").write_bytes(bytes(LARGE_BYTES + 1))
    assert clocked.after(1, "big").unknown == {"big": "its digest is being made"}
    clocked.now = 1e12  # its clock is the system's
    looks = 0
    while not (found := clocked.after(1)).entries:
        looks += 1
    assert looks >= LARGE_BYTES // SLICE_BYTES - 1
    assert found.entries["big"] == clocked.watched.side.look("big")
    assert clocked.watched.due() is None


def test_a_large_file_that_changes_begins_again(clocked: Clocked) -> None:
    (clocked.root / "big").write_bytes(bytes(LARGE_BYTES + 1))
    clocked.after(1, "big")
    clocked.now = 1e12
    clocked.after(1)
    with (clocked.root / "big").open("ab") as opened:
        opened.write(b"more")
    while not (found := clocked.after(1)).entries:
        pass
    assert found.entries["big"] == clocked.watched.side.look("big")


def test_a_file_that_is_written_while_it_is_looked_at_is_looked_at_again(
    clocked: Clocked, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = list[str]()
    plain = clocked.watched.side.look

    def look(path: str, unknown: dict[str, str] | None = None) -> Entry | None:
        looks.append(path)
        if len(looks) == 1:
            raise Moved
        return plain(path, unknown)

    clocked.watched.digest(["new"])  # nothing is there
    monkeypatch.setattr(clocked.watched.side, "look", look)
    assert clocked.after(1).entries == {}
    clocked.watched._large["new"].ready_at = 0.0
    assert clocked.after(1).entries == {"new": None}


def test_a_large_file_that_goes_away_is_told(clocked: Clocked) -> None:
    (clocked.root / "big").write_bytes(bytes(LARGE_BYTES + 1))
    clocked.after(1, "big")
    (clocked.root / "big").unlink()
    clocked.now = 1e12
    assert clocked.after(1).unknown == {}
    found = clocked.after(1)
    assert found.entries == {"big": None}


def test_what_is_ignored_is_never_told_nor_taken_for_deleted(tmp_path: Path) -> None:
    class Picky(Side):
        def ignores(self, path: str, is_folder: bool) -> bool:
            return path == "build" and is_folder

    (tmp_path / "build").write_text("a file")
    side = Picky(str(tmp_path))
    watched = Watched(side, dict(side.scan().entries))
    (tmp_path / "build").unlink()
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "x").touch()
    watched.hint("build", 0)
    assert watched.changes(1).entries == {}


@pytest.mark.parametrize(
    ("path", "unknown", "answer"),
    [
        ("a", {}, False),
        ("a/b/c", {"a": ""}, True),
        ("a/b/c", {"a/b/c": ""}, True),
        ("ab", {"a": ""}, False),
        ("a", {"a/b": ""}, False),
        ("a", {"": ""}, True),
    ],
)
def test_nothing_is_known_below_what_is_unknown(
    path: str, unknown: dict[str, str], answer: bool
) -> None:
    assert is_unknown(path, unknown) is answer


def test_a_folder_entry_is_like_any(clocked: Clocked) -> None:
    assert clocked.watched.told["d"] == Entry(FOLDER)


def test_a_digest_that_is_made_during_a_rescan_is_known_after_it(clocked: Clocked) -> None:
    (clocked.root / "big").write_bytes(bytes(LARGE_BYTES + 1))
    clocked.after(1, "big")
    clocked.now = 1e12
    for _ in range(LARGE_BYTES // SLICE_BYTES - 1):
        assert clocked.after(1).entries == {}
    found = clocked.watched.rescan()
    assert (list(found.entries), found.unknown) == (["big"], {})
