"""A short fixed run of the fuzzer; let it run longer by hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from devkit.sync.agent.frames import frame
from devkit.sync.agent.side import FILE

RUNS = 2_000


def test_no_bytes_crash_a_reader_of_the_stream(tmp_path: Path) -> None:
    seeds = tmp_path / "seeds"
    seeds.mkdir()
    entry = [FILE, "d" * 64, False]
    fields = {"path": "a", "expect": entry, "executable": True, "keep": 9, "stage": 1, "to": "d/b"}
    for op in ("scan", "read", "write", "stage", "add", "commit", "delete", "rename", "link"):
        seed = frame({"id": 1, "op": op, "digest": "d" * 64, "target": "../x", **fields}, b"x")
        (seeds / op).write_bytes(seed)
    answer = {"id": 1, "entries": {"a": entry}, "changed": {"a": None}, "entry": entry}
    (seeds / "answer").write_bytes(frame(answer))
    options = [f"-runs={RUNS}", "-seed=1", "-max_len=2000", f"-artifact_prefix={tmp_path}/"]
    run = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.stream", *options, str(seeds)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert f"Done {RUNS} runs" in run.stderr
