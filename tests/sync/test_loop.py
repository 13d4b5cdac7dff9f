"""The loop with a real agent: what a user relies on, both ways, and when it halts."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from devkit import undo
from devkit.errors import EngineError, SyncHalted
from devkit.sync import permission
from devkit.sync.ignore import Ignore
from devkit.sync.journal import Journal
from devkit.sync.news import News
from devkit.sync.workspace import Workspace
from tests.sync.pair import Pair, tree

Make = Callable[..., Pair]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made = list[Pair]()

    def pair(**fields: object) -> Pair:
        base = tmp_path / f"pair{len(made)}"
        base.mkdir()
        made.append(Pair(base, **fields))  # type: ignore[arg-type]
        return made[-1]

    yield pair
    for one in made:
        one.stop()


@pytest.fixture
def pair(make: Make) -> Pair:
    return make()


def put(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def is_changed(path: str, news: News) -> bool:
    return (news.kind, news.path) == ("changed", path)


def test_edits_of_both_sides_meet(pair: Pair) -> None:
    put(pair.local, **{"a": "1", "d/b": "2"})
    put(pair.remote, **{"c": "3", "d/e": "4"})
    pair.flush()
    assert tree(pair.local) == tree(pair.remote)
    assert set(tree(pair.local)) == {"a", "c", "d", "d/b", "d/e"}
    assert pair.flush() == 0


def test_an_edit_arrives_by_itself(pair: Pair) -> None:
    for root, name in ((pair.local, "in"), (pair.remote, "out")):
        put(root, **{name: name})
        pair.until(partial(is_changed, name))
    assert tree(pair.local) == tree(pair.remote)


@pytest.mark.parametrize("size", [100, 2 << 20, 9 << 20])
@pytest.mark.parametrize("way", ["in", "out"])
def test_a_reader_never_sees_a_torn_or_missing_file(make: Make, size: int, way: str) -> None:
    pair = make(events=False)
    giving, taking = (pair.local, pair.remote) if way == "in" else (pair.remote, pair.local)
    (giving / "f").write_bytes(b"0" * size)
    pair.flush()
    wrong, reads, is_over = [], [0], threading.Event()

    def read() -> None:
        while not is_over.is_set():
            try:
                content = (taking / "f").read_bytes()
            except FileNotFoundError:
                wrong.append("missing")
                return
            reads[0] += 1
            if len(content) != size or content.strip(content[:1]):
                wrong.append(f"torn: {len(content)}")

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(1, 6):
        (giving / "g").write_bytes(str(number).encode() * size)
        (giving / "g").replace(giving / "f")
        pair.flush()
    is_over.set()
    reader.join()
    assert (taking / "f").read_bytes() == b"5" * size
    assert not wrong
    assert reads[0]


def test_both_edited_keeps_both(pair: Pair) -> None:
    put(pair.local, a="old")
    pair.flush()
    pair.loop.pause()
    put(pair.local, a="mine")
    put(pair.remote, a="theirs")
    pair.loop.resume()
    pair.flush()
    texts = {path.read_text() for path in pair.remote.iterdir()}
    assert texts == {"mine", "theirs"}
    assert (pair.local / "a").read_text() == "mine"
    (copy,) = pair.loop.status().conflicts.values()
    assert (pair.local / copy).read_text() == "theirs"


def test_a_conflict_of_the_longest_name_has_room_for_its_copy(pair: Pair) -> None:
    name = "\u00e9" * 127
    pair.loop.pause()
    put(pair.local, **{name: "mine"})
    put(pair.remote, **{name: "theirs"})
    pair.loop.resume()
    pair.flush()
    assert {path.read_text() for path in pair.remote.iterdir()} == {"mine", "theirs"}


def test_many_conflicts_in_one_second_are_all_kept(pair: Pair) -> None:
    written = set()
    for number in range(5):
        pair.loop.pause()
        put(pair.local, a=f"mine {number}")
        put(pair.remote, a=f"theirs {number}")
        written.add(f"theirs {number}")
        pair.loop.resume()
        pair.flush()
    assert written <= {path.read_text() for path in pair.remote.iterdir()}
    assert tree(pair.local) == tree(pair.remote)


def test_a_conflict_whose_copy_was_removed_or_moved_is_no_more(pair: Pair) -> None:
    pair.loop.pause()
    put(pair.local, a="mine", b="mine")
    put(pair.remote, a="theirs", b="theirs")
    pair.loop.resume()
    pair.flush()
    copies = pair.loop.status().conflicts
    assert copies.keys() == {"a", "b"}
    (pair.local / copies["a"]).rename(pair.local / "a")
    (pair.local / copies["b"]).unlink()
    pair.flush()
    assert pair.loop.status().conflicts == {}
    assert (pair.remote / "a").read_text() == "theirs"


def test_a_halt_passes_when_what_was_deleted_is_back(pair: Pair) -> None:
    files = {f"{number}": f"{number}" for number in range(40)}
    put(pair.local, **files)
    pair.flush()
    pair.stop()
    for name in files:
        if name != "0":
            (pair.local / name).unlink()
    pair.start()
    with pytest.raises(SyncHalted):
        pair.loop.flush(30)
    put(pair.local, **files)
    pair.until(lambda news: news.kind == "resumed")
    pair.flush()
    assert len(tree(pair.remote)) == 40


def test_a_flush_looks_before_it_says_that_a_halt_stands(make: Make) -> None:
    # Without events nobody has seen yet that the files are back.
    pair = make(events=False)
    files = {f"{number}": f"{number}" for number in range(40)}
    put(pair.local, **files)
    pair.flush()
    for name in files:
        (pair.local / name).unlink()
    with pytest.raises(SyncHalted, match="emptied"):
        pair.loop.flush(30)
    put(pair.local, **files)
    pair.loop.flush(30)
    assert len(tree(pair.remote)) == 40


def test_a_halt_passes_too_when_so_few_are_gone_that_nobody_would_be_asked(make: Make) -> None:
    pair = make(events=False)
    files = {f"{number}": f"{number}" for number in range(100)}
    put(pair.local, **files)
    pair.flush()
    for name in files:
        if name != "0":
            (pair.local / name).unlink()
    with pytest.raises(SyncHalted, match="99 of 100 files would be deleted"):
        pair.loop.flush(30)
    put(pair.local, **{name: "back" for name in files if int(name) >= 10})
    pair.loop.flush(30)
    assert len(tree(pair.remote)) == 91


def test_a_halt_does_not_pass_by_waiting(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{'a' if n < 25 else 'b' if n < 45 else 'c'}/{n}" for n in range(100)]
    put(pair.local, **{name: name for name in names})
    pair.flush()
    # All at once: else a part of them may go first.
    (pair.local / "a").rename(tmp_path / "a")
    pair.flush()
    (pair.local / "b").rename(tmp_path / "b")
    with pytest.raises(SyncHalted, match="45 of 100 files would be deleted"):
        pair.loop.flush(30)
    # As if all that had been long ago.
    monkeypatch.setattr(permission, "_TOGETHER_S", 0)
    put(pair.local, other="1")
    with pytest.raises(SyncHalted, match="45 of 100 files would be deleted"):
        pair.loop.flush(30)
    assert len(list(pair.remote.glob("[bc]/*"))) == 75


def test_a_folder_against_a_file_keeps_both(pair: Pair) -> None:
    pair.loop.pause()
    put(pair.local, a="file")
    put(pair.remote, **{"a/b": "in the folder"})
    pair.loop.resume()
    pair.flush()
    assert tree(pair.local) == tree(pair.remote)
    assert (pair.local / "a").read_text() == "file"
    (copy,) = pair.local.glob("a.conflict-*")
    assert (copy / "b").read_text() == "in the folder"


def test_what_was_replaced_is_in_the_trash(pair: Pair) -> None:
    put(pair.local, a="first")
    pair.flush()
    put(pair.remote, a="second")
    pair.flush()
    put(pair.local, a="third")
    pair.flush()
    kept = {path.read_text() for path in pair.trash.iterdir()}
    assert kept == {"first", "second"}


def test_a_mass_deletion_halts_until_it_is_allowed(pair: Pair) -> None:
    put(pair.local, **{f"{number}": "x" for number in range(40)})
    pair.flush()
    pair.stop()  # else the first few may go before it is clear how many they are
    for number in range(39):
        (pair.remote / f"{number}").unlink()
    pair.start()
    with pytest.raises(SyncHalted, match="of 40 files would be deleted in the workspace"):
        pair.loop.flush(30)
    assert len(tree(pair.local)) == 40
    pair.loop.resume()
    pair.flush()
    assert len(tree(pair.local)) == 1


def test_after_a_reset_what_was_deleted_comes_back(pair: Pair) -> None:
    put(pair.local, **{f"{number}": "x" for number in range(40)})
    pair.flush()
    pair.stop()  # else the first few may go before it is clear how many they are
    for number in range(39):
        (pair.remote / f"{number}").unlink()
    pair.start()
    with pytest.raises(SyncHalted):
        pair.loop.flush(30)
    pair.loop.reset()
    pair.flush()
    assert len(tree(pair.remote)) == 40


@pytest.mark.parametrize("side", ["local", "remote"])
def test_a_root_that_is_gone_halts_and_takes_nothing_away(pair: Pair, side: str) -> None:
    put(pair.local, **{f"{number}": "x" for number in range(5)})
    pair.flush()
    root = pair.local if side == "local" else pair.remote
    other = pair.remote if side == "local" else pair.local
    root.rename(root.with_name("gone"))
    with pytest.raises((SyncHalted, EngineError)):
        pair.loop.flush(30)
    assert len(tree(other)) == 5
    root.with_name("gone").rename(root)
    pair.flush()
    assert tree(pair.local) == tree(pair.remote)


def test_another_container_gets_the_files_and_deletes_none(pair: Pair, tmp_path: Path) -> None:
    put(pair.local, **{f"{number}": "x" for number in range(5)})
    pair.flush()
    older = tmp_path / "older"
    put(older, **{"0": "from the image", "new": "n"})
    pair.recreate(older)
    pair.flush()
    assert tree(pair.local) == tree(pair.remote)
    assert {"0", "1", "2", "3", "4", "new"} <= set(tree(pair.local))


def test_edits_while_nothing_runs_are_found(pair: Pair) -> None:
    put(pair.local, a="1", b="1", c="1")
    pair.flush()
    pair.stop()
    put(pair.local, a="2")
    put(pair.remote, b="2")
    (pair.remote / "c").unlink()
    pair.start()
    pair.flush()
    assert tree(pair.local) == tree(pair.remote)
    assert {p.name: p.read_text() for p in pair.remote.iterdir()} == {"a": "2", "b": "2"}


def test_ignored_files_stay_where_they_are(pair: Pair) -> None:
    put(pair.local, **{".devkitignore": "build/\n*.log"})
    pair.flush()  # what is told before the event of the rules is not measured by them
    put(pair.local, **{"build/x": "1", "a.log": "1"})
    put(pair.remote, **{"b.log": "2", ".git/config": "x", "build/y": "z"})
    pair.flush()
    (pair.local / "build" / "z").touch()
    (pair.remote / "build" / "w").touch()
    pair.flush()
    assert {p.name for p in pair.remote.iterdir()} == {".devkitignore", "b.log", ".git", "build"}
    assert not (pair.local / "b.log").exists()
    assert {p.name for p in (pair.remote / "build").iterdir()} == {"y", "w"}


def test_an_ignored_folder_that_is_made_later_is_not_made_there(pair: Pair) -> None:
    put(pair.local, **{".devkitignore": "build/"})
    pair.flush()
    put(pair.local, **{"build/x": "1"})
    pair.flush()
    assert set(tree(pair.remote)) == {".devkitignore"}


def test_what_is_no_longer_ignored_is_synced_from_both_sides(pair: Pair) -> None:
    put(pair.local, **{".devkitignore": "*.log", "a.log": "1"})
    put(pair.remote, **{"b.log": "2"})
    pair.flush()
    put(pair.local, **{".devkitignore": "nothing"})
    pair.flush()
    assert tree(pair.local) == tree(pair.remote)
    assert {"a.log", "b.log"} <= set(tree(pair.local))


def test_a_file_that_becomes_ignored_is_deleted_nowhere(pair: Pair) -> None:
    put(pair.local, **{"a.log": "1"})
    pair.flush()
    put(pair.local, **{".devkitignore": "*.log"})
    pair.flush()
    put(pair.local, **{"a.log": "2"})
    pair.flush()
    pair.stop()
    pair.start()
    pair.flush()
    assert (pair.remote / "a.log").exists()
    assert (pair.local / "a.log").read_text() == "2"


def test_a_paused_sync_says_so_and_changes_nothing(pair: Pair) -> None:
    pair.loop.pause()
    put(pair.local, a="1")
    with pytest.raises(SyncHalted, match="paused"):
        pair.loop.flush(30)
    assert tree(pair.remote) == {}
    assert pair.loop.status().state == "paused"
    pair.loop.resume()
    pair.flush()
    assert tree(pair.remote).keys() == {"a"}


def test_a_large_file_holds_up_no_small_one(pair: Pair) -> None:
    (pair.local / "big").write_bytes(os.urandom(64 << 20))
    put(pair.local, small="s")
    pair.flush()
    order = [n.path for n in pair.news if n.kind == "changed"]
    assert order.index("small") < order.index("big")


def test_nobody_waits_for_a_loop_that_has_ended(pair: Pair) -> None:
    pair.stop()
    with pytest.raises(EngineError):
        pair.loop.flush()
    pair.start()


def test_a_new_stream_is_not_told_what_an_old_one_saw(pair: Pair) -> None:
    put(pair.local, a="1")
    pair.flush()
    (pair.remote / "a").unlink()
    pair.engine.streams[-1].kill()
    put(pair.remote, a="1")
    pair.flush()
    assert (pair.local / "a").exists()
    assert (pair.remote / "a").exists()


@pytest.mark.parametrize("mode", ["push", "pull"])
def test_one_way_leaves_alone_what_the_other_side_did(make: Make, mode: str) -> None:
    pair = make(mode=mode)
    giving, taking = (pair.local, pair.remote) if mode == "push" else (pair.remote, pair.local)
    put(giving, a="1", b="1")
    pair.flush()
    put(giving, a="2")
    put(taking, b="theirs", c="theirs")
    pair.flush()
    assert {p.name: p.read_text() for p in taking.iterdir() if p.is_file()} == {
        "a": "2",
        "b": "theirs",
        "c": "theirs",
    }
    assert {p.name for p in giving.iterdir() if p.is_file()} == {"a", "b"}


def test_a_mirror_makes_the_container_what_the_workspace_is(make: Make) -> None:
    pair = make(mode="mirror")
    put(pair.local, a="1")
    put(pair.remote, b="theirs")
    pair.flush()
    assert set(tree(pair.remote)) == {"a"}
    assert "theirs" in {path.read_text() for path in pair.trash.iterdir()}


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_a_mirror_keeps_what_only_the_container_had(tmp_path: Path, size: int) -> None:
    pair = Pair(tmp_path, mode="mirror")
    try:
        put(pair.local, a="mine")
        pair.flush()
        changed, new = "c" * size, "n" * size
        put(pair.remote, a=changed, only_there=new)
        pair.flush()
        assert tree(pair.remote) == tree(pair.local)
        assert (pair.remote / "a").read_text() == "mine"
        kept = {path.read_text() for path in pair.trash.iterdir()}
        assert {changed, new} <= kept
    finally:
        pair.stop()


LARGE = 1_500_000


@pytest.mark.parametrize("new", ["small", "large", "nothing", "a link"])
def test_a_large_file_that_is_replaced_in_the_container_can_be_undone(pair: Pair, new: str) -> None:
    old, place = "o" * LARGE, pair.local / "a"
    put(pair.local, a=old, b="b")
    pair.flush()
    pair.loop.pause()  # else the deletion may be a change of its own
    place.unlink()
    if new == "a link":
        place.symlink_to("b")
    elif new != "nothing":
        put(pair.local, a="n" * (5 if new == "small" else LARGE))
    pair.loop.resume()
    pair.flush()
    assert tree(pair.local) == tree(pair.remote)
    assert undone(pair) == ("a", "remote")
    pair.flush()
    assert place.read_text() == (pair.remote / "a").read_text() == old


def test_a_large_file_that_is_replaced_in_the_workspace_can_be_undone(pair: Pair) -> None:
    put(pair.local, a="o" * LARGE)
    pair.flush()
    pair.loop.pause()  # else it may be seen while it is written
    put(pair.remote, a="n" * LARGE)
    pair.loop.resume()
    pair.flush()
    assert undone(pair) == ("a", "local")
    pair.flush()
    assert (pair.remote / "a").read_text() == "o" * LARGE


def test_a_large_file_whose_old_content_is_brought_first_counts_as_one_deletion(
    pair: Pair,
) -> None:
    put(
        pair.local,
        **{chr(number): chr(number) * LARGE for number in range(ord("a"), ord("m"))},
        left="x",
    )
    pair.flush()
    pair.loop.pause()
    for path in pair.local.glob("?"):
        path.unlink()
    pair.loop.resume()
    pair.loop.flush(60)
    assert list(tree(pair.remote)) == ["left"]


def undone(pair: Pair) -> tuple[str, str]:
    """Take the last change back, as `devkit sync undo` does; its path, and the side it was on."""
    with Journal(pair.local) as journal:
        ignore = Ignore(pair.local)
        workspace = Workspace(
            pair.local, root=pair.local, placed={}, ignore=ignore, journal=journal
        )
        (last,) = undo.chosen(journal, "s", number=None, back_to=None)
        undo.undo(workspace, journal, [last])
    return last.path, last.side
