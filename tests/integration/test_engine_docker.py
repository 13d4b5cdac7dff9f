"""Docker itself, over its default socket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest

from devkit.engine import Tag
from devkit.engines import connect
from tests.engine_contract import Bench, EngineContract

pytestmark = pytest.mark.engine

IMAGE = Tag("scratch-bookworm", "1")


class TestDocker(EngineContract):
    @pytest.fixture
    def bench(self) -> Iterator[Bench]:
        bench = Bench(connect("docker"), IMAGE, PurePosixPath("/tmp"))
        yield bench
        bench.clean_up()
