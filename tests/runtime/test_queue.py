"""The queue before the workers: who is turned away, with which code, and who is not."""

from __future__ import annotations

import re

import pytest

from devkit.runtime import outcome
from devkit.runtime.pool import Pool
from tests.running import Later, Reply, Service, until
from tests.runtime.conftest import Start
from tests.runtime.gate import WAITS, Gate
from tests.unit.test_runtime_front import serving

# No request ends before the test says so: which ones are turned away is no question of time.
SLOW = (
    """\
def init():
    pass


def run(raw_data):
    print("began", raw_data, flush=True)
    wait_at_gate()
    return 1
"""
    + WAITS
)
AT_ONCE = {"DEVKIT_MAX_QUEUE_WAIT_MS": "0"}


def slow(start: Start, **env: str) -> tuple[Service, Gate]:
    """A service all of whose workers are ready, and the gate at which run() waits."""
    service = start(files={"score.py": SLOW}, env=env)
    workers = int(env.get("DEVKIT_WORKERS", "1"))
    until(lambda: states(service) == ["ready"] * workers)
    return service, Gate(service)


def states(service: Service) -> list[str]:
    return [worker["state"] for worker in service.ask("devkit/stack")["workers"]]


def spike(slow: tuple[Service, Gate], count: int, *, served: int, at_once: int) -> list[int]:
    """Send requests while none ends, until all but `served` have been turned away."""
    service, gate = slow
    sent = [service.later(body=b"{}") for _ in range(count)]
    until(lambda: service.log().count("began") == at_once)
    until(lambda: sum(not request.is_waiting for request in sent) == count - served)
    gate.open()
    return sorted(request.reply().status for request in sent)


def one_behind_another(service: Service) -> tuple[Later, Later]:
    """A request that runs, and one that came while it did."""
    first = service.later(body=b"{}")
    until(lambda: "began" in service.log())
    return first, service.later(body=b"{}")


def test_a_spike_is_turned_away_as_in_the_cloud(start: Start) -> None:
    assert spike(slow(start, DEVKIT_MAX_QUEUE_WAIT_MS="500"), 5, served=1, at_once=1) == [
        200,
        503,
        503,
        503,
        503,
    ]


def test_more_workers_turn_fewer_away(start: Start) -> None:
    assert spike(
        slow(start, DEVKIT_MAX_QUEUE_WAIT_MS="500", DEVKIT_WORKERS="3"), 5, served=3, at_once=3
    ) == [200, 200, 200, 503, 503]


def test_requests_that_a_worker_may_have_wait_at_it(start: Start) -> None:
    assert spike(
        slow(start, **AT_ONCE, DEVKIT_MAX_CONCURRENT_REQUESTS="3"), 5, served=3, at_once=1
    ) == [200, 200, 200, 503, 503]


def test_a_managed_endpoint_has_its_own_code_for_it(start: Start) -> None:
    assert spike(slow(start, **AT_ONCE, DEVKIT_STATUS="managed"), 3, served=1, at_once=1) == [
        200,
        429,
        429,
    ]


def test_who_is_turned_away_learns_why_and_that_it_may_come_again(start: Start) -> None:
    service, gate = slow(start, **AT_ONCE)
    first, second = one_behind_another(service)
    reply = second.reply()
    assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
    assert reply.json["message"] == "All workers were busy for too long."
    gate.open()
    assert first.reply().json == 1


@pytest.mark.parametrize(
    "env",
    [
        pytest.param({"DEVKIT_MAX_QUEUE_WAIT_MS": "60000"}, id="a long queue"),
        # The server alone has no front that would turn requests away.
        pytest.param({**AT_ONCE, "DEVKIT_STATUS": "raw"}, id="the server alone"),
    ],
)
def test_a_request_that_may_wait_is_served(start: Start, env: dict[str, str]) -> None:
    service, gate = slow(start, **env)
    first, second = one_behind_another(service)
    until(lambda: service.ask("devkit/status")["waiting"] == 1)
    gate.open()
    assert [first.reply().status, second.reply().status] == [200, 200]


def test_who_came_first_is_served_first(start: Start) -> None:
    service, gate = slow(start, DEVKIT_MAX_QUEUE_WAIT_MS="60000")
    sent = [service.later(body=b"0")]
    until(lambda: "began 0" in service.log())
    for number in range(1, 9):
        sent.append(service.later(body=b"%d" % number))
        until(lambda number=number: service.ask("devkit/status")["waiting"] == number)  # type: ignore[misc]
    gate.open()
    assert {request.reply().status for request in sent} == {200}
    assert re.findall(r"began (\d)", service.log()) == [str(number) for number in range(9)]


def test_a_request_that_a_reload_cut_short_comes_before_those_that_waited(start: Start) -> None:
    service, gate = slow(start, DEVKIT_MAX_QUEUE_WAIT_MS="60000")
    sent = [service.later(body=b"0")]
    until(lambda: "began 0" in service.log())
    sent += [service.later(body=b"1") for _ in range(4)]
    until(lambda: service.ask("devkit/status")["waiting"] == 4)
    service.write("score.py", SLOW + "\nVERSION = 2\n")
    until(lambda: service.log().count("began") == 2)
    assert re.findall(r"began (\d)", service.log()) == ["0", "0"]
    gate.open()
    assert {request.reply().status for request in sent} == {200}


def test_a_reload_turns_nobody_away(start: Start) -> None:
    service = start(env=AT_ONCE)
    gate = Gate(service)
    waits = "def init():\n    print('init waits', flush=True)\n    wait_at_gate()\n"
    service.bump(lambda text: text.replace("def init():\n", waits) + WAITS)
    until(lambda: "init waits" in service.log())
    request = service.later()
    until(lambda: service.ask("devkit/status")["waiting"] == 1)
    gate.open()
    assert request.reply().json["version"] == 2


@pytest.mark.parametrize(("profile", "status"), [("aks", 503), ("raw", 503), ("managed", 429)])
def test_a_full_queue_has_a_code_in_each_profile(profile: str, status: int) -> None:
    pool = Pool(queue_timeout_s=0)
    pool.enter("ready")
    pool.add(1, 1)
    pool.acquire()
    with serving(pool, profile) as client:
        client.request("POST", "/score", b"{}")
        answer = client.getresponse()
        reply = Reply(answer.status, dict(answer.headers.items()), answer.read())
    assert reply.status == status == outcome.STATUS[profile][outcome.QUEUE_FULL]
    assert reply.headers["Retry-After"] == "1"
    assert b"All workers were busy" in reply.body
