"""The steps in order, on an engine in memory whose containers answer as devkit's runtime does."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from devkit import deleting, reuse, turn
from devkit.config import Override, load
from devkit.engine import Container, RunSpec, Tag
from devkit.errors import (
    ContainerDied,
    EntryScriptBroken,
    InitFailed,
    Interrupted,
    LaunchFileBroken,
    MappingNotProved,
    NameInUse,
    NoService,
    NotOurs,
    OutOfMemory,
    PortInUse,
    RemoteDebugRefused,
    SyncHalted,
    Unsupported,
)
from devkit.output import jsonable
from devkit.packaging import BuildOptions
from devkit.results import Debugging
from devkit.running import RunningService, lines
from devkit.session import Session
from devkit.start import FromImage, StartOptions
from tests.serving_engine import ServingEngine

SCORE = (
    "import helper\n\n\ndef init():\n    pass\n\n\ndef run(data):\n    return helper.same(data)\n"
)
HELPER = "def same(data):\n    return data\n"

Open = Callable[..., Session]


def unheard(_: str) -> None:
    """Take progress that no test looks at."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "iris démo"
    folder.mkdir()
    (folder / "score.py").write_text(SCORE)
    (folder / "helper.py").write_text(HELPER)
    return folder.resolve()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def opened(root: Path, said: list[str], engine: ServingEngine) -> Open:
    def make(kind: str | None = None, **overrides: Any) -> Session:
        ports = {"ports.score": "auto", "ports.debug": "auto"}
        given = {key.replace("__", "."): value for key, value in overrides.items()}
        workspace = load(root, overrides={**ports, **given}, environ={})
        return Session(workspace, progress=said.append, kind=kind)

    return make


def debugged(session: Session, **given: Any) -> Debugging:
    # The fake engine runs no agent; tests/integration has the sync.
    return session.debug(BuildOptions(), StartOptions(), **{"sync": False, **given})


def runs(engine: ServingEngine) -> list[str]:
    return [call.split()[0] for call in engine.calls if call.split()[0] in ("build", "run")]


def test_debug_packages_starts_proves_and_writes_launch_json(
    opened: Open, engine: ServingEngine, root: Path
) -> None:
    made = debugged(opened())
    assert runs(engine) == ["build", "run"]
    (mapping,) = made.mappings
    assert (mapping.local, mapping.verified) == (str(root), True)
    assert mapping.remote == "/var/azureml-app/iris démo"
    assert engine.asked.count("disconnect") == engine.asked.count("attach") == 1
    text = (root / ".vscode" / "launch.json").read_text("utf-8")
    debug = made.running.debug
    assert debug is not None
    assert f'"port": {debug.port}' in text
    assert made.error is None


def test_the_object_that_debug_prints_is_a_contract(opened: Open, root: Path) -> None:
    printed = jsonable(debugged(opened()).contract())
    assert list(printed) == [
        "container",
        "image",
        "engine",
        "score_uri",
        "debug",
        "mappings",
        "launch_json",
        "timings",
    ]
    assert list(printed["debug"]) == ["host", "port"]
    assert list(printed["mappings"][0]) == ["local", "remote", "verified"]
    assert list(printed["timings"]) == ["package_s", "start_s", "init_s", "attach_s"]
    assert printed["launch_json"] == str(root / ".vscode" / "launch.json")
    assert printed["timings"]["init_s"] == 0.012
    assert printed["container"] == "iris-demo"
    assert printed["score_uri"].endswith("/score")


def test_a_service_that_runs_is_kept_when_nothing_changed(
    opened: Open, engine: ServingEngine, said: list[str]
) -> None:
    first = debugged(opened())
    second = debugged(opened())
    assert runs(engine) == ["build", "run"]
    assert second.running.debug == first.running.debug
    assert "Kept iris-demo, which runs; files brought up to date: 0" in said


