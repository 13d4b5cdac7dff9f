"""`devkit update`: a new container takes the place of the one that runs, or that one runs again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.committed import docker, remove_images
from tests.syncing import Synced, synced

pytestmark = pytest.mark.engine

GOOD = "def init():\n    pass\n\n\ndef run(data):\n    return {word!r}\n"
BROKEN = "def init():\n    raise ValueError('no model')\n\n\ndef run(data):\n    return 0\n"


@pytest.fixture
def service(base_image: str) -> Iterator[Synced]:
    with synced("update", base_image) as made:
        try:
            yield made
        finally:
            remove_images(made.tag.partition(":")[0])


def answer(service: Synced) -> Any:
    done = service.devkit("invoke", "-d", "{}")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_new_container_takes_over_and_one_that_fails_gives_back(service: Synced) -> None:
    service.ask("pause")
    service.write("score.py", GOOD.format(word="two"))
    made = service.json("update")
    assert made["ok"], made
    assert answer(service) == "two"
    (id_,) = _containers(service)
    assert id_ != service.container
    service.container = id_
    service.ask("pause")
    service.write("score.py", BROKEN)
    refused = service.json("update")
    assert refused["error"]["code"] == "InitFailed"
    assert "no model" in refused["error"]["message"]
    assert "The container of before runs on" in refused["error"]["hint"]
    assert _containers(service) == [id_]
    inspected = json.loads(docker("inspect", id_))[0]
    assert inspected["Name"] == f"/{service.name}"
    assert inspected["State"]["Running"]
    network = f"devkit-{service.name}"
    assert list(inspected["NetworkSettings"]["Networks"]) == [network]
    assert id_ in docker("network", "inspect", "--format", "{{json .Containers}}", network)


def test_what_commits_came_from_keeps_a_name_and_a_failed_update_takes_none(
    service: Synced,
) -> None:
    first = service.engine.image(service.tag)
    assert first is not None
    committed = service.json("commit", "-m", "first")
    assert committed["ok"], committed
    service.ask("pause")
    service.write("score.py", GOOD.format(word="two"))
    done = service.devkit("update")
    assert done.returncode == 0, done.stderr
    kept_as = f"{service.tag}-before"
    assert f"what commits came from is {kept_as} now" in done.stderr
    assert _id(service, kept_as) == first.id
    second = _id(service, service.tag)
    assert second != first.id
    listed = {item["image"]: item for item in service.json("history")["images"]}
    assert listed[committed["image"]]["parent"] == kept_as
    assert f"changed since {kept_as}" in service.devkit("history").stdout
    assert service.json("diff", kept_as, committed["image"])["files"] == []
    (service.container,) = _containers(service)
    service.ask("pause")
    service.write("score.py", BROKEN)
    assert service.json("update")["error"]["code"] == "InitFailed"
    assert (_id(service, service.tag), _id(service, kept_as)) == (second, first.id)
    assert service.engine.image(f"{kept_as}-2") is None
    assert len(service.json("history")["images"]) == 3


def _id(service: Synced, tag: str) -> str:
    found = service.engine.image(tag)
    assert found is not None
    return found.id


def _containers(service: Synced) -> list[str]:
    names = ["--filter", f"name={service.name}"]
    assert str(os.getpid()) in service.name  # so that it is nobody else's
    return docker("ps", "--all", "--no-trunc", "--quiet", *names).split()


MODEL_SCORE = """\
import os
import pathlib


def init():
    global word
    folder = pathlib.Path(os.environ["AZUREML_MODEL_DIR"])
    (file,) = folder.rglob("*.txt")
    word = file.read_text()
    if word == "bad":
        raise ValueError("a bad model")


def run(data):
    return word
"""


def test_another_model_takes_over_and_a_bad_one_leaves_the_service_answering(
    base_image: str,
) -> None:
    files = {
        "score.py": MODEL_SCORE,
        "good.txt": "good",
        "better.txt": "better",
        "bad.txt": "bad",
        "devkit.yaml": '{"models": [{"name": "m", "path": "good.txt"}]}',
    }
    with synced("model", base_image, files=files) as service:
        try:
            assert answer(service) == "good"
            service.flush()
            # The model stands elsewhere there: that is no difference.
            assert service.json("diff", "workspace")["files"] == []
            # The options of the start stay: its ports are free ones, not 8000.
            made = service.devkit("update", "--model", "better.txt", "--env")
            assert made.returncode == 0
            assert "takes the model that is configured" in made.stderr
            assert answer(service) == "better"
            assert service.json("status")["score_uri"] != "http://127.0.0.1:8000/score"
            refused = service.json("update", "--model", "m=bad.txt")
            assert refused["error"]["code"] == "InitFailed"
            assert answer(service) == "better"
            missing = service.json("update", "--model", "m=nowhere.txt")
            assert missing["error"]["code"] == "ModelMissing"
            assert answer(service) == "better"
        finally:
            remove_images(service.tag.partition(":")[0])
