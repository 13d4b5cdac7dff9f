"""What the front costs a request, which Microsoft's server answers without one."""

from __future__ import annotations

from collections.abc import Iterator

from bench import by_hand
from bench.place import SCORE, Place
from bench.requests import latencies, rate
from bench.row import Row, one
from tests.running import on_host

TIMES = 300


def rows(place: Place) -> Iterator[Row]:
    hand, files = "azmlinfsrv, no debugger", {"score.py": SCORE}
    with by_hand.on_host(place.folder()) as server:
        for debug, name in (("0", "debugging off"), ("1", "debugging on")):
            with on_host(place.folder(), files=files, env={"DEVKIT_DEBUG": debug}) as service:
                ports = (service.score_port, server.score_port)
                front, plain = latencies(ports, times=TIMES)
                front_rate, plain_rate = (one(rate(port)) for port in ports)
            yield Row(f"a request, {name}", "ms", front, plain, hand=hand)
            yield Row(
                "... from 4 clients at once",
                "req/s",
                front_rate,
                plain_rate,
                hand=hand,
                note="more is better",
            )
