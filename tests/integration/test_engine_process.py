"""The real runtime as processes of this machine, in an environment from the index."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from devkit import container, service
from devkit.config import Config
from devkit.contract import APP_ROOT, DEBUG_PORT, SCORE_PORT
from devkit.engine import BuildSpec, Placement, Tag
from devkit.engines.process import ProcessEngine
from devkit.run_spec import spec_of

TAG = Tag("debug", "1")
SCORE = "def init():\n    print('init here')\n\n\ndef run(data):\n    return 'ANSWER'\n"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[ProcessEngine]:
    engine = ProcessEngine(tmp_path / "state")
    yield engine
    for found in engine.containers({}):
        engine.remove(found.id)


def test_a_service_is_installed_run_edited_and_deleted(
    engine: ProcessEngine, tmp_path: Path
) -> None:
    workspace = tmp_path / "my é service"
    workspace.mkdir()
    score = workspace / "score.py"
    score.write_text(SCORE.replace("ANSWER", "before"))
    spec = BuildSpec(
        TAG,
        "",
        (),
        {},
        requirements=("debugpy",),
        placements=(Placement(workspace, APP_ROOT / workspace.name),),
        env={
            "AZUREML_ENTRY_SCRIPT": f"{workspace.name}/score.py",
            "AZUREML_SOURCE_DIRECTORY": workspace.name,
            "PYTHONUNBUFFERED": "1",
        },
    )
    said: list[str] = []
    engine.build(spec, progress=said.append)
    assert any("debugpy" in line for line in said)

    config = Config.model_validate({"service": "pp", "ports": {"score": "auto", "debug": "auto"}})
    started = container.start(engine, spec_of(config, TAG, workspace_root=workspace))

    def ready(generation: int | None = None) -> service.Status:
        return service.wait_ready(
            *started.ports[DEBUG_PORT],
            timeout_s=60,
            alive=lambda: container.check_alive(engine, started.id),
            generation=generation,
        )

    def answer() -> bytes:
        host, port = started.ports[SCORE_PORT]
        return service.invoke(f"http://{host}:{port}/score", b"{}").body

    first = ready()
    assert answer() == b'"before"'
    score.write_text(SCORE.replace("ANSWER", "after it"))
    ready(first.generation + 1)
    assert answer() == b'"after it"'
    assert b"init here" in b"".join(engine.logs("pp"))

    container.stop(engine, "pp")
    stopped = engine.container("pp")
    assert stopped is not None
    assert not stopped.is_running
    assert container.delete(engine, "pp").container
    assert engine.containers({}) == []
    assert score.exists()
