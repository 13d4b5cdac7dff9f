"""Packaging: what goes into the build, and when there is none."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from devkit import contract as c
from devkit.config import Workspace, load
from devkit.engine import BuildSpec, Image, Progress
from devkit.errors import BadValue, EntryScriptMissing, EnvironmentInvalid, ModelMissing
from devkit.package import environment, image, network
from tests.fake_engine import FakeEngine

SCORE = "def init():\n    pass\ndef run(data):\n    return data\n"


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No index is asked, and nothing of this machine's configuration counts."""
    for name in ("PIP_INDEX_URL", "PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def service(tmp_path: Path) -> Path:
    root = tmp_path / "mein dienst"
    (root / "models").mkdir(parents=True)
    (root / "score.py").write_text(SCORE)
    (root / "helper.py").touch()
    (root / "models/m.pkl").write_bytes(b"model")
    return root


def workspace(root: Path, **overrides: Any) -> Workspace:
    keys = {key.replace("__", "."): value for key, value in overrides.items()}
    return load(root, overrides=keys, environ={})


def plan(found: Workspace, **options: Any) -> image.Plan:
    wanted = environment.read(found)
    return image.plan(found, wanted, network.found(found, wanted.wants), **options)


def package(engine: FakeEngine, found: Workspace, **options: Any) -> image.Packaged:
    return image.package(engine, found, progress=lambda line: None, **options)


def test_source_and_models_have_their_places_and_nothing_is_shipped_twice(service: Path) -> None:
    spec = plan(workspace(service)).spec
    paths = {str(file.path) for file in spec.context}
    assert {path for path in paths if path.startswith("app/")} == {
        "app/mein dienst/score.py",
        "app/mein dienst/helper.py",
        "app/mein dienst/models/m.pkl",
    }
    link = next(file for file in spec.context if file.path.name == "m.pkl" and file.link)
    assert link.link == "../../azureml-models/m/1/m.pkl"
    assert {path for path in paths if path.startswith("models/")} == {"models/m/1/m.pkl"}
    assert spec.env["AZUREML_ENTRY_SCRIPT"] == "mein dienst/score.py"
    assert spec.env["AZUREML_SOURCE_DIRECTORY"] == "mein dienst"
    assert spec.env["AZUREML_MODEL_DIR"] == "/var/azureml-app/azureml-models/m/1"
    assert [str(placement.remote) for placement in spec.placements] == [
        "/var/azureml-app/mein dienst",
        "/var/azureml-app/azureml-models/m/1/m.pkl",
    ]


def test_a_source_directory_is_named_after_itself(service: Path) -> None:
    (service / "src").mkdir()
    (service / "score.py").rename(service / "src/score.py")
    spec = plan(workspace(service, source_directory="src", entry_script="score.py")).spec
    app = [str(f.path) for f in spec.context if f.path.parts[0] == "app"]
    assert app == ["app/src/score.py"]
    assert json.loads(spec.labels[c.LABEL_LAYOUT])[0] == {
        "local": "src",
        "remote": "/var/azureml-app/src",
    }


def test_the_layout_names_the_source_first_and_then_each_model(service: Path) -> None:
    outside = service.parent / "shared.onnx"
    outside.touch()
    models = [{"name": "m", "path": "models/m.pkl"}, {"name": "s", "path": "../shared.onnx"}]
    assert plan(workspace(service, models=models)).layout == (
        {"local": ".", "remote": "/var/azureml-app/mein dienst"},
        {"local": "models/m.pkl", "remote": "/var/azureml-app/azureml-models/m/1/m.pkl"},
        {"local": str(outside), "remote": "/var/azureml-app/azureml-models/s/1/shared.onnx"},
    )


def test_the_configuration_and_its_env_file_stay_on_this_machine(service: Path) -> None:
    (service / "devkit.yaml").write_text("run: {env: {TOKEN: hush}, env_file: settings.txt}\n")
    (service / "settings.txt").write_text("TOKEN=hush\n")
    spec = plan(load(service, environ={})).spec
    names = {file.path.name for file in spec.context}
    assert not names & {"devkit.yaml", "settings.txt"}
    assert "hush" not in spec.dockerfile + str(spec.labels) + str(spec.env)


def test_the_runtime_is_in_the_context(service: Path) -> None:
    paths = {str(file.path) for file in plan(workspace(service)).spec.context}
    assert {"runtime/__main__.py", "runtime/front.py"} <= paths


def test_a_local_project_is_installed_from_the_context(service: Path) -> None:
    (service / "my lib").mkdir()
    (service / "my lib/pyproject.toml").write_text('[project]\nname = "my-lib"\n')
    (service / "requirements.txt").write_text("-e ./my lib\nsix\n")
    found = plan(workspace(service, environment="requirements.txt"))
    context = {str(file.path): file.content for file in found.spec.context}
    assert context["build/requirements/requirements.txt"] == b"six\n/tmp/devkit/local/0/project\n"
    assert "build/local/0/project/pyproject.toml" in context
    assert str(service / "my lib") in found.spec.requirements


def test_server_and_debugger_are_installed_with_the_environment(service: Path) -> None:
    (service / "requirements.txt").write_text("six==1.17.0\n")
    spec = plan(workspace(service, environment="requirements.txt")).spec
    assert spec.requirements[0] == "six==1.17.0"
    assert "debugpy" in spec.requirements
    assert any(line.startswith("azureml-inference-server-http") for line in spec.requirements)


def test_the_pythons_default_image_is_the_base(service: Path) -> None:
    (service / "environment.yml").write_text("dependencies: [python=3.10]\n")
    assert plan(workspace(service)).base.image == "python:3.10-slim"


@pytest.mark.parametrize("name", ["azureml-models"])
def test_a_source_directory_that_would_cover_the_models_is_refused(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "score.py").write_text(SCORE)
    with pytest.raises(BadValue, match="has no name that it can keep"):
        plan(workspace(tmp_path, source_directory=name, models=[]))


def test_what_only_conda_has_needs_another_way_in(service: Path) -> None:
    (service / "environment.yml").write_text("dependencies: [python=3.13, ffmpeg, r-base]\n")
    with pytest.raises(EnvironmentInvalid, match="ffmpeg, r-base, which only conda") as caught:
        plan(workspace(service))
    assert "image.apt: [ffmpeg, r-base]" in (caught.value.hint or "")
    found = plan(workspace(service, image__apt=["ffmpeg"]))
    assert any("has to come from image.apt" in note for note in found.notes)


def test_an_entry_script_that_dockerignore_takes_away_is_named(service: Path) -> None:
    (service / ".dockerignore").write_text("*.py\n")
    with pytest.raises(EntryScriptMissing, match="would not get into the image"):
        plan(workspace(service))


def test_a_missing_model_stops_before_the_engine_is_asked(service: Path) -> None:
    engine = FakeEngine()
    with pytest.raises(ModelMissing):
        package(engine, workspace(service, models=[{"name": "x", "path": "gone.pkl"}]))
    assert engine.calls == []


def test_nothing_changed_means_no_build(service: Path) -> None:
    engine = FakeEngine("python:3.13-slim")
    first = package(engine, workspace(service))
    again = package(engine, workspace(service))
    assert (first.reused, again.reused) == (False, True)
    assert again.image == first.image
    assert len(engine.built) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "score.py").write_text(SCORE + "# edited\n"),
        lambda root: (root / "models/m.pkl").write_bytes(b"other"),
        lambda root: (root / "requirements.txt").write_text("six\n"),
        lambda root: (root / "devkit.yaml").write_text("runtime: {reload: hot}\n"),
        lambda root: (root / "helper.py").chmod(0o755),
    ],
)
def test_any_change_is_built(service: Path, change: Any) -> None:
    engine = FakeEngine("python:3.13-slim")
    package(engine, workspace(service))
    change(service)
    assert not package(engine, workspace(service)).reused
    assert package(engine, workspace(service)).reused


