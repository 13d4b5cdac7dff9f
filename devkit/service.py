"""Step 4, use: the scoring service as a client. Invoke it, ask how it is, wait, reload."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from devkit.debug.wire import NO_SENSE, Message, ask, duration, whole
from devkit.engine import Placement
from devkit.errors import ContainerDied, DebuggerUnreachable, InitFailed, NotReady
from devkit.request import Answer, invoke, localized

__all__ = [
    "Answer",
    "Attached",
    "Failure",
    "Status",
    "invoke",
    "localized",
    "reload",
    "status",
    "wait_ready",
]

# How long one question waits before the container's own state is looked at again.
_SLICE_S = 1.0
# Between tries while nothing listens yet; far below what a start takes.
_RETRY_S = 0.02
_MOST_LINES = 10**7

T = TypeVar("T")


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
        line = f":{self.line}" if self.line else ""
        place = f"{self.file}{line}: " if self.file else ""
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
        # Nothing listens yet, or the load before is still the last one: nobody tells when.
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


def _status(body: Message, mappings: Sequence[Placement]) -> Status:
    attached, error = body.get("attached"), body.get("error")
    try:
        return Status(
            state=str(body["state"]),
            generation=whole(body["generation"]),
            pid=_if_any(whole, body.get("pid")),
            debug=bool(body.get("debug")),
            attached=_attached(attached) if attached else None,
            error=_failure(error, mappings) if error else None,
            python=str(body.get("python", "")),
            init_ms=_if_any(duration, body.get("init_ms")),
            reload_ms=_if_any(duration, body.get("reload_ms")),
            watched=whole(body.get("watched") or 0),
        )
    except NO_SENSE as problem:
        raise DebuggerUnreachable(
            f"The runtime answered with a status that makes no sense: {problem!r}.",
            hint="Was the image made by another version of devkit? `devkit run` makes it anew.",
        ) from problem


def _if_any(read: Callable[[Any], T], value: Any) -> T | None:
    return None if value is None else read(value)


def _attached(attached: Mapping[str, Any]) -> Attached:
    return Attached(str(attached.get("client")), duration(attached.get("since") or 0))


def _failure(error: Mapping[str, Any], mappings: Sequence[Placement]) -> Failure:
    remote = error.get("file")
    return Failure(
        kind=str(error.get("type") or "Error"),
        message=str(error.get("message") or ""),
        traceback=localized(str(error.get("traceback") or ""), mappings),
        file=_local(PurePosixPath(remote), mappings) if remote else None,
        line=_if_any(_line, error.get("line")),
        function=_if_any(_text, error.get("function")),
    )


def _line(value: Any) -> int | None:
    """A line as a traceback has them; None for a number that is no line's."""
    if not isinstance(value, int):
        raise TypeError("a line that is no number")
    return value if value is not True and 0 < value < _MOST_LINES else None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a name that is no text")
    return value


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
    # A process runs the files of the workspace; a container has them from the sync.
    if mappings and all(str(m.local) == str(m.remote) for m in mappings):
        return "Save a corrected file: it is loaded at once."
    return (
        "Save a corrected file: it is loaded at once where `devkit debug` or `devkit sync` keeps "
        "the container in step."
    )