def test_a_taken_port_is_told_before_any_build(
    opened: Open, engine: ServingEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = replace(engine.info(), endpoint="unix:///var/run/docker.sock")
    monkeypatch.setattr(engine, "info", lambda: here)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        session = opened(ports__score=Override(taken.getsockname()[1], "--port"))
        with pytest.raises(PortInUse):
            session.run(BuildOptions(), StartOptions())
    assert runs(engine) == []


def test_edited_sources_move_into_the_container_that_runs(
    opened: Open, engine: ServingEngine, root: Path
) -> None:
    debugged(opened())
    (root / "helper.py").write_text(HELPER + "# edited\n")
    (root / "new.py").write_text("X = 1\n")
    assert debugged(opened()).mappings[0].verified
    assert runs(engine) == ["build", "run"]
    files = {path.name: content for path, content in engine.boxes["iris-demo"].files.items()}
    assert files["helper.py"].endswith(b"# edited\n")
    assert files["new.py"] == b"X = 1\n"


def test_a_file_that_was_deleted_is_named_where_no_sync_deletes_it_in_the_container(
    opened: Open, root: Path, said: list[str]
) -> None:
    (root / "old.py").write_text("X = 1\n")
    debugged(opened())
    (root / "old.py").unlink()
    debugged(opened())
    assert any(line.startswith("Deleted in the workspace and still in") for line in said)
    assert any("old.py; `devkit sync --once`" in line for line in said)


def test_status_names_the_files_that_differ_from_the_containers(opened: Open, root: Path) -> None:
    debugged(opened())
    assert opened().status().differing == ()
    assert opened().status().committed is None
    (root / "helper.py").write_text(HELPER + "# edited\n")
    assert opened().status().differing == (root / "helper.py",)


def test_status_says_that_settings_changed_since_the_start(opened: Open, root: Path) -> None:
    debugged(opened())
    (root / "helper.py").write_text(HELPER + "# edited\n")
    assert not opened().status().is_outdated
    (root / "devkit.yaml").write_text("run: {env: {LIMIT: '3'}}\n")
    status = opened().status()
    assert status.is_outdated
    assert "`devkit debug` takes them" in str(status)
    debugged(opened())
    assert not opened().status().is_outdated


def test_status_knows_the_options_of_the_start(opened: Open) -> None:
    debugged(opened(run__env=Override({"LIMIT": "3"}, "--env")))
    assert not opened().status().is_outdated


def test_nothing_is_written_where_the_service_runs_on_the_workspaces_own_files(
    opened: Open, engine: ServingEngine, root: Path
) -> None:
    debugged(opened())
    engine.name = "process"
    service = opened().service()
    before = dict(engine.boxes["iris-demo"].files)
    (root / "helper.py").write_text(HELPER + "# edited\n")
    files = reuse.source_files(opened().plan(BuildOptions()).spec)
    assert reuse.moved(service, files, "1000") == 0
    assert engine.boxes["iris-demo"].files == before
    with pytest.raises(Unsupported):
        service.shell()


INSIDE = "/var/azureml-app/iris démo"


def trashed(root: Path) -> list[dict[str, bytes]]:
    """The files of each folder in the trash."""
    return [
        {
            file.relative_to(folder).as_posix(): file.read_bytes()
            for file in folder.rglob("*")
            if file.is_file() and file.name != "README-devkit.txt"
        }
        for folder in sorted((root / ".devkit" / "trash").glob("*"))
    ]


def test_a_file_edited_inside_is_kept_before_the_workspaces_own_takes_its_place(
    opened: Open, engine: ServingEngine, root: Path, said: list[str]
) -> None:
    debugged(opened())
    engine.edit("iris-demo", f"{INSIDE}/helper.py", b"# inside\n")
    (root / "score.py").write_text(SCORE + "# edited\n")
    debugged(opened())
    assert trashed(root) == [{"helper.py": b"# inside\n"}]
    assert any("iris-demo are kept in .devkit/trash/" in line for line in said)
    assert engine.boxes["iris-demo"].files[PurePosixPath(INSIDE, "helper.py")] == HELPER.encode()


def test_edits_in_the_workspace_alone_are_moved_without_a_long_look(
    opened: Open, engine: ServingEngine, root: Path
) -> None:
    debugged(opened())
    for number in range(3):
        (root / "helper.py").write_text(HELPER + f"# {number}\n")
        debugged(opened())
    assert "changes iris-demo" not in engine.calls
    assert trashed(root) == []


@pytest.mark.parametrize("is_stopped", [False, True])
def test_edits_in_a_container_that_is_replaced_are_kept(
    opened: Open, engine: ServingEngine, root: Path, said: list[str], is_stopped: bool
) -> None:
    debugged(opened())
    (root / "helper.py").write_text(HELPER + "# pushed\n")
    debugged(opened())
    (root / "helper.py").write_text(HELPER + "# newer\n")
    engine.edit("iris-demo", f"{INSIDE}/score.py", b"# inside\n")
    if is_stopped:
        opened().stop()
    opened().run(BuildOptions(), StartOptions())
    assert trashed(root) == [{"score.py": b"# inside\n"}]
    (line,) = [line for line in said if line.startswith("Edits made in")]
    assert line.endswith("-iris-demo: score.py")


def test_edits_in_a_container_that_is_deleted_are_kept(
    opened: Open, engine: ServingEngine, root: Path
) -> None:
    debugged(opened())
    engine.edit("iris-demo", f"{INSIDE}/notes.txt", b"mine\n")
    session = opened()
    done = deleting.delete(session, deleting.planned(session, with_launch=True))
    assert trashed(root) == [{"notes.txt": b"mine\n"}]
    assert done.edits is not None
    assert (done.edits / "notes.txt").read_bytes() == b"mine\n"
    assert engine.boxes == {}


def test_nothing_edited_nothing_kept(opened: Open, engine: ServingEngine, root: Path) -> None:
    debugged(opened())
    opened().run(BuildOptions(), StartOptions())
    session = opened()
    assert deleting.delete(session, deleting.planned(session, with_launch=True)).edits is None
    assert not (root / ".devkit" / "trash").exists()


def test_a_container_whose_edits_cannot_be_kept_stays(
    opened: Open, engine: ServingEngine, root: Path
) -> None:
    debugged(opened())
    engine.edit("iris-demo", f"{INSIDE}/score.py", b"# inside\n")
    (root / ".devkit" / "trash").write_text("a file in its place")
    before = engine.boxes["iris-demo"].container
    session = opened()
    with pytest.raises(SyncHalted):
        deleting.delete(session, deleting.planned(session, with_launch=True))
    with pytest.raises(SyncHalted):
        opened().run(BuildOptions(), StartOptions())
    assert engine.boxes["iris-demo"].container == before
    assert before.is_running


def test_edits_go_to_the_workspace_here_when_the_services_own_is_gone(
    opened: Open, engine: ServingEngine, root: Path, tmp_path: Path
) -> None:
    debugged(opened())
    engine.edit("iris-demo", f"{INSIDE}/score.py", b"# inside\n")
    shutil.rmtree(root)
    (tmp_path / "other").mkdir()
    given = {"service": Override("iris-demo", "--service")}
    session = Session(load(tmp_path / "other", overrides=given, environ={}), progress=unheard)
    deleting.delete(session, deleting.planned(session, with_launch=False))
    (kept,) = trashed(tmp_path / "other")
    assert list(kept.values()) == [b"# inside\n"]
    assert not root.exists()


def test_another_requirement_makes_another_container(
    opened: Open, engine: ServingEngine, root: Path
) -> None:
    debugged(opened())
    (root / "requirements.txt").write_text("attrs\n")
    debugged(opened())
    assert runs(engine) == ["build", "run"] * 2


def test_a_stopped_container_is_made_anew_with_its_options(
    opened: Open, engine: ServingEngine, root: Path
) -> None:
    given = {"run.memory": Override("1g", "--memory")}
    plain = load(root, environ={})
    debugged(Session(load(root, overrides=given, environ={}), progress=unheard))
    for step in ("debug", "run"):
        Session(plain, progress=unheard).stop()
        getattr(Session(plain, progress=unheard), step)(BuildOptions(), StartOptions())
        assert engine.boxes["iris-demo"].spec.memory == "1g"
    assert runs(engine) == ["build", "run", "run", "run"]


def test_options_stick_while_the_container_is_there(
    opened: Open, engine: ServingEngine, root: Path
) -> None:
    given = {"image.base": Override("own:1", "--base"), "run.env": Override({"A": "1"}, "--env")}
    with Session(load(root, overrides=given, environ={}), progress=unheard) as session:
        before = debugged(session)
    with Session(load(root, environ={}), progress=unheard) as session:
        after = debugged(session)
        assert session.workspace.config.image.base == "own:1"
        assert session.workspace.origins["image.base"] == "the container iris-demo"
    assert runs(engine) == ["build", "run"]
    assert after.running.debug == before.running.debug


def started_with(root: Path, given: dict[str, Any], start: StartOptions | None = None) -> None:
    session = Session(load(root, overrides=given, environ={}), progress=unheard)
    session.run(BuildOptions(), start or StartOptions())


def relabelled(engine: ServingEngine, **changes: str) -> None:
    """Change labels of the container, "options" for devkit.options, as somebody else may."""
    box = engine.boxes["iris-demo"]
    labels = {**box.container.labels, **{f"devkit.{k}": v for k, v in changes.items()}}
    box.container = replace(box.container, labels=labels)


def test_variables_stick_and_their_values_are_in_no_label(
    opened: Open, engine: ServingEngine, root: Path
) -> None:
    started_with(root, {"run.env": Override({"TOKEN": "hunter2"}, "--env")})
    (root / "requirements.txt").write_text("attrs\n")
    for _ in range(2):
        debugged(Session(load(root, environ={}), progress=unheard))
        assert engine.boxes["iris-demo"].spec.env["TOKEN"] == "hunter2"
        assert "hunter2" not in str(engine.boxes["iris-demo"].container.labels)
    assert runs(engine) == ["build", "run"] * 2


def test_debug_has_a_debugger_after_a_run_without_one(opened: Open, engine: ServingEngine) -> None:
    opened().run(BuildOptions(), StartOptions(debug=False))
    assert debugged(opened()).running.debug is not None
    assert engine.boxes["iris-demo"].spec.env["DEVKIT_DEBUG"] == "1"


def test_open_ports_have_to_be_asked_for_each_time(
    opened: Open, engine: ServingEngine, root: Path, said: list[str]
) -> None:
    started_with(root, {}, StartOptions(bind="0.0.0.0", allow_remote_debug=True))
    start = {"bind": "0.0.0.0", "allow_remote_debug": True}
    relabelled(engine, options=json.dumps({"config": {}, "start": start, **start}))
    debugged(opened())
    assert {port.bind for port in engine.boxes["iris-demo"].spec.ports} == {"127.0.0.1"}
    assert engine.boxes["iris-demo"].spec.env["DEVKIT_DEBUG_CLIENTS"] == "host"


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("options", "{"),
        ("options", "[" * 100_000),
        ("options", "[]"),
        ("options", '{"config": []}'),
        ("options", '{"env": [1]}'),
        ("options", '{"debug": "no"}'),
        ("layout", "{"),
        ("layout", '[{"local": "."}]'),
        ("layout", '[{"local": ".", "remote": 1}]'),
        ("layout", '[{"local": "\\u0000", "remote": "/a"}]'),
        ("layout", '[{"local": ".", "remote": "/a/../b"}]'),
        ("workspace", ""),
        ("workspace", "here"),
    ],
)
def test_a_label_that_devkit_did_not_write_is_told(
    opened: Open, engine: ServingEngine, root: Path, label: str, text: str
) -> None:
    debugged(opened())
    relabelled(engine, **{label: text})
    session = Session(load(root, environ={}), progress=unheard)
    told = f"devkit.{label} of the container iris-demo"
    with pytest.raises(NotOurs, match=told) as caught:
        debugged(session)
    assert "docker rm" in (caught.value.hint or "")
    assert engine.boxes["iris-demo"].container.is_running


