"""Random edits on both sides while everything breaks: nothing that was written is lost."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from devkit.sync.agent import places
from tests.sync.pair import USERS, Pair, tree

STEPS = int(os.environ.get("DEVKIT_SYNC_STEPS", "20000"))
# What a person does between two looks; each edit is a step.
_EDITS = 40
_BIG = 9 << 20
_STEPS_OF_AN_EXAMPLE = 200

NAMES = ["a", "b", "c d", "\u00e9", "e\u0301", "n\nl", "\udcff", "A"]
FEW = [*NAMES, *(f"{one}/{two}" for one in NAMES[:4] for two in NAMES[:4])]
PATHS = st.sampled_from([*FEW, *(f"a/{one}/{two}" for one in NAMES[:3] for two in NAMES[:3])])
SIDES = st.sampled_from(["local", "remote"])
OPS = ["touch", "write", "write", "write", "replace", "replace", "delete", "mkdir", "rmtree"]
OPS += ["rename", "rename", "chmod", "link", "append", "to folder"]
EDITS = st.lists(
    st.tuples(SIDES, st.sampled_from(OPS), PATHS, PATHS), min_size=_EDITS // 2, max_size=_EDITS
)
BYTES = st.integers(0, 4000) | st.integers(0, 200_000)
TROUBLES = st.sampled_from(
    ["none"] * 8
    + ["cut", "cut the next", "kill the agent", "kill the host", "restart", "pause"]
    + ["remember the container", "recreate the container", "big file"]
)


class Trees(RuleBasedStateMachine):
    """Whoever edits knows what is overwritten; all else that was written has to be somewhere."""

    steps = 0

    events = True

    @initialize()
    def begin(self) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="devkit-model-"))
        self.pair = Pair(self.base, events=self.events)
        self.alive: dict[str, str] = {}
        self.number = 0
        self.older: Path | None = None

    def teardown(self) -> None:
        try:
            self.agree()
            self.pair.stop()
            self.pair.start()
            assert self.pair.flush() == 0
        finally:
            with suppress(Exception):
                self.pair.stop()
            shutil.rmtree(self.base, ignore_errors=True)

    @rule(trouble=TROUBLES, bytes=BYTES, into=st.booleans(), edits=EDITS, flush=st.booleans())
    def go_on(
        self,
        trouble: str,
        bytes: int,
        into: bool,
        edits: list[tuple[str, str, str, str]],
        flush: bool,
    ) -> None:
        self._make(trouble, bytes, into)
        for side, op, path, other in edits:
            Trees.steps += 1
            root = self._root(side)
            # Where the sync changes the same things at the same time, an edit may fail.
            with suppress(OSError):
                self._edit(op, root, root / path, root / other, f"{side}: {op} {path!r}")
        if flush:
            self.agree()

    def agree(self) -> None:
        self.pair.flush()
        local, remote = tree(self.pair.local), tree(self.pair.remote)
        assert local == remote, f"{_difference(local, remote)}\n{self.pair.loop.status()}"
        has = self.pair.contents()
        lost = {digest: what for digest, what in self.alive.items() if digest not in has}
        assert not lost, f"{lost}\n{self.pair.told_of(lost)}"
        assert self.pair.flush() == 0, "a second run changes something"

    def _root(self, side: str) -> Path:
        return self.pair.local if side == "local" else self.pair.remote

    def _make(self, trouble: str, bytes: int, into: bool) -> None:
        stream = self.pair.engine.streams[-1]
        act: dict[str, Callable[[], None]] = {
            "none": lambda: None,
            "cut": lambda: stream.cut_after(**{"in_bytes" if into else "out_bytes": bytes}),
            "cut the next": lambda: setattr(
                self.pair.engine, "in_bytes" if into else "out_bytes", bytes
            ),
            "kill the agent": stream.kill,
            "kill the host": self._kill_the_host,
            "restart": self._restart,
            "pause": self._pause,
            "remember the container": self._remember,
            "recreate the container": self._recreate,
            "big file": lambda: self._big_file(self._root("local" if into else "remote") / "b"),
        }
        act[trouble]()

    def _kill_the_host(self) -> None:
        self.pair.kill()
        self.pair.start()

    def _restart(self) -> None:
        self.pair.stop()
        self.pair.start()

    def _pause(self) -> None:
        if self.pair.ended is None:
            self.pair.loop.pause()

    def _remember(self) -> None:
        if self.older is None:
            self.older = self.base / "older"
            # A file that goes away meanwhile is not in the older copy.
            ours = shutil.ignore_patterns(".devkit-tmp-*")
            with suppress(shutil.Error):
                shutil.copytree(self.pair.remote, self.older, symlinks=True, ignore=ours)

    def _recreate(self) -> None:
        if self.older is not None:
            self.agree()
            self.pair.recreate(self.older)
            shutil.rmtree(self.older)
            self.older = None

    def _big_file(self, path: Path) -> None:
        with suppress(OSError):
            self._write(path, "big", size=_BIG)

    def _edit(self, op: str, root: Path, path: Path, other: Path, what: str) -> None:
        if op in ("write", "replace", "append", "delete", "chmod", "touch") and path.is_dir():
            return
        act: dict[str, Callable[[], None]] = {
            "write": lambda: self._write(path, what),
            "replace": lambda: self._replace(path, what),
            "append": lambda: self._append(path, what),
            "delete": lambda: self._delete(path),
            "mkdir": lambda: path.mkdir(parents=True, exist_ok=True),
            "rmtree": lambda: self._rmtree(path),
            "rename": lambda: self._rename(path, other),
            "chmod": lambda: _chmod(path),
            "touch": path.touch,
            "link": lambda: path.symlink_to(other.name),
            "to folder": lambda: self._to_folder(path, what),
        }
        act[op]()

    def _delete(self, path: Path) -> None:
        aside = self._aside(path)
        self._consume(aside)
        aside.unlink()

    def _aside(self, path: Path) -> Path:
        """Take it out of the way: from here on the sync does not change what it is."""
        self.number += 1
        return path.rename(path.with_name(f"{USERS}{self.number}"))

    def _consume(self, path: Path) -> None:
        """The user does away with what is there."""
        # The sync may still be at work in a folder that was moved out of the way.
        with suppress(FileNotFoundError):
            if path.is_file() and not path.is_symlink():
                self.alive.pop(hashlib.sha256(path.read_bytes()).hexdigest(), None)

    def _new(self, what: str, size: int = 0) -> bytes:
        self.number += 1
        return f"{self.number}: {what}\n".encode(errors="replace").ljust(size, b"x")

    def _write(self, path: Path, what: str, *, size: int = 0) -> None:
        if path.is_symlink() or path.is_dir():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        content = self._new(what, size)
        self._overwrite(path, lambda _: content)
        self.alive[hashlib.sha256(content).hexdigest()] = content[:80].decode()

    def _overwrite(self, path: Path, changed: Callable[[bytes], bytes]) -> bytes:
        """Write in place, as many editors do; what goes is what was read, unless that was moved."""
        old, inode = b"", 0
        if path.exists():
            with path.open("rb") as before:
                old, inode = before.read(), os.fstat(before.fileno()).st_ino
        content = changed(old)
        with path.open("wb") as file:
            if os.fstat(file.fileno()).st_ino == inode:
                self.alive.pop(hashlib.sha256(old).hexdigest(), None)
            file.write(content)
        return content

    def _append(self, path: Path, what: str) -> None:
        if path.is_symlink() or path.stat().st_size > 100_000:
            return
        added = self._new(what)
        content = self._overwrite(path, lambda old: old + added)
        self.alive[hashlib.sha256(content).hexdigest()] = added.decode()

    def _replace(self, path: Path, what: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = self._new(what)
        temporary = path.with_name(f"{USERS}{self.number}")
        temporary.write_bytes(content)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if os.path.lexists(path):
                places.exchange(folder, temporary.name, path.name)
            else:
                places.rename_new(folder, temporary.name, folder, path.name)
        finally:
            os.close(folder)
        if temporary.exists():
            self._consume(temporary)
        temporary.unlink(missing_ok=True)
        self.alive[hashlib.sha256(content).hexdigest()] = content.decode()

    def _rmtree(self, path: Path) -> None:
        if path.is_dir() and not path.is_symlink():
            self._clear(self._aside(path))

    def _clear(self, folder: Path) -> None:
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                self._clear(path)
            else:
                self._consume(path)
                path.unlink(missing_ok=True)
        folder.rmdir()

    def _rename(self, path: Path, other: Path) -> None:
        if not path.exists() or path == other or path in other.parents:
            return
        other.parent.mkdir(parents=True, exist_ok=True)
        if other.is_dir() and not other.is_symlink():
            return
        if os.path.lexists(other):
            self._delete(other)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            places.rename_new(folder, path.name, folder, os.path.relpath(other, path.parent))
        finally:
            os.close(folder)

    def _to_folder(self, path: Path, what: str) -> None:
        if path.is_file() and not path.is_symlink():
            self._delete(path)
            path.mkdir()
            self._write(path / "a", what)


def _chmod(path: Path) -> None:
    if not path.is_symlink():
        path.chmod(path.stat().st_mode ^ 0o111)


def _difference(local: dict[str, tuple[str, str, bool]], remote: object) -> str:
    assert isinstance(remote, dict)
    paths = sorted(p for p in {*local, *remote} if local.get(p) != remote.get(p))
    return "\n".join(f"{p!r}: {local.get(p)} | {remote.get(p)}" for p in paths)


def settings_of(share: int) -> settings:
    """Return how to run a share of the steps."""
    return settings(
        max_examples=max(1, STEPS // share // _STEPS_OF_AN_EXAMPLE),
        stateful_step_count=10,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
