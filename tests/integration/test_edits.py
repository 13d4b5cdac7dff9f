"""Edits made inside a container on a real engine, and what devkit does to the container after."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.engine

DEVKIT = Path(sys.executable).parent / "devkit"
TAG = f"devkit-test-edits:{os.getpid()}"
NAME = f"edits-{os.getpid()}"
TIMEOUT_S = 240
SCORE = "import helper\n\n\ndef init():\n    pass\n\n\ndef run(data):\n    return helper.WORD\n"


class Workspace:
    """A small service, and devkit started in it."""

    def __init__(self, folder: Path, base: str) -> None:
        self.folder = folder
        self.options = ["--base", base, "--tag", TAG, "--port", "auto", "--debug-port", "auto"]

    def devkit(self, *words: str, sync: bool = False) -> dict[str, Any]:
        done = subprocess.run(
            [DEVKIT, *words, "--json"],
            env={**os.environ, "DEVKIT_DEBUG_NO_SYNC": "0" if sync else "1"},
            capture_output=True,
            encoding="utf-8",
            cwd=self.folder,
            timeout=TIMEOUT_S,
            check=False,
        )
        print(done.stderr)  # noqa: T201  pytest shows it when the test fails
        made: dict[str, Any] = json.loads(done.stdout)
        assert made["ok"], made
        return {**made, "said": done.stderr}

    def inside(self, *words: str) -> None:
        """Edit in the container, as in `devkit shell`."""
        command = [str(DEVKIT), "exec", "--", *words]
        subprocess.run(command, cwd=self.folder, timeout=TIMEOUT_S, check=True)

    def trashed(self) -> dict[str, str]:
        """All that is in the trash, by its path in the workspace; empties it."""
        trash, found = self.folder / ".devkit" / "trash", dict[str, str]()
        for file in sorted(trash.glob("*-*/**/*")):
            if file.is_file() and file.name != "README-devkit.txt":
                found["/".join(file.relative_to(trash).parts[1:])] = file.read_text()
        subprocess.run(["rm", "-r", "-f", trash], check=True)
        return found


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, base_image: str) -> Iterator[Workspace]:
    folder = tmp_path_factory.mktemp("a démo") / NAME
    (folder / "models").mkdir(parents=True)
    (folder / "score.py").write_text(SCORE)
    (folder / "helper.py").write_text('WORD = "local"\n')
    (folder / "models" / "m.txt").write_text("model\n")
    (folder / "devkit.yaml").write_text("models: [{name: m, path: models/m.txt}]\n")
    workspace = Workspace(folder, base_image)
    try:
        workspace.devkit("debug", "--detach", *workspace.options)
        yield workspace
    finally:
        workspace.devkit("delete", "--yes")
        subprocess.run(["docker", "rmi", TAG], capture_output=True, check=False)


def test_nothing_edited_inside_keeps_nothing(service: Workspace) -> None:
    (service.folder / "helper.py").write_text('WORD = "second"\n')
    service.devkit("debug", "--detach")
    (service.folder / "helper.py").write_text('WORD = "third"\n')
    assert "Replacing the container" in service.devkit("run")["said"]
    assert not (service.folder / ".devkit" / "trash").exists()


def test_debug_keeps_what_was_edited_inside_before_it_overwrites_it(service: Workspace) -> None:
    container = service.devkit("status")["container"]
    service.inside("sed", "-i", "s/third/inside/", f"{NAME}/helper.py")
    (service.folder / "score.py").write_text(SCORE + "# edited\n")
    made = service.devkit("debug", "--detach")
    assert f"Edits made in the container {container} are kept in .devkit/trash/" in made["said"]
    assert f"-{container}: helper.py\n" in made["said"]
    assert service.trashed() == {"helper.py": 'WORD = "inside"\n'}
    service.inside("grep", "-q", "third", f"{NAME}/helper.py")
    service.inside("grep", "-q", "edited", f"{NAME}/score.py")


def test_what_the_sync_brought_in_and_out_is_no_edit_of_the_container(service: Workspace) -> None:
    helper = service.folder / "helper.py"
    service.devkit("debug", "--detach", sync=True)
    helper.write_text('WORD = "pushed"\n')
    service.devkit("sync", "flush")
    service.inside("sed", "-i", "s/pushed/pulled/", f"{NAME}/helper.py")
    service.devkit("sync", "flush")
    assert helper.read_text() == 'WORD = "pulled"\n'
    helper.write_text('WORD = "third"\n')
    service.devkit("run")
    assert service.trashed() == {}


@pytest.mark.parametrize("is_stopped", [False, True])
def test_run_keeps_what_was_edited_inside_the_container_that_it_replaces(
    service: Workspace, is_stopped: bool
) -> None:
    service.inside("sed", "-i", "s/third/inside/", f"{NAME}/helper.py")
    service.inside("sh", "-c", f"mkdir '{NAME}/a b' && echo new > '{NAME}/a b/é.txt'")
    service.inside("sh", "-c", "echo trained > azureml-models/m/1/m.txt")
    service.inside("sh", "-c", f"mkdir {NAME}/empty; ln -s /etc/passwd {NAME}/link")
    service.inside("sh", "-c", f"ln {NAME}/helper.py {NAME}/same.py; echo x > {NAME}/x.py~")
    if is_stopped:
        service.devkit("stop")
    service.devkit("run")
    assert service.trashed() == {
        "a b/é.txt": "new\n",
        "helper.py": 'WORD = "inside"\n',
        "same.py": 'WORD = "inside"\n',
        "models/m.txt": "trained\n",
    }
    service.inside("grep", "-q", "third", f"{NAME}/helper.py")


def test_delete_keeps_what_was_edited_inside_and_says_where(service: Workspace) -> None:
    service.devkit("debug", "--detach", *service.options)
    service.inside("sh", "-c", f"echo mine > {NAME}/notes.txt")
    made = service.devkit("delete", "--yes")
    assert Path(made["edits"]).parent == service.folder / ".devkit" / "trash"
    assert service.trashed() == {"notes.txt": "mine\n"}
    assert service.devkit("delete", "--yes")["edits"] is None
