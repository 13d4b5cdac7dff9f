"""How long it takes until an editor can attach."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from functools import partial

from bench.place import Place
from bench.requests import until_answered
from bench.row import Row, Sample, one, seconds
from devkit import contract

TIMES = 4
DETACHED = ("debug", "--detach", "--no-launch")
# What DESIGN.md 11 allows to devkit itself; the service's own imports and init() come on top.
OWN_S = 1.2


def rows(place: Place) -> Iterator[Row]:
    image, inits = str(place.image), list[float]()

    def started() -> None:
        inits.append(place.devkit(*DETACHED)["timings"]["init_s"] or 0)

    def new() -> Sample:
        # Removing the old one is no part of it.
        values: list[float] = []
        for _ in range(TIMES):
            place.devkit("delete", "--yes")
            values += seconds(1, started).values
        return Sample(tuple(values))

    with place.deleted():
        started()
        made = new()
        init = one(sum(inits[1:]) / TIMES).median
        kept = seconds(TIMES, started)
    by_hand = _by_hand(place, image)
    hand = "docker run until it answers"
    yield Row(
        "devkit debug --detach, image reused",
        "s",
        made,
        by_hand,
        hand=hand,
        limit=OWN_S + init,
        note=f"init() {init:.2f} s, on top of {OWN_S} s",
    )
    yield Row("... the container is kept", "s", kept, by_hand, hand=hand, limit=OWN_S)


def _by_hand(place: Place, image: str) -> Sample | None:
    if shutil.which("docker") is None:
        return None
    name = f"{place.service}-hand"
    values: list[float] = []
    for _ in range(TIMES):
        try:
            values += seconds(1, partial(_docker_run, name, image)).values
        finally:
            _docker("rm", "-f", name)
    return Sample(tuple(values))


def _docker_run(name: str, image: str) -> None:
    ports = [f"127.0.0.1::{port}" for port in (contract.SCORE_PORT, contract.DEBUG_PORT)]
    _docker("run", "-d", "--init", "--name", name, "-p", ports[0], "-p", ports[1], image)
    address = _docker("port", name, str(contract.SCORE_PORT))
    until_answered(int(address.splitlines()[0].rpartition(":")[2]))


def _docker(*words: str) -> str:
    done = subprocess.run(["docker", *words], capture_output=True, encoding="utf-8", check=True)
    return done.stdout