@pytest.mark.parametrize(
    "config", [{"run.user": []}, {"bind": "0.0.0.0"}, {"run": {"user": 0}}, {"ports.score": -1}]
)
def test_options_that_this_devkit_does_not_take_say_nothing(
    opened: Open, engine: ServingEngine, root: Path, config: dict[str, Any]
) -> None:
    debugged(opened())
    relabelled(engine, options=json.dumps({"config": {"run.memory": "1g", **config}}))
    with Session(load(root, environ={}), progress=unheard) as session:
        debugged(session)
        assert session.workspace.config.run == load(root, environ={}).config.run


def other_workspace(tmp_path: Path, *, said_by: str = "--service") -> Session:
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "score.py").write_text(SCORE)
    service = Override("iris-demo", said_by)
    given = {"service": service, "ports.score": "auto", "ports.debug": "auto"}
    return Session(load(folder, overrides=given, environ={}), progress=unheard)


def test_deleting_another_workspaces_service_leaves_the_files_of_both(
    opened: Open, engine: ServingEngine, root: Path, tmp_path: Path
) -> None:
    debugged(opened())
    other = other_workspace(tmp_path)
    other.launch_files("write")
    engine.edit("iris-demo", f"{INSIDE}/score.py", b"# inside\n")
    done = deleting.delete(other, deleting.planned(other, with_launch=True))
    assert (done.container, done.launch_root) == ("iris-demo", None)
    for folder in (root, tmp_path / "other"):
        assert (folder / ".vscode" / "launch.json").exists()
    assert trashed(root) == []
    (kept,) = trashed(tmp_path / "other")
    assert list(kept.values()) == [b"# inside\n"]


