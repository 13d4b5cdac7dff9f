"""The agent as it runs in a container: as text over a pipe, on each Python of this machine."""

from __future__ import annotations

import hashlib
import os
import queue
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devkit.engine import Engine
from devkit.engines.pipe_stream import PipeStream
from devkit.errors import EngineError
from devkit.sync import bootstrap
from devkit.sync.agent import known
from devkit.sync.agent.digests import signature_of
from devkit.sync.agent.frames import Frames, frame
from devkit.sync.agent.places import TEMPORARY
from devkit.sync.agent.serve import Agent
from devkit.sync.agent.side import FILE, FOLDER, LINK, Entry, Moved
from devkit.sync.remote import Answer, Remote, Told
from tests.pythons import pythons

PYTHONS = pythons()


class _Engine:
    def __init__(self, python: str) -> None:
        self.python = python
        self.env = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "PYTHONPATH": "/nowhere"}

    def exec(self, _container: str, command: list[str], **_: object) -> PipeStream:
        return PipeStream([self.python, *command[1:]], env=self.env, workdir="/")


class Served:
    """An agent of a folder, and what it tells."""

    def __init__(self, root: Path, python: str) -> None:
        self.root = root
        self.told = queue.Queue[Told]()
        self.lost = queue.Queue[EngineError]()
        self.remote = Remote(
            cast(Engine, _Engine(python)),
            "c",
            PurePosixPath(root),
            told=self.told.put,
            lost=self.lost.put,
        )

    def ask(self, op: str, content: bytes = b"", **fields: object) -> Answer:
        return self.remote.request(op, content, **fields).result(timeout=20)

    def until_told(self, wanted: Callable[[Told], bool]) -> Told:
        while not wanted(told := self.told.get(timeout=20)):
            pass
        return told


@pytest.fixture(params=sorted(PYTHONS, key=lambda version: int(str(version).split(".")[1])))
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    root = tmp_path / "root"
    root.mkdir()
    made = Served(root, PYTHONS[request.param])
    yield made
    made.remote.close()


def write(served: Served, path: str, text: bytes, expect: Entry | None = None) -> Entry:
    fields = {"path": path, "expect": expect, "executable": False, "keep": 1 << 20}
    entry = served.ask("write", text, **fields).entry
    assert entry is not None
    return entry


def test_the_agent_works_on_each_python(served: Served) -> None:
    root = served.root
    (root / "d").mkdir()
    (root / "d" / "\udcff\n").write_text("odd")
    scan = served.remote.scan()
    assert set(scan.entries) == {"d", "d/\udcff\n"}
    assert scan.without_events == ""

    first = write(served, "a", b"one")
    answer = served.ask(
        "write", b"two", path="a", expect=first, executable=True, keep=100, notify=True
    )
    assert (answer.content, answer.is_kept) == (b"one", True)
    assert os.access(root / "a", os.X_OK)
    with pytest.raises(Moved):
        served.ask("write", b"x", path="a", expect=first, executable=True)
    served.ask("chmod", path="a", expect=answer.entry, executable=False)
    served.ask("folder", path="n")
    served.ask("link", path="n/l", target="../a", expect=None)
    assert served.ask("stat", path="n/l").entry == Entry(LINK, "../a")
    served.ask("rename", path="n", to="m")
    with pytest.raises(FileExistsError):
        served.ask("rename", path="m", to="d")
    with pytest.raises(OSError, match="Not a directory"):
        served.ask("folder", path="a/b")

    (root / "d" / "new").write_text("theirs")
    told = served.until_told(lambda told: "d/new" in told.entries)
    assert b"theirs" in told.contents.values()
    (root / "a").unlink()
    served.until_told(lambda told: told.entries.get("a", 0) is None)

    content = os.urandom(3 << 20)
    served.ask("stage", stage=1, path="big")
    for start in range(0, len(content), 1 << 20):
        served.ask("add", content[start : start + (1 << 20)], stage=1)
    digest = hashlib.sha256(content).hexdigest()
    served.ask("commit", stage=1, path="big", digest=digest, expect=None, executable=False)
    read = served.ask("read", path="big")
    assert read.signature is not None
    part = served.ask("part", path="big", offset=5, length=10, signature=read.signature)
    assert part.content == content[5:15]
    with pytest.raises(OSError, match="too large to be kept"):
        served.ask("delete", path="big", expect=Entry(FILE, digest), keep=1 << 20)
    assert (root / "big").read_bytes() == content
    served.ask("delete", path="big", expect=Entry(FILE, digest), keep=None)
    served.ask("flush")
    left = {os.path.relpath(path, root) for path in root.rglob("*")}
    assert left == {"d", "d/\udcff\n", "d/new", "m", "m/l"}


def test_an_edit_in_a_new_folder_is_told_on_each_python(served: Served) -> None:
    served.remote.scan()
    for number in range(30):
        folder = served.root / f"{number}" / "b" / "c"
        folder.mkdir(parents=True)
        (folder / "x").write_text(str(number))
    missing = {f"{number}/b/c/x" for number in range(30)}
    while missing:
        missing -= set(served.told.get(timeout=20).entries)


def test_a_root_that_goes_away_is_told_as_that(served: Served) -> None:
    for name in "abc":
        (served.root / name).write_text(name)
    served.remote.scan()
    served.root.rename(served.root.with_name("gone"))
    served.ask("flush")
    told = served.until_told(lambda told: "" in told.unknown)
    assert told.entries == {}
    with pytest.raises(OSError, match="gone"):
        served.ask("write", b"x", path="a", expect=None, executable=False)


def test_a_folder_that_may_not_be_read_is_unknown(served: Served) -> None:
    # Root may read all: too deep is what it may not either.
    deep = served.root
    for _ in range(130):
        deep = deep / "d"
        deep.mkdir()
    assert list(served.remote.scan().unknown.values()) == ["too many folders in one another"]


