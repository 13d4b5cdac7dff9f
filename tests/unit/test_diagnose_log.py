"""Logs, ours and the cloud's: tracebacks, crashes, single lines, and what is hostile in them."""

from __future__ import annotations

import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from devkit.diagnose import diagnosis, failures, log, raised
from devkit.diagnose.case import MOST_LOG, Case
from devkit.diagnose.places import Places
from devkit.diagnose.raised import Frame, Raised
from tests.diagnosing import APP, SCORE, made, only, places

RAISES = "def init():\n    pass\n\n\ndef run(data):\n    raise ValueError(data)\n"


def text(*frames: str, said: str = "ValueError: x") -> str:
    lines = "".join(f'  File "{APP}/score.py", {frame}\n' for frame in frames)
    return f"Traceback (most recent call last):\n{lines}{said}\n"


def shown(chains: list[list[Raised]]) -> list[list[tuple[str, list[int]]]]:
    return [[(str(one), [f.line for f in one.frames]) for one in chain] for chain in chains]


def test_a_traceback_is_read_with_its_frames_and_lines() -> None:
    (one,) = raised.chains(
        "before\nTraceback (most recent call last):\n"
        '  File "/a/b.py", line 3, in f\n    return g(\n           ^^\n'
        '  File "/a/c.py", line 5, in <module>\n'
        "pkg.errors.Mine: said\nand more\n\nafter\n"
    )[0]
    assert one == Raised(
        "Mine",
        "said\nand more",
        (Frame("/a/b.py", 3, "f", "return g("), Frame("/a/c.py", 5, "<module>")),
    )
    assert str(one) == "Mine: said"


def test_exceptions_that_led_to_one_another_are_one_chain() -> None:
    try:
        try:
            raise KeyError("a")
        except KeyError as error:
            raise OSError("b") from error
    except OSError:
        explicit = traceback.format_exc()
    try:
        try:
            raise KeyError("c")
        except KeyError:
            raise OSError("d")  # noqa: B904 - the implicit chain is meant
    except OSError:
        implicit = traceback.format_exc()
    found = raised.chains(f"{explicit}\nbetween\n{implicit}")
    assert [[str(one) for one in chain] for chain in found] == [
        ["KeyError: 'a'", "OSError: b"],
        ["KeyError: 'c'", "OSError: d"],
    ]


def test_each_exception_of_a_group_is_read() -> None:
    try:
        raise ExceptionGroup("many", [ValueError("a"), ExceptionGroup("inner", [OSError("b")])])
    except ExceptionGroup:
        plain = traceback.format_exc()
    script = (
        "def f(kind):\n    raise kind('x')\n"
        "def g():\n    found = []\n    for kind in ValueError, OSError:\n"
        "        try:\n            f(kind)\n        except Exception as error:\n"
        "            found.append(error)\n    raise ExceptionGroup('many', found)\ng()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert [str(chain[0]) for chain in raised.chains(plain)] == [
        "ExceptionGroup: many (2 sub-exceptions)"
    ]
    assert shown(raised.chains(f"before\n{done.stderr}after | not\n")) == [
        [("ExceptionGroup: many (2 sub-exceptions)", [11, 10])],
        [("ValueError: x", [7, 2])],
        [("OSError: x", [7, 2])],
    ]


def test_a_deep_recursion_and_a_syntax_error_are_read(tmp_path: Path) -> None:
    (tmp_path / "deep.py").write_text("def f():\n    f()\nf()\n")
    (tmp_path / "wrong.py").write_text("x = 1\ndef (:\n")
    said = [
        subprocess.run(
            [sys.executable, tmp_path / name], capture_output=True, text=True, check=False
        ).stderr
        for name in ("deep.py", "wrong.py")
    ]
    assert "[Previous line repeated" in said[0]
    deep = raised.chains(said[0])[0][0]
    assert deep.kind == "RecursionError"
    assert {frame.line for frame in deep.frames} == {2, 3}
    # Python prints no first line for a main program; an import of it has one.
    wrong = raised.chains(f"Traceback (most recent call last):\n{said[1]}")[0][0]
    assert (wrong.kind, wrong.frames[-1].line, wrong.frames[-1].text) == (
        "SyntaxError", 2, "def (:",
    )  # fmt: skip


