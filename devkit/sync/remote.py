"""Step 5, sync: the container's side, the agent over one `exec` stream.

Requests may be sent without waiting for the answers before. What comes from the container is not
trusted: entries and paths are checked here, and a stream that talks nonsense is given up.
"""

from __future__ import annotations

import itertools
import os
import re
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Self

from devkit.engine import Engine
from devkit.errors import EngineError
from devkit.sync import bootstrap
from devkit.sync.agent.frames import VERSION, Frames, frame
from devkit.sync.agent.places import is_fleeting, leads_inside, parts
from devkit.sync.agent.side import FILE, FOLDER, LINK, OTHER, Entry, Moved, Signature

_DIGEST = re.compile(r"[0-9a-f]{64}")
_HELLO_TIMEOUT_S = 30
_READ_BYTES = 1 << 18
# Of an answer that comes in pieces; a million files have 200 MB.
_MOST_ENTRIES = 2_000_000
_MOST_PATH_BYTES = 32 * 1024
_MOST_PARTS = 200


@dataclass
class Told:
    """What the agent told by itself: what is new where, and small contents by their digest.

    `order` grows with all that comes, answers too: of two words about a path, the later holds.
    """

    entries: dict[str, Entry | None] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    whole: bool = False
    order: int = 0
    contents: dict[str, bytes] = field(default_factory=dict)


