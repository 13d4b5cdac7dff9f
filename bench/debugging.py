"""What debugging costs code that is heavy on Python: 2000 calls of a small function a request."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from bench import by_hand
from bench.place import BASE, SCORE, Place
from bench.requests import latencies
from bench.row import Row
from devkit.errors import NoEngine
from tests.contained import in_container
from tests.running import Service, on_host

CALLS = 2000
TIMES = 60
ELSEWHERE = "return np.negative"
HAND = "azmlinfsrv under debugpy"
NAMES = ("on, nobody attached", "attached", "attached, breakpoint elsewhere")

Start = Callable[[bool], AbstractContextManager[Service]]
StartByHand = Callable[[bool], AbstractContextManager[by_hand.Plain]]


def rows(place: Place) -> Iterator[Row]:
    yield from _on(
        f"Python {platform.python_version()},",
        lambda debug: on_host(place.folder(), files={"score.py": SCORE}, env=_env(debug=debug)),
        lambda debug: by_hand.on_host(place.folder(), debug=debug),
    )
    try:
        engine, image = place.engine, place.image
    except NoEngine:
        return
    yield from _on(
        f"Python {BASE.rpartition(':')[2]} image,",
        lambda debug: in_container(
            engine, image, place.folder(), files={"score.py": SCORE}, env=_env(debug=debug)
        ),
        lambda debug: by_hand.in_container(
            engine, image, f"{place.service}-plain-{int(debug)}", debug=debug
        ),
    )


def _on(where: str, start: Start, start_by_hand: StartByHand) -> Iterator[Row]:
    with (
        start(False) as off,
        start(True) as on,
        start_by_hand(False) as plain,
        start_by_hand(True) as debugpy,
    ):
        line = on.line(ELSEWHERE)
        ports = [server.score_port for server in (off, on, plain, debugpy)]
        for number, name in enumerate(NAMES):
            for server in (on, debugpy) if number else ():
                _attach(server, [line] if number == len(NAMES) - 1 else [])
            ours_off, ours, hand_off, hand = latencies(ports, times=TIMES, calls=CALLS)
            if number == 0:
                yield Row(f"{where} debugging off", "ms", ours_off, hand_off, hand="azmlinfsrv")
            times = ours.median / ours_off.median
            yield Row(f"{where} {name}", "ms", ours, hand, hand=HAND, note=f"x{times:.1f} of off")


def _attach(service: Service | by_hand.Plain, lines: list[int]) -> None:
    for session in service.sessions:
        session.disconnect()
    service.sessions.clear()
    service.attach({"score.py": [*lines]} if lines else {})


def _env(*, debug: bool) -> dict[str, str]:
    return {"DEVKIT_DEBUG": str(int(debug))}
