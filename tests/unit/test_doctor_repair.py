"""Doctor --fix: what a sync that was killed has left; never a content."""

from __future__ import annotations

import json
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from devkit.config import load
from devkit.diagnose.finding import Finding
from devkit.doctor import repair
from devkit.doctor.check import Machine
from devkit.doctor.reach import Reach
from devkit.sync import control

LOW = Finding("inotify-watches-low", "warning", "low", "low", "raise it")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "score.py").write_text("def init(): ...\ndef run(data): ...\n", "utf-8")
    with control.only_one(tmp_path, "svc"):
        pass
    return tmp_path


def planned(root: Path, *findings: Finding, system: Path = Path("/")) -> list[repair.Repair]:
    choice = {"engine": "process"}
    machine = Machine(root, load(root), engine=choice, system=system)
    return repair.planned(machine, Reach(choice), findings)


def texts(found: list[repair.Repair]) -> str:
    return "\n".join(item.text for item in found)


def test_a_healthy_workspace_has_nothing_to_fix(root: Path) -> None:
    assert planned(root) == []


def test_the_address_and_socket_of_a_killed_sync_go(root: Path) -> None:
    # A process that is killed, as the sync would be: it leaves both.
    text = (
        "import os, sys, pathlib; from devkit.sync.control import Control, only_one\n"
        "root = pathlib.Path(sys.argv[1])\n"
        "with only_one(root, 'svc'):\n"
        "    Control(root, 'svc', 'abc'); os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", text, str(root)], check=False)
    state = root / ".devkit/sync/svc.json"
    address = Path(json.loads(state.read_text("utf-8"))["address"])
    assert address.is_socket()
    (item,) = planned(root)
    assert state.exists(), "planning changes nothing"
    item.do()
    assert not state.exists()
    assert not address.exists()


def test_an_address_that_leads_elsewhere_is_not_followed(root: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "mine.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(elsewhere))
    (root / ".devkit/sync/svc.json").write_text(json.dumps({"address": str(elsewhere)}), "utf-8")
    for item in planned(root):
        item.do()
    assert elsewhere.is_socket()


def test_temporary_files_go_and_contents_that_were_put_aside_are_shown(root: Path) -> None:
    (root / "src").mkdir()
    (root / "src/.devkit-tmp-1-2-3").write_text("half", "utf-8")
    (root / "src/.devkit-tmp-old-1-2-3").write_text("somebody's", "utf-8")
    (root / "src/mine.py").write_text("mine", "utf-8")
    for item in planned(root):
        item.do()
    names = sorted(path.name for path in (root / "src").iterdir())
    assert names[1] == "mine.py"
    assert names[0].startswith("devkit-recovered-")
    assert (root / "src" / names[0]).read_text("utf-8") == "somebody's"
    assert planned(root) == []


def test_nothing_is_touched_while_a_sync_runs(root: Path) -> None:
    (root / ".devkit-tmp-1-2-3").write_text("half", "utf-8")
    with control.only_one(root, "svc"):
        assert planned(root) == []
    (item,) = planned(root)
    with control.only_one(root, "svc"), pytest.raises(Exception, match="has begun meanwhile"):
        item.do()
    assert (root / ".devkit-tmp-1-2-3").exists()


def test_a_broken_database_is_set_aside_and_a_sound_one_stays(root: Path) -> None:
    sync = root / ".devkit/sync"
    with sqlite3.connect(sync / "sound.db") as database:
        database.execute("CREATE TABLE t (a)")
    database.close()
    (sync / "broken.db").write_bytes(b"no database at all, and long enough to be read" * 100)
    (item,) = planned(root)
    item.do()
    assert (sync / "sound.db").exists()
    assert not (sync / "broken.db").exists()
    assert list(sync.glob("broken.db.broken-*"))


def test_limits_are_raised_by_root_only_and_only_after_a_yes(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = tmp_path / "proc/sys/fs/inotify/max_user_watches"
    limit.parent.mkdir(parents=True)
    limit.write_text("10\n", "ascii")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert planned(root, LOW, system=tmp_path) == []
    monkeypatch.setattr("os.geteuid", lambda: 0)
    (item,) = planned(root, LOW, system=tmp_path)
    assert item.asks
    assert limit.read_text("ascii") == "10\n"
    item.do()
    assert limit.read_text("ascii") == "524288\n"
