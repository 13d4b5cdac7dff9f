"""Packaging on a real engine: what is in the image, what is not, and what is built again."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import docker
import pytest

from devkit.config import load
from devkit.engine import Engine, RunSpec, Tag
from devkit.errors import BaseImageMissing, BuildError, DevkitError, PackageInstallFailed
from devkit.package import image
from devkit.package.image import Packaged
from tests.integration.conftest import output

pytestmark = pytest.mark.engine

NAME = f"devkit-test-image-{uuid.uuid4().hex[:8]}"
FOLDER = "mein dienst ü"
SCORE = """\
import json, os
def init():
    global model
    with open(os.path.join(os.environ["AZUREML_MODEL_DIR"], "weights.json")) as file:
        model = json.load(file)
def run(data):
    return model
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A service whose folder has a space and an umlaut in its name."""
    root = tmp_path_factory.mktemp("image") / FOLDER
    (root / "models").mkdir(parents=True)
    (root / "score.py").write_text(SCORE)
    (root / "helper.py").write_text("x = 1\n")
    (root / "link.py").symlink_to("helper.py")
    (root / ".env").write_text("TOKEN=hush\n")
    (root / "models/weights.json").write_text("[1]")
    (root / "environment.yml").write_text("dependencies: [{pip: [six==1.17.0]}]\n")
    return root


@pytest.fixture(scope="module")
def package(engine: Engine, workspace: Path, base_image: str) -> Iterator[Callable[..., Packaged]]:
    """Packages the workspace as it is now; the lines of the build are in `lines`."""
    tags = set[str]()

    def package(
        root: Path = workspace, *, lines: list[str] | None = None, **overrides: Any
    ) -> Packaged:
        keys = {key.replace("__", "."): value for key, value in overrides.items()}
        found = load(root, overrides={"image.base": base_image} | keys, environ={})
        tag = f"{NAME}:{len(tags) + 1 if root != workspace else 0}"
        tags.add(tag)
        say = lines.append if lines is not None else (lambda line: None)
        return image.package(engine, found, progress=say, tag=tag)

    yield package
    for tag in tags:
        engine.remove_image(tag)


@pytest.fixture(scope="module")
def packaged(package: Callable[..., Packaged]) -> Packaged:
    return package()


@pytest.fixture(scope="module")
def shell(engine: Engine, packaged: Packaged) -> Iterator[Callable[..., str]]:
    """Runs a line in a container of the image and gives its output."""
    spec = RunSpec(
        image=packaged.tag, name=NAME, labels={}, env={}, ports=(), command=("sleep", "infinity")
    )
    engine.run(spec)

    yield partial(output, engine, NAME)
    engine.remove(NAME)


def inspected(packaged: Packaged) -> Any:
    client = docker.from_env()
    api: Any = client.api
    try:
        return {"History": api.history(packaged.image.id)} | api.inspect_image(packaged.image.id)
    finally:
        client.close()


def layers(packaged: Packaged) -> list[str]:
    found: list[str] = inspected(packaged)["RootFS"]["Layers"]
    return found


def test_the_service_lies_where_azure_ml_has_it(shell: Callable[..., str]) -> None:
    found = shell("find /var/azureml-app -not -type d -not -name '*.pyc' | sort").splitlines()
    assert found == [
        "/var/azureml-app/azureml-models/weights/1/weights.json",
        f"/var/azureml-app/{FOLDER}/environment.yml",
        f"/var/azureml-app/{FOLDER}/helper.py",
        f"/var/azureml-app/{FOLDER}/link.py",
        f"/var/azureml-app/{FOLDER}/models/weights.json",
        f"/var/azureml-app/{FOLDER}/score.py",
    ]
    assert shell(f"cat '/var/azureml-app/{FOLDER}/models/weights.json'") == "[1]"
    assert shell(f"readlink '/var/azureml-app/{FOLDER}/link.py'") == "helper.py\n"


def test_the_image_says_by_itself_what_runs_and_where(
    packaged: Packaged, shell: Callable[..., str]
) -> None:
    assert packaged.image.env["AZUREML_ENTRY_SCRIPT"] == f"{FOLDER}/score.py"
    assert packaged.layout[0] == {"local": ".", "remote": f"/var/azureml-app/{FOLDER}"}
    assert shell("pwd; printenv AZUREML_ENTRY_SCRIPT") == f"/var/azureml-app\n{FOLDER}/score.py\n"
    assert shell("ls /opt/devkit/devkit_runtime/__main__.py")


def test_it_runs_as_an_ordinary_user_that_owns_the_service_and_the_packages(
    shell: Callable[..., str],
) -> None:
    assert shell("id -u; id -g") == "1000\n1000\n"
    assert shell(f"touch '/var/azureml-app/{FOLDER}/new.py' /var/azureml-app/new && echo yes")
    assert shell("rm -r /opt/env/lib/python3.*/site-packages/six.py && echo gone") == "gone\n"
    assert shell("touch /opt/devkit/x 2>/dev/null || echo refused") == "refused\n"


def test_server_debugger_and_editor_are_there(shell: Callable[..., str]) -> None:
    imports = "import azureml_inference_server_http, debugpy, sys; print(sys.prefix)"
    assert shell(f"python -c '{imports}'") == "/opt/env\n"
    assert shell("command -v vim || command -v vi")


def test_nothing_of_this_machines_network_is_in_the_image(
    packaged: Packaged, shell: Callable[..., str]
) -> None:
    found = inspected(packaged)
    for word in ("devkit/ca.pem", "PIP_", "UV_", "http_proxy", "hush"):
        assert word not in str(found["History"])
        assert word not in str(found["Config"])
    search = "grep -rlI -e devkit/ca.pem -e TOKEN=hush /etc /opt /var /home /root /tmp; true"
    assert shell(search, user="0") == ""
    assert shell("ls -A /tmp; find / -xdev -name uv -type f; true", user="0") == ""


def test_the_keys_in_the_workspace_are_left_out_and_named(packaged: Packaged) -> None:
    assert "Left out, as they look like keys or passwords: .env." in packaged.notes


def test_nothing_changed_is_no_build(package: Callable[..., Packaged], packaged: Packaged) -> None:
    lines: list[str] = []
    again = package(lines=lines)
    assert (again.reused, again.image.id, lines) == (True, packaged.image.id, [])


def test_an_edit_of_the_entry_script_makes_only_the_last_layer_anew(
    package: Callable[..., Packaged], packaged: Packaged, workspace: Path
) -> None:
    before = layers(packaged)
    (workspace / "score.py").write_text(SCORE + "# edited\n")
    edited = package()
    (workspace / "score.py").write_text(SCORE)
    assert not edited.reused
    after = layers(edited)
    assert after[:-1] == before[:-1]
    assert after[-1] != before[-1]


@pytest.mark.parametrize(
    ("environment", "error", "words"),
    [
        ("dependencies: [{pip: [no-such-package-devkit]}]", PackageInstallFailed, "no-such-pack"),
        ("dependencies: [python=3.8]", DevkitError, "environment.yml:1 asks for"),
    ],
)
def test_what_cannot_be_installed_is_named(
    package: Callable[..., Packaged],
    tmp_path: Path,
    environment: str,
    error: type[DevkitError],
    words: str,
) -> None:
    (tmp_path / "score.py").write_text(SCORE)
    (tmp_path / "environment.yml").write_text(environment)
    with pytest.raises(error) as caught:
        package(tmp_path)
    assert words in caught.value.message


def test_a_debian_package_that_is_not_there_is_named(
    package: Callable[..., Packaged], tmp_path: Path
) -> None:
    (tmp_path / "score.py").write_text(SCORE)
    with pytest.raises(BuildError, match="no-such-deb-devkit"):
        package(tmp_path, image__apt=["no-such-deb-devkit"])


def test_a_base_that_cannot_be_had_names_the_way_out(
    package: Callable[..., Packaged], tmp_path: Path
) -> None:
    (tmp_path / "score.py").write_text(SCORE)
    with pytest.raises(BaseImageMissing) as caught:
        package(tmp_path, image__base="no-such-base-devkit:1")
    assert "devkit base bootstrap" in (caught.value.hint or "")


def test_the_tag_is_the_one_that_was_asked_for(engine: Engine, packaged: Packaged) -> None:
    assert packaged.tag == Tag(NAME, "0")
    found = engine.image(str(packaged.tag))
    assert found is not None
