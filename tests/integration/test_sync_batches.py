"""Many changes at once: branches, copies, moves, and large files with small ones beside them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.syncing import Synced, synced

pytestmark = pytest.mark.engine

FILES, REMOVED = 1000, 30
MEGA = 1 << 20
# Does what git does with a branch: removes a name and makes it again.
CHECKOUT = f"""
import os
for number in range({FILES}):
    path = "many/f%d.py" % number
    os.unlink(path)
    if number >= {REMOVED}:
        with open(path, "w") as file:
            file.write("VALUE = 'inside %d'\\n" % number)
with open("helper.py", "w") as file:
    file.write("WORD = 'inside'\\n")
"""


@pytest.fixture(scope="module")
def module(base_image: str) -> Iterator[Synced]:
    with synced("batches", base_image) as made:
        yield made


@pytest.fixture
def service(module: Synced) -> Synced:
    module.cleared()
    return module


def _git(folder: Path, *words: str) -> None:
    who = ["-c", "user.name=t", "-c", "user.email=t@t"]
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


def _many(service: Synced, word: str, first: int = 0) -> None:
    for number in range(first, FILES):
        service.write(f"many/f{number}.py", f"VALUE = '{word} {number}'\n")
    service.write("helper.py", f"WORD = '{word}'\n")


def test_a_branch_switch_on_the_host_arrives_whole_and_reloads_once(service: Synced) -> None:
    folder = service.folder
    _many(service, "main")
    _git(folder, "init", "-q", "-b", "main")
    _git(folder, "add", "many", "helper.py", "score.py")
    _git(folder, "commit", "-qm", "main")
    _git(folder, "checkout", "-q", "-b", "other")
    shutil.rmtree(folder / "many")
    _many(service, "other", REMOVED)
    _git(folder, "commit", "-qam", "other")
    service.in_step()
    before = service.generation()
    for branch, files in (("main", FILES), ("other", FILES - REMOVED)):
        _git(folder, "checkout", "-q", branch)
        tree = service.in_step()
        assert len([path for path in tree if path.startswith("many/")]) == files
        assert service.read_inside("helper.py") == f"WORD = '{branch}'\n"
        assert service.read_inside("many/f500.py") == f"VALUE = '{branch} 500'\n"
        after = service.generation()
        assert after == before + 1
        before = after


def test_a_branch_switch_in_the_container_arrives_whole_and_reloads_once(service: Synced) -> None:
    _many(service, "main")
    service.in_step()
    before = service.generation()
    service.python(CHECKOUT)
    tree = service.in_step()
    assert len([path for path in tree if path.startswith("many/")]) == FILES - REMOVED
    assert (service.folder / "many/f500.py").read_text() == "VALUE = 'inside 500'\n"
    assert not (service.folder / "many/f0.py").exists()
    assert service.generation() == before + 1


def test_files_in_folders_made_a_moment_ago_all_arrive(service: Synced) -> None:
    for number in range(100):
        service.write(f"new{number}/a/b/file.txt", f"here {number}\n")
    loop = "for n in $(seq 100); do mkdir -p in$n/a/b && echo there $n > in$n/a/b/f.txt; done"
    service.inside(loop)
    tree = service.in_step()
    assert len([path for path in tree if path.endswith(".txt")]) == 200


def test_a_copied_tree_arrives_from_either_side(service: Synced) -> None:
    for number in range(500):
        service.write(f"tree/d{number % 25}/e{number % 5}/f{number}.txt", f"{number}\n")
    service.in_step()
    shutil.copytree(service.folder / "tree", service.folder / "copy here")
    service.in_step()
    service.inside("cp -r tree 'copy there'")
    tree = service.in_step()
    assert len([path for path in tree if path.endswith(".txt")]) == 1500


def test_a_renamed_folder_is_renamed_on_the_other_side(service: Synced) -> None:
    for number in range(50):
        service.write(f"old/d{number % 5}/f{number}.txt", f"{number}\n")
    service.write("old/empty/x", "")
    (service.folder / "old/empty/x").unlink()
    service.in_step()
    (service.folder / "old").rename(service.folder / "new")
    with_new = service.in_step()
    assert {path.partition("/")[0] for path in with_new} == {"new", "score.py", "helper.py"}
    service.inside("mv new newer")
    renamed = service.in_step()
    assert {path.partition("/")[0] for path in renamed} == {"newer", "score.py", "helper.py"}
    assert len(renamed) == len(with_new)


def test_an_edit_after_a_move_out_of_the_tree_is_not_held_up(service: Synced) -> None:
    away = service.folder.parent / "away.txt"
    for number in range(5):
        service.write("moved.txt", f"{number}\n")
        service.in_step()
        with service.news() as news:
            (service.folder / "moved.txt").rename(away)
            service.write("score.py", f"# {number}\n")
            told = next(news)
        # Held up with the move, it would come after the deletion, which is held for 60 ms.
        assert (told["path"], told["side"]) == ("score.py", "container")
        assert "moved.txt" not in service.in_step()


def test_a_folder_moved_out_and_in_again_is_the_same(service: Synced) -> None:
    service.write("kept/a.txt", "a\n")
    service.write("kept/b/c.txt", "c\n")
    before = service.in_step()
    away = service.folder.parent / "kept"
    (service.folder / "kept").rename(away)
    away.rename(service.folder / "kept")
    assert service.in_step() == before


def test_small_edits_arrive_before_a_large_file(service: Synced) -> None:
    service.write("large.bin", os.urandom(MEGA) * 200)
    with service.news() as news:
        for number in range(20):
            service.write(f"small{number}.txt", f"{number}\n")
            while (told := next(news))["path"] != f"small{number}.txt":
                assert told["path"] != "large.bin", f"it passed small{number}.txt"
    assert "large.bin" in service.in_step()


def test_small_edits_arrive_before_a_large_file_of_the_container(service: Synced) -> None:
    service.inside("head -c 200M /dev/urandom > large.bin; echo end > made.txt")
    with service.saver() as save, service.news() as news:
        for number in range(20):
            save(f"small{number}.txt", f"{number}\n")
            service.write(f"here{number}.txt", f"{number}\n")
            missing = {f"small{number}.txt", f"here{number}.txt"}
            while missing:
                path = next(news)["path"]
                assert path != "large.bin", f"it passed {missing}"
                missing.discard(path)
    assert "large.bin" in service.in_step()


def test_a_large_file_replaced_on_its_way_arrives_as_it_is_in_the_end(service: Synced) -> None:
    service.write("large.bin", os.urandom(MEGA) * 100)
    with service.sync() as sync:
        while not sync.ask("status")["pending"]:
            pass
    service.write("new.bin", b"replaced" * MEGA * 3)
    (service.folder / "new.bin").replace(service.folder / "large.bin")
    service.in_step()
    assert service.inside("head -c 8 large.bin") == b"replaced"


def test_a_file_that_grows_while_it_is_read_arrives_as_it_is_in_the_end(service: Synced) -> None:
    grow = "for n in $(seq 200); do head -c 200000 /dev/zero; echo $n; done > grown.bin"
    service.inside(grow)
    service.in_step()
    assert (service.folder / "grown.bin").read_bytes().endswith(b"\x00" + b"200\n")


def test_empty_and_sparse_files_arrive(service: Synced) -> None:
    service.write("empty", "")
    with (service.folder / "sparse").open("wb") as file:
        file.truncate(50 * MEGA)
    service.inside("touch empty-there; truncate -s 50M sparse-there")
    tree = service.in_step()
    assert {"empty", "empty-there", "sparse", "sparse-there"} <= set(tree)
