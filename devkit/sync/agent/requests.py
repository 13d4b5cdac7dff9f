"""Step 5, sync: what the host may ask of the agent.

Each request has an "id" that its answer repeats (`bytes` is a frame's content):

    seed, count, bytes: paths and records (see known)   {}
    scan                                                {"same"} bytes: of each seed, if it holds;
                                                        {"files": count} bytes: as in seed...;
                                                        {"entries"}: the rest..., last
                                                        {"unknown", "count", "without_events"}
    read, path                                          {"entry"} bytes; {"signature"} if large
    stat, path                                          {"signature", "entry"}
    flush                                               {}: all that changed was told before
    part, path, offset, length, signature               {} bytes
    write, path, expect, executable, keep, bytes        {"entry", "kept"} bytes: the old content
    create, files [[path, size, executable]], bytes     {"failed": {path: moved or error}};
                                                        a folder has no size
    stage, stage, path, keep; add, stage, bytes;        {}
    drop, stage
    commit, stage, digest, path, expect, executable,    {"entry", "kept"} bytes
    keep
    link, path, target, expect, keep                    {"entry", "kept"} bytes
    folder, path                                        {"entry"}
    chmod, path, expect, executable                     {"entry"}
    delete, path, expect, keep                          {"kept"} bytes: the old content
    rename, path, to                                    {}
    hold; notify, paths                                 {}: the runtime waits; looks there

keep: so many bytes of an old content are to be kept, a larger one is refused (EFBIG); null: none.
"moved" in an answer: the path has not what was expected. "error", "errno": why it cannot be done.
By itself it tells {"inline": path, "digest"} with small contents, then {"changed", "unknown",
"whole"}; whole: of all paths, these are unknown.

Part of the agent: standard library only, Python 3.7 and up.
"""

from __future__ import annotations

import errno
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from . import known
from .contained import Contained
from .frames import MAX_CONTENT
from .notice import Notice
from .side import FILE, SLICE_BYTES, Entry, Moved, Staged, TooLarge, reason
from .telling import Send, Telling

_SCAN_BATCH = 2000
# A flush waits so long for what changes all the time.
_FLUSH_S = 10.0

Answer = Optional[Tuple[Dict[str, Any], bytes]]


class Later(Exception):
    """The answer comes later."""


