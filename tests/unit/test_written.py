"""The record of what devkit wrote into containers."""

from __future__ import annotations

from pathlib import Path

from devkit import contract, written
from devkit.sync.agent.side import FILE, Entry
from devkit.sync.ancestor import Ancestor

A, B = contract.APP_ROOT / "a", contract.APP_ROOT / "b"
ONE, TWO = Entry(FILE, "1"), Entry(FILE, "2")


def test_the_last_content_counts_and_each_container_has_its_own(tmp_path: Path) -> None:
    written.remember(tmp_path, "one", {A: ONE, B: ONE})
    written.remember(tmp_path, "two", {A: TWO})
    written.remember(tmp_path, "one", {A: TWO})
    assert written.digests(tmp_path, "one") == {str(A): "2", str(B): "1"}
    assert written.digests(tmp_path, "two") == {str(A): "2"}
    assert written.digests(tmp_path, "three") == {}


def test_a_record_that_cannot_be_read_or_stored_is_no_error(tmp_path: Path) -> None:
    written.remember(tmp_path, "one", {A: ONE})
    Ancestor.path(tmp_path, "one").write_bytes(b"no database" * 100)
    assert written.digests(tmp_path, "one") == {}
    written.remember(tmp_path / "nowhere", "one", {A: ONE})
    assert not (tmp_path / "nowhere").exists()


def test_the_folder_ignores_itself(tmp_path: Path) -> None:
    written.remember(tmp_path, "one", {A: ONE})
    assert (tmp_path / ".devkit" / ".gitignore").read_text() == "*\n"
