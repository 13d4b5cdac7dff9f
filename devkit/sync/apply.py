"""Step 5, sync: changes are carried out, each only where its path is still as it was seen.

Requests to the container do not wait for one another; a large file becomes a transfer, that goes on
beside all else.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future

from devkit.sync.agent.side import FILE, FOLDER, LINK, SLICE_BYTES, Entry, Moved, Side, TooLarge
from devkit.sync.reconcile import Change
from devkit.sync.remote import Answer, Remote
from devkit.sync.transfer import KEPT_BYTES, Failure, Pull, Push, Transfer

# What is under way at once.
_MOST_REQUESTS = 256
_MOST_BYTES = 8 * SLICE_BYTES
# New files of about this size go in one request, so that another's edit hardly waits for them.
_CREATED_BYTES = 256 * 1024

Done = Callable[[Change, Entry | Answer | Failure | None], None]
"""Takes a change, and what is there now (the container's answer, where it is there) or what went
wrong."""


class Apply:
    """Carries changes out; `done` is called for each, for those of large files later."""

    def __init__(
        self,
        local: Side,
        remote: Remote,
        contents: Mapping[str, bytes],
        done: Done,
        is_kept: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """Make it; `contents` are known ones, by digest; `is_kept` says what the trash has."""
        self._local = local
        self._remote = remote
        self._contents = contents
        self._done = done
        self._is_kept = is_kept
        self._sent = deque[tuple[list[Change], Future[Answer], int]]()
        self._bytes = 0
        self._new = list[tuple[Change, bytes]]()
        self._new_bytes = 0
        self.transfers: list[tuple[str, Transfer]] = []

    def changes(self, changes: Iterable[Change]) -> None:
        """Carry changes out, those of each side in their order."""
        changes = list(changes)
        theirs = [change for change in changes if change.side == "remote"]
        if len(theirs) > 1:
            self._remote.request("hold")
        with self._local.together():
            for change in theirs:
                self._send(change, is_alone=len(theirs) == 1)
        self._create()
        self._collect(down_to=0)
        if len(theirs) > 1:
            self._remote.request("notify", paths=[change.path for change in theirs])
        self._bring([change for change in changes if change.side == "local"])

    # Into the container.

    def _send(self, change: Change, *, is_alone: bool) -> None:
        try:
            content = self._content(change)
        except (OSError, Moved) as error:
            self._done(change, error)
            return
        if content is None:
            return
        if _is_creation(change) and not is_alone:
            self._new.append((change, content))
            self._new_bytes += len(content)
            if self._new_bytes > _CREATED_BYTES:
                self._create()
            return
        self._create()  # what came before goes before
        op, fields = _request(change, self._keep(change))
        future = self._remote.request(
            op, content, path=change.path, expect=change.old, notify=is_alone, **fields
        )
        self._wait_for([change], future, len(content))

    def _create(self) -> None:
        """Send new files and folders, many in one request."""
        new, self._new, self._new_bytes = self._new, [], 0
        if not new:
            return
        content = b"".join(content for _, content in new)
        files = [_created(change, content) for change, content in new]
        future = self._remote.request("create", content, files=files)
        self._wait_for([change for change, _ in new], future, len(content))

    def _wait_for(self, changes: list[Change], future: Future[Answer], size: int) -> None:
        self._sent.append((changes, future, size))
        self._bytes += size
        if self._bytes > _MOST_BYTES or len(self._sent) > _MOST_REQUESTS:
            self._collect(down_to=_MOST_REQUESTS // 2)

    def _content(self, change: Change) -> bytes | None:
        """Return what goes with the request; None where a transfer was begun instead."""
        new = change.new
        if new is None or not _needs_content(change):
            return b""
        try:
            content, now = self._local.read(change.path, SLICE_BYTES)
        except TooLarge:
            self.transfers.append((change.path, self._push(change, new)))
            return None
        if now.digest != new.digest:
            raise Moved
        return content

    def _keep(self, change: Change) -> int | None:
        """How much of the old content is to come back; None where it is not needed."""
        old = change.old
        is_needed = old is not None and old.kind == FILE and not self._is_kept(old.digest)
        return KEPT_BYTES if is_needed else None

    def _push(self, change: Change, new: Entry) -> Push:
        return Push(
            self._local,
            self._remote,
            change.path,
            old=change.old,
            new=new,
            keep=self._keep(change),
            done=lambda result: self._done(change, result),
        )

    def _collect(self, *, down_to: int) -> None:
        while len(self._sent) > down_to or (self._sent and self._bytes > _MOST_BYTES):
            changes, future, size = self._sent.popleft()
            self._bytes -= size
            try:
                answer = future.result()
            except (OSError, Moved) as error:
                for change in changes:
                    self._done(change, error)
            else:
                for change in changes:
                    self._done(change, answer.failed.get(change.path, answer))

    # Into the workspace.

    def _bring(self, changes: list[Change]) -> None:
        asked = deque[Future[Answer] | None]()
        following = iter(changes)
        for change in changes:
            while len(asked) < _MOST_REQUESTS // 8 and (ahead := next(following, None)):
                asked.append(self._ask(ahead))
            answer = asked.popleft()
            try:
                self._bring_one(change, answer)
            except (OSError, Moved) as error:
                self._done(change, error)

    def _ask(self, change: Change) -> Future[Answer] | None:
        if change.new is None or not _needs_content(change):
            return None
        if change.new.digest in self._contents:
            return None
        return self._remote.request("read", path=change.path)

    def _bring_one(self, change: Change, asked: Future[Answer] | None) -> None:
        content = b""
        if not _needs_content(change):
            pass
        elif asked is not None:
            answer = asked.result()
            if answer.signature is not None:
                self.transfers.append((change.path, self._pull(change, answer)))
                return
            if answer.entry is None or answer.entry != change.new:
                raise Moved
            content = answer.content
        elif change.new is not None:
            content = self._contents[change.new.digest]
        if change.new is not None and _needs_content(change):
            _check(content, change.new)
        self._done(change, _changed(self._local, change, content))

    def _pull(self, change: Change, answer: Answer) -> Pull:
        assert change.new is not None
        assert answer.signature is not None
        return Pull(
            self._local,
            self._remote,
            change.path,
            old=change.old,
            new=change.new,
            signature=answer.signature,
            done=lambda result: self._done(change, result),
        )


def _check(content: bytes, wanted: Entry) -> None:
    """Take nothing but what the change is about, whatever the container sends."""
    if hashlib.sha256(content).hexdigest() != wanted.digest:
        raise Moved


def _needs_content(change: Change) -> bool:
    """Whether it is more than a deletion, a folder, a link or another run bit."""
    new, old = change.new, change.old
    if new is None or new.kind != FILE:
        return False
    return old is None or old.kind != FILE or old.digest != new.digest


def _is_creation(change: Change) -> bool:
    return change.old is None and change.new is not None and change.new.kind in (FILE, FOLDER)


def _created(change: Change, content: bytes) -> tuple[str, int | None, bool]:
    """Return what the agent's `create` takes for a new file or folder."""
    assert change.new is not None
    is_file = change.new.kind == FILE
    return change.path, len(content) if is_file else None, change.new.executable


def _request(change: Change, keep: int | None) -> tuple[str, dict[str, object]]:
    """Return the agent's request for a change, and what it needs beside path and expectation."""
    new, old = change.new, change.old
    if new is None:
        return "delete", {"keep": keep}
    if new.kind == FOLDER:
        return "folder", {}
    if new.kind == LINK:
        return "link", {"target": new.digest, "keep": keep}
    if old and old.kind == FILE and old.digest == new.digest:
        return "chmod", {"executable": new.executable}
    return "write", {"executable": new.executable, "keep": keep}


def _changed(side: Side, change: Change, content: bytes) -> Entry | None:
    """Carry a change out on a side that is here."""
    path, old, new = change.path, change.old, change.new
    if new is None:
        assert old is not None
        side.delete(path, old)
        return None
    if new.kind == FOLDER:
        return side.make_folder(path)
    if new.kind == LINK:
        return side.link(path, new.digest, old)
    if old and old.kind == FILE and old.digest == new.digest:
        return side.set_executable(path, old, new.executable)
    return side.write(path, content, old, new.executable)