def test_a_container_of_another_workspace_is_left_alone_while_that_is_there(
    engine: ServingEngine, root: Path, tmp_path: Path
) -> None:
    started_with(root, {"run.memory": Override("1g", "--memory")})
    theirs = engine.boxes["iris-demo"]
    other = other_workspace(tmp_path, said_by="devkit.yaml")
    assert str(theirs.container.ports[5678][1]) not in other.launch_files("print").text
    version = FromImage(engine.images({})[0])
    for act in (
        other.status,
        other.stop,
        partial(debugged, other),
        partial(debugged, other, version=version),
        partial(other.run, BuildOptions(), StartOptions()),
        partial(deleting.planned, other, with_launch=True),
    ):
        with pytest.raises(NotOurs, match=str(root)):
            act()
    assert engine.boxes == {"iris-demo": theirs}
    assert theirs.container.is_running
    assert runs(engine) == ["build", "run"]


def test_a_named_service_of_another_workspace_can_be_asked_but_not_replaced(
    engine: ServingEngine, root: Path, tmp_path: Path
) -> None:
    started_with(root, {})
    other = other_workspace(tmp_path)
    assert other.status().service.service == "iris-demo"
    with pytest.raises(NotOurs, match=str(root)):
        debugged(other)
    assert runs(engine) == ["build", "run"]


