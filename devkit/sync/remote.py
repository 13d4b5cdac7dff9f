"""Step 5, sync: the container's side, the agent over one `exec` stream.

Requests may be sent without waiting for the answers before. What comes is checked in `received`; a
stream that talks nonsense is given up.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any, Self

from devkit.engine import Engine
from devkit.errors import EngineError
from devkit.sync import bootstrap
from devkit.sync.agent import known
from devkit.sync.agent.frames import VERSION, Frames, frame
from devkit.sync.received import NONSENSE, Answer, Nonsense, RemoteScan, Told, answer

__all__ = ["Answer", "Remote", "RemoteScan", "Told"]

_HELLO_TIMEOUT_S = 30
_READ_BYTES = 1 << 18


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
        """Start the agent, and do not wait for it.

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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait(self) -> None:
        """Wait until the agent has begun. EngineError where it does not."""
        try:
            self._hello.result(_HELLO_TIMEOUT_S)
        except TimeoutError as error:
            self.close()
            raise _failed("it says nothing") from error

    def scan(self, seeds: Mapping[str, bytes] | None = None) -> RemoteScan:
        """Look at everything, and begin to tell what changes. OSError where the root is gone.

        Args:
            seeds: records of files (agent/known.py), which hold while the signature does.
        """
        for count, content in list(known.sent(seeds or {})):
            self.request("seed", content, count=count)
        number = next(self._numbers)
        scan = self._scans[number] = RemoteScan(seeds or {})
        try:
            self._send(number, "scan", b"", {}).result()
        except OSError as error:
            raise FileNotFoundError(f"the container's folder: {error}") from error
        finally:
            del self._scans[number]
        return scan

    def request(self, op: str, content: bytes = b"", **fields: Any) -> Future[Answer]:
        """Send a request; see agent/requests.py for their names and fields."""
        return self._send(next(self._numbers), op, content, fields)

    def close(self) -> None:
        """End the agent."""
        self._stream.close()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=5)

    def _send(
        self, number: int, op: str, content: bytes, fields: Mapping[str, Any]
    ) -> Future[Answer]:
        self.wait()
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
        # Here, as it blocks until the agent's Python takes it.
        self._write(bootstrap.text())
        try:
            while data := self._stream.read(_READ_BYTES):
                for message, content in frames.add(data):
                    self._take(message, content)
            error = _failed(self._last_words() or "it ended")
        except NONSENSE as nonsense:
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
            self._inline.add_content(message, content)
        elif "changed" in message:
            told, self._inline = self._inline, Told()
            told.fill(message, self._order)
            self._told(told)
        else:
            self._answer(message, content)

    def _answer(self, message: Mapping[str, Any], content: bytes) -> None:
        number = message["id"]
        scan = self._scans.get(number)
        if scan is not None and "error" not in message and not scan.fill(message, content):
            return
        result = answer(message, content, self._order)
        with self._lock:
            future = self._pending.pop(number, None)
        if future is None:
            raise Nonsense("an answer that nobody waits for")
        if isinstance(result, Answer):
            future.set_result(result)
        else:
            future.set_exception(result)


def _failed(why: str) -> EngineError:
    return EngineError(
        f"The stream to the container is lost: {why}.",
        hint="`devkit status` says whether it runs.",
    )