def test_a_newer_base_image_is_built_on(service: Path) -> None:
    engine = FakeEngine("python:3.13-slim")
    package(engine, workspace(service))
    engine.add_image("python:3.13-slim")
    assert not package(engine, workspace(service)).reused


@pytest.mark.parametrize("option", ["no_cache", "pull"])
def test_a_build_can_be_asked_for(service: Path, option: str) -> None:
    engine = FakeEngine("python:3.13-slim")
    package(engine, workspace(service))
    assert not package(engine, workspace(service), **{option: True}).reused
    assert getattr(engine.built[-1], option) is True


def test_a_bootstrapped_base_stands_in_for_the_default_one(service: Path) -> None:
    engine = FakeEngine("devkit-base:3.13")
    package(engine, workspace(service))
    assert engine.built[0].dockerfile.startswith("FROM devkit-base:3.13 AS devkit-base\n")
    engine.add_image("python:3.13-slim")
    package(engine, workspace(service))
    assert engine.built[1].dockerfile.startswith("FROM python:3.13-slim AS devkit-base\n")


@pytest.mark.parametrize(
    "known", [{"labels": {c.LABEL_BASE_PYTHON: "3.11"}}, {"env": {"PYTHON_VERSION": "3.11.9"}}]
)
def test_a_base_with_another_python_is_named_before_the_build(service: Path, known: Any) -> None:
    (service / "environment.yml").write_text("dependencies: [python=3.13]\n")
    engine = FakeEngine()
    engine.add_image("mine:1", **known)
    with pytest.raises(EnvironmentInvalid, match=r"environment.yml:1 asks for Python 3.13.*3.11"):
        package(engine, workspace(service), base="mine:1")
    assert engine.built == []


