"""What was written into an overlay, from folders; those of the kernel are in Docker's tests."""

from __future__ import annotations

import os
import resource
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from devkit.engine import FileChange
from devkit.engines import overlay

# Where the kernel writes, of an engine that runs as who runs the tests.
SPACE = "trusted" if os.geteuid() == 0 else "user"


@pytest.fixture
def upper(tmp_path: Path) -> Path:
    return folder(tmp_path, "upper")


@pytest.fixture
def lower(tmp_path: Path) -> Path:
    return folder(tmp_path, "lower")


def folder(parent: Path, name: str) -> Path:
    (parent / name).mkdir()
    return parent / name


def inspection(upper: Path, *lowers: Path, driver: str = "overlay2") -> dict[str, Any]:
    data = {"UpperDir": str(upper), "LowerDir": ":".join(map(str, lowers))}
    return {"GraphDriver": {"Name": driver, "Data": data}}


def found(upper: Path, *lowers: Path) -> set[tuple[str, str]] | None:
    changes = overlay.changes(inspection(upper, *lowers))
    return None if changes is None else {(str(one.path), one.kind) for one in changes}


def written(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_file_that_became_a_folder_is_deleted(upper: Path, lower: Path) -> None:
    written(lower / "file", "x")
    written(upper / "file/inner", "x")
    assert found(upper, lower) == {("/file", "deleted"), ("/file/inner", "added")}


def test_files_are_compared_with_the_topmost_layer_that_has_them(
    tmp_path: Path, upper: Path, lower: Path
) -> None:
    below = folder(tmp_path, "below")
    written(below / "etc/same", "x")
    written(lower / "etc/edited", "x")
    written(upper / "etc/edited", "xy")
    written(upper / "etc/new", "x")
    (upper / "etc/same").hardlink_to(below / "etc/same")
    assert found(upper, lower, below) == {
        ("/etc", "modified"),
        ("/etc/edited", "modified"),
        ("/etc/new", "added"),
    }


@pytest.mark.parametrize("is_opaque", [True, False])
def test_an_opaque_folder_hides_what_is_below(upper: Path, lower: Path, *, is_opaque: bool) -> None:
    written(lower / "etc/a/gone", "x")
    written(upper / "etc/a/new", "x")
    if is_opaque:
        os.setxattr(upper / "etc/a", f"{SPACE}.overlay.opaque", b"y")
    changed = {("/etc", "modified"), ("/etc/a", "modified"), ("/etc/a/new", "added")}
    assert found(upper, lower) == changed | ({("/etc/a/gone", "deleted")} if is_opaque else set())


def test_an_opaque_folder_of_a_layer_hides_the_layers_below_it(
    tmp_path: Path, upper: Path, lower: Path
) -> None:
    written(folder(tmp_path, "below") / "a/b/hidden", "x")
    written(lower / "a/b/other", "x")
    os.setxattr(lower / "a/b", f"{SPACE}.overlay.opaque", b"y")
    written(upper / "a/b/hidden", "x")
    assert ("/a/b/hidden", "added") in (found(upper, lower, tmp_path / "below") or ())


def test_a_link_is_a_file_and_leads_nowhere(upper: Path, lower: Path, tmp_path: Path) -> None:
    written(tmp_path / "secret/key", "x")
    (upper / "link").symlink_to(tmp_path / "secret")
    (lower / "link").mkdir()
    assert found(upper, lower) == {("/link", "modified")}


def test_a_name_that_is_no_text_is_listed_as_by_the_engine(upper: Path, lower: Path) -> None:
    (upper / os.fsdecode(b"\xffx")).touch()
    name = PurePosixPath("/\ufffdx")
    assert overlay.changes(inspection(upper, lower)) == [FileChange(name, "added")]


def test_what_is_not_known_is_left_to_the_engine(upper: Path, lower: Path) -> None:
    written(upper / "a/new", "x")
    assert found(upper, lower) is not None
    assert found(upper, lower / "missing") is None
    assert found(upper) is None
    assert overlay.changes({}) is None
    assert overlay.changes(inspection(upper, lower, driver="btrfs")) is None
    os.setxattr(upper / "a", f"{SPACE}.overlay.opaque", b"x")
    assert found(upper, lower) is None
    os.setxattr(upper / "a", f"{SPACE}.overlay.opaque", b"y")
    os.setxattr(upper / "a", f"{SPACE}.overlay.redirect", b"/b")
    assert found(upper, lower) is None


def test_what_a_program_in_the_container_may_write_says_nothing(
    upper: Path, lower: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    written(lower / "a/stays", "x")
    written(upper / "a/new", "x")
    os.setxattr(upper / "a", "user.overlay.opaque", b"y")
    assert found(upper, lower) is None


def test_folders_without_end_are_left_to_the_engine(upper: Path, lower: Path) -> None:
    (upper / "/".join("a" * 200)).mkdir(parents=True)
    assert found(upper, lower) is None


def test_files_of_a_layer_are_read_without_following_a_link(
    tmp_path: Path, upper: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    written(tmp_path / "secret/key", "secret")
    written(upper / "a/file", "content")
    (upper / "out").symlink_to(tmp_path / "secret")
    os.mkfifo(upper / "fifo")
    paths = map(PurePosixPath, ("/a/file", "/a", "/out", "/out/key", "/fifo", "/went"))
    found = overlay.files(inspection(upper), paths)
    assert found is not None
    assert [
        (str(path), item.size, item.linkname, file and file.read()) for path, item, file in found
    ] == [
        ("/a/file", 7, "", b"content"),
        ("/out", 0, str(tmp_path / "secret"), None),
    ]


def test_a_file_below_more_folders_than_may_be_open_is_read(
    upper: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    deep = "/".join("d" * 400)
    (upper / deep).mkdir(parents=True)
    written(upper / deep / "leaf", "deep")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        found = overlay.files(inspection(upper), [PurePosixPath("/", deep, "leaf")])
        assert found is not None
        assert [content.read() for _, _, content in found if content] == [b"deep"]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_files_that_cannot_be_read_here_are_left_to_the_engine(
    upper: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert overlay.files(inspection(upper), []) is not None
    assert overlay.files({}, []) is None
    assert overlay.files(inspection(upper / "missing"), []) is None
    assert overlay.files(inspection(upper), [PurePosixPath("/\ufffdx")]) is None
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert overlay.files(inspection(upper), []) is None
