"""Step 5, sync: a large file on its way, a slice at a time, so that small ones pass it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from itertools import count
from typing import Any, Protocol

from devkit.errors import EngineError
from devkit.sync.agent.side import SLICE_BYTES, Entry, Moved, Side, Signature, Staged
from devkit.sync.remote import Answer, Remote

# Old contents of the container up to here come with the answer, for the journal.
KEPT_BYTES = SLICE_BYTES
# Slices that are under way at once: what a small file waits for at most.
_WINDOW = 3
_STAGES = count(1)

Failure = OSError | Moved | EngineError
Done = Callable[[Entry | Answer | Failure], None]
"""Takes what is there now (the container's answer, where it is there), or what went wrong."""


class Transfer(Protocol):
    """A file on its way."""

    def step(self) -> bool:
        """Do what can be done without waiting; whether it is over."""

    def cancel(self) -> None:
        """Let go."""


class Taker(Protocol):
    """Where a file of the container may go: the workspace, or the trash."""

    def stage(self, path: str) -> Staged:
        """Begin a file."""

    def commit(self, staged: Staged, path: str, expect: Entry | None, executable: bool) -> Entry:
        """Put it in its place."""


class Push:
    """A file of the workspace that goes into the container."""

    def __init__(
        self,
        local: Side,
        remote: Remote,
        path: str,
        *,
        old: Entry | None,
        new: Entry,
        keep: int | None = KEPT_BYTES,
        done: Done,
    ) -> None:
        self._local, self._remote, self._path = local, remote, path
        self._old, self._new, self._done = old, new, done
        self._keep = keep
        self._stage = next(_STAGES)
        begun = remote.request("stage", stage=self._stage, path=path, keep=keep)
        self._waiting = deque([begun])
        self._commit: Future[Answer] | None = None
        signature = local.signature(path)
        self._signature: Signature = signature or (0, 0, 0, 0, 0)
        self._offset = 0

    def step(self) -> bool:
        """Send as many slices as may be under way."""
        return _guarded(self._stepped, self.cancel, self._done)

    def cancel(self) -> None:
        """Remove what the container has of it."""
        if self._commit is None:
            _quietly(self._remote, "drop", stage=self._stage)

    def _stepped(self) -> bool:
        while self._waiting and self._waiting[0].done():
            self._waiting.popleft().result()
        while self._offset < self._signature[0] and len(self._waiting) < _WINDOW:
            part = self._local.read_part(self._path, self._offset, SLICE_BYTES, self._signature)
            if not part:
                raise Moved
            self._waiting.append(self._remote.request("add", part, stage=self._stage))
            self._offset += len(part)
        if self._offset < self._signature[0] or self._waiting:
            return False
        if self._commit is None:
            self._commit = self._remote.request(
                "commit",
                stage=self._stage,
                path=self._path,
                digest=self._new.digest,
                expect=self._old,
                executable=self._new.executable,
                keep=self._keep,
                notify=True,
            )
        if not self._commit.done():
            return False
        self._done(self._commit.result())
        return True


class Pull:
    """A file of the container that comes into the workspace, or to the trash."""

    def __init__(
        self,
        local: Taker,
        remote: Remote,
        path: str,
        *,
        old: Entry | None,
        new: Entry,
        signature: Signature,
        done: Done,
        target: str | None = None,
    ) -> None:
        """Begin; `target` is its path in the workspace where that is another one."""
        self._local, self._remote, self._path = local, remote, path
        self._target = target or path
        self._old, self._new, self._done = old, new, done
        self._signature = signature
        self._staged: Staged | None = None
        self._waiting = deque[tuple[Future[Answer], int]]()
        self._offset = 0

    def step(self) -> bool:
        """Take the slices that came, and ask for more."""
        return _guarded(self._stepped, self.cancel, self._done)

    def cancel(self) -> None:
        """Remove what the workspace has of it."""
        if self._staged is not None:
            self._staged.close()
            self._staged = None

    def _stepped(self) -> bool:
        if self._staged is None:
            self._staged = self._local.stage(self._target)
        while self._waiting and self._waiting[0][0].done():
            answer, length = self._waiting.popleft()
            content = answer.result().content
            if len(content) != length:
                raise Moved
            self._staged.add(content)
        while self._offset < self._signature[0] and len(self._waiting) < _WINDOW:
            self._ask()
        if self._waiting:
            return False
        if self._staged.digest.hexdigest() != self._new.digest:
            raise Moved
        entry = self._local.commit(self._staged, self._target, self._old, self._new.executable)
        self.cancel()
        self._done(entry)
        return True

    def _ask(self) -> None:
        offset, length = self._offset, min(SLICE_BYTES, self._signature[0] - self._offset)
        asked = self._remote.request(
            "part", path=self._path, offset=offset, length=length, signature=self._signature
        )
        self._waiting.append((asked, length))
        self._offset += length


def _quietly(remote: Remote, op: str, **fields: Any) -> None:
    # Where the agent is gone, what it began went with it.
    with suppress(EngineError):
        remote.request(op, **fields)


def _guarded(stepped: Callable[[], bool], cancel: Callable[[], None], done: Done) -> bool:
    """Do a step; what fails ends the transfer, and is told."""
    try:
        return stepped()
    except (OSError, Moved, EngineError) as error:
        cancel()
        done(error)
        return True
