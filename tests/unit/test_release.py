"""What a release is made from, and the step that makes its packages fit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from devkit import contract
from devkit.config import Workspace, load
from devkit.errors import BadValue
from devkit.package import release, release_packages
from tests.pythons import pythons

SCRIPT = Path(release_packages.__file__)
SCORE = "def init(): pass\ndef run(d): pass\n"


def workspace(root: Path, **overrides: Any) -> Workspace:
    (root / "score.py").write_text(SCORE)
    keys = {key.replace("__", "."): value for key, value in overrides.items()}
    return load(root, overrides=keys, environ={})


def dockerfile(root: Path, variables: dict[str, str] | None = None, **overrides: Any) -> str:
    return release.plan(workspace(root, **overrides), "debug:2", variables).spec.dockerfile


@pytest.mark.parametrize(
    ("source", "tag", "name"),
    [
        ("debug:2", None, "debug:2-release"),
        ("debug", None, "debug:latest-release"),
        ("localhost:5000/iris:v3", None, "localhost:5000/iris:v3-release"),
        ("debug:2", "iris:1", "iris:1"),
    ],
)
def test_a_release_is_named_after_what_it_is_made_from(
    source: str, tag: str | None, name: str
) -> None:
    assert str(release.name_for(source, tag)) == name


@pytest.mark.parametrize("tag", ["debug:2", "A B", "a@sha256:0"])
def test_a_name_that_will_not_do_is_refused(tag: str) -> None:
    with pytest.raises(BadValue):
        release.name_for("debug:2", tag)


def test_it_has_no_editor_no_debug_port_and_your_packages(tmp_path: Path) -> None:
    text = dockerfile(tmp_path)
    assert "apt-get" not in text
    assert "vim" not in text
    assert "EXPOSE 5001\n" in text
    assert "install libgomp1 ||" in dockerfile(tmp_path, image__apt=["libgomp1"])


def test_it_is_not_root_whatever_the_workspace_debugs_as(tmp_path: Path) -> None:
    assert "\nUSER 1000:1000\n" in dockerfile(tmp_path, run__user="root")
    assert "\nUSER 1000:1000\n" in dockerfile(tmp_path, run__user="0:0")
    assert "\nUSER 7:8\n" in dockerfile(tmp_path, run__user="7:8")


def test_of_the_debug_images_variables_it_takes_the_services(tmp_path: Path) -> None:
    (tmp_path / "environment.yml").write_text("variables: {MINE: a, PYDEVD_X: b}\n")
    variables = {
        "MINE": "1",
        "PYDEVD_X": "1",
        "OF_SOMEBODY": "hush",
        "AZUREML_ENTRY_SCRIPT": "svc/other.py",
        contract.ENV_DEBUG: "1",
        contract.ENV_WORKERS: "3",
        contract.ENV_SCORING_TIMEOUT: "5000",
    }
    spec = release.plan(workspace(tmp_path), "debug:2", variables).spec
    assert spec.env == {
        "MINE": "1",
        "AZUREML_ENTRY_SCRIPT": "svc/other.py",
        "SCORING_TIMEOUT_MS": "5000",
        "WORKER_COUNT": "3",
    }
    assert 'CMD ["azmlinfsrv", "--entry_script", "svc/other.py"]' in spec.dockerfile


def test_no_label_tells_of_this_machine(tmp_path: Path) -> None:
    labels = release.plan(workspace(tmp_path), "debug:2").spec.labels
    assert set(labels) == {"devkit.release", "devkit.release.of", "devkit.version"}
    assert str(tmp_path) not in str(labels)


def environment(folder: Path, python: str, *names: str) -> Path:
    """A virtual environment without pip, with those empty files in its packages."""
    subprocess.run([python, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/python3*/site-packages")
    for name in names:
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).touch()
    return site


def packages(folder: Path, script: str) -> tuple[int, str]:
    """Run the step in an environment; return its exit code and words."""
    entry, stand_ins = folder / "score.py", folder / "stand-ins"
    entry.write_text(script)
    (stand_ins / "azureml/core").mkdir(parents=True, exist_ok=True)
    (stand_ins / "azureml/core/__init__.py").write_text("STAND_IN = True\n")
    done = subprocess.run(
        [folder / "bin/python", SCRIPT, entry, stand_ins, *release.DEBUGGERS],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


SERVER = "azureml_inference_server_http/__init__.py"


@pytest.mark.parametrize("python", pythons().values(), ids=pythons())
def test_debuggers_go_and_the_stand_in_comes_on_every_python(tmp_path: Path, python: str) -> None:
    site = environment(
        tmp_path,
        python,
        SERVER,
        "debugpy/_vendored/pydevd/pydevd.py",
        "debugpy-1.8.0.dist-info/METADATA",
        "_pydevd_bundle/a.py",
        "bundled/ptvsd.py",
    )
    (tmp_path / "bin/debugpy").symlink_to("nowhere")
    assert packages(tmp_path, SCORE) == (0, "")
    left = [path for word in release.DEBUGGERS for path in tmp_path.rglob(f"*{word}*")]
    assert left == []
    assert (site / "azureml/core/__init__.py").read_text() == "STAND_IN = True\n"


def test_an_installed_sdk_is_left_alone(tmp_path: Path) -> None:
    site = environment(tmp_path, sys.executable, SERVER, "azureml/core/__init__.py")
    assert packages(tmp_path, SCORE) == (0, "")
    assert (site / "azureml/core/__init__.py").read_text() == ""


def test_without_the_server_nothing_could_be_released(tmp_path: Path) -> None:
    environment(tmp_path, sys.executable)
    code, said = packages(tmp_path, SCORE)
    assert (code, "azureml-inference-server-http is missing" in said) == (1, True)


@pytest.mark.parametrize(
    ("line", "is_refused"),
    [
        ("import debugpy", True),
        ("import json, debugpy.server", True),
        ("from ptvsd import enable_attach", True),
        ("try:\n    import debugpy\nexcept ImportError: pass", False),
        ("def f():\n    import debugpy", False),
        ("from . import debugpy", False),
        ("import debugpython", False),
    ],
)
def test_only_an_import_that_always_runs_is_refused(
    tmp_path: Path, line: str, is_refused: bool
) -> None:
    environment(tmp_path, sys.executable, SERVER)
    code, said = packages(tmp_path, f"import os\n{line}\n")
    assert (code, "score.py:2 imports" in said) == (int(is_refused), is_refused)
