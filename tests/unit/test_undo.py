"""Changes taken back, from the journal's trash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from devkit import undo
from devkit.errors import BadValue
from devkit.sync.agent.side import FILE, FOLDER, Entry
from devkit.sync.ignore import Ignore
from devkit.sync.journal import Journal, Record
from devkit.sync.workspace import Workspace


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path) as journal:
        yield journal


@pytest.fixture
def workspace(tmp_path: Path, journal: Journal) -> Workspace:
    return Workspace(tmp_path, root=tmp_path, placed={}, ignore=Ignore(tmp_path), journal=journal)


def entry(text: str) -> Entry:
    return Entry(FILE, hashlib.sha256(text.encode()).hexdigest())


def changed(journal: Journal, path: str, old: str | None, new: str | None) -> None:
    """A change that the other side made, whose old content was kept."""
    if old is not None:
        journal.contents.keep(old.encode())
    before, after = (None if text is None else entry(text) for text in (old, new))
    journal.write("s", [("local", path, before, after, "")])


def taken_back(workspace: Workspace, journal: Journal, **which: int | None) -> list[Record]:
    found = undo.chosen(journal, "s", **{"number": None, "back_to": None, **which})
    undo.undo(workspace, journal, found)
    return found


def test_the_last_change_is_taken_back_and_then_the_one_before(
    tmp_path: Path, workspace: Workspace, journal: Journal
) -> None:
    (tmp_path / "a").write_text("three")
    changed(journal, "a", "one", "two")
    changed(journal, "a", "two", "three")
    taken_back(workspace, journal)
    assert (tmp_path / "a").read_text() == "two"
    taken_back(workspace, journal)
    assert (tmp_path / "a").read_text() == "one"
    with pytest.raises(BadValue, match="nothing to undo"):
        taken_back(workspace, journal)


def test_what_the_container_gets_back_by_an_undo_is_no_change_of_its_own(
    tmp_path: Path, workspace: Workspace, journal: Journal
) -> None:
    (tmp_path / "a").write_text("three")
    for old, new in (("one", "two"), ("two", "three")):
        journal.contents.keep(old.encode())
        journal.write("s", [("remote", "a", entry(old), entry(new), "")])
    for text, since in (("two", "three"), ("one", "two")):
        taken_back(workspace, journal)
        assert (tmp_path / "a").read_text() == text
        journal.contents.keep(since.encode())
        journal.write("s", [("remote", "a", entry(since), entry(text), "")])
    with pytest.raises(BadValue, match="nothing to undo"):
        taken_back(workspace, journal)


def test_a_file_that_was_copied_into_the_container_is_not_deleted_by_an_undo(
    tmp_path: Path, workspace: Workspace, journal: Journal
) -> None:
    (tmp_path / "devkit.yaml").write_text("mine")
    (tmp_path / "a").write_text("two")
    changed(journal, "a", "one", "two")
    journal.write("s", [("remote", "devkit.yaml", None, entry("mine"), "")])
    taken_back(workspace, journal, back_to=1)
    assert (tmp_path / "a").read_text() == "one"
    assert (tmp_path / "devkit.yaml").read_text() == "mine"


def test_a_folder_that_was_made_is_not_what_one_takes_back_by_itself(
    tmp_path: Path, workspace: Workspace, journal: Journal
) -> None:
    (tmp_path / "a").write_text("two")
    (tmp_path / "models").mkdir()
    changed(journal, "a", "one", "two")
    journal.write("s", [("remote", "models", None, Entry(FOLDER), "")])
    taken_back(workspace, journal)
    assert (tmp_path / "a").read_text() == "one"
    assert (tmp_path / "models").is_dir()


def test_all_since_a_change_are_taken_back_with_their_folder(
    tmp_path: Path, workspace: Workspace, journal: Journal
) -> None:
    changed(journal, "before", None, None)
    for number in range(3):
        changed(journal, f"many/{number}", f"{number}", None)
    journal.write("s", [("local", "many", Entry(FOLDER), None, "")])
    assert len(taken_back(workspace, journal, back_to=2)) == 4
    assert {path.name: path.read_text() for path in (tmp_path / "many").iterdir()} == {
        "0": "0",
        "1": "1",
        "2": "2",
    }


def test_where_one_of_them_has_changed_since_none_is_taken_back(
    tmp_path: Path, workspace: Workspace, journal: Journal
) -> None:
    (tmp_path / "a").write_text("mine")
    (tmp_path / "b").write_text("two")
    changed(journal, "a", "one", "two")
    changed(journal, "b", "one", "two")
    with pytest.raises(BadValue, match="a has changed since") as refused:
        taken_back(workspace, journal, back_to=1)
    assert "Its old content is" in (refused.value.hint or "")
    assert (tmp_path / "b").read_text() == "two"


def test_what_the_system_refuses_is_one_sentence(
    tmp_path: Path, workspace: Workspace, journal: Journal
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models/m.pkl").write_text("m")
    journal.write("s", [("remote", "models", None, Entry(FOLDER), "")])
    with pytest.raises(BadValue, match="models cannot be made as it was: Directory not empty"):
        taken_back(workspace, journal, number=1)


def test_a_digest_that_is_a_path_brings_no_other_file_into_the_workspace(
    tmp_path: Path, workspace: Workspace, journal: Journal
) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "a").write_text("two")
    for digest in (str(tmp_path / "secret"), "../../../secret", "A" * 64):
        journal.write("s", [("local", "a", Entry(FILE, digest), entry("two"), "")])
        with pytest.raises(BadValue, match="not kept any more"):
            taken_back(workspace, journal)
    assert (tmp_path / "a").read_text() == "two"


@pytest.mark.parametrize("is_link", [True, False])
def test_a_content_that_is_not_what_its_digest_says_is_not_kept_any_more(
    tmp_path: Path, workspace: Workspace, journal: Journal, is_link: bool
) -> None:
    (tmp_path / "a").write_text("two")
    (tmp_path / "other").write_text("one" if is_link else "other")
    changed(journal, "a", "one", "two")
    place = journal.contents.place(entry("one").digest)
    place.unlink()
    place.symlink_to(tmp_path / "other") if is_link else place.write_text("other")
    with Journal(tmp_path) as again, pytest.raises(BadValue, match="not kept any more"):
        taken_back(workspace, again)
    assert (tmp_path / "a").read_text() == "two"


def test_a_reason_that_names_no_change_undoes_none(
    tmp_path: Path, workspace: Workspace, journal: Journal
) -> None:
    (tmp_path / "a").write_text("two")
    journal.write("s", [("local", "b", None, Entry(FOLDER), "undo of x")])
    changed(journal, "a", "one", "two")
    taken_back(workspace, journal)
    assert (tmp_path / "a").read_text() == "one"


def test_a_change_that_is_not_there_is_named(workspace: Workspace, journal: Journal) -> None:
    with pytest.raises(BadValue, match="no change 7"):
        taken_back(workspace, journal, number=7)
