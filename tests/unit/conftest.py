"""What the unit tests share."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devkit import session
from tests.serving_engine import ServingEngine


@pytest.fixture(scope="session")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache folder of all unit tests."""
    return tmp_path_factory.mktemp("caches")


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, caches: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(caches))


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[ServingEngine]:
    """The engine in memory that sessions and commands find; its containers answer."""
    made = ServingEngine()
    monkeypatch.setattr(session, "connect", lambda *_, **__: made)
    yield made
    made.shut_down()


@pytest.fixture
def fill_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A function after which what is written beside its place does not get there."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    return lambda: monkeypatch.setattr(Path, "replace", full)
