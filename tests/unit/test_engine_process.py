"""Services as processes of this machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from devkit.engine import BuildSpec, Tag
from devkit.engines.process import ProcessEngine
from tests.engine_contract import IMAGE_ENV, IMAGE_LABELS, Bench, EngineContract

IMAGE = Tag("ready", "1")


def build_spec(**changes: object) -> BuildSpec:
    spec = BuildSpec(tag=IMAGE, dockerfile="", context=(), labels=IMAGE_LABELS, env=IMAGE_ENV)
    return dataclasses.replace(spec, **changes)  # type: ignore[arg-type]


class TestProcesses(EngineContract):
    @pytest.fixture
    def bench(self, tmp_path: Path) -> Iterator[Bench]:
        engine = ProcessEngine(tmp_path / "state é", tools=())
        engine.build(build_spec(), progress=lambda _: None)
        bench = Bench(engine, IMAGE, PurePosixPath("/var/azureml-app"), ".")
        yield bench
        bench.clean_up()
