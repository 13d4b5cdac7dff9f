"""The agent writes what it is told, only where it may, and only over what was seen."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from devkit.sync import agent
from devkit.sync.agent import LENGTH, Side


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_file_is_written_when_it_has_the_content_that_was_seen(tmp_path: Path) -> None:
    side = Side(str(tmp_path))
    assert side.write("a/b.py", b"one", None, 0o644) == {"digest": digest("one")}
    assert side.write("a/b.py", b"two", digest("one"), 0o755) == {"digest": digest("two")}
    assert (tmp_path / "a/b.py").read_text() == "two"
    assert os.access(tmp_path / "a/b.py", os.X_OK)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["b.py"]


def test_a_file_that_was_changed_meanwhile_is_left_alone(tmp_path: Path) -> None:
    side = Side(str(tmp_path))
    (tmp_path / "a.py").write_text("edited inside")
    assert side.write("a.py", b"mine", digest("old"), 0o644) == {"moved": digest("edited inside")}
    assert side.write("a.py", b"mine", None, 0o644) == {"moved": digest("edited inside")}
    assert (tmp_path / "a.py").read_text() == "edited inside"


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "", "a//b", "./a", "a/", "x\0y"])
def test_no_path_leads_out_of_the_root(tmp_path: Path, path: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with pytest.raises(ValueError, match="root"):
        Side(str(root)).write(path, b"x", None, 0o644)
    assert list(root.iterdir()) == []


def test_no_link_leads_out_of_the_root_and_a_link_is_not_replaced(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "link").symlink_to(outside)
    (root / "file").symlink_to(outside / "file")
    side = Side(str(root))
    with pytest.raises(ValueError, match="leads out"):
        side.write("link/x", b"x", None, 0o644)
    assert side.write("file", b"x", None, 0o644) == {"moved": None}
    assert list(outside.iterdir()) == []


def test_as_text_over_a_pipe_it_answers_in_order_and_ends_with_its_input(tmp_path: Path) -> None:
    text = Path(agent.__file__).read_text()
    requests = b"".join(
        LENGTH.pack(len(head)) + head + content
        for head, content in [
            (b'{"op": "write", "path": "x", "expect": null, "mode": 420, "size": 3}', b"abc"),
            (b'{"op": "write", "path": "../x", "expect": null, "mode": 420, "size": 1}', b"!"),
            (b'{"op": "digest", "paths": ["x", "y"]}', b""),
            (b'{"op": "nonsense"}', b""),
        ]
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", text, str(tmp_path)], input=requests, capture_output=True
    )
    assert done.returncode == 0
    answers, rest = [], done.stdout
    while rest:
        (size,) = LENGTH.unpack(rest[:4])
        answers.append(rest[4 : 4 + size].decode())
        rest = rest[4 + size :]
    assert answers[0] == f'{{"digest": "{digest("abc")}"}}'
    assert "not a path below the root" in answers[1]
    assert answers[2] == f'{{"digests": ["{digest("abc")}", null]}}'
    assert "unknown request" in answers[3]
