"""What was changed, and the old contents: kept within bounds."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import struct
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from devkit.errors import OwnFolderUnusable
from devkit.sync import contents
from devkit.sync import journal as module
from devkit.sync.agent.side import FILE, FOLDER, Entry
from devkit.sync.journal import Journal


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_change_can_be_looked_up_with_its_old_content(tmp_path: Path) -> None:
    old, new = Entry(FILE, digest(b"old"), True), Entry(FILE, digest(b"new"))
    with Journal(tmp_path) as journal:
        journal.contents.keep(b"old")
        journal.write(
            "s", [("remote", "a\udcff\n", old, new, ""), ("local", "d", None, Entry(FOLDER), "x")]
        )
    with Journal(tmp_path) as again:
        last, first = again.records()
        assert (first.path, first.old, first.new, first.side) == ("a\udcff\n", old, new, "remote")
        assert (last.why, last.old, last.new) == ("x", None, Entry(FOLDER))
        assert again.contents.place(old.digest).read_bytes() == b"old"
        assert again.record(first.id) == first
        assert again.record(99) is None
        assert again.records(service="other") == []
        assert again.records(most=1) == [last]
        assert "changed" in str(first)
        str(first).encode()


def test_a_file_that_is_taken_is_moved(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    folder = os.open(tmp_path, os.O_RDONLY)
    with Journal(tmp_path) as journal:
        journal.contents.take(folder, "a", digest(b"old"))
        assert not (tmp_path / "a").exists()
        assert journal.contents.place(digest(b"old")).read_bytes() == b"old"
        (tmp_path / "b").write_bytes(b"old")
        journal.contents.take(folder, "b", digest(b"old"))
        assert not (tmp_path / "b").exists()
    os.close(folder)


def test_a_file_of_another_file_system_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Path("/dev/shm") / f"devkit-test-{os.getpid()}"
    other.write_bytes(b"old")
    folder = os.open("/dev/shm", os.O_RDONLY)
    try:
        with Journal(tmp_path) as journal:
            journal.contents.take(folder, other.name, digest(b"old"))
            assert journal.contents.place(digest(b"old")).read_bytes() == b"old"
            assert [path.name for path in (tmp_path / ".devkit/trash/contents").iterdir()] == [
                digest(b"old")
            ]
        assert not other.exists()
    finally:
        other.unlink(missing_ok=True)
        os.close(folder)


def test_the_oldest_contents_go_first_and_the_newest_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "MOST_BYTES", 25)
    now = time.time()
    with Journal(tmp_path) as journal:
        for age, content in enumerate([b"3" * 10, b"2" * 10, b"1" * 10, b"0" * 10]):
            journal.contents.keep(content)
            os.utime(journal.contents.place(digest(content)), (now - 10 + age, now - 10 + age))
        journal.prune(now=now)
        kept = [c for c in (b"3", b"2", b"1", b"0") if journal.contents.holds(digest(c * 10))]
        assert kept == [b"1", b"0"]
        journal.contents.keep(b"x" * 100)
        journal.prune(now=now + 1)
        assert journal.contents.place(digest(b"x" * 100)).exists()


def test_what_is_too_old_goes(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.contents.keep(b"old")
        journal.write("s", [("local", "a", None, Entry(FOLDER), "")])
        journal.prune(now=time.time() + module.MOST_AGE_S + 10)
        assert not journal.contents.place(digest(b"old")).exists()
        assert journal.records() == []


def test_it_prunes_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "MOST_BYTES", 1)
    with Journal(tmp_path) as journal:
        for number in range(3):
            journal.contents.keep(b"content %d" % number)
        rows = [("local", f"{n}", None, Entry(FOLDER), "") for n in range(200)]
        journal.write("s", rows)  # type: ignore[arg-type]
        assert len(list((tmp_path / ".devkit/trash/contents").iterdir())) == 1


def test_it_prunes_by_itself_after_few_large_contents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "MOST_BYTES", 100)
    monkeypatch.setattr(module, "_PRUNE_EVERY_BYTES", 10)
    with Journal(tmp_path) as journal:
        coming = journal.contents.stage("a")
        for number in range(5):
            staged = journal.contents.stage("a")
            staged.add(b"%d" % number * 60)
            journal.contents.commit(staged, "a", None, executable=False)
            staged.close()
            journal.write("s", [("local", "a", None, Entry(FOLDER), "")])
        coming.add(b"coming")
        entry = journal.contents.commit(coming, "a", None, executable=False)
        coming.close()
        kept = {path.name for path in (tmp_path / ".devkit/trash/contents").iterdir()}
        assert kept == {digest(b"4" * 60), entry.digest}


def test_a_link_in_place_of_the_trash_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".devkit").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="link"):
        Journal(tmp_path)


def test_who_only_reads_makes_nothing(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        assert journal.records() == []
        assert journal.record(1) is None
        assert not journal.contents.has(digest(b"old"))
    assert list(tmp_path.iterdir()) == []


ROW = {
    "time": 1.0,
    "service": "s",
    "side": "local",
    "path": b"bad",
    "old_kind": None,
    "old_digest": None,
    "old_executable": None,
    "new_kind": FOLDER,
    "new_digest": b"",
    "new_executable": 0,
    "why": "",
}


@pytest.mark.parametrize(
    "odd",
    [
        *({"time": time} for time in ("x", 1e300, float("inf"), None, b"1")),
        *({"path": path} for path in (None, 5, b"", b"../x", b"/x", b"a//b", b"a\0b", b"d/..")),
        *({"path": path} for path in (b".git/hooks/post-commit", b".devkit/x")),
        *({"new_digest": digest} for digest in (5, 1.5, b"a\0")),
        *({"new_kind": kind} for kind in ("x", 5, b"file", None)),
        *({"side": side} for side in ("x", None, b"local")),
        *({"why": why} for why in (None, b"undo of 1")),
    ],
)
def test_a_row_that_devkit_never_wrote_is_left_out(tmp_path: Path, odd: dict[str, object]) -> None:
    with Journal(tmp_path) as journal:
        journal.write("s", [("local", "good", None, Entry(FOLDER), "")])
    row = {**ROW, **odd}
    with closing(sqlite3.connect(tmp_path / ".devkit/trash/journal.db")) as database, database:
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        database.execute(f"INSERT INTO changes ({names}) VALUES ({marks})", list(row.values()))
    with Journal(tmp_path) as journal:
        assert [record.path for record in journal.records(service="s", most=1)] == ["good"]
        assert journal.record(2) is None


def test_a_text_that_is_none_does_not_hide_the_other_rows(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.write("s", [("local", path, None, Entry(FOLDER), "") for path in ("a", "b")])
    with closing(sqlite3.connect(tmp_path / ".devkit/trash/journal.db")) as database, database:
        bad = "UPDATE changes SET why = CAST(x'ff' AS TEXT) WHERE path = ?"
        database.execute(bad, (b"a",))
    with Journal(tmp_path) as journal:
        assert "b" in [record.path for record in journal.records()]


@pytest.mark.parametrize(
    "script",
    [
        "CREATE TABLE changes (id INTEGER PRIMARY KEY, what TEXT)",
        "CREATE VIEW changes AS SELECT 1 AS id",
        f"{module._TABLE} CREATE TRIGGER t AFTER INSERT ON changes BEGIN DELETE FROM changes; END",
    ],
)
def test_a_list_of_another_shape_is_begun_anew(tmp_path: Path, script: str) -> None:
    path = tmp_path / ".devkit/trash/journal.db"
    path.parent.mkdir(parents=True)
    with closing(sqlite3.connect(path)) as database:
        database.executescript(script)
    with Journal(tmp_path) as journal:
        assert journal.records() == []
        journal.write("s", [("local", "a", None, Entry(FOLDER), "")])
        assert len(journal.records()) == 1
    assert len(list(path.parent.glob("journal.db.broken-*"))) == 1


def test_a_rollback_journal_that_names_a_file_does_not_remove_it(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.write("s", [("local", "a", None, Entry(FOLDER), "")])
    path, victim = tmp_path / ".devkit/trash/journal.db", tmp_path / "victim"
    victim.write_text("mine")
    magic, name, page = bytes.fromhex("d9d505f920a163d7"), os.fsencode(victim), 4096
    header = magic + struct.pack(">5I", 0, 0, path.stat().st_size // page, 512, page)
    named = struct.pack(">I", 0x40000000 // page + 1) + name
    named += struct.pack(">2I", len(name), sum(name)) + magic
    path.with_name("journal.db-journal").write_bytes(header.ljust(512, b"\0") + named)
    with Journal(tmp_path) as journal, pytest.raises(OwnFolderUnusable, match="names a file"):
        journal.records()
    assert victim.read_text() == "mine"


def test_a_content_in_the_place_of_another_is_not_taken_for_it(tmp_path: Path) -> None:
    place = tmp_path / ".devkit/trash/contents" / digest(b"old")
    place.parent.mkdir(parents=True)
    place.write_bytes(b"other")
    with Journal(tmp_path) as journal:
        assert journal.contents.content(digest(b"old")) is None
        journal.contents.keep(b"old")
        assert journal.contents.content(digest(b"old")) == b"old"


def test_nothing_is_left_of_a_content_that_could_not_be_kept(
    tmp_path: Path, fill_disk: Callable[[], None]
) -> None:
    fill_disk()
    with Journal(tmp_path) as journal, pytest.raises(OwnFolderUnusable, match="No space left"):
        journal.contents.keep(b"old")
    assert list((tmp_path / ".devkit/trash/contents").iterdir()) == []


def test_a_broken_list_of_changes_is_set_aside_and_the_contents_stay(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.contents.keep(b"old")
        kept = list(journal.contents.place("").iterdir())
    path = tmp_path / ".devkit" / "trash" / "journal.db"
    path.write_bytes(b"no database" * 500)
    with Journal(tmp_path) as journal:
        assert journal.records() == []
        assert list(journal.contents.place("").iterdir()) == kept
    assert [p.read_bytes()[:11] for p in path.parent.glob("journal.db.broken-*")] == [
        b"no database"
    ]
