"""An image's names become findings; the stream may be hostile."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from devkit.audit import image
from devkit.audit.finding import Finding
from devkit.errors import EngineError

SAFE = {"User": "1000"}


def tar(*names: str, contents: Mapping[str, bytes] | None = None) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        for name in names:
            member = tarfile.TarInfo(name.rstrip("/"))
            member.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            archive.addfile(member)
        for name, content in (contents or {}).items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return held.getvalue()


def pieces(data: bytes, size: int = 700) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def found(*names: str, config: Mapping[str, Any] | None = None, **more: Any) -> list[Finding]:
    return image.findings(config or SAFE, [pieces(tar(*names, **more))])


def places(*names: str) -> list[tuple[str, str]]:
    return [(item.id, item.where) for item in found(*names)]


SITE = "opt/env/lib/python3.13/site-packages"


def test_one_installation_is_one_finding_at_the_package() -> None:
    assert places(
        "opt/env/bin/debugpy",
        f"{SITE}/debugpy-1.8.22.dist-info/METADATA",
        f"{SITE}/debugpy/",
        f"{SITE}/debugpy/__init__.py",
        f"{SITE}/debugpy/_vendored/pydevd/pydevd.py",
    ) == [("debugger", f"/{SITE}/debugpy")]


@pytest.mark.parametrize(
    "name",
    [
        f"{SITE}/debugpy-1.8.22.dist-info/",
        "opt/conda/envs/azureml_1/lib/python3.8/site-packages/ptvsd/__init__.py",
        "opt/conda/envs/azureml_1/conda-meta/debugpy-1.8.0-py38_0.json",
        "opt/conda/pkgs/debugpy-1.8.0-py38_0/info/index.json",
        "./usr/lib/python3/dist-packages/pydevd.py",
        f"{SITE}/_pydevd_bundle/__init__.py",
        f"{SITE}/pydevd_plugins/",
        "opt/devkit/devkit_runtime/__main__.py",
        "home/devkit/wheels/DebugPy-1.8.whl",
    ],
)
def test_a_debugger_is_found_wherever_it_lies(name: str) -> None:
    assert [item.id for item in found(name)] == ["debugger"]


@pytest.mark.parametrize(
    "name",
    [
        f"{SITE}/mydebugpython/__init__.py",
        f"{SITE}/numpy/__init__.py",
        "usr/share/vim/vim91/doc.txt",
        "usr/share/nano/",
        "usr/bin/vimtutorial",
        "var/azureml-app/vim",
        "etc/ssl/private/id_rsa",
        f"{SITE}/paramiko/tests/id_rsa",
        "var/azureml-app/.env/",
        "var/azureml-app/.env/bin/python",
    ],
)
def test_what_only_resembles_one_is_none(name: str) -> None:
    assert found(name) == []


def test_an_editor_is_found_once_whatever_names_it_has() -> None:
    assert places("usr/bin/vim", "usr/bin/vim.basic", "usr/bin/rvim", "usr/bin/vimdiff") == [
        ("editor", "/usr/bin/vim")
    ]
    names = ("usr/bin/nano", "usr/bin/emacs-nox", "usr/local/bin/code-server", "usr/bin/nvim")
    assert [item.id for item in found(*names)] == ["editor"] * 4
    assert places("home/devkit/.vscode-server/") == [("editor", "/home/devkit/.vscode-server")]


def test_keys_and_logins_are_found() -> None:
    names = ("var/azureml-app/iris/.env", "root/.ssh/id_ed25519", "home/devkit/.aws/config")
    assert [item.id for item in found(*names)] == ["key-file"] * 3


def test_the_configuration_is_looked_at_too() -> None:
    config = {
        "Env": ["PATH=/bin", "DEVKIT_DEBUG=1", "DB_PASSWORD=hush", "EMPTY"],
        "ExposedPorts": {"5001/tcp": {}, "5678/tcp": {}},
        "Cmd": ["python", "-m", "debugpy"],
        "User": "",
    }
    assert [(item.severity, item.id) for item in found(config=config)] == [
        ("high", "debug-command"),
        ("high", "debug-port"),
        ("high", "debug-variable"),
        ("high", "secret"),
        ("medium", "root-user"),
    ]


def test_an_image_without_any_configuration_runs_as_root() -> None:
    assert [item.id for item in image.findings({}, [pieces(tar())])] == ["root-user"]


def test_a_user_who_is_root_under_another_name_is_root() -> None:
    users = {"etc/passwd": b"root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\nbroken\n"}
    assert [f.id for f in found(config={"User": "toor"}, contents=users)] == ["root-user"]
    assert found(config={"User": "app"}, contents=users) == []


def test_volumes_are_looked_into_as_the_rest() -> None:
    trees = [pieces(tar("bin/sh")), pieces(tar("data/debugpy/__init__.py"))]
    assert [item.id for item in image.findings(SAFE, trees)] == ["debugger"]


def test_names_lead_nowhere_and_any_number_of_them_takes_little(tmp_path: Any) -> None:
    evil = [f"../../{tmp_path}/{number}/debugpy/x\x1b[31m" for number in range(500)]
    told = found(*evil)
    assert len(told) == 21
    assert told[0].where == "/"
    assert "more than 20" in told[0].title
    assert list(tmp_path.iterdir()) == []


def test_a_cut_stream_is_not_a_clean_image() -> None:
    data = tar(contents={"a": b"x" * 5000})
    with pytest.raises(EngineError, match="no whole image"):
        image.findings(SAFE, [pieces(data[:3000])])
    with pytest.raises(EngineError, match="no whole image"):
        image.findings(SAFE, [pieces(b"")])
    with pytest.raises(EngineError, match="no whole image"):
        image.findings(SAFE, [pieces(b"no tar" * 1000)])
