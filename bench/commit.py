"""A commit beside `docker commit` of the same container, and where its time goes."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial

from bench.place import Place
from bench.row import Row, Sample, seconds
from devkit import contract
from devkit.commit import make
from devkit.engine import Container, Engine, Tag

TIMES = 5
HAND = "docker commit"
# What DESIGN.md 11 allows to devkit itself, on top of `docker commit`.
OWN_S = 0.15


def rows(place: Place) -> Iterator[Row]:
    _ = place.image
    with place.deleted():
        place.devkit("debug", "--detach", "--no-launch", "--no-proof")
        container = place.engine.container(place.service)
        assert container is not None
        _edit(place.engine, container)
        by_hand = _by_hand(place, container.id)
        limit = by_hand.median + OWN_S if by_hand else None
        typed, inside, stalls = _typed(place)
        yield Row("devkit commit, as typed", "s", typed, by_hand, hand=HAND)
        note = f"{OWN_S} s on top"
        yield Row("... the commit itself", "s", inside, by_hand, hand=HAND, limit=limit, note=note)
        yield Row("... the service waited", "s", stalls)
        yield from _parts(place, container)


def _edit(engine: Engine, container: Container) -> None:
    """One line, as of a day's work."""
    script = f"echo '# edited' >> {contract.APP_ROOT}/svc/score.py"
    with closing(engine.exec(container.id, ["sh", "-c", script])) as stream:
        assert stream.wait() == 0


def _typed(place: Place) -> tuple[Sample, Sample, Sample]:
    """Type it; how long it took, what of that was the commit, and how long the service waited."""
    typed, inside, stalls = list[float](), list[float](), list[float]()
    for _ in range(TIMES):
        began = time.perf_counter()
        made = place.devkit("commit")
        typed.append(time.perf_counter() - began)
        place.removed_at_the_end(made["image"])
        inside.append(made["seconds"])
        stalls.append(made["stall_s"] or 0.0)
    return Sample(tuple(typed)), Sample(tuple(inside)), Sample(tuple(stalls))


def _parts(place: Place, container: Container) -> Iterator[Row]:
    """What the engine is asked for, one after the other."""
    engine, tag = place.engine, place.removed_at_the_end(f"{place.service}-parts:1")
    files, changes, load = list[float](), list[float](), list[float]()
    for _ in range(TIMES):
        began = time.perf_counter()
        made = engine.commit(container.id)
        files.append(time.perf_counter() - began)
        changes += seconds(1, partial(engine.changes, container.id)).values
        loaded = partial(
            engine.image_like, made.id, str(place.tag), Tag.parse(tag), labels={}, comment=""
        )
        load += seconds(1, loaded).values
        engine.remove_image(made.id)
    looked = seconds(TIMES, partial(make.left_out, engine, container))
    yield Row("... of that: the engine commits", "s", Sample(tuple(files)))
    yield Row("... of that: the engine's diff", "s", Sample(tuple(changes)))
    yield Row("... of that: the image is loaded", "s", Sample(tuple(load)))
    yield Row("... of that: what is left out", "s", looked)


def _by_hand(place: Place, container: str) -> Sample | None:
    if shutil.which("docker") is None:
        return None
    tag = place.removed_at_the_end(f"{place.service}-hand:1")
    command = ["docker", "commit", container, tag]
    run = partial(subprocess.run, command, capture_output=True, check=True)
    return seconds(TIMES, run)
