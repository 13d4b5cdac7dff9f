"""Feeds bytes to frames, agent and the host's reader: `python -m tests.fuzz.stream -runs=N`.

Each is steered by what code it reaches. A crash is an exception that is none of the protocol's.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports():
    from devkit.sync import received
    from devkit.sync.agent.frames import Frames
    from devkit.sync.agent.serve import Agent

BASE = Path(tempfile.mkdtemp(prefix="devkit-fuzz-"))
SECRET = "kept outside"


def reset() -> Path:
    """A root with links that lead out of it."""
    root = BASE / "root"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    (root / "a").write_text("a")
    (root / "d").mkdir()
    (root / "out").symlink_to(BASE)
    (BASE / "secret").write_text(SECRET)
    return root


def feed(data: bytes) -> None:
    """One run: the same bytes to all three."""
    output = list[bytes]()
    agent = Agent(str(reset()), None, output.append)
    scan = received.RemoteScan({"a": b"r" * 72})
    with suppress(ValueError):
        for message, content in Frames().add(data):
            agent.answer(message, content)
            agent.work()
            with suppress(*received.NONSENSE):
                received.answer(message, content, 1)
            with suppress(*received.NONSENSE):
                scan.fill(message, content)
    agent.close()
    assert {path.name for path in BASE.iterdir()} == {"root", "secret"}, "written outside"
    assert (BASE / "secret").read_text() == SECRET
    assert SECRET.encode() not in b"".join(output), "read outside"


def main() -> None:
    """Fuzz until libFuzzer's options say that it is enough."""
    atheris.Setup(sys.argv, feed)
    try:
        atheris.Fuzz()
    finally:
        shutil.rmtree(BASE, ignore_errors=True)


if __name__ == "__main__":
    main()
