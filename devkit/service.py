"""Step 4, use: the scoring service as a client. Invoke it, ask how it is, wait, reload."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from devkit.debug.wire import Message, ask
from devkit.engine import Placement
from devkit.errors import (
    BadValue,
    ContainerDied,
    DebuggerUnreachable,
    InitFailed,
    NoService,
    NotReady,
)

# How long one question waits before the container's own state is looked at again.
_SLICE_S = 1.0
# Between tries while nothing listens yet; far below what a start takes.
_RETRY_S = 0.02


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


@dataclass(frozen=True)
class Failure:
    """An exception of the user's code: its place is a local file where a mapping covers it."""

    kind: str
    message: str
    traceback: str
    file: Path | PurePosixPath | None
    line: int | None
    function: str | None

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.file else ""
        in_function = self.function not in (None, "<module>")
        return f"{place}{f'{self.function}() raised ' if in_function else ''}{self.kind}" + (
            f": {self.message}" if self.message else ""
        )


@dataclass(frozen=True)
class Attached:
    """The client that debugs the service, and since when (Unix seconds)."""

    client: str
    since: float


@dataclass(frozen=True)
class Status:
    """How the service is. `state`: starting, init, ready, reloading, paused, failed, crash_loop."""

    state: str
    generation: int
    pid: int | None
    debug: bool
    attached: Attached | None
    error: Failure | None
    python: str
    init_ms: float | None
    reload_ms: float | None
    watched: int

    @property
    def is_ready(self) -> bool:
        """Whether requests are served, or would be if no breakpoint held one."""
        return self.state in ("ready", "paused")


