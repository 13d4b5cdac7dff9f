"""Step 4, use: the requests that the runtime recorded, sent again; and where its workers are."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from devkit.debug.wire import NO_SENSE, Message, ask, duration, whole
from devkit.engine import Placement
from devkit.errors import BadValue, DebuggerUnreachable, NoService
from devkit.request import localized
from devkit.running import Address, RunningService

# About one connection, or made anew when it is sent.
_NOT_SENT_AGAIN = {
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}
_WORDS = ("last", "last-failed")
# More digits than any id has; int() refuses thousands of them.
_MOST_DIGITS = 15
_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Place:
    """A file, local where a mapping covers it, and a line."""

    file: str
    line: int | None
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}, {self.function}()"


@dataclass(frozen=True)
class Entry:
    """A recorded request, as a list has it; `status` is None while it runs."""

    id: int
    time: float
    method: str
    path: str
    status: int | None
    ms: float | None
    is_failing: bool
    error: str | None

    def row(self) -> tuple[str, ...]:
        """What a table shows."""
        took = "" if self.ms is None else f"{self.ms:.0f}"
        at = time.strftime("%H:%M:%S", time.localtime(self.time))
        what = f"{self.method} {self.path}"
        return str(self.id), at, what, str(self.status or "-"), took, self.error or ""


@dataclass(frozen=True)
class Request:
    """All that is known of one; texts have local paths."""

    entry: Entry
    headers: tuple[tuple[str, str], ...]
    masked: tuple[str, ...]
    body: bytes
    body_bytes: int
    is_replayable: bool
    answer: bytes
    answer_bytes: int
    traceback: str
    file: str | None
    line: int | None
    variables: tuple[tuple[str, str], ...]

    def sendable(self) -> dict[str, str]:
        """The headers that are sent again.

        Raises:
            BadValue: not all of the request was kept.
        """
        if not self.is_replayable:
            raise BadValue(
                f"Of request {self.entry.id} only the first {len(self.body)} of {self.body_bytes} "
                "bytes were kept: it cannot be sent again.",
                hint="`devkit invoke -d @FILE` sends the whole.",
            )
        masked = {name.lower() for name in self.masked}
        headers = {name: value for name, value in self.headers if name.lower() not in masked}
        return sendable(headers)


def sendable(headers: Mapping[str, str]) -> dict[str, str]:
    """Those that are sent again: a stale length would have the service wait for ever."""
    return {
        name: value
        for name, value in headers.items()
        if name.strip().lower() not in _NOT_SENT_AGAIN
    }


@dataclass(frozen=True)
class Thread:
    """A thread of a worker, innermost frame first."""

    name: str
    is_main: bool
    frames: tuple[Place, ...]


@dataclass(frozen=True)
class Worker:
    """A worker; `running_s` is how long its request runs, None without one."""

    pid: int
    running_s: float | None
    threads: tuple[Thread, ...] | None


def entries(service: RunningService, *, failed: bool = False) -> list[Entry]:
    """The recorded requests, oldest first.

    Raises:
        NoService: it runs without a debugger.
        BadValue: nothing is recorded there.
    """
    body = _asked(service, "devkit/requests", {})
    with _sense():
        if not body["is_on"]:
            raise BadValue(
                f"{service.name} records no requests.",
                hint="Set `runtime.record` to how many are to be kept, and start it again.",
            )
        found = [_entry(item, service.mappings) for item in body["requests"]]
    return [entry for entry in found if entry.is_failing or not failed]


def request(service: RunningService, which: str) -> Request:
    """One of them, by its id, or "last", or "last-failed".

    Raises:
        BadValue: there is none.
    """
    body = _asked(service, "devkit/request", {"id": _number(service, which)})
    if body.get("request") is None:
        raise BadValue(
            f"There is no recorded request {which}.",
            hint="`devkit requests` lists those that there are; older ones make room for newer.",
        )
    with _sense():
        return _request(body["request"], service.mappings)


def stack(service: RunningService) -> list[Worker]:
    """Where each worker is now."""
    body = _asked(service, "devkit/stack", {})
    with _sense():
        return [_worker(item, service.mappings) for item in body["workers"]]


def debugger(service: RunningService) -> Address:
    """Where to ask; the debugger's port also answers devkit's own questions.

    Raises:
        NoService: it runs without a debugger.
    """
    if service.debug is None:
        service.alive()
        raise NoService(
            f"{service.name} runs without a debugger, which keeps no requests and answers no "
            "questions.",
            hint="`devkit debug` or `devkit run` starts it with one.",
        )
    return service.debug


def _asked(service: RunningService, question: str, arguments: Mapping[str, Any]) -> Message:
    address = debugger(service)
    return ask(address.host, address.port, question, arguments, timeout_s=_TIMEOUT_S)


def _number(service: RunningService, which: str) -> int:
    if which.isdecimal() and len(which) <= _MOST_DIGITS:
        return int(which)
    if which not in _WORDS:
        raise BadValue(
            f"{which[:40]!r} names no request.",
            hint="A number of `devkit requests`, last, last-failed.",
        )
    found = entries(service, failed=which == "last-failed")
    if not found:
        what = "failing request" if which == "last-failed" else "request"
        raise BadValue(f"{service.name} has had no {what} yet.", hint="`devkit invoke` sends one.")
    return found[-1].id


@contextmanager
def _sense() -> Iterator[None]:
    """What comes from a container is taken as it should be, or refused."""
    try:
        yield
    except NO_SENSE as error:
        raise DebuggerUnreachable(
            f"The runtime's answer makes no sense: {error!r}.",
            hint="Was the image made by another version of devkit? `devkit run` makes it anew.",
        ) from error


def _entry(item: Mapping[str, Any], mappings: Sequence[Placement]) -> Entry:
    return Entry(
        id=whole(item["id"]),
        time=duration(item["time"]),
        method=str(item["method"]),
        path=str(item["path"]),
        status=None if item["status"] is None else whole(item["status"]),
        ms=None if item["ms"] is None else duration(item["ms"]),
        is_failing=bool(item["is_failing"]),
        error=localized(str(item["error"]), mappings) if item["error"] else None,
    )


def _request(item: Mapping[str, Any], mappings: Sequence[Placement]) -> Request:
    failure = item["failure"] or {}
    file, line = failure.get("file"), failure.get("line")
    return Request(
        entry=_entry(item, mappings),
        headers=tuple((str(name), str(value)) for name, value in item["headers"]),
        masked=tuple(map(str, item["masked"])),
        body=base64.b64decode(item["body"], validate=True),
        body_bytes=whole(item["body_bytes"]),
        is_replayable=bool(item["is_replayable"]),
        answer=base64.b64decode(item["answer"], validate=True),
        answer_bytes=whole(item["answer_bytes"]),
        traceback=localized(str(failure.get("traceback") or ""), mappings),
        file=localized(str(file), mappings) if file else None,
        line=None if line is None else whole(line),
        variables=tuple((str(name), str(value)) for name, value in failure.get("locals") or ()),
    )


def _worker(item: Mapping[str, Any], mappings: Sequence[Placement]) -> Worker:
    running, threads = item["running_s"], item["threads"]
    return Worker(
        pid=whole(item["pid"]),
        running_s=None if running is None else duration(running),
        threads=None if threads is None else tuple(_thread(one, mappings) for one in threads),
    )


def _thread(item: Mapping[str, Any], mappings: Sequence[Placement]) -> Thread:
    frames = tuple(
        Place(
            localized(str(frame["file"]), mappings),
            None if frame["line"] is None else whole(frame["line"]),
            str(frame["function"]),
        )
        for frame in item["frames"]
    )
    return Thread(str(item["name"]), bool(item["is_main"]), frames)
