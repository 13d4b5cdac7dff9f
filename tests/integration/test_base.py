"""A base image made of Debian packages, in a real engine."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from devkit import base, contract
from devkit.engine import Engine, Image, RunSpec, Tag
from tests.integration.conftest import output

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def image(engine: Engine) -> Image:
    """The one that `make base` made; made here where an official image was pulled instead."""
    return base.bootstrap(engine, python="3.13", progress=lambda line: None)


@pytest.fixture(scope="module")
def shell(engine: Engine, image: Image) -> Iterator[Callable[[str], str]]:
    """Runs a line in a container of that image and gives its output."""
    spec = RunSpec(
        image=Tag.parse(image.tags[0]),
        name=f"devkit-test-base-{uuid.uuid4().hex[:8]}",
        labels={},
        env={},
        ports=(),
        command=("tail", "-f", "/dev/null"),
    )
    container = engine.run(spec)

    yield partial(output, engine, container.id)
    engine.remove(container.id)


def test_the_image_says_what_it_was_made_from(image: Image) -> None:
    assert image.labels[base.LABEL_SUITE] == "trixie"
    assert image.labels[contract.LABEL_BASE_PYTHON] == "3.13"


def test_making_it_again_gives_the_same_image(engine: Engine, image: Image) -> None:
    assert base.bootstrap(engine, python="3.13", progress=lambda line: None).id == image.id


def test_it_has_that_python_under_both_names(shell: Callable[[str], str]) -> None:
    first, second = shell("python -V; python3 -V").splitlines()
    assert first == second
    assert first.startswith("Python 3.13.")


def test_it_makes_virtual_environments(shell: Callable[[str], str]) -> None:
    assert "python 3.13" in shell("python -m venv /tmp/v && /tmp/v/bin/pip --version")


def test_it_knows_the_usual_certificate_authorities(shell: Callable[[str], str]) -> None:
    assert int(shell("grep -c BEGIN /etc/ssl/certs/ca-certificates.crt")) > 100


def test_it_carries_no_caches(shell: Callable[[str], str]) -> None:
    assert shell("find /var/lib/apt/lists /var/cache/apt -type f") == ""
