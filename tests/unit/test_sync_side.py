"""A side: what is as expected is changed, all else is left alone, and nothing leads out."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from devkit.sync.agent import places
from devkit.sync.agent.side import (
    FILE,
    FOLDER,
    LARGE_BYTES,
    LINK,
    OTHER,
    PENDING,
    Entry,
    Moved,
    RootGone,
    Side,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    made.mkdir()
    return made


@pytest.fixture
def side(root: Path) -> Side:
    return Side(str(root))


def file(side: Side, path: str) -> Entry:
    entry = side.look(path)
    assert entry is not None
    return entry


def names(root: Path) -> set[str]:
    return {path.name for path in root.rglob("*")}


def at_the_last_moment(monkeypatch: pytest.MonkeyPatch, edit: Callable[[], object]) -> None:
    """Run an edit between the look and the change, once."""
    real_exchange, real_rename = places.exchange, os.rename
    done = list[bool]()

    def once() -> None:
        if not done:
            done.append(True)
            edit()

    def exchange(folder: int, one: str, other: str) -> bool:
        once()
        return real_exchange(folder, one, other)

    def rename(*arguments: object, **fields: object) -> None:
        if places.ASIDE in str(arguments[1]) and places.TEMPORARY not in str(arguments[0]):
            once()
        real_rename(*arguments, **fields)  # type: ignore[arg-type]

    monkeypatch.setattr(places, "exchange", exchange)
    monkeypatch.setattr(os, "rename", rename)


# Compare and swap.


def test_a_file_is_written_where_nothing_was(side: Side, root: Path) -> None:
    entry = side.write("a", b"new", None, executable=False)
    assert (root / "a").read_bytes() == b"new"
    assert side.look("a") == entry
    assert names(root) == {"a"}


def test_a_file_that_is_there_is_no_place_for_a_new_one(side: Side, root: Path) -> None:
    (root / "a").write_text("theirs")
    with pytest.raises(Moved):
        side.write("a", b"ours", None, executable=False)
    assert (root / "a").read_text() == "theirs"
    assert names(root) == {"a"}


def test_a_file_that_was_changed_since_it_was_seen_is_left_alone(side: Side, root: Path) -> None:
    (root / "a").write_text("old")
    seen = file(side, "a")
    (root / "a").write_text("edited")
    with pytest.raises(Moved) as moved:
        side.write("a", b"ours", seen, executable=False)
    assert moved.value.now == side.look("a")
    assert (root / "a").read_text() == "edited"


@pytest.mark.parametrize("way", ["in place", "by rename", "same size", "appended"])
@pytest.mark.parametrize("act", ["write", "delete", "link"])
def test_an_edit_of_the_last_moment_stays(
    side: Side, root: Path, monkeypatch: pytest.MonkeyPatch, way: str, act: str
) -> None:
    (root / "a").write_text("old")
    seen = file(side, "a")

    def edit() -> None:
        if way == "by rename":
            (root / "other").write_text("edit")
            (root / "other").replace(root / "a")
        elif way == "appended":
            with (root / "a").open("a") as opened:
                opened.write("edit")
        else:
            (root / "a").write_text("new" if way == "same size" else "edited")

    at_the_last_moment(monkeypatch, edit)
    acts: dict[str, Callable[[], object]] = {
        "write": lambda: side.write("a", b"ours", seen, executable=False),
        "link": lambda: side.link("a", "b", seen),
        "delete": lambda: side.delete("a", seen),
    }
    with pytest.raises(Moved):
        acts[act]()
    wanted = {"in place": "edited", "by rename": "edit", "same size": "new", "appended": "oldedit"}
    assert (root / "a").read_text() == wanted[way]
    assert names(root) == {"a"}


def test_a_file_that_is_deleted_at_the_last_moment_is_decided_anew(
    side: Side, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "a").write_text("old")
    seen = file(side, "a")
    at_the_last_moment(monkeypatch, (root / "a").unlink)
    with pytest.raises(Moved):
        side.write("a", b"ours", seen, executable=False)
    assert names(root) == set()


def test_what_is_written_while_an_exchange_is_undone_stays_beside(
    side: Side, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "a").write_text("old")
    seen = file(side, "a")
    real, calls = places.exchange, []

    def exchange(folder: int, one: str, other: str) -> bool:
        calls.append(one)
        (root / "a").write_text("first" if len(calls) == 1 else "second, longer")
        return real(folder, one, other)

    monkeypatch.setattr(places, "exchange", exchange)
    with pytest.raises(Moved):
        side.write("a", b"ours", seen, executable=False)
    assert {path.read_text() for path in root.iterdir()} == {"first", "second, longer"}
    assert (root / "a").read_text() == "first"


@pytest.mark.parametrize("way", ["write", "delete"])
def test_where_the_old_content_cannot_be_kept_nothing_is_changed(root: Path, way: str) -> None:
    class Full(Side):
        def dispose(self, folder: int, name: str, old: Entry) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    side = Full(str(root))
    (root / "a").write_text("old")
    seen = file(side, "a")
    acts: dict[str, Callable[[], object]] = {
        "write": lambda: side.write("a", b"ours", seen, executable=False),
        "delete": lambda: side.delete("a", seen),
    }
    with pytest.raises(OSError, match="No space"):
        acts[way]()
    assert (root / "a").read_text() == "old"
    assert names(root) == {"a"}


@pytest.mark.parametrize("edit", [None, "edited"])
def test_a_system_without_renameat2_swaps_as_well(
    side: Side, root: Path, monkeypatch: pytest.MonkeyPatch, edit: str | None
) -> None:
    monkeypatch.setattr(places, "_LIBC", None)
    side.write("a", b"old", None, executable=False)
    seen = file(side, "a")
    with pytest.raises(Moved):
        side.write("a", b"ours", None, executable=False)
    if edit is None:
        side.write("a", b"ours", seen, executable=False)
        assert (root / "a").read_bytes() == b"ours"
    else:
        at_the_last_moment(monkeypatch, lambda: (root / "a").write_text(edit))
        with pytest.raises(Moved):
            side.write("a", b"ours", seen, executable=False)
        assert (root / "a").read_text() == edit
    assert names(root) == {"a"}


def test_a_system_without_renameat2_renames_to_a_free_name_only(
    side: Side, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "_LIBC", None)
    (root / "d").mkdir()
    (root / "e").write_text("theirs")
    with pytest.raises(FileExistsError):
        side.rename("d", "e")
    side.rename("d", "f")
    assert names(root) == {"e", "f"}


def test_a_deleted_file_that_was_changed_comes_back_beside_a_newer_one(
    side: Side, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "a").write_text("old")
    seen = file(side, "a")
    real = os.rename

    def rename(*arguments: object, **fields: object) -> None:
        (root / "a").write_text("edited")
        real(*arguments, **fields)  # type: ignore[arg-type]
        (root / "a").write_text("newer")

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(Moved):
        side.delete("a", seen)
    assert {path.read_text() for path in root.iterdir()} == {"edited", "newer"}
    assert (root / "a").read_text() == "newer"


def test_a_folder_that_holds_something_is_not_deleted(side: Side, root: Path) -> None:
    (root / "d").mkdir()
    (root / "d" / "ignored").touch()
    with pytest.raises(OSError, match="not empty"):
        side.delete("d", Entry(FOLDER))
    assert (root / "d" / "ignored").exists()


def test_a_folder_is_no_place_for_a_file(side: Side, root: Path) -> None:
    (root / "d").mkdir()
    with pytest.raises(Moved):
        side.write("d", b"", Entry(FOLDER), executable=False)


def test_an_edit_of_the_same_size_in_the_same_moment_is_seen(side: Side, root: Path) -> None:
    (root / "a").write_text("one")
    info = (root / "a").stat()
    first = file(side, "a")
    with (root / "a").open("r+") as opened:
        opened.write("two")
    os.utime(root / "a", ns=(info.st_atime_ns, info.st_mtime_ns))
    assert side.look("a") != first


def test_a_file_that_grows_while_it_is_read_is_not_taken(
    side: Side, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "a").write_text("one")
    real = os.read

    def read(descriptor: int, size: int) -> bytes:
        with (root / "a").open("a") as opened:
            opened.write("more")
        return real(descriptor, size)

    monkeypatch.setattr(os, "read", read)
    with pytest.raises(Moved):
        side.read("a")


def test_the_mode_is_kept_but_for_the_run_bit(side: Side, root: Path) -> None:
    (root / "a").write_text("old")
    (root / "a").chmod(0o640)
    side.write("a", b"new", file(side, "a"), executable=True)
    assert (root / "a").stat().st_mode & 0o777 == 0o750
    side.write("a", b"newer", file(side, "a"), executable=False)
    assert (root / "a").stat().st_mode & 0o777 == 0o640
    side.set_executable("a", file(side, "a"), executable=True)
    assert (root / "a").stat().st_mode & 0o777 == 0o750
    side.write("b", b"new", None, executable=False)
    assert (root / "b").stat().st_mode & 0o777 == 0o644


def test_the_run_bit_of_a_changed_file_is_left_alone(side: Side, root: Path) -> None:
    (root / "a").write_text("old")
    seen = file(side, "a")
    (root / "a").write_text("edited")
    with pytest.raises(Moved):
        side.set_executable("a", seen, executable=True)


# Nothing leads out.


@pytest.mark.parametrize(
    "path", ["", "/etc/x", "..", "../x", "a/../../x", "./a", "a//b", "a\0b", "a/"]
)
def test_a_path_that_is_not_below_the_root_is_refused(side: Side, path: str) -> None:
    acts: list[Callable[[], object]] = [
        lambda: side.read(path),
        lambda: side.write(path, b"", None, executable=False),
        lambda: side.delete(path, Entry(FILE)),
        lambda: side.link(path, "a", None),
        lambda: side.make_folder(path),
        lambda: side.rename("a", path),
        lambda: side.stage(path),
    ]
    for act in acts:
        with pytest.raises((ValueError, PermissionError)):
            act()


@pytest.mark.parametrize("target", ["/etc/passwd", "../../x", "b/../../../x", "", "a\0b"])
def test_a_link_that_leads_out_is_not_made_and_not_taken(
    side: Side, root: Path, target: str
) -> None:
    (root / "d").mkdir()
    with pytest.raises(PermissionError):
        side.link("d/l", target, None)
    if target and "\0" not in target:
        (root / "d" / "l").symlink_to(target)
        assert side.look("d/l") == Entry(OTHER)


def test_a_link_on_the_way_is_not_followed(side: Side, root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a").write_text("secret")
    (root / "d").symlink_to(outside)
    assert side.look("d/a") is None
    for act in (
        lambda: side.read("d/a"),
        lambda: side.write("d/b", b"", None, executable=False),
        lambda: side.make_folder("d/c"),
        lambda: side.delete("d/a", Entry(FILE)),
    ):
        with pytest.raises(OSError):
            act()
    assert [path.name for path in outside.iterdir()] == ["a"]
    assert side.scan().entries == {"d": Entry(OTHER)}


def test_a_file_in_place_of_a_link_leaves_what_the_link_led_to(side: Side, root: Path) -> None:
    (root / "a").write_text("kept")
    (root / "l").symlink_to("a")
    side.write("l", b"new", Entry(LINK, "a"), executable=False)
    assert (root / "a").read_text() == "kept"
    assert not (root / "l").is_symlink()


@pytest.mark.parametrize("target", ["l", "nothing", "a/../l"])
def test_links_that_lead_nowhere_are_links_like_any(side: Side, root: Path, target: str) -> None:
    (root / "l").symlink_to(target)
    assert side.look("l") == Entry(LINK, target)
    side.delete("l", Entry(LINK, target))
    assert names(root) == set()


# What is gone, and what cannot be read.


def test_a_root_that_is_gone_says_nothing_about_its_files(side: Side, root: Path) -> None:
    (root / "a").touch()
    seen = file(side, "a")
    root.rename(root.with_name("elsewhere"))
    for act in (
        side.scan,
        lambda: side.look("a"),
        lambda: side.look("a", {}),
        lambda: side.read("a"),
        lambda: side.delete("a", seen),
        lambda: side.write("a", b"", None, executable=False),
    ):
        with pytest.raises(RootGone):
            act()
    root.write_text("a file")
    with pytest.raises(RootGone):
        side.scan()


def test_pipes_sockets_and_devices_are_never_opened(side: Side, root: Path) -> None:
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(root / "socket"))
        scan = side.scan()
    assert scan.entries == {"pipe": Entry(OTHER), "socket": Entry(OTHER)}
    for path in ("pipe", "socket"):
        with pytest.raises((Moved, OSError)):
            side.read(path)
        with pytest.raises(Moved):
            side.delete(path, Entry(OTHER))
        with pytest.raises(Moved):
            side.write(path, b"", Entry(OTHER), executable=False)


def test_a_hard_link_is_parted_by_a_write(side: Side, root: Path) -> None:
    (root / "a").write_text("old")
    os.link(root / "a", root / "b")
    side.write("a", b"new", file(side, "a"), executable=False)
    assert (root / "b").read_text() == "old"


def test_too_many_folders_in_one_another_are_unknown(side: Side, root: Path) -> None:
    deep = root
    for _ in range(130):
        deep = deep / "d"
        deep.mkdir()
    assert list(side.scan().unknown.values()) == ["too many folders in one another"]


def test_a_large_file_is_unknown_to_a_scan_until_its_digest_is_made(side: Side, root: Path) -> None:
    (root / "big").write_bytes(bytes(LARGE_BYTES + 1))
    scan = side.scan()
    assert (scan.entries, scan.unknown) == ({}, {"big": PENDING})
    assert file(side, "big").kind == FILE


def test_a_digest_that_was_made_before_counts_while_the_file_is_the_same(
    side: Side, root: Path
) -> None:
    (root / "a").write_text("old")
    signature = side.signature("a")
    assert signature is not None
    side.knows("a", signature, "d" * 64)
    assert file(side, "a").digest == "d" * 64
    (root / "a").write_text("new!")
    assert file(side, "a").digest != "d" * 64


# Names.


@pytest.mark.parametrize(
    "name",
    [
        "two words",
        "new\nline",
        "\udcff\udcfe",
        "\u00e9",
        "e\u0301",
        "x" * 255,
        "\u00e9" * 127,
        "-rf",
        "con",
        "a:b",
        "back\\slash",
        " ",
        "*",
    ],
)
def test_any_name_is_a_name(side: Side, root: Path, name: str) -> None:
    path = f"{name}/{name}"
    side.make_folder(name)
    entry = side.write(path, b"1", None, executable=False)
    entry = side.write(path, b"2", entry, executable=False)
    assert side.read(path) == (b"2", entry)
    assert side.scan().entries == {name: Entry(FOLDER), path: entry}
    side.delete(path, entry)
    side.delete(name, Entry(FOLDER))
    assert side.scan().entries == {}


def test_names_that_differ_by_case_or_by_unicode_form_are_two(side: Side) -> None:
    for name in ("a", "A", "\u00e9", "e\u0301"):
        side.write(name, name.encode(), None, executable=False)
    assert len(side.scan().entries) == 4
    side.rename("a", "b")
    assert side.read("A")[0] == b"A"


def test_a_name_that_is_too_long_is_refused_by_the_system(side: Side) -> None:
    with pytest.raises(OSError, match="too long"):
        side.write("x" * 256, b"", None, executable=False)


def test_a_rename_never_replaces(side: Side, root: Path) -> None:
    (root / "a").write_text("a")
    (root / "b").write_text("b")
    with pytest.raises(FileExistsError):
        side.rename("a", "b")
    assert (root / "b").read_text() == "b"


# What a side that was killed leaves.


def test_what_a_killed_side_left_is_cleared_away_but_not_what_may_be_a_users(
    side: Side, root: Path
) -> None:
    (root / "d").mkdir()
    (root / "d" / f"{places.TEMPORARY}1-2").write_text("half of ours")
    (root / "d" / f"{places.ASIDE}1-3").write_text("an edit, or what was seen")
    (root / "node_modules").mkdir()
    (root / "node_modules" / f"{places.TEMPORARY}1-4").write_text("not walked")
    assert side.scan().entries == {"d": Entry(FOLDER)}
    side.sweep()
    (kept,) = (root / "d").iterdir()
    assert kept.name.startswith("devkit-recovered-")
    assert kept.read_text() == "an edit, or what was seen"
    assert list(side.scan().entries) == ["d", f"d/{kept.name}"]


def test_a_stage_that_is_dropped_leaves_nothing(side: Side, root: Path) -> None:
    staged = side.stage("a")
    staged.add(b"x")
    staged.close()
    assert names(root) == set()


def test_a_staged_file_whose_folder_went_away_is_not_put_elsewhere(side: Side, root: Path) -> None:
    (root / "d").mkdir()
    staged = side.stage("d/a")
    staged.add(b"x")
    (root / "d").rename(root / "e")
    (root / "d").mkdir()
    with pytest.raises((Moved, FileNotFoundError)):
        side.commit(staged, "d/a", None, executable=False)
    staged.close()
    assert names(root) == {"d", "e"}


# New files, many at once.


def test_new_files_come_into_a_folder_that_is_opened_once(side: Side, root: Path) -> None:
    (root / "d").mkdir()
    with side.together():
        made = [side.create(f"d/{number}", b"%d" % number, executable=True) for number in range(3)]
    assert [side.look(f"d/{number}") for number in range(3)] == made
    assert names(root) == {"d", "0", "1", "2"}
    assert os.access(root / "d" / "0", os.X_OK)


def test_what_a_folder_that_was_replaced_has_not_is_looked_for_in_the_new_one(
    side: Side, root: Path
) -> None:
    (root / "d").mkdir()
    (root / "d" / "a").write_text("old")
    with side.together():
        assert side.look("d/a") is not None
        shutil.rmtree(root / "d")
        (root / "d").mkdir()
        (root / "d" / "a").write_text("new")
        assert side.look("d/a") == Entry(FILE, hashlib.sha256(b"new").hexdigest())


def test_a_new_file_takes_nobodys_place(side: Side, root: Path) -> None:
    (root / "a").write_text("theirs")
    with pytest.raises(Moved):
        side.create("a", b"ours", executable=False)
    assert (root / "a").read_text() == "theirs"
    assert names(root) == {"a"}


def test_a_new_file_is_not_written_through_a_link(side: Side, root: Path, tmp_path: Path) -> None:
    (root / "d").symlink_to(tmp_path)
    with side.together(), pytest.raises(OSError, match="Not a directory"):
        side.create("d/a", b"ours", executable=False)
    assert not (tmp_path / "a").exists()


def test_an_edit_right_after_a_file_was_made_is_seen(side: Side, root: Path) -> None:
    for number in range(200):
        entry = side.create(f"{number}", b"ours", executable=False)
        with (root / f"{number}").open("r+b") as file:
            file.write(b"them")
        assert side.look(f"{number}") != entry


def test_an_old_content_is_kept_where_it_is_asked_for(side: Side, root: Path) -> None:
    entry = side.write("a", b"old", None, executable=False)
    with side.keeping() as kept:
        side.delete("a", entry)
    assert kept == [b"old"]
    assert names(root) == set()
