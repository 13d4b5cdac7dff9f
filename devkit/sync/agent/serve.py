"""Step 5, sync: the agent, the container's side behind a pipe.

The host sends the text of this module, and of those that it imports, over `exec` stdin, so nothing
of it is on the container's disk. It ends when its input does. Standard library only, Python 3.7 and
up.

Each request has an "id" that its answer repeats (`bytes` is a frame's content):

    seed, known {path: [signature, digest]}             {}
    scan                                                {"entries"}..., {"signatures"}..., last
                                                        {"unknown", "count", "without_events"}
    read, path                                          {"entry"} bytes; {"signature"} if large
    stat, path                                          {"signature", "entry"}
    flush                                               {}: all that changed was told before
    part, path, offset, length, signature               {} bytes
    write, path, expect, executable, keep, bytes        {"entry", "kept"} bytes: the old content
    stage, stage, path; add, stage, bytes; drop, stage  {}
    commit, stage, digest, path, expect, executable     {"entry"}
    link, path, target, expect                          {"entry"}
    folder, path                                        {"entry"}
    chmod, path, expect, executable                     {"entry"}
    delete, path, expect, keep                          {"kept"} bytes: the old content
    rename, path, to                                    {}
    hold; notify, paths                                 {}: the runtime waits; looks there

"moved" in an answer: the path has not what was expected. "error", "errno": why it cannot be done.
By itself it tells {"inline": path, "digest"} with small contents, then {"changed", "unknown",
"whole"}; whole: of all paths, these are unknown.
"""

from __future__ import annotations

import json
import os
import select
import socket
import time
from contextlib import suppress
from typing import Any, Callable, Dict, List, Optional, Tuple

from . import places
from .frames import MAX_CONTENT, VERSION, Frames, frame
from .side import FILE, PENDING, SLICE_BYTES, Entry, Moved, Side, Staged, TooLarge, reason
from .watched import Changes, Watched

# Up to here a change is told with its content, which saves a round trip.
INLINE_BYTES = 64 * 1024
# The runtime listens here for what changed.
NOTICE = "\0devkit-runtime-notice"
# More of them go without saying which: the runtime looks at all that it knows.
_MOST_NOTIFIED = 500
_SCAN_BATCH = 2000
# Without events: how often to look at everything; with them, for what no event told.
_LOOK_EVERY_S = 1.0
_RESCAN_EVERY_S = 20.0
# The rescan takes at most this share of the time.
_RESCAN_SHARE = 200

# A flush waits so long for what changes all the time.
_FLUSH_S = 10.0

Answer = Optional[Tuple[Dict[str, Any], bytes]]


class _Later(Exception):
    """The answer comes later."""


