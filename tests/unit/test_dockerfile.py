"""The text of the Dockerfile."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from devkit.config import Workspace, load
from devkit.errors import BadValue
from devkit.package import dockerfile, environment, image, network, template

OWN = "FROM debian:13 AS tools\nRUN true\nFROM python:3.12-slim\nRUN touch /mine\n"


def workspace(root: Path, **overrides: Any) -> Workspace:
    (root / "score.py").write_text("def init(): pass\ndef run(d): pass\n")
    keys = {key.replace("__", "."): value for key, value in overrides.items()}
    return load(root, overrides=keys, environ={})


def base(root: Path, chosen: str | None = None, **overrides: Any) -> dockerfile.Base:
    return dockerfile.base(workspace(root, **overrides), chosen, default="python:3.13-slim")


def rendered(
    found: Workspace, environ: dict[str, str] | None = None, *, buildkit: bool = False
) -> str:
    quiet = {"PIP_CONFIG_FILE": os.devnull, "HOME": "/nowhere"} | (environ or {})
    wanted = environment.read(found)
    reach = network.found(found, wanted.wants, environ=quiet)
    spec = image.plan(found, wanted, reach).spec
    return (buildkit and spec.buildkit_dockerfile) or spec.dockerfile


def last_stage(text: str) -> str:
    return text.rpartition("FROM devkit-system\n")[2]


def test_the_base_is_the_option_then_the_configuration_then_the_default(tmp_path: Path) -> None:
    assert base(tmp_path).text == "FROM python:3.13-slim AS devkit-base"
    assert base(tmp_path, image__base="mine:1").image == "mine:1"
    assert base(tmp_path, "other:2", image__base="mine:1").image == "other:2"
    assert base(tmp_path, "other:2", image__dockerfile=OWN).image == "other:2"


def test_an_own_dockerfile_takes_the_place_of_the_base(tmp_path: Path) -> None:
    found = base(tmp_path, image__dockerfile=OWN)
    assert found.text == (
        "FROM debian:13 AS tools\nRUN true\nFROM python:3.12-slim AS devkit-base\nRUN touch /mine"
    )
    assert (found.image, found.is_whole) == ("debian:13", False)


def test_an_own_dockerfile_may_be_a_file_and_name_its_last_stage(tmp_path: Path) -> None:
    (tmp_path / "Base.Dockerfile").write_text("from a:1 as last\nRUN true\n")
    found = base(tmp_path, image__dockerfile="Base.Dockerfile")
    assert found.text == "from a:1 as last\nRUN true\n\nFROM last AS devkit-base"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FROM a:1\nRUN true\nCOPY x /x\n", r"image.dockerfile:3: COPY cannot take files"),
        ("FROM a:1\nADD x.tar /x\n", r"image.dockerfile:2: ADD cannot take files"),
        ("RUN true\nRUN false\n", r"image.dockerfile has no FROM"),
        ("ARG V\nFROM $V\n", r"image.dockerfile: FROM \$V names no image"),
        ("gone.Dockerfile", r"names gone.Dockerfile, which is not there"),
    ],
)
def test_an_own_dockerfile_that_cannot_work_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(BadValue, match=message):
        base(tmp_path, image__dockerfile=text)


@pytest.mark.parametrize(
    ("text", "args"),
    [
        ("ARG V=3.13\nFROM python:${V}-slim\n", {}),
        ("ARG V=3.7\nFROM python:$V-slim\n", {"V": "3.13"}),
        ("FROM python:${V:-3.13}-slim\n", {}),
        ('ARG IMAGE="python:3.13-slim"\nFROM --platform=linux/amd64 $IMAGE AS x\n', {}),
    ],
)
def test_the_arguments_of_a_from_line_are_filled_in_for_the_engine(
    tmp_path: Path, text: str, args: dict[str, str]
) -> None:
    found = base(tmp_path, image__dockerfile=text, build__args=args)
    assert found.image == "python:3.13-slim"
    assert text.splitlines()[-1].partition(" AS ")[0] in found.text


def test_copies_between_stages_and_downloads_are_allowed(tmp_path: Path) -> None:
    text = "FROM a:1 AS x\nFROM b:1\nCOPY --from=x /a /a\nADD https://h.test/f /f\n"
    assert base(tmp_path, image__dockerfile=text).image == "a:1"


def test_a_base_that_is_no_image_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="not the name of an image"):
        base(tmp_path, "a:1\nRUN evil")


def test_the_source_is_the_last_layer_and_models_come_before(tmp_path: Path) -> None:
    (tmp_path / "m.pkl").touch()
    found = workspace(tmp_path, models=[{"name": "m", "path": "m.pkl"}])
    lines = last_stage(rendered(found)).splitlines()
    copies = [line.split()[-2] for line in lines if line.startswith("COPY")]
    assert copies == ["/opt/env", "runtime/", "models/", "app/"]
    assert lines[-1].endswith("app/ /var/azureml-app/")


def test_certificates_and_settings_are_only_in_the_stage_that_installs(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("CA")
    environ = {"PIP_CERT": str(tmp_path / "ca.pem"), "PIP_INDEX_URL": "https://a.test/s"}
    text = rendered(workspace(tmp_path), environ)
    first, install = text.split("FROM devkit-system AS devkit-environment")
    assert "ARG PIP_INDEX_URL" in install
    assert "a.test" not in text
    for part in (first, last_stage(text)):
        assert not any(word in part for word in ("ca.pem", "PIP_", "UV_", "ARG "))


def test_cache_and_secret_mounts_are_only_for_buildkit(tmp_path: Path) -> None:
    environ = {"PIP_INDEX_URL": "https://me:hush@a.test/s"}
    found = workspace(tmp_path)
    plain, buildkit = rendered(found, environ), rendered(found, environ, buildkit=True)
    assert "--mount" not in plain
    assert buildkit.count("--mount=type=secret,id=devkit-index") == 2
    assert "--mount=type=cache" in buildkit
    assert "hush" not in plain + buildkit


def test_names_with_spaces_quotes_and_dollars_stay_what_they_are(tmp_path: Path) -> None:
    root = tmp_path / 'mein "Dienst" $ü'
    root.mkdir()
    text = rendered(workspace(root))
    assert r'AZUREML_SOURCE_DIRECTORY="mein \"Dienst\" \$ü"' in text
    assert r'AZUREML_ENTRY_SCRIPT="mein \"Dienst\" \$ü/score.py"' in text


@pytest.mark.parametrize(
    ("user", "line"),
    [
        (1000, "USER 1000:1000"),
        ("1234:56", "USER 1234:56"),
        ("root", "USER 0:0"),
        ("7", "USER 7:7"),
    ],
)
def test_the_user_is_a_number(tmp_path: Path, user: int | str, line: str) -> None:
    assert line in rendered(workspace(tmp_path, run__user=user)).splitlines()


def test_a_user_name_or_a_strange_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match=r"run.user"):
        rendered(workspace(tmp_path, run__user="alice"))
    with pytest.raises(BadValue, match=r"image.apt"):
        rendered(workspace(tmp_path, image__apt=["gcc; rm -rf /"]))


def test_debian_packages_are_installed_with_the_editor(tmp_path: Path) -> None:
    text = rendered(workspace(tmp_path, image__apt=["libgomp1", "gcc=4:12.2.0-3"]))
    assert "install vim libgomp1 gcc=4:12.2.0-3" in text


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setattr(template, "user_cache_path", lambda _: folder)
    return folder / "dockerfiles"


def test_what_was_rendered_is_not_rendered_again(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = workspace(tmp_path)
    first = rendered(found)
    monkeypatch.setattr(template, "_rendered", lambda *_, **__: pytest.fail("again"))
    assert rendered(found) == first
    assert len(list(cache.iterdir())) == 2  # plain, and for BuildKit


def test_another_value_is_rendered(tmp_path: Path, cache: Path) -> None:
    assert rendered(workspace(tmp_path)) != rendered(workspace(tmp_path, run__user=1234))
    assert len(list(cache.iterdir())) == 4


def test_the_oldest_go_and_a_cache_that_cannot_be_written_is_none(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template, "_MOST_KEPT", 1)
    text = rendered(workspace(tmp_path))
    assert len(list(cache.iterdir())) == 1
    monkeypatch.setattr(template, "user_cache_path", lambda _: tmp_path / "score.py")
    assert rendered(workspace(tmp_path)) == text
