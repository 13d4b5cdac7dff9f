"""What both sides had, on disk: it outlives the process, and what is broken is begun anew."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from devkit.sync.agent.side import FILE, FOLDER, LINK, Entry
from devkit.sync.ancestor import Ancestor

ENTRIES: dict[str, Entry | None] = {
    "a": Entry(FILE, "d" * 64, True),
    "d": Entry(FOLDER),
    "d/\udcff\n\u00e9": Entry(LINK, "\udcfe"),
}


def test_what_was_agreed_is_there_again(tmp_path: Path) -> None:
    with Ancestor.of(tmp_path, "one") as ancestor:
        assert ancestor.is_empty
        ancestor.agree(ENTRIES)
        ancestor.agree({"a": None, "nothing": None})
    with Ancestor.of(tmp_path, "one") as again:
        assert again.entries == {path: ENTRIES[path] for path in ("d", "d/\udcff\n\u00e9")}


def test_another_container_has_agreed_about_nothing(tmp_path: Path) -> None:
    with Ancestor.of(tmp_path, "1" * 64) as ancestor:
        ancestor.agree(ENTRIES)
    with Ancestor.of(tmp_path, "2" * 64) as other:
        assert other.is_empty


def test_what_is_forgotten_is_forgotten_on_disk_too(tmp_path: Path) -> None:
    with Ancestor.of(tmp_path, "one") as ancestor:
        ancestor.agree(ENTRIES)
        ancestor.forget(["a"])
        assert "a" not in ancestor.entries
        ancestor.forget()
    with Ancestor.of(tmp_path, "one") as again:
        assert again.is_empty


@pytest.mark.parametrize("damage", ["garbage", "empty", "cut", "another version", "scribbled"])
def test_a_file_that_is_broken_is_begun_anew(tmp_path: Path, damage: str) -> None:
    with Ancestor.of(tmp_path, "one") as ancestor:
        ancestor.agree({f"{number}": Entry(FILE, "d" * 64) for number in range(500)})
    (path,) = (tmp_path / ".devkit" / "sync").glob("*.db")
    if damage == "garbage":
        path.write_bytes(os.urandom(5000))
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:9000])
    elif damage == "scribbled":
        content = path.read_bytes()
        path.write_bytes(content[:4096] + os.urandom(len(content) - 4096))
    else:
        with sqlite3.connect(path) as database:
            database.execute("PRAGMA user_version = 99")
        database.close()
    with Ancestor.of(tmp_path, "one") as again:
        assert again.is_empty
        again.agree(ENTRIES)
    with Ancestor.of(tmp_path, "one") as third:
        assert third.entries == ENTRIES


def test_a_process_that_is_killed_leaves_what_it_agreed_and_no_half(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from devkit.sync.agent.side import Entry
from devkit.sync.ancestor import Ancestor
ancestor = Ancestor.of(Path(sys.argv[1]), "one")
number = 0
while True:
    ancestor.agree({f"{number}/{part}": Entry("file", "d" * 64) for part in range(50)})
    print(number, flush=True)
    number += 1
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(5)]
        process.send_signal(signal.SIGKILL)
        said += process.stdout.readlines()
    sure = int([line for line in said if line.endswith("\n")][-1])
    with Ancestor.of(tmp_path, "one") as ancestor:
        batches = {int(path.partition("/")[0]) for path in ancestor.entries}
        assert len(ancestor.entries) == 50 * len(batches)
        assert set(range(sure + 1)) <= batches


def test_digests_are_kept_for_each_side(tmp_path: Path) -> None:
    known = {"a\udcff": b"a" * 72, "b": b"b" * 72}
    with Ancestor.of(tmp_path, "one") as ancestor:
        ancestor.keep("local", known)
        ancestor.keep("remote", {})
    with Ancestor.of(tmp_path, "one") as again:
        assert again.known("local") == known
        assert again.known("remote") == {}
        known = {"b": b"B" * 72, "c": b"c" * 72}
        again.keep("local", known)
        assert again.known("local") == known
        again.keep("local", known)
        assert again.known("local") == known


def test_those_of_containers_long_gone_are_removed(tmp_path: Path) -> None:
    for number in range(12):
        with Ancestor.of(tmp_path, f"{number:016}") as ancestor:
            ancestor.make()
    assert len(list((tmp_path / ".devkit" / "sync").glob("*.db"))) == 8


def test_a_database_that_cannot_be_opened_is_an_os_error(tmp_path: Path) -> None:
    with Ancestor.of(tmp_path, "one") as ancestor:
        ancestor.make()
        ancestor.close()
        with pytest.raises(OSError, match="cannot be stored"):
            ancestor.agree(ENTRIES)


def test_who_only_reads_makes_nothing(tmp_path: Path) -> None:
    with Ancestor.of(tmp_path, "one") as ancestor:
        assert ancestor.is_empty
        assert ancestor.meeting == ""
        assert ancestor.known("local") == {}
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_the_disk_had_no_room_for_is_read_as_none(tmp_path: Path) -> None:
    path = Ancestor.path(tmp_path, "one")
    path.parent.mkdir(parents=True)
    path.touch()
    with Ancestor.of(tmp_path, "one") as ancestor:
        assert ancestor.is_empty
    assert path.stat().st_size == 0