@pytest.mark.parametrize(
    "stamped",
    [
        "2026-11-27T08:00:00.123456Z {}",
        "{}\r",
        "{}",
    ],
)
def test_the_stamps_of_an_engine_and_windows_line_ends_are_no_part_of_it(stamped: str) -> None:
    plain = text("line 6, in run\n    raise ValueError(data)")
    lines = "\n".join(stamped.format(line) for line in plain.splitlines())
    assert shown(raised.chains(lines)) == [[("ValueError: x", [6])]]


@pytest.mark.parametrize(
    "log_text",
    [
        "",
        "Traceback (most recent call last):",
        "Traceback (most recent call last):\n" * 1000,
        "Traceback (most recent call last):\n  File",
        'Traceback (most recent call last):\n  File "", line 1\nX',
        'Traceback (most recent call last):\n  File "a", line 99999999, in f\nValueError',
        "  + Exception Group Traceback (most recent call last):\n" + "  | " * 5000,
        "The above exception was the direct cause" * 9,
        "Fatal Python error: ",
        "Fatal Python error: \nCurrent thread ",
        "\x00\x1b[2J\x1b]0;title\x07\u202e" * 99,
        "\ud800\udfff",
    ],
)
def test_half_a_traceback_is_none(tmp_path: Path, log_text: str) -> None:
    case = made(tmp_path, log_text=log_text)
    assert diagnosis.diagnosed(case).is_fine
    assert raised.fatal(log_text) in (None, Raised("", ""))


def test_the_last_crash_of_the_fault_handler_is_read() -> None:
    said = (
        "Fatal Python error: Aborted\n\nCurrent thread 0x1 (most recent call first):\n"
        '  File "/x/old.py", line 1 in f\n\n'
        "Fatal Python error: Segmentation fault\n\n"
        "Current thread 0x00007f (most recent call first):\n"
        f'  File "/lib/x.py", line 9 in inner\n  File "{APP}/score.py", line 6 in run\n\n'
        "Thread 0x2 (most recent call first):\n"
        '  File "/x/other.py", line 1 in f\n'
    )
    found = raised.fatal(said)
    assert found == Raised(
        "Segmentation fault",
        "",
        (Frame(f"{APP}/score.py", 6, "run"), Frame("/lib/x.py", 9, "inner")),
    )


def test_a_huge_line_and_a_huge_log_are_looked_at_by_their_ends(tmp_path: Path) -> None:
    at_end = text("line 6, in run\n    raise ValueError(data)")
    case = made(tmp_path, {"score.py": RAISES}, log_text="x" * (100 << 20) + "\n" + at_end)
    assert len(case.log) == MOST_LOG
    assert places(failures.scoring(case)) == [("run-raised", "score.py", 6)]
    flat = made(tmp_path, log_text="Traceback (most recent call last):" + "a" * (4 << 20))
    assert diagnosis.diagnosed(flat).is_fine


