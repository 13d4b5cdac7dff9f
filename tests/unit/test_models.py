"""Where models stand in the container."""

from __future__ import annotations

from pathlib import Path

import pytest

from devkit.config import ModelEntry
from devkit.errors import BadValue, ModelMissing
from devkit.package.models import model_dir, notes, placements

ROOT = "/var/azureml-app/azureml-models"


def test_a_file_and_a_folder_keep_their_names_below_name_and_version(tmp_path: Path) -> None:
    (tmp_path / "m.pkl").touch()
    (tmp_path / "net").mkdir()
    found = placements(
        [ModelEntry(name="a", path="m.pkl", version=3), ModelEntry(name="b", path="net/")], tmp_path
    )
    assert [(p.local, str(p.remote)) for p in found] == [
        (tmp_path / "m.pkl", f"{ROOT}/a/3/m.pkl"),
        (tmp_path / "net", f"{ROOT}/b/1/net"),
    ]


def test_a_path_outside_the_workspace_is_taken(tmp_path: Path) -> None:
    workspace = tmp_path / "w"
    workspace.mkdir()
    (tmp_path / "shared.onnx").touch()
    (found,) = placements([ModelEntry(name="a", path="../shared.onnx")], workspace)
    assert found.local == tmp_path / "shared.onnx"
    (absolute,) = placements([ModelEntry(name="a", path=str(tmp_path / "shared.onnx"))], workspace)
    assert absolute == found


def test_a_link_is_followed_and_keeps_its_name(tmp_path: Path) -> None:
    (tmp_path / "blob-1f").touch()
    (tmp_path / "model.pkl").symlink_to("blob-1f")
    (found,) = placements([ModelEntry(name="a", path="model.pkl")], tmp_path)
    assert found.local == tmp_path / "blob-1f"
    assert found.remote.name == "model.pkl"


def test_a_missing_model_is_named_with_what_is_near(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models/iris_v2.pkl").touch()
    with pytest.raises(ModelMissing, match=r"models/iris_v1.pkl of model 'iris'") as caught:
        placements([ModelEntry(name="iris", path="models/iris_v1.pkl")], tmp_path)
    assert "iris_v2.pkl" in (caught.value.hint or "")


def test_a_missing_folder_is_named_with_what_is_near(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    with pytest.raises(ModelMissing) as caught:
        placements([ModelEntry(name="iris", path="model/iris.pkl")], tmp_path)
    assert "Did you mean models" in (caught.value.hint or "")


def test_a_link_to_nowhere_says_so(tmp_path: Path) -> None:
    (tmp_path / "m.pkl").symlink_to("gone")
    with pytest.raises(ModelMissing, match="is a link to gone"):
        placements([ModelEntry(name="a", path="m.pkl")], tmp_path)


def test_one_version_holds_one_entry(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "b").touch()
    with pytest.raises(BadValue, match="version 1 twice"):
        placements([ModelEntry(name="m", path="a"), ModelEntry(name="m", path="b")], tmp_path)


@pytest.mark.parametrize(("names", "folder"), [([], ""), (["a"], "/a/1"), (["a", "b"], "")])
def test_the_model_folder_is_that_of_the_only_model_or_of_all(
    names: list[str], folder: str
) -> None:
    assert model_dir([ModelEntry(name=name, path="x") for name in names]) == ROOT + folder


def test_with_several_models_it_is_said_what_the_model_folder_is() -> None:
    one, two = (ModelEntry(name=name, path="x", version=2) for name in "ab")
    assert notes([one]) == ()
    assert notes([one, two]) == (
        "Several models (a/2, b/2): AZUREML_MODEL_DIR is their folder, "
        "/var/azureml-app/azureml-models.",
    )
