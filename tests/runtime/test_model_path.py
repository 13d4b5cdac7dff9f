"""Model.get_model_path in an entry script: where it looks, what it says when it finds nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import running
from tests.running import Service

SCRIPT = """\
import json, logging, os
from azureml.core.model import Model

logging.basicConfig(level=logging.DEBUG)


def init():
    pass


def run(data):
    asked = json.loads(data)
    return os.path.relpath(Model.get_model_path(**asked), os.getcwd())
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder: Path = tmp_path_factory.mktemp("models")
    with running.on_host(folder, files={"score.py": SCRIPT}) as service:
        for path in (
            "azureml-models/iris/1/iris.pkl",
            "azureml-models/iris/2/iris.pkl",
            "azureml-models/iris/10/folder/part",
            "azureml-models/twice/1/a",
            "azureml-models/twice/1/b",
            "azureml-models/strange/latest/a",
            "here.pkl",
        ):
            file = service.root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("x")
        (service.root / "azureml-models/empty").mkdir()
        yield service


def ask(service: Service, **arguments: Any) -> Any:
    reply = service.request(body=json.dumps(arguments).encode())
    return reply.json if reply.status == 200 else reply.json["error"]


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        ({"model_name": "iris"}, "azureml-models/iris/10/folder"),
        ({"model_name": "iris", "version": 2}, "azureml-models/iris/2/iris.pkl"),
        ({"model_name": "here.pkl"}, "here.pkl"),
    ],
    ids=["the largest number", "the version asked for", "the working directory"],
)
def test_a_model_is_found(service: Service, arguments: dict[str, Any], path: str) -> None:
    assert ask(service, **arguments) == path


@pytest.mark.parametrize(
    ("arguments", "kind", "told"),
    [
        ({"model_name": "rose"}, "ModelNotFoundException", "azureml-models"),
        ({"model_name": "iris", "version": 3}, "WebserviceException", "not found in cache"),
        ({"model_name": "iris", "version": "2"}, "WebserviceException", "should be an int"),
        ({"model_name": None}, "WebserviceException", "model_name is None"),
        ({"model_name": "twice"}, "WebserviceException", "only contain 1 file or folder"),
        ({"model_name": "strange"}, "WebserviceException", "only version numbers"),
        ({"model_name": "empty"}, "WebserviceException", "versions is empty"),
    ],
)
def test_a_model_that_is_not_there_is_told_as_the_sdk_does(
    service: Service, arguments: dict[str, Any], kind: str, told: str
) -> None:
    error = ask(service, **arguments)
    assert error["type"] == kind
    assert told in error["message"]


def test_with_debug_logging_the_log_lists_what_is_there(service: Service) -> None:
    ask(service, model_name="rose")
    ask(service, model_name="iris")
    assert "azureml-models/iris/2/iris.pkl" in service.log()
    assert "Using latest version 10 of model iris" in service.log()