def test_a_container_of_a_workspace_that_is_gone_is_replaced(
    engine: ServingEngine, root: Path, tmp_path: Path
) -> None:
    started_with(root, {"run.memory": Override("1g", "--memory")})
    other = other_workspace(tmp_path, said_by="devkit.yaml")
    root.rename(root.with_name("moved"))
    assert other.status().service.service == "iris-demo"
    debugged(other)
    assert runs(engine) == ["build", "run"] * 2
    assert engine.boxes["iris-demo"].spec.memory is None


def test_delete_says_what_was_there(opened: Open, engine: ServingEngine, root: Path) -> None:
    debugged(opened())
    session = opened()
    plan = deleting.planned(session, with_launch=True)
    assert deleting.delete(session, plan) == plan
    nothing = deleting.delete(session, plan)
    assert str(nothing) == "nothing: nothing of iris-demo was there"
    assert jsonable(nothing) == {
        "service": "iris-demo",
        "container": None,
        "container_id": None,
        "network": None,
        "launch_root": None,
        "edits": None,
    }


def test_files_of_a_service_that_runs_as_root_by_name_move_into_it(
    opened: Open, engine: ServingEngine, root: Path
) -> None:
    debugged(opened(run__user="root"))
    (root / "helper.py").write_text(HELPER + "# edited\n")
    debugged(opened(run__user="root"))
    assert runs(engine) == ["build", "run"]
    files = engine.boxes["iris-demo"].files
    assert files[PurePosixPath(INSIDE, "helper.py")].endswith(b"# edited\n")


def test_the_image_of_before_goes_with_its_container(
    opened: Open, engine: ServingEngine, root: Path
) -> None:
    for requirement in ("attrs", "idna", "six"):
        (root / "requirements.txt").write_text(f"{requirement}\n")
        debugged(opened())
        assert [image.tags for image in engine.stored.values()] == [("debug:1",)]


def test_an_image_of_before_that_is_used_or_not_ours_stays(
    opened: Open, engine: ServingEngine, root: Path
) -> None:
    foreign = engine.add_image("debug:1")
    (first,) = [opened().package(BuildOptions())]
    engine.run(RunSpec(Tag("debug", "1"), "neighbour", {}, {}, ()))
    (root / "requirements.txt").write_text("attrs\n")
    debugged(opened())
    assert engine.image(foreign.id) is not None
    assert engine.image(first.id) is not None


def test_options_given_now_win_over_those_that_stick(
    opened: Open, engine: ServingEngine, root: Path
) -> None:
    for memory in ("1g", "2g"):
        given = {"run.memory": Override(memory, "--memory")}
        debugged(Session(load(root, overrides=given, environ={}), progress=unheard))
    assert engine.boxes["iris-demo"].spec.memory == "2g"


def test_a_service_named_by_option_is_found_by_its_workspace(
    opened: Open, engine: ServingEngine, root: Path
) -> None:
    given = {"service": Override("other", "--service")}
    debugged(Session(load(root, overrides=given, environ={}), progress=unheard))
    plain = Session(load(root, environ={}), progress=unheard)
    assert debugged(plain).running.service == "other"
    assert runs(engine) == ["build", "run"]


