"""Where a worker is: asked for, and by itself when a request comes near its time limit."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.running import Service, stopped, until
from tests.runtime.conftest import Start
from tests.runtime.test_pythons import PYTHONS, python  # noqa: F401  a fixture

# sum() of what has no end keeps the GIL: no other thread of the worker runs meanwhile.
SCORE = """\
import ctypes
import itertools
import json
import threading
import time

go_on = threading.Event()


def init():
    threading.Thread(target=beside, name="beside", daemon=True).start()


def beside():
    go_on.wait()


def run(raw_data):
    what = json.loads(raw_data)["do"]
    print("begins", what, flush=True)
    if what == "sleep":
        helped()
    if what == "gil":
        sum(itertools.repeat(1))
    if what == "c":
        while True:  # a signal ends each sleep
            ctypes.CDLL(None).usleep(600_000_000)
    if what == "deaf":
        deafened()
    if what == "loop":
        while True:
            pass
    if what == "stubborn":
        while True:
            try:
                time.sleep(600)
            except BaseException:
                pass
    if what == "free":
        import faulthandler, signal
        faulthandler.unregister(signal.SIGUSR1)
        sum(itertools.repeat(1))
    return what


def deafened():
    import faulthandler, signal
    faulthandler.unregister(signal.SIGUSR1)
    while True:
        pass


def helped():
    left = 600
    time.sleep(600)
"""


def do(what: str) -> bytes:
    return json.dumps({"do": what}).encode()


def stack(service: Service) -> list[dict[str, Any]]:
    (worker,) = service.ask("devkit/stack")["workers"]
    return list(worker["threads"])


def begun(service: Service, what: str) -> None:
    service.later(body=do(what))
    until(lambda: f"begins {what}" in service.log())


def own_lines(thread: dict[str, Any]) -> list[int]:
    return [frame["line"] for frame in thread["frames"] if frame["is_own"]]


@pytest.mark.parametrize(
    ("what", "texts"),
    [
        ("sleep", ["    time.sleep(600)\n", "helped()"]),
        ("gil", ["sum(itertools"]),
        ("c", ["CDLL(None).usleep"]),
    ],
)
def test_a_worker_that_hangs_says_where(start: Start, what: str, texts: list[str]) -> None:
    service = start(files={"score.py": SCORE})
    begun(service, what)
    main, *others = stack(service)
    if what == "sleep":
        last = service.read("score.py").splitlines()
        assert own_lines(main) == [len(last), service.line("        helped()")]
    else:
        assert own_lines(main) == [service.line(texts[0])]
    assert main["frames"][-1]["function"] == "run"
    (other,) = others
    assert own_lines(other) == [service.line("go_on.wait()")]
    if what != "gil":
        assert other["name"] == "beside"
    (worker,) = service.ask("devkit/stack")["workers"]
    assert worker["running_s"] is not None


def test_an_idle_worker_waits_and_one_that_freed_the_signal_is_not_killed(start: Start) -> None:
    service = start(files={"score.py": SCORE})
    assert own_lines(stack(service)[0]) == []
    begun(service, "free")
    (worker,) = service.ask("devkit/stack")["workers"]
    assert worker["threads"] is None
    assert worker["running_s"] is not None


@pytest.mark.parametrize("what", ["sleep", "loop", "gil", "stubborn"])
def test_a_request_over_its_time_limit_says_where_it_was(start: Start, what: str) -> None:
    service = start(files={"score.py": SCORE}, env={"SCORING_TIMEOUT_MS": "1000"})
    reply = service.request(body=do(what))
    assert reply.status == 504
    error = reply.json["error"]
    assert error["type"] == "Timeout"
    assert error["message"].startswith("Your code has been in score.py")
    place = {
        "sleep": len(service.read("score.py").splitlines()),
        "loop": None,
        "gil": service.line("sum(itertools"),
        "stubborn": service.line("                time.sleep(600)"),
    }[what]
    if place:
        assert error["line"] == place
    assert "score.py" in error["traceback"]
    (entry,) = service.ask("devkit/requests")["requests"]
    assert (entry["status"], entry["error"]) == (504, f"Timeout: {error['message']}")
    found = service.ask("devkit/request", {"id": 1})["request"]
    assert found["stack"]["after_s"] >= 0.9
    if what == "sleep":  # the code let go: its values are known too
        assert found["failure"]["locals"] == [["left", "600"]]
    assert service.request(body=do("fine")).status == 200


def test_a_worker_says_it_itself_while_python_code_runs(start: Start) -> None:
    service = start(files={"score.py": SCORE})
    begun(service, "deaf")
    # Whoever cannot be asked by a signal, as none is needed.
    assert own_lines(stack(service)[0])[-1] == service.line("        deafened()")


def test_no_look_is_taken_while_a_breakpoint_holds_the_request(start: Start) -> None:
    service = start(files={"score.py": SCORE}, env={"SCORING_TIMEOUT_MS": "1000"})
    session = service.attach({"score.py": [service.line("return what")]})
    request = service.later(body=do("fine"))
    stop = stopped(session)
    main, *_ = stack(service)
    assert own_lines(main)[0] == service.line("return what")
    session.resume(stop.thread)
    assert request.reply().status == 200
    assert service.ask("devkit/request", {"id": 1})["request"]["stack"] is None


def test_a_hung_worker_says_where_on_each_python(start: Start, python: str) -> None:  # noqa: F811
    service = start(files={"score.py": SCORE}, python=python)
    begun(service, "gil")
    assert own_lines(stack(service)[0]) == [service.line("sum(itertools")]
