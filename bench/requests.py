"""Requests to a service: until it answers, one after the other, and from several clients."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from bench.row import Sample, milliseconds

PATIENCE_S = 60
WARM_UP = 10


def answer(port: int, *, calls: int = 0) -> dict[str, Any]:
    """Score once; OSError or ValueError where that does not work."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/score", json.dumps({"calls": calls}), headers)
        reply = connection.getresponse()
        body = reply.read()
    finally:
        connection.close()
    if reply.status != 200:
        raise ValueError(f"{reply.status}: {body.decode(errors='replace')}")
    made: dict[str, Any] = json.loads(body)
    return made


def until_answered(port: int, is_right: Callable[[dict[str, Any]], bool] = lambda _: True) -> None:
    """Ask again and again, as one who waits with curl does."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            if is_right(answer(port)):
                return
        except (OSError, ValueError, http.client.HTTPException):
            pass
        time.sleep(0.005)
    raise TimeoutError(f"port {port} gave no right answer in {PATIENCE_S} s")


def latencies(ports: Sequence[int], *, times: int, calls: int = 0) -> tuple[Sample, ...]:
    """Requests one after the other, each on a connection of its own, to each port in turn.

    In turn, so that whatever else the machine does falls on all of them.
    """
    request = _request(calls)
    values: list[list[float]] = [[] for _ in ports]
    for turn in range(WARM_UP + times):
        for port, found in zip(ports, values, strict=True):
            took = milliseconds(1, partial(_raw, port, request)).values
            found += took if turn >= WARM_UP else ()
    return tuple(Sample(tuple(found)) for found in values)


def rate(port: int, *, clients: int = 4, duration_s: float = 2) -> float:
    """Answers per second that so many clients get."""
    request = _request(0)
    deadline = time.monotonic() + duration_s
    counts = [0] * clients

    def client(number: int) -> None:
        while time.monotonic() < deadline:
            _raw(port, request)
            counts[number] += 1

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / duration_s


def _request(calls: int) -> bytes:
    body = json.dumps({"calls": calls}).encode()
    head = (
        "POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _raw(port: int, request: bytes) -> None:
    # http.client costs as much as the server does.
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        connection.sendall(request)
        reply = b""
        while data := connection.recv(65536):
            reply += data
    if b" 200 " not in reply[:20]:
        raise ValueError(reply[:200].decode(errors="replace"))