class Requests:
    """Does what is asked with a side."""

    def __init__(self, side: Contained, telling: Telling, send: Send) -> None:
        self._side = side
        self._telling = telling
        self._send = send
        self._notice = Notice(side.root)
        self._stages: Dict[int, Staged] = {}
        self._flushes: List[Tuple[Any, float]] = []

    def act(self, request: Dict[str, Any], content: bytes) -> Tuple[Dict[str, Any], bytes]:
        """Do what a request says; return the message that answers it, and its content.

        Raises:
            Later: `answer_flushes` answers it.
            Exception: whatever is wrong with it.
        """
        act = getattr(self, "_do_{}".format(request.get("op")), None)
        if act is None:
            raise ValueError("unknown request {!r}".format(request.get("op")))
        return act(request, content) or ({}, b"")

    def answer_flushes(self) -> None:
        """Answer those whose wait is over."""
        is_done, now = self._telling.is_all_told(), time.monotonic()
        for number, deadline in [f for f in self._flushes if is_done or f[1] < now]:
            self._flushes.remove((number, deadline))
            self._send({"id": number}, b"")

    def close(self) -> None:
        """Remove what was begun and not finished."""
        for staged in self._stages.values():
            staged.close()

    # One for each request.

    def _do_seed(self, request: Dict[str, Any], content: bytes) -> None:
        self._side.seed(request["count"], content)

    def _do_scan(self, request: Dict[str, Any], _: bytes) -> Answer:
        scan = self._telling.begin()
        same, files, rest = self._side.told(scan)
        self._send({"id": request["id"], "same": True}, same)
        for count, content in known.sent(files):
            self._send({"id": request["id"], "files": count}, content)
        others = list(rest.items())
        for start in range(0, len(others), _SCAN_BATCH):
            batch = dict(others[start : start + _SCAN_BATCH])
            self._send({"id": request["id"], "entries": batch}, b"")
        last = {"unknown": scan.unknown, "count": len(scan.entries)}
        return dict(last, without_events=self._telling.without_events), b""

    def _do_read(self, request: Dict[str, Any], _: bytes) -> Answer:
        try:
            content, entry = self._side.read(request["path"], SLICE_BYTES)
        except TooLarge as large:
            return {"signature": large.signature}, b""
        return {"entry": entry}, content

    def _do_stat(self, request: Dict[str, Any], _: bytes) -> Answer:
        path = request["path"]
        return {"signature": self._side.signature(path), "entry": self._side.look(path)}, b""

    def _do_flush(self, request: Dict[str, Any], _: bytes) -> None:
        self._telling.tell_all()
        self._flushes.append((request.get("id"), time.monotonic() + _FLUSH_S))
        raise Later

    def _do_part(self, request: Dict[str, Any], _: bytes) -> Answer:
        size = min(int(request["length"]), SLICE_BYTES)
        expect = tuple(request["signature"])
        return {}, self._side.read_part(request["path"], int(request["offset"]), size, expect)

    def _do_write(self, request: Dict[str, Any], content: bytes) -> Answer:
        path, runs = request["path"], bool(request["executable"])
        return self._swapped(request, lambda old: self._side.write(path, content, old, runs))

    def _do_create(self, request: Dict[str, Any], content: bytes) -> Answer:
        failed: Dict[str, Dict[str, Any]] = {}
        left = memoryview(content)
        with self._side.together():
            for path, size, runs in request["files"]:
                try:
                    if size is None:
                        entry = self._side.make_folder(path)
                        # Watched when its files are in it: they make no events of ours then.
                        self._telling.hint(path)
                    else:
                        entry = self._side.create(path, left[:size], bool(runs))
                    self._telling.applied(path, entry)
                except (Moved, OSError) as error:
                    failed[path] = refusal(error)
                left = left[size or 0 :]
        return {"failed": failed}, b""

    def _do_stage(self, request: Dict[str, Any], _: bytes) -> None:
        if request["stage"] in self._stages:
            raise ValueError("that stage is taken")
        if request.get("keep") is not None:
            self._check_size(request)
        self._stages[request["stage"]] = self._side.stage(request["path"])

    def _do_add(self, request: Dict[str, Any], content: bytes) -> None:
        self._stages[request["stage"]].add(content)

    def _do_drop(self, request: Dict[str, Any], _: bytes) -> None:
        self._stages.pop(request["stage"]).close()

    def _do_commit(self, request: Dict[str, Any], _: bytes) -> Answer:
        staged = self._stages.pop(request["stage"])
        try:
            if staged.digest.hexdigest() != request["digest"]:
                raise Moved  # the file has changed while it was sent
            path, runs = request["path"], bool(request["executable"])
            return self._swapped(request, lambda old: self._side.commit(staged, path, old, runs))
        finally:
            staged.close()

    def _do_link(self, request: Dict[str, Any], _: bytes) -> Answer:
        path, target = request["path"], request["target"]
        return self._swapped(request, lambda old: self._side.link(path, target, old))

    def _do_folder(self, request: Dict[str, Any], _: bytes) -> Answer:
        entry = self._side.make_folder(request["path"])
        self._telling.watch_below(request["path"])
        return self._applied(request, entry)

    def _do_chmod(self, request: Dict[str, Any], _: bytes) -> Answer:
        expect, runs = Entry(*request["expect"]), bool(request["executable"])
        return self._applied(request, self._side.set_executable(request["path"], expect, runs))

    def _do_delete(self, request: Dict[str, Any], _: bytes) -> Answer:
        expect = Entry(*request["expect"])
        return self._swapped(request, lambda _: self._side.delete(request["path"], expect))

    def _do_rename(self, request: Dict[str, Any], _: bytes) -> None:
        self._side.rename(request["path"], request["to"])
        for path in (request["path"], request["to"]):
            self._telling.hint(path)

    def _do_hold(self, _request: Dict[str, Any], _: bytes) -> None:
        self._notice.hold()

    def _do_notify(self, request: Dict[str, Any], _: bytes) -> None:
        self._notice.changed(request["paths"])

    # What they have in common.

    def _swapped(
        self, request: Dict[str, Any], swap: Callable[[Optional[Entry]], Optional[Entry]]
    ) -> Answer:
        """Change what is as expected; the old content comes with the answer if it is to be kept."""
        expect = _entry(request["expect"])
        if expect is None or expect.kind != FILE or request.get("keep") is None:
            return self._applied(request, swap(expect))
        self._check_size(request)
        with self._side.keeping() as kept:
            entry = swap(expect)
        return self._applied(request, entry, b"".join(kept))

    def _check_size(self, request: Dict[str, Any]) -> None:
        """Refuse where the old content is larger than what is to be kept."""
        signature = self._side.signature(request["path"])
        if signature is not None and signature[0] > min(request["keep"], MAX_CONTENT):
            raise OSError(errno.EFBIG, "the old content is too large to be kept at once")

    def _applied(
        self, request: Dict[str, Any], entry: Optional[Entry], old: Optional[bytes] = None
    ) -> Answer:
        self._telling.applied(request["path"], entry)
        if request.get("notify"):
            self._notice.changed([request["path"]])
        return {"entry": entry, "kept": old is not None}, old or b""


def refusal(error: Exception) -> Dict[str, Any]:
    """Why something could not be done, as an answer says it."""
    if isinstance(error, Moved):
        return {"moved": error.now}
    if isinstance(error, OSError):
        return {"error": reason(error), "errno": error.errno}
    return {"error": "{}: {}".format(type(error).__name__, error)}


def _entry(value: Any) -> Optional[Entry]:
    return None if value is None else Entry(*value)
