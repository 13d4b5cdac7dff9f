"""The commands of the sync, as typed, and the one process behind them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from devkit.sync import control
from tests.running import until
from tests.syncing import DEVKIT, HELPER, SCORE, Synced, synced

pytestmark = pytest.mark.engine

STATUS = {
    "ok",
    "state",
    "mode",
    "files",
    "changes",
    "reason",
    "pending",
    "conflicts",
    "problems",
    "without_events",
}
LINE = {"event", "text", "path", "side", "ms"}


@pytest.fixture(scope="module")
def module(base_image: str) -> Iterator[Synced]:
    with synced("commands", base_image) as made:
        yield made


@pytest.fixture
def service(module: Synced) -> Synced:
    if control.Running.find(module.folder, module.name) is None:
        module.write("score.py", SCORE)
        module.write("helper.py", HELPER)
        module.debug()
    module.cleared()
    return module


def _pid(service: Synced) -> int:
    with service.sync() as sync:
        return sync.pid


def _ended(pid: int) -> bool:
    """Wait for the end of a process that is nobody's child here."""
    return bool(until(lambda: not psutil.pid_exists(pid) or _is_zombie(pid)))


def _is_zombie(pid: int) -> bool:
    """Whether it ended, and who started it has not asked how."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _processes(service: Synced) -> list[int]:
    """The processes that keep the service in step."""
    word = f"--service={service.name}"
    return [p.pid for p in psutil.process_iter(["cmdline"]) if word in (p.info["cmdline"] or [])]


def test_flush_and_status_say_how_it_is(service: Synced) -> None:
    service.write("score.py", "# new\n")
    made = service.json("sync", "flush")
    assert set(made) == STATUS
    assert (made["state"], made["mode"], made["files"]) == ("watching", "two-way", 3)
    assert service.read_inside("score.py") == "# new\n"
    assert service.json("sync", "status") == made
    assert "watching (two-way), 3 files" in service.devkit("sync", "status").stdout
    status = service.json("status")
    assert status["sync"]["state"] == "watching"
    assert (status["differing"], status["outdated"]) == ([], False)


def test_paused_nothing_moves_and_status_and_diff_say_what_differs(service: Synced) -> None:
    assert service.json("sync", "pause")["state"] == "paused"
    service.write("here.txt", "here\n")
    service.write("helper.py", "WORD = 'paused'\n")
    service.inside("echo there > there.txt")
    done = service.devkit("sync", "flush", "--json")
    assert done.returncode == 4
    assert json.loads(done.stdout)["error"]["code"] == "SyncHalted"
    status = service.json("sync", "status")
    assert set(status) == {*STATUS, "waiting"}
    assert status["state"] == "paused"
    assert status["waiting"] == {"container": 2, "workspace": 1, "conflicts": 0}
    said = service.devkit("sync", "status").stdout
    assert said.endswith("\nwaiting     2 into the container, 1 into the workspace\n")
    diff = service.json("sync", "diff")
    assert set(diff) == {"ok", "changes", "conflicts", "left"}
    assert [(c["side"], c["path"]) for c in diff["changes"]] == [
        ("remote", "helper.py"),
        ("remote", "here.txt"),
        ("local", "there.txt"),
    ]
    shown = service.devkit("sync", "diff").stdout
    assert shown == "-> helper.py\n-> here.txt\n<- there.txt\n"
    differing = service.json("status")["differing"]
    assert [Path(path).name for path in differing] == ["helper.py", "here.txt"]
    assert service.read_inside("helper.py") == HELPER
    assert not (service.folder / "there.txt").exists()
    assert service.json("sync", "resume")["ok"]
    assert {"here.txt", "there.txt"} <= set(service.in_step())
    assert service.devkit("sync", "diff").stdout == "Nothing differs.\n"


def test_halted_status_says_how_many_changes_wait(service: Synced) -> None:
    with service.unheard():
        (service.folder / "score.py").unlink()
        (service.folder / "helper.py").unlink()
    assert service.halted() == "The workspace was emptied."
    waiting = {"container": 2, "workspace": 0, "conflicts": 0}
    assert service.json("sync", "status")["waiting"] == waiting
    assert service.json("status")["sync"]["waiting"] == waiting
    service.ask("reset")
    assert {"score.py", "helper.py"} == set(service.in_step())


def test_followed_with_json_each_change_is_a_line(service: Synced) -> None:
    with subprocess.Popen(
        [DEVKIT, "sync", "--json"],
        cwd=service.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as following:
        assert following.stdout is not None
        first = json.loads(following.stdout.readline())
        assert (set(first), first["event"]) == (LINE, "following")
        service.write("score.py", "# followed\n")
        line = json.loads(following.stdout.readline())
        assert set(line) == LINE
        assert (line["event"], line["path"], line["side"]) == ("changed", "score.py", "container")
        assert line["ms"] > 0
        service.inside("echo '# back' > score.py")
        line = json.loads(following.stdout.readline())
        assert (line["path"], line["side"]) == ("score.py", "workspace")
        following.send_signal(signal.SIGINT)
        assert following.wait(30) == 130
    service.write("score.py", "# goes on\n")
    service.in_step()


def test_a_dry_run_changes_nothing(service: Synced) -> None:
    service.ask("pause")
    service.write("here.txt", "here\n")
    service.inside("echo there > there.txt; rm helper.py")
    here, there, records = service.here(), service.there(), service.records()
    made = service.json("sync", "--once", "--dry-run")
    assert set(made) == {"ok", "changes", "conflicts", "left", "failed", "is_done"}
    assert made["is_done"] is False
    paths = [(c["side"], c["path"]) for c in made["changes"]]
    assert paths == [("local", "helper.py"), ("remote", "here.txt"), ("local", "there.txt")]
    assert (service.here(), service.there(), service.records()) == (here, there, records)
    service.ask("resume")


def test_once_without_a_process_brings_both_in_step_and_leaves_none(service: Synced) -> None:
    pid = _pid(service)
    assert service.json("sync", "stop") == {"ok": True, "stopped": True}
    assert _ended(pid)
    assert service.json("sync", "stop")["stopped"] is False
    assert service.json("sync", "status")["state"] == "off"
    assert service.json("sync", "flush")["error"]["code"] == "EngineError"
    service.write("here.txt", "here\n")
    service.inside("echo there > there.txt; rm helper.py")
    made = service.json("sync", "--once")
    assert made["is_done"]
    paths = [(c["side"], c["path"]) for c in made["changes"]]
    assert paths == [("local", "helper.py"), ("remote", "here.txt"), ("local", "there.txt")]
    assert made["failed"] == {}
    assert service.here() == service.there()
    assert {"here.txt", "there.txt", "score.py"} == set(service.here())
    assert service.json("sync", "--once")["changes"] == []
    assert _processes(service) == []


def test_push_and_pull_go_one_way(service: Synced) -> None:
    assert service.json("sync", "stop")["ok"]
    service.write("here.txt", "here\n")
    service.inside("echo there > there.txt")
    assert service.json("sync", "--push")["ok"]
    assert service.read_inside("here.txt") == "here\n"
    assert not (service.folder / "there.txt").exists()
    service.write("again.txt", "again\n")
    assert service.json("sync", "--pull")["ok"]
    assert (service.folder / "there.txt").read_text() == "there\n"
    assert "again.txt" not in service.there()


def test_another_mode_than_that_which_runs_is_refused(service: Synced) -> None:
    refused = service.json("sync", "--push")["error"]
    assert refused["code"] == "BadValue"
    assert "devkit sync stop" in refused["hint"]


def test_two_syncs_at_once_are_one_process(service: Synced) -> None:
    assert service.json("sync", "stop")["ok"]
    command = [str(DEVKIT), "sync", "--json"]
    following = [
        subprocess.Popen(command, cwd=service.folder, stdout=subprocess.PIPE, encoding="utf-8")
        for _ in range(3)
    ]
    try:
        for one in following:
            assert one.stdout is not None
            assert json.loads(one.stdout.readline())["event"] == "following"
        service.write("score.py", "# once\n")
        for one in following:
            assert one.stdout is not None
            lines = map(json.loads, one.stdout)
            assert next(line for line in lines if line["event"] == "changed")["path"] == "score.py"
        service.in_step()
        # Those that came too late end by themselves.
        assert all(_ended(pid) for pid in _processes(service) if pid != _pid(service))
        service.in_step()
    finally:
        for one in following:
            one.send_signal(signal.SIGINT)
            one.communicate(timeout=30)


def test_killed_it_is_started_again_and_finds_what_was_edited_meanwhile(service: Synced) -> None:
    service.write("gone.txt", "gone\n")
    service.in_step()
    pid = _pid(service)
    os.kill(pid, signal.SIGKILL)
    assert _ended(pid)
    (service.folder / "gone.txt").unlink()
    service.write("here.txt", "here\n")
    service.inside("echo there > there.txt; echo '# edited' >> score.py")
    assert service.debug()["ok"]
    assert _pid(service) != pid
    tree = service.in_step()
    assert set(tree) == {"score.py", "helper.py", "here.txt", "there.txt"}
    assert (service.folder / "score.py").read_text() == SCORE + "# edited\n"


def test_stop_brings_the_last_edits_back_and_ends_the_process(service: Synced) -> None:
    pid = _pid(service)
    service.inside("echo '# the last' > score.py")
    assert service.json("stop")["ok"]
    assert (service.folder / "score.py").read_text() == "# the last\n"
    assert _ended(pid)
    assert _processes(service) == []


def test_no_sync_leaves_it_out_and_debug_starts_it(service: Synced) -> None:
    assert service.json("sync", "stop")["ok"]
    service.debug("--no-sync")
    assert _processes(service) == []
    service.debug()
    assert _processes(service) == [_pid(service)]


def test_delete_ends_the_process_and_leaves_the_workspace(service: Synced) -> None:
    pid = _pid(service)
    service.flush()
    before = service.names() - {".vscode"}
    service.inside("echo '# the last' > score.py")
    assert service.json("delete", "--yes")["ok"]
    assert _ended(pid)
    assert _processes(service) == []
    assert service.names() == before
    assert (service.folder / "score.py").read_text() == "# the last\n"
    assert not list((service.folder / ".devkit" / "sync").glob("*.json"))


def test_where_devkits_own_folder_cannot_be_used_every_command_says_so(base_image: str) -> None:
    with synced("unusable", base_image, "--no-sync", "--no-launch") as made:
        made.devkit("delete", "--yes")
        own, elsewhere = made.folder / ".devkit", made.folder.parent / "elsewhere"
        shutil.rmtree(own, ignore_errors=True)
        elsewhere.mkdir()
        for kind in ("file", "link"):
            own.unlink(missing_ok=True)
            own.write_text("a file") if kind == "file" else own.symlink_to(elsewhere)
            done = made.devkit("debug", "--detach", "--no-launch", *made.options)
            assert done.returncode == 0
            assert f"are not kept in step: {own} cannot be used" in done.stderr
            for words in ("sync log", "sync diff", "sync undo", "sync --once", "sync", "commit"):
                done = made.devkit(*words.split(), "--json")
                error = json.loads(done.stdout)["error"]
                assert (done.returncode, error["code"]) == (2, "OwnFolderUnusable"), words
                assert f"rm -r {own}" in error["hint"]
        assert list(elsewhere.iterdir()) == []
        own.unlink()
        assert made.devkit("sync", "log").stdout == "Nothing was changed yet.\n"
        assert made.devkit("sync", "diff").returncode == 0
        assert not own.exists()


@pytest.fixture
def only_read(base_image: str) -> Iterator[Synced]:
    mounted: list[Path] = []

    def place(top: Path) -> Path:
        subprocess.run(["mount", "-t", "tmpfs", "devkit-test", str(top)], check=True)
        mounted.append(top)
        return top

    try:
        with synced("only-read", base_image, "--no-sync", "--no-launch", place=place) as made:
            made.devkit("delete", "--yes")
            shutil.rmtree(made.folder / ".devkit")
            subprocess.run(["mount", "-o", "remount,ro", str(mounted[0])], check=True)
            yield made
            subprocess.run(["docker", "rmi", f"{made.tag[:-1]}2"], capture_output=True, check=False)
    finally:
        for top in mounted:
            subprocess.run(["umount", "-l", top], check=True)
            top.rmdir()


def test_a_workspace_that_is_only_read_is_debugged_looked_at_and_committed(
    only_read: Synced,
) -> None:
    own = only_read.folder / ".devkit"
    done = only_read.devkit("debug", "--detach", "--no-launch", *only_read.options)
    assert done.returncode == 0
    assert f"are not kept in step: {own} cannot be used: Read-only file system" in done.stderr
    for words in ("log", "diff", "status"):
        assert only_read.devkit("sync", words).returncode == 0
    assert only_read.json("sync", "--once")["error"]["code"] == "OwnFolderUnusable"
    done = only_read.devkit("commit")
    assert done.returncode == 0
    assert f"What the workspace has is not brought in: {own}" in done.stderr