def test_what_happens_deeper_than_it_looks_is_not_told(served: Served) -> None:
    served.remote.scan()
    deep = served.root.joinpath(*["d"] * 300)
    deep.mkdir(parents=True)
    (deep / "file").write_text("text")
    told = served.until_told(lambda told: bool(told.unknown))
    assert set(told.unknown.values()) == {"too many folders in one another"}
    (deep / "file").write_text("more")
    (served.root / "after").write_text("text")
    served.ask("flush")
    served.until_told(lambda told: "after" in told.entries)
    assert served.lost.empty()


def test_a_file_that_changes_all_the_time_holds_up_nobody(served: Served) -> None:
    served.remote.scan()
    flushed = served.remote.request("flush")
    (served.root / "log").write_text("x")
    assert served.ask("stat", path="log").entry is not None
    flushed.result(timeout=20)


def test_what_a_killed_agent_began_is_swept_by_the_next(served: Served, tmp_path: Path) -> None:
    served.remote.scan()
    served.ask("stage", stage=1, path="a")
    process = cast(PipeStream, served.remote._stream)._process
    assert process is not None
    process.kill()
    served.lost.get(timeout=20)
    assert [path.name.startswith(TEMPORARY) for path in served.root.iterdir()] == [True]
    again = Served(served.root, PYTHONS[min(PYTHONS)])
    again.remote.scan()
    assert list(served.root.iterdir()) == []
    again.remote.close()


def test_an_agent_without_a_root_says_so(tmp_path: Path) -> None:
    served = Served(tmp_path / "missing", PYTHONS["3.11"])
    with pytest.raises(FileNotFoundError, match="gone"):
        served.remote.scan()
    served.remote.close()


def test_a_container_without_python_is_an_engine_error(tmp_path: Path) -> None:
    with pytest.raises(EngineError):
        Served(tmp_path, "/no/python3").remote.wait()


def test_of_what_the_host_knows_only_what_changed_is_digested_again(served: Served) -> None:
    root = served.root
    (root / "d").mkdir()
    for name in ("same", "d/runs", "changed", "gone", "becomes a folder"):
        (root / name).write_text(name)
        os.utime(root / name, ns=(1, 1))
    (root / "d" / "runs").chmod(0o755)
    seeds = {}
    for path in ("same", "d/runs", "changed", "gone", "becomes a folder"):
        info = (root / path).stat()
        # Not its digest: who digests again is found out.
        seeds[path] = known.packed(signature_of(info)) + bytes.fromhex("aa" * 32)
    (root / "changed").write_text("other")
    (root / "gone").unlink()
    (root / "becomes a folder").unlink()
    (root / "becomes a folder").mkdir()
    (root / "new").symlink_to("same")
    scan = served.remote.scan(seeds)
    assert scan.entries == {
        "d": Entry(FOLDER),
        "same": Entry(FILE, "aa" * 32),
        "d/runs": Entry(FILE, "aa" * 32, True),
        "changed": Entry(FILE, hashlib.sha256(b"other").hexdigest()),
        "becomes a folder": Entry(FOLDER),
        "new": Entry(LINK, "same"),
    }
    assert scan.records.keys() >= {"same", "d/runs"}
    assert scan.records["same"] == seeds["same"]


# What the agent does with requests that no host sends.

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
PATHS = ["a", "d", "d/b", "l", "l/x", "out", "../outside/x", "/etc/hostname", "d/../../outside/x"]
PATHS += [
    "",
    ".",
    "..",
    "a\0",
    "\ud800",
    "x" * 300,
    "d/" * 200 + "x",
    "outlink/secret",
    "outlink/n",
]
paths = st.sampled_from(PATHS)
entries = st.none() | st.just([FOLDER, "", False]) | st.just([FILE, "d" * 64, True]) | values
OPS = ["seed", "scan", "read", "stat", "flush", "part", "write", "stage", "add", "drop", "commit"]
OPS += ["link", "folder", "chmod", "delete", "rename", "hold", "notify", "nothing", "__class__"]
requests = st.fixed_dictionaries(
    {"id": st.integers(0, 9), "op": st.sampled_from(OPS) | values},
    optional={
        "path": paths | values,
        "to": paths | values,
        "target": paths | values,
        "expect": entries,
        "executable": values,
        "keep": values,
        "stage": st.integers(0, 2) | values,
        "digest": values,
        "known": values,
        "offset": values,
        "length": values,
        "signature": values | st.lists(st.integers(), min_size=5, max_size=5),
        "paths": st.lists(paths, max_size=3) | values,
    },
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(said=st.lists(st.tuples(requests, st.binary(max_size=20)), min_size=1, max_size=12))
def test_no_request_crashes_the_agent_or_leads_out_of_its_root(
    tmp_path: Path, said: list[tuple[dict[str, object], bytes]]
) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    shutil.rmtree(root, ignore_errors=True)
    shutil.rmtree(outside, ignore_errors=True)
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (root / "d").mkdir(parents=True)
    (root / "a").write_text("a")
    (root / "l").symlink_to("d")
    (root / "outlink").symlink_to(outside)
    output = list[bytes]()
    agent = Agent(str(root), None, output.append)
    frames = Frames()
    for request, content in said:
        for message, body in frames.add(frame(request, content)):
            agent.answer(message, body)
            agent.work()
    agent.close()
    assert [path.name for path in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_text() == "secret"
    assert b"secret" not in b"".join(output).replace(b"outlink/secret", b"")
    assert not list(root.rglob(f"{TEMPORARY}*"))


def test_the_text_is_what_is_sent() -> None:
    size = int(bootstrap.text()[:8])
    assert len(bootstrap.text()) == size + 8