@dataclass
class RemoteScan:
    """All entries, and what is unknown and why; the digests, to be handed to the next agent.

    `without_events` says why the agent has to look again and again; "" where it has not.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    signatures: dict[str, tuple[Signature, str]] = field(default_factory=dict)
    without_events: str = ""


@dataclass(frozen=True)
class Answer:
    """The entry that is there now, and a content; `is_kept` says that it is the old one.

    `order` is as in `Told`.
    """

    entry: Entry | None
    content: bytes
    is_kept: bool
    signature: Signature | None
    order: int = 0


class Nonsense(ValueError):
    """What came is not of the protocol."""


# How that shows, wherever it is read.
_NONSENSE = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


class Remote:
    """The files below a folder of a container.

    Every request gives a future of `Answer`; it raises Moved, OSError (the container's system
    refuses), or EngineError (the stream is lost).
    """

    def __init__(
        self,
        engine: Engine,
        container: str,
        root: PurePosixPath,
        *,
        told: Callable[[Told], None],
        lost: Callable[[EngineError], None],
    ) -> None:
        """Start the agent.

        Args:
            engine: where the container runs.
            container: its id.
            root: the folder in it.
            told: takes what changes there, in the reader's thread.
            lost: takes why the stream ended, once.
        """
        self._told = told
        self._lost = lost
        self._numbers = itertools.count(1)
        self._pending: dict[int, Future[Answer]] = {}
        self._scans: dict[int, RemoteScan] = {}
        self._lock = threading.Lock()
        self._error: EngineError | None = None
        self._hello: Future[None] = Future()
        self._inline = Told()
        self._order = 0
        self._stream = engine.exec(container, bootstrap.command(str(root)))
        self._thread = threading.Thread(target=self._receive, daemon=True, name="sync remote")
        self._thread.start()
        try:
            self._write(bootstrap.text())
            self._hello.result(_HELLO_TIMEOUT_S)
        except TimeoutError as error:
            self.close()
            raise _failed("it says nothing") from error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def seed(self, known: Mapping[str, tuple[Signature, str]]) -> None:
        """Hand over digests that hold while their signature does; nobody waits for the answer."""
        items = list(known.items())
        for start in range(0, len(items), 20_000):
            self.request("seed", known=dict(items[start : start + 20_000]))

    def scan(self) -> RemoteScan:
        """Look at everything, and begin to tell what changes. OSError where the root is gone."""
        number = next(self._numbers)
        scan = self._scans[number] = RemoteScan()
        try:
            self._send(number, "scan", b"", {}).result()
        except OSError as error:
            raise FileNotFoundError(f"the container's folder: {error}") from error
        finally:
            del self._scans[number]
        return scan

    def request(self, op: str, content: bytes = b"", **fields: Any) -> Future[Answer]:
        """Send a request; see agent.py for their names and fields."""
        return self._send(next(self._numbers), op, content, fields)

    def close(self) -> None:
        """End the agent."""
        self._stream.close()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=5)

    def _send(
        self, number: int, op: str, content: bytes, fields: Mapping[str, Any]
    ) -> Future[Answer]:
        future: Future[Answer] = Future()
        with self._lock:
            if self._error:
                raise self._error
            self._pending[number] = future
        self._write(frame({"id": number, "op": op, **fields}, content))
        return future

    def _write(self, data: bytes) -> None:
        try:
            self._stream.write(data)
        except (OSError, EngineError) as error:
            self._end(_failed(str(error)))

    def _receive(self) -> None:
        frames = Frames()
        error = _failed("it ended")
        try:
            while data := self._stream.read(_READ_BYTES):
                for message, content in frames.add(data):
                    self._take(message, content)
            error = _failed(self._last_words() or "it ended")
        except _NONSENSE as nonsense:
            error = _failed(f"the agent in the container talks nonsense ({nonsense})")
        except (OSError, EngineError) as cut:
            error = _failed(str(cut))
        with suppress(OSError, EngineError):
            self._stream.close()
        self._end(error)

    def _last_words(self) -> str:
        text = self._stream.stderr().decode(errors="replace").strip().rpartition("\n")[2]
        return text[:300]

    def _end(self, error: EngineError) -> None:
        with self._lock:
            if self._error:
                return
            self._error = error
            pending, self._pending = self._pending, {}
        for future in pending.values():
            with suppress(InvalidStateError):
                future.set_exception(error)
        if not self._hello.done():
            with suppress(InvalidStateError):
                self._hello.set_exception(error)
            return
        self._lost(error)

    def _take(self, message: Mapping[str, Any], content: bytes) -> None:
        self._order += 1
        if "hello" in message:
            if message["hello"] != VERSION:
                raise Nonsense(f"version {message['hello']!r}, not {VERSION}")
            with suppress(InvalidStateError):
                self._hello.set_result(None)
        elif "inline" in message:
            self._inline.contents[_digest(message["digest"])] = content
        elif "changed" in message:
            told, self._inline = self._inline, Told()
            told.order = self._order
            changed = message["changed"].items()
            told.entries = {_path(p): _entry(p, e) for p, e in changed if not is_fleeting(p)}
            told.unknown, told.whole = _unknown(message["unknown"]), message["whole"] is True
            self._told(told)
        else:
            self._answer(message, content)

    def _answer(self, message: Mapping[str, Any], content: bytes) -> None:
        number = message["id"]
        scan = self._scans.get(number)
        if scan is not None and "error" not in message and not _filled(scan, message):
            return
        answer = _answer(message, content, self._order)
        with self._lock:
            future = self._pending.pop(number, None)
        if future is None:
            raise Nonsense("an answer that nobody waits for")
        if isinstance(answer, Answer):
            future.set_result(answer)
        else:
            future.set_exception(answer)


def _answer(message: Mapping[str, Any], content: bytes, order: int) -> Answer | Moved | OSError:
    if "moved" in message:
        return Moved(_any_entry(message["moved"]))
    if "error" in message:
        code = message.get("errno")
        return OSError(code if isinstance(code, int) else 0, _said(message["error"]))
    entry, is_kept = _any_entry(message.get("entry")), message.get("kept") is True
    signed = message.get("signature")
    return Answer(entry, content, is_kept, _signature(signed) if signed else None, order)


def _filled(scan: RemoteScan, message: Mapping[str, Any]) -> bool:
    """Take a piece of a scan; True when it was the last."""
    if "entries" in message:
        for path, value in message["entries"].items():
            entry = _entry(_path(path), value)
            if entry is None or is_fleeting(path):
                raise Nonsense("an entry that no scan gives")
            scan.entries[path] = entry
        if len(scan.entries) > _MOST_ENTRIES:
            raise Nonsense("too many files")
        return False
    if "signatures" in message:
        for path, (signature, digest) in message["signatures"].items():
            scan.signatures[_path(path)] = (_signature(signature), _digest(digest))
        return False
    if message["count"] != len(scan.entries):
        raise Nonsense("a scan that is not whole")
    scan.unknown = _unknown(message["unknown"])
    scan.without_events = _said(message["without_events"])
    return True


def _path(path: str) -> str:
    if len(os.fsencode(path)) > _MOST_PATH_BYTES or len(parts(path)) > _MOST_PARTS:
        raise Nonsense("a path that is too long")
    return path


def _entry(path: str, value: Any) -> Entry | None:
    """Read an entry that stands at `path`."""
    entry = _any_entry(value)
    if entry is not None and entry.kind == LINK and not leads_inside(path, entry.digest):
        return Entry(OTHER)
    return entry


def _any_entry(value: Any) -> Entry | None:
    if value is None:
        return None
    kind, digest, executable = value
    if kind not in (FILE, FOLDER, LINK, OTHER) or not isinstance(executable, bool):
        raise Nonsense("an entry of another kind")
    if not isinstance(digest, str):
        raise Nonsense("a digest that is no text")
    if kind == LINK:
        os.fsencode(digest)  # a ValueError for what is no name of this system
        return Entry(kind, digest)
    return Entry(kind, _digest(digest), executable) if kind == FILE else Entry(kind)


def _digest(value: Any) -> str:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise Nonsense("what is no digest")
    return value


def _signature(value: Any) -> Signature:
    size, mtime, inode, mode, ctime = value
    if not all(type(number) is int for number in value) or not 0 <= size < 1 << 62:
        raise Nonsense("what is no signature")
    return (size, mtime, inode, mode, ctime)


def _unknown(value: Mapping[str, Any]) -> dict[str, str]:
    return {path and _path(path): _said(why) for path, why in value.items()}


def _said(value: Any) -> str:
    """A text of the container, fit to be shown."""
    return re.sub(r"[^\x20-\x7e\u00a0-\ud7ff]", "?", str(value))[:300]


def _failed(why: str) -> EngineError:
    return EngineError(
        f"The stream to the container is lost: {why}.",
        hint="`devkit status` says whether it runs.",
    )
