"""Two real trees, the real loop, and a real agent over a pipe that can be cut anywhere."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import stat
import threading
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, cast

from devkit.engine import Engine, InputEnded
from devkit.engines.pipe_stream import PipeStream
from devkit.errors import EngineError, SyncHalted
from devkit.sync.agent.places import FLEETING
from devkit.sync.agent.side import Entry
from devkit.sync.ancestor import Ancestor
from devkit.sync.ignore import Ignore
from devkit.sync.journal import Journal
from devkit.sync.loop import Loop
from devkit.sync.news import News
from devkit.sync.reconcile import Mode
from devkit.sync.remote import Remote
from devkit.sync.watch import watched
from devkit.sync.work import Work
from devkit.sync.workspace import Workspace

_NEVER = 1 << 62
# Names that a user gives to what is not to be synced.
USERS = ".devkit-tmp-user"


class CutStream:
    """A stream that breaks once so many bytes went through, to the byte."""

    def __init__(self, stream: PipeStream, *, in_bytes: int, out_bytes: int) -> None:
        self._stream = stream
        self._left_in, self._left_out = in_bytes, out_bytes
        self.is_cut = False

    def cut_after(self, *, in_bytes: int = _NEVER, out_bytes: int = _NEVER) -> None:
        """From now on, let so many bytes more into the container, or out of it."""
        self._left_in, self._left_out = in_bytes, out_bytes

    def read(self, size: int = 65536) -> bytes:
        if self.is_cut:
            return b""
        data = self._stream.read(size)
        kept = data[: self._left_out]
        self._left_out -= len(kept)
        if len(kept) < len(data):
            self._cut()
        return kept

    def write(self, data: bytes) -> None:
        kept = data[: self._left_in]
        self._left_in -= len(kept)
        self._stream.write(kept)
        if len(kept) < len(data):
            self._cut()
            raise InputEnded("The stream was cut.")

    def _cut(self) -> None:
        self.is_cut = True
        with suppress(OSError):  # it is being closed
            self._stream.close_stdin()

    def kill(self) -> None:
        """Kill the agent."""
        process = self._stream._process
        assert process is not None
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class PipeEngine:
    """Runs what is to run in a container as a process here."""

    def __init__(self) -> None:
        self.streams: list[CutStream] = []
        self.in_bytes = self.out_bytes = _NEVER

    def exec(self, _container: str, command: list[str], **_: object) -> CutStream:
        stream = PipeStream(command, env=dict(os.environ))
        self.streams.append(CutStream(stream, in_bytes=self.in_bytes, out_bytes=self.out_bytes))
        self.in_bytes = self.out_bytes = _NEVER
        return self.streams[-1]


class _Forgetful(Ancestor):
    """What is agreed is not stored any more, as if the process had been killed."""

    is_dead = False

    def agree(self, agreed: Mapping[str, Entry | None]) -> None:
        if not self.is_dead:
            super().agree(agreed)

    def keep(self, side: str, known: Mapping[str, bytes]) -> None:
        if not self.is_dead:
            super().keep(side, known)


class Pair:
    """A workspace and a container's folder below `base`, in step while it runs."""

    def __init__(self, base: Path, *, events: bool = True, mode: Mode = "two-way") -> None:
        self.local, self.remote = base / "local", base / "remote"
        self.local.mkdir()
        self.remote.mkdir()
        self.engine = PipeEngine()
        self.container = "c" * 16
        self.news: list[News] = []
        self._heard = threading.Condition()
        self._events, self._mode = events, mode
        self._thread: threading.Thread | None = None
        self.ended: BaseException | None = None
        self.start()

    @property
    def trash(self) -> Path:
        return self.local / ".devkit" / "trash" / "contents"

    def start(self) -> None:
        """Begin with what is stored; where the stream breaks at once, `flush` says it."""
        self._ready = threading.Event()
        self.ended = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(60)

    def _run(self) -> None:
        try:
            self._keep_in_step()
        except (EngineError, OSError) as error:
            self.ended = error
        finally:
            self._ready.set()

    def _keep_in_step(self) -> None:
        ignore = Ignore(self.local)
        with Journal(self.local) as journal, _Forgetful.of(self.local, self.container) as ancestor:
            self.ancestor = ancestor
            workspace = Workspace(
                self.local, root=self.local, placed={}, ignore=ignore, journal=journal
            )
            self.loop = Loop(
                Work(
                    workspace,
                    service="s",
                    ancestor=ancestor,
                    journal=journal,
                    ignore=ignore,
                    mode=self._mode,
                    show=self._show,
                ),
                show=self._show,
            )
            try:
                self._run_loop(workspace)
            finally:
                self.loop.close()

    def _run_loop(self, workspace: Workspace) -> None:
        if not self._events:
            self.loop.run(self._connect, without_events="it is a test")
            return
        folders = workspace.watched_folders()
        with watched(folders, self.loop.hint, self.loop.events_lost) as why:
            self.loop.run(self._connect, without_events=why)

    def _connect(self, told: Any, lost: Any) -> Remote:
        engine = cast(Engine, self.engine)
        return Remote(engine, "c", PurePosixPath(self.remote), told=told, lost=lost)

    def _show(self, news: News) -> None:
        with self._heard:
            self.news.append(news)
            self._heard.notify_all()
        if news.kind == "connected":
            self._ready.set()

    def stop(self) -> None:
        """End in good order."""
        self.loop.stop()
        self._join()

    def kill(self) -> None:
        """End without a word written down any more."""
        self.ancestor.is_dead = True
        self.engine.streams[-1]._cut()
        self.stop()

    def _join(self) -> None:
        assert self._thread is not None
        self._thread.join(30)
        assert not self._thread.is_alive(), "the loop does not end"

    def flush(self) -> int:
        """Bring both in step, however often that needs a new stream; how many changes it took."""
        for _ in range(30):
            before = len(self.news)
            try:
                self.loop.flush(20)
            except SyncHalted as halted:
                if "too long" in str(halted):
                    raise AssertionError(f"{self.loop.status()}\n{self.news[-30:]}") from halted
                self.loop.resume()
            except EngineError:
                self._join()
                self.start()
            else:
                return sum(n.kind == "changed" for n in self.news[before:])
        raise AssertionError(f"never in step: {self.loop.status()}\n{self.news[-20:]}")

    def until(self, wanted: Callable[[News], bool], start: int = 0) -> News:
        """Wait for news, from the one of that number on."""
        with self._heard:
            at = start
            while True:
                while at >= len(self.news):
                    assert self._heard.wait(30), "no such news"
                if wanted(self.news[at]):
                    return self.news[at]
                at += 1

    def recreate(self, older: Path) -> None:
        """Another container, with an older copy of the tree."""
        self.stop()
        shutil.rmtree(self.remote)
        shutil.copytree(older, self.remote, symlinks=True)
        self.container = f"{int(hashlib.sha256(self.container.encode()).hexdigest()[:15], 16):016d}"
        self.start()

    def told_of(self, digests: Container[str]) -> str:
        """What the journal says about contents, and about all at the same paths."""
        with Journal(self.local) as journal:
            records = journal.records()
        paths = {
            record.path
            for record in records
            if any(entry and entry.digest in digests for entry in (record.old, record.new))
        }
        told = [f"{r} {r.old} -> {r.new}" for r in records if r.path in paths]
        return "\n".join([*told, *map(repr, self.news[-60:])])

    def contents(self) -> set[str]:
        """The digests of all that is in a tree, or moved out of it by its user, or in the trash."""
        kept = {path.name for path in self.trash.iterdir()} if self.trash.exists() else set()
        roots = (self.local, self.remote)
        moved = [path for root in roots for path in root.rglob(f"{USERS}*")]
        trees = [tree(root) for root in [*roots, *filter(Path.is_dir, moved)]]
        kept |= {_thing(path)[1] for path in moved}
        return kept | {value[1] for found in trees for value in found.values() if value[0] == "f"}


def tree(root: Path) -> dict[str, tuple[str, str, bool]]:
    """What is below a folder: kind, digest or target, run bit."""
    return {str(path.relative_to(root)): _thing(path) for path in _walk(root)}


def _walk(root: Path) -> Iterator[Path]:
    for top, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not FLEETING.fullmatch(name)]
        for name in [*folders, *names]:
            if not FLEETING.fullmatch(name):
                yield Path(top, name)


def _thing(path: Path) -> tuple[str, str, bool]:
    info = path.lstat()
    if stat.S_ISDIR(info.st_mode):
        return ("d", "", False)
    if stat.S_ISLNK(info.st_mode):
        return ("l", str(path.readlink()), False)
    return ("f", hashlib.sha256(path.read_bytes()).hexdigest(), bool(info.st_mode & 0o100))
