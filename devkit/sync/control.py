"""Step 5, sync: how another process of the same user asks a running sync, and follows it.

One process at a time keeps a service's workspace in step: it holds a lock, and says in a file
beside it where it listens. Questions and answers are JSON objects.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import socket
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Self

from devkit.errors import EngineError, SyncHalted
from devkit.own_folder import opened, own_file, own_folder, own_path, stored

if TYPE_CHECKING:
    from devkit.sync.loop import Loop
    from devkit.sync.news import News

_FOLDER = "sync"
_BEGIN_TIMEOUT_S = 30


def log_path(root: Path, service: str) -> Path:
    """Where the process that keeps a service in step writes what it does.

    Raises:
        OwnFolderUnusable: it cannot do so there.
    """
    return own_file(own_folder(root, _FOLDER) / f"{service}.log")


@contextmanager
def only_one(root: Path, service: str) -> Iterator[bool]:
    """Be the one that keeps a service in step; yield False where another one is.

    Raises:
        OwnFolderUnusable: there can be no lock.
    """
    path = own_folder(root, _FOLDER) / f"{service}.lock"
    with os.fdopen(opened(path, os.O_WRONLY | os.O_APPEND), "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


class Control:
    """Answers other processes about a loop, each in a thread."""

    def __init__(self, root: Path, service: str, container_id: str) -> None:
        self._state = _state_path(root, service)
        self._key = secrets.token_bytes(32)
        self._followers = dict[int, SimpleQueue[dict[str, Any] | None]]()
        self._lock = threading.Lock()
        self._loop: Loop | None = None
        self._has_loop = threading.Event()
        self.is_stopped = threading.Event()
        address = _address(root, service)
        self._listener = Listener(address, "AF_UNIX", authkey=self._key)
        threading.Thread(target=self._accept, daemon=True, name="sync control").start()
        said = {"address": address, "key": self._key.hex(), "container": container_id}
        stored(self._state, json.dumps({**said, "pid": os.getpid()}).encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._state.unlink(missing_ok=True)
        with self._lock:
            followers, self._followers = self._followers, {}
        for follower in followers.values():
            follower.put(None)
        self._listener.close()

    def answer_for(self, loop: Loop) -> None:
        """Say which loop the questions are about; those that came before wait for it."""
        self._loop = loop
        self._has_loop.set()

    def stop(self) -> None:
        """End the loop, and whoever runs it."""
        self.is_stopped.set()
        if self._loop is not None:
            self._loop.stop()

    def show(self, news: News) -> None:
        """Tell all that follow."""
        said = {
            "event": news.kind,
            "text": str(news),
            "path": _shown(news.path),
            "side": news.side,
            "ms": None if news.seconds is None else round(news.seconds * 1000, 1),
        }
        with self._lock:
            for follower in self._followers.values():
                follower.put(said)

    def _accept(self) -> None:
        while True:
            try:
                connection = self._listener.accept()
            except AuthenticationError:
                continue
            except OSError:
                return  # closed
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: Connection) -> None:
        with connection, suppress(EOFError, OSError):
            while True:
                request = json.loads(connection.recv_bytes())
                if request.get("do") == "follow":
                    self._follow(connection)
                    return
                connection.send_bytes(json.dumps(self._answered(request)).encode())

    def _follow(self, connection: Connection) -> None:
        news = SimpleQueue[dict[str, Any] | None]()
        with self._lock:
            self._followers[id(news)] = news
        try:
            connection.send_bytes(json.dumps({"ok": True}).encode())
            while (said := news.get()) is not None:
                connection.send_bytes(json.dumps(said).encode())
        finally:
            with self._lock:
                self._followers.pop(id(news), None)

    def _answered(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"ok": True, **self._done(request)}
        except (EngineError, SyncHalted, OSError) as error:
            code = getattr(error, "code", "OSError")
            hint = getattr(error, "hint", None)
            return {"ok": False, "code": code, "message": str(error), "hint": hint}

    def _done(self, request: dict[str, Any]) -> dict[str, Any]:
        what = request.get("do")
        if what == "stop":
            self.stop()
            return {}
        self._has_loop.wait(_BEGIN_TIMEOUT_S)
        loop = self._loop
        if loop is None:
            raise EngineError("The sync has not begun yet.")
        if what == "status":
            return _described(loop)
        if what == "flush":
            loop.flush(request.get("timeout_s"))
        elif what in ("pause", "resume", "reset"):
            getattr(loop, what)()
        else:
            raise EngineError(f"The sync does not know how to {what}.")
        return _described(loop)


class Running:
    """The sync of a service that another process runs. Raises EngineError where it is gone."""

    def __init__(self, connection: Connection, container_id: str, pid: int) -> None:
        self._connection = connection
        self.container_id = container_id
        self.pid = pid

    @classmethod
    def find(cls, root: Path, service: str) -> Self | None:
        """Connect to it; None where none runs."""
        try:
            state = json.loads(_state_path(root, service).read_text("utf-8"))
            # A workspace may bring the file along: nobody else is spoken to for that.
            if not _is_own(Path(state["address"]), root, service):
                return None
            connection = Client(state["address"], "AF_UNIX", authkey=bytes.fromhex(state["key"]))
            return cls(connection, str(state["container"]), int(state["pid"]))
        except (OSError, ValueError, KeyError, TypeError, EOFError, AuthenticationError):
            return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def ask(self, what: str, **fields: Any) -> dict[str, Any]:
        """Ask for `status`, `pause`, `resume`, `reset`, `flush` or `stop`; return what it says.

        Raises:
            SyncHalted: it is halted or paused.
            EngineError: the container is not to be reached, or the sync is gone.
        """
        try:
            self._connection.send_bytes(json.dumps({"do": what, **fields}).encode())
            answer: dict[str, Any] = json.loads(self._connection.recv_bytes())
        except (OSError, EOFError, ValueError) as error:
            raise EngineError("The sync has just ended.", hint=_HINT) from error
        if not answer.pop("ok"):
            kind = SyncHalted if answer.get("code") == "SyncHalted" else EngineError
            raise kind(str(answer["message"]), hint=answer.get("hint") or _HINT)
        return answer

    def follow(self) -> Iterator[dict[str, Any]]:
        """Return what happens from now on, as `Control.show` says it, until it ends."""
        with suppress(OSError, EOFError, ValueError):
            self._connection.send_bytes(json.dumps({"do": "follow"}).encode())
            self._connection.recv_bytes()
        return self._told()

    def _told(self) -> Iterator[dict[str, Any]]:
        with suppress(OSError, EOFError, ValueError):
            while True:
                yield json.loads(self._connection.recv_bytes())

    def close(self) -> None:
        """Let go; a thread that follows meanwhile comes to its end."""
        with suppress(OSError), socket.socket(fileno=os.dup(self._connection.fileno())) as shared:
            shared.shutdown(socket.SHUT_RDWR)


_HINT = "`devkit sync status` shows more."


def _described(loop: Loop) -> dict[str, Any]:
    status = loop.status()
    return {
        "state": status.state,
        "mode": status.mode,
        "files": status.files,
        "changes": status.changes,
        "reason": status.reason,
        "pending": [_shown(path) for path in status.pending],
        "conflicts": {_shown(path): _shown(copy) for path, copy in status.conflicts.items()},
        "problems": {_shown(path): why for path, why in status.problems.items()},
        "without_events": dict(status.without_events),
        "text": str(status),
    }


def _shown(path: str) -> str:
    """A path whose bytes are no text, fit for JSON."""
    return path.encode(errors="surrogateescape").decode(errors="replace")


def _state_path(root: Path, service: str) -> Path:
    return own_file(own_path(root, _FOLDER) / f"{service}.json")


def _address(root: Path, service: str) -> str:
    """A socket's path has to be short, and a workspace's may be long."""
    folder = Path(tempfile.gettempdir(), f"devkit-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / _socket_name(root, service)
    if not _is_own(path, root, service):
        raise OSError(f"{folder} belongs to somebody else, or others may write to it")
    path.unlink(missing_ok=True)  # of one that was killed: whoever comes here holds the lock
    return str(path)


def _is_own(path: Path, root: Path, service: str) -> bool:
    """Whether a socket is a sync's of this user; TMPDIR may be another one there."""
    info = path.parent.lstat()
    is_private = stat.S_ISDIR(info.st_mode) and not info.st_mode & 0o077
    return is_private and info.st_uid == os.getuid() and path.name == _socket_name(root, service)


def _socket_name(root: Path, service: str) -> str:
    words = f"{root}\0{service}".encode(errors="surrogateescape")
    return f"{hashlib.sha256(words).hexdigest()[:20]}.sock"
