"""Step 4, use: a request to the scoring service, and its answer as one reads it."""

from __future__ import annotations

import http.client
import io
import json
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import SplitResult, urlsplit

from devkit.engine import Placement
from devkit.errors import BadValue, NoService, NotReady


@dataclass(frozen=True)
class Answer:
    """What the service answered, and how long that took."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether the status says success."""
        return 200 <= self.status < 300

    def header(self, name: str) -> str | None:
        """The first header of that name, in any case of letters."""
        wanted = name.lower()
        return next((value for key, value in self.headers if key.lower() == wanted), None)

    def text(self) -> str:
        """The body as text; bytes that are none are replaced."""
        return self.body.decode("utf-8", "replace")

    def told(self, mappings: Sequence[Placement]) -> str:
        """The body as one reads it: of a failure its message, then the traceback, paths local."""
        body = _json_object(self.body)
        error = body.get("error")
        traceback = error.get("traceback") if isinstance(error, dict) else None
        if self.ok or not isinstance(traceback, str) or not traceback:
            return self.text()
        return localized(f"{body.get('message', '')}\n{traceback}", mappings).lstrip("\n")


def invoke(
    url: str,
    data: bytes | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    method: str | None = None,
    timeout_s: float | None = 60,
    most_bytes: int | None = None,
) -> Answer:
    """Send a request: POST when there is data, as JSON unless a header says otherwise.

    Proxies are not used: the service is on this machine. `timeout_s` is for the whole answer; None
    waits as long as it takes, which a request that stops at a breakpoint needs. Of a body longer
    than `most_bytes` the rest is left unread: an answer may have no end.

    Raises:
        BadValue: a header, path or method that HTTP does not have.
        NoService: nothing answers there, or the answer is cut off.
        NotReady: no whole answer in time.
    """
    parts, port = _address(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    given = dict(headers or {})
    if data is not None and not any(name.lower() == "content-type" for name in given):
        given["Content-Type"] = "application/json"
    started = time.perf_counter()
    with _failures_said(url, timeout_s):
        connection = kind(str(parts.hostname), port, timeout=timeout_s)
        if timeout_s is not None:
            deadline = time.monotonic() + timeout_s
            connection.response_class = partial(_Response, deadline=deadline)  # type: ignore[assignment]
        try:
            connection.request(method or ("GET" if data is None else "POST"), target, data, given)
            response = connection.getresponse()
            body = _whole(response, most_bytes)
        finally:
            connection.close()
    seconds = time.perf_counter() - started
    return Answer(response.status, tuple(response.getheaders()), body, seconds)


class _Response(http.client.HTTPResponse):
    """An answer of which head and body have come by a deadline, or TimeoutError."""

    def __init__(self, sock: socket.socket, *args: Any, deadline: float, **named: Any) -> None:
        super().__init__(sock, *args, **named)
        self.fp.close()
        self.fp = io.BufferedReader(_Timed(sock, deadline))


class _Timed(io.RawIOBase):
    """What a socket receives; its own timeout would start anew with each byte."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._file = sock.makefile("rb", buffering=0)
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        self._sock.settimeout(remaining)
        return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()


def _whole(response: http.client.HTTPResponse, most_bytes: int | None) -> bytes:
    body = response.read(most_bytes)
    # Read up to a size, http.client says nothing of what is missing.
    if response.length and (most_bytes is None or len(body) < most_bytes):
        raise http.client.IncompleteRead(body, response.length)
    return body


def _address(url: str) -> tuple[SplitResult, int | None]:
    """Take an address apart; urllib refuses a wrong port only when it is asked for."""
    with suppress(ValueError):
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname:
            return parts, parts.port
    raise BadValue(f"{url!r} is not an http address.", hint="`devkit status` shows it.")


@contextmanager
def _failures_said(url: str, timeout_s: float | None) -> Iterator[None]:
    try:
        yield
    except (ValueError, http.client.InvalidURL) as error:
        # A codec's own words name neither the value nor HTTP.
        why = f"{error.object!r} is not ASCII" if isinstance(error, UnicodeEncodeError) else error
        raise BadValue(
            f"This request cannot be sent: {why}.", hint="Correct --path, --header or --method."
        ) from error
    except TimeoutError as error:
        raise NotReady(
            f"{url} did not answer within {timeout_s:g} s.",
            hint="Is it stopped at a breakpoint? `devkit status` tells; no --timeout waits for it.",
        ) from error
    except http.client.IncompleteRead as error:
        of = f" of {len(error.partial) + error.expected}" if error.expected else ""
        raise NoService(
            f"The answer of {url} was cut off after {len(error.partial)}{of} bytes.",
            hint="`devkit logs` says whether the service ended meanwhile.",
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise NoService(
            f"{url} does not answer: {error or type(error).__name__}.",
            hint="`devkit status` says whether the service runs, `devkit run` starts it.",
        ) from error


def localized(text: str, mappings: Sequence[Placement]) -> str:
    """Put local paths for the container's in a text such as a traceback."""
    for mapping in sorted(mappings, key=lambda m: -len(m.remote.parts)):
        text = text.replace(f"{mapping.remote}/", f"{mapping.local}/")
    return text


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
