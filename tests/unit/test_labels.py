"""What a container says of itself in labels, which anybody can write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from devkit import contract, in_step, labels
from devkit.engine import Container
from devkit.errors import NotOurs
from devkit.in_step import Order
from devkit.running import RunningService
from devkit.sync.journal import Journal
from tests.fake_engine import FakeEngine

REMOTE = "/var/azureml-app/iris"
MODELS = "/var/azureml-app/azureml-models"


def container(root: Path | str, layout: object) -> Container:
    said = {
        contract.LABEL_SERVICE: "iris",
        contract.LABEL_WORKSPACE: str(root),
        contract.LABEL_LAYOUT: json.dumps(layout),
    }
    return Container("c" * 64, "iris", "debug:1", "i", "running", None, False, said, {})


@pytest.mark.parametrize(
    "pair",
    [
        {"local": ".", "remote": "/etc"},
        {"local": ".", "remote": "/var/azureml-app"},
        {"local": ".", "remote": "/var/azureml-app/../x"},
        {"local": "a" * 5000, "remote": REMOTE},
        {"local": "a" * 300, "remote": REMOTE},
        {"local": "a\0", "remote": REMOTE},
        {"local": "\ud800", "remote": REMOTE},
        {"local": 1, "remote": REMOTE},
        {"local": "."},
    ],
)
def test_a_layout_that_devkit_does_not_write_is_refused(pair: object) -> None:
    with pytest.raises(NotOurs, match=r"devkit\.layout"):
        labels.layout(container("/ws", [pair]))


@pytest.mark.parametrize("root", ["", "ws", "/" + "a/" * 4000, "/" + "a" * 300])
def test_a_workspace_that_can_be_none_is_refused(root: str) -> None:
    with pytest.raises(NotOurs, match=r"devkit\.workspace"):
        labels.workspace(container(root, []))


def test_only_the_workspaces_own_models_and_those_it_names_go_into_a_container(
    tmp_path: Path,
) -> None:
    root = tmp_path / "ws"
    for folder in ("ws/src", "ws/models", "ws/.git", "shared", "private"):
        (tmp_path / folder).mkdir(parents=True)
    (root / "loop").symlink_to("loop")
    named = ("models", "../shared", "../private", "/etc", ".git", ".", "..", "loop")
    layout = [{"local": "src", "remote": REMOTE}]
    layout += [{"local": name, "remote": f"{MODELS}/{n}"} for n, name in enumerate(named)]
    running = RunningService(FakeEngine(), container(root, layout))
    order = Order(root, root / "src", "iris", "c", models=(tmp_path / "shared",))
    with Journal(root) as journal:
        workspace, _ = in_step.side(order, running, journal)
    watched = workspace.watched_folders()
    assert watched == [root / "src", tmp_path / "shared", root / "models"]


def test_a_container_without_a_layout_is_not_kept_in_step(tmp_path: Path) -> None:
    running = RunningService(FakeEngine(), container(tmp_path, []))
    with Journal(tmp_path) as journal, pytest.raises(NotOurs, match="does not say where"):
        in_step.side(Order(tmp_path, tmp_path, "iris", "c"), running, journal)
