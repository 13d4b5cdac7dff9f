"""Both sides change the same: nothing is lost, and the user is told."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.syncing import Synced, synced

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def module(base_image: str) -> Iterator[Synced]:
    with synced("conflicts", base_image) as made:
        yield made


@pytest.fixture
def service(module: Synced) -> Synced:
    module.cleared()
    return module


def _texts(service: Synced) -> set[str]:
    files = (path for path in service.folder.iterdir() if path.is_file())
    return {path.read_text() for path in files}


def _paused(service: Synced, here: str | None, there: str, path: str = "score.py") -> None:
    """Change a file on both sides before either can hear of the other."""
    service.ask("pause")
    if here is None:
        (service.folder / path).unlink()
    else:
        service.write(path, here)
    service.inside(there)
    service.ask("resume")


def test_different_edits_of_a_file_are_both_kept_and_named(service: Synced) -> None:
    with service.news() as news:
        _paused(service, "# here\n", "echo '# there' > score.py")
        while (told := next(news))["event"] != "conflict":
            pass
    assert told["path"] == "score.py"
    assert "`mv score.py.conflict-container-" in told["text"]
    tree = service.in_step()
    (copy,) = [path for path in tree if path.startswith("score.py.conflict-container-")]
    assert service.folder.joinpath("score.py").read_text() == "# here\n"
    assert service.folder.joinpath(copy).read_text() == "# there\n"
    assert service.json("sync", "status")["conflicts"] == {"score.py": copy}
    assert f"conflict    score.py: {copy}" in service.devkit("sync", "status").stdout
    (service.folder / copy).replace(service.folder / "score.py")
    service.in_step()
    assert service.read_inside("score.py") == "# there\n"


def test_the_same_edit_on_both_sides_is_no_conflict(service: Synced) -> None:
    _paused(service, "# same\n", "echo '# same' > score.py")
    assert set(service.in_step()) == {"score.py", "helper.py"}
    assert service.flush()["conflicts"] == {}


def test_a_run_bit_and_a_content_changed_apart_are_both_taken(service: Synced) -> None:
    _paused(service, "# here\n", "chmod 755 score.py")
    assert service.in_step()["score.py"][2] is True
    assert service.read_inside("score.py") == "# here\n"
    assert service.flush()["conflicts"] == {}


def test_an_edit_in_the_container_beats_a_deletion_in_the_workspace(service: Synced) -> None:
    service.write("file.txt", "old\n")
    service.in_step()
    _paused(service, None, "echo edited > file.txt", "file.txt")
    service.in_step()
    assert (service.folder / "file.txt").read_text() == "edited\n"


def test_an_edit_in_the_workspace_beats_a_deletion_in_the_container(service: Synced) -> None:
    service.write("file.txt", "old\n")
    service.in_step()
    _paused(service, "edited\n", "rm file.txt", "file.txt")
    service.in_step()
    assert service.read_inside("file.txt") == "edited\n"


def test_the_same_name_made_on_both_sides_keeps_both(service: Synced) -> None:
    _paused(service, "here\n", "echo there > new.txt", "new.txt")
    service.in_step()
    assert {"here\n", "there\n"} <= _texts(service)
    assert list(service.flush()["conflicts"]) == ["new.txt"]


def test_large_files_changed_on_both_sides_keep_both(service: Synced) -> None:
    service.write("large.bin", b"a" * 20_000_000)
    service.in_step()
    service.ask("pause")
    service.write("large.bin", b"b" * 20_000_000)
    service.inside("head -c 20000000 /dev/zero > large.bin")
    service.ask("resume")
    tree = service.in_step()
    (copy,) = [path for path in tree if path.startswith("large.bin.conflict-container-")]
    assert (service.folder / "large.bin").read_bytes()[:1] == b"b"
    assert (service.folder / copy).read_bytes()[:1] == b"\0"
    assert (service.folder / copy).stat().st_size == 20_000_000


def test_a_new_file_keeps_a_folder_that_the_other_side_deleted(service: Synced) -> None:
    for name in ("a", "b"):
        service.write(f"{name}/old.txt", "old\n")
    service.in_step()
    service.ask("pause")
    shutil.rmtree(service.folder / "a")
    service.inside("echo new > a/new.txt; rm -r b")
    service.write("b/new.txt", "new\n")
    service.ask("resume")
    tree = service.in_step()
    assert {path for path in tree if "/" in path} == {"a/new.txt", "b/new.txt"}


def test_a_file_here_and_a_folder_there_are_both_kept(service: Synced) -> None:
    _paused(service, "a file\n", "mkdir thing && echo inner > thing/inner.txt", "thing")
    tree = service.in_step()
    assert (service.folder / "thing").read_text() == "a file\n"
    (inner,) = [path for path in tree if path.endswith("/inner.txt")]
    assert inner.startswith("thing.conflict-container-")


def test_a_folder_here_and_a_file_there_are_both_kept(service: Synced) -> None:
    _paused(service, "inner\n", "echo a file > thing", "thing/inner.txt")
    tree = service.in_step()
    assert (service.folder / "thing/inner.txt").read_text() == "inner\n"
    (copy,) = [path for path in tree if path.startswith("thing.conflict-container-")]
    assert (service.folder / copy).read_text() == "a file\n"


def test_a_folder_edited_there_and_replaced_by_a_file_here_keeps_both(service: Synced) -> None:
    service.write("thing/inner.txt", "old\n")
    service.in_step()
    service.ask("pause")
    shutil.rmtree(service.folder / "thing")
    service.write("thing", "a file\n")
    service.inside("echo edited > thing/inner.txt")
    service.ask("resume")
    tree = service.in_step()
    assert (service.folder / "thing").read_text() == "a file\n"
    (inner,) = [path for path in tree if path.endswith("/inner.txt")]
    assert (service.folder / inner).read_text() == "edited\n"


def test_links_to_different_targets_are_both_kept(service: Synced) -> None:
    (service.folder / "link").symlink_to("score.py")
    service.in_step()
    service.ask("pause")
    (service.folder / "link").unlink()
    (service.folder / "link").symlink_to("here")
    service.inside("ln -sfn there link")
    service.ask("resume")
    service.in_step()
    links = {str(path.readlink()) for path in service.folder.iterdir() if path.is_symlink()}
    assert links == {"here", "there"}


def test_edits_of_both_sides_at_the_same_time_lose_nothing(service: Synced) -> None:
    for number in range(20):
        service.write("score.py", f"here {number}\n")
        service.inside(f"echo there {number} > score.py")
    service.in_step()
    kept = _texts(service)
    trash = service.folder / ".devkit" / "trash" / "contents"
    kept |= {path.read_text() for path in trash.iterdir()}
    # What the same side wrote over before anybody saw it is that side's own doing.
    assert {"here 19\n", "there 19\n"} <= kept


def test_what_was_replaced_is_in_the_log_and_comes_back(service: Synced) -> None:
    before = (service.folder / "score.py").read_text()
    service.inside("echo replaced > score.py")
    service.in_step()
    newest = service.json("sync", "log")["changes"][0]
    assert (newest["path"], newest["side"]) == ("score.py", "local")
    assert service.json("sync", "undo", str(newest["id"]))["undone"][0]["path"] == "score.py"
    assert (service.folder / "score.py").read_text() == before
    service.in_step()
    assert service.read_inside("score.py") == before


def test_what_was_deleted_comes_back_with_undo(service: Synced) -> None:
    service.write("folder/file.txt", "precious\n")
    service.in_step()
    service.inside("rm -r folder")
    service.in_step()
    assert not (service.folder / "folder").exists()
    changes = service.json("sync", "log")["changes"]
    number = next(change["id"] for change in changes if change["path"] == "folder/file.txt")
    assert service.json("sync", "undo", str(number))["ok"]
    service.in_step()
    assert service.read_inside("folder/file.txt") == "precious\n"
    refused = service.json("sync", "undo", str(number))["error"]
    assert refused["code"] == "BadValue"
    assert service.json("sync", "undo", "99999")["error"]["code"] == "BadValue"
