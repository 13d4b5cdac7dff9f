"""An exception of the user's code as data: what it is, and the user's line that raised it."""

from __future__ import annotations

import os
import traceback
from types import TracebackType
from typing import Any, Dict, Optional, Sequence

from .wire import say

# It travels in a header of at most 64 KiB.
MAX_TEXT = 12000

Failure = Dict[str, Any]

HEADER = "x-devkit-failure"
"""Carries a Failure from worker to front, base64 of JSON; the front takes it off."""

LAST_HEADER = "x-devkit-last"
"""On a worker's last answer: its process ends, and another takes its place."""


def described(error: BaseException, roots: Sequence[str]) -> Failure:
    """Describe `error`; file, line and function are those of the innermost frame below `roots`.

    Keys: type, message, traceback, file, line, function. The three last are None where no frame is
    the user's.
    """
    place = _place(error, roots)
    return {
        "type": type(error).__name__,
        "message": _cut(_message(error), 2000),
        "traceback": _cut(_trimmed(error, roots), MAX_TEXT),
        "file": place[0],
        "line": place[1],
        "function": place[2],
    }


def log(what: str, failure: Failure) -> None:
    """Write `what`, and which failure that was, to the log; then the traceback."""
    say("{}: {}: {}".format(what, failure["type"], failure["message"]))
    os.write(2, failure["traceback"].encode("utf-8", "replace"))


def plain(kind: str, message: str) -> Failure:
    """A failure that no exception stands for, such as a process that ended."""
    return {
        "type": kind,
        "message": message,
        "traceback": "",
        "file": None,
        "line": None,
        "function": None,
    }


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - the user's __str__ may raise anything
        return "<no text: __str__ raised>"


def _place(error: BaseException, roots: Sequence[str]) -> Any:
    if isinstance(error, SyntaxError) and error.filename and is_below(error.filename, roots):
        return error.filename, error.lineno, None
    found: Any = (None, None, None)
    for frame, line in traceback.walk_tb(error.__traceback__):
        if is_below(frame.f_code.co_filename, roots):
            found = (frame.f_code.co_filename, line, frame.f_code.co_name)
    return found


def _trimmed(error: BaseException, roots: Sequence[str]) -> str:
    """The traceback from the user's first frame on; what called it is ours or the server's."""
    start: Optional[TracebackType] = error.__traceback__
    while start is not None and not is_below(start.tb_frame.f_code.co_filename, roots):
        start = start.tb_next
    if start is None and isinstance(error, SyntaxError):
        return "".join(traceback.format_exception_only(type(error), error))
    try:
        return "".join(traceback.format_exception(type(error), error, start or error.__traceback__))
    except Exception:  # noqa: BLE001 - as above
        return type(error).__name__


def is_below(path: str, roots: Sequence[str]) -> bool:
    """Whether `path` is a file of the service."""
    path = os.path.realpath(path)
    return any(path.startswith(root + os.sep) for root in roots)


def cut(text: str) -> str:
    """Half of a text, its start and its end; nothing of a short one."""
    return _cut(text, len(text) // 2) if len(text) > 200 else ""


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit // 2] + "\n[...]\n" + text[-limit // 2 :]