def invoke(
    url: str,
    data: bytes | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    method: str | None = None,
    timeout_s: float | None = 60,
) -> Answer:
    """Send a request: POST when there is data, as JSON unless a header says otherwise.

    Proxies are not used: the service is on this machine. `timeout_s` None waits as long as it
    takes, which a request that stops at a breakpoint needs.

    Raises:
        BadValue: a header, path or method that HTTP does not have.
        NoService: nothing answers there.
        NotReady: no answer in time.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadValue(f"{url!r} is not an http address.", hint="`devkit status` shows it.")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    given = dict(headers or {})
    if data is not None and not any(name.lower() == "content-type" for name in given):
        given["Content-Type"] = "application/json"
    connection = kind(parts.hostname, parts.port, timeout=timeout_s)
    started = time.perf_counter()
    try:
        connection.request(method or ("GET" if data is None else "POST"), target, data, given)
        response = connection.getresponse()
        body = response.read()
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
    except (OSError, http.client.HTTPException) as error:
        raise NoService(
            f"{url} does not answer: {error or type(error).__name__}.",
            hint="`devkit status` says whether the service runs, `devkit run` starts it.",
        ) from error
    finally:
        connection.close()
    seconds = time.perf_counter() - started
    return Answer(response.status, tuple(response.getheaders()), body, seconds)


def status(
    host: str, port: int, *, mappings: Sequence[Placement] = (), timeout_s: float = 5
) -> Status:
    """Ask the runtime, by its debug port, how the service is.

    Raises:
        DebuggerUnreachable: no devkit runtime answers.
    """
    return _status(ask(host, port, "devkit/status", {}, timeout_s=timeout_s), mappings)


def wait_ready(
    host: str,
    port: int,
    *,
    timeout_s: float,
    alive: Callable[[], object],
    generation: int | None = None,
    mappings: Sequence[Placement] = (),
) -> Status:
    """Wait until the service serves (its `generation` or a later one).

    `alive` is called now and then; it raises, or returns False, once the container has ended.

    Raises:
        InitFailed: init() or the import of the entry script failed; names the local line.
        ContainerDied: the container ended meanwhile.
        NotReady: it takes longer than `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    last = "nothing answers on its debug port"
    while (remaining := deadline - time.monotonic()) > 0:
        if alive() is False:
            raise ContainerDied(
                "The container ended before the service was ready.",
                hint="`devkit logs` shows its last words.",
            )
        wait_s = min(remaining, _SLICE_S)
        question = {"timeout_s": wait_s, "generation": generation}
        try:
            body = ask(host, port, "devkit/wait", question, timeout_s=wait_s + _SLICE_S)
            found = _status(body, mappings)
        except DebuggerUnreachable as error:
            last = error.message
        else:
            if generation is None or found.generation >= generation:
                _raise_if_failed(found, mappings)
                if found.is_ready:
                    return found
            last = f"its state is {found.state!r}"
        time.sleep(min(_RETRY_S, remaining))
    raise NotReady(
        f"The service was not ready within {timeout_s:g} s: {last}.",
        hint="`devkit logs` shows what init() does.",
    )


def reload(
    host: str, port: int, *, mappings: Sequence[Placement] = (), timeout_s: float = 60
) -> Status:
    """Load the entry script anew, and return once that has been done.

    Raises:
        InitFailed: as for `wait_ready`; the next edit heals it.
        DebuggerUnreachable: no devkit runtime answers.
    """
    found = _status(ask(host, port, "devkit/reload", {}, timeout_s=timeout_s), mappings)
    _raise_if_failed(found, mappings)
    return found


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


def _status(body: Message, mappings: Sequence[Placement]) -> Status:
    attached, error = body.get("attached"), body.get("error")
    try:
        return Status(
            state=str(body["state"]),
            generation=int(body["generation"]),
            pid=body.get("pid"),
            debug=bool(body.get("debug")),
            attached=_attached(attached) if attached else None,
            error=_failure(error, mappings) if error else None,
            python=str(body.get("python", "")),
            init_ms=body.get("init_ms"),
            reload_ms=body.get("reload_ms"),
            watched=int(body.get("watched") or 0),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise DebuggerUnreachable(
            f"The runtime answered with a status that makes no sense: {problem!r}.",
            hint="Was the image made by another version of devkit? `devkit run` makes it anew.",
        ) from problem


def _attached(attached: Mapping[str, Any]) -> Attached:
    return Attached(str(attached.get("client")), float(attached.get("since") or 0))


def _failure(error: Mapping[str, Any], mappings: Sequence[Placement]) -> Failure:
    remote, line = error.get("file"), error.get("line")
    return Failure(
        kind=str(error.get("type") or "Error"),
        message=str(error.get("message") or ""),
        traceback=localized(str(error.get("traceback") or ""), mappings),
        file=_local(PurePosixPath(remote), mappings) if remote else None,
        line=int(line) if line is not None else None,
        function=error.get("function"),
    )


def _local(remote: PurePosixPath, mappings: Sequence[Placement]) -> Path | PurePosixPath:
    for mapping in sorted(mappings, key=lambda m: -len(m.remote.parts)):
        if remote.is_relative_to(mapping.remote):
            return mapping.local / remote.relative_to(mapping.remote)
    return remote


def _raise_if_failed(found: Status, mappings: Sequence[Placement]) -> None:
    if found.state not in ("failed", "crash_loop"):
        return
    failure = found.error
    again = " It ended several times in a row." if found.state == "crash_loop" else ""
    raise InitFailed(
        f"{failure or 'The service does not load.'}{again}",
        hint=f"{_healed_by(mappings)} `devkit logs` has the whole log.",
        file=str(failure.file) if failure and failure.file else None,
        line=failure.line if failure else None,
        traceback=failure.traceback if failure else "",
    )


def _healed_by(mappings: Sequence[Placement]) -> str:
    # A process runs the files of the workspace; a container has them from whoever brings them in.
    if mappings and all(str(m.local) == str(m.remote) for m in mappings):
        return "Save a corrected file: it is loaded at once."
    return (
        "Save a corrected file: `devkit debug` loads it at once while it follows, and "
        "`devkit debug --detach` when it is run again."
    )
