"""A release and its audit on the real engine: what is in it, what is not, and that it serves."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.running import until

pytestmark = pytest.mark.engine

DEVKIT = Path(sys.executable).parent / "devkit"
NAME = f"devkit-test-release-{uuid.uuid4().hex[:8]}"
SCORE = """\
import json, os
from azureml.core.model import Model
try:
    import debugpy
    DEBUGGED = True
except ImportError:
    DEBUGGED = False
import helper
def init():
    global model
    with open(Model.get_model_path("weights")) as file:
        model = json.load(file)
def run(data):
    return {"model": model, "helper": helper.WORD, "debugged": DEBUGGED, "data": json.loads(data)}
"""


class Workspace:
    """A small service, and devkit started in it."""

    def __init__(self, root: Path, base: str) -> None:
        self.root = root
        self.tag = f"{NAME}:1"
        self.options = ["--base", base, "--tag", self.tag]

    def devkit(self, *words: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [DEVKIT, *words],
            capture_output=True,
            encoding="utf-8",
            cwd=self.root,
            timeout=240,
            check=False,
        )
        print(done.stderr)  # noqa: T201  pytest shows it when the test fails
        return done

    def json(self, *words: str) -> dict[str, Any]:
        made: dict[str, Any] = json.loads(self.devkit(*words, "--json").stdout)
        return made

    def release(self, *words: str) -> dict[str, Any]:
        return self.json("package", "--release", *words, *self.options)


def docker(*words: str, data: bytes | None = None) -> str:
    done = subprocess.run(["docker", *words], input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def images() -> set[str]:
    shown = docker("images", "--no-trunc", NAME, "--format", "{{.Repository}}:{{.Tag}} {{.ID}}")
    return set(shown.splitlines())


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, base_image: str) -> Iterator[Workspace]:
    root = tmp_path_factory.mktemp("release") / "mein dienst"
    (root / "models").mkdir(parents=True)
    (root / "score.py").write_text(SCORE)
    (root / "helper.py").write_text('WORD = "workspace"\n')
    (root / "models/weights.json").write_text("[1]")
    (root / "environment.yml").write_text(
        "variables: {GREETING: hello, DEVKIT_DEBUG_CLIENTS: any}\n"
        "dependencies: [{pip: [six==1.17.0]}]\n"
    )
    yield Workspace(root, base_image)
    for tag in docker("images", NAME, "--format", "{{.Repository}}:{{.Tag}}").split():
        docker("rmi", "--force", tag)


@pytest.fixture(scope="module")
def released(workspace: Workspace) -> str:
    made = workspace.release()
    assert made["ok"], made
    assert (made["image"], made["source"]) == (f"{NAME}:1-release", f"{NAME}:1")
    return str(made["image"])


@contextmanager
def container(image: str) -> Iterator[tuple[str, str]]:
    """Give the id of a container that serves, and its address."""
    id_ = docker("run", "--detach", "--publish", "127.0.0.1::5001", image)
    try:
        address = f"http://{docker('port', id_, '5001').splitlines()[0]}"
        until(lambda: _is_healthy(address, id_))
        yield id_, address
    finally:
        docker("rm", "--force", "--volumes", id_)


def _is_healthy(address: str, id_: str) -> bool:
    assert docker("inspect", "--format", "{{.State.Running}}", id_) == "true", docker("logs", id_)
    try:
        return bool(urllib.request.urlopen(address, timeout=5).read() == b"Healthy")
    except OSError:
        return False


def score(address: str, body: bytes = b'{"a": 1}') -> tuple[int, bytes]:
    headers = {"Content-Type": "application/json"}
    try:
        asked = urllib.request.Request(f"{address}/score", body, headers)
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def names_in_layers(image: str) -> Iterator[str]:
    """Every name in every layer, also of what a later layer deletes."""
    process = subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE)
    with process, tarfile.open(fileobj=process.stdout, mode="r|") as saved:
        for member in saved:
            if member.name.endswith("/layer.tar") and member.isfile():
                with tarfile.open(fileobj=saved.extractfile(member), mode="r|") as layer:
                    yield from (inner.name for inner in layer)
    assert process.returncode == 0


def test_nothing_in_any_layer_is_of_a_debugger_an_editor_or_devkit(released: str) -> None:
    names = list(names_in_layers(released))
    assert any("azureml_inference_server_http" in name for name in names)
    words = ("debugpy", "pydevd", "ptvsd", "vim", "devkit_runtime", "opt/devkit", "sync/agent")
    assert [name for name in names if any(word in name.lower() for word in words)] == []


def test_the_image_says_nothing_of_this_machine_and_of_debugging(
    released: str, workspace: Workspace
) -> None:
    config = json.loads(docker("inspect", "--format", "{{json .Config}}", released))
    history = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", released)
    for word in ("PYDEVD", "DEVKIT_", "5678", str(workspace.root), str(workspace.root.parent)):
        assert word not in json.dumps(config)
        assert word not in history
    assert config["User"] == "1000:1000"
    assert list(config["ExposedPorts"]) == ["5001/tcp"]
    assert config["Cmd"] == ["azmlinfsrv", "--entry_script", "mein dienst/score.py"]
    assert "GREETING=hello" in config["Env"]
    assert "devkit.workspace" not in config["Labels"]
    assert "devkit.service" not in config["Labels"]
    assert config["Labels"]["devkit.release.of"] == f"{NAME}:1"


def test_it_serves_as_the_debug_image_does_and_lets_no_debugger_in(released: str) -> None:
    with container(released) as (id_, address):
        expected = {"model": [1], "helper": "workspace", "debugged": False, "data": {"a": 1}}
        status, body = score(address)
        assert (status, json.loads(body)) == (200, expected)
        # What run() raises is for the log, not for whoever asked.
        status, body = score(address, b"no json")
        assert status == 500
        assert b"Traceback" not in body
        assert b"JSONDecodeError" not in body
        assert "JSONDecodeError" in docker("logs", id_)
        assert docker("exec", id_, "id", "-u") == "1000"
        look = "import socket; print(socket.socket().connect_ex(('127.0.0.1', 5678)))"
        assert docker("exec", id_, "python", "-c", look) == "111"  # ECONNREFUSED
        changed = "touch /opt/env/x 2>/dev/null || echo refused"
        assert docker("exec", id_, "sh", "-c", changed) == "refused"


def test_nothing_changed_is_no_build_and_an_edit_replaces_the_release(
    workspace: Workspace, released: str
) -> None:
    before = workspace.release()
    assert before["reused"] is True
    helper = workspace.root / "helper.py"
    text = helper.read_text()
    helper.write_text('WORD = "edited"\n')
    try:
        edited = workspace.release()
        assert (edited["reused"], edited["image"]) == (False, released)
        assert edited["id"] != before["id"]
        assert before["id"] not in docker("images", "--no-trunc", "--quiet", "--all")
    finally:
        helper.write_text(text)
        workspace.release()


def test_a_committed_image_is_released_as_it_is_whatever_the_workspace_says(
    workspace: Workspace, released: str
) -> None:
    id_ = docker("create", workspace.tag)
    try:
        text = b'WORD = "container"\n'
        folder = "/var/azureml-app/mein dienst"
        docker("cp", "-", f"{id_}:{folder}", data=tar("helper.py", text))
        docker("commit", id_, f"{NAME}:2")
    finally:
        docker("rm", id_)
    made = workspace.release(f"{NAME}:production", "--from", f"{NAME}:2")
    assert (made["image"], made["source"]) == (f"{NAME}:production", f"{NAME}:2")
    with container(made["image"]) as (_, address):
        assert json.loads(score(address)[1])["helper"] == "container"
    assert workspace.devkit("audit", made["image"]).returncode == 0


def test_a_script_that_needs_the_debugger_is_refused_with_its_line(workspace: Workspace) -> None:
    script = workspace.root / "score.py"
    script.write_text("import os\nimport ptvsd\n" + SCORE)
    try:
        refused = workspace.json("package", "--release", f"{NAME}:bad", *workspace.options)
    finally:
        script.write_text(SCORE)
    assert refused["error"]["code"] == "BuildError"
    assert "score.py:2 imports ptvsd" in refused["error"]["message"]
    assert docker("images", "--quiet", f"{NAME}:bad") == ""


@pytest.mark.parametrize(
    ("words", "code", "exit_code"),
    [
        (["--release", f"{NAME}:1"], "BadValue", 2),
        (["--release", "Not A Name"], "BadValue", 2),
        (["--from", f"{NAME}:1"], "UsageError", 2),
        (["--release", "--from", f"{NAME}:none"], "ImageMissing", 3),
        (["--release", "--engine", "process"], "Unsupported", 3),
    ],
)
def test_what_cannot_be_released_is_said_and_changes_nothing(
    workspace: Workspace, released: str, words: list[str], code: str, exit_code: int
) -> None:
    before = images()
    done = workspace.devkit("package", *words, *workspace.options, "--json")
    error = json.loads(done.stdout)["error"]
    assert (error["code"], done.returncode) == (code, exit_code)
    assert error["hint"]
    assert images() == before


def test_another_image_keeps_its_name(workspace: Workspace, released: str, base_image: str) -> None:
    docker("tag", base_image, f"{NAME}:taken")
    assert workspace.release(f"{NAME}:taken")["error"]["code"] == "NotOurs"
    assert workspace.release("--from", f"{NAME}:taken")["error"]["code"] == "NotOurs"


def test_a_dry_run_says_what_would_be_made(workspace: Workspace) -> None:
    said = workspace.release("--dry-run")
    assert (said["image"], said["source"]) == (f"{NAME}:1-release", f"{NAME}:1")
    shown = workspace.release("--print-dockerfile", "--from", f"{NAME}:7")["dockerfile"]
    assert f"FROM {NAME}:7 AS devkit-debugged" in shown


def test_the_audit_finds_what_a_debug_image_has_and_a_release_has_not(
    workspace: Workspace, released: str
) -> None:
    assert workspace.json("audit", released) == {"ok": True, "subject": released, "findings": []}
    done = workspace.devkit("audit", workspace.tag, "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["ok"]) == (1, False)
    assert {item["id"] for item in found["findings"]} == {
        "debug-command",
        "debug-port",
        "debug-variable",
        "debugger",
        "editor",
    }
    assert set(found["findings"][0]) == {"id", "severity", "title", "where", "remedy"}
    assert docker("ps", "--all", "--quiet", "--filter", "name=devkit-audit-") == ""


def tar(name: str, content: bytes) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return held.getvalue()


@pytest.fixture
def imported(workspace: Workspace) -> Iterator[Callable[..., str]]:
    """Makes an image of one file, with changes as in a Dockerfile."""
    made = list[str]()

    def make(name: str, *changes: str) -> str:
        tag = f"{NAME}:import-{len(made)}"
        words = [word for change in changes for word in ("--change", change)]
        docker("import", *words, "-", tag, data=tar(name, b"x"))
        made.append(tag)
        return tag

    yield make
    for tag in made:
        docker("rmi", tag)


def test_an_image_that_could_not_even_start_is_read(
    workspace: Workspace, imported: Callable[..., str]
) -> None:
    tag = imported("opt/python/site-packages/debugpy/__init__.py", "USER 7")
    found = workspace.json("audit", tag)["findings"]
    assert [(it["id"], it["where"]) for it in found] == [
        ("debugger", "/opt/python/site-packages/debugpy")
    ]


def test_a_volume_hides_nothing_and_is_gone_afterwards(
    workspace: Workspace, imported: Callable[..., str]
) -> None:
    before = docker("volume", "ls", "--quiet")
    tag = imported("data/pydevd.py", "VOLUME /data", "USER 7")
    found = workspace.json("audit", tag)["findings"]
    assert [(it["id"], it["where"]) for it in found] == [("debugger", "/data/pydevd.py")]
    assert docker("volume", "ls", "--quiet") == before


@pytest.mark.parametrize(
    ("words", "code", "exit_code"),
    [
        ([f"{NAME}:none"], "ImageMissing", 3),
        (["Not A Name"], "BadValue", 2),
        ([], "UsageError", 2),
        ([f"{NAME}:1", "--manifest", "environment.yml"], "UsageError", 2),
        (["--manifest", "nothing.yaml"], "UsageError", 2),
        (["--manifest", "environment.yml"], "BadValue", 2),
        ([f"{NAME}:1", "--engine", "process"], "Unsupported", 3),
        ([f"{NAME}:1", "--dry-run"], "UsageError", 2),
    ],
)
def test_what_cannot_be_audited_is_said(
    workspace: Workspace, words: list[str], code: str, exit_code: int
) -> None:
    done = workspace.devkit("audit", *words, "--json")
    error = json.loads(done.stdout)["error"]
    assert (error["code"], done.returncode) == (code, exit_code)
    assert error["hint"]


def test_a_manifest_is_read_from_a_file_and_from_stdin(workspace: Workspace) -> None:
    text = "kind: Pod\nspec: {containers: [{name: a, securityContext: {runAsUser: 0}}]}\n"
    (workspace.root / "pod.yaml").write_text(text)
    done = workspace.devkit("audit", "--manifest", "pod.yaml")
    (workspace.root / "pod.yaml").unlink()
    assert done.returncode == 1
    assert "runAsUser is 0" in done.stdout
    assert "pod.yaml: Pod/?, a" in done.stdout
    piped = subprocess.run(
        [DEVKIT, "audit", "--manifest", "-", "--json"],
        input=text,
        capture_output=True,
        encoding="utf-8",
        check=False,
        cwd="/",
    )
    assert [it["id"] for it in json.loads(piped.stdout)["findings"]] == ["root-user"]
