"""What differs between two sets of files, and the patch that says how."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path, PurePosixPath

import pytest

from devkit.commit.differ import Difference, differences
from devkit.commit.files import File


def file(content: bytes, *, is_kept: bool = True) -> File:
    digest = hashlib.sha256(content).hexdigest()
    return File(len(content), digest, content if is_kept else None)


def found(was: bytes | None, now: bytes | None) -> list[Difference]:
    path = PurePosixPath("/srv/a.py")
    before = {} if was is None else {path: file(was)}
    after = {} if now is None else {path: file(now)}
    return differences(before, after)


def test_kinds_and_sizes_are_told_by_path_and_what_is_the_same_is_not() -> None:
    before = {PurePosixPath(path): file(b"one") for path in ("/b", "/same", "/gone")}
    after = {
        PurePosixPath("/same"): file(b"one", is_kept=False),
        PurePosixPath("/b"): file(b"other"),
        PurePosixPath("/a"): file(b""),
    }
    assert [item.stat for item in differences(before, after)] == [
        "A  /a  0 -> 0 bytes",
        "M  /b  3 -> 5 bytes",
        "D  /gone  3 -> 0 bytes",
    ]


@pytest.mark.parametrize(
    ("was", "now"),
    [
        (b"one\ntwo\nthree\n", b"one\n2\nthree\n"),
        (b"one\ntwo", b"one\ntwo\n"),
        (b"one\ntwo\n", b"one\ntwo"),
        (b"one", b"two"),
        (b"", b"one\n"),
        (b"one\r\ntwo\r\n", b"one\ntwo\n"),
        # What `str.splitlines` takes for the end of a line, and a patch does not.
        (b"one\x0c\ntwo\x0bthree\x1cfour\n", b"one\x0c\n2\x0bthree\x1cfour\n"),
        ("a\u2028b\x85c\nd\re\n".encode(), "a\u2028B\x85c\nd\rE\n".encode()),
        ("é\n".encode(), "è\n".encode()),
    ],
)
def test_the_text_is_a_patch_that_makes_one_of_the_other(
    tmp_path: Path, was: bytes, now: bytes
) -> None:
    (difference,) = found(was, now)
    assert difference.text is not None
    place = tmp_path / "srv/a.py"
    place.parent.mkdir()
    place.write_bytes(was)
    command = ["git", "apply", "--whitespace=nowarn", "-"]
    subprocess.run(command, input=difference.text.encode(), cwd=tmp_path, check=True)
    assert place.read_bytes() == now


def test_a_patch_names_nothing_where_there_was_nothing() -> None:
    (added,), (deleted,) = found(None, b"one\n"), found(b"one\n", None)
    assert added.text == "--- /dev/null\n+++ b/srv/a.py\n@@ -0,0 +1 @@\n+one\n"
    assert deleted.text == "--- a/srv/a.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-one\n"


def test_the_end_without_a_newline_is_said() -> None:
    (difference,) = found(b"one", b"one\n")
    assert difference.text is not None
    assert difference.text.endswith("-one\n\\ No newline at end of file\n+one\n")


@pytest.mark.parametrize(("was", "now"), [(b"a\0b", b"ab"), (b"ab", b"\xff\xfe"), (None, b"\0")])
def test_what_is_no_text_has_sizes_only(was: bytes | None, now: bytes) -> None:
    (difference,) = found(was, now)
    assert difference.text is None


def test_contents_that_were_not_kept_have_no_text() -> None:
    path = PurePosixPath("/large")
    (difference,) = differences({path: file(b"a", is_kept=False)}, {path: file(b"b")})
    assert (difference.kind, difference.text) == ("modified", None)
