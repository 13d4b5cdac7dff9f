"""Environment files of each kind, and the Python that they decide."""

from __future__ import annotations

from pathlib import Path

import pytest

from devkit.config import load
from devkit.errors import EnvironmentInvalid
from devkit.package import environment
from devkit.package.environment import Environment


def read(root: Path, text: str | None, name: str = "environment.yml") -> Environment:
    if text is not None:
        (root / name).write_text(text, encoding="utf-8")
    overrides = {"environment": name if text is not None else None}
    return environment.read(load(root, overrides=overrides, environ={}))


def test_a_conda_file_is_translated(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        """\
name: seed
channels: [conda-forge]
dependencies:
  - python=3.11
  - pip=24.0
  - conda-forge::scikit-learn=1.5
  - pytorch>=2
  - nomkl
  - pip:
      - numpy==1.26.4
variables:
  OMP_NUM_THREADS: "2"
""",
    )
    assert found.python == "3.11"
    assert found.python_place == "environment.yml:4"
    assert found.requirements == ("scikit-learn==1.5.*", "torch>=2", "numpy==1.26.4")
    assert found.variables == (("OMP_NUM_THREADS", "2"),)
    assert found.origin == "environment.yml"
    assert any("environment.yml:7: conda's pytorch is torch" in note for note in found.notes)
    assert any("environment.yml:8: nomkl is left out" in note for note in found.notes)


def test_the_pip_list_decides_where_both_name_a_package(tmp_path: Path) -> None:
    text = "dependencies:\n- python=3.11\n- numpy=1.2\n- pip: [NumPy==1.26.4]\n"
    found = read(tmp_path, text)
    assert found.requirements == ("NumPy==1.26.4",)
    assert any("environment.yml:3: numpy stands in the pip list too" in n for n in found.notes)


def test_the_pip_list_may_name_a_requirements_file(tmp_path: Path) -> None:
    (tmp_path / "r.txt").write_text("six\n")
    found = read(tmp_path, "dependencies:\n- python=3.11\n- pip:\n  - -r r.txt\n  - numpy\n")
    assert found.requirements == ("six", "numpy")


def test_markers_of_the_old_stack_are_dropped_and_said(tmp_path: Path) -> None:
    text = "azureml-defaults==1.0.45\nptvsd==4.3.2\ndebugpy==1.8.0\n"
    found = read(tmp_path, text, "requirements.txt")
    assert found.requirements == ("debugpy==1.8.0",)
    said = " ".join(found.notes)
    assert "requirements.txt:1: azureml-defaults is left out" in said
    assert "requirements.txt:2: ptvsd is left out" in said
    assert "requirements.txt:3: debugpy==1.8.0 is taken as you ask" in said


def test_a_file_without_a_python_says_who_decides(tmp_path: Path) -> None:
    found = read(tmp_path, "dependencies: [numpy]\n")
    assert (found.python, found.python_place) == ("3.13", "")
    assert any("names no Python" in note for note in found.notes)


def test_no_environment_file_is_an_empty_environment(tmp_path: Path) -> None:
    found = read(tmp_path, None)
    assert (found.python, found.requirements) == ("3.13", ())


@pytest.mark.parametrize(
    ("written", "python"),
    [
        ("python=3.8.13", "3.8"),
        ("python=3.10.18", "3.10"),
        ("python==3.9.7", "3.9"),
        ("python 3.7.*", "3.7"),
        ("python>=3.9", "3.13"),
        ("python>=3.8,<3.11", "3.10"),
        ("python<3.12", "3.11"),
        ("python=3", "3.13"),
        ("python~=3.9.1", "3.9"),
        ("python>3.13", "3.13"),
        ("python=3.12=h0_cpython", "3.12"),
    ],
)
def test_a_conda_pin_decides_the_python(tmp_path: Path, written: str, python: str) -> None:
    assert read(tmp_path, f'dependencies: ["{written}"]\n').python == python


@pytest.mark.parametrize("written", ["python=2.7", "python=3.6.9", "python>=4"])
def test_a_python_that_the_runtime_cannot_use_is_refused(tmp_path: Path, written: str) -> None:
    with pytest.raises(EnvironmentInvalid, match=r"environment.yml:2 asks for Python"):
        read(tmp_path, f"dependencies:\n- {written}\n")


def test_packages_that_only_conda_has_are_kept_apart(tmp_path: Path) -> None:
    found = read(tmp_path, "dependencies: [python=3.11, ffmpeg, r-base, six]\n")
    assert [package.name for package in found.conda_only] == ["ffmpeg", "r-base"]
    assert found.requirements == ("six",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "environment.yml is empty"),
        ("- numpy\n", "environment.yml is empty or not a conda"),
        ("dependencies:\n  - a\n b: [\n", r"environment.yml:\d: the file is not valid YAML"),
        ("name: x\nplatforms: [linux]\n", "environment.yml:2: 'platforms' is no key"),
        ("dependencies: numpy\n", "environment.yml:1: `dependencies` is not a list"),
        ("dependencies:\n- npm: [x]\n", "environment.yml:2: a list of 'npm' packages"),
        ("dependencies:\n- pip: numpy\n", "environment.yml:2: `pip` is not a list"),
        ("dependencies:\n- pip:\n  - six\n  - a b\n", "environment.yml:4: 'a b' is not"),
        ("dependencies:\n- six\n- n=1|2\n", "environment.yml:3: 'n=1|2' has versions"),
        ("dependencies: []\nvariables: [a]\n", "environment.yml:2: `variables` is not a mapping"),
    ],
)
def test_a_broken_conda_file_is_named_with_its_line(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(EnvironmentInvalid, match=message.replace("|", r"\|")):
        read(tmp_path, text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    workspace = load(tmp_path, overrides={"environment": "gone.yml"}, environ={})
    with pytest.raises(EnvironmentInvalid, match=r"gone.yml is not there"):
        environment.read(workspace)


def test_a_pyproject_gives_dependencies_and_python(tmp_path: Path) -> None:
    text = '[project]\nname = "x"\nrequires-python = ">=3.9,<3.12"\ndependencies = ["six", "b>1"]\n'
    found = read(tmp_path, text, "pyproject.toml")
    assert (found.python, found.python_place) == ("3.11", "pyproject.toml:3")
    assert found.requirements == ("six", "b>1")
    assert found.wants.lines[1].place == "pyproject.toml:4"


def test_a_pyproject_without_a_list_says_how_to_export_one(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentInvalid, match="has no list") as caught:
        read(tmp_path, '[project]\nname = "x"\ndynamic = ["dependencies"]\n', "pyproject.toml")
    assert "poetry export" in (caught.value.hint or "")


def test_the_digest_changes_with_what_is_installed_and_with_nothing_else(tmp_path: Path) -> None:
    first = read(tmp_path, "dependencies: [python=3.11, numpy]\n").digest
    assert read(tmp_path, "# c\nname: y\ndependencies: [python=3.11, numpy]\n").digest == first
    assert read(tmp_path, "dependencies: [python=3.11, numpy=2]\n").digest != first
    assert read(tmp_path, "dependencies: [python=3.12, numpy]\n").digest != first
