"""Doctor: checks side by side, and those that look at this machine's own files."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from devkit.diagnose.finding import Finding
from devkit.doctor import editor, engine, files, host
from devkit.doctor.check import Machine, Report, Seen, examined, unseen
from devkit.engines.docker_asked import unix_seconds

WARNING = Finding("a", "warning", "It is so.", "Because.", "Do this.")
ERROR = Finding("b", "error", "It is worse.", "Because.", "Do that.")


def ids(seen: Seen | Report) -> list[str]:
    return [finding.id for finding in seen.findings]


def machine(root: Path, system: Path) -> Machine:
    return Machine(root, system=system)


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def limits(system: Path, *, watches: int, instances: int) -> None:
    put(system / "proc/sys/fs/inotify/max_user_watches", f"{watches}\n")
    put(system / "proc/sys/fs/inotify/max_user_instances", f"{instances}\n")


def test_checks_run_side_by_side_and_are_listed_in_their_order() -> None:
    both = threading.Barrier(2, timeout=10)

    def waits() -> Seen:
        both.wait()
        return Seen("fine")

    report = examined({"one": waits, "two": waits})
    assert [(r.name, r.text, r.ok) for r in report.results] == [
        ("one", "fine", True),
        ("two", "fine", True),
    ]
    assert report.ok


def test_a_check_that_hangs_is_left_behind_and_named() -> None:
    end = threading.Event()

    def hangs() -> Seen:
        end.wait(60)
        return Seen("late")

    try:
        report = examined({"slow": hangs, "quick": lambda: Seen("fine")}, bound_s=0.05)
        assert ids(report) == ["check-hangs"]
        assert report.results[1].ok
    finally:
        end.set()


def test_a_check_that_raises_is_a_warning() -> None:
    report = examined({"odd": lambda: Seen(str(1 // 0))})
    assert ids(report) == ["check-failed"]
    assert "ZeroDivisionError" in report.results[0].text
    assert report.ok


def test_warnings_are_no_failure_and_errors_come_first() -> None:
    report = examined({"x": lambda: Seen("x", (WARNING,)), "y": lambda: Seen("y", (ERROR,))})
    assert ids(report) == ["b", "a"]
    assert not report.ok
    assert [result.mark for result in report.results] == ["!", "✗"]
    assert report.as_json()["checks"][0] == {"name": "x", "ok": False, "text": "x"}


def test_what_could_not_be_looked_at_has_no_tick() -> None:
    report = examined({"x": lambda: unseen("no engine to ask"), "y": lambda: Seen("fine")})
    assert [(result.mark, result.ok) for result in report.results] == [("-", True), ("✓", True)]


def test_low_limits_of_inotify_are_named_with_the_line_to_type(tmp_path: Path) -> None:
    limits(tmp_path / "system", watches=3, instances=1)
    for number in range(5):
        (tmp_path / "ws" / f"folder {number}").mkdir(parents=True)
    seen = files.limits(machine(tmp_path / "ws", tmp_path / "system"))
    assert ids(seen) == ["inotify-watches-low", "inotify-instances-low"]
    assert "6 are needed" in seen.findings[0].title
    assert "fs.inotify.max_user_watches=524288" in seen.findings[0].remedy


def test_enough_watches_are_no_finding_and_folders_that_are_never_synced_do_not_count(
    tmp_path: Path,
) -> None:
    limits(tmp_path / "system", watches=2, instances=128)
    (tmp_path / "ws" / ".git" / "objects").mkdir(parents=True)
    (tmp_path / "ws" / "models").mkdir()
    assert ids(files.limits(machine(tmp_path / "ws", tmp_path / "system"))) == []


def test_watches_that_others_use_count(tmp_path: Path) -> None:
    process = tmp_path / "system/proc/7"
    (process / "fd").mkdir(parents=True)
    (process / "fd/3").symlink_to("anon_inode:inotify")
    put(process / "fdinfo/3", "pos:\t0\n" + "inotify wd:1\n" * 10)
    limits(tmp_path / "system", watches=10, instances=128)
    (tmp_path / "ws").mkdir()
    seen = files.limits(machine(tmp_path / "ws", tmp_path / "system"))
    assert ids(seen) == ["inotify-watches-low"]


def test_a_system_without_inotify_has_no_limits(tmp_path: Path) -> None:
    assert ids(files.limits(machine(tmp_path, tmp_path / "none"))) == []


@pytest.mark.parametrize(
    ("mounts", "version", "root", "expected"),
    [
        ("1 0 8:1 / / rw - ext4 /dev/sda rw", "Linux version 6", "/home/a", []),
        ("2 1 0:5 / /home rw - nfs4 host:/x rw", "Linux version 6", "/home/a", ["no-file-events"]),
        ("2 1 0:5 / /ho rw - nfs4 host:/x rw", "Linux version 6", "/home/a", []),
        ("2 1 0:5 / /a\\040b rw a:1 - cifs x rw", "Linux", "/a b/c", ["no-file-events"]),
        ("2 1 0:5 / /mnt/c rw - 9p C: rw", "x-microsoft-WSL2", "/mnt/c/u", ["wsl-windows-disk"]),
        ("2 1 0:5 / / rw - ext4 /dev/sda rw", "x-Microsoft-WSL2", "/home/u", []),
        ("2 1 0:5 / / rw - ext4 /dev/sda rw", "x-microsoft", "/mnt/data/u", []),
    ],
)
def test_where_file_events_do_not_arrive(
    tmp_path: Path, mounts: str, version: str, root: str, expected: list[str]
) -> None:
    put(tmp_path / "proc/self/mountinfo", f"1 0 8:1 / / rw - ext4 /dev/sda rw\n{mounts}\n")
    put(tmp_path / "proc/version", version)
    assert ids(files.file_system(machine(Path(root), tmp_path))) == expected


def fake_editor(folder: Path, name: str, body: str) -> None:
    folder.mkdir(exist_ok=True)
    script = folder / name
    script.write_text(f"#!/bin/sh\n{body}\n", "utf-8")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)


LISTS = 'case "$1" in --version) echo "1.99.0\nabc";; *) printf "%b" "{extensions}";; esac'


@pytest.mark.parametrize(
    ("extensions", "expected"),
    [
        ("ms-python.debugpy\\nms-python.python\\n", []),
        ("MS-Python.debugpy\\nms-python.python\\n", []),
        ("ms-python.debugpy\\n", ["python-extension-missing"]),
        ("other.thing\\n", ["debugger-extension-missing", "python-extension-missing"]),
    ],
)
def test_the_editor_is_asked_for_its_extensions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extensions: str, expected: list[str]
) -> None:
    fake_editor(tmp_path / "bin", "code", LISTS.replace("{extensions}", extensions))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    seen = editor.can_debug(machine(tmp_path, tmp_path))
    assert ids(seen) == expected
    assert "code 1.99.0" in seen.text


def test_an_editor_that_refuses_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_editor(tmp_path / "bin", "codium", 'echo "not as a super user" >&2; exit 1')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    seen = editor.can_debug(machine(tmp_path, tmp_path))
    assert ids(seen) == ["editor-silent"]
    assert "not as a super user" in seen.findings[0].cause


def test_no_editor_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ids(editor.can_debug(machine(tmp_path, tmp_path))) == ["editor-missing"]


def test_a_broken_launch_json_is_named(tmp_path: Path) -> None:
    put(tmp_path / ".vscode/launch.json", '{"version": "0.2.0", "configurations": [')
    seen = editor.files_parse(machine(tmp_path, tmp_path))
    assert ids(seen) == ["launch-file-broken"]
    assert "launch.json" in seen.findings[0].title


@pytest.mark.parametrize(
    ("free", "free_files", "all_files", "expected"),
    [
        (50 << 30, 10**6, 10**7, []),
        (3 << 30, 10**6, 10**7, ["disk-tight"]),
        (100 << 20, 10**6, 10**7, ["disk-full"]),
        (50 << 30, 5, 10**7, ["disk-full"]),
        (50 << 30, 0, 0, []),  # a file system that counts none
    ],
)
def test_how_much_room_is_enough(
    free: int, free_files: int, all_files: int, expected: list[str]
) -> None:
    assert ids(engine.judged(Path("/x"), free, free_files, all_files)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:01:40.5Z", 100.5),
        ("1970-01-01T01:01:41.000000001+01:00", 101.0),
        ("1970-01-01T00:03:22Z", 202.0),
        ("nonsense", None),
        ("", None),
    ],
)
def test_a_time_is_read_as_engines_write_it(text: str, expected: float | None) -> None:
    assert unix_seconds(text) == (expected if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("there", "expected"), [(100.5, 0.0), (102.0, 0.0), (10.25, -89.75), (202.0, 100.0)]
)
def test_the_engines_clock_is_compared_with_the_time_of_asking(
    there: float, expected: float
) -> None:
    assert host.apart(there, 100.0, 102.0) == pytest.approx(expected)
