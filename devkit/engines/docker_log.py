"""A container's log as it comes, let go of in every case, and ended with its container."""

from __future__ import annotations

import socket
import threading
from collections.abc import Generator, Iterator
from contextlib import suppress
from typing import Any

import requests
from docker import APIClient
from docker.errors import DockerException

_LOOK_S = 1.0


def chunks(stream: Any) -> Iterator[bytes]:
    """Yield a log of the SDK's; its connection ends with the reader."""
    try:
        # Not handed to `yield from` itself, which would close it the SDK's way: that refuses ssh.
        yield from (piece for piece in stream)
    finally:
        _cut(stream._response)
        stream._response.close()


def chunks_until_end(
    client: APIClient, container: str, stream: Any
) -> Generator[bytes, None, None]:
    """Yield a followed log until the container ends, also where the engine forgets to end it.

    Podman 4.3 learns of the end by an event; one that comes before it listens is lost for it.
    """
    reading = _Reading()
    threading.Thread(
        target=_watch, args=(client, container, stream._response, reading), daemon=True
    ).start()
    try:
        log = chunks(stream)
        while True:
            reading.waits = True
            piece = next(log, None)
            reading.waits = False
            if piece is None:
                return
            reading.pieces += 1
            yield piece
    finally:
        reading.over.set()


class _Reading:
    """How far the reader is."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.waits = False
        self.pieces = 0


def _watch(
    client: APIClient, container: str, response: requests.Response, reading: _Reading
) -> None:
    """Cut a log off that stays silent from one look to the next with its container ended."""
    silent_since: int | None = None
    while not reading.over.wait(_LOOK_S):
        if not reading.waits or _runs(client, container):
            silent_since = None
        elif silent_since == reading.pieces:
            _cut(response)
            return
        else:
            silent_since = reading.pieces


def _runs(client: APIClient, container: str) -> bool:
    try:
        return bool(client.inspect_container(container)["State"]["Running"])
    except (DockerException, requests.RequestException):
        return False


def _cut(response: requests.Response) -> None:
    """End a response's connection, also under a reader that waits and then lets go of it."""
    with suppress(OSError, AttributeError):
        raw: Any = response.raw
        reader = raw._fp.fp
        if hasattr(reader, "channel"):
            reader.channel.close()
        else:
            reader.raw._sock.shutdown(socket.SHUT_RDWR)
