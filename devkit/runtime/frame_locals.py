"""The local variables of the user's frame that raised, as short texts.

A value's repr() is the user's code: it may raise, be endless or huge, or never come back.
"""

from __future__ import annotations

import contextlib
import itertools
import signal
import traceback
from types import FrameType
from typing import Any, Iterator, List, Optional, Sequence

from .failure import is_below
from .secret_names import MASK, is_secret

MOST = 50
LONGEST = 200
# Of a container; more does not fit into LONGEST anyway.
_MOST_ITEMS = 12
_DEEPEST = 3
# For all of a frame's values together, then again and again until the code lets go.
_TIME_S = 0.5
_AGAIN_S = 0.05

_BRACKETS = {"list": ("[", "]"), "tuple": ("(", ")")}
_PLAIN = (int, float, complex, bool, type(None))


class _TooLong(BaseException):
    """The time is over. Not an Exception, so that a repr's `except Exception` lets it through."""


def of(error: BaseException, roots: Sequence[str]) -> List[List[str]]:
    """Names and values at the innermost frame below `roots`; called in the main thread."""
    frame: Optional[FrameType] = None
    for candidate, _ in traceback.walk_tb(error.__traceback__):
        if is_below(candidate.f_code.co_filename, roots):
            frame = candidate
    if frame is None:
        return []
    found: List[List[str]] = []
    variables = [(n, v) for n, v in dict(frame.f_locals).items() if not _is_dull(n, v)]
    try:
        with _limited(_TIME_S):
            for name, value in variables[:MOST]:
                found.append([name[:LONGEST], "<repr() takes too long>"])
                found[-1][1] = _guarded(name, value)
    except _TooLong:
        pass
    if len(variables) > len(found):
        found.append(["...", "{} more".format(len(variables) - len(found))])
    return found


def short(value: Any) -> str:
    """repr(value), at most LONGEST characters; key-like names in mappings are masked."""
    text = _repr(value, 0)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def _guarded(name: str, value: Any) -> str:
    try:
        return _named(name, value)
    except _TooLong:
        raise
    except BaseException as error:  # noqa: BLE001 - SystemExit, too: it must not replace the error
        return "<repr() raised {}>".format(_name_of(type(error)))


def _name_of(kind: type) -> str:
    # Not kind.__name__: a metaclass is the user's code, too.
    return str(type.__dict__["__name__"].__get__(kind))


def _named(name: str, value: Any) -> str:
    return MASK if is_secret(name) and not callable(value) else short(value)


def _is_dull(name: str, value: Any) -> bool:
    """Whether it is a part of the module that one does not look at."""
    return name.startswith("__") or _name_of(type(value)) in ("module", "function", "type")


def _repr(value: Any, depth: int) -> str:
    # Exact types: a subclass may override what is called here.
    kind = type(value)
    if kind in (str, bytes, bytearray):
        return repr(value[:LONGEST]) + ("..." if len(value) > LONGEST else "")
    if kind is int and value.bit_length() > 2000:
        return "<int of {} bits>".format(value.bit_length())
    if kind in _PLAIN:
        return repr(value)
    if kind in (list, tuple, set, frozenset, dict):
        return (
            "{} of {}".format(kind.__name__, len(value))
            if depth >= _DEEPEST
            else _items(value, depth)
        )
    return _others(value, kind)


def _items(value: Any, depth: int) -> str:
    opened, closed = _BRACKETS.get(type(value).__name__, ("{", "}"))
    if isinstance(value, dict):
        pairs = itertools.islice(value.items(), _MOST_ITEMS)
        parts = [_repr(key, depth + 1) + ": " + _item(key, inner, depth) for key, inner in pairs]
    else:
        parts = [_repr(inner, depth + 1) for inner in itertools.islice(value, _MOST_ITEMS)]
    if len(value) > len(parts):
        parts.append("... {} in all".format(len(value)))
    elif isinstance(value, tuple) and len(parts) == 1:
        parts.append("")
    text = opened + ", ".join(parts).rstrip(" ") + closed
    return "{}({})".format(type(value).__name__, text) if isinstance(value, frozenset) else text


def _item(key: Any, value: Any, depth: int) -> str:
    return MASK if type(key) is str and is_secret(key) else _repr(value, depth + 1)


def _others(value: Any, kind: type) -> str:
    try:
        text = repr(value)
        return text[:LONGEST] + ("..." if len(text) > LONGEST else "")
    except _TooLong:
        raise
    except BaseException as error:  # noqa: BLE001 - the user's __repr__ may raise anything
        return "<{}: its repr() raised {}>".format(_name_of(kind), _name_of(type(error)))


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise _TooLong in here after a time; the user's own alarm is put back behind it."""
    armed = [True]

    def on_alarm(*_: Any) -> None:
        if armed:
            raise _TooLong

    handler = signal.signal(signal.SIGALRM, on_alarm)
    remaining, interval = signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN_S)
    try:
        try:
            yield
        finally:
            # An alarm right here is still followed by the other `finally`.
            armed.clear()
    finally:
        signal.setitimer(signal.ITIMER_REAL, remaining, interval)
        # None: it was not set by Python, and cannot be set again by it.
        signal.signal(signal.SIGALRM, signal.SIG_DFL if handler is None else handler)
