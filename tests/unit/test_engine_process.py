"""Services as processes of this machine."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath

import psutil
import pytest

from devkit.contract import APP_ROOT
from devkit.engine import BuildSpec, Container, Placement, PortBinding, RunSpec, Tag
from devkit.engines.process import ProcessEngine
from devkit.errors import EngineError, PackageInstallFailed, Unsupported
from tests.engine_contract import (
    IMAGE_ENV,
    IMAGE_LABELS,
    Bench,
    EngineContract,
    everything,
    tarred,
)

REPOSITORY = Path(__file__).parents[2]
IMAGE = Tag("ready", "1")


def build_spec(**changes: object) -> BuildSpec:
    spec = BuildSpec(tag=IMAGE, dockerfile="", context=(), labels=IMAGE_LABELS, env=IMAGE_ENV)
    return dataclasses.replace(spec, **changes)  # type: ignore[arg-type]


class TestProcesses(EngineContract):
    @pytest.fixture
    def bench(self, tmp_path: Path) -> Iterator[Bench]:
        engine = ProcessEngine(tmp_path / "state é")
        engine.build(build_spec(), progress=lambda _: None)
        bench = Bench(engine, IMAGE, PurePosixPath("/var/azureml-app"), ".")
        yield bench
        bench.clean_up()

    def test_a_file_that_was_written_is_among_the_changes_when_it_stopped_too(
        self, bench: Bench
    ) -> None:
        """A process has the workspace's own files: nothing in it could be lost."""
        container = bench.run("echo x > written; exec sleep 600")
        assert bench.engine.changes(container.name) == []


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[ProcessEngine]:
    engine = ProcessEngine(tmp_path / "state")
    yield engine
    for container in engine.containers({}):
        engine.remove(container.id)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A service "D é" with a model beside it."""
    (tmp_path / "D é").mkdir()
    (tmp_path / "D é/score.py").write_text("print('score')\n")
    (tmp_path / "iris.pkl").write_bytes(b"model")
    return tmp_path


def placed(workspace: Path) -> tuple[Placement, ...]:
    return (
        Placement(workspace / "D é", APP_ROOT / "D é"),
        Placement(workspace / "iris.pkl", APP_ROOT / "azureml-models/iris/1/iris.pkl"),
    )


def started(engine: ProcessEngine, script: str = "exec sleep 600", **changes: object) -> Container:
    spec = RunSpec(IMAGE, "svc", {}, {}, (), command=("sh", "-c", script))
    return engine.run(dataclasses.replace(spec, **changes))  # type: ignore[arg-type]


def output(engine: ProcessEngine, *command: str) -> bytes:
    with closing(engine.exec("svc", command)) as stream:
        return everything(stream)


def ended(engine: ProcessEngine) -> Container:
    for _ in engine.logs("svc", follow=True):
        pass
    container = engine.container("svc")
    assert container is not None
    return container


def test_a_service_sees_the_workspaces_own_files(engine: ProcessEngine, workspace: Path) -> None:
    engine.build(build_spec(placements=placed(workspace)), progress=lambda _: None)
    started(engine)
    script = "import os; print(os.path.realpath('D é/score.py')); print(os.listdir('D é'))"
    shown = output(engine, "python", "-c", script).decode()
    assert shown == f"{workspace}/D é/score.py\n['score.py']\n"
    assert output(engine, "cat", "azureml-models/iris/1/iris.pkl") == b"model"


def test_the_images_paths_become_this_machines(engine: ProcessEngine, tmp_path: Path) -> None:
    env = {
        "AZUREML_MODEL_DIR": "/var/azureml-app/azureml-models/iris/1",
        "SHIMS": "/opt/devkit/devkit_runtime/shims",
        "PATH": "/opt/env/bin",
    }
    image = engine.build(build_spec(env=env), progress=lambda _: None)
    started(engine)
    root = output(engine, "pwd").decode().strip()
    told = output(engine, "sh", "-c", 'echo "$AML_APP_ROOT:$AZUREML_MODEL_DIR:$SHIMS"')
    runtime = tmp_path / "state/images" / image.id.removeprefix("sha256:") / "runtime"
    assert told.decode().strip().split(":") == [
        root,
        f"{root}/azureml-models/iris/1",
        f"{runtime}/devkit_runtime/shims",
    ]
    python = output(engine, "sh", "-c", "command -v python").decode()
    assert python.startswith(f"{tmp_path}/state/venvs/")


def test_the_runtime_listens_where_a_container_would_have_published(engine: ProcessEngine) -> None:
    engine.build(build_spec(), progress=lambda _: None)
    container = started(engine, ports=(PortBinding(5001, 0), PortBinding(5678, 0)))
    told = output(engine, "sh", "-c", 'echo "$DEVKIT_SCORE_ADDRESS $DEVKIT_DEBUG_ADDRESS"')
    score, debug = container.ports[5001][1], container.ports[5678][1]
    assert told.decode().split() == [f"127.0.0.1:{score}", f"127.0.0.1:{debug}"]


def test_the_callers_devkit_variables_do_not_reach_the_service(
    engine: ProcessEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEVKIT_DEBUG_CLIENTS", "any")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    engine.build(build_spec(), progress=lambda _: None)
    started(engine)
    assert output(engine, "sh", "-c", 'echo "[$DEVKIT_DEBUG_CLIENTS$PYTHONPATH]"') == b"[]\n"


def test_one_environment_is_made_once(engine: ProcessEngine, workspace: Path) -> None:
    said: list[str] = []
    first = engine.build(build_spec(), progress=said.append)
    assert "Making a virtual environment" in said[0]
    said.clear()
    second = engine.build(build_spec(placements=placed(workspace)), progress=said.append)
    assert said == ["Copying the runtime"]
    assert first.id != second.id
    said.clear()
    assert engine.build(build_spec(placements=placed(workspace)), progress=said.append) == second
    assert said == []


def test_a_requirement_that_cannot_be_installed_is_named_and_leaves_no_environment(
    engine: ProcessEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("UV_NO_INDEX", "1")
    for _ in range(2):
        with pytest.raises(PackageInstallFailed, match=r"^nonsense-package"):
            engine.build(build_spec(requirements=("nonsense-package==9",)), progress=lambda _: None)
    assert engine.image(str(IMAGE)) is None


def test_removing_leaves_the_workspace_as_it_was(engine: ProcessEngine, workspace: Path) -> None:
    engine.build(build_spec(placements=placed(workspace)), progress=lambda _: None)
    started(engine)
    engine.remove("svc")
    engine.remove_image(str(IMAGE))
    assert (workspace / "D é/score.py").read_text() == "print('score')\n"
    assert (workspace / "iris.pkl").read_bytes() == b"model"
    assert engine.image(str(IMAGE)) is None


def test_an_archive_never_changes_the_workspace(engine: ProcessEngine, workspace: Path) -> None:
    engine.build(build_spec(placements=placed(workspace)), progress=lambda _: None)
    started(engine)
    score = workspace / "D é/score.py"
    before = score.stat()
    same = tarred({"D é/score.py": score.read_bytes()})
    engine.archive_in("svc", APP_ROOT, io.BytesIO(same))
    assert (score.stat().st_ino, score.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    for name in ("D é/score.py", "D é/new.py", "../../escaped", "/escaped"):
        with pytest.raises(Unsupported):
            engine.archive_in("svc", APP_ROOT, io.BytesIO(tarred({name: b"other"})))
    assert score.read_text() == "print('score')\n"
    assert {path.name for path in workspace.iterdir()} == {"D é", "iris.pkl", "state"}


@pytest.mark.parametrize("path", ["/etc", "/var/azureml-app/../../etc"])
def test_files_outside_the_application_root_are_not_the_services(
    engine: ProcessEngine, path: str
) -> None:
    engine.build(build_spec(), progress=lambda _: None)
    started(engine)
    with pytest.raises(Unsupported, match="application root"):
        engine.archive_out("svc", PurePosixPath(path))


def test_a_place_inside_a_folder_of_the_workspace_is_refused(
    engine: ProcessEngine, workspace: Path
) -> None:
    inside = (*placed(workspace), Placement(workspace / "iris.pkl", APP_ROOT / "D é/m/iris.pkl"))
    engine.build(build_spec(placements=inside), progress=lambda _: None)
    with pytest.raises(Unsupported, match="inside a folder of the workspace"):
        started(engine)
    assert not (workspace / "D é/m").exists()
    assert engine.container("svc") is None


def test_a_service_outlives_the_command_that_started_it(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from devkit.engines.process import ProcessEngine\n"
        "from tests.unit.test_engine_process import build_spec, started\n"
        "engine = ProcessEngine(Path(sys.argv[1]))\n"
        "engine.build(build_spec(), progress=lambda _: None)\n"
        "started(engine, 'echo up; exec sleep 600')"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, cwd=REPOSITORY)
    engine = ProcessEngine(tmp_path)
    container = engine.container("svc")
    assert container is not None
    assert container.is_running
    assert next(iter(engine.logs("svc"))) == b"up\n"
    engine.stop("svc")
    engine.remove("svc")


def test_stopping_ends_the_whole_process_group(engine: ProcessEngine) -> None:
    engine.build(build_spec(), progress=lambda _: None)
    started(engine, "sleep 600 & echo $!; wait")
    pid = int(next(iter(engine.logs("svc", follow=True))))
    child = psutil.Process(pid)
    engine.stop("svc")
    gone, _ = psutil.wait_procs([child], timeout=10)
    assert gone or child.status() == psutil.STATUS_ZOMBIE


def test_a_pid_that_was_used_again_is_never_taken_for_the_service(
    engine: ProcessEngine, tmp_path: Path
) -> None:
    engine.build(build_spec(), progress=lambda _: None)
    started(engine)
    state = tmp_path / "state/containers/svc/state.json"
    told = json.loads(state.read_text())
    with subprocess.Popen(["sleep", "600"]) as other:
        # As if both had died long ago and their numbers belonged to somebody else now.
        forged = [other.pid, told["child"][1] - 1000]
        state.write_text(json.dumps({**told, "child": forged, "supervisor": forged}))
        stale = engine.container("svc")
        engine.remove("svc")
        still_runs = other.poll() is None
        other.kill()
    os.killpg(told["child"][0], signal.SIGKILL)
    assert stale is not None
    assert (stale.state, stale.exit_code) == ("exited", 137)
    assert still_runs


def test_a_service_that_dies_by_a_signal_says_so(engine: ProcessEngine) -> None:
    engine.build(build_spec(), progress=lambda _: None)
    started(engine, "kill -SEGV $$")
    assert ended(engine).exit_code == 139


def test_what_a_service_leaves_running_does_not_hide_its_end(engine: ProcessEngine) -> None:
    engine.build(build_spec(), progress=lambda _: None)
    started(engine, "sleep 600 & echo $!; exit 4")
    log = engine.logs("svc", follow=True)
    left = int(next(log))
    assert list(log) == []
    container = engine.container("svc")
    os.kill(left, signal.SIGKILL)
    assert container is not None
    assert container.exit_code == 4


def test_a_command_that_cannot_start_leaves_nothing_behind(engine: ProcessEngine) -> None:
    engine.build(build_spec(), progress=lambda _: None)
    with pytest.raises(EngineError, match="no-such-command"):
        started(engine, command=("no-such-command",))
    assert engine.containers({}) == []


def test_a_state_folder_is_for_its_owner_only(engine: ProcessEngine, tmp_path: Path) -> None:
    engine.build(build_spec(), progress=lambda _: None)
    started(engine, env={"PASSWORD": "secret"})
    folder = tmp_path / "state/containers/svc"
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / "launch.json").stat().st_mode & 0o077 == 0


def test_what_needs_an_engine_says_so(engine: ProcessEngine) -> None:
    engine.build(build_spec(), progress=lambda _: None)
    started(engine)
    for call in (
        lambda: engine.import_image(io.BytesIO(), IMAGE, labels={}),
        lambda: engine.exec("svc", ["sh"], tty=True),
    ):
        with pytest.raises(Unsupported) as refused:
            call()
        assert refused.value.hint


def test_an_image_by_digest_is_not_here(engine: ProcessEngine) -> None:
    assert engine.image(f"python@sha256:{'0' * 64}") is None
