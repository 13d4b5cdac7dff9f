"""The entry script is looked at before anything is built."""

from __future__ import annotations

from pathlib import Path

import pytest

from devkit.config import Workspace, load
from devkit.errors import EntryScriptBroken, EntryScriptMissing
from devkit.package import entry_script

GOOD = "def init():\n    pass\n\ndef run(data):\n    return data\n"


def workspace(root: Path, text: str | None, **overrides: str) -> Workspace:
    if text is not None:
        (root / "score.py").write_text(text, encoding="utf-8")
    return load(root, overrides={"entry_script": "score.py"} | overrides, environ={})


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        "from service import init, run\n",
        "from service import *\n",
        "import s\ninit = s.init\nrun: object = s.run\n",
        "def init(x=1): pass\nasync def run(data, request_headers): pass\n",
        "try:\n  from fast import run\nexcept ImportError:\n  def run(d): pass\ndef init(): pass\n",
        "def init(): pass\n@schema\ndef run(**k): pass\n",
        "def init(): pass\ndef run(*, data): pass\n",
        "# -*- coding: latin-1 -*-\ndef init(): pass\ndef run(d): pass\n",
    ],
)
def test_a_script_that_the_server_takes_passes(tmp_path: Path, text: str) -> None:
    entry_script.check(workspace(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def init():\n    pass\n\ndef run(d)\n    pass\n", r"score.py:4: expected ':': def run"),
        ("def init(): pass\n", r"score.py:1: there is no run\(\)"),
        ("def run(d): pass\n", r"score.py:1: there is no init\(\)"),
        ("", r"score.py:1: there is no init\(\)"),
        ("class A:\n def init(s): pass\n def run(s, d): pass\n", r"score.py:3: there is no init"),
        ("def init(): pass\ndef run(): pass\n", r"score.py:2: run\(\) takes no argument"),
        ("def init(): pass\ndef run(request_headers): pass\n", r"score.py:2: run\(\) takes no"),
        ("def init(m): pass\ndef run(d): pass\n", r"score.py:1: init\(\) takes an argument"),
        ("x = '\0'\n", r"score.py"),
    ],
)
def test_a_broken_script_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(EntryScriptBroken, match=message):
        entry_script.check(workspace(tmp_path, text))


def test_a_missing_script_is_named_with_what_is_near(tmp_path: Path) -> None:
    (tmp_path / "scores.py").touch()
    with pytest.raises(EntryScriptMissing, match=r"score.py is not there") as caught:
        entry_script.check(workspace(tmp_path, None))
    assert "scores.py" in (caught.value.hint or "")


def test_a_missing_source_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(EntryScriptMissing) as caught:
        entry_script.check(workspace(tmp_path, GOOD, source_directory="gone"))
    assert "source_directory" in (caught.value.hint or "")


def test_a_script_outside_the_source_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    with pytest.raises(EntryScriptMissing, match="outside the source directory"):
        entry_script.check(
            workspace(tmp_path, GOOD, source_directory="src", entry_script="../score.py")
        )