@pytest.mark.parametrize(
    "again",
    [
        "409 ",
        "/bin/a",
        "can't open file '",
        "user_script ",
        "worker 1 ended by itself: signal ",
        "No matching distribution found for a",
        "executable file not found in $PATH",
        "Traceback (most recent call last):\n",
        "PackagesNotFoundError:\n - a\n",
        "  + Exception Group Traceback (most recent call last):\n",
    ],
)
def test_a_log_made_to_be_slow_is_not(tmp_path: Path, again: str) -> None:
    case = made(tmp_path, log_text=again * (MOST_LOG // len(again)))
    found = diagnosis.diagnosed(case).findings
    assert len(found) < 10
    assert all(len(str(finding)) < 5000 for finding in found)


def test_paths_of_a_thousand_folders_are_looked_for_a_few_times_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two such frames once took 20 s."""
    asked = 0
    original = Path.is_file

    def counted(path: Path) -> bool:
        nonlocal asked
        asked += 1
        return original(path)

    case = made(tmp_path)
    known = Places(case.workspace)
    monkeypatch.setattr(Path, "is_file", counted)
    for _ in range(50):
        assert known.local("/" + "a/" * 950 + "b.py") is None
    assert asked < 100


def test_a_path_of_the_container_is_a_file_of_the_workspace(tmp_path: Path) -> None:
    case = made(tmp_path, {"pack/inner.py": "", "models/site-packages/x.py": ""})
    root = case.workspace.root
    known = case.places
    assert known.local(f"{APP}/score.py") == root / "score.py"
    assert known.local("/var/azureml-app/main.py") == root / "score.py"
    assert known.local("/mnt/elsewhere/pack/inner.py") == root / "pack/inner.py"
    assert known.local(str(root / "score.py")) == root / "score.py"
    (tmp_path / "secret.py").write_text("")
    (root / "link.py").symlink_to(tmp_path / "secret.py")
    for foreign in (
        "", "<string>", "score.py\0", "/etc/passwd", "../../etc/passwd", "/x/../../secret.py",
        str(tmp_path / "secret.py"), "link.py", "a" * 5000, "/" * 4000, "/usr/lib/python3/score.py",
        "/x/site-packages/score.py", "/var/azureml-app/svc", "\ud800",
    ):  # fmt: skip
        assert known.local(foreign) is None, foreign


def test_a_frame_whose_line_was_corrected_since_says_nothing(tmp_path: Path) -> None:
    said = text("line 6, in run\n    raise KeyError(1)")
    assert made(tmp_path, {"score.py": RAISES}, log_text=said).raised == ()
    assert made(tmp_path, {"score.py": RAISES}, log_text=text("line 6, in run")).raised != ()


def test_the_newest_of_several_exceptions_comes_first_and_each_line_once(tmp_path: Path) -> None:
    said = text("line 2, in init", said="OSError: a") + text("line 6, in run") * 3
    case = made(tmp_path, {"score.py": RAISES}, log_text=said)
    assert [str(one) for one in case.raised] == ["ValueError: x", "OSError: a"]


PLAIN = [
    ("line 6, in run", "ValueError: x", "run-raised", 6),
    ("line 2, in init", "ValueError: x", "init-raised", 2),
    ("line 1, in <module>", "ValueError: x", "import-raised", 1),
    ("line 6, in run", "MemoryError", "out-of-memory", 6),
    ("line 6, in run", "RuntimeError: CUDA out of memory. Tried", "out-of-memory", 6),
    ("line 6, in run", "json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)",
     "empty-body", 6),
    ("line 2, in init", "json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)",
     "init-raised", 2),
    ("line 6, in run", "json.decoder.JSONDecodeError: Extra data: line 1 column 3 (char 2)",
     "run-raised", 6),
    ("line 1, in <module>", "ModuleNotFoundError: No module named 'cv2'", "module-missing", 1),
    ("line 2, in init", "FileNotFoundError: [Errno 2] No such file or directory: 'a.txt'",
     "file-not-found", 2),
    ("line 2, in init", "OSError: [Errno 36] File name too long: '" + "a" * 300 + "'",
     "init-raised", 2),
    ("line 2, in init", "FileNotFoundError: [Errno 2] No such file: '" + "a" * 300 + "'",
     "file-not-found", 2),
    ("line 6, in run", "TypeError: Object of type ndarray is not JSON serializable",
     "result-not-json", 6),
]  # fmt: skip


@pytest.mark.parametrize(("frame", "said", "id_", "line"), PLAIN)
def test_an_exception_of_the_log_is_explained_with_its_line(
    tmp_path: Path, frame: str, said: str, id_: str, line: int
) -> None:
    score = RAISES.replace("raise ValueError(data)", "return model.predict(data)")
    case = made(tmp_path, {"score.py": score}, log_text=text(frame, said=said))
    found = diagnosis.diagnosed(case)
    assert places(found.findings)[:1] == [(id_, "score.py", line)]
    assert found.findings[0].severity == "error"


def test_an_exception_of_a_package_alone_is_no_finding(tmp_path: Path) -> None:
    said = text("line 3, in f").replace(APP, "/opt/x/site-packages/y")
    assert diagnosis.diagnosed(made(tmp_path, log_text=said)).is_fine


LINES = [
    ("/bin/sh: 1: gunicorn: not found", "server-missing", "start", None),
    ("exec: azmlinfsrv: not found", "server-missing", "start", None),
    ("/usr/bin/python: No module named gunicorn", "server-missing", "start", None),
    ("ModuleNotFoundError: No module named 'main'", "entry-script-missing", "start", None),
    ("python: can't open file '/var/azureml-app/main.py': [Errno 2]", "entry-script-missing",
     "start", None),
    ("write /x: no space left on device", "disk-full", "start", None),
    ("exec /bin/sh: exec format error", "wrong-architecture", "start", None),
    ("Bind for 0.0.0.0:5001 failed: port is already allocated", "port-taken", "start", None),
    ("OSError: [Errno 98] Address already in use", "port-taken", "start", None),
    ("has been blocked by CORS policy: No", "cors", "start", None),
    ("[CRITICAL] WORKER TIMEOUT (pid:41)", "worker-timeout", "score", 1),
    ("devkit: worker 7 ended by itself: exit code 3", "worker-crashed", "score", 5),
    ("devkit: worker 7 ended by itself: signal SIGSEGV", "worker-crashed", "score", 5),
    ("devkit: worker 7 ended by itself: signal SIGKILL", "out-of-memory", "score", 5),
    ("409 Client Error: Conflict for url", "update-refused", "health", None),
    ("'AksWebservice' object has no attribute 'reload'", "update-refused", "health", None),
    ("ERROR: No matching distribution found for nosuch==1.0", "package-not-installable", "image",
     None),
    ("ResolvePackageNotFound:\n  - nosuch=1.0\n", "package-not-installable", "image", None),
]  # fmt: skip


@pytest.mark.parametrize(("line", "id_", "step", "number"), LINES)
def test_a_single_line_says_what_failed_and_in_which_step(
    tmp_path: Path, line: str, id_: str, step: str, number: int | None
) -> None:
    found = diagnosis.diagnosed(made(tmp_path, log_text=f"before\n{line}\nafter\n"))
    assert found.step == step
    assert (found.findings[0].id, found.findings[0].line) == (id_, number)
    only(found.findings)


@pytest.mark.parametrize(
    "line",
    [
        "the worker ended its work",
        "GET /score 200 409 bytes",
        "No module named mainframe",
        "Worker exiting (pid: 41)",
        "devkit: worker 7 is ready",
    ],
)
def test_other_lines_say_nothing(tmp_path: Path, line: str) -> None:
    assert diagnosis.diagnosed(made(tmp_path, log_text=line)).is_fine


def test_a_crash_of_a_package_is_named_by_the_users_line(tmp_path: Path) -> None:
    said = (
        "Fatal Python error: Segmentation fault\n\nCurrent thread 0x1 (most recent call first):\n"
        f'  File "{APP}/score.py", line 6 in run\n\n'
        "devkit: worker 7 ended by itself: signal SIGSEGV\n"
    )
    found = only(log.workers(made(tmp_path, {"score.py": RAISES}, log_text=said)))
    assert places([found]) == [("worker-crashed", "score.py", 6)]


def test_a_gunicorn_that_lost_patience_is_told_from_a_lack_of_memory(tmp_path: Path) -> None:
    said = "WORKER TIMEOUT (pid:41)\nWorker with pid 41 was terminated due to signal 9\n"
    found = only(log.workers(made(tmp_path, log_text=said)))
    assert found.id == "worker-timeout"
    assert "signal 9" in found.evidence


def test_a_package_of_a_log_is_found_in_the_environment_file(tmp_path: Path) -> None:
    case = made(
        tmp_path,
        {"requirements.txt": "six\nNo.Such==1.0\n"},
        log_text="ERROR: No matching distribution found for no-such==1.0",
    )
    assert places(diagnosis.diagnosed(case).findings) == [
        ("package-not-installable", "requirements.txt", 2)
    ]


def test_a_web_stack_that_does_not_fit_is_said_with_its_pin(tmp_path: Path) -> None:
    said = "ImportError: cannot import name '{}' from '{}' (/x/y.py)"
    frame = (
        'Traceback (most recent call last):\n  File "/x/flask/__init__.py", line 1, in <module>\n'
    )
    files = {"requirements.txt": "six\nflask==1.0\n"}
    for name, package in (
        ("escape", "jinja2"),
        ("json", "itsdangerous"),
        ("url_quote", "werkzeug.urls"),
    ):
        case = made(tmp_path, files, log_text=frame + said.format(name, package))
        assert places(diagnosis.diagnosed(case).findings) == [("web-stack", "requirements.txt", 2)]
    other = made(tmp_path, files, log_text=frame + said.format("mine", "jinja2"))
    assert diagnosis.diagnosed(other).is_fine


def test_a_given_log_stands_for_the_containers(tmp_path: Path) -> None:
    case: Case = made(tmp_path, {"score.py": SCORE}, log_text="")
    assert (case.running, case.status, case.log) == (None, None, "")
