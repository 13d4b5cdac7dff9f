"""Where the service under test runs: on this machine, and in real containers (marker `engine`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from devkit.engine import Engine, Tag
from devkit.engines import connect
from tests import contained, running

Start = Callable[..., running.Service]

# What `make base` makes: the newest Python that debugpy traces by sys.monitoring, and one before.
BASES = {"3.13": "devkit-base:3.13", "3.11": "devkit-base:3.11"}

PLACES = [
    pytest.param("host", id="host"),
    *(pytest.param(version, id=f"python{version}", marks=pytest.mark.engine) for version in BASES),
]


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """The real engine."""
    engine = connect()
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def packaged(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Tag]:
    """A function that packages the test's service for a Python version, once."""
    done: dict[str, Tag] = {}

    def package(version: str) -> Tag:
        if version not in done:
            folder = tmp_path_factory.mktemp("package")
            done[version] = contained.packaged(engine, folder, BASES[version])
        return done[version]

    return package


@pytest.fixture
def place() -> str:
    """Where `start` starts it; a module that wants containers too overrides this."""
    return "host"


@pytest.fixture
def start(place: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Start]:
    """A function that starts a service; all of them end with the test."""
    begin: Callable[..., Any] = running.on_host
    if place != "host":
        tag = request.getfixturevalue("packaged")(place)
        engine = request.getfixturevalue("engine")
        begin = partial(contained.in_container, engine, tag)
    with ExitStack() as stack:
        count = iter(range(100))

        def started(**kwargs: Any) -> running.Service:
            folder = tmp_path / str(next(count))
            folder.mkdir()
            service: running.Service = stack.enter_context(begin(folder, **kwargs))
            return service

        yield started


@pytest.fixture
def service(start: Start) -> running.Service:
    """A ready service."""
    return start()
