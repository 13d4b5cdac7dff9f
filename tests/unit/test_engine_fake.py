"""The fake engine keeps the contract, so what unit tests of the steps show is worth something."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from devkit.engine import Tag
from tests.engine_contract import IMAGE_ENV, IMAGE_LABELS, Bench, EngineContract, ImageContract
from tests.fake_engine import FakeEngine


class TestFakeEngine(EngineContract, ImageContract):
    @pytest.fixture
    def bench(self, tmp_path: Path) -> Iterator[Bench]:
        engine = FakeEngine()
        engine.add_image("ready:1", labels=IMAGE_LABELS, env=IMAGE_ENV)
        bench = Bench(engine, Tag("ready", "1"), PurePosixPath(tmp_path), str(tmp_path))
        engine.folders.add(bench.folder)
        yield bench
        bench.clean_up()
