"""The record of what devkit wrote into containers."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from devkit import written


def test_the_last_content_counts_and_each_container_has_its_own(tmp_path: Path) -> None:
    written.remember(tmp_path, "one", {PurePosixPath("/a"): "1", PurePosixPath("/b"): "1"})
    written.remember(tmp_path, "two", {PurePosixPath("/a"): "9"})
    written.remember(tmp_path, "one", {PurePosixPath("/a"): "2"})
    assert written.digests(tmp_path, "one") == {"/a": "2", "/b": "1"}
    assert written.digests(tmp_path, "two") == {"/a": "9"}
    assert written.digests(tmp_path, "three") == {}


def test_containers_that_nobody_wrote_to_for_long_drop_out(tmp_path: Path) -> None:
    for number in range(20):
        written.remember(tmp_path, str(number), {PurePosixPath("/a"): "1"})
    assert written.digests(tmp_path, "0") == {}
    assert written.digests(tmp_path, "19") == {"/a": "1"}


def test_a_record_that_cannot_be_read_or_stored_is_no_error(tmp_path: Path) -> None:
    written.remember(tmp_path, "one", {PurePosixPath("/a"): "1"})
    (tmp_path / ".devkit" / "written.json").write_text('{"one": [1]')
    assert written.digests(tmp_path, "one") == {}
    written.remember(tmp_path / "nowhere", "one", {PurePosixPath("/a"): "1"})
    assert not (tmp_path / "nowhere").exists()


def test_the_folder_ignores_itself(tmp_path: Path) -> None:
    written.remember(tmp_path, "one", {PurePosixPath("/a"): "1"})
    assert (tmp_path / ".devkit" / ".gitignore").read_text() == "*\n"
    assert sorted(p.name for p in (tmp_path / ".devkit").iterdir()) == [
        ".gitignore",
        "written.json",
    ]