class Agent:
    """Answers requests about a side, and tells by itself what changes."""

    def __init__(self, root: str, events: Any, output: Callable[[bytes], None]) -> None:
        """Take the events of `inotify`; None where the system has none."""
        self._side = Side(root)
        self._below = len(self._side.root.rstrip("/")) + 1
        self._watched: Optional[Watched] = None
        self._output = output
        self._events = events
        self._without_events = "" if events else "the system has no file events"
        self._stages: Dict[int, Staged] = {}
        self._runtime = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._next_rescan = 0.0
        self._unknown: Dict[str, str] = {}
        self._flushes: List[Tuple[Any, float]] = []

    def hello(self) -> None:
        """Say which version speaks, and of which folder."""
        self._send({"hello": VERSION, "root": self._side.root})

    def wait_s(self) -> Optional[float]:
        """How long there is nothing to do; None for ever."""
        if self._watched is None:
            return None
        due = self._watched.due()
        soonest = self._next_rescan if due is None else min(due, self._next_rescan)
        return max(0.0, soonest - time.monotonic())

    def take_events(self, inotify: Any) -> None:
        """Take the file events that came."""
        now = time.monotonic()
        for mask, place in self._events.events():
            if mask & inotify.OVERFLOW:
                self._next_rescan = now
                continue
            path = place[self._below :]
            if places.is_fleeting(path) or self._watched is None:
                continue
            if mask & inotify.IS_DIRECTORY and mask & (inotify.CREATE | inotify.MOVED_TO):
                self._watch_below(path)
            is_open = mask & inotify.CREATE and not mask & inotify.IS_DIRECTORY
            self._watched.hint(path, now, finished=not is_open)

    def work(self) -> None:
        """Do what is due, and tell what changed."""
        if self._watched is None:
            return
        now = time.monotonic()
        try:
            found = self._rescanned() if now >= self._next_rescan else self._watched.changes(now)
        except OSError as error:
            found = Changes({}, {"": reason(error)}, whole=True)
        self._tell(found)
        is_done = self._watched.due() is None
        for number, deadline in [f for f in self._flushes if is_done or f[1] < now]:
            self._flushes.remove((number, deadline))
            self._send({"id": number})

    def answer(self, request: Dict[str, Any], content: bytes) -> None:
        """Do what a request says, and answer it."""
        message: Dict[str, Any] = {}
        body = b""
        try:
            act = getattr(self, "_do_{}".format(request.get("op")), None)
            if act is None:
                raise ValueError("unknown request {!r}".format(request.get("op")))
            message, body = act(request, content) or (message, body)
        except _Later:
            return
        except Moved as moved:
            message = {"moved": moved.now}
        except OSError as error:
            message = {"error": reason(error), "errno": error.errno}
        except Exception as error:  # noqa: BLE001 - whatever is in one, the next is answered
            message = {"error": "{}: {}".format(type(error).__name__, error)}
        self._send(dict(message, id=request.get("id")), body)

    def close(self) -> None:
        """Remove what was begun and not finished."""
        for staged in self._stages.values():
            staged.close()

    # One for each request.

    def _do_seed(self, request: Dict[str, Any], _: bytes) -> None:
        for path, (signature, digest) in request["known"].items():
            self._side.knows(path, tuple(signature), digest)

    def _do_scan(self, request: Dict[str, Any], _: bytes) -> Answer:
        # Watched first: what changes during the scan is looked at again.
        self._watch_below("")
        began = time.monotonic()
        scan = self._side.scan()
        self._side.sweep()
        self._plan_rescan(time.monotonic() - began)
        self._watched = Watched(self._side, dict(scan.entries))
        self._watched.digest(path for path, why in scan.unknown.items() if why == PENDING)
        for name, values in (("entries", scan.entries), ("signatures", self._side.known())):
            for start in range(0, len(values), _SCAN_BATCH):
                batch = list(values.items())[start : start + _SCAN_BATCH]
                self._send({"id": request["id"], name: dict(batch)})
        last = {"unknown": scan.unknown, "count": len(scan.entries)}
        return dict(last, without_events=self._without_events), b""

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
        if self._watched is None:
            raise ValueError("a scan comes first")
        self._tell(self._rescanned())
        self._flushes.append((request.get("id"), time.monotonic() + _FLUSH_S))
        raise _Later

    def _do_part(self, request: Dict[str, Any], _: bytes) -> Answer:
        size = min(int(request["length"]), SLICE_BYTES)
        expect = tuple(request["signature"])
        return {}, self._side.read_part(request["path"], int(request["offset"]), size, expect)

    def _do_write(self, request: Dict[str, Any], content: bytes) -> Answer:
        expect = _entry(request["expect"])
        old = self._old(request, expect)
        entry = self._side.write(request["path"], content, expect, bool(request["executable"]))
        return self._applied(request, entry, old)

    def _do_stage(self, request: Dict[str, Any], _: bytes) -> None:
        if request["stage"] in self._stages:
            raise ValueError("that stage is taken")
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
            expect, runs = _entry(request["expect"]), bool(request["executable"])
            entry = self._side.commit(staged, request["path"], expect, runs)
        finally:
            staged.close()
        return self._applied(request, entry)

    def _do_link(self, request: Dict[str, Any], _: bytes) -> Answer:
        expect = _entry(request["expect"])
        return self._applied(request, self._side.link(request["path"], request["target"], expect))

    def _do_folder(self, request: Dict[str, Any], _: bytes) -> Answer:
        entry = self._side.make_folder(request["path"])
        self._watch_below(request["path"])
        return self._applied(request, entry)

    def _do_chmod(self, request: Dict[str, Any], _: bytes) -> Answer:
        expect, runs = Entry(*request["expect"]), bool(request["executable"])
        return self._applied(request, self._side.set_executable(request["path"], expect, runs))

    def _do_delete(self, request: Dict[str, Any], _: bytes) -> Answer:
        expect = Entry(*request["expect"])
        old = self._old(request, expect)
        self._side.delete(request["path"], expect)
        return self._applied(request, None, old)

    def _do_rename(self, request: Dict[str, Any], _: bytes) -> None:
        self._side.rename(request["path"], request["to"])
        now = time.monotonic()
        for path in (request["path"], request["to"]):
            if self._watched is not None:
                self._watched.hint(path, now)

    def _do_hold(self, _request: Dict[str, Any], _: bytes) -> None:
        self._tell_runtime({"hold": True})

    def _do_notify(self, request: Dict[str, Any], _: bytes) -> None:
        self._notify(request["paths"])

    # What they have in common.

    def _old(self, request: Dict[str, Any], expect: Optional[Entry]) -> Optional[bytes]:
        """The content that is about to be replaced, if it is small enough to be kept."""
        if expect is None or expect.kind != FILE:
            return None
        try:
            most = min(request.get("keep", 0), MAX_CONTENT)
            content, now = self._side.read(request["path"], most)
        except TooLarge:
            return None
        if now != expect:
            raise Moved(now)
        return content

    def _applied(
        self, request: Dict[str, Any], entry: Optional[Entry], old: Optional[bytes] = None
    ) -> Answer:
        if self._watched is not None:
            self._watched.applied(request["path"], entry)
        if request.get("notify"):
            self._notify([request["path"]])
        return {"entry": entry, "kept": old is not None}, old or b""

    def _notify(self, paths: List[str]) -> None:
        full = [os.path.join(self._side.root, path) for path in paths]
        self._tell_runtime({"changed": full if len(full) <= _MOST_NOTIFIED else None})

    def _tell_runtime(self, message: Dict[str, Any]) -> None:
        # Where none listens: it finds changes by itself, too.
        with suppress(OSError):
            self._runtime.sendto(json.dumps(message).encode("ascii"), NOTICE)

    def _tell(self, found: Changes) -> None:
        is_news = found.unknown != self._unknown if found.whole else found.unknown
        if not found.entries and not is_news:
            return
        self._unknown = dict(found.unknown if found.whole else self._unknown, **found.unknown)
        for path, entry in found.entries.items():
            if entry is None or entry.kind != FILE:
                continue
            try:
                content, now = self._side.read(path, INLINE_BYTES)
            except (OSError, Moved, TooLarge):
                continue  # it is read later, or the next event tells
            if now == entry:
                self._send({"inline": path, "digest": entry.digest}, content)
        self._send({"changed": found.entries, "unknown": found.unknown, "whole": found.whole})

    def _rescanned(self) -> Changes:
        assert self._watched is not None
        began = time.monotonic()
        try:
            if self._without_events and self._events:
                self._watch_below("")
            return self._watched.rescan()
        except OSError as error:
            return Changes({}, {"": reason(error)}, whole=True)
        finally:
            self._plan_rescan(time.monotonic() - began)

    def _plan_rescan(self, took_s: float) -> None:
        every = _LOOK_EVERY_S if self._without_events else _RESCAN_EVERY_S
        self._next_rescan = time.monotonic() + max(every, took_s * _RESCAN_SHARE)

    def _watch_below(self, path: str) -> None:
        """Watch a folder and all in it; where the system's watches end, scans have to do."""
        if not self._events:
            return
        top = os.path.join(self._side.root, path) if path else self._side.root
        try:
            self._events.watch_below(top, places.is_fleeting_name)
        except OSError as error:
            self._without_events = reason(error)
        else:
            if not path:
                self._without_events = ""

    def _send(self, message: Dict[str, Any], content: bytes = b"") -> None:
        self._output(frame(message, content))


def _entry(value: Any) -> Optional[Entry]:
    return None if value is None else Entry(*value)


def serve(root: str, inotify: Any) -> None:
    """Answer requests on standard input until it ends; `inotify` is runtime/inotify.py."""
    try:
        events = inotify.Inotify(inotify.WANTED | inotify.ATTRIB)
    except OSError:
        events = None
    agent = Agent(root, events, _write_out)
    frames = Frames()
    agent.hello()
    try:
        while True:
            ready, _, _ = select.select([0, events] if events else [0], [], [], agent.wait_s())
            if events in ready:
                agent.take_events(inotify)
            if 0 in ready:
                data = os.read(0, 1 << 20)
                if not data:
                    return
                for request, content in frames.add(data):
                    agent.answer(request, content)
            agent.work()
    finally:
        agent.close()


def _write_out(data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(1, left) :]
