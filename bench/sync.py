"""One edit of 4 KB, until another process sees it complete on the other side."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event, Thread

from bench import mutagen, sync_parts
from bench.observed import (
    PAUSE_S,
    Observer,
    editing,
    inside,
    latencies,
    new_mark,
    observed,
    saved,
)
from bench.place import BASE, Place
from bench.row import Row, Sample, one
from bench.sync_by_hand import plain
from tests.syncing import Synced, synced

TIMES, BY_HAND_TIMES = 200, 5
HERE = [sys.executable, "-I", "-u", "-c"]
MEGA = 1 << 20
LARGE = 500 * MEGA
# DESIGN.md 11.
OUT_MS, OUT_P99_MS, BACK_MS, BESIDE_LARGE_MS = 2, 10, 4, 50


def rows(place: Place) -> Iterator[Row]:
    _ = place.engine  # says what is missing
    folder = place.folder()
    with synced("bench-edit", BASE) as service, plain(place.engine, folder) as by_hand:
        with observed(inside(service.container), service.root) as observer:
            out = latencies(TIMES, partial(_saved, service.folder / "edit.txt"), observer)
        note = sync_parts.of_an_edit(place.engine, service)
        yield from _pair("local edit -> container", out, OUT_MS, OUT_P99_MS, note)
        yield _beside(out, by_hand.edits(TIMES // 3, by_hand.bind), "bind mount")
        yield _beside(out, by_hand.edits(BY_HAND_TIMES, by_hand.docker_cp), "docker cp")
        yield _beside(out, by_hand.edits(BY_HAND_TIMES, by_hand.put_archive), "put_archive")
        if by_hand.has_rsync:
            yield _beside(out, by_hand.edits(BY_HAND_TIMES, by_hand.rsync), "rsync over exec")
        with (
            observed(HERE, str(service.folder)) as observer,
            editing(inside(service.container)) as editor,
        ):
            back = latencies(TIMES, partial(editor.save, f"{service.root}/edit.txt"), observer)
        yield from _pair("container edit -> workspace", back, BACK_MS, None)
        polled = by_hand.edits_back(2)
        yield _beside(back, polled, "one poll of docker diff, then docker cp")
        whole, during = _beside_large(service)
        copied = by_hand.copies(_large(folder).name, by_hand.docker_cp)
        yield Row("file of 500 MB -> container", "s", whole, copied, hand="docker cp")
        yield Row("... local edits meanwhile", "ms", during, limit=BESIDE_LARGE_MS)
        yield Row("... the slowest", "ms", one(during.worst), limit=BESIDE_LARGE_MS)
        if mutagen.is_installed():
            its_out, its_back = mutagen.edits(place.folder(), by_hand.container)
            yield Row("local edit, beside", "ms", out, its_out, hand="Mutagen")
            yield Row("container edit, beside", "ms", back, its_back, hand="Mutagen")


def _pair(
    what: str, sample: Sample, limit: float, slowest: float | None, note: str = ""
) -> Iterator[Row]:
    yield Row(what, "ms", sample, limit=limit, note=note)
    yield Row("... 99 of 100", "ms", one(sample.of_hundred(99)), limit=slowest)


def _beside(devkit: Sample, by_hand: Sample, hand: str) -> Row:
    return Row("... beside", "ms", devkit, by_hand, hand=hand)


def _saved(place: Path, mark: str) -> int:
    return saved(place, mark)


def _large(folder: Path) -> Path:
    """A file of which no two parts are the same."""
    place = folder / "large.bin"
    part = os.urandom(MEGA)
    with place.open("wb") as file:
        for number in range(LARGE // MEGA):
            file.write(number.to_bytes(4, "big") + part[4:])
    return place


def _beside_large(service: Synced) -> tuple[Sample, Sample]:
    """How long a large file takes (s), and the edits that are saved meanwhile (ms)."""
    with (
        observed(inside(service.container), service.root) as observer,
        _arrival(service, "large.bin") as has_come,
    ):
        _large(service.folder)
        began = time.monotonic()
        values = _edits_until(has_come, service.folder / "edit.txt", observer)
        whole = time.monotonic() - began
    return one(whole), Sample(tuple(values))


def _edits_until(has_come: Event, place: Path, observer: Observer) -> list[float]:
    values: list[float] = []
    while not has_come.wait(PAUSE_S):
        mark = new_mark()
        began = saved(place, mark)
        values.append((observer.seen(mark) - began) / 1e6)
    return values


@contextmanager
def _arrival(service: Synced, path: str) -> Iterator[Event]:
    """An event that is set when the sync has brought the path."""
    has_come, is_following = Event(), Event()

    def wait() -> None:
        with service.news() as news:
            is_following.set()
            next(item for item in news if item["event"] == "changed" and item["path"] == path)
        has_come.set()

    Thread(target=wait, daemon=True).start()
    is_following.wait()
    yield has_come
