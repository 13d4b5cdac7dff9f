"""One broken service per row of common-failures.md, and three healthy ones, on the real engine."""

from __future__ import annotations

import json
import pickle
import shutil
import socket
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.typed import Typed

pytestmark = pytest.mark.engine

ROOT = Path(__file__).parents[2]
PORTS = ("DEVKIT_PORTS_SCORE", "DEVKIT_PORTS_DEBUG")
BROKEN = sorted(path.parent for path in (ROOT / "tests/broken").glob("*/expect.json"))
NAME = f"dg-{uuid.uuid4().hex[:8]}"
HEALTHY = {
    "plain": {"score.py": "def init():\n    pass\n\n\ndef run(data):\n    return {'n': 1}\n"},
    "model": {
        "score.py": "import os\n\n\ndef init():\n"
        '    open(os.path.join(os.environ["AZUREML_MODEL_DIR"], "net", "w.bin")).close()\n'
        "\n\ndef run(data):\n    return [1]\n",
        "models/net/w.bin": "x",
    },
    "helper": {
        "score.py": "import json\nimport helper\n\n\ndef init():\n    pass\n\n\n"
        "def run(data):\n    return helper.same(json.loads(data))\n",
        "helper.py": "def same(value):\n    return value\n",
        "sample.json": "[1, 2]",
    },
}


class Made(Typed):
    """A copy of a service, and devkit in it."""

    def __init__(self, folder: Path, base: str) -> None:
        names = {"DEVKIT_SERVICE": NAME, "DEVKIT_IMAGE_TAG": f"{NAME}:1", "DEVKIT_IMAGE_BASE": base}
        super().__init__(folder, {**names, **dict.fromkeys(PORTS, "auto")})

    def diagnosed(self, *words: str) -> dict[str, Any]:
        done = self.devkit("diagnose", "--json", *words)
        made: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == (0 if made["ok"] else 1), done.stderr
        return made

    def url(self) -> str:
        return str(self.json("status")["score_uri"])


@pytest.fixture(scope="module", autouse=True)
def image_removed() -> Iterator[None]:
    yield
    subprocess.run(["docker", "rmi", f"{NAME}:1"], capture_output=True, check=False)


@pytest.fixture(autouse=True)
def removed(tmp_path: Path, base_image: str) -> Iterator[None]:
    """One service at a time: the next test's folder is another workspace."""
    yield
    done = Made(tmp_path, base_image).devkit("delete", "--yes", "--service", NAME)
    assert done.returncode == 0, done.stderr


def look(made: Made, expect: dict[str, Any]) -> dict[str, Any]:
    """Bring a service to where it fails, and diagnose it."""
    how = expect["how"]
    if how == "log":
        return made.diagnosed("--logs", "cloud.log")
    if how == "code":
        return made.diagnosed("--http", str(expect["code"]))
    if how == "engine":
        return made.diagnosed("-H", "unix:///nonexistent/docker.sock")
    if how == "port":
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            # The file decides, and no container of before has a port of its own.
            del made.env["DEVKIT_PORTS_SCORE"]
            made.env["DEVKIT_SERVICE"] = f"{NAME}-port"
            text = f"ports:\n  score: {taken.getsockname()[1]}\n"
            (made.folder / "devkit.yaml").write_text(text, "utf-8")
            return made.diagnosed()
    if how == "static":
        return made.diagnosed("-H", "unix:///nonexistent/docker.sock")
    started = made.devkit("run")
    assert started.returncode in (0, 6), started.stderr
    if how == "request":
        header = ["--header", expect["header"]] if "header" in expect else []
        assert made.devkit("invoke", "-d", "{}", *header).returncode == 6
    if how == "changed":
        (made.folder / "requirements.txt").write_text("six\n", "utf-8")
    return made.diagnosed(*(["--url", made.url()] if how == "url" else []))