def test_pins_are_checked_once_for_an_environment(
    service: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []
    monkeypatch.setattr(
        "devkit.package.pins.check_pins", lambda wanted, reach, **_: checked.append(wanted.python)
    )
    engine = FakeEngine("python:3.13-slim")
    package(engine, workspace(service))
    (service / "score.py").write_text(SCORE + "# edited\n")
    package(engine, workspace(service))
    assert checked == ["3.13"]
    (service / "requirements.txt").write_text("six==1.17.0\n")
    package(engine, workspace(service))
    assert checked == ["3.13", "3.13"]


def test_an_index_password_reaches_the_build_in_a_private_file_that_goes_away(
    service: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Reading(FakeEngine):
        def build(self, spec: BuildSpec, *, progress: Progress) -> Image:
            path = spec.secrets["devkit-index"]
            seen[path] = (path.read_text(), stat.S_IMODE(path.stat().st_mode))
            return super().build(spec, progress=progress)

    seen: dict[Path, tuple[str, int]] = {}
    monkeypatch.setenv("PIP_INDEX_URL", "https://me:hush&x@a.test/simple")
    monkeypatch.setattr("devkit.package.pins.check_pins", lambda *_, **__: None)
    engine = Reading("python:3.13-slim")
    package(engine, workspace(service))
    ((path, (text, mode)),) = seen.items()
    assert "export PIP_INDEX_URL='https://me:hush&x@a.test/simple'\n" in text
    assert mode == 0o600
    assert not path.exists()
    assert "hush" not in str(engine.built[0])


def test_build_secrets_are_read_as_docker_writes_them(service: Path) -> None:
    (service / "token.txt").touch()
    found = plan(workspace(service, build__secrets=["id=token,src=token.txt"]))
    assert found.spec.secrets == {"token": service / "token.txt"}
    with pytest.raises(BadValue, match=r"build.secrets"):
        plan(workspace(service, build__secrets=["token=token.txt"]))
