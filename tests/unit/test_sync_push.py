"""Saved files reach the agent, which runs as text in a process of this machine."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from threading import Event, Thread
from typing import Any, cast

import pytest

from devkit import contract
from devkit.engine import Engine
from devkit.engines.pipe_stream import PipeStream
from devkit.errors import EngineError, EntryScriptBroken
from devkit.sync import push
from devkit.sync.push import Push
from devkit.sync.remote import Remote

PLACE = contract.APP_ROOT / "iris"


class AgentStream(PipeStream):
    """Says when the agent has answered."""

    answered: Event

    def read(self, size: int = 65536) -> bytes:
        data = super().read(size)
        if b"}" in data:
            self.answered.set()
        return data


class AgentEngine:
    """Only `exec`, with `root` for the application root."""

    name = "docker"

    def __init__(self, root: Path) -> None:
        self.root = root
        self.answered = Event()
        self.streams: list[PipeStream] = []

    def exec(self, container: str, command: Sequence[str], **_: Any) -> PipeStream:
        words = [sys.executable, *command[1:-1], str(self.root)]
        stream = AgentStream(words, env=dict(os.environ))
        stream.answered = self.answered
        self.streams.append(stream)
        return stream


@pytest.fixture
def engine(tmp_path: Path) -> AgentEngine:
    (tmp_path / "root").mkdir()
    return AgentEngine(tmp_path / "root")


@pytest.fixture
def local(tmp_path: Path) -> Path:
    folder = tmp_path / "iris"
    folder.mkdir()
    (folder / "score.py").write_text("one")
    return folder


@pytest.fixture
def remote(engine: AgentEngine) -> Iterator[Remote]:
    with Remote(cast(Engine, engine), "c", contract.APP_ROOT) as made:
        yield made


class Source:
    """The files that belong into the container: all but *.log, unless the script is broken."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked = 0
        self.is_broken = False

    def __call__(self) -> dict[PurePosixPath, Path]:
        self.asked += 1
        if self.is_broken:
            raise EntryScriptBroken("score.py:1: invalid syntax.")
        return {PLACE / path.name: path for path in self.folder.glob("*.py")}


def inside(engine: AgentEngine, name: str) -> str:
    return (engine.root / "iris" / name).read_text()


def unheard(line: str) -> None:
    raise AssertionError(line)


def test_a_saved_file_is_written_and_an_unchanged_one_is_not(
    remote: Remote, engine: AgentEngine, local: Path
) -> None:
    wrote: list[object] = []
    pushing = Push(remote, Source(local), unheard, wrote.append)
    pushing.push({local / "score.py"})
    assert inside(engine, "score.py") == "one"
    assert wrote == [{PLACE / "score.py": hashlib.sha256(b"one").hexdigest()}]
    before = (engine.root / "iris/score.py").stat().st_ino
    pushing.push({local / "score.py"})
    assert (engine.root / "iris/score.py").stat().st_ino == before
    assert len(wrote) == 1


def test_a_file_edited_in_the_container_is_left_alone_and_said_once(
    remote: Remote, engine: AgentEngine, local: Path
) -> None:
    said: list[str] = []
    pushing = Push(remote, Source(local), said.append)
    pushing.push({local / "score.py"})
    (engine.root / "iris/score.py").write_text("edited inside")
    for text in ("two", "three"):
        (local / "score.py").write_text(text)
        pushing.push({local / "score.py"})
    assert inside(engine, "score.py") == "edited inside"
    (line,) = said
    assert "iris/score.py was edited in the container too" in line


def test_the_same_edit_on_both_sides_is_no_conflict(
    remote: Remote, engine: AgentEngine, local: Path
) -> None:
    pushing = Push(remote, Source(local), unheard)
    pushing.push({local / "score.py"})
    for text in ("two", "three"):
        (local / "score.py").write_text(text)
        if text == "two":
            (engine.root / "iris/score.py").write_text(text)
        pushing.push({local / "score.py"})
    assert inside(engine, "score.py") == "three"


