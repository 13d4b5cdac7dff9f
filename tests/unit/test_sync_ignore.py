"""What is ignored: git's rules, the image's, and devkit's own, the last that says so wins."""

from __future__ import annotations

from pathlib import Path

import pytest

from devkit.sync.ignore import Ignore


def put(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("rules", "path", "is_folder", "ignored"),
    [
        ("*.log", "a.log", False, True),
        ("*.log", "d/e/a.log", False, True),
        ("*.log", "a.txt", False, False),
        ("/a", "a", False, True),
        ("/a", "d/a", False, False),
        ("build/", "build", True, True),
        ("build/", "build", False, False),
        ("build/", "build/x", False, True),
        ("build/", "d/build/x/y", False, True),
        ("d/*\n!d/keep", "d/keep", False, False),
        ("d/*\n!d/keep", "d/other", False, True),
        ("d/\n!d/keep", "d/keep", False, True),
        ("*.log\n!a.log", "a.log", False, False),
        ("# comment\n\n*.log", "# comment", False, False),
        ("a b", "a b", False, True),
        ("**/x", "d/e/x", False, True),
        ("\\!a", "!a", False, True),
        ("*", "\udcff", False, True),
    ],
)
def test_gitignore_is_read_as_git_reads_it(
    tmp_path: Path, rules: str, path: str, is_folder: bool, ignored: bool
) -> None:
    put(tmp_path, **{".gitignore": rules})
    (tmp_path / ".git").mkdir()
    assert Ignore(tmp_path).ignores(path, is_folder=is_folder) is ignored


def test_a_file_of_rules_counts_in_its_folder(tmp_path: Path) -> None:
    put(tmp_path, **{".gitignore": "*.log", "d/.gitignore": "!a.log\n/b"})
    ignore = Ignore(tmp_path)
    assert ignore.ignores("a.log", is_folder=False)
    assert not ignore.ignores("d/a.log", is_folder=False)
    assert ignore.ignores("d/b", is_folder=False)
    assert not ignore.ignores("b", is_folder=False)


def test_rules_from_above_the_source_folder_count(tmp_path: Path) -> None:
    put(
        tmp_path,
        **{
            ".git/info/exclude": "*.secret",
            ".gitignore": "/service/data/\n*.log",
            "service/.gitignore": "!x.log",
        },
    )
    ignore = Ignore(tmp_path / "service")
    assert ignore.ignores("a.secret", is_folder=False)
    assert ignore.ignores("data", is_folder=True)
    assert ignore.ignores("a.log", is_folder=False)
    assert not ignore.ignores("x.log", is_folder=False)


def test_devkitignore_brings_back_what_git_leaves_out(tmp_path: Path) -> None:
    put(tmp_path, **{".gitignore": "data.csv", ".devkitignore": "!data.csv\nnotes"})
    ignore = Ignore(tmp_path, left_out=lambda: lambda path: path == "tests")
    assert not ignore.ignores("data.csv", is_folder=False)
    assert ignore.ignores("notes", is_folder=False)
    assert ignore.ignores("tests", is_folder=True)
    assert ignore.ignores("tests/x", is_folder=False)


def test_no_rule_brings_back_keys(tmp_path: Path) -> None:
    put(tmp_path, **{".devkitignore": "!*"})
    ignore = Ignore(tmp_path, extra=["!*"], never=lambda path: path.endswith(".pem"))
    assert ignore.ignores("d/a.pem", is_folder=False)
    assert not ignore.ignores("d/a", is_folder=False)


def test_rules_that_change_count_after_a_refresh(tmp_path: Path) -> None:
    put(tmp_path, **{".gitignore": "a"})
    ignore = Ignore(tmp_path)
    assert ignore.ignores("a", is_folder=False)
    put(tmp_path, **{".gitignore": "b"})
    ignore.refresh()
    assert not ignore.ignores("a", is_folder=False)
    assert ignore.is_rules("d/.gitignore")
    assert not ignore.is_rules("d/gitignore")


@pytest.mark.parametrize("broken", ["folder", "link", "binary"])
def test_rules_that_cannot_be_read_ignore_nothing(tmp_path: Path, broken: str) -> None:
    place = tmp_path / ".gitignore"
    if broken == "folder":
        place.mkdir()
    elif broken == "link":
        put(tmp_path, other="*")
        place.symlink_to("other")
    else:
        place.write_bytes(b"\xff\xfe\x00")
    assert not Ignore(tmp_path).ignores("a", is_folder=False)