def test_a_failed_init_is_the_result_and_names_the_local_line(
    opened: Open, engine: ServingEngine, root: Path
) -> None:
    engine.fail("/var/azureml-app/iris démo/score.py", 5, "no model")
    made = debugged(opened())
    assert isinstance(made.error, InitFailed)
    assert made.error.exit_code == 6
    assert made.error.message == f"{root / 'score.py'}:5: init() raised ValueError: no model"
    assert made.problem_line is not None
    assert made.problem_line.startswith("devkit: score.py:5: error: ")
    assert engine.boxes["iris-demo"].container.is_running
    assert made.launch_json is not None
    assert made.launch_json.exists()
    assert not made.mappings[0].verified


def test_waiting_for_the_client_in_init_is_ended_by_nobody_else(
    opened: Open, engine: ServingEngine
) -> None:
    made = debugged(opened(debug__wait_for_client=True))
    assert made.error is None
    assert "attach" not in engine.asked
    assert engine.boxes["iris-demo"].spec.env["DEVKIT_WAIT_FOR_CLIENT"] == "1"


def test_an_attached_editor_is_named_and_left_alone(opened: Open, engine: ServingEngine) -> None:
    engine.status["attached"] = {"client": "Visual Studio Code", "since": 1.0}
    made = debugged(opened())
    assert made.attached == "Visual Studio Code"
    assert "attach" not in engine.asked
    assert made.mappings[0].verified


def test_an_entry_script_that_cannot_be_stopped_in_is_an_error(
    opened: Open, engine: ServingEngine
) -> None:
    engine.unbound.add("score.py")
    with pytest.raises(MappingNotProved, match=r"score\.py"):
        debugged(opened())


def test_another_file_that_does_not_compile_is_only_mentioned(
    opened: Open, root: Path, said: list[str]
) -> None:
    (root / "old.py").write_text("print 'python 2'\n")
    made = debugged(opened())
    assert not made.mappings[0].verified
    assert any("old.py does not compile" in line for line in said)


def test_without_proof_and_launch_file_nothing_is_attached_or_written(
    opened: Open, engine: ServingEngine, root: Path
) -> None:
    made = debugged(opened(), write=False, prove=False)
    assert "attach" not in engine.asked
    assert not (root / ".vscode").exists()
    assert made.launch_json is None
    assert made.contract()["timings"]["attach_s"] is None


def test_a_broken_launch_json_is_told_before_anything_is_done(
    opened: Open, engine: ServingEngine, root: Path
) -> None:
    (root / ".vscode").mkdir()
    (root / ".vscode" / "launch.json").write_text("{ nonsense")
    with pytest.raises(LaunchFileBroken):
        debugged(opened())
    assert engine.calls == []
    assert (root / ".vscode" / "launch.json").read_text() == "{ nonsense"


@pytest.mark.parametrize("step", ["debug", "run"])
def test_a_broken_entry_script_is_told_before_any_build(
    opened: Open, engine: ServingEngine, root: Path, step: str
) -> None:
    (root / "score.py").write_text("def init(:\n")
    with pytest.raises(EntryScriptBroken, match=r"score\.py:1"):
        getattr(opened(), step)(BuildOptions(), StartOptions())
    assert engine.calls == []


def test_an_open_debugger_is_refused_before_any_build(opened: Open, engine: ServingEngine) -> None:
    with pytest.raises(RemoteDebugRefused):
        opened().run(BuildOptions(), StartOptions(bind="0.0.0.0"))
    assert engine.calls == []


def test_run_without_a_debugger_waits_for_the_health_of_the_service(
    opened: Open, engine: ServingEngine
) -> None:
    running = opened().run(BuildOptions(), StartOptions(debug=False))
    assert running.debug is None
    assert engine.asked == []
    assert engine.boxes["iris-demo"].spec.env["DEVKIT_DEBUG"] == "0"


def test_run_raises_when_init_failed(opened: Open, engine: ServingEngine) -> None:
    engine.fail("/var/azureml-app/iris démo/score.py", 5, "no model")
    with pytest.raises(InitFailed):
        opened().run(BuildOptions(), StartOptions())


def test_delete_leaves_no_container_network_or_entry(
    opened: Open, engine: ServingEngine, root: Path
) -> None:
    debugged(opened())
    session = opened()
    deleting.delete(session, deleting.planned(session, with_launch=True))
    assert engine.boxes == {}
    assert engine.networks == {}
    assert not (root / ".vscode").exists()
    deleting.delete(session, deleting.planned(session, with_launch=True))