@pytest.mark.parametrize("row", BROKEN, ids=lambda path: path.name)
def test_a_broken_service_is_explained_with_its_line(
    row: Path, tmp_path: Path, base_image: str
) -> None:
    expect = json.loads((row / "expect.json").read_text("utf-8"))
    folder = tmp_path / "svc"
    shutil.copytree(row, folder)
    (folder / "expect.json").unlink()
    if "pickle" in expect:
        (folder / "models").mkdir()
        state = {"coef_": [1.0], "_sklearn_version": expect["pickle"]}
        (folder / "models/m.pkl").write_bytes(pickle.dumps(state))
    found = look(Made(folder, base_image), expect)["findings"]
    # What is looked at without an engine says so, too.
    no_engine = "engine-unreachable" if expect["how"] == "static" else ""
    seen = [(f["id"], f["file"], f["line"]) for f in found if f["id"] != no_engine]
    # The first is the one that is shown.
    assert seen[:1] == [(expect["id"], expect["file"], expect["line"])], json.dumps(found, indent=1)


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_service_has_no_finding(name: str, tmp_path: Path, base_image: str) -> None:
    folder = tmp_path / "svc"
    for path, text in HEALTHY[name].items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, "utf-8")
    made = Made(folder, base_image)
    assert made.devkit("run").returncode == 0
    assert made.diagnosed("--url", made.url())["findings"] == []


def test_a_command_that_fails_says_why_by_itself(tmp_path: Path, base_image: str) -> None:
    folder = tmp_path / "svc"
    shutil.copytree(ROOT / "tests/broken/02-model-name", folder)
    (folder / "expect.json").unlink()
    made = Made(folder, base_image)
    for words in (["run"], ["debug", "--detach"]):
        failed = made.devkit(*words)
        assert failed.returncode == 6
        assert "score.py:5" in failed.stderr
        assert "->" in failed.stderr
    shutil.copy(ROOT / "tests/broken/13-result-not-json/score.py", folder / "score.py")
    assert made.devkit("run").returncode == 0
    failed = made.devkit("invoke", "-d", "{}")
    assert failed.returncode == 6
    top = made.diagnosed()["findings"][0]
    assert (top["id"], top["line"]) == ("result-not-json", 7)
    assert top["title"] in failed.stderr


def test_a_pickle_is_compared_with_what_is_installed(tmp_path: Path, base_image: str) -> None:
    folder = tmp_path / "svc"
    (folder / "models").mkdir(parents=True)
    (folder / "score.py").write_text(HEALTHY["plain"]["score.py"])
    (folder / "requirements.txt").write_text("")
    state = {"coef_": [1.0], "_sklearn_version": "0.24.2"}
    (folder / "models/m.pkl").write_bytes(pickle.dumps(state))
    made = Made(folder, base_image)
    assert made.devkit("run").returncode == 0
    # As if that package had been installed: only what tells its version.
    info = (
        "$(python -c 'import site; print(site.getsitepackages()[0])')/scikit_learn-1.5.1.dist-info"
    )
    metadata = "Metadata-Version: 2.1\\nName: scikit-learn\\nVersion: 1.5.1\\n"
    install = f'mkdir "{info}" && printf "{metadata}" > "{info}/METADATA"'
    done = made.devkit("exec", "--", "sh", "-c", install)
    assert done.returncode == 0, done.stderr
    (folder / "requirements.txt").write_text("scikit-learn\n")
    found = made.diagnosed()["findings"]
    (mismatch,) = [item for item in found if item["id"] == "model-version-mismatch"]
    assert "made by scikit-learn 0.24.2, and 1.5.1 has to load it" in mismatch["title"]
    assert (mismatch["file"], mismatch["line"]) == ("requirements.txt", 1)


def test_a_service_that_was_stopped_is_said_to_be(tmp_path: Path, base_image: str) -> None:
    folder = tmp_path / "svc"
    folder.mkdir()
    (folder / "score.py").write_text(HEALTHY["plain"]["score.py"])
    made = Made(folder, base_image)
    assert made.devkit("run").returncode == 0
    assert made.devkit("stop").returncode == 0
    assert [item["id"] for item in made.diagnosed()["findings"]] == ["container-stopped"]
