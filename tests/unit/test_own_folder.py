"""The workspace's .devkit, which a workspace may bring along: no link in it is followed."""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from devkit import own_folder, turn
from devkit.errors import ConfigError, OwnFolderUnusable
from devkit.sync import control
from devkit.sync.agent.side import FOLDER, Entry
from devkit.sync.ancestor import Ancestor
from devkit.sync.journal import Journal

ID = "c" * 16


def locked(root: Path) -> None:
    with control.only_one(root, "s"):
        pass


def controlled(root: Path) -> None:
    with control.Control(root, "s", ID):
        pass


def noted(root: Path) -> None:
    with Journal(root) as journal:
        journal.write("s", [("local", "a", None, Entry(FOLDER), "")])


def agreed(root: Path) -> None:
    with Ancestor.of(root, ID) as ancestor:
        ancestor.agree({"a": Entry(FOLDER)})


def kept(root: Path) -> None:
    with Journal(root) as journal:
        journal.contents.keep(b"old")


FILES: dict[str, Callable[[Path], object]] = {
    "sync/s.log": lambda root: control.log_path(root, "s"),
    "sync/s.lock": locked,
    "sync/s.json": controlled,
    f"sync/{ID}.db": agreed,
    f"sync/{ID}.db-journal": agreed,
    "trash/journal.db": noted,
    "trash/journal.db-journal": noted,
    "trash/journal.db-wal": noted,
    "trash/contents": kept,
    "trash": kept,
    "sync": locked,
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("is_there", [True, False])
def test_a_link_is_refused_and_what_it_leads_to_is_left_alone(
    tmp_path: Path, name: str, is_there: bool
) -> None:
    root, victim = tmp_path / "root", tmp_path / "victim"
    link = root / ".devkit" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(victim)
    if is_there:
        victim.write_text("mine")
    with pytest.raises(OwnFolderUnusable) as refused:
        FILES[name](root)
    assert str(link) in str(refused.value)
    assert f"rm -r {link}" in (refused.value.hint or "")
    assert (victim.read_text() if victim.exists() else None) == ("mine" if is_there else None)
    assert link.is_symlink()


def test_a_lock_for_a_start_is_done_without_where_a_link_is(tmp_path: Path) -> None:
    root, victim = tmp_path / "root", tmp_path / "victim"
    (root / ".devkit").mkdir(parents=True)
    (root / ".devkit/starting").symlink_to(victim)
    with turn.taken(root, "s"):
        assert not victim.exists()


def test_a_socket_that_a_workspace_names_is_not_spoken_to(tmp_path: Path) -> None:
    with (
        closing(socket.socket(socket.AF_UNIX)) as listener,
        control.only_one(tmp_path, "s"),
        control.Control(tmp_path, "s", ID),
    ):
        listener.bind(str(tmp_path / "elsewhere"))
        listener.listen()
        state = tmp_path / ".devkit/sync/s.json"
        said = json.loads(state.read_text())
        found = control.Running.find(tmp_path, "s")
        assert found is not None
        found.close()
        state.write_text(json.dumps({**said, "address": str(tmp_path / "elsewhere")}))
        assert control.Running.find(tmp_path, "s") is None
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.parametrize("place", [".devkit", ".devkit/sync"])
def test_a_file_in_place_of_a_folder_is_a_sentence_and_a_hint(tmp_path: Path, place: str) -> None:
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text("a file")
    with pytest.raises(ConfigError) as refused:
        own_folder.own_folder(tmp_path, "sync")
    assert str(refused.value) == f"{tmp_path / place} cannot be used: Not a directory."
    assert f"rm -r {tmp_path / place}" in (refused.value.hint or "")
    assert refused.value.code == "OwnFolderUnusable"


def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".devkit/sync/s.lock").mkdir(parents=True)
    with pytest.raises(OwnFolderUnusable, match=r"s\.lock cannot be used: Is a directory"):
        locked(tmp_path)


@pytest.mark.parametrize(
    ("number", "hint", "is_only_read"),
    [
        (errno.ENOSPC, "Make room", False),
        (errno.EROFS, "ls -ld", True),
        (errno.EACCES, "ls -ld", True),
    ],
)
def test_what_to_do_depends_on_why_it_is_refused(
    number: int, hint: str, is_only_read: bool
) -> None:
    place = Path("/w/.devkit")
    with pytest.raises(OwnFolderUnusable) as refused, own_folder.usable(place):
        raise OSError(number, os.strerror(number))
    assert str(refused.value) == f"/w/.devkit cannot be used: {os.strerror(number)}."
    assert hint in (refused.value.hint or "")
    assert (refused.value.errno, refused.value.is_only_read) == (number, is_only_read)


def test_nothing_is_left_of_a_file_that_could_not_be_written(
    tmp_path: Path, fill_disk: Callable[[], None]
) -> None:
    fill_disk()
    with pytest.raises(OwnFolderUnusable, match="No space left"):
        own_folder.stored(tmp_path / "s.json", b"{}")
    assert list(tmp_path.iterdir()) == []