def test_a_file_that_cannot_be_written_does_not_end_the_pushing(
    remote: Remote, engine: AgentEngine, local: Path
) -> None:
    said: list[str] = []
    pushing = Push(remote, Source(local), said.append)
    pushing.push({local / "score.py"})
    (local / "x.py").write_text("x")
    (engine.root / "iris/x.py").mkdir()
    (engine.root / "outside").symlink_to("/")
    outcome = remote.write("outside/x", b"x", expect=None, mode=0o644)
    assert "leads out of the root" in outcome.error
    pushing.push({local / "x.py"})
    (local / "score.py").write_text("two")
    pushing.push({local / "score.py"})
    assert len(said) == 1
    assert inside(engine, "score.py") == "two"


def test_a_new_file_waits_while_the_entry_script_is_broken(
    remote: Remote, engine: AgentEngine, local: Path
) -> None:
    source = Source(local)
    pushing = Push(remote, source, unheard)
    source.is_broken = True
    (local / "helper.py").write_text("new")
    pushing.push({local / "helper.py"})
    assert not (engine.root / "iris/helper.py").exists()
    source.is_broken = False
    (local / "score.py").write_text("mended")
    pushing.push({local / "score.py"})
    assert inside(engine, "helper.py") == "new"
    assert inside(engine, "score.py") == "mended"


def test_what_is_left_out_is_asked_about_once_until_dockerignore_changes(
    remote: Remote, local: Path
) -> None:
    source = Source(local)
    pushing = Push(remote, source, unheard)
    (local / "run.log").touch()
    for _ in range(3):
        pushing.push({local / "run.log"})
    assert source.asked == 2
    (local / ".dockerignore").touch()
    pushing.push({local / ".dockerignore", local / "run.log"})
    assert source.asked == 3


def test_a_lost_stream_is_an_error_of_ours(remote: Remote, engine: AgentEngine) -> None:
    (stream,) = engine.streams
    stream.close_stdin()
    with pytest.raises(EngineError, match="stream to the container is lost"):
        remote.digests(["a"])


def test_following_brings_a_save_and_ends_when_told(engine: AgentEngine, local: Path) -> None:
    stop = Event()
    thread = Thread(
        target=push.follow,
        args=(engine, "c", Source(local)),
        kwargs={"folder": local, "stop": stop, "progress": unheard},
        daemon=True,
    )
    thread.start()
    try:
        assert engine.answered.wait(10), "it never asked what the container has"
        engine.answered.clear()
        (local / "score.py").write_text("saved")
        # A save may be seen in two steps: emptied, then written.
        while not (engine.root / "iris/score.py").exists() or inside(engine, "score.py") != "saved":
            assert engine.answered.wait(10), "the save was not seen"
            engine.answered.clear()
    finally:
        stop.set()
        thread.join(10)
    assert not thread.is_alive()


def test_following_ends_with_a_word_when_the_agent_ends(engine: AgentEngine, local: Path) -> None:
    said: list[str] = []

    class Ended(Source):
        def __call__(self) -> dict[PurePosixPath, Path]:
            engine.streams[0].close_stdin()
            return super().__call__()

    push.follow(
        cast(Engine, engine),
        "c",
        Ended(local),
        folder=local,
        stop=Event(),
        progress=said.append,
    )
    (line,) = said
    assert line.startswith("Saved files do not reach the container any more: The stream")


def test_what_was_saved_while_nobody_followed_is_caught_up_but_not_over_an_edit_inside(
    remote: Remote, engine: AgentEngine, local: Path
) -> None:
    (local / "other.py").write_text("one")
    (engine.root / "iris").mkdir()
    for name in ("score.py", "other.py"):
        (engine.root / "iris" / name).write_text("one")
    written = {
        str(PLACE / name): hashlib.sha256(b"one").hexdigest() for name in ("score.py", "other.py")
    }
    (engine.root / "iris/other.py").write_text("edited inside")
    (local / "score.py").write_text("two")
    (local / "other.py").write_text("two")
    Push(remote, Source(local), unheard).catch_up(written)
    assert inside(engine, "score.py") == "two"
    assert inside(engine, "other.py") == "edited inside"
