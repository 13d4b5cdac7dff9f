"""A branch switch of a thousand files, both ways."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from bench.observed import editing, inside, marked, new_mark, observed
from bench.row import Row, Sample, seconds
from bench.sync_by_hand import Plain
from tests.syncing import Synced

HERE = [sys.executable, "-I", "-u", "-c"]
SWITCHED, SWITCHES = 1000, 2


def rows(service: Synced, by_hand: Plain) -> Iterator[Row]:
    marks = _branches(service.folder)
    service.flush()
    values, alone = [], []
    with observed(inside(service.container), service.root) as observer:
        for number in range(SWITCHES):
            branch = "one" if number % 2 == 0 else "other"
            began = time.monotonic_ns()
            _git(service.folder, "checkout", "-q", branch)
            alone.append((time.monotonic_ns() - began) / 1e9)
            values.append((observer.seen(marks[branch], files=SWITCHED) - began) / 1e9)
            service.flush()
    copied, back = _switched_by_hand(by_hand)
    note = f"git alone {min(alone):.2f} s"
    what = "git switches 1000 files -> container"
    yield Row(what, "s", Sample(tuple(values)), copied, hand=_copier(by_hand), note=note)
    values = []
    many = f"{service.root}/many"
    with (
        observed(HERE, str(service.folder)) as observer,
        editing(inside(service.container)) as editor,
    ):
        for _ in range(SWITCHES):
            mark = new_mark()
            began = editor.save(many, mark, files=SWITCHED)
            values.append((observer.seen(mark, files=SWITCHED) - began) / 1e9)
            service.flush()
    what = "1000 files made anew in the container -> workspace"
    yield Row(what, "s", Sample(tuple(values)), back, hand=_copier(by_hand))


def _git(folder: Path, *words: str) -> None:
    who = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"]
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


def _branches(folder: Path) -> dict[str, str]:
    """Two branches in a new repository, which differ in a thousand files; their marks."""
    marks = {}
    _git(folder, "init", "-q", "-b", "none")
    (folder / "many").mkdir()
    for branch in ("one", "other"):
        marks[branch] = new_mark()
        for number in range(SWITCHED):
            (folder / f"many/f{number}.txt").write_bytes(marked(marks[branch]))
        _git(folder, "checkout", "-q", "-b", branch)
        _git(folder, "add", "many")
        _git(folder, "commit", "-qm", branch)
    return marks


def _copier(by_hand: Plain) -> str:
    return "git, then rsync over exec" if by_hand.has_rsync else ""


def _switched_by_hand(by_hand: Plain) -> tuple[Sample | None, Sample | None]:
    if not by_hand.has_rsync:
        return None, None
    _branches(by_hand.folder)
    by_hand.copies("many", by_hand.rsync)

    def switch(branch: str) -> None:
        _git(by_hand.folder, "checkout", "-q", branch)
        by_hand.rsync("many")

    out = [seconds(1, partial(switch, branch)).median for branch in ("one", "other")]
    with editing(inside(by_hand.container)) as editor:

        def back() -> None:
            editor.save(f"{by_hand.target}/many", new_mark(), files=SWITCHED)
            by_hand.rsync_back("many")

        return Sample(tuple(out)), seconds(2, back)