def test_delete_leaves_what_others_wrote_in_launch_json(opened: Open, root: Path) -> None:
    (root / ".vscode").mkdir()
    text = '{\n  // mine\n  "version": "0.2.0",\n  "configurations": [{"name": "mine"}]\n}\n'
    (root / ".vscode" / "launch.json").write_text(text)
    debugged(opened())
    session = opened()
    deleting.delete(session, deleting.planned(session, with_launch=True))
    assert (root / ".vscode" / "launch.json").read_text() == text


def test_stop_names_the_container_and_status_says_so(opened: Open, engine: ServingEngine) -> None:
    debugged(opened())
    assert opened().stop() == "iris-demo"
    status = opened().service().status()
    assert (status.container_state, status.runtime) == ("exited", None)


def test_without_a_container_the_services_that_there_are_get_named(
    opened: Open, engine: ServingEngine, tmp_path: Path
) -> None:
    debugged(opened())
    (tmp_path / "other").mkdir()
    session = Session(load(tmp_path / "other", environ={}), progress=unheard)
    with pytest.raises(NoService, match="other") as caught:
        session.service()
    assert caught.value.hint is not None
    assert "iris-demo" in caught.value.hint


def test_an_explicitly_named_service_is_never_another_one(
    opened: Open, engine: ServingEngine, root: Path
) -> None:
    debugged(opened())
    given = {"service": Override("unknown", "--service")}
    with pytest.raises(NoService, match="unknown"):
        Session(load(root, overrides=given, environ={}), progress=unheard).service()


def test_the_status_comes_from_the_labels_alone(
    opened: Open, engine: ServingEngine, root: Path
) -> None:
    debugged(opened())
    (root / "score.py").unlink()
    (root / "helper.py").unlink()
    service = opened().service()
    status = service.status()
    assert status.runtime is not None
    assert status.runtime.state == "ready"
    assert status.workspace == str(root)
    assert service.mappings[0].local == root
    assert "iris-demo: ready" in str(status)


def test_a_chosen_engine_is_what_the_editors_task_uses_too(opened: Open, root: Path) -> None:
    debugged(opened(kind="process"))
    task = (root / ".vscode" / "tasks.json").read_text("utf-8")
    assert '"--engine"' in task
    assert '"process"' in task


def test_launch_without_a_container_takes_what_is_configured(
    opened: Open, engine: ServingEngine, root: Path
) -> None:
    session = Session(load(root, environ={}), progress=unheard)
    assert '"port": 5678' in session.launch_files("print").text
    assert not (root / ".vscode").exists()
    assert not session.launch_files("check").up_to_date
    assert len(session.launch_files("write").changed) == 2
    assert session.launch_files("check").up_to_date
    assert len(session.launch_files("remove").changed) == 2
    assert not (root / ".vscode").exists()


def test_a_dry_run_decides_and_does_nothing(
    opened: Open, engine: ServingEngine, root: Path
) -> None:
    plan = opened().dry_run(BuildOptions(), StartOptions())
    assert plan.ports == {5001: "auto", 5678: "auto"}
    assert plan.container == "iris-demo"
    text = str(plan)
    assert "Would build debug:1 from python:3.13-slim" in text
    assert engine.calls == []


def test_following_ends_with_how_the_container_died(opened: Open, engine: ServingEngine) -> None:
    debugged(opened())
    engine.end("iris-demo", 137, oom_killed=True, log=b"last words\n")
    shown: list[str] = []
    with pytest.raises(OutOfMemory):
        opened().follow(show=shown.append)
    assert shown == ["last words\n"]


def test_following_goes_on_with_the_container_that_took_its_place(
    opened: Open, engine: ServingEngine, root: Path
) -> None:
    debugged(opened())
    engine.write_log("iris-demo", b"first\n")
    shown: list[str] = []

    def show(line: str) -> None:
        shown.append(line)
        if line == "first\n":
            (root / "requirements.txt").write_text("attrs\n")
            debugged(opened())
            engine.write_log("iris-demo", b"second\n")
        elif line == "second\n":
            engine.end("iris-demo", 1)

    with pytest.raises(ContainerDied):
        opened().follow(show=show)
    assert shown == ["first\n", "second\n"]


