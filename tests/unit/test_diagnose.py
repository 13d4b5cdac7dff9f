"""The diagnosis as a whole: its steps, its order, its text; and the checks that ask an engine."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from devkit.config import load
from devkit.diagnose import container, diagnosis, editor, report
from devkit.diagnose.case import Case, place
from devkit.diagnose.finding import Finding, Severity, ordered
from devkit.errors import EngineDenied, EngineError
from devkit.packaging import BuildOptions
from devkit.session import Session
from devkit.start import StartOptions
from tests.diagnosing import APP, SCORE, made, only, places
from tests.serving_engine import ServingEngine


def finding(id_: str, severity: Severity = "error", **more: object) -> Finding:
    return replace(Finding(id_, severity, f"{id_} is so.", "Why.", "Do."), **more)  # type: ignore[arg-type]


def test_the_worst_come_first_each_once_and_else_in_the_order_of_the_steps() -> None:
    found = [
        finding("a", "note"), finding("b", "warning"), finding("c"), finding("d"),
        finding("c"), finding("c", line=3, file="x"),
    ]  # fmt: skip
    assert places(ordered(found)) == [
        ("c", None, None), ("d", None, None), ("c", "x", 3), ("b", None, None), ("a", None, None),
    ]  # fmt: skip


def test_the_first_step_that_fails_is_named(tmp_path: Path) -> None:
    text = (
        "from azureml.core.model import Model\nimport nosuch\nModel.get_model_path('a')\n" + SCORE
    )
    found = diagnosis.diagnosed(made(tmp_path, {"score.py": text}))
    assert found.step == "model"
    assert [f.id for f in found.findings] == ["model-not-found", "module-missing"]
    assert not found.is_fine


def test_a_sound_service_has_nothing_and_says_what_was_looked_at(tmp_path: Path) -> None:
    found = diagnosis.diagnosed(made(tmp_path, log_text=""))
    assert (found.findings, found.step, found.is_fine) == ((), None, True)
    assert report.text(found) == (
        "Nothing is wrong with what could be looked at:\n"
        "  the entry script score.py and what it imports\n"
        "  models: 0\n  the environment (none)\n  the log given"
    )


def test_a_log_of_which_only_the_end_was_looked_at_is_said_to_be_that(tmp_path: Path) -> None:
    found = diagnosis.diagnosed(made(tmp_path, log_text="fine\n" * (1 << 18)))
    assert found.looked_at[-1] == "the last 1 MB of the log given"


def test_a_script_that_is_too_large_to_read_is_not_said_to_be_looked_at(tmp_path: Path) -> None:
    found = diagnosis.diagnosed(made(tmp_path, {"score.py": SCORE + "#" * (2 << 20)}))
    assert found.looked_at[0] == (
        "the entry script score.py (not what it imports: it cannot be read)"
    )


def test_a_code_that_is_no_failure_is_said_among_what_was_looked_at(tmp_path: Path) -> None:
    found = diagnosis.diagnosed(made(tmp_path, log_text="", code=200))
    assert found.is_fine
    assert found.looked_at[-1] == "the code 200, which is no failure"
    assert diagnosis.diagnosed(made(tmp_path, code=502)).looked_at[-1] == "the code 502"


def test_a_check_that_fails_is_said_and_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(_: Case) -> Iterator[Finding]:
        yield finding("before")
        raise RuntimeError("odd")

    def works(_: Case) -> Iterable[Finding]:
        return [finding("after")]

    monkeypatch.setattr(diagnosis, "STEPS", {"score": (breaks, works)})
    found = diagnosis.diagnosed(made(tmp_path)).findings
    assert [(f.id, f.severity) for f in found] == [
        ("before", "error"), ("after", "error"), ("check-failed", "warning"),
    ]  # fmt: skip
    assert "breaks could not be made: RuntimeError" in found[-1].title
    assert "odd" in found[-1].cause


def test_a_code_is_dropped_where_its_reason_is_known(tmp_path: Path) -> None:
    frame = f'  File "{APP}/score.py", line 6, in run'
    said = f"Traceback (most recent call last):\n{frame}\nKeyError: 1\n"
    assert [
        f.id for f in diagnosis.diagnosed(made(tmp_path, log_text=said, code=502)).findings
    ] == ["run-raised"]
    assert diagnosis.top(made(tmp_path, log_text=said)) is not None
    assert diagnosis.top(made(tmp_path, log_text="")) is None


def test_a_place_is_read_off_and_said_once() -> None:
    assert place("a b.py:3: x") == ("a b.py", 3)
    assert place("C: x") == (None, None)
    assert place(" a:3") == (None, None)
    assert place("a:" + "9" * 20) == (None, None)
    one = finding("a", file="a.py", line=3)
    assert str(one) == "a.py:3: a is so.\n  Why.\n  -> Do."
    assert str(replace(one, title="a.py:3: bad")) == "a.py:3: bad\n  Why.\n  -> Do."
    assert str(replace(one, line=None, evidence="x\ny")) == (
        "a.py: a is so.\n  Why.\n    x\n    y\n  -> Do."
    )
    assert str(replace(one, line=None, title="a.py is bad")).startswith("a.py is bad\n")
    assert str(replace(one, file=None)) == "a is so.\n  Why.\n  -> Do."


def test_a_report_is_at_most_a_screen_however_much_there_is() -> None:
    big = finding("big", title="t" * 9000, cause="c " * 9000, remedy="r " * 9000,
                  evidence="\n".join("e" * 9000 for _ in range(99)))  # fmt: skip
    others = [finding(f"o{n}", file="a.py", line=n) for n in range(1, 40)]
    made_of = diagnosis.Diagnosis((big, *others, finding("n", "note")), "init", ())
    lines = report.text(made_of).splitlines()
    assert len(lines) <= 45
    assert max(map(len, lines)) <= 310
    assert lines[-1] == "  ... and 31 more; -v shows all"
    assert "a.py:39: o39 is so." in report.text(made_of, everything=True)


def test_notes_alone_are_shown_when_asked_for() -> None:
    only_note = diagnosis.Diagnosis((finding("n", "note"),), None, ("x",))
    assert only_note.is_fine
    assert report.text(only_note) == "Nothing is wrong with what could be looked at:\n  x"
    assert report.text(only_note, everything=True) == "n is so.\n  Why.\n  -> Do."


@pytest.mark.parametrize(
    ("error", "id_"),
    [
        (EngineError("No engine.", hint="Start it."), "engine-unreachable"),
        (EngineDenied("Not yours.", hint="Join docker."), "engine-denied"),
    ],
)
def test_an_engine_that_does_not_answer_is_told_from_one_that_refuses(
    tmp_path: Path, error: EngineError, id_: str
) -> None:
    def connect() -> ServingEngine:
        raise error

    found = diagnosis.diagnosed(made(tmp_path, connect=connect))
    assert (found.step, [f.id for f in found.findings]) == ("image", [id_])
    assert found.findings[0].remedy == error.hint


def test_a_port_that_is_taken_is_named_with_its_line(tmp_path: Path) -> None:
    engine = ServingEngine()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        text = f"ports:\n  debug: auto\n  score: {port}\n"
        case = made(tmp_path, {"devkit.yaml": text}, connect=lambda: engine)
        found = only(container.ports_free(case))
    assert places([found]) == [("port-taken", "devkit.yaml", 3)]
    assert str(port) in found.title
    free = made(tmp_path, {"devkit.yaml": text}, connect=lambda: engine)
    assert list(container.ports_free(free)) == []
    engine.shut_down()


@pytest.fixture
def started(tmp_path: Path, engine: ServingEngine) -> Path:
    """A service that runs in the engine in memory."""
    root = made(tmp_path, {"requirements.txt": ""}).workspace.root
    overrides = {"ports.score": "auto", "ports.debug": "auto"}
    with Session(load(root, overrides=overrides, environ={}), progress=lambda _: None) as session:
        session.debug(BuildOptions(), StartOptions(), sync=False)
    return root


def again(root: Path, engine: ServingEngine) -> Case:
    return Case(load(root, environ={}), lambda: engine, asks_index=False)


def test_a_running_service_in_step_has_nothing(started: Path, engine: ServingEngine) -> None:
    case = again(started, engine)
    assert case.status is not None
    assert diagnosis.diagnosed(case).findings == ()
    assert "the container svc (ready) and its log" in diagnosis.diagnosed(case).looked_at


def test_a_file_that_differs_and_an_environment_that_changed_are_said(
    started: Path, engine: ServingEngine
) -> None:
    (started / "score.py").write_text(SCORE + "# edited\n")
    (started / "requirements.txt").write_text("six\n")
    found = diagnosis.diagnosed(again(started, engine)).findings
    assert places(found) == [
        ("environment-changed", "requirements.txt", None),
        ("file-differs", "score.py", None),
    ]
    assert all(f.severity == "warning" for f in found)


def test_an_init_that_failed_is_said_by_the_runtime(started: Path, engine: ServingEngine) -> None:
    engine.fail(f"{APP}/score.py", 2, "no weights")
    found = diagnosis.diagnosed(again(started, engine))
    assert (found.step, places(found.findings)) == ("init", [("init-raised", "score.py", 2)])
    assert "ValueError: no weights" in found.findings[0].title


def test_a_line_that_the_runtime_makes_up_is_left_out(started: Path, engine: ServingEngine) -> None:
    engine.fail(f"{APP}/score.py", 1_000_000, "no weights")
    found = diagnosis.diagnosed(again(started, engine))
    assert places(found.findings) == [("init-raised", "score.py", None)]


@pytest.mark.parametrize(
    ("code", "oom", "id_"),
    [
        (0, False, "container-stopped"),
        (143, False, "container-stopped"),
        (137, False, "out-of-memory"),
        (1, True, "out-of-memory"),
        (3, False, "container-ended"),
        (139, False, "container-ended"),
    ],
)
def test_how_a_container_ended_is_told_from_its_exit_code(
    started: Path, engine: ServingEngine, code: int, oom: bool, id_: str
) -> None:
    engine.end("svc", code, oom_killed=oom, log=b"last words\n")
    found = list(container.ended(again(started, engine)))
    assert [f.id for f in found] == [id_]
    if id_ == "container-ended":
        assert "last words" in found[0].evidence


def launch(entry: dict[str, object]) -> dict[str, str | bytes]:
    return {".vscode/launch.json": json.dumps({"configurations": [entry]}, indent=2)}


RIGHT = {"localRoot": "${workspaceFolder}", "remoteRoot": APP}
ATTACH = {"type": "debugpy", "request": "attach", "connect": {"host": "localhost", "port": 5678}}


@pytest.mark.parametrize(
    ("pairs", "line"),
    [
        ([RIGHT], None),
        ([{**RIGHT, "remoteRoot": f"{APP}/"}], None),
        ([{**RIGHT, "remoteRoot": "/var/azureml-app"}], 13),
        ([{"localRoot": "${workspaceFolder}"}], None),
        ([{"localRoot": "${workspaceFolder}/lib", "remoteRoot": "/lib"}], None),
        ([{**RIGHT, "remoteRoot": "."}, RIGHT], None),
        ([{"localRoot": "${workspaceFolder}\0", "remoteRoot": 5}, 3, None], None),
        ("text", None),
    ],
)
def test_a_mapping_that_leads_elsewhere_is_named_with_its_line(
    tmp_path: Path, pairs: object, line: int | None
) -> None:
    found = list(editor.mapped(made(tmp_path, launch({**ATTACH, "pathMappings": pairs}))))
    if isinstance(pairs, list) and pairs == [{"localRoot": "${workspaceFolder}"}]:
        assert [(f.id, f.line) for f in found] == [("mapping-wrong", None)]
        return
    assert places(found) == ([("mapping-wrong", ".vscode/launch.json", line)] if line else [])


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", "\0", '{"configurations": 5}', '{"configurations": [1, null, {}]}', b"\xff",
     "[" * 100_000, "{" * 3_000_000],
)  # fmt: skip
def test_a_launch_file_that_is_none_says_nothing(tmp_path: Path, content: str | bytes) -> None:
    case = made(tmp_path, {".vscode/launch.json": content})
    assert list(editor.mapped(case)) == []
    assert diagnosis.diagnosed(case).is_fine


def test_a_launch_file_that_is_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    case = made(tmp_path)
    (case.workspace.root / ".vscode").mkdir()
    os.mkfifo(case.workspace.root / ".vscode/launch.json")
    assert list(editor.mapped(case)) == []


def test_a_port_that_nobody_listens_on_is_named(started: Path, engine: ServingEngine) -> None:
    path = started / ".vscode/launch.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"configurations": [{**ATTACH, "pathMappings": [RIGHT]}]}, indent=2))
    found = only(editor.published(again(started, engine)))
    assert (found.id, found.file, found.line) == (
        "debugger-not-published",
        ".vscode/launch.json",
        8,
    )
    running = again(started, engine).running
    assert running is not None
    assert running.debug is not None
    right = path.read_text().replace("5678", str(running.debug.port))
    path.write_text(right)
    assert list(editor.published(again(started, engine))) == []
