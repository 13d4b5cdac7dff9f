"""The last requests and the last failing ones, kept in memory for devkit's questions.

HTTP threads write, the event loop reads. What is kept is bounded in number and in bytes.
"""

from __future__ import annotations

import base64
import collections
import re
import threading
import time
from typing import Any, Deque, Dict, Iterable, List, Match, Optional, Tuple

from .failure import Failure
from .secret_names import MASK, is_secret_field

# Of a body, and of an answer; of a longer one its start.
MAX_BODY = 64 * 1024
# Of each ring, of which there are two.
MAX_BYTES = 4 * 1024 * 1024
_MAX_PATH = 8 * 1024
_MAX_HEADER = 2 * 1024
_MAX_HEADERS = 64
_QUERY_VALUE = re.compile(r"([?&]([^=&]{1,200})=)([^&]*)")
_LOGIN = re.compile(r"(?<=://)[^/@\s]*:[^/@\s]*(?=@)")
# What an entry takes without its texts.
_OVERHEAD = 1024

Headers = List[Tuple[str, str]]


class Exchange:
    """A request and what became of it; where nothing is recorded, without a `ring`."""

    def __init__(self, record: Optional[Record]) -> None:
        self._record = record
        self.number = 0
        self.method = self.path = ""
        self.headers: Headers = []
        self.masked: List[str] = []
        self.body = self.answer = b""
        self.body_size = self.answer_size = 0
        self.began = self._began = 0.0
        self.ms: Optional[float] = None
        self.status: Optional[int] = None
        self.error: Optional[str] = None
        self.failure: Optional[Failure] = None
        # What the threads did when the time limit came near; runtime/stacks.py.
        self.stack: Optional[Dict[str, Any]] = None
        self.size = _OVERHEAD
        self.is_among_failing = False

    def failed(self, message: str, failure: Optional[Failure]) -> None:
        """It gets no answer of run() itself; said before `answered`."""
        if self._record is None:
            return
        self.error, self.failure = message, failure
        self.size += len(message) + (len(str(failure)) if failure else 0)

    def held_up(self, stack: Optional[Dict[str, Any]]) -> None:
        """What its worker did when the time limit came near."""
        if stack is not None and self._record is not None:
            self.stack = stack
            self.size += len(str(stack))

    def answered(self, status: Optional[int], body: bytes) -> None:
        """Its answer is about to be sent; None: its client has left."""
        if self._record is not None:
            self.ms = (time.monotonic() - self._began) * 1000
            self.status = status
            self._take(body)
            self._record.note(self)

    def went_on(self, data: bytes) -> None:
        """More of an answer that is sent in pieces."""
        if self._record is not None:
            self._take(data)
            self._record.note(self)

    def broke_off(self, message: str) -> None:
        """The answer ended before its end."""
        if self._record is not None:
            self.error = message
            self._record.note(self)

    @property
    def is_failing(self) -> bool:
        """Whether it is one to look at."""
        return self.error is not None or (self.status or 0) >= 400

    @property
    def is_replayable(self) -> bool:
        """Whether all of the request is here."""
        return len(self.body) == self.body_size and len(self.path) < _MAX_PATH

    def _take(self, data: bytes) -> None:
        self.answer_size += len(data)
        room = MAX_BODY - len(self.answer)
        if data and room > 0:
            self.answer += data[:room]
            self.size += min(len(data), room)

    def summary(self) -> Dict[str, Any]:
        """What a list shows of it."""
        failure = self.failure
        return {
            "id": self.number,
            "time": self.began,
            "method": self.method,
            "path": self.path,
            "status": self.status,
            "ms": self.ms,
            "is_failing": self.is_failing,
            "body_bytes": self.body_size,
            "error": _said(failure) if failure else self.error,
            "file": failure.get("file") if failure else None,
            "line": failure.get("line") if failure else None,
        }

    def whole(self) -> Dict[str, Any]:
        """All that is kept of it."""
        return dict(
            self.summary(),
            headers=self.headers,
            masked=self.masked,
            body=base64.b64encode(self.body).decode("ascii"),
            is_replayable=self.is_replayable,
            answer=base64.b64encode(self.answer).decode("ascii"),
            answer_bytes=self.answer_size,
            failure=self.failure,
            stack=self.stack,
        )


NOTHING = Exchange(None)
"""What stands for a request that is not recorded."""


class _Ring:
    """The newest entries, so many and so many bytes."""

    def __init__(self, limit: int) -> None:
        self.entries: Deque[Exchange] = collections.deque()
        self._limit = limit

    def add(self, entry: Exchange) -> None:
        """Keep it; what is too much goes, the oldest first."""
        self.entries.append(entry)
        self.trim()

    def trim(self) -> None:
        """Let go of what is too much; entries grow while they are here."""
        entries = self.entries
        while len(entries) > self._limit or sum(entry.size for entry in entries) > MAX_BYTES:
            entries.popleft()


class Record:
    """What is recorded; `limit` 0 records nothing."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._last = _Ring(limit)
        self._failing = _Ring(limit)
        self._count = 0

    @property
    def is_on(self) -> bool:
        """Whether requests are kept."""
        return self._limit > 0

    def begin(
        self, method: str, path: str, headers: Iterable[Tuple[str, str]], body: bytes
    ) -> Exchange:
        """A request has been read."""
        if not self._limit:
            return NOTHING
        entry = Exchange(self)
        entry.method, entry.path = method[:64], _masked(path[:_MAX_PATH], entry.masked)
        entry.headers = _kept(headers, entry.masked)
        entry.body, entry.body_size = body[:MAX_BODY], len(body)
        entry.began, entry._began = time.time(), time.monotonic()
        texts = sum(len(name) + len(value) for name, value in entry.headers)
        entry.size += len(entry.path) + len(entry.body) + texts
        with self._lock:
            self._count += 1
            entry.number = self._count
            self._last.add(entry)
        return entry

    def note(self, entry: Exchange) -> None:
        """It has come to an end, or has grown."""
        with self._lock:
            if entry.is_failing and not entry.is_among_failing:
                entry.is_among_failing = True
                self._failing.add(entry)
            self._last.trim()

    def list(self) -> List[Exchange]:
        """The entries, oldest first."""
        with self._lock:
            found = {entry.number: entry for entry in self._failing.entries}
            found.update((entry.number, entry) for entry in self._last.entries)
        return [found[number] for number in sorted(found)]


def _said(failure: Failure) -> str:
    return "{}: {}".format(failure["type"], failure["message"])


def _masked(text: str, masked: List[str]) -> str:
    """An address without its secrets: a password before the host, values of the query."""

    def value(found: Match[str]) -> str:
        if not is_secret_field(found.group(2)):
            return found.group(0)
        masked.append(found.group(2))
        return found.group(1) + MASK

    return _QUERY_VALUE.sub(value, _LOGIN.sub(MASK, text))


def _kept(headers: Iterable[Tuple[str, str]], masked: List[str]) -> Headers:
    kept: Headers = []
    for name, value in headers:
        if is_secret_field(name):
            masked.append(name)
            value = MASK
        kept.append((name[:_MAX_HEADER], _masked(value[:_MAX_HEADER], [])))
    return kept[:_MAX_HEADERS]