def test_following_ends_quietly_when_somebody_stops_the_service(
    opened: Open, engine: ServingEngine, said: list[str]
) -> None:
    debugged(opened())
    engine.write_log("iris-demo", b"old\nnew\n")
    engine.stop("iris-demo")
    shown: list[str] = []
    opened().follow(show=shown.append, tail=1)
    assert shown == ["new\n"]
    assert said[-1] == "The container iris-demo was stopped."


@pytest.mark.parametrize("step", ["debug", "run"])
def test_ctrl_c_while_a_new_container_comes_up_takes_it_away(
    opened: Open, engine: ServingEngine, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(RunningService, "ready", interrupted)
    with pytest.raises(Interrupted, match="iris-demo, not ready yet, is removed"):
        getattr(opened(), step)(BuildOptions(), StartOptions())
    assert runs(engine) == ["build", "run"]
    assert (engine.boxes, engine.networks) == ({}, {})


def test_ctrl_c_leaves_a_container_that_ran_before(
    opened: Open, engine: ServingEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    debugged(opened())
    monkeypatch.setattr(RunningService, "ready", interrupted)
    with pytest.raises(KeyboardInterrupt):
        debugged(opened())
    assert engine.boxes["iris-demo"].container.is_running


def test_a_log_is_cut_into_lines_wherever_its_pieces_end() -> None:
    pieces = [b"a\nb", "c\ndü".encode()[:-1], "ü".encode()[-1:], b"\n", b"\xff", b"end"]
    assert list(lines(pieces)) == ["a\n", "bc\n", "dü\n", "\ufffdend\n"]


def test_a_line_without_end_is_not_kept_whole() -> None:
    cut = list(lines([b"x" * 50_000] * 10))
    assert sum(len(line) - 1 for line in cut) == 500_000
    assert max(map(len, cut)) < 120_000


def test_options_of_a_container_are_json_in_a_label(
    opened: Open, engine: ServingEngine, root: Path
) -> None:
    given = {"ports.score": Override("auto", "--port"), "service": Override("xy", "--service")}
    debugged(Session(load(root, overrides=given, environ={}), progress=unheard))
    said = json.loads(engine.boxes["xy"].container.labels["devkit.options"])
    assert said["config"] == {"ports.score": "auto"}


@pytest.mark.parametrize(
    ("labels", "whose"),
    [
        ({}, "an image that devkit did not make"),
        (
            {"devkit.service": "other", "devkit.workspace": "/b"},
            "the image of the service other in /b",
        ),
    ],
)
def test_a_tag_that_is_anothers_is_named_before_it_is_taken(
    opened: Open, engine: ServingEngine, said: list[str], labels: dict[str, str], whose: str
) -> None:
    engine.add_image("debug:1", labels=labels)
    opened().package(BuildOptions())
    note = f"debug:1 was {whose} and is taken over; --tag names another."
    assert said[0] == note
    said.clear()
    opened().package(BuildOptions(no_cache=True))
    assert note not in said


def test_a_changed_environment_is_told_until_it_is_built_in(opened: Open, root: Path) -> None:
    file = root / "requirements.txt"
    file.write_text("six==1.16.0\n")
    session = opened()
    container = debugged(session).running.container
    change = partial(reuse.environment_change, session.workspace)
    found = session.service().container
    assert (found.name, change(found)) == (container, None)
    file.write_text("six==1.17.0  # newer\n")
    assert change(found) == "requirements.txt changed: `devkit debug` builds it in."
    file.write_text("not a requirement at all\n")
    assert change(found) is None
    file.write_text("# only a comment is new\nsix==1.16.0\n")
    assert change(found) is None


def test_the_second_of_two_that_start_at_once_is_told(opened: Open, engine: ServingEngine) -> None:
    name = opened().workspace.config.service
    with turn.taken(opened().workspace.root, name), pytest.raises(NameInUse) as caught:
        debugged(opened())
    assert caught.value.message == f"Another devkit is at work on the service {name} just now."
    assert runs(engine) == []
    debugged(opened())


def test_who_loses_the_name_to_another_devkit_leaves_its_network(
    opened: Open, engine: ServingEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = engine.run

    def late(spec: RunSpec) -> Container:
        run(spec)  # the other devkit
        return run(spec)

    monkeypatch.setattr(engine, "run", late)
    with pytest.raises(NameInUse, match="Another devkit is at work on the service"):
        debugged(opened())
    assert len(engine.boxes) == len(engine.networks) == 1
