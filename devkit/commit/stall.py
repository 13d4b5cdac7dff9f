"""Step 6, commit: how long the service answered nothing meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from threading import Event, Thread
from urllib.parse import urlsplit

_EVERY_S = 0.02
_TIMEOUT_S = 60


@dataclass
class Stall:
    """The longest wait for an answer of the front, in seconds; None where nothing was asked."""

    longest_s: float | None = None


@contextmanager
def measured(uri: str | None) -> Iterator[Stall]:
    """Ask a service for its health all the time, and say how long the slowest answer took."""
    stall, is_over = Stall(), Event()
    if uri is None:
        yield stall
        return
    thread = Thread(target=_ask, args=(uri, stall, is_over), daemon=True, name="stall")
    thread.start()
    try:
        yield stall
    finally:
        is_over.set()
        thread.join(_TIMEOUT_S)


def _ask(uri: str, stall: Stall, is_over: Event) -> None:
    place = urlsplit(uri)
    # Who does not answer at all is found by others.
    with suppress(OSError, HTTPException):
        while not is_over.wait(_EVERY_S):
            began = time.monotonic()
            with closing(
                HTTPConnection(place.hostname or "", place.port, timeout=_TIMEOUT_S)
            ) as front:
                front.request("GET", "/")
                front.getresponse().read()
            stall.longest_s = max(stall.longest_s or 0.0, time.monotonic() - began)
