"""From a save to the first answer of the new code: what the whole thing is for."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench.by_hand import OnHost
from bench.place import DEVKIT, ENVIRON, SCORE, Place
from bench.requests import answer, until_answered
from bench.row import Row, Sample, milliseconds
from devkit.errors import NoEngine
from tests.running import Service, on_host, stopped, until

TIMES = 15
BY_HAND_TIMES = 2
# Nobody saves faster: the next standby is forked meanwhile.
PAUSE_S = 0.45
LINE = "request = json.loads"


def rows(place: Place) -> Iterator[Row]:
    plain = _restarts(place, debug=False)
    yield Row(
        "save -> new code answers, no debugger",
        "ms",
        _saves(place, attached=False),
        plain,
        hand="azmlinfsrv: kill, start, first 200",
        limit=50,
    )
    debugged = _restarts(place, debug=True)
    hand = "under debugpy, attach too"
    yield Row(
        "... debugger attached",
        "ms",
        _saves(place, attached=True),
        debugged,
        hand=hand,
        limit=60,
    )
    yield Row(
        "... a breakpoint moved: at the right line",
        "ms",
        _saves_that_move(place),
        debugged,
        hand=hand,
        limit=160,
    )
    try:
        saves = _saves_in_the_workspace(place)
    except NoEngine:
        return
    yield Row(
        "... in a container, pushed by `devkit debug`",
        "ms",
        saves,
        plain,
        note="nobody attached",
    )


def _restarts(place: Place, *, debug: bool) -> Sample:
    server = OnHost(place.folder(), debug=debug)
    try:
        server.restart()
        return milliseconds(BY_HAND_TIMES, server.restart)
    finally:
        server.kill()


def _saves(place: Place, *, attached: bool) -> Sample:
    with on_host(place.folder(), files={"score.py": SCORE}) as service:
        if attached:
            service.attach({"score.py": [service.line("return np.negative")]})

        def save() -> None:
            version = service.bump()
            until_answered(service.score_port, lambda reply: bool(reply["version"] == version))

        return paced(save)


def _saves_that_move(place: Place) -> Sample:
    with on_host(place.folder(), files={"score.py": SCORE}) as service:
        session = service.attach({"score.py": [service.line(LINE)]})
        values = []
        for _ in range(TIMES + 1):
            time.sleep(PAUSE_S)
            began = time.perf_counter()
            service.bump("# one more line\n".__add__)
            request = service.later()
            stop = stopped(session)
            values.append((time.perf_counter() - began) * 1000)
            _check_line(service, stop.line)
            session.resume(stop.thread)
            request.reply()
        return Sample(tuple(values[1:]))


def _check_line(service: Service, line: int) -> None:
    if line != service.line(LINE):
        raise RuntimeError(f"stopped at line {line}, not {service.line(LINE)}")


def _saves_in_the_workspace(place: Place) -> Sample:
    script = place.workspace / "score.py"
    _ = place.image

    def saved() -> int:
        version = time.time_ns()
        script.write_text(re.sub(r"VERSION = \d+", f"VERSION = {version}", SCORE))
        return version

    with place.deleted(), _followed(place) as port:

        def save() -> None:
            version = saved()
            until_answered(port, lambda reply: bool(reply["version"] == version))

        try:
            # The service answers before the workspace is watched.
            until(lambda: _has_arrived(port, saved()))
            return paced(save)
        finally:
            script.write_text(SCORE)


def _has_arrived(port: int, version: int) -> bool:
    time.sleep(PAUSE_S)
    return bool(answer(port)["version"] == version)


@contextmanager
def _followed(place: Place) -> Iterator[int]:
    """A `devkit debug` that follows; the port on which the service answers."""
    process = subprocess.Popen(
        [DEVKIT, "debug", "--no-launch"],
        cwd=place.workspace,
        env=ENVIRON,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield until(lambda: _port(place))
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(30)


def _port(place: Place) -> int | None:
    container = place.engine.container(place.service)
    if container is None or not container.is_running:
        return None
    port = next(iter(container.ports.values()))[1]
    try:
        answer(port)
    except (OSError, ValueError):
        return None
    return port


def paced(save: Callable[[], None]) -> Sample:
    """Save again and again, at the pace of a person; the first one warms up."""
    values: list[float] = []
    for _ in range(TIMES + 1):
        time.sleep(PAUSE_S)
        values += milliseconds(1, save).values
    return Sample(tuple(values[1:]))
